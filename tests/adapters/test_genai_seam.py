"""Contracts with google-genai, one for each private name that is touched."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import threading
import types as builtin_types

import pytest

from resumekit import errors
from resumekit.wire import decode_server
from tests.adapters.support import MODEL, server, settled

genai = pytest.importorskip("google.genai")
from google.genai import types  # noqa: E402
from google.genai.client import AsyncClient  # noqa: E402
from google.genai.live import AsyncLive, AsyncSession  # noqa: E402
from google.oauth2.credentials import Credentials  # noqa: E402
from websockets.asyncio.client import ClientConnection  # noqa: E402
from websockets.exceptions import ConnectionClosedError  # noqa: E402

from resumekit.adapters import _genai_seam as seam  # noqa: E402
from resumekit.adapters import genai as resumable  # noqa: E402

pytestmark = pytest.mark.allow_blocking
CONFIG = types.LiveConnectConfig(response_modalities=["TEXT"], system_instruction="Be kind.")


def developer(**options):
    return genai.Client(api_key="k", http_options=types.HttpOptions(base_url="https://127.0.0.1:1", **options))


def vertex(credentials=None):
    return genai.Client(
        vertexai=True,
        project="p",
        location="us-central1",
        credentials=credentials or Credentials("tok"),
        http_options=types.HttpOptions(base_url="https://127.0.0.1:1"),
    )


# --- the request -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [developer, vertex])
async def test_google_genai_makes_the_request_and_opens_nothing(make):
    account = seam.account_of(make())
    first = await account.rehearse(MODEL, CONFIG)
    then = await account.ask(MODEL, CONFIG)

    setup = json.loads(first.setup)
    assert list(setup) == ["setup"]
    assert setup["setup"]["model"].endswith(f"models/{MODEL}")
    assert "Be kind." in first.setup
    assert first.uri == then.uri
    assert first.uri.startswith("wss://127.0.0.1:1/")
    assert "Be kind." not in then.setup
    assert set(first.headers) == set(then.headers)


async def test_the_request_has_the_key_the_token_and_the_headers_of_the_client():
    with_key = await seam.account_of(developer(headers={"X-Mine": "1"})).ask(MODEL, CONFIG)
    with_token = await seam.account_of(vertex()).ask(MODEL, CONFIG)

    assert with_key.headers["x-goog-api-key"] == "k"
    assert with_key.headers["X-Mine"] == "1"
    assert with_token.headers["Authorization"] == "Bearer tok"
    assert "k" not in repr(with_key).partition("?")[2]


async def test_the_rehearsal_asks_for_no_credentials():
    rehearsal = await seam.account_of(vertex()).rehearse(MODEL, CONFIG)

    assert "tok" not in str(rehearsal.headers)


async def test_the_arguments_for_websockets_are_those_of_the_client():
    class Marker(ClientConnection):
        made = 0

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            Marker.made += 1

    async with server() as live:
        tls = live.client_ssl_context()
        options = types.HttpOptions(
            base_url=live.base_url, headers={"X-Mine": "1"}, async_client_args={"ssl": tls, "create_connection": Marker}
        )
        client = genai.Client(api_key="k", http_options=options)
        request = await seam.account_of(client).ask(MODEL, CONFIG)
        assert request.options["ssl"] is tls
        async with resumable.connect(client, model=MODEL, config=CONFIG):
            assert Marker.made == 0, "the driver has its own"


async def test_the_users_client_and_config_stay_as_they_were():
    client = developer(headers={"X-Mine": "1"})
    config = CONFIG.model_copy()
    before = vars(client._api_client).copy(), client._api_client._http_options.model_copy(update={})
    account = seam.account_of(client)
    await account.rehearse(MODEL, config)
    await account.ask(MODEL, config)
    del account
    gc.collect()

    assert vars(client._api_client) == before[0]
    assert client._api_client._http_options == before[1]
    assert config.system_instruction == "Be kind."


async def test_rest_of_the_same_client_works_on():
    """A copy of the inner client would close the HTTP clients that it shares."""
    client = developer()
    account = seam.account_of(client)
    await account.rehearse(MODEL, CONFIG)
    del account
    gc.collect()
    with pytest.raises(Exception) as caught:
        await client.aio.models.generate_content(model="m", contents="hi")

    assert "closed" not in str(caught.value)


async def test_the_options_are_those_of_the_moment_of_connect():
    """pydantic-ai edits the headers around its own connect only."""
    client = developer(headers={"X-Mine": "1"})
    account = seam.account_of(client)
    client._api_client._http_options.headers["X-Mine"] = "2"

    assert (await account.ask(MODEL, CONFIG)).headers["X-Mine"] == "1"


async def test_the_config_may_name_another_address():
    config = types.LiveConnectConfig(http_options=types.HttpOptions(headers={"X-Mine": "2"}))
    account = seam.account_of(developer())
    try:
        await account.rehearse(MODEL, config)
    except ValueError:
        pytest.skip("this version takes no http_options in the config")

    assert (await account.ask(MODEL, config)).headers["X-Mine"] == "2"


async def test_the_token_is_refreshed_once_and_not_on_the_event_loop():
    """google-genai 1.56 to 2.34 refresh it on the loop."""
    threads = []

    class Refreshed(Credentials):
        def refresh(self, request):
            threads.append(threading.current_thread())
            self.token = "fresh"

    account = seam.account_of(
        vertex(Refreshed(None, refresh_token="r", token_uri="u", client_id="c", client_secret="s"))
    )
    await account.rehearse(MODEL, CONFIG)
    assert threads == []
    request = await account.ask(MODEL, CONFIG)

    assert request.headers["Authorization"] == "Bearer fresh"
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


async def test_without_the_private_refresh_it_goes_on():
    account = seam.account_of(vertex())
    account.api_client = builtin_types.SimpleNamespace(
        **{name: getattr(account.api_client, name) for name in ("vertexai", "api_key", "project", "location")}
    )

    await account._refresh_token(renew=True)


# --- what connect does -----------------------------------------------------------------------------------------------


async def test_connect_sends_the_setup_as_text_and_then_receives_once(monkeypatch):
    calls = []
    for name in ("send", "recv"):
        real = getattr(seam._Recorder, name)

        async def record(self, *args, _name=name, _real=real, **kwargs):
            calls.append((_name, type(args[0]) if args else None, kwargs))
            return await _real(self, *args, **kwargs)

        monkeypatch.setattr(seam._Recorder, name, record)
    await seam.account_of(developer()).rehearse(MODEL, CONFIG)

    assert [call[:2] for call in calls] == [("send", str), ("recv", None)]


async def test_a_failure_is_replayed_through_google_genai():
    account = seam.account_of(developer())
    for failure in (OSError("no"), ConnectionClosedError(None, None)):
        with pytest.raises(Exception) as caught:
            await account.replay_failure(MODEL, CONFIG, failure)
        assert failure in (caught.value, caught.value.__context__)


def test_the_constructors_are_as_known():
    seam.check()
    assert list(inspect.signature(AsyncLive).parameters) == ["api_client"]
    assert list(inspect.signature(AsyncClient).parameters) == ["api_client"]
    assert set(inspect.signature(AsyncSession).parameters) <= {
        "api_client",
        "websocket",
        "session_id",
        "setup_complete",
    }


class OtherLive:
    def connect(self):
        """Open no socket at all."""


class OtherSession:
    def __init__(self, transport): ...


@pytest.mark.parametrize(
    ("name", "other"), [("AsyncLive", OtherLive), ("AsyncSession", OtherSession), ("AsyncLive", ClientConnection)]
)
async def test_an_unknown_version_is_named_at_the_first_use(monkeypatch, name, other):
    monkeypatch.setattr(genai, "__version__", "9.9.9")
    if other is ClientConnection:
        monkeypatch.setattr(seam, "AsyncLive", type("Live", (AsyncLive,), {"__init__": lambda self: None}))
    else:
        monkeypatch.setattr(seam, name, other)
    with pytest.raises(errors.ConfigurationError, match=r"google-genai 9\.9\.9 is not known"):
        await resumable.connect(developer(), model=MODEL).__aenter__()


async def test_a_version_that_sends_no_setup_is_named(monkeypatch):
    monkeypatch.setattr(seam._Recorder, "send", seam._Recorder.__aexit__)
    with pytest.raises((errors.ConfigurationError, TypeError)):
        await seam.account_of(developer()).rehearse(MODEL, CONFIG)


# --- the session over a bridge ---------------------------------------------------------------------------------------


class Recorder:
    """A WebSocket connection that only notes what is done with it."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        raise AssertionError(f"AsyncSession touched _ws.{name}")

    async def send(self, frame):
        self.calls.append("send")
        assert isinstance(frame, str)
        self.frame = json.loads(frame)

    async def recv(self, decode=None):
        self.calls.append(f"recv {decode}")
        return b'{"serverContent": {"turnComplete": true}}'

    async def close(self):
        self.calls.append("close")


SENDS = {
    "send_client_content": {"turns": types.Content(role="user", parts=[types.Part(text="x")])},
    "send_realtime_input": {"text": "x"},
    "send_tool_response": {"function_responses": types.FunctionResponse(id="1", name="f", response={})},
    "send_context_update": {"system_instruction": "x"},
}


@pytest.mark.parametrize("make", [developer, vertex])
async def test_a_session_uses_send_recv_and_close_alone(make):
    account = seam.account_of(make())
    recorder = Recorder()
    session = AsyncSession(**seam.session_arguments(account, recorder, b'{"setupComplete": {"sessionId": "s"}}'))
    assert session.session_id == "s"
    for name, arguments in SENDS.items():
        if hasattr(session, name):
            await getattr(session, name)(**arguments)
    assert [message.server_content.turn_complete async for message in session.receive()] == [True]
    await session.close()

    assert set(recorder.calls) == {"send", "recv False", "close"}


def test_every_way_to_send_is_known():
    """A new one has to be looked at."""
    assert {name for name in vars(AsyncSession) if name.startswith("send_")} <= set(SENDS)
    public = {name for name in vars(AsyncSession) if not name.startswith("_")} - set(SENDS)
    assert public == {"send", "receive", "start_stream", "close"}


def test_our_session_overrides_close_and_the_reading_of_one_frame():
    overridden = {name for name in vars(resumable.Session) if name in vars(AsyncSession) and name[:2] != "__"}
    assert overridden == {"close", "_receive"}


def test_the_keys_that_are_let_through_are_those_of_the_installed_version():
    assert {"serverContent", "setupComplete", "toolCall", "toolCallCancellation", "usageMetadata"} <= seam.known_keys()
    assert "raw" not in seam.known_keys()


@pytest.mark.parametrize("make", [developer, vertex])
async def test_each_key_that_is_let_through_can_be_read(make):
    """A frame of which google-genai knows no field raises in the app's loop, so none of these may."""
    account = seam.account_of(make())

    class Driver:
        def __init__(self, frames):
            self.frames = iter([*frames, b'{"serverContent": {"turnComplete": true}}'])

        def take_frame(self):
            return decode_server(next(self.frames))

    for frame in [
        *(json.dumps({key: {}}).encode() for key in seam.known_keys()),
        b'{"new": {}}',
        b"{}",
        b'{"toolCall": null}',
    ]:
        driver = Driver([frame])
        session = AsyncSession(**seam.session_arguments(account, resumable.Bridge(driver), b'{"setupComplete": {}}'))
        messages = [message async for message in session.receive()]
        assert messages[-1].server_content.turn_complete
        assert len(messages) == 1 + seam.can_read(decode_server(frame))


@pytest.mark.network
async def test_the_bridge_is_what_frameworks_reach_for():
    """pydantic-ai calls `session._ws.send(str)` itself."""
    async with server() as live:
        client = genai.Client(
            api_key="k",
            http_options=types.HttpOptions(
                base_url=live.base_url, async_client_args={"ssl": live.client_ssl_context()}
            ),
        )
        async with resumable.connect(client, model=MODEL, config=CONFIG) as session:
            content = {"turns": [{"role": "user", "parts": [{"text": "raw"}]}], "turnComplete": True}
            await session._ws.send(json.dumps({"clientContent": content}))
            assert await settled(lambda: live.ledger.held() == ["raw"])
            await session._ws.close()
            await asyncio.sleep(0)


def test_a_coroutine_in_place_of_a_callable_is_refused_and_closed():
    async def make_client():
        raise AssertionError

    coroutine = make_client()
    with pytest.raises(errors.ConfigurationError, match="a coroutine; give a"):
        seam.account_of(coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
