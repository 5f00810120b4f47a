"""What the driver needs of a pool that its session has to be let in by."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Admission"]


class Admission(Protocol):
    """One session's way through a pool: `enter` once, `leave` at the end, whatever became of `enter`."""

    async def enter(self, *, resumes: bool) -> None:
        """Return when the session may connect. Cancelling it gives up the place, once `leave` is called.

        Args:
            resumes: The conversation goes on from a handle.

        Raises:
            PoolTimeout: It took too long.
        """
        ...

    async def dialling(self) -> None:
        """Note that a connection is about to be opened. Never raises, and holds nothing up."""
        ...

    def used(self, tokens: int) -> None:
        """Note so many tokens."""
        ...

    async def leave(self) -> None:
        """Give the place or the slot back. Idempotent."""
        ...
