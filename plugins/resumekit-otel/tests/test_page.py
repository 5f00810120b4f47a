"""The code for OpenTelemetry of docs/how-to/observe.md, as it stands there, in a process of its own: providers are set once."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "observe.md"
BEFORE = """
import resumekit_otel  # before there is any provider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

span_exporter, metric_reader = InMemorySpanExporter(), InMemoryMetricReader()
"""
AFTER = """
import asyncio, ssl
from resumekit.adapters import websockets as resumable
from resumekit.emulator import LiveServer

PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"

async def main():
    async with LiveServer(time_scale=0.05) as live:
        async with resumable.connect(
            f"wss://{live.host}:{live.port}{PATH}",
            setup={"model": "models/gemini-2.5-flash-live", "generationConfig": {"responseModalities": ["TEXT"]}},
            additional_headers={"x-goog-api-key": "k"},
            ssl=live.client_ssl_context(),
        ):
            pass

asyncio.run(main())
traces.force_flush()
print(sorted(span.name for span in span_exporter.get_finished_spans()))
data = metric_reader.get_metrics_data()
print(sorted(metric.name for metric in data.resource_metrics[0].scope_metrics[0].metrics))
"""


@pytest.mark.skipif(not PAGE.exists(), reason="not in resumekit's repository")
def test_two_providers_are_all_that_the_installed_plugin_needs():
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (code,) = [block for block in blocks if "opentelemetry" in block]
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + code + AFTER], check=False, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    spans, metrics = done.stdout.splitlines()
    assert spans == "['resumekit.connect', 'resumekit.connection', 'resumekit.session']"
    assert "'resumekit.active_sessions'" in metrics
