"""Handles: cadence, indices, snapshots, refusals, bindings (RULES 1)."""

from __future__ import annotations

import asyncio
import contextlib
import re

import pytest
from websockets.exceptions import ConnectionClosed

from resumekit.emulator import parse_answer, silence, spoken
from tests.emulator.helpers import MODEL, dial, kinds, said, server, session
from tests.emulator.jumping import in_jumping_time

pytestmark = pytest.mark.network

MANUAL = {"realtimeInputConfig": {"automaticActivityDetection": {"disabled": True}}}
DEAD = (1007, "Invalid session handle.")


def updates(frames):
    return [frame["sessionResumptionUpdate"] for frame in frames if "sessionResumptionUpdate" in frame]


async def refused(live, **setup):
    async with dial(live) as wire:
        body = {"model": MODEL["2.5"], "sessionResumption": {"handle": setup.pop("handle")}, **setup}
        await wire.send({"setup": body})
        return await wire.closed()


# --- cadence ----------------------------------------------------------------------------------------------------


async def test_the_developer_api_takes_its_handle_back_during_a_turn_and_gives_one_after_it():
    async with server() as live, session(live) as wire:
        await wire.content("x")
        frames = await wire.turn()
        assert updates(frames) == [{}]
        after = await wire.recv()
        assert re.fullmatch(r"[0-9a-f-]{36}", after["sessionResumptionUpdate"]["newHandle"])
        assert after["sessionResumptionUpdate"]["resumable"] is True
        assert await wire.silent(0.05)


async def test_no_handle_while_a_tool_call_is_open():
    async with server(model="3.x") as live, session(live) as wire:
        await wire.content("[tool:a]")
        (call,) = await wire.calls()
        assert await wire.silent(0.1)
        await wire.respond(call)
        assert updates(await wire.turn()) == []
        await wire.handle()


async def test_no_handle_while_a_manual_activity_is_open():
    async with server() as live, session(live, **MANUAL) as wire:
        await wire.content("x")
        await wire.turn()
        await wire.send({"realtime_input": {"activityStart": {}}})
        assert await wire.silent(0.1)


@in_jumping_time
async def test_a_question_before_the_handle_makes_it_come_after_the_next_turn():
    async with server(handle_delay=25) as live, session(live) as wire:
        await wire.ask("one")
        await wire.ask("two")
        assert [update for update in updates(wire.frames) if update] == []
        await wire.handle()
        assert live.connections[0].handles_issued == 1


async def test_vertex_is_always_resumable_and_mid_answer_too():
    async with server(profile="vertex") as live, session(live, transparent=True) as wire:
        await wire.content("x")
        frames = await wire.turn()
        await wire.handle()
        seen = updates(wire.frames)
        assert len(updates(frames)) == 2
        assert all(update["resumable"] and len(update["newHandle"]) > 100 for update in seen)
        assert len({update["newHandle"] for update in seen}) == 3


@pytest.mark.parametrize(
    "settings",
    [
        {"profile": "vertex"},
        {"profile": "vertex", "mid_answer_handles": 0, "tool_call_handles": True},
        {"profile": "developer", "tool_call_handles": True},
    ],
)
async def test_vertex_gives_a_handle_with_a_tool_call_and_others_can(settings):
    async with server(model="3.x", **settings) as live, session(live) as wire:
        await wire.content("[tool:a]")
        await wire.calls()
        await wire.handle()


@pytest.mark.parametrize("settings", [{"mid_answer_handles": 0}, {"tool_call_handles": False}])
async def test_vertex_can_give_no_handle_with_a_tool_call(settings):
    async with server(profile="vertex", model="3.x", **settings) as live, session(live) as wire:
        await wire.content("[tool:a]")
        await wire.calls()
        assert await wire.silent(0.1)


@pytest.mark.parametrize(("profile", "comes"), [("vertex", True), ("developer", False)])
@in_jumping_time
async def test_vertex_gives_a_handle_when_a_call_has_ended_its_turn(profile, comes):
    async with server(profile=profile, model="3.x", tool_turns="at_end", tool_call_handles=False) as live:
        async with session(live) as wire:
            await wire.content("[tool:a]")
            (call,) = await wire.calls()
            await wire.turn()
            assert await wire.silent(0.1) != comes
        if comes:
            handle = wire.frames[-1]["sessionResumptionUpdate"]["newHandle"]
            async with session(live, handle=handle) as again:
                await again.respond(call)
                assert 'a={"ok":true}' in said(await again.turn())


async def test_the_developer_api_can_be_resumable_always():
    settings = {"always_resumable": True, "mid_answer_handles": 2, "handle_interval": 1}
    async with server(chunk_interval=2, **settings) as live, session(live) as wire:
        await wire.content("x [chunks:20]")
        frames = await wire.turn()
        assert {} not in updates(frames)
        assert len(updates(frames)) > 10


@pytest.mark.parametrize(("settings", "comes"), [({}, False), ({"always_resumable": True}, True)])
@in_jumping_time
async def test_the_developer_api_gives_no_handle_to_a_restored_state_that_waits_for_a_tool(settings, comes):
    async with server(model="3.x", tool_call_handles=True, handle_interval=2, **settings) as live:
        async with session(live) as wire:
            await wire.content("[tool:a]")
            await wire.calls()
            handle = await wire.handle()
        async with session(live, handle=handle) as again:
            assert await again.silent(0.2) != comes


@pytest.mark.parametrize("settings", [{"send_handles": False}, {"profile": "vertex", "send_handles": False}])
async def test_handles_can_be_withheld(settings):
    async with server(**settings) as live, session(live) as wire:
        await wire.ask("x")
        assert await wire.silent(0.1)
        assert updates(wire.frames) == []


async def test_nobody_gets_handles_who_did_not_ask():
    async with server() as live, session(live, resumption=False) as wire:
        await wire.ask("x")
        assert await wire.silent(0.1)


async def test_handles_can_come_at_setup_and_in_silence():
    async with server(handle_at_setup=True, handle_interval=1) as live, session(live) as wire:
        assert await wire.handle() != await wire.handle()


# --- indices ----------------------------------------------------------------------------------------------------


async def index_after(wire, text):
    await wire.content(text)
    await wire.turn()
    await wire.until(lambda frame: "sessionResumptionUpdate" in frame)
    return wire.frames[-1]["sessionResumptionUpdate"].get("lastConsumedClientMessageIndex")


async def test_the_index_counts_every_message_and_is_a_string():
    async with server(profile="vertex", mid_answer_handles=0) as live, session(live, transparent=True) as wire:
        assert await index_after(wire, "one") == "1"
        await wire.content("context", complete=False)
        await wire.audio(bytes(640))
        assert await index_after(wire, "two") == "4"
        handle = wire.frames[-1]["sessionResumptionUpdate"]["newHandle"]
        await wire.socket.close()
        async with session(live, handle=handle, transparent=True) as again:
            assert await index_after(again, "three") == "1"


async def test_there_is_no_index_unless_asked_for():
    async with server(profile="vertex", mid_answer_handles=0) as live, session(live) as wire:
        assert await index_after(wire, "one") is None


@pytest.mark.parametrize(("settings", "shown"), [({"index_base": 0}, "1"), ({"lag": 1}, "1"), ({"lag": 2}, None)])
async def test_the_index_can_be_based_on_0_or_lag(settings, shown):
    async with (
        server(profile="vertex", mid_answer_handles=0, **settings) as live,
        session(live, transparent=True) as wire,
    ):
        await index_after(wire, "one")
        assert await index_after(wire, "two") == shown


async def test_the_index_can_go_on_from_connection_to_connection():
    async with server(profile="vertex", mid_answer_handles=0, index_restarts=False) as live:
        async with session(live, transparent=True) as wire:
            await wire.ask("one")
            handle = await wire.handle()
        async with session(live, handle=handle, transparent=True) as again:
            assert await index_after(again, "two") == "2"


@pytest.mark.parametrize(("counts", "shown"), [(True, "4"), (False, "1")])
async def test_audio_can_be_left_out_of_the_index(counts, shown):
    async with (
        server(profile="vertex", mid_answer_handles=0, index_counts_audio=counts) as live,
        session(live, transparent=True) as wire,
    ):
        await wire.audio(silence(0.12))
        assert await index_after(wire, "one") == shown


async def test_a_lagging_handle_names_the_state_of_its_index():
    async with server(profile="vertex", mid_answer_handles=0, lag=1) as live:
        async with session(live, transparent=True) as wire:
            await wire.ask("one")
            await wire.content("context", complete=False)
            await wire.ask("two")
            handle = await wire.handle()
        async with session(live, handle=handle) as again:
            answer = parse_answer(await again.ask("three [recall]"))
            assert answer.recall == ["one", "context", "three [recall]"]
            assert live.ledger.report(["one", "context", "two", "three [recall]"]).lost == ["two"]


@pytest.mark.parametrize("answers", [True, False])
async def test_a_question_in_a_resumed_state_can_be_answered_unasked(answers):
    async with server(profile="vertex", answers_after_resume=answers) as live:
        async with session(live) as wire:
            await wire.content("one [chunks:20]")
            handle = await wire.handle()
        async with session(live, handle=handle) as again:
            if not answers:
                await again.content("two")
            assert parse_answer(said(await again.turn())).asked == "one [chunks:20]" + " + two" * (not answers)


@in_jumping_time
async def test_a_client_that_answers_no_ping_loses_its_session_where_there_are_pings():
    async with server(keepalive=10) as live, dial(live) as mute:
        await mute.setup()
        await mute.ask("one")
        handle = await mute.handle()
        mute.socket.transport.pause_reading()
        async with asyncio.timeout(60):
            while True:
                async with dial(live) as again:
                    with contextlib.suppress(ConnectionClosed):  # 1011: the session is bound
                        await again.setup(handle=handle)
                        break
                await asyncio.sleep(0.1)
        mute.socket.transport.abort()


# --- snapshots --------------------------------------------------------------------------------------------------


async def test_a_resume_restores_the_state():
    async with server() as live:
        async with session(live) as wire:
            await wire.ask("one")
            handle = await wire.handle()
        async with session(live, handle=handle) as again:
            assert await again.ask("two") == "answer to two: 2 user turns held"
        assert live.connections[1].session_id == live.connections[0].session_id
        assert live.ledger.report(["one", "two"]).ok


async def test_an_old_handle_restores_an_old_state():
    async with server() as live:
        async with session(live) as wire:
            await wire.ask("one")
            old = await wire.handle()
            await wire.ask("two")
            await wire.handle()
        async with session(live, handle=old) as again:
            assert (await again.ask("three")).endswith("2 user turns held")
        report = live.ledger.report(["one", "two", "three"])
        assert report.lost == ["two"]
        assert report.lineage == [(0, 1), (1, 1)]


async def test_a_fresh_start_remembers_nothing():
    async with server() as live:
        async with session(live) as wire:
            await wire.ask("one")
        async with session(live) as again:
            assert (await again.ask("two")).endswith(": 1 user turns held")
        assert live.ledger.report(["one", "two"]).lost == ["one"]


@pytest.mark.parametrize(("snapshot_at", "held"), [("turn_complete", 2), ("sending", 3)])
async def test_a_handle_names_the_state_at_turn_complete_or_at_its_sending(snapshot_at, held):
    async with server(snapshot_at=snapshot_at, handle_delay=25) as live:
        async with session(live) as wire:
            await wire.ask("one")
            await wire.content("context", complete=False)
            handle = await wire.handle()
        async with session(live, handle=handle) as again:
            assert (await again.ask("two")).endswith(f": {held} user turns held")


async def test_a_cut_answer_never_continues_and_the_next_question_is_answered_with_it():
    async with server(profile="vertex") as live:
        async with session(live) as wire:
            await wire.content("one")
            handle = await wire.handle()
        async with session(live, handle=handle) as again:
            assert await again.silent(0.1)
            assert await again.ask("two") == "answer to one + two: 2 user turns held"


async def test_a_restored_state_goes_on_when_the_last_response_comes():
    async with server(profile="vertex", model="3.x") as live:
        async with session(live) as wire:
            await wire.content("[tool:a] [tool:b]")
            calls = await wire.calls()
            handle = await wire.handle()
        async with session(live, handle=handle) as again:
            await again.respond(calls[0])
            assert await again.silent(0.05)
            await again.respond(calls[1])
            answer = parse_answer(said(await again.turn()))
            assert answer.results == 'a={"ok":true}, b={"ok":true}'


async def test_the_head_of_an_utterance_is_part_of_the_state():
    async with server(profile="vertex", handle_interval=1) as live:
        pcm = spoken("a question in two halves", seconds=0.6)
        async with session(live) as wire:
            await wire.audio(pcm[:9600])
            await wire.handle()
            handle = await wire.handle()
        async with session(live, handle=handle) as again:
            await again.audio(pcm[9600:] + bytes(32000))
            assert said(await again.turn()).startswith("answer to a question in two halves:")


@pytest.mark.parametrize("manual", [False, True])
async def test_speech_that_was_not_heard_to_its_end_may_be_missing_in_the_state(manual):
    config = MANUAL if manual else {}
    pcm = spoken("a question in two halves", seconds=0.6)
    async with server(profile="vertex", handle_interval=1, snapshot_holds_speech=False) as live:
        async with session(live, **config) as wire:
            await wire.audio(spoken("one") + bytes(32000)) if not manual else await wire.content("one")
            await wire.turn()
            if manual:
                await wire.send({"realtime_input": {"activityStart": {}}})
            await wire.audio(pcm[:9600])
            await wire.handle()
            handle = await wire.handle()
        held = live.ledger.report().audio_ms
        async with session(live, handle=handle, **config) as again:
            if manual:
                await again.send({"realtime_input": {"activityStart": {}}})
            await again.audio(pcm + bytes(32000))
            if manual:
                await again.send({"realtime_input": {"activityEnd": {}}})
            assert said(await again.turn()) == "answer to a question in two halves: 2 user turns held"
        report = live.ledger.report(["activity_start", "activity_end"] if manual else [])
        assert report.ok
        assert report.audio_ms == held - 300 + 1600


# --- refusals ---------------------------------------------------------------------------------------------------


async def test_an_unknown_handle_is_refused():
    async with server() as live:
        assert await refused(live, handle="made-up") == DEAD


async def test_a_handle_of_another_model_is_refused():
    async with server() as live:
        async with session(live) as wire:
            await wire.ask("x")
            handle = await wire.handle()
        assert await refused(live, handle=handle, model=MODEL["3.x"]) == DEAD


async def test_a_handle_expires():
    async with server(handle_ttl=5) as live:
        async with session(live) as wire:
            await wire.ask("x")
            handle = await wire.handle()
        await asyncio.sleep(0.15)
        assert await refused(live, handle=handle) == DEAD


async def test_the_refusal_can_be_another():
    reason = "BidiGenerateContent session not found"
    async with server(invalid_handle_code=1008, invalid_handle_reason=reason) as live:
        assert await refused(live, handle="made-up") == (1008, reason)


async def test_handles_can_be_for_one_use():
    async with server(single_use=True) as live:
        async with session(live) as wire:
            await wire.ask("x")
            handle = await wire.handle()
        async with session(live, handle=handle):
            pass
        assert await refused(live, handle=handle) == DEAD


@pytest.mark.parametrize("settings", [{}, {"invalidate_older": True}])
async def test_older_handles_stay_valid_unless_told_otherwise(settings):
    async with server(**settings) as live:
        async with session(live) as wire:
            await wire.ask("x")
            old = await wire.handle()
            await wire.ask("y")
            await wire.handle()
        if settings:
            assert await refused(live, handle=old) == DEAD
        else:
            async with session(live, handle=old) as again:
                assert (await again.ask("z")).endswith("2 user turns held")


# --- bindings ---------------------------------------------------------------------------------------------------


async def test_a_resume_beside_the_old_socket_is_refused_until_that_is_closed():
    async with server() as live:
        async with session(live) as wire:
            await wire.ask("x")
            handle = await wire.handle()
            assert await refused(live, handle=handle) == (1011, "Session is already in use by another connection.")
        async with session(live, handle=handle) as again:
            assert (await again.ask("y")).endswith("2 user turns held")


async def test_the_text_of_that_refusal_is_a_guess_and_can_be_another():
    async with server(bound_elsewhere_reason="Internal error encountered.") as live, session(live) as wire:
        await wire.ask("x")
        assert await refused(live, handle=await wire.handle()) == (1011, "Internal error encountered.")


async def test_the_old_socket_can_be_evicted():
    async with server(bound_elsewhere="evict") as live, session(live) as wire:
        await wire.ask("x")
        handle = await wire.handle()
        async with session(live, handle=handle) as again:
            assert await wire.closed() == (1011, "The operation was aborted.")
            assert (await again.ask("y")).endswith("2 user turns held")


async def test_the_old_socket_can_be_left_alone():
    async with server(bound_elsewhere="allow") as live, session(live) as wire:
        await wire.ask("x")
        handle = await wire.handle()
        async with session(live, handle=handle) as again:
            assert (await again.ask("y")).endswith("2 user turns held")
            assert (await wire.ask("z")).endswith("2 user turns held")


# --- the age of a session ---------------------------------------------------------------------------------------


TOO_OLD = (1008, "BidiGenerateContent session expired")


@in_jumping_time
async def test_a_session_without_compression_ends_at_its_age_over_all_connections():
    async with server(session_age=20) as live:
        async with session(live) as wire:
            await wire.ask("one")
            handle = await wire.handle()
        async with session(live, handle=handle) as again:
            assert await again.closed() == TOO_OLD
            assert "goAway" not in kinds(again.frames)
        first, second = live.connections
        assert round(second.closed_at - first.bound_at, 3) == 0.4
        assert await refused(live, handle=handle) == TOO_OLD
        async with session(live) as fresh:
            assert await fresh.ask("two")


async def test_a_session_with_compression_does_not_age():
    config = {"contextWindowCompression": {"slidingWindow": {}}}
    async with server(session_age=2) as live:
        async with session(live, **config) as wire:
            await wire.ask("one")
            await asyncio.sleep(0.1)
            await wire.ask("two")
            handle = await wire.handle()
        async with session(live, handle=handle, **config) as again:
            assert await again.ask("three")


async def test_the_end_of_an_old_session_can_be_another():
    settings = {"session_close_code": 1007, "session_close_reason": "Request contains an invalid argument."}
    async with server(session_age=1, **settings) as live, session(live) as wire:
        assert await wire.closed() == (1007, "Request contains an invalid argument.")


async def test_the_quota_counts_sessions_that_are_open():
    async with server(max_connections=1) as live:
        async with session(live), dial(live) as second:
            await second.send({"setup": {"model": MODEL["2.5"]}})
            code, reason = await second.closed()
            assert code == 1011
            assert reason.startswith("You exceeded your current quota")
        async with session(live) as third:
            assert kinds(third.frames) == ["setupComplete"]
