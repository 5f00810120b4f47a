"""Frames that the engine edits or writes.

Client frames are compact JSON text in camelCase, which both backends take; frames towards the application are bytes, as
the service sends them. What is not edited passes untouched, byte by byte.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import cast

import msgspec
from msgspec import Raw

from resumekit.errors import LocalProtocolError
from resumekit.wire.client import FunctionResponse, HistoryTurn
from resumekit.wire.redact import ResumptionHandle
from resumekit.wire.server import FunctionCall, Transcription, as_object, int64, top_level

__all__ = [
    "INTERRUPTED_FRAME", "TURN_COMPLETE_FRAME", "args_key", "bind_setup", "content_frame",
    "input_transcription_frame", "realtime_text_frame", "setup_background_tools", "setup_compresses", "setup_compression_trigger", "setup_fingerprint", "setup_handle",
    "setup_manual_activity", "setup_model", "setup_proactive", "setup_seeds_history", "setup_transparent",
    "tool_call_cancellation_frame", "tool_call_frame", "tool_response_frame", "with_transcription", "without_key",
]  # fmt: skip

INTERRUPTED_FRAME = b'{"serverContent":{"interrupted":true}}'
"""To the application: flush your playback."""
TURN_COMPLETE_FRAME = b'{"serverContent":{"turnComplete":true}}'
"""To the application: this turn is over."""

_RESUMPTION, _HISTORY, _INITIAL = "session_resumption", "history_config", "initial_history_in_client_content"
_decode_setup = msgspec.json.Decoder(dict[str, dict[str, Raw]]).decode


def bind_setup(
    setup_frame: str,
    *,
    handle: ResumptionHandle | None,
    resumption: bool,
    transparent: bool,
    initial_history: bool | None,
) -> str:
    """Return the user's setup frame, bound to a handle or to a fresh session.

    Args:
        setup_frame: `{"setup": {…}}` as the user's client wrote it, in either spelling.
        handle: What to resume from; None for a fresh session. Empty counts as None.
        resumption: Whether to ask for handles. Without it no handle is sent either.
        transparent: Whether to ask for indices; the Developer API refuses even `false`.
        initial_history: True: the first `clientContent` is the history. False: take that wish of the user's out, as
            the service refuses history beside a handle (1007). None: leave it as it is.

    Raises:
        LocalProtocolError: This is not a setup frame.
    """
    setup: dict[str, object] = {**_setup(setup_frame)}
    _pop(setup, _RESUMPTION)
    if resumption:
        wanted: dict[str, object] = {"handle": handle.reveal()} if handle else {}
        setup[_camel(_RESUMPTION)] = wanted | ({"transparent": True} if transparent else {})
    if initial_history is not None:
        history = as_object(_value(_pop(setup, _HISTORY)))
        _pop(history, _INITIAL)
        if initial_history:
            history[_camel(_INITIAL)] = True
        if history:
            setup[_camel(_HISTORY)] = history
    return _encode("setup", setup)


def setup_model(setup_frame: str) -> str:
    """Return the model's name as given, `""` if there is none."""
    model = _dig(setup_frame, "model")
    return model if isinstance(model, str) else ""


def setup_handle(setup_frame: str) -> ResumptionHandle | None:
    """Return the handle that the application gave itself, if any."""
    handle = _dig(setup_frame, _RESUMPTION, "handle")
    return ResumptionHandle(handle) if handle and isinstance(handle, str) else None


def setup_transparent(setup_frame: str) -> bool | None:
    """Return what the application said about transparent resumption; None: nothing."""
    transparent = _dig(setup_frame, _RESUMPTION, "transparent")
    return transparent if isinstance(transparent, bool) else None


def setup_seeds_history(setup_frame: str) -> bool:
    """Tell whether the application wants its first `clientContent` to be taken for history."""
    return _dig(setup_frame, _HISTORY, _INITIAL) is True


def setup_manual_activity(setup_frame: str) -> bool:
    """Tell whether the application marks the user's activity itself."""
    return _dig(setup_frame, "realtime_input_config", "automatic_activity_detection", "disabled") is True


def setup_proactive(setup_frame: str) -> bool:
    """Tell whether the model may leave speech unanswered (`proactivity.proactiveAudio`)."""
    return _dig(setup_frame, "proactivity", "proactive_audio") is True


_NO_NAMES: frozenset[str] = frozenset()
"""One for all: an empty set takes 216 bytes."""


def setup_background_tools(setup_frame: str) -> frozenset[str]:
    """Return the names of the functions that the model does not wait for (``behavior: NON_BLOCKING``)."""
    declared = [
        as_object(function)
        for tool in _as_list(_dig(setup_frame, "tools"))
        for function in _as_list(_pop({**as_object(tool)}, "function_declarations"))
    ]
    names = [str(function.get("name")) for function in declared if function.get("behavior") == "NON_BLOCKING"]
    return frozenset(names) if names else _NO_NAMES


def setup_compression_trigger(setup_frame: str) -> int | None:
    """Return the size of the context, in tokens, at which the service compresses it."""
    trigger = _dig(setup_frame, "context_window_compression", "trigger_tokens")
    return int64(trigger) if isinstance(trigger, int | str) else None


def setup_compresses(setup_frame: str) -> bool:
    """Whether the service compresses the context, so that its session has no limit."""
    return isinstance(_dig(setup_frame, "context_window_compression"), dict)


def setup_fingerprint(setup_frame: str) -> str:
    """Return a digest of the config that does not depend on order, spelling, handle or history settings."""
    setup = {_camel(name): _value(raw) for name, raw in _setup(setup_frame).items()}
    for name in (_RESUMPTION, _HISTORY):
        setup.pop(_camel(name), None)
    return hashlib.blake2b(_canonical(setup, camel=True).encode(), digest_size=16).hexdigest()


def content_frame(turns: Sequence[HistoryTurn], *, turn_complete: bool) -> str:
    """Write turns as `clientContent`: history, or a text for a 2.x model."""
    written = [{"role": turn.role, "parts": [{"text": turn.text}]} for turn in turns]
    return _encode("clientContent", {"turns": written, "turnComplete": turn_complete})


def realtime_text_frame(text: str) -> str:
    """Write a text as `realtimeInput`, for a 3.x model."""
    return _encode("realtimeInput", {"text": text})


def tool_response_frame(responses: Sequence[FunctionResponse]) -> str:
    """Write tool responses."""
    return _encode("toolResponse", {"functionResponses": responses})


def tool_call_frame(calls: Sequence[FunctionCall]) -> bytes:
    """Write tool calls, to the application."""
    return _encode("toolCall", {"functionCalls": calls}).encode()


def tool_call_cancellation_frame(ids: Sequence[str]) -> bytes:
    """Write the cancellation of tool calls, to the application."""
    return _encode("toolCallCancellation", {"ids": ids}).encode()


def input_transcription_frame(transcription: Transcription) -> bytes:
    """Write a transcription of the user's speech, to the application."""
    return _encode("serverContent", {"inputTranscription": transcription}).encode()


def without_key(frame: bytes, key: str) -> bytes:
    """Return a server frame without one top-level message, given by our name of it (`"go_away"`).

    Raises:
        RemoteProtocolError: This is not a JSON object.
    """
    messages = top_level(frame)
    messages.pop(_camel(key), None)
    return msgspec.json.encode(messages)


def with_transcription(frame: bytes, name: str, text: str, *, finished: bool) -> bytes:
    """Return a server frame whose transcription `name` says `text` only; without it, if there is nothing to say.

    Raises:
        RemoteProtocolError: This is not such a frame.
    """
    messages = top_level(frame)
    content = top_level(bytes(messages.pop("serverContent")))
    said = top_level(bytes(content.pop(_camel(name))))
    for key, value in (("text", text), ("finished", finished)):
        said.pop(key, None)
        if value:
            said[key] = Raw(msgspec.json.encode(value))
    if text or finished:
        content[_camel(name)] = Raw(msgspec.json.encode(said))
    if content:
        messages["serverContent"] = Raw(msgspec.json.encode(content))
    return msgspec.json.encode(messages)


def args_key(name: str | None, args: Mapping[str, object] | None) -> str:
    """Return a text that is the same for the same function with the same arguments.

    Order of keys does not count, nor whether a number was written 1 or 1.0; no arguments are empty ones.
    """
    return f"{name or ''}:{_canonical(args or {})}"


def _encode(name: str, message: Mapping[str, object]) -> str:
    return msgspec.json.encode({name: message}).decode()


def _setup(setup_frame: str) -> dict[str, Raw]:
    try:
        return _decode_setup(setup_frame)["setup"]
    except (msgspec.MsgspecError, ValueError, RecursionError, KeyError) as error:
        raise LocalProtocolError("the first frame must be a JSON object with a setup object") from error


def _value(raw: object) -> object:
    try:
        return msgspec.json.decode(raw) if isinstance(raw, Raw) else raw
    except (msgspec.MsgspecError, RecursionError) as error:
        raise LocalProtocolError(f"the setup holds a value that cannot be read ({error})") from error


def _dig(setup_frame: str, name: str, *path: str) -> object:
    value = _value(_pop({**_setup(setup_frame)}, name))
    for inner in path:
        value = _pop(as_object(value), inner)
    return value


def _as_list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)


def _pop(mapping: dict[str, object], name: str) -> object:
    snake = mapping.pop(name, None)
    return mapping.pop(_camel(name), snake)


def _canonical(value: object, *, camel: bool = False) -> str:
    try:
        return ascii(_plain(value, camel=camel))
    except RecursionError:  # hundreds of levels: what can be read can still be too deep for Python code
        return "(too deep)"


def _plain(value: object, *, camel: bool) -> object:
    if isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value)
        plain = {_camel(k) if camel else k: _plain(v, camel=camel) for k, v in members.items()}
        return dict(sorted(plain.items()))
    if isinstance(value, list):
        return [_plain(item, camel=camel) for item in cast("list[object]", value)]
    return int(value) if isinstance(value, float) and value.is_integer() else value
