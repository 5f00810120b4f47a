"""What had to be reached, what was wished for, and where the figures for it are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.results import Results

__all__ = ["GENAI", "GOALS", "Goal", "Verdict"]

GENAI = "google-genai"
TYPED, NATIVE, LEARNED, RAW = "resumekit typed", "resumekit native", "resumekit native, learned", "resumekit raw"
DECODED = "resumekit native, unread"
"""`decode_server` alone. In a control frame there is nothing more to read."""
TYPED_LEARNED = "resumekit typed, learned"
MIX, AUDIO = "voice mix", "audio, 40 ms"
FIREHOSE = "firehose, asyncio"
BARE_ADAPTER = "resumekit, bare"
IDLE, WAITING = "idle sessions, nobody waits", "idle sessions, a task waits in each"
FLOOR = "floor: copy, SIMD base64"
FLOOR_OF_THE_GOALS = "floor: copy, SIMD base64 by keyword"

Lookup = Callable[[Results], float | None]
Verdict = Literal["not measured", "missed", "must reached", "aim reached", "reached", "for the record"]


@dataclass(frozen=True)
class Goal:
    """One figure that had to be reached."""

    name: str
    what: str
    unit: str
    """`x`: times cheaper than google-genai in the same rounds. `%`: more than."""
    must: float | None
    aim: float | None
    measured: Lookup
    floor: Lookup | None = None
    """The cheapest that would still do the job."""
    more: bool = False
    """More is better."""

    def verdict(self, results: Results) -> Verdict:
        """Compare with what was measured."""
        value = self.measured(results)
        if value is None:
            return "not measured"
        if self.must is None and self.aim is None:
            return "for the record"
        if self.must is not None and not self._reaches(value, self.must):
            return "missed"
        if self.aim is None:
            return "reached"
        if self._reaches(value, self.aim):
            return "aim reached"
        return "must reached" if self.must is not None else "missed"

    def _reaches(self, value: float, bound: float) -> bool:
        return value >= bound if self.more else value <= bound


def _gain(*which: str, environment: str = "bench") -> Lookup:
    return lambda results: results.gain(*which, to=GENAI, environment=environment)


def _median(*which: str, environment: str = "bench", x: float | None = None, scale: float = 1) -> Lookup:
    def look(results: Results) -> float | None:
        value = results.median(*which, environment=environment, x=x)
        return None if value is None else value * scale

    return look


def _ratio(*which: str, to: str) -> Lookup:
    return lambda results: results.ratio(*which, to=to)


def _percent(*which: str, to: str, above: bool = False) -> Lookup:
    """What it costs in percent of another; `above`: what it costs more than that."""

    def look(results: Results) -> float | None:
        ratio = results.ratio(*which, to=to)
        return None if ratio is None else (ratio - above) * 100

    return look


def _worst(*lookups: Lookup) -> Lookup:
    return lambda results: max((value for look in lookups if (value := look(results)) is not None), default=None)


def _difference(
    question: str, case: str, contender: str, minus: str, *, environment: str = "bench", x: float | None = None
) -> Lookup:
    def look(results: Results) -> float | None:
        mine = results.median(question, case, contender, environment=environment, x=x)
        base = results.median(question, case, minus, environment=environment, x=x)
        return None if mine is None or base is None else mine - base

    return look


GOALS: Sequence[Goal] = (
    Goal(
        "G1", "google-genai's own objects, voice mix", "x", 10, 15, more=True,
        measured=_gain("decode", MIX, TYPED_LEARNED), floor=_gain("decode", MIX, FLOOR),
    ),
    Goal(
        "G2", "native messages, voice mix", "x", 30, 40, more=True,
        measured=_gain("decode", MIX, LEARNED), floor=_gain("decode", MIX, FLOOR),
    ),
    Goal(
        "G2b", "native, 40 ms of audio, against the floor as it was when the goals were set (one copy, SIMD base64)", "times", 2.2, 1.5,
        measured=_ratio("decode", AUDIO, LEARNED, to=FLOOR_OF_THE_GOALS), floor=lambda _: 1.0,
    ),
    Goal(
        "G2b", "the same, against the lower floor that was found since", "times", None, None,
        measured=_ratio("decode", AUDIO, LEARNED, to=FLOOR), floor=lambda _: 1.0,
    ),
    Goal(
        "G3", "control frames, native (the dearer of goAway and resumption update)", "µs", 0.3, 0.2,
        measured=_worst(_median("decode", "goAway", DECODED), _median("decode", "resumption update", DECODED)),
    ),
    Goal(
        "G4", "instructions for 40 ms of audio, typed", "k", 75, 45,
        measured=_median("instructions", AUDIO, TYPED, scale=1e-3), floor=_median("instructions", AUDIO, "floor: SIMD base64", scale=1e-3),
    ),
    Goal(
        "G4", "the same, native", "k", 50, 40,
        measured=_median("instructions", AUDIO, NATIVE, scale=1e-3), floor=_median("instructions", AUDIO, "floor: SIMD base64", scale=1e-3),
    ),
    Goal(
        "G4", "the same, native by the learned shape", "k", 20, 15,
        measured=_median("instructions", AUDIO, LEARNED, scale=1e-3), floor=_median("instructions", AUDIO, "floor: SIMD base64", scale=1e-3),
    ),
    Goal(
        "G5", "end to end over loopback, typed", "x", 5.5, 6.5, more=True,
        measured=_gain("end_to_end", FIREHOSE, TYPED), floor=_gain("end_to_end", FIREHOSE, "websockets"),
    ),
    Goal(
        "G5", "end to end over loopback, native", "x", 7.5, 9, more=True,
        measured=_gain("end_to_end", FIREHOSE, NATIVE), floor=_gain("end_to_end", FIREHOSE, "websockets"),
    ),
    Goal(
        "G5b", "end to end, native over picows", "x", None, 18, more=True,
        measured=_gain("end_to_end", FIREHOSE, "resumekit native, picows"), floor=_gain("end_to_end", FIREHOSE, "picows"),
    ),
    Goal(
        "G6", "finding control frames among raw audio, of a bare `websockets` recv", "%", 5, 2,
        measured=_percent("micro", "beside a recv", "raw: is it plain media?", to="websockets recv"),
    ),
    Goal(
        "G6", "the same among decoded frames", "%", 1, None,
        measured=_percent("micro", "beside a recv", "decoded: two attribute tests", to="websockets recv"),
    ),
    Goal(
        "G6", "the whole layer on raw audio: transport, engine, hand-over", "%", None, None,
        measured=_percent("layer", "firehose", RAW, to="websockets", above=True), floor=lambda _: 0.0,
    ),
    Goal(
        "G7", "`import resumekit.adapters.websockets`, over `websockets`' own import", "ms", 20, 15,
        measured=_median("imports", "import: over websockets", "resumekit.adapters.websockets", environment="genai3"),
        floor=lambda _: 0.0,
    ),
    Goal(
        "G8", "memory of an idle session over `websockets`, nobody waits in `recv`, 1,000 sessions", "KiB", 2, 1,
        measured=_difference("memory", IDLE, BARE_ADAPTER, "websockets", x=1000), floor=lambda _: 0.0,
    ),
    Goal(
        "G8", "the same over `websockets` without its keepalive, which the engine does itself", "KiB", None, None,
        measured=_difference("memory", IDLE, BARE_ADAPTER, "websockets, no keepalive", x=1000), floor=lambda _: 0.0,
    ),
    Goal(
        "G8", "the same with its transport, nobody waits in `recv`, all 1,000", "MB", 13, None,
        measured=_median("memory", IDLE, BARE_ADAPTER, x=1000, scale=1.024), floor=_median("memory", IDLE, "websockets", x=1000, scale=1.024),
    ),
    Goal(
        "G8", "the same with a task that waits in `recv` in each", "MB", None, None,
        measured=_median("memory", WAITING, BARE_ADAPTER, x=1000, scale=1.024), floor=_median("memory", WAITING, "websockets", x=1000, scale=1.024),
    ),
    Goal(
        "G9", "ADK's chain, frame to `Event`, voice mix", "x ADK", 2, 2.5, more=True,
        measured=lambda results: results.gain("adk", MIX, "ADK over resumekit", to="ADK", environment="adk2"),
        floor=lambda results: results.gain("adk", MIX, "floor: ADK alone", to="ADK", environment="adk2"),
    ),
    Goal("G10", "the engine, for each frame of the voice mix", "µs", 5, 1, measured=_median("micro", f"engine: {MIX}", "engine")),
    Goal(
        "buffer", "keeping a sent frame, of a `websockets` send", "%", 2, None,
        measured=_percent("micro", "one sent frame of audio", "the buffer", to="websockets send"),
    ),
    Goal(
        "cut", "a cut, at 100 ms: beside the first delay and the service's setup", "RTT", 4, None,
        measured=_median("recovery", "cut", "resumekit: the rest, in RTTs", x=100), floor=lambda _: 4.0,
    ),
    Goal(
        "move", "a planned move, at 100 ms: beside the service's setup", "RTT", 1.5, None,
        measured=_median("recovery", "planned move", "resumekit: the rest, in RTTs", x=100), floor=lambda _: 1.0,
    ),
    Goal(
        "1,000", "sessions lost of 1,000, each cut about every 100 s", "sessions", 0, None,
        measured=_worst(
            _median("thousand", "1,000 sessions: lost", "resumekit, google-genai"),
            _median("thousand", "1,000 sessions: lost", "resumekit, native"),
        ), floor=lambda _: 0.0,
    ),
)  # fmt: skip
"""In the order of the page. `must` None: a wish alone; without an `aim` either, for the record."""
