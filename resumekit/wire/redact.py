"""What must stay secret: the type of a handle, and the scrubbing of texts.

Whoever has a resumption handle can go on with a private conversation. It is a `ResumptionHandle` wherever it is kept, and
`redact` cleans every text that may quote a frame, a URL or a header.
"""

from __future__ import annotations

import hashlib
import logging
import re

__all__ = ["RedactingFilter", "ResumptionHandle", "redact"]


class ResumptionHandle:
    """Hold a resumption handle without showing it.

    Immutable, hashable and picklable. `repr`, `str` and `format` give a digest, the same in every process, so that log
    lines can be matched; only `reveal` gives the text. False if empty.
    """

    __slots__ = ("_text",)
    _text: str

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "_text", text)

    def reveal(self) -> str:
        """Return the text, to be written into a `setup` frame or a store and nowhere else."""
        return self._text

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a resumption handle is immutable; cannot set {name!r}")

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, ResumptionHandle) else NotImplemented

    def __hash__(self) -> int:
        return hash((ResumptionHandle, self._text))

    def __repr__(self) -> str:
        text = self._text.encode("utf-8", "surrogatepass")
        return "h#" + hashlib.blake2b(text, digest_size=4, person=b"resumekit").hexdigest()

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __reduce__(self) -> tuple[type[ResumptionHandle], tuple[str]]:
        return ResumptionHandle, (self._text,)


_SHOWN = "[redacted]"


def _without_user(match: re.Match[str]) -> str:
    """Of an address: a password may hold a slash and an @, as nobody should write it."""
    user, _, rest = match[0].rpartition("@")
    return f"://{_SHOWN}@{rest}" if user else match[0]


_NAME = r"(?<![\w-])(?:[\w-]*(?:handle|api[_-]?key|authorization|token|password|secret)|key)"
_FLAGS = re.IGNORECASE | re.DOTALL | re.MULTILINE
_RULES = (
    # A data frame in the debug log of websockets: elided in the middle, so that no rule on names can find the tail
    # of a value, and in hex if it is not text.
    (r"([<>] (?:TEXT|BINARY|CONT)) [^\r\n]*?(?=(?: \[[^\[\]\r\n]*\bbytes?\b[^\[\]\r\n]*\])?$)", rf"\1 {_SHOWN}"),
    # JSON inside a JSON string: \"newHandle\": \"...\"; a cut-off text ends the value as well as its quote does.
    (rf"({_NAME}\\+[\"']\s*[:=,]\s*(\\+[\"']))(?:(?!\2).)*", rf"\1{_SHOWN}"),
    # JSON, Python repr, keyword arguments, (name, value) pairs, bytes included. Our own digests stay readable.
    (rf"({_NAME}[\"']?\s*[:=,]\s*b?([\"']))(?!h#[0-9a-f]{{8}}\2)(?:\\.|(?!\2)[^\\])*\\?", rf"\1{_SHOWN}"),
    # Lines of a header or of YAML: the whole value.
    (
        r"((?<![\w-])(?:[\w-]*authorization|x-goog-api-key|new_?handle):[ \t]*)(?![\s\"']|h#)[^\r\n]+",
        rf"\1{_SHOWN}",
    ),
    # URL parameters and name=value.
    (rf"({_NAME}=)(?!h#[0-9a-f]{{8}}\b|None\b|[\"'\[])[^\s&;,\"'<>)}}\]]+", rf"\1{_SHOWN}"),
    (r"://[^\s\"'<>]+", _without_user),
    # Credentials that show what they are, wherever they stand.
    (r"(\b(?:bearer|basic(?=\s+\S*(?-i:[A-Z0-9=])))\s+)[^\s\"'\\,;\[]+", rf"\1{_SHOWN}"),
    (r"\bAIza[\w-]{16,}|\bya29\.[\w.-]+|\bauth_tokens/[\w.-]+", _SHOWN),
)
"""Compiled when first needed, and kept by `re`: that takes a millisecond, which no import is to pay."""


def redact(text: str) -> str:
    """Return `text` without handles, keys and tokens.

    Understands JSON (pretty, compact, escaped once more), Python `repr`, URLs, header lines and the frame lines of
    `websockets`. Rather takes too much than too little.
    """
    for pattern, replacement in _RULES:
        text = re.sub(pattern, replacement, text, flags=_FLAGS)
    return text


class RedactingFilter(logging.Filter):
    """Scrub every record that passes: message, arguments, traceback.

    Add it to each handler, or to the logger that is given to the transport (`websockets` logs request line, headers
    and frames at DEBUG). On a logger it does not see the records of child loggers.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record in place; never drops it."""
        try:
            text = record.getMessage()
        except (KeyError, TypeError, ValueError):  # a call whose arguments do not fit must not fail here
            text = str(record.msg)
        record.msg, record.args = redact(text), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        clean = redact(record.exc_text or "")
        if clean != (record.exc_text or ""):
            record.exc_text, record.exc_info = clean, None  # a handler that writes it anew would show it
        return True
