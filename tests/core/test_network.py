"""The model of the network is no worse than a real one: what goes over one connection keeps its order."""

from __future__ import annotations

import pytest

from resumekit.core import inputs
from tests.core.simulation import Config, World


def arrivals(world: World) -> list[str]:
    """What came over the wire since the last look, in order."""
    came: list[str] = []
    for _, direction, what in world.trace:
        if direction == "in" and isinstance(what, inputs.PongReceived):
            came.append("pong")
        elif direction == "in" and isinstance(what, inputs.FrameReceived) and what.message.session_resumption_update:
            came.append("handle")
    world.trace.clear()
    return came


def connected(seed: int) -> World:
    world = World(Config(seed=seed))
    world.advance(5.0)
    world.trace.clear()
    return world


@pytest.mark.parametrize("heals", [False, True], ids=["it ends", "it is healed"])
def test_what_a_stall_has_held_back_comes_in_order_with_what_comes_after_it(heals: bool) -> None:
    """A pong that overtakes a frame would tell the engine that nothing is under way."""
    world = connected(1)
    world.do("stall", 20.0, 0.0)
    world.do("update")
    world.advance(1.0)
    assert arrivals(world) == []
    if heals:
        world.do("heal")
    world.network.ping(1)
    world.advance(1.0)
    if not heals:
        assert arrivals(world) == []
        world.advance(18.5)
    assert arrivals(world) == ["handle", "pong"]


def test_a_second_stall_holds_up_what_the_first_one_held() -> None:
    world = connected(1)
    world.do("stall", 2.0, 0.0)
    world.do("update")
    world.advance(1.0)
    world.do("stall", 5.0, 0.0)
    world.advance(4.0)
    assert arrivals(world) == []
    world.advance(2.0)
    assert arrivals(world) == ["handle"]


@pytest.mark.parametrize("seed", range(20))
def test_a_pong_does_not_overtake_a_frame_that_was_sent_before_it(seed: int) -> None:
    world = connected(seed)
    for _ in range(10):
        world.do("update")
        world.network.ping(1)
        world.advance(0.3)
    assert arrivals(world) == ["handle", "pong"] * 10
