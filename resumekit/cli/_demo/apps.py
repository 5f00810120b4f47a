"""The two apps. Their conversation is one and the same code; what differs is how the session is opened."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

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
    from collections.abc import Callable

    from google.genai.live import AsyncSession

    from resumekit.core.events import Event
    from resumekit.emulator import Backend

__all__ = ["perform"]

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


class App:
    """A voice assistant's loop: ask, play the answer, ask the next."""

    def __init__(self, recording: Recording, lane: Lane, emulator: EmulatorProcess, together: asyncio.Barrier) -> None:
        self._recording = recording
        self._lane = lane
        self._emulator = emulator
        self._together = together

    async def run(self) -> None:
        """Go through the script; whatever ends it early ends it for good, as in an app that handles no disconnects."""
        try:
            async with self._connect() as session:
                for scene in self._recording.script:
                    await self._user_is_ready()
                    await self._ask(session, await self._begin(scene))
                await self._pause()
                self._lane.ended_at = time.time()
        except (errors.APIError, WebSocketException, OSError, ResumekitError) as error:
            self._lane.died_at = time.time()
            self._lane.error = f"{type(error).__name__}: {error}"
        for scene in self._recording.script[len(self._lane.turns) :]:
            await self._user_is_ready()
            now = time.time()
            self._lane.turns.append(Turn(len(self._lane.turns) + 1, scene, now, now))

    def _connect(self) -> AbstractAsyncContextManager[AsyncSession]:
        client = self._client()
        model = self._recording.model
        if self._lane is self._recording.plain:
            return client.aio.live.connect(model=model, config=_CONFIG)
        policy = Policy().scaled(self._recording.time_scale)
        return resumable.connect(client, model=model, config=_CONFIG, policy=policy, on_event=self._note)

    def _client(self) -> genai.Client:
        options = types.HttpOptions(
            base_url=self._emulator.base_url, async_client_args={"ssl": self._emulator.client_ssl_context()}
        )
        if self._recording.profile == "vertex":
            return genai.Client(
                vertexai=True, project="demo", location="us-central1", credentials=_Token(), http_options=options
            )
        return genai.Client(api_key="demo", http_options=options)

    async def _ask(self, session: AsyncSession, turn: Turn) -> None:
        if model_profile(self._recording.model).text_in_mid_session == "realtime":
            await session.send_realtime_input(text=turn.question)  # pyright: ignore[reportUnknownMemberType]
        else:
            await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text=turn.question)]))
        async for message in session.receive():
            self._play(turn, message.server_content)
        turn.answered_at = time.time()

    def _play(self, turn: Turn, content: types.LiveServerContent | None) -> None:
        turn.last_heard_at = time.time()
        if content is None:
            return
        if content.interrupted:  # flush: what every Live app does when it hears this
            turn.restarts.append((time.time(), turn.text))
            turn.text = ""
            turn.audio.clear()
        if content.output_transcription is not None:
            turn.text += content.output_transcription.text or ""
        for part in (content.model_turn and content.model_turn.parts) or []:
            if part.inline_data is not None:
                turn.audio += part.inline_data.data or b""

    # --- what a real app has no part in ---------------------------------------------------------------------------

    async def _user_is_ready(self) -> None:
        """Wait until both users want to ask: so the two columns stay side by side."""
        await self._pause()
        await self._together.wait()

    async def _begin(self, scene: Scene) -> Turn:
        turn = Turn(len(self._lane.turns) + 1, scene, time.time(), 0.0)
        for strike in scene.strikes:
            events, connections = await self._emulator.events(), await self._emulator.connections()
            await self._emulator.inject(armed(strike.fault, events, connections))
        turn.asked_at = time.time()
        self._lane.turns.append(turn)
        return turn

    async def _pause(self) -> None:
        await asyncio.sleep(_PAUSE * self._recording.time_scale)

    def _note(self, event: Event) -> None:
        self._lane.events.append((time.time(), event))


async def _watch(lane: Lane, emulator: EmulatorProcess) -> None:
    lane.service = await emulator.events()
    lane.connections = await emulator.connections()


async def perform(recording: Recording, *, seed: int, show: Callable[[Recording, float], None]) -> None:
    """Play the script with both clients, each against an emulator of its own, and fill the recording in.

    Args:
        seed: Of the servers' handles and ids, and of resumekit's jitter.
        show: Called again and again with the recording and a moment: everything until then is in it.
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
            apps = [group.create_task(App(recording, *pair, together).run()) for pair in pairs]
            while not all(app.done() for app in apps):
                await watch()
                await asyncio.wait(apps, timeout=_WATCH_EVERY)
        recording.ended_at = time.time()
        for lane, emulator in pairs:
            lane.ended_at = lane.ended_at or recording.ended_at
            lane.report = await emulator.ledger_report(lane.asked)
        await watch()
        show(recording, time.time())


def _emulator(recording: Recording, seed: int) -> EmulatorProcess:
    profile: Backend = "vertex" if recording.profile == "vertex" else "developer"
    return EmulatorProcess(
        profile=profile,
        model=recording.model,
        time_scale=recording.time_scale,
        seed=seed,
        connection_age=None,
        output_chunks=8,
        audio_seconds=5.0,
        audio_speed=1.0,
        audio_frame_ms=100,
    )
