"""Resumption handles as records: what is known of each."""

from __future__ import annotations

from msgspec import Struct

from resumekit.wire import ResumptionHandle

__all__ = ["Candidate", "HandleRecord"]


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
