"""The one record that a session resumes from, and what the service is known to hold with it (RULES 1, 3, 14).

A record becomes the base only if its state is known to be quiet; then everything that it covers is
let go. Where audio streams, it has to age first.
"""

from __future__ import annotations

from collections.abc import Callable

from resumekit.core import events
from resumekit.core.handles import Candidate, HandleRecord
from resumekit.core.link import Link
from resumekit.core.outbox import Message, Outbox
from resumekit.core.policy import Policy
from resumekit.core.setup import Setup
from resumekit.core.turns import Turn
from resumekit.wire import ResumptionHandle, SessionResumptionUpdate

__all__ = ["ResumePoint"]


class ResumePoint:
    """`base`, the record that may become it, and the handles that never will.

    Args:
        policy: what is assumed of the service.
        setup: what a record is valid for.
        outbox: what it holds is let go as soon as a record covers it.
        transparent: the service reports what its records cover.
        notify: tells the application.
        save: keeps a new base for a later session.
        keep_words: notes a message that is let go for the transcript.
    """

    __slots__ = (
        "_keep_words",
        "_notify",
        "_outbox",
        "_policy",
        "_save",
        "_setup",
        "_transparent",
        "aged",
        "ageing",
        "base",
        "poisoned",
    )

    def __init__(
        self,
        policy: Policy,
        setup: Setup,
        outbox: Outbox,
        *,
        transparent: bool,
        notify: Callable[[events.Event], None],
        save: Callable[[HandleRecord], None],
        keep_words: Callable[[Message], None],
    ) -> None:
        self._policy = policy
        self._setup = setup
        self._outbox = outbox
        self._transparent = transparent
        self._notify = notify
        self._save = save
        self._keep_words = keep_words
        self.base: HandleRecord | None = None
        self.aged = False
        """Audio was streaming when `base` came: its state may hold the beginning of a spoken question."""
        self.ageing: Candidate | None = None
        """The record that becomes the base if no turn opens for long enough."""
        self.poisoned: tuple[ResumptionHandle, ...] = ()
        """Never resumed from again, whoever offers them."""

    def record(self, handle: ResumptionHandle, index: int | None, connection: int, now: float) -> HandleRecord:
        """Return a record of a handle of this conversation."""
        return HandleRecord(
            handle=handle,
            index=index,
            connection=connection,
            received_at=now,
            model=self._setup.model,
            transparent=self._transparent,
            fingerprint=self._setup.fingerprint,
        )

    def clear(self) -> None:
        """Forget every record: refused, expired, or the buffer behind them is gone."""
        self.base = self.ageing = None

    def candidate(self, link: Link, update: SessionResumptionUpdate, now: float) -> Candidate | None:
        """Take an update; None: it brings nothing that could be resumed from."""
        if update.handle is None or not update.resumable or self._policy.resumption == "off":
            return None
        self._notify(events.HandleReceived(connection=link.number, digest=repr(update.handle), index=update.index))
        if not self._policy.older_handles_valid:
            self.clear()
        if update.handle in self.poisoned:
            return None
        index = update.index
        if index is not None:
            index += 1 - self._policy.first_index
        elif self._transparent and self._policy.first_index == 0 and link.next_index > 1:
            return None  # a zero is left out on the wire: the first message may be in it, or not
        return Candidate(self.record(update.handle, index, link.number, now), link.next_index)

    def offer(self, link: Link, candidate: Candidate) -> None:
        """Make a record the base if it may be one, or let it age (RULES 3)."""
        if link.busy or not self._covers_enough(link, candidate.record):
            return
        if not link.audio_since_turn or link.ended:
            self._adopt(link, candidate)
            return
        self.promote(link)
        if self.ageing is None:
            self.ageing = candidate

    def promote(self, link: Link) -> None:
        """Make the ageing record the base if no turn opened for long enough (RULES 3).

        Only the time up to the last byte counts, and not that of a burst that has just come: what a silent connection
        holds back is unknown.
        """
        candidate = self.ageing
        if candidate is not None and link.steady_until - candidate.record.received_at >= self._policy.audio_resend:
            self._adopt(link, candidate)
            self.aged = True

    def _covers_enough(self, link: Link, record: HandleRecord) -> bool:
        if not self._transparent:
            return not link.floor_index or link.turn_end_at is not None
        index = record.index or 0
        return index >= max(link.turn_end_index, link.mark_index, link.floor_index, link.pruned_index)

    def _adopt(self, link: Link, candidate: Candidate) -> None:
        self.base = record = candidate.record
        self.aged = False
        self.ageing = None
        covered = link.pruned_index = (record.index or 0) if self._transparent else link.covered_index
        for message in self._outbox.control.prune(covered):
            self._keep_words(message)
        if self._transparent and self._policy.handles_hold_audio:
            self._outbox.prune_audio(covered)
        else:
            # What was sent since the turn ended may not be in the handle's state, whenever it came.
            self._outbox.prune_audio(link.turn_end_last_index)
        if not self._transparent:
            for message in self._outbox.control.sent:
                message.doubtful = message.index < candidate.next_index
        link.ended = ()
        self._save(record)

    # ------------------------------------------------------------------ what makes it useless

    def bound_sent_control(self, link: Link) -> None:
        """RULES 11: where no handle comes for too long, the oldest turns go and the base is void."""
        lane = self._outbox.control
        policy = self._policy
        size = lane.sent_bytes
        if len(lane.sent) <= policy.control_messages and size <= policy.control_bytes:
            return
        dropped = 0
        needed = link.mark_index if link.activity_open else 0
        while lane.sent and lane.sent[0].index != needed and lane.sent[0].turn not in link.turns:
            message = lane.sent.pop(0)
            self._keep_words(message)
            size -= message.body.size
            dropped += 1
            if len(lane.sent) <= policy.control_messages // 2 and size <= policy.control_bytes // 2:
                break
        if dropped:
            self._void(dropped)

    def bound_ended(self, link: Link) -> None:
        """Let go of answered turns of which no message is kept: without handles there may be any number of them.

        The next one of its kind takes over the audio of each.
        """
        if len(link.ended) <= 2 * self._policy.control_messages:
            return
        lane = self._outbox.control
        needed = {turn for message in (*lane.sent, *lane.unsent) for turn in (message.turn, message.background)}
        kept: list[Turn] = []
        newer: dict[bool, Turn] = {}
        for turn in reversed(link.ended):
            heir = newer.get(turn.by_voice)
            if heir is None or turn in needed:
                newer[turn.by_voice] = turn
                kept.append(turn)
            else:
                heir.audio += turn.audio
        link.ended = tuple(reversed(kept))

    def bound_shadows(self) -> None:
        """Give it up where too many answered turns would have to be run again from it (RULES 5)."""
        again = self._outbox.control.unsent
        shadows = {message.turn for message in again if message.turn is not None and message.turn.whole}
        if len(shadows) > self._policy.max_shadow_turns:
            self._void(len(again))

    def _void(self, messages: int) -> None:
        if self.base is not None:
            self._notify(events.ResumePointDropped(messages=messages))
        self.clear()
