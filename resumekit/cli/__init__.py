"""The command line: ``resumekit <command>``.

Each command is one module of this package with `HELP`, `add_arguments(parser)` and `run(arguments) -> exit status`;
to add one, write the module and put its name into `COMMANDS`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COMMANDS", "main"]

COMMANDS = ("demo", "emulate", "doctor", "timeline", "replay")
"""Names of the commands, and of their modules."""


class _Command(Protocol):
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it; returns the exit status."""
        ...


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="resumekit",
        description="Keep a Gemini Live conversation going across disconnects.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        command = cast("_Command", importlib.import_module(f"{__name__}.{name}"))
        sub = commands.add_parser(
            name,
            help=command.HELP.strip().splitlines()[0],
            description=command.HELP,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    from resumekit.errors import ResumekitError
    from resumekit.wire import redact

    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except ResumekitError as error:
        print(f"resumekit: {redact(str(error))}", file=sys.stderr)  # it may quote an application, or an address
        return 2
    except KeyboardInterrupt:
        return 130
