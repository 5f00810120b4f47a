"""What every question shares: interleaved rounds, medians with their spread, ratios, and results as JSON.

A speed is only ever compared with another one of the same round: a round runs all contenders, one after the other, in
an order that is drawn anew, so that what disturbs the machine disturbs them alike. The ratio of two contenders is the
median of their ratios round by round, not the ratio of their medians.
"""

from __future__ import annotations

import argparse
import ast
import gc
import importlib.metadata
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

__all__ = [
    "RESULTS", "ROOT", "Bench", "Figure", "child", "environment", "finish", "interpreter", "machine", "merge",
    "questions", "record", "run", "sampler", "versions",
]  # fmt: skip

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
_PACKAGES = (
    "google-genai", "google-adk", "pydantic", "pydantic-core", "msgspec", "orjson", "pybase64", "websockets", "aiohttp",
    "picows", "uvloop", "pluggy", "tenacity",
)  # fmt: skip
_SAMPLE, _QUICK_SAMPLE = 0.03, 0.01  # seconds of work that a sample is made of, at least
_ROUNDS, _QUICK_ROUNDS = 15, 5

T = TypeVar("T")
Sampler = Callable[[], float]
"""Does some work once, and returns what one item of it took, in the unit of the figure."""


@dataclass(frozen=True)
class Figure:
    """What one contender needed in one case."""

    case: str
    contender: str
    unit: str
    """Such as `us/frame`, `KiB/session`, `instructions/frame`, `ms`."""
    median: float
    low: float
    """The lower quartile."""
    high: float
    """The upper quartile."""
    rounds: int
    ratios: dict[str, tuple[float, float, float]] = field(default_factory=dict[str, tuple[float, float, float]])
    """By the name of the baseline: lower quartile, median and upper quartile of this contender over the baseline, round
    by round. 0.1 is ten times cheaper."""
    x: float | None = None
    """Where on the axis of a curve, such as the number of sessions."""


class Bench:
    """One run of one question: it collects figures.

    Args:
        quick: Few rounds and short ones: shows that it works, and about what to expect.
        only: Leave out whatever has none of these words in its case or its name; the baselines stay.
        options: Values of the question's own options (see `run`).
    """

    def __init__(
        self, *, quick: bool = False, only: Sequence[str] = (), options: Mapping[str, object] | None = None
    ) -> None:
        self.quick = quick
        self.only = only
        self.options = dict(options or {})
        self.figures: list[Figure] = []
        self.notes: list[str] = []

    @property
    def rounds(self) -> int:
        """How many rounds where a question has no reason for another number."""
        return _QUICK_ROUNDS if self.quick else _ROUNDS

    def note(self, text: str) -> None:
        """Keep a remark with the results: what could not be measured here, and why."""
        self.notes.append(text)
        print(f"note: {text}", file=sys.stderr, flush=True)

    def wanted(self, *names: str) -> bool:
        """Tell whether `--only` leaves this in."""
        return not self.only or any(word in name for word in self.only for name in names)

    def timed(
        self,
        case: str,
        contenders: Mapping[str, Callable[[], object]],
        *,
        items: int,
        baselines: Sequence[str] = (),
        unit: str = "us/frame",
        clock: Callable[[], float] = time.thread_time,
        rounds: int | None = None,
        x: float | None = None,
    ) -> list[Figure]:
        """Compare functions by what they take for each of `items`, in microseconds of this thread's processor time.

        Each is called once to warm up, and then as often in a sample as makes the sample long enough for the clock.

        Args:
            case: What they are asked to do, such as a kind of frame.
            contenders: By name.
            items: How many things one call works off.
            baselines: Those to state ratios to.
            unit: Of the figures.
            clock: In seconds.
            rounds: Other than the usual number.
            x: See `Figure`.
        """
        shortest = _QUICK_SAMPLE if self.quick else _SAMPLE
        chosen = self._chosen(case, contenders, baselines)
        samplers = {name: sampler(call, items=items, shortest=shortest, clock=clock) for name, call in chosen.items()}
        return self.compare(case, samplers, unit=unit, baselines=baselines, rounds=rounds, x=x)

    def compare(
        self,
        case: str,
        samplers: Mapping[str, Sampler],
        *,
        unit: str,
        baselines: Sequence[str] = (),
        rounds: int | None = None,
        x: float | None = None,
    ) -> list[Figure]:
        """Compare what takes its own samples, in interleaved rounds; arguments as of `timed`."""
        chosen = self._chosen(case, samplers, baselines)
        samples: dict[str, list[float]] = {name: [] for name in chosen}
        order = random.Random(0)
        gc.collect()
        gc.freeze()  # what was there before is looked at no more
        for _ in range(rounds or self.rounds):
            for name in order.sample(list(chosen), len(chosen)):
                gc.collect()
                samples[name].append(chosen[name]())
        return [
            self.add(case, name, samples[name], unit=unit, against=samples, baselines=baselines, x=x) for name in chosen
        ]

    def add(
        self,
        case: str,
        contender: str,
        samples: Sequence[float],
        *,
        unit: str,
        against: Mapping[str, Sequence[float]] | None = None,
        baselines: Sequence[str] = (),
        x: float | None = None,
    ) -> Figure:
        """Take samples that were got elsewhere.

        Args:
            case: As of `timed`.
            contender: Whose they are.
            samples: One a round.
            unit: Of the figures.
            against: The samples of the other contenders, in the same rounds.
            baselines: Those of `against` to state ratios to.
            x: See `Figure`.
        """
        ratios = {
            name: _quartiles([mine / its for mine, its in zip(samples, against[name], strict=True)])
            for name in baselines
            if against is not None and name in against and name != contender
        }
        low, median, high = _quartiles(samples)
        figure = Figure(case, contender, unit, median, low, high, len(samples), ratios, x)
        self.figures.append(figure)
        print(_line(figure), flush=True)
        return figure

    def _chosen(self, case: str, contenders: Mapping[str, T], baselines: Iterable[str]) -> dict[str, T]:
        chosen = {name: it for name, it in contenders.items() if self.wanted(case, name)}
        return {name: it for name, it in contenders.items() if name in chosen or (chosen and name in baselines)}


def sampler(
    call: Callable[[], object], *, items: int, shortest: float = _SAMPLE, clock: Callable[[], float] = time.thread_time
) -> Sampler:
    """Make a sampler of a function: microseconds for each of `items`, over `shortest` seconds or more."""
    call()  # caches are filled, adaptive byte code has settled
    start = clock()
    call()
    number = max(1, round(shortest / max(clock() - start, 1e-7)))
    repeat = range(number)

    def sample() -> float:
        start = clock()
        for _ in repeat:
            call()
        return (clock() - start) / number / items * 1e6

    return sample


def finish(coroutine: Coroutine[object, None, T]) -> T:
    """Run a coroutine that never has to wait, without an event loop, and return what it returns."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return cast("T", stop.value)
    raise RuntimeError("it waits: it cannot be run without an event loop")


# ------------------------------------------------------------------ other interpreters


def environment() -> str:
    """Return the name of the environment that this interpreter is of, a line of `.ci/environments.toml`; else `other`."""
    name = Path(sys.prefix).name
    return name if (ROOT / ".ci" / f"constraints-{name}.txt").exists() else "other"


def interpreter(name: str) -> Path:
    """Return the Python of an environment.

    Raises:
        FileNotFoundError: It is not there; says which command makes it.
    """
    path = ROOT / ".venv" / name / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not path.exists():
        raise FileNotFoundError(f"no environment {name!r}; make it with: python3 .ci/env.py setup {name}")
    return path


def child(
    module: str, *arguments: str, python: str | Path | None = None, variables: Mapping[str, str] | None = None
) -> Any:
    """Run a module in a process of its own and return the JSON that it printed as its last line.

    Args:
        module: As for `python -m`.
        arguments: Its own.
        python: The interpreter; by default this one. See `interpreter`.
        variables: Of the environment, beside those of this process.

    Raises:
        RuntimeError: It failed; says how.
    """
    command = [str(python or sys.executable), "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=_environ(variables), check=False, text=True, stdout=subprocess.PIPE)
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise RuntimeError(f"{module} {' '.join(arguments)} failed with {done.returncode}")
    return json.loads(lines[-1])


def _environ(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **(variables or {})}


# ------------------------------------------------------------------ what it was measured on


def machine() -> dict[str, object]:
    """Describe this machine, and nothing by which it could be found."""
    return {
        "processor": _first_value("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(int((_first_value("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) / 1e6),
        "system": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages of interest that are installed."""
    found = {"python": f"{platform.python_implementation()} {platform.python_version()}"}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _first_value(path: str, key: str) -> str | None:
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)


# ------------------------------------------------------------------ results


def merge(path: Path, question: str, about: str, name: str, record: Mapping[str, object]) -> None:
    """Put the run of one environment into a file of results; those of the other environments stay."""
    document: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    runs = {**document.get("runs", {}), name: record}
    document = {"question": question, "about": about, "runs": {key: runs[key] for key in sorted(runs)}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_laid_out(document) + "\n", "utf-8")


def _laid_out(value: Any, indent: str = "\n") -> str:
    """Return JSON with one figure on each line."""
    text = json.dumps(value)
    if len(text) < 300 or not isinstance(value, dict | list):
        return text
    inner = indent + " "
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return "{" + ",".join(f"{inner}{json.dumps(key)}: {_laid_out(its, inner)}" for key, its in items) + indent + "}"
    return "[" + ",".join(inner + _laid_out(its, inner) for its in cast("Iterable[Any]", value)) + indent + "]"


def record(bench: Bench) -> dict[str, object]:
    """Return what is kept of a run: the figures, and what they were measured with and on."""
    figures = [{key: _rounded(value) for key, value in asdict(figure).items()} for figure in bench.figures]
    return {
        "measured": time.strftime("%Y-%m-%d"),
        "quick": bench.quick,
        "machine": machine(),
        "versions": versions(),
        "notes": bench.notes,
        "figures": [{key: value for key, value in figure.items() if value not in (None, {})} for figure in figures],
    }


def _rounded(value: Any) -> Any:
    """Four digits are more than the machine gives."""
    if isinstance(value, float):
        return float(f"{value:.4g}") if abs(value) < 10_000 else round(value)
    if isinstance(value, dict):
        return {key: _rounded(its) for key, its in cast("dict[str, Any]", value).items()}
    return [_rounded(its) for its in cast("list[Any]", value)] if isinstance(value, list | tuple) else value


def _quartiles(samples: Sequence[float]) -> tuple[float, float, float]:
    if len(samples) < 2:
        return (samples[0], samples[0], samples[0])
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return low, median, high


def _line(figure: Figure) -> str:
    ratios = "".join(
        f"   {1 / middle:6.1f} x cheaper than {name}" if middle < 1 else f"   {middle:6.2f} x {name}"
        for name, (_, middle, _) in figure.ratios.items()
    )
    spread = (figure.high - figure.low) / 2 / figure.median * 100 if figure.median else 0
    at = "" if figure.x is None else f" @{figure.x:g}"
    value = f"{figure.median:,.0f}" if figure.median >= 1000 else f"{figure.median:.3g}"
    return f"{figure.case + at:<28} {figure.contender:<38} {value:>9} {figure.unit} +-{spread:2.0f} %{ratios}"


# ------------------------------------------------------------------ the command line


def questions() -> dict[str, list[str]]:
    """Return all questions, by the name of their module, and the environments that each is asked in."""
    found: dict[str, list[str]] = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ENVIRONMENTS":
                found[path.stem] = ast.literal_eval(node.value)
    return found


def run(
    about: str | None,
    measure: Callable[[Bench], object],
    *,
    options: Callable[[argparse.ArgumentParser], object] | None = None,
) -> None:
    """Be the command line of a question: `python -m benchmarks.NAME`.

    Args:
        about: The module's docstring; its first line is the question.
        measure: Measures, and has the `Bench` keep the figures.
        options: Adds arguments of the question's own; their values are in `Bench.options`.
    """
    question = Path(sys.modules["__main__"].__file__ or "").stem
    about = (about or question).strip()
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{question}", description=about.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few and short rounds")
    parser.add_argument(
        "--only", action="append", default=[], metavar="TEXT", help="only cases and contenders with this text"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="put the results of this environment into a file")
    if options is not None:
        options(parser)
    arguments = vars(parser.parse_args())
    target: Path | None = arguments.pop("json")
    if target is not None and arguments["only"]:
        parser.error("--json takes whole runs: leave --only out")
    bench = Bench(quick=arguments.pop("quick"), only=arguments.pop("only"), options=arguments)
    measure(bench)
    if target is not None:
        merge(target, question, about.splitlines()[0], environment(), record(bench))
