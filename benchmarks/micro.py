"""What do the parts cost that a frame passes, and those that it must not pass?

The engine without a driver, its buffers beside a send of `websockets`, and the building blocks of asyncio and pluggy
that one could put in a frame's way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pluggy
from websockets.asyncio.client import connect

from benchmarks import _engine, frames
from benchmarks._sink import sink
from benchmarks.clients import CLIENTS, cost
from benchmarks.harness import Bench, Sampler, run, sampler
from benchmarks.server import Script, serve
from resumekit import events
from resumekit.core.engine import Engine
from resumekit.core.inbox import Inbox
from resumekit.core.outbox import Outbox
from resumekit.core.policy import Policy
from resumekit.drivers.driver import Driver
from resumekit.wire import decode_client, decode_server, media_shape

ENVIRONMENTS = ["bench"]
RECV, SEND = "websockets recv", "websockets send"
CALL = "a call"
_MANY = 1000
_A_SECOND = 25
"""Frames of 40 ms."""


def measure(bench: Bench) -> None:
    """Time the engine, what stands beside the transport, and the blocks."""
    _time_engine(bench)
    _time_beside_recv(bench)
    with asyncio.Runner() as runner:
        _time_sending(bench, runner)
        _time_blocks(bench, runner)


# ------------------------------------------------------------------ the engine


def _time_engine(bench: Bench) -> None:
    cases = {str(kind): some for kind, some in frames.kinds(200).items() if kind is not frames.Kind.GO_AWAY}
    cases["voice mix"] = [frame for frame in frames.mix(4000) if b'"goAway"' not in frame]
    for case, some in cases.items():
        contenders = {
            "engine, whole": _engine.feeder(_engine.live_engine(express=False), some),
            "engine": _engine.feeder(_engine.live_engine(), some),
        }
        bench.timed(f"engine: {case}", contenders, items=len(some), baselines=["engine, whole"])
    inbox, message = Inbox(max_frames=100, max_bytes=1 << 20), decode_server(frames.audio(1)[0])

    def through_inbox() -> None:
        for _ in range(_MANY):
            inbox.put(message)
            inbox.take()

    bench.timed("engine: inbox", {"put and take": through_inbox}, items=_MANY)


# ------------------------------------------------------------------ beside the transport


def _time_beside_recv(bench: Bench) -> None:
    """What each frame of audio goes through before it is handed on, in parts of a bare recv at full speed."""
    some = frames.audio(100)
    shape = media_shape(decode_server(some[0]))
    assert shape is not None
    messages = [decode_server(frame) for frame in some]

    def match() -> None:
        matches = shape.matches
        for frame in some:
            matches(frame)

    def look() -> None:
        for message in messages:
            _ = message.go_away is None and message.session_resumption_update is None

    def decode() -> None:
        for frame in some:
            decode_server(frame)

    parts = {
        "raw: is it plain media?": match,
        "raw: the same, counted, kept and taken": _engine.feeder(_engine.live_engine(), some),
        "decoded: two attribute tests": look,
        "decoded: the decoding itself, sound unread": decode,
    }
    with serve() as port:
        uri, script = f"ws://127.0.0.1:{port}/", Script()
        count = 1000 if bench.quick else 4000
        loop = asyncio.new_event_loop
        samplers: dict[str, Sampler] = {
            RECV: lambda: cost(CLIENTS["websockets"], uri, script, loop=loop, warm=250, count=count)
        }
        samplers |= {name: sampler(part, items=len(some)) for name, part in parts.items()}
        bench.compare("beside a recv", samplers, unit="us/frame", baselines=[RECV])


# ------------------------------------------------------------------ what is sent


def _time_sending(bench: Bench, runner: asyncio.Runner) -> None:
    frame = frames.microphone()
    message, shorter = decode_client(frame), decode_client(frames.microphone(shorter=True))
    engine, whole = _engine.live_engine(), _engine.live_engine(express=False)
    outbox, beside, uneven = (Outbox(Policy().audio_resend) for _ in range(3))

    async def send() -> None:
        for _ in range(_MANY):
            await socket.send(frame)

    def read() -> None:
        for _ in range(_MANY):
            decode_client(frame)

    def through(taker: Engine) -> Callable[[], None]:
        def send_all() -> None:
            for _ in range(_MANY):
                _engine.send(taker, message)

        return send_all

    indices = iter(range(1 << 60))

    def through_outbox() -> None:
        for _ in range(_MANY):
            outbox.stream(message, next(indices))

    def with_others() -> None:
        for place in range(_MANY):
            if place % _A_SECOND == 0:
                beside.skip()  # counts a message that is no audio
            beside.stream(message, next(indices))

    def of_two_lengths() -> None:
        for _ in range(_MANY // 2):
            uneven.stream(message, next(indices))
            uneven.stream(shorter, next(indices))

    contenders: dict[str, Callable[[], object]] = {
        SEND: lambda: runner.run(send()),
        "read the frame": read,
        "engine, whole": through(whole),
        "engine, with the buffer": through(engine),
        "the buffer": through_outbox,
        "the buffer, something else each second": with_others,
        "the buffer, frames of two lengths": of_two_lengths,
    }
    with sink() as port:
        socket = runner.run(_connected(f"ws://127.0.0.1:{port}"))
        bench.timed("one sent frame of audio", contenders, items=_MANY, baselines=[SEND])
        runner.run(socket.close())


async def _connected(uri: str) -> Any:
    return await connect(uri, compression=None)


# ------------------------------------------------------------------ building blocks


class _Spec:
    @pluggy.HookspecMarker("bench")
    def on_frame(self, frame: bytes) -> None: ...


class _Impl:
    @pluggy.HookimplMarker("bench")
    def on_frame(self, frame: bytes) -> None: ...


def _plugins(count: int) -> pluggy.PluginManager:
    manager = pluggy.PluginManager("bench")
    manager.add_hookspecs(_Spec)
    for _ in range(count):
        manager.register(_Impl())
    return manager


def _time_blocks(bench: Bench, runner: asyncio.Runner) -> None:
    driver = runner.run(_driver())
    told = events.HandleReceived(connection=1, digest="a digest", index=None)
    contenders: dict[str, Callable[[], object]] = {CALL: _repeated(_nothing, b"")}
    for count in (0, 1, 3):
        contenders[f"a pluggy hook, {count} implementations"] = _repeated(_plugins(count).hook.on_frame, frame=b"")
    contenders["an event, published"] = _repeated(driver.publish, told)
    in_loop: dict[str, Callable[[], Awaitable[None]]] = {
        "an awaited coroutine": _await,
        "one layer of async generator": _generator,
        "a deque and one future, between tasks": _deque_hop,
        "asyncio.Queue, between tasks": _queue_hop,
        "asyncio.timeout around an await": _timeout,
        "asyncio.wait_for": _wait_for,
        "a task for each": _task,
    }
    for name, work in in_loop.items():
        contenders[name] = lambda work=work: runner.run(work())
    bench.timed("blocks", contenders, items=_MANY, baselines=[CALL], unit="us/call")


def _nothing(*_: object) -> None:
    pass


def _repeated(call: Callable[..., object], *arguments: object, **named: object) -> Callable[[], None]:
    def repeated() -> None:
        for _ in range(_MANY):
            call(*arguments, **named)

    return repeated


async def _driver() -> Driver:
    async def dial() -> Any:
        raise OSError

    return Driver(_engine.live_engine(), dial, policy=Policy())


async def _nothing_later() -> None:
    pass


async def _await() -> None:
    for _ in range(_MANY):
        await _nothing_later()


async def _generator() -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(_MANY):
            yield number

    async for _ in numbers():
        pass


async def _timeout() -> None:
    for _ in range(_MANY):
        async with asyncio.timeout(20):
            await _nothing_later()


async def _wait_for() -> None:
    for _ in range(_MANY):
        await asyncio.wait_for(_nothing_later(), 20)


async def _task() -> None:
    for _ in range(_MANY):
        await asyncio.create_task(_nothing_later())


async def _queue_hop() -> None:
    """Each item wakes the other task."""
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def put() -> None:
        for number in range(_MANY):
            queue.put_nowait(number)
            await asyncio.sleep(0)

    putting = asyncio.create_task(put())
    for _ in range(_MANY):
        await queue.get()
    await putting


async def _deque_hop() -> None:
    items: deque[int] = deque()
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] | None = None

    async def put() -> None:
        for number in range(_MANY):
            items.append(number)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
            await asyncio.sleep(0)

    putting = asyncio.create_task(put())
    for _ in range(_MANY):
        while not items:
            waiter = loop.create_future()
            await waiter
        items.popleft()
    await putting


if __name__ == "__main__":
    run(__doc__, measure)
