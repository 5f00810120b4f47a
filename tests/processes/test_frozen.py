"""Processes that stand still (SIGSTOP) for longer than their lease: the next one goes on, and they write nothing more."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.network.proxy import Fault, Proxy
from tests.processes.support import PATIENCE, POLICY, emulator, workers

pytestmark = pytest.mark.network
PING = b"\x89\0"
"""A frame that every WebSocket client answers by itself."""


def written(proxy):
    """Return how many frames the client of the first connection has written, and how much of the next one."""
    return proxy.connections[0].ways["up"].framing.at


@pytest.mark.parametrize(
    ("store", "speaks"),
    [("sqlite", True), ("sqlite", False), ("redis", True), ("postgres", False)],
    indirect=["store"],
)
async def test_one_that_is_frozen_is_taken_over_and_writes_nothing_when_it_wakes(store, speaks, tmp_path):
    """Its socket is still open, its microphone is on, or not, and the service has asked whether it is there."""
    async with (
        emulator() as server,
        Proxy(server, inside=True) as proxy,
        workers(server, store, tmp_path, front=proxy) as (first, second),
    ):
        await first.start()
        await first.answers("one")
        await store.is_quiet()
        if speaks:
            await first.do(["speak"])
            spoken = written(proxy)[0]
            while written(proxy)[0] < spoken + 5:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        first.signal(signal.SIGSTOP)

        await second.start()
        await second.until(lambda: "old binding" in [event["verdict"] for event in second.events("ConnectionLost")])
        for fault in (
            Fault("hole", only="down", seconds=PATIENCE),
            Fault("fin", only="up"),
        ):  # the service lets go of it
            proxy.connections[0].suffer(fault)
        await second.answers("two")
        before = written(proxy)
        await proxy.says(PING, on=0)
        first.signal(signal.SIGCONT)
        await first.tells("error")
        await first.tells("over")
        assert written(proxy) == before
        await second.answers("three")
        await second.leave()
        report = await server.ledger_report(["one", "two", "three"])
    assert (report.lost, report.doubled, report.reordered, report.fresh_starts) == ([], [], [], 0), report
    ((kinds, problem),) = first.words("error")
    assert "SessionLost" in kinds
    assert "another session took the conversation over" in problem
    (waiting,) = second.events("WaitingForKey")
    assert waiting["seconds"] <= POLICY["lease"]
    assert len(second.events("Continued")) == 1
    assert second.events("HandleRefused", "FreshStarted", "StoreFailed") == []
