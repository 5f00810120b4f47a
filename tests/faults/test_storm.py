"""A service that never recovers: few dials, and one error that says what was lost and what to do."""

from __future__ import annotations

import asyncio

import pytest
from google.genai import errors as genai_errors

from resumekit import errors
from resumekit.adapters import genai as resumable
from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from tests.faults import virtually
from tests.faults.runner import ARM, PROFILES, Ask, Do, Pause, Scenario, converse
from tests.faults.scenarios import CUT

MINUTES = 5
"""`Policy.max_outage`."""
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
profiles = pytest.mark.parametrize("profile", PROFILES)


def most_in_a_minute(moments):
    """Count in each minute that begins with one; what comes a minute later, but for rounding, is in the next."""
    return max(sum(0 <= other - moment < 59.999 for other in moments) for moment in moments)


@profiles
@pytest.mark.parametrize("fault", FOR_EVER)
def test_few_dials_and_one_typed_error(profile, fault):
    scenario = Scenario(
        name=fault,
        armed=(CUT, FOR_EVER[fault]),
        steps=(Ask("one"), ARM, Ask("two"), Ask("never")),
        policy={"max_reanswers_per_turn": 1000},
    )
    run = virtually.converse(scenario, profile=profile)
    dials = [record.opened_at for record in run.connections[1:]]
    assert most_in_a_minute(dials) <= 10
    assert len(dials) >= 2 * MINUTES
    the_error_says_it_all(run, attempts=2 * MINUTES)


@profiles
def test_nobody_listens_any_more(profile):
    async def take_the_network_away(_):
        asyncio.get_running_loop().network.down = True

    scenario = Scenario(
        name="down",
        armed=(CUT,),
        steps=(Ask("one"), ARM, Do(take_the_network_away), Ask("two"), Ask("never")),
    )
    run = virtually.converse(scenario, profile=profile, loop="request")
    dials = [event.at + event.delay for event in run.app.told if isinstance(event, events.ReconnectScheduled)]
    assert most_in_a_minute(dials) <= 10
    assert len(dials) >= 2 * MINUTES
    the_error_says_it_all(run, attempts=2 * MINUTES)


@pytest.mark.network
@profiles
async def test_the_port_of_the_service_is_closed(profile):
    """Over real sockets, and with little time: so without a count."""
    scenario = Scenario(
        name="down",
        armed=(Fault.listener_down(10_000, at=Trigger.mid_answer(2)),),
        steps=(Ask("one"), ARM, Ask("two"), Ask("never")),
        scale=0.006,
    )
    the_error_says_it_all(await converse(scenario, profile=profile, loop="request"), attempts=1)


def the_error_says_it_all(run, *, attempts):
    lost = run.error
    assert isinstance(lost, resumable.SessionLost)
    assert isinstance(lost, errors.SessionLost)
    assert isinstance(lost, genai_errors.APIError)
    assert lost.unsent_messages == 1
    assert lost.attempts >= attempts
    assert lost.code
    assert "not kept by the service: 1 message and" in str(lost)
    assert "start a new session with history=..." in str(lost)
    assert "max_outage" in str(lost)
    ends = [event for event in run.app.told if isinstance(event, events.SessionEnded)]
    assert len(ends) == 1
    assert ends[0].error
    assert not run.left


@profiles
def test_a_service_that_says_go_away_at_once_for_ever_is_dialled_seldom(profile):
    scenario = Scenario(
        name="go away",
        faults=(Fault.go_away(10, at=Trigger.bound(), times=None),),
        steps=(Ask("one"), Pause(150), Ask("two")),
    )
    run = virtually.converse(scenario, profile=profile)
    assert run.error is None
    assert not [problem for problem in run.problems() if "answer" in problem], str(run)
    assert run.report.ok
    assert len(run.connections) >= 4
    dials = [record.opened_at for record in run.connections]
    assert most_in_a_minute(dials) <= 12  # the first one, one that was dialled ahead, and ten
