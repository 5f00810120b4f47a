"""The engine's timers: names and moments, in one place. Nothing here knows what a timer is for."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Literal, TypeAlias

__all__ = ["TimerName", "Timers"]

# fmt: off
TimerName: TypeAlias = Literal[
    "dial", "bind", "history", "first", "proof", "outage", "retry", "drain", "warm", "handle", "release", "silence",
    "progress", "rebind", "owed", "pace", "limit", "drops",
]
# fmt: on


class Timers(dict[TimerName, float]):
    """When to do what; a timer that is not set is not there."""

    __slots__ = ()

    def due(self, name: TimerName, now: float) -> bool:
        """Whether a timer is set, and has run out."""
        return self.get(name, math.inf) <= now

    def stop(self, *names: TimerName) -> None:
        """Unset timers, whether they are set or not."""
        for name in names:
            self.pop(name, None)

    def keep(self, names: Collection[TimerName]) -> None:
        """Unset all but these."""
        self.stop(*(set(self) - set(names)))

    def shift(self, seconds: float, *names: TimerName) -> None:
        """Let timers that are set run out later."""
        for name in set(names) & set(self):
            self[name] += seconds

    def postpone(self, until: float, *names: TimerName) -> None:
        """Let timers that are set not run out before `until`."""
        for name in set(names) & set(self):
            self[name] = max(self[name], until)
