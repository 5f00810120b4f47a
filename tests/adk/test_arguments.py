"""What cannot be right is told as soon as it is known, and before anything is dialled."""

from __future__ import annotations

from functools import cached_property

import pytest

from resumekit.adapters.adk import ResumableGemini, ResumekitPlugin, register
from resumekit.emulator import Fault
from resumekit.errors import ConfigurationError, SessionLost
from tests.adk.support import FAMILIES, policy, run, service

pytestmark = pytest.mark.network


async def listener(event):
    """One that would have to be awaited."""


WRONG = {
    "store is no URL": {"store": "memory"},
    "store.*\n.*valid string": {"store": 5},
    "policy\n": {"policy": "quick"},
    "plugins is a text": {"plugins": "my_plugin"},
    "on_event must be a plain function": {"on_event": listener},
}


@pytest.mark.parametrize("made", [ResumableGemini, register], ids=lambda made: made.__name__)
@pytest.mark.parametrize(("problem", "field"), WRONG.items(), ids=WRONG)
def test_a_wrong_field_is_told_at_once(made, problem, field):
    with pytest.raises(ValueError, match=problem) as told:
        made(**field)
    assert "input_value" not in str(told.value)  # it may hold a password


async def test_a_model_that_takes_the_seam_away_is_told_before_it_dials():
    class Other(ResumableGemini):
        @cached_property
        def _live_api_client(self):
            raise AssertionError("not asked")

    async with service() as server, run(server, model=Other(model=FAMILIES["2.5"])) as talk:
        with pytest.raises(ConfigurationError, match="Other overrides _live_api_client"):
            await talk.task
        assert await server.connections() == []


async def test_two_plugins_are_one_too_many_and_do_no_harm():
    async with service() as server, run(server, plugins=[ResumekitPlugin(), ResumekitPlugin("another")]) as talk:
        await talk.ask("one")
        await talk.close()


class Awaited:
    async def __call__(self, event):
        """Never run."""


async def test_a_listener_that_would_have_to_be_awaited_is_told_in_the_log(caplog):
    async with service() as server, run(server, on_event=Awaited()) as talk:
        await talk.ask("one")
        await talk.close()
    assert "on_event returned a coroutine" in caplog.text


async def test_what_to_do_about_a_lost_session_is_said_in_words_of_adk():
    async with service() as server, run(server, policy=policy(max_outage=1)) as talk:
        await talk.ask("one")
        await server.inject(Fault.listener_down(1000))
        with pytest.raises(SessionLost, match="call run_live again"):
            await talk.task
