"""A process that is stopped (SIGSTOP) in mid-conversation, and goes on: nothing is lost, whatever happened meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from resumekit.emulator import Fault
from resumekit.stores import StoredHandle
from tests.faults.zygote import Emulator

pytestmark = pytest.mark.network

ROOT = Path(__file__).parents[2]
FROZEN = 2.0
"""Seconds; longer than every patience of the sleeper's policy."""


class Sleeper:
    """The other process."""

    def __init__(self, process):
        self.process = process
        self.events = []
        self.killed = False

    def kill(self):
        self.killed = True
        os.kill(self.process.pid, signal.SIGKILL)

    async def ask(self, text):
        self.process.stdin.write(json.dumps(text).encode() + b"\n")
        await self.process.stdin.drain()

    async def tells(self, kind, name=None):
        """Read on until it says something of a kind, or tells a certain event."""
        while line := await self.process.stdout.readline():
            what, *words = json.loads(line)
            if what == "event":
                self.events.append(words)
            if what == kind and name in (None, words[0]):
                return words[0]
        raise AssertionError("it ended; its error is on stderr")

    @contextlib.contextmanager
    def frozen(self):
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)

    def told(self, name):
        return [fields for kind, fields in self.events if kind == name]


async def stored(path, is_it=lambda record: True):
    """Wait until a process has stored such a record."""
    while True:
        with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(sqlite3.connect(path)) as database:
            found = database.execute("SELECT data FROM resumekit_handles WHERE data IS NOT NULL").fetchone()
            if found is not None and is_it(StoredHandle.from_json(found[0])):
                return
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def sleeper(server, folder, *store, within=()):
    ca_file = folder / "ca.pem"
    ca_file.write_text(server._pem)
    process = await asyncio.create_subprocess_exec(
        *within,
        sys.executable,
        *("-m", "tests.faults.sleeper", server.base_url, str(ca_file), *store),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        client = Sleeper(process)
        yield client
        process.stdin.close()
        assert await process.wait() == (-signal.SIGKILL if client.killed else 0)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(
    ("when", "fault", "connections"),
    [
        pytest.param("idle", None, 1, id="idle"),
        pytest.param("idle", Fault.half_open(0.5, since="cut"), 2, id="idle, half-open"),
        pytest.param("mid-answer", None, 1, id="mid-answer"),
        pytest.param("mid-answer", Fault.rst(), 2, id="mid-answer, reset"),
        pytest.param("mid-answer", Fault.go_away(1.0), 2, id="mid-answer, goAway"),
    ],
)
async def test_a_process_that_was_frozen_goes_on_without_loss(tmp_path, fault, connections, when):
    async with Emulator(time_scale=0.05, connection_age=None) as server:
        async with sleeper(server, tmp_path) as client:
            await client.ask("one")
            assert await client.tells("answer")
            if not client.told("HandleReceived"):
                await client.tells("event", "HandleReceived")
            if when == "mid-answer":
                await client.ask("two [chunks:40]")
                await client.tells("said")
            with client.frozen():
                if fault is not None:
                    await server.inject(fault)
                await asyncio.sleep(FROZEN)  # what is tested, not what is waited for
            if when == "idle":
                await client.ask("two")
            assert await client.tells("answer")
            await client.ask("three")
            assert await client.tells("answer")
        asked = "two [chunks:40]" if when == "mid-answer" else "two"
        report = await server.ledger_report(["one", asked, "three"])
        assert (report.lost, report.doubled, report.reordered) == ([], [], []), report
        assert len(await server.connections()) >= connections
    jumps = [event["seconds"] for event in client.told("ClockJumped")]
    assert max(jumps, default=0.0) > FROZEN / 2
    if fault is None:
        assert client.told("ConnectionLost") == []
    assert client.told("FreshStarted") == client.told("HandleRefused") == []
