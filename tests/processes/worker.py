"""An application in a process of its own, to be killed, stopped and shut down. It is forked: see `tests.faults.zygote`.

The first line of stdin has its `Options`; then it connects, and reads one JSON value a line: a text is a question; ``["speak"]``: the microphone is on from now on; ``["return"]``: the tool that runs may return. It
writes ``["connected"]``, ``["said", text]``, ``["answer", text]``, ``["tool", argument]``, ``["event", name, fields]``,
``["error", types, text]`` and at last
``["over"]``. The end of stdin ends it, and so does SIGTERM, as an application has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable

import msgspec
from google import genai
from google.adk.agents import Agent, LiveRequestQueue
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.runners import Runner
from google.genai import types

from resumekit import Policy
from resumekit.adapters import genai as resumable
from resumekit.adapters.adk import ResumableGemini, ResumekitPlugin
from resumekit.core.events import Event
from tests.adk.sessions import OneAtATime
from tests.faults.runner import FAMILIES
from tests.faults.zygote import serve

MODEL = FAMILIES["2.5"]
AUDIO = types.Blob(data=bytes(640), mime_type="audio/pcm;rate=16000")
"""20 ms of silence."""


class Options(msgspec.Struct):
    """What the process is started with."""

    framework: str
    store: str
    policy: Policy
    sessions: str
    """The file of ADK's own sessions."""
    environment: dict[str, str]
    key: str = "a-conversation"


def tell(*words: object) -> None:
    print(json.dumps(words), flush=True)


def tell_event(event: Event) -> None:
    tell("event", type(event).__name__, msgspec.to_builtins(event))


class Tool:
    """Looks things up until it is told to return."""

    def __init__(self) -> None:
        self.may_return = asyncio.Event()

    async def look_up(self, what: str) -> dict[str, str]:
        """Look something up."""
        tell("tool", what)
        await self.may_return.wait()
        return {"result": f"found {what}"}


async def lines() -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line


async def obey(
    given: AsyncIterator[bytes], tool: Tool, ask: Callable[[str], object], speak: Callable[[], object]
) -> None:
    """Do what stdin says, to its end."""

    async def microphone() -> None:
        while True:
            await maybe(speak())
            await asyncio.sleep(0.02)

    speaking: asyncio.Task[None] | None = None
    try:
        async for line in given:
            command = json.loads(line)
            if isinstance(command, str):
                await maybe(ask(command))
            elif command == ["return"]:
                tool.may_return.set()
            elif command == ["speak"]:
                speaking = asyncio.create_task(microphone())
    finally:
        if speaking is not None:
            speaking.cancel()


async def maybe(result: object) -> None:
    if asyncio.iscoroutine(result):
        await result


# --- google-genai -----------------------------------------------------------------------------------------------------


async def with_genai(options: Options, given: AsyncIterator[bytes]) -> None:
    tool = Tool()
    client = genai.Client()
    what = {"what": types.Schema(type=types.Type.STRING)}
    schema = types.Schema(type=types.Type.OBJECT, properties=what)
    look_up = types.FunctionDeclaration(name="look_up", description="Look up.", parameters=schema)
    config = types.LiveConnectConfig(
        response_modalities=[types.Modality.TEXT], tools=[types.Tool(function_declarations=[look_up])]
    )
    async with (
        resumable.connect(
            client,
            model=MODEL,
            config=config,
            key=options.key,
            store=options.store,
            policy=options.policy,
            on_event=tell_event,
        ) as session,
        asyncio.TaskGroup() as group,
    ):
        tell("connected")

        def ask(text: str) -> object:
            return session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text=text)]))

        async def answer(call: types.FunctionCall) -> None:
            result = await tool.look_up(**(call.args or {}))
            response = types.FunctionResponse(id=call.id, name=call.name, response=result)
            await session.send_tool_response(function_responses=response)

        async def listen() -> None:
            while True:
                said = ""
                async for message in session.receive():
                    content = message.server_content
                    if content and content.interrupted:
                        said = ""
                    if message.text:
                        said += message.text
                        tell("said", message.text)
                    for call in (message.tool_call and message.tool_call.function_calls) or ():
                        group.create_task(answer(call))
                tell("answer", said)

        listening = group.create_task(listen())
        await obey(given, tool, ask, lambda: session.send_realtime_input(audio=AUDIO))
        listening.cancel()
    await client.aio.aclose()


# --- google-adk -------------------------------------------------------------------------------------------------------


async def with_adk(options: Options, given: AsyncIterator[bytes]) -> None:
    tool = Tool()
    model = ResumableGemini(model=MODEL, store=options.store, policy=options.policy, on_event=tell_event)
    agent = Agent(name="an_agent", model=model, instruction="Be brief.", tools=[tool.look_up])
    sessions = OneAtATime(options.sessions)
    runner = Runner(app_name="an_app", agent=agent, plugins=[ResumekitPlugin()], session_service=sessions)
    names = {"user_id": "a-user", "session_id": options.key}
    if await sessions.get_session(app_name="an_app", **names) is None:
        await sessions.create_session(app_name="an_app", **names)
    queue = LiveRequestQueue()
    config = RunConfig(streaming_mode=StreamingMode.BIDI, response_modalities=["TEXT"])

    async def listen() -> None:
        said = ""
        run = runner.run_live(**names, live_request_queue=queue, run_config=config)
        async with contextlib.aclosing(run) as events:
            async for event in events:
                text = "".join(part.text or "" for part in (event.content.parts if event.content else None) or ())
                if event.interrupted:
                    said = ""
                if event.partial and text:
                    said += text
                    tell("said", text)
                if event.turn_complete:
                    tell("answer", said)
                    said = ""

    def ask(text: str) -> None:
        queue.send_content(types.Content(role="user", parts=[types.Part(text=text)]))

    async with asyncio.TaskGroup() as group:
        listening = group.create_task(listen())
        tell("connected")
        await obey(given, tool, ask, lambda: queue.send_realtime(AUDIO))
        queue.close()
        listening.cancel()


async def main() -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    given = lines()
    try:
        options = msgspec.json.decode(await anext(given), type=Options)
        os.environ.update(options.environment)
        await {"genai": with_genai, "adk": with_adk}[options.framework](options, given)
    except asyncio.CancelledError:  # SIGTERM
        pass
    except BaseException as error:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        tell("error", [kind.__name__ for kind in type(error).__mro__], str(error))
    tell("over")


if __name__ == "__main__":
    serve(sys.argv[1], main)
