"""Tools that answer later than their call is over: long-running and streaming ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from google.adk.tools import FunctionTool, LongRunningFunctionTool, ToolContext
from google.genai import types

from resumekit.core import events
from resumekit.emulator import Fault, Trigger, response_item
from tests.adk.support import ADK, FAMILIES, question, run, service

pytestmark = pytest.mark.network

ASKED = 'two [tool:approve {"what": "a"}]'


@pytest.mark.skipif(ADK < (2, 5), reason="this ADK ends its loop when a tool has nothing to say yet")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cut", ["while it runs", "after its response"])
async def test_a_long_running_tool_is_answered_through_the_queue(cut, family):
    """The function gives nothing back; somebody answers its call later, on another connection."""
    asked: asyncio.Queue[str] = asyncio.Queue()

    def approve(what: str, tool_context: ToolContext) -> None:
        asked.put_nowait(tool_context.function_call_id)

    tools = [LongRunningFunctionTool(approve)]
    async with service(family=family) as server, run(server, family=family, tools=tools) as talk:
        await talk.ask("one")
        await talk.told_of(events.HandleReceived)
        await server.inject(Fault.rst(at=Trigger.tool_call() if cut == "while it runs" else Trigger.tool_response()))
        talk.queue.send_content(question(ASKED))
        call_id = await asked.get()
        if cut == "while it runs":
            await talk.told_of(events.Resumed)
        answer = types.FunctionResponse(id=call_id, name="approve", response={"approved": True})
        talk.queue.send_content(types.Content(role="user", parts=[types.Part(function_response=answer)]))
        await talk.turn_is_over('approve={"approved":true}')
        await talk.ask("three")
        await talk.close()
        assert asked.empty()
        assert talk.count(events.Resumed) == 1
        responses = [response_item("approve", {"approved": True})]
        report = await server.ledger_report(["one", ASKED, *responses, "three"])
        assert report.ok, report
        assert report.unexpected == report.calls_unanswered == []


WATCH = 'two [tool:watch {"what": "a"}]'
STOP = 'four [tool:stop_streaming {"function_name": "watch"}]'


PENDING = response_item("watch", {"status": "The function is running asynchronously and the results are pending."})
LATE_RESPONSES = ADK >= (2, 5)
"""What a streaming tool yields is a further response to its call; before, it was a user's content."""


def stop_streaming(function_name: str) -> None:
    """Stop a streaming function: ADK knows it by its name."""


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_streaming_tool_goes_on_over_a_cut(family):
    """What it yields while the connection is down comes after; it is stopped on the new connection."""
    steps, over = asyncio.Queue(), asyncio.Event()

    async def watch(what: str) -> AsyncGenerator[str, None]:
        """Watch something."""
        try:
            while True:
                yield f"{what} {await steps.get()}"
        finally:
            over.set()

    tools = [watch, stop_streaming]
    async with service(family=family) as server, run(server, family=family, tools=tools) as talk:
        await talk.ask("one")
        await talk.told_of(events.HandleReceived)
        await talk.ask_all(WATCH, "watch={")
        steps.put_nowait("is 1")
        await talk.turn_is_over("a is 1")
        await server.inject(Fault.rst(at=Trigger.mid_answer(1)))
        steps.put_nowait("is 2")
        await talk.told_of(events.Resumed)
        steps.put_nowait("is 3")
        await talk.turn_is_over("a is 3")
        await talk.ask_all(STOP, "stop_streaming={")
        await over.wait()
        await talk.close()
        steps_said = [f"a is {number}" for number in (1, 2, 3)]
        if LATE_RESPONSES:
            sent = [response_item("watch", {"result": said}) for said in steps_said]
        else:
            sent = [f"Function watch returned: {said}" for said in steps_said]
        stopped = response_item("stop_streaming", {"status": "Successfully stopped streaming function watch"})
        report = await server.ledger_report(["one", WATCH, PENDING, *sent, STOP, stopped])
        assert report.ok, report
        assert report.unexpected == []


ASKED_NOTE = 'two [tool:note {"what": "a"}]'
NOTED = response_item("note", {"noted": "a"})
IN_BACKGROUND = {
    "at the call": Trigger.tool_call(),
    "while it runs": Trigger.turn_complete(2),
    "in the next answer": Trigger.mid_answer(1),
    "after its response": Trigger.tool_response(),
}


@pytest.mark.skipif(not LATE_RESPONSES, reason="this ADK waits for every tool")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("scheduling", ["SILENT", "WHEN_IDLE", "INTERRUPT"])
@pytest.mark.parametrize("cut", IN_BACKGROUND)
async def test_a_non_blocking_tool_runs_once(cut, scheduling, family):
    """The model ends its turn and answers the next question; the response comes when it comes."""
    written, begun, may_end = [], asyncio.Event(), asyncio.Event()

    async def note(what: str) -> dict:
        written.append(what)
        begun.set()
        await may_end.wait()
        return {"noted": what}

    tool = FunctionTool(note)
    tool.behavior = types.Behavior.NON_BLOCKING
    tool.response_scheduling = types.FunctionResponseScheduling(scheduling)
    fault = Fault.rst(at=IN_BACKGROUND[cut])
    async with service(family=family) as server, run(server, family=family, tools=[tool]) as talk:
        await talk.ask("one")
        await talk.told_of(events.HandleReceived)
        if cut in {"at the call", "while it runs"}:
            await server.inject(fault)
        await talk.ask(ASKED_NOTE)
        await begun.wait()
        if cut == "in the next answer":
            await server.inject(fault)
        talk.queue.send_content(question("three"))
        await talk.turn_is_over("answer to three")
        if cut == "after its response":
            await server.inject(fault)
        may_end.set()
        if scheduling == "SILENT":
            await talk.service_did("tool_response")
        else:
            await talk.turn_is_over("answer to response of note")
        talk.queue.send_content(question("four"))
        await talk.turn_is_over("answer to four")
        await talk.close()
        assert written == ["a"]
        assert talk.count(events.Resumed) == 1
        report = await server.ledger_report(["one", ASKED_NOTE, "three", NOTED, "four"])
        assert report.ok, report
        assert report.unexpected == []
        said = [answer.partition(":")[0] for answer in talk.answers()]
        assert [said.count(f"answer to {text}") for text in ("one", "three", "four")] == [1, 1, 1]
