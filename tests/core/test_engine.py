"""The life of connections: dial, bind, resume, move, give up."""

from __future__ import annotations

import json
import math
import sys
import weakref
from itertools import pairwise

import pytest

from resumekit.core import actions, events, inputs
from resumekit.core.failures import Failure, Phase, Side
from resumekit.core.policy import Policy, Recovery, RecoveryAction, RecoveryDetails
from resumekit.core.state import State
from resumekit.defaults.decisions import DefaultDecisions
from resumekit.errors import (
    ConnectFailed,
    ConnectRefused,
    LocalProtocolError,
    RemoteProtocolError,
    SessionClosed,
    SessionLost,
)
from resumekit.wire import HistoryTurn, ResumptionHandle, decode_client, decode_server
from tests.core.bench import (
    INTERRUPTED,
    MODEL_3,
    TURN_COMPLETE,
    Bench,
    audio,
    content,
    said,
)


def anchored(bench: Bench, text: str = "q0", handle: str = "h0", index: int | None = None) -> None:
    """One whole turn with its handle."""
    bench.asks(text)
    bench.says(f"answer to {text}")
    bench.completes()
    bench.update(handle, index)
    assert bench.shown


# ---------------------------------------------------------------------- the first connection


def test_setup_goes_first_and_nothing_before_setup_complete() -> None:
    """I4, I5."""
    bench = Bench()
    bench.start()
    bench.asks("early")
    bench.opens()
    bench.asks("still early")
    assert [list(frame) for frame in bench.wire] == [["setup"]]
    assert bench.engine.state is State.BINDING
    bench.server({"setupComplete": {}})
    assert [list(frame) for frame in bench.wire] == [["setup"], ["client_content"], ["client_content"]]
    assert bench.events(events.Connected)[0].resumed is False
    assert bench.engine.setup_complete is not None


def test_a_frame_before_setup_complete_is_reported_and_changes_nothing() -> None:
    bench = Bench()
    bench.start()
    bench.opens()
    bench.server({"serverContent": {"turnComplete": True}})
    assert bench.events(events.FrameDiscarded)[0].problem == "it came before setupComplete"
    assert bench.engine.state is State.BINDING
    assert bench.shown == []


def test_a_refused_first_connection_is_one_error_at_once() -> None:
    bench = Bench()
    bench.start()
    bench.refuse(1007, "Invalid JSON payload received. Unknown name")
    assert isinstance(bench.error, ConnectRefused)
    assert bench.engine.state is State.LOST
    assert len(bench.done(actions.OpenConnection)) == 1
    assert bench.engine.wake_at is None


def test_a_failing_first_connection_is_retried_until_the_deadline() -> None:
    bench = Bench()
    bench.start()
    cause = OSError("unreachable")
    failure = Failure(phase=Phase.DIAL, side=Side.NOBODY, reason="unreachable", error=cause)
    while bench.engine.state is not State.LOST:
        bench.feed(inputs.DialFailed(bench.connection, failure))
        bench.tick()
    error = bench.error
    assert isinstance(error, ConnectFailed)
    assert error.__cause__ is cause
    assert bench.now == 1000.0 + Policy().first_connect_deadline
    assert 3 <= error.attempts <= 10


def test_a_first_connection_that_hangs_ends_at_the_deadline_too() -> None:
    bench = Bench(policy=Policy(connect_timeout=60.0))
    bench.start()
    bench.tick()
    assert isinstance(bench.error, ConnectFailed)
    assert bench.done(actions.AbortConnection)


def test_a_dial_and_a_bind_that_take_too_long_are_aborted() -> None:
    bench = Bench()
    bench.start()
    bench.tick()
    assert [lost.phase for lost in bench.events(events.ConnectionLost)] == ["dial"]
    bench.redial()
    bench.opens()
    bench.tick()
    assert [lost.phase for lost in bench.events(events.ConnectionLost)] == ["dial", "bind"]
    assert [action.connection for action in bench.done(actions.AbortConnection)] == [1, 2]


def test_a_setup_that_is_none_is_refused_before_anything_is_dialled() -> None:
    from resumekit.core.engine import Engine

    with pytest.raises(LocalProtocolError):
        Engine("[]", policy=Policy(), decisions=DefaultDecisions(), transparent=False, random=lambda: 0.5)


# ---------------------------------------------------------------------- resuming


@pytest.mark.parametrize("transparent", [False, True])
def test_a_cut_in_silence_resumes_from_the_handle_and_resends_nothing(transparent: bool) -> None:
    bench = Bench(transparent=transparent)
    bench.connect()
    anchored(bench, index=1 if transparent else None)
    bench.cut()
    bench.resume()
    assert bench.bound_with == "h0"
    assert len(bench.wire) == 1
    assert bench.shown == []
    resumed = bench.events(events.Resumed)[0]
    assert (resumed.resent_messages, resumed.planned) == (0, False)
    assert bench.engine.stats.resumes == 1


def test_a_cut_mid_answer_interrupts_the_app_and_asks_again() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    bench.says("half an ")
    assert bench.shown == [said("half an ")]
    bench.cut()
    assert bench.shown == [INTERRUPTED]
    bench.resume()
    assert bench.wire[1:] == [content("q1")]
    bench.says("answer")
    bench.completes()
    assert bench.shown == [said("answer"), TURN_COMPLETE]
    assert bench.events(events.TurnCut)[0].shown is True


def test_a_cut_answer_that_the_app_has_not_taken_vanishes() -> None:
    """RULES 9."""
    bench = Bench()
    bench.connect()
    bench.asks("q1")
    bench.says("half")
    bench.cut()
    assert bench.shown == []
    assert bench.events(events.TurnCut)[0].discarded_frames == 1
    bench.resume()
    assert bench.bound_with is None
    assert bench.wire[1:] == [content("q1")]


def test_messages_sent_during_the_outage_follow_in_order() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    bench.cut()
    bench.notes("c1")
    bench.asks("q2")
    bench.resume()
    assert bench.wire[1:] == [content("q1"), content("c1", turn_complete=False)]
    bench.says("a1")
    assert bench.wire[-1] == content("q2"), "RULES 7: it waits for the first content, not for the end"


def test_frames_written_and_ends_of_an_old_connection_change_nothing() -> None:
    """I1."""
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.cut()
    bench.resume()
    before = len(bench.actions)
    bench.server(said("ghost"), 1)
    bench.feed(inputs.Written(1))
    bench.feed(inputs.PongReceived(1))
    bench.feed(inputs.FrameUnreadable(1, 3, "junk"))
    bench.feed(inputs.Dialed(1))
    failure = Failure(phase=Phase.DIAL, side=Side.NOBODY)
    bench.feed(inputs.DialFailed(1, failure))
    bench.feed(inputs.ConnectionEnded(1, failure))
    assert len(bench.actions) == before
    assert bench.shown == []
    assert bench.engine.stats.stale_inputs == 5


def test_a_handle_of_the_application_is_used_first() -> None:
    bench = Bench(handle=ResumptionHandle("mine"))
    bench.connect()
    assert bench.bound_with == "mine"
    assert bench.engine.was_given_handle
    assert not Bench().engine.was_given_handle
    assert bench.events(events.Connected)[0].resumed is True


def test_a_handle_of_the_store_is_used_with_its_age_unless_the_application_gave_one() -> None:
    start = inputs.Start(handle=ResumptionHandle("kept"), age=60.0)
    bench = Bench()
    bench.feed(start)
    bench.bind()
    assert bench.bound_with == "kept"
    assert bench.events(events.Connected)[0].resumed is True
    bench.cut()
    bench.resume()
    assert bench.events(events.Resumed)[0].handle_age == pytest.approx(60.0, abs=5.0)

    bench = Bench(handle=ResumptionHandle("mine"))
    bench.feed(start)
    bench.bind()
    assert bench.bound_with == "mine"


def test_a_handle_in_the_setup_is_used_first_and_a_refused_one_is_replaced_by_a_fresh_start() -> None:
    bench = Bench(setup={"sessionResumption": {"handle": "theirs"}}, history=[HistoryTurn(role="user", text="before")])
    bench.start()
    bench.refuse(1007, "Invalid session handle.")
    bench.redial()
    bench.bind()
    assert bench.bound_with is None
    assert [turn["parts"][0]["text"] for turn in bench.wire[1]["clientContent"]["turns"]] == ["before"]
    connected = bench.events(events.Connected)[0]
    assert (connected.resumed, connected.replayed_turns) == (False, 1)
    refused = bench.events(events.HandleRefused)[0]
    assert "theirs" not in repr(refused)
    assert bench.done(actions.ForgetHandle)


def test_resumption_off_never_asks_for_handles_and_survives_by_replay() -> None:
    bench = Bench(policy=Policy(resumption="off", warm_dial=False), handle=ResumptionHandle("unused"))
    bench.connect()
    assert "sessionResumption" not in bench.wire[0]["setup"]
    bench.asks("q1")
    bench.says("a1")
    bench.completes()
    bench.goes_away("30s")
    bench.tick(Policy().handle_wait)
    assert bench.engine.state is State.MOVING, "there is no handle to wait for"
    bench.closes()
    bench.bind()
    assert [turn["parts"][0]["text"] for turn in bench.wire[1]["clientContent"]["turns"]] == ["q1", "a1"]


# ---------------------------------------------------------------------- fresh starts


def test_a_refused_handle_means_replay_and_the_open_question_goes_live() -> None:
    """The last unanswered question goes as live input, not as seed."""
    bench = Bench(transparent=True)
    bench.connect()
    anchored(bench, index=1)
    bench.asks("q1")
    bench.cut()
    bench.redial()
    bench.refuse(1008, "BidiGenerateContent session not found")
    bench.resume()
    seed, live = bench.wire[1:]
    assert [turn["parts"][0]["text"] for turn in seed["clientContent"]["turns"]] == ["q0", "answer to q0"]
    assert seed["clientContent"]["turnComplete"] is False
    assert live == content("q1")
    fresh = bench.events(events.FreshStarted)[0]
    assert (fresh.replayed_turns, fresh.resent_messages) == (2, 1)


def test_on_3x_history_is_announced_in_setup_and_the_question_goes_as_realtime_text() -> None:
    bench = Bench(model=MODEL_3)
    bench.connect()
    bench.asks("q0")
    bench.says("a0")
    bench.completes()
    bench.notes("c1")
    bench.asks("q1")
    bench.cut()
    bench.resume()
    assert bench.wire[0]["setup"]["historyConfig"] == {"initialHistoryInClientContent": True}
    assert [turn["parts"][0]["text"] for turn in bench.wire[1]["clientContent"]["turns"]] == ["q0", "a0", "c1"]
    assert bench.wire[1]["clientContent"]["turnComplete"] is True
    assert bench.wire[2] == {"realtimeInput": {"text": "q1"}}


def test_the_applications_history_replaces_the_transcript_and_its_open_question_is_not_seeded() -> None:
    bench = Bench(loads_history=True)
    bench.start()
    assert bench.done(actions.LoadHistory)
    bench.opens()
    assert bench.wire == []
    bench.feed(inputs.HistoryLoaded([HistoryTurn(role="user", text="old")]))
    bench.server({"setupComplete": {}})
    bench.asks("q1")
    bench.cut()
    bench.redial()
    bench.feed(inputs.HistoryLoaded([HistoryTurn(role="model", text="told"), HistoryTurn(role="user", text="q1")]))
    bench.bind()
    assert [turn["parts"][0]["text"] for turn in bench.wire[1]["clientContent"]["turns"]] == ["told"]
    assert bench.wire[2] == content("q1")
    bench.feed(inputs.HistoryLoaded([HistoryTurn(role="user", text="late")]))
    assert len(bench.wire) == 3


def test_history_that_does_not_come_or_fails_is_replaced_by_the_transcript() -> None:
    bench = Bench(loads_history=True)
    bench.start()
    bench.feed(inputs.HistoryLoaded(None))
    bench.bind()
    bench.asks("q1")
    bench.says("a1")
    bench.completes()
    bench.cut()
    bench.redial()
    bench.opens()
    bench.tick()
    bench.server({"setupComplete": {}})
    assert [turn["parts"][0]["text"] for turn in bench.wire[1]["clientContent"]["turns"]] == ["q1", "a1"]


def test_history_that_comes_while_no_connection_is_open_is_kept_and_one_that_never_comes_hangs_nothing() -> None:
    bench = Bench(loads_history=True)
    bench.start()
    failure = Failure(phase=Phase.DIAL, side=Side.NOBODY)
    bench.feed(inputs.DialFailed(1, failure))
    bench.redial()
    bench.feed(inputs.DialFailed(2, failure))
    bench.feed(inputs.HistoryLoaded([HistoryTurn(role="user", text="old")]))
    bench.feed(inputs.HistoryLoaded([HistoryTurn(role="user", text="twice")]))
    bench.resume()
    assert [turn["parts"][0]["text"] for turn in bench.wire[1]["clientContent"]["turns"]] == ["old"]
    silent = Bench(loads_history=True)
    silent.start()
    silent.feed(inputs.DialFailed(1, failure))
    silent.redial()
    silent.opens()
    silent.tick()
    assert silent.engine.state is State.BINDING


def test_an_expired_handle_is_not_tried() -> None:
    bench = Bench(policy=Policy(handle_validity=100.0, max_outage=1000.0))
    bench.connect()
    anchored(bench)
    bench.cut()
    failure = Failure(phase=Phase.DIAL, side=Side.NOBODY, reason="down")
    while bench.now < 1000.0 + 101:
        bench.redial()
        bench.feed(inputs.DialFailed(bench.connection, failure))
    bench.resume()
    assert bench.bound_with is None
    assert bench.events(events.HandleRefused)[0].reason == "expired"


def test_the_seed_that_the_application_sends_itself_asks_nothing_and_is_part_of_the_history() -> None:
    """RULES 4: a handle from before the seed is worthless."""
    bench = Bench(transparent=True, model=MODEL_3, setup={"historyConfig": {"initialHistoryInClientContent": True}})
    bench.connect()
    bench.sends(content("seed"))
    bench.update("too-early", 0)
    bench.cut()
    bench.resume()
    assert bench.bound_with is None
    assert [turn["parts"][0]["text"] for turn in bench.wire[1]["clientContent"]["turns"]] == ["seed"]
    assert len(bench.wire) == 2
    bench.update("good", 1)
    bench.cut()
    bench.resume()
    assert bench.bound_with == "good"
    assert "historyConfig" not in bench.wire[0]["setup"]
    assert len(bench.wire) == 1


def test_a_seed_that_was_not_sent_yet_keeps_the_applications_flag() -> None:
    bench = Bench(model=MODEL_3, setup={"historyConfig": {"initialHistoryInClientContent": True}})
    bench.connect()
    bench.cut()
    bench.resume()
    assert bench.wire[0]["setup"]["historyConfig"] == {"initialHistoryInClientContent": True}


def test_a_decision_can_ask_for_a_fresh_start_or_for_the_end() -> None:
    class Chooses(DefaultDecisions):
        answer = Recovery(action=RecoveryAction.FRESH, turns=[HistoryTurn(role="user", text="summary")])

        def choose_recovery(self, details: RecoveryDetails) -> Recovery:
            return self.answer

    decisions = Chooses()
    bench = Bench(decisions=decisions)
    bench.connect()
    anchored(bench)
    bench.cut()
    bench.resume()
    assert [turn["parts"][0]["text"] for turn in bench.wire[1]["clientContent"]["turns"]] == ["summary"]
    decisions.answer = Recovery(action=RecoveryAction.FAIL)
    bench.cut()
    assert isinstance(bench.error, SessionLost)


@pytest.mark.parametrize("handle", ["h0", None])
def test_a_decision_can_settle_the_answer_that_was_cut(handle: str | None) -> None:
    """RULES 6, chosen for one loss; without a handle the next session starts fresh, and does not get the question."""

    class Settles(DefaultDecisions):
        asked: RecoveryDetails | None = None

        def choose_recovery(self, details: RecoveryDetails) -> Recovery:
            self.asked = details
            return Recovery(action=RecoveryAction.SETTLE)

    decisions = Settles()
    bench = Bench(decisions=decisions)
    bench.connect()
    if handle is not None:
        anchored(bench)
    bench.asks("q1")
    bench.says("half")
    assert bench.shown
    bench.cut()
    assert bench.shown == [INTERRUPTED, TURN_COMPLETE]
    assert bench.events(events.TurnSettled)[0].reanswers == 0
    assert decisions.asked is not None
    assert (decisions.asked.pending_messages, decisions.asked.handle_age is None) == (1, handle is None)
    bench.asks("q2")
    bench.resume()
    assert bench.bound_with == handle
    assert "q1" not in json.dumps(bench.wire)
    assert "q2" in json.dumps(bench.wire[-1])


# ---------------------------------------------------------------------- refusals while resuming


def test_1011_at_bind_is_the_old_binding_and_the_same_handle_is_tried_again() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.cut()
    released = bench.now + 15
    bench.redial()
    while bench.now < released:
        bench.refuse(1011, "Internal error encountered.")
        bench.redial()
    bench.bind()
    assert bench.bound_with == "h0"
    assert bench.events(events.FreshStarted) == []


def test_after_the_grace_the_handle_is_given_up() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.cut()
    grace_over = bench.now + Policy().old_binding_grace
    while not bench.events(events.HandleRefused):
        bench.redial()
        bench.refuse(1011, "")
    assert bench.now > grace_over
    bench.resume()
    assert bench.bound_with is None
    assert bench.events(events.FreshStarted)


def test_a_handle_of_another_process_gets_half_of_the_first_deadline_and_then_a_fresh_start() -> None:
    """The other process may still be connected; but a session that cannot begin is worse than a fresh one."""
    bench = Bench(handle=ResumptionHandle("h9"))
    bench.start()
    start = bench.now
    while not bench.events(events.HandleRefused):
        bench.refuse(1011, "Internal error encountered.")
        if not bench.events(events.HandleRefused):
            bench.redial()
    assert Policy().first_connect_deadline / 2 <= bench.now - start < Policy().first_connect_deadline
    bench.resume()
    assert bench.bound_with is None
    assert bench.engine.state is State.LIVE


def test_a_generic_1007_at_bind_costs_the_handle_and_without_one_it_is_the_end() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.cut()
    bench.redial()
    bench.refuse(1007, "Request contains an invalid argument.")
    bench.redial()
    bench.refuse(1007, "Request contains an invalid argument.")
    error = bench.error
    assert isinstance(error, SessionLost)
    assert error.close_code == 1007
    assert "trying again would not help" in str(error)


def test_a_message_that_the_service_refuses_twice_is_the_end() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.asks("poison")
    bench.cut(1007, "Request contains an invalid argument.")
    bench.resume()
    bench.cut(1007, "Request contains an invalid argument.")
    assert isinstance(bench.error, SessionLost)
    assert bench.error.unsent_messages == 1


# ---------------------------------------------------------------------- backoff


def test_a_service_that_accepts_and_drops_gets_ten_dials_a_minute_and_then_one_error() -> None:
    """G5."""
    bench = Bench()
    bench.connect()
    bench.asks("q1")
    bench.notes("c1")
    dialled: list[float] = [bench.now]
    while bench.engine.state is not State.LOST:
        bench.cut(1011, "Internal error encountered.")
        if bench.engine.state is State.LOST:
            break
        while bench.engine.state is State.WAITING:
            bench.tick()
        if bench.engine.state is State.LOST:
            break
        dialled.append(bench.now)
        bench.bind()
    assert max(sum(start <= at < start + 60 for at in dialled) for start in dialled) <= 10
    error = bench.error
    assert isinstance(error, SessionLost)
    assert 300 <= error.elapsed < 331
    assert error.unsent_messages >= 1
    assert "raise Policy.max_outage" in str(error)


def test_the_outage_ends_the_session_while_it_waits() -> None:
    bench = Bench(policy=Policy(max_outage=20.0))
    bench.connect()
    anchored(bench)
    bench.cut()
    failure = Failure(phase=Phase.DIAL, side=Side.NOBODY, reason="down")
    while bench.engine.state is not State.LOST:
        if bench.engine.state is State.DIALING:
            bench.feed(inputs.DialFailed(bench.connection, failure))
        bench.tick()
    assert isinstance(bench.error, SessionLost)
    assert bench.error.elapsed == pytest.approx(20.0)


def test_an_outage_that_ends_while_a_connection_is_live_waits_for_its_proof() -> None:
    bench = Bench(policy=Policy(max_outage=20.0))
    bench.connect()
    bench.asks("q1")
    bench.cut()
    bench.resume()
    bench.tick(21.0)
    assert bench.engine.state is State.LIVE
    bench.cut(1011)
    bench.tick()
    assert isinstance(bench.error, SessionLost)


def test_a_connection_that_stayed_up_has_proved_itself() -> None:
    bench = Bench()
    bench.connect()
    for _ in range(3):
        bench.cut(1011)
        bench.resume()
    assert bench.events(events.ReconnectScheduled)[-1].attempt > 2
    bench.server({"usageMetadata": {"totalTokenCount": 1}})
    bench.tick(Policy().proven_after + 1)
    bench.cut(1011)
    assert bench.events(events.ReconnectScheduled)[-1].attempt == 1


def test_an_error_goes_once_the_next_connection_is_proven() -> None:
    class Loss(OSError):
        """It holds on to the connection that it ended."""

    bench = Bench()
    bench.connect()
    error = Loss()
    gone = weakref.ref(error)
    bench.cut(error=error)
    del error
    bench.resume()
    assert gone() is not None
    bench.tick(Policy().proven_after + 1)
    assert gone() is None


def test_a_hint_of_the_service_is_obeyed() -> None:
    bench = Bench()
    bench.connect()
    bench.cut()
    bench.redial()
    failure = Failure(phase=Phase.DIAL, side=Side.THEY, status=429, retry_after=17.0)
    bench.feed(inputs.DialFailed(bench.connection, failure))
    assert bench.events(events.ReconnectScheduled)[-1].delay == 17.0


# ---------------------------------------------------------------------- goAway and moves


def test_go_away_in_mid_answer_waits_for_the_turn_and_its_handle() -> None:
    bench = Bench(policy=Policy(warm_dial=False))
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    bench.says("half ")
    bench.goes_away("10s")
    assert bench.engine.state is State.DRAINING
    bench.says("answer")
    bench.completes()
    assert bench.engine.state is State.DRAINING
    bench.update("h1")
    assert bench.engine.state is State.MOVING
    assert bench.done(actions.CloseConnection)[0].connection == 1
    assert bench.connection == 1, "nothing is dialled before the old connection is closed"
    bench.closes()
    bench.bind()
    assert bench.bound_with == "h1"
    assert [frame for frame in bench.shown if "interrupted" in json.dumps(frame)] == []
    assert bench.events(events.Resumed)[0].planned is True
    moved = bench.events(events.Moving)[0]
    assert (moved.quiet, moved.cause) == (True, "goAway")
    assert bench.engine.stats.moves == 1


def test_the_deadline_beats_everything_and_the_turn_is_cut() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    bench.says("half")
    assert bench.shown
    bench.goes_away("9s")
    started = bench.now
    bench.tick(6.0)
    assert bench.now == started + 6.0
    assert bench.engine.state is State.MOVING
    assert bench.shown == [INTERRUPTED]
    bench.server(said("too late"), 1)
    assert bench.shown == []


def test_the_next_connection_is_dialled_ahead_and_bound_late() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    bench.goes_away("30s")
    bench.tick(0.35 * 30)
    assert bench.connection == 2
    bench.feed(inputs.Dialed(2))
    assert bench.written(2) == []
    bench.says("a1")
    bench.completes()
    bench.update("h1")
    assert bench.written(2) == []
    bench.closes()
    assert bench.bound_with == "h1"
    assert len(bench.done(actions.OpenConnection)) == 2


def test_a_warm_dial_still_under_way_is_waited_for() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    bench.goes_away("30s")
    bench.tick(0.35 * 30)
    bench.says("a1")
    bench.completes()
    bench.update("h1")
    assert bench.engine.state is State.DRAINING, "the old connection is left when the next one is there"
    bench.tick(20.0 - 0.35 * 30)
    bench.closes()
    assert bench.engine.state is State.DIALING, "the deadline comes first"
    bench.bind(2)
    assert bench.bound_with == "h1"


def test_a_warm_connection_that_opens_while_the_old_one_closes_is_bound_after_that() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.goes_away("30s")
    bench.tick(0.35 * 30)
    bench.tick(20.0 - 0.35 * 30)
    assert bench.engine.state is State.MOVING
    bench.feed(inputs.Dialed(2))
    assert bench.written(2) == []
    bench.closes()
    assert bench.bound_with == "h0"


def test_a_warm_dial_that_fails_while_the_old_connection_closes_is_repeated_after_that() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.goes_away("30s")
    bench.tick(20.0)
    assert (bench.engine.state, bench.connection) == (State.MOVING, 2)
    bench.feed(inputs.DialFailed(2, Failure(phase=Phase.DIAL, side=Side.NOBODY)))
    assert bench.connection == 2
    bench.closes()
    assert bench.connection == 3


@pytest.mark.parametrize("how", ["fails", "hangs", "closes"])
def test_a_warm_dial_that_fails_costs_nothing(how: str) -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    bench.goes_away("40s")
    bench.tick(14.0)
    failure = Failure(phase=Phase.DIAL, side=Side.NOBODY)
    if how == "fails":
        bench.feed(inputs.DialFailed(2, failure))
    elif how == "hangs":
        bench.says("a")
        bench.tick(10.0)
        assert bench.done(actions.AbortConnection)[0].connection == 2
    else:
        bench.feed(inputs.Dialed(2))
        bench.feed(inputs.ConnectionEnded(2, failure))
    bench.completes()
    bench.update("h1")
    assert (bench.engine.state, bench.connection) == (State.DRAINING, 2)
    bench.tick(Policy().delay_base / 2)
    assert (bench.engine.state, bench.connection) == (State.DRAINING, 3)
    bench.feed(inputs.Dialed(3))
    bench.closes()
    assert bench.bound_with == "h1"
    assert bench.events(events.ConnectionLost) == []


def test_without_warm_dial_the_move_is_cold() -> None:
    bench = Bench(policy=Policy(warm_dial=False))
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    bench.goes_away("30s")
    bench.tick(15.0)
    assert bench.connection == 1


def test_a_quiet_session_that_does_not_dial_ahead_moves_at_once() -> None:
    bench = Bench(policy=Policy(warm_dial=False))
    bench.connect()
    anchored(bench)
    bench.goes_away("30s")
    assert bench.engine.state is State.MOVING


def test_a_quiet_session_moves_when_the_next_connection_is_there() -> None:
    """G7: sessions that are told to go at once dial at moments of their own."""
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.goes_away("30s")
    bench.tick(0.35 * 30 - 1)
    assert (bench.engine.state, bench.connection) == (State.DRAINING, 1)
    bench.tick(1.0)
    assert (bench.engine.state, bench.connection) == (State.DRAINING, 2)
    bench.feed(inputs.Dialed(2))
    assert bench.engine.state is State.MOVING
    bench.closes()
    assert bench.bound_with == "h0"


def test_dials_ahead_that_fail_back_off_until_the_deadline_moves_the_session() -> None:
    """The connection that it has is good until then; one of the ten dials of a minute is left for the move."""
    bench = Bench(random=lambda: 0.01)
    bench.connect()
    anchored(bench)
    bench.goes_away("60s")
    begun, dials = bench.now, list[float]()
    while bench.engine.state is State.DRAINING:
        bench.tick()
        if bench.connection > len(dials) + 1:
            dials.append(bench.now)
            bench.says("on")  # what comes meanwhile does not make it leave
            bench.feed(inputs.DialFailed(bench.connection, Failure(phase=Phase.DIAL, side=Side.NOBODY)))
        bench.feed(inputs.PongReceived(1))
    assert bench.now - begun == pytest.approx(50.0)
    assert len(dials) == 9
    gaps = [later - earlier for earlier, later in pairwise(dials)]
    assert gaps == pytest.approx([min(0.01 * Policy().delay_base * 2**n, 0.01 * Policy().delay_cap) for n in range(8)])
    bench.closes()
    assert bench.connection == 11
    bench.bind()
    assert bench.bound_with == "h0"


def test_a_hint_that_a_dial_ahead_is_given_is_obeyed() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.goes_away("60s")
    bench.tick(0.35 * 60)
    refused = Failure(phase=Phase.DIAL, side=Side.THEY, status=503, retry_after=7.0)
    bench.feed(inputs.DialFailed(2, refused))
    bench.tick(6.9)
    assert bench.connection == 2
    bench.tick(0.1)
    assert bench.connection == 3


def test_a_handle_that_does_not_come_is_waited_for_two_seconds() -> None:
    bench = Bench(policy=Policy(warm_dial=False))
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    bench.says("a1")
    bench.completes()
    bench.goes_away("30s")
    assert bench.engine.state is State.DRAINING
    bench.tick(Policy().handle_wait)
    assert bench.engine.state is State.MOVING


def test_without_any_handle_the_deadline_is_waited_for() -> None:
    bench = Bench()
    bench.connect()
    bench.asks("q1")
    bench.goes_away("30s")
    bench.says("a1")
    bench.completes()
    bench.tick(5.0)
    assert bench.engine.state is State.DRAINING
    bench.tick(15.0)
    assert bench.engine.state is State.MOVING
    assert bench.events(events.Moving)[0].quiet is False


def test_a_second_go_away_may_only_shorten_the_time() -> None:
    bench = Bench()
    bench.connect()
    bench.asks("q1")
    bench.goes_away("30s")
    bench.goes_away("60s")
    assert bench.events(events.GoAwayReceived)[1].move_within == 20.0
    bench.goes_away(None)
    assert bench.events(events.GoAwayReceived)[2].move_within == pytest.approx(10 - 10 / 3)


def test_go_away_from_a_connection_that_proved_nothing_counts_as_a_failure() -> None:
    """Right after connect, goAway is a failure."""
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.cut()
    for _ in range(5):
        bench.resume()
        bench.goes_away("10s")
        while bench.engine.state is State.DRAINING:
            bench.tick()
        bench.closes()
        assert bench.engine.state is State.WAITING
    attempts = [scheduled.attempt for scheduled in bench.events(events.ReconnectScheduled)]
    assert attempts == sorted(set(attempts))


def test_there_is_one_planned_move_for_each_handle() -> None:
    """A service that says goAway to every new connection is not stormed: the deadline, or a new handle, is waited for."""
    bench = Bench(policy=Policy(warm_dial=False))
    bench.connect()
    anchored(bench)
    bench.goes_away("30s")
    bench.closes()
    bench.bind()
    bench.goes_away("30s")
    assert bench.engine.state is State.DRAINING
    anchored(bench, "q1", "h1")
    assert bench.engine.state is State.MOVING
    assert bench.events(events.Moving)[-1].quiet is True


def test_a_connection_that_proves_itself_while_it_drains_moves_after_all() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.cut()
    bench.resume()
    bench.goes_away("600s")
    bench.tick(Policy().proven_after - 1)
    assert bench.engine.state is State.DRAINING
    bench.tick(1.0)
    assert bench.engine.state is State.MOVING


@pytest.mark.parametrize("time_left", ["0s", "5s", None])
@pytest.mark.parametrize("times", [1, 2])
def test_a_storm_of_go_aways_is_no_hot_loop_and_ends_with_one_error(time_left: str | None, times: int) -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    dials: list[float] = []
    while bench.engine.state is not State.LOST:
        if bench.engine.state is State.DIALING:
            dials.append(bench.now)
            bench.bind()
        if bench.engine.state is State.LIVE:
            for _ in range(times):
                bench.goes_away(time_left)
        if bench.engine.state is State.MOVING:
            bench.closes()
        bench.tick()
    assert isinstance(bench.error, SessionLost)
    for at in dials:
        assert sum(at <= other < at + 60.0 for other in dials) <= 10
    assert bench.bound_with == "h0", "the handle was not to blame"


def test_an_old_connection_that_does_not_close_is_aborted() -> None:
    bench = Bench(policy=Policy(warm_dial=False))
    bench.connect()
    anchored(bench)
    bench.goes_away("30s")
    bench.tick(Policy().close_wait)
    assert bench.done(actions.AbortConnection)[0].connection == 1
    assert bench.engine.state is State.DIALING


def test_a_loss_while_draining_uses_the_warm_connection() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    bench.goes_away("30s")
    bench.tick(0.35 * 30)
    bench.feed(inputs.Dialed(2))
    bench.cut()
    bench.tick(1.0)
    assert bench.bound_with == "h0"
    assert bench.connection == 2


def test_the_app_can_force_a_reconnect_and_it_is_ignored_while_one_is_under_way() -> None:
    bench = Bench()
    bench.start()
    bench.feed(inputs.ForceReconnect())
    assert bench.engine.state is State.DIALING
    bench.opens()
    bench.feed(inputs.ForceReconnect())
    assert bench.engine.state is State.BINDING
    bench.server({"setupComplete": {}})
    anchored(bench)
    bench.feed(inputs.ForceReconnect())
    assert bench.engine.state is State.MOVING
    bench.feed(inputs.ForceReconnect())
    assert len(bench.done(actions.OpenConnection)) == 1
    moved = bench.events(events.Moving)[0]
    assert (moved.quiet, moved.cause) == (False, "request")


def test_a_forced_reconnect_leaves_a_draining_connection_at_once() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    bench.goes_away("30s")
    bench.feed(inputs.ForceReconnect())
    assert bench.engine.state is State.MOVING


def test_a_forced_reconnect_cuts_the_wait_short_but_not_the_window_of_ten_dials() -> None:
    """G5: whatever the app does, ten dials in 60 s."""
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.cut()
    unreachable = Failure(phase=Phase.DIAL, side=Side.NOBODY, reason="unreachable")
    start = bench.now
    for _ in range(9):
        assert bench.engine.state is State.WAITING
        bench.feed(inputs.ForceReconnect())
        assert bench.engine.wake_at == start
        bench.tick()
        bench.feed(inputs.DialFailed(bench.connection, unreachable))
    bench.feed(inputs.ForceReconnect())
    bench.tick()
    bench.feed(inputs.DialFailed(bench.connection, unreachable))
    bench.feed(inputs.ForceReconnect())
    assert bench.engine.wake_at == start + 60.0


def test_go_away_is_an_event_and_is_shown_only_if_wished() -> None:
    bench = Bench()
    bench.connect()
    bench.goes_away("30s")
    assert bench.shown == []
    assert len(bench.engine.inbox) == 0
    wished = Bench(policy=Policy(deliver_go_away=True))
    wished.connect()
    wished.goes_away("30s")
    assert wished.shown == [{"goAway": {"timeLeft": "30s"}}]


# ---------------------------------------------------------------------- signs of life


def test_silence_while_an_answer_is_expected_is_pinged_and_then_given_up() -> None:
    bench = Bench()
    bench.connect()
    bench.tick(25.0)
    bench.asks("q1")
    started = bench.now
    bench.tick(10.0)
    assert (bench.now - started, len(bench.done(actions.SendPing))) == (10.0, 1)
    bench.tick(19.0)
    assert bench.events(events.ConnectionLost) == []
    bench.tick(1.0)
    assert bench.events(events.ConnectionLost)[0].reason == "no answer to a ping"
    assert bench.events(events.ConnectionLost)[0].ended_by == "we"
    assert bench.done(actions.AbortConnection)


def test_a_model_that_thinks_for_minutes_is_healthy_as_long_as_it_answers_pings() -> None:
    bench = Bench()
    bench.connect()
    bench.asks("q1")
    for _ in range(30):
        bench.tick()
        if bench.done(actions.SendPing):
            bench.now += 0.1
            bench.feed(inputs.PongReceived(1))
    assert bench.events(events.ConnectionLost) == []


def thinks(bench: Bench, seconds: float, *, pong_after: float | None) -> None:
    """The service sends a handle every five seconds, and answers pings so late; None: what is sent to it goes nowhere."""
    end = bench.now + seconds
    pings, pong_at = len(bench.done(actions.SendPing)), math.inf
    while bench.now < end and not bench.done(actions.AbortConnection):
        bench.tick(5.0)
        if pong_after is not None and len(bench.done(actions.SendPing)) > pings:
            pings, pong_at = pings + 1, bench.now + pong_after
        if bench.now >= pong_at:
            pong_at = math.inf
            bench.feed(inputs.PongReceived(1))
        bench.update(f"h{bench.now}")


def test_a_question_that_nobody_gets_is_noticed_whatever_else_comes() -> None:
    """A hole in the way to the service, behind something that acknowledges TCP: only an answer shows that it is there."""
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    asked = bench.now
    thinks(bench, 600.0, pong_after=None)
    assert bench.events(events.ConnectionLost)[0].reason == "no answer to a ping"
    assert len(bench.done(actions.SendPing)) == 1
    assert bench.now - asked <= Policy().ping_idle + Policy().abort_idle + 5.0
    assert bench.now - asked > Policy().abort_idle


def test_slow_pongs_and_handles_that_come_meanwhile_are_healthy() -> None:
    """Pongs of 30 s were seen on connections that were well."""
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    thinks(bench, 600.0, pong_after=30.0)
    assert bench.events(events.ConnectionLost) == []
    assert 5 < len(bench.done(actions.SendPing)) <= 20


def test_an_answer_is_as_good_as_a_pong() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    thinks(bench, 60.0, pong_after=None)
    bench.says("on")
    thinks(bench, 85.0, pong_after=None)
    assert bench.events(events.ConnectionLost) == []


def test_without_expectation_patience_is_longer() -> None:
    bench = Bench()
    bench.connect()
    bench.tick(Policy().proven_after - 1)
    assert bench.done(actions.SendPing) == []
    bench.tick(2.0)
    assert len(bench.done(actions.SendPing)) == 1
    bench.feed(inputs.FrameUnreadable(1, 5, "junk"))
    bench.tick(30.0)
    assert bench.events(events.ConnectionLost) == []
    assert bench.events(events.FrameDiscarded)[0].size == 5


def test_a_proactive_model_that_stays_silent_is_left_alone() -> None:
    bench = Bench(setup={"proactivity": {"proactiveAudio": True}})
    bench.connect()
    bench.asks("q1")
    bench.tick(29.0)
    assert bench.done(actions.SendPing) == []


def test_while_a_tool_runs_nothing_is_expected() -> None:
    bench = Bench()
    bench.connect()
    bench.asks("q1")
    bench.calls(("c1", "slow", {}))
    bench.tick(29.0)
    assert bench.done(actions.SendPing) == []


# ---------------------------------------------------------------------- the end


def test_close_keeps_the_handle_and_end_forgets_it() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.feed(inputs.Close())
    assert bench.error is None
    assert bench.done(actions.CloseConnection)[0].connection == 1
    assert bench.done(actions.ForgetHandle) == []
    assert bench.done(actions.SaveHandle)[0].record.handle == ResumptionHandle("h0")
    other = Bench()
    other.connect()
    other.feed(inputs.Close(forget=True))
    assert other.done(actions.ForgetHandle)


def test_what_was_never_sent_is_told_at_the_end() -> None:
    bench = Bench()
    bench.connect()
    bench.asks("sent")
    bench.cut()
    bench.asks("never sent")
    bench.sends(audio(0.5))
    bench.feed(inputs.Close())
    assert bench.events(events.SessionEnded) == [events.SessionEnded(error=None, unsent_messages=1, unsent_audio=0.5)]


def test_close_in_every_state_leaves_no_connection_and_no_timer() -> None:
    idle = Bench()
    idle.feed(inputs.Close())
    assert idle.engine.state is State.CLOSED
    dialing = Bench()
    dialing.start()
    dialing.feed(inputs.Close())
    assert dialing.done(actions.AbortConnection)
    warm = Bench()
    warm.connect()
    anchored(warm)
    warm.asks("q1")
    warm.goes_away("30s")
    warm.tick(0.35 * 30)
    warm.feed(inputs.Close())
    assert [action.connection for action in warm.done(actions.CloseConnection)] == [1]
    assert [action.connection for action in warm.done(actions.AbortConnection)] == [2]
    moving = Bench()
    moving.connect()
    anchored(moving)
    moving.goes_away("30s")
    moving.feed(inputs.Close())
    assert len(moving.done(actions.CloseConnection)) == 1, "it is being closed already"
    for bench in (idle, dialing, warm, moving):
        assert bench.engine.wake_at is None
        assert bench.events(events.SessionEnded) == [events.SessionEnded(error=None)]


def test_after_the_end_sending_is_an_error_and_everything_else_is_ignored() -> None:
    bench = Bench()
    bench.connect()
    bench.feed(inputs.Close())
    with pytest.raises(SessionClosed):
        bench.asks("late")
    with pytest.raises(SessionClosed):
        bench.feed(inputs.ForceReconnect())
    assert bench.feed(inputs.Tick()) == []
    assert bench.feed(inputs.Close()) == []


def test_the_transport_holds_a_few_frames_and_the_rest_waits() -> None:
    bench = Bench()
    bench.connect()
    bench.auto_written = False
    for number in range(40):
        bench.notes(f"c{number}")
    assert len(bench.wire) - 1 == 16
    bench.feed(inputs.Written(1))
    assert len(bench.wire) - 1 == 17


def test_dropped_media_are_reported_once_a_second() -> None:
    bench = Bench(policy=Policy(audio_seconds=1.0))
    bench.start()
    for _ in range(15):
        bench.sends(audio(0.1))
    bench.sends({"realtime_input": {"video": {"data": "AAAA", "mime_type": "image/jpeg"}}})
    bench.sends({"realtime_input": {"video": {"data": "BBBB", "mime_type": "image/jpeg"}}})
    bench.tick(0.0)
    bench.tick(2.0)
    assert sum(event.frames for event in bench.events(events.AudioDropped)) == 5
    assert sum(event.frames for event in bench.events(events.VideoDropped)) == 1
    bench.bind()
    assert [frame["realtime_input"].get("video", {}).get("data") for frame in bench.wire[1:]][-1] == "BBBB"
    assert len(bench.wire) == 1 + 10 + 1


def test_media_dropped_within_the_last_second_are_reported_with_the_end() -> None:
    bench = Bench(policy=Policy(audio_seconds=1.0))
    bench.start()
    for _ in range(12):
        bench.sends(audio(0.1))
    bench.tick(0.0)
    bench.sends(audio(0.1))
    bench.feed(inputs.Close())
    assert sum(event.frames for event in bench.events(events.AudioDropped)) == 3


def test_room_is_asked_for_before_a_message_is_sent() -> None:
    bench = Bench(policy=Policy(control_messages=2, control_bytes=1000))
    bench.start()
    message = decode_client(json.dumps(content("q")))
    engine = bench.engine
    assert engine.has_room(message)
    bench.asks("1")
    bench.asks("2")
    assert not engine.has_room(message)
    assert engine.has_room(decode_client(json.dumps(audio(1.0))))
    assert "control_messages" in str(engine.buffer_full(message))
    huge = decode_client(json.dumps(content("x" * 1000)))
    assert not engine.fits(huge)
    assert engine.fits(message)
    assert "control_bytes" in str(engine.buffer_full(huge))
    loud = decode_client(json.dumps(audio(100.0)))
    frame = decode_client(json.dumps({"realtime_input": {"video": {"data": "A" * 2000, "mime_type": "image/png"}}}))
    assert engine.fits(frame), "only the newest is kept, whatever its size"
    assert "audio_bytes" in str(Bench(policy=Policy(audio_bytes=10)).engine.buffer_full(loud))


def test_the_same_inputs_give_the_same_outputs() -> None:
    """I12."""

    def run() -> list[str]:
        bench = Bench(transparent=True)
        bench.connect()
        anchored(bench, index=1)
        bench.asks("q1")
        bench.says("half")
        bench.cut(1011, "Internal error encountered.")
        bench.resume()
        return [repr(action) for action in bench.actions]

    assert run() == run()


# ---------------------------------------------------------------------- a handle is refused


def refuse_handle(bench: Bench) -> None:
    """The connection is cut, the handle refused, and a fresh session bound."""
    bench.cut()
    bench.redial()
    bench.refuse(1007, "Invalid session handle.")
    bench.resume()
    assert bench.bound_with is None
    assert len(bench.events(events.HandleRefused)) == 1


def replayed(bench: Bench) -> list[str]:
    return [turn["parts"][0]["text"] for turn in bench.wire[1]["clientContent"]["turns"]]


def test_a_refused_handle_keeps_history_and_the_written_question_that_is_open() -> None:
    """RULES 4, 6: fresh, with the question live; the half answer is flushed, the whole one comes in the same loop."""
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.notes("c1")
    bench.asks("q1")
    bench.says("half")
    assert bench.shown == [said("half")]
    refuse_handle(bench)
    assert replayed(bench) == ["q0", "answer to q0"]
    assert bench.wire[2:] == [content("c1", turn_complete=False), content("q1")]
    bench.says("a1")
    bench.completes()
    assert bench.shown == [INTERRUPTED, said("a1"), TURN_COMPLETE]
    bench.update("h1")
    bench.cut()
    bench.resume()
    assert (bench.bound_with, len(bench.wire)) == ("h1", 1)


def test_a_refused_handle_keeps_what_was_answered_and_not_anchored_as_history() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    bench.says("a1")
    bench.completes()
    bench.asks("q2")
    refuse_handle(bench)
    assert replayed(bench) == ["q0", "answer to q0", "q1", "a1"]
    assert bench.wire[2:] == [content("q2")]


def test_a_refused_handle_keeps_the_spoken_question_that_is_open() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.speaks(2.0)
    bench.says("half")
    assert bench.shown
    refuse_handle(bench)
    assert replayed(bench) == ["q0", "answer to q0"]
    assert bench.wire[2:] == [audio(0.1)] * 20
    bench.says("whole")
    bench.completes()
    assert bench.shown == [INTERRUPTED, said("whole"), TURN_COMPLETE]


def test_a_refused_handle_keeps_the_call_that_the_app_is_working_on() -> None:
    """RULES 8: the question goes live, the call that comes of it is the one that runs."""
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    bench.calls(("c1", "look", {}))
    assert len(bench.shown) == 1
    refuse_handle(bench)
    assert bench.wire[2:] == [content("q1")]
    bench.responds("c1", "look", "found")
    assert bench.wire[3:] == [], "the new session does not know that call"
    bench.calls(("c9", "look", {}))
    assert bench.shown == []
    (response,) = bench.wire[3:]
    (given,) = next(iter(response.values()))["functionResponses"]
    assert (given["id"], given["response"]) == ("c9", {"output": "found"})


def test_a_second_refusal_while_the_fresh_start_is_made_loses_nothing_either() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    bench.cut()
    bench.redial()
    bench.refuse(1007, "Invalid session handle.")
    bench.redial()
    bench.opens()
    bench.cut(1006, phase=Phase.BIND)
    bench.resume()
    assert replayed(bench) == ["q0", "answer to q0"]
    assert bench.wire[2:] == [content("q1")]


def test_with_resumption_off_a_handle_that_comes_all_the_same_is_nothing() -> None:
    bench = Bench(policy=Policy(resumption="off"))
    bench.connect()
    for number in (0, 1):
        anchored(bench, f"q{number}", f"h{number}")
    assert bench.done(actions.SaveHandle) == bench.events(events.HandleReceived) == []
    bench.cut()
    bench.resume()
    assert "sessionResumption" not in bench.wire[0]["setup"]
    assert replayed(bench) == ["q0", "answer to q0", "q1", "answer to q1"]
    assert bench.events(events.FreshStarted)


def test_with_resumption_off_a_planned_move_is_a_fresh_start_at_a_quiet_point() -> None:
    bench = Bench(policy=Policy(resumption="off"))
    bench.connect()
    bench.asks("q0")
    bench.says("a0")
    bench.goes_away("30s")
    assert bench.engine.state is State.DRAINING
    bench.completes()
    bench.tick(Policy().handle_wait)
    assert bench.engine.state is State.MOVING
    bench.closes()
    bench.bind()
    assert replayed(bench) == ["q0", "a0"]
    assert bench.wire[2:] == []


# --- what cannot be read (the search for more of it is tests/fuzz) --------------------------------------------------


def garbage(bench: Bench, times: int) -> None:
    for _ in range(times):
        bench.feed(inputs.FrameUnreadable(bench.live, 7, "is not JSON"))


def test_a_connection_that_brings_nothing_but_garbage_is_left_for_another() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    garbage(bench, 15)
    bench.says("still there")
    garbage(bench, 15)
    assert bench.events(events.ConnectionLost) == []
    garbage(bench, 1)
    assert len(bench.events(events.FrameDiscarded)) == 31
    assert "cannot be read" in bench.events(events.ConnectionLost)[0].reason
    assert bench.done(actions.AbortConnection) == [actions.AbortConnection(1)]
    garbage(bench, 1)
    bench.resume()
    assert bench.bound_with is not None
    assert len(bench.events(events.FrameDiscarded)) == 31


def test_garbage_in_place_of_setup_complete_is_not_waited_out() -> None:
    bench = Bench()
    bench.start()
    bench.opens()
    garbage(bench, 16)
    assert bench.events(events.ConnectionLost)[0].phase == "bind"


def test_a_service_that_never_says_anything_else_is_given_up_without_a_hot_loop() -> None:
    bench = Bench()
    bench.connect()
    garbage(bench, 16)
    dials = [bench.now]
    for _ in range(200):
        if bench.done(actions.Finish):
            break
        if bench.connection > len(dials):
            dials.append(bench.now)
            bench.opens()
            bench.server({"setupComplete": {}})
            garbage(bench, 16)
        bench.tick()
    assert isinstance(bench.error, SessionLost)
    assert sum(at - dials[0] <= 60.0 for at in dials) <= 10


def test_garbage_while_the_connection_is_being_closed_changes_nothing() -> None:
    bench = Bench()
    bench.connect()
    bench.feed(inputs.ForceReconnect())
    before = len(bench.actions)
    garbage(bench, 20)
    assert len(bench.actions) == before


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="how deep C code may go does not depend on its callers there")
def test_a_frame_that_is_too_deep_to_be_edited_is_discarded() -> None:
    """It can be read, and some calls deeper, where a message is taken out of it, it cannot."""
    bench = Bench()
    bench.connect()
    for depth in range(800, 1000):
        frame = b'{"goAway":{},"new":' + b"[" * depth + b"]" * depth + b"}"
        try:
            message = decode_server(frame)
        except RemoteProtocolError:
            break
        bench.feed(inputs.FrameReceived(bench.live, message))
        if bench.events(events.FrameDiscarded):
            break
    assert bench.events(events.FrameDiscarded)
    assert bench.events(events.GoAwayReceived)
