"""The same seed gives the same outputs, byte for byte, in any process (I12)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HASH_SEEDS = ("1", "2")
"""Under each of them sets of strings have another order."""


@pytest.mark.proof
def test_a_seed_gives_the_same_bytes_whatever_the_hash_seed(schedules: int) -> None:
    """Actions, events and frames of hundreds of schedules, in a process for each hash seed."""
    count = schedules // 40
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.core.digest", str(count)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        for hash_seed in HASH_SEEDS
    ]
    told = [child.communicate()[0].splitlines() for child in children]
    assert [child.returncode for child in children] == [0] * len(children)
    assert [len(lines) for lines in told] == [count] * len(children)
    different = [lines for lines in zip(*told, strict=True) if len(set(lines)) > 1]
    assert not different
