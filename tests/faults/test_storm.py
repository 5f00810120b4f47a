"""A service that never recovers: few dials, and one error that says what was lost and what to do."""

from __future__ import annotations

import pytest
from google.genai import errors as genai_errors

from resumekit import errors
from resumekit.adapters import genai as resumable
from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from tests.faults.runner import ARM, PROFILES, Ask, Pause, Scenario, converse
from tests.faults.scenarios import CUT

pytestmark = pytest.mark.network

SCALE = 0.006
FOR_EVER = {
    "dropped-before-setup": Fault.drop_before_setup(times=None),
    "dropped-after-setup": Fault.drop_after_setup(times=None),
    "closed-after-setup": Fault.close(1011, "Internal error encountered.", at=Trigger.bound(), times=None),
    "refused-at-setup": Fault.close(1011, "Internal error encountered.", at=Trigger.setup_received(), times=None),
    "quota": Fault.close(1011, "You exceeded your current quota.", at=Trigger.setup_received(), times=None),
    "http-503": Fault.handshake(503, times=None),
    "http-429": Fault.handshake(429, retry_after=7, times=None),
    "reset-in-the-handshake": Fault.rst(at=Trigger.at_handshake(), times=None),
}


def dials_in_the_first_minute(run):
    """Count from the cut on, by the server's clock: what happened on the way there can only make it fewer."""
    cut = run.connections[0].closed_at
    return sum(cut <= record.opened_at <= cut + 60 * SCALE for record in run.connections)


@pytest.mark.parametrize(
    ("profile", "fault"),
    [
        (profile, fault)
        for number, fault in enumerate(FOR_EVER)
        for profile in (PROFILES if fault.startswith("dropped") else PROFILES[number % 2 :][:1])
    ],
)
async def test_few_dials_and_one_typed_error(profile, fault):
    scenario = Scenario(
        name=fault,
        armed=(CUT, FOR_EVER[fault]),
        steps=(Ask("one"), ARM, Ask("two"), Ask("never")),
        scale=SCALE,
        policy={"max_reanswers_per_turn": 1000},
    )
    run = await converse(scenario, profile=profile, loop="classic")
    assert dials_in_the_first_minute(run) <= 10
    assert 5 <= len(run.connections) <= 60  # 300 s in all
    the_error_says_it_all(run)


@pytest.mark.parametrize("profile", PROFILES)
async def test_nobody_listens_any_more(profile):
    scenario = Scenario(
        name="down",
        armed=(Fault.listener_down(10_000, at=Trigger.mid_answer(2)),),
        steps=(Ask("one"), ARM, Ask("two"), Ask("never")),
        scale=SCALE,
    )
    run = await converse(scenario, profile=profile, loop="request")
    scheduled = [event for event in run.app.told if isinstance(event, events.ReconnectScheduled)]
    assert 5 <= len(scheduled) <= 60
    the_error_says_it_all(run)


def the_error_says_it_all(run):
    lost = run.error
    assert isinstance(lost, resumable.SessionLost)
    assert isinstance(lost, errors.SessionLost)
    assert isinstance(lost, genai_errors.APIError)
    assert lost.unsent_messages == 1
    assert lost.attempts >= 5
    assert lost.code
    assert "not kept by the service: 1 message and" in str(lost)
    assert "start a new session with history=..." in str(lost)
    assert "max_outage" in str(lost)
    ends = [event for event in run.app.told if isinstance(event, events.SessionEnded)]
    assert len(ends) == 1
    assert ends[0].error
    assert not run.left


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_service_that_says_go_away_at_once_for_ever_is_dialled_seldom(profile):
    scale = 0.02
    scenario = Scenario(
        name="go away",
        faults=(Fault.go_away(10, at=Trigger.bound(), times=None),),
        steps=(Ask("one"), Pause(150), Ask("two")),
        scale=scale,
    )
    run = await converse(scenario, profile=profile)
    assert run.error is None
    assert not [problem for problem in run.problems() if "answer" in problem], str(run)
    assert run.report.ok
    assert len(run.connections) >= 4
    first = run.connections[0].opened_at
    in_a_minute = sum(record.opened_at <= first + 60 * scale for record in run.connections)
    assert in_a_minute <= 12  # the first one, one that was dialled ahead, and ten
