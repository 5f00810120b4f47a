"""A service that lets in, gives a handle, and then drops, for ever: with ADK's own reconnects, and with ours (G5)."""

from __future__ import annotations

import time

import pytest

from resumekit.emulator import Fault, Trigger
from resumekit.errors import SessionLost
from tests.adk.support import ADK, OURS, PLAIN, SCALE, policy, run, service

pytestmark = pytest.mark.network

LOOPS = ADK >= (2,)
"""1.27 dies of the first."""
DIALS = 20


@pytest.mark.parametrize("which", [OURS, *([pytest.param(PLAIN, marks=pytest.mark.proof)] if LOOPS else [])])
async def test_a_service_that_gives_a_handle_and_drops(which):
    fields = {"policy": policy(max_reanswers_per_turn=1000, max_outage=62)} if which == OURS else {}
    async with service("vertex", handle_at_setup=True) as server, run(server, which, **fields) as talk:
        await talk.ask("one")
        await talk.anchored()
        begun = time.monotonic()
        await server.inject(Fault.rst(at=Trigger.handle(), times=None), Fault.rst())
        if which == PLAIN:
            await talk.bound(DIALS)
            print(f"google-adk {ADK}: {DIALS} dials in {time.monotonic() - begun:.1f} s")
            return

        end = await talk.fate(talk.bound(DIALS))

        records = await server.connections()
        cut = records[0].closed_at
        assert isinstance(end, SessionLost)
        assert sum(cut <= record.opened_at <= cut + 60 * SCALE for record in records) <= 10
