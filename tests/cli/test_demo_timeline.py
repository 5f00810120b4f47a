"""The picture of the demo."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from resumekit.cli._demo.timeline import timeline
from resumekit.cli._timeline.page import page_of
from resumekit.emulator import ServiceEvent
from tests.cli import recordings

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def recording():
    return recordings.good()


def items(svg):
    return [group for group in ET.fromstring(svg).iter(f"{SVG}g") if group.get("data-kind")]


def titles(svg, kind):
    found = (group.find(f"{SVG}title").text for group in items(svg) if group.get("data-kind") == kind)
    return [re.sub(r"^[\d.]+ s  (alone|through resumekit): ", "", title) for title in found]


def styles(svg):
    return Counter(element.get("class") for group in items(svg) for element in group.iter())


def test_the_picture_shows_what_was_recorded(recording):
    svg = timeline(recording)
    assert Counter(group.get("data-kind") for group in items(svg)) == {
        "question": 6,
        "answer": 7,
        "connection": 4,
        "handle": 2,
        "go-away": 1,
        "gap": 2,
        "fault": 2,
    }
    drawn = styles(svg)
    assert (drawn["whole"], drawn["cutoff"], drawn["again"]) == (4, 3, 1)
    assert (drawn["first"], drawn["resumed"], drawn["failed"]) == (2, 1, 1)
    assert titles(svg, "gap") == ["no connection from here on", "no connection for 1.00 s"]
    assert titles(svg, "fault") == ["fault 1: the line is reset"] * 2
    assert "connection 2: never bound; its end: HTTP 503" in titles(svg, "connection")
    texts = [element.text for element in ET.fromstring(svg).iter(f"{SVG}text")]
    assert texts.count("reset & gone") == 2
    assert "1 of 3 answers right, 1 messages lost" in texts
    assert "3 of 3 answers right, 0 messages lost" in texts


def test_both_clients_are_drawn_on_one_axis(recording):
    svg = timeline(recording)
    seconds = float(ET.fromstring(svg).get("data-seconds"))
    assert seconds == pytest.approx((recording.ended_at - recording.started_at) * 1.01)
    asked = [float(group.get("data-a")) for group in items(svg) if group.get("data-kind") == "question"]
    assert asked == [9.5, 19.5, 29.5] * 2


def test_the_run_of_a_tool_and_a_turn_that_was_given_up_are_drawn(recording):
    assert titles(timeline(recording), "tool") == []
    recording.script = (replace(recording.script[0], response="response:look_up:{}"), *recording.script[1:])
    recording.resumed.turns[0].tool_ran.append((10.5, 11.0))
    recording.plain.died_at, recording.plain.turns[1].gave_up_at = None, 30.0
    svg = timeline(recording)
    assert titles(svg, "tool") == ["tool of the app: answered after 0.50 s"]
    spans = [(group.get("data-a"), group.get("data-b")) for group in items(svg) if group.get("data-kind") == "answer"]
    assert ("19.5000", "29.5000") in spans


def test_a_wrong_answer_is_told(recording):
    assert titles(timeline(recording), "note") == []
    recording.resumed.turns[0].text = "something else"
    assert titles(timeline(recording), "note") == ["question 1 is answered wrongly"]


def test_the_picture_needs_nothing_from_outside(recording):
    svg = timeline(recording)
    assert re.findall(r"(?:href|src)\W|url\((?!#plot\))", svg) == []
    assert re.findall(r"https?://[^\"]+", svg) == ["http://www.w3.org/2000/svg"]
    assert "prefers-color-scheme: dark" in svg
    assert page_of(svg, "t", "f").count('<tr class="fault"') == 2


def test_a_handle_in_mid_answer_is_a_small_tick(recording):
    recording.plain.service.insert(1, ServiceEvent(11.0, 0, "handle"))
    assert styles(timeline(recording))["minor"] == 1
    assert styles(timeline(recording))["handle"] == 2


def test_go_away_is_drawn_at_the_connection_that_was_in_use(recording):
    """The client counts dials, the server those that it saw."""
    assert titles(timeline(recording), "go-away")[0].startswith("goAway on connection 1: 8 s left")
    recording.resumed.connections[0].number = 6
    assert titles(timeline(recording), "go-away")[0].startswith("goAway on connection 7: 8 s left")


def test_the_picture_of_a_demo_that_hardly_began_can_be_drawn(recording):
    for lane in recording.lanes:
        lane.turns.clear()
        lane.connections.clear()
        lane.service.clear()
        lane.report = None
    recording.ended_at = None
    ET.fromstring(timeline(recording))
