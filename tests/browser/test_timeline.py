"""What ``resumekit timeline`` draws, in a browser: as many items of each kind as the trace has."""

from __future__ import annotations

import asyncio
import threading

import pytest
from playwright.sync_api import expect

from resumekit.cli import main
from resumekit.cli._timeline.reading import read_story
from resumekit.emulator import Fault, Trigger
from resumekit.testing import ScriptedService
from resumekit.trace import read_trace

QUESTIONS = ["one", "two", 'three [tool:look {"at": "it"}]', "four"]
FAULTS = [Fault.rst(Trigger.mid_answer(), binding=0), Fault.go_away(0.5, at=Trigger.mid_answer(), binding=1)]


async def call(path):
    async with ScriptedService(faults=FAULTS, handle_delay=0.0) as service, service.connect(trace=path) as session:
        for question in QUESTIONS:
            turn = {"role": "user", "parts": [{"text": question}]}
            await session.send({"clientContent": {"turns": [turn], "turnComplete": True}})
            async for message in session:
                if message.tool_call is not None:
                    responses = [
                        {"id": one.id, "name": one.name, "response": {}} for one in message.tool_call.function_calls
                    ]
                    await session.send({"toolResponse": {"functionResponses": responses}})
                if message.server_content is not None and message.server_content.turn_complete:
                    break


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "call.jsonl"
    thread = threading.Thread(target=lambda: asyncio.run(call(path)))  # this one has the browser's event loop
    thread.start()
    thread.join()
    return path


def test_as_many_items_are_drawn_as_the_trace_has(chromium, trace):
    assert main(["timeline", str(trace)]) == 0
    counts = read_story(read_trace(trace)).counts()
    assert (
        min(counts[kind] for kind in ("connection", "cut", "handle", "question", "answer", "tool", "go-away", "gap"))
        > 0
    )
    context = chromium.new_context()
    page, told = context.new_page(), []
    page.on("console", lambda message: told.append(message.text))
    page.on(
        "request", lambda request: told.append(request.url) if not request.url.startswith(("file:", "data:")) else None
    )
    page.goto(trace.with_suffix(".html").as_uri())
    for kind, count in counts.items():
        expect(page.locator(f"svg [data-kind='{kind}']:visible")).to_have_count(count)
    assert told == []
    context.close()


def test_a_phone_shows_it_large_enough_to_be_read(chromium, trace):
    assert main(["timeline", str(trace)]) == 0
    context = chromium.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.goto(trace.with_suffix(".html").as_uri())
    assert page.locator("svg.timeline").bounding_box()["width"] >= 860
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "its view is scrolled, not the page"
    context.close()
