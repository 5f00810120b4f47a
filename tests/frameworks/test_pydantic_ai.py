"""pydantic-ai's realtime sessions with resumekit's client in `GoogleProvider`, through cuts."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from resumekit.core import events
from tests.frameworks.support import (
    BEFORE_A_HANDLE,
    CUTS,
    GONE_AWAY,
    HALF,
    IN_AN_ANSWER,
    IN_SPEECH,
    SLOWLY,
    needs,
    run_page,
    talk,
)

pydantic_ai = needs("pydantic_ai.realtime.google", "pydantic-ai")

from google import genai  # noqa: E402
from google.genai import types  # noqa: E402
from google.oauth2.credentials import Credentials  # noqa: E402
from pydantic_ai import Agent, messages  # noqa: E402
from pydantic_ai.providers.google import GoogleProvider  # noqa: E402
from pydantic_ai.realtime import RealtimeError  # noqa: E402
from pydantic_ai.realtime.google import GoogleRealtimeModel  # noqa: E402

from resumekit.adapters import genai as resumable  # noqa: E402

MODEL = "gemini-2.5-flash-native-audio-latest"
RESULT = {"output": "found a fact"}


class App:
    """A voice app: it plays what comes, forgets what was interrupted, and counts turns."""

    def __init__(self, session):
        self.session = session
        self.events = []
        self._answers = asyncio.Queue()

    async def ask(self, question):
        await self.session.send(question)
        answer = await self._answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def listen(self):
        words = ""
        try:
            async for event in self.session:
                self.events.append(event)
                match event:
                    case messages.PartStartEvent(part=messages.SpeechPart(transcript=str(text))):
                        words += text
                    case messages.PartDeltaEvent(delta=messages.SpeechPartDelta(transcript_delta=str(text))):
                        words += text
                    case messages.RealtimeResponseInterruptedEvent():
                        words = ""
                    case messages.RealtimeTurnCompleteEvent() | messages.RealtimeSessionReconnectEvent():
                        self._answers.put_nowait(words)
                        words = ""
        except Exception as error:
            self._answers.put_nowait(error)

    def count(self, kind):
        return sum(isinstance(event, kind) for event in self.events)


@contextlib.asynccontextmanager
async def app_of(chat, client, **settings):
    model = GoogleRealtimeModel(MODEL, provider=GoogleProvider(client=client), settings=settings or None)
    async with app_with(chat, model) as app:
        yield app


@contextlib.asynccontextmanager
async def app_with(chat, model):
    agent = Agent(instructions="Be brief.")
    agent.tool_plain(chat.look_up)
    async with agent.realtime(model).session() as session:
        app = App(session)
        listening = asyncio.create_task(app.listen())
        try:
            yield app
        finally:
            listening.cancel()
            await asyncio.wait([listening])


def options_of(chat):
    ssl = {"ssl": chat.server.client_ssl_context()}
    return types.HttpOptions(base_url=chat.server.base_url, async_client_args=ssl)


def resumable_client(chat, **account):
    return resumable.Client(
        **account or {"api_key": "any"}, http_options=options_of(chat), policy=chat.policy, on_event=chat.on_event
    )


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.name)
async def test_every_question_is_answered_once(cut):
    async with talk() as chat:
        async with app_of(chat, resumable_client(chat)) as app:
            await chat.run(app, cut)
        problems = await chat.problems(result=RESULT)
        evidence = await chat.evidence()
    assert not problems, "\n".join([*problems, evidence])
    assert not app.count(messages.RealtimeSessionErrorEvent)


async def test_every_question_is_answered_once_on_vertex():
    account = {"vertexai": True, "project": "a-project", "location": "us-central1", "credentials": Credentials("any")}
    async with talk(profile="vertex") as chat:
        async with app_of(chat, resumable_client(chat, **account)) as app:
            await chat.run(app, IN_AN_ANSWER)
        assert not await chat.problems(result=RESULT)
        assert chat.count(events.Resumed) == 1


async def test_the_history_has_the_half_answer_and_the_whole_one():
    """Both as interrupted: pydantic-ai says so of all that comes from `interrupted` to the end of the turn."""
    async with talk(**SLOWLY) as chat, app_of(chat, resumable_client(chat)) as app:
        await chat.run(app, IN_SPEECH, ["one", "two"])
        said = [m for m in app.session.all_messages() if isinstance(m, messages.ModelResponse)]
    assert [(m.parts[0].transcript, m.state) for m in said][:3] == [
        ("answer to one: 1 user turns held", "complete"),
        (HALF, "interrupted"),
        ("answer to two: 2 user turns held", "interrupted"),
    ]


async def test_its_own_reconnecting_stays_idle():
    async with talk() as chat:
        async with app_of(chat, resumable_client(chat), reconnect={"max_reconnects": 3}) as app:
            await chat.run(app, GONE_AWAY)
        problems = await chat.problems(result=RESULT)
    assert not problems
    assert not app.count(messages.RealtimeSessionReconnectEvent)


async def test_without_resumekit_the_session_ends_with_the_connection():
    async with talk() as chat, app_of(chat, genai.Client(api_key="any", http_options=options_of(chat))) as app:
        with pytest.raises(RealtimeError, match="connection closed: 1006"):
            await chat.run(app, BEFORE_A_HANDLE)  # it asks for none


async def test_without_resumekit_its_own_reconnecting_loses_the_question():
    async with talk(**SLOWLY) as chat:
        client = genai.Client(api_key="any", http_options=options_of(chat))
        async with app_of(chat, client, reconnect={"max_reconnects": 3}) as app:
            await chat.run(app, IN_SPEECH, ["one", "two"])
        problems = await chat.problems(result=RESULT)
    assert app.count(messages.RealtimeSessionReconnectEvent) == 1
    assert chat.asked[1] == ("two", HALF)  # half of it
    assert any(problem.startswith("lost: ['two']") for problem in problems), problems


async def test_the_code_of_the_page(trusted):
    async with talk() as chat:
        trusted(chat.server)
        names = run_page("pydantic-ai", KEY="any", MODEL=MODEL)
        async with app_with(chat, names["model"]) as app:
            await chat.run(app, IN_AN_ANSWER)
        assert not await chat.problems(result=RESULT)
        assert len(await chat.server.connections()) == 2
