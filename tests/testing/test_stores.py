"""The conformance class: the memory store passes it, and a store with any one defect does not."""

from __future__ import annotations

import itertools

import pytest
from msgspec.structs import replace

from resumekit.defaults import MemoryStore
from resumekit.defaults.memory import MemoryStores
from resumekit.stores import HandleStore
from resumekit.testing import HandleStoreConformance
from resumekit.wire import ResumptionHandle

NUMBERS = itertools.count()


class TestMemoryStore(HandleStoreConformance):
    STORES = MemoryStores()

    def make_store(self):
        return self.STORES.provide_handle_store("memory://conformance")


class Alone(MemoryStore):
    """Each object has records of its own."""


class KeepsTheFirst(MemoryStore):
    async def save(self, key, record):
        if await self.load(key) is None:
            await super().save(key, record)


class FoldsCase(MemoryStore):
    async def load(self, key):
        return await super().load(key.lower())

    async def save(self, key, record):
        await super().save(key.lower(), record)

    async def forget(self, key):
        await super().forget(key.lower())

    async def poison(self, key, digest):
        await super().poison(key.lower(), digest)


class LosesMicroseconds(MemoryStore):
    async def save(self, key, record):
        await super().save(key, replace(record, issued_at=record.issued_at.replace(microsecond=0)))


class LosesTheHandle(MemoryStore):
    async def save(self, key, record):
        await super().save(key, replace(record, handle=ResumptionHandle(repr(record.handle))))


class NeverForgets(MemoryStore):
    async def forget(self, key):
        pass


class NeverPoisons(MemoryStore):
    async def poison(self, key, digest):
        pass


class PoisonsAll(MemoryStore):
    async def poison(self, key, digest):
        record = await self.load(key)
        if record is not None:
            await super().poison(key, record.digest)


class ClosesForGood(MemoryStore):
    async def close(self):
        self._records.clear()


class Chatty(MemoryStore):
    def __repr__(self):
        return repr([record.handle.reveal() for record in self._records.values()])


class MakesUp(MemoryStore):
    async def load(self, key):
        return await super().load(key) or HandleStoreConformance().make_record()


class Incomplete:
    load = save = forget = close = MemoryStore.close


class Unexpiring(MemoryStore):
    async def save(self, key, record):
        far = record.issued_at.replace(year=record.issued_at.year + 1)
        await super().save(key, replace(record, expires_at=far))


DEFECTS = [
    Alone, KeepsTheFirst, FoldsCase, LosesMicroseconds, LosesTheHandle, NeverForgets, NeverPoisons, PoisonsAll,
    ClosesForGood, Chatty, MakesUp, Incomplete, Unexpiring,
]  # fmt: skip
TESTS = [name for name in vars(HandleStoreConformance) if name.startswith("test_")]


def failures(kind):
    class Case(HandleStoreConformance):
        def __init__(self):
            self.store = kind()

        def make_store(self):
            return kind() if kind is Alone else self.store

    failed = []
    for name in TESTS:
        try:
            getattr(Case(), name)()
        except Exception:
            failed.append(name)
    return failed


def test_each_defect_fails_and_each_test_fails_for_some_defect():
    failed = {kind.__name__: failures(kind) for kind in DEFECTS}

    assert [name for name, found in failed.items() if not found] == []
    assert set(TESTS) - {name for name, found in failed.items() if name != "Incomplete" for name in found} <= {
        "test_it_is_a_handle_store"
    }
    assert failures(MemoryStore) == []


def test_it_must_be_told_which_store():
    with pytest.raises(NotImplementedError):
        HandleStoreConformance().test_it_is_a_handle_store()


def test_names_are_told_apart_and_other_schemes_are_not_answered():
    stores = MemoryStores()

    assert stores.provide_handle_store("memory://a") is stores.provide_handle_store("memory://a")
    assert stores.provide_handle_store("memory://a") is not stores.provide_handle_store("memory://")
    assert stores.provide_handle_store("redis://") is None
    assert isinstance(stores.provide_handle_store("memory://"), HandleStore)


async def test_expired_records_go_as_new_ones_come():
    store, case = MemoryStore(), HandleStoreConformance()
    for number in range(5):
        await store.save(f"{number}", case.make_record(valid_for=-1.0))
    await store.save("6", case.make_record())
    await store.save("7", case.make_record())

    assert [key for key in "01234567" if await store.load(key)] == ["6", "7"]
