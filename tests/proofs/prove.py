"""All campaigns that need no other machine: `make prove`, or `python -m tests.proofs.prove [--minutes 60]`.

Schedules of all profiles, until a million of them or the time is over; the same seeds under different hash seeds; the
tests marked `proof` or `wide`; the tables in virtual time. It ends with the table of what held, each seed that failed with the
command that replays it, and exit code 1 if there is one. `--publish` keeps the figures for `docs/project/proofs.md`.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.core.schedules import PROFILES
from tests.proofs import records
from tests.proofs.campaign import Campaign, Found

__all__ = ["main"]

PARTS = ("schedules", "determinism", "tests", "tables")
SAME_SEEDS = 1000
HASH_SEEDS = ("1", "2")


def main(arguments: Sequence[str] | None = None) -> int:
    """Be the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.prove", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="for the schedules (%(default)g)")
    parser.add_argument("--schedules", type=int, default=1_000_000, help="at the most (%(default)s)")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes (%(default)s)")
    parser.add_argument(
        "--from", type=int, default=0, dest="first", metavar="SEED", help="the first seed of each profile"
    )
    parser.add_argument("--resume", action="store_true", help="go on behind the seeds of the last run, and add to it")
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; may be given again")
    parser.add_argument("--publish", action="store_true", help="keep the figures in docs/project/proofs")
    chosen = parser.parse_args(arguments)
    parts = chosen.only or PARTS
    record = records.load("prove", published=False) if chosen.resume else {}
    record |= {"about": "python -m tests.proofs.prove", **records.stamp()}
    good = True
    if "schedules" in parts:
        record["schedules"] = told = _schedules(chosen, record.get("schedules", {}))
        good = not told["failures"]
    if "determinism" in parts:
        record["determinism"] = _determinism()
        good = good and record["determinism"]["same"] == record["determinism"]["seeds"]
    if "tests" in parts:
        record["tests"] = _run(
            [
                *(
                    "-m",
                    "pytest",
                    "-q",
                    "-p",
                    "no:cacheprovider",
                    "-n",
                    str(chosen.jobs),
                    "--timeout=900",
                    "-m",
                    "proof or wide",
                ),
                # without those that run seeds one by one: that is the campaign above
                *("-k", "not no_seeded_schedule and not whatever_the_hash_seed", "tests"),
            ]
        )
        good = good and record["tests"]["ok"]
    if "tables" in parts:
        path = (records.PUBLISHED if chosen.publish else records.OUT) / "tables.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        record["tables"] = _run(["-m", "tests.proofs", "--json", str(path)])
        good = good and record["tables"]["ok"]
    records.save("prove", record)
    if chosen.publish:
        records.save("prove", record, publish=True)
    _conclude(record, parts)
    return not good


def _schedules(chosen: argparse.Namespace, before: dict[str, Any]) -> dict[str, Any]:
    first = before["next"] if before else chosen.first
    campaign = Campaign(first, chosen.schedules, chosen.minutes * 60.0, chosen.jobs)
    print(f"schedules of {len(PROFILES)} profiles, from seed {first} on, in {chosen.jobs} processes", flush=True)
    campaign.run(_progress)
    _progress(campaign)
    found = Found.of_rows(before.get("rows", ()), before.get("failures", ()), before.get("processor", 0.0))
    found.add(campaign.found)
    return {
        "first": before.get("first", first),
        "next": campaign.next,
        "jobs": chosen.jobs,
        "seconds": round(before.get("seconds", 0.0) + campaign.took, 1),
        "processor": round(found.processor, 1),
        "rows": found.as_rows(),
        "failures": found.failures,
    }


def _progress(campaign: Campaign) -> None:
    done, found = campaign.found.total("schedules"), campaign.found
    rate = done / max(campaign.took, 1e-9)
    print(
        f"{campaign.took / 60:6.1f} min: {done:,} schedules, {rate:.0f}/s, up to seed {campaign.next}; "
        f"{found.total('losses'):,} connections lost, {found.total('messages'):,} messages; "
        f"{len(found.failures)} schedules failed",
        flush=True,
    )


def _determinism() -> dict[str, Any]:
    """The same seeds in processes whose sets have another order."""
    command = [sys.executable, "-m", "tests.core.digest", str(SAME_SEEDS)]
    children = [
        subprocess.Popen(
            command, cwd=records.ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, stdout=subprocess.PIPE, text=True
        )
        for seed in HASH_SEEDS
    ]
    told = [child.communicate()[0].splitlines() for child in children]
    different = [lines[0] for lines in zip(*told, strict=False) if len(set(lines)) > 1]
    same = min(map(len, told)) - len(different)
    print(
        f"{same} of {SAME_SEEDS} seeds give the same bytes under PYTHONHASHSEED={' and '.join(HASH_SEEDS)}", flush=True
    )
    return {"seeds": SAME_SEEDS, "same": same, "different": different[:20]}


def _run(arguments: list[str]) -> dict[str, Any]:
    """Run a command of Python's, and show what it says."""
    print(f"\n$ python {' '.join(arguments)}", flush=True)
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, *arguments], cwd=records.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        assert child.stdout is not None
        closing = ""
        for line in child.stdout:
            print(line, end="", flush=True)
            closing = line.strip() or closing
    return {
        "command": f"python {' '.join(argument for argument in arguments if str(records.ROOT) not in argument)}",
        "ok": child.returncode == 0,
        "seconds": round(time.monotonic() - started, 1),
        "closing": closing.strip("= "),
    }


def _conclude(record: dict[str, Any], parts: Sequence[str]) -> None:
    """Print the table of what held, and how to replay what did not."""
    print()
    if "schedules" in parts:
        told = record["schedules"]
        found = Found.of_rows(told["rows"], told["failures"])
        fates: Counter[str] = Counter()
        print(
            "| profile | mode | schedules | steps | connections lost | messages | failed |\n|---|---|---|---|---|---|---|"
        )
        for (profile, mode), count in sorted(found.counts.items()):
            failed = sum(one["profile"] == profile for one in found.failures)
            fates.update({name: it for name, it in count.items() if name.startswith("fate: ")})
            print(
                f"| {profile} | {mode} | {count['schedules']:,} | {count['steps']:,} | {count['losses']:,} "
                f"| {count['messages']:,} | {failed} |"
            )
        print("\nfates of the messages: " + ", ".join(f"{name[6:]} {it:,}" for name, it in fates.most_common()))
        print(f"seeds {told['first']} to {told['next'] - 1}; go on with --resume, or --from {told['next']}")
        for failure in told["failures"]:
            print(f"FAILED {failure['rule']}: {failure['problem'].splitlines()[0][:140]}\n  {failure['replay']}")
    if "determinism" in parts:
        told = record["determinism"]
        print(
            f"determinism: {told['same']} of {told['seeds']} seeds the same; different: {told['different'] or 'none'}"
        )
    for name in ("tests", "tables"):
        if name in parts:
            print(f"{name}: {'ok' if record[name]['ok'] else 'FAILED'}, {record[name]['seconds']:.0f} s")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # else the processes would outlive this one
    raise SystemExit(main())
