"""Keeps a session's handle in a store, beside the session: nothing that a store does, or does not do, holds it up."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeVar, cast

from msgspec.structs import replace

from resumekit.core.events import Event, HandleRefused, StoreFailed
from resumekit.core.handles import HandleRecord
from resumekit.core.policy import Policy
from resumekit.stores import HandleStore, StoredHandle
from resumekit.wire import ResumptionHandle, redact

__all__ = ["Keeper"]

_log = logging.getLogger("resumekit.store")
_Operation = Literal["load", "save", "forget", "poison", "close"]
_T = TypeVar("_T")


class Keeper:
    """The handle of one conversation in its store.

    Call `load` before the session starts and `run` as a task beside it. `save`, `forget` and `poison` only note what is
    to be done: of several saves that wait, the newest is done. At the end call `finish`, and wait for `run` to return.

    Args:
        store: Where it is kept.
        key: The application's name for the conversation.
        policy: Time-out, and validity of handles.
        model: Of the setup.
        fingerprint: Of the setup.
        transparent: The backend.
        publish: Told what goes wrong.
        closes_store: The store is this session's own.
        resumes: Whether the kept handle is used, or only replaced.
    """

    __slots__ = (
        "_closes_store",
        "_finishing",
        "_is_ours",
        "_kept",
        "_key",
        "_needs",
        "_next",
        "_poisoned",
        "_publish",
        "_resumes",
        "_store",
        "_timeout",
        "_validity",
        "_wake",
        "closing",
    )

    def __init__(
        self,
        store: HandleStore,
        key: str,
        *,
        policy: Policy,
        model: str,
        fingerprint: str,
        transparent: bool,
        publish: Callable[[Event], None],
        closes_store: bool,
        resumes: bool = True,
    ) -> None:
        self._store = store
        self._key = key
        self._timeout = policy.store_timeout
        self._validity = timedelta(seconds=min(policy.validity_of_handles(transparent=transparent), _LONGEST))
        self._needs = {"model": model, "config": fingerprint, "backend": transparent}
        self._publish = publish
        self._closes_store = closes_store
        self._resumes = resumes
        self._kept: StoredHandle | None = None
        """What the store holds, or will."""
        self._is_ours = False
        """It came in this session."""
        self._next: StoredHandle | Literal["forget"] | None = None
        self._poisoned: str | None = None
        """A digest."""
        self._wake = asyncio.Event()
        self._finishing = False
        self.closing = False
        """`run` has but to close the store: it is not to be cancelled."""

    async def load(self) -> tuple[ResumptionHandle, float] | None:
        """Return the handle to start with, and its age in seconds; None where there is none that may be used."""
        return await self._ask("load", self._load) if self._resumes else None

    async def _load(self) -> tuple[ResumptionHandle, float] | None:
        record = cast("object", await self._store.load(self._key))
        if record is None:
            return None
        if not isinstance(record, StoredHandle):
            raise TypeError(f"the store returned a {type(record).__name__}, not a StoredHandle")
        now = datetime.now(UTC)
        age = (now - record.issued_at).total_seconds()
        given = {"model": record.model, "config": record.fingerprint, "backend": record.transparent}
        problems = [f"it was stored for another {what}" for what, value in self._needs.items() if given[what] != value]
        if record.expires_at <= now:
            problems.append("expired")
        if problems or record.poisoned:
            reason = problems[0] if problems else "poisoned"
            self._publish(HandleRefused(digest=record.digest, age=age, reason=reason, poisoned=record.poisoned))
            return None
        self._kept = record
        return record.handle, max(age, 0.0)

    def save(self, record: HandleRecord, now: float) -> None:
        """Have a record kept; `now` is on the clock of `HandleRecord.received_at`."""
        issued = datetime.now(UTC) - timedelta(seconds=now - record.received_at)
        self._is_ours = True
        self._kept = self._next = StoredHandle(
            handle=record.handle,
            index=record.index,
            connection=record.connection,
            issued_at=issued,
            expires_at=issued + self._validity,
            model=record.model,
            transparent=record.transparent,
            fingerprint=record.fingerprint,
        )
        self._wake.set()

    def forget(self) -> None:
        """Have the record deleted."""
        self._kept, self._next = None, "forget"
        self._wake.set()

    def poison(self, record: HandleRecord) -> None:
        """Have the record marked, so that nobody uses it again."""
        if self._kept is not None and self._kept.handle == record.handle:
            self._poisoned, self._kept = self._kept.digest, None
            self._wake.set()

    def finish(self) -> None:
        """Have the last record written once more: it is valid for some time after the end of its connection."""
        if self._kept is not None and self._is_ours:
            self._kept = self._next = replace(self._kept, expires_at=datetime.now(UTC) + self._validity)
        self._finishing = True
        self._wake.set()

    async def run(self) -> None:
        """Do what is noted, until `finish`; whatever ends it, a store of its own is closed."""
        try:
            while not self._finishing or self._wake.is_set():
                await self._wake.wait()
                self._wake.clear()
                todo, self._next = self._next, None
                if todo == "forget":
                    await self._ask("forget", self._store.forget, self._key)
                elif todo is not None:
                    await self._ask("save", self._store.save, self._key, todo)
                poisoned, self._poisoned = self._poisoned, None
                if poisoned is not None:
                    await self._ask("poison", self._store.poison, self._key, poisoned)
        finally:
            self.closing = True
            if self._closes_store:
                await self._ask("close", self._store.close)

    async def _ask(self, operation: _Operation, method: Callable[..., Awaitable[_T]], *arguments: object) -> _T | None:
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                return await method(*arguments)
        except Exception as error:  # noqa: BLE001 -- foreign code: a session does without its store
            if limit.expired():
                self._failed(operation, f"no answer within {self._timeout:g} s")
            else:
                self._failed(operation, f"{type(error).__name__}: {error}", error, arguments)
            return None

    def _failed(
        self, operation: _Operation, problem: str, error: Exception | None = None, arguments: tuple[object, ...] = ()
    ) -> None:
        """Report a failure; a store may quote what it was given, and the handle is a secret."""
        secrets = [argument.handle for argument in (*arguments, self._kept) if isinstance(argument, StoredHandle)]

        def clean(text: str) -> str:
            for secret in secrets:
                text = text.replace(secret.reveal(), repr(secret))
            return redact(text)

        if error is not None:
            _log.debug(
                "%s of the handle store raised\n%s", operation, clean("".join(traceback.format_exception(error)))
            )
        self._publish(StoreFailed(operation=operation, problem=clean(problem)[:300]))


_LONGEST = 366 * 86400.0
"""Seconds; a validity of `math.inf` is no date."""
