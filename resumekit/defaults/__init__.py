"""What decides where neither a plugin nor the application does."""

from __future__ import annotations

from resumekit.defaults.decisions import DefaultDecisions

__all__ = ["DefaultDecisions"]
