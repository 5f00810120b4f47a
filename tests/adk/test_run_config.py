"""Every field of `RunConfig` over a reconnect: the table is `run_config.py`, the docs page is made of it."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import re
import threading
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from google.adk.agents.run_config import RunConfig, ToolThreadPoolConfig
from google.adk.artifacts import InMemoryArtifactService
from google.adk.events import Event
from google.adk.sessions import InMemorySessionService
from google.adk.sessions.base_session_service import GetSessionConfig
from google.genai import errors as genai_errors
from google.genai import types

from resumekit.adapters._advice import advice_on
from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from resumekit.emulator.speech import OUTPUT_RATE, heard, silence, spoken
from tests.adk.run_config import ROWS
from tests.adk.support import ADK, FAMILIES, NAMES, OURS, PLAIN, config, policy, question, run, service, words

pytestmark = pytest.mark.network
profiles = pytest.mark.parametrize("profile", ["developer", "vertex"])
FIELDS = frozenset(RunConfig.model_fields)
CUT = Fault.rst(at=Trigger.mid_answer(1))


# --- the table --------------------------------------------------------------------------------------------------------


def test_every_field_has_a_row():
    assert {row.field for row in ROWS if row.is_in(ADK)} == FIELDS


def test_no_field_has_two_rows():
    assert len({row.field for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.field)
def test_the_test_of_a_row_exists(row):
    module, name = row.test.split("::")
    assert f"\nasync def {name}(" in (Path(__file__).parent / module).read_text("utf-8")
    assert row.does.endswith(".")


def test_advice_reads_a_run_config():
    compression = types.ContextWindowCompressionConfig(trigger_tokens=10_000)
    resumption = types.SessionResumptionConfig(transparent=True)
    given = config(context_window_compression=compression, session_resumption=resumption)
    lines = advice_on(given, FAMILIES["2.5"], vertex=False)
    assert [line.partition(":")[0] for line in lines] == ["context_window_compression", "session_resumption"]


# --- what is asked for ------------------------------------------------------------------------------------------------


def camel(value: Any) -> Any:
    """Spell a setup in one way: google-genai mixes two."""
    if isinstance(value, dict):
        return {re.sub(r"_([a-z])", lambda match: match[1].upper(), key): camel(item) for key, item in value.items()}
    return [camel(item) for item in value] if isinstance(value, list) else value


async def setups(server) -> list[dict[str, Any]]:
    """Return what each connection asked for."""
    frames = [await server.raw(record.number) for record in await server.connections()]
    return [camel(json.loads(sent[0])["setup"]) for sent in frames]


async def settled(talk) -> None:
    """Wait for the handle of each turn so far (of an emulator that sends none in mid-answer)."""
    await talk.told_of(events.HandleReceived, talk.turns)


async def across_a_cut(talk) -> None:
    """Ask two questions; the second answer is cut."""
    await talk.ask("one")
    await settled(talk)
    await talk.server.inject(CUT)
    assert any("answer to two: 2 user turns" in said(event) for event in await talk.ask("two"))
    assert talk.count(events.Resumed) == 1


def said(event: Event) -> str:
    transcription = event.output_transcription
    return words(event) or (transcription.text or "" if transcription is not None and transcription.finished else "")


class Case(NamedTuple):
    """A field with a value, and where it stands in a setup."""

    field: str
    value: Any
    path: tuple[str, ...]
    wire: Any
    profile: str = "developer"
    family: str = "2.5"


def type_of(name: str, **fields: Any) -> Any:
    """Make a value of a type that older versions of google-genai do not have."""
    return getattr(types, name)(**fields) if hasattr(types, name) else None


PROACTIVE = types.ProactivityConfig(proactive_audio=True)
VOICE = types.VoiceConfig(prebuilt_voice_config=types.PrebuiltVoiceConfig(voice_name="Kore"))
SETTINGS = [
    Case(
        "speech_config",
        types.SpeechConfig(voice_config=VOICE, language_code="de-DE"),
        ("generationConfig", "speechConfig"),
        {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}, "languageCode": "de-DE"},
    ),
    Case(
        "avatar_config",
        type_of("AvatarConfig", avatar_name="Ada"),
        ("avatarConfig",),
        {"avatarName": "Ada"},
        "vertex",
    ),
    Case(
        "realtime_input_config",
        types.RealtimeInputConfig(
            activity_handling=types.ActivityHandling.NO_INTERRUPTION,
            turn_coverage=types.TurnCoverage.TURN_INCLUDES_ALL_INPUT,
            automatic_activity_detection=types.AutomaticActivityDetection(silence_duration_ms=700),
        ),
        ("realtimeInputConfig",),
        {
            "activityHandling": "NO_INTERRUPTION",
            "turnCoverage": "TURN_INCLUDES_ALL_INPUT",
            "automaticActivityDetection": {"silenceDurationMs": 700},
        },
    ),
    Case("explicit_vad_signal", True, ("explicitVadSignal",), True, "vertex"),
    Case(
        "translation_config",
        type_of("TranslationConfig", target_language_code="fr"),
        ("generationConfig", "translationConfig"),
        {"targetLanguageCode": "fr"},
    ),
    Case("enable_affective_dialog", True, ("generationConfig", "enableAffectiveDialog"), True),
    Case("proactivity", PROACTIVE, ("proactivity",), {"proactiveAudio": True}),
    Case("enable_affective_dialog", True, ("generationConfig", "enableAffectiveDialog"), None, family="3.x"),
    Case("proactivity", PROACTIVE, ("proactivity",), None, "vertex", "3.x"),
    Case(
        "context_window_compression",
        types.ContextWindowCompressionConfig(
            trigger_tokens=100_000, sliding_window=types.SlidingWindow(target_tokens=80_000)
        ),
        ("contextWindowCompression",),
        {"triggerTokens": 100_000, "slidingWindow": {"targetTokens": 80_000}},
    ),
    Case("output_audio_transcription", types.AudioTranscriptionConfig(), ("outputAudioTranscription",), {}),
    Case("output_audio_transcription", None, ("outputAudioTranscription",), None),
    Case("input_audio_transcription", types.AudioTranscriptionConfig(), ("inputAudioTranscription",), {}, "vertex"),
    Case("input_audio_transcription", None, ("inputAudioTranscription",), None),
]


def installed(cases: list[Case]) -> list[Any]:
    """Return those that this version has."""
    return [
        pytest.param(case, id=f"{case.field}-{case.wire is not None}-{case.family}")
        for case in cases
        if case.field in FIELDS and case.family in FAMILIES
    ]


@pytest.mark.parametrize("case", installed(SETTINGS))
async def test_every_connection_asks_for_the_same(case):
    """The second setup is the first but for the handle, and both are what plain ADK sends."""
    fields = {case.field: case.value}
    async with service(case.profile, family=case.family, mid_answer_handles=0) as server:
        async with run(server, family=case.family, run_config=config(**fields)) as talk:
            await across_a_cut(talk)
            await talk.close()
        async with run(server, PLAIN, family=case.family, run_config=config(**fields)) as plain:
            await plain.ask("one")
        first, second, as_plain = await setups(server)
    assert first.pop("sessionResumption").get("handle") is None
    assert second.pop("sessionResumption")["handle"]
    del as_plain["sessionResumption"]
    assert first == second == as_plain
    found: Any = first
    for key in case.path:
        found = found.get(key) if found is not None else None
    # ADK 2.0 passes it on to every model.
    assert found == (case.wire if case.family != "3.x" or ADK >= (2, 9) else camel(dump(case.value)))


def dump(value: Any) -> Any:
    return value.model_dump(exclude_none=True) if hasattr(value, "model_dump") else value


def telemetry() -> Any:
    from google.adk.telemetry import TelemetryConfig

    return TelemetryConfig(genai_semconv_stability_opt_in="experimental")


NOT_LIVE = {
    "http_options": lambda: types.HttpOptions(headers={"x-team": "a-team"}),
    "labels": lambda: {"team": "a-team"},
    "service_tier": lambda: "flex",
    "save_input_blobs_as_artifacts": lambda: True,
    "telemetry": telemetry,
}


@pytest.mark.parametrize("name", sorted(FIELDS & NOT_LIVE.keys()))
async def test_what_is_not_for_live_changes_nothing_there(name):
    async with service(mid_answer_handles=0) as server:
        async with run(server, run_config=config(**{name: NOT_LIVE[name]()})) as talk:
            await across_a_cut(talk)
            await talk.close()
        async with run(server, PLAIN, run_config=config(**{name: NOT_LIVE[name]()})) as plain:
            await plain.ask("one")
        async with run(server, PLAIN) as bare:
            await bare.ask("one")
        asked = await setups(server)
    for setup in asked:
        del setup["sessionResumption"]
    assert len(asked) == 4
    assert all(setup == asked[0] for setup in asked)


# --- what comes back --------------------------------------------------------------------------------------------------


@profiles
@pytest.mark.parametrize("modality", ["TEXT", "AUDIO"])
async def test_answers_go_on(profile, modality):
    async with service(profile, mid_answer_handles=0) as server:
        async with run(server, run_config=config(response_modalities=[modality])) as talk:
            await across_a_cut(talk)
            await talk.close()
        assert [setup["generationConfig"]["responseModalities"] for setup in await setups(server)] == [[modality]] * 2
        report = await server.ledger_report(["one", "two"])
        assert (report.lost, report.doubled, report.reordered) == ([], [], [])
    (cut,) = (number for number, event in enumerate(talk.events) if event.interrupted)
    pcm = b"".join(audio_of(event) for event in talk.events[cut:])
    if modality == "AUDIO":
        answer = heard(pcm, rate=OUTPUT_RATE)
        assert (answer.text, answer.whole) == ("answer to two: 2 user turns held", True)
    else:
        assert pcm == b""


def audio_of(event: Event) -> bytes:
    parts = (event.content.parts if event.content else None) or ()
    return b"".join(part.inline_data.data for part in parts if part.inline_data)


@profiles
async def test_two_modalities_are_the_one_error_of_the_service(profile):
    raised = []
    async with service(profile) as server:
        for number, which in enumerate((PLAIN, OURS), 1):
            async with run(server, which, run_config=config(response_modalities=["TEXT", "AUDIO"])) as talk:
                with pytest.raises(genai_errors.APIError, match="At most one response modality") as caught:
                    await talk.task
            raised.append((type(caught.value), str(caught.value)))
            assert len(await server.connections()) == number
    assert raised[0] == raised[1]


# --- speech -----------------------------------------------------------------------------------------------------------


class Voice:
    """What is said into a queue, in pieces of 100 ms."""

    def __init__(self, talk) -> None:
        self.talk = talk
        self.sent = b""

    def say(self, text: str, *, seconds: float | None = None) -> None:
        """Say something, and be silent until it is heard."""
        self.play(spoken(text, seconds=seconds) + silence(0.5))

    def play(self, pcm: bytes) -> None:
        for at in range(0, len(pcm), 3200):
            blob = types.Blob(data=pcm[at : at + 3200], mime_type="audio/pcm;rate=16000")
            self.talk.queue.send_realtime(blob)
        self.sent += pcm

    async def answered(self, times: int) -> None:
        """Wait for whole answers, by what all versions show: the transcription."""
        await self.talk.until(lambda: sum(bool(said(event)) for event in self.talk.events) >= times)
        await self.talk.told_of(events.HandleReceived, times)


WHERE = {
    "in-the-answer": Trigger.mid_audio(3),
    "at-its-end": Trigger.generation_complete(2),
    "at-the-end-of-the-question": Trigger.end_of_speech(2),
    "in-the-question": Trigger.client_message(11),
}


@profiles
@pytest.mark.parametrize("where", WHERE)
async def test_each_transcription_is_stored_once(profile, where):
    async with service(profile, mid_answer_handles=0) as server:
        async with run(server, run_config=config(response_modalities=["AUDIO"])) as talk:
            voice = Voice(talk)
            voice.say("the first one")
            await voice.answered(1)
            await server.inject(Fault.fin(at=WHERE[where]))
            voice.say("the second one", seconds=0.5)
            await voice.answered(2)
            await talk.until(lambda: talk.turns >= 2)
            await talk.close()
            assert talk.count(events.Resumed) == 1
        assert heard_by_the_model(await server.audio()) == ["the first one", "the second one"]
    stored = await talk.stored()
    assert [said(event) for event in stored if said(event)] == [
        "answer to the first one: 1 user turns held",
        "answer to the second one: 2 user turns held",
    ]
    asked = "".join(event.input_transcription.text for event in stored if event.input_transcription)
    if ADK >= (2, 9) or profile == "developer":
        assert asked == "the first onethe second one"
    else:  # older ones wait on Vertex for a mark that does not come, and store no question by themselves
        assert asked in {"", "the first onethe second one"}


def heard_by_the_model(pcm: bytes) -> list[str]:
    """Return the utterances in what the service holds."""
    return [heard(part).text for part in re.split(rb"(?:\0\0){1600,}", pcm) if part.strip(b"\0")]


@profiles
async def test_an_activity_goes_on(profile):
    """The application marks its activity itself; the cut comes in the middle of one."""
    detection = types.AutomaticActivityDetection(disabled=True)
    realtime = types.RealtimeInputConfig(automatic_activity_detection=detection)
    async with service(profile, mid_answer_handles=0) as server:
        async with run(server, run_config=config(realtime_input_config=realtime)) as talk:
            voice = Voice(talk)
            for number, text in enumerate(["one", "two", "three"], 1):
                talk.queue.send_activity_start()
                pcm = spoken(text, seconds=0.4)
                voice.play(pcm[:6400])
                if number == 2:
                    await server.inject(Fault.rst())
                    await talk.told_of(events.Resumed)
                voice.play(pcm[6400:])
                talk.queue.send_activity_end()
                await talk.until(lambda n=number: talk.turns >= n)
                await settled(talk)
            await talk.close()
        assert talk.answers() == [
            f"answer to {text}: {n} user turns held" for n, text in enumerate(["one", "two", "three"], 1)
        ]
        assert talk.count(events.TurnCut) == 0
        assert await server.audio() == voice.sent
        assert all("disabled" in str(setup["realtimeInputConfig"]) for setup in await setups(server))


async def test_a_model_that_may_be_silent_to_text():
    async with service(mid_answer_handles=0) as server:
        async with run(server, run_config=config(proactivity=PROACTIVE)) as talk:
            await talk.ask("one")
            await settled(talk)
            await server.inject(Fault.rst(at=Trigger.client_message(2)))
            talk.queue.send_content(question("[silent] hm"))
            await talk.told_of(events.Resumed)
            await talk.ask("two")
            await talk.close()
        assert talk.answers() == ["answer to one: 1 user turns held", "answer to two: 3 user turns held"]
        report = await server.ledger_report(["one", "[silent] hm", "two"])
        assert (report.lost, report.doubled, report.reordered) == ([], [], [])


async def test_a_model_that_may_be_silent():
    """What it leaves unanswered is not asked again, and the connection is left alone."""
    async with service(mid_answer_handles=0) as server:
        run_config = config(proactivity=PROACTIVE, response_modalities=["AUDIO"])
        async with run(server, run_config=run_config) as talk:
            voice = Voice(talk)
            voice.say("one")
            await voice.answered(1)
            await server.inject(Fault.rst(at=Trigger.end_of_speech(2)))
            voice.say("[silent] hm")
            await talk.told_of(events.Resumed)
            voice.say("two")
            await voice.answered(2)
            await talk.close()
        assert await server.audio() == voice.sent
        assert len(await server.connections()) == 2
    assert [said(event) for event in talk.events if said(event)] == [
        "answer to one: 1 user turns held",
        "answer to two: 3 user turns held",
    ]


# --- audio that is stored ---------------------------------------------------------------------------------------------


async def saved(artifacts: InMemoryArtifactService, kind: str) -> bytes:
    """Return what ADK stored of one side, in order."""
    keys = [key for key in await artifacts.list_artifact_keys(**NAMES) if f"storage_{kind}_audio" in key]
    parts = [await artifacts.load_artifact(filename=key, **NAMES) for key in sorted(keys)]
    return b"".join(part.inline_data.data for part in parts)


async def stored_turns(talk, times: int) -> None:
    """Wait until ADK has stored so many questions: 1.27 shows no end of a turn then."""
    await talk.until(lambda: sum(is_audio_of_the_user(event) for event in talk.events) >= times)


def is_audio_of_the_user(event: Event) -> bool:
    return event.author == "user" and bool(event.content and event.content.parts[0].file_data)


@pytest.mark.parametrize("name", ["save_live_blob", "save_live_audio"])
@pytest.mark.parametrize("where", ["none", "in-the-answer", "in-the-question"])
async def test_audio_is_stored_as_it_was_sent(name, where):
    """Sample by sample: the artifacts are what the application sent and got; the service holds the same, save what is
    reported lost.
    """
    artifacts = InMemoryArtifactService()
    profile = "developer" if name == "save_live_blob" else "vertex"
    run_config = config(response_modalities=["AUDIO"], **{name: True})
    async with service(profile, mid_answer_handles=0) as server:
        async with run(server, artifact_service=artifacts, run_config=run_config) as talk:
            voice = Voice(talk)
            voice.say("one")
            await stored_turns(talk, 1)
            await talk.told_of(events.HandleReceived)
            if where != "none":
                await server.inject(Fault.fin(at=WHERE[where]))
            voice.say("two", seconds=0.4)
            await stored_turns(talk, 2)
            await talk.close()
        assert sum(event.lost_audio for event in talk.told if isinstance(event, events.Resumed)) == 0
        assert await server.audio() == voice.sent
    assert talk.count(events.Resumed) == (where != "none")
    assert await saved(artifacts, "input") == voice.sent
    assert await saved(artifacts, "output") == b"".join(map(audio_of, talk.events))
    assert bool(talk.count(events.TurnCut)) == (where == "in-the-answer")


async def test_audio_that_is_lost_is_stored_and_reported():
    """More is said than is kept for a resume: the artifact has it, the service does not, the report says how much."""
    artifacts = InMemoryArtifactService()
    run_config = config(response_modalities=["AUDIO"], save_live_blob=True, input_audio_transcription=None)
    kept = policy(audio_resend=1.0)
    async with service(mid_answer_handles=0) as server:
        async with run(server, artifact_service=artifacts, run_config=run_config, policy=kept) as talk:
            voice = Voice(talk)
            voice.say("one")
            await stored_turns(talk, 1)
            await talk.told_of(events.HandleReceived)
            await server.inject(Fault.rst(at=Trigger.mid_audio(3)))
            first = len(voice.sent)
            voice.say("two", seconds=1.5)
            await stored_turns(talk, 2)
            await talk.close()
        (resumed,) = (event for event in talk.told if isinstance(event, events.Resumed))
        held = await server.audio()
    assert await saved(artifacts, "input") == voice.sent
    lost = round(resumed.lost_audio * 32_000)
    assert lost > 0
    assert held == voice.sent[:first] + voice.sent[first + lost :]


# --- handles ----------------------------------------------------------------------------------------------------------


def updates(talk) -> list[str]:
    """Return the handles that the application was shown."""
    told = [event.live_session_resumption_update for event in talk.events if ADK >= (2,)]
    return [update.new_handle for update in told if update]


@pytest.mark.parametrize("given", ["none", "empty", "own", "transparent"])
@profiles
async def test_session_resumption(profile, given, caplog):
    sessions = InMemorySessionService()
    async with service(profile, mid_answer_handles=0) as server:
        async with run(server, session_service=sessions) as before:
            await across_a_cut(before)
            await before.close()
        handle = (await setups(server))[1]["sessionResumption"]["handle"]
        resumption = {
            "none": None,
            "empty": types.SessionResumptionConfig(),
            "own": types.SessionResumptionConfig(handle=handle),
            "transparent": types.SessionResumptionConfig(transparent=True),
        }[given]
        kept = sessions if given == "own" else None
        with caplog.at_level(logging.DEBUG):
            run_config = config(session_resumption=resumption)
            async with run(server, session_service=kept, run_config=run_config) as talk:
                await talk.ask("three")
                await settled(talk)
                await server.inject(CUT)
                await talk.ask("four")
                await talk.close()
        first, second = (await setups(server))[2:]
        sent = await server.sent_on(2), await server.sent_on(3)
    asked, resumed = first["sessionResumption"], second["sessionResumption"]
    turns = 1 if given == "own" else 0  # the state after the first question
    assert talk.answers() == [
        f"answer to {text}: {turns + n} user turns held" for n, text in ((1, "three"), (2, "four"))
    ]
    assert asked.get("handle") == (handle if given == "own" else None)
    assert resumed["handle"] not in {None, handle}
    assert {asked.get("transparent"), resumed.get("transparent")} == {True if profile == "vertex" else None}
    assert sent == (["three", "four"], ["four"])
    assert bool(updates(talk)) == (given != "none" and ADK >= (2,))
    assert ("transparent session resumption is left out" in caplog.text) == (
        given == "transparent" and profile == "developer"
    )
    assert handle not in caplog.text
    assert resumed["handle"] not in caplog.text


# --- history ----------------------------------------------------------------------------------------------------------


async def with_a_past() -> InMemorySessionService:
    """Return a session service that holds two turns, and another agent's thoughts."""
    sessions = InMemorySessionService()
    session = await sessions.create_session(**NAMES)
    thought = [types.Part(text="a thought", thought=True), types.Part(text="what the other said")]
    past = [
        ("user", [types.Part(text="long ago")]),
        ("an_agent", [types.Part(text="yes")]),
        ("user", [types.Part(text="lately")]),
        ("another_agent", thought),
    ]
    for author, parts in past:
        content = types.Content(role="user" if author == "user" else "model", parts=parts)
        await sessions.append_event(session, Event(author=author, content=content, invocation_id="before"))
    return sessions


HISTORY = {
    "history_config": lambda: type_of("HistoryConfig", initial_history_in_client_content=True),
    "get_session_config": lambda: GetSessionConfig(num_recent_events=2),
    "model_input_context": lambda: [question("by the way")],
    "include_thoughts_from_other_agents": lambda: True,
}


@pytest.mark.parametrize("ends", ["resumed", "fresh"])
@pytest.mark.parametrize("name", sorted(FIELDS & HISTORY.keys()))
async def test_history_is_sent_once(name, ends):
    """Plain ADK's first connection sends it; ours sends the same, and no other one does but a fresh start."""
    family = "2.5" if ADK < (2, 9) else "3.x"
    history = []
    async with service(family=family, mid_answer_handles=0, send_handles=ends == "resumed") as server:
        for which in (PLAIN, OURS):
            fields = {name: HISTORY[name]()}
            run_ = run(server, which, family=family, session_service=await with_a_past(), run_config=config(**fields))
            async with run_ as talk:
                await talk.until(lambda: talk.turns >= 1)  # the history ends with somebody else's words
                if which == OURS and ends == "resumed":
                    await settled(talk)
                await talk.ask("one")
                if which == OURS:
                    if ends == "resumed":
                        await settled(talk)
                    await server.inject(CUT)
                    await talk.ask("two")
                    await talk.close()
            number = 0 if which == PLAIN else 1
            history.append(await contents(server, number, before="one"))
        asked = await setups(server)
        again = await contents(server, 2, before="two")
        seeded = [text for _, text in history[0]]
    assert history[0] == history[1]
    assert any("lately" in text for _, text in history[0])
    assert ("long ago" in seeded) == (name != "get_session_config")
    assert ("by the way" in seeded) == (name == "model_input_context")
    assert any("a thought" in text for text in seeded) == (name == "include_thoughts_from_other_agents")
    seeds = [setup.get("historyConfig", {}).get("initialHistoryInClientContent") for setup in asked]
    assert seeds[0] == seeds[1]
    if ends == "resumed":
        assert again == []
        assert seeds[2] is None
        assert talk.count(events.Resumed) == 1
    else:
        assert [text for _, text in again][: len(seeded)] == seeded
        assert talk.count(events.FreshStarted) == 1


async def contents(server, connection: int, *, before: str = "") -> list[tuple[str, str]]:
    """Return the turns that a connection sent as content, up to a question."""
    messages = [camel(json.loads(frame)) for frame in await server.raw(connection)]
    turns = itertools.chain.from_iterable(message.get("clientContent", {}).get("turns", ()) for message in messages)
    sent = [(turn["role"], "".join(part.get("text", "") for part in turn["parts"])) for turn in turns]
    return list(itertools.takewhile(lambda turn: turn[1] != before, sent))


# --- the rest ---------------------------------------------------------------------------------------------------------


@profiles
async def test_a_tool_in_a_thread_runs_once(profile):
    """The connection is cut while the tool runs; its thread goes on, and its one result answers."""
    running, may_end = threading.Event(), threading.Event()
    threads = []

    def slow() -> dict:
        """Be slow."""
        threads.append(threading.current_thread())
        running.set()
        assert may_end.wait(100)
        return {"said": "done"}

    async with service(profile, mid_answer_handles=0) as server:
        fields = {"tool_thread_pool_config": ToolThreadPoolConfig(max_workers=2)}
        async with run(server, tools=[slow], run_config=config(**fields)) as talk:
            await talk.ask("one")
            await settled(talk)
            try:
                talk.queue.send_content(question("two [tool:slow]"))
                assert await asyncio.to_thread(running.wait, 20)
                await server.inject(Fault.rst())
                await talk.told_of(events.Resumed)
            finally:
                may_end.set()
            await talk.until(lambda: any("done" in answer for answer in talk.answers()))
            await talk.close()
        report = await server.ledger_report()
        assert (report.calls_unanswered, report.calls_answered_twice, report.responses_to_unknown) == ([], [], [])
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


async def test_metadata_stand_beside_our_own():
    run_config = config(custom_metadata={"team": "a-team", "resumekit": "theirs"})
    async with service(mid_answer_handles=0) as server, run(server, run_config=run_config) as talk:
        await across_a_cut(talk)
        await talk.close()
    notices = [event.custom_metadata for event in talk.events if is_notice(event)]
    assert [notice["resumekit"]["event"] for notice in notices] == ["TurnCut", "ConnectionLost", "Resumed"]
    assert {event.custom_metadata["team"] for event in talk.events} == {"a-team"}
    assert {event.custom_metadata["resumekit"] for event in talk.events if not is_notice(event)} == {"theirs"}
    assert not any(event.custom_metadata and is_notice(event) for event in await talk.stored())


def is_notice(event: Event) -> bool:
    return isinstance(event.custom_metadata["resumekit"], dict)
