"""docs/how-to/adk.md: its code is run as it stands there; what it says of versions is what the environments have."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import aiosqlite
import pytest
from google.adk.agents import Agent, LiveRequestQueue
from google.adk.events import Event
from google.adk.models import Gemini, LLMRegistry, registry
from google.adk.sessions.sqlite_session_service import SqliteSessionService

from resumekit.adapters.adk import ResumableGemini, ResumekitPlugin
from resumekit.core import events
from resumekit.emulator import Fault, Trigger, heard, parse_answer
from resumekit.emulator.speech import OUTPUT_RATE
from tests.adk.support import FAMILIES, NAMES, config, question, run, service
from tests.frameworks.support import run_page

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "adk.md"
MODEL = FAMILIES["2.5"]


def on_page(heading, **names):
    return run_page(heading, PAGE, MODEL=MODEL, **names)


class Player:
    """Plays answers; the user asks on when one is through."""

    def __init__(self):
        self.audio = b""
        self.flushed = []

    def play(self, audio):
        self.audio += audio

    def flush(self):
        self.flushed.append(self.audio)
        self.audio = b""


@pytest.mark.network
async def test_a_program_that_flushes_at_an_interruption_is_done():
    player, shown, queue = Player(), [], LiveRequestQueue()
    heard_in_all = []

    class Watched:
        """The runner of the program; its user speaks when an answer is through, and goes after the second."""

        async def run_live(self, **given):
            assert given["live_request_queue"] is queue
            queue.send_content(question("one"))
            async for event in talk.runner.run_live(**given):
                yield event
                if event.turn_complete:
                    heard_in_all.append(heard(player.audio, rate=OUTPUT_RATE))
                    player.audio = b""
                    if len(heard_in_all) == 2:
                        return
                    await server.inject(Fault.rst(at=Trigger.mid_audio(3)))
                    queue.send_content(question("two"))

    async with service(audio_speed=0.03) as server:
        agent = on_page("The one line")["agent"]
        async with run(server, agent=lambda _: agent, plugins=[]) as talk:
            names = {
                "USER": NAMES["user_id"],
                "SESSION": NAMES["session_id"],
                "CONFIG": config(response_modalities=["AUDIO"]),
            }
            page = on_page("What your program sees at a cut", **names, player=player, show=shown.append)
            await page["talk"](Watched(), queue)
    assert all(speech.whole for speech in heard_in_all)
    assert [parse_answer(speech.text).asked for speech in heard_in_all] == ["one", "two"]
    assert len(player.flushed) == 1
    assert "TurnCut" in shown


@pytest.mark.network
async def test_settings_are_given_as_shown():
    told = []
    model = on_page("Settings", print=told.append)["model"]
    async with service() as server, run(server, model=model) as talk:
        await talk.ask("one")
        await server.inject(Fault.rst(at=Trigger.mid_answer(1)))
        await talk.ask("two")
        await talk.close()
    assert any(isinstance(event, events.TurnCut) for event in told)
    assert not any((event.custom_metadata or {}).get("resumekit") for event in talk.events)
    assert model.policy.max_outage == 60.0


def test_register_is_called_as_shown(monkeypatch):
    monkeypatch.setattr(registry, "_llm_registry_dict", dict(registry._llm_registry_dict))
    try:
        on_page("All agents at once")
        assert isinstance(Agent(name="guide", model=MODEL).canonical_model, ResumableGemini)
    finally:
        monkeypatch.undo()
        LLMRegistry.resolve.cache_clear()
    assert type(Agent(name="guide", model=MODEL).canonical_model) is Gemini


@pytest.mark.network
async def test_the_plugin_brings_names_as_shown():
    agent = on_page("The one line")["agent"]
    runner = on_page("Whose conversation it is", agent=agent)["runner"]
    assert any(isinstance(plugin, ResumekitPlugin) for plugin in runner.plugin_manager.plugins)


@pytest.mark.parametrize("shown", [False, True], ids=["as it is", "as shown"])
async def test_a_session_service_has_the_lock_that_is_shown(*, shown, tmp_path, monkeypatch):
    """If the first case fails, `SqliteSessionService` has come to need no lock."""
    path = str(tmp_path / "sessions.db")
    sessions = on_page("Sessions in a file", path=path)["sessions"] if shown else SqliteSessionService(path)
    session = await sessions.create_session(**NAMES)
    real, written, may_go_on = aiosqlite.Connection.commit, asyncio.Event(), asyncio.Event()

    async def commit(connection):
        await real(connection)
        written.set()
        await may_go_on.wait()

    monkeypatch.setattr(aiosqlite.Connection, "commit", commit)
    first = asyncio.create_task(sessions.append_event(session, Event(invocation_id="one", author="user")))
    await written.wait()
    second = asyncio.create_task(sessions.append_event(session, Event(invocation_id="one", author="an_agent")))
    await asyncio.wait([second], timeout=0.2 if shown else None)
    may_go_on.set()
    ends = await asyncio.gather(first, second, return_exceptions=True)
    assert ["stale" in str(end) for end in ends if not isinstance(end, Event)] == ([] if shown else [True])


def test_the_line_of_the_readme_makes_an_agent_resumable():
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    names = {}
    exec(compile(blocks[3], "README.md", "exec"), names)
    assert isinstance(names["agent"].model, ResumableGemini)


def test_the_page_names_the_versions_that_are_tested():
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in PAGE.read_text("utf-8").splitlines()]
    packages = ("google-adk", "google-genai", "websockets")
    told = [row[1:] for row in rows if len(row) == 4 and re.match(r"\d", row[1])]
    for environment, versions in zip(("adk127", "adk200", "adk2"), told, strict=True):
        pinned = (ROOT / ".ci" / f"constraints-{environment}.txt").read_text("utf-8")
        found = dict(re.findall(r"^([\w.-]+)==([^ ]+)", pinned, re.MULTILINE))
        assert versions == [found[package] for package in packages]
