"""The resumption machine: one session of the Live API, across any number of connections.

`Engine.feed` takes what happened and returns what is to be done. No clock, no sockets, no
randomness of its own: time and draws are arguments, so that every schedule can be replayed.
This file owns the life of connections; what is said on them is `Conversation`'s.

`state` has the table of states. `RULES n`, here and elsewhere, is a rule of docs/explanation/rules.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from resumekit.core import actions, events, inputs
from resumekit.core.binding import Binding
from resumekit.core.conversation import Conversation
from resumekit.core.failures import Failure, Phase, Side, Verdict
from resumekit.core.handles import HandleRecord, PendingMessage
from resumekit.core.inbox import Inbox, Kind, Origin
from resumekit.core.limits import SessionAge
from resumekit.core.link import Link
from resumekit.core.outage import Outage
from resumekit.core.pending import pending_messages, restore
from resumekit.core.policy import (
    Decisions,
    Policy,
    RecoveryAction,
)
from resumekit.core.questions import Questions
from resumekit.core.room import MEDIA
from resumekit.core.setup import Setup
from resumekit.core.state import FINAL, Machine, State, Trigger
from resumekit.core.stats import Counters
from resumekit.core.timers import TimerName, Timers
from resumekit.core.watch import Watch
from resumekit.errors import BufferFull, RemoteProtocolError, ResumekitError, SessionClosed
from resumekit.wire import (
    ClientKind,
    ClientMessage,
    HistoryTurn,
    MediaShape,
    ResumptionHandle,
    ServerMessage,
    media_shape,
)

__all__ = ["Engine"]

_IN_FLIGHT = 16
"""Frames that the transport may hold; more wait in the outbox, where they can still be dropped."""
_UNREADABLE = 16
"""Frames in a row that are no JSON, after which something other than the service is at the other end."""
_ON_AIR = (State.LIVE, State.DRAINING)


class Engine:
    """One resumable session.

    Call `feed` with `inputs.Start` first. After every call look at `wake_at` and call `feed` with
    `inputs.Tick` when that time has come. `take` hands the next frame to the application.

    Args:
        setup: the setup frame of the application, as JSON.
        policy: limits and choices.
        decisions: who answers the engine's questions.
        transparent: the service reports which messages it consumed (Vertex).
        random: draws from [0, 1).
        handle: one that the application brings; else the one in `setup`.
        history: what a fresh start replays, before what is said in this session.
        loads_history: `actions.LoadHistory` is answered, and replaces the engine's own transcript.
        credentials_renewable: a new dial may bring new credentials.
        express: `feed_media` may take frames; it makes no difference but in speed.

    Raises:
        LocalProtocolError: `setup` is not a setup frame.
    """

    __slots__ = (
        "_actions",
        "_age",
        "_ask",
        "_binding",
        "_decisions",
        "_down_since",
        "_express",
        "_failure",
        "_given_handle",
        "_last_number",
        "_link",
        "_machine",
        "_now",
        "_open_answer",
        "_outage",
        "_planned",
        "_policy",
        "_random",
        "_setup",
        "_shape",
        "_stream",
        "_talk",
        "_timers",
        "_transparent",
        "_warm",
        "_watch",
        "setup_complete",
        "stats",
    )

    def __init__(
        self,
        setup: str,
        *,
        policy: Policy,
        decisions: Decisions,
        transparent: bool,
        random: Callable[[], float],
        handle: ResumptionHandle | None = None,
        history: Sequence[HistoryTurn] = (),
        loads_history: bool = False,
        credentials_renewable: bool = False,
        express: bool = True,
    ) -> None:
        self._policy = policy
        self._decisions = decisions
        self._transparent = transparent
        self._random = random
        self._setup = Setup.parse(setup)
        self._machine = Machine()
        self._outage = Outage(policy)
        self.stats = Counters()
        self._talk = Conversation(
            policy,
            self._setup,
            transparent=transparent,
            notify=self._notify,
            save=self._save,
            stats=self.stats,
        )
        self._talk.transcript.replace(history)
        self._ask = Questions(
            decisions,
            policy,
            self._setup,
            self._talk,
            transparent=transparent,
            credentials_renewable=credentials_renewable,
            random=random,
        )
        self._given_handle = handle or self._setup.handle
        self.setup_complete: ServerMessage | None = None
        """The first one; None before."""

        self._now = 0.0
        self._actions: list[actions.Action] = []
        self._timers = Timers()
        self._link: Link | None = None
        """The current connection; the one that is being dialled included."""
        self._warm: Link | None = None
        """The next one, dialled ahead."""
        self._last_number = 0
        self._binding = Binding(policy, self._setup, self._talk, transparent=transparent, loads_history=loads_history)
        self._failure: Failure | None = None
        """The last one; None once a connection is proven."""
        self._down_since: float | None = None
        self._planned = False
        self._watch = Watch(
            policy, proactive=self._setup.proactive, timers=self._timers, inbox=self._talk.inbox, do=self._do
        )
        self._age = SessionAge(policy, self._setup, self._timers)
        self._express = express
        self._shape: MediaShape | None = None
        """The newest one of plain media that came."""
        self._stream: Link | None = None
        """Where audio may go at once, if nothing else would come of it: the express lane of what is sent."""
        self._open_answer: Origin | None = None
        """Where one more piece of plain media of that shape goes, if nothing else would come of it: the express lane."""

    # ------------------------------------------------------------------ for the driver

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._machine.state

    @property
    def inbox(self) -> Inbox:
        """Frames that the application has not taken; `full` tells to stop reading the socket."""
        return self._talk.inbox

    @property
    def wake_at(self) -> float | None:
        """When to feed `inputs.Tick` next; None: never, as things stand."""
        return min(self._timers.values(), default=None)

    @property
    def was_given_handle(self) -> bool:
        """Whether the application brought the first handle."""
        return self._given_handle is not None

    @property
    def handle_due(self) -> float | None:
        """When the handle of the last turn should have come; None: it came, or none is to come."""
        link = self._link
        if self.state not in _ON_AIR or link is None or not link.ended or link.turn_end_at is None:
            return None
        return link.turn_end_at + self._policy.handle_wait

    def pending(self) -> tuple[tuple[PendingMessage, ...], int]:
        """Return what the newest handle does not hold, for another process, and how many messages were left out."""
        return pending_messages(self._talk.outbox, self._policy.store_bytes)

    def feed(self, happened: inputs.Input, now: float) -> list[actions.Action]:
        """Take what happened at `now` (monotonic seconds); return what to do, in order.

        After `actions.Finish` nothing changes any more.

        Raises:
            SessionClosed: the application sends, or reconnects, after the end.
        """
        self._now = now
        open_answer, self._open_answer = self._open_answer, None  # whatever happens may end it
        self._stream = None
        if self.state in FINAL:
            if isinstance(happened, inputs.Send | inputs.ForceReconnect):
                raise SessionClosed
            return []
        match happened:  # the frequent ones first
            case inputs.FrameReceived():
                self._on_frame(happened)
            case inputs.Send():
                self._on_send(happened)
                if happened.message.kind in MEDIA and self._talk.outbox.first_unsent() is None:
                    self._open_answer = open_answer  # the microphone goes on while the model speaks
            case inputs.Written():
                self._on_written(happened)
                self._open_answer = open_answer
            case inputs.Tick():
                self._on_tick()
            case inputs.PongReceived():
                self._on_pong(happened)
            case inputs.FrameUnreadable():
                self._on_unreadable(happened)
            case inputs.Dialed():
                self._on_dialed(happened)
            case inputs.DialFailed():
                self._on_dial_failed(happened)
            case inputs.ConnectionEnded():
                self._on_ended(happened)
            case inputs.HistoryLoaded():
                self._on_history_loaded(happened)
            case inputs.Start():
                self._on_start(happened)
            case inputs.Remember():
                self._talk.remember(happened.turns)
            case inputs.ForceReconnect():
                self._on_force_reconnect()
            case inputs.ClockJumped():
                self._on_clock_jumped(happened.seconds, happened.seconds - happened.uncounted)
            case _:
                self._on_close(happened)
        todo, self._actions = self._actions, []
        return todo

    def feed_media(self, connection: int, frame: bytes, now: float) -> bool:
        """Take a frame undecoded, if it is one more piece of plain media of the answer that is under way.

        It then has the effect that it would have had through `feed`, and there is nothing to do. False: it had none;
        decode it and `feed` it.
        """
        answer, link, shape = self._open_answer, self._link, self._shape
        if answer is None or link is None or shape is None or link.number != connection or not shape.matches(frame):
            return False
        if not self._talk.inbox.put_media(frame, answer):
            return False
        link.hear(now)
        link.answered_at = now
        self.stats.frames_received += 1
        return True

    def streams(self, connection: int, message: ClientMessage) -> bool:
        """Tell whether a message is audio that may be written to a connection now, and nothing else would come of it.

        If it was, call `streamed`: that has the effect of `inputs.Send` and `inputs.Written` through `feed`, and there
        is nothing to do. Else `feed` it.
        """
        link = self._stream or self._open_stream()
        return (
            link is not None
            and link.number == connection
            and message.kind is ClientKind.AUDIO
            and message.size <= self._policy.audio_bytes
            and message.media_seconds <= self._policy.audio_seconds
        )

    def streamed(self, message: ClientMessage) -> None:
        """Note that a message which `streams` was written."""
        assert self._stream is not None
        self._talk.stream(self._stream, message)

    def _open_stream(self) -> Link | None:
        link = self._link
        if link is not None and self._express and self.state in _ON_AIR and link.in_flight < _IN_FLIGHT:
            self._stream = link if self._talk.may_stream(link) else None
        return self._stream

    def take(self) -> ServerMessage | None:
        """Hand the next frame to the application; None: there is none now."""
        item = self._talk.inbox.take()
        return None if item is None else item.message

    def take_frame(self) -> ServerMessage | bytes | None:
        """As `take`, but plain media that came by `feed_media` stay bytes."""
        item = self._talk.inbox.take()
        return None if item is None else item.frame

    def insert(self, message: ServerMessage) -> None:
        """Put a frame of an adapter's own behind those that wait for the application."""
        self._talk.inbox.put(message)

    def fits(self, message: ClientMessage) -> bool:
        """Whether a message can be buffered at all, were everything else gone."""
        return self._talk.room.fits(message)

    def has_room(self, message: ClientMessage) -> bool:
        """Whether a message can be taken now. Media always can: the oldest goes."""
        return self._talk.room.has_room(message)

    def buffer_full(self, message: ClientMessage) -> BufferFull:
        """Return the error for a message that found no room."""
        return self._talk.room.buffer_full(message)

    # ------------------------------------------------------------------ the application

    def _on_start(self, happened: inputs.Start) -> None:
        self._outage.begin(self._now)
        self._timers["first"] = self._now + self._policy.first_connect_deadline
        handle, age = (self._given_handle, 0.0) if self._given_handle is not None else (happened.handle, happened.age)
        if handle is happened.handle:
            restore(self._talk.outbox, happened.pending)
        if handle is not None and self._policy.resumption == "on":
            point = self._talk.point
            point.base = point.record(handle, None, 0, self._now - age)
        self._machine.fire(Trigger.START)
        self._open()

    def _on_send(self, happened: inputs.Send) -> None:
        self._talk.accept(happened.message)
        self._pump()
        if self._talk.room.has_dropped and "drops" not in self._timers:
            self._timers["drops"] = self._now

    def _on_close(self, happened: inputs.Close) -> None:
        link = self._link
        if link is not None:
            self._talk.point.promote(link)
        if happened.forget:
            self._do(actions.ForgetHandle())
        self._machine.fire(Trigger.CLOSE)
        self._end(None)

    def _on_force_reconnect(self) -> None:
        if self.state in _ON_AIR:
            self._move(quiet=False, cause="request")
        elif self.state is State.WAITING:
            self._timers["retry"] = min(self._timers["retry"], self._now + self._outage.closed_for(self._now))

    # ------------------------------------------------------------------ dialling and binding

    def _open(self) -> None:
        """Have a connection opened, or take the warm one."""
        if self.state is not State.DIALING:
            self._machine.fire(Trigger.DIAL)
        self._timers.stop("retry")
        self._link, self._warm = self._warm, None
        if self._link is None:
            self._link = self._dial(ahead=False)
        self._bind()

    def _dial(self, *, ahead: bool) -> Link:
        self._outage.dialled(self._now, ahead=ahead)
        self._last_number += 1
        self.stats.dials += 1
        self._timers["dial"] = self._now + self._policy.connect_timeout
        self._do(actions.OpenConnection(self._last_number))
        return Link(self._last_number)

    def _resume_record(self) -> HandleRecord | None:
        """Return the record to resume from, unless it is too old to be tried, or its session nears its limit."""
        record = self._talk.point.base
        if record is None:
            return None
        if self._age.renewing:
            self._talk.point.clear()
            self._do(actions.ForgetHandle())
            return None
        # It expires some time after the *end* of its connection, so its age is a careful measure.
        since = self._down_since if self._down_since is not None else self._now
        if self._now - since <= self._policy.validity_of_handles(transparent=self._transparent):
            return record
        self._refuse(record, "expired")
        return None

    def _on_dialed(self, happened: inputs.Dialed) -> None:
        for link in (self._link, self._warm):
            if link is not None and link.number == happened.connection:
                link.opened = True
                self._timers.stop("dial")
                if link is self._link:
                    self._bind()
                elif self.state is State.DRAINING:
                    self._move_if_quiet()
                return
        self.stats.stale_inputs += 1

    def _on_history_loaded(self, happened: inputs.HistoryLoaded) -> None:
        if happened.turns is None:
            self._notify(events.HistoryNotLoaded(problem=happened.problem))
        if self._binding.history.loaded(happened.turns) and self.state is State.DIALING:
            self._bind()

    def _bind(self) -> None:
        """Send setup, once the connection is open and the history that it needs is there."""
        link = self._current
        record = self._resume_record()
        if record is None and not self._binding.history.ready:
            self._timers.setdefault("history", self._now + self._policy.setup_timeout)
            if self._binding.history.ask():
                self._do(actions.LoadHistory())
            return
        if not link.opened:
            return
        self._timers.stop("history")
        frame = self._binding.setup_frame(link, record)
        self._machine.fire(Trigger.BIND)
        self._timers["bind"] = self._now + self._policy.setup_timeout
        self._write(link, frame)

    def _bound(self, link: Link, message: ServerMessage) -> None:
        """`setupComplete`: replay what must be replayed, resend what must be resent, go on."""
        self._machine.fire(Trigger.BOUND)
        link.bound_at = link.last_byte = link.answered_at = self._now
        del self._timers["bind"]
        self._timers.stop("first")
        self._timers["proof"] = self._now + self._policy.proven_after
        self._timers["silence"] = self._now + self._policy.ping_idle
        first = self.setup_complete is None
        if first:
            self.setup_complete = message
        if first or link.record is None:
            self._watch.progressed()
            self._age.begin(self._now)
        replay = self._binding.replay_frame(link)
        if replay is not None:
            self._write(link, replay)
        downtime = 0.0 if self._down_since is None else self._now - self._down_since
        self._down_since = None
        told = self._binding.told(link, first=first, planned=self._planned, downtime=downtime, now=self._now)
        self._pump()
        self._notify(told)
        self.stats.connections += 1
        if first:
            return
        self.stats.downtime += downtime
        self.stats.moves += self._planned
        self.stats.resumes += link.record is not None
        self.stats.fresh_starts += link.record is None
        self._planned = False
        if self._age.renewing:
            self._renew(link)

    # ------------------------------------------------------------------ frames

    def _on_written(self, happened: inputs.Written) -> None:
        link = self._link
        if link is None or link.number != happened.connection:
            self.stats.stale_inputs += 1
            return
        link.in_flight -= 1
        if self._talk.outbox.first_unsent() is not None:
            self._pump()

    def _pump(self) -> None:
        """Send what may be sent now."""
        link = self._link
        if link is None or self.state not in _ON_AIR:
            return
        streams = others = False
        while link.in_flight < _IN_FLIGHT:
            message = self._talk.next_message(link)
            if message is None:
                break
            self._write(link, self._talk.mark_sent(link, message))
            if message.body.kind in MEDIA:
                streams = True
            else:
                others = True
            if message.turn is not None:
                link.ask(self._now)
            elif message.body.kind is ClientKind.VIDEO and not self._age.video:
                self._age.show_video(self._now)
        if streams and not others and "pace" not in self._timers and self._talk.outbox.first_unsent() is None:
            return  # what streams is not waited for, nor does it wait
        if link.held_from is not None:
            self._timers.setdefault("rebind", self._now + self._policy.rebind_timeout)
        else:
            self._timers.stop("rebind")
        if self._talk.holds_back(link):
            self._timers["pace"] = link.pace_ends(self._policy)
        else:
            self._timers.stop("pace")
        self._watch_out(link)

    def _write(self, link: Link, frame: str) -> None:
        link.in_flight += 1
        self._do(actions.SendFrame(link.number, frame))

    def _on_frame(self, happened: inputs.FrameReceived) -> None:
        link = self._link
        if link is None or link.number != happened.connection or self.state is State.MOVING:
            self.stats.stale_inputs += 1
            return
        self.stats.frames_received += 1
        message = happened.message
        if self.state is State.BINDING:
            if message.setup_complete is not None:
                self._bound(link, message)
            else:
                self._discard_frame(link, len(message.raw), "it came before setupComplete")
            return
        link.arrive(self._now)
        try:
            ended = self._talk.receive(link, message, self._now)
        except RemoteProtocolError as error:  # nested so deep that it can be read, and not edited
            ended = False
            self._discard_frame(link, len(message.raw), str(error))
        link.hear(self._now)
        link.unreadable = 0
        if message.server_content is not None or message.tool_call is not None:
            link.answered_at = self._now
        if ended:
            self._watch.progressed()
            self._prove(link)
        self._watch.wait_for_part(link, self._now, ended=ended)
        self._watch.look_at_reading(link, self._now)
        if message.go_away is not None:
            self._go_away(link, message.go_away.seconds)
        if self._talk.outbox.first_unsent() is not None:
            self._pump()
        if self.state is State.DRAINING:
            self._move_if_quiet()
        if self._express:
            self._open_express_lane(link, message)

    def _open_express_lane(self, link: Link, message: ServerMessage) -> None:
        """See to it that `feed_media` takes what comes next, if that would only add to the answer under way."""
        shape, content = self._shape, message.server_content
        if content is not None and content.model_turn is not None and not (shape and shape.matches(message.raw)):
            shape = self._shape = media_shape(message) or shape
        if shape is None or self._talk.inbox.full:
            return
        turn = self._talk.open_answer(link)
        if turn is not None:
            self._open_answer = Origin(Kind.OUTPUT, turn, turn.part, shape=shape)

    def _on_unreadable(self, happened: inputs.FrameUnreadable) -> None:
        link = self._link
        if self.state is State.MOVING or link is None or link.number != happened.connection:
            return
        link.hear(self._now)
        self._discard_frame(link, happened.size, happened.problem)
        link.unreadable += 1
        if link.unreadable == _UNREADABLE:
            phase = Phase.BIND if link.bound_at is None else Phase.LIVE
            self._give_up_connection(phase, f"{_UNREADABLE} frames in a row that cannot be read")

    def _discard_frame(self, link: Link, size: int, problem: str) -> None:
        self._notify(events.FrameDiscarded(connection=link.number, size=size, problem=problem))

    def _on_pong(self, happened: inputs.PongReceived) -> None:
        link = self._link
        if link is not None and link.number == happened.connection:
            if link.echo(self._now):
                self._watch.wait_for_part(link, self._now, ended=False)
                if link.judged_at and self.state in _ON_AIR:
                    self._no_progress()
            self._pump()

    def _prove(self, link: Link) -> None:
        link.proven = True
        self._failure = None  # with its error, which holds on to the connection that it ended
        self._timers.stop("proof", "outage")
        self._outage.proved()

    # ------------------------------------------------------------------ goAway and moves

    def _go_away(self, link: Link, announced: float | None) -> None:
        self._drain(link, Trigger.GO_AWAY, link.time_left(announced, self._policy, self._now))
        self._notify(
            events.GoAwayReceived(
                connection=link.number, time_left=announced, move_within=self._timers["drain"] - self._now
            )
        )

    def _drain(self, link: Link, trigger: Trigger, time_left: float | None) -> None:
        """Leave at a quiet point if there is one, by the own deadline at the latest; dial the next connection ahead."""
        move = self._ask.move(link, time_left, self._now)
        deadline = self._now + move.deadline
        if self.state is State.DRAINING:
            deadline = min(self._timers.get("drain", deadline), deadline)
        else:
            self._machine.fire(trigger)
            # A connection that has proved nothing and is told to go counts as a failure: no dial ahead of the backoff.
            if move.warm_dial is not None and link.proven:
                self._timers["warm"] = self._now + move.warm_dial
        self._timers["drain"] = deadline

    def _move_if_quiet(self) -> None:
        """Move now if nothing is open, the last turn is anchored (RULES 1), and the next connection is there."""
        link = self._current
        if link.busy or link.speaking or self._talk.outbox.control.unsent:
            return
        if "warm" in self._timers or (self._warm is not None and not self._warm.opened):
            return  # else all sessions that are quiet when a service tells them to go would dial at once
        if not self._age.renewing:
            if self._policy.resumption == "on" and self._talk.point.base is None:
                return
            if not link.proven and self._talk.point.base is link.record:
                return  # one planned move for each handle, or a service that says goAway to all would be stormed
        patience = self.handle_due
        if patience is not None and self._now < patience:
            self._timers["handle"] = patience
            return
        self._move(quiet=True)

    def _move(self, *, quiet: bool, cause: Literal["goAway", "limit", "request"] | None = None) -> None:
        """Leave the connection: close it, and go on once it is closed (close first, bind late)."""
        link = self._current
        self._machine.fire(Trigger.MOVE)
        self._planned = True
        self._down_since = self._now
        self._clear_link_timers()
        cause = cause or ("limit" if self._age.renewing else "goAway")
        self._notify(events.Moving(connection=link.number, quiet=quiet, cause=cause))
        self._talk.connection_gone(link)
        link.closing = True
        self._do(actions.CloseConnection(link.number))
        self._timers["release"] = self._now + self._policy.close_wait

    def _released(self) -> None:
        """The old connection is gone: bind the next one."""
        link = self._current
        self._timers.stop("release")
        self._link = None
        self._machine.fire(Trigger.WAIT)
        if link.proven:
            self._open()
        else:
            self._outage.begin(self._now)
            self._wait(Verdict.RESUME_NOW, None)

    # ------------------------------------------------------------------ losses

    def _on_dial_failed(self, happened: inputs.DialFailed) -> None:
        if self._warm is not None and self._warm.number == happened.connection:
            self._dial_ahead_again(happened.failure.retry_after)
        elif self._link is not None and self._link.number == happened.connection:
            self._lost(happened.failure)
        else:
            self.stats.stale_inputs += 1

    def _on_ended(self, happened: inputs.ConnectionEnded) -> None:
        if self._warm is not None and self._warm.number == happened.connection:
            self._dial_ahead_again(happened.failure.retry_after)
        elif self._link is None or self._link.number != happened.connection:
            self.stats.stale_inputs += 1
        elif self.state is State.MOVING:
            self._released()
        else:
            self._lost(happened.failure)

    def _give_up_connection(self, phase: Phase, problem: str, *, poisoned: bool = False) -> None:
        """Abort the current connection: it did not answer in time."""
        link = self._current
        self._do(actions.AbortConnection(link.number))
        self._lost(Failure(phase=phase, side=Side.WE, reason=problem), poisoned=poisoned)

    def _lost(self, failure: Failure, *, poisoned: bool = False) -> None:
        """A connection, or a dial, is lost: find out what it means, and go on accordingly."""
        link = self._current
        self._link = None
        self._failure = failure
        self._clear_link_timers()
        if link.bound_at is not None:
            self._talk.point.promote(link)
        if self._down_since is None and self.setup_complete is not None:
            self._down_since = self._now
        self._outage.begin(self._now)
        record = self._talk.point.base
        verdict = self._ask.verdict(
            failure,
            repeats=self._outage.count(failure),
            first=self.setup_complete is None,
            seconds_down=self._outage.elapsed(self._now) if self._down_since is None else self._now - self._down_since,
            with_handle=link.record is not None,
            now=self._now,
        )
        dead = record if poisoned or verdict is Verdict.HANDLE_DEAD else None
        recovery = self._ask.recovery(failure, verdict, None if dead is not None else record, self._now)
        if link.bound_at is not None:
            self._talk.connection_gone(link, settle=recovery.action is RecoveryAction.SETTLE)
        self._notify(
            events.ConnectionLost(
                connection=link.number,
                phase=failure.phase.value,
                verdict=verdict.value,
                close_code=failure.code,
                status_code=failure.status,
                reason=failure.reason,
                ended_by=failure.side.value,
            )
        )
        if dead is not None:
            self._refuse(dead, failure.reason, poisoned=poisoned)
        if recovery.action is RecoveryAction.FAIL:
            self._give_up(failure, refused=True)
            return
        if recovery.action is RecoveryAction.FRESH:
            self._talk.point.clear()
            if recovery.turns is not None:
                self._binding.history.choose(recovery.turns)
        self._machine.fire(Trigger.FAIL)
        self._wait(verdict, failure.retry_after)

    def _refuse(self, record: HandleRecord, reason: str, *, poisoned: bool = False) -> None:
        self._talk.point.clear()
        age = self._now - record.received_at
        self._notify(events.HandleRefused(digest=repr(record.handle), age=age, reason=reason, poisoned=poisoned))
        if poisoned:
            self._talk.point.poisoned += (record.handle,)
        self._do(actions.PoisonHandle(record) if poisoned else actions.ForgetHandle())

    def _wait(self, verdict: Verdict, retry_after: float | None) -> None:
        """Schedule the next dial, within the outage that the policy allows."""
        delay = self._delay(verdict, retry_after)
        if self.setup_complete is not None:
            self._timers["outage"] = self._now - self._outage.elapsed(self._now) + self._policy.max_outage
        self._timers["retry"] = self._now + delay
        self._notify(events.ReconnectScheduled(attempt=self._outage.attempts + 1, delay=delay))

    def _delay(self, verdict: Verdict, retry_after: float | None, lost_ahead: int = 0) -> float:
        return self._outage.delay(
            self._decisions,
            verdict=verdict,
            retry_after=retry_after,
            lost_ahead=lost_ahead,
            draw=self._random(),
            now=self._now,
        )

    def _give_up(self, failure: Failure, *, refused: bool) -> None:
        """The session is over, with one error that says what was lost and what to do."""
        if self.setup_complete is not None:
            error = self._outage.session_lost(failure, self._talk.outbox, refused=refused, now=self._now)
        else:
            error = self._outage.no_session(failure, refused=refused, now=self._now)
        error.__cause__ = failure.error
        self._machine.fire(Trigger.GIVE_UP)
        self._end(error)

    def _end(self, error: ResumekitError | None) -> None:
        self._timers.clear()
        for link in (self._link, self._warm):
            if link is not None and not link.closing:
                kind = actions.CloseConnection if link.opened else actions.AbortConnection
                self._do(kind(link.number))
        self._link = self._warm = None
        self._talk.room.report_drops()
        outbox = self._talk.outbox
        self._notify(
            events.SessionEnded(
                error=None if error is None else str(error),
                unsent_messages=outbox.waiting,
                unsent_audio=sum(message.body.media_seconds for message in outbox.audio.unsent if not message.index),
            )
        )
        self._do(actions.Finish(error))

    # ------------------------------------------------------------------ time

    def _on_tick(self) -> None:
        self._watch.look_at_reading(self._link, self._now)
        for name in sorted(self._timers, key=self._timers.__getitem__):
            if self._timers.due(name, self._now) and self.state not in FINAL:
                del self._timers[name]
                self._fire(name)

    def _fire(self, timer: TimerName) -> None:
        match timer:
            case "dial":
                self._dial_too_long()
            case "bind":
                self._give_up_connection(Phase.BIND, "no setupComplete within setup_timeout")
            case "history":
                self._on_history_loaded(inputs.HistoryLoaded(None, "it did not come within setup_timeout"))
            case "first":
                waited = Failure(phase=Phase.DIAL, side=Side.WE, reason="no connection within first_connect_deadline")
                self._give_up(self._failure or waited, refused=False)
            case "proof":
                self._prove(self._current)
                if self.state is State.DRAINING:
                    self._move_if_quiet()
            case "outage":
                if self._failure is not None and self.state not in (*_ON_AIR, State.MOVING):
                    self._give_up(self._failure, refused=False)
            case "retry":
                self._open()
            case "drain":
                self._move(quiet=False)
            case "warm":
                self._warm = self._dial(ahead=True)
            case "handle":
                self._move_if_quiet()
            case "release":
                self._do(actions.AbortConnection(self._current.number))
                self._released()
            case "silence":
                self._silent()
            case "progress":
                self._no_progress()
            case "limit":
                self._near_limit()
            case "rebind":
                self._current.lane_released = True
                self._pump()
            case "pace":
                self._current.pace_over = self._current.pace_ends(self._policy) <= self._now
                self._pump()
            case "owed":
                self._watch.doubt_part(self._current, self._now)
            case _:  # drops
                if self._talk.room.report_drops():
                    self._timers["drops"] = self._now + 1.0

    def _clear_link_timers(self) -> None:
        kept: tuple[TimerName, ...] = ("first", "outage", "limit", "drops")
        self._timers.keep(kept if self._warm is None else (*kept, "dial"))

    def _dial_too_long(self) -> None:
        if self._warm is not None:
            self._drop_warm(self._warm)
            return
        self._give_up_connection(Phase.DIAL, "no connection within connect_timeout")

    def _drop_warm(self, warm: Link) -> None:
        self._do(actions.AbortConnection(warm.number))
        self._dial_ahead_again(None)

    def _dial_ahead_again(self, retry_after: float | None) -> None:
        """The connection that was dialled ahead is gone: dial the next one, if there is time before the deadline."""
        self._timers.stop("dial")
        self._warm = None
        if self.state is State.DRAINING:
            self._current.lost_ahead += 1
            self._timers["warm"] = self._now + self._delay(
                Verdict.RESUME_LATER, retry_after, lost_ahead=self._current.lost_ahead
            )

    def _watch_out(self, link: Link) -> None:
        self._watch.arm(link, owes_speech=self._talk.owes_speech)

    def _silent(self) -> None:
        link = self._current
        if self._watch.is_dead(link, self._now):
            self._give_up_connection(Phase.LIVE, "no answer to a ping")
        else:
            self._watch_out(link)

    def _no_progress(self) -> None:
        """RULES 12: a handle that was accepted may be dead: once more with it, then never again."""
        link = self._current
        if self._watch.is_mute(link, self._now):
            problem = "no answer on a resumed connection"
            self._give_up_connection(Phase.LIVE, problem, poisoned=self._watch.poisoned)
        else:
            self._watch_out(link)

    def _on_clock_jumped(self, seconds: float, counted: float) -> None:
        """What ran out while the process was frozen proves nothing, save a missed deadline."""
        self._notify(events.ClockJumped(seconds=seconds))
        self._talk.point.ageing = None  # what came meanwhile comes late, so the silence since was none
        self._outage.slept(counted, self._now)
        self._timers.shift(counted, "first", "outage")
        self._timers.postpone(self._now + self._policy.suspect_patience, "dial", "bind", "history")
        if self._warm is not None:
            self._drop_warm(self._warm)
        if self._timers.due("drain", self._now + seconds):
            self._move(quiet=False)
        elif self.state in _ON_AIR:
            self._watch.suspect(self._current, seconds, self._now)
            self._watch_out(self._current)

    # ------------------------------------------------------------------ the service's session nears its limit

    def _near_limit(self) -> None:
        self._notify(self._age.expire(self._now))
        if self._age.renewing and self.state in _ON_AIR:
            self._renew(self._current)

    def _renew(self, link: Link) -> None:
        """Leave for a new session at the next quiet point."""
        self._drain(link, Trigger.LIMIT, self._age.seconds_left(self._now))
        self._move_if_quiet()

    # ------------------------------------------------------------------ helpers

    @property
    def _current(self) -> Link:
        """The current connection, where the state says that there is one."""
        assert self._link is not None
        return self._link

    def _do(self, action: actions.Action) -> None:
        self._actions.append(action)

    def _save(self, record: HandleRecord) -> None:
        self._actions.append(actions.SaveHandle(record))

    def _notify(self, event: events.Event) -> None:
        self._actions.append(actions.Notify(event))
