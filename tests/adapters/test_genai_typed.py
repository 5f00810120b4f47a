"""The typed lane: what it reads is what google-genai makes of the same frame, and what it cannot is left to it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pydantic
import pytest

pytest.importorskip("google.genai")
from google.genai import errors as genai_errors
from google.genai import live, types
from websockets.exceptions import ConnectionClosedOK
from websockets.frames import Close

from resumekit import drivers, errors
from resumekit.adapters import _genai_typed as typed
from resumekit.adapters import genai as resumable
from resumekit.cli import main
from resumekit.wire import decode_server
from tests.adapters import equality

BACKENDS = pytest.mark.parametrize("vertex", [False, True], ids=["mldev", "vertex"])


def part(text):
    return b'{"serverContent":{"modelTurn":{"parts":[%s]}}}' % text


def audio(data, *, pretty=True, rate=24000, **more):
    blob = {
        "mimeType": f"audio/pcm;rate={rate}",
        "data": data if isinstance(data, str) else base64.b64encode(data).decode(),
    }
    frame = {"serverContent": {"modelTurn": {"role": "model", "parts": [{"inlineData": blob, **more}]}}}
    return (json.dumps(frame, indent=2) + "\n" if pretty else json.dumps(frame)).encode()


def sound(seed, size=1920):
    return bytes((seed * 7 + i * i) % 256 for i in range(size))


READ = {
    "audio": audio(sound(1)),
    "empty media": part(b'{"inlineData":{"data":""}}'),
    "url-safe media": part(b'{"inlineData":{"data":"-_8="}}'),
    "unpadded media": part(b'{"inlineData":{"data":"-_8"}}'),
    "escapes in media": part(b'{"inlineData":{"data":"AA\\u003d\\u003d"}}'),
    "two parts": part(b'{"text":"a"},{"inlineData":{"data":"AAEC"},"text":"b"},{}'),
    "unknown fields": b'{"new":[{"a":{}}],"serverContent":{"new":1,"modelTurn":{"new":{},"parts":[{"new":"x"}]}}}',
    "a lower-case enum": b'{"usageMetadata":{"promptTokensDetails":[{"modality":"audio","tokenCount":"17"}]}}',
    "a new enum value": b'{"serverContent":{"turnCompleteReason":"BRAND_NEW"}}',
    "enums of other types": b'{"serverContent":{"turnComplete":1,"turnCompleteReason":""},"usageMetadata":{}}',
    "truth as text": b'{"serverContent":{"turnComplete":"yes","interrupted":0,"generationComplete":"off"}}',
    "a key twice": b'{"goAway":{"timeLeft":"1s","timeLeft":"2s"},"goAway":{"timeLeft":"3s"}}',
    "NaN": b'{"toolCall":{"functionCalls":[{"args":{"x":NaN,"y":-Infinity,"z":-0.0,"big":1e400,"many":1%s}}]}}'
    % (b"0" * 300),
    "astral text": b'{"serverContent":{"outputTranscription":{"text":"\\ud83d\\ude00 \xf0\x9f\x98\x80"}}}',
    "arguments with an underscore": b'{"toolCall":{"functionCalls":[{"name":"a_b","args":{"radius_km":[1,{"c_d":2}]}}]}}',
    "usage of both backends": b'{"usageMetadata":{"candidatesTokenCount":1,"responseTokenCount":2,"totalTokenCount":"3"}}',
}
LEFT = {
    "nothing": b"",
    "an empty object": b"{}",
    "an error": b'{"error":{"code":400,"message":"no"}}',
    "an error as google-genai knows it": b'{"code":400,"message":"no"}',
    "only unknown fields": b'{"new":{}}',
    "a list": b"[1]",
    "a number": b"1",
    "no JSON": b'{"goAway":',
    "a byte order mark": b'\xef\xbb\xbf{"goAway":{}}',
    "UTF-16": '{"goAway":{}}'.encode("utf-16"),
    "a null": b'{"goAway":{"timeLeft":null},"serverContent":null}',
    "a null in a part": part(b'{"text":null,"thought":true}'),
    "a lone surrogate": b'{"serverContent":{"outputTranscription":{"text":"\\ud800"}}}',
    "a surrogate in UTF-8": b'{"serverContent":{"outputTranscription":{"text":"\xed\xa0\x80"}}}',
    "deep arguments": b'{"toolCall":{"functionCalls":[{"args":{"x":%s1%s}}]}}' % (b"[" * 300, b"]" * 300),
    "a field by its Python name": b'{"serverContent":{"turn_complete":true}}',
    "a field by both names": b'{"serverContent":{"turn_complete":true,"turnComplete":false}}',
    "an escaped key": b'{"go\\u0041way":{}}',
    "the message by its Python name": b'{"server_content":{"turnComplete":true}}',
    "no base64": part(b'{"inlineData":{"data":"a b"}}'),
    "base64 with bits to spare": part(b'{"inlineData":{"data":"AB=="}}'),
    "a string for an object": b'{"goAway":"soon"}',
    "a number for a string": b'{"goAway":{"timeLeft":5}}',
    "half a token": b'{"usageMetadata":{"promptTokenCount":1.5}}',
    "a word for a token": b'{"usageMetadata":{"promptTokenCount":"many"}}',
    "a number for an enum": b'{"usageMetadata":{"promptTokensDetails":[{"modality":7}]}}',
}

OLD = tuple(map(int, pydantic.VERSION.split(".")[:2])) < (2, 11)


@BACKENDS
@pytest.mark.parametrize("frame", typed._CANNED)
def test_canned_frames_are_read_as_google_genai_does(frame, vertex):
    assert equality.disagreement(typed.lane(vertex=vertex), frame, vertex=vertex) is None


@BACKENDS
@pytest.mark.parametrize("name", READ)
def test_what_is_read(name, vertex):
    lane = typed.Lane(vertex=vertex)
    ours = equality.outcome(lane.decode, READ[name])
    theirs = equality.outcome(equality.receive, READ[name], vertex=vertex)

    # A version that does not know a field finds nothing in the frame; pydantic 2.9 refuses base64 without padding.
    assert isinstance(ours, types.LiveServerMessage) or isinstance(theirs, Exception) or not theirs.model_fields_set
    assert ours is None or equality.difference(ours, theirs) is None


@BACKENDS
@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_to_google_genai(name, vertex):
    assert typed.Lane(vertex=vertex).decode(LEFT[name]) is None


# --- media that is copied --------------------------------------------------------------------------------------------


@BACKENDS
def test_media_after_the_first_is_copied_and_equal(vertex):
    lane = typed.Lane(vertex=vertex)
    lane.decode(audio(sound(0)))
    (template,) = lane._templates
    for seed, size in [(1, 1920), (2, 9600), (3, 720), (4, 1920)]:
        frame = audio(sound(seed, size))
        assert template.decode(frame) is not None
        assert equality.difference(lane.decode(frame), equality.receive(frame, vertex=vertex)) is None


@pytest.mark.parametrize(
    "middle",
    [
        "",
        "A" * 1999,
        "A" * 1998 + "==",
        "A" * 1999 + "=",
        "AA==" + "A" * 1996,
        "AB==" * 500,
        "A" * 1998 + "B=",
        "A" * 1998 + "-_",
        "A" * 1998 + "A ",
        "A" * 1999 + "\n",
        "A" * 1999 + "\0",
        "A" * 1999 + '"',
        '"' * 2000,
        "A" * 1994 + "\\u0041",
        "A" * 1996 + "\\/AA",
        "A" * 1999 + "é",
        'AAAA","data":"' + "B" * 2000,
        'AAAA"}}],"turnComplete":true,"new":[{"x":{"y":"' + "B" * 2000,
        'AAAA"},"text":"' + "B" * 2000,
        "null" * 500,
    ],
)
def test_no_string_in_the_place_of_the_media_is_read_otherwise(middle):
    """The text is put into the frame as it is, quotes and all."""
    lane = typed.Lane(vertex=False)
    frame = audio(sound(0))
    lane.decode(frame)
    (template,) = lane._templates
    other = template._prefix + middle.encode() + template._suffix

    if not (OLD and '"data":' in middle):  # of two values of one key, pydantic before 2.11 takes either
        assert equality.disagreement(lane, other, vertex=False) is None
    if template.decode(other) is not None:
        assert middle == "null" * 500


def test_a_frame_shorter_than_the_learned_one_is_no_media():
    lane = typed.Lane(vertex=False)
    lane.decode(audio(sound(0)))
    (template,) = lane._templates
    for length in range(len(template._prefix), len(template._prefix) + len(template._suffix)):
        assert template.decode((template._prefix[:-1] + template._suffix)[:length]) is None
    assert template.decode(template._prefix[:-1] + template._suffix) is None


def test_copies_share_nothing_that_can_be_changed():
    lane = typed.Lane(vertex=False)
    learned, first, second = (lane.decode(audio(sound(seed))) for seed in range(3))
    assert lane._templates
    for mine in (learned, first):
        mine.server_content.model_turn.parts[0].inline_data.mime_type = "changed"
        mine.server_content.model_turn.parts[0].text = "new"
        mine.server_content.model_turn.parts.append(types.Part(text="more"))
        mine.go_away = types.LiveServerGoAway()

    for message, seed in [(second, 2), (lane.decode(audio(sound(3))), 3)]:
        assert equality.difference(message, equality.receive(audio(sound(seed)), vertex=False)) is None
    assert first.model_fields_set == {"server_content", "go_away"}
    assert first == type(first).model_validate(first.model_dump())


def test_copies_can_be_used_as_any_model():
    lane = typed.Lane(vertex=False)
    lane.decode(audio(sound(0)))
    message = lane.decode(audio(sound(1)))
    whole = equality.receive(audio(sound(1)), vertex=False)

    assert message == whole
    assert equality.difference(message.model_copy(deep=True), whole) is None
    assert message.model_dump_json() == whole.model_dump_json()
    assert message.data == whole.data
    with pytest.raises(ValueError, match="unknown"):
        message.unknown = 1


def test_streams_at_a_time_are_all_learned():
    lane = typed.Lane(vertex=False)
    for seed in range(5 * typed._PATIENCE):
        for rate in (8000, 16000, 24000):
            for pretty in (False, True):
                frame = audio(sound(seed), rate=rate, pretty=pretty)
                if seed % 50 == 0:
                    assert equality.disagreement(lane, frame, vertex=False) is None
                else:
                    lane.decode(frame)
    assert len(lane._templates) == typed._TEMPLATES


def test_frames_that_are_all_different_cost_few_attempts(monkeypatch):
    attempts = []
    monkeypatch.setattr(typed, "media_shape", attempts.append)
    lane = typed.Lane(vertex=False)
    for number in range(10 * (typed._PATIENCE + 1)):
        lane.decode(audio(sound(number), rate=number))
    assert len(attempts) == 10


@pytest.mark.parametrize(
    "more", [{"partMetadata": {"a": [1]}}, {"videoMetadata": {"fps": 1}}, {"functionCall": {"args": {}}}]
)
def test_what_has_more_than_media_is_not_copied(more):
    lane = typed.Lane(vertex=False)
    frames = [audio(sound(seed), **more) for seed in range(2)]
    for frame in frames:
        assert equality.disagreement(lane, frame, vertex=False) is None
    known = any(
        name in lane.decode(frames[0]).server_content.model_turn.parts[0].model_dump(by_alias=True) for name in more
    )
    assert not (lane._templates and known)


def test_a_pydantic_whose_models_cannot_be_filled_so_is_read_all_the_same(monkeypatch):
    monkeypatch.setattr(typed, "_Model", type("Other", (), {}))
    lane = typed.Lane(vertex=False)
    for seed in range(3):
        assert equality.disagreement(lane, audio(sound(seed)), vertex=False) is None
        assert lane.decode(audio(sound(seed))) is not None
    assert not lane._templates


# --- the self-test ---------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh():
    """As if nothing had been made in this process."""

    def clear():
        for cached in (typed.lane, typed.problem, typed._tested, typed._warn):
            cached.cache_clear()

    clear()
    yield
    clear()


def changed(monkeypatch, change):
    """Have google-genai make something else of what its converters made of a true frame."""
    for name in ("_LiveServerMessage_from_vertex", "_LiveServerMessage_from_mldev"):
        if (original := getattr(live.live_converters, name, None)) is None:
            continue

        def convert(frame, parent=None, original=original):
            made = original(frame, parent)
            return made if isinstance(frame, typed._Probe) else change(made)

        monkeypatch.setattr(live.live_converters, name, convert)


def coerce(made):
    """The time that is left is a number of seconds, say."""
    return {**made, "go_away": {"time_left": "59"}} if "go_away" in made else made


def rename(made):
    made = dict(made)
    return {**made, "setup_complete": made.pop("tool_call_cancellation")} if "tool_call_cancellation" in made else made


def drop(made):
    return {key: value for key, value in made.items() if key != "usage_metadata"}


def refuse(made):
    if "tool_call" in made:
        raise ValueError("no tools")
    return made


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("change", [coerce, rename, drop, refuse])
def test_a_google_genai_that_disagrees_reads_for_itself(monkeypatch, caplog, capsys, change):
    changed(monkeypatch, change)
    with caplog.at_level(logging.WARNING, "resumekit"):
        assert [typed.lane(vertex=True) for _ in range(3)] == [None] * 3
        main(["doctor"])

    (warning,) = [record for record in caplog.records if record.name == "resumekit.adapters.genai"]
    assert "resumekit doctor" in warning.getMessage()
    assert typed.problem(vertex=True) in warning.getMessage()
    told = capsys.readouterr().out
    assert "!    fast receive" in told
    assert typed.problem(vertex=True)[:20] in told


@pytest.mark.usefixtures("fresh")
def test_a_conversion_of_pydantic_that_disagrees_is_found(monkeypatch):
    original = types.LiveServerMessage._from_response.__func__

    def from_response(cls, *, response, kwargs):
        message = original(cls, response=response, kwargs=kwargs)
        message.__pydantic_fields_set__.add("go_away")
        return message

    monkeypatch.setattr(types.LiveServerMessage, "_from_response", classmethod(from_response))
    assert typed.lane(vertex=True) is None
    assert "otherwise" in typed.problem(vertex=True)


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("SchemaValidator", lambda schema, **options: 1 / 0),
        ("_followed", lambda made: (("somewhere",), None)),
        ("AsyncSession", lambda **arguments: SimpleNamespace(_receive=lambda: asyncio.sleep(1))),
    ],
)
def test_whatever_goes_wrong_while_it_is_made_is_no_more_than_a_warning(monkeypatch, caplog, name, other):
    monkeypatch.setattr(typed, name, other)
    assert typed.lane(vertex=True) is None
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("fresh")
def test_one_warning_for_both_backends(monkeypatch, caplog):
    monkeypatch.setattr(typed, "SchemaValidator", lambda schema, **options: 1 / 0)
    assert typed.lane(vertex=False) is typed.lane(vertex=True) is None
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("fresh")
def test_a_converter_that_reads_other_names_is_followed(monkeypatch):
    """The renames are google-genai's own, also those of a version to come."""
    original = live.live_converters._LiveServerMessage_from_vertex

    def convert(frame, parent=None):
        made = original(frame, parent)
        if "farewell" in frame:
            made["go_away"] = {"time_left": frame.get("farewell")["secondsLeft"]}
        return made

    monkeypatch.setattr(live.live_converters, "_LiveServerMessage_from_vertex", convert)
    message = typed.Lane(vertex=True).decode(b'{"farewell":{"secondsLeft":"5s","new":1}}')
    assert message.go_away.time_left == "5s"


@pytest.mark.parametrize(
    "made", [{}, {"a": {}}, [], {"a": typed._Probe("b", "c"), "d": typed._Probe("e")}, 5, [typed._Probe("a")]]
)
def test_a_converter_that_makes_something_else_is_not_followed(made):
    with pytest.raises(typed._Unfit):
        typed._followed(made)


def test_a_model_in_two_places_is_renamed_in_one():
    class Inner(pydantic.BaseModel):
        there: int

    class Outer(pydantic.BaseModel):
        one: Inner
        two: Inner

    rewriter = typed._Rewriter(Outer.__pydantic_core_schema__)
    assert "definition-ref" in str(Outer.__pydantic_core_schema__)
    read = rewriter.validator({"one": ("first", {"there": ("here", None)}), "two": ("two", None)})
    made = read.validate_json(b'{"first":{"here":1,"there":2},"two":{"there":3}}')

    assert made == Outer(one=Inner(there=1), two=Inner(there=3))


def test_an_older_pydantic_takes_the_rewritten_schema_too(monkeypatch):
    original = typed.SchemaValidator
    complete = []

    def validator(schema, **options):
        if options:
            raise TypeError("unexpected keyword")
        complete.append(types.Part.__pydantic_complete__)
        return original(schema)

    monkeypatch.setattr(typed, "SchemaValidator", validator)
    lane = typed.Lane(vertex=False)
    assert lane.decode(READ["unknown fields"]) is not None
    assert (complete, types.Part.__pydantic_complete__) == ([False], True)


@pytest.mark.usefixtures("fresh")
def test_threads_build_lanes_one_after_the_other(monkeypatch):
    both = threading.Barrier(2)
    met = []

    def lane(**backend):
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(timeout=0.2)
            met.append(backend)
        return original(**backend)

    original = typed.Lane
    monkeypatch.setattr(typed, "Lane", lane)
    with ThreadPoolExecutor(2) as threads:
        assert all(threads.map(lambda vertex: typed.lane(vertex=vertex), [False, True]))
    assert not met


# --- the session -----------------------------------------------------------------------------------------------------


class Driver:
    """Frames, or what is raised in their place."""

    def __init__(self, *frames):
        self.frames = list(frames)
        self.comes = asyncio.Event()

    def take_frame(self):
        if not self.frames or isinstance(self.frames[0], Exception):
            return None
        return decode_server(self.frames.pop(0))

    def more(self):
        if self.frames:
            raise self.frames.pop(0)
        self.comes.clear()
        return self.comes.wait()

    def add(self, *frames):
        self.frames += frames
        self.comes.set()


def session(driver, *, vertex=False):
    account = SimpleNamespace(api_client=SimpleNamespace(vertexai=vertex), is_vertex=vertex)
    return resumable.Session(account, driver, decode_server(b'{"setupComplete":{}}'))


@pytest.fixture(params=["1", "0"], ids=["fast", "plain"])
def fast(request, monkeypatch):
    monkeypatch.setenv(drivers.switch.FAST, request.param)
    return request.param == "1"


@pytest.mark.filterwarnings("ignore:.*is not a valid")
@BACKENDS
async def test_a_session_reads_as_google_genai_does(vertex, fast):
    frames = [audio(sound(1)), *typed._CANNED, audio(sound(2)), *READ.values()]
    one = session(Driver(*frames), vertex=vertex)
    assert (one._lane is not None) is fast
    for frame in frames:
        if resumable.seam.can_read(decode_server(frame)):
            theirs = equality.outcome(equality.receive, frame, vertex=vertex)
            try:
                ours = await one._receive()
            except pydantic.ValidationError as error:
                ours = error
            assert equality.difference(ours, theirs) is None


@BACKENDS
async def test_a_frame_that_google_genai_refuses_raises_what_it_raises(vertex, fast):
    frames = [b'{"serverContent":{"turnComplete":5}}', b'{"serverContent":[]}', part(b'{"inlineData":{"data":"a b"}}')]
    one = session(Driver(*frames, b'{"goAway":{}}'), vertex=vertex)
    for frame in frames:
        theirs = equality.outcome(equality.receive, frame, vertex=vertex)
        with pytest.raises(type(theirs)) as caught:
            await one._receive()
        assert str(caught.value) == str(theirs)
    assert (await one._receive()).go_away is not None


async def test_the_end_is_told_as_google_genai_tells_it(fast):
    one = session(Driver(errors.SessionClosed("closed"), b'{"goAway":{}}'))
    end = Close(1000, "")
    plain = equality.session(vertex=False)

    async def recv(decode=None):
        raise ConnectionClosedOK(end, end, rcvd_then_sent=False)

    plain.socket.recv = recv
    with pytest.raises((genai_errors.APIError, ConnectionClosedOK)) as theirs:
        await plain._receive()
    with pytest.raises(type(theirs.value)) as ours:
        await one._receive()
    assert str(ours.value) == str(theirs.value)
    assert (await one._receive()).go_away is not None


async def test_a_second_receiver_is_refused_and_the_first_goes_on(fast):
    driver = Driver()
    one = session(driver)
    first = asyncio.create_task(one._receive())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="another receive"):
        await one._receive()
    driver.add(b'{"goAway":{}}')
    assert (await first).go_away is not None


async def test_cancelling_loses_no_frame(fast):
    driver = Driver()
    one = session(driver)
    frames = [b'{"serverContent":{"turnComplete":%d}}' % (number % 3) for number in range(30)]
    for number, frame in enumerate(frames):  # 2 for a truth is refused
        waiting = asyncio.create_task(one._receive())
        for _ in range(number % 4):
            await asyncio.sleep(0)
        if number % 2:
            driver.add(frame)
        waiting.cancel()
        got = await asyncio.gather(waiting, return_exceptions=True)
        if number % 2 == 0:
            driver.add(frame)
        if isinstance(got[0], asyncio.CancelledError):
            got = await asyncio.gather(one._receive(), return_exceptions=True)
        theirs = equality.outcome(equality.receive, frame, vertex=False)
        assert type(got[0]) is type(theirs)
    assert not driver.frames


@pytest.mark.parametrize("came", [False, True], ids=["it comes", "it came"])
@pytest.mark.parametrize("turns", range(4))
async def test_a_frame_that_is_handed_back_to_google_genai_is_not_lost_where_that_is_cancelled(fast, turns, came):
    driver = Driver()
    one = session(driver)
    got = []
    for number in range(1, 6):
        frame = b'{"usageMetadata":{"total_token_count":%d}}' % number  # names of Python: it has to read them itself
        if came:
            driver.add(frame)
        receiving = asyncio.create_task(one._receive())
        await asyncio.sleep(0)
        if not came:
            driver.add(frame)
        for _ in range(turns):
            await asyncio.sleep(0)
        receiving.cancel()
        got += await asyncio.gather(receiving, return_exceptions=True)
    got = [message for message in got if not isinstance(message, asyncio.CancelledError)]
    while driver.frames:
        got.append(await one._receive())
    assert [message.usage_metadata.total_token_count for message in got] == [1, 2, 3, 4, 5]


async def test_a_google_genai_that_disagrees_is_used_by_the_session(monkeypatch):
    monkeypatch.setattr(typed, "lane", lambda **backend: None)
    one = session(Driver(audio(sound(1))))
    assert equality.difference(await one._receive(), equality.receive(audio(sound(1)), vertex=False)) is None
