"""What is promised, what holds it, and where the figure for it is: the rows of `docs/project/proofs.md`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.results import Results, number

__all__ = ["PROMISES", "Figures", "Promise", "Verdict"]

Verdict = Literal["holds", "does not hold", "not measured"]


@dataclass(frozen=True)
class Figures:
    """Everything that was measured."""

    records: dict[str, dict[str, Any]]
    """`docs/project/proofs/*.json`, by name."""
    benchmarks: Results

    @property
    def schedules(self) -> dict[str, Any]:
        """What the campaign of schedules came to."""
        return self.records.get("prove", {}).get("schedules", {})

    def total(self, name: str, mode: str = "") -> int:
        """Return a figure of the campaign, over all profiles."""
        return sum(row.get(name, 0) for row in self.schedules.get("rows", ()) if mode in ("", row["mode"]))

    def failed(self, *words: str) -> int:
        """Return how many schedules failed; of those whose problem has one of some words."""
        failures = self.schedules.get("failures", ())
        return sum(not words or any(word in one["problem"] for word in words) for one in failures)

    def tables(self) -> Iterable[dict[str, Any]]:
        """Yield all tables of all records."""
        for record in self.records.values():
            tables = record.get("tables", ())
            yield from tables if isinstance(tables, list) else ()

    def cell(self, title: str, row: object, head: str) -> float | None:
        """Return a cell of the table whose title begins so, by the first cell of its row, and the head of its column."""
        for table in self.tables():
            if table["title"].startswith(title) and head in table["heads"]:
                for cells in table["rows"]:
                    if cells[0] == row:
                        return float(cells[table["heads"].index(head)])
        return None

    def column(self, title: str, head: str) -> list[float]:
        """Return a column of such a table, over all rows that have a number there."""
        return [
            float(cells[table["heads"].index(head)])
            for table in self.tables()
            if table["title"].startswith(title) and head in table["heads"]
            for cells in table["rows"]
        ]

    def tests_hold(self) -> bool | None:
        """Whether the tests marked `proof` passed in the run of `make prove`."""
        return self.records.get("prove", {}).get("tests", {}).get("ok")


@dataclass(frozen=True, kw_only=True)
class Promise:
    """One promise. A figure is a text, and whether it is as promised; None: it was not measured."""

    key: str
    what: str
    promised: str
    held_by: tuple[str, ...]
    """Tests and campaigns."""
    measured: Callable[[Figures], tuple[str, bool | None]]
    why: str = ""
    """Why the figure is not reached, where it is not."""

    def verdict(self, figures: Figures) -> Verdict:
        """Say whether it holds."""
        holds = self.measured(figures)[1]
        return "not measured" if holds is None else "holds" if holds else "does not hold"


STATEFUL = "tests/core/test_stateful.py"
SEEDS = "make prove"


def _schedules(figures: Figures) -> tuple[str, bool | None]:
    done = figures.total("schedules")
    if not done:
        return "not measured", None
    failed = figures.failed()
    each = figures.schedules["processor"] / done
    text = (
        f"{done:,} schedules of {figures.total('steps') // done} steps: {failed} failed; {figures.total('losses'):,} "
        f"connections lost, {figures.total('messages'):,} messages; {each * 1000:.0f} ms of processor time each: 10,000 of "
        f"them in {each * 10_000 / 2:.0f} s on two cores"
    )
    return text, not failed


def _none(*words: str) -> Callable[[Figures], tuple[str, bool | None]]:
    """How many schedules failed with one of these words."""

    def measured(figures: Figures) -> tuple[str, bool | None]:
        done, failed = figures.total("schedules"), figures.failed(*words)
        return (f"{failed} of {done:,} schedules", not failed) if done else ("not measured", None)

    return measured


def _g2(figures: Figures) -> tuple[str, bool | None]:
    sent = figures.total("messages", "handle only")
    if not sent:
        return "not measured", None
    names = sorted({name for row in figures.schedules["rows"] for name in row if name.startswith("fate: ")})
    fates = {name[6:]: figures.total(name, "handle only") for name in names}
    told = ", ".join(f"{count:,} {name}" for name, count in sorted(fates.items(), key=lambda it: -it[1]))
    return f"{sent:,} messages, {sum(fates.values()):,} fates: {told}", sum(fates.values()) == sent


def _g3(figures: Figures) -> tuple[str, bool | None]:
    cuts = [round(it, 2) for it in figures.column("A cut, the service up", "round trips, p50")]
    moves = [
        mean / rtt
        for table in figures.tables()
        if table["title"].startswith("A planned move")
        for rtt, releases, after, mean, *_ in table["rows"]
        if releases == 0 and after == "1.0 RTT"
    ]
    real = figures.benchmarks.median("recovery", "planned move", "resumekit: the rest, in RTTs", x=100)
    if not cuts or not moves:
        return "not measured", None
    text = (
        f"a cut {max(cuts):.2f} RTT and the first delay (p50 and p99); a planned move {max(moves):.2f} RTT, "
        f"over loopback {number(real)} RTT"
    )
    return text, max(cuts) <= 4.001 and max(moves) <= 1.5


def _g6(figures: Figures) -> tuple[str, bool | None]:
    title = "An hour of outage"
    peaks = figures.column(title, "memory at most (bytes)")
    bounds, limits = figures.column(title, "bytes at most"), figures.column(title, "limits (bytes)")
    if not peaks:
        return "not measured", None
    text = (
        f"an hour of outage: at most {max(peaks) / 2**20:.2f} MiB, with every buffer full, of limits of "
        f"{limits[0] / 2**20:.2f} MiB; audio {max(bounds):,.0f} bytes at most"
    )
    return text, max(peaks) < 8 * 2**20 and max(peaks) <= 1.1 * limits[0]


def _g7(figures: Figures) -> tuple[str, bool | None]:
    title, peak, tries, p99 = "10,000 sessions at once", "connects/s at the peak", "connects each", "p99 (s)"
    quiet = figures.cell(title, "goAway to all, 60 s left, all quiet", peak)
    half = figures.cell(title, "goAway to all, 60 s left, half of them answering", peak)
    spread = figures.cell(title, "total cut, first_delay=30", peak)
    quota = [f"total cut, {when}500 let in per second" for when in ("", "30 s down, ")]
    each, late = ([figures.cell(title, case, head) for case in quota] for head in (tries, p99))
    if quiet is None or half is None or spread is None or None in (*each, *late):
        return "not measured", None
    most, latest = max(it or 0.0 for it in each), max(it or 0.0 for it in late)
    text = (
        f"goAway to 10,000: {quiet:,.0f} connects/s at the peak, {half:,.0f} where half of them answer; a total cut "
        f"{spread:,.0f} with `first_delay=30`; of a service that lets in 500/s, {most:.1f} tries each, p99 {latest:.0f} s"
    )
    return text, max(quiet, half) <= 400 and spread <= 10_000 / 30 * 1.5 and most <= 7 and latest <= 35


def _g13(figures: Figures) -> tuple[str, bool | None]:
    told = figures.records.get("prove", {}).get("determinism")
    if not told:
        return "not measured", None
    return f"{told['same']:,} of {told['seeds']:,} seeds give the same bytes", told["same"] == told["seeds"]


def _g15(figures: Figures) -> tuple[str, bool | None]:
    results = figures.benchmarks
    mix = results.median("micro", "engine: voice mix", "engine")
    audio = results.median("micro", "engine: audio, 40 ms", "engine")
    if mix is None or audio is None:
        return "not measured", None
    share = audio * 50_000 / 1e6 * 100
    text = f"{number(mix)} µs a frame (voice mix), {number(audio)} µs a frame of audio: {share:.1f} % of a core"
    return text, mix < 5.0 and share < 2.0


def _guarded(*promises: str, tests: bool = False) -> Callable[[Figures], tuple[str, bool | None]]:
    """What has no figure: its tests pass, and each was seen failing."""

    def measured(figures: Figures) -> tuple[str, bool | None]:
        guards = [it for it in figures.records.get("guards", {}).get("guards", ()) if it["promise"] in promises]
        if not guards:
            return "not measured", None
        seen = sum(it["result"] == "seen failing" for it in guards)
        good = seen == len(guards) and (not tests or figures.tests_hold() is not False)
        return f"its tests pass; {seen} of {len(guards)} guards seen failing", good

    return measured


PROMISES: tuple[Promise, ...] = (
    Promise(
        key="G1",
        what="What the application sent is in the conversation that goes on: not lost, not doubled, in order",
        promised="10,000 seeded schedules of 100 steps and more: 0 lost, 0 doubled, 0 reordered",
        held_by=(SEEDS, STATEFUL),
        measured=_schedules,
    ),
    Promise(
        key="G2",
        what="Where the service does not say what it consumed: nothing is lost silently",
        promised="every message ends in one fate; the sum of the fates is what was sent",
        held_by=(SEEDS, "tests/proofs/test_prove.py"),
        measured=_g2,
    ),
    Promise(
        key="G3",
        what="A recovery is quick",
        promised="a cut ≤ 4 RTT and the first delay; a planned move on a warm connection ≤ 1.5 RTT",
        held_by=("tests/proofs/test_recovery.py", "make bench-full"),
        measured=_g3,
        why="A planned move closes the old connection first and waits for one round trip, the answer to the close, before "
        "its setup goes out: 2 RTT. Sent earlier, after half a round trip, the setup would come 1.5 RTT after the close; but a "
        "service that has not let go of the session yet refuses it, and then the move takes a new dial: the table of planned "
        "moves has what that costs. Over a real network nobody knows how long the service takes to let go, so the answer is "
        "waited for. A move without a warm connection takes 5 RTT.",
    ),
    Promise(
        key="G4",
        what="A connection that is half open, or a process that was frozen, is noticed",
        promised="silence is pinged after 10 s (30 s where nothing is expected), given up after 30 s (90 s)",
        held_by=(
            "tests/core/test_engine.py",
            "tests/core/test_watch.py",
            "tests/drivers/test_driver.py",
            "tests/network",
        ),
        measured=_guarded("G4"),
    ),
    Promise(
        key="G5",
        what="No hot loop",
        promised="a service that accepts and drops for ever: ≤ 10 dials in any 60 s, and one typed error at `max_outage`",
        held_by=(SEEDS, "tests/faults/test_storm.py", "tests/network", "tests/core/test_engine.py"),
        measured=_none("dials in 60 s"),
    ),
    Promise(
        key="G6",
        what="Bounded memory, and nothing left behind",
        promised="an hour of outage with audio, video and messages: < 8 MiB, and the limits plus 10 %; reconnects leave nothing",
        held_by=("tests/proofs/test_outage.py", "tests/adapters/test_genai.py", "tests/drivers/test_driver.py"),
        measured=_g6,
    ),
    Promise(
        key="G7",
        what="No herd",
        promised="10,000 sessions told to go with 60 s left: ≤ 400 connects/s at the peak; a total cut: ≤ N/`first_delay` × 1.5; "
        "where 500/s are let in, up again or after 30 s: ≤ 7 tries each, p99 ≤ 35 s",
        held_by=("tests/proofs/test_herd.py",),
        measured=_g7,
        why="Each session knows of itself alone: what many do at once is spread by chance, over the time that is left and over "
        "delays that grow. Where a fleet has to stay below a rate, `Policy.first_delay` has to follow its size.",
    ),
    Promise(
        key="G8",
        what="A planned move is invisible where it can be",
        promised="goAway with 10 s left or more and a quiet point in them: nothing cut, nothing lost; without one: cut once, reported",
        held_by=(SEEDS, "tests/core/test_engine.py", "tests/faults/test_patience.py"),
        measured=_none("quiet", "goAway", "was not left"),
    ),
    Promise(
        key="G9",
        what="A handle never regresses",
        promised="0 fresh starts with a good handle in hand, 0 handles used after a newer one, 0 mid-answer states resumed",
        held_by=(SEEDS, "tests/core/test_rules.py", "tests/drivers/test_keeper.py"),
        measured=_none("handle", "fresh start, and"),
    ),
    Promise(
        key="G10",
        what="One owner: a conversation is one session's at a time",
        promised=(
            "40 writers on a key, pauses longer than the lease, stores that fail: 0 stale writes accepted, no handle"
            " regresses, no frame written after the lease"
        ),
        held_by=(
            "tests/drivers/test_keeper.py",
            "tests/defaults/test_sqlite.py",
            "tests/processes",
            "plugins/resumekit-redis/tests",
            "plugins/resumekit-postgres/tests",
        ),
        measured=_guarded("G10"),
    ),
    Promise(
        key="G11",
        what="History and handle never both",
        promised="0 connections bound with a handle that get history",
        held_by=(SEEDS, "tests/core/test_engine.py", "tests/adk"),
        measured=_none("history"),
    ),
    Promise(
        key="G12",
        what="No secrets",
        promised="0 handles, keys and tokens in logs, events, reprs, exceptions",
        held_by=("tests/secrets.py", "tests/test_secrets_of_dials.py", "tests/wire/test_redact.py", "tests/drivers"),
        measured=_guarded("G12"),
    ),
    Promise(
        key="G13",
        what="Deterministic replay",
        promised="1,000 seeds under different PYTHONHASHSEED: the same bytes",
        held_by=(SEEDS, "tests/core/test_determinism.py"),
        measured=_g13,
    ),
    Promise(
        key="G14",
        what="Cancellation is safe",
        promised="cancelled anywhere in connect, send, receive, move, close: nothing left, still closable",
        held_by=("tests/drivers/test_driver.py", "tests/proofs"),
        measured=_guarded("G14"),
    ),
    Promise(
        key="G15",
        what="Cheap when nothing breaks",
        promised="`feed` < 5 µs a frame; < 2 % of a core for 1,000 sessions with 50 frames a second each",
        held_by=("make gate", "make bench-full"),
        measured=_g15,
        why="50,000 frames a second leave 0.4 µs for each. Finding the frame plain media, counting it and keeping it for the "
        "application takes about a microsecond in CPython; reading the frame from its socket takes five times as long. See "
        "[what receiving costs](../explanation/performance.md).",
    ),
    Promise(
        key="G16",
        what="Callbacks cannot hurt",
        promised="a hook or listener that raises, is slow or returns nonsense: reported once, the default used",
        held_by=("tests/test_plugins.py", "tests/drivers/test_driver.py"),
        measured=_guarded("G16"),
    ),
    Promise(
        key="frames",
        what="No frame breaks a session, whatever is in it",
        promised="what cannot be read is discarded and told; after 16 in a row that are no JSON there is another connection",
        held_by=("tests/fuzz", "make fuzz"),
        measured=_guarded("frames"),
    ),
    Promise(
        key="order",
        what="What is sent again, or late, keeps the order of the application",
        promised="0 reordered",
        held_by=(SEEDS, "tests/core/test_conversation.py"),
        measured=_none("reordered"),
    ),
    Promise(
        key="cut turns",
        what="An answer that was cut is marked, then given again in the same loop, or settled and reported",
        promised="0 loops without exactly one whole answer",
        held_by=(SEEDS, "tests/core/test_engine.py"),
        measured=_none("loop"),
    ),
    Promise(
        key="settled",
        what="A question that is given up is not in the conversation, its loop ends, and an event names it",
        promised="0 settled questions in the state",
        held_by=(SEEDS, "tests/core/test_rules_of_tools.py"),
        measured=_none("settled"),
    ),
    Promise(
        key="repeats",
        what="What may stand in the conversation twice is flagged (Developer API)",
        promised="0 repeats without an event",
        held_by=(SEEDS, "tests/core/test_rules.py"),
        measured=_none("doubled"),
    ),
    Promise(
        key="audio",
        what="Audio is there once, in order, or the lost span is reported",
        promised="0 s missing that no event tells",
        held_by=(SEEDS, "tests/core/test_speech.py"),
        measured=_none("audio", "are missing", "utterances"),
    ),
    Promise(
        key="shadow",
        what="An answered turn that no handle holds is run again, unseen",
        promised="0 frames of it shown, 0 of its messages lost",
        held_by=(SEEDS, "tests/core/test_rules.py"),
        measured=_none("a frame for a loop that is over"),
    ),
    Promise(
        key="tools",
        what="A tool does not run twice, unless its cancellation was shown before",
        promised="0 repeated executions, 0 responses to a call that the state does not know",
        held_by=(SEEDS, "tests/core/test_rules_of_tools.py"),
        measured=_none("call", "response"),
    ),
    Promise(
        key="full",
        what="A full buffer makes the caller wait, and then says so",
        promised="`BufferFull` after `send_wait`; nothing that was accepted is dropped but audio and video, and that is told",
        held_by=("tests/drivers/test_driver.py", "tests/proofs/test_outage.py"),
        measured=_guarded("full"),
    ),
)
