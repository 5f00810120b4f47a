"""Ten cuts in one run: what the session service holds afterwards is what was asked, and one answer to each question."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, field

import pytest
from google.adk.sessions import InMemorySessionService

from resumekit.core import events
from resumekit.emulator import Fault, Trigger, parse_answer
from tests.adk.conversing import GIVES_WHOLES, adk_session, converse, found_by_task
from tests.adk.sessions import OneAtATime
from tests.adk.support import FAMILIES, words
from tests.faults.runner import Arm, Ask, Do, Say, Scenario

pytestmark = pytest.mark.network

ENDS = [
    Fault.rst,
    functools.partial(Fault.close, 1011, "Internal error encountered."),
    Fault.fin,
    functools.partial(Fault.go_away, 0),
    functools.partial(Fault.close, 1008, "The operation was aborted."),
    Fault.torn_frame,
    functools.partial(Fault.close, 1000, ""),
    functools.partial(Fault.listener_down, 3),
    Fault.rst,
    Fault.fin,
]
"""Ten ways in which a connection ends."""
MOMENTS = {
    "text": [
        Trigger.mid_answer(1),
        Trigger.generation_complete(2),
        Trigger.turn_complete(2),
        Trigger.client_message(2),
    ],
    "audio": [Trigger.mid_audio(1), Trigger.end_of_speech(2), Trigger.mid_audio(3)],
    "tools": [Trigger.mid_answer(2), Trigger.tool_call(2), Trigger.mid_answer(4)],
}
"""By turns: when. The first answer on a connection is that to the question before, which is answered again."""


def cuts(kind: str, cut_turn: str) -> list[Fault]:
    moments = (
        MOMENTS[kind] if cut_turn == "reanswer" else [moment for moment in MOMENTS[kind] if moment.on.endswith("frame")]
    )
    return [end(at=moment) for end, moment in zip(ENDS, itertools.cycle(moments), strict=False)]


TOOL = ' [tool:weather {"city": "Rome"}][tool:time {"zone": 1}]'


def conversation(kind: str, cut_turn: str, family: str) -> Scenario:
    """Ten questions, each of which meets a cut, between two that do not."""

    def arm(fault: Fault) -> Do:
        return Do(lambda app: app.server.inject(fault))

    ask = Say if kind == "audio" else Ask
    tool = TOOL if kind == "tools" else ""
    steps = [ask("begin"), Arm()]
    for number, fault in enumerate(cuts(kind, cut_turn), 1):
        steps += [arm(fault), ask(f"question-{number}{tool}")]
        if cut_turn == "reanswer":
            steps.append(Arm())
    at_end = {"tool_turns": "at_end"} if tool and family == "2.5" else {}
    return Scenario(
        name="ten cuts",
        steps=(*steps, ask("end")),
        knobs=at_end,
        parts=bool(tool),
        speech=kind == "audio",
        strikes=10,
        policy={"cut_turn": cut_turn},
    )


@dataclass
class Kept:
    """What is stored of a question."""

    question: str
    whole: list[str] = field(default_factory=list)
    interrupted: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    responses: list[str] = field(default_factory=list)


def by_question(stored, *, settled: bool) -> list[Kept]:
    """Return what is stored, question by question. On Vertex, ADK may store what was asked behind its answer."""
    asked = [question for event in stored if (question := asked_in(event))]
    assert len(set(asked)) == len(asked), asked
    kept = {question: Kept(question) for question in asked}
    newest = Kept("nothing was asked")
    for event in stored:
        said = event.output_transcription
        if question := asked_in(event):
            newest = kept[question]
        elif text := words(event) or (said.text if said is not None else ""):
            answer = parse_answer(text)
            if answer is not None:
                newest = kept[answer.asked]
            if event.interrupted:
                newest.interrupted.append(text)
            elif answer is None or answer.is_whole:  # else more is to come, after the tools
                newest.whole.append(text)
        elif event.interrupted and settled and not newest.interrupted:
            # What is transcribed has no mark of its own; and of an answer that was not seen yet, nothing else is there.
            newest.interrupted.append(newest.whole.pop() if newest.whole else "")
        newest.calls += [call.name for call in event.get_function_calls()]
        newest.responses += [response.name for response in event.get_function_responses()]
    return list(kept.values())


def asked_in(event) -> str:
    if event.input_transcription is not None:
        return event.input_transcription.text or ""
    return words(event) if event.author == "user" else ""


@pytest.fixture(autouse=True)
def clients():
    with found_by_task():
        yield


@pytest.mark.parametrize(
    ("kind", "cut_turn", "profile", "family", "service"),
    [
        ("text", "reanswer", "developer", "2.5", "sqlite"),
        ("text", "settle", "vertex", "3.x", "memory"),
        ("audio", "reanswer", "developer", "3.x", "memory"),
        ("audio", "settle", "developer", "2.5", "sqlite"),
        ("audio", "reanswer", "vertex", "2.5", "sqlite"),
        ("tools", "reanswer", "vertex", "3.x", "sqlite"),
        ("tools", "reanswer", "developer", "2.5", "memory"),
        ("tools", "settle", "developer", "3.x", "sqlite"),
    ],
)
async def test_one_user_turn_and_one_answer_for_each_question(*, kind, cut_turn, profile, family, service, tmp_path):
    if family not in FAMILIES:
        family = "2.5"
    if kind == "audio" and not GIVES_WHOLES:
        profile = "developer"  # this version stores no transcription on Vertex
    scenario = conversation(kind, cut_turn, family)
    memory = service == "memory"
    session_service = InMemorySessionService() if memory else OneAtATime(str(tmp_path / "sessions.db"))
    connect = functools.partial(adk_session, session_service=session_service)
    run = await converse(scenario, profile=profile, family=family, connect=connect)
    assert run.error is None
    assert len(run.struck) == len(ENDS)
    kept = by_question(run.app.stored, settled=cut_turn == "settle")
    assert [one.question for one in kept] == [asked for asked, _ in run.app.questions]
    assert [one for one in kept if len(one.whole) + len(one.interrupted) != 1] == []
    assert [one for one in kept if one.calls != one.responses or len(set(one.calls)) < len(one.calls)] == []
    cut = sum(bool(one.interrupted) for one in kept)
    if cut_turn == "reanswer":
        assert cut == 0
        assert not run.problems(), str(run)
    else:
        assert cut == sum(isinstance(event, events.TurnSettled) for event in run.app.told) >= 5
    if kind == "tools":
        assert [one.calls for one in kept if "tool" in one.question and not one.interrupted] == [
            ["weather", "time"]
        ] * (10 - cut)
