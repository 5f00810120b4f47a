"""Write the pages of the proofs from `docs/project/proofs/*.json`: `python -m tests.proofs.report`.

`pages/proofs.md` and `pages/promises.md` here are the words; in them `{{name}}` stands for a figure or a table. Nothing
that was measured is typed by hand; what was not measured is written as such.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS
from benchmarks.report import table
from benchmarks.results import Results
from tests.proofs import records
from tests.proofs.promises import PROMISES, Figures

__all__ = ["PAGES", "figures", "main", "page"]

WORDS = Path(__file__).with_name("pages")
PAGES = {
    "proofs.md": records.ROOT / "docs" / "project" / "proofs.md",
    "promises.md": records.ROOT / "docs" / "explanation" / "promises.md",
}
"""Which words make which page."""
_OWN = ("prove", "guards", "soak", "fuzz")
"""Records that have a place of their own on the page."""


def figures() -> Figures:
    """Read what was measured and published."""
    paths = sorted(records.PUBLISHED.glob("*.json"))
    return Figures({path.stem: json.loads(path.read_text("utf-8")) for path in paths}, Results.load(RESULTS))


def page(name: str, measured: Figures) -> str:
    """Return a page."""
    values = _values(measured)
    return re.sub(r"\{\{(.+?)\}\}", lambda match: values[match[1]](), (WORDS / name).read_text("utf-8"))


def _values(measured: Figures) -> dict[str, Callable[[], str]]:
    values: dict[str, Callable[[], str]] = {
        "promises": lambda: _promises(measured),
        "shortfalls": lambda: _shortfalls(measured),
        "guards": lambda: _guards(measured),
        "schedules": lambda: _schedules(measured),
        "fates": lambda: _fates(measured),
        "soak": lambda: _soak(measured),
        "tables": lambda: "\n\n".join(_tables(measured)),
        "fuzz": lambda: "\n\n".join(_tables_of(measured.records.get("fuzz", {}))) or "*Not measured.*",
        "runs": lambda: "\n".join(_runs(measured)),
        "failures": lambda: _failures(measured),
    }
    for promise in PROMISES:
        values[promise.key] = lambda promise=promise: _measured(promise.measured(measured)[0])
        values[f"verdict {promise.key}"] = lambda promise=promise: promise.verdict(measured)
    for mode in ("transparent", "handle only"):
        for what in (
            "schedules",
            "messages",
            "losses",
            "turns cut",
            "shadow turns",
            "calls bound again",
            "fresh starts",
        ):
            values[f"{mode}: {what}"] = lambda mode=mode, what=what: f"{measured.total(what, mode):,}"
        for fate in ("repeated, flagged", "settled, named", "left out of a fresh start"):
            values[f"{mode}: {fate}"] = lambda mode=mode, fate=fate: f"{measured.total(f'fate: {fate}', mode):,}"
    return values


def _measured(text: str) -> str:
    return text.replace("|", "\\|")


def _promises(measured: Figures) -> str:
    rows = []
    for promise in PROMISES:
        verdict = promise.verdict(measured)
        rows.append(
            (
                promise.key,
                promise.what,
                promise.promised,
                _measured(promise.measured(measured)[0]),
                ", ".join(f"`{name}`" for name in promise.held_by),
                verdict if verdict == "holds" else f"**{verdict}**",
            )
        )
    return table(("", "promise", "promised", "measured", "held by", ""), rows, words=6)


def _shortfalls(measured: Figures) -> str:
    lines = [
        f"- **{promise.key}**, {promise.what[0].lower()}{promise.what[1:]}. Promised: {promise.promised}. "
        f"Measured: {promise.measured(measured)[0]}. {promise.why}"
        for promise in PROMISES
        if promise.verdict(measured) == "does not hold"
    ]
    return "\n".join(lines) if lines else "None: every figure is reached."


def _guards(measured: Figures) -> str:
    rows = [
        (
            it["promise"],
            it["what"],
            f"`{it['file']}`",
            f"`{_code(it['test'])}`",
            f"`{_code(it['how'])}`" if it["result"] == "seen failing" else f"**{it['result']}**",
        )
        for it in measured.records.get("guards", {}).get("guards", ())
    ]
    return table(("", "what the code then does", "where", "the test", "how it failed"), rows, words=5)


def _code(text: str) -> str:
    return text.replace("|", "¦").replace("`", "'").replace("{{", "{ {")


def _schedules(measured: Figures) -> str:
    names = (
        "schedules",
        "steps",
        "connections",
        "losses",
        "goAways",
        "moves",
        "fresh starts",
        "turns cut",
        "shadow turns",
        "messages",
    )
    failures = measured.schedules.get("failures", ())
    rows = [
        (row["profile"], row["mode"], *(f"{row.get(name, 0):,}" for name in names), str(failed))
        for row in measured.schedules.get("rows", ())
        for failed in [sum(one["profile"] == row["profile"] for one in failures)]
    ]
    return table(("profile", "mode", *names, "failed"), rows, words=2) if rows else "*Not measured.*"


def _fates(measured: Figures) -> str:
    rows = measured.schedules.get("rows", ())
    names = sorted(
        {name for row in rows for name in row if name.startswith("fate: ")}, key=lambda it: -measured.total(it)
    )
    modes = ("transparent", "handle only")
    told = [(name[6:], *(f"{measured.total(name, mode):,}" for mode in modes)) for name in names]
    sent = ("**sent**", *(f"**{measured.total('messages', mode):,}**" for mode in modes))
    return table(("fate", *modes), [*told, sent]) if told else "*Not measured.*"


def _failures(measured: Figures) -> str:
    failures = measured.schedules.get("failures")
    if failures is None:
        return "*Not measured.*"
    return "\n".join(f"- `{one['replay']}`: {one['problem'].splitlines()[0]}" for one in failures) or "None."


def _tables(measured: Figures) -> Iterator[str]:
    for name, record in measured.records.items():
        if name not in _OWN and isinstance(record.get("tables", ()), list):
            yield from _tables_of(record)


def _tables_of(record: dict[str, Any]) -> Iterator[str]:
    for one in record.get("tables", ()):
        rows = [tuple(_cell(cell) for cell in row) for row in one["rows"]]
        yield f"### {one['title']}\n\n`{record['about']}`\n\n{table(one['heads'], rows)}"


def _soak(measured: Figures) -> str:
    """What sessions over real sockets came to."""
    soak = measured.records.get("soak")
    if not soak:
        return "*Not measured.*"
    promises = [
        (it["promise"], "holds" if not it["broken"] else f"**broken {it['broken']} times**") for it in soak["promises"]
    ]
    figures = [(name.replace("_", " "), _told(value)) for name, value in soak["figures"].items() if value is not None]
    faults = [(name, f"{count:,}") for name, count in sorted(soak["faults"].items(), key=lambda it: (-it[1], it[0]))]
    complaints = [f"- {' / '.join(map(str, it))}" for it in soak["complaints"]]
    head = (
        f"{soak['minutes']:g} minutes, {soak['sessions_at_once']} sessions at once, a fault every "
        f"{soak['seconds_between_faults']:g} s, seed {soak['seed']}."
    )
    return "\n\n".join(
        [
            head,
            table(("promise", ""), promises, words=2),
            *(["\n".join(complaints)] if complaints else []),
            table(("figure", ""), figures),
            table(("fault", "times"), faults),
        ]
    )


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in sorted(value.items()))
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return _cell(value)


def _cell(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:,.2f}"
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else _code(str(cell))


def _runs(measured: Figures) -> Iterator[str]:
    for name, record in measured.records.items():
        if "measured" not in record:
            continue
        machine = record["machine"]
        yield (
            f"- `{record['about']}`: {record['measured']}, Python {record['python']}, {machine['processor']}, "
            f"{machine['cores']} cores, load {machine['load']}; sources {record['sources']}."
        )
        if name == "prove":
            told = record.get("schedules", {})
            if told:
                yield (
                    f"  Seeds {told['first']} to {told['next'] - 1} of each profile, {told['seconds'] / 60:.0f} minutes, "
                    f"{told['jobs']} processes."
                )
            for part in ("tests", "tables"):
                if part in record:
                    yield f"  `{record[part]['command']}`: {record[part]['closing'] if part == 'tests' else 'done'}."


def main() -> int:
    """Write everything, and say what does not hold."""
    measured = figures()
    for name, path in PAGES.items():
        path.write_text(page(name, measured), "utf-8")
    for promise in PROMISES:
        verdict = promise.verdict(measured)
        if verdict != "holds":
            print(f"{verdict}: {promise.key}: {promise.measured(measured)[0]}")
    for it in measured.records.get("soak", {}).get("promises", ()):
        if it["broken"]:
            print(f"broken in the soak: {it['promise']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
