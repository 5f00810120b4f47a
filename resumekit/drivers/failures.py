"""From the transport's exceptions to the engine's `Failure`: one pure function, and nothing else reads them."""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar, cast

from websockets import exceptions
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException
from websockets.frames import Close
from websockets.http11 import Response

from resumekit.core.failures import CloseCode, Failure, Phase, Side
from resumekit.wire import redact

__all__ = ["TRANSPORT_ERRORS", "InvalidProxy", "failure_of", "is_of_the_transport", "without_secrets"]

TRANSPORT_ERRORS = (OSError, EOFError, WebSocketException)
"""What a connection may end with, or a dial fail with; TimeoutError and ssl.SSLError are kinds of OSError."""

InvalidProxy: type[WebSocketException] = getattr(exceptions, "InvalidProxy", InvalidURI)
"""Of websockets 15 and later; those before know no proxies."""
_NOT_THE_NETWORK = (InvalidURI, InvalidProxy, ssl.SSLCertVerificationError)
"""Trying again would not help a first connection."""
_QUOTED = 200
"""Characters that are shown of the answer to a refused upgrade."""
_LONGEST = 4096
"""Bytes of that answer that are kept: it may be a megabyte."""


def is_of_the_transport(error: BaseException) -> bool:
    """Tell a failure of the network or the service from one of the arguments or the application's own code."""
    return isinstance(error, TRANSPORT_ERRORS) and not isinstance(error, _NOT_THE_NETWORK)


def failure_of(error: BaseException, phase: Phase, *, utc_now: datetime | None = None) -> Failure:
    """Return what happened, without secrets.

    Args:
        error: What the transport raised.
        phase: How far the connection had come.
        utc_now: The wall clock, for a `Retry-After` that is a date; without it such a date is not read.
    """
    told = without_secrets(error)
    if isinstance(error, ConnectionClosed):
        return _closed(error, phase, told)
    if isinstance(error, InvalidStatus):
        response = error.response
        said = " ".join(bytes(response.body or b"")[: 4 * _QUOTED].decode("utf-8", "replace").split())
        reason = ": ".join(filter(None, (response.reason_phrase, redact(said)[:_QUOTED])))
        return Failure(
            phase=Phase.DIAL,
            side=Side.THEY,
            reason=redact(reason),
            status=response.status_code,
            retry_after=_retry_after(response.headers.get("Retry-After"), utc_now),
            error=told,
        )
    text = redact(str(error))
    reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return Failure(phase=phase, side=Side.NOBODY, reason=reason, error=told)


def _closed(error: ConnectionClosed, phase: Phase, told: BaseException) -> Failure:
    side, close = Side.NOBODY, None
    if error.rcvd is not None and error.rcvd_then_sent is not False:
        side, close = Side.THEY, error.rcvd
    elif error.sent is not None:
        side, close = Side.WE, error.sent
    if close is not None:
        return Failure(phase=phase, side=side, code=close.code, reason=redact(close.reason), error=told)
    # What broke it (a reset, a TLS error) is chained by websockets.
    reason = "" if error.__cause__ is None else redact(f"{type(error.__cause__).__name__}: {error.__cause__}")
    return Failure(phase=phase, side=side, code=CloseCode.ABNORMAL.value, reason=reason, error=told)


_E = TypeVar("_E", bound=BaseException)


def without_secrets(error: _E, *, depth: int = 10) -> _E:
    """Return the error, or a copy if it, or what is chained to it, quotes a secret: it becomes the cause of ours.

    The copy is of the same type where that can be made, else an `OSError`.
    """
    if depth == 0:
        return cast("_E", OSError("and more"))
    chained = [one and without_secrets(one, depth=depth - 1) for one in (error.__cause__, error.__context__)]
    notes: list[str] = getattr(error, "__notes__", [])
    is_long = isinstance(error, InvalidStatus) and len(error.response.body or b"") > _LONGEST
    if not (is_long or _quotes(f"{error!r} {error} {notes}")) and chained == [error.__cause__, error.__context__]:
        return error
    copy = _copy(error)
    copy.__cause__, copy.__context__ = chained
    copy.__suppress_context__ = error.__suppress_context__
    return copy.with_traceback(error.__traceback__)


def _copy(error: _E) -> _E:
    try:
        copy = type(error)(*_scrubbed(error.args))
        copy.__dict__.update({name: _scrubbed(value) for name, value in vars(error).items()})
        if not _quotes(f"{copy!r} {copy}"):
            return copy
    except Exception:  # noqa: BLE001, S110 -- foreign code: whatever it takes and shows
        pass
    return cast("_E", OSError(redact(f"{type(error).__name__}: {error}")))


def _quotes(text: str) -> bool:
    return redact(text) != text


def _scrubbed(value: Any) -> Any:
    """Return what an error holds without secrets."""
    match value:
        case str():
            return redact(value)
        case bytes() | bytearray():
            text = value.decode("utf-8", "backslashreplace")
            return redact(text).encode() if _quotes(text) else value
        case Close(code, reason):
            return Close(code, redact(reason))
        case Response():
            headers = Headers(
                (name, redact(f"{name}: {it}")[len(name) + 2 :]) for name, it in value.headers.raw_items()
            )
            body = _scrubbed(bytes(value.body or b"")[:_LONGEST])
            return Response(value.status_code, redact(value.reason_phrase), headers, body)
        case list() | tuple():
            values = cast("list[Any]", value)
            return type(values)(_scrubbed(one) for one in values)
        case _:
            return value


def _retry_after(value: str | None, utc_now: datetime | None) -> float | None:
    """Read seconds or an HTTP date; None for anything else."""
    if value is None:
        return None
    value = value.strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    if utc_now is None:
        return None
    if when.tzinfo is None:  # "-0000": a UTC time, says RFC 5322
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - utc_now).total_seconds())
