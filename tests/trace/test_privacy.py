"""Whole sessions of google-genai, traced: nothing of what was said is in the trace, and never a handle or a key."""

from __future__ import annotations

import base64
import json

import pytest

from resumekit.adapters import genai as resumable
from resumekit.trace import Trace, replay
from tests.adapters.support import nothing_is_left, server
from tests.secrets import API_KEY, TOKEN, forms, watched
from tests.trace.test_file import writers

types = pytest.importorskip("google.genai.types")
pytestmark = [pytest.mark.network, pytest.mark.allow_blocking]  # google-genai blocks, we do not

from tests.adapters.test_genai import anchored, answer_of, ask, client_of, connect  # noqa: E402 -- of google-genai

MODEL = "gemini-3.1-flash-live"
SPOKEN = b"canary seven" * 100
CANARIES = ["canary", base64.b64encode(SPOKEN)[:40].decode()]
CONFIG = {
    "response_modalities": ["TEXT"],
    "system_instruction": "canary one: be brief",
    "tools": [{"function_declarations": [{"name": "look_up", "description": "canary two"}]}],
}
HISTORY = [{"role": "user", "parts": [{"text": "canary eight"}]}, {"role": "model", "parts": [{"text": "canary nine"}]}]


async def everything(session):
    """Text, a tool, audio, and another connection."""
    blob = types.Blob(data=SPOKEN, mime_type="audio/pcm;rate=16000")
    await session.send_realtime_input(text='canary three, please [tool:look_up {"canary four": "canary five"}]')
    async for message in session.receive():
        for call in message.tool_call.function_calls if message.tool_call else ():
            response = types.FunctionResponse(id=call.id, name=call.name, response={"found": "canary six"})
            await session.send_tool_response(function_responses=response)
    await anchored(session)
    await session.send_realtime_input(audio=blob)
    session.force_reconnect()
    for text in ("canary ten", "canary eleven"):
        await session.send_realtime_input(text=text)
        await answer_of(session)


@pytest.mark.parametrize("payloads", [False, True])
async def test_a_trace_tells_nothing_of_what_was_said_nor_ever_a_handle_or_a_key(payloads, tmp_path):
    path = tmp_path / "call.jsonl"
    with watched() as secrets:
        async with server(model="3.x") as live, nothing_is_left():
            where = Trace(path, payloads=payloads)
            async with connect(live, model=MODEL, config=CONFIG, history=HISTORY, trace=where) as session:
                await everything(session)
                held = set(secrets)
    assert held - {API_KEY, TOKEN}, "there was a handle"
    trace = path.read_text("utf-8")
    assert [secret for secret in held if any(form in trace for form in forms(secret))] == []
    if payloads:
        assert all(canary in trace for canary in CANARIES)
    else:
        assert [canary for canary in CANARIES if canary in trace] == []
    for name in ("look_up", MODEL, "Resumed"):
        assert name in trace
    result = replay(path)
    assert result.same, result
    assert result.engine.stats.turns == 3


async def test_each_session_of_a_client_has_a_trace_of_its_own(tmp_path):
    async with server() as live, nothing_is_left():
        client = client_of(live, made_by=resumable.Client, trace=f"{tmp_path}/traces/")
        for text in ("one", "two"):
            async with client.aio.live.connect(
                model="gemini-2.5-flash-live", config={"response_modalities": ["TEXT"]}
            ) as session:
                await ask(session, text)
        await client.aio.aclose()
        client.close()
    assert [replay(path).same for path in (tmp_path / "traces").iterdir()] == [True, True]
    assert not writers()


async def test_the_sessions_of_http_options_are_traced_too(tmp_path):
    from google import genai

    path = tmp_path / "call.jsonl"
    async with server() as live, nothing_is_left():
        base = {"base_url": live.base_url, "async_client_args": {"ssl": live.client_ssl_context()}}
        client = genai.Client(api_key=API_KEY, http_options=resumable.http_options(base, trace=path))
        async with client.aio.live.connect(
            model="gemini-2.5-flash-live", config={"response_modalities": ["TEXT"]}
        ) as session:
            await ask(session, "one")
        await client.aio.aclose()
        client.close()
    result = replay(path)
    assert result.same, result
    assert json.loads(path.read_text().splitlines()[1])["policy"]["reanswer_in"] == "new_turn"
