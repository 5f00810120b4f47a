"""A server that lets in and then drops, again and again: few dials, then a typed error (G5). Through the proxy, which counts."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest
import websockets
from websockets.exceptions import ConnectionClosed

from resumekit import errors
from tests.faults.runner import PROFILES, Ask, Do, Scenario
from tests.faults.test_websockets import HEADERS, PATHS
from tests.faults.zygote import Emulator
from tests.network.proxy import Fault, Proxy
from tests.network.through import anchored, converse_through

pytestmark = pytest.mark.network

SCALE = 0.05
MINUTE = 60.0
AFTER: dict[str, tuple[bool, Fault]] = {
    "TCP": (False, Fault("rst", "up", times=None)),
    "half of TLS": (False, Fault("fin", "down", 0, 50, times=None)),
    "TLS": (True, Fault("fin", "up", 0, 1, times=None)),
    "the upgrade": (True, Fault("rst", "down", 1, times=None)),
    "setupComplete": (True, Fault("fin", "down", 2, times=None)),
    "a handle": (True, Fault("rst", "down", 3, times=None)),
}
"""The server lets clients get so far: each with whether it is counted inside of TLS."""


async def dials(after, profile, scale, **policy):
    """Return how many dials there were in the minute after the first cut, in all, and how it ended."""
    inside, fault = AFTER[after]

    async def arm(app):
        await anchored(app)
        app.proxy.arm(Fault("rst", "down", record=2))
        app.proxy.plan(fault)
        app.proxy.planned[-1].had.add(app.proxy.connections[-1].number)  # not this one, which was let in

    scenario = Scenario(
        name=after,
        steps=(Ask("one"), Do(arm), Ask("two"), Ask("never")),
        scale=scale,
        alone=False,
        knobs={"handle_at_setup": True},
        policy={"max_reanswers_per_turn": 1000, **policy},
    )
    run = await converse_through(scenario, profile=profile, inside=inside, timeout=100.0)
    assert isinstance(run.error, errors.SessionLost), f"{after}: {run.error!r}\n{run}"
    cut = run.proxy.strikes[0].at
    accepted = [connection.accepted_at for connection in run.proxy.connections]
    return sum(cut <= at <= cut + MINUTE * scale for at in accepted), len(accepted) - 1, run.error


async def few_dials(scale, **policy):
    asyncio.get_running_loop().set_debug(False)
    profiles = [PROFILES[number % 2] for number in range(len(AFTER))]
    found = await asyncio.gather(*(dials(*each, scale, **policy) for each in zip(AFTER, profiles, strict=True)))
    print(
        {
            after: f"{minute} dials in 60 s, {total} in all"
            for after, (minute, total, _) in zip(AFTER, found, strict=True)
        }
    )
    for after, (minute, total, error) in zip(AFTER, found, strict=True):
        assert minute <= 10, after
        assert 2 <= total <= 60, after
        assert "max_outage" in str(error), after


async def test_a_server_that_lets_in_and_drops_is_dialled_seldom():
    await few_dials(SCALE, max_outage=62)


@pytest.mark.wide
async def test_a_server_that_lets_in_and_drops_is_dialled_seldom_in_a_real_minute():
    await few_dials(1.0, max_outage=62.0)


@pytest.mark.wide
@pytest.mark.allow_blocking
async def test_control_a_loop_of_websockets_dials_as_fast_as_it_can():
    """`async for ... in connect(...)`, the documented way, waits only where the handshake fails."""
    loops = 40
    async with Emulator() as server, Proxy(server, [Fault("fin", "down", 1, times=None)], inside=True) as proxy:
        uri = f"wss://{proxy.host}:{proxy.port}/ws/{PATHS['developer']}"
        begun = time.monotonic()
        connecting = websockets.connect(
            uri, ssl=proxy.client_ssl_context(), additional_headers=HEADERS["developer"], proxy=None
        )
        async for connection in connecting:
            try:
                await connection.recv()
            except ConnectionClosed:
                if len(proxy.connections) >= loops:
                    break
        print(f"a loop of websockets: {loops} dials in {time.monotonic() - begun:.1f} s")
        # What is to be seen is that it never slows down, whatever this machine takes for a handshake.
        accepted = [connection.accepted_at for connection in proxy.connections]
    gaps = sorted(after - before for before, after in itertools.pairwise(accepted))
    assert gaps[len(gaps) // 2] < 0.5
