"""What nobody knows for certain of the service: either answer, with the policy that expects it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.faults.runner import ARM, PROFILES, Ask, Profile, Scenario, converse
from tests.faults.scenarios import CUT, SCENARIOS

pytestmark = pytest.mark.network

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
TEXT = (
    "reset",
    "cut-before-output",
    "cut-before-the-handle",
    "cut-twice-in-one-turn",
    "cut-in-two-turns",
    "cut-in-silence",
    "goaway-in-mid-answer",
    "context-before-the-question",
    "context-after-the-answer",
    "two-questions-at-once-cut-in-the-second",
)
TOOLS = (
    "tool-runs-at-the-cut",
    "tool-runs-across-two-cuts",
    "tool-parallel-one-answered",
    "tool-answered-cut-in-the-answer",
    "tool-turn-cut-before-the-handle",
    "tool-in-turns-at_end-cut-between-the-turns",
)
SPEECH = (
    "speech-cut-in-mid-audio",
    "speech-cut-when-the-user-has-spoken",
    "speech-cut-while-the-user-speaks",
    "speech-goaway-in-mid-audio",
)


@dataclass(frozen=True)
class Unknown:
    """One answer that the service may give."""

    knobs: Mapping[str, Any]
    policy: Mapping[str, Any] = field(default_factory=dict)
    profiles: tuple[Profile, ...] = PROFILES
    scenarios: tuple[str, ...] = TEXT + TOOLS + SPEECH
    fresh: bool = False
    """The resume point may be gone."""


UNKNOWNS = {
    # After one message the index is 0, which nobody can tell from none: such a handle is no resume point.
    "the-first-message-is-0": Unknown({"index_base": 0}, {"first_index": 0}, ("vertex",), fresh=True),
    "older-handles-are-void": Unknown(
        {"invalidate_older": True}, {"older_handles_valid": False}, scenarios=TEXT + TOOLS, fresh=True
    ),
    "handles-lack-open-speech": Unknown(
        {"snapshot_holds_speech": False, "handle_interval": 0.2}, {"handles_hold_audio": False}, scenarios=SPEECH
    ),
    "handles-hold-open-speech": Unknown({"handle_interval": 0.2}, scenarios=SPEECH),
    "handles-come-late": Unknown({"handle_delay": 3}, {"handle_wait": 5}),
    "handles-come-at-intervals-too": Unknown(
        {"handle_interval": 0.3, "handle_at_setup": True},
        # Where a fault or the application waits for the handle of a turn, another one would be taken for it.
        scenarios=tuple(
            name
            for name in TEXT + TOOLS + SPEECH
            if name != "context-after-the-answer" and "before-the-handle" not in name
        ),
    ),
    "the-developer-api-is-always-resumable": Unknown(
        {"always_resumable": True, "mid_answer_handles": 2, "tool_call_handles": True}, profiles=("developer",)
    ),
    "vertex-gives-handles-after-turns-only": Unknown(
        {"mid_answer_handles": 0, "tool_call_handles": False}, profiles=("vertex",)
    ),
    "vertex-waits-until-it-is-idle": Unknown(
        {"mid_answer_handles": 0, "always_resumable": False}, profiles=("vertex",)
    ),
    "two-bindings-are-allowed": Unknown({"bound_elsewhere": "allow"}, {"old_binding_grace": 0}, scenarios=TEXT),
    "the-older-binding-is-evicted": Unknown({"bound_elsewhere": "evict"}, {"old_binding_grace": 0}, scenarios=TEXT),
}


def cases() -> Iterator[Any]:
    for name, unknown in UNKNOWNS.items():
        for number, scenario in enumerate(unknown.scenarios):
            # On each backend by turns: the whole matrix runs on both with the usual answers.
            profile = unknown.profiles[number % len(unknown.profiles)]
            yield pytest.param(unknown, BY_NAME[scenario], profile, id=f"{name}-{scenario}-{profile}")


async def test_an_index_that_counts_from_0_is_a_resume_point_from_the_second_message_on():
    steps = (Ask("one"), Ask("two"), ARM, Ask("three"), Ask("four"))
    scenario = Scenario(name="index", armed=(CUT,), steps=steps, knobs={"index_base": 0}, policy={"first_index": 0})
    run = await converse(scenario, profile="vertex")
    assert not run.problems(), str(run)
    assert run.report.resumes == 1


@pytest.mark.parametrize(("unknown", "scenario", "profile"), list(cases()))
async def test_the_conversation_goes_on_whatever_the_service_does(unknown, scenario, profile):
    scenario = dataclasses.replace(
        scenario,
        knobs={**scenario.knobs, **unknown.knobs},
        policy={**scenario.policy, **unknown.policy},
        fresh=None if unknown.fresh else scenario.fresh,
    )
    run = await converse(scenario, profile=profile, family=scenario.families[0])
    assert not run.problems(), str(run)
