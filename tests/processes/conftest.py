"""Stores that processes share: a file, Valkey and PostgreSQL, real ones, in the environment that has all of them."""

from __future__ import annotations

import asyncio
import importlib.util
import sqlite3
from pathlib import Path

import pytest

from resumekit.stores import StoredHandle

ROOT = Path(__file__).resolve().parents[2]
IS_HERE = importlib.util.find_spec("resumekit_redis") is not None and importlib.util.find_spec("google.adk") is not None
collect_ignore_glob = [] if IS_HERE else ["test_*.py"]
PATIENCE = 60.0


def of_plugin(name):
    """Return the conftest of a plugin's own tests, which starts a real server."""
    path = ROOT / "plugins" / f"resumekit-{name}" / "tests" / "conftest.py"
    spec = importlib.util.spec_from_file_location(f"{name}_servers", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if IS_HERE:
    redis, postgres = of_plugin("redis"), of_plugin("postgres")
    valkey, server = redis.valkey, postgres.server


class Store:
    """One that a test has for itself: its URL, and what it keeps, read behind the back of resumekit."""

    def __init__(self, url, read):
        self.url = url
        self._read = read

    async def record(self):
        """Return the one record that is kept, or None."""
        data = await self._read()
        return StoredHandle.from_json(data) if data else None

    async def until(self, is_so):
        """Wait until the record is so; return it."""
        async with asyncio.timeout(PATIENCE):
            while (record := await self.record()) is None or not is_so(record):  # noqa: ASYNC110 -- of a server
                await asyncio.sleep(0.02)
        return record

    async def is_quiet(self):
        """Wait until nothing is unanswered."""
        return await self.until(lambda record: not record.pending)

    async def keeps(self, question):
        """Wait until a message is kept that the handle does not hold."""
        return await self.until(lambda record: any(question in message.frame for message in record.pending))


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def store(request, tmp_path):
    return request.getfixturevalue(f"{request.param}_store")


@pytest.fixture
def sqlite_store(tmp_path):
    path = tmp_path / "handles.db"

    async def read():
        if not path.exists():
            return None
        database = sqlite3.connect(path)
        try:
            row = database.execute("SELECT data FROM resumekit_handles").fetchone()
        except sqlite3.OperationalError:  # the tables are being made
            return None
        finally:
            database.close()
        return row and row[0]

    return Store(f"sqlite:///{path}", read)


@pytest.fixture
def redis_store(valkey):
    server = valkey()

    async def read():
        with server.admin() as client:
            keys = client.keys("*:entry")
            return client.hget(keys[0], "data") if keys else None

    yield Store(server.url, read)
    server.stop()


@pytest.fixture
def postgres_store(server):
    schema = f"t_{postgres.uuid.uuid4().hex}"

    async def read():
        try:
            rows = await server.ask(f"SELECT data FROM {schema}.resumekit_handles")
        except (postgres.asyncpg.UndefinedTableError, postgres.asyncpg.InvalidSchemaNameError):
            return None
        return rows[0][0] if rows else None

    return Store(server.url(schema), read)
