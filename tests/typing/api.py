"""The public typing, pinned. Never executed: mypy and pyright check it, and an unneeded ignore is an error as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_type

from google.genai import Client, types
from google.genai.live import AsyncSession

import resumekit
from resumekit import DelayDetails, Exactly, Policy, SessionLost, Stats, events
from resumekit.adapters import genai, websockets
from resumekit.defaults import MemoryStore
from resumekit.drivers import Events
from resumekit.encryption import EncryptedStore
from resumekit.hookspecs import hookimpl
from resumekit.pool import MemoryPoolBackend, Place, PoolBackend, Rate, SessionPool
from resumekit.stores import Entry, HandleStore, StoredHandle
from resumekit.wire import ServerMessage

names: list[str] = resumekit.__all__


def told(event: events.Event) -> None:
    if isinstance(event, events.Resumed):
        assert_type(event.downtime, float)
        assert_type(event.resent_messages, int)
    if isinstance(event, events.MessagesRepeated):
        assert_type(event.messages, tuple[int, ...])


async def through_google_genai(client: Client) -> None:
    async with genai.connect(
        client,
        model="m",
        config={"response_modalities": [types.Modality.AUDIO]},
        history=[types.Content(role="user")],
        policy=Policy(max_outage=60.0).scaled(0.1),
        on_event=told,
    ) as session:
        plain: AsyncSession = session
        await plain.close()
        try:
            async for message in session.receive():
                assert_type(message, types.LiveServerMessage)
        except SessionLost as lost:
            assert_type(lost.close_code, int | None)
        assert_type(session.stats, Stats)
        assert_type(session.events, Events)
        session.force_reconnect()
        await session.end()


def a_framework(client: Client) -> None: ...


async def through_a_client() -> None:
    client = genai.Client(api_key="k", http_options={"api_version": "v1beta"}, policy=Policy(), on_event=told)
    a_framework(client)
    async with client.aio.live.connect(model="m", config={"temperature": 0.5}) as session:
        assert_type(session, genai.Session)
    assert_type(genai.http_options({"timeout": 3}, additional_headers=dict, policy=Policy()), types.HttpOptions)
    genai.Client(api_key="k", key=lambda: "of this session", store="memory://")
    genai.Client(key=3)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] -- a name is text
    genai.Client(api_kee="k")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue] -- no such argument


async def with_clients_that_change(make: Sequence[Client]) -> None:
    async def fresh() -> Client:
        return make[0]

    genai.connect(fresh, model="m")
    genai.connect(lambda: make[0], model="m")
    genai.connect(make[0])  # type: ignore[call-arg] # pyright: ignore[reportCallIssue] -- which model?
    Policy(60.0)  # type: ignore[call-arg, arg-type] # pyright: ignore[reportCallIssue] -- fields have names


async def through_a_bare_websocket() -> None:
    async with websockets.connect("wss://localhost", setup={"setup": {"model": "models/m"}}) as session:
        await session.send({"realtimeInput": {"text": "hello"}})
        assert_type(await session.recv(), ServerMessage)
        assert_type(await session.recv_bytes(), bytes)
        async for message in session:
            assert_type(message, ServerMessage)


class Plugin:
    @hookimpl
    def choose_delay(self, details: DelayDetails) -> float | Exactly | None:
        assert_type(details.attempt, int)
        return Exactly(1.0)

    @hookimpl
    def provide_handle_store(self, url: str) -> HandleStore | None:
        return MemoryStore() if url else None


async def with_a_pool(client: Client, backend: PoolBackend) -> None:
    pool = SessionPool(50, connect_rate=Rate(10, per := 60.0), timeout=None, backend=backend, lease=per)
    genai.connect(client, model="m", pool=pool)
    genai.Client(api_key="k", pool=SessionPool.of_tier("vertex"))
    websockets.connect("wss://localhost", setup={}, pool=SessionPool())
    async with pool.slot(resumes=True, on_event=print) as slot:
        slot.used(5)
        await slot.dialling()
    assert_type(pool.waiting, int)
    held: PoolBackend = MemoryPoolBackend()
    assert_type(await held.enter("pool", "ticket", limits=pool.limits, lease=30.0), Place)
    genai.connect(client, model="m", pool=50)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] -- no pool


async def with_a_store_and_plugins(client: Client, store: HandleStore) -> None:
    genai.connect(client, model="m", key="k", store=store, plugins=[Plugin()])
    genai.connect(client, model="m", key="k", store="memory://")
    websockets.connect("wss://localhost", setup={}, key="k", store=MemoryStore(), plugins=(Plugin(),))
    genai.connect(client, model="m", key="k", store={})  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] -- no store
    claim = await store.claim("k", "me", 15.0)
    assert_type(claim.entry, Entry | None)
    if claim.entry is not None:
        assert_type(StoredHandle.from_json(claim.entry.data), StoredHandle)
        assert_type(await store.save("k", claim.fence, claim.entry), bool)
    websockets.connect("wss://localhost", setup={}, key="k", store=EncryptedStore("memory://", key=b"0" * 32))
