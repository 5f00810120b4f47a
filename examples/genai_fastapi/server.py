"""A browser talks to the model through one WebSocket; README.md says what goes over it. `uvicorn server:app`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from google import genai
from google.genai import types

from resumekit import Policy
from resumekit.adapters import genai as resumable

MODEL = os.environ.get("LIVE_MODEL", "gemini-2.5-flash-native-audio-preview-12-2025")
STORE = os.environ.get("STORE", "sqlite:///calls.db")
CONFIG = types.LiveConnectConfig(
    response_modalities=[types.Modality.AUDIO],
    output_audio_transcription=types.AudioTranscriptionConfig(),
    # What lets a conversation be longer than the service's 15 minutes.
    context_window_compression=types.ContextWindowCompressionConfig(
        trigger_tokens=100_000, sliding_window=types.SlidingWindow(target_tokens=80_000)
    ),
)
POLICY = Policy(key_in_use="take_over")

app = FastAPI()
calls: dict[str, asyncio.Task[None]] = {}
"""What this process serves, by conversation."""


@functools.cache
def client() -> genai.Client:
    """Return the one client of this process."""
    return genai.Client()


@app.websocket("/ws/{conversation}")
async def talk(browser: WebSocket, conversation: str) -> None:
    """Serve one browser, until it goes or dials again."""
    await browser.accept()
    while before := calls.pop(conversation, None):  # the browser knows sooner than we do that its old socket is dead
        before.cancel()
        await asyncio.wait([before])
    calls[conversation] = call = asyncio.create_task(serve(browser, conversation))
    try:
        await call
    finally:
        if calls.get(conversation) is call:
            del calls[conversation]


async def serve(browser: WebSocket, conversation: str) -> None:
    """Have the conversation; leaving it keeps its newest handle in the store, for the next socket or process."""
    async with resumable.connect(
        client(), model=MODEL, config=CONFIG, key=conversation, store=STORE, policy=POLICY
    ) as session:
        listening = asyncio.create_task(listen(browser, session))
        speaking = asyncio.create_task(speak(browser, session))
        try:
            done, _ = await asyncio.wait({listening, speaking}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # an error is logged, and the browser gets a 1011
        finally:
            listening.cancel()
            speaking.cancel()
            await asyncio.gather(listening, speaking, return_exceptions=True)


async def listen(browser: WebSocket, session: resumable.Session) -> None:
    """Pass on what the user says or types."""
    while (message := await browser.receive())["type"] != "websocket.disconnect":
        if (audio := message.get("bytes")) is not None:
            await session.send_realtime_input(audio=types.Blob(data=audio, mime_type="audio/pcm;rate=16000"))
        elif text := typed(message.get("text")):
            turn = types.Content(role="user", parts=[types.Part(text=text)])
            await session.send_client_content(turns=turn, turn_complete=True)


def typed(frame: str | None) -> str | None:
    """Return what the user typed; None for a frame that is nothing of the kind."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        text = json.loads(frame or "")["text"]
        return text if isinstance(text, str) else None
    return None


async def speak(browser: WebSocket, session: resumable.Session) -> None:
    """Pass on what the model says."""
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            async for message in session.receive():
                content = message.server_content
                if content is None:
                    continue
                if content.interrupted:  # by the user, or by a cut connection
                    await browser.send_json({"interrupted": True})
                for part in (content.model_turn.parts if content.model_turn else None) or ():
                    if part.inline_data is not None and part.inline_data.data:
                        await browser.send_bytes(part.inline_data.data)
                if content.output_transcription is not None and content.output_transcription.text:
                    await browser.send_json({"said": content.output_transcription.text})
                if content.turn_complete:
                    await browser.send_json({"turn_complete": True})
