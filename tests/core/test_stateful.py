"""Random schedules: engine, model service and application, judged by `World` (RULES 1, I1 to I9).

Two ways in: a Hypothesis state machine, which shrinks what it finds, and schedules from seeds,
which are fast, and which `tests.core.replay` shrinks. The fixture `schedules` says how many of each.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.core.model_state import INVALID_HANDLES
from tests.core.network import DIAL_FAULTS
from tests.core.report import report
from tests.core.schedules import LEFTS, LINGERS, PROFILES, STALLS, make_config, run
from tests.core.simulation import LIVE_CLOSES, World
from tests.traces import KeptEngine

pytestmark = pytest.mark.proof

STEPS = 30
PARTS = 8
"""Each profile's schedules are as many tests, so that several processes can share them."""
SEEDED = 20
"""So many schedules come from seeds for one of Hypothesis's, which take longer."""


class Schedules(RuleBasedStateMachine):
    """One schedule; its checks are made as it goes, and at its end."""

    profile = "default"

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None

    @initialize(number=st.integers(0, 2**32))
    def begin(self, number: int) -> None:
        self.world = World(make_config(number, self.profile), KeptEngine)

    def do(self, *step: object) -> None:
        if self.world is not None and self.world.finished is None:
            self.world.do(*step)

    @rule(steps=st.integers(1, 8))
    def ask(self, steps: int) -> None:
        self.do("ask")
        self.do("step", steps)

    @rule(steps=st.integers(0, 3))
    def tell_context(self, steps: int) -> None:
        self.do("context")
        self.do("step", steps)

    @rule(steps=st.integers(1, 20))
    def things_happen(self, steps: int) -> None:
        self.do("step", steps)

    @rule(seconds=st.sampled_from((0.01, 0.1, 0.3, 0.8, 2.0, 5.0)))
    def time_passes(self, seconds: float) -> None:
        self.do("wait", seconds)

    @rule(count=st.integers(1, 4))
    def app_reads(self, count: int) -> None:
        self.do("read", count)

    @rule(position=st.integers(0, 3))
    def tool_ends(self, position: int) -> None:
        self.do("tool", position)

    @rule(eaten=st.integers(0, 2), shown=st.integers(0, 3), linger=st.sampled_from(LINGERS))
    def network_is_cut(self, eaten: int, shown: int, linger: float) -> None:
        self.do("cut", eaten, shown, linger)

    @rule(linger=st.sampled_from(LINGERS))
    def connection_is_half_open(self, linger: float) -> None:
        self.do("freeze", linger)

    @rule(seconds=st.sampled_from(STALLS), passing=st.sampled_from((0.0, 35.0)))
    def network_stalls(self, seconds: float, passing: float) -> None:
        self.do("stall", seconds, passing)

    @rule(seconds=st.sampled_from((5.0, 70.0)))
    def service_accepts_and_drops(self, seconds: float) -> None:
        self.do("hostile", seconds)

    @rule(which=st.integers(0, len(LIVE_CLOSES) - 1))
    def service_closes(self, which: int) -> None:
        self.do("close", which)

    @rule(left=st.sampled_from(LEFTS), steps=st.integers(0, 10))
    def service_says_go_away(self, left: float | None, steps: int) -> None:
        self.do("go_away", left, 10.0 if left is None else left)
        self.do("step", steps)

    @rule()
    def update_comes(self) -> None:
        self.do("update")

    @rule(which=st.integers(0, len(INVALID_HANDLES) - 1))
    def handles_are_forgotten(self, which: int) -> None:
        self.do("refuse", which)

    @rule(name=st.sampled_from(DIAL_FAULTS))
    def next_dial_fails(self, name: str) -> None:
        self.do("dial_fault", name)

    @rule()
    def warm_connection_goes(self) -> None:
        self.do("cut_warm")

    @rule()
    def app_shows_video(self) -> None:
        self.do("video")

    @rule()
    def app_forces_a_reconnect(self) -> None:
        self.do("force")

    @rule(seconds=st.sampled_from((1.0, 20.0, 100.0)))
    def process_sleeps(self, seconds: float) -> None:
        self.do("sleep", seconds)

    def teardown(self) -> None:
        world = self.world
        if world is None:
            return
        try:
            world.finish()
        except AssertionError as violation:
            violation.add_note(report(world))
            raise


@pytest.mark.parametrize("profile", PROFILES)
def test_no_schedule_of_the_state_machine_breaks_a_rule(profile: str, schedules: int) -> None:
    """RULES 1, and I1 to I9, over schedules that Hypothesis makes up, and shrinks."""
    machine = type(f"{profile.title()}Schedules", (Schedules,), {"profile": profile})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=max(schedules // SEEDED // len(PROFILES), 1),
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("profile", PROFILES)
def test_no_seeded_schedule_breaks_a_rule(profile: str, part: int, schedules: int) -> None:
    """The same checks over longer schedules, each replayable by its seed alone."""
    for number in range(part, schedules // len(PROFILES), PARTS):
        run(number, profile)
