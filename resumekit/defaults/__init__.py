"""What decides where neither a plugin nor the application does: plugins like any other, asked last.

Written with what a third party has, and nothing else: hooks, public types, public libraries.
"""

from __future__ import annotations

from resumekit.defaults.decisions import DefaultDecisions
from resumekit.defaults.memory import MemoryStore
from resumekit.defaults.stores import MemoryStores, SqliteStores

__all__ = ["BUILT_IN", "DefaultDecisions", "MemoryStore", "MemoryStores", "SqliteStores"]

BUILT_IN: dict[str, object] = {"memory": MemoryStores(), "sqlite": SqliteStores(), "defaults": DefaultDecisions()}
"""The built-in plugins by name; the last one answers each of the engine's questions."""
