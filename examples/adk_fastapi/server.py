"""A browser talks to the agent through one WebSocket; README.md says what goes over it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from google.adk.agents import LiveRequestQueue
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.events import Event
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService
from google.genai import types

from resumekit.adapters.adk import ResumekitPlugin

from .agent import root_agent

APP = "guide"
CONFIG = RunConfig(
    streaming_mode=StreamingMode.BIDI,
    response_modalities=["AUDIO"],
    input_audio_transcription=types.AudioTranscriptionConfig(),
    output_audio_transcription=types.AudioTranscriptionConfig(),
    # What lets a conversation be longer than the service's 15 minutes; resumekit carries it over each connection.
    context_window_compression=types.ContextWindowCompressionConfig(
        trigger_tokens=100_000, sliding_window=types.SlidingWindow(target_tokens=80_000)
    ),
)

app = FastAPI()
sessions = InMemorySessionService()
runner = Runner(app_name=APP, agent=root_agent, session_service=sessions, plugins=[ResumekitPlugin()])


@app.websocket("/ws/{user}/{conversation}")
async def talk(browser: WebSocket, user: str, conversation: str) -> None:
    """Serve one browser, until it or the conversation is gone."""
    await browser.accept()
    names = {"user_id": user, "session_id": conversation}
    if await sessions.get_session(app_name=APP, **names) is None:
        await sessions.create_session(app_name=APP, **names)
    queue = LiveRequestQueue()
    run = runner.run_live(**names, live_request_queue=queue, run_config=CONFIG)
    listening, speaking = asyncio.create_task(listen(browser, queue)), asyncio.create_task(speak(browser, run))
    try:
        done, _ = await asyncio.wait({listening, speaking}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # an error is logged, and the browser gets a 1011
    finally:
        queue.close()
        listening.cancel()
        speaking.cancel()
        await asyncio.gather(listening, speaking, return_exceptions=True)


async def listen(browser: WebSocket, queue: LiveRequestQueue) -> None:
    """Pass on what the user says or types."""
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            message = await browser.receive()
            if message["type"] == "websocket.disconnect":
                return
            if (audio := message.get("bytes")) is not None:
                queue.send_realtime(types.Blob(data=audio, mime_type="audio/pcm;rate=16000"))
            elif text := typed(message.get("text")):
                queue.send_content(types.Content(role="user", parts=[types.Part(text=text)]))


def typed(frame: str | None) -> str | None:
    """Return what the user typed; None for a frame that is nothing of the kind."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        text = json.loads(frame or "")["text"]
        return text if isinstance(text, str) else None
    return None


async def speak(browser: WebSocket, run: AsyncIterator[Event]) -> None:
    """Pass on what the model says."""
    with contextlib.suppress(WebSocketDisconnect):
        async with contextlib.aclosing(run) as events:
            async for event in events:
                for message in messages(event):
                    if isinstance(message, bytes):
                        await browser.send_bytes(message)
                    else:
                        await browser.send_json(message)


def messages(event: Event) -> Iterator[bytes | dict[str, object]]:
    """Yield what the browser is to know of an event."""
    if event.interrupted:  # by the user, or by a cut connection: the browser drops what it has not played yet
        yield {"interrupted": True}
    for part in (event.content.parts if event.content else None) or ():
        if part.inline_data is not None and part.inline_data.data:
            yield part.inline_data.data
        if part.function_call is not None:
            yield {"tool": part.function_call.name}
    if event.partial:  # ADK gives each transcription in pieces, and then as a whole
        for who, said in (("user", event.input_transcription), ("model", event.output_transcription)):
            if said is not None and said.text:
                yield {"who": who, "said": said.text}
    if told := (event.custom_metadata or {}).get("resumekit"):  # what became of the connection
        yield {"connection": told["event"]}
    if event.turn_complete:
        yield {"turn_complete": True}
