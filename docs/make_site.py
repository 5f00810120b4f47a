"""Build the site of the docs in out/docs/site, from docs/ and the pages in `ELSEWHERE`: `make docs`.

The pages are copied to out/docs/pages, where links between them are mended, pictures are made and code that names
something public becomes a link; then zensical builds the site, strictly, and all that a reader could follow is followed.
"""

from __future__ import annotations

import argparse
import html
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
OUT = ROOT / "out" / "docs"
PAGES, SITE = OUT / "pages", OUT / "site"
DEMO = ROOT / "out" / "demo"
ENVIRON = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
SHIM = "https://unpkg.com/iframe-worker/shim"

ELSEWHERE = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "LICENSE": "project/license.md",
    "benchmarks/README.md": "project/benchmarks.md",
    "examples/adk_fastapi/README.md": "examples/adk_fastapi.md",
    "examples/adk_fastapi/agent.py": "examples/adk_fastapi_agent.md",
    "examples/adk_fastapi/server.py": "examples/adk_fastapi_server.md",
    "examples/genai_fastapi/README.md": "examples/genai_fastapi.md",
    "examples/genai_fastapi/server.py": "examples/genai_fastapi_server.md",
    "examples/two_workers/README.md": "examples/two_workers.md",
    "examples/two_workers/front.py": "examples/two_workers_front.md",
    "examples/two_workers/worker.py": "examples/two_workers_worker.md",
    "plugins/resumekit-otel/README.md": "reference/plugins/otel.md",
    "plugins/resumekit-postgres/README.md": "reference/plugins/postgres.md",
    "plugins/resumekit-redis/README.md": "reference/plugins/redis.md",
}
"""Files outside docs/ that are pages of the site."""
README = "README.md"
"""Stands beside the site: a link to it goes to the first page."""
PICTURES = tuple(
    f"pictures/{name}{end}" for name in ("demo", "timeline") for end in ("-light.svg", "-dark.svg", ".html")
)
"""What a run of the demo leaves on the site."""

_LINK = re.compile(r"(?<!`)(\[[^\]\[]*(?:\[[^\]]*\])?[^\]\[]*\]\()([^)\s]+)(\))")
_FENCE = re.compile(r"^( *)(`{3,}|~{3,})")


class Broken(Exception):
    """The site is not as it should be."""


# ---------------------------------------------------------------------- pages and the links between them


def pages() -> dict[str, str]:
    """Return where each page of the site comes from: its place on the site, and its path in the repository."""
    own = {path.relative_to(DOCS).as_posix(): path.relative_to(ROOT).as_posix() for path in sorted(DOCS.rglob("*.md"))}
    return own | {page: source for source, page in ELSEWHERE.items()}


def navigation() -> list[str]:
    """Return the pages of the navigation, in its order."""

    def leaves(entry: object) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, list):
            for one in entry:
                yield from leaves(one)
        elif isinstance(entry, dict):
            for one in entry.values():
                yield from leaves(one)

    return list(leaves(tomllib.loads((DOCS / "zensical.toml").read_text("utf-8"))["project"]["nav"]))


def prose(text: str) -> Iterator[tuple[bool, str]]:
    """Yield the lines of a page, and whether they are prose: not within a block of code."""
    fence = None
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if fence is None and mark:
            fence = mark[2]
            yield False, line
        elif fence is not None:
            if line.strip() == fence[0] * len(line.strip()) and len(line.strip()) >= len(fence):
                fence = None
            yield False, line
        else:
            yield True, line


def links(source: str) -> Iterator[str]:
    """Yield the targets of the links of a page, relative to it, but for those that leave the repository."""
    text = "".join(line for is_prose, line in prose((ROOT / source).read_text("utf-8")) if is_prose)
    for _, target, _ in _LINK.findall(text):
        if not urlsplit(target).scheme:
            yield target


def target_of(source: str, target: str) -> tuple[str, str]:
    """Return the path in the repository that a link names, and its anchor."""
    path, _, anchor = target.partition("#")
    return (posixpath.normpath(posixpath.join(posixpath.dirname(source), path)) if path else source), anchor


def on_site(path: str) -> str:
    """Return where a file of the repository is on the site.

    Raises:
        Broken: It is not there.
    """
    if path == README:
        return "index.md"
    if path in ELSEWHERE:
        return ELSEWHERE[path]
    inside = path.removeprefix("docs/")
    if inside != path and ((ROOT / path).is_file() or inside in PICTURES):
        return inside
    raise Broken(f"{path} is not on the site")


def moved(text: str, source: str, page: str) -> str:
    """Return the text of a page with links to where things are on the site."""

    def mended(match: re.Match[str]) -> str:
        if urlsplit(match[2]).scheme or match[2].startswith("#"):
            return match[0]
        path, anchor = target_of(source, match[2])
        if path.endswith(".py") and path not in ELSEWHERE and (ROOT / path).is_file():
            return match[1][1:-2]  # the code is in the repository
        there = posixpath.relpath(on_site(path), posixpath.dirname(page) or ".")
        return match[1] + there + (f"#{anchor}" if anchor else "") + match[3]

    return "".join(_LINK.sub(mended, line) if is_prose else line for is_prose, line in prose(text))


# ---------------------------------------------------------------------- making


def copied() -> None:
    """Put all pages where zensical builds from."""
    import griffe_fields
    from draw_states import drawn

    shutil.rmtree(OUT, ignore_errors=True)
    undocumented = griffe_fields.undocumented(ROOT)
    if undocumented:
        raise Broken("no word about " + ", ".join(undocumented))
    places = griffe_fields.places(ROOT)
    for page, source in pages().items():
        text = (ROOT / source).read_text("utf-8")
        if not source.endswith(".md"):
            kind = Path(source).suffix.removeprefix(".") or "text"
            text = f"# `{Path(source).name}`\n\n```{kind}\n{text.strip()}\n```\n"
        text = moved(text, source, page)
        text = re.sub(
            r"^```mermaid\nstateDiagram.*?^```$", lambda _: figure(drawn()), text, flags=re.DOTALL | re.MULTILINE
        )
        write(page, with_code_in_tables(griffe_fields.linked(text, places)))
    for path in [*DOCS.rglob("*.svg"), *(DOCS / "theme").glob("*.css"), *(DOCS / "theme").glob("*.js")]:
        write(path.relative_to(DOCS).as_posix(), path.read_text("utf-8"))
    shutil.copy(DOCS / "zensical.toml", OUT)


def write(page: str, text: str) -> None:
    path = PAGES / page
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def figure(drawing: str) -> str:
    return f'<figure class="drawing">\n{drawing}\n</figure>'


def with_code_in_tables(text: str) -> str:
    """Write code in tables as HTML where it holds a bar: Markdown would show the backslash before it."""

    def as_html(match: re.Match[str]) -> str:
        return "<code>" + html.escape(match[1].replace(r"\|", "|")).replace("|", "&#124;") + "</code>"

    return "".join(
        re.sub(r"`([^`]*\\\|[^`]*)`", as_html, line) if is_prose and line.startswith("|") else line
        for is_prose, line in prose(text)
    )


def demo() -> None:
    """Bring the pictures of a run of the demo, and the timeline of its trace: of the last run, if the code is no newer."""
    newest = max(path.stat().st_mtime for path in (ROOT / "resumekit").rglob("*.py"))
    if not (DEMO / "timeline.svg").is_file() or (DEMO / "timeline.svg").stat().st_mtime < newest:
        print("    resumekit demo, for its picture ...", flush=True)
        ran("demo", "--plain", "--out", str(DEMO))
    pictured("demo", DEMO / "timeline.svg", DEMO / "timeline.html")
    with tempfile.TemporaryDirectory() as folder:
        page, drawing = Path(folder, "timeline.html"), Path(folder, "timeline.svg")
        ran("timeline", str(DEMO / "call.jsonl"), "-o", str(page), "--svg", str(drawing))
        pictured("timeline", drawing, page)


def ran(*arguments: str) -> None:
    """Run the command `resumekit`."""
    command = [sys.executable, "-m", "resumekit.cli", *arguments]
    done = subprocess.run(command, check=False, cwd=ROOT, env=ENVIRON, text=True, capture_output=True)
    if done.returncode:
        raise Broken(f"resumekit {arguments[0]} failed:\n{done.stdout}{done.stderr}")


def pictured(name: str, drawing: Path, page: Path) -> None:
    """Bring a drawing, in light and in dark, and the page that it can be zoomed on."""
    text = drawing.read_text("utf-8")
    media = "@media (prefers-color-scheme: dark)"
    if text.count(media) != 1:
        raise Broken(f"{drawing.name} has no dark colours")
    write(f"pictures/{name}-light.svg", text.replace(media, "@media not all"))
    write(f"pictures/{name}-dark.svg", text.replace(media, "@media all"))
    shutil.copy(page, PAGES / "pictures" / f"{name}.html")


def built() -> None:
    """Have zensical build the site."""
    zensical = str(Path(sys.executable).with_name("zensical"))
    command = [zensical, "build", "--strict", "--clean", "-f", str(OUT / "zensical.toml")]
    done = subprocess.run(
        command, check=False, env=ENVIRON, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode or "arning" in done.stdout:
        said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout).partition("Traceback")[0]
        raise Broken(f"zensical found problems:\n{said}")
    for path in SITE.rglob("*.html"):  # zensical's own way to search without a server asks a foreign host for it
        text = path.read_text("utf-8")
        path.write_text(
            text.replace(SHIM, posixpath.relpath("theme/worker.js", path.parent.relative_to(SITE).as_posix())), "utf-8"
        )


# ---------------------------------------------------------------------- following every link


class Seen(HTMLParser):
    """What a page holds: its anchors, and what it points at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            elif name == "href" and tag == "a" and value:
                self.links.append(value)
            elif name in ("href", "src", "data", "poster") and tag not in ("a", "use") and value:
                self.loads.append(value)
            elif name == "style" and value:
                self.loads += re.findall(r"url\(['\"]?([^'\")]+)", value)


def followed() -> int:
    """Follow everything on the site; return how many pages there are.

    Raises:
        Broken: Something leads nowhere, is asked of another host, or is public and has no place.
    """
    seen = {path.relative_to(SITE).as_posix(): Seen(path.read_text("utf-8")) for path in sorted(SITE.rglob("*.html"))}
    problems: list[str] = []
    for page, found in seen.items():
        for target in found.loads + found.links:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                if target in found.loads and parts.scheme != "data":
                    problems.append(f"{page}: asks another host for {target}")
                continue
            there = (
                posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(parts.path))) if parts.path else page
            )
            there = posixpath.join(there, "index.html") if (SITE / there).is_dir() else there
            if (page == "404.html" and not (SITE / there.lstrip("/")).exists()) or (
                page != "404.html" and not (SITE / there).is_file()
            ):
                problems.append(f"{page}: leads nowhere: {target}")
            elif parts.fragment and there in seen and unquote(parts.fragment) not in seen[there].anchors:
                problems.append(f"{page}: no such place: {target}")
    for path in SITE.rglob("*.css"):
        problems += [
            f"{path.name}: asks another host for {url}"
            for url in re.findall(r"(?:url\(|@import )['\"]?((?:https?:)?//[^'\")]+)", path.read_text("utf-8"))
        ]
    import griffe_fields

    for page, module, names in griffe_fields.pages():
        anchors = seen[f"reference/api/{page.removesuffix('.md')}.html"].anchors
        problems += [f"{module}.{name} has no place on {page}" for name in names if f"{module}.{name}" not in anchors]
    missing = {page.removesuffix(".md") + ".html" for page in navigation()} - seen.keys()
    problems += [f"{page} was not built" for page in sorted(missing)]
    if problems:
        raise Broken("\n".join(["the site is not whole:", *problems]))
    return len(seen)


def main() -> None:
    """Build the site, or say what keeps it from being built."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    try:
        copied()
        demo()
        built()
        count = followed()
    except Broken as problem:
        sys.exit(f"docs: {problem}")
    print(f"    {count} pages, every link followed: {SITE / 'index.html'}")


if __name__ == "__main__":
    main()
