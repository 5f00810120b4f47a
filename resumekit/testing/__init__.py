"""What tests of applications and plugins need: classes of tests that a plugin subclasses, and a service to talk to.

`HandleStoreConformance` and `LeaseConformance` are what every handle store has to pass, `PoolConformance` every backend of
pools. `ScriptedService` is the emulated Live API with a fault script, in which a second takes `TIME_SCALE` seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resumekit.testing.pool import PoolConformance
from resumekit.testing.stores import HandleStoreConformance, LeaseConformance

if TYPE_CHECKING:
    from resumekit.testing.service import TIME_SCALE, ScriptedService

__all__ = ["TIME_SCALE", "HandleStoreConformance", "LeaseConformance", "PoolConformance", "ScriptedService"]


def __getattr__(name: str) -> object:
    if name in ("TIME_SCALE", "ScriptedService"):  # with the emulator, and so trustme: the others do without
        from resumekit.testing import service

        return getattr(service, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
