"""``python -m resumekit.emulator``: the process that `EmulatorProcess` starts. For people: ``resumekit emulate``."""

from __future__ import annotations

import asyncio
import signal
import sys

from resumekit.emulator.control import control

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    sys.exit(asyncio.run(control()))
