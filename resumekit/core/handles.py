"""Resumption handles as records: what is known of each, and what another process needs to go on with one."""

from __future__ import annotations

from msgspec import Struct

from resumekit.wire import FunctionResponse, ResumptionHandle

__all__ = ["Candidate", "HandleRecord", "PendingCall", "PendingMessage"]


class HandleRecord(Struct, frozen=True, kw_only=True):
    """A handle with all that is needed to decide whether it may be used."""

    handle: ResumptionHandle
    index: int | None
    """Messages of its connection that its state holds (transparent mode); setup is 0."""
    connection: int
    """Number of the connection that it came on; 0: it came from outside."""
    received_at: float
    """Monotonic seconds. Whoever stores the record stamps it with the wall clock."""
    model: str
    transparent: bool
    fingerprint: str
    """Of the config without resumption and history."""


class Candidate(Struct, frozen=True):
    """A record, and the index that the next message had when it came."""

    record: HandleRecord
    next_index: int


class PendingCall(Struct, frozen=True, omit_defaults=True):
    """A tool call that was answered, in a turn that the state does not hold: made again, it is answered from here."""

    id: str
    """As the application knows it."""
    name: str
    key: str
    """Name and canonical arguments."""
    response: FunctionResponse


class PendingMessage(Struct, frozen=True, omit_defaults=True):
    """A control message that the state does not hold."""

    frame: str
    sent: bool = False
    answered: bool = False
    """It asks, and its answer was heard: what comes again is not shown."""
    calls: tuple[PendingCall, ...] = ()
    """Of the turn that it asks."""

    def __repr__(self) -> str:  # it is the user's own words
        return f"PendingMessage({len(self.frame)} characters, sent={self.sent}, answered={self.answered})"
