"""The kernel drops and rejects packets, in a network namespace of its own: nothing is lost.

Needs `unshare` and nft or iptables, and the right to use them (root, or user namespaces); else it is skipped, and says what is missing. In CI,
what could be installed has to be there.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.runner import PROFILES
from tests.network.netns import RULES, TOOLS

pytestmark = pytest.mark.network

ROOT = Path(__file__).parents[2]
SHORT = ("drop", "drop in silence", "drop for a moment", "reject with a reset")
PACKAGES = {"nft": "nftables", "iptables": "iptables"}
PROBES = {
    "nft": "nft add table inet probe && nft add chain inet probe out '{ type filter hook output priority 0; }'"
    " && nft add rule inet probe out tcp dport 1 reject with tcp reset",
    "iptables": "iptables -A OUTPUT -p tcp --dport 1 -j REJECT --reject-with tcp-reset",
}


def namespace() -> list[str]:
    """Return the command that runs another one in a network namespace."""
    return ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]


def usable():
    """Return the tools that can be used, and for each of the others why not."""
    why = {tool: missing(tool) for tool in TOOLS}
    return [tool for tool in TOOLS if why[tool] is None], why


def missing(tool):
    for command, package in (("unshare", "util-linux"), ("ip", "iproute2"), (tool, PACKAGES[tool])):
        if shutil.which(command) is None:
            if os.environ.get("CI") == "true" and os.geteuid() == 0 and can_be_installed(package):
                pytest.fail(f"{command} is not installed, and could be: `apt-get install {package}`, as .ci/run does")
            return f"{command} is not installed"
    words = [*namespace(), "sh", "-c", f"ip link set lo up && {PROBES[tool]}"]
    probe = subprocess.run(words, capture_output=True, text=True, check=False)
    if probe.returncode:
        return f"{tool} cannot be used in a network namespace: {(probe.stderr.splitlines() or ['?'])[0]}"
    return None


def can_be_installed(package):
    """Tell whether apt knows of the package: a machine without a package index cannot be asked for it."""
    if shutil.which("apt-cache") is None:
        return False
    known = subprocess.run(["apt-cache", "show", package], capture_output=True, check=False)
    return known.returncode == 0


async def play(tool, profile, *names):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [*namespace(), sys.executable, "-m", "tests.network.netns", tool, profile, *names]
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE, cwd=ROOT, env=environment)
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, "it ended early; its error is on stderr"
    found = json.loads(said)
    assert sorted(found) == sorted(names)
    assert not any(found.values()), found


async def test_the_conversation_outlives_rules_of_the_firewall():
    tools, why = usable()
    if not tools:
        pytest.skip("; ".join(why.values()))
    await play(tools[0], "vertex", *SHORT)


@pytest.mark.wide
@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("profile", PROFILES)
async def test_the_conversation_outlives_every_rule(tool, profile):
    if (why := missing(tool)) is not None:
        pytest.skip(why)
    await play(tool, profile, *RULES)
