"""`Address`: where servers are found that come one after the other."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Self

import trustme

from resumekit.errors import ResumekitError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Address", "held_port"]


def held_port(host: str, port: int) -> socket.socket:
    """Return a socket that is bound but does not listen: clients are refused, and nobody else gets the port.

    Args:
        port: 0 for any free one.

    Raises:
        OSError: The port is in use.
    """
    holder = socket.socket(proto=socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY only where the protocol is named
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host, port))
    except BaseException:
        holder.close()
        raise
    return holder


class Address:
    """A port of 127.0.0.1 and a certificate authority, for servers that come one after the other.

    A client that was made for one of them finds the next, and trusts it. Use it as a context manager, around the
    servers that it is given to; the port is kept from others while none of them runs.

    Args:
        port: 0 for any free one.
    """

    def __init__(self, port: int = 0) -> None:
        self.authority = trustme.CA()
        self.port = port
        """Known once it is entered."""
        self._holder: socket.socket | None = None

    def hold(self) -> None:
        """Keep the port, because no server runs; called by the server that leaves.

        Raises:
            OSError: The port is in use.
        """
        self._holder = held_port("127.0.0.1", self.port)
        self.port = self._holder.getsockname()[1]

    def take(self) -> socket.socket:
        """Return the bound socket for a server to listen on.

        Raises:
            ResumekitError: A server runs here already, or the address was not entered.
        """
        holder, self._holder = self._holder, None
        if holder is None:
            raise ResumekitError("the address is in use by a server, or was not entered")
        return holder

    def __enter__(self) -> Self:
        self.hold()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._holder is not None:
            self._holder.close()
            self._holder = None
