"""The story of a session, read from its trace line by line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Literal

from resumekit.cli._timeline.story import (
    Answer,
    Connection,
    Gap,
    GoAway,
    Handle,
    Note,
    Phase,
    Question,
    Resend,
    Speech,
    Story,
    Tool,
)
from resumekit.core.setup import Setup
from resumekit.core.state import State
from resumekit.errors import ProtocolError
from resumekit.trace import TraceFile
from resumekit.trace.records import Line, began_of, joined
from resumekit.wire import ClientKind, ClientMessage, ServerMessage, decode_client, decode_server

__all__ = ["StoryReader", "read_story"]

_PAUSE = 0.6
"""Seconds without audio after which speech begins anew."""
_SHOWN = 80
"""Characters of a text that are shown."""
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
"""Events that tell of something that went wrong, or was given up."""
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
"""Events that items other than notes are made of."""


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
        """Tool calls that run, by the ids that the service and the application have for them."""
        self._newest: list[Tool] = []
        """The calls of the last message that had some, as long as nothing else was said of them."""
        self._over = False
        """The session has ended."""
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
        story.goes_on = clock is not None and not self._over
        story.length = self._now
        for connection in story.connections:
            connection.end = self._now if connection.end is None else connection.end
        self._enter(None)
        if self._answer is not None:
            self._answer.end = self._now
        if self._down is not None:
            story.gaps.append(
                Gap(at=self._down[0], end=self._now, planned=self._down[1], for_good=self._over, so_far=not self._over)
            )

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
            self._newest.clear()
            for request in call.function_calls or ():
                tool = Tool(at=self._now, call_id=request.id or "", name=request.name or "")
                self._story.tools.append(tool)
                self._calls[tool.call_id] = tool
                self._newest.append(tool)
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

    def _done(self, call_id: str, outcome: Literal["answered", "repeated", "cancelled"]) -> None:
        tool = self._calls.pop(call_id, None)
        if tool is not None and tool.end is None:
            tool.end, tool.outcome = self._now, outcome

    def _repeated(self, name: str) -> Tool | None:
        """Take the call that the engine tells of: it goes through them in their order."""
        tool = next((tool for tool in self._newest if tool.name == name), None)
        if tool is not None:
            self._newest.remove(tool)
        return tool

    def _rebound(self, name: str, call_id: str) -> None:
        """Leave out a repeated call that the application does not see: the one that it knows goes on."""
        tool, runs = self._repeated(name), self._calls.get(call_id)
        if tool is not None and runs is not None:
            self._story.tools.remove(tool)
            self._calls[tool.call_id] = runs

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
                self._over = True
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
            case "ToolCallAnswered":
                if (tool := self._repeated(event["name"])) is not None:
                    self._done(tool.call_id, "repeated")
            case "ToolCallRebound":
                self._rebound(event["name"], event["call_id"])
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
