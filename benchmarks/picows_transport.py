"""A `Transport` over picows, as a plugin would bring one: to see what the driver gains from a faster socket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable

import picows

__all__ = ["PicowsTransport", "dial"]

_HIGH, _LOW = 64, 16
"""Frames that wait before the socket is not read any more, and before it is again."""


class PicowsTransport(picows.WSListener):
    """An open connection of picows."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._over = False
        self._paused = False
        self._transport: picows.WSTransport

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Keep the socket."""
        self._transport = transport

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Queue a frame; the benchmark's server sends whole ones only."""
        if frame.msg_type not in (picows.WSMsgType.BINARY, picows.WSMsgType.TEXT):
            return
        self._frames.append(frame.get_payload_as_bytes())
        if self._waiter is not None:
            self._wake()
        if len(self._frames) > _HIGH and not self._paused:
            self._paused = True
            transport.underlying_transport.pause_reading()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:  # noqa: ARG002
        """End what waits."""
        self._over = True
        self._wake()

    async def recv(self) -> bytes:
        """Return the next frame."""
        frames = self._frames
        while not frames:
            if self._over:
                raise ConnectionError("the connection is closed")
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        frame = frames.popleft()
        if self._paused and len(frames) < _LOW:
            self._paused = False
            self._transport.underlying_transport.resume_reading()
        return frame

    async def send(self, frame: str) -> None:
        """Send one text frame."""
        self._transport.send(picows.WSMsgType.TEXT, frame.encode())

    async def close(self) -> None:
        """Close with 1000."""
        self._transport.send_close(picows.WSCloseCode.OK)
        self._transport.disconnect()

    def abort(self) -> None:
        """Drop the socket."""
        self._transport.disconnect(graceful=False)

    def send_now(self, frame: str) -> bool:  # noqa: ARG002 -- as the protocol has it
        """Nothing goes at once."""
        return False

    async def ping(self) -> Awaitable[object]:
        """Not needed by the server of the benchmark."""
        raise ConnectionError("no pings here")

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


async def dial(uri: str) -> PicowsTransport:
    """Open a connection."""
    _, listener = await picows.ws_connect(PicowsTransport, uri)
    assert isinstance(listener, PicowsTransport)
    return listener
