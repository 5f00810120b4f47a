"""Pools of several real processes over one real server: never over the limit, in order, and nothing is lost for good."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from resumekit_redis import RedisPoolBackend

from resumekit.emulator import LiveServer
from resumekit.pool import Limits

CROWD = Path(__file__).with_name("crowd.py")


def crowd(*arguments):
    done = subprocess.run(
        [sys.executable, CROWD, "--json", *arguments], check=False, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_ten_thousand_clients_of_five_processes_three_of_which_are_killed(capsys):
    """Judged by what the pool does not know of; see `crowd.py`, which also prints this as a table."""
    seen = crowd()
    with capsys.disabled():
        print(f"\n10,000 clients at 50 slots in {seen['seconds']:.0f} s, waited: {seen['waited (s)']}")
    assert seen["failed"] == []
    assert seen["processes killed"] == 3
    assert seen["served"] + seen["cancelled"] + seen["died with their process"] == 10_000
    assert seen["served"] > 4000
    assert seen["slots and places left"] == 0
    if not seen[
        "stood still"
    ]:  # a process that renews its leases too late has lost them, on a machine that is too busy
        assert 10 < seen["most inside at a time"] <= 50
        assert seen["out of order"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("bug", "clients", "hold"), [("limit", 150, 0.5), ("order", 400, 0.04), ("slots", 400, 0.04)])
def test_the_crowd_sees_a_planted_bug(bug, clients, hold):
    few = ("--limit", "10", "--kills", "0", "--lease", "2", "--processes", "2")
    seen = crowd("--clients", str(clients), "--hold", str(hold), "--bug", bug, *few)
    assert seen["failed"] == []
    assert seen["most inside at a time"] > 10 or seen["out of order"] or seen["slots and places left"]


WORKER = """
import asyncio, sys, time
from resumekit.pool import SessionPool

async def main(url, lease):
    pool = SessionPool(2, backend=url, lease=float(lease), poll=0.02, timeout=None)
    stand_by = asyncio.Event()

    async def client(number):
        async with pool.slot():
            print("in", number, flush=True)
            await stand_by.wait()

    tasks = [asyncio.create_task(client(number)) for number in range(3)]
    await asyncio.to_thread(sys.stdin.readline)
    print("sessions", pool.sessions, "waiting", pool.waiting, flush=True)
    stand_by.set()
    await asyncio.gather(*tasks)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
async def test_a_process_that_is_frozen_loses_its_slots_and_has_them_again_when_it_wakes(valkey):
    """Its sessions live, so they count; nobody new is let in until there are fewer than the limit again."""
    server = valkey()
    lease = 3.0
    limits = Limits(sessions=2)
    backend = RedisPoolBackend(server.url)

    async def come(ticket):
        return await backend.enter("resumekit", ticket, limits=limits, lease=60.0)

    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, server.url, str(lease), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert {await worker.stdout.readline() for _ in range(2)} == {b"in 0\n", b"in 1\n"}
    while (place := await come("next")).place != 2:
        await backend.leave("resumekit", "next")  # the third of the worker was not there yet
    assert not place.held

    os.kill(worker.pid, signal.SIGSTOP)
    for ticket in ("next", "other"):  # all that it had comes free, its place last
        while not (await come(ticket)).held:  # noqa: ASYNC110 -- by the server's clock
            await asyncio.sleep(0.02)
    assert not (await come("too many")).held

    os.kill(worker.pid, signal.SIGCONT)
    while (place := await come("next")).sessions < 4:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    assert place.sessions == 4
    assert (place := await come("too many")).place == 1, "and the third of the worker has to queue anew"
    await backend.leave("resumekit", "next")
    await backend.leave("resumekit", "other")
    assert not (await come("too many")).held, "the two that woke are as many as there may be"
    worker.stdin.write(b"end\n")
    said = (await worker.communicate())[0].decode().splitlines()
    assert said[0] == "sessions 2 waiting 1"
    assert worker.returncode == 0
    assert (await come("too many")).held
    await backend.leave("resumekit", "too many")
    with server.admin() as client:
        assert client.keys() == []
    await backend.close()
    server.stop()


TALKER = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from test_session import PATH, SETUP, ask, ssl
from resumekit import Policy, events
from resumekit.adapters import websockets as resumable
from resumekit.pool import SessionPool

async def main(limit, backend, uri, ca_file):
    pool = SessionPool(int(limit), backend=backend, poll=0.02, timeout=None)
    context = ssl.create_default_context(cafile=ca_file)
    told = []

    async def call(number):
        async with resumable.connect(
            uri, setup=SETUP, additional_headers={"x-goog-api-key": "k"}, ssl=context, pool=pool,
            policy=Policy(first_connect_deadline=100.0), on_event=told.append,
        ) as session:
            assert await ask(session, "one") == 1
            if number % 3 == 0:
                session.force_reconnect()
            assert await ask(session, "two") == 2

    await asyncio.gather(*map(call, range(6)))
    lost = [event.reason for event in told if isinstance(event, events.ConnectionLost)]
    print(sum(isinstance(event, events.Queued) for event in told) > 0, pool.reconnects >= 2, lost)

asyncio.run(main(*sys.argv[2:]))
"""


@pytest.mark.slow
async def test_the_service_never_has_to_refuse_the_sessions_of_three_processes(valkey):
    """It closes the fourth at a time with the text of its quota, which a pool of 18 hears."""
    server = valkey()
    here = str(Path(__file__).parent)
    async with LiveServer(time_scale=0.05, connection_age=None, max_connections=3) as live:
        uri = f"wss://{live.host}:{live.port}/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
        words = [here, "3", server.url, uri, str(live.ca_file)]
        workers = [
            await asyncio.create_subprocess_exec(sys.executable, "-c", TALKER, *words, stdout=subprocess.PIPE)
            for _ in range(3)
        ]
        said = [(await worker.communicate())[0].decode() for worker in workers]
    assert said == ["True True []\n"] * 3
    server.stop()
