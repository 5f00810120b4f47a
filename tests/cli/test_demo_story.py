"""What is told of the demo, and how it is shown."""

from __future__ import annotations

import io
import os
import re

import pytest

from resumekit.cli._demo import view as _view
from resumekit.cli._demo.recording import in_words
from resumekit.cli._demo.story import Kind, now_playing, status, story
from resumekit.cli._demo.view import Lines, Live, Paint, choose_view
from resumekit.core import events
from tests.cli import recordings


@pytest.fixture
def recording():
    return recordings.good()


# --- the story ----------------------------------------------------------------------------------------------------


def test_the_story_of_the_plain_client_ends_with_what_its_code_got(recording):
    assert [(line.kind, line.text) for line in story(recording.plain)] == [
        (Kind.BACK, "connected"),
        (Kind.YOU, "Hello?"),
        (Kind.MODEL, "answer to Hello?: 1 user turns held"),
        (Kind.YOU, "Is it <cold>?"),
        (Kind.CUT, "answer to Is ... (cut off)"),
        (Kind.FAULT, "the line is reset"),
        (Kind.ERROR, "APIError: 1006 None."),
        (Kind.ERROR, "nobody caught it: the conversation is over"),
        (Kind.YOU, "Bye?"),
        (Kind.ERROR, "no answer"),
    ]


def test_a_tool_and_a_user_who_gives_up_are_told(recording):
    lane = recording.plain
    lane.died_at = None
    lane.turns[1].tool_ran.append((20.5, 20.9))
    lane.turns[1].gave_up_at = 26.0
    told = [(line.kind, line.text) for line in story(lane)][4:]
    assert told[0] == (Kind.TOOL, "the app looks it up in its timetable")
    assert told[2:4] == [
        (Kind.CUT, "answer to Is ... (nothing more came)"),
        (Kind.ERROR, "no answer: the user gives up"),
    ]


def test_the_story_through_resumekit_goes_on(recording):
    told = [(line.kind, line.text) for line in story(recording.resumed)]
    assert (Kind.SESSION, "8.0 s left: moves when the answer is through") in told
    assert (Kind.SESSION, "connection lost: Reset") in told
    assert (Kind.SESSION, "no connection: HTTP 503") in told
    assert (Kind.CUT, "answer to Is ... (dropped)") in told
    assert (Kind.BACK, "resumed after 1.00 s, 1 question resent") in told
    assert told[-1][0] is Kind.MODEL


def test_what_is_told_again_is_told_in_fewer_words(recording):
    lane = recording.resumed
    lane.events = [(20.0, lane.events[3][1]), (20.1, lane.events[3][1])]
    told = [line.text for line in story(lane) if line.kind is Kind.SESSION]
    assert told == ["no connection: HTTP 503", "no connection, again"]


@pytest.mark.parametrize(
    ("event", "kind", "text"),
    [
        (events.GoAwayReceived(connection=1, time_left=None, move_within=6.0), Kind.SESSION, "moves when"),
        (events.Moving(connection=1, quiet=True), Kind.SESSION, "quiet now"),
        (events.Moving(connection=1, quiet=False), Kind.SESSION, "time is up"),
        (events.TurnShadowed(message=1, discarded_frames=0), Kind.SESSION, "run again, unheard"),
        (events.TurnSettled(message=1, reanswers=2), Kind.SESSION, "gave the question up"),
        (events.SessionEnded(error="it broke"), Kind.ERROR, "it broke"),
        (
            events.FreshStarted(
                connection=2, downtime=1.0, replayed_turns=4, holes=0, resent_messages=2, lost_audio=0.0
            ),
            Kind.BACK,
            "new session after 1.00 s, 4 turns of history replayed, 2 questions resent",
        ),
        (
            events.Resumed(
                connection=2,
                planned=True,
                downtime=0.06,
                resent_messages=0,
                resent_audio=0.0,
                lost_audio=0.0,
                handle_age=1.0,
            ),
            Kind.BACK,
            "moved in 0.06 s",
        ),
        (
            events.ConnectionLost(
                connection=1, phase="bind", verdict="old binding", close_code=1011, status_code=None, reason="In use."
            ),
            Kind.SESSION,
            "not let in: 1011 In use.",
        ),
    ],
)
def test_events_have_their_words(event, kind, text, recording):
    recording.resumed.events = [(5.0, event)]
    line = next(line for line in story(recording.resumed) if line.at == 5.0)
    assert line.kind is kind
    assert text in line.text


def test_an_event_that_tells_the_user_nothing_is_no_line(recording):
    recording.resumed.events = [(5.0, events.SessionEnded(error=None))]
    assert not [line for line in story(recording.resumed) if line.at == 5.0]


def test_status_follows_the_connection(recording):
    lane = recording.resumed
    lane.turns[-1].answered_at = None
    lane.turns[-1].last_heard_at = 31.0
    assert status(lane, 31.5) == (Kind.BACK, "connection 2")  # of those that were let in
    assert status(lane, 36.0) == (Kind.SESSION, "not a byte for 5 s")
    assert now_playing(lane).text == in_words(lane.turns[-1].text)
    lane.events.pop()
    assert status(lane, 31.5) == (Kind.FAULT, "reconnecting")
    del lane.events[2:]
    assert status(lane, 31.5) == (Kind.SESSION, "connected, and has to move soon")
    assert status(recording.plain, 31.0) == (Kind.ERROR, "dead for 10 s")
    recording.plain.died_at = None
    assert status(recording.plain, 20.5)[1] == "connected"
    recording.plain.connections.clear()
    assert status(recording.plain, 20.5)[1] == "connecting"


# --- views --------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def __init__(self, encoding="utf-8", *, is_terminal=True):
        super().__init__()
        self._encoding, self._is_terminal = encoding, is_terminal

    @property
    def encoding(self):
        return self._encoding

    def isatty(self):
        return self._is_terminal


@pytest.fixture
def size(monkeypatch):
    def resize(columns, lines):
        monkeypatch.setattr(_view.shutil, "get_terminal_size", lambda: os.terminal_size((columns, lines)))

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    resize(80, 24)
    return resize


def without_codes(text):
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text)


@pytest.mark.parametrize(
    ("view", "room", "term"),
    [(Live, (80, 24), "xterm"), (Lines, (80, 24), "dumb"), (Lines, (50, 24), "xterm"), (Lines, (80, 10), "xterm")],
)
def test_the_live_view_needs_a_terminal_with_room(view, room, term, size, monkeypatch):
    size(*room)
    monkeypatch.setenv("TERM", term)
    assert type(choose_view(Terminal(), plain=False)) is view


@pytest.mark.usefixtures("size")
def test_the_live_view_is_not_for_pipes_nor_for_those_who_do_not_want_it():
    assert type(choose_view(Terminal(is_terminal=False), plain=False)) is Lines
    assert type(choose_view(Terminal(), plain=True)) is Lines


@pytest.mark.parametrize(("columns", "lines"), [(60, 16), (80, 24), (140, 40), (300, 90)])
def test_the_live_view_fits_the_terminal(columns, lines, size, recording):
    size(columns, lines)
    stream = Terminal()
    view = choose_view(stream, plain=False)
    view.show(recording, 24.0)
    view.close()

    rows = without_codes(stream.getvalue()).replace("\r", "").splitlines()
    assert len(rows) < lines
    assert max(map(len, rows)) <= columns
    assert "APIError" in stream.getvalue()


def test_the_live_view_is_drawn_in_place_and_anew_after_a_resize(size, recording):
    stream = Terminal()
    view = choose_view(stream, plain=False)
    view.show(recording, 24.0)
    rows = stream.getvalue().count("\n")
    view.show(recording, 25.0)
    assert f"\x1b[{rows}A" in stream.getvalue()
    assert "\x1b[2J" not in stream.getvalue()
    size(100, 30)
    view.show(recording, 26.0)
    assert "\x1b[2J" in stream.getvalue()
    view.close()
    assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h") == 1


def test_no_color_means_no_colour(size, recording, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    choose_view(stream, plain=False).show(recording, 24.0)
    assert re.findall(r"\x1b\[[\d;]*m", stream.getvalue()) == []


def test_lines_are_told_once_and_in_order(recording):
    stream = Terminal(is_terminal=False)
    view = choose_view(stream, plain=False)
    for until in (15.0, 21.5, 40.0):
        view.show(recording, until)
    view.close()

    head, _, told = stream.getvalue().partition("\n\n")[2].partition("\n\n")
    assert "Two assistants, the same " in head
    assert "plain      is " in head
    assert max(map(len, head.splitlines())) <= 80
    told = told.splitlines()
    assert "\x1b" not in stream.getvalue()
    assert [line[:7] for line in told] == sorted(line[:7] for line in told)
    assert len(told) == len(set(told)) == sum(len(story(lane)) for lane in recording.lanes)


def test_a_stream_without_unicode_gets_ascii_and_no_control_character_passes():
    paint = Paint(Terminal("ascii"), colour=False)
    assert paint("✗ │ tür\x1b[2J") == "x | t?r [2J"
