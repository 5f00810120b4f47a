"""What the emulated model does: pacing, speech, tools, interruptions (RULES section 1)."""

from __future__ import annotations

import base64

import pytest

from resumekit.emulator import heard, parse_answer, silence, spoken
from tests.emulator.helpers import kinds, said, server, session, turn_complete
from tests.emulator.jumping import in_jumping_time

pytestmark = pytest.mark.network

MANUAL = {"realtimeInputConfig": {"automaticActivityDetection": {"disabled": True}}}
SPEECH = {"text": False, "inputAudioTranscription": {}, "outputAudioTranscription": {}}


def transcript(frames, name):
    return [frame["serverContent"][name] for frame in frames if name in frame.get("serverContent", {})]


def audio(frames):
    blobs = [
        part["inlineData"]
        for frame in frames
        for part in frame.get("serverContent", {}).get("modelTurn", {}).get("parts", [])
        if "inlineData" in part
    ]
    return {blob["mimeType"] for blob in blobs}, [base64.b64decode(blob["data"]) for blob in blobs]


# --- text -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "question", "count"), [({"output_chunks": 7}, "a b c d e", 7), ({}, "x [chunks:6]", 6)]
)
async def test_an_answer_comes_in_as_many_pieces_as_told(settings, question, count):
    async with server(**settings) as live, session(live) as wire:
        await wire.content(question)
        assert kinds(await wire.turn()).count("modelTurn") == count


@in_jumping_time
async def test_the_pieces_can_come_slowly():
    async with server(chunk_interval=5) as live, session(live, resumption=False) as wire:
        await wire.content("x")
        await wire.recv()
        assert await wire.silent(0.05)


async def test_a_thought_comes_first():
    async with server(thoughts=True) as live, session(live) as wire:
        await wire.content("x")
        frames = await wire.turn()
        assert frames[1]["serverContent"]["modelTurn"]["parts"][0]["thought"] is True
        assert said(frames).startswith("answer to x")


@pytest.mark.parametrize("settings", [{"think_time": 20}, {"first_frame_delay": 20}, {}])
@in_jumping_time
async def test_the_model_can_think_for_a_while(settings):
    async with server(**settings) as live, session(live, resumption=False) as wire:
        await wire.content("x" if settings else "x [think:20]")
        assert await wire.silent(0.05)
        assert (await wire.recv())["serverContent"]["modelTurn"]


@pytest.mark.parametrize("settings", [{"silent": True}, {}])
async def test_a_proactive_model_may_stay_silent(settings):
    async with server(**settings) as live, session(live) as wire:
        await wire.content("x" if settings else "x [silent]")
        assert await wire.silent(0.1)
        assert live.ledger.held() == wire.frames[1:] + live.ledger.sent_on(0)


# --- speech -----------------------------------------------------------------------------------------------------


async def test_speech_of_the_developer_api():
    async with server() as live, session(live, **SPEECH) as wire:
        await wire.content("x")
        frames = await wire.turn()
        types, chunks = audio(frames)
        assert types == {"audio/pcm;rate=24000"}
        assert {len(chunk) for chunk in chunks[:-1]} == {2880}  # 60 ms
        text = heard(b"".join(chunks), rate=24000).text
        assert text == "answer to x: 1 user turns held"
        parts = transcript(frames, "outputTranscription")
        assert "".join(part["text"] for part in parts) == text
        order = kinds(frames)
        assert (
            order.index("outputTranscription")
            < order.index("modelTurn")
            < len(order) - 1 - order[::-1].index("outputTranscription")
        )


async def test_speech_of_vertex():
    async with server(profile="vertex", mid_answer_handles=0) as live, session(live, **SPEECH) as wire:
        await wire.content("x")
        frames = await wire.turn()
        assert audio(frames)[0] == {"audio/pcm"}
        parts = transcript(frames, "outputTranscription")
        assert parts[0] == {}
        assert parts[-1] == {"finished": True}


async def test_speech_is_not_transcribed_unasked():
    async with server() as live, session(live, text=False) as wire:
        await wire.content("x")
        assert transcript(await wire.turn(), "outputTranscription") == []


async def test_a_long_answer_can_be_asked_for():
    async with server(audio_speed=1000) as live, session(live, text=False) as wire:
        await wire.content("x [seconds:15]")
        assert sum(map(len, audio(await wire.turn())[1])) == 15 * 48000


@in_jumping_time
async def test_turn_complete_can_wait_for_the_playback():
    async with (
        server(playback_delay=True, audio_seconds=30, audio_speed=1000, audio_frame_ms=1000) as live,
        session(live, text=False) as wire,
    ):
        await wire.content("x")
        await wire.until(lambda frame: "generationComplete" in frame.get("serverContent", {}))
        assert await wire.silent(0.03)
        assert turn_complete(await wire.recv())


async def test_an_utterance_is_transcribed_and_answered():
    async with server() as live, session(live, **SPEECH) as wire:
        await wire.audio(silence(0.2) + spoken("what now") + silence(0.6))
        frames = await wire.turn()
        assert [part["text"] for part in transcript(frames, "inputTranscription")] == ["what", " now"]
        assert kinds(frames)[:2] == ["inputTranscription"] * 2
        assert heard(b"".join(audio(frames)[1]), rate=24000).text.startswith("answer to what now:")


async def test_the_silence_that_ends_an_utterance_can_be_set():
    async with server(vad_silence=2.0) as live, session(live) as wire:
        await wire.audio(spoken("long breath") + silence(1.5))
        assert await wire.silent(0.05)
        await wire.audio(silence(0.5))
        assert said(await wire.turn()).startswith("answer to long breath")


async def test_the_end_of_the_stream_ends_an_utterance():
    async with server() as live, session(live) as wire:
        await wire.audio(spoken("cut short"))
        await wire.send({"realtime_input": {"audioStreamEnd": True}})
        assert said(await wire.turn()).startswith("answer to cut short")


async def test_a_manual_activity_is_one_utterance():
    async with server() as live, session(live, **MANUAL) as wire:
        await wire.audio(spoken("ignored") + silence(1))
        await wire.send({"realtime_input": {"activityStart": {}}})
        await wire.audio(spoken("first half") + silence(1))
        await wire.send({"realtime_input": {"activityEnd": {}}})
        assert said(await wire.turn()).startswith("answer to first half")
        assert live.ledger.held() == ["activity_start", "activity_end"]


async def test_clipped_speech_is_answered_as_such():
    async with server() as live, session(live) as wire:
        await wire.audio(spoken("the head is gone")[3200:] + silence(1))
        assert parse_answer(said(await wire.turn())).asked.startswith("[clipped]")


async def test_audio_of_the_lineage_is_sample_accurate():
    pcm = silence(0.1) + spoken("exactly this") + silence(0.6)
    async with server() as live, session(live) as wire:
        await wire.audio(pcm)
        await wire.turn()
        assert live.ledger.audio() == pcm
        assert live.ledger.report().audio_ms == 1000


# --- tools ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "before"),
    [
        ({"model": "3.x"}, ""),
        ({"model": "2.5"}, 'answer to [tool:w {"city": "Rome"}]: 1 user turns held; one moment'),
        ({"tool_position": "amid"}, "let me look that up; "),
        ({"model": "2.5", "tool_position": "before"}, ""),
    ],
)
async def test_calls_come_before_amid_or_at_the_end_of_an_answer(settings, before):
    async with server(**settings) as live, session(live) as wire:
        await wire.content('[tool:w {"city": "Rome"}]')
        (call,) = await wire.calls()
        assert (call["name"], call["args"]) == ("w", {"city": "Rome"})
        assert call["id"].startswith("function-call-")
        assert said(wire.frames) == before
        await wire.respond(call, {"sky": "blue"})
        assert 'w={"sky":"blue"}' in said(await wire.turn())
        assert live.ledger.report(['[tool:w {"city": "Rome"}]', 'response:w:{"sky":"blue"}']).ok


@pytest.mark.parametrize(("how", "frames"), [("one", [2]), ("each", [1, 1])])
async def test_parallel_calls_come_in_one_frame_or_in_two(how, frames):
    async with server(model="3.x", tool_frames=how) as live, session(live) as wire:
        await wire.content("[tool:a] [tool:b]")
        batches = [await wire.calls() for _ in frames]
        assert [len(batch) for batch in batches] == frames
        calls = [call for batch in batches for call in batch]
        await wire.respond(calls[1])
        assert await wire.silent(0.05)
        await wire.respond(calls[0])
        assert "results: b=" in said(await wire.turn())


async def test_calls_can_need_each_other():
    async with server(model="3.x") as live, session(live) as wire:
        await wire.content("[tool:a] [then:b]")
        for name in "ab":
            (call,) = await wire.calls()
            assert call["name"] == name
            await wire.respond(call)
        assert "a={" in said(await wire.turn())


async def test_a_turn_with_calls_goes_on_after_the_responses():
    async with server(model="3.x", tool_turns="joined") as live, session(live, resumption=False) as wire:
        await wire.content("[tool:a] [then:b]")
        for _ in "ab":
            await wire.respond((await wire.calls())[0])
        await wire.turn()
        assert kinds(wire.frames).count("turnComplete") == 1


@pytest.mark.parametrize("model", ["2.5", "3.x"])
async def test_calls_can_end_a_turn(model):
    async with server(model=model, tool_turns="at_end") as live, session(live, resumption=False) as wire:
        await wire.content("[tool:a] [then:b]")
        for _ in "ab":
            (call,) = await wire.calls()
            assert kinds(await wire.turn()) == ["generationComplete", "turnComplete"]
            await wire.respond(call)
        assert "a={" in said(await wire.turn())
        assert kinds(wire.frames).count("turnComplete") == 3
        await wire.live("two")
        assert said(await wire.turn()) == "answer to two: 2 user turns held"
        assert [(call.name, call.answers_held) for call in live.ledger.calls()] == [("a", 1), ("b", 1)]


async def test_a_response_that_comes_before_the_end_of_the_calls_turn_is_taken_all_the_same():
    live = server(model="3.x", tool_turns="at_end", tool_frames="each", profile="vertex", tool_call_handles=True)
    async with live, session(live) as wire:
        await wire.content("[tool:a] [tool:b]")
        for _ in "ab":
            await wire.respond((await wire.calls())[0])
        assert said(await wire.turn()) == ""
        assert "results: a=" in said(await wire.turn())


async def test_a_question_after_the_calls_ended_their_turn_cancels_them_only():
    async with server(model="3.x", tool_turns="at_end") as live, session(live, resumption=False) as wire:
        await wire.content("[tool:a]")
        (call,) = await wire.calls()
        await wire.turn()
        await wire.live("two")
        frames = await wire.turn()
        assert frames[0] == {"toolCallCancellation": {"ids": [call["id"]]}}
        assert "interrupted" not in kinds(frames)
        assert said(frames) == "answer to two: 2 user turns held"
        assert live.ledger.report(["[tool:a]", "two"]).calls[0].cancelled


async def test_two_equal_calls_of_one_set_are_two_calls():
    async with server(model="3.x") as live, session(live) as wire:
        await wire.content('[tool:a {"n": 1}] [tool:a {"n": 1}]')
        one, two = await wire.calls()
        assert one["id"] != two["id"]
        for number, call in enumerate((two, one)):
            await wire.respond(call, {"done": number})
        assert 'results: a={"done":0}, a={"done":1}' in said(await wire.turn())
        assert [call.args for call in live.ledger.calls()] == ['{"n":1}'] * 2


@pytest.mark.parametrize("turns", ["joined", "split", "at_end"])
async def test_a_tool_can_run_across_two_cuts(turns):
    async with server(profile="vertex", model="3.x", tool_turns=turns, handle_at_setup=True) as live:
        async with session(live) as wire:
            await wire.content("[tool:a]")
            (call,) = await wire.calls()
            handle = await wire.handle()
        for _ in range(2):
            async with session(live, handle=handle) as wire:
                handle = await wire.handle()
        async with session(live, handle=handle) as wire:
            await wire.respond(call)
            frames = await wire.turn()
            if turns == "split":
                frames = await wire.turn()
            assert 'a={"ok":true}' in said(frames)
        (told,) = live.ledger.report(["[tool:a]", 'response:a:{"ok":true}']).calls
        assert (told.connection, told.answers, told.held) == (0, [(3, 1)], True)


async def test_a_response_can_end_a_turn_of_its_own():
    async with server(profile="vertex", tool_turns="split") as live, session(live, resumption=False) as wire:
        await wire.content("[tool:a]")
        (call,) = await wire.calls()
        assert await wire.silent(0.05)
        await wire.respond(call)
        assert kinds(await wire.turn()) == ["generationComplete", "turnComplete"]
        assert "a={" in said(await wire.turn())


@pytest.mark.parametrize(
    ("reissue", "names"),
    [("reversed", ["b", "a"]), ("extra", ["a", "b", "extra_tool"]), ("subset", ["a"]), ("any", ["b", "a"])],
)
async def test_a_question_that_is_answered_again_may_get_its_calls_in_another_order_or_number(reissue, names):
    async with server(model="3.x", reissue=reissue, seed=1) as live:
        async with session(live) as wire:
            await wire.content("[tool:a] [tool:b]")
            assert [call["name"] for call in await wire.calls()] == ["a", "b"]
        async with session(live) as wire:
            await wire.content("[tool:a] [tool:b]")
            assert [call["name"] for call in await wire.calls()] == names
        assert [(call.connection, call.generation) for call in live.ledger.calls()] == [(0, 1)] * 2 + [(1, 1)] * len(
            names
        )


@pytest.mark.parametrize(("reissue", "again"), [("same", {}), ("other_args", {"again": True}), ("none", None)])
async def test_a_question_that_is_answered_again_may_get_other_calls(reissue, again):
    async with server(model="3.x", reissue=reissue) as live:
        async with session(live) as wire:
            await wire.content("[tool:a]")
            await wire.calls()
        async with session(live) as wire:
            await wire.content("[tool:a]")
            if again is None:
                assert said(await wire.turn()).startswith("answer to")
            else:
                assert (await wire.calls())[0]["args"] == again


async def test_a_response_to_an_unknown_call_is_refused():
    async with server() as live, session(live) as wire:
        await wire.respond({"id": "made-up", "name": "a"})
        assert await wire.closed() == (1008, "Requested entity was not found.")
        assert live.ledger.held() == []


async def test_a_response_to_an_unknown_call_can_be_ignored():
    async with server(unknown_tool_id="ignore") as live, session(live) as wire:
        await wire.respond({"id": "made-up", "name": "a"})
        assert (await wire.ask("x")).startswith("answer to x")


# --- overlap ----------------------------------------------------------------------------------------------------


async def test_a_new_question_interrupts():
    async with server(chunk_interval=5) as live, session(live, resumption=False) as wire:
        await wire.content("one [chunks:20]")
        await wire.recv()
        await wire.content("two")
        first = await wire.turn()
        assert kinds(first)[-2:] == ["interrupted", "turnComplete"]
        assert "generationComplete" not in kinds(first)
        assert said(await wire.turn()) == "answer to two: 2 user turns held"


async def test_a_new_question_cancels_the_open_calls():
    async with server(model="3.x") as live, session(live, resumption=False) as wire:
        await wire.content("[tool:a]")
        (call,) = await wire.calls()
        await wire.live("two")
        frames = await wire.turn()
        assert frames[0] == {"toolCallCancellation": {"ids": [call["id"]]}}
        assert kinds(frames[1:]) == ["interrupted", "turnComplete"]
        await wire.respond(call)  # too late, and no harm
        assert said(await wire.turn()).startswith("answer to two")


async def test_a_question_to_a_restored_state_that_waits_for_a_tool_interrupts_it():
    async with server(profile="vertex", model="3.x") as live:
        async with session(live) as wire:
            await wire.content("[tool:a]")
            await wire.calls()
            handle = await wire.handle()
        async with session(live, handle=handle) as again:
            await again.content("two")
            assert kinds(await again.turn()) == ["toolCallCancellation", "interrupted", "turnComplete"]
            assert said(await again.turn()).startswith("answer to two")


async def test_a_new_question_can_queue():
    async with server(overlap="queue", first_frame_delay=25) as live, session(live, resumption=False) as wire:
        await wire.content("one")
        await wire.content("two")
        await wire.content("three")
        assert said(await wire.turn()).startswith("answer to one:")
        assert said(await wire.turn()) == "answer to two + three: 3 user turns held"


async def test_questions_can_merge_while_nothing_was_said():
    async with (
        server(overlap="merge", first_frame_delay=25, chunk_interval=5) as live,
        session(live, resumption=False) as wire,
    ):
        await wire.content("one")
        await wire.content("two")
        assert said(await wire.turn()) == "answer to one + two: 2 user turns held"
        await wire.content("three [chunks:20]")
        await wire.recv()
        await wire.content("four")
        assert "interrupted" in kinds(await wire.turn())


@pytest.mark.parametrize("allowed", [True, False])
async def test_speech_interrupts_unless_the_client_forbids_it(allowed):
    config = {} if allowed else {"realtimeInputConfig": {"activityHandling": "NO_INTERRUPTION"}}
    async with server(chunk_interval=2) as live, session(live, resumption=False, **config) as wire:
        await wire.content("one [chunks:20]")
        await wire.recv()
        await wire.audio(spoken("stop"))
        assert ("interrupted" in kinds(await wire.turn())) == allowed
