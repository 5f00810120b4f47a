"""The same applications as `tests.proofs.cancelling` has, with the real google-genai client."""

from __future__ import annotations

import functools
from typing import Any

from google import genai
from google.genai import types

from resumekit.adapters import genai as resumable
from resumekit.emulator import parse_answer
from tests.proofs.cancelling import CHUNK, BareApp, World
from tests.proofs.virtual import TLS

__all__ = ["GenaiApp"]

_AUDIO = types.Blob(data=CHUNK, mime_type="audio/pcm;rate=16000")


@functools.cache
def _client(port: int) -> genai.Client:
    options = types.HttpOptions(base_url=f"https://127.0.0.1:{port}", async_client_args={"ssl": TLS})
    return genai.Client(api_key="k", http_options=options)


class GenaiApp(BareApp):
    """What an application does with the google-genai adapter."""

    def __init__(self, world: World, **policy: Any) -> None:
        super().__init__(world, **policy)
        self._answer: Any = None

    async def _dialled_by(self) -> genai.Client:
        await self._headers()
        return _client(self.world.live.port)

    def connect(self) -> Any:
        world = self.world
        return resumable.connect(
            self._dialled_by, model="gemini-2.5-flash-live", config={"response_modalities": ["TEXT"]},
            history=self._history, key="a-key", store="slow://", plugins=[world.stores], policy=self.policy,
            on_event=world.on_event,
        )  # fmt: skip

    async def send(self, text: str, *, complete: bool = True) -> None:
        turn = types.Content(role="user", parts=[types.Part(text=text)])
        await self.world.call(lambda: self.session.send_client_content(turns=turn, turn_complete=complete))
        self.accepted(text, complete=complete)

    async def speak(self, chunks: int) -> None:
        for _ in range(chunks):
            await self.world.call(lambda: self.session.send_realtime_input(audio=_AUDIO))
            self.world.audio += CHUNK

    async def respond(self, call_id: str, name: str) -> None:
        response = types.FunctionResponse(id=call_id, name=name, response={"result": 1})
        await self.world.call(lambda: self.session.send_tool_response(function_responses=response))
        self.responded(name)

    async def _next(self) -> types.LiveServerMessage | None:
        """Take the next message of the answer; a generator that was struck is over, and another one goes on."""
        self._answer = self._answer or self.session.receive()
        try:
            return await anext(self._answer)
        except StopAsyncIteration:
            self._answer = None
            return None
        except BaseException:
            self._answer = None
            raise

    async def answer(self, text: str) -> None:
        said = ""
        while True:
            message = await self.world.call(self._next)
            if message is None:
                if (answer := parse_answer(said)) is not None and answer.is_whole:
                    break
                continue
            for call in (message.tool_call.function_calls or ()) if message.tool_call else ():
                await self.respond(call.id or "", call.name or "")
            content = message.server_content
            if content is None:
                continue
            said = "" if content.interrupted else said
            parts = (content.model_turn.parts if content.model_turn else ()) or ()
            said += "".join(part.text or "" for part in parts)
        self.heard(text, said)
