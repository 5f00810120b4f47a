"""How many round trips a recovery takes (G3), over a thousand runs each."""

from __future__ import annotations

import pytest

from resumekit.core.policy import Policy
from tests.proofs.recovery import RTTS, cut, move

RUNS = 1000
CLOSE = 1e-9


@pytest.mark.parametrize("rtt", RTTS)
def test_a_cut_costs_four_round_trips_and_the_first_delay(rtt: float) -> None:
    """TCP, TLS, the upgrade and setup; half of all runs, and all but one in a hundred."""
    one = cut(rtt, size=RUNS)
    assert one.median_rounds <= 4 + CLOSE
    assert one.p99 <= 5 * rtt + Policy().first_delay


@pytest.mark.parametrize("rtt", RTTS)
def test_a_planned_move_costs_two_round_trips_on_a_warm_connection(rtt: float) -> None:
    """The close, whose answer is waited for, and the setup; no run takes longer."""
    assert move(rtt, size=RUNS).p99_rounds <= 2 + CLOSE
