"""README.md, CHANGELOG.md and docs/reference/support.md name the same versions: those that the environments are pinned to."""

from __future__ import annotations

import re
import tomllib

from packaging.requirements import Requirement
from packaging.version import Version

from tests.docs.pages import ROOT

README = (ROOT / "README.md").read_text("utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")
SUPPORT = (ROOT / "docs" / "reference" / "support.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
ENVIRONMENTS = tomllib.loads((ROOT / ".ci" / "environments.toml").read_text("utf-8"))


def row(page, name):
    """Return what a table says of a package."""
    (cell,) = re.findall(rf"^\| {re.escape(name)} \| (.*) \|$", page, re.MULTILINE)
    return cell


def versions_of(package):
    """Return the versions that tests are run with, the oldest first."""
    names = [name for name, environment in ENVIRONMENTS.items() if "tests" in environment]
    pins = [(ROOT / ".ci" / f"constraints-{name}.txt").read_text("utf-8") for name in names]
    found = {one for text in pins for one in re.findall(rf"^{re.escape(package)}==(\S+)", text, re.MULTILINE)}
    return sorted(found, key=Version)


def in_short(versions, parts):
    """Say it as the README does: the newest one moves."""
    *others, newest = versions
    short = [".".join(one.split(".")[:parts]) for one in others]
    return ", ".join([*short, f"the newest {newest.split('.')[0]}.x"])


def test_the_reference_has_what_is_pinned():
    for package in ("google-genai", "google-adk", "websockets", "pydantic"):
        assert row(SUPPORT, package) == ", ".join(versions_of(package))


def test_the_readme_has_the_same():
    assert row(README, "Python") == row(SUPPORT, "Python")
    assert row(README, "google-genai") == in_short(versions_of("google-genai"), 2)
    adk = versions_of("google-adk")
    assert row(README, "google-adk") == f"{in_short(adk, 3)} ({adk[-1]})"
    majors = [version.split(".")[0] for version in versions_of("websockets")]
    assert row(README, "websockets") == f"{majors[0]} to {majors[-1]}"


def test_the_changelog_promises_the_same():
    promise = " ".join(CHANGELOG.split("## Unreleased")[0].split())
    genai, adk = in_short(versions_of("google-genai"), 2), in_short(versions_of("google-adk"), 3)
    both = "; ".join(" and ".join(one.rsplit(", ", 1)) for one in (genai, adk))
    assert f"({both})" in promise
    assert (
        f"Python {PROJECT['requires-python'].removeprefix('>=')} to {row(SUPPORT, 'Python').split(', ')[-1]}" in promise
    )


def test_the_oldest_that_can_be_installed_is_tested():
    extras = PROJECT["optional-dependencies"]
    for requirement in map(Requirement, [*PROJECT["dependencies"], *extras["genai"], *extras["adk"]]):
        if (
            versions := versions_of(requirement.name)
            if requirement.name in {"google-genai", "google-adk", "websockets"}
            else []
        ):
            (oldest,) = [one.version for one in requirement.specifier if one.operator == ">="]
            assert Version(versions[0]).release[: len(Version(oldest).release)] == Version(oldest).release
