"""What docs/how-to/handle-stores.md says is run: its code as it stands there, plain google-genai, and the emulator."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from resumekit import Policy, events
from resumekit.errors import ConfigurationError
from resumekit.testing import ScriptedService

genai = pytest.importorskip("google.genai")

pytestmark = [pytest.mark.network, pytest.mark.allow_blocking]  # google-genai blocks, we do not
PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "handle-stores.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
CALL, ONCE, FORGET, SERVE, SHOW, SEAL, ROTATE, TELL = BLOCKS
(COMMAND,) = re.findall(r"^\$ (python .*)$", PAGE, re.MULTILINE)


class User:
    """Asks one question, and stays in the call until told to hang up."""

    name = "user 7"

    def __init__(self, *, stays=False):
        self.shown = []
        self.turns_held = None
        self.has_talked = asyncio.Event()
        self._stays = stays

    def show(self, text):
        self.shown.append(text)

    async def talk(self, session):
        await session.send_client_content(turns={"role": "user", "parts": [{"text": "hello"}]})
        said = "".join([message.text or "" async for message in session.receive()])
        self.turns_held = int(re.search(r"(\d+) user turns held", said)[1])
        self.has_talked.set()
        if self._stays:
            await asyncio.Event().wait()


class Page:
    """The blocks that were run so far, and the service that they talk to."""

    def __init__(self, service):
        self.service = service
        self.names = {"MODEL": "gemini-2.5-flash-live", "CONFIG": {"response_modalities": ["TEXT"]}}

    def run(self, *blocks):
        for block in blocks:
            exec(compile(block, "docs/how-to/handle-stores.md", "exec", dont_inherit=True), self.names)

    async def do(self, name, user):
        client = genai.Client(api_key="any", http_options=self.service.http_options())
        await self.names[name](client, user)
        return user


@pytest.fixture
async def page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with ScriptedService() as service:
        page = Page(service)
        page.run(CALL)
        yield page


async def test_the_next_call_goes_on_and_a_forgotten_one_does_not(page):
    page.run(FORGET)

    assert [(await page.do("call", User())).turns_held for _ in range(2)] == [1, 2]
    assert (await page.do("call_and_forget", User())).turns_held == 3
    assert (await page.do("call", User())).turns_held == 1


async def test_one_call_at_a_time(page):
    page.run(ONCE)
    first = User(stays=True)
    calling = asyncio.create_task(page.do("call", first))
    await first.has_talked.wait()
    second = await page.do("call_once", User())
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling

    assert second.turns_held is None
    assert second.shown == ["You are in another call. Please hang up there."]
    assert (await page.do("call_once", User())).turns_held == 2


async def test_sigterm_in_mid_call(page):
    page.run(SERVE)
    first = User(stays=True)
    serving = asyncio.create_task(page.do("serve", first))
    await first.has_talked.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await serving
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)

    assert (await page.do("call", User())).turns_held == 2


async def test_an_answer_that_nobody_asked_for_here_comes_first(page):
    """The first process asks, and leaves when the answer begins; the second asks nothing, and shows it."""
    page.run(SHOW)
    client = genai.Client(api_key="any", http_options=page.service.http_options())

    def connection():
        names = page.names
        return names["resumable"].connect(
            client, model=names["MODEL"], config=names["CONFIG"], key="user 7", store=names["STORE"]
        )

    await page.do("call", User())
    async with connection() as session:
        await session.send_client_content(turns={"role": "user", "parts": [{"text": "the last words"}]})
        async for _ in session.receive():
            break
    user = User()
    async with connection() as session:
        showing = asyncio.create_task(page.names["show_all"](session, user))
        async with asyncio.timeout(30):
            while "2 user turns held" not in "".join(user.shown):  # noqa: ASYNC110 - nothing to wait for
                await asyncio.sleep(0.01)
        showing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await showing

    assert "the last words" in "".join(user.shown)


async def test_a_key_and_then_another_one(page, monkeypatch):
    command = [sys.executable, *shlex.split(COMMAND)[1:]]
    keys = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(2)]  # noqa: ASYNC221
    monkeypatch.setenv("CALLS_KEY", keys[0])
    page.run(SEAL)
    assert (await page.do("call", User())).turns_held == 1
    monkeypatch.setenv("CALLS_KEY", keys[1])
    page.run(SEAL)
    with pytest.raises(ConfigurationError, match="was encrypted with another key"):
        await page.do("call", User())
    monkeypatch.setenv("CALLS_KEY_BEFORE", keys[0])
    page.run(ROTATE)
    assert (await page.do("call", User())).turns_held == 2
    page.run(SEAL)
    assert (await page.do("call", User())).turns_held == 3


def test_what_events_say(capsys):
    names = {}
    exec(compile(TELL, "docs/how-to/handle-stores.md", "exec", dont_inherit=True), names)
    for event in (
        events.Continued(digest="x", age=3.2, resent_messages=0, left_out=0, detached=False),
        events.Continued(digest="x", age=3.2, resent_messages=0, left_out=0, detached=True),
        events.WaitingForKey(seconds=19.6),
        events.StoreFailed(operation="save", problem="OSError: gone"),
        events.StoreRecovered(seconds=60.0),
    ):
        names["tell"](event)

    assert capsys.readouterr().out.splitlines() == [
        "the conversation goes on from 3 s ago; the session before died",
        "the conversation goes on from 3 s ago",
        "somebody else has it, for 20 s at most",
        "nothing is kept: OSError: gone",
        "handles are kept again",
    ]


def test_the_numbers_are_the_defaults():
    policy = Policy()
    told = {name: float(value) for name, value in re.findall(r"`Policy\.(\w+)` \((\d+) (?:s|KiB)\)", PAGE)}

    assert len(told) == 6
    assert told == {name: getattr(policy, name) / (1024 if name == "store_bytes" else 1) for name in told}
    assert [policy.validity_of_handles(transparent=vertex) / 3600 for vertex in (False, True)] == [2, 24]
