"""What was measured, as it is kept in `results/*.json`; a figure that is not there is None."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Results", "number"]

Figure = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """All questions' results."""

    documents: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """By question."""

    @classmethod
    def load(cls, directory: Path) -> Results:
        """Read all files of a directory."""
        return cls({path.stem: json.loads(path.read_text("utf-8")) for path in sorted(directory.glob("*.json"))})

    def run(self, question: str, environment: str = "bench") -> dict[str, Any]:
        """Return the record of a question in an environment; empty if there is none."""
        runs: dict[str, dict[str, Any]] = self.documents.get(question, {}).get("runs", {})
        return runs.get(environment, {})

    def figures(self, question: str, environment: str = "bench", case: str | None = None) -> Iterator[Figure]:
        """Yield the figures, of one case or of all."""
        for figure in self.run(question, environment).get("figures", ()):
            if case is None or figure["case"] == case:
                yield figure

    def figure(
        self, question: str, case: str, contender: str, *, environment: str = "bench", x: float | None = None
    ) -> Figure | None:
        """Return one figure; of a curve that at `x`."""
        found = (figure for figure in self.figures(question, environment, case) if figure["contender"] == contender)
        return next((figure for figure in found if x is None or figure.get("x") == x), None)

    def median(self, *which: str, environment: str = "bench", x: float | None = None) -> float | None:
        """Return the median of a figure: `(question, case, contender)`."""
        figure = self.figure(*which, environment=environment, x=x)
        return None if figure is None else figure["median"]

    def ratio(self, *which: str, to: str, environment: str = "bench") -> float | None:
        """Return what a contender costs in units of another one, round by round: `(question, case, contender)`."""
        figure = self.figure(*which, environment=environment)
        ratios: dict[str, list[float]] = {} if figure is None else figure.get("ratios", {})
        return ratios[to][1] if to in ratios else None

    def gain(self, *which: str, to: str, environment: str = "bench") -> float | None:
        """Return how many times cheaper a contender is than another one."""
        ratio = self.ratio(*which, to=to, environment=environment)
        return None if not ratio else 1 / ratio


def number(value: float | None) -> str:
    """Write a number with as many digits as it deserves."""
    if value is None:
        return "not measured"
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2g}" if abs(value) < 0.1 else f"{value:.2f}"
