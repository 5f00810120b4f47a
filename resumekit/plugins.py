"""Finds plugins, refuses bad ones, and makes one decision maker out of all: `PluginDecisions`.

Plugins are foreign code. Each is called by itself, so that one that raises, is slow or talks nonsense is reported and
takes nothing else with it.
"""

from __future__ import annotations

import asyncio
import difflib
import functools
import inspect
import logging
import os
import traceback
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from time import perf_counter
from typing import Literal, cast

import pluggy
from msgspec import Struct
from msgspec.structs import replace

from resumekit import hookspecs
from resumekit.core.events import Event, HookFailed
from resumekit.core.failures import Verdict
from resumekit.core.policy import (
    DelayDetails,
    Exactly,
    FailureDetails,
    Move,
    MoveDetails,
    Recovery,
    RecoveryAction,
    RecoveryDetails,
)
from resumekit.defaults import BUILT_IN
from resumekit.errors import ConfigurationError
from resumekit.pool_backend import PoolBackend
from resumekit.stores import HandleStore
from resumekit.wire import HistoryTurn, RedactingFilter, redact

__all__ = [
    "ENTRY_POINT_GROUP",
    "HOOKS",
    "LOAD_PLUGINS",
    "SLOW",
    "Plugin",
    "PluginDecisions",
    "installed_plugins",
    "make_decisions",
    "nobody_answers",
]

ENTRY_POINT_GROUP = "resumekit"
LOAD_PLUGINS = "RESUMEKIT_LOAD_PLUGINS"
"""Environment variable: which installed plugins are loaded. Unset: all. Empty, or ``none``: none. Else the names of
their entry points, separated by commas; the others are not even imported."""
SLOW = 0.05
"""Seconds: a hook that takes longer holds the event loop up, and is reported."""
HOOKS = tuple(name for name in hookspecs.__all__ if name not in ("hookimpl", "hookspec"))

_log = logging.getLogger("resumekit.plugins")
_log.addFilter(RedactingFilter())  # errors of foreign code are logged here
_Problem = Literal["raised", "slow", "nonsense"]


class Plugin(Struct, frozen=True, kw_only=True):
    """An installed plugin."""

    name: str
    """Of its entry point."""
    distribution: str = ""
    version: str = ""
    hooks: tuple[str, ...] = ()
    """The hooks that it implements."""
    error: str | None = None
    """Why it is not used; None: it is."""
    implementation: object = None


# ---------------------------------------------------------------------- finding and checking


@functools.cache
def installed_plugins() -> tuple[Plugin, ...]:
    """Load the installed plugins, the first time; one that cannot be used says so in its `error`.

    Reads files and imports foreign modules: call it for the first time in a thread.
    """
    given = os.environ.get(LOAD_PLUGINS)
    wanted = None if given is None else {name.strip() for name in given.split(",")} - {"", "none"}
    found: dict[str, Plugin] = {}
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        if wanted is not None and point.name not in wanted:
            continue
        plugin = _load(point)
        if point.name in found:
            twin = found[point.name].distribution
            plugin = replace(plugin, error=f"{twin!r} has an entry point of the same name", implementation=None)
            found[f"{point.name} ({plugin.distribution})"] = plugin
        else:
            found[point.name] = plugin
    for name in sorted((wanted or set[str]()) - found.keys()):
        found[name] = Plugin(name=name, error=f"{LOAD_PLUGINS} names it, and no installed plugin has this name")
    for plugin in found.values():
        if plugin.error is not None:
            _log.error("the plugin %r is not used: %s", plugin.name, plugin.error)
    return tuple(found.values())


def _load(point: EntryPoint) -> Plugin:
    distribution = point.dist
    plugin = Plugin(
        name=point.name,
        distribution=distribution.name if distribution is not None else "",
        version=distribution.version if distribution is not None else "",
    )
    try:
        implementation = point.load()
        hooks = _register(_manager(), implementation, point.name)
    except ConfigurationError as error:
        named = f"the plugin {point.name!r} "
        return replace(plugin, error=str(error).removeprefix(f"{named}cannot be used: ").replace(named, "it ", 1))
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- foreign code: it must stop neither the others nor the app
        _log.debug("the plugin %r raised as it was loaded", point.name, exc_info=True)
        return replace(plugin, error=_describe(error))
    return replace(plugin, hooks=hooks, implementation=implementation)


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager("resumekit")
    manager.add_hookspecs(hookspecs)
    return manager


def _register(manager: pluggy.PluginManager, plugin: object, name: str) -> tuple[str, ...]:
    """Register a plugin; return the hooks that it implements.

    Raises:
        ConfigurationError: It is no plugin, or one of its hooks is misspelt, takes what it is not given, or is async.
    """
    if isinstance(plugin, type | str):
        what = f"the class {plugin.__name__}; give an instance of it" if isinstance(plugin, type) else "a string"
        raise ConfigurationError(f"the plugin {name!r} is {what}")
    try:
        manager.register(plugin, name)
    except pluggy.PluginValidationError as error:
        facts = " ".join(str(error).split()).removeprefix(f"Plugin {name!r} for ")
        raise ConfigurationError(f"the plugin {name!r} cannot be used: {facts}; see resumekit.hookspecs") from error
    hooks: list[str] = []
    for caller in manager.get_hookcallers(plugin) or ():
        (implementation,) = (found for found in caller.get_hookimpls() if found.plugin is plugin)
        if not caller.has_spec():
            if implementation.optionalhook:
                continue
            raise ConfigurationError(
                f"the plugin {name!r} has a hook {caller.name!r}, which does not exist{_did_you_mean(caller.name)}"
            )
        if inspect.iscoroutinefunction(implementation.function) or inspect.isasyncgenfunction(implementation.function):
            raise ConfigurationError(
                f"the hook {caller.name!r} of the plugin {name!r} is async: hooks are called, never awaited; use def"
            )
        if implementation.wrapper or implementation.hookwrapper:
            raise ConfigurationError(
                f"the hook {caller.name!r} of the plugin {name!r} is a wrapper: hooks are asked one by one; return an answer"
            )
        hooks.append(caller.name)
    unmarked = [hook for hook in HOOKS if hook not in hooks and callable(getattr(plugin, hook, None))]
    if unmarked or not hooks:
        missing = f"{unmarked[0]!r} is not marked" if unmarked else "it has no hooks"
        raise ConfigurationError(
            f"the plugin {name!r} cannot be used: {missing}; mark its hooks with resumekit.hookspecs.hookimpl"
        )
    return tuple(sorted(hooks))


def _did_you_mean(name: str) -> str:
    close = difflib.get_close_matches(name, HOOKS, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(HOOKS)}"


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {redact(str(error))}".rstrip(": ")[:300]


# ---------------------------------------------------------------------- asking


class _Opinion(Struct, frozen=True):
    """One plugin's implementation of one hook."""

    plugin: str
    owner: object
    function: Callable[..., object]
    takes_argument: bool
    built_in: bool

    def ask(self, argument: object) -> object:
        return self.function(argument) if self.takes_argument else self.function()


def make_decisions(plugins: Iterable[object] = (), *, report: Callable[[Event], None]) -> PluginDecisions:
    """Return the decision maker of one session: these plugins first, then the installed ones, then the defaults.

    Args:
        plugins: Modules or objects with hooks; the first is asked first.
        report: Called with a `HookFailed` where a plugin fails.

    Raises:
        ConfigurationError: One of `plugins` cannot be used.
    """
    if isinstance(plugins, str) or not isinstance(cast("object", plugins), Iterable):
        raise ConfigurationError(f"plugins is a {type(plugins).__name__}; give a list of modules or objects with hooks")
    given: dict[str, object] = {}
    for plugin in plugins:
        if any(plugin is other for other in given.values()):
            raise ConfigurationError(f"the plugin {_name_of(plugin)!r} is given twice")
        name = _name_of(plugin)
        given[name if name not in given else f"{name} #{len(given) + 1}"] = plugin
    opinions = _standing_opinions()
    if given:
        ours = _opinions(given)
        known = set(map(id, given.values()))  # installed as well: it is asked once
        opinions = {
            hook: ours[hook] + tuple(one for one in standing if id(one.owner) not in known)
            for hook, standing in opinions.items()
        }
    return PluginDecisions(opinions, report)


@functools.cache
def _standing_opinions() -> dict[str, tuple[_Opinion, ...]]:
    """Return the opinions of the installed plugins, then those of the built-in ones."""
    installed = {plugin.name: plugin.implementation for plugin in installed_plugins() if plugin.error is None}
    first, last = _opinions(installed), _opinions(BUILT_IN, built_in=True)
    return {hook: first[hook] + last[hook] for hook in HOOKS}


def _opinions(plugins: dict[str, object], *, built_in: bool = False) -> dict[str, tuple[_Opinion, ...]]:
    """Return what these plugins have to say to each hook, the first plugin first (but see pluggy's `tryfirst`)."""
    manager = _manager()
    for name, plugin in reversed(plugins.items()):  # pluggy asks the last one first
        _register(manager, plugin, name)
    opinions: dict[str, tuple[_Opinion, ...]] = {}
    for hook in HOOKS:
        caller = cast("pluggy.HookCaller", getattr(manager.hook, hook))
        opinions[hook] = tuple(
            _Opinion(one.plugin_name, one.plugin, one.function, bool(one.argnames), built_in)
            for one in reversed(caller.get_hookimpls())
        )
    return opinions


def _name_of(plugin: object) -> str:
    name = getattr(plugin, "__name__", None)
    return name if isinstance(name, str) else type(plugin).__qualname__


_OF_REDIS: dict[str, str] = dict.fromkeys(("redis", "rediss", "unix", "valkey", "valkeys"), "resumekit-redis")
_PACKAGES = {
    "a store": {**_OF_REDIS, **dict.fromkeys(("postgres", "postgresql"), "resumekit-postgres")},
    "a pool's backend": _OF_REDIS,
}
"""What a URL is to be -> its scheme -> the package that answers for it."""
_BUILT_IN: dict[str, list[str]] = {"a store": ["memory", "sqlite"], "a pool's backend": []}
"""What a URL is to be -> schemes that need no package."""


def nobody_answers(url: str, what: Literal["a store", "a pool's backend"]) -> ConfigurationError:
    """Return the error that no plugin answers for a URL; it never shows the URL, which may hold a password.

    Args:
        url: As the application gave it.
        what: It was to be.
    """
    scheme, colon, _ = url.partition("://")
    if not colon:
        return ConfigurationError(f"{what} is named by a URL, and this is none; give one such as 'redis://HOST:6379/0'")
    package = _PACKAGES[what].get(scheme)
    advice = f"install the one that does: pip install {package}" if package else "install the package that provides it"
    alike = scheme.lower().partition("+")[0]  # as in 'postgresql+asyncpg'
    close = None if package else difflib.get_close_matches(alike, [*_BUILT_IN[what], *_PACKAGES[what]], 1)
    if close and "sentinel" in scheme.lower():
        advice = f"sentinels are not asked: name the primary itself, or a proxy before it, with {close[0]}://"
    elif close:
        advice = f"did you mean {close[0]}://? Else {advice}"
    broken = [f"{plugin.name!r} ({plugin.error})" for plugin in installed_plugins() if plugin.error is not None]
    if broken:
        advice += f"; not used: {', '.join(broken)}"
    if LOAD_PLUGINS in os.environ:
        advice += f"; {LOAD_PLUGINS} is set, and may leave it out"
    return ConfigurationError(f"no plugin answers for {what} of {scheme}://; {advice}")


_NOTHING_REPORTED: frozenset[tuple[str, str, _Problem]] = frozenset()


class PluginDecisions:
    """Implements `resumekit.core.policy.Decisions` by asking plugins in order, and the defaults in the end.

    Made by `make_decisions`.
    """

    __slots__ = ("_opinions", "_report", "_reported")

    def __init__(self, opinions: dict[str, tuple[_Opinion, ...]], report: Callable[[Event], None]) -> None:
        self._opinions = opinions
        self._report = report
        self._reported = _NOTHING_REPORTED

    def choose_delay(self, details: DelayDetails) -> float | Exactly:
        """Ask for the delay before the next dial."""
        return cast("float | Exactly", self._ask("choose_delay", details, _no_delay))

    def classify_failure(self, details: FailureDetails) -> Verdict:
        """Ask what a failure means."""
        return cast("Verdict", self._ask("classify_failure", details, _no_verdict))

    def choose_move(self, details: MoveDetails) -> Move:
        """Ask when to leave a connection that said goAway."""
        return cast("Move", self._ask("choose_move", details, _no_move))

    def choose_recovery(self, details: RecoveryDetails) -> Recovery:
        """Ask how to go on after a loss."""
        return cast("Recovery", self._ask("choose_recovery", details, _no_recovery))

    def report_to(self, report: Callable[[Event], None]) -> None:
        """Have the failures of plugins told to somebody else from now on."""
        self._report = report

    def on_event(self, event: Event) -> None:
        """Tell every plugin that listens."""
        for opinion in self._opinions["on_event"]:
            self._call("on_event", opinion, event, _no_silence)

    def provide_handle_store(self, url: str) -> HandleStore | None:
        """Ask for the store of a URL; None: no plugin answers for it.

        Raises:
            ConfigurationError: A plugin raised, or returned what is no store.
        """
        return cast("HandleStore | None", self._provided("provide_handle_store", url, HandleStore, "the handle store"))

    def provide_pool_backend(self, url: str) -> PoolBackend | None:
        """Ask for the pool's backend of a URL; None: no plugin answers for it.

        Raises:
            ConfigurationError: A plugin raised, or returned what is no backend.
        """
        return cast(
            "PoolBackend | None", self._provided("provide_pool_backend", url, PoolBackend, "the pool's backend")
        )

    def _provided(self, hook: str, url: str, kind: type, what: str) -> object:
        for opinion in self._opinions[hook]:
            try:
                provided = opinion.ask(url)
            except ConfigurationError:
                raise
            except Exception as error:
                raise ConfigurationError(
                    f"the plugin {opinion.plugin!r} cannot provide {what}: {type(error).__name__}"
                ) from error
            if isinstance(provided, kind):
                return provided
            if provided is not None:
                raise ConfigurationError(
                    f"the plugin {opinion.plugin!r} provided a {type(provided).__name__}, which is no {kind.__name__}"
                )
        return None

    def _ask(self, hook: str, details: object, problem_of: Callable[[object], str | None]) -> object:
        """Return the first opinion that makes sense; the built-in one is the last, and always does."""
        for opinion in self._opinions[hook]:
            if opinion.built_in:
                return opinion.ask(details)
            answer = self._call(hook, opinion, details, problem_of)
            if answer is not None:
                return answer
        raise AssertionError(hook)

    def _call(
        self, hook: str, opinion: _Opinion, argument: object, problem_of: Callable[[object], str | None]
    ) -> object:
        """Return a plugin's answer; None where it has none, or none that makes sense."""
        started = perf_counter()
        try:
            answer = opinion.ask(argument)
            problem = None if answer is None else problem_of(answer)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 -- foreign: it must not take the session down
            place = traceback.extract_tb(error.__traceback__)[-1]
            # Not what the error says: a plugin may quote the conversation.
            detail = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
            self._failed(hook, opinion, "raised", detail, error)
            return None
        seconds = perf_counter() - started
        if seconds > SLOW:
            self._failed(hook, opinion, "slow", f"it took {seconds:.2f} s, and held everything else up")
        if problem is None:
            return answer
        if inspect.iscoroutine(answer):
            answer.close()
        self._failed(hook, opinion, "nonsense", f"it returned {problem}")
        return None

    def _failed(
        self, hook: str, opinion: _Opinion, problem: _Problem, detail: str, error: BaseException | None = None
    ) -> None:
        """Report a problem, the first time that a plugin's hook has it in this session."""
        known = self._reported
        self._reported = known | {(opinion.plugin, hook, problem)}
        if self._reported == known:
            return
        level = logging.WARNING if problem == "slow" else logging.ERROR
        _log.log(level, "the hook %s of the plugin %r failed: %s", hook, opinion.plugin, detail, exc_info=error)
        self._report(HookFailed(hook=hook, plugin=opinion.plugin, problem=problem, detail=detail))


# ---------------------------------------------------------------------- what makes no sense, and why


_LONGEST = 1e9
"""Seconds, 30 years: what is longer cannot be meant, and is no delay that arithmetic survives."""


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LONGEST


def _no_silence(answer: object) -> str | None:
    return "a coroutine; hooks are called, never awaited" if inspect.iscoroutine(answer) else None


def _no_delay(answer: object) -> str | None:
    seconds = answer.seconds if isinstance(answer, Exactly) else answer
    if _is_time(seconds):
        return None
    shown = repr(answer) if isinstance(seconds, int | float) else f"a {type(seconds).__name__}"
    return f"{shown}, not a number of seconds"


def _no_verdict(answer: object) -> str | None:
    return None if isinstance(answer, Verdict) else f"a {type(answer).__name__}, not a Verdict"


def _no_move(answer: object) -> str | None:
    if not isinstance(answer, Move):
        return f"a {type(answer).__name__}, not a Move"
    if _is_time(answer.deadline) and (answer.warm_dial is None or _is_time(answer.warm_dial)):
        return None
    return "a Move whose times are not seconds from now"


def _no_recovery(answer: object) -> str | None:
    if not isinstance(answer, Recovery):
        return f"a {type(answer).__name__}, not a Recovery"
    action = cast("object", answer.action)
    if not isinstance(action, RecoveryAction):
        return f"a Recovery whose action is a {type(action).__name__}, not a RecoveryAction"
    turns = cast("object", answer.turns)
    if turns is None or (isinstance(turns, Sequence) and all(map(_is_turn, cast("Sequence[object]", turns)))):
        return None
    return "a Recovery whose turns are not HistoryTurns of role 'user' or 'model'"


def _is_turn(turn: object) -> bool:
    return (
        isinstance(turn, HistoryTurn) and turn.role in ("user", "model") and isinstance(cast("object", turn.text), str)
    )
