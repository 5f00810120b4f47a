"""Says that something goes on, where it takes long and somebody watches."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["working"]

_CLEAR = "\r\x1b[K"


@contextlib.contextmanager
def working(what: str, *, stream: TextIO | None = None, after: float = 1.0) -> Generator[None]:
    """Tell on the terminal, second by second, what is done and for how long; nothing where there is no terminal.

    Args:
        what: Is being done, to what.
        stream: Where; None: stderr.
        after: Seconds until it is told for the first time.
    """
    stream = stream or sys.stderr
    if stream is None or not stream.isatty():  # pyright: ignore[reportUnnecessaryComparison] -- None where it was closed
        yield
        return
    done = threading.Event()
    teller = threading.Thread(target=_tell, args=(what, stream, after, done), daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def _tell(what: str, stream: TextIO, after: float, done: threading.Event) -> None:
    began = time.monotonic()
    told, wait = False, after
    while not done.wait(wait):
        text = f"{what}: {time.monotonic() - began:.0f} s"
        stream.write(_CLEAR + text[: shutil.get_terminal_size().columns - 1])  # a second line could not be cleared
        stream.flush()
        told, wait = True, 1.0
    if told:
        stream.write(_CLEAR)
        stream.flush()
