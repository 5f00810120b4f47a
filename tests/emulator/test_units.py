"""The small parts of the emulator: frames, texts, speech, answers, faults, script, settings."""

from __future__ import annotations

import json
import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumekit.emulator import (
    Fault,
    Settings,
    Trigger,
    dump_faults,
    heard,
    load_faults,
    model_profile,
    parse_answer,
    silence,
    spoken,
)
from resumekit.emulator import faults as fault_types
from resumekit.emulator.answers import answer_text, directives, plan, plan_steps, split_text
from resumekit.emulator.conversation import Call, Conversation, Turn
from resumekit.emulator.frames import decode_base64, decode_client_frame, duration, encode_frame, field
from resumekit.emulator.script import FaultScript, check_fault
from resumekit.emulator.settings import Knobs, knob_table, resolve
from resumekit.emulator.speech import VoiceActivity
from resumekit.emulator.texts import QUOTA, cut_reason
from resumekit.errors import ConfigurationError

# --- frames and texts -------------------------------------------------------------------------------------------


def test_frames_are_pretty_printed_with_a_newline():
    assert encode_frame({"setupComplete": {}}) == b'{\n  "setupComplete": {}\n}\n'
    assert encode_frame({"setupComplete": {}}, pretty=False) == b'{"setupComplete":{}}'


@pytest.mark.parametrize(
    ("seconds", "text"), [(50, "50s"), (59.5, "59.500s"), (0.0005, "0.000500s"), (0, "0s"), (1e-9, "0.000000001s")]
)
def test_durations_are_written_as_proto3_json(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("text", ["-_8", "-_8=", "+/8=", "+/8"])
def test_both_base64_alphabets_are_read(text):
    assert decode_base64(text) == b"\xfb\xff"


def test_a_field_is_found_in_either_spelling():
    assert field({"turn_complete": True}, "turnComplete") is True
    assert field({"turnComplete": True}, "turnComplete") is True


def test_protobuf_is_no_client_frame():
    assert decode_client_frame(b"\x0a\xff\x12\x01") is None
    assert decode_client_frame("[1]") is None


def test_reasons_are_cut_to_123_bytes():
    assert len(cut_reason(QUOTA)) == 123
    assert cut_reason("é" * 100) == "é" * 61


# --- speech -----------------------------------------------------------------------------------------------------


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0~"), min_size=1, max_size=40),
    st.sampled_from([16000, 24000]),
)
def test_what_is_spoken_is_heard(text, rate):
    utterance = heard(silence(0.1) + spoken(text, rate=rate) + silence(0.2), rate=rate)
    assert utterance.text == text
    assert utterance.whole


@pytest.mark.parametrize("cut", [slice(640, None), slice(None, -640), slice(700, -700)])
def test_a_clipped_utterance_is_called_so(cut):
    utterance = heard(spoken("hello world", seconds=0.5)[cut])
    assert not utterance.whole
    assert utterance.text.startswith("[clipped]")


def test_an_utterance_with_a_part_twice_is_called_so():
    pcm = spoken("hello")
    assert heard(pcm + pcm).text == "[doubled] hello"


def test_other_audio_is_named_by_its_digest():
    assert heard(b"\x10\x20" * 1600).text == heard(b"\x10\x20" * 1600).text
    assert heard(b"\x10\x20" * 1600).text.startswith("[audio 100 ms ")


@pytest.mark.parametrize("chunk", [320, 333, 640, 3200])
def test_an_utterance_ends_after_silence(chunk):
    voice = VoiceActivity(0.3)
    pcm = silence(0.2) + spoken("question") + silence(0.5) + spoken("again") + silence(0.3)
    events = [event for at in range(0, len(pcm), chunk) for event in voice.feed(pcm[at : at + chunk])]
    assert [event and event.text for event in events] == [None, "question", None, "again"]


def test_the_end_of_the_stream_ends_an_utterance():
    voice = VoiceActivity(0.3)
    voice.feed(spoken("question"))
    assert voice.copy().flush().text == "question"
    assert voice.speaking
    assert voice.flush().text == "question"
    assert voice.flush() is None


# --- answers ----------------------------------------------------------------------------------------------------


def state(*questions: str, turns: int = 0) -> Conversation:
    past = [Turn("user", f"old {n}") for n in range(turns)]
    asked = [Turn("user", question) for question in questions]
    return Conversation(VoiceActivity(0.5), turns=past + asked, unanswered=list(questions))


def test_an_answer_says_what_it_answers_and_what_it_remembers():
    answer = parse_answer("Well, " + answer_text(state("where? when: now", turns=3)))
    assert answer is not None
    assert (answer.asked, answer.turns_held) == ("where? when: now", 4)


def test_a_merged_answer_names_both_questions():
    answer = parse_answer(answer_text(state("one", "two [recall]")))
    assert answer is not None
    assert answer.asked == "one + two [recall]"
    assert answer.recall == ["one", "two [recall]"]


@pytest.mark.parametrize("tail", ["; results: a={}; recall: x | y", "; recall: x | y; results: a={}"])
def test_results_and_recall_come_in_either_order(tail):
    answer = parse_answer("answer to q: 2 user turns held" + tail)
    assert answer == ("q", 2, "a={}", ["x", "y"], True)


@pytest.mark.parametrize(
    ("tail", "is_whole"), [("", True), ("; one moment", False), ("; one moment; results: a={}", True)]
)
def test_an_answer_that_waits_for_a_tool_is_not_whole(tail, is_whole):
    assert parse_answer("answer to q: 2 user turns held" + tail).is_whole == is_whole
    assert parse_answer("answer to q: 2 user turns held; recall: x" + tail).recall == ["x"]


def test_half_an_answer_is_none():
    assert parse_answer("answer to one: 3 user tu") is None


def test_directives_are_read():
    found = directives('[tool:a {"x": {"y": [1]}}] and [tool:b] [then:c {"z": 1}] [think:40] [chunks:12] [seconds:1.5]')
    assert found.steps == [[Call("a", {"x": {"y": [1]}}), Call("b", {})], [Call("c", {"z": 1})]]
    assert (found.think, found.chunks, found.seconds) == (40, 12, 1.5)


@pytest.mark.parametrize(
    ("reissue", "names"),
    [
        ("same", ["a", "b"]),
        ("none", []),
        ("reversed", ["b", "a"]),
        ("other_args", ["a", "b"]),
        ("extra", ["a", "b", "extra_tool"]),
    ],
)
def test_calls_are_issued_again_as_told(reissue, names):
    steps = plan_steps("[tool:a] [tool:b]", reissue, random.Random(1))
    assert [call.name for step in steps for call in step] == names
    assert all(bool(call.args) == (reissue == "other_args") for step in steps for call in step)


def names_of(question, reissue, seed):
    return [[call.name for call in step] for step in plan_steps(question, reissue, random.Random(seed))]


def test_a_subset_leaves_out_some_of_several_calls_and_keeps_their_order():
    seen = {tuple(step) for seed in range(50) for step in names_of("[tool:a] [tool:b] [tool:c]", "subset", seed)}
    assert seen == {("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c")}
    assert names_of("[tool:a]", "subset", 1) == [["a"]]


def test_any_is_each_of_the_others_and_depends_on_the_seed_alone():
    seen = {str(names_of("[tool:a] [tool:b]", "any", seed)) for seed in range(50)}
    assert len(seen) >= 5  # same, reversed, none, extra, a or b alone
    assert names_of("[tool:a] [tool:b]", "any", 7) == names_of("[tool:a] [tool:b]", "any", 7)


@pytest.mark.parametrize(("position", "beats"), [("before", 1), ("amid", 2), ("end", 2)])
def test_calls_come_where_the_model_makes_them(position, beats):
    conversation = state("[tool:a]")
    conversation.steps = [[Call("a", {})]]
    first = plan(conversation, position, continuing=False)
    assert len(first) == beats
    assert first[-1].calls == [Call("a", {})]
    conversation.steps_done, conversation.results = 1, ["a={}"]
    (last,) = plan(conversation, position, continuing=True)
    assert "a={}" in last.text


@given(st.text(max_size=60), st.integers(1, 20))
def test_pieces_make_up_the_text(text, chunks):
    pieces = split_text(text, chunks)
    assert "".join(pieces) == text
    assert len(pieces) <= chunks


def test_a_snapshot_is_independent():
    conversation = state("one")
    conversation.calls["1"] = Call("a", {})
    copy = conversation.snapshot()
    conversation.cancel_calls()
    conversation.settle("done")
    conversation.voice.feed(spoken("x"))
    assert copy.unanswered == ["one"]
    assert list(copy.calls) == ["1"]
    assert not copy.voice.speaking


# --- faults -----------------------------------------------------------------------------------------------------

EXAMPLES = [
    Fault.rst(at=Trigger.mid_answer(2), connection=0),
    Fault.fin(at=Trigger.mid_audio(4)),
    Fault.close(1011, "Internal error encountered.", at=Trigger.turn_complete()),
    Fault.half_open(at=Trigger.elapsed(3.5), linger=2, since="cut"),
    Fault.go_away(None, repeat=3, then_silence=True, close=False, binding=2),
    Fault.silence(40),
    Fault.oversize_frame(),
    Fault.truncated_frame(),
    Fault.not_json(),
    Fault.unknown_keys(),
    Fault.odd_values(),
    Fault.torn_frame(),
    Fault.slow_pongs(30),
    Fault.slow_setup(5),
    Fault.no_setup_complete(),
    Fault.drop_before_setup(times=None),
    Fault.drop_after_setup(times=3),
    Fault.refuse_handle(1008, "BidiGenerateContent session expired"),
    Fault.expire_handles(at=Trigger.handle(2)),
    Fault.poisoned_handle(),
    Fault.amnesia(),
    Fault.repeat_transcript(),
    Fault.withhold_handles(),
    Fault.handshake(429, retry_after=3),
    Fault.slow_handshake(),
    Fault.listener_down(4, at=Trigger.tool_call()),
]


def test_every_fault_survives_json():
    assert load_faults(dump_faults(EXAMPLES)) == EXAMPLES
    kinds = {type(fault.action) for fault in EXAMPLES}
    assert kinds == set(fault_types.Action.__args__)


def test_a_bad_script_is_one_clear_error():
    assert load_faults('[{"action": {"do": "handshake", "status": 503}}]') == [Fault.handshake(503)]
    with pytest.raises(ConfigurationError, match=r"bad fault script: .*`at`.*`\$\[0\]"):
        load_faults('[{"action": {"do": "rst"}}]')
    with pytest.raises(ConfigurationError, match=r"bad fault script: "):
        load_faults('[{"action": ')
    with pytest.raises(ConfigurationError, match=r"bad fault script: .*`\$\[0\]"):
        load_faults('[{"action": {"do": "rst", "typo": 1}, "at": {"on": "now"}}]')


def test_actions_and_moments_have_to_fit():
    with pytest.raises(ConfigurationError, match="impossible at the handshake"):
        check_fault(Fault.close(1011, at=Trigger.at_handshake()))
    with pytest.raises(ConfigurationError, match="at the handshake only"):
        check_fault(Fault.handshake(503, at=Trigger.bound()))


def test_a_fault_strikes_as_often_as_told():
    script = FaultScript([Fault.rst(at=Trigger.bound(), times=2), Fault.fin(at=Trigger.bound(), times=None)])
    struck = [len(script.due("bound", connection, connection)) for connection in range(4)]
    assert struck == [2, 2, 1, 1]


def test_a_fault_waits_for_its_connection_and_its_binding():
    script = FaultScript([Fault.rst(at=Trigger.bound(), connection=1), Fault.fin(at=Trigger.bound(), binding=0)])
    assert script.due("bound", 0, None) == []
    assert script.due("bound", 1, 0) == [fault_types.Rst(), fault_types.Fin()]


def test_a_fault_waits_for_the_nth_time_on_one_connection():
    script = FaultScript([Fault.rst(at=Trigger.turn_complete(2))])
    struck = [script.due("turn_complete", connection, 0) for connection in (0, 1, 1)]
    assert struck == [[], [], [fault_types.Rst()]]


# --- settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("2.5", "2.5"),
        ("3.x", "3.x"),
        ("models/gemini-2.5-flash-native-audio", "2.5"),
        ("gemini-3.8-live", "3.x"),
        ("gemini-live-2.5-flash", "2.5"),
    ],
)
def test_the_family_follows_from_the_name(name, family):
    assert model_profile(name).family == family


def test_nobody_guesses_a_family():
    with pytest.raises(ConfigurationError, match="cannot tell the model family from 'bard'"):
        model_profile("bard")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"profile": "aws"}, "unknown profile"),
        ({"lag": "much"}, r"bad emulator setting.*\$\.lag"),
        ({"typo": 1}, "typo"),
        ({"time_scale": 0}, "positive"),
    ],
)
def test_a_bad_setting_is_one_clear_error(fields, message):
    with pytest.raises(ConfigurationError, match=message):
        resolve(fields)


def test_knobs_name_the_fields_of_settings():
    named = set(Knobs.__annotations__) | {"profile", "model", "time_scale", "seed"}
    assert named == {item.name for item in msgspec.structs.fields(Settings)}


def test_the_table_of_knobs_has_all_of_them_with_their_meaning():
    table = {knob.name: knob for knob in knob_table()}
    assert list(table) == [item.name for item in msgspec.structs.fields(Settings)]
    assert table["index_base"].type == "Literal[0, 1]"
    assert table["index_base"].default == 1
    assert table["index_base"].meaning == "Index of the first message after the setup."


def test_every_knob_has_a_test():
    here = Path(__file__)
    tests = "".join(path.read_text() for path in here.parent.glob("test_*.py") if path != here)
    assert [name for name in Knobs.__annotations__ if f"{name}=" not in tests and f'"{name}"' not in tests] == []


def test_every_moment_has_a_test():
    tests = (Path(__file__).parent / "test_fault_actions.py").read_text()
    makers = [name for name, value in vars(Trigger).items() if isinstance(value, classmethod)]
    assert [name for name in makers if f"Trigger.{name}(" not in tests] == []


def test_profiles_fill_in_what_is_not_set():
    assert resolve({"profile": "vertex"}).handle_delay == 0.05
    assert resolve({"profile": "vertex", "handle_delay": 1}).handle_delay == 1
    assert json.loads(msgspec.json.encode(resolve({})))["handle_ttl"] == 7200
