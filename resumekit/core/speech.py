"""Spoken questions: whose speech it is, and in which form a cut one is sent again (RULES 10)."""

from __future__ import annotations

import sys
from typing import Literal

from resumekit.core.link import Link
from resumekit.core.outbox import Message, Outbox
from resumekit.core.policy import Policy
from resumekit.core.setup import TextForm
from resumekit.core.turns import Turn
from resumekit.wire import ClientKind, ClientMessage, HistoryTurn, content_frame, decode_client, realtime_text_frame

__all__ = ["Form", "Speech"]

Form = Literal["text", "audio", "transcript"]

_MARKS = frozenset({ClientKind.ACTIVITY_START, ClientKind.ACTIVITY_END})


class Speech:
    """The spoken questions of a conversation.

    Where the app marks the user's activity, a question is what stands between the marks. Elsewhere
    nobody knows where it begins: it ends at the first output of its answer.
    """

    __slots__ = ("_form", "_outbox", "_policy", "cut")

    def __init__(self, policy: Policy, outbox: Outbox, form: TextForm) -> None:
        self._policy = policy
        self._outbox = outbox
        self._form = form
        self.cut: Turn | None = None
        """A spoken turn that was cut before it was known who asks: the next one that opens by voice is it."""

    # ------------------------------------------------------------------ whose speech it is

    def open(self, link: Link) -> Turn:
        """Return the turn of a question that the service heard, or of what it says by itself."""
        ends = (m for m in self._outbox.control.unsent if m.body.kind is ClientKind.ACTIVITY_END)
        waiting = next(ends, None) if link.activity_open else None
        if waiting is not None and waiting.turn is not None:
            return waiting.turn  # it is sent again, up to the mark that ends it
        turn, self.cut = self.cut or Turn(by_voice=True), None
        return turn

    def listener(self, link: Link) -> Turn | None:
        """Return the turn that a transcription is about; None: it opens one."""
        for turn in link.turns:
            if turn.by_voice and not turn.begun:
                return turn
        return None if link.activity_open else link.answering

    def end(self, link: Link) -> Turn:
        """Return the turn that an `activityEnd` asks: its transcription may have opened it before."""
        last = link.turns[-1] if link.turns else None
        unmarked = last is not None and last.by_voice and last.number is None and not last.begun
        return last if last is not None and unmarked else self.open(link)

    # ------------------------------------------------------------------ a connection is gone

    def spoken_until(self, end: int) -> set[Message]:
        """Return what was sent for spoken questions up to an index, other than audio.

        A text within an activity is a part of its question; outside of one it would be a question itself.
        """
        return {
            message
            for message in self._outbox.control.sent
            if message.index <= end
            and (message.body.kind in _MARKS or (message.body.kind is ClientKind.TEXT and message.turn is None))
        }

    def has_words(self, turn: Turn, end: int, *, begun: bool) -> bool:
        """Whether the transcription of a question is whole, and may be sent in its place.

        It comes before the answer. Before that, only the end of an activity and of its transcription tell.
        """
        whole = begun or (turn.number is not None and turn.question.finished)
        return whole and end > 0 and bool(turn.question.said.strip()) and self._policy.resend_speech != "audio"

    def resend(self, turn: Turn, end: int, *, words: bool) -> Form:
        """Choose the form in which the question of a cut turn, spoken up to `end`, is sent again.

        Args:
            words: its transcription may stand for it.

        As a transcript it is a written question from now on: its audio and marks are gone.
        """
        if not turn.by_voice:
            return "text"
        turn.question.clipped |= self._lacks(end or sys.maxsize)
        whole = self._policy.resend_speech == "auto" and not turn.question.clipped
        if whole or not words:
            return "audio"
        old = self.spoken_until(end)
        written = [message.body.text or "" for message in self._outbox.control.sent if message in old]
        body = self._written("\n".join(filter(None, [*written, turn.question.said.strip()])))
        self._outbox.put_sent(body, after=end, number=turn.number or 0).turn = turn
        self._outbox.prune_audio(end)
        self._outbox.remove(old)
        turn.by_voice = False
        turn.number = turn.number or 0
        return "transcript"

    def _lacks(self, end: int) -> bool:
        """Whether any audio was let go that may belong to a question that ends at `end`."""
        control = self._outbox.control.sent
        starts = (m.index for m in control if m.body.kind is ClientKind.ACTIVITY_START and m.index < end)
        return self._outbox.lacks(max(starts, default=0), end)

    def _written(self, text: str) -> ClientMessage:
        if self._form is TextForm.REALTIME:
            return decode_client(realtime_text_frame(text))
        return decode_client(content_frame([HistoryTurn("user", text)], turn_complete=True))
