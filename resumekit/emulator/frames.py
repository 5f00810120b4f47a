"""The frames of the Live API as this emulator writes and reads them.

Owns JSON, base64 and Duration spelling, as recorded traffic has them: the service writes indented JSON, and reads names in
camelCase and snake_case, and both alphabets of base64. It shares no code with `resumekit.wire`, on purpose: what both
misread would be seen by neither.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import TypeAlias, cast

__all__ = [
    "JsonObject",
    "as_list",
    "as_object",
    "canonical",
    "decode_base64",
    "decode_client_frame",
    "duration",
    "encode_base64",
    "encode_frame",
    "field",
    "has_field",
    "object_field",
    "text_field",
]

JsonObject: TypeAlias = dict[str, object]
"""A JSON object as `json.loads` gives it."""

_UPPER = re.compile(r"[A-Z]")


def encode_frame(message: JsonObject, *, pretty: bool = True) -> bytes:
    """Encode a server message: two spaces and a trailing newline, as the service writes it."""
    if pretty:
        return (json.dumps(message, indent=2, ensure_ascii=False) + "\n").encode()
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()


def decode_client_frame(data: str | bytes) -> JsonObject | None:
    """Decode a client frame; None if it is no JSON object, as a raw protobuf would be."""
    try:
        message: object = json.loads(data)
    except (UnicodeDecodeError, json.JSONDecodeError):
        return None
    return cast("JsonObject", message) if isinstance(message, dict) else None


def as_object(value: object) -> JsonObject:
    """Return a JSON object, or an empty one for anything else."""
    return cast("JsonObject", value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """Return a JSON array, or an empty one for anything else."""
    return cast("list[object]", value) if isinstance(value, list) else []


def _snake(name: str) -> str:
    return _UPPER.sub(lambda match: "_" + match.group().lower(), name)


def has_field(message: JsonObject, name: str) -> bool:
    """Tell whether a field is there, under its camelCase or its snake_case name."""
    return name in message or _snake(name) in message


def field(message: JsonObject, name: str) -> object:
    """Return a field by its camelCase name, in either spelling; None if it is absent."""
    return message[name] if name in message else message.get(_snake(name))


def object_field(message: JsonObject, name: str) -> JsonObject:
    """Return a field that is an object; empty if it is absent or something else."""
    return as_object(field(message, name))


def text_field(message: JsonObject, name: str) -> str:
    """Return a field that is a string; empty if it is absent or something else."""
    value = field(message, name)
    return value if isinstance(value, str) else ""


def canonical(value: object) -> str:
    """Write a JSON value in the one form in which the ledger compares: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def encode_base64(data: bytes) -> str:
    """Encode with the standard alphabet: the one that the service uses."""
    return base64.b64encode(data).decode()


def decode_base64(text: str) -> bytes:
    """Decode either alphabet, with or without padding; what cannot be decoded is empty."""
    standard = text.translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4))
    except (binascii.Error, ValueError):
        return b""


def duration(seconds: float) -> str:
    """Write a Duration as proto3 JSON does: ``"50s"``, or with 3, 6 or 9 decimals."""
    nanos = round(seconds * 1e9)
    whole, rest = divmod(nanos, 1_000_000_000)
    if rest == 0:
        return f"{whole}s"
    for digits in (3, 6, 9):
        step = 10 ** (9 - digits)
        if rest % step == 0:
            return f"{whole}.{rest // step:0{digits}d}s"
    raise AssertionError
