"""When nothing is wrong, nothing is done; and what needs time gets it. In virtual time: a busy machine is not what it is about."""

from __future__ import annotations

import pytest

from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from tests.faults import virtually
from tests.faults.runner import ARM, PROFILES, Ask, Do, Pause, Say, Scenario, Until
from tests.faults.scenarios import SCENARIOS

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}

profiles = pytest.mark.parametrize("profile", PROFILES)
families = pytest.mark.parametrize("family", ["2.5", "3.x"])


def told(run, kind):
    return [event for event in run.app.told if isinstance(event, kind)]


@profiles
@pytest.mark.parametrize("name", ["half-open-in-mid-answer", "half-open-in-silence"])
def test_a_half_open_connection_is_resumed_with_its_handle_once_the_service_lets_go(profile, name):
    run = virtually.converse(BY_NAME[name], profile=profile, loop="request" if name.endswith("silence") else "classic")
    assert not run.problems(), str(run)
    first, *others = run.connections
    assert first.handles_issued
    assert {record.handle for record in others if record.binding is not None} == {others[0].handle} != {None}
    assert sum(record.refused is not None for record in others) >= 2  # it took the service its time
    assert run.report.resumes == 1
    assert not told(run, events.HandleRefused)


@pytest.mark.parametrize("pongs", [0, 10])
@pytest.mark.parametrize(("profile", "family"), [("developer", "2.5"), ("vertex", "3.x")])
def test_a_model_that_thinks_for_40_s_is_waited_for(profile, family, pongs):
    scenario = Scenario(
        name="think",
        steps=(Ask("one"), Ask("two [think:40]"), Ask("three")),
        knobs={"pong_delay": pongs},
        undisturbed=True,
    )
    run = virtually.converse(scenario, profile=profile, family=family)
    assert not run.problems(), str(run)
    assert not told(run, events.TurnCut)


@profiles
def test_a_proactive_model_that_stays_silent_is_left_alone(profile):
    async def say_something_to_somebody_else(app):
        await app.speak("[silent] not you", None)
        app.questions.pop()  # nobody will answer

    scenario = Scenario(
        name="proactive",
        speech=True,
        config={"proactivity": {"proactive_audio": True}},
        steps=(Say("one"), Do(say_something_to_somebody_else), Pause(100), Say("two"), Say("three")),
        undisturbed=True,
    )
    run = virtually.converse(scenario, profile=profile)
    assert not run.problems(), str(run)


@profiles
def test_a_silent_app_keeps_its_connection(profile):
    scenario = Scenario(name="idle", steps=(Ask("one"), Pause(200), Ask("two")), undisturbed=True)
    run = virtually.converse(scenario, profile=profile)
    assert not run.problems(), str(run)


@profiles
@families
def test_go_away_in_mid_answer_lets_the_answer_end_and_moves_before_the_deadline(profile, family):
    scenario = Scenario(
        name="goaway",
        armed=(Fault.go_away(59, at=Trigger.mid_answer(2)),),
        steps=(Ask("one"), ARM, Ask("two [chunks:40]"), Until(events.Resumed), Ask("three")),
    )
    run = virtually.converse(scenario, profile=profile, family=family, loop="request")
    assert not run.problems(), str(run)
    old = run.connections[0]
    assert old.turns_completed == 2  # the answer ended where it began
    assert old.closed_by == "client"  # before the service would have
    assert [event.quiet for event in told(run, events.Moving)] == [True]
    assert [event.planned for event in told(run, events.Resumed)] == [True]
    # The app saw nothing: no interruption, no goAway, and each frame of the answer once.
    contents = [message.server_content for message in run.app.turns[1] if message.server_content]
    assert not any(content.interrupted for content in contents)
    assert sum(content.model_turn is not None for content in contents) == 40
    assert run.app.session.stats.turns_reanswered == run.app.session.stats.turns_shadowed == 0


@profiles
def test_the_next_connection_is_dialled_ahead_and_bound_only_after_the_old_one_is_closed(profile):
    scenario = Scenario(
        name="warm",
        armed=(Fault.go_away(30, at=Trigger.client_message(2)),),
        steps=(Ask("one"), ARM, Ask("two [think:19]"), Until(events.Resumed), Ask("three")),
        policy={"progress_watchdog": 60},  # it thinks longer than a handle would be trusted
    )
    run = virtually.converse(scenario, profile=profile)
    assert not run.problems(), str(run)
    old, new = run.connections[:2]
    assert new.opened_at < old.closed_at  # ahead of time ...
    assert new.bound_at is not None
    assert not any(
        record.refused for record in run.connections
    )  # ... yet bound when the service had let go of the old one
    assert old.closed_by == "client"
