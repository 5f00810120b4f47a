"""examples/two_workers: the worker that has the call dies, or is told to end, and the other one goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys

import pytest
from websockets.asyncio.client import connect

from tests.processes.support import PATIENCE, ROOT, emulator, environment_for, hold

pytestmark = pytest.mark.network
EXAMPLE = ROOT / "examples" / "two_workers"


@contextlib.asynccontextmanager
async def started(script, *ports, **environment):
    """Start a process of the example; yield the process and its port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "ignore", str(EXAMPLE / script), "0", *map(str, ports)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    try:
        async with asyncio.timeout(PATIENCE):
            line = await process.stdout.readline()
        yield process, int(line.split()[-1])
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


class Browser:
    """Plays what comes, as README.md says."""

    def __init__(self, socket):
        self._socket = socket
        self.worker = None
        self.text = ""

    async def hears(self, *, until):
        """Take what comes up to a kind of message; return what was said."""
        async with asyncio.timeout(PATIENCE):
            while True:
                frame = await self._socket.recv()
                message = {"audio": frame} if isinstance(frame, bytes) else json.loads(frame)
                self.worker = message.get("worker", self.worker)
                self.text = "" if "interrupted" in message else self.text + message.get("said", "")
                if until in message:
                    said = self.text
                    if until == "turn_complete":
                        self.text = ""
                    return said

    async def types(self, text):
        await self._socket.send(json.dumps({"text": text}))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "told to end"])
async def test_the_other_worker_goes_on(redis_store, tmp_path, number):
    async with emulator() as server:
        variables = {
            **environment_for(server, tmp_path),
            "STORE": redis_store.url,
            "LIVE_MODEL": "gemini-2.5-flash-live",
        }
        async with (
            started("worker.py", **variables) as (one, port_of_one),
            started("worker.py", **variables) as (two, port_of_two),
            started("front.py", port_of_one, port_of_two) as (_, port),
            connect(f"ws://127.0.0.1:{port}/ann/1") as socket,
        ):
            browser = Browser(socket)
            await browser.types("one")
            assert "answer to one: 1 user turns held" in await browser.hears(until="turn_complete")
            await redis_store.is_quiet()
            first = browser.worker
            await hold(server, connection=0)
            await browser.types("two")
            await browser.hears(until="said")
            await redis_store.keeps("two")
            os.kill(first, number)

            assert "answer to two: 2 user turns held" in await browser.hears(until="turn_complete")
            assert {first, browser.worker} == {one.pid, two.pid}
            await browser.types("three")
            assert "answer to three: 3 user turns held" in await browser.hears(until="turn_complete")
        report = await server.ledger_report(["one", "two", "three"])
    assert (report.lost, report.doubled, report.reordered, report.fresh_starts) == ([], [], [], 0), report
