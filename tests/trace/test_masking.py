"""What is masked says nothing, is as long as it was, and is still equal to what it was equal to."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumekit.trace.masking import Masker
from resumekit.wire import ResumptionHandle, args_key, decode_client, decode_server

KEY = b"k" * 32
HANDLE = "CihAbcDEF-handle_0123456789"
TEXTS = st.text(max_size=30) | st.sampled_from(
    ["héllo wörld", "  \n yes ", "日本語 です", "🙂 ok", 'a "quote" \\ and / more']
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False, width=16).map(lambda number: number or 0.0)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def masker(*, payloads=False):
    return Masker(KEY, payloads=payloads)


def content(text):
    return {"client_content": {"turns": [{"role": "user", "parts": [{"text": text}]}], "turnComplete": True}}


def said(frame):
    return frame["client_content"]["turns"][0]["parts"][0]["text"]


@given(TEXTS, st.booleans(), st.sampled_from([None, 2]))
def test_a_text_is_as_long_as_it_was_in_characters_and_bytes_and_written_anew(text, escaped, indent):
    frame = json.dumps(content(text), ensure_ascii=escaped, indent=indent)
    masked = masker().client_frame(frame)
    assert len(masked.encode("utf-8", "surrogatepass")) == len(frame.encode("utf-8", "surrogatepass"))
    found = said(json.loads(masked))
    assert len(found) == len(text)
    if not any(0xD800 <= ord(character) < 0xE000 for character in text):
        assert len(msgspec.json.encode(found)) == len(msgspec.json.encode(text))
    assert not set(re.findall(r"\w{3,}", text)) & set(re.findall(r"\w{3,}", found))
    assert json.loads(frame).keys() == json.loads(masked).keys()


def test_what_the_engine_strips_is_kept():
    assert masker().client_frame(json.dumps(content("  hello there\n"))).count("  ") == 1
    assert re.fullmatch(r"  \w{11}\n", said(json.loads(masker().client_frame(json.dumps(content("  hello there\n"))))))


def test_of_what_users_write_it_stays_known_which_texts_are_equal():
    one = masker()
    yes, nay, again = (one.client_frame(json.dumps(content(text))) for text in ("yes", "nay", "yes"))
    assert yes == again != nay
    assert masker().text("yes") == said(json.loads(yes))
    assert Masker(b"another key" * 2).client_frame(json.dumps(content("yes"))) != yes


@given(VALUES, VALUES)
def test_arguments_are_equal_if_they_were(one, other):
    masking = masker()
    frames = [
        json.dumps({"toolCall": {"functionCalls": [{"id": "c", "name": "f", "args": {"of": it}}]}})
        for it in (one, other)
    ]
    masked = [masking.server_frame(frame, 1) for frame in frames]
    assert [len(frame) for frame in masked] == [len(frame) for frame in frames]
    keys = [args_key("f", json.loads(frame)["toolCall"]["functionCalls"][0]["args"]) for frame in masked]
    was = [args_key("f", {"of": it}) for it in (one, other)]
    if was[0] == was[1]:
        assert keys[0] == keys[1]
    elif len(json.dumps(one)) > 10:
        assert keys[0] != keys[1]


def test_arguments_in_another_order_are_equal():
    call = '{"toolCall":{"functionCalls":[{"id":"c","name":"f","args":%s}]}}'
    one, other = (masker().server_frame(call % args, 1) for args in ('{"a": 1, "b": "x"}', '{"b": "x","a":1.0 }'))
    args = [json.loads(frame)["toolCall"]["functionCalls"][0]["args"] for frame in (one, other)]
    assert sorted(map(len, args[0])) == [1, 1]
    assert set(args[0]) == set(args[1])


def test_the_key_of_an_answered_call_is_that_of_the_masked_call():
    masking = masker()
    args = {"city": "Paris", "days": [1, 2.5]}
    frame = json.dumps({"toolCall": {"functionCalls": [{"id": "c", "name": "weather", "args": args}]}})
    masked = json.loads(masking.server_frame(frame, 1))["toolCall"]["functionCalls"][0]["args"]
    assert masking.args_key("weather", args_key("weather", args)) == args_key("weather", masked)
    assert masking.args_key("weather", "weather:(too deep)") == masker().args_key("weather", "weather:(too deep)")


def test_ids_stay_apart_however_short_they_are():
    masking = masker()
    ids = [str(number) for number in range(10)] + [f"call-{number}" for number in range(100)]
    masked = [masking.call_id(one) for one in ids]
    assert len(set(masked)) == len(ids)
    assert [len(one) for one in masked] == [len(one) for one in ids]
    assert masked == [masking.call_id(one) for one in ids]
    assert not set(masked) & set(ids[10:])


def test_media_keep_their_length_and_their_seconds():
    for data in ("QUJD" * 100, "QUI=", "QQ==", "QUJDRA", "a\\/b+", ""):
        frame = f'{{"realtime_input": {{"audio": {{"data": "{data}", "mime_type": "audio/pcm;rate=24000"}}}}}}'
        masked = masker().client_frame(frame)
        was, now = decode_client(frame), decode_client(masked)
        assert (now.kind, now.size, now.media_seconds) == (was.kind, was.size, was.media_seconds)
        assert set(json.loads(masked)["realtime_input"]["audio"]["data"]) <= set("A=")


@pytest.mark.parametrize("payloads", [False, True])
def test_handles_are_never_kept_wherever_they_stand(payloads):
    masking = masker(payloads=payloads)
    update = json.dumps({"sessionResumptionUpdate": {"newHandle": HANDLE, "resumable": True}})
    masked = masking.server_frame(update, 1)
    assert len(masked) == len(update)
    handle = decode_server(masked.encode()).session_resumption_update.handle.reveal()
    assert handle == masking.handle(ResumptionHandle(HANDLE))
    assert len(handle) == len(HANDLE)
    setup = json.dumps({"setup": {"model": "models/m", "sessionResumption": {"handle": HANDLE}}})
    assert masking.client_frame(setup) == setup.replace(HANDLE, handle)
    assert HANDLE not in masking.client_frame(json.dumps(content(f"go on from {HANDLE}")))
    assert (
        masking.told(f"the service does not know {HANDLE} any more") == f"the service does not know {handle} any more"
    )


@pytest.mark.parametrize("payloads", [False, True])
@pytest.mark.parametrize(
    "secret",
    ["Bearer abc.def-ghi", "AIza0123456789abcdefghijklmnop", "ya29.abcdef", "auth_tokens/abcdef"],
)
def test_credentials_are_never_kept(payloads, secret):
    masking = masker(payloads=payloads)
    frame = json.dumps(content(f"my key is {secret}, mind"))
    assert secret not in masking.client_frame(frame)
    assert len(masking.client_frame(frame)) == len(frame)
    setup = {
        "setup": {"tools": [{"mcpServers": [{"url": "u", "headers": {"X-Mine": "canary", "Authorization": "canary"}}]}]}
    }
    assert "canary" not in masking.client_frame(json.dumps(setup))
    call = {"toolCall": {"functionCalls": [{"id": "c", "name": "f", "args": {"apiKey": "canary"}}]}}
    assert "canary" not in masking.server_frame(json.dumps(call), 1)


def test_payloads_are_kept_where_that_is_wanted():
    masking = masker(payloads=True)
    for frame in (content("hello there"), {"realtime_input": {"audio": {"data": "QUJD", "mime_type": "audio/pcm"}}}):
        assert masking.client_frame(json.dumps(frame)) == json.dumps(frame)
    call = json.dumps({"toolCall": {"functionCalls": [{"id": "call-1", "name": "f", "args": {"city": "Paris"}}]}})
    assert masking.server_frame(call, 1) == call
    assert masking.call_id("call-1") == "call-1"


def test_a_setup_keeps_the_names_of_models_and_tools_and_no_more():
    setup = {
        "setup": {
            "model": "models/gemini-2.5-flash-live",
            "systemInstruction": {"parts": [{"text": "canary one"}]},
            "generationConfig": {"responseModalities": ["AUDIO"], "temperature": 0.5},
            "tools": [
                {
                    "functionDeclarations": [
                        {
                            "name": "book_table",
                            "description": "canary two",
                            "behavior": "NON_BLOCKING",
                            "parameters": {"type": "OBJECT", "properties": {"canary": {"type": "STRING"}}},
                        }
                    ]
                }
            ],
            "toolConfig": {"retrievalConfig": {"latLng": {"latitude": 48.85}}},
            "contextWindowCompression": {"triggerTokens": "25600"},
        }
    }
    frame = json.dumps(setup)
    masked = masker().client_frame(frame)
    assert len(masked) == len(frame)
    assert "canary" not in masked
    assert "48.85" not in masked
    found = json.loads(masked)["setup"]
    for name in ("model", "generationConfig", "contextWindowCompression"):
        assert found[name] == setup["setup"][name]
    declared = found["tools"][0]["functionDeclarations"][0]
    assert (declared["name"], declared["behavior"]) == ("book_table", "NON_BLOCKING")


def heard(masking, *pieces, connection=1):
    frames = [
        json.dumps({"serverContent": {"inputTranscription": {"text": piece}}}, ensure_ascii=False) for piece in pieces
    ]
    masked = [masking.server_frame(frame, connection) for frame in frames]
    assert [len(one.encode()) for one in masked] == [len(frame.encode()) for frame in frames]
    return "".join(json.loads(one)["serverContent"]["inputTranscription"]["text"] for one in masked)


def test_a_repeated_question_can_be_compared_word_by_word():
    """`core.hearing` does so, to show nothing twice."""
    masking = masker()
    first = heard(masking, "What is the wea", "ther in Köln, 日本?")
    again = heard(masking, "what is", " the weather", " in Köln, 日本?", connection=2)
    other = heard(masking, "what was the weather in Rome, 日本?", connection=3)
    assert again == first
    assert first != "What is the weather in Köln, 日本?".lower()
    assert other.split()[2:5] == first.split()[2:5]
    assert other.split()[1] != first.split()[1]
    assert not re.search("weather|what|Köln|日", first)


def test_equal_words_of_two_questions_do_not_show():
    masking = masker()
    first = heard(masking, "the weather")
    masking.server_frame('{"serverContent": {"turnComplete": true}}', 1)
    masking.server_frame('{"sessionResumptionUpdate": {"newHandle": "h", "resumable": true}}', 1)
    assert heard(masking, "the weather") != first


def test_frames_that_are_no_frames_do_no_harm():
    masking = masker()
    for frame in (
        "",
        "[",
        '{"a": [}',
        '{"a" "b"',
        "}]}",
        '{"data": "\\ud800"}',
        '{"args": {"a": 1, "a": 2}}',
        '{"args": [1',
    ):
        assert len(masking.client_frame(frame)) == len(frame)
