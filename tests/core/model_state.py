"""What the model of the service knows, and how it can be set: no behaviour here.

Every message carries a token that survives quoting: ``<m7>`` the 7th control message of the app,
``<r3>`` its 3rd tool response, ``<a:m7:12:0:3:1:2>`` piece 0 of 3 of part 1 of 2 of the 12th
generation, which answers ``m7``. A part is what one `turnComplete` ends: some models end a turn with
each tool call. Audio chunks and video frames carry their number in their data; the word of the 5th
chunk, in a transcription, is ``w5``. The 2nd utterance is called ``u2``.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import msgspec

__all__ = [
    "AUDIO_TYPE",
    "CALL_UNKNOWN",
    "CHUNK_SECONDS",
    "INTERRUPTED_END",
    "INVALID_HANDLES",
    "REISSUES",
    "SESSION_EXPIRED",
    "TURN_COMPLETE",
    "VAD_SILENCE",
    "CallPlan",
    "Chunk",
    "Connection",
    "Generation",
    "Reissue",
    "Settings",
    "Snapshot",
    "Stages",
    "State",
    "Violation",
    "call_key",
    "media_part",
    "text_of",
]

_encode = msgspec.json.encode

CHUNK_SECONDS = 0.25
"""Length of one audio chunk; at 64 samples a second it is 32 bytes."""
AUDIO_TYPE = "audio/pcm;rate=64"
VAD_SILENCE = 2
"""Silent chunks that end an utterance."""

CALL_UNKNOWN = (1008, "Requested entity was not found.")
SESSION_EXPIRED = (1008, "BidiGenerateContent session expired")
INVALID_HANDLES = (
    (1007, "Invalid session handle."),
    (1008, "BidiGenerateContent session not found"),
    SESSION_EXPIRED,
    (1007, "Request contains an invalid argument."),
)


TURN_COMPLETE = _encode({"serverContent": {"turnComplete": True}, "usageMetadata": {"totalTokenCount": 7}})
"""The service's own: it tells what the turn cost, as the engine's does not."""
INTERRUPTED_END = _encode({"serverContent": {"turnComplete": True}})


class Violation(AssertionError):
    """The client, or the app's view of it, breaks a rule: one of these, or one that is told by a word.

    I1: what comes of an older connection changes nothing, and nothing is done to it.
    I2: a handle is given up for a newer one, or because it was refused, and for nothing else.
    I3: buffers keep their limits; each message is consumed, dropped and reported, or refused to the app.
    I4: the setup is the first frame of a connection, and sent once; what is sent again is in its order.
    I5: nothing of the app's is written before setupComplete.
    I6: at most ten dials in any minute without proof.
    I7: history goes to a session that was bound without a handle, and nowhere else.
    I8: a tool response goes to a state that knows its call.
    I9: a session that is over does nothing; any other one waits for something.
    I11: no secret is in an event or a `repr`.
    I12: the same inputs give the same outputs.
    """

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule


def media_part(text: str) -> dict[str, object]:
    """Return a piece of an answer as audio."""
    return {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": base64.b64encode(text.encode()).decode()}}


def text_of(part: dict[str, Any]) -> str:
    """Return what a piece of an answer says."""
    return base64.b64decode(part["inlineData"]["data"]).decode() if "inlineData" in part else part["text"]


class Chunk(NamedTuple):
    """A piece of audio: its number, and the utterance that it is part of (0: silence)."""

    number: int
    utterance: int

    def encode(self, kind: Literal["audio", "video"] = "audio") -> str:
        """Return the chunk as `realtimeInput`."""
        samples = self.number.to_bytes(4, "big") + self.utterance.to_bytes(4, "big") + bytes(24)
        data = base64.b64encode(samples).decode()
        mime_type = AUDIO_TYPE if kind == "audio" else "image/jpeg"
        return f'{{"realtimeInput":{{"{kind}":{{"mimeType":"{mime_type}","data":"{data}"}}}}}}'

    @classmethod
    def decode(cls, data: str) -> Chunk:
        """Read a chunk out of its samples."""
        samples = base64.b64decode(data.replace("-", "+").replace("_", "/") + "==")
        return cls(int.from_bytes(samples[:4], "big"), int.from_bytes(samples[4:8], "big"))


class State(NamedTuple):
    """What the service remembers of a conversation. Immutable: a snapshot is the object itself."""

    log: tuple[tuple[object, ...], ...] = ()
    """("m", token), ("a", labels, generation, whole), ("v", chunk), ("i", video frame), ("seed", token),
    ("t", utterance) speech that came as text, ("c", id, key) a call, ("r", id, token) its response, token "" where
    the engine made it."""
    open: tuple[str, ...] = ()
    """Questions that have no answer yet."""
    pending: tuple[str, ...] = ()
    """Ids of the calls that wait for a response."""
    stage: int = 0
    """So many sets of calls of the open question were made."""
    utterance: tuple[Chunk, ...] = ()
    """Speech whose end was not heard yet."""
    silence: int = 0
    activity: bool = False

    def tokens(self) -> list[str]:
        """Return the tokens of the client's messages, in order."""
        return [str(item[-1]) for item in self.log if item[0] in ("m", "seed", "r") and item[-1]]

    def without_speech(self) -> State:
        """Return the state without the speech since the last answer, or that was not answered."""
        end = max((n + 1 for n, item in enumerate(self.log) if item[0] == "a"), default=0)
        if self.open:
            return self
        log = self.log[:end] + tuple(item for item in self.log[end:] if item[0] != "v")
        return self._replace(log=log, utterance=(), silence=0)

    @property
    def quiet(self) -> bool:
        """Whether nothing waits for anything: a conversation can go on from here."""
        return not self.open and not self.pending


class Snapshot(NamedTuple):
    """What a handle stands for."""

    state: State
    session: int
    order: int
    """Handles count up in the order they were issued."""


Reissue = Literal["same", "other", "none", "order", "subset", "extra", "one more", "any"]
REISSUES: tuple[Reissue, ...] = ("same", "same", "other", "none", "order", "subset", "extra", "one more")


@dataclass(kw_only=True)
class Settings:
    """The knobs of RULES section 1."""

    transparent: bool
    family: Literal["2.x", "3.x"] = "2.x"
    overlap: Literal["interrupt", "queue", "merge"] = "queue"
    snapshot_at: Literal["turn_complete", "sending"] = "sending"
    lag: int = 0
    """Transparent: a handle is up to so many client messages old, with its index."""
    updates: float = 0.0
    """Transparent: chance of an update after each frame of an answer and each message. Otherwise of an empty one."""
    tools: float = 0.0
    """Chance that a question needs tools."""
    reissue: Reissue = "same"
    """What becomes of the calls when a question is answered again."""
    forgets: float = 0.0
    """Chance that a response finds its call forgotten, which ends the connection."""
    two_frames: bool = False
    """Parallel calls come in a frame each."""
    calls_end: Literal["never", "at once", "answered"] = "never"
    """Whether a set of calls ends a part of the turn: never, with the call, or once all are answered (models 2.5)."""
    speech: Literal["none", "vad", "manual"] = "none"
    transcribes: Literal["never", "after", "streaming"] = "after"
    """When the words of speech are sent back: at the beginning of the answer, or as they are heard."""
    voice_signals: bool = False
    """Automatic detection tells where speech begins and ends."""
    holds_audio: bool = True
    """A handle's state holds speech that is still going on."""
    first_index: Literal[0, 1] = 1
    """Index of the first message after setup, as reported."""
    older_valid: bool = True
    """A handle stays valid when a newer one is issued."""
    double_binding: Literal["refuse", "evict", "allow"] = "refuse"
    """What becomes of a resumption whose session is still bound."""
    refused: float = 0.0
    """Chance that a handle is refused."""
    poisoned: float = 0.0
    """Chance that a handle is accepted, and the connection is mute."""
    session_limit: float | None = None
    """A session is over after so many seconds, whatever its connections do."""
    handle_delay: tuple[float, float] = (0.02, 0.07)
    think: tuple[float, float] = (0.02, 0.3)
    pace: tuple[float, float] = (0.01, 0.1)
    pieces: tuple[int, int] = (1, 3)
    media: bool = False
    """Pieces of answers are audio, with a piece of text here and there."""
    setup_delay: tuple[float, float] = (0.05, 0.4)


CallPlan = tuple[str, dict[str, object]]
Stages = list[list[CallPlan]]
"""Sets of calls, one after the other; those of a set are made in parallel."""


def call_key(name: object, args: object) -> str:
    """Return what equal calls have in common; the question is among the arguments."""
    return f"{name}:{_encode(args).decode()}"


@dataclass(eq=False)
class Generation:
    """The answer that is being made. It dies with its connection."""

    number: int
    labels: tuple[str, ...]
    words: list[int] = field(default_factory=list)
    """Chunks of the speech that it answers."""
    plan: list[tuple[object, ...]] = field(default_factory=list)
    position: int = 0
    emitted: bool = False
    waiting: bool = False
    part: int = 0
    parts: int = 1


@dataclass(eq=False)
class Connection:
    """One connection as the service sees it."""

    number: int
    session: int = 0
    set_up: bool = False
    bound: bool = False
    bound_at: float = 0.0
    resumed: bool = False
    handle: str | None = None
    seeding: bool = False
    """The first `clientContent` is history."""
    spoken_to: bool = False
    """A message that is not history came."""
    alive: bool = True
    mute: bool = False
    """It was bound with a poisoned handle: nothing comes of what is sent."""
    state: State = field(default_factory=State)
    states: list[State] = field(default_factory=list)
    """The newest state for each index: what a handle with that index stands for."""
    generation: Generation | None = None
    queue: list[str] = field(default_factory=list)
    """Questions that wait for their turn (queue variant)."""
    cancelled: set[str] = field(default_factory=set)
    """Calls that the service took back: a response that crosses the cancellation is ignored."""
    handle_due: object = None
    received: list[bytes] = field(default_factory=list)

    @property
    def index(self) -> int:
        """How many messages were consumed; setup is 0."""
        return len(self.states) - 1

    def become(self, **changes: object) -> None:
        """Change the state, at the present index."""
        self.state = self.state._replace(**changes)
        self.states[-1] = self.state
