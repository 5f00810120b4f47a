"""What does ADK's live chain need from a frame to an `Event`, plain and over resumekit?

Frames come from memory, 16 at a time as `websockets` would give them; then all is as in a run: google-genai's session,
ADK's `GeminiLlmConnection`, and ADK's live flow. Over resumekit the driver, the engine, the typed lane and the adapter's
filter are part of what is measured. The floor is ADK with messages that were made before. goAway and tool calls are left
out: they end plain ADK's chain, or run tools.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any
from unittest import mock

from google.adk.agents import Agent
from google.adk.agents.invocation_context import InvocationContext
from google.adk.agents.run_config import RunConfig
from google.adk.live._live_llm_flow import receive_from_model
from google.adk.models import Gemini, LlmRequest
from google.adk.sessions import InMemorySessionService
from google.genai import live, types

from benchmarks.frames import Kind, dump, kinds, mix, setup_complete
from benchmarks.harness import Bench, run
from resumekit.adapters.adk import ResumableGemini
from resumekit.drivers import Receiver

ENVIRONMENTS = ["adk2"]
PLAIN, ALONE = "ADK", "floor: ADK alone"
CONTENDERS: dict[str, tuple[type[Gemini], str]] = {
    PLAIN: (Gemini, "1"),
    "ADK over resumekit": (ResumableGemini, "1"),
    "ADK over resumekit, RESUMEKIT_FAST=0": (ResumableGemini, "0"),
    ALONE: (Gemini, "made"),
}
"""The model, and RESUMEKIT_FAST; `made`: the messages are made before."""
MODEL = "gemini-2.5-flash-live"
_AT_ONCE = 16  # `max_queue` of websockets
_LEFT_OUT = (Kind.GO_AWAY, Kind.CALLS)
_THE_END = "That is all."


def measure(bench: Bench) -> None:
    """Compare, for each kind of frame and for the mix."""
    logging.disable(logging.INFO)  # as in production: ADK formats each handle at INFO
    count = 150 if bench.quick else 1000
    cases = {str(kind): frames for kind, frames in kinds(count).items() if kind not in _LEFT_OUT}
    cases["voice mix"] = [frame for frame in mix(2 * count) if b'"goAway"' not in frame and b'"toolCall"' not in frame]
    with asyncio.Runner() as runner, mock.patch.dict(os.environ, {"GOOGLE_API_KEY": "any"}):
        for case, frames in cases.items():
            events = {name: runner.run(_sample(model, fast, frames))[1] for name, (model, fast) in CONTENDERS.items()}
            if len({*events.values()}) > 1:
                raise RuntimeError(f"{case}: not the same number of events: {events}")

            def sampler(model: type[Gemini], fast: str, frames: Sequence[bytes] = frames) -> Callable[[], float]:
                return lambda: runner.run(_sample(model, fast, frames))[0]

            samplers = {name: sampler(*how) for name, how in CONTENDERS.items()}
            bench.compare(case, samplers, unit="us/frame", baselines=[PLAIN], rounds=3 if bench.quick else 15)


async def _sample(model: type[Gemini], fast: str, frames: Sequence[bytes]) -> tuple[float, int]:
    """Return the microseconds of processor time that the chain takes for each frame, and how many events it makes."""
    end = dump({"serverContent": {"modelTurn": {"parts": [{"text": _THE_END}]}}})
    socket = _Socket([*frames, end])
    agent = Agent(name="guide", model=MODEL)
    service = InMemorySessionService()
    context = InvocationContext(
        invocation_id="an-invocation",
        agent=agent,
        session=await service.create_session(app_name="an-app", user_id="a-user"),
        session_service=service,
        run_config=RunConfig(),
    )
    request = LlmRequest(model=MODEL)
    request.live_connect_config = types.LiveConnectConfig(
        response_modalities=[types.Modality.AUDIO], session_resumption=types.SessionResumptionConfig()
    )
    flow: Any = agent._llm_flow
    with _dialling(socket, fast, await _made(socket.all) if fast == "made" else None):
        async with model(model=MODEL).connect(request) as connection:
            await connection.send_content(types.Content(role="user", parts=[types.Part(text="How is the weather?")]))
            await socket.asked.wait()
            async with contextlib.aclosing(receive_from_model(flow, connection, context, request)) as events:
                count, start = 0, time.thread_time()
                socket.open.set()
                async for event in events:
                    count += 1
                    if event.content and event.content.parts and event.content.parts[0].text == _THE_END:
                        break
                taken = time.thread_time() - start
    return taken / len(frames) * 1e6, count


@contextlib.contextmanager
def _dialling(socket: _Socket, fast: str, made: Sequence[types.LiveServerMessage] | None) -> Iterator[None]:
    """Have both google-genai and resumekit dial a socket in memory."""

    @contextlib.asynccontextmanager
    async def ws_connect(uri: str, **_: object) -> AsyncIterator[_Socket]:  # noqa: ARG001 -- as websockets has it
        yield socket

    async def dial_websocket(uri: str, **_: object) -> _Pushed:  # noqa: ARG001 -- as the driver has it
        return _Pushed(socket)

    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch("google.genai.live.ws_connect", ws_connect))
        patches.enter_context(mock.patch("resumekit.adapters.genai.dial_websocket", dial_websocket))
        patches.enter_context(mock.patch.dict(os.environ, {"RESUMEKIT_FAST": fast}))
        if made is not None:
            messages = iter(made)

            async def receive(_: live.AsyncSession) -> types.LiveServerMessage:
                await socket.recv()
                return next(messages)

            patches.enter_context(mock.patch.object(live.AsyncSession, "_receive", receive))
        yield


async def _made(frames: Sequence[bytes]) -> list[types.LiveServerMessage]:
    """Return what google-genai makes of frames."""
    client: Any = SimpleNamespace(vertexai=False)
    socket: Any = _Socket(frames)
    socket.open.set()
    await socket.recv()  # the setup's answer
    session = live.AsyncSession(client, socket)
    return [await session._receive() for _ in frames]


class _Socket:
    """A connection in memory, for google-genai."""

    def __init__(self, frames: Sequence[bytes]) -> None:
        self.all = frames
        self._frames = iter([setup_complete(), *frames])
        self._given = 0
        self._sent = 0
        self._over = asyncio.Event()
        self.open = asyncio.Event()
        self.asked = asyncio.Event()

    async def send(self, frame: str) -> None:  # noqa: ARG002 -- what is said does not matter
        self._sent += 1
        if self._sent == 2:
            self.asked.set()

    async def recv(self, decode: bool | None = None) -> bytes:  # noqa: ARG002, FBT001 -- as websockets has it
        self._given += 1
        if self._given == 2:
            await self.open.wait()
        if self._given % _AT_ONCE == 0:
            await asyncio.sleep(0)
        frame = next(self._frames, None)
        if frame is None:
            await self._over.wait()
            raise OSError("closed")
        return frame

    async def close(self) -> None:
        self._over.set()


class _Pushed:
    """The same for the driver: what comes is pushed, as many frames in a turn of the loop."""

    def __init__(self, socket: _Socket) -> None:
        self._socket = socket
        self.send = socket.send
        self._receiver: Receiver | None = None
        self._frames = iter(socket.all)
        self._pushing: asyncio.Task[None] | None = None

    def receive(self, receiver: Receiver) -> None:
        self._receiver = receiver
        receiver.frame_received(setup_complete())
        self._pushing = asyncio.create_task(self._push())

    async def _push(self) -> None:
        await self._socket.open.wait()
        for count, frame in enumerate(self._frames, start=1):
            if self._receiver is not None:
                self._receiver.frame_received(frame)
            if count % _AT_ONCE == 0:
                await asyncio.sleep(0)

    def pause(self) -> None:
        raise AssertionError("so much is never pushed")

    def resume(self) -> None:
        pass

    async def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.connection_lost(OSError("closed"))

    def send_now(self, frame: str) -> bool:  # noqa: ARG002 -- as the protocol has it
        """Nothing goes at once."""
        return False

    async def ping(self) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    run(__doc__, measure)
