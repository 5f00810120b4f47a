"""`Server`: how a store and a pool's backend reach a Redis or Valkey server, and what they say where they do not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from resumekit.errors import ConfigurationError
from resumekit_redis.explainer import Explainer
from resumekit_redis.scripts import Script

__all__ = ["Server", "microseconds"]

_PREFIX = "resumekit:"
_LONGEST = 366 * 86400.0
"""Seconds of a lease: more is no date that the server knows."""
_CONNECTIONS = 32
"""Of one pool, at most; a step that finds none free waits for one."""
_CONNECT = 2.0
"""Seconds for a connection, handshake and all. It is tried twice, and why it fails is to be told before the session's own
time-out is over (`Policy.store_timeout`)."""
_WAIT_MS = 1000
"""How long replicas may take to confirm (`wait`)."""
_SCHEMES = {"redis": "redis", "rediss": "rediss", "unix": "unix", "valkey": "redis", "valkeys": "rediss"}
_OF_REDIS_PY = {
    "client_name", "db", "health_check_interval", "max_connections", "password", "protocol", "socket_connect_timeout",
    "socket_keepalive", "socket_timeout", "username",
}  # fmt: skip


class _Address:
    """What a URL says.

    Raises:
        ConfigurationError: It names no server, or has a setting that does not exist.
    """

    def __init__(self, url: str, what: str) -> None:
        parts = _parts(url)
        settings = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.prefix = settings.pop("prefix", _PREFIX)
        wait = settings.pop("wait", "0")
        unknown = [name for name in settings if name not in _OF_REDIS_PY and not name.startswith("ssl_")]
        if unknown:
            raise ConfigurationError(
                f"the URL of {what} has the setting {unknown[0]!r}, which does not exist; there are 'prefix',"
                f" 'wait', 'ssl_...' and {', '.join(map(repr, sorted(_OF_REDIS_PY)))}"
            )
        if not wait.isdecimal():
            raise ConfigurationError(f"wait= in the URL of {what} is a number of replicas, such as wait=1")
        self.wait = int(wait)
        self.url = urlunsplit((_SCHEMES[parts.scheme], parts.netloc, parts.path, urlencode(settings), ""))
        """Without the settings that are our own: those who share it share their connections."""
        if not _names_a_server(parts):
            raise ConfigurationError(
                f"the URL of {what} names no server; write 'redis://HOST:6379/0',"
                " 'rediss://USER:PASSWORD@HOST:6380/0' (TLS) or 'unix:///run/valkey.sock'; characters such as '/' and"
                " '#' in a password are written as %2F and %23"
            )
        try:
            self.options: dict[str, Any] = {**parse_url(self.url)}
        except ValueError:
            raise ConfigurationError(f"a setting in the URL of {what} has a value that makes no sense") from None


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # half an IPv6 address
        return urlsplit(url.partition("://")[0] + "://")


def _names_a_server(parts: SplitResult) -> bool:
    database = parts.path.strip("/")
    if parts.scheme == "unix":
        return bool(database)
    try:
        return bool(parts.hostname) and parts.port != 0 and (not database or database.isdecimal())
    except ValueError:  # the port
        return False


class _Pool:
    """The connections to one server that all stores and backends of one event loop share."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.users = 0
        settings: dict[str, Any] = {"max_connections": _CONNECTIONS, "socket_connect_timeout": _CONNECT, **options}
        self.connections = BlockingConnectionPool(
            **settings,
            timeout=None,  # the session has one
            decode_responses=False,
            retry=Retry(NoBackoff(), 1),  # at once, over a new connection; the session does the rest
        )
        self.client: Any = Redis(connection_pool=self.connections)  # its commands have no types


_POOLS: dict[asyncio.AbstractEventLoop, dict[str, _Pool]] = {}
_POOLING = threading.Lock()


class Server:
    """One server, as one store or backend reaches it.

    Args:
        url: As `RedisStore` and `RedisPoolBackend` take it.
        what: It is for, with its article, for messages.
        rights: That a user needs, as in `ACL SETUSER`.

    Raises:
        ConfigurationError: The URL names no server, or has a setting that does not exist.
    """

    def __init__(self, url: str, what: str, rights: str) -> None:
        self._address = _Address(url, what)
        self._explainer = Explainer(what, rights, tls=self._address.url.startswith("rediss:"))
        self._joined: dict[asyncio.AbstractEventLoop, _Pool] = {}

    @property
    def prefix(self) -> str:
        """Of all keys."""
        return self._address.prefix

    def key(self, before: str, name: str, after: str = "") -> bytes:
        """Return a key whose slot in a cluster is that of its name."""
        tag = name.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")  # the slot is that of what stands in {}
        return f"{self.prefix}{before}{{{tag}}}{after}".encode("utf-8", "surrogatepass")

    async def close(self) -> None:
        """Let go of the connections; the last one that uses them closes them."""
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

    async def run(
        self, script: Script, keys: Sequence[bytes], arguments: Sequence[object], *, confirmed: bool = False
    ) -> Any:
        """Run a script; `confirmed`: what it writes has to be, if the URL says so.

        Raises:
            ConfigurationError: The server, or what it holds, cannot be used as it is.
            OSError: It cannot be used now.
        """
        wait = self._address.wait if confirmed else 0
        pool: _Pool | None = None
        answers: list[Any] | None = None
        try:
            pool = self._pool()
            with _no_cancellation_lost():
                with suppress(exceptions.NoScriptError):  # the server has not seen it, or forgot it
                    answers = await _ask(pool.client, wait, "EVALSHA", script.sha, len(keys), *keys, *arguments)
                if answers is None:
                    answers = await _ask(pool.client, wait, "EVAL", script.text, len(keys), *keys, *arguments)
        except exceptions.ReadOnlyError as error:
            if pool is not None:
                await pool.connections.disconnect(inuse_connections=False)  # the name may lead to another server by now
            raise self._explainer.of(error) from error
        except (exceptions.RedisError, exceptions.RedisClusterException, OSError, ValueError, TypeError) as error:
            raise self._explainer.of(error) from error
        if wait and answers[1] < wait:
            raise OSError(f"{answers[1]} of {wait} replicas confirmed within {_WAIT_MS / 1000:g} s what was written")
        return answers[0]


@contextmanager
def _no_cancellation_lost() -> Generator[None]:
    """Raise what `asyncio.wait_for` of Python 3.11 drops, which redis-py sends with: a cancellation, or a time-out's."""
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    try:
        yield
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError


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


def microseconds(seconds: float) -> int:
    """Return them as the server counts, and no more than it knows."""
    return int(max(0.0, min(seconds, _LONGEST)) * 1e6)
