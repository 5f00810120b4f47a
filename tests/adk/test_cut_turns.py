"""What an application, and its session service, get of a turn that was cut: no half answer, or a marked one."""

from __future__ import annotations

import pytest
from google.adk.agents.run_config import RunConfig
from google.genai import types

from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from tests.adk.support import ADK, Talk, config, policy, question, run, service, words

pytestmark = pytest.mark.network

FAMILIES = ["2.5"] if ADK < (2,) else ["2.5", "3.x"]
everywhere = pytest.mark.parametrize(
    ("profile", "family"), [(profile, family) for profile in ("developer", "vertex") for family in FAMILIES]
)


def speech() -> RunConfig:
    transcription = types.AudioTranscriptionConfig()
    return config(
        response_modalities=["AUDIO"],
        input_audio_transcription=transcription,
        output_audio_transcription=transcription,
    )


async def cut(talk: Talk, text: str, *, at: Trigger, spoken: bool = False, heard: bool = False) -> None:
    """Ask, and cut the first connection when the application has got a part of the answer, or of what was heard."""
    shown = len(talk.events)
    await talk.server.inject(Fault.silence(1000, at=at, connection=0))
    if spoken:
        talk.speak(text)
    else:
        talk.queue.send_content(question(text))
    is_so = is_heard if heard else is_a_part
    await talk.until(lambda: any(is_so(event) for event in talk.events[shown:]))
    await talk.server.inject(Fault.rst())


def is_a_part(event) -> bool:
    return bool(event.partial and (words(event) or event.output_transcription))


def is_heard(event) -> bool:
    return event.input_transcription is not None


async def said(talk: Talk) -> list[str]:
    """Return what the session service holds, in words; marked where it is interrupted."""
    lines = []
    for event in await talk.stored():
        transcription = event.input_transcription or event.output_transcription
        text = words(event) or (transcription.text if transcription else "")
        if text:
            lines.append(f"{event.author}: {text}" + " (interrupted)" * bool(event.interrupted))
    return lines


def answer(text: str, turns: int) -> str:
    return f"an_agent: answer to {text}: {turns} user turns held"


def interruptions(talk: Talk) -> int:
    return sum(bool(event.interrupted) for event in talk.events)


@everywhere
async def test_a_written_answer_that_is_given_again_leaves_no_half(profile, family):
    async with service(profile, family=family) as server, run(server, family=family) as talk:
        await talk.ask("one")
        await cut(talk, "two", at=Trigger.mid_answer(2))
        await talk.until(lambda: talk.turns == 2)
        await talk.ask("three")
        assert interruptions(talk) == 1
        assert await said(talk) == [
            *("user: one", answer("one", 1)),
            *("user: two", answer("two", 2)),
            *("user: three", answer("three", 3)),
        ]


@everywhere
async def test_a_spoken_answer_that_is_given_again_leaves_no_half(profile, family):
    async with service(profile, family=family) as server, run(server, family=family, run_config=speech()) as talk:
        await cut(talk, "one", at=Trigger.mid_audio(4))
        await talk.until(lambda: talk.turns == 1)
        await talk.ask("two")
        assert interruptions(talk) == 1
        assert await said(talk) == ["user: one", answer("one", 1), "user: two", answer("two", 2)]


# On Vertex, older versions wait for a mark that the service does not send, and store no question at all.
@pytest.mark.parametrize("profile", ["developer"] if ADK < (2, 1) else ["developer", "vertex"])
@pytest.mark.parametrize("heard", [True, False])
async def test_a_spoken_question_that_is_heard_again_is_stored_once(heard, profile):
    """Cut while it is transcribed, which interrupts nothing, and while it is answered."""
    async with service(profile) as server, run(server, run_config=speech()) as talk:
        at = Trigger.server_frame(2) if heard else Trigger.mid_audio(4)
        await cut(talk, "what time is it", at=at, spoken=True, heard=heard)
        await talk.until(lambda: talk.turns == 1)
        assert interruptions(talk) == (0 if heard else 1)
        # ADK before 2.0 says that the agent spoke it; and on Vertex the mark that ends the answer comes first.
        stored = [line.partition(": ")[2] for line in await said(talk)]
        expected = ["what time is it", answer("what time is it", 1).partition(": ")[2]]
        assert sorted(stored) == sorted(expected)
        assert profile == "vertex" or stored == expected


async def test_a_spoken_question_is_stored_before_its_written_answer():
    async with service() as server, run(server) as talk:
        await cut(talk, "what time is it", at=Trigger.mid_answer(2), spoken=True)
        await talk.until(lambda: talk.turns == 1)
        stored = [line.partition(": ")[2] for line in await said(talk)]
        assert stored == ["what time is it", answer("what time is it", 1).partition(": ")[2]]


@everywhere
async def test_a_settled_answer_is_stored_as_far_as_it_was_given(profile, family):
    settles = policy(cut_turn="settle")
    async with service(profile, family=family) as server, run(server, family=family, policy=settles) as talk:
        await talk.ask("one")
        await cut(talk, "two", at=Trigger.mid_answer(2))
        await talk.told_of(events.TurnSettled)
        await talk.until(lambda: talk.turns == 2)
        given = "".join(words(event) for event in talk.events if event.partial).partition("held")[2]
        assert given
        assert await said(talk) == ["user: one", answer("one", 1), "user: two", f"an_agent: {given} (interrupted)"]
        end = [event for event in talk.events if event.interrupted or event.turn_complete]
        assert [bool(event.turn_complete) for event in end[-2:]] == [False, True]
        assert "answer to three" in "".join(map(words, await talk.ask("three")))


@everywhere
async def test_a_settled_answer_in_audio_has_its_transcription_stored_once(profile, family):
    settles = policy(cut_turn="settle")
    fields = {"family": family, "policy": settles, "run_config": speech()}
    async with service(profile, family=family) as server, run(server, **fields) as talk:
        await talk.ask("one")
        first = len(talk.events)
        await cut(talk, "two", at=Trigger.mid_audio(4))
        await talk.until(lambda: talk.turns == 2)
        turn = talk.events[first:]
        given = "".join(event.output_transcription.text for event in turn if is_a_part(event))
        assert given
        assert await said(talk) == ["user: one", answer("one", 1), "user: two", f"an_agent: {given}"]
        marks = [n for n, event in enumerate(turn) if event.interrupted]
        (whole,) = (n for n, event in enumerate(turn) if event.output_transcription and not event.partial)
        assert len(marks) == 1
        assert whole < marks[0]
        heard = [event.input_transcription or event.output_transcription for event in turn]
        assert all(transcription.text for transcription in heard if transcription)


@pytest.mark.parametrize("profile", ["developer", "vertex"])
async def test_a_settled_spoken_question_is_stored_once(profile):
    settles = policy(cut_turn="settle")
    async with service(profile) as server, run(server, policy=settles, run_config=speech()) as talk:
        await cut(talk, "what time is it", at=Trigger.mid_audio(4), spoken=True)
        await talk.until(lambda: talk.turns == 1)
        stored = [line.partition(": ")[2] for line in await said(talk)]
        assert stored[0] == "what time is it"
        assert len(stored) < 3
