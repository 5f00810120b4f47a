"""`RedisStore`: entries and leases on one Redis or Valkey server, which any number of processes share."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from resumekit.errors import ConfigurationError, KeyInUse
from resumekit.stores import UNREADABLE, Claim, Entry
from resumekit_redis.scripts import CLAIM, RELEASE, RENEW, SAVE, Script

__all__ = ["RedisStore"]

_PREFIX = "resumekit:"
_LONGEST = 366 * 86400.0
"""Seconds of a lease: more is no date that the server knows."""
_CONNECTIONS = 32
"""Of one pool, at most; a step that finds none free waits for one."""
_WAIT_MS = 1000
"""How long replicas may take to confirm (`wait`)."""
_SCHEMES = {"redis": "redis", "rediss": "rediss", "unix": "unix", "valkey": "redis", "valkeys": "rediss"}
_OF_REDIS_PY = {
    "client_name", "db", "health_check_interval", "max_connections", "password", "protocol", "socket_connect_timeout",
    "socket_keepalive", "socket_timeout", "username",
}  # fmt: skip
_BAD_VALUE = "a setting in the URL of the handle store has a value that makes no sense"
_CHECK = "check that the server runs, and its address in the URL"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class _Address:
    """What a URL says.

    Raises:
        ConfigurationError: It names no server, or has a setting that does not exist.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        settings = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.prefix = settings.pop("prefix", _PREFIX)
        wait = settings.pop("wait", "0")
        unknown = [name for name in settings if name not in _OF_REDIS_PY and not name.startswith("ssl_")]
        if unknown:
            raise ConfigurationError(
                f"the URL of the handle store has the setting {unknown[0]!r}, which does not exist; there are 'prefix',"
                f" 'wait', 'ssl_...' and {', '.join(map(repr, sorted(_OF_REDIS_PY)))}"
            )
        if not wait.isdecimal():
            raise ConfigurationError("wait= in the URL of the handle store is a number of replicas, such as wait=1")
        self.wait = int(wait)
        self.url = urlunsplit((_SCHEMES[parts.scheme], parts.netloc, parts.path, urlencode(settings), ""))
        """Without the settings that are our own: stores that share it share their connections."""
        if not _names_a_server(parts):
            raise ConfigurationError(
                "the URL of the handle store names no server; write 'redis://HOST:6379/0',"
                " 'rediss://USER:PASSWORD@HOST:6380/0' (TLS) or 'unix:///run/valkey.sock'; characters such as '/' and"
                " '#' in a password are written as %2F and %23"
            )
        try:
            self.options: dict[str, Any] = {**parse_url(self.url)}
        except ValueError:
            raise ConfigurationError(_BAD_VALUE) from None


def _names_a_server(parts: SplitResult) -> bool:
    database = parts.path.strip("/")
    if parts.scheme == "unix":
        return bool(database)
    try:
        return bool(parts.hostname) and parts.port != 0 and (not database or database.isdecimal())
    except ValueError:  # the port
        return False


class _Pool:
    """The connections to one server that the stores of one event loop share."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.users = 0
        settings: dict[str, Any] = {"max_connections": _CONNECTIONS, **options}
        self.connections = BlockingConnectionPool(
            **settings,
            timeout=None,  # the session has one
            decode_responses=False,
            retry=Retry(NoBackoff(), 1),  # at once, over a new connection; the session does the rest
        )
        self.client: Any = Redis(connection_pool=self.connections)  # its commands have no types


_POOLS: dict[asyncio.AbstractEventLoop, dict[str, _Pool]] = {}
_POOLING = threading.Lock()


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
        self._address = _Address(url)
        self._joined: dict[asyncio.AbstractEventLoop, _Pool] = {}

    async def claim(self, key: str, owner: str, seconds: float, *, force: bool = False) -> Claim:
        """See `HandleStore`."""
        answer = await self._run(CLAIM, key, owner, _microseconds(seconds), int(force), confirmed=True)
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
        return bool(await self._run(RENEW, key, fence, _microseconds(seconds)))

    async def save(self, key: str, fence: int, entry: Entry) -> bool:
        """See `HandleStore`."""
        expires = (entry.expires_at - _EPOCH) // _MICROSECOND
        arguments = (fence, entry.sequence, entry.data, expires, expires // 1000 + 1)
        return bool(await self._run(SAVE, key, *arguments, confirmed=True))

    async def release(self, key: str, fence: int) -> None:
        """See `HandleStore`."""
        await self._run(RELEASE, key, fence)

    async def close(self) -> None:
        """Let go of the connections; the last store that uses them closes them."""
        here = asyncio.get_running_loop()
        for loop in list(self._joined):
            if loop is here:
                await self._leave(loop)
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._leave(loop), loop))
            else:
                self._joined.pop(loop)

    async def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        pool = self._joined.pop(loop)
        with _POOLING:
            pool.users -= 1
            if pool.users:
                return
            pools = _POOLS[loop]
            del pools[self._address.url]
            if not pools:
                del _POOLS[loop]
        await pool.connections.aclose()

    def _pool(self) -> _Pool:
        loop = asyncio.get_running_loop()
        pool = self._joined.get(loop)
        if pool is None:
            with _POOLING:
                for ended in [one for one in _POOLS if one.is_closed()]:
                    del _POOLS[ended]  # nobody can close its connections any more
                pools = _POOLS.setdefault(loop, {})
                if self._address.url not in pools:
                    pools[self._address.url] = _Pool(self._address.options)
                pool = self._joined[loop] = pools[self._address.url]
                pool.users += 1
        return pool

    async def _run(self, script: Script, key: str, *arguments: object, confirmed: bool = False) -> Any:
        """Run a script; `confirmed`: what it writes has to be, if the URL says so.

        Raises:
            ConfigurationError: The server, or what it holds, cannot be used as it is.
            OSError: It cannot be used now.
        """
        tag = key.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")  # the slot is that of what stands in {}
        lease = f"{self._address.prefix}{{{tag}}}".encode("utf-8", "surrogatepass")
        keys = (lease, lease + b":entry")
        wait = self._address.wait if confirmed else 0
        pool: _Pool | None = None
        answers: list[Any] | None = None
        try:
            pool = self._pool()
            with suppress(exceptions.NoScriptError):  # the server has not seen it, or forgot it
                answers = await _ask(pool.client, wait, "EVALSHA", script.sha, 2, *keys, *arguments)
            if answers is None:
                answers = await _ask(pool.client, wait, "EVAL", script.text, 2, *keys, *arguments)
        except exceptions.ReadOnlyError as error:
            if pool is not None:
                await pool.connections.disconnect(inuse_connections=False)  # the name may lead to another server by now
            raise _explained(error) from error
        except (exceptions.RedisError, exceptions.RedisClusterException, OSError, ValueError, TypeError) as error:
            raise _explained(error) from error
        if wait and answers[1] < wait:
            raise OSError(f"{answers[1]} of {wait} replicas confirmed within {_WAIT_MS / 1000:g} s what was written")
        return answers[0]

    def __repr__(self) -> str:
        return f"RedisStore(prefix={self._address.prefix!r})"


async def _ask(client: Any, wait: int, *command: Any) -> list[Any]:
    if not wait:
        return [await client.execute_command(*command)]
    async with client.pipeline(transaction=False) as pipeline:  # WAIT is about what this connection wrote
        pipeline.execute_command(*command)
        pipeline.execute_command("WAIT", wait, _WAIT_MS)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


def _microseconds(seconds: float) -> int:
    return int(max(0.0, min(seconds, _LONGEST)) * 1e6)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _explained(error: Exception) -> Exception:
    """Say what is wrong, and what to do, without a word of the URL: the messages of redis-py quote the host."""
    said = str(error)
    match error:
        case exceptions.AuthenticationError() | exceptions.AuthenticationWrongNumberOfArgsError():
            return ConfigurationError(
                "the handle store refuses the user name or the password, or asks for one; write them into the URL, as in"
                " 'rediss://USER:PASSWORD@HOST:6380/0'"
            )
        case exceptions.NoPermissionError() | exceptions.AuthorizationError():
            return _no_permission()
        case exceptions.ReadOnlyError():
            return OSError("the handle store is a read-only replica; name the primary in the URL")
        case exceptions.OutOfMemoryError():
            return OSError(
                "the handle store is out of memory; raise its maxmemory (and leave maxmemory-policy at noeviction)"
            )
        case exceptions.BusyLoadingError():
            return OSError("the handle store is starting, and still loads its data")
        case exceptions.MovedError() | exceptions.AskError() | exceptions.ClusterCrossSlotError():
            return ConfigurationError(
                "the handle store is a node of a cluster, which this version does not follow; name a single server (with"
                " replicas, if you like), or a proxy that hides the cluster"
            )
        case exceptions.MasterDownError() | exceptions.ClusterDownError() | exceptions.TryAgainError():
            return OSError("the handle store has no primary at the moment")
        case exceptions.ResponseError():
            return _refused(said)
        case _:
            return _unreachable(error)


def _no_permission() -> ConfigurationError:
    return ConfigurationError(
        "the user of the handle store may not do what is needed; give it ~PREFIX* +eval +evalsha +time +hget +hmget +hset"
        " +hdel +del +pexpireat (and +wait, where the URL asks for it)"
    )


def _refused(said: str) -> Exception:
    if "WRONGTYPE" in said:
        return ConfigurationError(
            "something else stands under the key of this conversation in the handle store; give the store a prefix of its"
            " own: '?prefix=calls:' at the end of the URL"
        )
    if "NOPERM" in said or "ACL failure" in said or "can't run this command" in said:
        return _no_permission()
    if "DB index is out of range" in said or "invalid DB index" in said:
        return ConfigurationError("the handle store has no database of this number; correct the end of the URL")
    if said.startswith(("BUSY", "MISCONF", "NOREPLICAS", "UNBLOCKED")) or "max number of clients" in said:
        return OSError(f"the handle store refused a write for now ({said.partition(' ')[0]})")
    return ConfigurationError(
        f"the handle store answered {said.partition(' ')[0]}; it has to be Redis 6.2, Valkey 7.2, or newer, with Lua scripts"
    )


def _unreachable(error: Exception) -> Exception:
    for cause in _causes(error):
        if isinstance(cause, exceptions.ResponseError | exceptions.AuthenticationError):
            return _explained(cause)  # what the server said to the first commands of a connection
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ConfigurationError(
                "the certificate of the handle store is not trusted; name its authority in the URL, as in"
                " '?ssl_ca_certs=/etc/ssl/redis.pem'"
            )
        if isinstance(cause, PermissionError):
            return ConfigurationError("the socket of the handle store may not be opened by this user")
        if isinstance(cause, TypeError | ValueError):
            return ConfigurationError(_BAD_VALUE)
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            return ConnectionError("the handle store cannot be reached: nobody knows the name of its host; " + _CHECK)
        if isinstance(cause, OSError) and cause.errno is not None and cause.errno in errno.errorcode:
            return ConnectionError(f"the handle store cannot be reached: {os.strerror(cause.errno)}; {_CHECK}")
    what = "it did not answer in time" if isinstance(error, exceptions.TimeoutError) else "the connection was lost"
    return ConnectionError(f"the handle store cannot be reached: {what}")
