"""Whole sessions over a real server: the store goes away and comes back, and so do processes."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from resumekit import Policy, events
from resumekit.adapters import websockets as resumable
from resumekit.emulator import LiveServer, parse_answer
from resumekit.errors import ConfigurationError
from resumekit.stores import StoredHandle

PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
SETUP = {"model": "models/gemini-2.5-flash-live", "generationConfig": {"responseModalities": ["TEXT"]}}
POLICY = Policy(lease=4.0, store_timeout=1.0, first_connect_deadline=60.0)


def live_server():
    return LiveServer(time_scale=0.05, connection_age=None)


def to(live):
    return f"wss://{live.host}:{live.port}{PATH}", live.ca_file


def connect(uri, ca_file, store, key="k", **arguments):
    return resumable.connect(
        uri,
        setup=SETUP,
        additional_headers={"x-goog-api-key": "k"},
        ssl=ssl.create_default_context(cafile=ca_file),
        policy=POLICY,
        key=key,
        store=store,
        **arguments,
    )


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


class Diary:
    """What happened in a session, beside what the server keeps of it."""

    def __init__(self, server, schema):
        self.server, self.schema = server, schema
        self.events = []

    def count(self, kind):
        return sum(isinstance(event, kind) for event in self.events)

    async def happened(self, kind):
        while not self.count(kind):  # noqa: ASYNC110 -- for at most as long as a test may take
            await asyncio.sleep(0.01)

    async def is_kept(self, moment=None):
        """Wait until the server keeps a handle that came after this moment, which is now if it is not given."""
        moment = moment or datetime.now(UTC)
        statement = f"SELECT data FROM {self.schema}.resumekit_handles WHERE key = 'k'"
        while True:
            rows = await self.server.ask(statement)
            if rows and rows[0][0] and StoredHandle.from_json(rows[0][0]).issued_at >= moment:
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("way", ["stopped", "frozen"])
async def test_the_store_goes_away_for_a_while(own_server, schema, way):
    """The conversation goes on without it; once it is back, the newest record is saved."""
    diary = Diary(own_server, schema)
    async with (
        live_server() as live,
        connect(*to(live), own_server.url(schema), on_event=diary.events.append) as session,
    ):
        assert await ask(session, "one") == 1
        await diary.is_kept()
        own_server.stop() if way == "stopped" else own_server.freeze()
        assert await ask(session, "two") == 2
        await diary.happened(events.StoreFailed)
        assert await ask(session, "three") == 3
        await asyncio.sleep(1.2 * POLICY.lease)  # also the lease is over by then
        assert await ask(session, "four") == 4
        answered = datetime.now(UTC)
        assert not diary.count(events.StoreRecovered)
        own_server.start() if way == "stopped" else own_server.thaw()
        await diary.happened(events.StoreRecovered)
        await diary.is_kept(answered)
        assert await ask(session, "five") == 5
        await diary.is_kept()
    assert diary.count(events.ConnectionLost) == 0


WORKER = """
import asyncio, sys
from datetime import UTC, datetime
sys.path.insert(0, sys.argv[1])
from test_session import ask, connect

async def main(uri, ca_file, store):
    async with connect(uri, ca_file, store) as session:
        for text in ("one", "two"):
            print(await ask(session, text), datetime.now(UTC).isoformat(), flush=True)
        await asyncio.sleep(600)

asyncio.run(main(*sys.argv[2:]))
"""


async def test_a_conversation_of_a_process_that_was_killed_goes_on_in_another(server, schema):
    diary = Diary(server, schema)
    async with live_server() as live:
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            WORKER,
            __file__.rpartition("/")[0],
            *to(live),
            server.url(schema),
            stdout=subprocess.PIPE,
        )
        for number in (b"1", b"2"):
            turns_held, answered = (await worker.stdout.readline()).split()
            assert turns_held == number
        await diary.is_kept(datetime.fromisoformat(answered.decode()))
        worker.kill()
        await worker.communicate()
        async with connect(*to(live), server.url(schema), on_event=diary.events.append) as session:
            assert await ask(session, "three") == 3
        assert live.ledger.report(["one", "two", "three"]).ok
    assert diary.count(events.Continued) == 1


async def test_a_corrupted_record_costs_its_own_conversation_only(server, schema):
    diary = Diary(server, schema)
    async with live_server() as live:
        for key in ("k", "other"):
            async with connect(*to(live), server.url(schema), key) as session:
                assert await ask(session, "one") == 1
        await server.ask(f"UPDATE {schema}.resumekit_handles SET data = '\\x00ff' WHERE key = 'k'")
        async with connect(*to(live), server.url(schema), on_event=diary.events.append) as session:
            assert await ask(session, "two") == 1, "begun anew"
        for key in ("k", "other"):
            async with connect(*to(live), server.url(schema), key) as session:
                assert await ask(session, "three") == 2
    assert [event.operation for event in diary.events if isinstance(event, events.StoreFailed)] == ["claim"]


async def test_a_missing_database_ends_connect(server):
    with pytest.raises(ConfigurationError, match="no such database"):
        async with connect("wss://127.0.0.1:9", None, server.url(database="nowhere")):
            pass
