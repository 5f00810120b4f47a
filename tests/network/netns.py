"""What is run inside of a network namespace of its own, where the rules of a firewall hurt nobody else.

    unshare --net python -m tests.network.netns nft vertex drop "drop in silence"

Conversations with emulators meet a rule each, on the loopback of the namespace; what is wrong with them is printed as JSON. `nft` or `iptables` set the rules, of which a rule that is taken away again lets the kernel's retransmissions through.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

from resumekit.core import events
from tests.faults.runner import Ask, Do, Profile, Scenario, converse
from tests.faults.scenarios import OLD_BINDING
from tests.network.places import POLICY
from tests.network.through import anchored

__all__ = ["RULES", "TOOLS", "Rule"]

Tool = Literal["nft", "iptables"]
TOOLS: tuple[Tool, ...] = ("nft", "iptables")


@dataclass(frozen=True)
class Rule:
    """A rule of the firewall, on the packets of the emulator's port."""

    nft: str
    iptables: str
    sides: tuple[Literal["dport", "sport"], ...] = ("dport", "sport")
    """To the server, to the client."""
    seconds: float | None = None
    """Then it is taken away again; None: when the connection has been given up."""
    cuts: bool = True
    """The connection does not outlive it."""
    idle: bool = False
    """While nothing is going on; else while an answer comes."""


PATIENT = dict.fromkeys(("ping_idle", "ping_expecting", "abort_idle", "abort_expecting", "frozen_after"), 1000)
DROP = {"nft": "drop", "iptables": "DROP"}
RESET = {"nft": "reject with tcp reset", "iptables": "REJECT --reject-with tcp-reset"}
UNREACHABLE = {"nft": "reject with icmp port-unreachable", "iptables": "REJECT --reject-with icmp-port-unreachable"}
RULES = {
    "drop": Rule(**DROP),
    "drop in silence": Rule(**DROP, idle=True),
    "drop to the server": Rule(**DROP, sides=("dport",)),
    "drop to the client": Rule(**DROP, sides=("sport",)),
    "drop for a moment": Rule(**DROP, seconds=0.25, cuts=False),
    "reject with a reset": Rule(**RESET),
    "reject with a reset in silence": Rule(**RESET, idle=True),
    "reject as unreachable": Rule(**UNREACHABLE),
}


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)


def set_rule(tool: Tool, rule: Rule, port: int) -> None:
    if tool == "nft":
        run("nft", "add", "table", "inet", f"port{port}")
        run("nft", "add", "chain", "inet", f"port{port}", "out", "{ type filter hook output priority 0; }")
        for side in rule.sides:
            run("nft", "add", "rule", "inet", f"port{port}", "out", "tcp", side, str(port), *rule.nft.split())
    else:
        edit_iptables("-A", rule, port)


def drop_rule(tool: Tool, rule: Rule, port: int) -> None:
    if tool == "nft":
        run("nft", "delete", "table", "inet", f"port{port}")
    else:
        edit_iptables("-D", rule, port)


def edit_iptables(how: str, rule: Rule, port: int) -> None:
    for side in rule.sides:
        run("iptables", "-w", how, "OUTPUT", "-p", "tcp", f"--{side}", str(port), "-j", *rule.iptables.split())


async def play(name: str, tool: Tool, profile: Profile) -> list[str]:
    """Run a conversation that meets a rule; return what was wrong."""
    rule = RULES[name]

    async def meet(app):
        await anchored(app)
        if not rule.idle:
            await app.write("two [chunks:40]")
            while not app.turns or app.turns[-1] == []:  # noqa: ASYNC110 -- the first frame of the answer
                await asyncio.sleep(0.002)
        await asyncio.to_thread(set_rule, tool, rule, app.server.port)
        if rule.seconds is not None:
            await asyncio.sleep(rule.seconds)
        else:
            if rule.idle:
                app.asking = asyncio.create_task(app.write("two"))  # what wakes a firewall that answers
            await app.until(lambda: app.count(events.ConnectionLost) > 0)
        await asyncio.to_thread(drop_rule, tool, rule, app.server.port)
        await app.take_answer()

    scenario = Scenario(
        name=name,
        steps=(Ask("one"), Do(meet), Ask("three")),
        knobs={"chunk_interval": 0.4},
        policy=POLICY if rule.cuts else {**POLICY, **PATIENT},
        refused=OLD_BINDING,
        alone=False,
    )
    conversation = await converse(scenario, profile=profile, loop="classic")
    found = conversation.problems()
    lost = conversation.app.count(events.ConnectionLost) if conversation.app else 0
    if bool(lost) is not rule.cuts:
        found.append(f"{lost} connections were lost")
    return [*found, str(conversation)] if found else []


async def main(tool: Tool, profile: Profile, *names: str) -> None:
    run("ip", "link", "set", "lo", "up")
    found = await asyncio.gather(*(play(name, tool, profile) for name in names))
    print(json.dumps(dict(zip(names, found, strict=True))))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))  # type: ignore[arg-type]
