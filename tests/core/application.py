"""The application of the simulation: it asks, speaks, runs tools, and judges each frame that it is shown.

It holds what RULES 4 says that an app sees: a `receive()` loop for each question (for each part of
an answer, where the service ends one with its calls), and tools that run once.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from resumekit.core import events
from resumekit.wire import decode_client
from tests.core.model_state import CHUNK_SECONDS, Chunk, Violation, call_key, text_of

if TYPE_CHECKING:
    from tests.core.simulation import World

__all__ = ["Application", "Call", "Loop", "Sent"]

_decode = msgspec.json.decode
_encode = msgspec.json.encode


@dataclass(eq=False)
class Call:
    """A tool call that the app was shown, and its one execution."""

    id: str
    name: str
    key: str
    question: str
    cancelled: bool = False
    answered: bool = False


@dataclass(eq=False)
class Loop:
    """One question, and the `receive()` loops that wait for its answer."""

    label: str
    number: int | None
    reported: float = 0.0
    """Seconds of audio that were reported lost before it began."""
    called: bool = False
    """It has shown a call: a part without output may be one that had only calls, some of them shown before."""
    parts: int = 0
    """Parts that are over; the last one ends the question."""


@dataclass(eq=False)
class Sent:
    """A message of the app."""

    kind: str
    """question, context, mark, response"""
    token: str
    number: int
    call: Call | None = None


@dataclass(frozen=True, slots=True)
class _Piece:
    labels: str
    run: int
    number: int
    count: int
    part: int
    parts: int

    @classmethod
    def parse(cls, text: str) -> _Piece:
        _, labels, *numbers = text.strip("<>").split(":")
        return cls(labels, *map(int, numbers))


@dataclass(eq=False)
class Told:
    """What the events said."""

    settled: set[int | None] = field(default_factory=set)
    settled_voice: int = 0
    repeated: set[int] = field(default_factory=set)
    dropped_responses: set[str] = field(default_factory=set)
    lost_audio: float = 0.0
    downtime: float = 0.0
    fresh_starts: int = 0

    def note(self, event: events.Event) -> None:
        """Take an event."""
        match event:
            case events.TurnSettled():
                self.settled_voice += event.message is None
                self.settled.add(event.message)
            case events.MessagesRepeated():
                self.repeated.update(event.messages)
            case events.ToolResponseDropped():
                self.dropped_responses.add(event.call_id)
            case events.TurnForgotten():
                self.lost_audio += event.audio
            case events.AudioDropped():
                self.lost_audio += event.seconds
            case events.Resumed():
                self.lost_audio += event.lost_audio
                self.downtime += event.downtime
            case events.FreshStarted():
                self.fresh_starts += 1
                self.lost_audio += event.lost_audio
            case _:
                pass


class Application:
    """One user of one session."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.config = world.config
        self.numbers = 0
        """Control messages sent."""
        self.sent: list[Sent] = []
        """All control messages, in order; a message with several tool responses counts for each."""
        self.told = Told()
        self.loops: deque[Loop] = deque()
        self.calls: dict[str, Call] = {}
        self.speaking = False
        self.chunks = 0
        self.utterance_of: dict[int, int] = {}
        self.videos = 0
        self.words: list[int] = []
        """What was shown as transcribed: numbers of chunks."""
        self.frames_taken = 0
        self._responses = 0
        self._utterances = 0
        self._microphone_on = False
        self._silence_left = 0
        self._pieces: list[_Piece] = []
        self._got = False
        self._interrupted = False

    @property
    def relaxed(self) -> bool:
        """A service that merges questions of its own accord leaves no loop for each."""
        return self.config.pipelined and self.config.server.overlap == "merge"

    @property
    def running(self) -> list[Call]:
        """Return the calls that were not answered, those that were cancelled included."""
        return [call for call in self.calls.values() if not call.answered]

    def was_not_heard(self) -> bool:
        """Whether the oldest question was spoken, lost on the way, and the app was told so."""
        return bool(self.loops) and self.loops[0].label[0] == "u" and self.told.lost_audio > self.loops[0].reported

    # ------------------------------------------------------------------ sending

    def _send(self, frame: dict[str, object] | str, kind: str = "", *tokens: str) -> bool:
        if self.world.finished is not None:
            return False
        message = decode_client(frame if isinstance(frame, str) else _encode(frame).decode())
        if not self.world.engine.has_room(message):
            return False
        if kind:
            self.numbers += 1
            self.sent += [Sent(kind, token, self.numbers) for token in tokens]
        self.world.send(message)
        return True

    def _next_token(self) -> str:
        return f"m{self.numbers + 1}"

    def ask(self) -> None:
        """Ask a question in writing."""
        token = self._next_token()
        text = f"<{token}> question"
        if self.config.server.family == "3.x":
            frame: dict[str, object] = {"realtime_input" if self.config.snake else "realtimeInput": {"text": text}}
        else:
            frame = self._content(text, complete=True)
        # The loop begins before the frame goes, as receive() does
        self.loops.append(Loop(token, self.numbers + 1))
        if not self._send(frame, "question", token):
            self.loops.pop()

    def _content(self, text: str, *, complete: bool) -> dict[str, object]:
        turns = [{"role": "user", "parts": [{"text": text}]}]
        if self.config.snake:
            return {"client_content": {"turns": turns, "turn_complete": complete}}
        return {"clientContent": {"turns": turns, "turnComplete": complete}}

    def context(self) -> None:
        """Tell something that asks for no answer."""
        token = self._next_token()
        if self.config.server.family == "3.x":
            frame: dict[str, object] = {"contextUpdate": {"note": f"<{token}>"}}
        else:
            frame = self._content(f"<{token}> context", complete=False)
        self._send(frame, "context", token)

    def speak(self, seconds: float) -> None:
        """Say something; the sound takes its time."""
        self._utterances += 1
        self.speaking = True
        if self.config.server.speech == "manual":
            self._mark("activityStart")
        count = max(1, round(seconds / CHUNK_SECONDS))
        self.world.at(0.0, self._sound, self._utterances, count)
        self.loops.append(Loop(f"u{self._utterances}", None, self.told.lost_audio))

    def _mark(self, name: str) -> None:
        token = self._next_token()
        self._send({"realtimeInput": {name: {"mark": f"<{token}>"}}}, "mark", token)

    def _sound(self, utterance: int, left: int) -> None:
        """Send chunks of speech in real time, then what ends it."""
        if self.world.finished is not None:
            return
        if left > 0:
            self._chunk(utterance)
            self.world.at(CHUNK_SECONDS, self._sound, utterance, left - 1)
        elif self.config.server.speech == "manual":
            self.speaking = False
            for loop in self.loops:
                if loop.label == f"u{utterance}":
                    loop.number = self.numbers + 1
            self._mark("activityEnd")
        else:
            self.speaking = False
            self._silence_left = 4 if not self.config.microphone else 10_000
            if not self._microphone_on:
                self._microphone_on = True
                self._silence()

    def _silence(self) -> None:
        world = self.world
        healed = world.healing and self._silence_left > 100 and not self.loops
        if self._silence_left <= 0 or world.finished is not None or healed:
            self._microphone_on = False
            return
        if not self.speaking:
            self._chunk(0)
        self._silence_left -= 1
        world.at(CHUNK_SECONDS, self._silence)

    def _chunk(self, utterance: int) -> None:
        self.chunks += 1
        self.utterance_of[self.chunks] = utterance
        self._send(Chunk(self.chunks, utterance).encode())

    def show(self) -> None:
        """Send a frame of video."""
        self.videos += 1
        self._send(Chunk(self.videos, 0).encode("video"))

    def answer(self, calls: list[Call]) -> None:
        """Give calls their results, cancelled or not, in one message."""
        calls = [call for call in calls if not call.answered]
        if not calls:
            return
        tokens = [f"r{self._responses + number + 1}" for number in range(len(calls))]
        responses = [
            {"id": call.id, "name": call.name, "response": {"result": f"<{token}>"}}
            for call, token in zip(calls, tokens, strict=True)
        ]
        if self.config.snake:
            frame: dict[str, object] = {"tool_response": {"function_responses": responses}}
        else:
            frame = {"toolResponse": {"functionResponses": responses}}
        if not self._send(frame, "response", *tokens):
            return
        self._responses += len(calls)
        for call, sent in zip(calls, self.sent[-len(calls) :], strict=True):
            call.answered = True
            sent.call = call
            if call.cancelled and call.id not in self.told.dropped_responses:
                raise Violation("tools", f"the response to the cancelled {call.id} was not reported dropped")

    # ------------------------------------------------------------------ receiving

    def read(self, count: int) -> None:
        """Take frames from the engine."""
        world = self.world
        if not world.engine.inbox:
            return
        for _ in range(count):
            taken = world.engine.take_frame() if self.frames_taken % 2 else world.engine.take()
            if taken is None:
                return
            self.frames_taken += 1
            raw = taken if isinstance(taken, bytes) else taken.raw
            world.trace.append((world.now, "app", raw))
            self._see(_decode(raw))

    def _see(self, frame: dict[str, Any]) -> None:
        content = frame.get("serverContent") or {}
        call = frame.get("toolCall")
        cancellation = frame.get("toolCallCancellation")
        for key in ("goAway", "setupComplete"):
            if key in frame:
                raise Violation("surface", f"the app sees {key}")
        if not self.loops and (content or call or cancellation) and not self.relaxed:
            raise Violation("loops", f"a frame for a loop that is over: {_encode(frame).decode()[:120]}")
        if call:
            self._got = self._got or not self.world.rebinds
            for request in call["functionCalls"]:
                self._called(request)
        if cancellation:
            for call_id in cancellation["ids"]:
                self._cancelled(call_id)
        for part in (content.get("modelTurn") or {}).get("parts", ()):
            self._got = True
            self._interrupted = False
            self._pieces.append(_Piece.parse(text_of(part)))
        if "inputTranscription" in content:
            self._got = True
            self._transcribed(content["inputTranscription"].get("text") or "")
        if content.get("interrupted"):
            if not self._got and not self.config.pipelined and self.config.server.speech == "none":
                raise Violation("interrupted", "interrupted, and the app had got nothing")
            self._pieces.clear()
            self._got = False
            self._interrupted = True
        if content.get("turnComplete"):
            self._turn_complete(by_service="usageMetadata" in frame)

    def _transcribed(self, text: str) -> None:
        """Every word is shown once, in order, over all connections."""
        for word in map(int, re.findall(r"\bw(\d+)", text)):
            if self.words and word <= self.words[-1]:
                raise Violation("transcription", f"word {word} again, or late: {self.words[-20:]}")
            self.words.append(word)

    # Tools: no call that was not cancelled runs twice

    def _called(self, request: dict[str, Any]) -> None:
        call = Call(
            request["id"],
            request["name"],
            call_key(request["name"], request.get("args")),
            str(request["args"]["question"]),
        )
        if call.id in self.calls:
            raise Violation("tools", f"{call.id} is shown twice")
        equal = [other for other in self.calls.values() if other.key == call.key]
        alive = [other.id for other in equal if not other.cancelled]
        if len(alive) >= self.world.server.most_equal[call.key] and not self.relaxed:
            raise Violation("tools", f"{call.id} repeats {alive}, which were not cancelled")
        taken_back = call.question in self.world.server.taken_back
        if len(alive) < len(equal) and self.world.rebinds and not taken_back and not self.relaxed:
            raise Violation("tools", f"an equal call of {call.id} was cancelled before the end of its turn")
        self._check_loop(call)
        self.calls[call.id] = call
        if self.loops:
            self.loops[0].called = True
        if self.config.tool_time is not None:
            low, high = self.config.tool_time
            self.world.at(low + self.world.rng.random() * (high - low), self.answer, [call])

    def _cancelled(self, call_id: str) -> None:
        call = self.calls.get(call_id)
        if call is None:
            raise Violation("tools", f"cancelled, and never shown: {call_id}")
        if call.cancelled:
            raise Violation("tools", f"cancelled twice: {call_id}")
        self._check_loop(call)
        call.cancelled = True

    def _check_loop(self, call: Call) -> None:
        if not self.relaxed and self.loops[0].label != call.question:
            raise Violation("loops", f"{call.id}, of {call.question}, in the loop of {self.loops[0].label}")

    # Loops: each holds one whole answer, after its last `interrupted`

    def _turn_complete(self, *, by_service: bool) -> None:
        pieces, self._pieces = self._pieces, []
        interrupted, self._interrupted = self._interrupted, False
        self._got = False
        if self.relaxed:
            self._end_merged(pieces)
            return
        if not self.loops:
            raise Violation("loops", "turnComplete for a loop that is over")
        loop = self.loops[0]
        if not pieces and self._may_be_empty(loop, interrupted=interrupted, by_service=by_service):
            return
        if not pieces:
            raise Violation("loops", f"the loop of {loop.label} ended without an answer")
        last = pieces[-1]
        if last.labels != loop.label:
            raise Violation("loops", f"the loop of {loop.label} holds the answer to {last.labels}")
        whole = [piece for piece in pieces if piece.run == last.run]
        before = pieces[: -len(whole)]
        goes_on = last.run in self.world.server.continued
        if [piece.number for piece in whole] != list(range(last.count)) or pieces[-len(whole) :] != whole:
            raise Violation("loops", f"the loop of {loop.label} holds no whole answer, but {pieces}")
        if before and not (goes_on and [piece.number for piece in before] == list(range(len(before)))):
            raise Violation("loops", f"the loop of {loop.label} holds more than one answer: {pieces}")
        if last.part < last.parts - 1:
            self._end_part(loop)
        else:
            if loop.parts < last.parts - 1:
                raise Violation("loops", f"{loop.parts} parts of {last.parts} before the last of {loop.label}")
            self._end_loop()

    def _may_be_empty(self, loop: Loop, *, interrupted: bool, by_service: bool) -> bool:
        """Whether a part, or a loop, may end without any output; if so, it has."""
        if by_service and loop.called and self.world.server.parts.get(loop.label, 1) > loop.parts + 1:
            self._end_part(loop)
            return True
        told = self.told
        if loop.number is not None and loop.number in told.settled:
            self._end_loop()
        elif loop.number is None and told.settled_voice:
            told.settled_voice -= 1
            self._end_loop()
        elif interrupted and len(self.loops) > 1 and self.config.server.overlap != "queue":
            self._end_loop()
        else:
            return False
        return True

    def _end_part(self, loop: Loop) -> None:
        loop.parts += 1
        if loop.parts >= self.world.server.parts[loop.label]:
            raise Violation("loops", f"{loop.parts} parts of {loop.label}, and another one to come")

    def _end_loop(self) -> None:
        loop = self.loops.popleft()
        for call in self.running:
            if call.question == loop.label and not call.cancelled:
                raise Violation("tools", f"{call.id} still runs, and {loop.label} is over")

    def _end_merged(self, pieces: list[_Piece]) -> None:
        if not pieces and self.loops:
            self.loops.popleft()
        for piece in pieces:
            for label in piece.labels.split("+"):
                while any(loop.label == label for loop in self.loops):
                    self.loops.popleft()
