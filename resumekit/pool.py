"""How many sessions at a time, and how fast: `SessionPool`, its backends, and the documented quotas as data.

A pool knows two quotas. A *slot* is the right to one session at a time; a session keeps its own from its first dial to
its end, across every reconnect. The *connect rate* holds new sessions back; reconnects are never held, only counted.
What waits stands in one queue, resumes before new sessions, and each in the order of arrival.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Literal, TypeVar

from msgspec import Struct

from resumekit.core.events import Admitted, Event, Queued, QuotaStrained
from resumekit.errors import ConfigurationError, PoolTimeout
from resumekit.plugins import make_decisions, nobody_answers
from resumekit.pool_backend import Limits, MemoryPoolBackend, Place, PoolBackend, Rate

__all__ = ["TIERS", "Limits", "MemoryPoolBackend", "Place", "PoolBackend", "Rate", "SessionPool", "Slot", "Tier"]

_log = logging.getLogger("resumekit.pool")
_T = TypeVar("_T")
_PATIENCE = 5.0
"""Seconds for which a call of the backend may take."""
_DIAL_PATIENCE = 0.5
"""The same, where a connection waits for it."""


class Tier(Struct, frozen=True, kw_only=True):
    """A documented quota: data, and no promise of the service. Ask for your own project's figures."""

    sessions: int | None
    """Live sessions at a time."""
    connects: Rate | None = None
    """New connections."""
    operations: Rate | None = None
    """Creations, changes and deletions of stored sessions (of ADK's Vertex session service); nothing here limits them."""
    tokens_per_minute: int | None = None
    grade: Literal["A", "B", "C"]
    """A: seen on the wire; B: written by Google; C: told by users, or by pages that are gone."""


TIERS: Mapping[str, Tier] = MappingProxyType(
    {
        "gemini-free": Tier(sessions=3, grade="C"),
        "gemini-tier-1": Tier(sessions=50, tokens_per_minute=4_000_000, grade="C"),
        "gemini-tier-2": Tier(sessions=1000, tokens_per_minute=10_000_000, grade="C"),
        "gemini-tier-3": Tier(sessions=1000, tokens_per_minute=10_000_000, grade="C"),
        "vertex": Tier(sessions=1000, connects=Rate(10), operations=Rate(100), tokens_per_minute=4_000_000, grade="B"),
    }
)
"""Per project. On Vertex the sessions and tokens are of grade B, the rates of grade C."""


class _LastMinute:
    """A sum over the last minute, in steps of a second."""

    __slots__ = ("_steps", "_sum")

    def __init__(self) -> None:
        self._steps: deque[tuple[float, int]] = deque()
        self._sum = 0

    def add(self, now: float, amount: int) -> int:
        self._sum += amount
        if self._steps and now - self._steps[-1][0] < 1.0:
            at, so_far = self._steps.pop()
            self._steps.append((at, so_far + amount))
        elif amount:
            self._steps.append((now, amount))
        while self._steps and self._steps[0][0] <= now - 60.0:
            self._sum -= self._steps.popleft()[1]
        return self._sum


class SessionPool:
    """Lets sessions in: so many at a time, and so fast. `connect(..., pool=pool)`, or `async with pool.slot()`.

    One pool serves one event loop at a time. Without any limit it lets everybody in at once, and counts.

    Args:
        limit: Sessions at a time, from 1; None: any number.
        connect_rate: New sessions in any span of time. Reconnects are not held back, but take from it.
        tokens_per_minute: The quota of tokens; `tokens` tells what was used of it, and nothing is held back.
        warn_at: At this share of it `QuotaStrained` is told.
        timeout: Seconds that a new session may wait; None: for ever.
        resume_wait: Seconds that a session which goes on from a handle waits for a slot, in front of the queue; then it
            takes one over the limit, as somebody is in the middle of a conversation. `math.inf`: never.
        tell_every: Seconds between two `Queued` of a session that waits.
        backend: Where slots and queue are, if other processes share them: a URL that an installed plugin answers for, such
            as `redis://HOST:6379/0`, or a backend of your own, which you close.
        name: Of the pool, in the backend.
        lease: Seconds after which the backend gives a dead process's slots back.
        poll: Seconds between two questions to the backend whether it is somebody's turn.

    Raises:
        ConfigurationError: An argument makes no sense, or no plugin answers for the URL.
    """

    def __init__(
        self,
        limit: int | None = None,
        *,
        connect_rate: Rate | None = None,
        tokens_per_minute: int | None = None,
        warn_at: float = 0.8,
        # Time-outs
        timeout: float | None = 60.0,
        resume_wait: float = 10.0,
        tell_every: float = 5.0,
        # A fleet
        backend: PoolBackend | str | None = None,
        name: str = "resumekit",
        lease: float = 30.0,
        poll: float = 0.25,
    ) -> None:
        _check("limit", limit, at_least=1)
        _check("tokens_per_minute", tokens_per_minute, at_least=1)
        if not isinstance(connect_rate, Rate | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(
                f"connect_rate is {connect_rate!r}; give a resumekit.pool.Rate, such as Rate(10, 60)"
            )
        if connect_rate is not None and not (
            _is_number(connect_rate.count, at_least=1) and _is_number(connect_rate.seconds, above=0)
        ):
            raise ConfigurationError(f"connect_rate is {connect_rate}; give at least one in more than 0 s")
        for what, seconds in (("tell_every", tell_every), ("lease", lease), ("poll", poll), ("warn_at", warn_at)):
            if not _is_number(seconds, above=0):
                raise ConfigurationError(f"{what} is {seconds!r}; give more than 0")
        for what, wait in (("timeout", timeout), ("resume_wait", resume_wait)):
            if wait is not None and not _is_number(wait, at_least=0):
                raise ConfigurationError(f"{what} is {wait!r}; give 0 or more seconds")
        self.limits = Limits(limit, connect_rate)
        """What it admits by."""
        self._tokens_limit = tokens_per_minute
        self._warn_at = warn_at
        self._timeout = math.inf if timeout is None else timeout
        self._resume_wait = resume_wait
        self._shared = backend is not None
        self._backend = _backend_of(backend)
        self._closes = isinstance(backend, str)
        """The backend is its own."""
        self._asking = 0
        """Calls of the backend that are under way."""
        self._name = name
        self._lease = lease if self._shared else math.inf
        self._poll = poll
        self._beat = min(tell_every, lease / 3) if self._shared else tell_every
        self._gates = limit is not None or connect_rate is not None

        self._loop: asyncio.AbstractEventLoop | None = None
        self._tickets: dict[str, Slot] = {}
        """All that have entered."""
        self._queues: tuple[dict[str, Slot], dict[str, Slot]] = ({}, {})
        """Those that wait: resumes, and new ones."""
        self._advancing = asyncio.Lock()
        self._arriving = (asyncio.Lock(), asyncio.Lock())
        """Of each queue: one at a time enters, so that they stand in the backend's queue as in ours."""
        self._news = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._retry_after = math.inf
        self._failing = False
        self._minute = _LastMinute()
        self._strained: set[str] = set()
        self.reconnects = 0
        """Dials that were not a session's first, and so were not held back."""

    @classmethod
    def of_tier(
        cls,
        tier: str,
        *,
        timeout: float | None = 60.0,
        backend: PoolBackend | str | None = None,
        name: str = "resumekit",
    ) -> SessionPool:
        """Return a pool with a documented quota.

        Args:
            tier: A name in `TIERS`.
            timeout: As for `SessionPool`, as are the others.
            backend: Shared with other processes: the quota is the project's.
            name: Of the pool.

        Raises:
            ConfigurationError: There is no such tier.
        """
        quota = TIERS.get(tier)
        if quota is None:
            raise ConfigurationError(f"tier is {tier!r}; give one of {', '.join(TIERS)}")
        return cls(
            quota.sessions,
            connect_rate=quota.connects,
            tokens_per_minute=quota.tokens_per_minute,
            timeout=timeout,
            backend=backend,
            name=name,
        )

    @property
    def sessions(self) -> int:
        """Sessions of this process that were let in and have not left."""
        return sum(slot.held for slot in self._tickets.values())

    @property
    def waiting(self) -> int:
        """Sessions of this process that wait."""
        return len(self._queues[0]) + len(self._queues[1])

    @property
    def tokens(self) -> int:
        """Tokens that the sessions of this process used within the last minute, as the service told."""
        return self._minute.add(asyncio.get_running_loop().time(), 0)

    @contextlib.asynccontextmanager
    async def slot(
        self, *, resumes: bool = False, on_event: Callable[[Event], object] | None = None
    ) -> AsyncGenerator[Slot]:
        """Hold a slot for a session that no adapter opens.

        Args:
            resumes: It goes on from a handle.
            on_event: Called with `Queued`, `Admitted` and `QuotaStrained`; must not block. What it raises is logged.

        Raises:
            PoolTimeout: It took too long.
        """
        slot = self.admission(_nobody if on_event is None else functools.partial(_tell, on_event))
        try:
            await slot.enter(resumes=resumes)
            yield slot
        finally:
            await slot.leave()

    def admission(self, publish: Callable[[Event], object]) -> Slot:
        """Return what a driver needs: a slot that nobody has entered yet."""
        return Slot(self, publish)

    # ------------------------------------------------------------------ for slots

    async def enter(self, slot: Slot) -> None:
        """Let a slot in. Use `slot`, or an adapter."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._tickets:
                raise ConfigurationError("a SessionPool serves one event loop; make one for each, over one backend")
            self._loop, self._advancing, self._news = loop, asyncio.Lock(), asyncio.Event()
            self._arriving = (asyncio.Lock(), asyncio.Lock())
        self._tickets[slot.ticket] = slot
        if not self._gates:
            slot.held = True
            return
        started = loop.time()
        patience = self._resume_wait if slot.resumes else self._timeout
        try:
            async with asyncio.timeout(None if patience == math.inf else patience):
                await self._wait(slot)
        except TimeoutError:
            if not slot.held:  # it may have come in the same moment
                if not slot.resumes:
                    raise PoolTimeout(loop.time() - started, slot.place, slot.waiting) from None
                await self._force(slot)
        finally:
            self._unqueue(slot)
        if slot.queued:
            slot.publish(Admitted(waited=loop.time() - started))
        self._watch()

    async def _wait(self, slot: Slot) -> None:
        which = 0 if slot.resumes else 1
        while not await self._arrive(slot, which):  # noqa: ASYNC110 -- there is nothing else to wait for
            await asyncio.sleep(self._poll)
        if slot.turn is not None:
            self._watch()
            self._news.set()
            await slot.turn

    async def _arrive(self, slot: Slot, which: int) -> bool:
        """Take a slot, or a place in the queue; False: the backend did not answer."""
        async with self._arriving[which]:
            place = await self._enter(slot, first=True)
            if place is None:
                return False
            if place.held:
                slot.held = True
                return True
            slot.turn = asyncio.get_running_loop().create_future()
            self._queues[which][slot.ticket] = slot
        self._retry_after = min(self._retry_after, place.retry_after)
        slot.stands(place)
        return True

    async def _force(self, slot: Slot) -> None:
        """Let a resume in over the limit."""
        slot.held = True
        await self._enter(slot, force=True)

    async def leave(self, slot: Slot) -> None:
        """Take a slot back. Use `slot`, or an adapter."""
        if self._tickets.pop(slot.ticket, None) is None:
            return
        if not self._gates:
            return
        await self._ask(self._backend.leave(self._name, slot.ticket))
        if not self._shared:
            await self._advance()
        if self._shared or self._retry_after < math.inf:
            self._news.set()
        watcher = self._watcher
        if watcher is not None and not self._has_to_watch():
            self._watcher = None
            watcher.cancel()
            await asyncio.wait({watcher})
        if self._closes and not self._tickets and not self._asking:
            await self._ask(self._backend.close())

    async def dialling(self, slot: Slot) -> None:
        """Count a dial. Use `slot`, or an adapter."""
        if not slot.dialled:
            slot.dialled = True
            return
        self.reconnects += 1
        rate = self.limits.connects
        if rate is not None:
            count = await self._ask(self._backend.connected(self._name, limits=self.limits), patience=_DIAL_PATIENCE)
            if count is not None:
                self._strain(slot, "connects", count, rate.count, over=count > rate.count)

    def used(self, slot: Slot, tokens: int) -> None:
        """Count tokens. Use `slot`, or an adapter."""
        now = asyncio.get_running_loop().time()
        used = self._minute.add(now, tokens)
        if self._tokens_limit is not None:
            self._strain(slot, "tokens", used, self._tokens_limit, over=used >= self._warn_at * self._tokens_limit)

    def _strain(
        self, slot: Slot, what: Literal["sessions", "connects", "tokens"], used: int, limit: int, *, over: bool
    ) -> None:
        """Tell of a crossing, once."""
        if not over:
            self._strained.discard(what)
        elif what not in self._strained:
            self._strained.add(what)
            slot.publish(QuotaStrained(what=what, used=used, limit=limit))

    # ------------------------------------------------------------------ whose turn it is

    def _queued(self) -> list[Slot]:
        return [*self._queues[0].values(), *self._queues[1].values()]

    def _unqueue(self, slot: Slot) -> None:
        for queue in self._queues:
            queue.pop(slot.ticket, None)

    async def _advance(self) -> None:
        """Ask for the first in the queue, as long as they are let in."""
        async with self._advancing:
            self._retry_after = math.inf
            for queue in self._queues:
                while (first := next(iter(queue.values()), None)) is not None:
                    place = await self._enter(first)
                    if place is None or not place.held:
                        self._retry_after = min(self._retry_after, self._poll if place is None else place.retry_after)
                        break
                    self._let_in(first)

    def _let_in(self, slot: Slot) -> None:
        self._unqueue(slot)
        slot.held = True
        if slot.turn is not None and not slot.turn.done():
            slot.turn.set_result(None)

    def _has_to_watch(self) -> bool:
        return bool(self._queues[0] or self._queues[1]) or (self._shared and bool(self._tickets))

    def _watch(self) -> None:
        if self._watcher is None and self._has_to_watch():
            self._watcher = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        """Ask the backend now and then; whoever leaves last ends it."""
        loop = asyncio.get_running_loop()
        beat = loop.time() + self._beat
        try:
            while self._has_to_watch():
                pause = beat - loop.time()
                if self._queues[0] or self._queues[1]:
                    pause = min(pause, self._retry_after, self._poll if self._shared else math.inf)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(pause, 0.001)):
                        await self._news.wait()
                self._news.clear()
                if self._retry_after < math.inf or self._shared:
                    await self._advance()
                if loop.time() >= beat:
                    beat = loop.time() + self._beat
                    await self._renew()
        finally:
            if self._watcher is asyncio.current_task():
                self._watcher = None

    async def _renew(self) -> None:
        waiting = self._queued()
        held = [slot for slot in self._tickets.values() if slot.held] if self._shared else []
        places = await self._ask(
            self._backend.renew(
                self._name,
                [slot.ticket for slot in held],
                [slot.ticket for slot in waiting],
                limits=self.limits,
                lease=self._lease,
            )
        )
        ranks: dict[str, int] = {}
        for slot, place in zip(waiting, places or (), strict=False):
            if slot.ticket not in self._tickets:
                continue
            stands: Place | None = place
            if not (place.held or place.place):
                stands = await self._enter(slot)  # at the end: this process slept for longer than its lease
            if stands is not None and stands.held:
                self._let_in(slot)
            elif stands is not None:
                ranks[slot.ticket] = stands.place
                slot.stands(stands)
        for slot in held:
            await self._gone(slot)
        for queue in self._queues:  # an answer may have been lost
            ordered = sorted(queue.values(), key=lambda slot: ranks.get(slot.ticket, math.inf))
            queue.clear()
            queue.update((slot.ticket, slot) for slot in ordered)

    # ------------------------------------------------------------------ the backend

    async def _enter(self, slot: Slot, *, force: bool = False, first: bool = False) -> Place | None:
        place = await self._ask(
            self._backend.enter(
                self._name, slot.ticket, limits=self.limits, lease=self._lease, resumes=slot.resumes, force=force
            ),
            tells=first,
        )
        limit = self.limits.sessions
        if place is not None and limit is not None:
            self._strain(slot, "sessions", place.sessions, limit, over=place.sessions > limit)
        await self._gone(slot)
        return place

    async def _gone(self, slot: Slot) -> None:
        """Take back what a call has given to a session that left meanwhile."""
        if slot.ticket not in self._tickets:
            await self._ask(self._backend.leave(self._name, slot.ticket))

    async def _ask(self, asked: Awaitable[_T], *, patience: float = _PATIENCE, tells: bool = False) -> _T | None:
        """Await what the backend does; None where it failed, which is logged once until it answers again.

        With `tells`, a `ConfigurationError` is raised.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._asking += 1
        try:
            async with asyncio.timeout(patience):
                answer = await asked
        except Exception as error:  # a plugin's: those that have slots go on, and those that wait do
            if tells and isinstance(error, ConfigurationError):
                raise
            if not self._failing:
                self._failing = True
                _log.warning("the pool's backend does not answer: %s", type(error).__name__)
            return None
        finally:
            self._asking -= 1
        self._failing = False
        if loop.time() - started >= self._lease:
            return None  # this process stood still: what it was given may be another's by now
        return answer


class Slot:
    """One session's way through a pool; made by `SessionPool.slot`, and by adapters."""

    __slots__ = (
        "_pool", "dialled", "held", "place", "publish", "queued", "resumes", "ticket", "turn", "waiting"
    )  # fmt: skip

    def __init__(self, pool: SessionPool, publish: Callable[[Event], object]) -> None:
        self._pool = pool
        self.publish = publish
        self.ticket = uuid.uuid4().hex
        self.resumes = False
        self.held = False
        """It has its slot."""
        self.queued = False
        """It had to wait."""
        self.place = 0
        """In the queue, from 1, when it was last asked for."""
        self.waiting = 0
        """Sessions in the queue then."""
        self.turn: asyncio.Future[None] | None = None
        self.dialled = False

    def stands(self, place: Place) -> None:
        """Note the place, and tell where it has changed."""
        if (place.place, place.waiting) != (self.place, self.waiting):
            self.queued = True
            self.place, self.waiting = place.place, place.waiting
            self.publish(Queued(place=place.place, waiting=place.waiting))

    async def enter(self, *, resumes: bool = False) -> None:
        """See `resumekit.drivers.admission.Admission`."""
        self.resumes = resumes
        await self._pool.enter(self)

    async def dialling(self) -> None:
        """Tell that a connection is about to be opened; all but the first are reconnects."""
        await self._pool.dialling(self)

    def used(self, tokens: int) -> None:
        """Count so many tokens, say of a `usageMetadata`."""
        self._pool.used(self, tokens)

    async def leave(self) -> None:
        """Give the slot, or the place in the queue, back. Idempotent."""
        await self._pool.leave(self)


def _backend_of(backend: PoolBackend | str | None) -> PoolBackend:
    if backend is None:
        return MemoryPoolBackend()
    if isinstance(backend, str):
        found = make_decisions(report=_nobody).provide_pool_backend(backend)
        if found is None:
            raise nobody_answers(backend, "a pool's backend")
        return found
    if not isinstance(backend, PoolBackend):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"backend is a {type(backend).__name__}; give a URL, or a resumekit.pool.PoolBackend")
    return backend


def _nobody(event: Event) -> None:
    """Nobody listens."""


def _tell(listener: Callable[[Event], object], event: Event) -> None:
    try:
        listener(event)
    except Exception:  # noqa: BLE001 -- the application's: who waits behind it must not be held up
        _log.exception("on_event of a slot raised")


def _check(what: str, number: int | None, *, at_least: int) -> None:
    if number is not None and not _is_number(number, at_least=at_least):
        raise ConfigurationError(f"{what} is {number!r}; give at least {at_least}, or None for any")


def _is_number(value: object, *, at_least: float = -math.inf, above: float = -math.inf) -> bool:
    """Tell whether it is a number, and not too low a one: it may have come from the environment, as text."""
    return isinstance(value, int | float) and value >= at_least and value > above
