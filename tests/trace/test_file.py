"""Traces in files: one for each session, for their owner alone, and never at the cost of the session."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import logging
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from resumekit.adapters import websockets as resumable
from resumekit.core import events
from resumekit.defaults import MemoryStore
from resumekit.errors import ConfigurationError
from resumekit.hookspecs import hookimpl
from resumekit.trace import Trace, file, read_trace, replay
from resumekit.trace.records import Inserted
from tests.adapters.support import nothing_is_left, server, settled
from tests.adapters.test_websockets import SETUP, connect
from tests.drivers.fakes import question

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.network


def writers():
    return [thread for thread in threading.enumerate() if thread.name == "resumekit-trace"]


@pytest.fixture(autouse=True)
def _no_writer_is_left():
    yield
    assert not writers()


async def talk(session, text="one"):
    await session.send(question(text))
    async for message in session:
        if message.server_content is not None and message.server_content.turn_complete:
            return


async def converse(**arguments):
    async with server() as live, nothing_is_left(), connect(live, **arguments) as session:
        await talk(session)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_session_leaves_a_whole_trace_for_its_owner_alone(tmp_path, caplog):
    path = tmp_path / "call.jsonl"
    path.write_text("what was here before\n" * 1000)
    path.chmod(0o644)
    with caplog.at_level(logging.INFO, "resumekit.trace"):
        await converse(trace=path)
    assert mode(path) == 0o600
    assert f"writing a trace to {path}" in caplog.text
    result = replay(path)
    assert result.same, result
    lines = [line for _, line in result.trace.lines()]
    assert lines[0]["in"] == "Start"
    assert lines[-1]["end"]["turns"] == 1
    assert lines[-2]["out"][-1] == {"do": "Finish", "error": None}
    assert abs(result.trace.head["at"] - path.stat().st_mtime) < 600


async def test_sessions_never_share_a_file(tmp_path):
    path = tmp_path / "call.jsonl"
    async with server() as live, connect(live, trace=str(path)) as one, connect(live, trace=str(path)) as two:
        await talk(one, "one")
        await talk(two, "two")
    await converse(trace=str(path))
    assert sorted(found.name for found in tmp_path.iterdir()) == ["call-2.jsonl", "call-3.jsonl", "call.jsonl"]
    assert all(replay(found).same for found in tmp_path.iterdir())


async def test_what_another_process_writes_is_not_replaced(tmp_path):
    path = tmp_path / "call.jsonl"
    with path.open("w") as theirs:
        theirs.write("theirs")
        theirs.flush()
        fcntl.flock(theirs, fcntl.LOCK_EX)
        await converse(trace=path)
    assert path.read_text() == "theirs"
    assert replay(tmp_path / "call-2.jsonl").same


@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_directory_gets_a_file_for_each_session(tmp_path, slash):
    folder = tmp_path / "traces"
    if not slash:
        folder.mkdir()
    for _ in range(2):
        await converse(trace=f"{folder}{slash}")
    names = [found.name for found in folder.iterdir()]
    assert len(names) == 2
    assert all(re.fullmatch(rf"\d{{8}}-\d{{6}}-{os.getpid()}-\d+\.jsonl", name) for name in names)


async def test_placeholders_are_filled_in(tmp_path):
    await converse(trace=Trace(tmp_path / "{pid}-{session}-{{x}}.jsonl"))
    (found,) = tmp_path.iterdir()
    assert re.fullmatch(rf"{os.getpid()}-\d+-\{{x\}}\.jsonl", found.name)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (7, "trace is a int; give a path"),
        (b"call.jsonl", "trace is b'call.jsonl'; give the path"),
        ("", "trace is ''; give the path"),
        ("{user}.jsonl", "only {time}, {pid} and {session} can stand in braces"),
        ("{.jsonl", "can stand in braces"),
        ("{pid.real}-{0}", "can stand in braces"),
    ],
)
def test_a_trace_that_makes_no_sense_is_refused_at_once(wrong, problem):
    with pytest.raises(ConfigurationError, match=re.escape(problem)):
        resumable.connect("wss://localhost", setup={"model": "m"}, trace=wrong)


@pytest.mark.parametrize("path", ["/dev/full", "{tmp}/none/call.jsonl", "{tmp}/file/call.jsonl", "/proc/call.jsonl"])
async def test_a_file_that_cannot_be_written_is_told_at_connect(path, tmp_path):
    (tmp_path / "file").touch()
    path = path.format(tmp=tmp_path)
    async with server() as live, nothing_is_left():
        with pytest.raises(ConfigurationError, match=f"the trace cannot be written: .*: '{path}'"):
            await connect(live, trace=path).__aenter__()
        assert not live.connections


def breaking(monkeypatch, error, after):
    """Let writing fail after some lines."""
    put, left = file._put, after

    def fail(number, data):
        nonlocal left
        left -= data.count(b"\n")
        if left < 0:
            raise error
        put(number, data)

    monkeypatch.setattr(file, "_put", fail)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (ZeroDivisionError("a bug"), "ZeroDivisionError in test_file.py:"),
    ],
)
async def test_a_disk_that_is_full_ends_the_trace_with_one_warning_and_not_the_session(
    error, told, tmp_path, monkeypatch, caplog
):
    path = tmp_path / "call.jsonl"
    async with server() as live, nothing_is_left(), connect(live, trace=path) as session:
        await talk(session, "one")
        breaking(monkeypatch, error, 0)
        await talk(session, "two")
        assert await settled(lambda: not writers())
        for text in ("three", "four"):
            await talk(session, text)
        assert session.stats.turns == 4
    (warning,) = [
        record for record in caplog.records if record.name == "resumekit.trace" and record.levelno > logging.INFO
    ]
    assert warning.getMessage().startswith(f"the trace {path} ends here, and the session goes on: ")
    assert told in warning.getMessage()
    assert replay(path).same


async def test_a_disk_that_is_too_slow_holds_nothing_up(tmp_path, monkeypatch, caplog):
    """What waits is bounded."""
    monkeypatch.setattr(file, "_BACKLOG", 64 * 2**10)
    path, gate = tmp_path / "call.jsonl", threading.Event()
    put = file._put

    def wait(number, data):
        assert gate.wait(110.0)
        put(number, data)

    async with server() as live, nothing_is_left(), connect(live, trace=path) as session:
        monkeypatch.setattr(file, "_put", wait)
        try:
            for number in range(40):
                await talk(session, f"{number} " + "a long question " * 200)
            assert session.stats.turns == 40
        finally:
            gate.set()
        assert await settled(lambda: not writers())
    (warning,) = [
        record for record in caplog.records if record.name == "resumekit.trace" and record.levelno > logging.INFO
    ]
    assert warning.getMessage().endswith("the disk is too slow for it")
    assert replay(path).same


class Broken:
    @staticmethod
    @hookimpl
    def on_event(event):
        raise ValueError("a plugin's")


async def test_a_connect_that_is_cancelled_while_the_file_is_opened_leaves_nothing_open(tmp_path):
    path = tmp_path / "call.jsonl"
    os.mkfifo(path)  # opening it takes until somebody reads

    def is_at_its_end():
        try:
            return not os.read(reader, 2**16)
        except BlockingIOError:
            return False

    async with server() as live, nothing_is_left():
        connecting = asyncio.create_task(connect(live, trace=path).__aenter__())
        assert await settled(file._taking.locked)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        reader = await asyncio.to_thread(os.open, path, os.O_RDONLY)
        try:
            os.set_blocking(reader, False)
            assert await settled(is_at_its_end)
            assert await settled(lambda: not writers())
        finally:
            os.close(reader)


async def test_events_that_the_engine_does_not_know_are_in_it_too(tmp_path):
    path = tmp_path / "call.jsonl"
    await converse(trace=path, plugins=[Broken()])
    told = [line["told"] for _, line in read_trace(path).lines() if "told" in line]
    assert [(event["event"], event["hook"]) for event in told] == [("HookFailed", "on_event")]
    assert replay(path).same


async def test_why_a_kept_handle_is_not_used_is_in_it(tmp_path):
    path = tmp_path / "call.jsonl"
    kept = {"key": "k", "store": MemoryStore()}
    other = {**SETUP, "systemInstruction": {"parts": [{"text": "be brief"}]}}
    async with server() as live, nothing_is_left():
        async with connect(live, **kept) as session:
            await talk(session)
        async with connect(live, **kept, setup=other, trace=path) as session:
            await talk(session)
    told = [line["told"] for _, line in read_trace(path).lines() if "told" in line]
    assert [(event["event"], event["reason"]) for event in told] == [
        ("HandleRefused", "it was stored for another config")
    ]
    assert replay(path).same


def test_an_event_of_the_store_is_written_with_its_time(tmp_path):
    recording = Trace(tmp_path / "call.jsonl").recording("label")
    recording.open()
    recording.tell(events.StoreFailed(operation="save", problem="gone"))
    recording.close()
    recording.close()
    recording.record(Inserted(b"{}"))
    head, told = map(json.loads, (tmp_path / "call.jsonl").read_text().splitlines())
    assert head["label"] == recording._masker.text("label") != "label"
    assert told["told"].pop("at") > 1e9
    assert told == {"told": {"event": "StoreFailed", "operation": "save", "problem": "gone"}}


SCRIPT = """
import asyncio, os, signal, sys
from tests.adapters.support import server
from tests.adapters.test_websockets import connect
from tests.trace.test_file import talk

async def main(path, end):
    async with server() as live:
        session = await connect(live, trace=path).__aenter__()
        await talk(session)
        if end == "kill":
            while b"serverContent.turnComplete" not in open(path, "rb").read():
                await asyncio.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("end", ["kill", "exit"])
def test_a_process_that_ends_leaves_a_trace_that_can_be_used(end, tmp_path):
    path = tmp_path / "call.jsonl"
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(path), end]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == (-signal.SIGKILL if end == "kill" else 0), done.stderr
    result = replay(path)
    assert result.same, result
    assert result.engine.stats.turns == 1


UNTRACED = """
import asyncio, sys
from resumekit.adapters import websockets as resumable
from resumekit.emulator import LiveServer

async def main():
    async with LiveServer(profile="developer", model="gemini-2.5-flash-live") as live:
        uri = f"wss://{live.host}:{live.port}/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
        setup = {"model": "models/gemini-2.5-flash-live"}
        ssl, headers = live.client_ssl_context(), {"x-goog-api-key": "k"}
        async with resumable.connect(uri, setup=setup, additional_headers=headers, ssl=ssl):
            print(*[name for name in sys.modules if name.startswith("resumekit.")])

asyncio.run(main())
"""


def test_a_session_that_is_not_traced_loads_nothing_of_it():
    command = [sys.executable, "-W", "ignore", "-c", UNTRACED]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=100)
    loaded = done.stdout.split()
    assert "resumekit.core.engine" in loaded, done.stderr
    assert not [name for name in loaded if name.startswith("resumekit.trace")]
