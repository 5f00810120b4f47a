"""The plugins that answer for the URLs of the built-in stores."""

from __future__ import annotations

from resumekit.defaults.memory import MemoryStore
from resumekit.errors import ConfigurationError
from resumekit.hookspecs import hookimpl
from resumekit.stores import HandleStore

__all__ = ["MemoryStores", "SqliteStores"]


class MemoryStores:
    """Answers for ``memory://NAME``: one store for each name."""

    def __init__(self) -> None:
        self._stores: dict[str, MemoryStore] = {}

    @hookimpl
    def provide_handle_store(self, url: str) -> HandleStore | None:
        """Return the store of this process that has this name."""
        return self._stores.setdefault(url, MemoryStore()) if url.startswith("memory://") else None


class SqliteStores:
    """Answers for ``sqlite:///relative/path`` and ``sqlite:////absolute/path``."""

    @hookimpl
    def provide_handle_store(self, url: str) -> HandleStore | None:
        """Return a store of the session's own; stores of one process share the open file.

        Raises:
            ConfigurationError: The URL names no file.
        """
        if not url.startswith("sqlite:"):
            return None
        from urllib.parse import unquote, urlsplit

        from resumekit.defaults.sqlite import SqliteStore  # here: few need it, and sqlite3 takes its time

        parts = urlsplit(url)
        path = unquote(parts.path)[1:]
        if parts.netloc or not path or parts.query or parts.fragment or not url.startswith("sqlite:///"):
            raise ConfigurationError(
                "a store in an SQLite file is named as 'sqlite:///calls.db' (relative to the working directory) or"
                " 'sqlite:////var/lib/app/calls.db' (absolute: four slashes)"
            )
        return SqliteStore(path)
