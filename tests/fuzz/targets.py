"""What must hold of any bytes. Each target takes them, and raises where something does not hold.

The first ones look at frames one by one. `session` is a schedule: its records are separated by a line that is no UTF-8,
and a record of one letter is no frame but something else that happens (see `STEPS`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import msgspec

from resumekit.errors import LocalProtocolError, RemoteProtocolError
from resumekit.wire import (
    ServerMessage,
    bind_setup,
    decode_client,
    decode_server,
    is_empty,
    known_keys,
    media_shape,
    setup_background_tools,
    setup_compresses,
    setup_compression_trigger,
    setup_fingerprint,
    setup_handle,
    setup_manual_activity,
    setup_model,
    setup_proactive,
    setup_seeds_history,
    setup_transparent,
    top_level,
    without_key,
)
from tests.fuzz.session import Session

SEPARATOR = b"\n\xf8\n"


def server(data: bytes) -> None:
    """Any frame of the service is read, or refused as `RemoteProtocolError`; so is each look at what was read."""
    try:
        message = decode_server(data)
    except RemoteProtocolError as error:
        if error.__cause__ is not None:
            raise AssertionError("the cause may quote the frame") from error
        return
    assert message.raw == data
    assert is_empty(message) == (not known_keys(message))
    repr(message)
    _look_at(message)
    if not message.partial:  # whatever could be read at once has the types that it is declared to have
        msgspec.convert(msgspec.to_builtins(message.go_away), type(message.go_away))
    top_level(data)
    for key in ("go_away", "session_resumption_update", "setup_complete"):
        try:
            rest = decode_server(without_key(data, key))
        except RemoteProtocolError as error:
            if "Recursion" not in str(error):  # hundreds of levels: a few calls deeper it cannot be read
                raise
            return
        assert getattr(rest, key) is None, f"{key} is still there"
        _same_but(message, rest, key)


def _look_at(message: ServerMessage) -> None:
    if message.go_away is not None:
        seconds = message.go_away.seconds
        assert seconds is None or 0 <= seconds < 1e12
    if (update := message.session_resumption_update) is not None:
        assert update.index is None or isinstance(update.index, int)
        shown = repr(update)
        assert update.handle is None or len(update.new_handle) < 12 or update.new_handle not in shown
    turn = message.server_content and message.server_content.model_turn
    for part in (turn and turn.parts) or ():
        if part.inline_data is not None:
            with contextlib.suppress(RemoteProtocolError):
                assert isinstance(part.inline_data.data, bytes)


def _same_but(message: ServerMessage, rest: ServerMessage, key: str) -> None:
    for name in ("server_content", "tool_call", "tool_call_cancellation", "go_away", "usage_metadata"):
        if name != key:
            assert (getattr(message, name) is None) == (getattr(rest, name) is None), f"{name} went with {key}"


def client(data: bytes) -> None:
    """Any frame of the application is read, or refused as `LocalProtocolError`; as text it is the same."""
    found = [_client(data)]
    try:
        found.append(_client(data.decode()))
    except UnicodeDecodeError:
        assert found == [None]
    else:
        assert found[0] == found[1]


def _client(frame: bytes | str) -> tuple[object, ...] | None:
    try:
        message = decode_client(frame)
    except LocalProtocolError:
        return None
    assert message.media_seconds >= 0
    assert message.size == len(message.frame.encode())
    repr(message)
    return message.kind, message.frame, message.turn_complete, message.text, message.media_seconds


_SETUP_FACTS: tuple[Callable[[str], object], ...] = (
    setup_model, setup_handle, setup_fingerprint, setup_transparent, setup_proactive, setup_compresses,
    setup_compression_trigger, setup_manual_activity, setup_seeds_history, setup_background_tools,
)  # fmt: skip


def setup(data: bytes) -> None:
    """Any setup frame is bound, or refused as `LocalProtocolError`; what was bound is a setup frame again."""
    try:
        frame = data.decode()
        for fact in _SETUP_FACTS:
            fact(frame)
        bound = bind_setup(frame, handle=None, resumption=True, transparent=False, initial_history=True)
    except (UnicodeDecodeError, LocalProtocolError):
        return
    assert setup_handle(bound) is None
    assert setup_model(bound) == setup_model(frame)
    assert setup_fingerprint(bound) is not None
    again = bind_setup(bound, handle=None, resumption=True, transparent=False, initial_history=True)
    assert msgspec.json.decode(again) == msgspec.json.decode(bound)


def media(data: bytes) -> None:
    """What the express lane takes for one more piece of media is what the decoder makes of it."""
    first, *others = data.split(SEPARATOR)
    try:
        shape = media_shape(decode_server(first))
    except RemoteProtocolError:
        return
    if shape is None:
        return
    assert shape.matches(first)
    for frame in others:
        if not shape.matches(frame):
            continue
        built = shape.message(frame)
        try:
            decoded = decode_server(frame)
        except RemoteProtocolError:
            assert _refuses_media(built), "the lane has media where there is no JSON"
            continue
        if decoded.partial:
            assert _refuses_media(built)
            assert decoded.server_content == built.server_content
        else:
            assert decoded == built


def _refuses_media(message: ServerMessage) -> bool:
    try:
        _ = message.server_content.model_turn.parts[0].inline_data.data
    except RemoteProtocolError:
        return True
    return False


STEPS: dict[bytes, Callable[[Session], object]] = {
    b"a": Session.ask,
    b"s": Session.speak,
    b"r": lambda session: session.respond("1"),
    b"R": lambda session: session.respond("call"),
    b"t": Session.take,
    b"c": Session.cut,
    b"x": lambda session: session.cut(1011),
    b"w": lambda session: session.wait(0.5),
    b"W": lambda session: session.wait(7.0),
    b"L": lambda session: session.wait(100.0),
    b"n": lambda session: setattr(session, "binds", False),
    b"y": lambda session: setattr(session, "binds", True),
}
"""Records that are no frames: the app asks, speaks, answers a call, takes; the connection ends; time passes; connections
are no longer bound, or are again."""


def session(data: bytes) -> None:
    """Whatever the service says, and when: the conversation goes on, or ends in a typed error."""
    records = data.split(SEPARATOR)
    transparent = records[0] == b"T"
    talk = Session(transparent=transparent)
    for record in records[transparent:]:
        step = STEPS.get(record)
        if step is None:
            talk.serve(record)
        else:
            step(talk)
    talk.goes_on()


TARGETS: dict[str, Callable[[bytes], None]] = {
    "server": server,
    "client": client,
    "setup": setup,
    "media": media,
    "session": session,
}
