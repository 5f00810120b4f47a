"""Every field of `RunConfig`: what resumekit does with it over a reconnect, and the test that shows it.

Data alone, so that the docs page can be made of it without ADK; `test_run_config.py` holds it against `RunConfig`.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ROWS", "Row"]


class Row(NamedTuple):
    """One field."""

    field: str
    does: str
    """What resumekit does with it over a reconnect."""
    test: str
    """module::function"""
    since: str = "1.27.2"
    """The first of the supported versions that has it."""

    def is_in(self, version: tuple[int, ...]) -> bool:
        return version >= tuple(map(int, self.since.split(".")))


_SETUP = "test_run_config.py::test_every_connection_asks_for_the_same"
_NOT_LIVE = "test_run_config.py::test_what_is_not_for_live_changes_nothing_there"
_HISTORY = "test_run_config.py::test_history_is_sent_once"
_ASYNC = "test_run_config_async.py::test_run_async_is_left_alone"

ROWS = (
    Row(
        "response_modalities",
        "Every connection asks for the same one; two are the service's one error, unchanged and not tried again.",
        "test_run_config.py::test_answers_go_on",
    ),
    Row(
        "streaming_mode",
        "`BIDI` goes through Live; with `SSE` and `NONE`, `run_async` is `Gemini`'s own: no Live session, no resumekit.",
        _ASYNC,
    ),
    Row("speech_config", "Every connection asks for the same voice and language.", _SETUP),
    Row("avatar_config", "Every connection asks for the same avatar.", _SETUP, "2.0.0"),
    Row(
        "output_audio_transcription",
        "Every connection asks for it; of an answer that was cut and given again, the second transcription is stored.",
        "test_run_config.py::test_each_transcription_is_stored_once",
    ),
    Row(
        "input_audio_transcription",
        "Every connection asks for it; a question that a cut divides is stored once, and whole.",
        "test_run_config.py::test_each_transcription_is_stored_once",
    ),
    Row(
        "realtime_input_config",
        "Every connection asks for the same; an activity that a cut divides is opened again, with what was said in it.",
        "test_run_config.py::test_an_activity_goes_on",
    ),
    Row("explicit_vad_signal", "Every connection asks for it (Vertex; elsewhere google-genai refuses it).", _SETUP, "2.13.0"),
    Row("translation_config", "Every connection asks for the same translation.", _SETUP, "2.13.0"),
    Row("enable_affective_dialog", "Every connection asks for it; ADK 2.13 leaves it out for 3.x models.", _SETUP),
    Row(
        "proactivity",
        "Every connection asks for it; where the model may keep silent, silence is no reason to suspect the connection.",
        "test_run_config.py::test_a_model_that_may_be_silent",
    ),
    Row(
        "session_resumption",
        "Handles are resumekit's business, with or without it. If it is set, the application sees the handles (ADK 2.0 and"
        " later). A handle of the application's own is resumed from, and history is not sent then. `transparent` is left"
        " out on the Developer API, with a warning.",
        "test_run_config.py::test_session_resumption",
    ),
    Row(
        "history_config",
        "Holds for new sessions only; it is left out where a connection resumes, and history is not sent again. With 2.x models it is left out: they take history without it, and with it the first question for the end of it.",
        _HISTORY,
        "2.13.0",
    ),
    Row(
        "context_window_compression",
        "Every connection asks for the same; sessions have no limit then, and a replay takes at most half of the trigger.",
        _SETUP,
    ),
    Row(
        "save_live_blob",
        "ADK stores what the application sent, and what it got: also the part of an answer that was cut. What was lost for"
        " the service is in the artifact, and reported.",
        "test_run_config.py::test_audio_is_stored_as_it_was_sent",
    ),
    Row(
        "save_live_audio",
        "The old name of `save_live_blob`.",
        "test_run_config.py::test_audio_is_stored_as_it_was_sent",
    ),
    Row("save_input_blobs_as_artifacts", "For `run_async` only, where resumekit does nothing.", _ASYNC),
    Row(
        "support_cfc",
        "`run_async` opens a Live session, and it lives on across cuts; whatever ADK does with the calls, it does it as"
        " with `Gemini`.",
        "test_run_config_async.py::test_compositional_function_calling",
    ),
    Row(
        "max_llm_calls",
        "ADK counts no calls in Live, and reconnects add none; elsewhere `LlmCallsLimitExceededError` passes unchanged.",
        "test_run_config_async.py::test_the_limit_of_calls",
    ),
    Row(
        "tool_thread_pool_config",
        "A tool runs on in its thread while the connection is replaced, and its one result answers.",
        "test_run_config.py::test_a_tool_in_a_thread_runs_once",
    ),
    Row(
        "custom_metadata",
        "Stands in every event, beside what resumekit says in its own.",
        "test_run_config.py::test_metadata_stand_beside_our_own",
    ),
    Row("get_session_config", "The history of the first connection is what it lets through; it is not sent again.", _HISTORY),
    Row("http_options", "For `generateContent` only; ADK does not use it in Live.", _NOT_LIVE, "2.13.0"),
    Row("labels", "For `generateContent` only; ADK does not use it in Live.", _NOT_LIVE, "2.13.0"),
    Row("service_tier", "For the interactions API only; ADK does not use it in Live.", _NOT_LIVE, "2.13.0"),
    Row("telemetry", "For ADK's own spans; connections do not depend on it.", _NOT_LIVE, "2.13.0"),
    Row(
        "model_input_context",
        "Part of the history that a new session gets; it is not sent again where a connection resumes.",
        _HISTORY,
        "2.13.0",
    ),
    Row(
        "include_thoughts_from_other_agents",
        "ADK makes the history of the first connection accordingly; it is not sent again.",
        _HISTORY,
        "2.13.0",
    ),
)  # fmt: skip
