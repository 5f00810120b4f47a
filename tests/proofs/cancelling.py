"""Cancels what an application does at every point where it waits, in virtual time, and looks at what is left.

A scenario is what an application does with a session. It is run once to count the points at which it waits; then once for
each of them, and is struck there: all of it, or the one call, which is then made again. The client is the real one, and so
is the emulator, whose ledger tells what came of it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, TypeVar

from resumekit.adapters import websockets as bare
from resumekit.core import events
from resumekit.core.policy import Policy
from resumekit.defaults.memory import MemoryStore
from resumekit.emulator import Fault, parse_answer, response_item
from resumekit.errors import SessionLost
from resumekit.hookspecs import hookimpl
from tests.proofs.fleet import peak
from tests.proofs.virtual import TLS, Server, VirtualLoop, run

__all__ = ["SCENARIOS", "WAYS", "Strike", "Way", "World", "outcome", "problems", "stand_still", "sweep"]

T = TypeVar("T")
Way = Literal["waiting", "ready", "later", "twice", "timeout", "wait_for", "group", "all", "others"]
WAYS: tuple[Way, ...] = ("waiting", "ready", "later", "twice", "timeout", "wait_for", "group")
"""`task.cancel()` while it waits; when what it waits for has just come; a moment later; again while it cleans up; and the
three ways in which asyncio itself cancels. With `all`, all tasks of the process are, as at its end; with `others`, all but
the application's own."""
Then = Literal["", "cut", "swallow"]
THEN: tuple[Then, ...] = ("", "cut", "swallow")
"""What becomes of the connections of a process that stands still: nothing, an end, a black hole."""
_COMES_OUT = {"timeout": TimeoutError, "wait_for": TimeoutError, "group": ExceptionGroup}
"""What comes out of them; it does not if what was struck was done in the same moment."""
PATIENCE = 12.0
"""Seconds within which whatever was struck is over: the last handle, a mute peer, the store, and one more."""
MOST_DIALS = 15
"""Within a minute: ten without proof, and the connections of a scenario's turns, which had it."""

PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
SETUP = {"model": "models/gemini-2.5-flash-live", "generationConfig": {"responseModalities": ["TEXT"]}}
CHUNK = bytes(range(256)) * 5
"""40 ms of audio."""


class Struck(Exception):
    """A call was struck, and what had to come out of it did."""


class _Boom(Exception):
    pass


@dataclass(frozen=True, kw_only=True)
class Strike:
    """Where and how."""

    at: int
    """The point, from 1."""
    way: Way = "waiting"
    call: bool = False
    """The call that waits is struck, and made again; else all that the application does."""
    turns: bool = False
    """The point is a turn of the loop, whoever waits; else one at which the application waits."""
    delay: float = 0.0
    """Seconds, for `later`, and for `wait_for` from the beginning of the call; turns of the loop, for `twice`."""
    number: int = 0
    """Of the call, for `wait_for`."""
    jump: float = 0.0
    """Nothing is cancelled; the process stands still for so many seconds instead."""
    asleep: bool = False
    """And the monotonic clock with it."""
    then: Then = ""
    """What has become of the connections meanwhile."""


class _Watched:
    """Awaits something, and tells at each point where that waits."""

    def __init__(self, work: Awaitable[Any], waits: Callable[[Any], None]) -> None:
        self._work = work
        self._waits = waits

    def __await__(self) -> Iterator[Any]:
        steps: Any = self._work.__await__()
        step = functools.partial(steps.send, None)
        while True:
            try:
                for_what = step()
            except StopIteration as end:
                return end.value
            self._waits(for_what)
            try:
                came = yield for_what
            except BaseException as error:
                step = functools.partial(steps.throw, error)
            else:
                step = functools.partial(steps.send, came)


class Stores:
    """A plugin whose stores take their time; they are the session's own, so that it has to close them."""

    def __init__(self) -> None:
        self.made: list[Store] = []

    @hookimpl
    def provide_handle_store(self, url: str) -> Store | None:
        if not url.startswith("slow://"):
            return None
        self.made.append(Store())
        return self.made[-1]


class Store(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.busy = 0
        self.closed = False

    async def _works(self) -> None:
        assert not self.closed, "a closed store was used"
        self.busy += 1
        try:
            await asyncio.sleep(0.02)
        finally:
            self.busy -= 1

    async def claim(self, *arguments, **options):
        await self._works()
        return await super().claim(*arguments, **options)

    async def renew(self, *arguments):
        await self._works()
        return await super().renew(*arguments)

    async def save(self, *arguments):
        await self._works()
        return await super().save(*arguments)

    async def release(self, *arguments):
        await self._works()
        await super().release(*arguments)

    async def close(self):
        await asyncio.sleep(0.01)
        self.closed = True


class World:
    """One run: the loop, the service, the application's calls, and the strike."""

    def __init__(self, loop: VirtualLoop, live: Server, strike: Strike | None) -> None:
        self.loop = loop
        self.live = live
        self.network = loop.network
        self.strike = strike
        self.calls = 0
        self.came = 0
        """What the application got."""
        self.moments: list[tuple[int, float]] = []
        """Each point at which the application waited: in which call, and how long after that had begun."""
        self.struck_at: float | None = None
        self.noticeable = False
        """There was a session when the process stood still."""
        self.wrong: list[str] = []
        self.sent: list[str] = []
        """Control messages that were accepted, as the ledger names them."""
        self.audio = b""
        self.told: list[events.Event] = []
        self.stores = Stores()
        self._victim: asyncio.Task[Any] | None = None
        """The task that is to be struck."""
        self._hit: Callable[[], object] = lambda: None
        self._began = 0.0
        self._timers: list[asyncio.TimerHandle] = []

    # --- striking

    def _waits(self, for_what: Any) -> None:
        self.moments.append((self.calls, self.loop.time() - self._began))
        strike = self.strike
        if strike is None or strike.turns or strike.way == "wait_for" or len(self.moments) != strike.at:
            return
        if strike.way == "ready" and for_what is not None:
            for_what.add_done_callback(lambda _: self.hit())  # before the task's own
        elif strike.way == "later":
            self.later(strike.delay, self.hit)
        else:
            self.loop.call_soon(self.hit)

    def hit(self) -> None:
        """Strike whatever there is to strike."""
        victim = self._victim
        if victim is None or victim.done() or self.struck_at is not None:
            return
        self.struck_at = self.loop.time()
        if self.strike is not None and self.strike.jump:
            self._stand_still(self.strike)
            return
        way = "" if self.strike is None else self.strike.way
        if way in ("all", "others"):
            for task in asyncio.all_tasks():
                if _is_ours(task):
                    task.cancel()
        if way != "others":
            self._hit()
        if self.strike is not None and way == "twice":
            self._hit_again(victim, round(self.strike.delay))

    def _stand_still(self, strike: Strike) -> None:
        self.noticeable = self.count(events.Connected) > self.count(events.SessionEnded)
        self.loop.jump(strike.jump, asleep=strike.asleep)
        if strike.then == "cut":
            self.network.cut()
        elif strike.then == "swallow":
            self.network.swallow()

    def _hit_again(self, victim: asyncio.Task[Any], turns: int) -> None:
        if turns > 0:
            self.loop.call_soon(self._hit_again, victim, turns - 1)
        else:
            victim.cancel()

    async def struck(self, make: Callable[[], Awaitable[T]]) -> T:
        """Await something in a task that may be struck.

        Raises:
            Struck: It was.
        """
        self.calls += 1
        self._began = self.loop.time()
        if self.strike is None or self.struck_at is not None:
            return await _Watched(make(), self._waits)
        way = self.strike.way
        guard = {"timeout": self._in_time, "wait_for": self._waited_for, "group": self._in_a_group}.get(
            way, self._plain
        )
        self._victim = task = self.loop.create_task(guard(make))
        if way not in _COMES_OUT:
            self._hit = task.cancel
        await asyncio.wait({task})
        self._victim = None
        if self.struck_at is None or self.strike.jump:
            return task.result()
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if way == "others" and not isinstance(error, SessionLost):
            return task.result()  # there was none
        if self.loop.time() - self.struck_at > PATIENCE:
            self.wrong.append(f"it was over {self.loop.time() - self.struck_at:.1f} s after it was struck")
        if way == "others":
            raise Struck
        if error is None:
            if way not in _COMES_OUT:
                self.wrong.append("a cancellation was swallowed")
            return task.result()
        if not isinstance(error, _COMES_OUT.get(way, asyncio.CancelledError)):
            self.wrong.append(f"a cancellation became {error!r}")
        raise Struck

    async def _plain(self, make: Callable[[], Awaitable[T]]) -> T:
        return await _Watched(make(), self._waits)

    async def _in_time(self, make: Callable[[], Awaitable[T]]) -> T:
        async with asyncio.timeout(None) as limit:
            self._hit = lambda: limit.reschedule(self.loop.time())
            return await _Watched(make(), self._waits)

    async def _waited_for(self, make: Callable[[], Awaitable[T]]) -> T:
        if self.strike is None or self.strike.number != self.calls:
            return await self._plain(make)
        try:
            return await asyncio.wait_for(self._plain(make), self.strike.delay)
        except TimeoutError:
            self.struck_at = self._began + self.strike.delay
            raise

    async def _in_a_group(self, make: Callable[[], Awaitable[T]]) -> T:
        bomb: asyncio.Future[None] = self.loop.create_future()
        self._hit = lambda: bomb.done() or bomb.set_exception(_Boom())
        task: asyncio.Task[T] | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_result(bomb))
                task = group.create_task(self._plain(make))
                task.add_done_callback(lambda _: bomb.done() or bomb.set_result(None))
        except* _Boom:
            if task is None or task.cancelled():
                raise
        return task.result()

    async def call(self, make: Callable[[], Awaitable[T]]) -> T:
        """Make one call of the application; where it was struck, once more."""
        if self.strike is None or not self.strike.call:
            return await make()  # a part of what is struck as a whole
        while True:
            with contextlib.suppress(Struck):
                return await self.struck(make)

    # --- what goes wrong on the way

    def later(self, seconds: float, what: Callable[..., object], *args: Any) -> None:
        """Have something happen; not after the run."""
        self._timers.append(self.loop.call_later(seconds, what, *args))

    def over(self) -> None:
        for timer in self._timers:
            timer.cancel()

    def away(self, seconds: float) -> None:
        """Cut all connections; for some seconds there are no new ones."""
        self.network.cut()
        self.network.down = True
        self.later(seconds, self._back)

    def _back(self) -> None:
        self.network.down = False

    def go_away(self, left: float) -> None:
        self.live.inject(Fault.go_away(left))

    def on_event(self, event: events.Event) -> None:
        self.told.append(event)

    def count(self, kind: type[events.Event]) -> int:
        return sum(isinstance(event, kind) for event in self.told)


async def _result(future: asyncio.Future[None]) -> None:
    await future


# ---------------------------------------------------------------------- applications


class BareApp:
    """What an application does with the bare adapter; each call may be struck."""

    def __init__(self, world: World, **policy: Any) -> None:
        self.world = world
        self.policy = Policy(**policy)
        self.session: Any = None
        self.turns: list[Any] = []
        """What was said, for a fresh start."""
        self._tools: list[Any] = []
        self._manager: Any = None

    # asked at each dial, at length

    async def _uri(self) -> str:
        await asyncio.sleep(0.005)
        return f"wss://127.0.0.1:{self.world.live.port}{PATH}"

    async def _headers(self) -> dict[str, str]:
        await asyncio.sleep(0.005)
        return {"x-goog-api-key": "k"}

    async def _history(self) -> list[Any]:
        await asyncio.sleep(0.005)
        return list(self.turns)

    def connect(self) -> Any:
        world = self.world
        return bare.connect(
            self._uri, setup=SETUP, additional_headers=self._headers, ssl=TLS, history=self._history, key="a-key",
            store="slow://", plugins=[world.stores], policy=self.policy, on_event=world.on_event,
        )  # fmt: skip

    async def _enter(self) -> Any:
        self._manager = self.connect()
        return await self._manager.__aenter__()

    async def __aenter__(self) -> Self:
        self.session = await self.world.call(self._enter)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.world.call(lambda: self._manager.__aexit__(*error))

    async def send(self, text: str, *, complete: bool = True) -> None:
        frame = {"clientContent": {"turns": [{"role": "user", "parts": [{"text": text}]}], "turnComplete": complete}}
        await self.world.call(lambda: self.session.send(frame))
        self.accepted(text, complete=complete)

    async def speak(self, chunks: int) -> None:
        audio = {"mimeType": "audio/pcm;rate=16000", "data": base64.b64encode(CHUNK).decode()}
        frame = {"realtimeInput": {"audio": audio}}
        for _ in range(chunks):
            await self.world.call(lambda: self.session.send(frame))
            self.world.audio += CHUNK

    async def respond(self, call_id: str, name: str) -> None:
        response = {"id": call_id, "name": name, "response": {"result": 1}}
        await self.world.call(lambda: self.session.send({"toolResponse": {"functionResponses": [response]}}))
        self.responded(name)

    async def answer(self, text: str) -> None:
        """Take the answer to a question, and run its tools."""
        said = ""
        while True:
            message = await self.world.call(self.session.recv)
            for call in (message.tool_call.function_calls or ()) if message.tool_call is not None else ():
                await self.respond(call.id, call.name)
            content = message.server_content
            if content is None:
                continue
            said = "" if content.interrupted else said
            said += "".join(part.text or "" for part in (content.model_turn.parts if content.model_turn else ()))
            answer = parse_answer(said)
            if content.turn_complete and answer is not None and answer.is_whole:
                break
        self.heard(text, said)

    def accepted(self, text: str, *, complete: bool) -> None:
        """Note what was sent, for the ledger; and for the history what is no question."""
        self.world.sent.append(text)
        if not complete:
            self.turns.append({"role": "user", "parts": [{"text": text}]})

    def heard(self, text: str, said: str) -> None:
        """Note an answer for the history."""
        answer = parse_answer(said)
        if answer is None or answer.asked != text:
            self.world.wrong.append(f"{text!r} was answered by {said!r}")
        turns = [("user", {"text": text}), *self._tools, ("model", {"text": said})]
        self.turns += [{"role": role, "parts": [part]} for role, part in turns]
        self._tools.clear()

    def responded(self, name: str) -> None:
        """Note a response, for the ledger and the history."""
        self.world.sent.append(response_item(name, {"result": 1}))
        self._tools += [
            ("model", {"function_call": {"name": name, "args": {}}}),
            ("user", {"function_response": {"name": name, "response": {"result": 1}}}),
        ]

    async def ask(self, text: str) -> None:
        await self.send(text)
        await self.answer(text)

    async def close(self) -> None:
        await self.world.call(self.session.close)

    async def end(self) -> None:
        await self.world.call(self.session.end)


App = Callable[..., Any]
Play = Callable[[World, App], Coroutine[Any, Any, None]]


async def talk(world: World, app: App) -> None:
    """A conversation on one connection."""
    async with app(world) as one:
        await one.ask("one")
        await one.ask("two [tool:weather]")
        await one.speak(10)
        await one.ask("three")


async def outage(world: World, app: App) -> None:
    """All that can be sent, while there is no connection, into a buffer that has room for less."""
    async with app(world, control_messages=3, send_wait=1e5) as one:
        await one.ask("one")
        await asyncio.sleep(2.0)
        world.away(4.0)
        await one.speak(3)
        for number in range(4):
            await one.send(f"note {number}", complete=False)
        await one.ask("two")
        await one.end()


async def moves(world: World, app: App) -> None:
    """goAway, with a quiet point and without, and one while nothing is asked; then a close, twice."""
    async with app(world) as one:
        await one.ask("one")
        world.go_away(10.0)
        await one.ask("two [chunks:40]")
        await asyncio.sleep(2.0)
        world.go_away(3.0)
        await one.ask("three [think:6]")
        await asyncio.sleep(2.0)
        world.go_away(10.0)
        await asyncio.sleep(1.0)
        await one.ask("four [tool:weather]")
        await one.close()
        await one.close()


async def half_open(world: World, app: App) -> None:
    """A black hole that takes a question, and another one that the close goes into."""
    async with app(world) as one:
        await one.ask("one")
        await asyncio.sleep(2.0)
        world.network.swallow()
        await one.ask("two")
        world.network.swallow()


async def late(world: World, app: App) -> None:
    """No service at first; one that is slow then; and one that goes while it is being asked."""
    world.away(3.0)
    async with app(world) as one:
        await one.send("one")
        world.later(0.3, world.away, 1.0)
        await one.answer("one")
        await one.end()


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What an application does, and the service that it does it with."""

    play: Play
    settings: dict[str, Any] = field(default_factory=dict)


SCENARIOS: dict[str, Scenario] = {
    "talk": Scenario(play=talk),
    "outage": Scenario(play=outage),
    "moves": Scenario(play=moves),
    "half-open": Scenario(play=half_open, settings={"keepalive": 5.0}),
    "late": Scenario(play=late, settings={"setup_delay": 1.0}),
}


# ---------------------------------------------------------------------- runs


@dataclass(kw_only=True)
class Outcome:
    """What a run came to."""

    moments: list[tuple[int, float]]
    """Those of `World`."""
    turns: int
    """Of the loop, while the application ran."""
    was_struck: bool
    wrong: list[str]
    error: Exception | None = None
    """What the application got; of cancellations it is told in `wrong`."""


_OURS = tuple(os.path.join("resumekit", part) for part in ("drivers", "adapters", "core"))  # noqa: PTH118
_OTHERS = (os.path.join("websockets", "asyncio", "client"), os.path.join("google", "adk"))  # noqa: PTH118


def _is_ours(task: asyncio.Task[Any]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and any(part in code.co_filename for part in (*_OURS, *_OTHERS))


def outcome(scenario: Scenario, strike: Strike | None = None, *, app: App = BareApp, seed: int = 1) -> Outcome:
    """Run a scenario."""

    async def main(loop: VirtualLoop) -> Outcome:
        async with Server(**scenario.settings) as live:
            world = World(loop, live, strike)
            first = loop.turns
            loop.at_turn = functools.partial(_at_turn, loop, world, first)
            whole = functools.partial(scenario.play, world, app)
            error: Exception | None = None
            try:
                await (whole() if strike is not None and strike.call else world.struck(whole))
            except Struck:
                pass
            except SessionLost as lost:
                error = lost
            loop.at_turn = None
            turns = loop.turns - first
            if strike is not None and strike.way == "twice":
                await asyncio.sleep(PATIENCE)
            _look_around(world)
            _audit(world, whole=error is None and (strike is None or strike.call or strike.jump > 0))
            world.over()
            if strike is not None and strike.jump:
                _was_noticed(world, strike)
            dials = [record.opened_at for record in live.connections]
            world.wrong += [f"{most} dials in a minute" for most in [peak(dials, 60.0)] if most > MOST_DIALS]
        world.wrong += [f"left: {task!r}" for task in asyncio.all_tasks() - {asyncio.current_task()}]
        world.wrong += [f"left: {timer!r}" for timer in loop.timers()]
        world.wrong += [f"logged: {context!r}" for context in loop.complaints]
        return Outcome(
            moments=world.moments,
            turns=turns,
            was_struck=world.struck_at is not None,
            wrong=world.wrong,
            error=error,
        )

    return run(main, seed=seed)


def _at_turn(loop: VirtualLoop, world: World, first: int, turn: int) -> None:
    if world.strike is not None and world.strike.turns and turn - first == world.strike.at:
        ready = len(loop._ready)
        loop.call_soon(world.hit)
        if world.strike.way == "ready":  # before all that is due; else after it
            loop._ready.rotate(len(loop._ready) - ready)


def _look_around(world: World) -> None:
    """What is left as soon as the application has left its session?"""
    if world.network.open:
        world.wrong.append(f"{len(world.network.open)} connections are open")
    world.wrong += [f"still runs: {task!r}" for task in asyncio.all_tasks() if _is_ours(task)]
    for store in world.stores.made:
        if store.busy or not store.closed:
            world.wrong.append("the store is in use" if store.busy else "the store is not closed")


def _audit(world: World, *, whole: bool) -> None:
    """Is all that was accepted in the ledger, once? Where the application is gone, there may be less."""
    report = world.live.ledger.report(world.sent)
    if report.doubled or report.reordered or report.history_with_handle or report.calls_answered_twice:
        world.wrong.append(f"doubled {report.doubled}, reordered {report.reordered}, {report.calls_answered_twice}")
    if not whole:
        return
    if report.lost or report.unexpected:
        world.wrong.append(f"lost {report.lost}, not sent {report.unexpected}")
    if (heard := world.live.ledger.audio()) != world.audio:
        world.wrong.append(f"{len(heard)} bytes of audio, of {len(world.audio)}")


def _was_noticed(world: World, strike: Strike) -> None:
    """Was it told, once? A monotonic clock that jumps by less than the time to the next timer cannot be seen."""
    times = world.count(events.ClockJumped)
    visible = strike.asleep or strike.jump > Policy().abort_idle
    if times > 1 or (world.noticeable and visible and not times):
        world.wrong.append(f"that it stood still was noticed {times} times")


def problems(scenario: Scenario, strike: Strike, *, app: App = BareApp) -> tuple[bool, list[str]]:
    """Return whether it was struck at all, and what was wrong then."""
    try:
        one = outcome(scenario, strike, app=app)
    except Exception as error:  # of the client, the emulator, or the loop: told with the strike
        return True, [f"raised {error!r}"]
    return one.was_struck, one.wrong + ([f"raised {one.error!r}"] if one.error is not None else [])


def strikes(
    scenario: Scenario,
    way: Way,
    *,
    call: bool,
    turns: bool = False,
    step: int = 1,
    last: int | None = None,
    app: App = BareApp,
) -> list[Strike]:
    """Return a strike for every point of a scenario up to the last, or every so many."""
    plain = outcome(scenario, Strike(at=0, call=call), app=app)
    if plain.wrong:
        raise AssertionError(f"without being struck: {plain.wrong}")
    found: list[Strike] = []
    delays = {"later": (0.001, 0.07, 0.4), "twice": (0, 1, 2, 5)}.get(way, (0.0,))
    for point in range(1, (plain.turns if turns else len(plain.moments)) + 1)[:last:step]:
        number, delay = 0, delays[point % len(delays)]
        if way == "wait_for":
            number, delay = plain.moments[point - 1]
        found.append(Strike(at=point, way=way, call=call, turns=turns, delay=delay, number=number))
    return found


def sweep(
    scenario: Scenario,
    way: Way,
    *,
    call: bool,
    turns: bool = False,
    step: int = 1,
    last: int | None = None,
    app: App = BareApp,
) -> tuple[int, dict[Strike, list[str]]]:
    """Strike at every point, or every so many; return how often that met something, and what was wrong, where."""
    met = 0
    found: dict[Strike, list[str]] = {}
    for strike in strikes(scenario, way, call=call, turns=turns, step=step, last=last, app=app):
        was_struck, wrong = problems(scenario, strike, app=app)
        met += was_struck
        if wrong:
            found[strike] = wrong
    return met, found


def stand_still(
    scenario: Scenario, seconds: float, *, asleep: bool, then: Then, step: int = 1
) -> tuple[int, dict[Strike, list[str]]]:
    """Let the process stand still at every point; else as `sweep`."""
    met = 0
    found: dict[Strike, list[str]] = {}
    for plain in strikes(scenario, "waiting", call=False, step=step):
        strike = replace(plain, jump=seconds, asleep=asleep, then=then)
        was_struck, wrong = problems(scenario, strike)
        met += was_struck
        if wrong:
            found[strike] = wrong
    return met, found
