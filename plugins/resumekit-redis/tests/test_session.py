"""Whole sessions over a real server: the store goes away and comes back, and so do processes."""

from __future__ import annotations

import asyncio
import signal
import ssl
import subprocess
import sys

import pytest

from resumekit import Policy, events
from resumekit.adapters import websockets as resumable
from resumekit.emulator import LiveServer, parse_answer
from resumekit.encryption import EncryptedStore
from resumekit.errors import ConfigurationError
from resumekit.stores import StoredHandle

PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
SETUP = {"model": "models/gemini-2.5-flash-live", "generationConfig": {"responseModalities": ["TEXT"]}}
POLICY = Policy(lease=6.0, store_timeout=1.5, first_connect_deadline=60.0)
ENTRY = "resumekit:{k}:entry"


def live_server():
    return LiveServer(time_scale=0.05, connection_age=None)


def connect(uri, ca_file, store, **arguments):
    return resumable.connect(
        uri,
        setup=SETUP,
        additional_headers={"x-goog-api-key": "k"},
        ssl=ssl.create_default_context(cafile=ca_file),
        policy=POLICY,
        key="k",
        store=store,
        **arguments,
    )


def to(live):
    return f"wss://{live.host}:{live.port}{PATH}", live.ca_file


async def ask(session, text):
    """Return how many turns the service held when it answered."""
    turn = {"role": "user", "parts": [{"text": text}]}
    await session.send({"clientContent": {"turns": [turn], "turnComplete": True}})
    said = ""
    async for message in session:
        content = message.server_content
        if content is not None:
            said += "".join(part.text or "" for part in (content.model_turn.parts if content.model_turn else ()))
            if content.turn_complete:
                return parse_answer(said).turns_held
    raise AssertionError("it ended")


async def until(condition):
    for _ in range(6000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to be")


def digest_in(server):
    """Of the handle that the server keeps."""
    with server.admin() as client:
        data = client.hget(ENTRY, "data")
    return data and StoredHandle.from_json(data).digest


@pytest.fixture
def server(valkey):
    server = valkey()
    yield server
    server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["killed", "frozen"])
async def test_the_store_goes_away_for_a_while(server, way):
    """The conversation goes on without it; once it is back, the newest record is saved."""
    happened = []

    def kinds():
        return [type(event) for event in happened]

    def newest_is_saved():
        came = [event.digest for event in happened if isinstance(event, events.HandleReceived)]
        return came != [] and digest_in(server) == came[-1]

    async with live_server() as live, connect(*to(live), server.url, on_event=happened.append) as session:
        assert await ask(session, "one") == 1
        await until(newest_is_saved)
        happened.clear()
        server.kill() if way == "killed" else server.send_signal(signal.SIGSTOP)
        assert await ask(session, "two") == 2
        await until(lambda: events.StoreFailed in kinds())
        assert await ask(session, "three") == 3
        await asyncio.sleep(1.2 * POLICY.lease)
        assert await ask(session, "four") == 4
        assert events.StoreRecovered not in kinds()
        server.start() if way == "killed" else server.send_signal(signal.SIGCONT)
        await until(newest_is_saved)
        await until(lambda: events.StoreRecovered in kinds())
        assert await ask(session, "five") == 5
        await until(newest_is_saved)
    assert kinds().count(events.StoreFailed) == 1
    assert kinds().count(events.StoreRecovered) == 1
    assert events.ConnectionLost not in kinds()


async def test_the_next_session_goes_on(server):
    async with live_server() as live:
        for number in range(3):
            async with connect(*to(live), server.url) as session:
                assert await ask(session, f"{number}") == number + 1
                await until(lambda: digest_in(server) is not None)
        async with connect(*to(live), server.url) as session:
            await session.end()
        with server.admin() as client:
            assert client.keys() == [b"resumekit:{k}"], "nothing of it is left but its fence"


async def test_what_is_kept_can_be_encrypted(server):
    async with live_server() as live:
        for number in range(2):
            async with connect(*to(live), EncryptedStore(server.url, b"k" * 32)) as session:
                assert await ask(session, f"{number}") == number + 1
        with server.admin() as client:
            assert client.hget(ENTRY, "data").startswith(b"RKS1")


async def test_a_wrong_password_ends_connect(valkey):
    server = valkey(requirepass="SECRET")
    with pytest.raises(ConfigurationError, match="refuses the user name or the password"):
        async with connect("wss://127.0.0.1:9", None, f"{server.url}?password=WRONG"):
            pass
    server.stop()


WORKER = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from test_session import ask, connect

async def main(uri, ca_file, store):
    async with connect(uri, ca_file, store) as session:
        for text in ("one", "two"):
            print(await ask(session, text), flush=True)
            await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main(*sys.argv[2:]))
"""


@pytest.mark.slow
async def test_a_conversation_of_a_process_that_was_killed_goes_on_in_another(server):
    happened = []
    async with live_server() as live:
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            WORKER,
            __file__.rpartition("/")[0],
            *to(live),
            server.url,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert await worker.stdout.readline() == b"1\n"
        await until(lambda: digest_in(server) is not None)
        before = digest_in(server)
        worker.stdin.write(b"go on\n")
        assert await worker.stdout.readline() == b"2\n"
        await until(lambda: digest_in(server) != before)
        worker.kill()
        await worker.communicate()
        async with connect(*to(live), server.url, on_event=happened.append) as session:
            assert await ask(session, "three") == 3
        assert live.ledger.report(["one", "two", "three"]).ok
    first = [events.SessionStarted, events.WaitingForKey, events.Continued]
    assert [type(event) for event in happened][:3] == first
