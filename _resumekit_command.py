"""Where the command `resumekit` begins: a module of its own, since importing anything of resumekit takes a moment.

So it imports next to nothing itself.
"""

from __future__ import annotations

import io
import os
import signal
import sys

__all__ = ["main"]


def main() -> int:
    """Run the command; Ctrl-C ends it with one line and status 130, also while modules are still imported."""
    is_heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else nobody is to interrupt it
    if is_heard:
        signal.signal(signal.SIGINT, _leave)
    from resumekit.cli import main as run

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Unicode is told, too
    try:
        if is_heard:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return run()
    finally:
        if is_heard:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # what Python does at its end is of no interest


def _leave(*_: object) -> None:
    """Go at once: there is nothing yet to clean up, and an exception might be turned into another by what is imported."""
    os.write(2, b"\n" * os.isatty(2) + b"resumekit: interrupted\n")
    os._exit(130)
