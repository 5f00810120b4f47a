"""The state of a conversation: what a resumption handle names and a resume restores.

`Conversation.snapshot` makes the independent copy that a handle stands for. Nothing here knows of connections.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from resumekit.emulator.speech import VoiceActivity

if TYPE_CHECKING:
    from resumekit.emulator.frames import JsonObject

__all__ = ["Call", "Conversation", "Turn"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One side's contribution, as text; speech as it was understood."""

    role: Literal["user", "model"]
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A function call that the model makes; `id` is empty until it is issued."""

    name: str
    args: JsonObject
    id: str = ""


@dataclass(slots=True)
class Conversation:
    """Everything that the service knows of a conversation at one moment."""

    voice: VoiceActivity
    """Detector of speech in the audio stream, with the utterance that is open."""
    turns: list[Turn] = field(default_factory=list[Turn])
    unanswered: list[str] = field(default_factory=list[str])
    """Questions that the next whole answer will take up: more than one after a cut."""
    queued: list[str] = field(default_factory=list[str])
    """Questions that wait for the running answer to end."""
    steps: list[list[Call]] = field(default_factory=list[list[Call]])
    """Calls that the unanswered questions need, step by step; parallel ones are in one step."""
    planned: int = 0
    """How many of the unanswered questions `steps` takes into account."""
    steps_done: int = 0
    calls: dict[str, Call] = field(default_factory=dict[str, Call])
    """Issued and not answered."""
    background: dict[str, Call] = field(default_factory=dict[str, Call])
    """Issued, and not waited for: each may have any number of responses."""
    waits_between_turns: bool = False
    """The server turn with the calls has ended: the answer comes in one of its own, after the responses."""
    cancelled: set[str] = field(default_factory=set[str])
    """Ids of calls that were cancelled: a late response to one is ignored."""
    results: list[str] = field(default_factory=list[str])
    """What the tools answered, for the answer to tell."""
    late_results: list[str] = field(default_factory=list[str])
    """What those answered that are not waited for, for the next answer to tell."""
    activity: bytearray = field(default_factory=bytearray)
    """Audio since activityStart."""
    activity_open: bool = False
    last_heard: str = ""
    """The newest utterance."""
    is_seeding: bool = False
    """The initial history is still being taken in."""

    def snapshot(self) -> Conversation:
        """Return an independent copy."""
        return replace(
            self,
            voice=self.voice.copy(),
            turns=list(self.turns),
            unanswered=list(self.unanswered),
            queued=list(self.queued),
            steps=list(self.steps),
            calls=dict(self.calls),
            background=dict(self.background),
            cancelled=set(self.cancelled),
            results=list(self.results),
            late_results=list(self.late_results),
            activity=bytearray(self.activity),
        )

    def forget_open_speech(self) -> None:
        """Drop the speech whose end was not heard, and the activity that it is part of."""
        self.voice = VoiceActivity(self.voice.silence)
        self.activity.clear()
        self.activity_open = False

    @property
    def speech_is_open(self) -> bool:
        """The user speaks, as far as the service has heard."""
        return self.activity_open or self.voice.speaking

    @property
    def model_spoke(self) -> bool:
        """The model has had a turn."""
        return any(turn.role == "model" for turn in self.turns)

    @property
    def user_turns(self) -> list[str]:
        """The user's turns."""
        return [turn.text for turn in self.turns if turn.role == "user"]

    def settle(self, said: str) -> None:
        """End the model's turn: what was unanswered is answered, or was given up."""
        if said:
            self.turns.append(Turn("model", said))
        self.unanswered.clear()
        self.steps = []
        self.planned = self.steps_done = 0
        self.waits_between_turns = False
        self.results.clear()

    def cancel_calls(self) -> list[str]:
        """Give up the calls that are not answered; returns their ids."""
        ids = list(self.calls)
        self.cancelled.update(ids)
        self.calls.clear()
        return ids
