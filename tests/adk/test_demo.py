"""``resumekit demo --adk``, as a person runs it: a short script, on a fast clock."""

from __future__ import annotations

import argparse
import json
from xml.etree import ElementTree as ET

import pytest

from resumekit.cli._demo.script import ADK_SCRIPT
from resumekit.cli.demo import _play

SHORT = HELLO, TOOL, RECALL = ADK_SCRIPT[0], ADK_SCRIPT[3], ADK_SCRIPT[-1]


@pytest.mark.network
@pytest.mark.parametrize("profile", ["developer", "vertex"])
def test_plain_adk_loses_answers_and_resumekit_none(profile, tmp_path, capfd):
    fields = {"profile": profile, "model": None, "seed": 7, "speed": 4.0, "out": tmp_path, "plain": True, "adk": True}
    status = _play(argparse.Namespace(**fields), SHORT)

    told, complaints = capfd.readouterr()
    assert (status, complaints) == (0, ""), told
    numbers = json.loads((tmp_path / "ledger.json").read_text("utf-8"))
    assert numbers["problems"] == []
    assert numbers["resumekit"]["answers_right"] == 3
    held = [HELLO.question, TOOL.question, TOOL.response, RECALL.question]
    assert numbers["resumekit"]["ledger"]["held"] == held
    assert [turn["tool_runs"] for turn in numbers["resumekit"]["turns"]] == [0, 1, 0]
    assert numbers["plain"]["answers_right"] < 3
    picture = (tmp_path / "timeline.svg").read_text("utf-8")
    ET.fromstring(picture)
    assert "google-adk alone" in picture
    assert "the app looks it up" in told
