"""`RunConfig` where `run_async` is used: nothing of resumekit, save with compositional function calling."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest import mock

import pytest
import trustme
from google.adk.agents import Agent
from google.adk.agents.invocation_context import LlmCallsLimitExceededError
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.artifacts import InMemoryArtifactService
from google.adk.events import Event
from google.adk.models import Gemini
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService
from google.genai import types

from resumekit.adapters.adk import ResumekitPlugin
from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from tests.adapters.support import nothing_is_left
from tests.adk.support import ADK, NAMES, OURS, PLAIN, config, model_of, question, run, service, words

pytestmark = pytest.mark.network
FIELDS = frozenset(RunConfig.model_fields)


# --- a service of requests --------------------------------------------------------------------------------------------


class Requests:
    """What a tiny HTTPS server was asked; it answers `generateContent` and `streamGenerateContent`."""

    def __init__(self, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._answer = answer
        self.got: list[tuple[str, dict[str, str], Any]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
                path = head[0].split()[1]
                body = json.loads(await reader.readexactly(int(headers.get("content-length", 0))) or b"null")
                self.got.append((path, headers, body))
                text = json.dumps(self._answer(body))
                kind = "application/json"
                if "streamGenerateContent" in path:
                    text, kind = f"data: {text}\r\n\r\n", "text/event-stream"
                writer.write(
                    f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()
                )
                await writer.drain()
        writer.close()


def says(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, "finishReason": "STOP"}]}


def hello(_: Any) -> dict[str, Any]:
    return says({"text": "hello"})


@contextlib.asynccontextmanager
async def requests(answer: Callable[[dict[str, Any]], dict[str, Any]] = hello) -> AsyncIterator[Requests]:
    """Start the server, where ADK finds it by its environment."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    seen = Requests(answer)
    with tempfile.NamedTemporaryFile("wb", suffix=".pem") as ca_file:
        ca_file.write(authority.cert_pem.bytes())
        ca_file.flush()
        async with nothing_is_left(), await asyncio.start_server(seen.serve, "127.0.0.1", ssl=context) as server:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            variables = {"SSL_CERT_FILE": ca_file.name, "GOOGLE_API_KEY": "a-key", "GOOGLE_GEMINI_BASE_URL": url}
            with mock.patch.dict(os.environ, variables):
                yield seen


class Asked:
    """One `run_async`."""

    def __init__(self, which: str, *, family: str = "2.5", tools: Any = (), **fields: Any) -> None:
        self.told: list[events.Event] = []
        self.events: list[Event] = []
        self.artifacts = InMemoryArtifactService()
        self._sessions = InMemorySessionService()
        self._model = model_of(which, family, **({"on_event": self.told.append} if which == OURS else {}))
        self._runner = Runner(
            app_name=NAMES["app_name"],
            agent=Agent(name="an_agent", model=self._model, instruction="Be brief.", tools=list(tools)),
            plugins=[ResumekitPlugin()] if which == OURS else [],
            session_service=self._sessions,
            artifact_service=self.artifacts,
        )
        self._config = RunConfig(**fields)

    async def ask(self, content: types.Content) -> list[Any]:
        """Return what was shown, in short."""
        await self._sessions.create_session(**NAMES)
        names = {name: NAMES[name] for name in ("user_id", "session_id")}
        async with asyncio.timeout(100), contextlib.aclosing(self._model.api_client.aio):
            async for event in self._runner.run_async(**names, new_message=content, run_config=self._config):
                self.events.append(event)
        return [
            (event.author, words(event), event.partial, [call.name for call in event.get_function_calls()])
            for event in self.events
        ]


# --- nothing of resumekit ---------------------------------------------------------------------------------------------

CASES = {
    "streaming_mode-NONE": {"streaming_mode": StreamingMode.NONE},
    "streaming_mode-SSE": {"streaming_mode": StreamingMode.SSE},
    "save_input_blobs_as_artifacts": {"save_input_blobs_as_artifacts": True},
    "http_options": {"http_options": types.HttpOptions(headers={"x-team": "a-team"})},
    "labels": {"labels": {"team": "a-team"}},
    "service_tier": {"service_tier": "flex"},
}


@pytest.mark.parametrize("name", [name for name in CASES if name.partition("-")[0] in FIELDS])
async def test_run_async_is_left_alone(name):
    """The same requests to the same address, the same events, the same artifacts; no Live session."""
    seen = []
    async with requests() as server:
        for which in (PLAIN, OURS):
            asked = Asked(which, **CASES[name])
            image = types.Part(inline_data=types.Blob(data=b"an image", mime_type="image/png"))
            shown = await asked.ask(types.Content(role="user", parts=[types.Part(text="one"), image]))
            ((path, headers, body),) = server.got
            server.got.clear()
            kept = [await asked.artifacts.load_artifact(filename=key, **NAMES) for key in await keys(asked)]
            seen.append((shown, path, headers.get("x-team"), headers.get("x-goog-api-client"), unnamed(body), kept))
            assert asked.told == []
    assert seen[0] == seen[1]
    shown, path, team, _, _, kept = seen[0]
    assert [(author, said) for author, said, partial, _ in shown if not partial] == [("an_agent", "hello")]
    streamed = name == "streaming_mode-SSE"
    assert ("streamGenerateContent" if streamed else "generateContent") in path
    assert team == ("a-team" if name == "http_options" else None)
    assert bool(kept) <= (name == "save_input_blobs_as_artifacts")


def unnamed(body: Any) -> str:
    """Leave out the names that ADK gives to artifacts."""
    return re.sub(r"artifact_e-[-0-9a-f]+", "artifact", json.dumps(body))


async def keys(asked: Asked) -> list[str]:
    return sorted(await asked.artifacts.list_artifact_keys(**NAMES))


# --- the limit of calls -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [StreamingMode.NONE, StreamingMode.SSE])
async def test_the_limit_of_calls(mode):
    """Where ADK counts, its error passes unchanged."""
    ran = []

    def again() -> str:
        """Ask for more."""
        ran.append(1)
        return "more"

    raised = []
    async with requests(lambda _: says({"functionCall": {"name": "again", "args": {}}})) as server:
        for which in (PLAIN, OURS):
            asked = Asked(which, tools=[again], streaming_mode=mode, max_llm_calls=3)
            with pytest.raises(LlmCallsLimitExceededError) as caught:
                await asked.ask(question("one"))
            raised.append((type(caught.value), str(caught.value), len(server.got), len(ran)))
            server.got.clear()
            ran.clear()
    assert raised[0] == raised[1]
    assert raised[0][2:] == (3, 3)


async def test_the_limit_of_calls_in_live():
    """ADK counts nothing there, neither questions nor connections."""
    async with service(mid_answer_handles=0) as server:
        async with run(server, PLAIN, run_config=config(max_llm_calls=1)) as talk:
            await talk.ask("one")
            await talk.ask("two")
        async with run(server, run_config=config(max_llm_calls=1)) as talk:
            for number in range(1, 4):
                await server.inject(Fault.rst(at=Trigger.mid_answer(1)))
                await talk.ask(f"question {number}")
                await talk.told_of(events.HandleReceived, number)
            await talk.close()
        assert len(talk.answers()) == 3
        assert len(await server.connections()) == 1 + 1 + 3


# --- compositional function calling -----------------------------------------------------------------------------------

CALLS = {
    "parallel": "go [tool:alpha][tool:beta]",
    "chained": "go [tool:alpha][then:beta]",
    "conditional": "go [tool:alpha][tool:beta][then:gamma]",
}
WHERE = {
    "none": None,
    "in-the-calls": Trigger.tool_call(),
    "in-the-answer": Trigger.mid_answer(3),
}


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("calls", CALLS)
async def test_compositional_function_calling(calls, where):
    """The same calls, as often as with plain `Gemini`, and the same answers, whether or not the connection is cut."""
    plain = await composed(PLAIN, CALLS[calls], None)
    ours = await composed(OURS, CALLS[calls], WHERE[where])
    assert ours[3] == (where != "none")
    assert ours[2] == plain[2]
    if plain[2]:  # ADK 2.0 to 2.8 closes the connection in the midst of it: how far it gets is chance
        assert all(one == other for one, other in zip(ours[0], plain[0], strict=False))
        return
    assert ours[0] == plain[0]
    if where == "in-the-calls":  # what was said before them is said again
        assert ours[1][-1].endswith(plain[1][-1])
        assert set(ours[1][:-1]) <= set(plain[1])
    else:
        assert ours[1] == plain[1]


async def composed(which: str, text: str, cut: Trigger | None) -> Any:
    """Return which functions ran, in order; what was answered; whether an error ended it; how many connections more."""
    ran = []

    def alpha() -> dict:
        """Do alpha."""
        ran.append("alpha")
        return {"value": 1}

    def beta() -> dict:
        """Do beta."""
        ran.append("beta")
        return {"value": 2}

    def gamma() -> dict:
        """Do gamma."""
        ran.append("gamma")
        return {"value": 3}

    fields: dict[str, Any] = {"streaming_mode": StreamingMode.SSE, "support_cfc": True, "response_modalities": ["TEXT"]}
    family = "2.5"
    if ADK >= (2, 9):  # CFC is for 3.x models, too; calls of a 2.x model wait for the end of a turn, where CFC ends
        family = "3.x"
    turns = "joined" if not (2,) <= ADK < (2, 9) else "at_end"
    async with service(family=family, tool_turns=turns, answers_history=True, mid_answer_handles=0) as server:
        if cut is not None:
            await server.inject(Fault.fin(at=cut))
        asked = Asked(which, family=family, tools=[alpha, beta, gamma], **fields)
        failed = False
        try:
            await asked.ask(question(text))
        except TimeoutError:
            raise
        except Exception as error:
            failed = "closed" in str(error) or "1000" in str(error)
            if not failed:
                raise
        answers = [
            words(event) for event in asked.events if words(event) and not event.partial and not event.interrupted
        ]
        connections = len(await server.connections())
        assert isinstance(asked._runner.agent.canonical_model, Gemini)
        return ran, answers, failed, connections - 1
