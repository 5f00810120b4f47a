"""Server frames: what is read of them, and that no odd field hides a control message."""

from __future__ import annotations

import base64
import json
import pickle

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resumekit.errors import RemoteProtocolError
from resumekit.wire import (
    Blob,
    Cut,
    ResumptionHandle,
    ServerMessage,
    SessionResumptionUpdate,
    decode_server,
    int64,
    is_empty,
    known_keys,
    parse_duration,
    server,
    top_level,
)
from resumekit.wire.server import decode_media

KEYS = (
    "setupComplete",
    "serverContent",
    "toolCall",
    "toolCallCancellation",
    "usageMetadata",
    "goAway",
    "sessionResumptionUpdate",
    "voiceActivity",
    "voiceActivityDetectionSignal",
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
MEMBERS = st.sampled_from(
    "modelTurn parts text inlineData data mimeType turnComplete interrupted generationComplete inputTranscription"
    " outputTranscription finished functionCalls id name args ids timeLeft newHandle resumable sessionId"
    " lastConsumedClientMessageIndex promptTokenCount interactionStatus groundingMetadata voiceActivityType".split()
)
SHAPED = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=4), max_leaves=12
)


def pretty(value: object) -> bytes:
    """Write a frame as the Developer API does."""
    return (json.dumps(value, indent=2) + "\n").encode()


def test_audio_frame_of_the_developer_api():
    frame = pretty(
        {
            "serverContent": {
                "modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "+/8="}}]}
            }
        }
    )
    message = decode_server(frame)
    assert message.partial is False
    assert message.raw is frame
    blob = message.server_content.model_turn.parts[0].inline_data
    assert blob.mime_type == "audio/pcm;rate=24000"
    assert blob.data == b"\xfb\xff"
    assert blob.encoded == "+/8="


def test_end_of_turn_carries_usage_in_the_same_frame():
    """There is no oneof at the top."""
    message = decode_server(
        pretty(
            {
                "serverContent": {"turnComplete": True, "groundingMetadata": {}, "interactionStatus": "IDLE"},
                "usageMetadata": {"promptTokenCount": 24, "candidatesTokenCount": 5, "candidatesTokensDetails": [{}]},
            }
        )
    )
    assert known_keys(message) == ("server_content", "usage_metadata")
    assert message.server_content.turn_complete is True
    assert message.server_content.interaction_status == "IDLE"
    assert not message.server_content.interrupted
    assert bytes(message.server_content.grounding_metadata) == b"{}"
    assert bytes(message.server_content.url_context_metadata) == b""
    assert message.usage_metadata.prompt_token_count == 24
    assert message.usage_metadata.candidates_token_count == 5
    assert message.usage_metadata.response_token_count is None


def test_tool_call_and_cancellation():
    message = decode_server(
        b'{"toolCall":{"functionCalls":[{"name":"f","args":{"a":[1]},"id":"x"}]},"toolCallCancellation":{"ids":["x"]}}'
    )
    [call] = message.tool_call.function_calls
    assert (call.id, call.name, call.args) == ("x", "f", {"a": [1]})
    assert message.tool_call_cancellation.ids == ["x"]


def test_setup_complete_of_vertex_names_the_session():
    assert decode_server(b'{"setupComplete":{"sessionId":"s"}}').setup_complete.session_id == "s"
    assert decode_server(b'{"setupComplete":{}}').setup_complete.session_id is None


def test_thought_transcription_and_voice_activity():
    message = decode_server(
        pretty(
            {
                "serverContent": {
                    "modelTurn": {
                        "role": "model",
                        "parts": [{"text": "hm", "thought": True}, {"executableCode": {"a": 1}}],
                    },
                    "inputTranscription": {"text": " Hello"},
                    "outputTranscription": {"finished": True},
                    "interimInputTranscription": {"text": "He"},
                    "waitingForInput": True,
                },
                "voiceActivity": {"voiceActivityType": "ACTIVITY_START", "audioOffset": "1s"},
                "voiceActivityDetectionSignal": {"vadSignalType": "VAD_SIGNAL_TYPE_SOS"},
            }
        )
    )
    content = message.server_content
    thought, code = content.model_turn.parts
    assert (content.model_turn.role, thought.text, thought.thought) == ("model", "hm", True)
    assert json.loads(bytes(code.executable_code)) == {"a": 1}
    assert content.input_transcription.text == " Hello"
    assert content.output_transcription.finished
    assert content.interim_input_transcription.text == "He"
    assert content.waiting_for_input
    assert message.voice_activity.voice_activity_type == "ACTIVITY_START"
    assert message.voice_activity_detection_signal.vad_signal_type == "VAD_SIGNAL_TYPE_SOS"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("50s", 50.0),
        ("59.5s", 59.5),
        ("0s", 0.0),
        ("-3s", 0.0),
        ("1.000000001s", 1.000000001),
        (None, None),
        ("", None),
        ("50", None),
        ("50 s", None),
        ("1e3s", None),
        ("٥s", None),
        ("9999999999999s", None),
        ("soon", None),
    ],
)
def test_duration(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("value", "number"),
    [("17", 17), (18, 18), ("0", 0), ("-1", -1), ("1_0", None), (" 1", None), ("", None), (None, None)],
)
def test_int64_is_written_as_a_string_or_as_a_number(value, number):
    assert int64(value) == number


def test_go_away():
    assert decode_server(b'{"goAway":{"timeLeft":"59.5s"}}').go_away.seconds == 59.5
    assert decode_server(b'{"goAway":{}}').go_away.seconds is None


@pytest.mark.parametrize("index", ['"17"', "17"])
def test_resumption_update(index):
    frame = (
        b'{"sessionResumptionUpdate":{"newHandle":"secret","resumable":true,"lastConsumedClientMessageIndex":%s}}'
        % index.encode()
    )
    update = decode_server(frame).session_resumption_update
    assert update.handle == ResumptionHandle("secret")
    assert update.resumable is True
    assert update.index == 17
    assert "secret" not in repr(update)
    assert "17" in repr(update)


@pytest.mark.parametrize("inside", ["{}", '{"newHandle":"","resumable":false}', '{"newHandle":null,"resumable":null}'])
def test_update_that_is_not_resumable(inside):
    """proto3 JSON leaves out what is false or empty."""
    message = decode_server(f'{{"sessionResumptionUpdate":{inside}}}')
    update = message.session_resumption_update
    assert (update.handle, bool(update.resumable), update.index) == (None, False, None)
    assert message.partial is False


def test_null_is_absent():
    frame = json.dumps(dict.fromkeys(KEYS) | {"serverContent": {"turnComplete": None, "modelTurn": None}})
    message = decode_server(frame)
    assert message.partial is False
    assert known_keys(message) == ("server_content",)
    assert not message.server_content.turn_complete
    assert message.server_content.model_turn is None


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda frame: frame.decode()])
def test_every_kind_of_frame_is_taken_and_kept_as_bytes(kind):
    frame = '{"goAway":{"timeLeft":"1s"},"new":"ü"}'.encode()
    message = decode_server(kind(frame))
    assert message.raw == frame
    assert type(message.raw) is bytes
    assert message.go_away.seconds == 1


def test_unknown_keys_are_named_and_the_message_is_empty():
    message = decode_server(b'{"brandNew":{"a":1},"error":{"code":3}}')
    assert is_empty(message)
    assert known_keys(message) == ()
    assert tuple(top_level(message.raw)) == ("brandNew", "error")
    assert not is_empty(decode_server(b'{"goAway":{}}'))
    assert not is_empty(decode_server(b'{"serverContent":{}}'))
    assert is_empty(decode_server(b"{}"))


def test_what_the_engine_notes_in_a_message_is_no_key_of_the_frame():
    message = decode_server(b'{"serverContent":{"interrupted":true}}')
    message.cut = Cut.REANSWERED
    assert known_keys(message) == ("server_content",)
    assert repr(message) == "<ServerMessage server_content, 38 bytes>"


def test_the_wire_cannot_set_our_own_fields():
    message = decode_server(b'{"raw":"x","(raw)":"eA==","partial":2,"(partial)":2,"goAway":{}}')
    assert message.raw.startswith(b'{"raw"')
    assert message.go_away is not None
    for name in ("(data)", "(text)"):
        [part] = decode_server(
            f'{{"serverContent":{{"modelTurn":{{"parts":[{{"inlineData":{{"data":"AAAA","{name}":"BBBB"}}}}]}}}}}}'
        ).server_content.model_turn.parts
        assert (part.inline_data.encoded, part.inline_data.data) == ("AAAA", bytes(3))


def test_repr_of_a_message_shows_no_content():
    message = decode_server(b'{"sessionResumptionUpdate":{"newHandle":"secret"},"goAway":{}}')
    assert repr(message) == "<ServerMessage go_away+session_resumption_update, 62 bytes>"
    assert repr(decode_server(b"{}")) == "<ServerMessage unknown, 2 bytes>"


# --- the ladder -----------------------------------------------------------------------------------------------------


def test_odd_media_leaves_all_else():
    message = decode_server(
        b'{"serverContent":{"modelTurn":{"parts":"odd"},"outputTranscription":{"text":"a"},"turnComplete":true},'
        b'"toolCall":{"functionCalls":[{"id":"x","name":"f","args":{"a":1}}]},"usageMetadata":[]}'
    )
    assert message.partial is True
    content = message.server_content
    assert content.turn_complete is True
    assert content.model_turn is not None  # the app may have heard something
    assert content.output_transcription.text == "a"
    assert content.input_transcription is None
    assert message.tool_call.function_calls[0].args == {"a": 1}
    assert message.usage_metadata is not None


def test_odd_usage_leaves_the_media():
    message = decode_server(
        b'{"usageMetadata":{"totalTokenCount":"many"},'
        b'"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/pcm","data":"AAAA"}},{"text":7}]}}}'
    )
    media, text = message.server_content.model_turn.parts
    assert (media.inline_data.mime_type, media.inline_data.data, text.text) == ("audio/pcm", bytes(3), None)


def test_odd_usage_alone_is_still_a_frame_that_we_know():
    message = decode_server(b'{"usageMetadata":{"promptTokenCount":"many","totalTokenCount":7}}')
    assert message.partial is True
    assert message.usage_metadata.prompt_token_count is None
    assert message.usage_metadata.total_token_count == 7


@pytest.mark.parametrize(
    "odd",
    [
        b'"sessionResumptionUpdate":{"newHandle":{"a":1}}',
        b'"sessionResumptionUpdate":7',
        b'"serverContent":{"turnComplete":"yes"}',
        b'"toolCall":{"functionCalls":{"id":1}}',
        b'"toolCallCancellation":["a"]',
        b'"setupComplete":"done"',
        b'"usageMetadata":NaN',
        b'"new":"\\ud800"',
        b'"new":1e999',
        b'"setupComplete":' + b"9" * 5000,
        b'"serverContent":{"modelTurn":{"parts":[{"text":"\xff"}]}}',
    ],
)
def test_one_odd_field_never_hides_a_go_away(odd):
    for frame in (b'{"goAway":{"timeLeft":"9s"},' + odd + b"}", b"{" + odd + b',"goAway":{"timeLeft":"9s"}}'):
        assert decode_server(frame).go_away.seconds == 9


@pytest.mark.parametrize("inside", ["true", '"9s"', "[]", '{"timeLeft":{"seconds":9}}', '{"timeLeft":9}'])
def test_a_go_away_that_cannot_be_read_is_one_without_time(inside):
    message = decode_server(f'{{"goAway":{inside}}}')
    assert message.partial is True
    assert message.go_away.seconds is None


def test_an_odd_index_leaves_the_handle():
    message = decode_server(
        b'{"sessionResumptionUpdate":{"newHandle":"h","resumable":true,"lastConsumedClientMessageIndex":{"v":1}}}'
    )
    update = message.session_resumption_update
    assert (update.handle, update.resumable, update.index) == (ResumptionHandle("h"), True, None)


def test_salvage_takes_of_lists_and_raw_trees_what_is_there():
    message = decode_server(
        b'{"goAway":1,"toolCallCancellation":{"ids":["a",2,"b"]},"toolCall":{"functionCalls":['
        b'{"id":"x","name":"f","args":[1]},{"id":3,"name":"g","args":{"k":null}}]},'
        b'"serverContent":{"groundingMetadata":{"a":1},"modelTurn":{"parts":[{"text":"t"},null,5]}}}'
    )
    assert message.tool_call_cancellation.ids == ["a", "b"]
    first, second = message.tool_call.function_calls
    assert (first.id, first.args) == ("x", None)
    assert (second.id, second.name, second.args) == (None, "g", {"k": None})
    assert json.loads(bytes(message.server_content.grounding_metadata)) == {"a": 1}
    assert message.server_content.model_turn.parts[0].text == "t"


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"garbage", "is not JSON (JSONDecodeError)"),
        (b"[1]", "is not a JSON object"),
        (b"null", "is not a JSON object"),
        (b'{"goAway":', "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON (RecursionError)"),
        ("\ud800", "is not JSON"),
    ],
)
def test_what_is_no_json_object_is_the_services_fault(frame, words):
    for read in (decode_server, top_level):
        with pytest.raises(RemoteProtocolError) as caught:
            read(frame)
        assert words in str(caught.value)
        assert caught.value.__cause__ is None


def test_error_about_a_truncated_frame_shows_no_handle():
    with pytest.raises(RemoteProtocolError) as caught:
        decode_server(b'{"sessionResumptionUpdate":{"newHandle":"CANARY')
    assert "CANARY" not in str(caught.value)
    with pytest.raises(RemoteProtocolError) as caught:
        decode_server(b'{"newHandle": "CANARY')
    assert "CANARY" not in str(caught.value)


def test_the_top_level_of_a_frame_that_msgspec_refuses():
    assert tuple(top_level(b'{"goAway":{},"new":"\\ud800"}')) == ("goAway", "new")


@given(st.binary(max_size=200) | st.text(max_size=200))
@example(b'\xef\xbb\xbf{"goAway":{}}')
@example(b'{"\xff":1}')
def test_arbitrary_frames_decode_or_raise_remote_protocol_error(frame):
    try:
        message = decode_server(frame)
    except RemoteProtocolError:
        return
    assert isinstance(message, ServerMessage)


FRAMES = [
    b'{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/pcm","data":"AAAA"}}]}}}',
    pretty({"serverContent": {"turnComplete": True, "groundingMetadata": {}}, "usageMetadata": {"totalTokenCount": 3}}),
    b'{"toolCall":{"functionCalls":[{"name":"f","args":{"a":[1.5,null,"\\u00e9"]},"id":"x"}]}}',
    b'{"sessionResumptionUpdate":{"newHandle":"h","resumable":true,"lastConsumedClientMessageIndex":"17"}}',
    b'{"goAway":{"timeLeft":"50s"},"toolCallCancellation":{"ids":["x"]},"new":"\\ud83d\\ude00"}',
]
SNIPPETS = [
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\xff",
    b"\x00",
    b"\\ud800",
    b"null",
    b"1e999",
    b"NaN",
    b"9" * 400,
]


@given(st.data())
def test_mutated_frames_decode_or_raise_remote_protocol_error(data):
    """Whatever the service, or something on the way, makes of a frame, and whatever is then read of it."""
    frame = bytearray(data.draw(st.sampled_from(FRAMES)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(frame)))
        frame[at : at + data.draw(st.integers(0, 5))] = data.draw(st.sampled_from(SNIPPETS) | st.binary(max_size=3))
    try:
        message = decode_server(frame)
        content = message.server_content
        for part in (content and content.model_turn and content.model_turn.parts) or ():
            _ = part.inline_data and part.inline_data.data
    except RemoteProtocolError:
        return
    assert message.raw == frame
    assert set(known_keys(message)) <= {field.name for field in msgspec.structs.fields(ServerMessage)}
    assert isinstance(top_level(frame), dict)
    _ = message.go_away and message.go_away.seconds
    _ = message.session_resumption_update and message.session_resumption_update.index
    assert repr(message).startswith("<ServerMessage ")


@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), SHAPED | JSON, max_size=4))
def test_every_json_object_decodes(value):
    message = decode_server(json.dumps(value))
    assert set(known_keys(message)) <= {"".join("_" + c.lower() if c.isupper() else c for c in key) for key in value}


@given(st.dictionaries(st.sampled_from(KEYS[:5] + KEYS[6:]), SHAPED | JSON, max_size=4), st.integers(0, 60))
def test_a_go_away_is_never_hidden(others, seconds):
    assert decode_server(json.dumps(others | {"goAway": {"timeLeft": f"{seconds}s"}})).go_away.seconds == seconds


@given(
    st.dictionaries(st.sampled_from(KEYS[:5]), SHAPED | JSON, max_size=4),
    st.text(min_size=1),
    st.integers(0, 2**63 - 1),
)
def test_a_handle_is_never_hidden(others, handle, index):
    update = {"newHandle": handle, "resumable": True, "lastConsumedClientMessageIndex": str(index)}
    found = decode_server(json.dumps(others | {"sessionResumptionUpdate": update})).session_resumption_update
    assert found.handle is not None
    assert (found.handle.reveal(), found.resumable, found.index) == (handle, True, index)


# --- media --------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=64), st.booleans(), st.booleans())
@example(b"\xfb\xef\xff", True, True)
def test_media_of_either_alphabet(data, url_safe, padded):
    text = (base64.urlsafe_b64encode if url_safe else base64.b64encode)(data).decode()
    text = text if padded else text.rstrip("=")
    assert Blob("audio/pcm", text).data == data
    assert decode_media(text, None) == data


def test_media_is_decoded_once_and_only_when_it_is_read(monkeypatch):
    decoded = []
    monkeypatch.setattr(server, "b64decode", lambda text, *how: decoded.append((text, *how)) or b"x")
    message = decode_server(
        b'{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"a","data":"AAAA"}}]}}}'
    )
    blob = message.server_content.model_turn.parts[0].inline_data
    assert (blob.mime_type, blob.encoded) == ("a", "AAAA")
    assert decoded == []
    assert (blob.data, blob.data) == (b"x", b"x")
    assert decoded == [("AAAA", None, True)]


def test_media_that_was_read_equals_the_same_that_was_not():
    read, unread = Blob("audio/pcm", "AAAA"), Blob("audio/pcm", "AAAA")
    assert read.data == bytes(3)
    assert read == unread
    assert not read != unread  # noqa: SIM202 -- another method
    for other in (Blob("audio/pcm", "BBBB"), Blob("audio/wav", "AAAA"), "AAAA"):
        assert read != other
        assert not read == other  # noqa: SIM201


def test_media_with_escapes():
    frame = b'{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"data":"\\/\\/8\\u003d"}}]}}}'
    assert decode_server(frame).server_content.model_turn.parts[0].inline_data.data == b"\xff\xff"


def test_media_without_data_is_empty():
    assert decode_server(b'{"serverContent":{"modelTurn":{"parts":[{"inlineData":{}}]}}}').server_content is not None
    assert Blob().data == b""
    assert Blob("audio/pcm", "").data == b""


@pytest.mark.parametrize("text", ["a b=", "!", "a", "é===", "AA=A", "AAA\n", "AAAA AAAA", "AAAA!AAA", "AAAA===="])
def test_media_that_is_no_base64(text):
    with pytest.raises(RemoteProtocolError, match="media of 'audio/pcm' is not base64"):
        decode_media(text, "audio/pcm")
    for blob in (
        Blob("audio/pcm", text),
        *(Blob("audio/pcm", None, text.encode(code)) for code in ("utf-8", "latin-1")),
    ):
        with pytest.raises(RemoteProtocolError, match="media of 'audio/pcm' is not base64"):
            _ = blob.data


@pytest.mark.parametrize("data", ["7", "7777", "[]", '["AAAA"]', "{}", "true"])
def test_media_that_is_no_string_is_left_out(data):
    message = decode_server(f'{{"serverContent":{{"modelTurn":{{"parts":[{{"inlineData":{{"data":{data}}}}}]}}}}}}')
    blob = message.server_content.model_turn.parts[0].inline_data
    assert (message.partial, blob.encoded, blob.data) == (True, None, b"")


def test_update_can_be_pickled():
    update = SessionResumptionUpdate("h", True, "1")
    assert pickle.loads(pickle.dumps(update)) == update


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])
def test_a_frame_in_any_encoding_of_json_is_read(encoding):
    """As json.loads does, and so google-genai."""
    message = decode_server('{"goAway": {"timeLeft": "5s"}}'.encode(encoding))
    assert message.go_away is not None
    assert message.go_away.seconds == 5


def test_marks_and_numbers_in_other_types_are_taken_for_what_they_mean():
    frame = b'{"serverContent": {"turnComplete": "true", "interrupted": 1}, "usageMetadata": {"totalTokenCount": "17"}}'
    message = decode_server(frame)
    assert message.server_content is not None
    assert message.server_content.turn_complete is True
    assert message.server_content.interrupted is True
    assert message.usage_metadata is not None
    assert message.usage_metadata.total_token_count == 17


def test_half_a_character_becomes_a_whole_one():
    """JSON can escape it, and nothing can write it: a handle could not be sent back, arguments could not be compared."""
    frame = b'{"sessionResumptionUpdate":{"newHandle":"a\\ud800","resumable":true},"\\udc00":{"x":"\\ud800"}}'
    assert decode_server(frame).session_resumption_update.new_handle == "a?"
    assert tuple(top_level(frame)) == ("sessionResumptionUpdate", "?")
    call = decode_server(b'{"toolCall":{"functionCalls":[{"name":"f","args":{"\\udc00":["\\ud83d"]}}]}}').tool_call
    assert call.function_calls[0].args == {"?": ["?"]}
