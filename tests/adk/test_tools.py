"""Function tools, with a cut before the call, at it, while it runs, and after its response."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from google.adk.tools import ToolContext

from resumekit.core import events
from resumekit.emulator import Fault, Trigger, response_item
from tests.adk.support import ADK, FAMILIES, Talk, question, run, service

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
    wait: Callable[[], Awaitable[object]] | None = None
    """What each note waits for before it is done."""
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def note(self, what: str, tool_context: ToolContext, again: bool = False) -> dict:
        """Write something down."""
        self.written.append(f"{what} again" if again else what)
        self.begun.set()
        tool_context.state[f"note {what}"] = len(self.written)
        if self.wait is not None:
            await self.wait()
        return {"noted": what}


def calls_in(shown) -> list[str]:
    return [call.args["what"] for event in shown for call in event.get_function_calls()]


def responses_in(shown) -> list[str]:
    return [response.response["noted"] for event in shown for response in event.get_function_responses()]


async def check(talk: Talk, notes: Notes, asked: str, wanted: list[str]) -> None:
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
    report = await talk.server.ledger_report(["one", asked, *responses, "three"])
    assert report.ok, report
    assert report.unexpected == report.calls_unanswered == []


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("calls", CALLS)
async def test_a_tool_runs_once(calls, cut, family):
    wanted, directives = CALLS[calls]
    notes, asked = Notes(), f"two {directives}"
    async with service(family=family) as server, run(server, family=family, tools=[notes.note]) as talk:
        await talk.ask("one")
        await talk.told_of(events.HandleReceived)
        await server.inject(Fault.rst(at=CUTS[cut]))
        if cut == "while it runs":
            notes.wait = lambda: talk.told_of(events.Resumed)
        await talk.ask_all(asked, f'note={{"noted":"{wanted[-1]}"}}')
        await talk.ask("three")
        await talk.close()
        assert talk.count(events.Resumed) == 1
        await check(talk, notes, asked, wanted)


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_tool_runs_once_though_no_handle_has_come(family):
    """The session starts anew, with what was said; the tool's answer is still for the same question."""
    notes, asked = Notes(), 'one [tool:note {"what": "a"}]'
    async with service(family=family) as server, run(server, family=family, tools=[notes.note]) as talk:
        await server.inject(Fault.rst(at=Trigger.tool_call()))
        notes.wait = lambda: talk.told_of(events.FreshStarted)
        await talk.ask_all(asked, 'note={"noted":"a"}')
        await talk.close()
        assert notes.written == ["a"]
        assert calls_in(talk.events) == responses_in(talk.events) == ["a"]
        report = await server.ledger_report([asked, response_item("note", {"noted": "a"})])
        assert report.ok, report


# --- calls that are taken back ----------------------------------------------------------------------------------------

KEEPS = ADK >= (2, 0)
"""ADK keeps the calls of a 2.5 model until the service ends its turn."""


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_call_that_the_model_words_anew_takes_the_place_of_the_old_one(family):
    """Nobody can know that it is the same: the tool runs for both, and the first one's answer is for nobody."""
    notes, asked = Notes(), 'two [tool:note {"what": "a"}]'
    knobs = {"family": family, "reissue": "other_args"}
    async with service(**knobs) as server, run(server, family=family, tools=[notes.note]) as talk:
        await talk.ask("one")
        await talk.told_of(events.HandleReceived)
        notes.wait = lambda: talk.told_of(events.Resumed)
        talk.queue.send_content(question(asked))
        await notes.begun.wait()
        await server.inject(Fault.rst())
        await talk.turn_is_over('note={"noted":"a"}')
        await talk.ask("three")
        await talk.close()
        assert notes.written == ["a", "a again"]
        assert talk.count(events.ToolResponseDropped) == 1
        report = await server.ledger_report(["one", asked, response_item("note", {"noted": "a"}), "three"])
        assert report.ok, report
        assert report.unexpected == report.calls_unanswered == []


@pytest.mark.parametrize("family", FAMILIES)
async def test_what_a_tool_answers_after_the_user_broke_in_is_for_nobody(family):
    notes, gate, asked = Notes(), asyncio.Event(), 'two [tool:note {"what": "a"}]'
    notes.wait = gate.wait
    async with service(family=family) as server, run(server, family=family, tools=[notes.note]) as talk:
        await talk.ask("one")
        await talk.told_of(events.HandleReceived)
        talk.queue.send_content(question(asked))
        await notes.begun.wait()
        await server.inject(Fault.rst(at=Trigger.mid_answer(1)))
        talk.queue.send_content(question("three"))
        await talk.told_of(events.Resumed)
        gate.set()
        await talk.turn_is_over("answer to three")
        await talk.ask("four")
        await talk.close()
        assert notes.written == ["a"]
        assert talk.count(events.ToolResponseDropped) == 1
        report = await server.ledger_report(["one", asked, "three", "four"])
        assert report.ok, report
        assert report.calls_unanswered == []
        assert not [item for item in report.unexpected if "error" not in item]


@pytest.mark.skipif(not KEEPS, reason="this ADK runs every call at once")
@pytest.mark.parametrize("cut", ["before the user breaks in", "after it"])
async def test_a_call_that_adk_keeps_is_not_run_if_the_user_breaks_in(cut):
    notes, asked = Notes(), 'two [tool:note {"what": "a"}]'
    async with service(tool_turns="joined") as server, run(server, tools=[notes.note]) as talk:
        await talk.ask("one")
        await talk.told_of(events.HandleReceived)
        await server.inject(Fault.rst(at=Trigger.tool_call() if cut.startswith("before") else Trigger.turn_complete(2)))
        talk.queue.send_content(question(asked))
        await called(talk, 1 + cut.startswith("before"))
        talk.queue.send_content(question("three"))
        await talk.turn_is_over("answer to three")
        await talk.ask("four")
        await talk.close()
        assert notes.written == []
        assert talk.count(events.Resumed) == 1
        report = await server.ledger_report(["one", asked, "three", "four"])
        assert report.ok, report


async def called(talk: Talk, times: int) -> None:
    """Wait until the model has called so often."""
    while len((await talk.server.ledger_report()).calls) < times:  # noqa: ASYNC110 -- of another process
        await asyncio.sleep(0.01)
