"""What google-adk 1.27.2 and 2.0.0 do otherwise than the newest; see docs/explanation/adk.md for the table.

Each test runs one script twice, as those in `test_defects.py` do. That 1.27 dies of each close code, and 2.0.0 of most,
is seen there, by row 5.
"""

from __future__ import annotations

import pytest
from websockets.exceptions import ConnectionClosed

from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from tests.adk.support import ADK, OURS, PLAIN, both, run, service

pytestmark = pytest.mark.network

V1 = ADK < (1, 30)
V2 = (2, 0) <= ADK < (2, 1)
ENDLESS = 30


@both(where=V2)
async def test_go_away_without_a_handle_ends_the_run(which):
    async with service("vertex", send_handles=False) as server, run(server, which) as talk:
        await talk.ask("one")
        await server.inject(Fault.go_away())

        end = await talk.fate(talk.bound(2))

        assert isinstance(end, ConnectionClosed if which == PLAIN else type(None))
        if which == OURS:
            await talk.ask("two")


@both(where=V2)
async def test_go_away_on_each_connection_is_a_loop(which):
    async with service("vertex", handle_at_setup=True) as server, run(server, which) as talk:
        await talk.ask("one")
        await talk.anchored()
        await server.inject(Fault.go_away(100.0, at=Trigger.handle(), times=2 * ENDLESS), Fault.go_away(100.0))
        if which == PLAIN:
            await talk.bound(1 + ENDLESS)  # an event on each, and the limit of five is never reached
            return

        await talk.ask("two")

        assert len(await server.connections()) <= 10


@both(where=V2)
async def test_with_an_api_key_it_asks_for_what_it_refuses_itself(which):
    async with service("developer") as server, run(server, which) as talk:
        await talk.ask("one")
        await talk.anchored()
        await server.inject(Fault.rst())

        end = await talk.fate(talk.bound(2))

        assert isinstance(end, ValueError if which == PLAIN else type(None))
        assert ("transparent" in str(end).lower()) == (which == PLAIN)


@both(where=V2)
async def test_after_close_it_dials_again(which):
    async with service("vertex") as server, run(server, which) as talk:
        await talk.ask("one")
        await talk.anchored()
        if which == PLAIN:
            talk.queue.close()
            await talk.bound(2)
            assert not talk.task.done()  # nobody will ever close it
            return

        await talk.close()

        assert len(await server.connections()) == 1


@both(where=V1)
async def test_the_application_is_not_shown_a_handle(which):
    async with service("vertex") as server, run(server, which) as talk:
        await talk.ask("one")
        await talk.anchored()
        await talk.ask("two")

        assert not V1 or not any(getattr(event, "live_session_resumption_update", None) for event in talk.events)
        assert bool(talk.count(events.HandleReceived)) == (which == OURS)
