"""What every handle store has to do, as two classes of tests: one for what it keeps, one for who may write."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from resumekit.errors import KeyInUse
from resumekit.stores import Claim, Entry, HandleStore

__all__ = ["HandleStoreConformance", "LeaseConformance"]

_LONG = 600.0
"""Seconds of a lease that does not end within a test."""
_SHORT = 0.3
"""Of one that does."""


class _StoreTests:
    def make_store(self) -> HandleStore:
        """Return a store. All that one test makes see the same entries."""
        raise NotImplementedError

    def make_entry(self, data: str = "a record", *, sequence: int = 1, valid_for: float = 7200.0) -> Entry:
        """Return an entry as a session keeps it; `valid_for` is in seconds."""
        expires_at = datetime.now(UTC) + timedelta(seconds=valid_for)
        return Entry(data=data.encode(), sequence=sequence, expires_at=expires_at)

    async def load(self, store: HandleStore, key: str) -> str | None:
        """Return the data of a key, thrown out whoever has it."""
        claim = await store.claim(key, f"reader {uuid.uuid4().hex}", _LONG, force=True)
        await store.release(key, claim.fence)
        return None if claim.entry is None or not claim.entry.data else claim.entry.data.decode()

    def run(self, check: Callable[[HandleStore, str], Awaitable[None]]) -> None:
        """Run a check with a new store and a new key; leave nothing under that key."""

        async def run() -> None:
            store = self.make_store()
            key = f"conformance-{uuid.uuid4().hex}"
            try:
                await check(store, key)
                await _clear(store, key)
            finally:
                await store.close()

        asyncio.run(run())


async def _clear(store: HandleStore, *keys: str) -> None:
    for key in keys:
        claim = await store.claim(key, "cleaner", _LONG, force=True)
        await store.save(key, claim.fence, Entry(data=b"", sequence=1, expires_at=datetime.now(UTC)))
        await store.release(key, claim.fence)


class HandleStoreConformance(_StoreTests):
    """What a store keeps. Subclass it in a test module, and give `make_store`; pytest, or another runner, does the rest.

    ```python
    from resumekit.defaults import MemoryStore
    from resumekit.testing import HandleStoreConformance

    STORE = MemoryStore()  # yours


    class TestMyStore(HandleStoreConformance):
        def make_store(self):
            return STORE
    ```

    Keys are new in each test, so that a store may be shared with others.
    """

    def test_it_is_a_handle_store(self) -> None:
        """It has all methods."""

        async def check(store: HandleStore, _: str) -> None:
            assert isinstance(store, HandleStore)

        self.run(check)

    def test_an_unknown_key_has_no_entry(self) -> None:
        """And nobody may write to it without a claim."""

        async def check(store: HandleStore, key: str) -> None:
            assert not await store.save(key, 7, self.make_entry())
            assert not await store.renew(key, 7, _LONG)
            await store.release(key, 7)
            claim = await store.claim(key, "me", _LONG)
            assert claim.entry is None
            assert claim.held_for == 0

        self.run(check)

    def test_an_entry_comes_back_as_it_was(self) -> None:
        """Every byte of it, and its time to the millisecond."""

        async def check(store: HandleStore, key: str) -> None:
            entry = Entry(
                data=bytes(range(256)) * 40, sequence=3, expires_at=datetime.now(UTC) + timedelta(hours=1, seconds=0.5)
            )
            claim = await store.claim(key, "me", _LONG)
            assert await store.save(key, claim.fence, entry)
            kept = (await store.claim(key, "me", _LONG)).entry
            assert kept is not None
            assert kept.data == entry.data
            assert abs((kept.expires_at - entry.expires_at).total_seconds()) <= 0.001

        self.run(check)

    def test_a_newer_entry_replaces_the_older_one(self) -> None:
        """There is one entry for each key."""

        async def check(store: HandleStore, key: str) -> None:
            claim = await store.claim(key, "me", _LONG)
            assert await store.save(key, claim.fence, self.make_entry("older", sequence=1))
            assert await store.save(key, claim.fence, self.make_entry("newer", sequence=2))
            assert await self.load(store, key) == "newer"

        self.run(check)

    def test_a_write_that_comes_late_is_left_out(self) -> None:
        """A call that the session does not wait for any more may still be under way."""

        async def check(store: HandleStore, key: str) -> None:
            claim = await store.claim(key, "me", _LONG)
            assert await store.save(key, claim.fence, self.make_entry("newer", sequence=2))
            assert await store.save(key, claim.fence, self.make_entry("older", sequence=1))
            assert await self.load(store, key) == "newer"

        self.run(check)

    def test_each_owner_counts_its_writes_anew(self) -> None:
        """The entry that a new owner writes is newer, whatever its number."""

        async def check(store: HandleStore, key: str) -> None:
            claim = await store.claim(key, "first", _LONG)
            assert await store.save(key, claim.fence, self.make_entry("first", sequence=40))
            await store.release(key, claim.fence)
            claim = await store.claim(key, "second", _LONG)
            assert await store.save(key, claim.fence, self.make_entry("second", sequence=1))
            assert await self.load(store, key) == "second"

        self.run(check)

    def test_keys_are_told_apart(self) -> None:
        """Whatever text they are made of."""

        async def check(store: HandleStore, key: str) -> None:
            keys = [key, f"{key} ", f"{key}:1", f"{key}/1", f"{key}%", f"{key}'", f"{key}\N{SNOWMAN}", key.upper()]
            for number, one in enumerate(keys):
                claim = await store.claim(one, "me", _LONG)
                assert await store.save(one, claim.fence, self.make_entry(f"{number}"))
            assert [await self.load(store, one) for one in keys] == [f"{number}" for number in range(len(keys))]
            await _clear(store, *keys)

        self.run(check)

    def test_a_forgotten_entry_is_gone(self) -> None:
        """It is replaced by an empty one; a write that comes late does not bring it back, and a new one may follow."""

        async def check(store: HandleStore, key: str) -> None:
            claim = await store.claim(key, "me", _LONG)
            assert await store.save(key, claim.fence, self.make_entry(sequence=2))
            assert await store.save(key, claim.fence, self.make_entry("", sequence=3, valid_for=-1.0))
            assert await store.save(key, claim.fence, self.make_entry("late", sequence=1))
            assert await self.load(store, key) is None
            claim = await store.claim(key, "me", _LONG)
            assert await store.save(key, claim.fence, self.make_entry("another", sequence=1))
            assert await self.load(store, key) == "another"

        self.run(check)

    def test_an_expired_entry_is_left_out_or_still_says_that_it_expired(self) -> None:
        """A store need not know the time."""

        async def check(store: HandleStore, key: str) -> None:
            claim = await store.claim(key, "me", _LONG)
            assert await store.save(key, claim.fence, self.make_entry(valid_for=-1.0))
            kept = (await store.claim(key, "me", _LONG)).entry
            assert kept is None or kept.expires_at < datetime.now(UTC)

        self.run(check)

    def test_another_store_object_sees_the_entries(self) -> None:
        """They do not live in the object, and outlive its `close`."""

        async def check(store: HandleStore, key: str) -> None:
            claim = await store.claim(key, "me", _LONG)
            assert await store.save(key, claim.fence, self.make_entry())
            other = self.make_store()
            assert await self.load(other, key) == "a record"
            await other.close()
            assert await self.load(store, key) == "a record"

        self.run(check)

    def test_many_keys_at_a_time(self) -> None:
        """Sessions of one process use a store side by side."""

        async def check(store: HandleStore, key: str) -> None:
            async def keep(one: str) -> str | None:
                claim = await store.claim(one, "me", _LONG)
                assert await store.save(one, claim.fence, self.make_entry(one))
                return await self.load(store, one)

            keys = [f"{key}-{number}" for number in range(50)]
            assert await asyncio.gather(*map(keep, keys)) == keys
            await _clear(store, *keys)

        self.run(check)

    def test_neither_the_store_nor_an_entry_shows_what_is_kept(self) -> None:
        """A `repr` ends up in logs."""

        async def check(store: HandleStore, key: str) -> None:
            claim = await store.claim(key, "me", _LONG)
            await store.save(key, claim.fence, self.make_entry("CANARY"))
            claim = await store.claim(key, "me", _LONG)
            assert "CANARY" not in f"{store!r} {store} {claim!r} {claim}"

        self.run(check)


class LeaseConformance(_StoreTests):
    """Who may write: one owner at a time, and never one that was replaced. Use it as `HandleStoreConformance`."""

    PATIENCE = 30.0
    """Seconds after which a lease of a fraction of a second must be over, however slow the machine is."""

    def test_a_key_that_is_in_use_is_refused(self) -> None:
        """The error tells for how long."""

        async def check(store: HandleStore, key: str) -> None:
            await store.claim(key, "first", 60.0)
            left = await _refused(store, key, "second")
            assert left is not None
            assert 50.0 < left <= 60.0

        self.run(check)

    def test_the_owner_may_claim_again(self) -> None:
        """It gets a new fence, and its old one is void."""

        async def check(store: HandleStore, key: str) -> None:
            first = await store.claim(key, "me", _LONG)
            second = await store.claim(key, "me", _LONG)
            assert second.fence > first.fence
            assert second.held_for == 0
            assert not await store.save(key, first.fence, self.make_entry())
            assert await store.save(key, second.fence, self.make_entry())

        self.run(check)

    def test_a_released_key_is_free_at_once(self) -> None:
        """And what the former owner wrote is there."""

        async def check(store: HandleStore, key: str) -> None:
            first = await store.claim(key, "first", _LONG)
            await store.save(key, first.fence, self.make_entry("kept"))
            await store.release(key, first.fence)
            second = await store.claim(key, "second", _LONG)
            assert second.fence > first.fence
            assert second.entry is not None
            assert second.entry.data == b"kept"

        self.run(check)

    def test_a_lease_ends_by_itself(self) -> None:
        """As that of a process that was killed."""

        async def check(store: HandleStore, key: str) -> None:
            first = await store.claim(key, "first", _SHORT)
            second = await self._claim_when_free(store, key, "second")
            assert second.fence > first.fence

        self.run(check)

    def test_a_renewed_lease_goes_on(self) -> None:
        """From the moment of the renewal."""

        async def check(store: HandleStore, key: str) -> None:
            claim = await store.claim(key, "first", _SHORT)
            assert await store.renew(key, claim.fence, 60.0)
            left = await _refused(store, key, "second")
            assert left is not None
            assert left > 50.0

        self.run(check)

    def test_one_that_ended_can_be_renewed_if_nobody_claimed(self) -> None:
        """A process that was a little late goes on."""

        async def check(store: HandleStore, key: str) -> None:
            claim = await store.claim(key, "first", 0.001)
            await asyncio.sleep(0.01)
            assert await store.renew(key, claim.fence, 60.0)
            assert await _refused(store, key, "second") is not None
            assert await store.save(key, claim.fence, self.make_entry())

        self.run(check)

    def test_a_stale_owner_can_do_nothing(self) -> None:
        """Neither write, nor renew, nor free the key of its successor."""

        async def check(store: HandleStore, key: str) -> None:
            first = await store.claim(key, "first", _SHORT)
            second = await self._claim_when_free(store, key, "second")
            assert await store.save(key, second.fence, self.make_entry("second"))
            assert not await store.save(key, first.fence, self.make_entry("first", sequence=99))
            assert not await store.renew(key, first.fence, _LONG)
            await store.release(key, first.fence)
            assert await _refused(store, key, "third") is not None
            assert await self.load(store, key) == "second"

        self.run(check)

    def test_an_owner_can_be_thrown_out(self) -> None:
        """The claim tells for how long it may still believe to be the owner."""

        async def check(store: HandleStore, key: str) -> None:
            first = await store.claim(key, "first", 60.0)
            second = await store.claim(key, "second", 60.0, force=True)
            assert second.fence > first.fence
            assert 50.0 < second.held_for <= 60.0
            assert not await store.renew(key, first.fence, 60.0)
            assert not await store.save(key, first.fence, self.make_entry())

        self.run(check)

    def test_whoever_claims_next_waits_for_one_that_was_thrown_out(self) -> None:
        """The answer to the claim that threw it out may have been lost, or its owner has left again."""

        async def check(store: HandleStore, key: str) -> None:
            await store.claim(key, "first", 60.0)
            await store.claim(key, "second", 60.0, force=True)
            again = await store.claim(key, "second", 60.0)
            assert 50.0 < again.held_for <= 60.0
            await store.release(key, again.fence)
            third = await store.claim(key, "third", 60.0)
            assert 50.0 < third.held_for <= 60.0

        self.run(check)

    def test_one_that_was_released_cannot_be_renewed(self) -> None:
        """A renewal that comes late must not lock the key."""

        async def check(store: HandleStore, key: str) -> None:
            claim = await store.claim(key, "first", _LONG)
            await store.release(key, claim.fence)
            assert not await store.renew(key, claim.fence, _LONG)
            assert await _refused(store, key, "second") is None

        self.run(check)

    def test_fences_grow_also_when_nothing_is_kept(self) -> None:
        """An owner of a conversation that was forgotten is stale like any other."""

        async def check(store: HandleStore, key: str) -> None:
            fences: list[int] = []
            for number in range(5):
                claim = await store.claim(key, f"{number}", _LONG)
                fences.append(claim.fence)
                assert await store.save(key, claim.fence, self.make_entry("", valid_for=-1.0))
                await store.release(key, claim.fence)
            assert fences == sorted(set(fences))
            assert not await store.save(key, fences[0], self.make_entry())

        self.run(check)

    def test_of_many_that_claim_at_once_one_gets_it(self) -> None:
        """Also through several store objects."""

        async def check(store: HandleStore, key: str) -> None:
            stores = [store, *(self.make_store() for _ in range(3))]
            tries = [_refused(stores[number % 4], key, f"owner {number}") for number in range(20)]
            refused = await asyncio.gather(*tries)
            assert sum(left is None for left in refused) == 1
            for other in stores[1:]:
                await other.close()

        self.run(check)

    def test_writers_in_turn_never_overwrite_their_successors(self) -> None:
        """Each claims as soon as it can, pauses for longer than its lease, and writes on."""

        async def check(store: HandleStore, key: str) -> None:
            newest = 0
            wrongs: list[str] = []

            async def writer(number: int) -> None:
                nonlocal newest
                for turn in range(3):
                    claim = await self._claim_when_free(store, key, f"writer {number}", seconds=0.02)
                    newest = max(newest, claim.fence)
                    await asyncio.sleep(0.01 * ((number + turn) % 5))
                    before = newest
                    accepted = await store.save(key, claim.fence, self.make_entry(sequence=turn + 1))
                    if accepted and claim.fence < before:
                        wrongs.append(f"{claim.fence} was accepted after {before} had claimed")

            await asyncio.gather(*(writer(number) for number in range(8)))
            assert wrongs == []

        self.run(check)

    async def _claim_when_free(self, store: HandleStore, key: str, owner: str, seconds: float = _LONG) -> Claim:
        async with asyncio.timeout(self.PATIENCE):
            while True:
                try:
                    return await store.claim(key, owner, seconds)
                except KeyInUse as busy:
                    await asyncio.sleep(min(busy.seconds, 0.02) + 0.001)


async def _refused(store: HandleStore, key: str, owner: str) -> float | None:
    """Return for how long a claim is refused; None: it was not."""
    try:
        await store.claim(key, owner, _LONG)
    except KeyInUse as busy:
        return busy.seconds
    return None
