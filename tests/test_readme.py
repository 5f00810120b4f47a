"""What README.md says is run: its code as it stands there, the real google-genai client, and the emulator."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path
from types import CodeType

import pytest

from resumekit import Exactly, Policy, events
from resumekit.cli import COMMANDS
from resumekit.defaults import DefaultDecisions
from resumekit.emulator import EmulatorProcess, Fault, Trigger, parse_answer
from tests.examples import delay

pytest.importorskip("google.genai")

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
QUESTIONS = ["Any tips for Oslo?", "What should I pack?"]
IN_THE_SECOND_ANSWER = Fault.rst(at=Trigger("server_frame", 25), binding=0)


class Speaker:
    """Plays answers, and hears what a user would."""

    def __init__(self):
        self.heard = [""]
        self.interruptions = []

    def play(self, message):
        content = message.server_content
        if content is None:
            return
        if content.interrupted:
            self.interruptions.append(self.heard[-1])
            self.heard[-1] = ""
        if content.output_transcription:
            self.heard[-1] += content.output_transcription.text or ""
        if content.turn_complete:
            self.heard.append("")


async def run(block, speaker, **names):
    """Execute a block as it stands in the README; returns its names."""
    namespace = {
        "MODEL": "gemini-2.5-flash-native-audio-latest",
        "CONFIG": {"response_modalities": ["AUDIO"], "output_audio_transcription": {}},
        "play": speaker.play,
        **names,
    }
    code = compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(code, CodeType)
    result = eval(code, namespace)
    if inspect.isawaitable(result):
        await result
    return namespace


def client_of(server):
    genai = importlib.import_module("google.genai")
    options = {"base_url": server.base_url, "async_client_args": {"ssl": server.client_ssl_context()}}
    return genai.Client(api_key="any", http_options=options)


@pytest.fixture
async def server():
    async with EmulatorProcess(time_scale=0.1, faults=[IN_THE_SECOND_ANSWER]) as emulator:
        yield emulator


@pytest.fixture
def speaker():
    return Speaker()


def test_the_two_programs_differ_in_the_marked_lines_only():
    def lines(block):
        return [line.split("  # ")[0].rstrip() for line in block.splitlines()]

    before, after = BLOCKS[0], BLOCKS[1]
    marked = [line for line in after.splitlines() if re.search(r"# (new|changed)$", line)]
    assert [line.rsplit("# ")[1] for line in marked] == ["new", "changed"]
    new, changed = lines("\n".join(marked))
    rest = [line for line in lines(after) if line not in {new, changed}]
    assert rest == [line for line in lines(before) if "connect(" not in line]


@pytest.mark.network
async def test_without_resumekit_the_user_hears_half_a_sentence(server, speaker):
    errors = importlib.import_module("google.genai.errors")
    program = await run(BLOCKS[0], speaker)

    with pytest.raises(errors.APIError, match=r"1006 None\. abnormal closure"):
        await program["talk"](client_of(server))
    assert parse_answer(speaker.heard[0]).asked == QUESTIONS[0]
    half = speaker.heard[1]
    assert half
    assert parse_answer(half) is None


@pytest.mark.network
async def test_with_resumekit_the_user_hears_the_answer_begin_anew(server, speaker):
    program = await run(BLOCKS[1], speaker)
    await program["talk"](client_of(server))

    assert len(speaker.interruptions) == 1
    assert parse_answer(speaker.interruptions[0]) is None
    answers = [parse_answer(text) for text in speaker.heard if text]
    assert [(answer.asked, answer.turns_held) for answer in answers] == [(QUESTIONS[0], 1), (QUESTIONS[1], 2)]
    report = await server.ledger_report(QUESTIONS)
    assert report.ok, report


@pytest.mark.network
async def test_policy_and_events_are_given_as_shown(server, speaker):
    told = []
    names = await run(BLOCKS[1], speaker)
    names = await run(BLOCKS[2], speaker, **names, client=client_of(server), print=told.append)
    async with names["connection"] as session:
        assert session.stats.connections == 1
    assert [type(event) for event in told[:2]] == [events.SessionStarted, events.Connected]


@pytest.mark.network
async def test_a_later_session_goes_on_as_shown(server, speaker, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = await run(BLOCKS[1], speaker)
    for turns in (1, 2):
        names = await run(BLOCKS[4], speaker, **names, client=client_of(server))
        async with names.pop("connection") as session:
            await session.send_client_content(turns={"role": "user", "parts": [{"text": "hello"}]})
            async for message in session.receive():
                speaker.play(message)
        names.pop("client")
        assert parse_answer(speaker.heard[-2]).turns_held == turns


@pytest.mark.network
async def test_a_hook_decides_as_shown(server, speaker):
    names = await run(BLOCKS[1], speaker)
    names = await run(BLOCKS[5], speaker, **names, client=client_of(server))
    async with names["connection"] as session:
        answers = [session._driver._engine._decisions.choose_delay(delay(attempt=attempt)) for attempt in (3, 4)]

    assert answers == [DefaultDecisions().choose_delay(delay(attempt=3)), Exactly(20.0)]


@pytest.mark.network
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("app", "outcome"), [(0, "failed"), (1, "passed")])
def test_pytest_has_the_emulator_as_shown(pytester, app, outcome):
    names = 'MODEL, CONFIG, play = "gemini-2.5-flash", {"response_modalities": ["AUDIO"]}, str'
    pytester.makepyfile(f"import asyncio\n{BLOCKS[app]}\n{names}\n{BLOCKS[6]}")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:randomly")
    result.assert_outcomes(**{outcome: 1})
    assert len(BLOCKS) == 7, "every block of the README is run; that of ADK, BLOCKS[3], by tests/adk/test_page.py"


@pytest.mark.network
async def test_with_resumption_off_the_service_is_never_asked_to_keep_the_conversation(server, speaker):
    resumable = importlib.import_module("resumekit.adapters.genai")
    config = {"response_modalities": ["AUDIO"], "output_audio_transcription": {}}
    policy = Policy(resumption="off")
    async with resumable.connect(client_of(server), model="gemini-2.5-flash", config=config, policy=policy) as session:
        for question in QUESTIONS:
            await session.send_client_content(turns={"role": "user", "parts": [{"text": question}]})
            async for message in session.receive():
                speaker.play(message)

    assert parse_answer(speaker.heard[1]).turns_held == 2
    connections = await server.connections()
    assert len(connections) == 2
    for connection in connections:
        sent = b"".join(await server.raw(connection.number)).lower().replace(b"_", b"")
        assert b"sessionresumption" not in sent
        assert connection.handles_issued == 0
    assert (await server.ledger_report(QUESTIONS)).ok


def test_the_commands_that_are_named_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", README)) <= targets
    assert set(re.findall(r"`resumekit ([a-z]+)", README)) <= set(COMMANDS)


def test_the_fields_and_names_that_are_named_exist():
    assert all(hasattr(Policy(), name) for name in re.findall(r"Policy\.([a-z_]+)", README))
    session = importlib.import_module("resumekit.adapters.genai").Session
    assert all(hasattr(session, name) for name in ("events", "stats", "force_reconnect", "end"))


def test_the_demo_has_as_many_cuts_as_the_first_screen_says():
    script = importlib.import_module("resumekit.cli._demo.script").SCRIPT
    assert "lives through nine" in README
    assert sum(1 for scene in script if scene.strikes) == 9


def test_the_links_lead_somewhere():
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).is_file()] == []


def test_the_first_screen_is_one():
    """About 40 lines hold the name, the commands, and the two programs."""
    assert README.splitlines().index("## What it does") <= 42
