"""What resumekit knows of the inside of google-adk, and nothing else does.

Two things are not public there: which way of ending `receive()` ends a run, and the task that sends for a connection.
"""

from __future__ import annotations

import asyncio
import re
from importlib.metadata import version

__all__ = ["ENDS_QUIETLY", "NEVER_REDIALS", "VERSION", "sender_of"]

VERSION = tuple(int(number) for number in re.findall(r"\d+", version("google-adk"))[:3])

ENDS_QUIETLY = VERSION >= (2, 9)
"""A `receive()` that returns without a response ends the run; before, only an exception did."""
NEVER_REDIALS = VERSION < (1, 30)
"""An `APIError` ends the run. Later versions dial again after some of them, where they know a handle."""

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
