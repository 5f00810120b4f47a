"""Clients of the emulated service, and what the tests of both adapters ask of a session."""

from __future__ import annotations

import asyncio
import contextlib
import os

from resumekit.core.policy import Policy
from resumekit.emulator import LiveServer
from tests.drivers.fakes import tasks
from tests.proofs.virtual import Server, VirtualLoop

SCALE = 0.05
"""Real seconds for each second of the service; the policy is on the same scale."""
PATIENT = {
    "connect_timeout": 200.0,
    "setup_timeout": 200.0,
    "first_connect_deadline": 400.0,
    "ping_expecting": 100.0,
    "abort_expecting": 200.0,
    "ping_idle": 200.0,
    "abort_idle": 400.0,
    "progress_watchdog": 300.0,
    "frozen_after": 100.0,
    "suspect_patience": 200.0,
}
"""Time-outs that must not strike by accident on a slow machine; a test that is about one sets it."""
MODEL = "gemini-2.5-flash-live"
CANARY = "CANARY-HANDLE-123456"


def server(profile="developer", **settings):
    """Return the emulator, over sockets; in virtual time without."""
    is_virtual = isinstance(asyncio.get_running_loop(), VirtualLoop)
    made_by = Server if is_virtual else LiveServer
    return made_by(**{"profile": profile, "time_scale": SCALE, "connection_age": None, **settings})


def policy(**fields):
    return Policy(**{**PATIENT, **fields}).scaled(SCALE)


def open_files():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- only counted


async def settled(condition):
    """Wait until it is so; says whether it came to be."""
    for _ in range(12_000):
        if condition():
            return True
        await asyncio.sleep(0.005)
    return False


@contextlib.asynccontextmanager
async def nothing_is_left():
    """What runs inside leaves no more tasks and open files than there were."""
    before = len(tasks()), open_files()
    yield
    await settled(lambda: len(tasks()) <= before[0] and open_files() <= before[1])
    assert len(tasks()) <= before[0], tasks()
    assert open_files() <= before[1]
