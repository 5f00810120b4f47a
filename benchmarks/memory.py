"""What does a session take of memory: idle, after use, and while there is no connection?

Each contender is a process of its own, whose resident memory is read before and after its sessions are opened. Idle means
that nobody waits for a frame; a task that waits in each session belongs to the application, and is counted in a case of its
own. Unless it is said otherwise, nobody compresses, and what a client does by default it does here: `websockets` and
google-genai look after a connection by a task that pings.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

from websockets.asyncio.client import connect as websockets_connect
from websockets.asyncio.server import ServerConnection, serve

from benchmarks import frames
from benchmarks.clients import plain_tcp
from benchmarks.harness import ROOT, Bench, child, run

ENVIRONMENTS = ["bench"]
BARE, KEEPALIVE, DEFLATE, PICOWS = "websockets", "websockets, no keepalive", "websockets, deflate", "picows"
PLAIN, PLAIN_DEFLATE = "google-genai", "google-genai, deflate"
NATIVE, TYPED = "resumekit, bare", "resumekit, google-genai"
IDLE, WAITING = "idle sessions, nobody waits", "idle sessions, a task waits in each"
USE, OUTAGE = "sessions after 200 turns", "a minute of speech without a connection"
TURNS, PIECES = 200, 10
"""Turns of a conversation, and pieces of sound in each answer."""
OUTAGE_FRAMES = 3000
"""Of 20 ms: a minute of speech, twice what `Policy.audio_seconds` keeps."""
_WARM, _AT_ONCE = 21, 20
"""Sessions that are opened before the first reading: what they bring is not a session's."""

_MODEL = "models/gemini-2.5-flash-native-audio"
_SETUP: Any = {"model": _MODEL, "generationConfig": {"responseModalities": ["AUDIO"]}}
_CONFIG: Any = {"response_modalities": ["AUDIO"]}
_ANSWER = (*frames.audio(PIECES), frames.dump({"serverContent": {"turnComplete": True}}))
_TURN: Any = {"role": "user", "parts": [{"text": "Hello"}]}
_QUESTION = json.dumps({"clientContent": {"turns": [_TURN], "turnComplete": True}})
_PCM = "audio/pcm;rate=16000"


def measure(bench: Bench) -> None:
    """Open sessions by the hundred, in a process for each contender."""
    rounds = 1 if bench.quick else 5
    take = partial(_take, bench, rounds=rounds)
    contenders = (BARE, KEEPALIVE, DEFLATE, PICOWS, PLAIN, PLAIN_DEFLATE, NATIVE, TYPED)
    counts = (1, 100) if bench.quick else (1, 100, 1000)
    for count in counts:
        take(IDLE, contenders, count)
    take(WAITING, contenders, counts[-1])
    take(USE, (BARE, PLAIN, NATIVE, TYPED), 10 if bench.quick else 50)
    take(OUTAGE, (NATIVE, TYPED), 5 if bench.quick else 20)


def _take(bench: Bench, case: str, contenders: tuple[str, ...], count: int, *, rounds: int) -> None:
    samples: dict[str, list[float]] = {}
    whole: dict[str, list[float]] = {}
    for _ in range(rounds):
        for contender in contenders:
            if bench.wanted(case, contender):
                before, after = child("benchmarks.memory", "--as", contender, case, str(count))
                samples.setdefault(contender, []).append((after - before) / count)
                whole.setdefault(contender, []).append(after / 1000)
    for contender, taken in samples.items():
        bench.add(case, contender, taken, unit="KiB/session", x=count)
        if count >= 1000:
            bench.add(f"process with {count:,} {case}", contender, whole[contender], unit="MB", x=count)


# ------------------------------------------------------------------ the other end


async def _answer(connection: ServerConnection) -> None:
    await connection.recv()
    await connection.send(frames.setup_complete())
    handles = 0
    async for _ in connection:
        for frame in _ANSWER:
            await connection.send(frame)
        handles += 1
        update = {"newHandle": f"a-handle-of-about-the-usual-length-{handles}", "resumable": True}
        await connection.send(frames.dump({"sessionResumptionUpdate": update}))


async def _serve(*, deflate: bool) -> None:
    compression = "deflate" if deflate else None
    async with serve(_answer, "127.0.0.1", 0, compression=compression, ping_interval=None, backlog=1000) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)
    os._exit(0)


# ------------------------------------------------------------------ the clients


class Client(NamedTuple):
    """A session, whoever made it."""

    owner: object
    """To be kept alive."""
    recv: Callable[[], Awaitable[object]]
    """Waits for the next frame."""
    say: Callable[[], Awaitable[object]]
    """Asks a question."""
    speak: Callable[[bytes], Awaitable[object]] | None = None
    """Sends sound."""


async def _websockets(uri: str, **options: Any) -> Client:
    connection = await websockets_connect(uri, proxy=None, **options)
    await connection.send(json.dumps({"setup": _SETUP}))
    await connection.recv()
    return Client(connection, connection.recv, partial(connection.send, _QUESTION))


async def _picows(uri: str) -> Client:
    import picows

    class Listener(picows.WSListener):
        frame: asyncio.Future[bytes]

        def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:  # noqa: ARG002
            self.frame.set_result(frame.get_payload_as_bytes())

        def next(self) -> asyncio.Future[bytes]:
            self.frame = asyncio.get_running_loop().create_future()
            return self.frame

    transport, listener = await picows.ws_connect(Listener, uri)
    assert isinstance(listener, Listener)
    setup = listener.next()
    transport.send(picows.WSMsgType.TEXT, json.dumps({"setup": _SETUP}).encode())
    await setup
    return Client((transport, listener), listener.next, asyncio.Event().wait)


async def _native(uri: str) -> Client:
    from resumekit.adapters.websockets import connect

    session = await connect(uri, setup=_SETUP, compression=None).__aenter__()

    def speak(sound: bytes) -> Awaitable[object]:
        audio = {"data": base64.b64encode(sound).decode(), "mimeType": _PCM}
        return session.send({"realtimeInput": {"audio": audio}})

    return Client(session, session.recv, partial(session.send, _QUESTION), speak)


async def _genai(uri: str, *, ours: bool, **options: Any) -> Client:
    from google.genai import Client as Account
    from google.genai import live

    from resumekit.adapters import genai as resumable
    from resumekit.drivers import websocket

    global _account  # noqa: PLW0603 -- one for all sessions, as an application has it
    _account = _account or Account(api_key="none")

    module, name = (websocket, "_Dial") if ours else (live, "ws_connect")
    with plain_tcp(module, name, uri, **options):
        if ours:
            context: Any = resumable.connect(_account, model=_MODEL, config=_CONFIG)
        else:
            context = _account.aio.live.connect(model=_MODEL, config=_CONFIG)
        session = await context.__aenter__()

    def speak(sound: bytes) -> Awaitable[object]:
        return session.send_realtime_input(audio={"data": sound, "mime_type": _PCM})

    return Client((context, session), session._receive, partial(session.send_client_content, turns=_TURN), speak)


_account: Any = None

CLIENTS: dict[str, Callable[[str], Awaitable[Client]]] = {
    BARE: partial(_websockets, compression=None),
    KEEPALIVE: partial(_websockets, compression=None, ping_interval=None),
    DEFLATE: _websockets,
    PICOWS: _picows,
    PLAIN: partial(_genai, ours=False, compression=None),
    PLAIN_DEFLATE: partial(_genai, ours=False),
    NATIVE: _native,
    TYPED: partial(_genai, ours=True, compression=None),
}


# ------------------------------------------------------------------ what they do


async def _open(contender: str, case: str, uri: str, count: int) -> list[Client]:
    """Open so many sessions, the first one alone."""
    clients: list[Client] = []

    async def one() -> None:
        client = await CLIENTS[contender](uri)
        clients.append(client)
        if case == WAITING:
            _waiting.append(asyncio.create_task(_wait(client)))

    await one()
    for at in range(1, count, _AT_ONCE):
        await asyncio.gather(*(one() for _ in range(min(_AT_ONCE, count - at))))
    return clients


async def _wait(client: Client) -> None:
    await client.recv()


_waiting: list[asyncio.Task[None]] = []


async def _converse(client: Client) -> None:
    for _ in range(TURNS):
        await client.say()
        for _ in range(len(_ANSWER) + 1):  # a handle follows
            await client.recv()


async def _talk(client: Client) -> None:
    assert client.speak is not None
    for _ in range(OUTAGE_FRAMES):
        await client.speak(os.urandom(640))


async def _resident() -> float:
    """In KiB, once everything has settled."""
    for _ in range(3):
        await asyncio.sleep(0.3)
        gc.collect()
    with open("/proc/self/statm") as file:  # noqa: ASYNC230, PTH123 -- one line that the kernel has ready
        return int(file.read().split()[1]) * resource.getpagesize() / 1024


async def _client(contender: str, case: str, count: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    command = [sys.executable, "-m", "benchmarks.memory", "--as", "server", contender]
    with subprocess.Popen(  # noqa: ASYNC220 -- before there is anything that it could hold up
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        uri = f"ws://127.0.0.1:{int(server.stdout.readline())}"
        warm = await _open(contender, case, uri, _WARM) if count > 1 else []
        before = await _resident()
        clients = await _open(contender, case, uri, count)
        if case == USE:
            await asyncio.gather(*map(_converse, clients))
        after = await _resident()
        if case == OUTAGE:
            before = after
            server.kill()
            await asyncio.sleep(1)
            await asyncio.gather(*map(_talk, clients))
            after = await _resident()
        del warm
        print(json.dumps([before, after]), flush=True)
        server.kill()
        os._exit(0)  # a thousand sessions need not be closed


if __name__ == "__main__":
    logging.disable()  # connections are dropped by the hundred, and sound with them
    match sys.argv[1:]:
        case ["--as", "server", client]:
            asyncio.run(_serve(deflate=client in {DEFLATE, PLAIN_DEFLATE}))
        case ["--as", client, which, number]:
            asyncio.run(_client(client, which, int(number)))
        case _:
            run(__doc__, measure)
