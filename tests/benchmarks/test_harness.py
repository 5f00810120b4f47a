from __future__ import annotations

import json
import platform
import sys
import tomllib

import pytest

from benchmarks import harness

ENVIRONMENTS = tomllib.loads((harness.ROOT / ".ci" / "environments.toml").read_text("utf-8"))


def samplers(**samples):
    """Return contenders that measured these."""
    return {name: iter(values).__next__ for name, values in samples.items()}


def test_a_ratio_is_the_median_of_the_ratios_round_by_round():
    bench = harness.Bench()
    # The machine was disturbed in the second and third round, and both alike.
    bench.compare("case", samplers(one=[1, 8, 9], other=[2, 16, 18]), unit="us", baselines=["one"], rounds=3)
    one, other = bench.figures
    assert (one.median, other.median) == (8, 16)
    assert other.ratios == {"one": (2, 2, 2)}
    assert one.ratios == {}


def test_the_ratio_is_not_that_of_the_medians():
    bench = harness.Bench()
    bench.compare("case", samplers(one=[1, 2, 30], other=[1, 20, 3]), unit="us", baselines=["one"], rounds=3)
    assert bench.figures[1].ratios["one"][1] == 1
    assert bench.figures[1].median / bench.figures[0].median == 1.5


def test_each_round_runs_all_contenders_once_and_not_always_in_the_same_order():
    order = []
    contenders = {name: lambda name=name: order.append(name) or 1.0 for name in "abc"}
    harness.Bench().compare("case", contenders, unit="us", rounds=10)
    rounds = [tuple(order[i : i + 3]) for i in range(0, 30, 3)]
    assert all(sorted(it) == ["a", "b", "c"] for it in rounds)
    assert len({*rounds}) > 1


def test_a_contender_is_timed_for_each_item():
    now = 0.0

    def work():
        nonlocal now
        now += 0.02

    bench = harness.Bench(quick=True)
    (figure,) = bench.timed("case", {"one": work}, items=100, clock=lambda: now)
    assert figure.median == pytest.approx(200)  # microseconds


def test_only_keeps_the_baselines_of_what_it_keeps():
    bench = harness.Bench(only=["other"])
    bench.compare("case", samplers(one=[1], other=[2], third=[3]), unit="us", baselines=["one"], rounds=1)
    bench.compare("case", samplers(one=[1], third=[3]), unit="us", baselines=["one"], rounds=1)
    assert [figure.contender for figure in bench.figures] == ["one", "other"]


def test_results_of_another_environment_stay(tmp_path):
    path = tmp_path / "some.json"
    harness.merge(path, "some", "What?", "old", {"figures": [1]})
    harness.merge(path, "some", "What?", "new", {"figures": [2]})
    harness.merge(path, "some", "What?", "old", {"figures": [3]})
    document = json.loads(path.read_text("utf-8"))
    assert document == {
        "question": "some",
        "about": "What?",
        "runs": {"new": {"figures": [2]}, "old": {"figures": [3]}},
    }


def test_a_record_says_what_was_measured_on_and_nothing_of_whose_machine_it_is():
    bench = harness.Bench()
    bench.add("case", "one", [1.0, 2.0, 3.0], unit="us")
    text = json.dumps(harness.record(bench))
    assert platform.python_version() in text
    assert '"median": 2.0' in text
    for private in (platform.node(), str(harness.ROOT), sys.prefix, sys.executable):
        assert private not in text


def test_a_coroutine_that_waits_cannot_be_run_without_a_loop():
    class Pause:
        def __await__(self):
            yield

    async def waits():
        await Pause()

    async def answers():
        return 7

    assert harness.finish(answers()) == 7
    with pytest.raises(RuntimeError, match="it waits"):
        harness.finish(waits())


def test_a_child_answers_with_its_last_line():
    assert harness.child("json.tool", "--compact", str(harness.ROOT / "benchmarks" / "gate.json"))["instructions"]
    with pytest.raises(RuntimeError, match=r"failed with \d"):
        harness.child("json.tool", "no such file")


def test_every_question_is_asked_in_environments_that_there_are():
    questions = harness.questions()
    assert {"decode", "end_to_end", "cold", "instructions"} <= {*questions}
    for environments in questions.values():
        assert {*environments} <= {*ENVIRONMENTS}
