"""Keep a Gemini Live conversation going across disconnects."""

from __future__ import annotations

__all__: list[str] = []
