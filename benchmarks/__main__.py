"""Ask all questions, or those that are named, each in its environments: `python -m benchmarks [--quick] [NAME...]`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness import RESULTS, ROOT, interpreter, questions

_LONGEST = 20 * 60
"""Seconds after which a question is given up, so that the others are asked."""


def main() -> int:
    """Return how many failed."""
    everything = questions()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(everything))
    parser.add_argument("--quick", action="store_true", help="the short form: under 5 minutes on two cores")
    parser.add_argument("--to", type=Path, metavar="DIRECTORY", help="of the results")
    arguments = parser.parse_args()
    directory: Path = arguments.to or (ROOT / "out" / "benchmarks" if arguments.quick else RESULTS)
    unknown = {*arguments.names} - {*everything}
    if unknown:
        parser.error(f"no question {', '.join(sorted(unknown))}; there are {', '.join(everything)}")
    failed: list[str] = []
    for name in arguments.names or everything:
        for environment in everything[name]:
            print(f"\n==> {name} in {environment}", flush=True)
            start = time.monotonic()
            try:
                python = interpreter(environment)
            except FileNotFoundError as missing:
                print(missing)
                failed.append(f"{name} in {environment}")
                continue
            command = [str(python), "-m", f"benchmarks.{name}", "--json", str(directory / f"{name}.json")]
            command += ["--quick"] if arguments.quick else []
            variables = {**os.environ, "PYTHONPATH": str(ROOT)}
            try:
                subprocess.run(command, cwd=ROOT, env=variables, check=True, timeout=_LONGEST)
            except subprocess.SubprocessError as error:
                print(error)
                failed.append(f"{name} in {environment}")
            print(f"<== {name} in {environment}: {time.monotonic() - start:.0f} s", flush=True)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
