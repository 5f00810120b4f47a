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

from tests import traces
from tests.secrets import watched

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

# pytest-asyncio's first async test calls `asyncio.get_event_loop()`, which, in a fresh main thread, makes a loop that nobody
# closes; its ResourceWarning hits whichever test runs then. To be removed with pytest-asyncio > 1.5, if that asks for the
# running loop only.
asyncio.set_event_loop(None)

SCHEDULES = int(os.environ.get("RESUMEKIT_SCHEDULES", "15000"))
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make test-core` runs, so that `make test-newest` need not."""
    for item in items:
        if item.nodeid.startswith(("tests/core/", "tests/wire/")) and item.get_closest_marker("proof") is None:
            item.add_marker("alone")


_WATCHED = tuple(f"tests/{folder}/" for folder in ("adapters", "adk", "drivers", "faults", "network"))

_PLAIN = "tests/adk/test_demo.py"
"""Runs google-adk without resumekit beside it, which logs its handles in clear."""


@pytest.fixture(autouse=True)
def no_secret_is_told(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test of a whole session in which a handle or a key is told anywhere (G12)."""
    if not request.node.nodeid.startswith(_WATCHED) or request.node.nodeid.startswith(_PLAIN):
        yield
        return
    with watched():
        yield


_SESSIONS = tuple(f"tests/{part}" for part in ("adapters/", "adk/", "faults/", "proofs/", "trace/failing.py"))
_MEASURED = ("tests/core/test_memory.py", "tests/proofs/test_outage.py", "tests/proofs/test_herd.py")
"""Such tests weigh sessions."""


@pytest.fixture(autouse=True)
def sessions_are_traced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the sessions of a test remember what happens to them: see tests/traces.py."""
    measured = request.node.nodeid.startswith(_MEASURED)
    traces.forget(keeps=not measured)
    if request.node.nodeid.startswith(_SESSIONS) and not measured:
        monkeypatch.setattr("resumekit.core.engine.Engine", traces.KeptEngine)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the traces of a test that has failed."""
    report = yield
    if report.when == "call" and report.failed and call.excinfo is not None:
        try:
            told = "\n".join(f"resumekit replay {path}" for path in traces.keep(item.nodeid, call.excinfo.value))
        except Exception as error:  # it must not hide the failure
            told = f"they could not be written: {error!r}"
        if told:
            report.sections.append(("traces", told))
    return report


@pytest.fixture(autouse=True)
def no_blocking_calls(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail an async test in which the package blocks the event loop (blockbuster), unless it is marked."""
    node = request.node
    if node.get_closest_marker("asyncio") is None or node.get_closest_marker("allow_blocking") is not None:
        yield
        return
    with blockbuster_ctx("resumekit"):
        yield
