"""What does it cost to receive a frame from a socket?"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable
from functools import partial

from benchmarks import harness
from benchmarks.clients import CLIENTS, cost
from benchmarks.server import Script, serve

ENVIRONMENTS = ["bench", "genai2", "genai175"]
_QUICK = ("aiohttp", "picows")
"""They need so little that the clock wants more frames."""


def measure(bench: harness.Bench) -> None:
    """Compare the clients at full speed, with deflate, and at a frame each half millisecond."""
    main = harness.environment() == "bench"
    with serve() as port:
        uri = f"ws://127.0.0.1:{port}/"
        for name, loop in _loops(all_=main).items():
            _compare(bench, uri, loop, f"firehose, {name}", Script(count=2_000), rounds=5 if bench.quick else 15)
            if main:
                script = Script(count=300 if bench.quick else 2_000, pace=0.0005)
                _compare(bench, uri, loop, f"paced, {name}", script, rounds=3 if bench.quick else 9)
        if main:
            for case, deflate in (("voice mix", False), ("voice mix, deflate", True)):
                script = Script(frames="mix", count=5_500, deflate=deflate)
                _compare(bench, uri, asyncio.new_event_loop, case, script, rounds=3 if bench.quick else 9)


def _compare(
    bench: harness.Bench,
    uri: str,
    loop: Callable[[], asyncio.AbstractEventLoop],
    case: str,
    script: Script,
    *,
    rounds: int,
) -> None:
    warm = min(500, script.count // 4)
    count = script.count - warm if script.pace else 1_000 if bench.quick else 4_000
    endless = not (script.pace or script.deflate or script.frames == "mix")
    samplers = {
        name: partial(
            cost, client, uri, script, loop=loop, warm=warm, count=count * (5 if endless and name in _QUICK else 1)
        )
        for name, client in CLIENTS.items()
        if not (script.deflate and "picows" in name)  # it has none
    }
    bench.compare(case, samplers, unit="us/frame", baselines=["google-genai", "websockets"], rounds=rounds)


def _loops(*, all_: bool) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if all_ and importlib.util.find_spec("uvloop"):
        import uvloop

        loops["uvloop"] = uvloop.new_event_loop
    return loops


if __name__ == "__main__":
    harness.run(__doc__, measure)
