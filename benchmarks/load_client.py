"""One client process with many live sessions: what they cost, and whether each got all that it was to get.

`benchmarks.thousand` starts it, with a `Load` as the first line on stdin. It prints a line when all sessions talk, waits
for a line, measures, prints a line, has each session answer once more, closes all of them, and prints what it found.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import os
import resource
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks.load_server import HEAD, Head, Plan, quantiles, question

__all__ = ["CONTENDERS", "Load"]

_SAMPLE = 8
"""Of each so many frames one is timed."""
_HEARTBEAT = 0.02
_MODEL = "gemini-2.5-flash-native-audio"


@dataclass(frozen=True)
class Load:
    """What a client process does."""

    contender: str
    ports: list[int]
    """Of the services: a session always goes to the same one."""
    sessions: int
    seconds: float
    """Measured."""
    ramp: float
    """Seconds over which the sessions connect, evenly."""
    plan: dict[str, Any]
    """Of the services."""
    patience: float
    """Seconds after which an answer that has not come to its end is taken for lost."""
    uvloop: bool = False
    gc_threshold: int = 700
    """Python's own by default."""
    cores: list[int] = field(default_factory=list[int])


# ------------------------------------------------------------------ the application


class Talk:
    """One session's application: asks one question after the other, and checks each frame of each answer."""

    def __init__(self, run: Run, number: int) -> None:
        self.number = number
        self.answered = 0
        self.received = 0
        """Frames of audio."""
        self.discarded = 0
        """Those of answers that were cut: the application was told that they are interrupted."""
        self.settled = 0
        """Questions that resumekit gave up, and said so in an event: asked again here, as the event advises."""
        self.events: dict[str, int] = {}
        self.problems: list[str] = []
        self.stats: dict[str, int | float] = {}
        self._run = run
        self._whole = run.plan.frames
        self._expected = 0
        self._attempt = 0
        self._heard = 0.0
        self._silent_since = 0.0

    @property
    def text(self) -> str:
        """What to ask now."""
        return question(self.number, self.answered + 1)

    def audio(self, pcm: bytes) -> None:
        """Take a frame."""
        _, session, asked, attempt, number, due = HEAD.unpack_from(pcm)
        self._heard = now = self._run.loop.time()
        if number == 0:
            self._attempt = attempt
            Head.of(pcm)  # looks whether it is all there
            if not self.received:
                self._run.begins()
            if self._silent_since:
                self._run.gaps.append(now - self._silent_since)
                self._silent_since = 0.0
        if number != self._expected or attempt != self._attempt or asked != self.answered + 1 or session != self.number:
            self.wrong(f"{Head.of(pcm)} instead of frame {self._expected} of question {self.answered + 1}")
            return
        self._expected = number + 1
        self.received += 1
        if number % _SAMPLE == 0 and self._run.measuring:
            self._run.late.append(now - due)

    def interrupted(self) -> None:
        """The answer does not go on; another one comes."""
        self._silent_since = self._silent_since or self._heard
        self.discarded += self._expected
        self._expected = 0

    def turn_complete(self) -> None:
        """The answer has come to its end."""
        if self._expected == self._whole:
            self.answered += 1
            self._expected = 0
        elif self._expected == 0 and self.events.get("TurnSettled", 0) > self.settled:
            self.settled += 1
        else:
            self.wrong(f"question {self.answered + 1} was answered in {self._expected} frames")

    def happened(self, event: object) -> None:
        """Count an event of the session."""
        name = type(event).__name__
        self.events[name] = self.events.get(name, 0) + 1

    def wrong(self, problem: str) -> None:
        """Note a problem; the first ones tell enough."""
        if len(self.problems) < 3:
            self.problems.append(f"session {self.number}: {problem}")


def _take(message: Any, talk: Talk) -> bool:
    """Give a message to the application; tells whether the turn is over. Ours and google-genai's look alike."""
    content = message.server_content
    if content is None:
        return False
    turn = content.model_turn
    if turn is not None:
        for part in turn.parts:
            if part.inline_data is not None:
                talk.audio(part.inline_data.data)
    if content.interrupted:
        talk.interrupted()
    if content.turn_complete:
        talk.turn_complete()
        return True
    return False


# ------------------------------------------------------------------ the contenders


class App(Protocol):
    """What a session is to the application, whatever is behind it."""

    async def ask(self, text: str) -> None:
        """Ask."""

    async def hear(self, talk: Talk) -> None:
        """Take the answer, to its end."""


Open = Callable[[str, Talk], AbstractAsyncContextManager[App]]
"""Connects to `ws://host:port`, for a talk."""


def _setup(talk: Talk) -> dict[str, Any]:
    return {
        "model": f"models/{_MODEL}",
        "generationConfig": {"responseModalities": ["AUDIO"]},
        "systemInstruction": {"parts": [{"text": f"session {talk.number}"}]},
        "sessionResumption": {},
        "outputAudioTranscription": {},
    }


def _content(text: str) -> dict[str, Any]:
    return {"clientContent": {"turns": [{"role": "user", "parts": [{"text": text}]}], "turnComplete": True}}


def _bare() -> Open:
    """`websockets`, and an application that looks at no more than it must: the floor."""
    from websockets.asyncio.client import ClientConnection, connect

    class Bare:
        def __init__(self, connection: ClientConnection) -> None:
            self._connection = connection

        async def ask(self, text: str) -> None:
            await self._connection.send(json.dumps(_content(text)))

        async def hear(self, talk: Talk) -> None:
            recv = self._connection.recv
            while True:
                frame = await recv(decode=False)
                if len(frame) > 2000:  # it knows this service: nothing else is as long
                    at = frame.index(b'"data": "') + 9
                    talk.audio(base64.b64decode(frame[at : frame.index(b'"', at)]))
                elif b"turnComplete" in frame:
                    talk.turn_complete()
                    return

    @asynccontextmanager
    async def opened(address: str, talk: Talk) -> AsyncGenerator[App]:
        async with connect(address, max_size=None) as connection:
            await connection.send(json.dumps({"setup": _setup(talk)}))
            await connection.recv()
            yield Bare(connection)

    return opened


def _native() -> Open:
    from resumekit.adapters import websockets as resumable

    class Native:
        def __init__(self, session: resumable.Session) -> None:
            self._session = session

        async def ask(self, text: str) -> None:
            await self._session.send(_content(text))

        async def hear(self, talk: Talk) -> None:
            while not _take(await self._session.recv(), talk):
                pass

    @asynccontextmanager
    async def opened(address: str, talk: Talk) -> AsyncGenerator[App]:
        async with resumable.connect(address, setup=_setup(talk), on_event=talk.happened) as session:
            try:
                yield Native(session)
            finally:
                talk.stats = session.stats.as_dict()

    return opened


class _Genai:
    """What both kinds of google-genai's session are used like."""

    def __init__(self, session: Any) -> None:
        self._session = session

    async def ask(self, text: str) -> None:
        await self._session.send_client_content(turns={"role": "user", "parts": [{"text": text}]}, turn_complete=True)

    async def hear(self, talk: Talk) -> None:
        async for message in self._session.receive():
            _take(message, talk)


def _genai_config(talk: Talk) -> dict[str, Any]:
    return {
        "response_modalities": ["AUDIO"],
        "system_instruction": f"session {talk.number}",
        "session_resumption": {},
        "output_audio_transcription": {},
    }


def _genai_client() -> Callable[[str], Any]:
    """Return a function that gives the one client of each service."""
    from google import genai

    clients: dict[str, Any] = {}

    def client(address: str) -> Any:
        if address not in clients:
            options: Any = {"base_url": address.replace("ws:", "http:")}
            clients[address] = genai.Client(api_key="none", http_options=options)
        return clients[address]

    return client


def _plain_tcp(dial: Callable[..., Any]) -> Callable[..., Any]:
    """google-genai always dials with TLS, which would cost all contenders the same."""

    def without_tls(uri: str, **arguments: Any) -> Any:
        for options in (arguments, arguments.get("options", {})):
            options.pop("ssl", None)
        return dial(uri.replace("wss:", "ws:"), **arguments)

    return without_tls


def _typed() -> Open:
    from resumekit.adapters import genai as resumable

    client = _genai_client()
    module: Any = resumable
    module.dial_websocket = _plain_tcp(module.dial_websocket)

    @asynccontextmanager
    async def opened(address: str, talk: Talk) -> AsyncGenerator[App]:
        config: Any = _genai_config(talk)
        async with resumable.connect(client(address), model=_MODEL, config=config, on_event=talk.happened) as session:
            try:
                yield _Genai(session)
            finally:
                talk.stats = session.stats.as_dict()

    return opened


def _plain() -> Open:
    from google.genai import live

    client = _genai_client()
    module: Any = live
    module.ws_connect = _plain_tcp(module.ws_connect)

    @asynccontextmanager
    async def opened(address: str, talk: Talk) -> AsyncGenerator[App]:
        async with client(address).aio.live.connect(model=_MODEL, config=_genai_config(talk)) as session:
            yield _Genai(session)

    return opened


CONTENDERS: dict[str, Callable[[], Open]] = {
    "bare websockets": _bare,
    "resumekit, native": _native,
    "resumekit, google-genai": _typed,
    "google-genai": _plain,
}
"""Functions that import what they need."""


# ------------------------------------------------------------------ the process


@dataclass(frozen=True)
class _Moment:
    """What the process had used and done at a moment."""

    at: float
    cpu: float
    system: float
    received: int
    rss: int
    switches: int

    @classmethod
    def now(cls, run: Run) -> _Moment:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return cls(
            time.monotonic(),
            usage.ru_utime + usage.ru_stime,
            usage.ru_stime,
            sum(talk.received for talk in run.talks),
            _status("VmRSS"),
            usage.ru_nivcsw,
        )


def _status(key: str) -> int:
    """Return a line of this process's status, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    return 0


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- only their number


class Run:
    """All sessions of the process, and what is measured."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.plan = Plan(**load.plan)
        self.loop = asyncio.get_running_loop()
        self.measuring = False
        self.late: list[float] = []
        self.gaps: list[float] = []
        """Silence between the last frame of an answer that was cut and the first frame of its repetition."""
        self.lags: list[float] = []
        self.pauses: list[float] = []
        """Of the garbage collector."""
        self.lost: dict[int, str] = {}
        self.talks = [Talk(self, number) for number in range(load.sessions)]
        self._stopping = False
        self._begun = asyncio.Semaphore(0)
        """Sessions that have heard their first frame, or have been lost before."""
        self._finished = asyncio.Semaphore(0)
        self._close = asyncio.Event()
        self._collecting = 0.0

    async def session(self, talk: Talk, opened: Open) -> None:
        """Live one session's life."""
        load = self.load
        await asyncio.sleep(talk.number / load.sessions * load.ramp)
        try:
            async with opened(f"ws://{self.plan.host}:{load.ports[talk.number % len(load.ports)]}", talk) as app:
                is_last = False
                while not is_last:
                    is_last = self._stopping  # so that each one is seen to be alive after the last cut
                    async with asyncio.timeout(load.patience):
                        await app.ask(talk.text)
                        await app.hear(talk)
                    await asyncio.sleep(self.plan.pause)
                self._finished.release()
                await self._close.wait()
        except Exception as error:  # noqa: BLE001 -- whatever it was, the session is lost: that is what is counted
            self.lost[talk.number] = f"{type(error).__name__}: {error}"
            self._finished.release()
            if not talk.received:
                self.begins()

    def begins(self) -> None:
        """A session has heard its first frame, or will not."""
        self._begun.release()

    async def heartbeat(self) -> None:
        """Note how much too late the loop comes to what is due."""
        while True:
            due = self.loop.time() + _HEARTBEAT
            await asyncio.sleep(_HEARTBEAT)
            if self.measuring:
                self.lags.append(self.loop.time() - due)

    def collecting(self, phase: str, info: dict[str, int]) -> None:  # noqa: ARG002 -- as gc has it
        """Note how long garbage collection stops everything."""
        if phase == "start":
            self._collecting = time.perf_counter()
        elif self.measuring:
            self.pauses.append(time.perf_counter() - self._collecting)

    async def all(self, opened: Open) -> dict[str, Any]:
        """Do it."""
        lines = await _lines()
        gc.callbacks.append(self.collecting)
        empty, files = _status("VmRSS"), _open_files()
        heart = self.loop.create_task(self.heartbeat())
        started = time.monotonic()
        sessions = [self.loop.create_task(self.session(talk, opened)) for talk in self.talks]
        for _ in sessions:
            await self._begun.acquire()
        connected = time.monotonic() - started
        _say({"connected": connected})
        await lines.readline()

        gc.collect()
        before, self.measuring = _Moment.now(self), True
        await asyncio.sleep(self.load.seconds)
        after, self.measuring = _Moment.now(self), False
        tasks = len(asyncio.all_tasks()) - 2  # this one and the heart
        _say({"measured": after.received - before.received})
        await lines.readline()

        self._stopping = True
        for _ in sessions:
            await self._finished.acquire()
        grown = _status("VmRSS")
        self._close.set()
        await asyncio.wait(sessions)
        heart.cancel()
        await asyncio.wait([heart])
        await asyncio.sleep(0.2)  # transports close in the loop's next turns
        left = len(asyncio.all_tasks()) - 1
        return {
            "contender": self.load.contender,
            "sessions": self.load.sessions,
            "seconds": after.at - before.at,
            "connected": connected,
            "cpu": after.cpu - before.cpu,
            "cpu_system": after.system - before.system,
            "frames": after.received - before.received,
            "switches": after.switches - before.switches,
            "rss": {"empty": empty, "start": before.rss, "end": after.rss, "last": grown, "peak": _status("VmHWM")},
            "late": quantiles(self.late),
            "lag": quantiles(self.lags),
            "gc": {**quantiles(self.pauses), "sum": sum(self.pauses), "runs": len(self.pauses)},
            "gaps": {**quantiles(self.gaps), "count": len(self.gaps)},
            "tasks": tasks,
            "left": {"tasks": left, "files": _open_files() - files},
            "lost": self.lost,
            "problems": [problem for talk in self.talks for problem in talk.problems],
            "answered": {talk.number: talk.answered for talk in self.talks},
            "received": sum(talk.received for talk in self.talks),
            "discarded": sum(talk.discarded for talk in self.talks),
            "settled": sum(talk.settled for talk in self.talks),
            "events": _sum(talk.events for talk in self.talks),
            "stats": _sum(talk.stats for talk in self.talks),
        }


def _sum(counts: Iterable[dict[str, Any]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for each in counts:
        for name, count in each.items():
            total[name] = total.get(name, 0) + count
    return total


async def _lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def _say(message: object) -> None:
    print(json.dumps(message), flush=True)


def main() -> None:
    """Be the process."""
    load = Load(**json.loads(sys.stdin.readline()))
    if load.cores:
        os.sched_setaffinity(0, load.cores)
    opened = CONTENDERS[load.contender]()
    gc.set_threshold(load.gc_threshold, *gc.get_threshold()[1:])

    async def run() -> dict[str, Any]:
        return await Run(load).all(opened)

    factory = None
    if load.uvloop:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        _say(runner.run(run()))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
