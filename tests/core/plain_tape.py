"""A tape as it would be written if nothing had to be fast: a list, looked at frame by frame."""

from __future__ import annotations

import sys

from resumekit.core.tape import Sent, nanoseconds
from resumekit.wire import ClientMessage

GRAIN = 64


class PlainTape:
    """Has the methods of `Tape`."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.frames: list[Sent] = []
        self.length = 0
        self.gone: list[list[int]] = []
        """First and last index, and length, of what went together."""

    def __len__(self) -> int:
        return len(self.frames)

    def pause(self) -> None:
        pass

    def append(self, seq: int, index: int, body: ClientMessage) -> None:
        self.frames.append(Sent(seq, index, body))
        self.length += nanoseconds(body.media_seconds)
        while self.length > self.room:
            gone = self.frames.pop(0)
            self.length -= nanoseconds(gone.body.media_seconds)
            if not self.gone or gone.index >= self.gone[-1][0] + GRAIN:
                self.gone.append([gone.index, 0, 0])
            self.gone[-1][1] = gone.index
            self.gone[-1][2] += nanoseconds(gone.body.media_seconds)

    def take(self, before: int = sys.maxsize) -> list[Sent]:
        taken = [frame for frame in self.frames if frame.index < before]
        self.frames = self.frames[len(taken) :]
        self.length -= sum(nanoseconds(frame.body.media_seconds) for frame in taken)
        return taken

    def seq_at(self, index: int) -> int:
        return max((frame.seq for frame in self.frames if frame.index <= index), default=0)

    def lacks(self, after: int, until: int) -> bool:
        return any(last > after and first <= until for first, last, _ in self.gone)

    def forget_gone(self, until: int = sys.maxsize) -> float:
        forgotten = [grain for grain in self.gone if grain[1] <= until]
        self.gone = self.gone[len(forgotten) :]
        return sum(length for *_, length in forgotten) / 1e9
