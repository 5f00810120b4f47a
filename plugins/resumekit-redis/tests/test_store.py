"""Redis and Valkey as they are: URLs, rights, what goes by itself, what is in the way, servers that are not there."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest
from resumekit_redis import RedisStore, provide_handle_store
from resumekit_redis import server as module

from resumekit.errors import ConfigurationError, KeyInUse
from resumekit.stores import Entry

LEASE, ENTRY = "resumekit:{k}", "resumekit:{k}:entry"


def entry(text="a record", *, sequence=1, valid_for=7200.0):
    expires_at = datetime.now(UTC) + timedelta(seconds=valid_for)
    return Entry(data=text.encode(), sequence=sequence, expires_at=expires_at)


@pytest.fixture
def server(shared):
    with shared.admin() as client:
        client.flushall()
    return shared


@pytest.fixture
async def store(server):
    store = RedisStore(server.url)
    yield store
    await store.close()


async def until(condition):
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to be")


async def problem_of(url):
    """Return what a claim raises."""
    store = RedisStore(url)
    try:
        with pytest.raises((ConfigurationError, OSError)) as caught:
            await store.claim("k", "me", 60.0)
    finally:
        await store.close()
    return caught.value


# ---------------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://h", {"host": "h"}),
        ("valkey://h:7/3", {"host": "h", "port": 7, "db": 3}),
        ("redis://u:p%2F%23@h", {"host": "h", "username": "u", "password": "p/#"}),
        ("unix:///run/a%20b.sock?db=2", {"path": "/run/a b.sock", "db": 2}),
        ("redis://h?prefix=p&wait=2&max_connections=5", {"host": "h", "max_connections": 5}),
    ],
)
def test_urls(url, options):
    options_of = provide_handle_store(url)._server._address.options

    assert {name: value for name, value in options_of.items() if name != "connection_class"} == options


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
def test_urls_with_tls(scheme):
    options = provide_handle_store(f"{scheme}://h?ssl_ca_certs=/a.pem")._server._address.options

    assert options.pop("connection_class").__name__ == "SSLConnection"
    assert options == {"host": "h", "ssl_ca_certs": "/a.pem"}


@pytest.mark.parametrize("url", ["memory://", "postgresql://h", "redis", "rediss+sentinel://h"])
def test_other_urls_are_not_answered(url):
    assert provide_handle_store(url) is None


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis://", "names no server"),
        ("redis:///0", "names no server"),
        ("redis://h:SECRET", "names no server"),
        ("redis://h/calls", "names no server"),
        ("unix://", "names no server"),
        ("redis://h?max_connections=many", "a value that makes no sense"),
        ("redis://h?decode_responses=1", "'decode_responses', which does not exist"),
        ("redis://h?wait=SECRET", "wait= in the URL of the handle store is a number"),
    ],
)
def test_urls_that_make_no_sense(url, problem):
    with pytest.raises(ConfigurationError, match=problem) as caught:
        provide_handle_store(url)
    assert "SECRET" not in str(caught.value)


# ---------------------------------------------------------------------- what is kept, and for how long


async def test_everything_goes_by_itself(server, store):
    claim = await store.claim("k", "me", 60.0)
    await store.save("k", claim.fence, entry(valid_for=100.0))
    with server.admin() as client:
        assert 60 < client.pttl(ENTRY) / 1000 < 100.1, "with the record's time"
        assert 7 * 86400 < client.pttl(LEASE) / 1000 < 7 * 86400 + 61, "longer than any pause"
        client.persist(LEASE)
        await store.renew("k", claim.fence, 600.0)
        assert client.pttl(LEASE) / 1000 > 7 * 86400 + 500
        await store.save("k", claim.fence, entry(sequence=2, valid_for=-1.0))
        assert client.keys() == [LEASE.encode()]


async def test_leases_of_any_length(server, store):
    claim = await store.claim("k", "me", float("inf"))
    with pytest.raises(KeyInUse) as caught:
        await store.claim("k", "you", 60.0)
    assert caught.value.seconds > 365 * 86400
    assert await store.renew("k", claim.fence, -5.0)
    assert (await store.claim("k", "you", 60.0)).fence > claim.fence


async def test_fences_grow_also_after_everything_was_lost(server, store):
    first = await store.claim("k", "me", 60.0)
    with server.admin() as client:
        client.flushall()
    assert not await store.save("k", first.fence, entry()), "nothing is known of it"
    second = await store.claim("k", "you", 60.0)

    assert second.fence > first.fence
    assert not await store.save("k", first.fence, entry())


async def test_fences_grow_also_if_the_clock_was_set_back_and_locks_nobody_out(server, store):
    first = await store.claim("k", "me", 15.0)
    hour = 3600 * 10**6
    with server.admin() as client:  # as it was an hour later
        client.hset(LEASE, mapping={"fence": first.fence + hour, "until": int(client.hget(LEASE, "until")) + hour})
    second = await store.claim("k", "you", 15.0)

    assert second.fence == first.fence + hour + 1


async def test_one_that_was_thrown_out_is_waited_for_by_whoever_claims_next(store):
    """The answer to the first claim may have been lost, and its owner may have left again."""
    await store.claim("k", "first", 60.0)
    held = [(await store.claim("k", "second", 60.0, force=True)).held_for]
    again = await store.claim("k", "second", 60.0)
    held.append(again.held_for)
    await store.release("k", again.fence)
    held.append((await store.claim("k", "third", 60.0)).held_for)

    assert all(50 < seconds <= 60 for seconds in held), held
    assert held == sorted(held, reverse=True)


async def test_a_renewal_that_comes_after_the_release_locks_nobody_out(store):
    claim = await store.claim("k", "me", 60.0)
    await store.release("k", claim.fence)

    assert not await store.renew("k", claim.fence, 60.0)
    assert (await store.claim("k", "you", 60.0)).held_for == 0


async def test_keys_are_in_one_slot_and_may_be_any_text(server, store):
    for key in ("}", "{}", "a}b{c", "%7D", "a:entry", "\ud800", " "):
        claim = await store.claim(key, "me", 60.0)
        await store.save(key, claim.fence, entry(key.encode("utf-8", "replace").decode()))
    with server.admin() as client:
        keys = sorted(client.keys())
    tags = [key.partition(b"{")[2].partition(b"}")[0] for key in keys]

    assert len(keys) == 14
    assert len(set(tags)) == 7
    assert b"" not in tags, "without it all of the key would count"


async def test_a_prefix_tells_applications_apart(server, store):
    other = RedisStore(f"{server.url}?prefix=calls:")
    await store.claim("k", "me", 60.0)
    await other.claim("k", "me too", 60.0)
    await other.close()
    with server.admin() as client:
        assert sorted(client.keys()) == [b"calls:{k}", LEASE.encode()]


async def test_scripts_that_the_server_forgot_are_sent_again(server, store):
    claim = await store.claim("k", "me", 60.0)
    for sequence in (1, 2):
        with server.admin() as client:
            client.script_flush()
        assert await store.save("k", claim.fence, entry(sequence=sequence))
    with server.admin() as client:
        client.config_resetstat()
        await store.save("k", claim.fence, entry(sequence=3))
        commands = client.info("commandstats")

    assert commands["cmdstat_evalsha"]["calls"] == 1
    assert "cmdstat_eval" not in commands, "known again: its name is enough"


# ---------------------------------------------------------------------- connections


async def test_stores_of_one_loop_share_connections_and_the_last_one_closes_them(server):
    stores = [RedisStore(server.url), RedisStore(f"{server.url}?prefix=another:"), RedisStore(server.url)]
    for store in stores:
        await store.claim("k", "me", 60.0)
    (pools,) = module._POOLS.values()
    (pool,) = pools.values()
    assert pool.users == 3
    with server.admin() as client:
        assert len(client.client_list()) == 2
        for store in stores:
            assert module._POOLS
            await store.close()
            await store.close()
        assert module._POOLS == {}
        await until(lambda: len(client.client_list()) == 1)


async def test_a_closed_store_opens_again(store):
    await store.claim("k", "me", 60.0)
    await store.close()
    assert await store.claim("k", "me", 60.0)


async def test_a_store_serves_several_loops(store):
    """And is closed in all of them that still run."""
    ready, done = threading.Event(), threading.Event()

    async def elsewhere():
        await store.claim("elsewhere", "me", 60.0)
        ready.set()
        await until(done.is_set)

    thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
    thread.start()
    await store.claim("here", "me", 60.0)
    await asyncio.to_thread(ready.wait)
    assert len(module._POOLS) == 2
    await store.close()
    assert module._POOLS == {}
    done.set()
    await asyncio.to_thread(thread.join)


async def test_more_steps_than_connections_wait_for_one(server):
    store = RedisStore(f"{server.url}?max_connections=2")
    claims = await asyncio.gather(*(store.claim(f"{number}", "me", 60.0) for number in range(50)))
    with server.admin() as client:
        assert len(client.client_list()) == 3
    assert len(claims) == 50
    await store.close()


async def test_a_step_that_is_not_waited_for_any_more_does_not_spoil_the_next(server, store):
    claim = await store.claim("k", "me", 60.0)
    for number in range(30):
        late = asyncio.create_task(store.save("k", claim.fence, entry(f"{number}", sequence=number)))
        for _ in range(number % 6):
            await asyncio.sleep(0)
        late.cancel()
        await asyncio.wait([late])
        assert await store.renew("k", claim.fence, 60.0) is True
    assert (await store.claim("k", "me", 60.0)).fence > claim.fence


# ---------------------------------------------------------------------- rights


@pytest.fixture(scope="module")
def guarded(valkey):
    """A server with a password, and users who may do what the README says, and too little."""
    server = valkey()
    rights = "~resumekit:* +eval +evalsha +time +hget +hmget +hset +hdel +del +pexpireat"
    with server.admin() as client:
        client.execute_command(*f"ACL SETUSER calls on >SECRET {rights}".split())
        client.execute_command(*"ACL SETUSER reader on >SECRET ~* +@read".split())
        client.execute_command(*"ACL SETUSER scripts on >SECRET ~* +eval +evalsha +time".split())
        client.execute_command(
            *f"ACL SETUSER elsewhere on >SECRET {rights}".replace("~resumekit:*", "~calls:*").split()
        )
        client.execute_command(*"ACL SETUSER default resetpass >SECRET".split())
    return server


async def test_the_rights_of_the_readme_are_enough(guarded):
    store = RedisStore(f"{guarded.url}?username=calls&password=SECRET")
    claim = await store.claim("k", "me", 60.0)
    assert await store.renew("k", claim.fence, 60.0)
    assert await store.save("k", claim.fence, entry())
    assert (await store.claim("k", "me", 60.0)).entry.data == b"a record"
    assert not await store.renew("k", claim.fence, 1.0)
    await store.release("k", claim.fence)
    await store.close()


@pytest.mark.parametrize("user", ["", "password=WRONG-SECRET", "username=nobody&password=SECRET"])
async def test_a_wrong_password(guarded, user):
    problem = await problem_of(f"{guarded.url}?{user}")

    assert isinstance(problem, ConfigurationError)
    assert str(problem).startswith("the handle store refuses the user name or the password, or asks for one")
    assert "SECRET" not in str(problem)


@pytest.mark.parametrize("user", ["reader", "scripts", "elsewhere"])
async def test_too_few_rights(guarded, user):
    problem = await problem_of(f"{guarded.url}?username={user}&password=SECRET")

    assert isinstance(problem, ConfigurationError)
    assert "may not do what is needed; give it ~PREFIX* +eval" in str(problem)


async def test_a_password_that_the_server_does_not_know_of(server):
    problem = await problem_of(f"{server.url}?username=u&password=SECRET")

    assert isinstance(problem, ConfigurationError)
    assert "SECRET" not in f"{problem}"


# ---------------------------------------------------------------------- servers that cannot, or not now


async def test_nobody_listens(free_port, tmp_path):
    for url in (f"redis://:SECRET@127.0.0.1:{free_port()}", f"unix://{tmp_path}/SECRET"):
        problem = await problem_of(url)
        assert isinstance(problem, OSError)
        assert not isinstance(problem, ConfigurationError)
        assert str(problem).startswith("the handle store cannot be reached: ")
        assert "SECRET" not in str(problem)
        assert "127.0.0.1" not in str(problem)


async def test_something_else_listens():
    async def answer(reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        problem = await problem_of(f"redis://127.0.0.1:{port}")
    assert isinstance(problem, OSError)


async def test_a_certificate_that_nobody_trusts():
    import ssl

    import trustme

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    async def nothing(reader, writer):
        writer.close()

    async with await asyncio.start_server(nothing, "127.0.0.1", 0, ssl=context) as other:
        port = other.sockets[0].getsockname()[1]
        problem = await problem_of(f"rediss://127.0.0.1:{port}")
    assert isinstance(problem, ConfigurationError)
    assert "?ssl_ca_certs=" in str(problem)


async def test_something_else_under_the_key(server, store):
    with server.admin() as client:
        client.set(LEASE, "mine")
    problem = await problem_of(server.url)
    assert isinstance(problem, ConfigurationError)
    assert "?prefix=" in str(problem)
    with server.admin() as client:
        client.delete(LEASE)
        client.rpush(ENTRY, "mine")
    assert str(await problem_of(server.url)) == str(problem)
    with server.admin() as client:
        assert client.lrange(ENTRY, 0, -1) == [b"mine"]


async def test_a_database_that_is_not_there(server):
    problem = await problem_of(f"{server.url}?db=99")
    assert isinstance(problem, ConfigurationError)
    assert "no database of this number" in str(problem)


async def test_a_server_without_memory(server, store):
    claim = await store.claim("k", "me", 60.0)
    with server.admin() as client:
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(OSError, match="out of memory"):
                await store.save("k", claim.fence, entry())
        finally:
            client.config_set("maxmemory", 0)
    assert await store.save("k", claim.fence, entry())


async def test_a_node_of_a_cluster(valkey):
    server = valkey(**{"cluster-enabled": "yes", "port": 0})
    with server.admin() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        await until(lambda: client.cluster("info")["cluster_state"] == "ok")
    store = RedisStore(server.url)
    claim = await store.claim("}", "me", 60.0)
    assert await store.save("}", claim.fence, entry()), "both keys are in one slot"
    await store.close()


async def test_a_replica_and_what_replicas_confirm(valkey, free_port):
    port = free_port()
    primary = valkey(port=port, bind="127.0.0.1")
    problem = await problem_of(f"{primary.url}?wait=1")
    assert isinstance(problem, OSError)
    assert str(problem) == "0 of 1 replicas confirmed within 1 s what was written"

    replica = valkey(replicaof=f"127.0.0.1 {port}")
    with replica.admin() as client:
        await until(lambda: client.info("replication")["master_link_status"] == "up")
    problem = await problem_of(replica.url)
    assert isinstance(problem, OSError)
    assert "read-only replica; name the primary" in str(problem)

    store = RedisStore(f"{primary.url}?wait=1")
    claim = await store.claim("k2", "me", 60.0)
    assert await store.save("k2", claim.fence, entry())
    with replica.admin() as client:
        assert client.hget("resumekit:{k2}:entry", "data") == b"a record"
    with primary.admin() as client:
        client.script_flush()
    assert await store.save("k2", claim.fence, entry(sequence=2))

    primary.kill()
    with replica.admin() as client:
        client.execute_command("REPLICAOF", "NO", "ONE")
    await store.close()
    store = RedisStore(replica.url)
    with pytest.raises(KeyInUse):
        await store.claim("k2", "you", 60.0)
    assert await store.renew("k2", claim.fence, 60.0)
    await store.close()
