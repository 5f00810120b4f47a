"""Images, speech and interruptions by the user, with a cut in the middle."""

from __future__ import annotations

import pytest
from google.genai import types

from resumekit.core import events
from resumekit.emulator import Fault, Trigger, heard, silence, spoken
from tests.adk.support import ADK, FAMILIES, OURS, PLAIN, Talk, config, policy, question, run, service, words

pytestmark = pytest.mark.network

MANUAL = types.RealtimeInputConfig(automatic_activity_detection=types.AutomaticActivityDetection(disabled=True))
SLOW = 10
"""Seconds of the service that a connection takes to be set up, so that the application can do something meanwhile."""


def speech(**fields):
    transcription = types.AudioTranscriptionConfig()
    return config(
        response_modalities=["AUDIO"],
        input_audio_transcription=transcription,
        output_audio_transcription=transcription,
        **fields,
    )


def picture(number: int) -> types.Blob:
    return types.Blob(data=b"\xff\xd8" + bytes([number]) * 64, mime_type="image/jpeg")


def heard_by(talk: Talk, first: int = 0) -> bytes:
    """Return the sound of an answer: what came after the last interruption."""
    shown = talk.events[first:]
    last = max((number for number, event in enumerate(shown) if event.interrupted), default=-1)
    parts = [part for event in shown[last + 1 :] if event.content for part in event.content.parts or ()]
    return b"".join(part.inline_data.data for part in parts if part.inline_data)


async def go_down(talk: Talk) -> None:
    """Lose the connection; the next takes long to be set up."""
    await talk.server.inject(Fault.slow_setup(SLOW), Fault.rst())
    await talk.told_of(events.ConnectionLost)


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
async def test_of_images_only_the_newest_waits_for_a_connection(family):
    async with service(family=family) as server, run(server, family=family) as talk:
        talk.queue.send_realtime(picture(0))
        await talk.ask("one")
        await talk.told_of(events.HandleReceived)
        await go_down(talk)
        for number in range(1, 6):
            talk.queue.send_realtime(picture(number))
        await talk.told_of(events.Resumed)
        await talk.ask("two")
        await talk.close()
        dropped = sum(event.frames for event in talk.told if isinstance(event, events.VideoDropped))
        report = await server.ledger_report(["one", "two"])
        assert report.ok, report
        assert report.video_frames + dropped == 6
        assert dropped > 0


async def test_an_image_in_a_question_is_kept_with_it():
    """3.x models take no content in mid-session, and ADK sends a content with an image in no other form."""
    part = types.Part(inline_data=picture(7))
    async with service() as server, run(server) as talk:
        await talk.ask("one")
        await talk.told_of(events.HandleReceived)
        await server.inject(Fault.rst(at=Trigger.mid_answer(2)))
        talk.queue.send_content(types.Content(role="user", parts=[types.Part(text="two"), part]))
        await talk.turn_is_over("answer to two")
        await talk.close()
        assert talk.count(events.TurnCut) == 1
        with_image = [b"image/jpeg" in b"".join(await server.raw(n)) for n in range(2)]
        assert with_image == [True, True]
        report = await server.ledger_report(["one", "two"])
        assert report.ok, report


# --- speech -----------------------------------------------------------------------------------------------------------

IN_SPEECH = {
    "in the question": None,
    "at its end": Trigger.end_of_speech(2),
    "in the answer": Trigger.mid_audio(3),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("marks", ["by silence", "by marks"])
@pytest.mark.parametrize("cut", IN_SPEECH)
async def test_a_spoken_question_is_heard_whole_and_answered_whole(cut, marks, family):
    run_config = speech(**({"realtime_input_config": MANUAL} if marks == "by marks" else {}))
    async with service(family=family) as server, run(server, family=family, run_config=run_config) as talk:
        speak(talk, "one", marks)
        await talk.turn_is_over("answer to one")
        await talk.told_of(events.HandleReceived)
        first = len(talk.events)
        in_question = Trigger.client_message(11 if marks == "by silence" else 8)
        await server.inject(Fault.rst(at=IN_SPEECH[cut] or in_question))
        speak(talk, "two", marks)
        await talk.turn_is_over("answer to two")
        await talk.close()
        assert talk.count(events.Resumed) == 1
        assert heard(heard_by(talk, first), rate=24000).text == "answer to two: 2 user turns held"
        assert heard(heard_by(talk, first), rate=24000).whole
        assert await server.audio() == said(marks, "one") + said(marks, "two")
        stored = await talk.stored()
        asked = [event.input_transcription.text for event in stored if event.input_transcription]
        told = [event.output_transcription.text for event in stored if event.output_transcription]
        assert asked == ["one", "two"]
        assert told == ["answer to one: 1 user turns held", "answer to two: 2 user turns held"]


def said(marks: str, text: str) -> bytes:
    return spoken(text) + (silence(0.5) if marks == "by silence" else b"")


def speak(talk: Talk, text: str, marks: str) -> None:
    if marks == "by silence":
        talk.speak(text)
        return
    talk.queue.send_activity_start()
    pcm = spoken(text)
    for at in range(0, len(pcm), 3200):
        talk.queue.send_realtime(types.Blob(data=pcm[at : at + 3200], mime_type="audio/pcm;rate=16000"))
    talk.queue.send_activity_end()


async def test_what_is_said_into_a_dead_line_is_bounded_and_what_was_lost_is_told():
    limits = policy(audio_seconds=2.0)
    async with service() as server, run(server, run_config=speech(), policy=limits) as talk:
        talk.speak("one")
        await talk.turn_is_over("answer to one")
        await talk.told_of(events.HandleReceived)
        sent = len(await server.audio())
        await go_down(talk)
        pcm = silence(6)
        for at in range(0, len(pcm), 3200):
            talk.queue.send_realtime(types.Blob(data=pcm[at : at + 3200], mime_type="audio/pcm;rate=16000"))
        await talk.told_of(events.Resumed)
        talk.speak("two")
        await talk.turn_is_over("answer to two")
        await talk.close()
        dropped = sum(event.seconds for event in talk.told if isinstance(event, events.AudioDropped))
        held = len(await server.audio()) - sent
        assert dropped > 0
        assert dropped + held / 32000 == pytest.approx(6 + len(said("by silence", "two")) / 32000)


# --- the user breaks in -----------------------------------------------------------------------------------------------

LONG = "two [chunks:50]"


def flushes(talk: Talk) -> list[bool]:
    """Return, for each interruption, whether there was something to flush."""
    found, waiting = [], False
    for event in talk.events:
        waiting = waiting or bool(event.partial and words(event))
        if event.interrupted:
            found.append(waiting)
            waiting = False
    return found


BREAKING_IN = {"before": (1, 2), "after": (1, 1), "while the new answer comes": (2, 2)}
"""When the connection is cut, and how many interruptions there may be: the service's and ours."""
SPEED = {"chunk_interval": 4.0}
"""Of `LONG` there is more to come for several real seconds: the user breaks in before its end, if somewhat late."""


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cut", BREAKING_IN)
async def test_a_user_who_breaks_in_is_flushed_for_once(cut, family):
    async with service(family=family, **SPEED) as server, run(server, family=family) as talk:
        await talk.ask("one")
        await talk.told_of(events.HandleReceived)
        if cut == "before":
            await server.inject(Fault.rst(at=Trigger.mid_answer(3)))
        elif cut == "after":
            await server.inject(Fault.rst(at=Trigger.generation_started(3)))
        else:
            await server.inject(Fault.silence(1000, at=Trigger.mid_answer(2, turn=3), connection=0))
        first = len(talk.events)
        talk.queue.send_content(question(LONG))
        await talk.until(lambda: any(words(event) for event in talk.events[first:]))
        if cut == "before":
            await talk.told_of(events.TurnCut)
        talk.queue.send_content(question("three"))
        if cut.startswith("while"):
            await talk.until(lambda: talk.turns == 2)  # the old answer's end
            second = len(talk.events)
            await talk.until(lambda: any(words(event) for event in talk.events[second:]))
            await server.inject(Fault.rst())
        await talk.turn_is_over("answer to three")
        await talk.ask("four")
        await talk.close()
        assert talk.count(events.Resumed) == 1
        least, most = BREAKING_IN[cut]
        assert least - (ADK < (2, 5)) <= len(flushes(talk)) <= most  # before, ADK showed interrupted text unmarked
        assert all(flushes(talk)), "there was nothing to flush"
        report = await server.ledger_report(["one", LONG, "three", "four"])
        assert report.ok, report


@pytest.mark.parametrize("family", FAMILIES)
async def test_without_a_cut_a_user_breaks_in_as_with_plain_gemini(family):
    def kinds(talk: Talk) -> list[str]:
        shown = [event for event in talk.events if not event.live_session_resumption_update]
        return [name for event in shown for name in ("interrupted", "turn_complete") if getattr(event, name)]

    found = []
    for seed, which in enumerate((PLAIN, OURS)):  # ADK logs the handles of plain `Gemini`: they are not to be ours, too
        async with service(family=family, seed=seed, **SPEED) as server, run(server, which, family=family) as talk:
            talk.queue.send_content(question(LONG))
            await talk.until(lambda: any(words(event) for event in talk.events))
            talk.queue.send_content(question("three"))
            await talk.turn_is_over("answer to three")
            found.append(kinds(talk))
    assert found[0] == found[1]
    assert "interrupted" in found[0] or ADK < (2, 5)  # which shows the text that was interrupted unmarked
