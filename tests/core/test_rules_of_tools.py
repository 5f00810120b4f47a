"""The counterexamples of RULES section 2 that need tools, and answers in parts, as named schedules with exact frames.

Q is a question, A its answer, c a call, r its response, tc `turnComplete`, h a handle; "T" is the
transparent mode (Vertex), "H" handles only. What would break without the rule stands in each docstring.
"""

from __future__ import annotations

import pytest

from resumekit.core import events
from resumekit.core.policy import Policy
from tests.core.script import INTERRUPTED, TURN_COMPLETE, Script, begun, calls, cancelled, context, output, question

BOTH = pytest.mark.parametrize("transparent", [True, False], ids=["T", "H"])


def asked(*, transparent: bool, **policy: object) -> Script:
    """Return a session in which Q1 was just asked, as message 2; its handle before that is "h0"."""
    script = begun(transparent=transparent, **policy)
    script.say(question("Q1"))
    return script


def cut_and_resume(script: Script) -> None:
    """Cut the connection, and resume from before Q1."""
    script.cut()
    script.bind()
    assert script.resumed_from() == "h0"


def result(text: str) -> dict[str, str]:
    return {"result": text}


@BOTH
def test_row_3_call_that_the_app_never_got_is_shown_when_it_comes_again(transparent: bool) -> None:
    """RULES 2, row 3: rule 9. Else it is bound to an execution that never began, and the turn hangs."""
    script = asked(transparent=transparent)
    script.serve(calls(("c1", "a")))
    cut_and_resume(script)
    script.serve(calls(("c2", "a")))
    assert script.app() == [calls(("c2", "a"))]
    script.respond(("c2", "r"))
    assert script.responses() == [("c2", result("r"))]


@BOTH
def test_row_4_response_whose_call_is_known_passes_one_that_waits(transparent: bool) -> None:
    """RULES 2, row 4: rule 8. Else r(x) waits behind r1, and r1 for the turn, which waits for r(x)."""
    script = asked(transparent=transparent)
    script.serve(calls(("c1", "a")))
    assert script.app() == [calls(("c1", "a"))]
    script.respond(("c1", "r1"))
    cut_and_resume(script)
    script.serve(calls(("x", "other")))
    assert script.app() == [calls(("x", "other"))]
    script.respond(("x", "r(x)"))
    assert script.responses() == [("x", result("r(x)"))]
    script.serve(calls(("c2", "a")))
    assert script.responses() == [("x", result("r(x)")), ("c2", result("r1"))]
    assert script.app() == []


@BOTH
def test_row_4_response_passes_a_question_that_waits(transparent: bool) -> None:
    """RULES 2, row 4, second half: rule 8. Q2 waits for Q1, and Q1 for a response that stands behind Q2."""
    script = asked(transparent=transparent)
    script.serve(calls(("c1", "a")))
    assert script.app() == [calls(("c1", "a"))]
    script.cut()
    script.say(question("Q2"))
    script.respond(("c1", "r1"))
    script.bind()
    script.serve(calls(("c2", "a")))
    assert script.responses() == [("c2", result("r1"))]


@BOTH
def test_row_4_message_behind_a_response_waits_until_it_is_bound(transparent: bool) -> None:
    """RULES 3, rule 8. Else context that speaks of the result stands in front of it."""
    script = asked(transparent=transparent)
    script.serve(calls(("c1", "a")))
    assert script.app() == [calls(("c1", "a"))]
    script.respond(("c1", "r1"))
    script.say(context("about r1"))
    cut_and_resume(script)
    assert script.wire == [question("Q1")]
    script.serve(calls(("c2", "a")))
    assert script.responses() == [("c2", result("r1"))]
    assert script.wire[-1] == context("about r1")


@BOTH
def test_row_4_lane_is_released_after_the_timeout_and_the_response_still_waits(transparent: bool) -> None:
    """RULES 3, rule 8: the timer releases the lane only."""
    script = asked(transparent=transparent)
    script.serve(calls(("c1", "a")))
    assert script.app() == [calls(("c1", "a"))]
    script.respond(("c1", "r1"))
    script.say(context("about r1"))
    cut_and_resume(script)
    for _ in range(2):  # the service lives
        script.wait(Policy().rebind_timeout / 2 - 0.5)
        script.serve(output("thinking"))
    assert script.wire == [question("Q1")]
    script.wait(2.0)
    assert script.wire == [question("Q1"), context("about r1")]
    script.serve(calls(("c2", "a")))
    assert script.responses() == [("c2", result("r1"))]


@BOTH
@pytest.mark.parametrize("repeated", [["b", "a"], ["x", "b", "a"]], ids=["other order", "another call first"])
def test_row_5_running_calls_wait_for_theirs_whatever_else_is_called(transparent: bool, repeated: list[str]) -> None:
    """RULES 2, row 5: rule 8. Cancelled at "another call", a and b are new when they come, and run twice."""
    script = asked(transparent=transparent)
    script.serve(calls(("a1", "a"), ("b1", "b")))
    assert script.app() == [calls(("a1", "a"), ("b1", "b"))]
    cut_and_resume(script)
    for argument in repeated:
        script.serve(calls((f"{argument}2", argument)))
    assert script.app() == [calls(("x2", "x"))] * ("x" in repeated)
    assert {event.call_id for event in script.told(events.ToolCallRebound)} == {"a1", "b1"}

    script.respond(("a1", "r(a)"))
    script.respond(("b1", "r(b)"))
    assert script.responses() == [("a2", result("r(a)")), ("b2", result("r(b)"))]


@BOTH
def test_row_5_call_that_does_not_come_again_is_cancelled_at_the_end_of_the_turn(transparent: bool) -> None:
    """RULES 2, row 5, the other side: rule 8. Never cancelled, its tool runs for nothing and for nobody."""
    script = asked(transparent=transparent)
    script.serve(calls(("a1", "a"), ("b1", "b")))
    assert script.app() == [calls(("a1", "a"), ("b1", "b"))]
    cut_and_resume(script)
    script.serve(calls(("b2", "b")))
    script.respond(("b1", "r(b)"))
    script.serve(output("A1"))
    assert script.app() == [output("A1")]
    script.serve(TURN_COMPLETE)
    assert script.app() == [cancelled("a1"), TURN_COMPLETE]
    script.respond(("a1", "too late"))
    assert script.responses() == [("b2", result("r(b)"))]
    assert [event.call_id for event in script.told(events.ToolResponseDropped)] == ["a1"]


@BOTH
def test_row_5_equal_calls_are_answered_once_each(transparent: bool) -> None:
    """RULES 3, rule 8, "first come, first served": two equal calls are two executions."""
    script = asked(transparent=transparent)
    script.serve(calls(("a1", "a"), ("a2", "a")))
    assert script.app() == [calls(("a1", "a"), ("a2", "a"))]
    script.respond(("a2", "second"))
    cut_and_resume(script)
    script.serve(calls(("a3", "a"), ("a4", "a")))
    assert script.app() == []
    script.respond(("a1", "first"))
    answers = dict(script.responses())
    assert set(answers) == {"a3", "a4"}
    assert sorted(answer["result"] for answer in answers.values()) == ["first", "second"]


@pytest.mark.parametrize("with_output", [True, False], ids=["after output", "before output"])
def test_row_6_settled_turn_leaves_nothing_in_the_state(with_output: bool) -> None:
    """RULES 2, row 6. T: rule 6. Resumed from a handle that holds Q, the next answer is a merged one."""
    script = asked(transparent=True, cut_turn="settle")
    first = [output("A1")] * with_output
    script.serve(*first, calls(("c1", "a")))
    script.handle("holds Q and its call", 2)
    assert script.app() == [*first, calls(("c1", "a"))]
    cut_and_resume(script)
    assert script.wire == []
    assert [event.message for event in script.told(events.TurnSettled)] == [2]
    script.respond(("c1", "too late"))
    script.say(question("Q2"))
    script.serve(output("A2"), TURN_COMPLETE)
    assert script.wire == [question("Q2")]
    assert script.app()[-2:] == [output("A2"), TURN_COMPLETE]


@pytest.mark.parametrize("answered", [True, False], ids=["answered", "running"])
def test_row_7_call_is_made_again_and_its_tool_runs_once(answered: bool) -> None:
    """RULES 2, row 7. T: rules 4, 8. A handle that waits for c is not used; the repeated call is bound, and unseen."""
    script = asked(transparent=True)
    script.serve(calls(("c1", "a")))
    script.handle("waits for c", 2)
    assert script.app() == [calls(("c1", "a"))]
    if answered:
        script.respond(("c1", "r1"))
    cut_and_resume(script)
    assert script.wire == [question("Q1")]
    script.serve(calls(("c2", "a")))
    if not answered:
        assert script.responses() == []
        script.respond(("c1", "r1"))
    assert script.responses() == [("c2", result("r1"))]
    script.serve(output("A1"), TURN_COMPLETE)
    assert script.app() == [output("A1"), TURN_COMPLETE]


@BOTH
def test_row_9_half_a_set_of_parallel_calls_is_no_state_to_go_on_from(transparent: bool) -> None:
    """RULES 2, row 9: rules 1, 2. The record between two frames of calls knows one: nothing goes on after its r."""
    script = asked(transparent=transparent)
    script.serve(calls(("a1", "a")))
    if transparent:
        script.handle("knows one of two", 2)
    script.serve(calls(("b1", "b")))
    assert script.app() == [calls(("a1", "a")), calls(("b1", "b"))]
    script.respond(("a1", "r(a)"))
    cut_and_resume(script)
    assert script.wire == [question("Q1")]
    script.serve(calls(("a2", "a")), calls(("b2", "b")))
    script.respond(("b1", "r(b)"))
    assert script.responses() == [("a2", result("r(a)")), ("b2", result("r(b)"))]
    script.serve(output("A1"), TURN_COMPLETE)
    assert script.app() == [output("A1"), TURN_COMPLETE]


def test_row_10_turn_that_was_interrupted_at_its_call_is_not_interrupted_again_for_the_app() -> None:
    """RULES 2, row 10. T: rules 2, 5. Resumed from the record of c, the second `interrupted` and tc land in Q2's loop."""
    script = asked(transparent=True)
    script.serve(calls(("c1", "a")))
    script.handle("waits for c", 2)
    script.say(question("Q2"))
    script.serve(cancelled("c1"), INTERRUPTED, TURN_COMPLETE)
    assert script.app() == [calls(("c1", "a")), cancelled("c1"), INTERRUPTED, TURN_COMPLETE]
    script.respond(("c1", "too late"))
    cut_and_resume(script)
    assert script.wire == [question("Q1")]

    # Q1 is run again, unseen; its call, which the app knows as cancelled, gets an error of the engine's.
    script.serve(calls(("c2", "a")))
    assert [call_id for call_id, _ in script.responses()] == ["c2"]
    assert "error" in script.responses()[0][1]
    script.serve(output("A1"), TURN_COMPLETE)
    assert script.wire[-1] == question("Q2")
    script.serve(output("A2"), TURN_COMPLETE)
    assert script.app() == [output("A2"), TURN_COMPLETE]


@BOTH
def test_row_12_reworded_call_of_an_answered_turn_never_reaches_the_app(transparent: bool) -> None:
    """RULES 2, row 12: rule 5. Else a tool runs for a turn that is over, and is cancelled in the next loop."""
    script = asked(transparent=transparent)
    script.serve(calls(("c1", "a")))
    script.respond(("c1", "r1"))
    script.serve(output("A1"), TURN_COMPLETE)
    assert script.app() == [calls(("c1", "a")), output("A1"), TURN_COMPLETE]
    cut_and_resume(script)
    script.serve(calls(("c2", "reworded")))
    ((call_id, answer),) = script.responses()
    assert call_id == "c2"
    assert "error" in answer
    script.serve(output("A1, otherwise"), TURN_COMPLETE)
    assert script.app() == []
    assert [event.call_id for event in script.told(events.ToolResponseDropped)] == ["c1"]


@BOTH
def test_row_13_settled_turn_ends_with_cancellation_interrupted_and_turn_complete(transparent: bool) -> None:
    """RULES 2, row 13: rule 6. The other way round the cancellation lands in the next loop."""
    script = asked(transparent=transparent, cut_turn="settle")
    script.serve(output("A1"), calls(("c1", "a")))
    assert script.app() == [output("A1"), calls(("c1", "a"))]
    script.cut()
    assert script.app() == [cancelled("c1"), INTERRUPTED, {"serverContent": {"turnComplete": True}}]


# ---------------------------------------------------------------------- answers in parts (models 2.5)


@BOTH
def test_part_that_ends_with_a_call_is_shown_once(transparent: bool) -> None:
    """Shown again, the loop that waits for the answer ends without one."""
    script = asked(transparent=transparent)
    script.serve(output("I'll see"), calls(("c1", "a")), TURN_COMPLETE)
    if transparent:
        script.handle("waits for c", 2)
    first = [output("I'll see"), calls(("c1", "a")), TURN_COMPLETE]
    assert script.app() == first
    script.cut()
    script.bind()
    if script.resumed_from() == "h0":
        script.serve(output("I shall see"), calls(("c2", "a")), TURN_COMPLETE)
        script.respond(("c1", "r1"))
        assert script.responses() == [("c2", result("r1"))]
    else:
        script.respond(("c1", "r1"))
        assert script.responses() == [("c1", result("r1"))]
    assert script.app() == []
    script.serve(output("A1"), TURN_COMPLETE)
    assert script.app() == [output("A1"), TURN_COMPLETE]


@BOTH
def test_answer_without_the_call_of_its_first_part_is_shown(transparent: bool) -> None:
    """Hidden with the part that it repeats, the app waits for its answer for ever."""
    script = asked(transparent=transparent)
    script.serve(calls(("c1", "a")), TURN_COMPLETE)
    assert script.app() == [calls(("c1", "a")), TURN_COMPLETE]
    cut_and_resume(script)
    script.serve(output("A1, without a tool"), TURN_COMPLETE)
    frames = script.app()
    assert cancelled("c1") in frames
    frames.remove(cancelled("c1"))
    assert frames == [output("A1, without a tool"), TURN_COMPLETE]


@BOTH
def test_part_that_ends_once_the_response_came_is_not_the_end_of_the_turn(transparent: bool) -> None:
    """Models 2.5: c, r, tc, and then the answer. Taken for the end, a handle in between loses the answer."""
    script = asked(transparent=transparent)
    script.serve(calls(("c1", "a")))
    script.respond(("c1", "r1"))
    script.serve(TURN_COMPLETE)
    if transparent:  # without, no handle comes while an answer is owed
        script.handle("in between", 3)
    cut_and_resume(script)
    assert script.wire == [question("Q1")]
    script.serve(calls(("c2", "a")))
    assert script.responses() == [("c2", result("r1"))]
    script.serve(TURN_COMPLETE, output("A1"), TURN_COMPLETE)
    assert script.app() == [calls(("c1", "a")), TURN_COMPLETE, output("A1"), TURN_COMPLETE]
