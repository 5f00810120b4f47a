"""What looks after a live connection: dead handles, sockets that are not read, frozen processes, long silences."""

from __future__ import annotations

from typing import Any

import pytest

from resumekit.core import actions, events, inputs
from resumekit.core.failures import Failure, Phase, Side
from resumekit.core.policy import Policy
from resumekit.core.state import State
from tests.core.bench import INTERRUPTED, TURN_COMPLETE, Bench, audio, content, said
from tests.core.test_engine import anchored

PATIENCE = Policy().progress_watchdog


def resumed(**bench: Any) -> Bench:
    """A session that was cut after an anchored turn, and has resumed with one question that is not answered."""
    made = Bench(**bench)
    made.connect()
    anchored(made, index=1 if bench.get("transparent") else None)
    made.asks("q1")
    made.cut()
    made.resume()
    return made


def mute(bench: Bench) -> None:
    """The service says nothing, but for pongs, until the engine has enough of it."""
    before = bench.connection
    while bench.connection == before:
        tick_and_pong(bench)


def tick_and_pong(bench: Bench) -> None:
    """Let time pass to the next wake-up; whatever is pinged then is answered."""
    pings = len(bench.done(actions.SendPing))
    bench.tick()
    for _ in bench.done(actions.SendPing)[pings:]:
        bench.feed(inputs.PongReceived(bench.live))


# ---------------------------------------------------------------------- a handle that is accepted and dead


@pytest.mark.parametrize("transparent", [False, True])
def test_a_mute_handle_is_tried_once_more_and_then_never_again(transparent: bool) -> None:
    """RULES 12."""
    bench = resumed(transparent=transparent)
    bound = bench.now
    mute(bench)
    assert bench.now >= bound + PATIENCE
    assert bench.events(events.ConnectionLost)[-1].reason == "no answer on a resumed connection"
    bench.bind()
    assert bench.bound_with == "h0", "once more with the same handle"
    assert bench.wire[1:] == [content("q1")]
    mute(bench)
    refused = bench.events(events.HandleRefused)
    assert [(event.poisoned, "h0" in event.digest) for event in refused] == [(True, False)]
    assert [action.record.handle.reveal() for action in bench.done(actions.PoisonHandle)] == ["h0"]
    assert bench.done(actions.ForgetHandle) == []
    bench.bind()
    assert bench.bound_with is None
    replay, question = bench.wire[1:]
    assert [turn["parts"][0]["text"] for turn in replay["clientContent"]["turns"]] == ["q0", "answer to q0"]
    assert question == content("q1"), "the unanswered question goes live"


def test_a_poisoned_handle_is_not_used_though_the_service_offers_it_again() -> None:
    bench = resumed()
    mute(bench)
    bench.bind()
    mute(bench)
    bench.bind()
    bench.says("a1")
    bench.completes()
    bench.update("h0")
    bench.cut()
    bench.resume()
    assert bench.bound_with is None
    bench.update("h1")
    bench.cut()
    bench.resume()
    assert bench.bound_with is None, "the turn that runs again is open"
    bench.says("a1")
    bench.completes()
    bench.update("h1")
    bench.cut()
    bench.resume()
    assert bench.bound_with == "h1"


def test_an_answered_turn_in_between_gives_the_handle_its_second_chance_again() -> None:
    bench = resumed()
    mute(bench)
    bench.bind()
    bench.says("a1")
    bench.completes()
    bench.asks("q2")
    mute_for(bench, PATIENCE * 2)
    assert bench.engine.state is State.LIVE, "a turn was completed: the handle is good"
    bench.cut()
    bench.resume()
    mute(bench)
    bench.bind()
    assert bench.bound_with == "h0"


def test_whatever_the_service_says_to_the_turn_winds_the_watchdog_up_again() -> None:
    bench = resumed()
    for _ in range(5):
        bench.tick(PATIENCE - 1)
        bench.says("word ")
    bench.completes()
    assert len(bench.done(actions.OpenConnection)) == 2


def test_usage_reports_and_handles_are_no_progress() -> None:
    bench = resumed()
    bench.tick(PATIENCE - 1)
    bench.update("h1")
    bench.server({"usageMetadata": {"totalTokenCount": 1}})
    bench.tick(1.0)
    for _ in bench.done(actions.SendPing):
        bench.feed(inputs.PongReceived(bench.live))
    assert bench.events(events.ConnectionLost)[-1].reason == "no answer on a resumed connection"


def test_without_a_question_or_before_the_first_cut_nobody_is_watched() -> None:
    bench = Bench()
    bench.connect()
    bench.asks("q0")
    mute_for(bench, 60.0)
    assert bench.engine.state is State.LIVE, "on the first connection, thinking for a minute is healthy"
    bench.says("a0")
    bench.completes()
    bench.update("h0")
    bench.cut()
    bench.resume()
    mute_for(bench, 600.0)
    assert bench.engine.state is State.LIVE, "nothing was asked"
    bench.asks("q1")
    mute(bench)
    assert bench.events(events.ConnectionLost)[-1].reason == "no answer on a resumed connection"


def test_a_fresh_session_is_not_watched() -> None:
    bench = resumed(policy=Policy(resumption="off"))
    mute_for(bench, 60.0)
    assert bench.engine.state is State.LIVE


def mute_for(bench: Bench, seconds: float) -> None:
    """Only pings are answered."""
    end = bench.now + seconds
    while (at := bench.engine.wake_at) is not None and at <= end:
        tick_and_pong(bench)
    bench.now = end


def test_while_the_app_runs_a_tool_the_service_may_be_silent() -> None:
    bench = resumed()
    bench.calls(("c1", "look", {}))
    assert bench.shown
    mute_for(bench, 300.0)
    assert bench.engine.state is State.LIVE
    bench.responds("c1", "look", "found")
    answered = bench.now
    mute(bench)
    assert bench.now >= answered + PATIENCE, "it is wound up again by the response"


def test_a_proactive_model_may_leave_every_question_unanswered() -> None:
    bench = resumed(setup={"proactivity": {"proactiveAudio": True}})
    mute_for(bench, 300.0)
    assert bench.engine.state is State.LIVE


def test_a_spoken_question_that_was_sent_again_is_watched_too() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.speaks(2.0)
    bench.says("half an ")
    assert bench.shown
    bench.cut()
    bench.resume()
    assert len(bench.wire) == 1 + 20
    mute(bench)
    bench.bind()
    assert bench.bound_with == "h0"
    mute(bench)
    assert bench.events(events.HandleRefused)[0].poisoned
    bench.bind()
    assert bench.bound_with is None
    assert len([frame for frame in bench.wire if "realtime_input" in frame]) == 20
    bench.says("answer")
    bench.completes()
    assert bench.shown == [INTERRUPTED, said("answer"), TURN_COMPLETE]


def test_a_network_that_is_silent_is_not_taken_for_a_dead_handle() -> None:
    """Only where pongs come, and no answer, the handle is to blame."""
    bench = resumed()
    for _ in range(4):
        bench.redial()
        assert bench.events(events.ConnectionLost)[-1].reason == "no answer to a ping"
        bench.bind()
        assert bench.bound_with == "h0"
    assert bench.events(events.HandleRefused) == []


def test_a_pong_to_a_ping_from_before_the_question_does_not_blame_the_handle() -> None:
    """It tells nothing of whether the question has arrived: that may have come with the next ping only."""
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.cut()
    bench.resume()
    bench.tick(Policy().ping_idle)
    assert len(bench.done(actions.SendPing)) == 1
    bench.asks("q1")
    bench.tick(1.0)
    bench.feed(inputs.PongReceived(bench.live))
    bench.tick(PATIENCE)
    for _ in bench.done(actions.SendPing)[1:]:
        bench.feed(inputs.PongReceived(bench.live))
    assert bench.engine.state is State.LIVE
    mute(bench)
    assert bench.events(events.ConnectionLost)[-1].reason == "no answer on a resumed connection"


def test_while_a_ping_is_out_that_was_sent_since_the_question_no_other_one_is() -> None:
    bench = resumed(policy=Policy(ping_expecting=PATIENCE - 1.0))
    bench.tick(PATIENCE + 1.0)
    assert len(bench.done(actions.SendPing)) == 1
    bench.feed(inputs.PongReceived(bench.live))
    mute(bench)
    assert bench.events(events.ConnectionLost)[-1].reason == "no answer on a resumed connection"


def test_what_a_network_holds_back_is_not_held_against_the_handle() -> None:
    """The service has answered, and nothing comes for long: not the pong to the last ping either (`replay speech 16667`)."""
    bench = resumed()
    bench.server({"usageMetadata": {}})  # the connection lives, and then the network holds everything back
    bench.tick(PATIENCE + 5.0)
    assert bench.done(actions.SendPing)
    assert bench.engine.state is State.LIVE
    assert bench.shown
    bench.says("noon")
    for _ in bench.done(actions.SendPing):
        bench.feed(inputs.PongReceived(bench.live))
    assert bench.engine.state is State.LIVE
    bench.completes()
    assert bench.shown == [said("noon"), TURN_COMPLETE]
    assert len(bench.done(actions.OpenConnection)) == 2


def test_a_handle_is_dead_as_soon_as_the_last_ping_is_answered_and_nothing_else() -> None:
    bench = resumed()
    bench.server({"usageMetadata": {}})
    bench.tick(PATIENCE + 5.0)
    for _ in bench.done(actions.SendPing):
        assert bench.engine.state is State.LIVE
        bench.feed(inputs.PongReceived(bench.live))
    assert bench.events(events.ConnectionLost)[-1].reason == "no answer on a resumed connection"


def test_a_handle_that_the_service_answered_from_is_not_blamed_for_what_comes_after() -> None:
    bench = resumed()
    for _ in range(2):
        bench.says("half an ")
        mute(bench)
        bench.bind()
        assert bench.bound_with == "h0"
    assert bench.events(events.HandleRefused) == []


def test_a_spoken_question_of_which_the_buffer_lost_a_part_proves_nothing() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.speaks(2.0)
    bench.says("half an ")
    bench.cut()
    bench.speaks(29.0)
    bench.resume()
    mute_for(bench, 60.0)
    assert bench.engine.state is State.LIVE, "what is left of it may be no question any more"


def test_a_spoken_question_that_may_stand_before_what_is_resent_proves_nothing() -> None:
    """Handle-only mode keeps `audio_resend` seconds: what went before may have been the question."""
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.speaks(2.0)
    bench.speaks(20.0)
    bench.says("half an ")
    bench.cut()
    bench.resume()
    assert bench.events(events.Resumed)[-1].lost_audio > 0.0
    mute_for(bench, 60.0)
    assert bench.engine.state is State.LIVE


def test_while_the_user_speaks_on_the_service_owes_nothing() -> None:
    bench = resumed()
    bench.says("a1")
    bench.sends({"realtime_input": {"activity_start": {}}})
    mute_for(bench, 60.0)
    assert bench.engine.state is State.LIVE


def test_while_the_app_takes_nothing_a_handle_is_not_blamed() -> None:
    bench = Bench(policy=Policy(inbox_frames=3))
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    bench.cut()
    bench.resume()
    for _ in range(3):
        bench.server({"usageMetadata": {}})
    bench.tick(600.0)
    assert bench.engine.state is State.LIVE
    assert bench.done(actions.SendPing) == []


# ---------------------------------------------------------------------- a socket that is not read


def full(**policy: Any) -> Bench:
    bench = Bench(policy=Policy(inbox_frames=4, **policy))
    bench.connect()
    anchored(bench)
    for _ in range(6):
        bench.server({"usageMetadata": {}})
    return bench


def test_a_slow_consumer_is_told_of_once_and_so_is_the_end_of_it() -> None:
    bench = full()
    (slow,) = bench.events(events.SlowConsumer)
    assert (slow.frames, slow.size > 0) == (4, True)
    bench.tick(42.0)
    bench.engine.take()
    bench.feed(inputs.Tick())
    bench.server({"usageMetadata": {}})
    assert bench.events(events.ReadingResumed) == [], "the inbox opens again at half"
    assert bench.shown
    bench.feed(inputs.Tick())
    assert [event.seconds for event in bench.events(events.ReadingResumed)] == [42.0]
    assert len(bench.events(events.SlowConsumer)) == 1


def test_a_slow_app_does_not_make_a_connection_suspected() -> None:
    bench = full()
    before = len(bench.actions)
    bench.tick(3600.0)
    assert [action for action in bench.actions[before:] if not isinstance(action, actions.Notify)] == []
    assert bench.shown
    bench.tick(Policy().ping_idle)
    assert bench.done(actions.SendPing)


def test_a_go_away_that_may_have_waited_in_the_socket_leaves_less_time() -> None:
    bench = full()
    bench.asks("q1")
    bench.tick(25.0)
    assert bench.shown
    bench.feed(inputs.Tick())
    bench.goes_away("30s")
    told = bench.events(events.GoAwayReceived)[0]
    assert (told.time_left, told.move_within) == (30.0, pytest.approx(5.0 * 2 / 3))
    bench.goes_away(None)
    assert bench.events(events.GoAwayReceived)[1].move_within == 0.0


def test_a_go_away_long_after_it_has_all_the_time_that_it_names() -> None:
    bench = full()
    bench.asks("q1")
    bench.tick(25.0)
    assert bench.shown
    bench.feed(inputs.Tick())
    bench.tick(5.0)
    bench.says("word")
    bench.tick(20.0)
    bench.goes_away("30s")
    assert bench.events(events.GoAwayReceived)[0].move_within == 20.0


def test_an_app_that_takes_its_frames_during_an_outage_is_told_so() -> None:
    bench = full()
    bench.cut()
    assert bench.shown
    bench.redial()
    assert len(bench.events(events.ReadingResumed)) == 1


# ---------------------------------------------------------------------- a frozen process


def frozen(bench: Bench, seconds: float) -> None:
    """The process stood still for so long; only now the driver finds out."""
    bench.now += seconds
    bench.feed(inputs.ClockJumped(seconds))


def test_after_a_freeze_the_connection_is_suspected_until_it_shows_a_sign_of_life() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    frozen(bench, 600.0)
    assert bench.events(events.ClockJumped)[0].seconds == 600.0
    assert bench.done(actions.SendPing) == [actions.SendPing(1)]
    assert bench.engine.wake_at == bench.now + Policy().suspect_patience
    bench.feed(inputs.Tick())
    assert bench.engine.state is State.LIVE, "what ran out meanwhile proves nothing"
    bench.feed(inputs.PongReceived(1))
    bench.tick(Policy().suspect_patience)
    assert bench.engine.state is State.LIVE
    assert bench.engine.wake_at == bench.now - Policy().suspect_patience + Policy().ping_idle


def test_a_pong_that_was_under_way_before_a_freeze_is_no_sign_of_life_since() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.tick(Policy().ping_idle)
    frozen(bench, 600.0)
    assert len(bench.done(actions.SendPing)) == 2
    bench.feed(inputs.PongReceived(1))
    bench.tick(Policy().suspect_patience - 1.0)
    assert bench.engine.state is State.LIVE
    bench.tick(1.0)
    assert bench.done(actions.AbortConnection) == [actions.AbortConnection(1)]


def test_the_pong_that_counts_comes_behind_those_to_older_pings() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.tick(Policy().ping_idle)
    frozen(bench, 600.0)
    bench.feed(inputs.PongReceived(1))
    bench.feed(inputs.PongReceived(1))
    bench.tick(Policy().suspect_patience)
    assert bench.engine.state is State.LIVE


def test_bytes_that_waited_in_the_socket_are_a_sign_of_life() -> None:
    bench = Bench()
    bench.connect()
    bench.asks("q0")
    bench.tick(Policy().ping_expecting)
    assert bench.done(actions.SendPing), "a ping was out when the process froze"
    frozen(bench, 600.0)
    bench.feed(inputs.Tick())
    bench.says("a0")
    bench.tick(Policy().suspect_patience + 1)
    bench.feed(inputs.PongReceived(1))
    bench.completes()
    assert bench.shown == [said("a0"), TURN_COMPLETE]
    assert len(bench.done(actions.OpenConnection)) == 1


def test_a_connection_that_does_not_answer_after_a_freeze_is_aborted_and_its_handle_kept() -> None:
    """The service may not have noticed, so 1011 at bind is the old binding."""
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    frozen(bench, 600.0)
    bench.tick(Policy().suspect_patience)
    assert bench.done(actions.AbortConnection) == [actions.AbortConnection(1)]
    for _ in range(3):
        bench.redial()
        bench.refuse(1011, "Internal error encountered.")
    assert [lost.verdict for lost in bench.events(events.ConnectionLost)[1:]] == ["old binding"] * 3
    bench.resume()
    assert bench.bound_with == "h0"
    assert bench.wire[1:] == [content("q1")]


def test_a_go_away_deadline_that_was_missed_moves_at_once() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    bench.goes_away("30s")
    frozen(bench, 60.0)
    assert bench.engine.state is State.MOVING
    assert bench.done(actions.SendPing) == []


def test_a_go_away_deadline_that_is_still_ahead_stands() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    bench.goes_away("60s")
    deadline = bench.now + 50.0
    frozen(bench, 20.0)
    assert bench.engine.state is State.DRAINING
    bench.feed(inputs.PongReceived(1))
    bench.tick(29.0)
    assert bench.engine.state is State.DRAINING
    bench.tick(1.0)
    assert (bench.engine.state, bench.now) == (State.MOVING, deadline)


def test_a_warm_connection_is_not_trusted_after_a_freeze() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.asks("q1")
    bench.goes_away("60s")
    bench.tick(0.35 * 60)
    assert bench.connection == 2
    frozen(bench, 6.0)
    assert bench.done(actions.AbortConnection) == [actions.AbortConnection(2)]
    bench.feed(inputs.PongReceived(1))
    bench.tick(Policy().delay_base / 2)
    assert bench.connection == 3
    assert bench.engine.state is State.DRAINING


@pytest.mark.parametrize("phase", ["dial", "bind"])
def test_a_connection_that_was_being_made_gets_a_little_more_time(phase: str) -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.cut()
    bench.redial()
    if phase == "bind":
        bench.opens()
    frozen(bench, 60.0)
    bench.feed(inputs.Tick())
    assert bench.engine.state in (State.DIALING, State.BINDING)
    bench.tick(Policy().suspect_patience)
    assert bench.engine.state is State.WAITING


def test_frozen_time_does_not_count_as_outage() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    bench.cut()
    unreachable = Failure(phase=Phase.DIAL, side=Side.NOBODY, reason="unreachable")
    bench.redial()
    bench.feed(inputs.DialFailed(bench.connection, unreachable))
    frozen(bench, 3600.0)
    bench.feed(inputs.Tick())
    assert bench.engine.state is State.DIALING
    bench.feed(inputs.DialFailed(bench.connection, unreachable))
    assert bench.engine.state is State.WAITING
    bench.resume()
    assert bench.bound_with == "h0"


def test_time_that_no_timer_counted_makes_an_outage_no_longer() -> None:
    """A machine that was suspended, or whose wall clock was set: the monotonic clock stood still."""
    bench = Bench(policy=Policy(max_outage=100.0))
    bench.connect()
    anchored(bench)
    bench.cut()
    bench.redial()
    bench.feed(inputs.DialFailed(bench.connection, Failure(phase=Phase.DIAL, side=Side.NOBODY, reason="unreachable")))
    bench.feed(inputs.ClockJumped(3600.0, 3600.0))
    bench.now += 100.0
    bench.feed(inputs.Tick())
    assert bench.engine.state is State.LOST


def test_time_in_which_the_process_was_frozen_ripens_no_handle() -> None:
    """RULES 3: the frames that came meanwhile come late, so a turn may have opened long ago."""
    bench = Bench(transparent=True)
    bench.connect()
    bench.speaks(2.0)
    bench.update("h1", 20)
    bench.speaks(0.1)
    frozen(bench, 60.0)
    bench.update("h2", 21)
    bench.tick(1.0)
    bench.says("an answer to what was said before h1")
    bench.cut()
    bench.resume()
    assert bench.bound_with is None


def test_time_in_which_the_process_was_frozen_proves_no_connection() -> None:
    bench = Bench()
    bench.connect()
    frozen(bench, 60.0)
    bench.feed(inputs.Tick())
    bench.feed(inputs.PongReceived(1))
    bench.cut()
    assert bench.events(events.ReconnectScheduled)[0].attempt == 2


def test_a_jump_before_the_first_connection_only_gives_it_more_time() -> None:
    bench = Bench()
    bench.start()
    frozen(bench, 60.0)
    bench.bind()
    assert bench.engine.state is State.LIVE


# ---------------------------------------------------------------------- long silences


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("transparent", [False, True])
def test_an_hour_without_a_word_costs_only_pings(transparent: bool, streaming: bool) -> None:
    """A microphone streams silence all the time."""
    bench = Bench(transparent=transparent, setup={"contextWindowCompression": {"slidingWindow": {}}})
    bench.connect()
    anchored(bench, index=1 if transparent else None)
    before = len(bench.actions)
    end = bench.now + 3600.0
    while bench.now < end:
        if streaming:
            bench.sends(audio(0.5))
        pause = bench.now + 0.5
        while (at := bench.engine.wake_at) is not None and at <= pause:
            bench.tick()
            if isinstance(bench.actions[-1], actions.SendPing):
                bench.feed(inputs.PongReceived(1))
        bench.now = pause
    done = bench.actions[before:]
    kinds = {type(action) for action in done}
    assert kinds == {actions.SendPing, actions.SendFrame} if streaming else {actions.SendPing}
    pings = sum(isinstance(action, actions.SendPing) for action in done)
    assert pings == pytest.approx(3600.0 / Policy().ping_idle, abs=2)
