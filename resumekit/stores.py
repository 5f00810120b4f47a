"""What a handle store has to do, and what it keeps: `HandleStore`, `Entry`, `Claim`, and the record in an entry.

A store maps the application's key of a conversation to its newest record, so that another process, or the same one
later, can go on with it; and it sees to it that one session at a time has the conversation. Nothing here talks to a
store; `resumekit.testing.HandleStoreConformance` and `LeaseConformance` test one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol, runtime_checkable

import msgspec
from msgspec import Struct

from resumekit.core.handles import PendingMessage
from resumekit.wire import ResumptionHandle

__all__ = ["SEALED", "UNREADABLE", "Claim", "Entry", "HandleStore", "StoredHandle"]

SEALED = b"RKS1"
"""What the data of an encrypted record begins with."""
UNREADABLE = b"RKS?"
"""What the data begins with that a store gives for an entry that it finds damaged; why, as text, follows. The session
reports it, begins anew, and saves another."""


class StoredHandle(Struct, frozen=True, kw_only=True, omit_defaults=True):
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
    """The backend: True where the service reported what it consumed (Vertex)."""
    fingerprint: str
    """Of the config without resumption and history; a handle serves the config that it was issued for."""
    poisoned: bool = False
    """The service took it, and then did not go on: nobody may use it again."""
    pending: tuple[PendingMessage, ...] = ()
    """What the application sent, and the saved state does not hold, in order."""
    left_out: int = 0
    """So many more, which were too large to be kept (`Policy.store_bytes`)."""
    detached: bool = False
    """The session left in order: this is all that there was."""

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


class Entry(Struct, frozen=True, kw_only=True):
    """What a store keeps for a key. It need not, and often cannot, read the data."""

    data: bytes
    """A `StoredHandle` as JSON, or sealed; empty where the conversation was forgotten. See also `UNREADABLE`."""
    sequence: int
    """Counts the writes of one owner, from 1."""
    expires_at: datetime
    """When it is of no use any more; UTC, wall clock. A store may delete it then."""

    def __repr__(self) -> str:
        return (
            f"Entry({len(self.data)} bytes, sequence={self.sequence}, expires_at={self.expires_at:%Y-%m-%d %H:%M:%S})"
        )


class Claim(Struct, frozen=True, kw_only=True):
    """A conversation is this owner's now."""

    fence: int
    """Greater than that of every earlier claim of the key; every write names it."""
    entry: Entry | None
    """What is kept; an expired entry may be left out."""
    held_for: float = 0.0
    """Seconds for which an owner that was thrown out may still believe that it owns the conversation, whoever claimed it
    since."""


@runtime_checkable
class HandleStore(Protocol):
    """Keeps one entry for each key, and one owner of it at a time.

    Keys are the application's, any non-empty text. A claim makes its owner the only one who may write, until the time
    that it asked for is over by the store's own clock; then another may claim the key. A *fence* tells owners apart:
    each claim gives a greater one, also after a restart of the store and where nothing is left of the key, and what comes
    with an older one is refused. So a process that slept too long cannot overwrite what its successor wrote.

    Every method is one atomic step. Methods may be called from any event loop, several at a time for different keys.
    What a method raises, or a call that takes longer than `Policy.store_timeout`, is reported as `StoreFailed`, and
    the session goes on without; a `ConfigurationError` from `claim` ends `connect`.
    """

    async def claim(self, key: str, owner: str, seconds: float, *, force: bool = False) -> Claim:
        """Make `owner` the owner for so many seconds, and give it a new fence.

        The owner itself may claim again at any time, and with `force` anybody may.

        Raises:
            KeyInUse: Another owner's time is not over.
        """
        ...

    async def renew(self, key: str, fence: int, seconds: float) -> bool:
        """Let the owner have so many seconds more, from now on; also if its time is over and nobody else claimed.

        Returns:
            False: The key was claimed by another since, it was released, or nothing is known of it.
        """
        ...

    async def save(self, key: str, fence: int, entry: Entry) -> bool:
        """Keep this entry instead of the older one.

        One with a smaller `sequence` than the entry that this fence wrote before is late, and is left out.

        Returns:
            False: The key was claimed by another since, or nothing is known of it; nothing was written.
        """
        ...

    async def release(self, key: str, fence: int) -> None:
        """End the owner's time, if it is still the owner; the entry stays. It may not `renew` any more."""
        ...

    async def close(self) -> None:
        """Let go of connections and files; the entries stay. Called once for each store made from a URL; again where
        that was cancelled.
        """
        ...
