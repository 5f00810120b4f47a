"""The guards of the promises: each can still be planted, and a few are, to see them noticed (`make guards` plants all)."""

from __future__ import annotations

import random
import re

import pytest

from tests.proofs import guards, records

GUARDS = guards.all_guards()
QUICK = [guard for guard in GUARDS if guard.quick]
FEW = 2
"""So many are planted: others with each change of the sources, the same as long as they are what they are."""


def test_every_defect_can_be_planted():
    assert [f"{guard.promise}: {guard.what}: {guard.problem()}" for guard in GUARDS if guard.problem()] == []


def test_every_guard_is_named_once():
    names = [(guard.promise, guard.what) for guard in GUARDS]
    assert len(names) == len(set(names))


def test_every_named_test_is_there():
    """A file that is gone, or a test that was renamed, would be found only by the campaign."""
    named = {argument for guard in GUARDS for argument in re.findall(r"tests/[\w./]+(?:::\w+)?", guard.test)}
    missing = []
    for argument in sorted(named):
        file, _, name = argument.partition("::")
        path = records.ROOT / file
        if not path.exists() or (
            name and not re.search(rf"^(async )?(def|class) {name}\(", path.read_text("utf-8"), re.MULTILINE)
        ):
            missing.append(argument)
    assert missing == []


@pytest.mark.parametrize("number", range(FEW))
def test_a_guard_that_is_taken_out_is_missed(number):
    guard = random.Random(records.tree()).sample(QUICK, FEW)[number]
    (told,) = guards.campaign([guard], jobs=1)
    assert told["result"] == "seen failing", (guard.promise, guard.what, told["how"])


# --- the campaign itself

GOOD = guards.Guard(
    promise="G1", what="-", file="tests/proofs/nothing.txt", old="two", new="three", test="tests/nothing.py", fails="-"
)


@pytest.mark.parametrize(
    ("there", "matches"), [("one two", True), ("one", False), ("two two", False)], ids=["once", "never", "twice"]
)
def test_a_defect_whose_text_does_not_stand_there_once_is_an_error(tmp_path, there, matches):
    path = tmp_path / GOOD.file
    path.parent.mkdir(parents=True)
    path.write_text(there, "utf-8")

    if matches:
        guards.plant(GOOD, tmp_path)
        assert path.read_text("utf-8") == "one three"
    else:
        with pytest.raises(ValueError, match="times"):
            guards.plant(GOOD, tmp_path)


@pytest.mark.parametrize(
    ("code", "told", "clean", "result"),
    [
        (1, "FAILED\nE   assert 1 <= 0", True, "seen failing"),
        (1, "E   ImportError: no", True, "fails in another way"),
        (2, "E   assert 1 <= 0", True, "fails in another way"),
        (0, "1 passed", True, "NOT NOTICED"),
        (1, "E   assert 1 <= 0", False, "fails without the defect"),
    ],
)
def test_what_counts_as_noticed(monkeypatch, code, told, clean, result):
    guard = guards.Guard(
        promise="G1", what="-", file="Makefile", old=".DEFAULT_GOAL", new="x", test="t", fails="^E +assert"
    )
    monkeypatch.setattr(guards, "run", lambda *_: (code, told))

    assert guards.outcome(guard, {("genai3", "t"): clean}).result == result


def test_what_was_seen_failing_is_kept_and_not_run_again(monkeypatch, tmp_path):
    guard = guards.Guard(
        promise="G1", what="-", file="Makefile", old=".DEFAULT_GOAL", new="x", test="t", fails="assert"
    )
    runs = []

    def run(test, environment, root):
        planted = ".DEFAULT_GOAL" not in (root / "Makefile").read_text("utf-8")
        runs.append(planted)
        return (1, "E   assert 1 <= 0") if planted else (0, "1 passed")

    monkeypatch.setattr(records, "OUT", tmp_path)
    monkeypatch.setattr(guards, "all_guards", lambda: [guard])
    monkeypatch.setattr(guards, "run", run)
    for _ in range(2):
        assert guards.main(["--jobs", "1", "--resume"]) == 0
        (told,) = records.load("guards", published=False)["guards"]
        assert (told["promise"], told["result"], told["how"]) == ("G1", "seen failing", "E   assert 1 <= 0")
    assert runs == [False, True]

    monkeypatch.setattr(guards, "run", lambda *_: (0, "1 passed"))
    assert guards.main(["--jobs", "1"]) == 1
    assert records.load("guards", published=False)["guards"][0]["result"] == "NOT NOTICED"
