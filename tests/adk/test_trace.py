"""Traces of ADK's Live sessions: one for each, without what was said, or whose conversation it is."""

from __future__ import annotations

import pytest

from resumekit.adapters.adk import ResumableGemini, register
from resumekit.errors import ConfigurationError
from resumekit.trace import replay
from tests.adk.support import NAMES, run, service
from tests.adk.test_tools import Notes
from tests.secrets import API_KEY

pytestmark = pytest.mark.network


async def test_a_run_is_traced(tmp_path):
    path = tmp_path / "call.jsonl"
    notes = Notes()
    async with service() as server, run(server, tools=[notes.note], trace=path) as talk:
        await talk.ask('canary one [tool:note {"what": "canary two"}]')
    assert notes.written == ["canary two"]
    result = replay(path)
    assert result.same, result
    trace = path.read_text("utf-8")
    assert "note" in trace
    for secret in ("canary", API_KEY, *NAMES.values()):
        assert secret not in trace


def test_a_trace_that_makes_no_sense_is_refused_at_once():
    for make in (ResumableGemini, register):
        with pytest.raises((ConfigurationError, ValueError), match=r"trace is 'in \{braces\}'"):
            make(trace="in {braces}")
