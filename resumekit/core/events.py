"""What the application is told: every event, frozen, without any secret or payload.

Message numbers count the control messages (content, realtime text, tool responses, activity
marks, context updates) that the application sent through the session, from 1.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

__all__ = [
    "AudioDropped",
    "Connected",
    "ConnectionLost",
    "Event",
    "FrameDiscarded",
    "FreshStarted",
    "GoAwayReceived",
    "HandleReceived",
    "HandleRefused",
    "MessagesRepeated",
    "Moving",
    "ReconnectScheduled",
    "ResumePointDropped",
    "Resumed",
    "SessionEnded",
    "ToolCallAnswered",
    "ToolResponseDropped",
    "TurnCut",
    "TurnForgotten",
    "TurnSettled",
    "TurnShadowed",
    "VideoDropped",
]


class Event(Struct, frozen=True, kw_only=True):
    """Base of all events."""


class Connected(Event, frozen=True, kw_only=True):
    """The first connection is bound."""

    connection: int
    resumed: bool
    """With a handle that the application or the store gave."""
    replayed_turns: int = 0


class HandleReceived(Event, frozen=True, kw_only=True):
    """A handle came. It is resumed from only if its state is known to be quiet (RULES 1)."""

    connection: int
    digest: str
    index: int | None


class GoAwayReceived(Event, frozen=True, kw_only=True):
    """The service announced the end of the connection."""

    connection: int
    time_left: float | None
    move_within: float
    """Seconds until the session moves, whatever is going on."""


class Moving(Event, frozen=True, kw_only=True):
    """The session leaves its connection for the next one."""

    connection: int
    quiet: bool
    """False: the deadline came first, and a turn was cut."""


class ConnectionLost(Event, frozen=True, kw_only=True):
    """A connection ended that nobody wanted to end, or a dial failed."""

    connection: int
    phase: Literal["dial", "bind", "live"]
    verdict: str
    close_code: int | None
    status_code: int | None
    reason: str


class ReconnectScheduled(Event, frozen=True, kw_only=True):
    """The next dial is due."""

    attempt: int
    """Counted since a connection last proved itself (DESIGN decision 8)."""
    delay: float


class Resumed(Event, frozen=True, kw_only=True):
    """The conversation goes on, on a new connection, from a handle."""

    connection: int
    planned: bool
    """True: moved before the service closed."""
    downtime: float
    """Seconds without a live connection."""
    resent_messages: int
    resent_audio: float
    """Seconds."""
    lost_audio: float
    """Seconds of audio that neither the service's state nor the buffer holds."""
    handle_age: float


class FreshStarted(Event, frozen=True, kw_only=True):
    """The conversation goes on in a new session of the service, from replayed history."""

    connection: int
    downtime: float
    replayed_turns: int
    holes: int
    """Turns without any text, which cannot be replayed."""
    resent_messages: int
    lost_audio: float


class HandleRefused(Event, frozen=True, kw_only=True):
    """The service does not know the handle any more, or it is too old."""

    digest: str
    age: float
    reason: str


class ResumePointDropped(Event, frozen=True, kw_only=True):
    """No handle came for so long that the resend buffer is full: the next loss is a fresh start."""

    messages: int
    """Sent messages that were let go."""


class TurnCut(Event, frozen=True, kw_only=True):
    """The connection ended while the service answered; the turn is answered again."""

    message: int | None
    """Number of the question; None: a spoken one."""
    shown: bool
    """True: the app had got a part of the answer, and was told that it is interrupted."""
    reanswers: int
    discarded_frames: int
    """Frames of the half answer that the app had not taken."""


class TurnSettled(Event, frozen=True, kw_only=True):
    """A cut turn was ended instead of answered again; the question is not kept. Ask again."""

    message: int | None
    reanswers: int


class TurnShadowed(Event, frozen=True, kw_only=True):
    """A turn whose answer the app already has was run again, unseen, so that the service remembers it."""

    message: int | None
    discarded_frames: int


class TurnForgotten(Event, frozen=True, kw_only=True):
    """A spoken turn was answered, and the connection ended before its handle.

    The model forgot it, unless a fresh start replays its words.
    """

    audio: float
    """Seconds."""


class MessagesRepeated(Event, frozen=True, kw_only=True):
    """Messages without a turn were resent that the service may already hold (handle-only mode)."""

    messages: tuple[int, ...]


class AudioDropped(Event, frozen=True, kw_only=True):
    """The audio buffer was full; the oldest went."""

    seconds: float
    frames: int


class VideoDropped(Event, frozen=True, kw_only=True):
    """Video frames were replaced by newer ones before they could be sent."""

    frames: int


class ToolCallAnswered(Event, frozen=True, kw_only=True):
    """A repeated tool call was answered by the engine, not by the app."""

    name: str
    by: Literal["record", "error"]
    """``record``: with the app's own answer to the same call; ``error``: no answer was on record."""


class ToolResponseDropped(Event, frozen=True, kw_only=True):
    """A tool response was not sent, or not sent again: its call was cancelled, not repeated, or is unknown."""

    call_id: str
    name: str


class FrameDiscarded(Event, frozen=True, kw_only=True):
    """A frame of the service could not be read, or has no field that is known."""

    connection: int
    size: int
    problem: str


class SessionEnded(Event, frozen=True, kw_only=True):
    """The session is over."""

    error: str | None
    unsent_messages: int = 0
    """Control messages that were never sent."""
    unsent_audio: float = 0.0
    """Seconds of audio that were never sent."""
