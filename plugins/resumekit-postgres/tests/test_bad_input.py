"""What an application is told of a store that is no good; and that nothing is lost which need not be."""

from __future__ import annotations

import pytest

from resumekit import events
from resumekit.encryption import EncryptedStore
from resumekit.errors import ConfigurationError
from resumekit.testing import ScriptedService

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


BAD_URL = "the URL of the handle store cannot be used; a store in PostgreSQL is named as 'postgresql://USER:PASSWORD@"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://h:x/db", BAD_URL),
        ("postgresql://h/db?sslmode=x", BAD_URL),
        ("postgresql://h/db?schema=", "?schema= of a store in PostgreSQL is the name of a schema, of 1 to 63 bytes"),
        ("postgresql://h/db?pool_size=many", "?pool_size= of a store in PostgreSQL is a small number"),
    ],
)
async def test_a_url_that_makes_no_sense_ends_connect(talk, url, told):
    assert (await talk.refused(url)).startswith(told)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://app:secret@127.0.0.1:9/calls", "Connection refused"),
        ("postgresql://app:secret@/calls?host=/nowhere", "No such file or directory"),
        ("postgresql://app:secret@secret.invalid/calls", "nobody knows the name of its host"),
    ],
)
async def test_a_server_that_is_not_there_is_told_and_the_conversation_goes_on_without(talk, url, why):
    assert await talk(url) == 1
    (problem,) = talk.told
    assert problem == (
        f"OSError: PostgreSQL cannot be reached: {why}; check that the server runs, and its address in the URL"
    )


@pytest.mark.usefixtures("roles")
@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"user": "with_password:wrong"},
            "the server of the handle store refuses the password; check user and password in its URL, PGPASSWORD or .pgpass",
        ),
        (
            {"database": "nowhere"},
            "the server of the handle store has no such database; create it, or name another one in the URL",
        ),
        (
            {"more": "&nonsense=1"},
            "the URL of the handle store has a setting that the server does not know; what it may",
        ),
    ],
)
async def test_what_only_the_operator_can_mend_ends_connect(talk, server, schema, given, told):
    assert (await talk.refused(server.url(schema, **given))).startswith(told)


async def test_a_database_of_a_newer_version_ends_connect_and_is_left_as_it_is(talk, server, schema):
    assert await talk(server.url(schema)) == 1
    await server.ask(f"INSERT INTO {schema}.resumekit_version VALUES (99)")

    assert await talk.refused(server.url(schema)) == (
        f"the handle store in schema '{schema}' was made by a newer resumekit-postgres (its version is 99, this one knows"
        " 1); update resumekit-postgres, or name another schema with ?schema="
    )
    await server.ask(f"DELETE FROM {schema}.resumekit_version WHERE version = 99")
    assert await talk(server.url(schema)) == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("data = '{broken'", f"{ANEW}JSON is malformed"),
        ("data = '{}'", f"{ANEW}Object missing required field"),
        ("expires_at = 'infinity', data = '{broken'", f"{ANEW}JSON is malformed"),
    ],
)
async def test_a_damaged_record_costs_its_own_conversation_and_nothing_else(talk, server, schema, change, told):
    url = server.url(schema)
    assert await talk(url) == 1
    assert await talk(url, "theirs") == 1
    await server.ask(f"UPDATE {schema}.resumekit_handles SET {change} WHERE key = 'k'")

    assert await talk(url) == 1
    (problem,) = talk.told
    assert problem.startswith(told)
    assert await talk(url) == 2, "and is as good as new"
    assert await talk(url, "theirs") == 2


async def test_a_table_that_is_gone_says_how_to_get_it_back(talk, server, schema):
    assert await talk(server.url(schema)) == 1
    await server.ask(f"DROP TABLE {schema}.resumekit_handles")
    assert await talk(server.url(schema)) == 1
    (problem,) = talk.told
    assert problem == (
        "OSError: PostgreSQL: a table of the handle store is gone; it is made again where all of them are, so drop the rest:"
        f' DROP SCHEMA "{schema}" CASCADE'
    )
    await server.ask(f"DROP SCHEMA {schema} CASCADE")

    assert await talk(server.url(schema)) == 1
    assert await talk(server.url(schema)) == 2


async def test_without_its_key_a_record_is_left_as_it_is(talk, server, schema):
    url = server.url(schema)
    assert await talk(EncryptedStore(url, KEY)) == 1

    assert (await talk.refused(url)).startswith("the record of this conversation is encrypted; open the store with")
    assert "was encrypted with another key" in await talk.refused(EncryptedStore(url, OTHER_KEY))
    assert await talk(EncryptedStore(url, OTHER_KEY, previous=[KEY])) == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("substring(data, 1, 30)", f"{ANEW}it was cut off"),
        ("(SELECT data FROM {schema}.resumekit_handles WHERE key = 'theirs')", TAMPERED),
    ],
)
async def test_a_sealed_record_that_was_tampered_with_costs_its_own_conversation(talk, server, schema, change, told):
    store = EncryptedStore(server.url(schema), KEY)
    assert await talk(store) == 1
    assert await talk(store, "theirs") == 1
    change = change.format(schema=schema)
    await server.ask(f"UPDATE {schema}.resumekit_handles SET data = {change} WHERE key = 'k'")

    assert await talk(store) == 1
    assert talk.told == [told]
    assert await talk(store) == 2
    assert await talk(store, "theirs") == 2
