"""`adk api_server`, as its users start it, with the example's agent: a conversation through its WebSocket lives on."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

import pytest
from websockets.asyncio.client import connect

from resumekit.emulator import Fault, Trigger, heard, parse_answer
from resumekit.emulator.speech import OUTPUT_RATE
from tests.adk.support import service

pytestmark = [pytest.mark.network, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
NAMES = {"app_name": "adk_fastapi", "user_id": "ann", "session_id": "one"}
SLOWLY = {"audio_speed": 0.03, "output_chunks": 8}


@contextlib.asynccontextmanager
async def api_server(log: list[str]):
    """Start the command of this environment; yields its host and port."""
    command = [Path(sys.executable).with_name("adk"), "api_server", "--host", "127.0.0.1", "--port", "0"]
    rest = ["--log_level", "debug", "--session_service_uri", "memory://", "--artifact_service_uri", "memory://"]
    server = await asyncio.create_subprocess_exec(
        *[*command, *rest, ROOT / "examples"],
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        limit=2**24,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    listening = asyncio.get_running_loop().create_future()

    async def read() -> None:
        async for line in server.stderr:
            log.append(line.decode())
            if (where := re.search(r"running on http://(\S+)", log[-1])) and not listening.done():
                listening.set_result(where[1])

    reading = asyncio.create_task(read())
    try:
        async with asyncio.timeout(100):
            await asyncio.wait({listening, reading}, return_when=asyncio.FIRST_COMPLETED)
            assert listening.done(), "".join(log)
            yield listening.result()
            server.terminate()
            await server.wait()
            await reading
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()
        reading.cancel()
        server._transport.close()


def create_session(where):
    path = "apps/{app_name}/users/{user_id}/sessions/{session_id}".format_map(NAMES)
    request = urllib.request.Request(f"http://{where}/{path}", b"{}", {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=100).close()


async def answer(client, question):
    """Ask; return the answer's words, whether its audio is whole, and the words that were flushed."""
    await client.send(json.dumps({"content": {"role": "user", "parts": [{"text": question}]}}))
    words, audio, flushed = "", b"", []
    async for message in client:
        event = json.loads(message)
        if event.get("interrupted"):
            flushed.append(words)
            words, audio = "", b""
        if event.get("partial") and "outputTranscription" in event:
            words += event["outputTranscription"]["text"]
        for part in event.get("content", {}).get("parts", []):
            audio += base64.urlsafe_b64decode(part.get("inlineData", {}).get("data", ""))
        if event.get("turnComplete"):
            break
    speech = heard(audio, rate=OUTPUT_RATE)
    return words, speech.whole and speech.text == words, flushed


async def anchored(server):
    """Wait until the service has sent the handle of the first answer."""
    kinds = []
    while kinds[-1:] != ["handle"]:
        kinds = [event.kind for event in await server.events() if event.kind in {"turn_complete", "handle"}]
        await asyncio.sleep(0.01)


async def test_a_conversation_through_adk_api_server_lives_through_a_cut():
    log = []
    async with service(**SLOWLY) as server, api_server(log) as where:
        await asyncio.to_thread(create_session, where)
        query = urlencode({**NAMES, "modalities": "AUDIO", "enable_session_resumption": "true"})
        async with connect(f"ws://{where}/run_live?{query}") as client:
            words, is_whole, flushed = await answer(client, "one")
            assert (parse_answer(words)[:2], is_whole, flushed) == (("one", 1), True, [])

            await anchored(server)
            await server.inject(Fault.rst(at=Trigger.mid_audio(3)))
            words, is_whole, flushed = await answer(client, "two")
            assert (parse_answer(words)[:2], is_whole) == (("two", 2), True)
            assert len(flushed) == 1

            words, is_whole, flushed = await answer(client, "three")
            assert (parse_answer(words)[:2], is_whole, flushed) == (("three", 3), True, [])
            assert (await server.ledger_report(["one", "two", "three"])).ok
            (handle,) = [record.handle for record in await server.connections() if record.handle]
            assert "Traceback" not in "".join(log)
    told = "".join(log)
    assert "resumekit" in told
    assert handle not in told
