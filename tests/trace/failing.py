"""Tests that fail, each by a defect that is planted in the engine: run by test_traces_of_failures.py alone."""

from __future__ import annotations

import pytest

from tests.adapters.support import server, settled
from tests.adapters.test_websockets import connect
from tests.core.bench import Bench
from tests.core.schedules import run
from tests.drivers.fakes import FakeService, ask, driver_of, question
from tests.trace.defects import DEFECTS


@pytest.fixture(autouse=True)
def _planted(request, monkeypatch):
    DEFECTS.get(request.node.name, lambda _: None)(monkeypatch)


def test_bench():
    bench = Bench()
    bench.connect()
    bench.asks("one")
    bench.says("an answer")
    bench.completes()
    bench.update("handle-1")
    bench.cut()
    bench.resume()
    assert bench.bound_with == "handle-1"


def test_crash():
    bench = Bench()
    bench.connect()
    bench.goes_away("30s")


def test_schedule():
    run(0, "default")


async def test_driver():
    service = FakeService()
    driver = driver_of(service)
    await driver.start()
    assert await ask(driver, "one") == "answer to one"
    assert await settled(lambda: service.handles > 0)
    await driver.close()
    assert driver.last_handle is not None


async def test_session():
    """A session like the application's, through a socket."""
    async with server() as live:
        async with connect(live) as session:
            await session.send(question("one"))
            async for message in session:
                if message.session_resumption_update is not None and message.session_resumption_update.resumable:
                    break
        assert session._driver.last_handle is not None


def test_without_a_defect():
    bench = Bench()
    bench.connect()
