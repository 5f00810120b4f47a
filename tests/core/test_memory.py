"""What a session takes of memory: little while it is idle, and no more the longer it goes on."""

from __future__ import annotations

import sys

from resumekit.core.engine import Engine
from tests.core.bench import Bench, audio
from tests.soak.memory import reached

_IDLE = 5_000
"""Bytes; it is 4,400 in CPython 3.11. One empty deque more would take 760."""


def owned(bench: Bench) -> int:
    """Return the bytes that a session's engine does not share with another session's."""
    other = Bench(make=Engine)
    other.connect()
    shared = reached(other.engine)
    return sum(sys.getsizeof(thing) for key, thing in reached(bench.engine).items() if key not in shared)


def use_a_tool(bench: Bench, *, words: int, turns: range) -> None:
    for number in turns:
        bench.asks(f"question {number:03}")
        bench.calls((f"call {number:04}", "look", {}))
        assert bench.shown
        bench.responds(f"call {number:04}", "look", {})
        bench.says("word " * words)
        bench.completes()
        bench.update(f"handle {number:03}")
        assert bench.shown


def converse(bench: Bench, *, turns: range) -> None:
    for number in turns:
        bench.asks(f"question {number:03}")
        bench.sends(audio(0.1))
        bench.says(f"answer {number:03}")
        bench.completes()
        bench.update(f"handle {number:03}")
        assert bench.shown


def test_an_idle_session_takes_little() -> None:
    bench = Bench(make=Engine)
    bench.connect()
    assert owned(bench) < _IDLE


def test_a_session_does_not_grow_with_its_turns() -> None:
    bench = Bench(make=Engine)
    bench.connect()
    converse(bench, turns=range(150))  # more than `Policy.replay_turns`
    before = owned(bench)
    converse(bench, turns=range(150, 600))
    assert owned(bench) - before < 1000


def test_a_session_remembers_its_calls_but_not_what_was_said_with_them() -> None:
    talkative, quiet = Bench(make=Engine), Bench(make=Engine)
    grown = []
    for bench, words in ((talkative, 100), (quiet, 1)):
        bench.connect()
        use_a_tool(bench, words=words, turns=range(150))
        before = owned(bench)
        use_a_tool(bench, words=words, turns=range(150, 250))
        grown.append(owned(bench) - before)
    assert abs(grown[0] - grown[1]) < 1000
    assert 0 < grown[1] < 100 * 2000
