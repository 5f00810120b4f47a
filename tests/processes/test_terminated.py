"""Processes that are told to end (SIGTERM) in mid-conversation, as by a deploy: the next one goes on at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys

import pytest
from websockets.asyncio.client import unix_connect
from websockets.exceptions import ConnectionClosed

from resumekit.emulator import parse_answer
from tests.processes.support import PATIENCE, ROOT, emulator, environment_for, hold, workers

pytestmark = pytest.mark.network
LEASE = 60.0
"""Seconds; longer than anybody waits here: who goes on at once was given the conversation."""


@pytest.mark.parametrize("framework", ["genai", "adk"])
async def test_one_that_is_terminated_in_mid_answer_leaves_in_order(store, framework, tmp_path):
    """Its successor is there already, and waits: a deploy that starts the new process before it ends the old one.

    A run of ADK cannot wait while another one writes its events: ADK reads the session when it begins, and then takes it for
    stale. So that one begins later.
    """
    async with (
        emulator() as server,
        workers(server, store, tmp_path, framework, lease=LEASE) as (first, second),
    ):
        await first.start()
        await first.answers("one")
        await store.is_quiet()
        if framework == "genai":
            await second.start()
            await second.tells_of("WaitingForKey")
        await hold(server, connection=0)
        await first.speaks("two")
        await first.terminate()
        if framework == "adk":
            await second.start()

        await second.answered("two")
        await second.answers("three")
        await second.leave()
        report = await server.ledger_report(["one", "two", "three"])
    assert report.ok, report
    assert (report.connections, report.fresh_starts) == (2, 0), (
        "the socket was closed before the conversation was let go"
    )
    (continued,) = second.events("Continued")
    assert (continued["resent_messages"], continued["detached"]) == (1, True)
    assert [parse_answer(answer).asked for answer in second.whole_answers] == ["two", "three"]
    assert parse_answer(second.whole_answers[-1]).turns_held == 3
    assert second.events("HandleRefused", "StoreFailed") == []


# --- uvicorn ----------------------------------------------------------------------------------------------------------


class Served:
    """`examples/adk_fastapi` under uvicorn, in a process of its own."""

    def __init__(self, path, environment):
        self._path = str(path)
        self._environment = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}

    async def __aenter__(self):
        command = ("-W", "ignore", "-m", "uvicorn", "tests.processes.served:app", "--uds", self._path)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, *command, "--log-level", "critical", env=self._environment, cwd=ROOT
        )
        return self

    async def __aexit__(self, *_):
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def terminate(self):
        self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            assert await self._process.wait() in (0, -signal.SIGTERM)

    async def browser(self):
        """Return a browser that talks to it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(OSError):
                    return await unix_connect(self._path, "ws://localhost/ws/a-user/a-conversation")
                await asyncio.sleep(0.05)


async def said(browser, *, until):
    """Return what the model says until the end of its turn, or until it has said something."""
    text = ""
    async with asyncio.timeout(PATIENCE):
        while True:
            frame = await browser.recv()
            message = {} if isinstance(frame, bytes) else json.loads(frame)
            if message.get("interrupted"):
                text = ""
            if message.get("who") == "model":
                text += message["said"]
            if message.get("turn_complete") or (until == "words" and text):
                return text


async def test_a_server_under_uvicorn_that_is_terminated_in_mid_call_leaves_in_order(sqlite_store, tmp_path):
    """Its handlers are cancelled, or see the browser go; nothing in the application knows of resumekit."""
    async with emulator() as server:
        environment = {**environment_for(server, tmp_path), "STORE": sqlite_store.url, "LEASE": str(LEASE)}
        async with (
            Served(tmp_path / "1", environment) as first,
            Served(tmp_path / "2", environment) as second,
        ):
            browser = await first.browser()
            await browser.send(json.dumps({"text": "one"}))
            assert "answer to one" in await said(browser, until="the end")
            await sqlite_store.is_quiet()
            await hold(server, connection=0)
            await browser.send(json.dumps({"text": "two"}))
            await said(browser, until="words")
            await first.terminate()
            with pytest.raises(ConnectionClosed):
                await said(browser, until="the end")

            browser = await second.browser()
            assert "answer to two: 2 user turns held" in await said(browser, until="the end")
            await browser.send(json.dumps({"text": "three"}))
            assert "answer to three: 3 user turns held" in await said(browser, until="the end")
            await browser.close()
            await second.terminate()
        report = await server.ledger_report(["one", "two", "three"])
    assert (report.lost, report.doubled, report.reordered, report.fresh_starts) == ([], [], [], 0), report
    assert report.connections == 2
