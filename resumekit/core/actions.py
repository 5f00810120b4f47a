"""What the engine can ask of its driver. Actions are carried out in order; none needs an answer
at once: what comes of them is fed back as an input.
"""

from __future__ import annotations

from msgspec import Struct

from resumekit.core.events import Event
from resumekit.core.handles import HandleRecord
from resumekit.errors import ResumekitError

__all__ = [
    "AbortConnection",
    "Action",
    "CloseConnection",
    "Finish",
    "ForgetHandle",
    "LoadHistory",
    "Notify",
    "OpenConnection",
    "PoisonHandle",
    "SaveHandle",
    "SendFrame",
    "SendPing",
]


class OpenConnection(Struct, frozen=True):
    """Open a connection up to the HTTP upgrade, without setup.

    Feed back `Dialed` or `DialFailed`, and after `Dialed` one `ConnectionEnded`.
    """

    connection: int


class SendFrame(Struct, frozen=True):
    """Write one frame; feed back `Written` when the transport has room for another."""

    connection: int
    frame: str


class SendPing(Struct, frozen=True):
    """Send a WebSocket ping; feed back `PongReceived` when it is answered."""

    connection: int


class CloseConnection(Struct, frozen=True):
    """Close politely with 1000; `ConnectionEnded` follows."""

    connection: int


class AbortConnection(Struct, frozen=True):
    """Drop the connection, or the dial, at once; what still comes of it is ignored."""

    connection: int


class LoadHistory(Struct, frozen=True):
    """Ask the application for its history; feed back `HistoryLoaded`."""


class SaveHandle(Struct, frozen=True):
    """Keep this record; it replaces every older one."""

    record: HandleRecord


class ForgetHandle(Struct, frozen=True):
    """Delete the kept record: it is dead, or the conversation ended."""


class PoisonHandle(Struct, frozen=True):
    """Forget this record, and keep in mind that nobody may use it: the service accepts it and then says nothing."""

    record: HandleRecord


class Notify(Struct, frozen=True):
    """Tell the application."""

    event: Event


class Finish(Struct, frozen=True):
    """The session is over. None: as the application wished. The last action of a session."""

    error: ResumekitError | None


Action = (
    OpenConnection
    | SendFrame
    | SendPing
    | CloseConnection
    | AbortConnection
    | LoadHistory
    | SaveHandle
    | ForgetHandle
    | PoisonHandle
    | Notify
    | Finish
)
