"""Schedules by the hundred thousand: seeds of all profiles, run and judged in many processes, and what they came to.

The oracles are those of `tests.core`: `judge` and the rules of the simulation. What is counted here is what was tried,
and in which fate every message of the application ended. A schedule that fails is kept with the command that replays it.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from resumekit.core import events
from tests.core.replay import Schedule
from tests.core.schedules import PROFILES, run
from tests.core.simulation import World
from tests.traces import keep

__all__ = ["Campaign", "Found", "explore", "fates", "tally"]

CHUNK = 50
"""So many seeds of a profile go to a process at once: half a second."""
PATIENCE = 120
"""Seconds that a schedule may take: its world is a few minutes old at its end."""
MODES = {True: "transparent", False: "handle only"}

_COUNTED: dict[type[events.Event], str] = {
    events.ConnectionLost: "losses",
    events.GoAwayReceived: "goAways",
    events.Moving: "moves",
    events.HandleRefused: "handles refused",
    events.FreshStarted: "fresh starts",
    events.TurnCut: "turns cut",
    events.TurnShadowed: "shadow turns",
    events.ToolCallRebound: "calls bound again",
    events.ClockJumped: "freezes",
}


def tally(world: World) -> Counter[str]:
    """Count what a schedule tried, and the fates of what its application sent."""
    app = world.app
    count = Counter(
        {
            "schedules": 1,
            "steps": len(world.steps),
            "connections": sum(wire.setups for wire in world.network.wires.values()),
            "dials": len(world.network.wires),
            "frames shown": app.frames_taken,
            "calls shown": len(app.calls),
            "chunks of audio": app.chunks,
            "messages": len(app.sent),
        }
    )
    for event in world.events:
        name = _COUNTED.get(type(event))
        if name is not None:
            count[name] += 1
    count.update(fates(world))
    return count


def fates(world: World) -> Counter[str]:
    """Return how many of the application's messages ended how; each tool response counts for itself.

    Raises:
        AssertionError: a message has none of these fates.
    """
    told = world.app.told
    count: Counter[str] = Counter()
    held = Counter() if world.final is None else Counter(world.final.tokens())
    for sent in world.app.sent:
        if world.final is None:
            fate = "the session ended"
        elif held[sent.token] == 1:
            fate = "once"
        elif held[sent.token]:
            fate = "repeated, flagged" if sent.number in told.repeated else ""
        elif sent.kind == "response":
            call = sent.call
            assert call is not None
            fate = "of a call that is gone" if call.cancelled or call.id in told.dropped_responses else ""
            fate = fate or ("its question is gone" if _question_is_gone(world, call.question) else "")
        elif sent.number in told.settled:
            fate = "settled, named"
        elif told.fresh_starts:
            fate = "left out of a fresh start"
        elif sent.kind == "mark":
            in_words = any(item[0] == "t" for item in world.final.log)
            fate = "its audio is gone" if told.lost_audio or told.settled or in_words else ""
        else:
            fate = ""
        if not fate:
            raise AssertionError(f"{sent.kind} {sent.token} ended nowhere")
        count[f"fate: {fate}"] += 1
    return count


def _question_is_gone(world: World, question: str) -> bool:
    told = world.app.told
    return bool(told.settled or told.fresh_starts or told.lost_audio or question in world.server.taken_back)


@dataclass
class Found:
    """What a chunk, or all of them, came to."""

    counts: dict[tuple[str, str], Counter[str]] = field(default_factory=dict[tuple[str, str], "Counter[str]"])
    """By profile and mode."""
    failures: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    processor: float = 0.0
    """Seconds of one core."""

    def add(self, other: Found) -> None:
        """Take in what another one came to."""
        for key, counter in other.counts.items():
            self.counts.setdefault(key, Counter()).update(counter)
        self.failures += other.failures
        self.processor += other.processor

    def total(self, name: str) -> int:
        """Return one figure, over all profiles and modes."""
        return sum(counter[name] for counter in self.counts.values())

    def as_rows(self) -> list[dict[str, Any]]:
        """Return a row for each profile and mode, for JSON."""
        return [
            {"profile": profile, "mode": mode, **dict(sorted(counter.items()))}
            for (profile, mode), counter in sorted(self.counts.items())
        ]

    @classmethod
    def of_rows(
        cls, rows: Sequence[dict[str, Any]], failures: Sequence[dict[str, Any]], processor: float = 0.0
    ) -> Found:
        """Return what `as_rows` told."""
        numbers = [(row, {name: it for name, it in row.items() if isinstance(it, int)}) for row in rows]
        counts = {(row["profile"], row["mode"]): Counter(counted) for row, counted in numbers}
        return cls(counts, list(failures), processor)


def explore(profile: str, seeds: range, judge: Callable[[World], Counter[str]] = tally) -> Found:
    """Run the schedules of some seeds; one that does not end in `PATIENCE` seconds fails, too."""
    found = Found()
    started = time.process_time()
    before = signal.signal(signal.SIGALRM, _too_long)
    for seed in seeds:
        signal.alarm(PATIENCE)
        try:
            world = run(seed, profile)
            key = (profile, MODES[world.config.server.transparent])
            found.counts.setdefault(key, Counter()).update(judge(world))
        except Exception as error:
            found.failures.append(
                {
                    "profile": profile,
                    "seed": seed,
                    "rule": getattr(error, "rule", type(error).__name__),
                    "problem": str(error)[:300],
                    "replay": Schedule(profile=profile, seed=seed).command,
                    "traces": list(map(str, keep(f"schedule-{profile}-{seed}", error))),
                }
            )
        finally:
            signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    found.processor = time.process_time() - started
    return found


def _too_long(*_: object) -> None:
    raise TimeoutError(f"the schedule did not end in {PATIENCE} s")


@dataclass
class Campaign:
    """Seeds from `first` on, the same of all profiles, until one of the limits is reached."""

    first: int
    """The first seed."""
    schedules: int
    """At the most, in rounds: a chunk of each profile."""
    seconds: float
    """At the most, but for the round that is under way."""
    jobs: int
    found: Found = field(default_factory=Found)
    next: int = 0
    """The first seed that was not run: of all profiles, everything below is done."""
    took: float = 0.0
    """Seconds."""

    def run(self, progress: Callable[[Campaign], None] = lambda _: None, every: float = 60.0) -> None:
        """Run it; `progress` is called every so many seconds."""
        started = time.monotonic()
        told = started
        rounds = self._rounds(started)
        context = multiprocessing.get_context("forkserver")
        with ProcessPoolExecutor(self.jobs, mp_context=context) as pool:
            pending: deque[Future[Found]] = deque()
            while True:
                while len(pending) < 3 * self.jobs and (chunk := next(rounds, None)) is not None:
                    pending.append(pool.submit(explore, *chunk))
                if not pending:
                    break
                self.found.add(pending.popleft().result())
                self.took = time.monotonic() - started
                if time.monotonic() - told >= every:
                    told = time.monotonic()
                    progress(self)
        self.took = time.monotonic() - started

    def _rounds(self, started: float) -> Iterator[tuple[str, range]]:
        self.next = self.first
        while (self.next - self.first) * len(PROFILES) < self.schedules and time.monotonic() - started < self.seconds:
            seeds = range(self.next, self.next + CHUNK)
            self.next += CHUNK
            for profile in PROFILES:
                yield profile, seeds
