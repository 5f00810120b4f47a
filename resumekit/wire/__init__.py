"""The frames of the Live API: read, written, edited, and kept out of logs.

Pure functions and values. Nothing here awaits or asks the time, and nothing else spells camelCase.
"""

# ruff: noqa: I001 -- one name a line would hide the four lists
from __future__ import annotations

from resumekit.wire.client import ClientKind, ClientMessage, FunctionResponse, HistoryTurn, decode_client
from resumekit.wire.frames import (
    INTERRUPTED_FRAME, TURN_COMPLETE_FRAME, args_key, bind_setup, content_frame,
    input_transcription_frame, realtime_text_frame, setup_background_tools, setup_compresses, setup_compression_trigger, setup_fingerprint, setup_handle,
    setup_manual_activity, setup_model, setup_proactive, setup_seeds_history, setup_transparent,
    tool_call_cancellation_frame, tool_call_frame, tool_response_frame, with_transcription, without_key,
)  # fmt: skip
from resumekit.wire.media import MediaShape, media_shape
from resumekit.wire.redact import RedactingFilter, ResumptionHandle, redact
from resumekit.wire.server import (
    Blob, Content, Cut, FunctionCall, GoAway, Part, ServerContent, ServerMessage, SessionResumptionUpdate,
    SetupComplete, ToolCall, ToolCallCancellation, Transcription, UsageMetadata, VoiceActivity,
    VoiceActivityDetectionSignal, decode_server, int64, is_empty, known_keys, parse_duration, top_level,
)  # fmt: skip

__all__ = [
    "INTERRUPTED_FRAME", "TURN_COMPLETE_FRAME", "Blob", "ClientKind", "ClientMessage", "Content", "Cut", "FunctionCall",
    "FunctionResponse", "GoAway", "HistoryTurn", "MediaShape", "Part", "RedactingFilter", "ResumptionHandle",
    "ServerContent", "ServerMessage", "SessionResumptionUpdate", "SetupComplete", "ToolCall",
    "ToolCallCancellation", "Transcription", "UsageMetadata", "VoiceActivity", "VoiceActivityDetectionSignal",
    "args_key", "bind_setup", "content_frame", "decode_client", "decode_server",
    "input_transcription_frame", "int64", "is_empty", "known_keys", "media_shape", "parse_duration", "realtime_text_frame", "redact",
    "setup_background_tools", "setup_compresses", "setup_compression_trigger", "setup_fingerprint", "setup_handle", "setup_manual_activity", "setup_model",
    "setup_proactive", "setup_seeds_history", "setup_transparent", "tool_call_cancellation_frame", "tool_call_frame",
    "tool_response_frame", "top_level", "with_transcription", "without_key",
]  # fmt: skip
