"""`pool=` of the adapters, against the emulator: through the real google-genai client, and without it."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from resumekit.adapters import websockets
from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from resumekit.errors import ConfigurationError, PoolTimeout
from resumekit.pool import SessionPool
from tests.adapters.support import nothing_is_left, server, settled
from tests.adapters.test_websockets import SETUP
from tests.adapters.test_websockets import ask as ask_bare
from tests.adapters.test_websockets import connect as connect_bare

pytestmark = [pytest.mark.network, pytest.mark.allow_blocking]  # google-genai blocks, we do not


@pytest.fixture
def real():
    pytest.importorskip("google.genai")
    from tests.adapters import test_genai

    return test_genai


async def test_a_bare_session_waits_for_its_slot_and_keeps_it_across_a_cut():
    pool, told = SessionPool(1, tokens_per_minute=1), []
    async with server(faults=[Fault.rst(Trigger.mid_answer(2), binding=0)]) as live, nothing_is_left():

        async def second():
            async with connect_bare(live, pool=pool, on_event=told.append) as session:
                await ask_bare(session, "second")

        async with connect_bare(live, pool=pool) as session:
            waiting = asyncio.create_task(second())
            assert await settled(lambda: pool.waiting == 1)
            for number in range(3):
                assert (await ask_bare(session, f"{number}")).turns_held == number + 1
            assert pool.reconnects == 1
            assert session.stats.turns_reanswered == 1
            assert not waiting.done()
            assert pool.tokens > 0
        await waiting
        kinds = [type(event) for event in told]
        assert kinds.index(events.Queued) < kinds.index(events.Admitted) < kinds.index(events.Connected)
        assert (pool.sessions, pool.waiting) == (0, 0)


async def test_a_slot_is_given_back_where_a_socket_was_closed_twice():
    """As websockets and the driver may do it in the same moment; asyncio's transport over TLS cannot be asked then."""
    pool = SessionPool(1)
    async with server() as live, nothing_is_left():
        async with connect_bare(live, pool=pool) as session:
            await ask_bare(session, "first")
            (link,) = session._driver._links
            link.transport._connection.transport.abort()
            link.transport._connection.transport.close()
        assert pool.sessions == 0


async def test_twenty_real_clients_share_three_slots(real):
    """Some are cancelled, some reconnect; the service, which closes the fourth at a time, never has to."""
    pool, draw = SessionPool(3), random.Random(1)
    inside = most = 0

    async def client(live, number):
        nonlocal inside, most
        async with real.connect(live, pool=pool, on_event=told[number].append) as session:
            inside += 1
            most = max(most, inside)
            try:
                assert (await real.ask(session, f"first of {number}")).turns_held == 1
                if number % 4 == 0:
                    session.force_reconnect()
                assert (await real.ask(session, f"second of {number}")).turns_held == 2
            finally:
                inside -= 1

    told = [[] for _ in range(20)]
    async with server(max_connections=3) as live, nothing_is_left():
        tasks = [asyncio.create_task(client(live, number)) for number in range(20)]
        assert await settled(lambda: pool.waiting == 17)
        queued = [number for number in range(20) if any(isinstance(event, events.Queued) for event in told[number])]
        cancelled = draw.sample(queued, 4)
        for number in cancelled:
            tasks[number].cancel()
        done, _ = await asyncio.wait(tasks)
        assert sum(task.cancelled() for task in done) == 4
        assert [task.exception() for task in done if not task.cancelled() and task.exception()] == []
        assert most == 3
        assert [event.reason for heard in told for event in heard if isinstance(event, events.ConnectionLost)] == []
        assert pool.reconnects >= 4
        admitted = [number for number in queued if any(isinstance(event, events.Admitted) for event in told[number])]
        assert admitted == [number for number in queued if number not in cancelled]
        assert (pool.sessions, pool.waiting) == (0, 0)


async def test_without_the_pool_the_service_closes_the_fourth(real):
    """The control: what the test above would see."""
    told = []
    async with server(max_connections=3) as live, nothing_is_left(), contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(real.connect(live))

        async def fourth():
            async with real.connect(live, on_event=told.append):
                pass

        refused = asyncio.create_task(fourth())
        assert await settled(lambda: any(isinstance(event, events.ConnectionLost) for event in told))
        assert "quota" in next(event.reason for event in told if isinstance(event, events.ConnectionLost))
        refused.cancel()
        await asyncio.wait({refused})


async def test_a_real_client_is_told_that_the_pool_is_full(real):
    pool = SessionPool(1, timeout=0.2)
    async with server() as live, nothing_is_left(), pool.slot():
        with pytest.raises(PoolTimeout, match="place 1 of 1 in the queue"):
            async with real.connect(live, pool=pool):
                pass
        with pytest.raises(LookupError):
            live.ledger.raw(0)
        assert (pool.sessions, pool.waiting) == (1, 0)


async def test_a_client_s_sessions_share_its_pool(real):
    from resumekit.adapters import genai as resumable

    pool = SessionPool(1, timeout=0.2)
    async with server() as live, nothing_is_left():
        client = real.client_of(live, made_by=resumable.Client, pool=pool, policy=real.policy())
        async with client.aio.live.connect(model=real.MODEL, config=real.CONFIG) as session:
            assert (await real.ask(session, "one")).turns_held == 1
            with pytest.raises(PoolTimeout):
                async with client.aio.live.connect(model=real.MODEL, config=real.CONFIG):
                    pass
        assert pool.sessions == 0


async def test_a_session_that_is_refused_gives_its_slot_back(real):
    pool = SessionPool(1)
    async with server() as live, nothing_is_left():
        with pytest.raises(Exception, match=r"not found|not supported|1008"):
            async with real.connect(live, model="no-such-model", pool=pool):
                pass
        assert pool.sessions == 0


def test_what_is_no_pool_is_refused_at_once():
    with pytest.raises(ConfigurationError, match=r"pool is a int; give a resumekit\.pool\.SessionPool"):
        websockets.connect("ws://127.0.0.1:9", setup=SETUP, pool=5)
