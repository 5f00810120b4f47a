"""What an application does with ADK beside `RunConfig`: what resumekit does with it over a reconnect, and its test.

Data alone, in the form of `run_config.py`, so that the docs page can be made of both without ADK.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["FEATURES", "Feature"]


class Feature(NamedTuple):
    """One feature."""

    feature: str
    does: str
    """What resumekit does with it over a reconnect."""
    test: str
    """module::function"""
    since: str = "1.27.2"
    """The first of the supported versions that has it."""


FEATURES = (
    Feature(
        "function tools",
        "Each call runs once and is answered once, alone, in parallel or in a chain, wherever the cut is; what it writes"
        " to the state is stored once.",
        "test_tools.py::test_a_tool_runs_once",
    ),
    Feature(
        "function tools, cut before the first handle",
        "The new session gets the question again; the tool's one run answers the call that the model then makes.",
        "test_tools.py::test_a_tool_runs_once_though_no_handle_has_come",
    ),
    Feature(
        "calls that the model words differently when it answers again",
        "They are new calls, and run; the answer to the old ones is dropped, and `ToolResponseDropped` names them.",
        "test_tools.py::test_a_call_that_the_model_words_anew_takes_the_place_of_the_old_one",
    ),
    Feature(
        "calls that the user's next words cancel",
        "What a running tool still answers is dropped, and reported.",
        "test_tools.py::test_what_a_tool_answers_after_the_user_broke_in_is_for_nobody",
    ),
    Feature(
        "calls that ADK keeps until the end of a turn (2.5 models)",
        "If they are cancelled first, they are not run, although ADK does not read cancellations.",
        "test_tools.py::test_a_call_that_adk_keeps_is_not_run_if_the_user_breaks_in",
        "2.0.0",
    ),
    Feature(
        "long-running tools",
        "The response that the application sends through the queue later, on another connection, reaches its call once."
        " (Before 2.13, ADK's own loop ends where such a tool returns nothing.)",
        "test_tools_in_background.py::test_a_long_running_tool_is_answered_through_the_queue",
        "2.13.0",
    ),
    Feature(
        "streaming tools",
        "They go on while the connection is down; what they yield meanwhile is sent after, in order; `stop_streaming` works"
        " on the new connection.",
        "test_tools_in_background.py::test_a_streaming_tool_goes_on_over_a_cut",
    ),
    Feature(
        "non-blocking tools",
        "They run once, whichever answers come meanwhile; the response is sent once, with its scheduling.",
        "test_tools_in_background.py::test_a_non_blocking_tool_runs_once",
        "2.13.0",
    ),
    Feature(
        "search grounding",
        "The answer that is given again has its grounding metadata as an answer without a cut.",
        "test_built_in_tools.py::test_an_answer_is_grounded_as_if_it_had_not_been_cut",
    ),
    Feature(
        "code execution",
        "Code and result come again with the answer, once after the interruption.",
        "test_built_in_tools.py::test_code_and_its_result_come_again_with_the_answer",
    ),
    Feature(
        "images and video frames",
        "While the connection is down the newest frame is kept; the others are counted by `VideoDropped`.",
        "test_media.py::test_of_images_only_the_newest_waits_for_a_connection",
    ),
    Feature(
        "images in a question",
        "They are sent again with their question.",
        "test_media.py::test_an_image_in_a_question_is_kept_with_it",
    ),
    Feature(
        "speech, with automatic detection or with activity marks",
        "A question that a cut divides is heard whole, sample by sample; the answer comes whole after the interruption, and"
        " each transcription is stored once.",
        "test_media.py::test_a_spoken_question_is_heard_whole_and_answered_whole",
    ),
    Feature(
        "speech while the connection is down",
        "It is kept up to `Policy.audio_seconds`, and sent; what was dropped is told by `AudioDropped`.",
        "test_media.py::test_what_is_said_into_a_dead_line_is_bounded_and_what_was_lost_is_told",
    ),
    Feature(
        "interruption by the user",
        "ADK's handling is as without resumekit; beside a cut, nobody is told to flush when there is nothing to flush.",
        "test_media.py::test_a_user_who_breaks_in_is_flushed_for_once",
    ),
    Feature(
        "callbacks of agents and tools, plugins",
        "Each is called as often as without a cut; `on_event` sees each event once.",
        "test_callbacks.py::test_callbacks_run_once",
    ),
    Feature(
        "`before_tool` callbacks that answer",
        "The tool does not run, and the callback's answer is sent once.",
        "test_callbacks.py::test_a_tool_callback_may_answer_for_the_tool",
    ),
    Feature(
        "`before_model` callbacks that answer",
        "The question is not sent, on no connection.",
        "test_callbacks.py::test_a_question_that_a_callback_answers_is_not_sent",
        "2.13.0",
    ),
    Feature(
        "`after_model` callbacks that answer",
        "ADK starts a new session with its history; that one lives on across cuts as the first.",
        "test_callbacks.py::test_an_answer_that_a_callback_stops_begins_a_new_session",
        "2.13.0",
    ),
    Feature(
        "`output_key`, instructions with state",
        "What is stored is the same as without a cut: no half answer; every connection has the same instruction.",
        "test_callbacks.py::test_an_answer_is_kept_under_its_output_key_as_if_nothing_had_been",
    ),
    Feature(
        "transfer to another agent",
        "It happens once; the other agent's session is one of its own, and lives on in the same way.",
        "test_callbacks.py::test_a_transfer_happens_once",
    ),
)
