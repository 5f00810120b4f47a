"""The trace of every failing test of an engine is kept, and the failure can be replayed from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from resumekit.trace import replay
from tests.trace.defects import DEFECTS

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The traces of tests that fail, and what pytest said."""
    folder = tmp_path_factory.mktemp("traces")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "-q"]
    done = subprocess.run(
        [*command, "tests/trace/failing.py"],
        cwd=ROOT,
        env={"PATH": "", "PYTHONPATH": str(ROOT), "RESUMEKIT_TEST_TRACES": str(folder)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "5 failed, 1 passed" in done.stdout
    return folder, done.stdout


def test_only_tests_that_fail_leave_a_trace_and_pytest_tells_where(kept):
    folder, told = kept
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(f"trace_failing.py_{name}.jsonl" for name in DEFECTS)
    for name in names:
        assert f"resumekit replay {folder / name}" in told


@pytest.mark.parametrize("name", DEFECTS)
def test_the_failure_comes_again_and_goes_with_the_defect(name, kept, monkeypatch):
    path = kept[0] / f"trace_failing.py_{name}.jsonl"
    with monkeypatch.context() as planted:
        DEFECTS[name](planted)
        again = replay(path)
    mended = replay(path)

    assert again.same, again
    assert (again.raised is not None) is (name == "test_crash")
    assert not mended.same, "the engine without the defect does otherwise, and the line shows where"
    assert mended.difference.line > 3
