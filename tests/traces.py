"""Traces of tests that fail: kept under `out/traces`, for `resumekit replay` and `resumekit timeline`.

A test that runs an engine makes a `KeptEngine`, which remembers what it was fed and what came of it; tests/conftest.py
writes that down where the test fails, and tells where. What was said is in it: it is made up.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from resumekit.trace import TracedEngine
from resumekit.trace.masking import Masker
from resumekit.trace.reading import FORMAT
from resumekit.trace.records import Record, encode_record

__all__ = ["FOLDER", "KeptEngine", "forget", "keep", "write"]

FOLDER = Path(os.environ.get("RESUMEKIT_TEST_TRACES", "out/traces"))
_ENGINES = 8
"""The newest ones of a test are kept."""
_RECORDS = 200_000
"""In all, of a test; an engine that would need more is not kept."""

_kept: deque[_Records] = deque(maxlen=_ENGINES)


class _Records:
    """What one engine did."""

    budget = _RECORDS

    def __init__(self) -> None:
        self.all: list[Record] | None = []

    def add(self, record: Record) -> None:
        if self.all is not None and _Records.budget > 0:
            _Records.budget -= 1
            self.all.append(record)
        else:
            self.all = None


class KeptEngine(TracedEngine):
    """The engine of a test."""

    __slots__ = ()

    def __init__(self, setup: str, **arguments: Any) -> None:
        records = _Records()
        super().__init__(setup, record=records.add, **arguments)
        _kept.append(records)


def forget(*, keeps: bool = True) -> None:
    """Begin with another test; one that weighs sessions keeps nothing of them."""
    _kept.clear()
    _Records.budget = _RECORDS if keeps else 0


def keep(name: str, error: BaseException | None = None) -> list[Path]:
    """Write the traces of the test that has failed; return where.

    An error that can be had again, as that of a schedule, tells how: `again(engine=...)` runs it with another kind of engine.
    """
    again: Callable[..., object] | None = getattr(error, "again", None)
    if again is not None:
        forget()
        try:
            again(engine=KeptEngine)
        except type(error):  # type: ignore[misc] -- that of a schedule
            pass
    short = re.sub(r"[^\w.-]+", "_", name.removeprefix("tests/"))[:150]
    found = [records.all for records in _kept if records.all]
    paths = [FOLDER / f"{short}{f'-{number}' if len(found) > 1 else ''}.jsonl" for number in range(1, len(found) + 1)]
    for path, records in zip(paths, found, strict=True):
        write(path, records)
    return paths


def write(path: Path, records: list[Record], *, payloads: bool = True) -> None:
    """Write a trace."""
    masker = Masker(os.urandom(32), payloads=payloads)
    head = {"resumekit_trace": FORMAT, "version": "tests", "at": time.time(), "label": "", "payloads": payloads}
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [head, *(encode_record(record, masker) for record in records)]
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
