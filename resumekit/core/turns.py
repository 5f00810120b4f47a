"""Turns: what was asked, what was answered, and which tool calls belong to it.

A `Turn` outlives connections: a cut one is *run* again on the next, and is still the same turn. One
run has one or more *parts*, each ended by a `turnComplete`: a model may end a part with its tool
calls, and answer the responses in another.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from resumekit.core.hearing import Hearing
from resumekit.wire import FunctionCall, FunctionResponse, ServerMessage, args_key

__all__ = ["Call", "Turn", "keep"]


_PIECES = 2000


def keep(pieces: list[str], text: str) -> None:
    """Add words to those of a turn; of one that never ends, the newest are kept."""
    pieces.append(text)
    if len(pieces) > _PIECES:
        del pieces[: _PIECES // 2]


class Call(Struct, eq=False):
    """One execution of a tool: the app knows one call, whatever the service calls it in each run."""

    app_id: str
    """The id that the app knows."""
    name: str
    key: str
    """Name and canonical arguments: equal calls have equal keys."""
    id: str
    """The service's id in the run that issued it last."""
    part: int
    """Of the run that issued it first: the app gets the calls of a part that ended, whatever is cut behind it."""
    taken: bool = False
    """The app has got the call."""
    cancelled: bool = False
    """The app was shown its cancellation, or never got it: a response is not sent."""
    response: FunctionResponse | None = None
    """What the app answered."""
    position: int = 0
    """Of that answer among the app's messages."""
    written: bool = False
    """The current run has its response."""
    reported: bool = False
    """The app was told that no repetition of the call has asked for its answer."""
    by_engine: bool = False
    """The engine wrote that response: the app has not seen the repeated call."""
    background: bool = False
    """The model does not wait for it: its responses are messages of their own, which may come after the turn."""
    answers: list[tuple[int, FunctionResponse]] = []
    """Of a call in the background: all that the app answered, each with its position."""


class Turn(Struct, eq=False):
    """A question and its answer. Turns end first in, first out (RULES 7)."""

    number: int | None = None
    """The message that asks, as events name it; None: speech without marks, or the model spoke by itself."""
    by_voice: bool = False
    """Asked by speech, with or without activity marks."""
    whole: bool = False
    """The service ended it, on this connection or an earlier one, and nothing of it is to come."""
    parts: int = 0
    """Parts that the app has got to their end, over all runs."""
    reanswers: int = 0
    audio: float = 0.0
    """Seconds of the speech that it answered, once it is whole."""
    shown: bool = False
    """The app took output of the part that is under way since it was last told `interrupted`."""
    discarded: int = 0
    """Frames that the app did not get."""

    # The current run
    part: int = 0
    """The part that is under way, from 0."""
    begun: bool = False
    """Output of the run came."""
    seen: bool = False
    """Output of the part came."""
    replied: bool = False
    """A tool response was written, and no output came since."""
    border: int = 1
    """Index that the next message had when the first output of the run came (RULES 10)."""
    asked_index: int = 0
    """Index, on the current connection, of the message that asks."""
    last_index: int = 0
    """Index, on the current connection, of its newest question or response."""
    resent: bool = False
    """Its question was resent on the current connection."""
    held: list[ServerMessage] = []
    """Output of a part that the app should know already, until the part shows whether it is that one."""

    # Tools
    calls: dict[str, Call] = {}
    """Those that the current run has issued, by the service's id."""
    unbound: list[Call] = []
    """Calls of earlier runs, answered or still running: the same call again is one of these."""

    # In words
    question: Hearing = field(default_factory=Hearing)
    """The spoken question in words."""
    spoken: list[str] = []
    """Pieces of the output transcription."""
    written: list[str] = []
    """Pieces of the text output."""
    tools: list[str] = []
    """Tool calls and their responses, as text."""

    @property
    def shadow(self) -> bool:
        """Whether the part under way is hidden: the app already has it (RULES 5)."""
        return self.whole or self.part < self.parts

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
        return any(not (call.response or call.cancelled or call.background) for call in self.calls.values())

    @property
    def pending(self) -> bool:
        """Whether the service still waits for the response to a call of this run."""
        return not all(call.written or call.cancelled or call.background for call in self.calls.values())

    @property
    def stalled(self) -> bool:
        """Whether a part ended with calls, and the service waits for their responses."""
        return self.part > 0 and not self.seen and self.pending

    @property
    def dangling(self) -> bool:
        """Whether a part ended with calls that were all cancelled since: nothing more need come."""
        return self.part > 0 and not (self.seen or self.pending or self.replied)

    @property
    def waiting_since(self) -> int | None:
        """Position of the first of the app's answers whose call was not made again yet; None: there is none."""
        answered = (call for call in self.unbound if call.response is not None and not call.background)
        return min((call.position for call in answered), default=None)

    def issue(self, request: FunctionCall) -> Call:
        """Note a tool call of the model: one that is known from an earlier run, or a new one."""
        name, call_id = request.name or "", request.id or ""
        key = args_key(name, request.args)
        # First come, first served among equals.
        call = next((call for call in self.unbound if call.key == key), None)
        if call is None:
            call = Call(call_id, name, key, call_id, self.part)
        else:
            self.unbound.remove(call)
            call.id = call_id
        self.calls[call_id] = call
        return call

    def respond(self, responses: Sequence[FunctionResponse]) -> None:
        """Note that these responses were written."""
        for response in responses:
            call = self.calls.get(response.id or "")
            if call is not None:
                call.written = True
        self.replied = True

    def end_part(self) -> None:
        """Note that the part under way is over."""
        self.part += 1
        self.parts = max(self.parts, self.part)
        self.seen = self.shown = self.replied = False
        self.held.clear()

    def restart(self, *, rebind: bool) -> list[Call]:
        """Forget the run that was cut; return the running calls that nobody will bind again.

        A call that the app never took is forgotten: its repetition is new (RULES 9).
        """
        kept: list[Call] = []
        given_up: list[Call] = []
        for call in [*self.calls.values(), *self.unbound]:
            if call.cancelled:
                continue
            known = call.taken or call.part < self.parts
            if call.response is not None or (known and rebind):
                kept.append(call)
                continue
            call.cancelled = True
            if known:
                given_up.append(call)
        for call in kept:
            call.written = call.by_engine = False
        self.unbound = kept
        self.calls = {}
        self.part = self.last_index = self.asked_index = 0
        self.border = 1
        self.begun = self.seen = self.replied = self.resent = False
        self.held.clear()
        if not self.whole:
            self.question.restart()
            self.spoken.clear()
            self.written.clear()
            self.tools.clear()
        return given_up
