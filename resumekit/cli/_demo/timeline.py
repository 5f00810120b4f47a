"""The picture: both clients over time, one above the other.

Everything in it was recorded: turns by the apps, connections, handles and faults by the servers, who see both alike.
"""

from __future__ import annotations

from collections.abc import Iterator

from resumekit.cli._demo.recording import Lane, Recording, Turn
from resumekit.cli._timeline.drawing import Label, Panel, draw_panels
from resumekit.cli._timeline.story import Answer, Connection, Gap, GoAway, Handle, Note, Question, Story, Tool
from resumekit.core.events import GoAwayReceived
from resumekit.emulator import ConnectionRecord

__all__ = ["FOOT", "timeline"]

FOOT = "Turns were recorded by the two apps, connections, handles and faults by the two servers."


def timeline(recording: Recording) -> str:
    """Draw a finished recording, as SVG."""
    cuts = sum(1 for scene in recording.script if scene.strikes)
    title = f"One conversation, {len(recording.script)} questions, {cuts} faults: without resumekit, and with it"
    service = {"developer": "Developer API", "vertex": "Vertex AI"}.get(recording.profile, recording.profile)
    words = (
        f"{service} (emulated), {recording.model}, {recording.client} both times; seconds of the demo: "
        f"the service runs {1 / recording.time_scale:g} times as fast as the real one"
    )
    return draw_panels([_panel(recording, lane) for lane in recording.lanes], title, words)


def _panel(recording: Recording, lane: Lane) -> Panel:
    lost = len(lane.report.lost) if lane.report is not None else 0
    right = f"{len(lane.right)} of {len(lane.turns)} answers right"
    verdict = f"{right}, {lost} messages lost" if lane.report is not None else right
    is_good = lost == 0 and len(lane.right) == len(lane.turns)
    return Panel(_Reader(recording, lane).story(), lane.title, verdict, is_good, _labels(recording, lane))


def _labels(recording: Recording, lane: Lane) -> list[Label]:
    """Name each fault once, by the number of the question that it was meant for."""
    numbers = {turn.scene.question: turn.number for turn in lane.turns if turn.scene.strikes}
    order = {question: place for place, question in enumerate(numbers, 1)}
    labels: list[Label] = []
    for event, strike in lane.strikes():
        owner = next((turn for turn in lane.turns if strike in turn.scene.strikes), None)
        if owner is None or not strike.label or any(label.text == strike.label for label in labels):
            continue
        at = max(event.at - recording.started_at, 0.0)
        labels.append(Label(at, order[owner.question], strike.label, f"fault {order[owner.question]}: {strike.story}"))
    return labels


class _Reader:
    """Reads one lane; times are seconds since the demo began."""

    def __init__(self, recording: Recording, lane: Lane) -> None:
        self._lane = lane
        self._start = recording.started_at
        ends = (other.ended_at for other in recording.lanes if other.ended_at is not None)
        self._end = recording.ended_at or max(ends, default=recording.started_at)
        self._recording = recording

    def _at(self, at: float) -> float:
        return min(max(at, self._start), self._end) - self._start

    def story(self) -> Story:
        """Return the story of the lane."""
        lane = self._lane
        story = Story(
            model=self._recording.model,
            vertex=self._recording.profile == "vertex",
            began_at=self._start,
            version="",
            payloads=True,
            length=max(self._end - self._start, 0.1),
        )
        for place, turn in enumerate(lane.turns, 1):
            story.questions.append(
                Question(at=self._at(turn.asked_at), number=turn.number, kind="", text=turn.words, size=0, asks=True)
            )
            story.answers += self._answers(turn)
            for began, ended in turn.tool_ran:
                story.tools.append(
                    Tool(at=self._at(began), end=self._at(ended), call_id="", name="of the app", outcome="answered")
                )
            if turn.answered_at is not None and not turn.is_right(lane.asked[:place]):
                at = self._at(turn.answered_at)
                story.notes.append(Note(at=at, event=f"question {turn.number} is answered wrongly", facts="", bad=True))
        story.connections = [self._connection(record) for record in lane.connections]
        story.handles = list(self._handles())
        story.go_aways = list(self._go_aways())
        story.gaps = [
            Gap(at=self._at(gap.start), end=self._at(gap.end), planned=False, for_good=gap.for_good)
            for gap in lane.gaps()
        ]
        return story

    def _answers(self, turn: Turn) -> Iterator[Answer]:
        """Give each beginning of the answer, and what became of it."""
        begun = turn.asked_at
        for restarted, _ in turn.restarts:
            yield self._answer(turn, begun, restarted, "cut", again=begun > turn.asked_at)
            begun = restarted
        again = begun > turn.asked_at
        if turn.answered_at is not None:
            yield self._answer(turn, begun, turn.answered_at, "whole", again=again)
            return
        ended = turn.gave_up_at
        if ended is None and self._lane.died_at is not None and turn.asked_at <= self._lane.died_at:
            ended = self._lane.died_at
        yield self._answer(turn, begun, begun if ended is None else ended, "cut", again=again)

    def _answer(self, turn: Turn, begun: float, ended: float, outcome: str, *, again: bool) -> Answer:
        return Answer(
            at=self._at(begun),
            end=self._at(ended),
            connection=0,
            outcome="whole" if outcome == "whole" else "cut",
            again=again,
            text=turn.words,
        )

    def _connection(self, record: ConnectionRecord) -> Connection:
        lane = self._lane
        end = record.closed_at or lane.ended_at or record.opened_at
        made = Connection(
            at=self._at(record.opened_at),
            end=self._at(end),
            number=record.number + 1,
            ahead=False,
            opened_at=self._at(record.opened_at),
        )
        if record.bound_at is None:
            made.failed = True
            made.ending = (
                f"HTTP {record.http_status}" if record.http_status else record.refused or "dropped before it was bound"
            )
            return made
        made.setup_at = self._at(record.setup_at or record.bound_at)
        made.bound_at = self._at(record.bound_at)
        is_first = record is next(other for other in lane.connections if other.bound_at is not None)
        made.how = "first" if is_first else "resumed" if record.handle else "fresh"
        by_client = record.closed_by == "client"
        made.ending = "closed by the client" if by_client else f"{record.close_code} {record.close_reason}".strip()
        return made

    def _handles(self) -> Iterator[Handle]:
        """Give each handle; one in mid-answer is not resumed from."""
        answering: dict[int | None, bool] = {}
        for event in self._lane.service:
            if event.kind in ("generation_started", "turn_complete"):
                answering[event.connection] = event.kind == "generation_started"
            elif event.kind == "handle" and event.connection is not None:
                kept = not answering.get(event.connection, False)
                yield Handle(at=self._at(event.at), connection=event.connection + 1, digest="", kept=kept)

    def _go_aways(self) -> Iterator[GoAway]:
        for at, event in self._lane.events:
            if not isinstance(event, GoAwayReceived) or event.time_left is None:
                continue
            # resumekit counts dials, the server those that it saw
            records = [record for record in self._lane.connections if record.bound_at is not None]
            used = [record for record in records if (record.bound_at or at) <= at <= (record.closed_at or at)]
            if used:
                yield GoAway(
                    at=self._at(at),
                    end=self._at(at + event.time_left),
                    connection=used[0].number + 1,
                    time_left=event.time_left,
                    move_by=self._at(at + event.move_within),
                )
