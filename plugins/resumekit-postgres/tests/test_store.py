"""What is PostgreSQL's own: how the tables come to be, what goes wrong, and what is said of it."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from resumekit_postgres import provide_handle_store
from resumekit_postgres.schema import MIGRATIONS
from resumekit_postgres.store import _OPEN, PostgresStore

from resumekit.errors import ConfigurationError, KeyInUse
from resumekit.plugins import installed_plugins
from resumekit.stores import Entry


def entry(text="a record", *, sequence=1, valid_for=7200.0):
    expires_at = datetime.now(UTC) + timedelta(seconds=valid_for)
    return Entry(data=text.encode(), sequence=sequence, expires_at=expires_at)


async def kept(store, key="k"):
    claim = await store.claim(key, "reader", 60.0, force=True)
    return claim.entry and claim.entry.data.decode()


@pytest.fixture
async def store(server, schema):
    store = PostgresStore(server.url(schema))
    yield store
    await store.close()


async def refused(url):
    """Return why the first claim is refused for good; in it there is nothing of the URL."""
    store = PostgresStore(url)
    with pytest.raises(ConfigurationError) as caught:
        await store.claim("k", "me", 60.0)
    await store.close()
    assert "secret" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------- the plugin


def test_the_plugin_is_installed():
    (plugin,) = [plugin for plugin in installed_plugins() if plugin.name == "postgres"]
    assert plugin.error is None
    assert plugin.distribution == "resumekit-postgres"
    assert plugin.hooks == ("provide_handle_store",)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_it_answers_for_both_schemes_and_for_no_other(scheme):
    assert isinstance(provide_handle_store(f"{scheme}://app:secret@db/calls"), PostgresStore)
    assert provide_handle_store(f"{scheme}+other://app:secret@db/calls") is None


def test_to_have_it_installed_loads_no_driver():
    code = "import sys, resumekit_postgres; sys.exit('asyncpg' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "setting",
    ["schema=", "schema=pg_own", f"schema={'x' * 64}", "pool_size=0", "pool_size=many", "statement_cache_size=-1"],
)
def test_settings_that_make_no_sense(setting):
    name = setting.partition("=")[0]
    with pytest.raises(ConfigurationError, match=rf"^\?{name}= of a store in PostgreSQL"):
        provide_handle_store(f"postgresql://app:secret@db/calls?{setting}")


def test_nothing_of_the_url_is_shown():
    store = provide_handle_store("postgresql://app:secret@db/calls?sslmode=require&schema=mine")
    assert f"{store!r} {store}" == "PostgresStore(schema='mine') PostgresStore(schema='mine')"
    assert "secret" not in repr(store.__dict__)


# ---------------------------------------------------------------------- the tables


@pytest.mark.parametrize("name", ['odd " name', "Schéma", "public"])
async def test_the_schema_may_have_any_name(server, name):
    store = PostgresStore(server.url(name))
    await store.claim("k", "me", 60.0)
    await store.close()

    found = await server.ask("SELECT tablename FROM pg_tables WHERE schemaname = $1 ORDER BY 1", name)
    assert found == [("resumekit_handles",), ("resumekit_version",)]


async def test_many_processes_may_make_the_tables_at_once(server, schema):
    code = """if True:
        import asyncio, sys
        from resumekit_postgres.store import PostgresStore
        async def main():
            sys.stdin.read()
            stores = [PostgresStore(sys.argv[1]) for _ in range(8)]
            await asyncio.gather(*(store.claim(f"{n} {sys.argv[2]}", "me", 60.0) for n, store in enumerate(stores)))
            for store in stores:
                await store.close()
        asyncio.run(main())
    """
    command = [sys.executable, "-c", code, server.url(schema)]
    workers = [await asyncio.create_subprocess_exec(*command, f"{number}", stdin=-1, stderr=-1) for number in range(4)]
    said = await asyncio.gather(*(worker.communicate(b"") for worker in workers))

    assert [stderr.decode() for _, stderr in said] == [""] * 4
    assert await server.ask(f"SELECT count(*) FROM {schema}.resumekit_handles") == [(32,)]
    assert await server.ask(f"SELECT version FROM {schema}.resumekit_version") == [(len(MIGRATIONS),)]


async def test_tables_of_an_older_version_are_migrated_and_keep_what_they_hold(server, schema, store, monkeypatch):
    claim = await store.claim("k", "me", 60.0)
    await store.save("k", claim.fence, entry())
    await store.close()
    newer = (*MIGRATIONS, "ALTER TABLE {schema}.resumekit_handles ADD note text")
    monkeypatch.setattr("resumekit_postgres.schema.MIGRATIONS", newer)

    assert await kept(store) == "a record"
    versions = await server.ask(f"SELECT version FROM {schema}.resumekit_version ORDER BY 1")
    assert versions == [(len(MIGRATIONS),), (len(newer),)]
    assert await server.ask(f"SELECT note FROM {schema}.resumekit_handles") == [(None,)]


async def test_a_database_from_a_newer_version_is_refused(server, schema, store):
    await store.claim("k", "me", 60.0)
    await server.ask(f"INSERT INTO {schema}.resumekit_version VALUES (99)")

    assert await refused(server.url(schema, more="&pool_size=1")) == (
        f"the handle store in schema {schema!r} was made by a newer resumekit-postgres (its version is 99, this one"
        f" knows {len(MIGRATIONS)}); update resumekit-postgres, or name another schema with ?schema="
    )
    assert await store.renew("k", 7, 60.0) is False, "who is at work already goes on"


async def test_tables_that_went_away_come_back(server, schema, store):
    await store.claim("k", "me", 60.0)
    await server.ask(f"DROP SCHEMA {schema} CASCADE")
    with pytest.raises(OSError, match="a table of the handle store is gone"):
        await store.claim("k", "me", 60.0)

    assert (await store.claim("k", "me", 60.0)).entry is None


# ---------------------------------------------------------------------- rows


async def test_rows_that_are_of_no_use_any_more_go(server, schema, store):
    stale = await store.claim("old", "me", 0.0)
    await store.save("old", stale.fence, entry(valid_for=-4000.0))
    await store.claim("held", "me", 60.0)
    valid = await store.claim("valid", "me", 0.0)
    await store.save("valid", valid.fence, entry())
    await store.close()
    await server.ask(
        f"UPDATE {schema}.resumekit_handles SET lease_until = lease_until - interval '2 hours' WHERE key <> 'held'"
    )
    await server.ask(
        f"UPDATE {schema}.resumekit_handles SET expires_at = expires_at - interval '2 hours' WHERE key = 'held'"
    )
    await store.claim("k", "me", 60.0)

    keys = await server.ask(f"SELECT key FROM {schema}.resumekit_handles ORDER BY 1")
    assert keys == [(b"held",), (b"k",), (b"valid",)]
    claim = await store.claim("old", "other", 60.0)
    assert claim.entry is None
    assert claim.fence > stale.fence, "though nothing is known of it any more"
    assert not await store.save("old", stale.fence, entry())


async def test_a_fence_grows_though_the_clock_was_set_back(server, schema, store):
    first = await store.claim("k", "me", 60.0)
    await server.ask(f"UPDATE {schema}.resumekit_handles SET fence = fence + 3600000000")

    assert (await store.claim("k", "me", 60.0)).fence == first.fence + 3_600_000_001


async def test_keys_of_any_text_and_length(store):
    long = secrets.token_hex(50_000)  # what can be compressed would not be too long for an index
    keys = ["nul \0", "half a pair \ud800", long[:1000], long[:1001], long, long[::-1]]
    for number, key in enumerate(keys):
        claim = await store.claim(key, "me", 60.0)
        assert await store.save(key, claim.fence, entry(f"{number}"))

    assert [await kept(store, key) for key in keys] == [f"{number}" for number in range(len(keys))]


async def test_a_corrupted_record_is_handed_out_as_it_is_and_costs_its_own_conversation_only(server, schema, store):
    for key in ("k", "other"):
        claim = await store.claim(key, "me", 60.0)
        await store.save(key, claim.fence, entry(key))
    await server.ask(f"UPDATE {schema}.resumekit_handles SET data = '\\x00ff' WHERE key = 'k'")

    assert (await store.claim("k", "me", 60.0)).entry.data == b"\x00\xff"
    assert await kept(store, "other") == "other"


async def test_a_refused_claim_writes_nothing(server, schema, store):
    await store.claim("k", "me", 60.0)
    before = await server.ask(f"SELECT ctid::text, * FROM {schema}.resumekit_handles")
    with pytest.raises(KeyInUse):
        await store.claim("k", "other", 60.0)

    assert await server.ask(f"SELECT ctid::text, * FROM {schema}.resumekit_handles") == before


async def test_whoever_claims_next_waits_for_one_that_was_thrown_out(store):
    """Also if the claim that threw it out was never answered, and is asked again."""
    await store.claim("k", "first", 60.0)
    await store.claim("k", "second", 60.0, force=True)
    again = await store.claim("k", "second", 60.0)
    await store.release("k", again.fence)
    third = await store.claim("k", "third", 60.0)

    assert 0 < third.held_for <= again.held_for <= 60.0


async def row_locked(server, schema, key):
    """Return a connection of the tests' own that holds a row locked, until `unlocked`."""
    other = await server.connect()
    await other.execute("BEGIN")
    await other.execute(f"SELECT FROM {schema}.resumekit_handles WHERE key = $1 FOR UPDATE", key.encode())
    return other


async def unlocked(other):
    await other.execute("COMMIT")
    await other.close()


async def waits(server, schema, call):
    """Return once this call waits for a locked row."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1"
    while await server.ask(waiting, f"%{schema}%") == [(0,)]:
        assert not call.done()


async def test_a_lease_begins_when_the_claim_has_the_row_and_not_when_it_was_asked_for(server, schema, store):
    first = await store.claim("k", "first", 60.0)
    await store.release("k", first.fence)
    other = await row_locked(server, schema, "k")
    claiming = asyncio.ensure_future(store.claim("k", "second", 60.0))
    await waits(server, schema, claiming)
    begins = await other.fetchval("SELECT clock_timestamp()")
    await unlocked(other)
    await claiming

    ((ends,),) = await server.ask(f"SELECT lease_until FROM {schema}.resumekit_handles")
    assert (ends - begins).total_seconds() >= 60.0


async def test_to_delete_what_is_of_no_use_waits_for_nobody(server, schema, store):
    await store.claim("old", "me", 0.0)
    await store.close()
    old = "lease_until = lease_until - interval '2 hours', expires_at = expires_at - interval '2 hours'"
    await server.ask(f"UPDATE {schema}.resumekit_handles SET {old}")
    other = await row_locked(server, schema, "old")
    await asyncio.wait_for(store.claim("k", "me", 60.0), 100)
    await unlocked(other)


# ---------------------------------------------------------------------- connections


async def connections(server, name):
    (found,) = await server.ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", name)
    return found[0]


async def test_stores_of_one_loop_share_a_few_connections_and_the_last_one_closes_them(server, schema):
    url = server.url(schema, more=f"&application_name={schema}&pool_size=3")
    stores = [PostgresStore(url) for _ in range(20)]
    await asyncio.gather(*(store.claim(f"{number}", "me", 60.0) for number, store in enumerate(stores)))
    assert 1 <= await connections(server, schema) <= 3
    for store in stores[1:]:
        await store.close()
        await store.close()
    assert await kept(stores[0]) is None
    await stores[0].close()

    assert not [key for key in _OPEN if key[1].schema == schema]
    while await connections(server, schema):
        pass


async def test_a_store_serves_several_loops_and_closes_what_it_has_in_each(server, schema):
    store = PostgresStore(server.url(schema, more=f"&application_name={schema}"))
    claim = await store.claim("k", "me", 60.0)
    there = asyncio.new_event_loop()
    thread = threading.Thread(target=there.run_forever)
    thread.start()
    saving = asyncio.run_coroutine_threadsafe(store.save("k", claim.fence, entry("there")), there)
    assert await asyncio.wrap_future(saving)
    assert await kept(store) == "there"
    assert await connections(server, schema) == 2
    await store.close()
    while await connections(server, schema):
        pass
    there.call_soon_threadsafe(there.stop)
    thread.join()
    there.close()


async def test_a_call_that_is_given_up_frees_its_connection(server, schema):
    """Even if nothing comes back any more; the next call has another connection."""
    store = PostgresStore(server.url(schema, more="&pool_size=1"))
    claim = await store.claim("k", "me", 60.0)
    other = await row_locked(server, schema, "k")
    saving = asyncio.ensure_future(store.save("k", claim.fence, entry()))
    await waits(server, schema, saving)
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    await store.claim("another", "me", 60.0)
    await unlocked(other)
    await store.close()


async def test_no_prepared_statement_is_left_where_none_is_wanted(server, schema):
    store = PostgresStore(server.url(schema, more="&statement_cache_size=0&pool_size=1"))
    claim = await store.claim("k", "me", 60.0)
    await store.save("k", claim.fence, entry())
    count = "SELECT count(*) FROM pg_prepared_statements"
    assert await store._pool().run(lambda connection: connection.fetchval(count)) == 0
    await store.close()


# ---------------------------------------------------------------------- what goes wrong


async def test_a_password_is_used(server, schema, roles):
    await server.ask(f"CREATE SCHEMA {schema} AUTHORIZATION with_password")
    store = PostgresStore(server.url(schema, user="with_password:secret"))
    assert await kept(store) is None
    await store.close()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"user": "with_password:not+the+secret"}, "refuses the password; check user and password"),
        ({"user": "with_password"}, "refuses the password; check user and password"),
        ({"user": "unwanted:secret"}, "does not let this user in; check the user in its URL"),
        ({"user": "nobody:secret"}, "does not let this user in; check the user in its URL"),
        ({"database": "secret"}, "no such database; create it"),
        ({"user": "modest:secret"}, "lacks a right that the handle store needs"),
        ({"more": "&sslmode=secret"}, "the URL of the handle store cannot be used"),
        ({"more": "&port=secret"}, "the URL of the handle store cannot be used"),
    ],
)
async def test_what_only_the_operator_can_mend(server, schema, roles, given, message):
    assert message in await refused(server.url(schema, **given))


async def test_missing_rights_say_what_to_do_and_then_it_works(server, schema, roles):
    url = server.url(schema, user="modest")
    assert f'CREATE SCHEMA IF NOT EXISTS "{schema}" AUTHORIZATION the_user' in await refused(url)
    await server.ask(f'CREATE SCHEMA IF NOT EXISTS "{schema}" AUTHORIZATION modest')
    store = PostgresStore(url)
    assert await kept(store) is None
    await store.close()


async def test_a_server_that_is_not_there_is_for_now(tmp_path):
    store = PostgresStore(f"postgresql://app:secret@/calls?host={tmp_path}")
    with pytest.raises(OSError, match=r"^PostgreSQL cannot be reached: No such file or directory; check that"):
        await store.claim("k", "me", 60.0)
    await store.close()


async def test_a_server_that_takes_no_writes_is_for_now(server, schema, store):
    await store.claim("k", "me", 60.0)
    await server.ask(f"CREATE ROLE {schema} LOGIN SUPERUSER")
    await server.ask(f"ALTER ROLE {schema} SET default_transaction_read_only = on")
    reader = PostgresStore(server.url(schema, user=schema))
    with pytest.raises(OSError, match="PostgreSQL takes no writes here; if this is a standby"):
        await reader.claim("k", "me", 60.0)
    await reader.close()


async def test_an_error_does_not_quote_the_row(server, schema, store):
    claim = await store.claim("k", "me", 60.0)
    await server.ask(f"ALTER TABLE {schema}.resumekit_handles ADD CHECK (data IS NULL)")
    with pytest.raises(OSError, match=r"^PostgreSQL: CheckViolationError \(23514\)$") as caught:
        await store.save("k", claim.fence, entry("CANARY"))

    assert isinstance(caught.value.__cause__, asyncpg.CheckViolationError)
    assert b"CANARY".hex() not in str(caught.value.__cause__)


async def test_a_server_that_stopped_and_started_is_used_again(own_server, schema):
    store = PostgresStore(own_server.url(schema))
    claim = await store.claim("k", "me", 60.0)
    assert await store.save("k", claim.fence, entry("before", sequence=1))
    own_server.stop()
    for _ in range(6):  # more than there are connections
        with pytest.raises(OSError, match="PostgreSQL"):
            await store.save("k", claim.fence, entry("meanwhile", sequence=2))
    own_server.start()

    assert await store.save("k", claim.fence, entry("after", sequence=3))
    assert await kept(store) == "after"
    await store.close()
