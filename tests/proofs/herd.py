"""What ten thousand sessions do at once: a service that tells all of them to go, and one that drops all of them.

`CASES` has the cases; each is a run of `tests.proofs.fleet`, with the engine and the built-in decisions as shipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from resumekit.core.policy import Policy
from tests.proofs.fleet import Fleet, Service, peak, percentile

__all__ = ["CASES", "SIZE", "Outcome", "cut", "go_away"]

SIZE = 10_000
LEFT = 60.0
"""Seconds that goAway names."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the service saw of it, and the users. Times are seconds."""

    sessions: int
    recovered: int
    """Live at the end."""
    peak: int
    """Dials in the busiest second."""
    dials: float
    """For each session."""
    most_dials: int
    """Of any session."""
    median: float
    """Without a connection, from the loss on; of what the service was there for."""
    p99: float
    quiet: int
    """Moves at a quiet point."""
    cut_turns: int


def go_away(*, talking: float, size: int = SIZE) -> Outcome:
    """Tell all sessions to go at once, with 60 s left.

    Args:
        talking: so large a share of them is given an answer of up to 20 s just then.
        size: how many sessions.
    """
    fleet = Fleet(size, Service())
    for session in fleet.sessions:
        if fleet.rng.random() < talking:
            fleet.ask(session, 20.0 * fleet.rng.random())
    fleet.run(0.2)
    fleet.go_away(LEFT)
    fleet.run(LEFT + 10.0)
    return _outcome(fleet, 0.0)


def cut(*, first_delay: float | None = None, down: float = 0.0, quota: int | None = None, size: int = SIZE) -> Outcome:
    """Cut all sessions at once.

    Args:
        first_delay: `Policy.first_delay`; None: its default.
        down: seconds for which the service refuses all connections after that.
        quota: connections that it lets in per second, for each 10,000 sessions; None: all.
        size: how many sessions.
    """
    service = Service(quota=quota and max(1, quota * size // 10_000))
    fleet = Fleet(size, Service(), policy=Policy() if first_delay is None else Policy(first_delay=first_delay))
    fleet.service = service
    service.down_until = fleet.now + down
    fleet.cut()
    fleet.run(down + 120.0)
    return _outcome(fleet, down)


def _outcome(fleet: Fleet, down: float) -> Outcome:
    sessions, dials, gaps = fleet.sessions, fleet.dials, fleet.gaps
    return Outcome(
        sessions=len(sessions),
        recovered=fleet.live,
        peak=peak(dials),
        dials=len(dials) / len(sessions),
        most_dials=max(len(session.dials) for session in sessions),
        median=percentile(gaps, 0.5) - down,
        p99=percentile(gaps, 0.99) - down,
        quiet=sum(session.quiet_moves for session in sessions),
        cut_turns=sum(session.cut_turns for session in sessions),
    )


CASES: dict[str, Callable[[], Outcome]] = {
    "goAway to all, 60 s left, all quiet": lambda: go_away(talking=0.0),
    "goAway to all, 60 s left, half of them answering": lambda: go_away(talking=0.5),
    "total cut": cut,
    "total cut, first_delay=5": lambda: cut(first_delay=5.0),
    "total cut, first_delay=30": lambda: cut(first_delay=30.0),
    "total cut, 2 s down": lambda: cut(down=2.0),
    "total cut, 2 s down, first_delay=5": lambda: cut(down=2.0, first_delay=5.0),
    "total cut, 30 s down": lambda: cut(down=30.0),
    "total cut, 500 let in per second": lambda: cut(quota=500),
    "total cut, 500 let in per second, first_delay=5": lambda: cut(quota=500, first_delay=5.0),
    "total cut, 500 let in per second, first_delay=20": lambda: cut(quota=500, first_delay=20.0),
    "total cut, 30 s down, 500 let in per second": lambda: cut(down=30.0, quota=500),
    "total cut, 30 s down, 500 let in per second, first_delay=20": lambda: cut(down=30.0, quota=500, first_delay=20.0),
}
