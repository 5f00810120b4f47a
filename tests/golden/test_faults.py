"""Faults, and what a reader of events and log is told of them: as the golden file says, to the byte."""

from __future__ import annotations

import re

import pytest

from tests.golden.faults import CASES, GOLDEN, page

NAMES = [case.name for case in CASES]


@pytest.fixture(scope="module")
def golden():
    """Name of a fault -> its events and its log, as text."""
    parts = re.split(r"^=== (.+) ===$", GOLDEN.read_text("utf-8"), flags=re.MULTILINE)[1:]
    entries = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        events, _, log = text.partition("\nevents\n")[2].partition("\nlog\n")
        entries[name] = (events, log.strip("\n"))
    return entries


def test_the_golden_file_is_what_happens():
    """In each run, to the byte; if it is to be otherwise: python -m tests.golden."""
    assert page().splitlines() == GOLDEN.read_text("utf-8").splitlines()


def test_ten_faults_and_more_are_in_it(golden):
    assert list(golden) == NAMES
    assert len(NAMES) > 10


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_each_entry_says_what_happened_what_came_of_it_and_what_to_do(golden, case):
    events, log = golden[case.name]
    for what in (case.cause, case.effect, case.advice):
        assert what in log
    for kind in case.events:
        assert f" {kind.__name__}(" in events


@pytest.mark.parametrize("name", NAMES)
def test_each_line_that_tells_a_fault_has_a_cause_and_an_effect(golden, name):
    for line in golden[name][1].splitlines():
        what = line.split(" session 1: ")[1]
        if re.match(r"connected$|closed$|resumed on|moved to|started anew on", what):
            continue
        assert re.search(r" \(.+\).*: |, as .+: |^the model repeats .+: |\); ", what), what
        if "WARNING" in line or "ERROR" in line:
            assert "; " in what, what


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_is_told_in_a_few_lines(golden, name):
    """The longest, a minute's outage, has one for each dial."""
    assert len(golden[name][1].splitlines()) <= 12


def test_a_call_with_three_reconnects_is_a_story_of_a_dozen_lines(golden):
    middles = [golden[name][1].splitlines()[1:-1] for name in ("goAway", "reset", "503 at the dial")]
    assert sum(map(len, middles)) + 2 <= 12


def test_no_handle_and_no_key_is_in_it():
    said = GOLDEN.read_text("utf-8")
    assert "a-key" not in said
    assert re.findall(r"digest='(?!h#[0-9a-f]{8}')", said) == []
