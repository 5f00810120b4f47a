"""What happened in a session, read from its trace: items with times, which are drawn and counted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from resumekit.core.setup import Setup
from resumekit.core.state import State
from resumekit.errors import ProtocolError
from resumekit.trace import TraceFile
from resumekit.trace.records import Line, began_of, joined
from resumekit.wire import ClientKind, ClientMessage, ServerMessage, decode_client, decode_server

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
    "StoryReader",
    "Tool",
    "read_story",
]

_PAUSE = 0.6
"""Seconds without audio after which speech begins anew."""
_SHOWN = 80
"""Characters of a text that are shown."""


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
    "fresh": "a new session of the service, with replayed history",
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
    outcome: Literal["answered", "cancelled", "open"] = "open"

    @property
    def title(self) -> str:
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

    @property
    def title(self) -> str:
        if self.for_good:
            return "no connection from here on"
        seconds = (self.end or self.at) - self.at
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


_BAD = frozenset(
    [
        "AudioDropped",
        "ClockJumped",
        "FrameDiscarded",
        "HandleRefused",
        "HistoryNotLoaded",
        "HookFailed",
        "MessageNotSent",
        "MessagesRepeated",
        "QuotaStrained",
        "ResumePointDropped",
        "SessionExpiring",
        "SlowConsumer",
        "StoreFailed",
        "ToolResponseDropped",
        "TurnForgotten",
        "TurnSettled",
        "VideoDropped",
    ]
)
_HAVE_ITEMS = frozenset(
    [
        "Connected",
        "ConnectionLost",
        "FreshStarted",
        "GoAwayReceived",
        "HandleReceived",
        "Moving",
        "ReconnectScheduled",
        "Resumed",
        "SessionEnded",
    ]
)


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
        how += [f"{fresh} started fresh from replayed history"] if fresh else []
        told.append(", ".join(how))
        turns = _several(self.turns, "turn") + " answered"
        told.append(turns + (f", {again} of them given again after a cut" if again else ""))
        if self.gaps:
            longest = max((gap.end or self.length) - gap.at for gap in self.gaps)
            total = sum((gap.end or self.length) - gap.at for gap in self.gaps)
            told.append(f"{total:.2f} s without a connection, at most {longest:.2f} s at once")
        lost = sum(resend.lost_audio for resend in self.resends)
        if lost:
            told.append(f"{lost:.1f} s of audio lost")
        if self.error:
            told.append(f"the end: {self.error}")
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


def read_story(trace: TraceFile) -> Story:
    """Read a trace.

    Raises:
        ConfigurationError: It is damaged.
    """
    reader = StoryReader(trace)
    for _, line in trace.lines():
        reader.read(line)
    reader.finish()
    return reader.story


class StoryReader:
    """Makes a story of the lines of a trace, as they come."""

    def __init__(self, trace: TraceFile) -> None:
        setup = Setup.parse(began_of(trace.began).setup)
        self.story = self._story = Story(
            model=setup.model,
            vertex=setup.on_vertex or bool(trace.began["transparent"]),
            began_at=trace.head.get("at", 0.0),
            version=str(trace.head.get("version", "")),
            payloads=trace.payloads,
        )
        self._start: float | None = None
        self._now = 0.0
        self._connections: dict[int, Connection] = {}
        self._current = 0
        """Number of the connection in use."""
        self._answer: Answer | None = None
        self._was_cut = False
        """The next answer is given again."""
        self._messages = 0
        self._calls: dict[str, Tool] = {}
        self._down: tuple[float, bool] | None = None
        """Since when there is no connection, and whether that was planned."""

    def read(self, line: Line) -> None:
        """Take the next line."""
        if "now" in line:
            if self._start is None:
                self._start = line["now"]
                self._enter(State.IDLE)
            self._now = line["now"] - self._start
        elif "at" in line and self._start is not None:
            self._now = max(line["at"] - self._start, self._now)
        if "told" in line:
            self._event(line["told"])
        if "end" in line:
            self._story.stats, self._story.whole = line["end"], True
        happened = line.get("in")
        if happened in ("FrameReceived", "media"):
            self._frame(line)
        elif happened in ("Send", "streamed"):
            with contextlib.suppress(ProtocolError):
                self._sent(decode_client(joined(line["frame"])))
        elif happened == "Dialed" and (dialled := self._connections.get(line["connection"])) is not None:
            dialled.opened_at = self._now
        elif happened in ("ConnectionEnded", "DialFailed"):
            self._ended(line)
        for action in line.get("out", ()):
            self._action(action)

    def finish(self, clock: float | None = None) -> None:
        """End what goes on: where the trace ends, or later, at a time by the clock of its session."""
        if clock is not None and self._start is not None:
            self._now = max(self._now, clock - self._start)
        story = self._story
        story.length = self._now
        for connection in story.connections:
            connection.end = self._now if connection.end is None else connection.end
        self._enter(None)
        if self._answer is not None:
            self._answer.end = self._now
        if self._down is not None:
            story.gaps.append(Gap(at=self._down[0], end=self._now, planned=self._down[1], for_good=True))

    # ------------------------------------------------------------------ what was said

    def _frame(self, line: Line) -> None:
        if line["connection"] != self._current:
            return
        if line["in"] == "media":
            self._says(line["connection"], size=len(joined(line["frame"])))
            return
        try:
            message = decode_server(joined(line["frame"]).encode())
        except ProtocolError:
            return
        content, call = message.server_content, message.tool_call
        if call is not None:
            self._says(line["connection"], size=len(message.raw))
            for request in call.function_calls or ():
                tool = Tool(at=self._now, call_id=request.id or "", name=request.name or "")
                self._story.tools.append(tool)
                self._calls[tool.call_id] = tool
        if message.tool_call_cancellation is not None:
            for call_id in message.tool_call_cancellation.ids or ():
                self._done(call_id, "cancelled")
        if content is None:
            return
        said = content.output_transcription
        if content.model_turn is not None or (said is not None and said.text):
            self._says(line["connection"], text=_text_of(message), size=len(message.raw))
        if content.interrupted:
            self._close_answer("interrupted")
        elif content.turn_complete:
            shadow = any(action.get("event") == "TurnShadowed" for action in line.get("out", ()))
            self._close_answer("shadow" if shadow else "whole")

    def _says(self, connection: int, *, text: str = "", size: int) -> None:
        if self._answer is None:
            self._answer = Answer(at=self._now, connection=connection, again=self._was_cut)
            self._was_cut = False
            self._story.answers.append(self._answer)
        self._answer.frames += 1
        self._answer.size += size
        if self._story.payloads and len(self._answer.text) < _SHOWN:
            self._answer.text = _short(self._answer.text + text)

    def _close_answer(self, outcome: Literal["whole", "cut", "interrupted", "shadow"]) -> None:
        if self._answer is not None:
            self._answer.end, self._answer.outcome = self._now, outcome
            self._answer = None

    def _sent(self, message: ClientMessage) -> None:
        if message.kind in (ClientKind.AUDIO, ClientKind.VIDEO, ClientKind.AUDIO_STREAM_END):
            speech = self._story.speech[-1] if self._story.speech else None
            if speech is None or self._now - (speech.end or 0.0) > _PAUSE:
                speech = Speech(at=self._now)
                self._story.speech.append(speech)
            speech.end = self._now
            speech.frames += 1
            speech.seconds += message.media_seconds
            return
        self._messages += 1
        if message.kind is ClientKind.TOOL_RESPONSE:
            for response in message.responses:
                self._done(response.id or "", "answered")
            return
        text = message.text if message.kind in (ClientKind.CONTENT, ClientKind.TEXT) else None
        self._story.questions.append(
            Question(
                at=self._now,
                number=self._messages,
                kind=message.kind.value,
                text=_short(text or "") if self._story.payloads else "",
                size=message.size,
                asks=message.turn_complete or message.kind in (ClientKind.TEXT, ClientKind.ACTIVITY_END),
            )
        )

    def _done(self, call_id: str, outcome: Literal["answered", "cancelled"]) -> None:
        tool = self._calls.pop(call_id, None)
        if tool is not None:
            tool.end, tool.outcome = self._now, outcome

    # ------------------------------------------------------------------ connections

    def _ended(self, line: Line) -> None:
        connection = self._connections.get(line["connection"])
        if connection is None or connection.end is not None:
            return
        failure = line["failure"]
        facts = [str(failure[name]) for name in ("status", "code", "reason") if failure.get(name)]
        connection.end = self._now
        if not connection.ending:
            connection.ending = ("HTTP " if failure.get("status") else "") + (" ".join(facts) or "the network")
        connection.failed = connection.bound_at is None

    def _action(self, action: Line) -> None:
        number = action.get("connection", 0)
        connection = self._connections.get(number)
        match action["do"]:
            case "OpenConnection":
                ahead = self._current in self._connections and self._connections[self._current].end is None
                made = Connection(at=self._now, number=number, ahead=ahead and self._down is None)
                self._connections[number] = made
                self._story.connections.append(made)
                if not made.ahead:
                    self._current = number
                    self._enter(State.DIALING)
            case "SendFrame" if connection is not None and action["kind"] == "setup":
                connection.setup_at = self._now
                self._current = number
                self._enter(State.BINDING)
            case "AbortConnection" if connection is not None and connection.end is None:
                connection.end = self._now
                connection.failed = connection.bound_at is None
                connection.ending = connection.ending or "dropped by the session"
            case "SaveHandle":
                digest = action["handle"]
                found = (handle for handle in reversed(self._story.handles) if handle.digest == digest)
                if (handle := next(found, None)) is not None:
                    handle.kept = True
            case "Notify":
                self._event(action)
            case "Finish":
                self._story.error = action["error"]
                self._enter(State.CLOSED if action["error"] is None else State.LOST)
            case _:
                pass

    def _event(self, event: Line) -> None:
        name = event["event"]
        connection = self._connections.get(event.get("connection", 0))
        match name:
            case "HandleReceived":
                self._story.handles.append(Handle(at=self._now, connection=event["connection"], digest=event["digest"]))
            case "GoAwayReceived":
                left = event["time_left"]
                by = self._now + event["move_within"]
                end = by if left is None else self._now + left
                self._story.go_aways.append(
                    GoAway(at=self._now, end=end, connection=event["connection"], time_left=left, move_by=by)
                )
                if connection is not None:
                    connection.drains_at = self._now
                self._enter(State.DRAINING)
            case "Moving":
                self._leave(planned=True)
                if connection is not None:
                    connection.ending = "left by the session, for the next one"
                self._enter(State.MOVING)
            case "ConnectionLost":
                self._lost(event, connection)
            case "ReconnectScheduled":
                self._enter(State.WAITING)
            case "Connected" | "Resumed" | "FreshStarted":
                self._bound(event, connection)
            case "TurnSettled":
                for answer in reversed(self._story.answers):
                    if answer.outcome == "cut":
                        answer.settled, self._was_cut = True, False
                        break
            case _:
                pass
        if name not in _HAVE_ITEMS:
            facts = [_fact(key, value) for key, value in event.items() if key not in ("do", "event", "at") and value]
            self._story.notes.append(Note(at=self._now, event=name, facts=", ".join(facts), bad=name in _BAD))

    def _bound(self, event: Line, connection: Connection | None) -> None:
        if self._down is not None:
            self._story.gaps.append(Gap(at=self._down[0], end=self._now, planned=self._down[1]))
            self._down = None
        self._enter(State.LIVE)
        if connection is None:
            return
        connection.bound_at = self._now
        match event["event"]:
            case "Connected":
                connection.how = "continued" if event["resumed"] else "first"
            case "Resumed":
                connection.how = "resumed"
            case _:
                connection.how = "fresh"
        again = Resend(
            at=self._now,
            connection=connection.number,
            messages=event.get("resent_messages", 0),
            audio=event.get("resent_audio", 0.0),
            replayed=event.get("replayed_turns", 0),
            lost_audio=event.get("lost_audio", 0.0),
        )
        if again.messages or again.audio or again.replayed or again.lost_audio:
            self._story.resends.append(again)

    def _lost(self, event: Line, connection: Connection | None) -> None:
        if event["phase"] == "live":
            self._leave(planned=False)
        if connection is None:
            return
        connection.end = self._now
        connection.cut = event["phase"] == "live"
        connection.failed = not connection.cut
        code = event["close_code"] or (f"HTTP {event['status_code']}" if event["status_code"] else "")
        why = " ".join(filter(None, (str(code or ""), event["reason"]))) or "the network"
        connection.ending = f"{why} ({event['verdict']})"

    def _leave(self, *, planned: bool) -> None:
        """The connection in use is gone."""
        if self._answer is not None:
            self._was_cut = True
            self._close_answer("cut")
        if self._down is None:
            self._down = (self._now, planned)

    def _enter(self, state: State | None) -> None:
        """Begin another state; None: none, as the trace is over."""
        phases: Sequence[Phase] = self._story.phases
        last = phases[-1] if phases else None
        if last is not None and last.end is None:
            if state is last.state:
                return
            last.end = self._now
        if state is not None:
            self._story.phases.append(Phase(at=self._now, state=state))


def _fact(name: str, value: object) -> str:
    if value is True:
        return name
    return f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"


def _short(text: str) -> str:
    text = " ".join(text.split()) if len(text) > _SHOWN else text
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _texts(message: ServerMessage) -> Iterator[str]:
    content = message.server_content
    if content is None:
        return
    if content.output_transcription is not None:
        yield content.output_transcription.text or ""
    if content.model_turn is not None:
        for part in content.model_turn.parts or ():
            if not part.thought:
                yield part.text or ""


def _text_of(message: ServerMessage) -> str:
    return "".join(_texts(message))
