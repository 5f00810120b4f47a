"""What a store keeps of a conversation, and who can read it (docs/how-to/handle-stores.md)."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat

import pytest

from resumekit import errors
from resumekit.adapters import websockets
from resumekit.core import events
from resumekit.defaults import MemoryStore
from resumekit.defaults.sqlite import SqliteStore
from tests.adapters.support import server
from tests.adapters.test_websockets import SETUP, ask, connect
from tests.drivers.fakes import until
from tests.secrets import API_KEY, TOKEN, chain, forms, leaks, watched

pytestmark = [pytest.mark.network, pytest.mark.allow_blocking]

EncryptedStore = pytest.importorskip("resumekit.encryption").EncryptedStore
pytest.importorskip("cryptography")
KEY = EncryptedStore.new_key()
OLD_KEY = EncryptedStore.new_key()
SAID = "The-patient-is-called-Canary-Bird"
"""No handle covers it: it is kept, for the next process to send it."""


def noting(kind):
    """Return the same kind of store, which tells what it was given to save."""

    class Noting(kind):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.saved = []

        async def save(self, key, fence, entry):
            done = await super().save(key, fence, entry)
            self.saved.append(entry.data)
            return done

    return Noting


async def converse(store, look):
    """Have a handle and a message kept; look at the files while the session lives, and when it is over. Gives the handle."""
    async with server() as live:
        async with connect(live, key="a call", store=store) as session:
            await ask(session, "one")
            await until(lambda: session._driver.last_handle is not None)
            handle = session._driver.last_handle.handle.reveal()
            await session.send({"clientContent": {"turns": [{"parts": [{"text": SAID}]}], "turnComplete": False}})
            await until(lambda: store.saved and SAID.encode() in store.saved[-1] and handle.encode() in store.saved[-1])
            look()
        look()
    return handle


def stand_in(folder, texts):
    """Return which texts stand in the files of a folder, the journals of a database included."""
    found = b"".join(file.read_bytes() for file in sorted(folder.iterdir()))
    return {text for text in texts if any(form.encode() in found for form in forms(text))}


async def test_nobody_reads_an_encrypted_record_in_its_files(tmp_path):
    contents = []

    def look():
        names = {file.name for file in tmp_path.iterdir()}
        contents.append((names, b"".join(file.read_bytes() for file in tmp_path.iterdir())))

    with watched(everybody=True) as secrets:
        secrets |= {KEY, OLD_KEY, SAID}
        store = noting(EncryptedStore)(SqliteStore(tmp_path / "calls.db"), KEY, previous=[OLD_KEY])
        handle = await converse(store, look)
        database = sqlite3.connect(tmp_path / "calls.db")
        with contextlib.closing(database):
            for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                look()
                database.execute(statement)
                look()
        await store.close()
        look()
    assert "calls.db-wal" in contents[0][0]
    assert all(b"RKS1" in found for _, found in contents), "something is kept"
    for names, found in contents:
        for text in (handle, SAID, KEY):
            assert not any(form.encode() in found for form in forms(text)), names


async def test_without_encryption_the_file_is_for_its_owner_only(tmp_path):
    """It holds handle and text in clear, as the docs say; so do its journals, which nobody else may read."""
    modes = set()
    before = os.umask(0)
    try:
        store = noting(SqliteStore)(tmp_path / "calls.db")
        handle = await converse(
            store, lambda: modes.update((f.name, stat.S_IMODE(f.stat().st_mode)) for f in tmp_path.iterdir())
        )
        assert stand_in(tmp_path, {handle, SAID}) == {handle, SAID}
        await store.close()
    finally:
        os.umask(before)
    assert modes == {(name, 0o600) for name in ("calls.db", "calls.db-wal", "calls.db-shm")}


async def test_what_was_forgotten_is_not_there_any_more(tmp_path):
    """Nor is what was let go before: neither in free pages nor in the journal."""
    store = noting(SqliteStore)(tmp_path / "calls.db")
    async with server() as live, connect(live, key="a call", store=store) as session:
        await ask(session, "one")
        await until(lambda: store.saved and session._driver.last_handle is not None)
        handle = session._driver.last_handle.handle.reveal()
        await session.end()
    await store.close()
    assert stand_in(tmp_path, {handle}) == set()


# --- errors -----------------------------------------------------------------------------------------------------------

URLS = {
    "redis": f"redis://user:{API_KEY}@127.0.0.1:9/0",
    "redis with TLS": f"rediss://:{API_KEY}@nowhere.invalid/0?password={TOKEN}",
    "postgresql": f"postgresql://user:{API_KEY}@127.0.0.1:9/db?password={TOKEN}",
    "an odd one": f"postgresql://user:{API_KEY}/{TOKEN}@{TOKEN}@127.0.0.1:port/db",
    "sqlite with a host": f"sqlite://user:{API_KEY}@host/{TOKEN}",
    "sqlite": f"sqlite:///nowhere/at/all?password={API_KEY}",
}


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "encrypted"])
@pytest.mark.parametrize("url", URLS)
async def test_the_url_of_a_store_is_not_quoted(url, wrapped):
    store = EncryptedStore(URLS[url], KEY) if wrapped else URLS[url]
    with watched(everybody=True), pytest.raises(errors.ConfigurationError) as caught:
        async with websockets.connect("ws://127.0.0.1:9", setup=SETUP, key="k", store=store):
            pass
    assert not leaks([*chain(caught.value), repr(store) if wrapped else ""], {API_KEY, TOKEN, KEY})


async def sealed_with(key, secret):
    """Return a store that holds a record of another key."""
    inner = MemoryStore()
    store = noting(EncryptedStore)(inner, key)
    await converse(store, lambda: None)
    secret.add(key)
    return inner


@pytest.mark.parametrize(
    "made",
    [
        lambda inner: EncryptedStore(inner, KEY),
        lambda inner: EncryptedStore(inner, KEY[:-8]),
        lambda inner: EncryptedStore(inner, KEY, previous=[KEY, OLD_KEY + "x"]),
        lambda inner: EncryptedStore(inner, b"x" + KEY.encode()),
        lambda inner: inner,
    ],
    ids=["another key", "half a key", "a bad older key", "no key", "not encrypted"],
)
async def test_no_key_of_the_encryption_is_quoted(made):
    with watched(everybody=True) as secrets:
        inner = await sealed_with(OLD_KEY, secrets)
        secrets.add(KEY)
        with pytest.raises(errors.ConfigurationError) as caught:
            async with websockets.connect("ws://127.0.0.1:9", setup=SETUP, key="a call", store=made(inner)):
                pass
    assert not leaks(list(chain(caught.value)), {KEY, OLD_KEY})


async def test_who_has_the_conversation_is_told_without_what_is_kept():
    told = []
    with watched(everybody=True) as secrets:
        store = noting(MemoryStore)()
        async with server() as live, connect(live, key="a call", store=store) as session:
            await ask(session, "one")
            await until(lambda: store.saved)
            secrets.add(session._driver.last_handle.handle.reveal())
            secrets.add(session._driver._keeper._owner)
            second = connect(live, key="a call", store=store, on_event=told.append, fields={"key_in_use": "raise"})
            with pytest.raises(errors.KeyInUse) as caught:
                async with second:
                    pass
            assert not leaks([*chain(caught.value), repr(store), repr(told)], secrets)


async def test_a_store_that_quotes_what_it_was_given_is_told_without_it():
    class Quoting(MemoryStore):
        async def save(self, key, fence, entry):
            raise OSError(f"cannot write {entry.data[-250:]!r} to redis://user:{API_KEY}@host")

    told = []
    with watched(everybody=True) as secrets:
        secrets.add(SAID)
        async with server() as live, connect(live, key="a call", store=Quoting(), on_event=told.append) as session:
            await ask(session, "one")
            await session.send({"clientContent": {"turns": [{"parts": [{"text": SAID}]}], "turnComplete": False}})
            await until(lambda: any(isinstance(event, events.StoreFailed) for event in told))
