"""The SQLite store: one file, several processes, readable by its owner only, and errors that say what to do."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from resumekit.defaults import SqliteStores
from resumekit.defaults.sqlite import _OPEN, SqliteStore
from resumekit.errors import ConfigurationError, KeyInUse
from resumekit.stores import Entry


def entry(text="a record", *, sequence=1, valid_for=7200.0):
    expires_at = datetime.now(UTC) + timedelta(seconds=valid_for)
    return Entry(data=text.encode(), sequence=sequence, expires_at=expires_at)


async def kept(store, key="k"):
    claim = await store.claim(key, "reader", 60.0, force=True)
    return claim.entry and claim.entry.data.decode()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "calls.db"


async def filled(path, text="a record"):
    store = SqliteStore(path)
    claim = await store.claim("k", "me", 60.0)
    assert await store.save("k", claim.fence, entry(text))
    return store, claim


async def test_nobody_else_may_read_it(path):
    store, _ = await filled(path)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

    assert modes[path.name] == 0o600
    assert set(modes.values()) == {0o600}, modes
    await store.close()


async def test_stores_of_one_process_share_the_file_and_the_last_one_closes_it(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    one, other = SqliteStore(path), SqliteStores().provide_handle_store("sqlite:///calls.db")
    await kept(one)
    await kept(other)
    assert len([name for name in _OPEN if name.endswith("calls.db")]) == 1
    await one.close()
    await one.close()
    assert await kept(other) is None
    await other.close()

    assert not [name for name in _OPEN if name.endswith("calls.db")]
    assert [file.name for file in path.parent.iterdir()] == ["calls.db"], "no journal is left"


@pytest.mark.parametrize("url", ["sqlite:///a%20b/c%3F.db", "sqlite:///{}/a%20b/c%3F.db"])
async def test_relative_and_absolute_paths(tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b").mkdir()
    store = SqliteStores().provide_handle_store(url.format(tmp_path))
    await kept(store)
    await store.close()

    assert (tmp_path / "a b" / "c?.db").exists()


def test_other_schemes_are_not_answered():
    assert SqliteStores().provide_handle_store("postgresql:///calls.db") is None


@pytest.mark.parametrize(
    "url", ["sqlite://calls.db", "sqlite:calls.db", "sqlite:///", "sqlite:///a.db?mode=ro", "sqlite:"]
)
def test_a_url_that_names_no_file(url):
    with pytest.raises(ConfigurationError, match="four slashes"):
        SqliteStores().provide_handle_store(url)


async def test_entries_and_fences_that_are_of_no_use_any_more_go(path):
    store = SqliteStore(path)
    stale = await store.claim("old", "me", 0.0)
    await store.save("old", stale.fence, entry(valid_for=-1.0))
    await store.claim("claimed and left", "me", 0.0)
    await store.claim("k", "me", 60.0)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        keys = database.execute("SELECT key FROM resumekit_handles").fetchall()
    claim = await store.claim("old", "other", 60.0)

    assert keys == [("k",)]
    assert claim.entry is None
    assert claim.fence > stale.fence, "though nothing is known of it any more"
    assert not await store.save("old", stale.fence, entry())
    await store.close()


async def test_a_clock_that_was_set_back_locks_nobody_out(path, monkeypatch):
    now = [2e9]
    monkeypatch.setattr("resumekit.defaults.sqlite.time.time", lambda: now[0])
    store = SqliteStore(path)
    first = await store.claim("k", "first", 15.0)
    now[0] -= 0.5
    with pytest.raises(KeyInUse):
        await store.claim("k", "second", 15.0)
    now[0] -= 3600.0
    second = await store.claim("k", "second", 15.0)

    assert second.fence > first.fence
    await store.close()


# ---------------------------------------------------------------------- files that others use (tests/adapters/test_bad_stores.py has those that are no good)


async def test_a_table_beside_those_of_an_application(path):
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE mine (a)")
        database.execute("PRAGMA user_version = 7")
    store, _ = await filled(path)
    await store.close()
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        version = database.execute("PRAGMA user_version").fetchone()

    assert tables == {"mine", "resumekit_handles", "resumekit_version"}
    assert version == (7,), "the application's, as the version of its tables"


async def test_a_writer_that_holds_the_file_for_long_is_an_error_that_passes(path, monkeypatch):
    store, claim = await filled(path)
    monkeypatch.setattr("resumekit.defaults.sqlite._BUSY", 0.05)
    await store.close()
    store = SqliteStore(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OSError, match="locked"):
        await store.save("k", claim.fence, entry("newer", sequence=2))
    other.execute("ROLLBACK")
    other.close()

    assert await store.save("k", claim.fence, entry("newer", sequence=2))
    assert await kept(store) == "newer"
    await store.close()


# ---------------------------------------------------------------------- processes

WRITERS = """
import asyncio, random, sys, time
from datetime import UTC, datetime, timedelta
from resumekit.defaults.sqlite import SqliteStore
from resumekit.errors import KeyInUse
from resumekit.stores import Entry

async def main(path, name):
    store = SqliteStore(path)
    draw = random.Random(name)
    done = 0
    over = datetime.now(UTC) + timedelta(hours=1)
    while done < 12:
        try:
            claim = await store.claim("k", name, 0.02)
        except KeyInUse as busy:
            await asyncio.sleep(busy.seconds)
            continue
        await asyncio.sleep(draw.choice([0.0, 0.001, 0.03]))
        for sequence in (1, 2):
            data = f"{claim.fence} {sequence}".encode()
            if await store.save("k", claim.fence, Entry(data=data, sequence=sequence, expires_at=over)):
                print(claim.fence, sequence)
        done += 1
        await store.renew("k", claim.fence, 0.0)
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_writers_in_several_processes_never_overwrite_their_successors(path):
    """What is there at the end is the newest that was accepted, and a trigger in the file has seen it grow all along."""
    store = SqliteStore(path)
    claim = await store.claim("k", "first", 0.0)
    await store.save("k", claim.fence, entry())
    await store.close()
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.executescript(
            "CREATE TABLE seen (fence INTEGER, sequence INTEGER);"
            " CREATE TRIGGER note AFTER UPDATE OF data ON resumekit_handles"
            " BEGIN INSERT INTO seen VALUES (new.fence, new.sequence); END;"
        )
    writers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITERS, str(path), f"writer {number}", stdout=subprocess.PIPE
        )
        for number in range(4)
    ]
    said = [(await writer.communicate())[0].decode().splitlines() for writer in writers]
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        seen = database.execute("SELECT fence, sequence FROM seen ORDER BY rowid").fetchall()

    assert [writer.returncode for writer in writers] == [0] * 4
    assert seen == sorted(seen), "never backwards"
    accepted = sorted(tuple(map(int, line.split())) for lines in said for line in lines)
    assert accepted == seen, "and each knew whether it was written"
    assert len({fence for fence, _ in seen}) > 20
