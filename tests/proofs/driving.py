"""The real driver with the real emulator, in virtual time: how long it takes to come back, and to see that nothing comes.

As `tests.proofs.recovery` asks it of the engine alone. Here TCP, TLS, the upgrade and the close are those of asyncio and
`websockets`, each of which takes the round trips that it takes; all sessions of a run are in one loop.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from resumekit.adapters import websockets as bare
from resumekit.core import events
from resumekit.core.policy import Policy
from resumekit.emulator import Fault, Trigger
from tests.proofs.cancelling import PATH, SETUP
from tests.proofs.fleet import percentile
from tests.proofs.virtual import TLS, Server, VirtualLoop, Wire, run

__all__ = ["Gaps", "black_hole", "cut", "move"]

QUICK = {"setup_delay": 0.0, "first_frame_delay": 0.0, "chunk_interval": 0.0}
"""The service takes no time of its own."""


@dataclass
class Session:
    """One of many."""

    session: Any
    wire: Wire
    told: list[events.Event] = field(default_factory=list)

    async def ask(self, text: str) -> None:
        turn = {"role": "user", "parts": [{"text": text}]}
        await self.session.send({"clientContent": {"turns": [turn], "turnComplete": True}})

    async def answer(self) -> None:
        while (content := (await self.session.recv()).server_content) is None or not content.turn_complete:
            pass

    def first(self, *kinds: type[events.Event]) -> float:
        """Return when the first event of some kinds was told."""
        return next(event.at for event in self.told if isinstance(event, kinds))


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """Seconds, but where round trips are named."""

    median: float
    p99: float
    median_rounds: float
    """Round trips, without the first delay."""
    p99_rounds: float


def _run(
    size: int,
    rtt: float,
    what: Callable[[VirtualLoop, list[Session]], Any],
    *,
    policy: Policy | None = None,
    **service: Any,
) -> list[Session]:
    """Let sessions ask one question each and get their handle; then let something happen to them."""

    async def main(loop: VirtualLoop) -> list[Session]:
        loop.network.rtt = rtt
        async with Server(**{**QUICK, **service}) as live:
            uri = f"wss://127.0.0.1:{live.port}{PATH}"

            async def begin() -> Session:
                told: list[events.Event] = []
                manager = bare.connect(
                    uri, setup=SETUP, additional_headers={"x-goog-api-key": "k"}, ssl=TLS,
                    compression=None, policy=policy, on_event=told.append,
                )  # fmt: skip
                session = await manager.__aenter__()
                end = session._driver._links[0].transport._connection.transport
                return Session(session, next(wire for wire in loop.network.wires if wire.client is end), told)

            sessions = await asyncio.gather(*(begin() for _ in range(size)))
            await asyncio.gather(*(one.ask("one") for one in sessions))
            await asyncio.gather(*(one.answer() for one in sessions))
            await asyncio.sleep(3.0)
            await what(loop, sessions)
            await asyncio.gather(*(one.session.close() for one in sessions))
        return sessions

    return run(main, turns=10_000_000)


def cut(rtt: float, *, size: int = 1000) -> Gaps:
    """Cut sessions that nothing is wrong with otherwise, each at some moment."""

    async def what(loop: VirtualLoop, sessions: list[Session]) -> None:
        for one in sessions:
            loop.call_later(random.uniform(0.0, 5.0), one.wire.cut, ConnectionResetError("reset"))
        await asyncio.sleep(20.0)

    return _gaps(rtt, _run(size, rtt, what), events.ConnectionLost)


def move(rtt: float, *, warm: bool, size: int = 1000) -> Gaps:
    """Tell sessions to go away in the middle of an answer; they move at its end.

    Args:
        rtt: A round trip, in seconds.
        warm: To a connection that they dialled ahead.
        size: How many sessions.
    """

    async def what(_: VirtualLoop, sessions: list[Session]) -> None:
        await asyncio.gather(*(one.ask("two [think:42]") for one in sessions))  # the last of them dials at 36 s
        await asyncio.sleep(60.0)

    go_away = Fault.go_away(60.0, at=Trigger.elapsed(6.0), times=None)
    return _gaps(rtt, _run(size, rtt, what, policy=Policy(warm_dial=warm), faults=[go_away]), events.Moving)


def _gaps(rtt: float, sessions: list[Session], *begins: type[events.Event]) -> Gaps:
    gaps = [one.first(events.Resumed) - one.first(*begins) for one in sessions]
    delays = [
        sum(event.delay for event in one.told if isinstance(event, events.ReconnectScheduled)) for one in sessions
    ]
    rounds = [(gap - delay) / rtt for gap, delay in zip(gaps, delays, strict=True)]
    return Gaps(
        median=percentile(gaps, 0.5),
        p99=percentile(gaps, 0.99),
        median_rounds=percentile(rounds, 0.5),
        p99_rounds=percentile(rounds, 0.99),
    )


def black_hole(*, expecting: bool, size: int = 1000) -> float:
    """Let all bytes of sessions vanish, at some moment; return after how many seconds the last of them was told.

    Args:
        expecting: While a question waits for its answer.
        size: How many sessions.
    """
    holes: dict[int, float] = {}

    async def what(loop: VirtualLoop, sessions: list[Session]) -> None:
        def swallow(number: int) -> None:
            holes[number] = loop.wall_clock()
            sessions[number].wire.swallow("up", "down")

        for number, one in enumerate(sessions):
            loop.call_later(random.uniform(0.0, 60.0), swallow, number)
            if expecting:
                await one.ask("two [think:1000]")
        await asyncio.sleep(200.0)

    sessions = _run(size, 0.05, what)
    return max(one.first(events.ConnectionLost) - holes[number] for number, one in enumerate(sessions))
