"""Many sessions against one service, in virtual time: engines and decisions as shipped, and nothing of theirs copied.

The service is a few numbers: how far away it is, how long it takes over a setup, when it is down, and how many connections
it lets in per second. What is asked of it: when sessions dial, and how long each is without a connection.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from resumekit.core import actions, events, inputs
from resumekit.core.engine import Engine
from resumekit.core.failures import Failure, Phase, Side
from resumekit.core.policy import Policy
from resumekit.core.state import State
from resumekit.defaults.decisions import DefaultDecisions
from resumekit.wire import decode_client, decode_server

__all__ = ["Fleet", "Service", "Session", "peak", "percentile"]

_encode = msgspec.json.encode

SETUP = '{"setup":{"model":"models/gemini-2.5-flash-live","sessionResumption":{}}}'
QUESTION = decode_client(
    '{"clientContent":{"turns":[{"role":"user","parts":[{"text":"How is the weather?"}]}],"turnComplete":true}}'
)
SETUP_COMPLETE = decode_server(b'{"setupComplete":{}}')
FIRST_WORD = decode_server(b'{"serverContent":{"modelTurn":{"parts":[{"text":"It"}]}}}')
TURN_COMPLETE = decode_server(b'{"serverContent":{"turnComplete":true}}')
HANDLE_AFTER = 0.6
"""Seconds from the end of a turn to its handle (Developer API)."""


@dataclass(kw_only=True)
class Service:
    """What the sessions dial. Times are seconds."""

    rtt: float = 0.05
    """Round trip. A dial takes three: TCP, TLS 1.3 and the upgrade."""
    jitter: float = 0.0
    """Each way takes up to so much of half a round trip more, or less."""
    setup_time: float = 0.0
    """From the arrival of a setup to its answer."""
    down_until: float = -math.inf
    """Connections are refused until then."""
    quota: int | None = None
    """So many connections are let in within any second; the others get HTTP 429."""
    retry_after: float | None = None
    """What the 429 says about that."""
    close_answered: float = 1.0
    """Round trips from a close to the moment at which the engine is told that it is done. 1: when it is."""
    releases: tuple[float, float] = (0.0, 0.0)
    """How long after a close has arrived the service still holds the session; a setup that comes before gets 1011."""


@dataclass(eq=False)
class Session:
    """One session, and what became of it."""

    engine: Engine
    connection: int = 0
    """The newest that was set up."""
    bound: bool = False
    released_at: float = -math.inf
    """When the service lets go of the connection before."""
    handles: int = 0
    answer: float = 0.0
    """How long the service speaks."""
    dials: list[float] = field(default_factory=list)
    lost_at: float | None = None
    """When the conversation was last without a connection."""
    gaps: list[float] = field(default_factory=list)
    """How long, each time."""
    delays: list[float] = field(default_factory=list)
    """What the engine waited for on purpose."""
    quiet_moves: int = 0
    forced_moves: int = 0
    cut_turns: int = 0
    lost: int = 0
    refused: int = 0
    """Setups that the old binding was in the way of."""
    error: BaseException | None = None
    wake: float | None = None


class Fleet:
    """Sessions that had a turn each and are live, and the service that they are connected to."""

    def __init__(self, size: int, service: Service, *, policy: Policy | None = None, seed: int = 1) -> None:
        self.service = service
        self.rng = random.Random(seed)
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._events = 0
        self._admitted: deque[float] = deque()
        self.sessions = [self._begin(policy or Policy()) for _ in range(size)]
        self.run(5.0)
        for session in self.sessions:
            session.dials.clear()

    def _begin(self, policy: Policy) -> Session:
        engine = Engine(SETUP, policy=policy, decisions=DefaultDecisions(), transparent=False, random=self.rng.random)
        session = Session(engine)
        self.feed(session, inputs.Start())
        self.at(1.0, self.ask, session, 0.0)
        return session

    # ------------------------------------------------------------------ what happens to all

    def ask(self, session: Session, answer: float) -> None:
        """Let its user ask something; the answer takes so many seconds."""
        session.answer = answer
        self.feed(session, inputs.Send(QUESTION))

    def go_away(self, left: float) -> None:
        """Announce the end of all connections at once, and keep to it."""
        message = decode_server(_encode({"goAway": {"timeLeft": f"{left:g}s"}}))
        for session in self.sessions:
            self.feed(session, inputs.FrameReceived(session.connection, message))
            self.at(
                left, self._cut, session, session.connection, 1011, "Deadline expired before operation could complete."
            )

    def cut(self, sessions: Iterable[Session] | None = None) -> None:
        """Cut all connections at once, or those of some sessions."""
        for session in self.sessions if sessions is None else sessions:
            self._cut(session, session.connection, 1006, "")

    def _cut(self, session: Session, number: int, code: int, reason: str) -> None:
        if session.connection == number and session.bound:
            session.bound = False
            failure = Failure(
                phase=Phase.LIVE, side=Side.NOBODY if code == 1006 else Side.THEY, code=code, reason=reason
            )
            self.feed(session, inputs.ConnectionEnded(number, failure))

    # ------------------------------------------------------------------ clock

    def at(self, delay: float, what: Callable[..., None], *args: Any) -> None:
        """Have something happen later."""
        self._events += 1
        heapq.heappush(self._heap, (self.now + delay, self._events, what, args))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self._heap and self._heap[0][0] <= until:
            self.now, _, what, args = heapq.heappop(self._heap)
            what(*args)
        self.now = until

    def _wake(self, session: Session, when: float) -> None:
        if session.wake == when:
            session.wake = None
            self.feed(session, inputs.Tick())

    # ------------------------------------------------------------------ engine and service

    def feed(self, session: Session, happened: inputs.Input) -> None:
        """Give an engine an input, and carry out what it wants; the transport takes at once what it writes."""
        todo = deque(session.engine.feed(happened, self.now))
        while todo:
            action = todo.popleft()
            self._carry_out(session, action)
            if isinstance(action, actions.SendFrame):
                todo += session.engine.feed(inputs.Written(action.connection), self.now)
        wake = session.engine.wake_at
        if wake is not None and wake != session.wake:
            session.wake = wake
            self.at(max(wake - self.now, 0.0), self._wake, session, wake)

    def _carry_out(self, session: Session, action: actions.Action) -> None:
        match action:
            case actions.OpenConnection(number):
                session.dials.append(self.now)
                down = self.now < self.service.down_until
                self.at((1 if down else 3) * self._round(), self._dialled, session, number, down)
            case actions.SendFrame(number, frame) if frame.startswith('{"setup"'):
                session.connection, session.bound = number, False
                self.at(self._round() / 2, self._setup, session, number)
            case actions.SendFrame(number, frame) if "turnComplete" in frame:
                self.at(self._round(), self._frame, session, number, FIRST_WORD)
                self.at(self._round() * 2 + session.answer, self._turn_ends, session, number)
            case actions.CloseConnection(number):
                session.bound = False
                low, high = self.service.releases
                arrives = self._round() / 2
                session.released_at = self.now + arrives + low + (high - low) * self.rng.random()
                self.at(2 * arrives * self.service.close_answered, self._closed, session, number)
            case actions.SendPing(number):
                self.at(self._round(), self._pong, session, number)
            case actions.Notify(event):
                self._told(session, event)
            case actions.Finish(error):
                session.error = error
            case _:
                pass

    def _told(self, session: Session, event: events.Event) -> None:
        match event:
            case events.Moving(quiet=quiet):
                session.quiet_moves += quiet
                session.forced_moves += not quiet
                session.lost_at = self.now
            case events.ConnectionLost():
                session.lost += 1
                session.lost_at = self.now if session.lost_at is None else session.lost_at
            case events.TurnCut():
                session.cut_turns += 1
            case events.ReconnectScheduled(delay=delay):
                session.delays.append(delay)
            case events.Resumed() if session.lost_at is not None:
                session.gaps.append(self.now - session.lost_at)
                session.lost_at = None
            case _:
                pass

    def _round(self) -> float:
        return self.service.rtt * (1.0 + self.service.jitter * (2.0 * self.rng.random() - 1.0))

    def _dialled(self, session: Session, number: int, down: bool) -> None:
        failure: Failure | None = None
        if down:
            failure = Failure(phase=Phase.DIAL, side=Side.NOBODY, reason="connection refused")
        elif not self._admits():
            after = self.service.retry_after
            failure = Failure(phase=Phase.DIAL, side=Side.THEY, status=429, retry_after=after)
        self.feed(session, inputs.Dialed(number) if failure is None else inputs.DialFailed(number, failure))

    def _admits(self) -> bool:
        if self.service.quota is None:
            return True
        while self._admitted and self._admitted[0] <= self.now - 1.0:
            self._admitted.popleft()
        if len(self._admitted) >= self.service.quota:
            return False
        self._admitted.append(self.now)
        return True

    def _setup(self, session: Session, number: int) -> None:
        if self.now < session.released_at:
            session.refused += 1
            failure = Failure(phase=Phase.BIND, side=Side.THEY, code=1011, reason="Session is already in use.")
            self.at(self._round() / 2, self.feed, session, inputs.ConnectionEnded(number, failure))
        else:
            self.at(self.service.setup_time + self._round() / 2, self._frame, session, number, SETUP_COMPLETE)

    def _frame(self, session: Session, number: int, message: Any) -> None:
        if session.connection == number:
            session.bound = session.bound or message is SETUP_COMPLETE
            if session.bound:
                self.feed(session, inputs.FrameReceived(number, message))
                while session.engine.take() is not None:
                    pass

    def _turn_ends(self, session: Session, number: int) -> None:
        self._frame(session, number, TURN_COMPLETE)
        session.handles += 1
        update = {"sessionResumptionUpdate": {"newHandle": f"handle-{session.handles}", "resumable": True}}
        self.at(HANDLE_AFTER, self._frame, session, number, decode_server(_encode(update)))

    def _closed(self, session: Session, number: int) -> None:
        self.feed(session, inputs.ConnectionEnded(number, Failure(phase=Phase.LIVE, side=Side.WE, code=1000)))

    def _pong(self, session: Session, number: int) -> None:
        if session.connection == number and session.bound:
            self.feed(session, inputs.PongReceived(number))

    # ------------------------------------------------------------------ looking back

    @property
    def live(self) -> int:
        """How many sessions have a connection."""
        return sum(session.engine.state in (State.LIVE, State.DRAINING) for session in self.sessions)

    @property
    def dials(self) -> list[float]:
        """When connections were dialled since the sessions were live."""
        return sorted(when for session in self.sessions for when in session.dials)

    @property
    def gaps(self) -> list[float]:
        """How long sessions were without a connection."""
        return [gap for session in self.sessions for gap in session.gaps]


def peak(moments: list[float], span: float = 1.0) -> int:
    """Return how many of the sorted moments fall into any one second at most."""
    most = first = 0
    for position, moment in enumerate(moments):
        while moments[first] <= moment - span:
            first += 1
        most = max(most, position - first + 1)
    return most


def percentile(values: list[float], share: float) -> float:
    """Return the value that so large a share of them does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]
