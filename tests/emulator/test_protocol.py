"""Handshake, setup, frames, history rules and refusals, on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl

import pytest
from websockets.exceptions import InvalidStatus

from resumekit.emulator import Fault, Trigger, parse_answer
from tests.emulator.helpers import HEADERS, MODEL, PATHS, dial, kinds, said, server, session
from tests.emulator.jumping import in_jumping_time

pytestmark = pytest.mark.network

INVALID = (1007, "Request contains an invalid argument.")


# --- handshake --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v1alpha", "v1beta", "v1"])
async def test_every_version_of_the_developer_path_is_served(version):
    async with server() as live, dial(live, path=PATHS["developer"].replace("v1beta", version)) as wire:
        assert await wire.setup() == {"setupComplete": {}}


@pytest.mark.parametrize("version", ["v1beta1", "v1"])
async def test_every_version_of_the_vertex_path_is_served(version):
    async with server(profile="vertex") as live, dial(live, path=PATHS["vertex"].replace("v1beta1", version)) as wire:
        assert "sessionId" in (await wire.setup())["setupComplete"]


@pytest.mark.parametrize(
    ("settings", "path", "headers", "status"),
    [
        ({}, PATHS["vertex"], None, 404),
        ({}, "/", None, 404),
        ({}, None, {}, 403),
        ({"credential": "right"}, None, {"x-goog-api-key": "wrong"}, 403),
        ({"profile": "vertex"}, None, {}, 401),
        ({"profile": "vertex", "credential": "right"}, None, {"Authorization": "Bearer wrong"}, 401),
    ],
)
async def test_a_bad_path_or_credential_is_refused_at_the_handshake(settings, path, headers, status):
    async with server(**settings) as live:
        with pytest.raises(InvalidStatus) as caught:
            async with dial(live, path=path, headers=headers):
                pass
        assert caught.value.response.status_code == status
        assert live.connections[0].http_status == status


async def test_the_key_may_be_in_the_query():
    async with server(credential="a") as live, dial(live, path=PATHS["developer"] + "?key=a", headers={}) as wire:
        assert await wire.setup() == {"setupComplete": {}}


async def test_vertex_takes_a_key_as_well():
    """Express mode."""
    headers = {"x-goog-api-key": "a"}
    async with server(profile="vertex", credential="a") as live, dial(live, headers=headers) as wire:
        assert "setupComplete" in await wire.setup()


async def test_only_the_throw_away_ca_vouches_for_the_server():
    async with server() as live:
        live.client_ssl_context = ssl.create_default_context
        with pytest.raises(ssl.SSLCertVerificationError):
            async with dial(live):
                pass


# --- frames -----------------------------------------------------------------------------------------------------


async def test_frames_are_binary_and_pretty_printed():
    async with server() as live, session(live) as wire:
        assert wire.payloads == [b'{\n  "setupComplete": {}\n}\n']


async def test_frames_can_be_compact_text():
    async with server(framing="text", pretty=False) as live, session(live) as wire:
        assert wire.payloads == ['{"setupComplete":{}}']


async def test_a_turn_of_the_developer_api():
    async with server() as live, session(live) as wire:
        await wire.content("hello")
        frames = await wire.turn()
        assert kinds(frames) == ["sessionResumptionUpdate", *["modelTurn"] * 4, "generationComplete", "turnComplete"]
        assert said(frames) == "answer to hello: 1 user turns held"
        assert frames[-1]["usageMetadata"]["responseTokenCount"] > 0
        assert "role" not in frames[1]["serverContent"]["modelTurn"]


async def test_a_turn_of_vertex():
    async with server(profile="vertex", mid_answer_handles=0) as live, session(live) as wire:
        await wire.content("hello")
        frames = await wire.turn()
        assert kinds(frames) == [*["modelTurn"] * 4, "generationComplete", "turnComplete"]
        assert frames[0]["serverContent"]["modelTurn"]["role"] == "model"
        assert frames[-1]["usageMetadata"]["candidatesTokenCount"] > 0
        assert frames[-1]["serverContent"]["groundingMetadata"] == {}


async def test_snake_case_is_read_as_camel_case_is():
    async with server() as live, dial(live) as wire:
        body = {"model": MODEL["2.5"], "generation_config": {"response_modalities": ["TEXT"]}, "session_resumption": {}}
        await wire.send({"setup": body})
        await wire.recv()
        await wire.send({"clientContent": {"turns": [{"parts": [{"text": "hi"}]}], "turn_complete": True}})
        assert said(await wire.turn()).startswith("answer to hi:")


async def test_answers_are_deterministic():
    answers = []
    for _ in range(2):
        async with server(seed=7, profile="vertex") as live, session(live) as wire:
            await wire.content("x")
            await wire.until(lambda frame: "usageMetadata" in frame)
            answers.append(wire.payloads)
    assert answers[0] == answers[1]


# --- the gate ---------------------------------------------------------------------------------------------------


@in_jumping_time
async def test_a_message_before_setup_complete_is_refused():
    async with server(setup_delay=50) as live, dial(live) as wire:
        await wire.send({"setup": {"model": MODEL["2.5"]}})
        await wire.content("too early")
        assert await wire.closed() == INVALID
        assert live.ledger.held() == []


async def test_a_lenient_gate_lets_it_pass():
    async with server(setup_delay=1, lenient_gate=True) as live, dial(live) as wire:
        await wire.send({"setup": {"model": MODEL["2.5"], "generationConfig": {"responseModalities": ["TEXT"]}}})
        await wire.content("early")
        assert said(await wire.turn()).startswith("answer to early")


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ({"client_content": {}}, 1007, "setup must be the first message"),
        ({"typo": {}}, 1007, 'Invalid JSON payload received. Unknown name "typo": Cannot find field.'),
        (b"\x0a\x10\xff\xfe", 1007, "Invalid JSON payload received."),
        ("not json", 1007, "Invalid JSON payload received."),
        (
            {"setup": {"model": MODEL["2.5"], "sesionResumption": {}}},
            1007,
            "Invalid JSON payload received. Unknown name \"sesionResumption\" at 'setup'",
        ),
        (
            {"setup": {"model": MODEL["2.5"], "sessionResumption": {"foo": 1}}},
            1007,
            'Invalid JSON payload received. Unknown name "foo"',
        ),
        (
            {"setup": {"model": "models/bard"}},
            1008,
            "models/bard is not found for API version v1beta, or is not supported for bidiGenerateContent.",
        ),
        ({"setup": {"model": MODEL["2.5"], "sessionResumption": {"transparent": True}}}, *INVALID),
        (
            {"setup": {"model": MODEL["2.5"], "generationConfig": {"responseModalities": ["TEXT", "AUDIO"]}}},
            1007,
            "At most one response modality can be specified in the setup request. To enable",
        ),
    ],
)
async def test_a_bad_first_message_is_refused_with_the_real_text(message, code, reason):
    async with server() as live, dial(live) as wire:
        await wire.send(message)
        closed_code, closed_reason = await wire.closed()
        assert closed_code == code
        assert closed_reason.startswith(reason)
        assert len(closed_reason.encode()) <= 123
        assert live.connections[0].refused is not None


async def test_transparent_can_be_taken_silently_on_the_developer_api():
    async with server(accept_transparent=True) as live, session(live, transparent=True) as wire:
        await wire.content("x")
        frames = await wire.until(lambda frame: "newHandle" in frame.get("sessionResumptionUpdate", {}))
        assert "lastConsumedClientMessageIndex" not in frames[-1]["sessionResumptionUpdate"]


async def test_known_models_can_be_listed():
    async with server(known_models=("mine",)) as live, dial(live) as wire:
        await wire.send({"setup": {"model": MODEL["2.5"]}})
        assert (await wire.closed())[0] == 1008


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"setup": {"model": MODEL["2.5"]}}, "setup must be the first message"),
        ({"brandNew": {}}, 'Invalid JSON payload received. Unknown name "brandNew"'),
        ({"realtime_input": {"activityStart": {}}}, "Explicit activity control is not supported"),
        ("{", "Invalid JSON payload received."),
    ],
)
async def test_a_bad_later_message_is_refused(message, reason):
    async with server() as live, session(live) as wire:
        await wire.send(message)
        code, text = await wire.closed()
        assert code == 1007
        assert text.startswith(reason)


# --- history and text input ----------------------------------------------------------------------------------------


async def test_text_may_come_in_any_form_to_2_5():
    async with server(model="2.5") as live, session(live) as wire:
        await wire.ask("one")
        await wire.live("two")
        assert said(await wire.turn()) == "answer to two: 2 user turns held"
        assert (await wire.ask("three")).startswith("answer to three: 3")


async def test_content_after_the_first_model_turn_is_refused_by_3_x():
    async with server(model="3.x") as live, session(live, model=MODEL["3.x"]) as wire:
        await wire.ask("one")
        await wire.live("two")
        await wire.turn()
        await wire.content("three")
        assert await wire.closed() == INVALID
        assert live.ledger.report(["one", "two", "three"]).lost == ["three"]


@pytest.mark.parametrize("family", ["2.5", "3.x"])
async def test_initial_history_is_silent_until_turn_complete(family):
    async with (
        server(model=family) as live,
        session(live, historyConfig={"initialHistoryInClientContent": True}) as wire,
    ):
        seed = [{"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": [{"text": "b"}]}]
        await wire.send({"client_content": {"turns": seed}})
        await wire.content("c", complete=True)
        assert await wire.silent(0.1)
        await wire.live("d [recall]")
        assert parse_answer(said(await wire.turn())).recall == ["a", "c", "d [recall]"]
        assert live.ledger.report(["a", "c", "d [recall]"]).ok


@pytest.mark.parametrize("answers", [False, True])
async def test_a_question_that_ends_the_history_can_be_answered_with_the_next(answers):
    async with (
        server(model="3.x", answers_history=answers) as live,
        session(live, historyConfig={"initialHistoryInClientContent": True}) as wire,
    ):
        await wire.content("a")
        assert await wire.silent(0.05)
        await wire.live("b")
        assert parse_answer(said(await wire.turn())).asked == ("a + b" if answers else "b")


async def test_after_its_history_3_x_takes_text_as_realtime_input_only():
    async with (
        server(model="3.x") as live,
        session(live, historyConfig={"initialHistoryInClientContent": True}) as wire,
    ):
        await wire.content("said by me", role="model")
        await wire.content("question")
        assert await wire.closed() == INVALID


async def test_content_without_turn_complete_is_context():
    async with server() as live, session(live) as wire:
        await wire.content("by the way", complete=False)
        assert await wire.silent(0.05)
        assert await wire.ask("so?") == "answer to so?: 2 user turns held"


async def test_the_family_can_follow_the_client():
    async with server(model="auto") as live, session(live, model=MODEL["3.x"]) as wire:
        await wire.ask("one")
        await wire.content("two")
        assert await wire.closed() == INVALID


async def test_a_context_update_is_taken_in():
    async with server() as live, session(live) as wire:
        await wire.send({"contextUpdate": {"tools": {"tools": []}}})
        await wire.ask("x")
        assert live.ledger.held() == ['context:{"tools":{"tools":[]}}', "x"]


# --- records ----------------------------------------------------------------------------------------------------


async def test_a_connection_leaves_a_record():
    async with server() as live:
        async with session(live) as wire:
            await wire.ask("x")
            await wire.handle()
        async with session(live):
            pass
        record = live.connections[0]
        assert (record.closed_by, record.close_code) == ("client", 1000)
        assert record.opened_at <= record.setup_at <= record.bound_at <= record.closed_at
        assert (record.frames_in, record.turns_completed, record.handles_issued) == (2, 1, 1)
        assert {"opened", "bound", "question", "turn_complete", "handle", "closed"} <= {
            event.kind for event in live.events
        }
        assert json.dumps(record.as_dict())


async def test_leaving_the_server_ends_its_connections_and_removes_its_files(tmp_path):
    async with server() as live, dial(live) as wire:
        await wire.setup()
        ca_file = tmp_path.__class__(live.ca_file)
        assert "BEGIN CERTIFICATE" in ca_file.read_text()
        await live.__aexit__(None, None, None)
        assert await wire.closed() == (1006, "")
        assert not ca_file.exists()


@in_jumping_time
async def test_a_server_that_is_down_keeps_its_port():
    async with server() as live, session(live) as wire:
        live.inject(Fault.listener_down(25))
        live.inject(Fault.listener_down(25))  # it is down already
        await wire.closed()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(live.host, live.port)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((live.host, live.port))
        while len(live.connections) < 2:
            await asyncio.sleep(0.01)
            with contextlib.suppress(ConnectionRefusedError):
                async with session(live) as again:
                    await again.ask("x")


async def test_nothing_is_left_behind():
    before = asyncio.all_tasks()
    faults = [
        Fault.half_open(1000, at=Trigger.turn_complete(), connection=0),
        Fault.go_away(1000, at=Trigger.bound(), connection=1),
    ]
    async with server(faults=faults) as live, session(live) as one, session(live) as two:
        await one.content("x")
        await two.content("x [think:1000]")
        async with dial(live):
            live.inject(Fault.listener_down(1000))
            await two.closed()
    assert asyncio.all_tasks() == before


async def test_a_bug_of_the_emulator_is_raised_when_it_is_left(monkeypatch):
    monkeypatch.setattr("resumekit.emulator.generation.plan", lambda *a, **k: 1 / 0)
    live = await server().__aenter__()
    async with session(live) as wire:
        await wire.content("x")
        assert await wire.closed() == (1011, "Internal error encountered.")
    with pytest.raises(ExceptionGroup, match="the emulator failed"):
        await live.__aexit__(None, None, None)


async def test_evidence_can_be_thrown_away():
    async with server(keep_raw=False) as live, session(live) as wire:
        await wire.ask("x")
        assert live.ledger.raw(0) == []
        assert live.ledger.report(["x"]).ok


async def test_two_servers_live_side_by_side():
    async with server() as one, server(profile="vertex") as two, session(one) as left, session(two) as right:
        assert HEADERS["vertex"] != HEADERS["developer"]
        assert await left.ask("x") == await right.ask("x")


async def test_a_connection_without_a_setup_can_be_closed():
    async with server(setup_patience=5) as live, dial(live) as wire:
        assert await wire.closed() == (1008, "The operation was aborted.")
