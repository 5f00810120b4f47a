"""The short form of `make fuzz`: what it found before, and some more of the same, drawn by Hypothesis.

What a frame that is odd looks like to the app is asked in tests/adapters (the equality with google-genai).
"""

from __future__ import annotations

import gc
import json
import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumekit.core import events
from resumekit.core.state import State
from tests.fuzz.mutate import mutate, seeds
from tests.fuzz.session import Session
from tests.fuzz.targets import SEPARATOR, STEPS, TARGETS, server, session

REGRESSIONS = sorted((Path(__file__).parent / "regressions").iterdir())


@pytest.mark.parametrize("file", REGRESSIONS, ids=lambda file: file.name)
def test_what_was_found_stays_mended(file):
    TARGETS[file.name.partition("-")[0]](file.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_what_the_search_begins_with(target):
    for seed in seeds(target):
        TARGETS[target](seed)


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=150)
@given(number=st.integers(0, 2**32))
def test_frames_that_were_changed(target, number):
    """Truncated, of other types, doubled, nested, in other encodings; of schedules also the order."""
    draw = random.Random(number)
    data = draw.choice(seeds(target))
    for _ in range(draw.randint(1, 5)):
        data = mutate(data, draw)
    TARGETS[target](data)


def of_the_schema():
    """Frames with the fields of the installed google-genai, all the way down."""
    pytest.importorskip("google.genai")
    from tests.adapters.schema_frames import damaged, frames

    return frames(odd=True) | damaged(frames(odd=True))


def test_frames_of_the_schema():
    given(of_the_schema())(settings(max_examples=150)(server))()


def test_frames_of_the_schema_in_any_order():
    @settings(max_examples=80)
    @given(st.lists(of_the_schema() | st.sampled_from([*STEPS]), max_size=12))
    def any_order(records):
        session(SEPARATOR.join(records))

    any_order()


# --- one by one -------------------------------------------------------------------------------------------------------


def content(**fields):
    return json.dumps({"serverContent": fields}).encode()


def update(handle, **fields):
    return json.dumps({"sessionResumptionUpdate": {"newHandle": handle, "resumable": True, **fields}}).encode()


LONG = "x" * 10_000_000
DONE = content(turnComplete=True)
BEYOND = {
    "long text": content(modelTurn={"parts": [{"text": LONG}]}),
    "long handle": update(LONG),
    "long index": update("h", lastConsumedClientMessageIndex="9" * 10_000),
    "long time left": json.dumps({"goAway": {"timeLeft": LONG + "s"}}).encode(),
    "long key": json.dumps({LONG: 1, "goAway": {}}).encode(),
    "long number": b'{"usageMetadata": {"totalTokenCount": ' + b"9" * 1_000_000 + b"}}",
    "long id": json.dumps({"toolCall": {"functionCalls": [{"id": LONG, "name": LONG}]}}).encode(),
    "many calls": json.dumps({"toolCall": {"functionCalls": [{"id": "1", "name": "f"}] * 2_000}}).encode(),
    "many ids": json.dumps({"toolCallCancellation": {"ids": [str(n) for n in range(50_000)]}}).encode(),
    "blanks": b" " * 10_000_000,
    "zeros": b"\0" * 1_000_000,
    "brackets": b"[" * 1_000_000,
}


@pytest.mark.parametrize("name", BEYOND)
def test_whatever_is_beyond_all_measure(name):
    """Nobody knows a limit of the service; `Policy.max_message_size` is 64 MiB."""
    frame = BEYOND[name]
    session(SEPARATOR.join([b"a", frame, b"t", b"c", b"W", DONE, frame, b"t"]))


@pytest.mark.parametrize(
    "left", ["-1s", "-99999999999s", "999999999999.999999999s", "0s", "soon", "1e9s", "", None, 7, {}]
)
def test_whatever_go_away_says_the_session_moves_in_time(left):
    talk = Session()
    talk.ask()
    talk.serve(DONE)
    talk.serve(update("h1"))
    talk.ask()
    talk.serve(json.dumps({"goAway": {"timeLeft": left}}).encode())
    (told,) = [event for event in talk.told if isinstance(event, events.GoAwayReceived)]
    assert told.move_within >= 0
    talk.wait(min(told.move_within, 1000.0) + 1)
    assert talk.dials == 2 or told.move_within > 1000
    talk.goes_on()
    assert talk.engine.state is State.LIVE


def test_the_handle_never_regresses():
    """G9: what is empty, of a wrong type or not resumable takes nothing away."""
    talk = Session()
    talk.ask()
    talk.serve(DONE)
    talk.serve(update("good"))
    for worse in (None, "", 7, [], {}, {"newHandle": "x"}):
        talk.serve(update(worse))
        talk.serve(json.dumps({"sessionResumptionUpdate": worse}).encode())
        talk.serve(update("worse", resumable=worse))
    assert talk.handle == "good"
    talk.goes_on()


def endless(talk, frames, rounds):
    for _ in range(rounds):
        for frame in frames:
            talk.serve(frame)
        talk.now += 0.02
        talk.take()
        talk.told.clear()
        talk.shown.clear()
        talk.steps = 0


OURS = [tracemalloc.Filter(inclusive=True, filename_pattern=f"*{name}*") for name in ("resumekit/", "/json/")]
"""Not what the interpreter keeps for itself: a table of two megabytes may be made anew at any time."""


def held():
    gc.collect()
    statistics = tracemalloc.take_snapshot().filter_traces(OURS).statistics("filename")
    return sum(statistic.size for statistic in statistics)


STREAMS = {
    "no field that is known": [b'{"fresh": 1}', b"{}", b'{"serverContent": {}}'],
    "odd fields": [b'{"goAway": 5, "serverContent": "x"}', b'{"toolCall": 7, "usageMetadata": []}'],
    "cancellations": [json.dumps({"toolCallCancellation": {"ids": ["a", "b", "a"]}}).encode()],
    "the same call": [json.dumps({"toolCall": {"functionCalls": [{"id": "1", "name": "f"}]}}).encode()],
    "turns that nobody asked for": [content(modelTurn={"parts": [{"text": "x" * 100}]}), DONE, update("h")],
    "an answer without an end": [content(modelTurn={"parts": [{"text": "some words"}]})],
    "words without an end": [content(outputTranscription={"text": "some words"})],
    "handles": [update("x" * 1000), update(""), update("y", resumable=False)],
    "ends of turns": [DONE, content(interrupted=True), content(generationComplete=True)],
    "some garbage": [b"no JSON", b"\xff", b'{"usageMetadata": {}}'],
}


@pytest.mark.parametrize("name", STREAMS)
def test_an_endless_stream_leaves_nothing_behind(name):
    """G6. What is kept of an answer that never ends is a bounded number of pieces: some are always there."""
    talk = Session()
    talk.ask()
    frames = STREAMS[name]
    endless(talk, frames, 2100 // len(frames))
    tracemalloc.start()
    try:
        before = held()
        endless(talk, frames, 3000 // len(frames))
        grown = held() - before
    finally:
        tracemalloc.stop()
    assert grown < 120_000, f"{grown} bytes more after 3000 frames"
    talk.goes_on()
