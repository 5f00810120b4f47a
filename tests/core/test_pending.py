"""Another process goes on where this one was killed: with the handle, and with what the handle does not hold."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from resumekit.core import events, inputs
from resumekit.core.handles import PendingMessage
from resumekit.core.policy import Policy
from resumekit.wire import ResumptionHandle
from tests.core.bench import MODEL_3, TURN_COMPLETE, Bench, content, said
from tests.core.test_conversation import anchor
from tests.core.test_tools import results

BACKGROUND = {"tools": [{"functionDeclarations": [{"name": "book", "behavior": "NON_BLOCKING"}]}]}


def through_a_store(messages: tuple[PendingMessage, ...]) -> list[PendingMessage]:
    return msgspec.json.decode(msgspec.json.encode(messages), type=list[PendingMessage])


def successor(bench: Bench, *, bound: bool = True, **engine: Any) -> Bench:
    """The process that goes on; the service keeps what it had of the handle."""
    messages, _ = bench.engine.pending()
    other = Bench(**engine)
    handle = ResumptionHandle("h0")
    other.feed(inputs.Start(handle, 30.0, through_a_store(messages)))
    if bound:
        other.bind()
    return other


def asked(bench: Bench) -> list[str]:
    """Texts that were sent on the newest connection."""
    frames = [frame for frame in bench.wire if "client_content" in frame]
    return [turn["parts"][0]["text"] for frame in frames for turn in frame["client_content"]["turns"]]


def test_a_question_without_an_answer_is_asked_again() -> None:
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.says("begun")
    other = successor(bench)

    assert other.bound_with == "h0"
    assert asked(other) == ["q1"]
    (resumed,) = other.events(events.Connected)
    assert resumed.resumed
    other.says("a1")
    other.completes()
    assert other.shown == [said("a1"), TURN_COMPLETE]


def test_what_waited_for_a_connection_is_sent_behind_it_in_order() -> None:
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.notes("context")
    bench.asks("q1")
    bench.cut()
    bench.notes("more")
    messages, left_out = bench.engine.pending()

    assert [message.sent for message in messages] == [True, True, False]
    assert left_out == 0
    assert asked(successor(bench)) == ["context", "q1", "more"]


def test_nothing_that_the_handle_holds_is_kept() -> None:
    bench = Bench()
    bench.connect()
    anchor(bench)

    assert bench.engine.pending() == ((), 0)


def test_an_answered_question_is_asked_again_for_the_session_and_not_for_the_user() -> None:
    """RULES 5."""
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.says("a1")
    bench.completes()
    other = successor(bench)

    assert asked(other) == ["q1"]
    other.says("a1 again")
    other.completes()
    assert other.shown == []
    assert other.engine.stats.turns_shadowed == 1
    other.asks("q2")
    other.says("a2")
    assert other.shown == [said("a2")]


def test_a_tool_that_ran_is_not_run_again() -> None:
    """RULES 8, 9: the same call is answered from the record."""
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.calls(("c1", "book", {"x": 1}))
    assert bench.shown
    bench.responds("c1", "book", "booked")
    bench.notes("behind it")
    other = successor(bench)
    assert asked(other) == ["q1"], "what follows the response waits for the call"
    other.calls(("d9", "book", {"x": 1}))

    assert results(other) == [("d9", "booked")]
    assert other.shown == []
    assert asked(other) == ["q1", "behind it"]
    (answered,) = other.events(events.ToolCallAnswered)
    assert (answered.name, answered.by) == ("book", "record")


def test_a_tool_that_was_still_running_is_run_by_the_next_process() -> None:
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.calls(("c1", "book", {}))
    assert bench.shown
    other = successor(bench)
    other.calls(("d9", "book", {}))

    assert [list(frame) for frame in other.shown] == [["toolCall"]]
    other.responds("d9", "book", "booked")
    assert results(other) == [("d9", "booked")]


def test_the_answer_to_a_call_that_the_state_knows_is_sent_as_it_is() -> None:
    """The turn of a call in the background is over, and the handle came after it."""
    bench = Bench(model=MODEL_3, setup=BACKGROUND)
    bench.connect()
    bench.asks("q0")
    bench.calls(("c1", "book", {}))
    bench.says("a0")
    bench.completes()
    bench.update("h0")
    assert bench.shown
    bench.responds("c1", "book", "booked")
    other = successor(bench, model=MODEL_3, setup=BACKGROUND)

    assert results(other) == [("c1", "booked")]


def test_the_answer_to_a_call_in_the_background_of_an_open_turn_comes_with_the_turn() -> None:
    bench = Bench(model=MODEL_3, setup=BACKGROUND)
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.calls(("c1", "book", {}))
    assert bench.shown
    bench.responds("c1", "book", "booked")
    messages, _ = bench.engine.pending()

    assert [(call.id, call.name) for message in messages for call in message.calls] == [("c1", "book")]
    other = successor(bench, model=MODEL_3, setup=BACKGROUND)
    assert results(other) == [], "the state does not know the call"


@pytest.mark.parametrize("sent", [True, False])
def test_the_answer_to_an_unknown_call_is_kept_while_it_was_not_sent(sent: bool) -> None:
    bench = Bench()
    bench.connect()
    anchor(bench)
    if not sent:
        bench.cut()
    bench.responds("nobody's", "book", "booked")
    messages, _ = bench.engine.pending()

    assert len(messages) == (0 if sent else 1)


def test_activity_marks_are_nothing_without_their_speech() -> None:
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.sends({"realtime_input": {"activity_start": {}}})
    bench.speaks(0.5)
    bench.sends({"realtime_input": {"activity_end": {}}})

    assert bench.engine.pending() == ((), 0)


def test_what_does_not_fit_is_left_out_with_all_that_follows_and_counted() -> None:
    bench = Bench(policy=Policy(store_bytes=300))
    bench.connect()
    anchor(bench)
    bench.notes("small")
    bench.notes("large" * 100)
    bench.notes("small, too")
    messages, left_out = bench.engine.pending()

    assert len(messages) == 1
    assert left_out == 2
    assert Bench(policy=Policy(store_bytes=0)).engine.pending() == ((), 0)


def test_a_handle_of_the_application_takes_nothing_of_another_conversation_along() -> None:
    bench = Bench(handle=ResumptionHandle("mine"))
    messages = [PendingMessage('{"client_content":{"turns":[],"turn_complete":true}}')]
    bench.feed(inputs.Start(ResumptionHandle("h0"), 0.0, messages))
    bench.bind()

    assert bench.bound_with == "mine"
    assert len(bench.wire) == 1


def test_a_handle_that_is_refused_leaves_the_questions_to_be_asked_live() -> None:
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    other = successor(bench, bound=False)
    other.refuse(1007, "Invalid session handle.")
    other.resume()

    assert other.bound_with is None
    assert asked(other) == ["q1"]


def test_a_message_of_the_new_process_comes_behind_those_of_the_old_one() -> None:
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    other = successor(bench, bound=False)
    other.notes("new")
    other.bind()

    assert asked(other) == ["q1", "new"]


def test_its_repr_does_not_show_what_was_said() -> None:
    assert "secret" not in repr(PendingMessage(msgspec.json.encode(content("secret")).decode()))
