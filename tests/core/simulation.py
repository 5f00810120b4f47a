"""Engine, service and application on one virtual clock: a schedule of faults, replayable from its seed.

`World` owns the clock; `World.do` takes one step of a schedule, by name, and
`World.finish` heals everything and judges the outcome. Every check that fails is a `Violation`;
`report` tells the schedule. The user is an `Application`, the wires are a `Network`, the last word is `judge`'s.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from resumekit.core import actions, events, inputs
from resumekit.core.engine import Engine
from resumekit.core.failures import Side
from resumekit.core.handles import HandleRecord
from resumekit.core.policy import Policy
from resumekit.core.state import FINAL, State
from resumekit.defaults.decisions import DefaultDecisions
from resumekit.errors import SessionLost
from resumekit.wire import ClientMessage
from tests.core.application import Application
from tests.core.judge import judge
from tests.core.model_server import ModelServer
from tests.core.model_state import CALL_UNKNOWN, INVALID_HANDLES, Settings, Violation
from tests.core.model_state import State as Conversation
from tests.core.network import Network, Wire

__all__ = ["MODELS", "Config", "Violation", "World"]

_encode = msgspec.json.encode

MODELS = {"2.x": "models/gemini-2.5-flash-native-audio", "3.x": "models/gemini-3.1-flash-live"}
LIVE_CLOSES = (
    (1011, "Internal error encountered."),
    (1011, "Deadline expired before operation could complete."),
    (1008, "The operation was aborted."),
    (1001, ""),
    (1012, ""),
    (1000, ""),
)
_OPEN_STATES = (State.DIALING, State.BINDING, State.MOVING, State.WAITING)


@dataclass(kw_only=True)
class Config:
    """All that a schedule starts from."""

    seed: int = 0
    server: Settings = field(default_factory=lambda: Settings(transparent=True))
    policy: Policy = field(default_factory=Policy)
    pipelined: bool = False
    """Ask without waiting for the answers, up to three questions ahead."""
    eager: bool = True
    """Read frames as they come; else only in `read` steps and at the end."""
    snake: bool = False
    """Write frames as google-genai does."""
    late_written: bool = False
    """The transport takes its time to report `Written`."""
    talk_after_abort: bool = False
    """Things still come of connections that were aborted."""
    latency: tuple[float, float] = (0.005, 0.05)
    loads_history: bool = False
    microphone: bool = False
    """Silence is streamed between utterances (automatic detection)."""
    express: bool = True
    """Offer each frame to the express lane first."""
    tool_time: tuple[float, float] | None = None
    """How long a tool runs; None: until a `tool` step."""

    def describe(self) -> str:
        """Return what differs from the defaults, on one line."""
        pairs = ((self.server, Settings(transparent=True)), (self, Config()), (self.policy, Policy()))
        return " ".join(
            f"{name}={getattr(mine, name)!r}"
            for mine, plain in pairs
            for name in type(mine).__annotations__
            if name not in ("server", "policy") and getattr(mine, name) != getattr(plain, name)
        )


class World:
    """Everything that a schedule touches."""

    def __init__(self, config: Config, engine: Callable[..., Engine] = Engine, *, log: bool = False) -> None:
        self.config = config
        self.rng = random.Random(config.seed)
        self.now = 1000.0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._events = 0
        self._wake: float | None = None
        """When the engine wants a tick, as it said after the last input: a driver asks no more often."""
        self.steps: list[tuple[object, ...]] = []
        self.trace: list[tuple[float, str, object]] = []
        self.network = Network(self)
        self.server = ModelServer(
            config.server,
            random=self.rng.random,
            clock=lambda: self.now,
            at=self.at,
            emit=self.network.emit,
            close=self.network.server_closes,
            over=self._session_ends,
        )
        self.setup = _encode({"setup": {"model": MODELS[config.server.family], "generationConfig": {}}}).decode()
        self.engine = engine(
            self.setup,
            policy=config.policy,
            decisions=DefaultDecisions(),
            transparent=config.server.transparent,
            random=self.rng.random,
            loads_history=config.loads_history,
            express=config.express,
        )
        self.fatal = False
        """A dial was refused for good."""
        self.healing = False
        self.healed_at = 0.0

        self.app = Application(self)
        self.kept: HandleRecord | None = None
        """What a driver would have stored."""
        self.finished: actions.Finish | None = None
        self.events: list[events.Event] = []

        self.expiring_since: float | None = None
        """When the app was told that the service's session comes to its end."""
        self.session_since = 0.0
        """When the engine learnt that it has a new session of the service."""
        self.busy_at = 0.0
        """When the app last waited for something."""
        self.woke_at = 0.0
        """When the process last slept."""
        self.moving_quietly = 0.0
        self.log_actions: list[str] | None = [] if log else None
        self.expressed = 0
        """Frames that the express lane took."""
        self.streamed = 0
        """Messages that went out by theirs."""
        self.final: Conversation | None = None
        """What the service will remember, once that was judged."""
        self.feed(inputs.Start())

    # ------------------------------------------------------------------ clock

    def at(self, delay: float, what: Callable[..., None], *args: Any) -> None:
        self._events += 1
        heapq.heappush(self._heap, (self.now + delay, self._events, what, args))

    def next_event(self) -> float | None:
        """Return when something happens next."""
        wake, due = self._wake, self._heap[0][0] if self._heap else None
        if wake is None or (due is not None and due <= wake):
            return due
        return max(wake, self.now)

    def step(self, until: float = math.inf) -> bool:
        """Let the next thing happen; False: nothing will, up to then."""
        when = self.next_event()
        if when is None or when > until:
            return False
        self.now = max(self.now, when)
        if self._heap and self._heap[0][0] <= when:
            _, _, what, args = heapq.heappop(self._heap)
            what(*args)
        else:
            wake, before = self._wake, len(self.trace)
            self.feed(inputs.Tick())
            acted = len(self.trace) > before + 1
            if wake is not None and self._wake == wake <= self.now and not acted:
                raise Violation("timer", f"a tick at {self.now:g} changed nothing: busy loop")
        if self.app.loops:
            self.busy_at = self.now
        if self.config.eager or self.healing:
            self.app.read(1000)
        return True

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self.step(until):
            pass
        self.now = max(self.now, until)

    # ------------------------------------------------------------------ engine

    def feed(self, happened: inputs.Input) -> None:
        """Give the engine an input, and carry out what it wants."""
        if self.finished is not None and isinstance(happened, inputs.Send | inputs.ForceReconnect):
            return
        was_final = self.engine.state in FINAL
        todo = self.engine.feed(happened, self.now)
        self.trace.append((self.now, "in", happened))
        if was_final and todo:
            raise Violation("I9", "a session that is over acts")
        for action in todo:
            self.trace.append((self.now, "do", action))
            if self.log_actions is not None:
                self.log_actions.append(f"{self.now:.6f} {action!r}")
            if self.finished is not None:
                raise Violation("I9", f"an action after Finish: {action}")
            todo += self._carry_out(action)
        self._wake = self.engine.wake_at
        if self._wake is None and self.engine.state in _OPEN_STATES:
            raise Violation("I9", f"{self.engine.state} without a timer")

    def send(self, message: ClientMessage) -> None:
        """Have the engine take a message: by its express lane, if that takes it, and the transport does at once."""
        wire = self.network.live_wire()
        if wire is None or not (self.network.takes(wire.number) and self.engine.streams(wire.number, message)):
            self.feed(inputs.Send(message))
            return
        self.engine.streamed(message)
        self.streamed += 1
        self.trace.append((self.now, "in", inputs.Send(message)))
        action = actions.SendFrame(wire.number, message.frame)
        self.trace.append((self.now, "do", action))
        if self.log_actions is not None:
            self.log_actions.append(f"{self.now:.6f} {action!r}")
        self.network.write(wire.number, message.frame)
        self.trace.append((self.now, "in", inputs.Written(wire.number)))
        if self.engine.wake_at != self._wake:
            raise Violation("express", "a driver does not look at its timers after such a message")

    def takes_media(self, connection: int, frame: bytes) -> bool:
        """Offer the engine a frame for its express lane."""
        if not self.engine.feed_media(connection, frame, self.now):
            return False
        self.expressed += 1
        self.trace.append((self.now, "in", frame))
        if self.engine.wake_at != self._wake:
            raise Violation("express", "a driver does not look at its timers after such a frame")
        return True

    def _carry_out(self, action: actions.Action) -> list[actions.Action]:
        """Do as the engine wants; return what else it wants then."""
        match action:
            case actions.SendFrame(number, frame):
                if self.network.write(number, frame):
                    self.trace.append((self.now, "in", inputs.Written(number)))
                    return self.engine.feed(inputs.Written(number), self.now)
            case actions.Notify(event):
                self._told(event)
            case actions.OpenConnection(number):
                self.network.dial(number)
            case actions.CloseConnection(number):
                self.network.client_closes(number)
            case actions.AbortConnection(number):
                self.network.abort(number)
            case actions.SendPing(number):
                self.network.ping(number)
            case actions.LoadHistory():
                self.at(0.05, self.feed, inputs.HistoryLoaded(None))
            case actions.SaveHandle(record):
                if not record.handle:
                    raise Violation("I2", "an empty handle is saved")
                self.kept = record
            case actions.ForgetHandle():
                self.kept = None
            case actions.PoisonHandle(record):
                if record.handle.reveal() not in self.server.poisoned:
                    raise Violation("poison", f"{record.handle.reveal()} was good")
                self.kept = None
            case actions.Finish(error):
                self.finished = action
                self._judge_end(error)
            case _:
                pass
        return []

    def _told(self, event: events.Event) -> None:
        self.events.append(event)
        self.app.told.note(event)
        match event:
            case events.Moving(quiet=True):
                self.moving_quietly = self.now
                if self.network.wires[event.connection].hears_speech:
                    raise Violation("quiet", f"connection {event.connection} was left while the user spoke")
            case events.TurnCut() if self.moving_quietly == self.now:
                raise Violation("quiet", f"message {event.message} was cut by a move at a quiet point")
            case events.ResumePointDropped():
                self.kept = None
            case events.SessionExpiring():
                self.expiring_since = self.now
                if self.config.policy.at_session_limit == "fresh_start":
                    self.kept = None
            case events.HandleRefused(poisoned=False) if event.reason != CALL_UNKNOWN[1]:  # that is the next rung
                handle = self.kept.handle.reveal() if self.kept is not None else None
                good = handle is not None and handle not in self.server.refused
                if good and self.now - self.network.last_up < self.config.policy.old_binding_grace:
                    raise Violation("grace", f"{handle} is given up, and was never refused: {event.reason}")
            case _:
                pass

    def _judge_end(self, error: BaseException | None) -> None:
        if error is None or self.fatal:
            return
        down = self.now - self.network.proved_at
        healthy = self.healing and self.now - self.healed_at > 120.0
        if isinstance(error, SessionLost) and not healthy and down >= self.config.policy.max_outage - 1e-6:
            return
        if self.network.bound_at is None and self.now - 1000.0 >= self.config.policy.first_connect_deadline - 1e-6:
            return
        raise Violation("lost", f"the session ended without need: {error!r}")

    # ------------------------------------------------------------------ steps of a schedule

    def do(self, name: str, *args: Any) -> None:
        """Take one step of a schedule."""
        self.steps.append((round(self.now - 1000.0, 4), name, *args))
        self.trace.append((self.now, "step", (name, *args)))
        getattr(self, f"do_{name}")(*args)
        if self.config.eager:
            self.app.read(1000)

    def do_wait(self, seconds: float) -> None:
        self.advance(seconds)

    def do_step(self, count: int) -> None:
        for _ in range(count):
            when = self.next_event()
            if when is None or (when > self.now + 3.0 and self.engine.state is State.LIVE):
                return
            self.step()

    def do_ask(self) -> None:
        app = self.app
        if len(app.loops) >= (3 if self.config.pipelined else 1):
            return
        if self.config.server.speech == "none":
            app.ask()
        elif not app.speaking:
            app.speak(0.5 + self.rng.random() * 3.0)

    def do_long_speech(self, seconds: float) -> None:
        if self.config.server.speech != "none" and not self.app.loops and not self.app.speaking:
            self.app.speak(seconds)

    def do_context(self) -> None:
        server = self.config.server
        if server.transparent or server.speech != "vad":  # RULES 1: what nobody can keep apart
            self.app.context()

    def do_read(self, count: int) -> None:
        self.app.read(count)

    def do_tool(self, position: int) -> None:
        running = self.app.running
        if position > 1:
            self.app.answer(running)
        elif running:
            self.app.answer([running[position % len(running)]])

    def do_cut(self, eaten: int, shown: int, linger: float) -> None:
        """The network goes: so many frames under way still arrive at either end."""
        wire = self.network.live_wire()
        if wire is None or wire.frozen:
            return
        for _ in range(eaten):
            if wire.up:
                self.server.receive(wire.number, wire.up.popleft())
        wire.up.clear()
        self.server.cut(wire.number)
        self.at(linger, self.server.noticed, wire.number)
        for _ in range(min(shown, len(wire.down))):
            what = wire.down.popleft()
            if isinstance(what, tuple) or wire.aborted or wire.closing:
                break
            self.network.sees(wire, what)
        if not wire.aborted:
            self.network.end(wire, 1006, "", Side.NOBODY)

    def do_freeze(self, linger: float) -> None:
        """Half-open: nothing arrives any more, and nobody says so."""
        wire = self.network.live_wire()
        if wire is None or wire.frozen:
            return
        wire.frozen = True
        wire.up.clear()
        wire.down.clear()
        self.server.cut(wire.number)
        self.at(linger, self.server.noticed, wire.number)

    def do_cut_warm(self) -> None:
        """The connection that was dialled ahead goes."""
        for wire in self.network.wires.values():
            if wire.dialed and not (wire.setups or wire.ended or wire.aborted or wire.closing):
                self.network.end(wire, 1006, "", Side.NOBODY)
                self.server.noticed(wire.number)
                return

    def do_leave(self) -> None:
        """The app closes the session, wherever it stands."""
        self.feed(inputs.Close())
        if self.finished is None or self.finished.error is not None:
            raise Violation("close", "Close did not finish the session")
        self.advance(3.0)

    def do_stall(self, seconds: float, passing: float) -> None:
        """The network holds everything back, and then delivers it; some of that time passes at once."""
        wire = self.network.live_wire()
        if wire is not None and not wire.frozen:
            wire.stalled_until = self.now + seconds
            self.network.stalled += seconds
            self.advance(passing)

    def do_close(self, which: int) -> None:
        """The service closes."""
        wire = self.network.live_wire()
        if wire is not None and wire.bound and not wire.frozen:
            self.network.server_closes(wire.number, *LIVE_CLOSES[which % len(LIVE_CLOSES)])

    def do_go_away(self, left: float | None, after: float) -> None:
        """The service announces its end, and keeps to it."""
        wire = self.network.live_wire()
        if wire is None or not wire.bound or wire.frozen:
            return
        if not self.server.connections[wire.number].alive:
            return
        self.server.go_away(wire.number, left)
        self.at(after, self._age, wire, left is not None and left >= 5.0)

    def _age(self, wire: Wire, told: bool) -> None:
        """A connection's life is over; the session had better left it before."""
        if not self.server.connections[wire.number].alive:
            return
        current = self.network.live_wire() is wire and self.engine.state in (State.LIVE, State.DRAINING)
        slow = wire.frozen or max(wire.stalled_until, self.woke_at) > self.now - 60.0
        if told and current and not slow:
            raise Violation("goAway", f"connection {wire.number} ends, as announced, and was not left")
        self.network.server_closes(wire.number, 1011, "Deadline expired before operation could complete.")

    def _session_ends(self, number: int) -> None:
        """The service's session is over on a connection; the app had to know, and the engine to leave it in time."""
        wire = self.network.wires[number]
        settled = max(self.network.bound_at or 0.0, self.woke_at, wire.stalled_until) < self.now - 10.0
        if not settled or wire.frozen or self.engine.state not in (State.LIVE, State.DRAINING):
            return
        policy = self.config.policy
        assert policy.session_limit is not None
        due = self.session_since + policy.session_limit - min(policy.session_limit_warning, policy.session_limit / 2)
        if self.expiring_since is None and self.now < due + 5.0:
            return  # the engine heard late that it has a new session
        if self.expiring_since is None:
            raise Violation("limit", f"the session of connection {number} is over, and nobody was told")
        idle = self.now - max(self.expiring_since, self.busy_at, self.network.bound_at or 0.0)
        if policy.at_session_limit == "fresh_start" and idle > 10.0:
            raise Violation("limit", f"the session of connection {number} is over, and was not left in {idle:g} s")

    def do_update(self) -> None:
        """An update at any moment; without transparency an empty one."""
        connection = self.server.current
        if connection is None or not connection.alive:
            return
        if self.config.server.transparent:
            self.server.update(connection)
        else:
            self.server.empty_update(connection)

    def do_refuse(self, which: int) -> None:
        """The service forgets all handles that it issued."""
        for handle in self.server.snapshots:
            self.server.refused[handle] = INVALID_HANDLES[which % len(INVALID_HANDLES)]

    def do_dial_fault(self, name: str) -> None:
        self.network.dial_faults.append(name)

    def do_hostile(self, seconds: float) -> None:
        """The service accepts and drops, for so long."""
        self.server.hostile = True
        self.do_close(0)
        self.advance(seconds)
        self.server.hostile = False

    def do_down(self, seconds: float) -> None:
        """The service cannot be reached."""
        self.network.down_until = self.now + seconds

    def do_force(self) -> None:
        self.feed(inputs.ForceReconnect())

    def do_garbage(self) -> None:
        wire = self.network.live_wire()
        if wire is not None and not wire.frozen:
            self.feed(inputs.FrameUnreadable(wire.number, 7, "is not JSON"))

    def do_sleep(self, seconds: float) -> None:
        """The process stands still: nothing is handled, then all of it, late."""
        self.now += seconds
        self.woke_at = self.now
        self.feed(inputs.ClockJumped(seconds))

    def do_video(self) -> None:
        if not self.config.server.lag:  # a handle that is older by media only cannot be told from a new one
            self.app.show()

    # ------------------------------------------------------------------ the end

    def finish(self) -> None:
        """Heal everything, let the conversation come to rest, and judge it."""
        self.do("heal")
        if self.finished is None:
            self._come_to_rest("the schedule")
        if self.finished is None:
            if self.config.server.speech == "none":
                self.app.ask()
            else:
                self.app.speak(1.0)
            self._come_to_rest("the last question")
        if self.finished is None:
            self.advance(3.0)
            self._come_to_rest("the end")
            judge(self)
            self.do("leave")

    def do_heal(self) -> None:
        self.healing = True
        self.healed_at = self.now
        for wire in self.network.wires.values():
            wire.stalled_until = self.now
            self.network.moves(wire)
        self.network.dial_faults.clear()
        self.network.down_until = 0.0
        self.server.mute_binds = self.server.drop_binds = 0
        self.server.hostile = False
        self.config.server.refused = self.config.server.poisoned = self.config.server.forgets = 0.0
        self.config.server.session_limit = None

    def _come_to_rest(self, what: str) -> None:
        deadline = self.now + 450.0
        patience = self.now + 230.0  # a stall may still have two minutes to go
        quiet_since: float | None = None
        self.app.read(1000)
        while self.now < deadline and self.finished is None:
            if self._at_rest():
                if quiet_since is None:
                    quiet_since = self.now
                elif self.now - quiet_since >= 1.0:
                    return
            else:
                quiet_since = None
            if self.now > patience and self.app.was_not_heard():
                self.app.loops.popleft()
                patience = self.now + 20.0
            if running := self.app.running:
                self.app.answer(running)
                quiet_since = None
            when = self.next_event()
            if when is None or when > self.now + 1.0:
                self.now += 1.0
            else:
                self.step()
        if self.finished is None:
            waiting = [loop.label for loop in self.app.loops]
            raise Violation("hang", f"after {what}: {self.engine.state}, loops of {waiting} wait")

    def _at_rest(self) -> bool:
        wire = self.network.live_wire()
        if wire is None or not wire.bound or wire.frozen or self.app.speaking:
            return False
        connection = self.server.connections[wire.number]
        return (
            not self.app.loops
            and self.engine.state is State.LIVE
            and not wire.up
            and connection.generation is None
            and not connection.state.pending
        )

    @property
    def rebinds(self) -> bool:
        """Whether running calls wait for the repeated turn to make them again."""
        return self.config.policy.rebind_tools
