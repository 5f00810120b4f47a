"""A connection on which nothing comes any more, at a random moment: the application is told within the idle limits (G4).

How late this machine's timers were meanwhile is measured, and is no fault of the session.
"""

from __future__ import annotations

import asyncio
import random
import time

import pytest
import websockets
from websockets.exceptions import ConnectionClosed

from resumekit.core import events
from tests.faults.runner import PROFILES, Ask, Do, Scenario
from tests.faults.test_websockets import HEADERS, PATHS
from tests.faults.zygote import Emulator
from tests.network.proxy import Fault, Proxy
from tests.network.through import anchored, converse_through, lateness

pytestmark = pytest.mark.network

SCALE = 0.05
EXPECTING, IDLE = 0.8, 1.2
"""Seconds."""
GRACE = 0.1
POLICY = {
    name: seconds / SCALE
    for name, seconds in {
        "ping_expecting": 0.3,
        "abort_expecting": EXPECTING,
        "ping_idle": 0.4,
        "abort_idle": IDLE,
        "progress_watchdog": 100,
        "resent_wait": 100,
    }.items()
}
KINDS = {
    "idle": (None, IDLE, ("both", "up", "down")),
    "the model thinks": ("two [think:2000]", EXPECTING, ("both", "up", "down")),
    "the model speaks": ("two [chunks:99]", EXPECTING, ("both", "down")),  # who is heard is alive
}
PLAIN_SCALE = 0.02
"""Of the control."""


async def fall_silent(seed):
    """Return (what was going on, which way is silent, seconds until the event, limit) for a seed."""
    draw = random.Random(seed)
    kind = list(KINDS)[seed % len(KINDS)]
    question, limit, ways = KINDS[kind]
    only = ways[seed // len(KINDS) % len(ways)]
    told = []

    async def silence(app):
        await anchored(app)
        if question is not None:
            app.questions.append(("", range(99)))
            content = {"role": "user", "parts": [{"text": question}]}
            await app.session.send_client_content(turns=content, turn_complete=True)
        await asyncio.sleep(draw.random() * 0.6)  # the random moment
        hole = Fault("hole", only=None if only == "both" else only, seconds=0.0)
        await app.back()  # a slow machine may have lost the connection by itself
        before = app.count(events.ConnectionLost)
        connection = app.proxy.connections[-1]
        app.proxy.strike(hole)
        struck = app.proxy.strikes[-1].at
        await app.until(lambda: app.count(events.ConnectionLost) > before)
        lost = [event for event in app.told if isinstance(event, events.ConnectionLost)][before]
        at = lost.at - time.time() + asyncio.get_running_loop().time()
        last = max(struck, connection.ways["down"].last)
        told.append((at - last, max((by for due, by in late if due >= struck - 0.1), default=0.0)))

    scenario = Scenario(
        name=f"hole {seed}",
        steps=(Ask("one"), Do(silence)),
        alone=False,
        knobs={"chunk_interval": 1},
        policy=POLICY,
        scale=SCALE,
    )
    async with lateness() as late:
        run = await converse_through(scenario, profile=PROFILES[seed % 2], loop="request")
    assert run.error is None, run.error
    return kind, only, *told[0], limit


async def holes(seeds):
    asyncio.get_running_loop().set_debug(False)
    gate = asyncio.Semaphore(18)

    async def one(seed):
        async with gate:
            return await fall_silent(seed)

    found = await asyncio.gather(*(one(seed) for seed in seeds))
    for seed, (kind, only, seconds, late, limit) in zip(seeds, found, strict=True):
        assert seconds <= limit + GRACE + 2 * late, f"seed {seed}, {kind}, {only}: {seconds:.3f} s, late by {late:.3f}"
    over = max(seconds - limit for _, _, seconds, _, limit in found)
    stalls = max(late for _, _, _, late, _ in found)
    print(
        f"{len(found)} black holes: told {1000 * over:.0f} ms after the limit at most; timers late by {1000 * stalls:.0f} ms"
    )


async def test_a_black_hole_at_a_random_moment_is_told_within_the_idle_limits():
    await holes(range(9))


@pytest.mark.wide
async def test_many_black_holes_are_told_within_the_idle_limits():
    await holes(range(300))


@pytest.mark.wide
@pytest.mark.allow_blocking
async def test_control_a_plain_websocket_with_its_defaults_takes_50_s():
    """Its documented defaults (a ping each 20 s, 20 s for the pong, 10 s for the closing handshake), on a scale of 0.02.

    A hole that comes right behind a pong is seen after 20 + 20 + 10 s.
    """
    times = {"ping_interval": 20, "ping_timeout": 20, "close_timeout": 10}
    scaled = {name: seconds * PLAIN_SCALE for name, seconds in times.items()}
    async with Emulator() as server, Proxy(server) as proxy:
        async with lateness() as late:
            uri = f"wss://{proxy.host}:{proxy.port}/ws/{PATHS['developer']}"
            headers = HEADERS["developer"]
            context = proxy.client_ssl_context()
            loop = asyncio.get_running_loop()
            connecting = websockets.connect(uri, ssl=context, additional_headers=headers, proxy=None, **scaled)
            async with connecting as connection:
                pong = await connection.ping()
                await pong
                proxy.strike(Fault("hole", seconds=0.0))
                struck = loop.time()
                with pytest.raises(ConnectionClosed):
                    await connection.recv()
                seconds = (loop.time() - struck) / PLAIN_SCALE
        stalls = max(value for _, value in late) / PLAIN_SCALE
    print(f"a plain websocket: {seconds:.1f} s (its defaults, scaled)")
    assert seconds >= 39  # the ping, the pong; and the close, of which not every version waits for all
    assert seconds <= 50 + 5 + 4 * stalls
