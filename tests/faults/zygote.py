"""Emulators, each in a process of its own, that start at once: to import one takes longer than a conversation.

A process that has imported everything forks for each two connections to its socket; the child is what
`python -m resumekit.emulator` would be, with these for its stdin and stdout. `Emulator` is an `EmulatorProcess` on such a
child; whatever else takes long to import may be started so, too (`zygote`, `serve`).
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path

from resumekit.emulator import EmulatorProcess
from resumekit.emulator.control import control

FAILED = b"failed"


class Emulator(EmulatorProcess):
    """An `EmulatorProcess` that is forked, not started."""

    async def __aenter__(self):
        address = zygote()
        first, second = dial(address), dial(address)  # without a pause: nobody else's come between
        _, self._writer = await asyncio.open_unix_connection(sock=first)
        self._reader, self._other_writer = await asyncio.open_unix_connection(sock=second, limit=2**26)
        self._pid = (await self._read())["pid"]
        await self._write(self._config)
        ready = await self._read()
        assert "error" not in ready, ready
        self.port, self._pem = ready["port"], ready["ca"]
        return self

    @property
    def pid(self):
        return self._pid

    async def _stop(self):
        with contextlib.suppress(OSError):  # it was killed
            self._writer.write_eof()
        last_words = await self._reader.read()
        for writer in (self._writer, self._other_writer):
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        return int(FAILED in last_words)

    async def _write(self, message):
        self._writer.write(json.dumps(message).encode() + b"\n")
        await self._writer.drain()

    async def _read(self):
        line = await self._reader.readline()
        assert line, "the emulator ended; its error is on stderr"
        return json.loads(line)


def dial(address: str) -> socket.socket:
    """Connect to a local socket, which takes no time."""
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(address)
    return stream


@functools.cache
def zygote(module: str = "tests.faults.zygote") -> str:
    """Return the address of this process's zygote, which ends with it: a module that calls `serve`."""
    folder = tempfile.mkdtemp(prefix="zygote-")
    atexit.register(shutil.rmtree, folder)
    address = str(Path(folder) / "socket")
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-m", module, address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root, "TMPDIR": folder},
        cwd=root,
    )
    atexit.register(process.communicate)
    process.stdout.readline()
    return address


def serve(address: str, work: Callable[[], Coroutine[object, object, object]]) -> None:
    """Fork for each two connections, until stdin ends; the child does the work."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while True:
            readable, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in readable:
                return
            streams = [listener.accept()[0] for _ in range(2)]
            if os.fork() == 0:
                listener.close()
                become(work, *streams)
            for stream in streams:
                stream.close()


def become(work: Callable[[], Coroutine[object, object, object]], *streams: socket.socket) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
        stream.close()
    os.write(1, json.dumps({"pid": os.getpid()}).encode() + b"\n")
    try:
        asyncio.run(work())
    except BaseException:
        traceback.print_exc()
        os.write(1, FAILED)
    finally:
        os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1], control)
