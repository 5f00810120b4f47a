"""Tasks that wait for something to happen."""

from __future__ import annotations

import asyncio

__all__ = ["Waiters"]


class Waiters:
    """As `asyncio.Event` that is cleared as soon as it is set; takes 40 bytes while nobody waits, not 850."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        self._futures: tuple[asyncio.Future[None], ...] = ()

    def wait(self) -> asyncio.Future[None]:
        """Return what is done at the next `wake`. Cancelling it is no harm."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._futures = (*(other for other in self._futures if not other.done()), future)
        return future

    def wake(self) -> None:
        """Let everybody go who waits now."""
        futures, self._futures = self._futures, ()
        for future in futures:
            if not future.done():
                future.set_result(None)
