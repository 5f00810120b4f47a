"""Tells everybody of a session's events: the log, the iterators, the plugins, and the application."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from resumekit.core.events import Event
from resumekit.drivers.events import EventLog, Events
from resumekit.drivers.log import SessionLog

__all__ = ["OnEvent", "Publisher"]

OnEvent: TypeAlias = Callable[[Event], object]


class Publisher:
    """Publishes the events of one session.

    Args:
        logger: Of the part that publishes.
        session: Its name in events and log.
        on_event: Called with every event, at once, last of all; must not block. What it raises is logged once.
        tell_plugins: Called with every event before that; must not raise.
    """

    __slots__ = ("_failed", "_kept", "_logger", "_on_event", "_session", "_story", "_tell_plugins")

    def __init__(
        self,
        logger: logging.Logger,
        session: str,
        *,
        on_event: OnEvent | None,
        tell_plugins: Callable[[Event], None] | None,
    ) -> None:
        self._logger = logger
        self._session = session
        self._on_event = on_event
        self._tell_plugins = tell_plugins
        self._story = SessionLog(logger, session)
        self._kept = EventLog()
        self._failed = False
        """`on_event` raised."""

    @property
    def events(self) -> Events:
        """A new iterator over the events, from the oldest one that is kept."""
        return Events(self._kept)

    def publish(self, event: Event) -> None:
        """Tell of an event; what is told bears the time and the session's name. Never raises."""
        self._story.tell(event)
        event = msgspec.structs.replace(event, at=time.time(), session=self._session)
        self._kept.add(event)
        if self._tell_plugins is not None:
            self._tell_plugins(event)
        if self._on_event is not None:
            self._tell_application(self._on_event, event)

    def end(self) -> None:
        """Let the iterators end when they have read what is there."""
        self._kept.end()

    def _tell_application(self, listener: OnEvent, event: Event) -> None:
        try:
            answer = listener(event)
            if inspect.iscoroutine(answer):
                answer.close()
                raise TypeError("on_event returned a coroutine: it is called, never awaited")
        except (Exception, asyncio.CancelledError):  # the application's: it must not take the session down
            if not self._failed:
                self._failed = True
                self._logger.exception("%s: on_event raised; further errors of it are not logged", self._session)
