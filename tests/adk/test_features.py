"""The table of features names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.adk.features import FEATURES

TABLED = [
    "test_tools.py",
    "test_tools_in_background.py",
    "test_built_in_tools.py",
    "test_media.py",
    "test_callbacks.py",
]
UNTABLED = {"test_without_a_cut_a_user_breaks_in_as_with_plain_gemini"}


def names_in(module: str) -> set[str]:
    return set(
        re.findall(r"^(?:async )?def (test_\w+)", (Path(__file__).parent / module).read_text("utf-8"), re.MULTILINE)
    )


@pytest.mark.parametrize("row", FEATURES, ids=lambda row: row.feature)
def test_the_test_of_a_feature_exists(row):
    module, _, function = row.test.partition("::")
    assert function in names_in(module)


@pytest.mark.parametrize("module", TABLED)
def test_each_test_is_of_a_feature(module):
    tabled = {row.test for row in FEATURES}
    assert not [name for name in names_in(module) - UNTABLED if f"{module}::{name}" not in tabled]


def test_no_feature_has_two_rows():
    assert len({row.feature for row in FEATURES}) == len(FEATURES)
