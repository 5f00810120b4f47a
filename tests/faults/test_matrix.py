"""Every fault of `scenarios`, through the real google-genai client, on both backends and in both loops of an app."""

from __future__ import annotations

import itertools

import pytest

from tests.faults.runner import LOOPS, converse
from tests.faults.scenarios import SCENARIOS

pytestmark = pytest.mark.network


def cases():
    """Every scenario on each of its backends and model families; the two loops by turns."""
    for number, scenario in enumerate(scenario for scenario in SCENARIOS if not scenario.elsewhere):
        pairs = itertools.product(scenario.families, scenario.profiles)
        for turn, (family, profile) in enumerate(pairs, number):
            for loop in LOOPS if scenario.both_loops else (LOOPS[turn % 2],):
                name = f"{scenario.name}-{profile}-{family}-{loop}"
                yield pytest.param(scenario, profile, family, loop, id=name)


def test_no_two_scenarios_have_the_same_name():
    names = [case.id for case in cases()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("scenario", "profile", "family", "loop"), list(cases()))
async def test_the_conversation_goes_on(scenario, profile, family, loop):
    run = await converse(scenario, profile=profile, family=family, loop=loop)
    assert not run.problems(), str(run)
