"""The conformance classes: the built-in stores pass them, and a store with any one defect does not."""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile

import pytest
from msgspec.structs import replace

from resumekit.defaults import MemoryStore, MemoryStores
from resumekit.defaults.sqlite import SqliteStore
from resumekit.errors import KeyInUse
from resumekit.stores import Claim, HandleStore
from resumekit.testing import HandleStoreConformance, LeaseConformance

NUMBERS = itertools.count()


class Memory:
    STORES = MemoryStores()

    def make_store(self):
        return self.STORES.provide_handle_store("memory://conformance")


class File:
    PATH = tempfile.mkdtemp(prefix="resumekit-")

    def make_store(self):
        return SqliteStore(os.path.join(self.PATH, "handles.db"))  # noqa: PTH118 -- as an application would


class TestMemoryStore(Memory, HandleStoreConformance):
    pass


class TestLeasesOfMemoryStore(Memory, LeaseConformance):
    pass


class TestSqliteStore(File, HandleStoreConformance):
    pass


class TestLeasesOfSqliteStore(File, LeaseConformance):
    pass


# ---------------------------------------------------------------------- stores with one defect each


class Alone(MemoryStore):
    """Each object has entries of its own."""


class KeepsTheFirst(MemoryStore):
    async def save(self, key, fence, entry):
        row = self._owned(key, fence)
        return await super().save(key, fence, entry) if row is None or row.entry is None else True


class FoldsCase(MemoryStore):
    def __getattribute__(self, name):
        method = super().__getattribute__(name)
        if name not in ("claim", "renew", "save", "release"):
            return method
        return lambda key, *rest, **options: method(key.lower(), *rest, **options)


class CutsData(MemoryStore):
    async def save(self, key, fence, entry):
        return await super().save(key, fence, replace(entry, data=entry.data.rstrip(b"\xff")))


class LosesTime(MemoryStore):
    async def save(self, key, fence, entry):
        return await super().save(key, fence, replace(entry, expires_at=entry.expires_at.replace(microsecond=0)))


class NeverForgets(MemoryStore):
    async def save(self, key, fence, entry):
        return await super().save(key, fence, entry) if entry.data else self._owned(key, fence) is not None


class TakesLateWrites(MemoryStore):
    async def save(self, key, fence, entry):
        row = self._owned(key, fence)
        if row is not None:
            row.entry = entry
        return row is not None


class CountsWritesOfAllOwners(MemoryStore):
    async def save(self, key, fence, entry):
        row = self._owned(key, fence)
        if row is not None:
            row.writer = fence
        return await super().save(key, fence, entry)


class ClosesForGood(MemoryStore):
    async def close(self):
        self._rows.clear()


class Chatty(MemoryStore):
    def __repr__(self):
        return repr([row.entry and row.entry.data for row in self._rows.values()])


class MakesUp(MemoryStore):
    async def claim(self, *arguments, **options):
        claim = await super().claim(*arguments, **options)
        return replace(claim, entry=claim.entry or HandleStoreConformance().make_entry())


class Incomplete:
    save = renew = release = close = MemoryStore.close


class Unexpiring(MemoryStore):
    async def save(self, key, fence, entry):
        far = entry.expires_at.replace(year=entry.expires_at.year + 1)
        return await super().save(key, fence, replace(entry, expires_at=far))


class Entangled(MemoryStore):
    async def save(self, key, fence, entry):
        self.entry = entry
        await asyncio.sleep(0)
        return await super().save(key, fence, self.entry)


class TakesAnything(MemoryStore):
    async def save(self, key, fence, entry):
        row = self._rows.get(key)
        return True if row is None else await super().save(key, row.fence, entry)


class LetsAnybodyIn(MemoryStore):
    async def claim(self, key, owner, seconds, *, force=False):
        return replace(await super().claim(key, owner, seconds, force=True), held_for=0.0)


class KeepsTheOwnerOut(MemoryStore):
    async def claim(self, key, owner, seconds, *, force=False):
        return await super().claim(key, f"{owner} {next(NUMBERS)}", seconds, force=force)


class NeverEnds(MemoryStore):
    async def claim(self, key, owner, seconds, *, force=False):
        return await super().claim(key, owner, 600.0, force=force)


class NeverReleases(MemoryStore):
    async def release(self, key, fence):
        pass


class ReleasesForAnybody(MemoryStore):
    async def release(self, key, fence):
        if key in self._rows:
            self._rows[key].until = 0.0


class RenewsNothing(MemoryStore):
    async def renew(self, key, fence, seconds):
        return self._owned(key, fence) is not None


class RenewsInTimeOnly(MemoryStore):
    async def renew(self, key, fence, seconds):
        row = self._owned(key, fence)
        return row is not None and row.until > self._clock() and await super().renew(key, fence, seconds)


class SameFence(MemoryStore):
    async def claim(self, key, owner, seconds, *, force=False):
        row = self._rows.get(key)
        if row is not None and row.owner == owner:
            return Claim(fence=row.fence, entry=row.entry)
        return await super().claim(key, owner, seconds, force=force)


class ForgetsItsFences(MemoryStore):
    async def release(self, key, fence):
        row = self._owned(key, fence)
        await super().release(key, fence)
        if row is not None and row.entry is None:
            del self._rows[key]
            self._fence = 0


class IgnoresForce(MemoryStore):
    async def claim(self, key, owner, seconds, *, force=False):
        return await super().claim(key, owner, seconds)


class SaysNothingOfTheOther(MemoryStore):
    async def claim(self, key, owner, seconds, *, force=False):
        return replace(await super().claim(key, owner, seconds, force=force), held_for=0.0)


class SaysNotHowLong(MemoryStore):
    async def claim(self, key, owner, seconds, *, force=False):
        try:
            return await super().claim(key, owner, seconds, force=force)
        except KeyInUse:
            raise KeyInUse(0.0) from None


class ToldOnce(MemoryStore):
    async def claim(self, key, owner, seconds, *, force=False):
        row = self._rows.get(key)
        if row is not None:
            row.thrown_out = 0.0
        return await super().claim(key, owner, seconds, force=force)


class RenewsWhatWasReleased(MemoryStore):
    async def renew(self, key, fence, seconds):
        row = self._owned(key, fence)
        if row is not None:
            row.owner, row.until = "me", self._clock() + seconds
        return row is not None


class TakesStaleWritesNowAndThen(MemoryStore):
    async def save(self, key, fence, entry):
        row = self._rows.get(key)
        if (
            row is not None
            and fence == row.fence - 1
            and row.until > self._clock() - 0.01
            and row.until < self._clock() + 1
        ):
            return await super().save(key, row.fence, entry)
        return await super().save(key, fence, entry)


KEEPING = [
    Alone, KeepsTheFirst, FoldsCase, CutsData, LosesTime, NeverForgets, TakesLateWrites, CountsWritesOfAllOwners,
    ClosesForGood, Chatty, MakesUp, Incomplete, Unexpiring, TakesAnything,
    Entangled,
]  # fmt: skip
LEASES = [
    Alone, TakesAnything, LetsAnybodyIn, KeepsTheOwnerOut, NeverEnds, NeverReleases, ReleasesForAnybody, RenewsNothing,
    RenewsInTimeOnly, SameFence, ForgetsItsFences, IgnoresForce, SaysNothingOfTheOther, SaysNotHowLong,
    ToldOnce, RenewsWhatWasReleased, TakesStaleWritesNowAndThen,
]  # fmt: skip


def names_of(conformance):
    return [name for name in vars(conformance) if name.startswith("test_")]


def failures(conformance, kind):
    class Case(conformance):
        def __init__(self):
            self.store = kind()

        def make_store(self):
            return kind() if kind is Alone else self.store

    failed = []
    for name in names_of(conformance):
        try:
            getattr(Case(), name)()
        except Exception:
            failed.append(name)
    return failed


@pytest.mark.filterwarnings("ignore:coroutine")
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("conformance", "kinds"), [(HandleStoreConformance, KEEPING), (LeaseConformance, LEASES)], ids=["keeping", "leases"]
)
def test_each_defect_fails_and_each_test_fails_for_some_defect(conformance, kinds, monkeypatch):
    with monkeypatch.context() as impatient:  # save with the one that is right
        impatient.setattr(LeaseConformance, "PATIENCE", 0.5)
        failed = {kind.__name__: failures(conformance, kind) for kind in kinds}

    assert [name for name, found in failed.items() if not found] == []
    caught = {name for kind, found in failed.items() if kind != "Incomplete" for name in found}
    assert set(names_of(conformance)) - caught <= {"test_it_is_a_handle_store"}
    assert failures(conformance, MemoryStore) == []


def test_it_must_be_told_which_store():
    with pytest.raises(NotImplementedError):
        HandleStoreConformance().test_it_is_a_handle_store()


def test_names_are_told_apart_and_other_schemes_are_not_answered():
    stores = MemoryStores()

    assert stores.provide_handle_store("memory://a") is stores.provide_handle_store("memory://a")
    assert stores.provide_handle_store("memory://a") is not stores.provide_handle_store("memory://")
    assert stores.provide_handle_store("redis://") is None
    assert isinstance(stores.provide_handle_store("memory://"), HandleStore)


async def test_what_is_of_no_use_any_more_goes_as_new_entries_come():
    store, case = MemoryStore(), HandleStoreConformance()
    for number in range(5):
        claim = await store.claim(f"{number}", "me", 0.0)
        await store.save(f"{number}", claim.fence, case.make_entry(valid_for=-1.0))
    for key in "67":
        claim = await store.claim(key, "me", 60.0)
        await store.save(key, claim.fence, case.make_entry())

    assert sorted(store._rows) == ["6", "7"]
