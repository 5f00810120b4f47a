"""Turns: what was asked, what was answered, and which tool calls belong to it.

A `Turn` outlives connections: a cut one is run again on the next, and is still the same turn.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from resumekit.core.hearing import Hearing
from resumekit.wire import FunctionCall, FunctionResponse, args_key

__all__ = ["Call", "Turn"]


@dataclass(slots=True, eq=False)
class Call:
    """One tool call, from the model's request to the app's response."""

    id: str
    name: str
    key: str
    """Name and canonical arguments: equal calls have equal keys."""
    taken: bool = False
    """The app has got the call."""
    cancelled: bool = False
    """The app was shown its cancellation, or never got it: a response is not sent."""
    response: FunctionResponse | None = None
    """What the app answered."""
    origin: str = ""
    """The id that the app answered, where the engine repeats that answer."""


@dataclass(slots=True, eq=False)
class Turn:
    """A question and its answer. Turns end first in, first out (RULES 7)."""

    number: int | None = None
    """The message that asks, as events name it; None: speech without marks, or the model spoke by itself."""
    border: int = 1
    """Index that the next message had when the first output came (RULES 10)."""
    by_voice: bool = False
    """Asked by speech, with or without activity marks."""
    asked_index: int = 0
    """Index, on the current connection, of the message that asks."""
    last_index: int = 0
    """Index, on the current connection, of its newest question or response."""
    completed: bool = False
    """The service ended it, on this connection or an earlier one."""
    seen: bool = False
    """Output of it came on the current connection."""
    resent: bool = False
    """Its question was resent on the current connection."""
    shown: bool = False
    """The app took output of it since it was last told `interrupted`."""
    reanswers: int = 0
    audio: float = 0.0
    """Seconds of the speech that it answered, once it is complete."""
    discarded: int = 0
    """Frames that the app did not get."""
    calls: dict[str, Call] = field(default_factory=dict[str, Call])
    """Those that the current run of the turn has issued, by id."""
    answers: list[Call] = field(default_factory=list[Call])
    """Answered calls of earlier runs; the same call again is answered from here."""
    question: Hearing = field(default_factory=Hearing)
    """The spoken question in words."""
    spoken: list[str] = field(default_factory=list[str])
    """Pieces of the output transcription."""
    written: list[str] = field(default_factory=list[str])
    """Pieces of the text output."""
    tools: list[str] = field(default_factory=list[str])
    """Tool calls and their responses, as text."""

    @property
    def shadow(self) -> bool:
        """Whether this run is hidden: the app already has the whole answer (RULES 5)."""
        return self.completed

    @property
    def covers(self) -> int:
        """Index up to which a handle after this turn holds everything (RULES 14)."""
        return self.last_index if self.number is not None else max(self.border - 1, self.last_index)

    @property
    def speech_end(self) -> int:
        """Index of the last frame that its spoken question may be in (RULES 10)."""
        return self.border - 1 if self.number is None else self.asked_index

    @property
    def waits_for_app(self) -> bool:
        """Whether a tool call of it is unanswered."""
        return any(call.response is None and not call.cancelled for call in self.calls.values())

    def issue(self, request: FunctionCall) -> Call:
        """Note a tool call of the model."""
        call_id = request.id or ""
        name = request.name or ""
        call = Call(call_id, name, args_key(name, request.args))
        self.calls[call_id] = call
        return call

    def recall(self, key: str) -> Call | None:
        """Take the answered call of an earlier run that is equal; first come, first served."""
        for position, call in enumerate(self.answers):
            if call.key == key:
                return self.answers.pop(position)
        return None

    def restart(self) -> list[Call]:
        """Forget the run that was cut; return the calls that the app has and did not answer."""
        answered = [call for call in self.calls.values() if call.response is not None]
        running = [call for call in self.calls.values() if call.response is None and call.taken and not call.cancelled]
        for call in self.calls.values():
            call.cancelled = True
        self.answers.extend(answered)
        self.calls = {}
        self.border = 1
        self.seen = self.resent = False
        self.last_index = self.asked_index = 0
        if not self.completed:
            self.question.restart()
            self.spoken.clear()
            self.written.clear()
            self.tools.clear()
        return running
