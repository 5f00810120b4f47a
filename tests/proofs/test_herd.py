"""Ten thousand sessions at once do not storm the service, and come back (G7)."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.proofs.herd import SIZE, cut, go_away

pytestmark = pytest.mark.proof


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Ten thousand sessions are no garbage, and looking through them takes half of the time."""
    gc.disable()
    yield
    gc.enable()


def test_sessions_told_to_go_at_once_spread_their_dials() -> None:
    """Of 60 s left, half are there to dial in: 400 connects/s at the most, and nobody is cut."""
    one = go_away(talking=0.3)
    assert one.recovered == SIZE
    assert one.quiet == SIZE
    assert one.cut_turns == 0
    assert one.peak <= 400


def test_sessions_told_to_go_all_move_at_a_quiet_point() -> None:
    """One dial each, and no turn is cut: quiet or answering, a minute is enough."""
    one = go_away(talking=0.5, size=1000)
    assert (one.recovered, one.quiet, one.cut_turns, one.most_dials) == (1000, 1000, 0, 1)


def test_after_a_total_cut_the_first_dials_are_spread_over_the_first_delay() -> None:
    one = cut(first_delay=30.0)
    assert one.recovered == SIZE
    assert one.peak <= SIZE / 30.0 * 1.5
    assert one.p99 <= 30.0 + 0.25


def test_a_service_that_lets_in_a_part_of_them_gets_all_of_them_in_time() -> None:
    """500 connections per second for 10,000 sessions, which takes 20 s at the least; here for a fifth of both."""
    one = cut(quota=500, size=SIZE // 5)
    assert one.recovered == SIZE // 5
    assert one.dials <= 7
    assert one.most_dials <= 10
    assert one.p99 <= 35
    again = cut(down=30.0, quota=500, size=SIZE // 5)
    assert again.recovered == SIZE // 5
    assert again.dials <= 7
    assert again.p99 <= 35
    spread = cut(quota=500, first_delay=20.0, size=SIZE // 5)
    assert spread.recovered == SIZE // 5
    assert spread.dials <= 2
    assert spread.p99 <= 35
