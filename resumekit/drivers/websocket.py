"""A `Transport` over the websockets library, and the one place that dials with it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Coroutine, Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.connection import broadcast
from websockets.datastructures import Headers
from websockets.protocol import State

from resumekit.core.policy import Policy
from resumekit.drivers.log import transport_logger

__all__ = ["WebSocketTransport", "dial_websocket", "websocket_options"]

_NO_HEADERS = Headers()
_RECV_DECODES = "decode" in inspect.signature(ClientConnection.recv).parameters  # websockets 14 and later
_A_LITTLE_EARLIER = 0.9
"""The transport's own time-out comes before the engine's: its error says more, and is what the user knows."""


class WebSocketTransport:
    """An open connection of `websockets`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, frame: str) -> None:
        """Send one text frame."""
        await self._connection.send(frame)

    def send_now(self, frame: str) -> bool:
        """Send one text frame if the socket takes it at once."""
        connection = self._connection
        if connection.state is not State.OPEN or connection.transport.get_write_buffer_size():
            return False
        broadcast((connection,), frame)
        return True

    def recv(self) -> Coroutine[Any, Any, bytes]:
        """Return the next frame, text or binary, as bytes."""
        return self._connection.recv(decode=False) if _RECV_DECODES else self._recv_encoded()

    async def _recv_encoded(self) -> bytes:
        frame: str | bytes = await self._connection.recv()
        return frame.encode() if isinstance(frame, str) else frame

    async def close(self) -> None:
        """Close with 1000; does nothing once the connection is closed."""
        await self._connection.close()

    def abort(self) -> None:
        """Drop the socket."""
        self._connection.transport.abort()

    async def ping(self) -> Awaitable[object]:
        """Send a ping."""
        return await self._connection.ping()


def websocket_options(policy: Policy) -> dict[str, object]:
    """Return the arguments of `websockets.connect` that every connection of a driver is made with."""
    return {
        # The engine watches over the connection itself; a second keepalive would close it behind its back.
        "ping_interval": None,
        "open_timeout": policy.connect_timeout * _A_LITTLE_EARLIER,
        "close_timeout": policy.close_wait,
        "max_size": policy.max_message_size,
        "logger": transport_logger,
    }


async def dial_websocket(
    uri: str, *, additional_headers: object = None, policy: Policy, options: Mapping[str, object] | None = None
) -> WebSocketTransport:
    """Open a connection.

    Args:
        uri: `ws://` or `wss://`.
        additional_headers: As `websockets.connect` takes them.
        policy: Time-outs and the largest message.
        options: More arguments of `websockets.connect`, such as `ssl` and `proxy`. Where they meet what the driver
            does itself (keepalive, time-outs, sizes, the log), the driver's hold.

    Raises:
        OSError: TCP, TLS or a time-out.
        websockets.exceptions.InvalidHandshake: The upgrade was refused.
    """
    arguments = {**(options or {}), **websocket_options(policy)}
    if additional_headers is not None:
        arguments["additional_headers"] = additional_headers
    connection = await connect(uri, **arguments)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] -- as the user gave them
    # Nobody asks for the handshake any more: 4 KiB, and the API key is in it.
    connection.request = None
    if connection.response is not None:
        connection.response.headers = _NO_HEADERS
    return WebSocketTransport(connection)
