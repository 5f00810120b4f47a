"""``resumekit timeline``: the trace of a session, as a picture."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from resumekit.cli._progress import working
from resumekit.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse

__all__ = ["HELP", "add_arguments", "run"]

HELP = """\
Draw what happened in a session, from its trace: one HTML page that loads nothing, or an SVG.

Shown over time are the state of the session, what the user and the model said, tool calls, each connection from its dial
to its end, handles, goAway with its deadline, cuts and their causes, what was sent again, the gaps that the application
felt, and all other events. The page can be zoomed (wheel, + and -) and panned (drag, Shift and the arrow keys); what the
mouse is over, or the arrow keys go to, is told in words. Below it is a list of what happened.

A trace is written by a session with trace="call.jsonl". What was said is masked in it, so the page shows sizes and times;
with resumekit.trace.Trace("call.jsonl", payloads=True) it shows the words, too.

The summary is printed. The exit status is 0, or 2 if the file is no trace or is damaged, or if the page cannot be written.

examples: resumekit timeline call.jsonl
          resumekit timeline call.jsonl -o /tmp/call.html --svg call.svg
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("trace", type=Path, help="written by a session with trace=...")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the page (beside the trace, as .html)")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also the picture alone, as SVG")


def run(arguments: argparse.Namespace) -> int:
    """Draw; returns 0."""
    from resumekit.cli._timeline.drawing import draw
    from resumekit.cli._timeline.page import page
    from resumekit.cli._timeline.reading import read_story
    from resumekit.trace import read_trace

    path: Path = arguments.trace
    output: Path = arguments.output or path.with_suffix(".html")
    _check_distinct(path, output, arguments.svg)
    written: dict[Path, str] = {}
    trace = read_trace(path)
    try:
        with working(f"drawing {path.name}"):
            story = read_story(trace)
            written[output] = page(story)
            if arguments.svg is not None:
                written[arguments.svg] = draw(story)
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # of the right form, and makes no sense
        raise ConfigurationError(f"{path} is damaged, and cannot be drawn ({type(error).__name__}: {error})") from error
    print(story.summary())
    for place, text in written.items():
        name = "picture" if place == arguments.svg else "page"
        try:
            _write(place, text)
        except OSError as error:
            raise ConfigurationError(f"the {name} cannot be written: {place}: {error.strerror}") from error
        print(f"The {name}: {place}")
    return 0


def _check_distinct(trace: Path, page: Path, picture: Path | None) -> None:
    """See to it that nothing is written over the trace, nor the picture over the page.

    Raises:
        ConfigurationError: It would be.
    """
    if page.resolve() == trace.resolve():
        raise ConfigurationError(f"the page would be written over the trace, {trace}; name another file with -o")
    if picture is not None and picture.resolve() in {trace.resolve(), page.resolve()}:
        over = "trace" if picture.resolve() == trace.resolve() else "page"
        raise ConfigurationError(
            f"the picture would be written over the {over}, {picture}; name another file with --svg"
        )


def _write(path: Path, text: str) -> None:
    """Write a file for its owner alone, as a trace is: what was said may be in it."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as written:
        if stat.S_ISREG(os.fstat(file).st_mode):
            path.chmod(0o600)  # it may have been there
        written.write(text)
