"""A loop for both ends of loopback connections whose clock jumps: sockets are real, waiting takes no time.

So whatever is to come within a second does, and what is to come after one does not, however busy the machine is.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from unittest import mock

from tests.proofs.virtual import run_by

__all__ = ["in_jumping_time", "run"]

_ON_ITS_WAY = 0.001
"""Real seconds in which what was written to a loopback socket arrives: it does so within the call that writes it."""
_BEGAN = 1_790_000_000.0
"""By the wall clock."""


class _Jumping(selectors.DefaultSelector):
    """Where no socket has anything, the time that was to be waited is over at once."""

    def __init__(self):
        super().__init__()
        self.skipped = 1000.0

    def select(self, timeout=None):
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(_ON_ITS_WAY)
        if not ready:
            self.skipped += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop in virtual time, for both ends of loopback connections."""

    def __init__(self):
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self):
        return self._jumping.skipped

    def wall_clock(self):
        return _BEGAN + self.time()


def run(main):
    """Run a coroutine to its end, and leave nothing behind."""
    loop = JumpingLoop()  # no asyncio.Runner: it would unset the loop that pytest-asyncio keeps
    try:
        with mock.patch.object(time, "time", loop.wall_clock):
            result = loop.run_until_complete(main)
        assert asyncio.all_tasks(loop) == set()
        return result
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(1))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def in_jumping_time(test):
    """Make a test of an async one."""
    return run_by(run, test)
