"""Every block of code of README, docs, examples and plugins is run by a test, or says why not; none is left out."""

from __future__ import annotations

import ast
import functools
import re

import pytest

from tests.docs.pages import PAGES, ROOT, blocks, table

ALL = [block for page in PAGES for block in blocks(page)]
NAMED = {value for names in table().values() for value in names.values()}


@functools.cache
def functions_in(module):
    tree = ast.parse((ROOT / module).read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_none_is_left_out():
    told = table()
    left_out = [f"{b.page}: {b.name}" for b in ALL if not told.get(b.page, {}).keys() & {b.name, "*"}]
    assert left_out == [], "say in tests/docs/blocks.toml what runs them"


def test_none_is_gone():
    there = {(b.page, b.name) for b in ALL} | {(b.page, "*") for b in ALL}
    assert [it for it in ((page, name) for page, names in table().items() for name in names) if it not in there] == []


@pytest.mark.parametrize("value", sorted(value for value in NAMED if not value.startswith("not run: ")))
def test_what_runs_it_is_there(value):
    module, _, name = value.partition("::")
    assert name.startswith("test_")
    assert name in functions_in(module)


@pytest.mark.parametrize("page", sorted(page for page, names in table().items() if set(names.values()) != {"-"}))
def test_the_tests_read_the_page(page):
    """A block is not run by a module that does not know the page, or by one whose helper does not."""
    name = page.rsplit("/", 1)[-1]
    for value in set(table()[page].values()):
        if not value.startswith("not run: "):
            module = ROOT / value.partition("::")[0]
            near = [module, module.with_name("support.py"), module.with_name("pages.py")]
            assert any(name in path.read_text("utf-8") for path in near if path.exists()), value


def test_what_is_not_run_says_why():
    reasons = [value.removeprefix("not run: ") for value in NAMED if value.startswith("not run: ")]
    assert [reason for reason in reasons if len(reason.split()) < 4] == []


def test_every_target_of_make_that_is_named_exists():
    """In CONTRIBUTING.md, docs/project/proofs.md and on every other page."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    commands = [command for block in ALL if block.language == "console" for command in block.commands]
    named = {name for command in commands for name in re.findall(r"^make ([a-z-]+)", command)}
    assert named
    assert named <= targets


def test_every_command_of_resumekit_that_is_named_exists():
    from resumekit.cli import COMMANDS

    commands = [command for block in ALL if block.language == "console" for command in block.commands]
    named = {name for command in commands for name in re.findall(r"^resumekit ([a-z]+)", command)}
    assert named
    assert named <= set(COMMANDS)
