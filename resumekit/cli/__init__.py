"""The command line: ``resumekit <command>``.

Each command is one module of this package with `HELP`, `add_arguments(parser)` and `run(arguments) -> exit status`;
to add one, write the module and put its name into `COMMANDS`. `main` sees to what all have in common: one line instead of a
traceback where the user can do something about it, and `STATUSES`.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import os
import platform
import sys
import textwrap
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COMMANDS", "STATUSES", "main"]

COMMANDS = ("demo", "emulate", "doctor", "timeline", "replay")
"""Names of the commands, and of their modules."""
STATUSES = {
    0: "done, and all is well",
    1: "done, and something is wrong: demo lost a message, doctor found a problem, replay came to something else",
    2: "not done: a wrong argument, no such file, no trace, a missing package or key, a port that is taken, a full disk",
    3: "doctor --probe: nothing is wrong, but a question has no answer",
    130: "interrupted by Ctrl-C, which is how emulate and demo --web end well: with 0",
    141: "whoever read the output has left, as in: resumekit demo | head",
}
"""What the exit status of a command means."""
_WIDEST = 100
_OF_OUTPUT = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


class _Command(Protocol):
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it; returns the exit status."""
        ...


class _Paragraphs(argparse.RawDescriptionHelpFormatter):
    """Wraps paragraphs to the width of the terminal, and leaves what is indented, and examples, as they are."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self._width = min(self._width, _WIDEST)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip().split("\n\n")
        return "\n\n".join(textwrap.indent(_wrapped(one, width - len(indent)), indent) for one in paragraphs) + "\n"


def _wrapped(paragraph: str, width: int) -> str:
    if paragraph.startswith("example") or any(line.startswith(" ") for line in paragraph.splitlines()):
        return paragraph
    return textwrap.fill(" ".join(paragraph.split()), width, break_long_words=False, break_on_hyphens=False)


class _Version(argparse.Action):
    """Looks the version up when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        """Print it, and end."""
        from importlib.metadata import PackageNotFoundError, version

        found = "(not installed)"
        with contextlib.suppress(PackageNotFoundError):
            found = version("resumekit")
        print(f"resumekit {found} on Python {platform.python_version()}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    statuses = "\n".join(
        textwrap.fill(text, 78, initial_indent=f"  {status:<5}", subsequent_indent=" " * 7)
        for status, text in STATUSES.items()
    )
    parser = argparse.ArgumentParser(
        prog="resumekit",
        description="Keep a Gemini Live conversation going across disconnects. `resumekit demo` shows it; no key is needed.",
        epilog=f"`resumekit COMMAND --help` explains a command, with examples.\n\nexit status:\n{statuses}",
        formatter_class=_Paragraphs,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version, and stop")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name in COMMANDS:
        command = cast("_Command", importlib.import_module(f"{__name__}.{name}"))
        sub = commands.add_parser(
            name,
            help=command.HELP.strip().splitlines()[0],
            description=command.HELP,
            formatter_class=_Paragraphs,
        )
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status, one of `STATUSES`."""
    from resumekit.errors import ResumekitError
    from resumekit.wire import redact

    try:
        try:
            return _run(argv)
        finally:
            if sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison] -- it is, where it was closed
                sys.stdout.flush()
    except ResumekitError as error:
        _complain(redact(str(error)))  # it may quote an application, or an address
        return 2
    except KeyboardInterrupt:
        if sys.stderr is not None and sys.stderr.isatty():  # pyright: ignore[reportUnnecessaryComparison]
            print(file=sys.stderr)  # ends the line in which the terminal shows ^C
        _complain("interrupted")
        return 130
    except (OSError, ExceptionGroup) as error:
        cause = _only(error)
        if cause is None:
            raise
        if isinstance(cause, BrokenPipeError):
            _hush()
            return 141
        if cause.filename is not None:
            _complain(redact(f"{cause.filename}: {cause.strerror}"))
        elif cause.errno in _OF_OUTPUT:
            _hush()
            _complain(f"the output cannot be written: {cause.strerror}")
        else:
            raise
        return 2


def _run(argv: Sequence[str] | None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    if not hasattr(arguments, "run"):
        parser.print_help(sys.stderr)
        return 2
    return int(arguments.run(arguments))


def _complain(text: str) -> None:
    print(f"resumekit: {text}", file=sys.stderr)


def _only(error: BaseException) -> OSError | None:
    """Return the OSError that this is, or that tasks failed with."""
    while isinstance(error, BaseExceptionGroup):
        (error, *others) = cast("BaseExceptionGroup[BaseException]", error).exceptions
        if others:
            return None
    return error if isinstance(error, OSError) else None


def _hush() -> None:
    """Have what is still to be written to the output go nowhere, and nobody complain at the end about that."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
