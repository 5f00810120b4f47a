"""`http_options`: sessions that live on under a client that somebody else makes, from nothing but `HttpOptions`."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import ssl

import pytest

from resumekit import errors
from resumekit.core import events
from resumekit.emulator import Fault, Trigger, parse_answer
from tests.adapters.support import CANARY, MODEL, nothing_is_left, policy, server, settled
from tests.adapters.test_genai import CONFIG, PROFILES, answer_of, ask, client_of, facts, outcome, send, text_of
from tests.proofs.virtual import in_virtual_time

genai = pytest.importorskip("google.genai")
from google.genai import errors as genai_errors  # noqa: E402
from google.genai import types  # noqa: E402
from google.oauth2.credentials import Credentials  # noqa: E402

from resumekit.adapters import genai as resumable  # noqa: E402

pytestmark = [pytest.mark.network, pytest.mark.allow_blocking]  # google-genai blocks, we do not


def base_options(live, **more):
    return types.HttpOptions(base_url=live.base_url, async_client_args={"ssl": live.client_ssl_context(), **more})


def framework(live, *, fields=None, api_key="k", base=None, **arguments):
    """What a framework does that takes options: it writes into them, and makes its own client with them."""
    options = resumable.http_options(base or base_options(live), policy=policy(**(fields or {})), **arguments)
    options.headers = {**(options.headers or {}), "x-goog-api-client": "a-framework"}
    options = options.model_copy()
    if live.settings.profile == "developer":
        return genai.Client(api_key=api_key, http_options=options)
    credentials = Credentials(api_key)
    return genai.Client(
        vertexai=True, project="p", location="us-central1", credentials=credentials, http_options=options
    )


def connect(live, *, config=None, **arguments):
    return framework(live, **arguments).aio.live.connect(model=MODEL, config=config or CONFIG)


@PROFILES
async def test_a_session_lives_on(profile):
    seen = []
    faults = [
        Fault.rst(Trigger.mid_answer(2), binding=0),
        Fault.close(1011, "Internal error encountered.", Trigger.mid_answer(1), binding=1),
    ]
    async with server(profile, faults=faults) as live, nothing_is_left():
        async with connect(live, fields={"reanswer_in": "same_turn"}, on_event=seen.append) as session:
            for number in range(4):
                answer = await ask(session, f"question {number}")
                assert (answer.asked, answer.turns_held) == (f"question {number}", number + 1)
        assert live.ledger.report([f"question {number}" for number in range(4)]).ok
        assert sum(isinstance(event, events.TurnCut) for event in seen) == 2
        assert isinstance(seen[-1], events.SessionEnded)
        assert len(live.connections) == 3


async def test_a_cut_answer_is_ended_and_given_again_in_a_turn_of_its_own():
    faults = [Fault.rst(Trigger.mid_answer(2), binding=0)]
    async with server(faults=faults) as live, nothing_is_left(), connect(live) as session:
        await send(session, "one")
        cut = [message.server_content async for message in session.receive() if message.server_content]
        assert cut[-2].interrupted
        assert cut[-1].turn_complete
        assert parse_answer(await answer_of(session)).asked == "one"
        assert (await ask(session, "two")).turns_held == 2


@PROFILES
async def test_the_first_connection_is_the_one_that_google_genai_opened(profile):
    async with server(profile) as live, nothing_is_left():
        async with connect(live) as session:
            await ask(session, "one")
        assert len(live.connections) == 1
        assert await settled(lambda: live.connections[0].close_code == 1000)


@PROFILES
async def test_go_away_in_mid_answer_is_not_noticed(profile):
    seen = []
    faults = [Fault.go_away(40.0, at=Trigger.mid_answer(2), binding=0)]
    async with server(profile, faults=faults, chunk_interval=2.0) as live, nothing_is_left():
        async with connect(live, on_event=seen.append) as session:
            assert (await ask(session, "zero")).asked == "zero"
            assert await settled(lambda: any(isinstance(event, events.Resumed) for event in seen))
            assert (await ask(session, "one")).turns_held == 2
        assert not any(isinstance(event, events.TurnCut) for event in seen)
        assert live.ledger.report(["zero", "one"]).ok


@PROFILES
@pytest.mark.parametrize(
    "fault",
    [
        Fault.close(1007, "Invalid JSON payload received. Unknown name", Trigger.setup_received(), times=None),
        Fault.handshake(403, times=None),
    ],
)
async def test_a_first_connect_that_is_refused_comes_out_as_of_google_genai(profile, fault):
    async with server(profile, faults=[fault]) as live, nothing_is_left():
        plain = await outcome(client_of(live).aio.live.connect(model=MODEL, config=CONFIG))
        ours = await outcome(connect(live))

        assert type(ours) is type(plain)
        assert str(ours) == str(plain)
        assert facts(ours) == facts(plain)


async def test_once_the_first_connection_is_open_a_transient_failure_is_not_noticed():
    faults = [Fault.drop_before_setup(), Fault.drop_after_setup()]
    async with server(faults=faults) as live, nothing_is_left(), connect(live) as session:
        assert (await ask(session, "one")).asked == "one"


@in_virtual_time
async def test_no_setup_complete_ends_in_a_time_out():
    async with server(faults=[Fault.no_setup_complete(times=None)]) as live, nothing_is_left():
        ours = await outcome(connect(live, fields={"setup_timeout": 1.0, "first_connect_deadline": 60.0}))
        assert isinstance(ours, TimeoutError)


@PROFILES
async def test_a_session_that_is_lost_is_an_error_of_both(profile):
    async with server(profile) as live, nothing_is_left():
        async with connect(live, fields={"max_outage": 20.0}) as session:
            await ask(session, "one")
            live.inject(Fault.handshake(503, retry_after=0.5, times=None))
            live.inject(Fault.rst())
            await send(session, "two")
            with pytest.raises(genai_errors.APIError) as caught:
                await answer_of(session)
        assert isinstance(caught.value, errors.SessionLost)
        assert caught.value.code == 503


@PROFILES
async def test_after_close_it_shows_what_google_genai_shows(profile):
    shown = []
    async with server(profile) as live, nothing_is_left():
        for context in (client_of(live).aio.live.connect(model=MODEL, config=CONFIG), connect(live)):
            async with context as session:
                await session.close()
                await session.close()
                with pytest.raises(Exception) as caught:
                    await answer_of(session)
                shown.append((type(caught.value), facts(caught.value)))
    assert shown[0] == shown[1]


async def test_a_session_can_be_left_anywhere():
    """LiveKit leaves by break, after `close`, and in a cancelled task."""
    async with server(setup_delay=0.1, chunk_interval=0.2) as live, nothing_is_left():
        ours = framework(live)

        async def talk():
            async with ours.aio.live.connect(model=MODEL, config=CONFIG) as session:
                await send(session, "one")
                async for message in session.receive():
                    if text_of(message):
                        break
                await session.close()

        for count in range(0, 120, 5):
            task = asyncio.create_task(talk())
            await asyncio.sleep(count / 2000)
            task.cancel()
            await asyncio.wait({task})
        await talk()


@PROFILES
async def test_a_handle_of_the_framework_is_the_first_that_is_used(profile):
    """LiveKit opens a new session with the newest handle that it saw, and goes on."""
    async with server(profile) as live, nothing_is_left():
        ours = framework(live)
        async with ours.aio.live.connect(model=MODEL, config=CONFIG) as session:
            await ask(session, "one")
            handle = None
            async for message in session.receive():
                update = message.session_resumption_update
                if update and update.resumable:
                    handle = update.new_handle
                    break
        config = {**CONFIG, "session_resumption": {"handle": handle}}
        async with ours.aio.live.connect(model=MODEL, config=config) as session:
            assert (await ask(session, "two")).turns_held == 2


@pytest.mark.parametrize(
    ("profile", "given", "field", "transparent"),
    [
        ("developer", None, "auto", None),
        ("vertex", None, "auto", True),
        ("vertex", False, "auto", None),
        ("vertex", None, False, None),
    ],
)
async def test_transparent_resumption_is_for_vertex_alone(profile, given, field, transparent):
    resumption = {} if given is None else {"session_resumption": {"transparent": given}}
    async with server(profile) as live:
        async with connect(live, config={**CONFIG, **resumption}, fields={"transparent": field}) as session:
            assert (await ask(session, "one")).asked == "one"
        setup = json.loads(live.ledger.raw(0)[0])["setup"]
        assert setup["sessionResumption"].get("transparent") == transparent


async def test_transparent_resumption_on_the_developer_api_is_an_error():
    async with server() as live, nothing_is_left():
        assert isinstance(await outcome(connect(live, fields={"transparent": True})), errors.ConfigurationError)


async def test_history_is_replayed_into_a_new_session():
    async with server() as live, connect(live, history=["before", {"role": "model", "parts": ["yes"]}]) as session:
        assert (await ask(session, "now [recall]")).recall[0] == "before"


# --- later connections -----------------------------------------------------------------------------------------------


async def headers_of_dials(live, monkeypatch, **arguments):
    """Return the headers of the first connection, and those that the second was dialled with."""
    dialled = []
    real = resumable.dial_websocket

    async def dial(uri, *, additional_headers, **more):
        dialled.append((uri, additional_headers, more["options"]))
        return await real(uri, additional_headers=additional_headers, **more)

    monkeypatch.setattr(resumable, "dial_websocket", dial)
    async with connect(live, **arguments) as session:
        await ask(session, "one")
        first = session._ws.request
        live.inject(Fault.rst())
        assert (await ask(session, "two")).turns_held == 2
    return first, dialled


@PROFILES
async def test_later_connections_are_dialled_as_the_first(profile, monkeypatch):
    async with server(profile) as live:
        base = base_options(live, compression=None, trust_env=True)
        first, [(uri, headers, options)] = await headers_of_dials(live, monkeypatch, base=base)

        assert uri == f"wss://{first.headers['Host']}{first.path}"
        assert headers["x-goog-api-client"] == first.headers["x-goog-api-client"]
        for name, value in headers.raw_items():
            assert first.headers.get_all(name)[0] == value
        assert len({*headers}) == len([*headers.raw_items()])
        name = "x-goog-api-key" if profile == "developer" else "Authorization"
        assert headers[name] == ("k" if profile == "developer" else "Bearer k")
        assert not {header.lower() for header in headers} & {"host", "upgrade", "connection", "sec-websocket-key"}
        assert isinstance(options["ssl"], ssl.SSLContext)
        assert options["compression"] is None
        assert not {"trust_env", "create_connection"} & options.keys()


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_new_token_is_asked_for_at_each_later_dial(monkeypatch, asynchronous):
    tokens = iter(["second", "third"])

    def fresh():
        return {"authorization": f"Bearer {next(tokens)}"}

    async def fresh_later():
        await asyncio.sleep(0)
        return fresh()

    async with server("vertex") as live:
        ask_for = fresh_later if asynchronous else fresh
        _, [(_, headers, _)] = await headers_of_dials(live, monkeypatch, additional_headers=ask_for)

        assert headers.get_all("Authorization") == ["Bearer second"]


@pytest.mark.parametrize("renewable", [True, False])
async def test_a_token_that_went_stale_is_the_end_unless_there_is_a_callable(renewable):
    asked = []

    def fresh():
        asked.append("new")
        return {"Authorization": f"Bearer {len(asked)}"}

    headers = {"additional_headers": fresh} if renewable else {}
    async with server("vertex") as live, nothing_is_left(), connect(live, **headers) as session:
        await ask(session, "one")
        live.inject(Fault.handshake(401))
        live.inject(Fault.rst())
        await send(session, "two")
        if renewable:
            assert parse_answer(await answer_of(session)).turns_held == 2
            assert len(asked) == 2
        else:
            with pytest.raises(errors.SessionLost, match="401"):
                await answer_of(session)


# --- the options -----------------------------------------------------------------------------------------------------


def test_the_users_options_are_kept_and_not_changed():
    base = types.HttpOptions(base_url="https://127.0.0.1:1", timeout=7, async_client_args={"trust_env": True})
    made = resumable.http_options(base)

    assert base.async_client_args == {"trust_env": True}
    assert made.base_url == base.base_url
    assert made.timeout == 7
    assert made.async_client_args["trust_env"] is True
    assert resumable.http_options({"timeout": 7}).timeout == 7
    assert resumable.http_options().base_url is None


def test_the_options_can_be_copied():
    made = resumable.http_options()
    for other in (made.model_copy(), made.model_copy(deep=True), copy.deepcopy(made)):
        assert other.async_client_args == made.async_client_args


def test_a_wrong_policy_is_told_at_once():
    with pytest.raises(errors.ConfigurationError, match="policy"):
        resumable.http_options(policy="fast")


@pytest.mark.parametrize("options", [3, "x", {"no_such": 1}])
def test_wrong_options_are_an_error(options):
    with pytest.raises(ValueError, match=r"(?i)http_?options"):
        resumable.http_options(options)


async def test_rest_of_such_a_client_works():
    ours = genai.Client(
        api_key="k", http_options=resumable.http_options(types.HttpOptions(base_url="https://127.0.0.1:1"))
    )
    with pytest.raises(Exception, match=r"(?i)connect"):
        ours.models.generate_content(model="m", contents="hi")
    with pytest.raises(Exception, match=r"(?i)connect"):
        await ours.aio.models.generate_content(model="m", contents="hi")


@PROFILES
async def test_no_handle_and_no_key_is_in_a_log(profile, caplog):
    caplog.set_level(logging.DEBUG)
    seen = []
    async with server(profile) as live:
        config = {**CONFIG, "session_resumption": {"handle": CANARY}}
        async with connect(live, config=config, api_key="SECRET-KEY-123456", on_event=seen.append) as session:
            await ask(session, "one")
            live.inject(Fault.rst())
            await ask(session, "two")
    text = "\n".join(
        f"{record.name} {record.getMessage()}" for record in caplog.records if "emulator" not in record.name
    )
    for secret in (CANARY, "SECRET-KEY-123456"):
        assert secret not in text + repr(seen)


async def test_the_handle_is_kept_under_a_key():
    async with server() as live, nothing_is_left():
        for turns, question in enumerate(("one", "two"), 1):
            async with connect(live, key="a conversation", store="memory://facade") as session:
                assert (await ask(session, question)).turns_held == turns
                async for message in session.receive():
                    if message.session_resumption_update:
                        break
