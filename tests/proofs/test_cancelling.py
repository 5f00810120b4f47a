"""What an application does may be cancelled wherever it waits (G14): nothing is left, lost or doubled."""

from __future__ import annotations

import asyncio

import pytest

from tests.proofs.apps import GenaiApp
from tests.proofs.cancelling import SCENARIOS, WAYS, BareApp, Way, stand_still, sweep
from tests.proofs.virtual import Stuck, VirtualLoop, run

ALL_OF_IT = pytest.mark.parametrize("call", [False, True], ids=["whole", "call"])
EACH = pytest.mark.parametrize("name", SCENARIOS)
APPS = pytest.mark.parametrize("app", [BareApp, GenaiApp], ids=["websockets", "genai"])


@pytest.fixture
def all_points(schedules: int) -> bool:
    """Tell whether there is time for everything."""
    return schedules >= 100_000


@APPS
@ALL_OF_IT
@EACH
@pytest.mark.parametrize("way", ["waiting", "ready"])
def test_it_may_be_cancelled_at_every_point(
    name: str, way: Way, call: bool, app: type[BareApp], all_points: bool
) -> None:
    """`CancelledError` comes out, the session can be closed, and what was accepted is in the ledger, once.

    At some of the points where there are many or a run takes long, unless in `make prove`.
    """
    some = 10 if app is GenaiApp else 6 if name == "moves" else 1 + call
    struck, found = sweep(SCENARIOS[name], way, call=call, app=app, step=1 if all_points else some)
    assert struck >= 2
    assert found == {}


@ALL_OF_IT
@EACH
@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("waiting", "ready")])
def test_it_may_be_cancelled_in_every_way(name: str, way: Way, call: bool, all_points: bool) -> None:
    """By a time-out, by a sibling that failed, and again while it is being cancelled; here at some of the points."""
    struck, found = sweep(SCENARIOS[name], way, call=call, step=1 if all_points else 7)
    assert struck >= 2
    assert found == {}


@pytest.mark.proof
@ALL_OF_IT
@EACH
@pytest.mark.parametrize("way", ["waiting", "ready", "twice"])
def test_it_may_be_cancelled_at_every_turn_of_the_loop(name: str, way: Way, call: bool, all_points: bool) -> None:
    """Whoever is at work then: a dial, a write, the store, the service. Here in some of the turns."""
    struck, found = sweep(SCENARIOS[name], way, call=call, turns=True, step=1 if all_points else 71)
    assert struck >= 2
    assert found == {}


@pytest.mark.parametrize("way", ["ready", "all", "others"])
def test_a_connect_may_be_cancelled_at_every_turn_of_the_loop(way: Way) -> None:
    """Also in the very turn in which TCP and TLS are there, where asyncio itself would still wait for the peer."""
    struck, found = sweep(SCENARIOS["talk"], way, call=False, turns=True, last=35)
    assert struck == 35
    assert found == {}


@APPS
@EACH
@pytest.mark.parametrize("way", ["all", "others"])
def test_all_tasks_may_be_cancelled_at_once(name: str, way: Way, app: type[BareApp], all_points: bool) -> None:
    """Those of the session, too, and of the application or not: it ends, at once, and a store of its own is closed."""
    some = 41 if app is GenaiApp or name == "moves" else 9
    struck, found = sweep(SCENARIOS[name], way, call=False, turns=True, app=app, step=1 if all_points else some)
    assert struck >= 2
    assert found == {}


@EACH
@pytest.mark.parametrize("asleep", [False, True], ids=["stopped", "suspended"])
def test_a_process_may_stand_still_at_every_point(name: str, asleep: bool, all_points: bool) -> None:
    """For 10 s, 10 min or 3 h, and meanwhile the connection lives, ends or goes dead: told once, and nothing is lost."""
    for seconds in (10.0, 600.0, 3 * 3600.0):
        for then in ("", "cut", "swallow"):
            step = 1 if all_points else 25 if name == "moves" else 9
            struck, found = stand_still(SCENARIOS[name], seconds, asleep=asleep, then=then, step=step)
            assert struck >= 2
            assert found == {}


def test_a_loop_in_which_nothing_will_ever_happen_says_so() -> None:
    async def main(loop: VirtualLoop) -> None:
        await loop.create_future()

    with pytest.raises(Stuck, match="nothing will ever happen"):
        run(main)


def test_a_loop_that_turns_for_ever_says_so() -> None:
    async def main(_: VirtualLoop) -> None:
        while True:  # noqa: ASYNC110 -- that is the point
            await asyncio.sleep(0)

    with pytest.raises(Stuck, match="turns of the loop, and no end"):
        run(main, turns=1000)
