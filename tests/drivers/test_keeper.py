"""The handle in its store: coalesced, never waited for, flushed at the end, silent about itself, and one session's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from msgspec.structs import replace

from resumekit.core import events
from resumekit.core.handles import HandleRecord, PendingMessage
from resumekit.core.policy import Policy
from resumekit.defaults import MemoryStore, memory
from resumekit.drivers.keeper import Keeper
from resumekit.errors import ConfigurationError, ConnectFailed, KeyInUse, SessionClosed, SessionLost
from resumekit.stores import SEALED, Entry, StoredHandle
from resumekit.wire import ResumptionHandle, setup_fingerprint, setup_model
from tests.drivers.fakes import SETUP, FakeService, answer_of, audio, driver_of, in_virtual_time, question, until

HOUR = 3600.0
CANARY = "CANARY-HANDLE"
METHODS = ("claim", "renew", "save", "release", "close")


@pytest.fixture
def service():
    return FakeService()


class Store(MemoryStore):
    """On the loop's clock; notes what it is asked, and does as it is told."""

    def __init__(self):
        super().__init__(lambda: asyncio.get_running_loop().time())
        self.asked = []
        self.hangs = set()
        self.loses = set()
        """What is done, and never answered."""
        self.raises = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.quotes = False

    def __getattribute__(self, name):
        method = super().__getattribute__(name)
        if name not in METHODS:
            return method

        async def asked(*arguments, **options):
            await self.gate.wait()
            self.asked.append((name, *arguments[1:]))
            if name in self.hangs:
                await asyncio.Event().wait()
            if name in self.raises:
                raise self.raises[name]
            if name in self.loses:
                await method(*arguments, **options)
                await asyncio.Event().wait()
            if self.quotes and name == "save":
                raise ValueError(f"INSERT INTO t VALUES ({arguments[2].data!r})")
            return await method(*arguments, **options)

        return asked

    @property
    def names(self):
        return [name for name, *_ in self.asked if name not in ("claim", "renew", "release")]

    @property
    def kept(self):
        """The record of the key, as it is in the store."""
        row = self._rows.get("k")
        return (
            None if row is None or row.entry is None or not row.entry.data else StoredHandle.from_json(row.entry.data)
        )

    def put(self, record):
        """Have a record there from another session, which has left."""
        data = record if isinstance(record, bytes) else record.to_json()
        row = self._touch("k", memory._Row(self._fence, "", 0.0))
        row.entry = Entry(data=data, sequence=1, expires_at=datetime.now(UTC) + timedelta(hours=1))

    def steal(self):
        """Let another session have the conversation."""
        self._fence += 1
        row = self._rows["k"]
        row.fence, row.owner, row.until = self._fence, "another", self._clock() + 60.0


def stored(**fields):
    now = datetime.now(UTC)
    record = StoredHandle(
        handle=ResumptionHandle(CANARY),
        index=7,
        connection=2,
        issued_at=now,
        expires_at=now + timedelta(hours=2),
        model=setup_model(SETUP),
        transparent=False,
        fingerprint=setup_fingerprint(SETUP),
    )
    return replace(record, **fields)


def record(text=CANARY, *, received_at=0.0):
    return HandleRecord(
        handle=ResumptionHandle(text),
        index=None,
        connection=1,
        received_at=received_at,
        model=setup_model(SETUP),
        transparent=False,
        fingerprint=setup_fingerprint(SETUP),
    )


class Published(list):
    def of(self, kind):
        return [event for event in self if isinstance(event, kind)]


def keeper_of(store, *, policy=None, published=None, closes_store=True, transparent=False, pending=()):
    return Keeper(
        store,
        "k",
        policy=msgspec.structs.replace(policy or Policy(), lease=15.0),
        model=setup_model(SETUP),
        fingerprint=setup_fingerprint(SETUP),
        transparent=transparent,
        publish=(published if published is not None else []).append,
        pending=pending if callable(pending) else lambda: (pending, 0),
        closes_store=closes_store,
    )


# ---------------------------------------------------------------------- what is kept


async def written(keeper):
    """Finish, and wait for all that is noted."""
    keeper.finish()
    await keeper.run()


@in_virtual_time
async def test_a_record_is_loaded_with_its_age():
    store, published = Store(), Published()
    store.put(stored(issued_at=datetime.now(UTC) - timedelta(seconds=90), detached=True))

    kept = await keeper_of(store, published=published).load()

    assert kept.handle.reveal() == CANARY
    assert kept.age == pytest.approx(90, abs=5)
    (continued,) = published.of(events.Continued)
    assert (continued.digest, continued.detached, continued.resent_messages) == (stored().digest, True, 0)
    assert continued.age == pytest.approx(90, abs=5)


@in_virtual_time
async def test_what_was_not_answered_comes_with_it():
    store, published = Store(), Published()
    messages = (PendingMessage('{"clientContent":{"turns":[]}}', sent=True),)
    store.put(stored(pending=messages, left_out=3))

    kept = await keeper_of(store, published=published).load()

    assert tuple(kept.pending) == messages
    (continued,) = published
    assert (continued.resent_messages, continued.left_out, continued.detached) == (1, 3, False)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"model": "models/other"}, "it was stored for another model"),
        ({"fingerprint": "other"}, "it was stored for another config"),
        ({"transparent": True}, "it was stored for another backend"),
        ({"expires_at": datetime.now(UTC) - timedelta(seconds=1)}, "expired"),
        ({"poisoned": True}, "poisoned"),
    ],
)
@in_virtual_time
async def test_a_record_that_does_not_fit_is_not_used_and_reported(fields, reason):
    """A handle serves the model, config and backend that it was issued for, for as long as the service keeps it."""
    store, published = Store(), Published()
    store.put(stored(**fields))

    assert await keeper_of(store, published=published).load() is None
    (refused,) = published
    assert isinstance(refused, events.HandleRefused)
    assert (refused.reason, refused.digest) == (reason, stored().digest)
    assert refused.poisoned is (reason == "poisoned")


@in_virtual_time
async def test_nothing_kept_is_nothing_to_report():
    published = Published()

    assert await keeper_of(Store(), published=published).load() is None
    assert published == []


@pytest.mark.parametrize("what", ["no JSON", "no record", "no frame", "naive time"])
@in_virtual_time
async def test_a_record_that_cannot_be_read_costs_nothing_but_itself(what):
    store, published = Store(), Published()
    damaged = {
        "no JSON": b"\x00CANARY",
        "no record": b'{"handle": "CANARY-HANDLE"}',
        "no frame": stored(pending=(PendingMessage("CANARY"),)).to_json(),
        "naive time": stored(issued_at=datetime(2026, 1, 1)).to_json(),  # noqa: DTZ001 -- the point of it
    }
    store.put(damaged[what])
    keeper = keeper_of(store, published=published)

    assert await keeper.load() is None
    (failed,) = published
    assert failed.operation == "claim"
    assert "the record cannot be read" in failed.problem
    assert "CANARY" not in repr(failed)
    keeper.save(record("new"), 0.0)
    await written(keeper)
    assert store.kept.handle.reveal() == "new"


@in_virtual_time
async def test_a_record_that_is_encrypted_is_not_overwritten():
    store = Store()
    store.put(SEALED + b"whatever")
    keeper = keeper_of(store)

    with pytest.raises(ConfigurationError, match=r"open the store with resumekit\.encryption\.EncryptedStore"):
        await keeper.load()
    await written(keeper)
    assert store._rows["k"].entry.data == SEALED + b"whatever"
    assert store._rows["k"].until == 0, "and the conversation is free for who has the key"


@pytest.mark.parametrize("what", ["hangs", "raises", "no coroutine"])
@in_virtual_time
async def test_a_store_that_fails_at_the_start_is_reported(what):
    store, published = Store(), Published()
    match what:
        case "hangs":
            store.hangs.add("claim")
        case "raises":
            store.raises["claim"] = OSError("gone")
        case _:
            store.__class__ = type("Sync", (Store,), {"__getattribute__": lambda *_: lambda *_, **__: None})
    started = asyncio.get_running_loop().time()

    assert await keeper_of(store, published=published).load() is None
    (failed,) = published.of(events.StoreFailed)
    assert failed.operation == "claim"
    expected = {"hangs": "no answer within 3.75 s", "raises": "OSError: gone"}
    assert expected.get(what, "TypeError") in failed.problem
    assert asyncio.get_running_loop().time() - started == pytest.approx(3.75 if what == "hangs" else 0.0)


@in_virtual_time
async def test_a_store_that_cannot_be_used_at_all_is_an_error_at_the_start_only():
    store, published = Store(), Published()
    store.raises["claim"] = ConfigurationError("read-only")
    keeper = keeper_of(store, published=published)

    with pytest.raises(ConfigurationError, match="read-only"):
        await keeper.load()
    del store.raises["claim"]
    await keeper.load()
    store.raises["renew"] = ConfigurationError("read-only")
    running = asyncio.create_task(keeper.run())
    await asyncio.sleep(6.0)
    keeper.finish()
    await running

    assert keeper.lost is None
    assert [failed.operation for failed in published.of(events.StoreFailed)] == ["renew"]


@in_virtual_time
async def test_of_several_saves_that_wait_the_newest_is_done():
    store = Store()
    keeper = keeper_of(store)
    await keeper.load()
    running = asyncio.create_task(keeper.run())
    await asyncio.sleep(0.01)
    store.gate.clear()
    for number in range(5):
        keeper.save(record(f"h{number}"), 0.0)
        await asyncio.sleep(0.01)
    store.gate.set()
    await asyncio.sleep(0.01)

    saved = [StoredHandle.from_json(entry.data).handle.reveal() for name, *_, entry in store.asked if name == "save"]
    assert saved == ["h0", "h4"]
    keeper.finish()
    await running


@in_virtual_time
async def test_messages_are_written_as_they_are_when_it_is_their_turn():
    store, pending = Store(), []
    keeper = keeper_of(store, pending=pending)
    await keeper.load()
    running = asyncio.create_task(keeper.run())
    keeper.touch()
    await asyncio.sleep(0.01)
    assert store.names == [], "without a handle there is nothing that they could follow"
    keeper.save(record(), 0.0)
    pending.append(PendingMessage("one"))
    await asyncio.sleep(0.01)
    assert [message.frame for message in store.kept.pending] == ["one"]
    pending.append(PendingMessage("two"))
    keeper.touch()
    pending.append(PendingMessage("three"))
    await asyncio.sleep(0.01)
    assert [message.frame for message in store.kept.pending] == ["one", "two", "three"]
    pending.clear()
    keeper.finish()
    await running
    assert store.kept.pending == ()
    assert store.kept.detached


@pytest.mark.parametrize(
    ("transparent", "policy", "validity"),
    [(False, Policy(), 2 * HOUR), (True, Policy(), 24 * HOUR), (True, Policy(handle_validity=60.0), 60.0)],
)
@in_virtual_time
async def test_a_record_expires_some_time_after_it_came_and_at_the_end_after_that(transparent, policy, validity):
    store = Store()
    keeper = keeper_of(store, policy=policy, transparent=transparent)
    await keeper.load()
    running = asyncio.create_task(keeper.run())
    keeper.save(record(received_at=100.0), 700.0)
    await asyncio.sleep(0.01)
    now = datetime.now(UTC)
    first = store.kept
    keeper.finish()
    await running
    last = store.kept

    assert first.expires_at.timestamp() == pytest.approx(now.timestamp() - 600 + validity, abs=5)
    assert not first.detached
    assert last.expires_at.timestamp() == pytest.approx(now.timestamp() + validity, abs=5)
    assert last.issued_at.timestamp() == pytest.approx(now.timestamp() - 600, abs=5)
    assert last.detached


@in_virtual_time
async def test_an_endless_validity_is_a_date_all_the_same():
    store = Store()
    keeper = keeper_of(store, policy=Policy(handle_validity=float("inf")))
    await keeper.load()
    keeper.save(record(), 0.0)
    await written(keeper)

    assert store.kept.expires_at > datetime.now(UTC) + timedelta(days=300)


@in_virtual_time
async def test_a_record_that_was_only_loaded_does_not_live_longer_for_it():
    store = Store()
    store.put(stored())
    before = store.kept.expires_at
    keeper = keeper_of(store)
    await keeper.load()
    await written(keeper)

    assert store.kept.expires_at == before
    assert store.kept.detached


@pytest.mark.parametrize("closes", [True, False])
@in_virtual_time
async def test_only_a_store_of_its_own_is_closed(closes):
    store = Store()
    keeper = keeper_of(store, closes_store=closes)
    await keeper.load()
    await written(keeper)

    assert store.names == ["close"] * closes


@pytest.mark.parametrize("between", [0.0, 0.01])
@pytest.mark.parametrize("saving", [True, False])
@in_virtual_time
async def test_a_poisoned_record_is_marked_and_not_written_again(between, saving):
    store = Store()
    keeper = keeper_of(store)
    await keeper.load()
    running = asyncio.create_task(keeper.run())
    await asyncio.sleep(0.01)
    if saving:
        store.gate.clear()
    keeper.save(record("bad"), 0.0)
    await asyncio.sleep(0.01)
    keeper.poison(record("bad"))
    await asyncio.sleep(between)
    keeper.touch()
    keeper.finish()
    store.gate.set()
    await running

    assert store.names == ["save", "save", "close"]
    assert store.kept.poisoned
    assert not store.kept.detached


@in_virtual_time
async def test_only_the_record_that_is_kept_can_be_poisoned():
    store = Store()
    keeper = keeper_of(store)
    await keeper.load()
    keeper.save(record("newer"), 0.0)
    keeper.poison(record("older"))
    await written(keeper)

    assert not store.kept.poisoned


@in_virtual_time
async def test_what_is_forgotten_is_not_written_again():
    store = Store()
    keeper = keeper_of(store)
    await keeper.load()
    keeper.save(record(), 0.0)
    keeper.forget()
    await written(keeper)

    assert store.names == ["save", "close"]
    assert store.kept is None


@in_virtual_time
async def test_a_store_that_quotes_what_it_is_given_is_not_quoted(caplog):
    """Neither the handle nor the words of a conversation."""
    caplog.set_level(logging.DEBUG)
    store, published = Store(), Published()
    store.quotes = True
    keeper = keeper_of(store, published=published, pending=[PendingMessage("MY OWN WORDS")])
    await keeper.load()
    keeper.save(record(), 0.0)
    await written(keeper)

    (failed,) = published
    assert failed.operation == "save"
    assert "INSERT INTO t" in failed.problem
    assert "INSERT INTO t" in caplog.text
    said = caplog.text + repr(published) + repr(keeper)
    assert record().handle.reveal() not in said
    assert "OWN WORDS" not in said


# ---------------------------------------------------------------------- whose it is


@in_virtual_time
async def test_it_is_renewed_all_the_time_and_freed_at_the_end():
    store = Store()
    keeper = keeper_of(store)
    await keeper.load()
    running = asyncio.create_task(keeper.run())
    for _ in range(20):
        await asyncio.sleep(5.0)
        assert store._rows["k"].until > store._clock()
        assert keeper.deadline > store._clock()
    keeper.finish()
    await running

    assert store._rows["k"].until == 0
    assert len([name for name, *_ in store.asked if name == "renew"]) == 20


@in_virtual_time
async def test_the_next_one_waits_until_the_first_leaves():
    store, published = Store(), Published()
    first, second = keeper_of(store), keeper_of(store, published=published)
    await first.load()
    first.save(record("first"), 0.0)
    running = asyncio.create_task(first.run())
    waiting = asyncio.create_task(second.load())
    await asyncio.sleep(8.0)
    assert not waiting.done()
    first.finish()
    await running
    begun = store._clock()
    kept = await waiting

    assert store._clock() - begun <= 1.01
    assert kept.handle.reveal() == "first"
    assert [type(event) for event in published] == [events.WaitingForKey, events.Continued]


@in_virtual_time
async def test_one_that_was_killed_is_waited_for_as_long_as_its_lease_goes():
    store = Store()
    await keeper_of(store).load()
    begun = store._clock()

    await keeper_of(store).load()

    assert store._clock() - begun == pytest.approx(15.0, abs=1.1)


@pytest.mark.parametrize(("how", "after"), [("raise", 0.0), ("wait", 30.0)])
@in_virtual_time
async def test_one_that_stays_is_an_error(how, after):
    store = Store()
    first = keeper_of(store)
    await first.load()
    running = asyncio.create_task(first.run())
    begun = store._clock()

    with pytest.raises(KeyInUse, match="another session has the conversation of this key"):
        await keeper_of(store, policy=Policy(key_in_use=how)).load()
    assert store._clock() - begun == pytest.approx(after, abs=1.1)
    assert first.lost is None
    first.finish()
    await running


@in_virtual_time
async def test_one_that_takes_over_waits_until_the_other_must_have_noticed():
    store, published = Store(), Published()
    first = keeper_of(store)
    await first.load()
    running = asyncio.create_task(first.run())
    await asyncio.sleep(1.0)
    begun = store._clock()
    second = keeper_of(store, policy=Policy(key_in_use="take_over"), published=published)
    taking = asyncio.create_task(second.load())
    await running

    assert store._clock() - begun <= 5.0, "it hears of it when it renews"
    assert isinstance(first.lost, SessionLost)
    await taking
    assert store._clock() >= first.deadline
    assert second.deadline > store._clock()
    assert [type(event) for event in published] == [events.WaitingForKey]


@in_virtual_time
async def test_one_that_is_taken_over_while_it_waits_for_the_other_gives_up():
    store = Store()
    await keeper_of(store).load()
    second = keeper_of(store, policy=Policy(key_in_use="take_over"))
    taking = asyncio.create_task(second.load())
    await asyncio.sleep(1.0)
    store.steal()

    with pytest.raises(KeyInUse):
        await taking


@in_virtual_time
async def test_one_that_slept_too_long_has_lost_it_if_another_came():
    store = Store()
    keeper = keeper_of(store)
    await keeper.load()
    keeper.save(record("mine"), 0.0)
    store.steal()
    await keeper.run()

    assert "another session took the conversation over" in str(keeper.lost)
    assert store.kept is None
    await asyncio.sleep(20.0)
    with pytest.raises(SessionLost):
        await keeper.hold()
    assert store.names == ["save", "close"]


@in_virtual_time
async def test_a_store_that_forgot_everything_is_told_again():
    """As a Redis without a file, after a restart."""
    store = Store()
    keeper = keeper_of(store)
    await keeper.load()
    running = asyncio.create_task(keeper.run())
    keeper.save(record("mine"), 0.0)
    await asyncio.sleep(1.0)
    store._rows.clear()
    await asyncio.sleep(5.0)

    assert store.kept.handle.reveal() == "mine"
    assert keeper.lost is None
    keeper.finish()
    await running


@in_virtual_time
async def test_a_store_that_always_refuses_to_write_is_not_stormed():
    store = Store()
    keeper = keeper_of(store)
    await keeper.load()

    async def refuse(*arguments):
        store.asked.append(("save",))
        return False

    store.__dict__["save"] = refuse
    store.__class__ = type("Refusing", (Store,), {"save": staticmethod(refuse)})
    running = asyncio.create_task(keeper.run())
    keeper.save(record("mine"), 0.0)
    await asyncio.sleep(10.0)

    assert len(store.asked) < 60
    keeper.finish()
    await running


@pytest.mark.parametrize("outage", [20.0, 60.0])
@in_virtual_time
async def test_a_store_that_goes_away_is_told_of_once_and_gets_the_newest_when_it_is_back(outage):
    store, published = Store(), Published()
    keeper = keeper_of(store, published=published)
    await keeper.load()
    running = asyncio.create_task(keeper.run())
    store.raises = dict.fromkeys(METHODS, OSError("gone"))
    begun = store._clock()
    for number in range(int(outage)):
        keeper.save(record(f"h{number}"), 0.0)
        await asyncio.sleep(1.0)
        assert keeper.deadline > store._clock()
    store.raises = {}
    await asyncio.sleep(6.0)

    assert [type(event) for event in published] == [events.StoreFailed, events.StoreRecovered]
    assert published[1].seconds == pytest.approx(outage, abs=6.0)
    assert store.kept.handle.reveal() == f"h{int(outage) - 1}"
    assert store._clock() - begun == pytest.approx(outage + 6.0)
    keeper.finish()
    await running


@in_virtual_time
async def test_where_the_policy_says_so_nothing_is_written_without_the_store():
    store, published = Store(), Published()
    policy = Policy(lease_outage="stop")
    keeper = keeper_of(store, published=published, policy=policy)
    await keeper.load()
    deadline = keeper.deadline
    running = asyncio.create_task(keeper.run())
    store.raises = dict.fromkeys(METHODS, OSError("gone"))
    await asyncio.sleep(20.0)
    assert keeper.deadline == deadline
    holding = asyncio.create_task(keeper.hold())
    await asyncio.sleep(20.0)
    assert not holding.done()
    store.raises = {}
    await holding
    assert keeper.deadline > store._clock()
    keeper.finish()
    await running
    store.raises = dict.fromkeys(METHODS, OSError("gone"))
    with pytest.raises(ConnectFailed, match="the handle store does not answer"):
        await keeper_of(store, policy=policy).load()


@in_virtual_time
async def test_one_that_started_without_the_store_claims_later():
    store, published = Store(), Published()
    store.raises["claim"] = OSError("gone")
    keeper = keeper_of(store, published=published)
    assert await keeper.load() is None
    running = asyncio.create_task(keeper.run())
    keeper.save(record("mine"), 0.0)
    await asyncio.sleep(7.0)
    del store.raises["claim"]
    await asyncio.sleep(5.0)

    assert store.kept.handle.reveal() == "mine"
    keeper.finish()
    await running
    assert [type(event) for event in published] == [events.StoreFailed, events.StoreRecovered]


# ---------------------------------------------------------------------- with a session


def session_of(service, store, **arguments):
    return driver_of(
        service,
        keeper=lambda publish, pending: keeper_of(
            store, policy=arguments.get("policy"), published=_Calls(publish), pending=pending
        ),
        **arguments,
    )


class _Calls:
    def __init__(self, publish):
        self.append = publish


def handles(service):
    setups = [connection.sent[0]["setup"] for connection in service.connections]
    return [setup["sessionResumption"].get("handle") for setup in setups]


async def ask(driver, text):
    await driver.send(question(text))
    return await answer_of(driver)


@in_virtual_time
async def test_the_next_session_goes_on_where_the_last_one_left(service):
    store = Store()
    first = session_of(service, store)
    await first.start()
    await ask(first, "one")
    await until(lambda: first.last_handle is not None)
    await first.close()
    second = session_of(service, store)
    await second.start()
    told = second.events
    happened = [await anext(told) for _ in range(3)]
    await second.close()

    assert handles(service) == [None, "handle-1"]
    assert [type(event) for event in happened] == [events.SessionStarted, events.Continued, events.Connected]
    assert happened[1].detached is True
    assert happened[2].resumed is True


@in_virtual_time
async def test_a_session_whose_conversation_another_took_ends_with_that(service):
    """Its last event says so, though it is not the engine that ends it."""
    store = Store()
    driver = session_of(service, store)
    await driver.start()
    store.steal()
    with pytest.raises(SessionLost, match="another session took the conversation over"):
        await driver.recv()
    await driver.close()

    *_, ended = [event async for event in driver.events]
    assert "another session took the conversation over" in ended.error


@pytest.mark.parametrize("late", [0.6, 5.0])
@in_virtual_time
async def test_the_handle_of_the_last_turn_is_waited_for_a_moment(service, late):
    """The Developer API sends it up to a second after the turn; a session that is left at once would lose the turn."""
    service.handles_late = late
    store = Store()
    driver = session_of(service, store)
    await driver.start()
    await ask(driver, "one")
    begun = asyncio.get_running_loop().time()
    await driver.close()
    took = asyncio.get_running_loop().time() - begun

    assert (store.kept is not None) is (late < 2.0)
    assert took == pytest.approx(min(late, 2.0), abs=0.2)


@pytest.mark.parametrize("end", ["without a store", "end", "cut"])
@in_virtual_time
async def test_there_is_no_wait_where_no_handle_is_to_come(service, end):
    service.handles_late = 1.0
    driver = driver_of(service) if end == "without a store" else session_of(service, Store())
    await driver.start()
    await ask(driver, "one")
    begun = asyncio.get_running_loop().time()
    if end == "cut":
        service.current.end()
        await asyncio.sleep(0.01)
    await driver.close(forget=end == "end")

    assert asyncio.get_running_loop().time() - begun < 0.5


@in_virtual_time
async def test_a_session_that_is_lost_meanwhile_ends_the_wait(service):
    service.handles_late = 60.0
    driver = session_of(service, Store(), policy=Policy(handle_wait=30.0))
    await driver.start()
    await ask(driver, "one")
    begun = asyncio.get_running_loop().time()
    closing = asyncio.create_task(driver.close())
    await asyncio.sleep(0.1)
    service.current.close_with(1008, "Your API key was reported as leaked.")
    await closing

    assert asyncio.get_running_loop().time() - begun < 1.0


@in_virtual_time
async def test_end_forgets(service):
    store = Store()
    driver = session_of(service, store)
    await driver.start()
    await ask(driver, "one")
    await until(lambda: "save" in store.names)
    await driver.close(forget=True)

    assert store.names[-2:] == ["save", "close"]
    assert store.kept is None


@in_virtual_time
async def test_a_handle_of_the_application_goes_before_the_one_that_is_kept(service):
    store = Store()
    store.put(stored())
    driver = session_of(service, store, handle=ResumptionHandle("mine"))
    await driver.start()
    await driver.close()

    assert handles(service) == ["mine"]


@in_virtual_time
async def test_a_refused_handle_is_forgotten_and_the_session_starts_fresh(service):
    store = Store()
    store.put(stored())
    service.completes_setup = False
    driver = session_of(service, store)
    starting = asyncio.create_task(driver.start())
    await until(lambda: service.connections and service.current.sent)
    service.completes_setup = True
    service.current.close_with(1007, "Invalid session handle.")
    await starting

    assert handles(service) == [CANARY, None]
    assert store.kept is None
    await driver.close()


@in_virtual_time
async def test_a_store_that_hangs_holds_nothing_up_but_the_start_and_the_end(service):
    store = Store()
    store.hangs |= {"claim", "save", "close"}
    driver = session_of(service, store)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await driver.start()
    assert loop.time() - begun == pytest.approx(3.75, abs=0.1)
    begun = loop.time()
    for number in range(3):
        assert await ask(driver, f"{number}") == f"answer to {number}"
    assert loop.time() - begun < 1.0
    begun = loop.time()
    await driver.close()
    assert loop.time() - begun == pytest.approx(10.0, abs=5.1), "the claim that hangs, and close"
    failed = [event async for event in driver.events if isinstance(event, events.StoreFailed)]
    assert [event.operation for event in failed] == ["claim", "close"]


@pytest.mark.parametrize("moment", ["loading", "closing", "waiting for a handle"])
@in_virtual_time
async def test_a_cancelled_start_or_close_does_not_wait_for_the_store(service, moment):
    store = Store()
    service.handles_late = 1.5 if moment == "waiting for a handle" else 0.0
    driver = session_of(service, store)
    loop = asyncio.get_running_loop()
    if moment == "loading":
        store.hangs.add("claim")
        task = asyncio.create_task(driver.start())
    else:
        await driver.start()
        await ask(driver, "one")
        if moment == "closing":
            await until(lambda: "save" in store.names)
            store.hangs.add("save")
        task = asyncio.create_task(driver.close())
    await asyncio.sleep(1.0)
    begun = loop.time()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert loop.time() - begun < 1.5, "close_wait"
    assert service.open_dials == 0
    assert store.names[-1] == "close"
    with pytest.raises(SessionClosed):
        driver.force_reconnect()


@in_virtual_time
async def test_a_store_that_hangs_does_not_use_up_the_lease(service):
    """However long the application lets a call take: a save that hangs, and then the renewal."""
    store = Store()
    driver = session_of(service, store, policy=Policy(store_timeout=15.0))
    await driver.start()
    await ask(driver, "one")
    await until(lambda: store.kept is not None)
    await asyncio.sleep(4.9)
    store.hangs |= {"save", "renew", "claim"}
    await ask(driver, "two")
    await asyncio.sleep(60.0)
    assert len(service.connections) == 1
    store.hangs.clear()
    await driver.close()
    assert events.ConnectionLost not in [type(event) async for event in driver.events]


@in_virtual_time
async def test_a_claim_that_was_given_up_and_done_all_the_same_locks_nobody_out(service):
    store = Store()
    store.loses.add("claim")
    driver = session_of(service, store)
    await driver.start()
    store.loses.clear()
    await driver.close()
    assert (await store.claim("k", "another", 1.0)).held_for == 0


@in_virtual_time
async def test_a_store_that_cannot_be_used_at_all_is_the_error_of_connect_and_no_other(service, caplog):
    store = Store()
    store.raises["claim"] = ConfigurationError("read-only")
    with pytest.raises(ConfigurationError, match="read-only"):
        await session_of(service, store).start()
    await asyncio.sleep(60.0)
    assert "internal error" not in caplog.text


@in_virtual_time
async def test_the_socket_is_closed_before_the_conversation_is_let_go(service):
    """The next session binds at once; a service that still has the old connection would refuse it."""
    store = Store()
    driver = session_of(service, store)
    await driver.start()
    await ask(driver, "one")
    await until(lambda: store.kept is not None)
    service.current.mute = True
    closing = asyncio.create_task(driver.close())
    await asyncio.sleep(0.5)
    assert service.current.closed
    assert "release" not in [name for name, *_ in store.asked]
    await closing
    assert "release" in [name for name, *_ in store.asked]


@pytest.mark.parametrize("moment", ["connecting", "talking", "closing"])
@in_virtual_time
async def test_a_cancelled_start_or_close_leaves_the_conversation_to_the_next_session_all_the_same(service, moment):
    """As an application is torn down that was told to end."""
    store = Store()
    driver = session_of(service, store)
    if moment == "connecting":
        service.completes_setup = False
        task = asyncio.create_task(driver.start())
        await until(lambda: service.connections)
    else:
        await driver.start()
        await ask(driver, "one")
        await until(lambda: store.kept is not None)
        if moment == "closing":
            service.current.mute = True
        task = asyncio.create_task(driver.close())
        await asyncio.sleep(0.5 if moment == "closing" else 0.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [name for name, *_ in store.asked[-2:]] == ["release", "close"]
    assert moment == "connecting" or store.kept.detached
    assert (await store.claim("k", "another", 1.0)).held_for == 0


@in_virtual_time
async def test_a_session_that_was_killed_is_gone_on_with_and_its_question_is_asked_again(service):
    store = Store()
    first = session_of(service, store)
    await first.start()
    await ask(first, "one")
    await until(lambda: store.kept is not None)
    service.answers = False
    await first.send(question("two"))
    await until(lambda: store.kept.pending)
    as_it_was = Store()
    as_it_was.put(store.kept)
    await first.close()
    service.answers = True
    second = session_of(service, as_it_was)
    await second.start()

    assert await answer_of(second) == "answer to two"
    continued = await anext(event async for event in second.events if isinstance(event, events.Continued))
    assert (continued.resent_messages, continued.detached) == (1, False)
    await second.close()
    assert as_it_was.kept.pending == ()
    assert as_it_was.kept.detached


@pytest.mark.parametrize("express", [True, False])
@pytest.mark.parametrize("sleep", ["frozen", "suspended"])
@pytest.mark.parametrize("taken", [True, False])
@in_virtual_time
async def test_a_session_that_slept_writes_nothing_before_the_store_has_confirmed_that_it_is_its_own(
    service, taken, sleep, express, monkeypatch
):
    wall = [1.75e9]
    monkeypatch.setattr("resumekit.drivers.clock.time.time", lambda: wall[0] + asyncio.get_running_loop().time())
    service.takes_at_once = express
    store = Store()
    driver = session_of(service, store)
    await driver.start()
    await ask(driver, "one")
    await until(lambda: store.kept is not None)
    connection, sent = service.current, len(service.current.sent)
    assert connection.may_write()
    if sleep == "frozen":
        asyncio.get_running_loop().clock += 60.0
    else:
        wall[0] += 60.0
    assert not connection.may_write(), "not even a pong"
    if taken:
        store.steal()
    store.gate.clear()
    with pytest.raises(SessionLost) if taken else contextlib.nullcontext():
        if express:
            await driver.send(audio())
        await driver.send(question("two"))
        assert connection.aborted
        await asyncio.sleep(1.0)
        assert len(connection.sent) == sent
        assert service.current is connection, "nor is anything dialled"
        store.gate.set()
        assert await answer_of(driver) == "answer to two"
    store.gate.set()
    assert len(connection.sent) == sent
    assert len(service.connections) == (1 if taken else 2)
    await driver.close()
