"""Draw the plots of the page, from results alone: the same results make the same files."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from benchmarks.goals import FIREHOSE, FLOOR, GENAI, LEARNED, MIX, NATIVE, RAW, TYPED, TYPED_LEARNED
from benchmarks.results import Results, number

__all__ = ["draw"]

OURS, LIGHT, THEIRS, OTHER, BASE = "#1f6f8b", "#7fb3c4", "#c8553d", "#9aa5b1", "#5b6770"
_LOOK: dict[str, Any] = {
    "svg.hashsalt": "resumekit",
    "svg.fonttype": "none",  # words stay words
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e3e7eb",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
Bar = tuple[str, float, float, float]
"""Label, median, quartiles."""


def draw(results: Results, directory: Path, titles: Mapping[str, str]) -> None:
    """Draw all of them; of what was not measured, an empty one.

    Args:
        results: What was measured.
        directory: Where `NAME.svg` goes.
        titles: By name.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_LOOK):
        for name, title in titles.items():
            figure = _DRAWN[name](results)
            figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
            figure.savefig(directory / f"{name}.svg", metadata={"Date": None, "Creator": None}, facecolor="white")
            plt.close(figure)
            path = directory / f"{name}.svg"
            path.write_text("\n".join(line.rstrip() for line in path.read_text("utf-8").splitlines()) + "\n", "utf-8")


def _colour(contender: str) -> str:
    if "resumekit" in contender:
        return OURS
    if contender.startswith((GENAI, "ADK")):
        return THEIRS
    return BASE if "floor" in contender or contender == "websockets" else OTHER


def _bars(axes: Any, bars: Sequence[Bar], *, unit: str) -> None:
    if not bars:
        axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes, color=BASE)
        axes.set_axis_off()
        return
    bars = bars[::-1]
    names = [name for name, *_ in bars]
    values = [value for _, value, *_ in bars]
    errors = [[value - low for _, value, low, _ in bars], [high - value for _, value, _, high in bars]]
    axes.barh(names, values, xerr=errors, color=[_colour(name) for name in names], height=0.7, error_kw={"lw": 0.8})
    for place, (_, value, _, high) in enumerate(bars):
        axes.annotate(number(value), (max(value, high), place), xytext=(4, 0), textcoords="offset points", va="center")
    axes.set_xlabel(unit)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, max(values) * 1.15)


def _bars_of(
    results: Results, question: str, case: str, names: Sequence[str] | None, environment: str = "bench"
) -> list[Bar]:
    found = {it["contender"]: it for it in results.figures(question, environment, case)}
    return [
        (name, found[name]["median"], found[name]["low"], found[name]["high"])
        for name in names or found
        if name in found
    ]


def _decode(results: Results) -> Any:
    figure, axes = plt.subplots(figsize=(7.6, 3.8))
    names = (
        GENAI,
        "orjson + google-genai",
        "orjson + model_validate",
        "model_validate_json",
        TYPED,
        TYPED_LEARNED,
        NATIVE,
        LEARNED,
        RAW,
        FLOOR,
    )
    _bars(axes, _bars_of(results, "decode", MIX, names), unit="µs a frame, voice mix")
    return figure


def _gains(results: Results) -> Any:
    figure, axes = plt.subplots(figsize=(7.6, 3.4))
    views = (
        ("decoding,\nhot loop", "decode", MIX),
        ("decoding,\ncold caches", "cold", "audio, 40 ms, cold"),
        ("socket,\nfull speed", "end_to_end", FIREHOSE),
        ("socket,\nas a session", "end_to_end", "paced, asyncio"),
    )
    for shift, (label, colour) in enumerate((("google-genai's objects", LIGHT), ("native messages", OURS))):
        axes.bar(0, 0, color=colour, label=label)
        for place, (_, question, case) in enumerate(views):
            names = (TYPED, NATIVE) if question == "end_to_end" else (TYPED_LEARNED, LEARNED)
            gain = results.gain(question, case, names[shift], to=GENAI)
            if gain is None:
                continue
            at = place + (shift - 0.5) * 0.38
            axes.bar(at, gain, 0.36, color=colour)
            axes.annotate(f"{number(gain)}×", (at, gain), xytext=(0, 2), textcoords="offset points", ha="center")
    axes.axhline(1, color=THEIRS, lw=1)
    axes.annotate("google-genai: 1", (1, 1), (1.01, 1), xycoords=("axes fraction", "data"), color=THEIRS, va="center")
    axes.set_xticks(range(len(views)), [view[0] for view in views])
    axes.set_xlim(-0.6, len(views) - 0.4)
    axes.set_ylabel("times cheaper")
    axes.grid(axis="x", visible=False)
    axes.legend()
    return figure


def _end_to_end(results: Results) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.2), sharey=True)
    names = (GENAI, TYPED, NATIVE, RAW, "resumekit native, picows", "websockets", "aiohttp", "picows")
    _bars(left, _bars_of(results, "end_to_end", FIREHOSE, names), unit="µs a frame")
    _bars(right, _bars_of(results, "end_to_end", "paced, asyncio", names), unit="µs a frame")
    left.set_title("at full speed")
    right.set_title("paced: each frame wakes the loop")
    return figure


def _adk(results: Results) -> Any:
    figure, axes = plt.subplots(figsize=(7.6, 3.6))
    found = list(results.figures("adk", "adk2"))
    cases = list(dict.fromkeys(it["case"] for it in found))
    contenders = list(dict.fromkeys(it["contender"] for it in found))
    colours = [THEIRS, OURS, LIGHT, BASE]
    for shift, contender in enumerate(contenders):
        values = [results.median("adk", case, contender, environment="adk2") or math.nan for case in cases]
        places = [place + (shift - 1.5) * 0.21 for place in range(len(cases))]
        axes.bar(places, values, 0.2, color=colours[shift % 4], label=contender)
    axes.set_xticks(
        range(len(cases)), [case.replace(" with", "\nwith").replace(" update", "\nupdate") for case in cases]
    )
    axes.set_ylabel("µs a frame")
    axes.grid(axis="x", visible=False)
    if contenders:
        axes.legend(loc="upper center", ncols=1, fontsize=8)
    return figure


def _recovery(results: Results) -> Any:
    figure, panels = plt.subplots(1, 2, figsize=(9.2, 3.2), sharey=True)
    most = max((it["high"] for it in results.figures("recovery") if it["unit"] == "ms"), default=1)
    for axes, case in zip(panels, ("cut", "planned move"), strict=True):
        for who, colour in (("resumekit", OURS), ("google-genai, by hand", THEIRS)):
            points = sorted(
                (it["x"], it["median"], it["low"], it["high"])
                for it in results.figures("recovery", case=case)
                if it["contender"] == who
            )
            xs, middle, low, high = ([point[place] for point in points] for place in range(4))
            axes.plot(xs, middle, "o-", color=colour, label=who, ms=4)
            axes.fill_between(xs, low, high, color=colour, alpha=0.15, lw=0)
            if who == "resumekit" and case == "cut":
                delays = [results.median("recovery", case, f"{who}: the first delay", x=x) or 0.0 for x in xs]
                axes.plot(
                    xs,
                    [all_ - delay for all_, delay in zip(middle, delays, strict=True)],
                    ":",
                    color=colour,
                    label="without its first delay",
                )
        axes.set_title(case)
        axes.set_xlabel("round trip, ms")
        axes.set_ylim(0, most * 1.05)
        axes.set_xlim(left=0)
        axes.legend(fontsize=8)
    panels[0].set_ylabel("ms without a connection")
    return figure


def _memory(results: Results) -> Any:
    figure, axes = plt.subplots(figsize=(7.6, 2.8))
    found = [it for it in results.figures("memory", case="idle sessions, nobody waits") if it.get("x") == 1000]
    _bars(
        axes,
        [(it["contender"], it["median"], it["low"], it["high"]) for it in found],
        unit="KiB an idle session, 1,000 of them",
    )
    return figure


def _thousand(results: Results) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 2.6), sharey=True)
    _bars(left, _bars_of(results, "thousand", "1,000 sessions: processor", None), unit="% of a core")
    _bars(right, _bars_of(results, "thousand", "1,000 sessions: memory", None), unit="MiB, the whole process")
    return figure


def _growth(results: Results) -> Any:
    figure, panels = plt.subplots(3, 2, figsize=(9.2, 8.4))
    curves = (
        ("decode by frame size", "bytes in a frame", "µs a frame"),
        ("end to end by frame size", "bytes in a frame", "µs a frame"),
        ("engine by sessions", "sessions in the process", "µs a frame"),
        ("end to end by sessions", "sessions in the process", "µs a frame"),
        ("a cut by unacknowledged messages", "messages to send again", "µs a cut"),
        ("engine by unread frames", "frames that wait for the application", "µs a frame"),
    )
    for axes, (case, x, y) in zip(panels.flat, curves, strict=True):
        found = list(results.figures("growth", case=case))
        contenders = list(dict.fromkeys(it["contender"] for it in found))
        colours = (THEIRS, OURS, LIGHT, OTHER, BASE) if GENAI in contenders else (OURS, LIGHT)
        for contender, mark, colour in zip(contenders, "os^Dvx", (*colours, BASE, BASE), strict=False):
            points = sorted((it["x"], it["median"]) for it in found if it["contender"] == contender)
            axes.plot(*zip(*points, strict=True), marker=mark, ms=4, color=colour, label=contender)
        axes.set_title(case)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        if "frame" in x and case.startswith("engine"):
            axes.set_xscale("symlog", linthresh=10)
        elif not case.startswith("a cut"):
            axes.set_xscale("log")
        if case.startswith("decode"):
            axes.set_yscale("log")
            axes.set_ylim(top=max((it["median"] for it in found), default=1) * 20)  # room for the legend
            axes.yaxis.set_major_formatter("{x:g}")
        else:
            axes.set_ylim(0, max((it["median"] for it in found), default=1) * 1.15)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        if len(contenders) > 1:
            axes.legend(fontsize=7)
    return figure


_DRAWN: dict[str, Callable[[Results], Any]] = {
    "decode": _decode,
    "gains": _gains,
    "end_to_end": _end_to_end,
    "adk": _adk,
    "recovery": _recovery,
    "memory": _memory,
    "thousand": _thousand,
    "growth": _growth,
}
