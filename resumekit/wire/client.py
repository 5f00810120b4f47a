"""Client frames: what the application wrote, as far as the engine has to know it.

google-genai mixes two spellings: outer keys in snake_case save `contextUpdate`, insides in either, by
version, backend and method. Both are read everywhere. Audio is measured, never decoded.
"""

# ruff: noqa: I002 -- annotations as text would be compiled one by one for the decoder, which doubles its time
import enum
import functools
import re
from sys import intern

import msgspec
from msgspec import Raw, Struct, field
from msgspec.structs import astuple

from resumekit.errors import LocalProtocolError

__all__ = ["ClientKind", "ClientMessage", "FunctionResponse", "HistoryTurn", "decode_client"]

_ABSENT = Raw()


class ClientKind(enum.Enum):
    """What a client frame is, to the engine."""

    SETUP = "setup"
    CONTENT = "content"
    TOOL_RESPONSE = "tool response"
    ACTIVITY_START = "activity start"
    ACTIVITY_END = "activity end"
    AUDIO = "audio"
    AUDIO_STREAM_END = "audio stream end"
    VIDEO = "video"
    TEXT = "text"
    """`realtimeInput.text`."""
    OTHER = "other"
    """Context updates, and realtime input without anything in it."""


class HistoryTurn(Struct, frozen=True, gc=False):
    """One turn of a conversation, as text."""

    role: str
    text: str
    has_other_parts: bool = False
    """Whether it also had parts that are not text."""


class FunctionResponse(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The answer to one function call; encodes to its wire form."""

    id: str | None = None
    name: str | None = None
    response: object = None
    will_continue: bool | None = None
    scheduling: str | None = None
    parts: list[object] | None = None


class ClientMessage(Struct, frozen=True):
    """One client frame."""

    kind: ClientKind
    frame: str
    """As given."""
    size: int
    """In bytes, on the wire."""
    turn_complete: bool = False
    """Of `CONTENT`: asks for an answer."""
    responses: tuple[FunctionResponse, ...] = ()
    """Of `TOOL_RESPONSE`."""
    media_seconds: float = 0.0
    """Of `AUDIO`, as 16-bit mono PCM at the rate that its type names."""

    # Text is read again when it is asked for: it would double the memory of what waits.

    @property
    def turns(self) -> tuple[HistoryTurn, ...]:
        """Of `CONTENT`."""
        if self.kind is not ClientKind.CONTENT:
            return ()
        envelope = _decode(self.frame)
        content = envelope.client_content or envelope.client_content_
        turns: list[HistoryTurn] = []
        for turn in (content.turns if content else None) or ():
            texts = [part.text for part in turn.parts or ()]
            turns.append(HistoryTurn(intern(turn.role or "user"), "".join(filter(None, texts)), None in texts))
        return tuple(turns)

    @property
    def text(self) -> str | None:
        """Of `TEXT` and `CONTENT`, None if there is none."""
        if self.kind is ClientKind.TEXT:
            envelope = _decode(self.frame)
            realtime = envelope.realtime_input or envelope.realtime_input_
            return realtime.text if realtime else None
        return "\n".join(turn.text for turn in self.turns if turn.text) or None

    def __repr__(self) -> str:
        return f"<ClientMessage {self.kind.value}, {self.size} bytes>"


class _Blob(Struct, gc=False):
    mime_type: str | None = None
    mime_type_: str | None = field(name="mimeType", default=None)
    data: Raw = _ABSENT

    @property
    def type(self) -> str:
        return self.mime_type or self.mime_type_ or ""


class _RealtimeInput(Struct):
    audio: _Blob | None = None
    video: _Blob | None = None
    text: str | None = None
    media_chunks: list[_Blob] | None = None
    media_chunks_: list[_Blob] | None = field(name="mediaChunks", default=None)
    audio_stream_end: bool | None = None
    audio_stream_end_: bool | None = field(name="audioStreamEnd", default=None)
    activity_start: dict[str, Raw] | None = None
    activity_start_: dict[str, Raw] | None = field(name="activityStart", default=None)
    activity_end: dict[str, Raw] | None = None
    activity_end_: dict[str, Raw] | None = field(name="activityEnd", default=None)


class _Part(Struct):
    text: str | None = None


class _Content(Struct):
    role: str | None = None
    parts: list[_Part] | None = None


class _ClientContent(Struct):
    turns: list[_Content] | None = None
    turn_complete: bool | None = None
    turn_complete_: bool | None = field(name="turnComplete", default=None)


class _FunctionResponse(Struct):
    id: str | None = None
    name: str | None = None
    response: object = None
    will_continue: bool | None = None
    will_continue_: bool | None = field(name="willContinue", default=None)
    scheduling: str | None = None
    parts: list[object] | None = None


class _ToolResponse(Struct):
    function_responses: list[_FunctionResponse] | None = None
    function_responses_: list[_FunctionResponse] | None = field(name="functionResponses", default=None)


class _Envelope(Struct):
    realtime_input: _RealtimeInput | None = None
    realtime_input_: _RealtimeInput | None = field(name="realtimeInput", default=None)
    client_content: _ClientContent | None = None
    client_content_: _ClientContent | None = field(name="clientContent", default=None)
    tool_response: _ToolResponse | None = None
    tool_response_: _ToolResponse | None = field(name="toolResponse", default=None)
    setup: dict[str, Raw] | None = None
    context_update: dict[str, Raw] | None = None
    context_update_: dict[str, Raw] | None = field(name="contextUpdate", default=None)


_ALL_BUT_ONE_MESSAGE = len(_Envelope.__struct_fields__) - 1
_ALL_BUT_ONE_INPUT = len(_RealtimeInput.__struct_fields__) - 1
_decode = msgspec.json.Decoder(_Envelope).decode
_MESSAGES = "setup, clientContent, realtimeInput, toolResponse, contextUpdate"


def decode_client(frame: str | bytes) -> ClientMessage:
    """Classify one frame of the application.

    Raises:
        LocalProtocolError: This is not a JSON object, does not hold exactly one message that we know, or a field has a
            type that the service does not take.
    """
    try:
        text = frame if isinstance(frame, str) else frame.decode()
        size = len(text) if text.isascii() else len(text.encode())
        envelope = _decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _refusal(frame, f"cannot be read ({error})") from error
    absent = astuple(envelope).count(None)
    if absent != _ALL_BUT_ONE_MESSAGE:
        found = len(_Envelope.__struct_fields__) - absent
        raise _refusal(frame, f"holds {found} messages that resumekit knows")
    if realtime := envelope.realtime_input or envelope.realtime_input_:
        return _realtime(realtime, text, size)
    if content := envelope.client_content or envelope.client_content_:
        turn_complete = bool(content.turn_complete or content.turn_complete_)
        return ClientMessage(ClientKind.CONTENT, text, size, turn_complete)
    if response := envelope.tool_response or envelope.tool_response_:
        return _tool_response(response, text, size)
    kind = ClientKind.OTHER if envelope.setup is None else ClientKind.SETUP
    return ClientMessage(kind, text, size)


def _refusal(frame: str | bytes, problem: str) -> LocalProtocolError:
    return LocalProtocolError(
        f"a client frame of length {len(frame)} {problem}; send one JSON object with exactly one of {_MESSAGES}"
    )


def _realtime(message: _RealtimeInput, frame: str, size: int) -> ClientMessage:
    if message.audio is not None and astuple(message).count(None) == _ALL_BUT_ONE_INPUT:  # far more often than all else
        return ClientMessage(ClientKind.AUDIO, frame, size, media_seconds=_seconds(message.audio))
    chunks = message.media_chunks or message.media_chunks_ or []
    audio = [message.audio] if message.audio is not None else []
    audio += [chunk for chunk in chunks if chunk.type.startswith("audio/")]
    kind = ClientKind.OTHER
    if message.activity_start is not None or message.activity_start_ is not None:
        kind = ClientKind.ACTIVITY_START
    elif message.activity_end is not None or message.activity_end_ is not None:
        kind = ClientKind.ACTIVITY_END
    elif message.text is not None:
        kind = ClientKind.TEXT
    elif message.audio_stream_end or message.audio_stream_end_:
        kind = ClientKind.AUDIO_STREAM_END
    elif audio:
        seconds = sum(map(_seconds, audio))
        return ClientMessage(ClientKind.AUDIO, frame, size, media_seconds=seconds)
    elif message.video is not None or chunks:
        kind = ClientKind.VIDEO
    return ClientMessage(kind, frame, size)


def _seconds(blob: _Blob) -> float:
    """Measure audio by the length of its base64 text, in quotes, of either alphabet, padded or not."""
    encoded = bytes(blob.data)
    length = len(encoded) - 2 - encoded.count(b"=", -3, -1)
    return (max(length, 0) * 3 // 4) / 2 / _rate(blob.type)


@functools.lru_cache(maxsize=32)
def _rate(mime_type: str) -> int:
    match = re.search(r"rate=([1-9][0-9]{0,5})", mime_type)
    return int(match[1]) if match else 16_000


def _tool_response(message: _ToolResponse, frame: str, size: int) -> ClientMessage:
    responses = tuple(
        FunctionResponse(
            id=response.id,
            name=response.name,
            response=response.response,
            will_continue=response.will_continue or response.will_continue_,
            scheduling=response.scheduling,
            parts=response.parts,
        )
        for response in message.function_responses or message.function_responses_ or ()
    )
    return ClientMessage(ClientKind.TOOL_RESPONSE, frame, size, responses=responses)
