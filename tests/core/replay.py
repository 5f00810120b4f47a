"""Run a schedule again by its seed; where it fails, find the least of it that fails in the same way.

`python -m tests.core.replay PROFILE SEED` does both, and prints the command that replays the minimal schedule;
`... PROFILE FROM:TO` counts the failures of many, and with `--first` stops at the first one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

from resumekit.core.engine import Engine
from tests.core.model_state import Violation
from tests.core.schedules import PROFILES, STEPS, command, make_config, run, steps_of
from tests.core.simulation import Config
from tests.traces import keep

__all__ = ["Schedule", "main", "shrink"]

_KEPT = ("seed", "server", "policy", "transparent", "first_index", "older_valid", "holds_audio", "session_limit")
"""What of a config has to agree with something else in it."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A schedule, whole or what is left of it."""

    profile: str
    seed: int
    steps: int = STEPS
    only: tuple[int, ...] | None = None
    """Positions of the steps that are left; None: all."""
    plain: tuple[str, ...] = ()
    """What of its config has its default."""

    @property
    def command(self) -> str:
        """The command that replays it."""
        return command(self.seed, self.profile, steps=self.steps, only=self.only, plain=self.plain)

    def failure(self, engine: Callable[..., Engine] = Engine) -> Exception | None:
        """Run it; return what went wrong."""
        try:
            run(self.seed, self.profile, steps=self.steps, only=self.only, plain=self.plain, engine=engine)
        except Exception as error:
            return error
        return None


def shrink(schedule: Schedule, engine: Callable[..., Engine] = Engine) -> Schedule:
    """Return the least of a failing schedule that fails by the same rule: no step of it can be left out."""
    rule = _rule(schedule.failure(engine))
    if not rule:
        raise ValueError("the schedule does not fail")

    def fails(candidate: Schedule) -> bool:
        return _rule(candidate.failure(engine)) == rule

    least = schedule
    if least.only is None:
        least = replace(least, only=tuple(range(len(list(steps_of(least.seed, least.profile, least.steps))))))
    while True:
        before = least
        for name in _drawn(least):
            simpler = replace(least, plain=(*least.plain, name))
            least = simpler if fails(simpler) else least
        least = _shorter(least, fails)
        if least == before:
            return least


def _shorter(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """Leave out halves of the steps, quarters, and so on down to single ones, as long as it still fails."""
    only = schedule.only or ()
    size = len(only)
    while size:
        start = 0
        while start < len(only):
            without = only[:start] + only[start + size :]
            if fails(replace(schedule, only=without)):
                only = without
            else:
                start += size
        size //= 2
    return replace(schedule, only=only)


def _drawn(schedule: Schedule) -> list[str]:
    """Return what of a schedule's config is not as it is by default, and could be."""
    drawn, plain = make_config(schedule.seed, schedule.profile), Config()
    return [
        field.name
        for mine, default in ((drawn, plain), (drawn.server, plain.server))
        for field in fields(mine)
        if field.name not in (*_KEPT, *schedule.plain) and getattr(mine, field.name) != getattr(default, field.name)
    ]


def _rule(error: Exception | None) -> str:
    return error.rule if isinstance(error, Violation) else type(error).__name__ if error is not None else ""


def main(arguments: Sequence[str] | None = None, engine: Callable[..., Engine] = Engine) -> int:
    """Be the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.core.replay", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("profile", choices=PROFILES)
    parser.add_argument("seed", help="one seed, or FROM:TO")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument(
        "--only", type=lambda text: tuple(map(int, text.split(","))), help="positions of the steps to take"
    )
    parser.add_argument("--plain", type=lambda text: tuple(text.split(",")), default=(), help="what has its default")
    parser.add_argument("--first", action="store_true", help="of many seeds, stop at the first that fails")
    chosen = parser.parse_args(arguments)
    if ":" in chosen.seed:
        seeds = range(*map(int, chosen.seed.split(":")))
        return _count(chosen.profile, seeds, chosen.steps, engine, first=chosen.first)
    schedule = Schedule(
        profile=chosen.profile, seed=int(chosen.seed), steps=chosen.steps, only=chosen.only, plain=chosen.plain
    )
    error = schedule.failure(engine)
    if error is None:
        print(f"{schedule.command}: every rule holds")
        return 0
    if schedule.only is None:
        schedule = shrink(schedule, engine)
        error = schedule.failure(engine)
    print("\n".join([str(error), *getattr(error, "__notes__", ())]))
    print(f"minimal: {schedule.command}")
    for path in keep(f"schedule-{schedule.profile}-{schedule.seed}", error):
        print(f"trace: {path}")
    return 1


def _count(profile: str, seeds: range, steps: int, engine: Callable[..., Engine], *, first: bool) -> int:
    failing: dict[str, list[int]] = {}
    told: dict[str, str] = {}
    done = 0
    for seed in seeds:
        done += 1
        error = Schedule(profile=profile, seed=seed, steps=steps).failure(engine)
        if error is None:
            continue
        failing.setdefault(_rule(error), []).append(seed)
        told.setdefault(_rule(error), str(error))
        if first:
            break
    print(f"{profile}: {done} schedules, {sum(map(len, failing.values()))} of which break a rule")
    for rule, found in sorted(failing.items()):
        print(f"  {rule}: {len(found)}, e.g. {found[:8]}: {told[rule]}")
    return bool(failing)


if __name__ == "__main__":
    raise SystemExit(main())
