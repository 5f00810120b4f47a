"""`Runner.run_live` may be cancelled wherever it waits, and its generator closed after any event: nothing is left.

ADK, the client and the emulator run in virtual time; see `tests.proofs.cancelling`.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from unittest import mock

import pytest
from google import genai
from google.adk.agents import Agent, LiveRequestQueue
from google.adk.events import Event
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService

from resumekit.adapters import _adk_seam
from resumekit.adapters.adk import ResumableGemini, ResumekitPlugin
from resumekit.core.policy import Policy
from tests.adk.support import FAMILIES, NAMES, Tool, config, question, words
from tests.proofs.cancelling import PATIENCE, Outcome, Scenario, Strike, Way, World, outcome, sweep
from tests.proofs.virtual import TLS

TOOL_TAKES = 3.0


async def look_up(what: str) -> dict[str, str]:
    """Look something up."""
    await asyncio.sleep(TOOL_TAKES)
    return {"result": f"found {what}"}


def client_of(port: int) -> type[genai.Client]:
    """Return the client that ADK makes: of a service in this process."""

    class Client(genai.Client):
        def __init__(self, *, http_options, **_):
            http_options.base_url = f"https://127.0.0.1:{port}"
            http_options.async_client_args = {"ssl": TLS}
            super().__init__(api_key="k", http_options=http_options)

    return Client


async def events_of(world: World, queue: LiveRequestQueue) -> AsyncIterator[Event]:
    """Start a run."""
    model = ResumableGemini(
        model=FAMILIES["2.5"], store="slow://", plugins=[world.stores], policy=Policy(), on_event=world.on_event
    )
    sessions = InMemorySessionService()
    await sessions.create_session(**NAMES)
    agent = Agent(name="an_agent", model=model, instruction="Be brief.", tools=[look_up])
    runner = Runner(app_name=NAMES["app_name"], agent=agent, plugins=[ResumekitPlugin()], session_service=sessions)
    names = {name: NAMES[name] for name in ("user_id", "session_id")}
    return runner.run_live(**names, live_request_queue=queue, run_config=config())


ASKED = ["one", "two [chunks:20]", "three [chunks:20]", Tool.CALLED]
TOLD = ["answer to one", "answer to two", "answer to three", "found a fact"]
"""Words of the answers."""


async def ask(world: World, queue: LiveRequestQueue, number: int) -> None:
    """Do what the application does when it has the answer to the last question."""
    if number > 0:
        await asyncio.sleep(2.0)  # the handle comes
    match number:
        case 1:
            world.away(4.0)
        case 2:
            world.go_away(10.0)
        case 4:
            queue.close()
            return
    queue.send_content(question(ASKED[number]))
    world.sent += [ASKED[number], *([Tool.FOUND] if number == 3 else [])]


async def talk(world: World, _: object, *, leave_after: int = 0, abandon: bool = False) -> None:
    """Have a conversation; leave it after so many events, if any."""
    world.away(2.0)
    with mock.patch.object(genai, "Client", client_of(world.live.port)):
        queue = LiveRequestQueue()
        stream = await events_of(world, queue)
        await ask(world, queue, 0)
        said, answered = "", 0
        try:
            async for event in stream:
                world.came += 1
                if world.came == leave_after:
                    break
                said += words(event)
                if event.turn_complete and answered < len(TOLD) and TOLD[answered] in said:
                    answered += 1
                    await ask(world, queue, answered)
        except Exception as error:
            if _adk_seam.ENDS_QUIETLY or "closed the live session" not in str(error):
                raise
        finally:
            if not abandon:
                await stream.aclose()


async def talk_and_see(world: World, app: object) -> None:
    """As `talk`; then see what the service has seen.

    ADK ends a task that was cancelled by cancelling it once more, and does not wait for its end.
    """
    try:
        await talk(world, app)
    finally:
        await see(world)


async def see(world: World, seconds: float = 1.0) -> None:
    """After a moment, have all connections been closed by the client, as the service sees it?"""
    await asyncio.sleep(seconds)
    world.wrong += [f"open: {record}" for record in world.live.connections if record.closed_at is None]


SETTINGS = {"tool_turns": "at_end"}
"""ADK keeps a 2.5 model's calls until then."""
SCENARIO = Scenario(play=talk_and_see, settings=SETTINGS)


def wrong_with(found: dict[Strike, list[str]]) -> dict[Strike, list[str]]:
    """Leave out what older versions of ADK do: in the end they take a cancellation for that of their own sender."""
    if _adk_seam.ENDS_QUIETLY:
        return found
    return {strike: wrong for strike, wrong in found.items() if wrong != ["a cancellation was swallowed"]}


@pytest.fixture
def all_points(schedules: int) -> bool:
    """Tell whether there is time for everything."""
    return schedules >= 100_000


@pytest.mark.parametrize("way", ["waiting", "ready", "twice", "timeout", "all"])
def test_a_run_may_be_cancelled_at_every_turn_of_the_loop(way: Way, all_points: bool) -> None:
    """Before the first connection, in an answer, an outage, a planned move, a tool, and in the end.

    With `all`, that is, with all tasks there are. Here in some of the turns.
    """
    struck, found = sweep(SCENARIO, way, call=False, turns=True, step=1 if all_points else 47)
    assert struck >= 9
    assert wrong_with(found) == {}


@pytest.mark.parametrize("way", ["waiting", "all"])
def test_a_run_that_has_no_connection_yet_may_be_cancelled(way: Way, all_points: bool) -> None:
    struck, found = sweep(SCENARIO, way, call=False, turns=True, last=60, step=1 if all_points else 6)
    assert struck >= 9
    assert wrong_with(found) == {}


def left_after(number: int, *, abandon: bool) -> Outcome:
    """Leave a run after so many events, by closing its generator or by letting go of it."""

    async def play(world: World, app: object) -> None:
        await talk(world, app, leave_after=number, abandon=abandon)
        assert world.came == number
        gc.collect()
        await see(world, PATIENCE if abandon else 1.0)

    return outcome(Scenario(play=play, settings=SETTINGS), Strike(at=0))


@pytest.mark.parametrize("abandon", [False, True], ids=["closed", "let go of"])
def test_a_run_may_be_left_after_every_event(abandon: bool, all_points: bool) -> None:
    for number in range(1, 70, 1 if all_points else 11):
        assert left_after(number, abandon=abandon).wrong == [], number
