"""Handles and leases in a table of PostgreSQL: each step is one statement, and the server's clock is the one that counts.

No step leaves a transaction open between two messages of the client, so that a process that is frozen or killed holds
no lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import unquote

import asyncpg  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]
from msgspec import Struct

from resumekit.errors import ConfigurationError, KeyInUse
from resumekit.stores import Claim, Entry
from resumekit_postgres.schema import quoted, ready

__all__ = ["PostgresStore"]

_LONGEST_KEY = 1000
"""Bytes: an index takes 2,700."""
_CLEAN_EVERY = 600.0
"""Seconds, for each process."""
_CONNECT = 10.0
"""Seconds."""
_T = TypeVar("_T")

# What is said of a row, `clock_timestamp()` is asked after it was locked. A fence is never smaller than the microseconds
# since 1970: it is also greater than those of rows that were deleted, or lost with a server, since.
_CLAIM = """
WITH claimed AS (
    INSERT INTO {table} AS kept (key, fence, owner, lease_until, held_until, expires_at)
    VALUES (
        $1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, $2,
        clock_timestamp() + $3::float8 * interval '1 second', clock_timestamp(), clock_timestamp()
    )
    ON CONFLICT (key) DO UPDATE SET
        fence = greatest(kept.fence + 1, excluded.fence),
        owner = excluded.owner,
        lease_until = clock_timestamp() + $3::float8 * interval '1 second',
        held_until = CASE
            WHEN kept.owner IN ('', excluded.owner) THEN kept.held_until
            ELSE greatest(kept.held_until, kept.lease_until)
        END
    WHERE $4::boolean OR kept.owner IN ('', excluded.owner) OR kept.lease_until <= clock_timestamp()
    RETURNING
        fence, greatest(extract(epoch FROM held_until - clock_timestamp())::float8, 0) AS held_for, sequence, expires_at, data
)
SELECT fence, held_for, sequence, expires_at, data FROM claimed
UNION ALL
SELECT NULL, extract(epoch FROM lease_until - clock_timestamp())::float8, NULL, NULL, NULL
FROM {table} WHERE key = $1 AND NOT EXISTS (SELECT FROM claimed)
"""
_RENEW = """
UPDATE {table} SET lease_until = clock_timestamp() + $3::float8 * interval '1 second'
WHERE key = $1 AND fence = $2 AND owner <> '' RETURNING true
"""
_SAVE = """
UPDATE {table} SET writer = $2, sequence = $3, expires_at = $4, data = $5
WHERE key = $1 AND fence = $2 AND (writer <> $2 OR sequence < $3) RETURNING true
"""
_IS_OURS = "SELECT true FROM {table} WHERE key = $1 AND fence = $2"
_RELEASE = "UPDATE {table} SET owner = '', lease_until = clock_timestamp() WHERE key = $1 AND fence = $2"
_CLEAN = """
DELETE FROM {table} WHERE key IN (
    SELECT key FROM {table}
    WHERE expires_at < clock_timestamp() - interval '1 hour' AND lease_until < clock_timestamp() - interval '1 hour'
    ORDER BY expires_at LIMIT 500 FOR UPDATE SKIP LOCKED
)
"""


class _Settings(Struct, frozen=True):
    """What a URL says."""

    dsn: str
    """Without what is not for the driver. It may hold a password."""
    schema: str
    pool_size: int
    statement_cache_size: int

    def __repr__(self) -> str:
        return f"_Settings(schema={self.schema!r})"


def _read(url: str) -> _Settings:
    """Take our own settings out of a URL.

    Raises:
        ConfigurationError: One makes no sense.
    """
    own: dict[str, str] = {"schema": "resumekit", "pool_size": "4", "statement_cache_size": "100"}
    rest: list[str] = []
    base, _, query = url.partition("?")
    for setting in filter(None, query.split("&")):
        name, _, value = setting.partition("=")
        if name in own:
            own[name] = unquote(value)
        else:
            rest.append(setting)
    schema = own["schema"]
    if not schema or len(schema.encode()) > 63 or schema.startswith("pg_") or "\0" in schema:
        raise ConfigurationError("?schema= of a store in PostgreSQL is the name of a schema, of 1 to 63 bytes")
    sizes = {name: own[name] for name in ("pool_size", "statement_cache_size")}
    for name, value in sizes.items():
        if not (value.isascii() and value.isdigit() and len(value) <= 4) or (name == "pool_size" and not int(value)):
            raise ConfigurationError(f"?{name}= of a store in PostgreSQL is a small number")
    dsn = "?".join(filter(None, (base, "&".join(rest))))
    return _Settings(dsn, schema, **{name: int(value) for name, value in sizes.items()})


class _Pool:
    """The connections of one event loop to one database, opened as they are needed."""

    def __init__(self, settings: _Settings) -> None:
        self.users = 0
        self.loop = asyncio.get_running_loop()
        self._clean_at = 0.0
        self._schema = settings.schema
        self._pool: Any = asyncpg.create_pool(  # pyright: ignore[reportUnknownMemberType]
            settings.dsn,
            min_size=0,
            max_size=settings.pool_size,
            max_inactive_connection_lifetime=60.0,
            statement_cache_size=settings.statement_cache_size,
            timeout=_CONNECT,
            init=self._greet,
            reset=_leave_as_it_is,
        )

    async def run(self, step: Callable[[Any], Awaitable[_T]]) -> _T:
        """Do one step on a connection of its own.

        Raises:
            ConfigurationError: The database cannot be used as it is.
            OSError: It cannot be used now.
        """
        try:
            await self._pool
            async with self._pool.acquire() as connection:
                try:
                    return await step(connection)
                except BaseException:
                    connection.terminate()  # whatever it was: a new one is cheap, and to wait for this one may not end
                    raise
        except ConfigurationError:
            raise
        except (asyncpg.ClientConfigurationError, ValueError):
            raise ConfigurationError(_BAD_URL) from None  # it may quote the URL
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            raise _explained(error, self._schema) from error

    def wants_cleaning(self) -> bool:
        """Say, once in a while, that it is time to."""
        now = self.loop.time()
        if now < self._clean_at:
            return False
        self._clean_at = now + _CLEAN_EVERY
        return True

    async def _greet(self, connection: Any) -> None:
        await ready(connection, self._schema)

    async def close(self) -> None:
        """Let go of the connections."""
        if self.loop is not asyncio.get_running_loop():
            with contextlib.suppress(RuntimeError):  # that loop is closed
                self.loop.call_soon_threadsafe(self._pool.terminate)
            return
        try:
            async with asyncio.timeout(1.0):
                await self._pool.close()
        except (TimeoutError, OSError, asyncpg.InterfaceError, asyncpg.PostgresError):
            self._pool.terminate()


async def _leave_as_it_is(_: Any) -> None:
    """Do nothing to a connection that was used: no step changes it."""


_BAD_URL = (
    "the URL of the handle store cannot be used; a store in PostgreSQL is named as"
    " 'postgresql://USER:PASSWORD@HOST:5432/DATABASE', with special characters percent-encoded"
)
_REFUSALS = {
    "28P01": "the server of the handle store refuses the password; check user and password in its URL, PGPASSWORD or .pgpass",
    "28000": "the server of the handle store does not let this user in; check the user in its URL, TLS (?sslmode=) and"
    " the server's pg_hba.conf",
    "3D000": "the server of the handle store has no such database; create it, or name another one in the URL",
    "42501": "this user lacks a right that the handle store needs; as an administrator, once:"
    " CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION the_user",
    "42704": "the URL of the handle store has a setting that the server does not know; what it may have stands in the README"
    " of resumekit-postgres",
}
"""By SQLSTATE: what only the one who runs it can mend."""


def _explained(error: Exception, schema: str) -> Exception:
    if isinstance(error, asyncpg.PostgresError):
        refusal: Any = error
        refusal.detail = None  # may quote a row
        state: str = refusal.sqlstate or ""
        if state in _REFUSALS:
            return ConfigurationError(_REFUSALS[state].format(schema=quoted(schema)))
        if state == "42P01":
            return OSError("PostgreSQL: a table of the handle store is gone; it is made again where all of them are, so drop"
                           f" the rest: DROP SCHEMA {quoted(schema)} CASCADE")  # fmt: skip
        if state == "25006":
            return OSError("PostgreSQL takes no writes here; if this is a standby, name the primary as well, with"
                           " ?target_session_attrs=read-write")  # fmt: skip
        return OSError(f"PostgreSQL: {type(error).__name__} ({state or 'no state'})")
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConfigurationError(
            "the certificate of the handle store's server is not trusted; name its authority with ?sslrootcert="
        )
    return OSError(
        f"PostgreSQL cannot be reached: {_why(error)}; check that the server runs, and its address in the URL"
    )


def _why(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "nobody knows the name of its host"
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno)  # what it says itself may quote the address
    return type(error).__name__


class PostgresStore:
    """Keeps entries in a table of PostgreSQL, of which it makes schema and tables at first use.

    Args:
        url: As `asyncpg.connect` takes it, and with these settings of its own: ``schema`` (default ``resumekit``),
            ``pool_size`` (connections of an event loop at most, default 4), and ``statement_cache_size`` (default 100;
            0 behind a pooler that knows no prepared statements).

    Raises:
        ConfigurationError: A setting makes no sense. Whether the rest does is seen at first use.
    """

    def __init__(self, url: str) -> None:
        self._settings = _read(url)
        self._pools: dict[asyncio.AbstractEventLoop, _Pool] = {}
        table = f"{quoted(self._settings.schema)}.resumekit_handles"
        self._sql = {
            statement: statement.format(table=table)
            for statement in (_CLAIM, _RENEW, _SAVE, _IS_OURS, _RELEASE, _CLEAN)
        }

    async def claim(self, key: str, owner: str, seconds: float, *, force: bool = False) -> Claim:
        """See `HandleStore`."""
        pool = self._pool()
        if pool.wants_cleaning():
            await pool.run(lambda connection: connection.execute(self._sql[_CLEAN]))
        while True:
            row = await self._one(_CLAIM, _bytes(key), owner, seconds, force)
            if row is None:
                continue  # whoever had it went away between the two looks at it
            fence, held_for, sequence, expires_at, data = row
            if fence is not None:
                break
            if held_for > 0:
                raise KeyInUse(held_for)
        entry = None if data is None else Entry(data=data, sequence=sequence, expires_at=expires_at)
        return Claim(fence=fence, entry=entry, held_for=held_for)

    async def renew(self, key: str, fence: int, seconds: float) -> bool:
        """See `HandleStore`."""
        return await self._one(_RENEW, _bytes(key), fence, seconds) is not None

    async def save(self, key: str, fence: int, entry: Entry) -> bool:
        """See `HandleStore`."""
        name = _bytes(key)
        if await self._one(_SAVE, name, fence, entry.sequence, entry.expires_at, entry.data) is not None:
            return True
        return await self._one(_IS_OURS, name, fence) is not None  # it was late

    async def release(self, key: str, fence: int) -> None:
        """See `HandleStore`."""
        await self._one(_RELEASE, _bytes(key), fence)

    async def close(self) -> None:
        """Close the connections, unless another store uses them."""
        unused: list[_Pool] = []
        with _OPENING:
            pools, self._pools = self._pools, {}
            for loop, pool in pools.items():
                pool.users -= 1
                if not pool.users:
                    _OPEN.pop((loop, self._settings), None)
                    unused.append(pool)
        for pool in unused:
            await pool.close()

    async def _one(self, statement: str, *values: object) -> Any:
        return await self._pool().run(lambda connection: connection.fetchrow(self._sql[statement], *values))

    def _pool(self) -> _Pool:
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            with _OPENING:
                for key in [key for key in _OPEN if key[0].is_closed()]:
                    del _OPEN[key]
                pool = _OPEN.get((loop, self._settings))
                if pool is None:
                    pool = _OPEN[loop, self._settings] = _Pool(self._settings)
                pool.users += 1
                self._pools[loop] = pool
        return pool

    def __repr__(self) -> str:
        return f"PostgresStore(schema={self._settings.schema!r})"


def _bytes(key: str) -> bytes:
    """Return a key as the table has it: any text, whatever the encoding of the database."""
    name = key.encode("utf-8", "surrogatepass")
    return name if len(name) <= _LONGEST_KEY else b"\xff" + hashlib.sha256(name).digest()  # no text begins with 0xff


_OPEN: dict[tuple[asyncio.AbstractEventLoop, _Settings], _Pool] = {}
"""In use."""
_OPENING = threading.Lock()
