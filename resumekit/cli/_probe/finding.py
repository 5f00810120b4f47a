"""What a question yields, and what all of them share."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["HELLO", "LATE", "LONG", "QUIET", "RECALL", "WORDS", "Finding", "Findings", "in_seconds", "longer", "unless"]

# The words in square brackets are for the emulated model; a real one reads over them.
HELLO = "Say hello."
LONG = "[chunks:40] [seconds:8] Count aloud from one to forty."
RECALL = "[recall] Which code words have I told you so far? Say each of them."
WORDS = ("banana", "violin", "harbour")
LATE = 60.0
"""Seconds after which what was to come is taken to come never."""
QUIET = 8.0
"""Seconds of silence that mean that nothing more comes."""


@dataclass(frozen=True)
class Finding:
    """What was found out about one assumption."""

    assumed: str
    used: str
    """Where it is used: fields of `Policy`, rules (`RULES n`, docs/explanation/rules.md), hooks, or in words."""
    found: str
    fits: bool
    policy: dict[str, object] = field(default_factory=dict[str, object])
    """Fields that fit what was found, where the defaults do not."""


Findings: TypeAlias = AsyncGenerator[Finding, None]


def unless(fits: bool, **fields: object) -> dict[str, object]:  # noqa: FBT001 -- reads as a condition
    """Return fields of the policy that are needed where something does not fit."""
    return {} if fits else fields


def in_seconds(value: float) -> str:
    """Return a time as text."""
    return f"{value:.2f} s"


def longer(measured: float, factor: float) -> float:
    """Return a time with room above what was measured."""
    return float(math.ceil(measured * factor))
