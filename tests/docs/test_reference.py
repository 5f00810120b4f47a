"""The reference pages are those that the docstrings make, say something about every field, and their examples run."""

from __future__ import annotations

import asyncio
import importlib.util
import re
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
SCRIPT = REFERENCE.parent / "make_reference.py"


@pytest.fixture(scope="module")
def make_reference():
    spec = importlib.util.spec_from_file_location("make_reference", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES = [
    "adk-run-config.md", "cli.md", "close-codes.md", "errors.md", "events.md", "hooks.md", "policy.md", "stats.md", "support.md",
    "testing.md",
]  # fmt: skip


PACKAGE = REFERENCE.parents[1] / "resumekit"


def text_of(name):
    return (REFERENCE / name).read_text("utf-8")


def test_these_are_all_the_pages(make_reference):
    assert sorted(PAGES) == sorted(make_reference.PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_up_to_date(make_reference, name):
    assert text_of(name) == make_reference.page(name), "run: python docs/make_reference.py"


@pytest.mark.parametrize("name", PAGES)
def test_every_row_says_what_its_field_means(name):
    rows = [line for line in text_of(name).splitlines() if line.startswith("| `")]

    assert rows or name == "errors.md"
    assert [row for row in rows if row.endswith("|   |")] == []


@pytest.mark.parametrize("name", PAGES)
def test_every_field_of_the_source_is_on_its_page(make_reference, name):
    kinds = {
        "policy.md": [make_reference.policy.Policy],
        "stats.md": [make_reference.stats.Stats],
        "events.md": [getattr(make_reference.events, kind) for kind in make_reference.events.__all__],
        "hooks.md": [make_reference.policy.RecoveryDetails, make_reference.stores.Entry],
    }
    for kind in kinds.get(name, []):
        for field in make_reference.defaults(kind).keys() | make_reference.attributes(kind).keys():
            assert re.search(rf"^\| `{field}`", text_of(name), re.MULTILINE), f"{kind.__name__}.{field}"


EXAMPLES = [
    pytest.param(code, id=f"{name}-{number}")
    for name in PAGES
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", text_of(name), re.DOTALL | re.MULTILINE))
    if not re.match(r"(async )?def \w+\(.*\n$", code)  # a signature
]


@pytest.mark.parametrize("code", EXAMPLES)
def test_the_example_runs(code):
    names = {"__name__": "example"}
    exec(compile(code, "example", "exec", dont_inherit=True), names)
    for name, value in names.items():
        if name.startswith("test_"):
            asyncio.run(value())


def test_every_page_has_an_example():
    assert {example.id.rpartition("-")[0] for example in EXAMPLES} == set(PAGES) - {"close-codes.md", "support.md"}


def test_every_environment_variable_of_ours_is_documented_and_no_other():
    read = {name for path in PACKAGE.rglob("*.py") for name in re.findall(r"\bRESUMEKIT_\w+", path.read_text("utf-8"))}
    rows = re.findall(r"^\| `(RESUMEKIT_\w+)` \|", text_of("environment.md"), re.MULTILINE)

    assert sorted(read) == rows
