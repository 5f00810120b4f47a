"""What cannot go on says so, once and with our own error; what cannot work fails as it does with plain `Gemini`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from unittest import mock

import pytest
from google.genai import errors as genai_errors
from google.genai import types
from websockets.exceptions import ConnectionClosed, InvalidStatus

from resumekit import errors
from resumekit.adapters.adk import ResumableGemini
from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from tests.adk.support import OURS, PLAIN, Talk, config, policy, question, run, service, with_old_turns, words

pytestmark = pytest.mark.network

CUT = Fault.rst(at=Trigger.mid_answer(1))
ALWAYS = {"times": None}


class Connects:
    """How often ADK has opened a session."""

    def __init__(self):
        self.count = 0

    @contextlib.contextmanager
    def counted(self):
        connect = ResumableGemini.connect

        def counting(model, request):
            self.count += 1
            return connect(model, request)

        with mock.patch.object(ResumableGemini, "connect", counting):
            yield self


async def raised_by(talk: Talk) -> Exception | None:
    """Wait until the run is over; return what it raised."""
    await asyncio.wait({talk.task})
    return talk.task.exception()


# --- the session is lost later ------------------------------------------------------------------------------------------

LOSSES = {
    "away-for-too-long": ([Fault.listener_down(1000, at=Trigger.mid_answer(1))], None, OSError),
    "503-for-too-long": ([CUT, Fault.handshake(503, **ALWAYS)], 503, InvalidStatus),
    "403": ([CUT, Fault.handshake(403, **ALWAYS)], 403, InvalidStatus),
    "a-fatal-close": ([Fault.close(1008, "Your API key was reported as leaked.", at=Trigger.mid_answer(1))], None, ConnectionClosed),
    "a-config-that-is-refused-now": (
        [CUT, Fault.close(1007, "Code Execution tool is not supported", at=Trigger.setup_received(), **ALWAYS)],
        None,
        ConnectionClosed,
    ),
    "accepted-and-dropped-for-ever": ([CUT, Fault.drop_after_setup(**ALWAYS)], None, ConnectionClosed),
}  # fmt: skip


@pytest.mark.parametrize("resumption", [types.SessionResumptionConfig(), None], ids=["asked", "not-asked"])
@pytest.mark.parametrize("loss", LOSSES)
async def test_a_session_that_is_lost_ends_the_run_once_with_our_error(loss, resumption):
    faults, status, cause = LOSSES[loss]
    async with service() as server:
        run_config = config(session_resumption=resumption)
        with Connects().counted() as adk:
            async with run(server, run_config=run_config, policy=policy(max_outage=60)) as talk:
                await talk.ask("one")
                await talk.anchored()
                await server.inject(*faults)
                with pytest.raises(errors.SessionLost) as lost:
                    await talk.ask("two")
                dialled = len(await server.connections())
        assert await raised_by(talk) is lost.value
        assert not isinstance(lost.value, genai_errors.APIError | ConnectionClosed)
        assert isinstance(lost.value.__cause__, cause)
        assert lost.value.status_code == status
        assert adk.count == 1
        assert len(await server.connections()) == dialled
        assert talk.count(events.SessionEnded) == 1
        assert lost.value.unsent_messages == 1
        assert lost.value.attempts <= 12


# --- the first connection -----------------------------------------------------------------------------------------------


def facts(error: Exception | None) -> tuple[object, ...]:
    """What code looks at that catches it."""
    if isinstance(error, InvalidStatus):
        return type(error), error.response.status_code
    if isinstance(error, genai_errors.APIError):
        return type(error), error.code, str(error)
    return type(error), str(error)


def always(code, reason):
    return {"faults": [Fault.close(code, reason, at=Trigger.setup_received(), **ALWAYS)]}


PERMANENT = {
    "wrong-key": {"credential": "the-right-key"},
    "no-live-model": {"known_models": ("another-model",)},
    "refused-config": always(1007, "Code Execution tool is not supported"),
    "leaked-key": always(1008, "Your API key was reported as leaked."),
    "403": {"faults": [Fault.handshake(403, **ALWAYS)]},
    "404": {"faults": [Fault.handshake(404, **ALWAYS)]},
}


async def outcome(server, which, **fields):
    """Start a run and ask; return what it raised, and how many connections the service saw."""
    before = len(await server.connections())
    async with run(server, which, **fields) as talk:
        talk.queue.send_content(question("one"))
        error = await raised_by(talk)
    return error, len(await server.connections()) - before


@pytest.mark.parametrize(
    ("name", "profile"), [(name, ("developer", "vertex")[n % 2]) for n, name in enumerate(PERMANENT)]
)
async def test_what_can_never_connect_fails_as_with_plain_adk(name, profile):
    async with service(profile, **PERMANENT[name]) as server:
        plain, _ = await outcome(server, PLAIN)
        ours, dials = await outcome(server, OURS)
    assert plain is not None
    assert facts(ours) == facts(plain)
    assert dials <= 2  # on Vertex a token is renewed once


TRANSIENT = {"503": Fault.handshake(503, **ALWAYS), "1011": always(1011, "Internal error encountered.")["faults"][0]}


@pytest.mark.parametrize("name", TRANSIENT)
async def test_a_service_that_is_away_at_first_is_tried_until_the_deadline(name):
    async with service(faults=[TRANSIENT[name]]) as server:
        plain, _ = await outcome(server, PLAIN)
        limited = policy(first_connect_deadline=60)
        ours, dials = await outcome(server, OURS, policy=limited)
    assert facts(ours) == facts(plain)
    assert 2 <= dials <= 15


async def test_a_service_that_comes_back_is_connected():
    async with service(faults=[Fault.handshake(503, times=2)]) as server, run(server) as talk:
        await talk.ask("one")
        assert [record.http_status for record in await server.connections()] == [503, 503, None]
        await talk.close()


# --- bad input ------------------------------------------------------------------------------------------------------------


async def test_transparent_is_left_out_for_the_developer_api(caplog):
    caplog.set_level(logging.WARNING, "resumekit.adk")
    asked = config(session_resumption=types.SessionResumptionConfig(transparent=True))
    async with service() as server, run(server, run_config=asked) as talk:
        await talk.ask("one")
        await talk.anchored()
        await server.inject(CUT)
        await talk.ask("two")
        await talk.close()
        assert len(await server.connections()) == 2
    assert [record.message for record in caplog.records].count(
        "transparent session resumption is left out: the Developer API does not have it"
    ) == 1


@pytest.mark.parametrize("profile", ["developer", "vertex"])
async def test_a_handle_of_the_application_that_is_refused_starts_afresh_with_history(profile):
    handle = types.SessionResumptionConfig(handle="a-handle-of-yesterday")
    sessions = await with_old_turns()
    async with service(profile) as server:
        asked = config(session_resumption=handle)
        async with run(server, run_config=asked, session_service=sessions) as talk:
            answer = await talk.ask("new [recall]")
            await talk.close()
        records = await server.connections()
        report = await server.ledger_report(["new [recall]"])
    assert [record.handle for record in records] == [handle.handle, None]
    assert records[0].refused is not None
    said = "".join(words(event) for event in answer if not event.partial)
    assert "2 user turns held" in said
    assert "old | new" in said
    assert report.history_with_handle == 0
