"""``resumekit emulate``, as a person runs it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import ssl
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from websockets.exceptions import WebSocketException

from resumekit.cli import COMMANDS, main
from resumekit.emulator import Fault, Trigger, dump_faults
from tests.emulator.helpers import session


async def start(*arguments):
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "resumekit.cli",
        "emulate",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )


async def address(child):
    """Read what a child prints first; returns that, and where its server is."""
    told = ""
    while "what happens" not in told:
        told += (await child.stdout.readline()).decode()
    port = re.search(r"_BASE_URL=https://127.0.0.1:(\d+)", told).group(1)
    ca_file = re.search(r"export SSL_CERT_FILE=(\S+)", told).group(1)
    return told, SimpleNamespace(
        host="127.0.0.1",
        port=port,
        ca_file=ca_file,
        settings=SimpleNamespace(profile="vertex" if "VERTEX" in told else "developer"),
        client_ssl_context=lambda: ssl.create_default_context(cafile=ca_file),
    )


@pytest.mark.network
async def test_it_serves_until_ctrl_c_and_prints_the_ledger(tmp_path):
    script = tmp_path / "script.json"
    script.write_bytes(dump_faults([Fault.rst(at=Trigger.turn_complete(), connection=0)]))
    child = await start(
        "--profile", "vertex", "--faults", str(script), "--time-scale", "0.02", "--set", "connection_age=null"
    )
    try:
        told, place = await address(child)
        assert "export GOOGLE_VERTEX_BASE_URL=" in told
        async with session(place) as wire:
            await wire.content("hello")
            await wire.closed()
        while "the end" not in told:
            told += (await child.stdout.readline()).decode()
        child.send_signal(signal.SIGINT)
        rest = (await child.stdout.read()).decode()
        await child.wait()  # before anything polls it: asyncio and subprocess would both reap it
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()
    assert child.returncode == 0
    live = [line.partition("  ")[2] for line in told.partition("on connection #\n")[2].splitlines()]
    assert live == [
        "  0  somebody connects",
        "  0  a new session",
        "  0  question: hello",
        "  0  answered",
        "  0  FAULT: rst",
        "  0  the end, by the fault: 1006",
    ]
    assert "connection 0: fresh, 1 turn, 1006 by fault, faults: rst" in rest
    assert "holds 1 control messages" in rest
    assert not await asyncio.to_thread(Path(place.ca_file).exists)


@pytest.mark.network
@pytest.mark.parametrize("turns", ["joined", "at_end"])
async def test_a_call_that_adk_may_be_waiting_to_run_is_told_with_the_setting(turns):
    child = await start("--time-scale", "0.02", "--set", f"tool_turns={turns}")
    try:
        _, place = await address(child)
        async with session(place, resumption=False) as wire:
            await wire.content("a ferry [tool:next_ferry]")
            while "the model calls a tool" not in (await child.stdout.readline()).decode():
                pass
        child.send_signal(signal.SIGINT)
        rest = (await child.stdout.read()).decode()
        await child.wait()
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()
    (call,) = [line for line in rest.splitlines() if line.startswith("call on connection 0: next_ferry")]
    assert ("answered 0 times" in call, "--set tool_turns=at_end" in call) == (True, turns == "joined")


@pytest.mark.network
async def test_it_ends_when_nobody_reads_what_it_tells():
    child = await start()
    _, place = await address(child)
    child.stdout._transport.close()
    with contextlib.suppress(ConnectionError, WebSocketException):
        async with session(place):
            pass
    assert await asyncio.wait_for(child.wait(), 60) == 128 + signal.SIGPIPE
    assert not await asyncio.to_thread(Path(place.ca_file).exists)


def test_a_port_that_is_taken_and_what_is_none(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["emulate", "--port", str(port)]) == 2
    told = capsys.readouterr().err
    assert told == f"resumekit: port {port} is taken; give another --port, or none for any free one\n"
    with pytest.raises(SystemExit, match="2"):
        main(["emulate", "--port", "99999"])
    assert "--port: '99999' is no port; give a number from 0" in capsys.readouterr().err


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(["emulate", "--help"])
    told = capsys.readouterr().out
    assert "fault script" in told
    assert "[tool:name" in told


def test_every_command_has_its_line(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    told = capsys.readouterr().out
    assert all(name in told for name in COMMANDS)


def test_faults_are_listed(capsys):
    assert main(["emulate", "--list-faults"]) == 0
    told = capsys.readouterr().out
    assert "half_open" in told
    assert "turn_complete" in told


def test_knobs_are_listed_with_what_they_mean(capsys):
    assert main(["emulate", "--list-knobs"]) == 0
    told = capsys.readouterr().out
    assert "index_base: Literal[0, 1] = 1\n    Index of the first message after the setup.\n" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--faults", "/nonexistent"], "cannot read the fault script"),
        (["--faults", sys.executable], "cannot read the fault script"),
        (["--set", "lag"], "--set wants KNOB=VALUE"),
        (["--set", "typo=1"], "bad emulator setting: there is no 'typo'; `resumekit emulate --list-knobs` prints"),
        (["--set", "overlap=1"], "bad emulator setting: "),
        (["--model", "bard"], "cannot tell the model family"),
    ],
)
def test_a_mistake_is_one_clear_line(arguments, message, capsys):
    assert main(["emulate", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
