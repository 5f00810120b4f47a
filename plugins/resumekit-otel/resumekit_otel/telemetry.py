"""The plugin: which session an event belongs to, and what becomes of sessions whose last event never comes."""

from __future__ import annotations

import asyncio
import time
from importlib.metadata import version
from typing import TYPE_CHECKING

from opentelemetry import metrics, trace

from resumekit import events
from resumekit.hookspecs import hookimpl
from resumekit_otel import names
from resumekit_otel.instruments import Instruments
from resumekit_otel.session import Session

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["Telemetry"]

_SCOPE = "resumekit"


class Telemetry:
    """A plugin of resumekit: `connect(..., plugins=[Telemetry(...)])`. Installed, there is one over the global providers.

    One serves any number of sessions, threads and event loops. Nothing in it waits, but what a span processor does when a
    span ends happens on the event loop: use a `BatchSpanProcessor`.

    Args:
        tracer_provider: Of the spans; None: the global one.
        meter_provider: Of the metrics; None: the global one.
    """

    def __init__(
        self, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        ours = version("resumekit-otel")
        self._tracer = trace.get_tracer(_SCOPE, ours, tracer_provider)
        self._instruments = Instruments(metrics.get_meter(_SCOPE, ours, meter_provider))
        self._sessions: dict[asyncio.AbstractEventLoop, dict[str, Session]] = {}

    @hookimpl
    def on_event(self, event: events.Event) -> None:
        """Take an event of any session."""
        match event:
            case events.SessionStarted():
                self._reap()
                session = Session(self._tracer, self._instruments, event)
                self._sessions.setdefault(asyncio.get_running_loop(), {})[event.session] = session
            case events.SessionEnded():
                ended = self._forget(event.session)
                if ended is not None:
                    ended.end(event.at, event.error, unsent=event.unsent_messages)
            case _:
                known = self._session(event.session)
                if known is not None:
                    known.tell(event)
                self._count(event)

    def _session(self, name: str) -> Session | None:
        return next((sessions[name] for sessions in list(self._sessions.values()) if name in sessions), None)

    def _forget(self, name: str) -> Session | None:
        for loop, sessions in list(self._sessions.items()):
            ended = sessions.pop(name, None)
            if ended is not None:
                if not sessions:
                    self._sessions.pop(loop, None)
                return ended
        return None

    def _reap(self) -> None:
        """End the sessions of event loops that were closed over them: their last event never comes."""
        for loop in [loop for loop in list(self._sessions) if loop.is_closed()]:
            for session in self._sessions.pop(loop, {}).values():
                session.end(time.time(), "its event loop was closed")

    def _count(self, event: events.Event) -> None:
        """Count what may be told after the end of a session, too."""
        match event:
            case events.StoreFailed():
                self._instruments.store_failures.add(1, {names.OPERATION: event.operation})
            case events.HookFailed():
                self._instruments.hook_failures.add(1, {names.HOOK: event.hook})
            case _:
                pass
