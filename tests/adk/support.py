"""An application that was written with ADK: agents, a Runner, a queue; and the emulator that it talks to.

`run()` gives a `Talk`: a `Runner.run_live` that is under way, whose events are gathered by a task. The same script runs
with plain `Gemini` and with `ResumableGemini`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Literal
from unittest import mock

import pytest
from google import genai
from google.adk.agents import Agent, LiveRequestQueue
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.artifacts import InMemoryArtifactService
from google.adk.events import Event
from google.adk.models import Gemini
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService
from google.genai import types
from google.oauth2.credentials import Credentials

from resumekit import Policy
from resumekit.adapters import _adk_seam
from resumekit.adapters.adk import ResumableGemini, ResumekitPlugin
from resumekit.core import events
from resumekit.emulator import ConnectionRecord, response_item, silence, spoken
from tests.faults import runner
from tests.faults.runner import SCALE, client_of
from tests.faults.zygote import Emulator
from tests.secrets import API_KEY, TOKEN

__all__ = [
    "ADK", "FAMILIES", "OURS", "PLAIN", "SCALE", "RunOver", "Talk", "Tool", "a_handle", "both", "config",
    "eventually", "model_of", "policy", "question", "run", "senders", "service", "with_old_turns", "words",
]  # fmt: skip

ADK = _adk_seam.VERSION
"""The version that is installed."""
FAMILIES = {"2.5": "gemini-2.5-flash-live", "3.x": "gemini-3.1-flash-live"}
if ADK < (2,):
    del FAMILIES["3.x"]  # ADK 1.27 writes to it as to 2.5, and is refused with 1007 at the second question
PLAIN, OURS = "plain", "ours"
TIMEOUT = 100.0
"""Real seconds after which a conversation hangs."""
NAMES = {"app_name": "an-app", "user_id": "a-user", "session_id": "a-session"}

Which = Literal["plain", "ours"]


@contextlib.asynccontextmanager
async def service(profile: str = "developer", *, family: str = "2.5", **knobs: Any) -> AsyncIterator[Emulator]:
    """Give an emulator that ADK finds by its environment, as a user's process finds the service."""
    knobs.setdefault(
        "tool_turns", "at_end" if family == "2.5" else "joined"
    )  # ADK keeps a 2.5 model's calls until then
    emulator = Emulator(time_scale=SCALE, profile=profile, model=FAMILIES[family], **knobs)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as ca_file:
        async with emulator as server:
            ca_file.write(server._pem)
            ca_file.flush()
            variables = {
                "SSL_CERT_FILE": ca_file.name,
                "GOOGLE_API_KEY": API_KEY,
                "GOOGLE_GEMINI_BASE_URL": server.base_url,
            }
            client = genai.Client
            if profile == "vertex":
                variables = {"SSL_CERT_FILE": ca_file.name, "GOOGLE_GENAI_USE_VERTEXAI": "true"}
                client = account_of_vertex(server.base_url)
            with mock.patch.dict(os.environ, variables), mock.patch.object(genai, "Client", client):
                yield server


def account_of_vertex(base_url: str) -> type[genai.Client]:
    """Return a client for ADK to make: no account of Vertex can be had here, so this one has a token of its own."""
    account = {"project": "a-project", "location": "us-central1", "credentials": Credentials(TOKEN)}

    class Client(genai.Client):
        def __init__(self, *, http_options, **_):
            http_options.base_url = base_url
            super().__init__(vertexai=True, http_options=http_options, **account)

    return Client


def policy(**changes: Any) -> Policy:
    """Return the policy of `tests.faults.runner`, but for what is given up for the silence of the service.

    That is an emulator in a process of its own: it may stall for longer than those times are on its scale.
    """
    patient = dict.fromkeys(("abort_expecting", "abort_idle", "progress_watchdog", "rebind_timeout"), 200.0)
    return runner.policy(**{**patient, **changes})


def model_of(which: Which, family: str = "2.5", **fields: Any) -> Gemini:
    """Return the model of an agent: the one line that changes."""
    if which == PLAIN:
        return Gemini(model=FAMILIES[family])
    return ResumableGemini(model=FAMILIES[family], **{"policy": policy(), **fields})


def config(**fields: Any) -> RunConfig:
    """Return a usual RunConfig; text is what is easiest to look at."""
    usual = {"streaming_mode": StreamingMode.BIDI, "response_modalities": ["TEXT"]}
    resumption = types.SessionResumptionConfig()
    return RunConfig(**{**usual, "session_resumption": resumption, **fields})


def question(text: str) -> types.Content:
    return types.Content(role="user", parts=[types.Part(text=text)])


def words(event: Event) -> str:
    """Return the text of an event's content."""
    parts = (event.content.parts if event.content else None) or ()
    return "".join(part.text or "" for part in parts)


class RunOver(AssertionError):
    """The run ended, without an error."""


@dataclass
class Talk:
    """A run that is under way."""

    runner: Runner
    queue: LiveRequestQueue
    server: Emulator
    events: list[Event] = field(default_factory=list)
    """What `run_live` gave."""
    told: list[events.Event] = field(default_factory=list)
    """What resumekit told."""
    task: asyncio.Task[None] | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def on_event(self, event: events.Event) -> None:
        self.told.append(event)
        self._news.set()

    async def _gather(self, run_config: RunConfig) -> None:
        names = {name: NAMES[name] for name in ("user_id", "session_id")}
        try:
            async for event in self.runner.run_live(**names, live_request_queue=self.queue, run_config=run_config):
                self.events.append(event)
                self._news.set()
        finally:
            self._news.set()

    async def until(self, is_so: Callable[[], object]) -> None:
        """Wait until something is so; raises what the run raised, or that it is over."""
        while not is_so():
            if self.task.done():
                self.task.result()
                raise RunOver
            self._news.clear()
            await self._news.wait()

    async def server_says(self, is_so: Callable[[list[ConnectionRecord]], object]) -> list[ConnectionRecord]:
        """Wait until the service's connections are so, and return them; raises what the run raised, or that it is over."""
        while not is_so(records := await self.server.connections()):
            if self.task.done():
                self.task.result()
                raise RunOver
            await asyncio.sleep(0.01)
        return records

    async def bound(self, times: int) -> list[ConnectionRecord]:
        """Wait until so many connections in all were set up, and return them."""
        return await self.server_says(lambda records: sum(record.bound_at is not None for record in records) >= times)

    async def service_did(self, kind: str, times: int = 1) -> None:
        """Wait until something is so often on the service's timeline."""
        while [event.kind for event in await self.server.events()].count(kind) < times:  # noqa: ASYNC110 -- of another process
            await asyncio.sleep(0.01)

    async def anchored(self) -> None:
        """Wait until the service has sent a handle for the newest turn."""
        kinds: list[str] = []
        while not kinds or kinds.count("turn_complete") < self.turns or kinds[-1] != "handle":
            await asyncio.sleep(0.01)
            kinds = [event.kind for event in await self.server.events() if event.kind in {"turn_complete", "handle"}]

    async def fate(self, doing: Awaitable[object]) -> Exception | None:
        """Do something; return what the run ended with meanwhile (`RunOver` if with nothing), None if it goes on."""
        try:
            await doing
        except Exception as error:
            if not self.task.done():
                raise
            return error
        return None

    async def answered(self, text: str) -> None:
        """Wait until a question has got its whole answer; its beginning is enough."""
        await self.until(lambda: any(f"answer to {text}" in answer for answer in self.answers()))

    def count(self, kind: type[events.Event]) -> int:
        return sum(isinstance(event, kind) for event in self.told)

    @property
    def turns(self) -> int:
        """How many turns are complete."""
        return sum(bool(event.turn_complete) for event in self.events)

    async def ask(self, text: str) -> list[Event]:
        """Ask, and return the events until the turn is complete."""
        first, turns = len(self.events), self.turns
        self.queue.send_content(question(text))
        await self.until(lambda: self.turns > turns)
        return self.events[first:]

    def speak(self, text: str) -> None:
        """Speak a question, and the silence that ends it."""
        pcm = spoken(text) + silence(0.5)
        for at in range(0, len(pcm), 3200):
            self.queue.send_realtime(types.Blob(data=pcm[at : at + 3200], mime_type="audio/pcm;rate=16000"))

    async def ask_all(self, text: str, result: str) -> None:
        """Ask what takes tools, and maybe several turns; return when the turn is over that tells of a result."""
        self.queue.send_content(question(text))
        await self.turn_is_over(result)

    async def turn_is_over(self, words: str) -> None:
        """Wait until the turn is over whose answer has these words."""

        def is_over() -> bool:
            told = [n for n, event in enumerate(self.events) if not event.partial and words in spoken_or_written(event)]
            return bool(told) and any(event.turn_complete for event in self.events[told[-1] :])

        await self.until(is_over)

    async def told_of(self, kind: type[events.Event], times: int = 1) -> None:
        await self.until(lambda: self.count(kind) >= times)

    async def close(self) -> None:
        """Close the queue as an app does; return when the run is over, raise what it raised but its usual end."""
        self.queue.close()
        try:
            await self.task
        except Exception as error:
            if _adk_seam.ENDS_QUIETLY or "closed the live session" not in str(error):
                raise

    async def stored(self) -> list[Event]:
        """Return the events of the session service."""
        session = await self.runner.session_service.get_session(**NAMES)
        return session.events

    def answers(self) -> list[str]:
        """Return the whole answers, in text or as transcription."""
        return [said for event in self.events if not event.partial and (said := spoken_or_written(event))]


def spoken_or_written(event: Event) -> str:
    if event.author == "user":
        return ""
    transcription = event.output_transcription
    return words(event) or (transcription.text or "" if transcription is not None and transcription.finished else "")


@contextlib.asynccontextmanager
async def run(
    server: Emulator,
    which: Which = OURS,
    *,
    family: str = "2.5",
    model: Any = None,
    agent: Any = None,
    tools: Sequence[Any] = (),
    run_config: RunConfig | None = None,
    plugins: Sequence[Any] | None = None,
    session_service: Any = None,
    artifact_service: Any = None,
    **fields: Any,
) -> AsyncIterator[Talk]:
    """Start a run; in the end it is stopped, whatever has become of it. `fields` are those of `ResumableGemini`.

    Args:
        agent: May be a function that makes it of the model.
    """
    talk = Talk(None, LiveRequestQueue(), server)
    if model is None and (agent is None or isinstance(agent, FunctionType)):
        model = model_of(which, family, **({"on_event": talk.on_event, **fields} if which == OURS else {}))
    if agent is None:
        agent = Agent(name="an_agent", model=model, instruction="Be brief.", tools=list(tools))
    elif isinstance(agent, FunctionType):
        agent = agent(model)
    service_ = session_service or InMemorySessionService()
    if plugins is None:
        plugins = [ResumekitPlugin()] if which == OURS else []
    talk.runner = Runner(
        app_name=NAMES["app_name"],
        agent=agent,
        plugins=list(plugins),
        session_service=service_,
        artifact_service=artifact_service or InMemoryArtifactService(),
    )
    if await service_.get_session(**NAMES) is None:
        await service_.create_session(**NAMES)
    talk.task = asyncio.create_task(talk._gather(run_config or config()))
    try:
        async with asyncio.timeout(TIMEOUT):
            yield talk
    finally:
        while not talk.task.done():  # google-adk's loop of reconnects swallows one now and then
            talk.task.cancel()
            await asyncio.wait({talk.task}, timeout=0.5)
        with contextlib.suppress(BaseException):
            talk.task.result()


def both(*, where: bool) -> pytest.MarkDecorator:
    """Run a test with ours; and where google-adk has the defect in question, with plain `Gemini`, to see it."""
    return pytest.mark.parametrize("which", [OURS, PLAIN] if where else [OURS])


async def eventually(is_so: Callable[[], object]) -> None:
    """Wait until something is so that nobody tells."""
    while not is_so():  # noqa: ASYNC110 -- as said
        await asyncio.sleep(0)


def senders() -> list[asyncio.Task[Any]]:
    """Return ADK's tasks that send."""
    return [task for task in asyncio.all_tasks() if "send_to_model" in str(task.get_coro())]


@dataclass
class Tool:
    """A tool that runs until it is told to return."""

    started: asyncio.Event = field(default_factory=asyncio.Event)
    may_return: asyncio.Event = field(default_factory=asyncio.Event)
    runs: int = 0

    CALLED = 'a fact? [tool:look_up {"what": "a fact"}]'
    """A question that the model calls it for."""
    FOUND = response_item("look_up", {"result": "found a fact"})
    """What the ledger calls its response."""

    @property
    def function(self) -> Callable[..., Any]:
        async def look_up(what: str) -> dict[str, str]:
            """Look something up."""
            self.runs += 1
            self.started.set()
            await self.may_return.wait()
            return {"result": f"found {what}"}

        return look_up


async def with_old_turns() -> InMemorySessionService:
    """Return a session service whose session has a question and an answer of another day."""
    sessions = InMemorySessionService()
    session = await sessions.create_session(**NAMES)
    for author, role, text in (("user", "user", "old"), ("an_agent", "model", "old answer")):
        content = types.Content(role=role, parts=[types.Part(text=text)])
        await sessions.append_event(session, Event(invocation_id="old", author=author, content=content))
    return sessions


async def a_handle(server: Emulator) -> str:
    """Return the handle of a session in which one question was answered."""
    setup = {"response_modalities": ["TEXT"], "session_resumption": {}}
    async with client_of(server) as client, client.aio.live.connect(model=FAMILIES["2.5"], config=setup) as session:
        await session.send_client_content(turns={"role": "user", "parts": [{"text": "one"}]})
        is_over = False
        while True:
            async for message in session.receive():
                update = message.session_resumption_update
                is_over = is_over or bool(message.server_content and message.server_content.turn_complete)
                if is_over and update is not None and update.new_handle:
                    return update.new_handle
