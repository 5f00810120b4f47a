"""The transport over real sockets: dialling, closing, aborting, sizes, and a log without secrets."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus

from resumekit.core.failures import Phase, Side
from resumekit.core.policy import Policy
from resumekit.drivers import dial_websocket, failure_of
from tests.drivers.fakes import until

try:
    from websockets.frames import TEXT, Frame
except ImportError:  # websockets 16 and earlier
    from websockets.frames import OP_TEXT as TEXT
    from websockets.frames import Frame

pytestmark = pytest.mark.network
CANARY = "CANARY-HANDLE-123456"


def open_files():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- only counted


class Receiver:
    """Keeps what it is handed; pauses where the test wants that."""

    def __init__(self, transport=None, *, pauses_after=None):
        self.frames = []
        self.errors = []
        self._transport = transport
        self._pauses_after = pauses_after
        if transport is not None:
            transport.receive(self)

    def frame_received(self, frame):
        assert type(frame) is bytes
        assert self.errors == []
        self.frames.append(frame)
        if len(self.frames) == self._pauses_after:
            self._transport.pause()

    def connection_lost(self, error):
        self.errors.append(error)

    async def get(self, count):
        await until(lambda: len(self.frames) >= count)
        return self.frames

    async def end(self):
        await until(lambda: self.errors)
        (error,) = self.errors
        return error


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
    received = Receiver(transport)
    await transport.send('{"a": 1}')
    await until(lambda: server.received)
    await server.sockets[0].send("text ü")
    await server.sockets[0].send(b"binary")

    assert await received.get(2) == ["text ü".encode(), b"binary"]
    assert server.received == ['{"a": 1}']
    assert server.headers[0]["X-Test"] == "1"
    await (await transport.ping())
    await transport.close()
    await transport.close()
    assert failure_of(await received.end(), Phase.LIVE).code == 1000


@pytest.mark.parametrize("what", ["a frame", "a frame that waits", "a ping", "a goodbye", "a pong"])
async def test_nothing_is_written_that_a_guard_forbids(server, what):
    """Not even what websockets does by itself: a process that slept too long owns the conversation no more."""
    transport = await dial_websocket(server.uri, policy=Policy())
    received, written = Receiver(transport), []
    may = [True]
    transport.guard(lambda: may[0])
    await transport.send("one")
    await until(lambda: server.received)
    socket = transport._connection.transport
    write, socket.write = socket.write, lambda data: (written.append(data), write(data))
    may[0] = False
    match what:
        case "a frame":
            transport.send_now("two")
        case "a frame that waits":
            await transport.send("two")
        case "a ping":
            await transport.ping()
        case "a goodbye":
            await transport.close()
        case "a pong":
            await server.sockets[0].ping()
    await received.end()
    assert (server.received, written) == (["one"], [])


async def test_a_message_in_several_frames_is_one(server):
    transport = await dial_websocket(server.uri, policy=Policy())
    received = Receiver(transport)
    await until(lambda: server.sockets)
    await server.sockets[0].send(["in ", "", "three"])
    await server.sockets[0].send([b"\xff", b""])
    await server.sockets[0].send("whole")

    assert await received.get(3) == [b"in three", b"\xff", b"whole"]
    await transport.close()


async def test_text_that_is_none_is_for_the_receiver_to_see(server):
    transport = await dial_websocket(server.uri, policy=Policy())
    received = Receiver(transport)
    await until(lambda: server.sockets)
    server.sockets[0].protocol.send_frame(Frame(TEXT, b"\xff"))
    await server.sockets[0].send("next")

    assert await received.get(2) == [b"\xff", b"next"]
    await transport.close()


async def test_what_comes_before_anybody_takes_it_is_kept_and_the_socket_is_not_read(server):
    transport = await dial_websocket(server.uri, policy=Policy(), options={"compression": None})
    connection = transport._connection
    await until(lambda: server.sockets)
    assert connection.transport.is_reading()
    sending = asyncio.create_task(flood(server.sockets[0]))
    await until(lambda: not connection.transport.is_reading())
    kept = len(connection._waiting)
    await asyncio.sleep(0.05)
    assert len(connection._waiting) == kept < 100

    transport.resume()  # nobody is there to take it
    received = Receiver(transport)
    await until(lambda: received.errors)
    await sending
    assert [int(frame.split()[0]) for frame in received.frames] == list(range(100))
    assert failure_of(received.errors[0], Phase.LIVE).code == 1000


async def flood(socket):
    """Send 10 MB, and close."""
    for number in range(100):
        await socket.send(f"{number} " + 100_000 * "x")
    await socket.close()


async def test_a_receiver_that_pauses_gets_the_rest_and_the_end_later(server):
    transport = await dial_websocket(server.uri, policy=Policy(), options={"compression": None})
    received = Receiver(transport, pauses_after=3)
    await until(lambda: server.sockets)
    sending = asyncio.create_task(flood(server.sockets[0]))
    await until(lambda: not transport._connection.transport.is_reading())
    await asyncio.sleep(0.05)
    assert len(received.frames) == 3

    transport.resume()
    transport.resume()
    await until(lambda: received.errors)
    await sending
    assert [int(frame.split()[0]) for frame in received.frames] == list(range(100))


async def test_the_end_is_not_told_while_nobody_wants_to_hear(server):
    transport = await dial_websocket(server.uri, policy=Policy())
    received = Receiver(transport, pauses_after=2)
    await until(lambda: server.sockets)
    for word in ("one", "two", "three"):
        await server.sockets[0].send(word)
    await received.get(2)
    transport.abort()
    await until(transport._connection.connection_lost_waiter.done)
    assert received.errors == []

    transport.resume()
    assert received.frames in ([b"one", b"two"], [b"one", b"two", b"three"])
    assert len(received.errors) == 1
    transport.resume()
    transport.pause()
    transport.resume()
    assert len(received.errors) == 1


@pytest.mark.parametrize("way", ["bye", "code", "reset", "frame", "ours"])
async def test_the_end_is_what_recv_would_have_raised(server, way):
    """Beside a connection of websockets as it is."""
    ours = await dial_websocket(server.uri, policy=Policy(max_message_size=1000))
    plain = await connect(server.uri, max_size=1000)
    await until(lambda: len(server.sockets) == 2)
    received = Receiver(ours)
    for socket in server.sockets:
        match way:
            case "bye":
                await socket.close()
            case "code":
                await socket.close(1011, "why not")
            case "reset":
                socket.transport.abort()
            case "frame":
                await socket.send(1001 * "x")
            case "ours":
                await ours.close()
                await plain.close()
    with pytest.raises(ConnectionClosed) as caught:
        await plain.recv()
    error = await received.end()

    assert type(error) is type(caught.value)
    assert vars(error) == vars(caught.value)
    assert str(error) == str(caught.value)
    if caught.value.__cause__ is not None:  # websockets 16 and earlier leave out what its parser met
        assert repr(error.__cause__) == repr(caught.value.__cause__)


async def test_a_server_that_says_goodbye_and_keeps_the_socket_open_is_left(server, monkeypatch):
    transport = await dial_websocket(server.uri, policy=Policy(close_wait=0.05))
    received = Receiver(transport)
    await until(lambda: server.sockets)
    (socket,) = server.sockets
    monkeypatch.setattr(socket.transport, "close", lambda: None)
    monkeypatch.setattr(socket.transport, "write_eof", lambda: None)
    socket.protocol.send_close(1011, "why not")
    socket.transport.write(socket.protocol.data_to_send()[0])

    assert failure_of(await received.end(), Phase.LIVE).code == 1011
    assert transport._connection._hang_up.cancelled()
    socket.transport.abort()  # the server of websockets 13 waits for ever for what it thinks it has closed


async def test_what_broke_a_connection_is_the_cause(server):
    transport = await dial_websocket(server.uri, policy=Policy())
    received = Receiver(transport)
    transport._connection.connection_lost(ConnectionResetError("by the test"))

    assert repr(received.errors[0].__cause__) == "ConnectionResetError('by the test')"
    transport._connection.connection_lost = lambda _: None
    transport.abort()


async def test_the_connection_is_of_our_making_whatever_the_options_say(server):
    options = {"create_connection": ClientConnection, "max_size": 1}
    transport = await dial_websocket(server.uri, policy=Policy(), options=options)
    received = Receiver(transport)
    await until(lambda: server.sockets)
    await server.sockets[0].send("one")

    assert await received.get(1) == [b"one"]
    await transport.close()


async def test_the_headers_of_the_upgrade_are_let_go(server):
    """An API key is among them, and they are a third of what an idle connection takes."""
    key = "KEY-OF-THIS-TEST-ALONE"
    transport = await dial_websocket(server.uri, additional_headers={"x-goog-api-key": key}, policy=Policy())
    kept = [found for found in gc.get_objects() if type(found) is Headers and key in found.get_all("x-goog-api-key")]

    assert all(found is server.headers[0] for found in kept)
    await transport.close()


async def test_an_abort_ends_everything_at_once(server):
    transport = await dial_websocket(server.uri, policy=Policy(close_wait=1000.0))
    received = Receiver(transport)
    pong = await transport.ping()
    await asyncio.sleep(0)
    transport.abort()
    transport.abort()

    assert failure_of(await received.end(), Phase.LIVE).side is Side.NOBODY
    with pytest.raises(ConnectionClosed):
        await transport.send("x")
    await transport.close()
    await asyncio.wait({asyncio.ensure_future(pong)})


async def test_a_frame_over_the_limit_is_our_own_doing(server):
    transport = await dial_websocket(server.uri, policy=Policy(max_message_size=1000))
    await until(lambda: server.sockets)
    received = Receiver(transport)
    await server.sockets[0].send("taken")
    await server.sockets[0].send("x" * 1001)

    failure = failure_of(await received.end(), Phase.LIVE)
    assert received.frames == [b"taken"]
    assert (failure.side, failure.code) == (Side.WE, 1009)


async def test_a_frame_over_the_default_of_websockets_is_taken(server):
    transport = await dial_websocket(server.uri, policy=Policy())
    await until(lambda: server.sockets)
    await server.sockets[0].send("x" * 3_000_000)

    (frame,) = await Receiver(transport).get(1)
    assert len(frame) == 3_000_000
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
    await Receiver(transport).get(2)
    await transport.close()

    ours = [record for record in caplog.records if record.name == "resumekit.websockets"]
    assert len(ours) > 5
    assert [record.getMessage() for record in ours if CANARY in record.getMessage()] == []
    assert {record.name for record in caplog.records} & {"websockets.client"} == set()
