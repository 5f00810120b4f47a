"""The plugin that answers for ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``: handles in PostgreSQL."""

from __future__ import annotations

from resumekit.hookspecs import hookimpl
from resumekit.stores import HandleStore

__all__ = ["provide_handle_store"]


@hookimpl
def provide_handle_store(url: str) -> HandleStore | None:
    """Return a store of the session's own; stores of one event loop that name the same URL share their connections.

    Raises:
        ConfigurationError: A setting in the URL makes no sense.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        return None
    from resumekit_postgres.store import PostgresStore  # here: asyncpg takes its time, and not every session needs it

    return PostgresStore(url)
