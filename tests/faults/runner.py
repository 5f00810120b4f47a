"""Runs one conversation against an emulator in a process of its own, and tells everything that was wrong with it.

An `App` is what a user writes against google-genai: it asks, runs tools, speaks, and takes what `receive()` gives, in
one of the two usual loops. It knows nothing of connections. `converse` runs a `Scenario` with it; `Run.problems` says
what a user, or the server's ledger, would complain about.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials
from msgspec import structs

from resumekit import Policy
from resumekit.adapters import genai as resumable
from resumekit.core import events
from resumekit.emulator import (
    Answer,
    EmulatorProcess,
    Fault,
    LedgerReport,
    heard,
    parse_answer,
    response_item,
    silence,
    spoken,
)
from resumekit.emulator.answers import directives
from resumekit.emulator.frames import canonical
from tests.faults.zygote import Emulator
from tests.secrets import API_KEY

SCALE = 0.05
"""Real seconds for each second of the service."""
TIMEOUT = 100.0
"""Real seconds after which a conversation hangs."""
FAMILIES = {"2.5": "gemini-2.5-flash-live", "3.x": "gemini-3.1-flash-live"}

BOUND = (events.Connected, events.Resumed, events.FreshStarted)
AWAY = (events.ConnectionLost, events.Moving)

Profile = Literal["developer", "vertex"]
Loop = Literal["classic", "request"]
PROFILES: tuple[Profile, ...] = ("developer", "vertex")
LOOPS: tuple[Loop, ...] = ("classic", "request")


def policy(scale: float = SCALE, **changes: Any) -> Policy:
    """Return the default policy on the emulator's scale; `changes` are in seconds of the service, too.

    How long this machine takes for a handshake, or stalls, does not scale: the time-outs for connecting and closing, and
    what counts as frozen, stay real ones, unless a test says otherwise.
    """
    scaled = Policy().scaled(scale)
    machine = {"connect_timeout": 10.0, "setup_timeout": 15.0, "first_connect_deadline": 30.0, "close_wait": 1.0}
    machine |= {"frozen_after": 5.0, "suspect_patience": 10.0}
    return structs.replace(scaled, **{**machine, **scaled_fields(scale, changes)})


def scaled_fields(scale: float, changes: Mapping[str, Any]) -> dict[str, Any]:
    times = Policy.times()
    return {name: value * scale if name in times else value for name, value in changes.items()}


@contextlib.asynccontextmanager
async def client_of(server: EmulatorProcess, *, key: str = API_KEY) -> AsyncIterator[genai.Client]:
    """Give a plain google-genai client of an emulator; its pools for REST are closed in the end."""
    http = types.HttpOptions(base_url=server.base_url, async_client_args={"ssl": server.client_ssl_context()})
    account: dict[str, Any] = {"api_key": key}
    if server.settings.profile == "vertex":
        account = {"vertexai": True, "project": "a-project", "location": "us-central1", "credentials": Credentials(key)}
    client = genai.Client(**account, http_options=http)
    try:
        yield client
    finally:
        await client.aio.aclose()
        client.close()


# --- what an app does, step by step ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ask:
    """Write a question, and take its answer."""

    text: str

    async def run(self, app: App) -> None:
        await app.write(self.text)
        await app.take_answer()


@dataclass(frozen=True)
class Say:
    """Speak a question, and take its answer."""

    text: str
    seconds: float | None = None

    async def run(self, app: App) -> None:
        await app.speak(self.text, self.seconds)
        await app.take_answer()


@dataclass(frozen=True)
class Together:
    """Write several questions at once, then take the answers."""

    texts: tuple[str, ...]

    async def run(self, app: App) -> None:
        await app.write(*self.texts)
        for _ in self.texts:
            await app.take_answer()


@dataclass(frozen=True)
class Tell:
    """Write something that is no question."""

    text: str

    async def run(self, app: App) -> None:
        await app.tell(self.text)


@dataclass(frozen=True)
class AskAndTell:
    """Write a question and, while it is being answered, something that is no question."""

    text: str
    context: str
    after: float
    """Seconds of the service between the two."""

    async def run(self, app: App) -> None:
        await app.write(self.text)
        telling = asyncio.create_task(self._tell(app))
        try:
            await app.take_answer()
        finally:
            await telling

    async def _tell(self, app: App) -> None:
        await asyncio.sleep(self.after * app.scenario.scale)
        app.may_hold_one_more()
        await app.tell(self.context)


@dataclass(frozen=True)
class Arm:
    """Wait for the handle of the last turn, then inject the scenario's `armed` faults."""

    anchored: bool = True

    async def run(self, app: App) -> None:
        if self.anchored:
            await app.anchored()
        await app.server.inject(*app.scenario.armed)


@dataclass(frozen=True)
class Until:
    """Wait until the session has told of an event so many times."""

    event: type[events.Event]
    times: int = 1

    async def run(self, app: App) -> None:
        await app.until(lambda: app.count(self.event) >= self.times)


@dataclass(frozen=True)
class Pause:
    """Do nothing for some seconds of the service."""

    seconds: float

    async def run(self, app: App) -> None:
        await asyncio.sleep(self.seconds * app.scenario.scale)


@dataclass(frozen=True)
class Do:
    """Anything else."""

    action: Callable[[App], Awaitable[None]]

    async def run(self, app: App) -> None:
        await self.action(app)


Step = Ask | AskAndTell | Say | Together | Tell | Arm | Until | Pause | Do
ARM = Arm()
AGAIN = Arm(anchored=False)
CHAT: tuple[Step, ...] = (Ask("one"), ARM, Ask("two"), Ask("three"))
"""The usual conversation: a turn that is safely kept, the one that something happens to, and one that shows whether the
loops are still in step."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A conversation and what goes wrong in it."""

    name: str
    faults: tuple[Fault, ...] = ()
    """From the start."""
    armed: tuple[Fault, ...] = ()
    """Injected by the step `Arm`."""
    steps: tuple[Step, ...] = CHAT
    knobs: Mapping[str, Any] = field(default_factory=dict)
    """Of the emulator."""
    policy: Mapping[str, Any] = field(default_factory=dict)
    """Changes, in seconds of the service."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Of the session."""
    tool_time: float = 0.0
    """How long the app's tools run, in seconds of the service; a call's argument `takes` comes first."""
    tool_waits: type[events.Event] | None = None
    """The app's tools run until the session has told of this."""
    parts: bool = False
    """An answer may take several server turns, and so several loops."""
    alone: bool = True
    """Nothing else runs in this process: what is left behind is this conversation's."""
    scale: float = SCALE
    speech: bool = False
    """The model answers with audio."""
    families: tuple[str, ...] = ("2.5",)
    profiles: tuple[Profile, ...] = PROFILES
    both_loops: bool = False
    """In both loops on each backend; else in one of them on each, by turns."""

    # What is expected of the run
    strikes: int | Literal["any"] | None = None
    """Faults that strike in all; None: each of them once."""
    fresh: int | None = 0
    """Fresh starts; None: any number."""
    undisturbed: bool = False
    """One connection only."""
    refused: frozenset[str] = frozenset()
    """What the service may say when it refuses a connection or a frame."""
    elsewhere: bool = False
    """Not in the matrix: a test of its own runs it."""
    forgets: frozenset[str] = frozenset()
    """Questions that the service may forget (spoken, and answered, but not anchored: RULES 10)."""


# --- the app -------------------------------------------------------------------------------------------------------


class App:
    """An application, and what it remembers."""

    def __init__(self, scenario: Scenario, family: str, server: EmulatorProcess, session: Any) -> None:
        self.scenario = scenario
        self.family = family
        self.server = server
        self.session = session
        self.sent: list[str] = []
        """Control messages, as the ledger names them."""
        self.pcm = b""
        """All that was spoken."""
        self.questions: list[tuple[str, range]] = []
        """Each with how many turns of the user the model may know when it answers."""
        self.turns: list[list[types.LiveServerMessage]] = []
        """What `receive()` gave for each question."""
        self.ends: list[list[int]] = []
        """Where in that each loop of `receive()` ended."""
        self.told: list[events.Event] = []
        self.executed: list[tuple[int, str]] = []
        """Tools that were started: the number of the question, and the name."""
        self.results: dict[str, tuple[int, str]] = {}
        """Responses that were sent, by call id: the number of the question, and the response as the ledger names it."""
        self.cancelled: list[str] = []
        """Ids of calls that were shown to the app and cancelled."""
        self.effects: dict[str, tuple[int, str]] = {}
        """Side effects, by call id: the number of the question, and what was done."""
        self.dropped_before_the_end: dict[int, set[str]] = {}
        """`dropped` when the answer to a question was over: an answer that is shown can be run again without them."""
        self.wrong: list[str] = []
        """What an app's own bookkeeping complains about."""
        self._user_turns = 0
        self._tools: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        self._broken: BaseException | None = None

    def on_event(self, event: events.Event) -> None:
        self.told.append(event)
        self._news.set()

    def count(self, kind: type[events.Event]) -> int:
        return sum(isinstance(event, kind) for event in self.told)

    async def until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._news.clear()
            await self._news.wait()

    # Sending

    async def write(self, *texts: str) -> None:
        self._asked(*texts)
        for text in texts:
            self.sent.append(text)
            if self.family == "3.x":
                await self.session.send_realtime_input(text=text)
            else:
                await self.session.send_client_content(turns=_content(text), turn_complete=True)

    async def tell(self, text: str) -> None:
        self._user_turns += 1
        self.sent.append(text)
        await self.session.send_client_content(turns=_content(text), turn_complete=False)

    async def speak(self, text: str, seconds: float | None) -> None:
        self._asked(text)
        pcm = spoken(text, seconds=seconds) + silence(0.5)  # what ends it: more might be heard, or not
        self.pcm += pcm
        for at in range(0, len(pcm), 3200):
            blob = types.Blob(data=pcm[at : at + 3200], mime_type="audio/pcm;rate=16000")
            await self.session.send_realtime_input(audio=blob)

    def _asked(self, *texts: str) -> None:
        first = self._user_turns + 1
        self._user_turns += len(texts)
        self.questions += [(text, range(n, self._user_turns + 1)) for n, text in enumerate(texts, first)]

    def may_hold_one_more(self) -> None:
        """The answer under way may know of one more turn of the user."""
        question, held = self.questions[-1]
        self.questions[-1] = (question, range(held.start, held.stop + 1))

    # Receiving

    async def take_answer(self) -> None:
        raise NotImplementedError

    def begin_answer(self) -> None:
        self.turns.append([])
        self.ends.append([])

    def end_loop(self) -> bool:
        """Note the end of a loop of `receive()`; tells whether it was the answer's last."""
        turn, ends = self.turns[-1], self.ends[-1]
        start = ends[-1] if ends else 0
        ends.append(len(turn))
        if not self.scenario.parts:
            return True
        assert len(turn) > start, "receive() gave nothing"
        if all(message.server_content and message.server_content.turn_complete for message in turn[start:]):
            self.wrong.append(f"a loop of {len(turn) - start} messages says nothing")
        answer = read_answer(shown_to_the_end(turn, ends))
        if answer is None or not answer.is_whole:
            return False
        self.dropped_before_the_end[len(self.turns) - 1] = self.dropped
        return True

    def take(self, message: types.LiveServerMessage) -> None:
        """Do what an app does with a message."""
        self.turns[-1].append(message)
        if message.tool_call is not None:
            for call in message.tool_call.function_calls or ():
                self._take_effect(call)
                self._tools[call.id or ""] = asyncio.create_task(self._run_tool(call))
        if message.tool_call_cancellation is not None:
            for call_id in message.tool_call_cancellation.ids or ():
                self.cancelled.append(call_id)
                self._tools[call_id].cancel()

    def _take_effect(self, call: types.FunctionCall) -> None:
        number = len(self.turns) - 1
        effect = f"{call.name}{canonical(call.args or {})}"
        self.effects[call.id or ""] = (number, effect)
        done = [call_id for call_id, it in self.effects.items() if it == (number, effect)]
        times = len(set(done) - set(self.cancelled))
        question = self.questions[number][0] if number < len(self.questions) else ""
        if times > allowed_effects(question)[effect]:
            self.wrong.append(f"{effect} was done {times} times for {question!r}")

    async def _run_tool(self, call: types.FunctionCall) -> None:
        try:
            question = len(self.turns) - 1
            self.executed.append((question, call.name or ""))
            takes = (call.args or {}).get("takes", self.scenario.tool_time)
            await asyncio.sleep(takes * self.scenario.scale)
            if (awaited := self.scenario.tool_waits) is not None:
                await self.until(lambda: self.count(awaited) > 0)
            result = {"of": call.args or {}}
            item = response_item(call.name or "", result)
            self.results[call.id or ""] = (question, item)
            self.sent.append(item)
            answer = types.FunctionResponse(id=call.id, name=call.name, response=result)
            await self.session.send_tool_response(function_responses=[answer])
        except Exception as error:
            self._broken = self._broken or error
            raise

    def running(self, number: int) -> list[str]:
        """Return the ids of the calls of a question that nobody answered or cancelled."""
        return [
            call_id
            for call_id, (asked, _) in self.effects.items()
            if asked == number and call_id not in self.results and call_id not in self.cancelled
        ]

    # Looking back

    @property
    def dropped(self) -> set[str]:
        """Ids of calls whose response was not sent on, as the session told, or because they had been cancelled."""
        told = {event.call_id for event in self.told if isinstance(event, events.ToolResponseDropped)}
        return told | set(self.cancelled)

    @property
    def settled(self) -> set[int]:
        """Positions of the messages whose turn was given up, as the session told."""
        return {(event.message or 0) - 1 for event in self.told if isinstance(event, events.TurnSettled)}

    @property
    def expected(self) -> list[str]:
        """What the service's final state has to hold."""
        gone = Counter(item for call_id, (_, item) in self.results.items() if call_id in self.dropped)
        kept = []
        for position, item in enumerate(self.sent):
            if position in self.settled:
                continue
            if gone[item] > 0:
                gone[item] -= 1
                continue
            kept.append(item)
        return kept

    # Waiting for the server

    async def anchored(self) -> None:
        """Wait until the handle of the last turn has come."""
        await self.until_server(lambda: handle_is_here(self.server, self.told))

    async def back(self) -> None:
        """Wait until the session is on a connection: who leaves it on the way leaves behind what was to be resent."""
        await self.until(lambda: not is_away(self.told))

    async def until_server(self, is_so: Callable[[], Awaitable[bool]]) -> None:
        """Wait for something in the other process, which gives no event."""
        while not await is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    # Life

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tools.values():
            task.cancel()
        await asyncio.gather(*self._tools.values(), return_exceptions=True)
        if self._broken is not None:
            raise self._broken


class RequestApp(App):
    """Sends, then runs one `receive()` to its end."""

    async def take_answer(self) -> None:
        self.begin_answer()
        is_over = False
        while not is_over:
            async for message in self.session.receive():
                self.take(message)
            is_over = self.end_loop()


class ClassicApp(App):
    """`while True: async for message in session.receive()`, in a task of its own."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._ends: asyncio.Queue[BaseException | None] = asyncio.Queue()

    async def take_answer(self) -> None:
        end = await self._ends.get()
        if end is not None:
            raise end

    async def _listen(self) -> None:
        try:
            while True:
                self.begin_answer()
                is_over = False
                while not is_over:
                    async for message in self.session.receive():
                        self.take(message)
                    is_over = self.end_loop()
                self._ends.put_nowait(None)
        except Exception as error:
            self._ends.put_nowait(error)

    async def __aenter__(self) -> Self:
        self._reader = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._reader.cancel()
        await asyncio.wait([self._reader])
        await super().__aexit__(*exc)
        if self.turns and len(self.turns) > len(self.questions):
            self.turns.pop()  # what came after the last answer: updates
            self.ends.pop()


APPS: dict[Loop, type[App]] = {"classic": ClassicApp, "request": RequestApp}


async def handle_is_here(server: EmulatorProcess, told: Sequence[events.Event]) -> bool:
    """Tell whether the handle of the last turn has come to the session, by what it has told so far."""
    happened = await server.events()
    bound = [event.connection for event in happened if event.kind == "bound"]
    here = [event for event in told if isinstance(event, BOUND)]
    if (handles := _handles(happened, bound[-1])) is not None:
        before, after = handles
        received = sum(
            isinstance(event, events.HandleReceived) and event.connection == here[-1].connection for event in told
        )
        return after > 0 and (not here or received >= before + after)  # a session that is not ours tells nothing
    if not here or is_away(told):
        return False
    # Nothing was asked on this connection. If nothing was sent again either, the line was cut when all was answered, and
    # what it resumed from was the handle of the last turn.
    newest = here[-1]
    nothing_again = isinstance(newest, events.Resumed) and not (newest.resent_messages or newest.resent_audio)
    turns = [handles for connection in bound if (handles := _handles(happened, connection)) is not None]
    return nothing_again and bool(turns) and turns[-1][1] > 0


def is_away(told: Sequence[events.Event]) -> bool:
    """Tell whether a session is on its way to its next connection, by what it has told so far."""
    news = [event for event in told if isinstance(event, (*AWAY, *BOUND, events.SessionEnded))]
    return bool(news) and isinstance(news[-1], AWAY)


def _handles(happened: Sequence[Any], connection: int) -> tuple[int, int] | None:
    """Count the handles that a connection gave up to the end of its last turn, and behind that; None: it had no turn."""
    kinds = [event.kind for event in happened if event.connection == connection]
    if "turn_complete" not in kinds:
        return None
    end = len(kinds) - kinds[::-1].index("turn_complete")
    return kinds[:end].count("handle"), kinds[end:].count("handle")


def _content(text: str) -> types.Content:
    return types.Content(role="user", parts=[types.Part(text=text)])


# --- what an answer should be ------------------------------------------------------------------------------------


def after_last_interruption(turn: Sequence[types.LiveServerMessage]) -> list[types.LiveServerMessage]:
    ends = [n for n, message in enumerate(turn) if message.server_content and message.server_content.interrupted]
    return list(turn[ends[-1] + 1 :]) if ends else list(turn)


def shown_to_the_end(turn: Sequence[types.LiveServerMessage], ends: Sequence[int]) -> list[types.LiveServerMessage]:
    """Return what an answer consists of in the end: of each loop what followed its last interruption."""
    loops = zip([0, *ends], ends, strict=False)
    return [message for start, end in loops for message in after_last_interruption(turn[start:end])]


def read_answer(messages: Sequence[types.LiveServerMessage]) -> Answer | None:
    return newest_answer(words(messages))


def newest_answer(said: str) -> Answer | None:
    """Read the newest answer in what was shown: one that came in several turns may have been begun again."""
    return parse_answer(said[max(said.rfind("answer to "), 0) :])


def allowed_effects(question: str) -> Counter[str]:
    """Return how often each side effect may happen for a question, whatever a model makes of its calls."""
    allowed: Counter[str] = Counter()
    for step in directives(question).steps:
        allowed["extra_tool{}"] += 1
        for call in step:
            for args in (call.args, {**call.args, "again": True}):
                allowed[f"{call.name}{canonical(args)}"] += 1
    return allowed


def words(messages: Sequence[types.LiveServerMessage]) -> str:
    """Return what was written, or, of an answer in audio, what its transcription says."""
    said = ""
    for message in messages:
        content = message.server_content
        if content is None:
            continue
        if content.output_transcription is not None:
            said += content.output_transcription.text or ""
        if content.model_turn is not None:
            said += "".join(part.text for part in content.model_turn.parts or () if part.text and not part.thought)
    return said


def sound(messages: Sequence[types.LiveServerMessage]) -> bytes:
    return b"".join(
        part.inline_data.data or b""
        for message in messages
        if message.server_content and message.server_content.model_turn
        for part in message.server_content.model_turn.parts or ()
        if part.inline_data and len(part.inline_data.data or b"") < 500_000  # the oversize frame is no answer
    )


@dataclass
class Run:
    """A conversation that is over."""

    scenario: Scenario
    profile: Profile
    app: App | None = None
    error: BaseException | None = None
    report: LedgerReport | None = None
    audio: bytes = b""
    connections: list[Any] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """Tasks and file descriptors that were left behind."""

    @property
    def flagged(self) -> list[str]:
        """Messages that the session said it may have repeated."""
        assert self.app is not None
        return [
            self.app.sent[number - 1]
            for event in self.app.told
            if isinstance(event, events.MessagesRepeated)
            for number in event.messages
        ]

    @property
    def struck(self) -> list[str]:
        return [name for record in self.connections for name in record.faults]

    def problems(self) -> list[str]:
        """Return everything that is wrong."""
        assert self.app is not None
        assert self.report is not None
        found = list(self.left)
        if self.error is not None:
            found.append(f"the app saw {self.error!r}")
        found += self.app.wrong
        found += self._wrong_answers(self.app)
        found += self._wrong_ledger(self.report)
        found += self._wrong_connections(self.report)
        return found

    def _wrong_answers(self, app: App) -> list[str]:
        found = []
        if len(app.turns) != len(app.questions):
            found.append(f"{len(app.questions)} questions, {len(app.turns)} answers")
        forgotten = 0
        for number, ((question, _), turn, ends) in enumerate(zip(app.questions, app.turns, app.ends, strict=False)):
            if not question:  # it was interrupted
                continue
            last = shown_to_the_end(turn, ends)
            found += self.wrong_words(number, words(last), forgotten)
            forgotten += question in self.scenario.forgets
            if self.scenario.speech and not (pcm := heard(sound(last), rate=24000)).whole:
                found.append(f"asked {question!r}, the sound of the answer is {pcm}")
            contents = [message.server_content for message in last if message.server_content]
            completed = sum(bool(content.turn_complete) for content in contents)
            if completed != len(ends) or not contents or not contents[-1].turn_complete:
                found.append(f"asked {question!r}, {len(ends)} loops have {completed} turn_complete")
            if not any(content.generation_complete for content in contents[-2:]):
                found.append(f"asked {question!r}, the last answer is not whole")
            running = [app.effects[call_id] for call_id in app.running(number)]
            if running:
                found.append(f"asked {question!r}, {running} were left running")
            if any(message.go_away for message in turn):
                found.append("the app saw goAway")
        return found

    def wrong_words(self, number: int, text: str, forgotten: int) -> list[str]:
        """Return whether an answer is to its question, after all turns that were not forgotten, with its tools' results."""
        app = self.app
        assert app is not None
        question, held = app.questions[number]
        said = newest_answer(text) or Answer(text, 0, "", [])
        dropped = app.dropped_before_the_end.get(number, app.dropped)
        results = [i for call, (n, i) in app.results.items() if n == number and call not in dropped]
        wanted = (question, sorted(item.split(":", 2)[1:] for item in results))
        told = (said.asked, sorted(r.split("=", 1) for r in said.results.split(", ") if r))
        if told == wanted and held.start <= said.turns_held + forgotten < held.stop + len(self.flagged):
            return []
        return [f"the answer is to {told} with {said.turns_held} turns held, not to {wanted} with {held}"]

    def _wrong_ledger(self, report: LedgerReport) -> list[str]:
        found = []
        doubled = list((Counter(report.doubled) - Counter(self.flagged) - self._optional).elements())
        for name, items in (
            ("lost", report.lost),
            ("doubled", doubled),
            ("reordered", self._reordered(report)),
            ("unexpected", self._unexpected(report)),
            ("answered twice", report.calls_answered_twice),
            ("answered, though unknown", report.responses_to_unknown),
            ("not answered", report.calls_unanswered),
        ):
            if items:
                found.append(f"{name}: {items}; held: {report.held}")
        if not self.scenario.forgets and self.audio != self.app.pcm:
            found.append(f"{len(self.app.pcm) // 32} ms of speech were sent, {len(self.audio) // 32} ms are held")
        if report.history_with_handle:
            found.append(f"{report.history_with_handle} frames of history with a handle")
        if self.profile == "vertex" and self.flagged:
            found.append(f"repeats in transparent mode: {self.flagged}")
        return found

    @property
    def _optional(self) -> Counter[str]:
        """Responses that were dropped: the model may have made the call again after all."""
        assert self.app is not None
        return Counter(item for call_id, (_, item) in self.app.results.items() if call_id in self.app.dropped)

    def _reordered(self, report: LedgerReport) -> list[str]:
        """Return what is out of order.

        Where answers take several turns, a response to a call that the service knows may pass what waits behind one
        that it does not know (RULES 8); what was sent after a response is never before it, save in replayed history.
        """
        if not self.scenario.parts:
            return report.reordered
        assert self.app is not None
        expected = self.app.expected
        others = [item for item in expected if not item.startswith("response:")]
        held = list(
            dict.fromkeys(item for item in report.held if item in set(others))
        )  # a flagged repeat is no second one
        wrong = [item for item, other in zip(held, others, strict=False) if item != other][:1]
        for message in set(others) & set(held) if not report.fresh_starts else ():
            before = Counter(expected[: expected.index(message)]) - Counter(others)
            wrong += (before - Counter(report.held[: report.held.index(message)])).elements()
        return wrong if report.reordered else []

    def _unexpected(self, report: LedgerReport) -> list[str]:
        """Return what the app did not send, but for the errors that the session said it answered calls with."""
        assert self.app is not None
        said = [
            event.name for event in self.app.told if isinstance(event, events.ToolCallAnswered) and event.by == "error"
        ]
        errors = [item for item in report.unexpected if item.startswith("response:") and '{"error":' in item]
        others = Counter(item for item in report.unexpected if item not in errors) - self._optional
        return [*errors[len(said) :], *others.elements()]

    def _wrong_connections(self, report: LedgerReport) -> list[str]:
        scenario = self.scenario
        found = []
        strikes = len(scenario.faults) + len(scenario.armed) if scenario.strikes is None else scenario.strikes
        if strikes not in {"any", len(self.struck)}:
            found.append(f"{strikes} faults were to strike, there were {self.struck}")
        if scenario.fresh not in {None, report.fresh_starts}:
            found.append(f"{report.fresh_starts} fresh starts, not {scenario.fresh}")
        if scenario.undisturbed and report.connections != 1:
            found.append(f"{report.connections} connections instead of one")
        refused = {record.refused for record in self.connections if record.refused} - scenario.refused
        if refused and not any("refuse_handle" in record.faults for record in self.connections):
            found.append(f"the service refused something: {refused}")
        return found

    def __str__(self) -> str:
        lines = [*self.problems(), "", "The session's events:"]
        assert self.app is not None
        lines += [f"  {event!r}" for event in self.app.told]
        lines += ["The server's connections:"]
        lines += [
            f"  {r.number}: handle {(r.handle or '-')[:8]}, HTTP {r.http_status}, closed by {r.closed_by} {r.close_code}"
            f" {r.close_reason!r}, refused {r.refused!r}, faults {r.faults}, turns {r.turns_completed}"
            for r in self.connections
        ]
        return "\n".join(lines)


# --- running ------------------------------------------------------------------------------------------------------


def config_of(scenario: Scenario) -> dict[str, Any]:
    if scenario.speech:
        base = {"response_modalities": ["AUDIO"], "output_audio_transcription": {}, "input_audio_transcription": {}}
    else:
        base = {"response_modalities": ["TEXT"]}
    return {**base, **scenario.config}


@contextlib.asynccontextmanager
async def resumekit_session(scenario: Scenario, server: EmulatorProcess, family: str, app: App):
    """What is under test."""
    async with (
        client_of(server) as client,
        resumable.connect(
            client,
            model=FAMILIES[family],
            config=config_of(scenario),
            policy=policy(scenario.scale, **scenario.policy),
            on_event=app.on_event,
        ) as session,
    ):
        yield session


Connector = Callable[[Scenario, EmulatorProcess, str, App], contextlib.AbstractAsyncContextManager[Any]]


async def converse(
    scenario: Scenario,
    *,
    profile: Profile,
    loop: Loop = "classic",
    family: str = "2.5",
    connect: Connector = resumekit_session,
    expected: Sequence[str] | None = None,
    timeout: float = TIMEOUT,
    app_type: type[App] | None = None,
    run_type: type[Run] = Run,
    emulator: Callable[..., Any] = Emulator,
) -> Run:
    """Run a scenario to its end, whatever happens.

    Args:
        expected: What the service has to hold in the end; None: what the app sent.
        timeout: Real seconds after which it hangs.
        app_type: Which application; None: one with this loop.
        run_type: Who tells what was wrong.
        emulator: What runs it.
    """
    run = run_type(scenario, profile)
    settings = {"profile": profile, "model": family, "time_scale": scenario.scale, **scenario.knobs}
    async with emulator(faults=scenario.faults, **settings) as server:
        run.app = app = (app_type or APPS[loop])(scenario, family, server, None)
        before = traces()
        try:
            async with asyncio.timeout(timeout), connect(scenario, server, family, app) as app.session, app:
                for step in scenario.steps:
                    await step.run(app)
                await app.back()
        except Exception as error:
            run.error = error
        run.left = await left_behind(before) if scenario.alone else []
        run.report = await server.ledger_report(app.expected if expected is None else expected)
        run.connections = await server.connections()
        run.audio = await server.audio()
    return run


def traces() -> tuple[set[asyncio.Task[Any]], int]:
    return asyncio.all_tasks(), len(list(Path("/dev/fd").iterdir()))


async def left_behind(before: tuple[set[asyncio.Task[Any]], int]) -> list[str]:
    """Return what is there now, was not before, and does not go away.

    google-genai closes its clients in tasks that it starts when they are collected.
    """
    found: list[str] = []
    for _ in range(400):
        tasks, descriptors = traces()
        found = [f"a task is left: {task!r}" for task in tasks - before[0]]
        if descriptors > before[1]:
            found.append(f"{descriptors - before[1]} file descriptors are left")
        if not found:
            break
        await asyncio.sleep(0.05)
    return found
