"""Events on their way to the application: kept for a while, read by any number of iterators."""

from __future__ import annotations

from resumekit.core.events import Event
from resumekit.drivers.waiters import Waiters

__all__ = ["EventLog", "Events"]

_KEPT = 1000


class EventLog:
    """The newest events of a session."""

    __slots__ = ("_added", "_ended", "_kept", "_limit", "_waiters")

    def __init__(self, limit: int = _KEPT) -> None:
        self._kept: list[Event] = []
        self._limit = limit
        self._added = 0
        self._ended = False
        self._waiters = Waiters()

    def add(self, event: Event) -> None:
        """Append an event; the oldest goes when the log is full."""
        if len(self._kept) == self._limit:
            del self._kept[0]
        self._kept.append(event)
        self._added += 1
        self._waiters.wake()

    def end(self) -> None:
        """Let the iterators end when they have read what is there."""
        self._ended = True
        self._waiters.wake()

    def read(self, position: int) -> tuple[Event | None, int]:
        """Return the event at `position`, or the oldest that is kept, and the next position."""
        position = max(position, self._added - len(self._kept))
        if position >= self._added:
            return None, position
        return self._kept[position - self._added], position + 1

    async def more(self) -> bool:
        """Wait for another event; False: there will be none."""
        if self._ended:
            return False
        await self._waiters.wait()
        return True


class Events:
    """An asynchronous iterator over the events of a session, from the oldest one that is kept.

    Each iterator has its own place. One that is slow misses the oldest events (`missed` counts them); none ever holds
    the session up. It ends with the session. Cancelling a step loses nothing.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._position = 0
        self.missed = 0
        """Events that were dropped before this iterator came to them."""

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Event:
        while True:
            event, position = self._log.read(self._position)
            if event is not None:
                self.missed += position - 1 - self._position
                self._position = position
                return event
            if not await self._log.more():
                raise StopAsyncIteration
