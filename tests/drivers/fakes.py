"""A Live service in memory, as small as the driver's tests need it, and a loop whose clock jumps."""

from __future__ import annotations

import asyncio
import heapq
import json
import os
from collections import deque

from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK
from websockets.frames import Close

from resumekit.core.policy import Policy
from resumekit.defaults import DefaultDecisions
from resumekit.drivers.driver import Driver
from tests.proofs.virtual import run_by
from tests.traces import KeptEngine

SETUP = json.dumps({"setup": {"model": "models/gemini-2.5-flash-live"}})


class VirtualLoop(asyncio.SelectorEventLoop):
    """Where nothing is ready, the clock jumps to the next timer. No sockets in here."""

    def __init__(self):
        super().__init__()
        self.clock = 1000.0

    def time(self):
        return self.clock

    def _run_once(self):
        if not self._ready:
            while self._scheduled and self._scheduled[0].cancelled():  # as the base class does, just after
                heapq.heappop(self._scheduled)._scheduled = False
                self._timer_cancelled_count -= 1
            if self._scheduled:
                self.clock = max(self.clock, self._scheduled[0]._when)
        super()._run_once()


def in_virtual_time(test):
    """Run an async test on a `VirtualLoop`; it ends with no task but its own."""
    return run_by(_run, test)


def _run(test):
    loop = VirtualLoop()  # no asyncio.Runner: it would unset the loop that pytest-asyncio keeps
    loop.set_debug(True)
    try:
        loop.run_until_complete(no_task_is_left(test))
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(1))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


_GOOGLE_GENAI = os.path.join("google", "genai")  # noqa: PTH118 -- a part of a path


def tasks():
    """All tasks, but for those that a client of google-genai starts when it is collected, after another test."""
    # The loop closes an abandoned generator in a task whose coroutine has no code of its own.
    codes = {task: getattr(task.get_coro(), "cr_code", None) for task in asyncio.all_tasks()}
    return {task for task, code in codes.items() if code is None or _GOOGLE_GENAI not in code.co_filename}


async def no_task_is_left(test):
    await test
    assert tasks() == {asyncio.current_task()}


async def until(condition, *, every=0.001):
    """Let the loop run until a condition holds."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(every)
    raise AssertionError("it never came true")


class FakeTransport:
    """One connection; the test plays the service through `push`, `end` and `service`."""

    def __init__(self, service, number):
        self.service = service
        self.number = number
        self.sent = []
        self.aborted = self.closed = False
        self.over = None
        self.mute = False
        """Half-open: nothing is answered, not even a close."""
        self.jammed = False
        """`send` does not return."""
        self.lingers = 0.0
        """Seconds from its end until that is told."""
        self.pings = []
        self.kept = deque()
        """Frames that nobody has taken."""
        self._receiver = None
        self._paused = False
        self.told = False
        self._ends_at = 0.0
        self._wake = asyncio.Event()

    # --- the driver's side

    async def send(self, frame):
        if self.over is not None:
            raise self.over
        while self.jammed and self.over is None:
            await self._wait()
        if self.over is not None:
            raise self.over
        self.sent.append(json.loads(frame))
        if not self.mute:
            self.service.on_frame(self, self.sent[-1])

    def receive(self, receiver):
        assert self._receiver is None, "receive was called twice"
        self._receiver = receiver
        self._hand_over()

    def pause(self):
        self._paused = True

    def resume(self):
        self._paused = False
        self._hand_over()

    def _hand_over(self):
        """As a socket does: what came in between at once, and what comes then in the loop's own time."""
        while self._receiver is not None and not self._paused:
            if self.kept:
                self._receiver.frame_received(self.kept.popleft())
            elif self.over is not None and not self.told and self._ends_at <= asyncio.get_running_loop().time():
                self.told = True
                self._receiver.connection_lost(self.over)
            else:
                return

    def _soon(self):
        asyncio.get_running_loop().call_soon(self._hand_over)

    async def close(self):
        self.closed = True
        if self.mute:
            while self.over is None:
                await self._wait()
        self.end(ConnectionClosedOK(Close(1000, ""), Close(1000, ""), rcvd_then_sent=False))
        await asyncio.sleep(0)  # the end is told first

    def guard(self, may_write):
        self.may_write = may_write

    def abort(self):
        self.aborted = True
        self.end()

    def send_now(self, frame):
        if not self.service.takes_at_once or self.jammed or self.over is not None:
            return False
        self.sent.append(json.loads(frame))
        self.service.on_frame(self, self.sent[-1])
        return True

    async def ping(self):
        pong = asyncio.get_running_loop().create_future()
        self.pings.append(pong)
        if not self.mute:
            pong.set_result(0.0)
        return pong

    # --- the service's side

    def push(self, *frames):
        for frame in frames:
            self.kept.append(frame if isinstance(frame, bytes) else json.dumps(frame).encode())
        self._soon()

    def end(self, error=None):
        """End the connection, by default without a close frame."""
        if self.over is None:
            self.over = error or ConnectionClosedError(None, None)
            for pong in self.pings:
                if not pong.done():
                    pong.set_exception(self.over)
                    pong.exception()
        self._wake.set()
        self._ends_at = asyncio.get_running_loop().time() + self.lingers
        asyncio.get_running_loop().call_later(self.lingers, self._hand_over)

    def close_with(self, code, reason=""):
        self.end(ConnectionClosedError(Close(code, reason), Close(code, ""), rcvd_then_sent=True))

    async def _wait(self):
        self._wake.clear()
        await self._wake.wait()


class FakeService:
    """Opens connections, completes setups, answers questions."""

    def __init__(self):
        self.connections = []
        self.dials = []
        """For each dial to come: an exception, a future to wait for, or nothing."""
        self.completes_setup = True
        self.answers = True
        self.handles = 0
        self.handles_late = 0.0
        """Seconds after the turn."""
        self.open_dials = 0
        self.takes_at_once = False

    async def dial(self):
        what = self.dials.pop(0) if self.dials else None
        self.open_dials += 1
        try:
            if isinstance(what, asyncio.Future):
                await what
            else:
                await asyncio.sleep(0.01)
        finally:
            self.open_dials -= 1
        if isinstance(what, BaseException):
            raise what
        self.connections.append(FakeTransport(self, len(self.connections)))
        return self.connections[-1]

    @property
    def current(self):
        return self.connections[-1]

    def on_frame(self, connection, frame):
        if "setup" in frame:
            if self.completes_setup:
                connection.push({"setupComplete": {}})
        elif self.answers:
            turns = (frame.get("clientContent") or frame.get("client_content") or {}).get("turns")
            if turns:
                self.answer(connection, turns[-1]["parts"][0]["text"])

    def answer(self, connection, text):
        self.handles += 1
        connection.push(
            {"serverContent": {"modelTurn": {"parts": [{"text": f"answer to {text}"}]}}},
            {"serverContent": {"generationComplete": True}},
            {"serverContent": {"turnComplete": True}},
        )
        update = {"sessionResumptionUpdate": {"newHandle": f"handle-{self.handles}", "resumable": True}}
        if self.handles_late:
            asyncio.get_running_loop().call_later(self.handles_late, connection.push, update)
        else:
            connection.push(update)


def question(text):
    content = {"turns": [{"role": "user", "parts": [{"text": text}]}], "turnComplete": True}
    return json.dumps({"clientContent": content})


def note(text):
    """A text that is no question."""
    content = {"turns": [{"role": "user", "parts": [{"text": text}]}], "turnComplete": False}
    return json.dumps({"clientContent": content})


def audio(size=64):
    return json.dumps({"realtimeInput": {"audio": {"data": "A" * size, "mimeType": "audio/pcm;rate=16000"}}})


def driver_of(
    service,
    *,
    policy=None,
    load_history=None,
    on_event=None,
    tell_plugins=None,
    keeper=None,
    decisions=None,
    readable=None,
    pool=None,
    model="",
    draw=0.5,
    **engine,
):
    policy = policy or Policy()
    machine = KeptEngine(
        SETUP,
        policy=policy,
        decisions=decisions or DefaultDecisions(),
        transparent=False,
        random=lambda: draw,
        loads_history=load_history is not None,
        **engine,
    )

    def publish(event):
        driver.publish(event)

    driver = Driver(
        machine,
        service.dial,
        policy=policy,
        load_history=load_history,
        on_event=on_event,
        tell_plugins=tell_plugins,
        keeper=keeper and keeper(publish, machine.pending),
        readable=readable,
        admission=pool and pool.admission(publish),
        model=model,
    )
    return driver


def text_of(message):
    content = message.server_content
    turn = content and content.model_turn
    return "".join(part.text or "" for part in turn.parts) if turn else ""


async def answer_of(driver):
    """Receive up to turnComplete; the text of the answer, what was interrupted left out."""
    said = ""
    while True:
        message = await driver.recv()
        said += text_of(message)
        if message.server_content and message.server_content.interrupted:
            said = ""
        if message.server_content and message.server_content.turn_complete:
            return said


async def ask(driver, text):
    await driver.send(question(text))
    return await answer_of(driver)
