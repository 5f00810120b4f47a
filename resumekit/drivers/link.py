"""One connection of the driver: its transport, and what waits to be written to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from resumekit.core.failures import Phase
from resumekit.drivers.failures import TRANSPORT_ERRORS
from resumekit.drivers.transport import Transport

__all__ = ["Link", "Owner"]


class Owner(Protocol):
    """Is told what comes over its links."""

    def frame_received(self, link: Link, frame: bytes) -> None:
        """Take a message."""
        ...

    def connection_lost(self, link: Link, error: BaseException) -> None:
        """Take note of the end."""
        ...


class Link:
    """A connection from its dial to its end; the `Receiver` of its transport.

    What the socket does not take at once is written by `write_all`, which also closes the connection: have it run, as a
    task, whenever `needs_writer` says so.
    """

    __slots__ = ("_frames", "_owner", "closing", "dial", "number", "over", "phase", "stopped", "transport", "writer")

    def __init__(self, number: int, owner: Owner) -> None:
        self.number = number
        self._owner = owner
        self.dial: asyncio.Task[None] | None = None
        self.writer: asyncio.Task[None] | None = None
        """While there is something to write."""
        self.transport: Transport | None = None
        self.phase = Phase.DIAL
        self.closing = False
        self.stopped = False
        """Whatever the application takes, read on: the connection is being closed or dropped."""
        self.over = False
        """Nothing of it counts any more."""
        self._frames: list[str] = []

    def frame_received(self, frame: bytes) -> None:
        """Pass a message on."""
        if not self.over:
            self._owner.frame_received(self, frame)

    def connection_lost(self, error: BaseException) -> None:
        """Pass the end on."""
        self._owner.connection_lost(self, error)

    def write(self, frame: str) -> bool:
        """Write a frame, or have it written; tell whether it is. A task for each would cost as much as the write."""
        if self.phase is Phase.DIAL:
            self.phase = Phase.BIND
        if self.write_now(frame):
            return True
        self._frames.append(frame)
        return False

    def write_now(self, frame: str) -> bool:
        """Write a frame if that takes no waiting, and nothing else waits."""
        transport = self.transport
        if self.writer is not None or transport is None or self._frames or self.stopped:
            return False
        return transport.send_now(frame)

    @property
    def needs_writer(self) -> bool:
        """Whether there is something to do for `write_all`, and it does not run."""
        return self.writer is None and self.transport is not None and (bool(self._frames) or self.closing)

    def close(self) -> None:
        """Have the connection closed politely, after what still has to be written. A dial is dropped."""
        if self.transport is None:
            self.abort()
            return
        self.closing = self.stopped = True
        self.transport.resume()

    def abort(self) -> None:
        """Drop the connection, or the dial."""
        self.stopped = True
        if self.transport is not None:
            self.transport.abort()
            self.transport.resume()
        elif self.dial is not None:
            self.dial.cancel()

    async def write_all(self, written: Callable[[], None]) -> None:
        """Write what waits, and close where that is the end."""
        transport = self.transport
        assert transport is not None
        try:
            while self._frames and not self.over:
                await transport.send(self._frames.pop(0))
                written()
            if self.closing:
                await transport.close()
        except TRANSPORT_ERRORS:
            self._frames.clear()  # the receiver reports the end
        finally:
            self.writer = None
