"""What cannot work says so: one clear error, at once, without a storm of retries, and nothing else is harmed."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import live, types
from google.genai.live import AsyncLive, AsyncSession
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidStatus

from resumekit import errors
from resumekit.adapters import genai as resumable
from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from tests.faults import virtually
from tests.faults.runner import (
    ARM,
    FAMILIES,
    PROFILES,
    TIMEOUT,
    Ask,
    Do,
    Scenario,
    client_of,
    converse,
    policy,
)
from tests.faults.scenarios import CUT
from tests.faults.zygote import Emulator
from tests.proofs.virtual import in_virtual_time
from tests.secrets import API_KEY

pytestmark = pytest.mark.network

MODEL = FAMILIES["2.5"]
TEXT = {"response_modalities": ["TEXT"]}
SCALE = 0.02
profiles = pytest.mark.parametrize("profile", PROFILES)


def by_turns(things, start=0):
    """Pair each thing with a backend, the two by turns."""
    return [(PROFILES[number % 2], thing) for number, thing in enumerate(things, start)]


class Both:
    """Connects to one emulator as plain google-genai does, and through resumekit."""

    def __init__(self, server, *, key=API_KEY, model=MODEL, config=TEXT):
        self.server = server
        self.key = key
        self.arguments = {"model": model, "config": config}

    async def plain(self):
        """Return what was raised."""
        async with client_of(self.server, key=self.key) as client:
            return await self._raised(client.aio.live.connect(**self.arguments))

    async def ours(self, **changes):
        """Return what was raised, and the connections that the server saw meanwhile."""
        before = len(await self.server.connections())
        async with client_of(self.server, key=self.key) as client:
            scaled = policy(SCALE, **{"first_connect_deadline": 1000, **changes})
            error = await self._raised(resumable.connect(client, **self.arguments, policy=scaled))
        return error, (await self.server.connections())[before:]

    async def _raised(self, connecting):
        try:
            async with asyncio.timeout(TIMEOUT), connecting:
                return None
        except Exception as error:
            return error


@contextlib.asynccontextmanager
async def both(profile, *, faults=(), knobs=None, emulator=Emulator, **arguments):
    async with emulator(profile=profile, faults=faults, time_scale=SCALE, **(knobs or {})) as server:
        yield Both(server, **arguments)


def facts(error):
    """What code that catches google-genai's error looks at."""
    if isinstance(error, InvalidStatus):
        return type(error), error.response.status_code
    if isinstance(error, ConnectionClosed):  # plain google-genai: the end came before its send, not after
        return genai_errors.APIError, 1006
    if isinstance(error, genai_errors.APIError):
        return (type(error), error.code, str(error))[: 2 if error.code == 1006 else 3]
    return type(error), str(error)


def always(code, reason):
    return {"faults": [Fault.close(code, reason, at=Trigger.setup_received(), times=None)]}


REFUSALS = {
    "wrong-model": {"model": "no-such-model"},
    "wrong-key": {"knobs": {"credential": "the-right-key"}},
    **{f"http-{n}": {"faults": [Fault.handshake(n, times=None)]} for n in (400, 401, 403, 404)},
    "refused-config": always(1007, "Code Execution tool is not supported"),
    "unknown-field": always(1007, 'Invalid JSON payload received. Unknown name "x"'),
    "leaked-key": always(1008, "Your API key was reported as leaked."),
    "refused-by-google-genai": {"config": {"response_modalities": ["TEXT"], "no_such_field": 1}},
    "no-model": {"model": ""},
    "model-of-the-wrong-type": {"model": 42},
}


@profiles
@pytest.mark.parametrize("name", REFUSALS)
async def test_a_first_connect_that_is_refused_raises_what_google_genai_raises(profile, name):
    async with both(profile, **REFUSALS[name]) as connect:
        plain = await connect.plain()
        error, connections = await connect.ours()
    assert plain is not None
    assert facts(error) == facts(plain)
    assert len(connections) <= 2  # on Vertex a token is renewed once


async def test_transparent_resumption_on_the_developer_api_is_refused_by_google_genai():
    config = {**TEXT, "session_resumption": {"transparent": True}}
    async with both("developer", config=config) as connect:
        plain = await connect.plain()
        error, connections = await connect.ours()
    assert isinstance(error, ValueError)
    assert facts(error) == facts(plain)
    assert not connections


PASSING = {
    "http-503": Fault.handshake(503, times=2),
    "http-429": Fault.handshake(429, times=1),
    "reset": Fault.rst(at=Trigger.at_handshake(), times=2),
    "dropped-before-setup": Fault.drop_before_setup(times=2),
    "unavailable": Fault.close(1011, "The service is currently unavailable.", at=Trigger.setup_received(), times=2),
}


@pytest.mark.parametrize(("profile", "name"), by_turns(PASSING))
async def test_a_first_connect_that_fails_for_a_moment_is_tried_again(profile, name):
    async with both(profile, faults=[PASSING[name]]) as connect:
        error, connections = await connect.ours()
    assert error is None
    assert connections[-1].bound_at


@pytest.mark.parametrize(("profile", "name"), by_turns(PASSING, 1))
async def test_a_first_connect_that_fails_for_long_raises_what_google_genai_raises(profile, name):
    fault = Fault(PASSING[name].action, PASSING[name].at, times=None)
    async with both(profile, faults=[fault]) as connect:
        plain = await connect.plain()
        error, connections = await connect.ours(first_connect_deadline=150)
    assert plain is not None
    assert facts(error) == facts(plain)
    assert 1 <= len(connections) <= 40  # 10 in each minute, and some at once


@profiles
@in_virtual_time
async def test_a_first_connect_without_setup_complete_times_out(profile):
    fault = Fault.no_setup_complete(times=None)
    async with both(profile, faults=[fault], emulator=virtually.Emulator) as connect:
        error, connections = await connect.ours(setup_timeout=15, first_connect_deadline=30)
    assert isinstance(error, TimeoutError)
    assert len(connections) == 2  # one for 15 s, and, after a pause, one for the rest


# --- arguments ------------------------------------------------------------------------------------------------------


class Nothing:
    pass


@contextlib.asynccontextmanager
async def nobody():
    """A client of a port where nobody listens: whoever dials gets another error."""
    client = genai.Client(api_key=API_KEY, http_options={"base_url": "https://127.0.0.1:9"})
    try:
        yield client
    finally:
        await client.aio.aclose()
        client.close()


GARBAGE = {
    "client-none": {"client": None},
    "client-string": {"client": API_KEY},
    "client-object": {"client": Nothing()},
    "client-callable": {"client": lambda: 42},
    "on-event-coroutine": {"on_event": asyncio.sleep},
    "policy-string": {"policy": "patient"},
    "policy-dict": {"policy": {"max_outage": 10}},
    "on-event-number": {"on_event": 42},
    "history-number": {"history": 42},
    "history-objects": {"history": [Nothing()]},
    "history-role": {"history": [{"role": 1, "parts": []}]},
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_arguments_that_make_no_sense_are_a_configuration_error(name):
    async with nobody() as client:
        arguments = {"client": client, **GARBAGE[name]}
        with pytest.raises(errors.ConfigurationError) as caught:
            async with resumable.connect(arguments.pop("client"), model=MODEL, config=TEXT, **arguments):
                pass
    assert str(caught.value)


@pytest.mark.parametrize("change", [{"max_outage": -1}, {"cut_turn": "sometimes"}, {"audio_resend": float("nan")}])
def test_a_policy_that_makes_no_sense_is_a_configuration_error(change):
    with pytest.raises(errors.ConfigurationError, match=next(iter(change))):
        policy(1.0, **change)


# --- a google-genai that is built differently ---------------------------------------------------------------------------


def without_ws_connect(monkeypatch):
    async def connect(self, *, model, config=None):
        yield None

    monkeypatch.setattr(AsyncLive, "connect", contextlib.asynccontextmanager(connect))


def without_the_global(monkeypatch):
    monkeypatch.delattr(live, "ws_connect")


def without_websocket(monkeypatch):
    def init(self, api_client, connection):
        pass

    monkeypatch.setattr(AsyncSession, "__init__", init)


def without_api_client(monkeypatch):
    def init(self, client):
        pass

    monkeypatch.setattr(AsyncLive, "__init__", init)


@pytest.mark.parametrize(
    "change", [without_ws_connect, without_the_global, without_websocket, without_api_client], ids=lambda f: f.__name__
)
async def test_an_unknown_google_genai_is_named_and_nothing_is_dialled(change, monkeypatch):
    change(monkeypatch)
    async with nobody() as client:
        with pytest.raises(errors.ConfigurationError, match=genai.__version__):
            async with resumable.connect(client, model=MODEL, config=TEXT):
                pass


async def test_a_client_without_its_options_is_named(monkeypatch):
    async with nobody() as client:
        monkeypatch.delattr(client._api_client, "_http_options")
        with pytest.raises(errors.ConfigurationError, match=genai.__version__):
            async with resumable.connect(client, model=MODEL, config=TEXT):
                pass
        monkeypatch.undo()


# --- in a session -----------------------------------------------------------------------------------------------------


@profiles
async def test_a_message_over_the_limit_is_refused_and_the_session_goes_on(profile):
    async def send_too_much(app):
        turn = types.Content(role="user", parts=[types.Part(text="x" * 5_000_000)])
        with pytest.raises(errors.BufferFull, match="control_bytes"):
            await app.session.send_client_content(turns=turn, turn_complete=True)

    run = await converse(
        Scenario(name="too much", steps=(Ask("one"), Do(send_too_much), Ask("two")), undisturbed=True), profile=profile
    )
    assert not run.problems(), str(run)


@profiles
async def test_frames_that_are_none_are_refused_and_the_session_goes_on(profile):
    async def send_garbage(app):
        for frame in ("", "no JSON", "[]", '{"setup": {}}', "\ud800"):
            with pytest.raises(errors.LocalProtocolError):
                await app.session._ws.send(frame)

    run = await converse(
        Scenario(name="garbage", steps=(Ask("one"), Do(send_garbage), Ask("two")), undisturbed=True), profile=profile
    )
    assert not run.problems(), str(run)


@profiles
@pytest.mark.parametrize("how", ["close", "end"])
async def test_a_session_that_is_closed_says_so(profile, how):
    async def close_and_go_on(app):
        await getattr(app.session, how)()
        await getattr(app.session, how)()
        turn = types.Content(role="user", parts=[types.Part(text="too late")])
        for _ in range(2):
            with pytest.raises(errors.SessionClosed, match="closed"):
                await app.session.send_client_content(turns=turn, turn_complete=True)
            with pytest.raises((genai_errors.APIError, ConnectionClosedOK)) as caught:  # as plain google-genai
                async for _ in app.session.receive():
                    pass
            assert "1000" in str(caught.value)
        with pytest.raises(errors.SessionClosed):
            app.session.force_reconnect()

    steps = (Ask("one"), Do(close_and_go_on))
    run = await converse(Scenario(name="close", steps=steps, undisturbed=True), profile=profile, loop="request")
    assert not run.problems(), str(run)


FATAL = [
    (1002, ""),
    (1003, ""),
    (1007, 'Invalid JSON payload received. Unknown name "x"'),
    (1008, "models/gemini-0 is not found for API version v1, or is not supported for bidiGenerateContent."),
    (1008, "Your API key was reported as leaked. Please use another API key."),
    (1009, "message too big"),
]


@pytest.mark.parametrize(("profile", "end"), by_turns(FATAL))
async def test_an_end_that_no_retry_can_mend_is_told_at_once(profile, end):
    code, reason = end
    fault = Fault.close(code, reason, at=Trigger.mid_answer(2))
    run = await converse(Scenario(name="fatal", armed=(fault,)), profile=profile)
    assert isinstance(run.error, resumable.SessionLost)
    assert run.error.code == code
    assert reason[:40] in str(run.error)
    assert "not kept by the service: 1 message and" in str(run.error)
    assert len(run.connections) == 1
    assert run.app.count(events.SessionEnded) == 1
    assert not run.left


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_key_that_is_withdrawn_ends_the_session_at_once(status):
    scenario = Scenario(name="withdrawn", armed=(CUT, Fault.handshake(status, times=None)))
    run = await converse(scenario, profile="developer")
    assert isinstance(run.error, resumable.SessionLost)
    assert (run.error.code, run.error.status_code) == (status, status)
    assert len(run.connections) == 2


async def test_a_token_that_is_not_renewed_ends_the_session_after_one_more_try():
    scenario = Scenario(name="withdrawn", armed=(CUT, Fault.handshake(401, times=None)))
    run = await converse(scenario, profile="vertex")
    assert isinstance(run.error, resumable.SessionLost)
    assert run.error.code == 401
    assert len(run.connections) == 3


@profiles
async def test_the_same_refusal_twice_is_no_accident(profile):
    fault = Fault.close(1007, "Request contains an invalid argument.", at=Trigger.client_message(1), times=None)
    scenario = Scenario(name="again", armed=(CUT, fault), steps=(Ask("one"), ARM, Ask("two"), Ask("three")))
    run = await converse(scenario, profile=profile)
    assert isinstance(run.error, resumable.SessionLost)
    assert len(run.connections) <= 4
