"""Client frames: every spelling of google-genai is read, audio is measured without decoding."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumekit.errors import LocalProtocolError
from resumekit.wire import (
    ClientKind,
    FunctionResponse,
    HistoryTurn,
    content_frame,
    decode_client,
    realtime_text_frame,
    tool_response_frame,
)

PCM = base64.urlsafe_b64encode(b"\xff\xef" * 1600).decode()  # 0.1 s at 16 kHz


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        ({"setup": {"model": "m"}}, ClientKind.SETUP),
        ({"setup": {}}, ClientKind.SETUP),
        ({"client_content": {"turn_complete": True}}, ClientKind.CONTENT),
        ({"clientContent": {}}, ClientKind.CONTENT),
        ({"tool_response": {"functionResponses": []}}, ClientKind.TOOL_RESPONSE),
        ({"toolResponse": {"function_responses": []}}, ClientKind.TOOL_RESPONSE),
        ({"contextUpdate": {"systemInstruction": {}}}, ClientKind.OTHER),
        ({"context_update": {}}, ClientKind.OTHER),
        ({"realtime_input": {"activityStart": {}}}, ClientKind.ACTIVITY_START),
        ({"realtimeInput": {"activity_start": {}}}, ClientKind.ACTIVITY_START),
        ({"realtime_input": {"activityEnd": {}}}, ClientKind.ACTIVITY_END),
        ({"realtimeInput": {"activity_end": {}}}, ClientKind.ACTIVITY_END),
        ({"realtime_input": {"audioStreamEnd": True}}, ClientKind.AUDIO_STREAM_END),
        ({"realtime_input": {"audio_stream_end": True}}, ClientKind.AUDIO_STREAM_END),
        ({"realtime_input": {"audio_stream_end": False}}, ClientKind.OTHER),
        ({"realtime_input": {"text": ""}}, ClientKind.TEXT),
        ({"realtime_input": {"audio": {"data": ""}}}, ClientKind.AUDIO),
        ({"realtime_input": {"video": {"data": "", "mimeType": "image/jpeg"}}}, ClientKind.VIDEO),
        ({"realtime_input": {"media_chunks": [{"mime_type": "audio/pcm"}]}}, ClientKind.AUDIO),
        ({"realtime_input": {"mediaChunks": [{"mimeType": "image/png"}]}}, ClientKind.VIDEO),
        ({"realtime_input": {"mediaChunks": [{}]}}, ClientKind.VIDEO),
        ({"realtime_input": {"media_chunks": None}}, ClientKind.OTHER),  # send(LiveClientRealtimeInput(activity…))
        ({"realtime_input": {"activityStart": {}, "text": "a", "audio": {}}}, ClientKind.ACTIVITY_START),
        ({"realtime_input": {"text": "a", "audioStreamEnd": True}}, ClientKind.TEXT),
        ({"realtime_input": {"audioStreamEnd": True, "audio": {}}}, ClientKind.AUDIO_STREAM_END),
        ({"realtime_input": {"audio": {}, "video": {}}}, ClientKind.AUDIO),
        ({"client_content": None, "realtimeInput": {"text": "x"}}, ClientKind.TEXT),
    ],
    ids=lambda value: value.name if isinstance(value, ClientKind) else json.dumps(value),
)
def test_kind(frame, kind):
    text = json.dumps(frame)
    message = decode_client(text)
    assert message.kind is kind
    assert message.frame is text
    assert message.size == len(text)
    assert decode_client(text.encode()) == message


def test_content_in_both_spellings():
    frame = json.dumps(
        {
            "client_content": {
                "turns": [
                    {"role": "user", "parts": [{"text": "a"}, {"inline_data": {"data": "AA=="}}, {"text": "b"}]},
                    {"parts": [{"functionCall": {}}]},
                    {"role": "model", "parts": [{"text": "c"}]},
                    {"role": "model"},
                ],
                "turnComplete": True,
            }
        }
    )
    message = decode_client(frame)
    assert message.turn_complete is True
    assert message.turns == (
        HistoryTurn("user", "ab", True),
        HistoryTurn("user", "", True),
        HistoryTurn("model", "c"),
        HistoryTurn("model", ""),
    )
    assert message.text == "ab\nc"
    assert decode_client(frame.replace("turnComplete", "turn_complete")).turn_complete is True


def test_content_without_end_of_turn_asks_for_nothing():
    message = decode_client('{"clientContent":{"turns":[],"turnComplete":false}}')
    assert (message.turn_complete, message.turns, message.text) == (False, (), None)
    assert decode_client('{"clientContent":{}}').turn_complete is False


def test_realtime_text():
    message = decode_client('{"realtimeInput":{"text":"hé"}}')
    assert message.text == "hé"
    assert message.size == len(message.frame) + 1


def test_tool_responses_keep_all_that_the_application_said():
    frame = json.dumps(
        {
            "tool_response": {
                "functionResponses": [
                    {
                        "id": "1",
                        "name": "f",
                        "response": {"a_b": [1.5, None]},
                        "will_continue": True,
                        "scheduling": "SILENT",
                    },
                    {"id": "2", "willContinue": False, "parts": [{"inlineData": {}}]},
                ]
            }
        }
    )
    first, second = decode_client(frame).responses
    assert first == FunctionResponse("1", "f", {"a_b": [1.5, None]}, will_continue=True, scheduling="SILENT")
    assert second == FunctionResponse("2", will_continue=False, parts=[{"inlineData": {}}])


@pytest.mark.parametrize(
    ("mime", "seconds"),
    [
        ("audio/pcm;rate=16000", 0.1),
        ("audio/pcm", 0.1),
        ("audio/pcm;rate=24000", 1600 / 24000),
        ("audio/pcm; rate=8000; channels=1", 0.2),
        ("audio/pcm;rate=0", 0.1),
        (None, 0.1),
    ],
)
def test_audio_is_measured_in_seconds(mime, seconds):
    for frame in (
        {"realtime_input": {"audio": {"data": PCM, "mime_type": mime}}},
        {"realtimeInput": {"audio": {"mimeType": mime, "data": PCM}}},
    ):
        assert decode_client(json.dumps(frame)).media_seconds == pytest.approx(seconds)


def test_media_chunks_are_added_up():
    chunk = {"data": PCM, "mimeType": "audio/pcm"}
    frame = {"realtime_input": {"media_chunks": [chunk, {"mimeType": "image/png", "data": PCM}, chunk]}}
    assert decode_client(json.dumps(frame)).media_seconds == pytest.approx(0.2)


@given(st.binary(max_size=300), st.booleans(), st.booleans())
def test_length_of_audio_is_exact(data, url_safe, padded):
    text = (base64.urlsafe_b64encode if url_safe else base64.b64encode)(data).decode()
    frame = json.dumps({"realtimeInput": {"audio": {"data": text if padded else text.rstrip("=")}}})
    assert decode_client(frame).media_seconds == len(data) / 2 / 16_000


def test_audio_without_data_lasts_no_time():
    assert decode_client('{"realtimeInput":{"audio":{}}}').media_seconds == 0
    assert decode_client('{"realtimeInput":{"audio":{"data":""}}}').media_seconds == 0


def test_repr_shows_no_content():
    message = decode_client('{"setup":{"sessionResumption":{"handle":"secret"}}}')
    assert repr(message) == "<ClientMessage setup, 51 bytes>"


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ("", "of length 0 cannot be read"),
        ("hello", "cannot be read"),
        ("[]", "got `array`"),
        (b"\xff", "cannot be read"),
        ("\ud800", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("{}", "holds 0 messages that resumekit knows; send one JSON object with exactly one of setup, clientContent"),
        ('{"clientcontent":{}}', "holds 0 messages"),
        ('{"client_content":null}', "holds 0 messages"),
        ('{"clientContent":{},"realtimeInput":{}}', "holds 2 messages"),
        ('{"clientContent":{"turns":[{"parts":[{"text":5}]}]}}', "at `$.clientContent.turns[0].parts[0].text`"),
        ('{"client_content":{"turnComplete":"yes"}}', "at `$.client_content.turnComplete`"),
    ],
)
def test_what_the_service_would_refuse_is_refused_here(frame, words):
    with pytest.raises(LocalProtocolError) as caught:
        decode_client(frame)
    assert words in str(caught.value)


# --- what the engine writes is read back ----------------------------------------------------------------------------

TURNS = st.lists(st.builds(HistoryTurn, st.sampled_from(["user", "model"]), st.text()), max_size=4)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
RESPONSES = st.lists(
    st.builds(
        FunctionResponse,
        id=st.text(),
        name=st.text(),
        response=st.dictionaries(st.text(), VALUES, max_size=3),
        will_continue=st.sampled_from([None, True, False]),
        scheduling=st.sampled_from([None, "SILENT"]),
        parts=st.none() | st.just([{"inlineData": {}}]),
    ),
    max_size=3,
)


@given(TURNS, st.booleans())
def test_content_round_trip(turns, complete):
    message = decode_client(content_frame(turns, turn_complete=complete))
    assert message.kind is ClientKind.CONTENT
    assert list(message.turns) == turns
    assert message.turn_complete is complete
    assert message.size == len(message.frame.encode())


@given(st.text())
def test_text_round_trip(text):
    message = decode_client(realtime_text_frame(text))
    assert (message.kind, message.text) == (ClientKind.TEXT, text)


@given(RESPONSES)
def test_tool_response_round_trip(responses):
    message = decode_client(tool_response_frame(responses))
    assert message.kind is ClientKind.TOOL_RESPONSE
    assert list(message.responses) == responses


def test_activity_start_round_trip():
    assert decode_client('{"realtimeInput":{"activityStart":{}}}').kind is ClientKind.ACTIVITY_START
