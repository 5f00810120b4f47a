"""Every fault of a network, at every kind of place of a connection, on real sockets: judged by the emulator's ledger."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter

import pytest

from tests.faults.runner import PROFILES
from tests.network.places import CASES, FAULTS, PLACES, SHORT, run_case
from tests.network.proxy import Fault, Proxy, Weather

pytestmark = pytest.mark.network

AT_ONCE = 10


async def play(cases):
    """Run cases, several at a time; return what went wrong."""
    asyncio.get_running_loop().set_debug(False)  # it would be most of the work
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number, case):
        async with gate:
            run, wrong = await run_case(case, PROFILES[number % 2])
            return f"{case}, {run.profile}: {wrong}\n{run}" if wrong else None

    return [wrong for wrong in await asyncio.gather(*(one(*case) for case in enumerate(cases))) if wrong]


def test_the_short_form_has_each_place_and_each_fault():
    assert Counter(case.place for case in SHORT) == dict.fromkeys({place for _, place in PLACES}, 1)
    assert {case.when for case in SHORT} == {when for when, _ in PLACES}
    assert {*Counter(case.fault for case in SHORT).values()} == {3, 4}
    assert {case.fault for case in SHORT} == {*FAULTS}


async def test_the_conversation_goes_on_whatever_the_network_does():
    wrong = await play(SHORT)
    assert not wrong, "\n\n".join(wrong[:5])


@pytest.mark.wide
@pytest.mark.parametrize("shard", range(4))
@pytest.mark.parametrize("turn", [0, 1])
async def test_the_conversation_goes_on_with_every_fault_at_every_place(shard, turn):
    wrong = await play(CASES[shard::4][turn:] + CASES[shard::4][:turn])  # with both backends
    assert not wrong, "\n\n".join(wrong[:5])


# --- the proxy itself ----------------------------------------------------------------------------------------------


def record(text):
    return b"\x17\x03\x03" + len(text).to_bytes(2) + text


def frame(text):
    return b"\x82\x7e" + len(text).to_bytes(2) + text


HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
RECORDS = record(b"hello") + record(b"") + record(b"x" * 300)
FRAMES = HEAD + b"\x82\x05hello" + frame(b"y" * 300) + b"\x89\x80maskx"


class Server:
    """Says what it is told to, then takes what comes."""

    host = "127.0.0.1"
    settings = None

    def __init__(self, says):
        self.says = says
        self.got = []
        self.ended = []

    async def _serve(self, reader, writer):
        self.got.append(b"")
        number = len(self.got) - 1
        writer.write(self.says)
        try:
            while data := await reader.read(2**16):
                self.got[number] += data
            self.ended.append("end")
        except OSError:
            self.ended.append("reset")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def __aenter__(self):
        self._listener = await asyncio.start_server(self._serve, self.host, 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._listener.close()
        await self.over()

    async def over(self):
        """Wait until every connection has ended."""
        while len(self.ended) < len(self.got):  # noqa: ASYNC110
            await asyncio.sleep(0.001)


class Plain(Proxy):
    """Counts what is inside of TLS, without TLS."""

    async def accept(self):
        self._listener = await asyncio.start_server(self._accepted, self.host, self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def dial(self):
        return await asyncio.open_connection(self.upstream.host, self.upstream.port)


async def what_comes_through(proxy, *, says=b""):
    """Dial, and return what is read, and how it ended: "open" once the proxy has read all, and all that it wrote is here."""
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    read = b""
    writer.write(says)
    left_open = asyncio.ensure_future(until_all_passed(proxy, len(proxy.upstream.says), len(says)))
    try:
        while True:
            reading = asyncio.ensure_future(reader.read(2**16))
            await asyncio.wait([reading, left_open], return_when="FIRST_COMPLETED")
            if not reading.done():
                reading.cancel()
                return read, "open"
            if not (data := reading.result()):
                return read, "end"
            read += data
    except OSError:
        return read + bytes(reader._buffer), "reset"  # what came before it
    finally:
        left_open.cancel()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def until_all_passed(proxy, down, up):
    number = len(proxy.connections)
    while True:
        await asyncio.sleep(0.005)
        ways = proxy.connections[-1].ways if len(proxy.connections) >= number else {}
        if ways and (passed(ways["down"]), passed(ways["up"])) == (down, up):
            break
    for _ in range(10):  # what was written last, or the end of it
        await asyncio.sleep(0.002)


def passed(way):
    return sum(way.framing.sizes) + way.framing.at[1]


ENDS = {"rst": "reset", "fin": "end", "hole": "open"}


@pytest.mark.parametrize(
    ("do", "says", "inside", "at", "passes"),
    [
        ("rst", RECORDS, False, (0, 0), 0),
        ("fin", RECORDS, False, (0, 3), 3),
        ("hole", RECORDS, False, (0, 7), 7),
        ("fin", RECORDS, False, (1, 0), 10),
        ("fin", RECORDS, False, (1, 100), 15),  # that record is shorter
        ("rst", RECORDS, False, (2, 6), 21),
        ("hole", FRAMES, True, (0, 4), 4),
        ("fin", FRAMES, True, (1, 0), len(HEAD)),
        ("rst", FRAMES, True, (1, 1), len(HEAD) + 1),
        ("fin", FRAMES, True, (2, 3), len(HEAD) + 7 + 3),
        ("hole", FRAMES, True, (3, 0), len(HEAD) + 7 + 304),
        ("rst", FRAMES, True, (4, 0), len(FRAMES) - 1),
    ],
)
async def test_a_fault_strikes_at_its_byte(do, says, inside, at, passes):
    async with (
        Server(says) as server,
        Plain(server, [Fault(do, "down", *at)], inside=inside, weather=Weather(slices=7)) as proxy,
    ):
        assert await what_comes_through(proxy) == (says[:passes], ENDS[do])
        assert await what_comes_through(proxy) == (says, "open")  # it strikes once
        assert [strike.connection for strike in proxy.strikes] == [0]


@pytest.mark.parametrize(("only", "passes", "ends"), [("up", RECORDS, "end"), ("down", b"", "end")])
async def test_one_way_can_end_alone(only, passes, ends):
    async with Server(RECORDS) as server, Proxy(server, [Fault("fin", "up", only=only, on=1)]) as proxy:
        assert await what_comes_through(proxy) == (RECORDS, "open")
        assert await what_comes_through(proxy, says=RECORDS) == (passes, ends)
        assert server.got[1] == (b"" if only == "up" else RECORDS)


async def test_of_a_hole_nobody_is_told_at_first():
    hole = Fault("hole", "up", record=1, only="up", seconds=0.5)
    async with Server(RECORDS) as server, Proxy(server, [hole]) as proxy:
        assert await what_comes_through(proxy, says=RECORDS) == (RECORDS, "open")
        assert server.got == [RECORDS[:10]]
        assert server.ended == []
        await asyncio.gather(*proxy._tasks)
        await server.over()
        assert server.ended == ["reset"]


async def test_a_fault_can_strike_again_and_again_and_nobody_may_be_let_in():
    async with Server(RECORDS) as server, Proxy(server, [Fault("rst", "up", times=None)]) as proxy:
        assert [await what_comes_through(proxy) for _ in range(3)] == [(b"", "reset")] * 3
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await what_comes_through(proxy)
        proxy.planned.clear()
        await proxy.accept()
        assert await what_comes_through(proxy) == (RECORDS, "open")


async def test_the_same_seed_gives_the_same_weather():
    async def arrivals(seed):
        async with Server(RECORDS) as server, Proxy(server, seed=seed, weather=Weather(slices=9)) as proxy:
            await what_comes_through(proxy)
            return [proxy.draw.random() for _ in range(3)]

    assert await arrivals(1) == await arrivals(1) != await arrivals(2)


async def test_latency_rate_and_a_stall_take_their_time_and_lose_nothing():
    says = record(b"x" * 1000) * 10
    weather = Weather(latency=0.03, jitter=0.01, rate=200_000)  # 50 ms
    async with (
        Server(says) as server,
        Proxy(server, [Fault("stall", "down", 5, seconds=0.05)], weather=weather) as proxy,
    ):
        loop = asyncio.get_running_loop()
        begun = loop.time()
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        assert await reader.readexactly(len(says)) == says
        assert loop.time() - begun > 0.03 + 0.05 + 0.05
        writer.close()
        await writer.wait_closed()


async def test_inside_of_tls_it_shows_a_certificate_of_its_own():
    async with Server(b"") as server, Proxy(server, inside=True) as proxy:
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection(proxy.host, proxy.port, ssl=ssl.create_default_context())
        assert proxy.client_ssl_context().cert_store_stats()["x509_ca"] == 1
