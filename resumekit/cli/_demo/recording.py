"""What happened in the demo, as the two apps and the two servers recorded it; and the facts that follow from it.

Nothing is measured twice: the story, the report and the picture are all made from a `Recording`. Times are wall-clock
seconds of this machine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from resumekit.cli._demo.script import Scene, Strike
from resumekit.core.events import Event
from resumekit.emulator import ConnectionRecord, LedgerReport, ServiceEvent, heard, parse_answer
from resumekit.emulator.speech import OUTPUT_RATE
from resumekit.trace import Trace

__all__ = ["Gap", "Lane", "Recording", "Turn", "in_words"]


def in_words(text: str) -> str:
    """Leave out what the emulated model takes as a directive."""
    return re.sub(r" ?\[[a-z]+(:[^]]*)?\]", "", text)


class Gap(NamedTuple):
    """A span without a connection that the service can answer on."""

    start: float
    end: float
    for_good: bool

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.end - self.start


@dataclass(slots=True)
class Turn:
    """A question of the user, and what the app got for it."""

    number: int
    scene: Scene
    begun_at: float
    """Its faults were armed."""
    asked_at: float
    text: str = ""
    """Of the answer, as far as it came."""
    audio: bytearray = field(default_factory=bytearray)
    before_tool: bytearray = field(default_factory=bytearray)
    """Audio of what the model said before it called a tool, in an utterance of its own."""
    restarts: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    """When the app was told to flush its playback, and what it had got until then."""
    last_heard_at: float | None = None
    answered_at: float | None = None
    gave_up_at: float | None = None
    """The user did not wait any longer."""
    tool_ran: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """From when until when the app's tool ran, each time that it did."""

    @property
    def question(self) -> str:
        """What is asked."""
        return self.scene.question

    @property
    def words(self) -> str:
        """The question as a user would put it."""
        return in_words(self.question)

    def is_right(self, asked: Sequence[str]) -> bool:
        """Tell whether this is the whole answer to the whole conversation, as text and as audio.

        Args:
            asked: All questions up to this one.
        """
        answer = parse_answer(self.text)
        if self.answered_at is None or answer is None:
            return False
        spoken = [heard(bytes(audio), rate=OUTPUT_RATE) for audio in (self.before_tool, self.audio) if audio]
        is_whole = all(speech.whole for speech in spoken) and "".join(speech.text for speech in spoken) == self.text
        remembers = answer.turns_held == len(asked) and answer.recall in ([], list(asked))
        return answer.asked == self.question and answer.is_whole and remembers and is_whole


@dataclass(slots=True)
class Lane:
    """One of the two clients."""

    name: str
    title: str
    turns: list[Turn] = field(default_factory=list[Turn])
    events: list[tuple[float, Event]] = field(default_factory=list[tuple[float, Event]])
    """What resumekit told the app."""
    connections: list[ConnectionRecord] = field(default_factory=list[ConnectionRecord])
    """The server's records."""
    service: list[ServiceEvent] = field(default_factory=list[ServiceEvent])
    """The server's events."""
    died_at: float | None = None
    error: str = ""
    """What the app's code got, and did not expect."""
    ended_at: float | None = None
    """The app was done, or the demo was over."""
    report: LedgerReport | None = None

    @property
    def asked(self) -> list[str]:
        """The questions so far."""
        return [turn.question for turn in self.turns]

    @property
    def sent(self) -> list[str]:
        """What the app sent so far, as the ledger names it: questions, and what its tool answered."""
        pairs = ((turn.question, turn.scene.response if turn.tool_ran else "") for turn in self.turns)
        return [item for pair in pairs for item in pair if item]

    @property
    def right(self) -> list[Turn]:
        """The turns whose answer is right."""
        return [turn for place, turn in enumerate(self.turns, 1) if turn.is_right(self.asked[:place])]

    @property
    def longest_wait(self) -> float:
        """Seconds from a question to the end of its answer."""
        return max((turn.answered_at - turn.asked_at for turn in self.turns if turn.answered_at), default=0.0)

    def strikes(self) -> list[tuple[ServiceEvent, Strike]]:
        """Return the faults that struck, with their names."""
        found: list[tuple[ServiceEvent, Strike]] = []
        for event in self.service:
            if event.kind != "fault":
                continue
            begun = [turn for turn in self.turns if turn.begun_at <= event.at]
            # a fault for the next connection may strike after the next question was asked
            named = (turn.scene.strike(event.detail) for turn in reversed(begun))
            strike = next((strike for strike in named if strike is not None), None)
            if strike is not None:
                found.append((event, strike))
        return found

    def gaps(self) -> list[Gap]:
        """Return the spans without a bound connection, from the first one to the end, as the service saw them."""
        end = self.ended_at or max((record.closed_at or 0.0 for record in self.connections), default=0.0)
        bound = sorted(
            (record.bound_at, record.closed_at or end)
            for record in self.connections
            if record.bound_at is not None and record.bound_at < end
        )
        gaps: list[Gap] = []
        up_until = bound[0][1] if bound else end
        for start, stop in bound[1:]:
            if start > up_until:
                gaps.append(Gap(up_until, start, for_good=False))
            up_until = max(up_until, stop)
        if up_until < end:
            gaps.append(Gap(up_until, end, for_good=True))
        return gaps


@dataclass(slots=True)
class Recording:
    """The whole demo."""

    profile: str
    model: str
    time_scale: float
    script: tuple[Scene, ...]
    plain: Lane
    resumed: Lane
    client: str = "google-genai"
    """What both use, in one way and in the other."""
    trace: Trace | None = None
    """Where the session of resumekit is traced."""
    started_at: float = 0.0
    ended_at: float | None = None

    @property
    def lanes(self) -> tuple[Lane, Lane]:
        """Both clients."""
        return self.plain, self.resumed
