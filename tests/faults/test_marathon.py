"""Many cuts in one conversation: nothing is lost, and nothing piles up."""

from __future__ import annotations

import asyncio
import gc

import pytest

from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from tests.faults.runner import PROFILES, Arm, Ask, Do, Say, Scenario, converse, traces

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
        for _ in range(400):  # what was collected closes itself
            tasks, descriptors = traces()
            now = (len(tasks), descriptors)
            if not seen or all(one <= before for one, before in zip(now, seen[0], strict=True)):
                break
            await asyncio.sleep(0.05)
        seen.append(now)

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
    assert all(now <= before for before, now in zip(*seen, strict=True)), seen


@pytest.mark.parametrize("profile", PROFILES)
async def test_twenty_cuts_without_a_pause(profile):
    cut = Fault.rst(at=Trigger.generation_started(2), times=CUTS)  # each connection answers one question
    questions = tuple(Ask(f"question {number}") for number in range(CUTS + 1))
    scenario = Scenario(name="sprint", armed=(cut,), steps=(Arm(anchored=False), *questions), strikes=CUTS)
    run = await converse(scenario, profile=profile, loop="request")
    assert not [problem for problem in run.problems() if "fresh" not in problem], str(run)
