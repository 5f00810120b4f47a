"""The emulator in a process of its own: same evidence, and it never outlives its parent."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from resumekit.emulator import EmulatorProcess, Fault, Trigger, silence, spoken
from resumekit.errors import ConfigurationError, ResumekitError
from tests.emulator.helpers import FAST, dial, session

pytestmark = pytest.mark.network


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def gone(pid: int) -> None:
    async with asyncio.timeout(60):
        while alive(pid):  # noqa: ASYNC110 - another process gives no event
            await asyncio.sleep(0.02)


async def test_the_child_answers_for_the_same_evidence():
    faults = [Fault.rst(at=Trigger.mid_answer(2), connection=0)]
    async with EmulatorProcess(profile="vertex", faults=faults, **FAST) as process:
        async with session(process) as wire:
            await wire.content("one")
            await wire.closed()
        async with session(process) as wire:
            await wire.ask("two")
            pcm = spoken("three") + silence(1)
            await wire.audio(pcm)
            await wire.turn()
        report = await process.ledger_report(["one", "two"])
        assert (report.held, report.lost, report.ok) == (["two"], ["one"], False)
        records = await process.connections()
        assert [record.faults for record in records] == [["rst"], []]
        assert "fault" in {event.kind for event in await process.events()}
        assert await process.audio() == pcm
        assert b'"setup"' in (await process.raw(1))[0]
        assert await process.sent_on(0) == ["one"]
        pid = process.pid
        ca_file = Path(process.ca_file)
        assert "BEGIN CERTIFICATE" in await asyncio.to_thread(ca_file.read_text)
    assert not alive(pid)
    assert not await asyncio.to_thread(ca_file.exists)


async def test_ctrl_c_in_the_terminal_does_not_reach_the_child():
    async with EmulatorProcess(**FAST) as process:
        assert os.getpgid(process.pid) != os.getpgid(0)


async def test_a_fault_can_be_injected_into_the_child():
    async with EmulatorProcess(**FAST) as process, session(process) as wire:
        await process.inject(Fault.close(1011, "injected"))
        assert await wire.closed() == (1011, "injected")


async def test_many_questions_at_once_get_their_own_answers():
    async with EmulatorProcess(**FAST) as process:
        reports = await asyncio.gather(*(process.ledger_report([str(n)]) for n in range(20)))
        assert [report.lost for report in reports] == [[str(n)] for n in range(20)]


async def test_a_cancelled_question_does_no_harm():
    async with EmulatorProcess(**FAST) as process:
        task = asyncio.create_task(process.ledger_report(["a"]))
        await asyncio.sleep(0)
        task.cancel()
        assert (await process.ledger_report(["b"])).lost == ["b"]


async def test_a_bad_setting_is_refused_before_anything_starts():
    with pytest.raises(ConfigurationError, match="unknown profile"):
        EmulatorProcess(profile="aws")
    with pytest.raises(ConfigurationError, match="at the handshake only"):
        EmulatorProcess(faults=[Fault.handshake(503, at=Trigger.bound())])


async def test_a_bad_request_is_one_clear_error():
    async with EmulatorProcess(**FAST) as process:
        with pytest.raises(ResumekitError, match="the emulator refused 'raw'"):
            await process.raw(7)
        assert (await process.ledger_report()).ok


async def test_it_is_an_error_to_use_it_outside():
    process = EmulatorProcess(**FAST)
    with pytest.raises(ResumekitError, match="not running"):
        await process.ledger_report()


async def test_a_child_that_dies_is_an_error():
    process = await EmulatorProcess(**FAST).__aenter__()
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises((ResumekitError, OSError)):
        await process.ledger_report()
    with pytest.raises(ResumekitError, match="ended with status"):
        await process.__aexit__(None, None, None)


PARENT = """
import asyncio, sys
from resumekit.emulator import EmulatorProcess
async def main():
    async with EmulatorProcess() as process:
        print(process.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_the_child_dies_with_its_parent(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(Path.cwd()), "TMPDIR": str(tmp_path)}
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE, env=env)
    child = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    await gone(child)


async def test_clients_are_cut_off_when_it_is_left():
    async with EmulatorProcess(**FAST) as process, dial(process) as wire:
        await wire.setup()
        await process.__aexit__(None, None, None)
        assert (await wire.closed())[0] == 1006
