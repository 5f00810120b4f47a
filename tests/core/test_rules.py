"""The counterexamples of RULES section 2 as named schedules, by hand, with exact frames.

The rows with tools are in `test_rules_of_tools.py`. Q is a question, A its answer, tc
`turnComplete`, h a handle; "T" is the transparent mode (Vertex), "H" handles only.
"""

from __future__ import annotations

import msgspec
import pytest

from resumekit.core import events, inputs
from resumekit.core.failures import Failure, Phase, Side
from resumekit.core.policy import Policy
from resumekit.core.state import State
from resumekit.errors import SessionLost
from resumekit.wire import decode_client, decode_server
from tests.core.model_state import CHUNK_SECONDS
from tests.core.script import INTERRUPTED, SETUP_COMPLETE, TURN_COMPLETE, Script, begun, context, output, question


def test_row_1_answered_turn_without_a_handle_is_run_again_unseen() -> None:
    """RULES 2, row 1. H: Q, A, tc seen, cut before h: rules 4 and 5."""
    script = begun(transparent=False)
    script.say(question("Q1"))
    script.serve(output("A1"), TURN_COMPLETE)
    script.cut()
    script.bind()

    assert script.resumed_from() == "h0"
    assert script.wire == [question("Q1")]

    script.serve(output("A1, once more"), TURN_COMPLETE)
    script.handle("h1")
    script.say(question("Q2"))
    script.serve(output("A2"), TURN_COMPLETE)

    assert script.app() == [output("A1"), TURN_COMPLETE, output("A2"), TURN_COMPLETE]
    assert script.wire == [question("Q1"), question("Q2")]
    assert [event.message for event in script.told(events.TurnShadowed)] == [2]


def test_row_2_handle_of_mid_answer_is_never_resumed_from() -> None:
    """RULES 2, row 2. T: Q, mid-answer h, A, tc, cut: rules 1 and 4."""
    script = begun(transparent=True)
    script.say(question("Q1"))
    script.serve(output("A1"))
    script.handle("mid-answer", 2)
    script.serve(output("A1, end"), TURN_COMPLETE)
    script.cut()
    script.bind()

    assert script.resumed_from() == "h0"
    assert script.wire == [question("Q1")]

    script.serve(output("A1, once more"), TURN_COMPLETE)
    script.handle("h1", 1)
    assert script.app() == [output("A1"), output("A1, end"), TURN_COMPLETE]

    script.cut()
    script.bind()
    assert script.resumed_from() == "h1"
    assert script.wire == []


def test_row_8_handle_that_lags_behind_the_turn_is_not_taken_for_quiet() -> None:
    """RULES 2, row 8. T: tc, then h with an index below a message sent before tc: rule 1."""
    script = begun(transparent=True)
    script.say(question("Q1"))
    script.serve(output("A1"))
    script.say(context("C"))
    script.serve(TURN_COMPLETE)
    script.handle("lagging", 2)
    script.cut()
    script.bind()

    assert script.resumed_from() == "h0"
    assert script.wire == [question("Q1"), context("C")]

    script.serve(output("A1, once more"), TURN_COMPLETE)
    script.handle("lagging again", 1)
    script.handle("h1", 2)
    script.cut()
    script.bind()
    assert script.resumed_from() == "h1"
    assert script.wire == []
    assert script.app() == [output("A1"), TURN_COMPLETE]


def test_row_11_question_behind_a_shadow_waits_for_its_first_frame() -> None:
    """RULES 2, row 11. Q2 straight after a resent Q1 whose answer is hidden: rule 7."""
    script = begun(transparent=False)
    script.say(question("Q1"))
    script.serve(output("A1"), TURN_COMPLETE)
    script.cut()
    script.say(question("Q2"))
    script.bind()

    assert script.wire == [question("Q1")]
    script.wait(5.0)
    assert script.wire == [question("Q1")]
    script.serve(output("A1, once more"))
    assert script.wire == [question("Q1"), question("Q2")]

    # A service that interrupts ends the shadow; one that queues lets it come to its end.
    script.serve(INTERRUPTED, TURN_COMPLETE, output("A2"), TURN_COMPLETE)
    assert script.app() == [output("A1"), TURN_COMPLETE, output("A2"), TURN_COMPLETE]


@pytest.mark.parametrize("first_frame", [True, False], ids=["cut after the first frame", "cut before it"])
def test_row_14_record_between_end_of_speech_and_answer_does_not_swallow_the_utterance(first_frame: bool) -> None:
    """RULES 2, row 14. T, auto-VAD: end of speech consumed, update, *then* the first frame; cut: rule 3."""
    script = begun(transparent=True)
    script.speak(1, 8, utterance=1)
    script.speak(9, 3, utterance=0)
    script.handle("holds the whole utterance", 12)
    script.speak(12, 2, utterance=0)
    if first_frame:
        script.serve(output("A1"))
        assert script.app() == [output("A1")]
    script.cut()
    script.bind()

    assert script.resumed_from() == "h0"
    assert script.heard() == list(range(1, 14))

    script.serve(output("A1, whole"), TURN_COMPLETE)
    assert script.app() == [INTERRUPTED] * first_frame + [output("A1, whole"), TURN_COMPLETE]


def test_row_14_record_in_long_silence_becomes_the_base() -> None:
    """RULES 2, row 14, the other side: after `audio_resend` seconds in which no turn opened (rule 3)."""
    script = begun(transparent=True)
    script.speak(1, 4, utterance=0)
    script.handle("in silence", 5)
    script.speak(5, 44, utterance=0)
    script.handle("later", 49)
    script.speak(49, 4, utterance=0)
    script.handle("and no burst", 53)
    script.cut()
    script.bind()

    assert script.resumed_from() == "in silence"
    assert script.heard() == list(range(5, 53))


def test_row_15_question_is_kept_through_a_long_spoken_answer() -> None:
    """RULES 2, row 15. H: 4 s question, 15 s spoken answer, cut: rule 10."""
    script = begun(transparent=False)
    script.speak(1, 16, utterance=1)
    script.speak(17, 2, utterance=0)
    script.serve(output("A1"))
    for number in range(19, 79, 4):
        script.speak(number, 4, utterance=0)
        script.serve(output("and so on"))
    script.cut()
    script.bind()

    assert script.resumed_from() == "h0"
    again = script.heard()
    assert again[:18] == list(range(1, 19))
    assert len(again) * CHUNK_SECONDS <= Policy().audio_resend
    assert again[18:] == list(range(79 - len(again[18:]), 79))
    (resumed,) = script.told(events.Resumed)
    assert resumed.resent_audio == len(again) * CHUNK_SECONDS
    assert resumed.lost_audio == (78 - len(again)) * CHUNK_SECONDS


def test_row_16_spoken_turn_that_was_answered_is_not_answered_again() -> None:
    """RULES 2, row 16. H: audio question answered, tc, cut before h: rule 10."""
    script = begun(transparent=False)
    script.speak(1, 8, utterance=1)
    script.speak(9, 2, utterance=0)
    script.serve({"serverContent": {"inputTranscription": {"text": "Q1"}}}, output("A1"), TURN_COMPLETE)
    script.cut()
    script.bind()

    assert script.resumed_from() == "h0"
    assert script.heard() == []
    assert [event.audio for event in script.told(events.TurnForgotten)] == [10 * CHUNK_SECONDS]

    script.say(question("Q2"))
    script.serve(output("A2"), TURN_COMPLETE)
    assert [frame for frame in script.app() if "inputTranscription" not in frame["serverContent"]] == [
        output("A1"),
        TURN_COMPLETE,
        output("A2"),
        TURN_COMPLETE,
    ]


def test_row_17_context_sent_during_an_answer_is_repeated_and_flagged() -> None:
    """RULES 2, row 17. H: context *while* the model answers, then tc, h, cut: promise (a)."""
    script = begun(transparent=False)
    script.say(question("Q1"))
    script.serve(output("A1"))
    script.say(context("C"))
    script.serve(TURN_COMPLETE)
    script.handle("h1")
    script.cut()
    script.bind()

    assert script.resumed_from() == "h1"
    assert script.wire == [context("C")]
    assert [event.messages for event in script.told(events.MessagesRepeated)] == [(3,)]

    script.say(question("Q2"))
    script.serve(output("A2"), TURN_COMPLETE)
    script.handle("h2")
    script.cut()
    script.bind()
    assert script.wire == []
    assert len(script.told(events.MessagesRepeated)) == 1


def test_row_18_no_handle_for_long_voids_the_base_and_not_the_connection() -> None:
    """RULES 2, row 18. Handles never come, 256 control messages and more: rule 11."""
    script = begun(transparent=False)
    for number in range(300):
        script.say(question(f"Q{number + 1}"))
        script.serve(output(f"A{number + 1}"), TURN_COMPLETE)
    assert len(script.wire) == 301
    (dropped,) = script.told(events.ResumePointDropped)
    assert dropped.messages > 0
    assert not script.told(events.ConnectionLost)

    script.cut()
    script.bind()
    assert script.resumed_from() is None
    (fresh,) = script.told(events.FreshStarted)
    assert fresh.replayed_turns == Policy().replay_turns
    replay = msgspec.json.decode(script.wire[0])["clientContent"]["turns"]
    assert [turn["parts"][0]["text"] for turn in replay[-2:]] == ["Q300", "A300"]
    assert len(script.wire) == 1


def test_row_18_without_resumption_nothing_grows_and_history_carries_on() -> None:
    """RULES 2, row 18, second half: ``resumption="off"``."""
    script = Script(transparent=False, resumption="off")
    for number in range(300):
        script.say(question(f"Q{number}"))
        script.serve(output(f"A{number}"), TURN_COMPLETE)
    assert not script.told(events.ResumePointDropped)
    script.cut()
    setup = script.bind()
    assert "sessionResumption" not in setup
    assert len(script.wire) == 1
    assert not script.told(events.MessagesRepeated)


def test_row_19_record_that_covers_less_does_not_replace_the_base() -> None:
    """RULES 2, row 19. T: updates out of order, cut: rule 1."""
    script = begun(transparent=True)
    script.say(context("C1"), context("C2"), context("C3"))
    script.handle("newer", 4)
    script.handle("late, and older", 2)
    script.cut()
    script.bind()

    assert script.resumed_from() == "newer"
    assert script.wire == []


def test_row_19_refused_base_is_followed_by_a_fresh_start() -> None:
    """RULES 2, row 19. The next rung below `base` is fresh, not an older record: rule 4."""
    script = begun(transparent=True)
    script.say(question("Q1"))
    script.serve(output("A1"))
    script.cut()
    while script.engine.state is not State.DIALING:
        script.wait(0.5)
    script.feed(inputs.Dialed(script.connection))
    refusal = Failure(phase=Phase.BIND, side=Side.THEY, code=1007, reason="Invalid session handle.")
    script.feed(inputs.ConnectionEnded(script.connection, refusal))
    script.bind()

    assert script.resumed_from() is None
    replay, asked = script.wire
    turns = msgspec.json.decode(replay)["clientContent"]["turns"]
    assert [turn["parts"][0]["text"] for turn in turns] == ["Q0", "A0"]
    assert asked == question("Q1")
    assert len(script.told(events.HandleRefused)) == 1


@pytest.mark.parametrize("after_setup", [True, False], ids=["after setupComplete", "at setup"])
def test_service_that_accepts_and_drops_for_ever_is_given_up(after_setup: bool) -> None:
    """G5: at most 10 dials in any 60 s, and one typed error at `max_outage`."""
    script = begun(transparent=True)
    script.cut()
    while script.finished is None:
        script.wait(0.25)
        if script.engine.state is State.DIALING:
            script.feed(inputs.Dialed(script.connection))
            if after_setup:
                script.serve(SETUP_COMPLETE)
            phase = Phase.LIVE if after_setup else Phase.BIND
            failure = Failure(phase=phase, side=Side.THEY, code=1011, reason="The service is currently unavailable.")
            script.feed(inputs.ConnectionEnded(script.connection, failure))
        assert script.now < 400.0
    assert isinstance(script.finished.error, SessionLost)
    assert script.finished.error.close_code == 1011
    assert 300.0 <= script.finished.error.elapsed <= 301.0
    dials = script.dialled[1:]
    assert len(dials) > 10
    assert all(later - earlier >= 60.0 - 1e-6 for earlier, later in zip(dials, dials[10:], strict=False))


def test_thinking_for_forty_seconds_is_healthy() -> None:
    """Pongs are signs of life, so nothing is given up."""
    script = begun(transparent=True)
    script.say(question("Q1"))
    for _ in range(40):
        script.wait(1.0)
        script.feed(inputs.PongReceived(script.connection))
    script.serve(output("A1"), TURN_COMPLETE)
    assert len(script.dialled) == 1
    assert script.app() == [output("A1"), TURN_COMPLETE]


def test_go_away_in_mid_answer_moves_after_the_answer_and_its_handle() -> None:
    """With 10 s left the answer ends on the old connection, and the app sees nothing."""
    script = begun(transparent=True, warm_dial=False)
    script.say(question("Q1"))
    script.serve(output("A1"), {"goAway": {"timeLeft": "10s"}})
    old = script.connection
    script.wait(1.0)
    for frame in (output("A1, end"), TURN_COMPLETE):
        script.feed(inputs.FrameReceived(old, decode_server(msgspec.json.encode(frame))))
    assert not script.told(events.Moving)
    update = {"sessionResumptionUpdate": {"newHandle": "h1", "resumable": True, "lastConsumedClientMessageIndex": "2"}}
    script.feed(inputs.FrameReceived(old, decode_server(msgspec.json.encode(update))))
    assert [event.quiet for event in script.told(events.Moving)] == [True]
    script.feed(inputs.ConnectionEnded(old, Failure(phase=Phase.LIVE, side=Side.WE, code=1000)))
    script.bind()
    assert script.resumed_from() == "h1"
    assert script.wire == []
    assert script.app() == [output("A1"), output("A1, end"), TURN_COMPLETE]


def test_buffers_are_bounded_in_a_long_outage() -> None:
    """Control messages wait, then the app is told; of audio the oldest goes, with a count."""
    script = begun(transparent=True)
    script.cut()
    down = Failure(phase=Phase.DIAL, side=Side.NOBODY, reason="connection refused")
    accepted = 0
    for number in range(800):
        message = decode_client(context(f"C{number}"))
        if script.engine.has_room(message):
            script.feed(inputs.Send(message))
            accepted += 1
        script.speak(number + 1, 1, utterance=0)
        if script.engine.state is State.DIALING:
            script.feed(inputs.DialFailed(script.connection, down))
    assert accepted == Policy().control_messages
    script.bind()

    kept = round(Policy().audio_seconds / CHUNK_SECONDS)
    assert script.resumed_from() == "h0"
    assert script.heard() == list(range(801 - kept, 801))
    assert [frame for frame in script.wire if "audio" not in frame] == [context(f"C{n}") for n in range(accepted)]
    script.wait(2.0)
    assert sum(event.frames for event in script.told(events.AudioDropped)) == 800 - kept
    assert sum(event.seconds for event in script.told(events.AudioDropped)) == (800 - kept) * CHUNK_SECONDS


def test_frames_of_an_old_connection_change_nothing() -> None:
    """I1."""
    script = begun(transparent=True)
    script.say(question("Q1"))
    old = script.connection
    script.cut()
    script.bind()
    before = len(script.events)
    for frame in (output("late"), {"goAway": {"timeLeft": "1s"}}, TURN_COMPLETE):
        script.feed(inputs.FrameReceived(old, decode_server(msgspec.json.encode(frame))))
    script.feed(inputs.ConnectionEnded(old, Failure(phase=Phase.LIVE, side=Side.NOBODY)))
    assert script.app() == []
    assert len(script.events) == before
    assert script.engine.state is State.LIVE


def test_half_open_connection_is_resumed_with_the_old_handle_once_it_is_released() -> None:
    """Issue 2: half-open with a service that keeps the old binding for 15 s: no fresh session."""
    script = begun(transparent=True)
    script.say(question("Q1"))
    while script.engine.state is State.LIVE:
        script.wait(0.25)
    gone = script.now
    assert gone < 45.0
    while script.now < gone + 15.0:
        script.wait(0.25)
        if script.engine.state is State.DIALING:
            script.feed(inputs.Dialed(script.connection))
            assert script.resumed_from() == "h0"
            refusal = Failure(phase=Phase.BIND, side=Side.THEY, code=1011, reason="Session is in use.")
            script.feed(inputs.ConnectionEnded(script.connection, refusal))
    script.bind()
    assert script.resumed_from() == "h0"
    assert script.wire == [question("Q1")]
    assert not script.told(events.HandleRefused)
