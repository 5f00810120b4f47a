"""The driver of one session: it moves bytes, awaits, and carries out what the engine asks for.

It decides nothing: what happened goes to `Engine.feed`, and what comes back is done, in order. Frames come from the
transport, in the event loop's own calls. Everything else that runs in the background (dials, timers, the loading of
history) is a task of the driver's own, and the last of them waits for the others, and for the sockets: a session can be
used and closed from any task, and leaves nothing behind. One that has nothing to do has no task, unless it has a store.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec

from resumekit.core import actions, inputs
from resumekit.core.engine import Engine
from resumekit.core.events import Event, FrameDiscarded, SessionEnded, SessionStarted
from resumekit.core.failures import Failure, Phase
from resumekit.core.handles import HandleRecord
from resumekit.core.policy import Policy
from resumekit.core.stats import Stats
from resumekit.drivers.admission import Admission
from resumekit.drivers.clock import DRIFT, Clock
from resumekit.drivers.events import Events
from resumekit.drivers.failures import TRANSPORT_ERRORS, failure_of, is_of_the_transport, without_secrets
from resumekit.drivers.keeper import Keeper
from resumekit.drivers.line import Line
from resumekit.drivers.link import Link
from resumekit.drivers.publisher import OnEvent, Publisher
from resumekit.drivers.transport import Dialer
from resumekit.drivers.waiters import Waiters
from resumekit.errors import LocalProtocolError, RemoteProtocolError, ResumekitError, SessionClosed, SessionLost
from resumekit.wire import (
    ClientKind,
    ClientMessage,
    HistoryTurn,
    RedactingFilter,
    ServerMessage,
    decode_client,
    decode_server,
    redact,
)

__all__ = ["Driver", "HistoryLoader", "OnEvent"]

HistoryLoader: TypeAlias = Callable[[], Awaitable[Sequence[HistoryTurn]]]

_log = logging.getLogger("resumekit.driver")
_log.addFilter(RedactingFilter())  # errors of foreign code are logged here: of tokens, headers, addresses
_numbers = itertools.count(1)
_STREAMED = 8
"""So many frames of audio may go out one after another before others run."""
_NEVER_WAIT = (ClientKind.AUDIO, ClientKind.VIDEO)


class Driver:
    """Runs one `Engine` on the current event loop.

    Call `start` once; then `send` and `recv` from any task, and `close` at the end. Every await is safe to cancel.

    Args:
        engine: Fresh; nobody else may feed it.
        dial: Opens a connection. What it raises that is no failure of the network ends a first connect at once.
        policy: The engine's own.
        load_history: Answers `actions.LoadHistory`; give it exactly if the engine `loads_history`.
        on_event: Called with every event, at once; must not block. What it raises is logged once.
        tell_plugins: Called with every event before that; must not raise.
        note: Called with every event that is not the engine's own, but the first one, before all others; must not raise.
        keeper: Of the store, if there is one.
        readable: Tells whether the application's library can read a frame; one that it cannot is reported. `recv`
            returns it all the same. Not asked of media that differ from others in their bytes alone.
        admission: Of the pool that the session has to be let in by, if there is one.
        label: Of the application, for the session's name in events and log.
        model: As the setup names it, for whoever listens.
        at_end: Awaited when all else is over; must not raise.
    """

    __slots__ = (
        "_acting",
        "_admission",
        "_admitting",
        "_at_end",
        "_begun",
        "_clock",
        "_dial",
        "_ending",
        "_engine",
        "_error",
        "_keeper",
        "_keeping",
        "_line",
        "_links",
        "_load_history",
        "_loader",
        "_loop",
        "_model",
        "_name",
        "_news",
        "_note",
        "_over",
        "_paused",
        "_policy",
        "_publisher",
        "_readable",
        "_receivers",
        "_streamed",
        "_tasks",
        "_todo",
        "last_handle",
    )

    def __init__(
        self,
        engine: Engine,
        dial: Dialer,
        *,
        policy: Policy,
        load_history: HistoryLoader | None = None,
        on_event: OnEvent | None = None,
        tell_plugins: Callable[[Event], None] | None = None,
        note: Callable[[Event], None] | None = None,
        keeper: Keeper | None = None,
        readable: Callable[[ServerMessage], bool] | None = None,
        admission: Admission | None = None,
        label: str = "",
        model: str = "",
        at_end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._engine = engine
        self._dial = dial
        self._policy = policy
        self._load_history = load_history
        self._keeper = keeper
        self._readable = readable
        self._admission = admission
        self._at_end = at_end
        self._note = note
        self._admitting: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._name = f"session {next(_numbers)}" + (f" ({label})" if label else "")
        self._model = model
        self._publisher = Publisher(_log, self._name, on_event=on_event, tell_plugins=tell_plugins)
        self._loop = asyncio.get_running_loop()

        self._tasks: tuple[asyncio.Task[None], ...] = ()
        """All that runs."""
        self._streamed = 0
        """Frames that went out since `send` last let others run."""
        self._begun = False
        self._ending: asyncio.Task[None] | None = None
        """Winds up."""
        self._links: tuple[Link, ...] = ()
        self._loader: asyncio.Task[None] | None = None
        self._todo: list[actions.Action | Event] = []
        """What the engine asked for, and what plugins report."""
        self._acting = False
        self._clock = Clock(self._alarm)
        self._news = Waiters()
        """Woken when something was done that the engine asked for, and at the end."""

        self._paused = False
        """The socket is not read: the application has too much to take."""
        self._receivers = Waiters()
        self._line = Line(engine, patience=policy.send_wait)
        self._over = False
        self._error: BaseException | None = None
        self.last_handle: HandleRecord | None = None
        """The newest record that the engine wanted kept."""

    # ------------------------------------------------------------------ for the session

    @property
    def events(self) -> Events:
        """A new iterator over the session's events, from the oldest one that is kept."""
        return self._publisher.events

    @property
    def stats(self) -> Stats:
        """The engine's counters, as they are now."""
        return self._engine.stats.snapshot()

    @property
    def setup_complete(self) -> ServerMessage | None:
        """The first `setupComplete`; None before `start` has returned."""
        return self._engine.setup_complete

    @property
    def error(self) -> BaseException | None:
        """What ended the session; None while it lives, or where it was closed."""
        return self._error

    async def start(self) -> None:
        """Connect; return when the first connection is bound. If it raises, or is cancelled, nothing is left.

        Raises:
            ConnectRefused: The service refused for good.
            ConnectFailed: There was no connection within `Policy.first_connect_deadline`.
            PoolTimeout: The pool did not let it in within its own time.
        """
        self._begun = True
        self._publish(SessionStarted(model=self._model))
        if self._keeper is None:
            self._begin(inputs.Start())
        else:
            self._keeping = self._spawn(self._keep(self._keeper))
        try:
            while self._engine.setup_complete is None and not self._over:
                await self._news.wait()
        except asyncio.CancelledError:
            self._shut()
            self._abort_all()
            await self._join()
            raise
        if self._engine.setup_complete is None:
            await self._join()
            raise self._outcome()

    async def send(self, frame: str | bytes) -> None:
        """Take a client frame over: it is sent now, or as soon as there is a connection.

        Does not wait for the connection, but, where the buffer is full, up to `Policy.send_wait` for room. If it is
        cancelled, nothing was sent.

        Raises:
            LocalProtocolError: This is not a client frame.
            BufferFull: It did not fit; it was not sent.
            SessionClosed: After `close`.
            SessionLost: The conversation cannot go on.
        """
        if not isinstance(frame, str | bytes):  # pyright: ignore[reportUnnecessaryIsInstance] -- the app's word
            raise LocalProtocolError(f"a frame is a str or bytes, this is a {type(frame).__name__}")
        message = decode_client(frame)
        if message.kind is ClientKind.SETUP:
            raise LocalProtocolError("a session has one setup, given to connect(); send a contextUpdate instead")
        if self._streamed < _STREAMED and self._stream(message):
            self._streamed += 1
            return
        # A loop that sends must let others run; before the message is taken, so that a cancelled send sent nothing.
        self._streamed = 0
        await asyncio.sleep(0)
        self._check_open()
        if self._stream(message):
            return
        if not self._engine.fits(message):
            raise self._engine.buffer_full(message)
        waits = bool(self._line.places) and message.kind not in _NEVER_WAIT
        if waits or not self._engine.has_room(message):
            await self._line.wait(message, self._send_from_line)
        else:
            self._feed(inputs.Send(message))
        if self._keeper is not None and message.kind not in _NEVER_WAIT:
            self._keeper.touch()

    def _send_from_line(self, message: ClientMessage) -> None:
        self._check_open()
        self._feed(inputs.Send(message))

    def _stream(self, message: ClientMessage) -> bool:
        """Write a frame of audio by the express lane, if it may take it; what is still to be done goes first."""
        if not (self._over or self._todo) and (self._keeper is None or self._is_awake(self._keeper)):
            for link in self._links:
                if self._engine.streams(link.number, message) and link.write_now(message.frame):
                    self._engine.streamed(message)
                    return True
        return False

    async def recv(self) -> ServerMessage:
        """Return the next frame for the application. Cancelling it loses nothing.

        Raises:
            SessionClosed: After `close`.
            SessionLost: The conversation cannot go on; frames that came before are returned first.
        """
        while (message := self._engine.take()) is None:
            await self.more()
        if self._paused:
            self._taken()
        return message

    def take_frame(self) -> ServerMessage | bytes | None:
        """Return what `recv` would without a wait; None: await `more`, and ask again.

        Plain media, which need not be decoded for anything else, may come as bytes.
        """
        frame = self._engine.take_frame()
        if self._paused and frame is not None:
            self._taken()
        return frame

    def more(self) -> asyncio.Future[None]:
        """Return what is done when there may be another frame. Cancelling it is no harm. Raises as `recv`."""
        self._check_open()
        return self._receivers.wait()

    async def close(self, *, forget: bool = False) -> None:
        """End the session, and wait until no task, socket or timer of it is left. Idempotent.

        With a store, the handle of a turn that has just ended is waited for, up to `Policy.handle_wait`: the next
        session would not know the turn. If it is cancelled, the store has `Policy.close_wait` for what is left to be done:
        the next session would have to wait for the end of the lease.

        Args:
            forget: Delete the kept handle, too.
        """
        if not self._begun:
            return
        try:
            if self._keeper is not None and not forget:
                await self._handle_of_the_last_turn()
            self._shut(forget=forget)
            await self._join()
        except asyncio.CancelledError:
            self._shut(forget=forget)
            self._abort_all()
            await self._join()
            raise

    async def _handle_of_the_last_turn(self) -> None:
        while not self._over and (due := self._engine.handle_due) is not None and due > self._loop.time():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._news.wait()

    def force_reconnect(self) -> None:
        """Move to a new connection now; does nothing while there is none.

        Raises:
            SessionClosed: After `close`.
            SessionLost: The conversation cannot go on.
        """
        self._check_open()
        self._feed(inputs.ForceReconnect())

    def insert(self, message: ServerMessage) -> None:
        """Put a frame of the adapter's own behind those that wait for the application."""
        self._engine.insert(message)
        self._receivers.wake()

    def remember(self, turns: Sequence[HistoryTurn]) -> None:
        """Take history that the state that was resumed from holds already, for a later fresh start."""
        self._feed(inputs.Remember(turns))

    def publish(self, event: Event) -> None:
        """Tell everybody of an event that is not the engine's."""
        if self._note is not None:
            self._note(event)
        self._publish(event)

    def _publish(self, event: Event) -> None:
        """Tell everybody, and do what somebody asked for meanwhile."""
        self._publisher.publish(event)
        if self._todo and not self._acting:
            self._act_all()
            self._catch_up()

    def _notify(self, event: Event) -> None:
        """Publish an event of the engine's, which knows of no end that was not its own affair."""
        if isinstance(event, SessionEnded):
            if self._over:
                return  # after a bug in here, it was told
            if event.error is None and self._error is not None:
                event = msgspec.structs.replace(event, error=_described(self._error))
        self._publish(event)

    def report(self, event: Event) -> None:
        """Publish an event of a plugin: after what the engine, or the application, is just being told."""
        self._todo.append(event)

    # ------------------------------------------------------------------ the engine

    def _feed(self, happened: inputs.Input) -> None:
        now = self._loop.time()
        todo: list[actions.Action] = []
        asleep, late = self._clock.look(now)
        if self._keeper is not None and asleep > DRIFT:
            self._keeper.slept(asleep)
        if self._keeper is not None and now >= self._keeper.deadline:
            self._leave_the_wire()
        frozen = max(asleep, late)
        if frozen > self._policy.frozen_after:
            todo = self._engine.feed(inputs.ClockJumped(frozen, frozen - max(late, 0.0)), now)
            self._clock.excuse(now)  # told once, whatever else comes before the timer fires
        todo += self._engine.feed(happened, now)
        if todo or self._todo:
            self._todo.extend(todo)
            if self._acting:  # `on_event` called us: first things first
                return
            self._act_all()
        self._catch_up()

    def _catch_up(self) -> None:
        """See to what may be otherwise, now that the engine was fed, and all is done that it asked for."""
        self._clock.set(None if self._over else self._engine.wake_at)
        if self._over or len(self._engine.inbox):
            self._receivers.wake()
        if self._line.places:
            self._line.advance()

    def _is_awake(self, keeper: Keeper) -> bool:
        """Whether the session is sure to own its conversation: the long path finds out what has happened else."""
        now = self._loop.time()
        return now < keeper.deadline and not self._clock.asleep(now)

    def _may_write(self, keeper: Keeper) -> bool:
        """Whether the conversation is the session's own for certain, just now."""
        now = self._loop.time()
        return now + self._clock.asleep(now) < keeper.deadline

    def _leave_the_wire(self) -> None:
        """The conversation may be another session's by now: drop every connection before anything is written to it.

        It goes on once the store has confirmed that it is not: see `_open`.
        """
        for link in self._links:
            if link.transport is not None:
                link.abort()

    def _act_all(self) -> None:
        self._acting = True
        try:
            while self._todo:
                self._act(self._todo.pop(0))
        finally:
            self._acting = False
        self._news.wake()

    def _act(self, action: actions.Action | Event) -> None:
        match action:  # the frequent ones first
            case actions.SendFrame():
                if (link := self._link(action.connection)) is not None:
                    if link.write(action.frame):
                        self._todo += self._engine.feed(inputs.Written(link.number), self._loop.time())
                    else:
                        self._look_after_writer(link)
            case actions.Notify():
                self._notify(action.event)
            case actions.SaveHandle():
                self.last_handle = action.record
                if self._keeper is not None:
                    self._keeper.save(action.record, self._loop.time())
            case actions.SendPing():
                if (link := self._link(action.connection)) is not None:
                    self._spawn(self._ping(link))
            case actions.OpenConnection():
                link = Link(action.connection, self)
                self._links += (link,)
                link.dial = self._spawn(self._connect(link))
            case actions.CloseConnection():
                if (link := self._link(action.connection)) is not None:
                    link.close()
                    self._look_after_writer(link)
            case actions.AbortConnection():
                if (link := self._link(action.connection)) is not None:
                    link.abort()
            case actions.LoadHistory():
                self._loader = self._spawn(self._load())
            case actions.ForgetHandle() | actions.PoisonHandle():
                self.last_handle = None
                if self._keeper is None:
                    pass
                elif isinstance(action, actions.PoisonHandle):
                    self._keeper.poison(action.record)
                else:
                    self._keeper.forget()
            case actions.Finish():
                self._finish(action.error)
            case Event():
                self.publish(action)

    def _alarm(self) -> None:
        self._spawn(self._tick())

    async def _tick(self) -> None:
        at = self._engine.wake_at
        if at is not None and at <= self._loop.time():
            self._feed(inputs.Tick())
        elif not self._over:  # it was set for something that is over, or fired a tick early
            self._clock.set(at)

    def _taken(self) -> None:
        """The application took a frame while the socket is not read."""
        if not self._engine.inbox.full:
            self._paused = False
            self._feed(inputs.Tick())  # the engine tells
            for link in self._links:
                if link.transport is not None and not self._paused:
                    link.transport.resume()

    def _link(self, number: int) -> Link | None:
        return next((link for link in self._links if link.number == number), None)

    # ------------------------------------------------------------------ what runs in the background

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks += (task,)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks = tuple(other for other in self._tasks if other is not task)
        if task.cancelled():
            self._was_cancelled(task)
        elif (bug := task.exception()) is not None:
            self._broke(bug)

    def _was_cancelled(self, task: asyncio.Task[None]) -> None:
        """Tidy up after a task: by us, or with all tasks there are, as an application may do that ends."""
        link = next((link for link in self._links if link.dial is task), None)
        if link is not None:  # it had not even begun
            self._let_go(link)
        if task is self._keeping and self._keeper is not None and not self._keeper.closed:
            self._keeping = self._spawn(self._keeper.close())
        if task is self._ending:
            self._ending = self._spawn(self._wind_up(self._policy.close_wait))
        elif not self._over and (link is None or not link.stopped):
            self._fail(SessionLost("a task of the session was cancelled from outside"))
            self._abort_all()

    def _broke(self, bug: BaseException) -> None:
        """There is a bug in here; nobody may be left hanging."""
        lost = SessionLost(f"internal error: {bug!r}", advice="report it with the log")
        lost.__cause__ = bug
        was_over = self._over
        try:
            self._todo.clear()
            self._finish(lost)
        finally:
            _log.error("%s: an internal error", self._name, exc_info=bug)
            self._abort_all()
        if not was_over:
            self.publish(SessionEnded(error=str(lost)))

    async def _keep(self, keeper: Keeper) -> None:
        """Claim the conversation, start with what is kept of it, and keep what comes."""
        try:
            kept = await keeper.load()
        except asyncio.CancelledError:  # the session is over; the store has to be closed all the same
            keeper.finish()
            await keeper.run()
            raise
        except ResumekitError as error:
            self._fail(error)
        else:
            self._begin(inputs.Start(kept.handle, kept.age, kept.pending) if kept is not None else inputs.Start())
        await keeper.run()
        if keeper.lost is not None:
            self._leave_the_wire()
            self._fail(keeper.lost)

    def _begin(self, start: inputs.Start) -> None:
        """Start, once there is room for the session."""
        if self._admission is None:
            self._feed(start)
        elif not self._over:
            self._admitting = self._spawn(self._admit(self._admission, start))

    async def _admit(self, admission: Admission, start: inputs.Start) -> None:
        try:
            await admission.enter(resumes=start.handle is not None or self._engine.was_given_handle)
        except ResumekitError as error:
            self._fail(error)
        else:
            if not self._over:
                self._feed(start)

    def _finish(self, error: BaseException | None) -> None:
        """The session is over: let everybody know, and wind up."""
        if self._over:
            return
        self._over = True
        if self._error is None:
            self._error = error
        self._ending = self._spawn(self._wind_up())  # first: it gives back what the session has, whatever breaks here
        self._news.wake()
        self._receivers.wake()
        self._line.end()
        self._clock.set(None)
        self._publisher.end()

    def _fail(self, error: BaseException) -> None:
        if not self._over:
            self._error = error
            self._shut()

    def _shut(self, *, forget: bool = False) -> None:
        """End the session, whatever breaks over it."""
        try:
            self._feed(inputs.Close(forget=forget))
        except Exception as bug:  # noqa: BLE001 -- told as those of tasks are
            self._broke(bug)

    async def _wind_up(self, patience: float | None = None) -> None:
        """Let go of everything, of the place in the pool last: a socket that is still open counts."""
        try:
            await self._let_go_of_all(patience)
        except asyncio.CancelledError:  # another one takes its place
            raise
        except BaseException:
            await self._leave()
            raise
        await self._leave()

    async def _leave(self) -> None:
        if self._admission is not None:
            await self._admission.leave()
        if self._at_end is not None:
            await self._at_end()

    async def _let_go_of_all(self, patience: float | None) -> None:
        """Give connections that are being closed, and the store, a moment, and then drop everything.

        Args:
            patience: Seconds to wait for the end of a connection that was dropped.
        """
        try:
            for waiting in (self._loader, self._admitting):
                if waiting is not None:
                    waiting.cancel()
            closing = [link.writer for link in self._links if link.writer is not None and link.closing]
            if closing:
                await asyncio.wait(closing, timeout=self._policy.close_wait)
            if self._keeper is not None:  # not before: who goes on is refused while the old socket is there
                self._keeper.finish()
            await _ended(lambda: self._keeping)
        finally:
            self._abort_all()
        while others := [task for task in self._tasks if task is not self._ending]:
            await asyncio.wait(others)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while any(link.transport is not None for link in self._links):
                    await self._news.wait()

    def _abort_all(self) -> None:
        if self._keeping is not None and self._keeper is not None and not self._keeper.closing:
            self._keeping.cancel()
        for link in self._links:
            try:
                link.abort()
            except Exception:  # noqa: BLE001 -- a transport's: the other ones are dropped all the same
                _log.exception("%s: connection %d could not be dropped", self._name, link.number)
                if link.writer is not None:
                    link.writer.cancel()
                self._let_go(link)
        self._news.wake()

    async def _join(self) -> None:
        """Wait until nothing runs any more, unless this is a part of it."""
        if asyncio.current_task() not in self._tasks:
            await _ended(lambda: self._ending)

    def _outcome(self) -> BaseException:
        """Return what to raise now that the session is over."""
        if self._error is None:
            return SessionClosed()
        if isinstance(self._error, ResumekitError):
            return self._error.with_traceback(None)  # it may be raised many times, and would grow each time
        return self._error

    def _check_open(self) -> None:
        if self._over:
            raise self._outcome()

    async def _load(self) -> None:
        assert self._load_history is not None
        turns: Sequence[HistoryTurn] | None = None
        problem = ""
        try:
            async with asyncio.timeout(self._policy.setup_timeout):
                turns = await self._load_history()
        except (Exception, asyncio.CancelledError) as error:  # the application's own code, or its time is up
            if _is_stopped(error):
                raise
            _log.exception("%s: the history could not be loaded", self._name)
            problem = type(error).__name__
        self._feed(inputs.HistoryLoaded(turns, problem))

    # ------------------------------------------------------------------ connections

    def _look_after_writer(self, link: Link) -> None:
        if link.needs_writer:
            link.writer = self._spawn(link.write_all(functools.partial(self._feed, inputs.Written(link.number))))

    async def _connect(self, link: Link) -> None:
        try:
            failure = await self._open(link)
        except asyncio.CancelledError:
            if not link.stopped:
                raise
            return
        finally:
            link.dial = None
            if link.transport is None:
                self._let_go(link)
        if link.transport is None or failure is not None:
            assert failure is not None
            self._feed(inputs.DialFailed(link.number, failure))
            return
        if link.stopped:  # foreign code kept the dial from being cancelled, and nobody wants it any more
            link.abort()
        try:
            self._feed(inputs.Dialed(link.number))
        finally:
            link.transport.receive(link)

    async def _open(self, link: Link) -> Failure | None:
        try:
            if self._keeper is not None:
                await self._keeper.hold()
            if self._admission is not None:
                await self._admission.dialling()
            transport = await self._dial()
            if self._keeper is not None:
                transport.guard(functools.partial(self._may_write, self._keeper))
            link.transport = transport
        except (Exception, asyncio.CancelledError) as error:  # tokens, headers and addresses come from foreign code
            if _is_stopped(error):
                raise
            if self._engine.setup_complete is None and not is_of_the_transport(error):
                # The application's own errors stay as they are; those of websockets may quote an address.
                self._fail(without_secrets(error) if isinstance(error, TRANSPORT_ERRORS) else error)
            elif not isinstance(error, TRANSPORT_ERRORS):
                _log.exception("%s: dialling failed", self._name)
            return failure_of(error, Phase.DIAL, utc_now=datetime.now(UTC))
        return None

    def frame_received(self, link: Link, frame: bytes) -> None:
        """Take a frame of a link. Never raises: the event loop would only log it."""
        try:
            if self._engine.feed_media(link.number, frame, self._loop.time()):  # no timer moves; nothing is to be done
                self._receivers.wake()
            else:
                self._feed_frame(link, frame)
                if self._engine.inbox.full and not link.stopped and link.transport is not None:
                    self._paused = True
                    link.transport.pause()
        except Exception as bug:  # noqa: BLE001 -- told as those of tasks are
            link.over = True
            self._broke(bug)

    def connection_lost(self, link: Link, error: BaseException) -> None:
        """Take the end of a link. Never raises."""
        self._let_go(link)
        if link.over:
            return
        link.over = True
        try:
            self._feed(inputs.ConnectionEnded(link.number, failure_of(error, link.phase)))
        except Exception as bug:  # noqa: BLE001 -- as above
            self._broke(bug)

    def _let_go(self, link: Link) -> None:
        self._links = tuple(other for other in self._links if other is not link)
        self._news.wake()

    def _feed_frame(self, link: Link, frame: bytes) -> None:
        try:
            message = decode_server(frame)
        except RemoteProtocolError as error:
            self._feed(inputs.FrameUnreadable(link.number, len(frame), str(error)))
            return
        if message.setup_complete is not None:
            link.phase = Phase.LIVE
        if self._admission is not None and message.usage_metadata is not None:
            self._admission.used(message.usage_metadata.total_token_count or 0)
        if self._readable is not None and not self._readable(message):
            self.publish(FrameDiscarded(connection=link.number, size=len(frame), problem="no field of it is known"))
        self._feed(inputs.FrameReceived(link.number, message))
        if self._keeper is not None and message.server_content is not None and message.server_content.turn_complete:
            self._keeper.touch()

    async def _ping(self, link: Link) -> None:
        transport = link.transport
        if transport is None:
            return
        try:
            await (await transport.ping())
        except TRANSPORT_ERRORS:  # the receiver reports the end
            return
        self._feed(inputs.PongReceived(link.number))


async def _ended(which: Callable[[], asyncio.Task[None] | None]) -> None:
    """Wait for a task, and for the one that takes its place where it is cancelled."""
    over = None
    while (task := which()) is not over:
        assert task is not None
        await asyncio.wait({task})
        over = task


def _is_stopped(error: BaseException) -> bool:
    """Whether this task is cancelled; foreign code may raise the same where a task that it awaits was."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _described(error: BaseException) -> str:
    """Return what an error says; one of foreign code without its secrets."""
    return str(error) if isinstance(error, ResumekitError) else f"{type(error).__name__}: {redact(str(error))}"
