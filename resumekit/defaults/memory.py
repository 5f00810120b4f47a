"""The store ``memory://NAME``: handles are kept as long as the process lives, and are seen by all of its sessions."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from msgspec import Struct

from resumekit.errors import KeyInUse
from resumekit.stores import Claim, Entry

__all__ = ["MemoryStore"]


class _Row(Struct):
    fence: int
    owner: str
    until: float
    """End of the lease, monotonic; 0: it was released."""
    entry: Entry | None = None
    writer: int = 0
    """Fence that the entry was written with."""
    thrown_out: float = 0.0
    """End of the lease of an owner that was thrown out, monotonic."""


class MemoryStore:
    """Keeps entries in a dictionary; those that have expired go as new ones come.

    Args:
        clock: Returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rows: dict[str, _Row] = {}
        """The one that was written, or claimed, longest ago first."""
        self._fence = 0
        """The greatest one, of all keys: it outlives them."""

    async def claim(self, key: str, owner: str, seconds: float, *, force: bool = False) -> Claim:
        """See `HandleStore`."""
        now = self._clock()
        row = self._rows.get(key)
        left = 0.0 if row is None or row.owner in ("", owner) else max(row.until - now, 0.0)
        if left and not force:
            raise KeyInUse(left)
        self._fence += 1
        row = self._touch(key, row or _Row(0, "", 0.0))
        row.thrown_out = max(row.thrown_out, now + left)
        row.fence, row.owner, row.until = self._fence, owner, now + seconds
        return Claim(fence=row.fence, entry=row.entry, held_for=max(row.thrown_out - now, 0.0))

    async def renew(self, key: str, fence: int, seconds: float) -> bool:
        """See `HandleStore`."""
        row = self._owned(key, fence)
        if row is None or not row.owner:
            return False
        row.until = self._clock() + seconds
        return True

    async def save(self, key: str, fence: int, entry: Entry) -> bool:
        """See `HandleStore`."""
        row = self._owned(key, fence)
        if row is not None and (row.entry is None or row.writer != fence or entry.sequence > row.entry.sequence):
            self._touch(key, row)
            row.entry, row.writer = entry, fence
        return row is not None

    async def release(self, key: str, fence: int) -> None:
        """See `HandleStore`."""
        row = self._owned(key, fence)
        if row is not None:
            row.owner, row.until = "", 0.0

    async def close(self) -> None:
        """Do nothing: the entries are the process's."""

    def _owned(self, key: str, fence: int) -> _Row | None:
        row = self._rows.get(key)
        return row if row is not None and row.fence == fence else None

    def _touch(self, key: str, row: _Row) -> _Row:
        """Make it the newest row, and let the oldest go that are of no use any more."""
        self._rows.pop(key, None)
        self._rows[key] = row
        while (oldest := next(iter(self._rows))) != key and self._is_over(self._rows[oldest]):
            del self._rows[oldest]
        return row

    def _is_over(self, row: _Row) -> bool:
        return row.until <= self._clock() and (row.entry is None or row.entry.expires_at <= datetime.now(UTC))
