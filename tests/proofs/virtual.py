"""An event loop without sockets, threads or waiting: where nothing is ready, its clock jumps to the next timer.

The real client and the real emulator run in it together. What they open goes through a `Network` in memory, which knows
round trips, refusals, cuts and black holes; what each of them does, and when, is the same in every run. (looptime keeps real
sockets, and with them the kernel's own order of things; so it cannot be used here.)
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import heapq
import inspect
import random
import ssl as ssl_module
import time
from collections import deque
from collections.abc import Callable, Coroutine
from socket import AF_INET
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest import mock

from resumekit.emulator import LiveServer
from resumekit.emulator import server as emulator_server

__all__ = ["TLS", "Network", "Server", "Stuck", "VirtualLoop", "Wire", "in_virtual_time", "run", "run_by"]

T = TypeVar("T")
_WINDOW = 256 * 1024
"""Bytes that a connection holds on their way before its sender has to keep them."""
_TLS_GOODBYE = 30.0
"""Seconds that asyncio waits for the other side's `close_notify`."""
TLS = ssl_module.SSLContext(ssl_module.PROTOCOL_TLS_CLIENT)
"""For connections that are to take the time of TLS; nothing is encrypted."""


class Stuck(Exception):
    """Nothing will ever happen again, or too much does."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop in virtual time; see the module."""

    def __init__(self, *, turns: int = 300_000) -> None:
        super().__init__()
        self.clock = 1000.0
        self.wall = 1_790_000_000.0
        """Ahead of the clock."""
        self.turns = 0
        """How often the loop went round."""
        self.at_turn: Callable[[int], object] | None = None
        """Called at the beginning of each of them."""
        self.network = Network(self)
        self.complaints: list[dict[str, Any]] = []
        """What would have been logged as an error."""
        self.set_exception_handler(lambda _, context: self.complaints.append(context))
        self._most_turns = turns

    def time(self) -> float:
        return self.clock

    def wall_clock(self) -> float:
        return self.clock + self.wall

    def jump(self, seconds: float, *, asleep: bool = False) -> None:
        """Let the process stand still; `asleep`: so does the monotonic clock, as in a suspended laptop."""
        if asleep:
            self.wall += seconds
        else:
            self.clock += seconds

    def timers(self) -> list[asyncio.TimerHandle]:
        """Return all that are set, but for bytes on their way."""
        under_way = End._arrived
        return [
            timer
            for timer in self._scheduled
            if not timer.cancelled() and getattr(timer._callback, "__func__", None) is not under_way
        ]

    def _run_once(self) -> None:
        self.turns += 1
        if self.turns > self._most_turns:
            raise Stuck(f"{self.turns} turns of the loop, and no end: {_running(self)}")
        while self._scheduled and self._scheduled[0].cancelled():
            self._timer_cancelled_count -= 1
            heapq.heappop(self._scheduled)._scheduled = False
        if not (self._ready or self._scheduled):
            raise Stuck(f"nothing will ever happen: {_running(self)}")
        if self._scheduled:
            when = self._scheduled[0].when()
            if not self._ready or when <= self.clock + self._clock_resolution:  # asyncio fires so much early
                self.clock = max(self.clock, when)
        if self.at_turn is not None:
            self.at_turn(self.turns)
        super()._run_once()

    # --- what would leave the process, or the thread

    def run_in_executor(self, executor: object, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        future = self.create_future()
        try:
            done = functools.partial(future.set_result, func(*args))
        except Exception as error:
            done = functools.partial(future.set_exception, error)
        self.call_soon(lambda: future.cancelled() or done())
        return future

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **kwargs: Any) -> Any:
        return await self.network.dial(protocol_factory, port, tls=kwargs.get("ssl") is not None)

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **kwargs: Any) -> Any:
        return self.network.listen(protocol_factory, tls=kwargs.get("ssl") is not None)

    async def getaddrinfo(self, *args: Any, **kwargs: Any) -> Any:
        raise OSError("there is no network here")


def _running(loop: VirtualLoop) -> str:
    return "; ".join(str(task.get_coro()) for task in asyncio.all_tasks(loop))


def run(main: Callable[[VirtualLoop], Coroutine[Any, Any, T]], *, seed: int = 1, turns: int = 300_000) -> T:
    """Run something in a new loop and close it; what it leaves behind is not looked at."""
    loop = VirtualLoop(turns=turns)
    drawn = random.getstate()
    random.seed(seed)
    try:
        with mock.patch.object(time, "time", loop.wall_clock):
            return loop.run_until_complete(main(loop))
    finally:
        random.setstate(drawn)
        with contextlib.suppress(Stuck):
            loop._most_turns += 1000
            for task in (tasks := asyncio.all_tasks(loop)):
                task.cancel()
            if tasks:
                loop.run_until_complete(asyncio.wait(tasks, timeout=1000))
            loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test of an async one: it is run in a new loop."""

    return run_by(lambda coroutine: run(lambda _: coroutine), test)


def run_by(
    runner: Callable[[Coroutine[Any, Any, None]], object], test: Callable[..., Coroutine[Any, Any, None]]
) -> Callable[..., None]:
    """Make a test of an async one, with the same fixtures and parameters: `runner` gets its coroutine."""

    def as_test(*args: Any, **kwargs: Any) -> None:
        runner(test(*args, **kwargs))

    functools.update_wrapper(as_test, test)
    del as_test.__wrapped__  # pytest would see an async function
    as_test.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    return as_test


class Server(LiveServer):
    """The emulator, without certificates."""

    def __init__(self, **settings: Any) -> None:
        with mock.patch.object(emulator_server, "trustme"):
            super().__init__(**{"connection_age": None, **settings})

    def client_ssl_context(self) -> ssl_module.SSLContext:
        return TLS

    def _make_certificates(self) -> Any:
        return SimpleNamespace(cleanup=lambda: None)


# ---------------------------------------------------------------------- the network


class Network:
    """What client and server dial through."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.rtt = 0.05
        """Seconds, there and back."""
        self.down = False
        """Connections are refused."""
        self.hole = False
        """New connections vanish, too."""
        self.wires: list[Wire] = []
        """All that have been opened."""
        self._listeners: dict[int, Any] = {}

    @property
    def open(self) -> list[Wire]:
        """Connections whose client has not let go of them."""
        return [wire for wire in self.wires if not wire.client.lost]

    def listen(self, factory: Any, *, tls: bool) -> Listener:
        port = 1 + len(self._listeners)
        self._listeners[port] = (factory, tls)
        return Listener(self, port)

    def forget(self, port: int) -> None:
        self._listeners.pop(port, None)

    async def dial(self, factory: Any, port: int, *, tls: bool) -> tuple[Any, Any]:
        """Open a connection: a round trip for TCP, and one for TLS."""
        await asyncio.sleep(self.rtt)
        if self.hole:
            await self._loop.create_future()
        if self.down or port not in self._listeners:
            raise ConnectionRefusedError("refused")
        if tls:
            await asyncio.sleep(self.rtt)
        protocol, served = factory(), self._listeners[port][0]()
        wire = Wire(self._loop, self, protocol, served, tls=tls)
        self.wires.append(wire)
        self._loop.call_soon(served.connection_made, wire.server)
        self._loop.call_soon(protocol.connection_made, wire.client)
        ready = self._loop.create_future()
        self._loop.call_soon(lambda: ready.done() or ready.set_result(None))
        try:
            await ready
        except BaseException:
            wire.client.close()
            raise
        return wire.client, protocol

    def cut(self, *, reset: bool = True) -> None:
        """Let every connection end now, on both sides."""
        for wire in self.open:
            wire.cut(ConnectionResetError("reset") if reset else None)

    def swallow(self, *ways: str) -> None:
        """Let what is sent on the connections that are open vanish, on its way ``"up"`` and ``"down"``."""
        for wire in self.open:
            wire.swallow(*ways or ("up", "down"))


class Listener:
    """As `asyncio.Server`."""

    def __init__(self, network: Network, port: int) -> None:
        self._network = network
        self._port = port
        self._serving = True
        self.sockets = (SimpleNamespace(family=AF_INET, getsockname=lambda: ("127.0.0.1", port)),)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._network._loop

    def is_serving(self) -> bool:
        return self._serving

    def close(self) -> None:
        self._serving = False
        self._network.forget(self._port)

    async def wait_closed(self) -> None:
        pass


class Wire:
    """A TCP connection."""

    def __init__(self, loop: VirtualLoop, network: Network, client: Any, server: Any, *, tls: bool) -> None:
        self.client = End(loop, network, client, tls=tls)
        self.server = End(loop, network, server, tls=tls)
        self.client.peer, self.server.peer = self.server, self.client

    def cut(self, error: Exception | None) -> None:
        """End it on both sides."""
        for end in (self.client, self.server):
            end.lose(error)

    def swallow(self, *ways: str) -> None:
        """Let what is under way, and what will be sent, vanish."""
        if "up" in ways:
            self.client.swallows = True
        if "down" in ways:
            self.server.swallows = True


class End(asyncio.Transport):
    """One end of it."""

    def __init__(self, loop: VirtualLoop, network: Network, protocol: Any, *, tls: bool) -> None:
        socket = SimpleNamespace(fileno=lambda: 1, setsockopt=self._set_option)
        super().__init__({"socket": socket, "sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 2)})
        self._loop = loop
        self._network = network
        self._protocol = protocol
        self._tls = tls
        self.peer: End
        self.lost = False
        """`connection_lost` was called, or will be."""
        self.swallows = False
        """What it sends does not arrive."""
        self._closing = False
        self._reset = False
        self._reading = True
        self._come: deque[bytes | Exception | None] = deque()
        """What has arrived, and was not read."""
        self._unread = 0
        self._under_way: deque[bytes | Exception | None] = deque()
        self._high, self._low = 64 * 1024, 16 * 1024
        self._writing_paused = False
        self._goodbye: asyncio.TimerHandle | None = None
        self._arrives = 0.0

    def _set_option(self, level: int, option: int, value: object) -> None:
        self._reset = True  # SO_LINGER 0: nobody sets anything else

    # --- for the protocol

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing or self.lost

    def can_write_eof(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.call_soon(self._read)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 64 * 1024 if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        return max(self._unread - _WINDOW, 0)

    def write(self, data: Any) -> None:
        if self.is_closing() or not data:
            return
        data = bytes(data)
        self._unread += len(data)
        self._send(data)
        if self.get_write_buffer_size() > self._high and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()

    def close(self) -> None:
        if self.is_closing():
            return
        self._closing = True
        self._send(None)
        if not self._tls and not self.get_write_buffer_size():
            self.lose(None)
        elif self._goodbye is None:
            self._goodbye = self._loop.call_later(_TLS_GOODBYE, self.abort)

    def abort(self) -> None:
        if not self.lost:
            self._send(ConnectionResetError("reset") if self._reset else None)
            self.lose(None)

    # --- the way

    def _send(self, data: bytes | Exception | None) -> None:
        self._arrives = max(self._loop.clock + self._network.rtt / 2, self._arrives)
        self._under_way.append(data)
        self._loop.call_at(self._arrives, self._arrived)  # timers of one moment fire in any order

    def _arrived(self) -> None:
        data = self._under_way.popleft()
        if not self.swallows:
            self.peer._come.append(data)
            self.peer._read()

    def _read(self) -> None:
        while self._reading and self._come and not self.lost:
            data = self._come.popleft()
            if isinstance(data, bytes):
                self.peer._was_read(len(data))
                if not self._closing:
                    self._protocol.data_received(data)
            elif data is not None:
                self.lose(data)
            elif self._closing:
                self.lose(None)
            else:
                self._protocol.eof_received()
                self.close()
                self.lose(None)

    def _was_read(self, size: int) -> None:
        self._unread -= size
        if self._writing_paused and self.get_write_buffer_size() <= self._low and not self.lost:
            self._writing_paused = False
            self._protocol.resume_writing()

    def lose(self, error: Exception | None) -> None:
        """Let the protocol know of the end."""
        if not self.lost:
            self.lost = True
            if self._goodbye is not None:
                self._goodbye.cancel()
            self._loop.call_soon(self._protocol.connection_lost, error)
