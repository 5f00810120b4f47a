"""Tools run once, whatever happens to the connection (RULES 5, 8, 9, 12)."""

from __future__ import annotations

from typing import Any

import pytest

from resumekit.core import actions, events, inputs
from resumekit.core.policy import Policy
from resumekit.core.turns import Turn
from resumekit.wire import FunctionCall
from tests.core.bench import INTERRUPTED, MODEL_2, MODEL_3, TURN_COMPLETE, Bench, said
from tests.core.test_conversation import anchor, texts


def cancellation(*ids: str) -> dict[str, Any]:
    return {"toolCallCancellation": {"ids": list(ids)}}


def results(bench: Bench) -> list[tuple[str, object]]:
    """Tool responses on the newest connection: id, result."""
    return [
        (response["id"], response["response"].get("output"))
        for frame in bench.wire
        for body in (frame.get("tool_response") or frame.get("toolResponse"),)
        if body is not None
        for response in body.get("functionResponses") or body["function_responses"]
    ]


def kinds(frames: list[dict[str, Any]]) -> list[str]:
    """What stands in each frame."""
    return [next(iter(frame)) for frame in frames]


def asked_with_a_running_tool(bench: Bench, *calls: tuple[str, str, dict[str, Any]]) -> None:
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.calls(*(calls or (("c1", "book", {"x": 1}),)))
    assert kinds(bench.shown) == ["toolCall"]


def asked_until_a_call(bench: Bench, index: int | None = None) -> None:
    """Connect, anchor a turn, and ask until the model calls a tool."""
    bench.connect()
    anchor(bench, index=index)
    bench.asks("q1")
    bench.calls(("c1", "book", {}))


# ---------------------------------------------------------------------- binding running calls again


def test_a_running_call_is_bound_to_its_repetition_and_answers_it_under_the_new_id() -> None:
    """RULES section 4: tool runs, cut (handle-only)."""
    bench = Bench()
    asked_with_a_running_tool(bench)
    bench.cut()
    assert bench.shown == []
    bench.resume()
    assert texts(bench.wire) == ["q1"]
    bench.calls(("d1", "book", {"x": 1.0}))
    assert bench.shown == []
    assert bench.events(events.ToolCallRebound) == [events.ToolCallRebound(name="book", call_id="c1")]
    bench.responds("c1", "book", "ok")
    assert results(bench) == [("d1", "ok")]
    bench.says("booked")
    bench.completes()
    assert bench.shown == [said("booked"), TURN_COMPLETE]
    bench.update("h1")
    bench.cut()
    bench.resume()
    assert bench.bound_with == "h1"
    assert len(bench.wire) == 1


def test_a_call_that_runs_across_two_cuts_is_bound_twice() -> None:
    bench = Bench()
    asked_with_a_running_tool(bench)
    for repetition in ("d1", "e1"):
        bench.cut()
        bench.resume()
        bench.calls((repetition, "book", {"x": 1}))
    assert bench.shown == []
    bench.responds("c1", "book", "ok")
    assert results(bench) == [("e1", "ok")]


def test_a_call_answered_between_two_cuts_is_answered_from_the_record() -> None:
    bench = Bench()
    asked_with_a_running_tool(bench)
    bench.cut()
    bench.responds("c1", "book", "ok")
    bench.resume()
    assert results(bench) == []
    bench.cut()
    bench.resume()
    bench.calls(("e1", "book", {"x": 1}))
    assert results(bench) == [("e1", "ok")]
    assert bench.shown == []
    assert bench.events(events.ToolResponseDropped) == []


def test_equal_calls_are_bound_first_come_first_served() -> None:
    bench = Bench()
    asked_with_a_running_tool(bench, ("c1", "roll", {}), ("c2", "roll", {}), ("c3", "roll", {"sides": 6}))
    bench.responds("c2", "roll", "two")
    bench.cut()
    bench.resume()
    bench.calls(("d1", "roll", {}), ("d2", "roll", {}), ("d3", "roll", {}))
    assert results(bench) == [("d2", "two")]
    assert bench.shown == [{"toolCall": {"functionCalls": [{"id": "d3", "name": "roll", "args": {}}]}}]
    bench.responds("c1", "roll", "one")
    assert results(bench)[1:] == [("d1", "one")]


def test_an_unmatched_call_is_shown_and_the_old_one_is_cancelled_before_the_end_of_the_turn() -> None:
    """RULES 8; section 2 rows 5 and 13."""
    bench = Bench()
    asked_with_a_running_tool(bench)
    bench.says("wait")
    assert bench.shown
    bench.cut()
    assert bench.shown == [INTERRUPTED]
    bench.resume()
    bench.calls(("d2", "book", {"x": 2}))
    assert kinds(bench.shown) == ["toolCall"]
    bench.responds("d2", "book", "ok")
    bench.says("booked")
    assert bench.shown == [said("booked")]
    bench.completes()
    assert bench.shown == [cancellation("c1"), TURN_COMPLETE]
    bench.responds("c1", "book", "late")
    assert results(bench) == [("d2", "ok")]
    assert [event.call_id for event in bench.events(events.ToolResponseDropped)] == ["c1"]


def test_a_call_whose_cancellation_was_shown_is_new_when_it_comes_again() -> None:
    bench = Bench()
    asked_with_a_running_tool(bench)
    bench.server(cancellation("c1"))
    assert bench.shown == [cancellation("c1")]
    bench.cut()
    bench.resume()
    bench.calls(("d1", "book", {"x": 1}))
    assert kinds(bench.shown) == ["toolCall"]


def test_the_cancellation_of_a_bound_call_names_the_id_that_the_app_knows() -> None:
    bench = Bench()
    asked_with_a_running_tool(bench)
    bench.cut()
    bench.resume()
    bench.calls(("d1", "book", {"x": 1}))
    bench.server(cancellation("d1"))
    assert bench.shown == [cancellation("c1")]
    bench.responds("c1", "book", "late")
    assert results(bench) == []


# ---------------------------------------------------------------------- the lane behind a waiting response


def test_what_was_sent_after_a_waiting_response_waits_with_it() -> None:
    """RULES 8."""
    bench = Bench()
    asked_with_a_running_tool(bench)
    bench.notes("before")
    bench.responds("c1", "book", "ok")
    bench.notes("after")
    bench.cut()
    bench.notes("later")
    bench.resume()
    assert texts(bench.wire) == ["q1", "before"]
    bench.calls(("d1", "book", {"x": 1}))
    assert texts(bench.wire) == ["q1", "before", "after", "later"]
    assert [next(iter(frame)) for frame in bench.wire[3:]] == ["toolResponse", "client_content", "client_content"]


def test_a_response_whose_call_the_service_knows_passes_what_waits() -> None:
    """RULES section 2 row 4: r1 waits, and the model calls something else first."""
    bench = Bench()
    asked_with_a_running_tool(bench)
    bench.responds("c1", "book", "ok")
    bench.cut()
    bench.asks("q2")
    bench.resume()
    bench.calls(("d9", "look", {}))
    assert kinds(bench.shown) == ["toolCall"]
    assert texts(bench.wire) == ["q1"]
    bench.responds("d9", "look", "seen")
    assert results(bench) == [("d9", "seen")]
    bench.calls(("d1", "book", {"x": 1}))
    assert results(bench) == [("d9", "seen"), ("d1", "ok")]
    assert texts(bench.wire) == ["q1", "q2"]


def test_the_lane_is_released_when_the_turn_ends_without_the_call() -> None:
    bench = Bench()
    asked_with_a_running_tool(bench)
    bench.responds("c1", "book", "ok")
    bench.cut()
    bench.notes("after")
    bench.resume()
    bench.says("never mind")
    assert texts(bench.wire) == ["q1"]
    bench.completes()
    assert texts(bench.wire) == ["q1", "after"]
    assert [event.call_id for event in bench.events(events.ToolResponseDropped)] == ["c1"]


def test_an_answer_that_one_run_did_not_ask_for_is_there_for_the_next() -> None:
    bench = Bench()
    asked_with_a_running_tool(bench)
    bench.responds("c1", "book", "ok")
    bench.says("booked")
    bench.completes()
    assert bench.shown
    bench.cut()
    bench.resume()
    bench.says("without the tool")
    bench.completes()
    bench.cut()
    bench.resume()
    bench.calls(("e1", "book", {"x": 1}))
    assert results(bench) == [("e1", "ok")]
    bench.cut()
    bench.resume()
    bench.completes()
    assert [event.call_id for event in bench.events(events.ToolResponseDropped)] == ["c1"]


def test_a_turn_whose_calls_are_cancelled_between_two_parts_is_over() -> None:
    """A question interrupts while the tool of a turn that ended with its call runs."""
    bench = Bench(transparent=True)
    asked_until_a_call(bench, index=1)
    bench.completes()
    bench.asks("q2")
    bench.server(cancellation("c1"))
    bench.says("a2")
    bench.completes()
    assert kinds(bench.shown)[2:] == ["toolCallCancellation", "serverContent", "serverContent"]
    assert bench.engine.stats.turns == 3


def test_after_a_cut_a_question_waits_for_the_whole_of_a_turn_that_used_tools() -> None:
    """Where turns may end with their calls, nobody could tell its next part from the answer to the question."""
    bench = Bench(transparent=True)
    asked_until_a_call(bench, index=1)
    bench.responds("c1", "book", "ok")
    bench.completes()
    bench.says("booked")
    bench.completes()
    assert bench.shown
    bench.cut()
    bench.asks("q2")
    bench.resume()
    bench.says("let me see")
    bench.calls(("d1", "book", {}))
    bench.completes()
    bench.says("booked")
    assert texts(bench.wire) == ["q1"]
    bench.completes()
    assert texts(bench.wire) == ["q1", "q2"]
    assert bench.shown == []
    assert len(bench.events(events.TurnShadowed)) == 1


def test_the_lane_is_released_after_rebind_timeout_and_the_call_is_still_bound() -> None:
    bench = Bench(policy=Policy(rebind_timeout=5.0))
    asked_with_a_running_tool(bench)
    bench.responds("c1", "book", "ok")
    bench.cut()
    bench.notes("after")
    bench.resume()
    bench.tick(4.9)
    assert texts(bench.wire) == ["q1"]
    bench.tick(0.2)
    assert texts(bench.wire) == ["q1", "after"]
    bench.calls(("d1", "book", {"x": 1}))
    assert results(bench) == [("d1", "ok")]


# ---------------------------------------------------------------------- turns that end with their calls


def test_a_turn_that_ends_with_a_call_is_open_until_its_answer_has_ended() -> None:
    """A 2.5 model: toolCall, turnComplete; the response is answered by a turn of its own."""
    bench = Bench(transparent=True)
    asked_until_a_call(bench, index=1)
    bench.completes()
    assert kinds(bench.shown) == ["toolCall", "serverContent"]
    bench.update("pending", 2)
    bench.responds("c1", "book", "ok")
    bench.update("answered", 3)
    bench.says("booked")
    bench.completes()
    assert bench.shown[-1] == TURN_COMPLETE
    bench.cut()
    bench.resume()
    assert bench.bound_with == "h0"
    assert texts(bench.wire) == ["q1"]
    bench.calls(("d1", "book", {}))
    bench.completes()
    bench.says("booked")
    bench.completes()
    assert bench.shown == []
    assert len(bench.events(events.TurnShadowed)) == 1
    bench.update("after", 2)
    bench.cut()
    bench.resume()
    assert (bench.bound_with, len(bench.wire)) == ("after", 1)


def test_a_part_that_the_app_has_is_hidden_and_the_next_one_is_shown() -> None:
    """Cut while the tool of a turn that ended with its call runs."""
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.says("let me see")
    bench.calls(("c1", "book", {}))
    bench.completes()
    assert len(bench.shown) == 3
    bench.cut()
    assert bench.shown == []
    bench.resume()
    assert texts(bench.wire) == ["q1"]
    bench.says("let me see again")
    bench.calls(("d1", "book", {}))
    bench.completes()
    assert bench.shown == []
    bench.responds("c1", "book", "ok")
    assert results(bench) == [("d1", "ok")]
    bench.says("booked")
    bench.completes()
    assert bench.shown == [said("booked"), TURN_COMPLETE]


def test_a_repeated_turn_that_answers_at_once_is_what_the_app_waits_for() -> None:
    """The model calls no tool this time: what was held as a repetition is the answer."""
    bench = Bench()
    asked_until_a_call(bench)
    bench.completes()
    assert len(bench.shown) == 2
    bench.cut()
    bench.resume()
    bench.says("it is ")
    bench.says("booked")
    generated = {"serverContent": {"generationComplete": True}}
    bench.server(generated)
    assert bench.shown == []
    bench.completes()
    assert bench.shown == [cancellation("c1"), said("it is "), said("booked"), generated, TURN_COMPLETE]


def test_a_new_call_in_a_part_that_the_app_has_is_shown_because_the_turn_is_not_over() -> None:
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.calls(("c1", "book", {"x": 1}))
    bench.completes()
    assert bench.shown
    bench.cut()
    bench.resume()
    bench.says("hm")
    bench.calls(("d1", "book", {"x": 2}))
    bench.completes()
    assert kinds(bench.shown) == ["toolCall"]
    bench.cut()  # the app has it, and will answer: it is bound again
    bench.resume()
    bench.calls(("e1", "book", {"x": 2}))
    bench.completes()
    bench.responds("d1", "book", "ok")
    assert results(bench) == [("e1", "ok")]
    bench.says("booked")
    bench.completes()
    assert bench.shown == [said("booked"), cancellation("c1"), TURN_COMPLETE]


def test_a_cut_in_the_second_part_shows_interrupted_and_only_that_part_again() -> None:
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.says("let me see")
    bench.calls(("c1", "book", {}))
    bench.completes()
    bench.responds("c1", "book", "ok")
    bench.says("boo")
    assert len(bench.shown) == 4
    bench.cut()
    assert bench.shown == [INTERRUPTED]
    bench.resume()
    bench.says("let me see again")
    bench.calls(("d1", "book", {}))
    assert results(bench) == [("d1", "ok")]
    bench.completes()
    bench.says("booked")
    bench.completes()
    assert bench.shown == [said("booked"), TURN_COMPLETE]
    assert bench.engine.stats.turns == 2


def test_frames_of_a_part_that_ended_stay_for_a_slow_app() -> None:
    """RULES 9: everything up to the last turnComplete stays, and so do the calls in it."""
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.says("let me see")
    bench.calls(("c1", "book", {}))
    bench.completes()
    bench.cut()
    assert kinds(bench.shown) == ["serverContent", "toolCall", "serverContent"]
    bench.resume()
    bench.calls(("d1", "book", {}))
    bench.completes()
    assert bench.shown == []
    bench.responds("c1", "book", "ok")
    assert results(bench) == [("d1", "ok")]


def test_the_next_question_takes_its_turn_while_a_tool_of_an_earlier_one_runs() -> None:
    """RULES 7: a response to a call of a turn that is not listed lists it again."""
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.calls(("c1", "book", {}), ("c2", "look", {}))
    bench.completes()
    bench.asks("q2")
    bench.responds("c1", "book", "ok")
    bench.says("a2")
    bench.completes()
    bench.responds("c2", "look", "ok")
    bench.says("a1")
    assert bench.shown
    bench.cut()
    assert bench.shown == [INTERRUPTED]
    assert [event.message for event in bench.events(events.TurnCut)] == [2]
    assert bench.engine.stats.turns == 2


def test_a_turn_that_ends_while_its_response_is_on_its_way_goes_on() -> None:
    """turnComplete crosses the response, or follows it at once (seen on Vertex): the answer is the next part."""
    bench = Bench(transparent=True)
    asked_until_a_call(bench, index=1)
    bench.responds("c1", "book", "ok")
    bench.server({"serverContent": {"outputTranscription": {"finished": True}}})
    bench.completes()
    bench.update("between", 3)
    assert bench.shown[-1] != TURN_COMPLETE  # the update is shown
    bench.cut()
    bench.resume()
    assert bench.bound_with == "h0"
    bench.calls(("d1", "book", {}))
    bench.completes()
    bench.says("booked")
    bench.completes()
    assert bench.shown == [said("booked"), TURN_COMPLETE]


def test_a_model_that_says_nothing_to_a_response_is_done_when_the_next_question_goes_out() -> None:
    bench = Bench(transparent=True, policy=Policy(part_wait=2.0))
    bench.connect()
    anchor(bench, index=1)
    bench.asks("q1")
    bench.calls(("c1", "hang_up", {}))
    bench.responds("c1", "hang_up", "ok")
    bench.completes()
    bench.update("h1", 3)
    bench.tick(2.1)
    bench.server({"usageMetadata": {}})
    assert bench.engine.stats.turns == 1
    bench.asks("q2")
    assert bench.engine.stats.turns == 2
    bench.cut()
    bench.resume()
    assert bench.bound_with == "h1"
    assert texts(bench.wire) == ["q2"]


def test_a_turn_that_is_owed_a_part_is_asked_again_after_a_cut_however_long_ago_it_was() -> None:
    """A model may think for long: nothing but its next words, or the next question, ends its turn."""
    bench = Bench(transparent=True)
    asked_until_a_call(bench, index=1)
    bench.responds("c1", "book", "ok")
    bench.completes()
    bench.update("h1", 3)
    bench.tick(9.0)
    bench.feed(inputs.PongReceived(bench.live))
    assert bench.shown
    bench.cut()
    bench.resume()
    assert (bench.bound_with, texts(bench.wire)) == ("h0", ["q1"])
    bench.calls(("d1", "book", {}))
    bench.completes()
    bench.says("booked")
    bench.completes()
    assert bench.shown == [said("booked"), TURN_COMPLETE]


def test_a_handle_of_the_developer_api_says_that_the_turn_is_done() -> None:
    """That backend sends handles only where nothing is under way."""
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.calls(("c1", "hang_up", {}))
    bench.responds("c1", "hang_up", "ok")
    bench.completes()
    bench.update("h1")
    bench.cut()
    bench.resume()
    assert (bench.bound_with, len(bench.wire)) == ("h1", 1)


def test_a_question_waits_for_the_part_that_is_owed() -> None:
    bench = Bench(transparent=True)
    asked_until_a_call(bench, index=1)
    bench.responds("c1", "book", "ok")
    bench.completes()
    bench.notes("n1")
    bench.asks("q2")
    assert texts(bench.wire)[1:] == ["q1", "n1"]
    bench.says("booked")
    assert texts(bench.wire)[1:] == ["q1", "n1", "q2"]
    bench.tick(6.0)
    bench.feed(inputs.PongReceived(1))
    assert bench.engine.stats.turns == 1


def test_a_question_waits_for_an_owed_part_for_a_while_only() -> None:
    bench = Bench(policy=Policy(part_wait=2.0))
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.calls(("c1", "hang_up", {}))
    bench.responds("c1", "hang_up", "ok")
    bench.completes()
    bench.asks("q2")
    bench.tick(2.1)
    assert texts(bench.wire)[1:] == ["q1"]
    assert bench.done(actions.SendPing)
    bench.feed(inputs.PongReceived(1))
    assert texts(bench.wire)[1:] == ["q1", "q2"]


def test_a_pong_to_a_ping_from_before_the_doubt_does_not_let_the_question_go() -> None:
    """What the service said after it may be under way: here the part that is owed."""
    bench = Bench(transparent=True, policy=Policy(ping_idle=3.0, ping_expecting=3.0))
    asked_until_a_call(bench, index=1)
    bench.responds("c1", "book", "ok")
    bench.completes()
    bench.tick(4.0)
    assert len(bench.done(actions.SendPing)) == 1
    bench.asks("q2")
    bench.tick(1.5)
    assert len(bench.done(actions.SendPing)) == 2
    bench.feed(inputs.PongReceived(1))
    assert texts(bench.wire)[1:] == ["q1"]
    bench.says("booked")
    bench.completes()
    assert texts(bench.wire)[1:] == ["q1", "q2"]
    bench.feed(inputs.PongReceived(1))
    bench.says("a2")
    bench.completes()
    assert bench.shown[-4:] == [said("booked"), TURN_COMPLETE, said("a2"), TURN_COMPLETE]


def test_a_3x_model_ends_its_turn_with_turn_complete() -> None:
    bench = Bench(model=MODEL_3)
    bench.connect()
    bench.sends({"realtimeInput": {"text": "q1"}})
    bench.calls(("c1", "hang_up", {}))
    bench.responds("c1", "hang_up", "ok")
    bench.completes()
    assert bench.engine.stats.turns == 1


def test_a_call_that_an_owed_part_did_not_repeat_is_over_with_it() -> None:
    bench = Bench()
    asked_with_a_running_tool(bench, ("c1", "book", {"x": 1}), ("c2", "look", {}), ("c3", "find", {}))
    bench.responds("c1", "book", "one")
    bench.responds("c2", "look", "two")
    bench.cut()
    bench.resume()
    bench.calls(("d1", "book", {"x": 1}))
    bench.completes()
    assert bench.shown == [TURN_COMPLETE]
    bench.update("h1")
    assert cancellation("c3") in bench.shown
    assert [event.call_id for event in bench.events(events.ToolResponseDropped)] == ["c2"]


# ---------------------------------------------------------------------- calls, answered and cancelled


def test_without_rebinding_a_running_call_is_cancelled_at_the_cut_and_its_late_response_dropped() -> None:
    bench = Bench(policy=Policy(rebind_tools=False))
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.says("wait")
    bench.calls(("c1", "book", {}))
    assert bench.shown
    bench.cut()
    assert bench.shown == [cancellation("c1"), INTERRUPTED]
    bench.resume()
    bench.responds("c1", "book", "late")
    assert texts(bench.wire) == ["q1"]
    assert len(bench.wire) == 2
    assert bench.events(events.ToolResponseDropped) == [events.ToolResponseDropped(call_id="c1", name="book")]
    bench.calls(("d1", "book", {}))
    assert [list(frame) for frame in bench.shown] == [["toolCall"]]
    bench.responds("d1", "book", "ok")
    assert results(bench) == [("d1", "ok")]


def test_an_answered_call_is_answered_from_the_record_when_it_is_issued_again() -> None:
    """RULES section 4: r sent, cut (handle-only)."""
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.calls(("c1", "book", {"x": 1}), ("c2", "book", {"x": 2}))
    assert bench.shown
    bench.responds("c1", "book", "ok")
    bench.cut()
    assert bench.shown == []
    bench.resume()
    bench.calls(("d2", "book", {"x": 2}), ("d1", "book", {"x": 1}))
    assert bench.shown == []
    assert results(bench) == [("d1", "ok")]
    bench.responds("c2", "book", "ok too")
    assert results(bench) == [("d1", "ok"), ("d2", "ok too")]
    bench.says("done")
    bench.completes()
    assert bench.shown == [said("done"), TURN_COMPLETE]


def test_a_call_that_the_app_never_got_is_new_when_it_comes_again() -> None:
    """RULES section 2 row 3."""
    bench = Bench()
    asked_until_a_call(bench)
    bench.cut()
    assert bench.shown == []
    bench.resume()
    bench.calls(("d1", "book", {}))
    assert [list(frame) for frame in bench.shown] == [["toolCall"]]


def test_a_frame_whose_calls_are_all_answered_keeps_its_other_content() -> None:
    bench = Bench()
    bench.connect()
    bench.asks("q1")
    bench.calls(("c1", "book", {}))
    assert bench.shown
    bench.responds("c1", "book", "ok")
    bench.cut()
    bench.resume()
    bench.calls(("d1", "book", {}))
    assert bench.shown == []
    bench.cut()
    bench.resume()
    call = {"functionCalls": [{"id": "e1", "name": "book", "args": {}}]}
    bench.server({"toolCall": call, "serverContent": {"modelTurn": {"parts": [{"text": "also"}]}}})
    assert bench.shown == [said("also")]


def test_the_app_is_not_told_of_the_cancellation_of_a_call_that_the_engine_answered() -> None:
    bench = Bench()
    bench.connect()
    bench.asks("q1")
    bench.calls(("c1", "book", {}))
    assert bench.shown
    bench.responds("c1", "book", "ok")
    bench.cut()
    bench.resume()
    bench.calls(("d1", "book", {}), ("d2", "new", {}))
    bench.server({"toolCallCancellation": {"ids": ["d1", "d2"]}})
    bench.server({"toolCallCancellation": {"ids": ["d1"]}})
    both = {"toolCallCancellation": {"ids": ["d1"]}, "usageMetadata": {"totalTokenCount": 1}}
    bench.server(both)
    shown = bench.shown
    assert [list(frame) for frame in shown] == [["toolCall"], ["toolCallCancellation"], ["usageMetadata"]]
    assert shown[1] == {"toolCallCancellation": {"ids": ["d2"]}}
    assert {event.call_id for event in bench.events(events.ToolResponseDropped)} == {"c1"}


def test_a_response_on_record_that_no_repeated_call_asks_for_is_reported() -> None:
    bench = Bench()
    bench.connect()
    bench.asks("q1")
    bench.calls(("c1", "book", {}))
    assert bench.shown
    bench.responds("c1", "book", "ok")
    bench.cut()
    bench.resume()
    bench.says("without the tool")
    bench.completes()
    assert [event.call_id for event in bench.events(events.ToolResponseDropped)] == ["c1"]


def test_the_cancellation_of_a_call_that_the_app_never_got_vanishes_with_it() -> None:
    bench = Bench()
    bench.connect()
    bench.asks("q1")
    bench.calls(("c1", "book", {}))
    bench.server({"toolCallCancellation": {"ids": ["c1"]}})
    bench.cut()
    assert bench.shown == []


def test_of_a_cancellation_only_the_calls_that_the_app_got_are_left() -> None:
    bench = Bench()
    bench.connect()
    bench.asks("q1")
    bench.calls(("c1", "book", {}))
    assert bench.shown
    bench.calls(("c2", "book", {}))
    bench.server({"toolCallCancellation": {"ids": ["c1", "c2"]}})
    bench.cut()
    assert bench.shown == [cancellation("c1")]


def test_a_cancelled_call_of_the_service_is_not_answered_any_more() -> None:
    bench = Bench()
    bench.connect()
    bench.asks("q1")
    bench.calls(("c1", "book", {}), ("c2", "book", {}))
    bench.server({"toolCallCancellation": {"ids": ["c1", "never seen"]}})
    assert len(bench.shown) == 2
    bench.sends(
        {"toolResponse": {"functionResponses": [{"id": "c1", "response": {}}, {"id": "c2", "response": {"x": 1}}]}}
    )
    assert bench.wire[-1] == {"toolResponse": {"functionResponses": [{"id": "c2", "response": {"x": 1}}]}}


def test_a_response_to_a_call_that_nobody_knows_is_passed_on_once() -> None:
    """The state may come from another process; a refusal of it does not repeat it."""
    bench = Bench()
    bench.connect()
    bench.responds("foreign", "f", "x")
    assert bench.wire[-1]["tool_response"]["functionResponses"][0]["id"] == "foreign"
    bench.cut(1008, "Requested entity was not found.")
    assert bench.events(events.ToolResponseDropped) == [events.ToolResponseDropped(call_id="foreign", name="f")]
    bench.resume()
    assert len(bench.wire) == 1


def test_responses_pass_a_question_that_waits() -> None:
    """RULES 8; section 2 row 4."""
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.asks("q2")
    bench.says("a1")
    bench.cut()
    bench.resume()
    assert texts(bench.wire) == ["q1", "q2"][:1]
    bench.asks("q3")
    bench.responds("foreign", "f", "x")
    assert "tool_response" in bench.wire[-1]
    assert texts(bench.wire) == ["q1"]


def test_tool_calls_are_remembered_for_a_while_only() -> None:
    bench = Bench()
    bench.connect()
    bench.asks("q1")
    for number in range(1100):
        bench.calls((f"c{number}", "f", {}))
    assert len(bench.engine._talk._tools._known) == 1024


def test_a_shadow_turn_answers_tool_calls_from_the_record() -> None:
    """RULES 5."""
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.calls(("c1", "add", {"a": 1, "b": 2.0}), ("c2", "add", {"a": 1, "b": 2}))
    assert bench.shown
    bench.responds("c1", "add", "first")
    bench.responds("c2", "add", "second")
    bench.says("done")
    bench.completes()
    assert bench.shown
    bench.cut()
    bench.resume()
    assert texts(bench.wire) == ["q1"]
    bench.calls(("d1", "add", {"b": 2, "a": 1}), ("d2", "add", {"a": 1, "b": 2}), ("d3", "other", {}))
    answers = bench.wire[2]["toolResponse"]["functionResponses"]
    assert [(answer["id"], answer["response"].get("output")) for answer in answers] == [
        ("d1", "first"),
        ("d2", "second"),
        ("d3", None),
    ]
    assert "error" in answers[2]["response"]
    bench.says("done again")
    bench.completes()
    assert bench.shown == []
    assert [event.by for event in bench.events(events.ToolCallAnswered)] == ["record", "record", "error"]
    assert bench.events(events.TurnShadowed)[0].discarded_frames == 2
    bench.update("h1")
    bench.cut()
    bench.resume()
    assert bench.bound_with == "h1"
    assert len(bench.wire) == 1


def test_the_cancellation_of_a_call_that_a_shadow_turn_should_not_have_made_is_not_shown() -> None:
    bench = Bench(model=MODEL_3)
    bench.connect()
    bench.sends({"realtimeInput": {"text": "q0"}})
    bench.completes()
    bench.update("h0")
    bench.sends({"realtimeInput": {"text": "q1"}})
    bench.completes()
    assert bench.shown
    bench.cut()
    bench.resume()
    bench.calls(("d1", "new", {}))
    bench.server(cancellation("d1"))
    bench.completes()
    assert bench.shown == []
    assert bench.events(events.ToolResponseDropped) == []


def test_a_message_may_answer_known_and_unknown_calls() -> None:
    bench = Bench()
    asked_with_a_running_tool(bench)
    both = [
        {"id": "c1", "name": "book", "response": {"output": 1}},
        {"id": "x", "name": "f", "response": {"output": 2}},
    ]
    bench.sends({"toolResponse": {"functionResponses": both}})
    assert results(bench) == [("c1", 1), ("x", 2)]
    bench.says("booked")
    bench.completes()
    assert bench.engine.stats.turns == 2


def test_frames_that_say_nothing_are_dropped_from_a_part_that_the_app_has() -> None:
    bench = Bench()
    asked_until_a_call(bench)
    bench.completes()
    assert bench.shown
    bench.cut()
    bench.resume()
    bench.server({"serverContent": {"generationComplete": True}})
    bench.calls(("d1", "book", {}))
    bench.completes()
    assert bench.shown == []


# ---------------------------------------------------------------------- what a model does with its turns


def asked_3x(bench: Bench, text: str) -> None:
    bench.sends({"realtimeInput": {"text": text}})


def test_a_model_that_was_seen_to_split_its_turns_is_expected_to_do_so() -> None:
    bench = Bench(model=MODEL_3)
    bench.connect()
    for question in ("q1", "q2"):
        asked_3x(bench, question)
        bench.calls((question, "book", {}))
        bench.responds(question, "book", "ok")
        bench.completes()
        if question == "q1":
            bench.says("booked")
            bench.completes()
    assert bench.engine.stats.turns == 2  # the first in two turns of the service; the second is not over
    bench.cut()
    bench.resume()
    bench.calls(("d2", "book", {}))
    bench.completes()
    bench.says("booked")
    bench.completes()
    assert bench.shown[-2:] == [said("booked"), TURN_COMPLETE]


@pytest.mark.parametrize(("tool_turns", "model", "turns"), [("split", MODEL_3, 0), ("joined", MODEL_2, 1)])
def test_the_policy_says_whether_turns_are_split(tool_turns: Any, model: str, turns: int) -> None:
    bench = Bench(model=model, policy=Policy(tool_turns=tool_turns))
    bench.connect()
    bench.sends({"realtimeInput": {"text": "q1"}})
    bench.calls(("c1", "book", {}))
    bench.responds("c1", "book", "ok")
    bench.completes()
    assert bench.engine.stats.turns == turns


def test_what_the_policy_says_of_turns_holds_whatever_is_seen() -> None:
    bench = Bench(policy=Policy(tool_turns="joined"))
    bench.connect()
    bench.asks("q1")
    bench.calls(("c1", "book", {}))
    bench.completes()
    bench.responds("c1", "book", "ok")
    bench.completes()
    assert bench.engine.stats.turns == 1


def test_a_call_that_the_model_makes_by_itself_is_cancelled_with_an_end_for_the_loop() -> None:
    """RULES 6: nobody asked, so nobody can be asked again; the app that runs the tool hears that all of it is over."""
    bench = Bench(model=MODEL_3)
    bench.connect()
    bench.calls(("c1", "book", {}))
    assert kinds(bench.shown) == ["toolCall"]
    bench.cut()
    assert bench.shown == [cancellation("c1"), TURN_COMPLETE]


def test_a_turn_that_is_interrupted_while_it_is_owed_a_part_is_over() -> None:
    bench = Bench()
    asked_until_a_call(bench)
    bench.responds("c1", "book", "ok")
    bench.completes()
    bench.server(INTERRUPTED)
    bench.completes()
    assert bench.engine.stats.turns == 2
    bench.asks("q2")
    bench.says("a2")
    bench.completes()
    assert bench.engine.stats.turns == 3


def test_a_call_of_a_part_that_ended_is_known_to_the_app_in_whatever_part_it_is_made_again() -> None:
    """Its frame waits for the app, whatever is cut behind that part: it has to hear that the call is over."""
    turn = Turn(parts=1)
    call = turn.issue(FunctionCall(id="c1", name="book"))
    assert turn.restart(rebind=True) == []
    turn.end_part()
    assert turn.issue(FunctionCall(id="c2", name="book")) is call
    assert turn.restart(rebind=False) == [call]
