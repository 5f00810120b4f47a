"""LiveKit's agents with resumekit in the `http_options` of its Gemini plugin, through cuts."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from resumekit.core import events
from resumekit.emulator import silence, spoken
from tests.frameworks.support import (
    BEFORE_A_HANDLE,
    CUTS,
    HALF,
    IN_AN_ANSWER,
    IN_SPEECH,
    OLD_CONFIG,
    SLOWLY,
    needs,
    run_page,
    talk,
)

needs("livekit.plugins.google.realtime", "livekit")

from google.genai import types  # noqa: E402
from google.genai.errors import APIError  # noqa: E402
from livekit import rtc  # noqa: E402
from livekit.agents import Agent, AgentSession, function_tool  # noqa: E402
from livekit.agents.voice.io import AudioInput  # noqa: E402
from livekit.plugins.google.realtime import RealtimeModel  # noqa: E402

from resumekit.adapters import genai as resumable  # noqa: E402

pytestmark = OLD_CONFIG

MODEL = "gemini-3.1-flash-live-preview"  # for 3.8 LiveKit declares tools that the model does not wait for
RESULT = {"output": "found a fact"}
CHUNK = 1600
"""Bytes in 50 ms, in which LiveKit sends audio."""


class Microphone(AudioInput):
    """Says what it is told to."""

    def __init__(self):
        super().__init__(label="microphone")
        self._frames = asyncio.Queue()
        self.said = b""
        self.first = 0
        """Length of the first question."""

    async def __anext__(self):
        return await self._frames.get()

    def say(self, text):
        pcm = spoken(text) + silence(0.6)
        pcm += bytes(-len(pcm) % CHUNK)
        self.said += pcm
        self.first = self.first or len(pcm)
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
        return await self.answer()

    async def answer(self):
        answer = await self._answers.get()
        if not isinstance(answer, str):
            raise answer.error
        return answer


@contextlib.asynccontextmanager
async def app_of(chat, options):
    async with app_with(chat, RealtimeModel(model=MODEL, api_key="any", http_options=options)) as app:
        yield app


@contextlib.asynccontextmanager
async def app_with(chat, model):
    async with AgentSession(llm=model) as session:
        session.input.audio = microphone = Microphone()
        app = App(session, microphone)
        await session.start(Assistant(chat))
        yield app


def options_of(chat):
    ssl = {"ssl": chat.server.client_ssl_context()}
    return types.HttpOptions(base_url=chat.server.base_url, async_client_args=ssl)


def resumable_options(chat):
    return resumable.http_options(options_of(chat), policy=chat.policy, on_event=chat.on_event)


@pytest.mark.parametrize("cut", [cut for cut in CUTS if cut.anchored], ids=lambda cut: cut.name)
async def test_every_question_is_answered_once(cut):
    async with talk(model="3.x") as chat:
        async with app_of(chat, resumable_options(chat)) as app:
            await chat.run(app, cut)
        problems = await chat.problems(result=RESULT, spoken=app.microphone.said)
        evidence = await chat.evidence()
    assert not problems, "\n".join([*problems, evidence])
    assert not app.errors


async def test_without_a_handle_what_was_answered_is_replayed_in_words():
    async with talk(model="3.x", send_handles=False) as chat:
        async with app_of(chat, resumable_options(chat)) as app:
            await chat.run(app, BEFORE_A_HANDLE)
        later = app.microphone.said[app.microphone.first :]
        problems = await chat.problems(result=RESULT, before=["one"], spoken=later)
        evidence = await chat.evidence()
    assert not problems, "\n".join([*problems, evidence])
    assert not app.errors


async def test_a_cut_answer_is_a_speech_that_was_interrupted():
    async with talk(model="3.x", **SLOWLY) as chat, app_of(chat, resumable_options(chat)) as app:
        await chat.run(app, IN_SPEECH, ["one", "two"])
    said = [item for item in app.items if item.type == "message" and item.role == "assistant"]
    assert [(item.text_content, item.interrupted) for item in said][:3] == [
        ("answer to one: 1 user turns held", False),
        (HALF, True),
        ("answer to two: 2 user turns held", False),
    ]


async def test_written_questions_are_kept_once():
    """LiveKit writes the question as context, and a dot that asks for the answer."""
    async with talk() as chat:
        model = RealtimeModel(model="gemini-2.5-flash-live", api_key="any", http_options=resumable_options(chat))
        async with app_with(chat, model) as app:
            for question in ("one", "two", "three"):
                if question == "two":
                    await chat.anchored()
                    await chat.server.inject(IN_AN_ANSWER.fault)
                app.session.generate_reply(user_input=question)
                chat.asked.append((question, await app.answer()))
        report = await chat.server.ledger_report(["one", ".", "two", ".", "three", "."])
    assert [answer for _, answer in chat.asked] == [f"answer to .: {held} user turns held" for held in (2, 4, 6)]
    assert report.ok, report
    assert chat.count(events.Resumed) == 1
    assert not app.errors


async def test_the_code_of_the_page(trusted):
    async with talk(model="3.x") as chat:
        trusted(chat.server)
        names = run_page("LiveKit", KEY="any", MODEL=MODEL)
        async with app_with(chat, names["model"]) as app:
            await chat.run(app, IN_AN_ANSWER)
        assert not await chat.problems(result=RESULT, spoken=app.microphone.said)
        assert len(await chat.server.connections()) == 2


async def test_without_resumekit_the_agent_stops():
    """It resumes, and then sends what it holds for news in a form that the model does not take."""
    async with talk(model="3.x", **SLOWLY) as chat, app_of(chat, options_of(chat)) as app:
        with pytest.raises(APIError, match="1007"):
            await chat.run(app, IN_SPEECH)
    assert chat.asked[1] == ("two", HALF)  # half of it, not marked as such
