"""Reconnect after reconnect: no task, no file descriptor and no timer is left behind (G6)."""

from __future__ import annotations

import asyncio
import gc

import pytest

from resumekit.core import events
from tests.faults.runner import Ask, Do, Scenario, traces
from tests.network.proxy import Fault
from tests.network.through import converse_through

pytestmark = pytest.mark.network


@pytest.mark.parametrize(
    ("profile", "reconnects"), [("developer", 20), pytest.param("vertex", 200, marks=pytest.mark.wide)]
)
async def test_reconnects_leave_no_task_descriptor_or_timer_behind(profile, reconnects):
    loop = asyncio.get_running_loop()
    seen = []

    async def take_stock(app):
        await app.anchored()
        while len(app.proxy._tasks) > 1:  # noqa: ASYNC110 -- the proxy's own, of connections that have ended
            await asyncio.sleep(0.01)
        gc.collect()
        await asyncio.sleep(0.1)  # what was collected closes itself
        tasks, descriptors = traces()
        timers = [handle for handle in loop._scheduled if not handle.cancelled()]
        seen.append((len(tasks), descriptors, len(timers)))

    async def cut(app):
        await app.anchored()
        before = app.count(events.Resumed)
        app.proxy.strike(Fault("rst"))
        await app.until(lambda: app.count(events.Resumed) > before)

    steps = [Ask("begin"), Do(take_stock)]
    for number in range(reconnects):
        steps += [Do(cut), Ask(f"question {number}")]
    patient = {"ping_expecting": 100, "abort_expecting": 300, "progress_watchdog": 600, "max_reanswers_per_turn": 100}
    scenario = Scenario(name="reconnects", steps=(*steps, Do(take_stock)), scale=0.01, policy=patient)
    run = await converse_through(scenario, profile=profile, timeout=100.0)
    assert not run.problems(), str(run)
    assert run.report.resumes >= reconnects
    assert seen[0] == seen[1]
