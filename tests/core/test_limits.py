"""How long the service keeps a session, and what the engine does about it."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from resumekit.core import actions, events, inputs
from resumekit.core.limits import LIMITS, SessionAge
from resumekit.core.policy import Policy
from resumekit.core.setup import Setup
from resumekit.core.state import State
from resumekit.core.timers import Timers
from tests.core.bench import MODEL_2, Bench, audio, content, said
from tests.core.test_engine import anchored

VERTEX = "projects/p/locations/us-central1/publishers/google/models/gemini-live-2.5-flash"
VIDEO = {"realtime_input": {"video": {"data": "AAAA", "mime_type": "image/jpeg"}}}
COMPRESSED = {"contextWindowCompression": {"slidingWindow": {}}}


def age(model: str = MODEL_2, policy: Policy | None = None, extra: str = "") -> tuple[SessionAge, Timers]:
    timers = Timers()
    setup = Setup.parse(f'{{"setup": {{"model": "{model}"{extra}}}}}')
    return SessionAge(policy or Policy(), setup, timers), timers


@pytest.mark.parametrize(
    ("model", "video", "limit"),
    [(MODEL_2, False, 900.0), (MODEL_2, True, 120.0), (VERTEX, False, 600.0), (VERTEX, True, 120.0)],
)
def test_the_shortest_row_that_holds_counts(model: str, video: bool, limit: float) -> None:
    counted, timers = age(model)
    counted.begin(1000.0)
    if video:
        counted.show_video(1000.0)
    assert counted.seconds_left(1000.0) == limit
    assert timers["limit"] == 1000.0 + limit - min(120.0, limit / 2)


def test_the_table_is_that_of_the_design() -> None:
    assert [msgspec.structs.astuple(row) for row in LIMITS] == [
        (900.0, None, None),
        (120.0, None, True),
        (600.0, True, None),
    ]


@pytest.mark.parametrize(
    "extra", [', "contextWindowCompression": {}', ', "context_window_compression": {"slidingWindow": {}}']
)
def test_with_compression_there_is_no_limit(extra: str) -> None:
    counted, timers = age(extra=extra)
    counted.begin(1000.0)
    counted.show_video(1000.0)
    assert timers == {}
    assert counted.seconds_left(5000.0) == math.inf


def test_the_limit_of_the_policy_goes_before_the_table() -> None:
    counted, timers = age(
        policy=Policy(session_limit=60.0, session_limit_warning=10.0), extra=', "contextWindowCompression": {}'
    )
    counted.begin(1000.0)
    assert timers["limit"] == 1050.0
    counted.show_video(1001.0)
    assert timers["limit"] == 1050.0
    endless, timers = age(policy=Policy(session_limit=math.inf))
    endless.begin(1000.0)
    assert timers == {}


# ---------------------------------------------------------------------- in a session


def alive(bench: Bench, seconds: float) -> None:
    """Time passes; pings are answered."""
    end = bench.now + seconds
    while (at := bench.engine.wake_at) is not None and at <= end:
        bench.tick()
        if isinstance(bench.actions[-1], actions.SendPing):
            bench.feed(inputs.PongReceived(bench.live))
    bench.now = end


def expiring(bench: Bench) -> list[tuple[float, float]]:
    return [(event.seconds_left, event.limit) for event in bench.events(events.SessionExpiring)]


def test_the_end_of_a_session_is_told_once_and_ahead_of_time() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    alive(bench, 779.0)
    assert expiring(bench) == []
    alive(bench, 1.0)
    assert expiring(bench) == [(120.0, 900.0)]
    alive(bench, 3600.0)
    assert len(expiring(bench)) == 1
    assert bench.connection == 1, "the policy says: warn"


def test_a_resume_does_not_begin_the_count_anew_and_a_fresh_start_does() -> None:
    bench = Bench()
    bench.connect()
    anchored(bench)
    alive(bench, 700.0)
    bench.cut()
    alive(bench, 0.2)
    bench.bind()
    assert bench.bound_with == "h0"
    alive(bench, 100.0)
    assert len(expiring(bench)) == 1
    bench.cut()
    bench.redial()
    bench.refuse(1007, "Invalid session handle.")
    bench.resume()
    assert bench.bound_with is None
    alive(bench, 700.0)
    assert len(expiring(bench)) == 1
    alive(bench, 80.0)
    assert len(expiring(bench)) == 2


def test_the_first_video_frame_makes_it_shorter_and_is_told_again() -> None:
    bench = Bench()
    bench.connect()
    alive(bench, 780.0)
    bench.sends(VIDEO)
    bench.feed(inputs.Tick())
    bench.sends(VIDEO)
    alive(bench, 60.0)
    assert expiring(bench) == [(120.0, 900.0), (0.0, 120.0)]


def test_a_limit_that_is_reached_during_an_outage_is_told_too() -> None:
    bench = Bench(policy=Policy(at_session_limit="fresh_start", max_outage=math.inf))
    bench.connect()
    anchored(bench)
    alive(bench, 779.0)
    bench.cut()
    bench.redial()
    bench.opens()
    bench.tick(1.0)
    assert (bench.engine.state, bench.bound_with) == (State.BINDING, "h0")
    assert len(expiring(bench)) == 1
    bench.server({"setupComplete": {}})
    assert bench.engine.state is State.MOVING, "it is quiet: on to a fresh start"
    bench.closes()
    bench.resume()
    assert bench.bound_with is None
    assert bench.engine.state is State.LIVE


def renewed(**bench: Any) -> Bench:
    """A session just before it tells its end."""
    made = Bench(policy=Policy(at_session_limit="fresh_start", warm_dial=False), **bench)
    made.connect()
    anchored(made, index=1 if bench.get("transparent") else None)
    alive(made, 779.0)
    return made


@pytest.mark.parametrize("transparent", [False, True])
def test_a_fresh_start_in_silence_replays_and_asks_nothing_twice(transparent: bool) -> None:
    bench = renewed(transparent=transparent)
    alive(bench, 1.0)
    assert bench.engine.state is State.MOVING
    moved = bench.events(events.Moving)[0]
    assert (moved.quiet, moved.cause) == (True, "limit")
    bench.closes()
    assert bench.done(actions.ForgetHandle)
    bench.bind()
    assert bench.bound_with is None
    (replay,) = bench.wire[1:]
    assert [turn["parts"][0]["text"] for turn in replay["clientContent"]["turns"]] == ["q0", "answer to q0"]
    (fresh,) = bench.events(events.FreshStarted)
    assert (fresh.replayed_turns, fresh.resent_messages) == (2, 0)
    assert bench.engine.stats.moves == 1
    alive(bench, 779.0)
    assert len(expiring(bench)) == 1, "the count began anew"
    assert bench.engine.state is State.LIVE


def test_sessions_that_began_together_do_not_all_dial_again_at_once() -> None:
    """G7, for the end of the session: it is left when the next connection is there."""
    bench = Bench(policy=Policy(at_session_limit="fresh_start"))
    bench.connect()
    anchored(bench)
    alive(bench, 780.0)
    assert (bench.engine.state, bench.connection) == (State.DRAINING, 1)
    alive(bench, 0.35 * 120)
    assert (bench.engine.state, bench.connection) == (State.DRAINING, 2)
    bench.feed(inputs.Dialed(2))
    assert bench.engine.state is State.MOVING
    bench.closes()
    assert bench.bound_with is None


def test_an_open_turn_is_waited_for() -> None:
    bench = renewed()
    bench.asks("q1")
    alive(bench, 1.0)
    assert bench.engine.state is State.DRAINING
    bench.says("a1")
    bench.completes()
    assert bench.engine.state is State.DRAINING, "its handle does not matter, but what trails the turn comes"
    bench.tick(Policy().handle_wait)
    assert bench.engine.state is State.MOVING
    bench.closes()
    bench.bind()
    (replay,) = bench.wire[1:]
    assert len(replay["clientContent"]["turns"]) == 4
    bench.asks("q2")
    assert bench.wire[2:] == [content("q2")]
    assert said("a1") in bench.shown


def test_speech_that_is_open_by_its_marks_is_waited_for() -> None:
    bench = renewed()
    bench.sends({"realtime_input": {"activity_start": {}}})
    bench.sends(audio(1.0))
    alive(bench, 1.0)
    assert bench.engine.state is State.DRAINING


def test_a_turn_that_goes_on_to_the_limit_is_cut_and_asked_again() -> None:
    bench = renewed()
    bench.asks("q1")
    alive(bench, 1.0)
    while bench.engine.state is State.DRAINING:
        bench.tick()
        if isinstance(bench.actions[-1], actions.SendPing):
            bench.feed(inputs.PongReceived(bench.live))
    bench.closes()
    if bench.connection == 2:
        bench.bind()
    else:
        bench.resume()
    assert bench.bound_with is None
    assert bench.wire[2:] == [content("q1")]


def test_a_loss_shortly_before_the_end_is_the_fresh_start() -> None:
    bench = renewed()
    bench.asks("q1")
    alive(bench, 1.0)
    bench.cut()
    bench.resume()
    assert bench.bound_with is None
    assert bench.wire[2:] == [content("q1")]
    assert bench.events(events.FreshStarted)


def test_a_session_with_video_is_not_over_as_soon_as_it_began() -> None:
    bench = Bench(policy=Policy(at_session_limit="fresh_start", warm_dial=False))
    bench.connect()
    anchored(bench)
    bench.sends(VIDEO)
    alive(bench, 59.0)
    assert expiring(bench) == []
    alive(bench, 1.0)
    assert bench.engine.state is State.MOVING
    bench.closes()
    bench.bind()
    bench.sends(VIDEO)
    alive(bench, 59.0)
    assert len(expiring(bench)) == 1


def test_with_compression_nothing_of_it_happens() -> None:
    bench = Bench(policy=Policy(at_session_limit="fresh_start"), setup=COMPRESSED)
    bench.connect()
    anchored(bench)
    bench.sends(VIDEO)
    alive(bench, 7200.0)
    assert (expiring(bench), bench.connection) == ([], 1)


@pytest.mark.parametrize("resumption", ["on", "off"])
def test_without_any_handle_a_fresh_start_is_possible_too(resumption: str) -> None:
    bench = Bench(policy=Policy(at_session_limit="fresh_start", warm_dial=False, resumption=resumption))  # type: ignore[arg-type]
    bench.connect()
    bench.asks("q0")
    bench.says("a0")
    bench.completes()
    alive(bench, 780.0)
    assert bench.engine.state is State.MOVING
