"""What docs/how-to/frameworks.md says of versions is what the environments have. Its code is run by the other modules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.frameworks.support import PAGE

ROOT = Path(__file__).resolve().parents[2]
FRAMEWORKS = {
    "pipecat": "pipecat-ai",
    "pydantic-ai": "pydantic-ai-slim",
    "livekit": "livekit-plugins-google",
    "strands": "strands-agents",
}


def pinned(environment):
    text = (ROOT / ".ci" / f"constraints-{environment}.txt").read_text("utf-8")
    return dict(re.findall(r"^([\w.-]+)==([^ ]+)", text, re.MULTILINE))


@pytest.mark.parametrize(("environment", "package"), FRAMEWORKS.items())
def test_the_page_names_the_versions_that_are_tested(environment, package):
    versions = pinned(environment)
    row = next(line for line in PAGE.read_text("utf-8").splitlines() if f"(`{package}`)" in line)
    told = [cell.strip() for cell in row.strip("|").split("|")]
    assert told[1:] == [versions[package], versions["google-genai"], versions["websockets"]]
