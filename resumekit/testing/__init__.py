"""What tests of applications and plugins need: services to talk to, and classes of tests that a plugin subclasses.

`ServerThread` is the emulated Live API for tests of any application, `Faults` what shall go wrong in it; in pytest they are
the fixtures `live_server` and `fault_script`. `ScriptedService` is the same for tests in an event loop, with sessions to it,
in which a second takes `TIME_SCALE` seconds. `HandleStoreConformance` and `LeaseConformance` are what every handle store has
to pass, `PoolConformance` every backend of pools.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resumekit.testing.pool import PoolConformance
from resumekit.testing.stores import HandleStoreConformance, LeaseConformance

if TYPE_CHECKING:
    from resumekit.testing.faults import Faults
    from resumekit.testing.service import TIME_SCALE, ScriptedService
    from resumekit.testing.thread import ServerThread

__all__ = [
    "TIME_SCALE",
    "Faults",
    "HandleStoreConformance",
    "LeaseConformance",
    "PoolConformance",
    "ScriptedService",
    "ServerThread",
]

_WITH_THE_EMULATOR = {
    "TIME_SCALE": "service",
    "ScriptedService": "service",
    "ServerThread": "thread",
    "Faults": "faults",
}
"""With the emulator, and so trustme: the others do without."""


def __getattr__(name: str) -> object:
    if name in _WITH_THE_EMULATOR:
        from importlib import import_module

        return getattr(import_module(f"resumekit.testing.{_WITH_THE_EMULATOR[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
