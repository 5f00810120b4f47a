"""docs/explanation/comparison.md says what was measured, of the versions that are tested; and it is still so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.frameworks import compare
from tests.frameworks.test_page import ROOT, pinned

TEXT = compare.PAGE.read_text("utf-8")


def test_the_page_holds_what_was_measured():
    assert compare.page(TEXT) == TEXT, "run: python -m tests.frameworks.compare --page"


@pytest.mark.parametrize("name", compare.COLUMNS)
def test_the_column_is_complete_and_of_the_version_that_is_tested(name):
    column, told = compare.COLUMNS[name], compare.known()[name]
    versions = pinned(column.environments[0])
    assert told["versions"] == {package: versions[package] for package in told["versions"]}
    for mode in compare.MODES:
        assert list(told[mode]) == [scene.name for scene in compare.SCENES]
        for scene in compare.SCENES:
            facts = told[mode][scene.name]
            assert facts["verdict"] == compare.verdict(facts, scene)


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(
    Path(sys.prefix).name not in {column.environments[-1] for column in compare.COLUMNS.values()},
    reason="`make matrix` measures it, in the environments of the columns",
)
def test_it_is_still_so():
    """In one scene: `make compare` looks at all."""
    command = [sys.executable, "-m", "tests.frameworks.compare", "--check", "--short"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nrun: python -m tests.frameworks.compare"
