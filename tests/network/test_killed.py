"""Processes that are killed (SIGKILL) or stopped (SIGSTOP) in mid-conversation: the service's, and the application's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import pytest

from resumekit.adapters import genai as resumable
from resumekit.core import events
from tests.faults.runner import (
    FAMILIES,
    PROFILES,
    RequestApp,
    Scenario,
    client_of,
    config_of,
    policy,
    read_answer,
    words,
)
from tests.faults.test_freeze import sleeper, stored
from tests.faults.zygote import Emulator
from tests.network.proxy import Proxy

pytestmark = pytest.mark.network

SCALE = 0.05
LONG = "two [chunks:40]"
QUICK = {"connect_timeout": 20, "setup_timeout": 20, "ping_expecting": 6, "abort_expecting": 16, "max_outage": 2000}
PATIENT = {"old_binding_grace": 2000, "progress_watchdog": 2000}


@contextlib.asynccontextmanager
async def conversation(front, app):
    scenario = app.scenario
    async with (
        client_of(front) as client,
        resumable.connect(
            client,
            model=FAMILIES["2.5"],
            config=config_of(scenario),
            policy=policy(SCALE, **QUICK, **PATIENT),
            on_event=app.on_event,
        ) as app.session,
        asyncio.timeout(100),
        app,
    ):
        yield app


async def ask(app, text):
    await app.write(text)
    await app.take_answer()
    return read_answer(app.turns[-1]).asked


async def until_it_speaks(app, question):
    """Ask, and return the task that takes the answer, of which something has come."""
    await app.write(question)
    number = len(app.turns)
    answering = asyncio.create_task(app.take_answer())
    while len(app.turns) <= number or not words(app.turns[number]):  # noqa: ASYNC110
        await asyncio.sleep(0.002)
    return answering


def one_of_both(short):
    """Both backends, one of them in the short form."""
    return [profile if profile == short else pytest.param(profile, marks=pytest.mark.wide) for profile in PROFILES]


@pytest.mark.parametrize("profile", one_of_both("vertex"))
async def test_a_service_that_stands_still_and_then_goes_on(profile):
    async with Emulator(profile=profile, time_scale=SCALE, chunk_interval=0.4) as server:
        app = RequestApp(Scenario(name="stopped"), "2.5", server, None)
        async with conversation(server, app):
            assert await ask(app, "one") == "one"
            await app.anchored()
            answering = await until_it_speaks(app, LONG)
            os.kill(server.pid, signal.SIGSTOP)
            try:
                await app.until(lambda: app.count(events.ConnectionLost) > 1)  # given up; and one that nobody answered
            finally:
                os.kill(server.pid, signal.SIGCONT)
            await answering
            assert await ask(app, "three") == "three"
        report = await server.ledger_report(["one", LONG, "three"])
        assert (report.lost, report.doubled, report.reordered, report.fresh_starts) == ([], [], [], 0), report
    assert app.count(events.TurnCut) >= 1


@pytest.mark.parametrize("profile", one_of_both("developer"))
async def test_a_service_that_is_killed_and_another_that_knows_nothing(profile):
    settings = {"profile": profile, "time_scale": SCALE, "chunk_interval": 0.4}
    async with (
        Emulator(**settings) as first,
        Emulator(**settings, seed=1) as second,
        Proxy(first, inside=True) as proxy,
    ):
        app = RequestApp(Scenario(name="killed"), "2.5", first, None)
        async with conversation(proxy, app):
            assert await ask(app, "one") == "one"
            await app.anchored()
            answering = await until_it_speaks(app, LONG)
            os.kill(first.pid, signal.SIGKILL)
            await app.until(lambda: app.count(events.ConnectionLost) > 0)
            proxy.upstream = second
            await answering
            assert await ask(app, "three") == "three"
        report = await second.ledger_report(["one", LONG, "three"])
        assert (report.lost, report.doubled, report.reordered) == ([], [], []), report
    assert [app.count(kind) for kind in (events.HandleRefused, events.FreshStarted)] == [1, 1]
    assert app.count(events.TurnCut) >= 1


async def test_an_application_that_is_killed_and_the_next_one(tmp_path):
    """What the dead process had not had answered is in its record, and its successor sends it."""
    store = tmp_path / "handle"
    async with Emulator(time_scale=SCALE, connection_age=None) as server:
        async with sleeper(server, tmp_path, str(store)) as client:
            await client.ask("one")
            assert await client.tells("answer")
            await stored(store)
            await client.ask(LONG)
            await client.tells("said")
            await stored(store, lambda record: record.pending)
            client.kill()
        async with sleeper(server, tmp_path, str(store)) as client:
            assert LONG in await client.tells("answer"), "to what was resent"
            await client.ask("three")
            assert "three" in await client.tells("answer")
        report = await server.ledger_report(["one", LONG, "three"])
        assert (report.lost, report.doubled, report.reordered) == ([], [], []), report
    assert [event["resent_messages"] for event in client.told("Continued")] == [1]
    assert client.told("Connected")[0]["resumed"] is True
    assert client.told("FreshStarted") == client.told("HandleRefused") == []
