"""The pytest plugin of resumekit: the fixtures `live_server` and `fault_script`, and the mark `live_server`.

It is installed with resumekit, and pytest loads it in every project that has it. So it is a module of its own, imports
nothing of resumekit until a test asks for a fixture, steps aside for a `live_server` of another plugin, and has the modules
of resumekit imported as they are.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from importlib.machinery import ModuleSpec

    from resumekit.emulator import Address
    from resumekit.testing import Faults, ServerThread

__all__ = ["fault_script", "resumekit_live_server"]

_NEEDS = "the emulator of resumekit needs {}, which is not installed; {}"
_OF_TESTS = ("resumekit.testing.pool", "resumekit.testing.stores")
"""The conformance classes: their assertions are part of somebody's tests, so pytest shall say what was compared."""
_MARK = """\
live_server(**settings): settings of the emulated Live API that the fixture `live_server` runs (resumekit): profile, model,
time_scale, and every other argument of resumekit.testing.ServerThread
"""


@pytest.fixture(scope="session")
def _resumekit_address(request: pytest.FixtureRequest) -> Iterator[Address]:
    """Keep one port and one certificate authority for all tests: an application may have made its client once."""
    try:
        from resumekit.emulator import Address
    except ModuleNotFoundError as error:
        from resumekit._extras import install

        pytest.fail(_NEEDS.format(error.name, install("testing")), pytrace=False)
    request.config.pluginmanager.register(_Storyteller(), "resumekit-storyteller")
    with Address() as address:
        yield address


@pytest.fixture
def resumekit_live_server(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, _resumekit_address: Address
) -> Iterator[ServerThread]:
    """An emulated Gemini Live API, which google-genai and ADK find by their environment: `live_server`, by its full name.

    For projects in which another plugin has a `live_server`.
    """
    from resumekit.adapters import _common
    from resumekit.errors import ConfigurationError
    from resumekit.testing import ServerThread

    settings: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers("live_server"))):
        if mark.args:
            pytest.fail(f"the mark live_server takes keyword arguments only, not {mark.args!r}", pytrace=False)
        settings |= mark.kwargs
    try:
        unstarted = ServerThread(address=_resumekit_address, **settings)
    except ConfigurationError as error:
        pytest.fail(f"the mark live_server: {error}", pytrace=False)
    with unstarted as server:
        for name, value in server.environment().items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        monkeypatch.setattr(_common, "DEFAULT_POLICY", server.policy)
        request.node.stash[_SERVER] = server
        yield server


class _ShortName:
    """What is registered where nobody else has a `live_server`."""

    @pytest.fixture
    def live_server(self, resumekit_live_server: ServerThread) -> ServerThread:
        """An emulated Gemini Live API, which google-genai and ADK find by their environment: no key, no network.

        It runs in a thread of its own, for sync and async tests. `live_server.assert_survived([...])` says whether a
        conversation lived on. The mark `live_server(...)` sets it up differently. See resumekit.testing.ServerThread.
        """
        return resumekit_live_server


@pytest.fixture
def fault_script(resumekit_live_server: ServerThread) -> Faults:
    """What shall go wrong in the conversation with `live_server`: `fault_script.cut_mid_answer()`, for one.

    See resumekit.testing.Faults.
    """
    from resumekit.testing import Faults

    return Faults(resumekit_live_server)


_SERVER = pytest.StashKey["ServerThread"]()


class _Storyteller:
    """Adds to the report of a failed test what the server saw; registered when the first test asks for a server."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        try:
            return (yield)
        except BaseException as error:
            server = item.stash.get(_SERVER, None)
            if server is not None and "the conversation did not survive" not in str(error):
                item.add_report_section("call", "live_server", server.story())
            raise


pytest.register_assert_rewrite(*_OF_TESTS)


class _AsItIs:
    """Finds the modules of resumekit ahead of pytest, which rewrites the assertions of all that comes with a plugin.

    That would cost every project time, make resumekit run slower in tests than without them, and change its tracebacks.
    """

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, _target: object = None) -> ModuleSpec | None:
        if name.partition(".")[0] != "resumekit" or name in _OF_TESTS:
            return None
        return PathFinder.find_spec(name, path)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    """See to it before a conftest.py imports resumekit: pytest's own wrapper, which loads those, is called after this."""
    sys.meta_path.insert(0, _AsItIs)
    early_config.add_cleanup(lambda: sys.meta_path.remove(_AsItIs))
    return (yield)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark, and `live_server`, unless another plugin (pytest-django, pytest-flask) has one."""
    config.addinivalue_line("markers", " ".join(_MARK.split()))
    plugins = config.pluginmanager.list_name_plugin()
    others = [plugin for name, plugin in plugins if plugin is not None and Path(name).name != "conftest.py"]
    if not any("live_server" in dir(plugin) for plugin in others):
        config.pluginmanager.register(_ShortName(), "resumekit-live-server")
