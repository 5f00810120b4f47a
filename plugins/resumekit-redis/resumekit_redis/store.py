"""`RedisStore`: entries and leases on one Redis or Valkey server, which any number of processes share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from resumekit.errors import KeyInUse
from resumekit.stores import UNREADABLE, Claim, Entry
from resumekit_redis.scripts import CLAIM, RELEASE, RENEW, SAVE, Script
from resumekit_redis.server import Server, microseconds

__all__ = ["RedisStore"]

_RIGHTS = (
    "~PREFIX* +eval +evalsha +time +hget +hmget +hset +hdel +del +pexpireat (and +wait, where the URL asks for it)"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class RedisStore:
    """Keeps entries in a Redis or Valkey server.

    Args:
        url: ``redis://``, ``rediss://``, ``valkey://``, ``valkeys://`` or ``unix://``, as redis-py reads them. Of the
            settings after ``?``, two are the store's own: ``prefix`` of all keys (``resumekit:``), and ``wait``, the
            number of replicas that have to confirm what is written (0).

    Raises:
        ConfigurationError: The URL names no server, or has a setting that does not exist.
    """

    def __init__(self, url: str) -> None:
        self._server = Server(url, "the handle store", _RIGHTS)

    async def claim(self, key: str, owner: str, seconds: float, *, force: bool = False) -> Claim:
        """See `HandleStore`."""
        answer = await self._run(CLAIM, key, owner, microseconds(seconds), int(force), confirmed=True)
        if len(answer) == 1:
            raise KeyInUse(int(answer[0]) / 1e6)
        fence, held, data, sequence, expires = answer
        entry = None
        if data is not None:
            try:
                expires_at = _EPOCH + int(expires) * _MICROSECOND
                entry = Entry(data=data, sequence=int(sequence), expires_at=expires_at)
            except (TypeError, ValueError, OverflowError):
                tomorrow = datetime.now(UTC) + timedelta(days=1)
                entry = Entry(data=UNREADABLE + b"it was damaged in the server", sequence=0, expires_at=tomorrow)
        return Claim(fence=int(fence), entry=entry, held_for=int(held) / 1e6)

    async def renew(self, key: str, fence: int, seconds: float) -> bool:
        """See `HandleStore`."""
        return bool(await self._run(RENEW, key, fence, microseconds(seconds)))

    async def save(self, key: str, fence: int, entry: Entry) -> bool:
        """See `HandleStore`."""
        expires = (entry.expires_at - _EPOCH) // _MICROSECOND
        arguments = (fence, entry.sequence, entry.data, expires, expires // 1000 + 1)
        return bool(await self._run(SAVE, key, *arguments, confirmed=True))

    async def release(self, key: str, fence: int) -> None:
        """See `HandleStore`."""
        await self._run(RELEASE, key, fence)

    async def close(self) -> None:
        """Let go of the connections; the last one that uses them closes them."""
        await self._server.close()

    async def _run(self, script: Script, key: str, *arguments: object, confirmed: bool = False) -> Any:
        """Run a script; `confirmed`: what it writes has to be, if the URL says so.

        Raises:
            ConfigurationError: The server, or what it holds, cannot be used as it is.
            OSError: It cannot be used now.
        """
        keys = (self._server.key("", key), self._server.key("", key, ":entry"))
        return await self._server.run(script, keys, arguments, confirmed=confirmed)

    def __repr__(self) -> str:
        return f"RedisStore(prefix={self._server.prefix!r})"
