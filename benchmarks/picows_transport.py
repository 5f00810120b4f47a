"""A `Transport` over picows, as a plugin would bring one: to see what the driver gains from a faster socket."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable

import picows

from resumekit.drivers import Receiver

__all__ = ["dial"]


class _PicowsTransport(picows.WSListener):
    """An open connection of picows."""

    def __init__(self) -> None:
        self._transport: picows.WSTransport
        self._receiver: Receiver | None = None
        self._flowing = False
        self._over = False
        self._waiting: deque[bytes] = deque()

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Keep the socket."""
        self._transport = transport

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Hand a frame over; the benchmark's server sends whole ones only."""
        if frame.msg_type not in (picows.WSMsgType.BINARY, picows.WSMsgType.TEXT):
            return
        if self._flowing and self._receiver is not None:
            self._receiver.frame_received(frame.get_payload_as_bytes())
        else:
            self._waiting.append(frame.get_payload_as_bytes())
            transport.underlying_transport.pause_reading()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:  # noqa: ARG002
        """Tell the end."""
        self._over = True
        self._tell_end()

    def receive(self, receiver: Receiver) -> None:
        """Hand over what comes."""
        self._receiver = receiver
        self.resume()

    def pause(self) -> None:
        """Hand over nothing for now."""
        self._flowing = False

    def resume(self) -> None:
        """Hand over what was kept, and read on."""
        self._flowing = True
        while self._waiting and self._flowing and self._receiver is not None:
            self._receiver.frame_received(self._waiting.popleft())
        if self._flowing:
            self._transport.underlying_transport.resume_reading()
            self._tell_end()

    def _tell_end(self) -> None:
        if self._over and self._flowing and self._receiver is not None:
            receiver, self._receiver = self._receiver, None
            receiver.connection_lost(ConnectionError("the connection is closed"))

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


async def dial(uri: str) -> _PicowsTransport:
    """Open a connection."""
    _, listener = await picows.ws_connect(_PicowsTransport, uri)
    assert isinstance(listener, _PicowsTransport)
    return listener
