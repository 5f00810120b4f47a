"""Many lives at once, a fault somewhere every few seconds, and what came of it."""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import os
import random
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from resumekit.core import events
from resumekit.drivers.driver import Driver
from tests.faults.runner import traces
from tests.faults.zygote import zygote
from tests.soak.lives import KINDS, LASTING, Kind, Life
from tests.soak.memory import sessions

__all__ = ["PROMISES", "WARM_UP", "Campaign"]

PROMISES: dict[str, tuple[str, ...]] = {
    "nothing lost: what the app sent is in the service's final state": ("lost:",),
    "nothing is there twice, save what was flagged": ("doubled:", "repeats in transparent mode"),
    "in the order in which it was sent": ("reordered:", "unexpected:"),
    "each question is answered in its own loop of receive(), to its end": ("the answer is to", "asked ", "a loop of"),
    "no tool runs twice, unless its cancellation was shown": ("done:",),
    "each call is answered once, under an id that the service knows": ("answered", "not answered"),
    "speech is heard, or what is missing was told": ("speech:", "ms of speech"),
    "never history beside a handle": ("history",),
    "a new session of the service only where a handle was dead": ("fresh starts",),
    "the app sees no error, and is never left hanging": ("the app saw",),
    "no task, file descriptor, timer or session is left behind": ("left behind:",),
    "a session holds after an hour what it held after ten minutes (256 KiB more at most, and 1,024 tool calls)": (
        "memory:",
    ),
}
"""Each with how the complaints begin that break it; whatever begins with something else breaks all."""
MEMORY = 256 * 2**10
"""Bytes; what a session may hold more at its end than once it was warm, without the 1,024 tool calls that it remembers at
most. The process keeps the application's own records of an hour, too, and the allocator what was freed: its size tells
little."""
CALLS = 8 * 2**20
"""Bytes; what those calls may take."""
WARM_UP = 600.0
"""Seconds; a session has then told of as many events, and had as many turns, as it keeps."""
LIVES = (40.0, 240.0)
"""Seconds of a life that is not to last the whole time."""
STOPPED = 6.0
"""Seconds; longer than what a policy calls frozen."""


class Campaign:
    """An hour, or less.

    Args:
        seconds: How long.
        sessions: At once.
        gap: Seconds from one fault to the next, on average.
        seed: Of everything that is drawn. When a fault hits is up to the machine.
        least: Faults; a slow machine goes on until there were so many.
        stop_every: Seconds; so often this whole process is stopped for a while (SIGSTOP). None: never.
        say: Gets a line each minute, and every complaint.
        kinds: Which of them there are, by turns.
        keep: Gets the result up to now, each minute.
        warm_up: Seconds from which on a session that lasts the whole time must not grow any more.
        adk: A Python with google-adk, and how many sessions there are in it; each has a process of its own.
    """

    def __init__(
        self,
        *,
        seconds: float,
        sessions: int,
        seed: int,
        gap: float = 2.0,
        least: int = 0,
        stop_every: float | None = None,
        say: Callable[[str], None] = print,
        kinds: tuple[Kind, ...] = tuple(KINDS),
        adk: tuple[str, int] | None = None,
        keep: Callable[[dict[str, Any]], object] | None = None,
        warm_up: float = WARM_UP,
    ) -> None:
        self.seconds, self.sessions, self.seed, self.gap = seconds, sessions, seed, gap
        self.stop_every = stop_every
        self.say = say
        self.draw = random.Random(f"soak {seed}")
        self.plan = [kinds[number % len(kinds)] for number in range(sessions)]
        self.over: list[dict[str, Any]] = []
        """The lives that have ended, in figures."""
        self.alive: set[Life] = set()
        self.wrong: list[tuple[str, str]] = []
        self.rss: list[tuple[float, int]] = []
        self.stops = 0
        self.least, self.faults = least, 0
        self.adk, self.keep, self.warm_up = adk, keep, warm_up
        self.left: dict[str, int] = {}
        self._begun = 0.0

    async def run(self) -> None:
        zygote()  # it stays
        before = _stock()
        self._begun = asyncio.get_running_loop().time()
        await self._live()  # on its own, as a task that was cancelled holds what its variables were
        await self._look_back(before)

    async def _live(self) -> None:
        helpers = [asyncio.create_task(each) for each in (self._chaos(), self._watch(), self._stop_now_and_then())]
        async with asyncio.TaskGroup() as group:
            for slot, kind in enumerate(self.plan):
                group.create_task(self._slot(slot, kind))
            for number in range(self.adk[1] if self.adk is not None else 0):
                group.create_task(self._elsewhere(number))
        for task in helpers:
            task.cancel()
        await asyncio.wait(helpers)
        for task in helpers:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    @property
    def elapsed(self) -> float:
        return asyncio.get_running_loop().time() - self._begun

    # --- what goes on -----------------------------------------------------------------------------------------------

    async def _slot(self, slot: int, kind: Kind) -> None:
        number = 0
        await asyncio.sleep(slot * min(1.0, self.seconds / 60))
        while number == 0 or not self._is_over(self.seconds - 10):
            left = self.seconds - self.elapsed
            seconds = left if kind in LASTING else min(self.draw.uniform(*LIVES), left)
            is_over = functools.partial(self._is_over, self.elapsed + seconds)
            life = _type(kind)(kind, self.seed * 1_000_000 + slot * 10_000 + number, is_over)
            self.alive.add(life)
            await life.live()
            self.alive.discard(life)
            problems = [*life.problems(), *_grown(life.held, life.calls)]
            self.wrong += [(life.scenario.name, problem) for problem in problems]
            if problems:
                self.say(f"WRONG: {life.scenario.name}, struck {life.struck}: {problems}\n{life.run}")
            self.over.append(_figures(life))
            number += 1

    def _is_over(self, until: float) -> bool:
        return self.elapsed >= until and self.faults >= self.least

    async def _elsewhere(self, number: int) -> None:
        """Have a session with google-adk live in a process of its own."""
        assert self.adk is not None
        options = {
            "--kind": "google-adk" if number % 2 else "google-adk, the whole time",
            "--minutes": self.seconds / 60,
            "--gap": self.gap * (self.sessions + self.adk[1]),
            "--seed": self.seed * 100 + number,
            "--warm-up": self.warm_up,
        }
        words = [self.adk[0], "-m", "tests.soak", "--alone", *(str(word) for each in options.items() for word in each)]
        process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE, limit=2**26)
        try:
            said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            self.wrong.append(("google-adk", f"the process ended early, with {process.returncode}"))
            return
        found = json.loads(said.splitlines()[-1])
        self.wrong += [(f"{where}, with google-adk", what) for where, what in found["wrong"]]
        self.over += [{**one, "faults": Counter(one["faults"])} for one in found["over"]]

    async def _chaos(self) -> None:
        while not self._is_over(self.seconds):
            await asyncio.sleep(self.draw.uniform(0.2, 1.8) * self.gap)
            ready = [life for life in self.alive if life.may_suffer()]
            if ready:
                life = self.draw.choice(sorted(ready, key=lambda life: life.seed))
                self.faults += 1
                life.suffer(self.draw.choice(life.may_suffer()), self.elapsed)

    async def _stop_now_and_then(self) -> None:
        while self.stop_every is not None and self.elapsed < self.seconds - self.stop_every:
            await asyncio.sleep(self.stop_every)
            pid = os.getpid()
            self.stops += 1
            subprocess.Popen(["sh", "-c", f"kill -STOP {pid}; sleep {STOPPED}; kill -CONT {pid}"]).wait()  # noqa: ASYNC220

    async def _watch(self) -> None:
        while True:
            self.rss.append((self.elapsed, _rss()))
            if self.elapsed >= self.warm_up:
                for life in self.alive:
                    if life.ready and not life.held:
                        life.weigh()
            if len(self.rss) > 1:
                self.say(self.line())
                if self.keep is not None:
                    self.keep(self.result())
            await asyncio.sleep(min(60.0, self.seconds / 3))

    def line(self) -> str:
        """Return what there is up to now, in a line."""
        now = [*self.over, *(_figures(life) for life in self.alive if life.app is not None)]
        total = _sum(now)
        return (
            f"{self.elapsed / 60:5.1f} min: {len(self.alive)} sessions, {len(now)} in all, {total['turns']} turns, "
            f"{sum(total['faults'].values())} faults, {total['lost connections']} connections lost, "
            f"{total['recoveries']} recoveries, {len(self.wrong)} complaints, {self.rss[-1][1] / 2**20:.0f} MiB"
        )

    # --- the end ----------------------------------------------------------------------------------------------------

    async def _look_back(self, before: tuple[int, ...]) -> None:
        after = _stock()
        for _ in range(100):  # what was collected closes itself
            after = _stock()
            if all(now <= then for now, then in zip(after, before, strict=True)):
                break
            await asyncio.sleep(0.1)
        self.left = dict(
            zip(
                ("tasks", "file descriptors", "timers", "sessions"),
                (n - b for n, b in zip(after, before, strict=True)),
                strict=True,
            )
        )
        self.wrong += [("the process", f"left behind: {n} {what}") for what, n in self.left.items() if n > 0]
        self.rss.append((self.elapsed, _rss()))

    def result(self) -> dict[str, Any]:
        """Return everything as JSON-able data."""
        total = _sum(self.over)
        recoveries = sorted(seconds for one in self.over for seconds in one["recovery_seconds"])
        warm = next((rss for at, rss in self.rss if at >= self.warm_up), None)
        lasted = [one["held"] for one in self.over if len(one["held"]) > 1]
        broken = {promise: self.broken(promise) for promise in PROMISES}
        return {
            "seed": self.seed,
            "minutes": round(self.seconds / 60, 2),
            "sessions_at_once": self.sessions + (self.adk[1] if self.adk is not None else 0),
            "seconds_between_faults": round(self.elapsed / max(sum(total["faults"].values()), 1), 2),
            "promises": [{"promise": promise, "broken": broken[promise]} for promise in PROMISES],
            "complaints": [list(each) for each in self.wrong[:50]],
            "figures": {
                "sessions": len(self.over),
                "by_kind": dict(Counter(one["kind"] for one in self.over)),
                "turns": total["turns"],
                "tools_run": total["tools"],
                "speech_seconds": round(total["speech"], 1),
                "speech_seconds_told_lost": round(total["speech lost"], 1),
                "connections": total["connections"],
                "connections_lost": total["lost connections"],
                "planned_moves": total["moves"],
                "fresh_starts": total["fresh"],
                "turns_answered_again": total["cut turns"],
                "turns_settled": total["settled"],
                "flagged_repeats": total["flagged"],
                "this_process_stopped": self.stops,
                "recoveries": len(recoveries),
                "recovery_p50_ms": _quantile(recoveries, 0.5),
                "recovery_p99_ms": _quantile(recoveries, 0.99),
                "lost": self._broken_by("lost:"),
                "doubled": self._broken_by("doubled:"),
                "reordered": self._broken_by("reordered:"),
                "tools_run_twice": self._broken_by("done:"),
                "sessions_that_were_weighed": len(lasted),
                "kib_a_session_holds_once_warm": [round(warm / 1024) for warm, _ in lasted] or None,
                "kib_a_session_holds_at_its_end": [round(end / 1024) for _, end in lasted] or None,
                "kib_of_its_tool_calls_at_its_end": [
                    round(one["calls kept"] / 1024) for one in self.over if len(one["held"]) > 1
                ]
                or None,
                "rss_mib_with_app_and_harness_at_start": round(self.rss[0][1] / 2**20),
                "rss_mib_with_app_and_harness_once_warm": None if warm is None else round(warm / 2**20),
                "rss_mib_with_app_and_harness_at_the_end": round(self.rss[-1][1] / 2**20),
                "left_behind": self.left,
            },
            "faults": dict(sorted(total["faults"].items())),
        }

    def _broken_by(self, start: str) -> int:
        return sum(_plain(problem).startswith(start) for _, problem in self.wrong)

    def broken(self, promise: str) -> int:
        """Return how many complaints break a promise."""
        starts = tuple(start for each in PROMISES.values() for start in each)
        unknown = sum(not _plain(problem).startswith(starts) for _, problem in self.wrong)
        return unknown + sum(_plain(problem).startswith(PROMISES[promise]) for _, problem in self.wrong)


def _type(kind: Kind) -> type[Life]:
    if kind.startswith("google-adk"):
        from tests.soak.adk import AdkLife

        return AdkLife
    return Life


def _plain(problem: str) -> str:
    """Return a complaint so that its beginning tells what it is about."""
    if " was done " in problem:
        return f"done: {problem}"
    if "fresh starts" in problem:
        return f"fresh starts: {problem}"
    if "frames of history" in problem:
        return f"history: {problem}"
    return "ms of speech" if "ms of speech" in problem else problem


def _grown(held: list[int], calls: int) -> list[str]:
    """Return the complaints about a session that holds more at its end than when it was warm, or calls without end."""
    more = held[-1] - held[0] if held else 0
    found = [f"memory: the session holds {more} bytes more than once it was warm, {held[-1]}"] if more > MEMORY else []
    return [*found, f"memory: {calls} bytes of tool calls"] if calls > CALLS else found


def _figures(life: Life) -> dict[str, Any]:
    app = life.app
    assert app is not None
    told = Counter(type(event) for event in app.told)
    recoveries = life.recoveries()
    return {
        "kind": life.kind,
        "turns": len(app.turns),
        "tools": len(app.executed),
        "speech": len(app.pcm) / 32000,
        "speech lost": life.speech_told_lost,
        "connections": told[events.Connected] + told[events.Resumed] + told[events.FreshStarted],
        "lost connections": told[events.ConnectionLost],
        "moves": told[events.Moving],
        "fresh": told[events.FreshStarted],
        "cut turns": told[events.TurnCut],
        "settled": told[events.TurnSettled],
        "flagged": told[events.MessagesRepeated],
        "recoveries": len(recoveries),
        "recovery_seconds": recoveries,
        "faults": Counter(name for _, name in life.struck),
        "held": life.held,
        "calls kept": life.calls,
    }


def _sum(figures: list[dict[str, Any]]) -> Mapping[str, Any]:
    total: dict[str, Any] = Counter()
    total["faults"] = Counter()
    for one in figures:
        for name, value in one.items():
            if isinstance(value, int | float):
                total[name] += value
        total["faults"] += one["faults"]
    return total


def _quantile(values: list[float], part: float) -> int | None:
    return round(1000 * values[min(int(part * len(values)), len(values) - 1)]) if values else None


def _stock() -> tuple[int, ...]:
    gc.collect()
    tasks, descriptors = traces()
    timers = [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
    return len(tasks), descriptors, len(timers), sum(isinstance(one, Driver) for one in sessions())


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
