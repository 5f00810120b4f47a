"""An hour of real sockets, with a fault somewhere every few seconds: `python -m tests.soak` (`make soak`).

Prints a line each minute, and at the end a table of the promises and the figures. Exits with 1 where a promise is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import secrets
import sys
from typing import Any

from tests.proofs import records
from tests.soak.campaign import WARM_UP, Campaign
from tests.soak.lives import KINDS


def table(heads: tuple[str, str], rows: list[tuple[object, object]]) -> str:
    return "\n".join([f"| {heads[0]} | {heads[1]} |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def tables(result: dict[str, Any]) -> str:
    """Return a result as Markdown."""
    promises = [
        (each["promise"], f"BROKEN, {each['broken']} times" if each["broken"] else "held")
        for each in result["promises"]
    ]
    figures = [(name.replace("_", " "), value) for name, value in result["figures"].items()]
    return "\n\n".join(
        [
            table(("promise", ""), promises),
            table(("figure", ""), figures),
            table(("fault", "times"), list(result["faults"].items())),
            f'seed {result["seed"]}; `make soak ARGS="--minutes {result["minutes"]:g} --seed {result["seed"]}"`',
        ]
    )


def keep(result: dict[str, Any], *, publish: bool) -> None:
    record = {"about": "python -m tests.soak", **records.stamp(), **result}
    records.save("soak", record)
    if publish:
        records.save("soak", record, publish=True)


def _nothing(line: str) -> None:
    if line.startswith("WRONG"):
        print(line, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--sessions", type=int, default=24, help="at once")
    parser.add_argument("--gap", type=float, default=2.0, help="seconds from one fault to the next, on average")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--publish", action="store_true", help="keep the figures in docs/project/proofs")
    parser.add_argument(
        "--stop-every", type=float, default=240.0, help="seconds; so often the process is stopped for a while"
    )
    parser.add_argument(
        "--warm-up", type=float, default=WARM_UP, help="seconds; then no session may hold more and more"
    )
    parser.add_argument("--adk", default=None, metavar="PYTHON", help="of an environment with google-adk")
    parser.add_argument("--adk-sessions", type=int, default=2, help="each has a process of its own")
    parser.add_argument("--kind", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if arguments.seed is None else arguments.seed
    say = functools.partial(print, flush=True)
    campaign = Campaign(
        seconds=arguments.minutes * 60,
        sessions=1 if arguments.alone else arguments.sessions,
        seed=seed,
        gap=arguments.gap,
        stop_every=None if arguments.alone else arguments.stop_every,
        say=_nothing if arguments.alone else say,
        kinds=(arguments.kind,) if arguments.kind else tuple(KINDS),
        keep=None if arguments.alone else functools.partial(keep, publish=False),
        warm_up=arguments.warm_up,
        adk=(arguments.adk, arguments.adk_sessions) if arguments.adk else None,
    )

    async def run() -> dict[str, Any]:
        await campaign.run()
        return campaign.result()

    if arguments.alone:  # what a campaign asks of a process of its own
        asyncio.run(run())
        print(json.dumps({"wrong": campaign.wrong, "over": campaign.over}))
        return 0
    say(f"seed {seed}")
    result = asyncio.run(run())
    keep(result, publish=arguments.publish)
    print(tables(result))
    return int(any(each["broken"] for each in result["promises"]))


if __name__ == "__main__":
    sys.exit(main())
