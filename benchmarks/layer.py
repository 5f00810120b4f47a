"""What does resumekit itself cost on each frame, beside the socket and the decoding?

Each of its ways to receive is compared with a loop by hand that gets the same: `websockets` and the same decoder, for one
connection and nothing after it. `detection` is that loop with no more than the look at a frame that tells whether
anything in it concerns the session.
"""

from __future__ import annotations

import asyncio
from functools import partial

from benchmarks import contenders, frames, harness
from benchmarks.clients import CLIENTS, Client, cost, websockets_and
from benchmarks.server import Script, serve

ENVIRONMENTS = ["bench"]
BARE = "websockets"
_BASELINES = [BARE, f"{BARE} + native", f"{BARE} + typed"]


def measure(bench: harness.Bench) -> None:
    """Compare at full speed, where a socket is cheapest, and at a frame each half millisecond."""
    ways = contenders.paths(frames.audio(1)[0])
    by_hand: dict[str, Client] = {BARE: CLIENTS[BARE], f"{BARE} + detection": websockets_and(ways["resumekit raw"])}
    for mode in ("native", "typed"):
        if (decode := ways.get(f"resumekit {mode}, learned")) is not None:
            by_hand[f"{BARE} + {mode}"] = websockets_and(decode)
    clients = {
        **by_hand,
        **{name: client for name, client in CLIENTS.items() if name.startswith("resumekit") and "picows" not in name},
    }
    with serve() as port:
        for case, script, usual in (
            ("firehose", Script(count=2_000), 21),
            ("voice mix", Script(frames="mix", count=5_500), 15),
            ("paced", Script(count=300 if bench.quick else 2_000, pace=0.0005), 9),
        ):
            warm = 50 if script.pace else 500
            count = script.count - warm if script.pace else 1_000 if bench.quick else 5_000
            arguments = {"loop": asyncio.new_event_loop, "warm": warm, "count": count}
            samplers = {
                name: partial(cost, client, f"ws://127.0.0.1:{port}/", script, **arguments)
                for name, client in clients.items()
            }
            rounds = 3 if bench.quick else usual
            bench.compare(case, samplers, unit="us/frame", baselines=_BASELINES, rounds=rounds)


if __name__ == "__main__":
    harness.run(__doc__, measure)
