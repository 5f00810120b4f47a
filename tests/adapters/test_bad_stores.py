"""Stores that are no good, as an application with google-genai sees them: what it is told, and that nothing is lost.

Each case has a conversation of one turn in an SQLite file, and does something to that file. The same for the plugins is in
their own tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import tempfile
from pathlib import Path

import pytest
from msgspec.structs import replace

from resumekit import events
from resumekit.encryption import EncryptedStore
from resumekit.errors import ConfigurationError
from resumekit.testing import ScriptedService

genai = pytest.importorskip("google.genai")
resumable = pytest.importorskip("resumekit.adapters.genai")

pytestmark = [pytest.mark.network, pytest.mark.allow_blocking]  # google-genai blocks, we do not
KEY, OTHER_KEY = b"k" * 32, b"o" * 32
NOBODY = 65534


class Talk:
    """Sessions of one conversation, one after the other, each of one question."""

    def __init__(self, service):
        self.service = service
        self.policy = service.policy
        self.told = []
        self.recovered = asyncio.Event()
        self._asked = 0

    async def __call__(self, store, *, key="k", meanwhile=None):
        """Return how many questions the session knows of; what failed stands in `told` then."""
        self._asked += 1
        client = genai.Client(api_key="any", http_options=self.service.http_options())
        connection = resumable.connect(
            client,
            model="gemini-2.5-flash-live",
            config={"response_modalities": ["TEXT"]},
            policy=self.policy,
            key=key,
            store=store,
            on_event=self._hear,
        )
        async with connection as session:
            turns_held = (await self.service.ask(_Plain(session), f"{self._asked}")).turns_held
            if meanwhile is not None:
                await meanwhile()
            return turns_held

    def _hear(self, event):
        if isinstance(event, events.StoreRecovered):
            self.recovered.set()
        if isinstance(event, events.StoreFailed | events.HandleRefused):
            self.told.append(event.problem if isinstance(event, events.StoreFailed) else event.reason)

    async def refused(self, store, **more):
        with pytest.raises(ConfigurationError) as caught:
            await self(store, **more)
        return str(caught.value)


class _Plain:
    """A session of google-genai with the methods that `ScriptedService.ask` needs."""

    def __init__(self, session):
        self._session = session

    async def send(self, frame):
        content = frame["clientContent"]
        await self._session.send_client_content(turns=content["turns"], turn_complete=True)

    async def recv(self):
        return await anext(self._session.receive())


@pytest.fixture
async def talk():
    async with ScriptedService() as service:
        yield Talk(service)


@pytest.fixture
def path():
    """Of a file in a folder that others can get to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder).resolve() / "calls.db"


def url(path):
    return f"sqlite:///{path}"


def change(statement, *values):
    def harm(path):
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute(statement, values)

    return harm


@contextlib.contextmanager
def somebody_else():
    """Root may write to everything."""
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)


# ---------------------------------------------------------------------- files that end `connect`


async def test_a_folder_that_is_not_there(talk, path):
    assert await talk.refused(url(path.parent / "no" / "calls.db")) == (
        f"the handle store {path.parent}/no/calls.db cannot be opened: No such file or directory; name a file, in a"
        " directory that is there, and that this user may write to"
    )


async def test_a_folder_in_its_place(talk, path):
    path.mkdir()
    assert f"{path} cannot be opened: Is a directory; name a file" in await talk.refused(url(path))


async def test_something_else_than_a_database(talk, path):
    path.write_bytes(b"my diary\n" * 1000)

    assert await talk.refused(url(path)) == (
        f"the handle store {path} cannot be used: file is not a database; name another file"
    )
    assert path.read_bytes() == b"my diary\n" * 1000


async def test_a_database_of_a_newer_version(talk, path):
    assert await talk(url(path)) == 1
    change("INSERT INTO resumekit_version VALUES (7)")(path)

    assert await talk.refused(url(path)) == (
        f"the handle store {path} was made by a newer resumekit (its version is 7, this one knows 1); update resumekit,"
        " or use another file"
    )
    change("DELETE FROM resumekit_version WHERE version = 7")(path)
    assert await talk(url(path)) == 2


async def test_a_file_that_may_only_be_read(talk, path):
    assert await talk(url(path)) == 1
    path.chmod(0o444)
    with somebody_else():
        told = await talk.refused(url(path))

    assert told.startswith(f"the handle store {path} cannot be opened: Permission denied; name a file")
    path.chmod(0o600)
    assert await talk(url(path)) == 2


async def test_a_folder_that_may_only_be_read(talk, path):
    """SQLite needs to write beside the file."""
    assert await talk(url(path)) == 1
    path.chmod(0o666)
    path.parent.chmod(0o555)
    with somebody_else():
        told = await talk.refused(url(path))

    assert told == (
        f"the handle store {path} cannot be used: attempt to write a readonly database; let this user write to the file"
        " and to its directory"
    )
    path.parent.chmod(0o755)
    assert await talk(url(path)) == 2


# ---------------------------------------------------------------------- damage


ANEW = "the record cannot be read, so the conversation begins anew: "
ROW = f"{ANEW}its row in the database is damaged"


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (change("UPDATE resumekit_handles SET data = ? WHERE key = 'k'", b"{broken"), f"{ANEW}JSON is malformed"),
        (
            change("UPDATE resumekit_handles SET data = ? WHERE key = 'k'", b"{}"),
            f"{ANEW}Object missing required field",
        ),
        (change("UPDATE resumekit_handles SET data = 'text' WHERE key = 'k'"), f"{ANEW}"),
        (change("UPDATE resumekit_handles SET sequence = 'x' WHERE key = 'k'"), ROW),
        (change("UPDATE resumekit_handles SET fence = 'x', lease_until = 'y' WHERE key = 'k'"), ROW),
        (change("UPDATE resumekit_handles SET expires_at = 1e300 WHERE key = 'k'"), ROW),
    ],
    ids=["no JSON", "no record", "text", "a number", "the lease", "the time"],
)
async def test_a_damaged_record_costs_its_own_conversation_and_nothing_else(talk, path, harm, told):
    assert await talk(url(path)) == 1
    assert await talk(url(path), key="theirs") == 1
    harm(path)

    assert await talk(url(path)) == 1
    (problem,) = talk.told
    assert problem.startswith(told)
    assert await talk(url(path)) == 2, "and is as good as new"
    assert await talk(url(path), key="theirs") == 2
    assert talk.told == [problem]


@pytest.mark.parametrize("what", ["overwritten", "cut off"])
async def test_a_damaged_file_is_reported_and_the_conversation_goes_on_without(talk, path, what):
    assert await talk(url(path)) == 1
    pages = path.read_bytes()
    path.write_bytes(pages[:100] + b"\x55" * (len(pages) - 100) if what == "overwritten" else pages[:5000])

    assert await talk(url(path)) == 1
    (problem,) = talk.told
    assert problem == (
        f"OSError: the handle store {path} cannot be used: database disk image is malformed; the file is damaged: move it"
        " away, and a new one is made"
    )
    path.unlink()
    assert await talk(url(path)) == 1
    assert await talk(url(path)) == 2


async def test_tables_that_are_gone_are_made_again(talk, path):
    assert await talk(url(path)) == 1
    change("DROP TABLE resumekit_handles")(path)

    assert await talk(url(path)) == 1
    assert await talk(url(path)) == 2
    assert talk.told == []


async def test_a_full_disk_is_reported_and_the_record_is_saved_once_there_is_room(talk, path, monkeypatch):
    """As SQLite itself says it: it may make no more pages than it has."""
    connect, pages = sqlite3.connect, [1]

    def limited(*arguments, **options):
        database = connect(*arguments, **options)
        database.execute(f"PRAGMA max_page_count = {pages[0]}")
        return database

    async def make_room():
        (problem,) = talk.told
        assert problem == (
            f"OSError: the handle store {path} cannot be used: database or disk is full; make room; then the newest"
            " record is saved"
        )
        pages[0] = 1000
        await talk.recovered.wait()

    monkeypatch.setattr("resumekit.defaults.sqlite.sqlite3.connect", limited)
    talk.policy = replace(talk.policy, store_timeout=5.0, lease=6.0)  # a third of which it waits before it tries again
    assert await talk(url(path), meanwhile=make_room) == 1
    assert await talk(url(path)) == 2


# ---------------------------------------------------------------------- encryption


def sealed(path, key=KEY, **more):
    return EncryptedStore(url(path), key, **more)


async def test_without_its_key_a_record_is_left_as_it_is(talk, path):
    assert await talk(sealed(path)) == 1

    assert await talk.refused(url(path)) == (
        "the record of this conversation is encrypted; open the store with resumekit.encryption.EncryptedStore"
    )
    told = await talk.refused(sealed(path, OTHER_KEY))
    assert told.startswith("the record of this conversation was encrypted with another key (id ")
    assert told.endswith("); give the old one as EncryptedStore(..., previous=[...])")
    assert await talk(sealed(path, OTHER_KEY, previous=[KEY])) == 2
    assert await talk(sealed(path, OTHER_KEY)) == 3
    assert talk.told == []


async def test_a_record_from_before_there_was_a_key_is_left_as_it_is(talk, path):
    assert await talk(url(path)) == 1

    assert await talk.refused(sealed(path)) == (
        "the record of this conversation is not encrypted; EncryptedStore(..., accept_plain=True) takes it"
    )
    assert await talk(sealed(path, accept_plain=True)) == 2
    assert await talk(sealed(path)) == 3


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("substr(data, 1, 4)", "it was cut off"),
        ("substr(data, 1, 30)", "it was cut off"),
        ("substr(data, 1, 40)", "it was changed, or put in the place of another, after it was encrypted"),
        ("data || x'00'", "it was changed, or put in the place of another, after it was encrypted"),
        (
            "(SELECT data FROM resumekit_handles WHERE key = 'theirs')",
            "it was changed, or put in the place of another, after it was encrypted",
        ),
    ],
)
async def test_a_sealed_record_that_was_tampered_with_costs_its_own_conversation(talk, path, harm, told):
    assert await talk(sealed(path)) == 1
    assert await talk(sealed(path), key="theirs") == 1
    change(f"UPDATE resumekit_handles SET data = CAST({harm} AS BLOB) WHERE key = 'k'")(path)

    assert await talk(sealed(path)) == 1
    assert talk.told == [f"{ANEW}{told}"]
    assert await talk(sealed(path)) == 2
    assert await talk(sealed(path), key="theirs") == 2


async def test_an_encrypted_store_over_a_scheme_that_nobody_knows(talk):
    assert await talk.refused(EncryptedStore("sqllite:///calls.db", KEY)) == (
        "no plugin answers for a store of sqllite://; did you mean sqlite://? Else install the package that provides it"
    )
