"""From exceptions to `Failure`: who ended the connection, with what, and nothing secret in it."""

from __future__ import annotations

import ssl
import traceback
from datetime import UTC, datetime

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import (
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
)
from websockets.frames import Close
from websockets.http11 import Response

from resumekit.core.failures import Phase, Side
from resumekit.drivers import failure_of
from resumekit.drivers.failures import is_of_the_transport

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
CANARY = "CANARY-HANDLE-123456"


def closed(rcvd=None, sent=None, order=None):
    kind = ConnectionClosedOK if (rcvd or sent or (0,))[0] in (1000, 1001) else ConnectionClosedError
    return kind(rcvd and Close(*rcvd), sent and Close(*sent), order)


@pytest.mark.parametrize(
    ("error", "side", "code", "reason"),
    [
        (closed((1011, "deadline expired"), (1011, ""), True), Side.THEY, 1011, "deadline expired"),
        (closed((1000, ""), None), Side.THEY, 1000, ""),
        (closed((1000, ""), (1000, ""), False), Side.WE, 1000, ""),
        (closed((1009, ""), (1009, "over size"), False), Side.WE, 1009, "over size"),
        (closed(None, (1009, "over size")), Side.WE, 1009, "over size"),
        (closed(None, (1011, "keepalive ping timeout")), Side.WE, 1011, "keepalive ping timeout"),
        (closed(), Side.NOBODY, 1006, ""),
    ],
)
def test_a_close_tells_who_closed_first(error, side, code, reason):
    failure = failure_of(error, Phase.LIVE)

    assert (failure.phase, failure.side, failure.code, failure.reason) == (Phase.LIVE, side, code, reason)
    assert failure.error is error


def test_what_broke_the_connection_is_told():
    error = closed()
    error.__cause__ = ConnectionResetError(104, "reset by peer")

    assert failure_of(error, Phase.BIND).reason == "ConnectionResetError: [Errno 104] reset by peer"


def refused(status, reason="Sorry", body=b"", **headers):
    return InvalidStatus(Response(status, reason, Headers(headers), body))


def test_a_refused_upgrade_has_its_status_and_what_the_service_said():
    body = b'{"error": {"code": 403,\n  "message": "Method doesn\'t allow unregistered callers"}}'
    failure = failure_of(refused(403, "Forbidden", body), Phase.DIAL)

    assert (failure.side, failure.status, failure.code) == (Side.THEY, 403, None)
    assert str(failure).startswith("HTTP 403 Forbidden: {")
    assert "unregistered callers" in failure.reason
    assert "\n" not in failure.reason


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("0.5", 0.5),
        ("Sun, 22 Nov 2026 10:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 10:00:30 -0000", 30.0),
        ("Sun, 22 Nov 2026 09:00:00 GMT", 0.0),
        ("soon", None),
        ("-3", None),
        ("9" * 400, None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    error = refused(503, **{"Retry-After": value})

    assert failure_of(error, Phase.DIAL, utc_now=NOW).retry_after == seconds


def test_a_date_is_not_read_without_a_clock_and_no_header_is_no_hint():
    assert failure_of(refused(429, **{"Retry-After": "Sun, 22 Nov 2026 10:00:30 GMT"}), Phase.DIAL).retry_after is None
    assert failure_of(refused(429), Phase.DIAL).retry_after is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError("timed out during opening handshake"), "TimeoutError: timed out during opening handshake"),
        (ConnectionRefusedError(111, "refused"), "ConnectionRefusedError: [Errno 111] refused"),
        (ssl.SSLError(1, "handshake failure"), "SSLError: (1, 'handshake failure')"),
        (
            InvalidMessage("did not receive a valid HTTP response"),
            "InvalidMessage: did not receive a valid HTTP response",
        ),
        (InvalidHandshake(), "InvalidHandshake"),
    ],
)
def test_everything_else_is_the_network(error, reason):
    failure = failure_of(error, Phase.DIAL)

    assert (failure.side, failure.code, failure.status, failure.error) == (Side.NOBODY, None, None, error)
    assert failure.reason.startswith(reason.partition(":")[0])
    assert is_of_the_transport(error)


@pytest.mark.parametrize("error", [InvalidURI("http://x", "not ws"), ssl.SSLCertVerificationError(), ValueError()])
def test_a_wrong_argument_is_not_the_network(error):
    assert not is_of_the_transport(error)


def test_no_secret_is_in_a_failure_or_in_its_error():
    reason = f'bad {{"handle": "{CANARY}"}}'
    failures = [
        failure_of(closed((1008, reason), (1008, reason), True), Phase.BIND),
        failure_of(closed((1007, reason), None), Phase.BIND),
        failure_of(refused(400, body=reason.encode()), Phase.DIAL),
        failure_of(OSError(f"wss://x/?key={CANARY}"), Phase.DIAL),
    ]

    for failure in failures:
        assert CANARY not in f"{failure} {failure!r} {failure.error!r} {failure.error}"
    for failure in failures[:2]:
        assert failure.error.rcvd.code in (1007, 1008)
    assert failures[2].error.response.status_code == 400


class Odd(Exception):
    """Is made of other things than it holds."""

    def __init__(self, one, two):
        super().__init__(f"{one}={two}")


class Stubborn(Exception):
    def __repr__(self):
        return f"key={CANARY}"


def chained(error, cause=None, context=None):
    if cause is not None:
        error.__cause__ = cause
    error.__context__ = context
    return error


@pytest.mark.parametrize(
    "error",
    [
        Odd("key", CANARY),
        Stubborn(),
        KeyError("x", [f"token={CANARY}"], (b'{"handle": "' + CANARY.encode() + b'"}',)),
        UnicodeDecodeError("utf-8", b"no handle=" + CANARY.encode() + b"\xff", 30, 31, "invalid start byte"),
        chained(ConnectionResetError(104, "reset"), cause=Odd("key", CANARY)),
        chained(TimeoutError(), context=chained(OSError("x"), cause=ValueError(f"key={CANARY}"))),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_secret_is_in_what_is_chained(error):
    shown = failure_of(error, Phase.DIAL).error
    told = "".join(traceback.format_exception(shown)) + repr(shown)
    assert CANARY not in told
    assert shown is not error
    if shown.__cause__ or shown.__context__:
        assert type(shown) is type(error)


def test_a_note_is_shown_without_secrets():
    error = OSError("no")
    error.add_note(f"asked with key={CANARY}")
    assert failure_of(error, Phase.DIAL).error.__notes__ == ["asked with key=[redacted]"]


def test_an_endless_chain_is_cut():
    error = OSError("last")
    for _ in range(2000):
        error = chained(OSError("x"), context=error)
    assert len(traceback.format_exception(failure_of(error, Phase.DIAL).error)) < 200
