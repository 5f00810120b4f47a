"""What holds the slots and the queue of session pools: the Protocol of a backend, its values, and the one in memory."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

__all__ = ["Limits", "MemoryPoolBackend", "Place", "PoolBackend", "Rate"]


class Rate(Struct, frozen=True):
    """So many in any span of so many seconds."""

    count: int
    """At most; 1 or more."""
    seconds: float = 60.0
    """More than 0."""


class Limits(Struct, frozen=True):
    """What a backend admits by; the same in every process of a fleet."""

    sessions: int | None = None
    """At a time; None: any number."""
    connects: Rate | None = None
    """New sessions in a span of time, resumes counted along."""


class Place(Struct, frozen=True):
    """Where a session stands."""

    held: bool
    """It has its slot."""
    place: int = 0
    """In the queue, from 1; 0: not in it."""
    waiting: int = 0
    """Sessions in the queue."""
    sessions: int = 0
    """Slots that are taken."""
    retry_after: float = math.inf
    """Seconds after which the rate may let the next one in; infinite where it is slots that are missing."""


@runtime_checkable
class PoolBackend(Protocol):
    """Holds the slots and the queue of pools, so that several processes share them.

    `pool` is the pool's name. A ticket is one session's, any text that no other session has. A slot, and a place in the
    queue, is its ticket's for `lease` seconds from the last call that named it, by the backend's own clock; then it goes
    to the next one, as its process must be dead. At each call the backend gives free slots to the first in the queue,
    whoever calls: resumes before new sessions, and each in the order of their first `enter`. New sessions also need room
    in `limits.connects`; each that is let in, resumes too, takes from it.

    Every method is one atomic step, may be called from any event loop, and several at a time. What it raises is logged,
    and asked again; a `ConfigurationError` from `enter` goes to the application.
    """

    async def enter(
        self, pool: str, ticket: str, *, limits: Limits, lease: float, resumes: bool = False, force: bool = False
    ) -> Place:
        """Take a slot, or a place at the end of the queue; or tell where the ticket stands. With `force`, a slot anyway."""
        ...

    async def renew(
        self, pool: str, held: Collection[str], waiting: Collection[str], *, limits: Limits, lease: float
    ) -> Sequence[Place]:
        """Give tickets another `lease` seconds.

        Args:
            pool: Name of the pool.
            held: Have slots. One whose lease was over has its slot again, whatever the limit: its session lives.
            waiting: Stand in the queue, or have got their slots since.
            limits: As for `enter`.
            lease: As for `enter`.

        Returns:
            Where each of `waiting` stands; for one that is not known any more, a place of 0.
        """
        ...

    async def leave(self, pool: str, ticket: str) -> None:
        """Give back the slot, or the place. Idempotent."""
        ...

    async def connected(self, pool: str, *, limits: Limits) -> int:
        """Count a reconnect, and return how many connects there were in the time of `limits.connects`, which is set."""
        ...

    async def close(self) -> None:
        """Let go of connections; slots and places stay."""
        ...


class _Queue:
    """The slots and the queue of one pool in memory."""

    __slots__ = ("_clock", "_connects", "_earliest", "_held", "_new", "_resumes")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._held: dict[str, float] = {}
        """Ticket -> when its lease ends; so are the other two, in the order of arrival."""
        self._resumes: dict[str, float] = {}
        self._new: dict[str, float] = {}
        self._connects: deque[float] = deque()
        self._earliest = math.inf
        """No lease ends before."""

    def settle(self, limits: Limits) -> None:
        """Forget those whose lease is over, and let in whom there is room for."""
        now = self._clock()
        if now >= self._earliest:
            for tickets in (self._held, self._resumes, self._new):
                for ticket in [ticket for ticket, ends in tickets.items() if ends <= now]:
                    del tickets[ticket]
            ends = itertools.chain(self._held.values(), self._resumes.values(), self._new.values())
            self._earliest = min(ends, default=math.inf)
        rate = limits.connects
        while rate is not None and self._connects and self._connects[0] <= now - rate.seconds:
            self._connects.popleft()
        while limits.sessions is None or len(self._held) < limits.sessions:
            if self._resumes:
                self._let_in(self._resumes, limits)
            elif self._new and (rate is None or len(self._connects) < rate.count):
                self._let_in(self._new, limits)
            else:
                break

    def _let_in(self, queue: dict[str, float], limits: Limits) -> None:
        ticket = next(iter(queue))
        self._held[ticket] = queue.pop(ticket)
        self.count(limits)

    def count(self, limits: Limits) -> int:
        """Count a connect, where there is a rate."""
        if limits.connects is not None:
            self._connects.append(self._clock())
        return len(self._connects)

    def enter(self, ticket: str, limits: Limits, lease: float, *, resumes: bool, force: bool) -> Place:
        ends = self._clock() + lease
        self._earliest = min(self._earliest, ends)
        for tickets in (self._held, self._resumes, self._new):
            if ticket in tickets:
                tickets[ticket] = ends
                break
        else:
            (self._resumes if resumes else self._new)[ticket] = ends
        if force and ticket not in self._held:
            self._drop(ticket)
            self._held[ticket] = ends
            self.count(limits)
        self.settle(limits)
        return self._place(ticket, self._rank(ticket), limits)

    def renew(self, held: Collection[str], waiting: Collection[str], limits: Limits, lease: float) -> Sequence[Place]:
        ends = self._clock() + lease
        self._earliest = min(self._earliest, ends)
        for ticket in held:
            self._drop(ticket)
            self._held[ticket] = ends
        for tickets in (self._held, self._resumes, self._new):
            for ticket in waiting:
                if ticket in tickets:
                    tickets[ticket] = ends
        self.settle(limits)
        ranks = {ticket: rank for rank, ticket in enumerate(itertools.chain(self._resumes, self._new), 1)}
        return [self._place(ticket, ranks.get(ticket, 0), limits) for ticket in waiting]

    def leave(self, ticket: str) -> None:
        self._held.pop(ticket, None)
        self._drop(ticket)

    def _drop(self, ticket: str) -> None:
        self._resumes.pop(ticket, None)
        self._new.pop(ticket, None)

    def _rank(self, ticket: str) -> int:
        waiting = len(self._resumes) + len(self._new)
        if self._new and next(reversed(self._new)) == ticket:  # who has just come: no need to count
            return waiting
        queue = enumerate(itertools.chain(self._resumes, self._new), 1)
        return 0 if ticket in self._held else next((rank for rank, other in queue if other == ticket), 0)

    def _place(self, ticket: str, rank: int, limits: Limits) -> Place:
        by_rate = limits.connects is not None and (limits.sessions is None or len(self._held) < limits.sessions)
        retry_after = math.inf
        if rank and by_rate and limits.connects is not None and self._connects:
            retry_after = max(self._connects[0] + limits.connects.seconds - self._clock(), 0.0)
        return Place(
            held=ticket in self._held,
            place=rank,
            waiting=len(self._resumes) + len(self._new),
            sessions=len(self._held),
            retry_after=retry_after,
        )


class MemoryPoolBackend:
    """Slots and queues in this process's memory; for tests, and as the pattern of others.

    Args:
        clock: Seconds; by default the running event loop's.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._queues: dict[str, _Queue] = {}

    def _queue(self, pool: str) -> _Queue:
        return self._queues.setdefault(pool, _Queue(self._clock))

    async def enter(
        self, pool: str, ticket: str, *, limits: Limits, lease: float, resumes: bool = False, force: bool = False
    ) -> Place:
        """See `PoolBackend`."""
        queue = self._queue(pool)
        queue.settle(limits)  # before: whose lease is over is not prolonged
        return queue.enter(ticket, limits, lease, resumes=resumes, force=force)

    async def renew(
        self, pool: str, held: Collection[str], waiting: Collection[str], *, limits: Limits, lease: float
    ) -> Sequence[Place]:
        """See `PoolBackend`."""
        return self._queue(pool).renew(held, waiting, limits, lease)

    async def leave(self, pool: str, ticket: str) -> None:
        """See `PoolBackend`."""
        self._queue(pool).leave(ticket)

    async def connected(self, pool: str, *, limits: Limits) -> int:
        """See `PoolBackend`."""
        queue = self._queue(pool)
        queue.settle(limits)
        return queue.count(limits)

    async def close(self) -> None:
        """See `PoolBackend`."""
