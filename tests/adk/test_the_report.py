"""The report that this project began with: google-adk 1.27.2 holds a resumption handle, and dies at the first close.

Its `run_live` has a loop that would dial again, and never comes round: a close that is seen by receiving is an `APIError`
(google-genai makes one of each `ConnectionClosed`), one that is first seen by a send is a raw `ConnectionClosed`, and
both are raised again. The report asked for three things: not to send history to a session that is resumed, to move when
the service says goAway, and to say in the log that the connection was renewed.

Each test is one script. Plain `Gemini` fails it on 1.27.2, and on the versions that are named.
"""

from __future__ import annotations

import logging

import pytest
from google.genai import errors as genai_errors
from google.genai import types
from websockets.exceptions import ConnectionClosed

from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from tests.adk.support import (
    ADK,
    FAMILIES,
    OURS,
    PLAIN,
    Tool,
    a_handle,
    both,
    config,
    eventually,
    question,
    run,
    senders,
    service,
    with_old_turns,
)

pytestmark = pytest.mark.network

THAT = ADK < (1, 30)
"""The version of the report."""


@both(where=THAT)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("profile", ["developer", "vertex"])
@pytest.mark.parametrize(
    "cut", [Fault.close(1000), Fault.close(1011, "Deadline expired"), Fault.rst()], ids=["1000", "1011", "1006"]
)
async def test_the_close_is_seen_by_receiving(which, cut, profile, family):
    async with service(profile, family=family) as server, run(server, which, family=family) as talk:
        await talk.ask("one")
        await talk.anchored()
        await server.inject(cut)

        end = await talk.fate(talk.bound(2))

        if which == PLAIN:
            assert type(end) in {genai_errors.APIError, genai_errors.ClientError, genai_errors.ServerError}
            return
        await talk.ask("two")
        assert end is None
        assert talk.count(events.Resumed) == 1


@both(where=THAT)
async def test_the_close_is_first_seen_by_a_send(which):
    """A tool runs in ADK's receiving loop; meanwhile the connection ends, and the user goes on."""
    tool = Tool()
    async with service("vertex", overlap="queue") as server, run(server, which, tools=[tool.function]) as talk:
        await talk.ask("one")
        await talk.anchored()
        talk.queue.send_content(question(tool.CALLED))
        await tool.started.wait()
        await server.inject(Fault.close(1011, "Deadline expired"))
        await talk.server_says(lambda records: records[0].closed_at)
        talk.queue.send_content(question("two"))
        await eventually(talk.queue._queue.empty)
        if which == PLAIN:
            await eventually(lambda: not senders())  # it has met the close
        tool.may_return.set()

        end = await talk.fate(talk.answered("two"))

        if which == PLAIN:
            assert isinstance(end, ConnectionClosed)
            return
        report = await server.ledger_report(["one", tool.CALLED, tool.FOUND, "two"])
        assert end is None
        assert report.ok, report


@both(where=ADK < (2, 9))
async def test_history_is_not_sent_to_a_session_that_is_resumed(which):
    """The application gives the handle of an earlier run, as 1.27.2 will not use one of its own."""
    async with service() as server:
        resumption = types.SessionResumptionConfig(handle=await a_handle(server))
        made = {"session_service": await with_old_turns(), "run_config": config(session_resumption=resumption)}
        async with run(server, which, **made) as talk:
            await talk.ask("two [recall]")

            assert talk.answers()[-1].endswith("recall: one | two [recall]") == (which == OURS)
        report = await server.ledger_report(["one", "two [recall]"])
        assert (report.resumes, report.history_with_handle) == (1, which == PLAIN)


@both(where=THAT)
async def test_go_away_is_honoured_before_the_deadline(which):
    async with service() as server, run(server, which) as talk:
        await talk.ask("one")
        await talk.anchored()
        await server.inject(Fault.go_away(40.0 if which == PLAIN else 100.0, at=Trigger.mid_answer(2)))
        await talk.ask("two")

        end = await talk.fate(talk.bound(2))

        if which == PLAIN:
            assert isinstance(end, genai_errors.APIError)
            assert (await server.connections())[0].closed_by == "server"
            return
        await talk.ask("three")
        assert (await server.connections())[0].closed_by == "client"
        assert talk.count(events.ConnectionLost) == talk.count(events.TurnCut) == 0


@both(where=THAT)
async def test_the_reconnect_is_logged(which, caplog):
    caplog.set_level(logging.INFO)
    async with service() as server, run(server, which) as talk:
        await talk.ask("one")
        await talk.anchored()
        await server.inject(Fault.rst())

        end = await talk.fate(talk.bound(2))

        told = [record for record in caplog.records if ": resumed on connection 2" in record.getMessage()]
        assert len(told) == (which == OURS)
        if which == OURS:
            assert end is None
            assert (told[0].name, told[0].levelname) == ("resumekit.driver", "INFO")
