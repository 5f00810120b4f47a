"""The frames that every question is asked with: those of the service, made from a seed, the same on every machine.

Shapes and order are those of recorded traffic. The sound is noise: it is what compresses worst, and no two frames are
the same, or permessage-deflate and the processor's caches would look better than they are.
"""

from __future__ import annotations

import base64
import enum
import json
import random
from collections.abc import Iterator

__all__ = ["Kind", "audio", "dump", "kinds", "microphone", "mix", "setup_complete"]

_RATE = 24_000
"""Samples of two bytes in each second of the model's voice."""

_WORDS = ["the", "a", "to", "of", "window", "is", "it", "that", "yesterday", "for", "weather", "rain", "with", "you"]
_USAGE = {
    "promptTokenCount": 1514,
    "responseTokenCount": 83,
    "totalTokenCount": 1597,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 402}, {"modality": "AUDIO", "tokenCount": 1112}],
    "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 83}],
}


class Kind(enum.StrEnum):
    """One kind of frame, by the name that it has in results and tables."""

    AUDIO_40 = "audio, 40 ms"
    AUDIO_200 = "audio, 200 ms"
    TEXT = "text"
    TRANSCRIPTION = "transcription"
    RESUMPTION = "resumption update"
    GO_AWAY = "goAway"
    TURN_END = "turn end with usage"
    CALLS = "two tool calls"


def dump(frame: object, *, pretty: bool = True) -> bytes:
    """Return a frame as the service writes it: indented by two and with a newline, or compact."""
    return (json.dumps(frame, indent=2) + "\n" if pretty else json.dumps(frame, separators=(",", ":"))).encode()


def setup_complete(*, pretty: bool = True) -> bytes:
    """Return the service's answer to the setup."""
    return dump({"setupComplete": {}}, pretty=pretty)


def audio(
    count: int, *, milliseconds: float = 40, pretty: bool = True, vertex: bool = False, seed: int = 0
) -> list[bytes]:
    """Return so many frames of voice, each of them other.

    Args:
        count: How many.
        milliseconds: Of sound in each, 48 bytes a millisecond.
        pretty: Indented, as the service writes; else compact.
        vertex: As Vertex writes: with a role, and no rate.
        seed: Of the noise.
    """
    random_ = random.Random(seed)
    return [dump(_audio(random_, milliseconds, vertex=vertex), pretty=pretty) for _ in range(count)]


def microphone(*, shorter: bool = False) -> str:
    """Return what a client sends of 40 ms, or a sample less: 16,000 a second."""
    sound = base64.b64encode(random.Random(0).randbytes(1278 if shorter else 1280)).decode()
    return json.dumps({"realtimeInput": {"audio": {"mimeType": "audio/pcm;rate=16000", "data": sound}}})


def kinds(count: int = 100, *, pretty: bool = True, vertex: bool = False, seed: int = 0) -> dict[Kind, list[bytes]]:
    """Return so many different frames of each kind."""
    random_ = random.Random(seed)
    return {kind: [dump(_make(kind, random_, vertex=vertex), pretty=pretty) for _ in range(count)] for kind in Kind}


def mix(count: int = 10_000, *, pretty: bool = True, vertex: bool = False, seed: int = 0) -> list[bytes]:
    """Return the frames of a voice conversation, as many as asked for: about nine of ten are 40 ms of sound.

    Each turn: what the user said, 2 to 10 s of voice with a transcription after each 0.6 s, `generationComplete`,
    `turnComplete` with the usage, and a new handle. Each fifth turn calls two tools, each eighth is interrupted, and
    a `goAway` comes after each five minutes of voice.
    """
    frames = _conversation(random.Random(seed), vertex=vertex)
    return [dump(next(frames), pretty=pretty) for _ in range(count)]


def _conversation(random_: random.Random, *, vertex: bool) -> Iterator[object]:
    turn, spoken, told = 0, 0, 0
    while True:
        turn += 1
        for _ in range(random_.randint(3, 8)):
            yield {"serverContent": {"inputTranscription": {"text": _words(random_, 1)}}}
        if turn % 5 == 0:
            yield _make(Kind.CALLS, random_, vertex=vertex)
        for number in range(random_.randint(50, 250)):
            yield _audio(random_, 40, vertex=vertex)
            if number % 15 == 14:
                yield _make(Kind.TRANSCRIPTION, random_, vertex=vertex)
            spoken += 1
        yield {"serverContent": {"interrupted": True} if turn % 8 == 0 else {"generationComplete": True}}
        yield _make(Kind.TURN_END, random_, vertex=vertex)
        yield _make(Kind.RESUMPTION, random_, vertex=vertex)
        if spoken // 7_500 > told:
            told += 1
            yield _make(Kind.GO_AWAY, random_, vertex=vertex)


def _make(kind: Kind, random_: random.Random, *, vertex: bool) -> object:
    match kind:
        case Kind.AUDIO_40:
            return _audio(random_, 40, vertex=vertex)
        case Kind.AUDIO_200:
            return _audio(random_, 200, vertex=vertex)
        case Kind.TEXT:
            return {"serverContent": {"modelTurn": {**_role(vertex=vertex), "parts": [{"text": _words(random_, 8)}]}}}
        case Kind.TRANSCRIPTION:
            return {"serverContent": {"outputTranscription": {"text": _words(random_, 2)}}}
        case Kind.RESUMPTION:
            update: dict[str, object] = {"newHandle": _uuid(random_), "resumable": True}
            if vertex:
                update["lastConsumedClientMessageIndex"] = str(random_.randint(1, 9999))
            return {"sessionResumptionUpdate": update}
        case Kind.GO_AWAY:
            return {"goAway": {"timeLeft": f"{random_.randint(10, 60)}s"}}
        case Kind.TURN_END:
            usage = {**_USAGE, "promptTokenCount": random_.randint(1000, 9999)}
            if vertex:
                usage = {key.replace("response", "candidates"): value for key, value in usage.items()}
            return {"serverContent": {"turnComplete": True}, "usageMetadata": usage}
        case Kind.CALLS:
            return {"toolCall": {"functionCalls": [_call(random_, "get_weather"), _call(random_, "find_restaurant")]}}


def _audio(random_: random.Random, milliseconds: float, *, vertex: bool) -> object:
    data = base64.b64encode(random_.randbytes(int(_RATE * milliseconds / 1000) * 2)).decode()
    mime_type = "audio/pcm" if vertex else f"audio/pcm;rate={_RATE}"
    part = {"inlineData": {"mimeType": mime_type, "data": data}}
    return {"serverContent": {"modelTurn": {**_role(vertex=vertex), "parts": [part]}}}


def _role(*, vertex: bool) -> dict[str, str]:
    return {"role": "model"} if vertex else {}


def _call(random_: random.Random, name: str) -> object:
    args = {"city": "Paris", "day": random_.choice(_WORDS), "radius_km": random_.randint(1, 50), "open_now": True}
    return {"name": name, "args": args, "id": f"function-call-{random_.randint(10**18, 10**19 - 1)}"}


def _words(random_: random.Random, count: int) -> str:
    return "".join(f" {random_.choice(_WORDS)}" for _ in range(count))


def _uuid(random_: random.Random) -> str:
    digits = random_.randbytes(16).hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
