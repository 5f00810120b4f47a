"""Plugins: found, checked, asked in order, and kept from taking anything with them."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
import types
from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumekit import plugins
from resumekit.core import events
from resumekit.core.failures import Failure, Phase, Side, Verdict
from resumekit.core.policy import (
    Decisions,
    DelayDetails,
    Exactly,
    FailureDetails,
    Move,
    MoveDetails,
    Policy,
    Recovery,
    RecoveryAction,
    RecoveryDetails,
)
from resumekit.defaults import DefaultDecisions, MemoryStore
from resumekit.errors import ConfigurationError
from resumekit.hookspecs import hookimpl
from resumekit.plugins import HOOKS, installed_plugins, make_decisions
from resumekit.pool import MemoryPoolBackend
from resumekit.wire import HistoryTurn

LOST = Failure(phase=Phase.LIVE, side=Side.NOBODY, code=1006)
DETAILS = {
    "choose_delay": DelayDetails(
        attempt=3, seconds_down=1.0, verdict=Verdict.RESUME_LATER, retry_after=None, policy=Policy()
    ),
    "classify_failure": FailureDetails(
        failure=LOST,
        repeats=0,
        seconds_down=0.0,
        with_handle=True,
        handle_age=1.0,
        credentials_renewable=False,
        policy=Policy(),
    ),
    "choose_move": MoveDetails(
        time_left=30.0, turn_open=False, pending_calls=0, handle_age=1.0, draw=0.5, policy=Policy()
    ),
    "choose_recovery": RecoveryDetails(
        failure=LOST,
        verdict=Verdict.RESUME_NOW,
        handle_age=1.0,
        pending_messages=0,
        transcript=(),
        transparent=False,
        model="m",
    ),
}
DECISIONS = tuple(DETAILS)
DEFAULTS = {hook: getattr(DefaultDecisions(), hook)(details) for hook, details in DETAILS.items()}
ANSWERS = {
    "choose_delay": 7.5,
    "classify_failure": Verdict.FATAL,
    "choose_move": Move(deadline=1.0, warm_dial=None),
    "choose_recovery": Recovery(action=RecoveryAction.FRESH, turns=[HistoryTurn("user", "hello")]),
}
EVENT = events.Moving(connection=1, quiet=True)


@pytest.fixture(autouse=True)
def _nothing_remembered():
    """The installed plugins are read once per process; here, once per test."""
    forget()
    yield
    forget()


def forget():
    installed_plugins.cache_clear()
    plugins._standing_opinions.cache_clear()


def plugin(name="plugin", **hooks):
    """Return a module with these hooks; what is no function is the answer."""
    module = types.ModuleType(name)
    for hook, what in hooks.items():
        setattr(module, hook, hookimpl(what if callable(what) else answering(what)))
    return module


def answering(answer):
    def hook(details):
        return answer

    return hook


def asked(hook, *given, report=None):
    """Ask one hook of a session with these plugins."""
    reported = [] if report is None else report
    return getattr(make_decisions(given, report=reported.append), hook)(DETAILS[hook])


# ---------------------------------------------------------------------- asking


def test_it_is_what_the_engine_asks():
    decisions: Decisions = make_decisions(report=print)

    assert {hook: getattr(decisions, hook)(DETAILS[hook]) for hook in DECISIONS} == DEFAULTS


@pytest.mark.parametrize("hook", DECISIONS)
def test_a_plugin_is_asked_before_the_default(hook):
    assert asked(hook, plugin(**{hook: ANSWERS[hook]})) is ANSWERS[hook]


@pytest.mark.parametrize("hook", DECISIONS)
def test_a_plugin_without_an_opinion_leaves_it_to_the_next(hook):
    silent = plugin("silent", **{hook: None})

    assert asked(hook, silent) == DEFAULTS[hook]
    assert asked(hook, silent, plugin(**{hook: ANSWERS[hook]})) is ANSWERS[hook]


def test_the_first_plugin_given_is_asked_first_and_the_second_not_at_all():
    seen = []

    def second(details):
        seen.append(details)
        return 2.0

    assert asked("choose_delay", plugin("a", choose_delay=1.0), plugin("b", choose_delay=second)) == 1.0
    assert seen == []


def test_zero_is_an_answer():
    assert asked("choose_delay", plugin(choose_delay=0)) == 0


def test_a_hook_may_take_nothing():
    assert asked("choose_delay", plugin(choose_delay=lambda: 4.0)) == 4.0


def test_a_plugin_may_be_an_object():
    class Patient:
        def __init__(self, seconds):
            self.seconds = seconds

        @hookimpl
        def choose_delay(self, details):
            return self.seconds

    assert asked("choose_delay", Patient(3.0), Patient(4.0)) == 3.0


def test_every_listener_hears_every_event():
    heard = []
    listeners = [plugin(name, on_event=lambda event, name=name: heard.append((name, event))) for name in "ab"]

    make_decisions(listeners, report=print).on_event(EVENT)

    assert heard == [("a", EVENT), ("b", EVENT)]


# ---------------------------------------------------------------------- a plugin that does not work


def fails(details):
    raise ZeroDivisionError("what was said")


@pytest.mark.parametrize("hook", DECISIONS)
def test_a_hook_that_raises_is_reported_once_and_the_next_is_asked(hook, caplog):
    report = []
    decisions = make_decisions([plugin("bad", **{hook: fails}), plugin(**{hook: ANSWERS[hook]})], report=report.append)

    assert [getattr(decisions, hook)(DETAILS[hook]) for _ in range(3)] == [ANSWERS[hook]] * 3
    (failed,) = report
    assert (failed.hook, failed.plugin, failed.problem) == (hook, "bad", "raised")
    assert re.fullmatch(r"ZeroDivisionError at test_plugins\.py:\d+", failed.detail), (
        "a message may quote the conversation"
    )
    (logged,) = caplog.records
    assert (logged.name, logged.levelname) == ("resumekit.plugins", "ERROR")
    assert logged.exc_info[0] is ZeroDivisionError


def test_a_listener_that_raises_or_is_a_coroutine_does_not_keep_the_others_from_hearing():
    async def coroutine():
        pass

    def awaits(event):
        return coroutine()

    def fails_to_hear(event):
        raise OSError

    def hear(event):
        heard.append(event)

    heard, report = [], []
    listeners = [
        plugin("bad", on_event=fails_to_hear),
        plugin("awaits", on_event=awaits),
        plugin("good", on_event=hear),
    ]
    decisions = make_decisions(listeners, report=report.append)
    decisions.on_event(EVENT)
    decisions.on_event(EVENT)

    assert heard == [EVENT, EVENT]
    assert [(failed.plugin, failed.problem) for failed in report] == [("bad", "raised"), ("awaits", "nonsense")]


def test_the_result_of_a_cancelled_future_is_a_failure_of_the_plugin():
    """Nobody cancels a hook: the event loop's own calls, and the session with them, would end."""

    def ask(details):
        raise asyncio.CancelledError

    report = []
    answer = ANSWERS["choose_delay"]
    decisions = make_decisions([plugin("bad", choose_delay=ask), plugin(choose_delay=answer)], report=report.append)
    assert decisions.choose_delay(DETAILS["choose_delay"]) == answer
    assert [failed.detail.split()[0] for failed in report] == ["CancelledError"]


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_what_is_no_error_passes(end):
    def ends(details):
        raise end

    with pytest.raises(end):
        asked("choose_delay", plugin(choose_delay=ends))


def test_a_slow_hook_is_reported_and_its_answer_taken(monkeypatch, caplog):
    clock = iter([0.0, 0.3, 1.0, 1.01])
    monkeypatch.setattr(plugins, "perf_counter", lambda: next(clock))
    report = []
    decisions = make_decisions([plugin("slow", choose_delay=9.0)], report=report.append)

    assert [decisions.choose_delay(DETAILS["choose_delay"]) for _ in range(2)] == [9.0, 9.0]
    (failed,) = report
    assert (failed.hook, failed.plugin, failed.problem) == ("choose_delay", "slow", "slow")
    assert "0.30 s" in failed.detail
    assert caplog.records[0].levelname == "WARNING"


NONSENSE = {
    "choose_delay": [
        -1, 10**400, -0.5, math.nan, math.inf, True, "1", b"\0", [1.0], Exactly(-1.0), Exactly(math.nan), Exactly("soon"), 1j,
    ],
    "classify_failure": ["fatal", "FATAL", Verdict, 0, True],
    "choose_move": [
        5.0,
        (1.0, None),
        {"deadline": 1.0},
        Move(deadline=-1.0, warm_dial=None),
        Move(deadline=math.nan, warm_dial=None),
        Move(deadline="1", warm_dial=None),
        Move(deadline=1.0, warm_dial=-1.0),
        Move(deadline=1.0, warm_dial=True),
    ],
    "choose_recovery": [
        RecoveryAction.FAIL,
        "fresh",
        Recovery(action="fresh"),
        Recovery(action=RecoveryAction.FRESH, turns="hello"),
        Recovery(action=RecoveryAction.FRESH, turns=[{"role": "user", "parts": [{"text": "hello"}]}]),
        Recovery(action=RecoveryAction.FRESH, turns=[HistoryTurn("system", "hello")]),
        Recovery(action=RecoveryAction.FRESH, turns=[HistoryTurn("user", None)]),
        Recovery(action=RecoveryAction.FRESH, turns=iter(())),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("hook", "answer"), [(hook, answer) for hook, list_ in NONSENSE.items() for answer in list_])
def test_nonsense_is_reported_and_the_default_used(hook, answer):
    report = []

    assert asked(hook, plugin("odd", **{hook: lambda details: answer}), report=report) == DEFAULTS[hook]
    (failed,) = report
    assert (failed.hook, failed.plugin, failed.problem) == (hook, "odd", "nonsense")
    assert failed.detail.startswith("it returned ")
    assert "hello" not in failed.detail


class Hostile(list):
    def __iter__(self):
        raise RuntimeError

    __getitem__ = __iter__


def test_an_answer_that_cannot_be_looked_at_is_no_answer():
    report = []
    odd = Recovery(action=RecoveryAction.FRESH, turns=Hostile())

    assert asked("choose_recovery", plugin(choose_recovery=odd), report=report) == DEFAULTS["choose_recovery"]
    assert [failed.problem for failed in report] == ["raised"]


def test_a_coroutine_is_nonsense_and_leaves_no_warning():
    async def later():
        return 1.0

    report = []

    assert (
        asked("choose_delay", plugin(choose_delay=lambda details: later()), report=report) == DEFAULTS["choose_delay"]
    )
    assert "coroutine" in report[0].detail


def test_what_makes_sense_is_taken():
    for turns in (None, (), [HistoryTurn("user", "a"), HistoryTurn("model", "")]):
        answer = Recovery(action=RecoveryAction.FRESH, turns=turns)
        assert asked("choose_recovery", plugin(choose_recovery=answer)) is answer
    for answer in (0, 0.0, 3, Exactly(0.0)):
        assert asked("choose_delay", plugin(choose_delay=answer)) is answer
    move = Move(deadline=0, warm_dial=0.0)
    assert asked("choose_move", plugin(choose_move=move)) is move


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([*Verdict, *RecoveryAction]),
    lambda inner: (
        st.lists(inner)
        | st.builds(Exactly, inner)
        | st.builds(Move, deadline=inner, warm_dial=inner)
        | st.builds(Recovery, action=inner, turns=inner)
        | st.builds(HistoryTurn, inner, inner)
    ),
)


@given(ANYTHING, st.sampled_from(DECISIONS))
def test_whatever_a_plugin_returns_the_engine_gets_what_it_can_use(answer, hook):
    report = []
    got = asked(hook, plugin(**{hook: answering(answer)}), report=report)

    if report or answer is None:
        assert got == DEFAULTS[hook]
    match hook:
        case "choose_delay":
            seconds = got.seconds if isinstance(got, Exactly) else got
            assert 0 <= seconds * 0.5 < math.inf
        case "classify_failure":
            assert isinstance(got, Verdict)
        case "choose_move":
            assert 0 <= got.deadline < math.inf
            assert got.warm_dial is None or 0 <= got.warm_dial < math.inf
        case _:
            assert isinstance(got.action, RecoveryAction)
            assert all(isinstance(turn.text, str) for turn in got.turns or ())


# ---------------------------------------------------------------------- plugins that are refused


async def awaited(details):
    return 1.0


async def generates(details):
    yield 1.0


def takes(what):
    namespace = {}
    exec(f"def hook({what}): return None", namespace)
    return namespace["hook"]


class Hooked:
    @hookimpl
    def choose_delay(self, details):
        return 1.0


REFUSED = [
    (plugin("p", chose_delay=1.0), "'p' has a hook 'chose_delay', which does not exist; did you mean 'choose_delay'?"),
    (plugin("p", on_events=1.0), "did you mean 'on_event'?"),
    (plugin("p", frobnicate=1.0), "there are choose_delay, "),
    (plugin("p", choose_delay=takes("detail")), "hook 'choose_delay' hookimpl definition: hook(detail)"),
    (plugin("p", choose_delay=takes("details, policy")), "{'policy'}"),
    (plugin("p", choose_delay=awaited), "the hook 'choose_delay' of the plugin 'p' is async"),
    (plugin("p", on_event=awaited), "{'details'}"),
    (plugin("q", choose_delay=generates), "the hook 'choose_delay' of the plugin 'q' is async"),
    (plugin("p"), "the plugin 'p' cannot be used: it has no hooks; mark its hooks with resumekit.hookspecs.hookimpl"),
    (types.SimpleNamespace(choose_delay=lambda details: 1.0), "'choose_delay' is not marked"),
    (Hooked, "the plugin 'Hooked' is the class Hooked; give an instance of it"),
    ("resumekit_redis", "is a string"),
    (None, "the plugin 'NoneType' cannot be used: it has no hooks"),
]


@pytest.mark.parametrize(("bad", "message"), REFUSED)
def test_a_plugin_that_cannot_work_is_refused_by_name(bad, message):
    with pytest.raises(ConfigurationError) as caught:
        make_decisions([bad], report=print)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrapper_is_refused():
    module = types.ModuleType("p")

    @hookimpl(wrapper=True)
    def choose_delay(details):
        return (yield)

    module.choose_delay = choose_delay
    with pytest.raises(ConfigurationError, match="is a wrapper"):
        make_decisions([module], report=print)


def test_a_hook_of_a_newer_version_may_be_optional():
    module = plugin("p", choose_delay=2.0)
    module.choose_weather = hookimpl(optionalhook=True)(lambda details: None)

    assert asked("choose_delay", module) == 2.0


@pytest.mark.parametrize("given", ["resumekit_redis", plugin("p", choose_delay=1.0), 7])
def test_plugins_are_a_list(given):
    with pytest.raises(ConfigurationError, match="give a list of modules or objects with hooks"):
        make_decisions(given, report=print)


def test_a_plugin_given_twice_is_refused():
    module = plugin("p", choose_delay=1.0)

    with pytest.raises(ConfigurationError, match="'p' is given twice"):
        make_decisions([module, module], report=print)


# ---------------------------------------------------------------------- stores


def store_of(url, *given):
    return make_decisions(given, report=print).provide_handle_store(url)


def test_a_plugin_answers_for_its_url_and_memory_is_built_in():
    mine = MemoryStore()
    provider = plugin(provide_handle_store=lambda url: mine if url == "mine://" else None)

    assert store_of("mine://", provider) is mine
    assert store_of("other://", provider) is None
    assert store_of("memory://", provider) is store_of("memory://")


def test_a_provider_that_raises_or_provides_nonsense_is_an_error_that_does_not_show_the_url():
    url = "mine://user:password@host"

    with pytest.raises(
        ConfigurationError, match="the plugin 'plugin' cannot provide the handle store: ZeroDivision"
    ) as one:
        store_of(url, plugin(provide_handle_store=lambda url: 1 / 0))
    with pytest.raises(ConfigurationError, match="the plugin 'plugin' provided a dict, which is no HandleStore") as two:
        store_of(url, plugin(provide_handle_store=lambda url: {}))
    assert "password" not in f"{one.value} {two.value}"


def test_a_plugin_answers_for_a_pool_s_backend_or_says_why_not():
    mine = MemoryPoolBackend()

    def backend_of(url, *given):
        return make_decisions(given, report=print).provide_pool_backend(url)

    provider = plugin(provide_pool_backend=lambda url: mine if url == "mine://" else None)
    assert backend_of("mine://", provider) is mine
    assert backend_of("memory://", provider) is None
    url = "mine://user:password@host"
    with pytest.raises(ConfigurationError, match="cannot provide the pool's backend: ZeroDivisionError") as one:
        backend_of(url, plugin(provide_pool_backend=lambda url: 1 / 0))
    with pytest.raises(ConfigurationError, match="provided a MemoryStore, which is no PoolBackend") as two:
        backend_of(url, plugin(provide_pool_backend=lambda url: MemoryStore()))
    assert "password" not in f"{one.value} {two.value}"


# ---------------------------------------------------------------------- installed plugins


class Distribution:
    version = "1.2"

    def __init__(self, name):
        self.name = name


class Point(EntryPoint):
    """An entry point of a distribution that need not exist."""

    def __init__(self, name, value, group="resumekit", of="resumekit-example"):
        super().__init__(name, value, group)
        vars(self)["dist"] = Distribution(of)


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Install modules as plugins; a module is its source."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv(plugins.LOAD_PLUGINS, raising=False)
    points = []
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point for point in points if point.group == group])

    def install(name, source, **more):
        module = f"example_{name}_{len(points)}_{time.perf_counter_ns()}"
        (tmp_path / f"{module}.py").write_text(f"from resumekit.hookspecs import hookimpl\n{source}\n")
        points.append(Point(name, module, **more))
        return module

    return install


DELAY = "@hookimpl\ndef choose_delay(details): return {}"


def test_an_installed_plugin_is_listed_and_asked_after_those_given(install):
    install("waits", DELAY.format(5.0))

    (found,) = installed_plugins()
    assert (found.name, found.distribution, found.version) == ("waits", "resumekit-example", "1.2")
    assert (found.hooks, found.error) == (("choose_delay",), None)
    assert asked("choose_delay") == 5.0
    assert asked("choose_delay", plugin(choose_delay=1.0)) == 1.0
    assert asked("choose_delay", plugin(choose_delay=None)) == 5.0


def test_installed_plugins_are_read_once(install, monkeypatch):
    install("waits", DELAY.format(5.0))
    installed_plugins()
    monkeypatch.setattr(plugins, "entry_points", None)

    assert [found.name for found in installed_plugins()] == ["waits"]
    assert asked("choose_delay") == 5.0


BROKEN = {
    "raises": ("raise OSError('no')", "OSError: no"),
    "lacks": ("import no_such_module", "ModuleNotFoundError"),
    "script": ("raise SystemExit(3)", "SystemExit: 3"),
    "misspelt": ("@hookimpl\ndef chose_delay(details): ...", "did you mean 'choose_delay'?"),
    "async": ("@hookimpl\nasync def choose_delay(details): ...", "is async"),
    "empty": ("", "it has no hooks"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_installed_plugin_that_cannot_work_does_not_stop_the_others(install, name, caplog):
    source, error = BROKEN[name]
    install("a", DELAY.format(1.0).replace("choose_delay", "on_event").replace("details", "event"))
    install(name, source)
    install("z", DELAY.format(5.0))

    assert asked("choose_delay") == 5.0
    assert error in {found.name: found for found in installed_plugins()}[name].error
    (logged,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert f"the plugin {name!r} is not used" in logged.getMessage()


def test_two_plugins_of_the_same_name_are_told_apart(install):
    install("twin", DELAY.format(1.0), of="first")
    install("twin", DELAY.format(2.0), of="second")

    assert [(found.name, found.distribution, found.error) for found in installed_plugins()] == [
        ("twin", "first", None),
        ("twin", "second", "'first' has an entry point of the same name"),
    ]
    assert asked("choose_delay") == 1.0


def test_a_plugin_that_is_installed_and_given_is_asked_once(install):
    import importlib

    name = install("counts", "heard = []\n@hookimpl\ndef on_event(event): heard.append(event)")
    module = importlib.import_module(name)
    make_decisions([module], report=print).on_event(EVENT)

    assert module.heard == [EVENT]


@pytest.mark.parametrize(
    ("value", "names"),
    [(None, ["a", "b"]), ("", []), ("none", []), ("b", ["b"]), (" b , a ", ["a", "b"]), ("a,none", ["a"])],
)
def test_the_environment_says_which_are_loaded_and_the_others_are_not_imported(install, monkeypatch, value, names):
    import sys

    modules = {name: install(name, DELAY.format(1.0)) for name in "ab"}
    if value is not None:
        monkeypatch.setenv(plugins.LOAD_PLUGINS, value)

    assert [found.name for found in installed_plugins()] == names
    assert [name for name in "ab" if modules[name] in sys.modules] == names


def test_a_name_in_the_environment_that_is_not_installed_is_an_error(install, monkeypatch, caplog):
    install("a", DELAY.format(1.0))
    monkeypatch.setenv(plugins.LOAD_PLUGINS, "a,redis")

    found = {found.name: found.error for found in installed_plugins()}
    assert found["a"] is None
    assert found["redis"] == "RESUMEKIT_LOAD_PLUGINS names it, and no installed plugin has this name"
    assert "redis" in caplog.text


def test_tryfirst_counts_among_installed_plugins_and_not_against_given_ones(install):
    install("b", DELAY.format(2.0).replace("@hookimpl", "@hookimpl(tryfirst=True)"))
    install("a", DELAY.format(1.0))

    assert asked("choose_delay") == 2.0
    assert asked("choose_delay", plugin(choose_delay=3.0)) == 3.0


def test_the_hooks_are_those_of_the_design():
    assert sorted(HOOKS) == sorted([*DECISIONS, "provide_handle_store", "provide_pool_backend", "on_event"])
