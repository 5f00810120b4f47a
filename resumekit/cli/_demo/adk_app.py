"""The two apps with ADK: an agent with a tool, a Runner, a task that takes its events. What differs is the model."""

from __future__ import annotations

import asyncio
import logging
import time
import warnings
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from google.genai import types

from resumekit.adapters.adk import ResumableGemini
from resumekit.cli._adk import model_with_client
from resumekit.cli._demo.apps import App, Ask
from resumekit.cli._demo.script import TIMETABLE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # ADK's own
    from google.adk.agents import Agent, LiveRequestQueue
    from google.adk.agents.run_config import RunConfig
    from google.adk.models import Gemini
    from google.adk.runners import Runner
    from google.adk.sessions import InMemorySessionService

if TYPE_CHECKING:
    from google.adk.events import Event

    from resumekit.cli._demo.recording import Turn

__all__ = ["CLIENT", "AdkApp"]

CLIENT = f"google-adk {version('google-adk')}"
_LOOK_UP = 3.0
"""Seconds of the service that the tool takes."""
_PATIENCE = 20.0
"""Seconds of the service that one user still waits when the other has the answer."""
_LONGEST = 300.0
"""Seconds of the service after which the other one, too, would give up."""
_LOOK_EVERY = 0.05
"""Real seconds."""
_KEEPALIVE = {"ping_interval": 20.0, "ping_timeout": 20.0, "close_timeout": 10.0}
"""The defaults of websockets, with which plain ADK notices a dead line."""


class RunEnded(Exception):
    """`run_live` came to its end, and said nothing."""


class AdkApp(App):
    """With ADK."""

    ends_with = (*App.ends_with, ValueError, RunEnded)  # ADK 2.0 raises a ValueError as it dials again

    _turn: Turn

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[Ask, None]:
        """Start the run."""
        logging.getLogger("google_adk").addHandler(logging.NullHandler())  # the demo tells what happens
        warnings.simplefilter("ignore")
        queue = LiveRequestQueue()
        listening = asyncio.create_task(self._listen(queue))
        try:
            yield partial(self._ask, queue, listening)
        finally:
            queue.close()
            listening.cancel()
            await asyncio.wait([listening])

    async def _listen(self, queue: LiveRequestQueue) -> None:
        agent = Agent(name="guide", model=self._model(), instruction="You know Oslo.", tools=[self._tool()])
        runner = Runner(app_name="demo", agent=agent, session_service=InMemorySessionService())
        session = await runner.session_service.create_session(app_name="demo", user_id="user")
        config = RunConfig(
            response_modalities=[types.Modality.AUDIO],
            output_audio_transcription=types.AudioTranscriptionConfig(),
            session_resumption=types.SessionResumptionConfig(),
        )
        run = runner.run_live(user_id="user", session_id=session.id, live_request_queue=queue, run_config=config)
        try:
            async with aclosing(run) as events:
                async for event in events:
                    self._hear(event)
        except self.ends_with:
            self.lane.died_at = time.time()
            raise

    def _model(self) -> Gemini:
        if self.lane is self.recording.plain:
            keepalive = {option: seconds * self.recording.time_scale for option, seconds in _KEEPALIVE.items()}
            return model_with_client(Gemini, self.client(**keepalive), model=self.recording.model)
        return model_with_client(
            ResumableGemini,
            self.client(),
            model=self.recording.model,
            policy=self.policy,
            on_event=self.note,
            trace=self.recording.trace,
        )

    def _tool(self) -> Callable[..., Any]:
        async def timetable(to: str) -> dict[str, str]:  # noqa: ARG001 -- the model's argument
            """Look the next ferry up."""
            turn = next(turn for turn in reversed(self.lane.turns) if turn.scene.response)
            ran, began = turn.tool_ran, time.time()
            ran.append((began, began))
            await asyncio.sleep(_LOOK_UP * self.recording.time_scale)
            ran[-1] = (began, time.time())
            return TIMETABLE

        return timetable

    async def _ask(self, queue: LiveRequestQueue, listening: asyncio.Task[None], turn: Turn) -> None:
        self._turn = turn
        queue.send_content(types.Content(role="user", parts=[types.Part(text=turn.question)]))
        while turn.answered_at is None:
            await asyncio.wait({listening}, timeout=_LOOK_EVERY)
            if listening.done():
                listening.result()
                raise RunEnded("run_live is over, without an error")
            if self._has_no_patience(turn):
                turn.gave_up_at = time.time()
                return

    def _hear(self, event: Event) -> None:
        turn = self._turn
        turn.last_heard_at = time.time()
        # ADK gives a transcription in pieces, and then once more as a whole.
        transcription = event.output_transcription if event.partial else None
        self.play(turn, interrupted=event.interrupted, transcription=transcription, content=event.content)
        if not event.turn_complete or not turn.text:
            return
        if turn.text.endswith("one moment"):  # the model calls a tool, and has more to say: a turn of its own
            turn.before_tool += turn.audio
            turn.audio.clear()
        else:
            turn.answered_at = time.time()

    def _has_no_patience(self, turn: Turn) -> bool:
        scale = self.recording.time_scale
        if self.lane is self.recording.resumed:
            return time.time() - turn.asked_at > _LONGEST * scale
        others = self.recording.resumed.turns[turn.number - 1 : turn.number]
        answered_at = others[0].answered_at if others else None
        return answered_at is not None and time.time() - answered_at > _PATIENCE * scale
