"""google-genai's own client against the emulator, through faults: what is to be seen of it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from google import genai
from google.genai import types
from msgspec.structs import replace
from opentelemetry.trace import SpanKind, StatusCode
from resumekit_otel import Telemetry, names

from resumekit import Policy, SessionLost, events
from resumekit.adapters import genai as resumable
from resumekit.emulator import Fault, LiveServer, Trigger
from resumekit.pool import SessionPool

FOLDER = Path(__file__).parents[1]
MODEL = "gemini-2.5-flash-live"
KEY = "AIzaSyD-a-key-that-nobody-may-see-0123456"
SCALE = 0.05
POLICY = Policy(warm_dial=False)
"""A move need not wait; what else there is of time-outs leaves room for a busy machine."""
CONFIG = {"response_modalities": ["TEXT"]}
LABELS = {"gen_ai.provider.name", "gen_ai.request.model"}


@contextlib.asynccontextmanager
async def service(**settings):
    """An emulator that nothing happens in but what the test says."""
    async with LiveServer(**{"time_scale": SCALE, "model": MODEL, "connection_age": None, **settings}) as live:
        yield live


@contextlib.asynccontextmanager
async def client_of(live):
    http = types.HttpOptions(base_url=live.base_url, async_client_args={"ssl": live.client_ssl_context()})
    client = genai.Client(api_key=KEY, http_options=http)
    try:
        yield client
    finally:
        await client.aio.aclose()
        client.close()


async def ask(session, text):
    """Ask, and take the whole answer."""
    content = types.Content(role="user", parts=[types.Part(text=text)])
    await session.send_client_content(turns=content, turn_complete=True)
    said = ""
    async for message in session.receive():
        said += message.text or ""
    return said


async def anchored(session, text):
    """Ask, take the whole answer, and wait for the handle that holds it."""
    begun = time.time()
    await ask(session, text)
    await told(session, events.HandleReceived, since=begun)


async def told(session, kind, times=1, *, since=0.0):
    """Wait until the session has told of an event so many times; return the last of them."""
    async with asyncio.timeout(100):
        async for event in session.events:
            times -= isinstance(event, kind) and event.at >= since
            if not times:
                return event
    raise AssertionError(kind)


def connect(client, seen, **arguments):
    settings = {"model": MODEL, "config": CONFIG, "policy": POLICY, "plugins": [seen.telemetry], **arguments}
    return resumable.connect(client, **settings)


async def until(is_so):
    async with asyncio.timeout(100):
        while not is_so():  # noqa: ASYNC110 -- the pool tells nobody
            await asyncio.sleep(0)


@pytest.fixture(scope="module")
def call(recorder):
    """What was seen of a call through four faults, the events of it, and the handles that the service gave out."""
    with recorder() as seen:
        yield SimpleNamespace(seen=seen, **asyncio.run(through_four_faults(seen)))


async def through_four_faults(seen):
    """A reset in mid-answer, a goAway, an internal error, and one whose next dial is refused."""
    async with service() as live, client_of(live) as client:
        async with contextlib.AsyncExitStack() as stack:
            with seen.tracer.start_as_current_span("request of the application"):
                session = await stack.enter_async_context(connect(client, seen))
            await anchored(session, "one")
            for number, fault in enumerate(
                [
                    Fault.rst(at=Trigger.mid_answer()),
                    Fault.go_away(60),
                    Fault.close(1011, "Internal error encountered."),
                ]
            ):
                live.inject(fault)
                await anchored(session, f"{number} [chunks:8]")
                await told(session, events.Resumed, number + 1)
                await anchored(session, f"{number} again")
            live.inject(Fault.handshake(503))
            live.inject(Fault.rst())
            await told(session, events.Resumed, 4)
        handles = {
            match.decode()
            for record in live.connections
            for frame in live.ledger.raw(record.number)
            for match in re.findall(rb'"handle":\s*"([^"]+)"', frame)
        }
        return {"events": [event async for event in session.events], "handles": handles}


def test_a_call_through_four_faults_is_one_trace(call):
    seen = call.seen
    session = seen.one("session")
    (request,) = [span for span in seen.spans if span.name == "request of the application"]
    assert session.parent.span_id == request.context.span_id
    assert session.attributes["gen_ai.provider.name"] == "gcp.gemini"
    assert session.attributes["gen_ai.request.model"] == MODEL
    assert session.attributes["resumekit.session.name"] == call.events[0].session
    assert session.status.status_code is StatusCode.UNSET
    below = [span for span in seen.spans if span.parent and span.parent.span_id == session.context.span_id]
    order = "connect connection recovery connection move connection recovery connection recovery connection"
    assert [span.name.removeprefix("resumekit.") for span in below] == order.split()
    assert {span.context.trace_id for span in seen.spans} == {session.context.trace_id}


def test_spans_begin_and_end_when_it_happened(call):
    seen, happened = call.seen, call.events

    def times(kind):
        return [int(event.at * 1e9) for event in happened if isinstance(event, kind)]

    connections = seen.named("connection")
    bound = times(events.Connected) + times(events.Resumed)
    assert [span.start_time for span in connections] == bound
    lost = [int(e.at * 1e9) for e in happened if isinstance(e, events.ConnectionLost) and e.phase == "live"]
    assert [span.end_time for span in connections[:-1]] == sorted(lost + times(events.Moving))
    assert [(span.start_time, span.end_time) for span in seen.named("recovery")] == list(
        zip(lost, [bound[1], bound[3], bound[4]], strict=True)
    )
    move = seen.one("move")
    assert (move.start_time, move.end_time) == (times(events.GoAwayReceived)[0], bound[2])
    assert seen.one("session").start_time == times(events.SessionStarted)[0] == seen.one("connect").start_time
    assert seen.one("connect").end_time == bound[0]
    assert all(span.start_time <= span.end_time for span in seen.spans)


def test_each_way_leads_from_one_connection_to_the_next(call):
    seen, happened = call.seen, call.events
    connections = seen.named("connection")
    ways = sorted(
        [*seen.named("connect"), *seen.named("recovery"), *seen.named("move")], key=lambda span: span.end_time
    )
    assert len(connections) == len(ways) == 5
    for number, (way, connection) in enumerate(zip(ways, connections, strict=True)):
        assert [link.context.span_id for link in connection.links] == [way.context.span_id]
        before = [] if number == 0 else [connections[number - 1].context.span_id]
        assert [link.context.span_id for link in way.links] == before
    assert {connection.kind for connection in connections} == {SpanKind.CLIENT}
    numbers = [event.connection for event in happened if isinstance(event, events.Connected | events.Resumed)]
    assert [connection.attributes["resumekit.connection.number"] for connection in connections] == numbers
    assert [connection.attributes["resumekit.outcome"] for connection in connections] == ["new", *["resumed"] * 4]


def test_what_ended_a_connection_stands_on_it_and_on_the_recovery(call):
    seen = call.seen
    connections = seen.named("connection")
    assert [span.attributes.get("error.type") for span in connections] == ["network", None, "1011", "network", None]
    ends = [span.attributes["resumekit.connection.end"] for span in connections]
    assert ends == ["lost", "moved", "lost", "lost", "closed"]
    failed = connections[2]
    assert failed.status.status_code is StatusCode.ERROR
    assert "Internal error" in failed.status.description
    assert failed.attributes["resumekit.close_code"] == 1011
    assert failed.attributes["resumekit.verdict"] == "resume later"
    assert [span.attributes["resumekit.cause"] for span in seen.named("recovery")] == ["network", "1011", "network"]
    move = seen.one("move").attributes
    assert (move["resumekit.cause"], move["resumekit.quiet"]) == ("goAway", True)
    assert move["resumekit.time_left"] == pytest.approx(60 * SCALE)
    cut = seen.named("recovery")[0]
    assert "resumekit.turn_cut" in [event.name for event in connections[0].events]
    assert cut.attributes["resumekit.resent_messages"] == 1


def test_a_dial_that_fails_is_a_span_of_its_own_below_the_recovery(call):
    seen = call.seen
    dial = seen.one("dial")
    recovery = seen.named("recovery")[-1]
    assert dial.parent.span_id == recovery.context.span_id
    assert (dial.attributes["error.type"], dial.attributes["http.response.status_code"]) == ("503", 503)
    assert dial.attributes["resumekit.phase"] == "dial"
    assert dial.status.status_code is StatusCode.ERROR
    assert recovery.start_time <= dial.start_time <= dial.end_time <= recovery.end_time
    assert seen.sum("failed_dials", error_type="503") == 1


def test_the_figures_of_four_faults(call):
    seen, happened = call.seen, call.events
    resumed = [event for event in happened if isinstance(event, events.Resumed)]
    assert seen.sum("reconnects") == 4
    causes = {point.attributes["resumekit.cause"]: point.value for point in seen.points("reconnects")}
    assert causes == {"network": 2, "goAway": 1, "1011": 1}
    assert {point.attributes["resumekit.outcome"] for point in seen.points("reconnects")} == {"resumed"}
    assert seen.sum("recovery.duration") == 3
    assert sum(point.sum for point in seen.points("recovery.duration")) == pytest.approx(
        sum(event.downtime for event in resumed if not event.planned)
    )
    assert [point.sum for point in seen.points("move.gap")] == [resumed[1].downtime]
    assert seen.sum("messages.resent") == sum(event.resent_messages for event in resumed) >= 1
    assert seen.sum("turns.disturbed") == sum(isinstance(event, events.TurnCut) for event in happened) >= 1
    assert seen.sum("connection.duration") == 5
    assert seen.sum("session.duration") == 1
    assert seen.sum("active_sessions") == 0


async def test_an_active_session_is_counted_while_it_is_open(seen):
    async with service() as live, client_of(live) as client:
        async with connect(client, seen), connect(client, seen):
            assert seen.sum("active_sessions") == 2
        assert seen.sum("active_sessions") == 0
        live.inject(Fault.handshake(403, times=9))
        with pytest.raises(Exception, match="403"):
            await connect(client, seen).__aenter__()
        assert seen.sum("active_sessions") == 0
        assert seen.sum("session.duration") == 3
        assert not any(seen.telemetry._sessions.values())


async def test_a_session_that_is_lost_fails(seen):
    impatient = Policy(max_outage=1.0)
    async with service() as live, client_of(live) as client, connect(client, seen, policy=impatient) as session:
        await ask(session, "one")
        live.inject(Fault.handshake(503, times=99))
        live.inject(Fault.rst())
        await told(session, events.ConnectionLost)
        await session.send_client_content(turns={"parts": [{"text": "two"}]}, turn_complete=True)
        with pytest.raises(SessionLost):
            await ask(session, "three")

    session, recovery = seen.one("session"), seen.one("recovery")
    for span in (session, recovery):
        assert span.status.status_code is StatusCode.ERROR
        assert "raise Policy.max_outage" in span.status.description
        assert span.attributes["error.type"] == "503"
    assert recovery.attributes["resumekit.outcome"] == "lost"
    assert seen.sum("session.duration", error_type="503") == 1
    assert seen.sum("messages.unsent") == 2
    assert seen.sum("reconnects") == 0


async def test_a_loss_before_the_move_ends_the_move(seen):
    async with service() as live, client_of(live) as client, connect(client, seen) as session:
        await anchored(session, "one")
        live.inject(Fault.go_away(60, at=Trigger.generation_started(2)))
        live.inject(Fault.rst(at=Trigger.mid_answer(2)))
        await ask(session, "two [chunks:20]")
        await told(session, events.Resumed)

    move, recovery = seen.one("move"), seen.one("recovery")
    assert (move.attributes["resumekit.outcome"], move.attributes["error.type"]) == ("lost", "network")
    assert move.end_time == recovery.start_time
    assert seen.sum("reconnects", cause="network") == 1


async def test_a_move_at_the_applications_wish(seen):
    async with service() as live, client_of(live) as client, connect(client, seen) as session:
        await anchored(session, "one")
        session.force_reconnect()
        await told(session, events.Resumed)

    move = seen.one("move")
    assert move.attributes["resumekit.cause"] == "request"
    assert move.start_time == seen.named("connection")[0].end_time
    assert seen.sum("reconnects", cause="request") == 1


async def test_a_fresh_start_says_so(seen):
    async with service() as live, client_of(live) as client, connect(client, seen) as session:
        await anchored(session, "one")
        live.inject(Fault.expire_handles())
        live.inject(Fault.rst())
        await told(session, events.FreshStarted)

    recovery = seen.one("recovery")
    assert recovery.attributes["resumekit.outcome"] == "fresh"
    assert recovery.attributes["resumekit.replayed_turns"] == 2
    (refused,) = [event for event in recovery.events if event.name == "resumekit.handle_refused"]
    assert set(refused.attributes) == {"resumekit.age", "resumekit.reason", "resumekit.poisoned"}
    assert seen.sum("handles.refused") == 1
    assert seen.sum("reconnects", outcome="fresh") == 1


async def test_who_waits_for_the_pool_is_counted(seen):
    pool = SessionPool(1)
    async with service() as live, client_of(live) as client:
        async with connect(client, seen, pool=pool):
            waiting = asyncio.create_task(connect(client, seen, pool=pool).__aenter__())
            await until(lambda: pool.waiting == 1)
            assert seen.sum("pool.pending_sessions") == 1
            given_up = asyncio.create_task(connect(client, seen, pool=pool).__aenter__())
            await until(lambda: pool.waiting == 2)
            assert seen.sum("pool.pending_sessions") == 2
            given_up.cancel()
            await asyncio.wait([given_up])
            assert seen.sum("pool.pending_sessions") == 1
        session = await waiting
        assert seen.sum("pool.pending_sessions") == 0
        assert seen.sum("pool.wait_time") == 1
        await session.close()


def test_no_secret_and_in_the_metrics_no_name_is_told(call):
    seen, happened, handles = call.seen, call.events, call.handles
    said = seen.everything()
    assert len(handles) >= 2
    for secret in (KEY, *handles):
        assert secret not in said
    digests = {event.digest for event in happened if isinstance(event, events.HandleReceived)}
    assert not any(digest in said for digest in digests)
    allowed = LABELS | {"error.type", "resumekit.cause", "resumekit.outcome", "resumekit.connection.end",
                        "resumekit.phase", "resumekit.turn.fate", "resumekit.hook"}  # fmt: skip
    for name in seen.metrics:
        for point in seen.points(name.removeprefix("resumekit.")):
            assert set(point.attributes) <= allowed
            assert happened[0].session not in point.attributes.values()


def tell(seen, *happened):
    """Tell of a session to which this happened, from its start to its end."""

    async def all_of_it():
        for event in (events.SessionStarted(model="models/m"), *happened):
            seen.telemetry.on_event(replace(event, at=1.0, session="session 1"))

    asyncio.run(all_of_it())


def test_a_place_in_the_queue_that_changes_is_still_one_session_that_waits(seen):
    tell(seen, events.Queued(place=2, waiting=2), events.Queued(place=1, waiting=1))
    assert seen.sum("pool.pending_sessions") == 1


def test_a_move_that_was_announced_and_is_wished_for_meanwhile_is_a_wish(seen):
    tell(
        seen,
        events.Connected(connection=1, resumed=False),
        events.GoAwayReceived(connection=1, time_left=60.0, move_within=40.0),
        events.Moving(connection=1, quiet=False, cause="request"),
        events.FreshStarted(connection=2, downtime=0.5, replayed_turns=1, holes=0, resent_messages=0, lost_audio=0.0),
    )
    assert seen.sum("reconnects", cause="request", outcome="fresh") == 1
    assert seen.one("move").attributes["resumekit.cause"] == "request"


def test_a_session_that_fails_while_its_connection_lives_lost_the_connection(seen):
    """Another process took the conversation over, say."""
    tell(
        seen,
        events.Connected(connection=1, resumed=True),
        events.SessionEnded(error="another session took the conversation over"),
    )
    connection = seen.one("connection").attributes
    assert (connection["resumekit.connection.end"], connection["error.type"]) == ("lost", "_OTHER")
    assert seen.sum("session.duration", error_type="_OTHER") == 1


def test_a_session_whose_event_loop_was_closed_is_ended_with_the_next_one(seen):
    """Nobody told of its end: it must neither be counted for ever, nor kept."""

    async def abandon():
        await start("session 1")

    async def start(name):
        seen.telemetry.on_event(events.SessionStarted(at=1.0, session=name, model="models/m"))
        seen.telemetry.on_event(events.Queued(at=1.0, session=name, place=1, waiting=1))

    async def another():
        await start("session 2")
        assert seen.sum("active_sessions") == seen.sum("pool.pending_sessions") == 1
        seen.telemetry.on_event(events.SessionEnded(at=2.0, session="session 2", error=None))

    asyncio.run(abandon())
    asyncio.run(another())

    assert seen.telemetry._sessions == {}
    assert {span.status.description for span in seen.named("session")} == {"its event loop was closed", None}
    assert seen.sum("active_sessions") == 0


def test_what_is_told_of_a_session_that_has_ended_makes_none(seen):
    """The store is let go of after the last event."""
    late = events.StoreFailed(at=3.0, session="session 1", operation="close", problem="OSError")
    seen.telemetry.on_event(late)
    seen.telemetry.on_event(events.SessionEnded(at=3.0, session="session 1", error=None))

    assert seen.spans == []
    assert seen.sum("store.failures", store_operation="close") == 1


def test_every_event_can_be_taken_at_any_time(seen):
    """Whatever is told, in whatever order: a listener that raises is no use to anybody."""
    examples = {float: 1.0, int: 1, str: "s", bool: True}

    def example(kind):
        fields = {field: _example(kind.__annotations__[field], examples) for field in kind.__struct_fields__
                  if field in kind.__annotations__}  # fmt: skip
        return kind(at=1.0, session="session 1", **fields)

    kinds = [
        getattr(events, name) for name in events.__all__ if name not in ("Event", "SessionStarted", "SessionEnded")
    ]

    async def take_all():
        for first in kinds:
            seen.telemetry.on_event(events.SessionStarted(at=1.0, session="session 1", model="m"))
            for kind in (first, *kinds, *reversed(kinds)):
                seen.telemetry.on_event(example(kind))
            seen.telemetry.on_event(events.SessionEnded(at=2.0, session="session 1", error="it broke"))

    asyncio.run(take_all())
    assert seen.sum("active_sessions") == 0
    assert len(seen.named("session")) == len(kinds)


def _example(annotation, examples):
    if annotation.startswith("Literal"):
        return annotation.split("'")[1]
    if annotation.startswith("tuple"):
        return (1, 2)
    return next(value for kind, value in examples.items() if annotation.startswith(kind.__name__))


def test_causes_are_a_bounded_number_of_words():
    every = {
        names.error_type(code, status, by)
        for code in (None, *range(5000))
        for status in (None, *range(700))
        if code is None or status is None
        for by in ("they", "we", "nobody")
    }
    assert len(every) <= 16 + 500 + 3
    assert names.error_type(1006, None, "nobody") == "network", "no close frame came: the number says no more"
    assert names.error_type(1009, None, "we") == "1009"
    assert names.error_type(None, None, "we") == "timeout"
    assert names.error_type(4321, None, "they") == "_OTHER"
    assert names.error_type(None, None, "they") == "_OTHER"


def test_the_name_of_a_model_is_told_without_its_project():
    path = "projects/p/locations/l/publishers/google/models/gemini-live-2.5-flash"
    assert (names.provider_of(path), names.model_of(path)) == ("gcp.vertex_ai", "gemini-live-2.5-flash")
    assert (names.provider_of("models/m"), names.model_of("models/m")) == ("gcp.gemini", "m")
    assert names.model_of("") == "_OTHER"


def test_the_installed_plugin_is_listed():
    from resumekit.plugins import installed_plugins

    (plugin,) = [plugin for plugin in installed_plugins() if plugin.name == "otel"]
    assert (plugin.distribution, plugin.hooks, plugin.error) == ("resumekit-otel", ("on_event",), None)
    assert isinstance(plugin.implementation, Telemetry)
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    assert plugin.version == project["version"]


def test_the_readme_names_every_metric_with_its_unit(seen):
    told_of = dict(
        re.findall(r"^\| `(resumekit\.[a-z_.]+)` \| \w+ \| `([^`]+)`", (FOLDER / "README.md").read_text(), re.MULTILINE)
    )
    made = {one.name: one.unit for one in vars(seen.telemetry._instruments).values()}
    assert told_of == made
