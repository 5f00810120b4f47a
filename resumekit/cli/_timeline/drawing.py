"""A story as a picture: one SVG, without anything from outside, that is readable as it is and can be zoomed by a page.

Everything that has a place in time is a group with `data-kind`, `data-a` and, where it has a length, `data-b` (seconds);
what is stretched inside of it has `data-o` and `data-w` (seconds from `data-a`, and its length). A page that zooms needs
no more than these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar
from xml.sax.saxutils import escape, quoteattr

from msgspec import Struct

from resumekit.cli._timeline.story import (
    Answer,
    Connection,
    Gap,
    GoAway,
    Handle,
    Item,
    Note,
    Phase,
    Question,
    Resend,
    Speech,
    Story,
    Tool,
    in_time,
)

__all__ = ["LEFT", "RIGHT", "WIDTH", "Label", "Panel", "draw", "draw_panels"]

WIDTH = 1280
LEFT, RIGHT = 136, 1252
"""Where the plot begins and ends."""
_LETTER = 0.58
"""Width of a letter, in units of the font size: good enough to keep labels inside of boxes."""
_SMALL = 11
_LEAST = 4
"""Letters of a text that are worth to be shown."""
_TOP = 92.0
_LABEL_ROW, _ROW = 17, 24
_BAR = 16
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 1e9)

_T = TypeVar("_T", bound=Item)

STYLE = """
svg.timeline text { font: 12px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1f2933 }
svg.timeline .h1 { font-size: 20px; font-weight: 600 } svg.timeline .small { font-size: 11px } svg.timeline .strong { font-weight: 600 }
.page { fill: #ffffff } .lane { fill: #f4f6f8 } .name { fill: #46525f } svg.timeline .dim { fill: #5f6c7b }
.grid { stroke: #dde2e7; stroke-width: 1 } .hit { fill: #000000; fill-opacity: 0 }
.s-idle, .s-closed { fill: #c3cad2 } .s-dialing { fill: #9fb8d3 } .s-binding { fill: #6f9bcb } .s-live { fill: #3f9c61 }
.s-draining { fill: #e2a03f } .s-moving { fill: #d9730d } .s-waiting { fill: #d64545 } .s-lost { fill: #7a1f1a }
.ask { fill: #2f6fb5 } .tell { fill: #ffffff; stroke: #2f6fb5; stroke-width: 1.5 } .speech { fill: #a9c8e8 }
.whole { fill: #bfe5cb; stroke: #3f9c61 } .cutoff { fill: #fbd9d6; stroke: #b3261e; stroke-dasharray: 3 2 }
.interrupted { fill: #e3e7eb; stroke: #7b8794 } .shadow { fill: #f4f6f8; stroke: #7b8794; stroke-dasharray: 2 2 }
.again { fill: #14713a } svg.timeline .onanswer { fill: #14532d } .tool { fill: #008a94 } .cancelled { fill: #9aa7b4 }
.dial { fill: #b8c2cc } .setup { fill: #8fb3da } .first { fill: #2f6fb5 } .resumed { fill: #4f94d8 } .fresh { fill: #8659b5 }
.unbound { fill: #b8c2cc } .drains { fill: #d98200 } svg.timeline .onbar { fill: #ffffff; font-size: 10px; font-weight: 600 }
.handle { stroke: #d99e00; stroke-width: 2 } .minor { stroke: #d99e00; stroke-width: 1 } .notice { fill: #f08c00; fill-opacity: .35 }
.flag { fill: #d9730d } .deadline { stroke: #d9730d; stroke-width: 2 } .cutline { stroke: #b3261e; stroke-width: 1; stroke-dasharray: 3 3 }
.cross { stroke: #b3261e; stroke-width: 2.4; fill: none } .failed { stroke: #b3261e; stroke-width: 1.8; fill: none }
.resent { fill: #5b3f8f } .gap { fill: #d64545 } .planned { fill: #e2a03f } .note { fill: #7b8794 } .bad, .knob { fill: #b3261e }
svg.timeline .good { fill: #14713a } svg.timeline .wrong { fill: #b3261e }
@media (prefers-color-scheme: dark) {
  svg.timeline text { fill: #e4e9ee } .page { fill: #14181d } .lane { fill: #1d232a } .name { fill: #b9c4cf } svg.timeline .dim { fill: #9aa7b4 }
  .grid { stroke: #303943 } .s-idle, .s-closed { fill: #4b5661 } .s-dialing { fill: #45607d } .s-binding { fill: #4a7bb0 }
  .tell { fill: #14181d; stroke: #79aee6 } .ask { fill: #5a9be0 } .speech { fill: #2c4a69 }
  .whole { fill: #1f5133; stroke: #55b57a } .cutoff { fill: #4a2220; stroke: #ff8f86 } .interrupted { fill: #333c46; stroke: #8a97a5 }
  .shadow { fill: #1d232a; stroke: #8a97a5 } .again { fill: #6fd694 } svg.timeline .onanswer { fill: #d5f5e0 }
  .tool { fill: #26b3bd } .dial, .unbound { fill: #4b5661 } .setup { fill: #3d668f } .first { fill: #3b7cc4 }
  .handle, .minor { stroke: #f2c94c } .flag { fill: #ffa94d } .deadline { stroke: #ffa94d } .cutline, .cross, .failed { stroke: #ff8f86 }
  .resent { fill: #b79be8 } .gap { fill: #e2574c } .note { fill: #9aa7b4 } .bad { fill: #ff8f86 }
  .knob { fill: #e2574c } svg.timeline .good { fill: #6fd694 } svg.timeline .wrong { fill: #ff8f86 }
}
"""


class _Axis:
    """Time to x."""

    def __init__(self, seconds: float) -> None:
        self.seconds = max(seconds, 0.001) * 1.01
        self.scale = (RIGHT - LEFT) / self.seconds

    def __call__(self, at: float) -> float:
        return LEFT + at * self.scale


class Label(Struct, frozen=True):
    """A name for what happened at a time, above the lanes."""

    at: float
    number: int
    text: str
    words: str
    """All of it, to be read when it is pointed at."""


class Panel(Struct, frozen=True):
    """One story of a picture that has several, all on one time axis."""

    story: Story
    name: str = ""
    verdict: str = ""
    is_good: bool = True
    labels: Sequence[Label] = ()


class _Drawing:
    def __init__(self, panels: Sequence[Panel]) -> None:
        self._panels = panels
        self._story = panels[0].story
        """That of the panel which is being drawn."""
        self._whose = ""
        self._axis = _Axis(max(panel.story.length for panel in panels))
        self._lanes: list[str] = []
        """What does not move."""
        self._items: list[str] = []
        self._y = _TOP

    # ------------------------------------------------------------------ building blocks

    def lane(self, name: str, height: float) -> float:
        """Begin a lane; return where its first row is."""
        top = self._y
        self._lanes.append(
            f'<rect class="lane" x="8" y="{top:.1f}" width="{WIDTH - 16}" height="{height + 8:.1f}" rx="5"/>'
        )
        self._lanes.append(_text(20, top + 4 + min(height, _ROW) / 2 + 4, name, "name small strong"))
        self._y += height + 14
        return top + 4

    def item(self, kind: str, item: Item, y: float, *inside: str, length: float | None = None) -> None:
        """Add a group that stands where its item begins."""
        end = "" if length is None else f' data-b="{item.at + length:.4f}"'
        title = f"{_clock(item.at)}  {self._whose}{item.title}"
        self._items.append(
            f'<g class="item" data-kind="{kind}" data-a="{item.at:.4f}"{end} data-y="{y:.1f}"'
            f' transform="translate({self._axis(item.at):.2f} {y:.1f})" role="img" aria-label={quoteattr(title)}>'
            f"<title>{escape(title)}</title>{''.join(inside)}</g>"
        )

    def bar(
        self, style: str, offset: float, length: float, height: float, *, y: float = 0.0, least: float = 2.0
    ) -> str:
        """Return a box that is stretched; offset and length in seconds."""
        x, width = offset * self._axis.scale, max(length * self._axis.scale, least)
        return (
            f'<rect class="{style}" data-o="{offset:.4f}" data-w="{length:.4f}" data-least="{least:g}" x="{x:.2f}" y="{y:.1f}"'
            f' width="{width:.2f}" height="{height:.1f}" rx="2"/>'
        )

    def label(self, text: str, length: float, y: float, style: str, offset: float = 0.0) -> str:
        """Return a text, as much of it as the box that it is in has room for."""
        letter = (10 if "onbar" in style else _SMALL) * _LETTER
        fits = int((length * self._axis.scale - 8) / letter)
        shown = text if len(text) <= fits else f"{text[: fits - 1]}…" if fits >= _LEAST else ""
        return (
            f'<text class="{style}" data-o="{offset:.4f}" data-room="{length:.4f}" data-letter="{letter:.2f}"'
            f' data-text={quoteattr(text)} x="{offset * self._axis.scale + 4:.2f}" y="{y:.1f}">{escape(shown)}</text>'
        )

    def length_of(self, item: Item) -> float:
        return (self._story.length if item.end is None else item.end) - item.at

    # ------------------------------------------------------------------ lanes

    def draw(self, title: str, words: str) -> str:
        for panel in self._panels:
            self._panel(panel)
        bottom = self._y
        scale = self._scale(bottom)
        legend, height = self._legend(bottom + 34)
        head = (
            f'<svg class="timeline" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}"'
            f' role="group" aria-label="timeline" data-seconds="{self._axis.seconds:.4f}" data-left="{LEFT}" data-right="{RIGHT}"'
            f' data-top="{_TOP - 2:g}" data-bottom="{bottom:.0f}"><title>{escape(title)}</title><style>{STYLE}</style>'
        )
        told = [_text(20, 56 + 16 * row, line, "dim") for row, line in enumerate(_wrapped(words, 168)[:2])]
        plot = (
            f'<clipPath id="plot"><rect x="{LEFT - 24}" y="0" width="{RIGHT - LEFT + 36}" height="{bottom + 30:.0f}"/></clipPath>'
            f'<g clip-path="url(#plot)"><g id="scale">{"".join(scale)}</g><g id="items">\n{chr(10).join(self._items)}\n</g></g>'
        )
        page = f'<rect class="page" width="{WIDTH}" height="{height:.0f}"/>'
        return "\n".join([head, page, _text(20, 34, title, "h1"), *told, *self._lanes, plot, *legend, "</svg>"]) + "\n"

    def _panel(self, panel: Panel) -> None:
        story = self._story = panel.story
        if panel.name:
            self._lanes.append(_text(20, self._y + 14, panel.name, "strong"))
            style = "small strong good" if panel.is_good else "small strong wrong"
            self._lanes.append(_text(WIDTH - 20, self._y + 14, panel.verdict, style, "end"))
            self._y += 22
            self._whose = f"{panel.name}: "
        top = self._y
        labels, rows = self._placed(panel.labels)
        self._y += rows * _LABEL_ROW
        if story.phases:
            self._phases(story.phases)
        self._user(story.questions, story.speech)
        self._answers(story.answers)
        if story.tools:
            self._tools(story.tools)
        self._connections(story)
        self._gaps(story.gaps)
        if story.notes:
            self._notes(story.notes)
        self._cuts(story.cuts, top, self._y)
        for label, row in labels:
            self._label(label, top + row * _LABEL_ROW + 8, self._y)
        if panel is not self._panels[-1]:
            self._y += 16

    def _placed(self, labels: Sequence[Label]) -> tuple[list[tuple[Label, int]], int]:
        """Put each label below those that it is in the way of, so that no line runs through a label."""
        ends: list[float] = []
        placed: list[tuple[Label, int]] = []
        for label in labels:
            x = self._axis(label.at)
            row = max((row + 1 for row, end in enumerate(ends) if end > x - 12), default=0)
            ends[row : row + 1] = [x + 26 + len(label.text) * _SMALL * _LETTER]
            placed.append((label, row))
        return placed, len(ends)

    def _label(self, label: Label, y: float, bottom: float) -> None:
        self.item(
            "fault", _Mark(at=label.at, words=label.words), y,
            f'<line class="cutline" x1="0" y1="0" x2="0" y2="{bottom - y - 8:.1f}"/>', '<circle class="knob" cx="0" cy="0" r="7.5"/>',
            f'<text class="onbar" x="0" y="3.6" text-anchor="middle">{label.number}</text>', _text(11, 4, label.text, "small"),
        )  # fmt: skip

    def _phases(self, phases: Sequence[Phase]) -> None:
        y = self.lane("state", 14)
        for phase in phases:
            length = self.length_of(phase)
            name = phase.state.value
            self.item(
                "phase", phase, y, self.bar(f"s-{name}", 0, length, 14, least=0.5),
                self.label(name, length, 11, "onbar"), length=length,
            )  # fmt: skip

    def _user(self, questions: Sequence[Question], speech: Sequence[Speech]) -> None:
        y = self.lane("user", _ROW)
        for spoken in speech:
            length = self.length_of(spoken)
            self.item("speech", spoken, y, self.bar("speech", 0, length, 12, y=6), length=length)
        for question in questions:
            style = "ask" if question.asks else "tell"
            number = (
                f'<text class="onbar" x="0" y="15.5" text-anchor="middle">{question.number}</text>'
                if question.asks
                else ""
            )
            self.item(
                "question",
                question,
                y,
                f'<circle class="{style}" cx="0" cy="12" r="{8 if question.asks else 5}"/>{number}',
            )

    def _answers(self, answers: Sequence[Answer]) -> None:
        y = self.lane("model", _ROW)
        styles = {"cut": "cutoff", "open": "interrupted"}
        for answer in answers:
            length = self.length_of(answer)
            inside = [self.bar(styles.get(answer.outcome, answer.outcome), 0, length, _ROW - 4, y=2, least=3.0)]
            if answer.again:
                inside.append('<path class="again" d="M0,2 l7,0 l-7,7 z"/>')
            if answer.text:
                inside.append(self.label(answer.text, length, 16, "small onanswer"))
            self.item("answer", answer, y, *inside, length=length)

    def _tools(self, tools: Sequence[Tool]) -> None:
        placed, rows = _rows(tools, self.length_of, self._axis.scale)
        y = self.lane("tools", max(rows * 16, 16))
        for tool, row in placed:
            length = self.length_of(tool)
            style = "cancelled" if tool.outcome == "cancelled" else "tool"
            self.item(
                "tool", tool, y + row * 16, self.bar(style, 0, length, 12, y=1, least=4.0),
                self.label(tool.name, length, 10, "onbar"), length=length,
            )  # fmt: skip

    def _connections(self, story: Story) -> None:
        placed, rows = _rows(story.connections, self.length_of, self._axis.scale)
        row_of = {connection.number: row for connection, row in placed}
        height = _BAR + 10
        y = self.lane("connections", max(rows, 1) * height)
        for connection, row in placed:
            self._connection(connection, y + row * height + 4)
        for go_away in story.go_aways:
            self._go_away(go_away, y + row_of.get(go_away.connection, 0) * height + 4)
        for handle in story.handles:
            self._handle(handle, y + row_of.get(handle.connection, 0) * height + 4)
        for resend in story.resends:
            self._resend(resend, y + row_of.get(resend.connection, 0) * height + 4)

    def _connection(self, connection: Connection, y: float) -> None:
        length = self.length_of(connection)
        end = connection.at + length
        steps = [
            ("dial", connection.at, connection.setup_at or end),
            ("setup", connection.setup_at, connection.bound_at or end),
            (_BARS[connection.how], connection.bound_at, end),
            ("drains", connection.drains_at, end),
        ]
        inside = [
            self.bar(
                style,
                start - connection.at,
                stop - start,
                6 if style == "dial" else _BAR,
                y=5 if style == "dial" else 0,
                least=1.0,
            )
            for style, start, stop in steps
            if start is not None
        ]
        if connection.bound_at is not None:
            offset = connection.bound_at - connection.at
            inside.append(self.label(str(connection.number), length - offset, 12, "onbar", offset))
        if connection.failed:
            inside.append(
                f'<g data-o="{length:.4f}" transform="translate({length * self._axis.scale:.2f} 0)">'
                '<path class="failed" d="M-4,4 l8,8 m0,-8 l-8,8"/></g>'
            )
        self.item("connection", connection, y, *inside, length=length)

    def _go_away(self, go_away: GoAway, y: float) -> None:
        length = self.length_of(go_away)
        move, end = (
            f'<g data-o="{offset:.4f}" transform="translate({offset * self._axis.scale:.2f} 0)"><line class="deadline" x1="0"'
            f' y1="{top}" x2="0" y2="{_BAR + 4}"{dash}/></g>'
            for offset, top, dash in (
                (go_away.move_by - go_away.at, _BAR - 2, ' stroke-dasharray="2 1"'),
                (length, -2, ""),
            )
        )
        self.item(
            "go-away", go_away, y, self.bar("notice", 0, length, 4, y=_BAR), move, end,
            f'<path class="flag" d="M0,{_BAR + 4} l0,-{_BAR + 8} l8,4 l-8,4"/>', length=length,
        )  # fmt: skip

    def _handle(self, handle: Handle, y: float) -> None:
        style, top, bottom = ("handle", -2, _BAR + 2) if handle.kept else ("minor", 0, 6)
        self.item(
            "handle", handle, y, f'<line class="{style}" x1="0" y1="{top}" x2="0" y2="{bottom}"/>',
            f'<rect class="hit" x="-3" y="-2" width="6" height="{_BAR + 4}"/>',
        )  # fmt: skip

    def _resend(self, resend: Resend, y: float) -> None:
        self.item("resend", resend, y, f'<path class="resent" d="M0,{_BAR + 1} l5,6 l-10,0 z"/>')

    def _cuts(self, cuts: Sequence[Connection], top: float, bottom: float) -> None:
        for cut in cuts:
            mark = _Mark(at=cut.end or 0.0, words=f"connection {cut.number} is cut: {cut.ending}")
            self.item(
                "cut", mark, top - 2, f'<line class="cutline" x1="0" y1="0" x2="0" y2="{bottom - top - 6:.1f}"/>',
                '<path class="cross" d="M-5,-5 l10,10 m0,-10 l-10,10"/>',
            )  # fmt: skip

    def _gaps(self, gaps: Sequence[Gap]) -> None:
        y = self.lane("no connection", 14)
        for gap in gaps:
            length = self.length_of(gap)
            style = "planned" if gap.planned and not gap.for_good else "gap"
            self.item(
                "gap",
                gap,
                y,
                self.bar(style, 0, length, 12, y=1),
                self.label(
                    f"{length:.2f} s{', for good' if gap.for_good else ' so far' if gap.so_far else ''}",
                    length,
                    11,
                    "onbar",
                ),
                length=length,
            )

    def _notes(self, notes: Sequence[Note]) -> None:
        y = self.lane("events", 14)
        for note in notes:
            style = "bad" if note.bad else "note"
            self.item("note", note, y, f'<path class="{style}" d="M0,2 l5,5 l-5,5 l-5,-5 z"/>')

    # ------------------------------------------------------------------ around them

    def _scale(self, bottom: float) -> list[str]:
        seconds = self._axis.seconds
        step = next(step for step in _STEPS if seconds / step <= 12)
        parts: list[str] = []
        for number in range(int(seconds / step) + 1):
            x = self._axis(number * step)
            parts.append(f'<line class="grid" x1="{x:.2f}" y1="{_TOP - 2:g}" x2="{x:.2f}" y2="{bottom:.1f}"/>')
            parts.append(_text(x, bottom + 14, _clock(number * step, step), "small dim", "middle"))
        return parts

    def _legend(self, y: float) -> tuple[list[str], float]:
        stories = [panel.story for panel in self._panels]
        has = {kind for story in stories for kind, count in story.counts().items() if count}
        answers = [answer for story in stories for answer in story.answers]
        outcomes = {answer.outcome for answer in answers}
        connections = [connection for story in stories for connection in story.connections]
        hows = {connection.how for connection in connections}
        samples = [
            (True, '<circle class="ask" cx="11" cy="-4" r="5"/>', "a question"),
            (
                any(not question.asks for story in stories for question in story.questions),
                '<circle class="tell" cx="11" cy="-4" r="5"/>',
                "told, not asked",
            ),
            ("speech" in has, '<rect class="speech" y="-10" width="22" height="12" rx="2"/>', "speech, video"),
            (True, '<rect class="whole" y="-10" width="22" height="13" rx="2"/>', "an answer"),
            ("cut" in outcomes, '<rect class="cutoff" y="-10" width="22" height="13" rx="2"/>', "cut"),
            (
                any(answer.again for answer in answers),
                '<rect class="whole" y="-10" width="22" height="13" rx="2"/><path class="again" d="M0,-10 l7,0 l-7,7 z"/>',
                "given again",
            ),
            ("interrupted" in outcomes, '<rect class="interrupted" y="-10" width="22" height="13" rx="2"/>', "interrupted"),
            ("shadow" in outcomes, '<rect class="shadow" y="-10" width="22" height="13" rx="2"/>', "run again unseen"),
            ("tool" in has, '<rect class="tool" y="-9" width="22" height="11" rx="2"/>', "a tool runs"),
            (True, '<rect class="dial" y="-6" width="12" height="5"/><rect class="setup" x="12" y="-10" width="10" height="13"/>', "dial, setup"),
            (True, '<rect class="first" y="-10" width="22" height="13" rx="2"/>', "live"),
            ("resumed" in hows, '<rect class="resumed" y="-10" width="22" height="13" rx="2"/>', "resumed"),
            ("fresh" in hows, '<rect class="fresh" y="-10" width="22" height="13" rx="2"/>', "fresh start"),
            (
                "go-away" in has,
                '<path class="flag" d="M2,4 l0,-15 l8,4 l-8,4"/><line class="deadline" x1="20" y1="-10" x2="20" y2="4"/>',
                "goAway, its end",
            ),
            ("handle" in has, '<line class="handle" x1="8" y1="-11" x2="8" y2="4"/><line class="minor" x1="15" y1="-9" x2="15" y2="-2"/>', "a handle; not used"),
            ("resend" in has, '<path class="resent" d="M11,-9 l6,8 l-12,0 z"/>', "sent again"),
            ("cut" in has, '<path class="cross" d="M6,-9 l10,10 m0,-10 l-10,10"/>', "a cut"),
            (any(connection.failed for connection in connections), '<path class="failed" d="M7,-8 l8,8 m0,-8 l-8,8"/>', "no connection came of it"),
            ("gap" in has, '<rect class="gap" y="-9" width="11" height="11"/><rect class="planned" x="11" y="-9" width="11" height="11"/>', "no connection: cut, planned"),
            ("note" in has, '<path class="note" d="M6,-9 l5,5 l-5,5 l-5,-5 z"/><path class="bad" d="M17,-9 l5,5 l-5,5 l-5,-5 z"/>', "other events"),
        ]  # fmt: skip
        parts: list[str] = []
        x, row = 20.0, y + 6
        for shown, sample, text in samples:
            if not shown:
                continue
            width = 34 + len(text) * _SMALL * _LETTER + 14
            if x + width > WIDTH - 12:
                x, row = 20.0, row + 22
            parts.append(
                f'<g class="legend" transform="translate({x:.1f} {row:.1f})">{sample}{_text(29, 1, text, "small")}</g>'
            )
            x += width
        return parts, row + 18


class _Mark(Item):
    def __init__(self, *, at: float, words: str) -> None:
        super().__init__(at=at)
        self._words = words

    @property
    def title(self) -> str:
        return self._words


_BARS = {"first": "first", "continued": "resumed", "resumed": "resumed", "fresh": "fresh", "unbound": "unbound"}


def _rows(items: Iterable[_T], length_of: Callable[[_T], float], scale: float) -> tuple[list[tuple[_T, int]], int]:
    """Put items that overlap into different rows."""
    ends: list[float] = []
    placed: list[tuple[_T, int]] = []
    for item in items:
        row = next((row for row, end in enumerate(ends) if end <= item.at), len(ends))
        ends[row : row + 1] = [item.at + max(length_of(item), 1 / scale)]
        placed.append((item, row))
    return placed, len(ends)


def _clock(seconds: float, step: float = 0.001) -> str:
    digits = 0 if step >= 1 else 1 if step >= 0.1 else 2 if step >= 0.01 else 3
    if seconds < 60 and step < 60:
        return f"{seconds:.{digits}f} s"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    clock = f"{minutes}:{rest:0{2 if not digits else 3 + digits}.{digits}f}"
    return f"{hours}:{clock.zfill(5)}" if hours else clock


def _text(x: float, y: float, text: str, style: str = "", anchor: str = "start") -> str:
    at = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}"{at}>{escape(text)}</text>'


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) + 1 > width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def draw(story: Story) -> str:
    """Return the picture of a story, as SVG."""
    title = f"{story.model.rpartition('/')[2] or 'a session'}, {in_time(story.length)}"
    return draw_panels([Panel(story)], title, story.summary())


def draw_panels(panels: Sequence[Panel], title: str, words: str) -> str:
    """Return one picture of several stories, as SVG."""
    return _Drawing(panels).draw(title, words)
