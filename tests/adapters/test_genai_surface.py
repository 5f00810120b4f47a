"""What `receive()` shows, which errors come out, and every method of an `AsyncSession`."""

from __future__ import annotations

import asyncio

import pytest

from resumekit import errors
from resumekit.core import events
from resumekit.emulator import Fault, Trigger, parse_answer, silence, spoken
from resumekit.wire import setup_handle, setup_seeds_history
from tests.adapters.support import MODEL, nothing_is_left, server, settled
from tests.adapters.test_genai import CONFIG, PROFILES, anchored, answer_of, ask, client_of, connect, send, text_of

genai = pytest.importorskip("google.genai")
from google.genai import types  # noqa: E402
from google.genai.live import AsyncSession  # noqa: E402

from resumekit.adapters import _genai_seam as seam  # noqa: E402

pytestmark = [pytest.mark.network, pytest.mark.allow_blocking]  # google-genai blocks, we do not

TOOL = {"function_declarations": [{"name": "look_up"}]}
SPEECH = {**CONFIG, "input_audio_transcription": {}}


async def loop_of(session):
    """One `receive()` to its end."""
    return [message async for message in session.receive()]


def shown(messages):
    """What each message holds."""
    return [message.model_dump(exclude_none=True, mode="json") for message in messages]


async def speak(session, text):
    pcm = spoken(text) + silence(0.8)
    for at in range(0, len(pcm), 3200):
        blob = types.Blob(data=pcm[at : at + 3200], mime_type="audio/pcm;rate=16000")
        await session.send_realtime_input(audio=blob)


def words_of(messages):
    heard = [message.server_content.input_transcription for message in messages if message.server_content]
    return "".join(piece.text or "" for piece in heard if piece)


# --- what receive() shows --------------------------------------------------------------------------------------------


@PROFILES
async def test_everything_that_the_service_says_is_shown_as_google_genai_shows_it(profile):
    """But for handles, which are asked for by resumekit alone, and updates that are not resumable."""
    conversations = []
    for resumable in (False, True):
        async with server(profile, seed=7) as live, nothing_is_left():
            config = {**CONFIG, "tools": [TOOL], "session_resumption": {}, "output_audio_transcription": {}}
            if profile == "vertex":
                config["session_resumption"] = {"transparent": True}
            opened = (
                connect(live, config=config)
                if resumable
                else client_of(live).aio.live.connect(model=MODEL, config=config)
            )
            messages = []
            async with opened as session:
                for question in ("one", "please [tool:look_up {}]", "[chunks:9] three"):
                    await send(session, question)
                    async for message in session.receive():
                        messages.append(message)
                        for call in message.tool_call.function_calls if message.tool_call else ():
                            response = types.FunctionResponse(id=call.id, name=call.name, response={"found": 1})
                            await session.send_tool_response(function_responses=response)
            conversations.append([message for message in messages if not message.session_resumption_update])
    plain, ours = conversations

    assert shown(plain) == shown(ours)
    assert any(message.tool_call for message in ours)


async def test_go_away_is_hidden():
    seen = []
    faults = [Fault.go_away(40.0, at=Trigger.mid_answer(2), binding=0)]
    async with server(faults=faults, chunk_interval=2.0) as live, nothing_is_left():
        async with connect(live, on_event=seen.append) as session:
            await send(session, "one")
            assert not any(message.go_away for message in await loop_of(session))
        assert any(isinstance(event, events.GoAwayReceived) for event in seen)


async def test_go_away_is_shown_where_the_policy_says_so():
    faults = [Fault.go_away(40.0, at=Trigger.mid_answer(2), binding=0)]
    async with (
        server(faults=faults, chunk_interval=2.0) as live,
        nothing_is_left(),
        connect(live, fields={"deliver_go_away": True}) as session,
    ):
        await send(session, "one")
        left = [message.go_away.time_left for message in await loop_of(session) if message.go_away]
        assert len(left) == 1


async def test_updates_are_shown_if_they_are_resumable():
    """On the Developer API one that is not comes while the model answers."""
    async with server(mid_answer_handles=1) as live, nothing_is_left():
        seen = []
        plain = client_of(live).aio.live.connect(model=MODEL, config={**CONFIG, "session_resumption": {}})
        for context in (plain, connect(live)):
            async with context as session:
                await send(session, "one")
                updates = [message.session_resumption_update for message in await loop_of(session)]
                async for message in session.receive():  # after the turn
                    updates.append(message.session_resumption_update)
                    if message.session_resumption_update.resumable:
                        break
                seen.append([bool(update.resumable) for update in updates if update])
        plainly, ours = seen
        assert False in plainly
        assert ours
        assert all(ours)


async def test_a_later_setup_complete_is_hidden():
    async with server() as live, nothing_is_left(), connect(live) as session:
        messages = []
        for question in ("one", "two", "three"):
            await send(session, question)
            messages += await loop_of(session)
            session.force_reconnect()
        assert len(live.connections) > 2
        assert not any(message.setup_complete for message in messages)


@PROFILES
async def test_a_tool_call_that_is_made_again_is_hidden(profile):
    seen, calls, executions = [], [], 0
    async with server(profile, think_time=1.0) as live, nothing_is_left():
        async with connect(live, config={**CONFIG, "tools": [TOOL]}, on_event=seen.append) as session:
            await ask(session, "one")
            assert await anchored(session)
            await send(session, "please [tool:look_up {}]")
            said = ""
            async for message in session.receive():
                content = message.server_content
                said = "" if content and content.interrupted else said + text_of(message)
                assert not message.tool_call_cancellation
                for call in message.tool_call.function_calls if message.tool_call else ():
                    calls.append(call.id)
                    executions += 1
                    live.inject(Fault.rst())  # while it runs
                    assert await settled(lambda: any(isinstance(event, events.ToolCallRebound) for event in seen))
                    response = types.FunctionResponse(id=call.id, name=call.name, response={"run": executions})
                    await session.send_tool_response(function_responses=response)
        assert executions == 1
        assert "look_up" in parse_answer(said).results
        [rebound] = [event for event in seen if isinstance(event, events.ToolCallRebound)]
        assert [rebound.call_id] == calls


@PROFILES
async def test_a_second_transcription_of_what_was_spoken_is_hidden(profile):
    faults = [Fault.rst(Trigger.mid_answer(2), binding=0)]
    async with server(profile, faults=faults) as live, nothing_is_left():
        async with connect(live, config=SPEECH) as session:
            await speak(session, "what time is it")
            messages = await loop_of(session)
            assert words_of(messages).split() == ["what", "time", "is", "it"]
            assert session.stats.turns_reanswered == 1
        assert len(live.connections) == 2


@PROFILES
async def test_a_cut_answer_is_marked_and_given_again_in_the_same_loop(profile):
    faults = [Fault.rst(Trigger.mid_answer(2))]
    async with server(profile, faults=faults) as live, nothing_is_left(), connect(live) as session:
        await send(session, "one")
        marks = [
            "interrupted" if content.interrupted else "complete" if content.turn_complete else "text"
            for content in (message.server_content for message in await loop_of(session))
            if content and (content.interrupted or content.turn_complete or content.model_turn)
        ]
        cut = marks.index("interrupted")
        assert set(marks[:cut]) == {"text"}
        assert set(marks[cut + 1 : -1]) == {"text"}
        assert marks[-1] == "complete"


@PROFILES
@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.skipif(not hasattr(types, "HistoryConfig"), reason="this google-genai has no HistoryConfig")
async def test_a_seed_of_the_app_is_sent_once_or_replayed(profile, refused):
    """History beside a handle is refused."""
    faults = [Fault.rst(Trigger.mid_answer(2), binding=1)]
    if refused:
        faults.append(Fault.refuse_handle())
    config = {**CONFIG, "history_config": {"initial_history_in_client_content": True}}
    model = "gemini-3.1-flash-live"
    async with server(profile, model="3.x", faults=faults) as live, nothing_is_left():
        try:
            await seam.account_of(client_of(live)).rehearse(model, config)
        except ValueError:
            pytest.skip("this version takes no history_config on Vertex")
        async with connect(live, model=model, config=config) as session:
            turns = [types.Content(role=role, parts=[types.Part(text=role)]) for role in ("user", "model")]
            await session.send_client_content(turns=turns, turn_complete=True)
            await session.send_realtime_input(text="one")
            assert parse_answer(await answer_of(session)).turns_held == 2
            assert await anchored(session)
            session.force_reconnect()
            await session.send_realtime_input(text="two")
            assert parse_answer(await answer_of(session)).turns_held == 3
            assert session.stats.fresh_starts == int(refused)
        setups = [frames[0].decode() for frames in map(live.ledger.raw, range(len(live.connections))) if frames]
        assert len(setups) > 1
        assert all(setup_seeds_history(setup) is (setup_handle(setup) is None) for setup in setups)
        assert live.ledger.report().history_with_handle == 0


# --- errors ----------------------------------------------------------------------------------------------------------


@PROFILES
async def test_a_full_buffer_is_told_and_nothing_else_is_lost(profile):
    fields = {"control_messages": 2, "send_wait": 1.0, "first_delay": 0.0}
    async with server(profile, overlap="queue") as live, nothing_is_left(), connect(live, fields=fields) as session:
        await ask(session, "one")
        assert await anchored(session)
        live.inject(Fault.handshake(503, retry_after=20.0))
        live.inject(Fault.rst())
        assert await settled(lambda: live.connections[-1].http_status == 503)
        for question in ("two", "three"):
            await send(session, question)
        with pytest.raises(errors.BufferFull, match="control_messages"):
            await send(session, "four")
        assert not isinstance(errors.BufferFull, genai.errors.APIError)
        assert parse_answer(await answer_of(session)).asked == "two"
        assert parse_answer(await answer_of(session)).asked == "three"


async def test_cancelled_error_passes_through_every_wait():
    fields = {"control_messages": 1, "send_wait": 1000.0}
    async with server() as live, nothing_is_left(), connect(live, fields=fields) as session:
        await ask(session, "one")
        assert await anchored(session)
        live.inject(Fault.handshake(503, times=None))
        live.inject(Fault.rst())
        assert await settled(lambda: live.connections[-1].http_status == 503)
        await send(session, "two")
        for waiting in (send(session, "three"), answer_of(session)):
            task = asyncio.create_task(waiting)
            await asyncio.sleep(0.02)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


# --- every method of an AsyncSession ---------------------------------------------------------------------------------


def content(text):
    return types.Content(role="user", parts=[types.Part(text=text)])


async def use_send(session, live):
    """Deprecated; ADK used it for long."""
    await session.send(input="one", end_of_turn=True)
    first = parse_answer(await answer_of(session))
    await session.send(input=types.LiveClientContent(turns=[content("two [tool:look_up {}]")], turn_complete=True))
    said = ""
    async for message in session.receive():
        said += text_of(message)
        for call in message.tool_call.function_calls if message.tool_call else ():
            await session.send(input=types.FunctionResponse(id=call.id, name=call.name, response={"found": 1}))
    assert (first.asked, parse_answer(said).turns_held) == ("one", 2)
    blob = types.Blob(data=silence(0.1), mime_type="audio/pcm;rate=16000")
    await session.send(input=types.LiveClientRealtimeInput(media_chunks=[blob]))
    await session.send(input={"data": silence(0.1), "mime_type": "audio/pcm;rate=16000"})
    assert await settled(lambda: live.ledger.report(["one", "two [tool:look_up {}]"]).audio_ms >= 200)


async def use_start_stream(session, live):
    """Deprecated."""
    answered = asyncio.Event()

    async def microphone():
        pcm = spoken("hello") + silence(0.8)
        for at in range(0, len(pcm), 3200):
            yield pcm[at : at + 3200]
        await answered.wait()

    said = ""
    async for message in session.start_stream(stream=microphone(), mime_type="audio/pcm;rate=16000"):
        interrupted = message.server_content and message.server_content.interrupted
        said = "" if interrupted else said + text_of(message)
        if message.server_content and message.server_content.turn_complete:
            answered.set()
    assert parse_answer(said).asked == "hello"


async def use_send_client_content(session, live):
    await session.send_client_content(turns=[content("some"), content("thing")], turn_complete=False)
    await session.send_client_content(turns={"role": "user", "parts": [{"text": "more"}]})
    assert parse_answer(await answer_of(session)).asked == "more"
    await session.send_client_content(turns=content("again"))
    assert parse_answer(await answer_of(session)).asked == "again"


async def use_send_realtime_input(session, live):
    await speak(session, "hello")
    assert parse_answer(await answer_of(session)).asked == "hello"
    await session.send_realtime_input(media=types.Blob(data=silence(0.1), mime_type="audio/pcm;rate=16000"))
    await session.send_realtime_input(video=types.Blob(data=b"a picture", mime_type="image/jpeg"))
    await session.send_realtime_input(audio_stream_end=True)
    assert await settled(lambda: b"a picture" in _decoded(live) and b"audioStreamEnd" in _received(live))


async def use_send_tool_response(session, live):
    await send(session, "please [tool:look_up {}]")
    said = ""
    async for message in session.receive():
        said = "" if message.server_content and message.server_content.interrupted else said + text_of(message)
        for call in message.tool_call.function_calls if message.tool_call else ():
            answer = {"id": call.id, "name": call.name, "response": {"found": 1}}
            await session.send_tool_response(function_responses=[answer])
    assert parse_answer(said).results


async def use_send_context_update(session, live):
    await session.send_context_update(system_instruction="Be brief.")
    await session.send_context_update(tools=[])
    assert parse_answer((await send(session, "one"), await answer_of(session))[1]).asked == "one"
    assert sum(item.startswith("context:") for item in live.ledger.held()) == 2


async def use_receive(session, live):
    for question in ("one", "two", "three"):
        assert (await ask(session, question)).asked == question


async def use_close(session, live):
    await ask(session, "one")
    await session.close()
    await session.close()
    with pytest.raises(errors.SessionClosed):
        await send(session, "two")


def _received(live):
    return b"".join(b"".join(live.ledger.raw(number)) for number in range(len(live.connections)))


def _decoded(live):
    import base64
    import re

    found = re.findall(rb'"data": ?"([^"]*)"', _received(live))
    return b"".join(base64.b64decode(data, altchars=b"-_" if {45, 95} & set(data) else None) for data in found)


USES = {name.removeprefix("use_"): use for name, use in list(globals().items()) if name.startswith("use_")}


def test_every_public_method_is_used_here():
    """A new one has to be looked at: what does it send, and what becomes of that at a cut?"""
    known = {name for name in vars(AsyncSession) if not name.startswith("_")}
    assert known <= set(USES)
    assert set(USES) - known <= {"send_context_update"}  # 2.34 and later


@PROFILES
@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("name", USES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_it_works_and_lives_through_a_cut(profile, name, cut):
    if not hasattr(AsyncSession, name):
        pytest.skip("this version has no such method")
    faults = [Fault.rst(Trigger.mid_answer(1), binding=0)] if cut and name != "close" else []
    config = {**CONFIG, "tools": [TOOL]}
    async with (
        server(profile, faults=faults, chunk_interval=0.2) as live,
        nothing_is_left(),
        connect(live, config=config) as session,
    ):
        await USES[name](session, live)
        assert session.stats.connections == 1 + len(faults)
