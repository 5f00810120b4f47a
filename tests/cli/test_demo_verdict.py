"""The end of the demo: every way in which it has to fail, and its figures."""

from __future__ import annotations

import dataclasses
import re

import pytest

from resumekit.cli._demo.verdict import figures, problems, report, sentence
from resumekit.cli.demo import _conclude
from tests.cli import recordings


@pytest.fixture
def recording():
    return recordings.good()


# --- the verdict --------------------------------------------------------------------------------------------------


def test_a_demo_in_which_all_went_well_passes(recording, tmp_path, capsys):
    assert problems(recording) == []
    assert _conclude(recording, tmp_path / "new" / "folder") == 0
    told = capsys.readouterr().out
    assert "FAILED" not in told
    assert "timeline.html  " in told
    assert "call.jsonl" not in told, "there is none"
    assert "resumable.connect(client" in told.partition("What next")[2]
    assert max(len(line) for line in told.splitlines() if str(tmp_path) not in line) <= 80
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "ledger.json",
        "timeline.html",
        "timeline.svg",
    ]


def lose(lane):
    lane.report = recordings.report(lane.asked, lane.asked[:-1])


def double(lane):
    lane.report = dataclasses.replace(lane.report, doubled=["Hello?"])


def reorder(lane):
    lane.report = dataclasses.replace(lane.report, reordered=["Hello?"])


def send_history_with_a_handle(lane):
    lane.report = dataclasses.replace(lane.report, history_with_handle=1)


def give_no_ledger(lane):
    lane.report = None


def leave_unanswered(lane):
    lane.turns[1].answered_at = None


def answer_another_question(lane):
    recordings.answer(lane.turns[1], "answer to Hello?: 2 user turns held", 23.0)


def forget_a_turn(lane):
    recordings.answer(lane.turns[1], "answer to Is it <cold>?: 1 user turns held", 23.0)


def remember_in_another_order(lane):
    text = "answer to Bye? [recall]: 3 user turns held; recall: Is it <cold>? | Hello? | Bye? [recall]"
    recordings.answer(lane.turns[2], text, 32.0)


def lose_audio(lane):
    del lane.turns[1].audio[960:1920]


def answer_twice_over(lane):
    lane.turns[0].text *= 2


def raise_an_error(lane):
    lane.died_at, lane.error = 30.0, "SessionLost: gave up"


def ask_less(lane):
    lane.turns.pop()


def strike_not(lane):
    for record in lane.connections:
        record.faults.clear()


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lose, "lost through resumekit: 'Bye? [recall]'"),
        (double, "doubled through resumekit: 'Hello?'"),
        (reorder, "reordered through resumekit: 'Hello?'"),
        (send_history_with_a_handle, "history was sent beside a handle 1 times"),
        (give_no_ledger, "the emulator gave no ledger"),
        (leave_unanswered, "through resumekit unanswered: 'Is it <cold>?'"),
        (answer_another_question, "through resumekit answered wrongly: 'Is it <cold>?'"),
        (forget_a_turn, "through resumekit answered wrongly: 'Is it <cold>?'"),
        (remember_in_another_order, "through resumekit answered wrongly: 'Bye? [recall]'"),
        (lose_audio, "through resumekit answered wrongly: 'Is it <cold>?'"),
        (answer_twice_over, "through resumekit answered wrongly: 'Hello?'"),
        (raise_an_error, "the app behind resumekit saw an error: SessionLost: gave up"),
        (ask_less, "only 2 of 3 questions were asked"),
        (strike_not, "planned, and never struck: rst (1 times)"),
    ],
)
def test_whatever_goes_wrong_fails_the_demo(spoil, complaint, recording, tmp_path, capsys):
    spoil(recording.resumed)

    assert any(complaint in problem for problem in problems(recording)), problems(recording)
    assert _conclude(recording, tmp_path) == 1
    told = capsys.readouterr().out
    assert "FAILED: " in told
    assert "What next" not in told


def test_a_plain_client_that_survives_fails_the_demo(recording):
    """The positive control: whoever survives what hurts nobody has proved nothing."""
    recording.plain.died_at = None
    assert problems(recording) == [], "it is alive, and answers nothing"
    recording.plain.turns = recording.resumed.turns
    assert problems(recording) == ["the plain client survived: the demo shows nothing"]


def test_a_user_who_gave_up_says_so(recording):
    recording.plain.died_at = None
    said = sentence(recording.plain, recording.started_at)
    assert said == "I got 1 of 3 answers; 2 of my questions were never answered to the end."


@pytest.mark.parametrize("runs", [0, 2])
def test_a_tool_that_did_not_run_once_fails_the_demo(recording, runs):
    turn = recording.resumed.turns[1]
    turn.scene = dataclasses.replace(turn.scene, response="response:look_up:{}")
    turn.tool_ran = [(21.0, 22.0)]
    assert problems(recording) == []
    turn.tool_ran = turn.tool_ran * runs
    assert problems(recording) == [f"through resumekit the tool ran {runs} times for 'Is it <cold>?'"]


def test_what_a_tool_answered_is_part_of_what_was_sent(recording):
    lane = recording.resumed
    recording.script = (recording.script[0], dataclasses.replace(recording.script[1], response="response:look_up:{}"))
    lane.turns[1].scene = recording.script[1]
    assert lane.sent == lane.asked
    assert re.search(r"questions, and answers of the tool +3 +3\n", report(recording))
    assert re.search(r"runs of the tool +0 +0\n", report(recording))
    lane.turns[1].tool_ran.append((21.0, 22.0))
    assert lane.sent == ["Hello?", "Is it <cold>?", "response:look_up:{}", "Bye? [recall]"]
    assert re.search(r"questions, and answers of the tool +3 +4\n", report(recording))
    assert re.search(r"runs of the tool +0 +1\n", report(recording))


# --- figures ------------------------------------------------------------------------------------------------------


def test_gaps_are_what_the_servers_saw(recording):
    plain, resumed = recording.lanes
    assert [(gap.start, gap.end, gap.for_good) for gap in plain.gaps()] == [(21.0, 40.0, True)]
    assert [(gap.start, gap.end, gap.for_good) for gap in resumed.gaps()] == [(21.0, 22.0, False)]
    resumed.connections.clear()
    assert resumed.gaps() == []


def test_the_report_shows_both_clients(recording):
    told = report(recording)
    assert re.search(r"lost +1 +0\n", told)
    assert re.search(r"right answers +1 of 3 +3 of 3\n", told)
    assert re.search(r"connections +1 \(of 1 dialled\) +2 \(of 3 dialled\)\n", told)
    assert re.search(r"without a connection +19.0 s, for good +1.0 s in 1 gaps\n", told)
    assert max(map(len, told.splitlines())) <= 80


def test_each_user_says_what_they_went_through(recording):
    plain, resumed = recording.lanes
    assert "20.5 s into the talk the assistant broke off in the middle" in sentence(plain, 0.5)
    plain.turns[1].text = ""
    assert "the assistant fell silent" in sentence(plain, 0.5)
    assert sentence(resumed, 0.5) == (
        "I got 3 of 3 answers; 1 of them began anew after a break, and the longest I waited was 3.0 s."
    )


def test_figures_name_what_was_not_answered(recording):
    turns = figures(recording.plain, 0.5)["turns"]
    assert [(turn["answer"] is None, turn["right"]) for turn in turns] == [(False, True), (True, False), (True, False)]
