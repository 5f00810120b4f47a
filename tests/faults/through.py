"""Conversations of the real google-genai client with the emulator, through the proxy."""

from __future__ import annotations

import contextlib
from typing import Any

from tests.faults.proxy import Proxy
from tests.faults.runner import Connector, Profile, Run, Scenario, converse, resumekit_session

__all__ = ["converse_through", "through"]


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
    scenario: Scenario, *, profile: Profile = "developer", connect: Connector = resumekit_session, **options: Any
) -> Run:
    """Run a scenario through a proxy made with `options`, which is then `run.proxy`."""
    proxies: list[Proxy] = []
    run = await converse(scenario, profile=profile, connect=through(proxies, connect, **options))
    run.proxy = proxies[0]
    return run
