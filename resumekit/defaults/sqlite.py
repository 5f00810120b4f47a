"""The store ``sqlite:///PATH``: handles in a file, which several processes of one host may share.

The file is readable by its owner only. It is written in WAL mode, one short transaction for each step, in a thread.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from msgspec import Struct

from resumekit.errors import ConfigurationError, KeyInUse
from resumekit.stores import UNREADABLE, Claim, Entry

__all__ = ["SqliteStore"]

_VERSION = 1
"""Of the tables. It stands in one of them: `user_version` may be the application's."""
_BUSY = 4.0
"""Seconds that a step waits for those of other processes; less than `Policy.store_timeout`."""
_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS resumekit_version (version INTEGER PRIMARY KEY);
INSERT OR IGNORE INTO resumekit_version VALUES ({_VERSION});
CREATE TABLE IF NOT EXISTS resumekit_handles (
    key TEXT PRIMARY KEY,
    fence INTEGER NOT NULL,          -- of the newest claim
    owner TEXT NOT NULL,             -- '' once it was released
    lease_until REAL NOT NULL,       -- seconds, wall clock of this host
    lease REAL NOT NULL,             -- seconds
    thrown_out REAL NOT NULL,        -- end of the lease of an owner that was thrown out, or 0
    writer INTEGER NOT NULL,         -- fence that the entry was written with
    sequence INTEGER NOT NULL,
    expires_at REAL,                 -- NULL: there is no entry
    data BLOB
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS resumekit_handles_expiry ON resumekit_handles (expires_at);
COMMIT;
"""  # noqa: S608 -- a number of our own
_SELECT = "SELECT fence, owner, lease_until, lease, thrown_out, writer, sequence, expires_at, data FROM resumekit_handles WHERE key = ?"
_ADVICE: list[tuple[str, type[ConfigurationError | OSError], str]] = [
    ("SQLITE_NOTADB", ConfigurationError, "name another file"),
    ("SQLITE_READONLY", ConfigurationError, "let this user write to the file and to its directory"),
    ("SQLITE_CANTOPEN", ConfigurationError, "let this user write to the file and to its directory"),
    ("SQLITE_PERM", ConfigurationError, "let this user write to the file and to its directory"),
    ("SQLITE_CORRUPT", OSError, "the file is damaged: move it away, and a new one is made"),
    ("SQLITE_FULL", OSError, "make room; then the newest record is saved"),
    ("SQLITE_BUSY", OSError, "another program holds it for long"),
]
"""What SQLite calls an error -> whether it is one of configuration, or may pass; and what to do."""
_T = TypeVar("_T")


class _Row(Struct, array_like=True):
    fence: int
    owner: str
    lease_until: float
    lease: float
    thrown_out: float
    writer: int
    sequence: int
    expires_at: float | None
    data: bytes | None

    def left(self, now: float) -> float:
        """Return the seconds that are left of the lease."""
        left = self.lease_until - now
        return left if 0 < left < self.longest else 0.0  # more than it ever was: the clock was set back

    @property
    def longest(self) -> float:
        """Seconds; more than is ever left of a lease."""
        return 2 * self.lease + 1

    @property
    def entry(self) -> Entry | None:
        if self.data is None or self.expires_at is None:
            return None
        expires_at = datetime.fromtimestamp(self.expires_at, UTC)
        return Entry(data=self.data, sequence=self.sequence, expires_at=expires_at)


def _row(database: sqlite3.Connection, key: str) -> _Row | None:
    found = database.execute(_SELECT, (key,)).fetchone()
    if found is None:
        return None
    try:
        row = msgspec.convert(found, _Row)
        _ = row.entry
    except (ValueError, OverflowError, OSError):  # SQLite keeps what it is given
        database.execute("DELETE FROM resumekit_handles WHERE key = ?", (key,))
        tomorrow = time.time() + 86400.0
        return _Row(0, "", 0.0, 0.0, 0.0, 0, 0, tomorrow, UNREADABLE + b"its row in the database is damaged")
    return row


def _changed(database: sqlite3.Connection, statement: str, values: tuple[object, ...]) -> bool:
    return database.execute(statement, values).rowcount == 1


class _File:
    """One open database, shared by the stores of this process that name the same path."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.users = 0
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def run(self, step: Callable[[sqlite3.Connection, float], _T]) -> _T:
        """Do one step as a transaction.

        Raises:
            ConfigurationError: The file cannot be used as it is.
            OSError: It cannot be used now.
        """
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._open()
                connection = self._connection
                connection.execute("BEGIN IMMEDIATE")
                try:
                    done = step(connection, time.time())
                except BaseException:
                    connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._drop()
                raise self._explained(error) from error
            return done

    def _open(self) -> sqlite3.Connection:
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise ConfigurationError(
                f"the handle store {self.path} cannot be opened: {error.strerror}; name a file, in a directory that is"
                " there, and that this user may write to"
            ) from error
        connection = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        try:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            version = 0
            if "resumekit_version" in tables:
                (version,) = connection.execute("SELECT coalesce(max(version), 0) FROM resumekit_version").fetchone()
            if version > _VERSION:
                raise ConfigurationError(
                    f"the handle store {self.path} was made by a newer resumekit (its version is {version}, this one"
                    f" knows {_VERSION}); update resumekit, or use another file"
                )
            connection.execute("PRAGMA secure_delete = ON")  # a handle that was replaced is not left in a free page
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            if version < _VERSION or "resumekit_handles" not in tables:
                connection.executescript(_TABLES)
        except BaseException:
            connection.close()
            raise
        return connection

    def _explained(self, error: sqlite3.Error) -> Exception:
        name = getattr(error, "sqlite_errorname", "")
        for begins, kind, advice in _ADVICE:
            if name.startswith(begins):
                return kind(f"the handle store {self.path} cannot be used: {error}; {advice}")
        return OSError(f"the handle store {self.path} cannot be used: {error}")

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Let go of the file; the next step opens it again."""
        with self._lock:
            self._drop()


class SqliteStore:
    """Keeps entries in a table of an SQLite file.

    Args:
        path: Of the file; it is made where there is none, and so are its tables, in a database of the application's own.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._file: _File | None = None
        """Once it was needed: to look for it takes time."""

    async def claim(self, key: str, owner: str, seconds: float, *, force: bool = False) -> Claim:
        """See `HandleStore`."""

        def step(database: sqlite3.Connection, now: float) -> Claim:
            row = _row(database, key)
            fence, left, thrown_out, entry = 0, 0.0, 0.0, None
            if row is not None:
                fence = row.fence
                left = 0.0 if row.owner in ("", owner) else row.left(now)
                thrown_out = min(row.thrown_out, now + row.longest)
                if left:
                    thrown_out = max(thrown_out, now + left)
                entry = row.entry
            if left > 0 and not force:
                raise KeyInUse(left)
            fence = max(fence + 1, int(now * 1e6))  # also greater than those of rows that were deleted since
            database.execute(
                "INSERT INTO resumekit_handles VALUES (?, ?, ?, ?, ?, ?, 0, 0, NULL, NULL)"
                " ON CONFLICT (key) DO UPDATE SET fence = excluded.fence, owner = excluded.owner,"
                " lease_until = excluded.lease_until, lease = excluded.lease, thrown_out = excluded.thrown_out",
                (key, fence, owner, now + seconds, seconds, thrown_out),
            )
            database.execute(
                "DELETE FROM resumekit_handles"
                " WHERE (expires_at IS NULL OR expires_at < ?) AND lease_until < ? AND key <> ?",
                (now, now, key),
            )
            return Claim(fence=fence, entry=entry, held_for=max(thrown_out - now, 0.0))

        return await self._run(step)

    async def renew(self, key: str, fence: int, seconds: float) -> bool:
        """See `HandleStore`."""
        return await self._run(
            lambda database, now: _changed(
                database,
                "UPDATE resumekit_handles SET lease_until = ?, lease = ? WHERE key = ? AND fence = ? AND owner <> ''",
                (now + seconds, seconds, key, fence),
            )
        )

    async def save(self, key: str, fence: int, entry: Entry) -> bool:
        """See `HandleStore`."""

        def step(database: sqlite3.Connection, _: float) -> bool:
            row = _row(database, key)
            if row is None or row.fence != fence:
                return False
            if row.writer != fence or entry.sequence > row.sequence:
                database.execute(
                    "UPDATE resumekit_handles SET writer = ?, sequence = ?, expires_at = ?, data = ? WHERE key = ?",
                    (fence, entry.sequence, entry.expires_at.timestamp(), entry.data, key),
                )
            return True

        return await self._run(step)

    async def release(self, key: str, fence: int) -> None:
        """See `HandleStore`."""
        await self._run(
            lambda database, _: _changed(
                database,
                "UPDATE resumekit_handles SET owner = '', lease_until = 0 WHERE key = ? AND fence = ?",
                (key, fence),
            )
        )

    async def close(self) -> None:
        """Close the file, unless another store of this process uses it."""
        if self._file is not None:
            await asyncio.get_running_loop().run_in_executor(_threads(os.getpid()), self._leave)

    async def _run(self, step: Callable[[sqlite3.Connection, float], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(_threads(os.getpid()), self._do, step)

    def _do(self, step: Callable[[sqlite3.Connection, float], _T]) -> _T:
        with _OPENING:
            if self._file is None:
                path = os.path.realpath(self._path)
                self._file = _OPEN.setdefault(path, _File(path))
                self._file.users += 1
            file = self._file
        return file.run(step)

    def _leave(self) -> None:
        with _OPENING:
            file, self._file = self._file, None
            if file is not None:
                file.users -= 1
                if not file.users:
                    del _OPEN[file.path]
                    file.close()

    def __repr__(self) -> str:
        return f"SqliteStore({self._path!r})"


_OPEN: dict[str, _File] = {}
"""By their real path."""
_OPENING = threading.Lock()


@functools.cache
def _threads(_: int) -> ThreadPoolExecutor:
    """Return the threads of a process.

    Not those of the event loop: a file that is locked holds all of them up, and the loop looks up addresses in its own.
    """
    return ThreadPoolExecutor(4, "resumekit-sqlite")
