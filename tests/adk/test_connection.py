"""The connection that ADK gets: its end, what it makes of bad messages and frames, and what it keeps secret."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from pathlib import Path

import pytest
from google.adk.agents import LiveRequestQueue
from google.genai import types

from resumekit import errors
from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from tests.adk.support import ADK, Tool, config, eventually, policy, question, run, service, words
from tests.secrets import API_KEY, TOKEN, leaks

pytestmark = pytest.mark.network


def notices(talk) -> list[str]:
    return [event.custom_metadata["resumekit"]["event"] for event in talk.events if event.custom_metadata]


# --- what the application is told ---------------------------------------------------------------------------------


async def test_notices_come_in_order_and_are_not_stored():
    async with service() as server, run(server) as talk:
        await talk.ask("one")
        await talk.anchored()
        await server.inject(Fault.go_away(10.0, at=Trigger.mid_answer(1)))
        await talk.ask("two")
        await talk.told_of(events.Resumed)
        await talk.ask("three")
        assert notices(talk) == ["GoAwayReceived", "Resumed"]
        assert not any(event.custom_metadata for event in await talk.stored())
        told = [event.custom_metadata["resumekit"] for event in talk.events if event.custom_metadata]
        assert told[1]["planned"] is True


async def test_without_notices_adk_tells_nothing():
    async with service() as server, run(server, notices=False) as talk:
        await talk.ask("one")
        await server.inject(Fault.rst(at=Trigger.mid_answer(1)))
        await talk.ask("two")
        assert not notices(talk)
        assert talk.count(events.TurnCut) == 1


# --- handles ------------------------------------------------------------------------------------------------------


@pytest.fixture
def logged():
    """Everything that anybody logs, formatted."""
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record):
            lines.append(self.format(record))

    root, handler = logging.getLogger(), Handler()
    names = ["google_adk", "google_genai", "websockets", "resumekit"]
    levels = {name: logging.getLogger(name).level for name in [*names, "root"]}
    root.addHandler(handler)
    for name in [*names, "root"]:
        logging.getLogger(None if name == "root" else name).setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(None if name == "root" else name).setLevel(level)


@pytest.mark.skipif(ADK < (2,), reason="ADK before 2.0 does not show handles")
@pytest.mark.parametrize("profile", ["developer", "vertex"])
async def test_an_application_can_go_on_with_a_handle_that_nobody_logs(profile, logged):
    handles = []
    async with service(profile) as server:
        async with run(server) as talk:
            await talk.ask("one")
            await talk.anchored()
            await server.inject(Fault.rst())
            await talk.told_of(events.Resumed)
            await talk.ask("two")
            await talk.anchored()
            await talk.until(lambda: len(shown_handles(talk)) == talk.count(events.HandleReceived))
            await talk.close()
            handles = shown_handles(talk)
            service_ = talk.runner.session_service
            written = [repr(event) for event in talk.events] + [str(event) for event in talk.events]
            assert any(handles[-1] in event.model_dump_json() for event in talk.events)
        again = config(session_resumption=types.SessionResumptionConfig(handle=handles[-1]))
        async with run(server, run_config=again, session_service=service_) as talk:
            shown = await talk.ask("three")
            assert "answer to three: 3 user turns" in "".join(map(words, shown))
            connected = next(event for event in talk.told if isinstance(event, events.Connected))
            assert connected.resumed
            handles += shown_handles(talk)
            written += [repr(event) for event in talk.events] + [repr(event) for event in talk.told]
            await talk.close()
        report = await server.ledger_report(["one", "two", "three"])
        assert (report.lost, report.doubled, report.reordered) == ([], [], [])
    assert len(logged) > 50
    assert not leaks(logged, {API_KEY, TOKEN})
    for handle in set(handles):
        assert handle not in "\n".join(logged)
        assert handle not in "\n".join(written)


def shown_handles(talk) -> list[str]:
    updates = [event.live_session_resumption_update for event in talk.events]
    return [update.new_handle for update in updates if update is not None]


async def test_updates_are_shown_to_who_asked_for_them():
    async with service() as server, run(server, run_config=config(session_resumption=None)) as talk:
        await talk.ask("one")
        await talk.anchored()
        await talk.ask("two")
        assert ADK < (2,) or not shown_handles(talk)


async def test_a_handle_that_is_refused_is_a_fresh_start_with_the_history():
    async with service() as server:
        async with run(server) as talk:
            await talk.ask("one")
            await talk.close()
            service_ = talk.runner.session_service
        bad = config(session_resumption=types.SessionResumptionConfig(handle="no-such-handle"))
        async with run(server, run_config=bad, session_service=service_) as talk:
            shown = await talk.ask("two [recall]")
            assert "recall: one | two" in "".join(map(words, shown))
            assert "HandleRefused" in notices(talk)
            # Later, too, the history is the same, and whole.
            await talk.anchored()
            await server.inject(Fault.expire_handles(), Fault.rst())
            await talk.told_of(events.FreshStarted)
            shown = await talk.ask("three [recall]")
            assert "recall: one | two [recall] | three [recall]" in "".join(map(words, shown))


async def test_adk_does_not_dial_again_where_the_first_connection_fails_for_good():
    wishes = config(session_resumption=types.SessionResumptionConfig(handle="a-handle"))
    patience = policy(first_connect_deadline=60.0)
    fault = Fault.close(1011, "Internal error encountered.", at=Trigger.setup_received(), times=None)
    async with service(faults=[fault]) as server, run(server, run_config=wishes, policy=patience) as talk:
        with pytest.raises(errors.ConnectFailed) as caught:
            await talk.task
        assert caught.value.__cause__ is not None
        assert len([event for event in talk.told if isinstance(event, events.SessionEnded)]) == 1


# --- transparent --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transparent", [True, False])
@pytest.mark.parametrize("profile", ["developer", "vertex"])
async def test_transparent_goes_where_it_is_known(profile, transparent, caplog):
    wishes = config(session_resumption=types.SessionResumptionConfig(transparent=transparent))
    async with service(profile) as server, run(server, run_config=wishes) as talk:
        await talk.ask("one")
        await talk.anchored()
        await server.inject(Fault.rst())
        await talk.told_of(events.Resumed)
        await talk.ask("two")
        for connection in (0, 1):
            setup = (await server.raw(connection))[0].replace(b" ", b"")
            assert (b'"transparent":true' in setup) == (profile == "vertex" and transparent)
    warned = [record for record in caplog.records if "transparent session resumption" in record.getMessage()]
    assert len(warned) == (profile == "developer" and transparent)


# --- bad messages and frames --------------------------------------------------------------------------------------

BAD = {
    "no parts": types.Content(role="user"),
    "no parts in a list": types.Content(role="user", parts=[]),
    "a call": types.Content(role="user", parts=[types.Part(function_call=types.FunctionCall(name="x", args={}))]),
    "too large": types.Content(role="user", parts=[types.Part(text="x" * 70_000)]),
    "a blob without data": types.Blob(mime_type="audio/pcm"),
    "a blob of nothing known": types.Blob(mime_type="none/such", data=b"?"),
}
SMALL = {"control_bytes": 65_536}


@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_message_does_not_make_the_session_deaf(bad):
    async with service() as server, run(server, policy=policy(**SMALL)) as talk:
        await talk.ask("one")
        send(talk, BAD[bad])
        if bad != "a blob of nothing known":
            await talk.told_of(events.MessageNotSent)
        shown = await talk.ask("two")
        assert "answer to two" in "".join(map(words, shown))
        assert talk.count(events.MessageNotSent) == notices(talk).count("MessageNotSent")
        await talk.close()
        report = await server.ledger_report(["one", "two"])
        assert (report.lost, report.doubled, report.reordered) == ([], [], [])


@pytest.mark.parametrize("bad", BAD)
async def test_without_the_plugin_a_bad_message_is_reported_or_ends_the_run(bad):
    """Where ADK itself stumbles over it, nobody would send any more; that must not go unnoticed."""
    kills = {"a call"} if ADK >= (2, 1) else {"a blob without data"}
    async with service() as server, run(server, policy=policy(**SMALL), plugins=[]) as talk:
        await talk.ask("one")
        send(talk, BAD[bad])
        if bad in kills:
            with pytest.raises((ValueError, TypeError)) as caught:  # ADK looks at its sender in the end
                await talk.task
            assert isinstance(caught.value.__context__, errors.SenderFailed)
        else:
            talk.queue.send_content(question("two"))
            await talk.answered("two")


def send(talk, message) -> None:
    if isinstance(message, types.Blob):
        talk.queue.send_realtime(message)
    else:
        talk.queue.send_content(message)


FRAMES = [Fault.odd_values, Fault.unknown_keys, Fault.not_json, Fault.truncated_frame]


async def test_frames_that_nobody_can_read_disturb_nothing():
    faults = [make(at=Trigger.mid_answer(n), connection=0) for n, make in enumerate(FRAMES, 1)]
    async with service(faults=faults, output_chunks=6) as server, run(server) as talk:
        await talk.ask("one")
        shown = await talk.ask("two")
        await talk.close()
        assert [words(event) for event in await talk.stored() if event.author == "an_agent" and words(event)] == [
            "answer to one: 1 user turns held",
            "answer to two: 2 user turns held",
        ]
        assert "".join(words(event) for event in shown if event.partial) == "answer to two: 2 user turns held"
        assert talk.count(events.FrameDiscarded) == 4
        assert len(await server.connections()) == 1


async def test_calls_that_adk_keeps_survive_a_frame_that_cannot_be_read():
    ran = []

    def look_up() -> str:
        """Look something up."""
        ran.append(1)
        return "found"

    fault = Fault.odd_values(at=Trigger.tool_call())
    async with service(faults=[fault]) as server, run(server, tools=[look_up]) as talk:
        await talk.ask_all("[tool:look_up]", "results")
        assert ran == [1]


# --- the end ------------------------------------------------------------------------------------------------------


def sockets() -> int:
    """Return how many this process has open."""
    return sum(path.readlink().name.startswith("socket:") for path in Path("/proc/self/fd").iterdir() if path.exists())


class Left:
    """What a run leaves behind, seen from before it."""

    def __init__(self) -> None:
        self._tasks, self._threads, self._sockets = asyncio.all_tasks(), set(threading.enumerate()), sockets()

    async def nothing(self) -> None:
        """Wait until there is nothing; some of it takes a few more turns of the loop."""
        gc.collect()
        await eventually(lambda: asyncio.all_tasks() <= self._tasks | {asyncio.current_task()})
        await eventually(lambda: sockets() <= self._sockets)
        kept = [thread.name for thread in set(threading.enumerate()) - self._threads]
        assert all(name.startswith("asyncio_") for name in kept)  # the loop's own pool


async def idle(talk, tool):
    await talk.ask("one")


async def before_anything(talk, tool):
    await talk.told_of(events.Connected)


async def in_mid_answer(talk, tool):
    await talk.server.inject(Fault.silence(1000.0, at=Trigger.mid_answer(2), connection=0))
    talk.queue.send_content(question("one"))
    await talk.until(lambda: any(words(event) for event in talk.events))


async def while_a_tool_runs(talk, tool):
    talk.queue.send_content(question(tool.CALLED))
    await tool.started.wait()
    tool.may_return.set()  # but not before the queue is closed: nobody else runs until then


async def while_the_service_is_down(talk, tool):
    await talk.ask("one")
    await talk.server.inject(Fault.listener_down(1000.0))
    await talk.told_of(events.ConnectionLost)


async def as_the_service_says_go_away(talk, tool):
    await talk.ask("one")
    await talk.server.inject(Fault.go_away(10.0))
    await talk.told_of(events.GoAwayReceived)


async def as_a_cut_turn_is_answered_again(talk, tool):
    await in_mid_answer(talk, tool)
    await talk.server.inject(Fault.rst())
    await talk.told_of(events.TurnCut)


MOMENTS = [
    idle,
    before_anything,
    in_mid_answer,
    while_a_tool_runs,
    while_the_service_is_down,
    as_the_service_says_go_away,
    as_a_cut_turn_is_answered_again,
]
moments = pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)


@moments
async def test_close_ends_the_run_and_all_of_it(moment):
    tool = Tool()
    async with service() as server:
        left = Left()
        async with run(server, tools=[tool.function]) as talk:
            await moment(talk, tool)
            await talk.close()
            assert talk.count(events.SessionEnded) == 1
            assert isinstance(talk.told[-1], events.SessionEnded)
        await left.nothing()


@moments
async def test_leaving_the_run_ends_all_of_it(moment):
    tool = Tool()
    async with service() as server:
        left = Left()
        async with run(server, tools=[tool.function]) as talk:
            await moment(talk, tool)
            talk.task.cancel()
            await asyncio.wait({talk.task})
            assert talk.count(events.SessionEnded) == 1
        await left.nothing()


@pytest.mark.parametrize("how", ["break", "aclose"])
async def test_an_abandoned_run_ends_too(how):
    told = []
    async with service() as server:
        left = Left()
        async with run(server, on_event=told.append) as talk:
            await talk.ask("one")
            await talk.close()
            names = {"user_id": "a-user", "session_id": "another-session"}
            await talk.runner.session_service.create_session(app_name="an-app", **names)
            queue = LiveRequestQueue()
            queue.send_content(question("two"))
            live = talk.runner.run_live(**names, live_request_queue=queue, run_config=config())
            async for _event in live:
                break
            if how == "aclose":
                await live.aclose()
            del live, _event
            gc.collect()
            await eventually(lambda: sum(isinstance(event, events.SessionEnded) for event in told) == 2)
        await left.nothing()
