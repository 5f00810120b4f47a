"""One connection of the driver: its transport, and the task that writes to it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from resumekit.core.failures import Phase
from resumekit.drivers.failures import TRANSPORT_ERRORS
from resumekit.drivers.transport import Transport

__all__ = ["Link"]


class Link:
    """A connection from its dial to its end."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.task: asyncio.Task[None] | None = None
        """Dials, then reads."""
        self.transport: Transport | None = None
        self.phase = Phase.DIAL
        self.closing = False
        self.stopped = False
        """Whatever the application takes, read on: the connection is being closed or dropped."""
        self.resume = asyncio.Event()
        self._ended = False
        self._frames: deque[str] = deque()
        self._work = asyncio.Event()

    def opened(self, transport: Transport) -> None:
        """Take the transport over, once."""
        self.transport = transport

    def write(self, frame: str) -> None:
        """Have a frame written."""
        if self.phase is Phase.DIAL:
            self.phase = Phase.BIND
        self._frames.append(frame)
        self._work.set()

    def close(self) -> None:
        """Have the connection closed politely, after what still has to be written. A dial is dropped."""
        if self.transport is None:
            self.abort()
            return
        self.closing = True
        self._stop()

    def abort(self) -> None:
        """Drop the connection, or the dial."""
        self._stop()
        if self.transport is not None:
            self.transport.abort()
        elif self.task is not None:
            self.task.cancel()

    def end(self) -> None:
        """Let the writer end: the connection is gone."""
        self._ended = True
        self._work.set()

    def _stop(self) -> None:
        self.stopped = True
        self.resume.set()
        self._work.set()

    async def write_all(self, written: Callable[[], None]) -> None:
        """Write frames as they come, and close at the end."""
        transport = self.transport
        assert transport is not None
        try:
            while not self._ended:
                while self._frames:
                    await transport.send(self._frames.popleft())
                    written()
                if self.closing:
                    break
                await self._work.wait()
                self._work.clear()
        except TRANSPORT_ERRORS:
            pass  # the reader reports the end
        await transport.close()
