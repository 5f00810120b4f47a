"""The drop-in `Client`: what a framework does with a `google.genai.Client`, done with ours."""

from __future__ import annotations

import asyncio
import gc
import inspect

import pytest

from resumekit import errors
from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from tests.adapters.support import MODEL, nothing_is_left, policy, server, settled
from tests.adapters.test_genai import CONFIG, PROFILES, anchored, ask, client_of

genai = pytest.importorskip("google.genai")
from google.genai import types  # noqa: E402
from google.genai.client import AsyncClient  # noqa: E402
from google.genai.live import AsyncLive, AsyncSession  # noqa: E402

from resumekit.adapters import genai as resumable  # noqa: E402

pytestmark = [pytest.mark.network, pytest.mark.allow_blocking]  # google-genai blocks, we do not


def client(live, **options):
    return client_of(live, made_by=resumable.Client, policy=policy(), **options)


def offline(**options):
    return resumable.Client(api_key="k", http_options={"base_url": "https://127.0.0.1:1"}, **options)


@PROFILES
async def test_a_session_of_the_client_lives_on(profile):
    seen = []
    async with server(profile, faults=[Fault.rst(Trigger.mid_answer(2), binding=0)]) as live, nothing_is_left():
        async with client(live, on_event=seen.append).aio.live.connect(model=MODEL, config=CONFIG) as session:
            assert isinstance(session, resumable.Session)
            assert (await ask(session, "one")).asked == "one"
            assert (await ask(session, "two")).turns_held == 2
        assert live.ledger.report(["one", "two"]).ok
        assert any(isinstance(event, events.TurnCut) for event in seen)


async def test_one_client_opens_many_sessions_at_once():
    seen = []
    async with server() as live, nothing_is_left():
        ours = client(live, on_event=seen.append)

        async def talk(name):
            async with ours.aio.live.connect(model=MODEL, config=CONFIG) as session:
                answer = await ask(session, name)
                session.force_reconnect()
                return answer.asked, (await ask(session, f"{name} again")).turns_held

        assert await asyncio.gather(*map(talk, "abc")) == [("a", 2), ("b", 2), ("c", 2)]
        assert len({event.session for event in seen}) == 3


def test_it_is_what_frameworks_check_for():
    ours = offline()

    assert isinstance(ours, genai.Client)
    assert isinstance(ours.aio, AsyncClient)
    assert isinstance(ours.aio.live, AsyncLive)
    assert ours.aio is ours.aio
    assert ours.aio.live is ours.aio.live


def test_every_other_member_is_that_of_google_genai():
    """What is added to google-genai's client is `aio.live.connect`, and nothing else is hidden."""
    for ours, theirs, changed in (
        (resumable.Client, genai.Client, {"aio"}),
        (resumable._AsyncClient, AsyncClient, {"live"}),
        (resumable._AsyncLive, AsyncLive, {"connect"}),
    ):
        assert {name for name in vars(ours) if name[0] != "_"} == changed
        assert all(hasattr(theirs, name) for name in changed)
    plain = genai.Client(api_key="k", http_options={"base_url": "https://127.0.0.1:1"})
    assert type(offline().aio.live.music) is type(plain.aio.live.music)
    assert type(offline().aio.models) is type(plain.aio.models)


def test_its_own_arguments_are_none_of_google_genais():
    """A newer google-genai that takes an argument of the same name has to be looked at."""
    own = {
        name
        for name, given in inspect.signature(resumable.Client).parameters.items()
        if given.kind != given.VAR_KEYWORD
    }
    theirs = set(inspect.signature(genai.Client).parameters)

    assert own
    assert not own & theirs
    assert theirs - {"kwargs"} <= set(resumable._ClientArguments.__annotations__)


def test_arguments_of_google_genai_come_out_as_they_went_in():
    ours = resumable.Client(
        vertexai=True, project="p", location="us-central1", api_key=None, http_options=types.HttpOptions(timeout=7)
    )
    assert ours.vertexai
    assert ours._api_client._http_options.timeout == 7
    with pytest.raises(TypeError, match="no_such"):
        offline(no_such=3)


def test_a_wrong_policy_is_told_when_the_client_is_made():
    with pytest.raises(errors.ConfigurationError, match="policy"):
        offline(policy="fast")


# --- the life of a client --------------------------------------------------------------------------------------------


async def generate(aio):
    """A REST call that cannot succeed: tell whether the HTTP client was closed before."""
    with pytest.raises(Exception) as caught:
        await aio.models.generate_content(model="m", contents="hi")
    return "closed" in str(caught.value)


async def collected():
    """Let what was dropped be collected, and what that started come to its end."""
    gc.collect()
    for _ in range(5):
        await asyncio.sleep(0)


async def test_it_can_be_used_as_a_context_manager_and_closed():
    with offline() as ours:
        async with ours.aio as aio:
            assert isinstance(aio.live, AsyncLive)
    ours.close()
    await ours.aio.aclose()
    await ours.aio.aclose()


async def test_the_asynchronous_client_may_outlive_the_client():
    async with server() as live, nothing_is_left():
        aio = client(live).aio
        await collected()
        async with aio.live.connect(model=MODEL, config=CONFIG) as session:
            assert (await ask(session, "one")).asked == "one"
        aio = offline().aio
        await collected()
        assert not await generate(aio)


async def test_rest_works_while_the_client_lives():
    ours = offline()
    await collected()

    assert not await generate(ours.aio)
    assert not await generate(ours.aio)


async def test_a_session_outlives_the_close_of_its_client():
    async with server() as live, nothing_is_left():
        ours = client(live)
        async with ours.aio.live.connect(model=MODEL, config=CONFIG) as session:
            ours.close()
            await ours.aio.aclose()
            await ask(session, "one")
            session.force_reconnect()
            assert (await ask(session, "two")).turns_held == 2


async def test_a_client_that_is_dropped_leaves_nothing():
    async with nothing_is_left():
        for _ in range(3):
            ours = offline()
            assert ours.aio.live
            del ours
            gc.collect()
        assert await settled(lambda: not any(isinstance(found, resumable._AsyncClient) for found in gc.get_objects()))


async def test_the_first_connect_fails_as_with_google_genai():
    async with server(faults=[Fault.handshake(403, times=None)]) as live:
        caught = []
        for made in (client_of(live), client(live)):
            with pytest.raises(Exception) as error:
                await made.aio.live.connect(model=MODEL, config=CONFIG).__aenter__()
            caught.append((type(error.value), str(error.value)))
        assert caught[0] == caught[1]


def test_the_session_is_an_async_session():
    assert issubclass(resumable.Session, AsyncSession)


# --- names of conversations ------------------------------------------------------------------------------------------


async def test_each_session_is_asked_for_its_name():
    names = iter(["a", "b", "a", None])
    async with server() as live, nothing_is_left():
        ours = client(live, key=lambda: next(names), store="memory://client")
        held = []
        for question in ("one", "two", "three", "four"):
            async with ours.aio.live.connect(model=MODEL, config=CONFIG) as session:
                held.append((await ask(session, question)).turns_held)
                assert await anchored(session)
        assert held == [1, 1, 2, 1]


@pytest.mark.parametrize(
    "arguments", [{"store": "memory://"}, {"key": 3}, {"key": "", "store": "memory://"}, {"key": "a", "store": "x"}]
)
def test_a_wrong_key_or_store_is_told_when_the_client_is_made(arguments):
    with pytest.raises(errors.ConfigurationError, match=r"key|store"):
        offline(**arguments)
    with pytest.raises(errors.ConfigurationError, match=r"key|store"):
        resumable.http_options(**arguments)


async def test_a_key_alone_warns_once_and_keeps_in_memory():
    async with server() as live, nothing_is_left():
        with pytest.warns(UserWarning, match="kept in memory") as caught:
            offline(key="alone")
        assert caught[0].filename == __file__
        with pytest.warns(UserWarning, match="kept in memory"):
            ours = client(live, key="alone")
        for turns in (1, 2):
            async with ours.aio.live.connect(model=MODEL, config=CONFIG) as session:
                assert (await ask(session, f"{turns}")).turns_held == turns
                assert await anchored(session)


async def test_a_nonsensical_name_is_an_error():
    async with server() as live, nothing_is_left():
        ours = client(live, key=lambda: 3, store="memory://")
        with pytest.raises(errors.ConfigurationError, match="key is 3"):
            ours.aio.live.connect(model=MODEL, config=CONFIG)
