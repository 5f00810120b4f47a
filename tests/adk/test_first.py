"""A conversation through a Runner goes on across cuts."""

from __future__ import annotations

import pytest
from google.genai import types

from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from tests.adk.support import FAMILIES, run, service

pytestmark = pytest.mark.network


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("profile", ["developer", "vertex"])
async def test_a_cut_is_a_short_gap(profile, family):
    async with service(profile, family=family) as server, run(server, family=family) as talk:
        await talk.ask("one")
        await server.inject(Fault.rst(at=Trigger.mid_answer(1)))
        await talk.ask("two")
        await talk.ask("three")
        await talk.close()
        said = [answer.partition(":")[0] for answer in talk.answers()]
        assert said == ["answer to one", "answer to two", "answer to three"]
        assert talk.count(events.TurnCut) == 1
        report = await server.ledger_report(["one", "two", "three"])
        assert (report.lost, report.doubled, report.reordered) == ([], [], [])


async def test_a_message_that_cannot_be_sent_is_told_and_the_next_one_goes_out():
    async with service() as server, run(server) as talk:
        talk.queue.send_content(types.Content(role="user", parts=[]))
        await talk.told_of(events.MessageNotSent)
        await talk.ask("one")
        await talk.close()
        assert (await server.ledger_report(["one"])).lost == []
