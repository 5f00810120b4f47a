"""What is logged, and at which level. Events carry no secrets; the log of websockets is scrubbed.

At INFO a call reads as a story: a line for each turn that things take, with its cause and what comes of it.
"""

from __future__ import annotations

import logging
from typing import TypeAlias

from msgspec.structs import replace

from resumekit.core import events
from resumekit.drivers.wording import Line, line_of, line_of_loss
from resumekit.wire import RedactingFilter

__all__ = ["LEVELS", "SessionLog", "level_of", "transport_logger"]

LEVELS: dict[type[events.Event], int] = {
    **dict.fromkeys(
        (
            events.Admitted,
            events.Connected,
            events.ConnectionLost,
            events.Continued,
            events.FreshStarted,
            events.GoAwayReceived,
            events.HandleRefused,
            events.Moving,
            events.ReadingResumed,
            events.ReconnectScheduled,
            events.Resumed,
            events.SessionEnded,
            events.StoreRecovered,
            events.ToolCallAnswered,
            events.ToolCallRebound,
            events.TurnCut,
            events.TurnShadowed,
            events.WaitingForKey,
        ),
        logging.INFO,
    ),
    **dict.fromkeys(
        (
            events.AudioDropped,
            events.ClockJumped,
            events.FrameDiscarded,
            events.HistoryNotLoaded,
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
        ),
        logging.WARNING,
    ),
}
"""Of events that are more than DEBUG. What lost something is a WARNING whatever it is, and a lost session an ERROR."""

_BOUND = (events.Connected, events.Resumed, events.FreshStarted)
_Dropped: TypeAlias = events.AudioDropped | events.VideoDropped | events.FrameDiscarded

transport_logger = logging.getLogger("resumekit.websockets")
"""Given to websockets, which at DEBUG logs request line, headers and frames: handles and keys are scrubbed."""
transport_logger.addFilter(RedactingFilter())


def level_of(event: events.Event) -> int:
    """Return the level of an event."""
    match event:
        case events.SessionEnded(error=str()):
            return logging.ERROR
        case events.SessionEnded() if event.unsent_messages or event.unsent_audio:
            return logging.WARNING
        case events.Resumed() | events.FreshStarted() if event.lost_audio:
            return logging.WARNING
        case events.Continued() if event.left_out:
            return logging.WARNING
        case events.Moving(quiet=True) | events.ReconnectScheduled(attempt=1):  # `Resumed` says as much
            return logging.DEBUG
        case _:
            return LEVELS.get(type(event), logging.DEBUG)


class SessionLog:
    """Logs the events of one session.

    A loss, and the dial that it leads to, are one line. What is dropped again and again is told the first time, and then
    after twice as many times, in sums.
    """

    __slots__ = ("_dropped", "_logger", "_loss", "_name")

    def __init__(self, logger: logging.Logger, name: str) -> None:
        self._logger = logger
        self._name = name
        self._loss: tuple[events.Event, ...] = ()
        """What was not told yet: a loss, and the handle that it ends."""
        self._dropped: dict[type[events.Event], tuple[int, _Dropped]] = {}
        """How often since the connection is there, and what in all."""

    def tell(self, event: events.Event) -> None:
        """Log an event, now or with the next one."""
        if self._loss:
            if isinstance(event, events.HandleRefused):
                self._loss += (event,)
                return
            then = event if isinstance(event, events.ReconnectScheduled) else None
            self._tell_loss(then)
            if then is not None:
                return
        if isinstance(event, events.ConnectionLost):
            self._loss = (event,)
        elif isinstance(event, _Dropped):
            self._drop(event)
        else:
            if self._dropped and isinstance(event, (*_BOUND, events.SessionEnded)):
                self._tell_sums()
            level = level_of(event)
            if self._logger.isEnabledFor(level):
                self._write(level, line_of(event), event)

    def _tell_loss(self, then: events.ReconnectScheduled | None) -> None:
        told, self._loss = self._loss, ()
        for event in told:
            line = line_of_loss(event, then) if isinstance(event, events.ConnectionLost) else line_of(event)
            self._write(logging.INFO, line, event)

    def _drop(self, event: _Dropped) -> None:
        times, before = self._dropped.get(type(event), (0, None))
        whole = event if before is None else _sum(before, event)
        times += 1
        self._dropped[type(event)] = times, whole
        if times & (times - 1) == 0:  # the first, second, fourth time ...
            self._write(logging.WARNING, _line_of_sum(whole, times), whole)

    def _tell_sums(self) -> None:
        dropped, self._dropped = self._dropped, {}
        for times, whole in dropped.values():
            if times & (times - 1):
                self._write(logging.WARNING, _line_of_sum(whole, times), whole)

    def _write(self, level: int, line: Line, event: events.Event) -> None:
        self._logger.log(
            level, "%s: %s", self._name, line, extra={"resumekit_session": self._name, "resumekit_event": event}
        )


def _sum(before: _Dropped, event: _Dropped) -> _Dropped:
    match before, event:
        case events.AudioDropped(), events.AudioDropped():
            return replace(event, seconds=before.seconds + event.seconds, frames=before.frames + event.frames)
        case events.VideoDropped(), events.VideoDropped():
            return replace(event, frames=before.frames + event.frames)
        case _:
            return event


def _line_of_sum(whole: _Dropped, times: int) -> Line:
    line = line_of(whole)
    if times == 1:
        return line
    if isinstance(whole, events.FrameDiscarded):
        return line._replace(what=f"{line.what}, the last of {times} such frames")
    return line._replace(what=f"in all {line.what}")
