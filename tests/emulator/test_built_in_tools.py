"""Built-in tools, and functions that the model does not wait for."""

from __future__ import annotations

import pytest

from tests.emulator.helpers import said, server, session, turn_complete

pytestmark = pytest.mark.network

BUILT_IN = [{"googleSearch": {}}, {"codeExecution": {}}]
BACKGROUND = [{"functionDeclarations": [{"name": "a", "behavior": "NON_BLOCKING"}, {"name": "b"}]}]


def contents(frames, name):
    return [frame["serverContent"][name] for frame in frames if name in frame.get("serverContent", {})]


def parts(frames, name):
    return [part[name] for turn in contents(frames, "modelTurn") for part in turn["parts"] if name in part]


@pytest.mark.parametrize(("profile", "frames"), [("developer", 1), ("vertex", 1)])
async def test_an_answer_can_be_grounded_in_a_search(profile, frames):
    async with server(profile=profile) as live, session(live, tools=BUILT_IN) as wire:
        await wire.content("one [search:llamas]")
        found = contents(await wire.turn(), "groundingMetadata")
        assert len(found) == frames
        assert found[0]["webSearchQueries"] == ["llamas"]
        await wire.content("two")
        assert not any(contents(await wire.turn(), "groundingMetadata"))


async def test_an_answer_can_run_code():
    async with server() as live, session(live, tools=BUILT_IN) as wire:
        await wire.content("one [code:1 + 1]")
        answer = await wire.turn()
        assert parts(answer, "executableCode") == [{"language": "PYTHON", "code": "1 + 1"}]
        assert parts(answer, "codeExecutionResult") == [{"outcome": "OUTCOME_OK", "output": "output of 1 + 1\n"}]


async def test_there_are_no_built_in_tools_but_those_of_the_setup():
    async with server() as live, session(live) as wire:
        await wire.content("one [code:1 + 1][search:llamas]")
        answer = await wire.turn()
        assert not parts(answer, "executableCode") + contents(answer, "groundingMetadata")


@pytest.mark.parametrize("turns", ["joined", "at_end"])
@pytest.mark.parametrize("model", ["2.5", "3.x"])
async def test_a_model_does_not_wait_for_a_non_blocking_function(model, turns):
    async with server(model=model, tool_turns=turns) as live, session(live, tools=BACKGROUND) as wire:
        await wire.content("one [tool:a]")
        (call,) = await wire.calls()
        rest = await wire.until(turn_complete)
        assert "answer to one" in said(wire.frames)
        assert sum("turnComplete" in frame.get("serverContent", {}) for frame in rest) == 1
        for number in range(2):
            await wire.respond(call, {"number": number})
            assert (
                said(await wire.turn())
                == f'answer to response of a: 1 user turns held; results: a={{"number":{number}}}'
            )
        report = live.ledger.report()
        assert report.calls_answered_twice == report.responses_to_unknown == []


async def test_a_model_waits_for_the_other_functions_of_the_step():
    async with server(model="3.x") as live, session(live, tools=BACKGROUND) as wire:
        await wire.content("one [tool:a][tool:b]")
        _, call = await wire.calls()
        await wire.respond(call)
        assert 'results: b={"ok":true}' in said(await wire.turn())


@pytest.mark.parametrize("scheduling", ["SILENT", "WHEN_IDLE", "INTERRUPT"])
async def test_a_response_comes_when_its_scheduling_says(scheduling):
    async with server(model="3.x") as live, session(live, tools=BACKGROUND) as wire:
        await wire.content("one [tool:a]")
        (call,) = await wire.calls()
        await wire.until(turn_complete)
        await wire.live("two [chunks:20]")
        await wire.until(lambda frame: "modelTurn" in frame.get("serverContent", {}))
        answer = {"id": call["id"], "name": "a", "response": {}, "scheduling": scheduling}
        await wire.send({"tool_response": {"functionResponses": [answer]}})
        rest = await wire.turn()
        assert bool(contents(rest, "interrupted")) == (scheduling == "INTERRUPT")
        if scheduling == "SILENT":
            await wire.live("three")
            assert said(await wire.turn()) == "answer to three: 3 user turns held; results: a={}"
        else:
            assert said(await wire.turn()) == "answer to response of a: 2 user turns held; results: a={}"
