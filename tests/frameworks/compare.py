"""What other ways to hold a Live conversation do when a connection ends: the measurements of docs/explanation/comparison.md.

`python -m tests.frameworks.compare` in the environment of a framework (`.venv/pipecat`, say) runs it, as it is and through
resumekit, through every scene, and writes what came of it to comparison.json and into the tables of the page (`--check`
compares instead, `--check --short` one scene only; `--page` measures nothing). A conversation is three questions; the scene
strikes at the second. The emulator runs in real time, and everything has its default settings, so that pauses and time-outs are
what a user has. Each conversation has a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import logging
import multiprocessing
import multiprocessing.connection
import os
import re
import sys
import tempfile
import traceback
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from resumekit import Policy
from resumekit.emulator import EmulatorProcess, Fault, Trigger, parse_answer, spoken
from tests.frameworks.support import Talk

JSON = Path(__file__).with_name("comparison.json")
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "comparison.md"
BEGIN, END = "<!-- measured -->", "<!-- end of what was measured -->"
MODES = {"plain": False, "resumekit": True}
SOMETIMES = {("LiveKit", "plain", "tool"): "goes on"}
"""What a race was seen to end in as well."""
QUESTIONS = ("apples", "bears", "clouds")
MID_ANSWER = Trigger.mid_answer(2)
PATIENCE = 25.0
"""Seconds that the user waits for an answer."""
AT_ONCE = 5
"""Conversations at the same time."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Something that happens at the second question."""

    name: str
    title: str
    faults: tuple[Fault, ...]
    idle: bool = False
    """It happens before the question; else in its answer."""
    ask: str = "bears"
    knobs: dict = field(default_factory=dict)


SCENES = (
    Scene(
        name="closed",
        title="closed with 1011 between two questions",
        idle=True,
        faults=(Fault.close(1011, "Internal error."),),
    ),
    Scene(name="reset", title="reset between two questions", idle=True, faults=(Fault.rst(),)),
    Scene(name="go-away", title="goAway between two questions", idle=True, faults=(Fault.go_away(10.0),)),
    Scene(
        name="go-away-in-answer", title="goAway in an answer", faults=(Fault.go_away(10.0, at=Trigger.mid_answer(1)),)
    ),
    Scene(name="reset-in-answer", title="reset in an answer", faults=(Fault.rst(at=MID_ANSWER),)),
    Scene(
        name="closed-in-answer",
        title="closed with 1011 in an answer",
        faults=(Fault.close(1011, "Internal error.", at=MID_ANSWER),),
    ),
    Scene(
        name="no-handle",
        title="reset in an answer, before the first handle",
        faults=(Fault.rst(at=MID_ANSWER),),
        knobs={"send_handles": False},
    ),
    Scene(
        name="refused",
        title="reset between two questions, the handle is refused",
        idle=True,
        faults=(Fault.rst(), Fault.refuse_handle()),
    ),
    Scene(
        name="tool",
        title="reset while a tool runs",
        faults=(Fault.rst(at=Trigger.tool_call()),),
        ask='bears [tool:look_up {"what": "a fact"}]',
    ),
    Scene(
        name="busy",
        title="reset between two questions, two dials get HTTP 503",
        idle=True,
        faults=(Fault.rst(), Fault.handshake(503, times=2)),
    ),
    Scene(
        name="outage",
        title="reset in an answer, nobody there for 10 s",
        faults=(Fault.listener_down(10.0, at=MID_ANSWER),),
    ),
)
SHORT = ("reset-in-answer",)
"""What `--short` looks at."""


@dataclass
class Conversation(Talk):
    """A conversation in real time, with the default policy."""

    scene: Scene = SCENES[0]

    @property
    def policy(self):
        return Policy()

    async def look_up(self, what: str) -> str:
        self.ran.append(what)
        await asyncio.sleep(2.0)
        return f"found {what}"


# --- who takes part: what the user says, and what becomes of it ----------------------------------------------------------


class Heard:
    """What an app gets: answers that were said to be over, and the error that ended it."""

    def __init__(self):
        self.news = asyncio.Queue()
        self.told = []
        """What the app is told of the disconnect, by name."""

    async def next(self):
        """Return an answer, or raise what ended the session."""
        item = await self.news.get()
        if isinstance(item, BaseException):
            raise item
        return item


class Genai(Heard):
    """google-genai: a task reads, another answers tool calls."""

    MODEL = "gemini-2.5-flash-native-audio-latest"

    def __init__(self, chat, session):
        super().__init__()
        self.chat, self.session = chat, session
        self.tasks = set()

    async def say(self, question):
        await self.session.send_client_content(turns={"role": "user", "parts": [{"text": question}]})

    async def listen(self):
        words = ""
        try:
            while True:
                async for message in self.session.receive():
                    if message.tool_call:
                        task = asyncio.create_task(self.run_tools(message.tool_call.function_calls))
                        self.tasks.add(task)
                    content = message.server_content
                    if content is None:
                        continue
                    if content.interrupted:
                        words = ""
                    if content.output_transcription:
                        words += content.output_transcription.text or ""
                    if content.turn_complete:
                        self.news.put_nowait(words)
                        words = ""
        except Exception as error:
            self.news.put_nowait(error)

    async def run_tools(self, calls):
        for call in calls:
            result = await self.chat.look_up(**call.args)
            answer = {"id": call.id, "name": call.name, "response": {"result": result}}
            with contextlib.suppress(Exception):  # the reader meets it, too
                await self.session.send_tool_response(function_responses=[answer])


@contextlib.asynccontextmanager
async def listening(app):
    task = asyncio.create_task(app.listen())
    try:
        yield app
    finally:
        task.cancel()
        await asyncio.wait([task])


@contextlib.asynccontextmanager
async def genai(chat, *, ours):
    sdk, resumable = importlib.import_module("google.genai"), importlib.import_module("resumekit.adapters.genai")
    declaration = {
        "name": "look_up",
        "parameters": {"type": "OBJECT", "properties": {"what": {"type": "STRING"}}, "required": ["what"]},
    }
    config = {
        "response_modalities": ["AUDIO"],
        "output_audio_transcription": {},
        "session_resumption": {},
        "context_window_compression": {"sliding_window": {}},
        "tools": [{"function_declarations": [declaration]}],
    }
    options = {"base_url": chat.server.base_url, "async_client_args": {"ssl": chat.server.client_ssl_context()}}
    client = sdk.Client(api_key="any", http_options=options)
    given = {"model": Genai.MODEL, "config": config}
    connection = resumable.connect(client, **given) if ours else client.aio.live.connect(**given)
    async with connection as session, listening(Genai(chat, session)) as app:
        yield app


class Adk(Heard):
    """google-adk: a runner, and the queue of its requests."""

    async def say(self, question):
        types = importlib.import_module("google.genai.types")
        self.queue.send_content(types.Content(role="user", parts=[types.Part(text=question)]))

    async def listen(self):
        words = ""
        try:
            async for event in self.run:
                if event.interrupted:
                    words = ""
                if event.output_transcription and event.partial:
                    words += event.output_transcription.text or ""
                if event.error_code:
                    self.told.append(f"Event(error_code={event.error_code!r})")
                if event.turn_complete:
                    self.news.put_nowait(words)
                    words = ""
            self.news.put_nowait(EOFError())
        except Exception as error:
            self.news.put_nowait(error)


@contextlib.asynccontextmanager
async def adk(chat, *, ours):
    from google.adk.agents import Agent, LiveRequestQueue, RunConfig
    from google.adk.agents.run_config import StreamingMode
    from google.adk.runners import InMemoryRunner
    from google.genai import types

    from resumekit.adapters.adk import ResumableGemini

    os.environ |= {"GOOGLE_API_KEY": "any", "GOOGLE_GEMINI_BASE_URL": chat.server.base_url}
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as certificate:
        certificate.write(chat.server._pem)
        certificate.flush()
        os.environ["SSL_CERT_FILE"] = certificate.name
        app, name = Adk(), "gemini-2.5-flash-native-audio-latest"

        async def look_up(what: str) -> str:
            """Look something up."""
            return await chat.look_up(what)

        agent = Agent(name="an_agent", model=ResumableGemini(model=name) if ours else name, tools=[look_up])
        runner = InMemoryRunner(agent=agent, app_name="app")
        await runner.session_service.create_session(app_name="app", user_id="u", session_id="s")
        app.queue = LiveRequestQueue()
        config = RunConfig(
            streaming_mode=StreamingMode.BIDI,
            response_modalities=["AUDIO"],
            output_audio_transcription=types.AudioTranscriptionConfig(),
            session_resumption=types.SessionResumptionConfig(),
        )
        app.run = runner.run_live(user_id="u", session_id="s", live_request_queue=app.queue, run_config=config)
        async with listening(app):
            yield app


class Reused(Heard):
    """An app of the tests of a framework."""

    def __init__(self, app):
        super().__init__()
        self.app = app

    async def next(self):
        return await self.app.answer()


class LiveKit(Reused):
    async def say(self, question):
        self.app.microphone.say(question)

    @property
    def told(self):
        return [f"ErrorEvent(recoverable={event.error.recoverable})" for event in self.app.errors]

    @told.setter
    def told(self, value):
        pass


@contextlib.asynccontextmanager
async def livekit(chat, *, ours):
    tests = importlib.import_module("tests.frameworks.test_livekit")
    options = tests.resumable_options(chat) if ours else tests.options_of(chat)
    async with tests.app_with(chat, tests.RealtimeModel(api_key="any", http_options=options)) as app:
        yield LiveKit(app)


class Pipecat(Reused):
    def __init__(self, app):
        super().__init__(app)
        self.errors = []

        async def failed(worker, frame):
            self.errors.append(f"ErrorFrame(fatal={frame.fatal})")

        app.worker.add_event_handler("on_pipeline_error", failed)

    async def say(self, question):
        await self.app.say(question)

    async def next(self):
        return await self.app.speaker.answers.get()

    @property
    def told(self):
        return self.errors

    @told.setter
    def told(self, value):
        pass


@contextlib.asynccontextmanager
async def pipecat(chat, *, ours):
    tests = importlib.import_module("tests.frameworks.test_pipecat")
    service = tests.resumable_service(chat) if ours else tests.GeminiLiveLLMService
    async with tests.App(chat, service).running() as app:
        yield Pipecat(app)


class PydanticAi(Reused):
    async def say(self, question):
        await self.app.session.send(question)

    async def next(self):
        answer = await self.app._answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def told(self):
        events = [event for event in self.app.events if type(event).__name__.startswith("RealtimeSession")]
        return [
            f"{type(event).__name__}({f'state_restored={event.state_restored}' if hasattr(event, 'state_restored') else f'type={event.type!r}'})"
            for event in events
        ]

    @told.setter
    def told(self, value):
        pass


@contextlib.asynccontextmanager
async def pydantic_ai(chat, *, ours):
    tests = importlib.import_module("tests.frameworks.test_pydantic_ai")
    client = (
        tests.resumable_client(chat) if ours else tests.genai.Client(api_key="any", http_options=tests.options_of(chat))
    )
    async with tests.app_of(chat, client, **({} if ours else {"reconnect": {}})) as app:
        yield PydanticAi(app)


class Strands(Reused):
    async def say(self, question):
        await self.app.say(question)

    @property
    def told(self):
        kind = importlib.import_module("tests.frameworks.test_strands").BidiConnectionRestartEvent
        events = [event for event in self.app.events if isinstance(event, kind)]
        return [f"BidiConnectionRestartEvent(turn_interrupted={event.turn_interrupted})" for event in events]

    @told.setter
    def told(self, value):
        pass


@contextlib.asynccontextmanager
async def strands(chat, *, ours):
    tests = importlib.import_module("tests.frameworks.test_strands")
    model = tests.resumable_model(chat) if ours else tests.plain_model(chat)
    async with tests.app_with(chat, model) as app:
        yield Strands(app)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A way to hold a conversation."""

    package: str
    environments: tuple[str, ...]
    """Where it can be measured: by hand in the first, by `make matrix` in the last."""
    module: str
    """Imported before the processes part."""
    start: object
    knobs: dict = field(default_factory=dict)


COLUMNS = {
    "google-genai": Column(
        package="google-genai", environments=("genai3", "pydantic212"), module="google.genai", start=genai
    ),
    "google-adk": Column(
        package="google-adk",
        environments=("adk2", "processes"),
        module="google.adk.runners",
        start=adk,
        knobs={"tool_turns": "at_end"},
    ),
    "LiveKit": Column(
        package="livekit-plugins-google",
        environments=("livekit",),
        module="tests.frameworks.test_livekit",
        start=livekit,
    ),
    "Pipecat": Column(
        package="pipecat-ai",
        environments=("pipecat",),
        module="tests.frameworks.test_pipecat",
        start=pipecat,
        knobs={"model": "3.x", "tool_position": "amid"},
    ),
    "pydantic-ai": Column(
        package="pydantic-ai-slim",
        environments=("pydantic-ai",),
        module="tests.frameworks.test_pydantic_ai",
        start=pydantic_ai,
    ),
    "Strands": Column(
        package="strands-agents", environments=("strands",), module="tests.frameworks.test_strands", start=strands
    ),
}


# --- what became of it ---------------------------------------------------------------------------------------------------


class NotBegunError(Exception):
    """Before anything struck, the first question got no answer: the machine is too busy."""


async def hold(column, scene, *, ours):
    """Hold a conversation; return the facts."""
    answers, errors, failed = [], [], []

    async def ask(app, question):
        first = len(answers)
        try:
            async with asyncio.timeout(PATIENCE):
                try:
                    await app.say(question)
                except Exception as error:  # the user tries again, once
                    failed.append(error)
                    await asyncio.sleep(5.0)
                    await app.say(question)
                while not any(is_whole(text, question) for text in answers[first:]):
                    answers.append(await app.next())
        except TimeoutError:
            pass
        except Exception as error:
            errors.append(error)

    async with asyncio.timeout(200.0), EmulatorProcess(**column.knobs, **scene.knobs) as server:
        chat = Conversation(server, scene=scene)
        async with column.start(chat, ours=ours) as app:
            await ask(app, "apples")
            if not answers or errors:
                raise NotBegunError(errors)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(4.0):
                    await chat.anchored()
            await asyncio.sleep(0.5)
            await server.inject(*scene.faults)
            if scene.idle:
                await struck(server)
            await ask(app, scene.ask)
            await struck(server)
            if not errors:
                await ask(app, "clouds")
            told = sorted(set(app.told))
        report = await server.ledger_report()
        held = await server.audio()
    return {
        "answered": {q: sum(is_whole(text, q) for text in answers) for q in QUESTIONS},
        "joined": any(sum(f"answer to {q}" in text for q in QUESTIONS) > 1 for text in answers),
        "held": {q: sum(q in item for item in report.held) + held.count(spoken(q)) for q in QUESTIONS},
        "send_failed": bool(failed),
        "tool_runs": len(chat.ran),
        "error": name_of(errors[0]) if errors else None,
        "told": told,
    }


async def struck(server):
    """Wait until the first connection is over, as the service sees it, or will not be; and some seconds for the next."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(15.0):
            while (await server.connections())[0].closed_at is None:  # noqa: ASYNC110 -- of another process
                await asyncio.sleep(0.05)
    await asyncio.sleep(3.0)


def is_whole(text, question):
    answer = parse_answer(text.strip())
    return answer is not None and question.split()[0] == answer.asked.split()[0]


def name_of(error):
    code = re.search(r"\b1\d\d\d\b", str(error))
    return f"{type(error).__name__} {code[0]}" if code else type(error).__name__


def verdict(facts, scene):
    """Say in words what the user has of it; the worst first."""
    if facts["joined"]:
        return "end of an answer not told"
    if facts["answered"]["clouds"] == 0:
        if facts["error"] == "EOFError":
            return "ends, without an error"
        return "ends, with an error" if facts["error"] or facts["told"] else "falls silent"
    told = "; the app is told" if facts["told"] else ""
    found = []
    if not facts["answered"]["bears"]:
        found.append(("question unanswered" if facts["held"]["bears"] else "question lost") + told)
    if facts["held"]["apples"] == 0:
        found.append("earlier talk forgotten")
    if facts["answered"]["bears"] > 1:
        found.append("answered twice")
    if any(count > 1 for count in facts["held"].values()):
        found.append("kept twice")
    if scene.name == "tool" and facts["tool_runs"] != 1:
        found.append(f"the tool runs {facts['tool_runs']} times")
    if facts["send_failed"]:
        found.append("a send fails")
    return ", ".join(found) or "goes on"


# --- all of them ---------------------------------------------------------------------------------------------------------


def child(pipe, column, scene, ours):
    logging.disable(logging.CRITICAL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what frameworks print there
    try:
        pipe.send(asyncio.run(hold(column, scene, ours=ours)))
    except BaseException:
        pipe.send(traceback.format_exc())
    os._exit(0)


def measure(name, *, ours, scenes=SCENES):
    """Hold all conversations of a column, some at once; return the facts of each scene."""
    column, found, running = COLUMNS[name], {}, {}
    importlib.import_module(column.module)
    fork = multiprocessing.get_context("fork")
    left = list(scenes)
    again = len(left)
    while left or running:
        while left and len(running) < AT_ONCE:
            scene = left.pop(0)
            ours_end, theirs = fork.Pipe(duplex=False)
            fork.Process(target=child, args=(theirs, column, scene, ours)).start()
            theirs.close()
            running[ours_end] = scene
        for pipe in multiprocessing.connection.wait(list(running)):
            facts, scene = pipe.recv(), running.pop(pipe)
            if isinstance(facts, dict):
                found[scene.name] = facts
            else:
                again -= 1
                assert again, facts
                left.append(scene)
    return {scene.name: found[scene.name] for scene in scenes}


def here():
    """Return the column that is measured in this environment."""
    environment = Path(sys.prefix).name
    return next((name for name, column in COLUMNS.items() if environment in column.environments), None)


def versions(column):
    return {name: version(name) for name in dict.fromkeys((column.package, "google-genai", "websockets"))}


def known():
    return json.loads(JSON.read_text("utf-8")) if JSON.exists() else {}


def record(name):
    """Measure a column, and write what came of it."""
    column = {"versions": versions(COLUMNS[name])}
    for mode, ours in MODES.items():
        facts = measure(name, ours=ours)
        column[mode] = {
            scene.name: {"verdict": verdict(facts[scene.name], scene), **facts[scene.name]} for scene in SCENES
        }
    told = known() | {name: column}
    JSON.write_text(json.dumps({name: told[name] for name in COLUMNS if name in told}, indent=1) + "\n", "utf-8")
    for key in MODES:
        for scene in SCENES:
            facts = told[name][key][scene.name]
            print(f"{key:9} {scene.name:18} {facts['verdict']:40} {facts['error'] or ''} {' '.join(facts['told'])}")


def check(name, scenes):
    """Measure scenes of a column again; return what is otherwise than on record.

    Where a framework races with what strikes it, chance decides: what differs is measured twice more.
    """
    found = []
    for mode, ours in MODES.items():
        told, left, now = known()[name][mode], scenes, {}
        for _ in range(3):
            now |= measure(name, ours=ours, scenes=left)
            left = [
                scene
                for scene in left
                if verdict(now[scene.name], scene)
                not in {told[scene.name]["verdict"], SOMETIMES.get((name, mode, scene.name))}
            ]
        found += [f"{mode}, {one.name}: {told[one.name]['verdict']!r} on record, now {now[one.name]}" for one in left]
    return found


def cell(name, mode, scene):
    """Return what the table says of a scene."""
    also = SOMETIMES.get((name, mode, scene.name))
    return known()[name][mode][scene.name]["verdict"] + (f", or {also}" if also else "")


def tables():
    """Return the tables of the page: as it is, and through resumekit."""
    told, lines = known(), []
    heads = [f"{name} {column['versions'][COLUMNS[name].package]}" for name, column in told.items()]
    for key, title in (("plain", "As it is"), ("resumekit", "Through resumekit")):
        rows = [["**" + title + "**", *heads]]
        rows += [[scene.title, *(cell(name, key, scene) for name in told)] for scene in SCENES]
        rows.insert(1, ["---"] * len(rows[0]))
        lines += [f"| {' | '.join(row)} |" for row in rows] + [""]
    return "\n".join(lines)


def page(text):
    """Return the page with the tables that belong there."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


def main():
    name = here()
    if name is None and "--page" not in sys.argv:
        sys.exit(f"run it in one of these environments: {[c.environments for c in COLUMNS.values()]}")
    if "--check" in sys.argv:
        scenes = [scene for scene in SCENES if "--short" not in sys.argv or scene.name in SHORT]
        sys.exit("\n".join(check(name, scenes)) or 0)
    if "--page" not in sys.argv:
        record(name)
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
