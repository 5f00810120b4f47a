"""Spoken questions that are cut, through the real google-genai client: what the final conversation heard of them."""

from __future__ import annotations

from typing import Any

import pytest
from google.genai import types

from resumekit.core import events
from resumekit.emulator import Fault, Trigger, heard, parse_answer, silence, spoken
from tests.faults.runner import ARM, PROFILES, Do, Scenario, converse, words

pytestmark = pytest.mark.network

profiles = pytest.mark.parametrize("profile", PROFILES)
detections = pytest.mark.parametrize("marks", [False, True], ids=["automatic", "manual"])
transcriptions = pytest.mark.parametrize("transcribed", [False, True], ids=["untranscribed", "transcribed"])

CHUNK = 3200
MARKS = ["activity_start", "activity_end"]
MANUAL = {"realtime_input_config": {"automatic_activity_detection": {"disabled": True}}}
SHORT = 0.3
LONG = 20.0
WORDY = "two, and all that comes with it" + ", and so on" * 20


class Talk:
    """Says something in chunks of 100 ms, between marks or not, and may wait in the middle."""

    def __init__(self, text: str, *, marks: bool, seconds: float = SHORT) -> None:
        self.text = text
        self.marks = marks
        # Just the silence that ends it: more of it might come before or after the answer.
        self.pcm = spoken(text, seconds=seconds) + (b"" if marks else silence(0.5))
        self.messages = -(-len(self.pcm) // CHUNK) + 2 * marks

    async def begin(self, app: Any, until: int | None = None) -> None:
        app._asked(self.text)
        app.pcm += self.pcm
        if self.marks:
            app.sent.append("activity_start")
            await app.session.send_realtime_input(activity_start=types.ActivityStart())
        await self._send(app, self.pcm[:until])

    async def end(self, app: Any, since: int | None = None) -> None:
        if since is not None:
            await self._send(app, self.pcm[since:])
        if self.marks:
            app.sent.append("activity_end")
            await app.session.send_realtime_input(activity_end=types.ActivityEnd())
        await app.take_answer()

    async def _send(self, app: Any, pcm: bytes) -> None:
        for at in range(0, len(pcm), CHUNK):
            blob = types.Blob(data=pcm[at : at + CHUNK], mime_type="audio/pcm;rate=16000")
            await app.session.send_realtime_input(audio=blob)

    async def __call__(self, app: Any) -> None:
        await self.begin(app)
        await self.end(app)


def scenario(*steps: Any, marks: bool, transcribed: bool = True, armed: tuple[Fault, ...], **more: Any) -> Scenario:
    config = {**(MANUAL if marks else {}), **({} if transcribed else {"input_audio_transcription": None})}
    return Scenario(name="speech", speech=True, steps=steps, armed=armed, config=config, **more)


def told(run: Any, kind: type[events.Event]) -> list[Any]:
    return [event for event in run.app.told if isinstance(event, kind)]


def transcript(run: Any, number: int) -> str:
    """All that the app was shown of the user's words, in the loop of a question."""
    contents = [message.server_content for message in run.app.turns[number] if message.server_content]
    return "".join(content.input_transcription.text or "" for content in contents if content.input_transcription)


def check_words(run: Any, transcribed: bool) -> None:
    shown = [transcript(run, number) for number in range(len(run.app.questions))]
    assert shown == [text if transcribed else "" for text, _ in run.app.questions]


# --- while the user speaks ----------------------------------------------------------------------------------------------


@profiles
@transcriptions
@pytest.mark.parametrize("place", ["at its start", "in the middle", "near its end", "at its end"])
@detections
async def test_a_question_that_is_cut_while_it_is_spoken_is_heard_once(marks, place, transcribed, profile):
    one, two, three = (Talk(text, marks=marks) for text in ("one", "two", "three"))
    after = {
        "at its start": 1,
        "in the middle": two.messages // 2,
        "near its end": two.messages - 1,
        "at its end": two.messages,
    }
    armed = (Fault.rst(at=Trigger.client_message(one.messages + after[place])),)
    plan = scenario(Do(one), ARM, Do(two), Do(three), marks=marks, transcribed=transcribed, armed=armed)
    run = await converse(plan, profile=profile)
    assert not run.problems(), str(run)
    assert run.report.held == (MARKS * 3 if marks else [])
    check_words(run, transcribed)


@profiles
@detections
async def test_a_question_that_is_spoken_across_two_cuts_is_heard_once(marks, profile):
    one, two, three = (Talk(text, marks=marks) for text in ("one", "two", "three"))

    async def in_three_parts(app):
        await two.begin(app, CHUNK)
        await app.server.inject(Fault.rst(at=Trigger.now()))
        await app.until(lambda: app.count(events.Resumed) == 1)
        await two._send(app, two.pcm[CHUNK : 2 * CHUNK])
        await app.server.inject(Fault.rst(at=Trigger.now()))
        await app.until(lambda: app.count(events.Resumed) == 2)
        await two.end(app, 2 * CHUNK)

    async def anchored(app):
        await app.anchored()

    plan = scenario(Do(one), Do(anchored), Do(in_three_parts), Do(three), marks=marks, armed=(), strikes=2)
    run = await converse(plan, profile=profile)
    assert not run.problems(), str(run)
    assert run.report.held == (MARKS * 3 if marks else [])
    check_words(run, transcribed=True)


@profiles
async def test_go_away_in_an_open_activity_moves_at_the_deadline_and_the_activity_goes_along(profile):
    one, two, three = (Talk(text, marks=True) for text in ("one", "two", "three"))

    async def through_the_move(app):
        await two.begin(app, CHUNK)
        await app.until(lambda: app.count(events.Resumed) == 1)
        await two.end(app, CHUNK)

    armed = (Fault.go_away(10, at=Trigger.client_message(one.messages + 2)),)
    run = await converse(
        scenario(Do(one), ARM, Do(through_the_move), Do(three), marks=True, armed=armed), profile=profile
    )
    assert not run.problems(), str(run)
    assert run.report.held == MARKS * 3
    assert [event.quiet for event in told(run, events.Moving)] == [False]


# --- while the model answers ----------------------------------------------------------------------------------------------


@profiles
@transcriptions
@detections
async def test_a_short_question_that_is_cut_in_its_answer_is_resent_as_audio_and_heard_once(
    marks, transcribed, profile
):
    one, two, three = (Talk(text, marks=marks) for text in ("one", "two", "three"))
    armed = (Fault.fin(at=Trigger.mid_audio(3)),)
    plan = scenario(Do(one), ARM, Do(two), ARM, Do(three), marks=marks, transcribed=transcribed, armed=armed, strikes=2)
    run = await converse(plan, profile=profile, loop="request")
    assert not run.problems(), str(run)
    assert run.report.held == (MARKS * 3 if marks else [])
    assert [event.resent_as for event in told(run, events.TurnCut)] == ["audio", "audio"]
    check_words(run, transcribed)


def small(profile: str) -> dict[str, Any]:
    """Buffers that do not hold the long question."""
    return {"audio_seconds": 8.0} if profile == "vertex" else {"audio_resend": 5.0}


@profiles
@pytest.mark.parametrize("family", ["2.5", "3.x"])
@detections
async def test_a_long_question_that_is_cut_in_its_answer_is_resent_in_words_and_heard_once(marks, family, profile):
    one, three = (Talk(text, marks=marks) for text in ("one", "three"))
    two = Talk(WORDY, marks=marks, seconds=LONG)
    armed = (Fault.fin(at=Trigger.mid_audio(3)),)
    plan = scenario(Do(one), ARM, Do(two), ARM, Do(three), marks=marks, armed=armed, strikes=2, policy=small(profile))
    expected = [*MARKS, two.text, *MARKS] if marks else [two.text]
    run = await converse(plan, profile=profile, family=family, expected=expected)
    run.app.pcm = one.pcm + three.pcm
    assert not run.problems(), str(run)
    assert run.report.held == expected
    assert [event.resent_as for event in told(run, events.TurnCut)] == ["transcript", "audio"]
    check_words(run, transcribed=True)


@profiles
@detections
async def test_of_a_long_question_without_transcription_the_end_is_resent_and_the_rest_reported(marks, profile):
    one = Talk("one", marks=marks)
    two = Talk(WORDY, marks=marks, seconds=LONG)
    armed = (Fault.fin(at=Trigger.mid_audio(3)),)
    plan = scenario(Do(one), ARM, Do(two), marks=marks, transcribed=False, armed=armed, policy=small(profile))
    run = await converse(plan, profile=profile)
    assert run.error is None
    assert [event.resent_as for event in told(run, events.TurnCut)] == ["audio"]
    lost = told(run, events.Resumed)[0].lost_audio
    assert len(run.app.pcm) / 32000 - len(run.audio) / 32000 == pytest.approx(lost)
    assert heard(run.audio[len(one.pcm) :]).text.startswith("[clipped]")
    answer = parse_answer(words(run.app.turns[1][-40:]))
    assert answer is None or answer.asked.startswith("[clipped]")


@profiles
@detections
async def test_with_transcript_as_the_policy_every_cut_question_is_resent_in_words(marks, profile):
    one, two, three = (Talk(text, marks=marks) for text in ("one", "two", "three"))
    armed = (Fault.fin(at=Trigger.mid_audio(3)),)
    policy = {"resend_speech": "transcript"}
    plan = scenario(Do(one), ARM, Do(two), Do(three), marks=marks, armed=armed, policy=policy)
    expected = [*MARKS, "two", *MARKS] if marks else ["two"]
    run = await converse(plan, profile=profile, expected=expected)
    run.app.pcm = one.pcm + three.pcm
    assert not run.problems(), str(run)
    check_words(run, transcribed=True)


@profiles
async def test_words_that_stand_for_speech_are_run_again_unseen_where_the_service_forgot_them(profile):
    one, two, three = (Talk(text, marks=False) for text in ("one", "two", "three"))
    armed = (
        Fault.fin(at=Trigger.mid_audio(3)),
        Fault.fin(at=Trigger.before_handle(), connection=1),
    )

    async def lost_twice(app):
        await app.until(lambda: app.count(events.ConnectionLost) == 2)

    policy = {"resend_speech": "transcript"}
    plan = scenario(Do(one), ARM, Do(two), Do(lost_twice), Do(three), marks=False, armed=armed, policy=policy)
    run = await converse(plan, profile=profile, expected=["two"])
    run.app.pcm = one.pcm + three.pcm
    assert not run.problems(), str(run)
    assert len(told(run, events.TurnShadowed)) == 1
    assert not told(run, events.TurnForgotten)


# --- video ------------------------------------------------------------------------------------------------------------------


@profiles
async def test_of_video_the_newest_frame_is_sent_again_and_no_other(profile):
    one, two = (Talk(text, marks=False) for text in ("one", "two"))

    async def show(app):
        for number in range(5):
            await app.session.send_realtime_input(video=types.Blob(data=bytes([number]), mime_type="image/jpeg"))
        await app.server.inject(Fault.rst(at=Trigger.now()))
        await app.until(lambda: app.count(events.Resumed) == 1)

    async def anchored(app):
        await app.anchored()

    plan = scenario(Do(one), Do(anchored), Do(show), Do(two), marks=False, armed=(), strikes=1)
    run = await converse(plan, profile=profile)
    assert not run.problems(), str(run)
    assert run.report.video_frames == 1
