"""What does it cost to import resumekit, and what comes with it?

Each sample is a process of its own that does nothing else, in processor time from its very start.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

from benchmarks.harness import ROOT, Bench, run

ENVIRONMENTS = ["genai3"]
WEBSOCKETS = "websockets"
ADAPTER = "resumekit.adapters.websockets"
MODULES = {
    "Python alone": "sys",
    "asyncio": "asyncio",
    WEBSOCKETS: "websockets.asyncio.client",
    "resumekit": "resumekit",
    ADAPTER: ADAPTER,
    f"{ADAPTER}, and a session": f"{ADAPTER}, resumekit.drivers.driver, resumekit.plugins, json",
    "google.genai": "google.genai",
    "resumekit.adapters.genai": "resumekit.adapters.genai",
}


def measure(bench: Bench) -> None:
    """Import each in turn, round by round; the first round fills the caches of the file system."""
    chosen = {name: module for name, module in MODULES.items() if importlib.util.find_spec(module.partition(".")[0])}
    units = ("ms", "MB", "modules")
    samples: dict[str, list[list[float]]] = {name: [] for name in chosen}
    for number in range(1 + (3 if bench.quick else 51)):
        for name, module in chosen.items():
            taken = _process(module)
            if number:
                samples[name].append(taken)
    for place, (case, unit) in enumerate(zip(("import", "import: memory", "import: modules"), units, strict=True)):
        of_each = {name: [one[place] for one in taken] for name, taken in samples.items()}
        for name, taken in of_each.items():
            bench.add(case, name, taken, unit=unit, against=of_each, baselines=[WEBSOCKETS])
    for name, taken in samples.items():
        if name.startswith(ADAPTER):
            over = zip(taken, samples[WEBSOCKETS], strict=True)
            bench.add("import: over websockets", name, [one[0] - other[0] for one, other in over], unit="ms")


def _process(module: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD.format(module)], cwd=ROOT, env=_ENVIRONMENT, check=True, stdout=subprocess.PIPE
    )
    taken: list[float] = json.loads(done.stdout)
    return taken


_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Byte code is compiled once, as it is where a package is installed."""
_CHILD = """
import {}
import time
taken = time.process_time()
import json, resource, sys
print(json.dumps([taken * 1000, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000, len(sys.modules)]))
"""


if __name__ == "__main__":
    run(__doc__, measure)
