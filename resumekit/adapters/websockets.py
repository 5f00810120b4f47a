"""The bare adapter: `connect(uri, setup=...)` where `websockets.connect(uri)` was, without any google package."""

from __future__ import annotations

import asyncio
import ssl as ssl_module
from collections.abc import Coroutine, Iterable, Mapping
from sys import intern
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from websockets.exceptions import InvalidURI

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
    to_json,
)
from resumekit.core.policy import Policy
from resumekit.core.stats import Stats
from resumekit.drivers import Events, InvalidProxy, WebSocketTransport, dial_websocket
from resumekit.errors import ConfigurationError, ConnectRefused, LocalProtocolError, SessionClosed
from resumekit.wire import HistoryTurn, ServerMessage, setup_model

if TYPE_CHECKING:
    from resumekit.drivers.driver import Driver
    from resumekit.pool import SessionPool
    from resumekit.stores import HandleStore

__all__ = ["Session", "connect"]

_HeadersLike: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]
_History: TypeAlias = Iterable[HistoryTurn | Mapping[str, Any] | str] | None


class Session:
    """One conversation, across any number of connections. Made by `connect`."""

    __slots__ = ("_driver",)

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def send(self, frame: str | bytes | Mapping[str, Any]) -> None:
        """Send one client frame, as JSON or as what becomes JSON.

        Returns at once, connected or not, unless the buffer is full.

        Raises:
            LocalProtocolError: This is not a client frame.
            BufferFull: There was no room for `Policy.send_wait`; the frame was not sent.
            SessionClosed: After `close` or `end`.
            SessionLost: The conversation cannot go on.
        """
        if isinstance(frame, Mapping):
            try:
                frame = to_json(frame)
            except (TypeError, ValueError) as error:
                raise LocalProtocolError(f"this is no JSON: {error}") from error
        await self._driver.send(frame)

    def recv(self) -> Coroutine[Any, Any, ServerMessage]:
        """Return the next frame of the service, decoded. Cancelling it loses nothing.

        Raises:
            SessionClosed: After `close` or `end`.
            SessionLost: The conversation cannot go on.
        """
        return self._driver.recv()

    async def recv_bytes(self) -> bytes:
        """Return the next frame of the service as it came. Raises as `recv`."""
        while (frame := self._driver.take_frame()) is None:
            await self._driver.more()
        return frame if isinstance(frame, bytes) else frame.raw

    def __aiter__(self) -> Session:
        return self

    async def __anext__(self) -> ServerMessage:
        try:
            return await self._driver.recv()
        except SessionClosed:
            raise StopAsyncIteration from None

    @property
    def events(self) -> Events:
        """A new iterator over what happens to the session, from the oldest event that is kept."""
        return self._driver.events

    @property
    def stats(self) -> Stats:
        """Counters."""
        return self._driver.stats

    @property
    def setup_complete(self) -> ServerMessage:
        """The service's answer to the first setup."""
        message = self._driver.setup_complete
        assert message is not None
        return message

    def force_reconnect(self) -> None:
        """Move to a new connection now; an answer that is being given is cut, and given again."""
        self._driver.force_reconnect()

    async def close(self) -> None:
        """Close the connection and detach: the service keeps the conversation until its handle expires. Idempotent."""
        await self._driver.close()

    async def end(self) -> None:
        """Close, and forget the conversation's handle. Idempotent."""
        await self._driver.close(forget=True)


class connect:  # noqa: N801 -- reads as a function, like that of websockets
    """Open a resumable session: `async with connect(...) as session`.

    Args:
        uri: Of the service; a callable, also an asynchronous one, is asked at each dial.
        setup: The setup frame as a mapping or JSON, with or without the outer `setup`. A resumption handle in it is the
            first one that is used.
        additional_headers: Of the upgrade request; a callable as with `uri`.
        ssl: For `wss`; by default the system's trust.
        compression: As `websockets.connect` takes it. Where the service accepts it, it saves a quarter of the bytes of
            audio, and costs 33 KiB and twice the processor time that receiving takes without.
        transparent: Whether the service reports what it consumed; None: as `Policy.transparent` says, and there
            ``"auto"`` means a Vertex address or a Vertex model name.
        key: Name of the conversation. Its newest handle is kept under it, and used by the next session of this name.
        store: Where: a URL (``memory://``, ``sqlite:///PATH``; plugins bring more), or a `resumekit.stores.HandleStore`.
            A handle in the setup goes before the one that is kept.
        pool: Lets the session in, in its turn; it keeps its slot across reconnects. What is waited for it counts
            against no other time-out.
        history: The conversation so far: turns, strings, or a callable, also an asynchronous one, that returns them.
            Replayed where a new session starts without a handle. A callable that fails is told by
            `HistoryNotLoaded`, and the session starts with what it has heard itself.
        policy: Limits and choices.
        plugins: Modules or objects with hooks (see `resumekit.hookspecs`), asked before the installed ones.
        on_event: Called with every event; must not block.
        trace: Write a trace of the session to this file, or into this directory: what ``resumekit timeline`` draws and
            ``resumekit replay`` runs again. Texts and media are masked in it; see `resumekit.trace.Trace`.

    Raises:
        ConfigurationError: An argument makes no sense.
        ConnectRefused: (on entering) The service refused for good.
        ConnectFailed: (on entering) No connection within `Policy.first_connect_deadline`.
        KeyInUse: (on entering) Another session has the conversation of the key (`Policy.key_in_use`).
        PoolTimeout: (on entering) The pool was full for too long.
    """

    __slots__ = (
        "_compression",
        "_driver",
        "_headers",
        "_history",
        "_key",
        "_on_event",
        "_plugins",
        "_policy",
        "_pool",
        "_setup",
        "_ssl",
        "_store",
        "_trace",
        "_transparent",
        "_uri",
    )

    def __init__(
        self,
        uri: Maybe[str],
        *,
        setup: Mapping[str, Any] | str,
        additional_headers: Maybe[_HeadersLike] | None = None,
        ssl: ssl_module.SSLContext | None = None,
        compression: Literal["deflate"] | None = "deflate",
        transparent: bool | None = None,
        key: str | None = None,
        store: str | HandleStore | None = None,
        pool: SessionPool | None = None,
        history: Maybe[_History] = None,
        policy: Policy | None = None,
        plugins: Iterable[object] = (),
        on_event: OnEvent | None = None,
        trace: TraceTo | None = None,
    ) -> None:
        self._uri = uri
        self._headers = additional_headers
        self._ssl = ssl
        self._compression = compression
        self._setup = _setup_frame(setup)
        self._policy = checked_policy(policy)
        self._transparent = self._is_transparent(transparent=transparent)
        self._history = history
        check_keeping(key, store)
        check_pool(pool)
        self._key = key
        self._store = store
        self._pool = pool
        self._plugins = plugins
        self._on_event = on_event
        self._trace = checked_trace(trace)
        self._driver: Driver | None = None

    async def __aenter__(self) -> Session:
        if self._driver is not None:
            raise ConfigurationError("this connect() was entered before; call connect() again for a new session")
        self._driver = await session_driver(
            self._setup,
            self._dial,
            policy=self._policy,
            transparent=self._transparent,
            history=self._history,
            to_dict=lambda turn: turn,
            on_event=self._on_event,
            key=self._key,
            store=self._store,
            pool=self._pool,
            plugins=self._plugins,
            credentials_renewable=callable(self._uri) or callable(self._headers),
            trace=self._trace,
        )
        try:
            await self._driver.start()
        except InvalidURI as error:
            raise ConfigurationError(f"bad uri: {error}") from error
        except InvalidProxy as error:
            raise ConfigurationError(f"bad proxy: {error}") from error
        except ssl_module.SSLError as error:
            raise ConnectRefused(str(error)) from error
        return Session(self._driver)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._driver is not None
        await self._driver.close()

    async def _dial(self) -> WebSocketTransport:
        uri = await resolve(self._uri)
        if not isinstance(uri, str):  # pyright: ignore[reportUnnecessaryIsInstance] -- what a callable gave
            raise ConfigurationError(f"uri is a {type(uri).__name__}; give a string, or a callable that returns one")
        headers = None if self._headers is None else await resolve(self._headers)
        options: dict[str, object] = {"compression": self._compression}
        if uri.startswith("wss:"):
            if self._ssl is None:  # reads files: not on the event loop, and once
                self._ssl = await asyncio.to_thread(ssl_module.create_default_context)
            options["ssl"] = self._ssl
        return await dial_websocket(uri, additional_headers=headers, policy=self._policy, options=options)

    def _is_transparent(self, *, transparent: bool | None) -> bool:
        if transparent is not None:
            return transparent
        if self._policy.transparent != "auto":
            return self._policy.transparent
        address = self._uri if isinstance(self._uri, str) else ""
        return is_vertex(address, self._setup)


def _setup_frame(setup: Mapping[str, Any] | str) -> str:
    import json  # see `to_json`

    try:
        given = json.loads(setup) if isinstance(setup, str) else setup
        if not isinstance(given, Mapping):
            raise ConfigurationError("setup must be a mapping or a JSON object")
        inner = cast("Mapping[str, object]", given)
        frame = intern(to_json(inner if "setup" in inner else {"setup": inner}))  # shared by sessions: it may be long
        setup_model(frame)
    except ConfigurationError:
        raise
    except (TypeError, ValueError, LocalProtocolError) as error:
        raise ConfigurationError(f"bad setup: {error}") from error
    return frame
