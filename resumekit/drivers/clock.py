"""The time of one session: its one timer, and whether the process stood still."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

__all__ = ["DRIFT", "Clock"]

DRIFT = 1.0
"""Seconds by which the wall clock may run ahead, between two looks at it, without the machine having been suspended."""


class Clock:
    """The event loop's clock with a timer on it, and beside it the wall clock, which goes on while a machine is suspended.

    Times are those of the event loop.

    Args:
        ring: Called when the time that was set has come, or up to a tick earlier. Must not raise.
    """

    __slots__ = ("_ahead", "_loop", "_ring", "_rings_at", "_timer")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ring = ring
        self._timer: asyncio.Handle | None = None
        self._rings_at = 0.0
        """Its `when()` is not there in uvloop, if that is within the same millisecond."""
        self._ahead = time.time() - self._loop.time()
        """How far the wall clock was ahead of the loop's when it was last looked at."""

    def set(self, at: float | None) -> None:
        """Ring at this time; None: not at all. It may ring earlier, if it was set so before: look then, and set it again."""
        if self._timer is not None:
            if at is not None and self._rings_at <= at and not self._timer.cancelled():
                return  # cheaper than a new timer for each frame
            self._timer.cancel()
        self._timer = None if at is None else self._loop.call_at(at, self._fire)
        self._rings_at = 0.0 if at is None else max(at, self._loop.time())

    def _fire(self) -> None:
        if self._timer is not None:
            self._timer.cancel()  # it has fired: another one may be set
        self._ring()

    def look(self, now: float) -> tuple[float, float]:
        """Return what tells that the process stood still, in seconds; the next look is about what comes after this one.

        Returns:
            For how long the monotonic clock stood still while the wall clock went on (the machine was suspended), and how
            late the timer is (SIGSTOP, or a busy loop); each may be a little below 0.
        """
        ahead = time.time() - now
        asleep, self._ahead = ahead - self._ahead, ahead
        return asleep, 0.0 if self._timer is None else now - self._rings_at

    def excuse(self, now: float) -> None:
        """Count the timer as late no further than from now on."""
        self._rings_at = max(self._rings_at, now)

    def asleep(self, now: float) -> float:
        """Return the seconds for which the machine was suspended since the last look, 0 if it does not seem so."""
        asleep = time.time() - now - self._ahead
        return asleep if asleep > DRIFT else 0.0
