"""Every promise has a guard in the code; here each is taken out, to see that its test fails: `make guards`.

`guards.toml` has the defects: a file, a text that stands there once, and what takes its place. In a copy of the tree the
named test has to pass without the defect, and with it to fail as expected: not by an import error, nor anywhere else.
`python -m tests.proofs.guards [NAME ...] [--jobs N]` runs those whose promise or words contain one of the names.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from tests.proofs import records

__all__ = ["Guard", "all_guards", "main", "outcome", "plant", "run"]

DATA = Path(__file__).with_name("guards.toml")
TREE = (
    "resumekit",
    "tests",
    "benchmarks",
    "docs",
    "examples",
    "plugins",
    "pyproject.toml",
    "README.md",
    "Makefile",
    ".ci",
)
"""What tests read."""
HERE = "genai3"
"""The environment of all but a few; whichever it is, in which the campaign runs, is taken for it."""
PATIENCE = 1500
"""Seconds for one test, a slow machine included."""
SETTINGS = {"PYTHONDONTWRITEBYTECODE": "1", "CI": "1", "COLUMNS": "200", "RESUMEKIT_SCHEDULES": "2000"}
"""A test marked `proof` explores so many schedules."""
_REPLAY = re.compile(r"replay (\w+) (\d+:\d+)")
_FAILED = 1
"""The exit code of pytest, and of the replay, where a test failed; everything else is no failure of a test."""


@dataclass(frozen=True, kw_only=True)
class Guard:
    """One defect, and what has to notice it."""

    promise: str
    """Of `tests.proofs.promises`."""
    what: str
    """What the code then does, in words."""
    file: str
    old: str
    """Stands in the file once."""
    new: str
    test: str
    """Arguments of pytest; or `replay PROFILE FROM:TO`, schedules of which one has to fail; or `run MODULE`."""
    fails: str
    """A regular expression; found in what the failing test says."""
    environment: str = HERE
    quick: bool = False
    """Takes a few seconds at the most, so that it may be run by `make test`."""

    @property
    def digest(self) -> str:
        """Return what changes with the defect, its test and what is expected of it."""
        told = (self.file, self.old, self.new, self.test, self.fails)
        return hashlib.blake2b(repr(told).encode(), digest_size=6).hexdigest()

    def problem(self, root: Path = records.ROOT) -> str:
        """Return why the defect cannot be planted; empty if it can."""
        path = root / self.file
        found = path.read_text("utf-8").count(self.old) if path.exists() else 0
        return "" if found == 1 and self.old != self.new else f"{self.file} has its text {found} times"


Result = Literal["seen failing", "does not match", "fails without the defect", "NOT NOTICED", "fails in another way"]


@dataclass(frozen=True)
class Outcome:
    """What became of a guard."""

    result: Result
    how: str
    """What the test said."""
    seconds: float = 0.0


def all_guards() -> list[Guard]:
    """Read the file."""
    return [Guard(**entry) for entry in tomllib.loads(DATA.read_text("utf-8"))["guard"]]


def plant(guard: Guard, root: Path) -> None:
    """Put the defect into a copy of the tree.

    Raises:
        ValueError: its text does not stand there once.
    """
    if problem := guard.problem(root):
        raise ValueError(problem)
    path = root / guard.file
    path.write_text(path.read_text("utf-8").replace(guard.old, guard.new), "utf-8")


def _copy(root: Path) -> Path:
    for name in TREE:
        source = records.ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, root / name, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache", ".hypothesis")
            )
        elif source.exists():
            shutil.copy2(source, root / name)
    return root


def _command(test: str) -> list[str]:
    replay = _REPLAY.fullmatch(test)
    if replay:
        return ["-m", "tests.core.replay", replay[1], replay[2], "--first"]
    if test.startswith("run "):
        return ["-m", *shlex.split(test)[1:]]
    options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly", "--no-header", "--tb=short", "--timeout=100"]
    return ["-m", "pytest", *options, *shlex.split(test)]


def run(test: str, environment: str, root: Path) -> tuple[int, str]:
    """Run a test in a copy of the tree; return its exit code, and what it said."""
    python = sys.executable if environment == HERE else records.ROOT / ".venv" / environment / "bin" / "python"
    try:
        done = subprocess.run(
            [str(python), *_command(test)],
            cwd=root,
            env={**os.environ, **SETTINGS, "PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return -1, str(error.stdout)
    return done.returncode, done.stdout


def outcome(guard: Guard, clean: Mapping[tuple[str, str], bool]) -> Outcome:
    """Plant a defect, and see what its test says; `clean` tells which tests pass without any."""
    if problem := guard.problem():
        return Outcome("does not match", problem)
    if not clean[guard.environment, guard.test]:
        return Outcome("fails without the defect", guard.test)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="guard-") as place:
        root = _copy(Path(place))
        plant(guard, root)
        code, told = run(guard.test, guard.environment, root)
    seconds = round(time.monotonic() - started, 1)
    if code == 0:
        return Outcome("NOT NOTICED", "", seconds)
    lines = [line.strip() for line in told.splitlines() if re.search(guard.fails, line)]
    if _REPLAY.fullmatch(guard.test):
        lines = [line for line in lines if ", e.g. [" in line]  # of which rule, and how
    if code != _FAILED or not lines:
        return Outcome("fails in another way", " / ".join(told.splitlines()[-8:])[-600:], seconds)
    return Outcome("seen failing", _shortened(lines[0]), seconds)


def _shortened(line: str, length: int = 160) -> str:
    line = re.sub(r"(/\S+)?/guard-\w+/", "", line)
    return line if len(line) <= length else f"{line[: length - 1]}…"


class _Clean(dict[tuple[str, str], bool]):
    """Which tests pass without a defect: asked when the first guard needs it, then known."""

    def __init__(self) -> None:
        super().__init__()
        self._locks: defaultdict[tuple[str, str], Lock] = defaultdict(Lock)

    def __missing__(self, test: tuple[str, str]) -> bool:
        with self._locks[test]:
            if test not in self:
                self[test] = _passes(*test)
        return self[test]


def _passes(environment: str, test: str) -> bool:
    with tempfile.TemporaryDirectory(prefix="guard-") as place:
        code, told = run(test, environment, _copy(Path(place)))
    if code != 0:
        print(f"without a defect: {test}\n{told[-2000:]}", flush=True)
    return code == 0


def campaign(
    guards: Iterable[Guard], jobs: int, save: Callable[[dict[str, Any]], object] = lambda _: None
) -> list[dict[str, Any]]:
    """Run guards, some at a time; return what became of each, which `save` is given one by one."""
    clean = _Clean()

    def take_out(guard: Guard) -> dict[str, Any]:
        one = outcome(guard, clean)
        entry = {name: it for name, it in asdict(guard).items() if name not in ("old", "new", "fails", "quick")}
        return entry | {"defect": guard.digest} | asdict(one)

    told: list[dict[str, Any]] = []
    with ThreadPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(take_out, guard) for guard in guards]):
            told.append(entry := done.result())
            save(entry)
            print(
                f"{entry['result']:13} {entry['promise']:8} {entry['what']}  [{entry['seconds']:.0f} s]\n"
                f"{'':22} {entry['how']}",
                flush=True,
            )
    return told


def main(arguments: Sequence[str] | None = None) -> int:
    """Be the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.guards", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="those whose promise is this one, or whose words have it; all of them")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--resume", action="store_true", help="without those that the last run has seen failing")
    parser.add_argument("--publish", action="store_true", help="keep the outcome in docs/project/proofs")
    chosen = parser.parse_args(arguments)
    names = chosen.names
    guards = [
        it
        for it in all_guards()
        if not names or any(name in (it.promise, it.file) or name in it.what for name in names)
    ]
    others = {it.environment for it in guards} - {HERE}
    absent = {name for name in others if not (records.ROOT / ".venv" / name).exists()}
    if absent:
        print(f"not here, so their guards are left out: {', '.join(sorted(absent))}")
    order = {guard.digest: place for place, guard in enumerate(all_guards())}
    before = records.load("guards", published=False).get("guards", []) if chosen.resume or names else []
    told = [it for it in before if it["result"] == "seen failing" and it.get("defect") in order]
    if chosen.resume:
        guards = [guard for guard in guards if guard.digest not in {it["defect"] for it in told}]

    def save(entry: dict[str, Any]) -> None:
        told[:] = [it for it in told if it["defect"] != entry["defect"]] + [entry]
        told.sort(key=lambda it: order[it["defect"]])
        records.save("guards", {"about": "python -m tests.proofs.guards", **records.stamp(), "guards": told})

    campaign([guard for guard in guards if guard.environment not in absent], chosen.jobs, save)
    good = sum(entry["result"] == "seen failing" for entry in told)
    print(f"{good} of {len(order)} guards were seen failing")
    if chosen.publish:
        records.save("guards", records.load("guards", published=False), publish=True)
    return any(entry["result"] != "seen failing" for entry in told) or bool(absent)


if __name__ == "__main__":
    sys.exit(main())
