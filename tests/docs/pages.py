"""The code on the pages: which blocks there are, and what runs each."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/*/README.md", "plugins/*/README.md")
    for path in ROOT.glob(pattern)
)
TABLE = ROOT / "tests" / "docs" / "blocks.toml"
NO_CODE = {"", "text", "mermaid", "markdown"}
"""Languages in which nothing is run."""


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: str
    name: str
    """Its heading, and its number there where there are more."""
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """What is typed behind the `$` of a console, without comments."""
        return [re.split(r"\s{2,}#", line)[0] for line in re.findall(r"^\$ (.*)$", self.text, re.MULTILINE)]


def blocks(page: Path | str) -> list[Block]:
    """Return the blocks of code of a page, in their order."""
    path = ROOT / page
    heading, opened, found = "", None, []
    for line in path.read_text("utf-8").splitlines(keepends=True):
        fence = re.match(r"(`{3,})(\w*)", line)
        if opened is None and fence:
            opened, language, text = fence[1], fence[2], ""
        elif opened is None and line.startswith("#"):
            heading = line.strip("#\n ")
        elif opened is not None and line.startswith(opened):
            opened = None
            if language not in NO_CODE:
                found.append((heading, language, text))
        elif opened is not None:
            text += line
    numbers: dict[str, int] = {}
    told = []
    for heading, language, text in found:
        numbers[heading] = numbers.get(heading, 0) + 1
        name = heading if numbers[heading] == 1 else f"{heading} {numbers[heading]}"
        told.append(Block(path.relative_to(ROOT).as_posix(), name, language, text))
    return told


def block(page: str, name: str) -> Block:
    """Return one block of a page."""
    (found,) = [it for it in blocks(page) if it.name == name]
    return found


def table() -> dict[str, dict[str, str]]:
    """Return what runs each block, or why nothing does: by page and name."""
    return tomllib.loads(TABLE.read_text("utf-8"))
