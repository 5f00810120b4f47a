"""What every handle store has to do, as a class of tests."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from resumekit.stores import HandleStore, StoredHandle
from resumekit.wire import ResumptionHandle

__all__ = ["HandleStoreConformance"]


class HandleStoreConformance:
    """Subclass it in a test module, and give `make_store`; any test runner that knows classes runs the rest.

    ```python
    class TestMyStore(HandleStoreConformance):
        def make_store(self):
            return MyStore("/tmp/handles")
    ```

    Keys are new in each test, so that a store may be shared with others.
    """

    def make_store(self) -> HandleStore:
        """Return a store. All that one test makes see the same records."""
        raise NotImplementedError

    def make_record(self, handle: str = "a handle", *, valid_for: float = 7200.0) -> StoredHandle:
        """Return a record as a session keeps it."""
        now = datetime.now(UTC)
        return StoredHandle(
            handle=ResumptionHandle(handle),
            index=7,
            connection=2,
            issued_at=now,
            expires_at=now + timedelta(seconds=valid_for),
            model="models/gemini-2.5-flash-live",
            transparent=True,
            fingerprint="0123456789abcdef",
        )

    def test_it_is_a_handle_store(self) -> None:
        """It has all methods."""
        assert isinstance(self.make_store(), HandleStore)

    def test_an_unknown_key_has_no_record(self) -> None:
        """`load` returns None."""

        async def check(store: HandleStore, key: str) -> None:
            assert await store.load(key) is None
            await store.forget(key)
            await store.poison(key, self.make_record().digest)
            assert await store.load(key) is None

        self._run(check)

    def test_a_record_comes_back_as_it_was(self) -> None:
        """All fields, to the microsecond, and the handle itself."""

        async def check(store: HandleStore, key: str) -> None:
            record = self.make_record('handle with "quotes", \\ and \N{SNOWMAN}')
            await store.save(key, record)
            assert await store.load(key) == record

        self._run(check)

    def test_a_newer_record_replaces_the_older_one(self) -> None:
        """There is one record for each key."""

        async def check(store: HandleStore, key: str) -> None:
            await store.save(key, self.make_record("older"))
            await store.save(key, self.make_record("newer"))
            assert await self._handle(store, key) == "newer"

        self._run(check)

    def test_keys_are_told_apart(self) -> None:
        """Whatever text they are made of."""

        async def check(store: HandleStore, key: str) -> None:
            keys = [key, f"{key} ", f"{key}:1", f"{key}/1", f"{key}%", f"{key}'", f"{key}\N{SNOWMAN}", key.upper()]
            for number, one in enumerate(keys):
                await store.save(one, self.make_record(f"{number}"))
            assert [await self._handle(store, one) for one in keys] == [f"{number}" for number in range(len(keys))]
            for one in keys:
                await store.forget(one)

        self._run(check)

    def test_a_forgotten_record_is_gone(self) -> None:
        """`forget` deletes; a new record may follow."""

        async def check(store: HandleStore, key: str) -> None:
            await store.save(key, self.make_record())
            await store.forget(key)
            assert await store.load(key) is None
            await store.save(key, self.make_record("another"))
            assert await self._handle(store, key) == "another"

        self._run(check)

    def test_a_poisoned_record_is_marked(self) -> None:
        """It may be given back with its mark, or not at all."""

        async def check(store: HandleStore, key: str) -> None:
            record = self.make_record()
            await store.save(key, record)
            await store.poison(key, record.digest)
            loaded = await store.load(key)
            assert loaded is None or loaded.poisoned

        self._run(check)

    def test_poison_for_another_handle_changes_nothing(self) -> None:
        """A newer record that is already there is fine."""

        async def check(store: HandleStore, key: str) -> None:
            record = self.make_record("newer")
            await store.save(key, record)
            await store.poison(key, self.make_record("older").digest)
            assert await store.load(key) == record

        self._run(check)

    def test_an_expired_record_is_left_out_or_still_says_that_it_expired(self) -> None:
        """A store need not know the time."""

        async def check(store: HandleStore, key: str) -> None:
            await store.save(key, self.make_record(valid_for=-1.0))
            loaded = await store.load(key)
            assert loaded is None or loaded.expires_at < datetime.now(UTC)

        self._run(check)

    def test_another_store_object_sees_the_records(self) -> None:
        """They do not live in the object, and outlive its `close`."""

        async def check(store: HandleStore, key: str) -> None:
            await store.save(key, self.make_record())
            other = self.make_store()
            assert await self._handle(other, key) == "a handle"
            await other.close()
            assert await self._handle(store, key) == "a handle"

        self._run(check)

    def test_many_keys_at_a_time(self) -> None:
        """Sessions of one process use a store side by side."""

        async def check(store: HandleStore, key: str) -> None:
            keys = [f"{key}-{number}" for number in range(50)]
            await asyncio.gather(*(store.save(one, self.make_record(one)) for one in keys))
            assert await asyncio.gather(*(self._handle(store, one) for one in keys)) == keys
            await asyncio.gather(*(store.forget(one) for one in keys))

        self._run(check)

    def test_neither_the_store_nor_a_record_shows_the_handle(self) -> None:
        """A `repr` ends up in logs."""

        async def check(store: HandleStore, key: str) -> None:
            record = self.make_record("CANARY")
            await store.save(key, record)
            assert "CANARY" not in f"{store!r} {store} {record!r} {record} {await store.load(key)!r}"

        self._run(check)

    async def _handle(self, store: HandleStore, key: str) -> str | None:
        record = await store.load(key)
        return None if record is None else record.handle.reveal()

    def _run(self, check: Callable[[HandleStore, str], Awaitable[None]]) -> None:
        async def run() -> None:
            store = self.make_store()
            key = f"conformance-{uuid.uuid4().hex}"
            try:
                await check(store, key)
                await store.forget(key)
            finally:
                await store.close()

        asyncio.run(run())
