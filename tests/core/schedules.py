"""Schedules of faults: configs and steps drawn from seeds, run to their end and judged.

`run(seed, profile)` runs any of them; `python -m tests.core.replay PROFILE SEED` does, and shrinks it if it fails.
"""

from __future__ import annotations

import functools
import gc
import random
from bisect import bisect
from collections.abc import Callable, Collection, Iterator
from itertools import accumulate
from typing import Any, Literal

from msgspec.structs import replace

from resumekit.core.engine import Engine
from resumekit.core.policy import Policy
from tests.core.model_state import INVALID_HANDLES, Reissue, Settings
from tests.core.network import DIAL_FAULTS
from tests.core.report import report
from tests.core.simulation import LIVE_CLOSES, Config, World

__all__ = ["LEFTS", "LINGERS", "PROFILES", "STALLS", "STEPS", "command", "make_config", "run", "steps_of"]

PROFILES = (
    "default",
    "tools",
    "parts",
    "cancel",
    "stress",
    "settle",
    "refuse",
    "poison",
    "limits",
    "speech",
    "unknowns",
)
"""Mixes of schedules.

Many tools; answers in parts; running calls cancelled at a cut; many cuts; cut turns settled; half of the handles
refused; a fifth of them poisoned; sessions that end; spoken questions; the service's other answers to what nobody knows about it.
"""

_REISSUES: tuple[Reissue, ...] = ("same", "same", "any", "any", "other", "none", "order", "subset", "extra", "one more")


def make_config(seed: int, profile: str = "default") -> Config:
    """Draw a config."""
    rng = random.Random(f"config {seed} {profile}")
    transparent = rng.random() < 0.5
    speech: Literal["none", "vad", "manual"] = "none"
    if profile == "speech" or (profile == "unknowns" and rng.random() < 0.5):
        speech = rng.choice(("vad", "vad", "manual"))
    tools = rng.choice((0.0, 0.5, 0.5)) if speech == "none" else 0.0
    calls_end: Literal["never", "at once", "answered"] = "never"
    family: Literal["2.x", "3.x"] = rng.choice(("2.x", "2.x", "3.x"))
    if profile == "parts" or (profile == "unknowns" and rng.random() < 0.3):
        calls_end = rng.choice(("at once", "answered"))
        family = "2.x"
    settings = Settings(
        transparent=transparent,
        family=family,
        overlap="queue" if calls_end == "at once" else rng.choice(("interrupt", "queue", "merge")),
        snapshot_at=rng.choice(("turn_complete", "sending")),
        lag=rng.choice((0, 0, 1, 3)) if transparent and speech != "vad" else 0,
        updates=rng.choice((0.0, 0.2, 0.5)),
        tools=0.8 if profile in ("tools", "parts", "cancel") else tools,
        reissue=rng.choice(_REISSUES),
        forgets=rng.choice((0.0, 0.0, 0.1)),
        two_frames=rng.random() < 0.3,
        calls_end=calls_end,
        speech=speech,
        transcribes=rng.choice(("never", "after", "streaming")) if profile == "speech" else "never",
        voice_signals=profile == "speech" and rng.random() < 0.5,
        handle_delay=(0.02, 0.07) if transparent else (0.5, 0.7),
        # The next part of an answer has to begin within `handle_wait`: nothing else tells that it is to come.
        think=rng.choice(((0.02, 0.3), (0.2, 3.0 if calls_end == "never" else 1.5))),
        refused=0.5 if profile == "refuse" else 0.0,
        poisoned=0.2 if profile == "poison" else 0.0,
    )
    settings.media = random.Random(f"media {seed} {profile}").random() < 0.7
    if settings.media:
        settings.pieces = (1, 5)
    policy = Policy(resent_wait=1e6)  # this model answers every question: a session that waits for ever is to be seen
    match profile:
        case "speech":
            policy = replace(policy, resend_speech=rng.choice(("auto", "auto", "audio", "transcript")))
        case "settle":
            policy = replace(policy, cut_turn="settle")
        case "cancel":
            policy = replace(policy, rebind_tools=False)
        case "limits":
            limit = rng.choice((40.0, 120.0))
            settings.session_limit = limit + 1.0
            policy = replace(policy, session_limit=limit, at_session_limit=rng.choice(("warn", "fresh_start")))
        case "unknowns":
            settings.first_index = first = rng.choice((0, 1))
            settings.older_valid = older = rng.random() < 0.5
            settings.holds_audio = holds = rng.random() < 0.5
            settings.double_binding = rng.choice(("refuse", "evict", "allow"))
            policy = replace(policy, first_index=first, older_handles_valid=older, handles_hold_audio=holds)
        case _:
            pass
    return Config(
        seed=seed,
        server=settings,
        policy=policy,
        # Of two questions, while the part of one is to come, nobody can tell which is answered next.
        pipelined=speech == "none" and calls_end != "at once" and rng.random() < 0.3,
        eager=rng.random() < 0.6,
        snake=rng.random() < 0.5,
        late_written=rng.random() < 0.5,
        talk_after_abort=rng.random() < 0.3,
        microphone=speech == "vad" and rng.random() < 0.5,
        loads_history=rng.random() < 0.1,
        tool_time=rng.choice((None, None, (0.0, 2.0), (0.0, 40.0))),
    )


STEPS = 100
"""How many steps a schedule has, beside those that most begin with."""
LINGERS = (0.0, 0.0, 0.0, 0.3, 5.0, 15.0)
STALLS = (1.0, 20.0, 50.0, 120.0)
LEFTS = (None, 0.0, 1.5, 5.0, 10.0, 50.0, 59.5)


_PLAIN = Config()

_FIRST_TURN = (("ask",), *(("wait", 3.0), ("tool", 2)) * 3, ("wait", 3.0))
"""What most schedules begin with, so that there is a handle to lose."""

_STEPS: tuple[tuple[float, Callable[[random.Random], tuple[Any, ...]]], ...] = (
    (160, lambda rng: ("ask",)),
    (80, lambda rng: ("context",)),
    (60, lambda rng: ("step", rng.randrange(1, 8))),
    (120, lambda rng: ("wait", rng.choice((0.01, 0.05, 0.1, 0.3, 0.8)))),
    (50, lambda rng: ("wait", rng.choice((2.0, 2.0, 5.0, 5.0, 40.0)))),
    (80, lambda rng: ("tool", rng.randrange(4))),
    (80, lambda rng: ("read", rng.randrange(1, 5))),
    (50, lambda rng: ("update",)),
    (20, lambda rng: ("go_away", left := rng.choice(LEFTS), left if left is not None else 10.0)),
    (20, lambda rng: ("close", rng.randrange(len(LIVE_CLOSES)))),
    (7, lambda rng: ("freeze", rng.choice(LINGERS))),
    (12, lambda rng: ("stall", rng.choice(STALLS), rng.choice((0.0, 35.0)))),
    (11, lambda rng: ("dial_fault", rng.choice(DIAL_FAULTS))),
    (3, lambda rng: ("down", rng.choice((1.0, 5.0, 20.0)))),
    (2, lambda rng: ("hostile", rng.choice((5.0, 70.0)))),
    (2, lambda rng: ("dial_fault", "401")),
    (5, lambda rng: ("cut_warm",)),
    (5, lambda rng: ("force",)),
    (4, lambda rng: ("garbage",)),
    (6, lambda rng: ("sleep", rng.choice((1.0, 20.0, 100.0)))),
    (10, lambda rng: ("long_speech", rng.choice((6.0, 12.0)))),
    (10, lambda rng: ("video",)),
    (210, lambda rng: ("step", rng.randrange(1, 20))),
)
_BOUNDS = list(accumulate(weight for weight, _ in _STEPS))


def _random_step(rng: random.Random, profile: str) -> tuple[Any, ...]:
    """Draw one step."""
    draw = rng.random()
    cuts = 0.12 if profile == "stress" else 0.05
    if draw < cuts:
        return ("cut", rng.randrange(3), rng.randrange(4), rng.choice(LINGERS))
    if draw > 0.995:
        return ("refuse", rng.randrange(len(INVALID_HANDLES)))
    _, make = _STEPS[bisect(_BOUNDS, rng.random() * _BOUNDS[-1])]
    return make(rng)


def steps_of(seed: int, profile: str, steps: int) -> Iterator[tuple[Any, ...]]:
    """Draw the steps of a schedule."""
    rng = random.Random(f"schedule {seed} {profile}")
    if rng.random() < 0.6:
        yield from _FIRST_TURN
    for _ in range(steps):
        yield _random_step(rng, profile)
    if rng.random() < 0.03:
        yield ("leave",)


def command(seed: int, profile: str, *, steps: int, only: Collection[int] | None, plain: Collection[str]) -> str:
    """Return the command that replays a schedule."""
    parts = ["python -m tests.core.replay", profile, str(seed)]
    if steps != STEPS:
        parts.append(f"--steps {steps}")
    if only is not None:
        parts.append(f"--only {','.join(map(str, only))}")
    if plain:
        parts.append(f"--plain {','.join(plain)}")
    return " ".join(parts)


def run(
    seed: int,
    profile: str = "default",
    *,
    steps: int = STEPS,
    only: Collection[int] | None = None,
    plain: Collection[str] = (),
    engine: Callable[..., Engine] = Engine,
    log: bool = False,
) -> World:
    """Run one schedule to its end.

    Args:
        seed: what config and steps are drawn from.
        profile: one of `PROFILES`.
        steps: how many, beside those that most schedules begin with.
        only: positions of the steps that are taken; None: all.
        plain: fields of `Config` and its `Settings` that have their defaults, whatever was drawn.
        engine: what makes the engine.
        log: keep the actions as text, in `World.log_actions`.
    """
    config = make_config(seed, profile)
    for name in plain:
        owner, default = (config, _PLAIN) if hasattr(config, name) else (config.server, _PLAIN.server)
        setattr(owner, name, getattr(default, name))
    collects = gc.isenabled()
    gc.disable()  # nothing of a schedule is garbage before its end: an eighth of the time
    world = World(config, engine, log=log)
    try:
        for position, step in enumerate(steps_of(seed, profile, steps)):
            if only is None or position in only:
                world.do(*step)
            if world.finished is not None:
                break
        world.finish()
    except Exception as error:
        replay = command(seed, profile, steps=steps, only=only, plain=plain)
        error.add_note(f"replay: {replay}\n{report(world)}")
        if engine is Engine:
            error.again = functools.partial(run, seed, profile, steps=steps, only=only, plain=plain)  # type: ignore[attr-defined]
        raise
    finally:
        if collects:
            gc.enable()
    return world
