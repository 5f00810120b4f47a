"""Frames on their way to the app: what it has not taken can still be taken back (RULES 9)."""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass

from resumekit.core.turns import Call, Turn
from resumekit.wire import ServerMessage, decode_server, input_transcription_frame, tool_call_cancellation_frame

__all__ = ["Inbox", "Item", "Kind"]


class Kind(enum.Enum):
    """What becomes of a frame when its turn is cut before the app took it."""

    OUTPUT = "output"
    """Dropped: the turn is answered again. A tool call in it is forgotten: its repetition is new."""
    KEEP = "keep"
    """Stays: endings, interruptions, cancellations, updates."""


@dataclass(slots=True, eq=False)
class Item:
    """One frame for the app."""

    message: ServerMessage
    kind: Kind
    turn: Turn | None
    calls: tuple[Call, ...]
    """Those that the frame issues, or cancels."""
    part: int
    """Of the turn."""
    size: int


class Inbox:
    """A queue that knows which turn each frame belongs to."""

    def __init__(self, *, max_frames: int, max_bytes: int) -> None:
        self._items: deque[Item] = deque()
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
        size = len(message.raw)
        self._items.append(Item(message, kind, turn, calls, 0 if turn is None else turn.part, size))
        self._bytes += size
        self.full = self.full or len(self._items) >= self._max_frames or self._bytes >= self._max_bytes

    def take(self) -> ServerMessage | None:
        """Hand the next frame over; from now on the app has seen it."""
        if not self._items:
            return None
        item = self._items.popleft()
        self._bytes -= item.size
        self._drained()
        if item.turn is not None:
            if item.kind is not Kind.KEEP:
                # A tool call alone is nothing to be interrupted, nor is what belongs to a part that is over.
                item.turn.shown |= item.message.server_content is not None and item.part >= item.turn.parts
                for call in item.calls:
                    call.taken = True
            elif item.message.server_content is not None and item.message.server_content.interrupted:
                item.turn.shown = False
        return item.message

    def discard(self, turn: Turn) -> int:
        """Drop the output and tool calls of the part that was cut, as far as the app has not taken them."""
        kept = [item for item in self._items if item.turn is not turn or item.part < turn.parts or self._stays(item)]
        dropped = len(self._items) - len(kept)
        if dropped:
            self._items = deque(kept)
            self._bytes = sum(item.size for item in kept)
            self._drained()
        return dropped

    def _drained(self) -> None:
        if self.full:
            self.full = len(self._items) * 2 > self._max_frames or self._bytes * 2 > self._max_bytes

    @staticmethod
    def _stays(item: Item) -> bool:
        """Whether a frame of a cut turn is still for the app; of a cancellation, what it names of calls that it got."""
        if item.kind is not Kind.KEEP:
            content = item.message.server_content
            if content is None or content.input_transcription is None:
                return False
            # What was heard of the question stays: it is not shown again.
            item.message = decode_server(input_transcription_frame(content.input_transcription))
            item.kind, item.calls = Kind.KEEP, ()
            return True
        taken = [call for call in item.calls if call.taken]
        if taken and len(taken) < len(item.calls):
            item.message = decode_server(tool_call_cancellation_frame([call.app_id for call in taken]))
        return bool(taken) or not item.calls
