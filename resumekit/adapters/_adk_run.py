"""Whose conversation it is: what `ResumekitPlugin` knows of a run of ADK, for the model's `connect()`."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING
from urllib.parse import quote

from google.adk.agents import LiveRequest, LiveRequestQueue

from resumekit.adapters import _adk_seam as seam
from resumekit.core import events

if TYPE_CHECKING:
    from google.adk.agents.invocation_context import InvocationContext

    from resumekit.adapters._adk_connection import Session

__all__ = ["Run", "current_run", "guarded"]

_log = logging.getLogger("resumekit.adk")


class Run:
    """A run of ADK, in which one Live session after the other may be opened."""

    def __init__(self, invocation: InvocationContext) -> None:
        self._invocation_id = invocation.invocation_id
        names = (invocation.app_name, invocation.user_id, invocation.session.id)
        self.key = "/".join(quote(name, safe="") for name in names)
        """Of the conversation. The agent is no part of it: where another one goes on, what the first one's model knew
        is out of date."""
        self.agent = "" if invocation.agent is None else invocation.agent.name
        """The one at work."""
        self.session: Session | None = None
        """The newest that was opened."""

    @property
    def label(self) -> str:
        """For events and log."""
        return f"{self.key}/{quote(self.agent, safe='')}"

    def at_work(self, agent: str) -> None:
        """An agent begins; it may open a session from here."""
        self.agent = agent
        _run.set(self)

    def is_of(self, invocation: InvocationContext | None) -> bool:
        """Whether this is the run of an invocation."""
        return invocation is not None and invocation.invocation_id == self._invocation_id


_run: ContextVar[Run | None] = ContextVar("resumekit_run", default=None)


def current_run() -> Run | None:
    """Return the run that opens a session, if `ResumekitPlugin` knows it."""
    run = _run.get()
    return run if run is not None and run.is_of(seam.invocation_at_work()) else None


class _Guard(LiveRequestQueue):
    """The application's queue, seen from ADK's sender: without what would end it."""

    _run: Run

    async def get(self) -> LiveRequest:
        while True:
            request = await super().get()
            problem = _deadly(request)
            if problem is None:
                return request
            if self._run.session is None:
                _log.warning("a message was not sent: %s", problem)
            else:
                self._run.session.report(events.MessageNotSent(problem=problem))


def _deadly(request: LiveRequest) -> str | None:
    """Tell what is wrong with a request that would end the sender of one version or another."""
    if request.blob is not None and request.blob.data is None:
        return "a blob without data"
    if request.content is not None and any(part.function_call for part in request.content.parts or ()):
        return "a user's content with a function call"
    return None


def guarded(queue: LiveRequestQueue, run: Run) -> LiveRequestQueue:
    """Return another view of the same queue."""
    if isinstance(queue, _Guard):  # a second plugin's
        return queue
    view: LiveRequestQueue = object.__new__(type("GuardedQueue", (_Guard, type(queue)), {"_run": run}))
    view.__dict__ = queue.__dict__
    return view
