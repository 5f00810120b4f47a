"""A Live API service that can speak on hundreds of connections at once, and cuts them.

`resumekit.emulator` is what everything is judged by, but it takes 0.46 ms of processor time for each frame of audio
(it makes the speech, keeps the evidence of each frame, and sleeps in a task for each connection): 11 cores for 1,000
sessions. This one does nothing but what the load needs: setup with or without a resumption handle, questions as text,
answers of so many frames of audio with a transcription beside them, a handle of the Developer API's kind after each
turn, connections that are reset, and an account of what the conversation that each session ended with consists of.
It shares nothing with `resumekit.core` and `resumekit.wire`.

`python -m benchmarks.load_server` is driven by JSON lines: the first one in is a `Plan`, the first one out says the
port; then `{"do": ...}` and its answer, until stdin ends.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import os
import random
import resource
import socket
import struct
import sys
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

__all__ = ["HEAD", "Head", "Plan", "quantiles", "question"]

HEAD = struct.Struct("<4sIIIId2x")
"""The first bytes of each frame's sound; see `Head`. A multiple of three bytes, so that its base64 stands alone."""

_MAGIC = b"load"
_FRAME_MS = 40
_FRAME_BYTES = 48 * _FRAME_MS
_SAMPLE = 8
"""Of each so many frames one is timed."""
_SLOT = 0.003
_EARLY = 0.001
"""A timer may fire that much early: less than the loop's clock can tell apart, and sums of floats are not exact."""
_SEND_BUFFER = 128 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_BACKLOG = 4096


@dataclass(frozen=True)
class Head:
    """What a frame of audio says of itself."""

    session: int
    question: int
    attempt: int
    """Of this process: each generation has another."""
    number: int
    """From 0 on, in its answer."""
    due: float
    """On the monotonic clock, which all processes of a machine share."""

    @classmethod
    def of(cls, pcm: bytes) -> Head:
        """Read it.

        Raises:
            ValueError: This is another sound.
        """
        magic, *values = HEAD.unpack_from(pcm)
        if magic != _MAGIC or len(pcm) != _FRAME_BYTES:
            raise ValueError(f"{len(pcm)} bytes that begin with {magic!r} are no frame of this service")
        return cls(*values)


@dataclass(frozen=True)
class Plan:
    """What the service does."""

    frames: int = 250
    """Of an answer."""
    first_frame: float = 0.1
    """From the question to the answer."""
    pause: float = 0.15
    """From `turnComplete` to the next question."""
    handle: float = 0.1
    """From `turnComplete` to the handle."""
    setup: float = 0.1
    """From the setup to `setupComplete`."""
    seed: int = 0
    host: str = "127.0.0.1"

    @property
    def turn(self) -> float:
        """From one question to the next: 25 frames for each second."""
        return self.frames * _FRAME_MS / 1000

    @property
    def interval(self) -> float:
        """From one frame to the next: a little less than it lasts, because of the pauses."""
        return (self.turn - self.first_frame - self.pause) / self.frames


def question(session: int, number: int) -> str:
    """Return what is to be asked."""
    return f"question {number} of session {session}"


def quantiles(values: Iterable[float]) -> dict[str, float]:
    """Return median, 99th percentile and maximum."""
    ordered = sorted(values)
    if not ordered:
        return {}
    last = len(ordered) - 1
    return {"p50": ordered[last // 2], "p99": ordered[last * 99 // 100], "max": ordered[-1]}


def _either(message: dict[str, Any], camel: str, snake: str) -> Any:
    """Return a field in the spelling that is there: google-genai writes some of them as Python names."""
    return message.get(camel, message.get(snake))


def _websocket_frame(payload: bytes, opcode: int = 0x82) -> bytes:
    """Return an unmasked, unfragmented frame."""
    if len(payload) < 126:
        return bytes((opcode, len(payload))) + payload
    return bytes((opcode, 126)) + len(payload).to_bytes(2) + payload


def _frame(message: object) -> bytes:
    return _websocket_frame((json.dumps(message, indent=2) + "\n").encode())


def _audio_frames() -> Callable[[bytes], bytes]:
    """Return a function that makes the whole frame of a `HEAD`, as fast as may be: all of it but the head is known."""
    marker = "@"
    blob = {"mimeType": "audio/pcm;rate=24000", "data": marker}
    message = {"serverContent": {"modelTurn": {"parts": [{"inlineData": blob}]}}}
    before, _, after = (json.dumps(message, indent=2) + "\n").partition(marker)
    noise = base64.b64encode(random.Random(0).randbytes(_FRAME_BYTES - HEAD.size)).decode()
    length = len(before) + _FRAME_BYTES * 4 // 3 + len(after)
    head = bytes((0x82, 126)) + length.to_bytes(2) + before.encode()
    tail = (noise + after).encode()
    encode = base64.b64encode
    return lambda values: head + encode(values) + tail


_audio_frame = _audio_frames()
_NOT_RESUMABLE = _frame({"sessionResumptionUpdate": {}})
_INTERRUPTED = _frame({"serverContent": {"interrupted": True}})
_GENERATION_COMPLETE = _frame({"serverContent": {"generationComplete": True}})
_TURN_COMPLETE = _frame(
    {
        "serverContent": {"turnComplete": True},
        "usageMetadata": {"promptTokenCount": 40, "responseTokenCount": 250, "totalTokenCount": 290},
    }
)


@dataclass
class Cut:
    """A connection that was reset."""

    session: int
    at: float
    speaking: bool
    bound: float = 0.0
    """When the session was bound again."""


@dataclass(eq=False)
class Saved:
    """What a handle names: all that the user has said up to then."""

    session: int
    said: tuple[str, ...]


class Service:
    """All connections of one process, the timer that paces them, and what became of the sessions."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.loop = asyncio.get_running_loop()
        self.saved: dict[str, Saved] = {}
        self.bound: dict[int, Connection] = {}
        """The newest connection of each session."""
        self.final: dict[int, tuple[str, ...]] = {}
        """What the user has said in the state that each session's newest connection holds."""
        self.cuts: list[Cut] = []
        self.open_cuts: dict[int, Cut] = {}
        self.problems: list[str] = []
        self.attempts = 0
        self.frames = 0
        self.connections = 0
        self.late: list[float] = []
        """Of frames, when they were written: what the service itself is late."""
        self._draw = random.Random(plan.seed)
        self._count = max(round(plan.interval / _SLOT), 1)
        self._slots: list[set[Answer]] = [set() for _ in range(self._count)]
        self._slot = plan.interval / self._count
        self._start = self.loop.time()
        self._ticks = 0
        self._cutter: asyncio.Task[None] | None = None
        self._schedule()

    # --- pace: one timer for all answers, which are spread over its slots -----------------------------------------

    def _schedule(self) -> None:
        self.loop.call_at(self._start + (self._ticks + 1) * self._slot, self._tick)

    def _tick(self) -> None:
        now = self.loop.time()
        passed = int((now - self._start) / self._slot)
        for tick in range(max(self._ticks, passed - self._count) + 1, passed + 1):
            slot = self._slots[tick % self._count]
            for answer in list(slot):
                if not answer.speak(now):
                    slot.discard(answer)
        self._ticks = passed
        self._schedule()

    def begin(self, answer: Answer) -> None:
        """Let an answer be spoken."""
        tick = int((answer.start - self._start) / self._slot) + 1
        answer.start = self._start + tick * self._slot
        self._slots[tick % self._count].add(answer)

    # --- sessions -------------------------------------------------------------------------------------------------

    def new_handle(self, saved: Saved) -> str:
        """Save a state."""
        handle = str(uuid.UUID(int=self._draw.getrandbits(128), version=4))
        self.saved[handle] = saved
        return handle

    def bind(self, session: int, connection: Connection) -> None:
        """A connection goes on with a session, or begins one."""
        self.bound[session] = connection
        self.connections += 1
        if cut := self.open_cuts.pop(session, None):
            cut.bound = self.loop.time()

    # --- cuts -----------------------------------------------------------------------------------------------------

    def start_cutting(self, rate: float) -> None:
        """Reset a part of the connections in each second, drawn by the seed."""
        self._cutter = asyncio.create_task(self._keep_cutting(rate))

    def stop_cutting(self) -> None:
        """Leave the connections alone."""
        if self._cutter is not None:
            self._cutter.cancel()

    async def _keep_cutting(self, rate: float) -> None:
        owed, second = 0.0, self.loop.time()
        while True:
            owed += rate * len(self.bound)
            count, owed = int(owed), owed - int(owed)
            for moment in sorted(self._draw.random() for _ in range(count)):
                await asyncio.sleep(second + moment - self.loop.time())
                if self.bound:
                    self.bound[self._draw.choice(sorted(self.bound))].cut()
            second += 1
            await asyncio.sleep(second - self.loop.time())

    # --- evidence -------------------------------------------------------------------------------------------------

    def report(self) -> dict[str, object]:
        """Return what happened."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "said": {str(session): said for session, said in self.final.items()},
            "cuts": [asdict(cut) for cut in self.cuts],
            "problems": self.problems,
            "frames": self.frames,
            "connections": self.connections,
            "late": quantiles(self.late),
            "cpu": usage.ru_utime + usage.ru_stime,
        }


class Answer:
    """An answer that is being given."""

    def __init__(self, connection: Connection, number: int, start: float) -> None:
        service = connection.service
        service.attempts += 1
        self.connection = connection
        self.start = start
        self._values = (_MAGIC, connection.session, number, service.attempts)
        self._number = 0

    def speak(self, now: float) -> bool:
        """Send what is due; tells whether there is more to come."""
        connection, plan, service = self.connection, self.connection.service.plan, self.connection.service
        while connection.answer is self and not connection.blocked:
            due = self.start + self._number * plan.interval
            if due > now + _EARLY:
                break
            connection.write(_audio_frame(HEAD.pack(*self._values, self._number, due)))
            if self._number % _SAMPLE == 0:
                service.late.append(service.loop.time() - due)
            self._number += 1
            service.frames += 1
            if self._number % 25 == 0:
                connection.write(_frame({"serverContent": {"outputTranscription": {"text": f" {self._number}"}}}))
            if self._number == plan.frames:
                connection.end_turn()
        return connection.answer is self


@dataclass(eq=False)
class Connection(asyncio.Protocol):
    """One WebSocket."""

    service: Service
    protocol: ServerProtocol = field(default_factory=lambda: ServerProtocol(max_size=2**26))
    session: int = -1
    bound: bool = False
    said: list[str] = field(default_factory=list[str])
    answer: Answer | None = None
    blocked: bool = False
    """The client does not read."""
    over: bool = False
    _is_seeding: bool = False
    _handle: asyncio.TimerHandle | None = None

    # --- the transport --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what cannot be sent small: a client that is late is to be seen to be late, not to fill the memory."""
        self.transport = cast("asyncio.Transport", transport)
        self._socket: socket.socket = transport.get_extra_info("socket")
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self.write = self.transport.write

    def pause_writing(self) -> None:
        """Hold the answer back."""
        self.blocked = True

    def resume_writing(self) -> None:
        """Go on; what is late is sent at once."""
        self.blocked = False

    def data_received(self, data: bytes) -> None:
        """Upgrade, then take messages."""
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if isinstance(event, Request):
                self.protocol.send_response(self.protocol.accept(event))
            elif isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY) and not self.over:
                self._take(json.loads(bytes(event.data)))
        for chunk in self.protocol.data_to_send():
            if chunk:
                self.write(chunk)
        if self.protocol.close_expected():
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- as asyncio has it
        """Let the session go."""
        self._release()

    def cut(self) -> None:
        """Reset."""
        service = self.service
        cut = Cut(self.session, service.loop.time(), self.answer is not None)
        service.cuts.append(cut)
        service.open_cuts[self.session] = cut
        self._release()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    def _release(self) -> None:
        self.over = True
        self.answer = None
        if self._handle is not None:
            self._handle.cancel()
        if self.service.bound.get(self.session) is self:
            del self.service.bound[self.session]

    def _refuse(self, code: int, reason: str) -> None:
        self.service.problems.append(f"session {self.session}: {reason}")
        self._release()
        self.protocol.send_close(code, reason)

    # --- the conversation -----------------------------------------------------------------------------------------

    def _take(self, message: dict[str, Any]) -> None:
        content = _either(message, "clientContent", "client_content")
        if self.session < 0 and "setup" in message:
            self._open(message["setup"])
        elif self.bound and content is not None:
            self._hear(content, complete=bool(_either(content, "turnComplete", "turn_complete")))
        else:
            self._refuse(1007, "Request contains an invalid argument.")

    def _open(self, setup: dict[str, Any]) -> None:
        self.session = int(setup["systemInstruction"]["parts"][0]["text"].rpartition(" ")[2])
        service = self.service
        handle = setup.get("sessionResumption", {}).get("handle")
        if handle is not None:
            saved = service.saved.get(handle)
            if saved is None or saved.session != self.session:
                self._refuse(1007, "Invalid session handle.")
                return
            if self.session in service.bound:
                self._refuse(1011, "Session is already in use by another connection.")
                return
            self.said = list(saved.said)
        history = setup.get("historyConfig", {})
        self._is_seeding = handle is None and bool(history.get("initialHistoryInClientContent"))
        service.loop.call_later(service.plan.setup, self._bind)

    def _bind(self) -> None:
        if not self.over:
            self.bound = True
            self.service.bind(self.session, self)
            self._note()
            self.write(_frame({"setupComplete": {}}))

    def _note(self) -> None:
        self.service.final[self.session] = tuple(self.said)

    def _hear(self, content: dict[str, Any], *, complete: bool) -> None:
        turns = content.get("turns", [])
        asks = complete and not self._is_seeding
        self._is_seeding = self._is_seeding and not complete
        self.said += ["".join(part["text"] for part in turn["parts"]) for turn in turns if turn["role"] == "user"]
        self._note()
        if not asks:
            return
        if self.answer is not None:  # the question before is let go, as the service does
            self.write(_INTERRUPTED)
            self.write(_TURN_COMPLETE)
        if self._handle is not None:
            self._handle.cancel()
        self.write(_NOT_RESUMABLE)
        start = self.service.loop.time() + self.service.plan.first_frame
        self.answer = Answer(self, int(self.said[-1].split()[1]), start)
        self.service.begin(self.answer)

    def end_turn(self) -> None:
        """The answer has been given."""
        self.answer = None
        self.write(_GENERATION_COMPLETE)
        self.write(_TURN_COMPLETE)
        self._handle = self.service.loop.call_later(self.service.plan.handle, self._send_handle)

    def _send_handle(self) -> None:
        handle = self.service.new_handle(Saved(self.session, tuple(self.said)))
        self.write(_frame({"sessionResumptionUpdate": {"newHandle": handle, "resumable": True}}))


async def _lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def _say(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def _serve() -> None:
    lines = await _lines()
    given = json.loads(await lines.readline())
    if cores := given.pop("cores", None):
        os.sched_setaffinity(0, cores)
    service = Service(Plan(**given))
    listener = await asyncio.get_running_loop().create_server(
        lambda: Connection(service), service.plan.host, 0, backlog=_BACKLOG
    )
    gc.disable()  # nothing here makes cycles worth a pause
    _say({"port": listener.sockets[0].getsockname()[1]})
    while line := await lines.readline():
        match json.loads(line):
            case {"do": "cut", "rate": rate}:
                service.start_cutting(float(rate))
                _say({})
            case {"do": "leave alone"}:
                service.stop_cutting()
                _say({})
            case {"do": "report"}:
                _say(service.report())
            case other:
                raise ValueError(other)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve())
