"""Counters of a session."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Stats"]


@dataclass(slots=True)
class Stats:
    """What happened so far; times in seconds."""

    connections: int = 0
    """Connections that were bound."""
    dials: int = 0
    resumes: int = 0
    fresh_starts: int = 0
    """Without the first connection."""
    moves: int = 0
    """Planned ones, ahead of a goAway's deadline or at the application's wish."""
    downtime: float = 0.0
    """Without a live connection, since the first one."""
    frames_received: int = 0
    messages_sent: int = 0
    """By the application, of all kinds."""
    messages_resent: int = 0
    audio_resent: float = 0.0
    audio_lost: float = 0.0
    """Seconds that neither the service nor the buffer holds."""
    turns: int = 0
    """Answered ones."""
    turns_reanswered: int = 0
    turns_settled: int = 0
    turns_shadowed: int = 0
    """Run again unseen: each costs a generation."""
    transcriptions_suppressed: int = 0
    """Frames whose transcription of the user's speech the app had been shown before, wholly or in part."""
    stale_inputs: int = 0
    """Of connections that were not current any more."""
