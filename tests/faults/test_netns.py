"""The kernel drops and rejects packets, in a network namespace of its own: nothing is lost.

Needs `unshare` and nft or iptables, and the right to use them (root, or user namespaces); else it says what is missing.
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

from tests.faults.netns import RULES, TOOLS
from tests.faults.runner import PROFILES

pytestmark = pytest.mark.network

ROOT = Path(__file__).parents[2]
PROBES = {
    "nft": "nft add table inet probe && nft add chain inet probe out '{ type filter hook output priority 0; }'"
    " && nft add rule inet probe out tcp dport 1 reject with tcp reset",
    "iptables": "iptables -A OUTPUT -p tcp --dport 1 -j REJECT --reject-with tcp-reset",
}


def namespace() -> list[str]:
    """Return the command that runs another one in a network namespace."""
    return ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]


def need(tool):
    """Skip the test, with the reason, where the tool cannot be used."""
    for command in ("unshare", "ip", tool):
        if shutil.which(command) is None:
            pytest.skip(f"{command} is not installed")
    words = [*namespace(), "sh", "-c", f"ip link set lo up && {PROBES[tool]}"]
    probe = subprocess.run(words, capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"{tool} cannot be used in a network namespace: {(probe.stderr.split(chr(10)) or ['?'])[0]}")


async def play(cases, profile):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [*namespace(), sys.executable, "-m", "tests.faults.netns", profile, *cases]
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE, cwd=ROOT, env=environment)
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    results = [json.loads(line) for line in said.splitlines()]
    assert process.returncode == 0, "it ended early; its error is on stderr"
    assert [case for case, _ in results] == list(cases)
    wrong = [f"{case}, {profile}: {problem}" for case, found in results for problem in found]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("tool", "names", "profile"),
    [
        ("nft", ["drop", "reject with a reset in silence"], "vertex"),
        ("iptables", ["drop for a moment", "drop to the client"], "developer"),
    ],
)
async def test_the_conversation_outlives_a_rule_of_the_firewall(tool, names, profile):
    need(tool)
    await play([f"{tool}:{name}" for name in names], profile)


@pytest.mark.proof
@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("profile", PROFILES)
async def test_the_conversation_outlives_every_rule(tool, profile):
    need(tool)
    await play([f"{tool}:{name}" for name in RULES], profile)
