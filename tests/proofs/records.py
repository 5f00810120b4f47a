"""What campaigns found, as it is kept: JSON in `docs/project/proofs` (published) or `out/proofs` (of this clone)."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["OUT", "PUBLISHED", "ROOT", "load", "save", "stamp", "tree"]

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "docs" / "project" / "proofs"
OUT = ROOT / "out" / "proofs"


def tree() -> str:
    """Return a digest of the package's sources: figures belong to them."""
    told = hashlib.blake2b(digest_size=6)
    for path in sorted((ROOT / "resumekit").rglob("*.py")):
        told.update(f"{path.relative_to(ROOT).as_posix()}\n".encode() + path.read_bytes())
    return told.hexdigest()


def stamp() -> dict[str, Any]:
    """Return when, on what, and of which sources something is measured."""
    load = round(os.getloadavg()[0], 1)
    return {
        "measured": f"{datetime.now(UTC):%Y-%m-%d}",
        "sources": tree(),
        "python": platform.python_version(),
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "load": load},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def save(name: str, record: dict[str, Any], *, publish: bool = False) -> Path:
    """Write a record; return where."""
    path = (PUBLISHED if publish else OUT) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return path


def load(name: str, *, published: bool = True) -> dict[str, Any]:
    """Read a record; empty if there is none."""
    path = (PUBLISHED if published else OUT) / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {}
