"""How the story is shown: side by side and live in a terminal, or line by line."""

from __future__ import annotations

import os
import shutil
import textwrap
import time
from collections.abc import Iterable
from typing import NamedTuple, Protocol, TextIO

from resumekit.cli._demo.recording import Lane, Recording
from resumekit.cli._demo.story import Kind, Line, now_playing, status, story

__all__ = ["Lines", "Live", "Paint", "View", "choose_view"]

_SGR = {
    Kind.YOU: "1",
    Kind.MODEL: "",
    Kind.TOOL: "36",
    Kind.CUT: "2;9",
    Kind.FAULT: "31",
    Kind.SESSION: "2",
    Kind.BACK: "32",
    Kind.ERROR: "1;31",
}
_HEADS = {
    Kind.YOU: "you   ",
    Kind.MODEL: "model ",
    Kind.TOOL: "tool  ",
    Kind.CUT: "model ",
    Kind.FAULT: "  ✗   ",
    Kind.SESSION: "  ·   ",
    Kind.BACK: "  ✓   ",
    Kind.ERROR: "  !   ",
}
_HOW_TO_READ = "The emulated model repeats the question, and counts the turns it remembers."
_MARKS = "Same questions, same faults.  ✗ breaks  · resumekit acts  ✓ connected  ! error"
_INDENT = 6
_NARROWEST, _LOWEST, _WIDEST, _HIGHEST = 60, 16, 160, 44
_ASCII = str.maketrans({"✗": "x", "·": "-", "✓": "+", "│": "|", "─": "-", "┼": "+", "→": ">"})


class Paint:
    """Colours, where they are wanted, and only characters that the stream can take."""

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        self._colour = colour
        try:
            "✗✓·│─┼→".encode(stream.encoding or "ascii")
            self._ascii = False
        except (UnicodeEncodeError, LookupError):
            self._ascii = True

    def __call__(self, text: str, sgr: str = "") -> str:
        """Return a text as it is to be written."""
        text = "".join(char if char.isprintable() else " " for char in text)
        if self._ascii:
            text = text.translate(_ASCII).encode("ascii", "replace").decode()
        return f"\x1b[{sgr}m{text}\x1b[0m" if self._colour and sgr else text


class _Cell(NamedTuple):
    text: str
    sgr: str


class View(Protocol):
    """Shows a recording while it grows."""

    def show(self, recording: Recording, until: float) -> None:
        """Show everything until a moment; nothing that was before it can come later."""

    def close(self) -> None:
        """Leave the terminal as it was."""


def choose_view(stream: TextIO, *, plain: bool) -> View:
    """Return the live view where there is a terminal that has room for it, else the line by line one."""
    is_terminal = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    paint = Paint(stream, colour=is_terminal and not os.environ.get("NO_COLOR"))
    size = shutil.get_terminal_size()
    if plain or not is_terminal or size.columns < _NARROWEST or size.lines < _LOWEST:
        return Lines(stream, paint)
    return Live(stream, paint)


def clock(seconds: float) -> str:
    """Return minutes, seconds and tenths."""
    tenths = max(round(seconds * 10), 0)
    return f"{tenths // 600}:{tenths // 10 % 60:02}.{tenths % 10}"


class Lines:
    """One line after the other, each with its time and its client."""

    def __init__(self, stream: TextIO, paint: Paint) -> None:
        self._stream = stream
        self._paint = paint
        self._until = 0.0

    def show(self, recording: Recording, until: float) -> None:
        """Write the lines that are new."""
        if not self._until:
            self._stream.writelines(self._paint(line) + "\n" for line in [*_introduction(recording), ""])
        lines = [(line.at, lane.name, line) for lane in recording.lanes for line in story(lane)]
        for at, name, line in sorted(lines, key=lambda entry: entry[0]):
            if self._until < at <= until:
                head = f"{clock(at - recording.started_at):>7}  {name:<9}  "
                self._stream.write(
                    self._paint(head) + self._paint(_HEADS[line.kind] + line.text, _SGR[line.kind]) + "\n"
                )
        self._stream.flush()
        self._until = until

    def close(self) -> None:
        """Do nothing."""


class Live:
    """Two columns, drawn anew in place."""

    def __init__(self, stream: TextIO, paint: Paint) -> None:
        self._stream = stream
        self._paint = paint
        self._drawn = 0
        self._size: os.terminal_size = os.terminal_size((0, 0))

    def show(self, recording: Recording, until: float) -> None:
        """Draw the newest lines of both columns."""
        size = shutil.get_terminal_size()
        start = f"\x1b[{self._drawn}A" if self._drawn else "\x1b[?25l"
        if self._drawn and size != self._size:
            start = "\x1b[2J\x1b[H"
        self._size = size
        rows = self._frame(recording, until, min(size.columns, _WIDEST), min(size.lines - 1, _HIGHEST))
        self._stream.write(start + "".join(f"\r{row}\x1b[K\n" for row in rows))
        self._stream.flush()
        self._drawn = len(rows)

    def close(self) -> None:
        """Show the cursor again; the last frame stays."""
        if self._drawn:
            self._stream.write("\x1b[?25h\x1b[0m")
            self._stream.flush()

    def _frame(self, recording: Recording, until: float, columns: int, height: int) -> list[str]:
        width = (columns - 3) // 2
        room = height - 7
        now = time.time() if recording.ended_at is None else recording.ended_at
        left, right = ([_Cell(lane.title, "1"), _status(lane, now)] for lane in recording.lanes)
        story_left, story_right = (_column(lane, until, width)[-room:] for lane in recording.lanes)
        return [
            self._title(recording, now, columns),
            self._paint(_HOW_TO_READ[:columns], "2"),
            self._paint(_MARKS[:columns], "2"),
            *(self._row(a, b, width) for a, b in zip(left, right, strict=True)),
            self._paint("─" * (width + 1) + "┼" + "─" * (width + 1), "2"),
            *(self._row(_at(story_left, row), _at(story_right, row), width) for row in range(room)),
            self._paint(_progress(recording)[:columns], "2"),
        ]

    def _row(self, left: _Cell, right: _Cell, width: int) -> str:
        return self._cell(left, width) + self._paint(" │ ", "2") + self._cell(right, width)

    def _title(self, recording: Recording, now: float, columns: int) -> str:
        left = f"resumekit demo   {_subject(recording)}"
        right = clock(now - recording.started_at)
        return self._paint(f"{left[: columns - len(right) - 1]:<{columns - len(right)}}{right}", "7")

    def _cell(self, cell: _Cell, width: int) -> str:
        text = cell.text[:width]
        return self._paint(text, cell.sgr) + " " * (width - len(text))


def _at(cells: list[_Cell], row: int) -> _Cell:
    return cells[row] if row < len(cells) else _Cell("", "")


def _status(lane: Lane, now: float) -> _Cell:
    kind, text = status(lane, now)
    return _Cell(f"{_HEADS[kind].strip()} {text}", _SGR[kind])


def _column(lane: Lane, until: float, width: int) -> list[_Cell]:
    lines: Iterable[Line] = [line for line in story(lane) if line.at <= until]
    if (playing := now_playing(lane)) is not None:
        lines = [*lines, playing]
    return [_Cell(text, _SGR[line.kind]) for line in lines for text in _wrapped(line, width)]


def _wrapped(line: Line, width: int) -> list[str]:
    wrapper = textwrap.TextWrapper(
        width=width, initial_indent=_HEADS[line.kind], subsequent_indent=" " * _INDENT, max_lines=3, placeholder=" ..."
    )
    return wrapper.wrap(line.text) or [_HEADS[line.kind]]


def _introduction(recording: Recording) -> list[str]:
    """Say what is going to be seen, to somebody who reads from above."""
    asked, faults = len(recording.script), sum(1 for scene in recording.script if scene.strikes)
    return [
        f"resumekit demo: {_subject(recording)}",
        "",
        f"Two assistants, the same {asked} questions, the same {faults} faults on the line of each:",
        *(f"  {lane.name:<9}  is {lane.title}" for lane in recording.lanes),
        _HOW_TO_READ,
        "✗ what breaks  · what resumekit does  ✓ connected  ! what the application gets",
    ]


def _subject(recording: Recording) -> str:
    service = {"developer": "Developer API", "vertex": "Vertex AI"}[recording.profile]
    return f"{service}, emulated, {1 / recording.time_scale:g} times as fast"


def _progress(recording: Recording) -> str:
    lane = recording.resumed
    cuts = sum(1 for scene in recording.script if scene.strikes)
    struck = len({turn.number for turn in lane.turns if turn.scene.strikes})
    return f"question {len(lane.turns)} of {len(recording.script)}, fault {struck} of {cuts}"
