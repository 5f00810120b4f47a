"""What the app is shown, and told, where a conversation does not simply go on."""

from __future__ import annotations

import dataclasses

import pytest

from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from tests.faults.runner import ARM, PROFILES, Ask, Do, Scenario, Tell, converse
from tests.faults.scenarios import SCENARIOS

pytestmark = pytest.mark.network

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
profiles = pytest.mark.parametrize("profile", PROFILES)


def told(run, kind):
    return [event for event in run.app.told if isinstance(event, kind)]


def shown(turn):
    """What the loop of a question got, in short."""
    words = []
    for message in turn:
        content = message.server_content
        if message.tool_call:
            words += [f"call {call.name}" for call in message.tool_call.function_calls]
        elif message.tool_call_cancellation:
            words += ["cancelled"] * len(message.tool_call_cancellation.ids)
        elif content and content.interrupted:
            words.append("interrupted")
        elif content and content.turn_complete:
            words.append("turn_complete")
        elif content and content.model_turn and words[-1:] != ["output"]:
            words.append("output")
    return words


# --- answers ----------------------------------------------------------------------------------------------------------


@profiles
async def test_an_answer_that_was_cut_is_interrupted_and_given_again_in_the_same_loop(profile):
    run = await converse(BY_NAME["reset"], profile=profile, loop="request")
    assert not run.problems(), str(run)
    assert shown(run.app.turns[1]) == ["output", "interrupted", "output", "turn_complete"]
    assert [(event.message, event.shown) for event in told(run, events.TurnCut)] == [(2, True)]


@profiles
async def test_an_app_that_had_got_nothing_of_an_answer_sees_nothing_of_the_cut(profile):
    run = await converse(BY_NAME["cut-before-output"], profile=profile, loop="request")
    assert not run.problems(), str(run)
    assert shown(run.app.turns[1]) == ["output", "turn_complete"]
    assert [event.resent_messages for event in told(run, events.Resumed)] == [1]
    assert not told(run, events.TurnCut)  # nothing of an answer was cut


@profiles
async def test_an_answered_turn_that_the_service_forgot_is_run_again_unseen(profile):
    run = await converse(BY_NAME["cut-before-the-handle"], profile=profile)
    assert not run.problems(), str(run)
    assert [shown(turn) for turn in run.app.turns] == [["output", "turn_complete"]] * 3
    assert [event.message for event in told(run, events.TurnShadowed)] == [2]


@profiles
async def test_with_cut_turn_settle_the_question_is_given_up_and_named(profile):
    scenario = dataclasses.replace(BY_NAME["reset"], policy={"cut_turn": "settle"})
    run = await converse(scenario, profile=profile, loop="request")
    assert shown(run.app.turns[1]) == ["output", "interrupted", "turn_complete"]
    assert [event.message for event in told(run, events.TurnSettled)] == [2]
    assert run.report.ok
    assert run.report.held == ["one", "three"]
    # Nothing of it comes late: the next answer is the next question's.
    assert [shown(turn) for turn in run.app.turns[2:]] == [["output", "turn_complete"]]


@profiles
async def test_a_turn_that_is_cut_again_and_again_is_settled(profile):
    scenario = Scenario(name="cut thrice", armed=(Fault.rst(at=Trigger.mid_answer(2), times=3),), strikes=3)
    run = await converse(scenario, profile=profile, loop="request")
    assert shown(run.app.turns[1]) == ["output", "interrupted"] * 3 + ["turn_complete"]
    assert [(event.message, event.reanswers) for event in told(run, events.TurnSettled)] == [(2, 2)]
    assert run.report.held == ["one", "three"]


@profiles
async def test_a_running_tool_of_a_settled_turn_is_cancelled_first(profile):
    scenario = dataclasses.replace(BY_NAME["tool-runs-at-the-cut"], policy={"cut_turn": "settle"})
    run = await converse(scenario, profile=profile, loop="request")
    assert shown(run.app.turns[1]) == ["output", "call weather", "cancelled", "interrupted", "turn_complete"]
    assert run.report.held == ["one", "three"]


@profiles
async def test_a_refused_handle_is_told_and_history_is_replayed(profile):
    run = await converse(BY_NAME["handle-refused-1007-invalid-session-handle"], profile=profile)
    assert not run.problems(), str(run)
    assert [event.reason for event in told(run, events.HandleRefused)] == ["Invalid session handle."]
    assert [event.replayed_turns for event in told(run, events.FreshStarted)] == [2]


async def test_a_repeated_message_is_flagged_and_only_that():
    scenario = BY_NAME["context-between-answer-and-handle-made-sending"]
    run = await converse(scenario, profile="developer")
    assert not run.problems(), str(run)
    assert run.report.doubled == ["context"]
    assert [event.messages for event in told(run, events.MessagesRepeated)] == [(2,)]


AFTER_THE_CALL = Fault.fin(at=Trigger.tool_call())
"""Unlike a reset it lets everything arrive that was sent before."""

# --- tools --------------------------------------------------------------------------------------------------------------


@profiles
async def test_a_call_that_runs_at_the_cut_answers_its_repetition(profile):
    waits = {"tool_waits": events.ToolCallRebound, "armed": (AFTER_THE_CALL,)}
    scenario = dataclasses.replace(BY_NAME["tool-runs-at-the-cut"], **waits)
    run = await converse(scenario, profile=profile, loop="request")
    assert not run.problems(), str(run)
    assert shown(run.app.turns[1]) == ["output", "call weather", "interrupted", "output", "turn_complete"]
    assert run.app.executed == [(1, "weather")]
    assert [event.name for event in told(run, events.ToolCallRebound)] == ["weather"]
    first, second = run.report.calls
    assert (first.held, second.held, second.answers_held) == (False, True, 1)


@profiles
async def test_without_rebinding_a_call_that_runs_at_the_cut_is_cancelled_and_its_repetition_is_a_new_call(profile):
    scenario = dataclasses.replace(
        BY_NAME["tool-runs-at-the-cut"], policy={"rebind_tools": False}, armed=(AFTER_THE_CALL,)
    )
    run = await converse(scenario, profile=profile, loop="request")
    assert not run.problems(), str(run)
    once = ["output", "call weather"]
    assert shown(run.app.turns[1]) == [*once, "cancelled", "interrupted", *once, "output", "turn_complete"]
    assert run.app.executed == [(1, "weather")] * 2
    assert len(run.app.cancelled) == 1
    assert run.app.cancelled[0] not in run.app.results


@profiles
async def test_a_call_that_was_answered_is_answered_by_the_engine_when_it_is_repeated(profile):
    run = await converse(BY_NAME["tool-answered-before-the-cut"], profile=profile, loop="request")
    assert not run.problems(), str(run)
    assert run.app.executed == [(1, "weather")]
    assert not run.app.cancelled
    assert [(event.name, event.by) for event in told(run, events.ToolCallAnswered)] == [("weather", "record")]


@profiles
async def test_a_call_that_is_repeated_with_other_arguments_runs_again_and_the_old_answer_is_reported(profile):
    run = await converse(BY_NAME["tool-reissued-with-other-arguments"], profile=profile, loop="request")
    assert not run.problems(), str(run)
    assert run.app.executed == [(1, "weather")] * 2
    assert [event.name for event in told(run, events.ToolResponseDropped)] == ["weather"]


@profiles
async def test_calls_of_a_forgotten_turn_are_answered_unseen(profile):
    run = await converse(BY_NAME["tool-turn-cut-before-the-handle"], profile=profile, loop="request")
    assert not run.problems(), str(run)
    assert run.app.executed == [(1, "weather")]
    assert len(told(run, events.TurnShadowed)) == 1


# --- barge-in -----------------------------------------------------------------------------------------------------------


async def interrupt_the_answer(app):
    """Ask, and ask something else when the answer has begun."""
    await app.write("two [chunks:100]")

    async def has_begun():
        return [event.kind for event in await app.server.events()].count("generation_started") == 2

    await app.until_server(has_begun)
    await app.write("three")
    app.questions[-2] = ("", app.questions[-2][1])  # will not be answered
    await app.take_answer()
    await app.take_answer()


@profiles
@pytest.mark.parametrize(
    "at",
    [
        Trigger.client_message(3),
        Trigger.generation_started(3),
        Trigger.generation_complete(2),
        Trigger.turn_complete(3),
    ],
    ids=["at-the-second-question", "before-its-answer", "at-the-end-of-its-answer", "after-its-answer"],
)
async def test_an_answer_that_the_user_interrupts_stays_interrupted_when_the_next_one_is_cut(profile, at):
    steps = (Ask("one"), ARM, Do(interrupt_the_answer), Ask("four"), Ask("five"))
    run = await converse(Scenario(name="barge-in", armed=(Fault.rst(at=at),), steps=steps), profile=profile)
    assert not run.problems(), str(run)


# --- what the service merges --------------------------------------------------------------------------------------------


@profiles
async def test_questions_that_the_service_merges_are_answered_together_and_kept(profile):
    # As long as no cut follows: nobody can tell a merged question from one that is being thought about.
    async def two_at_once(app):
        await app.write("two", "three")
        app.questions[-2:] = [("two + three", app.questions[-1][1])]
        await app.take_answer()

    steps = (Ask("one"), Do(two_at_once), Ask("four"), Tell("context"), Ask("five"))
    run = await converse(
        Scenario(name="merge", knobs={"overlap": "merge", "think_time": 5}, steps=steps), profile=profile
    )
    assert not run.problems(), str(run)
