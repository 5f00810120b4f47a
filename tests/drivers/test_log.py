"""The log: what stands in it at which level, and that each line is of use."""

from __future__ import annotations

import logging
import re

import pytest

from resumekit.core import events
from resumekit.core.failures import Verdict
from resumekit.drivers.log import LEVELS, SessionLog, level_of
from resumekit.drivers.wording import line_of, line_of_loss

KINDS = [getattr(events, name) for name in events.__all__ if name != "Event"]
NO_FAULT = {
    events.Admitted,
    events.Connected,
    events.Continued,
    events.Moving,
    events.ReconnectScheduled,
    events.Resumed,
    events.SessionEnded,
}
"""What tells that things go on."""
LOST = {"connection": 2, "verdict": "resume now", "close_code": None, "status_code": None}
SCHEDULED = events.ReconnectScheduled(attempt=2, delay=0.4)


def example(kind, **fields):
    """An event with something in each field."""
    examples = {"float": 12.5, "int": 3, "str": "said so", "bool": True, "tuple": (3, 4)}

    def value(annotation):
        if annotation.startswith("Literal"):
            return annotation.split("'")[1]
        return next(value for name, value in examples.items() if annotation.startswith(name))

    return kind(**{name: value(kind.__annotations__[name]) for name in kind.__struct_fields__ if name in kind.__annotations__} | fields)  # fmt: skip


def lost(phase="live", **fields):
    return events.ConnectionLost(**{**LOST, "phase": phase, "reason": "", **fields})


@pytest.fixture
def told(caplog):
    """A log, and what is written into it."""
    caplog.set_level(logging.DEBUG, "resumekit.test")
    log = SessionLog(logging.getLogger("resumekit.test"), "session 1")

    def tell(*happened):
        caplog.clear()
        for event in happened:
            log.tell(event)
        return [f"{record.levelname} {record.getMessage()}" for record in caplog.records]

    tell.records = lambda: caplog.records
    return tell


# --- every event ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_is_one_readable_line(kind):
    text = str(line_of(example(kind)))
    assert text
    assert not re.search(r"\n|  |None|Literal|: :|; ;|: $|\(\)", text)
    if kind in LEVELS:
        assert kind.__name__ not in text, "words, not a representation"


@pytest.mark.parametrize("kind", [kind for kind in LEVELS if kind not in NO_FAULT], ids=lambda kind: kind.__name__)
def test_every_line_of_a_fault_says_what_comes_of_it(kind):
    line = line_of(example(kind))
    assert line.what
    assert line.effect


@pytest.mark.parametrize(
    "kind", [kind for kind, level in LEVELS.items() if level == logging.WARNING], ids=lambda kind: kind.__name__
)
def test_every_warning_says_what_to_do(kind):
    """There is something to do, or it would be no warning."""
    assert line_of(example(kind)).advice


@pytest.mark.parametrize("phase", ["dial", "bind", "live"])
@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_loss_says_who_ended_it_and_what_comes_of_it(phase, verdict):
    event = lost(phase, verdict=verdict.value, close_code=1011, reason="Internal error encountered.", ended_by="they")
    line = line_of_loss(event, SCHEDULED)
    assert "closed by the service with 1011 Internal error encountered)" in line.what
    assert ("0.40 s (attempt 2)" in line.effect) is (verdict is not Verdict.FATAL)
    assert line_of_loss(event).effect


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"ended_by": "they", "close_code": 1001}, "closed by the service with 1001"),
        ({"ended_by": "they", "status_code": 503, "reason": "Busy"}, "refused by the service with HTTP 503 Busy"),
        ({"ended_by": "they", "status_code": 503}, "refused by the service with HTTP 503"),
        ({"ended_by": "we", "reason": "no answer to a ping"}, "given up from this side: no answer to a ping"),
        ({"close_code": 1006, "reason": "OSError: unreachable"}, "the network failed: OSError: unreachable"),
        ({"close_code": 1006}, "the network failed: 1006"),
    ],
)
def test_a_loss_names_its_cause(fields, why):
    assert line_of_loss(lost(**fields)).what == f"connection 2 was lost ({why})"


def test_a_frame_over_our_own_limit_says_which_one_to_raise():
    too_big = lost(ended_by="we", close_code=1009, verdict="fatal")
    assert line_of(too_big).advice == "raise Policy.max_message_size"
    assert not line_of(lost(ended_by="they", close_code=1009, verdict="fatal")).advice


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (events.Connected(connection=1, resumed=False), "connected"),
        (events.Connected(connection=1, resumed=False, replayed_turns=1), "connected: 1 turn of history replayed"),
        (events.Connected(connection=1, resumed=True), "connected: goes on from the handle that there was"),
        (
            events.GoAwayReceived(connection=1, time_left=None, move_within=6.0),
            "the service will end connection 1 soon (goAway): moves at the next quiet moment, within 6.0 s",
        ),
        (
            events.Moving(connection=1, quiet=False, cause="request"),
            "leaves connection 1, as the application wishes: a turn may be cut",
        ),
        (
            events.Moving(connection=1, quiet=False),
            "leaves connection 1 without a quiet moment, as the service will end it and time is up: a turn may be cut",
        ),
        (
            events.Moving(connection=1, quiet=True, cause="limit"),
            "leaves connection 1 at a quiet moment, as the service's session nears its limit",
        ),
        (
            example(events.FreshStarted, replayed_turns=0, holes=0, resent_messages=1, lost_audio=0.0),
            (
                "started anew on connection 3 after 12.5 s: the service knows nothing of what was said before,"
                " 1 message sent again"
            ),
        ),
        (
            example(events.Resumed, planned=True, downtime=0.056, resent_messages=0, resent_audio=2.0, lost_audio=1.5),
            (
                "moved to connection 3 in 0.06 s: 2.0 s of speech sent again, 1.5 s of speech lost;"
                " ask the user to say it again; Policy.audio_resend and audio_seconds say how much is kept"
            ),
        ),
        (
            events.SessionEnded(error=None, unsent_messages=2, unsent_audio=0.4),
            "closed with 2 messages and 0.40 s of speech unsent: the service never gets them; wait for an answer before closing",
        ),
        (
            events.SessionEnded(error=None, unsent_messages=1),
            "closed with 1 message unsent: the service never gets them; wait for an answer before closing",
        ),
    ],
)  # fmt: skip
def test_the_words_of_what_is_read_most(event, text):
    assert str(line_of(event)) == text


# --- levels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (events.SessionEnded(error=None), "INFO"),
        (events.SessionEnded(error=None, unsent_messages=1), "WARNING"),
        (events.SessionEnded(error=None, unsent_audio=0.5), "WARNING"),
        (events.SessionEnded(error="it broke"), "ERROR"),
        (example(events.Resumed, lost_audio=0.0), "INFO"),
        (example(events.Resumed, lost_audio=0.5), "WARNING"),
        (example(events.FreshStarted, lost_audio=0.5), "WARNING"),
        (example(events.Continued, left_out=0), "INFO"),
        (example(events.Continued, left_out=1), "WARNING"),
        (events.Moving(connection=1, quiet=True), "DEBUG"),
        (events.Moving(connection=1, quiet=False), "INFO"),
        (events.ReconnectScheduled(attempt=1, delay=0.1), "DEBUG"),
        (example(events.HandleReceived), "DEBUG"),
        (example(events.HookFailed), "DEBUG"),
    ],
)
def test_what_lost_something_is_a_warning_and_what_comes_with_each_turn_is_not_told(event, level):
    assert logging.getLevelName(level_of(event)) == level


# --- one session ------------------------------------------------------------------------------------------------------


def test_a_loss_and_the_dial_that_it_leads_to_are_one_line(told):
    assert told(lost(reason="reset"), SCHEDULED) == [
        "INFO session 1: connection 2 was lost (the network failed: reset): dials again in 0.40 s (attempt 2)"
    ]


def test_a_loss_that_nothing_follows_is_told_with_what_comes_next(told):
    """What no dial can help ends the session."""
    assert told(lost(verdict="fatal", reason="no"), events.SessionEnded(error="it broke")) == [
        "INFO session 1: connection 2 was lost (the network failed: no): trying again would not help",
        "ERROR session 1: it broke",
    ]


def test_no_loss_goes_untold_where_another_comes_first(told):
    assert len(told(lost(), lost("dial"), SCHEDULED)) == 2


def test_a_handle_that_a_loss_ends_is_told_after_it(told):
    refused = events.HandleRefused(digest="h#1", age=2.0, reason="Invalid session handle.")
    lines = told(lost("bind", verdict="handle dead", reason="no"), refused, SCHEDULED, events.SessionEnded(error=None))
    assert [line.split(": ")[1].split(" (")[0] for line in lines] == [
        "connection 2 was not let in",
        "the handle h#1 is given up, 2.0 s after it came",
        "closed",
    ]
    assert "dials again in 0.40 s" in lines[0]


def test_what_is_dropped_for_minutes_is_told_in_a_few_sums(told):
    second = events.AudioDropped(seconds=1.0, frames=25)
    lines = told(*[second] * 300, events.VideoDropped(frames=2), events.VideoDropped(frames=3))
    sums = [re.search(r"([\d.]+) s of audio do not fit into the buffer \((\d+) frames\)", line) for line in lines]
    assert [(float(found[1]), int(found[2])) for found in sums if found] == [(n, n * 25) for n in (1, 2, 4, 8, 16, 32, 64, 128, 256)]  # fmt: skip
    assert "session 1: 1.0 s" in lines[0]
    assert "session 1: in all 2.0 s" in lines[1]
    assert "in all 5 video frames" in lines[-1]


@pytest.mark.parametrize("end", [example(events.Resumed, lost_audio=0.0), events.SessionEnded(error=None)])
def test_the_last_sum_is_told_when_it_is_over(told, end):
    lines = told(*[events.AudioDropped(seconds=1.0, frames=25)] * 3, end, events.AudioDropped(seconds=1.0, frames=25))
    assert ["in all 3.0 s" in line for line in lines] == [False, False, True, False, False]
    assert "session 1: 1.0 s of audio" in lines[-1], "and counted anew from there"


def test_frames_that_nobody_can_read_are_counted(told):
    """A field of tomorrow may come with each of them."""
    frame = events.FrameDiscarded(connection=1, size=9, problem="no field of it is known")
    lines = told(*[frame] * 100)
    assert len(lines) == 7
    assert "the last of 64 such frames" in lines[-1]


def test_a_record_has_the_event_for_whoever_writes_json(told):
    event = events.Connected(connection=1, resumed=False)
    told(event)
    (record,) = told.records()
    assert (record.resumekit_session, record.resumekit_event) == ("session 1", event)


def test_nothing_is_put_into_words_that_nobody_reads(monkeypatch):
    quiet = logging.getLogger("resumekit.quiet")
    quiet.setLevel(logging.WARNING)
    monkeypatch.setattr("resumekit.drivers.log.line_of", lambda event: 1 / 0)
    SessionLog(quiet, "session 1").tell(events.Connected(connection=1, resumed=False))
