"""Positive control: in the same scenarios, clients that do less lose something by the same ledger.

Three of them: plain google-genai; a reconnect loop as people write it by hand, with the newest handle it saw and nothing
sent again; and one that sends the whole conversation again, as livekit and ADK once did.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from google.genai import errors, types
from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.faults.runner import FAMILIES, PROFILES, Ask, client_of, config_of, converse
from tests.faults.scenarios import SCENARIOS

pytestmark = [pytest.mark.network, pytest.mark.allow_blocking]  # google-genai blocks, we do not

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
ENDINGS = [
    "reset",
    "end-of-stream",
    "close-1011-internal-error-encountered",
    "cut-before-output",
    "cut-after-generation-complete",
    "cut-after-turn-complete",
    "the-listener-is-down",
    "tool-runs-at-the-cut",
    "truncated-frame",
    "garbage-frame",
]
LOST_ON_RECONNECT = [
    "reset",
    "close-1000",
    "close-1011-internal-error-encountered",
    "cut-before-output",
    "handle-refused-1007-invalid-session-handle",
    "http-503",
    "accepted-and-dropped-before-setup",
]
WRONG_ANSWER = [
    "cut-after-generation-complete",
    "cut-after-turn-complete",
    "tool-runs-at-the-cut",
]
DOUBLED = ["reset", "cut-before-output", "cut-after-turn-complete"]
CLOSED = (errors.APIError, ConnectionClosed)
"""What google-genai makes of a connection that ended; 1.56 shows that of websockets."""


def plain_config(scenario, profile, handle=None):
    resumption = types.SessionResumptionConfig(handle=handle)
    if profile == "vertex":
        resumption.transparent = True
    return {**config_of(scenario), "session_resumption": resumption}


@contextlib.asynccontextmanager
async def plain(scenario, server, family, app):
    async with client_of(server) as client:
        config = plain_config(scenario, server.settings.profile)
        async with client.aio.live.connect(model=FAMILIES[family], config=config) as session:
            yield session


class Naive:
    """Reconnects with the newest handle that it saw; what was under way is forgotten."""

    def __init__(self, client, model, config_with):
        self._client = client
        self._model = model
        self._config_with = config_with
        self._handle = None
        self._stack = contextlib.AsyncExitStack()
        self._session = None

    async def open(self):
        while True:
            try:
                connecting = self._client.aio.live.connect(model=self._model, config=self._config_with(self._handle))
                self._session = await self._stack.enter_async_context(connecting)
            except CLOSED:
                self._handle = None
            except (OSError, WebSocketException):
                await asyncio.sleep(0.01)
            else:
                return

    async def close(self):
        await self._stack.aclose()

    async def receive(self):
        try:
            async for message in self._session.receive():
                update = message.session_resumption_update
                if update and update.new_handle:
                    self._handle = update.new_handle
                yield message
        except CLOSED:
            await self.open()
            await self.again()

    async def again(self):
        """Send again what the session may not know."""

    async def send_client_content(self, **content):
        await self._send(self._session.send_client_content(**content))

    async def send_realtime_input(self, **media):
        await self._send(self._session.send_realtime_input(**media))

    async def send_tool_response(self, **answers):
        await self._send(self._session.send_tool_response(**answers))

    @staticmethod
    async def _send(sending):
        """What a send finds closed is lost; `receive` notices, and reconnects."""
        with contextlib.suppress(WebSocketException):
            await sending


class Eager(Naive):
    """Sends everything again on each connection."""

    sent = ()

    async def again(self):
        for content in self.sent:
            await self._session.send_client_content(**content)

    async def send_client_content(self, **content):
        self.sent = (*self.sent, content)
        await super().send_client_content(**content)


def by_hand(kind):
    @contextlib.asynccontextmanager
    async def connect(scenario, server, family, app):
        async with client_of(server) as client:
            profile = server.settings.profile
            session = kind(client, FAMILIES[family], lambda handle: plain_config(scenario, profile, handle))
            await session.open()
            try:
                yield session
            finally:
                await session.close()

    return connect


def questions(scenario):
    """What the app would say, if it lived long enough."""
    return [step.text for step in scenario.steps if isinstance(step, Ask)]


async def run_without_resumekit(name, profile, loop, connect):
    scenario = BY_NAME[name]
    return await converse(scenario, profile=profile, loop=loop, connect=connect, expected=questions(scenario))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", ENDINGS)
async def test_plain_google_genai_dies_and_loses_what_was_still_to_be_said(name, profile):
    run = await run_without_resumekit(name, profile, "classic", plain)
    assert run.error is not None
    assert run.report.lost
    assert run.problems()


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", LOST_ON_RECONNECT)
async def test_a_reconnect_without_resend_loses_the_question_that_was_cut(name, profile):
    run = await run_without_resumekit(name, profile, "request", by_hand(Naive))
    assert questions(BY_NAME[name])[1] in run.report.lost


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", WRONG_ANSWER)
async def test_a_reconnect_without_resend_gets_wrong_answers(name, profile):
    run = await run_without_resumekit(name, profile, "request", by_hand(Naive))
    assert run.error is None
    assert any("the answer is to" in problem for problem in run.problems())


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", DOUBLED)
async def test_a_reconnect_that_sends_everything_again_doubles_what_the_service_knows(name, profile):
    run = await run_without_resumekit(name, profile, "request", by_hand(Eager))
    assert run.report.doubled
