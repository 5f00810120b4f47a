"""docs/how-to/run-a-fleet.md: its code as it stands there, with a real Valkey and the emulator."""

from __future__ import annotations

import asyncio
import re

import pytest
from google import genai

from resumekit.testing import ScriptedService
from tests.docs.pages import block

pytestmark = [pytest.mark.network, pytest.mark.allow_blocking]  # google-genai blocks, we do not
CODE = block("docs/how-to/run-a-fleet.md", "One place for it").text


def process_of_the_fleet(redis):
    config = {"response_modalities": ["TEXT"]}
    names = {"REDIS": redis, "LIMIT": 1, "MODEL": "gemini-2.5-flash-live", "CONFIG": config}
    exec(compile(CODE, "docs/how-to/run-a-fleet.md", "exec"), names)
    return names


async def ask(session):
    await session.send_client_content(turns={"role": "user", "parts": [{"text": "hello"}]})
    said = "".join([message.text or "" async for message in session.receive()])
    return int(re.search(r"(\d+) user turns held", said)[1])


async def test_two_processes_share_the_quota_and_the_conversations(redis_store):
    one, two = (process_of_the_fleet(redis_store.url) for _ in range(2))
    async with ScriptedService() as service:
        client = genai.Client(api_key="any", http_options=service.http_options())

        async def call(process, conversation):
            async with process["open_session"](client, conversation) as session:
                return await ask(session)

        async with one["open_session"](client, "a") as session:
            assert await ask(session) == 1
            waiting = asyncio.create_task(call(two, "b"))
            while two["seen"]["Queued"] == 0:  # noqa: ASYNC110 -- a counter of the page
                await asyncio.sleep(0.01)
            assert not waiting.done()
        assert await waiting == 1
        assert await call(two, "a") == 2
    assert two["seen"]["Continued"] == 1
