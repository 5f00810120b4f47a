"""Whose conversation it is: which sessions a run opens, under which key, and which of them go on from a kept handle."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from google.adk.agents import Agent, LiveRequestQueue, SequentialAgent
from google.adk.apps import App
from google.adk.models import LLMRegistry, LlmResponse
from google.adk.models import registry as models_registry
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService
from google.genai import types

from resumekit.adapters.adk import ResumableGemini, ResumekitPlugin, register
from resumekit.core import events
from resumekit.defaults.memory import MemoryStore
from resumekit.emulator import Fault
from resumekit.errors import ConfigurationError
from tests.adk.support import ADK, FAMILIES, Talk, config, model_of, policy, question, run, service, words

pytestmark = pytest.mark.network

FAMILY = "3.x" if ADK >= (2, 9) else "2.5"
"""With history: as newer versions send it, a 2.5 model takes the first question for the end of it, and is silent."""
KEY = "an-app/a-user/a-session"


def openings(talk: Talk) -> list[tuple[str, bool]]:
    """Return the sessions that were opened: of which agent, and whether they went on from a handle."""
    opened = [event for event in talk.told if isinstance(event, events.Connected)]
    return [(event.session.partition("(")[2].rstrip(")").rpartition("/")[2], event.resumed) for event in opened]


def keeping(store):
    return {"family": FAMILY, "store": store}


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["runner", "app"])
async def test_events_have_the_names_of_app_user_session_and_agent(way):
    async with service() as server, run(server) as talk:
        if way == "app":
            agent = Agent(name="another_agent", model=model_of("ours", on_event=talk.on_event))
            app = App(name="my_app", root_agent=agent, plugins=[ResumekitPlugin()])
            sessions = InMemorySessionService()
            names = {"user_id": "a/user", "session_id": "its-session"}
            await sessions.create_session(app_name="my_app", **names)
            queue = LiveRequestQueue()
            runner = Runner(app=app, session_service=sessions)
            live = runner.run_live(**names, live_request_queue=queue, run_config=config())
            queue.send_content(question("one"))
            async with contextlib.aclosing(live):
                async for event in live:
                    if event.turn_complete:
                        break
            assert talk.told[-1].session.endswith("(my_app/a%2Fuser/its-session/another_agent)")
        else:
            await talk.ask("one")
            assert talk.told[-1].session.endswith(f"({KEY}/an_agent)")


async def test_without_the_plugin_there_is_no_name():
    async with service() as server, run(server, plugins=[]) as talk:
        await talk.ask("one")
        assert "(" not in talk.told[-1].session


async def test_a_store_needs_the_plugin():
    async with service() as server, run(server, plugins=[], store="memory://") as talk:
        with pytest.raises(ConfigurationError, match="add resumekit"):
            await talk.task
        assert not await server.connections()


async def test_a_run_that_was_left_open_lends_its_name_to_nobody():
    """Its generator is not closed, so that it is still about; the next run, of the same task, has no plugin."""
    store = MemoryStore()
    async with service() as server, run(server) as talk:
        agent = Agent(name="an_agent", model=model_of("ours", store=store))
        sessions, queue = talk.runner.session_service, LiveRequestQueue()
        named = Runner(app_name="an-app", agent=agent, session_service=sessions, plugins=[ResumekitPlugin()])
        names = {"user_id": "a-user", "session_id": "a-session"}
        left = named.run_live(**names, live_request_queue=queue, run_config=config())
        queue.send_content(question("one"))
        while not (await anext(left)).turn_complete:
            pass
        stranger = Runner(app_name="an-app", agent=agent, session_service=sessions)
        with pytest.raises(ConfigurationError, match="add resumekit"):
            await ask_once(stranger, names, "private")
        await left.aclose()


async def test_a_run_within_a_tool_has_a_name_of_its_own():
    store, ended = MemoryStore(), []

    async def look_up(what: str) -> str:
        """Ask somebody else."""
        sessions = InMemorySessionService()
        names = {"user_id": "somebody", "session_id": "else"}
        await sessions.create_session(app_name="an-app", **names)
        agent = Agent(name="an_agent", model=model_of("ours", store=store))
        try:
            await ask_once(Runner(app_name="an-app", agent=agent, session_service=sessions), names, what)
        except ConfigurationError as error:
            ended.append(error)
        return "found"

    async with service() as server, run(server, store=store, tools=[look_up]) as talk:
        talk.queue.send_content(question('one [tool:look_up {"what": "x"}]'))
        await talk.answered("one")
        await talk.until(lambda: ended)
        await talk.close()


# --- the store ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [True, False])
async def test_the_next_run_goes_on_where_the_last_one_ended(url):
    store = "memory://the-next-run" if url else MemoryStore()
    async with service(family=FAMILY) as server:
        async with run(server, **keeping(store)) as talk:
            await talk.ask("one")
            await talk.close()
            sessions = talk.runner.session_service
        async with run(server, **keeping(store), session_service=sessions) as talk:
            await talk.ask("two")
            shown = await talk.ask("three [recall]")
            assert "recall: one | two | three" in "".join(map(words, shown))
            assert openings(talk) == [("an_agent", True)]
            await talk.close()
        report = await server.ledger_report(["one", "two", "three [recall]"])
        assert (report.lost, report.doubled, report.reordered) == ([], [], [])


async def test_another_conversation_does_not_go_on_from_it():
    store, told = MemoryStore(), []
    async with service() as server, run(server, store=store) as talk:
        await talk.ask("one")
        await talk.close()
        names = {"user_id": "another-user", "session_id": "a-session"}
        await talk.runner.session_service.create_session(app_name="an-app", **names)
        agent = Agent(name="an_agent", model=model_of("ours", store=store, on_event=told.append))
        runner = runner_of(agent, talk.runner.session_service)
        assert "answer to one: 1 user turns held" in await ask_once(runner, names, "one")
        assert [event.resumed for event in told if isinstance(event, events.Connected)] == [False]


def runner_of(agent, sessions, plugins=None) -> Runner:
    plugins = [ResumekitPlugin()] if plugins is None else plugins
    return Runner(app_name="an-app", agent=agent, session_service=sessions, plugins=plugins)


async def ask_once(runner: Runner, names: dict[str, str], text: str) -> str:
    """Run a conversation of one question; return its answer."""
    queue = LiveRequestQueue()
    queue.send_content(question(text))
    said = ""
    async with contextlib.aclosing(runner.run_live(**names, live_request_queue=queue, run_config=config())) as live:
        async for event in live:
            said += words(event) if event.partial else ""
            if event.turn_complete:
                break
    return said


# --- several sessions in one run ----------------------------------------------------------------------------------


def transferring(talk_events, store=None) -> Agent:
    """Return a root agent with a helper, who can give the conversation to each other."""

    def model():
        return model_of("ours", FAMILY, on_event=talk_events, store=store)

    helper = Agent(name="helper", description="helps", model=model(), instruction="Help.")
    return Agent(name="root", model=model(), instruction="Ask others.", sub_agents=[helper])


TO_HELPER = '[tool:transfer_to_agent {"agent_name": "helper"}]'
TO_ROOT = '[tool:transfer_to_agent {"agent_name": "root"}]'


async def told_by_all(talk: Talk, agent: Agent) -> None:
    for one in (agent, *agent.sub_agents):
        one.model.on_event = talk.on_event


@contextlib.asynccontextmanager
async def team(server, store=None, **more):
    agent = transferring(None, store)
    async with run(server, agent=agent, **more) as talk:
        await told_by_all(talk, agent)
        yield talk


async def transfer(talk: Talk, call: str, to: str) -> None:
    sessions = len(openings(talk))
    talk.queue.send_content(question(f"please {call}"))
    await talk.until(lambda: to in [agent for agent, _ in openings(talk)[sessions:]])


async def test_each_transfer_opens_a_session_of_its_own_and_back_again():
    async with service(family=FAMILY) as server, team(server, MemoryStore()) as talk:
        await talk.ask("one")
        await transfer(talk, TO_HELPER, "helper")
        await talk.server.inject(Fault.rst())
        await talk.told_of(events.ConnectionLost)
        talk.queue.send_content(question("two"))
        await talk.answered("two")
        await transfer(talk, TO_ROOT, "root")
        talk.queue.send_content(question("three [recall]"))
        await talk.answered("three")
        assert openings(talk) == [("root", False), ("helper", False), ("root", False)]
        assert "one | " in talk.answers()[-1]  # from ADK's history
        await talk.close()


async def test_an_agent_does_not_go_on_from_what_it_knew_before_another_took_over():
    store = MemoryStore()
    async with service(family=FAMILY) as server:
        async with team(server, store) as talk:
            await talk.ask("one")
            await transfer(talk, TO_HELPER, "helper")
            talk.queue.send_content(question("two"))
            await talk.answered("two")
            await talk.close()
            sessions = talk.runner.session_service
        # A helper that is never asked first: the root agent begins again.
        agent = transferring(None, store)
        agent.sub_agents[0].disallow_transfer_to_parent = True
        async with run(server, agent=agent, session_service=sessions) as talk:
            await told_by_all(talk, agent)
            talk.queue.send_content(question("three [recall]"))
            await talk.answered("three")
            assert openings(talk) == [("root", False)]
            assert "two" in talk.answers()[-1]
            await talk.close()


async def test_the_helper_goes_on_in_the_next_run():
    store = MemoryStore()
    async with service(family=FAMILY) as server:
        async with team(server, store) as talk:
            await transfer(talk, TO_HELPER, "helper")
            talk.queue.send_content(question("two"))
            await talk.answered("two")
            await talk.close()
            sessions = talk.runner.session_service
        async with team(server, store, session_service=sessions) as talk:
            talk.queue.send_content(question("three"))
            await talk.answered("three")
            # Newer versions begin with the root agent again, which is not the one whose state was kept.
            assert openings(talk) == [("helper", True) if ADK < (2, 9) else ("root", False)]
            await talk.close()


@pytest.mark.parametrize("plugins", [None, []])
async def test_an_own_handle_is_the_first_agents_alone(plugins):
    """ADK 1.27 gives it to the others, too; without the plugin nobody can tell them apart there."""
    if plugins == [] and ADK < (2,):
        pytest.skip("ADK 1.27 gives the handle to each agent")
    async with service(family=FAMILY) as server:
        wishes = config(session_resumption=types.SessionResumptionConfig(handle="no-such-handle"))
        async with team(server, run_config=wishes, plugins=plugins) as talk:
            talk.queue.send_content(question(f"please {TO_HELPER}"))
            await talk.told_of(events.Connected, 2)
            handles = [record.handle for record in await server.connections()]
            assert handles.count("no-such-handle") == 1
            await talk.close()


async def test_sequential_agents_have_a_session_each():
    told = []
    agents = [
        Agent(name=name, model=model_of("ours", FAMILY, on_event=told.append), instruction=f"Be the {name}.")
        for name in ("first", "second")
    ]
    async with (
        service(family=FAMILY) as server,
        run(server, agent=SequentialAgent(name="both", sub_agents=agents)) as talk,
    ):
        talk.queue.send_content(question("done? [tool:task_completed]"))
        await talk.server_says(lambda records: len(records) == 2 and records[1].bound_at)
        talk.queue.send_content(question("two"))
        await talk.answered("two")
        talk.told = told
        assert openings(talk) == [("first", False), ("second", False)]
        await talk.close()


@pytest.mark.skipif(ADK < (2, 9), reason="older versions ask no callback in Live")
async def test_a_restart_by_a_callback_is_a_new_session():
    def refuse(*, callback_context, llm_response):
        spoken = llm_response.output_transcription
        if spoken is not None and "forbidden" in (spoken.text or ""):
            return LlmResponse(content=types.Content(role="model", parts=[types.Part(text="I must not say that.")]))
        return None

    store, told = MemoryStore(), []
    agent = Agent(
        name="an_agent",
        model=model_of("ours", FAMILY, on_event=told.append, store=store),
        after_model_callback=refuse,
    )
    speaks = config(response_modalities=["AUDIO"], output_audio_transcription=types.AudioTranscriptionConfig())
    async with service(family=FAMILY) as server, run(server, agent=agent, run_config=speaks) as talk:
        await talk.ask("one")
        talk.queue.send_content(question("forbidden"))
        await talk.server_says(lambda records: len(records) == 2 and records[1].bound_at)
        await talk.server.inject(Fault.rst())
        talk.queue.send_content(question("two"))
        await talk.answered("two")
        talk.told = told
        assert openings(talk) == [("an_agent", False), ("an_agent", False)]
        assert (await server.connections())[1].handle is None
        await talk.close()


@pytest.mark.skipif(ADK < (2, 9), reason="older versions have no FallbackModel")
async def test_a_fallback_model_goes_on_to_the_next_and_that_one_survives():
    from google.adk.models import FallbackModel

    told: list[events.Event] = []
    store = MemoryStore()
    first = ResumableGemini(model="gemini-live-of-yesterday", policy=policy(), store=store, on_event=told.append)
    second = ResumableGemini(model=FAMILIES[FAMILY], policy=policy(), store=store, on_event=told.append)
    either = FallbackModel(models=[first, second], retriable_status_codes=frozenset({1008}))
    async with (
        service(family=FAMILY, known_models=(FAMILIES[FAMILY],)) as server,
        run(server, agent=Agent(name="an_agent", model=either)) as talk,
    ):
        await talk.ask("one")
        await talk.anchored()
        await server.inject(Fault.rst())
        await talk.ask("two")
        talk.told = told
        assert openings(talk) == [("an_agent", False)]
        assert talk.count(events.Resumed) == 1
        await talk.close()
        told.clear()
        again = Agent(name="an_agent", model=either)
        async with run(server, agent=again, session_service=talk.runner.session_service) as later:
            await later.ask("three")
            later.told = told
            assert openings(later) == [("an_agent", True)]
            await later.close()


# --- one model object ---------------------------------------------------------------------------------------------


async def test_one_model_serves_two_runs_at_once():
    told: list[events.Event] = []
    store = MemoryStore()
    async with service():
        model = model_of("ours", on_event=told.append, store=store)
        sessions = InMemorySessionService()
        runner = runner_of(Agent(name="an_agent", model=model), sessions)

        async def talk_of(name: str) -> str:
            names = {"user_id": "a-user", "session_id": name}
            await sessions.create_session(app_name="an-app", **names)
            return await ask_once(runner, names, f"question of {name}")

        for said, name in zip(await asyncio.gather(talk_of("a"), talk_of("b")), "ab", strict=True):
            assert said == f"answer to question of {name}: 1 user turns held"
        opened = {event.session.partition("(")[2] for event in told if isinstance(event, events.Connected)}
        assert opened == {"an-app/a-user/a/an_agent)", "an-app/a-user/b/an_agent)"}
        assert set(store._rows) <= {"an-app/a-user/a", "an-app/a-user/b"}


async def test_one_model_serves_two_event_loops():
    async with service() as server:
        model = model_of("ours")

        async def one_run() -> str:
            sessions = InMemorySessionService()
            names = {"user_id": "a-user", "session_id": "a-session"}
            await sessions.create_session(app_name="an-app", **names)
            return await ask_once(runner_of(Agent(name="an_agent", model=model), sessions), names, "one")

        def in_a_loop_of_its_own() -> str:
            return asyncio.run(one_run())

        here, there = await asyncio.gather(one_run(), asyncio.to_thread(in_a_loop_of_its_own))
        assert here == there == "answer to one: 1 user turns held"
        assert len(await server.connections()) == 2


# --- register -----------------------------------------------------------------------------------------------------


@pytest.fixture
def registry():
    """The names that ADK knows, put back in the end."""
    now = models_registry._llm_registry_dict
    known = dict(now)
    yield
    now.clear()
    now.update(known)
    LLMRegistry.resolve.cache_clear()


@pytest.mark.usefixtures("registry")
async def test_register_makes_names_resumable():
    told: list[events.Event] = []
    LLMRegistry.resolve(FAMILIES["2.5"])  # ADK remembers what it resolved
    register(policy=policy(), on_event=told.append)
    async with service() as server, run(server, agent=Agent(name="an_agent", model=FAMILIES["2.5"])) as talk:
        await talk.ask("one")
        await talk.anchored()
        await server.inject(Fault.rst())
        await talk.ask("two")
        assert sum(isinstance(event, events.Resumed) for event in told) == 1
        assert isinstance(LLMRegistry.new_llm(FAMILIES["2.5"]), ResumableGemini)


@pytest.mark.usefixtures("registry")
def test_register_refuses_at_once_what_makes_no_sense():
    with pytest.raises(ValueError, match="policy"):
        register(policy="none")
