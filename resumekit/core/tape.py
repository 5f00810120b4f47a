"""Audio that was sent, kept up to a length. One more frame like the last one costs little but its place in a deque.

Frames are numbered in runs, not each by itself, and where all are equally long, the deque lets the oldest go: what it
did is reckoned up as soon as somebody asks. Nothing here knows why a frame is kept.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from functools import lru_cache

from msgspec import Struct

from resumekit.wire import ClientMessage

__all__ = ["Sent", "Tape", "nanoseconds"]

_GRAIN = 64
"""Frames that are accounted for together, once they are gone."""
_SECOND = 1_000_000_000
_NEVER = -1.0
_NOTHING: deque[ClientMessage] = deque(maxlen=0)
"""An empty deque takes 760 bytes; most sessions that wait have no audio."""


@lru_cache(64)
def nanoseconds(seconds: float) -> int:
    """Return a length as a whole number, as sums of them do not depend on their order."""
    return round(seconds * _SECOND)


class Sent(Struct, frozen=True):
    """One frame of audio, with its position among the messages of the app and its index on the connection."""

    seq: int
    index: int
    body: ClientMessage


class _Run(Struct, gc=False):
    """Frames that follow each other in both numbers."""

    index: int
    """Of the first one."""
    end: int
    """Index of the next one, were there any."""
    ahead: int
    """How far their positions are ahead of their indices."""


class _Grain(Struct, gc=False):
    """Audio that is gone, by the indices of its first and last frame."""

    first: int
    last: int = 0
    length: int = 0


class Tape:
    """The newest frames of sent audio, and which are gone since somebody took note.

    Args:
        room: nanoseconds of audio that are kept. Pause before it is changed.
    """

    __slots__ = ("_alike", "_bodies", "_each", "_gone", "_keep", "_length", "_newest", "_row", "_runs", "room")

    def __init__(self, room: int) -> None:
        self.room = room
        self._bodies = _NOTHING
        self._keep: Callable[[ClientMessage], None] = _NOTHING.append
        self._runs: list[_Run] = []
        self._length: int = 0
        """Of all that is kept, as of the last pause, in nanoseconds ..."""
        self._each: int = 0
        """... of the newest frame ..."""
        self._row: int = 0
        """... and how many of the newest ones are as long."""
        self._alike = _NEVER
        """Seconds of each frame, while a next one of this length belongs to the last run."""
        self._newest = 0
        """Index of the newest frame."""
        self._gone: list[_Grain] = []

    def __len__(self) -> int:
        return len(self._bodies)

    def append(self, seq: int, index: int, body: ClientMessage) -> None:
        """Keep a frame; the oldest ones go. If it does not follow the last one in both numbers, `pause` before."""
        if body.media_seconds == self._alike:
            self._keep(body)
            self._newest = index
        else:
            self._append_other(seq, index, body)

    def pause(self) -> None:
        """Reckon up, and take nothing for granted of the next frame."""
        if self._alike == _NEVER:
            return
        self._alike = _NEVER
        run = self._runs[-1]
        fresh = self._newest + 1 - run.end
        run.end += fresh
        self._row += fresh
        self._length += fresh * self._each
        self._let_go(self._length // self._each - len(self._bodies), self._each)

    def take(self, before: int = sys.maxsize) -> list[Sent]:
        """Hand over the frames whose index is below `before`, from the oldest."""
        self.pause()
        taken: list[Sent] = []
        while self._runs and self._runs[0].index < before:
            run = self._runs[0]
            end = min(run.end, before)
            taken += [Sent(index + run.ahead, index, self._bodies.popleft()) for index in range(run.index, end)]
            run.index = end
            if end == run.end:
                self._runs.pop(0)
        self._length -= sum(nanoseconds(frame.body.media_seconds) for frame in taken)
        return taken

    def seq_at(self, index: int) -> int:
        """Return the position of the last frame up to an index; 0: there is none."""
        self.pause()
        return max((min(run.end - 1, index) + run.ahead for run in self._runs if run.index <= index), default=0)

    def lacks(self, after: int, until: int) -> bool:
        """Whether any frame with an index in this span was let go."""
        self.pause()
        return any(grain.last > after and grain.first <= until for grain in self._gone)

    def forget_gone(self, until: int = sys.maxsize) -> float:
        """Take note of what was let go up to an index; return its seconds, more or less."""
        self.pause()
        forgotten = sum(grain.length for grain in self._gone if grain.last <= until)
        self._gone = [grain for grain in self._gone if grain.last > until]
        return forgotten / _SECOND

    def _append_other(self, seq: int, index: int, body: ClientMessage) -> None:
        if self._alike != _NEVER:
            self.pause()
        length = nanoseconds(body.media_seconds)
        self._row = self._row + 1 if length == self._each else 1
        self._each = length
        self._length += length
        runs, bodies = self._runs, self._bodies
        if runs and runs[-1].end == index and runs[-1].ahead == seq - index:
            runs[-1].end = index + 1
        else:
            runs.append(_Run(index, index + 1, seq - index))
        bounded = bodies.maxlen
        most = self.room // length if length and self._row > len(bodies) else None
        if most is None or most != bounded:
            if bounded is not None:
                self._bodies = bodies = deque(bodies)
            bodies.append(body)
            while self._length > self.room:
                self._let_go(1, nanoseconds(bodies.popleft().media_seconds))
            if most:
                self._bodies = bodies = deque(bodies, most)
        else:
            if len(bodies) == most:
                self._let_go(1, length)
            bodies.append(body)
        if most:
            self._newest = index
            self._keep = bodies.append
            self._alike = body.media_seconds

    def _let_go(self, frames: int, length: int) -> None:
        """Note that so many frames went, each of them so long."""
        self._length -= frames * length
        while frames:
            run = self._runs[0]
            first = run.index
            grain = self._gone[-1] if self._gone else None
            if grain is None or not 0 <= first - grain.first < _GRAIN:
                grain = _Grain(first)
                self._gone.append(grain)
            some = 1 if frames == 1 else min(frames, run.end - first, grain.first + _GRAIN - first)
            run.index = end = first + some
            if end == run.end:
                self._runs.pop(0)
            grain.last = end - 1
            grain.length += some * length
            frames -= some
