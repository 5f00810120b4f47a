"""docs/tutorial/survive-your-first-disconnect.md goes as it is printed: its files are written, its commands typed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.docs.pages import blocks

pytest.importorskip("google.genai")
pytestmark = pytest.mark.network
PAGE = "docs/tutorial/survive-your-first-disconnect.md"
_, SCRIPT, EMULATE, PROGRAM, DIES, NEW, CHANGED, LIVES, LEDGER, REAL = blocks(PAGE)


@contextlib.asynccontextmanager
async def terminal(command, **variables):
    """Type a command."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **variables}
    process = await asyncio.create_subprocess_exec(
        *command.split(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def lines_of(command, **variables):
    """Return what a command prints, and the last line of its traceback."""
    async with terminal(command, **variables) as process:
        out, err = await process.communicate()
    return out.decode().splitlines(), err.decode().splitlines()[-1:]


def expected(block):
    return block.text.rstrip("\n").split("\n")[1 if block.text.startswith("$") else 0 :]


def masked(lines):
    """Hide what is another in each run: the port, the name of a directory, and how much came before a cut."""
    text = "\n".join(lines)
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
    return re.sub(r"\S+/resumekit-emulator-\w+/", "FOLDER/", text).split("\n")


def assert_same(lines, page):
    """Compare line by line; of an answer that was cut any part may have come."""
    assert len(lines) == len(page), lines
    for line, told in zip(lines, page, strict=True):
        if told.endswith(" ... (interrupted)") or told == "model: answer to Where is the":
            assert re.match(r"model: (answer|$| )", line), line
            assert line.endswith("(interrupted)") == told.endswith("(interrupted)"), line
        else:
            assert line == told


async def test_it_goes_as_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.json").write_text(SCRIPT.text)
    talk = tmp_path / "talk.py"
    talk.write_text(PROGRAM.text)
    async with terminal(*EMULATE.commands) as emulator:
        said = [(await emulator.stdout.readline()).decode().rstrip("\n") for _ in expected(EMULATE)]
        assert masked(said) == masked(expected(EMULATE))
        exports = dict(re.findall(r"^export (\w+)=(\S+)$", "\n".join(said), re.MULTILINE))

        out, err = await lines_of(*DIES.commands, **exports)
        assert_same([*out, *err], expected(DIES))

        plain = next(line for line in PROGRAM.text.splitlines(keepends=True) if "live.connect(" in line)
        genai = "from google import genai\n"
        talk.write_text(PROGRAM.text.replace(genai, genai + NEW.text).replace(plain, CHANGED.text))
        out, err = await lines_of(*LIVES.commands, **exports)
        assert err == []
        assert_same(out, expected(LIVES))

        emulator.send_signal(signal.SIGINT)
        live, _, left = (await emulator.stdout.read()).decode().partition("\n\n")
        await emulator.wait()
    assert "FAULT: " in live
    assert left.strip("\n").split("\n") == expected(LEDGER)


def test_the_real_service_is_asked_by_the_same_file():
    assert REAL.commands[-1] == DIES.commands[0] == LIVES.commands[0]
    unset = REAL.commands[0].split()[1:]
    assert set(unset) == set(re.findall(r"export (\w+)=", EMULATE.text)) - {"GOOGLE_API_KEY"}
