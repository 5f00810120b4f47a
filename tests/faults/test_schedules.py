"""Random conversations with tools, through the real google-genai client: each side effect happens once."""

from __future__ import annotations

import asyncio

import pytest

from resumekit.core import events
from tests.faults.schedules import run_schedule

pytestmark = [
    pytest.mark.network,
    pytest.mark.proof,
    pytest.mark.timeout(300),
]  # some seconds, where the machine has time

SHARDS = 4
AT_ONCE = 6


@pytest.mark.parametrize("shard", range(SHARDS))
async def test_tools_run_once_whatever_is_cut(shard, schedules):
    asyncio.get_running_loop().set_debug(False)  # it would be most of the work
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(seed):
        async with gate:
            return seed, await run_schedule(seed)

    runs = await asyncio.gather(*(one(seed) for seed in range(shard, schedules // 200, SHARDS)))
    wrong = [f"draw_schedule({seed}): {run}" for seed, run in runs if run.problems()]
    assert not wrong, f"{len(wrong)} of {len(runs)} schedules went wrong\n" + "\n\n".join(wrong[:5])
    # That something happened at all:
    assert sum(len(run.struck) for _, run in runs) > len(runs)
    assert sum(len(run.app.effects) for _, run in runs) > len(runs)
    told = [event for _, run in runs for event in run.app.told]
    repeated = (events.ToolCallRebound, events.TurnShadowed)  # either is rare: it takes a cut within a few milliseconds
    for kind in (events.Resumed, events.ToolCallAnswered, repeated, events.TurnCut):
        assert any(isinstance(event, kind) for event in told), kind
