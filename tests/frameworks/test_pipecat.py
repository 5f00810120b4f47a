"""pipecat's Gemini Live service with resumekit's client from `create_client`, through cuts."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.frameworks.support import CUTS, IN_AN_ANSWER, OLD_CONFIG, needs, run_page, talk

needs("pipecat.services.google.gemini_live.llm", "pipecat")

from google.genai import types  # noqa: E402
from loguru import logger  # noqa: E402
from pipecat.frames import frames  # noqa: E402
from pipecat.pipeline.pipeline import Pipeline  # noqa: E402
from pipecat.pipeline.worker import PipelineWorker  # noqa: E402
from pipecat.processors.aggregators.llm_context import LLMContext  # noqa: E402
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair  # noqa: E402
from pipecat.processors.frame_processor import FrameProcessor  # noqa: E402
from pipecat.services.google.gemini_live.llm import GeminiLiveLLMService  # noqa: E402
from pipecat.services.llm_service import FunctionCallParams  # noqa: E402
from pipecat.workers.runner import WorkerRunner  # noqa: E402

from resumekit.adapters import genai as resumable  # noqa: E402

logger.remove()  # pipecat's log is long
pytestmark = OLD_CONFIG

MODEL = "models/gemini-3.8-live"
KNOBS = {"model": "3.x", "tool_position": "amid"}
RESULT = {"found": "a fact"}
GREETING = ["hello", " "]
"""What the service gets before the first question: the context, and pipecat's nudge."""


class Speaker(FrameProcessor):
    """Plays what comes, and forgets what was interrupted."""

    def __init__(self):
        super().__init__()
        self.answers = asyncio.Queue()
        self.errors = []
        self._words = ""

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        match frame:
            case frames.TTSTextFrame():
                self._words += frame.text
            case frames.InterruptionFrame():
                self._words = ""
            case frames.LLMFullResponseEndFrame():
                self.answers.put_nowait(self._words)
                self._words = ""
            case frames.ErrorFrame():
                self.errors.append(frame.error)
        await self.push_frame(frame, direction)


class App:
    """A pipeline with the service in its middle."""

    def __init__(self, chat, service):
        async def look_up(params: FunctionCallParams, what: str):
            """Look something up.

            Args:
                what: What to look up.
            """
            await params.result_callback({"found": (await chat.look_up(what)).removeprefix("found ")})

        self.llm = service(
            api_key="any",
            system_instruction="Be brief.",
            settings=service.Settings(model=MODEL),
            tools=[look_up],
            http_options=types.HttpOptions(
                base_url=chat.server.base_url, async_client_args={"ssl": chat.server.client_ssl_context()}
            ),
        )
        self.context = LLMContext()
        self.speaker = Speaker()
        pair = LLMContextAggregatorPair(self.context)
        self.worker = PipelineWorker(
            Pipeline([pair.user(), self.llm, self.speaker, pair.assistant()]),
            enable_rtvi=False,
            idle_timeout_secs=None,
        )

    async def greet(self):
        message = {"role": "user", "content": GREETING[0]}
        await self.worker.queue_frame(frames.LLMMessagesAppendFrame(messages=[message], run_llm=True))
        await self.speaker.answers.get()

    async def say(self, question):
        await self.worker.queue_frame(frames.InputTextRawFrame(text=question))

    async def ask(self, question):
        await self.say(question)
        return await self.speaker.answers.get()

    async def reconnected(self):
        while self.llm._consecutive_failures == 0 or not self.llm._ready_for_realtime_input:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    @contextlib.asynccontextmanager
    async def running(self):
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self.worker)
        running = asyncio.create_task(runner.run())
        try:
            await self.greet()
            yield self
        finally:
            await self.worker.cancel()
            await running


def resumable_service(chat):
    class Service(GeminiLiveLLMService):
        def create_client(self):
            self._client = resumable.Client(
                api_key=self._api_key, http_options=self._http_options, policy=chat.policy, on_event=chat.on_event
            )

    return Service


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.name)
async def test_every_question_is_answered_once(cut):
    async with talk(**KNOBS) as chat:
        async with App(chat, resumable_service(chat)).running() as app:
            await chat.run(app, cut)
        problems = await chat.problems(before=GREETING, result=RESULT)
        evidence = await chat.evidence()
    assert not problems, "\n".join([*problems, evidence])
    assert not app.speaker.errors
    assert app.llm._consecutive_failures == 0


async def test_without_resumekit_the_question_is_never_answered():
    """Its own reconnecting resumes from a handle that does not hold the question."""
    async with talk(**KNOBS) as chat:
        async with App(chat, GeminiLiveLLMService).running() as app:
            chat.asked.append(("one", await app.ask("one")))
            await chat.anchored()
            await chat.server.inject(IN_AN_ANSWER.fault)
            await app.say("two")
            await app.reconnected()
            chat.asked += [("two", ""), ("four", await app.ask("four"))]
        problems = await chat.problems(before=GREETING, result=RESULT)
    assert app.llm._consecutive_failures == 1
    assert any(problem.startswith("lost: ['two']") for problem in problems), problems


async def test_the_code_of_the_page():
    names = run_page("Pipecat", KEY="any")
    async with talk(**KNOBS) as chat:
        async with App(chat, names["ResumableGeminiLive"]).running() as app:
            await chat.run(app, IN_AN_ANSWER)
        assert not await chat.problems(before=GREETING, result=RESULT)
        assert len(await chat.server.connections()) == 2
