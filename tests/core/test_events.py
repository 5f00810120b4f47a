"""Every event, and what makes it: frozen, with a docstring, without secrets or payloads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from resumekit.core import events, inputs
from resumekit.core.policy import Policy
from tests.core.bench import Bench, audio

HANDLE = "CANARY-handle"
WORDS = "CANARY-words"
KINDS: list[type[events.Event]] = [getattr(events, name) for name in events.__all__ if name != "Event"]

ELSEWHERE = {
    events.HookFailed: "tests/adapters",
    events.MessageNotSent: "tests/adk",
    events.Admitted: "tests/test_pool.py",
    events.Continued: "tests/drivers",
    events.Queued: "tests/test_pool.py",
    events.QuotaStrained: "tests/test_pool.py",
    events.SessionStarted: "tests/drivers",
    events.StoreFailed: "tests/drivers",
    events.StoreRecovered: "tests/drivers",
    events.WaitingForKey: "tests/drivers",
}
"""Told by plugins, stores and adapters, not by the engine: where that is tested."""


def session(**arguments: Any) -> Bench:
    """A session with one anchored turn."""
    bench = Bench(**arguments)
    bench.connect()
    bench.asks(WORDS)
    bench.says(WORDS)
    bench.completes()
    bench.update(HANDLE, 1 if arguments.get("transparent") else None)
    assert bench.shown
    return bench


def cut(**arguments: Any) -> Bench:
    """It is cut in mid-answer, and resumes."""
    bench = session(**arguments)
    bench.asks(WORDS)
    bench.says(WORDS)
    assert bench.shown
    bench.cut(reason=WORDS[:0])
    bench.resume()
    return bench


def refused() -> Bench:
    bench = session()
    bench.cut()
    bench.redial()
    bench.refuse(1007, "Invalid session handle.")
    bench.resume()
    return bench


def going_away() -> Bench:
    bench = session(policy=Policy(warm_dial=False))
    bench.goes_away("30s")
    return bench


def ended() -> Bench:
    bench = session()
    bench.feed(inputs.Close())
    return bench


def shadowed() -> Bench:
    bench = session()
    bench.asks(WORDS)
    bench.says(WORDS)
    bench.completes()
    bench.cut()
    bench.resume()
    bench.says(WORDS)
    bench.completes()
    return bench


def forgotten() -> Bench:
    bench = session()
    bench.speaks(1.0)
    bench.says(WORDS)
    bench.completes()
    bench.cut()
    return bench


def repeated() -> Bench:
    bench = session()
    bench.notes(WORDS)
    bench.update(HANDLE)
    bench.cut()
    bench.resume()
    return bench


def unsent(frame: dict[str, Any], times: int) -> Callable[[], Bench]:
    def happen() -> Bench:
        bench = session()
        bench.cut()
        for _ in range(times):
            bench.sends(frame)
        bench.tick(0.0)
        return bench

    return happen


def tool(*answers: str) -> Bench:
    """The model calls a tool, the app answers or not, cut, the model calls again."""
    bench = session()
    bench.asks(WORDS)
    bench.calls(("c1", "look", {"at": WORDS}))
    assert bench.shown
    for answer in answers:
        bench.responds("c1", "look", answer)
    bench.cut()
    bench.resume()
    bench.calls(("c2", "look", {"at": WORDS}))
    return bench


def too_late() -> Bench:
    """The model cancels its call before the app has answered."""
    bench = session()
    bench.asks(WORDS)
    bench.calls(("c1", "look", {"at": WORDS}))
    assert bench.shown
    bench.server({"toolCallCancellation": {"ids": ["c1"]}})
    bench.responds("c1", "look", WORDS)
    return bench


def slow() -> Bench:
    bench = session(policy=Policy(inbox_frames=4))
    for _ in range(4):
        bench.server({"usageMetadata": {}})
    assert bench.shown
    bench.feed(inputs.Tick())
    return bench


def frozen() -> Bench:
    bench = session()
    bench.feed(inputs.ClockJumped(60.0))
    return bench


def old() -> Bench:
    bench = session()
    bench.tick(29.0)
    while not bench.events(events.SessionExpiring):
        bench.tick()
        bench.feed(inputs.PongReceived(bench.live))
    return bench


def without_history() -> Bench:
    bench = Bench(loads_history=True)
    bench.start()
    bench.feed(inputs.HistoryLoaded(None, "TimeoutError"))
    return bench


def unreadable() -> Bench:
    bench = session()
    bench.feed(inputs.FrameUnreadable(bench.live, 7, "is not JSON"))
    return bench


def too_many_shadows() -> Bench:
    bench = session(policy=Policy(max_shadow_turns=0))
    bench.asks(WORDS)
    bench.says(WORDS)
    bench.completes()
    bench.cut()
    return bench


SCENARIOS: dict[type[events.Event], Callable[[], Bench]] = {
    events.AudioDropped: unsent(audio(1.0), 31),
    events.ClockJumped: frozen,
    events.Connected: session,
    events.ConnectionLost: cut,
    events.FrameDiscarded: unreadable,
    events.FreshStarted: refused,
    events.GoAwayReceived: going_away,
    events.HandleReceived: session,
    events.HandleRefused: refused,
    events.HistoryNotLoaded: without_history,
    events.MessagesRepeated: repeated,
    events.Moving: going_away,
    events.ReadingResumed: slow,
    events.ReconnectScheduled: cut,
    events.ResumePointDropped: too_many_shadows,
    events.Resumed: cut,
    events.SessionEnded: ended,
    events.SessionExpiring: old,
    events.SlowConsumer: slow,
    events.ToolCallAnswered: lambda: tool(WORDS),
    events.ToolCallRebound: tool,
    events.ToolResponseDropped: too_late,
    events.TurnCut: cut,
    events.TurnForgotten: forgotten,
    events.TurnSettled: lambda: cut(policy=Policy(cut_turn="settle")),
    events.TurnShadowed: shadowed,
    events.VideoDropped: unsent({"realtime_input": {"video": {"data": "AAAA", "mime_type": "image/jpeg"}}}, 2),
}


def test_every_event_has_its_place_in_the_table() -> None:
    assert {*SCENARIOS, *ELSEWHERE} == set(KINDS)
    assert not {*SCENARIOS} & {*ELSEWHERE}


@pytest.mark.parametrize("kind", SCENARIOS, ids=lambda kind: kind.__name__)
def test_it_is_told_and_holds_no_secret_and_no_payload(kind: type[events.Event]) -> None:
    bench = SCENARIOS[kind]()
    told = bench.events(kind)
    assert told
    shown = repr(bench.events(events.Event)) + msgspec.json.encode(bench.events(events.Event)).decode()
    assert "CANARY" not in shown
    assert "CANARY" not in repr(bench.engine.stats)


@pytest.mark.parametrize("kind", ELSEWHERE, ids=lambda kind: kind.__name__)
def test_what_the_engine_does_not_tell_is_tested_elsewhere(kind: type[events.Event]) -> None:
    place = Path(__file__).parents[2] / ELSEWHERE[kind]
    files = [place] if place.suffix else sorted(place.glob("test_*.py"))
    assert any(kind.__name__ in file.read_text("utf-8") for file in files)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_it_is_frozen_and_documented(kind: type[events.Event]) -> None:
    assert issubclass(kind, events.Event)
    assert kind.__doc__
    assert kind.__struct_config__.frozen
    assert kind.__struct_fields__[:2] == ("at", "session")
