"""What the model knows of an ADK session: each turn once, whichever way a Live session begins and goes on."""

from __future__ import annotations

import pytest
from google.adk.agents.run_config import RunConfig
from google.genai import types

from resumekit.core import events
from resumekit.defaults.memory import MemoryStore
from resumekit.emulator import Fault
from tests.adk.support import ADK, FAMILIES, config, run, service, with_old_turns, words

pytestmark = pytest.mark.network

profiles = pytest.mark.parametrize("profile", ["developer", "vertex"])


async def recalled(talk, text: str) -> list[str]:
    """Ask, and return the turns of the user that the model knows.

    Where the service names its sessions, as on Vertex, ADK has the user quote the agents' answers.
    """
    said = "".join(words(event) for event in await talk.ask(f"{text} [recall]") if event.partial)
    known = said.partition("; recall: ")[2].split(" | ")
    return [turn for turn in known if not turn.startswith("For context:")]


async def forget(server, talk) -> None:
    """Take every handle away, and the connection."""
    await talk.anchored()
    fresh = talk.count(events.FreshStarted)
    await server.inject(Fault.expire_handles(), Fault.rst())
    await talk.told_of(events.FreshStarted, fresh + 1)


@profiles
@pytest.mark.parametrize("family", FAMILIES)
async def test_the_history_of_the_session_is_known_and_after_a_fresh_start_too(profile, family):
    async with service(profile, family=family) as server:
        sessions = await with_old_turns()
        async with run(server, family=family, session_service=sessions) as talk:
            assert await recalled(talk, "one") == ["old", "one [recall]"]
            await forget(server, talk)
            assert await recalled(talk, "two") == ["old", "one [recall]", "two [recall]"]
            await forget(server, talk)
            assert await recalled(talk, "three") == ["old", "one [recall]", "two [recall]", "three [recall]"]
            await talk.close()


@profiles
@pytest.mark.parametrize("family", FAMILIES)
async def test_a_run_that_goes_on_from_the_store_is_not_told_what_it_knows(profile, family):
    store = MemoryStore()
    async with service(profile, family=family) as server:
        async with run(server, family=family, store=store, session_service=await with_old_turns()) as talk:
            await talk.ask("one")
            await talk.close()
            sessions = talk.runner.session_service
        async with run(server, family=family, store=store, session_service=sessions) as talk:
            assert await recalled(talk, "two") == ["old", "one", "two [recall]"]
            assert next(event for event in talk.told if isinstance(event, events.Connected)).resumed
            setup = (await server.raw(1))[0]
            assert b"initial_history" not in setup
            sent = await server.sent_on(1)
            assert sent == ["two [recall]"]
            # The handle dies: what the state held, and what was said since, is replayed, each once.
            await forget(server, talk)
            assert await recalled(talk, "three") == ["old", "one", "two [recall]", "three [recall]"]
            await talk.close()


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_stored_handle_that_has_died_is_a_beginning_with_history(family):
    store = MemoryStore()
    async with service(family=family) as server:
        async with run(server, family=family, store=store, session_service=await with_old_turns()) as talk:
            await talk.ask("one")
            await talk.close()
            sessions = talk.runner.session_service
        await server.inject(Fault.expire_handles())
        async with run(server, family=family, store=store, session_service=sessions) as talk:
            assert await recalled(talk, "two") == ["old", "one", "two [recall]"]
            await forget(server, talk)
            assert await recalled(talk, "three") == ["old", "one", "two [recall]", "three [recall]"]
            await talk.close()


@pytest.mark.skipif(ADK < (2,), reason="ADK before 2.0 does not show handles")
@pytest.mark.parametrize("family", FAMILIES)
async def test_an_own_handle_brings_what_it_holds_and_no_history(family):
    async with service(family=family) as server:
        async with run(server, family=family, session_service=await with_old_turns()) as talk:
            await talk.ask("one")
            await talk.anchored()
            await talk.until(lambda: any(event.live_session_resumption_update for event in talk.events))
            await talk.close()
            updates = [event.live_session_resumption_update for event in talk.events]
            handle = [update.new_handle for update in updates if update][-1]
            sessions = talk.runner.session_service
        wishes = types.SessionResumptionConfig(handle=handle)
        again = config(session_resumption=wishes)
        async with run(server, family=family, run_config=again, session_service=sessions) as talk:
            assert await recalled(talk, "two") == ["old", "one", "two [recall]"]
            assert await server.sent_on(1) == ["two [recall]"]
            await forget(server, talk)
            assert await recalled(talk, "three") == ["old", "one", "two [recall]", "three [recall]"]
            await talk.close()
            assert wishes.handle == handle  # the application's own object is as it was


@pytest.mark.skipif("history_config" not in RunConfig.model_fields, reason="this version has no history_config")
@pytest.mark.parametrize("family", FAMILIES)
async def test_history_config_is_for_the_first_connection_of_a_model_that_needs_it(family):
    wishes = config(history_config=types.HistoryConfig(initial_history_in_client_content=True))
    async with service(family=family) as server:
        sessions = await with_old_turns()
        async with run(server, family=family, run_config=wishes, session_service=sessions) as talk:
            await talk.ask("one")
            await talk.anchored()
            await server.inject(Fault.rst())
            await talk.told_of(events.Resumed)
            await talk.ask("two")
            setups = [(await server.raw(number))[0] for number in (0, 1)]
            assert [b"initial_history_in_client_content" in setup for setup in setups] == [family == "3.x", False]
            await talk.close()
