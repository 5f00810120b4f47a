"""What resumekit knows of the inside of google-adk, and nothing else does.

Not public there: which way of ending `receive()` ends a run, on which errors ADK dials again, the task that sends for
a connection, and the run that a connection is for.
"""

from __future__ import annotations

import asyncio
import re
import sys
from importlib.metadata import version
from types import FrameType

from google.adk.agents.invocation_context import InvocationContext
from google.genai.errors import APIError
from websockets.exceptions import ConnectionClosed

from resumekit.errors import ConfigurationError

__all__ = [
    "ENDS_QUIETLY",
    "NEVER_REDIALS",
    "SHOWS_UPDATES",
    "VERSION",
    "check",
    "invocation_at_work",
    "sender_of",
    "unknown",
    "would_redial",
]

VERSION = tuple(int(number) for number in re.findall(r"\d+", version("google-adk"))[:3])

ENDS_QUIETLY = VERSION >= (2, 9)
"""A `receive()` that returns without a response ends the run; before, only an exception did."""
NEVER_REDIALS = VERSION < (1, 30)
"""An `APIError` ends the run. Later versions dial again after some of them, where they know a handle."""
SHOWS_UPDATES = not NEVER_REDIALS
"""Resumption updates reach the application's events. Before, ADK only kept the handle, and gave it to the next agent."""


def check() -> None:
    """See whether this version is built as resumekit needs it.

    Raises:
        ConfigurationError: It is not; what is different is not told, only the version.
    """
    from google.adk.models import Gemini

    if not (hasattr(Gemini, "_live_api_client") and hasattr(Gemini, "connect")):
        raise unknown()


def unknown() -> ConfigurationError:
    """Return what is raised for a version that is built otherwise."""
    return ConfigurationError(
        f"google-adk {'.'.join(map(str, VERSION))} opens its Live sessions in a way that resumekit does not know; use a"
        " version that is supported, or report it"
    )


def would_redial(error: Exception) -> bool:
    """Tell whether ADK takes an error for one that another connection with the same handle may mend."""
    return isinstance(error, ConnectionClosed) or (isinstance(error, APIError) and error.code in _RECOVERABLE)


_RECOVERABLE = (1000, 1006, 1011)


def invocation_at_work() -> InvocationContext | None:
    """Return the invocation that a model's `connect()` is called for; None if it cannot be found.

    ADK does not tell the model. What was noted before, in a context variable, may be another run's: one that was left
    without being closed, or one whose tool runs this one.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 -- whoever calls us
    while frame is not None:
        found = frame.f_locals.get("invocation_context")
        if isinstance(found, InvocationContext):
            return found
        frame = frame.f_back
    return None


_SENDERS = ("_send_to_model", "send_to_model")


def sender_of(connection: object) -> asyncio.Task[object] | None:
    """Return the task that takes what the application sends to this connection; None if it cannot be found.

    ADK keeps it to itself, and looks at it only when the connection ends: were it to die, nobody would know.
    """
    for task in asyncio.all_tasks():
        frame = getattr(task.get_coro(), "cr_frame", None)
        if (
            frame is not None
            and frame.f_code.co_name in _SENDERS
            and frame.f_locals.get("llm_connection") is connection
        ):
            return task
    return None
