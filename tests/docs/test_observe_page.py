"""What docs/how-to/observe.md says is run: its code as it stands there, the real google-genai client, and the emulator.

Its code for OpenTelemetry is run by the tests of `plugins/resumekit-otel`.
"""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from resumekit.adapters import genai as resumable
from resumekit.core import events
from resumekit.drivers.log import LEVELS, level_of
from resumekit.emulator import Fault, Trigger
from tests.adapters.support import MODEL, server, settled
from tests.drivers.test_log import example
from tests.golden.faults import STORY, happen

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "observe.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
LOG, JSON, EVENTS, STATS, OTEL = BLOCKS


def run(code, **names):
    exec(compile(code, "docs/how-to/observe.md", "exec"), names)
    return names


def test_the_story_is_what_is_logged():
    """If it is to be otherwise: take it from `happen(STORY)`."""
    story = re.search(r"^```text\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    logged = happen(STORY).log
    assert story is not None
    assert story[1].splitlines() == logged
    assert len(logged) <= 12, "a dozen lines for three reconnects"


def test_the_warning_is_one_of_the_golden_file():
    warning = re.search(r"^WARNING .+$", PAGE, re.MULTILINE)
    assert warning is not None
    assert warning[0] in (ROOT / "tests" / "golden" / "faults.txt").read_text("utf-8")


def test_the_table_has_every_event_at_its_level():
    rows = dict(re.findall(r"^\| (ERROR|WARNING|INFO|DEBUG) \| [^|]* \| ([^|]*) \|$", PAGE, re.MULTILINE))
    named = {level: set(re.findall(r"`([A-Z]\w+)`", rows[level].partition("; also")[0])) for level in rows}
    for level in ("WARNING", "INFO"):
        assert named[level] == {kind.__name__ for kind, its in LEVELS.items() if logging.getLevelName(its) == level}
    told = {getattr(events, name) for name in events.__all__ if name != "Event"}
    quiet = {kind.__name__ for kind in told if level_of(example(kind)) == logging.DEBUG}
    assert named["DEBUG"] == quiet | {"Moving", "ReconnectScheduled"}
    assert named["ERROR"] == {"SessionEnded"}


def test_the_table_has_every_logger():
    made = {name for path in (ROOT / "resumekit").rglob("*.py") if not {"emulator", "cli"} & {*path.parts}
            for name in re.findall(r'getLogger\("(resumekit[^"]+)"\)', path.read_text("utf-8"))}  # fmt: skip
    table = PAGE.partition("| logger |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(resumekit\.\S+)`", table)) == made


def test_no_metric_is_named_that_does_not_exist():
    readme = (ROOT / "plugins" / "resumekit-otel" / "README.md").read_text("utf-8")
    named = set(re.findall(r"`(resumekit\.[a-z_.]+)`", PAGE.partition("| question | metric |")[2]))
    assert named
    assert all(f"`{name}`" in readme for name in named)


@pytest.fixture
def root_logger_as_it_was():
    loggers = logging.getLogger(), logging.getLogger("resumekit")
    before = [(logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


def test_the_lines_that_turn_the_log_on(root_logger_as_it_was, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    run(LOG)
    assert logging.getLogger("resumekit.driver").isEnabledFor(logging.INFO)
    assert not logging.getLogger("resumekit.driver").isEnabledFor(logging.DEBUG)
    assert root.handlers


@pytest.mark.network
@pytest.mark.allow_blocking  # google-genai blocks, we do not
async def test_a_call_as_shown(caplog):
    """Events on the screen, figures at the end, and the log as JSON."""
    pytest.importorskip("google.genai")
    from tests.adapters.test_genai import CONFIG, ask, client_of

    shown, flushed = [], []
    page = run(
        EVENTS,
        screen=SimpleNamespace(show=shown.append),
        speaker=SimpleNamespace(flush=lambda: flushed.append(True)),
        microphone=SimpleNamespace(pause=lambda: None),
    )
    caplog.set_level(logging.INFO, "resumekit")
    told = []

    def on_event(event):
        told.append(type(event))
        page["on_event"](event)

    async with (
        server() as live,
        resumable.connect(client_of(live), model=MODEL, config=CONFIG, on_event=on_event) as session,
    ):
        await ask(session, "one")
        assert await settled(lambda: events.HandleReceived in told)
        live.inject(Fault.rst(at=Trigger.mid_answer()))
        await ask(session, "two [chunks:8]")
        assert shown == ["reconnecting ...", ""]
        bill = run(STATS)["bill"](session)
    assert flushed == [True]
    assert bill["reconnects"] == bill["answers that were generated twice"] == 1
    assert bill["seconds of speech that are lost"] == 0

    formatter = run(JSON)["AsJson"]()
    lines = [json.loads(formatter.format(record)) for record in caplog.records if record.name == "resumekit.driver"]
    assert [line["event"] for line in lines] == ["Connected", "TurnCut", "ConnectionLost", "Resumed", "SessionEnded"]
    assert lines[2]["fields"]["ended_by"] == "nobody"
    assert {line["session"] for line in lines} == {lines[0]["session"]}
    assert lines[0]["said"].endswith(": connected")
