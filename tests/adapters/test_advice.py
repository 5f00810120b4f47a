"""What `advice_on` says about a config, of whatever kind."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest

from resumekit.adapters._advice import TARGET_SHARE, TRIGGER_SHARE, advice_on, window_of

AUDIO = "gemini-2.5-flash-native-audio-preview-12-2025"
NEW = "gemini-3.1-flash-live-preview"
NEWEST = "gemini-3.8-live"
OLD = "gemini-2.0-flash-live-001"


def compressing(trigger=None, target=None, **rest):
    return {
        "context_window_compression": {"trigger_tokens": trigger, "sliding_window": {"target_tokens": target}},
        **rest,
    }


@pytest.mark.parametrize(
    "model", [AUDIO, NEW, f"models/{AUDIO}", f"projects/p/locations/l/publishers/google/models/{AUDIO}"]
)
@pytest.mark.parametrize(
    "tokens", [(None, None), (100_000, 80_000), (89_600, 76_800), (104_858, 91_750), ("100000", "80000")]
)
def test_what_is_within_the_advice_is_fine(model, tokens):
    assert advice_on(compressing(*tokens), model) == []


@pytest.mark.parametrize("trigger", [25_600, 89_599, 104_859, 128_000])
def test_a_trigger_outside_70_to_80_percent(trigger):
    (line,) = advice_on(compressing(trigger), NEW)
    assert line == (
        f"context_window_compression: trigger_tokens={trigger} is {trigger / 128_000:.0%} of the context window of"
        f" {NEW!r} (128000 tokens); 70% to 80% is advised: 89600 to 104858"
    )


@pytest.mark.parametrize("target", [12_800, 76_799, 91_751])
def test_a_target_outside_60_to_70_percent(target):
    (line,) = advice_on(compressing(100_000, target), NEW)
    assert f"sliding_window.target_tokens={target}" in line
    assert "60% to 70% is advised: 76800 to 91750" in line


def test_a_target_that_is_not_below_the_trigger():
    assert advice_on(compressing(90_000, 91_000), NEW) == [
        "context_window_compression: sliding_window.target_tokens=91000 has to be less than trigger_tokens=90000"
    ]


def test_an_older_model_has_a_smaller_window():
    assert advice_on(compressing(24_000, 21_000), OLD) == []
    assert len(advice_on(compressing(100_000, 80_000), OLD)) == 2


@pytest.mark.parametrize(
    ("model", "vertex", "minutes"),
    [(NEW, None, 15), (NEW, False, 15), (NEW, True, 10), ("publishers/google/models/" + AUDIO, None, 10)],
)
@pytest.mark.parametrize("config", [None, {}, SimpleNamespace(context_window_compression=None)])
def test_a_session_without_compression_is_limited(config, model, vertex, minutes):
    (line,) = advice_on(config, model, vertex=vertex)
    assert line == (
        f"no context_window_compression: the service ends a session after about {minutes} minutes (2 with video),"
        " however often it is resumed; set it for longer ones"
    )


@pytest.mark.parametrize(
    ("vertex", "said"), [(False, ["the Developer API does not have it"]), (None, ["only Vertex has it"]), (True, [])]
)
def test_transparent_is_of_vertex(vertex, said):
    lines = advice_on(compressing(session_resumption={"transparent": True}), NEW, vertex=vertex)
    assert lines == [f"session_resumption: transparent is set, and {what}" for what in said]


@pytest.mark.parametrize("transparent", [None, False])
def test_transparent_that_is_off_is_no_matter(transparent):
    assert advice_on(compressing(session_resumption={"transparent": transparent}), NEW, vertex=False) == []


@pytest.mark.parametrize(
    ("fields", "model", "begins"),
    [
        ({"response_modalities": ["TEXT", "AUDIO"]}, NEW, "response_modalities: a Live session has one, not TEXT and AUDIO"),
        ({"response_modalities": ["TEXT"]}, AUDIO, "response_modalities: "),
        ({"response_modalities": ["TEXT"]}, NEW, "response_modalities: "),
        ({"generationConfig": {"responseModalities": ["TEXT"]}}, AUDIO, "response_modalities: "),
        ({"proactivity": {"proactiveAudio": True}}, NEW, "proactivity: "),
        ({"proactivity": {"proactive_audio": False}}, NEWEST, "proactivity: "),
        ({"enable_affective_dialog": True}, NEWEST, "enable_affective_dialog: "),
        ({"enable_affective_dialog": True}, NEW, "enable_affective_dialog: "),
    ],
)  # fmt: skip
def test_what_the_model_does_not_have(fields, model, begins):
    (line,) = advice_on(compressing(**fields), model)
    assert line.startswith(begins)
    assert "\n" not in line


def test_what_the_model_has():
    both = {"proactivity": {"proactive_audio": True}, "enable_affective_dialog": True, "response_modalities": ["AUDIO"]}
    assert advice_on(compressing(**both), AUDIO) == []
    assert advice_on(compressing(response_modalities="AUDIO"), AUDIO) == []
    assert advice_on(compressing(proactivity={"proactive_audio": True}), NEWEST) == []
    assert advice_on(compressing(response_modalities=["TEXT"]), OLD) == []


def test_either_spelling_and_odd_values():
    camel = {"contextWindowCompression": {"triggerTokens": "1", "slidingWindow": {"targetTokens": "1"}}}
    assert len(advice_on(camel, NEW)) == 3
    assert advice_on({"context_window_compression": {"trigger_tokens": "many", "sliding_window": None}}, NEW) == []


def test_the_advice_fits_itself():
    """The numbers of the docs: a target may always stand below a trigger."""
    assert TARGET_SHARE[1] <= TRIGGER_SHARE[0]
    assert window_of("models/whatever").least == 128_000


@pytest.mark.skipif(importlib.util.find_spec("google.genai") is None, reason="needs google-genai")
def test_a_live_connect_config():
    from google.genai import types

    config = types.LiveConnectConfig(
        response_modalities=[types.Modality.AUDIO, types.Modality.TEXT],
        session_resumption=types.SessionResumptionConfig(transparent=True),
        context_window_compression=types.ContextWindowCompressionConfig(
            trigger_tokens=16_000, sliding_window=types.SlidingWindow(target_tokens=16_000)
        ),
    )
    lines = advice_on(config, NEW, vertex=False)
    assert [line.partition(":")[0] for line in lines] == [
        *["context_window_compression"] * 3, "session_resumption", "response_modalities",
    ]  # fmt: skip
    assert "AUDIO and TEXT" in lines[-1]
    good = types.LiveConnectConfig(context_window_compression=types.ContextWindowCompressionConfig())
    assert advice_on(good, NEW, vertex=False) == []
