"""Several processes that want one conversation: whatever is frozen or dies, nobody overwrites what a successor wrote."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path

from resumekit_postgres.store import PostgresStore

LEASE = 0.15
PROCESSES, WRITERS = 4, 10

LOG = """
CREATE TABLE {schema}.log (id bigserial PRIMARY KEY, kind text, fence bigint, sequence bigint, data bytea, newest bigint);
CREATE FUNCTION {schema}.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR NEW.fence <> OLD.fence THEN
        INSERT INTO {schema}.log (kind, fence) VALUES ('claim', NEW.fence);
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.data IS DISTINCT FROM OLD.data THEN
        INSERT INTO {schema}.log (kind, fence, sequence, data, newest)
        VALUES ('save', NEW.writer, NEW.sequence, NEW.data, OLD.fence);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE ON {schema}.resumekit_handles FOR EACH ROW EXECUTE FUNCTION {schema}.note();
"""
"""What was written, in the order in which it was: the row stays locked until the trigger ran. (One that runs
before an insert would also see those that turn into updates, or into nothing.)"""


class Judge:
    """What the server saw, whatever the writers say."""

    def __init__(self, server, schema):
        self.server, self.schema = server, schema

    async def prepare(self):
        store = PostgresStore(self.server.url(self.schema))
        await store.claim("another", "me", 0.0)
        await store.close()
        connection = await self.server.connect()
        await connection.execute(LOG.format(schema=self.schema))
        await connection.close()

    async def count(self, kind):
        ((found,),) = await self.server.ask(f"SELECT count(*) FROM {self.schema}.log WHERE kind = $1", kind)
        return found

    async def more(self, kind, number):
        """Wait until there are so many more."""
        wanted = await self.count(kind) + number
        while await self.count(kind) < wanted:  # noqa: ASYNC110 -- it is another process that we wait for
            await asyncio.sleep(0.01)

    async def owner(self):
        """Return the process that has the key."""
        ((owner,),) = await self.server.ask(f"SELECT owner FROM {self.schema}.resumekit_handles WHERE key = 'k'")
        return int(owner.partition(" ")[0])

    async def verdict(self, tallies):
        """Go through the log; return how many saves were refused."""
        newest, before, written = 0, (0, 0), set()
        rows = await self.server.ask(f"SELECT kind, fence, sequence, data, newest FROM {self.schema}.log ORDER BY id")
        for kind, fence, sequence, data, fence_of_the_row in rows:
            if kind == "claim":
                assert fence > newest, "a fence that does not grow"
                newest = fence
                continue
            assert json.loads(data) == [fence, sequence]
            assert fence == newest == fence_of_the_row, "a stale write was accepted"
            assert (fence, sequence) > before, "the entry went back"
            before = fence, sequence
            written.add(before)
        for tally in tallies:
            assert tally["problems"] == []
            assert {tuple(one) for one in tally["accepted"]} <= written, "a write was accepted, and is not there"
        return sum(tally["refused"] for tally in tallies)


@contextlib.asynccontextmanager
async def writers(url, tallies):
    script = str(Path(__file__).with_name("writers.py"))
    processes = []
    try:
        for number in range(PROCESSES):
            command = [script, url, "k", f"{number}", f"{WRITERS}", f"{LEASE}"]
            processes.append(await asyncio.create_subprocess_exec(sys.executable, *command, stdin=-1, stdout=-1))
        yield processes
        said = await asyncio.gather(*(process.communicate(b"") for process in processes))
        tallies += [json.loads(stdout) for stdout, _ in said]
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_writers_that_are_frozen_never_overwrite_their_successors(server, schema):
    judge, tallies = Judge(server, schema), []
    await judge.prepare()
    async with writers(server.url(schema), tallies) as processes:
        for _ in range(3):
            await judge.more("save", 5)
            frozen = processes[await judge.owner()]
            frozen.send_signal(signal.SIGSTOP)
            await judge.more("claim", 4)  # of the others: leases ended
            frozen.send_signal(signal.SIGCONT)
        await judge.more("save", 5)

    assert await judge.verdict(tallies) > 0, "no stale write was tried"


async def test_a_server_that_crashes_under_load_loses_nothing_that_it_accepted(own_server, schema):
    judge, tallies = Judge(own_server, schema), []
    await judge.prepare()
    async with writers(own_server.url(schema), tallies):
        for _ in range(3):
            await judge.more("save", 5)
            own_server.stop()
            own_server.start()
        await judge.more("save", 5)

    await judge.verdict(tallies)
    assert all(tally["failed"] for tally in tallies), "nobody noticed"


async def test_a_process_that_is_killed_holds_nobody_up_for_longer_than_its_lease(server, schema):
    judge, tallies = Judge(server, schema), []
    await judge.prepare()
    async with writers(server.url(schema), tallies) as processes:
        await judge.more("save", 3)
        killed = await judge.owner()
        processes[killed].kill()
        await processes[killed].wait()
        del processes[killed]
        await judge.more("save", 5)

    await judge.verdict(tallies)
