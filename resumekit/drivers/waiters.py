"""Tasks that wait for something to happen."""

from __future__ import annotations

import asyncio

__all__ = ["Waiters"]


class Waiters:
    """As `asyncio.Event` that is cleared as soon as it is set; takes 40 bytes while nobody waits, not 850."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        self._futures: tuple[asyncio.Future[None], ...] = ()

    async def wait(self) -> None:
        """Return at the next `wake`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._futures += (future,)
        try:
            await future
        finally:
            self._futures = tuple(other for other in self._futures if other is not future)

    def wake(self) -> None:
        """Let everybody go who waits now."""
        for future in self._futures:
            if not future.done():
                future.set_result(None)
