from __future__ import annotations

import pytest

from benchmarks import frames
from benchmarks.frames import Kind
from resumekit.wire import decode_server, known_keys

KEYS = {
    Kind.AUDIO_40: ("server_content",),
    Kind.AUDIO_200: ("server_content",),
    Kind.TEXT: ("server_content",),
    Kind.TRANSCRIPTION: ("server_content",),
    Kind.RESUMPTION: ("session_resumption_update",),
    Kind.GO_AWAY: ("go_away",),
    Kind.TURN_END: ("server_content", "usage_metadata"),
    Kind.CALLS: ("tool_call",),
}


@pytest.mark.parametrize("vertex", [False, True])
@pytest.mark.parametrize("pretty", [False, True])
def test_each_kind_of_frame_is_what_it_is_called(pretty, vertex):
    for kind, some in frames.kinds(3, pretty=pretty, vertex=vertex).items():
        for frame in some:
            message = decode_server(frame)
            assert (message.partial, known_keys(message)) == (False, KEYS[kind])


def test_a_frame_of_sound_holds_as_much_as_it_is_called():
    for kind, size in {Kind.AUDIO_40: 1920, Kind.AUDIO_200: 9600}.items():
        (part,) = decode_server(frames.kinds(1)[kind][0]).server_content.model_turn.parts
        assert len(part.inline_data.data) == size


def test_frames_are_the_same_on_every_machine_and_no_two_sounds_are():
    assert frames.mix(300) == frames.mix(300) != frames.mix(300, seed=1)
    assert len({*frames.audio(100)}) == 100


def test_nine_of_ten_frames_of_a_conversation_are_sound():
    mix = frames.mix()
    assert 8_700 < sum(b'"inlineData"' in frame for frame in mix) < 9_300
    for key in (
        b'"goAway"',
        b'"toolCall"',
        b'"interrupted"',
        b'"newHandle"',
        b'"inputTranscription"',
        b'"turnComplete"',
    ):
        assert any(key in frame for frame in mix)
