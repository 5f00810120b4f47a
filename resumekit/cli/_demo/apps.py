"""The two apps. Their conversation is one and the same code; what differs is how the session is opened.

Here with google-genai; `adk_app` has those of ADK.
"""

from __future__ import annotations

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from google import genai
from google.auth.credentials import AnonymousCredentials
from google.genai import errors, types
from websockets.exceptions import WebSocketException

from resumekit.adapters import genai as resumable
from resumekit.cli._demo.recording import Lane, Recording, Turn
from resumekit.cli._demo.script import Scene, armed
from resumekit.core.policy import Policy
from resumekit.emulator import EmulatorProcess, model_profile
from resumekit.errors import ResumekitError

if TYPE_CHECKING:
    from google.genai.live import AsyncSession

    from resumekit.core.events import Event
    from resumekit.emulator import Backend, ToolTurns

__all__ = ["App", "Ask", "GenaiApp", "perform"]

Ask: TypeAlias = Callable[[Turn], Awaitable[None]]
"""Puts a question, and comes back when the turn has its answer."""

_PAUSE = 3.0
"""Seconds of the service between an answer and the next question: the user takes a breath."""
_WATCH_EVERY = 0.1
"""Real seconds between two looks at the servers."""
_CONFIG = types.LiveConnectConfig(
    response_modalities=[types.Modality.AUDIO], output_audio_transcription=types.AudioTranscriptionConfig()
)


class _Token(AnonymousCredentials):
    """Stands in for the credentials of a Google Cloud account: the emulator takes any."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.token = "demo"  # noqa: S105 -- of nothing


class App(ABC):
    """A voice assistant's loop: ask, play the answer, ask the next."""

    ends_with: ClassVar[tuple[type[Exception], ...]] = (errors.APIError, WebSocketException, OSError, ResumekitError)
    """What a broken session raises."""

    def __init__(self, recording: Recording, lane: Lane, emulator: EmulatorProcess, together: asyncio.Barrier) -> None:
        self.recording = recording
        self.lane = lane
        self._emulator = emulator
        self._together = together

    async def run(self) -> None:
        """Go through the script; whatever ends it early ends it for good, as in an app that handles no disconnects."""
        try:
            async with self.session() as ask:
                for scene in self.recording.script:
                    await self._user_is_ready()
                    await ask(await self._begin(scene))
                await self._pause()
                self.lane.ended_at = time.time()
        except self.ends_with as error:
            self.lane.died_at = self.lane.died_at or time.time()
            self.lane.error = f"{type(error).__name__}: {error}"
        for scene in self.recording.script[len(self.lane.turns) :]:
            await self._user_is_ready()
            now = time.time()
            self.lane.turns.append(Turn(len(self.lane.turns) + 1, scene, now, now))

    @abstractmethod
    def session(self) -> AbstractAsyncContextManager[Ask]:
        """Open the session."""

    def client(self, **options: object) -> genai.Client:
        """Return a client that finds the emulator; `options` are for its connections."""
        http_options = types.HttpOptions(
            base_url=self._emulator.base_url,
            async_client_args={"ssl": self._emulator.client_ssl_context(), **options},
        )
        if self.recording.profile == "vertex":
            return genai.Client(
                vertexai=True, project="demo", location="us-central1", credentials=_Token(), http_options=http_options
            )
        return genai.Client(api_key="demo", http_options=http_options)

    @property
    def policy(self) -> Policy:
        """Resumekit's defaults, as fast as the service."""
        return Policy().scaled(self.recording.time_scale)

    @staticmethod
    def play(
        turn: Turn,
        *,
        interrupted: bool | None,
        transcription: types.Transcription | None,
        content: types.Content | None,
    ) -> None:
        """Play what came, and show its words."""
        if interrupted:  # flush: what every Live app does when it hears this
            turn.restarts.append((time.time(), turn.text))
            turn.text = ""
            turn.audio.clear()
            turn.before_tool.clear()
        if transcription is not None:
            turn.text += transcription.text or ""
        for part in (content and content.parts) or []:
            if part.inline_data is not None:
                turn.audio += part.inline_data.data or b""

    # --- what a real app has no part in ---------------------------------------------------------------------------

    async def _user_is_ready(self) -> None:
        """Wait until both users want to ask: so the two columns stay side by side."""
        await self._pause()
        await self._together.wait()

    async def _begin(self, scene: Scene) -> Turn:
        turn = Turn(len(self.lane.turns) + 1, scene, time.time(), 0.0)
        for strike in scene.strikes:
            events, connections = await self._emulator.events(), await self._emulator.connections()
            await self._emulator.inject(armed(strike.fault, events, connections))
        turn.asked_at = time.time()
        self.lane.turns.append(turn)
        return turn

    async def _pause(self) -> None:
        await asyncio.sleep(_PAUSE * self.recording.time_scale)

    def note(self, event: Event) -> None:
        """Note what resumekit told."""
        self.lane.events.append((time.time(), event))


class GenaiApp(App):
    """With google-genai."""

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[Ask, None]:
        """Connect."""
        async with self._connect() as session:
            yield partial(self._ask, session)

    def _connect(self) -> AbstractAsyncContextManager[AsyncSession]:
        model = self.recording.model
        if self.lane is self.recording.plain:
            return self.client().aio.live.connect(model=model, config=_CONFIG)
        return resumable.connect(
            self.client(),
            model=model,
            config=_CONFIG,
            policy=self.policy,
            on_event=self.note,
            trace=self.recording.trace,
        )

    async def _ask(self, session: AsyncSession, turn: Turn) -> None:
        if model_profile(self.recording.model).text_in_mid_session == "realtime":
            await session.send_realtime_input(text=turn.question)  # pyright: ignore[reportUnknownMemberType]
        else:
            await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text=turn.question)]))
        async for message in session.receive():
            turn.last_heard_at = time.time()
            content = message.server_content
            if content is not None:
                self.play(
                    turn,
                    interrupted=content.interrupted,
                    transcription=content.output_transcription,
                    content=content.model_turn,
                )
        turn.answered_at = time.time()


async def _watch(lane: Lane, emulator: EmulatorProcess) -> None:
    lane.service = await emulator.events()
    lane.connections = await emulator.connections()


async def perform(
    recording: Recording, *, seed: int, show: Callable[[Recording, float], None], app: type[App] = GenaiApp
) -> None:
    """Play the script with both clients, each against an emulator of its own, and fill the recording in.

    Args:
        seed: Of the servers' handles and ids, and of resumekit's jitter.
        show: Called again and again with the recording and a moment: everything until then is in it.
        app: What talks to the service.
    """
    random.seed(seed)
    plain, resumed = recording.lanes
    async with _emulator(recording, seed) as first, _emulator(recording, seed) as second:
        recording.started_at = time.time()
        pairs = ((plain, first), (resumed, second))
        together = asyncio.Barrier(2)

        async def watch() -> None:
            until = time.time()
            for lane, emulator in pairs:
                await _watch(lane, emulator)
            show(recording, until)

        async with asyncio.TaskGroup() as group:
            apps = [group.create_task(app(recording, *pair, together).run()) for pair in pairs]
            while not all(running.done() for running in apps):
                await watch()
                await asyncio.wait(apps, timeout=_WATCH_EVERY)
        recording.ended_at = time.time()
        for lane, emulator in pairs:
            lane.ended_at = lane.ended_at or recording.ended_at
            lane.report = await emulator.ledger_report(lane.sent)
        await watch()
        show(recording, time.time())


def _emulator(recording: Recording, seed: int) -> EmulatorProcess:
    profile: Backend = "vertex" if recording.profile == "vertex" else "developer"
    # Models before 3 end their turn with a call; ADK relies on it.
    tool_turns: ToolTurns = "at_end" if model_profile(recording.model).family == "2.5" else "joined"
    return EmulatorProcess(
        profile=profile,
        model=recording.model,
        tool_turns=tool_turns,
        time_scale=recording.time_scale,
        seed=seed,
        connection_age=None,
        output_chunks=8,
        audio_seconds=5.0,
        audio_speed=1.0,
        audio_frame_ms=100,
    )
