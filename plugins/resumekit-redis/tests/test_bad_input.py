"""What an application is told of a store that is no good; and that nothing is lost which need not be."""

from __future__ import annotations

import asyncio

import pytest

from resumekit import events
from resumekit.encryption import EncryptedStore
from resumekit.errors import ConfigurationError
from resumekit.testing import ScriptedService

LEASE, ENTRY, THEIRS = "resumekit:{k}", "resumekit:{k}:entry", "resumekit:{theirs}:entry"
KEY, OTHER_KEY = b"k" * 32, b"o" * 32
ANEW = "the record cannot be read, so the conversation begins anew: "
TAMPERED = f"{ANEW}it was changed, or put in the place of another, after it was encrypted"


class Talk:
    """Sessions of one conversation, one after the other, each of one question."""

    def __init__(self, service):
        self._service = service
        self.told = []

    async def __call__(self, store, key="k"):
        """Return how many questions the session knows of; what failed stands in `told` then."""
        async with self._service.connect(key=key, store=store, on_event=self._hear) as session:
            return (await self._service.ask(session, "hello")).turns_held

    def _hear(self, event):
        if isinstance(event, events.StoreFailed):
            self.told.append(event.problem)

    async def refused(self, store):
        with pytest.raises(ConfigurationError) as caught:
            await self(store)
        return str(caught.value)


@pytest.fixture
async def talk():
    async with ScriptedService() as service:
        yield Talk(service)


@pytest.fixture
def server(shared):
    with shared.admin() as client:
        client.flushall()
    return shared


NO_SERVER = "the URL of the handle store names no server; write 'redis://HOST:6379/0', "


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://", NO_SERVER),
        ("redis://h/x", NO_SERVER),
        ("redis://h:x", NO_SERVER),
        ("redis://u:p@[::1/0", NO_SERVER),
        ("redis://h?decode=1", "the URL of the handle store has the setting 'decode', which does not exist; there are"),
        ("redis://h?db=x", "a setting in the URL of the handle store has a value that makes no sense"),
        ("redis://h?wait=x", "wait= in the URL of the handle store is a number of replicas, such as wait=1"),
        ("{}?db=99", "the handle store has no database of this number; correct the end of the URL"),
        (
            "{}?username=u&password=p",
            "the handle store refuses the user name or the password, or asks for one; write them into the URL",
        ),
    ],
)
async def test_what_only_another_url_can_mend_ends_connect(talk, server, url, told):
    assert (await talk.refused(url.format(server.url))).startswith(told)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://:secret@127.0.0.1:{port}", "Connection refused"),
        ("unix:///nowhere/secret.sock", "No such file or directory"),
        ("redis://secret.invalid", "nobody knows the name of its host"),
    ],
)
async def test_a_server_that_is_not_there_is_told_and_the_conversation_goes_on_without(talk, free_port, url, why):
    assert await talk(url.format(port=free_port())) == 1
    assert talk.told == [
        f"ConnectionError: the handle store cannot be reached: {why}; check that the server runs, and its address in the URL"
    ]


async def test_tls_on_a_port_without_it_is_told_as_what_it_may_be(talk):
    async def mute(reader, writer):
        await reader.read()
        writer.close()

    async with await asyncio.start_server(mute, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        assert await talk(f"rediss://127.0.0.1:{port}?socket_connect_timeout=0.2") == 1
    (told,) = talk.told
    assert told.endswith("it did not answer in time; if this port is one without TLS, write 'redis://' for 'rediss://'")


DAMAGED = f"{ANEW}it was damaged in the server"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"data": b"{broken"}, f"{ANEW}JSON is malformed"),
        ({"data": b"{}"}, f"{ANEW}Object missing required field"),
        ({"expires": b"x"}, DAMAGED),
        ({"expires": b"9" * 30}, DAMAGED),
        ({"sequence": b"x"}, DAMAGED),
    ],
)
async def test_a_damaged_record_costs_its_own_conversation_and_nothing_else(talk, server, fields, told):
    assert await talk(server.url) == 1
    assert await talk(server.url, "theirs") == 1
    with server.admin() as client:
        client.hset(ENTRY, mapping=fields)

    assert await talk(server.url) == 1
    (problem,) = talk.told
    assert problem.startswith(told)
    assert await talk(server.url) == 2, "and is as good as new"
    assert await talk(server.url, "theirs") == 2


@pytest.mark.parametrize("field", ["fence", "until", "span", "past", "writer", "sequence"])
async def test_a_damaged_lease_costs_nothing_but_itself(talk, server, field):
    assert await talk(server.url) == 1
    with server.admin() as client:
        client.hset(LEASE, mapping={"owner": "another", "until": 1, field: "x"})

    assert await talk(server.url) == 2
    assert await talk(server.url) == 3
    assert talk.told == []


@pytest.mark.parametrize("name", [LEASE, ENTRY])
async def test_something_else_under_the_key_is_left_as_it_is(talk, server, name):
    assert await talk(server.url) == 1
    with server.admin() as client:
        client.rename(name, "away")
        client.set(name, "my diary")
        told = await talk.refused(server.url)
        assert client.get(name) == b"my diary"
        client.delete(name)
        client.rename("away", name)

    assert told == (
        "something else stands under a key of the handle store; give it a prefix of its own:"
        " '?prefix=calls:' at the end of the URL"
    )
    assert await talk(server.url) == 2, "and nobody has the conversation"


async def test_without_its_key_a_record_is_left_as_it_is(talk, server):
    assert await talk(EncryptedStore(server.url, KEY)) == 1

    assert (await talk.refused(server.url)).startswith(
        "the record of this conversation is encrypted; open the store with"
    )
    assert "was encrypted with another key" in await talk.refused(EncryptedStore(server.url, OTHER_KEY))
    assert await talk(EncryptedStore(server.url, OTHER_KEY, previous=[KEY])) == 2


@pytest.mark.parametrize(("what", "told"), [("cut", f"{ANEW}it was cut off"), ("another's", TAMPERED)])
async def test_a_sealed_record_that_was_tampered_with_costs_its_own_conversation(talk, server, what, told):
    store = EncryptedStore(server.url, KEY)
    assert await talk(store) == 1
    assert await talk(store, "theirs") == 1
    with server.admin() as client:
        client.hset(ENTRY, "data", client.hget(ENTRY, "data")[:30] if what == "cut" else client.hget(THEIRS, "data"))

    assert await talk(store) == 1
    assert talk.told == [told]
    assert await talk(store) == 2
    assert await talk(store, "theirs") == 2
