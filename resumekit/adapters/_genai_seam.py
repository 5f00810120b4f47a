"""Every private name of google-genai that resumekit touches, and nothing else.

google-genai knows how to make a connection (address, headers, tokens, TLS, the setup frame), and makes it inside
`AsyncLive.connect`. `ask` has it do all of that up to the point where it would open the socket: the function is run
with another `ws_connect`, which takes the request down and answers `setupComplete` itself. So the setup is known before
anything was dialled, errors in a config come out as google-genai raises them, and `replay_failure` can have it turn a
failed connect into the very error that it would have raised.

The private names, all there from 1.56 to 3.4: `Client._api_client`, of it `_http_options`, `_async_access_token` and
`_credentials`; the global `ws_connect` of `google.genai.live`; `LiveServerMessage._from_response`; `AsyncSession._ws`,
and the inner client of `AsyncClient` and `AsyncLive`, through their constructors.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType, TracebackType
from typing import Any, Self, cast

import msgspec
from google import genai
from google.auth.exceptions import GoogleAuthError
from google.genai import types
from google.genai.live import AsyncLive, AsyncSession
from websockets.exceptions import ConnectionClosed

from resumekit.errors import ConfigurationError
from resumekit.wire import ServerMessage, top_level

__all__ = [
    "Account",
    "Request",
    "account_of",
    "as_config",
    "as_dict",
    "can_read",
    "check",
    "inner_client",
    "known_keys",
    "session_arguments",
]

_SETUP_COMPLETE = b'{"setupComplete":{}}'
_NULL = b"null"
_OPENS_SOCKET = "ws_connect"
_UNKNOWN = "google-genai {version} is not known to resumekit ({problem}); install a version from 1.56 to 3.x, or a newer resumekit"


@dataclass(frozen=True)
class Request:
    """What google-genai would have dialled."""

    uri: str
    headers: dict[str, str]
    options: dict[str, object]
    """Further arguments of `websockets.connect`: `ssl`, and what the user gave as `async_client_args`."""
    setup: str
    """The first frame, as JSON."""

    def __repr__(self) -> str:
        return f"<Request to {self.uri.partition('?')[0]}>"


def _unknown(problem: str) -> ConfigurationError:
    return ConfigurationError(_UNKNOWN.format(version=genai.__version__, problem=problem))


def _connect_function() -> FunctionType:
    function = inspect.unwrap(AsyncLive.connect)
    if (
        not isinstance(function, FunctionType)
        or _OPENS_SOCKET not in function.__code__.co_names
        or _OPENS_SOCKET not in function.__globals__
    ):
        raise _unknown(f"AsyncLive.connect does not open its socket with {_OPENS_SOCKET}")
    return function


def check() -> None:
    """Look at the installed version.

    Raises:
        ConfigurationError: It is not built as resumekit knows it; names the version.
    """
    _connect_function()
    needed = {"api_client", "websocket", "session_id"}
    missing = needed - set(inspect.signature(AsyncSession).parameters)
    if missing:
        raise _unknown(f"AsyncSession takes no {', '.join(sorted(missing))}")
    if "api_client" not in inspect.signature(AsyncLive).parameters:
        raise _unknown("AsyncLive takes no api_client")


class Account:
    """A user's client, looked at once: its options stay as they were at this moment.

    The options are a copy, as frameworks edit them around their own connect. The client itself is never changed or
    copied: a copy of its inner part would close what both share.
    """

    def __init__(self, api_client: Any) -> None:
        self.api_client = api_client
        self.is_vertex = bool(api_client.vertexai)
        options = api_client._http_options  # noqa: SLF001 -- this file's purpose
        self._http_options = options.model_copy(update={"headers": dict(options.headers or {})})

    async def rehearse(self, model: str, config: object) -> Request:
        """Return what the first dial would be, made without network and credentials.

        Raises:
            Exception: google-genai's own, where it does not like the config.
        """
        return await self._ask(model, config, without_credentials=True)

    @property
    def has_token(self) -> bool:
        """Whether the account signs in with a token of Google Cloud, which can be refreshed."""
        return self.is_vertex and not self.api_client.api_key and _signs_in(self.api_client)

    async def ask(self, model: str, config: types.LiveConnectConfig, *, renew: bool = False) -> Request:
        """Return what to dial now, with credentials that are valid now; its setup says nothing.

        Args:
            model: As given by the user.
            config: As given by the user.
            renew: The service has refused the token, whatever it looks like.

        Raises:
            Exception: google-auth's own, where there are no credentials to be had.
        """
        await self._refresh_token(renew=renew)
        # Only the address and the headers count: tools of an MCP session are not listed again.
        return await self._ask(model, types.LiveConnectConfig(http_options=config.http_options))

    async def replay_failure(self, model: str, config: object, failure: BaseException) -> None:
        """Raise what google-genai makes of a connect that failed in this way."""
        await self._ask(model, config, without_credentials=True, failure=failure)

    async def _refresh_token(self, *, renew: bool) -> None:
        """Refresh the token of Vertex in a thread: google-genai before 3.x does it on the event loop."""
        refresh = getattr(self.api_client, "_async_access_token", None)
        if refresh is None or not self.has_token:
            return
        credentials: Any = getattr(self.api_client, "_credentials", None)
        refused = getattr(credentials, "token", None) if renew else None
        if refused is None:
            await refresh()
            return
        credentials.token = None  # google-genai refreshes one that has expired, or is not there
        try:
            await refresh()
        except GoogleAuthError:
            pass  # with the old token the service itself says what is wrong
        finally:
            credentials.token = credentials.token or refused

    async def _ask(
        self, model: str, config: object, *, without_credentials: bool = False, failure: BaseException | None = None
    ) -> Request:
        requests: list[_Recorder] = []

        def take_down(uri: str, **arguments: Any) -> _Recorder:
            requests.append(_Recorder(uri, failure=failure, **arguments))
            return requests[-1]

        function = _connect_function()
        names = function.__globals__
        shared = {"__warningregistry__": names.setdefault("__warningregistry__", {})}  # so that it warns once
        copy = FunctionType(
            function.__code__,
            {**names, **shared, _OPENS_SOCKET: take_down},
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        copy.__kwdefaults__ = function.__kwdefaults__
        view = _View(self.api_client, _http_options=self._http_options)
        if without_credentials:
            view = _View(view, _credentials=_NoCredentials(), _async_access_token=_no_token)
        connect = cast("Callable[..., Any]", contextlib.asynccontextmanager(copy))
        async with connect(AsyncLive(cast("Any", view)), model=model, config=_copied(config)):
            pass
        if len(requests) != 1 or requests[0].setup is None:
            raise _unknown("AsyncLive.connect sends no setup")
        return requests[0].request(requests[0].setup)


def account_of(client: object) -> Account:
    """Return the account behind a `google.genai.Client`.

    Raises:
        ConfigurationError: This is no such client.
    """
    api_client = getattr(client, "_api_client", None)
    if api_client is None or not hasattr(api_client, "vertexai"):
        if inspect.iscoroutine(client):
            client.close()
        raise ConfigurationError(
            f"client is a {type(client).__name__}; give a google.genai.Client, or a callable that makes one"
        )
    if not hasattr(api_client, "_http_options"):
        raise _unknown("its client has no _http_options")
    return Account(api_client)


def inner_client(client: object) -> dict[str, Any]:
    """Return the argument that `AsyncClient` and `AsyncLive` are made with, to share the inner client of another."""
    return {"api_client": cast("Any", client)._api_client}  # noqa: SLF001 -- this file's purpose


def session_arguments(account: Account, bridge: object, setup_complete: bytes) -> dict[str, Any]:
    """Return the arguments that the installed `AsyncSession` is made with.

    Args:
        account: Of the session.
        bridge: In the place of its connection.
        setup_complete: The service's answer to the setup. Fields of it that the installed version does not know are
            left out, as google-genai does it.

    Raises:
        pydantic.ValidationError: google-genai cannot read the answer.
    """
    given = msgspec.json.decode(setup_complete, type=dict[str, object])
    answer = cast("Any", types.LiveServerMessage)._from_response(response=given, kwargs={})  # noqa: SLF001 -- this file's purpose
    message: types.LiveServerSetupComplete | None = answer.setup_complete
    arguments: dict[str, Any] = {
        "api_client": account.api_client,
        "websocket": bridge,
        "session_id": None if message is None else message.session_id,
    }
    if "setup_complete" in inspect.signature(AsyncSession).parameters:  # 1.75 and later
        arguments["setup_complete"] = message
    return arguments


@functools.cache
def known_keys() -> frozenset[str]:
    """Return the top-level keys of a server frame that the installed version reads; any other makes it raise."""
    return frozenset(field.alias or name for name, field in types.LiveServerMessage.model_fields.items())


def can_read(message: ServerMessage) -> bool:
    """Tell whether the installed version can read a frame."""
    if message.server_content is not None:
        return True
    found = top_level(message.raw)
    return any(bytes(found.get(key, _NULL)) != _NULL for key in known_keys())


def _signs_in(api_client: Any) -> bool:
    """Tell whether credentials are asked for: not where a gateway has its own in the headers."""
    return not getattr(api_client, "custom_base_url", None) or bool(api_client.project and api_client.location)


def as_config(config: types.LiveConnectConfigOrDict | None) -> types.LiveConnectConfig:
    """Return a config that `rehearse` had no objection to as an object."""
    if isinstance(config, types.LiveConnectConfig):
        return config
    return types.LiveConnectConfig.model_validate(config or {})


def _copied(config: object) -> object:
    """Return a shallow copy: google-genai writes into the config that it is given."""
    if isinstance(config, types.LiveConnectConfig):
        return config.model_copy()
    return dict(cast("dict[str, object]", config)) if isinstance(config, dict) else config


class _View:
    """Another object's attributes, but for some."""

    def __init__(self, original: object, **instead: object) -> None:
        self._original = original
        self.__dict__.update(instead)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class _NoCredentials:
    token = "none"  # noqa: S105 -- that is what it is
    valid = True
    quota_project_id = None


async def _no_token() -> str:
    return _NoCredentials.token


class _Recorder:
    """Stands in for `websockets.connect` and for the connection that it opens."""

    def __init__(
        self,
        uri: str,
        *,
        failure: BaseException | None,
        additional_headers: dict[str, str] | None = None,
        **options: object,
    ) -> None:
        self.uri = uri
        self.headers = additional_headers or {}
        self.options = options
        self.setup: str | None = None
        self._failure = failure

    def request(self, setup: str) -> Request:
        return Request(self.uri, dict(self.headers), self.options, setup)

    async def __aenter__(self) -> Self:
        if self._failure is not None and not isinstance(self._failure, ConnectionClosed):
            raise self._failure
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    async def send(self, frame: str) -> None:
        self.setup = frame

    async def recv(self, decode: bool | None = None) -> bytes:  # noqa: ARG002, FBT001 -- as websockets has it
        if self._failure is not None:
            raise self._failure
        return _SETUP_COMPLETE


def as_dict(turn: object) -> object:
    """Return a turn of google-genai as a mapping; anything else as it is."""
    return turn.model_dump(exclude_none=True) if isinstance(turn, types.Content) else turn
