"""Resumption handles as records, and the one record that a session resumes from.

`ResumePoint` keeps `base`, the newest record whose state is known to be quiet (RULES 1), and the
one that still has to age because audio was streaming when it came (RULES 3).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from resumekit.wire import ResumptionHandle

__all__ = ["Candidate", "HandleRecord", "ResumePoint"]


@dataclass(frozen=True, kw_only=True, slots=True)
class HandleRecord:
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


@dataclass(frozen=True, slots=True)
class Candidate:
    """A record, and the index that the next message had when it came."""

    record: HandleRecord
    next_index: int


@dataclass(slots=True)
class ResumePoint:
    """`base`, and the record that may become it."""

    base: HandleRecord | None = None
    aged: bool = False
    """Audio was streaming when `base` came: its state may hold the beginning of a spoken question."""
    ageing: Candidate | None = None
    poisoned: set[ResumptionHandle] = field(default_factory=set[ResumptionHandle])
    """Never resumed from again, whoever offers them."""

    def adopt(self, record: HandleRecord) -> None:
        """Make `record` the base; the caller prunes what it covers."""
        self.base = record
        self.aged = False
        self.ageing = None

    def age(self, candidate: Candidate) -> None:
        """Keep a record until it is old enough; an older one stays."""
        if self.ageing is None:
            self.ageing = candidate

    def mature(self, now: float, age: float) -> Candidate | None:
        """Take the ageing record out if no turn opened for `age` seconds since it came."""
        candidate = self.ageing
        if candidate is None or now - candidate.record.received_at < age:
            return None
        self.ageing = None
        return candidate

    def clear(self) -> None:
        """Forget both: refused, expired, or the buffer behind them is gone."""
        self.base = self.ageing = None
