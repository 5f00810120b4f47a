"""The conformance class for backends of pools: the one in memory passes, and each of these bugs fails."""

from __future__ import annotations

import math
from collections import deque

import pytest
from msgspec.structs import replace

from resumekit.pool import Limits, MemoryPoolBackend, PoolBackend
from resumekit.testing import PoolConformance


class TestMemory(PoolConformance):
    """On a clock of its own, so that nothing is waited for."""

    @pytest.fixture(autouse=True)
    def one_server(self):
        self.now = 0.0
        self.backend = MemoryPoolBackend(lambda: self.now)

    def make_backend(self) -> PoolBackend:
        return self.backend

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class _OneTooMany(MemoryPoolBackend):
    async def enter(self, pool, ticket, *, limits, **rest):
        more = None if limits.sessions is None else limits.sessions + 1
        return await super().enter(pool, ticket, limits=Limits(more, limits.connects), **rest)


class _KnowsNoResumes(MemoryPoolBackend):
    async def enter(self, pool, ticket, *, resumes=False, **rest):
        return await super().enter(pool, ticket, resumes=False, **rest)


class _KnowsNoForce(MemoryPoolBackend):
    async def enter(self, pool, ticket, *, force=False, **rest):
        return await super().enter(pool, ticket, force=False, **rest)


class _LeasesAreForEver(MemoryPoolBackend):
    async def enter(self, pool, ticket, *, lease, **rest):
        return await super().enter(pool, ticket, lease=math.inf, **rest)


class _WhoeverAsksFirst(MemoryPoolBackend):
    """The one who asks is put in front."""

    async def enter(self, pool, ticket, **rest):
        queue = self._queue(pool)
        new = queue._new
        if ticket in new:
            queue._new = {ticket: new.pop(ticket), **new}
        return await super().enter(pool, ticket, **rest)


class _KeepsPlacesOfThoseWhoLeave(MemoryPoolBackend):
    async def leave(self, pool, ticket):
        self._queue(pool)._held.pop(ticket, None)


class _KeepsSlotsOfThoseWhoLeave(MemoryPoolBackend):
    async def leave(self, pool, ticket):
        self._queue(pool)._drop(ticket)


class _RenewsNothing(MemoryPoolBackend):
    async def renew(self, pool, held, waiting, *, limits, lease):
        return await super().renew(pool, (), waiting, limits=limits, lease=0.01)


class _HasNoRate(MemoryPoolBackend):
    async def enter(self, pool, ticket, *, limits, **rest):
        return await super().enter(pool, ticket, limits=Limits(limits.sessions), **rest)


class _CountsNoReconnects(MemoryPoolBackend):
    async def connected(self, pool, *, limits):
        count = await super().connected(pool, limits=limits)
        self._queue(pool)._connects.pop()
        return count - 1


class _ForgetsTheRate(MemoryPoolBackend):
    async def enter(self, pool, ticket, **rest):
        self._queue(pool)._connects = deque()
        return await super().enter(pool, ticket, **rest)


class _OnePoolForAll(MemoryPoolBackend):
    def _queue(self, pool):
        return super()._queue("one")


class _CountsPlacesFromZero(MemoryPoolBackend):
    async def enter(self, pool, ticket, **rest):
        place = await super().enter(pool, ticket, **rest)
        return replace(place, place=max(place.place - 1, 0))


BUGS = [
    _OneTooMany,
    _KnowsNoResumes,
    _KnowsNoForce,
    _LeasesAreForEver,
    _WhoeverAsksFirst,
    _KeepsPlacesOfThoseWhoLeave,
    _KeepsSlotsOfThoseWhoLeave,
    _RenewsNothing,
    _HasNoRate,
    _CountsNoReconnects,
    _ForgetsTheRate,
    _OnePoolForAll,
    _CountsPlacesFromZero,
]
CHECKS = [name for name in dir(PoolConformance) if name.startswith("test_") and "many_at_a_time" not in name]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_backend_with_a_bug_fails(bug):
    failed = []
    for name in CHECKS:

        class Case(TestMemory):
            def __init__(self):
                self.now = 0.0
                self.backend = bug(lambda: self.now)

        try:
            getattr(Case(), name)()
        except AssertionError:
            failed.append(name)
    assert failed
