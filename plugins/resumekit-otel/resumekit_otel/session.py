"""One session: its spans, and what it adds to the metrics.

A session is one span. Below it lie the connections, and what leads to each: the *way*, which is the first connect, the
recovery from a loss, or a move. A way begins when it is known that a connection is needed: at a loss, or at a goAway.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry import context, trace
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer

from resumekit import events
from resumekit_otel import names
from resumekit_otel.instruments import Instruments

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

__all__ = ["Session"]

_UNTOLD = ("at", "session", "digest")


class Session:
    """What is known of one session.

    Args:
        tracer: Makes the spans.
        instruments: Of the metrics.
        started: Its first event, while the context in which the application opens it is the current one.
    """

    def __init__(self, tracer: Tracer, instruments: Instruments, started: events.SessionStarted) -> None:
        self._tracer = tracer
        self._metrics = instruments
        self._labels = {names.PROVIDER: names.provider_of(started.model), names.MODEL: names.model_of(started.model)}
        self._began = started.at
        self._span = tracer.start_span(
            "resumekit.session",
            attributes={**self._labels, names.SESSION: started.session},
            start_time=_ns(started.at),
        )
        self._context = trace.set_span_in_context(self._span)
        self._connection: _Stretch | None = None
        """The one that is live."""
        self._way: _Stretch | None = self._begin("resumekit.connect", started.at)
        """To the next one. It may be there while a connection is live: a move that was announced."""
        self._cause = ""
        """Of the way."""
        self._failure: str | None = None
        """Why the last connection, or dial, failed; None while a connection is live."""
        self._dial_due = started.at
        self._queued = False
        self._metrics.active.add(1, self._labels)

    def tell(self, event: events.Event) -> None:
        """Take an event, but for the first and the last one."""
        metrics, labels = self._metrics, self._labels
        match event:
            case events.HandleReceived():  # one for each turn
                pass
            case events.Connected() | events.Resumed() | events.FreshStarted():
                self._bound(event)
            case events.GoAwayReceived():
                self._go_away(event)
            case events.Moving():
                self._moving(event)
            case events.ConnectionLost():
                self._lost(event)
            case events.ReconnectScheduled():
                self._dial_due = event.at + event.delay
            case events.Queued():
                if not self._queued:
                    self._queued = True
                    metrics.pending.add(1, labels)
            case events.Admitted():
                self._leave_queue()
                metrics.waited.record(event.waited, labels)
                self._note(event)
            case _:
                self._count(event)
                self._note(event)

    def end(self, at: float, error: str | None = None, *, unsent: int = 0) -> None:
        """End all spans, those of a connection that is live, and of a way that leads nowhere, among them.

        Args:
            at: When, in Unix time.
            error: What the user is told; None: the application closed it.
            unsent: Messages that were never sent.
        """
        failed = None if error is None else self._failure or names.OTHER
        self._leave_queue()
        if self._connection is not None:
            self._end_connection(at, "closed" if failed is None else "lost", failed)
        if self._way is not None:
            self._way.end(at, {names.OUTCOME: "lost"} if failed else {}, failed, error)
        _fail(self._span, failed, error)
        self._span.end(_ns(max(at, self._began)))
        labels = self._labels if failed is None else {**self._labels, names.ERROR: failed}
        self._metrics.active.add(-1, self._labels)
        self._metrics.session.record(max(at - self._began, 0.0), labels)
        if unsent:
            self._metrics.unsent.add(unsent, self._labels)

    # --- connections, and the ways to them

    def _bound(self, event: events.Connected | events.Resumed | events.FreshStarted) -> None:
        way, self._way, self._failure = self._way, None, None
        outcome = {names.OUTCOME: "fresh" if isinstance(event, events.FreshStarted) else "resumed"}
        if isinstance(event, events.Connected):
            outcome = {names.OUTCOME: "resumed" if event.resumed else "new"}
        else:
            labels = {**self._labels, names.CAUSE: self._cause, **outcome}
            moved = way is not None and way.name == "resumekit.move"
            self._metrics.reconnects.add(1, labels)
            (self._metrics.gap if moved else self._metrics.recovery).record(event.downtime, labels)
            self._metrics.resent.add(event.resent_messages, self._labels)
            self._metrics.audio_lost.add(event.lost_audio, self._labels)
        if isinstance(event, events.Resumed):
            self._metrics.audio_resent.add(event.resent_audio, self._labels)
        links = []
        if way is not None:
            links = [way.link]
            way.end(event.at, {**outcome, **_plain(event, but=("connection", "planned", "resumed"))})
        self._connection = self._begin(
            "resumekit.connection",
            event.at,
            {**self._labels, names.PROTOCOL: "websocket", names.CONNECTION: event.connection, **outcome},
            links=links,
            kind=SpanKind.CLIENT,
        )

    def _go_away(self, event: events.GoAwayReceived) -> None:
        if self._way is None:
            self._way = self._begin_way("resumekit.move", event.at, "goAway", self._connection)
        self._way.span.set_attributes(_plain(event, but=("connection",)))

    def _moving(self, event: events.Moving) -> None:
        if self._way is None:
            self._way = self._begin_way("resumekit.move", event.at, event.cause, self._connection)
        self._cause = event.cause
        self._way.span.set_attributes({names.CAUSE: event.cause, "resumekit.quiet": event.quiet})
        self._dial_due = event.at
        self._end_connection(event.at, "moved")

    def _lost(self, event: events.ConnectionLost) -> None:
        self._failure = failed = names.error_type(event.close_code, event.status_code, event.ended_by)
        facts: dict[str, AttributeValue] = {"resumekit.verdict": event.verdict}
        if event.close_code is not None:
            facts[names.CLOSE_CODE] = event.close_code
        if event.status_code is not None:
            facts[names.STATUS] = event.status_code
        if event.phase == "live":
            if self._way is not None:  # a move, which the loss came before
                self._way.end(event.at, {names.OUTCOME: "lost"}, failed, event.reason)
            ended = self._connection
            self._end_connection(event.at, "lost", failed, event.reason, facts)
            self._way = self._begin_way("resumekit.recovery", event.at, failed, ended)
            return
        self._metrics.failed_dials.add(1, {**self._labels, names.ERROR: failed, names.PHASE: event.phase})
        facts |= {names.CONNECTION: event.connection, names.PHASE: event.phase}
        parent = self._context if self._way is None else self._way.context
        dial = self._begin("resumekit.dial", min(self._dial_due, event.at), facts, parent=parent, kind=SpanKind.CLIENT)
        dial.end(event.at, {}, failed, event.reason)

    def _begin(
        self,
        name: str,
        at: float,
        attributes: Mapping[str, AttributeValue] | None = None,
        *,
        parent: context.Context | None = None,
        links: Sequence[Link] = (),
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> _Stretch:
        parent = parent or self._context
        span = self._tracer.start_span(name, parent, kind, attributes, links, start_time=_ns(at))
        return _Stretch(name, span, at, trace.set_span_in_context(span, parent))

    def _begin_way(self, name: str, at: float, cause: str, ended: _Stretch | None) -> _Stretch:
        self._cause = cause
        return self._begin(name, at, {names.CAUSE: cause}, links=[] if ended is None else [ended.link])

    def _end_connection(
        self,
        at: float,
        how: str,
        failed: str | None = None,
        reason: str | None = None,
        facts: Mapping[str, AttributeValue] | None = None,
    ) -> None:
        ended, self._connection = self._connection, None
        if ended is None:
            return
        ended.end(at, {names.END: how, **(facts or {})}, failed, reason)
        labels = {**self._labels, names.END: how}
        if failed is not None:
            labels[names.ERROR] = failed
        self._metrics.connection.record(max(at - ended.began, 0.0), labels)

    # --- everything else

    def _leave_queue(self) -> None:
        if self._queued:
            self._queued = False
            self._metrics.pending.add(-1, self._labels)

    def _count(self, event: events.Event) -> None:
        metrics, labels = self._metrics, self._labels
        match event:
            case events.TurnCut():
                metrics.turns.add(1, {**labels, names.FATE: "cut"})
            case events.TurnSettled():
                metrics.turns.add(1, {**labels, names.FATE: "settled"})
            case events.TurnShadowed():
                metrics.turns.add(1, {**labels, names.FATE: "shadowed"})
            case events.TurnForgotten():
                metrics.turns.add(1, {**labels, names.FATE: "forgotten"})
            case events.AudioDropped():
                metrics.audio_dropped.add(event.seconds, labels)
            case events.VideoDropped():
                metrics.video_dropped.add(event.frames, labels)
            case events.MessagesRepeated():
                metrics.repeated.add(len(event.messages), labels)
            case events.HandleRefused():
                metrics.handles.add(1, labels)
            case events.QuotaStrained():
                metrics.strains.add(1, {names.QUOTA: event.what})
            case _:
                pass

    def _note(self, event: events.Event) -> None:
        """Let the innermost span have it as an event of its own: the way, the connection, or the session."""
        innermost = self._way or self._connection
        span = self._span if innermost is None else innermost.span
        span.add_event(_name_of(type(event)), _plain(event), _ns(event.at))


class _Stretch:
    """A span, from when on, and the context for those below it."""

    def __init__(self, name: str, span: Span, began: float, inside: context.Context) -> None:
        self.name = name
        self.span = span
        self.began = began
        self.context = inside

    @property
    def link(self) -> Link:
        return Link(self.span.get_span_context())

    def end(
        self,
        at: float,
        attributes: Mapping[str, AttributeValue],
        failed: str | None = None,
        reason: str | None = None,
    ) -> None:
        self.span.set_attributes(attributes)
        _fail(self.span, failed, reason)
        self.span.end(_ns(max(at, self.began)))  # the wall clock may have been set back


def _fail(span: Span, failed: str | None, reason: str | None) -> None:
    if failed is not None:
        span.set_attribute(names.ERROR, failed)
        span.set_status(Status(StatusCode.ERROR, reason or failed))


def _ns(at: float) -> int:
    return int(at * 1e9)


def _plain(event: events.Event, *, but: Sequence[str] = ()) -> dict[str, Any]:
    """Return what an event says, as attributes; without digests of handles, too."""
    return {
        f"resumekit.{name}": value
        for name in event.__struct_fields__
        if (value := getattr(event, name)) is not None and name not in (*_UNTOLD, *but)
    }


@functools.cache
def _name_of(kind: type[events.Event]) -> str:
    return "resumekit." + re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
