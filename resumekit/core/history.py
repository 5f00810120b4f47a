"""Where the history of a fresh start comes from: a decision, the application, or the transcript."""

from __future__ import annotations

from collections.abc import Sequence

from resumekit.wire import HistoryTurn

__all__ = ["History"]


class History:
    """The turns that the next fresh start replays, once they are known.

    Args:
        asks: the application is asked for its history, once for each fresh start.
    """

    __slots__ = ("_answered", "_asked", "_asks", "_turns")

    def __init__(self, *, asks: bool) -> None:
        self._asks = asks
        self._asked = False
        self._answered = False
        self._turns: Sequence[HistoryTurn] | None = None

    @property
    def ready(self) -> bool:
        """Whether a fresh start can be made now."""
        return not self._asks or self._answered

    def ask(self) -> bool:
        """Return whether the application is to be asked now; it is asked once."""
        first, self._asked = not self._asked, True
        return first

    def loaded(self, turns: Sequence[HistoryTurn] | None) -> bool:
        """Take the application's answer; return whether one was waited for."""
        waited = self._asked and not self._answered
        if waited:
            self.choose(turns)
        return waited

    def choose(self, turns: Sequence[HistoryTurn] | None) -> None:
        """Replay these; None: what the engine has read itself."""
        self._turns = turns
        self._answered = True

    def take(self) -> Sequence[HistoryTurn] | None:
        """Return the turns to replay instead of the transcript, if any; the next fresh start asks anew."""
        turns, self._turns = self._turns, None
        self._asked = self._answered = False
        return turns
