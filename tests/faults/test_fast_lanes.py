"""A few faults the other way: by the fast lanes where these are off, and without them where they are on.

All others go the way that `RESUMEKIT_FAST` says; `make matrix` runs them without the fast lanes.
"""

from __future__ import annotations

import dataclasses

import pytest

from resumekit.drivers import fast_lanes
from resumekit.drivers.switch import FAST
from tests.faults.runner import PROFILES, converse
from tests.faults.scenarios import SCENARIOS

pytestmark = pytest.mark.network

SPOKEN = ("reset", "cut-after-turn-complete", "cut-before-the-handle", "goaway-in-mid-answer")
"""With these the model speaks, so that most of the frames are media."""
WRITTEN = ("reset", "goaway-while-a-tool-runs", "cut-in-silence")
CASES = [(name, True) for name in SPOKEN] + [(name, False) for name in WRITTEN]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("name", "speech"), CASES)
async def test_the_other_way_leads_to_the_same_place(name, speech, profile, monkeypatch):
    monkeypatch.setenv(FAST, "0" if fast_lanes() else "1")
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == name)

    run = await converse(dataclasses.replace(scenario, speech=speech), profile=profile, family="2.5", loop="classic")

    assert not run.problems(), str(run)
