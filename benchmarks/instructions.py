"""How many instructions does it take to make a message of a frame?"""

from __future__ import annotations

from benchmarks import callgrind, contenders, frames, harness, in_memory
from benchmarks.frames import Kind

ENVIRONMENTS = ["bench"]
_KINDS = (Kind.AUDIO_40, Kind.TRANSCRIPTION, Kind.RESUMPTION, Kind.GO_AWAY, Kind.CALLS)
SESSION = "audio, 40 ms, whole session"
"""All that a client does for a frame that has come from its socket (see in_memory.py)."""
_BETWEEN = " | "


def measure(bench: harness.Bench) -> None:
    """Count for all ways, and for the kinds that make up a conversation."""
    if problem := callgrind.available():
        bench.note(problem)
        return
    counted = callgrind.count("benchmarks.instructions")
    for kind in (*_KINDS, SESSION):
        figures = {
            name.split(_BETWEEN)[1]: value for name, value in counted.items() if name.startswith(kind + _BETWEEN)
        }
        samplers = {name: _constant(value) for name, value in figures.items()}
        bench.compare(kind, samplers, unit="instructions/frame", baselines=[contenders.GENAI, in_memory.BARE], rounds=1)


def loops() -> dict[str, callgrind.Loop]:
    """Return what is counted."""
    made: dict[str, callgrind.Loop] = {}
    ways = contenders.paths(frames.audio(1)[0])
    for kind, some in frames.kinds().items():
        if kind in _KINDS:
            made |= {f"{kind}{_BETWEEN}{name}": callgrind.over(decode, some) for name, decode in ways.items()}
    audio = frames.audio(100)
    floors = {count: contenders.floors(audio[:count]) for count in callgrind.LENGTHS}
    for name in floors[callgrind.LENGTHS[0]]:
        made[f"{Kind.AUDIO_40}{_BETWEEN}{name}"] = lambda count, name=name: floors[count][name]()
    for name, loop in in_memory.loops(audio).items():
        made[f"{SESSION}{_BETWEEN}{name}"] = loop
    return made


def _constant(value: float) -> harness.Sampler:
    return lambda: value


if __name__ == "__main__":
    harness.run(__doc__, measure)
