"""The story: what happened, as lines to be read. A pure function of the recording."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from resumekit.cli._demo.recording import Lane, Turn, in_words
from resumekit.core import events as told
from resumekit.core.events import Event

__all__ = ["Kind", "Line", "now_playing", "status", "story"]

_ABNORMAL = 1006


class Kind(Enum):
    """Whose line it is."""

    YOU = "you"
    MODEL = "model"
    TOOL = "tool"
    CUT = "cut"
    """Half an answer, which the app was told to drop."""
    FAULT = "fault"
    """What the emulator did on purpose."""
    SESSION = "session"
    """What resumekit told the app by an event."""
    BACK = "back"
    """The same: the conversation goes on."""
    ERROR = "error"
    """What the app's code got, and did not expect."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the story; a view may wrap it."""

    at: float
    kind: Kind
    text: str


def story(lane: Lane) -> list[Line]:
    """Tell what has happened on a lane so far, in order."""
    lines = [line for turn in lane.turns for line in _turn(turn, lane)]
    seen: set[str] = set()
    for event, strike in lane.strikes():
        key = f"{event.detail} {strike.story}"
        if key not in seen or strike.label:
            lines.append(Line(event.at, Kind.FAULT, strike.story))
        seen.add(key)
    lines += _told(lane)
    if lane.died_at is not None:
        lines.append(Line(lane.died_at, Kind.ERROR, lane.error))
        lines.append(Line(lane.died_at, Kind.ERROR, "nobody caught it: the conversation is over"))
    return sorted(lines, key=lambda line: line.at)


def now_playing(lane: Lane) -> Line | None:
    """Return the answer that is coming in."""
    turn = lane.turns[-1] if lane.turns else None
    if turn is None or lane.died_at is not None or turn.answered_at or turn.gave_up_at or not turn.text:
        return None
    return Line(turn.last_heard_at or turn.asked_at, Kind.MODEL, in_words(turn.text))


def _turn(turn: Turn, lane: Lane) -> Iterator[Line]:
    yield Line(turn.asked_at, Kind.YOU, turn.words)
    for at, text in turn.restarts:
        yield Line(at, Kind.CUT, f"{in_words(text)} ... (dropped)")
    for start, _ in turn.tool_ran:
        yield Line(start, Kind.TOOL, "the app looks it up in its timetable")
    if turn.answered_at is not None:
        yield Line(turn.answered_at, Kind.MODEL, in_words(turn.text))
    elif turn.gave_up_at is not None:
        if turn.text:
            yield Line(turn.gave_up_at, Kind.CUT, f"{in_words(turn.text)} ... (nothing more came)")
        yield Line(turn.gave_up_at, Kind.ERROR, "no answer: the user gives up")
    elif lane.died_at is not None:
        if turn.text:
            yield Line(lane.died_at, Kind.CUT, f"{in_words(turn.text)} ... (cut off)")
        elif turn.asked_at > lane.died_at:
            yield Line(turn.asked_at, Kind.ERROR, "no answer")


def _told(lane: Lane) -> Iterator[Line]:
    """Yield what resumekit told; what it tells again is said in fewer words."""
    bound = next((record.bound_at for record in lane.connections if record.bound_at is not None), None)
    if bound is not None and not lane.events:
        yield Line(bound, Kind.BACK, "connected")
    before = ""
    for at, event in lane.events:
        for kind, text in _session(event):
            yield Line(at, kind, f"{text.partition(':')[0]}, again" if text == before else text)
            before = text


def _session(event: Event) -> Iterator[tuple[Kind, str]]:
    match event:
        case told.Connected():
            yield Kind.BACK, "connected"
        case told.GoAwayReceived(time_left=None):
            yield Kind.SESSION, "moves when the answer is through"
        case told.GoAwayReceived(time_left=left):
            yield Kind.SESSION, f"{left:.1f} s left: moves when the answer is through"
        case told.Moving(quiet=quiet):
            yield Kind.SESSION, "quiet now: moves" if quiet else "time is up: moves"
        case told.ConnectionLost(phase=phase):
            what = {"live": "connection lost", "bind": "not let in", "dial": "no connection"}[phase]
            yield Kind.SESSION, f"{what}: {_reason(event)}"
        case told.Resumed(planned=True, downtime=downtime):
            yield Kind.BACK, f"moved in {downtime:.2f} s"
        case told.Resumed(downtime=downtime, resent_messages=resent):
            yield Kind.BACK, f"resumed after {downtime:.2f} s{_resent(resent)}"
        case told.FreshStarted(downtime=downtime, replayed_turns=turns, resent_messages=resent):
            yield Kind.BACK, f"new session after {downtime:.2f} s, {turns} turns of history replayed{_resent(resent)}"
        case told.TurnShadowed():
            yield Kind.SESSION, "the last turn was not saved: it was run again, unheard"
        case told.TurnSettled():
            yield Kind.SESSION, "gave the question up"
        case told.SessionEnded(error=str(error)):
            yield Kind.ERROR, error
        case _:
            pass


def _reason(event: told.ConnectionLost) -> str:
    """Return why, without what only a programmer wants to know."""
    if event.status_code is not None:
        return f"HTTP {event.status_code}"
    if event.close_code not in {None, _ABNORMAL}:
        return f"{event.close_code} {event.reason}"
    return re.sub(r"^\w+Error: (\[Errno -?\d+\] )?|\s*\(.*\)$", "", event.reason)


def _resent(messages: int) -> str:
    return f", {messages} question{'s' * (messages != 1)} resent" if messages else ""


def status(lane: Lane, now: float, *, silence_after: float = 1.5) -> tuple[Kind, str]:
    """Say in a few words how the connection is."""
    if lane.died_at is not None:
        return Kind.ERROR, f"dead for {now - lane.died_at:.0f} s"
    up: tuple[Kind, str] = (Kind.SESSION, "connecting")
    if lane.connections and lane.connections[0].bound_at is not None:
        up = Kind.BACK, "connected"
    bound = 0
    for _, event in lane.events:
        match event:
            case told.ConnectionLost():
                up = Kind.FAULT, "reconnecting"
            case told.Resumed() | told.Connected():
                bound += 1
                up = Kind.BACK, f"connection {bound}"
            case told.FreshStarted():
                bound += 1
                up = Kind.BACK, f"connection {bound}, a new session"
            case told.GoAwayReceived():
                up = Kind.SESSION, "connected, and has to move soon"
            case _:
                pass
    turn = lane.turns[-1] if lane.turns else None
    if up[0] is Kind.BACK and turn is not None and turn.answered_at is None:
        silent = now - max(turn.last_heard_at or 0.0, turn.asked_at)
        if silent > silence_after:
            return Kind.SESSION, f"not a byte for {silent:.0f} s"
    return up
