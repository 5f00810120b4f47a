"""What the pages name is there: members of `Policy`, and the files that they link to."""

from __future__ import annotations

import re

import pytest

from resumekit import Policy
from tests.docs.pages import PAGES, ROOT

MADE = ("pictures/demo", "../pictures/timeline")
"""What a run of the demo leaves on the site (docs/make_site.py)."""
NAMES = [name for page in PAGES if not (name := page.relative_to(ROOT).as_posix()).startswith("docs/project/proofs")]


@pytest.mark.parametrize("page", NAMES)
def test_the_members_of_policy_exist(page):
    named = set(re.findall(r"\bPolicy\.([a-z]\w+)", (ROOT / page).read_text("utf-8")))
    assert named <= set(dir(Policy()))


@pytest.mark.parametrize("page", NAMES)
def test_the_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text) if "://" not in link]
    here = (ROOT / page).parent
    assert [link for link in links if not (here / link).exists() and not link.startswith(MADE)] == []


INDEX = re.compile(r"pip install (?:-\S+ )*['\"]?resumekit(?!-directory)|uv (?:pip install|add) ['\"]?resumekit")
"""What would have to come from a package index, which has none of it yet; resumekit-directory is the reader's own."""
SAYS = [*PAGES, *(ROOT / "resumekit").rglob("*.py"), *ROOT.glob("*.py"), *(ROOT / "docs").glob("*.py")]


def test_nothing_is_to_be_installed_from_an_index():
    """Once it is on one, this goes, and so does what pages and messages say of a clone (`resumekit/_extras.py`)."""
    assert [path.name for path in SAYS if INDEX.search(path.read_text("utf-8"))] == []
