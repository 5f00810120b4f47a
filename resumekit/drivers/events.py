"""Events on their way to the application: kept for a while, read by any number of iterators."""

from __future__ import annotations

import asyncio
from collections import deque

from resumekit.core.events import Event

__all__ = ["EventLog", "Events"]

_KEPT = 1000


class EventLog:
    """The newest events of a session."""

    def __init__(self, limit: int = _KEPT) -> None:
        self._kept: deque[Event] = deque(maxlen=limit)
        self._added = 0
        self._ended = False
        self._waiting: set[asyncio.Future[None]] = set()

    def add(self, event: Event) -> None:
        """Append an event; the oldest goes when the log is full."""
        self._kept.append(event)
        self._added += 1
        self._wake()

    def end(self) -> None:
        """Let the iterators end when they have read what is there."""
        self._ended = True
        self._wake()

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
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)
        return True

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)


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
