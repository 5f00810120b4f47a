"""The picture: two swimlanes over time, as one SVG file without anything from outside.

Everything in it was recorded: turns by the apps, connections, handles and faults by the servers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

from resumekit.cli._demo.recording import Lane, Recording, Turn
from resumekit.core.events import GoAwayReceived
from resumekit.emulator import ConnectionRecord

__all__ = ["timeline"]

_WIDTH = 1280
_LEFT, _RIGHT = 28, 1252
_LABEL_ROW, _TURN_ROW, _BAR_ROW, _STRIP = 17, 24, 20, 12
_BAR = 13
_LETTER = 0.57
"""Width of a letter, in units of the font size: good enough to keep labels apart."""

_STYLE = """
text { font: 12px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1f2933 }
.page { fill: #ffffff } .lane { fill: #f4f6f8 } .h1 { font-size: 21px; font-weight: 600 } .h2 { font-size: 15px; font-weight: 600 }
.dim { fill: #5f6c7b } .small { font-size: 11px } .good { fill: #14713a } .bad { fill: #b3261e } .strong { font-weight: 600 }
.grid { stroke: #d5dbe1; stroke-width: 1 } .fault { stroke: #b3261e; stroke-width: 1; stroke-dasharray: 3 3 }
.knob { fill: #b3261e } .onknob { fill: #ffffff; font-size: 10px; font-weight: 700 } .right { fill: #bfe5cb; stroke: #3f9c61 }
.wrong { fill: #fbe3e1; stroke: #b3261e; stroke-dasharray: 3 2 } .restart { stroke: #b3261e; stroke-width: 2 } .tool { fill: #008a94 }
.first { fill: #2f6fb5 } .resumed { fill: #4f94d8 } .fresh { fill: #8659b5 } .onbar { fill: #ffffff; font-size: 10px; font-weight: 600 }
.dial { stroke: #7b8794; stroke-width: 2 } .failed { stroke: #b3261e; stroke-width: 1.7; fill: none } .handle { stroke: #f2b705; stroke-width: 1.6 }
.minor { stroke: #f2b705; stroke-width: .8 } .notice { fill: #f08c00; fill-opacity: .45 } .deadline { stroke: #d9730d; stroke-width: 2 } .up { fill: #3f9c61 } .gap { fill: #d64545 }
@media (prefers-color-scheme: dark) {
  text { fill: #e4e9ee } .page { fill: #14181d } .lane { fill: #1d232a } .dim { fill: #9aa7b4 } .good { fill: #6fd694 } .bad { fill: #ff8f86 }
  .grid { stroke: #343d47 } .fault { stroke: #ff8f86 } .knob { fill: #e2574c } .onknob, .onbar { fill: #ffffff }
  .right { fill: #1f5133; stroke: #55b57a } .wrong { fill: #4a2220; stroke: #ff8f86 } .restart { stroke: #ff8f86 }
  .first { fill: #3b7cc4 } .dial { stroke: #8a97a5 } .failed { stroke: #ff8f86 } .deadline { stroke: #ffa94d }
}
"""


class _Axis:
    """Time to x."""

    def __init__(self, start: float, end: float) -> None:
        self.start = start
        self.seconds = max(end - start, 0.1)

    def __call__(self, at: float) -> float:
        return _LEFT + min(max((at - self.start) / self.seconds, 0.0), 1.0) * (_RIGHT - _LEFT)


def timeline(recording: Recording) -> str:
    """Draw a finished recording."""
    end = recording.ended_at or max((lane.ended_at or 0.0 for lane in recording.lanes), default=0.0)
    axis = _Axis(recording.started_at, end)
    cuts = sum(1 for scene in recording.script if scene.strikes)
    parts = [
        _text(
            _LEFT,
            36,
            f"One conversation, {len(recording.script)} questions, {cuts} faults: without resumekit, and with it",
            "h1",
        ),
        _text(_LEFT, 57, _subtitle(recording), "dim"),
    ]
    y = 76.0
    for lane in recording.lanes:
        drawn, y = _lane(lane, axis, y)
        parts += drawn
        y += 14
    parts += _scale(axis, y)
    y += 34
    drawn, y = _legend(y, has_tool=any(scene.response for scene in recording.script))
    parts += drawn
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y:.0f}" width="{_WIDTH}" height="{y:.0f}" role="img">'
        f"<title>resumekit demo: timeline</title><style>{_STYLE}</style>"
    )
    page = f'<rect class="page" width="{_WIDTH}" height="{y:.0f}"/>'
    return "\n".join([head, page, *parts, "</svg>"]) + "\n"


def _subtitle(recording: Recording) -> str:
    service = {"developer": "Developer API", "vertex": "Vertex AI"}.get(recording.profile, recording.profile)
    return (
        f"{service} (emulated), {recording.model}, {recording.client} both times; seconds of the demo: "
        f"the service runs {1 / recording.time_scale:g} times as fast as the real one"
    )


# --- a lane -----------------------------------------------------------------------------------------------------------


def _lane(lane: Lane, axis: _Axis, top: float) -> tuple[list[str], float]:
    labels, label_rows = _fault_labels(lane, axis)
    bars, bar_rows = _in_rows(lane.connections, axis)
    turns_y = top + 30 + label_rows * _LABEL_ROW + 6
    bars_y = turns_y + _TURN_ROW + 8
    tries_y = bars_y + max(bar_rows, 1) * _BAR_ROW
    tries = [record for record in lane.connections if record.bound_at is None]
    strip_y = tries_y + (14 if tries else 4)
    bottom = strip_y + _STRIP + 20
    parts = [f'<rect class="lane" x="8" y="{top:.1f}" width="{_WIDTH - 16}" height="{bottom - top:.1f}" rx="8"/>']
    parts += [_text(_LEFT - 8, top + 21, lane.title, "h2"), _result(lane, top + 21)]
    for x, row, number, label, title in labels:
        y = top + 30 + row * _LABEL_ROW + 8
        parts.append(f'<line class="fault" x1="{x:.1f}" y1="{y:.1f}" x2="{x:.1f}" y2="{strip_y + _STRIP:.1f}"/>')
        parts.append(_titled(f'<circle class="knob" cx="{x:.1f}" cy="{y:.1f}" r="7.5"/>', title))
        parts.append(_text(x, y + 3.6, str(number), "onknob", "middle"))
        parts.append(_text(x + 11, y + 4, label, "small"))
    parts += [part for place, turn in enumerate(lane.turns, 1) for part in _turn(lane, turn, place, axis, turns_y)]
    for record, row in bars:
        parts += _connection(lane, record, axis, bars_y + row * _BAR_ROW)
    parts += [_failed(record, axis, tries_y + 5) for record in tries]
    parts += _strip(lane, axis, strip_y)
    return parts, bottom


def _result(lane: Lane, y: float) -> str:
    lost = len(lane.report.lost) if lane.report is not None else 0
    right = f"{len(lane.right)} of {len(lane.turns)} answers right"
    text = f"{right}, {lost} messages lost" if lane.report is not None else right
    is_good = lost == 0 and len(lane.right) == len(lane.turns)
    return _text(_RIGHT + 8, y, text, f"strong {'good' if is_good else 'bad'}", "end")


def _fault_labels(lane: Lane, axis: _Axis) -> tuple[list[tuple[float, int, int, str, str]], int]:
    """Place the names of the faults, in as many rows as they need."""
    ends: list[float] = []
    placed: list[tuple[float, int, int, str, str]] = []
    numbers = {turn.scene.question: turn.number for turn in lane.turns if turn.scene.strikes}
    order = {question: place for place, question in enumerate(numbers, 1)}
    seen: set[str] = set()
    for event, strike in lane.strikes():
        owner = next((t for t in lane.turns if strike in t.scene.strikes), None)
        if not strike.label or strike.label in seen or owner is None:
            continue
        seen.add(strike.label)
        x = axis(event.at)
        width = 26 + len(strike.label) * 11 * _LETTER
        # below every label that it is in the way of: so no line runs through a label
        row = max((row + 1 for row, end in enumerate(ends) if end > x - 12), default=0)
        ends[row : row + 1] = [x + width]
        placed.append((x, row, order[owner.question], strike.label, strike.story))
    return placed, len(ends)


def _turn(lane: Lane, turn: Turn, place: int, axis: _Axis, y: float) -> Iterable[str]:
    x = axis(turn.asked_at)
    right = turn.is_right(lane.asked[:place])
    if turn.answered_at is not None:
        end, state = axis(turn.answered_at), "answered" if right else "answered wrongly"
    elif turn.gave_up_at is not None:
        end, state = axis(turn.gave_up_at), "never answered"
    elif lane.died_at is not None and turn.asked_at <= lane.died_at:
        end, state = axis(lane.died_at), "cut, never answered"
    else:
        end, state = x + 20, "never answered"
    width = max(end - x, 20.0)
    kind = "right" if right else "wrong"
    box = f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_TURN_ROW - 4}" rx="3"/>'
    yield _titled(box, f"{turn.number}: {turn.words} ({state})")
    for at, _ in turn.restarts:
        line = f'<line class="restart" x1="{axis(at):.1f}" y1="{y - 2:.1f}" x2="{axis(at):.1f}" y2="{y + _TURN_ROW - 2:.1f}"/>'
        yield _titled(line, "the app is told to drop the half answer; it comes again")
    for start, stop in turn.tool_ran:
        ran = max(axis(stop) - axis(start), 3.0)
        line = f'<rect class="tool" x="{axis(start):.1f}" y="{y + _TURN_ROW - 6:.1f}" width="{ran:.1f}" height="3"/>'
        yield _titled(line, "the app's tool runs")
    breaks = sorted(axis(at) for at, _ in turn.restarts)
    room = (breaks[0] if breaks else x + width) - x
    shown = f"{turn.number}  {turn.words}"
    if room < len(shown) * 11 * _LETTER + 8:
        shown = str(turn.number)
    if breaks and room < len(shown) * 11 * _LETTER + 8:
        x = breaks[0]
    yield _text(x + 4, y + 14, shown, f"small strong {'good' if right else 'bad'}")


def _in_rows(records: Sequence[ConnectionRecord], axis: _Axis) -> tuple[list[tuple[ConnectionRecord, int]], int]:
    """Put connections that overlap into different rows."""
    ends: list[float] = []
    placed: list[tuple[ConnectionRecord, int]] = []
    for record in (record for record in records if record.bound_at is not None):
        x = axis(record.opened_at)
        row = next((row for row, end in enumerate(ends) if end <= x), len(ends))
        ends[row : row + 1] = [max(axis(record.closed_at or _RIGHT), x) + 3]
        placed.append((record, row))
    return placed, len(ends)


def _connection(lane: Lane, record: ConnectionRecord, axis: _Axis, y: float) -> Iterable[str]:
    opened = axis(record.opened_at)
    closed = axis(record.closed_at or lane.ended_at or record.opened_at)
    middle = y + _BAR / 2
    name = f"connection {record.number + 1}"
    assert record.bound_at is not None
    bound = axis(record.bound_at)
    if bound - opened > 1:
        line = f'<line class="dial" x1="{opened:.1f}" y1="{middle:.1f}" x2="{bound:.1f}" y2="{middle:.1f}"/>'
        yield _titled(line, f"{name}: dialled, not yet bound")
    first = record is next((other for other in lane.connections if other.bound_at is not None), None)
    kind = "first" if first else "resumed" if record.handle else "fresh"
    how = {"first": "the first", "resumed": "resumed with a handle", "fresh": "a new session, with replayed history"}[
        kind
    ]
    end = (
        f"{record.close_code} {record.close_reason}".strip() if record.closed_by != "client" else "closed by the client"
    )
    width = max(closed - bound, 2.0)
    bar = f'<rect class="{kind}" x="{bound:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_BAR}" rx="2"/>'
    yield _titled(bar, f"{name}: {how}; its end: {end}")
    if width > 18:
        yield _text(bound + 4, y + 10, str(record.number + 1), "onbar")
    yield from _handles(lane, record, axis, y)
    yield from _notices(lane, record, axis, y)


def _handles(lane: Lane, record: ConnectionRecord, axis: _Axis, y: float) -> Iterable[str]:
    """Draw a tick for each handle; a small one in mid-answer, where nobody resumes from it."""
    is_answering = False
    for event in lane.service:
        if event.connection != record.number:
            continue
        if event.kind in {"generation_started", "turn_complete"}:
            is_answering = event.kind == "generation_started"
        elif event.kind == "handle":
            x = axis(event.at)
            kind, top, bottom = ("minor", y, y + 3) if is_answering else ("handle", y - 2, y + _BAR + 2)
            yield f'<line class="{kind}" x1="{x:.1f}" y1="{top:.1f}" x2="{x:.1f}" y2="{bottom:.1f}"/>'


def _failed(record: ConnectionRecord, axis: _Axis, y: float) -> str:
    why = f"HTTP {record.http_status}" if record.http_status else record.refused or "dropped before it was bound"
    cross = f"M{axis(record.opened_at) - 4:.1f},{y - 4:.1f} l8,8 m0,-8 l-8,8"
    return _titled(f'<path class="failed" d="{cross}"/>', f"connection {record.number + 1}: {why}")


def _notices(lane: Lane, record: ConnectionRecord, axis: _Axis, y: float) -> Iterable[str]:
    """Draw each goAway from its arrival to its deadline."""
    for at, event in lane.events:
        if not isinstance(event, GoAwayReceived) or event.time_left is None:
            continue
        if not (record.bound_at or at) <= at <= (record.closed_at or at):
            continue
        start, end = axis(at), axis(at + event.time_left)
        band = f'<rect class="notice" x="{start:.1f}" y="{y + _BAR - 4:.1f}" width="{end - start:.1f}" height="6"/>'
        yield _titled(band, f"goAway: {event.time_left:.1f} s left")
        yield f'<line class="deadline" x1="{end:.1f}" y1="{y - 1:.1f}" x2="{end:.1f}" y2="{y + _BAR + 3:.1f}"/>'


def _strip(lane: Lane, axis: _Axis, y: float) -> Iterable[str]:
    """Draw when there was a connection, and when not."""
    bound = next((record.bound_at for record in lane.connections if record.bound_at is not None), None)
    if bound is None or lane.ended_at is None:
        return
    x, end = axis(bound), axis(lane.ended_at)
    yield f'<rect class="up" x="{x:.1f}" y="{y:.1f}" width="{end - x:.1f}" height="{_STRIP - 6}"/>'
    for gap in lane.gaps():
        left, right = axis(gap.start), axis(gap.end)
        box = (
            f'<rect class="gap" x="{left:.1f}" y="{y:.1f}" width="{max(right - left, 1.5):.1f}" height="{_STRIP - 6}"/>'
        )
        yield _titled(box, f"no connection for {gap.seconds:.2f} s")
        text = (
            f"{gap.seconds:.1f} s, and nobody reconnects" if gap.for_good and lane.died_at else f"{gap.seconds:.1f} s"
        )
        if right - left > len(text) * 11 * _LETTER:
            yield _text((left + right) / 2, y + 20, text, "small bad", "middle")


# --- around the lanes -------------------------------------------------------------------------------------------------


def _scale(axis: _Axis, bottom: float) -> list[str]:
    step = next(step for step in (0.5, 1, 2, 5, 10, 30, 60, 1e9) if axis.seconds / step <= 14)
    parts: list[str] = []
    tick = 0.0
    while tick <= axis.seconds:
        x = axis(axis.start + tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{bottom - 8:.1f}" x2="{x:.1f}" y2="{bottom - 2:.1f}"/>')
        parts.append(_text(x, bottom + 12, f"{tick:g} s", "small dim", "middle"))
        tick += step
    return parts


def _legend(y: float, *, has_tool: bool) -> tuple[list[str], float]:
    samples: list[tuple[str, str]] = [
        ('<rect class="right" x="0" y="-10" width="22" height="13" rx="3"/>', "question asked, answered rightly"),
        ('<rect class="wrong" x="0" y="-10" width="22" height="13" rx="3"/>', "not answered"),
        ('<line class="restart" x1="11" y1="-12" x2="11" y2="4"/>', "half answer dropped; it comes again"),
        ('<circle class="knob" cx="11" cy="-4" r="7"/>', "fault of the script"),
        ('<rect class="gap" x="0" y="-7" width="22" height="6"/>', "no connection"),
        ('<rect class="first" x="0" y="-10" width="22" height="12" rx="2"/>', "first connection"),
        ('<rect class="resumed" x="0" y="-10" width="22" height="12" rx="2"/>', "resumed with a handle"),
        ('<rect class="fresh" x="0" y="-10" width="22" height="12" rx="2"/>', "new session, history replayed"),
        ('<line class="dial" x1="0" y1="-4" x2="22" y2="-4"/>', "dialled, not bound"),
        ('<path class="failed" d="M7,-8 l8,8 m0,-8 l-8,8"/>', "dial failed, or not let in"),
        ('<line class="handle" x1="11" y1="-12" x2="11" y2="3"/>', "resumption handle"),
        (
            '<rect class="notice" x="0" y="-6" width="20" height="6"/><line class="deadline" x1="20" y1="-12" x2="20" y2="2"/>',
            "goAway until its deadline",
        ),
    ]
    if has_tool:
        samples.insert(3, ('<rect class="tool" x="0" y="-6" width="22" height="3"/>', "the app's tool runs"))
    parts: list[str] = []
    x = float(_LEFT)
    for sample, label in samples:
        width = 30 + len(label) * 12 * _LETTER + 22
        if x + width > _RIGHT + 20:
            x, y = float(_LEFT), y + 22
        parts.append(f'<g transform="translate({x:.1f},{y:.1f})">{sample}</g>')
        parts.append(_text(x + 30, y, label, "dim"))
        x += width
    return parts, y + 20


def _text(x: float, y: float, text: str, classes: str, anchor: str = "start") -> str:
    return f'<text class="{classes}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _titled(shape: str, title: str) -> str:
    return f"<g><title>{escape(title)}</title>{shape}</g>"
