"""The WebSocket under a connection, with what a well-behaved one never does: reset, go mute, answer pings late."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any, cast

from websockets.asyncio.server import ServerConnection
from websockets.frames import Opcode

if TYPE_CHECKING:
    import asyncio

    from websockets.frames import Frame

    from resumekit.emulator.service import ConnectionRecord

__all__ = ["Socket"]

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class _Polite:
    """A transport whose abort is a close, which sends what is still to be sent."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def abort(self) -> None:
        self._transport.close()


class Socket(ServerConnection):
    """A `ServerConnection` that can misbehave."""

    record: ConnectionRecord | None = None
    """Set when the upgrade request comes in."""
    pong_delay: float = 0.0
    """Real seconds."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the pongs over: websockets answers a ping as soon as it has read it."""
        protocol = self.protocol
        send_frame = protocol.send_frame

        def send_or_delay(frame: Frame) -> None:
            if frame.opcode is Opcode.PONG and self.pong_delay > 0:
                self.loop.call_later(self.pong_delay, self._send_late, send_frame, frame)
            else:
                send_frame(frame)

        cast("Any", protocol).send_frame = send_or_delay
        super().connection_made(transport)

    def _send_late(self, send_frame: Any, frame: Frame) -> None:
        if self.transport.is_closing():
            return
        send_frame(frame)
        for data in self.protocol.data_to_send():
            if data:
                self.transport.write(data)

    def reset(self) -> None:
        """Abort the TCP connection so that the peer gets an RST."""
        raw = self.transport.get_extra_info("socket")
        if raw is not None and raw.fileno() >= 0:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    def refuse_politely(self) -> None:
        """Let the refusal of an upgrade arrive: websockets aborts the transport right behind it."""
        self.transport = cast("asyncio.Transport", _Polite(self.transport))

    def end_transport(self) -> None:
        """End TLS and TCP in order, without a WebSocket close frame."""
        self.transport.close()

    def mute(self) -> None:
        """Read nothing more, whatever comes; who calls this writes nothing more either."""
        self.transport.pause_reading()

    def write_torn(self, payload: bytes) -> None:
        """Write the head of a WebSocket frame and half of its payload, then end the transport."""
        head = struct.pack("!BBQ", 0x82, 127, len(payload))
        self.transport.write(head + payload[: len(payload) // 2])
        self.transport.close()
