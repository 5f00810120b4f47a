"""The google-genai adapter against the emulator, on both backends: the same code as with plain google-genai."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import pickle
import re
import ssl
import subprocess
import sys
import warnings

import pytest

from resumekit import errors
from resumekit.core import events
from resumekit.emulator import Fault, Trigger, parse_answer
from resumekit.emulator.connection import Connection
from tests.adapters.support import CANARY, MODEL, nothing_is_left, policy, server, settled
from tests.proofs.virtual import in_virtual_time
from tests.secrets import API_KEY

genai = pytest.importorskip("google.genai")
from google.genai import errors as genai_errors  # noqa: E402
from google.genai import types  # noqa: E402
from google.oauth2.credentials import Credentials  # noqa: E402
from pydantic import ValidationError  # noqa: E402
from websockets.exceptions import InvalidStatus  # noqa: E402

from resumekit.adapters import genai as resumable  # noqa: E402

pytestmark = [pytest.mark.network, pytest.mark.allow_blocking]  # google-genai blocks, we do not
PROFILES = pytest.mark.parametrize("profile", ["developer", "vertex"])
CONFIG = {"response_modalities": ["TEXT"]}


def client_of(live, *, api_key=API_KEY, tls=None, made_by=genai.Client, **arguments):
    options = types.HttpOptions(base_url=live.base_url, async_client_args={"ssl": tls or live.client_ssl_context()})
    if live.settings.profile == "developer":
        return made_by(api_key=api_key, http_options=options, **arguments)
    account = {"vertexai": True, "project": "p", "location": "us-central1", "credentials": Credentials(api_key)}
    return made_by(**account, http_options=options, **arguments)


def connect(live, *, model=MODEL, config=None, fields=None, **arguments):
    client = arguments.pop("client", None) or client_of(live)
    return resumable.connect(client, model=model, config=config or CONFIG, policy=policy(**(fields or {})), **arguments)


def text_of(message):
    content = message.server_content
    parts = content and content.model_turn and content.model_turn.parts
    return "".join(part.text or "" for part in parts or ())


async def send(session, text):
    await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text=text)]))


async def answer_of(session):
    """One `receive()` to its end, as an app does it: playback is flushed when interrupted."""
    said = ""
    async for message in session.receive():
        said = "" if message.server_content and message.server_content.interrupted else said + text_of(message)
    return said


async def ask(session, text):
    await send(session, text)
    return parse_answer(await answer_of(session))


async def anchored(session):
    """Wait until there is a handle to resume from."""
    return await settled(lambda: session._driver.last_handle is not None)


# --- conversations ---------------------------------------------------------------------------------------------------


@PROFILES
async def test_it_is_an_async_session_of_the_installed_version(profile):
    async with (
        server(profile) as live,
        nothing_is_left(),
        connect(live) as session,
        client_of(live).aio.live.connect(model=MODEL, config=CONFIG) as plain,
    ):
        assert isinstance(session, genai.live.AsyncSession)
        assert type(session.session_id) is type(plain.session_id)
        assert getattr(session, "setup_complete", None).__class__ is getattr(plain, "setup_complete", None).__class__
        assert (await ask(session, "one")).asked == "one"


def answers_the_setup_with(monkeypatch, **fields):
    """Have the emulator's setupComplete hold these, too."""
    as_ever = Connection.send_setup_complete

    async def send_setup_complete(self, message):
        await as_ever(self, {"setupComplete": {**message["setupComplete"], **fields}})

    monkeypatch.setattr(Connection, "send_setup_complete", send_setup_complete)


@PROFILES
async def test_fields_of_setup_complete_that_came_later_are_left_out(profile, monkeypatch):
    """The service adds fields without notice, and google-genai does not mind."""
    answers_the_setup_with(monkeypatch, brandNew={"a": [1]})
    async with (
        server(profile) as live,
        nothing_is_left(),
        connect(live) as session,
        client_of(live).aio.live.connect(model=MODEL, config=CONFIG) as plain,
    ):
        assert type(session.session_id) is type(plain.session_id)
        assert (await ask(session, "one")).asked == "one"


@PROFILES
async def test_a_setup_complete_that_google_genai_cannot_read_leaves_no_session_behind(profile, monkeypatch):
    answers_the_setup_with(monkeypatch, sessionId=5)
    async with server(profile) as live, nothing_is_left():
        with pytest.raises(ValidationError):
            async with client_of(live).aio.live.connect(model=MODEL, config=CONFIG):
                raise AssertionError
        with pytest.raises(ValidationError):
            await connect(live).__aenter__()


@PROFILES
@pytest.mark.parametrize("cut", [Fault.rst, Fault.fin])
async def test_request_and_answer_with_a_cut_in_mid_answer(profile, cut):
    faults = [cut(Trigger.mid_answer(2), binding=0), cut(Trigger.mid_answer(1), binding=1)]
    async with server(profile, faults=faults) as live, nothing_is_left():
        async with connect(live) as session:
            for number in range(4):
                answer = await ask(session, f"question {number}")
                assert (answer.asked, answer.turns_held) == (f"question {number}", number + 1)
            assert session.stats.turns_reanswered == 2
        report = live.ledger.report([f"question {number}" for number in range(4)])
        assert report.ok, report


@PROFILES
async def test_the_classic_loop_with_a_cut_in_mid_answer(profile):
    """`while True: async for message in session.receive()`, and another task that asks."""
    questions = [f"question {number}" for number in range(4)]
    faults = [Fault.rst(Trigger.mid_answer(2), binding=0), Fault.close(1011, "oops", Trigger.mid_answer(6), binding=1)]
    async with server(profile, faults=faults) as live, nothing_is_left():
        answers = []

        async def listen(session):
            while len(answers) < len(questions):
                said = ""
                async for message in session.receive():
                    content = message.server_content
                    said = "" if content and content.interrupted else said + text_of(message)
                answers.append(parse_answer(said).asked)

        async with connect(live) as session:
            listener = asyncio.create_task(listen(session))
            for number, question in enumerate(questions):
                await send(session, question)
                await settled(lambda number=number: len(answers) > number)
            await listener
        assert answers == questions
        assert live.ledger.report(questions).ok


@PROFILES
async def test_go_away_in_mid_answer_is_not_noticed(profile):
    """The answer ends on the old connection; the move happens after it, on a connection that was dialled ahead."""
    seen = []
    faults = [Fault.go_away(40.0, at=Trigger.mid_answer(2), binding=0)]
    async with server(profile, faults=faults, chunk_interval=2.0) as live, nothing_is_left():
        async with connect(live, on_event=seen.append) as session:
            assert (await ask(session, "zero")).asked == "zero"
            assert await settled(lambda: any(isinstance(event, events.Resumed) for event in seen))
            assert (await ask(session, "one")).turns_held == 2
        resumed = next(event for event in seen if isinstance(event, events.Resumed))
        assert resumed.planned
        assert not any(isinstance(event, events.TurnCut | events.FreshStarted) for event in seen)
        assert len(live.connections) == 2
        assert live.ledger.report(["zero", "one"]).ok


@PROFILES
async def test_half_open_is_resumed_with_the_old_handle(profile):
    faults = [Fault.half_open(3.0, at=Trigger.client_message(2), binding=0)]
    fields = {"ping_expecting": 20.0, "abort_expecting": 40.0}
    async with server(profile, faults=faults) as live, nothing_is_left():
        async with connect(live, fields=fields) as session:
            await ask(session, "one")
            assert await anchored(session)
            assert (await ask(session, "two")).turns_held == 2
            assert session.stats.fresh_starts == 0
        assert live.ledger.report(["one", "two"]).ok


@PROFILES
async def test_fifty_reconnects_leave_nothing(profile):
    async with server(profile, handle_delay=0.0, chunk_interval=0.0, first_frame_delay=0.0, setup_delay=0.0) as live:
        async with connect(live) as session:
            assert (await ask(session, "0")).asked == "0"
            async with nothing_is_left():
                for number in range(1, 51):
                    if number % 2:
                        session.force_reconnect()
                    else:
                        live.inject(Fault.rst())
                    assert (await ask(session, f"{number}")).asked == f"{number}"
                assert await settled(lambda: session.stats.connections > 50)
        assert live.ledger.report([f"{number}" for number in range(51)]).ok


@PROFILES
async def test_a_frame_that_no_version_knows_is_an_event(profile):
    """google-genai raises a TypeError in the app's loop for such a frame."""
    faults = [Fault.unknown_keys(Trigger.mid_answer(1)), Fault.not_json(Trigger.mid_answer(2))]
    async with server(profile, faults=faults) as live, connect(live) as session:
        assert (await ask(session, "one")).asked == "one"
        await session.close()
        discarded = [event async for event in session.events if isinstance(event, events.FrameDiscarded)]
        assert [event.connection for event in discarded] == [1, 1]


async def test_realtime_text_tools_and_speech_pass():
    tool = {"function_declarations": [{"name": "look_up"}]}
    async with (
        server(model="3.x") as live,
        connect(live, model="gemini-3.1-flash-live", config={**CONFIG, "tools": [tool]}) as session,
    ):
        await session.send_realtime_input(text='please [tool:look_up {"a": 1}]')
        said = ""
        async for message in session.receive():
            said += text_of(message)
            for call in message.tool_call.function_calls if message.tool_call else ():
                response = types.FunctionResponse(id=call.id, name=call.name, response={"found": call.args})
                await session.send_tool_response(function_responses=response)
        assert "look_up" in parse_answer(said).results


# --- the first connection --------------------------------------------------------------------------------------------


async def outcome(context):
    """Enter a context manager; return what it raised."""
    try:
        async with context:
            return None
    except Exception as error:
        return error


TRANSIENT = {"first_connect_deadline": 60.0}


async def both(live, *, model=MODEL, config=None, client=None, fields=None):
    """Return what plain google-genai and resumekit make of the same connect."""
    client = client or client_of(live)
    plain = await outcome(client.aio.live.connect(model=model, config=config or CONFIG))
    ours = await outcome(connect(live, model=model, config=config, client=client, fields=fields))
    return plain, ours


def facts(error):
    """Return what google-genai's own errors say; 1.56 shows those of websockets."""
    if not isinstance(error, genai_errors.APIError):
        return None
    return error.code, error.status, error.message, error.details


def same(plain, ours):
    assert type(ours) is type(plain)
    assert str(ours) == str(plain)
    assert facts(ours) == facts(plain)


@PROFILES
@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refused_handshake_comes_out_as_of_google_genai(profile, status):
    async with server(profile, faults=[Fault.handshake(status, times=None)]) as live, nothing_is_left():
        plain, ours = await both(live)

        same(plain, ours)
        assert isinstance(ours, InvalidStatus)
        assert len(live.connections) <= 1 + 2  # Vertex renews its token once


@PROFILES
@pytest.mark.parametrize(
    ("code", "reason"),
    [(1007, "Invalid JSON payload received. Unknown name"), (1008, "models/x is not found"), (1003, "")],
)
async def test_a_refused_setup_comes_out_as_of_google_genai(profile, code, reason):
    fault = Fault.close(code, reason, Trigger.setup_received(), times=None)
    async with server(profile, faults=[fault]) as live, nothing_is_left():
        plain, ours = await both(live)

        same(plain, ours)
        assert len(live.connections) == 2


async def test_a_wrong_model_comes_out_as_of_google_genai():
    async with server() as live:
        same(*await both(live, model="no-such-thing"))


@PROFILES
@pytest.mark.parametrize("status", [429, 503])
@in_virtual_time
async def test_a_transient_failure_is_retried_until_the_deadline(profile, status):
    async with server(profile, faults=[Fault.handshake(status, times=None)]) as live, nothing_is_left():
        plain, ours = await both(live, fields=TRANSIENT)

        same(plain, ours)
        dials = len(live.connections) - 1  # one was plain
        assert 5 <= dials <= 11  # ten in the minute of the deadline, and one that it ends
        told = re.fullmatch(r"resumekit: (\d+) attempts in 3\.0 s", ours.__notes__[0])
        assert dials <= int(told[1]) <= dials + 1


@in_virtual_time
async def test_a_transient_close_is_retried_until_the_deadline():
    fault = Fault.close(1011, "The service is currently unavailable.", Trigger.setup_received(), times=None)
    async with server(faults=[fault]) as live:
        same(*await both(live, fields=TRANSIENT))


async def test_a_transient_failure_that_passes_is_not_noticed():
    faults = [Fault.handshake(503), Fault.drop_before_setup(), Fault.drop_after_setup()]
    async with server(faults=faults) as live, connect(live) as session:
        assert (await ask(session, "one")).asked == "one"


async def test_no_server_at_all_comes_out_as_of_google_genai():
    async with server() as live:
        pass
    plain, ours = await both(live, client=client_of(live, tls=ssl.create_default_context()), fields=TRANSIENT)
    assert type(plain) is type(ours) is ConnectionRefusedError


async def test_a_certificate_that_is_not_trusted_comes_out_at_once():
    async with server() as live:
        plain, ours = await both(live, client=client_of(live, tls=ssl.create_default_context()))
        assert type(plain) is type(ours) is ssl.SSLCertVerificationError


async def test_a_slow_handshake_ends_in_the_time_out_that_one_knows():
    async with server(faults=[Fault.slow_handshake(20.0, times=None)]) as live, nothing_is_left():
        fields = {"connect_timeout": 6.0, **TRANSIENT}
        ours = await outcome(connect(live, fields=fields))
        assert type(ours) is TimeoutError
        assert str(ours).replace("opening ", "") == "timed out during handshake"  # as websockets 13 and 14 say


@pytest.mark.parametrize("profile", ["developer", "vertex"])
async def test_with_resumption_off_nothing_is_kept_by_the_service_and_history_carries_on(profile):
    """Not even where the config asks for it."""
    config = {**CONFIG, "session_resumption": {"handle": CANARY}}
    async with server(profile) as live, nothing_is_left():
        async with connect(live, config=config, fields={"resumption": "off"}) as session:
            await ask(session, "one")
            live.inject(Fault.rst())
            assert await settled(lambda: session.stats.fresh_starts == 1)
            await ask(session, "two")
            assert session.stats.resumes == 0
        for frames in map(live.ledger.raw, range(len(live.connections))):
            assert b"esumption" not in frames[0]
        assert live.ledger.report(["one", "two"]).lost == []


@in_virtual_time
async def test_no_setup_complete_ends_in_a_time_out():
    """google-genai would wait for ever."""
    async with server(faults=[Fault.no_setup_complete(times=None)]) as live, nothing_is_left():
        ours = await outcome(connect(live, fields={"setup_timeout": 1.0, **TRANSIENT}))
        assert isinstance(ours, TimeoutError)
        assert isinstance(ours.__cause__, errors.ConnectFailed)


@pytest.mark.parametrize(
    "config",
    [
        {"response_modalities": "nonsense", "temperature": "hot"},
        {"no_such_field": 1},
        {"session_resumption": {"transparent": True}},
        {"http_options": {"timeout": 3}},
    ],
)
async def test_a_bad_config_comes_out_unchanged_before_anything_is_dialled(config):
    async with server() as live:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain, ours = await both(live, config=config)
        assert plain is not None
        assert type(ours) is type(plain)
        assert str(ours) == str(plain)
        assert live.connections == []


@PROFILES
async def test_connect_can_be_cancelled_anywhere(profile):
    async with server(profile, setup_delay=0.1) as live, nothing_is_left():
        for count in range(0, 120, 3):
            task = asyncio.create_task(outcome(connect(live)))
            for _ in range(count % 40):
                await asyncio.sleep(0)
            await asyncio.sleep(count / 4000)
            task.cancel()
            await asyncio.wait({task})


# --- the end ---------------------------------------------------------------------------------------------------------


@PROFILES
async def test_after_close_it_shows_what_google_genai_shows(profile):
    async with server(profile) as live, nothing_is_left():
        shown = []
        for context in (client_of(live).aio.live.connect(model=MODEL, config=CONFIG), connect(live)):
            async with context as session:
                waiting = asyncio.create_task(answer_of(session))
                await asyncio.sleep(0.01)
                await session.close()
                await session.close()
                for use in (lambda: waiting, lambda: answer_of(session)):  # noqa: B023 -- used at once
                    with pytest.raises(Exception) as caught:
                        await use()
                    shown.append((type(caught.value), facts(caught.value)))
        assert shown[:2] == shown[2:]


async def test_a_send_after_close_says_so():
    async with server() as live, connect(live) as session:
        await session.end()
        with pytest.raises(errors.SessionClosed, match="open a new one"):
            await send(session, "one")
        with pytest.raises(errors.SessionClosed):
            session.force_reconnect()


@PROFILES
async def test_a_lost_session_is_both_our_error_and_theirs(profile):
    async with server(profile) as live:
        async with connect(live, fields={"max_outage": 24.0}) as session:
            await ask(session, "one")
            live.inject(Fault.handshake(503, times=None))
            live.inject(Fault.rst())
            await send(session, "two")
            with pytest.raises(genai_errors.APIError) as caught:
                await answer_of(session)
            with pytest.raises(errors.SessionLost):
                await send(session, "three")
            with pytest.raises(errors.SessionLost):
                await answer_of(session)
        lost = caught.value
        assert isinstance(lost, errors.SessionLost)
        assert isinstance(lost, resumable.SessionLost)
        assert lost.code == lost.status_code == 503
        assert lost.unsent_messages >= 1
        assert "raise Policy.max_outage" in str(lost)
        assert isinstance(lost.__cause__, InvalidStatus)
        copy = pickle.loads(pickle.dumps(lost))
        assert (type(copy), str(copy), copy.code) == (type(lost), str(lost), 503)


@PROFILES
async def test_every_call_of_a_session_can_be_cancelled(profile):
    """A cancelled `receive()` loses nothing; a cancelled `send` sent it or not."""
    async with (
        server(profile, chunk_interval=0.2, output_chunks=20) as live,
        nothing_is_left(),
        connect(live) as session,
    ):
        await send(session, "one")
        said, done = "", False
        while not done:
            stream = session.receive()
            step = asyncio.create_task(anext(stream))
            await asyncio.sleep(0)
            if len(said) % 3:
                await asyncio.sleep(0.003)
            step.cancel()
            await asyncio.wait({step})
            if not step.cancelled():
                said += text_of(step.result())
                done = bool(step.result().server_content and step.result().server_content.turn_complete)
            await stream.aclose()
        assert parse_answer(said).asked == "one"
        close = asyncio.create_task(session.close())
        await asyncio.sleep(0)
        close.cancel()
        await asyncio.wait({close})


async def test_an_abandoned_generator_cleans_up():
    """ADK leaves its connection to the loop's hook, in another task."""
    async with server() as live, nothing_is_left():

        async def conversation():
            async with connect(live) as session:
                while True:
                    yield await ask(session, "again")

        async for answer in conversation():
            assert answer.asked == "again"
            break
        gc.collect()
        assert await settled(lambda: live.connections[0].closed_at is not None)


# --- handles, history, credentials -----------------------------------------------------------------------------------


@PROFILES
async def test_a_handle_in_the_config_is_the_first_that_is_used(profile):
    async with server(profile) as live:
        async with connect(live) as session:
            await ask(session, "one")
            handle = None
            async for message in session.receive():
                update = message.session_resumption_update
                if update and update.resumable:
                    handle = update.new_handle
                    break
        config = types.LiveConnectConfig(
            response_modalities=["TEXT"], session_resumption=types.SessionResumptionConfig(handle=handle)
        )
        async with connect(live, config=config) as session:
            assert (await ask(session, "two")).turns_held == 2
        assert live.connections[1].handle == handle
        assert config.session_resumption.transparent is None


@pytest.mark.parametrize(
    ("profile", "given", "field", "transparent"),
    [
        ("developer", None, "auto", None),
        ("developer", None, False, None),
        ("vertex", None, "auto", True),
        ("vertex", True, "auto", True),
        ("vertex", False, "auto", None),
        ("vertex", None, False, None),
        ("vertex", None, True, True),
    ],
)
async def test_transparent_resumption_is_for_vertex_alone(profile, given, field, transparent):
    resumption = {} if given is None else {"session_resumption": {"transparent": given}}
    async with server(profile) as live:
        async with connect(live, config={**CONFIG, **resumption}, fields={"transparent": field}):
            pass
        setup = json.loads(live.ledger.raw(0)[0])["setup"]
        assert setup["sessionResumption"].get("transparent") == transparent


async def test_transparent_resumption_on_the_developer_api_is_an_error():
    async with server() as live:
        with pytest.raises(errors.ConfigurationError, match="transparent"):
            await connect(live, fields={"transparent": True}).__aenter__()
        assert live.connections == []


async def load_history():
    return [
        {"role": "user", "parts": [{"text": "before"}]},
        types.Content(role="model", parts=[types.Part(text="yes")]),
    ]


@pytest.mark.parametrize(
    "history",
    [
        [types.UserContent(parts=[types.Part(text="before")]), types.ModelContent(parts=[types.Part(text="yes")])],
        [{"role": "user", "parts": [{"text": "before"}]}, {"role": "model", "parts": ["yes"]}],
        ["before", types.Content(role="model", parts=[types.Part(text="yes")])],
        load_history,
        lambda: ["before", {"role": "model", "parts": {"text": "yes"}}],
    ],
)
async def test_history_is_replayed_into_a_new_session(history):
    async with server() as live, connect(live, history=history) as session:
        answer = await ask(session, "now [recall]")
        assert answer.recall[:1] == ["before"]
        assert answer.recall[-1].startswith("now")


async def test_tool_parts_of_history_are_written_out():
    history = [
        types.Content(role="model", parts=[types.Part.from_function_call(name="look_up", args={"a": 1})]),
        types.Content(role="user", parts=[types.Part.from_function_response(name="look_up", response={"b": 2})]),
        types.Content(role="user", parts=[types.Part.from_bytes(data=b"x", mime_type="image/png")]),
    ]
    async with server() as live, connect(live, history=history) as session:
        await ask(session, "now")
        sent = b"".join(live.ledger.raw(0)).decode()
        assert "look_up" in sent
        assert '{\\"a\\": 1}' in sent
        assert '{\\"b\\": 2}' in sent


@pytest.mark.parametrize("history", [[3], [{"role": 3, "parts": []}], [{"parts": [3]}], 3])
async def test_nonsense_for_history_is_an_error(history):
    async with server() as live:
        with pytest.raises(errors.ConfigurationError, match="history holds"):
            await connect(live, history=history).__aenter__()


@PROFILES
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_callable_client_is_asked_at_each_dial(profile, asynchronous):
    async with server(profile) as live:
        made = []

        def make():
            made.append(client_of(live, api_key=f"key-{len(made)}"))
            return made[-1]

        async def make_later():
            await asyncio.sleep(0)
            return make()

        async with connect(live, client=make_later if asynchronous else make) as session:
            await ask(session, "one")
            live.inject(Fault.rst())
            await ask(session, "two")
        assert len(made) == len(live.connections) == 2


async def test_new_credentials_mend_a_401():
    async with server(credential="new") as live:
        keys = iter(["old", "new", "new", "new"])
        async with connect(live, client=lambda: client_of(live, api_key=next(keys))) as session:
            assert (await ask(session, "one")).asked == "one"


@pytest.mark.parametrize("client", [None, "key", 3, lambda: "key"])
async def test_something_else_for_a_client_is_an_error(client):
    with pytest.raises(errors.ConfigurationError, match="give a google"):
        await resumable.connect(client, model=MODEL).__aenter__()


async def test_an_asynchronous_listener_is_an_error():
    async def listener(event): ...

    async with server() as live:
        with pytest.raises(errors.ConfigurationError, match="on_event"):
            await connect(live, on_event=listener).__aenter__()


# --- secrets ---------------------------------------------------------------------------------------------------------


@PROFILES
async def test_no_handle_and_no_key_is_in_a_log_or_a_repr(profile, caplog):
    """With every logger at DEBUG."""
    caplog.set_level(logging.DEBUG)
    seen = []
    async with server(profile, faults=[Fault.rst(Trigger.client_message(2), binding=1)]) as live:
        config = {**CONFIG, "session_resumption": {"handle": CANARY}}
        client = client_of(live, api_key="SECRET-KEY-123456")
        handles = set()
        async with connect(live, config=config, client=client, on_event=seen.append) as session:
            await ask(session, "one")
            assert await anchored(session)
            await ask(session, "two")
            shown = [
                repr(session),
                str(vars(session)),
                repr(session.stats),
                repr(seen),
                repr(session._driver.last_handle),
            ]
        for frames in map(live.ledger.raw, range(len(live.connections))):
            setup = json.loads(frames[0])["setup"] if frames else {}
            handles.add(setup.get("sessionResumption", {}).get("handle"))
        handles = {handle for handle in handles if handle} | {CANARY}

    assert len(handles) > 1
    text = "\n".join(
        [f"{record.name} {record.getMessage()}" for record in caplog.records if "emulator" not in record.name] + shown
    )
    for secret in (*handles, "SECRET-KEY-123456"):
        assert secret not in text


# --- without google-genai --------------------------------------------------------------------------------------------


def test_without_google_genai_the_import_says_what_to_install():
    script = (
        "import sys; sys.modules['google.genai'] = None\n"
        "try:\n    import resumekit.adapters.genai\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)

    assert "pip install '.[genai]'" in done.stdout


async def test_one_receives_at_a_time_as_on_a_plain_connection():
    async with server() as live, nothing_is_left(), connect(live) as session:
        first = asyncio.create_task(anext(session.receive()))
        await asyncio.sleep(0)
        with pytest.raises(resumable._ConcurrencyError, match="another receive"):
            await anext(session.receive())
        first.cancel()
        await asyncio.wait({first})
        await send(session, "hello")
        assert text_of(await anext(session.receive()))


async def test_a_connect_is_entered_once():
    async with server() as live, nothing_is_left():
        context = connect(live)
        async with context:
            with pytest.raises(errors.ConfigurationError, match="entered before"):
                await context.__aenter__()


@pytest.mark.parametrize("turn", [{"role": "bot", "parts": []}, {"role": "user", "text": "x"}])
async def test_history_that_would_be_dropped_is_refused(turn):
    async with server() as live, nothing_is_left():
        with pytest.raises(errors.ConfigurationError, match="history"):
            await connect(live, history=[turn]).__aenter__()
