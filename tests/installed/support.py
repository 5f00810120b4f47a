"""Clean environments without a network: wheels come from the hatchling of `.venv/build`, and what they depend on is taken
from the environment of the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

__all__ = ["BUILD", "CAN_BUILD", "ROOT", "clean_environment", "make_environment", "needed", "run", "wheel_of"]

ROOT = Path(__file__).parents[2]
BUILD = Path(sys.prefix).parent / "build"
"""Made by .ci/env.py beside this environment."""
CAN_BUILD = pytest.mark.skipif(not (BUILD / "bin" / "hatchling").exists(), reason="made by `make setup`")


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def wheel_of(project, folder):
    run(BUILD / "bin" / "hatchling", "build", "-t", "wheel", "-d", folder, cwd=project)
    return max(folder.glob("*.whl"), key=lambda path: path.stat().st_mtime_ns)


def make_environment(folder, requirements):
    """Make an environment of what these need, and of nothing else; return its Python."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    for name in sorted({name for name, _ in needed(requirements)}):
        copy(name, site)
    return python


def needed(requirements, extra="", seen=frozenset()):
    """Return the distributions that these need, and what those need in turn; all of them are installed here."""
    found = set(seen)
    for one in map(Requirement, requirements):
        if one.marker is None or one.marker.evaluate({"extra": extra}):
            for part in ("", *one.extras):
                if (one.name, part) not in found:
                    found |= needed(distribution(one.name).requires or [], part, found | {(one.name, part)})
    return found


def copy(name, site):
    """Copy an installed distribution, as its RECORD lists it."""
    found = distribution(name)
    for file in found.files:
        if ".." not in file.parts and file.suffix != ".pyc" and not (site / file).exists():
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(found.locate_file(file), site / file)
            except OSError:  # another file system
                shutil.copy(found.locate_file(file), site / file)


def clean_environment(*more):
    ours = ("PYTHON", "RESUMEKIT", *more)
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
