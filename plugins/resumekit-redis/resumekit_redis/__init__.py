"""Keeps resumekit's conversations in Redis or Valkey: ``connect(..., store="redis://HOST:6379/0", key="...")``; and the
slots and queues of session pools: ``SessionPool(50, backend="redis://HOST:6379/0")``.

Installed, it is found by itself; nothing needs to be imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resumekit.hookspecs import hookimpl

if TYPE_CHECKING:
    from resumekit.pool import PoolBackend
    from resumekit.stores import HandleStore
    from resumekit_redis.pool import RedisPoolBackend
    from resumekit_redis.store import RedisStore

__all__ = ["RedisPoolBackend", "RedisStore", "provide_handle_store", "provide_pool_backend"]

_SCHEMES = ("redis://", "rediss://", "unix://", "valkey://", "valkeys://")


@hookimpl
def provide_handle_store(url: str) -> HandleStore | None:
    """Return a store of the session's own; those of one event loop and URL share their connections.

    Raises:
        ConfigurationError: The URL names no server, or has a setting that does not exist.
    """
    if not url.startswith(_SCHEMES):
        return None
    from resumekit_redis.store import RedisStore  # here: redis-py takes its time, and few sessions need it

    return RedisStore(url)


@hookimpl
def provide_pool_backend(url: str) -> PoolBackend | None:
    """Return a backend; those of one event loop and URL share their connections, and so do they with the stores.

    Raises:
        ConfigurationError: The URL names no server, or has a setting that does not exist.
    """
    if not url.startswith(_SCHEMES):
        return None
    from resumekit_redis.pool import RedisPoolBackend

    return RedisPoolBackend(url)


def __getattr__(name: str) -> object:
    if name == "RedisPoolBackend":
        from resumekit_redis.pool import RedisPoolBackend

        return RedisPoolBackend
    if name == "RedisStore":
        from resumekit_redis.store import RedisStore

        return RedisStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
