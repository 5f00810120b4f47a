"""What a session hands out is what the installed google-genai would have made, to the last `model_fields_set`.

google-genai's own `AsyncSession._receive` is the judge, on a socket of ours; a session of resumekit gets the same bytes.
"""

from __future__ import annotations

import base64
import json
import warnings
from types import SimpleNamespace

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("google.genai")

from resumekit.adapters import _genai_seam as seam
from resumekit.adapters import _genai_typed as typed
from resumekit.adapters import genai
from resumekit.core import events
from resumekit.drivers.driver import Driver
from resumekit.drivers.switch import FAST
from resumekit.wire import decode_server, known_keys
from tests.adapters.equality import difference, outcome, receive, watched
from tests.adapters.live_frames import EVERYTHING, FRAMES, TAKEN, audio, compact, pretty, turn
from tests.adapters.schema_frames import damaged, frames, streams
from tests.drivers.fakes import FakeService, driver_of, in_virtual_time

BACKENDS = pytest.mark.parametrize("vertex", [False, True], ids=["mldev", "vertex"])
MARKS = "turn_complete", "interrupted", "generation_complete", "waiting_for_input", "interaction_status"
WRONG = [None, True, False, 0, -1, 1.5, 10**20, "", "x", "17", "AA==", [], {}, [None], ["x"], [{}], [[]], {"x": 1}, {"text": "x"}]  # fmt: skip
"""What may stand where something else was expected."""
TAKES_ANY_TWIN = tuple(map(int, pydantic.VERSION.split(".")[:2])) < (2, 11)
SMALL = st.sampled_from([frame for frame in FRAMES.values() if len(frame) < 5000])
WILD = frames(odd=True) | damaged(frames(odd=False)) | damaged(SMALL)


class Bridge(genai.Bridge):
    """Instead of a driver: each frame as it is given; counts those that the fast lanes leave to google-genai."""

    left = 0

    def take(self):
        return self.frame

    def discards(self, frame):  # that is for the engine, were it not for media that it does not look at
        return False

    def hand_back(self, outcome):
        self.left += 1
        super().hand_back(outcome)


class Session(genai.Session):
    bridge_type = Bridge

    def __init__(self, *, vertex):
        account = SimpleNamespace(api_client=SimpleNamespace(vertexai=vertex), is_vertex=vertex)
        super().__init__(account, None, decode_server(b'{"setupComplete": {}}'))

    def read(self, frame):
        """Return what `_receive` does of a frame."""
        self.bridge.frame = frame
        reading = self._receive()
        try:
            reading.send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError("it waits for more than a frame")


def has_twins(frame):
    """Tell whether an object of this frame has a key twice. JSON's last one counts, and pydantic before 2.11 takes any."""

    def look(members):
        if len({key for key, _ in members}) < len(members):
            raise LookupError

    try:
        json.loads(frame, object_pairs_hook=look)
    except LookupError:
        return True
    except (ValueError, RecursionError):
        pass
    return False


def unequal(frames, *, vertex):
    """Return, of frames by name, those that a session reads otherwise than google-genai does."""
    session, found = Session(vertex=vertex), {}
    for name, frame in frames.items():
        if TAKES_ANY_TWIN and has_twins(frame):
            continue
        ours, our_warnings = watched(session.read, frame)
        theirs, their_warnings = watched(receive, frame, vertex=vertex)
        problem = difference(ours, theirs)
        if problem is None and our_warnings != their_warnings and not isinstance(theirs, Exception):
            problem = f"warns {our_warnings}, not {their_warnings}"
        if problem is not None:
            found[name] = problem
    return found


@BACKENDS
def test_corpus(vertex):
    assert unequal(FRAMES, vertex=vertex) == {}


@BACKENDS
def test_corpus_where_warnings_are_errors(vertex):
    """google-genai warns of a new enum value."""
    session, problems = Session(vertex=vertex), {}
    for name, frame in FRAMES.items():
        if TAKES_ANY_TWIN and has_twins(frame):
            continue
        found = []
        for read, options in (session.read, {}), (receive, {"vertex": vertex}):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                try:
                    found.append(read(frame, **options))
                except Exception as error:
                    found.append(error)
        if (problem := difference(*found)) is not None:
            problems[name] = problem
    assert problems == {}


@BACKENDS
def test_fast_lane_takes_every_ordinary_frame(vertex):
    session, taken = Session(vertex=vertex), 0
    for name in TAKEN:
        if not is_read(FRAMES[name], vertex=vertex):
            continue
        outcome(session.read, FRAMES[name])
        assert session.bridge.left == 0, name
        taken += 1
    assert taken > 0.95 * len(TAKEN)


def paths(value, path=()):
    """Go through all places of a tree."""
    yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(item, (*path, key))


def replaced(tree, path, value):
    """Return what leads to a place of a tree, and the plain values beside, with another value in that place."""
    if not path:
        return value
    if isinstance(tree, list):
        return [replaced(tree[path[0]], path[1:], value)]
    plain = {key: item for key, item in tree.items() if not isinstance(item, dict | list)}
    return {**plain, path[0]: replaced(tree[path[0]], path[1:], value)}


@BACKENDS
def test_any_type_in_any_place(vertex):
    frames = {
        f"{path}: {value!r}": compact(replaced(EVERYTHING, path, value))
        for path in paths(EVERYTHING)
        for value in WRONG
    }
    assert unequal(frames, vertex=vertex) == {}


@BACKENDS
@given(frame=frames(odd=False))
def test_any_plain_frame_is_taken(vertex, frame):
    """Of what the fields are declared to hold nothing is left to google-genai."""
    session = Session(vertex=vertex)
    theirs = receive(frame, vertex=vertex)
    assert difference(session.read(frame), theirs) is None
    assert session.bridge.left == 0 or not theirs.model_fields_set


@BACKENDS
@given(frame=WILD)
def test_any_frame(vertex, frame):
    assert unequal({"it": frame}, vertex=vertex) == {}


@BACKENDS
@given(stream=streams(odd=True))
def test_any_stream(vertex, stream):
    """Of a long frame of media a lane learns the next ones, and others look very much like them."""
    lane = typed.lane(vertex=vertex)
    lane._patience, lane._templates = 0, ()
    assert unequal(dict(enumerate(stream)), vertex=vertex) == {}


@BACKENDS
@given(stream=streams(odd=False))
def test_any_plain_stream_is_learned(vertex, stream):
    session = Session(vertex=vertex)
    session._lane._patience, session._lane._templates = 0, ()
    for frame in stream:
        assert difference(session.read(frame), receive(frame, vertex=vertex)) is None
        assert len(session._lane._templates) == 1
    assert session.bridge.left == 0


def is_of_an_answer(frame):
    """Tell whether a frame goes to the application as it is, and changes nothing."""
    message = decode_server(frame)
    content = message.server_content
    return known_keys(message) == ("server_content",) and not any(getattr(content, mark) for mark in MARKS)


def is_read(frame, *, vertex):
    """Tell whether the installed google-genai has no objection, and knows anything of it."""
    message = outcome(receive, frame, vertex=vertex)
    return not isinstance(message, Exception) and bool(message.model_fields_set)


@pytest.mark.filterwarnings("ignore:.*is not a valid")
@pytest.mark.parametrize("fast", ["1", "0"])
@BACKENDS
@in_virtual_time
async def test_what_comes_through_the_engine(vertex, fast, monkeypatch):
    """A whole answer over a connection: media by the express lane, and all that may come in between."""

    def counted(driver):
        frame = take_frame(driver)
        undecoded.append(isinstance(frame, bytes))
        return frame

    take_frame, undecoded = Driver.take_frame, []
    monkeypatch.setattr(Driver, "take_frame", counted)
    monkeypatch.setenv(FAST, fast)
    sound = [pretty(turn(audio(base64.b64encode(bytes([number]) * 1920).decode()))) for number in range(9)]
    parts = [frame for frame in map(FRAMES.get, TAKEN) if is_of_an_answer(frame) and is_read(frame, vertex=vertex)]
    answer = [frame for part in parts for frame in (part, *sound)]
    assert len(answer) > 500
    service = FakeService()
    service.answers = False
    driver = driver_of(service, readable=seam.can_read, express=fast == "1")
    await driver.start()
    account = SimpleNamespace(api_client=SimpleNamespace(vertexai=vertex), is_vertex=vertex)
    session = genai.Session(account, driver, driver.setup_complete)
    await session.send_client_content(turns={"role": "user", "parts": [{"text": "hello"}]})
    service.current.push(*answer, FRAMES["turn complete with usage, pretty"])
    for frame in answer:
        problem = difference(await session._receive(), receive(frame, vertex=vertex))
        assert problem is None, frame[:300]
    assert (await session._receive()).server_content.turn_complete
    assert (sum(undecoded) > len(answer) / 2) is (fast == "1")
    await session.close()


@pytest.mark.parametrize("fast", ["1", "0"])
@in_virtual_time
async def test_media_that_are_no_json_are_discarded(fast, monkeypatch):
    """Between the quotes nobody looks before the application takes it."""
    monkeypatch.setenv(FAST, fast)
    sound = [compact(turn(audio(base64.b64encode(bytes([number]) * 1920).decode()))) for number in range(9)]
    service = FakeService()
    service.answers = False
    seen = []
    driver = driver_of(service, readable=seam.can_read, express=fast == "1", on_event=seen.append)
    await driver.start()
    account = SimpleNamespace(api_client=SimpleNamespace(vertexai=False), is_vertex=False)
    session = genai.Session(account, driver, driver.setup_complete)
    await session.send_client_content(turns={"role": "user", "parts": [{"text": "hello"}]})
    service.current.push(*sound[:4], sound[4][:1000] + b"\n" + sound[4][1001:], *sound[5:])
    for frame in sound[:4] + sound[5:]:
        assert difference(await session._receive(), receive(frame, vertex=False)) is None
    (discarded,) = [event for event in seen if isinstance(event, events.FrameDiscarded)]
    assert "is not JSON" in discarded.problem
    await session.close()


@pytest.mark.proof
@BACKENDS
@pytest.mark.parametrize("kind", [WILD.map(lambda frame: [frame]), streams(odd=True)], ids=["frames", "streams"])
def test_any_frame_at_length(vertex, schedules, kind):
    @settings(max_examples=schedules // 40)
    @given(found=kind)
    def explore(found):
        lane._patience, lane._templates = 0, ()
        assert unequal(dict(enumerate(found)), vertex=vertex) == {}

    lane = typed.lane(vertex=vertex)
    explore()
