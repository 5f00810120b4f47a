"""A server that answers with what is no answer, over real TLS: each is told, and the session goes on where it can.

As few dials as for any other failure, and nothing is left of it: no task, no file, no memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import tracemalloc
import zlib

import pytest

from resumekit.adapters import websockets as resumable
from resumekit.core import events
from resumekit.core.failures import Verdict
from resumekit.errors import ConnectRefused, SessionLost
from resumekit.hookspecs import hookimpl
from resumekit.wire import ResumptionHandle
from tests.adapters.support import nothing_is_left, policy
from tests.network.raw import frame, listening, upgraded

pytestmark = pytest.mark.network

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
OURS = [tracemalloc.Filter(inclusive=True, filename_pattern=f"*/{name}/*") for name in ("resumekit", "websockets")]
LARGEST = 1 << 20
"""Bytes of a message."""
HALVES = (frame(TEXT, b"x", length=100), b"\x81")
"""The server hangs up behind these."""


# --- a server that behaves --------------------------------------------------------------------------------------------


def says(**message):
    return frame(TEXT, json.dumps(message).encode())


async def received(peer):
    """Read one frame of the client, which are never long here."""
    head = await peer.reader.readexactly(2)
    size = head[1] & 127
    if size > 125:
        size = int.from_bytes(await peer.reader.readexactly(2), "big")
    mask = await peer.reader.readexactly(4)
    data = await peer.reader.readexactly(size)
    return head[0] & 15, bytes(byte ^ key for byte, key in zip(data, itertools.cycle(mask), strict=False))


async def bind(peer):
    await peer.request()
    peer.write(upgraded(peer))
    assert b'"setup"' in (await received(peer))[1]
    peer.write(says(setupComplete={}))


async def behave(peer, questions=-1):
    """Answer each question, and give a handle for it; so many of them only."""
    while questions:
        opcode, data = await received(peer)
        if opcode == CLOSE:
            peer.write(frame(CLOSE, data))
            return
        if opcode == PING:
            peer.write(frame(PONG, data))
        elif opcode == TEXT:
            question = json.loads(data)["clientContent"]["turns"][0]["parts"][0]["text"]
            peer.write(says(serverContent={"modelTurn": {"parts": [{"text": f"answer to {question}"}]}}))
            peer.write(says(serverContent={"turnComplete": True}))
            peer.write(says(sessionResumptionUpdate={"newHandle": f"after {question}", "resumable": True}))
            questions -= 1


class Service:
    """Does what it is told on one connection after the other, and behaves on all others.

    It is told a function, or bytes: these it writes instead of an answer, after some answers.
    """

    def __init__(self, *odd, answers=0):
        self.odd = list(odd)
        self.answers = answers

    async def __call__(self, peer):
        odd = self.odd.pop(0) if self.odd else None
        if callable(odd):
            await odd(peer)
            return
        await bind(peer)
        if odd is None:
            await behave(peer)
            return
        await behave(peer, self.answers)
        await received(peer)
        peer.write(odd)
        if odd in HALVES:
            await peer.writer.drain()
        else:
            await peer.gone()


class Talk:
    """A session with a service."""

    def __init__(self, service, **fields):
        self.service = service
        never = dict.fromkeys(("ping_expecting", "abort_expecting", "ping_idle", "abort_idle"), 100_000.0)
        self.fields = {"max_message_size": LARGEST, **never, **fields}
        self.told = []

    @contextlib.asynccontextmanager
    async def __call__(self, *, tls=True):
        async with listening(self.service, tls=tls) as self.server:
            connect = resumable.connect(
                self.server.address,
                setup={"model": "m"},
                ssl=self.server.client_ssl,
                compression=None,
                policy=policy(**self.fields),
                on_event=self.told.append,
            )
            async with asyncio.timeout(60), connect as self.session:
                yield self

    async def ask(self, text):
        await self.session.send({"clientContent": {"turns": [{"parts": [{"text": text}]}], "turnComplete": True}})
        answer = ""
        async for message in self.session:
            content = message.server_content
            if content is not None and content.model_turn is not None:
                answer += "".join(part.text or "" for part in content.model_turn.parts)
            if content is not None and content.turn_complete:
                return answer
        raise AssertionError("the session is over")

    async def anchored(self, question):
        digest = repr(ResumptionHandle(f"after {question}"))
        while repr(getattr(self.session._driver.last_handle, "handle", None)) != digest:  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(0.001)

    def lost(self):
        return [event for event in self.told if isinstance(event, events.ConnectionLost)]


# --- what is no handshake ---------------------------------------------------------------------------------------------


def writes(data, *, then="end"):
    """Return what a server does that answers with this, and then hangs up, or does nothing more."""

    async def answer(peer):
        await peer.request()
        peer.write(data)
        if then == "silence":
            await peer.gone()
        else:
            await peer.writer.drain()

    return answer


async def endless(peer):
    await peer.request()
    peer.write(b"HTTP/1.1 101 Switching Protocols\r\nX: ")
    while not peer.writer.transport.is_closing():
        peer.write(b"x" * 65536)
        await peer.writer.drain()


def accepts(*headers):
    async def answer(peer):
        await peer.request()
        peer.write(upgraded(peer, *headers))
        await peer.gone()

    return answer


OK = b"HTTP/1.1 101 Switching Protocols\r\n"
HANDSHAKES = {
    "bytes": writes(bytes(range(256)) * 40),
    "nothing": writes(b""),
    "silence": writes(b"", then="silence"),
    "half of it, then silence": writes(OK + b"Upgrade: webso", then="silence"),
    "half of it, then the end": writes(OK + b"Upgrade: webso"),
    "HTTP/2": writes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"),
    "frames of HTTP/2": writes(b"\0\0\6\4\0\0\0\0\0\0\3\0\0\0\x64" * 100),
    "HTTP/1.0": writes(b"HTTP/1.0 101 OK\r\n\r\n"),
    "a long header": writes(OK + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n"),
    "a header without an end": endless,
    "many headers": writes(OK + b"X: x\r\n" * 100_000 + b"\r\n"),
    "no headers": writes(OK + b"\r\n"),
    "another key": writes(
        OK + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"
    ),
    "an extension that nobody asked for": accepts("Sec-WebSocket-Extensions: permessage-deflate"),
    "a subprotocol that nobody asked for": accepts("Sec-WebSocket-Protocol: chat"),
    "a page": writes(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    "a page without an end": writes(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3_000_000),
    "a page that is not there": writes(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n", then="silence"),
    "a status that is none": writes(b"HTTP/1.1 999999 OK\r\n\r\n"),
}


@pytest.mark.parametrize("what", HANDSHAKES)
async def test_what_is_no_handshake_is_tried_again(what):
    odd = HANDSHAKES[what]
    patience = {"connect_timeout": 30.0} if "silence" in what or "not there" in what else {}
    async with nothing_is_left():
        talk = Talk(Service(), **patience)
        async with talk():
            assert await talk.ask("one") == "answer to one"
            await talk.anchored("one")
            talk.service.odd += [odd, odd]  # not before: where the first dial takes too long, the next would meet one
            talk.server.peers[-1].writer.transport.abort()
            assert await talk.ask("two") == "answer to two"
    lost = [*itertools.dropwhile(lambda event: event.phase != "live", talk.lost())]
    assert [event.phase for event in lost][:3] == ["live", "dial", "dial"]
    assert all(event.reason or event.status_code for event in lost[1:])
    assert len(talk.server.peers) <= (8 if patience else 4)


async def test_what_is_no_tls_is_tried_again():
    """Also at the first connect; the error tells what it was."""

    async def answer(peer):
        peer.write(b"no TLS\r\n" + bytes(range(256)))
        await peer.gone()

    class Twice:
        """The second failure is the last one."""

        failures = 0

        @hookimpl
        def classify_failure(self, details):
            self.failures += 1
            return Verdict.FATAL if self.failures > 1 else None

    async with listening(answer) as server:
        address = server.address.replace("ws:", "wss:")
        connect = resumable.connect(address, setup={"model": "m"}, policy=policy(), plugins=[Twice()])
        async with nothing_is_left():
            with pytest.raises(ConnectRefused, match=r"SSL|record"):
                async with asyncio.timeout(60), connect:
                    pass
    assert len(server.peers) == 2


# --- what is no frame -------------------------------------------------------------------------------------------------


def masked(payload):
    return bytes([0x81, 0x80 | len(payload)]) + b"mask" + payload


def closes(code, reason=b""):
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


HELLO = b'{"serverContent": {}}'
BROKEN = {
    **{f"reserved bit {bit}": (frame(TEXT, HELLO, reserved=bit), 1002) for bit in (1, 2, 4)},
    **{f"opcode {code}": (frame(code, b"x"), 1002) for code in (3, 7, 11, 15)},
    "masked": (masked(HELLO), 1002),
    "a ping in pieces": (frame(PING, b"x", fin=False), 1002),
    "a close in pieces": (frame(CLOSE, b"\x03\xe8", fin=False), 1002),
    "a long ping": (frame(PING, b"x" * 126), 1002),
    "the rest of nothing": (frame(CONT, b"x"), 1002),
    "a message within another": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"x"), 1002),
    "compressed, as nobody asked for": (frame(TEXT, zlib.compress(HELLO)[2:-4], reserved=4), 1002),
    "half a frame": (HALVES[0], 1006),
    "half a head": (HALVES[1], 1006),
    "bytes": (bytes(range(255, 0, -1)), 1002),
    "HTTP": (b"HTTP/1.1 200 OK\r\nX: x\r\n" + b"x" * 100, 1002),
    **{f"close {code}": (closes(code), 1002) for code in (0, 999, 1005, 1006, 1015, 5000, 65535)},
    "close 3000": (closes(3000, b"of an application"), 3000),
    "a close with half a code": (frame(CLOSE, b"\x03"), 1002),
    "a close with a reason that is no text": (closes(1011, b"\xff\xfe\xfd"), 1007),
    "a close without a code": (frame(CLOSE), 1005),
    "a close, and more": (closes(1001) + frame(TEXT, HELLO) * 10, 1001),
}
"""What is written instead of an answer, and the code with which it ends the connection."""
ENDS_IT = {
    "a frame of 2^62 bytes": frame(TEXT, b"x", length=1 << 62),
    "a frame of 2^63 bytes": frame(TEXT, b"x", length=1 << 63),
    "a message without an end": frame(TEXT, b"x" * 65536, fin=False) + frame(CONT, b"x" * 65536, fin=False) * 20,
}
"""The next connection would bring the same: `Policy.max_message_size` is what to change."""


@pytest.mark.parametrize("what", BROKEN)
async def test_what_is_no_frame_ends_the_connection_and_not_the_session(what):
    data, code = BROKEN[what]
    async with nothing_is_left():
        talk = Talk(Service(data))
        async with talk():
            assert await talk.ask("one") == "answer to one"
            assert await talk.ask("two") == "answer to two"
    (lost,) = talk.lost()
    assert (lost.phase, lost.close_code) == ("live", code)
    assert len(talk.server.peers) == 2


@pytest.mark.parametrize("what", ENDS_IT)
async def test_what_no_reconnect_could_mend_ends_the_session(what):
    async with nothing_is_left():
        talk = Talk(Service(ENDS_IT[what]))
        async with talk():
            with pytest.raises(SessionLost) as caught:
                await talk.ask("one")
    assert (caught.value.close_code, len(talk.server.peers)) == (1009, 1)
    assert "limit" in str(caught.value)


UNREADABLE = {
    "no UTF-8": frame(TEXT, b"\xff\xfe" + HELLO),
    "half a character": frame(TEXT, b'"\xe2', fin=False) + frame(CONT, b'\x82"'),
    "binary": frame(BINARY, bytes(range(256))),
    "empty": frame(TEXT),
    "empty, in pieces": frame(TEXT, fin=False) + frame(CONT, fin=False) * 20 + frame(CONT),
}


@pytest.mark.parametrize("what", UNREADABLE)
async def test_what_is_no_message_is_told_and_often_enough_a_reason_to_leave(what):
    async with nothing_is_left():
        talk = Talk(Service(UNREADABLE[what] * 50))
        async with talk():
            assert await talk.ask("one") == "answer to one"
    assert any(isinstance(event, events.FrameDiscarded) for event in talk.told)
    assert len(talk.server.peers) == 2


async def test_a_flood_of_control_frames_is_answered():
    flood = frame(PING, b"x") * 1000 + frame(PONG, b"nobody asked") * 1000

    async def answer(peer):
        await bind(peer)
        peer.write(flood)
        await behave(peer)

    async with nothing_is_left():
        talk = Talk(Service(answer))
        async with talk():
            assert await talk.ask("one") == "answer to one"
    assert not talk.lost()


async def test_one_session_lives_through_all_of_it_and_keeps_nothing():
    odd = [data for data, _ in BROKEN.values()][::2]
    talk = Talk(Service(*odd, answers=1))
    held = []
    async with nothing_is_left(), talk(tls=False):
        for number in range(len(odd)):
            assert await talk.ask(f"{number}") == f"answer to {number}"
            await talk.anchored(number)
            if number == 4:
                tracemalloc.start()
            if number in (6, len(odd) - 1):
                talk.told.clear()
                talk.server.peers.clear()
                gc.collect()
                held.append(sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(OURS).traces))
    tracemalloc.stop()
    # What happened is kept, up to a bound (`events`): half a KiB for each. A connection would be five.
    assert held[1] - held[0] < 3500 * (len(odd) - 7), held
