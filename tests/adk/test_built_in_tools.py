"""Tools that the service runs itself: search, which grounds an answer, and code."""

from __future__ import annotations

import pytest
from google.adk.agents import Agent
from google.adk.code_executors import BuiltInCodeExecutor
from google.adk.tools import google_search

from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from tests.adk.support import ADK, FAMILIES, run, service

pytestmark = pytest.mark.network


def groundings(shown) -> list[list[str]]:
    return [
        [chunk.web.title for chunk in event.grounding_metadata.grounding_chunks]
        for event in shown
        if event.grounding_metadata and event.grounding_metadata.grounding_chunks
    ]


def code(shown) -> list[str]:
    parts = [part for event in shown if event.content for part in event.content.parts or ()]
    ran = [part.executable_code.code for part in parts if part.executable_code]
    return ran + [part.code_execution_result.output for part in parts if part.code_execution_result]


def after_the_cut(shown) -> list:
    interruptions = [number for number, event in enumerate(shown) if event.interrupted]
    assert len(interruptions) == 1
    return shown[interruptions[0] + 1 :]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cut", [Trigger.mid_answer(2), Trigger.generation_complete(2)], ids=["before", "after"])
@pytest.mark.parametrize("profile", ["developer", "vertex"])
async def test_an_answer_is_grounded_as_if_it_had_not_been_cut(profile, cut, family):
    knobs = {"profile": profile, "family": family}
    async with service(**knobs) as server, run(server, family=family, tools=[google_search]) as talk:
        whole = groundings(await talk.ask("one [search:llamas]"))
        if ADK < (2, 5) and profile == "developer":
            pytest.skip("this ADK shows no grounding but what comes with the end of a turn")
        assert whole
        await talk.told_of(events.HandleReceived)
        await server.inject(Fault.rst(at=cut))
        again = groundings(after_the_cut(await talk.ask("two [search:llamas]")))
        await talk.ask("three")
        await talk.close()
        assert again == whole
        assert talk.count(events.TurnCut) == 1
        stored = groundings(await talk.stored())
        assert stored == [*whole, *again] or cut.on == "generation_complete"  # else the half answer had its own


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cut", [1, 2, 3])
async def test_code_and_its_result_come_again_with_the_answer(cut, family):
    def agent_of(model):
        return Agent(name="an_agent", model=model, code_executor=BuiltInCodeExecutor())

    async with service(family=family) as server, run(server, family=family, agent=agent_of) as talk:
        whole = code(await talk.ask("one [code:1 + 1]"))
        assert whole == ["1 + 1", "output of 1 + 1\n"]
        await talk.told_of(events.HandleReceived)
        await server.inject(Fault.rst(at=Trigger.mid_answer(cut)))
        again = code(after_the_cut(await talk.ask("two [code:1 + 1]")))
        await talk.close()
        assert again == whole
        report = await server.ledger_report(["one [code:1 + 1]", "two [code:1 + 1]"])
        assert report.ok, report
