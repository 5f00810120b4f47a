"""Clients of the benchmark's server: each is opened, asks one question, and then takes as many frames as it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager
from functools import cache, partial
from typing import Any, TypeAlias
from unittest import mock

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websockets_connect

from benchmarks.server import Script

__all__ = ["CLIENTS", "Client", "Take", "cost", "plain_tcp", "websockets_and"]

Take: TypeAlias = Callable[[int], Awaitable[object]]
"""Take so many frames."""
Client: TypeAlias = Callable[[str, Script], AbstractAsyncContextManager[Take]]

_SETUP = {"setup": {"model": "models/none", "generationConfig": {"responseModalities": ["AUDIO"]}}}
_SETUP_TEXT = '{"setup":{"model":"models/none","generationConfig":{"responseModalities":["AUDIO"]}}}'
_QUESTION = '{"clientContent":{"turns":[{"role":"user","parts":[{"text":"Hello"}]}],"turnComplete":true}}'
_LARGEST = 1 << 26


def cost(
    client: Client,
    uri: str,
    script: Script,
    *,
    loop: Callable[[], asyncio.AbstractEventLoop],
    warm: int,
    count: int,
) -> float:
    """Return the microseconds of this thread's processor time that one frame takes a client.

    Args:
        client: One of `CLIENTS`.
        uri: Of the server.
        script: What it says.
        loop: Makes the event loop.
        warm: Frames that are taken before the clock starts.
        count: Frames that count.
    """

    async def take() -> float:
        async with client(uri, script) as frames:
            await frames(warm)
            start = time.thread_time()
            await frames(count)
            return (time.thread_time() - start) / count * 1e6

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(take())


@contextlib.asynccontextmanager
async def _dialled(uri: str, script: Script) -> AsyncGenerator[ClientConnection]:
    async with websockets_connect(uri + script.path, max_size=_LARGEST) as connection:
        await connection.send(_SETUP_TEXT)
        await connection.recv()
        await connection.send(_QUESTION)
        yield connection
        connection.transport.abort()  # a close waits for 10 s while frames are there that nobody takes


@contextlib.asynccontextmanager
async def _websockets(uri: str, script: Script) -> AsyncGenerator[Take]:
    async with _dialled(uri, script) as connection:

        async def take(count: int) -> None:
            recv = connection.recv
            for _ in range(count):
                await recv(decode=False)

        yield take


def websockets_and(decode: Callable[[bytes], object]) -> Client:
    """Return a client of `websockets` that hands each frame to a function, and is nothing else."""

    @contextlib.asynccontextmanager
    async def client(uri: str, script: Script) -> AsyncGenerator[Take]:
        async with _dialled(uri, script) as connection:

            async def take(count: int) -> None:
                recv = connection.recv
                for _ in range(count):
                    decode(await recv(decode=False))

            yield take

    return client


@contextlib.asynccontextmanager
async def _aiohttp(uri: str, script: Script) -> AsyncGenerator[Take]:
    import aiohttp

    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            uri + script.path, compress=15 if script.deflate else 0, max_msg_size=_LARGEST
        ) as connection,
    ):
        await connection.send_str(_SETUP_TEXT)
        await connection.receive()
        await connection.send_str(_QUESTION)

        async def take(count: int) -> None:
            receive = connection.receive
            for _ in range(count):
                _ = (await receive()).data

        yield take


@contextlib.asynccontextmanager
async def _picows(uri: str, script: Script) -> AsyncGenerator[Take]:
    import picows

    class Listener(picows.WSListener):
        wanted = 0
        done: asyncio.Future[None]

        def want(self, count: int) -> asyncio.Future[None]:
            self.done = asyncio.get_running_loop().create_future()
            self.wanted = count
            return self.done

        def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:  # noqa: ARG002
            frame.get_payload_as_bytes()
            self.wanted -= 1
            if self.wanted == 0:
                self.done.set_result(None)

    transport, listener = await picows.ws_connect(Listener, uri + script.path)
    assert isinstance(listener, Listener)
    setup = listener.want(1)
    transport.send(picows.WSMsgType.TEXT, _SETUP_TEXT.encode())
    await setup
    transport.send(picows.WSMsgType.TEXT, _QUESTION.encode())
    try:
        yield listener.want
    finally:
        transport.disconnect()


@contextlib.contextmanager
def plain_tcp(module: Any, name: str, uri: str, **options: Any) -> Generator[None]:
    """Have a module that dials by `name` dial this address, and without TLS: google-genai knows no other."""

    def connect(_: str, **arguments: Any) -> Any:
        arguments.pop("ssl", None)
        return websockets_connect(uri, **arguments, **options)

    with mock.patch.object(module, name, connect):
        yield


@contextlib.asynccontextmanager
async def _genai(uri: str, script: Script) -> AsyncGenerator[Take]:
    from google.genai import live

    with plain_tcp(live, "ws_connect", uri + script.path):
        async with _client().aio.live.connect(model="none", config=_CONFIG) as session:
            await _ask(session)
            yield _taker(session)
            session._ws.transport.abort()


@contextlib.asynccontextmanager
async def _typed(uri: str, script: Script) -> AsyncGenerator[Take]:
    from resumekit.adapters.genai import connect
    from resumekit.drivers import websocket

    with plain_tcp(websocket, "_Dial", uri + script.path):
        async with connect(_client(), model="none", config=_CONFIG) as session:
            await _ask(session)
            yield _taker(session)


@cache
def _client() -> Any:
    """One for all sessions: to make one takes longer than a thousand frames."""
    from google.genai import Client

    return Client(api_key="none")


_CONFIG: Any = {"response_modalities": ["AUDIO"]}


async def _ask(session: Any) -> None:
    turn = {"role": "user", "parts": [{"text": "Hello"}]}
    await session.send_client_content(turns=turn, turn_complete=True)


def _taker(session: Any) -> Take:
    async def take(count: int) -> None:
        taken = 0
        while taken < count:
            async for _ in session.receive():  # it ends with each turn
                taken += 1
                if taken == count:
                    break

    return take


@contextlib.asynccontextmanager
async def _session(uri: str, script: Script, *, over_picows: bool = False) -> AsyncGenerator[Any]:
    from resumekit.adapters.websockets import connect

    class OverPicows(connect):
        async def _dial(self) -> Any:
            from benchmarks import picows_transport

            return await picows_transport.dial(uri + script.path)

    async with (OverPicows if over_picows else connect)(uri + script.path, setup=_SETUP) as session:
        await session.send(_QUESTION)
        yield session


@contextlib.asynccontextmanager
async def _native(uri: str, script: Script, *, over_picows: bool = False) -> AsyncGenerator[Take]:
    async with _session(uri, script, over_picows=over_picows) as session:

        async def take(count: int) -> None:
            recv = session.recv
            for _ in range(count):
                content = (await recv()).server_content
                if content is not None and (turn := content.model_turn) is not None:
                    for part in turn.parts or ():
                        if (blob := part.inline_data) is not None:
                            _ = blob.data

        yield take


@contextlib.asynccontextmanager
async def _raw(uri: str, script: Script, *, over_picows: bool = False) -> AsyncGenerator[Take]:
    async with _session(uri, script, over_picows=over_picows) as session:

        async def take(count: int) -> None:
            recv = session.recv_bytes
            for _ in range(count):
                await recv()

        yield take


CLIENTS: dict[str, Client] = {
    "websockets": _websockets,
    "google-genai": _genai,
    "resumekit typed": _typed,
    "resumekit native": _native,
    "resumekit raw": _raw,
}
"""By name; those that are installed here."""
if importlib.util.find_spec("aiohttp"):
    CLIENTS["aiohttp"] = _aiohttp
if importlib.util.find_spec("picows"):
    CLIENTS["picows"] = _picows
    CLIENTS["resumekit native, picows"] = partial(_native, over_picows=True)
    CLIENTS["resumekit raw, picows"] = partial(_raw, over_picows=True)
