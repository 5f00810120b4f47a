"""What does it cost to make a message of a frame?"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import contenders, frames, harness

ENVIRONMENTS = ["bench", "genai2", "genai175"]

_SOME = (frames.Kind.AUDIO_40, frames.Kind.RESUMPTION)


def measure(bench: harness.Bench) -> None:
    """Time all ways for each kind of frame, and for the frames of a voice conversation."""
    main = harness.environment() == "bench"
    count = 1_000 if bench.quick else 10_000
    for pretty in (True, False) if main else (True,):
        style = "" if pretty else ", compact"
        for kind, some in frames.kinds(pretty=pretty).items():
            if (main and pretty) or kind in _SOME or not bench.quick:
                _compare(bench, f"{kind}{style}", some)
        _compare(bench, f"voice mix{style}", frames.mix(count, pretty=pretty))
    _compare(bench, "voice mix, Vertex", frames.mix(count, vertex=True), vertex=True)


def _compare(bench: harness.Bench, case: str, some: list[bytes], *, vertex: bool = False) -> None:
    ways = contenders.paths(frames.audio(1, pretty=b"\n" in some[0], vertex=vertex)[0], vertex=vertex)
    calls: dict[str, Callable[[], object]] = {}
    for name, decode in ways.items():
        calls[name] = _over(decode, some)
        try:
            calls[name]()
        except ValueError as error:
            bench.note(f"{case}: {name} cannot read it ({str(error).splitlines()[0]})")
            del calls[name]
    if b"inlineData" in some[-1] or "mix" in case:
        calls |= contenders.floors(some)
    bench.timed(
        case, calls, items=len(some), baselines=[contenders.GENAI, contenders.FLOOR, contenders.FLOOR_OF_THE_GOALS]
    )


def _over(decode: contenders.Decode, some: list[bytes]) -> Callable[[], object]:
    def call() -> None:
        for frame in some:
            decode(frame)

    return call


if __name__ == "__main__":
    harness.run(__doc__, measure)
