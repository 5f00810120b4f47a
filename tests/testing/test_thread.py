"""`ServerThread` and `Faults`: a server for tests of any kind, what goes wrong in it, and what it says afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from resumekit import ConfigurationError, ResumekitError
from resumekit.adapters import websockets
from resumekit.emulator import Address, Fault, Trigger
from resumekit.testing import Faults, ScriptedService, ServerThread

pytestmark = pytest.mark.network
ONE, TWO = "Any tips for Oslo?", "What should I pack?"
PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
HINT = (
    "the conversation has to last until the announced end: have the server take longer"
    " for its answers, by chunk_interval for text, by audio_seconds and audio_speed for speech"
)
CALL = 'a ferry [tool:next_ferry {"to": "Oslo"}]'


def connection_to(server, **given):
    """Return a session of a client that finds the server by what the server says."""
    vertex = server.settings.profile == "vertex"
    path = (
        "google.cloud.aiplatform.v1beta1.LlmBidiService/"
        if vertex
        else "google.ai.generativelanguage.v1beta.GenerativeService."
    )
    return websockets.connect(
        f"wss://{server.host}:{server.port}/ws/{path}BidiGenerateContent",
        setup={"model": "models/gemini-2.5-flash-live", "generationConfig": {"responseModalities": ["TEXT"]}},
        additional_headers={"x-goog-api-key": "any"},
        **{"ssl": server.client_ssl_context(), "policy": server.policy, **given},
    )


async def ask(session, question):
    return await ScriptedService.ask(None, session, question)


async def talk(server, *questions, **given):
    """Hold a conversation, through resumekit; tells how many questions each answer knows of."""
    async with connection_to(server, **given) as session:
        return [(await ask(session, question)).turns_held for question in questions]


async def half_a_talk(server):
    """Write a question, and hang up when its answer begins."""
    async with connection_to(server) as session:
        turn = {"role": "user", "parts": [{"text": ONE}]}
        await session.send({"clientContent": {"turns": [turn], "turnComplete": True}})
        while (await session.recv()).server_content is None:
            pass


def test_a_conversation_lives_through_a_cut():
    with ServerThread(faults=[Fault.rst(at=Trigger.mid_answer(turn=2))]) as server:
        assert asyncio.run(talk(server, ONE, TWO)) == [1, 2]
        server.assert_survived([ONE, TWO])
        assert [record.faults for record in server.connections] == [["rst"], []]
        assert "closed" in {event.kind for event in server.events}
    assert server.ledger.report([ONE, TWO]).ok, "it can be asked when it is gone, too"


@pytest.mark.allow_blocking  # it ends its thread
async def test_it_serves_and_answers_an_event_loop_that_it_does_not_share():
    with ServerThread() as server:
        assert await talk(server, ONE) == [1]
        server.assert_survived([ONE])
        assert "resumekit-live-server" in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("profile", ["developer", "vertex"])
def test_the_lines_that_say_what_is_missing(profile):
    with ServerThread(profile=profile, faults=[Fault.rst(at=Trigger.tool_call(2), connection=1)]) as server:
        with pytest.raises(AssertionError) as nobody:
            server.assert_survived()
        asyncio.run(talk(server, ONE))
        with pytest.raises(AssertionError) as wrong:
            server.assert_survived([TWO])
    assert str(nobody.value).splitlines() == [
        "the conversation did not survive:",
        "  no session was opened: does the application find the server?",
        "  never struck, so that this test shows nothing: rst at tool_call 2, connection 1",
        "the final state holds: nothing",
    ]
    assert str(wrong.value).splitlines() == [
        "the conversation did not survive:",
        "  never struck, so that this test shows nothing: rst at tool_call 2, connection 1",
        f"  lost: {TWO!r}",
        "connection 0: fresh, 1 turn, 1000 by client",
        f"the final state holds: {ONE!r}",
    ]


@pytest.mark.parametrize("name", ["cut_mid_answer", "close_mid_answer", "go_mute_mid_answer", "outage"])
def test_it_strikes_in_the_answer_of_the_turn_that_is_named(name):
    with ServerThread() as server:
        getattr(Faults(server), name)(turn=2)
        asyncio.run(talk(server, ONE, TWO))
        server.assert_survived([ONE, TWO])
        first = server.connections[0]
    assert (first.turns_completed, first.closed_by) == (1, "fault")


def test_an_announced_end_that_never_comes_shows_nothing():
    """There is no handle in time to move with, so only the end would end the connection."""
    announced = Fault.go_away(600.0, at=Trigger.mid_answer(1))
    with ServerThread(faults=[announced], handle_delay=60.0) as server:
        asyncio.run(talk(server, ONE, TWO))
        with pytest.raises(AssertionError) as wrong:
            server.assert_survived([ONE, TWO])
    assert str(wrong.value).splitlines()[1:] == [
        f"  announced, but never closed: this test shows nothing: go_away on connection 0 ({HINT})",
        "connection 0: fresh, 2 turns, 1000 by client, faults: go_away",
        f"the final state holds: {ONE!r}, {TWO!r}",
    ]


@pytest.mark.parametrize(("time_left", "handle_delay"), [(0.1, 60.0), (20.0, 0.0)])
def test_an_announced_end_has_come_or_was_moved_away_from(time_left, handle_delay):
    """The first end falls into the answer; before the second, there is a handle to move with."""

    async def talk_until_it_is_over(server):
        async with connection_to(server) as session:
            await ask(session, ONE)
            while not any(record.bound_at for record in server.connections[1:]):  # noqa: ASYNC110 - in another thread
                await asyncio.sleep(0.01)
            await ask(session, TWO)

    with ServerThread(faults=[Fault.go_away(time_left, at=Trigger.mid_answer(1))], handle_delay=handle_delay) as server:
        asyncio.run(talk_until_it_is_over(server))
        server.assert_survived([ONE, TWO])


def test_a_goaway_that_is_to_have_no_end_needs_none():
    with ServerThread(
        faults=[Fault.go_away(600.0, close=False, at=Trigger.mid_answer(1))], handle_delay=60.0
    ) as server:
        asyncio.run(talk(server, ONE))
        server.assert_survived([ONE])


def test_a_handle_that_never_came_was_not_refused_and_why():
    faults = [Fault.refuse_handle(), Fault.rst(at=Trigger.mid_answer(turn=2))]
    with ServerThread(faults=faults, handle_delay=60.0) as server:
        asyncio.run(talk(server, ONE, TWO))
        with pytest.raises(AssertionError) as wrong:
            server.assert_survived()
    assert str(wrong.value).splitlines()[1] == (
        "  never struck, so that this test shows nothing: refuse_handle at resume 1 (no handle was used to resume: connection 0 "
        "ended before its first one, which comes 60 s of the service after an answer; let a pause follow the answer)"
    )


def test_an_answer_that_was_not_given_to_its_end_is_missing():
    with ServerThread() as server:
        asyncio.run(half_a_talk(server))
        with pytest.raises(AssertionError, match=f"  not answered to its end: {ONE!r}".replace("?", r"\?")):
            server.assert_survived([ONE])


def test_a_model_that_never_answers_leaves_the_question_open_unless_it_was_asked_to():
    async def write(server, question):
        async with connection_to(server) as session:
            turn = {"role": "user", "parts": [{"text": question}]}
            await session.send({"clientContent": {"turns": [turn], "turnComplete": True}})

    with ServerThread(faults=[Fault.poisoned_handle(at=Trigger.bound())]) as server:
        asyncio.run(write(server, ONE))
        assert f"not answered to its end: {ONE!r}" in server.story()
    with ServerThread() as server:
        asyncio.run(write(server, "hush [silent]"))
        server.assert_survived(["hush [silent]"])


@pytest.mark.allow_blocking
async def test_a_call_without_a_response_is_missing():
    with ServerThread() as server:
        async with connection_to(server) as session:
            turn = {"role": "user", "parts": [{"text": CALL}]}
            await session.send({"clientContent": {"turns": [turn], "turnComplete": True}})
            while (await session.recv()).tool_call is None:
                pass
            (call,) = server.ledger.calls()
            (told,) = [line for line in server.story().splitlines() if "the tool call has no response" in line]
            assert told.startswith(
                f"the tool call has no response: {call} (google-adk runs the tools of a 2.5 model when "
            )
            assert told.endswith(": tool_turns='at_end')")


def test_what_the_state_holds_twice_out_of_place_or_beside_a_handle_is_told():
    with ServerThread() as server:
        asyncio.run(talk(server, ONE, TWO, ONE))
        with pytest.raises(AssertionError) as wrong:
            server.assert_survived([TWO, ONE])
    assert f"  held more than once: {ONE!r}" in str(wrong.value).splitlines()

    with ServerThread() as server:
        asyncio.run(talk(server, ONE, TWO))
        with pytest.raises(AssertionError, match="  not where it was sent: "):
            server.assert_survived([TWO, ONE])


def test_an_injected_fault_strikes_what_comes_next():
    async def conversation(server):
        async with connection_to(server) as session:
            await ask(session, ONE)
            server.inject(Fault.rst(at=Trigger.client_message(2)))
            return await ask(session, TWO)

    with ServerThread() as server:
        assert asyncio.run(conversation(server)).turns_held == 2
        assert server.waiting == []
    with pytest.raises(ResumekitError, match="not running"):
        server.inject(Fault.rst())


def test_nonsense_is_refused_where_it_is_said():
    with pytest.raises(ConfigurationError, match="time_scale"):
        ServerThread(time_scale=0)
    with ServerThread() as server, pytest.raises(ConfigurationError, match="possible at the handshake only"):
        server.inject(Fault.handshake(503, at=Trigger.bound()))


def test_a_port_that_is_in_use_is_an_error_of_the_start():
    with (
        Address() as address,
        ServerThread(address=address),
        pytest.raises(ResumekitError, match="in use by a server"),
        ServerThread(address=address),
    ):
        pass


def test_what_goes_wrong_in_the_emulator_is_raised_unless_something_else_is(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("resumekit.emulator.connection.Gate", broken)

    async def meet(server):
        uri, headers = f"wss://127.0.0.1:{server.port}{PATH}", {"x-goog-api-key": "any"}
        with contextlib.suppress(ConnectionClosed):
            async with connect(uri, additional_headers=headers, ssl=server.client_ssl_context()) as socket:
                await socket.send('{"setup": {"model": "models/gemini-2.5-flash-live"}}')
                await socket.recv()

    with pytest.raises(ExceptionGroup, match="the emulator failed"), ServerThread() as server:
        asyncio.run(meet(server))
    with pytest.raises(LookupError), ServerThread() as server:
        raise LookupError(asyncio.run(meet(server)))


def test_servers_that_share_an_address_are_found_by_the_same_client():
    with Address() as address:
        contexts, ports = [], []
        for question in (ONE, TWO):
            with ServerThread(address=address) as server:
                contexts.append(server.client_ssl_context())
                ports.append(server.port)
                asyncio.run(talk(server, question, ssl=contexts[0]))
                server.assert_survived([question])
    assert ports[0] == ports[1]


@pytest.mark.parametrize(
    ("before", "after"), [({}, {"GOOGLE_API_KEY", "GEMINI_API_KEY"}), ({"GEMINI_API_KEY": "real"}, {"GEMINI_API_KEY"})]
)
def test_the_environment_replaces_keys_and_keeps_what_is_trusted(monkeypatch, tmp_path, before, after):
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Address() as address, ServerThread(address=address) as mine, ServerThread() as other:
        for name, value in {**before, "SSL_CERT_FILE": other.ca_file, "NO_PROXY": "internal"}.items():
            monkeypatch.setenv(name, value)
        found = mine.environment()
        assert ssl.create_default_context(cafile=found["SSL_CERT_FILE"]).cert_store_stats()["x509_ca"] == 2
        monkeypatch.delenv("SSL_CERT_FILE")
        assert "BEGIN CERTIFICATE" in Path(mine.environment()["SSL_CERT_FILE"]).read_text()
    assert {name for name in found if name.endswith("API_KEY")} == after
    assert "real" not in found.values()
    assert found["no_proxy"] == "internal,127.0.0.1"
    assert not Path(found["SSL_CERT_FILE"]).exists()
