"""The picture of the demo."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from resumekit.cli._demo.timeline import timeline
from resumekit.emulator import ServiceEvent
from tests.cli import recordings


@pytest.fixture
def recording():
    return recordings.good()


SVG = "{http://www.w3.org/2000/svg}"


def elements(svg, kind):
    return [e for e in ET.fromstring(svg).iter() if kind in (e.get("class") or "").split()]


def test_the_picture_shows_what_was_recorded(recording):
    svg = timeline(recording)
    assert len(elements(svg, "right")) == 4 + 1, "with the legend's"
    assert len(elements(svg, "wrong")) == 2 + 1
    assert len(elements(svg, "first")) == 2 + 1
    assert len(elements(svg, "resumed")) == 1 + 1
    assert len(elements(svg, "failed")) == 1 + 1
    assert len(elements(svg, "notice")) == 1 + 1
    assert len(elements(svg, "handle")) == 2 + 1
    assert len(elements(svg, "gap")) == 2 + 1
    texts = [element.text for element in ET.fromstring(svg).iter(f"{SVG}text")]
    assert texts.count("reset & gone") == 2
    assert "1 of 3 answers right, 1 messages lost" in texts


def test_the_run_of_a_tool_and_a_turn_that_was_given_up_are_drawn(recording):
    assert elements(timeline(recording), "tool") == []
    recording.script = (replace(recording.script[0], response="response:look_up:{}"), *recording.script[1:])
    recording.resumed.turns[0].tool_ran.append((10.5, 11.0))
    recording.plain.died_at, recording.plain.turns[1].gave_up_at = None, 30.0
    svg = timeline(recording)
    assert len(elements(svg, "tool")) == 1 + 1, "with the legend's"
    assert "2: Is it &lt;cold&gt;? (never answered)" in svg


def test_the_picture_needs_nothing_from_outside(recording):
    svg = timeline(recording)
    assert re.findall(r"(?:href|src|url)\W", svg) == []
    assert re.findall(r"https?://[^\"]+", svg) == ["http://www.w3.org/2000/svg"]
    assert "prefers-color-scheme: dark" in svg


def test_a_handle_in_mid_answer_is_a_small_tick(recording):
    recording.plain.service.insert(1, ServiceEvent(11.0, 0, "handle"))
    assert len(elements(timeline(recording), "minor")) == 1


def test_the_picture_of_a_demo_that_hardly_began_can_be_drawn(recording):
    for lane in recording.lanes:
        lane.turns.clear()
        lane.connections.clear()
        lane.service.clear()
        lane.report = None
    recording.ended_at = None
    ET.fromstring(timeline(recording))
