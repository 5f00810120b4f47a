"""The other end of the socket, in a process of its own: `python -m benchmarks.server` prints its port and serves until its
standard input ends.

It speaks no more of WebSocket than it takes to say the same frames over and over, as bytes that were laid out before: so
the client is what is measured. What is said is in the path of the request, as `Script` reads it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Generator
from dataclasses import asdict, dataclass
from functools import cache
from urllib.parse import parse_qs, urlencode, urlsplit

from benchmarks import frames
from benchmarks.harness import ROOT

__all__ = ["Script", "serve"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CLOSE = 0x88


@dataclass(frozen=True, kw_only=True)
class Script:
    """What to say on a connection, after the setup and the first message."""

    frames: str = "audio"
    """`audio`, or `mix`: a voice conversation that nobody ends."""
    count: int = 1000
    """Of frames. At full speed and without deflate they are said again and again, until the client closes."""
    pace: float = 0.0
    """Seconds from one frame to the next; 0: as fast as the socket takes them."""
    deflate: bool = False
    """Take the client's offer of permessage-deflate."""
    milliseconds: float = 40
    """Of sound in each frame of `audio`."""
    together: int = 1
    """Begin when so many connections wait for this script."""

    @property
    def path(self) -> str:
        """What to ask for."""
        return "?" + urlencode({"script": json.dumps(asdict(self))})


@contextlib.contextmanager
def serve() -> Generator[int]:
    """Run the server in a process of its own; give its port."""
    command = [sys.executable, "-m", "benchmarks.server"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.terminate()


@cache
def _gate(script: Script) -> threading.Barrier:
    return threading.Barrier(script.together)


@cache
def _content(script: Script) -> tuple[bytes, ...]:
    if script.frames == "audio":
        some = frames.audio(script.count, milliseconds=script.milliseconds)
    else:
        some = frames.mix(script.count)
    some = [frame for frame in some if b"goAway" not in frame]
    if not script.deflate:
        return tuple(_framed(frame) for frame in some)
    deflate = zlib.compressobj(wbits=-12)
    packed = [deflate.compress(frame) + deflate.flush(zlib.Z_SYNC_FLUSH) for frame in some]
    return tuple(_framed(data[:-4], compressed=True) for data in packed)


def _framed(payload: bytes, *, compressed: bool = False) -> bytes:
    first = 0x82 | (0x40 if compressed else 0)
    if len(payload) < 126:
        return bytes([first, len(payload)]) + payload
    if len(payload) < 1 << 16:
        return bytes([first, 126]) + len(payload).to_bytes(2, "big") + payload
    return bytes([first, 127]) + len(payload).to_bytes(8, "big") + payload


def _upgrade(connection: socket.socket) -> Script:
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(65536)
    lines = request.split(b"\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
    query = parse_qs(urlsplit(lines[0].split()[1].decode()).query)
    script = Script(**json.loads(query["script"][0]))
    accept = base64.b64encode(hashlib.sha1(headers[b"sec-websocket-key"] + _GUID).digest())  # noqa: S324 -- RFC 6455
    answer = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade"]
    answer.append(b"Sec-WebSocket-Accept: " + accept)
    if script.deflate:
        assert b"permessage-deflate" in headers[b"sec-websocket-extensions"]
        answer.append(b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=12")
    connection.sendall(b"\r\n".join(answer) + b"\r\n\r\n")
    return script


def _talk(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        script = _upgrade(connection)
        content = _content(script)
        connection.recv(65536)  # the setup
        connection.sendall(_framed(frames.setup_complete()))
        connection.recv(65536)  # the first message
        _gate(script).wait()
        over = threading.Event()
        threading.Thread(target=_listen, args=(connection, over), daemon=True).start()
        if script.pace:
            due = time.perf_counter()
            for frame in content:
                due += script.pace
                time.sleep(max(0.0, due - time.perf_counter()))
                connection.sendall(frame)
            over.wait()
        whole = b"".join(content)
        while not over.is_set():
            connection.sendall(whole)
            if script.deflate:  # it is compressed as one stream, and cannot be said again
                over.wait()


def _listen(connection: socket.socket, done: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while data := connection.recv(65536):
            if data[0] == _CLOSE:
                break
        done.set()
        connection.shutdown(socket.SHUT_RDWR)
    done.set()


def main() -> None:
    """Serve until the standard input ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)

        def accept() -> None:
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=_talk, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        sys.stdin.read()


if __name__ == "__main__":
    main()
