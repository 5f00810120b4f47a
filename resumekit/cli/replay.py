"""``resumekit replay``: the engine, run again over the trace of a session."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from resumekit.cli._progress import working
from resumekit.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse

__all__ = ["HELP", "add_arguments", "run"]

HELP = """\
Run the engine over a trace again, and see whether it comes to the same.

A session with trace="call.jsonl" writes down everything that its engine was fed, when, and what came of it. Here this
version's engine is fed the same, in the same order, without a clock, a socket or a plugin. Everything that it wants done
has to be what it wanted then: frames to send, connections to open and close, handles to keep, events, frames for the
application. What it asked its hooks, and every random draw, are answered from the trace.

So a call that went wrong is a test: send its trace along with a bug report (texts and media are masked in it), and when
the bug is mended, this command shows the line from which on the engine now does otherwise. In a test of your own:

    from resumekit.trace import replay

    result = replay("call.jsonl")
    assert result.same, result

The exit status is 0 if all is the same, 1 if something differs (the first difference is shown, with the lines before
it), and 2 if a file is no trace, is damaged, or is of another format (the others are replayed). A trace whose process was killed can be replayed:
it ends where it ends.

examples: resumekit replay call.jsonl
          resumekit replay traces/*.jsonl
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("trace", type=Path, nargs="+", help="written by a session with trace=...")
    parser.add_argument("--events", action="store_true", help="list the events that the engine told of")


def run(arguments: argparse.Namespace) -> int:
    """Replay each; returns 0 if all came to the same, 1 if one did not, 2 if one cannot be replayed."""
    from resumekit.trace import replay

    status = 0
    for path in arguments.trace:
        try:
            with working(f"replaying {path.name}"):
                result = replay(path)
        except ConfigurationError as error:
            print(f"resumekit: {error}", file=sys.stderr)
            status = 2
            continue
        if arguments.events:
            for event in result.events:
                print(f"{path}: {event!r}")
        print(f"{path}: {'same' if result.same else 'DIFFERS'}: {result}")
        status = max(status, int(not result.same))
    return status
