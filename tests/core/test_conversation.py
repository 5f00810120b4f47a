"""What was said, what the service remembers, what the app sees."""

from __future__ import annotations

import json
from typing import Any

import pytest

from resumekit.core import actions, events, inputs
from resumekit.core.policy import Policy
from resumekit.wire import Cut, HistoryTurn, ResumptionHandle
from tests.core.bench import INTERRUPTED, MODEL_3, TURN_COMPLETE, Bench, audio, content

START = {"realtime_input": {"activityStart": {}}}
END = {"realtime_input": {"activityEnd": {}}}


def heard(text: str) -> dict[str, Any]:
    return {"serverContent": {"inputTranscription": {"text": text}}}


def anchor(bench: Bench, handle: str = "h0", index: int | None = None) -> None:
    bench.asks("q0")
    bench.says("a0")
    bench.completes()
    bench.update(handle, index)
    assert bench.shown


def texts(frames: list[dict[str, Any]]) -> list[str]:
    """The words of content frames on the wire."""
    return [
        part["text"]
        for frame in frames
        for turn in (frame.get("client_content") or frame.get("clientContent") or {}).get("turns", [])
        for part in turn["parts"]
    ]


def seconds_of_audio(frames: list[dict[str, Any]]) -> float:
    chunks = [
        frame["realtime_input"]["audio"]["data"] for frame in frames if "audio" in frame.get("realtime_input", {})
    ]
    return round(sum(len(data) * 3 // 4 - data.count("=") for data in chunks) / 32000, 3)


# ---------------------------------------------------------------------- handles


def test_an_update_that_is_not_resumable_never_replaces_the_handle_and_is_not_shown() -> None:
    """I2."""
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.update(None)
    bench.server({"sessionResumptionUpdate": {"newHandle": "trap"}})
    assert bench.shown == []
    bench.cut()
    bench.resume()
    assert bench.bound_with == "h0"


def test_a_handle_from_mid_generation_is_shown_and_never_resumed_from() -> None:
    bench = Bench(transparent=True)
    bench.connect()
    anchor(bench, index=1)
    bench.asks("q1")
    bench.says("half")
    bench.update("mid", 2)
    assert len(bench.events(events.HandleReceived)) == 2
    bench.cut()
    bench.resume()
    assert bench.bound_with == "h0"
    assert texts(bench.wire) == ["q1"]


def test_a_handle_that_covers_less_than_the_kept_one_is_ignored() -> None:
    bench = Bench(transparent=True)
    bench.connect()
    anchor(bench, index=1)
    bench.notes("c1")
    bench.update("h1", 2)
    bench.update("older", 1)
    bench.cut()
    bench.resume()
    assert bench.bound_with == "h1"


def test_a_handle_on_an_open_activity_is_no_quiet_point() -> None:
    bench = Bench(transparent=True)
    bench.connect()
    anchor(bench, index=1)
    bench.sends(START)
    bench.update("open", 2)
    bench.cut()
    bench.resume()
    assert bench.bound_with == "h0"
    assert bench.wire[1:] == [START]


def test_context_that_a_handle_covers_is_part_of_a_later_replay() -> None:
    bench = Bench(transparent=True)
    bench.connect()
    bench.notes("c1")
    bench.update("h1", 1)
    bench.cut()
    bench.redial()
    bench.refuse(1007, "Invalid session handle.")
    bench.resume()
    assert texts(bench.wire) == ["c1"]


# ---------------------------------------------------------------------- shadow turns


def test_a_frame_that_ends_a_turn_and_brings_its_handle_anchors_it() -> None:
    bench = Bench()
    bench.connect()
    bench.asks("q1")
    bench.server(TURN_COMPLETE | {"sessionResumptionUpdate": {"newHandle": "h1", "resumable": True}})
    bench.cut()
    bench.resume()
    assert bench.bound_with == "h1"


def test_a_shadow_turn_that_is_cut_is_run_again() -> None:
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.completes()
    assert bench.shown
    for _ in range(4):
        bench.cut()
        bench.resume()
        assert texts(bench.wire) == ["q1"]
        bench.says("unseen")
    bench.completes()
    assert bench.shown == []
    assert bench.engine.stats.turns_reanswered == 0


def test_a_cancellation_in_a_shadow_turn_is_not_shown() -> None:
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.completes()
    assert bench.shown
    bench.cut()
    bench.resume()
    bench.server({"toolCallCancellation": {"ids": ["d1"]}})
    assert bench.shown == []


def test_what_a_network_held_back_and_brings_all_at_once_ages_no_handle() -> None:
    """RULES 3: the handle may hold the utterance whose answer comes in the same burst."""
    bench = Bench(transparent=True)
    bench.connect()
    anchor(bench, index=1)
    bench.speaks(1.0)
    bench.update("holds the question", 11)
    bench.now += 20.0
    bench.update("newer", 11)
    bench.server(heard("hello"))
    bench.cut()
    bench.resume()
    assert bench.bound_with == "h0"


def test_audio_that_ages_becomes_the_resume_point_when_the_next_turn_opens() -> None:
    """RULES 3: it was silent for long enough."""
    bench = Bench(transparent=True)
    bench.connect()
    anchor(bench, index=1)
    bench.speaks(1.0)
    bench.update("quiet", 11)
    bench.speaks(11.0)
    bench.update("newer", 121)
    bench.speaks(1.0)
    bench.server(heard("hello"))
    bench.cut()
    bench.resume()
    assert bench.bound_with == "quiet"
    assert seconds_of_audio(bench.wire) == 12.0


def test_tool_calls_and_their_results_are_replayed_as_text() -> None:
    """The service takes no function parts in a history."""
    bench = Bench()
    bench.connect()
    bench.asks("q1")
    bench.calls(("c1", "book", {"x": 1}))
    assert bench.shown
    bench.responds("c1", "book", "ok")
    bench.cut()
    bench.resume()
    bench.calls(("d1", "book", {"x": 1}))
    bench.says("done")
    bench.completes()
    bench.cut()
    bench.resume()
    assert texts(bench.wire) == ["q1", '[called book: {"x":1}]\n[result of book: {"output":"ok"}]\ndone']


def test_a_cut_turn_is_ended_before_it_is_answered_in_a_turn_of_its_own() -> None:
    bench = Bench(policy=Policy(reanswer_in="new_turn"))
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    bench.says("half")
    assert bench.shown
    bench.cut()
    assert bench.shown == [INTERRUPTED, TURN_COMPLETE]
    bench.resume()
    assert texts(bench.wire) == ["q1"]
    bench.says("whole")
    bench.completes()
    assert bench.shown[-1] == TURN_COMPLETE


def test_a_cut_turn_of_which_nothing_was_shown_is_not_ended() -> None:
    bench = Bench(policy=Policy(reanswer_in="new_turn"))
    bench.connect()
    bench.asks("q1")
    bench.says("half")
    bench.cut()
    assert bench.shown == []


# ---------------------------------------------------------------------- settling


@pytest.mark.parametrize("transparent", [False, True])
def test_a_settled_turn_is_ended_and_its_question_is_not_resent(transparent: bool) -> None:
    """RULES 6: cancellation, interrupted, turn_complete, in this order."""
    bench = Bench(policy=Policy(cut_turn="settle"), transparent=transparent)
    bench.connect()
    anchor(bench, index=1)
    bench.notes("c1")
    bench.asks("q1")
    bench.says("half")
    bench.calls(("c1", "book", {}))
    assert bench.shown
    bench.cut()
    assert bench.shown == [{"toolCallCancellation": {"ids": ["c1"]}}, INTERRUPTED, TURN_COMPLETE]
    assert bench.events(events.TurnSettled) == [events.TurnSettled(message=3, reanswers=0)]
    bench.resume()
    assert texts(bench.wire) == ["c1"]


def test_a_turn_is_settled_after_its_reanswers_are_spent() -> None:
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.asks("q1")
    for _ in range(2):
        bench.says("begun")
        bench.cut()
        bench.resume()
        assert texts(bench.wire) == ["q1"]
    bench.says("begun")
    bench.cut()
    assert bench.shown == [TURN_COMPLETE]
    assert bench.events(events.TurnSettled)[0].reanswers == 2
    bench.resume()
    assert texts(bench.wire) == []


def test_a_question_that_kills_every_connection_before_its_answer_begins_is_not_settled() -> None:
    """It costs no generation; backoff and max_outage bound it."""
    bench = Bench()
    bench.connect()
    bench.asks("q1")
    for _ in range(5):
        bench.cut(1011)
        bench.resume()
        assert texts(bench.wire) == ["q1"]
    assert bench.events(events.TurnCut) == []


def test_only_the_turn_that_had_begun_is_settled() -> None:
    bench = Bench(policy=Policy(cut_turn="settle"))
    bench.connect()
    bench.asks("q1")
    bench.asks("q2")
    bench.says("a1")
    bench.cut()
    assert bench.shown == [TURN_COMPLETE]
    bench.resume()
    assert texts(bench.wire) == ["q2"]


def test_a_spoken_turn_is_settled_with_its_audio_and_marks() -> None:
    bench = Bench(policy=Policy(cut_turn="settle"), transparent=True)
    bench.connect()
    anchor(bench, index=1)
    bench.sends(START)
    bench.speaks(1.0)
    bench.sends(END)
    bench.server(heard("hello"))
    bench.says("half")
    assert bench.shown
    bench.cut()
    assert bench.shown == [INTERRUPTED, TURN_COMPLETE]
    bench.resume()
    assert len(bench.wire) == 1


def test_what_the_model_said_unasked_is_ended_when_it_is_cut() -> None:
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.says("by the way")
    assert bench.shown
    bench.cut()
    assert bench.shown == [INTERRUPTED, TURN_COMPLETE]
    bench.resume()
    bench.says("by the")
    bench.cut()
    assert bench.shown == [], "the app had got nothing of it"


# ---------------------------------------------------------------------- speech


def test_a_cut_spoken_question_is_resent_as_audio_and_answered_in_the_same_loop() -> None:
    bench = Bench(transparent=True)
    bench.connect()
    anchor(bench, index=1)
    bench.speaks(2.0)
    bench.server(heard("what time"))
    bench.says("it is")
    assert len(bench.shown) == 2
    bench.cut()
    assert bench.shown == [INTERRUPTED]
    bench.resume()
    assert seconds_of_audio(bench.wire) == 2.0
    bench.server(heard("what time"))
    bench.says("noon")
    bench.completes()
    assert bench.shown[-1] == TURN_COMPLETE
    assert bench.engine.stats.turns_reanswered == 1


def test_audio_that_was_under_way_when_the_answer_began_is_kept_until_a_handle_holds_it() -> None:
    """Transparent mode: the closing handle tells how much the service has consumed."""
    bench = Bench(transparent=True)
    bench.connect()
    anchor(bench, index=1)
    bench.speaks(1.0)
    bench.says("noon")
    bench.speaks(0.5)
    bench.completes()
    bench.update("h1", 14)
    bench.cut()
    bench.resume()
    assert bench.bound_with == "h1"
    assert seconds_of_audio(bench.wire) == 0.2
    assert bench.events(events.TurnForgotten) == []


def test_a_handle_that_lacks_a_part_of_the_spoken_question_is_no_resume_point() -> None:
    """RULES 1: its index covers every frame that was sent before the answer began."""
    bench = Bench(transparent=True)
    bench.connect()
    anchor(bench, index=1)
    bench.speaks(1.0)
    bench.says("noon")
    bench.completes()
    bench.update("half", 9)
    bench.cut()
    bench.resume()
    assert bench.bound_with == "h0"


def test_audio_before_the_border_of_an_answered_turn_is_not_resent_without_its_handle() -> None:
    bench = Bench(transparent=True)
    bench.connect()
    anchor(bench, index=1)
    bench.speaks(1.0)
    bench.says("noon")
    bench.speaks(0.5)
    bench.completes()
    bench.cut()
    bench.resume()
    assert bench.bound_with == "h0"
    assert seconds_of_audio(bench.wire) == 0.5
    assert bench.events(events.TurnForgotten)[0].audio == pytest.approx(1.0)


def test_manual_activity_is_resent_whole_and_in_order() -> None:
    bench = Bench()
    bench.connect()
    anchor(bench)
    bench.sends(START)
    bench.speaks(0.5)
    bench.sends(END)
    bench.cut()
    bench.resume()
    kinds = [next(iter(frame["realtime_input"])) for frame in bench.wire[1:]]
    assert kinds == ["activityStart", *["audio"] * 5, "activityEnd"]


def test_text_within_an_open_activity_asks_nothing_yet() -> None:
    bench = Bench(model=MODEL_3)
    bench.connect()
    bench.sends(START)
    bench.sends({"realtime_input": {"text": "look at this"}})
    bench.sends(END)
    bench.completes()
    bench.sends({"realtime_input": {"text": "and this"}})
    bench.cut()
    bench.resume()
    assert bench.wire[-1] == {"realtime_input": {"text": "and this"}}


def test_an_answered_spoken_turn_without_handle_is_forgotten_and_reported() -> None:
    """RULES 10; row 16."""
    bench = Bench()
    bench.connect()
    bench.sends(START)
    bench.speaks(1.0)
    bench.sends(END)
    bench.says("a1")
    bench.completes()
    assert bench.shown
    bench.cut()
    bench.resume()
    assert len(bench.wire) == 1 + 1, "the history"
    assert seconds_of_audio(bench.wire) == 0
    assert bench.events(events.TurnForgotten)[0].audio == pytest.approx(1.0)


def test_audio_that_no_buffer_holds_is_reported_when_the_session_resumes() -> None:
    bench = Bench(policy=Policy(audio_resend=1.0))
    bench.connect()
    anchor(bench)
    bench.speaks(3.0)
    bench.cut()
    bench.resume()
    resumed = bench.events(events.Resumed)[0]
    assert resumed.lost_audio == pytest.approx(2.0)
    assert resumed.resent_audio == pytest.approx(1.0)


def test_words_of_both_sides_are_replayed_after_a_refusal() -> None:
    bench = Bench(transparent=True)
    bench.connect()
    bench.speaks(1.0)
    bench.server(heard("what "))
    bench.server(heard("time"))
    bench.server({"serverContent": {"modelTurn": {"parts": [{"text": "hm", "thought": True}]}}})
    bench.server({"serverContent": {"outputTranscription": {"text": "it is "}}})
    bench.server({"serverContent": {"outputTranscription": {"text": "noon"}}})
    bench.server({"serverContent": {"outputTranscription": {}, "inputTranscription": {}}})
    bench.completes()
    bench.update("h1", 10)
    bench.cut()
    bench.redial()
    bench.refuse(1007, "Invalid session handle.")
    bench.resume()
    assert texts(bench.wire) == ["what time", "it is noon"]


# ---------------------------------------------------------------------- what the app sees


def test_interrupted_is_shown_once_for_what_the_app_got() -> None:
    bench = Bench()
    bench.connect()
    bench.asks("q1")
    bench.says("half")
    assert bench.shown
    bench.cut()
    assert bench.shown == [INTERRUPTED]
    bench.resume()
    bench.cut()
    assert bench.shown == []


def test_an_interruption_of_the_service_counts_as_told() -> None:
    bench = Bench()
    bench.connect()
    bench.asks("q1")
    bench.says("half")
    bench.server(INTERRUPTED)
    assert len(bench.shown) == 2
    bench.cut()
    assert bench.shown == []


def test_a_turn_in_progress_does_not_end_at_turn_complete() -> None:
    """The service says so by `interactionStatus`."""
    bench = Bench()
    bench.connect()
    bench.asks("q1")
    bench.server({"serverContent": {"turnComplete": True, "interactionStatus": "IN_PROGRESS"}})
    bench.cut()
    bench.resume()
    assert texts(bench.wire) == ["q1"]
    assert bench.engine.stats.turns == 0


def test_endings_without_a_turn_are_passed_on() -> None:
    bench = Bench()
    bench.connect()
    bench.server(TURN_COMPLETE)
    bench.server({"usageMetadata": {"totalTokenCount": 3}})
    assert len(bench.shown) == 2


def test_a_later_setup_complete_is_not_shown_and_one_with_content_keeps_the_content() -> None:
    bench = Bench()
    bench.connect()
    bench.server({"setupComplete": {}})
    bench.server({"setupComplete": {}, "goAway": {}, "usageMetadata": {"totalTokenCount": 3}})
    assert bench.shown == [{"usageMetadata": {"totalTokenCount": 3}}]


def test_a_content_frame_that_cannot_be_read_in_full_counts_as_output() -> None:
    bench = Bench()
    bench.connect()
    bench.asks("q1")
    bench.server({"serverContent": {"modelTurn": {"parts": "odd"}}})
    assert len(bench.shown) == 1
    bench.cut()
    assert bench.shown == [INTERRUPTED]


# ---------------------------------------------------------------------- bounds


def test_where_no_handle_comes_the_oldest_turns_go_and_the_base_is_void() -> None:
    """RULES 11; row 18."""
    bench = Bench(policy=Policy(control_messages=8))
    bench.connect()
    anchor(bench)
    for number in range(1, 10):
        bench.asks(f"q{number}")
        bench.completes()
    assert bench.events(events.ResumePointDropped)[0].messages == 5
    bench.cut()
    bench.resume()
    assert bench.bound_with is None
    assert texts(bench.wire) == ["q0", "a0", *(f"q{number}" for number in range(1, 10))]


def ended(bench: Bench) -> int:
    """Return how many turns of the connection are kept that were answered and are in no handle."""
    link = bench.engine._link
    assert link is not None
    return len(link.ended)


@pytest.mark.parametrize("spoken", [False, True])
def test_answered_turns_that_no_handle_holds_are_kept_in_bounded_number(spoken: bool) -> None:
    """A connection may go on for long without a handle, and each answered turn would be one more to look through."""
    bench = Bench(policy=Policy(control_messages=8))
    bench.connect()
    anchor(bench)
    for number in range(100):
        if spoken:
            bench.speaks(0.5)
            bench.says(f"a{number}")
        else:
            bench.asks(f"q{number}")
        bench.completes()
        assert ended(bench) <= 16
    bench.cut()
    bench.resume()
    forgotten = bench.events(events.TurnForgotten)
    assert sum(event.audio for event in forgotten) == pytest.approx(50.0 if spoken else 0.0)
    assert len(forgotten) <= 16


def test_the_audio_of_turns_that_were_let_go_is_told() -> None:
    """Where it stood in front of written questions it counts as lost, and where it was a question as forgotten."""
    bench = Bench(policy=Policy(control_messages=4))
    bench.connect()
    anchor(bench)
    for number in range(30):
        bench.speaks(0.5)
        if number % 3 == 0:
            bench.asks(f"q{number}")
        bench.says(f"a{number}")
        bench.completes()
    assert ended(bench) <= 8
    bench.cut()
    bench.resume()
    forgotten = sum(event.audio for event in bench.events(events.TurnForgotten))
    lost = bench.engine.stats.audio_lost
    assert (forgotten, lost) == (pytest.approx(10.0), pytest.approx(5.0))


def test_open_turns_are_never_let_go() -> None:
    bench = Bench(policy=Policy(control_messages=2))
    bench.connect()
    for number in range(6):
        bench.asks(f"q{number}")
    bench.cut()
    bench.resume()
    bench.says("a0")
    bench.completes()
    assert bench.events(events.ResumePointDropped) == []
    assert texts(bench.wire)[:2] == ["q0", "q1"]


def test_a_repeated_message_is_flagged_by_its_number() -> None:
    """RULES 14; row 17."""
    bench = Bench()
    bench.connect()
    bench.asks("q1")
    bench.notes("c2")
    bench.says("a1")
    bench.completes()
    bench.update("h1")
    bench.notes("c3")
    bench.cut()
    bench.resume()
    assert texts(bench.wire) == ["c2", "c3"]
    assert bench.events(events.MessagesRepeated) == [events.MessagesRepeated(messages=(2,))]


def test_leading_context_on_3x_is_seeded_only_up_to_the_first_question() -> None:
    bench = Bench(model=MODEL_3, history=[HistoryTurn(role="user", text="old")])
    bench.connect()
    bench.notes("c1")
    bench.asks("q1")
    bench.notes("c2")
    bench.cut()
    bench.resume()
    assert texts(bench.wire[1:2]) == ["old", "c1"]
    assert [frame["realtimeInput"]["text"] for frame in bench.wire[2:]] == ["q1", "c2"]


def test_remembered_history_is_replayed_before_what_was_said_since() -> None:
    """The application's history, which the state behind a kept handle holds: nothing of it is sent until that is lost."""
    wishes = {"historyConfig": {"initialHistoryInClientContent": True}}
    bench = Bench(model=MODEL_3, setup=wishes)
    bench.feed(inputs.Start(handle=ResumptionHandle("kept")))
    bench.bind()
    bench.feed(inputs.Remember([HistoryTurn("user", "old"), HistoryTurn("model", "older")]))
    bench.asks("q1")
    assert bench.wire[-1] == content("q1")  # no seed, though the setup has the wish
    bench.says("a1")
    bench.completes()
    bench.cut()
    bench.redial()
    bench.refuse(1007, "Invalid session handle.")
    bench.resume()
    assert texts(bench.wire[1:]) == ["old", "older", "q1", "a1"]


@pytest.mark.parametrize(("cut_turn", "cut"), [("reanswer", Cut.REANSWERED), ("settle", Cut.SETTLED)])
def test_the_engine_marks_the_frames_that_it_writes_for_a_cut_turn(cut_turn: Any, cut: Cut) -> None:
    bench = Bench(policy=Policy(cut_turn=cut_turn))
    bench.connect()
    bench.asks("q1")
    bench.says("a1")
    taken = [bench.engine.take()]
    bench.cut()
    while (message := bench.engine.take()) is not None:
        taken.append(message)
    marks = [message.cut for message in taken if message is not None]
    assert marks == [None, *[cut] * (len(marks) - 1)]
    assert len(marks) == {"reanswer": 2, "settle": 3}[cut_turn]


def lives(bench: Bench, seconds: float) -> None:
    """Let time pass on a connection that answers pings."""
    for _ in range(int(seconds // 5)):
        bench.tick(5.0)
        bench.feed(inputs.PongReceived(bench.live))


def test_a_model_that_keeps_silent_to_what_is_sent_again_does_not_hold_the_next_question_for_ever() -> None:
    bench = Bench()
    bench.connect()
    bench.asks("no question for it")
    bench.cut()
    bench.resume()  # without a handle: nobody is to blame
    bench.asks("q2")
    assert texts(bench.wire) == ["no question for it"]
    lives(bench, Policy().resent_wait / 2)
    bench.says("a1")  # it is answered after all
    assert texts(bench.wire) == ["no question for it", "q2"]

    bench.completes()
    bench.cut()
    bench.resume()
    bench.asks("q3")
    assert texts(bench.wire)[2:] == ["q2"]  # after the history
    lives(bench, Policy().resent_wait + 5)
    assert texts(bench.wire)[2:] == ["q2", "q3"]
    bench.asks("q4")
    assert texts(bench.wire)[2:] == ["q2", "q3", "q4"]


def test_no_secret_is_in_any_event_or_repr() -> None:
    """I11."""
    bench = Bench(transparent=True)
    bench.connect()
    anchor(bench, handle="canary-handle", index=1)
    bench.cut()
    bench.redial()
    bench.refuse(1007, "Invalid session handle.")
    told = [repr(action) for action in bench.actions if isinstance(action, actions.Notify | actions.SaveHandle)]
    assert "canary" not in json.dumps(told)
    assert seconds_of_audio([audio(0.5)]) == 0.5
    assert content("x")
