"""What the app is shown of a question that the service transcribes again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from resumekit.core.hearing import Hearing, repeated
from resumekit.wire import decode_server


@pytest.mark.parametrize(
    ("told", "text", "rest"),
    [
        ("", "what time", "what time"),
        ("what time", "what", ""),
        ("what time", "what time", ""),
        ("what time", " What  time,", ""),
        ("what time", "what time is it", " is it"),
        ("what time?", "what time? Tell me", " Tell me"),
        ("what ti", "what time is it", "me is it"),
        ("what time is", "what ti", ""),
        ("what time", "...", ""),
        # Its head was lost
        ("please tell me what time", "me what time", ""),
        ("please tell me what time", "me what time is it", " is it"),
        ("please tell me what time", "tell", ""),
        # In other words: as many count as said again
        ("what is two plus two", "what's 2 plus 2", ""),
        ("one two three", "1 2 3 four", " four"),
        ("tell me", "me and you and all", " you and all"),
        # No words apart
        ("今何時", "今何時ですか", "ですか"),
        ("?!", "what", "what"),
    ],
)
def test_what_was_told_is_not_told_again(told: str, text: str, rest: str) -> None:
    assert text[repeated(told, text) :] == rest


def heard(text: str | None, *, finished: bool = False, interim: bool = False, **beside: Any) -> dict[str, Any]:
    said: dict[str, Any] = {} if text is None else {"text": text}
    if finished:
        said["finished"] = True
    return {"serverContent": {"interimInputTranscription" if interim else "inputTranscription": said, **beside}}


def shown(hearing: Hearing, *frames: dict[str, Any]) -> list[dict[str, Any]]:
    kept = [hearing.filter(decode_server(json.dumps(frame).encode()))[0] for frame in frames]
    return [json.loads(message.raw) for message in kept if message is not None]


def test_a_first_transcription_passes_untouched() -> None:
    hearing = Hearing()
    frames = [
        heard(None),
        heard("what", interim=True),
        heard("what"),
        heard(" time", finished=True),
        {"goAway": {}},
    ]
    assert shown(hearing, *frames) == frames
    assert hearing.said == "what time"


def test_a_second_one_is_shown_from_where_the_first_one_ended() -> None:
    hearing = Hearing()
    shown(hearing, heard("what"), heard(" time"))
    hearing.restart()
    again = [heard(None), heard("What", interim=True), heard("What time"), heard(" is it", finished=True)]
    assert shown(hearing, *again) == [heard(" is it", finished=True)]
    assert hearing.said == "what time is it"
    hearing.restart()
    assert shown(hearing, *again) == []
    assert shown(hearing, heard(" now"), heard(None, finished=True)) == [heard(" now"), heard(None, finished=True)]
    assert hearing.said == "what time is it now"


def test_the_end_of_a_transcription_is_told_once() -> None:
    hearing = Hearing()
    shown(hearing, heard("what time"))
    hearing.restart()
    assert shown(hearing, heard("what time"), heard(None, finished=True)) == [heard(None, finished=True)]
    hearing.restart()
    assert shown(hearing, heard("what time", finished=True)) == []


def test_an_interim_transcription_shows_only_what_is_new() -> None:
    hearing = Hearing()
    shown(hearing, heard("what"))
    hearing.restart()
    again = [heard("what", interim=True), heard("what time", interim=True), heard("what"), heard(" time")]
    assert shown(hearing, *again) == [heard(" time", interim=True), heard(" time")]


def test_only_the_transcription_is_taken_out_of_a_frame() -> None:
    hearing = Hearing()
    shown(hearing, heard("what time"))
    hearing.restart()
    turn = {"modelTurn": {"parts": [{"text": "noon"}]}}
    frames = [
        heard("what", **turn),
        {**heard(" ti"), "usageMetadata": {"totalTokenCount": 1}},
        {"serverContent": {"inputTranscription": {"text": "me is", "languageCode": "en"}}},
    ]
    assert shown(hearing, *frames) == [
        {"serverContent": turn},
        {"usageMetadata": {"totalTokenCount": 1}},
        {"serverContent": {"inputTranscription": {"text": " is", "languageCode": "en"}}},
    ]


def test_a_frame_that_cannot_be_read_in_full_passes() -> None:
    hearing = Hearing()
    shown(hearing, heard("what"))
    hearing.restart()
    odd = {"serverContent": {"inputTranscription": "what"}}
    assert shown(hearing, odd) == [odd]
