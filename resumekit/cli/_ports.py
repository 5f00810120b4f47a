"""Ports, as arguments of commands."""

from __future__ import annotations

import argparse
import errno

__all__ = ["port", "why_not"]

_HIGHEST = 65535


def port(text: str) -> int:
    """Return the number of a port; 0: any free one."""
    if not text.isdecimal() or int(text) > _HIGHEST:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; give a number from 0 (any free one) to {_HIGHEST}")
    return int(text)


def why_not(number: int, error: OSError) -> str:
    """Say why nothing can be served there, and what to do."""
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {number} is taken; give another --port, or none for any free one"
        case errno.EACCES:
            return f"port {number} is reserved for the system; give a --port above 1023, or none for any free one"
        case _:
            return f"cannot serve on port {number}: {error}"
