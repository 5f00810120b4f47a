"""README.md alone, as a new user tries it: its `pip install` lines make clean environments of resumekit's wheel and of what
the extra brings, its code stands in programs of the user's own, as printed, and its commands are typed there. The service is
an emulator elsewhere, found by environment variables. What the emulator needs is in no environment but that of `testing`.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import tomllib
from importlib.metadata import distributions

import pytest

from resumekit.emulator import Fault, Trigger, parse_answer
from tests.faults.zygote import Emulator
from tests.installed.support import BUILD, CAN_BUILD, ROOT, clean_environment, make_environment, run, wheel_of

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
BEFORE, AFTER, POLICY, ADK, KEY, PLUGIN, TEST = BLOCKS
INSTALL = re.findall(r"pip install '\.\[[a-z,]+\]'", README)
QUESTIONS = ["Any tips for Oslo?", "What should I pack?"]
IN_THE_SECOND_ANSWER = Fault.rst(at=Trigger.mid_answer(2, turn=2), binding=0)
HERE = {found.name for found in distributions()}

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(300), CAN_BUILD]
with_genai = pytest.mark.skipif(not HERE.isdisjoint({"google-adk"}), reason="the environment without google-adk has it")
with_adk = pytest.mark.skipif("google-adk" not in HERE, reason="needs google-adk")

MINE = """
import asyncio, json, sys

MODEL, CONFIG = "gemini-2.5-flash-native-audio-latest", {"response_modalities": ["AUDIO"], "output_audio_transcription": {}}
heard = [""]

def play(message):
    content = message.server_content
    if content is None:
        return
    if content.interrupted:
        heard.append("")
    if content.output_transcription:
        heard[-1] += content.output_transcription.text or ""
    if content.turn_complete:
        heard.append("")
"""
"""What a program has before the lines of the README come into it."""
(TRACE,) = re.findall(r"`(trace=[^`]+)`", README)
(POOL,) = re.findall(r"`(pool=[^`]+)`", README)
STATUS = {"resumekit doctor --probe": 2, "resumekit emulate": 2}
"""Exit statuses of commands that need what is not there: a key and somebody to say yes; what the emulator needs."""
TALK = "\nasyncio.run(talk(genai.Client()))\nprint(json.dumps(heard))\n"
ONE_QUESTION = """
async def one_question(connection):
    async with connection as session:
        await session.send_client_content(turns={"role": "user", "parts": [{"text": "hello"}]})
        async for message in session.receive():
            play(message)
"""
MY_AGENT = """
import asyncio, json, sys
from google.adk.agents import LiveRequestQueue, RunConfig
from google.adk.agents.run_config import StreamingMode
from google.adk.runners import InMemoryRunner
from google.genai import types

async def talk(agent, questions):
    runner = InMemoryRunner(agent=agent, app_name="app")
    await runner.session_service.create_session(app_name="app", user_id="u", session_id="s")
    queue, heard = LiveRequestQueue(), [""]
    config = RunConfig(
        streaming_mode=StreamingMode.BIDI,
        response_modalities=["AUDIO"],
        output_audio_transcription=types.AudioTranscriptionConfig(),
        session_resumption=types.SessionResumptionConfig(),
    )
    ask = lambda text: queue.send_content(types.Content(role="user", parts=[types.Part(text=text)]))
    ask(questions.pop(0))
    async for event in runner.run_live(user_id="u", session_id="s", live_request_queue=queue, run_config=config):
        if event.interrupted:
            heard.append("")
        if event.output_transcription and event.partial:
            heard[-1] += event.output_transcription.text or ""
        if event.turn_complete:
            heard.append("")
            if not questions:
                return heard
            ask(questions.pop(0))
"""
"""A program for ADK as it was before: the README changes its agent only."""


class Shell:
    """A folder with an environment that was made as the README says."""

    def __init__(self, folder, line, wheel):
        (extras,) = re.findall(r"\[([a-z,]+)\]", line)
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        brought = [one for extra in extras.split(",") for one in project["optional-dependencies"][extra]]
        self.folder = folder / "work"
        self.folder.mkdir(parents=True)
        self.python = make_environment(folder / "env", project["dependencies"] + brought)
        uv = (BUILD / "bin" / "uv", "pip")
        # Whatever the wheel asks for has to be there by now: there is no index to get it from.
        run(*uv, "install", "--offline", "--no-index", "--quiet", "--python", self.python, f"{wheel}[{extras}]")
        run(*uv, "check", "--quiet", "--python", self.python)

    def type(self, command, **variables):
        """Type a command; return what it did."""
        program, *rest = shlex.split(command)
        path = [self.python.with_name(program), *rest]
        return subprocess.run(
            path,
            check=False,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**clean_environment("PYTEST", "GOOGLE", "GEMINI"), **variables},
        )

    async def program(self, source, server, *arguments, **variables):
        """Write a program of the user's, and run it; return what it prints as JSON."""
        (self.folder / "my_app.py").write_text(source)
        certificate = self.folder / "ca.pem"
        certificate.write_text(server._pem)
        variables |= {"SSL_CERT_FILE": str(certificate), "GOOGLE_GEMINI_BASE_URL": server.base_url}
        done = await asyncio.to_thread(
            self.type, shlex.join(["python", "my_app.py", *arguments]), GOOGLE_API_KEY="any", **variables
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def shell_of(tmp_path_factory):
    """Make an environment by a line of the README, once."""
    folder, made = tmp_path_factory.mktemp("readme"), {}

    def shell_of(line):
        if line not in made:
            assert line in INSTALL
            wheel = wheel_of(ROOT, folder) if not made else max(folder.glob("*.whl"))
            made[line] = Shell(folder / f"{len(made)}", line, wheel)
        return made[line]

    return shell_of


def answers(heard):
    return [(answer.asked, answer.turns_held) for answer in map(parse_answer, heard) if answer]


def test_each_environment_that_it_names_is_tried():
    assert set(INSTALL) == {"pip install '.[genai]'", "pip install '.[adk]'", "pip install '.[genai,testing]'"}


@with_genai
async def test_an_own_google_genai_app(shell_of):
    """It dies without the changed line, lives with it, and takes all that can be given to `connect`."""
    shell = shell_of("pip install '.[genai]'")
    async with Emulator(time_scale=0.1, faults=[IN_THE_SECOND_ANSWER]) as server:
        with pytest.raises(AssertionError, match=r"APIError: 1006 None\. abnormal closure"):
            await shell.program(MINE + BEFORE + TALK, server)
    async with Emulator(time_scale=0.1, faults=[IN_THE_SECOND_ANSWER]) as server:
        heard = await shell.program(MINE + AFTER + TALK, server)
        assert answers(heard) == list(zip(QUESTIONS, (1, 2), strict=True))
        assert parse_answer(heard[1]) is None, "the half answer"
        report = await server.ledger_report(QUESTIONS)
        assert report.ok, report

    source = f"""{MINE}{AFTER}{ONE_QUESTION}
from resumekit.pool import SessionPool
client, told, show = genai.Client(), [], print
print = told.append
{POLICY}
asyncio.run(one_question(connection))
{PLUGIN}
asyncio.run(one_question(connection))
asyncio.run(one_question(resumable.connect(client, model=MODEL, config=CONFIG, {TRACE})))
asyncio.run(one_question(resumable.connect(client, model=MODEL, config=CONFIG, {POOL})))
show(json.dumps([[type(event).__name__ for event in told], heard]))
"""
    async with Emulator(time_scale=0.1) as server:
        told, heard = await shell.program(source, server)
    assert told[:2] == ["SessionStarted", "Connected"]
    assert answers(heard) == [("hello", 1)] * 4


@with_genai
async def test_the_next_process_goes_on(shell_of):
    shell = shell_of("pip install '.[genai]'")
    source = f"""{MINE}{AFTER}{ONE_QUESTION}
client = genai.Client()
{KEY}
asyncio.run(one_question(connection))
print(json.dumps(heard))
"""
    async with Emulator(time_scale=0.1) as server:
        heard = [await shell.program(source, server) for _ in range(2)]
    assert [answers(one) for one in heard] == [[("hello", 1)], [("hello", 2)]]
    assert (shell.folder / "calls.db").exists()


@with_genai
async def test_the_commands(shell_of):
    """They are typed as they are named; a trace is made first, and `my_app` has a config to look at."""
    shell = shell_of("pip install '.[genai]'")
    named = {re.sub(r"\s+", " ", command) for command in re.findall(r"`(resumekit\s[^`]+)`", README)}
    traced = f"one_question(resumable.connect(client, model=MODEL, config=CONFIG, {TRACE}))"
    async with Emulator(time_scale=0.1) as server:
        await shell.program(
            f"""{MINE}{AFTER}{ONE_QUESTION}
config = CONFIG
if __name__ == "__main__":
    client = genai.Client()
    asyncio.run({traced})
    print(json.dumps(heard))
""",
            server,
        )
    for command in sorted(named):
        typed = command.replace("NAME", "gemini-2.5-flash-live")
        if command.split()[1] in {"timeline", "replay"}:
            typed += " call.jsonl"
        done = await asyncio.to_thread(shell.type, typed)
        assert done.returncode == STATUS.get(command, 0), f"{command}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
    assert named >= {"resumekit doctor", "resumekit timeline", "resumekit replay", *STATUS}
    assert "pip install '.[emulator]'" in shell.type("resumekit emulate").stderr


@with_genai
@pytest.mark.parametrize(("app", "outcome"), [(BEFORE, "1 failed"), (AFTER, "1 passed")], ids=["plain", "resumable"])
def test_an_own_test(shell_of, app, outcome):
    """pytest has the emulator; with the plain app the test says what would be heard."""
    shell = shell_of("pip install '.[genai,testing]'")
    (shell.folder / "test_app.py").write_text(f"import asyncio\n{MINE}{app}\n{TEST}")
    done = shell.type("python -m pytest -q -p no:cacheprovider test_app.py")
    assert done.stdout.splitlines()[-1].startswith(outcome), done.stdout


@with_adk
async def test_an_own_adk_app(shell_of):
    """The line of the agent is all that changes."""
    shell = shell_of("pip install '.[adk]'")
    source = f"{MY_AGENT}{ADK}\nprint(json.dumps(asyncio.run(talk(agent, {QUESTIONS}))))"
    async with Emulator(time_scale=0.1, faults=[IN_THE_SECOND_ANSWER]) as server:
        heard = await shell.program(source, server)
        assert answers(heard) == list(zip(QUESTIONS, (1, 2), strict=True))
        report = await server.ledger_report(QUESTIONS)
        assert report.ok, report
        assert len(await server.connections()) == 2
