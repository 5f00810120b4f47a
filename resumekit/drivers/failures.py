"""From the transport's exceptions to the engine's `Failure`: one pure function, and nothing else reads them."""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from websockets import exceptions
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException
from websockets.frames import Close

from resumekit.core.failures import CloseCode, Failure, Phase, Side
from resumekit.wire import redact

__all__ = ["TRANSPORT_ERRORS", "failure_of", "is_of_the_transport"]

TRANSPORT_ERRORS = (OSError, EOFError, WebSocketException)
"""What a connection may end with, or a dial fail with; TimeoutError and ssl.SSLError are kinds of OSError."""

_NOT_THE_NETWORK = (
    InvalidURI,
    getattr(exceptions, "InvalidProxy", InvalidURI),  # websockets 15 and later
    ssl.SSLCertVerificationError,
)
"""Trying again would not help a first connection."""
_QUOTED = 200
"""Characters that are shown of the answer to a refused upgrade."""


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
    if isinstance(error, ConnectionClosed):
        return _closed(error, phase)
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
            error=error,
        )
    text = redact(str(error))
    reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
    told = (
        None if text != str(error) and isinstance(error, _NOT_THE_NETWORK) else error
    )  # it would become the cause of ours
    return Failure(phase=phase, side=Side.NOBODY, reason=reason, error=told)


def _closed(error: ConnectionClosed, phase: Phase) -> Failure:
    error = _without_secrets(error)
    if error.rcvd is not None and error.rcvd_then_sent is not False:
        return Failure(phase=phase, side=Side.THEY, code=error.rcvd.code, reason=error.rcvd.reason, error=error)
    if error.sent is not None:
        return Failure(phase=phase, side=Side.WE, code=error.sent.code, reason=error.sent.reason, error=error)
    # What broke it (a reset, a TLS error) is chained by websockets.
    reason = "" if error.__cause__ is None else redact(f"{type(error.__cause__).__name__}: {error.__cause__}")
    return Failure(phase=phase, side=Side.NOBODY, code=CloseCode.ABNORMAL.value, reason=reason, error=error)


def _without_secrets(error: ConnectionClosed) -> ConnectionClosed:
    """Return the error, or a copy of it if a reason quotes a secret: it becomes the cause of ours, and is printed."""
    closes = [close and Close(close.code, redact(close.reason)) for close in (error.rcvd, error.sent)]
    if closes == [error.rcvd, error.sent]:
        return error
    copy = type(error)(closes[0], closes[1], error.rcvd_then_sent)
    copy.__cause__ = error.__cause__
    return copy


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
