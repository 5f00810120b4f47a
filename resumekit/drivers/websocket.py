"""A `Transport` over the websockets library, and the one place that dials with it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.connection import broadcast
from websockets.datastructures import Headers
from websockets.exceptions import InvalidURI
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import Event, State

from resumekit.core.policy import Policy
from resumekit.drivers.log import transport_logger
from resumekit.drivers.transport import Receiver

__all__ = ["PushConnection", "WebSocketTransport", "dial_websocket", "websocket_options"]

_NO_HEADERS = Headers()
_A_LITTLE_EARLIER = 0.9
"""The transport's own time-out comes before the engine's: its error says more, and is what the user knows."""


class PushConnection(ClientConnection):
    """A connection of `websockets` that hands each message over as soon as it has come.

    That takes the place of its queue, and of a task that waits for it. Messages are kept only while nobody takes them;
    then the socket is not read. Binary or text, they are bytes; that a text is no UTF-8 is for the receiver to see.
    """

    __slots__ = ("_close_deadline", "_flowing", "_hang_up", "_lost", "_parts", "_receiver", "_waiting")
    _hang_up: asyncio.TimerHandle | None
    """For a server that says goodbye, or was told goodbye, and then keeps the socket open."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: the socket is open."""
        super().connection_made(transport)
        self.recv_messages = _NO_QUEUE
        self._receiver: Receiver | None = None
        self._flowing = False
        self._lost = False
        self._parts: bytearray | None = None
        """Of a message in several frames."""
        self._waiting: deque[bytes] | None = None

    @property
    def close_deadline(self) -> float | None:
        """When the closing handshake has taken long enough; websockets sets it, and looks at it in `close` only."""
        return self._close_deadline

    @close_deadline.setter
    def close_deadline(  # pyright: ignore[reportIncompatibleVariableOverride] -- read and set as before
        self, deadline: float | None
    ) -> None:
        self._close_deadline = deadline
        if (set_before := getattr(self, "_hang_up", None)) is not None:
            set_before.cancel()
        self._hang_up = None
        if deadline is not None and not getattr(self, "_lost", False):
            self._hang_up = self.loop.call_at(deadline, self.drop)

    def receive(self, receiver: Receiver) -> None:
        """Hand over what has come, and what comes."""
        self._receiver = receiver
        self.resume()

    def guard(self, may_write: Callable[[], bool]) -> None:
        """Ask before anything is written: websockets answers pings, and says goodbye, by itself."""
        write = self.send_data

        def send_data() -> None:
            if may_write():
                write()
            else:
                self.transport.abort()

        # Of this connection alone: the others must not pay for it.
        self.send_data = send_data  # type: ignore[method-assign]

    def drop(self) -> None:
        """Let go of the socket, if there is one."""
        if (transport := getattr(self, "transport", None)) is not None:
            transport.abort()

    def pause(self) -> None:
        """Keep what comes, of which there is no more than one read of the socket."""
        self._flowing = False

    def resume(self) -> None:
        """Hand over what was kept; read on."""
        receiver, waiting = self._receiver, self._waiting
        if receiver is None:
            return
        self._flowing = True
        while waiting and self._flowing:
            receiver.frame_received(waiting.popleft())
        if self._flowing:
            self._waiting = None
            if not self.transport.is_closing():  # asyncio's over TLS breaks where it has been closed twice
                self.transport.resume_reading()
            self._tell_end()

    def process_event(self, event: Event) -> None:
        """Take a frame."""
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
            return
        if event.fin and self._parts is None:
            message = bytes(event.data)
        else:
            self._parts = self._parts or bytearray()
            self._parts += event.data
            if not event.fin:
                return
            message, self._parts = bytes(self._parts), None
        if self._flowing and self._receiver is not None:
            self._receiver.frame_received(message)
            return
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(message)
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """End: the socket is closed."""
        super().connection_lost(exc)
        self.__dict__.pop("send_data", None)  # it holds on to us
        self._lost = True
        if self._hang_up is not None:
            self._hang_up.cancel()
        self._tell_end()

    def _tell_end(self) -> None:
        receiver = self._receiver
        if not (self._lost and self._flowing) or receiver is None:
            return
        self._receiver, self._flowing = None, False
        error = self.protocol.close_exc
        # What broke the connection, as recv() has it: websockets 17 and later, and before.
        cause = getattr(self, "connection_exc", None) or getattr(self, "recv_exc", None)
        if cause is not None:
            error.__cause__ = cause
        receiver.connection_lost(error)


class _NoQueue:
    """In the place of the `Assembler` of a connection, which takes most of a KiB."""

    def close(self) -> None:
        """Nobody waits."""


_NO_QUEUE: Any = _NoQueue()


class WebSocketTransport:
    """An open connection of `websockets`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: PushConnection) -> None:
        self._connection = connection

    def receive(self, receiver: Receiver) -> None:
        """Hand over all that comes, as bytes."""
        self._connection.receive(receiver)

    def pause(self) -> None:
        """Hand over nothing for now."""
        self._connection.pause()

    def resume(self) -> None:
        """Hand over what comes again."""
        self._connection.resume()

    def guard(self, may_write: Callable[[], bool]) -> None:
        """Ask before anything is written."""
        self._connection.guard(may_write)

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


class _Dial(connect):
    """Goes where a redirect says only if that is the same server: `x-goog-api-key` is for nobody else.

    websockets would take `Authorization` and cookies out of a request to another one, and nothing else.
    """

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Return the new address, or else the refusal with the redirect in it."""
        before = urlsplit(self.uri)
        try:
            told = super().process_redirect(exc)
            return told if isinstance(told, str) and urlsplit(told)[:2] == before[:2] else exc
        except (InvalidURI, ValueError):  # what it says is no address
            return exc


async def dial_websocket(
    uri: str, *, additional_headers: object = None, policy: Policy, options: Mapping[str, object] | None = None
) -> WebSocketTransport:
    """Open a connection.

    Args:
        uri: `ws://` or `wss://`.
        additional_headers: As `websockets.connect` takes them.
        policy: Time-outs and the largest message.
        options: More arguments of `websockets.connect`, such as `ssl` and `proxy`. Where they meet what the driver
            does itself (keepalive, time-outs, sizes, the log, `create_connection`), the driver's hold.

    Raises:
        OSError: TCP, TLS or a time-out.
        websockets.exceptions.InvalidHandshake: The upgrade was refused.
    """
    arguments = {**(options or {}), **websocket_options(policy)}
    if additional_headers is not None:
        arguments["additional_headers"] = additional_headers
    made: list[PushConnection] = []

    def make(*given: Any, **options: Any) -> PushConnection:
        made.append(PushConnection(*given, **options))
        return made[-1]

    arguments["create_connection"] = make
    try:
        connection = await _Dial(uri, **arguments)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] -- as the user gave them
    except BaseException:
        # Cancelled in the moment in which TLS is there, asyncio says goodbye to the peer, and waits for its answer.
        for connection in made:
            connection.drop()
        raise
    assert isinstance(connection, PushConnection)
    # Nobody asks for the handshake any more: 4 KiB, and the API key is in it.
    connection.request = None
    if connection.response is not None:
        connection.response.headers = _NO_HEADERS
    return WebSocketTransport(connection)
