"""How long the service keeps one session, however many connections it takes: as data, and counted for one session."""

from __future__ import annotations

import math

from msgspec import Struct

from resumekit.core.events import SessionExpiring
from resumekit.core.policy import Policy
from resumekit.core.setup import Setup
from resumekit.core.timers import Timers

__all__ = ["LIMITS", "Limit", "SessionAge"]


class Limit(Struct, frozen=True):
    """One line of the table; a condition that is None always holds."""

    seconds: float
    vertex: bool | None = None
    video: bool | None = None

    def holds(self, *, vertex: bool, video: bool) -> bool:
        """Whether it applies to a session."""
        return self.vertex in (None, vertex) and self.video in (None, video)


LIMITS: tuple[Limit, ...] = (
    Limit(15 * 60.0),
    Limit(2 * 60.0, video=True),
    Limit(10 * 60.0, vertex=True),
)
"""The shortest one that holds counts. None does where context window compression is on."""


class SessionAge:
    """Counts the service's session: from its first connection on, across resumes, up to a fresh start.

    Sets the timer `limit`; call `expire` when it runs out.
    """

    __slots__ = ("_limit", "_limited", "_policy", "_since", "_timers", "_vertex", "renewing", "video")

    def __init__(self, policy: Policy, setup: Setup, timers: Timers) -> None:
        self._policy = policy
        self._timers = timers
        self._vertex = setup.on_vertex
        self._limited = policy.session_limit is not None or not setup.compresses
        self._since = 0.0
        self._limit = math.inf
        self.video = False
        """A video frame was sent in it."""
        self.renewing = False
        """Its end is near, and the next connection is a fresh start."""

    def begin(self, now: float) -> None:
        """Count from now: the service has a new session."""
        self._since = now
        self._limit = math.inf
        self.video = self.renewing = False
        self._look_up()

    def show_video(self, now: float) -> None:
        """Note the first video frame: the limit may be shorter now."""
        self.video = True
        self._look_up()
        self._timers.postpone(now, "limit")

    def seconds_left(self, now: float) -> float:
        """Return how long the session may still last."""
        return max(0.0, self._since + self._limit - now)

    def expire(self, now: float) -> SessionExpiring:
        """Return what to tell, and go by the policy."""
        self.renewing = self._policy.at_session_limit == "fresh_start"
        return SessionExpiring(seconds_left=self.seconds_left(now), limit=self._limit)

    def _look_up(self) -> None:
        """Find the limit, and set the timer where it is shorter than what was known."""
        limit = self._policy.session_limit
        if limit is None:
            limit = min(row.seconds for row in LIMITS if row.holds(vertex=self._vertex, video=self.video))
        if self._limited and limit < self._limit:
            self._limit = limit
            # A short limit is told half-way, or a session with video would be over as soon as it began.
            self._timers["limit"] = self._since + limit - min(self._policy.session_limit_warning, limit / 2)
