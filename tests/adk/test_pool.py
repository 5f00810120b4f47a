"""`ResumableGemini(pool=...)`: runs wait for their slots, and keep them across cuts."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from google.adk.agents import Agent

from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from resumekit.errors import ConfigurationError, PoolTimeout
from resumekit.pool import SessionPool
from tests.adk.support import FAMILIES, ResumableGemini, config, eventually, question, run, service, words

pytestmark = pytest.mark.network
FAMILY = "2.5"
PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "quotas.md").read_text("utf-8")


async def test_a_run_waits_for_its_slot_and_keeps_it_across_a_cut():
    pool = SessionPool(1, timeout=None)
    faults = [Fault.rst(at=Trigger.mid_answer(2), binding=0)]
    async with service(family=FAMILY, faults=faults) as server, run(server, family=FAMILY, pool=pool) as first:
        await first.ask("one")
        async with run(server, family=FAMILY, pool=pool) as second:
            await second.until(lambda: any(isinstance(event, events.Queued) for event in second.told))
            assert (pool.sessions, pool.waiting) == (1, 1)
            await first.ask("two")
            assert pool.reconnects == 1
            await first.close()
            await second.ask("hello")
            assert any(isinstance(event, events.Admitted) for event in second.told)
            await second.close()
    assert (pool.sessions, pool.waiting) == (0, 0)


async def test_a_run_that_is_not_let_in_ends_with_the_pool_s_error():
    pool = SessionPool(1, timeout=0.1)
    async with service(family=FAMILY) as server, pool.slot(), run(server, family=FAMILY, pool=pool) as talk:
        with pytest.raises(PoolTimeout):
            await talk.until(lambda: False)


async def test_a_transfer_gives_the_slot_on():
    """One slot is enough for a run of two agents: the first one's session is closed before the other's is opened."""
    pool = SessionPool(1, timeout=50.0)

    def agents(model):
        child = Agent(name="child", model=model, instruction="Be brief.", description="Helps.")
        return Agent(name="an_agent", model=model, instruction="Be brief.", sub_agents=[child])

    async with service(family=FAMILY) as server, run(server, family=FAMILY, pool=pool, agent=agents) as talk:
        talk.queue.send_content(question('one [tool:transfer_to_agent {"agent_name": "child"}]'))
        await talk.told_of(events.Connected, 2)
        assert pool.sessions == 1
        await talk.close()
    assert pool.sessions == 0


def test_what_is_no_pool_is_refused_at_once():
    with pytest.raises((ConfigurationError, ValueError), match="pool"):
        ResumableGemini(model=FAMILIES[FAMILY], pool=5)


class User:
    """Asks one question."""

    def __init__(self, name):
        self.name = name
        self.shown, self.told, self.played = [], [], []
        self.show, self.tell = self.shown.append, self.told.append

    def speak_into(self, queue):
        queue.send_content(question(f"I am {self.name}"))

    def play(self, event):
        self.played.append(words(event))

    def has_its_answer(self):
        return any(f"I am {self.name}" in text for text in self.played)


async def test_the_page_s_runs_wait_and_time_out_and_are_cancelled_as_shown():
    (block,) = re.findall(r"^```python\n(from google\.adk.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    page = {"MODEL": FAMILIES[FAMILY], "LIMIT": 1, "RUN_CONFIG": config()}
    exec(compile(block, "docs/how-to/quotas.md", "exec"), page)
    pool = page["pool"]
    async with service(family=FAMILY, max_connections=1):
        first, second, third, late = map(User, ("one", "two", "three", "four"))
        calls = [asyncio.create_task(page["call"](first))]
        await eventually(first.has_its_answer)
        for waiting, user in enumerate((second, third), 1):
            calls.append(asyncio.create_task(page["call"](user)))
            await eventually(lambda waiting=waiting: pool.waiting == waiting)
        assert [event.place for event in third.told if isinstance(event, events.Queued)] == [2]

        pool._timeout = 0.1
        await page["call"](late)
        assert late.shown == ["All lines are busy; there were 2 before you. Please try later."]

        calls[1].cancel()
        await eventually(lambda: pool.waiting == 1)
        for user, call in ((first, calls[0]), (third, calls[2])):
            await eventually(user.has_its_answer)
            call.cancel()  # the user hangs up
            await asyncio.wait({call})
        await eventually(lambda: (pool.sessions, pool.waiting) == (0, 0))
        assert not second.played
