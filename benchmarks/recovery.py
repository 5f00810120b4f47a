"""How long is a conversation without a connection, after a cut and at a planned move?

Against the emulator in a process of its own, over a wire that takes half a round trip each way. `resumekit` is the
google-genai adapter as it is; `google-genai` is the loop that one would write by hand: it catches the error, connects
anew with the newest handle, and asks the question again.

The service's own time for a setup is known, and the delay before the first dial is an event: both are shown apart, so
that what is left is round trips.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

from google import genai

from benchmarks._wire import wire
from benchmarks.harness import Bench, run
from resumekit import events
from resumekit.adapters import genai as resumable
from resumekit.core.policy import Move
from resumekit.emulator import EmulatorProcess, Fault
from resumekit.hookspecs import hookimpl

ENVIRONMENTS = ["bench"]
SETUP_MS = 100.0
"""What the emulator takes from the setup to setupComplete."""
RTTS = (20, 50, 100, 200)
MODEL = "gemini-2.5-flash-live"
CONFIG: Any = {"response_modalities": ["TEXT"], "session_resumption": {}}
OURS, PLAIN = "resumekit", "google-genai, by hand"

_KNOBS: Any = {
    "setup_delay": SETUP_MS / 1000,
    "output_chunks": 20,
    "chunk_interval": 0.05,
    "first_frame_delay": 0.0,
    "handle_delay": 0.05,
    "connection_age": None,
}
Samples = dict[tuple[str, str], list[float]]
"""(case, what) -> milliseconds."""


def measure(bench: Bench) -> None:
    """Cut, and have moved, both clients over wires of several lengths."""
    repeats = 3 if bench.quick else 20
    for rtt in (100,) if bench.quick else RTTS:
        samples: Samples = defaultdict(list)
        asyncio.run(_at(rtt, repeats, samples))
        for (case, what), taken in samples.items():
            bench.add(case, what, taken, unit="RTT" if what.endswith("in RTTs") else "ms", x=rtt)


async def _at(rtt: int, repeats: int, samples: Samples) -> None:
    """All four at once: each waits nearly all of the time, and has an emulator of its own."""
    async with asyncio.TaskGroup() as group:
        for scenario in (_ours_cut, _plain_cut, _ours_moved, _plain_moved):
            group.create_task(_scenario(scenario, rtt, repeats, samples))


async def _scenario(
    scenario: Callable[[EmulatorProcess, genai.Client, int, Note], Awaitable[None]],
    rtt: int,
    repeats: int,
    samples: Samples,
) -> None:
    async with EmulatorProcess(**_KNOBS) as server, wire(server.port, rtt / 1000) as port:
        http: Any = {"base_url": f"https://127.0.0.1:{port}", "async_client_args": {"ssl": server.client_ssl_context()}}
        client = genai.Client(api_key="any", http_options=http)
        try:
            async with asyncio.timeout(60 + repeats * 20):
                await scenario(server, client, repeats, Note(samples, rtt))
        finally:
            await client.aio.aclose()
            client.close()


class Note:
    """Takes down what was measured over one wire."""

    def __init__(self, samples: Samples, rtt: int) -> None:
        self._samples = samples
        self._rtt = rtt

    def __call__(
        self, case: str, who: str, *, without: float, delay: float | None = None, first_word: float | None = None
    ) -> None:
        """Take one recovery down; times in seconds.

        Args:
            case: What had happened.
            who: The client.
            without: Time without a connection on which the conversation goes on.
            delay: Of it, the time that the client waited on purpose, if it does such things.
            first_word: From the loss to the first word of the answer that is given again.
        """
        self._samples[case, who].append(without * 1000)
        if delay is not None:
            self._samples[case, f"{who}: the first delay"].append(delay * 1000)
        rest = (without - (delay or 0.0)) * 1000 - SETUP_MS
        self._samples[case, f"{who}: the rest, in RTTs"].append(rest / self._rtt)
        if first_word is not None:
            self._samples[case, f"{who}: to the first word"].append(first_word * 1000)


# ------------------------------------------------------------------ resumekit


class _DialNow:
    """The moment of the dial ahead is drawn, to spread a herd; here, so that turns can be short, it is at once."""

    @hookimpl
    def choose_move(self) -> Move:
        return Move(deadline=20.0, warm_dial=0.0)


class _Log:
    """When which event came."""

    def __init__(self) -> None:
        self._times: list[tuple[float, events.Event]] = []
        self._came = asyncio.Event()

    def __call__(self, event: events.Event) -> None:
        self._times.append((time.perf_counter(), event))
        self._came.set()

    def clear(self) -> None:
        self._times.clear()

    def first(self, kind: type[events.Event]) -> float:
        return next(when for when, event in self._times if isinstance(event, kind))

    def last(self, kind: type[events.Event]) -> float:
        return next(when for when, event in reversed(self._times) if isinstance(event, kind))

    def sum_of_delays(self) -> float:
        return sum(event.delay for _, event in self._times if isinstance(event, events.ReconnectScheduled))

    async def until(self, kind: type[events.Event]) -> None:
        while not any(isinstance(event, kind) for _, event in self._times):
            self._came.clear()
            await self._came.wait()


async def _ask(session: Any, *, at_first_word: Callable[[], Awaitable[None]] | None = None) -> float:
    """Ask a question and take the answer; return when its last beginning was heard."""
    await session.send_client_content(turns={"role": "user", "parts": [{"text": "How is the weather?"}]})
    return await _take_answer(session, at_first_word=at_first_word)


async def _take_answer(session: Any, *, at_first_word: Callable[[], Awaitable[None]] | None = None) -> float:
    began = 0.0
    async for message in session.receive():
        content = message.server_content
        if content is None:
            continue
        if content.interrupted:
            began = 0.0
        elif content.model_turn is not None and not began:
            began = time.perf_counter()
            if at_first_word is not None:
                await at_first_word()
                at_first_word = None
    return began


@contextlib.asynccontextmanager
async def _resumable(client: genai.Client) -> AsyncGenerator[tuple[Any, _Log]]:
    log = _Log()
    async with resumable.connect(client, model=MODEL, config=CONFIG, plugins=[_DialNow()], on_event=log) as session:
        yield session, log


async def _ours_cut(server: EmulatorProcess, client: genai.Client, repeats: int, note: Note) -> None:
    async with _resumable(client) as (session, log):
        await _ask(session)
        await log.until(events.HandleReceived)
        for _ in range(repeats):
            log.clear()
            began = await _ask(session, at_first_word=lambda: server.inject(Fault.rst()))
            await log.until(events.HandleReceived)
            lost, resumed = log.first(events.ConnectionLost), log.last(events.Resumed)
            note("cut", OURS, without=resumed - lost, delay=log.sum_of_delays(), first_word=began - lost)


async def _ours_moved(server: EmulatorProcess, client: genai.Client, repeats: int, note: Note) -> None:
    async with _resumable(client) as (session, log):
        await _ask(session)
        await log.until(events.HandleReceived)
        for _ in range(repeats):
            log.clear()
            await _ask(session, at_first_word=lambda: server.inject(Fault.go_away(30.0, close=False)))
            await log.until(events.Resumed)
            moving, resumed = log.first(events.Moving), log.last(events.Resumed)
            note("planned move", OURS, without=resumed - moving)
            await _ask(session)  # so that the connection has proved itself


# ------------------------------------------------------------------ by hand


class _ByHand:
    """What one would write: the newest handle is kept, and a lost connection is dialled anew with it."""

    def __init__(self, client: genai.Client) -> None:
        self._client = client
        self._handle: str | None = None
        self._connection: Any = None
        self.going = False
        self._session: Any = None

    async def connect(self) -> None:
        config: Any = {**CONFIG, "session_resumption": {"handle": self._handle} if self._handle else {}}
        self._connection = self._client.aio.live.connect(model=MODEL, config=config)
        self._session = await self._connection.__aenter__()
        self.going = False

    async def close(self) -> None:
        with contextlib.suppress(Exception):
            await self._connection.__aexit__(None, None, None)

    async def send_client_content(self, **arguments: Any) -> None:
        await self._session.send_client_content(**arguments)

    async def receive(self) -> AsyncIterator[Any]:
        async for message in self._session.receive():
            self.going = self.going or message.go_away is not None
            self._keep_handle(message)
            yield message

    async def wait_for_handle(self) -> None:
        """Read on until the handle of the turn has come."""
        before = self._handle
        while self._handle == before:
            self._keep_handle(await self._session._receive())

    def _keep_handle(self, message: Any) -> None:
        update = message.session_resumption_update
        if update is not None and update.resumable and update.new_handle:
            self._handle = update.new_handle


async def _plain_cut(server: EmulatorProcess, client: genai.Client, repeats: int, note: Note) -> None:
    user = _ByHand(client)
    await user.connect()
    await _ask(user)
    await user.wait_for_handle()
    for _ in range(repeats):
        try:
            await _ask(user, at_first_word=lambda: server.inject(Fault.rst()))
        except Exception:  # noqa: BLE001 -- what google-genai raises differs by version
            lost = time.perf_counter()
        else:
            raise RuntimeError("the connection was not cut")
        await user.close()
        await user.connect()
        resumed = time.perf_counter()
        began = await _ask(user)
        note("cut", PLAIN, without=resumed - lost, first_word=began - lost)
        await user.wait_for_handle()
    await user.close()


async def _plain_moved(server: EmulatorProcess, client: genai.Client, repeats: int, note: Note) -> None:
    user = _ByHand(client)
    await user.connect()
    for _ in range(repeats):
        await _ask(user, at_first_word=lambda: server.inject(Fault.go_away(30.0, close=False)))
        await user.wait_for_handle()
        if not user.going:
            raise RuntimeError("no goAway came")
        moving = time.perf_counter()
        await user.close()
        await user.connect()
        note("planned move", PLAIN, without=time.perf_counter() - moving)
    await user.close()


if __name__ == "__main__":
    run(__doc__, measure)
