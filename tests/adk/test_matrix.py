"""Every fault of `tests.faults`, through a real Runner: the events, the ledger, the tools and the session service.

Left out of those scenarios (see `conversing.fit`): content that is no question, before ADK 2.5 (it cannot be sent); text to 3.x
models on ADK 1.27 (it is sent in a form that they refuse); `tool_turns="split"` on later versions (ADK would wait for the
end of a turn that waits for ADK); and those that have tests of their own.
"""

from __future__ import annotations

import pytest

from tests.adk.conversing import cases, converse, found_by_task

pytestmark = pytest.mark.network


@pytest.fixture(autouse=True)
def clients():
    with found_by_task():
        yield


def parameters():
    """Each scenario once, on the backends and families by turns; with the mark `proof`, on the others."""
    seen = {}
    for scenario, profile, family in cases():
        combinations = seen.setdefault(scenario.name, [])
        combinations.append(pytest.param(scenario, profile, family, id=f"{scenario.name}-{profile}-{family}"))
    for number, combinations in enumerate(seen.values()):
        chosen = number % len(combinations)
        yield combinations.pop(chosen)
        for case in combinations:
            yield pytest.param(*case.values, id=case.id, marks=pytest.mark.proof)


@pytest.mark.parametrize(("scenario", "profile", "family"), list(parameters()))
async def test_the_conversation_goes_on(scenario, profile, family):
    run = await converse(scenario, profile=profile, family=family)
    assert not run.problems(), str(run)
