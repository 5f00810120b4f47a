"""Server frames as Structs, and the decoder that no odd field can make blind to a `goAway`.

Every field is optional and unknown ones are skipped: the service adds fields without notice. Names and shapes are those of
`google.genai.types.LiveServerMessage`. Nothing here raises on a frame that is a JSON object.
"""

# ruff: noqa: I002 -- annotations as text would be compiled one by one for the decoder, which doubles its time

import contextlib
import enum
import re
from types import UnionType
from typing import Annotated, Any, TypeAlias, cast, get_args, get_origin

import msgspec
from msgspec import Raw, Struct, convert, field
from pybase64 import b64decode

from resumekit.errors import RemoteProtocolError
from resumekit.wire.redact import ResumptionHandle

__all__ = [
    "Blob", "Content", "Cut", "FunctionCall", "GoAway", "Part", "ServerContent", "ServerMessage",
    "SessionResumptionUpdate", "SetupComplete", "ToolCall", "ToolCallCancellation", "Transcription",
    "UsageMetadata", "VoiceActivity", "VoiceActivityDetectionSignal", "as_object", "decode_media", "decode_server", "int64",
    "is_empty", "known_keys", "parse_duration", "top_level",
]  # fmt: skip

_ABSENT = Raw()
_FROM_URL_SAFE = str.maketrans("-_", "+/")
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)

_Ours: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=1 << 62)]
"""Bytes that no frame can bring."""


def decode_media(text: str, mime_type: str | None) -> bytes:
    """Return the bytes of base64 of either alphabet, padded or not.

    Raises:
        RemoteProtocolError: This is not base64.
    """
    plain = text.translate(_FROM_URL_SAFE) + "==="
    try:
        return b64decode(plain[: len(plain) // 4 * 4], None, True)  # noqa: FBT003 -- see Blob.data
    except ValueError as error:
        raise RemoteProtocolError(f"media of {mime_type!r} is not base64: {error}") from error


def parse_duration(text: str | None) -> float | None:
    """Return the seconds of a proto3 JSON Duration (`"59.5s"`), 0 for a negative one, None for anything else."""
    match = re.fullmatch(r"(-?)([0-9]{1,12}(?:\.[0-9]{1,9})?)s", text or "")
    return None if match is None else 0.0 if match[1] else float(match[2])


def int64(value: int | str | None) -> int | None:
    """Return an int64 that proto3 JSON may write as a string or as a number, None if it is neither."""
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"-?[0-9]{1,19}", value) else None
    return value


class SetupComplete(Struct, rename="camel", gc=False):
    """The answer to the setup: the connection is bound. Only Vertex names the session."""

    session_id: str | None = None


class Transcription(Struct, rename="camel", omit_defaults=True, gc=False):
    """A piece of what was said, by the user or the model."""

    text: str | None = None
    finished: bool | None = None


class Blob(Struct, rename="camel", gc=False):  # noqa: PLW1641 -- it can change, as every Struct here: no hash
    """Media."""

    mime_type: str | None = None
    _text: str | None = field(name="data", default=None)
    _json: _Ours | None = field(name="(text)", default=None)
    """In place of `_text`, as it stands in the frame: of media that is only passed on, no text is ever made."""
    _data: _Ours | None = field(name="(data)", default=None)

    @property
    def encoded(self) -> str | None:
        """The base64 text as it came; gateways can pass it on."""
        if self._json is None:
            return self._text
        text = self._json.decode("utf-8", "replace")
        if "\\" in text:
            import json  # see _load

            with contextlib.suppress(ValueError):
                text = _whole(json.loads(f'"{text}"'))
        return text

    @property
    def data(self) -> bytes:
        """The bytes, decoded when first read.

        Raises:
            RemoteProtocolError: This is not base64.
        """
        data = self._data
        if data is None:
            try:  # as the service writes it: the standard alphabet, padded. By its name `validate` would take twice as long
                data = b64decode(self._json or self._text or b"", None, True)  # noqa: FBT003
            except ValueError:
                data = decode_media(self.encoded or "", self.mime_type)
            self._data = data
        return data

    def __eq__(self, other: object) -> bool:
        """Whether they say the same, read or not."""
        return type(other) is Blob and (self.mime_type, self.encoded) == (other.mime_type, other.encoded)

    __ne__ = object.__ne__  # the Struct's own would compare what was read


class Part(Struct, rename="camel", gc=False):
    """A piece of content: of what is not media or text, it is known whether it is there."""

    inline_data: Blob | None = None
    text: str | None = None
    thought: bool | None = None
    function_call: Raw = _ABSENT
    function_response: Raw = _ABSENT
    executable_code: Raw = _ABSENT
    code_execution_result: Raw = _ABSENT
    file_data: Raw = _ABSENT


class Content(Struct, rename="camel", gc=False):
    """What the model says or shows."""

    role: str | None = None
    parts: list[Part] | None = None


class ServerContent(Struct, rename="camel", gc=False):
    """A piece of a turn of the model, transcriptions, and the marks of a turn; several may come in one."""

    model_turn: Content | None = None
    input_transcription: Transcription | None = None
    output_transcription: Transcription | None = None
    interim_input_transcription: Transcription | None = None
    turn_complete: bool | None = False
    interrupted: bool | None = False
    generation_complete: bool | None = False
    waiting_for_input: bool | None = False
    interaction_status: str | None = None
    turn_complete_reason: str | None = None
    grounding_metadata: Raw = _ABSENT
    url_context_metadata: Raw = _ABSENT


class FunctionCall(Struct, rename="camel", omit_defaults=True):
    """One call of a function; its id is another one each time that the model makes it."""

    id: str | None = None
    name: str | None = None
    args: dict[str, object] | None = None
    will_continue: bool | None = None


class ToolCall(Struct, rename="camel"):
    """Calls that the application is to answer."""

    function_calls: list[FunctionCall] | None = None


class ToolCallCancellation(Struct, rename="camel"):
    """Calls whose answers nobody waits for any more."""

    ids: list[str] | None = None


class UsageMetadata(Struct, rename="camel"):
    """Token counts. The Developer API says `response_*`, Vertex `candidates_*`."""

    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    response_token_count: int | None = None
    candidates_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    thoughts_token_count: int | None = None
    total_token_count: int | None = None
    prompt_tokens_details: Raw = _ABSENT
    response_tokens_details: Raw = _ABSENT
    candidates_tokens_details: Raw = _ABSENT


class GoAway(Struct, rename="camel", gc=False):
    """The service will end this connection."""

    time_left: str | None = None
    """A Duration, such as `"59.5s"`."""

    @property
    def seconds(self) -> float | None:
        """The time left in seconds, None if the service did not say it in a form that we know."""
        return parse_duration(self.time_left)


class SessionResumptionUpdate(Struct, rename="camel", gc=False):
    """An update of the handle. proto3 JSON omits what is false or empty: absent `resumable` is False."""

    new_handle: str | None = None
    resumable: bool | None = False
    last_consumed_client_message_index: int | str | None = None

    @property
    def handle(self) -> ResumptionHandle | None:
        """The handle, None if there is none."""
        return ResumptionHandle(self.new_handle) if self.new_handle else None

    @property
    def index(self) -> int | None:
        """The number of the last client message in this handle's state (setup is 0), None if absent or malformed."""
        return int64(self.last_consumed_client_message_index)

    def __repr__(self) -> str:
        return f"SessionResumptionUpdate(handle={self.handle}, resumable={self.resumable}, index={self.index})"


class VoiceActivity(Struct, rename="camel", gc=False):
    """The service hears speech begin or end (`ACTIVITY_START`, `ACTIVITY_END`)."""

    voice_activity_type: str | None = None
    audio_offset: str | None = None


class VoiceActivityDetectionSignal(Struct, rename="camel", gc=False):
    """The same in another form (`VAD_SIGNAL_TYPE_SOS`, `VAD_SIGNAL_TYPE_EOS`)."""

    vad_signal_type: str | None = None


class Cut(enum.Enum):
    """What becomes of the turn that the engine tells the application is interrupted, or over."""

    REANSWERED = "reanswered"
    """It is answered again: forget the half answer."""
    SETTLED = "settled"
    """It is over: the half answer is all that there will be."""
    UNSEEN = "unseen"
    """The part of it that the application has already is run again: these calls are new, and no end will be shown."""


class ServerMessage(Struct, rename="camel", gc=False):
    """One frame. There is no oneof at the top: `serverContent` and `usageMetadata` come together.

    To pass it on, send `raw`, or `Blob.encoded` for the media alone: a message is not made to be encoded again.
    """

    server_content: ServerContent | None = None
    setup_complete: SetupComplete | None = None
    tool_call: ToolCall | None = None
    tool_call_cancellation: ToolCallCancellation | None = None
    go_away: GoAway | None = None
    session_resumption_update: SessionResumptionUpdate | None = None
    usage_metadata: UsageMetadata | None = None
    voice_activity: VoiceActivity | None = None
    voice_activity_detection_signal: VoiceActivityDetectionSignal | None = None
    raw: bytes = field(name="(raw)", default=b"")
    """The frame as received, for fields that are not here yet. Never on the wire."""
    partial: bool = field(name="(partial)", default=False)
    """It was read field by field, as something in it was odd and had to be left out. Never on the wire."""
    cut: Cut | None = field(name="(cut)", default=None)
    """What the application has to know of a turn that was cut. Never on the wire."""

    def __repr__(self) -> str:
        return f"<ServerMessage {'+'.join(known_keys(self)) or 'unknown'}, {len(self.raw)} bytes>"


_decode_full = msgspec.json.Decoder(ServerMessage).decode
_decode_top_level = msgspec.json.Decoder(dict[str, Raw]).decode
_WIRE_FIELDS = tuple(name for name in ServerMessage.__struct_fields__ if name not in ("raw", "partial", "cut"))


def decode_server(frame: bytes | bytearray | memoryview | str) -> ServerMessage:
    """Decode one frame: whole, else field by field, whatever has its type.

    Raises:
        RemoteProtocolError: This is not a JSON object.
    """
    data = frame if type(frame) is bytes else _to_bytes(frame)
    try:
        message = _decode_full(data)
    except _UNREADABLE:
        message = _salvage(_load(data, halves=False), ServerMessage)
        message.partial = True
    message.raw = data
    return message


def known_keys(message: ServerMessage) -> tuple[str, ...]:
    """Return the names of the top-level fields that the frame had."""
    return tuple(name for name in _WIRE_FIELDS if getattr(message, name) is not None)


def is_empty(message: ServerMessage) -> bool:
    """Tell whether the frame held nothing that we know."""
    return message.server_content is None and not known_keys(message)


def top_level(frame: bytes | bytearray | memoryview | str) -> dict[str, Raw]:
    """Return the top level of a frame: keys as spelt on the wire, known or not, and their values untouched.

    Raises:
        RemoteProtocolError: This is not a JSON object.
    """
    data = _to_bytes(frame)
    try:
        return _decode_top_level(data)
    except _UNREADABLE:
        return {_whole(key): _to_raw(value) for key, value in _load(data).items()}


def as_object(value: object) -> dict[str, object]:
    """Return the members of a JSON object, none for anything else."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _to_bytes(frame: bytes | bytearray | memoryview | str) -> bytes:
    return frame.encode("utf-8", "replace") if isinstance(frame, str) else bytes(frame)


def _to_raw(value: object) -> Raw:
    import json

    return Raw(json.dumps(value).encode())


def _parse_int(digits: str) -> float:
    return int(digits) if len(digits) < 100 else float(digits)  # int() refuses thousands of digits


def _whole(text: str) -> str:
    """Replace lone surrogates: JSON can escape them, and nothing can write them."""
    return text.encode("utf-8", "replace").decode()


def _load(data: bytes, *, halves: bool = True) -> dict[str, object]:
    import json  # here: few frames need it, importing it is dear, and whoever opened a session has done so

    problem = "is not a JSON object"
    try:
        text = data.decode(json.detect_encoding(data), "replace")
        value: object = json.loads(text, parse_int=_parse_int)
        if not halves and "\\u" in text:
            value = json.loads(_whole(json.dumps(value, ensure_ascii=False)), parse_int=_parse_int)
    except (ValueError, RecursionError) as error:
        # Not chained: a JSONDecodeError carries the whole frame.
        value, problem = None, "is empty" if not data.strip() else f"is not JSON ({type(error).__name__})"
    if isinstance(value, dict):
        return cast("dict[str, object]", value)
    raise RemoteProtocolError(f"a server frame of {len(data)} bytes {problem}")


def _salvage(value: object, kind: Any) -> Any:
    """Take of `value` what has the type `kind`; that a message is present counts, even if nothing in it can be read."""
    if kind is Raw:
        return _to_raw(value)
    for option in get_args(kind) if isinstance(kind, UnionType) else (kind,):
        if get_origin(option) is list and isinstance(value, list):
            kind = get_args(option)[0]
            items = [_salvage(item, kind) for item in cast("list[object]", value)]
            return [item for item in items if item is not None]
        if isinstance(option, type) and issubclass(option, Struct):
            members = as_object(value)
            fields = [(f.name, f.type, members.get(f.encode_name)) for f in msgspec.structs.fields(option)]
            found = {name: _salvage(member, type_) for name, type_, member in fields if member is not None}
            return option(**{name: member for name, member in found.items() if member is not None})
    try:
        return convert(value, kind, strict=False)  # as lenient as google-genai: "true" is a mark
    except msgspec.ValidationError:
        return None
