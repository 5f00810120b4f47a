"""The tables of what is proved in virtual time: `python -m tests.proofs [herd] [recovery] [driving] …` prints them.

`--json FILE` keeps them as well.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.proofs import cancelling, driving, herd, outage, records, recovery

told: list[dict[str, Any]] = []
"""The tables that were printed."""


def table(title: str, heads: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table as Markdown, row by row as they come."""
    heads = list(heads)
    kept: list[list[object]] = []
    told.append({"title": title, "heads": heads, "rows": kept})
    print(f"\n{title}\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for row in rows:
        kept.append([round(cell, 4) if isinstance(cell, float) else cell for cell in row])
        print(f"| {' | '.join(f'{cell:.2f}' if isinstance(cell, float) else str(cell) for cell in row)} |", flush=True)


def print_herd() -> None:
    """10,000 sessions, and what they do to a service."""
    heads = ("case", "connects/s at the peak", "connects each", "at most", "without a connection, p50 (s)", "p99 (s)")
    rows = (
        (case, one.peak, one.dials, one.most_dials, one.median, one.p99)
        for case, run in herd.CASES.items()
        for one in [run()]
    )
    table(f"{herd.SIZE:,} sessions at once", heads, rows)


def print_recovery() -> None:
    """What a cut and a planned move cost, and what a setup that does not wait for the close would."""
    heads = ("RTT (ms)", "p50 (ms)", "p99 (ms)", "round trips, p50", "p99")
    rows = ((rtt * 1000, one.median * 1000, one.p99 * 1000, one.median_rounds, one.p99_rounds) for rtt, one in _cuts())
    table("A cut, the service up: the round trips are without the first delay", heads, rows)
    heads = ("RTT (ms)", "the service lets go within (ms)", "setup sent after", "mean (ms)", "p99 (ms)", "refused (%)")
    rows = (
        (rtt * 1000, releases * 1000, f"{after} RTT", one.mean_rounds * rtt * 1000, one.p99 * 1000, one.refused * 100)
        for rtt in recovery.RTTS
        for releases in (0.0, 0.02, 0.1)
        for after in (1.0, 0.5, 0.0)
        for one in [recovery.move(rtt, close_answered=after, jitter=0.1, releases=releases, size=1000)]
    )
    table(
        "A planned move on a warm connection: the driver waits for one round trip, the answer to the close", heads, rows
    )


def _cuts() -> Iterable[tuple[float, recovery.Outcome]]:
    return ((rtt, recovery.cut(rtt)) for rtt in recovery.RTTS)


def print_outage() -> None:
    """An hour without a connection."""
    heads = (
        "audio", "bytes at most", "seconds at most", "pieces sent", "dropped, by events", "delivered",
        "untold at most (s)", "messages waiting at most (bytes)", "memory at most (bytes)", "limits (bytes)",
    )  # fmt: skip
    rows = (
        (
            f"{rate} Hz, messages of {text} bytes", one.most_audio, one.most_audio_seconds, one.chunks, one.dropped,
            len(one.delivered), one.longest_untold, one.most_control, one.peak, one.limits,
        )
        for rate, chunk in ((16_000, 0.04), (48_000, 0.1))
        for text in (200, 20_000)
        for one in [outage.outage(rate=rate, chunk=chunk, text=text, memory=True)]
    )  # fmt: skip
    table("An hour of outage: audio all the time, and a frame of video and a message each second", heads, rows)


def print_driving() -> None:
    """The real driver: what a cut and a move cost, and when a black hole is seen."""
    heads = ("RTT (ms)", "what", "p50 (ms)", "p99 (ms)", "round trips, p50", "p99")
    cases: dict[str, Callable[[float], driving.Gaps]] = {
        "cut": driving.cut,
        "planned move, warm": functools.partial(driving.move, warm=True),
        "planned move, cold": functools.partial(driving.move, warm=False),
    }
    rows = (
        (rtt * 1000, case, one.median * 1000, one.p99 * 1000, one.median_rounds, one.p99_rounds)
        for case, run in cases.items()
        for rtt in recovery.RTTS
        for one in [run(rtt)]
    )
    table("The real driver, 1,000 sessions each: the round trips of a cut are without the first delay", heads, rows)
    rows = ((what, driving.black_hole(expecting=due)) for what, due in (("nothing", False), ("an answer", True)))
    table("A black hole at some moment: 1,000 sessions each", ("is due", "told after at most (s)"), rows)


def print_cancelling() -> None:
    """Everything that an application does, struck wherever it waits, and the process standing still there."""
    heads = ("scenario", "struck", "how", "at every", "times", "something was wrong")
    rows = (
        (name, "a call, made again" if call else "all of it", way, "turn of the loop" if turns else "await", *one)
        for name, scenario in cancelling.SCENARIOS.items()
        for call in (False, True)
        for turns in (False, True)
        for way in cancelling.WAYS
        if not turns or way in ("waiting", "ready", "twice")
        for one in [_counted(cancelling.sweep(scenario, way, call=call, turns=turns))]
    )
    table("Cancelled in the bare adapter, with the real websockets and the real emulator", heads, rows)
    rows = (
        (name, seconds, "suspended" if asleep else "stopped", then or "lives", *one)
        for name, scenario in cancelling.SCENARIOS.items()
        for seconds in (10.0, 600.0, 10800.0)
        for asleep in (False, True)
        for then in cancelling.THEN
        for one in [_counted(cancelling.stand_still(scenario, seconds, asleep=asleep, then=then))]
    )
    heads = ("scenario", "seconds", "how", "the connection", "times", "something was wrong")
    table("The process stands still, at every await", heads, rows)


def _counted(swept: tuple[int, dict[Any, list[str]]]) -> tuple[int, int]:
    return swept[0], len(swept[1])


TABLES: dict[str, Callable[[], None]] = {
    "herd": print_herd,
    "recovery": print_recovery,
    "driving": print_driving,
    "cancelling": print_cancelling,
    "outage": print_outage,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.proofs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"some of {', '.join(TABLES)}; all of them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep them in a file, too")
    chosen = parser.parse_args()
    gc.disable()  # ten thousand sessions are no garbage
    for name in chosen.tables or TABLES:
        TABLES[name]()
    if chosen.json:
        record = {"about": "python -m tests.proofs", **records.stamp(), "tables": told}
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
