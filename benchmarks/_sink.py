"""A WebSocket server that swallows what it is sent: `python -m benchmarks._sink` prints its port."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Generator

from websockets.sync.server import ServerConnection, serve

from benchmarks.harness import ROOT

__all__ = ["sink"]


@contextlib.contextmanager
def sink() -> Generator[int]:
    """Run one in a process of its own; give its port."""
    command = [sys.executable, "-m", "benchmarks._sink"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def _swallow(connection: ServerConnection) -> None:
    for _ in connection:
        pass


if __name__ == "__main__":
    with serve(_swallow, "127.0.0.1", 0, compression=None) as server:
        print(server.socket.getsockname()[1], flush=True)
        server.serve_forever()
