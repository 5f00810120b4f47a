"""Engine, service and application on one virtual clock: a schedule of faults, replayable from its seed.

`World` owns the clock, the wires and the application; `World.do` takes one step of a schedule, by
name, and `World.finish` heals everything and judges the outcome. `run` makes config and schedule
from one seed. Every check that fails is a `Violation`; `World.report` tells the schedule.
"""

from __future__ import annotations

import heapq
import os
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from msgspec.structs import asdict

from resumekit.core import actions, events, inputs
from resumekit.core.engine import Engine
from resumekit.core.failures import Failure, Phase, Side, Verdict, classify
from resumekit.core.handles import HandleRecord
from resumekit.core.policy import (
    DelayDetails,
    Exactly,
    FailureDetails,
    Move,
    MoveDetails,
    Policy,
    Recovery,
    RecoveryAction,
    RecoveryDetails,
)
from resumekit.core.state import FINAL, State
from resumekit.errors import SessionLost
from resumekit.wire import decode_client, decode_server
from tests.core.model_server import AUDIO_TYPE, CHUNK_SECONDS, INVALID_HANDLES, Chunk, ModelServer, Settings, Violation

__all__ = ["MODELS", "PROFILES", "Config", "Decisions", "Violation", "World", "make_config", "run", "run_many"]

_decode = msgspec.json.decode
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
DIAL_FAULTS = ("refused", "503", "429", "hang", "mute", "drop")
_OPEN_STATES = (State.DIALING, State.BINDING, State.MOVING, State.WAITING)


class Decisions:
    """The defaults of DESIGN section 6, without plugins."""

    def choose_delay(self, details: DelayDetails) -> float | Exactly:
        policy = details.policy
        if details.attempt == 1 and details.verdict is not Verdict.RESUME_LATER:
            return policy.first_delay
        return min(policy.delay_base * 2 ** max(details.attempt - 1, 0), policy.delay_cap)

    def classify_failure(self, details: FailureDetails) -> Verdict:
        return classify(
            details.failure,
            with_handle=details.with_handle,
            first_time=details.repeats == 0,
            in_grace=details.seconds_down <= details.policy.old_binding_grace,
            renewable=details.credentials_renewable,
        )

    def choose_move(self, details: MoveDetails) -> Move:
        policy = details.policy
        left = policy.go_away_assumed if details.time_left is None else details.time_left
        margin = min(max(left / 3, policy.go_away_margin_min), policy.go_away_margin_max)
        deadline = max(left - margin, 0.0)
        warm = deadline * (0.1 + 0.5 * details.draw) if policy.warm_dial else None
        return Move(deadline=deadline, warm_dial=warm)

    def choose_recovery(self, details: RecoveryDetails) -> Recovery:
        action = RecoveryAction.RESUME if details.handle_age is not None else RecoveryAction.FRESH
        return Recovery(action=action)


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

    def describe(self) -> str:
        """Return what differs from the defaults, on one line."""
        pairs = ((self.server, Settings(transparent=True)), (self, Config()), (self.policy, Policy()))
        return " ".join(
            f"{name}={getattr(mine, name)!r}"
            for mine, plain in pairs
            for name in type(mine).__dataclass_fields__
            if name not in ("server", "policy") and getattr(mine, name) != getattr(plain, name)
        )


@dataclass(eq=False)
class _Wire:
    """One connection: what is under way in both directions."""

    number: int
    up: deque[str] = field(default_factory=deque)
    down: deque[bytes | tuple[int, str]] = field(default_factory=deque)
    up_at: float = 0.0
    down_at: float = 0.0
    written_at: float = 0.0
    dialed: bool = False
    bound: bool = False
    closing: bool = False
    """The client closes it: nothing more may be written."""
    aborted: bool = False
    ended: bool = False
    """`ConnectionEnded` was fed."""
    frozen: bool = False
    """Nothing arrives any more, and nobody says so."""
    stalled_until: float = 0.0
    """Everything arrives late."""
    setups: int = 0
    frozen_writes: int = 0


@dataclass(eq=False)
class _Call:
    id: str
    key: str
    run: str
    cancelled: bool = False
    answered: bool = False


@dataclass(eq=False)
class _Loop:
    """One question, and the `receive()` loop that waits for its answer."""

    label: str
    number: int | None
    reported: float = 0.0
    """Seconds of audio that were reported lost before it began."""


class World:
    """Everything that a schedule touches."""

    def __init__(self, config: Config, engine: Callable[..., Engine] = Engine, *, log: bool = False) -> None:
        self.config = config
        self.rng = random.Random(config.seed)
        self.now = 1000.0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._events = 0
        self.steps: list[tuple[object, ...]] = []
        self.trace: list[tuple[float, str, object]] = []
        self.decisions = Decisions()
        self.server = ModelServer(
            config.server, random=self.rng.random, at=self._at, emit=self._emit, close=self._server_closes
        )
        self.wires: dict[int, _Wire] = {}
        self.setup = _encode({"setup": {"model": MODELS[config.server.family], "generationConfig": {}}}).decode()
        self.engine = engine(
            self.setup,
            policy=config.policy,
            decisions=self.decisions,
            transparent=config.server.transparent,
            random=self.rng.random,
            loads_history=config.loads_history,
        )
        # Faults to come
        self.dial_faults: deque[str] = deque()
        self.down_until = 0.0
        self.fatal = False
        self.healing = False
        self.healed_at = 0.0

        # What the application knows
        self.numbers = 0
        self.sent: list[tuple[str, str]] = []
        """(kind, token) of everything the app sent, in order: question, context, mark."""
        self.number_of: dict[str, int] = {}
        self.responses: dict[str, str] = {}
        """Token of a response -> id of its call."""
        self.loops: deque[_Loop] = deque()
        self.answered: list[str] = []
        self.pieces: list[tuple[str, ...]] = []
        self.got = False
        self.was_interrupted = False
        self.frames_taken = 0
        self.calls: dict[str, _Call] = {}
        self.utterances = 0
        self.chunks = 0
        self.chunk_of: dict[int, int] = {}
        self.activity = False
        self.microphone_on = False
        self.speaking = False

        # What the application was told
        self.settled: set[int | None] = set()
        self.settled_voice = 0
        self.repeated: set[int] = set()
        self.dropped_responses: set[str] = set()
        self.reported_audio = 0.0
        self.fresh_starts = 0
        self.kept: HandleRecord | None = None
        """What a driver would have stored."""
        self.finished: actions.Finish | None = None
        self.events: list[events.Event] = []

        self.woke_at = 0.0
        """When the process last slept."""
        self.stalled = 0.0
        """Seconds for which the network held everything back."""
        self.last_up = 0.0
        """When a bound connection was last there."""
        self.moving_quietly = 0.0

        # Dials
        self.dials: deque[float] = deque(maxlen=11)
        self.proved_at = self.now
        self.bound_at: float | None = None
        self.log_actions: list[str] | None = [] if log else None
        self.feed(inputs.Start())

    # ------------------------------------------------------------------ clock

    def _at(self, delay: float, what: Callable[..., None], *args: Any) -> None:
        self._events += 1
        heapq.heappush(self._heap, (self.now + delay, self._events, what, args))

    def next_event(self) -> float | None:
        """Return when something happens next."""
        wake = self.engine.wake_at
        due = self._heap[0][0] if self._heap else None
        if wake is None or (due is not None and due <= wake):
            return due
        return max(wake, self.now)

    def step(self) -> bool:
        """Let the next thing happen; False: nothing ever will."""
        when = self.next_event()
        if when is None:
            return False
        wake = self.engine.wake_at
        self.now = max(self.now, when)
        if self._heap and self._heap[0][0] <= when:
            _, _, what, args = heapq.heappop(self._heap)
            what(*args)
        else:
            self.feed(inputs.Tick())
            if self.engine.wake_at is not None and self.engine.wake_at <= self.now and self.engine.wake_at == wake:
                raise Violation("timer", f"a tick at {self.now:g} changed nothing: busy loop")
        if self.config.eager or self.healing:
            self.read(1000)
        return True

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while (when := self.next_event()) is not None and when <= until:
            self.step()
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
            self._carry_out(action)
        if self.engine.wake_at is None and self.engine.state in _OPEN_STATES:
            raise Violation("I9", f"{self.engine.state} without a timer")

    def _carry_out(self, action: actions.Action) -> None:
        match action:
            case actions.SendFrame(number, frame):
                self._write(number, frame)
            case actions.Notify(event):
                self._told(event)
            case actions.OpenConnection(number):
                self._dial(number)
            case actions.CloseConnection(number):
                self._client_closes(number)
            case actions.AbortConnection(number):
                self._abort(number)
            case actions.SendPing(number):
                self._ping(number)
            case actions.LoadHistory():
                self._at(0.05, self.feed, inputs.HistoryLoaded(None))
            case actions.SaveHandle(record):
                if not record.handle:
                    raise Violation("I2", "an empty handle is saved")
                self.kept = record
            case actions.ForgetHandle():
                self.kept = None
            case actions.Finish(error):
                self.finished = action
                self._judge_end(error)
            case _:
                pass

    def _told(self, event: events.Event) -> None:
        self.events.append(event)
        match event:
            case events.TurnSettled():
                if event.message is None:
                    self.settled_voice += 1
                self.settled.add(event.message)
            case events.Moving(quiet=True):
                self.moving_quietly = self.now
            case events.TurnCut() if self.moving_quietly == self.now:
                raise Violation("quiet", f"message {event.message} was cut by a move at a quiet point")
            case events.MessagesRepeated():
                self.repeated.update(event.messages)
            case events.ResumePointDropped():
                self.kept = None
            case events.HandleRefused():
                handle = self.kept.handle.reveal() if self.kept is not None else ""
                if handle not in self.server.refused and self.now - self.last_up < self.config.policy.old_binding_grace:
                    raise Violation("grace", f"{handle} is given up, and was never refused: {event.reason}")
            case events.ToolResponseDropped():
                self.dropped_responses.add(event.call_id)
            case events.TurnForgotten():
                self.reported_audio += event.audio
            case events.AudioDropped():
                self.reported_audio += event.seconds
            case events.Resumed():
                self.reported_audio += event.lost_audio
            case events.FreshStarted():
                self.fresh_starts += 1
                self.reported_audio += event.lost_audio
            case _:
                pass

    def _judge_end(self, error: BaseException | None) -> None:
        if error is None or self.fatal:
            return
        down = self.now - self.proved_at
        healthy = self.healing and self.now - self.healed_at > 120.0
        if isinstance(error, SessionLost) and not healthy and down >= self.config.policy.max_outage - 1e-6:
            return
        if self.bound_at is None and self.now - 1000.0 >= self.config.policy.first_connect_deadline - 1e-6:
            return
        raise Violation("lost", f"the session ended without need: {error!r}")

    # ------------------------------------------------------------------ wires

    def _latency(self) -> float:
        low, high = self.config.latency
        return low + self.rng.random() * (high - low)

    def _dial(self, number: int) -> None:
        if number in self.wires:
            raise Violation("dial", f"connection {number} is opened twice")
        self.dials.append(self.now)
        recent = [when for when in self.dials if when > max(self.now - 60.0 + 1e-6, self.proved_at)]
        if len(recent) > 10:
            raise Violation("I6", f"{len(recent)} dials in 60 s without proof")
        self.wires[number] = _Wire(number)
        fault = self.dial_faults.popleft() if self.dial_faults else ""
        if self.now < self.down_until:
            fault = "refused"
        self._at(self._latency() * 4, self._dial_ends, number, fault)

    def _dial_ends(self, number: int, fault: str) -> None:
        wire = self.wires[number]
        if wire.aborted and not self.config.talk_after_abort:
            return
        match fault:
            case "hang":
                return
            case "refused":
                failure = Failure(phase=Phase.DIAL, side=Side.NOBODY, reason="connection refused")
            case "503":
                failure = Failure(phase=Phase.DIAL, side=Side.THEY, status=503)
            case "401":
                self.fatal = True
                failure = Failure(phase=Phase.DIAL, side=Side.THEY, status=401)
            case "429":
                failure = Failure(phase=Phase.DIAL, side=Side.THEY, status=429, retry_after=2.0)
            case _:
                if fault == "mute":
                    self.server.mute_binds += 1
                elif fault == "drop":
                    self.server.drop_binds += 1
                wire.dialed = True
                self.server.opened(number)
                self.feed(inputs.Dialed(number))
                if wire.aborted:
                    self._at(self._latency(), self.server.noticed, number)
                return
        self.feed(inputs.DialFailed(number, failure))

    def _write(self, number: int, frame: str) -> None:
        wire = self.wires.get(number)
        if wire is None or not wire.dialed:
            raise Violation("write", f"connection {number} is not open: {frame[:80]}")
        if wire.closing or wire.aborted or wire.ended:
            raise Violation("I1", f"connection {number} is over: {frame[:80]}")
        if number != max(n for n, w in self.wires.items() if w.setups or n == number):
            raise Violation("I1", f"connection {number} is not the current one: {frame[:80]}")
        if frame.startswith('{"setup"'):
            wire.setups += 1
            if wire.setups > 1:
                raise Violation("I4", f"connection {number}: a second setup")
            if self.kept is not None and '"handle"' not in frame:
                raise Violation("I2", f"connection {number}: a fresh start, and {self.kept.handle!r} is good")
        elif not wire.bound:
            raise Violation("I5", f"connection {number}: written before setupComplete: {frame[:80]}")
        if wire.frozen:
            wire.frozen_writes += 1
            if wire.frozen_writes <= 4:
                self._at(0.0, self._written, wire)
            return
        wire.up.append(frame)
        wire.up_at = max(wire.up_at, self.now + self._latency())
        self._at(wire.up_at - self.now, self._arrives_up, wire)
        wait = self._latency() if self.config.late_written else 0.0
        wire.written_at = max(wire.written_at, self.now + wait)
        self._at(wire.written_at - self.now, self._written, wire)

    def _written(self, wire: _Wire) -> None:
        if not wire.ended and (not wire.aborted or self.config.talk_after_abort):
            self.feed(inputs.Written(wire.number))

    def _stalls(self, wire: _Wire, what: Callable[..., None], *args: Any) -> bool:
        """Put off what happens on a wire until it moves again."""
        if self.now >= wire.stalled_until:
            return False
        self._at(wire.stalled_until - self.now, what, wire, *args)
        return True

    def _arrives_up(self, wire: _Wire) -> None:
        if self._stalls(wire, self._arrives_up):
            return
        if wire.up and not wire.frozen:
            self.server.receive(wire.number, wire.up.popleft())

    def _emit(self, number: int, frame: bytes) -> None:
        wire = self.wires[number]
        connection = self.server.connections[number]
        if not connection.alive or wire.frozen:
            return
        self._send_down(wire, frame)

    def _send_down(self, wire: _Wire, what: bytes | tuple[int, str]) -> None:
        wire.down.append(what)
        wire.down_at = max(wire.down_at, self.now + self._latency())
        self._at(wire.down_at - self.now, self._arrives_down, wire)

    def _arrives_down(self, wire: _Wire) -> None:
        if self._stalls(wire, self._arrives_down):
            return
        if wire.ended or wire.frozen or not wire.down:
            return
        what = wire.down.popleft()
        if wire.aborted and not self.config.talk_after_abort:
            return
        if isinstance(what, tuple):
            self._end(wire, what[0], what[1], Side.THEY)
            return
        self._sees(wire, what)

    def _sees(self, wire: _Wire, frame: bytes) -> None:
        message = decode_server(frame)
        if message.setup_complete is not None:
            wire.bound = True
            if not wire.aborted:
                self.bound_at = self.now
                self._at(self.config.policy.proven_after, self._stays_up, wire)
        left = wire.aborted or wire.closing  # what still comes proves nothing
        if message.server_content is not None and message.server_content.turn_complete and not left:
            self.proved_at = self.now
        self.feed(inputs.FrameReceived(wire.number, message))

    def _stays_up(self, wire: _Wire) -> None:
        if not (wire.ended or wire.aborted or wire.closing):
            self.proved_at = self.now

    def _end(self, wire: _Wire, code: int | None, reason: str, side: Side) -> None:
        if wire.ended:
            return
        wire.ended = True
        if wire.bound and not (wire.aborted or wire.closing):
            self.last_up = self.now
        wire.down.clear()
        wire.up.clear()
        phase = Phase.LIVE if wire.bound else Phase.BIND
        self.feed(inputs.ConnectionEnded(wire.number, Failure(phase=phase, side=side, code=code, reason=reason)))

    def _server_closes(self, number: int, code: int, reason: str) -> None:
        wire = self.wires[number]
        connection = self.server.connections[number]
        if not connection.alive:
            return
        self.server.noticed(number)
        wire.up.clear()
        if not wire.frozen:
            self._send_down(wire, (code, reason))

    def _client_closes(self, number: int) -> None:
        wire = self.wires[number]
        if wire.ended or not wire.dialed:
            raise Violation("close", f"connection {number} cannot be closed")
        if wire.closing:  # the app leaves in the middle of a move
            return
        wire.closing = True
        if wire.bound:
            self.last_up = self.now
        if wire.frozen:
            return
        wire.up_at = max(wire.up_at, self.now + self._latency())
        self._at(wire.up_at - self.now, self._closed_by_client, wire)

    def _closed_by_client(self, wire: _Wire) -> None:
        if wire.frozen or self._stalls(wire, self._closed_by_client):
            return
        self.server.noticed(wire.number)
        self._at(self._latency(), self._end, wire, 1000, "", Side.WE)

    def _abort(self, number: int) -> None:
        wire = self.wires[number]
        if wire.ended:
            raise Violation("abort", f"connection {number} has ended already")
        if wire.bound and not wire.closing:
            self.last_up = self.now
        wire.aborted = True
        if wire.dialed and not wire.frozen:
            self._at(self._latency(), self._aborted, wire)

    def _aborted(self, wire: _Wire) -> None:
        if self.config.talk_after_abort or not self._stalls(wire, self._aborted):
            self.server.noticed(wire.number)

    def _ping(self, number: int) -> None:
        wire = self.wires[number]
        if wire.closing or wire.aborted or wire.ended:
            raise Violation("I1", f"a ping on connection {number}, which is over")
        self._at(self._latency() * 2, self._pong, wire)

    def _pong(self, wire: _Wire) -> None:
        if not self._stalls(wire, self._pong) and not (wire.frozen or wire.ended or wire.aborted):
            self.feed(inputs.PongReceived(wire.number))

    def live_wire(self) -> _Wire | None:
        """Return the connection that is bound, or about to be."""
        for number in sorted(self.wires, reverse=True):
            wire = self.wires[number]
            if wire.setups and not (wire.ended or wire.aborted or wire.closing):
                return wire
        return None

    # ------------------------------------------------------------------ steps of a schedule

    def do(self, name: str, *args: Any) -> None:
        """Take one step of a schedule."""
        self.steps.append((round(self.now - 1000.0, 4), name, *args))
        self.trace.append((self.now, "step", (name, *args)))
        getattr(self, f"do_{name}")(*args)
        if self.config.eager:
            self.read(1000)

    def do_wait(self, seconds: float) -> None:
        self.advance(seconds)

    def do_step(self, count: int) -> None:
        for _ in range(count):
            when = self.next_event()
            if when is None or (when > self.now + 3.0 and self.engine.state is State.LIVE):
                return
            self.step()

    def do_ask(self) -> None:
        if len(self.loops) >= (3 if self.config.pipelined else 1):
            return
        if self.config.server.speech == "none":
            self.ask()
        elif not self.speaking:
            self.speak(0.5 + self.rng.random() * 3.0)

    def do_long_speech(self, seconds: float) -> None:
        if self.config.server.speech != "none" and not self.loops and not self.speaking:
            self.speak(seconds)

    def do_context(self) -> None:
        if self._transparent or self.config.server.speech != "vad":  # RULES 1: what nobody can keep apart
            self.context()

    def do_read(self, count: int) -> None:
        self.read(count)

    def do_tool(self, position: int) -> None:
        running = [call for call in self.calls.values() if not call.answered]
        if position > 1:
            self.answer_tools(running)
        elif running:
            self.answer_tools([running[position % len(running)]])

    def do_cut(self, eaten: int, shown: int, linger: float) -> None:
        """The network goes: so many frames under way still arrive at either end."""
        wire = self.live_wire()
        if wire is None or wire.frozen:
            return
        for _ in range(min(eaten, len(wire.up))):
            self.server.receive(wire.number, wire.up.popleft())
        wire.up.clear()
        self.server.cut(wire.number)
        self._at(linger, self.server.noticed, wire.number)
        for _ in range(min(shown, len(wire.down))):
            what = wire.down.popleft()
            if isinstance(what, tuple) or wire.aborted or wire.closing:
                break
            self._sees(wire, what)
        if not wire.aborted:
            self._end(wire, 1006, "", Side.NOBODY)

    def do_freeze(self, linger: float) -> None:
        """Half-open: nothing arrives any more, and nobody says so."""
        wire = self.live_wire()
        if wire is None or wire.frozen:
            return
        wire.frozen = True
        wire.up.clear()
        wire.down.clear()
        self.server.cut(wire.number)
        self._at(linger, self.server.noticed, wire.number)

    def do_cut_warm(self) -> None:
        """The connection that was dialled ahead goes."""
        for wire in self.wires.values():
            if wire.dialed and not (wire.setups or wire.ended or wire.aborted or wire.closing):
                self._end(wire, 1006, "", Side.NOBODY)
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
        wire = self.live_wire()
        if wire is not None and not wire.frozen:
            wire.stalled_until = self.now + seconds
            self.stalled += seconds
            self.advance(passing)

    def do_close(self, which: int) -> None:
        """The service closes."""
        wire = self.live_wire()
        if wire is not None and wire.bound and not wire.frozen:
            self._server_closes(wire.number, *LIVE_CLOSES[which % len(LIVE_CLOSES)])

    def do_go_away(self, left: float | None, after: float) -> None:
        """The service announces its end, and keeps to it."""
        wire = self.live_wire()
        if wire is None or not wire.bound or wire.frozen:
            return
        if not self.server.connections[wire.number].alive:
            return
        self.server.go_away(wire.number, left)
        self._at(after, self._age, wire, left is not None and left >= 5.0)

    def _age(self, wire: _Wire, told: bool) -> None:
        """A connection's life is over; the session had better left it before (DESIGN decision 3)."""
        if not self.server.connections[wire.number].alive:
            return
        current = self.live_wire() is wire and self.engine.state in (State.LIVE, State.DRAINING)
        slow = wire.frozen or max(wire.stalled_until, self.woke_at) > self.now - 60.0
        if told and current and not slow:
            raise Violation("goAway", f"connection {wire.number} ends, as announced, and was not left")
        self._server_closes(wire.number, 1011, "Deadline expired before operation could complete.")

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
        self.dial_faults.append(name)

    def do_hostile(self, seconds: float) -> None:
        """The service accepts and drops, for so long."""
        self.server.hostile = True
        self.do_close(0)
        self.advance(seconds)
        self.server.hostile = False

    def do_down(self, seconds: float) -> None:
        """The service cannot be reached."""
        self.down_until = self.now + seconds

    def do_force(self) -> None:
        self.feed(inputs.ForceReconnect())

    def do_garbage(self) -> None:
        wire = self.live_wire()
        if wire is not None and not wire.frozen:
            self.feed(inputs.FrameUnreadable(wire.number, 7, "is not JSON"))

    def do_sleep(self, seconds: float) -> None:
        """The process stands still: nothing is handled, then all of it, late."""
        self.now += seconds
        self.woke_at = self.now

    # ------------------------------------------------------------------ the application

    def _send(self, frame: str, kind: str = "", token: str = "") -> bool:
        if self.finished is not None:
            return False
        message = decode_client(frame)
        if not self.engine.has_room(message):
            return False
        if kind:
            self.numbers += 1
            self.number_of[token] = self.numbers
            self.sent.append((kind, token))
        self.feed(inputs.Send(message))
        return True

    def ask(self) -> None:
        """Ask a question in writing."""
        token = f"m{self.numbers + 1}"
        text = f"<{token}> question"
        if self.config.server.family == "3.x":
            frame = {"realtime_input" if self.config.snake else "realtimeInput": {"text": text}}
        else:
            frame = self._content(text, complete=True)
        # The loop begins before the frame goes, as receive() does
        self.loops.append(_Loop(token, self.numbers + 1))
        if not self._send(_encode(frame).decode(), "question", token):
            self.loops.pop()

    def _content(self, text: str, *, complete: bool) -> dict[str, object]:
        turns = [{"role": "user", "parts": [{"text": text}]}]
        if self.config.snake:
            return {"client_content": {"turns": turns, "turn_complete": complete}}
        return {"clientContent": {"turns": turns, "turnComplete": complete}}

    def context(self) -> None:
        """Tell something that asks for no answer."""
        token = f"m{self.numbers + 1}"
        if self.config.server.family == "3.x":
            frame: dict[str, object] = {"contextUpdate": {"note": f"<{token}>"}}
        else:
            frame = self._content(f"<{token}> context", complete=False)
        self._send(_encode(frame).decode(), "context", token)

    def speak(self, seconds: float) -> None:
        """Say something; the sound takes its time."""
        self.utterances += 1
        self.speaking = True
        manual = self.config.server.speech == "manual"
        if manual:
            self._mark("activityStart")
        count = max(1, round(seconds / CHUNK_SECONDS))
        self._at(0.0, self._sound, self.utterances, count)
        self.loops.append(_Loop(f"u{self.utterances}", None, self.reported_audio))

    def _mark(self, name: str) -> None:
        token = f"m{self.numbers + 1}"
        self._send(_encode({"realtimeInput": {name: {"mark": f"<{token}>"}}}).decode(), "mark", token)

    def _sound(self, utterance: int, left: int) -> None:
        """Send chunks of speech in real time, then what ends it."""
        if self.finished is not None:
            return
        if left > 0:
            self._chunk(utterance)
            self._at(CHUNK_SECONDS, self._sound, utterance, left - 1)
        elif self.config.server.speech == "manual":
            self.speaking = False
            for loop in self.loops:
                if loop.label == f"u{utterance}":
                    loop.number = self.numbers + 1
            self._mark("activityEnd")
        else:
            self.speaking = False
            if not self.microphone_on:
                self.microphone_on = True
                self._silence(4 if not self.config.microphone else 10_000)

    def _silence(self, left: int) -> None:
        if left <= 0 or self.finished is not None or (self.healing and left > 100 and not self.loops):
            self.microphone_on = False
            return
        if not self.speaking:
            self._chunk(0)
        self._at(CHUNK_SECONDS, self._silence, left - 1)

    def _chunk(self, utterance: int) -> None:
        self.chunks += 1
        self.chunk_of[self.chunks] = utterance
        self._send(Chunk(self.chunks, utterance).encode())

    def answer_tools(self, calls: list[_Call]) -> None:
        """Give calls their results, cancelled or not, in one message."""
        if self.finished is not None or not calls:
            return
        tokens = [f"r{len(self.responses) + number + 1}" for number in range(len(calls))]
        responses = [
            {"id": call.id, "name": call.key.partition(":")[0], "response": {"result": f"<{token}>"}}
            for call, token in zip(calls, tokens, strict=True)
        ]
        if self.config.snake:
            frame: dict[str, object] = {"tool_response": {"function_responses": responses}}
        else:
            frame = {"toolResponse": {"functionResponses": responses}}
        if not self._send(_encode(frame).decode(), "response", tokens[0]):
            return
        for call, token in zip(calls, tokens, strict=True):
            call.answered = True
            self.responses[token] = call.id
            if call.cancelled and call.id not in self.dropped_responses:
                raise Violation("tools", f"the response to the cancelled {call.id} was not reported dropped")

    def read(self, count: int) -> None:
        """Take frames from the engine."""
        for _ in range(count):
            message = self.engine.take()
            if message is None:
                return
            self.frames_taken += 1
            self.trace.append((self.now, "app", message))
            self._see(_decode(message.raw))

    def _see(self, frame: dict[str, Any]) -> None:
        content = frame.get("serverContent") or {}
        call = frame.get("toolCall")
        cancellation = frame.get("toolCallCancellation")
        for key in ("goAway", "setupComplete"):
            if key in frame:
                raise Violation("surface", f"the app sees {key}")
        if not self.loops and (content or call or cancellation) and not self._relaxed:
            raise Violation("loops", f"a frame for a loop that is over: {_encode(frame).decode()[:120]}")
        if call:
            self.got = True
            for request in call["functionCalls"]:
                self._called(request)
        if cancellation:
            for call_id in cancellation["ids"]:
                known = self.calls.get(call_id)
                if known is None:
                    raise Violation("tools", f"cancelled, and never shown: {call_id}")
                known.cancelled = True
        for part in (content.get("modelTurn") or {}).get("parts", ()):
            self.got = True
            self.was_interrupted = False
            self.pieces.append(tuple(part["text"].strip("<>").split(":")[1:]))
        if "inputTranscription" in content:
            self.got = True
        if content.get("interrupted"):
            if not self.got and not self.config.pipelined and self.config.server.speech == "none":
                raise Violation("interrupted", "interrupted, and the app had got nothing")
            self.pieces.clear()
            self.got = False
            self.was_interrupted = True
        if content.get("turnComplete"):
            self._turn_complete()

    def _called(self, request: dict[str, Any]) -> None:
        key = f"{request['name']}:{_encode(request.get('args')).decode()}"
        run = request["id"].split("-")[1]
        equal = [call.id for call in self.calls.values() if call.key == key and not call.cancelled]
        planned = self.server.calls.get(str(request["args"]["question"]), [])
        if len(equal) >= max(1, sum(name == request["name"] for name, _ in planned)) and not self._relaxed:
            raise Violation("tools", f"{request['id']} repeats {equal}, which were not cancelled")
        if request["id"] in self.calls:
            raise Violation("tools", f"{request['id']} is shown twice")
        self.calls[request["id"]] = _Call(request["id"], key, run)

    @property
    def _relaxed(self) -> bool:
        """A service that merges questions of its own accord leaves no loop for each."""
        return self.config.pipelined and self.config.server.overlap == "merge"

    def _turn_complete(self) -> None:
        pieces, self.pieces = self.pieces, []
        interrupted, self.was_interrupted = self.was_interrupted, False
        self.got = False
        if self._relaxed:
            if not pieces and self.loops:
                self.answered.append(self.loops.popleft().label)
            for labels, *_ in pieces:
                for label in labels.split("+"):
                    self.answered.append(label)
                    while any(loop.label == label for loop in self.loops):
                        self.loops.popleft()
            return
        if not self.loops:
            raise Violation("loops", "turnComplete for a loop that is over")
        loop = self.loops.popleft()
        if not pieces:
            if loop.number is not None and loop.number in self.settled:
                return
            if loop.number is None and self.settled_voice:
                self.settled_voice -= 1
                return
            if interrupted and self.loops and self.config.server.overlap != "queue":
                self.answered.append(loop.label)
                return
            raise Violation("loops", f"the loop of {loop.label} ended without an answer")
        labels, run, _, count = pieces[0]
        if [piece[2] for piece in pieces] != [str(n) for n in range(int(count))] or {p[1] for p in pieces} != {run}:
            raise Violation("loops", f"the loop of {loop.label} holds no whole answer, but {pieces}")
        if labels != loop.label:
            raise Violation("loops", f"the loop of {loop.label} holds the answer to {labels}")
        self.answered.append(loop.label)

    # ------------------------------------------------------------------ the end

    def finish(self) -> None:
        """Heal everything, let the conversation come to rest, and judge it."""
        self.do("heal")
        if self.finished is None:
            self._come_to_rest("the schedule")
        if self.finished is None:
            if self.config.server.speech == "none":
                self.ask()
            else:
                self.speak(1.0)
            self._come_to_rest("the last question")
        if self.finished is None:
            self.advance(3.0)
            self.judge()
            self.do("leave")

    def do_heal(self) -> None:
        self.healing = True
        self.healed_at = self.now
        for wire in self.wires.values():
            wire.stalled_until = self.now
        self.dial_faults.clear()
        self.down_until = 0.0
        self.server.mute_binds = self.server.drop_binds = 0
        self.server.hostile = False

    def _come_to_rest(self, what: str) -> None:
        deadline = self.now + 450.0
        patience = self.now + 100.0
        quiet_since: float | None = None
        self.read(1000)
        while self.now < deadline and self.finished is None:
            if self._at_rest():
                if quiet_since is None:
                    quiet_since = self.now
                elif self.now - quiet_since >= 1.0:
                    return
            else:
                quiet_since = None
            if self.now > patience and self._was_not_heard():
                self.loops.popleft()
                patience = self.now + 20.0
            if running := [call for call in self.calls.values() if not call.answered]:
                self.answer_tools(running)
                quiet_since = None
            when = self.next_event()
            if when is None or when > self.now + 1.0:
                self.now += 1.0
            else:
                self.step()
        if self.finished is None:
            waiting = [loop.label for loop in self.loops]
            raise Violation("hang", f"after {what}: {self.engine.state}, loops of {waiting} wait")

    def _was_not_heard(self) -> bool:
        """Whether the oldest question was spoken, lost on the way, and the app was told so."""
        return bool(self.loops) and self.loops[0].number is None and self.reported_audio > self.loops[0].reported

    def _at_rest(self) -> bool:
        wire = self.live_wire()
        if wire is None or not wire.bound or wire.frozen or self.speaking:
            return False
        connection = self.server.connections[wire.number]
        return (
            not self.loops
            and self.engine.state is State.LIVE
            and not wire.up
            and connection.generation is None
            and not connection.state.pending
        )

    def judge(self) -> None:
        """Compare the state that the service ends with, and what the app sent."""
        wire = self.live_wire()
        assert wire is not None
        state = self.server.connections[wire.number].state
        if state.open and not self._relaxed:
            raise Violation("lineage", f"questions without an answer in the state: {state.open}")
        tokens = state.tokens()
        controls = [token for token in tokens if token[0] == "m"]
        seen: dict[str, int] = {}
        for token in controls:
            seen[token] = seen.get(token, 0) + 1
        kinds = {token: kind for kind, token in self.sent}
        for kind, token in self.sent:
            number = self.number_of[token]
            if kind == "response":
                continue
            count = seen.get(token, 0)
            if count == 0 and not self._may_lack(kind, number):
                raise Violation("lineage", f"lost: {kind} {token}; the state holds {controls}")
            if count and kind == "question" and number in self.settled:
                raise Violation("lineage", f"settled, and in the state: {token}")
            if count > 1 and not (number in self.repeated and kind != "question" and not self._transparent):
                raise Violation("lineage", f"doubled: {kind} {token}; the state holds {controls}")
        for order in (list(dict.fromkeys(controls)), list(dict.fromkeys(reversed(controls)))[::-1]):
            numbers = [self.number_of[token] for token in order]
            if numbers != sorted(numbers):
                raise Violation("lineage", f"reordered: {controls}")
        self._judge_repeats(kinds)
        self._judge_responses(tokens)
        self._judge_audio(state.log)

    @property
    def _transparent(self) -> bool:
        return self.config.server.transparent

    def _may_lack(self, kind: str, number: int) -> bool:
        if kind == "question":
            return number in self.settled
        if kind == "mark":
            return bool(self.fresh_starts or self.settled or self.reported_audio)
        return bool(self.fresh_starts) and self.config.server.family == "3.x"

    def _judge_repeats(self, kinds: dict[str, str]) -> None:
        by_number = {number: token for token, number in self.number_of.items()}
        for number in self.repeated:
            if kinds.get(by_number.get(number, "")) not in ("context", "mark"):
                raise Violation("events", f"message {number} is flagged repeated: {by_number.get(number)}")
        for number in self.settled - {None}:
            if kinds.get(by_number.get(number, "")) not in ("question", "mark"):
                raise Violation("events", f"message {number} is settled, which is {by_number.get(number)}")

    def _judge_responses(self, tokens: list[str]) -> None:
        for token, call_id in self.responses.items():
            count = tokens.count(token)
            call = self.calls[call_id]
            if count > 1:
                raise Violation("lineage", f"doubled: response {token}")
            excused = call.cancelled or call_id in self.dropped_responses or self.fresh_starts or self.settled
            if count == 0 and not excused:
                raise Violation("lineage", f"lost: response {token} to {call_id}")

    def _judge_audio(self, log: tuple[tuple[object, ...], ...]) -> None:
        if self.config.server.speech == "none":
            return
        heard = [int(str(item[1])) for item in log if item[0] == "v"]
        if self._transparent and heard != sorted(set(heard)):
            raise Violation("audio", f"doubled or reordered: {heard}")
        missing = (self.chunks - len(set(heard))) * CHUNK_SECONDS
        # Without an index nobody knows what was under way when the handle was made.
        blind = 0.0 if self._transparent else self.stalled + sum(wire.bound for wire in self.wires.values())
        if missing > self.reported_audio + blind + 1e-6 and not self.fresh_starts and not self.settled:
            raise Violation("audio", f"{missing:g} s are missing, {self.reported_audio:g} s were reported")

    # ------------------------------------------------------------------ telling

    def report(self, lines: int = int(os.environ.get("LINES_SHOWN", "60"))) -> str:
        """Return the schedule and the end of the trace."""
        told = [f"config: {self.config.describe()}", "schedule:"]
        told += [f"  {step[0]:9.3f} {step[1]}({', '.join(map(repr, step[2:]))})" for step in self.steps]
        told.append(f"trace (last {lines}):")
        quiet = inputs.Written | inputs.Tick | inputs.PongReceived | actions.SendPing | actions.SaveHandle
        shown = [entry for entry in self.trace if not isinstance(entry[2], quiet)]
        written: list[str] = []
        for when, kind, what in shown:
            line = _short(kind, what)
            if kind == "in" and line.startswith("~"):
                continue  # the app's own audio, as it goes on the wire anyway
            if line.startswith("~") and written and written[-1][11:15] == "~ ->":
                written[-1] += line[4:]
            else:
                written.append(f"{when - 1000.0:9.3f}  {line}")
        told += [f"  {line}" for line in written[-lines:]]
        return "\n".join(told)


def _short(kind: str, what: object) -> str:
    match what:
        case inputs.FrameReceived(connection, message):
            return f"  <- {connection} {message.raw.decode()}"
        case inputs.Send(message):
            return f"{'~' if message.media_seconds else 'app ->'} {message.frame}"
        case actions.SendFrame(connection, frame) if AUDIO_TYPE in frame:
            chunk = Chunk.decode(frame.partition('"data":"')[2].rstrip('"}'))
            return f"~ -> {connection}:#{chunk.number}{'u' + str(chunk.utterance) if chunk.utterance else ''}"
        case actions.SendFrame(connection, frame):
            return f"  -> {connection} {frame}"
        case actions.Notify(event):
            facts = ", ".join(f"{name}={value!r}" for name, value in asdict(event).items())
            return f"  * {type(event).__name__}({facts})"
    if kind == "app":
        return f"app <- {what.raw.decode()}"  # type: ignore[attr-defined]
    if kind == "step":
        return f"--- {what}"
    return f"  {'<' if kind == 'in' else '>'} {what!r}"


# ---------------------------------------------------------------------- schedules from seeds


PROFILES = ("default", "stress", "settle", "refuse", "audio")
"""Mixes of schedules: more cuts, the settle policy, refused handles, spoken questions."""


def make_config(seed: int, profile: str = "default") -> Config:
    """Draw a config."""
    rng = random.Random(f"config {seed} {profile}")
    transparent = rng.random() < 0.5
    speech = "none"
    if profile == "audio":
        speech = rng.choice(("vad", "vad", "manual"))
    family = rng.choice(("2.x", "2.x", "3.x"))
    settings = Settings(
        transparent=transparent,
        family=family,
        overlap=rng.choice(("interrupt", "queue", "merge")),
        snapshot_at=rng.choice(("turn_complete", "sending")),
        lag=rng.choice((0, 0, 1, 3)) if transparent and speech != "vad" else 0,
        updates=rng.choice((0.0, 0.2, 0.5)),
        tools=rng.choice((0.0, 0.0, 0.5)) if speech == "none" else 0.0,
        reissue=rng.choice(("same", "same", "any", "other", "none", "order", "extra")),
        two_frames=rng.random() < 0.3,
        speech=speech,
        handle_delay=(0.02, 0.07) if transparent else (0.5, 0.7),
        think=rng.choice(((0.02, 0.3), (0.2, 3.0))),
    )
    policy = Policy()
    if profile == "settle":
        policy = replace(policy, cut_turn="settle")
    return Config(
        seed=seed,
        server=settings,
        policy=policy,
        pipelined=speech == "none" and rng.random() < 0.3,
        eager=rng.random() < 0.6,
        snake=rng.random() < 0.5,
        late_written=rng.random() < 0.5,
        talk_after_abort=rng.random() < 0.3,
        microphone=speech == "vad" and rng.random() < 0.5,
        loads_history=rng.random() < 0.1,
    )


LINGERS = (0.0, 0.0, 0.0, 0.3, 5.0, 15.0)
STALLS = (1.0, 20.0, 50.0, 120.0)
LEFTS = (None, 0.0, 1.5, 5.0, 10.0, 50.0, 59.5)


def random_step(rng: random.Random, profile: str) -> tuple[Any, ...]:
    """Draw one step."""
    draw = rng.random()
    cuts = 0.12 if profile == "stress" else 0.05
    if draw < cuts:
        return ("cut", rng.randrange(3), rng.randrange(4), rng.choice(LINGERS))
    draw = (draw - cuts) / (1 - cuts)
    refuse = 0.05 if profile == "refuse" else 0.005
    if draw < refuse:
        return ("refuse", rng.randrange(len(INVALID_HANDLES)))
    draw = (draw - refuse) / (1 - refuse)
    table: tuple[tuple[float, Callable[[], tuple[Any, ...]]], ...] = (
        (0.16, lambda: ("ask",)),
        (0.24, lambda: ("context",)),
        (0.30, lambda: ("step", rng.randrange(1, 8))),
        (0.42, lambda: ("wait", rng.choice((0.01, 0.05, 0.1, 0.3, 0.8)))),
        (0.47, lambda: ("wait", rng.choice((2.0, 2.0, 5.0, 5.0, 40.0)))),
        (0.55, lambda: ("tool", rng.randrange(3))),
        (0.63, lambda: ("read", rng.randrange(1, 5))),
        (0.68, lambda: ("update",)),
        (0.70, lambda: ("go_away", left := rng.choice(LEFTS), left if left is not None else 10.0)),
        (0.72, lambda: ("close", rng.randrange(len(LIVE_CLOSES)))),
        (0.727, lambda: ("freeze", rng.choice(LINGERS))),
        (0.739, lambda: ("stall", rng.choice(STALLS), rng.choice((0.0, 35.0)))),
        (0.750, lambda: ("dial_fault", rng.choice(DIAL_FAULTS))),
        (0.753, lambda: ("down", rng.choice((1.0, 5.0, 20.0)))),
        (0.755, lambda: ("hostile", rng.choice((5.0, 70.0)))),
        (0.757, lambda: ("dial_fault", "401")),
        (0.762, lambda: ("cut_warm",)),
        (0.767, lambda: ("force",)),
        (0.771, lambda: ("garbage",)),
        (0.775, lambda: ("sleep", rng.choice((1.0, 20.0)))),
        (0.785, lambda: ("long_speech", rng.choice((6.0, 12.0)))),
        (1.01, lambda: ("step", rng.randrange(1, 20))),
    )
    low = 0.0
    for bound, make in table:
        if low <= draw < bound:
            return make()
        low = bound
    raise AssertionError  # the last bound is above 1


def run(
    seed: int,
    profile: str = "default",
    *,
    steps: int = 80,
    engine: Callable[..., Engine] = Engine,
    log: bool = False,
) -> World:
    """Run one schedule to its end."""
    rng = random.Random(f"schedule {seed} {profile}")
    world = World(make_config(seed, profile), engine, log=log)
    try:
        for _ in range(steps):
            world.do(*random_step(rng, profile))
            if world.finished is not None:
                break
        if rng.random() < 0.03 and world.finished is None:
            world.do("leave")
        world.finish()
    except Violation as violation:
        violation.add_note(f"replay: run({seed}, {profile!r}, steps={steps})\n{world.report()}")
        raise
    except Exception as error:
        error.add_note(f"replay: run({seed}, {profile!r}, steps={steps})\n{world.report()}")
        raise
    return world


def run_many(seeds: range, profile: str, **options: Any) -> dict[str, list[int]]:
    """Run many schedules; return rule -> failing seeds."""
    failing: dict[str, list[int]] = {}
    for seed in seeds:
        try:
            run(seed, profile, **options)
        except Violation as violation:
            failing.setdefault(violation.rule, []).append(seed)
        except Exception as error:
            failing.setdefault(type(error).__name__, []).append(seed)
    return failing


if __name__ == "__main__":
    import sys
    import time

    chosen = sys.argv[1] if len(sys.argv) > 1 else "default"
    span = range(*map(int, sys.argv[2].split(":"))) if len(sys.argv) > 2 else range(500)
    begun = time.perf_counter()
    if len(span) == 1:
        run(span[0], chosen, steps=int(os.environ.get("STEPS", "80")))
    outcome = run_many(span, chosen)
    spent = time.perf_counter() - begun
    print(f"{chosen}: {len(span)} schedules in {spent:.1f} s ({spent / len(span) * 1000:.1f} ms each)")
    for rule, seeds in sorted(outcome.items()):
        print(f"  {rule}: {len(seeds)}, e.g. {seeds[:8]}")
