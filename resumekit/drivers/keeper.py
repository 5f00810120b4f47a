"""Keeps a session's handle in a store, beside the session: nothing that a store does, or does not do, holds it up.

It also keeps the conversation the session's own: it claims the key, renews the claim, and knows until when the session
may write (`deadline`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import traceback
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from resumekit.core.events import Continued, Event, HandleRefused, StoreFailed, StoreRecovered, WaitingForKey
from resumekit.core.handles import HandleRecord, PendingMessage
from resumekit.core.policy import Policy
from resumekit.drivers.waiters import Waiters
from resumekit.errors import ConfigurationError, ConnectFailed, KeyInUse, LocalProtocolError, SessionLost
from resumekit.stores import SEALED, UNREADABLE, Claim, Entry, HandleStore, StoredHandle
from resumekit.wire import ResumptionHandle, decode_client, redact

__all__ = ["Keeper", "Kept"]

_log = logging.getLogger("resumekit.store")
_Operation = Literal["claim", "renew", "save", "release", "close"]
_T = TypeVar("_T")
_LONGEST = 366 * 86400.0
"""Seconds; a validity of `math.inf` is no date."""
_KINDS = {
    "claim": "lease", "renew": "lease", "release": "lease", "save": "record", "close": "close"
}  # fmt: skip
_ANSWER = 1 / 4
"""Of a lease: what a store may take at most for a call. A save that hangs, and then a renewal that does, must not use it up."""
_POLL = 1 / 15
"""Of a lease: how often a key that is in use is asked for again."""


class Kept(Struct, frozen=True):
    """What a session starts with."""

    handle: ResumptionHandle
    age: float
    """Seconds."""
    pending: Sequence[PendingMessage]


class Keeper:
    """The conversation of one key in its store.

    Call `load` before the session starts and `run` as a task beside it. `save`, `touch`, `forget` and `poison` only note
    what is to be done: of several states that wait, the newest is written. At the end call `finish`, and wait for `run`
    to return; if `lost` is set then, the conversation is another session's. Where `run` was cancelled, `close`, unless
    `closed` is set.

    Args:
        store: Where it is kept.
        key: The application's name for the conversation.
        policy: Time-out, lease, and validity of handles.
        model: Of the setup.
        fingerprint: Of the setup.
        transparent: The backend.
        publish: Told what goes wrong.
        pending: Returns what the newest handle does not hold, and how many messages had to be left out.
        closes_store: The store is this session's own.
        resumes: Whether the kept handle is used, or only replaced.
    """

    __slots__ = (
        "_closes_store",
        "_dirty",
        "_failing",
        "_fence",
        "_finishing",
        "_is_ours",
        "_kept",
        "_key",
        "_loop",
        "_needs",
        "_news",
        "_owner",
        "_patience",
        "_pending",
        "_policy",
        "_publish",
        "_renew_at",
        "_resumes",
        "_sequence",
        "_store",
        "_unanswered",
        "_validity",
        "_wake",
        "closed",
        "closing",
        "deadline",
        "lost",
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
        pending: Callable[[], tuple[Sequence[PendingMessage], int]],
        closes_store: bool,
        resumes: bool = True,
    ) -> None:
        self._store = store
        self._key = key
        self._policy = policy
        self._patience = min(policy.store_timeout, policy.lease * _ANSWER)
        self._validity = timedelta(seconds=min(policy.validity_of_handles(transparent=transparent), _LONGEST))
        self._needs = {"model": model, "config": fingerprint, "backend": transparent}
        self._publish = publish
        self._pending = pending
        self._closes_store = closes_store
        self._resumes = resumes
        self._loop = asyncio.get_running_loop()
        self._owner = uuid.uuid4().hex

        self._fence: int | None = None
        """None: the store has not yet given it the conversation."""
        self._unanswered = False
        """A claim was not answered: the store may give it the conversation yet."""
        self._renew_at = 0.0
        self.deadline = 0.0
        """On the loop's clock: from then on the session must not write."""
        self.lost: SessionLost | None = None
        """Another session has the conversation."""

        self._kept: StoredHandle | None = None
        """What the store holds, or will."""
        self._is_ours = False
        """It came in this session."""
        self._sequence = 0
        self._dirty = False
        """There is something to write."""
        self._failing: dict[str, float] = {}
        """What the store does not do, and since when."""
        self._wake = asyncio.Event()
        self._news = Waiters()
        """Woken when the lease was looked after."""
        self._finishing = False
        self.closing = False
        """It has but to close the store: that is not to be cancelled."""
        self.closed = False

    # ------------------------------------------------------------------ the start

    async def load(self) -> Kept | None:
        """Claim the conversation; return what to start with, or None where nothing is kept that may be used.

        Raises:
            KeyInUse: Another session has it, and did not leave it in time.
            ConfigurationError: The store cannot be used as it is.
            ConnectFailed: The store does not answer, and there must be no session without (`Policy.lease_outage`).
        """
        claim = await self._claim_in_time()
        if claim is None or claim.entry is None or not claim.entry.data or not self._resumes:
            return None
        if claim.entry.data.startswith(SEALED):
            raise ConfigurationError(
                "the record of this conversation is encrypted; open the store with resumekit.encryption.EncryptedStore"
            )
        try:
            return self._usable(_record_in(claim.entry.data))
        except (msgspec.DecodeError, LocalProtocolError, TypeError) as error:
            problem = f"the record cannot be read, so the conversation begins anew: {redact(str(error))}"
            self._publish(StoreFailed(operation="claim", problem=problem[:300]))
            return None

    def _usable(self, record: StoredHandle) -> Kept | None:
        now = datetime.now(UTC)
        age = max((now - record.issued_at).total_seconds(), 0.0)
        given = {"model": record.model, "config": record.fingerprint, "backend": record.transparent}
        problems = [f"it was stored for another {what}" for what, value in self._needs.items() if given[what] != value]
        if record.expires_at <= now:
            problems.append("expired")
        if problems or record.poisoned:
            reason = problems[0] if problems else "poisoned"
            self._publish(HandleRefused(digest=record.digest, age=age, reason=reason, poisoned=record.poisoned))
            return None
        self._kept = record
        self._publish(
            Continued(
                digest=record.digest,
                age=age,
                resent_messages=len(record.pending),
                left_out=record.left_out,
                detached=record.detached,
            )
        )
        return Kept(record.handle, age, record.pending)

    async def _claim_in_time(self) -> Claim | None:
        """Claim it as soon as it is free; None: the store does not answer, and the session goes on without."""
        begun = self._loop.time()
        over = begun + self._policy.first_connect_deadline
        told = False
        while True:
            try:
                claim = await self._claim()
            except KeyInUse as busy:
                now = self._loop.time()
                if self._policy.key_in_use == "raise" or now >= over:
                    raise KeyInUse(busy.seconds, now - begun) from None
                if not told:
                    self._publish(WaitingForKey(seconds=busy.seconds))
                    told = True
                await asyncio.sleep(min(max(busy.seconds, 0.01), self._policy.lease * _POLL, over - now))
                continue
            if claim is None and self._policy.lease_outage == "stop":
                if self._loop.time() >= over:
                    elapsed = self._loop.time() - begun
                    raise ConnectFailed("the handle store does not answer", attempts=0, elapsed=elapsed)
                await asyncio.sleep(self._policy.lease * _POLL)
                continue
            if claim is not None and claim.held_for > 0:
                await self._wait_for_the_other(claim.held_for)
            return claim

    async def _wait_for_the_other(self, seconds: float) -> None:
        """Until it must have noticed that the conversation is ours now; ours all the while."""
        self._publish(WaitingForKey(seconds=seconds))
        over = self._loop.time() + seconds
        while (left := over - self._loop.time()) > 0:
            await asyncio.sleep(min(left, self._policy.lease / 3))
            await self._renew()
            if self.lost is not None:
                raise KeyInUse(self._policy.lease, seconds)

    # ------------------------------------------------------------------ while it lives

    def save(self, record: HandleRecord, now: float) -> None:
        """Have a record kept; `now` is on the clock of `HandleRecord.received_at`."""
        issued = datetime.now(UTC) - timedelta(seconds=now - record.received_at)
        self._is_ours = True
        self._kept = StoredHandle(
            handle=record.handle,
            index=record.index,
            connection=record.connection,
            issued_at=issued,
            expires_at=issued + self._validity,
            model=record.model,
            transparent=record.transparent,
            fingerprint=record.fingerprint,
        )
        self._note()

    def touch(self) -> None:
        """Have the messages kept that the newest handle does not hold: they are others now."""
        if self._kept is not None and not self._kept.poisoned and not self._dirty:
            self._note()

    def forget(self) -> None:
        """Have the record deleted."""
        self._kept = None
        self._note()

    def poison(self, record: HandleRecord) -> None:
        """Have the record marked, so that nobody uses it again."""
        if self._kept is not None and self._kept.handle == record.handle:
            self._kept = replace(self._kept, poisoned=True)
            self._note()

    def finish(self) -> None:
        """Have the last record written once more: it is valid for some time after the end of its connection."""
        if self._kept is not None and self._is_ours and not self._kept.poisoned:
            self._kept = replace(self._kept, expires_at=datetime.now(UTC) + self._validity)
        if self._kept is not None and not self._kept.poisoned:
            self._kept = replace(self._kept, detached=True)
            self._note()
        self._finishing = True
        self._wake.set()

    def _note(self) -> None:
        self._dirty = True
        self._wake.set()

    def slept(self, seconds: float) -> None:
        """Take into account that the machine was suspended, and the loop's clock with it; that of the store was not."""
        self.deadline -= seconds

    async def hold(self) -> None:
        """Return once the session may write; wait for the store where it has to be asked.

        Raises:
            SessionLost: Another session has the conversation.
        """
        if self._loop.time() >= self.deadline:
            self._renew_at = self._loop.time()
            self._wake.set()
        while self._loop.time() >= self.deadline:
            if self.lost is not None:
                raise self.lost
            await self._news.wait()

    # ------------------------------------------------------------------ the task

    async def run(self) -> None:
        """Do what is noted, and renew, until `finish` or `lost`; whatever ends it, a store of its own is closed.

        Cancelled, it leaves in order all the same, if the store is quick (`Policy.close_wait`): the next session would have to
        wait for the end of the lease.
        """
        try:
            while self.lost is None and not (self._finishing and not self._wake.is_set()):
                await self._wait()
                if self._loop.time() >= self._renew_at and not (self._finishing and self._fence is None):
                    await self._renew()
                await self._write()
            await self._release()
        except asyncio.CancelledError:
            self.closing = True
            self.finish()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._policy.close_wait):
                    await self._write()
                    await self._release()
            raise
        finally:
            await self.close()

    async def _release(self) -> None:
        if self._unanswered and self._fence is None and self.lost is None:
            # What was asked for and given up may be done yet; then nobody would have the conversation for a lease.
            with contextlib.suppress(KeyInUse, ConfigurationError, TimeoutError):
                async with asyncio.timeout(self._policy.close_wait):
                    await self._claim()
        if self._fence is not None and self.lost is None:
            await self._ask("release", self._store.release, self._key, self._fence)

    async def close(self) -> None:
        """Close a store of its own; where that was cancelled, once more."""
        self.closing = True
        if self._closes_store:
            await self._ask("close", self._store.close)
        self.closed = True

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._renew_at):
                await self._wake.wait()
        self._wake.clear()

    async def _renew(self) -> None:
        """Look after the lease: moves `deadline`, or sets `lost`."""
        asked = self._loop.time()
        self._renew_at = asked + self._policy.lease / 3
        try:
            if self._fence is None:
                await self._claim()
            else:
                answer = await self._ask("renew", self._store.renew, self._key, self._fence, self._policy.lease)
                if answer:
                    self.deadline = asked + self._policy.lease
                elif answer is not None:  # somebody else's, or nobody's: the store may have lost what it knew
                    await self._claim()
        except KeyInUse as error:
            self.lost = SessionLost("another session took the conversation over", advice="let that one go on")
            self.lost.__cause__ = error
        self._news.wake()

    async def _claim(self) -> Claim | None:
        """Claim the conversation; None: the store did not answer.

        Raises:
            KeyInUse: Another session has it.
            ConfigurationError: The store cannot be used as it is, and this is the first time that it is asked.
        """
        asked = self._loop.time()
        force = self._fence is None and self._policy.key_in_use == "take_over"
        self._unanswered = True
        try:
            claim = await self._ask("claim", self._store.claim, self._key, self._owner, self._policy.lease, force=force)
        except (KeyInUse, ConfigurationError):
            self._unanswered = False
            raise
        if claim is not None:
            self._unanswered = False
            self._fence, self._sequence = claim.fence, 0
            self.deadline = asked + self._policy.lease
            self._renew_at = asked + self._policy.lease / 3
            if self._is_ours:
                self._note()
        return claim

    async def _write(self) -> None:
        if not self._dirty or self._fence is None or self.lost is not None:
            return
        self._dirty = False
        done = await self._ask("save", self._store.save, self._key, self._fence, self._entry())
        if not done:
            self._dirty = True  # again, as soon as the lease was looked after
        if done is False:
            self._renew_at = min(self._renew_at, self._loop.time() + self._policy.lease * _POLL)

    def _entry(self) -> Entry:
        self._sequence += 1
        if self._kept is None:
            return Entry(data=b"", sequence=self._sequence, expires_at=datetime.now(UTC))
        messages, left_out = self._pending()
        record = replace(self._kept, pending=tuple(messages), left_out=left_out)
        return Entry(data=record.to_json(), sequence=self._sequence, expires_at=record.expires_at)

    # ------------------------------------------------------------------ the store

    async def _ask(
        self,
        operation: _Operation,
        method: Callable[..., Awaitable[_T]],
        *arguments: object,
        **options: object,
    ) -> _T | None:
        """Await what the store does; None where it failed, which is reported once until it answers again."""
        limit = asyncio.timeout(self._patience)
        try:
            async with limit:
                answer = await method(*arguments, **options)
        except KeyInUse:
            raise
        except Exception as error:
            if isinstance(error, ConfigurationError) and self.deadline == 0.0:
                raise
            late = limit.expired()
            self._failed(operation, None if late else error)
            return None
        since = self._failing.pop(_KINDS[operation], None)
        if since is not None and not self._failing:
            self._publish(StoreRecovered(seconds=self._loop.time() - since))
        return answer

    def _failed(self, operation: _Operation, error: Exception | None) -> None:
        """Report a failure, and decide what it means for the lease."""
        now = self._loop.time()
        if operation in ("claim", "renew") and self._policy.lease_outage == "go_on":
            self.deadline = now + self._policy.lease
        if now >= self.deadline:
            self._renew_at = now + self._policy.lease * _POLL  # the session waits for it
        told = bool(self._failing)
        self._failing.setdefault(_KINDS[operation], now)
        if error is not None:
            detail = "".join(traceback.format_exception(error))
            _log.debug("%s of the handle store raised\n%s", operation, self._clean(detail))
        if not told or operation == "close":
            problem = f"{type(error).__name__}: {error}" if error else f"no answer within {self._patience:g} s"
            self._publish(StoreFailed(operation=operation, problem=self._clean(problem)[:300]))

    def _clean(self, text: str) -> str:
        """Return what a store says without what it may quote: the handle, and the words of a conversation."""
        text = _RECORD.split(text, maxsplit=1)[0]
        if self._kept is not None:
            text = text.replace(self._kept.handle.reveal(), self._kept.digest)
        return redact(text)


_RECORD = re.compile(r"""[{\\"]*"(?:handle|pending|frame|clientContent|toolResponse|realtimeInput)\\*" ?:""")
"""A record, or a part of one, begins so."""


def _record_in(data: bytes) -> StoredHandle:
    if data.startswith(UNREADABLE):
        raise msgspec.DecodeError(data[len(UNREADABLE) :].decode(errors="replace"))
    record = StoredHandle.from_json(data)
    for message in record.pending:
        decode_client(message.frame)
    return record
