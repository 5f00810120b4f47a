"""The page on ADK names each test of a defect, and the versions on which that test shows it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "adk.md"
MODULES = sorted([*ROOT.glob("tests/adk/test_defects*.py"), ROOT / "tests/adk/test_the_report.py"])
SEEN_ON = {
    "True": "1.27.2, 2.0.0, 2.13.0",
    "SINCE_2": "2.0.0, 2.13.0",
    "NEWER": "2.13.0",
    "V1": "1.27.2",
    "V2": "2.0.0",
    "THAT": "1.27.2",
    "ADK < (2, 9)": "1.27.2, 2.0.0",
}
"""What the tests call the versions."""


def defects_in(module: Path) -> dict[str, str]:
    """Return the module's tests, and where plain `Gemini` is run: as in `both(where=...)`, or in its own list."""
    found = {}
    for node in ast.parse(module.read_text("utf-8")).body:
        if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_"):
            marks = " ".join(ast.unparse(mark) for mark in node.decorator_list)
            where = re.search(r"both\(where=(.+?)\)(?= |$)", marks)
            found[node.name] = "True" if where is None else where[1]
    return found


def rows() -> dict[str, tuple[str, str]]:
    """Return the page's rows by test: the row's number, if it has one, and the versions."""
    found = {}
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if test := re.fullmatch(r"`(test_\w+)`", cells[-1]):
            assert test[1] not in found
            found[test[1]] = (cells[0], cells[-2])
    return found


def test_the_page_has_a_row_for_each_test_and_a_test_for_each_row():
    assert sorted(rows()) == sorted(name for module in MODULES for name in defects_in(module))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_a_row_names_the_versions_that_show_the_defect(module):
    assert {name: rows()[name][1] for name in defects_in(module)} == {
        name: SEEN_ON[where] for name, where in defects_in(module).items()
    }


def test_a_row_has_the_number_of_its_test():
    for name, (number, _) in rows().items():
        if name.startswith("test_row_"):
            assert name.startswith(f"test_row_{number}_")


def test_the_page_says_in_which_module_the_tests_are():
    for module in MODULES:
        assert f"`tests/adk/{module.name}`" in PAGE.read_text("utf-8")
