"""Functions that the model does not wait for (``behavior: NON_BLOCKING``): their responses are messages of their own."""

from __future__ import annotations

from typing import Any

import pytest

from resumekit.core import events, inputs
from tests.core.bench import MODEL_3, TURN_COMPLETE, Bench, said
from tests.core.test_conversation import anchor, texts
from tests.core.test_tools import cancellation, results

NOTE = ("c1", "note", {})
TOOLS = {"tools": [{"functionDeclarations": [{"name": "note", "behavior": "NON_BLOCKING"}, {"name": "book"}]}]}


def noting(**arguments: Any) -> Bench:
    """A session whose model has called the tool, gone on, and ended its turn, which is not anchored yet."""
    bench = Bench(setup=TOOLS, **arguments)
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.says("wait")
    bench.calls(NOTE)
    bench.says("a1")
    bench.completes()
    assert bench.shown[-1] == TURN_COMPLETE
    return bench


def test_the_turn_ends_and_is_anchored_while_the_tool_runs() -> None:
    bench = noting()
    bench.update("h1")
    bench.cut()
    bench.resume()
    assert bench.bound_with == "h1"
    assert bench.wire[1:] == []
    bench.responds("c1", "note", "ok")
    assert results(bench) == [("c1", "ok")]


def test_a_response_that_no_handle_holds_goes_out_again_under_the_id_that_the_state_knows() -> None:
    bench = noting()
    bench.update("h1")
    bench.asks("q2")
    bench.responds("c1", "note", "ok")
    bench.cut()
    bench.resume()
    assert bench.bound_with == "h1"
    assert texts(bench.wire) == ["q2"]
    bench.says("a2")
    assert results(bench) == [("c1", "ok")]


def test_what_was_answered_is_answered_again_in_its_place_when_the_turn_is_run_again() -> None:
    bench = noting()
    bench.responds("c1", "note", "first")
    bench.asks("q2")
    bench.responds("c1", "note", "second")
    bench.cut()
    bench.resume()
    assert results(bench) == []  # the new run has not made the call yet
    bench.says("wait")
    bench.calls(("d1", "note", {}))
    bench.says("a1")
    bench.completes()
    assert results(bench) == [("d1", "first"), ("d1", "second")]
    order = [*(frame for frame in bench.wire if "client_content" in frame or "toolResponse" in frame)]
    kinds = ["q" if "client_content" in frame else "r" for frame in order]
    assert kinds == ["q", "r", "q", "r"]
    assert bench.events(events.ToolCallAnswered) == [events.ToolCallAnswered(name="note", by="record")]


def test_a_message_that_answers_both_kinds_of_calls_is_on_record_for_both() -> None:
    bench = Bench(setup=TOOLS)
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.calls(NOTE, ("c2", "book", {}))
    assert bench.shown
    answers = [
        {"id": call_id, "name": name, "response": {"output": "ok"}} for call_id, name, _ in (NOTE, ("c2", "book", {}))
    ]
    bench.sends({"tool_response": {"functionResponses": answers}})
    bench.cut()
    bench.resume()
    assert bench.events(events.ToolResponseDropped) == []
    bench.calls(("d1", "note", {}), ("d2", "book", {}))
    assert sorted(results(bench)) == [("d1", "ok"), ("d2", "ok")]


def test_a_call_that_still_runs_is_bound_to_its_repetition() -> None:
    bench = noting()
    bench.cut()
    bench.resume()
    bench.calls(("d1", "note", {}))
    bench.says("a1")
    bench.completes()
    assert bench.shown == []
    bench.responds("c1", "note", "ok")
    assert results(bench) == [("d1", "ok")]


def test_an_answer_before_the_repetition_waits_for_it_and_holds_nothing_up() -> None:
    bench = noting(model=MODEL_3)
    bench.cut()
    bench.resume()
    bench.responds("c1", "note", "ok")
    bench.says("a1")
    bench.asks("q2")
    assert texts(bench.wire) == ["q1", "q2"]
    assert results(bench) == []
    bench.calls(("d1", "note", {}))
    assert results(bench) == [("d1", "ok")]


def test_a_fresh_session_knows_no_call_of_a_turn_that_it_is_told_in_words() -> None:
    bench = noting(model=MODEL_3)
    bench.asks("q2")
    bench.calls(("c2", "note", {"x": 1}))
    bench.says("a2")
    bench.completes()
    bench.responds("c2", "note", "ok")
    assert bench.shown
    bench.cut()
    bench.redial()
    bench.refuse(1007, "Invalid session handle.")
    bench.resume()
    assert bench.shown == [cancellation("c1")]
    assert results(bench) == []
    bench.responds("c1", "note", "late")
    assert results(bench) == []
    dropped = [event.call_id for event in bench.events(events.ToolResponseDropped)]
    assert dropped == ["c2", "c1"]


def test_a_response_that_only_a_lost_state_could_take_is_told_to_be_lost() -> None:
    bench = noting()
    bench.update("h1")
    bench.responds("c1", "note", "ok")
    bench.cut()
    bench.redial()
    bench.refuse(1007, "Invalid session handle.")
    bench.resume()
    assert results(bench) == []
    assert [event.call_id for event in bench.events(events.ToolResponseDropped)] == ["c1"]


@pytest.mark.parametrize(
    "of_the_model", [{"setup": {"proactivity": {"proactiveAudio": True}}}, {"model": "models/gemini-3.8-live"}], ids=str
)
def test_a_proactive_model_that_ignores_a_written_question_holds_nothing_up(of_the_model: dict[str, Any]) -> None:
    bench = Bench(**of_the_model)
    bench.connect()
    anchor(bench)
    bench.asks("ignored")
    bench.cut()
    bench.resume()
    bench.asks("q2")
    assert texts(bench.wire) == ["ignored", "q2"]
    bench.says("a2")
    assert bench.shown == [said("a2")]
    assert bench.feed(inputs.Tick()) == []
