"""Many cuts in one conversation: nothing is lost, and nothing piles up."""

from __future__ import annotations

import asyncio
import gc

import pytest

from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from tests.faults.proxy import Fault as NetworkFault
from tests.faults.runner import PROFILES, Arm, Ask, Do, Say, Scenario, converse, traces
from tests.faults.through import converse_through

pytestmark = pytest.mark.network

CUTS = 20
ENDS = [
    Fault.rst(at=Trigger.mid_audio(3)),
    Fault.close(1011, "Internal error encountered.", at=Trigger.mid_audio(2)),
    Fault.fin(at=Trigger.mid_audio(1)),
    Fault.close(1008, "The operation was aborted.", at=Trigger.mid_audio(4)),
    Fault.torn_frame(at=Trigger.mid_answer(1)),
]


@pytest.mark.parametrize("profile", PROFILES)
async def test_twenty_cuts_in_a_row(profile):
    seen = []

    async def take_stock(app):
        await app.anchored()
        gc.collect()
        await asyncio.sleep(0.1)  # what was collected closes itself
        tasks, descriptors = traces()
        seen.append((len(tasks), descriptors))

    steps = [Say("hello"), Do(take_stock)]
    for number in range(CUTS):
        fault = ENDS[number % len(ENDS)]

        async def arm(app, fault=fault):
            await app.anchored()
            await app.server.inject(fault)

        steps.append(Do(arm))
        steps.append(Ask(f"written {number}") if number % 2 else Say(f"spoken {number}"))
    steps += [Say("bye"), Do(take_stock)]
    scenario = Scenario(name="marathon", speech=True, steps=tuple(steps), strikes=CUTS)
    run = await converse(scenario, profile=profile)
    assert not run.problems(), str(run)
    assert run.report.resumes == CUTS
    assert run.app.count(events.TurnCut) == CUTS
    assert seen[0] == seen[1]


@pytest.mark.parametrize("profile", PROFILES)
async def test_twenty_cuts_without_a_pause(profile):
    cut = Fault.rst(at=Trigger.generation_started(2), times=CUTS)  # each connection answers one question
    questions = tuple(Ask(f"question {number}") for number in range(CUTS + 1))
    scenario = Scenario(name="sprint", armed=(cut,), steps=(Arm(anchored=False), *questions), strikes=CUTS)
    run = await converse(scenario, profile=profile, loop="request")
    assert not [problem for problem in run.problems() if "fresh" not in problem], str(run)


@pytest.mark.parametrize(
    ("profile", "reconnects"), [("developer", 25), pytest.param("vertex", 200, marks=pytest.mark.proof)]
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
        app.proxy.strike(NetworkFault("rst"))
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
