"""What all commands have in common, as a shell sees it: statuses, one line on stderr, no traceback."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from resumekit.cli import COMMANDS, STATUSES, main

pytestmark = pytest.mark.timeout(120)
INTERRUPTED = """
import os, signal, sys

class CtrlC:
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests may ignore it, as a shell does in the background
sys.meta_path.insert(0, CtrlC)
from _resumekit_command import main
sys.exit(main())
"""


MAIN = "import os, sys; os.execv(sys.executable, [sys.executable, '-m', 'resumekit.cli', *sys.argv[1:]])"


def run(*arguments, **options):
    """Run a command in a process; returns its status, its output and what it complains of."""
    code = options.pop("code", None)
    begin = ["-m", "resumekit.cli"] if code is None else ["-c", code]
    given = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "env": {**os.environ, "PYTHONPATH": str(Path.cwd()), **options.pop("env", {})},
    }
    done = subprocess.run(
        [sys.executable, *begin, *map(str, arguments)],
        check=False,
        text=True,
        **given | options,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_version_is_told():
    status, told, complaint = run("--version")
    assert (status, complaint) == (0, "")
    assert told.startswith("resumekit 0.")


def test_no_command_at_all_shows_the_commands_and_what_a_status_means():
    status, told, complaint = run()
    assert (status, told) == (2, "")
    assert all(f"\n    {name}" in complaint for name in COMMANDS)
    assert all(f"\n  {status}" in complaint for status in STATUSES)


@pytest.mark.parametrize("columns", [50, 80, 200])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_the_terminal_and_has_an_example(command, columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    told = capsys.readouterr().out
    assert f"resumekit {command} " in told.partition("example")[2]
    examples = [line for line in told.splitlines() if line.startswith(("  ", "example"))]
    assert max(map(len, told.splitlines() if columns > 79 else set(told.splitlines()) - set(examples))) <= min(
        columns, 100
    )


@pytest.mark.parametrize("arguments", [["emulate", "--list-knobs"], ["demo", "--plain", "--speed", "5"]])
def test_a_reader_that_has_left_ends_a_command_quietly(arguments, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    status, _, complaint = run(*arguments, stdout=writer, cwd=tmp_path)
    os.close(writer)
    assert (status, complaint) == (128 + signal.SIGPIPE, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [["doctor"], ["--version"], ["demo", "--plain", "--speed", "5"]])
def test_a_full_disk_is_one_clear_line(arguments, tmp_path):
    with Path("/dev/full").open("w") as full:
        status, _, complaint = run(*arguments, stdout=full, cwd=tmp_path)
    assert (status, complaint) == (2, "resumekit: the output cannot be written: No space left on device\n")


def test_an_output_that_was_closed_is_no_mistake():
    assert run("doctor", code="import os; os.close(1); " + MAIN, stdout=None) == (0, None, "")


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").touch()
    status, _, complaint = run("demo", "--out", tmp_path / "file" / "demo")
    assert (status, complaint) == (2, f"resumekit: {tmp_path}/file/demo: Not a directory\n")


@pytest.mark.parametrize("module", ["resumekit", "resumekit.wire", "resumekit.cli.doctor", "resumekit.plugins"])
def test_ctrl_c_is_one_line_while_modules_are_imported_and_after(module):
    assert run("doctor", code=INTERRUPTED.format(module=module)) == (130, "", "resumekit: interrupted\n")


def test_ctrl_c_at_a_terminal_is_a_line_of_its_own():
    terminal, end = pty.openpty()
    status, _, _ = run("doctor", code=INTERRUPTED.format(module="resumekit.plugins"), stdout=end, stderr=end)
    os.close(end)
    assert (status, os.read(terminal, 1000)) == (130, b"\r\nresumekit: interrupted\r\n")
    os.close(terminal)
