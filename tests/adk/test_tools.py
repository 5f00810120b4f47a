"""Function tools, with a cut before the call, at it, while it runs, and after its response."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from google.adk.tools import ToolContext

from resumekit.core import events
from resumekit.emulator import Fault, Trigger, response_item
from tests.adk.support import FAMILIES, Talk, run, service

pytestmark = pytest.mark.network

CUTS = {
    "before the call": Trigger.generation_started(2),
    "at the call": Trigger.tool_call(),
    "while it runs": Trigger.tool_call(),
    "after its response": Trigger.tool_response(),
}
CALLS = {
    "one": (["a"], '[tool:note {"what": "a"}]'),
    "parallel": (["a", "b"], '[tool:note {"what": "a"}][tool:note {"what": "b"}]'),
    "chained": (["a", "b"], '[tool:note {"what": "a"}][then:note {"what": "b"}]'),
}


@dataclass
class Notes:
    """A tool with a side effect: a notebook."""

    written: list[str] = field(default_factory=list)
    talk: Talk | None = None
    """Write only when its session has been resumed."""

    async def note(self, what: str, tool_context: ToolContext) -> dict:
        """Write something down."""
        self.written.append(what)
        tool_context.state[f"note {what}"] = len(self.written)
        if self.talk is not None:
            await self.talk.told_of(events.Resumed)
        return {"noted": what}


def calls_in(shown) -> list[str]:
    return [call.args["what"] for event in shown for call in event.get_function_calls()]


def responses_in(shown) -> list[str]:
    return [response.response["noted"] for event in shown for response in event.get_function_responses()]


async def check(talk: Talk, notes: Notes, question: str, wanted: list[str]) -> None:
    """Each call was shown, ran, was answered and was stored once; and the answer knows of all."""
    assert sorted(notes.written) == wanted
    stored = await talk.stored()
    for shown in (talk.events, stored):
        assert sorted(calls_in(shown)) == sorted(responses_in(shown)) == wanted
    deltas = Counter(name for event in stored for name in event.actions.state_delta)
    assert deltas == {f"note {what}": 1 for what in wanted}
    results = ", ".join(f'note={{"noted":"{what}"}}' for what in wanted)
    (answer,) = [answer for answer in talk.answers() if f"results: {results}" in answer]
    assert answer.count("results:") == 1
    responses = [response_item("note", {"noted": what}) for what in wanted]
    report = await talk.server.ledger_report(["one", question, *responses, "three"])
    assert report.ok, report
    assert report.unexpected == report.calls_unanswered == []


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("calls", CALLS)
async def test_a_tool_runs_once(calls, cut, family):
    wanted, directives = CALLS[calls]
    notes, question = Notes(), f"two {directives}"
    async with service(family=family) as server, run(server, family=family, tools=[notes.note]) as talk:
        await talk.ask("one")
        await talk.told_of(events.HandleReceived)
        await server.inject(Fault.rst(at=CUTS[cut]))
        notes.talk = talk if cut == "while it runs" else None
        await talk.ask_all(question, f'note={{"noted":"{wanted[-1]}"}}')
        await talk.ask("three")
        await talk.close()
        assert talk.count(events.Resumed) == 1
        await check(talk, notes, question, wanted)
