"""The picture of a story as a page of its own: one HTML file, which loads nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from resumekit.cli._timeline.drawing import draw
from resumekit.cli._timeline.story import Story

__all__ = ["page", "page_of"]

_HERE = Path(__file__).parent
_LISTED = {
    "fault": "fault",
    "cut": "cut",
    "gap": "gap",
    "go-away": "goAway",
    "note": "event",
    "connection": "connection",
    "resend": "resend",
}
"""What is listed, by kind; of what happens at once, in this order."""
_ITEM = re.compile(r'<g class="item" data-kind="([\w-]+)" data-a="([\d.]+)"[^>]*><title>([^<]*)</title>')

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<main>
<div class="buttons" role="toolbar" aria-label="zoom">
<button data-do="in" title="zoom in (+)" aria-label="zoom in">+</button>
<button data-do="out" title="zoom out (-)" aria-label="zoom out">&minus;</button>
<button data-do="all" title="show all (0)">all</button>
<button data-do="back" title="earlier (Shift+Left)" aria-label="earlier">&larr;</button>
<button data-do="on" title="later (Shift+Right)" aria-label="later">&rarr;</button>
<span class="keys">wheel or <kbd>+</kbd> <kbd>-</kbd> <kbd>0</kbd> zoom, drag or <kbd>Shift</kbd>+<kbd>&larr;</kbd> <kbd>&rarr;</kbd> pan, <kbd>&larr;</kbd> <kbd>&rarr;</kbd> go from item to item</span>
</div>
<div class="view">
{picture}<div id="tip" role="status" aria-live="polite" hidden></div>
</div>
<h2>What happened</h2>
<div class="list"><table>
{rows}
</table></div>
<footer>{foot}</footer>
</main>
<script>
{script}</script>
</body>
</html>
"""


def page(story: Story) -> str:
    """Return the page of a story."""
    began = datetime.fromtimestamp(story.began_at, UTC)
    texts = "as they were" if story.payloads else "masked"
    foot = f"Begun {began:%Y-%m-%d %H:%M:%S} UTC, traced by resumekit {story.version}; texts are {texts}."
    return page_of(draw(story), f"{story.model.rpartition('/')[2] or 'session'}: timeline", foot)


def page_of(picture: str, title: str, foot: str) -> str:
    """Return the page of a picture."""
    order = list(_LISTED)
    rows = sorted(
        (float(at), order.index(kind), number, words)
        for number, (kind, at, words) in enumerate(_ITEM.findall(picture))
        if kind in _LISTED
    )
    listed: list[str] = []
    for _, place, number, words in rows:
        clock, _, what = words.partition("  ")
        kind = order[place]
        listed.append(
            f'<tr class="{kind}" data-item="{number}"><td>{clock}</td><td>{_LISTED[kind]}</td><td>{what}</td></tr>'
        )
    return _PAGE.format(
        title=escape(title),
        style=_HERE.joinpath("page.css").read_text("utf-8"),
        script=_HERE.joinpath("page.js").read_text("utf-8"),
        picture=picture,
        rows="\n".join(listed),
        foot=escape(foot),
    )
