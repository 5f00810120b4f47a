"""Random conversations with tools, each from one seed: what is asked, how the model calls, what cuts it and when."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from resumekit.emulator import Fault, Trigger
from tests.faults.runner import (
    ARM,
    LOOPS,
    PROFILES,
    Ask,
    AskAndTell,
    Loop,
    Pause,
    Profile,
    Run,
    Scenario,
    Step,
    Together,
    converse,
)

__all__ = ["Schedule", "draw_schedule", "draw_steps", "run_schedule"]

FIELDS: dict[str, list[Any]] = {
    "tool_position": [None, "before", "amid", "end"],
    "tool_frames": ["one", "each"],
    "reissue": ["same", "same", "same", "other_args", "reversed", "subset", "extra", "none", "any", "any"],
    "overlap": ["interrupt", "queue", "merge"],
    "snapshot_at": [None, "turn_complete", "sending"],
    "handle_delay": [None, 0.05, 1.0],
    "handle_interval": [None, None, 0.5],
    "handle_at_setup": [False, True],
    "thoughts": [False, True],
}
VERTEX_FIELDS: dict[str, list[Any]] = {
    "mid_answer_handles": [None, 0, 1, 3],
    "tool_call_handles": [None, False, True],
}
PARTS = ["joined", "split", "at_end"]
MOMENTS = [
    *[Trigger.client_message(n) for n in (1, 2, 3, 4, 5)],
    *[Trigger.generation_started(n) for n in (1, 2, 3)],
    *[Trigger.mid_answer(n) for n in (1, 2, 4)],
    *[Trigger.tool_call(n) for n in (1, 1, 1, 2, 2, 2, 3, 3, 4)],
    *[Trigger.tool_response(n) for n in (1, 1, 1, 2, 2, 2, 3, 3)],
    *[Trigger.generation_complete(n) for n in (1, 2, 3)],
    *[Trigger.turn_complete(n) for n in (1, 2, 3)],
    *[Trigger.before_handle(n) for n in (1, 2, 3)],
    *[Trigger.handle(n) for n in (1, 2, 4)],
    *[Trigger.server_frame(n) for n in (1, 3, 7)],
    *[Trigger.elapsed(s) for s in (0.2, 0.7, 1.2, 1.5, 2.0, 3.0, 4.0, 6.0)],
    Trigger.bound(),
    Trigger.setup_received(),
]
AT_RESUME = [
    Fault.refuse_handle(),
    Fault.poisoned_handle(),
    Fault.poisoned_handle("handle"),
    Fault.handshake(503, times=2),
]
TIMEOUT = 90.0
"""Real seconds after which a schedule hangs."""
TAKES = [0, 0.1, 0.3, 1, 3, 3, 8]
"""How long a tool runs, in seconds of the service: the longest ones see several cuts."""


@dataclass(frozen=True)
class Schedule:
    """A conversation, and against which service."""

    scenario: Scenario
    profile: Profile
    family: str
    loop: Loop


def draw_schedule(seed: int) -> Schedule:
    """Return the schedule of a seed."""
    draw = random.Random(seed)
    profile, family = draw.choice(PROFILES), draw.choice(["2.5", "3.x"])
    fields = FIELDS | (VERTEX_FIELDS if profile == "vertex" else {})
    knobs = {name: draw.choice(values) for name, values in fields.items()}
    knobs["tool_turns"] = draw.choice(PARTS) if family == "2.5" else "joined"
    knobs["seed"] = seed
    safe = draw.random() < 0.8
    faults = [_fault(draw) for _ in range(draw.choice([2, 3, 4, 6]))]
    if draw.random() < 0.15:
        faults.append(draw.choice(AT_RESUME))
    scenario = Scenario(
        name=f"schedule {seed}",
        knobs=knobs,
        steps=(Ask("begin"), *([ARM] if safe else []), *draw_steps(draw, family, str(knobs["overlap"])), Ask("end")),
        strikes="any",
        fresh=None,
        parts=True,
        alone=False,
        policy={"max_reanswers_per_turn": 100},
        **{"armed" if safe else "faults": tuple(faults)},
    )
    return Schedule(scenario, profile, family, draw.choice(LOOPS))


async def run_schedule(seed: int) -> Run:
    """Run the schedule of a seed."""
    schedule = draw_schedule(seed)
    return await converse(
        schedule.scenario, profile=schedule.profile, loop=schedule.loop, family=schedule.family, timeout=TIMEOUT
    )


def draw_steps(draw: random.Random, family: str, overlap: str, first: int = 0) -> list[Step]:
    """Return a few questions and what belongs to them; they are numbered, so that no two are alike."""
    steps: list[Step] = []
    for number in range(first, first + draw.choice([1, 2, 2, 3])):
        question = f"q{number} {_calls(draw)}"
        if family == "2.5" and draw.random() < 0.3:
            steps.append(AskAndTell(question, f"context {number}", draw.choice([0.05, 0.3, 1.0])))
        elif overlap == "queue" and draw.random() < 0.2:
            steps.append(Together((question, f"second {number} {_calls(draw)}")))
        else:
            steps.append(Ask(question))
        if draw.random() < 0.3:
            steps.append(Pause(draw.choice([0.3, 1.0])))
    return steps


def _calls(draw: random.Random) -> str:
    parallel = draw.choice([0, 1, 1, 2, 2, 3])
    calls = [_call(draw, number) for number in range(parallel)]
    if parallel > 1 and draw.random() < 0.3:
        calls[1] = calls[0]  # twice the same
    text = "".join(f"[tool:{call}]" for call in calls)
    if parallel and draw.random() < 0.3:
        text += f"[then:{_call(draw, 9)}]"
    return text


def _call(draw: random.Random, number: int) -> str:
    return f"tool{number} {json.dumps({'takes': draw.choice(TAKES), 'n': draw.choice([1, 2])})}"


def _fault(draw: random.Random) -> Fault:
    connection = draw.choice([None, None, None, 1, 2])
    ends = [
        Fault.fin,
        lambda **where: Fault.close(1011, "Internal error encountered.", **where),
        lambda **where: Fault.close(1008, "The operation was aborted.", **where),
        lambda **where: Fault.go_away(draw.choice([0, 0.5, 2, 6]), **where),
    ]
    if draw.random() < 0.4:  # while a tool runs; a reset would take the call with it
        return draw.choice(ends)(at=Trigger.tool_call(draw.choice([1, 1, 2, 3])), connection=connection)
    at = draw.choice(MOMENTS)
    if at.on not in {"elapsed", "answer_frame", "bound", "setup_received"} and draw.random() < 0.5:
        at = Trigger(at.on, at.n + draw.choice([1, 2, 4, 8]))  # the first ones are over when a fault is armed
    ends += [Fault.rst, Fault.rst, lambda **where: Fault.listener_down(2, **where)]
    return draw.choice(ends)(at=at, connection=connection)
