"""Where a fault can meet a connection, from its first byte on, and which faults there are: the matrix of `test_proxy`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from resumekit.core import events
from tests.faults.runner import Ask, Do, Profile, Run, Scenario
from tests.faults.scenarios import OLD_BINDING
from tests.network.proxy import Fault, Way
from tests.network.through import anchored, converse_through

__all__ = ["CASES", "FAULTS", "PLACES", "POLICY", "SHORT", "Case", "run_case"]

When = Literal["first", "again", "live"]
"""On the first connection; on the one after a cut; on a connection that has carried a turn."""


@dataclass(frozen=True)
class Place:
    """A position in a stream; on a live connection it is counted from the end of a turn."""

    name: str
    way: Way
    record: int
    byte: int
    inside: bool = True
    """Counted in WebSocket frames, else in TLS records."""


DIALLING = (
    Place("within the client hello", "up", 0, 100, inside=False),
    Place("within the server hello", "down", 0, 50, inside=False),
    Place("within the head of a TLS record of the handshake", "down", 2, 3, inside=False),
    Place("between the server's flight and the client's", "up", 1, 0, inside=False),
    Place("within the upgrade request", "up", 0, 40),
    Place("within the answer to it", "down", 0, 30),
    Place("between the upgrade and the setup", "down", 1, 0),
    Place("within the head of the setup's frame", "up", 1, 1),
    Place("within the setup", "up", 1, 20),
    Place("between setup and setupComplete", "up", 2, 0),
    Place("within the head of setupComplete's frame", "down", 1, 1),
    Place("within setupComplete", "down", 1, 10),
    Place("behind setupComplete", "down", 2, 0),
)
LIVE = (
    Place("before the question", "up", 0, 0),
    Place("within the head of the question's frame", "up", 0, 1),
    Place("within its mask", "up", 0, 5),
    Place("within the question", "up", 0, 40),
    Place("within the head of a TLS record of the question", "up", 0, 2, inside=False),
    Place("behind the question", "up", 1, 0),
    Place("within the head of a frame of the answer", "down", 2, 1),
    Place("within the length of a frame of the answer", "down", 2, 3),
    Place("within a frame of the answer", "down", 2, 60),
    Place("within a TLS record of the answer", "down", 2, 60, inside=False),
    Place("between two frames of the answer", "down", 3, 0),
    Place("within turnComplete", "down", 5, 20),
    Place("between the answer and its handle", "down", 6, 0),
    Place("within the handle", "down", 6, 30),
)
PLACES: tuple[tuple[When, Place], ...] = (
    *(("first", place) for place in DIALLING),
    *(("again", place) for place in DIALLING),
    *(("live", place) for place in LIVE),
)
FAULTS: dict[str, Fault] = {
    "reset": Fault("rst"),
    "hole": Fault("hole"),
    "end": Fault("fin"),
    "hole to the client": Fault("hole", only="down"),
    "end for the server": Fault("fin", only="up"),
    "hole to the server": Fault("hole", only="up"),
    "end for the client": Fault("fin", only="down"),
    "stall": Fault("stall", seconds=0.2),
}
POLICY = {
    "connect_timeout": 60,
    "setup_timeout": 60,
    "max_outage": 2000,
    "ping_expecting": 8,
    "abort_expecting": 24,
    "ping_idle": 8,
    "abort_idle": 24,
    "progress_watchdog": 100,
    "old_binding_grace": 200,
    "max_reanswers_per_turn": 100,
}
"""A second or two until a hole is noticed; what a slow machine could make of the rest is not what is tested."""


@dataclass(frozen=True)
class Case:
    """A fault at a place."""

    fault: str
    when: When
    place: Place

    def __str__(self) -> str:
        return f"{self.fault} {self.place.name} ({self.when})"


CASES = tuple(Case(fault, when, place) for when, place in PLACES for fault in FAULTS)
SHORT: tuple[Case, ...] = tuple(
    Case(list(FAULTS)[3 * number % len(FAULTS)], when, place)
    for number, (when, place) in enumerate(
        [*((("first", "again")[number % 2], place) for number, place in enumerate(DIALLING)), *PLACES[-len(LIVE) :]]
    )
)
"""A fault at each place; each fault at three places or four."""


async def run_case(case: Case, profile: Profile) -> tuple[Run, list[str]]:
    """Run the usual conversation with a fault at a place; return also everything that is wrong."""
    place = case.place
    what = FAULTS[case.fault]
    fault = replace(what, way=place.way, record=place.record, byte=place.byte)

    async def arm(app):
        await anchored(app)
        if case.when == "again":
            app.proxy.plan(replace(fault, on=len(app.proxy.connections)))
            app.proxy.arm(Fault("rst", "down", record=2))
        elif case.when == "live":
            app.proxy.arm(fault)

    scenario = Scenario(
        name=str(case),
        steps=(Ask("one"), Do(arm), Ask("two"), Ask("three")),
        alone=False,
        policy=POLICY,
        fresh=None if case.when == "first" else 0,  # the service may have seen a setup, and given out no handle yet
        refused=OLD_BINDING,
    )
    run = await converse_through(
        scenario, profile=profile, timeout=100.0, inside=place.inside, schedule=[fault] if case.when == "first" else []
    )
    return run, [*(problem for problem in run.problems() if not _is_early(run, problem)), *_not_as_planned(run, case)]


def _is_early(run: Run, problem: str) -> bool:
    """Tell whether that is a fresh start because a slow machine lost the connection before its first handle."""
    kinds = [type(event) for event in run.app.told if isinstance(event, (events.ConnectionLost, events.HandleReceived))]
    return "fresh starts" in problem and kinds[:1] == [events.ConnectionLost]


def _not_as_planned(run: Run, case: Case) -> list[str]:
    """Return what did not strike, and what was cut without a word."""
    found = []
    told = run.app.told
    strikes = [strike.fault.do for strike in run.proxy.strikes]
    cuts = sum(do != "stall" for do in strikes)
    lost = sum(isinstance(event, events.ConnectionLost) for event in told)
    if lost < cuts:
        found.append(f"{cuts} cuts, {lost} of them reported")
    planned = 1 + (case.when == "again")
    if len(strikes) + lost - cuts < planned:  # a slow machine may end a connection before the fault does
        found.append(f"these struck: {strikes}")
    return found
