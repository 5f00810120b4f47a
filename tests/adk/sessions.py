"""ADK's sessions in a file, made fit for a Live run."""

from __future__ import annotations

import asyncio
from typing import Any

from google.adk.events import Event
from google.adk.sessions.sqlite_session_service import SqliteSessionService

__all__ = ["OneAtATime"]


class OneAtATime(SqliteSessionService):
    """ADK's session service, writing one event at a time.

    A Live run writes from two tasks: what the user asks, and what the model says. The one here does not wait between
    them, and where the second looks while the first is about to note that it has written, it finds the session stale.
    (`DatabaseSessionService` has such a lock of its own.)
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._writing = asyncio.Lock()

    async def append_event(self, session: Any, event: Event) -> Event:
        async with self._writing:
            return await super().append_event(session, event)
