"""``resumekit emulate``, as a person runs it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import ssl
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

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


@pytest.mark.network
async def test_it_serves_until_ctrl_c_and_prints_the_ledger(tmp_path):
    script = tmp_path / "script.json"
    script.write_bytes(dump_faults([Fault.rst(at=Trigger.turn_complete(), connection=0)]))
    child = await start(
        "--profile", "vertex", "--faults", str(script), "--time-scale", "0.02", "--set", "connection_age=null"
    )
    try:
        told = ""
        while "Ctrl-C" not in told:
            told += (await child.stdout.readline()).decode()
        port = re.search(r"export GOOGLE_VERTEX_BASE_URL=https://127.0.0.1:(\d+)", told).group(1)
        ca_file = re.search(r"export SSL_CERT_FILE=(\S+)", told).group(1)
        address = SimpleNamespace(
            host="127.0.0.1",
            port=port,
            settings=SimpleNamespace(profile="vertex"),
            client_ssl_context=lambda: ssl.create_default_context(cafile=ca_file),
        )
        async with session(address) as wire:
            await wire.content("hello")
            await wire.closed()
        child.send_signal(signal.SIGINT)
        rest = (await child.stdout.read()).decode()
        await child.wait()  # before anything polls it: asyncio and subprocess would both reap it
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()
    assert child.returncode == 0
    assert "connection 0: fresh, 1 turn, 1006 by fault, faults: rst" in rest
    assert "holds 1 control messages" in rest
    assert not await asyncio.to_thread(Path(ca_file).exists)


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
        (["--set", "lag"], "--set wants KNOB=VALUE"),
        (["--set", "typo=1"], "bad emulator setting"),
        (["--model", "bard"], "cannot tell the model family"),
        (["--port", "99999999"], "cannot serve: "),
    ],
)
def test_a_mistake_is_one_clear_line(arguments, message, capsys):
    assert main(["emulate", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
