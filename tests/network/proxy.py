"""A TCP proxy on the loopback that does to a connection what networks do, at the very byte that a schedule names.

It stands below TLS, so that the client and the emulator notice what they would notice in the wild::

    async with Proxy(server, schedule=[Fault("rst", "down", record=6, byte=2, on=1)], seed=7) as proxy:
        ...  # connect to proxy.base_url
        proxy.arm(Fault("hole", "up"))  # counted from here, on the connection that is open

Positions are counted in records: of TLS, whose boundaries can be read from outside; with `inside=True` the proxy ends
TLS on both sides, and they are the HTTP head (record 0) and the frames of WebSocket. A fault that is due strikes when the bytes
before it have been passed on, and before the next one is. What the proxy waits for is drawn from its seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import socket
import ssl
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import trustme

__all__ = ["CALM", "Fault", "Proxy", "Strike", "Weather"]

Way = Literal["up", "down"]
"""To the server, to the client."""
WAYS: tuple[Way, ...] = ("up", "down")
CHUNK = 2**16
RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Fault:
    """Something that happens to a connection when so much of one way has been passed on."""

    do: Literal["rst", "fin", "hole", "stall"]
    """`rst`: both sides are reset. `fin`: both sides see the end of the stream. `hole`: nothing is passed on any more, and
    nobody is told. `stall`: nothing is passed on for `seconds`, and then everything, as after packet loss."""
    way: Way = "down"
    record: int = 0
    byte: int = 0
    """Of that record; a shorter record ends before it."""
    on: int | None = None
    """Only on this connection, in the order in which they were accepted; None: on any."""
    times: int | None = 1
    """How often in all; None: for ever."""
    only: Way | None = None
    """Of `fin` and `hole`: this way alone; None: both."""
    seconds: float = 0.3
    """Of a stall; of a hole, how long the end of one side is kept from the other."""

    @property
    def ways(self) -> tuple[Way, ...]:
        return WAYS if self.only is None else (self.only,)

    def __str__(self) -> str:
        where = f"{self.way} {self.record}+{self.byte}"
        return f"{self.do}{'' if self.only is None else ' ' + self.only} at {where} on {self.on}"


@dataclass(frozen=True)
class Weather:
    """What a connection is like in general."""

    latency: float = 0.0
    """Seconds, each way."""
    jitter: float = 0.0
    """At most so much is added to it; bytes stay in order."""
    rate: float | None = None
    """Bytes per second."""
    slices: int | None = None
    """Bytes are passed on in pieces of one to so many."""


CALM = Weather()


@dataclass(frozen=True)
class Strike:
    """A fault that struck."""

    fault: Fault
    connection: int
    at: float
    """On the clock of the loop."""


class _Over(Exception):
    """The connection has ended."""


@dataclass
class _Planned:
    """A fault of the schedule, and how often it will strike yet."""

    fault: Fault
    left: float
    had: set[int] = field(default_factory=set)
    """Connections that it struck: each of them once."""


class _Framing:
    """Where in a stream we are: in which record, and how much of it has passed."""

    def __init__(self, *, inside: bool) -> None:
        self.at = (0, 0)
        self.sizes: list[int] = []
        """Of the records that have passed."""
        self._inside = inside
        self._size: int | None = None
        """Of the record, head included; None: its head has not passed."""
        self._head = bytearray()

    def room(self) -> int:
        """Return how many bytes may pass before this is to be asked again."""
        return 1 if self._size is None else self._size - self.at[1]

    def passed(self, data: bytes) -> None:
        """Count bytes, at most `room()`."""
        record, byte = self.at
        byte += len(data)
        if self._size is None:
            self._head += data
            self._size = self._size_by_its_head(record)
        if byte == self._size:
            self.sizes.append(byte)
            self._size = None
            self._head.clear()
            record, byte = record + 1, 0
        self.at = (record, byte)

    def _size_by_its_head(self, record: int) -> int | None:
        head = self._head
        if not self._inside:
            return 5 + int.from_bytes(head[3:5]) if len(head) == 5 else None
        if record == 0:
            return len(head) if head.endswith(b"\r\n\r\n") else None
        if len(head) < 2:
            return None
        extra = {126: 2, 127: 8}.get(head[1] & 127, 0)
        if len(head) < 2 + extra:
            return None
        mask = 4 if head[1] & 128 else 0
        return 2 + extra + mask + (int.from_bytes(head[2:]) if extra else head[1] & 127)


class _Way:
    """One way of a connection: reads on one side, writes on the other."""

    def __init__(self, connection: _Connection, name: Way, reader: Any, writer: Any) -> None:
        self.name = name
        self.framing = _Framing(inside=connection.proxy.inside)
        self.state: Literal["open", "hole", "ended"] = "open"
        self.stalled_until = 0.0
        self.last = 0.0
        """When something was passed on; on the clock of the loop."""
        self._connection = connection
        self._reader = reader
        self._writer = writer
        self._queue: asyncio.Queue[tuple[float, bytes | OSError]] = asyncio.Queue(16)
        self._free_at = 0.0

    async def read(self) -> None:
        """Take what comes, with the time at which it shall arrive."""
        data: bytes | OSError = b"-"
        while isinstance(data, bytes) and data:
            try:
                data = await self._reader.read(CHUNK)
            except OSError as error:
                data = error
            await self._queue.put((self._arrival(data), data))

    def _arrival(self, data: bytes | OSError) -> float:
        proxy = self._connection.proxy
        weather = proxy.weather
        due = asyncio.get_running_loop().time() + weather.latency + weather.jitter * proxy.draw.random()
        size = len(data) if isinstance(data, bytes) else 0
        self._free_at = max(due, self._free_at) + (size / weather.rate if weather.rate else 0.0)
        return self._free_at

    async def write(self) -> None:
        """Pass on what has come, up to the end of the stream."""
        await self._strike()
        while True:
            due, data = await self._queue.get()
            await self._until(due)
            if not isinstance(data, bytes) or not data:
                await self._end_of_sender(data)
                return
            for piece in self._pieces(data):
                await self._pass_on(piece)

    async def _until(self, due: float) -> None:
        while (wait := max(due, self.stalled_until) - asyncio.get_running_loop().time()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(wait)

    def _pieces(self, data: bytes) -> Iterable[bytes]:
        proxy = self._connection.proxy
        at = 0
        while at < len(data):
            size = proxy.draw.randint(1, proxy.weather.slices or 1) if proxy.weather.slices else len(data)
            yield data[at : at + size]
            at += size

    async def _pass_on(self, piece: bytes) -> None:
        connection = self._connection
        while piece:
            size = 0
            while size < len(piece) and not connection.due(self):
                step = piece[size : size + min(self.framing.room(), connection.distance(self))]
                self.framing.passed(step)
                size += len(step)
            await self._until(0.0)
            if self.state == "open" and not self._writer.is_closing():
                with contextlib.suppress(OSError):
                    self.last = asyncio.get_running_loop().time()
                    self._writer.write(piece[:size])
                    await self._writer.drain()
            piece = piece[size:]
            await self._strike()
        if connection.proxy.weather.slices:
            await asyncio.sleep(0)

    async def say(self, data: bytes) -> None:
        """Write what nobody sent."""
        self._writer.write(data)
        await self._writer.drain()

    async def _strike(self) -> None:
        for planned in self._connection.due(self):
            self._connection.take(planned)

    async def _end_of_sender(self, how: bytes | OSError) -> None:
        if self.state == "hole":
            await asyncio.sleep(self._connection.secret_for)
            raise _Over
        if isinstance(how, OSError):
            raise _Over
        self.end()

    def release(self) -> None:
        """Keep nothing but where it was."""
        self._reader = self._writer = None

    def end(self) -> None:
        """Let the receiving side see the end of the stream."""
        self.state = "ended"
        if self._writer is None:
            return
        with contextlib.suppress(OSError):
            if self._writer.can_write_eof():
                self._writer.write_eof()
            else:
                self._writer.close()


class _Connection:
    """A connection of a client, and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy, number: int) -> None:
        self.proxy = proxy
        self.number = number
        self.accepted_at = asyncio.get_running_loop().time()
        self.secret_for = 0.0
        self.ways: dict[Way, _Way] = {}
        self._ends: list[tuple[Any, asyncio.StreamWriter]] = []
        """Each with its socket, which TLS forgets when it is closed."""

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.append((writer.get_extra_info("socket"), writer))
        try:
            await self._run(reader, writer)
            async with asyncio.timeout(1):
                for _, each in self._ends:
                    each.close()
                    await each.wait_closed()
        except OSError:
            pass
        finally:
            self._reset()
            self._ends.clear()  # a proxy may see thousands of connections
            for way in self.ways.values():
                way.release()

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await self.proxy.dial()
        self._ends.append((server_writer.get_extra_info("socket"), server_writer))
        self.ways = {
            "up": _Way(self, "up", reader, server_writer),
            "down": _Way(self, "down", server_reader, writer),
        }
        try:
            async with asyncio.TaskGroup() as group:
                for way in self.ways.values():
                    group.create_task(way.read())
                    group.create_task(way.write())
        except* _Over:
            self._reset()

    def _planned(self, way: _Way) -> list[_Planned]:
        return [
            planned
            for planned in self.proxy.planned
            if planned.fault.way == way.name
            and planned.fault.on in (None, self.number)
            and planned.left > 0
            and self.number not in planned.had
        ]

    def due(self, way: _Way) -> list[_Planned]:
        """Return the faults that are to strike now."""
        return [p for p in self._planned(way) if (p.fault.record, p.fault.byte) <= way.framing.at]

    def distance(self, way: _Way) -> int:
        """Return how many bytes may pass before a fault is due in the record under way."""
        record, byte = way.framing.at
        return min((p.fault.byte - byte for p in self._planned(way) if p.fault.record == record), default=CHUNK)

    def take(self, planned: _Planned) -> None:
        """Let a fault of the schedule strike."""
        planned.left -= 1
        planned.had.add(self.number)
        self.suffer(planned.fault)

    def suffer(self, fault: Fault) -> None:
        """Let a fault strike."""
        now = asyncio.get_running_loop().time()
        self.proxy.strikes.append(Strike(fault, self.number, now))
        ways = [self.ways[name] for name in fault.ways if name in self.ways]  # none while the server is dialled
        match fault.do:
            case "rst":
                self._reset()
            case "fin":
                for way in ways:
                    way.end()
            case "hole":
                self.secret_for = fault.seconds
                for way in ways:
                    way.state = "hole"
            case "stall":
                for way in ways:
                    way.stalled_until = now + fault.seconds

    def _reset(self) -> None:
        for way in self.ways.values():
            way.state = "ended"
        for raw, writer in self._ends:
            if raw.fileno() >= 0:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()


class Proxy:
    """Stands in front of an emulator; use it as an async context manager.

    Args:
        server: The emulator; `upstream` may be set to another one later.
        schedule: What goes wrong; positions are counted from the beginning of each connection.
        weather: What its connections are like.
        seed: Of jitter and slices.
        inside: End TLS here, and count WebSocket frames.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        server: Any,
        schedule: Iterable[Fault] = (),
        *,
        weather: Weather = CALM,
        seed: int = 0,
        inside: bool = False,
    ) -> None:
        self.upstream = server
        self.settings = server.settings
        self.planned: list[_Planned] = []
        self.plan(*schedule)
        self.weather = weather
        self.draw = random.Random(seed)
        self.inside = inside
        self.strikes: list[Strike] = []
        self.connections: list[_Connection] = []
        self.port = 0
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # --- what clients need ------------------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        return f"https://{self.host}:{self.port}"

    def client_ssl_context(self) -> ssl.SSLContext:
        if not self.inside:
            return self.upstream.client_ssl_context()
        return ssl.create_default_context(cadata=_authority().cert_pem.bytes().decode())

    # --- faults -----------------------------------------------------------------------------------------------------

    def arm(self, *faults: Fault) -> None:
        """Add faults to the schedule whose positions are counted from here, on the newest connection."""
        connection = self.connections[-1]
        for fault in faults:
            record, byte = connection.ways[fault.way].framing.at
            begun = record + (byte > 0)
            self.plan(replace(fault, on=connection.number, record=begun + fault.record))

    def plan(self, *faults: Fault) -> None:
        """Add faults to the schedule."""
        self.planned += [_Planned(fault, float("inf") if fault.times is None else fault.times) for fault in faults]

    def strike(self, fault: Fault) -> None:
        """Let something happen at once to the newest connection."""
        self.connections[-1].suffer(fault)

    async def says(self, data: bytes, *, on: int) -> None:
        """Say something to the client of a connection, as if it were the server."""
        await self.connections[on].ways["down"].say(data)

    def refuse(self) -> None:
        """Listen no more: who dials is refused."""
        assert self._listener is not None
        self._listener.close()

    async def accept(self) -> None:
        """Listen (again)."""
        tls = _server_context() if self.inside else None
        self._listener = await asyncio.start_server(self._accepted, self.host, self.port, ssl=tls)
        self.port = self._listener.sockets[0].getsockname()[1]

    # --- life -------------------------------------------------------------------------------------------------------

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the server."""
        tls = self.upstream.client_ssl_context() if self.inside else None
        return await asyncio.open_connection(self.upstream.host, self.upstream.port, ssl=tls)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        connection = _Connection(self, len(self.connections))
        self.connections.append(connection)
        with contextlib.suppress(asyncio.CancelledError):  # by `__aexit__`, which is the end of it
            await connection.run(reader, writer)

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.refuse()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


@functools.cache
def _authority() -> trustme.CA:
    return trustme.CA()


@functools.cache
def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _authority().issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context
