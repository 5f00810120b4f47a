"""What docs/how-to/trace-a-call.md says is run: its code as it stands there, its commands, and its numbers."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from resumekit.cli import main
from resumekit.core import actions, inputs
from resumekit.trace import Trace, file, reading, records
from tests.adapters.support import MODEL, nothing_is_left, server

pytestmark = [pytest.mark.network, pytest.mark.allow_blocking]  # google-genai blocks, we do not
DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "how-to" / "trace-a-call.md").read_text("utf-8")
REFERENCE = (DOCS / "reference" / "trace.md").read_text("utf-8")
CALL, TEST, FULL = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^```console\n\$ resumekit (.*?)\n```$", PAGE, re.MULTILINE)


def run(code, **names):
    exec(compile(code, "docs/how-to/trace-a-call.md", "exec"), names)
    return names


async def test_the_page_as_shown(tmp_path, monkeypatch, capsys):
    real = pytest.importorskip("tests.adapters.test_genai")
    monkeypatch.chdir(tmp_path)
    async with server() as live, nothing_is_left():
        await run(CALL, MODEL=MODEL, CONFIG=real.CONFIG)["call"](real.client_of(live), real.ask)
    assert [command.split()[0] for command in COMMANDS] == ["timeline", "replay"]
    for command in COMMANDS:
        assert main(shlex.split(command)) == 0
    said = capsys.readouterr().out
    assert "over 2 connections; no cut, 1 planned move" in said
    assert "call.jsonl: same: the same " in said
    assert "<svg" in (tmp_path / "call.html").read_text("utf-8")
    run(TEST)["test_the_call_that_went_wrong"]()


def test_all_of_it_is_kept_as_shown():
    trace = run(FULL)["FULL"]
    assert isinstance(trace, Trace)
    assert trace.payloads


def test_the_numbers_are_those_of_the_code():
    assert f"gathers them for {file._GATHERED * 1000:.0f} ms" in PAGE
    assert f"{file._BACKLOG // 2**20} MiB wait at the most" in PAGE
    assert f"| `resumekit_trace` | the format: {reading.FORMAT} |" in REFERENCE
    assert f"a run of more than {records._SHORT} equal characters" in REFERENCE


def test_the_reference_names_every_field(tmp_path, monkeypatch):
    from tests.trace.test_replay import kept, odd_session

    path = kept(tmp_path, odd_session().records)
    head, began, *lines = map(json.loads, path.read_text("utf-8").splitlines())
    for name in (
        *head,
        *began,
        *{name for line in lines for name in line if name in ("in", "asked", "out", "took", "told", "end")},
    ):
        assert f"`{name}`" in REFERENCE
    for kind, _ in (question for line in lines for question in line.get("asked", ())):
        assert f'["{kind}", ' in REFERENCE
    known = {kind.__name__ for kind in (*inputs.Input.__args__, *actions.Action.__args__)} | {
        "media",
        "streamed",
        "inserted",
    }
    assert {line["in"] for line in lines if "in" in line} <= known
    assert {action["do"] for line in lines for action in line.get("out", ())} <= known
