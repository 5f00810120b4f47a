"""The session pool in virtual time: who is let in and when, what is told, and that every slot comes back."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import math
import random
import types

import pytest

from resumekit.core import events
from resumekit.core.engine import Engine
from resumekit.core.policy import Policy
from resumekit.defaults import MemoryStore
from resumekit.drivers.events import EventLog
from resumekit.drivers.keeper import Keeper
from resumekit.drivers.line import Line
from resumekit.errors import ConfigurationError, PoolTimeout, SessionLost
from resumekit.pool import TIERS, MemoryPoolBackend, Rate, SessionPool, Tier
from resumekit.wire import setup_fingerprint, setup_model
from tests.drivers.fakes import SETUP, FakeService, FakeTransport, ask, driver_of, in_virtual_time, until


def now():
    return asyncio.get_running_loop().time()


class Client:
    """Comes, holds its slot until `go`, and notes what it is told."""

    def __init__(self, pool, *, resumes=False):
        self.told = []
        self.error = None
        self.inside = False
        self.admitted_at = None
        self.go = asyncio.Event()
        self.slot = None
        self.task = asyncio.create_task(self._run(pool, resumes))

    async def _run(self, pool, resumes):
        try:
            async with pool.slot(resumes=resumes, on_event=self.told.append) as self.slot:
                self.inside, self.admitted_at = True, now()
                await self.go.wait()
        except PoolTimeout as error:
            self.error = error
        finally:
            self.inside = False

    async def leave(self):
        self.go.set()
        await self.task

    async def cancel(self):
        self.task.cancel()
        await asyncio.wait({self.task})

    def places(self):
        return [event.place for event in self.told if isinstance(event, events.Queued)]

    def tells(self, kind):
        return [event for event in self.told if isinstance(event, kind)]


async def clients(pool, count, **options):
    made = [Client(pool, **options) for _ in range(count)]
    await asyncio.sleep(0.01)
    return made


# ---------------------------------------------------------------------- slots


@in_virtual_time
async def test_without_a_limit_everybody_is_let_in_at_once_and_the_backend_is_never_asked():
    class Backend(MemoryPoolBackend):
        async def enter(self, *arguments, **options):
            raise AssertionError("asked")

        leave = connected = renew = enter

    pool = SessionPool(backend=Backend())
    held = await clients(pool, 100)
    assert (pool.sessions, pool.waiting) == (100, 0)
    assert all(client.inside and not client.told for client in held)
    assert len(asyncio.all_tasks()) == 101
    await held[0].slot.dialling()
    await held[0].slot.dialling()
    assert pool.reconnects == 1
    for client in held:
        await client.leave()
    assert pool.sessions == 0


@in_virtual_time
async def test_the_first_come_is_the_first_served_and_sees_its_place():
    pool = SessionPool(2)
    a, b, c, d, e = await clients(pool, 5)
    assert [client.inside for client in (a, b, c, d, e)] == [True, True, False, False, False]
    assert (pool.sessions, pool.waiting) == (2, 3)
    assert [client.slot is None for client in (a, c)] == [False, True]
    assert [client.places() for client in (a, c, d, e)] == [[], [1], [2], [3]]

    await asyncio.sleep(3)
    await b.leave()
    await until(lambda: c.inside)
    assert not d.inside
    assert [event.waited for event in c.tells(events.Admitted)] == [pytest.approx(3, abs=0.1)]
    assert not a.tells(events.Admitted)
    await asyncio.sleep(5)
    assert [client.places() for client in (d, e)] == [[2, 1], [3, 2]]
    for client in (a, c, d, e):
        await client.leave()
    assert (pool.sessions, pool.waiting) == (0, 0)


@in_virtual_time
async def test_who_gives_up_frees_the_place_and_those_behind_move_up():
    pool = SessionPool(1)
    a, b, c = await clients(pool, 3)
    await b.cancel()
    assert (pool.sessions, pool.waiting) == (1, 1)
    await asyncio.sleep(6)
    assert c.places() == [2, 1]
    await a.leave()
    await until(lambda: c.inside)
    await c.leave()


@in_virtual_time
async def test_who_is_cancelled_in_the_moment_of_its_turn_gives_the_slot_on():
    pool = SessionPool(1)
    a, b, c = await clients(pool, 3)
    a.go.set()
    await a.task
    b.task.cancel()  # its turn has come, and it has not run since
    await until(lambda: c.inside)
    assert b.task.cancelled()
    await c.leave()
    assert pool.sessions == 0


@in_virtual_time
async def test_a_session_that_waited_too_long_is_told_where_it_stood():
    pool = SessionPool(1, timeout=20)
    a, b, c = await clients(pool, 3)
    await c.task
    assert str(c.error).startswith("the pool had no slot for the session within 20.0 s (place 2 of 2 in the queue);")
    assert (c.error.place, c.error.waiting) == (2, 2)
    await b.task
    assert b.error.place in (1, 2)
    assert (pool.sessions, pool.waiting) == (1, 0)
    d = Client(pool)
    await asyncio.sleep(0.01)
    assert d.places() == [1]
    await a.leave()
    await until(lambda: d.inside)
    await d.leave()


@in_virtual_time
async def test_a_time_out_of_nothing_means_now_or_never():
    pool = SessionPool(1, timeout=0)
    a, b = await clients(pool, 2)
    assert a.inside
    await b.task
    assert b.error.place == 1
    await a.leave()


@in_virtual_time
async def test_none_waits_for_ever():
    pool = SessionPool(1, timeout=None)
    a, b = await clients(pool, 2)
    await asyncio.sleep(5000)
    assert not b.inside
    await a.leave()
    await until(lambda: b.inside)
    await b.leave()


@in_virtual_time
async def test_resumes_go_first_and_after_a_while_over_the_limit():
    pool = SessionPool(1, resume_wait=10)
    (a,) = await clients(pool, 1)
    (new,) = await clients(pool, 1)
    first, second = await clients(pool, 2, resumes=True)
    assert [client.places() for client in (new, first, second)] == [[1], [1], [2]]
    await asyncio.sleep(2)
    await a.leave()
    await until(lambda: first.inside)
    assert not new.inside

    started = now()
    await until(lambda: second.inside, every=0.01)
    assert now() - started == pytest.approx(8, abs=0.1)
    strained = second.tells(events.QuotaStrained)
    assert [(event.what, event.used, event.limit) for event in strained] == [("sessions", 2, 1)]
    await first.leave()
    await asyncio.sleep(1)
    assert not new.inside, "there is still one in"
    await second.leave()
    await until(lambda: new.inside)
    (again,) = await clients(pool, 1, resumes=True)
    await asyncio.sleep(11)
    assert len(again.tells(events.QuotaStrained)) == 1, "it was over in between"
    await again.leave()
    await new.leave()


# ---------------------------------------------------------------------- rates


@in_virtual_time
async def test_the_rate_lets_new_sessions_in_so_many_in_any_minute():
    pool = SessionPool(connect_rate=Rate(3, 60), timeout=None)
    started = now()
    made = await clients(pool, 10)
    for client in made:
        await until(lambda client=client: client.inside, every=1.0)
    at = [client.admitted_at - started for client in made]
    assert at == sorted(at)
    assert all(later - earlier >= 60 for earlier, later in zip(at, at[3:], strict=False))
    assert at[-1] <= 181
    for client in made:
        await client.leave()


@in_virtual_time
async def test_reconnects_are_never_held_back_and_told_once_where_they_exceed_the_rate():
    pool = SessionPool(connect_rate=Rate(3, 60), timeout=None)
    (a,) = await clients(pool, 1)
    await a.slot.dialling()
    assert pool.reconnects == 0
    started = now()
    for _ in range(5):
        await a.slot.dialling()
    assert now() == started
    assert pool.reconnects == 5
    strained = a.tells(events.QuotaStrained)
    assert [(event.what, event.used, event.limit) for event in strained] == [("connects", 4, 3)]
    (new,) = await clients(pool, 1)
    assert not new.inside, "they count"
    await until(lambda: new.inside, every=0.5)
    assert now() - started == pytest.approx(60, abs=1)
    await a.slot.dialling()
    for _ in range(4):
        await a.slot.dialling()
    assert len(a.tells(events.QuotaStrained)) == 2
    await a.leave()
    await new.leave()


@in_virtual_time
async def test_tokens_are_counted_for_a_minute_and_told_once_for_each_crossing():
    pool = SessionPool(tokens_per_minute=1000, warn_at=0.8)
    (a,) = await clients(pool, 1)
    for _ in range(7):
        a.slot.used(100)
        await asyncio.sleep(2)
    assert pool.tokens == 700
    assert not a.tells(events.QuotaStrained)
    a.slot.used(100)
    a.slot.used(100)
    assert [(e.what, e.used, e.limit) for e in a.tells(events.QuotaStrained)] == [("tokens", 800, 1000)]
    await asyncio.sleep(61)
    assert pool.tokens == 0
    a.slot.used(10)
    a.slot.used(790)
    assert len(a.tells(events.QuotaStrained)) == 2
    await a.leave()


# ---------------------------------------------------------------------- several processes


def fleet(backend, count, limit, **options):
    return [SessionPool(limit, backend=backend, lease=30, timeout=None, **options) for _ in range(count)]


def kill(pool, members):
    """A process is gone: nothing of it runs any more, and it gave nothing back."""
    if pool._watcher is not None:
        pool._watcher.cancel()
    pool._backend = Nowhere()
    for member in members:
        member.task.cancel()


class Nowhere:
    """A dead process reaches nobody."""

    async def enter(self, *arguments, **options):
        raise ConnectionError

    leave = connected = renew = enter


@in_virtual_time
async def test_a_fleet_shares_slots_and_queue_and_a_dead_process_gives_its_own_back():
    backend = MemoryPoolBackend()
    dying, living = fleet(backend, 2, 2)
    dead = await clients(dying, 3)
    b, c = await clients(living, 2)
    assert [client.places() for client in (dead[2], b, c)] == [[1], [2], [3]]
    kill(dying, dead)
    killed = now()
    await asyncio.sleep(20)
    assert not b.inside
    await until(lambda: b.inside and c.inside, every=0.01)
    assert 25 <= now() - killed <= 31
    d = Client(living)
    await asyncio.sleep(200)
    assert not d.inside, "leases of the living are renewed"
    await b.leave()
    await until(lambda: d.inside)
    await c.leave()
    await d.leave()
    assert dying._watcher is None or dying._watcher.done()


@in_virtual_time
async def test_a_process_that_slept_longer_than_its_lease_keeps_what_lives_and_queues_anew():
    clock = [0.0]
    backend = MemoryPoolBackend(lambda: asyncio.get_running_loop().time() + clock[0])
    sleeper, other = fleet(backend, 2, 1)
    a, b, behind = await clients(sleeper, 3)
    clock[0] += 100.0
    c, d = await clients(other, 2)
    assert (c.inside, d.inside) == (True, False)
    await asyncio.sleep(11)
    assert a.inside
    assert len(backend._queue("resumekit")._new) == 3
    await c.leave()
    await asyncio.sleep(1)
    assert not d.inside, "the sleeper's session still lives"
    await a.leave()
    await until(lambda: d.inside)
    await d.leave()
    for client in (b, behind):
        await until(lambda client=client: client.inside)
        await client.leave()


@in_virtual_time
async def test_a_listener_that_raises_holds_nobody_up(caplog):
    pool = SessionPool(1, backend=MemoryPoolBackend())
    first = Client(pool)
    await asyncio.sleep(1)
    second, third = Client(pool), Client(pool)
    second.told = types.SimpleNamespace(append=lambda event: 1 / 0)
    await asyncio.sleep(20)  # so that it is told, beside the calls of the others, that somebody waits behind it
    for client, after in ((first, second), (second, third)):
        await client.leave()
        await asyncio.sleep(1)
        assert after.inside
    await third.leave()
    assert caplog.text.count("on_event of a slot raised") >= 2


@in_virtual_time
async def test_a_slot_of_another_process_is_taken_as_soon_as_it_is_free():
    one, other = fleet(MemoryPoolBackend(), 2, 2)
    (a,) = await clients(one, 1)
    (b,) = await clients(other, 1)
    await asyncio.sleep(0.1)
    (waits,) = await clients(other, 1)
    await asyncio.sleep(1)
    await a.leave()
    left = now()
    await until(lambda: waits.inside)
    assert now() - left < 0.5
    await b.leave()
    await waits.leave()


@in_virtual_time
async def test_what_a_slow_backend_gives_to_one_who_has_left_is_given_back():
    class Slow(MemoryPoolBackend):
        async def enter(self, *arguments, **options):
            await asyncio.sleep(0.5)
            return await super().enter(*arguments, **options)

    backend = Slow()
    pool = SessionPool(2, backend=backend, timeout=None)
    a, b = await clients(pool, 2)
    await asyncio.sleep(1)
    (c,) = await clients(pool, 1)
    await asyncio.sleep(1)
    assert not c.inside
    a.go.set()
    await asyncio.sleep(0.1)  # it is asked for the one who waits
    await c.cancel()
    await a.task
    await asyncio.sleep(1)
    assert len(backend._queue("resumekit")._held) == 1
    await b.leave()


@in_virtual_time
async def test_those_who_come_at_once_stand_in_the_backend_s_queue_as_in_the_process_s_own():
    """Else the process would ask for others than those whose turn it is."""
    draw = random.Random(1)

    class Far(MemoryPoolBackend):
        async def enter(self, *arguments, **options):
            await asyncio.sleep(draw.uniform(0.0, 0.01))
            place = await super().enter(*arguments, **options)
            await asyncio.sleep(draw.uniform(0.0, 0.01))
            return place

    backend = Far()
    pool, _ = fleet(backend, 2, 2)
    started = now()
    made = await clients(pool, 40)
    await asyncio.sleep(1)
    for client in made:
        await until(lambda client=client: client.inside, every=0.01)
        await client.leave()
    assert now() - started < 1 + 40 * 0.3
    assert [client.admitted_at for client in made] == sorted(client.admitted_at for client in made)


@in_virtual_time
async def test_one_whose_place_was_not_heard_of_is_found_where_it_stands():
    class Lossy(MemoryPoolBackend):
        loses = False

        async def enter(self, *arguments, **options):
            place = await super().enter(*arguments, **options)
            if self.loses:
                self.loses = False
                raise ConnectionError
            return place

    backend = Lossy()
    pool, _ = fleet(backend, 2, 1)
    (a,) = await clients(pool, 1)
    backend.loses = True
    b, c, d = await clients(pool, 3)
    await asyncio.sleep(1)
    assert [client.places()[-1] for client in (b, c, d)] == [1, 2, 3]
    await asyncio.sleep(pool._beat)
    for leaving, next_one in ((a, b), (b, c), (c, d)):
        await leaving.leave()
        left = now()
        await until(lambda one=next_one: one.inside, every=0.01)
        assert now() - left <= pool._poll + 0.02
    await d.leave()


@in_virtual_time
async def test_an_answer_that_is_older_than_the_lease_is_no_answer():
    """The process stood still meanwhile: the slot that it was given is another's by now."""

    class Frozen(MemoryPoolBackend):
        still = 0.0

        async def enter(self, *arguments, **options):
            place = await super().enter(*arguments, **options)
            await asyncio.sleep(self.still)
            return place

    backend = Frozen()
    frozen, other = fleet(backend, 2, 1)
    frozen._lease = 2.0
    backend.still = 3.0
    made = asyncio.create_task(clients(frozen, 1))
    await asyncio.sleep(2.5)
    backend.still = 0.0
    (b,) = await clients(other, 1)
    (a,) = await made
    assert b.inside
    await asyncio.sleep(2)
    assert not a.inside
    await b.leave()
    await until(lambda: a.inside)
    await a.leave()


@in_virtual_time
async def test_a_backend_by_url_is_closed_whenever_the_last_session_has_left(monkeypatch):
    class Backend(MemoryPoolBackend):
        closed = 0

        async def close(self):
            self.closed += 1

    backend = Backend()
    asked = types.SimpleNamespace(provide_pool_backend={"dict://": backend}.get)
    monkeypatch.setattr("resumekit.pool.make_decisions", lambda report: asked)
    pool = SessionPool(1, backend="dict://")
    for closed in (0, 1):
        a, b = await clients(pool, 2)
        await a.leave()
        await until(lambda b=b: b.inside)
        assert backend.closed == closed
        await b.leave()
        assert backend.closed == closed + 1
    pool = SessionPool(1, backend=backend)
    (c,) = await clients(pool, 1)
    await c.leave()
    assert backend.closed == 2, "it is the application's"


@in_virtual_time
async def test_who_waits_after_a_quiet_time_is_looked_after_again():
    pool = SessionPool(connect_rate=Rate(1, 5), timeout=None)
    a, b = await clients(pool, 2)
    await until(lambda: b.inside, every=0.1)
    await asyncio.sleep(20)
    c, d = await clients(pool, 2)
    assert (c.inside, d.inside) == (True, False)
    await until(lambda: d.inside, every=0.1)
    for client in (a, b, c, d):
        await client.leave()


@in_virtual_time
async def test_where_a_slot_comes_before_the_rate_the_rate_is_waited_for_and_no_longer():
    pool = SessionPool(1, connect_rate=Rate(1, 7.5), timeout=None)
    started = now()
    a, b = await clients(pool, 2)
    await asyncio.sleep(5.5)
    await a.leave()
    await until(lambda: b.inside)
    assert now() - started == pytest.approx(7.5, abs=0.1)
    await b.leave()


@in_virtual_time
async def test_a_backend_that_is_away_holds_new_sessions_up_and_nobody_else(caplog):
    class Backend(MemoryPoolBackend):
        away = False

        async def enter(self, *arguments, **options):
            if self.away:
                raise ConnectionError("redis://user:password@host")
            return await super().enter(*arguments, **options)

        async def renew(self, *arguments, **options):
            if self.away:
                await asyncio.Event().wait()
            return await super().renew(*arguments, **options)

        async def leave(self, *arguments, **options):
            if self.away:
                raise ConnectionError
            return await super().leave(*arguments, **options)

    backend = Backend()
    pool = SessionPool(1, backend=backend, timeout=40)
    a, b = await clients(pool, 2)
    backend.away = True
    await asyncio.sleep(20)
    (lost,) = await clients(pool, 1)
    (resume,) = await clients(pool, 1, resumes=True)
    await until(lambda: resume.inside, every=0.1)
    assert a.inside
    await b.task
    assert b.error.place == 1
    await lost.task
    assert "its backend did not answer" in str(lost.error)
    assert [record.getMessage() for record in caplog.records if record.name == "resumekit.pool"] == [
        "the pool's backend does not answer: ConnectionError"
    ]
    backend.away = False
    await a.leave()
    await resume.leave()
    await asyncio.sleep(31)
    (c,) = await clients(pool, 1)
    assert c.inside
    await c.leave()


@in_virtual_time
async def test_a_backend_that_cannot_be_used_tells_the_first_who_asks():
    class Backend(MemoryPoolBackend):
        async def enter(self, *arguments, **options):
            raise ConfigurationError("wrong password")

    pool = SessionPool(1, backend=Backend())
    with pytest.raises(ConfigurationError, match="wrong password"):
        async with pool.slot():
            pass
    assert pool.sessions == 0


# ---------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 0}, "limit is 0; give at least 1, or None for any"),
        ({"limit": "3"}, "limit is '3'; give at least 1, or None for any"),
        ({"timeout": "60"}, "timeout is '60'; give 0 or more seconds"),
        ({"lease": "60"}, "lease is '60'; give more than 0"),
        ({"connect_rate": 10}, "connect_rate is 10; give a resumekit.pool.Rate, such as Rate(10, 60)"),
        ({"connect_rate": Rate("10")}, "give at least one in more than 0 s"),
        ({"tokens_per_minute": 0}, "tokens_per_minute is 0; give at least 1, or None for any"),
        ({"connect_rate": Rate(0)}, "give at least one in more than 0 s"),
        ({"connect_rate": Rate(1, 0.0)}, "give at least one in more than 0 s"),
        ({"lease": 0}, "lease is 0; give more than 0"),
        ({"poll": -1}, "poll is -1; give more than 0"),
        ({"timeout": -1}, "timeout is -1; give 0 or more seconds"),
        ({"resume_wait": math.nan}, "resume_wait is nan; give 0 or more seconds"),
        (
            {"backend": "password@host"},
            "a pool's backend is named by a URL, and this is none; give one such as 'redis://",
        ),
        ({"backend": 5}, "backend is a int; give a URL, or a resumekit.pool.PoolBackend"),
        (
            {"backend": "redis://user:password@host"},
            "no plugin answers for a pool's backend of redis://; install the one that does: pip install resumekit-redis",
        ),
        ({"backend": "postgres://host"}, "for a pool's backend of postgres://; install the package that provides it"),
    ],
)
def test_arguments_that_make_no_sense(arguments, message):
    with pytest.raises(ConfigurationError) as caught:
        SessionPool(**arguments)
    assert message in str(caught.value)
    assert "password" not in str(caught.value)


def test_the_documented_tiers():
    assert {name: (tier.sessions, tier.tokens_per_minute) for name, tier in TIERS.items()} == {
        "gemini-free": (3, None),
        "gemini-tier-1": (50, 4_000_000),
        "gemini-tier-2": (1000, 10_000_000),
        "gemini-tier-3": (1000, 10_000_000),
        "vertex": (1000, 4_000_000),
    }
    vertex = TIERS["vertex"]
    assert isinstance(vertex, Tier)
    assert (vertex.connects, vertex.operations) == (Rate(10, 60.0), Rate(100, 60.0))
    pool = SessionPool.of_tier("vertex")
    assert (pool.limits.sessions, pool.limits.connects) == (1000, Rate(10))
    with pytest.raises(ConfigurationError, match="tier is 'gold'; give one of gemini-free, gemini-tier-1"):
        SessionPool.of_tier("gold")


def test_a_pool_serves_one_loop_after_the_other_and_no_two_at_a_time():
    pool = SessionPool(1)

    async def use():
        a, b = await clients(pool, 2)
        await a.leave()
        await b.leave()

    asyncio.run(use())
    asyncio.run(use())

    async def hold():
        async with pool.slot():
            await asyncio.to_thread(asyncio.run, other())

    async def other():
        with pytest.raises(ConfigurationError, match="serves one event loop"):
            await pool.slot().__aenter__()

    asyncio.run(hold())


# ---------------------------------------------------------------------- with the driver


@in_virtual_time
async def test_a_session_keeps_its_slot_across_reconnects_and_gives_it_back_when_its_sockets_are_gone():
    pool = SessionPool(1, tokens_per_minute=10)
    service, told = FakeService(), []
    driver = driver_of(service, pool=pool, on_event=told.append)
    await driver.start()
    waits = asyncio.create_task((second := driver_of(service, pool=pool, on_event=told.append)).start())
    await asyncio.sleep(0.1)
    assert (pool.sessions, pool.waiting) == (1, 1)
    for number in range(3):
        assert await ask(driver, f"{number}") == f"answer to {number}"
        service.current.end()
        await asyncio.sleep(5)
    assert len(service.connections) == 4
    assert pool.reconnects == 3
    service.connections[-1].push({"usageMetadata": {"totalTokenCount": 9}})
    await asyncio.sleep(0.1)
    assert pool.tokens == 9
    assert [event.what for event in told if isinstance(event, events.QuotaStrained)] == ["tokens"]
    assert not waits.done()

    service.current.mute = True  # the close takes its time
    closing = asyncio.create_task(driver.close())
    await asyncio.sleep(0.1)
    assert not waits.done(), "a socket that is open counts"
    await closing
    await waits
    assert len(service.connections) == 5
    assert [type(event) for event in told if isinstance(event, events.Queued | events.Admitted)] == [
        events.Queued,
        events.Admitted,
    ]
    await second.close()
    assert pool.sessions == 0


@in_virtual_time
async def test_a_session_that_waits_for_long_still_has_all_of_its_time_to_connect():
    pool = SessionPool(1, timeout=600)
    service = FakeService()
    driver, second = driver_of(service, pool=pool), driver_of(service, pool=pool)
    await driver.start()
    starting = asyncio.create_task(second.start())
    await asyncio.sleep(Policy().first_connect_deadline * 2)
    await driver.close()
    await starting
    await second.close()


@in_virtual_time
async def test_a_session_that_is_not_let_in_raises_and_leaves_nothing():
    pool = SessionPool(1, timeout=5)
    service = FakeService()
    driver, second = driver_of(service, pool=pool), driver_of(service, pool=pool)
    await driver.start()
    with pytest.raises(PoolTimeout):
        await second.start()
    assert len(service.connections) == 1
    await second.close()
    await driver.close()


@in_virtual_time
async def test_a_start_that_is_cancelled_in_the_queue_frees_the_place():
    pool = SessionPool(1)
    service = FakeService()
    driver, second = driver_of(service, pool=pool), driver_of(service, pool=pool)
    await driver.start()
    starting = asyncio.create_task(second.start())
    await asyncio.sleep(1)
    starting.cancel()
    cancelled = now()
    await asyncio.wait({starting})
    assert starting.cancelled()
    assert now() - cancelled < 1
    assert (pool.sessions, pool.waiting) == (1, 0)
    await driver.close()
    assert pool.sessions == 0


@in_virtual_time
async def test_a_session_that_is_refused_gives_its_slot_back():
    pool = SessionPool(1)
    service = FakeService()
    service.dials = [ValueError("bad uri")]
    with pytest.raises(ValueError, match="bad uri"):
        await driver_of(service, pool=pool).start()
    assert pool.sessions == 0


class _Broken(Exception):
    """What is planted."""


async def _session(pool, service, monkeypatch, what, *, tell_plugins=None):
    """Return a session with a slot, and a store, of whose end something breaks."""
    owner, name = what

    def keeper(publish, pending):
        policy, model, key = Policy(), setup_model(SETUP), setup_fingerprint(SETUP)
        return Keeper(
            MemoryStore(),
            "k",
            policy=policy,
            model=model,
            fingerprint=key,
            transparent=False,
            publish=publish,
            pending=pending,
            closes_store=True,
        )

    driver = driver_of(service, pool=pool, keeper=keeper, tell_plugins=tell_plugins)
    await driver.start()
    assert pool.sessions == 1

    def breaks(*_, **__):
        raise _Broken

    async def breaks_later(*_):
        raise _Broken

    if owner is not None:
        monkeypatch.setattr(owner, name, breaks_later if inspect.iscoroutinefunction(getattr(owner, name)) else breaks)
    return driver


_BREAKS = (
    (FakeTransport, "abort"),
    (FakeTransport, "close"),
    (FakeTransport, "resume"),
    (Engine, "feed"),
    (EventLog, "end"),
    (Line, "end"),
    (Keeper, "finish"),
    (Keeper, "run"),
    (Keeper, "close"),
)


@pytest.mark.parametrize("mute", [False, True], ids=["", "and no answer"])
@pytest.mark.parametrize("ends", ["closed", "lost", "cancelled"])
@pytest.mark.parametrize("what", _BREAKS, ids=lambda what: f"{what[0].__name__}.{what[1]}")
@in_virtual_time
async def test_whatever_breaks_at_its_end_a_session_gives_its_slot_back(monkeypatch, what, ends, mute):
    pool, service = SessionPool(1), FakeService()
    driver = await _session(pool, service, monkeypatch, what)
    service.current.mute = mute
    if ends == "lost":
        service.dials = [ConnectionRefusedError()] * 100
        service.current.end()
        with pytest.raises(SessionLost):
            await driver.recv()
    closing = asyncio.create_task(driver.close())
    await asyncio.sleep(0.001)
    if ends == "cancelled":
        closing.cancel()
    await asyncio.wait({closing}, timeout=120)
    assert closing.done()
    assert pool.sessions == 0
    monkeypatch.undo()
    service.current.end()
    async with pool.slot():
        await driver.close()


@in_virtual_time
async def test_a_plugin_that_breaks_at_the_end_of_a_session_does_not_keep_its_slot(monkeypatch):
    pool, service = SessionPool(1), FakeService()

    def tell(event):
        if isinstance(event, events.SessionEnded):
            raise _Broken

    driver = await _session(pool, service, monkeypatch, (None, ""), tell_plugins=tell)
    with contextlib.suppress(_Broken):
        await driver.close()
    await driver.close()
    assert pool.sessions == 0


# ---------------------------------------------------------------------- ten thousand


def waits(told):
    """Return how long clients waited that had to, in seconds."""
    waited = sorted(event.waited for heard in told for event in heard if isinstance(event, events.Admitted))
    at = {name: waited[int(share * (len(waited) - 1))] for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))}
    return {**at, "max": waited[-1]}


async def crowd(seed, pools, count, limit, *, crashes=False):
    """Clients that come, wait, talk, crash and give up at random; return what was seen."""
    draw = random.Random(seed)
    inside, most, served, order, arrived = 0, 0, 0, [], {}
    told = {}
    gone = set()
    victim = pools[-1] if crashes else None
    members = []

    async def client(number):
        nonlocal inside, most, served
        await asyncio.sleep(0.001 * number)
        pool = pools[number % len(pools)]
        if pool in gone:
            return
        told[number] = []
        arrived[number] = len(arrived)
        try:
            async with pool.slot(on_event=told[number].append):
                order.append(number)
                inside += 1
                most = max(most, inside)
                try:
                    await asyncio.sleep(draw.uniform(0.1, 2.0))
                    if draw.random() < 0.1:
                        raise RuntimeError("crashed")
                    served += 1
                finally:
                    inside -= 1
        except RuntimeError:
            pass

    tasks = {number: asyncio.create_task(client(number)) for number in range(count)}
    members = [task for number, task in tasks.items() if pools[number % len(pools)] is victim]
    for number in draw.sample(range(count), count // 10):
        asyncio.get_running_loop().call_later(draw.uniform(0.0, count / limit), tasks[number].cancel)

    def crash():
        gone.add(victim)
        if victim._watcher is not None:
            victim._watcher.cancel()
        victim._backend = Nowhere()
        for task in members:
            task.cancel()

    if crashes:
        asyncio.get_running_loop().call_later(count / limit / 4, crash)
    await asyncio.wait(tasks.values())
    failed = [task.exception() for task in tasks.values() if not task.cancelled() and task.exception()]
    return {
        "most": most,
        "served": served,
        "failed": failed,
        "out_of_order": sum(a > b for a, b in itertools.pairwise(order)),
        "waited": sum(any(isinstance(event, events.Admitted) for event in told[number]) for number in told),
        "left": [pool.sessions + pool.waiting for pool in pools if pool is not victim],
        "waits": waits(told.values()),
        "places": max(event.place for heard in told.values() for event in heard if isinstance(event, events.Queued)),
    }


@in_virtual_time
async def test_ten_thousand_clients_at_fifty_slots():
    """Crashes and cancellations at random: never more than fifty, in the order of arrival, and every slot comes back."""
    pool = SessionPool(50, timeout=None, tell_every=30)
    asyncio.get_running_loop().set_debug(False)
    seen = await crowd(1, [pool], 10_000, 50)
    print(
        "\n10,000 clients at 50 slots waited (s, virtual):",
        {name: round(wait, 1) for name, wait in seen["waits"].items()},
    )
    assert seen["most"] == 50
    assert 0 < seen["waits"]["p50"] < seen["waits"]["p99"] < 10_000 * 2.0 / 50, (
        "nobody waits for longer than all would take"
    )
    assert seen["out_of_order"] == 0
    assert seen["failed"] == []
    assert seen["left"] == [0]
    assert seen["served"] > 7500
    assert seen["waited"] > 7500
    assert seen["places"] > 5000
    assert not pool._backend._queue("resumekit")._held
    assert pool._watcher is None


@in_virtual_time
async def test_two_thousand_clients_of_four_processes_one_of_which_is_killed():
    """The same over a shared backend; arrival order is the backend's."""
    asyncio.get_running_loop().set_debug(False)
    backend = MemoryPoolBackend()
    pools = fleet(backend, 4, 20, tell_every=30)
    seen = await crowd(2, pools, 2000, 20, crashes=True)
    assert seen["most"] <= 20
    assert seen["failed"] == []
    assert seen["left"] == [0, 0, 0]
    await asyncio.sleep(31)
    await backend.enter("resumekit", "last", limits=pools[0].limits, lease=1)
    assert list(backend._queue("resumekit")._held) == ["last"]


# ---------------------------------------------------------------------- planted bugs


class _ForgetsTheOrder(MemoryPoolBackend):
    async def enter(self, pool, ticket, **options):
        queue = self._queue(pool)
        queue._new = dict(reversed(queue._new.items()))
        return await super().enter(pool, ticket, **options)


class _LetsOneMoreIn(MemoryPoolBackend):
    async def enter(self, pool, ticket, *, limits, **options):
        more = type(limits)(limits.sessions + 1, limits.connects)
        return await super().enter(pool, ticket, limits=more, **options)


class _LosesSlots(MemoryPoolBackend):
    count = 0

    async def leave(self, pool, ticket):
        self.count += 1
        if self.count != 100:
            await super().leave(pool, ticket)


@pytest.mark.parametrize("bug", [_ForgetsTheOrder, _LetsOneMoreIn, _LosesSlots])
def test_the_crowd_sees_a_planted_bug(bug):
    @in_virtual_time
    async def run():
        pool = SessionPool(10, timeout=None, tell_every=30)
        pool._backend = bug()
        seen = await crowd(3, [pool], 500, 10)
        held = pool._backend._queue("resumekit")._held
        assert seen["most"] > 10 or seen["out_of_order"] or held

    run()
