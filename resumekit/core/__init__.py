"""The resumption machine: no asyncio, no clock, no sockets, no randomness of its own. It begins at `engine`."""

from __future__ import annotations

__all__: list[str] = []
