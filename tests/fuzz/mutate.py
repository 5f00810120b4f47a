"""Frames to begin with, in the shapes of real traffic, and what becomes of them: drawn from a seed, JSON by JSON."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from tests.adapters.live_frames import FRAMES
from tests.fuzz.targets import SEPARATOR, STEPS

_LONG = "A" * 2000
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**53 + 1, 2**63, -(2**63), 10**40, 0.5, 1e308, float("nan"), float("inf"), "", "x", "true",
    "5s", "-3s", "999999999999s", "99999999999999999999s", "1e3s", "0.0000000001s", "5", "\ud800", "\x00", "é🏔", _LONG,
    [], {}, [[]], [None], {"": None}, "AAAA", "AA==", "a-_b", "IN_PROGRESS", "ACTIVITY_START", "h", "1", "call",
)  # fmt: skip
"""What may stand at any place instead of what belongs there."""
WORDS = tuple(
    "serverContent modelTurn parts inlineData data mimeType text thought turnComplete interrupted generationComplete "
    "interactionStatus inputTranscription outputTranscription finished toolCall functionCalls id name args toolCallCancellation "
    "ids goAway timeLeft sessionResumptionUpdate newHandle resumable lastConsumedClientMessageIndex setupComplete sessionId "
    "usageMetadata voiceActivity voiceActivityType setup model realtimeInput realtime_input audio video mediaChunks clientContent "
    "client_content turns role toolResponse functionResponses response activityStart activityEnd audioStreamEnd sessionResumption "
    "handle transparent historyConfig contextWindowCompression triggerTokens tools functionDeclarations behavior".split()
)
"""Keys of frames, of both directions."""


def _client_frames() -> list[bytes]:
    chunk = {"data": "AAAA" * 30, "mimeType": "audio/pcm;rate=16000"}
    turn = {"role": "user", "parts": [{"text": "hello"}]}
    answer = {"id": "1", "name": "f", "response": {"x": 1}}
    config = {
        "model": "models/gemini-2.5-flash-live",
        "sessionResumption": {"handle": "h", "transparent": True},
        "historyConfig": {"initialHistoryInClientContent": True},
        "contextWindowCompression": {"triggerTokens": "1000", "slidingWindow": {}},
        "realtimeInputConfig": {"automaticActivityDetection": {"disabled": True}},
        "tools": [{"functionDeclarations": [{"name": "f", "behavior": "NON_BLOCKING"}]}],
        "proactivity": {"proactiveAudio": True},
    }
    frames: list[dict[str, Any]] = [
        {"setup": config},
        {"setup": {"model": "m", "session_resumption": {"handle": "h"}}},
        {"clientContent": {"turns": [turn], "turnComplete": True}},
        {"client_content": {"turns": [turn, turn], "turn_complete": False}},
        {"realtimeInput": {"audio": chunk}},
        {"realtime_input": {"media_chunks": [chunk, {"data": "AA", "mime_type": "image/jpeg"}]}},
        {"realtimeInput": {"activityStart": {}}},
        {"realtimeInput": {"activityEnd": {}, "text": "x"}},
        {"realtimeInput": {"audioStreamEnd": True}},
        {"toolResponse": {"functionResponses": [answer]}},
        {"contextUpdate": {"x": 1}},
    ]
    return [json.dumps(frame).encode() for frame in frames]


def _content(**fields: Any) -> bytes:
    return json.dumps({"serverContent": fields}).encode()


def _sound(text: str) -> bytes:
    return _content(modelTurn={"parts": [{"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": text}}]})


_CALL = b'{"toolCall": {"functionCalls": [{"id": "1", "name": "f", "args": {"a": 1}}]}}'
_UPDATE = b'{"sessionResumptionUpdate": {"newHandle": "h1", "resumable": true, "lastConsumedClientMessageIndex": "2"}}'
_AWAY = b'{"goAway": {"timeLeft": "2s"}}'
_DONE = _content(turnComplete=True)
_HEARD = _content(inputTranscription={"text": "what was said"})
SCHEDULES = [
    SEPARATOR.join(records)
    for records in (
        [b"a", _content(modelTurn={"parts": [{"text": "x"}]}), _DONE, _UPDATE, b"t", b"c"],
        [b"T", b"a", _sound("AAAA"), _sound("AAAB"), _DONE, _UPDATE, _AWAY, b"W"],
        [b"a", _CALL, b"t", b"r", b"c", _CALL, _content(modelTurn={}), _DONE, _UPDATE, b"t"],
        [b"a", _CALL, _CALL, b"t", b'{"toolCallCancellation": {"ids": ["1", "unknown", "1"]}}', _DONE, b"x", b"W"],
        [b"T", b"s", _HEARD, _sound("AAAA"), _content(interrupted=True), _DONE, _UPDATE, b"c", b"W", _HEARD, _DONE],
        [b"n", b"c", b"W", _DONE, _AWAY, _UPDATE, b"{}", b"", b"[]", b"y", b"L"],
        [_DONE, _DONE, _AWAY, b'{"goAway": {"timeLeft": "-5s"}}', b'{"goAway": {}}', b"L", _UPDATE, b"L"],
        [_UPDATE, b'{"sessionResumptionUpdate": {}}', b'{"sessionResumptionUpdate": {"newHandle": "", "resumable": true}}', b"c"],
        [b"a", b"no JSON", b"\xff\xfe", b"a", _content(generationComplete=True), b"W", b"L", b"L"],
    )
]  # fmt: skip


def seeds(target: str) -> list[bytes]:
    """Return what a search for this target begins with."""
    served = list(FRAMES.values())
    if target in ("client", "setup"):
        return _client_frames()
    if target == "media":
        media = [SEPARATOR.join([frame, frame]) for frame in served if b"inlineData" in frame]
        return [*media, SEPARATOR.join(_sound("AAAA" * n) for n in (30, 40, 1))]
    if target == "session":
        return [*SCHEDULES, *(SEPARATOR.join([b"a", frame, b"t", frame, b"c", frame]) for frame in served)]
    return served


# --- JSON by JSON -----------------------------------------------------------------------------------------------------


class _Twice(dict[str, Any]):
    """An object whose first key is written once more, in the end, with another value."""


def _write(value: Any) -> str:
    if isinstance(value, _Twice) and value:
        key = next(iter(value))
        return json.dumps({**value})[:-1] + f", {json.dumps(key)}: {json.dumps(ODD[len(value) % len(ODD)])}" + "}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_write(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_write, value)) + "]"
    return json.dumps(value)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield from _places(member, (*path, key))


def _changed(value: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(value)
    value[path[0]] = _changed(value[path[0]], path[1:], change)
    return value


def _changes(draw: random.Random) -> list[Callable[[Any], Any]]:
    def drop(value: Any) -> Any:
        if isinstance(value, dict | list) and value:
            del value[draw.choice([*value] if isinstance(value, dict) else range(len(value)))]
        return value

    def add(value: Any) -> Any:
        if isinstance(value, dict):
            value[draw.choice(WORDS)] = draw.choice(ODD)
        elif isinstance(value, list):
            value.append(draw.choice([draw.choice(ODD), *value]))
        elif isinstance(value, str):
            value += draw.choice("sA=-_ 0\u00e9")
        return value

    return [
        lambda value: draw.choice(ODD),
        lambda value: {draw.choice(WORDS): value},
        lambda value: [value] * draw.randint(1, 3),
        lambda value: _Twice(value) if isinstance(value, dict) else value,
        json.dumps,
        drop,
        add,
        add,
    ]


def _mutate_json(text: bytes, draw: random.Random) -> bytes:
    value = json.loads(text)
    for _ in range(draw.choice((1, 1, 2, 4))):
        path = draw.choice([*_places(value)])
        value = _changed(value, path, draw.choice(_changes(draw)))
    encoding = draw.choice(("utf-8",) * 8 + ("utf-16", "utf-8-sig", "latin-1"))
    return _write(value).encode(encoding, "surrogatepass")


def _mutate_bytes(data: bytes, draw: random.Random) -> bytes:
    at = draw.randint(0, len(data))
    length = draw.choice((0, 0, 1, 2, 8))
    token = draw.choice((b"", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b"\\ud800", b"\xff", b"NaN", b"1e999", b"\xef\xbb\xbf",
                         b"[" * 2000, b'{"a":' * 2000, draw.randbytes(2)))  # fmt: skip
    return data[:at] + token + data[at + length :]


def mutate(data: bytes, draw: random.Random) -> bytes:
    """Return something that differs: frames within, the bytes, or, of a schedule, the order."""
    records = data.split(SEPARATOR)
    at = draw.randrange(len(records))
    kind = draw.random()
    if kind < 0.6:
        try:
            records[at] = _mutate_json(records[at], draw)
        except (ValueError, RecursionError, KeyError, TypeError):
            kind = 0.7
    if 0.6 <= kind < 0.75:
        records[at] = _mutate_bytes(records[at], draw)
    elif 0.75 <= kind < 0.83:
        records.insert(at, draw.choice([*STEPS]))
    elif 0.83 <= kind < 0.9:
        records.insert(draw.randrange(len(records) + 1), draw.choice([*FRAMES.values(), *SCHEDULES]))
    elif 0.9 <= kind < 0.95:
        del records[at]
    elif kind >= 0.95:
        draw.shuffle(records)
    return SEPARATOR.join(records)
