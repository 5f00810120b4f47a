"""What the application is told: every event, frozen, without any secret or payload.

Message numbers count the control messages (content, realtime text, tool responses, activity
marks, context updates) that the application sent through the session, from 1.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

__all__ = [
    "Admitted",
    "AudioDropped",
    "ClockJumped",
    "Connected",
    "ConnectionLost",
    "Continued",
    "Event",
    "FrameDiscarded",
    "FreshStarted",
    "GoAwayReceived",
    "HandleReceived",
    "HandleRefused",
    "HistoryNotLoaded",
    "HookFailed",
    "MessageNotSent",
    "MessagesRepeated",
    "Moving",
    "Queued",
    "QuotaStrained",
    "ReadingResumed",
    "ReconnectScheduled",
    "ResumePointDropped",
    "Resumed",
    "SessionEnded",
    "SessionExpiring",
    "SessionStarted",
    "SlowConsumer",
    "StoreFailed",
    "StoreRecovered",
    "ToolCallAnswered",
    "ToolCallRebound",
    "ToolResponseDropped",
    "TurnCut",
    "TurnForgotten",
    "TurnSettled",
    "TurnShadowed",
    "VideoDropped",
    "WaitingForKey",
]


class Event(Struct, frozen=True, kw_only=True, repr_omit_defaults=True, gc=False):
    """Base of all events; they hold plain values, and a thousand are kept of each session."""

    at: float = 0.0
    """When it happened, in Unix time."""
    session: str = ""
    """Which session it belongs to, as the log names it."""


class SessionStarted(Event, frozen=True, kw_only=True):
    """The application opens the session: the first event, told within its own call of `connect`."""

    model: str
    """As the service knows it, with its path."""


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
    """False: the deadline came first, or the application wished it; a turn may have been cut."""
    cause: Literal["goAway", "limit", "request"] = "goAway"
    """The service announced the end; the service's session nears its limit; or the application wished it."""


class ConnectionLost(Event, frozen=True, kw_only=True):
    """A connection ended that nobody wanted to end, or a dial failed."""

    connection: int
    phase: Literal["dial", "bind", "live"]
    verdict: str
    close_code: int | None
    status_code: int | None
    reason: str
    ended_by: Literal["they", "we", "nobody"] = "nobody"
    """The service; this side, after a time-out, silence or a frame over the limit; or the network."""


class ReconnectScheduled(Event, frozen=True, kw_only=True):
    """The next dial is due."""

    attempt: int
    """Counted since a connection last proved itself."""
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
    """Seconds of audio that neither the service's state nor the buffer holds, beside what `AudioDropped` tells."""
    handle_age: float
    """Seconds since the handle came."""


class FreshStarted(Event, frozen=True, kw_only=True):
    """The conversation goes on in a new session of the service, from replayed history."""

    connection: int
    downtime: float
    replayed_turns: int
    holes: int
    """Turns without any text, which cannot be replayed."""
    resent_messages: int
    lost_audio: float


class Continued(Event, frozen=True, kw_only=True):
    """The conversation of another session goes on here, from what it left in the store: told before it connects.

    Audio that it had sent since the handle is lost. So is what it did not come to write down, unless it `detached`.
    """

    digest: str
    age: float
    """Seconds since the handle came."""
    resent_messages: int
    """Sent again, as the state of the handle does not hold them; answered ones are not answered again."""
    left_out: int
    """Messages that were too large to be kept (`Policy.store_bytes`), and are lost."""
    detached: bool
    """It left in order; False: its process was killed, or the session was lost."""


class WaitingForKey(Event, frozen=True, kw_only=True):
    """Another session has the conversation of the key (`Policy.key_in_use`)."""

    seconds: float
    """For at most this long, unless it renews its lease."""


class Queued(Event, frozen=True, kw_only=True):
    """The session waits for a slot of the pool; told again where its place has changed, every few seconds."""

    place: int
    """1: the next one."""
    waiting: int
    """Sessions in the queue, this one among them; in the whole fleet, where the pool's backend is shared."""


class Admitted(Event, frozen=True, kw_only=True):
    """The session has waited, and has its slot of the pool now."""

    waited: float
    """Seconds."""


class QuotaStrained(Event, frozen=True, kw_only=True):
    """A quota of the pool is exceeded, or, of tokens, nearly used up; told once, until that is over.

    ``sessions`` and ``connects``: resumes are never held up for long, and took more than there was.
    """

    what: Literal["sessions", "connects", "tokens"]
    """Of what."""
    used: int
    """Sessions now; connects within the time of the rate; tokens within the last minute, of this process."""
    limit: int
    """The pool's."""


class HandleRefused(Event, frozen=True, kw_only=True):
    """A handle is given up: the service does not know it any more, it is too old or poisoned, or it was stored for
    another model or config.
    """

    digest: str
    age: float
    reason: str
    poisoned: bool = False
    """The service accepted it twice, and then said nothing: nobody may use it again."""


class ResumePointDropped(Event, frozen=True, kw_only=True):
    """No handle came for so long that the resend buffer is full, or that too many answered turns would have to be run
    again (`Policy.max_shadow_turns`): the next connection is a fresh start.
    """

    messages: int
    """Sent messages that the handle does not hold."""


class TurnCut(Event, frozen=True, kw_only=True):
    """The connection ended while the service answered; the turn is answered again."""

    message: int | None
    """Number of the question; None: a spoken one."""
    shown: bool
    """True: the app had got a part of the answer, and was told that it is interrupted."""
    reanswers: int
    discarded_frames: int
    """Frames of the half answer that the app had not taken."""
    resent_as: Literal["text", "audio", "transcript"] = "text"
    """The form in which the question is sent again: as it was written; or, a spoken one, as its audio, as far as the
    buffer holds it, or in the words of its transcription."""


class TurnSettled(Event, frozen=True, kw_only=True):
    """A cut turn was ended instead of answered again. The question is not kept, nor what its tools answered.

    Ask again, if it still matters; tools that have run would then run again.
    """

    message: int | None
    """Number of the question; None: a spoken one, or what the model said by itself."""
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


class MessageNotSent(Event, frozen=True, kw_only=True):
    """A message of the application could not be sent; where nobody can be told by an exception (ADK)."""

    problem: str


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


class ToolCallRebound(Event, frozen=True, kw_only=True):
    """A repeated tool call was bound to the execution that the app already runs; the app does not see it."""

    name: str
    call_id: str
    """The id that the app knows."""


class ToolResponseDropped(Event, frozen=True, kw_only=True):
    """A tool response was not sent, or not sent again: its call was cancelled, not repeated, or is unknown.

    Not final for a call that was not repeated: should a later repetition of the turn make it, the response is sent.
    """

    call_id: str
    name: str


class FrameDiscarded(Event, frozen=True, kw_only=True):
    """A frame of the service could not be read, or has no field that is known."""

    connection: int
    size: int
    problem: str


class SlowConsumer(Event, frozen=True, kw_only=True):
    """The application does not take its frames: the socket is not read until it does."""

    frames: int
    """Frames that wait for it."""
    size: int
    """Bytes of them."""


class ReadingResumed(Event, frozen=True, kw_only=True):
    """The application took frames again, and the socket is read on."""

    seconds: float
    """How long it was not."""


class ClockJumped(Event, frozen=True, kw_only=True):
    """The process was frozen; its connection is suspected until it shows a sign of life."""

    seconds: float


class SessionExpiring(Event, frozen=True, kw_only=True):
    """The service's session nears its limit; `Policy.at_session_limit` says what is done about it."""

    seconds_left: float
    limit: float
    """Seconds that the service allows such a session."""


class HistoryNotLoaded(Event, frozen=True, kw_only=True):
    """The application's history could not be loaded; the engine replays what it read itself."""

    problem: str


class HookFailed(Event, frozen=True, kw_only=True):
    """A plugin's hook did not work as it should; told once for each hook, plugin and problem."""

    hook: str
    plugin: str
    problem: Literal["raised", "slow", "nonsense"]
    """Raised or returned nonsense: the next opinion, or the default, was used."""
    detail: str


class StoreFailed(Event, frozen=True, kw_only=True):
    """The handle store did not do what it was asked for, or not in time; the session goes on without.

    Told once, until `StoreRecovered`.
    """

    operation: Literal["claim", "renew", "save", "release", "close"]
    problem: str


class StoreRecovered(Event, frozen=True, kw_only=True):
    """The handle store answers again; the newest record is being written."""

    seconds: float
    """Since it failed first."""


class SessionEnded(Event, frozen=True, kw_only=True):
    """The session is over."""

    error: str | None
    unsent_messages: int = 0
    """Control messages that were never sent."""
    unsent_audio: float = 0.0
    """Seconds of audio that were never sent."""
