"""How long the session has been unwell, and when the next dial may happen.

A connection that was only accepted has proved nothing: attempts are forgotten when one completed
a turn, or stayed up for `Policy.proven_after`, and not before.
"""

from __future__ import annotations

from resumekit.core.failures import Failure, Verdict
from resumekit.core.outbox import Outbox
from resumekit.core.policy import Decisions, DelayDetails, Exactly, Policy
from resumekit.errors import ConnectFailed, ConnectRefused, ResumekitError, SessionLost

__all__ = ["Outage"]

_DIALS = 10
"""Dials without proof that may fall into one window, whatever a hook says."""
_WINDOW = 2.0
"""Length of the window, in units of `Policy.proven_after`: 60 s by default."""


class Outage:
    """Attempts since a connection last proved itself."""

    __slots__ = ("_dials", "_failures", "_policy", "attempts", "since")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._dials: tuple[float, ...] = ()
        """When; the newest of them."""
        self._failures: dict[tuple[object, ...], int] = {}
        self.attempts = 0
        """Dials since then."""
        self.since: float | None = None
        """When the last proven connection ended, or the first dial began."""

    def begin(self, now: float) -> None:
        """Note that something failed; an outage that already runs goes on."""
        if self.since is None:
            self.since = now

    def dialled(self, now: float, *, ahead: bool) -> None:
        """Count a dial; one that was made ahead of a move is no new attempt."""
        self.attempts += not ahead
        self._dials = (*self._dials[1 - _DIALS :], now)

    def slept(self, seconds: float, now: float) -> None:
        """Do not count a time in which nothing could be tried."""
        if self.since is not None:
            self.since = min(self.since + seconds, now)

    def proved(self) -> None:
        """Forget everything: the session is well."""
        self.attempts = 0
        self.since = None
        self._dials = ()
        self._failures.clear()

    def elapsed(self, now: float) -> float:
        """Return the seconds since the session was last well."""
        return 0.0 if self.since is None else now - self.since

    def count(self, failure: Failure) -> int:
        """Return how often the same failure came before, and count this one."""
        kind = (failure.phase, failure.side, failure.code, failure.status, failure.reason)
        before = self._failures.get(kind, 0)
        self._failures[kind] = before + 1
        return before

    def delay(
        self,
        decisions: Decisions,
        *,
        verdict: Verdict,
        retry_after: float | None,
        draw: float,
        now: float,
        lost_ahead: int = 0,
    ) -> float:
        """Return the seconds until the next dial: jittered, and never against a hint or the window.

        Args:
            decisions: who is asked for the upper bound.
            verdict: what the failure means.
            retry_after: the service's hint, in seconds.
            draw: from [0, 1).
            now: monotonic seconds.
            lost_ahead: how many dials ahead of one move failed; the window then keeps one back for the move itself.
        """
        bound = decisions.choose_delay(
            DelayDetails(
                attempt=lost_ahead or self.attempts + 1,
                seconds_down=self.elapsed(now),
                verdict=verdict,
                retry_after=retry_after,
                policy=self._policy,
            )
        )
        delay = bound.seconds if isinstance(bound, Exactly) else bound * draw
        if retry_after is not None:
            delay = max(delay, retry_after)
        return max(delay, self.closed_for(now, dials=_DIALS - bool(lost_ahead)))

    def closed_for(self, now: float, dials: int = _DIALS) -> float:
        """Return how long the window, of so many dials, forbids another one."""
        if len(self._dials) < dials:
            return 0.0
        return max(0.0, self._dials[-dials] + _WINDOW * self._policy.proven_after - now)

    def no_session(self, failure: Failure, *, refused: bool, now: float) -> ResumekitError:
        """Return the error of a session that never began."""
        if refused:
            return ConnectRefused(str(failure))
        return ConnectFailed(str(failure), attempts=self.attempts, elapsed=self.elapsed(now))

    def session_lost(self, failure: Failure, outbox: Outbox, *, refused: bool, now: float) -> ResumekitError:
        """Return the error that ends a session: what happened, what was lost, what to do."""
        fresh = "start a new session with history=..."
        return SessionLost(
            str(failure),
            attempts=self.attempts,
            elapsed=self.elapsed(now),
            close_code=failure.code,
            status_code=failure.status,
            unsent_messages=len(outbox.control.unsent),
            unsent_audio=outbox.audio.unsent_seconds,
            advice=f"trying again would not help; {fresh}" if refused else f"raise Policy.max_outage, or {fresh}",
        )
