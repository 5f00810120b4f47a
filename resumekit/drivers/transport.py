"""What the driver needs of one open connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

__all__ = ["Dialer", "Receiver", "Transport"]


class Receiver(Protocol):
    """Takes what comes over a connection. Never raises; may call the transport while it is called."""

    def frame_received(self, frame: bytes) -> None:
        """Take the next message, text or binary."""
        ...

    def connection_lost(self, error: BaseException) -> None:
        """Take note that nothing comes any more; the transport has let go of its socket.

        Args:
            error: One of `resumekit.drivers.TRANSPORT_ERRORS`.
        """
        ...


class Transport(Protocol):
    """One connection, open up to the HTTP upgrade.

    Once it has ended, `send` and the pong raise one of `resumekit.drivers.TRANSPORT_ERRORS`.
    """

    def receive(self, receiver: Receiver) -> None:
        """Hand over every message from now on, those first that have come already, and then, once, the end.

        Called once. The receiver may be called before this returns, and always on the event loop.
        """
        ...

    def pause(self) -> None:
        """Hand over nothing, not even the end, until `resume`, and soon read no more. Called by the receiver alone."""
        ...

    def resume(self) -> None:
        """Undo `pause`, if there was one; the receiver may be called before this returns."""
        ...

    def guard(self, may_write: Callable[[], bool]) -> None:
        """Ask before anything is written from now on, pongs and goodbyes too; where the answer is no, drop the connection."""
        ...

    async def send(self, frame: str) -> None:
        """Return when there is room for another frame. Never called twice at a time."""
        ...

    def send_now(self, frame: str) -> bool:
        """Send one text frame if that takes no waiting; False: `send` it. Not called while `send` runs."""
        ...

    async def close(self) -> None:
        """Close politely with 1000, and let go of everything. Idempotent; any task may call it, any number at a time."""
        ...

    def abort(self) -> None:
        """Drop the connection: what waits in `send` and `close` ends, and the receiver is told soon. Idempotent."""
        ...

    async def ping(self) -> Awaitable[object]:
        """Send a ping; what is returned is done when it is answered."""
        ...


Dialer: TypeAlias = Callable[[], Awaitable[Transport]]
"""Opens a connection. Cancelling it leaves no socket behind."""
