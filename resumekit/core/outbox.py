"""Client messages that the service's saved state does not hold, in the order they were sent.

Three lanes keep the order of the whole: control (never dropped), audio (bounded, the oldest goes)
and video (the newest frame only). Each has a sent part (of audio a tape), which is kept until a handle
covers it, and an unsent part. Nothing here knows turns or handles: the engine says what may be pruned.
"""

from __future__ import annotations

from msgspec import Struct

from resumekit.core.tape import Sent, Tape, nanoseconds
from resumekit.core.turns import Turn
from resumekit.wire import ClientKind, ClientMessage

__all__ = ["Lane", "Message", "Outbox"]


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


class Lane(Struct):
    """One lane: `sent` is a prefix of `sent` + `unsent`.

    Lists, short as they are: an empty deque takes 760 bytes, and a session has many that stay empty.
    """

    sent: list[Message] = []
    unsent: list[Message] = []
    unsent_bytes: int = 0
    unsent_seconds: float = 0.0

    @property
    def sent_bytes(self) -> int:
        """Size of all that was sent."""
        return sum(message.body.size for message in self.sent)

    def append(self, message: Message) -> None:
        """Add a message that waits to be sent."""
        self.unsent.append(message)
        self._count_unsent(message, 1)

    def insert(self, message: Message, place: int) -> None:
        """Add a message that waits behind so many others."""
        self.unsent.insert(place, message)
        self._count_unsent(message, 1)

    def take(self, message: Message) -> None:
        """Let a waiting message go, to be sent; it need not be the first one."""
        if self.unsent[0] is message:
            self.unsent.pop(0)
        else:
            self.unsent.remove(message)
        self._count_unsent(message, -1)

    def prune(self, index: int) -> list[Message]:
        """Let the sent messages up to `index` go; return them."""
        pruned: list[Message] = []
        while self.sent and self.sent[0].index <= index:
            pruned.append(self.sent.pop(0))
        return pruned

    def drop_unsent(self) -> Message:
        """Let the oldest waiting message go."""
        message = self.unsent.pop(0)
        self._count_unsent(message, -1)
        return message

    def rewind(self) -> None:
        """Make everything that was sent wait again, in order."""
        while self.sent:
            self.put_back(self.sent.pop())

    def put_back(self, message: Message) -> None:
        """Make a message that was sent wait again, before everything else."""
        message.resent = True
        self.insert(message, 0)

    def remove(self, messages: set[Message]) -> None:
        """Let messages go, wherever they are."""
        self.sent[:] = [message for message in self.sent if message not in messages]
        for message in [message for message in self.unsent if message in messages]:
            self.take(message)

    def _count_unsent(self, message: Message, sign: int) -> None:
        self.unsent_bytes += sign * message.body.size
        self.unsent_seconds += sign * message.body.media_seconds


class Outbox:
    """Every message that may have to be sent, or sent again.

    Args:
        audio_kept: seconds of sent audio that are kept at most.
    """

    __slots__ = (
        "_audio_kept",
        "audio",
        "before_border",
        "control",
        "lost_seconds",
        "next_number",
        "next_seq",
        "sent_audio",
        "video",
        "waiting",
        "waiting_bytes",
    )

    def __init__(self, audio_kept: float) -> None:
        self._audio_kept = audio_kept
        self.control = Lane()
        self.audio = Lane()
        """Its sent part is `before_border` + `sent_audio`."""
        self.video = Lane()
        self.before_border: list[Sent] = []
        """Sent audio from before the answer that is running; kept apart from what follows, and never let go for it."""
        self.sent_audio = Tape(0)
        self._make_room()
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
        self._count()
        lane = self.lane(body.kind)
        if lane is self.control:
            message.number = self.next_number
            self.next_number += 1
            self._count_waiting(message, 1)
        lane.append(message)
        return message

    def skip(self) -> None:
        """Count a message of the app that is not to be sent."""
        self._count()
        self.next_number += 1

    def _count(self) -> None:
        self.sent_audio.pause()  # what is streamed next does not follow what was
        self.next_seq += 1

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
        """Whether video waits for the control messages: what is resent comes first, as old video may be refused with 1007."""
        control, video = self.control.unsent, self.video.unsent
        return bool(control and video) and (control[0].resent or video[0].resent)

    def mark_sent(self, message: Message, index: int) -> None:
        """Note that a message went out; of video only the newest frame is kept."""
        self._count_waiting(message, -1)
        message.index = index
        self.sent_audio.pause()
        lane = self.lane(message.body.kind)
        lane.take(message)
        if lane is self.audio:
            self.sent_audio.append(message.seq, index, message.body)
            return
        lane.sent.append(message)
        if lane is self.video and len(lane.sent) > 1:
            lane.sent.pop(0)

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
        before: tuple[Message | Sent, ...] = (*sent, *self.before_border)
        seqs = (message.seq for message in before if message.index <= after)
        message = Message(max([self.sent_audio.seq_at(after), *seqs]), body, number, index=after)
        sent.insert(place, message)
        return message

    def stream(self, body: ClientMessage, index: int) -> None:
        """Note audio that goes out at once: the same as `add` and `mark_sent`."""
        seq = self.next_seq
        self.next_seq = seq + 1
        self.sent_audio.append(seq, index, body)

    # Audio around the border of an answer (RULES 10)

    def set_border(self, border: int) -> None:
        """Keep the audio before index `border` apart: an answer to it has begun."""
        self.before_border += self.sent_audio.take(border)
        self._make_room()

    def lift_border(self) -> None:
        """Keep the audio before the border as what follows it, the newest of both: the answer is over."""
        frames = [*self.before_border, *self.sent_audio.take()]
        self.clear_border()
        for frame in frames:
            self.sent_audio.append(frame.seq, frame.index, frame.body)
            self.sent_audio.pause()

    def clear_border(self) -> float:
        """Let the audio before the border go; return its seconds."""
        return self._let_border_go(len(self.before_border))

    def prune_border(self, index: int) -> float:
        """Let audio before the border, up to `index`, go; return its seconds."""
        return self._let_border_go(sum(frame.index <= index for frame in self.before_border))

    def forget_audio(self, index: int) -> float:
        """Let all audio up to `index` go; return its seconds."""
        taken = self.sent_audio.take(index + 1)
        return self.prune_border(index) + sum(frame.body.media_seconds for frame in taken)

    def _let_border_go(self, frames: int) -> float:
        gone = sum((frame.body.media_seconds for frame in self.before_border[:frames]), 0.0)
        del self.before_border[:frames]
        self._make_room()
        return gone

    def _make_room(self) -> None:
        """Have the tape keep what the audio before the border leaves of the bound."""
        self.sent_audio.pause()
        border = sum(nanoseconds(frame.body.media_seconds) for frame in self.before_border)
        self.sent_audio.room = max(nanoseconds(self._audio_kept) - border, 0)

    @property
    def holds_sent_audio(self) -> bool:
        """Whether there is any audio that would be sent again."""
        return bool(self.sent_audio or self.before_border)

    def lacks(self, after: int, until: int) -> bool:
        """Whether any sent audio with an index in this span was let go."""
        return self.sent_audio.lacks(after, until)

    def prune_audio(self, index: int) -> None:
        """Let audio and video up to `index` go."""
        self.video.prune(index)
        self.prune_border(index)
        self.sent_audio.forget_gone(index)
        self.sent_audio.take(index + 1)

    def rewind(self) -> None:
        """Make everything wait again that no handle covers: the connection is gone."""
        for frame in reversed([*self.before_border, *self.sent_audio.take()]):
            self.audio.put_back(Message(frame.seq, frame.body, index=frame.index))
        self.clear_border()
        self.control.rewind()
        if self.video.unsent and self.video.sent:
            self.video.sent.clear()
        self.video.rewind()
        self.lost_seconds += self.sent_audio.forget_gone()
