"""`RedisPoolBackend` beyond the conformance class: it does what the one in memory does, at a cost that does not grow."""

from __future__ import annotations

import asyncio
import random
import re
import time
from pathlib import Path

import pytest
from redis.asyncio.connection import AbstractConnection
from resumekit_redis import RedisPoolBackend, provide_pool_backend

from resumekit.errors import ConfigurationError, PoolTimeout
from resumekit.pool import Limits, MemoryPoolBackend, PoolBackend, Rate, SessionPool

LEASE = 600.0
FIVE = Limits(sessions=5)


@pytest.fixture
async def backend(shared):
    backend = RedisPoolBackend(f"{shared.url}?prefix=test-{random.getrandbits(64)}:")
    yield backend
    await backend.close()


def keys_of(server, backend):
    with server.admin() as client:
        return {key.decode(): client.pttl(key) for key in client.scan_iter(f"{backend._server.prefix}*", count=10_000)}


async def until(condition):
    for _ in range(6000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to be")


# ---------------------------------------------------------------------- the same as in memory


async def a_step(draw, backends, limits, tickets, done):
    """Do the same with all; return what each answered."""
    ticket = draw.choice(tickets)
    kind = draw.choices(("enter", "resume", "force", "leave", "renew", "connected"), (8, 3, 1, 6, 2, 1))[0]
    if kind == "connected" and limits.connects is None:
        kind = "enter"
    done.append((kind, ticket))
    match kind:
        case "leave":
            return [await backend.leave("p", ticket) for backend in backends]
        case "renew":
            some = draw.sample(tickets, 6)
            # what is renewed as held in spite of the limit comes last
            return [[*await one.renew("p", some[:1], some[1:], limits=limits, lease=LEASE)] for one in backends]
        case "connected":
            return [await backend.connected("p", limits=limits) for backend in backends]
    options = {"resumes": kind == "resume", "force": kind == "force"}
    return [await backend.enter("p", ticket, limits=limits, lease=LEASE, **options) for backend in backends]


def alike(one, other):
    """Say whether two answers say the same; the time for which the rate has to be waited for is about the same."""
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    times = getattr(one, "retry_after", 0.0), getattr(other, "retry_after", 0.0)
    if times[0] == times[1]:
        return one == other
    facts = [(place.held, place.place, place.waiting, place.sessions) for place in (one, other)]
    return facts[0] == facts[1] and max(times) <= 600.0


@pytest.mark.parametrize(
    "limits",
    [FIVE, Limits(connects=Rate(30, 600.0)), Limits(sessions=4, connects=Rate(40, 600.0)), Limits(sessions=1)],
    ids=["sessions", "rate", "both", "one"],
)
async def test_whatever_is_done_it_answers_as_the_one_in_memory(backend, limits):
    draw = random.Random(repr(limits))
    backends = [MemoryPoolBackend(), backend]
    tickets = [f"{number}" for number in range(16)]
    done = []
    for _ in range(600):
        memory, redis = await a_step(draw, backends, limits, tickets, done)
        assert memory is redis is None or alike(memory, redis), done[-10:]


# ---------------------------------------------------------------------- what it costs, and leaves


async def test_a_step_costs_the_same_however_many_wait(backend, shared):
    """Counted in commands, none of which depends on the length of the queue by more than its logarithm."""
    client = shared.admin()

    def commands():
        return sum(one["calls"] for one in client.info("commandstats").values())

    async def costs():
        counted = []
        for step in (
            lambda: backend.enter("p", "last", limits=FIVE, lease=LEASE),
            lambda: backend.renew("p", ["0"], ["last"], limits=FIVE, lease=LEASE),
            lambda: backend.leave("p", "0"),
            lambda: backend.enter("p", "last", limits=FIVE, lease=LEASE),
            lambda: backend.enter("p", "0", limits=FIVE, lease=LEASE, force=True),
        ):
            before = commands()
            await step()
            counted.append(commands() - before)
        await backend.leave("p", "last")
        return counted

    with client:
        await costs()  # the server has seen each script now
        await backend.leave("p", "0")
        for number in range(10):
            await backend.enter("p", f"{number}", limits=FIVE, lease=LEASE)
        few = await costs()
        for at in range(10, 1010, 100):
            coming = (backend.enter("p", f"{number}", limits=FIVE, lease=LEASE) for number in range(at, at + 100))
            await asyncio.gather(*coming)
        await backend.leave("p", "5")  # it had the place of 0
        assert await costs() == few
        assert max(few) < 40


async def test_more_than_a_few_hundred_tickets_are_renewed_in_several_steps(backend):
    limits = Limits(sessions=700)
    tickets = [f"{number:04}" for number in range(1500)]
    for ticket in tickets:
        await backend.enter("p", ticket, limits=limits, lease=LEASE)
    held, waiting = tickets[:690], tickets[690:]
    places = await backend.renew("p", held, waiting, limits=limits, lease=LEASE)
    assert [place.held for place in places] == [True] * 10 + [False] * 800
    assert [place.place for place in places] == [0] * 10 + [*range(1, 801)]
    assert [*await backend.renew("p", [], [], limits=limits, lease=LEASE)] == []


async def test_all_keys_of_a_pool_are_in_one_slot_and_go_with_the_last_lease(backend, shared):
    seconds = 4.0  # less would be over before a busy machine has looked
    limits = Limits(sessions=1, connects=Rate(5, seconds))
    for ticket in "abc":
        await backend.enter("a {strange} name %", ticket, limits=limits, lease=seconds)
    found = keys_of(shared, backend)
    assert {key.rpartition(":")[2] for key in found} == {"held", "queue", "leases", "connects"}
    assert {re.search(r"{([^}]*)}", key)[1] for key in found} == {"a %7Bstrange%7D name %25"}
    assert all(0 < left <= 1000 * seconds + 1 for left in found.values())
    await until(lambda: keys_of(shared, backend) == {})


async def test_nothing_is_left_where_all_have_left(backend, shared):
    for ticket in "abcdefgh":
        await backend.enter("p", ticket, limits=FIVE, lease=LEASE)
    for ticket in "habgcfde":
        await backend.leave("p", ticket)
    assert keys_of(shared, backend) == {}


async def test_a_clock_that_was_set_back_holds_nobody_up(backend, shared):
    """Connects that will have been in an hour do not count."""
    limits = Limits(connects=Rate(2, 60.0))
    with shared.admin() as client:
        client.zadd(f"{backend._server.prefix}pool:{{p}}:connects", dict.fromkeys("abc", (time.time() + 3600) * 1e6))
    assert (await backend.enter("p", "a", limits=limits, lease=LEASE)).held
    assert await backend.connected("p", limits=limits) == 2


async def test_a_user_with_the_rights_of_the_readme_is_enough(backend, shared):
    from resumekit_redis import pool

    rights = pool._RIGHTS.split()[1:]
    with shared.admin() as client:
        client.execute_command("ACL", "SETUSER", "calls", "on", ">secret", "~calls:*", *rights)
    url = f"{shared.url}?username=calls&password=secret&prefix="
    for prefix, fits in (("calls:", True), ("others:", False)):
        mine = RedisPoolBackend(url + prefix)
        steps = [
            mine.enter("p", "a", limits=Limits(1, Rate(3)), lease=1.0),
            mine.enter("p", "b", limits=Limits(1, Rate(3)), lease=1.0, resumes=True),
            mine.renew("p", ["a"], ["b"], limits=Limits(1, Rate(3)), lease=1.0),
            mine.connected("p", limits=Limits(1, Rate(3))),
            mine.leave("p", "a"),
        ]
        for step in steps:
            if fits:
                await step
            else:
                with pytest.raises(ConfigurationError, match="the user of the pool's backend may not do"):
                    await step
        await mine.close()


# ---------------------------------------------------------------------- by URL


def test_what_it_answers_for():
    assert provide_pool_backend("postgres://h") is None
    assert isinstance(provide_pool_backend("valkey://h"), PoolBackend)
    with pytest.raises(ConfigurationError, match="the URL of the pool's backend names no server"):
        provide_pool_backend("redis:///")


async def test_a_pool_by_url_leaves_no_connection(valkey):
    server = valkey()
    with server.admin() as client:
        for _ in range(2):
            pool = SessionPool(1, backend=server.url, name="calls")
            async with pool.slot():
                assert len(client.client_list()) > 1
            await until(lambda: len(client.client_list()) == 1)
        assert client.keys() == []
    server.stop()


async def test_the_pool_of_the_page_on_quotas(shared):
    page = Path(__file__).parents[3] / "docs" / "how-to" / "quotas.md"
    (block,) = re.findall(r"^```python\n([^`]*?backend=REDIS[^`]*?)^```$", page.read_text("utf-8"), re.MULTILINE)
    names = {"REDIS": shared.url, "LIMIT": 1}
    exec(compile(block, "docs/how-to/quotas.md", "exec"), names)
    told = []
    async with names["pool"].slot():
        # As of another process; it has the time to be told its place, however slow the machine is.
        other = SessionPool(1, backend=shared.url, name="my-project", timeout=3.0)
        with pytest.raises(PoolTimeout, match="place 1 of 1 in the queue"):
            async with other.slot(on_event=told.append):
                pass
    assert [event.place for event in told] == [1]


async def test_a_cancellation_in_the_moment_of_sending_is_not_lost(backend, monkeypatch):
    send = AbstractConnection._send_packed_command

    async def send_and_cancel(connection, command):
        await send(connection, command)
        asking.cancel()

    monkeypatch.setattr(AbstractConnection, "_send_packed_command", send_and_cancel)
    asking = asyncio.create_task(backend.enter("a-pool", "a", limits=Limits(sessions=1), lease=10.0))
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_wrong_password_is_told_to_who_asks(valkey):
    server = valkey(requirepass="SECRET")
    pool = SessionPool(1, backend=f"{server.url}?password=WRONG")
    with pytest.raises(ConfigurationError, match="the pool's backend refuses the user name or the password"):
        async with pool.slot():
            pass
    server.stop()


async def test_while_the_server_is_away_sessions_go_on_and_new_ones_wait(valkey, caplog):

    def told():
        """Return what the pool has logged; asyncio may log, too, that the machine is slow."""
        return {record.getMessage() for record in caplog.records if record.name == "resumekit.pool"}

    server = valkey(appendonly="yes")
    pool = SessionPool(2, backend=server.url, lease=3.0, poll=0.02, timeout=None)
    async with pool.slot():
        server.kill()
        waiting = asyncio.create_task(pool.slot().__aenter__())
        await until(told)
        assert not waiting.done()
        server.start()
        slot = await waiting
        assert pool.sessions == 2
        await slot.leave()
    assert told() == {"the pool's backend does not answer: ConnectionError"}
    server.stop()
