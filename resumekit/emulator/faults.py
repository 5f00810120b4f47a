"""Faults: what goes wrong, when, and on which connection. Plain data that goes through JSON and back.

A `Fault` is an action, a `Trigger` and a choice of connections; the constructors on `Fault` are the readable way to
make one::

    Fault.rst(at=Trigger.mid_answer(2), connection=0)
    Fault.close(1011, "Internal error encountered.", at=Trigger.turn_complete())
    Fault.handshake(503, times=3)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self, TypeAlias, TypedDict, Unpack

import msgspec

from resumekit.emulator import texts
from resumekit.emulator.frames import as_list, as_object, object_field, text_field
from resumekit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Action",
    "Amnesia",
    "Close",
    "ExpireHandles",
    "Fault",
    "Fin",
    "Frame",
    "GoAway",
    "HalfOpen",
    "Handshake",
    "ListenerDown",
    "Moment",
    "Poison",
    "PoisonScope",
    "RefuseHandle",
    "RepeatTranscript",
    "Rst",
    "SetupDelay",
    "Silence",
    "SlowHandshake",
    "SlowPongs",
    "Torn",
    "Trigger",
    "Where",
    "WithholdHandles",
    "dump_faults",
    "load_faults",
]

Moment: TypeAlias = Literal[
    "now",
    "handshake",
    "opened",
    "setup_received",
    "resume",
    "bound",
    "elapsed",
    "client_message",
    "generation_started",
    "server_frame",
    "answer_frame",
    "audio_frame",
    "tool_call",
    "tool_response",
    "end_of_speech",
    "generation_complete",
    "turn_complete",
    "before_handle",
    "handle",
    "go_away",
]
"""What can happen on a connection. The n-th time is meant on that connection; `answer_frame` and `audio_frame`
count anew in each answer, and can be meant in one turn only."""


PoisonScope: TypeAlias = Literal["connection", "handle", "issued", "session"]
"""What a poisoned handle makes dead: see `Fault.poisoned_handle`."""


class Trigger(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """When a fault strikes: at the n-th `Moment` of its kind, or some seconds after the connection was bound."""

    on: Moment
    n: int = 1
    seconds: float = 0.0
    turn: int | None = None
    """In this turn of the connection only, from 1; None: in any. For `answer_frame` and `audio_frame`."""

    def __str__(self) -> str:
        """Name the moment in a report."""
        which = f"{self.seconds:g} s" if self.on == "elapsed" else "" if self.on == "now" else f"{self.n}"
        turn = "" if self.turn is None else f"of turn {self.turn}"
        return " ".join(filter(None, (self.on, which, turn)))

    @classmethod
    def now(cls) -> Self:
        """At once on the current connection; on another one, when it is bound."""
        return cls("now")

    @classmethod
    def at_handshake(cls) -> Self:
        """Before the WebSocket upgrade is answered."""
        return cls("handshake")

    @classmethod
    def opened(cls) -> Self:
        """After the upgrade, before any setup."""
        return cls("opened")

    @classmethod
    def setup_received(cls) -> Self:
        """After the setup came in, before setupComplete."""
        return cls("setup_received")

    @classmethod
    def resume(cls) -> Self:
        """After a setup with a handle came in."""
        return cls("resume")

    @classmethod
    def bound(cls) -> Self:
        """Right after setupComplete."""
        return cls("bound")

    @classmethod
    def elapsed(cls, seconds: float) -> Self:
        """So many emulated seconds after setupComplete; on the connection at which it is injected, after that."""
        return cls("elapsed", seconds=seconds)

    @classmethod
    def client_message(cls, n: int = 1) -> Self:
        """After the n-th client message was taken in."""
        return cls("client_message", n)

    @classmethod
    def generation_started(cls, n: int = 1) -> Self:
        """When the model took a question up, before its first frame."""
        return cls("generation_started", n)

    @classmethod
    def server_frame(cls, n: int = 1) -> Self:
        """After the n-th frame of any kind that followed setupComplete."""
        return cls("server_frame", n)

    @classmethod
    def mid_answer(cls, n: int = 2, *, turn: int | None = None) -> Self:
        """After the n-th content frame of an answer: of any, or of this turn of the connection (from 1)."""
        return cls("answer_frame", n, turn=turn)

    @classmethod
    def mid_audio(cls, n: int = 3, *, turn: int | None = None) -> Self:
        """After the n-th audio frame of an answer: of any, or of this turn of the connection (from 1)."""
        return cls("audio_frame", n, turn=turn)

    @classmethod
    def tool_call(cls, n: int = 1) -> Self:
        """After a toolCall frame was sent."""
        return cls("tool_call", n)

    @classmethod
    def tool_response(cls, n: int = 1) -> Self:
        """After a tool response was taken in."""
        return cls("tool_response", n)

    @classmethod
    def end_of_speech(cls, n: int = 1) -> Self:
        """After an utterance ended, before the first frame of its answer."""
        return cls("end_of_speech", n)

    @classmethod
    def generation_complete(cls, n: int = 1) -> Self:
        """Between generationComplete and turnComplete."""
        return cls("generation_complete", n)

    @classmethod
    def turn_complete(cls, n: int = 1) -> Self:
        """Right after turnComplete."""
        return cls("turn_complete", n)

    @classmethod
    def before_handle(cls, n: int = 1) -> Self:
        """Half-way between turnComplete and its handle."""
        return cls("before_handle", n)

    @classmethod
    def handle(cls, n: int = 1) -> Self:
        """Right after a resumable update."""
        return cls("handle", n)

    @classmethod
    def go_away_sent(cls, n: int = 1) -> Self:
        """Right after a goAway."""
        return cls("go_away", n)


class _Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", omit_defaults=True):
    pass


class Rst(_Base, tag="rst", frozen=True):
    """TCP reset: no close frame, no TLS close."""


class Fin(_Base, tag="fin", frozen=True):
    """The transport ends without a WebSocket close frame."""


class Close(_Base, tag="close", frozen=True):
    """Close with a code and a reason."""

    code: int
    reason: str = ""


class HalfOpen(_Base, tag="half_open", frozen=True):
    """The socket goes mute both ways and stays open; the server keeps the binding for a while."""

    linger: float = 15.0
    since: Literal["resume", "cut"] = "resume"


class GoAway(_Base, tag="go_away", frozen=True):
    """Announce the end of the connection."""

    time_left: float | None = 10.0
    repeat: int = 1
    interval: float = 1.0
    then_silence: bool = False
    close: bool = True
    code: int = 1011
    reason: str = texts.DEADLINE


class Silence(_Base, tag="silence", frozen=True):
    """Send nothing for a while; everything is received, and pings are answered."""

    seconds: float = 40.0


class Frame(_Base, tag="frame", frozen=True):
    """Send one frame that a client may stumble over."""

    kind: Literal["oversize", "truncated", "not_json", "unknown_keys", "odd_values"]
    size: int = 0


class Torn(_Base, tag="torn", frozen=True):
    """Send the first half of a WebSocket frame, then end the transport."""


class SlowPongs(_Base, tag="slow_pongs", frozen=True):
    """Answer pings late from now on."""

    delay: float = 20.0


class SetupDelay(_Base, tag="setup_delay", frozen=True):
    """Let setupComplete come late, or never."""

    seconds: float | None = None


class RefuseHandle(_Base, tag="refuse_handle", frozen=True):
    """Refuse the handle of a setup."""

    code: int = 1007
    reason: str = texts.INVALID_HANDLE


class ExpireHandles(_Base, tag="expire_handles", frozen=True):
    """Every handle issued so far is expired."""


class Poison(_Base, tag="poison", frozen=True):
    """The connection works, speech is transcribed, and the model never answers."""

    scope: PoisonScope = "connection"


class Amnesia(_Base, tag="amnesia", frozen=True):
    """The handle is accepted, and the state is empty."""


class RepeatTranscript(_Base, tag="repeat_transcript", frozen=True):
    """After the resume, the last transcription is sent again."""

    which: Literal["input", "output", "both"] = "output"


class WithholdHandles(_Base, tag="withhold_handles", frozen=True):
    """No resumable update on this connection."""


class Handshake(_Base, tag="handshake", frozen=True):
    """Answer the upgrade with an HTTP status."""

    status: int
    retry_after: float | None = None


class SlowHandshake(_Base, tag="slow_handshake", frozen=True):
    """Answer the upgrade late."""

    seconds: float = 5.0


class ListenerDown(_Base, tag="listener_down", frozen=True):
    """Stop listening for a while; with the connection that met this reset."""

    seconds: float = 5.0


Action: TypeAlias = (
    Rst
    | Fin
    | Close
    | HalfOpen
    | GoAway
    | Silence
    | Frame
    | Torn
    | SlowPongs
    | SetupDelay
    | RefuseHandle
    | ExpireHandles
    | Poison
    | Amnesia
    | RepeatTranscript
    | WithholdHandles
    | Handshake
    | SlowHandshake
    | ListenerDown
)
"""Everything that can go wrong."""


class Where(TypedDict, total=False):
    """Which connections a fault applies to, and how often; the fields of `Fault`."""

    connection: int | None
    binding: int | None
    times: int | None


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing that goes wrong.

    Every constructor takes `at` (a `Trigger`; without one, the natural moment of the action), and as keywords
    `connection`, `binding` and `times`.
    """

    action: Action
    at: Trigger
    connection: int | None = None
    """Only on this connection; None: on any."""
    binding: int | None = None
    """Only on the connection that sent this setup; None: on any. A warm connection without a setup counts not."""
    times: int | None = 1
    """How often in all; None: each time that it applies, for ever."""

    def __str__(self) -> str:
        """Name the fault in a report."""
        where = [f", {name} {at}" for name in ("connection", "binding") if (at := getattr(self, name)) is not None]
        return f"{self.action.__struct_config__.tag} at {self.at}{''.join(where)}"

    @classmethod
    def rst(cls, at: Trigger | None = None, **where: Unpack[Where]) -> Self:
        """Reset the TCP connection, with no close frame and no TLS close."""
        return cls(Rst(), at or Trigger("now"), **where)

    @classmethod
    def fin(cls, at: Trigger | None = None, **where: Unpack[Where]) -> Self:
        """End the transport without a WebSocket close frame."""
        return cls(Fin(), at or Trigger("now"), **where)

    @classmethod
    def close(cls, code: int, reason: str = "", at: Trigger | None = None, **where: Unpack[Where]) -> Self:
        """Close with a code and a reason (cut to 123 bytes)."""
        return cls(Close(code, reason), at or Trigger("now"), **where)

    @classmethod
    def half_open(
        cls,
        linger: float = 15.0,
        *,
        since: Literal["resume", "cut"] = "resume",
        at: Trigger | None = None,
        **where: Unpack[Where],
    ) -> Self:
        """Go mute both ways and keep the socket; the old binding is released after `linger`.

        Args:
            linger: Seconds; a resume before that is refused with 1011.
            since: Counted from the first resume of this session, or from the cut.
        """
        return cls(HalfOpen(linger, since), at or Trigger("now"), **where)

    @classmethod
    def go_away(
        cls,
        time_left: float | None = 10.0,
        *,
        repeat: int = 1,
        interval: float = 1.0,
        then_silence: bool = False,
        close: bool = True,
        code: int = 1011,
        reason: str = texts.DEADLINE,
        at: Trigger | None = None,
        **where: Unpack[Where],
    ) -> Self:
        """Announce the end of the connection, and end it then.

        Args:
            time_left: Seconds; None leaves `timeLeft` out (the end comes after 10 s).
            repeat: How many goAway frames, `interval` seconds apart.
            then_silence: Send nothing after it.
            close: Really close at the deadline, with `code` and `reason`.
        """
        action = GoAway(time_left, repeat, interval, then_silence, close, code, reason)
        return cls(action, at or Trigger("now"), **where)

    @classmethod
    def silence(cls, seconds: float = 40.0, at: Trigger | None = None, **where: Unpack[Where]) -> Self:
        """Send nothing for a while on a healthy connection."""
        return cls(Silence(seconds), at or Trigger("now"), **where)

    @classmethod
    def oversize_frame(cls, size: int = 1_200_000, at: Trigger | None = None, **where: Unpack[Where]) -> Self:
        """Send a content frame larger than the 1 MiB that websockets takes by default."""
        return cls(Frame("oversize", size), at or Trigger("now"), **where)

    @classmethod
    def truncated_frame(cls, at: Trigger | None = None, **where: Unpack[Where]) -> Self:
        """Send a frame whose JSON ends half-way."""
        return cls(Frame("truncated"), at or Trigger("now"), **where)

    @classmethod
    def not_json(cls, at: Trigger | None = None, **where: Unpack[Where]) -> Self:
        """Send a frame that is no JSON at all."""
        return cls(Frame("not_json"), at or Trigger("now"), **where)

    @classmethod
    def unknown_keys(cls, at: Trigger | None = None, **where: Unpack[Where]) -> Self:
        """Send a frame of which no client knows a key."""
        return cls(Frame("unknown_keys"), at or Trigger("now"), **where)

    @classmethod
    def odd_values(cls, at: Trigger | None = None, **where: Unpack[Where]) -> Self:
        """Send a frame whose known fields hold what a typed client does not expect there."""
        return cls(Frame("odd_values"), at or Trigger("now"), **where)

    @classmethod
    def torn_frame(cls, at: Trigger | None = None, **where: Unpack[Where]) -> Self:
        """Send half of a WebSocket frame, then end the transport."""
        return cls(Torn(), at or Trigger("now"), **where)

    @classmethod
    def slow_pongs(cls, delay: float = 20.0, at: Trigger | None = None, **where: Unpack[Where]) -> Self:
        """Answer pings late."""
        return cls(SlowPongs(delay), at or Trigger("bound"), **where)

    @classmethod
    def slow_setup(cls, seconds: float, at: Trigger | None = None, **where: Unpack[Where]) -> Self:
        """Let setupComplete come so much later."""
        return cls(SetupDelay(seconds), at or Trigger("setup_received"), **where)

    @classmethod
    def no_setup_complete(cls, at: Trigger | None = None, **where: Unpack[Where]) -> Self:
        """Never send setupComplete; the connection stays open."""
        return cls(SetupDelay(None), at or Trigger("setup_received"), **where)

    @classmethod
    def drop_before_setup(cls, at: Trigger | None = None, **where: Unpack[Where]) -> Self:
        """Accept the WebSocket, then drop it before any setup is read."""
        return cls(Fin(), at or Trigger("opened"), **where)

    @classmethod
    def drop_after_setup(cls, at: Trigger | None = None, **where: Unpack[Where]) -> Self:
        """Send setupComplete, then drop the connection."""
        return cls(Fin(), at or Trigger("bound"), **where)

    @classmethod
    def refuse_handle(
        cls, code: int = 1007, reason: str = texts.INVALID_HANDLE, at: Trigger | None = None, **where: Unpack[Where]
    ) -> Self:
        """Refuse the handle of a resume."""
        return cls(RefuseHandle(code, reason), at or Trigger("resume"), **where)

    @classmethod
    def expire_handles(cls, at: Trigger | None = None, **where: Unpack[Where]) -> Self:
        """Let every handle issued so far expire."""
        return cls(ExpireHandles(), at or Trigger("now"), **where)

    @classmethod
    def poisoned_handle(
        cls, scope: PoisonScope = "connection", at: Trigger | None = None, **where: Unpack[Where]
    ) -> Self:
        """Accept a handle, transcribe speech, and never answer.

        Args:
            scope: What is dead from then on: this ``"connection"`` only, the ``"handle"`` that it resumed from, every
                handle of the ``"session"`` until a fresh start, or the handles that were and will be ``"issued"`` by
                this connection, which works itself (give `at` and `connection` for that).
        """
        return cls(Poison(scope), at or Trigger("resume"), **where)

    @classmethod
    def amnesia(cls, at: Trigger | None = None, **where: Unpack[Where]) -> Self:
        """Accept the handle and restore nothing."""
        return cls(Amnesia(), at or Trigger("resume"), **where)

    @classmethod
    def repeat_transcript(
        cls,
        which: Literal["input", "output", "both"] = "output",
        at: Trigger | None = None,
        **where: Unpack[Where],
    ) -> Self:
        """Send the last transcription again after a resume: of what was said, of what was heard, or both."""
        return cls(RepeatTranscript(which), at or Trigger("resume"), **where)

    @classmethod
    def withhold_handles(cls, at: Trigger | None = None, **where: Unpack[Where]) -> Self:
        """Send no resumable update on the connection."""
        return cls(WithholdHandles(), at or Trigger("setup_received"), **where)

    @classmethod
    def handshake(
        cls, status: int, *, retry_after: float | None = None, at: Trigger | None = None, **where: Unpack[Where]
    ) -> Self:
        """Answer the upgrade with an HTTP status."""
        return cls(Handshake(status, retry_after), at or Trigger("handshake"), **where)

    @classmethod
    def slow_handshake(cls, seconds: float = 5.0, at: Trigger | None = None, **where: Unpack[Where]) -> Self:
        """Answer the upgrade late."""
        return cls(SlowHandshake(seconds), at or Trigger("handshake"), **where)

    @classmethod
    def listener_down(cls, seconds: float = 5.0, at: Trigger | None = None, **where: Unpack[Where]) -> Self:
        """Reset the connection, and refuse new ones for a while."""
        return cls(ListenerDown(seconds), at or Trigger("now"), **where)


def dump_faults(faults: Iterable[Fault]) -> bytes:
    """Write faults as a JSON array: the fault script that `resumekit emulate --faults` reads."""
    return msgspec.json.format(msgspec.json.encode(list(faults)), indent=2)


def load_faults(data: bytes | str) -> list[Fault]:
    """Read a fault script. What is possible at the handshake only needs no `at`.

    Raises:
        ConfigurationError: It is no JSON array of faults; the message says where.
    """
    try:
        script = msgspec.json.decode(data)
        for entry in as_list(script):
            if text_field(object_field(as_object(entry), "action"), "do") in {"handshake", "slow_handshake"}:
                as_object(entry).setdefault("at", {"on": "handshake"})
        return msgspec.convert(script, list[Fault])
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"bad fault script: {error}") from error
