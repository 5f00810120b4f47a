"""The transport over real sockets: dialling, closing, aborting, sizes, and a log without secrets."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os

import pytest
from websockets.asyncio.server import serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus

from resumekit.core.failures import Phase, Side
from resumekit.core.policy import Policy
from resumekit.drivers import dial_websocket, failure_of
from tests.drivers.fakes import until

pytestmark = pytest.mark.network
CANARY = "CANARY-HANDLE-123456"


def open_files():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- only counted


class Server:
    """Keeps what it received; the test says what it does."""

    def __init__(self):
        self.received = []
        self.headers = []
        self.sockets = []
        self.status = None

    async def handle(self, socket):
        self.sockets.append(socket)
        self.headers.append(socket.request.headers)
        async for frame in socket:
            self.received.append(frame)

    def refuse(self, connection, request):
        return None if self.status is None else connection.respond(self.status, "no\n")


@pytest.fixture
async def server():
    server = Server()
    async with serve(server.handle, "127.0.0.1", 0, process_request=server.refuse, close_timeout=0.1) as listener:
        server.uri = f"ws://127.0.0.1:{next(iter(listener.sockets)).getsockname()[1]}"
        yield server


async def test_a_frame_goes_at_once_where_the_socket_has_room(server, monkeypatch):
    transport = await dial_websocket(server.uri, policy=Policy())
    assert transport.send_now("one")
    with monkeypatch.context() as patch:
        patch.setattr(transport._connection.transport, "get_write_buffer_size", lambda: 1)
        assert not transport.send_now("two"), "the rest of a frame is still here"
    await transport.send("three")
    await until(lambda: len(server.received) == 2)
    assert server.received == ["one", "three"]

    await transport.close()
    assert not transport.send_now("four")


async def test_frames_go_both_ways_text_and_binary(server):
    transport = await dial_websocket(server.uri, additional_headers={"X-Test": "1"}, policy=Policy())
    await transport.send('{"a": 1}')
    await until(lambda: server.received)
    await server.sockets[0].send("text ü")
    await server.sockets[0].send(b"binary")

    assert await transport.recv() == "text ü".encode()
    assert await transport.recv() == b"binary"
    assert server.received == ['{"a": 1}']
    assert server.headers[0]["X-Test"] == "1"
    await (await transport.ping())
    await transport.close()
    await transport.close()
    with pytest.raises(ConnectionClosed) as caught:
        await transport.recv()
    assert failure_of(caught.value, Phase.LIVE).code == 1000


async def test_the_headers_of_the_upgrade_are_let_go(server):
    """An API key is among them, and they are a third of what an idle connection takes."""
    key = "KEY-OF-THIS-TEST-ALONE"
    transport = await dial_websocket(server.uri, additional_headers={"x-goog-api-key": key}, policy=Policy())
    kept = [found for found in gc.get_objects() if type(found) is Headers and key in found.get_all("x-goog-api-key")]

    assert all(found is server.headers[0] for found in kept)
    await transport.close()


async def test_an_abort_ends_everything_at_once(server):
    transport = await dial_websocket(server.uri, policy=Policy(close_wait=1000.0))
    reader = asyncio.create_task(transport.recv())
    pong = await transport.ping()
    await asyncio.sleep(0)
    transport.abort()
    transport.abort()

    with pytest.raises(ConnectionClosed) as caught:
        await reader
    assert failure_of(caught.value, Phase.LIVE).side is Side.NOBODY
    with pytest.raises(ConnectionClosed):
        await transport.send("x")
    await transport.close()
    await asyncio.wait({asyncio.ensure_future(pong)})


async def test_a_frame_over_the_limit_is_our_own_doing(server):
    transport = await dial_websocket(server.uri, policy=Policy(max_message_size=1000))
    await until(lambda: server.sockets)
    await server.sockets[0].send("x" * 1001)
    with pytest.raises(ConnectionClosed) as caught:
        await transport.recv()

    failure = failure_of(caught.value, Phase.LIVE)
    assert (failure.side, failure.code) == (Side.WE, 1009)


async def test_a_frame_over_the_default_of_websockets_is_taken(server):
    transport = await dial_websocket(server.uri, policy=Policy())
    await until(lambda: server.sockets)
    await server.sockets[0].send("x" * 3_000_000)

    assert len(await transport.recv()) == 3_000_000
    await transport.close()


async def test_a_refused_upgrade_has_its_status(server):
    server.status = 429
    with pytest.raises(InvalidStatus) as caught:
        await dial_websocket(server.uri, policy=Policy())

    assert failure_of(caught.value, Phase.DIAL).status == 429


async def test_a_cancelled_dial_leaves_no_socket(server):
    before = open_files()
    for count in range(40):
        dial = asyncio.create_task(dial_websocket(server.uri, policy=Policy()))
        for _ in range(count):
            await asyncio.sleep(0)
        dial.cancel()
        await asyncio.wait({dial})
        if not dial.cancelled():
            dial.result().abort()
    await until(lambda: open_files() <= before)


async def test_the_log_of_websockets_shows_no_secret(server, caplog):
    caplog.set_level(logging.DEBUG)
    transport = await dial_websocket(
        f"{server.uri}/?key={CANARY}", additional_headers={"x-goog-api-key": CANARY}, policy=Policy()
    )
    await transport.send(json.dumps({"setup": {"sessionResumption": {"handle": CANARY}}}))
    await transport.send(json.dumps({"setup": {"text": "x" * 200, "sessionResumption": {"handle": CANARY}}}))
    await until(lambda: len(server.received) >= 2)
    await server.sockets[0].send(json.dumps({"sessionResumptionUpdate": {"newHandle": CANARY}}))
    await server.sockets[0].send(json.dumps({"sessionResumptionUpdate": {"newHandle": CANARY}}).encode())
    await transport.recv()
    await transport.recv()
    await transport.close()

    ours = [record for record in caplog.records if record.name == "resumekit.websockets"]
    assert len(ours) > 5
    assert [record.getMessage() for record in ours if CANARY in record.getMessage()] == []
    assert {record.name for record in caplog.records} & {"websockets.client"} == set()
