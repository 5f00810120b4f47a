"""What a handle store has to do, and what it keeps: `HandleStore` and `StoredHandle`.

A store maps the application's key of a conversation to the newest record, so that another process, or the same one
later, can go on with it. Nothing here talks to a store; `resumekit.testing.HandleStoreConformance` tests one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol, runtime_checkable

import msgspec
from msgspec import Struct

from resumekit.wire import ResumptionHandle

__all__ = ["HandleStore", "StoredHandle"]


class StoredHandle(Struct, frozen=True, kw_only=True):
    """A resumption handle as it is kept: all that another process needs to decide whether it may use it.

    The handle opens a private conversation. `repr` and log lines show its digest; `to_json` gives the text itself, so
    what that returns belongs into the store and nowhere else.
    """

    handle: ResumptionHandle
    index: int | None
    """Messages of its connection that the saved state holds, where the service says so; setup is 0."""
    connection: int
    """Number of the connection that it came on, within its session."""
    issued_at: datetime
    """When it came; UTC, wall clock."""
    expires_at: datetime
    """When the service forgets it; UTC, wall clock."""
    model: str
    transparent: bool
    """The backend: True where the service reports what it consumed (Vertex)."""
    fingerprint: str
    """Of the config without resumption and history; a handle serves the config that it was issued for."""
    poisoned: bool = False
    """The service took it, and then did not go on: nobody may use it again."""

    @property
    def digest(self) -> str:
        """The handle's digest, as events and log lines show it."""
        return repr(self.handle)

    def to_json(self) -> bytes:
        """Return the record as JSON, the handle readable."""
        return msgspec.json.encode(self, enc_hook=_reveal)

    @classmethod
    def from_json(cls, data: bytes | str) -> StoredHandle:
        """Read what `to_json` wrote. Fields that a newer version added are ignored.

        Raises:
            msgspec.DecodeError: This is no such record.
        """
        return msgspec.json.decode(data, type=cls, dec_hook=_conceal)


def _reveal(value: object) -> str:
    assert isinstance(value, ResumptionHandle)
    return value.reveal()


def _conceal(kind: type, value: object) -> ResumptionHandle:
    if kind is not ResumptionHandle or not isinstance(value, str):
        raise TypeError("a handle is a string")
    return ResumptionHandle(value)


@runtime_checkable
class HandleStore(Protocol):
    """Keeps one record for each key.

    Keys are the application's, any non-empty text. Methods may be called from any event loop, several at a time for
    different keys; for one key, one at a time. What a method raises, or a call that takes longer than
    `Policy.store_timeout`, is reported as `StoreFailed`, and the session goes on without.
    """

    async def load(self, key: str) -> StoredHandle | None:
        """Return the newest record, or None. An expired record may be left out."""
        ...

    async def save(self, key: str, record: StoredHandle) -> None:
        """Keep this record; it replaces the older one."""
        ...

    async def forget(self, key: str) -> None:
        """Delete the record, if there is one."""
        ...

    async def poison(self, key: str, digest: str) -> None:
        """Mark the record `poisoned` if its handle has this digest; a newer record stays as it is."""
        ...

    async def close(self) -> None:
        """Let go of connections and files; the records stay. Called once for each store made from a URL."""
        ...
