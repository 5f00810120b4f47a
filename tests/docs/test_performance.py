"""The pages of figures say what the committed results say, and a goal that was missed is shown as missed."""

from __future__ import annotations

import re
import tomllib

import pytest

from benchmarks import report
from benchmarks.goals import GOALS, Goal
from benchmarks.harness import RESULTS
from benchmarks.results import Results, number

RENEW = "run: .venv/bench/bin/python -m benchmarks.report"


@pytest.fixture(scope="module")
def results():
    return Results.load(RESULTS)


@pytest.fixture(scope="module")
def notes():
    return tomllib.loads((report.HERE / "notes.toml").read_text("utf-8"))


def document(*figures, question="decode", environment="bench"):
    machine = {"processor": "one of a kind", "cores": 2, "load": 0.1}
    run = {"measured": "2026-11-22", "quick": False, "machine": machine, "versions": {}, "figures": list(figures)}
    return {question: {"about": "What?", "runs": {environment: run}}}


def figure(
    median, *, ratio=None, case="voice mix", contender="resumekit typed, learned", baseline="google-genai", **more
):
    ratios = {} if ratio is None else {"ratios": {baseline: [ratio * 0.9, ratio, ratio * 1.1]}}
    return {
        "case": case,
        "contender": contender,
        "unit": "us/frame",
        "median": median,
        "low": median,
        "high": median,
        **ratios,
        **more,
    }


# --- what is committed


def test_the_page_agrees_with_the_results(results):
    assert report.PAGE.read_text("utf-8") == report.page(results), RENEW


def test_the_list_of_all_figures_agrees_with_the_results(results):
    assert report.FIGURES.read_text("utf-8") == report.all_figures(results), RENEW


def test_the_paragraph_of_the_readme_agrees_with_the_results(results):
    text = report.README.read_text("utf-8")

    assert report.readme(text, results) == text, RENEW


def test_every_plot_of_the_page_is_there():
    named = re.findall(r"\]\((performance/\S+\.svg)\)", report.PAGE.read_text("utf-8"))

    assert named
    assert [name for name in named if not (report.PAGE.parent / name).exists()] == []


def test_every_goal_that_was_missed_says_why(results, notes):
    silent = [f"{goal.name}: {goal.what}" for goal in report.falls_short(results)]

    assert [goal for goal in silent if goal not in notes] == [], "write it into benchmarks/notes.toml"


def test_every_reason_is_one_of_a_goal(notes):
    assert set(notes) <= {f"{goal.name}: {goal.what}" for goal in GOALS}


@pytest.mark.parametrize("name", ["page.md", "readme.md"])
def test_no_figure_is_typed_by_hand(name):
    words = (report.HERE / name).read_text("utf-8")

    assert re.findall(r"\d[\d.,]*\s?(?:×|µs|KiB|MB)(?!\w)", words) == []


# --- what is made of results


@pytest.mark.parametrize(
    ("value", "more", "must", "aim", "verdict"),
    [
        (9.9, True, 10, 15, "missed"),
        (10.0, True, 10, 15, "must reached"),
        (15.0, True, 10, 15, "aim reached"),
        (0.31, False, 0.3, 0.2, "missed"),
        (0.3, False, 0.3, 0.2, "must reached"),
        (0.1, False, 0.3, 0.2, "aim reached"),
        (3.0, False, 4, None, "reached"),
        (17.0, True, None, 18, "missed"),
        (18.0, True, None, 18, "aim reached"),
        (17.0, True, None, None, "for the record"),
        (None, True, 10, 15, "not measured"),
    ],
)
def test_verdict(value, more, must, aim, verdict):
    goal = Goal("G", "a goal", "x", must, aim, lambda _: value, more=more)

    assert goal.verdict(Results()) == verdict


def test_a_missed_goal_is_shown_as_missed_with_its_reason():
    missed = Results(document(figure(8.0, ratio=1 / 8)))
    key = f"G1: {GOALS[0].what}"

    text = report.goals_table(missed, {key: "base64 takes all of it."})

    assert f"| G1 | {GOALS[0].what} | ≥ 10× | ≥ 15× | 8.00× | not measured | **missed** |" in text
    assert text.endswith(f"- **G1**, {GOALS[0].what}: base64 takes all of it.")


def test_a_reached_goal_needs_no_reason():
    text = report.goals_table(Results(document(figure(4.0, ratio=1 / 16))), {f"G1: {GOALS[0].what}": "an old story"})

    assert "| 16.0× | not measured | aim reached |" in text
    assert "an old story" not in text


def test_what_was_not_measured_is_said():
    page = report.page(Results())

    assert "not measured" in page
    assert "{{" not in page


def test_a_missing_run_is_no_error(results):
    for left_out in results.documents:
        rest = Results({name: it for name, it in results.documents.items() if name != left_out})
        report.page(rest)
        report.readme(report.README.read_text("utf-8"), rest)


def test_the_short_form_is_told():
    documents = document(figure(8.0, ratio=1 / 8))
    assert "short form" not in report.page(Results(documents)).split("How to read")[1]

    documents["decode"]["runs"]["bench"]["quick"] = True
    assert "**Some of these figures are of the short form" in report.page(Results(documents))


def test_all_figures_stand_in_the_list():
    documents = document(figure(8.0, ratio=1 / 8), figure(64.0, contender="google-genai", x=7))

    text = report.all_figures(Results(documents))

    assert "| voice mix | resumekit typed, learned | 8.00 µs/frame (± 0 %) | 0.12 of google-genai |" in text
    assert "| voice mix at 7 | google-genai | 64.0 µs/frame (± 0 %) |  |" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not measured"),
        (0, "0"),
        (0.0183, "0.018"),
        (0.3, "0.30"),
        (2.649, "2.65"),
        (22.94, "22.9"),
        (643.2, "643"),
        (642_991, "643,000"),
    ],
)
def test_number(value, text):
    assert number(value) == text
