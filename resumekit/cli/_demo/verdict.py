"""The end of the demo: what the servers' ledgers prove, and whether resumekit kept its word."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import NamedTuple

from resumekit.cli._demo.recording import Lane, Recording
from resumekit.cli._demo.script import tag_of

__all__ = ["figures", "problems", "report", "sentence"]


class Row(NamedTuple):
    """A line of the table."""

    label: str
    plain: str
    resumed: str


def problems(recording: Recording) -> list[str]:
    """Return what speaks against resumekit, or against the demo itself; empty: all is well."""
    lane = recording.resumed
    found: list[str] = []
    if lane.died_at is not None:
        found.append(f"the app behind resumekit saw an error: {lane.error}")
    if (ledger := lane.report) is None:
        found.append("the emulator gave no ledger")
    else:
        for what in ("lost", "doubled", "reordered"):
            texts: list[str] = getattr(ledger, what)
            if texts:
                found.append(f"{what} through resumekit: {', '.join(map(repr, texts))}")
        if ledger.history_with_handle:
            found.append(f"history was sent beside a handle {ledger.history_with_handle} times")
    right = lane.right
    for turn in lane.turns:
        if turn.answered_at is None:
            found.append(f"through resumekit unanswered: {turn.question!r}")
        elif turn not in right:
            found.append(f"through resumekit answered wrongly: {turn.question!r}: {turn.text!r}")
        runs = len(turn.tool_ran)
        if runs != bool(turn.scene.response):
            found.append(f"through resumekit the tool ran {runs} times for {turn.question!r}")
    if len(lane.turns) < len(recording.script):
        found.append(f"through resumekit only {len(lane.turns)} of {len(recording.script)} questions were asked")
    return found + _against_the_demo(recording)


def _against_the_demo(recording: Recording) -> list[str]:
    """Whoever survives what never happened has proved nothing."""
    wanted: Counter[str] = Counter()
    for scene in recording.script:
        for strike in scene.strikes:
            wanted[tag_of(strike.fault)] += strike.fault.times or 1
    struck = Counter(tag for record in recording.resumed.connections for tag in record.faults)
    found = [f"planned, and never struck: {tag} ({count} times)" for tag, count in (wanted - struck).items()]
    if wanted and len(recording.plain.right) == len(recording.script):
        found.append("the plain client survived: the demo shows nothing")
    return found


def figures(lane: Lane, started_at: float) -> dict[str, object]:
    """Return the numbers of a lane, as JSON-able data."""
    gaps = lane.gaps()
    return {
        "client": lane.title,
        "ledger": lane.report.as_dict() if lane.report is not None else None,
        "questions": len(lane.turns),
        "answers_right": len(lane.right),
        "error": lane.error or None,
        "died_after_seconds": None if lane.died_at is None else round(lane.died_at - started_at, 3),
        "seconds_without_connection": round(sum(gap.seconds for gap in gaps), 3),
        "gaps": [{"start": round(gap.start - started_at, 3), "seconds": round(gap.seconds, 3)} for gap in gaps],
        "longest_wait_seconds": round(lane.longest_wait, 3),
        "faults": [strike.story for _, strike in lane.strikes()],
        "turns": [
            {
                "question": turn.question,
                "answer": turn.text if turn.answered_at is not None else None,
                "right": turn in lane.right,
                "restarts": len(turn.restarts),
                "tool_runs": len(turn.tool_ran),
            }
            for turn in lane.turns
        ],
    }


def _rows(recording: Recording) -> list[Row]:
    plain, resumed = recording.lanes

    def held(lane: Lane, what: str) -> str:
        return "?" if lane.report is None else str(len(getattr(lane.report, what)))

    def connections(lane: Lane) -> str:
        return "?" if lane.report is None else f"{lane.report.bound} (of {lane.report.connections} dialled)"

    def down(lane: Lane) -> str:
        gaps = lane.gaps()
        seconds = f"{sum(gap.seconds for gap in gaps):.1f} s"
        if gaps and gaps[-1].for_good and lane.died_at is not None:
            return f"{seconds}, for good"
        return f"{seconds} in {len(gaps)} gaps"

    labels = {
        "held": "of these in the final state",
        "lost": "lost",
        "doubled": "doubled",
        "reordered": "reordered",
    }

    def runs(lane: Lane) -> str:
        return str(sum(len(turn.tool_ran) for turn in lane.turns))

    has_tool = any(scene.response for scene in recording.script)
    asked = "questions, and answers of the tool" if has_tool else "questions of the user"
    return [
        Row(asked, str(len(plain.sent)), str(len(resumed.sent))),
        *(Row(label, held(plain, what), held(resumed, what)) for what, label in labels.items()),
        Row("right answers", *(f"{len(lane.right)} of {len(lane.turns)}" for lane in recording.lanes)),
        *([Row("runs of the tool", runs(plain), runs(resumed))] if has_tool else []),
        Row("connections", connections(plain), connections(resumed)),
        Row("without a connection", down(plain), down(resumed)),
    ]


def sentence(lane: Lane, started_at: float) -> str:
    """Say in one sentence what the user went through."""
    total, right = len(lane.turns), len(lane.right)
    if lane.died_at is not None:
        in_answer = any(turn.text and turn.answered_at is None for turn in lane.turns)
        how = "broke off in the middle of a sentence" if in_answer else "fell silent"
        return (
            f"I got {right} of {total} answers: {lane.died_at - started_at:.1f} s into the talk "
            f"the assistant {how}, and never said a word again."
        )
    if unanswered := sum(turn.answered_at is None for turn in lane.turns):
        return f"I got {right} of {total} answers; {unanswered} of my questions were never answered to the end."
    restarted = sum(1 for turn in lane.turns if turn.restarts)
    return (
        f"I got {right} of {total} answers; {restarted} of them began anew after a break, "
        f"and the longest I waited was {lane.longest_wait:.1f} s."
    )


def report(recording: Recording) -> str:
    """Return the end of the demo as text."""
    rows = [Row("", "plain", "resumekit"), *_rows(recording)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["What the servers' ledgers say (final state: what the model knows at the end)", ""]
    lines += [f"  {a:<{widths[0]}}   {b:>{widths[1]}}   {c:>{widths[2]}}".rstrip() for a, b, c in rows]
    lines += [
        "",
        f"What the users would say (of a service that is {1 / recording.time_scale:g} times as fast as the real one)",
        "",
    ]
    for lane in recording.lanes:
        said = f'{lane.name:<9}  "{sentence(lane, recording.started_at)}"'
        lines += textwrap.wrap(said, 78, initial_indent="  ", subsequent_indent=" " * 14)
    return "\n".join(lines)
