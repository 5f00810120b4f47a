"""One connection of the emulated service: its tasks, its faults and its end.

What is said on it is `resumekit.emulator.dialogue`'s business. Whatever ends a connection goes through `finish`, once;
the task that caused it stops by raising `Cut`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn

from websockets.exceptions import ConnectionClosed

from resumekit.emulator import faults, texts
from resumekit.emulator.dialogue import Dialogue
from resumekit.emulator.frames import decode_client_frame, duration, encode_base64, encode_frame
from resumekit.emulator.gate import Cut, Gate

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from resumekit.emulator.faults import Action, Moment
    from resumekit.emulator.frames import JsonObject
    from resumekit.emulator.service import ConnectionRecord, Service
    from resumekit.emulator.sessions import Session
    from resumekit.emulator.transport import Socket

__all__ = ["Connection"]

_CLOSE_TIMEOUT = 2.0  # real seconds, for a client that does not answer a close frame


@dataclass(frozen=True, slots=True)
class _End:
    by: Literal["client", "server", "fault"]
    code: int = 1006
    reason: str = ""
    half_open: faults.HalfOpen | None = None
    send_close: bool = False


class Connection:
    """One WebSocket connection; `run` is its handler."""

    def __init__(self, service: Service, socket: Socket, record: ConnectionRecord) -> None:
        self.service = service
        self.settings = service.settings
        self.record = record
        self.session: Session | None = None
        self.setup_delay: float | None = service.settings.setup_delay
        """None: setupComplete never comes."""
        self.issues_poison = False
        """Its handles resume to a model that never answers."""
        self.has_amnesia = False
        self.repeats_transcripts: set[Literal["input", "output"]] = set()
        self.withholds_handles = False
        self._socket = socket
        self._ended: asyncio.Future[_End] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._silent_until = 0.0
        self._resume_seen = asyncio.Event()
        self._server_goes = asyncio.Event()
        socket.pong_delay = self.settings.pong_delay * self.settings.time_scale

    # --- life ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the connection to its end."""
        try:
            self.spawn(self._read())
            end = await self._ended
            await self._stop_tasks()
            await self._wind_up(end)
        finally:
            await self._stop_tasks()
            self._release()
            self._socket.transport.abort()

    async def _wind_up(self, end: _End) -> None:
        record = self.record
        record.close_code, record.close_reason, record.closed_by = end.code, end.reason, end.by
        record.closed_at = time.time()
        self.service.note(record.number, "closed", f"{end.by} {end.code} {end.reason}".rstrip())
        if end.half_open is not None:
            await self._linger(end.half_open)
            return
        self._release()
        if end.send_close:
            try:
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await self._socket.close(end.code, end.reason)
            except TimeoutError:
                pass
        elif end.by == "fault":  # the transport is ending by itself: let the peer see how
            try:
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await self._socket.wait_closed()
            except TimeoutError:
                pass

    async def _linger(self, half_open: faults.HalfOpen) -> None:
        if half_open.since == "resume":
            await self._resume_seen.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(half_open.linger * self.settings.time_scale):
                await self._server_goes.wait()

    def finish(self, end: _End) -> None:
        """End the connection; the first end counts."""
        if not self._ended.done():
            self._ended.set_result(end)

    def cut(self, end: _End) -> NoReturn:
        """End the connection and stop the calling task."""
        self.finish(end)
        raise Cut

    def refuse(self, code: int, reason: str) -> NoReturn:
        """Close as the service does when it does not like what it got."""
        self.record.refused = reason
        self.service.note(self.record.number, "refused", reason)
        self.cut(_End("server", code, texts.cut_reason(reason), send_close=True))

    def shut_down(self) -> None:
        """End at once, because the server goes."""
        self.finish(_End("server"))
        self._server_goes.set()
        self._resume_seen.set()
        self._socket.transport.abort()

    @property
    def is_over(self) -> bool:
        """The connection has ended, or is about to."""
        return self._ended.done()

    # --- the session's binding (see SessionStore) -----------------------------------------------------------------

    def bind_session(self, session: Session) -> None:
        """Hold a session until the connection ends."""
        self.session = session
        session.bound = self
        self.record.session_id = session.id

    def _release(self) -> None:
        if self.session is not None and self.session.bound is self:
            self.session.bound = None
            self.session.released_at = self.service.now()

    def resume_attempted(self) -> None:
        """Another connection asks for the session: a half-open one starts to linger, one that said goodbye is gone."""
        self._resume_seen.set()
        if self._socket.protocol.close_rcvd is not None:
            self._release()  # its task may not have woken up yet

    def evict(self) -> None:
        """Another connection takes the session over."""
        self._release()
        self.finish(_End("server", 1011, texts.cut_reason(texts.ABORTED), send_close=True))

    # --- tasks ----------------------------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run something as long as the connection lives."""
        task = asyncio.create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # it may have been cancelled before it began
        return task

    async def _guard(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except Cut:
            pass
        except ConnectionClosed as error:
            received = error.rcvd
            code, reason = (received.code, received.reason) if received else (1006, "")
            self.finish(_End("client", code, reason))
        except Exception as error:  # noqa: BLE001 - a bug of ours: shown when the server is left
            self.service.failures.append(error)
            self.finish(_End("server", 1011, texts.INTERNAL, send_close=True))

    async def _stop_tasks(self) -> None:
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def sleep(self, seconds: float) -> None:
        """Wait for so many emulated seconds."""
        await self.service.sleep(seconds)

    # --- in -------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        await self.happened("opened")
        gate = Gate(self)
        dialogue: Dialogue | None = None
        while True:
            data = await (self._first_message() if dialogue is None else self._socket.recv())
            if self.is_over:
                return
            index = self.service.ledger.received(self.record.number, data)
            self.record.frames_in += 1
            try:
                message = decode_client_frame(data)
                if message is None:
                    self.refuse(1007, texts.NOT_JSON)
                if dialogue is None:
                    dialogue = Dialogue(self, await gate.open(message))
                    self.spawn(dialogue.begin())
                else:
                    await dialogue.take(message, index)
            except Cut:
                if self.record.refused is not None:
                    self.service.ledger.refused(self.record.number, index)
                raise
            await self._count_message(index)

    async def _first_message(self) -> str | bytes:
        patience = self.settings.setup_patience
        try:
            async with asyncio.timeout(None if patience is None else patience * self.settings.time_scale):
                return await self._socket.recv()
        except TimeoutError:
            self.refuse(1008, texts.ABORTED)

    async def _count_message(self, index: int) -> None:
        if index > 0:
            await self.happened("client_message", index)

    # --- out ------------------------------------------------------------------------------------------------------

    async def send(self, message: JsonObject, *moments: Moment) -> None:
        """Send a server message, then let happen what is due after it."""
        await self._send_raw(encode_frame(message, pretty=self.settings.pretty))
        for moment in ("server_frame", *moments):
            await self.happened(moment)

    async def send_setup_complete(self, message: JsonObject) -> None:
        """Send the one frame that no fault counts."""
        await self._send_raw(encode_frame(message, pretty=self.settings.pretty))

    async def _send_raw(self, data: bytes) -> None:
        if self._silent_until == float("inf"):
            await asyncio.Event().wait()
        await asyncio.sleep(max(self._silent_until - self.service.now(), 0.0))
        if self.is_over:
            raise Cut
        self.record.frames_out += 1
        await self._socket.send(data if self.settings.framing == "binary" else data.decode())

    # --- faults ---------------------------------------------------------------------------------------------------

    async def happened(self, moment: Moment, n: int | None = None) -> None:
        """Tell the timeline and the fault script that something happened."""
        if moment not in {"server_frame", "answer_frame", "audio_frame", "client_message"}:
            self.service.note(self.record.number, moment)
        await self.strike(moment, n)

    async def strike(self, moment: Moment, n: int | None = None) -> None:
        """Do what the fault script has for a moment."""
        record = self.record
        turn = record.turns_completed + 1
        for action in self.service.script.due(moment, record.number, record.binding, n, turn=turn):
            await self.perform(action)

    async def watch_the_clock(self) -> None:
        """Let timed faults strike; started when the connection is bound."""
        started = self.service.now()
        for seconds in self.service.script.timed(self.record.number, self.record.binding):
            passed = (self.service.now() - started) / self.settings.time_scale
            await self.sleep(max(seconds - passed, 0.0))
            script = self.service.script
            for action in script.due_after(seconds, self.record.number, self.record.binding):
                await self.perform(action)

    async def perform(self, action: Action) -> None:
        """Do what a fault says; raises `Cut` if that ends the connection."""
        if self.is_over:
            raise Cut
        name = str(action.__struct_config__.tag)
        self.record.faults.append(name)
        self.service.note(self.record.number, "fault", name)
        match action:
            case faults.Rst():
                self._reset()
            case faults.Fin():
                self._socket.end_transport()
                self.cut(_End("fault"))
            case faults.Close(code, reason):
                self.cut(_End("fault", code, texts.cut_reason(reason), send_close=True))
            case faults.HalfOpen():
                self._socket.mute()
                self.cut(_End("fault", half_open=action))
            case faults.Torn():
                self._socket.write_torn(encode_frame(_oversize(2000)))
                self.cut(_End("fault"))
            case faults.ListenerDown(seconds):
                self.service.stop_listening(seconds)
                self._reset()
            case faults.GoAway():
                self.record.end_announced = action.close
                self.spawn(self.go_away(action))
            case faults.Silence(seconds):
                self._silent_until = self.service.now() + seconds * self.settings.time_scale
            case faults.Frame(kind, size):
                await self._send_raw(_odd_frame(kind, size))
            case faults.SlowPongs(delay):
                self._socket.pong_delay = delay * self.settings.time_scale
            case faults.SetupDelay(seconds):
                base = self.settings.setup_delay
                self.setup_delay = None if seconds is None else base + seconds
            case faults.RefuseHandle(code, reason):
                self.refuse(code, reason)
            case faults.ExpireHandles():
                self.service.store.expire_all()
            case faults.Poison(scope):
                self._poison(scope)
            case faults.Amnesia():
                self.has_amnesia = True
            case faults.RepeatTranscript(which):
                self.repeats_transcripts |= {"input", "output"} if which == "both" else {which}
            case faults.WithholdHandles():
                self.withholds_handles = True
            case faults.Handshake() | faults.SlowHandshake():
                pass  # the server's, before there is a connection

    @property
    def is_poisoned(self) -> bool:
        """The model never answers here."""
        return self.record.poisoned

    def be_poisoned(self, *, issues: bool) -> None:
        """Let the model never answer here.

        Args:
            issues: The handles that the connection gives out are of the same kind.
        """
        self.record.poisoned = True
        self.issues_poison = issues

    def _poison(self, scope: faults.PoisonScope) -> None:
        store = self.service.store
        match scope:
            case "connection":
                self.be_poisoned(issues=False)
            case "handle":
                store.poison(handle=self.record.handle)
                self.be_poisoned(issues=True)
            case "session":
                session = self.session or store.session_of(self.record.handle)
                if session is not None:
                    session.poisoned = True
                self.be_poisoned(issues=True)
            case "issued":
                store.poison(connection=self.record.number)
                self.issues_poison = True

    def _reset(self) -> NoReturn:
        self._socket.reset()
        self.cut(_End("fault"))

    async def go_away(self, action: faults.GoAway) -> None:
        """Announce the end of the connection, and end it."""
        left = 10.0 if action.time_left is None else action.time_left
        deadline = self.service.now() + left * self.settings.time_scale
        for count in range(action.repeat):
            if count:
                await self.sleep(action.interval)
            remaining = max(deadline - self.service.now(), 0.0)
            shown = left * self.settings.time_scale if count == 0 else remaining
            body: JsonObject = {} if action.time_left is None else {"timeLeft": duration(shown)}
            await self.send({"goAway": body}, "go_away")
        if action.then_silence:
            self._silent_until = float("inf")
        if action.close:
            await asyncio.sleep(max(deadline - self.service.now(), 0.0))
            self.cut(_End("server", action.code, texts.cut_reason(action.reason), send_close=True))


def _oversize(size: int) -> JsonObject:
    blob = {"mimeType": "audio/pcm;rate=24000", "data": encode_base64(bytes(size * 3 // 4))}
    return {"serverContent": {"modelTurn": {"parts": [{"inlineData": blob}]}}}


def _odd_frame(kind: str, size: int) -> bytes:
    match kind:
        case "oversize":
            return encode_frame(_oversize(size))
        case "truncated":
            return encode_frame(_oversize(200))[:120]
        case "unknown_keys":
            return encode_frame({"brandNewThing": {"enabled": True}})
        case "odd_values":
            return encode_frame({"serverContent": {"groundingMetadata": "none"}, "usageMetadata": ["many"]})
        case _:
            return b"<html><body>502 Bad Gateway</body></html>\n"
