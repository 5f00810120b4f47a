"""Rows 1-8: what google-adk 2.13 makes of a lost connection; see docs/explanation/adk.md for the table.

Each test runs one script twice: plain `Gemini` shows the defect where that version of google-adk has it,
`ResumableGemini` does not. The service's records of its connections, and its ledger, are the witnesses.
"""

from __future__ import annotations

import functools

import pytest
from google.genai import errors as genai_errors
from google.genai.live import ws_connect
from websockets.exceptions import InvalidStatus

from resumekit.core import events
from resumekit.emulator import Fault, Trigger, parse_answer
from resumekit.errors import SessionLost
from tests.adk.support import ADK, OURS, PLAIN, RunOver, both, policy, question, run, service, with_old_turns

pytestmark = pytest.mark.network

SINCE_2 = ADK >= (2,)
"""Versions that dial again at all."""
NEWER = ADK >= (2, 9)
FAMILY = "3.x" if NEWER else "2.5"
"""With history: as this version sends it, a 2.5 model takes the first question for the end of it, and is silent."""
ENDLESS = 30
"""Connections after which nobody counts any more."""


@both(where=NEWER)
async def test_row_1_a_service_that_accepts_and_drops(which):
    async with service("vertex") as server, run(server, which, **patience(which, 20.0)) as talk:
        await talk.ask("one")
        await talk.anchored()
        await server.inject(Fault.drop_after_setup(times=None), Fault.rst())

        end = await talk.fate(talk.bound(1 + ENDLESS))

        dials = len(await server.connections()) - 1
        if which == PLAIN:
            assert end is None  # its limit is five
            assert dials >= ENDLESS
        else:
            assert isinstance(end, SessionLost)
            assert dials <= 11


@both(where=NEWER)
async def test_row_2_go_away_on_each_connection(which):
    async with service("vertex") as server, run(server, which) as talk:
        await talk.ask("one")
        await talk.anchored()
        await server.inject(Fault.go_away(100.0, at=Trigger.bound(), times=None), Fault.go_away(100.0))
        await talk.bound(2)
        if which == PLAIN:
            assert len(await talk.bound(1 + ENDLESS)) > ENDLESS
            return

        for text in ("two", "three", "four"):
            await talk.ask(text)

        assert len(await server.connections()) <= 10
        await talk.close()
        report = await server.ledger_report(["one", "two", "three", "four"])
        assert report.ok, report


@both(where=SINCE_2)
async def test_row_3_a_service_that_cannot_be_reached_for_a_moment(which):
    async with service("vertex") as server, run(server, which) as talk:
        await talk.ask("one")
        await talk.anchored()
        await server.inject(Fault.drop_before_setup(times=6), Fault.rst())

        end = await talk.fate(talk.bound(2))

        if which == PLAIN:
            assert end is not None
            assert len(await server.connections()) == 1 + 5  # one after the other, without a pause
            return
        await talk.ask("two")
        assert talk.count(events.Resumed) == 1


@both(where=SINCE_2)
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param(Fault.handshake(503), InvalidStatus, id="http-503"),
        pytest.param(Fault.handshake(429), InvalidStatus, id="http-429"),
        pytest.param(Fault.listener_down(20.0), OSError, id="refused"),
        pytest.param(Fault.slow_handshake(20.0), TimeoutError, id="timeout"),
    ],
)
async def test_row_4_a_dial_that_fails_otherwise(which, fault, error, monkeypatch):
    async with service("vertex") as server, run(server, which) as talk:
        await talk.ask("one")
        await talk.anchored()
        if error is TimeoutError:  # of ten seconds, as it is
            monkeypatch.setattr("google.genai.live.ws_connect", functools.partial(ws_connect, open_timeout=0.3))
        if error is OSError and which == PLAIN:  # it dials at once, however long that takes
            fault = Fault.listener_down(1000.0)
        await server.inject(fault, *[Fault.rst()] * (error is not OSError))

        end = await talk.fate(talk.bound(2))

        assert isinstance(end, error if which == PLAIN else type(None))
        if which == OURS:
            await talk.ask("two")
            assert talk.count(events.Resumed) == 1


SURVIVED = {"1000", "1006", "1011"} if NEWER else {"1000", "1006"} if ADK >= (1, 30) else set()
"""Codes after which this version dials again, where it has a handle."""


@both(where=True)
@pytest.mark.parametrize("code", ["1000", "1001", "1006", "1007", "1008", "1011", "1012", "1013", "1014", "4000"])
async def test_row_5_a_close_with_any_code(which, code):
    async with service("vertex") as server, run(server, which) as talk:
        await talk.ask("one")
        await talk.anchored()
        await server.inject(Fault.rst() if code == "1006" else Fault.close(int(code), "for some reason"))

        end = await talk.fate(talk.bound(2))

        if which == PLAIN:
            assert isinstance(end, type(None) if code in SURVIVED else genai_errors.APIError)
        else:
            assert end is None
            await talk.ask("two")


@both(where=SINCE_2)
@pytest.mark.parametrize(
    ("code", "end"), [(1006, genai_errors.APIError), (1000, RunOver if NEWER else genai_errors.APIError)]
)
async def test_row_6_a_handle_that_is_taken_back_for_a_turn(which, code, end):
    at = Trigger.mid_answer(1)
    async with service("developer") as server, run(server, which) as talk:
        await talk.ask("one")
        await talk.anchored()
        await server.inject(Fault.rst(at=at) if code == 1006 else Fault.close(code, at=at))
        talk.queue.send_content(question("two"))

        ended = await talk.fate(talk.answered("two"))

        assert isinstance(ended, end if which == PLAIN else type(None))
        if which == OURS:
            assert talk.count(events.Resumed) == 1


@both(where=NEWER)
async def test_row_7_an_old_handle_together_with_history(which):
    sessions = await with_old_turns()
    async with (
        service("developer", family=FAMILY) as server,
        run(server, which, family=FAMILY, session_service=sessions) as talk,
    ):
        await talk.ask("one")
        await talk.anchored()
        await server.inject(Fault.go_away())
        await talk.bound(2)
        await server.inject(Fault.go_away(at=Trigger.mid_answer(1)))
        talk.queue.send_content(question("two"))

        records = await talk.bound(3)

        assert records[2].handle
        if which == OURS:
            await talk.ask("three")
        report = await server.ledger_report(["one", "two", "three"])
        assert report.history_with_handle == (which == PLAIN)
        assert (report.lost == []) == (which == OURS)


@both(where=NEWER)
async def test_row_8_a_fresh_start_without_what_was_said_in_this_run(which):
    sessions = await with_old_turns()
    async with (
        service("developer", send_handles=False, family=FAMILY) as server,
        run(server, which, family=FAMILY, session_service=sessions) as talk,
    ):
        await talk.ask("one")
        await server.inject(Fault.go_away())
        await talk.bound(2)

        await talk.ask("two [recall]")

        held = parse_answer(talk.answers()[-1]).recall[:-1]
        assert held == (["old"] if which == PLAIN else ["old", "one"])


def patience(which, seconds):
    return {"policy": policy(max_outage=seconds)} if which == OURS else {}
