"""Clocks that jump, or differ between two processes: no handle is given up for that, none that is dead does harm.

The wall clock of a process is set by a mock (`sleeper.set_the_clock`): CLOCK_REALTIME has no namespace, and the machine's is
everybody's. The monotonic clock is another one in a time namespace (`unshare --time`).
"""

from __future__ import annotations

import asyncio
import shutil

import pytest

from resumekit.emulator import Fault
from tests.faults.test_freeze import sleeper, stored
from tests.faults.zygote import Emulator

pytestmark = pytest.mark.network

HOUR = 3600.0
NAMESPACE = ("unshare", "--time", "--fork", "--monotonic", "1000000", "--boottime", "1000000")


def emulator():
    return Emulator(time_scale=0.05, connection_age=None)


async def answered(client, question):
    await client.ask(question)
    assert question in await client.tells("answer")


async def anchored(client, handles):
    while len(client.told("HandleReceived")) < handles:
        await client.tells("event", "HandleReceived")


async def may_unshare():
    if shutil.which("unshare") is None:
        return False
    devnull = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*NAMESPACE, "true", stdout=devnull, stderr=devnull)
    return await process.wait() == 0


async def dies_and_leaves_its_handle(server, folder, ahead=0.0):
    store = folder / "handle"
    async with sleeper(server, folder, str(store), str(ahead)) as client:
        await answered(client, "one")
        await stored(store)
        client.kill()
    return str(store)


async def test_a_wall_clock_that_is_set_while_a_session_lives_ends_nothing(tmp_path):
    async with emulator() as server:
        async with sleeper(server, tmp_path) as client:
            await answered(client, "one")
            for number, hours in enumerate((3.0, -3.0)):  # longer than a handle is valid
                await anchored(client, number + 1)
                await client.ask(hours * HOUR)
                await server.inject(Fault.rst())
                await answered(client, f"after {hours} hours")
        report = await server.ledger_report(["one", "after 3.0 hours", "after -3.0 hours"])
    assert (report.lost, report.doubled, report.reordered, report.fresh_starts) == ([], [], [], 0), report
    assert any(event["seconds"] > 2.9 * HOUR for event in client.told("ClockJumped"))
    assert client.told("FreshStarted") == client.told("HandleRefused") == []


@pytest.mark.parametrize(
    ("then", "now", "within"),
    [
        pytest.param(0.0, -24.0, NAMESPACE, id="behind, and another monotonic clock"),
        pytest.param(24.0, 0.0, (), id="behind the record's", marks=pytest.mark.wide),
        pytest.param(0.0, 1.5, (), id="ahead", marks=pytest.mark.wide),
    ],
)
async def test_the_next_process_goes_on_with_other_clocks(tmp_path, then, now, within):
    """Behind: the record is from its future. Ahead, by less than a handle is valid: it looks older than it is."""
    if within and not await may_unshare():
        pytest.skip("this machine does not allow a time namespace")
    async with emulator() as server:
        store = await dies_and_leaves_its_handle(server, tmp_path, then * HOUR)
        async with sleeper(server, tmp_path, store, str(now * HOUR), within=within) as client:
            await answered(client, "two")
            await anchored(client, 1)
            await server.inject(Fault.rst())
            await answered(client, "three")
        report = await server.ledger_report(["one", "two", "three"])
    assert (report.lost, report.doubled, report.fresh_starts) == ([], [], 0), report
    assert client.told("HandleRefused") == []
    assert all(event["seconds"] < HOUR for event in client.told("ClockJumped")), "a busy machine may stand still, too"


@pytest.mark.wide
async def test_a_handle_that_the_wall_clock_says_is_expired_is_told_and_not_tried(tmp_path):
    async with emulator() as server:
        store = await dies_and_leaves_its_handle(server, tmp_path)
        async with sleeper(server, tmp_path, store, str(3 * HOUR)) as client:
            await answered(client, "two")
    assert [event["reason"] for event in client.told("HandleRefused")] == ["expired"]


async def test_a_dead_handle_that_a_wall_clock_says_is_new_does_no_harm(tmp_path):
    async with emulator() as server:
        store = await dies_and_leaves_its_handle(server, tmp_path)
        await server.inject(Fault.refuse_handle())
        async with sleeper(server, tmp_path, store, str(-24 * HOUR)) as client:
            await answered(client, "two")
        report = await server.ledger_report(["two"])
    assert [event["reason"] for event in client.told("HandleRefused")] == ["Invalid session handle."]
    assert report.held == ["two"]
