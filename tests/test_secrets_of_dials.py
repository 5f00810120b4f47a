"""What a server, or a proxy, answers to a dial may quote what it was asked with: no key of it is told."""

from __future__ import annotations

import base64
import http

import pytest
import websockets
import websockets.exceptions
from websockets.exceptions import InvalidStatus

from resumekit import Policy
from resumekit.adapters import websockets as resumable
from resumekit.core.failures import Verdict
from resumekit.drivers import dial_websocket
from resumekit.errors import ConfigurationError
from resumekit.hookspecs import hookimpl
from tests.network.raw import listening
from tests.secrets import API_KEY, TOKEN, chain, leaks, watched

pytestmark = pytest.mark.network

POLICY = Policy(first_connect_deadline=60.0, connect_timeout=60.0)
SETUP = {"setup": {"model": "m"}}
HEADERS = {"x-goog-api-key": API_KEY, "Authorization": f"Bearer {TOKEN}"}
SECRETS = {API_KEY, TOKEN}
PASSWORD = f"user:{API_KEY}"
BASIC = base64.b64encode(PASSWORD.encode()).decode()
VARIABLES = ("ws_proxy", "wss_proxy", "http_proxy", "https_proxy", "all_proxy", "socks_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Final:
    """The first failure is the last one: a busy machine gets as far as any."""

    @hookimpl
    def classify_failure(self, details):
        return Verdict.FATAL


def response(status, *headers, body=b""):
    lines = [f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def answering(*answers):
    """Return a handler that gives one answer after the other to what is asked, and the last of them again and again."""
    left = list(answers)

    async def handle(peer):
        await peer.request()
        peer.write(left.pop(0) if len(left) > 1 else left[0])
        await peer.writer.drain()

    return handle


async def refused(server, uri="", **arguments):
    """Connect to no avail; return the error, after all that was told was searched."""
    with watched(), pytest.raises(Exception, match=r"\w") as caught:
        async with resumable.connect(
            uri or f"{server.address}/ws?key={API_KEY}&access_token={TOKEN}",
            **{
                "setup": SETUP,
                "additional_headers": HEADERS,
                "ssl": server.client_ssl,
                "policy": POLICY,
                "plugins": [Final()],
                **arguments,
            },
        ):
            pass
    assert not leaks(list(chain(caught.value)), {*SECRETS, BASIC})
    return caught.value


# --- redirects --------------------------------------------------------------------------------------------------------

AWAY = f"?key={API_KEY}&access_token={TOKEN}"
LOCATIONS = {
    "to where TLS is missing": f"ws://127.0.0.1:9/{AWAY}",
    "to another server": f"wss://127.0.0.1:9/{AWAY}",
    "to another name": f"wss://localhost:9/{AWAY}",
    "with credentials": f"wss://user:{API_KEY}@127.0.0.1:9/",
    "to a page": f"https://127.0.0.1:9/{AWAY}",
    "to a fragment": f"{AWAY}#{TOKEN}",
    "to no address": f"wss://[nowhere/{AWAY}",
    "to itself": AWAY,
}


@pytest.mark.parametrize("location", LOCATIONS)
async def test_a_redirect_is_not_quoted(location):
    answer = response(307, f"Location: {LOCATIONS[location]}")
    async with listening(answering(answer), tls=True) as server:
        await refused(server)


async def test_a_redirect_takes_no_key_to_another_server():
    async with listening(answering(response(503))) as other:
        answer = response(302, f"Location: {other.address}/there")
        async with listening(answering(answer)) as server:
            error = await refused(server)
    assert isinstance(error.__cause__, InvalidStatus)
    assert error.__cause__.response.status_code == 302
    assert not other.peers


@pytest.mark.skipif(not hasattr(websockets.connect, "process_redirect"), reason="websockets 13 follows none")
async def test_a_redirect_within_the_server_is_followed():
    async with listening(answering(response(302, f"Location: /there{AWAY}"), response(403))) as server:
        await refused(server)
    assert [peer.head.split()[1].partition(b"?")[0] for peer in server.peers] == [b"/ws", b"/there"]


# --- refusals ---------------------------------------------------------------------------------------------------------

QUOTE = f'{{"error": "no such credentials", "api_key": "{API_KEY}", "authorization": "Bearer {TOKEN}"}}'
REFUSALS = {
    "in its body": response(403, body=QUOTE.encode()),
    "in a header": response(401, f"x-goog-api-key: {API_KEY}", f"WWW-Authenticate: Bearer {TOKEN}"),
    "in its words": f"HTTP/1.1 400 no access_token={TOKEN}\r\nContent-Length: 0\r\n\r\n".encode(),
    "in no HTTP": f"x-goog-api-key: {API_KEY}\r\n\r\n".encode(),
    "in a bad header": f"HTTP/1.1 200 OK\r\nkey={API_KEY}\r\n\r\n".encode(),
    "in a bad version": f"HTTP/7 key={API_KEY}\r\n\r\n".encode(),
    "as a bad upgrade": f"HTTP/1.1 101 OK\r\nUpgrade: key={API_KEY}\r\nConnection: token={TOKEN}\r\n\r\n".encode(),
}


@pytest.mark.parametrize("place", REFUSALS)
async def test_a_refusal_that_quotes_the_request_is_not_quoted(place):
    async with listening(answering(REFUSALS[place])) as server:
        await refused(server)


async def test_what_is_kept_of_a_refusal_is_short():
    async with listening(answering(response(403, body=b"x" * 500_000))) as server:
        error = await refused(server)
    assert len(error.__cause__.response.body) < 10_000


# --- proxies ----------------------------------------------------------------------------------------------------------


async def tunnel(peer):
    """Be a proxy that lets everything through, to nobody."""
    await peer.request()
    peer.write(response(200))
    peer.write(response(503, body=await peer.reader.read(65536)))


PROXIES = {
    "that wants another password": answering(response(407, f"Proxy-Authenticate: Basic {BASIC}", body=QUOTE.encode())),
    "that is none": answering(f"no password={API_KEY}\r\n\r\n".encode()),
    "that hangs up": answering(b""),
    "that has no answer behind it": tunnel,
}
needs_proxies = pytest.mark.skipif(
    not hasattr(websockets.exceptions, "InvalidProxy"), reason="websockets before 15 knows no proxies"
)


@needs_proxies
@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_a_proxy_with_a_password_is_not_quoted(proxy, scheme, monkeypatch):
    async with listening(PROXIES[proxy]) as server:
        monkeypatch.setenv(f"{scheme}_proxy", f"http://{PASSWORD}@127.0.0.1:{server.port}")
        await refused(server, f"{scheme}://127.0.0.2:9/?key={API_KEY}", ssl=None)
    assert server.peers[0].head.startswith(b"CONNECT 127.0.0.2:9 ")
    assert BASIC.encode() in server.peers[0].head, "the password is for the proxy"


ADDRESSES = {
    "unknown scheme": f"gopher://{PASSWORD}@127.0.0.1:9",
    "path": f"http://{PASSWORD}@127.0.0.1:9/path",
    "no host": f"http://{PASSWORD}@",
    "odd password": f"gopher://user:{API_KEY}/{TOKEN}@{TOKEN}@127.0.0.1:9",
}


@needs_proxies
@pytest.mark.parametrize("address", ADDRESSES)
async def test_the_address_of_a_proxy_is_not_quoted(address, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "")
    monkeypatch.setenv("ws_proxy", ADDRESSES[address])
    async with listening(answering(b"")) as server:
        error = await refused(server)
    assert isinstance(error, ConfigurationError)
    assert "proxy" in str(error)


@needs_proxies
@pytest.mark.parametrize("proxy", PROXIES)
async def test_a_proxy_that_is_an_argument_is_not_quoted(proxy):
    async with listening(PROXIES[proxy]) as server:
        options = {"proxy": f"http://{PASSWORD}@127.0.0.1:{server.port}"}
        with watched(), pytest.raises(Exception, match=r"\w"):
            await dial_websocket("ws://127.0.0.2:9", additional_headers=HEADERS, policy=POLICY, options=options)
    assert server.peers


# --- through google-genai ---------------------------------------------------------------------------------------------


def accounts(base_url, **arguments):
    """Return clients of google-genai, each with its secret."""
    genai = pytest.importorskip("google.genai")
    credentials = pytest.importorskip("google.oauth2.credentials")
    options = {"base_url": base_url, "async_client_args": arguments}
    vertex = {"vertexai": True, "project": "p", "location": "us-central1"}
    return {
        "developer": lambda: genai.Client(api_key=API_KEY, http_options=options),
        "ephemeral": lambda: genai.Client(
            api_key=f"auth_tokens/{TOKEN}", http_options={**options, "api_version": "v1alpha"}
        ),
        "vertex": lambda: genai.Client(**vertex, credentials=credentials.Credentials(TOKEN), http_options=options),
        "gateway": lambda: genai.Client(
            vertexai=True, http_options={**options, "headers": {"Authorization": f"Bearer {TOKEN}"}}
        ),
    }


ANSWERS = {
    "a redirect": response(307, f"Location: https://127.0.0.1:9/{AWAY}"),
    "a redirect to where TLS is missing": response(307, f"Location: ws://127.0.0.1:9/{AWAY}"),
    "a refusal": response(403, f"WWW-Authenticate: Bearer {TOKEN}", body=QUOTE.encode()),
    "no HTTP": f"x-goog-api-key: {API_KEY}\r\n\r\n".encode(),
}


async def refused_by_google_genai(client):
    genai_adapter = pytest.importorskip("resumekit.adapters.genai")
    with watched(everybody=True), pytest.raises(Exception, match=r"\w") as caught:
        async with genai_adapter.connect(client, model="m", policy=POLICY, plugins=[Final()]):
            pass
    told = list(chain(caught.value))
    assert not leaks(told, {*SECRETS, BASIC})
    return caught.value


ACCOUNTS = ["developer", "ephemeral", "vertex", "gateway"]


@pytest.mark.allow_blocking
@pytest.mark.filterwarnings("ignore:The SDK's ephemeral token support")
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("account", ACCOUNTS)
async def test_no_account_of_google_genai_is_quoted(account, answer):
    async with listening(answering(ANSWERS[answer]), tls=True) as server:
        url = server.address if account == "gateway" else server.address.replace("wss", "https")
        await refused_by_google_genai(accounts(url, ssl=server.client_ssl)[account]())
    assert any(secret.encode() in server.peers[0].head for secret in SECRETS)


@pytest.mark.allow_blocking
@pytest.mark.filterwarnings("ignore:The SDK's ephemeral token support")
@pytest.mark.parametrize("account", ACCOUNTS)
async def test_an_address_that_is_none_is_not_quoted(account):
    await refused_by_google_genai(accounts(f"https://user:{API_KEY}@127.0.0.1:port/?key={API_KEY}")[account]())


@needs_proxies
@pytest.mark.allow_blocking
@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize("given", ["as an argument", "by the environment"])
async def test_a_proxy_of_google_genai_is_not_quoted(given, proxy, monkeypatch):
    async with listening(PROXIES[proxy]) as server:
        address = f"http://{PASSWORD}@127.0.0.1:{server.port}"
        if given == "by the environment":
            monkeypatch.setenv("HTTPS_PROXY", address)
        arguments = {"proxy": address} if given == "as an argument" else {}
        await refused_by_google_genai(accounts("https://127.0.0.2:9", **arguments)["developer"]())
    assert BASIC.encode() in server.peers[0].head
