"""Do 1,000 live sessions in one process stay alive, where 1 % of the connections are cut each second, and what do they cost?

Each session is a conversation: a question, an answer of 40 ms frames of audio, 25 of them in a second, a handle, the next
question. The client process is held on two cores (it has one event loop, which uses one of them), the service
(`load_server`) on the others. Without cuts: plain google-genai, which would not live through one, and bare `websockets`,
the floor. Every frame of every answer is checked by the client, and what each session consists of at its end by the
service. TCP without TLS, which would cost all of them the same.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import IO, Any, cast

from benchmarks import harness
from benchmarks.load_server import Plan, question

ENVIRONMENTS = ["bench"]

__all__ = ["play"]

_CUT_RATE = 0.01
_CUT = ("resumekit, native", "resumekit, google-genai")
_UNCUT = ("bare websockets", "google-genai")
_CORES = 2


class _Child:
    """A process that is talked to in lines of JSON."""

    def __init__(self, module: str, first: object, variables: Mapping[str, str]) -> None:
        environ = {**os.environ, "PYTHONPATH": str(harness.ROOT), **variables}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=harness.ROOT,
            env=environ,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._in = cast("IO[str]", self._process.stdin)
        self._out = cast("IO[str]", self._process.stdout)
        self.say(first)

    def say(self, message: object) -> None:
        self._in.write(json.dumps(message) + "\n")
        self._in.flush()

    def hear(self) -> Any:
        line = self._out.readline()
        if not line:
            raise RuntimeError(f"the process ended with {self._process.wait()}; its error is on stderr")
        return json.loads(line)

    def ask(self, message: object) -> Any:
        self.say(message)
        return self.hear()

    def end(self) -> None:
        self._in.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._out.close()


def play(
    contender: str,
    *,
    sessions: int,
    seconds: float,
    cut_rate: float = 0.0,
    frames: int = 250,
    services: int = 2,
    uvloop: bool = False,
    gc_threshold: int = 700,
    pinned: bool = True,
    variables: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Have a process live so many sessions for so long, and return what it cost and what went wrong.

    Args:
        contender: A name of `load_client.CONTENDERS`.
        sessions: At once.
        seconds: That are measured.
        cut_rate: The part of the connections that is cut in each of them.
        frames: Of an answer.
        services: Processes of the service.
        uvloop: In the client.
        gc_threshold: Of the client: how many objects more before the garbage collector looks at them.
        pinned: Client and service on cores of their own, where there are enough of them.
        variables: Of the client's environment, beside those of this process.
    """
    cores = sorted(os.sched_getaffinity(0)) if pinned else []
    client_cores = cores[:_CORES] if len(cores) > _CORES else []
    plan = Plan(frames=frames)
    with contextlib.ExitStack() as stack:

        def child(module: str, first: object, variables: Mapping[str, str]) -> _Child:
            process = _Child(module, first, variables)
            stack.callback(process.end)
            return process

        served: list[_Child] = [
            child("benchmarks.load_server", {**asdict(plan), "seed": number, "cores": cores[_CORES:]}, {})
            for number in range(services)
        ]
        load = {
            "contender": contender,
            "ports": [service.hear()["port"] for service in served],
            "sessions": sessions,
            "seconds": seconds,
            "ramp": plan.turn,
            "plan": asdict(plan),
            "patience": 10 * plan.turn + 30,
            "uvloop": uvloop,
            "gc_threshold": gc_threshold,
            "cores": client_cores,
        }
        client = child("benchmarks.load_client", load, variables or {})
        client.hear()
        if cut_rate:
            _all(served, {"do": "cut", "rate": cut_rate})
        client.say({})
        client.hear()
        _all(served, {"do": "leave alone"})
        result: dict[str, Any] = client.ask({})
        reports = _all(served, {"do": "report"})
    cuts = [cut for report in reports for cut in report["cuts"]]
    result["cuts"] = len(cuts)
    result["answered_whole"] = sum(result["answered"].values())
    result["service"] = {
        "late_ms": max(report["late"].get("p99", 0.0) for report in reports) * 1000,
        "cpu": sum(report["cpu"] for report in reports),
        "connections": sum(report["connections"] for report in reports),
    }
    result["wrong"] = list(_wrong(result, reports, frames))
    return result


def _all(services: Sequence[_Child], message: object) -> list[Any]:
    return [service.ask(message) for service in services]


def _wrong(result: dict[str, Any], reports: list[Any], frames: int) -> Iterator[str]:
    """Say what is not as it has to be, session by session."""
    for session, error in result["lost"].items():
        yield f"session {session} is lost: {error}"
    yield from result["problems"]
    for report in reports:
        yield from report["problems"]
        for cut in report["cuts"]:
            if not cut["bound"]:
                yield f"session {cut['session']} never came back"
    said = {session: texts for report in reports for session, texts in report["said"].items()}
    whole = 0
    for session, answered in result["answered"].items():
        whole += answered * frames
        asked = [question(int(session), number + 1) for number in range(answered)]
        if session not in result["lost"] and said[session] != asked:
            yield f"the service holds {said[session]} of session {session}, which had {answered} questions answered"
    if not result["lost"] and result["received"] != whole + result["discarded"]:
        yield f"{result['received']} frames are not {whole} of whole answers and {result['discarded']} of others"
    if result["left"]["tasks"] or result["left"]["files"] > 0:
        yield f"left behind: {result['left']}"


# ------------------------------------------------------------------ the figures


@dataclass(frozen=True)
class _Run:
    contender: str
    sessions: int = 1000
    seconds: float = 60
    frames: int = 250
    gc_threshold: int = 700

    @property
    def name(self) -> str:
        tuned = f", gc threshold {self.gc_threshold:,}" if self.gc_threshold != 700 else ""
        return self.contender + tuned


_QUICK = [_Run(contender, sessions=100, seconds=5, frames=50) for contender in (*_CUT, *_UNCUT)]
_FULL = [
    *(_Run(contender) for contender in (*_CUT, *_UNCUT)),
    # Python's garbage collector looks at everything there is whenever a quarter more has been made: what a service with
    # as many sessions may set otherwise.
    *(_Run(contender, seconds=20, gc_threshold=20_000) for contender in _CUT),
    # What plain google-genai can carry, too.
    *(_Run(contender, sessions=250, seconds=15, frames=125) for contender in (*_CUT, *_UNCUT)),
]


def _measure(bench: harness.Bench) -> None:
    options = bench.options
    if not _pinned():
        bench.note("client and service had the same cores: there are no more than two")
    wrong: list[str] = []
    for run in _QUICK if bench.quick else _FULL:
        if options["sessions"]:
            run = replace(run, sessions=cast("int", options["sessions"]))  # noqa: PLW2901 -- as the options want it
        if options["seconds"]:
            run = replace(run, seconds=cast("float", options["seconds"]))  # noqa: PLW2901
        if bench.wanted(run.name, f"{run.sessions:,} sessions"):
            rate = _CUT_RATE if run.contender in _CUT else 0.0
            result = play(**asdict(run), cut_rate=rate, uvloop=bool(options["uvloop"]))
            _keep(bench, run.name, run.sessions, result)
            wrong += result["wrong"] if run.contender in _CUT else []
    if wrong:
        raise SystemExit("\n".join([f"{len(wrong)} problems:", *wrong[:20]]))


def _keep(bench: harness.Bench, contender: str, sessions: int, result: dict[str, Any]) -> None:
    """Have the figures of one run kept: one sample each, as a run is long, and nothing is compared but side by side."""
    rss, seconds = result["rss"], result["seconds"]
    frames = max(result["frames"], 1)

    def add(case: str, value: float, unit: str) -> None:
        bench.add(f"{sessions:,} sessions: {case}", contender, [value], unit=unit)

    def add_times(case: str, times: dict[str, float]) -> None:
        for name in ("p50", "p99", "max"):
            if name in times:
                add(f"{case}, {name}", times[name] * 1000, "ms")

    add("frames", frames / seconds, "frames/s")
    add("cuts", result["cuts"], "cuts")
    add("lost", len(result["lost"]), "sessions")
    add("processor", result["cpu"] / seconds * 100, "% of a core")
    add("processor a frame", result["cpu"] / frames * 1e6, "us/frame")
    add("garbage collection", result["gc"]["sum"] / seconds * 100, "% of the time")
    add("memory", rss["end"] / 1024, "MiB")
    add("memory a session", (rss["end"] - rss["empty"]) / sessions, "KiB/session")
    add_times("lateness of a frame", result["late"])
    add_times("lateness of the event loop", result["lag"])
    add_times("silence after a cut", result["gaps"])
    stats = result["stats"]
    told = {name: round(stats[name]) for name in _TOLD if stats.get(name)}
    bench.note(
        f"{contender}, {sessions:,} sessions for {seconds:.0f} s: {result['answered_whole']:,} whole answers, "
        f"{result['cuts']} cuts, {len(result['wrong'])} problems; {told}; the service was "
        f"{result['service']['late_ms']:.0f} ms late (p99)"
    )
    for problem in result["wrong"][:3]:
        bench.note(f"{contender}: {problem}")


_TOLD = ("resumes", "fresh_starts", "turns_reanswered", "turns_shadowed", "turns_settled")


def _pinned() -> bool:
    return len(os.sched_getaffinity(0)) > _CORES


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sessions", type=int, help="at once, instead of the usual numbers")
    parser.add_argument("--seconds", type=float, help="that are measured, instead of the usual numbers")
    parser.add_argument("--uvloop", action="store_true", help="in the client")


if __name__ == "__main__":
    harness.run(__doc__, _measure, options=_options)
