from __future__ import annotations

import json
import re

import pytest

from benchmarks import gate, harness

VERSIONS = {"python": "CPython 3.11.7", "msgspec": "0.22.0"}


def judged(recorded, counted, versions=VERSIONS):
    verdicts = gate.judge(recorded, counted, its_versions=VERSIONS, versions=versions)
    return {verdict.path: verdict.fails for verdict in verdicts}


def test_a_path_may_cost_five_percent_more_and_no_more():
    recorded = {"a": 1000, "b": 1000, "c": 1000}
    assert judged(recorded, {"a": 1050, "b": 1051, "c": 500}) == {"a": False, "b": True, "c": False}


@pytest.mark.parametrize("name", ["python", "msgspec"])
def test_with_another_python_or_package_it_may_cost_a_quarter_more(name):
    assert judged({"a": 1000, "b": 1000}, {"a": 1250, "b": 1251}, {**VERSIONS, name: "0"}) == {"a": False, "b": True}


def test_a_path_that_is_not_on_record_or_not_there_fails():
    assert judged({"a": 1000}, {"b": 1000}) == {"a": True, "b": True}


def test_the_record_was_made_with_the_packages_that_are_pinned():
    """Else the limit would be the wide one; `make gate-record` makes it anew."""
    pinned = (harness.ROOT / ".ci" / "constraints-bench.txt").read_text("utf-8")
    versions = json.loads(gate.RECORD.read_text("utf-8"))["versions"]
    del versions["python"]
    assert versions
    assert versions == {name: re.search(rf"^{name}==(\S+)", pinned, re.MULTILINE)[1] for name in versions}


def test_the_least_of_several_counts_is_what_counts():
    assert gate.least({}, {"a": 5.0}) == {"a": 5.0}
    assert gate.least({"a": 5.0, "b": 1.0}, {"a": 6.0, "b": 0.5}) == {"a": 5.0, "b": 0.5}
