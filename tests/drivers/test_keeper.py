"""The handle in its store: coalesced, never waited for, flushed at the end, and silent about itself."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from resumekit.core import events
from resumekit.core.handles import HandleRecord
from resumekit.core.policy import Policy
from resumekit.defaults import MemoryStore
from resumekit.drivers.keeper import Keeper
from resumekit.errors import SessionClosed
from resumekit.testing import HandleStoreConformance
from resumekit.wire import ResumptionHandle, setup_fingerprint, setup_model
from tests.drivers.fakes import SETUP, FakeService, answer_of, driver_of, in_virtual_time, question, until

HOUR = 3600.0
CANARY = "CANARY-HANDLE"


@pytest.fixture
def service():
    return FakeService()


class Store(MemoryStore):
    """Notes what it is asked, and does as it is told."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.hangs = set()
        self.raises = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.quotes = False
        self.returns = None

    def __getattribute__(self, name):
        method = super().__getattribute__(name)
        if name not in ("load", "save", "forget", "poison", "close"):
            return method

        async def asked(*arguments):
            await self.gate.wait()
            self.asked.append((name, *arguments[1:]))
            if name in self.hangs:
                await asyncio.Event().wait()
            if name in self.raises:
                raise self.raises[name]
            if self.quotes and name == "save":
                raise ValueError(f"INSERT INTO t VALUES ({arguments[1].handle.reveal()!r})")
            return self.returns if name == "load" and self.returns else await method(*arguments)

        return asked

    @property
    def names(self):
        return [name for name, *_ in self.asked]


def stored(**fields):
    record = HandleStoreConformance().make_record(CANARY)
    ours = {"model": setup_model(SETUP), "fingerprint": setup_fingerprint(SETUP), "transparent": False}
    return replace(record, **{**ours, **fields})


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


def keeper_of(store, *, policy=None, published=None, closes_store=True, transparent=False):
    return Keeper(
        store,
        "k",
        policy=policy or Policy(),
        model=setup_model(SETUP),
        fingerprint=setup_fingerprint(SETUP),
        transparent=transparent,
        publish=(published if published is not None else []).append,
        closes_store=closes_store,
    )


# ---------------------------------------------------------------------- by itself


@in_virtual_time
async def test_a_record_is_loaded_with_its_age():
    store = Store()
    await store.save("k", stored(issued_at=datetime.now(UTC) - timedelta(seconds=90)))

    handle, age = await keeper_of(store).load()

    assert handle.reveal() == CANARY
    assert age == pytest.approx(90, abs=5)


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
    """DESIGN decision 4."""
    store, published = Store(), Published()
    await store.save("k", stored(**fields))

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


@pytest.mark.parametrize("what", ["hangs", "raises", "nonsense", "no coroutine", "naive time"])
@in_virtual_time
async def test_a_store_that_fails_to_load_is_reported(what):
    store, published = Store(), Published()
    match what:
        case "hangs":
            store.hangs.add("load")
        case "raises":
            store.raises["load"] = OSError("gone")
        case "nonsense":
            store.returns = {"handle": CANARY}
        case "naive time":
            store.returns = stored(issued_at=datetime(2026, 1, 1))  # noqa: DTZ001 -- the point of it
        case _:
            store.__class__ = type("Sync", (Store,), {"__getattribute__": lambda self, name: lambda *arguments: None})
    started = asyncio.get_running_loop().time()

    assert await keeper_of(store, published=published).load() is None
    (failed,) = published.of(events.StoreFailed)
    assert failed.operation == "load"
    assert CANARY not in repr(failed)
    expected = {"hangs": "no answer within 5 s", "raises": "OSError: gone", "nonsense": "a dict, not a StoredHandle"}
    assert expected.get(what, "TypeError") in failed.problem
    assert asyncio.get_running_loop().time() - started == pytest.approx(5.0 if what == "hangs" else 0.0)


@in_virtual_time
async def test_of_several_saves_that_wait_the_newest_is_done():
    store = Store()
    keeper = keeper_of(store)
    running = asyncio.create_task(keeper.run())
    store.gate.clear()
    for number in range(5):
        keeper.save(record(f"h{number}"), 0.0)
        await asyncio.sleep(0.01)
    store.gate.set()
    await asyncio.sleep(0.01)

    assert [kept.handle.reveal() for _, kept in store.asked] == ["h0", "h4"]
    keeper.finish()
    await running


@pytest.mark.parametrize(
    ("transparent", "policy", "validity"),
    [(False, Policy(), 2 * HOUR), (True, Policy(), 24 * HOUR), (True, Policy(handle_validity=60.0), 60.0)],
)
@in_virtual_time
async def test_a_record_expires_some_time_after_it_came_and_at_the_end_after_that(transparent, policy, validity):
    store = Store()
    keeper = keeper_of(store, policy=policy, transparent=transparent)
    running = asyncio.create_task(keeper.run())
    keeper.save(record(received_at=100.0), 700.0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    now = datetime.now(UTC)
    first = (await store.load("k")).expires_at
    keeper.finish()
    await running
    last = await store.load("k")

    assert first.timestamp() == pytest.approx(now.timestamp() - 600 + validity, abs=5)
    assert last.expires_at.timestamp() == pytest.approx(now.timestamp() + validity, abs=5)
    assert last.issued_at.timestamp() == pytest.approx(now.timestamp() - 600, abs=5)


@in_virtual_time
async def test_an_endless_validity_is_a_date_all_the_same():
    store = Store()
    keeper = keeper_of(store, policy=Policy(handle_validity=float("inf")))
    keeper.save(record(), 0.0)
    keeper.finish()
    await keeper.run()

    assert (await store.load("k")).expires_at > datetime.now(UTC) + timedelta(days=300)


@in_virtual_time
async def test_a_record_that_was_only_loaded_does_not_live_longer_for_it():
    store = Store()
    await store.save("k", stored())
    keeper = keeper_of(store)
    await keeper.load()
    store.asked.clear()
    keeper.finish()
    await keeper.run()

    assert store.names == ["close"]


@pytest.mark.parametrize("closes", [True, False])
@in_virtual_time
async def test_only_a_store_of_its_own_is_closed(closes):
    store = Store()
    keeper = keeper_of(store, closes_store=closes)
    keeper.finish()
    await keeper.run()

    assert store.names == ["close"] * closes


@pytest.mark.parametrize("between", [0.0, 0.01])
@pytest.mark.parametrize("saving", [True, False])
@in_virtual_time
async def test_a_poisoned_record_is_marked_and_not_written_again(between, saving):
    store = Store()
    keeper = keeper_of(store)
    running = asyncio.create_task(keeper.run())
    if saving:
        store.gate.clear()
    keeper.save(record("bad"), 0.0)
    await asyncio.sleep(0.01)
    keeper.poison(record("bad"))
    await asyncio.sleep(between)
    keeper.finish()
    store.gate.set()
    await running

    assert store.names == ["save", "poison", "close"]
    assert (await store.load("k")).poisoned


@in_virtual_time
async def test_only_the_record_that_is_kept_can_be_poisoned():
    store = Store()
    keeper = keeper_of(store)
    keeper.save(record("newer"), 0.0)
    keeper.poison(record("older"))
    keeper.finish()
    await keeper.run()

    assert store.names == ["save", "close"]
    assert not (await store.load("k")).poisoned


@in_virtual_time
async def test_what_is_forgotten_is_not_written_again():
    store = Store()
    keeper = keeper_of(store)
    keeper.save(record(), 0.0)
    keeper.forget()
    keeper.finish()
    await keeper.run()

    assert store.names == ["forget", "close"]
    assert await store.load("k") is None


@in_virtual_time
async def test_a_store_that_quotes_the_handle_is_not_quoted(caplog):
    """DESIGN decision 14."""
    caplog.set_level(logging.DEBUG)
    store, published = Store(), Published()
    store.quotes = True
    keeper = keeper_of(store, published=published)
    keeper.save(record(), 0.0)
    keeper.finish()
    await keeper.run()

    assert [failed.operation for failed in published] == ["save"]
    assert "INSERT INTO t" in published[0].problem
    assert "INSERT INTO t" in caplog.text
    assert record().handle.reveal() not in caplog.text + repr(published) + repr(keeper)


# ---------------------------------------------------------------------- with a session


def session_of(service, store, **arguments):
    return driver_of(service, keeper=lambda publish: keeper_of(store, published=_Calls(publish)), **arguments)


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
    connected = await anext(second.events)
    await second.close()

    assert handles(service) == [None, "handle-1"]
    assert connected.resumed is True


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

    assert (await store.load("k") is not None) is (late < 2.0)
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

    assert store.names == ["load", "save", "forget", "close"]
    assert await store.load("k") is None


@in_virtual_time
async def test_a_handle_of_the_application_goes_before_the_one_that_is_kept(service):
    store = Store()
    await store.save("k", stored())
    driver = session_of(service, store, handle=ResumptionHandle("mine"))
    await driver.start()
    await driver.close()

    assert handles(service) == ["mine"]


@in_virtual_time
async def test_a_refused_handle_is_forgotten_and_the_session_starts_fresh(service):
    store = Store()
    await store.save("k", stored())
    service.completes_setup = False
    driver = session_of(service, store)
    starting = asyncio.create_task(driver.start())
    await until(lambda: service.connections and service.current.sent)
    service.completes_setup = True
    service.current.close_with(1007, "Invalid session handle.")
    await starting

    assert handles(service) == [CANARY, None]
    assert await store.load("k") is None
    await driver.close()


@in_virtual_time
async def test_a_store_that_hangs_holds_nothing_up_but_the_start_and_the_end(service):
    store = Store()
    store.hangs |= {"load", "save", "close"}
    driver = session_of(service, store)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await driver.start()
    assert loop.time() - begun == pytest.approx(5.0, abs=0.1)
    begun = loop.time()
    for number in range(3):
        assert await ask(driver, f"{number}") == f"answer to {number}"
    assert loop.time() - begun < 1.0
    begun = loop.time()
    await driver.close()
    assert loop.time() - begun == pytest.approx(15.0, abs=1.1), "save that hangs, the newest, close"
    failed = [event async for event in driver.events if isinstance(event, events.StoreFailed)]
    assert [event.operation for event in failed] == ["load", "save", "save", "close"]


@pytest.mark.parametrize("moment", ["loading", "closing", "waiting for a handle"])
@in_virtual_time
async def test_a_cancelled_start_or_close_does_not_wait_for_the_store(service, moment):
    store = Store()
    service.handles_late = 1.5 if moment == "waiting for a handle" else 0.0
    driver = session_of(service, store)
    loop = asyncio.get_running_loop()
    if moment == "loading":
        store.hangs.add("load")
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

    assert loop.time() - begun < 1.0
    assert service.open_dials == 0
    assert store.names[-1] == "close"
    with pytest.raises(SessionClosed):
        driver.force_reconnect()
