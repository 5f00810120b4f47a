"""Strands' bidirectional agent with resumekit in the client arguments of its Gemini Live model, through cuts."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.frameworks.support import (
    CUTS,
    GONE_AWAY,
    HALF,
    IN_AN_ANSWER,
    IN_SPEECH,
    OLD_CONFIG,
    SLOWLY,
    needs,
    run_page,
    talk,
)

needs("strands.bidi.models.google", "strands")

from google.genai import types  # noqa: E402
from google.genai.errors import APIError  # noqa: E402
from strands import tool  # noqa: E402
from strands.bidi import BidiAgent  # noqa: E402
from strands.bidi.models import GoogleGeminiLiveModel  # noqa: E402
from strands.bidi.types.events import (  # noqa: E402
    BidiBargeInEvent,
    BidiConnectionRestartEvent,
    BidiResponseStopEvent,
    BidiTranscriptDeltaEvent,
)

from resumekit.adapters import genai as resumable  # noqa: E402

pytestmark = OLD_CONFIG

MODEL = "gemini-2.5-flash-native-audio-latest"
RESULT = {"text": "found a fact"}


class App:
    """A voice app: it plays what comes, and forgets what was interrupted."""

    def __init__(self, agent):
        self.agent = agent
        self.events = []
        self._answers = asyncio.Queue()

    async def say(self, question):
        await self.agent.send(question)

    async def ask(self, question):
        await self.say(question)
        return await self.answer()

    async def answer(self):
        answer = await self._answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def listen(self):
        words = ""
        try:
            async for event in self.agent.receive():
                self.events.append(event)
                match event:
                    case BidiTranscriptDeltaEvent() if event.role == "assistant":
                        words += event.delta
                    case BidiBargeInEvent():
                        words = ""
                    case BidiResponseStopEvent() | BidiConnectionRestartEvent() if words:
                        self._answers.put_nowait(words)
                        words = ""
        except Exception as error:
            self._answers.put_nowait(error)

    def count(self, kind):
        return sum(isinstance(event, kind) for event in self.events)


def options_of(chat):
    ssl = {"ssl": chat.server.client_ssl_context()}
    return types.HttpOptions(base_url=chat.server.base_url, async_client_args=ssl)


def plain_model(chat):
    return GoogleGeminiLiveModel(model_id=MODEL, client_args={"api_key": "any", "http_options": options_of(chat)})


def resumable_model(chat):
    options = resumable.http_options(options_of(chat), policy=chat.policy, on_event=chat.on_event)
    return GoogleGeminiLiveModel(
        model_id=MODEL,
        client_args={"api_key": "any", "http_options": options},
        connection={"auto_restart": False},
    )


@contextlib.asynccontextmanager
async def app_with(chat, model):
    @tool
    async def look_up(what: str) -> str:
        """Look something up.

        Args:
            what: What to look up.
        """
        return await chat.look_up(what)

    agent = BidiAgent(model=model, tools=[look_up], system_prompt="Be brief.")
    await agent.start()
    app = App(agent)
    listening = asyncio.create_task(app.listen())
    try:
        yield app
    finally:
        listening.cancel()
        await asyncio.wait([listening])
        await agent.stop()


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.name)
async def test_every_question_is_answered_once(cut):
    async with talk() as chat:
        async with app_with(chat, resumable_model(chat)) as app:
            await chat.run(app, cut)
        problems = await chat.problems(result=RESULT)
        evidence = await chat.evidence()
    assert not problems, "\n".join([*problems, evidence])
    assert not app.count(BidiConnectionRestartEvent)


async def test_a_cut_answer_is_an_interruption():
    async with talk(**SLOWLY) as chat, app_with(chat, resumable_model(chat)) as app:
        await chat.run(app, IN_SPEECH, ["one", "two"])
        said = [m["content"][0]["text"] for m in app.agent.messages if m["role"] == "assistant"]
    assert app.count(BidiBargeInEvent) == 1
    assert said == ["answer to one: 1 user turns held", HALF, "answer to two: 2 user turns held"]


async def test_without_resumekit_the_session_ends_with_the_connection():
    async with talk(**SLOWLY) as chat, app_with(chat, plain_model(chat)) as app:
        with pytest.raises(APIError, match="1006"):
            await chat.run(app, IN_AN_ANSWER)


async def test_without_resumekit_an_answer_ends_at_the_go_away():
    """It resumes by itself, with a handle that does not hold the question."""
    async with talk(**SLOWLY) as chat, app_with(chat, plain_model(chat)) as app:
        for question in ("one", "two"):
            if question == "two":
                await chat.anchored()
                await chat.server.inject(GONE_AWAY.fault)
            chat.asked.append((question, await app.ask(question)))
        problems = await chat.problems(result=RESULT)
        (restart,) = [event for event in app.events if isinstance(event, BidiConnectionRestartEvent)]
    assert HALF.startswith(chat.asked[1][1].strip()[:6])
    assert restart.turn_interrupted
    assert any(problem.startswith("lost: ['two']") for problem in problems), problems


async def test_the_code_of_the_page(trusted):
    async with talk() as chat:
        trusted(chat.server)
        names = run_page("Strands", KEY="any", MODEL=MODEL)
        async with app_with(chat, names["model"]) as app:
            await chat.run(app, IN_AN_ANSWER)
        assert not await chat.problems(result=RESULT)
        assert len(await chat.server.connections()) == 2
