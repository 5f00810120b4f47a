"""Processes that are killed in mid-conversation: the next one goes on, on every store, in both frameworks."""

from __future__ import annotations

import pytest

from resumekit.emulator import parse_answer, response_item
from tests.processes.support import POLICY, TOOL, emulator, hold, workers

pytestmark = pytest.mark.network


@pytest.mark.parametrize("framework", ["genai", "adk"])
async def test_a_conversation_goes_on_whatever_its_process_was_doing(store, framework, tmp_path):
    """One dies in the middle of an answer, one in the middle of a tool; their questions are answered by the next ones."""
    async with emulator() as server, workers(server, store, tmp_path, framework, 3) as (first, second, third):
        await first.start()
        await first.answers("one")
        await store.is_quiet()
        await hold(server, connection=0)
        await first.speaks("two")
        await store.keeps("two")
        await first.kill()

        await second.start()
        await second.answered("two")
        await store.is_quiet()
        await second.do(TOOL)
        await second.tells("tool")
        await store.keeps("a fact?")
        await second.kill()

        await third.start()
        await third.tells("tool")
        await third.do(["return"])
        await third.until(lambda: any("found a fact" in answer for answer in third.whole_answers))
        await third.answers("four")
        await third.leave()
        report = await server.ledger_report(
            ["one", "two", TOOL, response_item("look_up", {"result": "found a fact"}), "four"]
        )
    assert report.ok, report
    assert (report.connections, report.fresh_starts) == (3, 0), "each dialled once"
    assert parse_answer(third.whole_answers[-1]).turns_held == 4
    for worker in (second, third):
        assert all(waiting["seconds"] <= POLICY["lease"] for waiting in worker.events("WaitingForKey"))
        (continued,) = worker.events("Continued")
        assert (continued["resent_messages"], continued["left_out"], continued["detached"]) == (1, 0, False)
        assert worker.events("HandleRefused", "FreshStarted", "StoreFailed") == []
