"""The bare adapter against the emulator: frames in, Structs out."""

from __future__ import annotations

import asyncio
import json

import pytest
from websockets.exceptions import InvalidStatus

from resumekit.adapters import websockets as resumable
from resumekit.core import events
from resumekit.emulator import Fault, Trigger, parse_answer
from resumekit.errors import (
    ConfigurationError,
    ConnectFailed,
    ConnectRefused,
    LocalProtocolError,
    SessionClosed,
    SessionLost,
)
from resumekit.wire import HistoryTurn, decode_server
from tests.adapters.support import MODEL, nothing_is_left, policy, server, settled
from tests.proofs.virtual import in_virtual_time

pytestmark = pytest.mark.network
PROFILES = pytest.mark.parametrize("profile", ["developer", "vertex"])
PATHS = {
    "developer": "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
    "vertex": "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent",
}
HEADERS = {"x-goog-api-key": "k", "Authorization": "Bearer tok"}
SETUP = {"model": f"models/{MODEL}", "generationConfig": {"responseModalities": ["TEXT"]}}


def address(live):
    return f"wss://{live.host}:{live.port}{PATHS[live.settings.profile]}"


def connect(live, **arguments):
    given = {
        "setup": SETUP,
        "additional_headers": HEADERS,
        "ssl": live.client_ssl_context(),
        "policy": policy(**arguments.pop("fields", {})),
    }
    return resumable.connect(arguments.pop("uri", address(live)), **{**given, **arguments})


def question(text):
    return {"clientContent": {"turns": [{"role": "user", "parts": [{"text": text}]}], "turnComplete": True}}


async def answer_of(session):
    said = ""
    async for message in session:
        content = message.server_content
        if content is None:
            continue
        said = "" if content.interrupted else said
        said += "".join(part.text or "" for part in (content.model_turn.parts if content.model_turn else ()))
        if content.turn_complete:
            return parse_answer(said)
    raise AssertionError("it ended")


async def ask(session, text):
    await session.send(question(text))
    return await answer_of(session)


@PROFILES
async def test_a_conversation_lives_through_a_cut(profile):
    async with server(profile, faults=[Fault.rst(Trigger.mid_answer(2), binding=0)]) as live, nothing_is_left():
        async with connect(live) as session:
            assert session.setup_complete.setup_complete is not None
            for number in range(3):
                assert (await ask(session, f"{number}")).turns_held == number + 1
            assert session.stats.turns_reanswered == 1
        assert live.ledger.report(["0", "1", "2"]).ok
        setup = json.loads(live.ledger.raw(0)[0])["setup"]
        assert setup["sessionResumption"] == ({"transparent": True} if profile == "vertex" else {})
        kinds = [type(event) async for event in session.events]
        assert kinds[:2] == [events.SessionStarted, events.Connected]
        assert kinds[-1] is events.SessionEnded


async def test_frames_may_be_text_bytes_or_mappings_and_come_as_bytes_too():
    async with server() as live, connect(live, setup=json.dumps({"setup": SETUP})) as session:
        for number, frame in enumerate((question("0"), json.dumps(question("1")), json.dumps(question("2")).encode())):
            await session.send(frame)
            assert (await answer_of(session)).asked == f"{number}"
        await session.send(question("3"))
        frame = await session.recv_bytes()
        assert decode_server(frame).raw == frame
        with pytest.raises(LocalProtocolError):
            await session.send("nonsense")


async def test_a_reconnect_on_demand_is_told():
    async with server() as live, nothing_is_left(), connect(live) as session:
        assert (await ask(session, "one")).asked == "one"
        assert await settled(lambda: session._driver.last_handle is not None)
        session.force_reconnect()
        assert (await ask(session, "two")).turns_held == 2
        assert session.stats.connections == 2
        await session.close()
        told = [type(event) for event in [event async for event in session.events]]
        assert told.count(events.Connected) == told.count(events.Resumed) == told.count(events.SessionEnded) == 1
        with pytest.raises(SessionClosed):
            session.force_reconnect()


async def test_the_end_of_a_session():
    async with server() as live, connect(live) as session:
        await session.end()
        await session.close()
        assert [message async for message in session] == []
        for use in (session.recv(), session.recv_bytes(), session.send(question("x"))):
            with pytest.raises(SessionClosed):
                await use


@PROFILES
async def test_address_and_headers_are_asked_at_each_dial(profile):
    async with server(profile) as live:
        asked = []

        async def uri():
            await asyncio.sleep(0)
            asked.append("uri")
            return address(live)

        def headers():
            asked.append("headers")
            return HEADERS

        async with connect(live, uri=uri, additional_headers=headers) as session:
            await ask(session, "one")
            session.force_reconnect()
            assert (await ask(session, "two")).turns_held == 2
        assert asked == ["uri", "headers"] * 2


@pytest.mark.parametrize("status", [401, 404])
async def test_a_refusal_is_told_at_once(status):
    async with server(faults=[Fault.handshake(status, times=None)]) as live, nothing_is_left():
        with pytest.raises(ConnectRefused, match=f"HTTP {status}") as caught:
            await connect(live).__aenter__()
        assert isinstance(caught.value.__cause__, InvalidStatus)
        assert len(live.connections) == 1


@in_virtual_time
async def test_a_failure_that_does_not_pass_is_told_at_the_deadline():
    async with server(faults=[Fault.handshake(503, times=None)]) as live, nothing_is_left():
        with pytest.raises(ConnectFailed, match="HTTP 503"):
            await connect(live, fields={"first_connect_deadline": 60.0}).__aenter__()


async def test_a_session_that_is_lost_is_told():
    async with server() as live, connect(live, fields={"max_outage": 20.0}) as session:
        await ask(session, "one")
        live.inject(Fault.handshake(503, retry_after=0.5, times=None))
        live.inject(Fault.rst())
        with pytest.raises(SessionLost) as caught:
            await ask(session, "two")
        assert caught.value.status_code == 503


async def test_an_error_of_ones_own_callable_comes_out_unchanged():
    error = KeyError("TOKEN")

    def headers():
        raise error

    async with server() as live, nothing_is_left():
        with pytest.raises(KeyError) as caught:
            await connect(live, additional_headers=headers).__aenter__()
        assert caught.value is error


@pytest.mark.parametrize("setup", ["nonsense", "[]", 3, {"setup": 3}, {"model": object()}, '{"setup": []}'])
async def test_a_bad_setup_is_an_error(setup):
    with pytest.raises(ConfigurationError, match="setup"):
        await resumable.connect("ws://127.0.0.1:1", setup=setup).__aenter__()


@pytest.mark.parametrize(
    ("arguments", "transparent"),
    [
        ({"transparent": True}, True),
        ({"fields": {"transparent": True}}, True),
        ({"fields": {"transparent": True}, "transparent": False}, False),
        ({}, False),
        ({"setup": {**SETUP, "model": "projects/p/locations/l/publishers/google/models/gemini-live-2.5"}}, True),
    ],
)
async def test_who_says_whether_resumption_is_transparent(arguments, transparent):
    async with server(accept_transparent=True) as live, connect(live, **arguments):
        setup = json.loads(live.ledger.raw(0)[0])["setup"]
        assert setup["sessionResumption"] == ({"transparent": True} if transparent else {})


@pytest.mark.parametrize(
    "history",
    [
        [HistoryTurn("user", "before"), HistoryTurn("model", "yes")],
        [{"role": "user", "parts": [{"text": "before"}]}, {"role": "model", "parts": [{"text": "yes"}]}],
        lambda: ["before", HistoryTurn("model", "yes")],
    ],
)
async def test_history_is_replayed(history):
    async with server() as live, connect(live, history=history) as session:
        assert (await ask(session, "now [recall]")).recall[0] == "before"


async def test_the_default_trust_is_that_of_the_system():
    async with server() as live, nothing_is_left():
        with pytest.raises(ConnectRefused, match="certificate verify failed") as caught:
            await connect(live, ssl=None).__aenter__()
        assert isinstance(caught.value.__cause__, OSError)
