"""What has an end: the service's session, and the room for what an app does not read. In virtual time."""

from __future__ import annotations

import pytest

from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from tests.faults import virtually
from tests.faults.runner import ARM, PROFILES, Ask, Do, Pause, Scenario, Until

profiles = pytest.mark.parametrize("profile", PROFILES)
EXPIRED = "BidiGenerateContent session expired"
LIMIT = {"session_limit": 30, "session_limit_warning": 15}
KNOBS = {"session_age": 30, "connection_age": 12, "go_away_notice": 6}
TALK = tuple(step for number in range(6) for step in (Ask(f"question {number}"), Pause(6)))


def told(run, kind):
    return [event for event in run.app.told if isinstance(event, kind)]


@profiles
def test_a_session_is_replaced_at_a_quiet_point_before_the_service_ends_it(profile):
    renewed = {**LIMIT, "at_session_limit": "fresh_start", "warm_dial": False}  # nor does it wait for a slow machine
    scenario = Scenario(name="renewed", knobs=KNOBS, policy=renewed, steps=TALK, fresh=None)
    run = virtually.converse(scenario, profile=profile)
    assert not run.problems(), str(run)  # no refusal among them
    assert told(run, events.SessionExpiring)
    fresh = told(run, events.FreshStarted)
    assert all(event.replayed_turns for event in fresh)
    assert not told(run, events.TurnCut)
    assert len({record.session_id for record in run.connections if record.session_id}) == len(fresh) + 1 >= 2


@profiles
def test_a_session_that_the_service_ends_goes_on_in_a_new_one(profile):
    scenario = Scenario(name="expired", knobs=KNOBS, policy=LIMIT, steps=TALK, fresh=None, refused=frozenset({EXPIRED}))
    run = virtually.converse(scenario, profile=profile)
    assert not run.problems(), str(run)
    assert EXPIRED in [record.refused for record in run.connections]
    first = run.app.told.index(told(run, events.SessionExpiring)[0])
    assert first < run.app.told.index(told(run, events.FreshStarted)[0])


@profiles
def test_a_session_with_compression_has_no_end(profile):
    config = {"context_window_compression": {"sliding_window": {}}}
    policy = {"session_limit_warning": 15, "at_session_limit": "fresh_start"}
    scenario = Scenario(name="compressed", knobs=KNOBS, policy=policy, steps=TALK, config=config)
    run = virtually.converse(scenario, profile=profile)
    assert not run.problems(), str(run)
    assert not told(run, events.SessionExpiring)
    assert len({record.session_id for record in run.connections if record.session_id}) == 1


async def ask_and_read_late(app):
    await app.write("two [chunks:45]")
    await app.until(lambda: app.count(events.SlowConsumer) > 0)
    await Pause(10).run(app)
    await app.take_answer()


@profiles
@pytest.mark.parametrize(
    "faults",
    [(), (Fault.rst(at=Trigger.mid_answer(40)),), (Fault.go_away(5, at=Trigger.mid_answer(30)),)],
    ids=["healthy", "cut", "goaway"],
)
def test_an_app_that_reads_late_gets_everything(profile, faults):
    scenario = Scenario(
        name="slow",
        armed=faults,
        steps=(Ask("one"), ARM, Do(ask_and_read_late), Until(events.ReadingResumed), Ask("three")),
        policy={"inbox_frames": 20},
        undisturbed=not faults,
    )
    run = virtually.converse(scenario, profile=profile, loop="request")
    assert not run.problems(), str(run)
    (slow,) = told(run, events.SlowConsumer)[:1]
    assert slow.frames >= 20
