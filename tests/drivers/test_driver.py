"""The driver against a service in memory, in virtual time: it carries out what the engine asks, and leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import json
import logging
import random
from contextvars import ContextVar

import pytest

from resumekit.core import events, inputs
from resumekit.core.engine import Engine
from resumekit.core.policy import Policy
from resumekit.errors import (
    BufferFull,
    ConnectFailed,
    ConnectRefused,
    LocalProtocolError,
    SessionClosed,
    SessionLost,
)
from resumekit.wire import HistoryTurn, decode_client
from tests.drivers.fakes import (
    SETUP,
    FakeService,
    answer_of,
    ask,
    audio,
    driver_of,
    in_virtual_time,
    note,
    question,
    tasks,
    text_of,
    until,
)


@pytest.fixture
def service():
    return FakeService()


def of(kind, seen):
    return [event for event in seen if isinstance(event, kind)]


# --- the plain way ---------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_question_is_answered_and_close_leaves_nothing(service):
    driver = driver_of(service)
    await driver.start()

    assert driver.setup_complete.setup_complete is not None
    assert await ask(driver, "one") == "answer to one"
    await driver.close()
    assert service.current.sent[0]["setup"]["model"] == "models/gemini-2.5-flash-live"
    assert service.current.closed
    assert driver.stats.messages_sent == 1


@in_virtual_time
async def test_a_transport_that_takes_frames_at_once_needs_no_task_to_write(service):
    service.takes_at_once = True
    driver = driver_of(service)
    await driver.start()
    before = tasks()

    for _ in range(40):
        await driver.send(audio())
        assert tasks() == before
    assert await ask(driver, "one") == "answer to one"
    assert len([frame for frame in service.current.sent if "realtimeInput" in frame]) == 40
    await driver.close()


@in_virtual_time
async def test_close_is_idempotent_and_may_come_from_any_task(service):
    driver = driver_of(service)
    await driver.close()
    await driver.start()
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(driver.close())
    await driver.close()


@in_virtual_time
async def test_after_close_everything_says_so(service):
    driver = driver_of(service)
    await driver.start()
    waiting = asyncio.create_task(driver.recv())
    await asyncio.sleep(0)
    await driver.close()

    for use in (waiting, driver.recv(), driver.send(question("x"))):
        with pytest.raises(SessionClosed):
            await use
    with pytest.raises(SessionClosed):
        driver.force_reconnect()


@in_virtual_time
async def test_frames_that_came_before_the_end_are_handed_over_first(service):
    driver = driver_of(service)
    await driver.start()
    await driver.send(question("one"))
    await until(lambda: driver.last_handle is not None)
    await driver.close()

    assert await answer_of(driver) == "answer to one"
    assert (await driver.recv()).session_resumption_update is not None
    with pytest.raises(SessionClosed):
        await driver.recv()


@in_virtual_time
async def test_what_was_sent_is_written_before_the_close(service):
    driver = driver_of(service)
    await driver.start()
    for _ in range(100):
        await driver.send(audio())
    await driver.close()

    assert len(service.current.sent) == 1 + 100
    assert service.current.closed


@in_virtual_time
async def test_a_second_setup_and_nonsense_are_refused(service):
    driver = driver_of(service)
    await driver.start()
    for frame in (SETUP, "{", "[]", '{"hello": 1}'):
        with pytest.raises(LocalProtocolError):
            await driver.send(frame)

    assert await ask(driver, "one") == "answer to one"
    await driver.close()


# --- losses ----------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_cut_answer_is_given_again_on_the_next_connection(service):
    driver = driver_of(service)
    await driver.start()
    assert await ask(driver, "one") == "answer to one"
    await until(lambda: driver.last_handle is not None)
    service.answers = False
    await driver.send(question("two"))
    await until(lambda: len(service.current.sent) == 2 + 1)
    service.current.push({"serverContent": {"modelTurn": {"parts": [{"text": "half"}]}}})
    while text_of(await driver.recv()) != "half":
        pass
    service.answers = True
    service.current.end()

    assert await answer_of(driver) == "answer to two"
    assert service.current.sent[0]["setup"]["sessionResumption"]["handle"] == "handle-1"
    assert (driver.stats.resumes, driver.stats.turns_reanswered) == (1, 1)
    await driver.close()


@in_virtual_time
async def test_many_reconnects_leave_no_task_and_no_timer(service):
    driver = driver_of(service)
    loop = asyncio.get_running_loop()
    await driver.start()
    for number in range(200):
        service.current.end()
        assert await ask(driver, f"{number}") == f"answer to {number}"
        await until(lambda: len(service.current.sent) >= 1)
        assert len(tasks()) <= 1 + 1 + 2 + 2  # the test, the runner; two connections, one on its way out
    assert len(service.connections) > 200
    await driver.close()
    await asyncio.sleep(0)
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == []


@in_virtual_time
async def test_timers_need_not_say_when_they_fire(service, monkeypatch):
    """Those of uvloop that are due within a millisecond cannot."""
    monkeypatch.delattr(asyncio.TimerHandle, "when")
    driver = driver_of(service)
    await driver.start()
    service.current.end()
    assert await ask(driver, "one") == "answer to one"
    await driver.close()


@in_virtual_time
async def test_a_sender_that_never_pauses_does_not_hold_the_timers_up(service):
    seen = []
    driver = driver_of(service, on_event=seen.append)
    await driver.start()
    service.current.close_with(1006)
    for _ in range(2000):
        await driver.send(audio())
        asyncio.get_running_loop().clock += 0.007  # never just when a timer is due
        if of(events.FreshStarted, seen):
            break

    assert of(events.FreshStarted, seen)
    assert not of(events.ClockJumped, seen)
    await driver.close()


@in_virtual_time
async def test_go_away_moves_to_a_connection_that_was_dialled_ahead(service):
    driver = driver_of(service)
    await driver.start()
    await ask(driver, "one")
    await until(lambda: driver.last_handle is not None)
    old = service.current
    service.answers = False
    await driver.send(question("two"))  # keeps the session from moving at once
    await until(lambda: len(old.sent) == 3)
    old.push({"goAway": {"timeLeft": "60s"}})
    await until(lambda: len(service.connections) == 2, every=0.1)
    warm = service.current
    assert warm.sent == []
    assert not old.closed
    service.answer(old, "two")

    assert await answer_of(driver) == "answer to two"
    await until(lambda: warm.sent)
    assert old.closed
    assert warm.sent[0]["setup"]["sessionResumption"]["handle"] == "handle-2"
    service.answers = True
    assert await ask(driver, "three") == "answer to three"
    await driver.close()
    assert (driver.stats.moves, driver.stats.turns_reanswered) == (1, 0)


@in_virtual_time
async def test_a_warm_connection_that_dies_is_replaced(service):
    driver = driver_of(service)
    await driver.start()
    await ask(driver, "one")
    await until(lambda: driver.last_handle is not None)
    old = service.current
    service.answers = False
    await driver.send(question("two"))
    await until(lambda: len(old.sent) == 3)
    old.push({"goAway": {"timeLeft": "60s"}})
    await until(lambda: len(service.connections) == 2, every=0.1)
    service.current.close_with(1000)
    service.answers = True
    service.answer(old, "two")

    assert await answer_of(driver) == "answer to two"
    assert await ask(driver, "three") == "answer to three"
    assert len(service.connections) == 3
    await driver.close()


@in_virtual_time
async def test_a_half_open_connection_is_pinged_then_aborted(service):
    seen = []
    driver = driver_of(service, on_event=seen.append)
    await driver.start()
    await ask(driver, "one")
    await until(lambda: driver.last_handle is not None)
    old = service.current
    old.mute = True
    await driver.send(question("two"))

    assert await answer_of(driver) == "answer to two"
    assert len(old.pings) == 1
    assert old.aborted
    assert service.current.sent[0]["setup"]["sessionResumption"]["handle"] == "handle-1"
    await driver.close()


@in_virtual_time
async def test_a_jammed_write_does_not_hold_the_abort_up(service):
    driver = driver_of(service)
    await driver.start()
    await ask(driver, "one")
    old = service.current
    old.mute = old.jammed = True
    await driver.send(question("two"))

    assert await answer_of(driver) == "answer to two"
    assert old.aborted
    await driver.close()


@in_virtual_time
async def test_a_healthy_silence_is_left_alone(service):
    driver = driver_of(service)
    await driver.start()
    service.answers = False
    await driver.send(question("one"))
    await asyncio.sleep(600)
    service.answer(service.current, "one")

    assert await answer_of(driver) == "answer to one"
    assert len(service.connections) == 1
    assert len(service.current.pings) > 3
    await driver.close()


@in_virtual_time
async def test_a_close_that_is_not_answered_ends_in_an_abort(service):
    driver = driver_of(service)
    await driver.start()
    service.current.mute = True
    await driver.close()

    assert service.current.closed
    assert service.current.aborted


@in_virtual_time
async def test_force_reconnect_moves_now(service):
    driver = driver_of(service)
    await driver.start()
    await ask(driver, "one")
    driver.force_reconnect()
    driver.force_reconnect()

    assert await ask(driver, "two") == "answer to two"
    assert len(service.connections) == 2
    await driver.close()


# --- errors ----------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_refused_first_connection_is_told_at_once(service):
    service.completes_setup = False
    driver = driver_of(service)
    start = asyncio.create_task(driver.start())
    await until(lambda: service.connections and service.current.sent)
    service.current.close_with(1007, "Invalid JSON payload received.")

    with pytest.raises(ConnectRefused) as caught:
        await start
    assert caught.value.__cause__ is service.current.over
    assert len(service.connections) == 1


@in_virtual_time
async def test_a_transient_first_failure_is_retried(service):
    service.dials = [ConnectionRefusedError(111, "no"), TimeoutError("timed out during opening handshake")]
    driver = driver_of(service)
    await driver.start()

    assert await ask(driver, "one") == "answer to one"
    await driver.close()


@in_virtual_time
async def test_the_first_connection_has_a_deadline(service):
    service.dials = [ConnectionRefusedError(111, "no")] * 100
    driver = driver_of(service)
    with pytest.raises(ConnectFailed) as caught:
        await driver.start()

    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert caught.value.attempts < 10


@in_virtual_time
async def test_a_dial_that_hangs_is_given_up(service):
    hanging = asyncio.get_running_loop().create_future()
    service.dials = [hanging]
    driver = driver_of(service)
    await driver.start()

    assert hanging.cancelled()
    assert service.open_dials == 0
    await driver.close()


@in_virtual_time
async def test_an_error_of_the_dialers_own_ends_the_first_connect_unchanged(service):
    """A wrong argument is no failure of the network: it comes out as it is, at once."""
    error = KeyError("TOKEN")
    service.dials = [error]
    driver = driver_of(service)
    with pytest.raises(KeyError) as caught:
        await driver.start()

    assert caught.value is error
    assert service.connections == []


@in_virtual_time
async def test_later_the_dialers_own_error_is_logged_and_the_dial_tried_again(service, caplog):
    driver = driver_of(service)
    await driver.start()
    service.dials = [KeyError("TOKEN")]
    service.current.end()

    assert await ask(driver, "one") == "answer to one"
    assert "dialling failed" in caplog.text
    await driver.close()


@in_virtual_time
async def test_a_server_that_drops_for_ever_is_given_up_without_a_storm(service):
    driver = driver_of(service)
    await driver.start()
    service.dials = [ConnectionRefusedError(111, "no")] * 100_000
    service.current.end()
    await driver.send(question("one"))
    loop = asyncio.get_running_loop()
    before = loop.time()
    with pytest.raises(SessionLost) as caught:
        await driver.recv()

    assert loop.time() - before == pytest.approx(300, abs=1)
    assert caught.value.unsent_messages == 1
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    for use in (driver.recv, lambda: driver.send(question("two"))):
        with pytest.raises(SessionLost):
            await use()
    await driver.close()


@in_virtual_time
async def test_a_bug_in_here_leaves_nobody_hanging(service, monkeypatch, caplog):
    driver = driver_of(service)
    await driver.start()
    waiting = asyncio.create_task(driver.recv())
    monkeypatch.setattr(Engine, "feed", lambda *_: 1 / 0)
    service.current.push({"goAway": {}})

    with pytest.raises(SessionLost, match="internal error") as caught:
        await waiting
    assert caught.value.__cause__ is not None
    assert "an internal error" in caplog.text
    assert service.current.aborted
    monkeypatch.undo()
    await driver.close()
    ends = of(events.SessionEnded, [event async for event in driver.events])
    assert ["internal error" in event.error for event in ends] == [True], "whoever listens hears of the end, once"


@in_virtual_time
async def test_a_bug_that_a_frame_brings_out_stops_the_reading_of_those_behind_it(service, monkeypatch, caplog):
    driver = driver_of(service)
    await driver.start()
    fed = []
    monkeypatch.setattr(Engine, "feed", lambda _, happened, now: fed.append(happened) or 1 / 0)
    service.current.push(*({"usageMetadata": {"totalTokenCount": n}} for n in range(10)))
    with pytest.raises(SessionLost, match="internal error"):
        await driver.recv()

    assert len(fed) == 1
    assert caplog.text.count("an internal error") == 1
    await until(lambda: service.current.told)
    assert len(fed) == 1, "nor is its end told to an engine that is broken"
    monkeypatch.undo()
    await driver.close()


@in_virtual_time
async def test_a_bug_that_the_end_of_a_connection_brings_out_ends_the_session(service, monkeypatch, caplog):
    driver = driver_of(service)
    await driver.start()
    monkeypatch.setattr(Engine, "feed", lambda *_: 1 / 0)
    service.current.end()

    with pytest.raises(SessionLost, match="internal error"):
        await driver.recv()
    assert caplog.text.count("an internal error") == 1
    monkeypatch.undo()
    await driver.close()


@in_virtual_time
async def test_a_bug_at_the_beginning_of_a_connection_leaves_nothing(service, monkeypatch):
    driver = driver_of(service)
    start = asyncio.create_task(driver.start())
    await until(lambda: service.open_dials)
    monkeypatch.setattr(Engine, "feed", lambda *_: 1 / 0)

    with pytest.raises(SessionLost, match="internal error"):
        await start
    assert service.current.told
    monkeypatch.undo()
    await driver.close()


@in_virtual_time
async def test_what_a_connection_says_after_its_end_is_not_heard(service, monkeypatch):
    driver = driver_of(service)
    await driver.start()
    (link,) = driver._links
    service.current.end()
    await until(lambda: len(service.connections) == 2, every=1)
    fed = []
    monkeypatch.setattr(Engine, "feed", lambda _, happened, now: fed.append(happened) or [])
    link.frame_received(b'{"usageMetadata": {"totalTokenCount": 1}}')
    link.connection_lost(ConnectionResetError())
    monkeypatch.undo()

    assert fed == []
    assert await ask(driver, "one") == "answer to one"
    await driver.close()


# --- limits ----------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_full_buffer_makes_senders_wait_in_line(service):
    policy = Policy(control_messages=2, send_wait=1000.0)
    driver = driver_of(service, policy=policy)
    await driver.start()
    down = asyncio.get_running_loop().create_future()
    service.answers = False
    service.dials = [down]
    service.current.end()
    await asyncio.sleep(1)
    senders = []
    for number in range(6):
        senders.append(asyncio.create_task(driver.send(question(f"{number}"))))
        await asyncio.sleep(0)
    await driver.send(audio())
    await asyncio.sleep(1)
    assert [sender.done() for sender in senders] == [True, True, False, False, False, False]
    senders[3].cancel()
    down.set_result(None)
    for number in range(6):
        if number == 3:
            continue
        await until(lambda number=number: any(f'"{number}"' in json.dumps(frame) for frame in service.current.sent))
        service.answer(service.current, f"{number}")
        assert await answer_of(driver) == f"answer to {number}"
    await asyncio.wait(senders)
    said = [
        frame["clientContent"]["turns"][0]["parts"][0]["text"]
        for frame in service.current.sent
        if "clientContent" in frame
    ]
    assert said == ["0", "1", "2", "4", "5"]
    await driver.close()


class Line:
    """Senders that wait for room: a connection that takes a frame when it is told to, and a few in flight."""

    def __init__(self, service, **policy):
        self.service = service
        self.driver = driver_of(service, policy=Policy(**{"send_wait": 1000.0, **policy}))
        self.senders = {}
        self.waited = []
        """How many messages did, each time when one was sent."""
        self.on_taken = lambda: None
        """Called before it is known that there is room."""

    async def __aenter__(self):
        await self.driver.start()
        engine, feed = self.driver._engine, Engine.feed

        def fed(engine, happened, now):
            todo = feed(engine, happened, now)
            if isinstance(happened, inputs.Send):
                self.waited.append(engine._talk.outbox.waiting)
            return todo

        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(Engine, "feed", fed)
        self._patch.setattr(self.service, "on_frame", self._taken)
        self.service.current.jammed = True
        while engine._talk.outbox.waiting == 0:  # as many as there may be in flight
            await self.driver.send(note("before"))
        while engine.has_room(decode_client(note("before"))):
            await self.driver.send(note("before"))
        return self

    async def __aexit__(self, *error):
        self._patch.undo()
        self.take_one()
        await self.driver.close()
        await asyncio.gather(*self.senders.values(), return_exceptions=True)

    def _taken(self, transport, frame):
        transport.jammed = True
        self.on_taken()

    async def come(self, *texts):
        """Let senders get in line."""
        for text in texts:
            self.senders[text] = asyncio.create_task(self.driver.send(note(text)))
            await steps(3)

    def take_one(self):
        """Let the connection take a frame."""
        self.service.current.jammed = False
        self.service.current._wake.set()

    @property
    def waiting(self):
        return [text for text, sender in self.senders.items() if not sender.done()]


@in_virtual_time
async def test_a_place_in_the_buffer_is_given_to_one_of_those_that_wait(service):
    async with Line(service, control_messages=2) as line:
        await line.come("a", "b", "c", "d")
        while waiting := line.waiting:
            line.take_one()
            await asyncio.sleep(1)
            assert line.waiting == waiting[1:]
        assert max(line.waited) == 2


@in_virtual_time
async def test_a_sender_that_was_let_through_and_is_cancelled_gives_its_place_to_the_next(service):
    async with Line(service, control_messages=2) as line:
        await line.come("a", "b", "c")
        line.take_one()
        await until(line.driver._line.places[0][1].done, every=0)
        line.senders["a"].cancel()
        await steps(9)
        assert line.senders["a"].cancelled()
        assert line.waiting == ["c"]
        assert max(line.waited) == 2


@pytest.mark.parametrize("why", ["cancelled", "its time was up"])
@in_virtual_time
async def test_who_leaves_the_line_lets_the_next_one_through(service, why):
    """That needs less room: nothing else will happen that gives it any."""
    async with Line(service, control_bytes=1000, send_wait=50.0) as line:
        await line.come("a long one " * 20)
        line.take_one()
        await asyncio.sleep(20.0)
        await line.come("b")
        first, second = line.senders.values()
        assert len(line.waiting) == 2
        if why == "cancelled":
            first.cancel()
            await steps(9)
        else:
            await asyncio.sleep(40.0)
            with pytest.raises(BufferFull, match="control_bytes"):
                await first
        assert second.done()


@in_virtual_time
async def test_a_sender_that_is_cancelled_as_room_comes_is_passed_over(service):
    async with Line(service, control_messages=2) as line:
        await line.come("a", "b", "c")
        line.on_taken = line.senders["a"].cancel
        line.take_one()
        await steps(9)
        assert line.senders["a"].cancelled()
        assert line.waiting == ["c"]


@pytest.mark.parametrize("seed", range(40))
@in_virtual_time
async def test_senders_in_line_may_be_cancelled_at_any_moment(service, seed):
    """Those that are not get through in their order, one for each place."""
    draw = random.Random(seed)
    came = 0
    async with Line(service, control_messages=2) as line:
        for _ in range(60):
            match draw.choice(("come", "come", "take", "cancel")):
                case "come":
                    await line.come(f"{came}")
                    came += 1
                case "take":
                    line.take_one()
                case _ if line.waiting:
                    line.senders[draw.choice(line.waiting)].cancel()
            await steps(draw.randrange(5))
        while line.waiting or line.driver._engine._talk.outbox.waiting:
            line.take_one()
            await asyncio.sleep(1)
        assert max(line.waited) == 2
    sent = [frame["clientContent"]["turns"][0]["parts"][0]["text"] for frame in service.current.sent[1:]]
    assert [text for text in sent if text != "before"] == [
        text for text, sender in line.senders.items() if not sender.cancelled()
    ]
    assert any(sender.cancelled() for sender in line.senders.values())


@in_virtual_time
async def test_a_sender_that_waited_too_long_is_told(service):
    driver = driver_of(service, policy=Policy(control_messages=1, control_bytes=1000))
    await driver.start()
    service.dials = [asyncio.get_running_loop().create_future() for _ in range(9)]
    service.current.end()
    await asyncio.sleep(1)
    await driver.send(question("one"))
    with pytest.raises(BufferFull, match="control_messages"):
        await driver.send(question("two"))
    with pytest.raises(BufferFull, match="control_bytes"):
        await driver.send(question("x" * 1000))
    await driver.close()


@in_virtual_time
async def test_senders_that_wait_are_told_of_the_end(service):
    driver = driver_of(service, policy=Policy(control_messages=1))
    await driver.start()
    service.dials = [asyncio.get_running_loop().create_future()]
    service.current.end()
    await asyncio.sleep(0.1)
    await driver.send(question("one"))
    waiting = [asyncio.create_task(driver.send(question("two"))) for _ in range(3)]
    await asyncio.sleep(0.1)
    await driver.close()

    for sender in waiting:
        with pytest.raises(SessionClosed):
            await sender


@in_virtual_time
async def test_an_app_that_takes_nothing_stops_the_reading(service, caplog):
    seen = []
    driver = driver_of(service, policy=Policy(inbox_frames=10), on_event=seen.append)
    await driver.start()
    service.current.push(*({"usageMetadata": {"totalTokenCount": n}} for n in range(100)))
    await asyncio.sleep(1)
    assert len(service.current.kept) >= 89
    assert caplog.text.count("the socket is not read until it takes some") == len(of(events.SlowConsumer, seen)) == 1
    assert of(events.ReadingResumed, seen) == []

    taken = [await driver.recv() for _ in range(5)]
    assert [event.seconds for event in of(events.ReadingResumed, seen)] == [pytest.approx(1.0)]
    taken += [await driver.recv() for _ in range(95)]
    assert [message.usage_metadata.total_token_count for message in taken] == list(range(100))
    assert len(of(events.ReadingResumed, seen)) == len(of(events.SlowConsumer, seen)) < 30
    await driver.close()


@in_virtual_time
async def test_a_connection_that_is_not_read_can_be_dropped(service):
    driver = driver_of(service, policy=Policy(inbox_frames=10))
    await driver.start()
    service.current.push(*({"usageMetadata": {"totalTokenCount": n}} for n in range(100)))
    await asyncio.sleep(1)
    assert len(service.current.kept) >= 89
    driver._broke(RuntimeError("by the test"))
    await until(lambda: tasks() == {asyncio.current_task()})

    assert service.current.told
    assert driver._links == ()


@in_virtual_time
async def test_close_waits_for_the_end_of_a_connection_that_is_dropped(service):
    driver = driver_of(service)
    await driver.start()
    service.current.mute = True
    service.current.lingers = 3.0
    await driver.close()

    assert service.current.told


@in_virtual_time
async def test_where_all_tasks_are_cancelled_nobody_waits_for_ever_for_the_end_of_a_connection(service):
    driver = driver_of(service)
    await driver.start()
    service.current.lingers = 1e6
    close = asyncio.create_task(driver.close())
    await asyncio.sleep(100.0)
    assert not close.done()
    begun = asyncio.get_running_loop().time()
    for task in tasks() - {asyncio.current_task()}:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await close
    assert asyncio.get_running_loop().time() - begun <= Policy().close_wait


@pytest.mark.parametrize("mute", [False, True])
@in_virtual_time
async def test_close_does_not_wait_for_an_app_that_takes_nothing(service, mute):
    driver = driver_of(service, policy=Policy(inbox_frames=10))
    await driver.start()
    service.current.push(*({"usageMetadata": {"totalTokenCount": n}} for n in range(100)))
    await asyncio.sleep(1)
    assert len(service.current.kept) >= 89
    service.current.mute = mute
    await driver.close()

    assert service.current.closed
    assert service.current.aborted == mute
    assert service.current.told


# --- a frozen process ------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_wake_up_that_comes_late_is_told_before_anything_else(service):
    seen = []
    driver = driver_of(service, on_event=seen.append)
    await driver.start()
    asyncio.get_running_loop().clock += 3600.0
    await asyncio.sleep(0.1)

    (jump,) = of(events.ClockJumped, seen)
    assert 3500.0 < jump.seconds < 3600.0, "as much as is seen of it"
    assert len(service.current.pings) == 1
    assert await ask(driver, "one") == "answer to one"
    assert len(service.connections) == 1, "it answers, so nothing is to be done"
    await driver.close()


@in_virtual_time
async def test_a_suspended_machine_is_noticed_by_the_wall_clock(service, monkeypatch):
    wall = [1.75e9]
    monkeypatch.setattr("resumekit.drivers.clock.time.time", lambda: wall[0] + asyncio.get_running_loop().time())
    seen = []
    driver = driver_of(service, on_event=seen.append)
    await driver.start()
    wall[0] += 4.0
    await driver.send(audio())
    assert of(events.ClockJumped, seen) == [], "a little drift is nothing"
    wall[0] += 3600.0
    service.current.mute = True
    await driver.send(audio())
    await until(lambda: len(service.connections) == 2, every=1)

    assert [event.seconds for event in of(events.ClockJumped, seen)] == [3600.0]
    assert service.connections[0].aborted
    assert await ask(driver, "one") == "answer to one"
    await driver.close()


@in_virtual_time
async def test_a_wall_clock_that_is_set_makes_an_outage_no_longer(service, monkeypatch):
    loop = asyncio.get_running_loop()
    wall = [1.75e9]
    monkeypatch.setattr("resumekit.drivers.clock.time.time", lambda: wall[0] + loop.time())
    driver = driver_of(service, policy=Policy(max_outage=100.0))
    await driver.start()
    service.dials = [ConnectionRefusedError(111, "no")] * 1000
    service.current.close_with(1011, "Internal error encountered.")
    begun = loop.time()
    await asyncio.sleep(10)
    wall[0] += 3 * 3600.0
    with pytest.raises(SessionLost):
        await ask(driver, "one")
    assert loop.time() - begun < 130.0
    await driver.close()


@in_virtual_time
async def test_a_pong_that_waited_in_the_socket_while_the_process_was_frozen_keeps_the_connection(service):
    driver = driver_of(service)
    await driver.start()
    service.current.mute = True
    await until(lambda: service.current.pings, every=1)
    asyncio.get_running_loop().clock += 600.0  # longer than any patience
    service.current.mute = False
    service.current.pings[0].set_result(0.0)
    await asyncio.sleep(60)

    assert len(service.connections) == 1
    await driver.close()


# --- events, history -------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_the_start_is_told_where_the_application_opens_the_session(service):
    """In its context, so that a listener can join what happens to what the application was doing."""
    context = ContextVar("context", default="")
    told = []
    driver = driver_of(service, on_event=lambda event: told.append((type(event), context.get())), model="models/m")
    context.set("the application's")
    await driver.start()
    await driver.close()

    assert told[0] == (events.SessionStarted, "the application's")
    assert (await anext(driver.events)).model == "models/m"


@in_virtual_time
async def test_the_end_tells_what_ended_a_session_that_never_began(service):
    service.dials = [KeyError("https://host/?key=CANARY-key-0123456789")]
    driver = driver_of(service)
    with pytest.raises(KeyError):
        await driver.start()

    (ended,) = of(events.SessionEnded, [event async for event in driver.events])
    assert ended.error.startswith("KeyError: ")
    assert "CANARY" not in ended.error


@in_virtual_time
async def test_events_reach_the_callback_every_iterator_and_the_log(service, caplog):
    caplog.set_level(logging.DEBUG, "resumekit")
    seen = []
    driver = driver_of(service, on_event=seen.append)
    await driver.start()
    await ask(driver, "one")
    service.current.end()
    await ask(driver, "two")
    await driver.close()

    assert [event async for event in driver.events] == seen == [event async for event in driver.events]
    assert [type(event) for event in seen[:2]] == [events.SessionStarted, events.Connected]
    assert isinstance(seen[-1], events.SessionEnded)
    levels = {record.levelname for record in caplog.records if record.message.endswith(": connected")}
    assert levels == {"INFO"}
    assert "handle-1" not in caplog.text


@in_virtual_time
async def test_an_event_says_when_it_happened_and_to_which_session(service, monkeypatch):
    monkeypatch.setattr("resumekit.drivers.publisher.time.time", lambda: 1.75e9)
    seen = []
    first, second = (driver_of(service, on_event=seen.append) for _ in range(2))
    await first.start()
    await second.start()
    assert [event.at for event in of(events.Connected, seen)] == [1.75e9] * 2
    assert len({event.session for event in of(events.Connected, seen)}) == 2
    await first.close()
    await second.close()


@pytest.mark.parametrize("error", [ValueError("mine"), asyncio.CancelledError("of a future that was asked")])
@in_virtual_time
async def test_a_listener_that_raises_is_reported_once(service, caplog, error):
    def listener(event):
        raise error

    driver = driver_of(service, on_event=listener)
    await driver.start()
    assert await ask(driver, "one") == "answer to one"
    service.current.end()
    async with asyncio.timeout(60):
        assert await ask(driver, "two") == "answer to two"
    await driver.close()

    assert caplog.text.count("on_event raised") == 1


@in_virtual_time
async def test_a_listener_may_act_on_the_session(service):
    def listener(event):
        if isinstance(event, events.HandleReceived) and len(service.connections) == 1:
            driver.force_reconnect()

    driver = driver_of(service, on_event=listener)
    await driver.start()
    await ask(driver, "one")
    assert await ask(driver, "two") == "answer to two"
    assert len(service.connections) == 2
    await driver.close()


@in_virtual_time
async def test_what_a_listener_has_done_when_a_plugin_fails_at_an_event_that_is_not_the_engines(service):
    """Nothing is being fed then: what the engine puts out is seen to all the same."""

    def plugin(event):
        if isinstance(event, events.StoreFailed):
            driver.report(events.HookFailed(hook="on_event", plugin="p", problem="raised", detail=""))

    def listener(event):
        if isinstance(event, events.HookFailed):
            driver.force_reconnect()

    driver = driver_of(service, on_event=listener, tell_plugins=plugin)
    await driver.start()
    service.answers = False
    await driver.send(question("one"))
    service.current.push({"serverContent": {"modelTurn": {"parts": [{"text": "half"}]}}})
    assert text_of(await driver.recv()) == "half"
    service.current.mute = True
    cut = asyncio.create_task(driver.recv())
    await asyncio.sleep(1)
    driver.publish(events.StoreFailed(operation="save", problem=""))
    await asyncio.sleep(3)
    assert len(service.connections) == 2
    assert cut.done()
    assert cut.result().server_content.interrupted
    await driver.close()


@in_virtual_time
async def test_audio_that_a_listener_sends_goes_behind_what_is_still_to_be_written(service):
    """As a task does that is eager, and begins at once."""
    service.takes_at_once, service.answers = True, False

    def listener(event):
        if isinstance(event, events.HandleReceived):
            eager.append(driver.send(audio(16)))
            with contextlib.suppress(StopIteration):
                eager[0].send(None)

    eager = []
    driver = driver_of(service, on_event=listener)
    await driver.start()
    await driver.send(question("one"))
    service.current.end()
    await asyncio.sleep(5)
    await driver.send(audio(8))  # waits for the answer to the question that was sent again
    service.current.push(
        {"serverContent": {"modelTurn": {"parts": [{"text": "hi"}]}}},
        {"serverContent": {"turnComplete": True}, "sessionResumptionUpdate": {"newHandle": "h", "resumable": True}},
    )
    await asyncio.sleep(1)
    with contextlib.suppress(StopIteration, RuntimeError):
        eager[0].send(None)

    sent = [frame["realtimeInput"]["audio"]["data"] for frame in service.current.sent if "realtimeInput" in frame]
    assert [len(data) for data in sent] == [8, 16]
    await driver.close()


async def no_history():
    raise ConnectionError("the database is down")


async def endless_history():
    await asyncio.sleep(10_000)


async def some_history():
    await asyncio.sleep(1)
    return [HistoryTurn("user", "hello"), HistoryTurn("model", "hi")]


@pytest.mark.parametrize(("load", "replayed"), [(some_history, 2), (no_history, 0), (endless_history, 0)])
@in_virtual_time
async def test_history_is_loaded_for_a_fresh_start(service, load, replayed, caplog):
    seen = []
    driver = driver_of(service, load_history=load, on_event=seen.append)
    await driver.start()

    assert of(events.Connected, seen)[0].replayed_turns == replayed
    assert ("could not be loaded" in caplog.text) == (not replayed)
    await driver.close()


async def history_of_a_cancelled_task():
    raise asyncio.CancelledError


@in_virtual_time
async def test_a_cancelled_task_that_an_application_awaits_for_its_history_is_a_failure_of_it(service):
    seen = []
    driver = driver_of(service, load_history=history_of_a_cancelled_task, on_event=seen.append)
    await driver.start()
    assert [event.problem for event in of(events.HistoryNotLoaded, seen)] == ["CancelledError"]
    assert await ask(driver, "one") == "answer to one"
    await driver.close()


@in_virtual_time
async def test_a_cancelled_task_that_a_dial_awaits_is_a_failure_of_the_dial(service):
    driver = driver_of(service)
    await driver.start()
    service.dials = [asyncio.CancelledError()]
    service.current.end()
    assert await ask(driver, "one") == "answer to one"
    assert len(service.connections) == 2
    await driver.close()


@pytest.mark.parametrize("count", range(3))
@in_virtual_time
async def test_a_dial_that_is_cancelled_from_outside_ends_the_session(service, count):
    service.dials = [asyncio.get_running_loop().create_future()]
    driver = driver_of(service)
    start = asyncio.create_task(driver.start())
    await asyncio.sleep(0)  # the dial has not begun
    await steps(count)
    driver._links[0].dial.cancel()
    with pytest.raises(SessionLost, match="a task of the session was cancelled from outside"):
        await start
    assert driver._links == ()
    await driver.close()


@in_virtual_time
async def test_close_does_not_wait_for_history(service):
    driver = driver_of(service, load_history=endless_history)
    start = asyncio.create_task(driver.start())
    await asyncio.sleep(1)
    await driver.close()

    with pytest.raises(SessionClosed):
        await start


@in_virtual_time
async def test_unreadable_frames_are_events_and_harm_nothing(service):
    seen = []
    driver = driver_of(service, on_event=seen.append)
    await driver.start()
    service.current.push(b"\xff\x00", b"", b"[1]", b'{"serverContent": ')

    assert await ask(driver, "one") == "answer to one"
    assert len(of(events.FrameDiscarded, seen)) == 4
    await driver.close()


@in_virtual_time
async def test_a_frame_that_the_library_cannot_read_is_told_with_its_connection(service):
    seen = []
    driver = driver_of(service, on_event=seen.append, readable=lambda message: b"news" not in message.raw)
    await driver.start()
    service.current.push(b'{"news": {}}')

    assert (await driver.recv()).raw == b'{"news": {}}'
    assert await ask(driver, "one") == "answer to one"
    assert [(event.connection, event.size) for event in of(events.FrameDiscarded, seen)] == [(1, 12)]
    await driver.close()


# --- cancellation ----------------------------------------------------------------------------------------------------


async def steps(count):
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("count", range(30))
@in_virtual_time
async def test_start_can_be_cancelled_anywhere(service, count):
    driver = driver_of(service)
    start = asyncio.create_task(driver.start())
    await steps(count)
    if service.open_dials:
        await asyncio.sleep(0.01)
    await steps(count)
    start.cancel()
    await asyncio.wait({start})

    assert service.open_dials == 0
    assert all(connection.over for connection in service.connections) or not start.cancelled()
    await driver.close()


@in_virtual_time
async def test_close_before_the_dial_has_begun(service):
    driver = driver_of(service)
    start = asyncio.create_task(driver.start())
    await asyncio.sleep(0)
    await driver.close()

    with pytest.raises(SessionClosed):
        await start
    assert service.connections == []


@pytest.mark.parametrize("mute", [False, True])
@pytest.mark.parametrize("count", range(1, 12))
@in_virtual_time
async def test_close_can_be_cancelled_anywhere(service, count, mute):
    driver = driver_of(service)
    await driver.start()
    service.current.mute = mute
    close = asyncio.create_task(driver.close())
    await steps(count)
    close.cancel()
    await asyncio.wait({close})

    assert service.current.over is not None
    with pytest.raises(SessionClosed):
        await driver.recv()


@in_virtual_time
async def test_a_cancelled_recv_loses_nothing(service):
    driver = driver_of(service)
    await driver.start()
    taken = []
    for number in range(300):
        receiver = asyncio.create_task(driver.recv())
        await steps(number % 4)
        service.current.push({"usageMetadata": {"totalTokenCount": number}})
        await steps(number % 7)
        receiver.cancel()
        await asyncio.wait({receiver})
        if not receiver.cancelled():
            taken.append(receiver.result())
    while len(taken) < 300:
        taken.append(await driver.recv())

    assert [message.usage_metadata.total_token_count for message in taken] == list(range(300))
    await driver.close()


@in_virtual_time
async def test_several_receivers_share_the_frames(service):
    driver = driver_of(service)
    await driver.start()
    receivers = [asyncio.create_task(driver.recv()) for _ in range(5)]
    await steps(2)
    service.current.push(*({"usageMetadata": {"totalTokenCount": n}} for n in range(4)))
    await asyncio.sleep(1)

    assert sum(receiver.done() for receiver in receivers) == 4
    await driver.close()
    await asyncio.wait(receivers)


@in_virtual_time
async def test_a_cancelled_send_sent_nothing(service):
    service.answers = False
    driver = driver_of(service)
    await driver.start()
    sent = []
    for number in range(40):
        sender = asyncio.create_task(driver.send(audio(4 * number)))
        await steps(number % 4)
        sender.cancel()
        await asyncio.wait({sender})
        if not sender.cancelled():
            sent.append(4 * number)
    await asyncio.sleep(1)

    assert 0 < len(sent) < 40
    assert [len(frame["realtimeInput"]["audio"]["data"]) for frame in service.current.sent[1:]] == sent
    await driver.close()


@in_virtual_time
async def test_a_loop_that_only_sends_lets_the_writer_run(service):
    """A file pushed through is no live audio that has piled up: nothing of it is dropped."""
    seen = []
    driver = driver_of(service, on_event=seen.append)
    await driver.start()
    for _ in range(500):
        await driver.send(audio(8 * 16_000 // 3))
    await driver.close()

    assert len(service.current.sent) == 1 + 500
    assert of(events.AudioDropped, seen) == []


@in_virtual_time
async def test_a_loop_that_only_sends_lets_others_run(service):
    """No transport is behind here: websockets alone would never give the loop a turn."""
    service.answers, service.takes_at_once = False, True
    driver = driver_of(service)
    await driver.start()
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    for _ in range(100):
        await driver.send(audio())
    counting.cancel()

    assert turns >= 100 // 9
    await driver.close()


@pytest.mark.parametrize("express", [True, False])
@in_virtual_time
async def test_audio_goes_out_in_order_whether_the_transport_takes_it_at_once_or_not(service, express, monkeypatch):
    streamed = []
    monkeypatch.setattr(Engine, "streamed", spied(Engine.streamed, streamed))
    service.answers = False
    driver = driver_of(service, express=express)
    await driver.start()
    frames = [audio(4 * number) if number % 10 else question(str(number)) for number in range(60)]
    for number, frame in enumerate(frames):
        service.takes_at_once = not 20 <= number < 40
        await driver.send(frame)
    await until(lambda: len(service.current.sent) == 1 + 60)

    assert service.current.sent[1:] == [json.loads(frame) for frame in frames]
    assert driver.stats.messages_sent == 60
    assert len(streamed) >= 18 if express else not streamed
    assert len(streamed) <= 36
    await driver.close()


def spied(method, calls):
    def spy(self, *arguments):
        calls.append(arguments)
        return method(self, *arguments)

    return spy


@in_virtual_time
async def test_a_session_that_waits_has_no_task(service):
    driver = driver_of(service)
    await driver.start()
    await ask(driver, "one")
    await until(lambda: tasks() == {asyncio.current_task()})
    await driver.close()


@in_virtual_time
async def test_an_abandoned_generator_can_be_closed_from_another_task(service):
    """An app that leaves by `break` has its cleanup run by the loop, in another task, a moment later."""

    async def conversation():
        driver = driver_of(service)
        await driver.start()
        try:
            while True:
                yield await ask(driver, "again")
        finally:
            await driver.close()

    async for answer in conversation():
        assert answer == "answer to again"
        break
    gc.collect()
    await until(lambda: service.current.closed)
    await until(lambda: len(tasks()) == 1)


async def test_a_listener_that_is_a_coroutine_after_all_is_reported_once(service, caplog):
    async def listen(event):
        raise AssertionError(event)

    driver = driver_of(service, on_event=functools.partial(listen))
    await driver.start()
    await driver.close()

    assert caplog.text.count("on_event raised") == 1
    assert "never awaited" in caplog.text


@in_virtual_time
async def test_a_dial_that_cannot_be_cancelled_leaves_no_connection_that_nobody_reads(service, monkeypatch):
    driver = driver_of(service, policy=Policy(connect_timeout=2.0))
    await driver.start()
    gate = asyncio.get_running_loop().create_future()

    async def stubborn():
        monkeypatch.undo()
        while not gate.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(gate)
        return await service.dial()

    monkeypatch.setattr(driver, "_dial", stubborn)
    service.current.end()
    assert await ask(driver, "one") == "answer to one"
    gate.set_result(None)
    await until(lambda: len(service.connections) == 3)
    await asyncio.sleep(0.01)

    assert [connection.aborted for connection in service.connections] == [False, False, True]
    await driver.close()
