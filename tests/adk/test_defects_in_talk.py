"""Rows 9-23: what becomes of answers, messages, tools and the run itself; see docs/explanation/adk.md for the table.

Each test runs one script twice, as those of rows 1-8 in `test_defects.py` do.
"""

from __future__ import annotations

import gc
import logging

import pytest
from google.genai import types
from websockets.asyncio.client import ClientConnection

from resumekit.core import events
from resumekit.emulator import Fault, Trigger, silence
from tests.adk.support import ADK, OURS, PLAIN, Tool, both, eventually, policy, question, run, senders, service, words

pytestmark = pytest.mark.network

SINCE_2 = ADK >= (2,)
"""Versions that dial again at all."""
NEWER = ADK >= (2, 9)
LONG = "two [chunks:12]"


@both(where=SINCE_2)
async def test_row_9_go_away_in_mid_sentence(which):
    async with service("vertex") as server, run(server, which) as talk:
        await talk.ask("one")
        await talk.anchored()
        await server.inject(Fault.go_away(60.0, at=Trigger.mid_answer(2)))
        talk.queue.send_content(question(LONG))
        await talk.bound(2)
        await talk.ask("three")

        assert "answer to" in "".join(words(event) for event in talk.events if event.partial)
        whole = any(answer.startswith(f"answer to {LONG}: ") for answer in talk.answers())
        assert whole == (which == OURS)
        if which == OURS:
            assert talk.count(events.TurnCut) == 0  # it moved when the answer was over


@both(where=SINCE_2)
async def test_row_10_a_turn_that_was_cut_has_no_end(which):
    async with service("vertex") as server, run(server, which) as talk:
        await talk.ask("one")
        await talk.anchored()
        await server.inject(Fault.rst(at=Trigger.mid_answer(2)))
        talk.queue.send_content(question(LONG))
        await talk.bound(2)
        if which == OURS:
            await talk.until(lambda: talk.turns == 2)
        await talk.ask("three")

        interrupted = sum(bool(event.interrupted) for event in talk.events)
        stored = [said for event in await talk.stored() if event.author != "user" and (said := words(event))]
        assert interrupted == (which == OURS)
        assert talk.turns == len(stored) == 2 + (which == OURS)
        assert sum(answer.startswith(f"answer to {LONG}: ") for answer in stored) == (which == OURS)


@both(where=SINCE_2)
async def test_row_11_go_away_is_not_shown(which):
    async with service("vertex") as server, run(server, which) as talk:
        await talk.ask("one")
        await talk.anchored()
        await server.inject(Fault.go_away())
        await talk.bound(2)
        await talk.ask("two")

        told = [event.custom_metadata["resumekit"]["event"] for event in talk.events if event.custom_metadata]
        assert not any(getattr(event, "go_away", None) for event in talk.events)
        assert ("GoAwayReceived" in told) == (which == OURS)


@both(where=SINCE_2)
async def test_row_12_a_message_sent_into_a_dead_connection(which):
    tool = Tool()
    async with service("vertex", overlap="queue") as server, run(server, which, tools=[tool.function]) as talk:
        await talk.ask("one")
        await talk.anchored()
        talk.queue.send_content(question(tool.CALLED))
        await tool.started.wait()
        await server.inject(Fault.rst())
        await talk.server_says(lambda records: records[0].closed_at)
        talk.queue.send_content(question("two"))
        await eventually(talk.queue._queue.empty)
        tool.may_return.set()
        await talk.bound(2)
        await talk.answered("a fact?")
        await talk.ask("three")
        if which == OURS:
            await talk.answered("three")  # the turn that ended may have been another's

        report = await server.ledger_report(["one", tool.CALLED, tool.FOUND, "two", "three"])
        assert ("two" in report.lost) == (which == PLAIN)
        if which == OURS:
            assert report.ok, report


@both(where=SINCE_2)
async def test_row_13_a_message_that_the_service_had_not_saved(which):
    async with service("vertex") as server, run(server, which) as talk:
        await talk.ask("one")
        await talk.anchored()
        await server.inject(Fault.rst(at=Trigger.client_message(2)))
        talk.queue.send_content(question("two"))
        await talk.bound(2)
        await talk.ask("three")
        if which == OURS:
            await talk.answered("three")  # the turn that ended may have been another's

        report = await server.ledger_report(["one", "two", "three"])
        assert report.lost == (["two"] if which == PLAIN else [])


CALL = types.Content(role="user", parts=[types.Part(function_call=types.FunctionCall(name="f", args={}))])
NOTHING = types.Content(role="user", parts=[])
BAD = {"ours-a-call": (OURS, CALL), "ours-no-parts": (OURS, NOTHING), "plain-no-parts": (PLAIN, NOTHING)}
if NEWER:  # others send it
    BAD["plain-a-call"] = (PLAIN, CALL)


@pytest.mark.parametrize(("which", "bad"), BAD.values(), ids=BAD)
async def test_row_14_one_bad_message_makes_it_deaf(which, bad):
    async with service("vertex") as server, run(server, which) as talk:
        await talk.ask("one")
        talk.queue.send_content(bad)
        await eventually(talk.queue._queue.empty)
        talk.queue.send_content(question("two"))

        if which == OURS:
            await talk.answered("two")
            assert talk.count(events.MessageNotSent) == 1
            return
        await eventually(lambda: not senders())
        assert not talk.queue._queue.empty()
        assert not talk.task.done()  # it goes on, and nobody listens


@both(where=SINCE_2)
async def test_row_15_close_races_go_away(which):
    tool = Tool()
    async with service("vertex") as server, run(server, which, tools=[tool.function]) as talk:
        await talk.ask("one")
        talk.queue.send_content(question(tool.CALLED))
        await tool.started.wait()
        await server.inject(Fault.go_away())
        await talk.service_did("go_away")
        talk.queue.close()
        await talk.server_says(lambda records: records[0].closed_at)
        tool.may_return.set()

        if which == PLAIN:
            await talk.bound(2)
            assert not talk.task.done()
        else:
            await talk.close()
            assert all(record.closed_at for record in await server.connections())


@both(where=SINCE_2)
async def test_row_16_a_queue_without_a_bound(which):
    second = types.Blob(data=silence(1.0), mime_type="audio/pcm;rate=16000")
    async with service("vertex") as server, run(server, which) as talk:
        await talk.ask("one")
        await talk.anchored()
        await server.inject(Fault.no_setup_complete(), Fault.rst())
        await talk.server_says(lambda records: len(records) == 2 and records[1].setup_at)
        for _ in range(60):
            talk.queue.send_realtime(second)

        if which == PLAIN:  # nobody takes them until the service is back, be it in an hour
            assert len(await server.connections()) == 2
            assert talk.queue._queue.qsize() == 60
        else:
            await eventually(talk.queue._queue.empty)
            await talk.told_of(events.AudioDropped)


@both(where=SINCE_2)
async def test_row_17_a_handle_that_is_refused(which):
    async with service("vertex", invalid_handle_code=1008) as server, run(server, which) as talk:
        await talk.ask("one")
        await talk.anchored()
        await server.inject(Fault.expire_handles(), Fault.rst())

        end = await talk.fate(talk.bound(2))

        assert (end is not None) == (which == PLAIN)
        if which == OURS:
            await talk.ask("two [recall]")
            assert talk.answers()[-1].endswith("recall: one | two [recall]")
            assert talk.count(events.FreshStarted) == 1


@both(where=SINCE_2)
async def test_row_18_a_result_for_a_call_that_the_service_does_not_know(which):
    tool = Tool()
    knobs = {"mid_answer_handles": 0, "unknown_tool_id": "ignore"}
    async with service("vertex", **knobs) as server, run(server, which, tools=[tool.function]) as talk:
        await talk.ask("one")
        await talk.anchored()
        talk.queue.send_content(question(tool.CALLED))
        await tool.started.wait()
        await server.inject(Fault.rst())
        tool.may_return.set()
        await talk.bound(2)
        await talk.ask("three")
        if which == OURS:
            await talk.answered("three")  # the turn that ended may have been another's

        report = await server.ledger_report(["one", tool.CALLED, tool.FOUND, "three"])
        assert (tool.FOUND in report.lost) == (which == PLAIN)
        assert tool.runs == 1
        if which == OURS:
            assert report.ok, report


@both(where=True)
async def test_row_19_a_call_that_the_service_takes_back(which):
    tool = Tool()
    async with service("vertex") as server, run(server, which, tools=[tool.function]) as talk:
        talk.queue.send_content(question(tool.CALLED))
        await tool.started.wait()
        talk.queue.send_content(question("two"))
        await talk.service_did("generation_started", 2)
        tool.may_return.set()
        await talk.answered("two")
        await talk.ask("three")

        (call,) = (await server.ledger_report()).calls
        assert call.cancelled
        assert bool(call.answers) == (which == PLAIN)


@both(where=True)
async def test_row_20_go_away_while_a_tool_runs(which):
    tool = Tool()
    fields = {"policy": policy(go_away_margin_min=80.0, go_away_margin_max=80.0)} if which == OURS else {}
    async with service("vertex") as server, run(server, which, tools=[tool.function], **fields) as talk:
        await talk.ask("one")
        talk.queue.send_content(question(tool.CALLED))
        await tool.started.wait()
        await server.inject(Fault.go_away(40.0 if which == PLAIN else 120.0))

        records = await talk.server_says(lambda records: records[0].closed_at)

        assert records[0].closed_by == ("server" if which == PLAIN else "client")  # that is, at the deadline or before


@both(where=True)
async def test_row_21_transparent_on_the_first_connection(which):
    async with service("vertex") as server, run(server, which) as talk:
        await talk.ask("one")

        setup = (await server.raw(0))[0]

        assert (b'"transparent": true' in setup or b'"transparent":true' in setup) == (which == OURS)


@both(where=SINCE_2)
async def test_row_23_handles_in_the_log(which, caplog):
    caplog.set_level(logging.DEBUG)
    async with service("vertex") as server, run(server, which) as talk:
        await talk.ask("one")
        await talk.anchored()
        await server.inject(Fault.rst())
        await talk.bound(2)

        (handle,) = [record.handle for record in await server.connections() if record.handle]
        assert (handle in caplog.text) == (which == PLAIN)
        assert bool(talk.count(events.Resumed)) == (which == OURS)


@both(where=True)
async def test_row_24_nothing_says_when_a_silent_connection_is_dead(which):
    async with service("vertex") as server, run(server, which, policy=policy(abort_expecting=30.0)) as talk:
        await talk.ask("one")
        await talk.anchored()
        if which == PLAIN:  # it is noticed after 50 s: 20 until the next ping, 20 for the pong, 10 to close
            sockets = [thing for thing in gc.get_objects() if isinstance(thing, ClientConnection)]
            (socket,) = [socket for socket in sockets if server.port in (socket.remote_address or ())]
            times = (socket.ping_interval, socket.ping_timeout, socket.close_timeout)
            assert times == (20, 20, 10)
            return

        await server.inject(Fault.half_open())
        await talk.ask("two")

        assert talk.count(events.Resumed) == 1
