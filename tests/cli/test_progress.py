"""What says that something goes on."""

from __future__ import annotations

import io
import threading

from resumekit.cli._progress import working


class Screen(io.StringIO):
    def __init__(self, *, terminal):
        super().__init__()
        self.is_terminal = terminal
        self.written = threading.Event()

    def isatty(self):
        return self.is_terminal

    def flush(self):
        self.written.set()


def test_a_terminal_is_told_what_goes_on_and_is_left_clean():
    screen = Screen(terminal=True)
    with working("drawing call.jsonl", stream=screen, after=0.0):
        assert screen.written.wait(60)
    assert screen.getvalue().startswith("\r\x1b[Kdrawing call.jsonl: 0 s")
    assert screen.getvalue().endswith("\r\x1b[K")


def test_it_stays_on_one_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    screen = Screen(terminal=True)
    with working("drawing " + 40 * "x", stream=screen, after=0.0):
        assert screen.written.wait(60)
    assert screen.getvalue().split("\x1b[K")[1].rstrip("\r") == "drawing xxxxxxxxxxx"


def test_short_work_and_no_terminal_are_told_nothing():
    screen, file = Screen(terminal=True), Screen(terminal=False)
    with working("drawing", stream=screen, after=1000.0), working("drawing", stream=file, after=0.0):
        pass
    assert screen.getvalue() == file.getvalue() == ""
