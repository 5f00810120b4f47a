"""One classifier: what happened to a connection, and what it means, as a table that is read as data.

Owns `Failure`, `Verdict` and the table. It never decides how long to wait or what to resend.
The rows come from what users report: a close code is a gRPC status in disguise, so the reason
(cut by the protocol to 123 bytes) is matched by its beginning, never the code alone.
"""

from __future__ import annotations

import enum

from msgspec import Struct

__all__ = ["TABLE", "CloseCode", "Failure", "Phase", "Row", "Side", "Verdict", "classify"]


class CloseCode(enum.IntEnum):
    """WebSocket close codes that the service, or a network, was seen to produce."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005
    ABNORMAL = 1006
    INVALID_ARGUMENT = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014


class Phase(enum.Enum):
    """How far the connection had come."""

    DIAL = "dial"
    """TCP, TLS, HTTP upgrade."""
    BIND = "bind"
    """From setup to setupComplete."""
    LIVE = "live"
    """After setupComplete."""


class Side(enum.Enum):
    """Who ended the connection."""

    THEY = "they"
    """A close frame of the service, or an HTTP answer."""
    WE = "we"
    """A close frame or an abort of ours: a frame over the limit, a time-out, silence."""
    NOBODY = "nobody"
    """The network: no close frame at all."""


class Verdict(enum.Enum):
    """What a failure means for the session."""

    RESUME_NOW = "resume now"
    """Scheduled or accidental; the first try needs no backoff."""
    RESUME_LATER = "resume later"
    """The service is in trouble or throttles; back off."""
    OLD_BINDING = "old binding"
    """The service still holds the old connection of this session: the same handle again."""
    HANDLE_DEAD = "handle dead"
    """The handle will never be accepted again; fresh start."""
    RENEW_CREDENTIALS = "renew credentials"
    """Once more, with new credentials."""
    FATAL = "fatal"
    """Trying again cannot help."""


class Failure(Struct, frozen=True, kw_only=True):
    """What happened to a connection, without any secret."""

    phase: Phase
    side: Side
    code: int | None = None
    """WebSocket close code; None where there was none."""
    reason: str = ""
    """Reason of the close frame, or what the exception said."""
    status: int | None = None
    """HTTP status of a refused upgrade."""
    retry_after: float | None = None
    """The service's own hint, in seconds."""
    error: BaseException | None = None
    """The transport's exception, for the cause of ours."""

    def __str__(self) -> str:
        if self.status is not None:
            return f"HTTP {self.status} {self.reason}".rstrip()
        if self.code is not None:
            return f"{self.code} {self.reason}".rstrip()
        return self.reason or self.side.value


class Row(Struct, frozen=True, kw_only=True):
    """One line of the table; a field that is None matches everything."""

    verdict: Verdict
    codes: frozenset[int] | None = None
    statuses: frozenset[int] | None = None
    phases: frozenset[Phase] | None = None
    side: Side | None = None
    reason: str | None = None
    """The reason begins with this, letter case apart."""
    with_handle: bool | None = None
    first_time: bool | None = None
    """True: the failure did not come before since a connection last proved itself."""
    in_grace: bool | None = None
    """True: within `Policy.old_binding_grace` of the loss."""
    renewable: bool | None = None
    """True: credentials are asked for anew at each dial."""


def _row(verdict: Verdict, codes: str = "", statuses: str = "", **conditions: object) -> Row:
    """Return a row; codes and statuses are written as words."""
    return Row(
        verdict=verdict,
        codes=frozenset(map(int, codes.split())) or None,
        statuses=frozenset(map(int, statuses.split())) or None,
        **conditions,  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] -- checked by the tests of the table
    )


_SETTING_UP = frozenset({Phase.DIAL, Phase.BIND})
_BINDING = frozenset({Phase.BIND})
_LIVE = frozenset({Phase.LIVE})
_V = Verdict

TABLE: tuple[Row, ...] = (
    # HTTP statuses of a refused upgrade.
    _row(_V.RENEW_CREDENTIALS, statuses="401 403", renewable=True, first_time=True),
    _row(_V.FATAL, statuses="400 401 403 404 405 410 422"),
    _row(_V.RESUME_LATER, statuses="408 425 429 500 502 503 504"),
    # Our own doing: the same bytes would do it again.
    _row(_V.FATAL, "1009", side=Side.WE),
    _row(_V.RESUME_NOW, side=Side.WE, first_time=True),
    _row(_V.RESUME_LATER, side=Side.WE),
    # The handle is not known (any more).
    _row(_V.HANDLE_DEAD, "1007 1008", reason="invalid session handle", with_handle=True),
    _row(_V.HANDLE_DEAD, "1008", reason="bidigeneratecontent session", with_handle=True),
    _row(_V.RESUME_LATER, "1008", reason="bidigeneratecontent session", phases=_LIVE),
    # 1007 otherwise: a bad frame, a full context or a bad handle, nobody can tell which.
    _row(_V.FATAL, "1007", reason="invalid json payload received"),
    _row(_V.HANDLE_DEAD, "1007", phases=_BINDING, with_handle=True),
    _row(_V.FATAL, "1007", phases=_SETTING_UP),
    _row(_V.RESUME_LATER, "1007", phases=_LIVE, first_time=True),
    _row(_V.FATAL, "1007", phases=_LIVE),
    # 1008 is permission, an age limit, or an unknown tool call id, by its reason.
    _row(_V.RESUME_NOW, "1008", reason="the operation was aborted"),
    _row(_V.RESUME_LATER, "1008", reason="operation is not implemented", phases=_LIVE, first_time=True),
    _row(_V.RESUME_LATER, "1008", reason="requested entity was not found", phases=_LIVE, first_time=True),
    _row(_V.HANDLE_DEAD, "1008", reason="requested entity was not found", with_handle=True),
    _row(_V.RESUME_LATER, "1008", reason="requested entity was not found", phases=_LIVE),
    _row(_V.FATAL, "1008", phases=_SETTING_UP),
    _row(_V.FATAL, "1008", reason="models/"),
    _row(_V.FATAL, "1008", reason="your api key"),
    _row(_V.RESUME_LATER, "1008", phases=_LIVE, first_time=True),
    _row(_V.FATAL, "1008"),
    # 1011 is an age limit, an outage, a quota, or the old connection that is not released yet.
    _row(_V.RESUME_NOW, "1011", reason="deadline expired"),
    _row(_V.RESUME_NOW, "1011", reason="the operation was aborted"),
    _row(_V.RESUME_LATER, "1011", reason="the service is currently unavailable"),
    _row(_V.RESUME_LATER, "1011", reason="you exceeded your current quota"),
    _row(_V.RESUME_LATER, "1011", reason="resource has been exhausted"),
    _row(_V.OLD_BINDING, "1011", phases=_BINDING, with_handle=True, in_grace=True),
    _row(_V.HANDLE_DEAD, "1011", phases=_BINDING, with_handle=True),
    _row(_V.RESUME_LATER, "1011"),
    # What no retry can mend.
    _row(_V.FATAL, "1002 1003 1009"),
    # Endings and outages.
    _row(_V.RESUME_NOW, "1000 1001 1005 1006 1012", phases=_LIVE, first_time=True),
    _row(_V.RESUME_NOW, phases=_LIVE, side=Side.NOBODY, first_time=True),
    _row(_V.RESUME_LATER),
)
"""Read from the top; the first row whose conditions all hold gives the verdict."""


def classify(failure: Failure, *, with_handle: bool, first_time: bool, in_grace: bool, renewable: bool) -> Verdict:
    """Return the verdict of the first row of `TABLE` that matches.

    An unknown code falls through to the last row: it may pass, so it is tried again with backoff.
    """
    reason = failure.reason.lower()
    for row in TABLE:
        if (
            (row.codes is None or failure.code in row.codes)
            and (row.statuses is None or failure.status in row.statuses)
            and (row.phases is None or failure.phase in row.phases)
            and (row.side is None or failure.side is row.side)
            and (row.reason is None or reason.startswith(row.reason))
            and row.with_handle in (None, with_handle)
            and row.first_time in (None, first_time)
            and row.in_grace in (None, in_grace)
            and row.renewable in (None, renewable)
        ):
            return row.verdict
    raise AssertionError  # pragma: no cover -- the last row has no conditions
