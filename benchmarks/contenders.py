"""The ways from the bytes of a frame to a message, which several questions compare.

Each takes one frame. The typed ones end with a `types.LiveServerMessage`; the native ones end with a `ServerMessage` of
which the media has been read, unless their name says otherwise: google-genai decodes the base64 text whether it is read
or not.
"""

from __future__ import annotations

import binascii
import importlib
import re
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, TypeAlias

from benchmarks.harness import finish
from resumekit.wire import decode_server

__all__ = ["FLOOR", "FLOOR_OF_THE_GOALS", "GENAI", "Decode", "floors", "paths"]

Decode: TypeAlias = Callable[[bytes], object]

GENAI = "google-genai"
FLOOR = "floor: copy, SIMD base64"
FLOOR_OF_THE_GOALS = "floor: copy, SIMD base64 by keyword"
"""As it was measured when the goals were set: `validate=True` by keyword nearly doubles the time of pybase64."""
_PYBASE64 = "floor: SIMD base64"
_BINASCII = "floor: binascii"
_COPY = "floor: copy"
_DATA = re.compile(rb'"data": ?"([^"]*)"')


def paths(audio: bytes, *, vertex: bool = False) -> dict[str, Decode]:
    """Return all that can be had in this environment, by name.

    Args:
        audio: A frame to learn the shape of media from.
        vertex: Frames are those of Vertex.
    """
    google = _of_google(vertex=vertex)
    return {**google, **_typed(google[GENAI], vertex=vertex), **_native(audio)}


def floors(frames: list[bytes]) -> dict[str, Callable[[], object]]:
    """Return the cheapest that still yields the sound of these frames, each as one function over all of them."""
    found = [_DATA.search(frame) for frame in frames]
    texts = [match[1] for match in found if match]
    floors: dict[str, Callable[[], object]] = {
        _BINASCII: lambda: _each(binascii.a2b_base64, texts),
        _COPY: lambda: _each(bytearray, frames),
    }
    if pybase64 := _optional("pybase64"):
        b64decode = pybase64.b64decode

        def decode() -> None:
            for text in texts:
                b64decode(text, None, True)  # noqa: FBT003 -- a keyword nearly doubles the time

        def both() -> None:
            _each(bytearray, frames)
            decode()

        def by_keyword() -> None:
            _each(bytearray, frames)
            for text in texts:
                b64decode(text, validate=True)

        floors = {FLOOR: both, FLOOR_OF_THE_GOALS: by_keyword, _PYBASE64: decode, **floors}
    return floors


def _each(function: Callable[[Any], object], values: list[bytes]) -> None:
    for value in values:
        function(value)


def _optional(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


# ------------------------------------------------------------------ google-genai's objects, made by what it brings


class _Socket:
    """Stands in for the connection: answers at once, with the frame that it was given."""

    frame = b""

    async def recv(self, decode: bool | None = None) -> bytes:  # noqa: ARG002, FBT001 -- as websockets has it
        return self.frame


def _of_google(*, vertex: bool) -> dict[str, Decode]:
    from google.genai import _live_converters as converters
    from google.genai import types
    from google.genai.live import AsyncSession

    socket = _Socket()
    client: Any = SimpleNamespace(vertexai=vertex)
    session = AsyncSession(client, socket)  # type: ignore[arg-type]
    convert = converters._LiveServerMessage_from_vertex if vertex else converters._LiveServerMessage_from_mldev
    message = types.LiveServerMessage
    orjson = _optional("orjson")

    def genai(frame: bytes) -> object:
        socket.frame = frame
        return finish(session._receive())

    ways: dict[str, Decode] = {GENAI: genai, "model_validate_json": message.model_validate_json}
    if orjson is not None:
        loads = orjson.loads
        ways |= {
            "orjson + google-genai": lambda frame: message._from_response(response=convert(loads(frame)), kwargs={}),
            "orjson + model_validate": lambda frame: message.model_validate(loads(frame)),
        }
    return ways


# ------------------------------------------------------------------ resumekit


def _typed(genai: Decode, *, vertex: bool) -> dict[str, Decode]:
    from resumekit.adapters import _genai_typed

    if _genai_typed.problem(vertex=vertex) is not None:
        return {}
    plain, learning = _genai_typed.Lane(vertex=vertex), _genai_typed.Lane(vertex=vertex)
    plain._patience = 1 << 60  # it never learns

    def typed(frame: bytes) -> object:
        message = plain.decode(frame)
        return genai(frame) if message is None else message

    def learned(frame: bytes) -> object:
        message = learning.decode(frame)
        return genai(frame) if message is None else message

    return {"resumekit typed": typed, "resumekit typed, learned": learned}


def _native(audio: bytes) -> dict[str, Decode]:
    from resumekit.wire import media_shape

    shape = media_shape(decode_server(audio))
    assert shape is not None
    matches, make = shape.matches, shape.message

    def native(frame: bytes) -> object:
        message = decode_server(frame)
        content = message.server_content
        if content is not None and (turn := content.model_turn) is not None:
            for part in turn.parts or ():
                if (blob := part.inline_data) is not None:
                    _ = blob.data
        return message

    def learned(frame: bytes) -> object:
        message = make(frame) if matches(frame) else decode_server(frame)
        content = message.server_content
        if content is not None and (turn := content.model_turn) is not None:
            for part in turn.parts or ():
                if (blob := part.inline_data) is not None:
                    _ = blob.data
        return message

    def raw(frame: bytes) -> object:
        return frame if matches(frame) else decode_server(frame)

    return {
        "resumekit native": native,
        "resumekit native, unread": decode_server,
        "resumekit native, learned": learned,
        "resumekit raw": raw,
    }
