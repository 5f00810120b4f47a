"""Digests of all that an engine puts out in seeded schedules, to be compared between processes.

`python -m tests.core.digest COUNT` prints a line for each of so many schedules: profile, seed, digest.
"""

from __future__ import annotations

import hashlib
import sys

from resumekit.core import actions
from tests.core.schedules import PROFILES, run
from tests.core.simulation import World

__all__ = ["digest", "schedules"]


def schedules(count: int) -> list[tuple[str, int]]:
    """Return profile and seed of so many schedules, of all profiles."""
    return [(PROFILES[number % len(PROFILES)], number // len(PROFILES)) for number in range(count)]


def digest(world: World) -> str:
    """Return a digest of each action, events and frames included, of each frame that the app got, and of their times."""
    told = hashlib.blake2b(digest_size=16)
    for when, kind, what in world.trace:
        if kind not in {"do", "app"}:
            continue
        told.update(f"{when!r} {kind} {what!r}\n".encode())
        if isinstance(what, actions.SaveHandle | actions.PoisonHandle):  # the repr of a handle is a digest
            told.update(what.record.handle.reveal().encode())
    return told.hexdigest()


if __name__ == "__main__":
    for profile, seed in schedules(int(sys.argv[1])):
        print(profile, seed, digest(run(seed, profile)))
