"""The one switch for what is faster and has to be the same: the express lane, learned shapes, and the typed lane."""

from __future__ import annotations

import os

__all__ = ["FAST", "fast_lanes"]

FAST = "RESUMEKIT_FAST"
"""Environment variable: ``0`` has every frame take the long way. Looked at when a session is made."""


def fast_lanes() -> bool:
    """Tell whether a session that is being made may use them."""
    return os.environ.get(FAST) != "0"
