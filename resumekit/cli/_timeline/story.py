"""What happened in a session: items with times, which are drawn and counted. `reading` makes them of a trace."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from resumekit.core.state import State
from resumekit.trace.records import Line

__all__ = [
    "Answer",
    "Connection",
    "Gap",
    "GoAway",
    "Handle",
    "Item",
    "Note",
    "Phase",
    "Question",
    "Resend",
    "Speech",
    "Story",
    "Tool",
    "in_time",
]


@dataclass(kw_only=True)
class Item:
    """Something with a place in time; seconds since the session began."""

    at: float
    end: float | None = None
    """None: it has no length, or goes on to the end of the trace."""

    @property
    def title(self) -> str:
        """What it is, in words."""
        raise NotImplementedError


@dataclass(kw_only=True)
class Phase(Item):
    """The session was in one state."""

    state: State

    @property
    def title(self) -> str:
        return f"the session is {self.state.value}: {_STATES[self.state]}"


_STATES = {
    State.IDLE: "nothing was dialled yet",
    State.DIALING: "a connection is being opened",
    State.BINDING: "setup was sent, its answer is waited for",
    State.LIVE: "messages go to the service",
    State.DRAINING: "live, and the end of the connection is announced",
    State.MOVING: "the old connection is being closed, for the next one",
    State.WAITING: "there is no connection, the next dial is due",
    State.CLOSED: "the application has left it",
    State.LOST: "it could not go on",
}


@dataclass(kw_only=True)
class Connection(Item):
    """One connection, from its dial to its end."""

    number: int
    ahead: bool
    """Dialled while the one before it was still in use."""
    opened_at: float | None = None
    setup_at: float | None = None
    bound_at: float | None = None
    drains_at: float | None = None
    """Its end was announced."""
    how: Literal["first", "continued", "resumed", "fresh", "unbound"] = "unbound"
    ending: str = ""
    """Why it ended."""
    cut: bool = False
    """It ended, in use, against the session's will."""
    failed: bool = False
    """It was never bound, and not for want of need."""

    @property
    def title(self) -> str:
        return f"connection {self.number}: {_HOW[self.how]}{'; dialled ahead' if self.ahead else ''}" + (
            f"; its end: {self.ending}" if self.ending else ""
        )


_HOW = {
    "first": "the first",
    "continued": "the first, bound with a kept handle",
    "resumed": "resumed with a handle",
    "fresh": "a new session of the service, from what history there was",
    "unbound": "never bound",
}


@dataclass(kw_only=True)
class Handle(Item):
    """A handle came."""

    connection: int
    digest: str
    kept: bool = False
    """The session can resume from it: its state is quiet."""

    @property
    def title(self) -> str:
        name = f"handle {self.digest}" if self.digest else "a handle"
        return f"{name}: " + ("resumed from after a loss" if self.kept else "not resumed from: a turn is open")


@dataclass(kw_only=True)
class GoAway(Item):
    """The service announced the end of a connection, which is the `end`."""

    connection: int
    time_left: float | None
    move_by: float
    """When the session leaves at the latest."""

    @property
    def title(self) -> str:
        left = "without a time" if self.time_left is None else f"{self.time_left:g} s left"
        return f"goAway on connection {self.connection}: {left}; it is left at the latest {self.move_by - self.at:.1f} s later"


@dataclass(kw_only=True)
class Question(Item):
    """The application asked, or told, something in writing."""

    number: int
    """As events count messages."""
    kind: str
    text: str
    size: int
    asks: bool
    """It asks for an answer."""

    @property
    def title(self) -> str:
        what = f"message {self.number}" if self.asks else f"message {self.number}, {self.kind}"
        return f"{what}: {self.text or f'{self.size} bytes'}"


@dataclass(kw_only=True)
class Speech(Item):
    """The application sent audio or video without a pause."""

    frames: int = 0
    seconds: float = 0.0

    @property
    def title(self) -> str:
        return f"the application sends {self.frames} frames of media, {self.seconds:.1f} s of audio"


@dataclass(kw_only=True)
class Answer(Item):
    """What the model said in one run of a turn."""

    connection: int
    outcome: Literal["whole", "cut", "interrupted", "shadow", "open"] = "open"
    again: bool = False
    """A cut answer, given again."""
    text: str = ""
    frames: int = 0
    size: int = 0
    settled: bool = False

    @property
    def title(self) -> str:
        said = f"{self.frames} frames, {self.size} bytes" + (f": {self.text}" if self.text else "")
        again = "the answer, given again" if self.again else "answer"
        return f"{again} ({_OUTCOMES[self.outcome]}{', and settled' if self.settled else ''}): {said}"


_OUTCOMES = {
    "whole": "whole",
    "cut": "cut with its connection",
    "interrupted": "interrupted by the user",
    "shadow": "run again unseen, so that the service remembers it",
    "open": "not over",
}


@dataclass(kw_only=True)
class Tool(Item):
    """A tool call, from the model's request to the application's answer."""

    call_id: str
    name: str
    outcome: Literal["answered", "repeated", "cancelled", "open"] = "open"
    """Repeated: the session answered it, and the application did not see it."""

    @property
    def title(self) -> str:
        if self.outcome == "repeated":
            return f"tool {self.name}: called again, and answered by the session"
        took = "" if self.end is None else f" after {self.end - self.at:.2f} s"
        return f"tool {self.name}: {self.outcome}{took}"


@dataclass(kw_only=True)
class Resend(Item):
    """What a new connection was sent again."""

    connection: int
    messages: int
    audio: float
    replayed: int
    """Turns of history."""
    lost_audio: float

    @property
    def title(self) -> str:
        parts = [f"{_several(self.replayed, 'turn')} of history replayed"] if self.replayed else []
        parts += [f"{_several(self.messages, 'message')} sent again"] if self.messages else []
        parts += [f"{self.audio:.1f} s of audio sent again"] if self.audio else []
        parts += [f"{self.lost_audio:.1f} s of audio lost"] if self.lost_audio else []
        return f"on connection {self.connection}: {', '.join(parts)}"


@dataclass(kw_only=True)
class Gap(Item):
    """The session had no live connection."""

    planned: bool
    for_good: bool = False
    """The session has ended without one."""
    so_far: bool = False
    """What became of it is not in the trace."""

    @property
    def title(self) -> str:
        if self.for_good:
            return "no connection from here on"
        seconds = (self.end or self.at) - self.at
        if self.so_far:
            return f"no connection for {seconds:.2f} s so far"
        return f"no connection for {seconds:.2f} s" + (", planned: the session moved" if self.planned else "")


@dataclass(kw_only=True)
class Note(Item):
    """An event that has no item of its own."""

    event: str
    facts: str
    bad: bool

    @property
    def title(self) -> str:
        return f"{self.event}{f': {self.facts}' if self.facts else ''}"


@dataclass(kw_only=True)
class Story:
    """All of it."""

    model: str
    vertex: bool
    began_at: float
    """Wall clock, as Unix time."""
    version: str
    payloads: bool
    length: float = 0.0
    """Seconds."""
    whole: bool = False
    """The session's end is in the trace."""
    goes_on: bool = False
    """It was looked at while the session lives."""
    error: str | None = None
    """What ended it, if not the application."""
    stats: Line = field(default_factory=dict[str, Any])
    """As the engine counted, if it is whole."""
    phases: list[Phase] = field(default_factory=list[Phase])
    connections: list[Connection] = field(default_factory=list[Connection])
    handles: list[Handle] = field(default_factory=list[Handle])
    go_aways: list[GoAway] = field(default_factory=list[GoAway])
    questions: list[Question] = field(default_factory=list[Question])
    speech: list[Speech] = field(default_factory=list[Speech])
    answers: list[Answer] = field(default_factory=list[Answer])
    tools: list[Tool] = field(default_factory=list[Tool])
    resends: list[Resend] = field(default_factory=list[Resend])
    gaps: list[Gap] = field(default_factory=list[Gap])
    notes: list[Note] = field(default_factory=list[Note])

    @property
    def cuts(self) -> list[Connection]:
        """Connections that were lost in use."""
        return [connection for connection in self.connections if connection.cut]

    @property
    def turns(self) -> int:
        """Answers that are whole."""
        return sum(answer.outcome == "whole" for answer in self.answers)

    def counts(self) -> dict[str, int]:
        """Return how many items there are of each kind."""
        return {
            "connection": len(self.connections),
            "cut": len(self.cuts),
            "handle": len(self.handles),
            "go-away": len(self.go_aways),
            "question": len(self.questions),
            "speech": len(self.speech),
            "answer": len(self.answers),
            "tool": len(self.tools),
            "resend": len(self.resends),
            "gap": len(self.gaps),
            "note": len(self.notes),
            "phase": len(self.phases),
        }

    def summary(self) -> str:
        """Return what happened, in a few sentences."""
        bound = [connection for connection in self.connections if connection.bound_at is not None]
        resumed = sum(connection.how == "resumed" for connection in bound)
        fresh = sum(connection.how == "fresh" for connection in bound)
        moves = sum(gap.planned for gap in self.gaps)
        again = sum(answer.again for answer in self.answers)
        service = "Vertex AI" if self.vertex else "the Gemini Developer API"
        told = [
            f"{in_time(self.length)} with {self.model.rpartition('/')[2] or 'a model'} on {service}, over {_several(len(bound), 'connection')}"
        ]
        how = [_several(len(self.cuts), "cut")] if self.cuts else ["no cut"]
        how += [_several(moves, "planned move")] if moves else []
        how += [f"{resumed} resumed with a handle"] if resumed else []
        how += [f"{fresh} started fresh"] if fresh else []
        told.append(", ".join(how))
        turns = _several(self.turns, "turn") + " answered"
        told.append(turns + (f", {again} of them given again" if again else ""))
        if self.gaps:
            longest = max((gap.end or self.length) - gap.at for gap in self.gaps)
            total = sum((gap.end or self.length) - gap.at for gap in self.gaps)
            told.append(f"{total:.2f} s without a connection, at most {longest:.2f} s at once")
        lost = sum(resend.lost_audio for resend in self.resends)
        if lost:
            told.append(f"{lost:.1f} s of audio lost")
        if self.error:
            told.append(f"the end: {self.error.rstrip('.')}")
        elif self.goes_on:
            told.append("it goes on")
        elif not self.whole:
            told.append("the trace ends before the session does")
        return "; ".join(told) + "."


def in_time(seconds: float) -> str:
    """Return a span of time in words."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _several(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
