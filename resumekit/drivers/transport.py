"""What the driver needs of one open connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

__all__ = ["Dialer", "Transport"]


class Transport(Protocol):
    """One connection, open up to the HTTP upgrade.

    Once it has ended, `send`, `recv` and the pong raise one of `resumekit.drivers.TRANSPORT_ERRORS`.
    """

    async def send(self, frame: str) -> None:
        """Return when there is room for another frame. Never called twice at a time."""
        ...

    def send_now(self, frame: str) -> bool:
        """Send one text frame if that takes no waiting; False: `send` it. Not called while `send` runs."""
        ...

    def recv(self) -> Awaitable[bytes]:
        """Return the next frame. Never cancelled, and never called twice at a time."""
        ...

    async def close(self) -> None:
        """Close politely with 1000, and let go of everything. Idempotent; any task may call it, any number at a time."""
        ...

    def abort(self) -> None:
        """Drop the connection at once: what waits in `send`, `recv` and `close` ends. Idempotent."""
        ...

    async def ping(self) -> Awaitable[object]:
        """Send a ping; what is returned is done when it is answered."""
        ...


Dialer: TypeAlias = Callable[[], Awaitable[Transport]]
"""Opens a connection. Cancelling it leaves no socket behind."""
