"""The site of the docs, as far as it can be seen without building it: `make docs` builds it, and follows every link."""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def make_site():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import make_site
    finally:
        sys.path.pop(0)
    return make_site


def test_every_page_has_its_place_in_the_navigation(make_site):
    shown = make_site.navigation()
    code = {page for page, source in make_site.pages().items() if source.endswith(".py")}
    assert len(shown) == len(set(shown))
    assert set(shown) == set(make_site.pages()) - code


def test_links_go_to_where_pages_are_on_the_site(make_site):
    there = make_site.moved(
        "[a](../../README.md#x) [b](../how-to/adk.md) `[c](no)`", "docs/reference/cli.md", "reference/cli.md"
    )
    assert there == "[a](../index.md#x) [b](../how-to/adk.md) `[c](no)`"
    with pytest.raises(make_site.Broken, match=r"docs/nowhere\.md is not on the site"):
        make_site.moved("[a](../nowhere.md)", "docs/reference/cli.md", "reference/cli.md")


def test_the_code_of_the_first_page_is_that_of_the_readme():
    readme = (ROOT / "README.md").read_text("utf-8")
    shown = re.findall(
        r"^    ```python\n(.*?)^    ```$", (ROOT / "docs" / "index.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(shown) == 2
    for code in shown:
        assert textwrap.dedent(code) in readme


NOT_FOR_USERS = {"Recording", "TracedEngine"}
"""What resumekit itself, and its tests, need of a public module. Of `resumekit.wire` users get what a session yields."""


def test_every_name_of_a_public_module_has_its_place():
    shown = {}
    for page in sorted((ROOT / "docs" / "reference" / "api").glob("*.md")):
        for module, members in re.findall(
            r"^::: (\S+)\n(?:    .*\n)*? +members: \[(.*?)\]", page.read_text("utf-8"), re.MULTILINE
        ):
            shown[module] = set(members.split(", "))
    everywhere = set().union(*shown.values()) | NOT_FOR_USERS | {"events"}  # a module
    for module in shown.keys() - {"resumekit.wire"}:
        path = ROOT / {"resumekit.events": "resumekit.core.events"}.get(module, module).replace(".", "/")
        tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text("utf-8"))
        (names,) = (
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        )
        assert set(names) - everywhere == set(), module
    assert len(shown) > 12
