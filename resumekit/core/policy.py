"""What an application can choose: `Policy`, its fields and defaults; and the questions that the
engine asks (`Decisions`), each with one frozen details object.

The engine never decides these things itself: it asks `Decisions` and acts on the answer.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct, structs

from resumekit.core.failures import Failure, Verdict
from resumekit.errors import ConfigurationError
from resumekit.wire import HistoryTurn

__all__ = [
    "Decisions",
    "DelayDetails",
    "Exactly",
    "FailureDetails",
    "Move",
    "MoveDetails",
    "Policy",
    "Recovery",
    "RecoveryAction",
    "RecoveryDetails",
]

_Seconds = float
"""A time that `Policy.scaled` scales."""


class Policy(Struct, frozen=True, kw_only=True):
    """Every limit and choice of a session. Times are seconds, sizes are bytes.

    Raises:
        ConfigurationError: a field is negative, or not one of its allowed values.
    """

    # Resumption
    resumption: Literal["on", "off"] = "on"
    """``"off"``: never ask the service to keep the conversation; survive by history replay alone."""
    transparent: Literal["auto"] | bool = "auto"
    """Whether the service reports what it consumed. ``"auto"``: on Vertex, never on the Developer API."""
    handle_validity: _Seconds | None = None
    """Age at which a handle is not tried any more; None: 2 h (Developer API), 24 h (Vertex)."""

    store_timeout: _Seconds = 5.0
    """How long one call of the handle store may take, and never more than a quarter of `lease`; the session does not wait for
    it, save at its start and end."""
    store_bytes: int = 256 * 2**10
    """Messages without an answer that are kept beside the handle, for another process; 0: none."""
    lease: _Seconds = 20.0
    """How long a conversation stays this session's after it was last renewed in the store, a third of it ago: a process
    that stood still for longer writes nothing more, and another may go on."""
    key_in_use: Literal["wait", "raise", "take_over"] = "wait"
    """Where another session has the conversation of the key: wait for its end, as far as ``first_connect_deadline``
    goes, raise `KeyInUse`, or throw it out, and wait until it must have noticed."""
    lease_outage: Literal["go_on", "stop"] = "go_on"
    """What becomes of a session that cannot renew its lease because the store does not answer: it goes on, or it writes
    nothing from the end of the lease until the store is back."""

    # Connecting
    connect_timeout: _Seconds = 10.0
    """TCP, TLS and HTTP upgrade of one connection."""
    setup_timeout: _Seconds = 15.0
    """From ``setup`` to ``setupComplete``: google-genai waits for ever."""
    first_connect_deadline: _Seconds = 30.0
    """How long the first connection is retried when its failure may pass."""

    # Backoff
    first_delay: _Seconds = 0.25
    """Upper bound of the jitter before the first try."""
    delay_base: _Seconds = 1.0
    """Upper bound of the delay before the second try, or twice it where the service could not be reached or refused;
    doubles from there."""
    delay_cap: _Seconds = 27.0
    """Upper bound that the delay does not grow beyond."""
    proven_after: _Seconds = 30.0
    """A connection that stayed up this long, or completed a turn, has proved itself."""
    max_outage: _Seconds = 300.0
    """Seconds without a proven connection after which the session is given up."""
    old_binding_grace: _Seconds = 30.0
    """How long 1011 at bind means that the service has not yet released the old connection; on a first connection at
    most half of ``first_connect_deadline``, so that there is time left for a fresh start."""

    # goAway
    go_away_margin_min: _Seconds = 1.5
    """The move happens at least this long before the announced end ..."""
    go_away_margin_max: _Seconds = 10.0
    """... and at most this long; between them, a third of the time left."""
    go_away_assumed: _Seconds = 10.0
    """Time left that is assumed where goAway names none."""
    warm_dial: bool = True
    """Dial the next connection ahead, at a random moment in 10-60 % of the time left, and move at a quiet point once it
    is there. Off: move at the first quiet point, and dial then."""
    handle_wait: _Seconds = 2.0
    """How long after a turn its handle is waited for (Developer API 0.6 s, Vertex 0.07 s seen)."""
    close_wait: _Seconds = 1.0
    """How long the closing handshake of the old connection is waited for, then it is aborted."""
    deliver_go_away: bool = False
    """Show goAway in ``receive()`` too. Off: frameworks restart on it; it is an event."""

    # Turns
    cut_turn: Literal["reanswer", "settle"] = "reanswer"
    """What becomes of a turn that was cut: answered again, or ended and reported."""
    reanswer_in: Literal["auto", "same_turn", "new_turn"] = "auto"
    """Where the new answer comes after `interrupted`: in the same turn, so that one `receive()` loop is one question's,
    or, after a `turnComplete`, in a turn of its own, as the service does it where a user interrupts. ``auto``: in the
    same turn, but not for `http_options`."""
    max_reanswers_per_turn: int = 2
    """After this many the turn is settled."""
    max_shadow_turns: int = 20
    """Where more answered turns than this would have to be run again, the session starts fresh instead."""
    rebind_tools: bool = True
    """A tool call that runs at a cut is bound to the same call of the repeated turn. Off: cancelled at the cut."""
    tool_turns: Literal["auto", "joined", "split"] = "auto"
    """Whether a model answers tool responses within the turn of its calls, or may end that turn first and answer in
    another. ``"auto"``: split for models before 3.x, and for any model once it was seen to do so."""
    part_wait: _Seconds = 5.0
    """Split turns: how long the answer to a tool response is waited for before the next question goes out."""
    resent_wait: _Seconds = 60.0
    """How long a question waits for the answer to one that was sent again to begin. A model may think for a minute; but
    nothing can be asked of one that keeps silent, until this is over."""
    rebind_timeout: _Seconds = 20.0
    """How long messages that follow a tool response wait for its call to come again."""
    resend_speech: Literal["auto", "audio", "transcript"] = "auto"
    """Form in which an open spoken question is sent again; ``"auto"``: as audio if all of it is still buffered, else
    as its transcript where transcription is on, else what audio is left."""

    # Buffers
    control_messages: int = 256
    """Control messages that may wait for a connection; then `send` waits, then raises."""
    control_bytes: int = 4 * 2**20
    """Bytes of them."""
    send_wait: _Seconds = 10.0
    """How long `send` waits for room before it raises `BufferFull`."""
    audio_seconds: float = 30.0
    """Seconds of audio that are kept (media time, not scaled); the oldest goes first."""
    audio_bytes: int = 2 * 2**20
    """Bytes of it."""
    audio_resend: float = 10.0
    """Handle-only mode: seconds of audio that are resent at most (media time, not scaled)."""
    inbox_bytes: int = 16 * 2**20
    """Frames that the app has not taken; beyond it the socket is not read."""
    inbox_frames: int = 10_000
    """Number of them."""
    max_message_size: int = 64 * 2**20
    """Largest frame that is accepted from the service; websockets' 1 MiB kills sessions."""

    # Liveness
    ping_expecting: _Seconds = 10.0
    """Silence until a ping, while an answer is expected ..."""
    abort_expecting: _Seconds = 30.0
    """... and until the connection is given up."""
    ping_idle: _Seconds = 30.0
    """Silence until a ping otherwise ..."""
    abort_idle: _Seconds = 90.0
    """... and until the connection is given up. While an answer is expected: whatever else comes, a ping goes out after
    `ping_idle`, and the answer or the pong must come within this time."""
    progress_watchdog: _Seconds = 15.0
    """Just resumed: how long the service may say nothing to a turn that it owes, before its handle counts as dead."""
    frozen_after: _Seconds = 5.0
    """A wake-up this much later than asked means that the process was frozen (SIGSTOP, a laptop's lid): a freeze is told
    by the first timer that was due in it, and by the wall clock ..."""
    suspect_patience: _Seconds = 10.0
    """... and its connection is given up unless it shows a sign of life within this time (pongs of 8 s were seen)."""

    # Limits of the service's session
    at_session_limit: Literal["warn", "fresh_start"] = "warn"
    """What happens ahead of the limit: only `SessionExpiring`, or also a new session, with its history replayed, at
    the next quiet point. See `resumekit.core.limits`; none of it where context window compression is on."""
    session_limit: _Seconds | None = None
    """The limit, compressed or not; None: what is known of the service, by its kind and by whether video is sent."""
    session_limit_warning: _Seconds = 120.0
    """How long ahead; at most half of the limit."""

    # What is not known for certain of the service
    first_index: Literal[0, 1] = 1
    """What the service counts the first message after ``setup`` as, in `lastConsumedClientMessageIndex`."""
    older_handles_valid: bool = True
    """Whether a handle may still be used after a newer one came. Off: a newer one voids it, even one not resumed from."""
    handles_hold_audio: bool = True
    """Transparent mode: whether a handle's state holds all audio up to its index. Off: what was spoken since the last
    turn ended is resent."""

    # Replay
    replay_turns: int = 100
    """Turns of history that a fresh start replays at most, newest kept."""
    replay_bytes: int = 512 * 2**10
    """Bytes of them."""

    def __post_init__(self) -> None:
        for name, default in zip(self.__struct_fields__, self.__struct_defaults__, strict=True):
            value: object = getattr(self, name)
            allowed = _CHOICES.get(name)
            if allowed is not None:
                # Compared by type, too: 1 is not True here.
                if not any(value == choice and type(value) is type(choice) for choice in allowed):
                    raise ConfigurationError(f"Policy.{name} is {value!r}; it must be one of {allowed!r}")
            elif not (value is None and default is None):
                self._check_number(name, value, whole=isinstance(default, int))
        for low, high in _ORDERED:
            if getattr(self, low) > getattr(self, high):
                raise ConfigurationError(
                    f"Policy.{low} is {getattr(self, low)!r}, more than Policy.{high}, {getattr(self, high)!r};"
                    " lower the one, or raise the other"
                )

    @staticmethod
    def _check_number(name: str, value: object, *, whole: bool) -> None:
        least = 1 if name in _POSITIVE else 0
        kind = "a whole number" if whole else "a number of seconds (math.inf: without end)"
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not value >= least:
            bound = "one or more" if least else "zero or more"
            raise ConfigurationError(f"Policy.{name} is {value!r}; it must be {kind}, {bound}")

    def validity_of_handles(self, *, transparent: bool) -> float:
        """Return the seconds after the end of its connection for which a handle is tried."""
        if self.handle_validity is not None:
            return self.handle_validity
        return (24 if transparent else 2) * 3600.0

    def scaled(self, factor: float) -> Policy:
        """Return a copy whose times are multiplied, for tests against an emulator on the same scale.

        Media time (`audio_seconds`, `audio_resend`) is not scaled.

        Raises:
            ConfigurationError: `factor` is not a number above zero.
        """
        if not 0 < factor < math.inf:
            raise ConfigurationError(f"Policy.scaled takes a number above zero, not {factor!r}")
        times = {name: getattr(self, name) * factor for name in self.times() if getattr(self, name) is not None}
        return structs.replace(self, **times)

    @classmethod
    def times(cls) -> list[str]:
        """Return the names of the fields that `scaled` scales."""
        return [name for name, kind in cls.__annotations__.items() if kind.startswith("_Seconds")]


_CHOICES: dict[str, tuple[object, ...]] = {
    "resumption": ("on", "off"),
    "transparent": ("auto", True, False),
    "key_in_use": ("wait", "raise", "take_over"),
    "lease_outage": ("go_on", "stop"),
    "cut_turn": ("reanswer", "settle"),
    "reanswer_in": ("auto", "same_turn", "new_turn"),
    "warm_dial": (True, False),
    "rebind_tools": (True, False),
    "tool_turns": ("auto", "joined", "split"),
    "resend_speech": ("auto", "audio", "transcript"),
    "at_session_limit": ("warn", "fresh_start"),
    "first_index": (0, 1),
    "older_handles_valid": (True, False),
    "handles_hold_audio": (True, False),
    "deliver_go_away": (True, False),
}
_POSITIVE = frozenset(
    {"control_messages", "control_bytes", "audio_bytes", "inbox_bytes", "inbox_frames", "max_message_size"}
)
_ORDERED = (
    ("go_away_margin_min", "go_away_margin_max"),
    ("delay_base", "delay_cap"),
    ("store_timeout", "lease"),
    ("ping_expecting", "abort_expecting"),
    ("ping_idle", "abort_idle"),
)


class Exactly(Struct, frozen=True):
    """A delay that is not jittered."""

    seconds: float


class DelayDetails(Struct, frozen=True, kw_only=True):
    """What `Decisions.choose_delay` is told."""

    attempt: int
    """1 for the first try after a failure."""
    seconds_down: float
    verdict: Verdict
    retry_after: float | None
    """The service's own hint, which the engine obeys in any case."""
    policy: Policy


class FailureDetails(Struct, frozen=True, kw_only=True):
    """What `Decisions.classify_failure` is told."""

    failure: Failure
    repeats: int
    """How often the same failure came before, since a connection last proved itself."""
    seconds_down: float
    with_handle: bool
    """Whether the connection was, or was to be, bound with a handle."""
    handle_age: float | None
    credentials_renewable: bool
    first: bool = False
    """No connection of the session was bound yet."""
    policy: Policy


class MoveDetails(Struct, frozen=True, kw_only=True):
    """What `Decisions.choose_move` is told, once per goAway."""

    time_left: float | None
    """As announced; None where goAway named none, or nothing readable."""
    turn_open: bool
    pending_calls: int
    handle_age: float | None
    draw: float
    """A random number in [0, 1)."""
    policy: Policy


class Move(Struct, frozen=True, kw_only=True):
    """When to leave a connection that said goAway; seconds from now."""

    deadline: float
    """Move at the latest then, whatever is going on; before it, at the first quiet point from `warm_dial` on."""
    warm_dial: float | None
    """Dial the next connection ahead at this moment, and again if that fails; the session moves once it is there. None:
    dial when the old connection is left, at the first quiet point."""


class RecoveryAction(enum.Enum):
    """What to do with a conversation whose connection is gone."""

    RESUME = "resume"
    """Bind the next connection with the handle, if there is one."""
    FRESH = "fresh"
    """Give the handle up and replay history into a new session."""
    SETTLE = "settle"
    """As RESUME, but an answer that had begun is ended, not given again; its question is not kept (`TurnSettled`)."""
    FAIL = "fail"
    """Give the session up."""


class RecoveryDetails(Struct, frozen=True, kw_only=True):
    """What `Decisions.choose_recovery` is told, once per lost connection."""

    failure: Failure
    verdict: Verdict
    handle_age: float | None
    """Seconds; None where there is no handle."""
    pending_messages: int
    """Control messages to be sent, or sent again: what the handle does not cover."""
    transcript: Sequence[HistoryTurn]
    """The conversation as far as the engine could read it."""
    transparent: bool
    model: str


class Recovery(Struct, frozen=True, kw_only=True):
    """The answer to `Decisions.choose_recovery`."""

    action: RecoveryAction
    turns: Sequence[HistoryTurn] | None = None
    """With FRESH: the history to replay instead of the app's or the engine's own."""


class Decisions(Protocol):
    """The questions that the engine asks, synchronously and never per frame."""

    def choose_delay(self, details: DelayDetails) -> float | Exactly:
        """Return the upper bound of the delay before the next dial, in seconds."""
        ...

    def classify_failure(self, details: FailureDetails) -> Verdict:
        """Return what a failure means."""
        ...

    def choose_move(self, details: MoveDetails) -> Move:
        """Return when to leave a connection that said goAway."""
        ...

    def choose_recovery(self, details: RecoveryDetails) -> Recovery:
        """Return how to go on after a loss."""
        ...
