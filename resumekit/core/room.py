"""How much of what the app sends may wait, and what goes where it is too much: control messages never do."""

from __future__ import annotations

from collections.abc import Callable

from resumekit.core import events
from resumekit.core.outbox import Outbox
from resumekit.core.policy import Policy
from resumekit.core.stats import Counters
from resumekit.errors import BufferFull
from resumekit.wire import ClientKind, ClientMessage

__all__ = ["MEDIA", "Room"]

MEDIA = (ClientKind.AUDIO, ClientKind.VIDEO)
"""What may be dropped."""


class Room:
    """What the outbox has room for, by the policy, and what was dropped since that was last told."""

    __slots__ = ("_audio", "_audio_frames", "_notify", "_outbox", "_policy", "_stats", "_video")

    def __init__(
        self, policy: Policy, outbox: Outbox, *, notify: Callable[[events.Event], None], stats: Counters
    ) -> None:
        self._policy = policy
        self._outbox = outbox
        self._notify = notify
        self._stats = stats
        self._audio = 0.0
        self._audio_frames = 0
        self._video = 0

    @property
    def has_dropped(self) -> bool:
        """Whether there is anything to report."""
        return bool(self._audio_frames or self._video)

    def fits(self, body: ClientMessage) -> bool:
        """Whether a message can be buffered at all; of video only the newest frame is."""
        if body.kind is ClientKind.VIDEO:
            return True
        limit = self._policy.audio_bytes if body.kind is ClientKind.AUDIO else self._policy.control_bytes
        return body.size <= limit

    def has_room(self, body: ClientMessage) -> bool:
        """Whether a message can be taken now; media always can, as the oldest goes."""
        outbox = self._outbox
        return body.kind in MEDIA or (
            outbox.waiting < self._policy.control_messages
            and outbox.waiting_bytes + body.size <= self._policy.control_bytes
        )

    def buffer_full(self, body: ClientMessage) -> BufferFull:
        """Return the error for a message that found no room."""
        outbox = self._outbox
        limit = "audio_bytes" if body.kind is ClientKind.AUDIO else "control_bytes"
        if self.fits(body) and outbox.waiting >= self._policy.control_messages:
            limit = "control_messages"
        return BufferFull(size=body.size, messages=outbox.waiting, waiting=outbox.waiting_bytes, limit=limit)

    def bound_audio(self) -> bool:
        """Drop the oldest audio that is too much; return whether any of it was to be sent again."""
        lane = self._outbox.audio
        clipped = False
        while lane.unsent_seconds > self._policy.audio_seconds or lane.unsent_bytes > self._policy.audio_bytes:
            dropped = lane.drop_unsent()
            self._audio += dropped.body.media_seconds
            self._audio_frames += 1
            clipped |= dropped.resent
        return clipped

    def bound_video(self) -> None:
        """Drop all video but the newest frame."""
        lane = self._outbox.video
        while len(lane.unsent) > 1:
            self._video += not lane.drop_unsent().resent

    def report_drops(self) -> bool:
        """Tell the app what was dropped since the last report; return whether there was anything."""
        reported = self.has_dropped
        if self._audio_frames:
            self._notify(events.AudioDropped(seconds=self._audio, frames=self._audio_frames))
            self._stats.audio_lost += self._audio
        if self._video:
            self._notify(events.VideoDropped(frames=self._video))
        self._audio = 0.0
        self._audio_frames = self._video = 0
        return reported
