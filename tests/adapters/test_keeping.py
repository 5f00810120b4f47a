"""`key`, `store` and `plugins`, as every adapter takes them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sqlite3
import subprocess
import sys
import types
import warnings

import pytest

from resumekit import plugins
from resumekit.adapters import websockets
from resumekit.core import events
from resumekit.core.policy import Policy, Recovery, RecoveryAction
from resumekit.defaults import MemoryStore, sqlite
from resumekit.emulator import Fault, Trigger
from resumekit.errors import ConfigurationError
from resumekit.hookspecs import hookimpl
from resumekit.stores import StoredHandle
from tests.adapters.support import nothing_is_left, server, settled
from tests.adapters.test_websockets import SETUP, ask, connect
from tests.drivers.fakes import until


def bad(**arguments):
    with pytest.raises(ConfigurationError) as caught:
        connect_nowhere(**arguments)
    return str(caught.value)


def connect_nowhere(**arguments):
    return websockets.connect("ws://127.0.0.1:9", setup=SETUP, **arguments)


async def entering(**arguments):
    with pytest.raises(ConfigurationError) as caught:
        async with connect_nowhere(**arguments):
            pass
    return str(caught.value)


# ---------------------------------------------------------------------- arguments

NO_URL = "store is no URL; give one such as 'sqlite:///calls.db' (a file) or 'memory://', or a HandleStore"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"store": "memory://"}, "store without key: give the conversation a name with key=..."),
        ({"key": ""}, "key is ''; give a name for the conversation, as text"),
        ({"key": 7}, "key is 7; give a name for the conversation, as text"),
        ({"key": "k", "store": "memory"}, NO_URL),
        ({"key": "k", "store": "/password/calls.db"}, NO_URL),
        ({"key": "k", "store": {}}, "store is a dict; give a URL, or a resumekit.stores.HandleStore"),
    ],
)
def test_arguments_that_make_no_sense(arguments, message):
    assert bad(**arguments) == message


def test_a_key_alone_warns_at_the_line_of_the_application():
    with pytest.warns(UserWarning, match="key without store: handles are kept in memory") as caught:
        websockets.connect("ws://127.0.0.1:9", setup=SETUP, key="k")
    assert caught[0].filename == __file__


def test_a_key_and_a_store_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        connect_nowhere(key="k", store="memory://")
        connect_nowhere(key="k", store=MemoryStore())


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("redis://user:password@host/0", "install the one that does: pip install resumekit-redis"),
        ("postgresql://user:password@host/db", "install the one that does: pip install resumekit-postgres"),
        ("odd://password", "install the package that provides it"),
        ("sqlite3:///password", "did you mean sqlite://? Else install the package that provides it"),
        ("Redis://password", "did you mean redis://? Else install the package that provides it"),
        ("postgresql+asyncpg://password", "did you mean postgresql://? Else install the package that provides it"),
        (
            "redis+sentinel://password",
            "sentinels are not asked: name the primary itself, or a proxy before it, with redis://",
        ),
    ],
)
async def test_an_unknown_store_names_the_package_to_install_and_never_the_url(url, advice, monkeypatch):
    monkeypatch.delenv(plugins.LOAD_PLUGINS, raising=False)
    scheme = url.partition(":")[0]

    assert await entering(key="k", store=url) == f"no plugin answers for a store of {scheme}://; {advice}"
    monkeypatch.setenv(plugins.LOAD_PLUGINS, "none")
    assert "RESUMEKIT_LOAD_PLUGINS is set, and may leave it out" in await entering(key="k", store=url)


async def test_an_unknown_store_names_the_plugin_that_could_not_be_loaded(monkeypatch):
    broken = plugins.Plugin(name="redis", error="ModuleNotFoundError: No module named 'redis'")
    monkeypatch.setattr(plugins, "installed_plugins", functools.cache(lambda: (broken,)))

    assert "not used: 'redis' (ModuleNotFoundError: " in await entering(key="k", store="redis://")


async def test_a_bad_plugin_is_refused_on_entering():
    assert "there are choose_delay" in await entering(
        plugins=[types.SimpleNamespace(__name__="p", frob=hookimpl(print_))]
    )


def test_sessions_that_start_while_the_first_one_still_imports_what_plugins_need():
    done = subprocess.run([sys.executable, "-c", TOGETHER], check=False, capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("5 ready, plugins loaded 1 times\n", "")


TOGETHER = f"""
import asyncio, importlib.abc, json, sys, time
from resumekit.adapters import _common
from resumekit.core.policy import Policy
from resumekit.drivers.driver import Driver

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "pluggy":  # imported half-way through resumekit.plugins
            time.sleep(0.3)

sys.meta_path.insert(0, Slow())
async def dial(target): ...
async def start(delay):
    await asyncio.sleep(delay)
    return await _common.session_driver(
        json.dumps({{"setup": {SETUP!r}}}), dial, policy=Policy(), transparent=False, history=None, to_dict=lambda turn: turn, on_event=None,
        credentials_renewable=False,
    )
async def main():
    drivers = await asyncio.gather(*map(start, [0, 0.05, 0.1, 0.15, 0.2]))
    from resumekit.plugins import installed_plugins
    times = installed_plugins.cache_info().misses
    print(sum(isinstance(driver, Driver) for driver in drivers), "ready, plugins loaded", times, "times")
asyncio.run(main())
"""


def print_(details):
    """Be no hook."""


# ---------------------------------------------------------------------- sessions


async def anchored(session):
    """The handle of the last turn has come."""
    return await settled(lambda: session._driver.last_handle is not None)


async def connected(session):
    """How it began."""
    return await anext(event async for event in session.events if isinstance(event, events.Connected))


@pytest.mark.network
@pytest.mark.parametrize("store", ["memory://keeping", MemoryStore()], ids=["url", "object"])
async def test_a_conversation_goes_on_in_the_next_session(store):
    async with server() as live, nothing_is_left():
        for number in range(3):
            async with connect(live, key=f"talk {id(live)}", store=store) as session:
                assert (await ask(session, f"{number}")).turns_held == number + 1
                assert (await connected(session)).resumed is (number > 0)
                assert await anchored(session)
        await session.end()
        async with connect(live, key=f"another {id(live)}", store=store) as session:
            assert (await ask(session, "alone")).turns_held == 1
            assert await anchored(session)
            await session.end()
        async with connect(live, key=f"another {id(live)}", store=store) as session:
            assert (await connected(session)).resumed is False


@pytest.mark.network
async def test_another_config_does_not_use_the_handle():
    store = MemoryStore()
    async with server() as live:
        async with connect(live, key="k", store=store) as session:
            await ask(session, "one")
            assert await anchored(session)
        other = {**SETUP, "generationConfig": {"responseModalities": ["TEXT"], "temperature": 0.5}}
        async with connect(live, key="k", store=store, setup=other) as session:
            iterator = session.events
            happened = [await anext(iterator) for _ in range(3)]
            assert [type(event) for event in happened] == [
                events.SessionStarted,
                events.HandleRefused,
                events.Connected,
            ]
            assert happened[1].reason == "it was stored for another config"
            assert happened[2].resumed is False


@pytest.mark.network
async def test_without_resumption_nothing_is_kept():
    store = MemoryStore()
    async with server() as live:
        for _ in range(2):
            async with connect(live, key="k", store=store, fields={"resumption": "off"}) as session:
                assert (await ask(session, "one")).turns_held == 1
    assert (await store.claim("k", "me", 1.0)).entry is None


@pytest.mark.network
async def test_plugins_are_asked_told_and_reported():
    heard, application = [], []
    chosen = Recovery(action=RecoveryAction.FRESH, turns=())

    class Plugin:
        @hookimpl
        def choose_recovery(self, details):
            return chosen

        @hookimpl
        def choose_delay(self, details):
            return "soon"

        @hookimpl
        def on_event(self, event):
            heard.append(event)

    faults = [Fault.rst(Trigger.mid_answer(2), binding=0)]
    async with (
        server(faults=faults) as live,
        nothing_is_left(),
        connect(live, plugins=[Plugin()], on_event=application.append) as session,
    ):
        await ask(session, "one")
    names = [type(event).__name__ for event in heard]
    assert heard == application
    assert "FreshStarted" in names
    (failed,) = [event for event in heard if isinstance(event, events.HookFailed)]
    assert (failed.hook, failed.problem) == ("choose_delay", "nonsense")
    assert names.index("HookFailed") < names.index("FreshStarted")


@pytest.mark.network
async def test_hooks_are_never_asked_for_a_frame():
    """On lifecycle events only."""
    asked, told = [], []

    class Plugin:
        @hookimpl
        def choose_delay(self, details):
            asked.append(details)

        @hookimpl
        def classify_failure(self, details):
            asked.append(details)

        @hookimpl
        def choose_move(self, details):
            asked.append(details)

        @hookimpl
        def choose_recovery(self, details):
            asked.append(details)

        @hookimpl
        def on_event(self, event):
            told.append(type(event))

    async with server() as live, connect(live, plugins=[Plugin()]) as session:
        for number in range(5):
            await ask(session, f"[chunks:20] {number}")
        for _ in range(200):
            await session.send({"realtimeInput": {"audio": {"data": "AAAA", "mimeType": "audio/pcm;rate=16000"}}})
        assert session.stats.frames_received > 100
        await until(lambda: events.HandleReceived in told)

    assert asked == []
    assert set(told) == {events.SessionStarted, events.Connected, events.HandleReceived, events.SessionEnded}
    assert len(told) <= 8


@pytest.mark.network
async def test_a_file_that_is_locked_for_a_while_holds_nobody_up(tmp_path, monkeypatch):
    """The conversation goes on, and the newest handle is saved at the end; nor are the threads of the event loop used up."""
    path = tmp_path / "calls.db"
    monkeypatch.setattr(sqlite, "_BUSY", 0.3)
    policy = Policy(lease=4.0, store_timeout=1.0)
    happened = []

    def count(kind):
        return sum(isinstance(event, kind) for event in happened)

    def newest_is_kept():
        with contextlib.closing(sqlite3.connect(path)) as database:
            found = database.execute("SELECT data FROM resumekit_handles WHERE data IS NOT NULL").fetchall()
        came = [event.digest for event in happened if isinstance(event, events.HandleReceived)]
        return came != [] and found != [] and StoredHandle.from_json(found[0][0]).digest == came[-1]

    async with (
        server() as live,
        connect(live, key="k", store=f"sqlite:///{path}", policy=policy, on_event=happened.append) as session,
    ):
        assert (await ask(session, "one")).turns_held == 1
        await until(newest_is_kept, every=0.01)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            assert (await ask(session, "two")).turns_held == 2
            await until(lambda: count(events.StoreFailed), every=0.01)
            await asyncio.sleep(1.2 * policy.lease)  # what is tested, not what is waited for
            assert (await ask(session, "three")).turns_held == 3
            store = sqlite.SqliteStore(path)
            waiting = [asyncio.create_task(store.claim(f"{number}", "me", 1.0)) for number in range(60)]
            done, _ = await asyncio.wait(
                {*waiting, thread := asyncio.create_task(asyncio.to_thread(bool))}, return_when=asyncio.FIRST_COMPLETED
            )
            assert thread in done
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
            other.execute("COMMIT")
        await until(newest_is_kept, every=0.01)
        await until(lambda: count(events.StoreRecovered), every=0.01)
        assert (await ask(session, "four")).turns_held == 4
        await store.close()
    assert (count(events.StoreFailed), count(events.StoreRecovered), count(events.ConnectionLost)) == (1, 1, 0)
