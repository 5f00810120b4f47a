"""The driver of one session: it moves bytes, awaits, and carries out what the engine asks for.

It decides nothing: what happened goes to `Engine.feed`, and what comes back is done, in order. One background task
owns everything that runs (connections, timers, the loading of history), so that a session can be used and closed from
any task, and leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec

from resumekit.core import actions, inputs
from resumekit.core.engine import Engine
from resumekit.core.events import Event, FrameDiscarded
from resumekit.core.failures import Failure, Phase
from resumekit.core.handles import HandleRecord
from resumekit.core.policy import Policy
from resumekit.core.stats import Stats
from resumekit.drivers.events import EventLog, Events
from resumekit.drivers.failures import TRANSPORT_ERRORS, failure_of, is_of_the_transport
from resumekit.drivers.keeper import Keeper
from resumekit.drivers.link import Link
from resumekit.drivers.log import log_event
from resumekit.drivers.transport import Dialer
from resumekit.errors import LocalProtocolError, RemoteProtocolError, ResumekitError, SessionClosed, SessionLost
from resumekit.wire import ClientKind, ClientMessage, HistoryTurn, ServerMessage, decode_client, decode_server

__all__ = ["Driver", "HistoryLoader", "OnEvent"]

HistoryLoader: TypeAlias = Callable[[], Awaitable[Sequence[HistoryTurn]]]
OnEvent: TypeAlias = Callable[[Event], object]

_log = logging.getLogger("resumekit.driver")
_numbers = itertools.count(1)
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
        keeper: Of the store, if there is one.
        readable: Tells whether the application's library can read a frame; one that it cannot is reported. `recv`
            returns it all the same.
        label: Of the application, for the session's name in events and log.
    """

    def __init__(
        self,
        engine: Engine,
        dial: Dialer,
        *,
        policy: Policy,
        load_history: HistoryLoader | None = None,
        on_event: OnEvent | None = None,
        tell_plugins: Callable[[Event], None] | None = None,
        keeper: Keeper | None = None,
        readable: Callable[[ServerMessage], bool] | None = None,
        label: str = "",
    ) -> None:
        self._engine = engine
        self._dial = dial
        self._policy = policy
        self._load_history = load_history
        self._on_event = on_event
        self._tell_plugins = tell_plugins
        self._keeper = keeper
        self._readable = readable
        self._keeping: asyncio.Task[object] | None = None
        self._name = f"session {next(_numbers)}" + (f" ({label})" if label else "")
        self._loop = asyncio.get_running_loop()

        self._runner: asyncio.Task[None] | None = None
        self._group = asyncio.TaskGroup()
        self._links: dict[int, Link] = {}
        self._loader: asyncio.Task[None] | None = None
        self._todo: deque[actions.Action] = deque()
        self._acting = False
        self._timer: asyncio.TimerHandle | None = None
        self._alarm = asyncio.Event()
        self._handle_came = asyncio.Event()
        self._wall = time.time() - self._loop.time()
        """How far the wall clock is ahead of the loop's."""

        self._event_log = EventLog()
        self._on_event_failed = False
        self._paused = False
        """The socket is not read: the application has too much to take."""
        self._receivers: set[asyncio.Future[None]] = set()
        self._senders: deque[tuple[ClientMessage, asyncio.Future[None]]] = deque()
        self._started = asyncio.Event()
        self._over = False
        self._error: BaseException | None = None
        self.last_handle: HandleRecord | None = None
        """The newest record that the engine wanted kept."""

    # ------------------------------------------------------------------ for the session

    @property
    def events(self) -> Events:
        """A new iterator over the session's events, from the oldest one that is kept."""
        return Events(self._event_log)

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
        """
        self._runner = asyncio.create_task(self._run(), name=f"resumekit {self._name}")
        self._runner.add_done_callback(self._ended)
        try:
            await self._started.wait()
        except asyncio.CancelledError:
            self._feed(inputs.Close())
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
        # A loop that sends must let the writer run; before the message is taken, so that a cancelled send sent nothing.
        await asyncio.sleep(0)
        self._check_open()
        if not self._engine.fits(message):
            raise self._engine.buffer_full(message)
        waits = bool(self._senders) and message.kind not in _NEVER_WAIT
        if waits or not self._engine.has_room(message):
            await self._wait_for_room(message)
        self._feed(inputs.Send(message))

    async def recv(self) -> ServerMessage:
        """Return the next frame for the application. Cancelling it loses nothing.

        Raises:
            SessionClosed: After `close`.
            SessionLost: The conversation cannot go on; frames that came before are returned first.
        """
        while True:
            message = self._engine.take()
            if message is not None:
                self._taken()
                return message
            if self._over:
                raise self._outcome()
            waiter = self._loop.create_future()
            self._receivers.add(waiter)
            try:
                await waiter
            finally:
                self._receivers.discard(waiter)

    async def close(self, *, forget: bool = False) -> None:
        """End the session, and wait until no task, socket or timer of it is left. Idempotent.

        With a store, the handle of a turn that has just ended is waited for, up to `Policy.handle_wait`: the next
        session would not know the turn.

        Args:
            forget: Delete the kept handle, too.
        """
        if self._runner is None:
            return
        if self._keeper is not None and not forget:
            await self._handle_of_the_last_turn()
        self._feed(inputs.Close(forget=forget))
        try:
            await self._join()
        except asyncio.CancelledError:
            self._abort_all()
            await self._join()
            raise

    async def _handle_of_the_last_turn(self) -> None:
        while not self._over and (due := self._engine.handle_due) is not None and due > self._loop.time():
            self._handle_came.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._handle_came.wait()

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
        self._engine.inbox.put(message)
        self._wake_receivers()

    def remember(self, turns: Sequence[HistoryTurn]) -> None:
        """Take history that the state that was resumed from holds already, for a later fresh start."""
        self._feed(inputs.Remember(turns))

    def publish(self, event: Event) -> None:
        """Tell the application, and the log."""
        log_event(_log, self._name, event)
        event = msgspec.structs.replace(event, at=time.time(), session=self._name)
        self._event_log.add(event)
        if self._tell_plugins is not None:
            self._tell_plugins(event)
        if self._on_event is not None:
            self._tell_application(self._on_event, event)
        if self._todo and not self._acting:
            self._act_all()

    def _tell_application(self, listener: OnEvent, event: Event) -> None:
        try:
            answer = listener(event)
            if inspect.iscoroutine(answer):
                answer.close()
                raise TypeError("on_event returned a coroutine: it is called, never awaited")
        except Exception:  # noqa: BLE001 -- the application's own code: it must not take the session down
            if not self._on_event_failed:
                self._on_event_failed = True
                _log.exception("%s: on_event raised; further errors of it are not logged", self._name)

    def report(self, event: Event) -> None:
        """Publish an event of a plugin: after what the engine, or the application, is just being told."""
        self._todo.append(actions.Notify(event))

    # ------------------------------------------------------------------ the engine

    def _feed(self, happened: inputs.Input) -> None:
        now = self._loop.time()
        todo: list[actions.Action] = []
        if (frozen := self._frozen_for(now)) > self._policy.frozen_after:
            todo = self._engine.feed(inputs.ClockJumped(frozen), now)
        todo += self._engine.feed(happened, now)
        if todo or self._todo:
            self._todo.extend(todo)
            if self._acting:  # `on_event` called us: first things first
                return
            self._act_all()
            if not self._started.is_set() and self._engine.setup_complete is not None:
                self._started.set()
        self._set_timer()
        if self._receivers and (self._over or len(self._engine.inbox)):
            self._wake_receivers()
        if self._senders:
            self._admit_senders()

    def _act_all(self) -> None:
        self._acting = True
        try:
            while self._todo:
                self._act(self._todo.popleft())
        finally:
            self._acting = False

    def _frozen_for(self, now: float) -> float:
        """Return how long the process stood still just now, as far as can be seen.

        Either a wake-up comes late (SIGSTOP), or the monotonic clock stood still while the wall clock went on (suspend).
        """
        wall = time.time() - now
        asleep, self._wall = wall - self._wall, wall
        late = 0.0 if self._timer is None else now - self._timer.when()
        return max(asleep, late)

    def _act(self, action: actions.Action) -> None:
        match action:  # the frequent ones first
            case actions.SendFrame():
                if (link := self._links.get(action.connection)) is not None:
                    link.write(action.frame)
            case actions.Notify():
                self.publish(action.event)
            case actions.SaveHandle():
                self.last_handle = action.record
                self._handle_came.set()
                if self._keeper is not None:
                    self._keeper.save(action.record, self._loop.time())
            case actions.SendPing():
                if (link := self._links.get(action.connection)) is not None:
                    self._group.create_task(self._ping(link))
            case actions.OpenConnection():
                link = Link(action.connection)
                self._links[link.number] = link
                link.task = self._group.create_task(self._connect(link))
            case actions.CloseConnection():
                if (link := self._links.get(action.connection)) is not None:
                    link.close()
            case actions.AbortConnection():
                if (link := self._links.get(action.connection)) is not None:
                    link.abort()
            case actions.LoadHistory():
                self._loader = self._group.create_task(self._load())
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

    def _set_timer(self) -> None:
        at = self._engine.wake_at
        timer = self._timer
        if timer is not None:
            if at is not None and self._loop.time() < timer.when() <= at:
                return  # it fires early, and then looks again: cheaper than a new timer for each frame
            timer.cancel()
        self._timer = None if at is None else self._loop.call_at(at, self._alarm.set)

    def _taken(self) -> None:
        """The application took a frame."""
        self._set_timer()
        if self._paused and not self._engine.inbox.full:
            self._paused = False
            self._feed(inputs.Tick())  # the engine tells
            for link in self._links.values():
                link.resume.set()

    def _wake_receivers(self) -> None:
        for waiter in self._receivers:
            if not waiter.done():
                waiter.set_result(None)

    # ------------------------------------------------------------------ room to send

    async def _wait_for_room(self, message: ClientMessage) -> None:
        """Wait in line; whoever is let through feeds at once."""
        place = (message, self._loop.create_future())
        self._senders.append(place)
        try:
            async with asyncio.timeout(self._policy.send_wait):
                await place[1]
        except TimeoutError:
            raise self._engine.buffer_full(message) from None
        finally:
            self._senders.remove(place)
            self._admit_senders()
        self._check_open()

    def _admit_senders(self) -> None:
        """Let the first in line through, if there is room; it lets the next one through."""
        if self._senders:
            message, place = self._senders[0]
            if not place.done() and (self._over or self._engine.has_room(message)):
                place.set_result(None)

    # ------------------------------------------------------------------ the background task

    async def _run(self) -> None:
        async with self._group:
            self._feed(inputs.Start() if self._keeper is None else await self._load_handle(self._keeper))
            while not self._over:
                await self._alarm.wait()
                self._alarm.clear()
                at = self._engine.wake_at
                if at is not None and at <= self._loop.time():
                    self._feed(inputs.Tick())
                else:  # it was set for something that is over, or fired a tick early
                    self._timer = None
                    self._set_timer()
            await self._wind_up()

    async def _load_handle(self, keeper: Keeper) -> inputs.Start:
        loading = self._keeping = self._group.create_task(keeper.load())
        await asyncio.wait({loading})  # if the session is closed meanwhile, it is cancelled
        kept = None if loading.cancelled() else loading.result()
        self._keeping = self._group.create_task(keeper.run())
        return inputs.Start() if kept is None else inputs.Start(handle=kept[0], age=kept[1])

    async def _wind_up(self) -> None:
        """Give connections that are being closed, and the store, a moment, and then drop everything."""
        if self._loader is not None:
            self._loader.cancel()
        if self._keeper is not None:
            self._keeper.finish()
        closing = [link.task for link in self._links.values() if link.task is not None and link.closing]
        if closing:
            await asyncio.wait(closing, timeout=self._policy.close_wait)
        if self._keeping is not None:
            await asyncio.wait({self._keeping})
        self._abort_all()

    def _abort_all(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
        for link in list(self._links.values()):
            link.abort()

    async def _join(self) -> None:
        """Wait for the background task, unless this is a part of it."""
        runner = self._runner
        current = asyncio.current_task()
        mine = {runner, self._loader, *(link.task for link in self._links.values())}
        if runner is not None and current not in mine:
            await asyncio.wait({runner})

    def _finish(self, error: BaseException | None) -> None:
        if self._over:
            return
        self._over = True
        self._error = error
        self._handle_came.set()
        self._event_log.end()
        self._started.set()
        self._alarm.set()
        self._wake_receivers()

    def _ended(self, runner: asyncio.Task[None]) -> None:
        """The background task is done; if it broke, nobody may be left hanging."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._abort_all()
        if not runner.cancelled() and (bug := runner.exception()) is not None:
            _log.error("%s: an internal error", self._name, exc_info=bug)
            lost = SessionLost(f"internal error: {bug!r}", advice="report it with the log")
            lost.__cause__ = bug
            self._finish(lost)
        self._finish(None)
        self._admit_senders()

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
        except Exception as error:  # noqa: BLE001 -- the application's own code, or its time is up: go on without
            _log.exception("%s: the history could not be loaded", self._name)
            problem = type(error).__name__
        self._feed(inputs.HistoryLoaded(turns, problem))

    # ------------------------------------------------------------------ connections

    async def _connect(self, link: Link) -> None:
        """One connection, from the dial to its end."""
        try:
            failure = await self._open(link)
            if failure is not None:
                del self._links[link.number]
                self._feed(inputs.DialFailed(link.number, failure))
                return
            writer = self._group.create_task(link.write_all(lambda: self._feed(inputs.Written(link.number))))
            self._feed(inputs.Dialed(link.number))
            failure = await self._read(link)
            self._feed(inputs.ConnectionEnded(link.number, failure))
            link.end()
            await writer
        finally:
            self._links.pop(link.number, None)
            if link.transport is not None:
                link.transport.abort()

    async def _open(self, link: Link) -> Failure | None:
        try:
            link.opened(await self._dial())
        except Exception as error:  # noqa: BLE001 -- tokens, headers and addresses come from foreign code
            if self._engine.setup_complete is None and not is_of_the_transport(error):
                self._finish(error)
                self._feed(inputs.Close())
            elif not isinstance(error, TRANSPORT_ERRORS):
                _log.exception("%s: dialling failed", self._name)
            return failure_of(error, Phase.DIAL, utc_now=datetime.now(UTC))
        return None

    async def _read(self, link: Link) -> Failure:
        """Feed what comes until the connection ends. Never cancelled in `recv`: websockets may not survive that."""
        transport = link.transport
        assert transport is not None
        number = link.number
        while True:
            while self._engine.inbox.full and not link.stopped:
                self._paused = True
                link.resume.clear()
                await link.resume.wait()
            try:
                frame = await transport.recv()
            except TRANSPORT_ERRORS as error:
                return failure_of(error, link.phase)
            try:
                message = decode_server(frame)
            except RemoteProtocolError as error:
                self._feed(inputs.FrameUnreadable(number, len(frame), str(error)))
                continue
            if message.setup_complete is not None:
                link.phase = Phase.LIVE
            if self._readable is not None and not self._readable(message):
                self.publish(FrameDiscarded(connection=number, size=len(frame), problem="no field of it is known"))
            self._feed(inputs.FrameReceived(number, message))

    async def _ping(self, link: Link) -> None:
        transport = link.transport
        if transport is None:
            return
        try:
            await (await transport.ping())
        except TRANSPORT_ERRORS:  # the reader reports the end
            return
        self._feed(inputs.PongReceived(link.number))
