"""Write the pages of figures from `results/*.json`: `python -m benchmarks.report` (plots need the environment `bench`).

`page.md` and `readme.md` here are the words; in them `{{name}}` stands for a figure, a table or a plot. Nothing that
was measured is typed by hand. A figure that is not there is written as such.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.goals import FIREHOSE, GENAI, GOALS, LEARNED, MIX, NATIVE, RAW, TYPED, TYPED_LEARNED, Goal
from benchmarks.results import Results, number

__all__ = ["FIGURES", "PAGE", "PLOTS", "README", "all_figures", "main", "page", "readme"]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PAGE = ROOT / "docs" / "explanation" / "performance.md"
FIGURES = ROOT / "docs" / "reference" / "benchmarks.md"
PLOTS = PAGE.parent / "performance"
README = ROOT / "README.md"
_FIGURE = re.compile(r"(\w+)(?:@(\w+))? / (.+) / (.+)")
"""A median by its name: `QUESTION / CASE / CONTENDER`, in `bench`, or `QUESTION@ENVIRONMENT / ...`."""
_BLOCK = re.compile(r"(<!-- figures -->\n).*?(<!-- end of figures -->)", re.DOTALL)

PAPER = {
    "decode": "Making a message of a frame",
    "gains": "How many times cheaper than google-genai, by what is looked at",
    "end_to_end": "Receiving 40 ms of audio over a loopback socket",
    "adk": "ADK 2.13, from the frame to the Event",
    "recovery": "Without a connection: after a cut, and at a planned move",
    "memory": "Memory of an idle session",
    "thousand": "A thousand sessions with 25 frames a second each",
    "growth": "How the costs grow",
}
"""The plots, and what each shows."""


# ------------------------------------------------------------------ tables


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> str:
    """Write a table, of which the first columns are words and the others numbers."""
    lines = ["| " + " | ".join(head) + " |", "|---" * words + "|---:" * (len(head) - words) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def goals_table(results: Results, notes: dict[str, str]) -> str:
    """Write all goals with what was measured, and below it why those were missed that were."""
    rows = [
        (
            goal.name,
            goal.what,
            _bound(goal, goal.must),
            _bound(goal, goal.aim),
            _in_unit(goal, goal.measured(results)),
            "" if goal.floor is None else _in_unit(goal, goal.floor(results)),
            _shown(goal.verdict(results)),
        )
        for goal in GOALS
    ]
    reasons = [
        f"- **{goal.name}**, {goal.what}: {notes.get(_key(goal), 'no reason is known.')}"
        for goal in falls_short(results)
    ]
    text = table(("", "what", "must", "aim", "measured", "floor", "verdict"), rows, words=2)
    return text + ("\n\nWhat stands in the way of the others:\n\n" + "\n".join(reasons) if reasons else "")


def falls_short(results: Results) -> list[Goal]:
    """Return the goals that were measured, and whose must or aim was not reached."""
    return [goal for goal in GOALS if goal.verdict(results) in ("missed", "must reached")]


def _key(goal: Goal) -> str:
    return f"{goal.name}: {goal.what}"


def _shown(verdict: str) -> str:
    return f"**{verdict}**" if verdict == "missed" else verdict


def _bound(goal: Goal, bound: float | None) -> str:
    return "" if bound is None else f"{'≥' if goal.more else '≤'} {_in_unit(goal, bound, '{:g}'.format)}"


def _in_unit(goal: Goal, value: float | None, number: Callable[[float], str] = number) -> str:
    if value is None:
        return "not measured"
    if goal.unit == "k":
        return f"{number(value)}k"
    unit = {"x": "×", "x ADK": "×", "times": "×", "%": " %", "sessions": ""}.get(goal.unit, f" {goal.unit}")
    return number(value) + unit


def pivot(
    results: Results,
    question: str,
    environment: str = "bench",
    *,
    cases: Sequence[str] | None = None,
    contenders: Sequence[str] | None = None,
    baseline: str | None = None,
) -> str:
    """Write figures as a table: a line for each contender, a column for each case.

    Args:
        results: All.
        question: Whose figures.
        environment: Of them.
        cases: Which, and in which order; all of them.
        contenders: Which, and in which order; all of them.
        baseline: Say how many times cheaper than this one each is.
    """
    found = list(results.figures(question, environment))
    cases = [case for case in cases or _unique(_column(it) for it in found) if any(_column(it) == case for it in found)]
    names = list(contenders or _unique(it["contender"] for it in found))
    cells = {(it["contender"], _column(it)): it for it in found}
    names = [name for name in names if any((name, case) in cells for case in cases)]
    if not names:
        return f"*Not measured: {question} in {environment}.*"
    units = _unique(it["unit"] for it in found if _column(it) in cases and it["contender"] in names)
    rows = [
        [name, *(_cell(cells.get((name, case)), baseline, show_unit=len(units) > 1) for case in cases)]
        for name in names
    ]
    return table((_unit(units[0]) if len(units) == 1 else "", *cases), rows)


def _column(figure: dict[str, Any]) -> str:
    return str(figure["case"]) + (f" at {figure['x']:g}" if "x" in figure else "")


def _cell(figure: dict[str, Any] | None, baseline: str | None, *, show_unit: bool) -> str:
    if figure is None:
        return ""
    text = number(figure["median"]) + (f" {_unit(figure['unit'])}" if show_unit else "")
    ratio = figure.get("ratios", {}).get(baseline)
    return text if not ratio or not ratio[1] else f"{text} ({number(1 / ratio[1])}×)"


def _unit(name: str) -> str:
    return name.replace("us/", "µs/")


def _unique(values: Any) -> list[str]:
    return list(dict.fromkeys(values))


# ------------------------------------------------------------------ words


def _values(results: Results, notes: dict[str, str]) -> dict[str, Callable[[], str]]:
    """Return what the words may name."""

    def gain(*which: str, environment: str = "bench") -> Callable[[], str]:
        return lambda: _times(results.gain(*which, to=GENAI, environment=environment))

    def median(*which: str, environment: str = "bench", x: float | None = None) -> Callable[[], str]:
        return lambda: number(results.median(*which, environment=environment, x=x))

    def more(*which: str, to: str) -> Callable[[], str]:
        def text() -> str:
            ratio = results.ratio(*which, to=to)
            return number(None) if ratio is None else f"{(ratio - 1) * 100:.0f} %"

        return text

    def share(contender: str) -> Callable[[], str]:
        """Of a core, at 25 frames a second."""

        def text() -> str:
            value = results.median("end_to_end", "paced, asyncio", contender)
            return number(None) if value is None else f"{value * 25 / 1e6:.2%}"

        return text

    kinds = [
        "audio, 40 ms",
        "audio, 200 ms",
        "text",
        "transcription",
        "resumption update",
        "goAway",
        "turn end with usage",
        "two tool calls",
        MIX,
    ]
    values: dict[str, Callable[[], str]] = {
        "typed mix": gain("decode", MIX, TYPED_LEARNED),
        "native mix": gain("decode", MIX, LEARNED),
        "typed firehose": gain("end_to_end", FIREHOSE, TYPED),
        "native firehose": gain("end_to_end", FIREHOSE, NATIVE),
        "typed paced": gain("end_to_end", "paced, asyncio", TYPED),
        "native paced": gain("end_to_end", "paced, asyncio", NATIVE),
        "typed cold": gain("cold", "audio, 40 ms, cold", TYPED_LEARNED),
        "native cold": gain("cold", "audio, 40 ms, cold", LEARNED),
        "genai mix us": median("decode", MIX, GENAI),
        "genai paced us": median("end_to_end", "paced, asyncio", GENAI),
        "typed paced us": median("end_to_end", "paced, asyncio", TYPED),
        "native paced us": median("end_to_end", "paced, asyncio", NATIVE),
        "bare paced us": median("end_to_end", "paced, asyncio", "websockets"),
        "genai share": share(GENAI),
        "typed share": share(TYPED),
        "native share": share(NATIVE),
        "genai instructions": lambda: number(results.median("instructions", "audio, 40 ms", GENAI)),
        "raw over bare": more("end_to_end", FIREHOSE, RAW, to="websockets"),
        "native over bare": more("end_to_end", FIREHOSE, NATIVE, to="websockets"),
        "typed over bare": more("end_to_end", FIREHOSE, TYPED, to="websockets"),
        "adk mix": lambda: _times(results.gain("adk", MIX, "ADK over resumekit", to="ADK", environment="adk2")),
        "adk slow": lambda: _more(
            results.ratio("adk", MIX, "ADK over resumekit, RESUMEKIT_FAST=0", to="ADK", environment="adk2")
        ),
        "adk us": median("adk", MIX, "ADK over resumekit", environment="adk2"),
        "adk plain us": median("adk", MIX, "ADK", environment="adk2"),
        "adk alone us": median("adk", MIX, "floor: ADK alone", environment="adk2"),
        "cut ours 100": median("recovery", "cut", "resumekit", x=100),
        "cut plain 100": median("recovery", "cut", "google-genai, by hand", x=100),
        "cut rest 100": median("recovery", "cut", "resumekit: the rest, in RTTs", x=100),
        "cut delay 100": median("recovery", "cut", "resumekit: the first delay", x=100),
        "move ours 100": median("recovery", "planned move", "resumekit", x=100),
        "move plain 100": median("recovery", "planned move", "google-genai, by hand", x=100),
        "move rest 100": median("recovery", "planned move", "resumekit: the rest, in RTTs", x=100),
        "sent us": median("micro", "one sent frame of audio", "engine, with the buffer"),
        "send us": median("micro", "one sent frame of audio", "websockets send"),
        "goals": lambda: goals_table(results, notes),
        "summary": lambda: _summary(results),
        "machine": lambda: _machine(results),
        "table decode": lambda: pivot(results, "decode", cases=kinds, baseline=GENAI),
        "table cold": lambda: pivot(results, "cold", baseline=GENAI),
        "table instructions": lambda: pivot(results, "instructions", baseline=GENAI),
        "table end_to_end": lambda: pivot(results, "end_to_end", baseline=GENAI),
        "table versions": lambda: _versions(results),
        "table adk": lambda: pivot(results, "adk", "adk2", baseline="ADK"),
        "table recovery": lambda: _recovery(results),
        "table blocks": lambda: pivot(results, "micro", cases=["blocks"]),
        "table thousand": lambda: _thousand(results),
        "table layer": lambda: pivot(results, "layer", baseline="websockets"),
        "table memory": lambda: pivot(results, "memory"),
        "table imports": lambda: pivot(results, "imports", "genai3"),
    }
    for name, what in PAPER.items():
        values[f"plot {name}"] = partial(str, f"![{what}](performance/{name}.svg)")
        values[f"title {name}"] = partial(str, what)
    return values


def _times(value: float | None) -> str:
    return number(None) if value is None else f"{number(value)}×"


def _more(ratio: float | None) -> str:
    return number(None) if ratio is None else f"{(ratio - 1) * 100:.0f} %"


def _summary(results: Results) -> str:
    """The gains side by side, from the narrowest view to the widest."""
    rows: list[tuple[str, ...]] = []
    for what, question, case in (
        ("making a message of a frame, in a hot loop", "decode", MIX),
        ("the same with cold caches, as between two frames of a session", "cold", "audio, 40 ms, cold"),
        ("receiving from a socket at full speed", "end_to_end", FIREHOSE),
        ("**receiving as a session does, frame by frame**", "end_to_end", "paced, asyncio"),
    ):
        learned = question in ("decode", "cold")  # as a session decodes
        names = (TYPED_LEARNED, LEARNED) if learned else (TYPED, NATIVE)
        rows.append((what, *(_times(results.gain(question, case, name, to=GENAI)) for name in names)))
    gain = results.gain("adk", MIX, "ADK over resumekit", to="ADK", environment="adk2")
    rows.append(("ADK, from the frame to its `Event` (against plain ADK)", _times(gain), ""))
    return table(("times less processor time than google-genai", "google-genai's objects", "native messages"), rows)


def _versions(results: Results) -> str:
    rows: list[tuple[str, ...]] = []
    for environment in ("genai175", "genai2", "bench"):
        version = results.run("decode", environment).get("versions", {}).get("google-genai")
        if version is None:
            continue
        rows.append(
            (
                f"google-genai {version}",
                number(results.median("decode", MIX, GENAI, environment=environment)),
                *(
                    _times(results.gain("decode", MIX, name, to=GENAI, environment=environment))
                    for name in (TYPED_LEARNED, LEARNED)
                ),
                *(
                    _times(results.gain("end_to_end", FIREHOSE, name, to=GENAI, environment=environment))
                    for name in (TYPED, NATIVE)
                ),
            )
        )
    if not rows:
        return "*Not measured.*"
    head = ("", "its own, µs a frame (voice mix)", "typed", "native", "typed, end to end", "native, end to end")
    return table(head, rows)


def _recovery(results: Results) -> str:
    rows: list[tuple[str, ...]] = []
    for figure in results.figures("recovery"):
        if figure["contender"] not in ("resumekit", "google-genai, by hand"):
            continue
        case, who, rtt = figure["case"], figure["contender"], figure["x"]

        def of(what: str, case: str = case, who: str = who, rtt: float = rtt) -> str:
            value = results.median("recovery", case, f"{who}: {what}", x=rtt)
            return "" if value is None else number(value)

        rows.append(
            (
                case,
                who,
                f"{rtt:g} ms",
                number(figure["median"]),
                of("the first delay"),
                of("the rest, in RTTs"),
                of("to the first word"),
            )
        )
    if not rows:
        return "*Not measured.*"
    rows.sort(key=lambda row: (row[0], float(row[2].split()[0]), row[1] != "resumekit"))
    return table(
        (
            "",
            "who",
            "RTT",
            "all, ms",
            "of it the first delay, ms",
            "the rest, in RTTs",
            "until the answer begins anew, ms",
        ),
        rows,
        words=2,
    )


def _thousand(results: Results) -> str:
    """A line for each figure, a column for each contender: there are more figures than contenders."""
    found = list(results.figures("thousand"))
    if not found:
        return "*Not measured.*"
    names = _unique(it["contender"] for it in found)
    cells = {(it["case"], it["contender"]): it for it in found}
    rows = [
        (
            f"{case}, {_unit(unit)}",
            *(number(cells[case, name]["median"]) if (case, name) in cells else "" for name in names),
        )
        for case, unit in dict.fromkeys((it["case"], it["unit"]) for it in found)
    ]
    return table(("", *names), rows)


def _machine(results: Results) -> str:
    runs = [run for document in results.documents.values() for run in document.get("runs", {}).values()]
    if not runs:
        return "*Nothing was measured yet.*"
    machines = _unique(f"{run['machine']['processor']}, {run['machine']['cores']} cores" for run in runs)
    dates = sorted(run["measured"] for run in runs)
    load = sorted(run["machine"]["load"] for run in runs if run["machine"].get("load") is not None)
    versions = results.run("decode").get("versions") or runs[0]["versions"]
    days = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    text = f"Measured {days} on {' and '.join(machines)}"
    if load:
        text += f"; load at the end of a run {load[0]} to {load[-1]}"
    text += ". " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."
    if any(run["quick"] for run in runs):
        text += "\n\n**Some of these figures are of the short form (`make bench`), with few rounds.**"
    notes = _unique(note for run in runs for note in run.get("notes", ()))
    return text + "".join(f"\n- {note}" for note in notes)


def _filled(words: str, results: Results, notes: dict[str, str]) -> str:
    values = _values(results, notes)

    def value(match: re.Match[str]) -> str:
        which = _FIGURE.fullmatch(match[1])
        if which is None:
            return values[match[1]]()
        question, environment, case, contender = which.groups()
        return number(results.median(question, case, contender, environment=environment or "bench"))

    return re.sub(r"\{\{(.+?)\}\}", value, words)


# ------------------------------------------------------------------ pages


def page(results: Results) -> str:
    """Return `docs/explanation/performance.md`."""
    notes = tomllib.loads((HERE / "notes.toml").read_text("utf-8"))
    notes = {goal: _filled(words, results, {}) for goal, words in notes.items()}
    return _filled((HERE / "page.md").read_text("utf-8"), results, notes)


def readme(text: str, results: Results) -> str:
    """Return the README with its paragraph of figures renewed."""
    words = _filled((HERE / "readme.md").read_text("utf-8"), results, {}) if results.documents else ""
    return _BLOCK.sub(lambda match: match[1] + words + match[2], text)


def all_figures(results: Results) -> str:
    """Return `docs/reference/benchmarks.md`: everything that was measured."""
    return "\n".join(_all_figures(results)) + "\n"


def _all_figures(results: Results) -> Iterator[str]:
    yield "# Benchmarks: all figures"
    yield ""
    yield "<!-- Made by benchmarks/report.py from benchmarks/results: measure anew, or change those. -->"
    yield ""
    yield "Medians, in brackets the half of the spread between the quartiles; then what it costs in units of each baseline, round by"
    yield "round (0.1: ten times cheaper). [What they mean](../explanation/performance.md). `make bench-full` measures them anew."
    for name, document in results.documents.items():
        yield from ("", f"## {name}", "", document["about"])
        for environment, run in document["runs"].items():
            versions = ", ".join(f"{package} {version}" for package, version in run["versions"].items())
            quick = ", short form" if run["quick"] else ""
            yield from (
                "",
                f"### {name}, in `{environment}`",
                "",
                f"{run['measured']}{quick}, {run['machine']['processor']}; {versions}.",
                "",
            )
            for note in run.get("notes", ()):
                yield from (f"- {note}", "")
            rows = [
                (
                    _column(figure),
                    figure["contender"],
                    f"{number(figure['median'])} {_unit(figure['unit'])} (± {_spread(figure)})",
                    "; ".join(
                        f"{number(middle)} of {other}" for other, (_, middle, _) in figure.get("ratios", {}).items()
                    ),
                )
                for figure in run["figures"]
            ]
            yield table(("case", "contender", "median", "ratios"), rows, words=2)


def _spread(figure: dict[str, Any]) -> str:
    if not figure["median"]:
        return "0 %"
    return f"{(figure['high'] - figure['low']) / 2 / figure['median'] * 100:.0f} %"


def main() -> int:
    """Write everything."""
    from benchmarks.harness import RESULTS

    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIRECTORY")
    parser.add_argument("--no-plots", action="store_true", help="the words and tables alone")
    arguments = parser.parse_args()
    results = Results.load(arguments.results)
    PAGE.write_text(page(results), "utf-8")
    FIGURES.write_text(all_figures(results), "utf-8")
    README.write_text(readme(README.read_text("utf-8"), results), "utf-8")
    if not arguments.no_plots:
        from benchmarks import plots

        plots.draw(results, PLOTS, PAPER)
    for goal in falls_short(results):
        print(f"{goal.verdict(results)}: {_key(goal)}: {_in_unit(goal, goal.measured(results))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
