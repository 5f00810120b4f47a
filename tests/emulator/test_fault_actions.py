"""Every fault, seen from the other end of the wire."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidMessage, InvalidStatus

from resumekit.emulator import Fault, Trigger, silence, spoken
from resumekit.errors import ConfigurationError
from tests.emulator.helpers import MODEL, dial, kinds, said, server, session, turn_complete
from tests.emulator.jumping import in_jumping_time

pytestmark = pytest.mark.network

ABRUPT = (1006, "")


def faulty(*faults, **settings):
    return server(faults=faults, **settings)


async def cut_of(wire):
    """Return the exception that ends a connection."""
    try:
        while True:
            await wire.recv()
    except ConnectionClosedError as error:
        return error


async def test_a_connection_tells_what_became_of_it():
    async with faulty(Fault.handshake(503)) as live:
        with pytest.raises(InvalidStatus):
            async with dial(live):
                pass
        async with session(live) as wire:
            await wire.ask("one")
            assert [str(record) for record in live.connections] == [
                "connection 0: HTTP 503, faults: handshake",
                "connection 1: fresh, 1 turn, open",
            ]


# --- how a connection ends --------------------------------------------------------------------------------------


async def test_rst_is_an_abrupt_loss():
    async with faulty(Fault.rst(at=Trigger.mid_answer(2))) as live, session(live) as wire:
        await wire.content("x")
        error = await cut_of(wire)
        assert error.rcvd is None
        assert isinstance(error.__cause__, ConnectionResetError)
        assert kinds(wire.frames).count("modelTurn") == 2
        assert (live.connections[0].closed_by, live.connections[0].close_code) == ("fault", 1006)
        assert live.connections[0].faults == ["rst"]


async def test_fin_is_an_end_without_a_close_frame():
    async with faulty(Fault.fin(at=Trigger.mid_answer(2))) as live, session(live) as wire:
        await wire.content("x")
        error = await cut_of(wire)
        assert error.rcvd is None
        assert not isinstance(error.__cause__, ConnectionResetError)


async def test_close_has_code_and_reason():
    fault = Fault.close(1011, "Internal error encountered.", at=Trigger.mid_answer(1), connection=0)
    async with faulty(fault) as live, session(live) as wire:
        await wire.content("x")
        assert await wire.closed() == (1011, "Internal error encountered.")
        async with session(live) as again:
            assert await again.ask("y")


async def test_a_long_reason_is_cut():
    async with faulty(Fault.close(1011, "x" * 200)) as live, session(live) as wire:
        assert await wire.closed() == (1011, "x" * 123)


async def test_a_torn_frame_is_an_abrupt_loss():
    async with faulty(Fault.torn_frame(at=Trigger.mid_answer(1))) as live, session(live) as wire:
        await wire.content("x")
        assert await wire.closed() == ABRUPT


# --- when it strikes ----------------------------------------------------------------------------------------------

TOOL = "[tool:a]"


@pytest.mark.parametrize(
    ("trigger", "last"),
    [
        (Trigger.bound(), "setupComplete"),
        (Trigger.generation_started(), "sessionResumptionUpdate"),
        (Trigger.server_frame(3), "modelTurn"),
        (Trigger.mid_answer(4), "modelTurn"),
        (Trigger.generation_complete(), "generationComplete"),
        (Trigger.turn_complete(), "turnComplete"),
        (Trigger.before_handle(), "turnComplete"),
        (Trigger.handle(), "sessionResumptionUpdate"),
    ],
)
async def test_a_fault_strikes_at_its_moment_of_a_turn(trigger, last):
    async with faulty(Fault.rst(at=trigger)) as live, dial(live) as wire:
        await wire.setup()
        if trigger.on != "bound":
            await wire.content("x")
        assert await wire.closed() == ABRUPT
        assert kinds(wire.frames)[-1] == last
        assert ("newHandle" in str(wire.frames)) == (trigger.on == "handle")


@pytest.mark.parametrize(
    ("trigger", "seen"),
    [(Trigger.opened(), 0), (Trigger.setup_received(), 0), (Trigger.resume(), 0), (Trigger.go_away_sent(), 2)],
)
async def test_a_fault_strikes_around_the_setup(trigger, seen):
    faults = [Fault.rst(at=trigger, connection=1), Fault.go_away(50, at=Trigger.bound(), connection=1)]
    async with faulty(*faults) as live:
        handle = await saved(live)
        async with dial(live) as wire:
            with contextlib.suppress(ConnectionClosedError):
                await wire.setup(handle=handle)
            assert await wire.closed() == ABRUPT
            assert len(wire.frames) == seen


async def test_a_fault_strikes_on_the_tool_call_and_on_its_response():
    faults = [Fault.rst(at=Trigger.tool_call(), connection=0), Fault.rst(at=Trigger.tool_response(), connection=1)]
    async with faulty(*faults, model="3.x") as live:
        async with session(live) as wire:
            await wire.content(TOOL)
            assert await wire.closed() == ABRUPT
            assert kinds(wire.frames)[-1] == "toolCall"
        async with session(live) as wire:
            await wire.content(TOOL)
            await wire.respond((await wire.calls())[0])
            assert await wire.closed() == ABRUPT
            assert kinds(wire.frames)[-1] == "toolCall"


async def test_a_fault_strikes_in_the_middle_of_speech():
    async with faulty(Fault.rst(at=Trigger.mid_audio(3))) as live, session(live, text=False) as wire:
        await wire.content("x")
        await wire.closed()
        assert kinds(wire.frames).count("modelTurn") == 3


async def test_a_fault_strikes_between_speech_and_answer():
    async with faulty(Fault.rst(at=Trigger.end_of_speech())) as live, session(live, resumption=False) as wire:
        await wire.audio(spoken("x") + silence(1))
        await wire.closed()
        assert kinds(wire.frames) == ["setupComplete"]


async def test_a_fault_strikes_on_a_client_message():
    async with faulty(Fault.rst(at=Trigger.client_message(2))) as live, session(live) as wire:
        await wire.content("one", complete=False)
        assert await wire.silent(0.05)
        await wire.content("two", complete=False)
        assert await wire.closed() == ABRUPT
        assert live.ledger.held() == ["one", "two"]


async def test_a_fault_strikes_after_a_time():
    async with faulty(Fault.rst(at=Trigger.elapsed(5)), Fault.close(1011, at=Trigger.elapsed(1))) as live:
        async with session(live) as wire:
            assert await wire.closed() == (1011, "")
        async with session(live) as wire:
            assert await wire.closed() == ABRUPT


async def test_a_fault_can_wait_for_a_binding_rather_than_a_connection():
    async with faulty(Fault.rst(at=Trigger.bound(), binding=1)) as live:
        async with session(live) as wire, dial(live):  # a warm connection is no binding
            assert await wire.ask("x")
        async with dial(live) as wire:
            await wire.setup()
            assert await wire.closed() == ABRUPT


async def test_a_fault_can_strike_every_connection():
    async with faulty(Fault.drop_after_setup(times=None)) as live:
        for _ in range(3):
            async with dial(live) as wire:
                await wire.setup()
                assert await wire.closed() == ABRUPT


async def test_a_fault_can_be_injected_into_the_current_connection():
    async with server() as live, session(live) as wire:
        live.inject(Fault.close(1011, "injected"))
        assert await wire.closed() == (1011, "injected")


async def test_an_injected_fault_strikes_the_connection_that_it_names():
    async with server() as live, session(live) as wire:
        live.inject(Fault.close(1011, "the next one", binding=1))
        live.inject(Fault.close(1011, "this one", connection=0))
        assert await wire.closed() == (1011, "this one")
        async with dial(live) as later:
            await later.setup()
            assert await later.closed() == (1011, "the next one")


async def test_an_injected_fault_strikes_as_often_as_it_says():
    async with server() as live, session(live) as wire:
        live.inject(Fault.close(1011, "twice", times=2))
        assert await wire.closed() == (1011, "twice")
        async with dial(live) as later:
            await later.setup()
            assert await later.closed() == (1011, "twice")
        async with session(live) as later:
            assert await later.ask("one") == "answer to one: 1 user turns held"


async def test_a_fault_can_be_injected_for_later():
    async with server() as live:
        live.inject(Fault.close(1011, "at bind"))
        async with dial(live) as wire:
            await wire.setup()
            assert await wire.closed() == (1011, "at bind")
        async with session(live) as wire:
            live.inject(Fault.close(1011, "timed", at=Trigger.elapsed(1)))
            assert await wire.closed() == (1011, "timed")
        with pytest.raises(ConfigurationError):
            live.inject(Fault.handshake(503, at=Trigger.now()))


# --- handshake and setup ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
async def test_the_handshake_can_be_refused(status):
    async with faulty(Fault.handshake(status, retry_after=50 if status == 429 else None)) as live:
        with pytest.raises(InvalidStatus) as caught:
            async with dial(live):
                pass
        assert caught.value.response.status_code == status
        assert caught.value.response.headers.get("Retry-After") == ("1" if status == 429 else None)
        async with session(live) as wire:
            assert await wire.ask("x")


async def test_the_handshake_can_be_slow():
    async with faulty(Fault.slow_handshake(50)) as live:
        with pytest.raises(TimeoutError):
            async with dial(live, open_timeout=0.2):
                pass


async def test_the_handshake_can_be_reset():
    async with faulty(Fault.rst(at=Trigger.at_handshake())) as live:
        with pytest.raises((InvalidMessage, EOFError, OSError)):
            async with dial(live):
                pass


@in_jumping_time
async def test_the_listener_can_be_down_for_a_while():
    async with faulty(Fault.listener_down(100, at=Trigger.mid_answer(1))) as live:
        async with session(live) as wire:
            await wire.content("x")
            assert await wire.closed() == ABRUPT
        with pytest.raises(ConnectionRefusedError):
            async with dial(live):
                pass
        while True:
            await asyncio.sleep(0.1)
            with contextlib.suppress(ConnectionRefusedError):
                async with session(live) as wire:
                    assert await wire.ask("y")
                    break


async def test_the_listener_can_go_down_at_the_handshake():
    async with faulty(Fault.listener_down(1, at=Trigger.at_handshake())) as live:
        with pytest.raises((InvalidMessage, EOFError, OSError)):
            async with dial(live):
                pass


async def test_other_connections_outlive_the_listener():
    async with server() as live, session(live) as old, session(live):
        live.inject(Fault.listener_down(2))
        await asyncio.sleep(0.01)
        assert await old.ask("x")


async def test_a_connection_can_be_dropped_before_its_setup():
    async with faulty(Fault.drop_before_setup(times=2)) as live:
        for _ in range(2):
            async with dial(live) as wire:
                assert await wire.closed() == ABRUPT
        async with session(live) as wire:
            assert await wire.ask("x")
        assert [record.bound_at is not None for record in live.connections] == [False, False, True]


async def test_setup_complete_can_be_late_or_never_come():
    async with faulty(Fault.slow_setup(5, connection=0), Fault.no_setup_complete(connection=1)) as live:
        for _ in range(2):
            async with dial(live) as wire:
                await wire.send({"setup": {"model": MODEL["2.5"]}})
                assert await wire.silent(0.05)
        async with dial(live, ping_interval=0.01, ping_timeout=60) as wire:
            assert await wire.setup()


# --- goAway and age -----------------------------------------------------------------------------------------------


@in_jumping_time
async def test_go_away_announces_the_end_and_keeps_its_word():
    async with faulty(Fault.go_away(50, at=Trigger.bound())) as live, session(live) as wire:
        assert await wire.recv() == {"goAway": {"timeLeft": "1s"}}
        assert await wire.ask("x")
        assert await wire.closed() == (1011, "Deadline expired before operation could complete.")


async def test_go_away_may_say_nothing_of_the_time():
    fault = Fault.go_away(None, at=Trigger.bound(), code=1008, reason="The operation was aborted.")
    async with faulty(fault) as live, session(live) as wire:
        assert await wire.recv() == {"goAway": {}}
        assert await wire.closed() == (1008, "The operation was aborted.")


@in_jumping_time
async def test_go_away_may_come_again_and_again_and_mean_nothing():
    async with faulty(Fault.go_away(10, repeat=3, close=False, at=Trigger.bound())) as live, session(live) as wire:
        frames = [await wire.recv() for _ in range(3)]
        assert kinds(frames) == ["goAway"] * 3
        assert frames[0] != frames[2]
        assert await wire.silent(0.3)
        assert await wire.ask("x")


async def test_silence_may_follow_go_away():
    async with faulty(Fault.go_away(20, then_silence=True, at=Trigger.mid_answer(2))) as live, session(live) as wire:
        await wire.content("x [chunks:30]")
        await wire.until(lambda frame: "goAway" in frame)
        count = len(wire.frames)
        assert (await wire.closed())[0] == 1011
        assert len(wire.frames) == count


@in_jumping_time
async def test_a_connection_ages():
    async with server(connection_age=20, go_away_notice=10) as live, session(live) as wire:
        assert await wire.recv() == {"goAway": {"timeLeft": "0.200s"}}
        assert await wire.closed() == (1011, "Deadline expired before operation could complete.")


async def test_a_connection_may_age_unannounced_and_end_as_aborted():
    async with server(connection_age=5, go_away_notice=None, age_close="aborted") as live, session(live) as wire:
        assert await wire.closed() == (1008, "The operation was aborted.")
        assert kinds(wire.frames) == ["setupComplete"]


# --- mute and odd ---------------------------------------------------------------------------------------------------


async def half_open(live, wire):
    handle = await wire.handle()
    await wire.content("into the void")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(await wire.socket.ping(), 0.1)
    wire.socket.transport.abort()
    return handle


async def resume(live, handle):
    """Try to resume once; returns the close, or None if it was bound."""
    async with dial(live) as wire:
        try:
            await wire.setup(handle=handle)
        except ConnectionClosedError as error:
            return error.rcvd.code
        return None


@pytest.mark.parametrize("since", ["resume", "cut"])
@in_jumping_time
async def test_half_open_is_mute_both_ways_and_keeps_the_binding(since):
    async with faulty(Fault.half_open(100, since=since, at=Trigger.handle())) as live:
        async with session(live) as wire:
            await wire.ask("one")
            handle = await half_open(live, wire)
        assert await resume(live, handle) == 1011
        while (code := await resume(live, handle)) is not None:
            assert code == 1011
            await asyncio.sleep(0.1)
        assert live.ledger.report(["one", "into the void"]).lost == ["into the void"]


@pytest.mark.parametrize("since", ["resume", "cut"])
async def test_a_server_that_is_left_does_not_wait_for_what_is_half_open(since):
    live = faulty(Fault.half_open(1e6, since=since, at=Trigger.handle()))
    async with live:
        async with session(live) as wire:
            await wire.ask("one")
            handle = await half_open(live, wire)
        assert await resume(live, handle) == 1011
    assert [connection.closed_by for connection in live.connections] == ["fault", "server"]


@in_jumping_time
async def test_a_silent_connection_is_healthy():
    async with faulty(Fault.silence(50, at=Trigger.mid_answer(2))) as live, session(live) as wire:
        await wire.content("x")
        await wire.until(lambda frame: "modelTurn" in frame.get("serverContent", {}))
        await wire.recv()
        assert await wire.silent(0.1)
        await asyncio.wait_for(await wire.socket.ping(), 60)
        await wire.turn()
        assert said(wire.frames) == "answer to x: 1 user turns held"


async def test_pongs_can_be_slow():
    async with faulty(Fault.slow_pongs(50)) as live, session(live) as wire:
        pong = await wire.socket.ping()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(pong), 0.1)
        await asyncio.wait_for(pong, 60)


async def test_pongs_can_be_slow_by_setting():
    async with server(pong_delay=50) as live, session(live) as wire:
        pong = await wire.socket.ping()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(pong), 0.1)


async def test_a_frame_can_be_too_large():
    async with faulty(Fault.oversize_frame(at=Trigger.mid_answer(1))) as live, dial(live, max_size=2**20) as wire:
        await wire.setup()
        await wire.content("x")
        error = await cut_of(wire)
        assert error.sent.code == 1009


@pytest.mark.parametrize(
    ("fault", "start"),
    [
        (Fault.truncated_frame, b'{\n  "serverContent"'),
        (Fault.not_json, b"<html>"),
        (Fault.unknown_keys, b'{\n  "brandNewThing"'),
        (Fault.odd_values, b'{\n  "serverContent"'),
    ],
)
async def test_a_frame_can_be_garbage(fault, start):
    async with faulty(fault(at=Trigger.bound())) as live, session(live) as wire:
        assert (await wire.socket.recv()).startswith(start)
        assert await wire.ask("x")


# --- handles and state ----------------------------------------------------------------------------------------------


async def saved(live):
    async with session(live) as wire:
        await wire.ask("one")
        return await wire.handle()


async def test_a_handle_can_be_refused():
    async with faulty(Fault.refuse_handle(1008, "BidiGenerateContent session expired")) as live:
        handle = await saved(live)
        assert await resume(live, handle) == 1008
        assert live.connections[1].refused == "BidiGenerateContent session expired"
        assert await resume(live, handle) is None


async def test_all_handles_can_expire():
    async with server() as live:
        handle = await saved(live)
        async with session(live):
            live.inject(Fault.expire_handles())
            await asyncio.sleep(0.01)
        assert await resume(live, handle) == 1007


async def test_a_poisoned_handle_takes_everything_in_and_answers_nothing():
    async with faulty(Fault.poisoned_handle()) as live:
        handle = await saved(live)
        async with session(live, handle=handle, inputAudioTranscription={}) as wire:
            await wire.audio(spoken("hello") + silence(1))
            assert (await wire.recv())["serverContent"]["inputTranscription"] == {"text": "hello"}
            await wire.content("anybody?")
            assert await wire.silent(0.1)
        async with session(live, handle=handle) as wire:
            assert await wire.ask("two")


async def mute(live, handle):
    async with session(live, handle=handle) as wire:
        await wire.content("anybody?")
        while not await wire.silent(0.1):
            if "modelTurn" in kinds(wire.frames):
                return False
        return True


def updates(frames):
    return [frame["sessionResumptionUpdate"] for frame in frames if "sessionResumptionUpdate" in frame]


async def two_handles(live):
    async with session(live) as wire:
        await wire.ask("one")
        first = await wire.handle()
        await wire.ask("two")
        return first, await wire.handle()


@in_jumping_time
async def test_one_handle_can_be_dead():
    async with faulty(Fault.poisoned_handle("handle")) as live:
        first, second = await two_handles(live)
        assert [await mute(live, handle) for handle in (second, second, first)] == [True, True, False]
        assert [record.poisoned for record in live.connections] == [False, True, True, False]


@in_jumping_time
async def test_all_handles_of_a_session_can_be_dead_until_a_fresh_one():
    async with faulty(Fault.poisoned_handle("session")) as live:
        handles = await two_handles(live)
        assert [await mute(live, handle) for handle in handles] == [True, True]
        assert not await mute(live, (await two_handles(live))[1])


@in_jumping_time
async def test_all_handles_of_one_connection_can_be_dead():
    async with faulty(Fault.poisoned_handle("issued", at=Trigger.handle(2), connection=1)) as live:
        good = await saved(live)
        async with session(live, handle=good) as wire:
            for question in ("two", "three", "four"):
                assert await wire.ask(question)
                await wire.handle()
        bad = [update["newHandle"] for update in updates(wire.frames) if update]
        assert len(bad) == 3
        assert [await mute(live, handle) for handle in (*bad, good)] == [True] * 3 + [False]


@in_jumping_time
async def test_what_a_dead_connection_hands_out_is_dead():
    async with faulty(Fault.poisoned_handle("handle"), handle_at_setup=True) as live:
        handle = await saved(live)
        async with session(live, handle=handle) as wire:
            newer = await wire.handle()
        assert await mute(live, newer)


@in_jumping_time
async def test_go_away_can_come_on_each_of_several_connections_at_once():
    async with faulty(Fault.go_away(50, at=Trigger.bound(), times=3)) as live:
        for told in (True, True, True, False):
            async with session(live) as wire:
                assert await wire.silent(0.1) != told
        assert [record.faults for record in live.connections] == [["go_away"]] * 3 + [[]]


async def test_amnesia_restores_nothing_and_the_ledger_knows():
    async with faulty(Fault.amnesia()) as live:
        handle = await saved(live)
        async with session(live, handle=handle) as wire:
            assert (await wire.ask("two")).endswith(": 1 user turns held")
        assert live.ledger.report(["one", "two"]).lost == ["one"]


async def test_a_transcript_can_be_repeated():
    async with faulty(Fault.repeat_transcript()) as live:
        handle = await saved(live)
        async with session(live, handle=handle) as wire:
            frames = [await wire.recv() for _ in range(4)]
            texts = [frame["serverContent"]["outputTranscription"]["text"] for frame in frames]
            assert "".join(texts) == "answer to one: 1 user turns held"


@pytest.mark.parametrize(
    ("which", "names"),
    [("input", ["inputTranscription"] * 2), ("both", ["inputTranscription"] * 2 + ["outputTranscription"] * 4)],
)
async def test_what_was_heard_can_be_transcribed_again(which, names):
    async with faulty(Fault.repeat_transcript(which)) as live:
        async with session(live) as wire:
            await wire.audio(spoken("what now") + silence(1))
            handle = await wire.handle()
        async with session(live, handle=handle) as wire:
            assert kinds([await wire.recv() for _ in names]) == names
            assert wire.frames[1] == {"serverContent": {"inputTranscription": {"text": "what"}}}
            assert await wire.silent(0.1)


async def test_handles_can_be_withheld_on_one_connection():
    async with faulty(Fault.withhold_handles(connection=0)) as live, session(live) as wire:
        await wire.content("x")
        await wire.until(turn_complete)
        assert await wire.silent(0.1)
        assert "sessionResumptionUpdate" not in kinds(wire.frames)
