"""The decoder of the engine sees in a frame what google-genai sees there, as far as it decides what becomes of a session."""

from __future__ import annotations

import pytest
from hypothesis import given

pytest.importorskip("google.genai")

from google.genai import types

from resumekit.wire import decode_server, int64
from tests.adapters.equality import difference, outcome, receive
from tests.adapters.live_frames import FRAMES
from tests.adapters.schema_frames import frames

BACKENDS = pytest.mark.parametrize("vertex", [False, True], ids=["mldev", "vertex"])
MARKS = "turn_complete", "interrupted", "generation_complete", "waiting_for_input"
KNOWS_STATUS = "interaction_status" in types.LiveServerContent.model_fields
LENIENT = (
    "snake_case",  # google-genai takes the names of Python, proto3 JSON has no other than camelCase
    "both cases",
    "lower-case enums",  # proto3 JSON has the names of enum values as they are
    "mark as a word",  # "yes" is true to pydantic
    "mark as a fraction",  # so is 1.0
    "lone surrogate in a handle",  # half a character, which is replaced here: it could not be sent back
    "lone surrogate in arguments",
    "raw: surrogates",
)
"""Frames that no service writes, of which google-genai makes more than the engine needs to."""


def decisive(message):
    """Return what the engine decides by, of a message of either kind."""
    content, update, setup = message.server_content, message.session_resumption_update, message.setup_complete
    calls, cancelled, go_away = message.tool_call, message.tool_call_cancellation, message.go_away
    status = content and KNOWS_STATUS and content.interaction_status
    return {
        "setup": setup and [setup.session_id],
        "go away": go_away and [go_away.time_left],
        "update": update
        and [update.new_handle, bool(update.resumable), int64(update.last_consumed_client_message_index)],
        "calls": calls
        and [(one.id, one.name, one.args, bool(one.will_continue)) for one in calls.function_calls or ()],
        "cancelled": cancelled and [cancelled.ids],
        "marks": content and {name: bool(getattr(content, name)) for name in MARKS},
        "status": status and getattr(status, "value", status),
        "model turn": content and content.model_turn is not None,
        "transcripts": content and [content.input_transcription is None, content.output_transcription is None],
    }


def compared(frame, *, vertex):
    """Return where the two see other things in a frame; None for one that google-genai refuses, or finds empty."""
    theirs = outcome(receive, frame, vertex=vertex)
    if isinstance(theirs, Exception) or not theirs.model_fields_set:
        return None
    return difference(decisive(decode_server(frame)), decisive(theirs))


@BACKENDS
def test_corpus(vertex):
    problems = {
        name: problem
        for name, frame in FRAMES.items()
        if not name.startswith(LENIENT) and (problem := compared(frame, vertex=vertex)) is not None
    }
    assert problems == {}


@BACKENDS
@given(frame=frames(odd=False))
def test_any_plain_frame(vertex, frame):
    assert compared(frame, vertex=vertex) is None
