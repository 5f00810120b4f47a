"""`RedisPoolBackend`: slots and queues of session pools on one Redis or Valkey server, for all processes of a fleet."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

from resumekit.pool import Limits, Place
from resumekit_redis.pool_scripts import CONNECTED, ENTER, LEAVE, RENEW_ALL
from resumekit_redis.scripts import Script
from resumekit_redis.server import Server, microseconds

__all__ = ["RedisPoolBackend"]

_RIGHTS = (
    "~PREFIX* +eval +evalsha +time +zadd +zcard +zrange +zrangebyscore +zrank +zrem +zremrangebyscore +zrevrangebyscore"
    " +zscore +pexpireat"
)
_AT_ONCE = 500
"""Tickets of one step of `renew`: the server does nothing else meanwhile."""


class RedisPoolBackend:
    """Keeps slots and queues in a Redis or Valkey server.

    `SessionPool(50, backend=url)` makes one, and closes it. One that you make serves any number of pools and event loops.

    Args:
        url: As for `RedisStore`; ``wait`` means nothing here.

    Raises:
        ConfigurationError: The URL names no server, or has a setting that does not exist.
    """

    def __init__(self, url: str) -> None:
        self._server = Server(url, "the pool's backend", _RIGHTS)

    async def enter(
        self, pool: str, ticket: str, *, limits: Limits, lease: float, resumes: bool = False, force: bool = False
    ) -> Place:
        """See `PoolBackend`."""
        arguments = (*_limits(limits), ticket, microseconds(lease), int(resumes), int(force))
        (place,) = _places(await self._run(ENTER, pool, *arguments))
        return place

    async def renew(
        self, pool: str, held: Collection[str], waiting: Collection[str], *, limits: Limits, lease: float
    ) -> Sequence[Place]:
        """See `PoolBackend`; more than a few hundred tickets are renewed in several steps, those that are held first."""
        tickets, having = [*held, *waiting], len(held)
        places: list[Place] = []
        for at in range(0, max(len(tickets), 1), _AT_ONCE):
            some = tickets[at : at + _AT_ONCE]
            those_held = min(max(having - at, 0), len(some))
            answer = await self._run(RENEW_ALL, pool, *_limits(limits), microseconds(lease), those_held, *some)
            places += _places(answer)
        return places

    async def leave(self, pool: str, ticket: str) -> None:
        """See `PoolBackend`."""
        await self._run(LEAVE, pool, ticket)

    async def connected(self, pool: str, *, limits: Limits) -> int:
        """See `PoolBackend`."""
        return int(await self._run(CONNECTED, pool, *_limits(limits)))

    async def close(self) -> None:
        """Let go of the connections; the last one that uses them closes them."""
        await self._server.close()

    async def _run(self, script: Script, pool: str, *arguments: object) -> Any:
        keys = [self._server.key("pool:", pool, f":{name}") for name in ("held", "queue", "leases", "connects")]
        return await self._server.run(script, keys, arguments)

    def __repr__(self) -> str:
        return f"RedisPoolBackend(prefix={self._server.prefix!r})"


def _limits(limits: Limits) -> tuple[int, int, int]:
    sessions = -1 if limits.sessions is None else limits.sessions
    rate = limits.connects
    return (sessions, -1, 0) if rate is None else (sessions, rate.count, microseconds(rate.seconds))


def _places(answer: Sequence[Any]) -> list[Place]:
    waiting, sessions, wait = map(int, answer[:3])
    places: list[Place] = []
    for held, place in zip(answer[3::2], answer[4::2], strict=True):
        retry_after = math.inf if wait < 0 or not place else wait / 1e6
        places.append(Place(held=bool(held), place=place, waiting=waiting, sessions=sessions, retry_after=retry_after))
    return places
