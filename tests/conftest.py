"""What every test runs under: Hypothesis profiles, and a watch on blocking calls in the event loop.

Time-outs, asyncio mode and debugging, random order and warnings as errors are set in pyproject.toml.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import HealthCheck, settings

from tests.secrets import watched

if TYPE_CHECKING:
    from collections.abc import Iterator

# pytest-asyncio's first async test calls `asyncio.get_event_loop()`, which, in a fresh main thread, makes a loop that nobody
# closes; its ResourceWarning hits whichever test runs then. To be removed with pytest-asyncio > 1.5, if that asks for the
# running loop only.
asyncio.set_event_loop(None)

SCHEDULES = int(os.environ.get("RESUMEKIT_SCHEDULES", "20000"))
"""How many schedules a test marked `proof` explores; `make prove` runs a million by other means."""

# A slow machine is no bug (so no deadline). CI sees the same examples each time, a developer sees new ones.
settings.register_profile(
    "suite",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def schedules() -> int:
    """Tell how many schedules to explore."""
    return SCHEDULES


_WATCHED = tuple(f"tests/{folder}/" for folder in ("adapters", "adk", "drivers", "faults", "network"))

_PLAIN = "tests/adk/test_demo.py"
"""Runs google-adk without resumekit beside it, which logs its handles in clear."""


@pytest.fixture(autouse=True)
def no_secret_is_told(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test of a whole session in which a handle or a key is told anywhere (DESIGN decision 14, ENGINE G12)."""
    if not request.node.nodeid.startswith(_WATCHED) or request.node.nodeid.startswith(_PLAIN):
        yield
        return
    with watched():
        yield


@pytest.fixture(autouse=True)
def no_blocking_calls(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail an async test in which the package blocks the event loop (blockbuster), unless it is marked."""
    node = request.node
    if node.get_closest_marker("asyncio") is None or node.get_closest_marker("allow_blocking") is not None:
        yield
        return
    with blockbuster_ctx("resumekit"):
        yield
