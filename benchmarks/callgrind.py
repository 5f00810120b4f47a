"""Counts instructions, which no neighbour disturbs: runs loops under callgrind, and takes one length off another.

A module that is counted has a function `loops()`, which returns loops by name; a loop takes how many frames it is to
work off. `count("benchmarks.NAME")` starts valgrind with this file as its program. Instrumentation begins after the
imports, so that they cost seconds, not minutes; what a loop costs beside its frames cancels out, as it stands in both.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import mmap
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from benchmarks.harness import ROOT

__all__ = ["LENGTHS", "Loop", "available", "count", "over"]

Loop: TypeAlias = Callable[[int], object]

LENGTHS = _FEW, _MANY = 20, 60
"""How many frames a loop is asked for."""
_WARM = 5
"""Runs before it counts: byte code has adapted itself, caches and free lists are full."""
_REQUEST = bytes.fromhex(
    "4889f8 4889f2"  # mov rax, rdi (the request); mov rdx, rsi (the answer where there is no valgrind)
    "48c1c703 48c1c70d 48c1c73d 48c1c733 4887db"  # what valgrind looks for; without it, nothing happens
    "4889d0 c3"  # mov rax, rdx; ret
)
_BASE = ord("C") << 24 | ord("T") << 16
_ZERO, _DUMP, _START = _BASE + 1, _BASE + 3, _BASE + 4


def available() -> str | None:
    """Return why instructions cannot be counted here, None if they can."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return "instructions are counted on x86-64 only"
    return None if shutil.which("valgrind") else "valgrind is not installed (Debian: apt install valgrind)"


def over(decode: Callable[[bytes], object], frames: Sequence[bytes]) -> Loop:
    """Return a loop over frames."""

    def loop(count: int) -> None:
        for frame in frames[:count]:
            decode(frame)

    return loop


def count(module: str) -> dict[str, float]:
    """Return the instructions that one frame takes each loop of a module.

    Raises:
        RuntimeError: It cannot be done here, or the module failed.
    """
    if problem := available():
        raise RuntimeError(problem)
    with tempfile.TemporaryDirectory() as directory:
        command = ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", "--combine-dumps=yes"]
        command += [f"--callgrind-out-file={directory}/out", "--log-fd=2"]
        command += [sys.executable, "-m", "benchmarks.callgrind", module]
        # The fewer variables, the more alike is the memory of two runs.
        variables = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
        variables |= {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
        done = subprocess.run(command, cwd=ROOT, env=variables, check=False)
        if done.returncode:
            raise RuntimeError(f"{module} failed under valgrind with {done.returncode}")
        return _per_frame((Path(directory) / "out").read_text("utf-8"))


def _per_frame(dumps: str) -> dict[str, float]:
    totals: dict[str, float] = {}
    name = ""
    for line in dumps.splitlines():
        if line.startswith("desc: Trigger: Client Request: "):
            name = line.removeprefix("desc: Trigger: Client Request: ")
        elif line.startswith("totals:") and name:
            totals[name] = float(line.split()[1])
            name = ""
    return {
        loop: (totals[f"{loop}/{_MANY}"] - totals[f"{loop}/{_FEW}"]) / (_MANY - _FEW)
        for loop in dict.fromkeys(key.rpartition("/")[0] for key in totals)
    }


def _make_request() -> Callable[[int, int], None]:
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(_REQUEST)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    function = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64)(address)
    words = (ctypes.c_uint64 * 6)()
    place = ctypes.addressof(words)

    def request(code: int, argument: int = 0) -> None:
        words[0], words[1] = code, argument
        function(place, 0)

    request.memory = memory  # type: ignore[attr-defined] # pyright: ignore[reportFunctionMemberAccess] -- keeps it
    return request


def _count_here(loops: Mapping[str, Loop]) -> None:
    request = _make_request()
    gc.collect()
    gc.disable()  # when it runs depends on all that was made before
    for loop in loops.values():
        for _ in range(_WARM):
            loop(_MANY)
    request(_START, 0)
    for name, loop in loops.items():
        for number in (_MANY, _FEW, _MANY):  # the first to have its code translated, and what it leaves behind alike
            label = ctypes.create_string_buffer(f"{name}/{number}".encode())
            request(_ZERO, 0)
            loop(number)
            request(_DUMP, ctypes.addressof(label))


if __name__ == "__main__":
    _count_here(importlib.import_module(sys.argv[1]).loops())
    os._exit(0)  # what a module left open, such as sessions, is not taken down: that takes longer than to count
