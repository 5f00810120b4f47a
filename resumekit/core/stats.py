"""Counters of a session: kept by the engine, handed out as frozen snapshots."""

from __future__ import annotations

import msgspec

__all__ = ["Counters", "Stats"]


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a session up to now; times in seconds. Ask `session.stats` anew for newer figures."""

    connections: int
    """Connections that were bound."""
    dials: int
    resumes: int
    fresh_starts: int
    """Without the first connection."""
    moves: int
    """Planned ones, ahead of an announced end or of the session's limit, or at the application's wish."""
    downtime: float
    """Without a live connection, since the first one."""
    frames_received: int
    messages_sent: int
    """By the application, of all kinds."""
    messages_resent: int
    audio_resent: float
    audio_lost: float
    """Seconds that neither the service nor the buffer holds."""
    turns: int
    """Answered ones."""
    turns_reanswered: int
    turns_settled: int
    turns_shadowed: int
    """Run again unseen: each costs a generation."""
    transcriptions_suppressed: int
    """Frames whose transcription of the user's speech the app had been shown before, wholly or in part."""
    stale_inputs: int
    """Of connections that were not current any more."""

    def as_dict(self) -> dict[str, int | float]:
        """Return the figures by name, for metrics and JSON."""
        return msgspec.structs.asdict(self)


class Counters(msgspec.Struct, gc=False):
    """The engine's own copy of `Stats`, field by field; it counts up."""

    connections: int = 0
    dials: int = 0
    resumes: int = 0
    fresh_starts: int = 0
    moves: int = 0
    downtime: float = 0.0
    frames_received: int = 0
    messages_sent: int = 0
    messages_resent: int = 0
    audio_resent: float = 0.0
    audio_lost: float = 0.0
    turns: int = 0
    turns_reanswered: int = 0
    turns_settled: int = 0
    turns_shadowed: int = 0
    transcriptions_suppressed: int = 0
    stale_inputs: int = 0

    def snapshot(self) -> Stats:
        """Return the figures as they are now."""
        return Stats(**msgspec.structs.asdict(self))
