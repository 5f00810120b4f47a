"""`make fuzz`: look for bytes that break a target, led by the coverage of resumekit (atheris, libFuzzer).

python -m tests.fuzz [--seconds N] [--publish] [TARGET...]   look for N seconds in all; a table in the end, and 1 if anything
                                                             was found
python -m tests.fuzz replay FILE...                          run what was found again; its name begins with that of its target

What is found is kept in out/fuzz/found/, and what leads to more coverage in out/fuzz/corpus/, where the next search goes on.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import time
from pathlib import Path

if "--be" in sys.argv:  # what is imported in here tells what of it runs
    from atheris import instrument_imports

    with instrument_imports(include=["resumekit"]):
        import tests.fuzz.targets  # noqa: F401
from tests.fuzz.mutate import WORDS, mutate, seeds
from tests.fuzz.targets import TARGETS
from tests.proofs import records

OUT = Path("out/fuzz")
FOUND = OUT / "found"
_SHARES = {"session": 4, "server": 2}
"""Of the time; 1 for the others."""
_LONGEST = 20_000
"""Bytes of an input."""
HEADS = ("target", "seconds", "inputs", "edges and counts", "corpus", "memory (MB)", "found")


def replay(files: list[Path]) -> int:
    failed = 0
    for file in files:
        target = file.name.partition("-")[0]
        try:
            TARGETS[target](file.read_bytes())
        except Exception as error:
            failed += 1
            print(f"{file}: {type(error).__name__}: {error}")
            if len(files) == 1:
                raise
    print(f"{len(files)} replayed, {failed} of them fail")
    return int(failed > 0)


def look(target: str, seconds: int) -> None:
    """Be libFuzzer; does not return."""
    import atheris

    def change(data: bytes, limit: int, seed: int) -> bytes:
        draw = random.Random(seed)
        changed = atheris.Mutate(data, limit) if draw.random() < 0.3 else mutate(data, draw)
        return changed[:limit]

    atheris.Setup(
        [
            "fuzz",
            str(OUT / "corpus" / target),
            f"-max_total_time={seconds}",
            f"-artifact_prefix={FOUND / target}-",
            f"-dict={OUT / 'words'}",
            f"-max_len={_LONGEST}",
            "-timeout=20",
            "-rss_limit_mb=1500",
            "-print_final_stats=1",
        ],
        TARGETS[target],
        custom_mutator=change,
    )
    atheris.Fuzz()


def search(targets: list[str], seconds: int, *, publish: bool) -> int:
    """Run each target in a process of its own, one after the other; go on where one found something."""
    stamp = records.stamp()
    FOUND.mkdir(parents=True, exist_ok=True)
    (OUT / "words").write_text("".join(f'"{word}"\n' for word in WORDS))
    shares = sum(_SHARES.get(target, 1) for target in targets)
    rows: list[tuple[str | int, ...]] = []
    for target in targets:
        corpus = OUT / "corpus" / target
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds(target)):
            (corpus / f"seed-{number}").write_bytes(seed)
        before = {*FOUND.iterdir()}
        share = round(seconds * _SHARES.get(target, 1) / shares)
        end = time.monotonic() + share
        runs = coverage = peak = 0
        while (left := round(end - time.monotonic())) > 0:
            command = [sys.executable, "-m", "tests.fuzz", "--seconds", str(left), "--be", target]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            said = done.stdout.decode("utf-8", "replace")
            runs += int((re.findall(r"number_of_executed_units: (\d+)", said) or ["0"])[-1])
            coverage = max([coverage, *map(int, re.findall(r" ft: (\d+)", said))])
            peak = max([peak, *map(int, re.findall(r"peak_rss_mb: *(\d+)", said))])
            if not done.returncode:
                break
            (OUT / f"{target}.log").write_text(said)
            if {*FOUND.iterdir()} == before:  # it did not even begin
                print(said[-2000:])
                break
        found = sorted({*FOUND.iterdir()} - before)
        rows.append((target, share, runs, coverage, len([*corpus.iterdir()]), peak, len(found)))
        for file in found:
            print(f"found: python -m tests.fuzz replay {file}", flush=True)
    print(f"\n| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
    for row in rows:
        print(f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else cell for cell in row)} |")
    tables = [{"title": "Bytes that were tried", "heads": HEADS, "rows": rows}]
    records.save("fuzz", {"about": "python -m tests.fuzz", **stamp, "tables": tables}, publish=publish)
    return int(any(row[-1] for row in rows))


def main() -> int:
    if sys.argv[1:2] == ["replay"]:
        return replay([Path(name) for name in sys.argv[2:]])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; without one all")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--publish", action="store_true", help="keep the table in docs/project/proofs, for the report")
    parser.add_argument("--be", choices=TARGETS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.be:
        look(arguments.be, arguments.seconds)
    if unknown := {*arguments.targets} - {*TARGETS}:
        parser.error(f"no target {', '.join(sorted(unknown))}")
    return search(arguments.targets or [*TARGETS], arguments.seconds, publish=arguments.publish)


if __name__ == "__main__":
    sys.exit(main())
