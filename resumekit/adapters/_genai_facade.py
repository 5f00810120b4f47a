"""A connection of websockets that lives on by itself, for frameworks that take `HttpOptions` and no client.

google-genai opens it, sends it the setup and receives the answer. With that it becomes the first connection of a
driver, which from then on carries the session: what google-genai sends and receives goes through the driver, and later
connections are dialled to the same address, with the same headers and TLS. Nothing private of google-genai is touched.
"""

from __future__ import annotations

import inspect
import ssl
from collections.abc import Awaitable, Callable, Mapping
from types import MethodType
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.datastructures import Headers

from resumekit.drivers import PushConnection, WebSocketTransport

if TYPE_CHECKING:
    from websockets.client import ClientProtocol

__all__ = ["Address", "Facade", "Made", "OpenSession", "Over", "options_of_websockets"]

_OF_THE_HANDSHAKE = ("host", "upgrade", "connection", "sec-websocket-")
"""Beginnings of headers that websockets adds itself."""


class Over(Protocol):
    """What stands in for the connection, once there is a session."""

    async def send(self, frame: str) -> None:
        """Take a client frame over."""
        ...

    async def recv(self, decode: bool | None = None) -> bytes:  # noqa: FBT001 -- as websockets has it
        """Return the next frame."""
        ...

    async def close(self) -> None:
        """End the session."""
        ...


class Address:
    """Where the first connection went, and how; what later ones need."""

    def __init__(self, connection: ClientConnection) -> None:
        request = connection.request
        assert request is not None
        tls: object = connection.transport.get_extra_info("sslcontext")
        self.uri = f"{'wss' if tls else 'ws'}://{request.headers['Host']}{request.path}"
        self.headers = Headers()
        for name, value in request.headers.raw_items():
            if not name.lower().startswith(_OF_THE_HANDSHAKE) and name not in self.headers:
                self.headers[name] = value  # not websockets' own User-Agent, which version 13 appends
        self.options: dict[str, object] = {"ssl": tls} if isinstance(tls, ssl.SSLContext) else {}

    def headers_with(self, newer: Mapping[str, str]) -> Headers:
        """Return the headers for a dial, with newer values for some."""
        headers = self.headers.copy()
        for name, value in newer.items():
            headers.pop(name, None)
            headers[name] = value
        return headers

    def __repr__(self) -> str:
        return f"<Address {self.uri.partition('?')[0]}>"


OpenSession = Callable[[str, WebSocketTransport, Address], Awaitable[tuple[Over, bytes]]]
"""Called with the setup and the first connection; returns the session and the service's answer to the setup."""


class Facade(PushConnection):
    """What google-genai takes for its only connection. Made by `Made`, in the place of a `ClientConnection`."""

    def __init__(self, open_session: OpenSession, protocol: ClientProtocol, **arguments: Any) -> None:
        super().__init__(protocol, **arguments)
        self._open_session = open_session
        self._first_frame: str | None = None
        self._session: Over | None = None

    async def send(self, message: Any, *, text: bool | None = None) -> None:  # type: ignore[override, unused-ignore] # noqa: ARG002 -- as websockets has it
        """Keep the setup; send all else through the session."""
        if self._session is not None:
            await self._session.send(message)
        else:
            self._first_frame = message

    async def recv(self, decode: bool | None = None) -> Any:  # noqa: FBT001 -- as websockets has it
        """Open the session, and return the answer to the setup; later what comes through the session."""
        if self._session is not None:
            return await self._session.recv(decode)
        assert self._first_frame is not None, "google-genai sends the setup first"
        first = WebSocketTransport(cast("PushConnection", _Beneath(self)))
        self._session, answer = await self._open_session(self._first_frame, first, Address(self))
        return answer

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the session, or the connection if there is none."""
        if self._session is not None:
            await self._session.close()
        await super().close(code, reason)


class _Beneath:
    """The connection itself, under the methods that `Facade` has put over it."""

    def __init__(self, facade: Facade) -> None:
        self._facade = facade
        for name in ("send", "close", "ping"):
            setattr(self, name, MethodType(getattr(ClientConnection, name), facade))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._facade, name)


def options_of_websockets(arguments: Mapping[str, object]) -> dict[str, object]:
    """Return those arguments that `websockets.connect` takes, without the maker of connections."""
    known = inspect.signature(connect).parameters.keys() - {"create_connection"}
    return {name: value for name, value in arguments.items() if name in known}


class Made:
    """The `create_connection` of `HttpOptions.async_client_args`. Copies are the same object: it has no state."""

    def __init__(self, open_session: OpenSession) -> None:
        self._open_session = open_session

    def __call__(self, protocol: ClientProtocol, **arguments: Any) -> Facade:
        return Facade(self._open_session, protocol, **arguments)

    def __deepcopy__(self, memo: object) -> Self:
        return self
