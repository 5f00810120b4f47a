"""A slice of the matrix through the bare adapter, with frames written by hand."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest

from resumekit.adapters import websockets as resumable
from tests.faults.runner import FAMILIES, LOOPS, PROFILES, config_of, converse, policy
from tests.faults.scenarios import SCENARIOS
from tests.secrets import API_KEY, TOKEN

pytestmark = pytest.mark.network

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
SLICE = [
    "reset",
    "end-of-stream",
    "close-1011-internal-error-encountered",
    "cut-before-output",
    "cut-before-the-handle",
    "cut-in-the-first-answer",
    "cut-twice-in-one-turn",
    "goaway-in-mid-answer",
    "goaway-then-silence",
    "handle-refused-1007-invalid-session-handle",
    "http-429-with-a-hint",
    "the-listener-is-down",
    "half-open-in-mid-answer",
    "garbage-frame",
    "oversize-frame",
    "context-before-the-question",
    "tool-runs-at-the-cut",
    "tool-answered-before-the-cut",
    "speech-cut-in-mid-audio",
]
PATHS = {
    "developer": "google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
    "vertex": "google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent",
}
HEADERS = {"developer": {"x-goog-api-key": API_KEY}, "vertex": {"Authorization": f"Bearer {TOKEN}"}}
PREFIX = {"developer": "models/", "vertex": "projects/p/locations/l/publishers/google/models/"}


class ByHand:
    """Writes the frames that google-genai would write, in the documented spelling."""

    def __init__(self, session):
        self._session = session

    async def send_client_content(self, *, turns, turn_complete):
        turn = {"role": turns.role, "parts": [{"text": part.text} for part in turns.parts]}
        await self._session.send({"clientContent": {"turns": [turn], "turnComplete": turn_complete}})

    async def send_realtime_input(self, *, text=None, audio=None):
        media = {"text": text}
        if audio is not None:
            media = {"audio": {"mimeType": audio.mime_type, "data": base64.b64encode(audio.data).decode()}}
        await self._session.send(json.dumps({"realtimeInput": media}))

    async def send_tool_response(self, *, function_responses):
        answers = [{"id": r.id, "name": r.name, "response": r.response} for r in function_responses]
        await self._session.send(json.dumps({"toolResponse": {"functionResponses": answers}}).encode())

    async def receive(self):
        async for message in self._session:
            yield message
            if message.server_content is not None and message.server_content.turn_complete:
                return


@contextlib.asynccontextmanager
async def bare(scenario, server, family, app):
    profile = server.settings.profile
    names = {"input_audio_transcription": "inputAudioTranscription"}
    names["output_audio_transcription"] = "outputAudioTranscription"
    config = config_of(scenario)
    setup = {
        "model": PREFIX[profile] + FAMILIES[family],
        "generationConfig": {"responseModalities": config.pop("response_modalities")},
        **{names[name]: value for name, value in config.items()},
    }
    async with resumable.connect(
        f"wss://{server.host}:{server.port}/ws/{PATHS[profile]}",
        setup=setup,
        additional_headers=lambda: HEADERS[profile],
        ssl=server.client_ssl_context(),
        policy=policy(scenario.scale, **scenario.policy),
        on_event=app.on_event,
    ) as session:
        yield ByHand(session)


@pytest.mark.parametrize(("number", "name"), list(enumerate(SLICE)), ids=SLICE)
async def test_the_conversation_goes_on(number, name):
    profile, loop = PROFILES[number % 2], LOOPS[number // 2 % 2]
    run = await converse(BY_NAME[name], profile=profile, loop=loop, connect=bare)
    assert not run.problems(), str(run)
