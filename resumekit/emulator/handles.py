"""When which handle is sent, and which state it names.

As clients of the two backends report it: the Developer API sends a handle some 0.6 s after a turn, and takes it back while
the next turn is open; Vertex sends one within 70 ms of a turn, more in mid-answer, and takes none back.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from resumekit.emulator.ledger import Position

if TYPE_CHECKING:
    from resumekit.emulator.connection import Connection
    from resumekit.emulator.conversation import Conversation
    from resumekit.emulator.frames import JsonObject
    from resumekit.emulator.gate import Terms

__all__ = ["Checkpoint", "HandleSource"]


class Checkpoint(NamedTuple):
    """What a handle stands for."""

    state: Conversation
    position: Position
    """The same state in the ledger's terms."""


class HandleSource:
    """Sends the `sessionResumptionUpdate` frames of one connection."""

    def __init__(self, connection: Connection, terms: Terms) -> None:
        self.lock = asyncio.Lock()
        """Held while a client message is taken in: nobody sees half of it in a state."""
        self.consumed = 0
        """Index of the last client message that the state holds."""
        self.heard_until = 0
        """Index of the last client message before the speech that is open."""
        self.not_counted: list[int] = []
        """Indices of client messages that the index which is shown leaves out."""
        self.turn_is_open = bool(terms.state.calls)
        """The model answers, or waits for a response."""
        self._connection = connection
        self._settings = connection.settings
        self._terms = terms
        self._history: list[Checkpoint] = []
        self._update: asyncio.Task[None] | None = None
        self._counted_before = 0 if connection.settings.index_restarts else self._messages_before()
        self.remember()

    def _messages_before(self) -> int:
        records, session = self._connection.service.records, self._terms.session.id
        me = self._connection.record.number
        return sum(one.frames_in - 1 for one in records if one.session_id == session and one.number != me)

    @property
    def _sends(self) -> bool:
        return self._terms.sends_handles and not self._connection.withholds_handles

    def remember(self) -> None:
        """Keep the state after a message, for handles that lag behind."""
        if self._settings.lag > 0:
            self._history.append(self._snapshot())
            del self._history[: -self._settings.lag - 1]

    def capture(self) -> Checkpoint:
        """Return a state that a handle may name now; the caller holds the lock."""
        if self._settings.lag > 0:
            state, position = self._history[0]
            return Checkpoint(state.snapshot(), position)
        return self._snapshot()

    def _snapshot(self) -> Checkpoint:
        connection = self._connection
        state, number = self._terms.state.snapshot(), connection.record.number
        calls = connection.service.ledger.calls_on(number)
        if self._settings.snapshot_holds_speech:
            return Checkpoint(state, Position(number, self.consumed, calls))
        state.forget_open_speech()
        return Checkpoint(state, Position(number, self.consumed, calls, self.heard_until))

    async def checkpoint(self) -> Checkpoint:
        """Return what `capture` does, between two messages."""
        async with self.lock:
            return self.capture()

    async def run(self) -> None:
        """Send the updates that no turn causes."""
        if self._settings.handle_at_setup:
            await self.send()
        interval = self._settings.handle_interval
        while interval is not None:
            await self._connection.sleep(interval)
            if self._may_send:
                await self.send()

    async def turn_opened(self) -> None:
        """A generation starts: the Developer API takes its handle back until the turn ends."""
        was_open, self.turn_is_open = self.turn_is_open, True
        if self._settings.always_resumable:
            return
        if self._update is not None:
            self._update.cancel()
            self._update = None
        if self._sends and not was_open:
            await self._connection.send({"sessionResumptionUpdate": {}})

    async def content_sent(self, count: int, *, is_call: bool = False) -> None:
        """The answer's n-th content frame, or a toolCall, was sent."""
        every = self._settings.mid_answer_handles
        if self._settings.tool_call_handles if is_call else every and count % every == 0:
            await self.send()

    def turn_ended(self) -> None:
        """The model's turn ends, and with it whatever was heard before it."""
        if not self._terms.state.speech_is_open:
            self.heard_until = self.consumed

    def part_closed(self) -> None:
        """A turnComplete was sent, and the answer is still to come."""
        if self._settings.always_resumable:
            self.turn_closed()

    def turn_closed(self, saved: Checkpoint | None = None) -> None:
        """The turn is over (its turnComplete was sent): a handle follows.

        Args:
            saved: The state at turnComplete; used if handles name that one.
        """
        if self._settings.snapshot_at != "turn_complete":
            saved = None
        if self._sends:
            self._update = self._connection.spawn(self._send_later(saved))

    async def _send_later(self, saved: Checkpoint | None) -> None:
        delay = self._settings.handle_delay or 0.0
        await self._connection.sleep(delay / 2)
        await self._connection.happened("before_handle")
        await self._connection.sleep(delay / 2)
        if self._may_send:
            self._update = None
            await self.send(saved)

    @property
    def _may_send(self) -> bool:
        """The Developer API hands nothing out while a turn, or the user's speech, is open."""
        busy = self.turn_is_open or self._terms.state.speech_is_open
        return bool(self._settings.always_resumable) or not busy

    async def send(self, saved: Checkpoint | None = None) -> None:
        """Save a state and send its handle."""
        if not self._sends:
            return
        state, position = saved or await self.checkpoint()
        connection = self._connection
        service, record = connection.service, connection.record
        handle = service.store.issue(
            self._terms.session,
            self._terms.model,
            state,
            position,
            service.now(),
            poisoned=connection.issues_poison,
        )
        record.handles_issued += 1
        update: JsonObject = {"newHandle": handle, "resumable": True}
        shown = position.frames + self._settings.index_base - 1 + self._counted_before
        shown -= sum(index <= position.frames for index in self.not_counted)
        if self._terms.is_transparent and shown > 0:
            update["lastConsumedClientMessageIndex"] = str(shown)
        await connection.send({"sessionResumptionUpdate": update}, "handle")
