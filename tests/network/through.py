"""Conversations of the real google-genai client with the emulator, through the proxy."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from tests.faults.runner import TIMEOUT, Connector, Loop, Profile, Run, Scenario, converse, resumekit_session
from tests.network.proxy import Proxy

__all__ = ["anchored", "converse_through", "lateness", "through"]


ANCHORED = 15.0
"""Real seconds in which the handle of a turn comes, or never."""


def through(proxies: list[Proxy], connect: Connector = resumekit_session, **options: Any) -> Connector:
    """Return a connector that puts a proxy in front of the emulator; it is put into `proxies`, and into the app."""

    @contextlib.asynccontextmanager
    async def connector(scenario, server, family, app):
        async with Proxy(server, **options) as app.proxy:
            proxies.append(app.proxy)
            async with connect(scenario, app.proxy, family, app) as session:
                yield session

    return connector


async def converse_through(
    scenario: Scenario,
    *,
    profile: Profile = "developer",
    loop: Loop = "classic",
    family: str = "2.5",
    connect: Connector = resumekit_session,
    timeout: float = TIMEOUT,
    **options: Any,
) -> Run:
    """Run a scenario through a proxy made with `options`, which is then `run.proxy`."""
    proxies: list[Proxy] = []
    connector = through(proxies, connect, **options)
    run = await converse(scenario, profile=profile, loop=loop, family=family, connect=connector, timeout=timeout)
    run.proxy = proxies[0]
    return run


@contextlib.asynccontextmanager
async def lateness():
    """Give a list of (when, by how much): how late this process's timers are, all the time."""
    loop = asyncio.get_running_loop()
    late: list[tuple[float, float]] = []

    async def watch():
        while True:
            due = loop.time() + 0.01
            await asyncio.sleep(0.01)
            late.append((due, loop.time() - due))

    watching = asyncio.create_task(watch())
    try:
        yield late
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def anchored(app: Any) -> bool:
    """Wait for the handle of the last turn; tell whether it came: a busy machine may lose the connection before it."""
    try:
        async with asyncio.timeout(ANCHORED):
            await app.anchored()
    except TimeoutError:
        return False
    return True
