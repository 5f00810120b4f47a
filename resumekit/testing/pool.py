"""What every backend of session pools has to do, as a class of tests."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable

from resumekit.pool import Limits, Place, PoolBackend, Rate

__all__ = ["PoolConformance"]

_LONG = 600.0
"""Seconds of a lease that does not end within a test."""
_SHORT = 2.0
"""Of one that does; a few calls take less, however busy the machine is."""
_TWO = Limits(sessions=2)


class PoolConformance:
    """What a backend does. Subclass it in a test module, and give `make_backend`; pytest, or another runner, does the rest.

    ```python
    from resumekit.pool import MemoryPoolBackend
    from resumekit.testing import PoolConformance

    BACKEND = MemoryPoolBackend()  # yours


    class TestMyBackend(PoolConformance):
        def make_backend(self):
            return BACKEND
    ```

    Names of pools are new in each test, so that a backend may be shared with others.
    """

    def make_backend(self) -> PoolBackend:
        """Return a backend. All that one test makes see the same pools."""
        raise NotImplementedError

    async def sleep(self, seconds: float) -> None:
        """Let time go by, by the backend's clock."""
        await asyncio.sleep(seconds)

    def run(self, check: Callable[[_Pool], Awaitable[None]]) -> None:
        """Run a check with a new pool; leave nothing in it."""

        async def run() -> None:
            backend = self.make_backend()
            pool = _Pool(backend, f"conformance-{uuid.uuid4().hex}")
            try:
                await check(pool)
                for ticket in sorted(pool.tickets):
                    await backend.leave(pool.name, ticket)
            finally:
                await backend.close()

        asyncio.run(run())

    def test_it_is_a_pool_backend(self) -> None:
        """It has all methods."""

        async def check(pool: _Pool) -> None:
            assert isinstance(pool.backend, PoolBackend)

        self.run(check)

    def test_slots_up_to_the_limit_and_then_places_in_the_order_of_arrival(self) -> None:
        """The place counts from 1."""

        async def check(pool: _Pool) -> None:
            for number in range(2):
                place = await pool.enter(f"{number}")
                assert (place.held, place.place, place.waiting) == (True, 0, 0)
                assert place.sessions == number + 1
            for number in range(3):
                place = await pool.enter(f"late {number}")
                assert (place.held, place.place, place.waiting, place.sessions) == (False, number + 1, number + 1, 2)

        self.run(check)

    def test_any_number_where_there_is_no_limit(self) -> None:
        """`Limits()` limits nothing."""

        async def check(pool: _Pool) -> None:
            places = [await pool.enter(f"{number}", Limits()) for number in range(20)]
            assert all(place.held for place in places)

        self.run(check)

    def test_a_slot_that_is_given_back_goes_to_the_first_in_the_queue(self) -> None:
        """Also when another one asks, or comes, first."""

        async def check(pool: _Pool) -> None:
            for ticket in "abcd":
                await pool.enter(ticket)
            await pool.leave("a")
            late = await pool.enter("late")
            assert (late.held, late.place, late.waiting) == (False, 2, 2)
            place = await pool.enter("d")
            assert (place.held, place.place) == (False, 1)
            assert (await pool.enter("c")).held

        self.run(check)

    def test_to_enter_again_tells_where_one_stands(self) -> None:
        """No ticket gets two slots, or two places."""

        async def check(pool: _Pool) -> None:
            for ticket in "abcd":
                await pool.enter(ticket)
            for _ in range(2):
                place = await pool.enter("a")
                assert (place.held, place.sessions, place.waiting) == (True, 2, 2)
                assert (await pool.enter("d")).place == 2

        self.run(check)

    def test_who_leaves_the_queue_frees_the_place(self) -> None:
        """Those behind move up; to leave twice, or without having come, does nothing."""

        async def check(pool: _Pool) -> None:
            for ticket in "abcde":
                await pool.enter(ticket)
            for _ in range(2):
                await pool.leave("c")
                await pool.leave("unknown")
            assert (await pool.enter("d")).place == 1
            place = await pool.enter("e")
            assert (place.place, place.waiting, place.sessions) == (2, 2, 2)

        self.run(check)

    def test_resumes_go_before_new_sessions(self) -> None:
        """Each in the order of arrival."""

        async def check(pool: _Pool) -> None:
            for ticket in ("a", "b", "new 1", "new 2"):
                await pool.enter(ticket)
            assert (await pool.enter("resume 1", resumes=True)).place == 1
            assert (await pool.enter("resume 2", resumes=True)).place == 2
            assert (await pool.enter("new 1")).place == 3
            order: list[str] = []
            for ticket in ("a", "b", "resume 1", "resume 2"):
                await pool.leave(ticket)
                for other in ("new 2", "new 1", "resume 2", "resume 1"):
                    if other not in order and (await pool.enter(other, resumes="resume" in other)).held:
                        order.append(other)
            assert order == ["resume 1", "resume 2", "new 1", "new 2"]

        self.run(check)

    def test_force_gives_a_slot_over_the_limit(self) -> None:
        """And until there are fewer again, nobody else gets one."""

        async def check(pool: _Pool) -> None:
            for ticket in "abc":
                await pool.enter(ticket)
            place = await pool.enter("forced", force=True)
            assert (place.held, place.sessions) == (True, 3)
            await pool.leave("a")
            assert not (await pool.enter("c")).held
            await pool.leave("b")
            assert (await pool.enter("c")).held

        self.run(check)

    def test_force_lets_one_in_that_waits(self) -> None:
        """It does not stand in the queue then."""

        async def check(pool: _Pool) -> None:
            for ticket in "abcd":
                await pool.enter(ticket)
            assert (await pool.enter("c", force=True)).held
            place = await pool.enter("d")
            assert (place.place, place.waiting, place.sessions) == (1, 1, 3)

        self.run(check)

    def test_a_dead_holder_s_slot_goes_on_when_its_lease_ends(self) -> None:
        """And not before."""

        async def check(pool: _Pool) -> None:
            await pool.enter("dead", lease=_SHORT)
            await pool.enter("alive")
            assert not (await pool.enter("c")).held
            await self.sleep(_SHORT + 0.2)
            assert (await pool.enter("c")).held
            assert not (await pool.enter("d")).held

        self.run(check)

    def test_a_dead_waiter_s_place_lapses(self) -> None:
        """Nobody waits behind it for ever."""

        async def check(pool: _Pool) -> None:
            for ticket in "ab":
                await pool.enter(ticket)
            await pool.enter("dead", lease=_SHORT)
            await pool.enter("c")
            await self.sleep(_SHORT + 0.2)
            place = await pool.enter("c")
            assert (place.place, place.waiting) == (1, 1)

        self.run(check)

    def test_renewing_keeps_slots_and_places(self) -> None:
        """It tells where the waiting stand, in the order in which they were given."""

        async def check(pool: _Pool) -> None:
            for ticket in "abcd":
                await pool.enter(ticket, lease=_SHORT)
            await pool.renew(["a", "b"], ["c", "d"])
            await self.sleep(_SHORT + 0.2)
            places = await pool.renew(["a", "b"], ["d", "c", "unknown"])
            assert [(place.held, place.place) for place in places] == [(False, 2), (False, 1), (False, 0)]
            assert all(place.sessions == 2 for place in places)
            await pool.leave("a")
            assert [place.held for place in await pool.renew(["b"], ["c", "d"])] == [True, False]

        self.run(check)

    def test_a_holder_that_slept_too_long_has_its_slot_back(self) -> None:
        """Its session lives, whatever the limit."""

        async def check(pool: _Pool) -> None:
            await pool.enter("a")
            await pool.enter("sleeper", lease=_SHORT)
            await self.sleep(_SHORT + 0.2)
            assert (await pool.enter("b")).held
            assert not (await pool.enter("c")).held
            await pool.renew(["sleeper"], [])
            place = await pool.enter("sleeper")
            assert (place.held, place.sessions) == (True, 3)
            await pool.leave("b")
            assert not (await pool.enter("c")).held

        self.run(check)

    def test_the_rate_holds_new_sessions_back(self) -> None:
        """In order, and for as long as it says."""
        limits = Limits(connects=Rate(2, _SHORT))

        async def check(pool: _Pool) -> None:
            assert (await pool.enter("a", limits)).held
            assert (await pool.enter("b", limits)).held
            c, d = await pool.enter("c", limits), await pool.enter("d", limits)
            assert (c.held, c.place, d.held, d.place) == (False, 1, False, 2)
            assert 0.0 < c.retry_after <= _SHORT
            await self.sleep(_SHORT + 0.2)
            assert (await pool.enter("d", limits)).held
            assert (await pool.enter("c", limits)).held
            assert not (await pool.enter("e", limits)).held

        self.run(check)

    def test_resumes_are_never_held_by_the_rate_and_count(self) -> None:
        """Those that come to a slot, and those that have one."""
        limits = Limits(sessions=10, connects=Rate(2, 600.0))

        async def check(pool: _Pool) -> None:
            for number in range(2):
                assert (await pool.enter(f"resume {number}", limits, resumes=True)).held
            assert not (await pool.enter("new", limits)).held
            assert (await pool.enter("resume 3", limits, resumes=True)).held
            assert await pool.backend.connected(pool.name, limits=limits) == 4
            assert await pool.backend.connected(pool.name, limits=limits) == 5

        self.run(check)

    def test_where_slots_are_missing_the_rate_is_not_to_be_waited_for(self) -> None:
        """`retry_after` is infinite then."""

        async def check(pool: _Pool) -> None:
            for ticket in "ab":
                await pool.enter(ticket)
            assert (await pool.enter("c")).retry_after == float("inf")

        self.run(check)

    def test_pools_do_not_know_each_other(self) -> None:
        """A ticket of one name is nothing to the other."""

        async def check(pool: _Pool) -> None:
            other = _Pool(pool.backend, pool.name + " 2")
            for ticket in "ab":
                await pool.enter(ticket)
                assert (await other.enter(ticket)).held
            assert not (await pool.enter("c")).held
            for ticket in "ab":
                await other.leave(ticket)
            assert not (await pool.enter("c")).held

        self.run(check)

    def test_many_at_a_time_never_exceed_the_limit(self) -> None:
        """Through two backends of one server; in the end all slots are there again."""

        async def check(pool: _Pool) -> None:
            second = _Pool(self.make_backend(), pool.name)
            draw = random.Random(1)
            inside = most = 0

            async def client(number: int) -> None:
                nonlocal inside, most
                mine = (pool, second)[number % 2]
                while not (await mine.enter(f"{number}")).held:  # noqa: ASYNC110 -- as a fleet does
                    await asyncio.sleep(0.002 + 0.002 * draw.random())
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.001 * draw.random())
                inside -= 1
                await mine.leave(f"{number}")

            try:
                await asyncio.gather(*map(client, range(40)))
                assert most == 2
                place = await pool.enter("last")
                assert (place.held, place.sessions, place.waiting) == (True, 1, 0)
            finally:
                await second.backend.close()

        self.run(check)


class _Pool:
    """A pool of the backend, with a limit of two and a long lease if nothing else is said."""

    def __init__(self, backend: PoolBackend, name: str) -> None:
        self.backend = backend
        self.name = name
        self.tickets: set[str] = set()

    async def enter(
        self,
        ticket: str,
        limits: Limits = _TWO,
        *,
        lease: float = _LONG,
        resumes: bool = False,
        force: bool = False,
    ) -> Place:
        self.tickets.add(ticket)
        return await self.backend.enter(self.name, ticket, limits=limits, lease=lease, resumes=resumes, force=force)

    async def renew(self, held: list[str], waiting: list[str]) -> list[Place]:
        return [*await self.backend.renew(self.name, held, waiting, limits=_TWO, lease=_LONG)]

    async def leave(self, ticket: str) -> None:
        self.tickets.discard(ticket)
        await self.backend.leave(self.name, ticket)
