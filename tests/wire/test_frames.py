"""Frames that the engine edits or writes."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumekit.errors import LocalProtocolError, RemoteProtocolError
from resumekit.wire import (
    INTERRUPTED_FRAME,
    TURN_COMPLETE_FRAME,
    FunctionCall,
    FunctionResponse,
    HistoryTurn,
    ResumptionHandle,
    args_key,
    bind_setup,
    content_frame,
    decode_server,
    known_keys,
    realtime_text_frame,
    setup_background_tools,
    setup_compression_trigger,
    setup_fingerprint,
    setup_handle,
    setup_manual_activity,
    setup_model,
    setup_proactive,
    setup_seeds_history,
    setup_transparent,
    tool_call_cancellation_frame,
    tool_call_frame,
    tool_response_frame,
    without_key,
)

HANDLE = ResumptionHandle("h-1")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def bound(setup, *, handle=None, resumption=True, transparent=False, initial_history=None):
    frame = bind_setup(
        json.dumps({"setup": setup}),
        handle=handle,
        resumption=resumption,
        transparent=transparent,
        initial_history=initial_history,
    )
    [(name, edited)] = json.loads(frame).items()
    assert name == "setup"
    return edited


# --- setup ----------------------------------------------------------------------------------------------------------


def test_resumption_is_asked_for_without_a_handle():
    assert bound({"model": "m"}) == {"model": "m", "sessionResumption": {}}


@pytest.mark.parametrize("name", ["sessionResumption", "session_resumption"])
@pytest.mark.parametrize("given_", [{}, {"handle": "old", "transparent": True}, None])
def test_whatever_the_user_wished_of_resumption_is_replaced(name, given_):
    setup = {"model": "m", name: given_}
    assert bound(setup, handle=HANDLE) == {"model": "m", "sessionResumption": {"handle": "h-1"}}
    assert bound(setup, handle=HANDLE, transparent=True)["sessionResumption"] == {"handle": "h-1", "transparent": True}
    assert bound(setup, transparent=True)["sessionResumption"] == {"transparent": True}
    assert bound(setup, handle=ResumptionHandle(""))["sessionResumption"] == {}
    assert bound(setup, handle=HANDLE, resumption=False) == {"model": "m"}


@pytest.mark.parametrize("outer", ["historyConfig", "history_config"])
@pytest.mark.parametrize("inner", ["initialHistoryInClientContent", "initial_history_in_client_content"])
def test_initial_history_is_set_taken_out_or_left(outer, inner):
    setup = {outer: {inner: True}}
    assert bound(setup, resumption=False) == setup
    assert bound(setup, resumption=False, initial_history=False) == {}
    assert bound(setup, resumption=False, initial_history=True) == {
        "historyConfig": {"initialHistoryInClientContent": True}
    }
    assert bound({outer: {inner: True, "x": 1}}, resumption=False, initial_history=False) == {"historyConfig": {"x": 1}}


@pytest.mark.parametrize("setup", [{}, {"historyConfig": None}, {"historyConfig": {}}])
def test_initial_history_where_there_was_none(setup):
    assert bound(setup, resumption=False, initial_history=False) == {}
    assert bound(setup, resumption=False, initial_history=True) == {
        "historyConfig": {"initialHistoryInClientContent": True}
    }


def test_what_is_not_edited_stays_as_it_was_written():
    frame = '{"setup": {"model": "m", "big": 12345678901234567890.10, "gone": null, "t": {"a_b":  1e0}}}'
    edited = bind_setup(frame, handle=None, resumption=True, transparent=False, initial_history=None)
    assert '"big":12345678901234567890.10' in edited
    assert '"t":{"a_b":  1e0}' in edited
    assert '"gone":null' in edited


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_other_fields_keep_their_meaning(setup):
    assert bound(setup, resumption=False, initial_history=None) == {
        name: value for name, value in setup.items() if name not in ("sessionResumption", "session_resumption")
    }


@pytest.mark.parametrize(
    "frame", ["", "x", "[]", "{}", '{"setup":null}', '{"setup":1}', '{"clientContent":{}}', "\ud800"]
)
def test_a_frame_that_is_no_setup(frame):
    with pytest.raises(LocalProtocolError, match="the first frame must be a JSON object with a setup object"):
        bind_setup(frame, handle=None, resumption=True, transparent=False, initial_history=None)
    with pytest.raises(LocalProtocolError):
        setup_fingerprint(frame)


def test_setup_is_read_in_camel_case():
    frame = json.dumps(
        {
            "setup": {
                "model": "models/m",
                "sessionResumption": {"handle": "mine", "transparent": False},
                "historyConfig": {"initialHistoryInClientContent": True},
                "realtimeInputConfig": {"automaticActivityDetection": {"disabled": True}},
                "proactivity": {"proactiveAudio": True},
                "contextWindowCompression": {"triggerTokens": "25600"},
                "tools": [{"googleSearch": {}}, {"functionDeclarations": [{"name": "f", "behavior": "NON_BLOCKING"}]}],
            }
        }
    )
    assert setup_model(frame) == "models/m"
    assert setup_handle(frame) == ResumptionHandle("mine")
    assert setup_transparent(frame) is False
    assert setup_seeds_history(frame)
    assert setup_manual_activity(frame)
    assert setup_proactive(frame)
    assert setup_compression_trigger(frame) == 25600
    assert setup_background_tools(frame) == {"f"}


def test_setup_is_read_in_snake_case():
    frame = json.dumps(
        {
            "setup": {
                "model": "m",
                "session_resumption": {"handle": "mine", "transparent": True},
                "history_config": {"initial_history_in_client_content": True},
                "realtime_input_config": {"automatic_activity_detection": {"disabled": True}},
                "proactivity": {"proactive_audio": True},
                "context_window_compression": {"trigger_tokens": 25600},
                "tools": [{"function_declarations": [{"name": "f", "behavior": "NON_BLOCKING"}, {"name": "g"}, 5]}],
            }
        }
    )
    assert setup_handle(frame) == ResumptionHandle("mine")
    assert setup_transparent(frame) is True
    assert setup_seeds_history(frame)
    assert setup_manual_activity(frame)
    assert setup_proactive(frame)
    assert setup_background_tools(frame) == {"f"}
    assert setup_compression_trigger(frame) == 25600


@pytest.mark.parametrize(
    "setup",
    [
        {},
        {
            "model": 1,
            "sessionResumption": {},
            "historyConfig": {},
            "realtimeInputConfig": {},
            "contextWindowCompression": {},
        },
        {
            "sessionResumption": {"handle": ""},
            "realtimeInputConfig": None,
            "contextWindowCompression": {"triggerTokens": []},
        },
        {
            "sessionResumption": {"handle": 5},
            "realtimeInputConfig": {"automaticActivityDetection": {"disabled": False}},
        },
    ],
)
def test_setup_that_says_nothing(setup):
    frame = json.dumps({"setup": setup})
    assert setup_model(frame) == ""
    assert setup_handle(frame) is None
    assert setup_transparent(frame) is None
    assert not setup_seeds_history(frame)
    assert not setup_manual_activity(frame)
    assert not setup_proactive(frame)
    assert setup_compression_trigger(frame) is None
    assert setup_background_tools(frame) == set()


def test_fingerprint_is_stable_under_order_spelling_handle_and_history():
    one = {
        "model": "m",
        "generationConfig": {"responseModalities": ["AUDIO"], "temperature": 1.0},
        "tools": [{"functionDeclarations": [{"name": "a_b"}]}],
        "sessionResumption": {"handle": "x"},
        "historyConfig": {},
    }
    two = {
        "tools": [{"function_declarations": [{"name": "a_b"}]}],
        "generation_config": {"temperature": 1, "response_modalities": ["AUDIO"]},
        "model": "m",
        "session_resumption": {},
        "history_config": {"initial_history_in_client_content": True},
    }
    prints = [setup_fingerprint(json.dumps({"setup": setup})) for setup in (one, two, one | {"model": "n"})]
    assert prints[0] == prints[1] != prints[2]


# --- client frames --------------------------------------------------------------------------------------------------


def test_client_frames_are_compact_text():
    turns = [HistoryTurn("user", "a", has_other_parts=True), HistoryTurn("model", "é")]
    assert content_frame(turns, turn_complete=True) == (
        '{"clientContent":{"turns":[{"role":"user","parts":[{"text":"a"}]},{"role":"model","parts":[{"text":"é"}]}],'
        '"turnComplete":true}}'
    )
    assert realtime_text_frame("a") == '{"realtimeInput":{"text":"a"}}'
    responses = [FunctionResponse("1", "f", {"a_b": 1}, will_continue=False, scheduling="WHEN_IDLE")]
    assert tool_response_frame(responses) == (
        '{"toolResponse":{"functionResponses":[{"id":"1","name":"f","response":{"a_b":1},"willContinue":false,'
        '"scheduling":"WHEN_IDLE"}]}}'
    )


# --- frames towards the application ---------------------------------------------------------------------------------


def test_endings():
    assert decode_server(INTERRUPTED_FRAME).server_content.interrupted is True
    assert decode_server(TURN_COMPLETE_FRAME).server_content.turn_complete is True


def test_tool_calls_and_their_cancellation():
    call = FunctionCall("1", "f", {"a_b": [1]})
    assert tool_call_frame([call]) == b'{"toolCall":{"functionCalls":[{"id":"1","name":"f","args":{"a_b":[1]}}]}}'
    assert decode_server(tool_call_frame([call])).tool_call.function_calls == [call]
    assert tool_call_cancellation_frame(["1", "2"]) == b'{"toolCallCancellation":{"ids":["1","2"]}}'


def test_one_message_is_taken_out_of_a_frame_and_the_rest_stays():
    frame = b'{\n  "goAway": {"timeLeft": "5s"},\n  "serverContent": {"turnComplete":  true, "new": 1.50}\n}\n'
    rest = without_key(frame, "go_away")
    assert rest == b'{"serverContent":{"turnComplete":  true, "new": 1.50}}'
    assert known_keys(decode_server(without_key(frame, "server_content"))) == ("go_away",)
    assert json.loads(without_key(frame, "tool_call")) == json.loads(frame)
    assert without_key(b'{"goAway":{}}', "go_away") == b"{}"
    assert json.loads(without_key(b'{"goAway":{},"new":"\\ud800"}', "go_away")) == {"new": "\ud800"}
    with pytest.raises(RemoteProtocolError):
        without_key(b"[]", "go_away")


# --- equal calls ----------------------------------------------------------------------------------------------------


def test_equal_calls_have_equal_keys():
    assert args_key("f", {"a": 1, "b": [{"y": 2.0, "x": None}]}) == args_key(
        "f", {"b": [{"x": None, "y": 2}], "a": 1.0}
    )
    assert args_key("f", None) == args_key("f", {})
    assert args_key(None, None) == args_key("", {})
    assert args_key("f", {"a": 0.0}) == args_key("f", {"a": -0.0})
    assert args_key("f", {"a": 1e20}) == args_key("f", {"a": 10**20})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": "1"}),
        ({"a": True}, {"a": 1}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": None}, {}),
        ({"a": 1.5}, {"a": 1}),
    ],
)
def test_other_arguments_have_other_keys(one, other):
    assert args_key("f", one) != args_key("f", other)
    assert args_key("f", one) != args_key("g", one)


def test_keys_do_not_change_the_spelling_of_arguments():
    assert args_key("f", {"a_b": 1}) != args_key("f", {"aB": 1})


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_key_survives_the_wire(args):
    [call] = decode_server(tool_call_frame([FunctionCall("1", "f", args)])).tool_call.function_calls
    assert args_key(call.name, call.args) == args_key("f", args)


# --- what is beyond all limits ----------------------------------------------------------------------------------------


def test_a_value_of_the_setup_that_cannot_be_read_is_told():
    with pytest.raises(LocalProtocolError, match="Number out of range"):
        setup_fingerprint('{"setup":{"model":"m","tools":[2e999]}}')


def test_arguments_that_are_too_deep_to_be_compared_are_all_alike():
    def deep(depth: int) -> dict[str, object]:
        args: dict[str, object] = {"a": 1}
        for _ in range(depth):
            args = {"a": args}
        return args

    beyond = 5 * sys.getrecursionlimit()
    assert args_key("f", deep(100)) != args_key("f", deep(101))
    assert args_key("f", deep(beyond)) == args_key("f", deep(beyond + 1)) != args_key("g", deep(beyond))
