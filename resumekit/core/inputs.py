"""What the engine can be told. One class per thing that happens; `Engine.feed` takes them all.

Inputs that belong to a connection carry its number; those of a connection that is not
current any more change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from resumekit.core.failures import Failure
from resumekit.core.handles import PendingMessage
from resumekit.wire import ClientMessage, HistoryTurn, ResumptionHandle, ServerMessage

__all__ = [
    "ClockJumped",
    "Close",
    "ConnectionEnded",
    "DialFailed",
    "Dialed",
    "ForceReconnect",
    "FrameReceived",
    "FrameUnreadable",
    "HistoryLoaded",
    "Input",
    "PongReceived",
    "Remember",
    "Send",
    "Start",
    "Tick",
    "Written",
]


class Start(Struct, frozen=True):
    """Dial the first connection."""

    handle: ResumptionHandle | None = None
    """From the store; one that the application gave goes before it."""
    age: float = 0.0
    """Seconds since it was issued."""
    pending: Sequence[PendingMessage] = ()
    """What it does not hold, of the process that had it."""


class Remember(Struct, frozen=True):
    """The application's history, of which the state that was resumed from holds all: for a later fresh start."""

    turns: Sequence[HistoryTurn]


class Send(Struct, frozen=True):
    """The application sends a message. Ask `Engine.has_room` first."""

    message: ClientMessage


class Close(Struct, frozen=True):
    """The application leaves: close the connection, keep (or forget) the handle."""

    forget: bool = False


class ForceReconnect(Struct, frozen=True):
    """The application wants a new connection now."""


class ClockJumped(Struct, frozen=True):
    """The process was frozen. Fed before everything that is found out after it."""

    seconds: float
    uncounted: float = 0.0
    """Of these the monotonic clock stood still, or the wall clock was set: no timer ran."""


class Dialed(Struct, frozen=True):
    """The connection is open; setup was not sent."""

    connection: int


class DialFailed(Struct, frozen=True):
    """The connection could not be opened."""

    connection: int
    failure: Failure


class FrameReceived(Struct, frozen=True):
    """The service sent a frame."""

    connection: int
    message: ServerMessage


class FrameUnreadable(Struct, frozen=True):
    """The service sent a frame that is no JSON object; its bytes count as a sign of life."""

    connection: int
    size: int
    problem: str


class PongReceived(Struct, frozen=True):
    """The service answered a ping."""

    connection: int


class Written(Struct, frozen=True):
    """The transport took one frame of `SendFrame`; there is room for another."""

    connection: int


class ConnectionEnded(Struct, frozen=True):
    """The connection is gone, whoever ended it. The last input of a dialled connection."""

    connection: int
    failure: Failure


class HistoryLoaded(Struct, frozen=True):
    """The answer to `LoadHistory`; None: it could not be loaded."""

    turns: Sequence[HistoryTurn] | None
    problem: str = ""
    """Why there are none."""


class Tick(Struct, frozen=True):
    """Time has passed: `Engine.wake_at` was reached."""


Input = (
    Start
    | Send
    | Close
    | ForceReconnect
    | ClockJumped
    | Dialed
    | DialFailed
    | FrameReceived
    | FrameUnreadable
    | PongReceived
    | Written
    | ConnectionEnded
    | HistoryLoaded
    | Remember
    | Tick
)
