"""The real google-genai client against the emulator: a plain conversation, a resume, and the faults as it sees them."""

from __future__ import annotations

import base64

import pytest

from resumekit.emulator import Fault, Trigger, heard, parse_answer, silence, spoken
from tests.emulator.helpers import server

genai = pytest.importorskip("google.genai")
from google.genai import errors, types  # noqa: E402
from google.oauth2.credentials import Credentials  # noqa: E402
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

pytestmark = [pytest.mark.network, pytest.mark.allow_blocking]  # google-genai blocks, we do not

PROFILES = ["developer", "vertex"]
MODEL = "gemini-2.5-flash-live"


def client_of(live):
    options = types.HttpOptions(base_url=live.base_url, async_client_args={"ssl": live.client_ssl_context()})
    if live.settings.profile == "developer":
        return genai.Client(api_key="k", http_options=options)
    credentials = Credentials("tok")
    return genai.Client(
        vertexai=True, project="p", location="us-central1", credentials=credentials, http_options=options
    )


def connect(live, *, handle=None, speech=False, **config):
    resumption = types.SessionResumptionConfig(handle=handle)
    if live.settings.profile == "vertex":
        resumption.transparent = True
    config = types.LiveConnectConfig(
        response_modalities=["AUDIO" if speech else "TEXT"], session_resumption=resumption, **config
    )
    return client_of(live).aio.live.connect(model=MODEL, config=config)


async def ask(session, text, *, live_text=False):
    if live_text:
        await session.send_realtime_input(text=text)
    else:
        turn = types.Content(role="user", parts=[types.Part(text=text)])
        await session.send_client_content(turns=turn, turn_complete=True)
    return [message async for message in session.receive()]


def text_of(messages):
    return "".join(message.text or "" for message in messages if message.server_content)


async def handle_of(session):
    async for message in session.receive():
        update = message.session_resumption_update
        if update and update.resumable:
            return update.new_handle, update.last_consumed_client_message_index
    return None


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_conversation_with_a_resume(profile):
    async with server(profile=profile, mid_answer_handles=0) as live:
        async with connect(live) as session:
            assert text_of(await ask(session, "one")) == "answer to one: 1 user turns held"
            handle, index = await handle_of(session)
            assert index == (1 if profile == "vertex" else None)
        async with connect(live, handle=handle) as session:
            assert text_of(await ask(session, "two", live_text=True)) == "answer to two: 2 user turns held"
        assert live.ledger.report(["one", "two"]).ok
        assert {record.closed_by for record in live.connections} <= {"client", ""}


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_tool_call(profile):
    async with server(profile=profile) as live, connect(live) as session:
        turn = types.Content(role="user", parts=[types.Part(text='[tool:w {"city": "Rome"}]')])
        await session.send_client_content(turns=turn, turn_complete=True)
        said = ""
        async for message in session.receive():
            said += (message.text or "") if message.server_content else ""
            for call in message.tool_call.function_calls if message.tool_call else ():
                answer = types.FunctionResponse(id=call.id, name=call.name, response={"sky": "blue"})
                await session.send_tool_response(function_responses=[answer])
        assert 'w={"sky":"blue"}' in said
        assert live.ledger.report(['response:w:{"sky":"blue"}']).ok


@pytest.mark.parametrize("profile", PROFILES)
async def test_speech_both_ways(profile):
    async with server(profile=profile) as live:
        transcribe = {"input_audio_transcription": {}, "output_audio_transcription": {}}
        async with connect(live, speech=True, **transcribe) as session:
            pcm = spoken("what now") + silence(1)
            for at in range(0, len(pcm), 3200):
                blob = types.Blob(data=pcm[at : at + 3200], mime_type="audio/pcm;rate=16000")
                await session.send_realtime_input(audio=blob)
            messages = [message async for message in session.receive()]
        contents = [message.server_content for message in messages if message.server_content]
        asked = "".join(c.input_transcription.text or "" for c in contents if c.input_transcription)
        told = "".join(c.output_transcription.text or "" for c in contents if c.output_transcription)
        speech = b"".join(message.data for message in messages if message.data)
        assert asked == "what now"
        assert heard(speech, rate=24000).text == told == "answer to what now: 1 user turns held"
        assert live.ledger.audio() == pcm


@pytest.mark.skipif(not hasattr(types, "HistoryConfig"), reason="this google-genai has no HistoryConfig")
async def test_history_as_google_genai_seeds_it():
    async with server(model="3.x") as live:
        history = types.HistoryConfig(initial_history_in_client_content=True)
        async with connect(live, history_config=history) as session:
            turns = [types.Content(role=role, parts=[types.Part(text=role)]) for role in ("user", "model")]
            await session.send_client_content(turns=turns, turn_complete=True)
            answer = parse_answer(text_of(await ask(session, "so?", live_text=True)))
            assert answer.turns_held == 2


async def test_every_key_that_google_genai_writes_in_a_setup_is_known():
    config = {
        "system_instruction": "Be brief.",
        "temperature": 0.5,
        "tools": [{"function_declarations": [{"name": "w", "parameters": {"type": "OBJECT", "properties": {}}}]}],
        "speech_config": {"voice_config": {"prebuilt_voice_config": {"voice_name": "Kore"}}},
        "context_window_compression": {"trigger_tokens": 1000, "sliding_window": {"target_tokens": 500}},
        "realtime_input_config": {"activity_handling": "NO_INTERRUPTION"},
        "proactivity": {"proactive_audio": True},
        "enable_affective_dialog": True,
        "media_resolution": "MEDIA_RESOLUTION_LOW",
    }
    async with server() as live, connect(live, **config) as session:
        assert text_of(await ask(session, "x")).startswith("answer to x")


# --- faults -----------------------------------------------------------------------------------------------------


async def fate(live, **options):
    """Ask until something breaks; returns the exception."""
    with pytest.raises(Exception) as caught:  # noqa: PT012 - what it is, is what the test wants to know
        async with connect(live, **options) as session:
            while True:
                await ask(session, "x")
    return caught.value


def code_of(error):
    """Return the close code of an APIError, or, before google-genai 1.62, of the ConnectionClosed itself."""
    if isinstance(error, ConnectionClosed):
        return error.rcvd.code if error.rcvd else 1006
    assert isinstance(error, errors.APIError)
    return error.code


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.rst(at=Trigger.mid_answer(2)), 1006),
        (Fault.fin(at=Trigger.mid_answer(2)), 1006),
        (Fault.torn_frame(at=Trigger.mid_answer(2)), 1006),
        (Fault.close(1000, at=Trigger.turn_complete()), 1000),
        (Fault.close(1011, "Internal error encountered.", at=Trigger.mid_answer(1)), 1011),
        (Fault.go_away(1, at=Trigger.mid_answer(1)), 1011),
        (Fault.oversize_frame(at=Trigger.mid_answer(1)), 1006),
    ],
)
async def test_a_cut_is_an_api_error_of_the_plain_client(profile, fault, code):
    async with server(profile=profile, faults=[fault]) as live:
        assert code_of(await fate(live)) == code


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_drop_right_after_setup_complete_is_seen_by_send_or_receive(profile):
    async with server(profile=profile, faults=[Fault.drop_after_setup()]) as live:
        assert isinstance(await fate(live), errors.APIError | ConnectionClosed)


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_refused_handle_is_an_api_error_of_the_plain_client(profile):
    async with server(profile=profile) as live:
        error = await fate(live, handle="made-up")
        assert code_of(error) == 1007
        assert "Invalid session handle." in str(error)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("status", [401, 403, 429, 503])
async def test_a_refused_handshake_is_an_invalid_status(profile, status):
    async with server(profile=profile, faults=[Fault.handshake(status)]) as live:
        error = await fate(live)
        assert isinstance(error, InvalidStatus)
        assert error.response.status_code == status


@pytest.mark.parametrize("fault", [Fault.truncated_frame, Fault.not_json])
async def test_garbage_is_an_error_of_the_plain_client(fault):
    async with server(faults=[fault(at=Trigger.mid_answer(1))]) as live:
        assert isinstance(await fate(live), ValueError)


async def test_urls_are_what_google_genai_dials():
    for profile in PROFILES:
        async with server(profile=profile) as live, connect(live):
            assert live.connections[0].http_status is None
            assert base64.b64encode(live.ledger.raw(0)[0])
