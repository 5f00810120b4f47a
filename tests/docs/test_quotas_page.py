"""What docs/how-to/quotas.md says is run: its code as it stands there, plain google-genai, and the emulator."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from resumekit.pool import TIERS, SessionPool
from tests.adapters.support import MODEL, nothing_is_left, server, settled

pytestmark = [pytest.mark.network, pytest.mark.allow_blocking]  # google-genai blocks, we do not
PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "quotas.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
DIRECT, POOLED, ADK, METRICS, FLEET = BLOCKS  # ADK: see tests/adk/test_pool.py; FLEET: see resumekit-redis


class User:
    """Asks one question, and hangs up when told to."""

    def __init__(self, ask, hangs_up=None):
        self.shown = []
        self.answer = None
        self._ask = ask
        self._hangs_up = hangs_up

    def show(self, text):
        self.shown.append(text)

    async def talk(self, session):
        self.answer = await self._ask(session, "hello")
        if self._hangs_up is not None:
            await self._hangs_up.wait()


@pytest.fixture
def real():
    pytest.importorskip("google.genai")
    from tests.adapters import test_genai

    return test_genai


def run(code, **names):
    exec(compile(code, "docs/how-to/quotas.md", "exec"), names)
    return names


async def test_direct_mapping_as_shown(real):
    page = run(DIRECT, MODEL=MODEL, CONFIG=real.CONFIG)
    async with server() as live, nothing_is_left():
        users = [User(real.ask) for _ in range(5)]
        await asyncio.gather(*(page["call"](real.client_of(live), user) for user in users))
        assert [user.answer.turns_held for user in users] == [1] * 5
        assert [user.shown for user in users] == [[]] * 5


async def test_a_pool_with_a_queue_as_shown(real):
    page = run(POOLED, MODEL=MODEL, CONFIG=real.CONFIG)
    assert page["pool"].limits.sessions == 50
    page["pool"] = pool = SessionPool(1, timeout=60)
    async with server(max_connections=1) as live, nothing_is_left():
        done = asyncio.Event()
        first, second, third = User(real.ask, done), User(real.ask), User(real.ask)
        calls = [asyncio.create_task(page["call"](real.client_of(live), first))]
        assert await settled(lambda: first.answer is not None)
        for waiting, user in enumerate((second, third), 1):
            calls.append(asyncio.create_task(page["call"](real.client_of(live), user)))
            assert await settled(lambda waiting=waiting: pool.waiting == waiting)
        assert second.shown == ["You are number 1 of 1 in the queue."]
        assert third.shown == ["You are number 2 of 2 in the queue."]
        told = run(METRICS)["metrics"](pool)
        assert (told["sessions"], told["waiting"], told["reconnects"]) == (1, 2, 0)
        assert told["tokens in the last minute"] > 0

        page["pool"] = SessionPool(1, timeout=0)
        async with page["pool"].slot():
            await page["call"](real.client_of(live), refused := User(real.ask))
        assert refused.shown[-1] == "All lines are busy; there were 0 before you. Please try later."

        done.set()
        await asyncio.gather(*calls)
        assert [user.answer.turns_held for user in (first, second, third)] == [1, 1, 1]
        assert re.fullmatch(r"Thank you for waiting \d+ seconds\.", second.shown[-1])


async def test_strained_quotas_are_logged_as_shown(real, caplog):
    page = run(POOLED, MODEL=MODEL, CONFIG=real.CONFIG)
    page["pool"] = SessionPool(1, tokens_per_minute=1)
    async with server() as live, nothing_is_left():
        await page["call"](real.client_of(live), User(real.ask))
    (said,) = [record.getMessage() for record in caplog.records if record.name == "calls"]
    assert re.fullmatch(r"tokens: \d+ of 1", said)


def test_the_table_is_the_data():
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.+?) \|$", PAGE, re.MULTILINE))
    assert list(rows) == list(TIERS)
    for name, tier in TIERS.items():
        rates = [f"{rate.count} a minute" if rate else "" for rate in (tier.connects, tier.operations)]
        tokens = f"{tier.tokens_per_minute:,}" if tier.tokens_per_minute else ""
        cells = [cell.strip() for cell in rows[name].split("|")]
        assert cells[:4] == [f"{tier.sessions:,}", rates[0], tokens, rates[1]]
        assert cells[4][0] == tier.grade
