"""The tables, and how they come to be: made and migrated at first use, by one process at a time."""

from __future__ import annotations

import hashlib
from typing import Any

from resumekit.errors import ConfigurationError

__all__ = ["MIGRATIONS", "quoted", "ready"]

MIGRATIONS = (
    """
    CREATE TABLE {schema}.resumekit_handles (
        key bytea PRIMARY KEY,               -- UTF-8; of a very long key, a digest
        fence bigint NOT NULL,               -- of the newest claim
        owner text NOT NULL,                 -- '' once it was released
        lease_until timestamptz NOT NULL,    -- by the clock of this server
        held_until timestamptz NOT NULL,     -- until then one that was thrown out may believe to be the owner
        writer bigint NOT NULL DEFAULT 0,    -- the fence that the entry was written with
        sequence bigint NOT NULL DEFAULT 0,
        expires_at timestamptz NOT NULL,
        data bytea                           -- NULL: there is no entry
    );
    CREATE INDEX resumekit_handles_expiry ON {schema}.resumekit_handles (expires_at);
    """,
)
"""Each brings the tables from the version of its place to the next one. Older processes go on beside a newer one while
a fleet is updated, so a migration only adds what they can do without."""


def quoted(schema: str) -> str:
    """Return the name as SQL writes it."""
    return '"' + schema.replace('"', '""') + '"'


async def ready(connection: Any, schema: str) -> None:
    """See to it that the tables are there, in a version that this package knows.

    Raises:
        ConfigurationError: They are of a newer version.
    """
    if await _version(connection, schema) == len(MIGRATIONS):
        return
    async with connection.transaction():
        # A process that is frozen here must not keep the others out.
        await connection.execute("SET LOCAL idle_in_transaction_session_timeout = '10s'")
        digest = hashlib.sha256(f"resumekit {schema}".encode()).digest()
        lock = int.from_bytes(digest[:8], "big", signed=True)
        await connection.execute("SELECT pg_advisory_xact_lock($1)", lock)
        version = await _version(connection, schema)
        if version == len(MIGRATIONS):
            return
        if not await connection.fetchval("SELECT true FROM pg_catalog.pg_namespace WHERE nspname = $1", schema):
            await connection.execute(f"CREATE SCHEMA {quoted(schema)}")
        if not version:
            await connection.execute(f"CREATE TABLE {quoted(schema)}.resumekit_version (version integer PRIMARY KEY)")
        for migration in MIGRATIONS[version:]:
            await connection.execute(migration.format(schema=quoted(schema)))
        await connection.execute(
            f"INSERT INTO {quoted(schema)}.resumekit_version VALUES ($1)",  # noqa: S608 -- quoted
            len(MIGRATIONS),
        )


async def _version(connection: Any, schema: str) -> int:
    table = f"{quoted(schema)}.resumekit_version"
    # Not by `to_regclass`: what it finds may be older than the wait for the lock.
    there = "SELECT true FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = 'resumekit_version'"
    if not await connection.fetchval(there, schema):
        return 0
    version: int = await connection.fetchval(f"SELECT coalesce(max(version), 0) FROM {table}")  # noqa: S608 -- quoted
    if version > len(MIGRATIONS):
        raise ConfigurationError(
            f"the handle store in schema {schema!r} was made by a newer resumekit-postgres (its version is {version},"
            f" this one knows {len(MIGRATIONS)}); update resumekit-postgres, or name another schema with ?schema="
        )
    return version
