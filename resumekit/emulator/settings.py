"""What can be set on the emulated service: two backends, two model families, and every knob.

`Settings` is the resolved record that the server reads; `Knobs` names the same fields for callers of `LiveServer`.
All times are seconds of the emulated service; `time_scale` turns them into real ones.
"""

from __future__ import annotations

import ast
import inspect
import re
from typing import Literal, NamedTuple, TypeAlias, TypedDict

import msgspec

from resumekit.emulator import texts
from resumekit.errors import ConfigurationError

__all__ = [
    "Backend",
    "Knob",
    "Knobs",
    "ModelProfile",
    "Overlap",
    "Reissue",
    "Settings",
    "ToolPosition",
    "ToolTurns",
    "knob_table",
    "model_profile",
    "resolve",
]

Backend: TypeAlias = Literal["developer", "vertex"]
"""Which of the two services is played."""

Overlap: TypeAlias = Literal["interrupt", "queue", "merge"]
Reissue: TypeAlias = Literal["same", "other_args", "none", "reversed", "subset", "extra", "any"]
ToolPosition: TypeAlias = Literal["before", "amid", "end"]
ToolTurns: TypeAlias = Literal["joined", "split", "at_end"]
"""Whether the responses to tool calls are answered in the turn of the calls, or in the next one; see `Settings`."""


class ModelProfile(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between model families."""

    family: Literal["2.5", "3.x"]
    text_in_mid_session: Literal["any", "realtime"]
    """Whether text may come as `clientContent` once the model has spoken; else only as `realtimeInput.text`."""
    tool_position: ToolPosition
    """Where in an answer the model calls its tools."""


_PROFILES = {
    "2.5": ModelProfile(family="2.5", text_in_mid_session="any", tool_position="end"),
    "3.x": ModelProfile(family="3.x", text_in_mid_session="realtime", tool_position="before"),
}


def model_profile(name: str) -> ModelProfile:
    """Derive the family from a name such as ``"3.x"`` or ``"models/gemini-2.5-flash-native-audio"``."""
    match = re.search(r"(?:^|gemini-(?:live-)?)(\d)", name)
    if match is None:
        raise ConfigurationError(
            f"cannot tell the model family from {name!r}; give '2.5', '3.x' or a Gemini model's name"
        )
    return _PROFILES["2.5" if int(match.group(1)) < 3 else "3.x"]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every knob of the emulated service, resolved."""

    profile: Backend = "developer"
    model: str = "2.5"
    """A family, or a model's name; ``"auto"``: the family of the model that the client asks for."""
    time_scale: float = 1.0
    """Real seconds for each emulated one."""
    seed: int = 0
    """Of handles, session ids and call ids."""

    # Frames
    framing: Literal["binary", "text"] = "binary"
    pretty: bool = True

    # Handshake and setup
    credential: str | None = None
    """The one API key or Bearer token that is let in; None: any, but one has to be there."""
    known_models: tuple[str, ...] | None = None
    """Model names (without path) that exist; None: every name with "gemini" or "live" in it."""
    setup_delay: float = 0.3
    """From the setup to setupComplete."""
    lenient_gate: bool = False
    """Let messages before setupComplete pass, instead of closing with 1007."""
    accept_transparent: bool = False
    """Developer API: take `transparent` silently, instead of closing with 1007."""
    max_connections: int | None = None
    """Sockets with a session at once; one more is closed with the quota text."""
    setup_patience: float | None = None
    """How long a connection may go without its setup, before it is closed with 1008 (a guess). None: for ever."""
    keepalive: float | None = None
    """Seconds between pings to the client, and until an answer to one is missed. None: none are sent."""

    # The model
    output_chunks: int = 4
    """Pieces that an answer's text comes in."""
    chunk_interval: float = 0.05
    """Between two pieces of text."""
    audio_frame_ms: int = 60
    audio_speed: float = 4.0
    """How much faster than real time audio is sent."""
    audio_seconds: float = 0.6
    """Least length of a spoken answer."""
    first_frame_delay: float = 0.15
    """Silence between the end of an input and the first frame of the answer."""
    think_time: float = 0.0
    """A pause on top of it, once for each question."""
    thoughts: bool = False
    """Send a thought part before the answer."""
    playback_delay: bool = False
    """Hold turnComplete back until the audio would have been played."""
    silent: bool = False
    """Proactive audio: the model takes everything in and says nothing."""
    overlap: Overlap = "interrupt"
    """A new question while the model answers. `merge`: into one answer while nothing was emitted, else interrupt."""
    answers_history: bool = False
    """A question that ends the initial history is answered, together with the next input (history alone starts no
    generation); else it is no more than history."""
    vad_silence: float = 0.5
    """Seconds of silent audio that end an utterance (counted in samples, not scaled)."""

    # Tools
    tool_position: ToolPosition | None = None
    """None: as the model family does it."""
    tool_frames: Literal["one", "each"] = "one"
    """Parallel calls: in one frame, or one frame for each."""
    tool_turns: ToolTurns | None = None
    """How many server turns a question with calls takes. `joined`: one, which goes on after the responses (recorded on
    the Developer API). `split`: the responses end a turn, and the answer is the next one (recorded on Vertex, with
    2.5). `at_end`: the calls end a turn, whether or not they are answered (what the same recording may also mean, as
    its tool answers at once). None: joined."""
    reissue: Reissue = "same"
    """What the model does with its calls when it answers a question again. `subset`: some of each parallel set;
    `any`: one of the others, drawn by `seed` for each repetition."""
    unknown_tool_id: Literal["close", "ignore"] = "close"

    # Handles
    send_handles: bool = True
    handle_delay: float | None = None
    """From turnComplete to the resumable update. None: 0.6 s, and 0.05 s on Vertex."""
    handle_interval: float | None = None
    """An update every so often in silence, too. None: only after turns."""
    handle_at_setup: bool = False
    mid_answer_handles: int | None = None
    """An update after every n-th content frame of an answer; 0: never. None: 2 on Vertex, else 0."""
    tool_call_handles: bool | None = None
    """An update after each toolCall. None: on Vertex, unless `mid_answer_handles` is 0."""
    always_resumable: bool | None = None
    """The updates that follow a turn or come at intervals do not wait for an open turn, call or speech to end, and no
    update says "not resumable". None: on Vertex."""
    snapshot_at: Literal["turn_complete", "sending"] | None = None
    """Which state a turn's handle names. None: turn_complete, and sending on Vertex."""
    snapshot_holds_speech: bool = True
    """A handle's state holds the speech that it has not heard the end of; else that, and an activity that is open, are
    gone after a resume, although the index covers them."""
    lag: int = 0
    """How many client messages a handle's state and index are behind (both: they stay consistent)."""
    index_base: Literal[0, 1] = 1
    """Index of the first message after the setup."""
    index_restarts: bool = True
    """The index begins anew on each connection; else it goes on from the session's connections before."""
    index_counts_audio: bool = True
    """Messages of audio count; else only the others do."""
    answers_after_resume: bool = False
    """A resumed state with a question that is not answered is answered at once, unasked."""
    handle_ttl: float | None = None
    """How long a handle is valid after its session's last connection. None: 2 h, and 24 h on Vertex."""
    single_use: bool = False
    invalidate_older: bool = False
    invalid_handle_code: int = 1007
    invalid_handle_reason: str = texts.INVALID_HANDLE
    bound_elsewhere: Literal["refuse", "evict", "allow"] = "refuse"
    """A resume while the old socket of the session is still bound."""
    bound_elsewhere_reason: str = texts.OLD_BINDING

    # Age
    connection_age: float | None = 600.0
    """Life of a connection, from setupComplete. None: no limit."""
    go_away_notice: float | None = 50.0
    """How long before its end goAway comes. None: never."""
    age_close: Literal["deadline", "aborted"] = "deadline"
    session_age: float | None = None
    """Life of a session without context window compression, over all its connections, from its first setupComplete;
    nothing announces its end. None: no limit."""
    session_close_code: int = 1008
    session_close_reason: str = texts.SESSION_EXPIRED
    """Close of a session that is too old, and of every later attempt to resume it."""
    pong_delay: float = 0.0

    # Evidence
    keep_raw: bool = True
    """Keep each received frame, for `Ledger.raw`. Switch it off for hours of audio."""


class Knobs(TypedDict, total=False):
    """The fields of `Settings` that `LiveServer` takes as keyword arguments; meanings and defaults there."""

    framing: Literal["binary", "text"]
    pretty: bool
    credential: str | None
    known_models: tuple[str, ...] | None
    setup_delay: float
    lenient_gate: bool
    accept_transparent: bool
    max_connections: int | None
    setup_patience: float | None
    keepalive: float | None
    output_chunks: int
    chunk_interval: float
    audio_frame_ms: int
    audio_speed: float
    audio_seconds: float
    first_frame_delay: float
    think_time: float
    thoughts: bool
    playback_delay: bool
    silent: bool
    overlap: Overlap
    answers_history: bool
    vad_silence: float
    tool_position: ToolPosition | None
    tool_frames: Literal["one", "each"]
    tool_turns: ToolTurns | None
    reissue: Reissue
    unknown_tool_id: Literal["close", "ignore"]
    send_handles: bool
    handle_delay: float | None
    handle_interval: float | None
    handle_at_setup: bool
    mid_answer_handles: int | None
    tool_call_handles: bool | None
    always_resumable: bool | None
    snapshot_at: Literal["turn_complete", "sending"] | None
    snapshot_holds_speech: bool
    lag: int
    index_base: Literal[0, 1]
    index_restarts: bool
    index_counts_audio: bool
    answers_after_resume: bool
    handle_ttl: float | None
    single_use: bool
    invalidate_older: bool
    invalid_handle_code: int
    invalid_handle_reason: str
    bound_elsewhere: Literal["refuse", "evict", "allow"]
    bound_elsewhere_reason: str
    connection_age: float | None
    go_away_notice: float | None
    age_close: Literal["deadline", "aborted"]
    session_age: float | None
    session_close_code: int
    session_close_reason: str
    pong_delay: float
    keep_raw: bool


_BY_PROFILE: dict[object, dict[str, object]] = {
    "developer": {
        "handle_delay": 0.6,
        "mid_answer_handles": 0,
        "tool_call_handles": False,
        "always_resumable": False,
        "snapshot_at": "turn_complete",
        "handle_ttl": 7200.0,
    },
    "vertex": {
        "handle_delay": 0.05,
        "mid_answer_handles": 2,
        "always_resumable": True,
        "snapshot_at": "sending",
        "handle_ttl": 86400.0,
    },
}


def resolve(fields: dict[str, object]) -> Settings:
    """Make settings of plain data; what is None and differs by backend gets that backend's value.

    Raises:
        ConfigurationError: A name or a value makes no sense.
    """
    backend = fields.get("profile", "developer")
    defaults = _BY_PROFILE.get(backend)
    if defaults is None:
        raise ConfigurationError(f"unknown profile {backend!r}; give 'developer' or 'vertex'")
    merged = dict(fields)
    for name, value in defaults.items():
        if merged.get(name) is None:
            merged[name] = value
    if merged.get("tool_call_handles") is None:
        merged["tool_call_handles"] = bool(merged["mid_answer_handles"])
    try:
        settings = msgspec.convert(merged, Settings)
    except msgspec.ValidationError as error:
        unknown = sorted(set(merged) - set(Settings.__struct_fields__))
        known = "; `resumekit emulate --list-knobs` prints what can be set"
        problem = f"there is no {unknown[0]!r}{known}" if unknown else str(error)
        raise ConfigurationError(f"bad emulator setting: {problem}") from error
    if settings.time_scale <= 0:
        raise ConfigurationError(f"time_scale has to be positive, not {settings.time_scale!r}")
    if settings.model != "auto":
        model_profile(settings.model)
    return settings


class Knob(NamedTuple):
    """A field of `Settings`, for people."""

    name: str
    type: str
    default: object
    meaning: str


def knob_table() -> list[Knob]:
    """Return every knob with its meaning, as the source tells it."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(Settings)).body if isinstance(node, ast.ClassDef))
    defaults = {spec.name: spec.default for spec in msgspec.structs.fields(Settings)}
    knobs: list[Knob] = []
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            meaning = ""
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                meaning = inspect.cleandoc(str(following.value.value))
            name = node.target.id
            knobs.append(Knob(name, ast.unparse(node.annotation), defaults[name], meaning))
    return knobs
