"""docs/how-to/test-your-agent.md: the test of an ADK app is run by pytest as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.adk.support import FAMILIES

pytest_plugins = ["pytester"]
pytestmark = [
    pytest.mark.network,
    pytest.mark.timeout(300),
    pytest.mark.skipif("3.x" not in FAMILIES, reason="ADK 1.27 does not speak to 3.x models"),
]
PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "test-your-agent.md").read_text("utf-8")
(ADK,) = re.findall(r"## An ADK app\n\n```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_test_of_an_adk_app_passes(pytester):
    pytester.makepyfile(f"import asyncio\n{ADK}")
    pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:randomly").assert_outcomes(passed=1)


def test_it_fails_with_the_plain_model(pytester):
    plain = ADK.replace('ResumableGemini(model="gemini-3.1-flash-live")', '"gemini-3.1-flash-live"')
    assert plain != ADK
    pytester.makepyfile(f"import asyncio\n{plain}")
    pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:randomly").assert_outcomes(failed=1)
