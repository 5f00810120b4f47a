"""The applications of these scenarios do what their steps say."""

from __future__ import annotations

import pytest

from resumekit.core import events
from resumekit.emulator import Fault
from tests.faults.runner import Ask, Do, Scenario, converse

pytestmark = pytest.mark.network


async def cut(app):
    resumed = app.count(events.Resumed)
    await app.server.inject(Fault.rst())
    await app.until(lambda: app.count(events.Resumed) > resumed)


async def test_a_handle_is_here_also_where_the_line_was_cut_after_it():
    anchored = Do(lambda app: app.anchored())
    steps = (Ask("one"), anchored, Do(cut), anchored, Do(cut), anchored, Ask("two"), anchored)
    run = await converse(Scenario(name="cut when all is answered", steps=steps, strikes=2), profile="developer")
    assert not run.problems(), str(run)
