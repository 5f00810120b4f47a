"""A failing schedule is replayed by one command, and shrunk to what it fails by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from resumekit.core.conversation import Conversation
from resumekit.trace import replay as trace_replay
from tests import traces
from tests.core.model_state import Violation
from tests.core.replay import Schedule, main, shrink
from tests.core.schedules import run


@pytest.fixture
def a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """An update without a handle makes the engine forget the one that it has."""
    receive_update = Conversation._receive_update

    def forget(self, link, update, now):
        if not update.resumable:
            self.point.clear()
        return receive_update(self, link, update, now)

    monkeypatch.setattr(Conversation, "_receive_update", forget)


def failing(profile: str = "default") -> Schedule:
    """Return the first schedule that finds the bug."""
    return next(
        schedule for seed in range(300) if (schedule := Schedule(profile=profile, seed=seed)).failure() is not None
    )


@pytest.mark.usefixtures("a_bug")
def test_a_failing_schedule_is_shrunk_until_no_step_can_be_left_out() -> None:
    """What is left breaks the same rule, and would hold without any one of its steps."""
    whole = failing()
    least = shrink(whole)
    assert least.only is not None
    assert len(least.only) < 12
    assert least.failure().rule == whole.failure().rule
    for position in least.only:
        shorter = replace(least, only=tuple(other for other in least.only if other != position))
        error = shorter.failure()
        assert error is None or error.rule != whole.failure().rule


@pytest.mark.usefixtures("a_bug")
def test_the_command_that_a_failure_names_replays_it_minimally(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The one line in the note of a failing test, and the one that replays what is left of the schedule."""
    monkeypatch.setattr(traces, "FOLDER", tmp_path)
    schedule = failing()
    with pytest.raises(Violation) as failure:
        run(schedule.seed, schedule.profile)
    note = failure.value.__notes__[0].splitlines()[0]
    assert note == f"replay: python -m tests.core.replay default {schedule.seed}"

    assert main(note.split()[4:]) == 1
    first = capsys.readouterr().out
    minimal, trace = (line.partition(": ")[2] for line in first.splitlines()[-2:])
    assert "--only" in minimal
    assert main(minimal.split()[3:]) == 1
    assert capsys.readouterr().out == first
    assert trace_replay(trace).same


def test_a_schedule_that_holds_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tools", "7", "--steps", "10"]) == 0
    assert capsys.readouterr().out == "python -m tests.core.replay tools 7 --steps 10: every rule holds\n"


@pytest.mark.usefixtures("a_bug")
def test_the_failures_of_many_schedules_are_counted_by_rule(capsys: pytest.CaptureFixture[str]) -> None:
    seed = failing().seed
    assert main(["default", f"{seed}:{seed + 1}"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "default: 1 schedules, 1 of which break a rule"
    assert f"1, e.g. [{seed}]: " in told[1]


@pytest.mark.usefixtures("a_bug")
def test_the_first_schedule_that_fails_is_enough_if_one_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    seed = failing().seed
    assert main(["default", f"{seed}:{seed + 50}", "--first"]) == 1
    assert capsys.readouterr().out.startswith("default: 1 schedules, 1 of which")
