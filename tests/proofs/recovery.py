"""How long a conversation is without a connection, in round trips: after a cut, and at a planned move on a warm connection.

Each of ten thousand sessions is one run. The service takes no time of its own, so that what is left is round trips, and the
delay before the first dial, which an event tells.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.proofs.fleet import Fleet, Service, percentile

__all__ = ["RTTS", "Outcome", "cut", "move"]

RTTS = (0.02, 0.1, 0.3)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Gaps in seconds, but where round trips are named."""

    median: float
    p99: float
    mean_rounds: float
    """Round trips, without the delay."""
    median_rounds: float
    p99_rounds: float
    refused: float
    """Share of the setups that came before the service had let go of the old connection."""


def cut(rtt: float, *, size: int = 10_000) -> Outcome:
    """Cut sessions that nothing is wrong with otherwise."""
    fleet = Fleet(size, Service(rtt=rtt))
    fleet.cut()
    fleet.run(10.0)
    return _outcome(fleet)


def move(
    rtt: float, *, close_answered: float = 1.0, jitter: float = 0.0, releases: float = 0.0, size: int = 10_000
) -> Outcome:
    """Let sessions move, at the end of an answer, to the connections that they dialled ahead.

    Args:
        rtt: a round trip, in seconds.
        close_answered: after so many of them, from the close, the setup goes out. The driver waits for one.
        jitter: a way takes up to so much of it more, or less.
        releases: up to so many seconds the service takes to let go of the session, once the close is there.
        size: how many sessions.
    """
    service = Service(rtt=rtt, jitter=jitter, close_answered=close_answered, releases=(0.0, releases))
    fleet = Fleet(size, service)
    for session in fleet.sessions:
        fleet.ask(session, 42.0)  # the last of them dials at 36 s
    fleet.run(0.5)
    fleet.go_away(60.0)
    fleet.run(70.0)
    if any(session.quiet_moves != 1 for session in fleet.sessions):
        raise AssertionError("a session did not move at a quiet point")
    return _outcome(fleet)


def _outcome(fleet: Fleet) -> Outcome:
    if fleet.live < len(fleet.sessions) or len(fleet.gaps) != len(fleet.sessions):
        raise AssertionError("a session did not come back")
    rtt = fleet.service.rtt
    rounds = [(sum(session.gaps) - sum(session.delays)) / rtt for session in fleet.sessions]
    return Outcome(
        median=percentile(fleet.gaps, 0.5),
        p99=percentile(fleet.gaps, 0.99),
        mean_rounds=sum(fleet.gaps) / len(fleet.gaps) / rtt,
        median_rounds=percentile(rounds, 0.5),
        p99_rounds=percentile(rounds, 0.99),
        refused=sum(session.refused for session in fleet.sessions) / len(fleet.sessions),
    )
