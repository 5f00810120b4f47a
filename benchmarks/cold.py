"""What does it cost to make a message of a frame where the processor's caches hold something else?

That is how a session sees it, which gets 25 frames a second; a loop that does nothing else is not.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

from benchmarks import contenders, frames, harness
from benchmarks.frames import Kind

ENVIRONMENTS = ["bench"]
_KINDS = (Kind.AUDIO_40, Kind.TRANSCRIPTION, Kind.RESUMPTION)
_WALKED = 8 << 20
"""Bytes that are read between two frames."""


def measure(bench: harness.Bench) -> None:
    """Time each frame by itself, with a walk through memory before it, and without."""
    memory = bytearray(_WALKED)
    for kind, some in frames.kinds(25 if bench.quick else 100).items():
        if kind not in _KINDS:
            continue
        ways: dict[str, contenders.Decode] = {**contenders.paths(frames.audio(1)[0]), "nothing (the clock)": len}
        for case, walk in (("hot", bytes), ("cold", partial(memory.count, 1))):
            samplers = {name: partial(_median, decode, some, walk) for name, decode in ways.items()}
            rounds = 3 if bench.quick else 9
            bench.compare(f"{kind}, {case}", samplers, unit="us/frame", baselines=[contenders.GENAI], rounds=rounds)


def _median(decode: Callable[[bytes], object], some: list[bytes], walk: Callable[[], object]) -> float:
    """Return the median of single frames: what interrupts one of them does not count."""
    clock = time.perf_counter_ns
    taken: list[int] = []
    for frame in some:
        walk()
        start = clock()
        decode(frame)
        taken.append(clock() - start)
    return statistics.median(taken) / 1000


if __name__ == "__main__":
    harness.run(__doc__, measure)
