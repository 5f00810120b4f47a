"""The conversation in words, as far as the engine could read it: what a fresh start replays.

Bounded by turns and bytes, the oldest out first. Tool calls and responses stand in it as text.
"""

from __future__ import annotations

from collections.abc import Sequence

from resumekit.core.turns import Turn
from resumekit.wire import ClientKind, ClientMessage, HistoryTurn

__all__ = ["Transcript"]


class Transcript:
    """What user and model said, oldest first."""

    __slots__ = ("_bytes", "_max_bytes", "_max_turns", "_turns", "holes")

    def __init__(self, *, max_turns: int, max_bytes: int) -> None:
        self._turns: tuple[HistoryTurn, ...] = ()
        self._bytes = 0
        self._max_turns = max_turns
        self._max_bytes = max_bytes
        self.holes = 0
        """Turns that had no text."""

    def turns(self) -> list[HistoryTurn]:
        """Return a copy, oldest first."""
        return list(self._turns)

    def replace(self, turns: Sequence[HistoryTurn]) -> None:
        """Start anew from the app's own history."""
        self._turns = ()
        self._bytes = self.holes = 0
        for turn in turns:
            self.add(turn)

    def add(self, turn: HistoryTurn) -> None:
        """Append a turn; the oldest go where the bounds are passed."""
        if not turn.text:
            self.holes += 1
            return
        self._turns += (turn,)
        self._bytes += len(turn.text.encode())
        while len(self._turns) > self._max_turns or self._bytes > self._max_bytes:
            self._bytes -= len(self._turns[0].text.encode())
            self._turns = self._turns[1:]

    def add_message(self, body: ClientMessage) -> None:
        """Append what the user wrote; other messages say nothing."""
        if body.kind is ClientKind.TEXT:
            self.add(HistoryTurn(role="user", text=body.text or ""))
        for turn in body.turns:
            self.add(turn)

    def add_answer(self, turn: Turn) -> None:
        """Append what was heard and answered in a turn that is complete."""
        if turn.by_voice:
            self.add(HistoryTurn(role="user", text=turn.question.said.strip()))
        answer = "".join(turn.spoken) or "".join(turn.written)
        self.add(HistoryTurn(role="model", text="\n".join([*turn.tools, answer.strip()]).strip()))
