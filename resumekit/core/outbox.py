"""Client messages that the service's saved state does not hold, in the order they were sent.

Three lanes keep the order of the whole: control (never dropped), audio (bounded, the oldest goes)
and video (the newest frame only). Each has a sent part, which is kept until a handle covers it,
and an unsent part. Nothing here knows turns or handles: the engine says what may be pruned.
"""

from __future__ import annotations

from msgspec import Struct

from resumekit.core.turns import Turn
from resumekit.wire import ClientKind, ClientMessage

__all__ = ["Lane", "Message", "Outbox"]


_GRAIN = 64
"""Frames of audio that are accounted for together, once they are gone."""


class Message(Struct, eq=False):
    """A client message on its way."""

    seq: int
    """Position among all messages of the app, from 1; 0: the engine's own."""
    body: ClientMessage
    number: int = 0
    """Position among the control messages, from 1; 0 for audio and video."""
    turn: Turn | None = None
    """The turn that it asks or answers, once it was sent."""
    background: Turn | None = None
    """The turn of the call that it answers, if the model does not wait for it."""
    index: int = 0
    """What the service counts it as on the current connection; setup is 0."""
    resent: bool = False
    doubtful: bool = False
    """A handle came after it that may or may not hold it (RULES 14)."""
    recorded: bool = False
    """It stands in the transcript, which a fresh start replays."""
    seeds: bool = False
    """It is part of the history that the app itself seeds a new session with."""


class _Grain(Struct):
    """Audio that is gone, by the indices of its first and last frame."""

    first: int
    last: int = 0
    seconds: float = 0.0


class Lane(Struct):
    """One lane: `sent` is a prefix of `sent` + `unsent`.

    Lists, short as they are: an empty deque takes 760 bytes, and a session has many that stay empty.
    """

    sent: list[Message] = []
    unsent: list[Message] = []
    unsent_bytes: int = 0
    unsent_seconds: float = 0.0
    sent_seconds: float = 0.0

    @property
    def sent_bytes(self) -> int:
        """Size of all that was sent. It is not kept, as that would cost each frame of audio something."""
        return sum(message.body.size for message in self.sent)

    def append(self, message: Message) -> None:
        """Add a message that waits to be sent."""
        self.unsent.append(message)
        self._count_unsent(message, 1)

    def insert(self, message: Message, place: int) -> None:
        """Add a message that waits behind so many others."""
        self.unsent.insert(place, message)
        self._count_unsent(message, 1)

    def mark_sent(self, message: Message) -> None:
        """Move a message over; it need not be the first one that waits."""
        if self.unsent[0] is message:
            self.unsent.pop(0)
        else:
            self.unsent.remove(message)
        self.sent.append(message)
        size, seconds = message.body.size, message.body.media_seconds
        self.unsent_bytes -= size
        self.unsent_seconds -= seconds
        self.sent_seconds += seconds

    def insert_sent(self, place: int, message: Message) -> None:
        """Put a message among the sent ones."""
        self.sent.insert(place, message)
        self._count_sent(message, 1)

    def drop_sent(self) -> Message:
        """Let the oldest sent message go."""
        message = self.sent.pop(0)
        self._count_sent(message, -1)
        return message

    def prune(self, index: int) -> list[Message]:
        """Let the sent messages up to `index` go; return them."""
        pruned: list[Message] = []
        while self.sent and self.sent[0].index <= index:
            pruned.append(self.drop_sent())
        return pruned

    def drop_unsent(self) -> Message:
        """Let the oldest waiting message go."""
        message = self.unsent.pop(0)
        self._count_unsent(message, -1)
        return message

    def rewind(self) -> None:
        """Make everything that was sent wait again, in order."""
        while self.sent:
            message = self.sent.pop()
            self._count_sent(message, -1)
            self.put_back(message)

    def put_back(self, message: Message) -> None:
        """Make a message that was sent wait again, before everything else."""
        message.resent = True
        self.insert(message, 0)

    def remove(self, messages: set[Message]) -> None:
        """Let messages go, wherever they are."""
        for part, count in ((self.sent, self._count_sent), (self.unsent, self._count_unsent)):
            for message in [message for message in part if message in messages]:
                part.remove(message)
                count(message, -1)

    def _count_unsent(self, message: Message, sign: int) -> None:
        self.unsent_bytes += sign * message.body.size
        self.unsent_seconds += sign * message.body.media_seconds

    def _count_sent(self, message: Message, sign: int) -> None:
        self.sent_seconds += sign * message.body.media_seconds


class Outbox:
    """Every message that may have to be sent, or sent again."""

    __slots__ = (
        "_gone",
        "audio",
        "before_border",
        "before_border_seconds",
        "control",
        "lost_seconds",
        "next_number",
        "next_seq",
        "video",
        "waiting",
        "waiting_bytes",
    )

    def __init__(self) -> None:
        self.control = Lane()
        self.audio = Lane()
        self.video = Lane()
        self.before_border: list[Message] = []
        """Sent audio from before the answer that is running; kept apart from what follows."""
        self.before_border_seconds = 0.0
        self._gone: list[_Grain] = []
        """Sent audio that was let go before a handle covered it."""
        self.lost_seconds = 0.0
        """Audio of earlier connections that neither the service nor this buffer holds."""
        self.next_seq = 1
        self.next_number = 1
        self.waiting = 0
        """Control messages of the app that were never sent: they alone count for `BufferFull` (RULES 11)."""
        self.waiting_bytes = 0

    def lane(self, kind: ClientKind) -> Lane:
        """Return the lane of a kind of message."""
        if kind is ClientKind.AUDIO:
            return self.audio
        return self.video if kind is ClientKind.VIDEO else self.control

    def add(self, body: ClientMessage) -> Message:
        """Append a message of the app."""
        message = Message(self.next_seq, body)
        self.next_seq += 1
        lane = self.lane(body.kind)
        if lane is self.control:
            message.number = self.next_number
            self.next_number += 1
            self._count_waiting(message, 1)
        lane.append(message)
        return message

    def skip(self) -> None:
        """Count a message of the app that is not to be sent."""
        self.next_seq += 1
        self.next_number += 1

    def add_own(self, body: ClientMessage) -> Message:
        """Put a message that the engine writes itself before all others; it has no number."""
        message = Message(0, body)
        self.control.insert(message, 0)
        return message

    def insert(self, body: ClientMessage, position: int) -> Message:
        """Put back a control message of the app that is to be sent again, before what the app sent after it."""
        message = Message(position, body)
        self.control.insert(message, sum(other.seq < position for other in self.control.unsent))
        return message

    def _count_waiting(self, message: Message, sign: int) -> None:
        if message.number and not message.index:
            self.waiting += sign
            self.waiting_bytes += sign * message.body.size

    def first_unsent(self) -> Message | None:
        """Return the waiting message that was sent first by the app, across the lanes."""
        if not (self.control.unsent or self.audio.unsent or self.video.unsent):
            return None
        first: Message | None = None
        for lane in (self.control, self.audio, self.video):
            if lane is self.video and self._keeps_video_back():
                continue
            if lane.unsent and (first is None or lane.unsent[0].seq < first.seq):
                first = lane.unsent[0]
        return first

    def _keeps_video_back(self) -> bool:
        """Whether video waits for the control messages: what is resent comes first (PROTOCOL 5: old video, 1007)."""
        control, video = self.control.unsent, self.video.unsent
        return bool(control and video) and (control[0].resent or video[0].resent)

    def mark_sent(self, message: Message, index: int) -> None:
        """Note that a message went out; of video only the newest frame is kept."""
        self._count_waiting(message, -1)
        message.index = index
        lane = self.lane(message.body.kind)
        lane.mark_sent(message)
        if lane is self.video and len(lane.sent) > 1:
            lane.drop_sent()

    def remove(self, messages: set[Message]) -> None:
        """Let control messages go, wherever they are."""
        if messages:
            self.control.remove(messages)
            for message in messages:
                self._count_waiting(message, -1)

    def put_sent(self, body: ClientMessage, *, after: int, number: int) -> Message:
        """Put a message of the engine's own among the sent ones, as if it had followed index `after`."""
        sent = self.control.sent
        place = next((place for place, message in enumerate(sent) if message.index > after), len(sent))
        before = (*sent, *self.before_border, *self.audio.sent)
        seq = max((message.seq for message in before if message.index <= after), default=0)
        message = Message(seq, body, number, index=after)
        self.control.insert_sent(place, message)
        return message

    def stream(self, body: ClientMessage, index: int, seconds: float) -> None:
        """Note audio that goes out at once: the same as `add`, `mark_sent` and `bound_sent_audio`."""
        seq, lane = self.next_seq, self.audio
        self.next_seq = seq + 1
        lane.sent.append(Message(seq, body, 0, None, None, index))
        lane.sent_seconds = sent = lane.sent_seconds + body.media_seconds
        if sent + self.before_border_seconds > seconds:
            self.bound_sent_audio(seconds)

    # Audio around the border of an answer (RULES 10)

    def set_border(self, border: int) -> None:
        """Keep the audio before index `border` apart: an answer to it has begun."""
        while self.audio.sent and self.audio.sent[0].index < border:
            message = self.audio.drop_sent()
            self.before_border.append(message)
            self.before_border_seconds += message.body.media_seconds

    def clear_border(self) -> float:
        """Let the audio before the border go; return its seconds."""
        seconds = self.before_border_seconds
        self.before_border.clear()
        self.before_border_seconds = 0.0
        return seconds

    def bound_sent_audio(self, seconds: float) -> None:
        """Keep at most the newest `seconds` of sent audio in all, and note what went.

        What stands before a border is never touched, so it counts first.
        """
        lane, gone = self.audio, self._gone
        while lane.sent and lane.sent_seconds + self.before_border_seconds > seconds:
            message = lane.sent.pop(0)
            length = message.body.media_seconds
            lane.sent_seconds -= length
            if not gone or message.index - gone[-1].first > _GRAIN:
                gone.append(_Grain(message.index))
            grain = gone[-1]
            grain.last = message.index
            grain.seconds += length

    def lacks(self, after: int, until: int) -> bool:
        """Whether any audio with an index in this span was let go."""
        return any(grain.last > after and grain.first <= until for grain in self._gone)

    def prune_audio(self, index: int) -> None:
        """Let audio and video up to `index` go."""
        self.video.prune(index)
        self.prune_border(index)
        while self._gone and self._gone[0].last <= index:
            self._gone.pop(0)
        self.audio.prune(index)

    def prune_border(self, index: int) -> float:
        """Let audio before the border, up to `index`, go; return its seconds."""
        before = self.before_border_seconds
        while self.before_border and self.before_border[0].index <= index:
            self.before_border_seconds -= self.before_border.pop(0).body.media_seconds
        return before - self.before_border_seconds

    def rewind(self) -> None:
        """Make everything wait again that no handle covers: the connection is gone."""
        self.audio.rewind()
        for message in reversed(self.before_border):
            self.audio.put_back(message)
        self.clear_border()
        self.control.rewind()
        if self.video.unsent and self.video.sent:
            self.video.drop_sent()
        self.video.rewind()
        self.lost_seconds += sum(grain.seconds for grain in self._gone)
        self._gone.clear()
