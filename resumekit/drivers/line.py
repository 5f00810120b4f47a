"""The line of senders that wait for room in the buffer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from resumekit.core.engine import Engine
from resumekit.wire import ClientMessage

__all__ = ["Line"]


class Line:
    """First come, first served: what needs less room does not overtake what needs more.

    Args:
        engine: Tells whether there is room.
        patience: Seconds that each sender waits at most.
    """

    __slots__ = ("_engine", "_over", "_patience", "places")

    def __init__(self, engine: Engine, *, patience: float) -> None:
        self._engine = engine
        self._patience = patience
        self._over = False
        self.places: tuple[tuple[ClientMessage, asyncio.Future[None]], ...] = ()
        """Who waits, the first one first; done once it is let through."""

    async def wait(self, message: ClientMessage, send: Callable[[ClientMessage], None]) -> None:
        """Wait for room, then call `send`. Whoever is let through keeps the place until its message is in the buffer.

        Raises:
            BufferFull: There was no room in time; the message was not sent.
        """
        place = (message, asyncio.get_running_loop().create_future())
        self.places += (place,)
        try:
            await self._let_through(place[1], message)
            send(message)
        finally:
            self.places = tuple(other for other in self.places if other is not place)
            self.advance()

    async def _let_through(self, place: asyncio.Future[None], message: ClientMessage) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await place
        except TimeoutError:
            raise self._engine.buffer_full(message) from None

    def advance(self) -> None:
        """Let the first in line through, if there is room; it lets the next one through."""
        if self.places:
            message, place = self.places[0]
            if not place.done() and (self._over or self._engine.has_room(message)):
                place.set_result(None)

    def end(self) -> None:
        """Let all through, one after another: the session is over, and `send` tells them."""
        self._over = True
        self.advance()
