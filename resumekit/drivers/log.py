"""What is logged, and at which level. Events carry no secrets; the log of websockets is scrubbed."""

from __future__ import annotations

import logging

from resumekit.core import events
from resumekit.wire import RedactingFilter

__all__ = ["log_event", "transport_logger"]

_WORTH_NOTING = (events.Connected, events.Resumed, events.FreshStarted)
_SOMETHING_WENT = (
    events.AudioDropped,
    events.ClockJumped,
    events.FrameDiscarded,
    events.HistoryNotLoaded,
    events.HookFailed,
    events.MessageNotSent,
    events.MessagesRepeated,
    events.QuotaStrained,
    events.ResumePointDropped,
    events.SessionExpiring,
    events.SlowConsumer,
    events.StoreFailed,
    events.ToolResponseDropped,
    events.TurnForgotten,
    events.TurnSettled,
    events.VideoDropped,
)

transport_logger = logging.getLogger("resumekit.websockets")
"""Given to websockets, which at DEBUG logs request line, headers and frames: handles and keys are scrubbed."""
transport_logger.addFilter(RedactingFilter())


def log_event(logger: logging.Logger, session: str, event: events.Event) -> None:
    """Log one event: INFO when a connection is there, WARNING when data was dropped, ERROR when the session is lost."""
    if isinstance(event, events.SessionEnded):
        if event.error is not None:
            logger.error("%s: %s", session, event.error)
        else:
            level = logging.WARNING if event.unsent_messages or event.unsent_audio else logging.DEBUG
            logger.log(level, "%s: closed: %r", session, event)
        return
    level = logging.DEBUG
    if isinstance(event, _WORTH_NOTING):
        level = logging.WARNING if getattr(event, "lost_audio", 0.0) else logging.INFO
    elif isinstance(event, _SOMETHING_WENT):
        level = logging.WARNING
    logger.log(level, "%s: %r", session, event)
