"""Handles that are accepted and dead: noticed, given up, and the conversation goes on without them.

In virtual time: a busy machine, too, makes a model look mute.
"""

from __future__ import annotations

import pytest

from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from tests.faults import virtually
from tests.faults.runner import ARM, PROFILES, Ask, Say, Scenario, Until
from tests.faults.scenarios import CUT, TOOL

profiles = pytest.mark.parametrize("profile", PROFILES)
TEXT = (Ask("one"), ARM, Ask("two"), Ask("three"))
TOOLS = (Ask("one"), ARM, Ask(TOOL), Ask("three"))
SPOKEN = (Say("one"), ARM, Say("two"), Say("three"))


def dead(run) -> list[bool]:
    return [event.poisoned for event in run.app.told if isinstance(event, events.HandleRefused)]


@profiles
def test_a_connection_that_is_mute_is_tried_once_more_with_its_handle(profile):
    scenario = Scenario(name="mute", armed=(CUT, Fault.poisoned_handle()), steps=TEXT)
    run = virtually.converse(scenario, profile=profile)
    assert not run.problems(), str(run)
    first, mute, again = run.connections
    assert (mute.poisoned, again.poisoned) == (True, False)
    assert mute.handle == again.handle is not None
    assert dead(run) == []
    assert first.turns_completed == 1


@profiles
@pytest.mark.parametrize("scope", ["handle", "session"])
@pytest.mark.parametrize("steps", [TEXT, TOOLS, SPOKEN], ids=["text", "tools", "speech"])
def test_a_handle_that_is_mute_twice_is_dead_and_a_fresh_session_answers(profile, scope, steps):
    scenario = Scenario(
        name="dead",
        armed=(Fault.rst(at=Trigger.generation_complete(2)), Fault.poisoned_handle(scope)),
        steps=steps,
        fresh=1,
        speech=steps is SPOKEN,
        policy={"resend_speech": "transcript"},
    )
    run = virtually.converse(scenario, profile=profile)
    if steps is SPOKEN:  # what was spoken is told as text
        assert run.report.held == run.report.unexpected == ["one", "two"]
        problems = [
            problem
            for problem in run.problems()
            if not problem.startswith("unexpected") and " ms of speech" not in problem
        ]
    else:
        problems = run.problems()
    assert not problems, str(run)
    _, *mute, fresh = run.connections
    assert [record.poisoned for record in mute] == [True, True]
    assert len({record.handle for record in mute}) == 1
    assert fresh.handle is None
    assert dead(run) == [True]
    assert len(run.app.executed) == (steps is TOOLS)


@profiles
def test_handles_of_a_connection_that_hands_out_dead_ones_are_not_tried_for_ever(profile):
    scenario = Scenario(
        name="issued",
        faults=(Fault.poisoned_handle("issued", at=Trigger.bound(), connection=0),),
        armed=(CUT,),
        steps=(Ask("one"), Ask("more"), ARM, Ask("two"), Ask("three")),
        fresh=1,
    )
    run = virtually.converse(scenario, profile=profile)
    assert not run.problems(), str(run)
    assert dead(run) == [True]
    assert [record.poisoned for record in run.connections] == [False, True, True, False]


@profiles
def test_a_resumed_model_that_only_waits_for_a_tool_is_not_taken_for_dead(profile):
    scenario = Scenario(
        name="waits",
        armed=(Fault.close(1011, at=Trigger.tool_call()),),
        steps=TOOLS,
        tool_time=40,
    )
    run = virtually.converse(scenario, profile=profile)
    assert not run.problems(), str(run)
    assert len(run.connections) == 2
    assert len(run.app.executed) == 1


@profiles
def test_a_storm_of_go_aways_while_a_tool_runs_ends(profile):
    scenario = Scenario(
        name="storm",
        armed=(CUT, Fault.go_away(10, at=Trigger.bound(), times=4)),
        steps=(Ask("one"), ARM, Ask("two"), Ask(TOOL), Until(events.Resumed, 4), Ask("three")),
        strikes="any",
        fresh=None,
        tool_time=3,
    )
    run = virtually.converse(scenario, profile=profile)
    assert not run.problems(), str(run)
    assert len(run.app.executed) == 1
    assert run.struck.count("go_away") >= 3
