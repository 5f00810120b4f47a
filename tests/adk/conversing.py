"""The conversations of `tests.faults`, held by an ADK application: a `Runner`, a queue, and tools that count themselves.

`AdkApp` is the `App` of those scenarios; what it gets are the events of `run_live`. `AdkRun` tells what a user of ADK
would complain about: events in a wrong order, a half answer, a tool that ran twice, a session service that differs from
what was shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Self
from unittest import mock

import msgspec
from google import genai
from google.adk.agents import Agent, LiveRequestQueue
from google.adk.events import Event
from google.adk.runners import Runner
from google.adk.sessions import BaseSessionService, InMemorySessionService
from google.adk.tools.base_tool import BaseTool
from google.genai import types
from google.oauth2.credentials import Credentials

from resumekit.adapters import _adk_seam
from resumekit.adapters.adk import ResumableGemini, ResumekitPlugin
from resumekit.core import events
from resumekit.emulator import Fault, Trigger, heard, response_item, silence, spoken
from resumekit.emulator.answers import directives
from resumekit.emulator.frames import canonical
from tests.adk.support import ADK, NAMES, config, question, words
from tests.faults import runner as faults
from tests.faults.runner import FAMILIES, App, Ask, AskAndTell, Profile, Run, Say, Scenario, Tell, Together, policy
from tests.faults.scenarios import SCENARIOS
from tests.faults.zygote import Emulator
from tests.secrets import API_KEY, TOKEN

__all__ = ["AdkApp", "AdkRun", "converse", "found_by_task"]

KEEPS_CALLS = ADK >= (1, 28)
"""ADK keeps the calls of a 2.5 model until its turn is over."""
HAS_PARTIAL_CONTENT = ADK >= (2, 5)
"""An application can send content that is no question."""
GIVES_WHOLES = ADK > (2, 0, 0)
"""What was transcribed is given out as a whole at the end of a turn, on both backends. Older versions wait for a mark on
Vertex, which need not come."""

WRITES_TO_3 = ADK >= (1, 28)
"""Text to a 3.x model goes out in the form that these models take."""

_server: ContextVar[Emulator] = ContextVar("server")


class _Client(genai.Client):
    """What ADK makes, for the emulator of the task that makes it: several conversations run in one process."""

    def __init__(self, *, http_options: types.HttpOptions, **_: Any) -> None:
        server = _server.get()
        http_options.base_url = server.base_url
        http_options.async_client_args = {"ssl": server.client_ssl_context()}
        account: dict[str, Any] = {"api_key": API_KEY}
        if server.settings.profile == "vertex":
            token = Credentials(TOKEN)
            account = {"vertexai": True, "project": "a-project", "location": "us-central1", "credentials": token}
        super().__init__(http_options=http_options, **account)


@contextlib.contextmanager
def found_by_task() -> Iterator[None]:
    """Let ADK's clients find the emulator of their conversation."""
    with mock.patch.object(genai, "Client", _Client):
        yield


# --- the application ----------------------------------------------------------------------------------------------------


class CountingTool(BaseTool):
    """A tool that does something, which must not be done twice."""

    def __init__(self, name: str, app: AdkApp) -> None:
        super().__init__(name=name, description=f"does {name}")
        self._app = app

    def _get_declaration(self) -> types.FunctionDeclaration:
        return types.FunctionDeclaration(name=self.name, description=self.description)

    async def run_async(self, *, args: dict[str, Any], tool_context: Any) -> dict[str, Any]:
        return await self._app.execute(types.FunctionCall(id=tool_context.function_call_id, name=self.name, args=args))


@dataclass
class Live:
    """A run that was prepared."""

    runner: Runner
    queue: LiveRequestQueue


class AdkApp(App):
    """An application that was written with ADK."""

    session: Live
    turns: list[list[Event]]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.stored: list[Event] = []
        """What the session service holds in the end."""
        self.aside: list[str] = []
        """What was sent and is no question: ADK does not store it."""
        self._ends: asyncio.Queue[BaseException | None] = asyncio.Queue()
        self._over: BaseException | None = None
        self._closing = False
        self._settled = 0

    async def until(self, is_so: Any) -> None:
        while not is_so():
            if self._over is not None:
                raise self._over
            self._news.clear()
            await self._news.wait()

    # Sending

    async def write(self, *texts: str) -> None:
        self._asked(*texts)
        for text in texts:
            self.sent.append(text)
            self.session.queue.send_content(question(text))

    async def tell(self, text: str) -> None:
        self._user_turns += 1
        self.sent.append(text)
        self.aside.append(text)
        self.session.queue.send_content(question(text), partial=True)

    async def speak(self, text: str, seconds: float | None) -> None:
        self._asked(text)
        pcm = spoken(text, seconds=seconds) + silence(0.5)
        self.pcm += pcm
        for at in range(0, len(pcm), 3200):
            self.session.queue.send_realtime(types.Blob(data=pcm[at : at + 3200], mime_type="audio/pcm;rate=16000"))

    # Tools

    async def execute(self, call: types.FunctionCall) -> dict[str, Any]:
        number = len(self.turns) - 1
        self.executed.append((number, call.name or ""))
        self.effects[call.id or ""] = (number, f"{call.name}{canonical(call.args or {})}")
        takes = (call.args or {}).get("takes", self.scenario.tool_time)
        await asyncio.sleep(takes * self.scenario.scale)
        return {"of": call.args or {}}

    # Receiving

    async def take_answer(self) -> None:
        end = await self._ends.get()
        if end is not None:
            raise end

    def take(self, event: Event) -> None:
        self.turns[-1].append(event)
        for response in event.get_function_responses():
            item = response_item(response.name or "", response.response)
            self.results[response.id or ""] = (len(self.turns) - 1, item)
            self.sent.append(item)
        if event.turn_complete and self.end_loop():
            self._ends.put_nowait(None)
            self.begin_answer()

    def end_loop(self) -> bool:
        turn, ends = self.turns[-1], self.ends[-1]
        ends.append(len(turn))
        before, self._settled = self._settled, self.count(events.TurnSettled)
        if not self.scenario.parts or self._settled > before:
            return True
        answer = faults.newest_answer(Reading(turn).said)
        if answer is None or not answer.is_whole:
            return False
        self.dropped_before_the_end[len(self.turns) - 1] = self.dropped
        return True

    async def _listen(self) -> None:
        live = self.session
        self.begin_answer()
        run_config = config(**_run_config(self.scenario))
        names = {name: NAMES[name] for name in ("user_id", "session_id")}
        try:
            events_ = live.runner.run_live(**names, live_request_queue=live.queue, run_config=run_config)
            async with contextlib.aclosing(events_):
                async for event in events_:
                    self.take(event)
            if not self._closing:
                raise AssertionError("run_live ended")
        except Exception as error:
            if not (self._closing and not _adk_seam.ENDS_QUIETLY and "closed the live session" in str(error)):
                self._over = error
                self._ends.put_nowait(error)
        self._news.set()

    async def __aenter__(self) -> Self:
        self._listener = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._closing = True
        if kind is None:
            self.session.queue.close()
        else:
            self._listener.cancel()
        await asyncio.wait([self._listener])
        self.stored = (await self.session.runner.session_service.get_session(**NAMES)).events
        if self._over is not None and kind is None:
            raise self._over


def _run_config(scenario: Scenario) -> dict[str, Any]:
    if not scenario.speech:
        return dict(scenario.config)
    transcribed = {"output_audio_transcription": {}, "input_audio_transcription": {}}
    return {"response_modalities": ["AUDIO"], **transcribed, **scenario.config}


def questions_of(scenario: Scenario) -> list[str]:
    """Return everything that is asked."""
    asked: list[str] = []
    for step in scenario.steps:
        if isinstance(step, Ask | Say | AskAndTell):
            asked.append(step.text)
        if isinstance(step, Together):
            asked += step.texts
    return asked


def tools_of(scenario: Scenario) -> list[str]:
    """Return the names of the tools that a model may call."""
    calls = [call.name for text in questions_of(scenario) for step in directives(text).steps for call in step]
    return [*dict.fromkeys(calls), "extra_tool"] if calls else []


@contextlib.asynccontextmanager
async def adk_session(
    scenario: Scenario, server: Emulator, family: str, app: AdkApp, *, session_service: BaseSessionService | None = None
) -> AsyncIterator[Live]:
    """What is under test."""
    mark = _server.set(server)
    model = ResumableGemini(
        model=FAMILIES[family], policy=policy(scenario.scale, **scenario.policy), on_event=app.on_event
    )
    agent = Agent(name="an_agent", model=model, tools=[CountingTool(name, app) for name in tools_of(scenario)])
    service = session_service or InMemorySessionService()
    await service.create_session(**NAMES)
    plugins = [ResumekitPlugin()]
    live = Live(
        Runner(app_name=NAMES["app_name"], agent=agent, plugins=plugins, session_service=service), LiveRequestQueue()
    )
    try:
        yield live
    finally:
        _server.reset(mark)


async def converse(scenario: Scenario, *, profile: Profile, family: str, **more: Any) -> AdkRun:
    """Run a scenario to its end, whatever happens."""
    gc.collect()  # what earlier tests left is not this one's
    more = {"connect": adk_session, **more}
    return await faults.converse(scenario, profile=profile, family=family, app_type=AdkApp, run_type=AdkRun, **more)


# --- what its events should be ------------------------------------------------------------------------------------------


class Reading:
    """What one question's events say, and what is wrong with their order.

    The pieces of a text, then the same text as a whole; calls, then their responses; or `interrupted` at any time, after
    which it begins again. `turn_complete` is the last.
    """

    def __init__(self, turn: Sequence[Event] = ()) -> None:
        self.said = ""
        """All pieces, but for those that were interrupted."""
        self.sound = b""
        self.wholes: list[str] = []
        self.heard: list[str] = []
        """What the user said, as a whole."""
        self.cuts = 0
        self.completed = 0
        self.wrong: list[str] = []
        self._start = ("", b"")
        self._pieces = {"text": "", "spoken": "", "heard": ""}
        self._calls: list[str] = []
        for event in turn:
            self._read(event)

    def _read(self, event: Event) -> None:
        if event.interrupted and not event.turn_complete:
            self._cut(event)
            return
        if text := words(event):
            self._take("text", text, whole=not event.partial)
        if spoken_ := event.output_transcription:
            self._take("spoken", spoken_.text or "", whole=bool(spoken_.finished))
        if heard_ := event.input_transcription:
            self._take("heard", heard_.text or "", whole=bool(heard_.finished))
        for part in (event.content.parts if event.content else None) or ():
            if part.inline_data and len(part.inline_data.data or b"") < 500_000:  # the oversize frame is no answer
                self.sound += part.inline_data.data or b""
        self._calls += [call.id or "" for call in event.get_function_calls()]
        for response in event.get_function_responses():
            if response.id not in self._calls:
                self.wrong.append(f"{response.name} was answered, and not called")
        if event.turn_complete:
            self.completed += 1
            self._start = (self.said, self.sound)
            self.wrong += [f"{piece!r} was shown, and never as a whole" for piece in self._open()]

    def _take(self, kind: str, text: str, *, whole: bool) -> None:
        if not whole:
            self._pieces[kind] += text
            self.said += text if kind != "heard" else ""
            return
        pieces, self._pieces[kind] = self._pieces[kind], ""
        whole_only = kind == "heard" and not pieces  # as ADK gives it with 3.x models
        joined = not GIVES_WHOLES and text.endswith(pieces)
        if not (text == pieces or whole_only or joined):
            self.wrong.append(f"the whole is {text!r}, the pieces are {pieces!r}")
        (self.heard if kind == "heard" else self.wholes).append(text)

    def _cut(self, event: Event) -> None:
        self.cuts += 1
        if words(event):
            self.wrong.append(f"of an interrupted answer, {words(event)!r} was shown as a whole")
        self.said, self.sound = self._start
        self._pieces["text"] = self._pieces["spoken"] = ""

    def _open(self) -> list[str]:
        return [text for kind, text in self._pieces.items() if text and (kind == "text" or GIVES_WHOLES)]


@dataclass
class AdkRun(Run):
    """A conversation that is over."""

    app: AdkApp | None = None

    def _wrong_answers(self, app: AdkApp) -> list[str]:
        if len(app.turns) == len(app.questions) + 1:
            app.turns.pop()  # what came after the last answer: updates
            app.ends.pop()
        found = []
        if len(app.turns) != len(app.questions):
            found.append(f"{len(app.questions)} questions, {len(app.turns)} answers")
        forgotten = 0
        readings = [Reading(turn) for turn in app.turns]
        for number, ((asked, _), reading) in enumerate(zip(app.questions, readings, strict=False)):
            found += [f"asked {asked!r}, {wrong}" for wrong in reading.wrong]
            # ADK may send a response that will be dropped after the end of an answer that was given without it.
            if self.wrong_words(number, reading.said, forgotten):
                app.dropped_before_the_end.pop(number, None)
                found += self.wrong_words(number, reading.said, forgotten)
            forgotten += asked in self.scenario.forgets
            if self.scenario.speech and not (pcm := heard(reading.sound, rate=24000)).whole:
                found.append(f"asked {asked!r}, the sound of the answer is {pcm}")
            if reading.completed != len(app.ends[number]):
                found.append(f"asked {asked!r}, {len(app.ends[number])} turns have {reading.completed} turn_complete")
            running = [app.effects[call_id] for call_id in app.running(number)]
            if running:
                found.append(f"asked {asked!r}, {running} were not answered")
        found += self._wrong_effects(app)
        cuts = sum(reading.cuts for reading in readings)
        told = sum(event.shown for event in app.told if isinstance(event, events.TurnCut))
        if cuts != told:
            found.append(f"{told} answers were cut, {cuts} times the app saw that it was interrupted")
        return found + self._wrong_store(app, readings)

    def _wrong_effects(self, app: AdkApp) -> list[str]:
        """Each side effect once for each time that the question asks for it, unless its call was taken back."""
        found = []
        done = Counter(it for call_id, it in app.effects.items() if call_id not in app.dropped)
        for (number, effect), times in done.items():
            asked = app.questions[number][0] if number < len(app.questions) else ""
            if times > faults.allowed_effects(asked)[effect]:
                found.append(f"{effect} was done {times} times for {asked!r}")
        return found

    def _wrong_store(self, app: AdkApp, readings: Sequence[Reading]) -> list[str]:
        """The session service holds the questions, and what was shown as a whole: nothing else, nothing twice."""
        found = []
        stored = Reading(app.stored)
        written = [words(event) for event in app.stored if event.author == "user" and words(event)]
        asked = [item for item in app.sent if not item.startswith("response:") and item not in app.aside]
        if written != asked and not self.scenario.speech:
            found.append(f"asked {asked}, stored {written}")
        wholes = [text for reading in readings for text in reading.wholes]
        kept = [text for text in stored.wholes if text not in written]
        if kept != wholes:
            found.append(f"shown {wholes}, stored {kept}")
        heard_ = [text for reading in readings for text in reading.heard]
        if stored.heard != heard_:
            found.append(f"heard {heard_}, stored {stored.heard}")
        for kind in ("get_function_calls", "get_function_responses"):
            ids = Counter(item.id for event in app.stored for item in getattr(event, kind)())
            if set(ids.values()) - {1}:
                found.append(f"{kind} of the stored events: {ids}")
        return found


# --- which scenarios --------------------------------------------------------------------------------------------------


def cases() -> Iterator[tuple[Scenario, Profile, str]]:
    """Yield every scenario that an ADK application can be in, on each backend and model family."""
    for scenario in SCENARIOS:
        if scenario.elsewhere or (tells(scenario) and not HAS_PARTIAL_CONTENT):
            continue
        for family in dict.fromkeys(scenario.families + (("3.x",) if KEEPS_CALLS and tools_of(scenario) else ())):
            fitted = fit(scenario, family)
            if fitted is not None:
                yield from ((fitted, profile, family) for profile in scenario.profiles)


def tells(scenario: Scenario) -> bool:
    """Whether it sends content that is no question."""
    return any(isinstance(step, Tell | AskAndTell) for step in scenario.steps)


def in_one_message(scenario: Scenario, faults_: Sequence[Fault]) -> tuple[Fault, ...]:
    """ADK answers the calls of one frame with one message, so there may be no second one."""
    in_turn = any(len(directives(text).steps) > 1 for text in questions_of(scenario))
    second = Trigger.tool_response(2)
    return tuple(
        msgspec.structs.replace(f, at=Trigger.tool_response(1)) if f.at == second and not in_turn else f
        for f in faults_
    )


def fit(scenario: Scenario, family: str) -> Scenario | None:
    """Return a scenario as this version of ADK can have it with a family; None: not at all."""
    turns = scenario.knobs.get("tool_turns")
    scenario = replace(
        scenario, faults=in_one_message(scenario, scenario.faults), armed=in_one_message(scenario, scenario.armed)
    )
    if family == "3.x":
        # ADK 1.27 writes to a 3.x model in a form that it refuses; and these models do not end turns with calls.
        writes = any(isinstance(step, Ask | Together) for step in scenario.steps)
        return None if turns not in {None, "joined"} or (writes and not WRITES_TO_3) else scenario
    if not tools_of(scenario) or not KEEPS_CALLS or turns == "at_end":
        return scenario
    # ADK runs the tools of a 2.5 model once its turn is over: one that waits for the responses waits for ever.
    return None if turns == "split" else replace(scenario, knobs={**scenario.knobs, "tool_turns": "at_end"}, parts=True)
