"""google-adk runs in environments of its own; elsewhere these tests are not collected."""

from __future__ import annotations

import importlib.util

import pytest

collect_ignore_glob = [] if importlib.util.find_spec("google.adk") else ["test_*.py"]


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/adk/" in item.nodeid:
            # ADK makes its google-genai client on the event loop, within our connect() as without it.
            item.add_marker(pytest.mark.allow_blocking)
            # ADK's own, and what it uses: deprecated names, experimental features, fields that shadow others.
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::UserWarning"))
