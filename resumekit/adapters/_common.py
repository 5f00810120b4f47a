"""What all adapters share: history in its many forms, and callables that may be asynchronous."""

from __future__ import annotations

import inspect
import json
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar, cast

from resumekit.core.engine import Engine
from resumekit.core.events import Event
from resumekit.core.policy import Policy
from resumekit.defaults import DefaultDecisions
from resumekit.drivers import Dialer, Driver
from resumekit.errors import ConfigurationError, LocalProtocolError
from resumekit.wire import HistoryTurn

__all__ = ["Maybe", "OnEvent", "checked_policy", "resolve", "session_driver", "to_turns"]

T = TypeVar("T")
Maybe: TypeAlias = T | Callable[[], T | Awaitable[T]]
"""A value, or a callable that returns it, at once or when awaited."""
OnEvent: TypeAlias = Callable[[Event], object]


async def resolve(value: Maybe[T]) -> T:
    """Return the value, asking for it if it is a callable."""
    if not callable(value):
        return value
    answer: Any = cast("Callable[[], object]", value)()
    return cast("T", await answer if inspect.isawaitable(answer) else answer)


def checked_policy(policy: object) -> Policy:
    """Return the policy that the user gave, or the default one for None.

    Raises:
        ConfigurationError: This is no policy.
    """
    if policy is None:
        return Policy()
    if not isinstance(policy, Policy):
        raise ConfigurationError(f"policy is a {type(policy).__name__}; give a resumekit.Policy")
    return policy


def session_driver(
    setup: str,
    dial: Dialer,
    *,
    policy: Policy,
    transparent: bool,
    history: object,
    to_dict: Callable[[object], object],
    on_event: OnEvent | None,
    credentials_renewable: bool,
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

    Raises:
        ConfigurationError: An argument makes no sense.
    """
    _check_listener(on_event)

    async def load() -> list[HistoryTurn]:
        return to_turns(await resolve(history), to_dict)

    loads = callable(history)
    try:
        engine = Engine(
            setup,
            policy=policy,
            decisions=DefaultDecisions(),
            transparent=transparent,
            random=random.random,
            history=() if loads else to_turns(history, to_dict),
            loads_history=loads,
            credentials_renewable=credentials_renewable,
        )
    except LocalProtocolError as error:
        raise ConfigurationError(f"bad setup: {error}") from error
    return Driver(engine, dial, policy=policy, load_history=load if loads else None, on_event=on_event)


def _check_listener(on_event: object) -> None:
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
            return f"[{label} {said.get('name')}: {json.dumps(said.get(content) or {}, default=str)}]"
    return None
