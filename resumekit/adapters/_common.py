"""What all adapters share: how arguments are looked at, and the driver of a session made of them."""

from __future__ import annotations

import asyncio
import inspect
import random
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from resumekit.core.events import Event
from resumekit.core.policy import Policy
from resumekit.drivers import Dialer, fast_lanes
from resumekit.errors import ConfigurationError, LocalProtocolError
from resumekit.wire import HistoryTurn, ServerMessage, setup_fingerprint, setup_model

if TYPE_CHECKING:
    from resumekit.drivers.driver import Driver, HistoryLoader
    from resumekit.encryption import EncryptedStore
    from resumekit.plugins import PluginDecisions
    from resumekit.pool import SessionPool
    from resumekit.stores import HandleStore
    from resumekit.trace import Trace

__all__ = [
    "Maybe",
    "OnEvent",
    "TraceTo",
    "check_keeping",
    "check_listener",
    "check_pool",
    "checked_policy",
    "checked_trace",
    "is_vertex",
    "resolve",
    "session_driver",
    "store_of",
    "to_json",
    "to_turns",
]

_T = TypeVar("_T")
Maybe: TypeAlias = _T | Callable[[], _T | Awaitable[_T]]
"""A value, or a callable that returns it, at once or when awaited."""
OnEvent: TypeAlias = Callable[[Event], object]
TraceTo: TypeAlias = "str | PathLike[str] | Trace"
"""Where a trace goes."""
DEFAULT_POLICY = Policy()
"""One for all sessions that are given none; the pytest plugin has another one while a test has a server."""
_LOADING = threading.Lock()


async def resolve(value: Maybe[_T]) -> _T:
    """Return the value, asking for it if it is a callable."""
    if not callable(value):
        return value
    answer: Any = cast("Callable[[], object]", value)()
    return cast("_T", await answer if inspect.isawaitable(answer) else answer)


def is_vertex(address: str, setup: str) -> bool:
    """Tell by the address, or by the model's name in a setup frame, whether this is Vertex."""
    return "aiplatform" in address or setup_model(setup).startswith(("projects/", "publishers/"))


def checked_policy(policy: object) -> Policy:
    """Return the policy that the user gave, or the default one for None.

    Raises:
        ConfigurationError: This is no policy.
    """
    if policy is None:
        return DEFAULT_POLICY
    if not isinstance(policy, Policy):
        raise ConfigurationError(f"policy is a {type(policy).__name__}; give a resumekit.Policy")
    return policy


def check_keeping(key: object, store: object) -> None:
    """Look at the arguments `key` and `store` of a `connect` whose caller is three frames up; warn of a key alone.

    Raises:
        ConfigurationError: They make no sense.
    """
    if key is not None and (not isinstance(key, str) or not key):
        raise ConfigurationError(f"key is {key!r}; give a name for the conversation, as text")
    if store is None:
        if key is not None:
            warnings.warn("key without store: handles are kept in memory, and lost with the process", stacklevel=3)
        return
    if key is None:
        raise ConfigurationError("store without key: give the conversation a name with key=...")
    if isinstance(store, str) and "://" not in store:
        raise ConfigurationError(
            "store is no URL; give one such as 'sqlite:///calls.db' (a file) or 'memory://', or a HandleStore"
        )
    if isinstance(store, str):
        return
    from resumekit.stores import HandleStore

    if not isinstance(store, HandleStore):
        raise ConfigurationError(f"store is a {type(store).__name__}; give a URL, or a resumekit.stores.HandleStore")


def check_pool(pool: object) -> None:
    """Look at an argument `pool`.

    Raises:
        ConfigurationError: This is no pool.
    """
    if pool is None:
        return
    from resumekit.pool import SessionPool

    if not isinstance(pool, SessionPool):
        raise ConfigurationError(f"pool is a {type(pool).__name__}; give a resumekit.pool.SessionPool")


def checked_trace(trace: object) -> Trace | None:
    """Return what an argument `trace` says.

    Raises:
        ConfigurationError: This is no path, and no trace.
    """
    if trace is None:
        return None
    from resumekit.trace import Trace

    return trace if isinstance(trace, Trace) else Trace(cast("str", trace))


async def session_driver(
    setup: str,
    dial: Dialer,
    *,
    policy: Policy,
    transparent: bool,
    history: object,
    to_dict: Callable[[object], object],
    on_event: OnEvent | None,
    credentials_renewable: bool,
    key: str | None = None,
    store: str | HandleStore | None = None,
    pool: SessionPool | None = None,
    plugins: Iterable[object] = (),
    readable: Callable[[ServerMessage], bool] | None = None,
    label: str = "",
    resumes: bool = True,
    trace: Trace | None = None,
) -> Driver:
    """Return the driver of a new session.

    Args:
        setup: The application's setup frame.
        dial: Opens a connection.
        policy: Limits and choices.
        transparent: Whether the service reports what it consumed.
        history: Turns, a callable that returns them, or None.
        to_dict: Turns a framework's own turn into a mapping; gives back what it does not know.
        on_event: The application's listener.
        credentials_renewable: Whether a new dial may bring new credentials.
        key: Name of the conversation in the store; see `check_keeping`.
        store: Where its handle is kept.
        pool: Lets it in.
        plugins: Asked before the installed ones.
        readable: See `Driver`.
        label: See `Driver`.
        resumes: See `Keeper`.
        trace: Where all that happens to the engine is written.

    Raises:
        ConfigurationError: An argument makes no sense, or the trace cannot be written.
    """
    check_listener(on_event)
    if not _is_loaded():
        await asyncio.to_thread(_load)
    from resumekit.core.engine import Engine
    from resumekit.drivers.driver import Driver
    from resumekit.drivers.keeper import Keeper
    from resumekit.plugins import make_decisions

    decisions = make_decisions(plugins, report=_nowhere)
    loads = callable(history)
    recording = None if trace is None else trace.recording(label)
    make: Callable[..., Engine] = Engine if recording is None else recording.engine
    try:
        engine = make(
            setup,
            policy=policy,
            decisions=decisions,
            transparent=transparent,
            random=random.random,
            history=() if loads else to_turns(history, to_dict),
            loads_history=loads,
            credentials_renewable=credentials_renewable,
            express=fast_lanes(),
        )
    except LocalProtocolError as error:
        raise ConfigurationError(f"bad setup: {error}") from error

    def publish(event: Event) -> None:
        driver.publish(event)

    keeper: Keeper | None = None
    if key is not None and policy.resumption == "on":
        keeper = Keeper(
            store_of(store or "memory://", decisions),
            key,
            policy=policy,
            model=setup_model(setup),
            fingerprint=setup_fingerprint(setup),
            transparent=transparent,
            publish=publish,
            pending=engine.pending,
            closes_store=store is None or isinstance(getattr(store, "inner", store), str),
            resumes=resumes,
        )
    driver = Driver(
        engine,
        dial,
        policy=policy,
        load_history=_loader(history, to_dict) if loads else None,
        on_event=on_event,
        tell_plugins=decisions.on_event,
        note=None if recording is None else recording.tell,
        keeper=keeper,
        readable=readable,
        admission=None if pool is None else pool.admission(publish),
        label=label,
        model=setup_model(setup),
        at_end=None if recording is None else recording.finish,
    )
    decisions.report_to(driver.report)
    if recording is not None:
        try:
            await asyncio.to_thread(recording.open)
        except asyncio.CancelledError:  # the thread goes on
            recording.abandon()
            raise
    return driver


def _is_loaded() -> bool:
    """Tell whether `_load` is done; not yet, while another session's thread is still at it."""
    installed = getattr(sys.modules.get("resumekit.plugins"), "installed_plugins", None)
    return installed is not None and bool(installed.cache_info().currsize) and "resumekit.drivers.driver" in sys.modules


def _load() -> None:
    """Import what only sessions need, plugins among it, which takes long: in a thread, before the first one.

    Sessions that start together wait for the first of them here, so that no plugin is loaded twice.
    """
    with _LOADING:
        import_module("resumekit.drivers.driver")  # and with it the engine, and what keeps handles
        from resumekit.plugins import installed_plugins

        installed_plugins()


def _nowhere(event: Event) -> None:
    """Nothing asks a plugin before there is a driver."""


def _loader(history: object, to_dict: Callable[[object], object]) -> HistoryLoader:
    async def load() -> list[HistoryTurn]:
        return to_turns(await resolve(history), to_dict)

    return load


def store_of(store: str | HandleStore, decisions: PluginDecisions) -> HandleStore:
    """Return the store, asking the plugins for a URL; the error never shows the URL, which may hold a password."""
    inner = getattr(store, "inner", None)
    if isinstance(inner, str):  # an EncryptedStore, which few import
        return cast("EncryptedStore", store).over(store_of(inner, decisions))
    if not isinstance(store, str):
        return store
    found = decisions.provide_handle_store(store)
    if found is not None:
        return found
    from resumekit.plugins import nobody_answers

    raise nobody_answers(store, "a store")


def to_json(value: object, *, default: Callable[[object], object] | None = None) -> str:
    """Write what an application gave; `default` as in `json.dumps`, and so are the errors."""
    import json  # here: it takes as long to import as a dozen of our own modules

    return json.dumps(value, default=default)


def check_listener(on_event: object) -> None:
    """Look at an argument `on_event`.

    Raises:
        ConfigurationError: This is no plain function.
    """
    if on_event is not None and (not callable(on_event) or inspect.iscoroutinefunction(on_event)):
        raise ConfigurationError(
            "on_event must be a plain function: it is called, never awaited; iterate session.events instead"
        )


def to_turns(history: object, to_dict: Callable[[object], object] = lambda turn: turn) -> list[HistoryTurn]:
    """Return turns as text; tool parts are written out, other parts are only noted.

    Args:
        history: One turn or several: strings (the user's), mappings with `role` and `parts`, `HistoryTurn`s, or what
            `to_dict` makes a mapping of. None: no turns.
        to_dict: See `session_driver`.

    Raises:
        ConfigurationError: This is no turn.
    """
    if history is None:
        return []
    given = to_dict(history)  # first: a framework's turn may be iterable
    return [_turn(to_dict(item)) for item in _several(given)]


def _turn(item: object) -> HistoryTurn:
    if isinstance(item, HistoryTurn):
        return item
    if isinstance(item, str):
        return HistoryTurn("user", item)
    if not isinstance(item, Mapping):
        raise ConfigurationError(f"history holds a {type(item).__name__}; give turns with a role and parts, or strings")
    turn = cast("Mapping[str, object]", item)
    role = turn.get("role") or "user"
    if role not in ("user", "model"):
        raise ConfigurationError(f"history holds a turn of role {role!r}; give 'user' or 'model'")
    if unknown := set(turn) - {"role", "parts"}:
        raise ConfigurationError(f"history holds a turn with {sorted(unknown)}; give role and parts: [{{'text': ...}}]")
    parts = turn.get("parts") or ()
    texts = [_part(part) for part in _several(parts)]
    return HistoryTurn(role, "".join(filter(None, texts)), has_other_parts=None in texts)


def _several(items: object) -> Iterable[object]:
    alone = isinstance(items, str | Mapping | HistoryTurn) or not isinstance(items, Iterable)
    return cast("Iterable[object]", (items,) if alone else items)


def _part(part: object) -> str | None:
    """Return a part as text; None where it cannot be."""
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise ConfigurationError(f"history holds a part that is a {type(part).__name__}; give mappings or strings")
    given = cast("Mapping[str, object]", part)
    if given.get("thought"):
        return ""
    text = given.get("text")
    if isinstance(text, str):
        return text
    for what, label, content in (("call", "called", "args"), ("response", "result of", "response")):
        tool = given.get(f"function_{what}", given.get(f"function{what.title()}"))
        if isinstance(tool, Mapping):
            said = cast("Mapping[str, object]", tool)
            return f"[{label} {said.get('name')}: {to_json(said.get(content) or {}, default=str)}]"
    return None
