"""A real `Runner.run_live`: what resumekit does lies in the trace that google-adk itself makes."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("google.adk", reason="google-adk is not installed")

from google.adk.agents import Agent, LiveRequestQueue
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService
from google.genai import types

from resumekit import Policy, events
from resumekit.adapters.adk import ResumableGemini, ResumekitPlugin
from resumekit.emulator import Fault, LiveServer, Trigger

MODEL = "gemini-2.5-flash-live"
NAMES = {"user_id": "a-user", "session_id": "a-session"}


async def answers(stream, queue, text):
    """Ask, and take what the runner gives until the turn is over."""
    queue.send_content(types.Content(role="user", parts=[types.Part(text=text)]))
    async for event in stream:
        if event.turn_complete:
            return


@pytest.fixture
async def live(monkeypatch):
    """An emulator that google-adk finds by its environment."""
    async with LiveServer(time_scale=0.05, model=MODEL, connection_age=None, tool_turns="at_end") as live:
        monkeypatch.setenv("SSL_CERT_FILE", live.ca_file)
        monkeypatch.setenv("GOOGLE_API_KEY", "a-key")
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", live.base_url)
        yield live


@pytest.mark.filterwarnings("ignore")  # google-adk's own
async def test_connections_and_recoveries_lie_below_the_agent(live, spans_of_the_process):
    """By the installed plugin, and with nothing but a global provider: no line of the application's."""
    anchored = asyncio.Event()
    model = ResumableGemini(
        model=MODEL,
        policy=Policy(),
        on_event=lambda event: anchored.set() if isinstance(event, events.HandleReceived) else None,
    )
    sessions = InMemorySessionService()
    runner = Runner(
        app_name="an-app",
        agent=Agent(name="an_agent", model=model),
        plugins=[ResumekitPlugin()],
        session_service=sessions,
    )
    await sessions.create_session(app_name="an-app", **NAMES)
    queue = LiveRequestQueue()
    config = RunConfig(streaming_mode=StreamingMode.BIDI, response_modalities=["TEXT"])
    async with asyncio.timeout(100):
        stream = runner.run_live(**NAMES, live_request_queue=queue, run_config=config)
        await answers(stream, queue, "one")
        await anchored.wait()
        live.inject(Fault.rst(at=Trigger.mid_answer()))
        await answers(stream, queue, "two")
        await stream.aclose()

    seen = spans_of_the_process
    agents = [span for span in seen.spans if span.name == "invoke_agent an_agent"]
    session = seen.one("session")
    assert [span.context.span_id for span in agents] == [session.parent.span_id]
    assert agents[0].instrumentation_scope.name == "gcp.vertex.agent"
    ours = [span for span in seen.spans if span.name.startswith("resumekit.") and span is not session]
    order = ["connect", "connection", "recovery", "connection"]
    assert [span.name.removeprefix("resumekit.") for span in ours] == order
    assert {span.parent.span_id for span in ours} == {session.context.span_id}
    assert {span.context.trace_id for span in seen.spans} == {agents[0].context.trace_id}
    assert session.end_time <= agents[0].end_time
    assert session.attributes["resumekit.session.name"].endswith("(an-app/a-user/a-session/an_agent)")
