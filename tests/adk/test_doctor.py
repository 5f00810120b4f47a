"""``resumekit doctor`` on an application of ADK."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from google.adk.agents import Agent
from google.adk.agents.run_config import RunConfig
from google.adk.apps import App
from google.adk.models import Gemini, LLMRegistry
from google.genai import types

from resumekit.adapters.adk import ResumableGemini, register
from resumekit.cli import main

MODEL = "gemini-live-2.5-flash"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def app(monkeypatch):
    """A module with parts of an application."""
    module = ModuleType("an_adk_app")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


@pytest.fixture
def examine(capsys):
    def examine(*arguments):
        status = main(["doctor", *arguments])
        told = capsys.readouterr().out
        return status, re.sub(" {2,}", "  ", told.partition("\nYour application\n")[2]), told

    return examine


def compression(trigger, target):
    window = types.SlidingWindow(target_tokens=target)
    return types.ContextWindowCompressionConfig(trigger_tokens=trigger, sliding_window=window)


def test_google_adk_is_named_and_looked_at(examine):
    _, _, told = examine()
    assert re.search(r"^  ok +google-adk +\d", told, re.MULTILINE)
    assert "google-adk as resumekit uses it\n  ok   private names  as expected\n" in told


def test_a_google_adk_that_is_built_otherwise_is_a_problem(examine, monkeypatch):
    monkeypatch.delattr(Gemini, "_live_api_client")
    status, _, told = examine()
    assert status == 1
    assert "opens its Live sessions in a way that resumekit does not know" in told


def test_the_example_is_as_it_should_be(examine, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    status, told, _ = examine("adk_fastapi.agent:root_agent", "adk_fastapi.server:CONFIG")
    assert status == 0
    assert re.search(r"ok  adk_fastapi\.agent:root_agent \(guide\)  gemini-\S+  resumable\n", told)
    assert re.search(r"ok  adk_fastapi\.server:CONFIG  RunConfig for gemini-\S+  fits\n", told)
    assert told.endswith("\nNo problem found.\n")


def test_a_run_config_against_the_advice_is_warned_of_for_the_agents_model(examine, app):
    app.agent = Agent(name="guide", model=ResumableGemini(model=MODEL))
    app.config = RunConfig(context_window_compression=compression(30_000, 20_000))
    status, told, _ = examine("an_adk_app:config", "an_adk_app:agent")
    assert status == 0
    assert (
        f"!  an_adk_app:config  RunConfig for {MODEL}  context_window_compression: trigger_tokens=30000 is 23%" in told
    )
    assert "sliding_window.target_tokens=20000 is 16%" in told
    assert told.endswith("\n2 warnings, marked ! above\n")


def test_an_agent_that_is_not_resumable_is_warned_of(examine, app):
    below = Agent(name="below", model=Gemini(model=MODEL))
    heir = Agent(name="heir")
    app.app = App(name="an_app", root_agent=Agent(name="above", model=MODEL, sub_agents=[below, heir]))
    _, told, _ = examine("an_adk_app:app")
    cure = "write model=ResumableGemini(model=...)"
    assert (
        f"!  an_adk_app:app (above)  {MODEL}  a model's name: ADK uses its own Gemini; {cure}, or call register()\n"
        in told
    )
    assert f"!  an_adk_app:app (below)  {MODEL}  Gemini is not resumable; {cure}\n" in told
    assert "heir" not in told, "it has the model of the agent above"


def test_a_name_that_is_registered_is_resumable(examine, app, monkeypatch):
    from google.adk.models import registry

    monkeypatch.setattr(registry, "_llm_registry_dict", dict(registry._llm_registry_dict))
    app.agent = Agent(name="guide", model=MODEL)
    register()
    try:
        _, told, _ = examine("an_adk_app:agent")
    finally:
        monkeypatch.undo()
        LLMRegistry.resolve.cache_clear()
    assert f"ok  an_adk_app:agent (guide)  {MODEL}  resumable, by register()\n" in told


def test_a_model_is_a_target_too(examine, app):
    app.model = ResumableGemini(model=MODEL)
    assert f"ok  an_adk_app:model  {MODEL}  resumable\n" in examine("an_adk_app:model")[1]
