"""OpenTelemetry's SDK, with exporters in memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
from types import SimpleNamespace

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from resumekit_otel import Telemetry

asyncio.set_event_loop(None)  # pytest-asyncio 1.5 would make one that nobody closes

GLOBAL = TracerProvider()
"""It can be set once in a process; google-adk, and the installed plugin, use it."""
trace.set_tracer_provider(GLOBAL)


class Seen:
    """What was exported."""

    def __init__(self, exporter, reader):
        self._exporter, self._reader = exporter, reader

    @property
    def spans(self):
        """All that have ended, in the order of their beginnings."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: (span.start_time, span.end_time))

    def named(self, name):
        return [span for span in self.spans if span.name == f"resumekit.{name}"]

    def one(self, name):
        (span,) = self.named(name)
        return span

    @property
    def metrics(self):
        """Name -> the metric."""
        data = self._reader.get_metrics_data()
        scopes = [] if data is None else [scope for found in data.resource_metrics for scope in found.scope_metrics]
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name):
        metric = self.metrics.get(f"resumekit.{name}")
        return [] if metric is None else list(metric.data.data_points)

    def sum(self, name, **attributes):
        """Of all points that have these attributes; of a histogram, how many values it got."""
        wanted = {key.replace("_", "."): value for key, value in attributes.items()}
        return sum(
            getattr(point, "count", None) or getattr(point, "value", 0)
            for point in self.points(name)
            if wanted.items()
            <= {key.removeprefix("resumekit."): value for key, value in point.attributes.items()}.items()
        )

    def everything(self):
        """Every word of it."""
        spans = [json.loads(span.to_json()) for span in self.spans]
        data = self._reader.get_metrics_data()
        return json.dumps(spans) + ("" if data is None else data.to_json())


@pytest.fixture(scope="session")
def recorder():
    """Return what makes a plugin of the test's own, `seen.telemetry`, and sees what it exports."""

    @contextlib.contextmanager
    def record():
        exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
        traces, metrics = TracerProvider(), MeterProvider([reader])
        traces.add_span_processor(SimpleSpanProcessor(exporter))
        seen = Seen(exporter, reader)
        seen.tracer = traces.get_tracer("test")
        seen.telemetry = Telemetry(traces, metrics)
        yield seen
        traces.shutdown()
        metrics.shutdown()

    return record


@pytest.fixture
def seen(recorder):
    """What a plugin of the test's own exports: `seen.telemetry`."""
    with recorder() as seen:
        yield seen


@pytest.fixture
def spans_of_the_process():
    """What the global provider exports."""
    exporter = InMemorySpanExporter()
    processor = SimpleSpanProcessor(exporter)
    GLOBAL.add_span_processor(processor)
    try:
        yield Seen(exporter, SimpleNamespace(get_metrics_data=lambda: None))
    finally:
        processor.shutdown()
        exporter.shutdown()
