"""``resumekit demo``, as a person runs it: a short script, on a fast clock."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from resumekit.cli import main
from resumekit.cli._demo.script import SCRIPT, Scene, Strike, armed, tag_of
from resumekit.cli.demo import _play
from resumekit.emulator import ConnectionRecord, Fault, ServiceEvent, Trigger
from resumekit.trace import replay
from tests.secrets import leaks, watched
from tests.test_house import WITHOUT_GOOGLE

ROOT = Path(__file__).resolve().parents[2]
MID_ANSWER = Trigger.mid_answer(5)
SHORT = (
    Scene("Hello?"),
    Scene("Is it cold?", (Strike(Fault.rst(at=MID_ANSWER), "the line is reset", "reset"),)),
    Scene(
        "Is it far?",
        (
            Strike(Fault.close(1011, "Internal error encountered.", at=MID_ANSWER), "closed", "1011 and refused"),
            Strike(Fault.refuse_handle(), "the handle is refused"),
        ),
    ),
    Scene("What did I ask? [recall]"),
)


def play(script, out, *, profile="developer", **options):
    arguments = {
        "profile": profile,
        "model": None,
        "seed": 7,
        "speed": 2.0,
        "out": out,
        "plain": True,
        "adk": False,
        **options,
    }
    return _play(argparse.Namespace(**arguments), script)


@pytest.mark.network
@pytest.mark.parametrize(
    ("profile", "model"),
    [("developer", None), ("vertex", None), ("developer", "gemini-3.8-live")],
)
def test_the_plain_client_dies_and_resumekit_loses_nothing(profile, model, tmp_path, capsys):
    with watched() as secrets:
        status = play(SHORT, tmp_path, profile=profile, model=model)

    told = capsys.readouterr().out
    assert len(secrets) > 2, "handles"
    assert not leaks([told, *(path.read_text("utf-8") for path in tmp_path.iterdir())], secrets)
    assert status == 0, told
    assert "nobody caught it" in told
    numbers = json.loads((tmp_path / "ledger.json").read_text("utf-8"))
    assert numbers["problems"] == []
    assert numbers["resumekit"]["answers_right"] == 4
    assert numbers["resumekit"]["ledger"]["held"] == [scene.question for scene in SHORT]
    assert numbers["resumekit"]["ledger"]["fresh_starts"] >= 1  # a machine that stands still may cost another
    assert numbers["plain"]["answers_right"] == 1
    assert numbers["plain"]["ledger"]["lost"] == [scene.question for scene in SHORT[2:]]
    assert "APIError: 1006" in numbers["plain"]["error"]
    picture = (tmp_path / "timeline.svg").read_text("utf-8")
    ET.fromstring(picture)
    assert "1011 and refused" in picture
    again = replay(tmp_path / "call.jsonl")
    assert again.same, again
    assert main(["timeline", str(tmp_path / "call.jsonl")]) == 0
    assert "4 turns answered" in capsys.readouterr().out


@pytest.mark.network
def test_what_resumekit_cannot_save_makes_the_demo_fail(tmp_path, capsys):
    """A service that accepts the handle and has forgotten everything: nobody can know, and the ledger does."""
    forgets = Strike(Fault.amnesia(), "the handle is accepted, and the state is empty")
    script = (SHORT[0], Scene(SHORT[1].question, (*SHORT[1].strikes, forgets)), SHORT[3])

    assert play(script, tmp_path) == 1
    told = capsys.readouterr().out
    assert "FAILED: lost through resumekit: 'Hello?'" in told
    assert "answered wrongly: 'What did I ask? [recall]'" in told


@pytest.mark.network
def test_a_demo_without_faults_shows_nothing_and_says_so(tmp_path, capsys):
    never = Strike(Fault.rst(at=Trigger.mid_answer(9999)), "the line is reset", "reset")

    assert play((Scene("Hello?", (never,)),), tmp_path) == 1
    told = capsys.readouterr().out
    assert "planned, and never struck: rst (1 times)" in told
    assert "the plain client survived" in told


def test_every_scene_of_the_script_is_told_and_named():
    assert len({scene.question for scene in SCRIPT}) == len(SCRIPT)
    assert SCRIPT[0].strikes == ()
    troubled = [scene.strikes for scene in SCRIPT if scene.strikes]
    assert 8 <= len(troubled) <= 10
    for strikes in troubled:
        assert strikes[0].label
        assert all(strike.story for strike in strikes)
        assert len({tag_of(strike.fault) for strike in strikes}) == len(strikes)


def test_a_fault_is_armed_for_the_next_moment_on_the_bound_connection():
    """The emulator counts moments from the start of a connection, the script from now on."""
    connections = [ConnectionRecord(0, 1.0, bound_at=1.0, closed_at=2.0), ConnectionRecord(1, 2.0, bound_at=2.0)]
    events = [ServiceEvent(1.5, 0, "handle"), ServiceEvent(2.5, 1, "handle"), ServiceEvent(2.6, 1, "turn_complete")]

    assert armed(Fault.rst(at=Trigger.handle()), events, connections).at.n == 2
    assert armed(Fault.rst(at=Trigger.handle()), events, []).at.n == 1
    assert armed(Fault.rst(at=Trigger.mid_answer(3)), events, connections).at.n == 3
    assert armed(Fault.refuse_handle(), events, connections).at.n == 1


@pytest.mark.parametrize("speed", ["0", "-1", "99"])
def test_a_speed_that_makes_no_sense_is_refused_in_one_line(speed, capsys):
    assert main(["demo", "--speed", speed]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as done:
        main(["demo", "--help"])
    assert done.value.code == 0
    told = capsys.readouterr().out
    for word in ("--profile", "--seed", "exit status", "timeline.svg", "no network"):
        assert word in told


@pytest.mark.parametrize("name", ["resumekit.cli", "resumekit.cli.demo", "resumekit.cli.emulate"])
def test_the_command_line_needs_no_google_package(name):
    done = subprocess.run([sys.executable, "-c", WITHOUT_GOOGLE, name], cwd=ROOT, check=True, capture_output=True)
    assert done.stdout.strip() == b""


@pytest.mark.parametrize(
    ("arguments", "install"),
    [(["demo"], "'.[genai,emulator]'"), (["demo", "--adk"], "'.[adk,emulator]'")],
)
def test_without_what_it_needs_the_demo_says_what_to_install(arguments, install):
    script = f"{WITHOUT_GOOGLE}\nfrom resumekit.cli import main\nsys.exit(main({arguments}))"
    command = [sys.executable, "-c", script, "resumekit.cli"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)

    assert done.returncode == 2
    assert f"pip install {install}" in done.stderr
    assert done.stderr.count("\n") == 1
