"""The real driver comes back as fast, and sees a black hole as soon, as the engine alone (G3, G4)."""

from __future__ import annotations

import pytest

from resumekit.core.policy import Policy
from tests.proofs.driving import black_hole, cut, move
from tests.proofs.recovery import RTTS

CLOSE = 1e-4
"""Round trips: an event has its time from the wall clock, of which a float holds no more."""


@pytest.fixture
def size(schedules: int) -> int:
    """Tell how many sessions."""
    return 1000 if schedules >= 100_000 else 40


@pytest.mark.parametrize("rtt", RTTS)
def test_a_cut_costs_four_round_trips_and_the_first_delay(rtt: float, size: int) -> None:
    """TCP, TLS, the upgrade and setup; half of all runs, and all but one in a hundred."""
    one = cut(rtt, size=size)
    assert one.median_rounds <= 4 + CLOSE
    assert one.p99 <= 5 * rtt + Policy().first_delay


@pytest.mark.parametrize("rtt", RTTS)
@pytest.mark.parametrize(("warm", "rounds"), [(True, 2), (False, 5)], ids=["warm", "cold"])
def test_a_planned_move_costs_two_round_trips_or_five(rtt: float, warm: bool, rounds: int, size: int) -> None:
    """The close, whose answer is waited for, and the setup; TCP, TLS and the upgrade between them if it is cold."""
    assert move(rtt, warm=warm, size=size).p99_rounds <= rounds + CLOSE


def test_a_black_hole_is_seen_in_time(size: int) -> None:
    """Whenever it opens: the silence that the policy allows, and a tenth of a second."""
    assert black_hole(expecting=False, size=size) <= Policy().abort_idle + 0.1


def test_a_black_hole_is_seen_sooner_while_an_answer_is_due(size: int) -> None:
    assert black_hole(expecting=True, size=size) <= Policy().abort_expecting + 0.1
