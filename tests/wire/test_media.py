"""The learned shape of media frames: what it lets pass is what the decoder would have made of it, and nothing else."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from resumekit.errors import RemoteProtocolError
from resumekit.wire import (
    Blob,
    Content,
    Part,
    ServerContent,
    ServerMessage,
    decode_server,
    media_shape,
)

PCM = bytes(range(60))
BASE64 = base64.b64encode(PCM).decode()


def frame_of(data: str = BASE64, *, indent: int | None = 2, **beside: object) -> bytes:
    """Write a media frame; `beside` goes to the top level."""
    inline = {"mimeType": "audio/pcm;rate=24000", "data": data}
    frame = {"serverContent": {"modelTurn": {"parts": [{"inlineData": inline}]}}, **beside}
    return (json.dumps(frame, indent=indent) + "\n").encode()


def shape_of(frame: bytes):
    shape = media_shape(decode_server(frame))
    assert shape is not None
    return shape


def refuses_media(message: ServerMessage) -> bool:
    try:
        _ = message.server_content.model_turn.parts[0].inline_data.data
    except RemoteProtocolError:
        return True
    return False


def same(shape, frame: bytes) -> bool:
    """Whether the shape says of a frame what the decoder says; of a string that is no JSON, that it is not base64."""
    built = shape.message(frame)
    try:
        decoded = decode_server(frame)
    except RemoteProtocolError:
        return refuses_media(built)
    if decoded.partial:
        return refuses_media(built) and decoded.server_content == built.server_content
    return decoded == built and decoded.raw is built.raw is frame


SHAPE = shape_of(frame_of())


@pytest.mark.parametrize("indent", [None, 0, 2, 7])
@pytest.mark.parametrize("data", ["", "AAAA", "AAA=", "-_-_", "A", BASE64 * 50])
def test_frames_that_differ_in_the_media_alone_match(indent, data):
    shape = shape_of(frame_of(indent=indent))
    frame = frame_of(data, indent=indent)
    assert shape.matches(frame)
    assert same(shape, frame)


MIDDLES = {
    "a quote": 'AA"AA',
    "the end of the string": 'AA","x":"AA',
    "a second key": 'AAAA", "data": "BBBB',
    "an escaped quote": 'AA\\"AA',
    "the whole suffix": 'AAAA"\n          }\n        }\n      ]\n    }\n  }\n}\nAAAA',
    "a goAway behind an early end": 'AAAA"}}]}},"goAway":{},"serverContent":{"modelTurn":{"parts":[{"inlineData":{"data":"AAAA',
}


@pytest.mark.parametrize("middle", MIDDLES.values(), ids=MIDDLES)
def test_a_string_that_may_end_early_does_not_match(middle):
    assert not SHAPE.matches(SHAPE.prefix + middle.encode() + SHAPE.suffix)


@pytest.mark.parametrize("text", ["AA\\/A", "AA\\u0041A", "\\/_8\\u003d", "\\u0041\\u0041"])
def test_escapes_say_what_they_say_to_the_decoder(text):
    frame = SHAPE.prefix + text.encode() + SHAPE.suffix
    assert SHAPE.matches(frame)
    assert same(SHAPE, frame)
    assert not refuses_media(SHAPE.message(frame))


STRANGE = {
    "a newline": b"AA\nA",
    "a control byte": b"AA\x00A",
    "invalid utf-8": b"AA\xffA",
    "a letter of no alphabet": "AAÄA".encode(),
    "bad padding": b"AA=A",
    "too much padding": b"AAAA====",
    "white space": b" AAAA",
    "braces": b"}]}}",
    "one character": b"A",
    "an escape that is none": b"AA\\A",
    "an escaped line": b"AAAA\\n",
    "half of a pair": b"\\ud800",
    "an escape and a control byte": b"\\/\x00A",
    "a backslash before the closing quote": b"AAA\\",
    "two backslashes before the closing quote": b"AAA\\\\",
}


@pytest.mark.parametrize("middle", STRANGE.values(), ids=STRANGE)
def test_a_string_that_is_no_base64_is_told_when_it_is_read(middle):
    frame = SHAPE.prefix + middle + SHAPE.suffix
    assert SHAPE.matches(frame)
    assert same(SHAPE, frame)
    assert refuses_media(SHAPE.message(frame))


@pytest.mark.parametrize("beside", [{}, {"new": "a"}, {"goAway": {}, "new": ["},", ":", "", {"}": "]"}]}])
def test_behind_a_quote_that_is_escaped_no_text_is_json(beside):
    """What follows the media would have to read as JSON with strings and the rest exchanged, and the last is left open."""
    frame = frame_of(**beside)
    at = frame.index(BASE64.encode())
    decode_server(frame)
    for backslashes in (b"\\", b"\\\\\\"):
        with pytest.raises(RemoteProtocolError):
            decode_server(frame[:at] + backslashes + frame[at + len(BASE64) :])


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_frame_that_is_shorter_than_prefix_and_suffix_does_not_match(cut):
    """Even where the prefix ends as the suffix begins."""
    whole = SHAPE.prefix + SHAPE.suffix
    assert SHAPE.matches(whole)
    assert not SHAPE.matches(SHAPE.prefix + SHAPE.suffix[cut:])
    assert not SHAPE.matches(SHAPE.prefix[:-cut] + SHAPE.suffix)
    assert not SHAPE.matches(whole[:-cut])
    assert not SHAPE.matches(whole[cut:])
    assert not SHAPE.matches(whole + b" " * cut)
    assert not SHAPE.matches(b"")


def test_text_never_matches():
    """A frame is bytes here; what a library gives as text goes to the decoder."""
    assert not SHAPE.matches(frame_of().decode())
    assert shape_of(decode_server(frame_of().decode()).raw).matches(frame_of())


def pretty(value: object) -> bytes:
    return json.dumps(value, indent=2).encode()


def of_parts(*parts: object, **beside: object) -> bytes:
    return pretty({"serverContent": {"modelTurn": {"parts": parts, **beside}}})


AUDIO = {"inlineData": {"mimeType": "audio/pcm", "data": BASE64}}

LEARNABLE = {
    "data before its type": of_parts({"inlineData": {"data": BASE64, "mimeType": "audio/pcm"}}),
    "no type": of_parts({"inlineData": {"data": BASE64}}),
    "no data yet": of_parts({"inlineData": {"mimeType": "audio/pcm", "data": ""}}),
    "a role": of_parts(AUDIO, role="model"),
    "an unknown field of the part": of_parts(AUDIO | {"quality": {"data": ["x", 1]}}),
    "unknown fields at every level": pretty(
        {"new": [1], "serverContent": {"newer": {"a": "b"}, "modelTurn": {"parts": [AUDIO], "newest": None}}}
    ),
    "a mark that says no": pretty({"serverContent": {"turnComplete": False, "modelTurn": {"parts": [AUDIO]}}}),
    "another data first": b'{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"data":"AAAA","data":"BBBB"}}]}}}',
    "a message that is given twice": b'{"serverContent":{"turnComplete":true},"serverContent":'
    b'{"modelTurn":{"parts":[{"inlineData":{"data":"BBBB"}}]}}}',
    "other parts that are overwritten": b'{"serverContent":{"modelTurn":{"parts":[{"text":"a"}],"parts":'
    b'[{"inlineData":{"data":"BBBB"}}]}}}',
    "type and data that look alike": b'{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"AAAA",'
    b'"data":"AAAAB"}}]}}}',
}


@pytest.mark.parametrize("frame", LEARNABLE.values(), ids=LEARNABLE)
@pytest.mark.parametrize("middle", [b"", b"CCCC", b"BBBB", b"-_8", BASE64.encode() * 9, b"?", b"\n"])
def test_shapes_assume_no_key_order_or_space(frame, middle):
    shape = shape_of(frame)
    assert shape.matches(frame)
    assert same(shape, frame)
    other = shape.prefix + middle + shape.suffix
    assert shape.matches(other)
    assert same(shape, other)


UNLEARNABLE = {
    "nothing": b"{}",
    "no content": b'{"goAway":{}}',
    "content without a turn": pretty({"serverContent": {"turnComplete": True}}),
    "a turn without parts": of_parts(),
    "parts that are null": pretty({"serverContent": {"modelTurn": {"parts": None}}}),
    "text": of_parts({"text": "hm"}),
    "media without data": of_parts({"inlineData": {"mimeType": "audio/pcm"}}),
    "data that is null": of_parts({"inlineData": {"data": None}}),
    "data that is a number": of_parts({"inlineData": {"data": 7777}}),
    "data that is a list": b'{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"data":[1]}}]}}}',
    "an escaped slash": b'{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"data":"AA\\/A"}}]}}}',
    "an escaped quote beside": of_parts(AUDIO, role='"'),
    "an escaped key": b'{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"d\\u0061ta":"AAAA"}}]}}}',
    "data that stands there twice": b'{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"data":"AAAA","data":"AAAA"}}]}}}',
    "data that equals its type": b'{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"A","data":"A"}}]}}}',
    "data that equals a key": of_parts({"inlineData": {"data": "parts"}}),
    "two parts": of_parts(AUDIO, AUDIO),
    "media and text": of_parts(AUDIO, {"text": "hm"}),
    "text beside": of_parts(AUDIO | {"text": "hm"}),
    "a thought": of_parts(AUDIO | {"thought": True}),
    "code beside": of_parts(AUDIO | {"executableCode": {}}),
    "a call beside": of_parts(AUDIO | {"functionCall": {"name": "f"}}),
}
MARKS = {
    "turnComplete": True,
    "interrupted": True,
    "generationComplete": True,
    "waitingForInput": True,
    "interactionStatus": "IDLE",
    "turnCompleteReason": "x",
    "inputTranscription": {"text": "a"},
    "outputTranscription": {},
    "interimInputTranscription": {},
    "groundingMetadata": {},
    "urlContextMetadata": {},
}
CONTROL = {
    "setupComplete": {},
    "toolCall": {"functionCalls": [{"name": "f", "args": {"data": BASE64}}]},
    "toolCallCancellation": {"ids": ["x"]},
    "goAway": {},
    "sessionResumptionUpdate": {"newHandle": "h", "resumable": True},
    "usageMetadata": {"totalTokenCount": 1},
    "voiceActivity": {"voiceActivityType": "ACTIVITY_START"},
    "voiceActivityDetectionSignal": {},
}


@pytest.mark.parametrize("frame", UNLEARNABLE.values(), ids=UNLEARNABLE)
def test_what_is_not_one_piece_of_media_has_no_shape(frame):
    assert media_shape(decode_server(frame)) is None


@pytest.mark.parametrize("mark", MARKS)
def test_marks_of_a_turn_and_transcripts_have_no_shape(mark):
    content = {"modelTurn": {"parts": [AUDIO]}, mark: MARKS[mark]}
    assert media_shape(decode_server(pretty({"serverContent": content}))) is None


@pytest.mark.parametrize("key", CONTROL)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_frame_with_another_message_neither_has_a_shape_nor_matches_one(key, first, indent):
    plain = json.loads(frame_of())
    both = {key: CONTROL[key], **plain} if first else {**plain, key: CONTROL[key]}
    frame = (json.dumps(both, indent=indent) + "\n").encode()
    assert getattr(decode_server(frame), "".join("_" + c.lower() if c.isupper() else c for c in key)) is not None
    assert media_shape(decode_server(frame)) is None
    assert not SHAPE.matches(frame)
    assert not shape_of(frame_of(indent=None)).matches(frame)


def test_a_frame_that_was_read_in_part_has_no_shape():
    frame = frame_of(usageMetadata={"totalTokenCount": "many"})
    message = decode_server(frame)
    assert message.partial
    assert media_shape(message) is None


def test_a_message_that_is_not_of_its_frame_has_no_shape():
    for encoded, raw in [("BBBB", frame_of()), (BASE64 + "AAAA", frame_of()), (BASE64, b"")]:
        blob = Blob("audio/pcm;rate=24000", encoded)
        turn = Content(parts=[Part(inline_data=blob)])
        assert media_shape(ServerMessage(ServerContent(model_turn=turn), raw=raw)) is None


# --- of any frame whatever ----------------------------------------------------------------------------------------

SPACE = st.sampled_from(["", " ", "\n  ", "\r\n\t"])
INSIDE = st.sampled_from(
    ["", "AAAA", "A-_", "=", "data", "é", "\t", "\\", "\\u0041", "\\ud800", '"', '","data":"', '"}', '"},"goAway":{}']
)
VALUES = st.sampled_from(["null", '"AAAA"', "{}", '{"data":"BBBB"}', '["data"]', '"\\n"', "7"])


@st.composite
def documents(draw):
    """Text that is close to a media frame: keys twice, unknown ones, escapes, and strings that break out."""

    def members(*own: str, keys: str) -> str:
        said = list(own)
        if draw(st.booleans()):
            said.append(f'"{draw(st.sampled_from(keys.split()))}"{draw(SPACE)}:{draw(SPACE)}{draw(VALUES)}')
        return draw(SPACE).join(("{", ("," + draw(SPACE)).join(draw(st.permutations(said))), "}"))

    key = draw(st.sampled_from(["data", "data", "d\\u0061ta"]))
    kind = draw(st.sampled_from(['"mimeType":"audio/pcm"', '"mimeType":"AAAA"', '"a":1']))
    data = f'"{key}"{draw(SPACE)}:{draw(SPACE)}"{draw(st.sampled_from(["BBBB", ""]) | INSIDE)}"'
    blob = members(data, kind, keys="data new newer mimeType d\\u0061ta")
    part = members(f'"inlineData":{blob}', keys="new newer thought text inlineData")
    more = draw(st.sampled_from(["", "", "", ',{"text":"a"}', "," + part]))
    turn = members(f'"parts":[{part}{more}]', keys="new newer role parts")
    content = members(f'"modelTurn":{turn}', keys="new newer turnComplete modelTurn")
    return members(f'"serverContent":{content}', keys="new newer goAway usageMetadata serverContent").encode()


@given(documents(), st.binary(max_size=8) | INSIDE.map(str.encode))
@example(frame_of(), b'"')
def test_what_matches_is_what_the_decoder_makes_of_it(frame, middle):
    try:
        message = decode_server(frame)
    except RemoteProtocolError:
        assume(False)
        return
    shape = media_shape(message)
    if shape is None:
        return
    assert shape.matches(frame)
    assert same(shape, frame)
    other = shape.prefix + middle + shape.suffix
    assert shape.matches(other) == (b'"' not in middle)
    if shape.matches(other):
        assert same(shape, other)


@given(documents(), documents())
def test_a_shape_matches_no_other_frame_by_accident(learned, frame):
    for known in (learned, frame_of()):
        try:
            shape = media_shape(decode_server(known))
        except RemoteProtocolError:
            continue
        if shape is not None and shape.matches(frame):
            assert same(shape, frame)


@given(st.data())
def test_a_frame_that_was_changed_anywhere_is_told_or_the_same(data):
    """A byte is put in, taken out, or another one, anywhere."""
    frame = bytearray(frame_of(indent=data.draw(st.sampled_from([None, 2]))))
    shape = shape_of(bytes(frame))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3) | st.sampled_from([b'"', b"\\"]))
    if shape.matches(bytes(frame)):
        assert same(shape, bytes(frame))
