"""The pages of the proofs are made of the committed results, and every promise is held by tests that were seen failing."""

from __future__ import annotations

import re

import pytest

from benchmarks.results import Results
from tests.proofs import guards, records, report
from tests.proofs.promises import PROMISES, Figures

MEASURED = report.figures()
RENEW = "run: python -m tests.proofs.report"


@pytest.mark.parametrize("name", report.PAGES)
def test_the_page_agrees_with_the_results(name):
    assert report.PAGES[name].read_text("utf-8") == report.page(name, MEASURED), RENEW


@pytest.mark.parametrize("name", report.PAGES)
def test_what_was_not_measured_is_said(name):
    page = report.page(name, Figures({}, Results()))

    assert "{{" not in page
    assert "not measured" in page or "Not measured" in page


def test_every_promise_has_guards_and_every_guard_a_promise():
    assert {guard.promise for guard in guards.all_guards()} == {promise.key for promise in PROMISES}


def test_the_promises_are_all_of_them():
    numbers = [f"G{number}" for number in range(1, 17)]
    assert [promise.key for promise in PROMISES if promise.key[0] == "G"] == numbers


def test_every_promise_that_does_not_hold_says_why():
    silent = [it.key for it in PROMISES if it.verdict(MEASURED) == "does not hold" and not it.why]
    assert silent == []


def test_what_holds_a_promise_is_there():
    missing = [
        name
        for promise in PROMISES
        for name in promise.held_by
        if not name.startswith("make ") and not (records.ROOT / name).exists()
    ]
    assert missing == []


def test_every_published_guard_was_seen_failing():
    told = MEASURED.records.get("guards", {}).get("guards", [])
    assert [it["what"] for it in told if it["result"] != "seen failing"] == []


@pytest.mark.parametrize("name", report.PAGES)
def test_no_figure_is_typed_by_hand(name):
    words = (report.WORDS / name).read_text("utf-8")
    assert re.findall(r"\d[\d.,]*\s?(?:RTT|MiB|ms|µs|schedules)(?!\w)", words) == []


# --- what is made of results


def campaign(*failures, **row):
    rows = [{"profile": "tools", "mode": "handle only", "schedules": 10, "steps": 1000, **row}]
    told = {
        "first": 0,
        "next": 10,
        "jobs": 2,
        "seconds": 5.0,
        "processor": 0.1,
        "rows": rows,
        "failures": list(failures),
    }
    return Figures({"prove": {"about": "prove", "schedules": told}}, Results())


def one(key):
    return next(promise for promise in PROMISES if promise.key == key)


def test_a_schedule_that_failed_breaks_the_promise_and_is_shown():
    failure = {
        "profile": "tools",
        "seed": 3,
        "rule": "lineage",
        "problem": "lineage: lost: m3",
        "replay": "python -m … 3",
    }
    broken = campaign(failure)

    assert one("G1").verdict(broken) == "does not hold"
    assert one("order").verdict(broken) == "holds"
    assert one("G1").verdict(campaign()) == "holds"
    page = report.page("proofs.md", broken)
    assert "- `python -m … 3`: lineage: lost: m3" in page
    assert "**does not hold**" in page


def test_a_message_without_a_fate_breaks_the_promise():
    assert one("G2").verdict(campaign(messages=3, **{"fate: once": 2, "fate: settled, named": 1})) == "holds"
    assert one("G2").verdict(campaign(messages=3, **{"fate: once": 2})) == "does not hold"


def herd(peak, tries=3.0, p99=30.0):
    goes = [f"goAway to all, 60 s left, {who}" for who in ("all quiet", "half of them answering")]
    cuts = ["total cut, first_delay=30", *(f"total cut, {it}500 let in per second" for it in ("", "30 s down, "))]
    rows = [[case, peak if case in goes else 380, tries, p99] for case in (*goes, *cuts)]
    heads = ["case", "connects/s at the peak", "connects each", "p99 (s)"]
    table = {"title": "10,000 sessions at once", "heads": heads, "rows": rows}
    return Figures({"tables": {"about": "tables", "tables": [table]}}, Results())


def test_a_herd_breaks_the_promise():
    assert one("G7").verdict(herd(380)) == "holds"
    assert one("G7").verdict(herd(10_000)) == "does not hold"
    assert one("G7").verdict(herd(380, tries=8.0)) == "does not hold"
    assert one("G7").verdict(herd(380, p99=36.0)) == "does not hold"
    assert one("G7").why in report.page("proofs.md", herd(10_000))


def test_a_guard_that_was_not_noticed_breaks_the_promise():
    told = [{"promise": "G12", "what": "-", "result": result, "how": ""} for result in ("seen failing", "NOT NOTICED")]

    assert one("G12").verdict(Figures({"guards": {"guards": told[:1]}}, Results())) == "holds"
    assert one("G12").verdict(Figures({"guards": {"guards": told}}, Results())) == "does not hold"


def test_what_a_soak_broke_is_shown():
    soak = {
        "about": "soak", "minutes": 1, "sessions_at_once": 2, "seconds_between_faults": 3.0, "seed": 4,
        "promises": [{"promise": "nothing lost", "broken": 2}, {"promise": "in order", "broken": 0}],
        "complaints": [["nothing lost", "m3"]], "figures": {"turns": 5, "left_behind": {"tasks": 0}, "not_there": None},
        "faults": {"a reset": 6},
    }  # fmt: skip
    page = report.page("proofs.md", Figures({"soak": soak}, Results()))

    for line in (
        "| nothing lost | **broken 2 times** |",
        "| in order | holds |",
        "- nothing lost / m3",
        "| left behind | tasks 0 |",
        "| a reset | 6 |",
    ):
        assert line in page
    assert "not there" not in page
