"""How do the costs grow with the size of a frame, the number of sessions, and what waits in the buffers?"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Coroutine
from functools import partial

from benchmarks import _engine, contenders, frames
from benchmarks.clients import CLIENTS
from benchmarks.harness import Bench, run
from benchmarks.server import Script, serve
from resumekit.core import actions, inputs
from resumekit.core.engine import Engine
from resumekit.core.failures import Failure, Phase, Side
from resumekit.core.policy import Policy
from resumekit.wire import decode_client, decode_server

ENVIRONMENTS = ["bench"]
MILLISECONDS = (10, 20, 40, 100, 200, 500, 1000, 4000)
SENT_MILLISECONDS = (10, 40, 200, 1000)
SESSIONS = (1, 10, 100, 1000, 3000)
SENT_SESSIONS = (1, 10, 100)
UNACKNOWLEDGED = (0, 10, 100, 1000)
UNREAD = (0, 10, 100, 1000, 9000)
SENT_BY = (contenders.GENAI, "resumekit typed", "resumekit native", "resumekit raw", "websockets")
SHOWN = {contenders.GENAI, "resumekit typed", "resumekit native", "resumekit native, learned", "resumekit raw"}


def measure(bench: Bench) -> None:
    """Measure each curve, with fewer points in the short form."""
    step = 2 if bench.quick else 1
    for milliseconds in MILLISECONDS[::step]:
        _frame_size(bench, milliseconds)
    for sessions in SESSIONS[: 3 if bench.quick else None]:
        _sessions(bench, sessions)
    with serve() as port:
        uri = f"ws://127.0.0.1:{port}/"
        for milliseconds in SENT_MILLISECONDS[::step]:
            _end_to_end(bench, "end to end by frame size", uri, milliseconds=milliseconds, x=milliseconds * 48 * 4 // 3)
        for sessions in SENT_SESSIONS[: 2 if bench.quick else None]:
            _end_to_end(bench, "end to end by sessions", uri, sessions=sessions, x=sessions)
    for number in UNACKNOWLEDGED[::step]:
        _unacknowledged(bench, number)
    for number in UNREAD[::step]:
        _unread(bench, number)


def _frame_size(bench: Bench, milliseconds: int) -> None:
    """What a decoder must look at grows; what it must build does not."""
    some = frames.audio(max(5, min(100, 20_000 // milliseconds)), milliseconds=milliseconds)
    calls: dict[str, Callable[[], object]] = {
        name: _over(decode, some) for name, decode in contenders.paths(some[0]).items() if name in SHOWN
    }
    calls |= {name: floor for name, floor in contenders.floors(some).items() if name == contenders.FLOOR}
    x = sum(map(len, some)) / len(some)
    bench.timed("decode by frame size", calls, items=len(some), baselines=[contenders.GENAI], x=round(x))


def _over(decode: contenders.Decode, some: list[bytes]) -> Callable[[], None]:
    def call() -> None:
        for frame in some:
            decode(frame)

    return call


def _sessions(bench: Bench, number: int) -> None:
    """One frame for each session in turn: a thousand of them do not fit into the processor's caches."""
    rounds = max(1, 1000 // number)
    some = frames.audio(8)
    calls = {
        "engine, whole": _round_robin([_engine.live_engine(express=False) for _ in range(number)], some, rounds),
        "engine": _round_robin([_engine.live_engine() for _ in range(number)], some, rounds),
    }
    bench.timed("engine by sessions", calls, items=number * rounds, x=number)


def _round_robin(engines: list[Engine], some: list[bytes], rounds: int) -> Callable[[], None]:
    feeders = [_engine.feeder(engine, [some[number % len(some)]]) for number, engine in enumerate(engines)]

    def call() -> None:
        for _ in range(rounds):
            for feed in feeders:
                feed()

    return call


# ------------------------------------------------------------------ from the socket


def _end_to_end(bench: Bench, case: str, uri: str, *, milliseconds: int = 40, sessions: int = 1, x: float) -> None:
    """Every session takes its share of the frames, all at once, as fast as they come. What comes ends with it."""
    share = max(20, (500 if bench.quick else 4000) * 40 // milliseconds // sessions)
    script = Script(count=share, milliseconds=milliseconds, pace=1e-9, together=sessions)

    async def take(client: str) -> float:
        async with contextlib.AsyncExitStack() as stack:
            takes = [await stack.enter_async_context(CLIENTS[client](uri, script)) for _ in range(sessions)]
            start = time.thread_time()
            await asyncio.gather(*(take_some(share) for take_some in takes))
            return (time.thread_time() - start) / share / sessions * 1e6

    samplers = {client: partial(_run, take, client) for client in SENT_BY}
    bench.compare(case, samplers, unit="us/frame", baselines=[contenders.GENAI], rounds=3 if bench.quick else 9, x=x)


def _run(take: Callable[[str], Coroutine[object, object, float]], client: str) -> float:
    return asyncio.run(take(client))


# ------------------------------------------------------------------ what waits for the service


def _unacknowledged(bench: Bench, number: int) -> None:
    """Messages that were sent, and that no handle covers: they are kept, and sent again after a cut."""
    some = frames.audio(100)
    engine = _with_unacknowledged(number)
    note = decode_client(json.dumps({"realtimeInput": {"audio": {"mimeType": "audio/pcm", "data": "AAAA" * 427}}}))

    def send() -> None:
        for _ in range(100):
            _engine.send(engine, note)

    calls = {"a received frame": _engine.feeder(_with_unacknowledged(number), some), "a sent frame": send}
    bench.timed("engine by unacknowledged messages", calls, items=100, x=number)
    bench.compare(
        "a cut by unacknowledged messages",
        {"engine": lambda: _cut(_with_unacknowledged(number), number)},
        unit="us/cut",
        x=number,
    )


def _with_unacknowledged(number: int) -> Engine:
    """Return an engine that has a handle, and has sent so much after it."""
    engine = _engine.live_engine(policy=Policy(control_messages=2 * number + 10))  # by default it keeps 256
    for frame in (
        frames.audio(1)[0],
        frames.dump({"serverContent": {"turnComplete": True}}),
        frames.dump({"sessionResumptionUpdate": {"newHandle": "a-handle", "resumable": True}}),
    ):
        engine.feed(inputs.FrameReceived(1, decode_server(frame)), _engine.NOW)
    while engine.take() is not None:
        pass
    context = {
        "clientContent": {"turns": [{"role": "user", "parts": [{"text": "I like trains."}]}], "turnComplete": False}
    }
    message = decode_client(json.dumps(context))
    for _ in range(number):
        _engine.send(engine, message)
    return engine


def _cut(engine: Engine, number: int) -> float:
    """Return the microseconds of the engine's work from a cut to the last message that is sent again."""
    start = time.thread_time()
    now = _engine.NOW
    lost = Failure(phase=Phase.LIVE, side=Side.THEY, code=1006)
    engine.feed(inputs.ConnectionEnded(1, lost), now)
    assert engine.wake_at is not None
    now += 60.0
    engine.feed(inputs.Tick(), now)
    engine.feed(inputs.Dialed(2), now)
    engine.feed(inputs.Written(2), now)
    todo = engine.feed(inputs.FrameReceived(2, decode_server(frames.setup_complete())), now)
    sent = 0
    while written := sum(isinstance(action, actions.SendFrame) for action in todo):
        sent += written
        todo = [action for _ in range(written) for action in engine.feed(inputs.Written(2), now)]
    taken = time.thread_time() - start
    if sent != number:
        raise RuntimeError(f"{sent} messages were sent again, not {number}")
    return taken * 1e6


# ------------------------------------------------------------------ what waits for the application


def _unread(bench: Bench, number: int) -> None:
    """Frames that the application has not taken."""
    engine = _engine.live_engine()
    _engine.feeder(engine, frames.audio(number, milliseconds=5), take=False)()
    feed = _engine.feeder(engine, frames.audio(100, milliseconds=5), take=False)

    def call() -> None:
        feed()
        for _ in range(100):
            engine.take_frame()

    bench.timed("engine by unread frames", {"engine": call}, items=100, x=number)


if __name__ == "__main__":
    run(__doc__, measure)
