"""Callbacks, plugins and what an agent does around its turns: once, wherever the connection is cut."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from google.adk.agents import Agent
from google.adk.models import LlmResponse
from google.adk.plugins.base_plugin import BasePlugin
from google.genai import types

from resumekit.adapters.adk import ResumekitPlugin
from resumekit.core import events
from resumekit.emulator import Fault, Trigger, response_item
from tests.adk.support import ADK, FAMILIES, config, question, run, service, words

pytestmark = pytest.mark.network

LOOK_UP = 'two [tool:look_up {"what": "a"}]'
RESULT = response_item("look_up", {"found": "a"})


async def look_up(what: str) -> dict:
    """Look something up."""
    return {"found": what}


class Counts(BasePlugin):
    """A plugin that counts what it is told."""

    def __init__(self) -> None:
        super().__init__("counts")
        self.calls: Counter[str] = Counter()
        self.seen: list[str] = []
        """Ids of events."""

    async def before_run_callback(self, **_):
        self.calls["before_run"] += 1

    async def after_run_callback(self, **_):
        self.calls["after_run"] += 1

    async def before_agent_callback(self, **_):
        self.calls["before_agent"] += 1

    async def after_agent_callback(self, **_):
        self.calls["after_agent"] += 1

    async def before_tool_callback(self, **_):
        self.calls["before_tool"] += 1

    async def after_tool_callback(self, **_):
        self.calls["after_tool"] += 1

    async def on_event_callback(self, *, event, **_):
        self.seen.append(event.id)


CUTS = {
    "before the call": Trigger.generation_started(2),
    "at the call": Trigger.tool_call(),
    "after its response": Trigger.tool_response(),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cut", CUTS)
async def test_callbacks_run_once(cut, family):
    counts, agents = Counts(), Counter()

    def agent_of(model):
        def counted(name):
            def callback(*_, **__):
                agents[name] += 1

            return callback

        names = ("before_agent", "after_agent", "before_tool", "after_tool")
        callbacks = {f"{name}_callback": counted(name) for name in names}
        return Agent(name="an_agent", model=model, tools=[look_up], **callbacks)

    plugins = [ResumekitPlugin(), counts]
    async with service(family=family) as server, run(server, family=family, agent=agent_of, plugins=plugins) as talk:
        await talk.ask("one")
        await talk.told_of(events.HandleReceived)
        await server.inject(Fault.rst(at=CUTS[cut]))
        await talk.ask_all(LOOK_UP, "look_up=")
        await talk.close()
        assert talk.count(events.Resumed) == 1
        assert counts.seen == [event.id for event in talk.events]
        assert len(set(counts.seen)) == len(counts.seen)
        ends = ADK >= (2, 9)  # before, an exception ends a run, and nothing is called after it
        once = {"before_agent": 1, "before_tool": 1, "after_tool": 1} | ({"after_agent": 1} if ends else {})
        assert agents == once
        assert counts.calls == {"before_run": 1, **once} | ({"after_run": 1} if ends else {})
        report = await server.ledger_report(["one", LOOK_UP, RESULT])
        assert report.ok, report


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_tool_callback_may_answer_for_the_tool(family):
    """The tool does not run; what the callback says is sent once."""
    asked = []

    def agent_of(model):
        def before_tool(tool, args, tool_context):
            asked.append(args["what"])
            return {"found": "enough"}

        return Agent(name="an_agent", model=model, tools=[look_up], before_tool_callback=before_tool)

    async with service(family=family) as server, run(server, family=family, agent=agent_of) as talk:
        await talk.ask("one")
        await talk.told_of(events.HandleReceived)
        await server.inject(Fault.rst(at=Trigger.tool_response()))
        await talk.ask_all(LOOK_UP, "look_up=")
        await talk.close()
        assert asked == ["a"]
        report = await server.ledger_report(["one", LOOK_UP, response_item("look_up", {"found": "enough"})])
        assert report.ok, report


@pytest.mark.skipif(ADK < (2, 9), reason="this ADK has no model callbacks in Live sessions")
@pytest.mark.parametrize("family", FAMILIES)
async def test_a_question_that_a_callback_answers_is_not_sent(family):
    def agent_of(model):
        def before_model(callback_context, llm_request):
            if "two" in str(llm_request.contents[-1]):
                return LlmResponse(content=types.Content(role="model", parts=[types.Part(text="not that")]))
            return None

        return Agent(name="an_agent", model=model, before_model_callback=before_model)

    async with service(family=family) as server, run(server, family=family, agent=agent_of) as talk:
        await talk.ask("one")
        await talk.told_of(events.HandleReceived)
        await server.inject(Fault.rst())
        assert "".join(map(words, await talk.ask("two"))) == "not that"
        await talk.ask("three")
        await talk.close()
        report = await server.ledger_report(["one", "three"])
        assert report.ok, report
        assert report.unexpected == []


@pytest.mark.skipif(ADK < (2, 9), reason="this ADK has no model callbacks in Live sessions")
@pytest.mark.parametrize("family", FAMILIES)
async def test_an_answer_that_a_callback_stops_begins_a_new_session(family):
    """ADK drops the session, and starts another with its history; a cut of that one is as any other."""

    def agent_of(model):
        def after_model(callback_context, llm_response):
            said = llm_response.output_transcription
            if said and said.text and "two" in said.text:
                return LlmResponse(content=types.Content(role="model", parts=[types.Part(text="not that")]))
            return None

        return Agent(name="an_agent", model=model, after_model_callback=after_model)

    spoken = config(response_modalities=["AUDIO"])
    async with (
        service(family=family) as server,
        run(server, family=family, agent=agent_of, run_config=spoken) as talk,
    ):
        await talk.ask("one")
        await talk.told_of(events.HandleReceived)
        await talk.ask("two")
        await talk.told_of(events.Connected, 2)
        await server.inject(Fault.rst(at=Trigger.mid_audio(2)))
        talk.queue.send_content(question("three"))
        await talk.turn_is_over("answer to three")
        talk.queue.send_content(question("four"))
        await talk.turn_is_over("answer to four")
        await talk.close()
        assert talk.count(events.Connected) == 2
        first = next(event for event in talk.told if isinstance(event, events.SessionEnded))
        assert first.error is None
        assert sum(event.text == "not that" for event in spoken_parts(talk.events)) == 1
        report = await server.ledger_report(["one", "two", "three", "four"])
        assert report.ok, report
        assert set(report.unexpected) <= {"."}  # with which ADK starts a 3.x model


def spoken_parts(shown) -> list[types.Part]:
    return [part for event in shown if event.content for part in event.content.parts or ()]


@pytest.mark.parametrize("family", FAMILIES)
async def test_an_answer_is_kept_under_its_output_key_as_if_nothing_had_been(family):
    """Whole answers only: never the half of one. The instruction is filled in from the state."""

    def agent_of(model):
        return Agent(name="an_agent", model=model, output_key="said", instruction="Be {manner?} brief.")

    async def kept(fault: Fault | None) -> list[str]:
        async with service(family=family) as server, run(server, family=family, agent=agent_of) as talk:
            await talk.ask("one")
            await talk.told_of(events.HandleReceived)
            if fault is not None:
                await server.inject(fault)
            await talk.ask("two")
            await talk.close()
            assert talk.count(events.TurnCut) == (fault is not None)
            setups = [json.loads((await server.raw(record.number))[0]) for record in await server.connections()]
            assert {str(setup["setup"]["systemInstruction"]) for setup in setups} == {
                str(setups[0]["setup"]["systemInstruction"])
            }
            return [event.actions.state_delta["said"] for event in await talk.stored() if event.actions.state_delta]

    whole = await kept(None)
    assert whole[-1].endswith("answer to two: 2 user turns held")
    assert await kept(Fault.rst(at=Trigger.mid_answer(2))) == whole


TRANSFER = 'two [tool:transfer_to_agent {"agent_name": "child"}]'


@pytest.mark.parametrize("cut", ["right before", "right after", "in the child's answer"])
async def test_a_transfer_happens_once(cut):
    def agent_of(model):
        child = Agent(name="child", model=model, description="Takes over.")
        return Agent(name="an_agent", model=model, sub_agents=[child])

    async with service() as server, run(server, agent=agent_of) as talk:
        await talk.ask("one")
        await talk.told_of(events.HandleReceived)
        if cut == "right before":
            await server.inject(Fault.rst(at=Trigger.tool_call()))
        elif cut == "right after":
            await server.inject(Fault.rst(at=Trigger.bound(), connection=1))
        else:
            await server.inject(Fault.rst(at=Trigger.mid_answer(1), connection=1))
        talk.queue.send_content(question(TRANSFER))
        await talk.told_of(events.Connected, 2)
        talk.queue.send_content(question("three"))
        await talk.turn_is_over("answer to three")
        await talk.close()
        transfers = [event.actions.transfer_to_agent for event in talk.events if event.actions.transfer_to_agent]
        assert transfers == ["child"]
        assert talk.count(events.Connected) == 2
        assert [event.author for event in talk.events if words(event).startswith("answer to three: ")] == ["child"]
        cuts = talk.count(events.Resumed) + talk.count(events.FreshStarted)
        assert cuts == 1
        report = await server.ledger_report(["three"])  # what ADK writes as the child's history is its own affair
        assert report.ok, report
