"""The close reasons of the real service, as public bug reports quote them, and the one place that cuts them to a close frame.

Those below that no report gives are marked as guessed.
"""

from __future__ import annotations

__all__ = [
    "ABORTED",
    "DEADLINE",
    "ENTITY_NOT_FOUND",
    "EXPLICIT_ACTIVITY",
    "INTERNAL",
    "INVALID_ARGUMENT",
    "INVALID_HANDLE",
    "NOT_JSON",
    "OLD_BINDING",
    "QUOTA",
    "SESSION_EXPIRED",
    "SETUP_FIRST",
    "TWO_MODALITIES",
    "cut_reason",
    "model_not_found",
    "unknown_name",
]

INVALID_HANDLE = "Invalid session handle."
INVALID_ARGUMENT = "Request contains an invalid argument."
SESSION_EXPIRED = "BidiGenerateContent session expired"
ENTITY_NOT_FOUND = "Requested entity was not found."
DEADLINE = "Deadline expired before operation could complete."
ABORTED = "The operation was aborted."
INTERNAL = "Internal error encountered."
EXPLICIT_ACTIVITY = "Explicit activity control is not supported when automatic activity detection is enabled."
TWO_MODALITIES = (
    "At most one response modality can be specified in the setup request. "
    "To enable simultaneous transcription and audio output,"  # no report has the rest: this is 123 bytes
)
QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this "
    "error, head to: https://ai.google.dev/gemini-api/docs/rate-limits."
)

# Guessed: no report gives these texts.
SETUP_FIRST = "setup must be the first message and only the first"
OLD_BINDING = "Session is already in use by another connection."
NOT_JSON = "Invalid JSON payload received. Unexpected token."

_CLOSE_REASON_BYTES = 123


def unknown_name(name: str, where: str = "") -> str:
    """Return the refusal of a field that the service does not know."""
    place = f" at '{where}'" if where else ""
    return f'Invalid JSON payload received. Unknown name "{name}"{place}: Cannot find field.'


def model_not_found(model: str, version: str) -> str:
    """Return the refusal of a model name."""
    return (
        f"{model} is not found for API version {version}, or is not supported for bidiGenerateContent. "
        "Call ModelService.ListModels to see the list of available models and their supported methods."
    )


def cut_reason(reason: str) -> str:
    """Cut a status text to the 123 bytes that a WebSocket close frame has room for."""
    return reason.encode()[:_CLOSE_REASON_BYTES].decode(errors="ignore")
