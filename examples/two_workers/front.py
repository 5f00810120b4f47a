"""The front: keeps the browsers' WebSockets, whatever becomes of the workers. `python front.py 8000 8001 8002`."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import sys

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidHandshake

TRIES = 20
"""After so many workers that failed without a word, the browser is told."""


class Front:
    """Knows where the workers are, and nothing of conversations."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports

    async def call(self, browser: ServerConnection) -> None:
        """Serve one browser, until it goes."""
        said: asyncio.Queue[str | bytes] = asyncio.Queue(1000)
        hearing = asyncio.create_task(hear(browser, said))
        serving = asyncio.create_task(self._serve(browser, said))
        await asyncio.wait({hearing, serving}, return_when=asyncio.FIRST_COMPLETED)
        for task in (hearing, serving):
            task.cancel()
        await asyncio.gather(hearing, serving, return_exceptions=True)
        await browser.close(1011, "no worker can serve")  # has no effect where the browser has gone

    async def _serve(self, browser: ServerConnection, said: asyncio.Queue[str | bytes]) -> None:
        """Connect the browser with one worker after the other: the next one where the last one is gone."""
        assert browser.request is not None
        failures = 0
        for port in itertools.cycle(random.sample(self._ports, len(self._ports))):
            failures += 1
            if failures > TRIES:
                return
            with contextlib.suppress(OSError, ConnectionClosed, InvalidHandshake):
                async with connect(f"ws://127.0.0.1:{port}{browser.request.path}") as worker:
                    passing = asyncio.create_task(pass_on(said, worker))
                    try:
                        async for message in worker:
                            failures = 0
                            await browser.send(message)
                    finally:
                        passing.cancel()
            if not failures:
                with contextlib.suppress(ConnectionClosed):
                    await browser.send(
                        json.dumps({"interrupted": True})
                    )  # the answer, if there was one, is given again
            await asyncio.sleep(0.2)


async def hear(browser: ServerConnection, said: asyncio.Queue[str | bytes]) -> None:
    """Take what the browser says; while nobody listens, the oldest is dropped."""
    async for message in browser:
        if said.full():
            said.get_nowait()
        said.put_nowait(message)


async def pass_on(said: asyncio.Queue[str | bytes], worker: ClientConnection) -> None:
    """Give it to the worker."""
    while True:
        await worker.send(await said.get())


async def main(port: int, *workers: int) -> None:
    """Serve for ever."""
    async with serve(Front(list(workers)).call, "127.0.0.1", port) as server:
        print("listening on", server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
