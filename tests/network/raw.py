"""A server below WebSocket: it reads the request of an upgrade, and then writes whatever bytes a test wants, over TLS or not."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import hashlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import trustme

__all__ = ["Peer", "RawServer", "frame", "listening", "upgraded"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass
class Peer:
    """One connection, as the server has it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes = b""
    """The request, once it is there."""

    async def request(self) -> bytes:
        """Read the request up to its end."""
        self.head = await self.reader.readuntil(b"\r\n\r\n")
        return self.head

    def header(self, name: str) -> str:
        """Return a header of the request; empty if it is not there."""
        lines = self.head.decode().split("\r\n")
        found = (line.partition(": ")[2] for line in lines if line.lower().startswith(f"{name.lower()}: "))
        return next(found, "")

    def write(self, data: bytes) -> None:
        """Write, whether or not the client is still there."""
        self.writer.write(data)

    async def gone(self) -> None:
        """Read until the client hangs up."""
        with contextlib.suppress(OSError):
            while await self.reader.read(65536):
                pass


Handler = Callable[[Peer], Awaitable[None]]


@dataclass
class RawServer:
    """What `listening` gives."""

    port: int
    client_ssl: ssl.SSLContext | None
    peers: list[Peer] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Scheme, host and port."""
        return f"{'ws' if self.client_ssl is None else 'wss'}://127.0.0.1:{self.port}"


@functools.cache
def _authority() -> tuple[trustme.CA, trustme.LeafCert]:
    authority = trustme.CA()
    return authority, authority.issue_cert("127.0.0.1")


@contextlib.asynccontextmanager
async def listening(handler: Handler, *, tls: bool = False) -> AsyncIterator[RawServer]:
    """Have connections handled; each is closed when its handler returns, and the handlers are over in the end."""
    contexts: list[ssl.SSLContext | None] = [None, None]
    if tls:
        authority, certificate = await asyncio.to_thread(_authority)
        contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()]
        certificate.configure_cert(contexts[0])
        authority.configure_trust(contexts[1])
    handling: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        handling.add(task)
        peer = Peer(reader, writer)
        raw.peers.append(peer)
        try:
            await handler(peer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            handling.discard(task)
            writer.transport.abort() if peer.reader.at_eof() else writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=contexts[0])
    raw = RawServer(server.sockets[0].getsockname()[1], contexts[1])
    try:
        yield raw
    finally:
        server.close()
        for task in handling:
            task.cancel()
        if handling:
            await asyncio.wait(handling)


def upgraded(peer: Peer, *headers: str) -> bytes:
    """Return the answer that accepts an upgrade."""
    accept = base64.b64encode(hashlib.sha1(peer.header("Sec-WebSocket-Key").encode() + _GUID).digest()).decode()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    return "\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept}", *headers, "", ""]).encode()


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0, length: int | None = None
) -> bytes:
    """Return a WebSocket frame of a server; `length` is what it says that its payload has."""
    size = len(payload) if length is None else length
    head = bytes([fin << 7 | reserved << 4 | opcode])
    if size < 126:
        return head + bytes([size]) + payload
    if size < 65536:
        return head + b"\x7e" + size.to_bytes(2, "big") + payload
    return head + b"\x7f" + size.to_bytes(8, "big") + payload
