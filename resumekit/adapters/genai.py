"""The google-genai adapter: `connect(client, model=..., config=...)` where `client.aio.live.connect(...)` was.

For frameworks that open the session themselves there are `Client`, where they take a client, and `http_options`, where
they take no more than `HttpOptions`.

The session is an `AsyncSession` of the installed version over a `Bridge` to the driver; google-genai makes the frames
and reads them, resumekit moves them. What is private there is touched in `_genai_seam` alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypedDict, Unpack, cast

from msgspec.structs import replace
from websockets import exceptions as ws_exceptions
from websockets.exceptions import ConnectionClosedOK, InvalidStatus
from websockets.frames import Close

from resumekit import errors
from resumekit._extras import install
from resumekit.adapters._common import (
    Maybe,
    OnEvent,
    TraceTo,
    check_keeping,
    check_pool,
    checked_policy,
    checked_trace,
    is_vertex,
    resolve,
    session_driver,
)
from resumekit.core.events import FrameDiscarded
from resumekit.core.failures import CloseCode
from resumekit.core.policy import Policy
from resumekit.core.stats import Stats
from resumekit.drivers import Events, WebSocketTransport, dial_websocket, fast_lanes, websocket_options
from resumekit.stores import HandleStore
from resumekit.wire import ServerMessage, decode_server, setup_transparent

try:
    from google import genai
    from google.genai import errors as genai_errors
    from google.genai import types
    from google.genai.client import AsyncClient, DebugConfig
    from google.genai.live import AsyncLive, AsyncSession
except ImportError as _error:
    raise ImportError(f"resumekit.adapters.genai needs google-genai; {install('genai')}", name=_error.name) from _error

from resumekit.adapters import _genai_facade as facade
from resumekit.adapters import _genai_seam as seam
from resumekit.adapters import _genai_typed as typed

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

    from resumekit.drivers.driver import Driver
    from resumekit.pool import SessionPool

__all__ = ["Bridge", "Client", "Session", "SessionLost", "connect", "http_options"]

_ConcurrencyError: type[Exception] = getattr(ws_exceptions, "ConcurrencyError", RuntimeError)
_Config: TypeAlias = types.LiveConnectConfigOrDict | None
_History: TypeAlias = Iterable[types.Content | Mapping[str, Any] | str] | types.Content | str | None
_Key: TypeAlias = str | Callable[[], str | None] | None
_AnyClient: TypeAlias = genai.Client | Callable[[], genai.Client | Awaitable[genai.Client]]


class SessionLost(errors.SessionLost, genai_errors.APIError):
    """The conversation cannot go on; for code that catches google-genai's own error, also that one.

    `code` is the last close code or HTTP status.
    """

    def __init__(self, lost: errors.SessionLost) -> None:
        Exception.__init__(self, lost)
        self.__dict__.update(vars(lost))
        self.code = lost.close_code or lost.status_code or CloseCode.ABNORMAL.value
        self.message = lost.problem
        self.status = None
        self.details = lost.problem
        self.response = None  # pyright: ignore[reportAttributeAccessIssue] -- as in APIError

    def __reduce__(self) -> tuple[Any, ...]:
        return (SessionLost, self.args)


class Bridge:
    """What google-genai takes for its WebSocket connection."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._waiting = False
        """Somebody is receiving, and there is no frame."""
        self._handed_back: bytes | Exception | None = None

    async def send(self, frame: str) -> None:
        """Take a client frame over."""
        try:
            await self._driver.send(frame)
        except errors.SessionLost as lost:
            raise _as_api_error(lost) from lost.__cause__

    async def recv(self, decode: bool | None = None) -> bytes:  # noqa: ARG002, FBT001 -- as websockets has it
        """Return the next frame, as `take`, or what was handed back. Cancelling it loses nothing. Raises as both."""
        frame, self._handed_back = self._handed_back, None
        if isinstance(frame, Exception):
            raise frame
        while frame is None and (frame := self.take()) is None:
            await self.more()
        return frame

    def take(self) -> bytes | None:
        """Return the next frame that the installed google-genai can read; None: there is none, wait for `more`.

        Raises:
            RuntimeError: (a `ConcurrencyError` of websockets 13.1 or newer) Somebody else is receiving, as on a connection of websockets.
        """
        if self._waiting:
            raise _ConcurrencyError("cannot receive: another receive() of this session is running")
        while (frame := self._next()) is not None:
            if isinstance(frame, bytes):
                return frame
            if (shown := self._shown(frame)) is not None:
                return shown
        return None

    def _next(self) -> ServerMessage | bytes | None:
        return self._driver.take_frame()

    def _shown(self, message: ServerMessage) -> bytes | None:
        return message.raw if seam.can_read(message) else None  # else it was reported when it came

    async def more(self) -> None:
        """Return when there may be another frame. Raises what a connection of websockets would."""
        self._waiting = True
        try:
            await self._driver.more()
        except errors.ResumekitError as end:
            raise self._told(end) from end.__cause__
        finally:
            self._waiting = False

    def _told(self, end: errors.ResumekitError) -> Exception:
        """Return the end of the session as it is told."""
        if isinstance(end, errors.SessionLost):
            return _as_api_error(end)
        if not isinstance(end, errors.SessionClosed):
            return end
        close = Close(CloseCode.NORMAL, "")
        return ConnectionClosedOK(close, close, rcvd_then_sent=False)

    def hand_back(self, outcome: bytes | Exception) -> None:
        """Have the next `recv` return, or raise, what the last one did."""
        self._handed_back = outcome

    def discards(self, frame: bytes) -> bool:
        """Tell whether a frame is no JSON, and report it: media by the express lane come here unread."""
        try:
            decode_server(frame)
        except errors.RemoteProtocolError as error:
            self._driver.publish(FrameDiscarded(connection=0, size=len(frame), problem=str(error)))
            return True
        return False

    async def close(self) -> None:
        """End the session."""
        await self._driver.close()


class Session(AsyncSession):
    """An `AsyncSession` that lives on across connections. Made by `connect`."""

    bridge_type: ClassVar[type[Bridge]] = Bridge

    def __init__(self, account: seam.Account, driver: Driver, setup_complete: ServerMessage) -> None:
        self.bridge = self.bridge_type(driver)
        super().__init__(**seam.session_arguments(account, self.bridge, setup_complete.raw))
        self._driver = driver
        self._lane = typed.lane(vertex=account.is_vertex) if fast_lanes() else None

    async def _receive(self) -> types.LiveServerMessage:
        if self._lane is not None:
            try:
                while True:
                    if (frame := self.bridge.take()) is None:
                        await self.bridge.more()
                    elif (message := self._lane.decode(frame)) is not None:
                        return message
                    elif not self.bridge.discards(frame):
                        break
            except Exception as error:  # noqa: BLE001 -- google-genai has its own for some of them
                self.bridge.hand_back(error)
            else:
                self.bridge.hand_back(frame)
        return await self._received_by_google_genai()

    async def _received_by_google_genai(self) -> types.LiveServerMessage:
        # It takes what was handed back without a wait, so that no frame is lost where this is cancelled.
        return await super()._receive()

    @property
    def events(self) -> Events:
        """A new iterator over what happens to the session, from the oldest event that is kept."""
        return self._driver.events

    @property
    def stats(self) -> Stats:
        """Counters."""
        return self._driver.stats

    def force_reconnect(self) -> None:
        """Move to a new connection now; an answer that is being given is cut, and given again."""
        self._driver.force_reconnect()

    async def close(self) -> None:
        """Close the connection and detach: the service keeps the conversation until its handle expires. Idempotent."""
        await self._driver.close()

    async def end(self) -> None:
        """Close, and forget the conversation's handle. Idempotent."""
        await self._driver.close(forget=True)


class connect:  # noqa: N801 -- reads as a function, like that of google-genai
    """Open a resumable session: `async with connect(client, model=..., config=...) as session`.

    Args:
        client: A `google.genai.Client`, or a callable, also an asynchronous one, that makes one: it is asked at each
            dial, for credentials that change. A client is only looked at, never changed.
        model: As for `client.aio.live.connect`.
        config: As for `client.aio.live.connect`. A handle in its `session_resumption` is the first that is used.
        key: Name of the conversation. Its newest handle is kept under it, and used by the next session of this name.
        store: Where: a URL (``memory://``, ``sqlite:///PATH``; plugins bring more), or a `resumekit.stores.HandleStore`.
            A handle in the setup goes before the one that is kept.
        pool: Lets the session in, in its turn; it keeps its slot across reconnects. What is waited for it counts
            against no other time-out.
        history: The conversation so far: `types.Content`, mappings or strings, or a callable, also an asynchronous one,
            that returns them. Replayed where a new session starts without a handle. A callable that fails is told by
            `HistoryNotLoaded`, and the session starts with what it has heard itself.
        policy: Limits and choices.
        plugins: Modules or objects with hooks (see `resumekit.hookspecs`), asked before the installed ones.
        on_event: Called with every event; must not block.
        trace: Write a trace of the session to this file, or into this directory: what ``resumekit timeline`` draws and
            ``resumekit replay`` runs again. Texts and media are masked in it; see `resumekit.trace.Trace`.

    Raises:
        ConfigurationError: An argument makes no sense, or this google-genai is not known.
        KeyInUse: (on entering) Another session has the conversation of the key (`Policy.key_in_use`).
        PoolTimeout: (on entering) The pool was full for too long.
        Exception: (on entering) google-genai's own errors, as `client.aio.live.connect` raises them: at once where
            trying again would not help, else after `Policy.first_connect_deadline`.
    """

    _session_type: ClassVar[type[Session]] = Session

    def __init__(
        self,
        client: _AnyClient,
        *,
        model: str,
        config: _Config = None,
        key: str | None = None,
        store: str | HandleStore | None = None,
        pool: SessionPool | None = None,
        history: Maybe[_History] = None,
        policy: Policy | None = None,
        plugins: Iterable[object] = (),
        on_event: OnEvent | None = None,
        trace: TraceTo | None = None,
    ) -> None:
        self._client = client
        self._model = model
        self._config = _checked_config(config)
        self._history = history
        self._policy = checked_policy(policy)
        check_keeping(key, store)
        check_pool(pool)
        self._key = key
        self._store = store
        self._pool = pool
        self._plugins = plugins
        self._on_event = on_event
        self._trace = checked_trace(trace)
        self._driver: Driver | None = None
        self._driver_options: dict[str, Any] = {}
        self._account: seam.Account | None = None
        self._token_refused = False

    async def __aenter__(self) -> Session:
        if self._driver is not None:
            raise errors.ConfigurationError("this connect() was entered before; call connect() again for a new session")
        seam.check()
        account = seam.account_of(await resolve(self._client))
        request = await account.rehearse(self._model, self._config)
        self._account = account
        self._driver = driver = await session_driver(
            request.setup,
            self._dial,
            policy=self._policy,
            transparent=_is_transparent(self._policy, request.setup, vertex=account.is_vertex),
            history=self._history,
            to_dict=seam.as_dict,
            on_event=self._on_event,
            key=self._key,
            store=self._store,
            pool=self._pool,
            plugins=self._plugins,
            readable=seam.can_read,
            credentials_renewable=callable(self._client) or account.has_token,
            trace=self._trace,
            **self._driver_options,
        )
        failure = await _start(driver)
        if failure is None:
            try:
                return self._session_type(account, driver, _answer(driver))
            except BaseException:  # nobody else would close it
                await driver.close()
                raise
        try:
            await account.replay_failure(self._model, self._config, failure)
        except Exception as error:
            error.__notes__ = getattr(failure, "__notes__", [])
            raise
        raise failure

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._driver is not None
        await self._driver.close()

    async def _dial(self) -> WebSocketTransport:
        account = self._account
        if callable(
            self._client
        ):  # the first dial has the client that was asked for a moment ago, each later one another
            self._account = None
        if account is None:
            account = seam.account_of(await resolve(self._client))
        renew, self._token_refused = self._token_refused, False
        request = await account.ask(self._model, seam.as_config(self._config), renew=renew)
        try:
            return await dial_websocket(
                request.uri, additional_headers=request.headers, policy=self._policy, options=request.options
            )
        except InvalidStatus as refused:
            self._token_refused = refused.response.status_code == HTTPStatus.UNAUTHORIZED
            raise


def _checked_config(config: object) -> _Config:
    if config is None or isinstance(config, types.LiveConnectConfig | dict):
        return cast("_Config", config)
    raise errors.ConfigurationError(f"config is a {type(config).__name__}; give a types.LiveConnectConfig or a dict")


async def _start(driver: Driver) -> BaseException | None:
    """Connect; return what the transport raised where that failed."""
    try:
        await driver.start()
    except (errors.ConnectRefused, errors.ConnectFailed) as failed:
        if failed.__cause__ is None:  # google-genai would have waited for ever
            raise TimeoutError(failed.problem) from failed
        if isinstance(failed, errors.ConnectFailed):
            failed.__cause__.add_note(f"resumekit: {failed.attempts} attempts in {failed.elapsed:.1f} s")
        return failed.__cause__
    return None


def _answer(driver: Driver) -> ServerMessage:
    answer = driver.setup_complete
    assert answer is not None
    return answer


def _is_transparent(policy: Policy, setup: str, *, vertex: bool) -> bool:
    wanted = policy.transparent
    if not vertex:
        if wanted is True:
            raise errors.ConfigurationError(
                "Policy.transparent is True, and the Developer API has no transparent resumption; leave it at 'auto'"
            )
        return False
    return setup_transparent(setup) is not False if wanted == "auto" else wanted


def _kept(key: _Key, store: str | HandleStore | None) -> tuple[str | None, str | HandleStore | None]:
    """Return the key and the store of one session of many."""
    name = key() if callable(key) else key
    return name, None if name is None else store or "memory://"


class _ClientArguments(TypedDict, total=False):
    """Those of `google.genai.Client`; an older version does not know them all."""

    enterprise: bool | None
    vertexai: bool | None
    api_key: str | None
    credentials: Credentials | None
    project: str | None
    location: str | None
    debug_config: DebugConfig | None
    http_options: types.HttpOptionsOrDict | None


class Client(genai.Client):
    """A `google.genai.Client` whose `aio.live.connect` opens a resumable session; all else is as it was.

    For a framework that takes a client and opens the session itself. The sessions are those of `connect`; where the
    framework keeps them to itself, `on_event` tells what happens to them, each event with the name of its session.

    Args:
        key: As for `connect`, or a callable that returns the name for a session that is being opened (None: it has
            none). One name for all is right only for a client that opens one session at a time.
        store: As for `connect`.
        pool: As for `connect`.
        history: As for `connect`. A client opens many sessions, so that a callable is of more use here.
        policy: Limits and choices of each session.
        plugins: As for `connect`.
        on_event: Called with every event of every session; must not block.
        trace: As for `connect`; each session has a file of its own.
        arguments: Those of `google.genai.Client`, as they are.
    """

    def __init__(
        self,
        *,
        key: _Key = None,
        store: str | HandleStore | None = None,
        pool: SessionPool | None = None,
        history: Maybe[_History] = None,
        policy: Policy | None = None,
        plugins: Iterable[object] = (),
        on_event: OnEvent | None = None,
        trace: TraceTo | None = None,
        **arguments: Unpack[_ClientArguments],
    ) -> None:
        super().__init__(**arguments)  # pyright: ignore[reportUnknownMemberType] -- google.auth has no types
        checked_policy(policy)
        check_keeping("any" if callable(key) else key, store)
        check_pool(pool)
        given = plugins if isinstance(plugins, str) else tuple(plugins)
        where = checked_trace(trace)

        def open_session(live: AsyncLive, model: str, config: _Config) -> connect:
            # Whatever has the inner client will do for a client; this one may outlive the one that made it.
            name, its_store = _kept(key, store)
            return connect(
                cast("genai.Client", live),
                model=model,
                config=config,
                key=name,
                store=its_store,
                pool=pool,
                history=history,
                policy=policy,
                plugins=given,
                on_event=on_event,
                trace=where,
            )

        self._resumable = _AsyncClient(super().aio, open_session)

    @property
    def aio(self) -> _AsyncClient:
        """The asynchronous client; its `live.connect` is resumable."""
        return self._resumable


def http_options(
    base: types.HttpOptionsOrDict | None = None,
    *,
    additional_headers: Maybe[Mapping[str, str]] | None = None,
    key: _Key = None,
    store: str | HandleStore | None = None,
    history: Maybe[_History] = None,
    policy: Policy | None = None,
    plugins: Iterable[object] = (),
    on_event: OnEvent | None = None,
    trace: TraceTo | None = None,
) -> types.HttpOptions:
    """Return options with which every Live session of a client lives on, for a framework that takes no client.

    Where a client can be given, use `Client`: it can do what this cannot. Here google-genai itself opens the first
    connection, so that a failure of it is not retried. Later ones go to the same address with the same headers: the
    token of Vertex goes stale within the hour, and the next reconnect is refused, unless `additional_headers` is a
    callable that returns a new one. And `on_event` alone tells what happens. A cut answer is ended with `turnComplete`
    before it is given again (`Policy.reanswer_in`): LiveKit counts on it. The session is google-genai's own class, so
    its own code reads the frames, and they cost what they cost without resumekit.

    Args:
        base: The options so far. They are not changed.
        additional_headers: For later connections, in place of those of the same name; a callable, also an asynchronous
            one, is asked at each dial: say, for `{"Authorization": "Bearer …"}`.
        key: As for `Client`.
        store: As for `Client`.
        history: As for `Client`.
        policy: As for `Client`.
        plugins: As for `Client`.
        on_event: As for `Client`.
        trace: As for `Client`.
    """
    policy = checked_policy(policy)
    if policy.reanswer_in == "auto":
        policy = replace(policy, reanswer_in="new_turn")
    check_keeping("any" if callable(key) else key, store)
    where = checked_trace(trace)
    plugins = plugins if isinstance(plugins, str) else tuple(plugins)
    given = types.HttpOptions.model_validate(base or {})
    arguments = {**(given.async_client_args or {}), **websocket_options(policy)}

    async def open_session(setup: str, first: WebSocketTransport, address: facade.Address) -> tuple[Bridge, bytes]:
        waiting = [first]

        async def dial() -> WebSocketTransport:
            if waiting:
                return waiting.pop()
            headers = None if additional_headers is None else await resolve(additional_headers)
            return await dial_websocket(
                address.uri,
                additional_headers=address.headers_with(headers or {}),
                policy=policy,
                options={**facade.options_of_websockets(arguments), **address.options},
            )

        name, its_store = _kept(key, store)
        check_keeping(name, its_store)
        driver = await session_driver(
            setup,
            dial,
            policy=policy,
            transparent=_is_transparent(policy, setup, vertex=is_vertex(address.uri, setup)),
            history=history,
            to_dict=seam.as_dict,
            on_event=on_event,
            key=name,
            store=its_store,
            plugins=plugins,
            readable=seam.can_read,
            credentials_renewable=callable(additional_headers),
            trace=where,
        )
        failure = await _start(driver)
        if failure is not None:
            raise failure
        return Bridge(driver), _answer(driver).raw

    arguments["create_connection"] = facade.Made(open_session)
    return given.model_copy(update={"async_client_args": arguments})


_OpenSession: TypeAlias = Callable[[AsyncLive, str, _Config], connect]


class _AsyncClient(AsyncClient):
    def __init__(self, original: AsyncClient, open_session: _OpenSession) -> None:
        super().__init__(**seam.inner_client(original))
        self._original = original  # where it is collected, it closes the HTTP clients that both share
        self._resumable_live = _AsyncLive(original, open_session)

    @property
    def live(self) -> _AsyncLive:
        return self._resumable_live


class _AsyncLive(AsyncLive):
    def __init__(self, original: AsyncClient, open_session: _OpenSession) -> None:
        super().__init__(**seam.inner_client(original))
        self._open_session = open_session

    def connect(self, *, model: str, config: _Config = None) -> connect:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride] -- a context manager of a class of its own
        return self._open_session(self, model, config)


def _as_api_error(lost: errors.SessionLost) -> SessionLost:
    return lost if isinstance(lost, SessionLost) else SessionLost(lost)
