"""A client that shows the wire as it is: no google-genai, no resumekit, only websockets and JSON."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from resumekit.emulator import LiveServer

PATHS = {
    "developer": "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
    "vertex": "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent",
}
HEADERS = {"developer": {"x-goog-api-key": "k"}, "vertex": {"Authorization": "Bearer tok"}}
MODEL = {"2.5": "models/gemini-2.5-flash-live", "3.x": "models/gemini-3.1-flash-live"}
FAST = {"time_scale": 0.02, "connection_age": None}


def server(**settings) -> LiveServer:
    """Return a fast server whose connections do not age, if not told otherwise."""
    return LiveServer(**{**FAST, **settings})


class Wire:
    """One connection, frame by frame."""

    def __init__(self, socket) -> None:
        self.socket = socket
        self.frames: list[dict] = []
        self.payloads: list[bytes | str] = []

    async def send(self, message) -> None:
        await self.socket.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def recv(self, timeout=60) -> dict:
        async with asyncio.timeout(timeout):
            data = await self.socket.recv()
        self.payloads.append(data)
        self.frames.append(json.loads(data))
        return self.frames[-1]

    async def setup(self, *, handle=None, transparent=None, model=MODEL["2.5"], text=True, resumption=True, **config):
        body = {"model": model, "generationConfig": {"responseModalities": ["TEXT" if text else "AUDIO"]}, **config}
        if resumption:
            given = {"handle": handle, "transparent": transparent}
            body["sessionResumption"] = {name: value for name, value in given.items() if value is not None}
        await self.send({"setup": body})
        return await self.recv()

    async def content(self, text, *, complete=True, role="user") -> None:
        turns = [{"role": role, "parts": [{"text": text}]}] if text else []
        await self.send({"client_content": {"turns": turns, "turnComplete": complete}})

    async def live(self, text) -> None:
        await self.send({"realtime_input": {"text": text}})

    async def audio(self, pcm, *, chunk=1280) -> None:
        for at in range(0, len(pcm), chunk):
            data = base64.urlsafe_b64encode(pcm[at : at + chunk]).decode()
            await self.send({"realtime_input": {"audio": {"data": data, "mimeType": "audio/pcm;rate=16000"}}})

    async def respond(self, call, response=None) -> None:
        answer = {"id": call["id"], "name": call["name"], "response": response or {"ok": True}}
        await self.send({"tool_response": {"functionResponses": [answer]}})

    async def until(self, found, timeout=60) -> list[dict]:
        """Receive until a frame is what is looked for; returns all of them."""
        frames = [await self.recv(timeout)]
        while not found(frames[-1]):
            frames.append(await self.recv(timeout))
        return frames

    async def turn(self) -> list[dict]:
        return await self.until(turn_complete)

    async def calls(self) -> list[dict]:
        frames = await self.until(lambda frame: "toolCall" in frame)
        return frames[-1]["toolCall"]["functionCalls"]

    async def handle(self) -> str:
        frames = await self.until(lambda frame: "newHandle" in frame.get("sessionResumptionUpdate", {}))
        return frames[-1]["sessionResumptionUpdate"]["newHandle"]

    async def ask(self, text) -> str:
        """Ask and return the whole answer."""
        await self.content(text)
        return said(await self.turn())

    async def closed(self, timeout=60) -> tuple[int, str]:
        """Receive to the end; returns code and reason, 1006 for an abrupt one."""
        with contextlib.suppress(json.JSONDecodeError, UnicodeDecodeError):
            while True:
                try:
                    await self.recv(timeout)
                except ConnectionClosed as error:
                    close = error.rcvd
                    return (close.code, close.reason) if close else (1006, "")
        return await self.closed(timeout)

    async def silent(self, seconds) -> bool:
        """Tell whether nothing comes for so long (real seconds)."""
        try:
            await self.recv(seconds)
        except TimeoutError:
            return True
        return False


def turn_complete(frame) -> bool:
    return "turnComplete" in frame.get("serverContent", {})


def said(frames) -> str:
    parts = [part for frame in frames for part in frame.get("serverContent", {}).get("modelTurn", {}).get("parts", [])]
    return "".join(part.get("text", "") for part in parts if not part.get("thought"))


def kinds(frames) -> list[str]:
    """Return what each frame is: the first key, and within serverContent the first key there."""
    names = []
    for frame in frames:
        name = next(iter(frame))
        names.append(next(iter(frame[name])) if name == "serverContent" else name)
    return names


@contextlib.asynccontextmanager
async def dial(server, *, headers=None, path=None, **options):
    """Dial as far as the upgrade; yields a `Wire`, and never closes politely what a test has left open."""
    profile = server.settings.profile
    socket = await connect(
        f"wss://{server.host}:{server.port}{path or PATHS[profile]}",
        ssl=server.client_ssl_context(),
        additional_headers=HEADERS[profile] if headers is None else headers,
        compression=None,
        **{"ping_interval": None, "close_timeout": 1, "max_size": None, **options},
    )
    try:
        yield Wire(socket)
    finally:
        await socket.close()


@contextlib.asynccontextmanager
async def session(server, **setup):
    """Dial and set up; yields a `Wire` that is bound."""
    async with dial(server) as wire:
        await wire.setup(**setup)
        yield wire
