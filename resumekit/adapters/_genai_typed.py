"""Server frames as `types.LiveServerMessage`, read by google-genai's own schema without google-genai's own detours.

A `Lane` validates JSON by the core schema of the installed `LiveServerMessage`, rewritten such that one pass of
pydantic-core does what `AsyncSession._receive` does in five: it takes the names that the live converter takes, skips
what is unknown, and enters no Python on the way. Nothing here knows a field: a new one of google-genai comes by itself.
What a lane does not read is for google-genai's own code to decide, and a lane that disagrees with that code on any of
`_CANNED` is not used at all.

The private names, all there from 1.56 to 3.4: of google-genai `_live_converters._LiveServerMessage_from_*` (that of
`mldev` since 1.75), the validator `_check_field_type_mismatches` of its models, and `AsyncSession._receive`; of
pydantic `__pydantic_core_schema__`, `__pydantic_complete__`, and the argument `_use_prebuilt` of its `SchemaValidator`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import threading
from collections.abc import Generator, Iterator
from types import NoneType, SimpleNamespace
from typing import Any, TypeAlias, cast

import pydantic
from google import genai
from google.genai import _live_converters, types
from google.genai.live import AsyncSession
from pybase64 import b64decode
from pydantic_core import SchemaValidator

from resumekit.adapters import _genai_seam as seam
from resumekit.wire import decode_server
from resumekit.wire.media import MediaShape, media_shape

__all__ = ["Lane", "lane", "problem"]

_log = logging.getLogger("resumekit.adapters.genai")

_Schema: TypeAlias = dict[str, Any]
_Spec: TypeAlias = "dict[str, tuple[str, _Spec | None]] | None"
"""What a converter makes of an object: field -> key it is read from, and the same for what is in it. None: as it is."""

_CHECK = "_check_field_type_mismatches"
"""A validator of all models, which can say something of Python objects only."""
_ITEM = "[]"
"""What stands in a path for each item of a list."""
_NOWHERE = "\0"
"""A key of no frame, for a field that the converter does not read."""

_UNDERSCORE = 0x5F
_BACKSLASH = 0x5C
_endings = re.compile(rb'(_[a-z0-9]+)"\s*:').findall
_keys = re.compile(rb'"(\w+)"\s*:').findall
_ESCAPED = re.compile(rb'\\u00[3-7][\w\\]*"\s*:').search
"""What a key that is the Python name of a field has in it: an ending like `_data`, or an escape."""
_WORTH_LEARNING = 1000
"""Bytes of a frame; a smaller one is read fast enough."""
_PATIENCE = 50
"""Frames that are not tried between two that are."""
_TEMPLATES = 4
"""Streams of media at a time in a process, such as two rates, each pretty-printed or not."""
_KEYS = ("server_content", "model_turn", "parts", "inline_data", "data")
_CONSTANT = (str, bytes, int, float, NoneType)


_new = object.__new__


class _Model(pydantic.BaseModel):
    """A model while it is filled, without pydantic's Python for each attribute; then it becomes one of its own class."""

    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__


_CANNED = rb"""
{
  "setupComplete": {
    "sessionId": "s"
  }
}

{"serverContent": {"modelTurn": {"role": "model", "parts": [
{"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "AAEC/w=="}}]}}}

{"serverContent": {"modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm", "data": "-_8"}}]}, "new": [1]}}

{"serverContent": {"modelTurn": {"parts": [
{"text": "a \u00e9 \"\n", "thought": true, "thoughtSignature": "AAE="},
{"executableCode": {"language": "PYTHON", "code": "1"}},
{"codeExecutionResult": {"outcome": "outcome_ok", "output": "1"}},
{"fileData": {"fileUri": "u", "new": {}}, "new": 1},
{"functionCall": {"id": "1", "name": "f", "args": {"a_b": [1, 2.5, {"x": true}]}}}]}}}

{"serverContent": {"turnComplete": true, "generationComplete": false, "interrupted": "true"},
"usageMetadata": {"promptTokenCount": "17", "responseTokenCount": 2, "candidatesTokenCount": 3, "totalTokenCount": 20,
"responseTokensDetails": [{"modality": "audio", "tokenCount": 2}],
"candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 3}],
"promptTokensDetails": [{"modality": "AUDIO", "new": 1}], "trafficType": "ON_DEMAND", "new": {}}}

{"serverContent": {"inputTranscription": {"text": "a"}, "outputTranscription": {"text": "b", "finished": true}}}

{"serverContent": {"groundingMetadata": {"webSearchQueries": ["q"], "groundingChunks": [{"web": {"uri": "u", "new": 1}}],
"groundingSupports": [{"confidenceScores": [0.5, 1], "segment": {"endIndex": 3}}]}}, "usage_metadata": {}}

{"server_content": {"model_turn": {"parts": [{"text": "a"}]}}, "goAway": {}}

{"toolCall": {"functionCalls": [{"id": "1", "name": "f", "args": {}}, {"name": "g", "args": {"when": "\u3042"}}]}}

{"toolCallCancellation": {"ids": ["1", "2"]}}

{"goAway": {"timeLeft": "59.5s"}, "new": 7}

{"sessionResumptionUpdate": {"newHandle": "h", "resumable": true, "lastConsumedClientMessageIndex": "12"}}

{"sessionResumptionUpdate": {}}

{"voiceActivity": {"type": "ACTIVITY_START", "voiceActivityType": "ACTIVITY_END", "audioOffset": "1.5s"}}

{"voiceActivityDetectionSignal": {"vadSignalType": "VAD_SIGNAL_TYPE_SOS"}}
""".split(b"\n\n")
"""What a lane must read as google-genai does before it is used: each kind of message, and each liberty that is taken."""


class _Unfit(Exception):
    pass


class Lane:
    """Reads the frames of one backend. Holds nothing of a session, so all of a process share it.

    Args:
        vertex: Which backend.

    Raises:
        Exception: Of any type: the installed google-genai or pydantic is built otherwise.
    """

    def __init__(self, *, vertex: bool) -> None:
        types.LiveServerMessage.model_rebuild()  # since 2.x a model is built when it is needed
        rewriter = _Rewriter(cast("_Schema", types.LiveServerMessage.__pydantic_core_schema__))
        self._validate = rewriter.validator(_spec(vertex=vertex)).validate_json
        self._names = rewriter.names
        self._endings = {
            name[name.rindex(b"_") :] for name in self._names
        }  # few keys have one, and they are found fast
        self._templates: tuple[_Template, ...] = ()
        self._patience = 0

    def decode(self, frame: bytes) -> types.LiveServerMessage | None:
        """Return what google-genai would have made of a frame; None where its own code has to decide."""
        if len(frame) >= _WORTH_LEARNING:
            for template in self._templates:
                if (message := template.decode(frame)) is not None:
                    return message
        if (_UNDERSCORE in frame or _BACKSLASH in frame) and self._has_python_name(frame):
            return None
        try:
            message = self._validate(frame)
        except Exception:  # noqa: BLE001 -- of google-genai's own enums, too; its own code will raise the same
            return None
        if len(frame) >= _WORTH_LEARNING:
            self._learn(frame, message)
        return message if message.__pydantic_fields_set__ else None

    def _has_python_name(self, frame: bytes) -> bool:
        """Tell whether a field may be there by its Python name: google-genai takes that, too, but not beside the other."""
        if not self._endings.isdisjoint(_endings(frame)) and not self._names.isdisjoint(_keys(frame)):
            return True
        return _ESCAPED(frame) is not None

    def _learn(self, frame: bytes, message: types.LiveServerMessage) -> None:
        if self._patience:  # frames that are all different cannot be learned, and trying costs
            self._patience -= 1
            return
        self._patience = _PATIENCE
        if (shape := media_shape(decode_server(frame))) is None:
            return
        other = shape.prefix + b"AAEC" + shape.suffix
        with contextlib.suppress(Exception):  # _Unfit, or a pydantic that is built otherwise
            template = _Template(shape, message)
            if _laid_open(template.decode(other)) == _laid_open(self._validate(other)):
                self._templates = (template, *self._templates[: _TEMPLATES - 1])


class _Template:
    """A message of media that is copied for each frame that has other media and is else the same."""

    def __init__(self, shape: MediaShape, message: types.LiveServerMessage) -> None:
        self._prefix = shape.prefix
        self._suffix = shape.suffix
        self._before = shape.head
        self._inside = shape.inside
        self._after = slice(-len(shape.suffix), None)
        self._layers: list[tuple[type, dict[str, Any], set[str], str, bool]] = []
        value: Any = message
        for key in _KEYS:
            values: dict[str, Any] = value.__dict__.copy()
            cls: type = value.__class__
            self._layers.insert(0, (cls, values, value.__pydantic_fields_set__.copy(), key, key == "parts"))
            value, values[key] = values[key], None
            if not all(isinstance(other, _CONSTANT) for other in values.values()):
                raise _Unfit("what is beside the media would have to be copied")
            if key == "parts":
                (value,) = value

    def decode(self, frame: bytes) -> types.LiveServerMessage | None:
        """Return the message, None if this is another frame, or no base64 as every decoder reads it."""
        if frame[self._before] != self._prefix or frame[self._after] != self._suffix:
            return None
        text = frame[self._inside]
        try:
            made: Any = b64decode(text, None, True)  # noqa: FBT003 -- by its name, `validate`, it takes twice as long
        except ValueError:
            return None
        if len(made) * 4 != len(text) * 3 or not made:  # decoders differ in what they take for padding
            return None
        for cls, learned, fields_set, key, in_list in self._layers:
            values = learned.copy()
            values[key] = [made] if in_list else made
            made = _new(_Model)
            made.__dict__ = values
            made.__pydantic_fields_set__ = fields_set.copy()
            made.__pydantic_extra__ = None
            made.__pydantic_private__ = None
            made.__class__ = cls
        return cast("types.LiveServerMessage", made)


@functools.cache
def lane(*, vertex: bool) -> Lane | None:
    """Return the lane of a backend, made at the first call; None if google-genai has to read all frames itself."""
    reason = problem(vertex=vertex)
    if reason is None:
        return _tested(vertex=vertex)
    _warn(reason)
    return None


@functools.cache
def problem(*, vertex: bool) -> str | None:
    """Return why there is no lane for a backend, None if there is one."""
    try:
        _tested(vertex=vertex)
    except Exception as error:  # noqa: BLE001 -- a google-genai or pydantic that is not known
        return f"{type(error).__name__}: {error}".removeprefix(f"{_Unfit.__name__}: ")
    return None


_building = threading.Lock()
"""With an older pydantic the models are changed for a moment; two threads would not change them back."""


@functools.cache
def _tested(*, vertex: bool) -> Lane:
    with _building:
        made = Lane(vertex=vertex)
    receive = _receiver(vertex=vertex)
    for frame in _CANNED:
        ours = made.decode(frame)
        if ours is not None and _laid_open(ours) != _laid_open(receive(frame)):
            raise _Unfit(f"it reads {frame[:60]!r}... otherwise")
    return made


@functools.cache
def _warn(reason: str) -> None:
    _log.warning(
        "google-genai %s with pydantic %s reads each frame by its own code, which is slower: resumekit's way is not "
        "the same with these versions (%s); sessions work as ever; please report it with `resumekit doctor --json`",
        genai.__version__,
        pydantic.VERSION,
        reason,
    )


# ---------------------------------------------------------------------- google-genai's own way


def _receiver(*, vertex: bool) -> Any:
    """Return google-genai's `_receive` as a function of a frame."""
    socket = SimpleNamespace()
    account = SimpleNamespace(api_client=SimpleNamespace(vertexai=vertex))
    session = AsyncSession(**seam.session_arguments(cast("seam.Account", account), socket, b'{"setupComplete":{}}'))

    def receive(frame: bytes) -> object:
        async def recv(decode: bool | None = None) -> bytes:  # noqa: ARG001, FBT001 -- as websockets has it
            return frame

        socket.recv = recv
        coroutine = cast("Any", session)._receive()  # noqa: SLF001 -- this file's purpose
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value
        coroutine.close()
        raise _Unfit("AsyncSession._receive waits for more than a frame")

    return receive


def _laid_open(value: object) -> object:
    """Return all that is in a message, comparable."""
    if isinstance(value, pydantic.BaseModel):
        insides = [value.__pydantic_extra__, value.__pydantic_private__, dict(value.__dict__)]
        return type(value), sorted(value.__pydantic_fields_set__), [_laid_open(inside) for inside in insides]
    if isinstance(value, dict):
        return dict, [(key, _laid_open(item)) for key, item in cast("dict[object, object]", value).items()]
    if isinstance(value, list):
        return list, [_laid_open(item) for item in cast("list[object]", value)]
    return type(value), repr(value)


# ---------------------------------------------------------------------- the schema


class _Probe(dict[str, Any]):
    """A frame that has whatever a converter looks for; each value of it is the path by which it was reached."""

    def __init__(self, *path: str) -> None:
        super().__init__()
        self.path = path

    def __contains__(self, key: object) -> bool:
        return True

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Any]:
        yield _Probe(*self.path, _ITEM)

    def __getitem__(self, key: str) -> Any:
        return _Probe(*self.path, key)

    def get(self, key: str, default: object = None) -> Any:  # noqa: ARG002
        return self[key]


def _spec(*, vertex: bool) -> _Spec:
    """Return what the converter of a backend does, None if there is none."""
    convert = getattr(_live_converters, f"_LiveServerMessage_from_{'vertex' if vertex else 'mldev'}", None)
    if convert is None:
        return None
    path, spec = _followed(convert(_Probe()))
    if path:
        raise _Unfit("the live converter reads no frame")
    return spec


def _followed(made: object) -> tuple[tuple[str, ...], _Spec]:
    """Return the path by which a converter reached what it made this of, and what it does to it."""
    if isinstance(made, _Probe):
        return made.path, None
    if isinstance(made, list) and made:
        path, spec = _followed(cast("list[object]", made)[0])
        if path[-1:] == (_ITEM,):
            return path[:-1], spec
    if isinstance(made, dict) and made:
        found = {name: _followed(value) for name, value in cast("dict[str, object]", made).items()}
        if len(parents := {path[:-1] for path, _ in found.values() if path}) == 1:
            return parents.pop(), {name: (path[-1], spec) for name, (path, spec) in found.items()}
    raise _Unfit("the live converter makes one thing of several")


class _Rewriter:
    """Rewrites what it knows of a schema; what it does not know stays as google-genai has it."""

    def __init__(self, schema: _Schema) -> None:
        self._definitions: dict[str, _Schema] = {one["ref"]: one for one in schema.get("definitions", ())}
        self._models: set[Any] = set()
        self.names: set[bytes] = set()
        """Of fields that have another name in a frame."""
        self._schema = schema

    def validator(self, spec: _Spec) -> SchemaValidator:
        """Return the validator of the rewritten schema."""
        rewritten: Any = self.rewrite(self._schema, spec)
        try:
            return cast("type[SchemaValidator]", functools.partial(SchemaValidator, _use_prebuilt=False))(rewritten)
        except TypeError:  # pydantic before 2.12 has no such argument
            with self.all_incomplete():
                return SchemaValidator(rewritten)

    def rewrite(self, schema: _Schema, spec: _Spec = None) -> _Schema:
        match schema["type"]:
            case "definitions":
                definitions = [self.rewrite(one) for one in schema["definitions"]]
                return {**schema, "schema": self.rewrite(schema["schema"], spec), "definitions": definitions}
            case "definition-ref" if spec is not None:
                named = {**self._definitions[schema["schema_ref"]]}
                del named["ref"]
                return self.rewrite(named, spec)
            case "function-before" if getattr(schema["function"]["function"], "__name__", None) == _CHECK:
                return self.rewrite(schema["schema"], spec)
            case "nullable":  # a null is for google-genai: it drops it here and keeps it there
                return self.rewrite(schema["schema"], spec)
            case "default" | "model-field":
                return {**schema, "schema": self.rewrite(schema["schema"], spec)}
            case "list" if "items_schema" in schema:
                return {**schema, "items_schema": self.rewrite(schema["items_schema"], spec)}
            case "model":
                return self._model(schema, spec)
            case "model-fields":
                fields: dict[str, _Schema] = schema["fields"]
                self.names.update(name.encode() for name in fields if "_" in name)
                if spec is None:
                    return {**schema, "fields": {name: self.rewrite(field) for name, field in fields.items()}}
                found = {name: spec.get(name, (_NOWHERE, None)) for name in fields}
                renamed = {name: {**fields[name], "validation_alias": key} for name, (key, _) in found.items()}
                rewritten = {name: self.rewrite(renamed[name], inner) for name, (_, inner) in found.items()}
                return {**schema, "fields": rewritten}
            case _:
                return schema

    def _model(self, schema: _Schema, spec: _Spec) -> _Schema:
        self._models.add(schema["cls"])
        config = {**schema["config"], "extra_fields_behavior": "ignore"}
        if spec is not None:
            for by_name in ("validate_by_name", "populate_by_name"):
                config.pop(by_name, None)
        # The constructor of Part, which takes more than JSON can say, validates once more.
        custom_init = schema.get("custom_init", False) and schema["cls"] is not types.Part
        return {**schema, "config": config, "custom_init": custom_init, "schema": self.rewrite(schema["schema"], spec)}

    @contextlib.contextmanager
    def all_incomplete(self) -> Generator[None]:
        """Keep pydantic from taking the validators that the models have already instead of their rewritten schema."""
        before = {model: model.__pydantic_complete__ for model in self._models}
        for model in self._models:
            model.__pydantic_complete__ = False
        try:
            yield
        finally:
            for model, complete in before.items():
                model.__pydantic_complete__ = complete
