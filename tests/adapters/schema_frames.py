"""Random frames, drawn from the fields of the installed `types.LiveServerMessage`, all the way down.

A *plain* frame holds what the fields are declared to hold, so that google-genai has nothing to object. An *odd* one has
fields that nobody knows, other types, nulls, keys in Python's case or twice, and base64 of any kind.
"""

from __future__ import annotations

import base64
import enum
import functools
import json
import types as builtin_types
import typing

from google.genai import types
from hypothesis import strategies as st
from pydantic import BaseModel

TEXT = st.text(st.characters(codec="utf-8", exclude_characters='"'), max_size=12)
KEYS = st.text(st.characters(exclude_categories=("C",), exclude_characters='"\\_'), max_size=12)
"""Of a plain frame, where a key may not look as if it could be a field's name in Python."""
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=6)
"""Lone surrogates, too."""
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(width=64)
FRESH = (
    "fresh",
    "turn",
    "text",
    "data",
    "type",
    "name",
    "value",
    "self",
    "id",
    "_",
    "",
    "camelCase",
    "snake_case",
    "null",
)
"""Keys that one field or another has, and most have not."""


class Members(list):
    """The members of a JSON object, as pairs: a key may come twice."""


def objects(keys, values, *, max_size):
    return st.lists(st.tuples(keys, values), max_size=max_size).map(Members)


def _dictionaries(values):
    return st.dictionaries(KEYS, values, max_size=3).map(lambda found: Members(found.items()))


JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | objects(st.sampled_from(FRESH) | ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)
PLAIN_JSON = st.recursive(
    st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | _dictionaries(inner),
    max_leaves=6,
)
PLAIN_OBJECTS = _dictionaries(PLAIN_JSON)
BYTES = st.binary(max_size=24).flatmap(
    lambda data: st.sampled_from([base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()])
)
ODD_BYTES = st.one_of(
    BYTES.map(lambda text: text.rstrip("=")),
    BYTES.map(lambda text: text + "="),
    st.tuples(BYTES, BYTES).map("".join),
    st.tuples(BYTES, BYTES).map("\n".join),
    st.text("AZaz09+/-_=", max_size=9),
)


def _scalars(kind, *, odd):
    if issubclass(kind, enum.Enum):
        known = st.sampled_from([member.value for member in kind])
        return (known | known.map(str.lower) | TEXT) if odd else known
    if kind is bytes:
        return BYTES | ODD_BYTES if odd else BYTES
    if kind is bool:
        return st.booleans() | st.sampled_from(["true", "no", 0, 1]) if odd else st.booleans()
    if kind is int:
        plain = st.integers(-(2**63), 2**63 - 1)
        return plain | plain.map(str) | NUMBERS if odd else plain | plain.map(str)
    if kind is float:
        plain = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-1000, 1000)
        return plain | NUMBERS if odd else plain
    assert kind is str, f"no frames are known for {kind}"
    return ANY_TEXT if odd else TEXT


@functools.cache
def values(annotation, *, odd):
    """Return what a field of this annotation may hold."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, builtin_types.UnionType):
        found = st.one_of([values(one, odd=odd) for one in arguments if one is not type(None)])
    elif origin is list:
        found = st.lists(values(arguments[0], odd=odd), max_size=3)
    elif annotation is typing.Any:
        found = JSON if odd else PLAIN_JSON
    elif origin is dict:
        found = objects(ANY_TEXT, JSON, max_size=3) if odd else PLAIN_OBJECTS
    elif origin is typing.Literal:
        found = st.sampled_from(arguments)
    elif issubclass(annotation, BaseModel):
        found = members(annotation, odd=odd)
    else:
        found = _scalars(annotation, odd=odd)
    return st.one_of([found] * 9 + [JSON]) if odd else found


@st.composite
def members(draw, model, *, odd, min_size=0):
    """Draw the members of an object that the model reads."""
    model.model_rebuild()
    names = draw(st.lists(st.sampled_from(sorted(model.model_fields)), unique=not odd, min_size=min_size, max_size=4))
    found = Members()
    for name in names:
        field = model.model_fields[name]
        key = name if odd and draw(st.integers(0, 9)) == 0 else field.alias or name
        found.append((key, draw(values(field.annotation, odd=odd))))
    if odd and draw(st.integers(0, 3)) == 0:
        found += draw(objects(st.sampled_from(FRESH), JSON, max_size=2))
    return found


def _quoted(text, *, escape):
    if escape == "all":
        units = text.encode("utf-16-be", "surrogatepass")
        return '"' + "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2)) + '"'
    return json.dumps(text, ensure_ascii=escape == "ascii")


def written(value, *, indent, escape, depth=0):
    """Write JSON, keys as often as they come."""
    if isinstance(value, Members | list):
        brackets = "{}" if isinstance(value, Members) else "[]"
        inner = [
            (_quoted(item[0], escape=escape) + (": " if indent else ":") if isinstance(value, Members) else "")
            + written(item[1] if isinstance(value, Members) else item, indent=indent, escape=escape, depth=depth + 1)
            for item in value
        ]
        if not inner:
            return brackets
        line = "\n" + "  " * (depth + 1) if indent else ""
        end = "\n" + "  " * depth if indent else ""
        return brackets[0] + ",".join(line + item for item in inner) + end + brackets[1]
    return _quoted(value, escape=escape) if isinstance(value, str) else json.dumps(value)


@st.composite
def frames(draw, *, odd):
    """Draw a frame of the service."""
    value = draw(members(types.LiveServerMessage, odd=odd, min_size=1))
    indent, escape = draw(st.booleans()), draw(st.sampled_from(["ascii", "none", *(["all"] * odd)]))
    return written(value, indent=indent, escape=escape).encode("utf-8", "surrogatepass")


TOKENS = b'{ } [ ] " , : \\ null true NaN 1 -1 1e5 0 \\u00e9 \\ud800 \xff \n "goAway": "serverContent": "data": {} [] ""'.split(
    b" "
)


@st.composite
def damaged(draw, originals):
    """Draw a frame with a few bytes more, less, or others."""
    frame = draw(originals)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(frame)))
        length = draw(st.integers(0, 4))
        token = draw(st.sampled_from(TOKENS) | st.binary(max_size=2))
        frame = frame[:start] + token + frame[start + length :]
    return frame


_PLACE = "(media)"
LONG_BYTES = st.integers(300, 420).flatmap(lambda count: st.binary(min_size=3 * count, max_size=3 * count))
MEDIA = LONG_BYTES.map(base64.b64encode)


@st.composite
def _odd_media(draw):
    """Draw what is nearly the base64 of something long."""
    text = draw(MEDIA)
    for _ in range(draw(st.integers(1, 2))):
        start = draw(st.sampled_from([0, 1, 500, len(text) - 1, len(text)]))
        length = draw(st.integers(0, 4))
        token = draw(st.sampled_from([b"", b"=", b"==", b"-", b"_", b"\n", b" ", b"\\/", b"\\u0041", b"\\n", b'"', b'\\"', b"\xc3\xa9", b"\xff",
                                      b"\0", b'","data":"', b'"}}]},"turnComplete":true,"fresh":{"fresh":[{"fresh":"']))  # fmt: skip
        text = text[:start] + token + text[start + length :]
    return text


@st.composite
def streams(draw, *, odd):
    """Draw frames that differ in the media of their only part, which is long; the odd ones not in that alone."""

    def more(*pairs):
        found = draw(objects(st.sampled_from(FRESH), JSON, max_size=2)) if odd and draw(st.integers(0, 5)) == 0 else []
        return Members(draw(st.permutations([*(pair for pair in pairs if pair), *found])))

    def one_of(*pairs):
        return draw(st.sampled_from([None, *pairs]))

    blob = more(("data", _PLACE), ("mimeType", draw(TEXT if odd else KEYS)))
    turn = more(("parts", [more(("inlineData", blob))]), one_of(("role", "model")))
    mark = one_of(None, ("turnComplete", True), ("interrupted", False)) if odd else None
    beside = one_of(None, None, ("goAway", Members()), ("usageMetadata", Members())) if odd else None
    message = more(("serverContent", more(("modelTurn", turn), mark)), beside)
    frame = written(message, indent=draw(st.booleans()), escape="none").encode("utf-8", "surrogatepass")
    before, _, after = frame.partition(_PLACE.encode())
    stream = []
    for media in draw(st.lists(MEDIA | _odd_media() if odd else MEDIA, min_size=2, max_size=5)):
        head, tail = before, after
        if odd and draw(st.integers(0, 4)) == 0:
            head = _changed(head, draw(st.integers(0, len(head) - 1)))
        if odd and draw(st.integers(0, 4)) == 0:
            tail = _changed(tail, draw(st.integers(0, len(tail) - 1)))
        stream.append(head + media + tail)
    return stream


def _changed(text, at):
    return text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
