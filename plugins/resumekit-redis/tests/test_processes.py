"""Many processes on one key: whatever stops, dies or comes late, no stale write is accepted.

The server's own account (MONITOR) says what was accepted, and in which order; each writer says what it believes.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
import signal
import subprocess
import sys

import pytest
import redis
from resumekit_redis import RedisStore

from resumekit.errors import KeyInUse

WRITERS = """
import asyncio, random, sys
from datetime import UTC, datetime, timedelta
from resumekit.errors import KeyInUse
from resumekit.stores import Entry
from resumekit_redis import RedisStore

OVER = datetime.now(UTC) + timedelta(hours=1)

async def writer(url, name, rounds, saves, lease, pauses):
    store = RedisStore(url)
    draw = random.Random(name)
    done = 0
    while done < rounds:
        try:
            claim = await store.claim("k", name, lease)
            await asyncio.sleep(draw.choice(pauses))
            for sequence in range(1, saves + 1 if saves else 10**6):
                data = f"{claim.fence} {sequence}".encode()
                if await store.save("k", claim.fence, Entry(data=data, sequence=sequence, expires_at=OVER)):
                    print(claim.fence, sequence, flush=True)
                elif not saves:
                    break
                await asyncio.sleep(draw.choice(pauses))
        except KeyInUse as busy:
            await asyncio.sleep(busy.seconds)
            continue
        except OSError:
            await asyncio.sleep(0.01)
            continue
        done += 1
    await store.close()

async def main(url, name, writers, rounds, saves, lease, *pauses):
    pauses = [float(pause) for pause in pauses]
    names = [f"{name} {number}" for number in range(int(writers))]
    await asyncio.gather(*(writer(url, one, int(rounds), int(saves), float(lease), pauses) for one in names))

asyncio.run(main(*sys.argv[1:]))
"""


async def started(url, name, *, writers=1, rounds, saves=2, lease, pauses):
    arguments = [url, name, writers, rounds, saves, lease, *pauses]
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITERS, *map(str, arguments), stdout=subprocess.PIPE
    )


def writes_in(lines):
    return [tuple(map(int, line.split())) for line in lines]


async def believed(processes):
    """Wait for the processes to end; return what each of them believes to have written."""
    said = [(await process.communicate())[0].decode().splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return sorted(write for lines in said for write in writes_in(lines))


class Account:
    """What the server says that it does, as it does it."""

    def __init__(self, server):
        self._server = server
        self.accepted = []
        """Fence and sequence of each entry that was written."""
        self.claims = []
        """Fences that were given."""

    async def __aenter__(self):
        self._reader, self._writer = await asyncio.open_unix_connection(self._server.socket)
        self._writer.write(b"MONITOR\r\n")
        assert await self._reader.readline() == b"+OK\r\n"
        self._task = asyncio.create_task(self._read())
        return self

    async def _read(self):
        async for line in self._reader:
            found = re.match(r"\+[\d.]+ \[\d+ lua\] (.*)", line.decode())
            if found is None and b"the end" in line:
                break
            if found is None:
                continue
            words = shlex.split(found[1])
            if words[0] == "HSET" and words[1].endswith(":entry"):
                self.accepted.append(tuple(map(int, words[3].split())))
            elif words[0] == "HSET" and "owner" in words:
                self.claims.append(int(words[3]))

    async def __aexit__(self, *_):
        """Read to the end."""
        with contextlib.suppress(redis.exceptions.ConnectionError), self._server.admin() as client:
            client.echo("the end")
        await self._task
        self._writer.close()


@pytest.fixture
def server(valkey):
    server = valkey()
    yield server
    server.stop()


@pytest.mark.slow
async def test_forty_writers_that_pause_longer_than_their_lease(server):
    async with Account(server) as account:
        processes = [
            await started(
                server.url, f"process {number}", writers=10, rounds=5, lease=0.02, pauses=[0.0, 0.001, 0.03, 0.06]
            )
            for number in range(4)
        ]
        written = await believed(processes)

    assert len(account.claims) == 200
    assert account.claims == sorted(set(account.claims)), "each fence is greater than those before"
    assert account.accepted == sorted(set(account.accepted)), "entries never go back"
    assert account.accepted == written, "each knew what was accepted of it"
    assert 0 < len(written) < 400, "some were refused"


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(3))
async def test_a_process_that_stood_still_writes_nothing_any_more(server, turn):
    """Stopped in the midst of its writes, as a container that is frozen; its successor goes on, and it comes back."""
    async with Account(server) as account:
        frozen = await started(server.url, "frozen", rounds=1, saves=0, lease=0.2, pauses=[0.0, 0.001, 0.01])
        while len(account.accepted) < 5 + turn:  # noqa: ASYNC110 -- another task reads it
            await asyncio.sleep(0.001)
        frozen.send_signal(signal.SIGSTOP)
        after = await believed([await started(server.url, "next", rounds=1, lease=30.0, pauses=[0.0])])
        frozen.send_signal(signal.SIGCONT)
        before = await believed([frozen])

    assert len(after) == 2
    assert account.accepted == before + after
    assert len(before) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("keeps", [True, False], ids=["keeps its data", "loses its data"])
async def test_a_server_that_dies_and_comes_back_under_load(valkey, keeps):
    server = valkey(appendonly="yes" if keeps else "no")
    processes = [
        await started(server.url, f"process {number}", writers=5, rounds=8, lease=0.02, pauses=[0.0, 0.001, 0.03])
        for number in range(2)
    ]
    accounts = []
    for _ in range(4):
        async with Account(server) as account:
            while len(account.claims) < 10 and None in [process.returncode for process in processes]:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            server.kill()
        accounts.append(account)
        server.start()
    written = await believed(processes)

    claims = [fence for account in accounts for fence in account.claims]
    accepted = [write for account in accounts for write in account.accepted]
    assert claims == sorted(set(claims)), "each fence is greater than those before, also after a restart"
    assert accepted == sorted(set(accepted)), "entries never go back"
    assert written
    with server.admin() as client:
        newest = tuple(map(int, client.hget("resumekit:{k}:entry", "data").split()))
    assert newest >= written[-1], "what was accepted is there"
    server.stop()


async def test_a_server_that_dies_keeps_who_has_the_key(valkey):
    server = valkey(appendonly="yes")
    store = RedisStore(server.url)
    claim = await store.claim("k", "me", 60.0)
    server.kill()
    with pytest.raises(OSError, match="the handle store cannot be reached"):
        await store.renew("k", claim.fence, 60.0)
    server.start()
    with pytest.raises(KeyInUse):
        await store.claim("k", "you", 60.0)
    assert await store.renew("k", claim.fence, 60.0)
    await store.close()
    server.stop()
