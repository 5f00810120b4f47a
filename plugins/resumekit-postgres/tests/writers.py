"""A process with several writers of one key; `test_processes` runs some of these against each other.

    writers.py URL KEY NAME NUMBER LEASE

They claim when they can, and pause between writes, often for longer than their lease. At the end of standard input they
stop, and the process prints what they did, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from datetime import UTC, datetime, timedelta

from resumekit_postgres.store import PostgresStore

from resumekit.errors import KeyInUse
from resumekit.stores import Entry


async def write(store, key, owner, lease, tally):
    while True:
        try:
            claim = await store.claim(key, owner, lease)
        except KeyInUse as busy:
            await asyncio.sleep(busy.seconds * random.uniform(0.5, 1.0))
            continue
        except OSError:
            tally["failed"] += 1
            await asyncio.sleep(lease)
            continue
        for sequence in (1, 2, 3):
            await asyncio.sleep(lease * random.choice((0.1, 0.3, 2.0)))
            data = json.dumps([claim.fence, sequence]).encode()
            expires_at = datetime.now(UTC) + timedelta(hours=1)
            try:
                done = await store.save(key, claim.fence, Entry(data=data, sequence=sequence, expires_at=expires_at))
            except OSError:
                tally["failed"] += 1  # and nobody knows whether it was written
                continue
            if not done:
                tally["refused"] += 1
                break
            tally["accepted"].append([claim.fence, sequence])


async def main(url, key, name, number, lease):
    store = PostgresStore(url)
    tally = {"accepted": [], "refused": 0, "failed": 0}
    owners = [f"{name} {one}" for one in range(int(number))]
    writers = [asyncio.ensure_future(write(store, key, owner, float(lease), tally)) for owner in owners]
    end = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await asyncio.wait([end, *writers], return_when=asyncio.FIRST_COMPLETED)
    for writer in writers:
        writer.cancel()
    problems = await asyncio.gather(*writers, return_exceptions=True)
    await store.close()
    tally["problems"] = [repr(error) for error in problems if not isinstance(error, asyncio.CancelledError)]
    print(json.dumps(tally))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
