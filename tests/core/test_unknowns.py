"""What nobody knows of the service for certain is a field of the policy: either answer works."""

from __future__ import annotations

import pytest

from resumekit.core import events
from resumekit.core.policy import Policy
from resumekit.core.state import State
from tests.core.bench import Bench, content
from tests.core.test_engine import anchored


def texts(bench: Bench) -> list[str]:
    """What was asked, or noted, on the newest connection after its setup."""
    return [
        turn["parts"][0]["text"]
        for frame in bench.wire[1:]
        if "client_content" in frame
        for turn in frame["client_content"]["turns"]
    ]


# ---------------------------------------------------------------------- the index of the first message


@pytest.mark.parametrize("first", [0, 1])
def test_an_index_is_read_as_the_service_counts(first: int) -> None:
    bench = Bench(transparent=True, policy=Policy(first_index=first))  # type: ignore[arg-type]
    bench.connect()
    bench.asks("q0")
    bench.says("a0")
    bench.completes()
    bench.notes("c1")
    bench.notes("c2")
    bench.update("h0", 1 + first)  # q0 and c1
    assert bench.events(events.HandleReceived)[0].index == 1 + first, "the event says what the service said"
    bench.cut()
    bench.resume()
    assert bench.bound_with == "h0"
    assert texts(bench) == ["c2"]


def test_counted_from_zero_a_missing_index_may_mean_the_first_message() -> None:
    """Zero is left out on the wire, so such a handle is no resume point once something was sent."""
    bench = Bench(transparent=True, policy=Policy(first_index=0))
    bench.connect()
    bench.update("empty")
    bench.notes("c0")
    bench.update("doubtful")
    bench.cut()
    bench.resume()
    assert bench.bound_with == "empty"
    assert texts(bench) == ["c0"]


# ---------------------------------------------------------------------- older handles


@pytest.mark.parametrize("valid", [True, False])
def test_a_newer_handle_may_void_the_older_ones(valid: bool) -> None:
    bench = Bench(transparent=True, policy=Policy(older_handles_valid=valid))
    bench.connect()
    anchored(bench, index=1)
    bench.asks("q1")
    bench.says("half")
    bench.update("in mid-answer", 2)
    bench.cut()
    bench.resume()
    assert bench.bound_with == ("h0" if valid else None)
    assert texts(bench)[-1:] == ["q1"]
    bench.says("a1")
    bench.completes()
    bench.update("h1", 1 if valid else 2)
    bench.cut()
    bench.resume()
    assert bench.bound_with == "h1"


def test_a_handle_that_covers_less_is_no_resume_point_though_it_voids_the_one_that_covers_more() -> None:
    """RULES 1, row 19: what was pruned is in no state that may be resumed from, so it is replayed."""
    bench = Bench(transparent=True, policy=Policy(older_handles_valid=False))
    bench.connect()
    anchored(bench, index=1)
    bench.notes("c1")
    bench.update("more", 2)
    bench.update("less", 1)
    bench.cut()
    bench.resume()
    assert bench.bound_with is None
    assert [turn["parts"][0]["text"] for turn in bench.wire[1]["clientContent"]["turns"]] == [
        "q0",
        "answer to q0",
        "c1",
    ]


def test_without_older_handles_a_planned_move_waits_for_the_next_one() -> None:
    bench = Bench(transparent=True, policy=Policy(older_handles_valid=False, warm_dial=False))
    bench.connect()
    anchored(bench, index=1)
    bench.asks("q1")
    bench.goes_away("60s")
    bench.update("in mid-answer", 2)
    bench.says("a1")
    bench.completes()
    bench.tick(10.0)
    assert bench.engine.state is State.DRAINING
    bench.update("h1", 2)
    assert bench.engine.state is State.MOVING


# ---------------------------------------------------------------------- audio


@pytest.mark.parametrize("held", [True, False])
def test_audio_since_the_last_turn_is_resent_unless_handles_hold_it(held: bool) -> None:
    bench = Bench(transparent=True, policy=Policy(handles_hold_audio=held))
    bench.connect()
    bench.asks("q0")
    bench.says("a0")
    bench.completes()
    bench.speaks(1.0)
    bench.update("h0", 11)
    bench.cut()
    bench.resume()
    assert bench.bound_with == "h0"
    assert len(bench.wire) == (1 if held else 1 + 10)


def test_audio_that_handles_do_not_hold_is_bounded_as_without_an_index() -> None:
    bench = Bench(transparent=True, policy=Policy(handles_hold_audio=False))
    bench.connect()
    anchored(bench, index=1)
    bench.speaks(25.0)
    bench.cut()
    bench.resume()
    (resumed,) = bench.events(events.Resumed)
    assert (resumed.resent_audio, resumed.lost_audio) == (pytest.approx(10.0), pytest.approx(15.0))


# ---------------------------------------------------------------------- how much is run again


@pytest.mark.parametrize("allowed", [2, 3])
def test_too_many_shadow_turns_are_a_fresh_start(allowed: int) -> None:
    bench = Bench(policy=Policy(max_shadow_turns=allowed))
    bench.connect()
    anchored(bench)
    for number in (1, 2, 3):
        bench.asks(f"q{number}")
        bench.says(f"a{number}")
        bench.completes()
    bench.asks("q4")
    bench.cut()
    bench.resume()
    if allowed == 3:
        assert (bench.bound_with, texts(bench)) == ("h0", ["q1"])
        return
    assert bench.bound_with is None
    assert [event.messages for event in bench.events(events.ResumePointDropped)] == [4]
    replay, question = bench.wire[1:]
    assert len(replay["clientContent"]["turns"]) == 8
    assert question == content("q4")
