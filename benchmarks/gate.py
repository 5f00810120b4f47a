"""Has a path become dearer than it was? Instructions against those on record; `make gate`, and `make gate-record`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import _engine, callgrind, contenders, frames, harness, in_memory
from benchmarks.frames import Kind
from resumekit.wire import decode_client

__all__ = ["Verdict", "judge", "least", "loops"]

RECORD = Path(__file__).with_name("gate.json")
LIMIT = 0.05
LIMIT_ELSEWHERE = 0.25
"""Where Python or a package that counts is not the one on record: its own share changes, too."""
RUNS = 5
"""At most. Hash tables below Python are seeded anew in each process, so that a path may by chance take some percent more,
and never less: the least of several counts is what the code takes."""
_COUNTS = ("python", "google-genai", "pydantic", "pydantic-core", "msgspec", "pybase64")
_PATHS = (
    "resumekit typed",
    "resumekit typed, learned",
    "resumekit native",
    "resumekit native, learned",
    "resumekit raw",
)
_KINDS = (Kind.AUDIO_40, Kind.TRANSCRIPTION, Kind.RESUMPTION, Kind.GO_AWAY)


@dataclass(frozen=True)
class Verdict:
    """How one path stands."""

    path: str
    recorded: float
    """Instructions for each frame; 0: it is not on record."""
    counted: float
    """0: it is gone."""
    limit: float
    """How much more is let through, as a share."""

    @property
    def change(self) -> float:
        """As a share of what is on record."""
        return self.counted / self.recorded - 1 if self.recorded else 1.0

    @property
    def fails(self) -> bool:
        """It is dearer by more than the limit, or cannot be compared."""
        return not self.recorded or not self.counted or self.counted > self.recorded * (1 + self.limit)

    def __str__(self) -> str:
        mark = "FAILS" if self.fails else "less: record it" if self.change < -LIMIT else "ok"
        return f"{self.path:<48} {self.recorded:>9,.0f} {self.counted:>9,.0f} {self.change:>+7.1%}  {mark}"


def judge(
    recorded: Mapping[str, float],
    counted: Mapping[str, float],
    *,
    its_versions: Mapping[str, str],
    versions: Mapping[str, str],
) -> list[Verdict]:
    """Compare the counts of all paths.

    Args:
        recorded: Instructions by the name of the path.
        counted: The same, now.
        its_versions: Of Python and the packages, when it was recorded.
        versions: The same, now.
    """
    alike = all(its_versions.get(name) == versions.get(name) for name in _COUNTS)
    limit = LIMIT if alike else LIMIT_ELSEWHERE
    names = dict.fromkeys([*recorded, *counted])
    return [Verdict(name, recorded.get(name, 0.0), counted.get(name, 0.0), limit) for name in names]


def least(counted: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    """Return the lesser of two counts of each path."""
    return {name: min(value, counted.get(name, value)) for name, value in more.items()}


def loops() -> dict[str, callgrind.Loop]:
    """Return what is watched."""
    made: dict[str, callgrind.Loop] = {}
    some = frames.kinds()
    for name, decode in contenders.paths(some[Kind.AUDIO_40][0]).items():
        if name in _PATHS:
            made |= {f"{name}: {kind}": callgrind.over(decode, some[kind]) for kind in _KINDS}
    made["engine, lane of media"] = _engine_loop(some[Kind.AUDIO_40], express=True)
    made["engine, whole: audio, 40 ms"] = _engine_loop(some[Kind.AUDIO_40], express=False)
    made["engine, whole: transcription"] = _engine_loop(some[Kind.TRANSCRIPTION], express=True)
    made["sent: audio, 40 ms, read"] = _reading_loop()
    made["sent: audio, 40 ms, by the engine"] = _sending_loop()
    sessions = in_memory.loops(some[Kind.AUDIO_40])
    return made | {f"session, {name}": loop for name, loop in sessions.items() if name.startswith("resumekit")}


def _engine_loop(some: list[bytes], *, express: bool) -> callgrind.Loop:
    engine = _engine.live_engine(express=express)
    feeders = {count: _engine.feeder(engine, some[:count]) for count in callgrind.LENGTHS}
    return lambda count: feeders[count]()


def _reading_loop() -> callgrind.Loop:
    frame = frames.microphone()

    def loop(count: int) -> None:
        for _ in range(count):
            decode_client(frame)

    return loop


def _sending_loop() -> callgrind.Loop:
    engine, message = _engine.live_engine(), decode_client(frames.microphone())

    def loop(count: int) -> None:
        for _ in range(count):
            _engine.send(engine, message)

    for _ in range(5):  # until the oldest frames go
        loop(max(callgrind.LENGTHS))
    return loop


def main() -> int:
    """Return 1 if a path is dearer."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--record", action="store_true", help="take what is counted now for right")
    arguments = parser.parse_args()
    versions = {name: version for name, version in harness.versions().items() if name in _COUNTS}
    record = {} if arguments.record else json.loads(RECORD.read_text("utf-8"))
    counted: dict[str, float] = {}
    verdicts: list[Verdict] = []
    for _ in range(RUNS):
        try:
            counted = least(counted, callgrind.count("benchmarks.gate"))
        except RuntimeError as error:
            print(error)
            return 1
        if not arguments.record:
            verdicts = judge(record["instructions"], counted, its_versions=record["versions"], versions=versions)
            if not any(verdict.fails for verdict in verdicts):
                break
    if arguments.record:
        record = {"versions": versions, "instructions": {name: round(value) for name, value in counted.items()}}
        RECORD.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
        print(f"recorded {len(counted)} paths in {RECORD.relative_to(harness.ROOT)}")
        return 0
    print(f"{'instructions for each frame':<48} {'on record':>9} {'now':>9}")
    print(*verdicts, sep="\n")
    if verdicts[0].limit != LIMIT:
        print(f"Python or a package is not the one on record, so the limit is {LIMIT_ELSEWHERE:.0%}, not {LIMIT:.0%}")
    if not any(verdict.fails for verdict in verdicts):
        return 0
    print(
        "A path takes more instructions than on record. If it is worth it, say so in the commit, and `make gate-record`."
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
