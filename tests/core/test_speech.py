"""Spoken turns across a cut: marks, audio, transcripts, what is transcribed twice, video (RULES 3, 10)."""

from __future__ import annotations

from typing import Any

import pytest

from resumekit.core import events
from resumekit.core.policy import Policy
from tests.core.bench import INTERRUPTED, MODEL_3, TURN_COMPLETE, Bench, said
from tests.core.test_conversation import anchor, heard, seconds_of_audio, texts

START = {"realtime_input": {"activityStart": {}}}
END = {"realtime_input": {"activityEnd": {}}}
BOTH = pytest.mark.parametrize("transparent", [False, True], ids=["handle-only", "transparent"])


def begun(*, transparent: bool = False, **options: Any) -> Bench:
    """A session with one turn that is safely kept; its handle covers message 1."""
    bench = Bench(transparent=transparent, **options)
    bench.connect()
    anchor(bench, index=1)
    return bench


def kinds(frames: list[dict[str, Any]]) -> list[str]:
    """What the frames after the setup are, pieces of audio taken together."""
    found: list[str] = []
    for frame in frames[1:]:
        kind = next(iter(frame))
        if kind in ("realtime_input", "realtimeInput"):
            kind = next(iter(frame[kind]))
        if kind != "audio" or found[-1:] != ["audio"]:
            found.append(kind)
    return found


def again(bench: Bench) -> None:
    bench.cut()
    bench.resume()


# ---------------------------------------------------------------------- a cut while the user speaks


@BOTH
@pytest.mark.parametrize("sent", range(4), ids=["before it", "after its start", "in mid-speech", "after its end"])
def test_an_activity_that_is_cut_is_sent_again_whole_and_in_order(sent: int, transparent: bool) -> None:
    """An uncommitted activity is lost on any drop, so its start is sent before its audio again."""
    bench = begun(transparent=transparent)
    steps = [lambda: bench.sends(START), lambda: bench.speaks(0.5), lambda: bench.speaks(0.5), lambda: bench.sends(END)]
    for number, step in enumerate(steps):
        if number == sent:
            again(bench)
        step()
    if sent == 3:
        again(bench)
    assert bench.bound_with == "h0"
    assert kinds(bench.wire) == ["activityStart", "audio", "activityEnd"]
    assert seconds_of_audio(bench.wire) == 1.0


@BOTH
def test_an_activity_that_is_open_across_two_cuts_is_one_question(transparent: bool) -> None:
    bench = begun(transparent=transparent)
    bench.sends(START)
    bench.speaks(0.3)
    again(bench)
    bench.speaks(0.3)
    bench.cut()
    bench.speaks(0.3)
    bench.resume()
    bench.sends(END)
    assert kinds(bench.wire) == ["activityStart", "audio", "activityEnd"]
    assert seconds_of_audio(bench.wire) == 0.9
    bench.says("noon")
    bench.completes()
    assert bench.shown == [said("noon"), TURN_COMPLETE]
    assert bench.events(events.TurnCut) == []


@BOTH
def test_go_away_in_an_open_activity_finds_no_quiet_point_and_the_deadline_moves(transparent: bool) -> None:
    bench = begun(transparent=transparent)
    bench.sends(START)
    bench.speaks(0.5)
    bench.goes_away("12s")
    bench.speaks(4.0)
    assert bench.events(events.Moving) == []
    bench.tick(4.5)
    assert [event.quiet for event in bench.events(events.Moving)] == [False]
    bench.closes()
    bench.bind(bench.connection)
    bench.sends(END)
    assert kinds(bench.wire) == ["activityStart", "audio", "activityEnd"]
    assert seconds_of_audio(bench.wire) == 4.5


@BOTH
def test_speech_that_is_cut_is_resent_as_far_as_no_handle_covers_it(transparent: bool) -> None:
    """RULES 10: with automatic detection, and as much as the mode keeps."""
    bench = begun(transparent=transparent)
    bench.speaks(12.0)
    again(bench)
    assert seconds_of_audio(bench.wire) == (12.0 if transparent else 10.0)
    assert bench.events(events.Resumed)[0].lost_audio == pytest.approx(0.0 if transparent else 2.0)


def test_a_stream_that_ended_ends_again_behind_its_audio() -> None:
    bench = begun()
    bench.speaks(0.5)
    bench.sends({"realtime_input": {"audio_stream_end": True}})
    again(bench)
    assert kinds(bench.wire) == ["audio", "audio_stream_end"]


@pytest.mark.parametrize(
    ("starts", "ends"),
    [
        ({"voiceActivity": {"voiceActivityType": "ACTIVITY_START"}}, {"voiceActivity": {"voiceActivityType": "X"}}),
        (
            {"voiceActivityDetectionSignal": {"vadSignalType": "VAD_SIGNAL_TYPE_SOS"}},
            {"voiceActivityDetectionSignal": {"vadSignalType": "VAD_SIGNAL_TYPE_EOS"}},
        ),
    ],
)
def test_speech_that_the_service_tells_of_is_no_quiet_point(starts: dict[str, Any], ends: dict[str, Any]) -> None:
    """No known speech is open."""
    bench = begun(transparent=True, policy=Policy(warm_dial=False))
    bench.tick(3.0)
    bench.server(starts)
    bench.server({"voiceActivity": {}})
    bench.goes_away("30s")
    assert bench.events(events.Moving) == []
    bench.server(ends)
    assert [event.quiet for event in bench.events(events.Moving)] == [True]


def test_a_handle_from_within_an_activity_is_no_resume_point() -> None:
    """RULES 1: a proactive model may open no turn, so the mark itself must be covered."""
    bench = begun(transparent=True, setup={"proactivity": {"proactiveAudio": True}})
    bench.sends(START)
    bench.speaks(0.5)
    bench.sends(END)
    bench.update("half", 5)
    bench.tick(11.0)
    bench.server({"usageMetadata": {"totalTokenCount": 1}})
    again(bench)
    assert bench.bound_with == "h0"
    assert kinds(bench.wire) == ["activityStart", "audio", "activityEnd"]


def test_known_speech_ends_with_its_answer() -> None:
    bench = begun(transparent=True, policy=Policy(warm_dial=False))
    bench.server({"voiceActivity": {"voiceActivityType": "ACTIVITY_START"}})
    bench.speaks(0.5)
    bench.says("noon")
    bench.completes()
    bench.update("h1", 6)
    bench.goes_away("30s")
    assert [event.quiet for event in bench.events(events.Moving)] == [True]


def test_what_comes_all_at_once_proves_no_silence() -> None:
    """RULES 3: behind a stalled network, the answer may stand right behind the update."""
    bench = begun(transparent=True)
    bench.speaks(1.0)
    bench.update("with the utterance", 11)
    bench.tick(25.0)
    bench.update("later", 11)
    bench.says("noon")
    again(bench)
    assert bench.bound_with == "h0"
    assert seconds_of_audio(bench.wire) == 1.0


# ---------------------------------------------------------------------- whose words


def test_a_transcription_that_comes_before_the_end_of_an_activity_opens_no_second_turn() -> None:
    bench = begun()
    bench.sends(START)
    bench.server(heard("what"))
    bench.speaks(0.5)
    bench.server(heard(" time"))
    bench.sends(END)
    bench.says("noon")
    bench.completes()
    bench.update("h1")
    assert words_of(bench.shown) == ["what", " time"]
    again(bench)
    assert bench.bound_with == "h1"
    assert len(bench.wire) == 1


def test_an_activity_that_was_transcribed_before_the_cut_is_still_one_turn() -> None:
    bench = begun()
    bench.sends(START)
    bench.speaks(0.5)
    bench.server(heard("what"))
    again(bench)
    bench.sends(END)
    bench.says("noon")
    bench.completes()
    bench.update("h1")
    again(bench)
    assert bench.bound_with == "h1"


@pytest.mark.parametrize("form", ["auto", "transcript"])
def test_an_activity_that_is_transcribed_again_before_its_end_is_sent_again_is_still_one_turn(form: Any) -> None:
    bench = begun(policy=Policy(resend_speech=form, audio_resend=3.0))
    bench.sends(START)
    bench.speaks(2.5)
    bench.sends(END)
    bench.server({"serverContent": {"inputTranscription": {"text": "what time"}}})
    bench.cut()
    bench.auto_written = False
    bench.resume()
    assert kinds(bench.wire) == ["activityStart", "audio"], "the rest waits for the transport"
    bench.server(heard("what"))
    bench.server({"serverContent": {"inputTranscription": {"text": " time", "finished": True}}})
    bench.auto_written = True
    again(bench)
    assert kinds(bench.wire) == ["activityStart", "audio", "activityEnd"]
    bench.says("noon")
    bench.completes()
    bench.update("h1")
    assert words_of(bench.shown) == ["what time", ""]
    again(bench)
    assert bench.bound_with == "h1"


def test_words_spoken_over_an_answer_belong_to_the_next_question() -> None:
    bench = begun()
    bench.asks("q1")
    bench.says("a1")
    bench.sends(START)
    bench.speaks(0.3)
    bench.server(heard("stop"))
    bench.server(INTERRUPTED)
    bench.completes()
    bench.speaks(0.3)
    bench.server(heard(" it"))
    bench.sends(END)
    bench.server(heard("!"))
    bench.says("a2")
    bench.completes()
    bench.update("h1")
    bench.cut()
    bench.redial()
    bench.refuse(1007, "Invalid session handle.")
    bench.resume()
    assert texts(bench.wire) == ["q0", "a0", "q1", "a1", "stop it!", "a2"]


def test_words_that_come_behind_their_activity_while_the_last_answer_goes_on_are_its_own() -> None:
    bench = begun()
    for question, answer in (("one", "a1"), ("two", "a2")):
        bench.sends(START)
        bench.speaks(0.3)
        bench.sends(END)
        if question == "two":
            bench.server(heard("two"))
            bench.completes()
        else:
            bench.server(heard("one"))
        bench.says(answer)
    bench.completes()
    bench.cut()
    bench.redial()
    bench.refuse(1007, "Invalid session handle.")
    bench.resume()
    assert texts(bench.wire) == ["q0", "a0", "one", "a1", "two", "a2"]


def test_an_activity_that_began_before_the_last_answer_is_not_forgotten_with_it() -> None:
    """RULES 10: where the app marks it, a question ends with its mark, not at the first output."""
    bench = begun()
    bench.sends(START)
    bench.speaks(1.0)
    bench.sends(END)
    bench.sends(START)
    bench.speaks(0.5)
    bench.says("a1")
    bench.server(INTERRUPTED)
    bench.completes()
    bench.speaks(0.5)
    again(bench)
    assert [event.audio for event in bench.events(events.TurnForgotten)] == [pytest.approx(1.0)]
    assert kinds(bench.wire) == ["activityStart", "audio"]
    assert seconds_of_audio(bench.wire) == 1.0


def test_a_long_question_that_was_answered_leaves_its_room_to_the_next_one() -> None:
    """RULES 10: its audio is not sent again, whether its handle comes soon or late (`replay unknowns 9062`)."""
    bench = begun(transparent=True, policy=Policy(handles_hold_audio=False))
    bench.sends(START)
    bench.speaks(10.0)
    bench.sends(END)
    bench.says("a1")
    bench.completes()
    bench.sends(START)
    bench.speaks(2.0)
    again(bench)
    assert kinds(bench.wire) == ["activityStart", "audio"]
    assert seconds_of_audio(bench.wire) == 2.0
    assert [event.audio for event in bench.events(events.TurnForgotten)] == [pytest.approx(10.0)]
    assert bench.events(events.Resumed)[0].lost_audio == 0.0


@pytest.mark.parametrize(("index", "resent", "lost"), [(None, 5.0, 8.0), (62, 7.0, 0.0)], ids=["no handle", "a handle"])
def test_silence_behind_an_answered_question_leaves_room_for_what_is_said_next(
    index: int | None, resent: float, lost: float
) -> None:
    """What a handle does not cover of it is kept as long as there is room; without a handle it goes with its turn."""
    bench = begun(transparent=True, policy=Policy(audio_seconds=10.0))
    bench.asks("q1")
    bench.speaks(8.0)
    bench.says("a1")
    bench.completes()
    bench.speaks(5.0)
    if index is not None:
        bench.update("h1", index)
    again(bench)
    if index is None:
        bench.says("a1")  # to the question: what waits behind it goes out
    assert seconds_of_audio(bench.wire) == resent
    assert bench.events(events.Resumed)[0].lost_audio == pytest.approx(lost)
    assert bench.events(events.TurnForgotten) == []


def test_silence_that_two_answers_had_in_front_of_them_is_lost_once() -> None:
    bench = begun(transparent=True)
    bench.asks("q1")
    bench.speaks(1.0)
    bench.says("a1")
    bench.completes()
    bench.speaks(2.0)
    bench.asks("q2")
    bench.says("half")
    again(bench)
    bench.says("a1")
    assert texts(bench.wire) == ["q1", "q2"]
    assert bench.events(events.Resumed)[0].lost_audio == pytest.approx(1.0)
    assert seconds_of_audio(bench.wire) == 2.0


def test_what_was_forgotten_is_told_once_for_each_turn() -> None:
    bench = begun(transparent=True)
    for answer in ("a1", "a2"):
        bench.speaks(1.0)
        bench.says(answer)
        bench.completes()
    again(bench)
    assert [event.audio for event in bench.events(events.TurnForgotten)] == [pytest.approx(1.0)] * 2


def test_silence_in_front_of_a_written_question_is_counted_as_lost_with_it() -> None:
    bench = begun()
    bench.speaks(1.0)
    bench.asks("q1")
    bench.says("a1")
    bench.completes()
    again(bench)
    assert texts(bench.wire) == ["q1"]
    assert bench.events(events.Resumed)[0].lost_audio == pytest.approx(1.0)
    assert bench.events(events.TurnForgotten) == []


def test_a_text_within_an_activity_is_forgotten_with_it() -> None:
    """Outside of an activity it would be a question of its own."""
    bench = begun(model=MODEL_3)
    bench.sends(START)
    bench.sends({"realtime_input": {"text": "look at this"}})
    bench.speaks(0.5)
    bench.sends(END)
    bench.says("a1")
    bench.completes()
    again(bench)
    assert kinds(bench.wire) == []


# ---------------------------------------------------------------------- audio or transcript


def cut_in_the_answer(bench: Bench, seconds: float, *, marks: bool = False, words: str = "what time") -> None:
    """A spoken question, and a cut after the first piece of its answer."""
    if marks:
        bench.sends(START)
    bench.speaks(seconds)
    if marks:
        bench.sends(END)
    if words:
        bench.server(heard(words))
    bench.says("it is")
    assert bench.shown
    bench.cut()
    assert bench.shown == [INTERRUPTED]
    bench.resume()


def forms(bench: Bench) -> list[str]:
    return [event.resent_as for event in bench.events(events.TurnCut)]


MARKS = pytest.mark.parametrize("marks", [False, True], ids=["automatic", "manual"])


@BOTH
@MARKS
def test_a_question_that_the_buffer_holds_is_resent_as_audio(marks: bool, transparent: bool) -> None:
    bench = begun(transparent=transparent)
    cut_in_the_answer(bench, 2.0, marks=marks)
    assert forms(bench) == ["audio"]
    assert seconds_of_audio(bench.wire) == 2.0
    assert texts(bench.wire) == []
    bench.server(heard("what time"))
    bench.says("noon")
    bench.completes()
    assert bench.shown == [said("noon"), TURN_COMPLETE]


@MARKS
@pytest.mark.parametrize("model", ["models/gemini-2.5-flash-native-audio", MODEL_3], ids=["2.x", "3.x"])
def test_a_question_that_is_longer_than_the_buffer_is_resent_in_words(model: str, marks: bool) -> None:
    """Never both, and in the form that the model takes in mid-session."""
    bench = begun(model=model, policy=Policy(audio_resend=1.0))
    cut_in_the_answer(bench, 12.0, marks=marks)
    asked = (
        {"realtimeInput": {"text": "what time"}}
        if model == MODEL_3
        else {"clientContent": {"turns": [{"role": "user", "parts": [{"text": "what time"}]}], "turnComplete": True}}
    )
    assert bench.wire[1:] == [asked]
    assert forms(bench) == ["transcript"]
    resumed = bench.events(events.Resumed)[0]
    assert (resumed.resent_audio, resumed.lost_audio) == (0.0, 0.0)
    bench.says("noon")
    bench.completes()
    assert bench.shown == [said("noon"), TURN_COMPLETE]


def test_without_transcription_what_audio_is_left_is_resent() -> None:
    bench = begun(policy=Policy(audio_resend=1.0))
    cut_in_the_answer(bench, 3.0, words="")
    assert forms(bench) == ["audio"]
    assert seconds_of_audio(bench.wire) == 1.0
    assert bench.events(events.Resumed)[0].lost_audio == pytest.approx(2.0)


@MARKS
@pytest.mark.parametrize(("choice", "form"), [("audio", "audio"), ("transcript", "transcript")])
def test_the_policy_chooses_the_form(choice: Any, form: str, marks: bool) -> None:
    bench = begun(policy=Policy(resend_speech=choice, audio_resend=1.0 if choice == "audio" else 10.0))
    cut_in_the_answer(bench, 3.0, marks=marks)
    assert forms(bench) == [form]
    assert (seconds_of_audio(bench.wire) > 0) == (form == "audio")


def test_of_a_microphone_that_is_always_on_a_question_is_resent_in_words() -> None:
    """Nobody knows where it begins, or how long ago it ended: words are safe, what audio is left may be silence."""
    bench = begun()
    bench.speaks(30.0)
    cut_in_the_answer(bench, 3.0)
    assert forms(bench) == ["transcript"]


def test_between_marks_only_the_audio_of_the_question_counts() -> None:
    bench = begun(policy=Policy(audio_resend=1.0))
    bench.speaks(20.0)
    cut_in_the_answer(bench, 0.5, marks=True)
    assert forms(bench) == ["audio"]


def test_a_question_that_is_still_spoken_is_resent_as_audio_whatever_was_understood_of_it() -> None:
    bench = begun(policy=Policy(resend_speech="transcript"))
    bench.speaks(2.0)
    bench.server(heard("what"))
    again(bench)
    assert seconds_of_audio(bench.wire) == 2.0
    assert texts(bench.wire) == []


def test_an_activity_whose_transcription_is_whole_is_resent_in_words_before_its_answer() -> None:
    bench = begun(policy=Policy(audio_resend=1.0))
    bench.sends(START)
    bench.speaks(3.0)
    bench.sends(END)
    bench.server({"serverContent": {"inputTranscription": {"text": "what time", "finished": True}}})
    again(bench)
    assert texts(bench.wire) == ["what time"]
    cut = bench.events(events.TurnCut)[0]
    assert (cut.message, cut.resent_as, cut.shown) == (3, "transcript", False)
    assert bench.engine.stats.turns_reanswered == 0


def test_a_text_within_an_activity_goes_with_its_words() -> None:
    bench = begun(model=MODEL_3, policy=Policy(resend_speech="transcript"))
    bench.sends(START)
    bench.sends({"realtime_input": {"text": "look at this"}})
    bench.speaks(0.5)
    bench.sends(END)
    bench.server(heard("what is it"))
    bench.says("a1")
    again(bench)
    assert bench.wire[1:] == [{"realtimeInput": {"text": "look at this\nwhat is it"}}]


def test_words_are_enough_where_no_audio_is_kept() -> None:
    bench = begun(policy=Policy(audio_resend=0.0))
    cut_in_the_answer(bench, 1.0)
    assert texts(bench.wire) == ["what time"]


def test_a_state_that_may_hold_the_beginning_of_a_question_is_given_its_rest_and_no_words() -> None:
    """RULES 3: a handle that came while audio was streaming may hold some of it."""
    bench = begun(transparent=True, policy=Policy(resend_speech="transcript"))
    bench.speaks(1.0)
    bench.update("aged", 11)
    bench.speaks(11.0)
    bench.server({"usageMetadata": {"totalTokenCount": 1}})
    bench.speaks(2.0)
    bench.server(heard("what time"))
    bench.says("it is")
    again(bench)
    assert bench.bound_with == "aged"
    assert forms(bench) == ["audio"]
    assert seconds_of_audio(bench.wire) == 13.0
    bench.says("noon")
    bench.completes()
    bench.update("closing", 131)
    cut_in_the_answer(bench, 1.0)
    assert forms(bench) == ["audio", "transcript"]


@MARKS
def test_the_order_of_what_follows_stays(marks: bool) -> None:
    bench = begun(policy=Policy(resend_speech="transcript"))
    bench.notes("before")
    if marks:
        bench.sends(START)
    bench.speaks(1.0)
    if marks:
        bench.sends(END)
    bench.server(heard("what time"))
    bench.says("it is")
    bench.speaks(0.5)
    bench.notes("behind")
    bench.asks("q2")
    again(bench)
    assert texts(bench.wire) == ["before", "what time"]
    assert seconds_of_audio(bench.wire) == 0, "live audio waits until the repeated turn shows its first content"
    bench.says("noon")
    assert kinds(bench.wire) == ["client_content", "clientContent", "audio", "client_content", "client_content"]
    assert texts(bench.wire) == ["before", "what time", "behind", "q2"]
    bench.completes()
    bench.says("a2")
    bench.completes()
    assert bench.shown.count(TURN_COMPLETE) == 2


def test_words_that_stand_for_speech_are_a_written_question_from_then_on() -> None:
    """RULES 5, 6: run again unseen where it was answered and not anchored; settled by its cuts."""
    bench = begun(policy=Policy(resend_speech="transcript"))
    cut_in_the_answer(bench, 1.0)
    bench.says("noon")
    bench.completes()
    again(bench)
    assert texts(bench.wire) == ["what time"]
    bench.says("noon, unseen")
    bench.completes()
    assert bench.events(events.TurnShadowed) == [events.TurnShadowed(message=None, discarded_frames=2)]
    assert bench.events(events.TurnForgotten) == []
    bench.update("h1")
    again(bench)
    assert bench.bound_with == "h1"
    assert len(bench.wire) == 1


def test_words_that_stand_for_speech_are_settled_as_any_question() -> None:
    bench = begun(policy=Policy(resend_speech="transcript", max_reanswers_per_turn=1))
    cut_in_the_answer(bench, 1.0)
    bench.says("it is")
    bench.cut()
    assert bench.shown[-1] == TURN_COMPLETE
    assert bench.events(events.TurnSettled) == [events.TurnSettled(message=None, reanswers=1)]
    bench.resume()
    assert len(bench.wire) == 1


@MARKS
def test_a_fresh_start_replays_what_was_said_once(marks: bool) -> None:
    bench = begun(policy=Policy(resend_speech="transcript"))
    cut_in_the_answer(bench, 1.0, marks=marks)
    bench.says("noon")
    bench.completes()
    bench.cut()
    bench.redial()
    bench.refuse(1007, "Invalid session handle.")
    bench.resume()
    assert texts(bench.wire) == ["q0", "a0", "what time", "noon"]


def test_a_question_whose_head_was_lost_is_never_taken_for_whole_again() -> None:
    bench = begun(policy=Policy(audio_resend=1.0))
    bench.sends(START)
    bench.speaks(2.0)
    bench.server(heard("tell me what"))
    bench.sends(END)
    again(bench)
    assert seconds_of_audio(bench.wire) == 1.0
    bench.server(heard("me what time it is"))
    bench.says("it is")
    again(bench)
    assert texts(bench.wire) == ["tell me what time it is"]


def test_a_text_question_is_resent_as_text() -> None:
    bench = begun()
    bench.asks("q1")
    bench.says("a1")
    bench.cut()
    assert forms(bench) == ["text"]


# ---------------------------------------------------------------------- what is transcribed twice


def words_of(frames: list[dict[str, Any]]) -> list[str]:
    contents = [frame.get("serverContent", {}) for frame in frames]
    return [content["inputTranscription"].get("text", "") for content in contents if "inputTranscription" in content]


@BOTH
@MARKS
def test_a_second_transcription_is_not_shown_and_counted(marks: bool, transparent: bool) -> None:
    bench = begun(transparent=transparent)
    cut_in_the_answer(bench, 1.0, marks=marks)
    bench.server(heard("what "))
    bench.server(heard("time"))
    bench.says("noon")
    bench.completes()
    assert bench.shown == [said("noon"), TURN_COMPLETE]
    assert bench.engine.stats.transcriptions_suppressed == 2


def test_of_speech_that_was_cut_in_the_middle_the_rest_is_shown() -> None:
    bench = begun()
    bench.speaks(1.0)
    bench.server(heard("what"))
    assert words_of(bench.shown) == ["what"]
    again(bench)
    bench.speaks(1.0)
    bench.server({"serverContent": {"interimInputTranscription": {"text": "what"}}})
    bench.server(heard("what time"))
    bench.server(heard(" is it"))
    bench.says("noon")
    bench.completes()
    assert words_of(bench.shown) == [" time", " is it"]
    assert bench.engine.stats.transcriptions_suppressed == 2
    bench.cut()
    bench.redial()
    bench.refuse(1007, "Invalid session handle.")
    bench.resume()
    assert texts(bench.wire) == ["q0", "a0", "what time is it", "noon"]


def test_a_transcription_that_the_app_has_not_taken_is_shown_once() -> None:
    bench = begun()
    bench.speaks(1.0)
    bench.server(heard("what"))
    bench.server(
        {"serverContent": {"inputTranscription": {"text": " time"}, "modelTurn": {"parts": [{"text": "it is"}]}}}
    )
    again(bench)
    bench.server(heard("what time"))
    bench.says("noon")
    bench.completes()
    assert bench.shown == [heard("what"), heard(" time"), said("noon"), TURN_COMPLETE]


@pytest.mark.parametrize("form", ["audio", "transcript"])
def test_the_next_question_is_shown_in_full(form: Any) -> None:
    bench = begun(policy=Policy(resend_speech=form))
    cut_in_the_answer(bench, 1.0)
    bench.says("noon")
    bench.completes()
    bench.speaks(1.0)
    bench.server(heard("what time"))
    assert words_of(bench.shown) == ["what time"]


def test_what_is_heard_after_another_answer_is_another_question() -> None:
    """Resent audio may trigger nothing: its turn is not waited for beyond the next one that ends."""
    bench = begun()
    bench.speaks(1.0)
    bench.server(heard("what"))
    bench.asks("q2")
    again(bench)
    bench.says("a2")
    bench.completes()
    assert bench.shown
    bench.server(heard("what else"))
    assert words_of(bench.shown) == ["what else"]


def test_a_turn_that_is_run_again_before_it_does_not_end_the_wait_for_a_cut_question() -> None:
    bench = begun()
    bench.asks("q1")
    bench.says("a1")
    bench.completes()
    bench.speaks(1.0)
    bench.server(heard("what"))
    assert bench.shown
    again(bench)
    bench.says("a1, unseen")
    bench.completes()
    bench.server(heard("what time"))
    assert words_of(bench.shown) == [" time"]


# ---------------------------------------------------------------------- video


def frame(number: int) -> dict[str, Any]:
    return {"realtime_input": {"video": {"data": f"AAA{number}", "mime_type": "image/jpeg"}}}


def pictures(frames: list[dict[str, Any]]) -> list[int]:
    blobs = [frame["realtime_input"]["video"]["data"] for frame in frames if "video" in frame.get("realtime_input", {})]
    return [int(data[3:]) for data in blobs]


@BOTH
def test_the_newest_video_frame_is_sent_again(transparent: bool) -> None:
    bench = begun(transparent=transparent)
    for number in (1, 2, 3):
        bench.sends(frame(number))
    for _ in range(2):
        again(bench)
        assert pictures(bench.wire) == [3]


@BOTH
def test_a_video_frame_that_the_handle_covers_is_not_sent_again(transparent: bool) -> None:
    bench = begun(transparent=transparent)
    bench.sends(frame(1))
    bench.asks("q1")
    bench.completes()
    bench.update("h1", 3)
    again(bench)
    assert bench.wire[1:] == []


def test_an_old_video_frame_is_never_sent_beside_or_after_a_newer_one() -> None:
    bench = begun()
    bench.sends(frame(1))
    bench.cut()
    bench.sends(frame(2))
    bench.resume()
    assert pictures(bench.wire) == [2]
    bench.cut()
    bench.sends(frame(3))
    bench.cut()
    bench.resume()
    assert pictures(bench.wire) == [3]
    bench.tick(1.0)
    assert bench.events(events.VideoDropped) == [], "each of them was sent once"


def test_a_newer_video_frame_that_waits_takes_the_place_of_the_one_that_was_sent() -> None:
    bench = begun()
    bench.auto_written = False
    bench.sends(frame(1))
    for number in range(20):
        bench.notes(f"c{number}")
    bench.sends(frame(2))
    bench.auto_written = True
    again(bench)
    assert pictures(bench.wire) == [2]


def test_video_follows_the_control_messages_on_a_new_connection() -> None:
    """Control frames first; the service closes with 1007 on old video."""
    bench = begun()
    bench.sends(frame(1))
    bench.notes("c1")
    bench.asks("q1")
    bench.asks("q2")
    again(bench)
    assert texts(bench.wire) == ["c1", "q1"]
    bench.says("a1")
    assert texts(bench.wire) == ["c1", "q1", "q2"]
    bench.completes()
    bench.says("a2")
    assert kinds(bench.wire)[-1] == "video"


def test_an_old_video_frame_waits_for_new_control_messages_too() -> None:
    bench = begun()
    bench.sends(frame(1))
    bench.cut()
    bench.asks("q1")
    bench.resume()
    assert kinds(bench.wire) == ["client_content", "video"]


def test_video_and_a_question_about_it_keep_their_order_in_an_outage() -> None:
    bench = begun()
    bench.cut()
    bench.sends(frame(1))
    bench.asks("q1")
    bench.resume()
    assert kinds(bench.wire) == ["video", "client_content"]


def test_replaced_video_is_reported_and_a_resent_one_is_not() -> None:
    bench = begun()
    bench.cut()
    bench.sends(frame(1))
    bench.sends(frame(2))
    bench.tick(1.0)
    assert [event.frames for event in bench.events(events.VideoDropped)] == [1]


# ---------------------------------------------------------------------- bounds


def test_the_start_of_an_open_activity_is_never_let_go() -> None:
    """RULES 11."""
    bench = begun(policy=Policy(control_messages=4))
    bench.sends(START)
    for number in range(10):
        bench.notes(f"c{number}")
    again(bench)
    assert START in bench.wire


def test_an_activity_that_is_over_is_let_go_as_anything_else() -> None:
    bench = begun(policy=Policy(control_messages=4))
    bench.sends(START)
    bench.speaks(0.5)
    bench.sends(END)
    bench.says("a1")
    bench.completes()
    for number in range(3):
        bench.notes(f"c{number}")
    assert [event.messages for event in bench.events(events.ResumePointDropped)] == [3]
