"""A worker: a conversation with the model for each WebSocket. `python worker.py 8001`; README.md says what goes over it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

from google import genai
from google.genai import types
from websockets.asyncio.server import ServerConnection, serve

from resumekit import Policy
from resumekit.adapters import genai as resumable

MODEL = os.environ.get("LIVE_MODEL", "gemini-2.5-flash-native-audio-preview-12-2025")
STORE = os.environ.get("STORE", "redis://localhost:6379")
CONFIG = types.LiveConnectConfig(
    response_modalities=[types.Modality.AUDIO],
    output_audio_transcription=types.AudioTranscriptionConfig(),
    # What lets a conversation be longer than the service's 15 minutes.
    context_window_compression=types.ContextWindowCompressionConfig(
        trigger_tokens=100_000, sliding_window=types.SlidingWindow(target_tokens=80_000)
    ),
)
POLICY = Policy(lease=8.0)  # so long, at most, nobody has the call of a worker that was killed; 20 s if nothing is said


async def talk(browser: ServerConnection) -> None:
    """Serve one browser. Its path names the conversation, which any worker can go on with."""
    assert browser.request is not None
    async with resumable.connect(
        genai.Client(), model=MODEL, config=CONFIG, key=browser.request.path, store=STORE, policy=POLICY
    ) as session:
        await browser.send(json.dumps({"worker": os.getpid()}))
        speaking = asyncio.create_task(speak(browser, session))
        listening = asyncio.create_task(listen(browser, session))
        try:
            done, _ = await asyncio.wait({speaking, listening}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # an error closes the WebSocket with 1011: the front asks the other worker
        finally:
            speaking.cancel()
            listening.cancel()
            await asyncio.gather(speaking, listening, return_exceptions=True)


async def listen(browser: ServerConnection, session: resumable.Session) -> None:
    """Pass on what the user says or types."""
    async for message in browser:
        if isinstance(message, bytes):
            await session.send_realtime_input(audio=types.Blob(data=message, mime_type="audio/pcm;rate=16000"))
        else:
            turn = types.Content(role="user", parts=[types.Part(text=json.loads(message)["text"])])
            await session.send_client_content(turns=turn, turn_complete=True)


async def speak(browser: ServerConnection, session: resumable.Session) -> None:
    """Pass on what the model says."""
    while True:
        async for message in session.receive():
            content = message.server_content
            if content is None:
                continue
            if content.interrupted:
                await browser.send(json.dumps({"interrupted": True}))
            for part in (content.model_turn.parts if content.model_turn else None) or ():
                if part.inline_data is not None and part.inline_data.data:
                    await browser.send(part.inline_data.data)
            if content.output_transcription is not None and content.output_transcription.text:
                await browser.send(json.dumps({"said": content.output_transcription.text}))
            if content.turn_complete:
                await browser.send(json.dumps({"turn_complete": True}))


async def main(port: int) -> None:
    """Serve until SIGTERM, then close each WebSocket: the sessions leave in order, and the other worker goes on at once."""
    told_to_end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told_to_end.set)
    async with serve(talk, "127.0.0.1", port) as server:
        print("listening on", server.sockets[0].getsockname()[1], flush=True)
        await told_to_end.wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
