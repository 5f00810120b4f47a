"""Random conversations with tools over bad lines: latency, jitter, a rate, single bytes, and cuts at any byte, from one seed."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from tests.faults.runner import ARM, Run
from tests.faults.scenarios import OLD_BINDING
from tests.faults.schedules import draw_schedule
from tests.network.places import FAULTS, POLICY
from tests.network.proxy import Weather
from tests.network.through import converse_through

pytestmark = pytest.mark.network

AT_ONCE = 8
SHORT = 6
LONG = 406
PATIENT = {
    **POLICY,
    "connect_timeout": 100,
    "setup_timeout": 100,
    "abort_expecting": 40,
    "abort_idle": 60,
    "max_outage": 2000,
}
"""A line that passes on single bytes takes its time, and so does a machine that passes them on for many."""


def draw_line(seed):
    """Return the weather of a seed, the faults of its connections, and whether they are counted inside of TLS."""
    draw = random.Random(f"line {seed}")
    weather = Weather(
        latency=draw.choice([0.0, 0.005, 0.02]),
        jitter=draw.choice([0.0, 0.01]),
        rate=draw.choice([None, None, 100_000.0]),
        slices=draw.choice([None, None, 1, 20, 20, 1400]),
    )
    inside = draw.random() < 0.5
    faults = []
    for connection in range(draw.choice([1, 2, 4])):
        what = FAULTS[draw.choice(list(FAULTS))]
        way = draw.choice(["up", "down", "down"])
        records = (8 if way == "up" else 30) + (0 if inside else 8)
        where = {
            "way": way,
            "record": draw.randrange(records),
            "byte": draw.choice([0, 1, 3, 10, 60]),
            "on": connection,
        }
        faults.append(replace(what, **where))
    return weather, faults, inside


async def run_line(seed) -> Run:
    """Run the schedule of a seed, with the network in place of the faults of the service."""
    schedule = draw_schedule(seed)
    weather, faults, inside = draw_line(seed)
    scenario = replace(
        schedule.scenario,
        name=f"line {seed}",
        steps=tuple(step for step in schedule.scenario.steps if step is not ARM),
        faults=(),
        armed=(),
        # A service that says something all the time is alive, even if nothing reaches it (and a slow line would be full).
        knobs={**schedule.scenario.knobs, "handle_interval": None},
        policy={**schedule.scenario.policy, **PATIENT},
        refused=OLD_BINDING,
    )
    return await converse_through(
        scenario,
        profile=schedule.profile,
        loop=schedule.loop,
        family=schedule.family,
        schedule=faults,
        weather=weather,
        seed=seed,
        inside=inside,
    )


async def play(seeds):
    asyncio.get_running_loop().set_debug(False)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(seed):
        async with gate:
            return seed, await run_line(seed)

    runs = await asyncio.gather(*(one(seed) for seed in seeds))
    wrong = [f"run_line({seed}), {draw_line(seed)}: {run}" for seed, run in runs if run.problems()]
    assert not wrong, f"{len(wrong)} of {len(runs)} went wrong\n" + "\n\n".join(wrong[:3])
    struck = [strike.fault.do for _, run in runs for strike in run.proxy.strikes]
    print(
        f"{len(runs)} conversations, {len(struck)} faults: { ({do: struck.count(do) for do in sorted(set(struck))}) }"
    )
    assert struck


def test_the_same_seed_gives_the_same_line():
    assert draw_line(1) == draw_line(1) != draw_line(2)


async def test_nothing_is_lost_on_a_bad_line():
    await play(range(SHORT))


@pytest.mark.wide
@pytest.mark.parametrize("shard", range(8))
async def test_nothing_is_lost_on_many_bad_lines(shard):
    await play(range(SHORT + shard, LONG, 8))
