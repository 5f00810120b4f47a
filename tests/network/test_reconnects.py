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

BY_CHANCE = 2
"""So many more at a moment mean nothing, after ten times as many reconnects: those that come and go."""


@pytest.mark.parametrize(
    ("profile", "reconnects"), [("developer", 20), pytest.param("vertex", 200, marks=pytest.mark.wide)]
)
async def test_reconnects_leave_no_task_descriptor_or_timer_behind(profile, reconnects):
    loop = asyncio.get_running_loop()
    seen = []

    def stock():
        timers = [handle for handle in loop._scheduled if not handle.cancelled()]
        tasks, descriptors = traces()
        return len(tasks), descriptors, len(timers)

    async def settled(app):
        await app.anchored()
        while len(app.proxy._tasks) > 1:  # noqa: ASYNC110 -- the proxy's own, of connections that have ended
            await asyncio.sleep(0.01)
        gc.collect()

    async def begin(app):
        await settled(app)
        seen.append(stock())

    async def end(app):
        await settled(app)
        try:
            async with asyncio.timeout(60):  # what was collected closes itself, and a ping may be under way
                while any(now > before + BY_CHANCE for now, before in zip(stock(), seen[0], strict=True)):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        finally:
            seen.append(stock())

    async def cut(app):
        await app.anchored()
        before = app.count(events.Resumed)
        app.proxy.strike(Fault("rst"))
        await app.until(lambda: app.count(events.Resumed) > before)

    steps = [Ask("begin"), Do(begin)]
    for number in range(reconnects):
        steps += [Do(cut), Ask(f"question {number}")]
    silence = dict.fromkeys(("ping_idle", "ping_expecting", "abort_idle", "abort_expecting", "progress_watchdog"), 6000)
    patient = {**silence, "max_reanswers_per_turn": 100}
    scenario = Scenario(name="reconnects", steps=(*steps, Do(end)), scale=0.01, policy=patient)
    run = await converse_through(scenario, profile=profile, timeout=100.0)
    assert not run.problems(), f"{seen}, {run}"
    assert run.report.resumes >= reconnects
