"""An hour without a connection, while the application speaks, shows video and writes: in virtual time.

What is looked at after each piece of audio: whether the buffers are within `Policy`'s bounds, to the byte, and whether what
was dropped is told. Where every frame is in the end (sent, dropped and told, refused to the caller) is counted.
"""

from __future__ import annotations

import base64
import tracemalloc
from dataclasses import dataclass, field

from resumekit.core import events, inputs
from resumekit.core.failures import Failure, Phase, Side
from resumekit.core.policy import Policy
from resumekit.core.state import State
from resumekit.wire import decode_client
from tests.core.script import begun, context

__all__ = ["Hour", "outage"]

_NUMBER = 6
"""Bytes of a chunk that hold its number: eight characters of base64."""
VIDEO_BYTES = 60_000


@dataclass(kw_only=True)
class Hour:
    """What became of all that was sent. Sizes are bytes, times are seconds."""

    limits: int
    """Of audio, control messages and the one frame of video, together."""
    chunks: int = 0
    """Pieces of audio that the application sent."""
    most_audio: int = 0
    """The largest that the buffer of audio ever was, in bytes ..."""
    most_audio_seconds: float = 0.0
    """... and in seconds."""
    most_control: int = 0
    """The same of control messages that wait, in bytes ..."""
    most_messages: int = 0
    """... and in messages."""
    most_video: int = 0
    """Frames."""
    dropped: int = 0
    """Pieces of audio, as events tell."""
    dropped_seconds: float = 0.0
    longest_untold: float = 0.0
    """How much audio was ever gone and not told of."""
    videos: int = 0
    dropped_videos: int = 0
    accepted: int = 0
    refused: int = 0
    """Messages for which `has_room` said no: the caller waits, then gets `BufferFull`."""
    dials: int = 0
    peak: int = 0
    """Memory, above what the session took before (tracemalloc); 0: it was not measured."""
    delivered: list[int] = field(default_factory=list)
    """Numbers of the chunks that were sent when the service was back."""
    delivered_messages: list[str] = field(default_factory=list)
    delivered_videos: int = 0


def outage(
    *, seconds: int = 3600, rate: int = 16_000, chunk: float = 0.04, text: int = 20_000, memory: bool = False
) -> Hour:
    """Let a session be without a connection, and come back.

    Args:
        seconds: how long.
        rate: samples of audio in a second, two bytes each.
        chunk: seconds of one piece of audio; one second is so many of them exactly.
        text: bytes of the message that is written each second.
        memory: measure it, which takes five times as long.
    """
    script = begun(transparent=False, max_outage=2.0 * seconds)
    policy = Policy()
    hour = Hour(limits=policy.audio_bytes + policy.control_bytes + VIDEO_BYTES)
    outbox = script.engine._talk.outbox
    filler = base64.b64encode(bytes(round(rate * chunk) * 2 - _NUMBER)).decode()
    video = f'{{"realtimeInput":{{"video":{{"mimeType":"image/jpeg","data":"{"A" * VIDEO_BYTES}"}}}}}}'
    script.cut()
    script.events.clear()
    failure = Failure(phase=Phase.DIAL, side=Side.NOBODY, reason="connection refused")
    if memory:
        tracemalloc.start()
    for second in range(seconds):
        for _ in range(round(1 / chunk)):
            script.wait(chunk)
            if script.engine.state is State.DIALING:
                script.feed(inputs.DialFailed(script.connection, failure))
            hour.chunks += 1
            number = base64.b64encode(hour.chunks.to_bytes(_NUMBER, "big")).decode()
            script.say(_audio(number + filler, rate))
            lane = outbox.audio
            hour.most_audio = max(hour.most_audio, lane.unsent_bytes)
            hour.most_audio_seconds = max(hour.most_audio_seconds, lane.unsent_seconds)
            _note(hour, script.events)
            gone = hour.chunks - hour.dropped - len(lane.unsent)
            hour.longest_untold = max(hour.longest_untold, gone * chunk)
        script.say(video)
        hour.videos += 1
        message = decode_client(context(f"<{second}>".ljust(text)))
        if script.engine.has_room(message):
            script.feed(inputs.Send(message))
            hour.accepted += 1
        else:
            hour.refused += 1
        for lane in (outbox.audio, outbox.control, outbox.video):
            if lane.unsent_bytes != sum(len(waiting.body.frame) for waiting in lane.unsent):
                raise AssertionError("the buffer does not know its size")
        hour.most_control = max(hour.most_control, outbox.waiting_bytes)
        hour.most_messages = max(hour.most_messages, outbox.waiting)
        hour.most_video = max(hour.most_video, len(outbox.video.unsent))
    if memory:
        hour.peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    hour.dials = len(script.dialled) - 1
    script.bind()
    script.wait(2.0)
    _note(hour, script.events)
    for frame in script.wire:
        data = frame.partition('"data":"')[2]
        if '"audio"' in frame:
            hour.delivered.append(int.from_bytes(base64.b64decode(data[:8]), "big"))
        elif '"video"' in frame:
            hour.delivered_videos += 1
        else:
            hour.delivered_messages.append(frame.partition("<")[2].partition(">")[0])
    return hour


def _audio(data: str, rate: int) -> str:
    return f'{{"realtimeInput":{{"audio":{{"mimeType":"audio/pcm;rate={rate}","data":"{data}"}}}}}}'


def _note(hour: Hour, told: list[events.Event]) -> None:
    for event in told:
        match event:
            case events.AudioDropped(seconds=seconds, frames=frames):
                hour.dropped += frames
                hour.dropped_seconds += seconds
            case events.VideoDropped(frames=frames):
                hour.dropped_videos += frames
            case _:
                pass
    told.clear()
