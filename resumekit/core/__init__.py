"""The resumption machine: no asyncio, no clock, no sockets, no randomness of its own."""

from __future__ import annotations

from resumekit.core.engine import Engine

__all__ = ["Engine"]
