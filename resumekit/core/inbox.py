"""Frames on their way to the app: what it has not taken can still be taken back (RULES 9)."""

from __future__ import annotations

import enum

from msgspec import Struct

from resumekit.core.turns import Call, Turn
from resumekit.wire import (
    MediaShape,
    ServerMessage,
    decode_server,
    input_transcription_frame,
    tool_call_cancellation_frame,
)

__all__ = ["Inbox", "Item", "Kind", "Origin"]


class Kind(enum.Enum):
    """What becomes of a frame when its turn is cut before the app took it."""

    OUTPUT = "output"
    """Dropped: the turn is answered again. A tool call in it is forgotten: its repetition is new."""
    KEEP = "keep"
    """Stays: endings, interruptions, cancellations, updates."""


class Origin(Struct, frozen=True, eq=False):
    """What a frame belongs to; pieces of media that follow each other share it."""

    kind: Kind = Kind.KEEP
    turn: Turn | None = None
    part: int = 0
    """Of the turn."""
    calls: tuple[Call, ...] = ()
    """Those that the frame issues, or cancels."""
    shape: MediaShape | None = None
    """Of media that are not decoded yet."""


class Item(Struct, eq=False):
    """One frame for the app."""

    frame: ServerMessage | bytes
    """Bytes: plain media, as they came."""
    origin: Origin

    @property
    def message(self) -> ServerMessage:
        """The frame, decoded now if it was not yet."""
        frame = self.frame
        if isinstance(frame, bytes):
            assert self.origin.shape is not None
            self.frame = frame = self.origin.shape.message(frame)
        return frame

    @property
    def size(self) -> int:
        """In bytes."""
        frame = self.frame
        return len(frame if isinstance(frame, bytes) else frame.raw)


class Inbox:
    """A queue that knows which turn each frame belongs to. Mostly empty: a deque would take 700 bytes more."""

    __slots__ = ("_bytes", "_items", "_max_bytes", "_max_frames", "full")

    def __init__(self, *, max_frames: int, max_bytes: int) -> None:
        self._items: list[Item] = []
        self._bytes = 0
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self.full = False
        """The socket should not be read: a bound was reached, and less than half of it has been taken since."""

    def __len__(self) -> int:
        return len(self._items)

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._bytes

    def put(
        self, message: ServerMessage, kind: Kind = Kind.KEEP, turn: Turn | None = None, calls: tuple[Call, ...] = ()
    ) -> None:
        """Append a frame. Endings put by the engine may go beyond the bounds."""
        self._items.append(Item(message, Origin(kind, turn, 0 if turn is None else turn.part, calls)))
        self._bytes += len(message.raw)
        self.full = self.full or len(self._items) >= self._max_frames or self._bytes >= self._max_bytes

    def put_media(self, frame: bytes, origin: Origin) -> bool:
        """Append one more piece of plain media, undecoded, unless a bound would be reached by it."""
        size = self._bytes + len(frame)
        if self.full or size >= self._max_bytes or len(self._items) + 1 >= self._max_frames:
            return False
        self._items.append(Item(frame, origin))
        self._bytes = size
        return True

    def take(self) -> Item | None:
        """Hand the next frame over; from now on the app has seen it."""
        if not self._items:
            return None
        item = self._items.pop(0)
        frame = item.frame
        self._bytes -= len(frame if isinstance(frame, bytes) else frame.raw)
        if self.full:
            self._drained()
        origin = item.origin
        turn = origin.turn
        if turn is None:
            return item
        if origin.kind is not Kind.KEEP:
            # A tool call alone is nothing to be interrupted, nor is what belongs to a part that is over.
            if not turn.shown and origin.part >= turn.parts:
                turn.shown = origin.shape is not None or item.message.server_content is not None
            for call in origin.calls:
                call.taken = True
        elif (content := item.message.server_content) is not None and content.interrupted:
            turn.shown = False
        return item

    def discard(self, turn: Turn) -> int:
        """Drop the output and tool calls of the part that was cut, as far as the app has not taken them."""
        kept = [
            item
            for item in self._items
            if item.origin.turn is not turn or item.origin.part < turn.parts or self._stays(item)
        ]
        dropped = len(self._items) - len(kept)
        self._items = kept
        self._bytes = sum(item.size for item in kept)
        self._drained()
        return dropped

    def _drained(self) -> None:
        if self.full:
            self.full = len(self._items) * 2 > self._max_frames or self._bytes * 2 > self._max_bytes

    @staticmethod
    def _stays(item: Item) -> bool:
        """Whether a frame of a cut turn is still for the app; of a cancellation, what it names of calls that it got."""
        origin = item.origin
        if origin.shape is not None:
            return False
        if origin.kind is not Kind.KEEP:
            content = item.message.server_content
            if content is None or content.input_transcription is None:
                return False
            # What was heard of the question stays: it is not shown again.
            item.frame = decode_server(input_transcription_frame(content.input_transcription))
            item.origin = Origin(Kind.KEEP, origin.turn, origin.part)
            return True
        taken = [call for call in origin.calls if call.taken]
        if taken and len(taken) < len(origin.calls):
            item.frame = decode_server(tool_call_cancellation_frame([call.app_id for call in taken]))
        return bool(taken) or not origin.calls
