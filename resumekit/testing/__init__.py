"""What tests of applications and plugins need: so far, what a handle store has to pass."""

from __future__ import annotations

from resumekit.testing.stores import HandleStoreConformance, LeaseConformance

__all__ = ["HandleStoreConformance", "LeaseConformance"]
