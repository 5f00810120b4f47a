"""Every hook is documented in full and has an example, and the example does what it says."""

from __future__ import annotations

import inspect
import re
import types

import pytest

from resumekit import hookspecs
from resumekit.defaults import DefaultDecisions
from resumekit.plugins import HOOKS, make_decisions
from resumekit.pool import PoolBackend
from resumekit.stores import HandleStore
from resumekit.testing import HandleStoreConformance
from tests.examples import ASKED, example

SECTIONS = ["When", "Arguments", "Return", "If it raises", "Default", "Added in", "Example"]


def plugin_of(hook):
    module = types.ModuleType(f"example_{hook}")
    exec(compile(example(hook), f"<{hook}>", "exec", dont_inherit=True), vars(module))
    return module


def test_every_specification_is_a_hook_and_the_other_way_round():
    specified = {name for name, value in vars(hookspecs).items() if hasattr(value, "resumekit_spec")}

    assert specified == set(HOOKS) == set(ASKED)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_documented(hook):
    """When, arguments, return, if it raises, default, since when, an example."""
    function = getattr(hookspecs, hook)
    text = inspect.cleandoc(function.__doc__)

    assert re.findall(r"^([A-Z][a-z ]+):$", text, re.MULTILINE) == SECTIONS
    assert re.match(r"[A-Z][^\n]+\.\n\n", text), "one line that says what it does"
    for argument in inspect.signature(function).parameters:
        assert re.search(rf"^    {argument}: ", text, re.MULTILINE)
    assert all(str(one.annotation) for one in inspect.signature(function).parameters.values())


@pytest.mark.parametrize("hook", HOOKS)
def test_the_family_of_a_hook_is_in_its_name(hook):
    """Providers and decisions give one answer, notifications go to all."""
    assert getattr(hookspecs, hook).resumekit_spec["firstresult"] is not hook.startswith("on_")


@pytest.mark.parametrize("hook", HOOKS)
def test_the_example_of_a_hook_is_a_plugin_that_does_what_it_says(hook):
    plugin = plugin_of(hook)
    reported = []
    decisions = make_decisions([plugin], report=reported.append)
    defaults = make_decisions(report=reported.append)

    for details, answer in ASKED[hook]:
        got = getattr(decisions, hook)(details)
        if answer == "store":
            assert isinstance(got, HandleStore)
        elif answer == "backend":
            assert isinstance(got, PoolBackend)
        else:
            assert got == (getattr(defaults, hook)(details) if answer is None else answer)
    assert reported == []


@pytest.mark.parametrize("hook", [hook for hook in HOOKS if hasattr(DefaultDecisions, hook)])
def test_the_example_differs_from_the_default_somewhere(hook):
    asked = [(details, answer) for details, answer in ASKED[hook] if answer is not None]

    assert asked
    assert any(getattr(DefaultDecisions(), hook)(details) != answer for details, answer in asked)


def test_the_example_of_a_listener_has_heard():
    plugin = plugin_of("on_event")
    make_decisions([plugin], report=print).on_event(ASKED["on_event"][0][0])

    assert plugin.seen == {"Moving": 1}


class TestTheExampleOfAStore(HandleStoreConformance):
    STORE = plugin_of("provide_handle_store").STORE

    def make_store(self):
        return self.STORE
