"""Every kind of account that google-genai knows, and credentials that change while a session lives."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
import warnings

import pytest

from resumekit import errors
from resumekit.core import events
from resumekit.emulator import Fault
from tests.adapters.support import MODEL, nothing_is_left, policy, server, settled
from tests.adapters.test_genai import CONFIG, anchored, ask, client_of, connect, outcome, same
from tests.secrets import API_KEY, TOKEN, watched

genai = pytest.importorskip("google.genai")
import google.genai.live as genai_live  # noqa: E402
from google.auth.exceptions import RefreshError  # noqa: E402
from google.genai import types  # noqa: E402
from google.oauth2.credentials import Credentials  # noqa: E402

from resumekit.adapters import _genai_seam as seam  # noqa: E402
from resumekit.adapters import genai as resumable  # noqa: E402

pytestmark = [pytest.mark.network, pytest.mark.allow_blocking]  # google-genai blocks, we do not

HERE = "https://127.0.0.1:1"
ACCOUNTS = {
    "developer": lambda: genai.Client(api_key="k", http_options={"base_url": HERE, "headers": {"X-Mine": "1"}}),
    "ephemeral token": lambda: genai.Client(
        api_key="auth_tokens/t", http_options={"base_url": HERE, "api_version": "v1alpha"}
    ),
    "vertex": lambda: genai.Client(
        vertexai=True,
        project="p",
        location="us-central1",
        credentials=Credentials("tok", quota_project_id="q"),
        http_options={"base_url": HERE},
    ),
    "express": lambda: genai.Client(vertexai=True, api_key="k", http_options={"base_url": HERE}),
    "gateway": lambda: genai.Client(
        vertexai=True, http_options={"base_url": HERE, "headers": {"Authorization": "the gateway's own"}}
    ),
    "gateway of the developer API": lambda: genai.Client(
        api_key="k", http_options={"base_url": f"{HERE}/below/", "api_version": "v9"}
    ),
}


class Taken(Exception):
    """What google-genai dials was taken down."""


@pytest.fixture(autouse=True)
def no_account_of_this_machine(monkeypatch):
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"):
        monkeypatch.delenv(name, raising=False)


async def dialled_by_google_genai(client, config, monkeypatch):
    """Return what the installed version itself dials, and its setup."""
    taken = {}

    class Socket:
        async def send(self, frame):
            taken["setup"] = frame
            raise Taken

    @contextlib.asynccontextmanager
    async def ws_connect(uri, *, additional_headers, **options):
        taken.update(uri=uri, headers=dict(additional_headers), options=options)
        yield Socket()

    with monkeypatch.context() as patch:
        patch.setattr(genai_live, "ws_connect", ws_connect)
        with pytest.raises(Taken):
            await client.aio.live.connect(model=MODEL, config=config).__aenter__()
    return taken


@pytest.mark.parametrize("name", ACCOUNTS)
async def test_what_is_dialled_is_what_google_genai_dials(name, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tokens are experimental, it says
        client = ACCOUNTS[name]()
        theirs = await dialled_by_google_genai(client, CONFIG, monkeypatch)
        account = seam.account_of(client)
        first = await account.rehearse(MODEL, CONFIG)
        later = await account.ask(MODEL, seam.as_config(CONFIG))

    assert first.setup == theirs["setup"]
    assert first.uri == later.uri == theirs["uri"]
    assert later.headers == theirs["headers"]
    assert later.options == theirs["options"]
    assert account.has_token is (name == "vertex")


async def test_an_ephemeral_token_is_used_for_each_dial():
    async with server() as live, nothing_is_left():
        options = {
            "base_url": live.base_url,
            "api_version": "v1alpha",
            "async_client_args": {"ssl": live.client_ssl_context()},
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            client = genai.Client(api_key="auth_tokens/t", http_options=options)
            async with resumable.connect(client, model=MODEL, config=CONFIG, policy=policy()) as session:
                await ask(session, "one")
                session.force_reconnect()
                assert (await ask(session, "two")).turns_held == 2
        assert len(live.connections) == 2
        assert all(record.path.endswith("BidiGenerateContentConstrained") for record in live.connections)


async def test_express_mode_has_a_key_and_the_address_of_vertex():
    async with server("vertex") as live, nothing_is_left():
        options = {"base_url": live.base_url, "async_client_args": {"ssl": live.client_ssl_context()}}
        client = genai.Client(vertexai=True, api_key="k", http_options=options)
        async with resumable.connect(client, model=MODEL, config=CONFIG, policy=policy()) as session:
            await ask(session, "one")
            session.force_reconnect()
            assert (await ask(session, "two")).turns_held == 2
        assert live.ledger.report(["one", "two"]).ok


# --- tokens that change ----------------------------------------------------------------------------------------------


class Account(Credentials):
    """Credentials that can be refreshed; notes in which thread that happened."""

    def __init__(self, token, *tokens, expired=False):
        super().__init__(token, refresh_token="r", token_uri="u", client_id="c", client_secret="s")
        self._tokens = list(tokens)
        self.threads = []
        if expired:
            self.expiry = dt.datetime(2020, 1, 1)  # noqa: DTZ001 -- google-auth wants it without a zone

    def refresh(self, request):
        self.threads.append(threading.current_thread())
        if not self._tokens:
            raise RefreshError("no more")
        self.token, self.expiry = self._tokens.pop(0), None


def vertex(live, credentials):
    options = types.HttpOptions(base_url=live.base_url, async_client_args={"ssl": live.client_ssl_context()})
    return genai.Client(
        vertexai=True, project="p", location="us-central1", credentials=credentials, http_options=options
    )


@pytest.mark.parametrize(("token", "expired"), [(None, False), ("old", True)])
async def test_a_token_that_is_missing_or_expired_never_goes_out(token, expired):
    """Before 3.x google-genai itself refreshes on the event loop."""
    account = Account(token, "new", expired=expired)
    async with server("vertex", credential="new") as live, nothing_is_left():
        async with connect(live, client=vertex(live, account)) as session:
            await ask(session, "one")
        assert len(live.connections) == 1
    assert len(account.threads) == 1
    assert threading.main_thread() not in account.threads


async def test_a_token_that_looks_valid_and_is_refused_is_renewed_before_it_goes_out_again():
    account = Account("revoked", "new")
    async with server("vertex", credential="new") as live, nothing_is_left():
        async with connect(live, client=vertex(live, account)) as session:
            await ask(session, "one")
        assert [record.http_status for record in live.connections] == [401, None]
    assert len(account.threads) == 1
    assert threading.main_thread() not in account.threads


async def test_a_token_that_is_refused_on_a_later_dial_is_renewed():
    account = Account("first", "second", "third")
    async with server("vertex") as live, nothing_is_left():
        async with connect(live, client=vertex(live, account)) as session:
            await ask(session, "one")
            live.inject(Fault.handshake(401))
            live.inject(Fault.rst())
            assert (await ask(session, "two")).turns_held == 2
            lost = [event async for event in _so_far(session) if isinstance(event, events.ConnectionLost)]
        assert [event.verdict for event in lost][-1] == "renew credentials"
    assert account.token == "second"


async def _so_far(session):
    await session.close()
    async for event in session.events:
        yield event


@pytest.mark.parametrize("make", [Account, Credentials])
async def test_a_refused_token_that_cannot_be_renewed_comes_out_as_of_google_genai(make):
    credentials = make("bad")
    async with server("vertex", credential="good") as live, nothing_is_left():
        client = vertex(live, credentials)
        plain = await outcome(client.aio.live.connect(model=MODEL, config=CONFIG))
        ours = await outcome(connect(live, client=client))

        same(plain, ours)
        assert len(live.connections) <= 3
    assert credentials.token == "bad"


async def test_credentials_that_cannot_be_had_come_out_as_of_google_auth():
    async with server("vertex") as live, nothing_is_left():
        ours = await outcome(connect(live, client=vertex(live, Account(None))))
        assert isinstance(ours, RefreshError)
        assert live.connections == []


async def test_a_key_is_not_renewed():
    async with server(credential="good") as live, nothing_is_left():
        ours = await outcome(connect(live, client=client_of(live, api_key="bad")))
        assert "403" in str(ours)
        assert len(live.connections) == 1


# --- the config ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", ["x", 3, ["TEXT"], types.HttpOptions(), types.GenerateContentConfig()])
async def test_something_else_for_a_config_is_an_error(config):
    with pytest.raises(errors.ConfigurationError, match=r"config is a \w+; give a types.LiveConnectConfig or a dict"):
        resumable.connect(client_of_nobody(), model=MODEL, config=config)


def client_of_nobody():
    return genai.Client(api_key="k", http_options={"base_url": HERE})


@pytest.mark.parametrize("config", [None, {}, types.LiveConnectConfig(), CONFIG, types.LiveConnectConfig(**CONFIG)])
async def test_a_config_may_be_left_out_a_dict_or_an_object(config, monkeypatch):
    client = client_of_nobody()
    theirs = await dialled_by_google_genai(client, config, monkeypatch)

    assert (await seam.account_of(client).rehearse(MODEL, config)).setup == theirs["setup"]


@pytest.mark.parametrize("model", [None, ""])
async def test_no_model_comes_out_as_of_google_genai(model):
    client = client_of_nobody()
    plain = await outcome(client.aio.live.connect(model=model, config=CONFIG))
    ours = await outcome(resumable.connect(client, model=model, config=CONFIG))

    assert type(ours) is type(plain)
    assert str(ours) == str(plain)


@pytest.mark.parametrize("given", [None, {}, {"handle": None}, types.SessionResumptionConfig()])
async def test_session_resumption_may_be_given_empty(given):
    async with server() as live, nothing_is_left():
        config = {**CONFIG, "session_resumption": given}
        async with connect(live, config=config) as session:
            await ask(session, "one")
            session.force_reconnect()
            assert (await ask(session, "two")).turns_held == 2
        assert live.ledger.report(["one", "two"]).ok


# --- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.rst(), Fault.go_away(10.0), Fault.close(1008, f"no such key={API_KEY}")])
@pytest.mark.parametrize("profile", ["developer", "vertex"])
async def test_nobody_logs_a_key_or_a_token(profile, fault):
    """At DEBUG, by resumekit, google-genai, websockets or what these use."""
    with watched(everybody=True):
        async with server(profile) as live, connect(live, client=client_of(live, api_key=TOKEN)) as session:
            await ask(session, "one")
            assert await anchored(session)
            live.inject(fault)
            await ask(session, "two")
            assert await settled(lambda: session.stats.resumes)
            await ask(session, "three")
