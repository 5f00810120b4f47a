"""``python -m resumekit.emulator``: the process that `EmulatorProcess` starts. For people: ``resumekit emulate``."""

from __future__ import annotations

import asyncio
import sys

from resumekit.emulator.control import control

if __name__ == "__main__":
    sys.exit(asyncio.run(control()))
