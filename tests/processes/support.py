"""The test's side of `tests.processes.worker`: a `Worker` is an application in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
from pathlib import Path

import msgspec

from resumekit import Policy
from resumekit.emulator import Fault, Trigger
from tests.faults.zygote import Emulator, dial, zygote
from tests.processes.worker import Options
from tests.secrets import API_KEY

ROOT = Path(__file__).resolve().parents[2]
SCALE = 0.05
PATIENCE = 100.0
"""Real seconds after which a process hangs."""
TOOL = 'a fact? [tool:look_up {"what": "a fact"}]'
"""A question that the model calls the tool for."""


POLICY = {"lease": 4.5, "store_timeout": 1.5, "first_connect_deadline": 60.0}
"""Real seconds; all else is as it is for users."""


def emulator(**knobs):
    return Emulator(time_scale=SCALE, connection_age=None, tool_turns="at_end", **knobs)


async def hold(server, *, connection):
    """Let the next answer on a connection stop in its middle: whatever is done then, however late, is done in mid-answer."""
    await server.inject(Fault.silence(10_000, at=Trigger.mid_answer(3), connection=connection))


class Worker:
    """A process with one conversation, or nothing yet."""

    def __init__(self, options):
        self._options = options
        self._news = asyncio.Event()
        self.told = []

    async def _open(self):
        address = zygote("tests.processes.worker")
        first, second = dial(address), dial(address)  # without a pause: nobody else's come between
        _, self._writer = await asyncio.open_unix_connection(sock=first)
        self._reader, self._other_writer = await asyncio.open_unix_connection(sock=second, limit=2**22)
        self._pid = json.loads(await self._reader.readline())["pid"]
        self._reading = asyncio.create_task(self._read())

    async def _read(self):
        with contextlib.suppress(ConnectionError):
            while line := await self._reader.readline():
                self.told.append(json.loads(line))
                self._news.set()
        self._news.set()

    async def until(self, is_so):
        try:
            async with asyncio.timeout(PATIENCE):
                while not is_so():
                    assert not self._reading.done(), f"it ended after {self.told[-3:]}; its error is on stderr"
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"it never came to be; the process told {self.told[-12:]}") from None

    async def do(self, command):
        self._writer.write(json.dumps(command).encode() + b"\n")
        await self._writer.drain()

    async def start(self):
        """Connect, or begin to."""
        await self.do(msgspec.to_builtins(self._options))

    async def answers(self, question):
        """Ask, and wait for the whole answer."""
        await self.do(question)
        await self.answered(question)

    async def speaks(self, question):
        """Ask, and wait for the beginning of the answer."""
        said = len(self.words("said"))
        await self.do(question)
        await self.until(lambda: len(self.words("said")) > said)

    async def answered(self, question):
        await self.until(lambda: any(f"answer to {question}:" in answer for answer in self.whole_answers))

    async def tells(self, kind):
        await self.until(lambda: self.words(kind))

    async def tells_of(self, event):
        await self.until(lambda: self.events(event))

    def words(self, kind):
        """Return what was told with a word."""
        return [told[1:] for told in self.told if told[0] == kind]

    @property
    def whole_answers(self):
        return [answer for (answer,) in self.words("answer")]

    def events(self, *names):
        return [fields for name, fields in self.words("event") if name in names]

    async def leave(self):
        """Let it end in order."""
        self._writer.write_eof()
        await self._has_ended()

    async def terminate(self):
        """Ask it to end as an orchestrator does, and wait until it has."""
        self.signal(signal.SIGTERM)
        await self._has_ended()

    async def _has_ended(self):
        async with asyncio.timeout(PATIENCE):
            await self._reading
        assert self.told[-1] == ["over"]
        assert self.words("error") == []

    async def kill(self):
        self.signal(signal.SIGKILL)
        await self._reading

    def signal(self, number):
        os.kill(self._pid, number)

    async def __aenter__(self):
        await self._open()
        return self

    async def __aexit__(self, *_):
        """Have nothing left of it."""
        if not self._reading.done():
            await self.kill()
        for writer in (self._writer, self._other_writer):
            writer.close()


def environment_for(front, folder):
    """Return the variables with which a process finds the service."""
    ca_file = folder / "ca.pem"
    (authority,) = front.client_ssl_context().get_ca_certs(binary_form=True)
    ca_file.write_text(ssl.DER_cert_to_PEM_cert(authority))
    return {"SSL_CERT_FILE": str(ca_file), "GOOGLE_API_KEY": API_KEY, "GOOGLE_GEMINI_BASE_URL": front.base_url}


@contextlib.asynccontextmanager
async def workers(server, store, folder, framework="genai", number=2, *, front=None, **changes):
    """Give so many processes for one conversation, none of which has begun; none is left behind."""
    policy = Policy(**{**POLICY, **changes})
    options = Options(framework, store.url, policy, str(folder / "adk.db"), environment_for(front or server, folder))
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Worker(options)) for _ in range(number)]
