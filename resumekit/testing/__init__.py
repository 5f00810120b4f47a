"""What tests of applications and plugins need: so far, what handle stores and backends of pools have to pass."""

from __future__ import annotations

from resumekit.testing.pool import PoolConformance
from resumekit.testing.stores import HandleStoreConformance, LeaseConformance

__all__ = ["HandleStoreConformance", "LeaseConformance", "PoolConformance"]
