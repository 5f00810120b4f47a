"""What a trace does not tell: frames with every text in them masked, each by one of the same length.

Sizes stay true, and what was equal stays equal where the engine compares it, so that a masked trace can be replayed.
Masks are keyed with random bytes that are thrown away with the `Masker`: nobody can try out guesses on a trace.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import re
from collections.abc import Callable, Iterator
from typing import cast

import msgspec

from resumekit.wire import ResumptionHandle, args_key, redact

__all__ = ["Masker"]

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_PAIR = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_UNIT = re.compile(rf"{_PAIR}|\\u[0-9a-fA-F]{{4}}|\\.|.", re.DOTALL)
"""One character of a JSON string, as it is written."""
_NUMBER = re.compile(r"(-?[0-9]+(?:\.[0-9]*?)?)(0*(?:[eE].*)?)")
"""A number, and the zeros at the end of its fraction."""
_EDGES = re.compile(r"((?:\s|\\[ntr])*)(.*?)((?:\s|\\[ntr])*)", re.DOTALL)
_HARMLESS = re.compile(r"[\w./:;=, +-]{0,200}")
_SECRET = re.compile(r"(?:handle|api-?key|authorization|token|secret|password|cookie|credentials?)$", re.IGNORECASE)
_CREDENTIAL = re.compile(r"\bBearer [\w.~+/-]+=*|\bAIza[\w-]{16,}|\bya29\.[\w.-]+|\bauth_tokens/[\w.-]+")
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LONGEST = 22
"""Characters of a digest; what is longer is filled up."""
_OUT_OF = {1: "x", 2: "×", 3: "•", 4: "🔲"}  # noqa: RUF001 -- one of each length in UTF-8, none of which is a letter
"""Bytes of a character -> what it is masked with."""
_KEPT_HANDLES = 256
_TELLING = 10
"""Characters of a digest with which two of them are never equal."""
_KEPT_PSEUDONYMS = 4096
_ATTEMPTS = 20

_KEPT = frozenset(
    [
        "activityHandling",
        "audioOffset",
        "behavior",
        "endOfSpeechSensitivity",
        "finishReason",
        "language",
        "languageCode",
        "lastConsumedClientMessageIndex",
        "mediaResolution",
        "mimeType",
        "modality",
        "model",
        "name",
        "outcome",
        "responseModalities",
        "role",
        "scheduling",
        "startOfSpeechSensitivity",
        "targetTokens",
        "thinkingLevel",
        "timeLeft",
        "triggerTokens",
        "turnCompleteReason",
        "turnCoverage",
        "type",
        "vadSignalType",
        "voiceActivityType",
        "voiceName",
        "waitingForInputReason",
    ]
)
"""Keys whose texts are the protocol's own words, or names."""
_IDS = frozenset({"id", "ids", "sessionId"})
_WHOLE = frozenset(
    ("args", "contextUpdate", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "toolConfig")
)
"""Keys of values that are the application's own, whatever is in them."""
_TRANSCRIPTIONS = frozenset({"inputTranscription", "interimInputTranscription"})


class Masker:
    """Masks what a trace may not tell.

    Args:
        key: 16 to 64 random bytes. None: what is masked is masked already, as in a replay; ids and handles stay.
        payloads: Keep texts, media, ids and arguments of tools, and mask handles and credentials alone.
    """

    def __init__(self, key: bytes | None, *, payloads: bool = False) -> None:
        self._key = key or b""
        self._is_masked = key is None
        self._payloads = payloads
        self._pseudonyms: dict[str, str] = {}
        """Of texts so short that digests of two may be equal."""
        self._used: set[str] = set()
        self._handles: dict[str, str] = {}
        """The newest ones: they are looked for everywhere."""
        self._hearing = _Words(self._key)

    # ------------------------------------------------------------------ single values

    def handle(self, handle: ResumptionHandle) -> str:
        """Return a text of the same length that opens nothing; the same for the same handle."""
        text = handle.reveal()
        if self._is_masked:
            return text
        found = self._handles.pop(text, None) or self._pseudonym("handle", text)
        self._handles[text] = found
        if len(self._handles) > _KEPT_HANDLES:
            del self._handles[next(iter(self._handles))]
        return found

    def call_id(self, text: str) -> str:
        """Return a text of the same length, the same for the same id."""
        return text if self._payloads else self._pseudonym("id", text)

    def told(self, text: str) -> str:
        """Return what an event or an error says: without secrets, and else as it is."""
        return self._without_secrets(redact(text))

    def text(self, text: str) -> str:
        """Return a text that is as long, and says nothing."""
        if self._payloads:
            return self._without_secrets(text)
        try:
            return _unescaped(self._marked(msgspec.json.encode(text).decode()[1:-1]))
        except UnicodeEncodeError:  # half of a pair
            return "x" * len(text)

    def args_key(self, name: str, key: str) -> str:
        """Return the key of a masked call (`PendingCall.key`)."""
        if self._payloads:
            return key
        try:
            args: object = ast.literal_eval(key.removeprefix(f"{name}:"))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return f"{name}:{self._digest('args', key)}"
        masked: object = msgspec.json.decode(self._whole(msgspec.json.encode(args).decode()))
        return args_key(name, cast("dict[str, object]", masked))

    # ------------------------------------------------------------------ frames

    def client_frame(self, frame: str) -> str:
        """Return a client frame, masked. Of texts that the user wrote it stays known which are equal."""
        return self._frame(frame, self._marked, self._whole)

    def server_frame(self, frame: str, connection: int) -> str:
        """Return a server frame, masked. They are to be given in the order in which they came."""
        self._hearing.listen(frame, connection)
        return self._frame(frame, _blank, self._whole, self._hearing)

    def shape(self, frame: str) -> str:
        """Return what a frame has in common with that which a replay of masked ones makes in its place."""
        return self._frame(frame, _blank, _blank_value)

    def _frame(
        self, frame: str, blank: Callable[[str], str], whole: Callable[[str], str], words: _Words | None = None
    ) -> str:
        """Mask the strings of a JSON text, each in its place."""
        parts: list[str] = []
        done = 0
        path: list[tuple[str, str]] = []
        """Of each open object or array: which of the two, and its key."""
        key = ""
        wants_key = False
        tokens = _TOKEN.finditer(frame)
        for token in tokens:
            text = token[0]
            first = text[0]
            if first == ",":
                wants_key = bool(path) and path[-1][0] == "{"
                continue
            if first == ":":
                continue
            if first in "}]":
                key = path.pop()[1] if path else ""
                continue
            if wants_key and first == '"':
                key, wants_key = _camel(text[1:-1]), False
                continue
            start, end = token.span()
            if key in _WHOLE and not self._payloads:
                end = _end_of_value(token, tokens)
                masked = whole(frame[start:end])
            elif first in "{[":
                path.append((first, key))
                wants_key = first == "{"
                continue
            elif first == '"':
                of = path[-1][1] if path else ""
                masked = f'"{self._string(of, key, text[1:-1], blank, words)}"'
            else:
                continue
            parts += frame[done:start], masked
            done = end
        parts.append(frame[done:])
        return "".join(parts)

    def _string(self, of: str, key: str, text: str, blank: Callable[[str], str], words: _Words | None) -> str:
        if key in _KEPT and _HARMLESS.fullmatch(text):
            return text
        if _SECRET.search(key):
            return self.handle(ResumptionHandle(_unescaped(text))) if key.lower().endswith("handle") else _blank(text)
        if of.lower().endswith("headers"):
            return _blank(text)
        if key == "data":
            media = text.rstrip("=")
            return text if self._payloads else "A" * len(media) + text[len(media) :]
        if self._payloads:
            return self._without_secrets(text)
        if key in _IDS:
            return self._pseudonym("id", text)
        if words is not None and of in _TRANSCRIPTIONS and key == "text":
            return words.mask(text, lasting=of == "inputTranscription")
        return blank(text)

    def _without_secrets(self, text: str) -> str:
        for handle, masked in self._handles.items():
            if handle in text:
                text = text.replace(handle, masked)
        return _CREDENTIAL.sub(lambda found: "x" * len(found[0]), text)

    # ------------------------------------------------------------------ digests

    def _marked(self, text: str, kind: str = "text") -> str:
        """Mask the inside of a JSON string as `_blank` does, with a digest of it at its beginning."""
        blank = _blank(text)
        marks = iter(self._digest(kind, _unescaped(text).strip()))
        return re.sub("x", lambda _: next(marks, "x"), blank, count=_LONGEST)

    def _whole(self, text: str) -> str:
        """Mask a JSON value, the names in it too. It stays known which are equal, and how they are built."""
        try:
            value: object = msgspec.json.decode(text)
            said = args_key("", {"": value})
            size = len(msgspec.json.encode(value))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return _blank_value(text)
        masked = text
        for attempt in range(_ATTEMPTS):
            kind = f"{attempt} {said}"
            masked = _TOKEN.sub(lambda token: self._marked_token(kind, token[0]), text)  # noqa: B023 -- called at once
            try:
                if len(msgspec.json.encode(msgspec.json.decode(masked))) == size:
                    break  # no two names have become equal, nor a number longer
            except msgspec.MsgspecError:
                continue
        return masked

    def _marked_token(self, kind: str, token: str) -> str:
        if token[0] == '"':
            return f'"{self._marked(token[1:-1], kind)}"'
        if token[0] in "-0123456789":
            number = _NUMBER.fullmatch(token)
            if number is None:
                return token
            marks = iter(str(int(self._digest(kind, number[1].rstrip(".")), 36)))  # 1 is 1.0
            return re.sub("[0-9]", lambda digit: next(marks, digit[0]), number[1]) + number[2]
        return token

    def _pseudonym(self, kind: str, text: str) -> str:
        length = _size(text)
        if self._is_masked or not text:
            return text
        if length >= _TELLING:
            return _filled(self._digest(kind, text), length)
        name = f"{kind} {text}"
        found = self._pseudonyms.get(name)
        if found is not None:
            return found
        if len(self._pseudonyms) >= _KEPT_PSEUDONYMS:
            self._pseudonyms.clear()
            self._used.clear()
        found = _filled(self._digest(kind, text), length)
        for attempt in range(100):
            if found not in self._used:
                break
            found = _filled(self._digest(f"{kind} {attempt}", text), length)
        self._used.add(found)
        self._pseudonyms[name] = found
        return found

    def _digest(self, kind: str, text: str) -> str:
        data = f"{kind} {text}".encode("utf-8", "surrogatepass")
        number = int.from_bytes(hashlib.blake2b(data, key=self._key, digest_size=16).digest())
        digits = ""
        while len(digits) < _LONGEST:
            number, digit = divmod(number, 36)
            digits += _DIGITS[digit]
        return digits


class _Words:
    """Masks the words of a spoken question so that those of its repetition, after a cut, can be compared with them.

    Which words are equal shows within one question, and until its handle has come, no further. White space and
    punctuation stay, and so do the lengths of words.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._question = 0
        self._connection = 0
        self._is_over = False
        self._word = ""
        """What was said of the last word."""

    def listen(self, frame: str, connection: int) -> None:
        """Look whether a frame ends the question, or begins it anew."""
        if connection != self._connection:
            self._connection = connection
            self._word = ""
        if self._is_over and "newHandle" in frame:
            self._question += 1
            self._word = ""
            self._is_over = False
        elif "turnComplete" in frame:
            self._is_over = True
        elif "modelTurn" in frame:
            self._is_over = False

    def mask(self, text: str, *, lasting: bool) -> str:
        """Mask a piece of the transcription; one that is `lasting` goes on in the next piece."""
        before = self._word
        masked = _UNIT.sub(lambda unit: self._unit(unit[0]), text)
        if not lasting:
            self._word = before
        return masked

    def _unit(self, unit: str) -> str:
        character = _unescaped(unit)
        if not re.fullmatch(r"\w", character):
            self._word = ""
            return unit if character.isascii() else _blank_unit(unit)
        is_alone = character > "\u2e7f"  # as `core.hearing` has it: scripts that put no words apart
        self._word = character if is_alone else self._word + character.casefold()
        said = f"word {self._question} {self._word}".encode("utf-8", "surrogatepass")
        draw = int.from_bytes(hashlib.blake2b(said, key=self._key, digest_size=4).digest())
        match _size(character):
            case 1:
                masked = chr(ord("a") + draw % 26)
            case 2:
                masked = chr(0xE0 + draw % 23)
            case 3:
                masked = chr(0x4E00 + draw % 20_000) if is_alone else chr(0x1E01 + 2 * (draw % 74))
            case _:
                masked = chr(0x20000 + draw % 40_000)
        return masked if unit == character else _escaped(masked)


# ------------------------------------------------------------------ texts


def _blank_value(text: str) -> str:
    """Mask a JSON value, so that only how it is built is left."""
    return _TOKEN.sub(lambda token: _blank_token(token[0]), text)


def _blank_token(token: str) -> str:
    if token[0] == '"':
        return f'"{_blank(token[1:-1])}"'
    return re.sub("[0-9]", "1", token)


def _blank(text: str) -> str:
    r"""Mask a text, or the inside of a JSON string: as long, in characters, in bytes, and as JSON.

    White space at its ends stays, for that the engine strips.
    """
    edges = _EDGES.fullmatch(text)
    assert edges is not None
    before, inner, after = edges.groups()
    if inner.isascii() and "\\" not in inner:
        return f"{before}{'x' * len(inner)}{after}"
    return before + _UNIT.sub(lambda unit: _blank_unit(unit[0]), inner) + after


def _blank_unit(unit: str) -> str:
    if unit[0] != "\\" or len(unit) == 1:
        return _OUT_OF[_size(unit)]
    if len(unit) == 2:  # msgspec writes all of them in two characters, save the slash
        return unit if unit == "\\/" else '\\"'
    if len(unit) == 12:
        return "\\ud83d\\udd32"
    code = int(unit.removeprefix("\\u"), 16)
    if code < 0x20 or 0xD800 <= code < 0xE000:
        return unit
    if code in (0x22, 0x5C):
        return "\\u0022"
    return _escaped(_OUT_OF[_size(chr(code))])


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    try:
        return msgspec.json.decode(f'"{text}"', type=str)
    except msgspec.DecodeError:  # half of a pair
        return text


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _filled(digest: str, length: int) -> str:
    return digest[:length].ljust(length, "x")


def _end_of_value(first: re.Match[str], tokens: Iterator[re.Match[str]]) -> int:
    """Take the rest of the value that begins with a token."""
    token = first
    depth = 0
    while True:
        depth += (token[0][0] in "{[") - (token[0][0] in "}]")
        following = next(tokens, None) if depth > 0 else None
        if following is None:
            return token.end()
        token = following


@functools.lru_cache(maxsize=512)
def _camel(key: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), _unescaped(key))
