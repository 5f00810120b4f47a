"""The tape against a plain one, in which each frame is numbered, counted and let go by itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumekit.core.tape import Tape, nanoseconds
from resumekit.wire import ClientKind, ClientMessage
from tests.core.plain_tape import PlainTape

LENGTHS = (0.04, 0.02, 0.0, 0.25, 0.013)


def frame(seconds: float) -> ClientMessage:
    return ClientMessage(ClientKind.AUDIO, "", 0, media_seconds=seconds)


class Twins:
    """A tape, and a plain one."""

    def __init__(self, room: int) -> None:
        self.tape, self.plain = Tape(room), PlainTape(room)
        self.seq = self.index = 1

    def ask(self, what: str, *arguments: int) -> None:
        assert getattr(self.tape, what)(*arguments) == getattr(self.plain, what)(*arguments)

    def append(self, body: ClientMessage) -> None:
        self.tape.append(self.seq, self.index, body)
        self.plain.append(self.seq, self.index, body)
        self.seq += 1
        self.index += 1
        assert len(self.tape) == len(self.plain), "bounded with each frame, not later"

    def _stream(self, number: int) -> None:
        body = frame(LENGTHS[number % 3 % 2])  # mostly alike
        for _ in range(number):
            self.append(body)

    def _mix(self, number: int) -> None:
        for place in range(number):
            self.append(frame(LENGTHS[place * number % len(LENGTHS)]))

    def _skip_seq(self, number: int) -> None:
        self.tape.pause()
        self.seq += number

    def _skip_index(self, number: int) -> None:
        self.tape.pause()
        self.index += number

    def _room(self, number: int) -> None:
        self.tape.pause()
        self.tape.room = self.plain.room = number * 10_000_000

    def _take(self, number: int) -> None:
        self.ask("take", max(self.index - number, 0))

    def _seq_at(self, number: int) -> None:
        self.ask("seq_at", self.index - number)

    def _lacks(self, number: int) -> None:
        self.ask("lacks", self.index - 2 * number, self.index - number)

    def _forget(self, number: int) -> None:
        self.ask("forget_gone", self.index - number)

    def finish(self) -> None:
        for what in ("__len__", "forget_gone", "take", "take", "__len__"):
            self.ask(what)


KINDS = "stream stream stream mix skip_seq skip_index room take seq_at lacks forget".split()
ROOMS = (0, 100_000_000, 800_000_000)


def run(steps: list[tuple[str, int]], room: int) -> None:
    twins = Twins(room)
    for what, number in steps:
        getattr(twins, f"_{what}")(number)
    twins.finish()


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 40)), max_size=30), st.sampled_from(ROOMS))
def test_a_tape_tells_what_a_plain_one_would(steps: list[tuple[str, int]], room: int) -> None:
    run(steps, room)


def test_what_is_forgotten_up_to_an_index_is_told_once() -> None:
    tape, body = Tape(400_000_000), frame(0.04)
    for index in range(1, 210):
        tape.append(index, index, body)
    told: list[Any] = [tape.forget_gone(until) for until in (1, 63, 64, 130)]
    assert told == [0.0, 0.0, 64 * 0.04, 64 * 0.04]
    assert tape.forget_gone() == (209 - 10 - 128) * 0.04
    assert tape.forget_gone() == 0.0


def test_frames_that_are_alike_go_by_themselves() -> None:
    """That is the whole of the fast path: if it is not taken, nothing else would show it."""
    tape, body = Tape(400_000_000), frame(0.04)
    for index in range(1, 100):
        tape.append(index, index, body)
    assert [run.end for run in tape._runs] == [2], "no other was counted yet"
    assert not tape._gone
    assert len(tape) == 10


# ---------------------------------------------------------------------- planted bugs


def _not_reckoned_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tape, "pause", lambda self: setattr(self, "_alike", -1.0))


def _lengths_not_compared(patch: pytest.MonkeyPatch) -> None:
    append = Tape.append

    def any_length(self, seq, index, body):
        if self._alike >= 0:
            self._keep(body)
            self._newest = index
        else:
            append(self, seq, index, body)

    patch.setattr(Tape, "append", any_length)


def _one_too_many(patch: pytest.MonkeyPatch) -> None:
    append_other = Tape._append_other

    def append(self, seq, index, body):
        self.room += nanoseconds(body.media_seconds)
        append_other(self, seq, index, body)
        self.room -= nanoseconds(body.media_seconds)

    patch.setattr(Tape, "_append_other", append)


def _not_told(patch: pytest.MonkeyPatch) -> None:
    let_go = Tape._let_go

    def forget(self, frames, length):
        let_go(self, frames, length)
        self._gone.clear()

    patch.setattr(Tape, "_let_go", forget)


def _glued(number: int) -> Callable[[pytest.MonkeyPatch], None]:
    append_other = Tape._append_other

    def append(self, *place_and_body):
        *place, body = place_and_body
        self.pause()
        if self._runs:
            last = self._runs[-1]
            place[number] = (last.end + last.ahead, last.end)[number]
        append_other(self, *place, body)

    return lambda patch: patch.setattr(Tape, "_append_other", append)


def _kept_though_taken(patch: pytest.MonkeyPatch) -> None:
    take = Tape.take

    def take_a_copy(self, before=sys.maxsize):
        bodies = self._bodies.copy()
        taken = take(self, before)
        self._bodies = bodies
        return taken

    patch.setattr(Tape, "take", take_a_copy)


def _grown_only(patch: pytest.MonkeyPatch) -> None:
    append_other = Tape._append_other

    def append(self, seq, index, body):
        most = self._bodies.maxlen
        self.room = max(self.room, most * nanoseconds(body.media_seconds) if most else 0)
        append_other(self, seq, index, body)

    patch.setattr(Tape, "_append_other", append)


PLANTS = {
    "not reckoned up": _not_reckoned_up,
    "lengths not compared": _lengths_not_compared,
    "one too many": _one_too_many,
    "not told": _not_told,
    "positions glued": _glued(0),
    "indices glued": _glued(1),
    "kept though taken": _kept_though_taken,
    "room never shrinks": _grown_only,
}


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_a_planted_bug_is_found(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, IndexError)):
        _look_for_differences()


def _look_for_differences() -> None:
    for seed in range(300):
        random = Random(seed)
        run([(random.choice(KINDS), random.randrange(41)) for _ in range(15)], random.choice(ROOMS))


def test_without_one_there_is_none() -> None:
    _look_for_differences()
