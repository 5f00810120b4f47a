"""One module for each way in: each imports its framework, and nothing else does."""

from __future__ import annotations

__all__: list[str] = []
