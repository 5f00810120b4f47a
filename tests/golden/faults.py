"""Ten faults and one: what each of them does to a conversation, as events and log tell it.

google-genai's own client, the real `websockets` and the real emulator, in virtual time: the same bytes in each run.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from google import genai
from google.genai import types

from resumekit import Policy, SessionLost, events
from resumekit.adapters import genai as resumable
from resumekit.drivers import driver
from resumekit.emulator import Fault, Trigger, silence, spoken
from tests.proofs.virtual import TLS, Server, VirtualLoop, run

__all__ = ["CASES", "GOLDEN", "STORY", "Case", "Told", "happen", "page"]

GOLDEN = Path(__file__).with_name("faults.txt")
_PIECE = 1280
"""Bytes of 40 ms of speech."""
LOOK_UP = {"function_declarations": [{"name": "look_up", "parameters": {"type": "OBJECT", "properties": {}}}]}


class Call:
    """An application, and what it can do to its service and its network."""

    def __init__(self, loop: VirtualLoop, live: Server, session: Any) -> None:
        self.loop = loop
        self.network = loop.network
        self.live = live
        self.session = session

    async def ask(self, text: str) -> None:
        await self.write(text)
        await self.answer()

    async def write(self, text: str) -> None:
        content = types.Content(role="user", parts=[types.Part(text=text)])
        await self.session.send_client_content(turns=content, turn_complete=True)

    async def answer(self, *, works: float = 0.0) -> None:
        """Take an answer; a tool works for so many seconds."""
        async for message in self.session.receive():
            if message.tool_call is not None:
                await asyncio.sleep(works)
                answers = [
                    types.FunctionResponse(id=call.id, name=call.name, response={"found": True})
                    for call in message.tool_call.function_calls
                ]
                await self.session.send_tool_response(function_responses=answers)

    async def say(self, text: str, seconds: float = 1.0) -> None:
        """Speak, and fall silent."""
        pcm = spoken(text, seconds=seconds) + silence(1.0)
        for at in range(0, len(pcm), _PIECE):
            blob = types.Blob(data=pcm[at : at + _PIECE], mime_type="audio/pcm;rate=16000")
            await self.session.send_realtime_input(audio=blob)
            await asyncio.sleep(0.04)

    async def idle(self, seconds: float = 2.0) -> None:
        """Do nothing, for as long as a handle takes, or longer."""
        await asyncio.sleep(seconds)

    def strikes(self, *faults: Fault) -> None:
        for fault in faults:
            self.live.inject(fault)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fault."""

    name: str
    what: str
    """What happens, in words."""
    go: Callable[[Call], Awaitable[None]]
    cause: str
    """In the log's words, as is what comes of it, and what there is to do."""
    effect: str
    advice: str = ""
    events: tuple[type[events.Event], ...]
    """Of which the story is made, beside others."""
    policy: Policy | None = None
    config: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Told:
    """What became of it."""

    events: list[str]
    log: list[str]
    """At INFO."""


def happen(case: Case) -> Told:
    """Let it happen."""
    told: list[events.Event] = []
    lines: list[str] = []
    began = 0.0

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            at = asyncio.get_running_loop().time() - began
            lines.append(f"{at:8.3f} {record.levelname:7} {record.getMessage()}")

    async def main(loop: VirtualLoop) -> float:
        nonlocal began
        began = loop.time()
        async with Server() as live:
            http = types.HttpOptions(base_url=f"https://127.0.0.1:{live.port}", async_client_args={"ssl": TLS})
            client = genai.Client(api_key="a-key", http_options=http)
            try:
                async with resumable.connect(
                    client,
                    model="gemini-2.5-flash-live",
                    config={"response_modalities": ["TEXT"], **(case.config or {})},
                    policy=case.policy or Policy(),
                    on_event=told.append,
                ) as session:
                    await case.go(Call(loop, live, session))
            finally:
                await client.aio.aclose()
                client.close()
        return loop.wall

    log = logging.getLogger("resumekit")
    handler = Handler(logging.INFO)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with mock.patch.object(driver, "_numbers", itertools.count(1)):
            wall = run(main)
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    return Told(events=[_line(event, began + wall) for event in told], log=lines)


def _line(event: events.Event, began: float) -> str:
    fields = ", ".join(
        f"{name}={_rounded(getattr(event, name))}" for name in event.__struct_fields__ if name not in ("at", "session")
    )
    return f"{event.at - began:8.3f} {type(event).__name__}({fields})"


def _rounded(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else repr(value)


# --- the cases ------------------------------------------------------------------------------------------------------


async def _go_away(call: Call) -> None:
    await call.ask("one")
    await call.idle()
    call.strikes(Fault.go_away(60, at=Trigger.mid_answer(2)))
    await call.ask("two")
    await call.idle(60)
    await call.ask("three")


async def _reset(call: Call) -> None:
    await call.ask("one")
    await call.idle()
    call.strikes(Fault.rst(at=Trigger.mid_answer(2)))
    await call.ask("two [chunks:8]")
    await call.idle()


def _close(code: int, reason: str) -> Callable[[Call], Awaitable[None]]:
    async def go(call: Call) -> None:
        await call.ask("one")
        await call.idle()
        call.strikes(Fault.close(code, reason))
        await call.idle()
        await call.ask("two")

    return go


async def _dead_handle(call: Call) -> None:
    await call.ask("one")
    await call.idle()
    call.strikes(Fault.expire_handles(), Fault.rst())
    await call.idle()
    await call.ask("two")


async def _not_let_in(call: Call) -> None:
    await call.ask("one")
    await call.idle()
    call.strikes(Fault.handshake(503, times=2), Fault.rst())
    await call.idle()
    await call.ask("two")


async def _black_hole(call: Call) -> None:
    await call.ask("one")
    await call.idle()
    call.strikes(Fault.half_open(8.0))
    await call.ask("two")


async def _mute(call: Call) -> None:
    await call.ask("one")
    await call.idle()
    call.strikes(Fault.poisoned_handle("session"), Fault.rst())
    await call.idle()
    await call.ask("two")


async def _no_room(call: Call) -> None:
    await call.ask("one")
    await call.idle()
    call.network.down = True
    call.network.cut()
    await call.say("a question that is asked into a dead line", 6.0)
    call.network.down = False
    await call.answer()


async def _lost(call: Call) -> None:
    await call.ask("one")
    await call.idle()
    call.network.down = True
    call.network.cut()
    await call.write("two")
    try:
        await call.answer()
    except SessionLost:
        return
    raise AssertionError("it goes on")


async def _tool(call: Call) -> None:
    await call.ask("one")
    await call.idle()
    call.strikes(Fault.rst(at=Trigger.tool_call()))
    await call.write("two [tool:look_up {}]")
    await call.answer(works=1.0)
    await call.idle()


async def _three_reconnects(call: Call) -> None:
    await _go_away(call)
    await call.idle()
    call.strikes(Fault.rst(at=Trigger.mid_answer(2)))
    await call.ask("four [chunks:8]")
    await call.idle()
    call.strikes(Fault.handshake(503), Fault.close(1011, "Internal error encountered."))
    await call.idle(5)
    await call.ask("five")


STORY = Case(
    name="three reconnects",
    what="A goAway, a cut, and an internal error with an overloaded service behind it.",
    go=_three_reconnects,
    cause="goAway",
    effect="moved",
    events=(),
)
"""What the page on observing shows."""

CASES = (
    Case(
        name="goAway",
        what="The service announces the end of the connection in the middle of an answer.",
        go=_go_away,
        cause="the service will end connection 1 in 60.0 s (goAway)",
        effect="moved to connection 2 in 0.40 s",
        events=(events.GoAwayReceived, events.Moving, events.Resumed),
    ),
    Case(
        name="reset",
        what="The network cuts the connection in the middle of an answer.",
        go=_reset,
        cause="connection 1 was lost (the network failed: ConnectionResetError: reset)",
        effect="resumed on connection 2 after 0.53 s: 1 message sent again",
        advice="the application is told to drop what it has got",
        events=(events.TurnCut, events.ConnectionLost, events.ReconnectScheduled, events.Resumed),
    ),
    Case(
        name="close 1011",
        what="The service closes with an internal error, while nothing is going on.",
        go=_close(1011, "Internal error encountered."),
        cause="closed by the service with 1011 Internal error encountered",
        effect="resumed on connection 2",
        events=(events.ConnectionLost, events.Resumed),
    ),
    Case(
        name="close 1008",
        what="The service aborts the session, as it does at the end of a connection's time.",
        go=_close(1008, "The operation was aborted."),
        cause="closed by the service with 1008 The operation was aborted",
        effect="resumed on connection 2",
        events=(events.ConnectionLost, events.Resumed),
    ),
    Case(
        name="dead handle",
        what="The network cuts, and the service does not know the handle any more.",
        go=_dead_handle,
        cause="(Invalid session handle)",
        effect="all that the service knows is 2 turns of replayed history",
        events=(events.HandleRefused, events.FreshStarted),
    ),
    Case(
        name="503 at the dial",
        what="The network cuts, and the service is overloaded for two dials.",
        go=_not_let_in,
        cause="refused by the service with HTTP 503 Service Unavailable",
        effect="dials again in 3.1 s (attempt 3)",
        events=(events.ConnectionLost, events.ReconnectScheduled, events.Resumed),
    ),
    Case(
        name="black hole",
        what="Nothing arrives any more, nothing ends the connection, and the service still holds it for a while.",
        go=_black_hole,
        cause="given up from this side: no answer to a ping",
        effect="the service still holds the connection before; dials again in 0.80 s (attempt 2), with the same handle",
        events=(events.ConnectionLost, events.Resumed),
    ),
    Case(
        name="mute",
        what="The network cuts, and the service takes the handle and then says nothing more.",
        go=_mute,
        cause="the service took it twice, and then said nothing",
        effect="the next connection starts anew, from history",
        events=(events.HandleRefused, events.FreshStarted),
    ),
    Case(
        name="no room",
        what="The user speaks for longer than the buffer holds while there is no network.",
        go=_no_room,
        policy=Policy(audio_seconds=3.0, audio_resend=3.0),
        cause="4.0 s of audio do not fit into the buffer (101 frames)",
        effect="the oldest are dropped",
        advice="raise Policy.audio_seconds and audio_bytes, or pause the microphone while there is no connection",
        events=(events.AudioDropped, events.Resumed),
    ),
    Case(
        name="session lost",
        what="The network is gone for longer than `Policy.max_outage`.",
        go=_lost,
        policy=Policy(max_outage=60.0),
        cause="the session was lost after 7 attempts in 60.0 s (ConnectionRefusedError: refused)",
        effect="not kept by the service: 1 message and 0.0 s of audio",
        advice="raise Policy.max_outage, or start a new session with history=...",
        events=(events.ConnectionLost, events.SessionEnded),
    ),
    Case(
        name="tool cut",
        what="The connection ends while the application's tool works.",
        go=_tool,
        config={"tools": [LOOK_UP]},
        cause="the model repeats its call of look_up",
        effect="answers it",
        events=(events.TurnCut, events.ConnectionLost, events.Resumed, events.ToolCallRebound),
    ),
)


def page() -> str:
    """Return the whole golden file."""
    parts = ["What eleven faults do to a conversation, as events and log tell it. Made by: python -m tests.golden"]
    for case in CASES:
        told = happen(case)
        happened, log = ("\n".join(f"  {line}" for line in lines) for lines in (told.events, told.log))
        parts.append(f"=== {case.name} ===\n{case.what}\n\nevents\n{happened}\n\nlog\n{log}")
    return "\n\n".join(parts) + "\n"
