"""Sessions whose service is a list of frames in this process: all that a client does, and no socket.

What such a session does is the same at each run, so that its instructions can be counted.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeAlias

from benchmarks.frames import setup_complete
from resumekit.drivers import Receiver

__all__ = ["BARE", "Take", "loops"]

BARE = "nothing but the frames"
Take: TypeAlias = Callable[[int], Coroutine[object, object, None]]

_BATCH = 10
"""Frames that come in one turn of the event loop, as with one read of a socket that is full."""
_SETUP = '{"setup":{"model":"models/none","generationConfig":{"responseModalities":["AUDIO"]}}}'
_CONFIG: Any = {"response_modalities": ["AUDIO"]}


class _Memory:
    """A connection as google-genai takes it: says these frames again and again."""

    def __init__(self, frames: Sequence[bytes]) -> None:
        self._frames = itertools.cycle(frames)
        self._left = 0

    async def send(self, frame: str) -> None:
        pass

    async def recv(self, *, decode: bool = False) -> bytes:  # noqa: ARG002 -- as websockets has it
        if not self._left:
            self._left = _BATCH
            await asyncio.sleep(0)
        self._left -= 1
        return next(self._frames)


class _Pushed:
    """A connection as the driver takes it; it says as many frames as it is told to."""

    def __init__(self, frames: Sequence[bytes]) -> None:
        self._frames = itertools.cycle(frames)
        self._left = 0
        self._receiver: Receiver

    def receive(self, receiver: Receiver) -> None:
        self._receiver = receiver
        receiver.frame_received(setup_complete())

    def push(self, count: int) -> None:
        self._left = count
        asyncio.get_running_loop().call_soon(self._push)

    def _push(self) -> None:
        receive = self._receiver.frame_received
        for _ in range(min(_BATCH, self._left)):
            receive(next(self._frames))
        self._left -= _BATCH
        if self._left > 0:
            asyncio.get_running_loop().call_soon(self._push)

    def pause(self) -> None:
        raise AssertionError("so much is never pushed at a time")

    def resume(self) -> None:
        pass

    async def send(self, frame: str) -> None:
        pass

    def send_now(self, frame: str) -> bool:  # noqa: ARG002 -- as the protocol has it
        """Nothing goes at once."""
        return False

    async def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        self._receiver.connection_lost(ConnectionError("closed"))

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

    async def take(count: int) -> None:
        for _ in range(count):
            await memory.recv(decode=False)

    return take


async def _genai(frames: Sequence[bytes]) -> Take:
    from google.genai import Client
    from google.genai.live import AsyncSession

    client: Any = Client(api_key="none")
    return await _ask(AsyncSession(client._api_client, _Memory(frames)), lambda _: None)  # type: ignore[arg-type]


async def _typed(frames: Sequence[bytes]) -> Take:
    from google.genai import Client

    from resumekit.adapters.genai import connect

    memory = _Pushed(frames)

    class InMemory(connect):
        async def _dial(self) -> Any:
            return memory

    return await _ask(await InMemory(Client(api_key="none"), model="none", config=_CONFIG).__aenter__(), memory.push)


async def _ask(session: Any, push: Callable[[int], None]) -> Take:
    await session.send_client_content(turns={"role": "user", "parts": [{"text": "Hello"}]}, turn_complete=True)

    async def take(count: int) -> None:
        push(count)
        left = count
        async for _ in session.receive():
            left -= 1
            if not left:
                break

    return take


async def _native(frames: Sequence[bytes], *, raw: bool) -> Take:
    from resumekit.adapters.websockets import connect

    memory = _Pushed(frames)

    class InMemory(connect):
        async def _dial(self) -> Any:
            return memory

    session = await InMemory("ws://none", setup=_SETUP).__aenter__()
    await session.send(
        {"clientContent": {"turns": [{"role": "user", "parts": [{"text": "Hello"}]}], "turnComplete": True}}
    )

    async def take_bytes(count: int) -> None:
        memory.push(count)
        recv = session.recv_bytes
        for _ in range(count):
            await recv()

    async def take(count: int) -> None:
        memory.push(count)
        recv = session.recv
        for _ in range(count):
            _ = (await recv()).server_content.model_turn.parts[0].inline_data.data  # type: ignore[union-attr,index]

    return take_bytes if raw else take
