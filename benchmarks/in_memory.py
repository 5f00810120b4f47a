"""Sessions whose service is a list of frames in this process: all that a client does, and no socket.

What such a session does is the same at each run, so that its instructions can be counted.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeAlias

from benchmarks.frames import setup_complete

__all__ = ["BARE", "Take", "loops"]

BARE = "nothing but the frames"
Take: TypeAlias = Callable[[int], Coroutine[object, object, None]]

_BATCH = 10
"""Frames that come in one turn of the event loop, as with one read of a socket that is full."""
_SETUP = '{"setup":{"model":"models/none","generationConfig":{"responseModalities":["AUDIO"]}}}'
_CONFIG: Any = {"response_modalities": ["AUDIO"]}


class _Memory:
    """A connection as google-genai and as the driver take it: says these frames again and again."""

    def __init__(self, frames: Sequence[bytes]) -> None:
        self._frames = itertools.cycle(frames)
        self._left = 0
        self._asked = asyncio.Event()
        self.recv = self._recv_setup

    async def send(self, frame: str) -> None:
        if not frame.startswith('{"setup"'):
            self._asked.set()

    async def _recv_setup(self, *, decode: bool = False) -> bytes:  # noqa: ARG002 -- as websockets has it
        self.recv = self._recv_first
        return setup_complete()

    async def _recv_first(self, *, decode: bool = False) -> bytes:  # noqa: ARG002
        await self._asked.wait()
        self.recv = self._recv
        return await self._recv()

    async def _recv(self, *, decode: bool = False) -> bytes:  # noqa: ARG002
        if not self._left:
            self._left = _BATCH
            await asyncio.sleep(0)
        self._left -= 1
        return next(self._frames)

    async def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        pass

    def send_now(self, frame: str) -> bool:  # noqa: ARG002 -- as the protocol has it
        """Nothing goes at once."""
        return False

    async def ping(self) -> Awaitable[object]:
        raise ConnectionError("nobody is there to answer")


def loops(frames: Sequence[bytes]) -> dict[str, Callable[[int], object]]:
    """Return functions that take so many frames, by who takes them; each has a session and an event loop of its own."""
    return {
        name: _loop(asyncio.Runner(), take)
        for name, take in {
            BARE: _bare(frames),
            "google-genai": _genai(frames),
            "resumekit typed": _typed(frames),
            "resumekit native": _native(frames, raw=False),
            "resumekit raw": _native(frames, raw=True),
        }.items()
    }


def _loop(runner: asyncio.Runner, opening: Coroutine[object, object, Take]) -> Callable[[int], object]:
    take = runner.run(opening)
    return lambda count: runner.run(take(count))


async def _bare(frames: Sequence[bytes]) -> Take:
    memory = _Memory(frames)
    await memory.recv()
    await memory.send("")

    async def take(count: int) -> None:
        for _ in range(count):
            await memory.recv(decode=False)

    return take


async def _genai(frames: Sequence[bytes]) -> Take:
    from google.genai import Client
    from google.genai.live import AsyncSession

    memory = _Memory(frames)
    await memory.recv()
    client: Any = Client(api_key="none")
    session = AsyncSession(client._api_client, memory)  # type: ignore[arg-type]
    return await _ask(session)


async def _typed(frames: Sequence[bytes]) -> Take:
    from google.genai import Client

    from resumekit.adapters.genai import connect

    class InMemory(connect):
        async def _dial(self) -> Any:
            return _Memory(frames)

    return await _ask(await InMemory(Client(api_key="none"), model="none", config=_CONFIG).__aenter__())


async def _ask(session: Any) -> Take:
    await session.send_client_content(turns={"role": "user", "parts": [{"text": "Hello"}]}, turn_complete=True)

    async def take(count: int) -> None:
        left = count
        async for _ in session.receive():
            left -= 1
            if not left:
                break

    return take


async def _native(frames: Sequence[bytes], *, raw: bool) -> Take:
    from resumekit.adapters.websockets import connect

    class InMemory(connect):
        async def _dial(self) -> Any:
            return _Memory(frames)

    session = await InMemory("ws://none", setup=_SETUP).__aenter__()
    await session.send(
        {"clientContent": {"turns": [{"role": "user", "parts": [{"text": "Hello"}]}], "turnComplete": True}}
    )

    async def take_bytes(count: int) -> None:
        recv = session.recv_bytes
        for _ in range(count):
            await recv()

    async def take(count: int) -> None:
        recv = session.recv
        for _ in range(count):
            _ = (await recv()).server_content.model_turn.parts[0].inline_data.data  # type: ignore[union-attr,index]

    return take_bytes if raw else take
