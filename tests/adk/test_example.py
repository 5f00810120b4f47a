"""examples/adk_fastapi: a browser talks through a cut, and what it leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from resumekit.adapters._advice import advice_on
from resumekit.emulator import Fault, Trigger, heard, parse_answer, silence, spoken
from resumekit.emulator.speech import OUTPUT_RATE
from tests.adk.support import service

uvicorn = pytest.importorskip("uvicorn")
pytestmark = pytest.mark.network
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SLOWLY = {"audio_speed": 0.03, "output_chunks": 8}
"""Knobs with which a browser has got something of an answer that is cut in its speech."""


@pytest.fixture
def example(monkeypatch):
    """Import the example as a user does, anew for each event loop."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    for name in [name for name in sys.modules if name.startswith("adk_fastapi")]:
        monkeypatch.delitem(sys.modules, name)
    return importlib.import_module("adk_fastapi.server")


@contextlib.asynccontextmanager
async def served(app):
    """Serve an app on a port of its own; yields where."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            async with asyncio.timeout(100):
                yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


@dataclass
class Turn:
    """What a browser got of a turn."""

    text: str = ""
    audio: bytearray = field(default_factory=bytearray)
    flushed: list[str] = field(default_factory=list)
    others: list[dict] = field(default_factory=list)


async def turn(browser) -> Turn:
    """Play what comes until the turn is complete, as a browser does."""
    got = Turn()
    while True:
        message = await browser.recv()
        if isinstance(message, bytes):
            got.audio += message
            continue
        message = json.loads(message)
        if "interrupted" in message:
            got.flushed.append(got.text)
            got.text = ""
            got.audio.clear()
        elif message.get("who") == "model":
            got.text += message["said"]
        elif "turn_complete" in message:
            return got
        else:
            got.others.append(message)


def is_whole(got: Turn) -> bool:
    speech = heard(bytes(got.audio), rate=OUTPUT_RATE)
    return speech.whole and speech.text == got.text


async def test_a_browser_talks_through_a_cut(example):
    async with service(**SLOWLY) as server, served(example.app) as where, connect(f"{where}/ws/ann/1") as browser:
        for odd in ("no JSON", "[]", '{"text": 5}', "{}"):  # a public server has to expect such
            await browser.send(odd)
        await browser.send(json.dumps({"text": "one"}))
        assert is_whole(first := await turn(browser))
        assert parse_answer(first.text).asked == "one"

        await server.inject(Fault.rst(at=Trigger.mid_audio(3)))
        await browser.send(json.dumps({"text": "two"}))
        second = await turn(browser)
        (half,) = second.flushed
        assert half
        assert parse_answer(half) is None
        assert is_whole(second)
        assert parse_answer(second.text)[:2] == ("two", 2)
        told = [message["connection"] for message in second.others]
        assert {"ConnectionLost", "TurnCut"} <= set(told)
        assert {"Resumed", "FreshStarted"} & set(told)
        assert (await server.ledger_report(["one", "two"])).ok


async def test_a_browser_speaks_and_the_agent_uses_its_tool(example):
    question = 'a ferry [tool:next_ferry {"to": "Bygdoy"}]'
    async with service() as server, served(example.app) as where, connect(f"{where}/ws/ann/2") as browser:
        await browser.send(spoken(question) + silence(1))
        first = await turn(browser)
        assert {"tool": "next_ferry"} in first.others
        assert "".join(message["said"] for message in first.others if "said" in message) == question
        while not (parse_answer(first.text) and parse_answer(first.text).is_whole):
            first.text += (await turn(browser)).text
        assert "9:30" in first.text
        assert [call.name for call in (await server.ledger_report()).calls] == ["next_ferry"]


@pytest.mark.parametrize("when", ["idle", "in-an-answer"])
async def test_a_browser_that_goes_leaves_nothing(example, when):
    async with service(**SLOWLY) as server, served(example.app) as where:
        before = asyncio.all_tasks()
        async with connect(f"{where}/ws/ann/3") as browser:
            await browser.send(json.dumps({"text": "one"}))
            await browser.recv() if when == "in-an-answer" else await turn(browser)
            assert len(asyncio.all_tasks() - before) > 3
        while left := asyncio.all_tasks() - before:
            await asyncio.wait(left)
        while any(record.closed_at is None for record in await server.connections()):  # noqa: ASYNC110 -- another process
            await asyncio.sleep(0.01)
        assert [record.closed_by for record in await server.connections()] == ["client"]


def test_its_config_is_what_we_advise(example):
    agent = example.root_agent
    assert advice_on(example.CONFIG, agent.model.model) == []
