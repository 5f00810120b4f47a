"""LiveKit's agents with resumekit in the `http_options` of its Gemini plugin, through cuts."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from resumekit.emulator import silence, spoken
from tests.frameworks.support import IN_AN_ANSWER, OLD_CONFIG, needs, talk

needs("livekit.plugins.google.realtime", "livekit")

from google.genai import types  # noqa: E402
from google.genai.errors import APIError  # noqa: E402
from livekit import rtc  # noqa: E402
from livekit.agents import Agent, AgentSession, function_tool  # noqa: E402
from livekit.agents.voice.io import AudioInput  # noqa: E402
from livekit.plugins.google.realtime import RealtimeModel  # noqa: E402

pytestmark = OLD_CONFIG

MODEL = "gemini-3.8-live"
RESULT = {"output": "found a fact"}
CHUNK = 1600
"""Bytes in 50 ms, in which LiveKit sends audio."""


class Microphone(AudioInput):
    """Says what it is told to."""

    def __init__(self):
        super().__init__(label="microphone")
        self._frames = asyncio.Queue()
        self.said = b""

    async def __anext__(self):
        return await self._frames.get()

    def say(self, text):
        pcm = spoken(text) + silence(0.6)
        pcm += bytes(-len(pcm) % CHUNK)
        self.said += pcm
        for at in range(0, len(pcm), CHUNK):
            frame = rtc.AudioFrame(
                data=pcm[at : at + CHUNK], sample_rate=16000, num_channels=1, samples_per_channel=CHUNK // 2
            )
            self._frames.put_nowait(frame)


class Assistant(Agent):
    def __init__(self, chat):
        super().__init__(instructions="Be brief.")
        self._chat = chat

    @function_tool
    async def look_up(self, what: str) -> str:
        """Look something up."""
        return await self._chat.look_up(what)


class App:
    """An agent that one talks to."""

    def __init__(self, session, microphone):
        self.session = session
        self.microphone = microphone
        self.errors = []
        self.items = []
        self._answers = asyncio.Queue()
        session.on("conversation_item_added", self._heard)
        session.on("error", self.errors.append)
        session.on("close", lambda event: self._answers.put_nowait(event.error))

    def _heard(self, event):
        item = event.item
        self.items.append(item)
        if item.type == "message" and item.role == "assistant" and not item.interrupted:
            self._answers.put_nowait(item.text_content)

    async def ask(self, question):
        self.microphone.say(question)
        answer = await self._answers.get()
        if not isinstance(answer, str):
            raise answer.error
        return answer


@contextlib.asynccontextmanager
async def app_of(chat, options):
    async with AgentSession(llm=RealtimeModel(model=MODEL, api_key="any", http_options=options)) as session:
        session.input.audio = microphone = Microphone()
        app = App(session, microphone)
        await session.start(Assistant(chat))
        yield app


def options_of(chat):
    ssl = {"ssl": chat.server.client_ssl_context()}
    return types.HttpOptions(base_url=chat.server.base_url, async_client_args=ssl)


async def test_without_resumekit_the_agent_stops():
    """It resumes, and then sends what it holds for news in a form that the model does not take."""
    async with talk(model="3.x") as chat, app_of(chat, options_of(chat)) as app:
        with pytest.raises(APIError, match="1007"):
            await chat.run(app, IN_AN_ANSWER)
    assert chat.asked[1] == ("two", "answer")  # half of it, not marked as such
