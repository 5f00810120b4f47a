"""What a session takes of memory: little while it is idle, and no more the longer it goes on."""

from __future__ import annotations

import gc
import sys
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from tests.core.bench import Bench, audio

_IDLE = 5_000
"""Bytes; it is 4,400 in CPython 3.11. One empty deque more would take 760."""
_SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType)


def reached(thing: Any) -> dict[int, Any]:
    """Return all that an object holds, save modules, classes and functions."""
    found: dict[int, Any] = {}
    todo = [thing]
    while todo:
        one = todo.pop()
        if id(one) not in found and not isinstance(one, _SHARED):
            found[id(one)] = one
            todo += gc.get_referents(one)
            # A Struct without a collector's header does not tell what it holds.
            todo += [getattr(one, name) for name in getattr(one, "__struct_fields__", ())]
    return found


def owned(bench: Bench) -> int:
    """Return the bytes that a session's engine does not share with another session's."""
    other = Bench()
    other.connect()
    shared = reached(other.engine)
    return sum(sys.getsizeof(thing) for key, thing in reached(bench.engine).items() if key not in shared)


def converse(bench: Bench, *, turns: range) -> None:
    for number in turns:
        bench.asks(f"question {number:03}")
        bench.sends(audio(0.1))
        bench.says(f"answer {number:03}")
        bench.completes()
        bench.update(f"handle {number:03}")
        assert bench.shown


def test_an_idle_session_takes_little() -> None:
    bench = Bench()
    bench.connect()
    assert owned(bench) < _IDLE


def test_a_session_does_not_grow_with_its_turns() -> None:
    bench = Bench()
    bench.connect()
    converse(bench, turns=range(150))  # more than `Policy.replay_turns`
    before = owned(bench)
    converse(bench, turns=range(150, 600))
    assert owned(bench) - before < 1000
