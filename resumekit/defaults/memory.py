"""The store ``memory://NAME``: handles are kept as long as the process lives, and are seen by all of its sessions."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec.structs import replace

from resumekit.hookspecs import hookimpl
from resumekit.stores import HandleStore, StoredHandle

__all__ = ["MemoryStore", "MemoryStores"]


class MemoryStore:
    """Keeps records in a dictionary; those that have expired go as new ones come."""

    def __init__(self) -> None:
        self._records: dict[str, StoredHandle] = {}
        """The oldest first."""

    async def load(self, key: str) -> StoredHandle | None:
        """Return the record, or None."""
        return self._records.get(key)

    async def save(self, key: str, record: StoredHandle) -> None:
        """Keep the record."""
        self._records.pop(key, None)
        self._records[key] = record
        now = datetime.now(UTC)
        while (oldest := next(iter(self._records))) != key and self._records[oldest].expires_at <= now:
            del self._records[oldest]

    async def forget(self, key: str) -> None:
        """Delete the record."""
        self._records.pop(key, None)

    async def poison(self, key: str, digest: str) -> None:
        """Mark the record, if it is this one."""
        record = self._records.get(key)
        if record is not None and record.digest == digest:
            self._records[key] = replace(record, poisoned=True)

    async def close(self) -> None:
        """Do nothing: the records are the process's."""


class MemoryStores:
    """The plugin: one store for each name."""

    def __init__(self) -> None:
        self._stores: dict[str, MemoryStore] = {}

    @hookimpl
    def provide_handle_store(self, url: str) -> HandleStore | None:
        """Answer for ``memory://``."""
        return self._stores.setdefault(url, MemoryStore()) if url.startswith("memory://") else None
