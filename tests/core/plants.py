"""Planted bugs: how they are registered, and what counts as found.

A plant breaks one rule of the engine from outside; it is found when a seeded schedule of its profile
ends in a `Violation`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from resumekit.core.engine import Engine
from tests.core.model_state import Violation
from tests.core.schedules import run

__all__ = ["Planted", "assert_found", "registry", "with_policy"]

Plant = Callable[[pytest.MonkeyPatch], Callable[..., Engine] | None]


class Planted(NamedTuple):
    """A bug, the profile that finds it, and how many schedules that may take."""

    plant: Plant
    profile: str
    within: int
    first: int = 0
    """The seed to begin with, where what finds it is rare."""


def registry(plants: dict[str, Planted]) -> Callable[..., Callable[[Plant], Plant]]:
    """Return a decorator that enters a plant under its name."""

    def plant(name: str, profile: str = "default", within: int = 300, first: int = 0) -> Callable[[Plant], Plant]:
        def register(function: Plant) -> Plant:
            plants[name] = Planted(function, profile, within, first)
            return function

        return register

    return plant


def with_policy(**changes: object) -> Callable[..., Engine]:
    """Return what makes engines that follow another policy than the one they were given."""
    return lambda setup, *, policy, **options: Engine(setup, policy=replace(policy, **changes), **options)


def assert_found(name: str, planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run schedules with the bug in place, up to the first that fails."""
    engine = planted.plant(monkeypatch) or Engine
    for seed in range(planted.first, planted.first + planted.within):
        try:
            run(seed, planted.profile, engine=engine)
        except Violation:
            return
    pytest.fail(f"{planted.within} schedules of {planted.profile!r} did not find: {name}")
