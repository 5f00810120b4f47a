"""What is run inside of a network namespace of its own, where the rules of a firewall hurt nobody else.

    unshare --net python -m tests.faults.netns NAME

A conversation with the emulator meets a rule in the middle, on the loopback of the namespace; what is wrong with it is
printed as JSON. `nft` or `iptables` set the rules, of which a rule that is taken away again lets the kernel's retransmissions through.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

from resumekit.core import events
from tests.faults.places import POLICY
from tests.faults.runner import Ask, Do, Profile, Scenario, converse
from tests.faults.scenarios import OLD_BINDING

__all__ = ["RULES", "TOOLS", "Rule"]

Tool = Literal["nft", "iptables"]
TOOLS: tuple[Tool, ...] = ("nft", "iptables")


@dataclass(frozen=True)
class Rule:
    """A rule of the firewall, on the packets of the emulator's port."""

    nft: str
    iptables: str
    ways: tuple[Literal["up", "down"], ...] = ("up", "down")
    seconds: float | None = None
    """Then it is taken away again; None: when the connection has been given up."""
    cuts: bool = True
    """The connection does not outlive it."""
    idle: bool = False
    """While nothing is going on; else while an answer comes."""


DROP = {"nft": "drop", "iptables": "DROP"}
RESET = {"nft": "reject with tcp reset", "iptables": "REJECT --reject-with tcp-reset"}
UNREACHABLE = {"nft": "reject with icmp port-unreachable", "iptables": "REJECT --reject-with icmp-port-unreachable"}
RULES = {
    "drop": Rule(**DROP),
    "drop in silence": Rule(**DROP, idle=True),
    "drop to the server": Rule(**DROP, ways=("up",)),
    "drop to the client": Rule(**DROP, ways=("down",)),
    "drop for a moment": Rule(**DROP, seconds=0.25, cuts=False),
    "reject with a reset": Rule(**RESET),
    "reject with a reset in silence": Rule(**RESET, idle=True),
    "reject as unreachable": Rule(**UNREACHABLE),
}


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)


def set_rule(tool: Tool, rule: Rule, port: int) -> None:
    if tool == "nft":
        run("nft", "add", "table", "inet", "faults")
        run("nft", "add", "chain", "inet", "faults", "out", "{ type filter hook output priority 0; }")
    for way in rule.ways:
        side = "dport" if way == "up" else "sport"
        if tool == "nft":
            run("nft", "add", "rule", "inet", "faults", "out", "tcp", side, str(port), *rule.nft.split())
        else:
            run("iptables", "-A", "OUTPUT", "-p", "tcp", f"--{side}", str(port), "-j", *rule.iptables.split())


def drop_rules(tool: Tool) -> None:
    if tool == "nft":
        run("nft", "delete", "table", "inet", "faults")
    else:
        run("iptables", "-F", "OUTPUT")


async def play(name: str, tool: Tool, profile: Profile) -> list[str]:
    """Run a conversation that meets a rule; return what was wrong."""
    rule = RULES[name]

    async def meet(app):
        await app.anchored()
        if not rule.idle:
            await app.write("two [chunks:99]")
            while not app.turns or app.turns[-1] == []:  # noqa: ASYNC110 -- the first frame of the answer
                await asyncio.sleep(0.002)
        await asyncio.to_thread(set_rule, tool, rule, app.server.port)
        if rule.seconds is not None:
            await asyncio.sleep(rule.seconds)
        else:
            if rule.idle:
                app.asking = asyncio.create_task(app.write("two"))  # what wakes a firewall that answers
            await app.until(lambda: app.count(events.ConnectionLost) > 0)
        await asyncio.to_thread(drop_rules, tool)
        await app.take_answer()

    scenario = Scenario(
        name=name,
        steps=(Ask("one"), Do(meet), Ask("three")),
        knobs={"chunk_interval": 0.4},
        policy={**POLICY, "connect_timeout": 40, "max_outage": 1000},
        refused=OLD_BINDING,
    )
    conversation = await converse(scenario, profile=profile, loop="classic")
    found = conversation.problems()
    lost = conversation.app.count(events.ConnectionLost) if conversation.app else 0
    if bool(lost) is not rule.cuts:
        found.append(f"{lost} connections were lost")
    return [*found, str(conversation)] if found else []


async def main(profile: Profile, *cases: str) -> None:
    run("ip", "link", "set", "lo", "up")
    for case in cases:
        tool, name = case.split(":")
        found = await play(name, tool, profile)  # type: ignore[arg-type]
        print(json.dumps([case, found]), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))  # type: ignore[arg-type]
