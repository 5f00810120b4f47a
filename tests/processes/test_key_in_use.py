"""What becomes of a second process with the same key, while the first one is well: the policy's three answers."""

from __future__ import annotations

import pytest

from tests.processes.support import emulator, workers

pytestmark = pytest.mark.network


@pytest.mark.parametrize("key_in_use", ["raise", "wait", "take_over"])
async def test_a_second_process_with_the_same_key(sqlite_store, tmp_path, key_in_use):
    async with (
        emulator() as server,
        workers(server, sqlite_store, tmp_path, key_in_use=key_in_use) as (first, second),
    ):
        await first.start()
        await first.answers("one")
        await sqlite_store.is_quiet()
        await second.start()
        if key_in_use == "raise":
            await second.tells("over")
            ((kinds, problem),) = second.words("error")
            assert "KeyInUse" in kinds
            assert "another session has the conversation of this key" in problem
            asked = first
        elif key_in_use == "wait":
            await second.tells_of("WaitingForKey")
            await first.answers("in between")
            await first.leave()
            asked = second
        else:
            await first.tells("over")
            ((kinds, problem),) = first.words("error")
            assert "SessionLost" in kinds
            assert "another session took the conversation over" in problem
            asked = second
        await asked.answers("two")
        await asked.leave()
        between = ["in between"] if key_in_use == "wait" else []
        report = await server.ledger_report(["one", *between, "two"])
    assert (report.lost, report.doubled, report.reordered, report.fresh_starts) == ([], [], [], 0), report
    assert [continued["detached"] for continued in second.events("Continued")] == {
        "raise": [],
        "wait": [True],
        "take_over": [False],
    }[key_in_use]
