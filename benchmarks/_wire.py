"""A wire of a given length: a TCP proxy in a process of its own that lets bytes pass half a round trip later.

`python -m benchmarks._wire PORT SECONDS` listens, prints its own port, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncGenerator

from benchmarks.harness import ROOT

__all__ = ["wire"]

_CHUNK = 1 << 16


@contextlib.asynccontextmanager
async def wire(port: int, rtt: float) -> AsyncGenerator[int]:
    """Give the port of a wire to `port` on this machine.

    Args:
        port: Where it ends.
        rtt: Seconds of a round trip. The TCP handshake takes one, too.
    """
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks._wire", str(port), str(rtt)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    assert child.stdin is not None
    try:
        yield int(await child.stdout.readline())
    finally:
        child.stdin.close()
        await child.wait()


async def _serve(port: int, rtt: float) -> None:
    loop = asyncio.get_running_loop()
    pipes: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        established = loop.time() + rtt  # until then a client that is far away would not have sent a byte
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        for source, sink, earliest in ((reader, far_writer, established), (far_reader, writer, 0.0)):
            pipe = asyncio.create_task(_pipe(source, sink, rtt / 2, earliest))
            pipes.add(pipe)
            pipe.add_done_callback(pipes.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=1 << 22)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)


async def _pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter, delay: float, earliest: float) -> None:
    loop = asyncio.get_running_loop()
    end, reset = False, False
    while not end:
        try:
            chunk = await source.read(_CHUNK)
        except ConnectionError:
            chunk, reset = b"", True
        end = not chunk
        at = max(loop.time(), earliest) + delay
        if reset:
            loop.call_at(at, sink.transport.abort)
        elif end:
            loop.call_at(at, sink.close)
        else:
            loop.call_at(at, _write, sink, chunk)


def _write(sink: asyncio.StreamWriter, chunk: bytes) -> None:
    if not sink.is_closing():
        sink.write(chunk)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
