"""The ledger, fed by hand: every kind of damage is planted and seen."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumekit.emulator import Ledger, LedgerReport, Position, response_item


def text(message: str) -> str:
    turns = [{"role": "user", "parts": [{"text": message}]}]
    return json.dumps({"client_content": {"turns": turns, "turnComplete": True}})


def live(message: str) -> str:
    return json.dumps({"realtime_input": {"text": message}})


def history(*turns: tuple[str, str]) -> str:
    body = [{"role": role, "parts": [{"text": said}]} for role, said in turns]
    return json.dumps({"clientContent": {"turns": body, "turnComplete": True}})


def response(name: str, value: object, call_id: str = "") -> str:
    answer = {"id": call_id, "name": name, "response": value}
    return json.dumps({"tool_response": {"functionResponses": [answer]}})


def connect(ledger: Ledger, number: int, *frames: str, parent: Position | None = None, handle: bool = False) -> None:
    ledger.opened(number)
    ledger.received(number, '{"setup": {}}')
    ledger.bound(number, with_handle=handle, parent=parent)
    for frame in frames:
        ledger.received(number, frame)


def resumed(*second: str, held: int, first: tuple[str, ...] = ("a", "b", "c")) -> Ledger:
    """Two connections; the second resumes from what holds the first `held` messages."""
    ledger = Ledger()
    connect(ledger, 0, *map(text, first))
    connect(ledger, 1, *second, parent=Position(0, held), handle=True)
    return ledger


def test_an_empty_ledger_is_in_order():
    report = Ledger().report()
    assert report.ok
    assert report.held == []
    assert report.connections == 0


def test_what_the_handle_covers_is_held_and_the_rest_is_lost():
    report = resumed(held=2).report(["a", "b", "c"])
    assert report.held == ["a", "b"]
    assert report.lost == ["c"]
    assert not report.ok


def test_a_resent_message_is_held_once():
    report = resumed(text("c"), held=2).report(["a", "b", "c"])
    assert report.held == ["a", "b", "c"]
    assert report.ok
    assert report.lineage == [(0, 2), (1, 1)]


def test_a_message_resent_though_the_state_has_it_is_doubled():
    report = resumed(text("c"), held=3).report(["a", "b", "c"])
    assert report.doubled == ["c"]
    assert report.lost == report.reordered == []
    assert not report.ok


def test_a_message_resent_behind_a_later_one_is_reordered():
    report = resumed(text("d"), text("c"), held=2).report(["a", "b", "c", "d"])
    assert report.lost == report.doubled == []
    assert len(report.reordered) == 1
    assert not report.ok


def test_lost_and_doubled_are_told_apart_from_order():
    report = resumed(text("a"), text("d"), held=2).report(["a", "b", "c", "d"])
    assert report.lost == ["c"]
    assert report.doubled == ["a"]
    assert report.reordered == []


def test_a_text_sent_twice_by_the_app_is_no_double():
    report = resumed(text("a"), held=1, first=("a", "b")).report(["a", "a"])
    assert report.ok


def test_a_fresh_start_forgets_everything_before_it():
    ledger = resumed(held=2)
    connect(ledger, 2, text("d"))
    report = ledger.report(["a", "b", "d"])
    assert report.held == ["d"]
    assert report.lost == ["a", "b"]
    assert (report.bound, report.resumes, report.fresh_starts) == (3, 1, 1)


def test_history_seeded_into_a_fresh_session_counts_as_held():
    ledger = Ledger()
    connect(ledger, 0, text("a"))
    connect(ledger, 1, history(("user", "a"), ("model", "yes"), ("user", "b")), live("c"))
    report = ledger.report(["a", "b", "c"])
    assert report.held == ["a", "b", "c"]
    assert report.ok


@pytest.mark.parametrize("turns", [(("user", "a"), ("user", "b")), (("model", "so it is"),)])
def test_history_beside_a_handle_is_counted(turns):
    report = resumed(history(*turns), held=3).report()
    assert report.history_with_handle == 1
    assert not report.ok


def test_one_user_turn_beside_a_handle_is_no_history():
    assert resumed(text("d"), held=3).report(["a", "b", "c", "d"]).history_with_handle == 0


def test_a_refused_frame_is_not_held():
    ledger = resumed(text("c"), held=2)
    ledger.refused(1, 1)
    assert ledger.report(["a", "b", "c"]).lost == ["c"]


def test_a_connection_that_was_never_bound_changes_nothing():
    ledger = resumed(text("c"), held=2)
    ledger.opened(2)
    ledger.received(2, '{"setup": {}}')
    ledger.received(2, text("never taken in"))
    report = ledger.report(["a", "b", "c"])
    assert report.ok
    assert (report.connections, report.bound) == (3, 2)


def test_tool_responses_are_named_by_canonical_json():
    ledger = Ledger()
    connect(ledger, 0, response("weather", {"wind": 3, "city": "Rome"}))
    assert ledger.held() == ['response:weather:{"city":"Rome","wind":3}']
    assert ledger.report([response_item("weather", {"city": "Rome", "wind": 3})]).ok


def test_parallel_responses_have_no_order_but_others_have():
    ledger = Ledger()
    connect(ledger, 0, text("q"), response("b", {}), response("a", {}), text("r"))
    a, b = response_item("a", {}), response_item("b", {})
    assert ledger.report(["q", a, b, "r"]).ok
    assert ledger.report([a, "q", b, "r"]).reordered


def with_call(*frames: str, parent: Position, held_calls: tuple[str, ...] = ()) -> Ledger:
    """Two connections: on the first the model calls `a`, on the second those `held_calls`."""
    ledger = Ledger()
    connect(ledger, 0, text("q"))
    ledger.called(0, 1, "1", "a", {"n": 1}, question="q")
    connect(ledger, 1, parent=parent, handle=True)
    for call_id in held_calls:
        ledger.called(1, 1, call_id, "a", {"n": 1}, question="q")
    for frame in frames:
        ledger.received(1, frame)
    return ledger


KNOWN = Position(0, 1, calls=1)
UNKNOWN = Position(0, 1, calls=0)


def test_a_call_is_told_with_what_became_of_it():
    (call,) = with_call(response("a", {}, "1"), parent=KNOWN).report(["q", response_item("a", {})]).calls
    assert (call.name, call.args, call.question) == ("a", '{"n":1}', "q")
    assert (call.connection, call.generation, call.after) == (0, 1, 1)
    assert (call.answers, call.held, call.answers_held, call.cancelled) == ([(1, 1)], True, 1, False)


def test_a_response_to_a_call_that_the_state_does_not_know_is_seen():
    report = with_call(response("a", {}, "1"), parent=UNKNOWN).report(["q", response_item("a", {})])
    assert report.responses_to_unknown == ["1"]
    assert [call.held for call in report.calls] == [False]
    assert not report.ok


def test_a_call_that_is_answered_twice_is_seen():
    ledger = with_call(response("a", {}, "1"), response("a", {}, "1"), parent=KNOWN)
    report = ledger.report(["q", response_item("a", {}), response_item("a", {})])
    assert report.calls_answered_twice == ['a{"n":1} (1)']
    assert not report.ok


def test_a_call_made_again_is_another_call():
    ledger = with_call(response("a", {}, "2"), parent=UNKNOWN, held_calls=("2",))
    report = ledger.report(["q", response_item("a", {})])
    assert report.ok
    assert [(call.id, call.held) for call in report.calls] == [("1", False), ("2", True)]
    assert report.calls_unanswered == []


def test_calls_that_nobody_answered_are_told_unless_they_were_cancelled():
    ledger = with_call(parent=KNOWN)
    assert ledger.report(["q"]).calls_unanswered == ['a{"n":1} (1)']
    ledger.cancelled(["1"])
    assert ledger.report(["q"]).calls_unanswered == []
    assert ledger.report(["q"]).calls[0].cancelled


def test_a_refused_response_is_no_answer():
    ledger = with_call(response("a", {}, "1"), parent=UNKNOWN)
    ledger.refused(1, 1)
    report = ledger.report(["q"])
    assert report.ok
    assert report.calls[0].answers == []


def test_speech_that_a_state_has_not_heard_the_end_of_may_be_gone():
    def sound(sample: int) -> str:
        data = base64.b64encode(bytes([sample, 0])).decode()
        return json.dumps({"realtimeInput": {"audio": {"mimeType": "audio/pcm;rate=16000", "data": data}}})

    ledger = Ledger()
    start = '{"realtimeInput": {"activityStart": {}}}'
    connect(ledger, 0, sound(1), start, sound(2), text("context"))
    connect(ledger, 1, sound(3), parent=Position(0, 4, heard=1), handle=True)
    assert ledger.audio() == bytes([1, 0, 3, 0])
    assert ledger.held() == ["context"]


def test_a_response_told_in_a_seed_counts_as_held():
    ledger = Ledger()
    told = 'called weather, which returned {"wind": 3, "city": "Rome"}'
    connect(ledger, 0, history(("user", "q"), ("model", told)))
    report = ledger.report(["q", response_item("weather", {"city": "Rome", "wind": 3})])
    assert report.ok
    other = ledger.report(["q", response_item("weather", {"city": "Oslo"})])
    assert other.lost == ['response:weather:{"city":"Oslo"}']


def test_marks_and_context_updates_are_items():
    ledger = Ledger()
    marks = ['{"realtimeInput": {"activityStart": {}}}', '{"realtime_input": {"activity_end": {}}}']
    update = '{"contextUpdate": {"tools": {"tools": []}}}'
    connect(ledger, 0, *marks, '{"realtime_input": {"audio_stream_end": true}}', update)
    assert ledger.held() == ["activity_start", "activity_end", "audio_stream_end", 'context:{"tools":{"tools":[]}}']


def test_unlisted_messages_are_unexpected_and_do_no_harm():
    report = resumed(text("x"), held=1).report(["a"])
    assert report.unexpected == ["x"]
    assert report.ok


def test_audio_of_the_lineage_is_there_byte_for_byte():
    def audio(data: str, name: str = "audio") -> str:
        blob = {"mimeType": "audio/pcm;rate=16000", "data": data}
        return json.dumps({"realtime_input": {name: [blob] if name == "media_chunks" else blob}})

    ledger = Ledger()
    connect(ledger, 0, audio("AAE="), audio("__8=", "media_chunks"), audio("AgI="))
    connect(ledger, 1, audio("-_8"), parent=Position(0, 2), handle=True)
    assert ledger.audio() == b"\x00\x01\xff\xff\xfb\xff"


def test_images_are_counted_apart():
    ledger = Ledger()
    connect(ledger, 0, '{"realtime_input": {"video": {"mime_type": "image/jpeg", "data": "AAAA"}}}')
    report = ledger.report()
    assert (report.video_frames, report.audio_ms) == (1, 0)


def test_raw_frames_are_kept_lineage_or_not():
    ledger = resumed(text("d"), held=0)
    assert ledger.raw(0)[1] == text("a").encode()
    assert ledger.sent_on(0) == ["a", "b", "c"]
    assert ledger.held() == ["d"]


def test_raw_frames_can_be_dropped():
    ledger = Ledger(keep_raw=False)
    connect(ledger, 0, text("a"))
    assert ledger.raw(0) == []
    assert ledger.held() == ["a"]


def test_nonsense_is_received_without_an_error():
    ledger = Ledger()
    connect(ledger, 0, "\x00\x01", "[]", '{"clientContent": 7}', '{"realtimeInput": {"audio": "x"}}')
    assert ledger.held() == []


def test_a_report_survives_json():
    report = resumed(text("c"), held=3).report(["a", "b", "c"])
    again = LedgerReport.from_dict(json.loads(json.dumps(report.as_dict())))
    assert again == report


@given(st.lists(st.sampled_from("abcdef")), st.lists(st.sampled_from("abcdef")))
def test_the_counts_add_up(held, expected):
    ledger = Ledger()
    connect(ledger, 0, *map(text, held))
    report = ledger.report(expected)
    assert len(report.held) == len(expected) - len(report.lost) + len(report.doubled) + len(report.unexpected)
    assert report.ok == ([item for item in held if item in expected] == expected)
