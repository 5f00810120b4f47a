"""The soak in its short form: seconds instead of an hour."""

from __future__ import annotations

import asyncio

import pytest

from resumekit.core.engine import Engine
from tests.core.bench import Bench
from tests.soak.__main__ import tables
from tests.soak.campaign import CALLS, MEMORY, PROMISES, Campaign, _grown
from tests.soak.lives import FAULTS, KINDS, LASTING
from tests.soak.memory import held

pytestmark = [pytest.mark.network, pytest.mark.timeout(700), pytest.mark.allow_blocking]


async def test_every_promise_holds_for_a_while():
    asyncio.get_running_loop().set_debug(False)
    said = []
    campaign = Campaign(seconds=8, sessions=8, seed=1, gap=0.4, least=8, say=said.append, warm_up=4)
    await campaign.run()
    result = campaign.result()
    assert not campaign.wrong, "\n".join(said)
    assert set(result["figures"]["by_kind"]) == set(KINDS)
    assert sum(result["faults"].values()) >= 8
    assert set(result["faults"]) <= set(FAULTS)
    assert result["figures"]["turns"] >= 16
    assert all(one["held"] for one in campaign.over if one["kind"] in LASTING)
    assert tables(result).count("| held |") == len(PROMISES)


def test_a_complaint_breaks_its_promise_and_an_unknown_one_breaks_all():
    campaign = Campaign(seconds=1, sessions=1, seed=1)
    campaign.wrong = [("a life", "lost: ['one']; held: []"), ("a life", "look{} was done 2 times for 'one'")]
    broken = [promise for promise in PROMISES if campaign.broken(promise)]
    assert broken == [promise for promise in PROMISES if promise.startswith("nothing lost") or "runs twice" in promise]
    campaign.wrong = [("a life", "nobody thought of this")]
    assert all(campaign.broken(promise) for promise in PROMISES)


def test_a_session_that_holds_more_and_more_is_told():
    session = Bench(make=Engine)
    before = held(session.engine)
    session.engine._actions += [bytes(1000) for _ in range(400)]
    after = held(session.engine)

    assert _grown([], 0) == _grown([before], CALLS) == _grown([before, before + MEMORY], 0) == []
    assert len(_grown([before], CALLS + 1)) == 1
    assert after - before > 400_000
    (complaint,) = _grown([before, after], 0)
    campaign = Campaign(seconds=1, sessions=1, seed=1)
    campaign.wrong = [("a life", complaint)]
    assert [promise for promise in PROMISES if campaign.broken(promise)] == [list(PROMISES)[-1]]
