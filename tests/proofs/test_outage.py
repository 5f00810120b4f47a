"""An hour without a connection: bounds that hold to the byte, and nothing that goes without being told (G6, I3)."""

from __future__ import annotations

import pytest

from resumekit.core.policy import Policy
from tests.proofs.outage import VIDEO_BYTES, Hour, outage

POLICY = Policy()
SPEECH, MUSIC = (16_000, 0.04), (48_000, 0.1)
"""Samples in a second, and seconds of a piece: of the one the bound of seconds is reached, of the other that of bytes."""


@pytest.fixture(scope="module", params=[SPEECH, MUSIC], ids=["speech", "music"])
def hour(request: pytest.FixtureRequest) -> Hour:
    rate, chunk = request.param
    return outage(rate=rate, chunk=chunk)


def test_an_hour_of_outage_stays_within_the_bounds_of_the_buffers(hour: Hour) -> None:
    """Looked at after each piece of audio."""
    assert hour.most_audio <= POLICY.audio_bytes
    assert hour.most_audio_seconds <= POLICY.audio_seconds
    assert hour.most_control <= POLICY.control_bytes
    assert hour.most_messages <= POLICY.control_messages
    assert hour.most_video == 1


def test_an_hour_of_outage_comes_up_to_the_bounds(hour: Hour) -> None:
    """No buffer gives up what it could keep: one piece more, and it would have been too much."""
    piece = hour.most_audio // len(hour.delivered)
    assert hour.most_audio + piece > POLICY.audio_bytes or hour.most_audio_seconds > POLICY.audio_seconds - 0.001
    assert hour.most_control + 21_000 > POLICY.control_bytes


def test_all_audio_of_an_hour_is_delivered_or_told_as_dropped(hour: Hour) -> None:
    """The newest pieces arrive, in order; events tell of all others, a second after they went at the latest."""
    assert hour.delivered == list(range(hour.dropped + 1, hour.chunks + 1))
    assert hour.dropped_seconds == pytest.approx(3600.0 * hour.dropped / hour.chunks)
    assert hour.longest_untold < 1.2


def test_video_of_an_hour_is_the_newest_frame_and_a_count(hour: Hour) -> None:
    assert hour.delivered_videos == 1
    assert hour.videos == hour.dropped_videos + hour.delivered_videos


def test_messages_of_an_hour_are_delivered_or_refused_to_the_caller(hour: Hour) -> None:
    assert hour.delivered_messages == [str(number) for number in range(hour.accepted)]
    assert hour.accepted + hour.refused == 3600


@pytest.mark.proof
def test_an_hour_of_outage_takes_less_memory_than_promised() -> None:
    """G6: 8 MiB at the most, with speech, video and a message a second; and the bounds, with a tenth more."""
    hour = outage(rate=48_000, chunk=0.1, text=200, memory=True)
    assert hour.peak < 8 * 2**20
    assert hour.peak < hour.limits * 1.1


@pytest.mark.proof
def test_memory_is_bounded_with_every_buffer_full() -> None:
    """G6: the sum of the limits, with a tenth more; the text of a message that waits is held once, in its frame."""
    hour = outage(seconds=600, rate=48_000, chunk=0.1, memory=True)
    assert hour.most_audio + hour.most_control + VIDEO_BYTES > 0.97 * hour.limits
    assert hour.peak < hour.limits * 1.1
