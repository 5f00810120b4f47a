"""Random conversations with parallel tools through an ADK Runner: each side effect once, the right events, nothing lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from resumekit.core import events
from tests.adk.conversing import HAS_PARTIAL_CONTENT, converse, fit, found_by_task
from tests.adk.support import FAMILIES
from tests.faults.runner import Ask, AskAndTell, Do
from tests.faults.schedules import draw_schedule

pytestmark = [pytest.mark.network, pytest.mark.timeout(300)]  # some seconds, where the machine has time

FEW = 24
AT_ONCE = 6
SHARDS = 4


def drawn(seed):
    """Return the schedule of a seed, as this version of ADK can have it."""
    schedule = draw_schedule(seed)
    family = schedule.family if schedule.family in FAMILIES else "2.5"
    scenario = schedule.scenario
    knobs = dict(scenario.knobs)
    if knobs["tool_turns"] == "split":
        knobs["tool_turns"] = "at_end"
    steps = scenario.steps
    if not HAS_PARTIAL_CONTENT:
        steps = tuple(Ask(step.text) if isinstance(step, AskAndTell) else step for step in steps)
    # Who leaves while a turn is run again, unseen, leaves behind what was to be sent: the newest handle shows that it is over.
    steps = (*steps, Do(lambda app: app.anchored()))
    return fit(replace(scenario, knobs=knobs, steps=steps), family), schedule.profile, family


async def conversations(seeds):
    asyncio.get_running_loop().set_debug(False)  # it would be most of the work
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(seed):
        scenario, profile, family = drawn(seed)
        async with gate:
            return seed, await converse(scenario, profile=profile, family=family, timeout=90)

    with found_by_task():
        runs = await asyncio.gather(*(one(seed) for seed in seeds))
    wrong = [f"drawn({seed}): {run}" for seed, run in runs if run.problems()]
    assert not wrong, f"{len(wrong)} of {len(runs)} schedules went wrong\n" + "\n\n".join(wrong[:5])
    # That something happened at all:
    assert sum(len(run.struck) for _, run in runs) > len(runs)
    assert sum(len(run.app.effects) for _, run in runs) > len(runs)
    told = [event for _, run in runs for event in run.app.told]
    repeated = (events.ToolCallRebound, events.TurnShadowed)  # either is rare: it takes a cut within a few milliseconds
    for kind in (events.Resumed, repeated, events.TurnCut):
        assert any(isinstance(event, kind) for event in told), kind


async def test_tools_run_once_whatever_is_cut():
    await conversations(range(FEW))


@pytest.mark.proof
@pytest.mark.parametrize("shard", range(SHARDS))
async def test_tools_run_once_whatever_is_cut_and_however_often(shard, schedules):
    await conversations(range(FEW + shard, schedules // 200, SHARDS))
