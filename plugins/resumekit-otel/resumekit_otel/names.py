"""The names of spans, attributes and metrics: after OpenTelemetry's semantic conventions where they have one.

The conventions for generative AI (0.1.0, with 1.45 of the others) have spans for what a model generates, and none for
connections that come and go below a conversation: what is ours alone begins with ``resumekit.``.
"""

from __future__ import annotations

__all__ = ["error_type", "model_of", "provider_of"]

# --- of the conventions

PROVIDER = "gen_ai.provider.name"
MODEL = "gen_ai.request.model"
ERROR = "error.type"
STATUS = "http.response.status_code"
"""Of a WebSocket upgrade that was refused."""
PROTOCOL = "network.protocol.name"

# --- ours, on spans alone

SESSION = "resumekit.session.name"
"""As events and log name it; with `ResumekitPlugin` the names of ADK's app, user and session are in it."""
CONNECTION = "resumekit.connection.number"
CLOSE_CODE = "resumekit.close_code"

# --- ours, on spans and metrics: each has a handful of values

CAUSE = "resumekit.cause"
"""Why there is another connection: ``goAway``, ``limit``, ``request``, or an ``error.type``."""
OUTCOME = "resumekit.outcome"
"""How it goes on: ``new``, ``resumed``, ``fresh`` (from replayed history), or ``lost``."""
END = "resumekit.connection.end"
"""``moved``, ``lost`` or ``closed``."""
PHASE = "resumekit.phase"
"""``dial`` or ``bind``: how far a dial came."""
FATE = "resumekit.turn.fate"
"""``cut``, ``settled``, ``shadowed`` or ``forgotten``."""
QUOTA = "resumekit.quota"
OPERATION = "resumekit.store.operation"
HOOK = "resumekit.hook"

OTHER = "_OTHER"
"""Of the conventions: an error that has no name of its own."""


def provider_of(model: str) -> str:
    """Return who serves a model, told by its name: Vertex AI's have a path."""
    return "gcp.vertex_ai" if model.startswith(("projects/", "publishers/")) else "gcp.gemini"


def model_of(model: str) -> str:
    """Return the name of a model without its path, which has the project in it."""
    return model.rpartition("/")[2] or OTHER


def error_type(close_code: int | None, status_code: int | None, ended_by: str) -> str:
    """Return why a connection ended, as one of a bounded number of words.

    An HTTP status, a close code of the WebSocket protocol, ``timeout`` for what this side gave up, or ``network``.
    """
    if status_code is not None:
        return str(status_code) if 100 <= status_code <= 599 else OTHER
    if ended_by == "nobody":  # 1006 says no more
        return "network"
    if close_code is not None:
        return str(close_code) if 1000 <= close_code <= 1015 else OTHER
    return "timeout" if ended_by == "we" else OTHER
