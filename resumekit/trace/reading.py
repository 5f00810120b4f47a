"""Traces, read from their files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, cast

import msgspec

from resumekit.errors import ConfigurationError
from resumekit.trace.records import Line

__all__ = ["FORMAT", "TraceFile", "in_words", "read_trace"]

FORMAT = 1
"""Of traces; a change that older readers cannot cope with adds one."""

_HEAD = 2
_NO_TRACE = "{} is no trace of resumekit; one is written by a session that is given trace='call.jsonl'"


@dataclass(frozen=True, kw_only=True)
class TraceFile:
    """A trace, whose lines are read when they are asked for."""

    path: Path
    head: Line
    """The first line: format, version, wall-clock time, label."""
    began: Line
    """The second one: what the engine was made with."""

    @property
    def payloads(self) -> bool:
        """Whether texts and media are in it."""
        return bool(self.head.get("payloads"))

    def lines(self) -> Iterator[tuple[int, Line]]:
        """Give number and content of each line after the first two. A last line that is not whole is left out.

        Raises:
            ConfigurationError: A line in the middle cannot be read.
        """
        with self.path.open("rb") as file:
            for number, data in enumerate(file, 1):
                if number <= _HEAD:
                    continue
                try:
                    line: Any = msgspec.json.decode(data)
                except msgspec.DecodeError as error:
                    if not data.endswith(b"\n"):
                        return  # the process was killed while it was written
                    raise ConfigurationError(f"{self.path} is damaged in line {number}: {error}") from error
                if not isinstance(line, dict):
                    raise ConfigurationError(f"{self.path} is damaged in line {number}: no object")
                yield number, cast("Line", line)


def read_trace(path: str | PathLike[str]) -> TraceFile:
    """Open a trace.

    Raises:
        ConfigurationError: This is no trace, or one of another format.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            first, second = file.readline(), file.readline()
        said: Any = msgspec.json.decode(first)
        head = cast("Line", said) if isinstance(said, dict) else {}
        found = head.get("resumekit_trace")
        began: Any = msgspec.json.decode(second) if found == FORMAT else None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigurationError(_NO_TRACE.format(path)) from error
    if found is None:
        raise ConfigurationError(_NO_TRACE.format(path))
    if found != FORMAT:
        raise ConfigurationError(
            f"{path} is a trace of format {found}, written by resumekit {head.get('version')}; this version reads"
            f" format {FORMAT}"
        )
    if not isinstance(began, dict) or "setup" not in began:
        raise ConfigurationError(f"{path} is no whole trace: it ends before the session begins")
    return TraceFile(path=path, head=head, began=cast("Line", began))


def in_words(line: Line, start: float) -> str:
    """Return a line as people read it."""
    if "took" in line:
        return f"{line['at'] - start:10.3f} s  the application took {_frame(line['took'])}"
    if "told" in line:
        return f"{'':12}  told: {line['told']['event']}"
    if "end" in line:
        return f"{'':12}  the end"
    now = line.get("now", line.get("at"))
    at = f"{'':12}" if now is None else f"{now - start:10.3f} s"
    what = [str(line["in"])]
    if "connection" in line:
        what.append(f"connection {line['connection']}")
    if "failure" in line:
        failure = line["failure"]
        what.append(" ".join(str(failure[name]) for name in ("phase", "code", "status", "reason") if failure.get(name)))
    did = [_action(action) for action in line.get("out", ())]
    return f"{at}  {', '.join(what)}" + (f" -> {'; '.join(did)}" if did else "")


def _action(action: Line) -> str:
    if action["do"] == "Notify":
        return str(action["event"])
    if action["do"] == "SendFrame":
        return f"send {_frame(action)}"
    return str(action["do"])


def _frame(shape: Line) -> str:
    return f"{shape['kind'] or 'a frame'} ({shape['size']} bytes)"
