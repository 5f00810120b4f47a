"""Conversations that go on for minutes, or for the whole hour, each with an emulator and a proxy of its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from resumekit.core import events
from resumekit.core.tools import Tools
from resumekit.emulator import Fault as ServiceFault
from tests.faults.runner import (
    APPS,
    BOUND,
    PROFILES,
    App,
    Ask,
    Connector,
    Pause,
    RequestApp,
    Run,
    Say,
    Scenario,
    Step,
    resumekit_session,
)
from tests.faults.scenarios import INVALID, OLD_BINDING
from tests.faults.schedules import draw_schedule, draw_steps
from tests.faults.test_websockets import bare
from tests.faults.zygote import Emulator
from tests.network.places import POLICY
from tests.network.proxy import CALM, Fault, Proxy, Weather
from tests.network.through import anchored
from tests.soak.memory import held

__all__ = ["FAULTS", "HANGS", "KINDS", "LASTING", "PATIENT", "SCALE", "Life", "Service"]

SCALE = 0.1
HANGS = 300.0
"""Real seconds after which a question hangs: patience with a handle that is dead takes twenty, a machine may be slow."""
PATIENT = {**POLICY, **dict.fromkeys(("max_outage", "old_binding_grace", "first_connect_deadline"), 3000)}
MORTAL_TURNS = 30
"""A new session of the service is told no more than the newest hundred turns, the model's included."""

Kind = Literal[
    "google-genai",
    "google-genai, spoken",
    "google-genai, the whole time",
    "websockets",
    "google-adk",
    "google-adk, the whole time",
]
KINDS: dict[Kind, Connector] = {
    "google-genai": resumekit_session,
    "google-genai, spoken": resumekit_session,
    "google-genai, the whole time": resumekit_session,
    "websockets": bare,
}
LASTING: tuple[Kind, ...] = ("google-genai, the whole time", "google-adk, the whole time")
FAULTS: dict[str, Callable[[random.Random], Fault | ServiceFault | str]] = {
    "network: reset": lambda _: Fault("rst"),
    "network: reset at a byte": lambda draw: Fault("rst", *_place(draw)),
    "network: end of the stream": lambda _: Fault("fin"),
    "network: end, for one side": lambda draw: Fault("fin", only=draw.choice(["up", "down"])),
    "network: end at a byte": lambda draw: Fault("fin", *_place(draw)),
    "network: black hole": lambda _: Fault("hole"),
    "network: black hole, one way": lambda draw: Fault("hole", only=draw.choice(["up", "down"])),
    "network: stall": lambda draw: Fault("stall", seconds=draw.choice([0.2, 1.0])),
    "network: nobody listens": lambda _: "refuse",
    "service: goAway": lambda draw: ServiceFault.go_away(draw.choice([0, 1, 5, 20])),
    "service: closes 1011": lambda _: ServiceFault.close(1011, "Internal error encountered."),
    "service: closes 1008": lambda _: ServiceFault.close(1008, "The operation was aborted."),
    "service: half open": lambda _: ServiceFault.half_open(5, since="cut"),
    "service: refuses 503, twice": lambda _: ServiceFault.handshake(503, times=2),
    "service: is down": lambda _: ServiceFault.listener_down(5),
    "service: stopped (SIGSTOP)": lambda _: "stop",
    "service: refuses the handle": lambda _: ServiceFault.refuse_handle(),
    "service: handles expire": lambda _: ServiceFault.expire_handles(),
    "service: dead handle": lambda _: ServiceFault.poisoned_handle("handle"),
    "service: killed (SIGKILL), another one comes": lambda _: "kill",
}
UNNOTICED = {
    "service: refuses 503, twice",
    "service: refuses the handle",
    "service: handles expire",
    "service: dead handle",
}
"""These wait for the next dial, and so a cut comes with them."""
DEADLY = {name for name in FAULTS if "handle" in name or "kill" in name}
"""After these the conversation goes on in a new session of the service."""


def _place(draw: random.Random) -> tuple[Literal["up", "down"], int, int]:
    return draw.choice(["up", "down"]), draw.randrange(4), draw.choice([0, 1, 3, 10, 60])


class Service:
    """The emulator behind a proxy, and when it is killed the next one."""

    def __init__(self, stack: contextlib.AsyncExitStack, **config: Any) -> None:
        self._stack = stack
        self._config = config
        self._seed = config.pop("seed", 0) * 1000
        self.current: Any = None

    async def start(self) -> None:
        self._seed += 1
        self.current = await self._stack.enter_async_context(Emulator(**self._config, seed=self._seed))

    async def kill(self) -> None:
        before = self.current
        await self.start()
        os.kill(before.pid, signal.SIGKILL)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.current, name)


class PatientApp(RequestApp):
    """Talks for an hour: looks at each answer when it comes, and keeps none."""

    run: Run

    async def take_answer(self) -> None:
        await super().take_answer()
        number = len(self.turns) - 1
        self.wrong += self.run._wrong_answers(self)
        self.questions[number] = ("", range(0))
        self.turns[number] = []


class LifeRun(Run):
    """What was wrong with a life. Of speech, what is missing has to have been told."""

    def wrong_words(self, number: int, text: str, forgotten: int) -> list[str]:
        if self.scenario.speech:  # how many turns the service knows is what it was told of
            question, held = self.app.questions[number]
            self.app.questions[number] = (question, range(held.stop))
        return super().wrong_words(number, text, forgotten)

    def _wrong_ledger(self, report: Any) -> list[str]:
        if not self.scenario.speech:
            return super()._wrong_ledger(report)
        if report.fresh_starts:  # what was heard before is there in words
            said = {question for question, _ in self.app.questions}
            report = replace(report, unexpected=[item for item in report.unexpected if item not in said])
            self.scenario = replace(self.scenario, forgets=frozenset({"-"}))
            return super()._wrong_ledger(report)
        missing = (len(self.app.pcm) - len(self.audio)) / 32000
        told = self.told_lost
        found = [] if 0 <= missing <= told + 0.15 else [f"speech: {missing:.2f} s are missing, {told:.2f} s were told"]
        self.scenario = replace(self.scenario, forgets=frozenset({"-"}))
        return [*found, *super()._wrong_ledger(report)]

    @property
    def told_lost(self) -> float:
        """Seconds of speech that the session said are lost."""
        told = self.app.told
        lost = sum(event.lost_audio for event in told if isinstance(event, (events.Resumed, events.FreshStarted)))
        lost += sum(event.seconds for event in told if isinstance(event, events.AudioDropped))
        return lost + sum(event.audio for event in told if isinstance(event, events.TurnForgotten))


@dataclass(eq=False)
class Life:
    """One session of the application."""

    kind: Kind
    seed: int
    is_over: Callable[[], bool]
    """Asked before each step."""
    ready: bool = False
    """Faults may come."""
    struck: list[tuple[float, str]] = field(default_factory=list)
    """Each with its time on the wall."""
    held: list[int] = field(default_factory=list)
    """Bytes of the session, but for its tool calls: once it is warm, and at its end."""
    calls: int = 0
    """Bytes of the tool calls that it remembers, at its end: there are 1,024 of them at most."""
    run: LifeRun | None = None
    app: App | None = None
    proxy: Any = None
    service: Any = None
    _told_before: int = 2**30
    """Events; of a session that is lost before its first handle nothing is promised."""
    _faults: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.draw = random.Random(f"life {self.kind} {self.seed}")
        schedule = draw_schedule(self.seed)
        self.family, self.profile, self.loop = schedule.family, schedule.profile, schedule.loop
        speech, whole = self.kind == "google-genai, spoken", self.kind == "google-genai, the whole time"
        self.mortal = not speech and not whole
        knobs = {**schedule.scenario.knobs, "handle_interval": None, "keep_raw": False}
        knobs["handle_delay"] = None  # a late one, of the question before, is a known limit (docs/project/decisions.md)
        if speech or whole:
            knobs = {"seed": self.seed, "keep_raw": False}
            self.family, self.profile = "2.5", PROFILES[self.seed % 2]
        self.scenario = Scenario(
            name=f"{self.kind}, seed {self.seed}",
            knobs=knobs,
            parts=self.mortal,
            alone=False,
            policy=PATIENT,
            scale=SCALE,
            speech=speech,
            strikes="any",
            fresh=None,
            refused=OLD_BINDING | INVALID,
        )

    async def live(self) -> None:
        """Talk until the time is over, then look back."""
        async with contextlib.AsyncExitStack() as stack:
            config = {"profile": self.profile, "model": self.family, "time_scale": SCALE}
            self.service = Service(stack, **config, **self.scenario.knobs)
            await self.service.start()
            inside = (
                self.mortal or self.draw.random() < 0.5
            )  # whoever follows a killed one has a certificate of its own
            self.proxy = Proxy(self.service, weather=_weather(self.draw), seed=self.seed, inside=inside)
            await stack.enter_async_context(self.proxy)
            self.run = LifeRun(self.scenario, self.profile)
            app_type = PatientApp if self.kind == "google-genai, the whole time" else APPS[self.loop]
            self.run.app = self.app = app = app_type(self.scenario, self.family, self.service, None)
            app.run = self.run  # type: ignore[attr-defined]
            connect = KINDS[self.kind]
            try:
                async with connect(self.scenario, self.proxy, self.family, app) as app.session, app:
                    for number in itertools.count():
                        await self._step(Ask(f"begin {number}"))
                        if await anchored(app):
                            break
                    self.begin()
                    for step in self._steps():
                        if self.is_over():
                            break
                        await self._step(step)
                    self.ready = False
                    await self._calm()
                    await self._step(Ask("end"))
                    async with asyncio.timeout(HANGS):
                        await app.back()
                    self.weigh()
            except Exception as error:
                self.run.error = error
            self.ready = False
            await self._calm()
            self.run.report = await self.service.ledger_report(app.expected)
            self.run.connections = await self.service.connections()
            self.run.audio = await self.service.audio()

    def weigh(self) -> None:
        """Take note of what the session holds."""
        if self.kind in LASTING:
            roots = self._roots()
            self.held.append(held(*roots, without=(Tools,)))
            self.calls = held(*roots) - self.held[-1]

    def _roots(self) -> list[Any]:
        return [self.app.session]

    async def _step(self, step: Step) -> None:
        async with asyncio.timeout(HANGS):
            await step.run(self.app)

    def _steps(self) -> Iterator[Step]:
        for number in itertools.count(0, 3):
            yield Pause(
                self.draw.uniform(1.0, 10.0)
            )  # in which a handle may come: without, more and more is to be resent
            if self.scenario.speech:
                yield Say(f"spoken {number}") if self.draw.random() < 0.7 else Ask(f"written {number}")
            elif not self.mortal:
                call = f' [tool:look {{"n": {number}}}]' if self.draw.random() < 0.3 else ""
                yield Ask(f"question {number}{call}")
            else:
                yield from draw_steps(self.draw, self.family, str(self.scenario.knobs["overlap"]), number)

    # --- what happens to it -----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Let faults come, from now on: there is a handle."""
        self._told_before = len(self.app.told)
        self.ready = True

    def may_suffer(self) -> list[str]:
        """Return the faults that may come now."""
        if not self.ready or self._faults:
            return []
        deadly = self.mortal and len(self.app.turns) < MORTAL_TURNS
        return [name for name in FAULTS if deadly or name not in DEADLY]

    def suffer(self, name: str, now: float) -> None:
        """Let a fault come."""
        self.struck.append((now, name))
        task = asyncio.create_task(self._suffer(name))
        self._faults.add(task)
        task.add_done_callback(self._faults.discard)

    async def _suffer(self, name: str) -> None:
        match FAULTS[name](self.draw):
            case Fault() as fault if "byte" in name and self.proxy.connections[-1].ways:
                self.proxy.arm(fault)
            case Fault() as fault:
                self.proxy.strike(fault)
            case "refuse":
                self.proxy.refuse()
                self.proxy.strike(Fault("rst"))
                await asyncio.sleep(self.draw.uniform(0.2, 2.0))
                await self.proxy.accept()
            case "stop":
                pid = self.service.pid
                os.kill(pid, signal.SIGSTOP)
                try:
                    await asyncio.sleep(self.draw.uniform(0.5, 5.0))
                finally:
                    os.kill(pid, signal.SIGCONT)
            case "kill":
                await self.service.kill()
            case fault:
                await self.service.inject(fault)
                if name in UNNOTICED:
                    self.proxy.strike(Fault("rst"))

    async def _calm(self) -> None:
        if self._faults:
            await asyncio.wait(self._faults)
        self.proxy.planned.clear()

    # --- looking back -----------------------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """Return everything that was wrong."""
        fresh = self.unexplained_fresh_starts()
        return [*self.run.problems(), *([f"{fresh} fresh starts, and no handle was made dead"] if fresh else [])]

    def unexplained_fresh_starts(self) -> int:
        """Return how many there were without a handle that was given up, and told.

        A service that did not let go of the old connection for as long as the policy has patience has a reason, too: a
        machine that is busy with other things.
        """
        found = 0
        reason: events.Event | None = None
        for event in self.app.told[self._told_before :] if self.app else ():
            if isinstance(event, events.ResumePointDropped | events.HandleRefused):
                reason = event
            elif isinstance(event, events.FreshStarted):
                struck = any(name in DEADLY for _, name in self.struck)
                late = isinstance(reason, events.HandleRefused) and reason.reason in OLD_BINDING
                found += not (struck or late or isinstance(reason, events.ResumePointDropped))
            elif isinstance(event, events.Resumed):
                reason = None
        return found

    @property
    def speech_told_lost(self) -> float:
        return self.run.told_lost

    def recoveries(self) -> list[float]:
        """Return how long each time was without a connection, in seconds."""
        found = []
        lost: float | None = None
        for event in self.app.told:
            if isinstance(event, events.ConnectionLost) and lost is None:
                lost = event.at
            elif isinstance(event, BOUND) and lost is not None:
                found.append(event.at - lost)
                lost = None
        return found


def _weather(draw: random.Random) -> Weather:
    if draw.random() < 0.5:
        return CALM
    return Weather(
        latency=draw.choice([0.0, 0.005, 0.02]),
        jitter=draw.choice([0.0, 0.01]),
        slices=draw.choice([None, None, 20, 1400]),
    )
