"""What a new connection is told first: setup, then the history of a session that starts fresh."""

from __future__ import annotations

from collections.abc import Sequence

from resumekit.core import events
from resumekit.core.conversation import Conversation
from resumekit.core.handles import HandleRecord
from resumekit.core.history import History
from resumekit.core.link import Link
from resumekit.core.policy import Policy
from resumekit.core.setup import Setup, TextForm
from resumekit.wire import HistoryTurn, content_frame

__all__ = ["Binding"]


class Binding:
    """Binds connections with a handle, or with history; never with both."""

    __slots__ = ("_holes", "_policy", "_setup", "_talk", "_transparent", "_turns", "history")

    def __init__(
        self, policy: Policy, setup: Setup, talk: Conversation, *, transparent: bool, loads_history: bool
    ) -> None:
        self._policy = policy
        self._setup = setup
        self._talk = talk
        self._transparent = transparent
        self.history = History(asks=loads_history)
        self._turns: Sequence[HistoryTurn] = ()
        self._holes = 0

    def setup_frame(self, link: Link, record: HandleRecord | None) -> str:
        """Return the frame that binds a connection; without a record the session starts fresh."""
        link.record = record
        self._turns, self._holes = (), 0
        history_first: bool | None = False
        if record is None:
            self._turns, self._holes = self._talk.start_fresh(link, self.history.take())
            if self._turns or not self._talk.seeding:
                history_first = bool(self._turns) and self._setup.text_form is TextForm.REALTIME
            else:
                history_first = None  # as the app has it
        resumption = self._policy.resumption == "on"
        return self._setup.bind(
            None if record is None else record.handle,
            resumption=resumption,
            transparent=resumption and self._transparent,
            history=history_first,
        )

    def replay_frame(self, link: Link) -> str | None:
        """Return the history that is to be replayed, once the connection is bound."""
        if not self._turns:
            return None
        link.floor_index = link.last_control_index = link.next_index
        link.next_index += 1
        return content_frame(self._turns, turn_complete=link.content_as_text)

    def told(self, link: Link, *, first: bool, planned: bool, downtime: float, now: float) -> events.Event:
        """Return the event that says how the conversation goes on; what waits is marked as sent again."""
        resend = self._talk.resend(link)
        replayed, self._turns = len(self._turns), ()
        if first:
            return events.Connected(connection=link.number, resumed=link.record is not None, replayed_turns=replayed)
        if link.record is None:
            return events.FreshStarted(
                connection=link.number,
                downtime=downtime,
                replayed_turns=replayed,
                holes=self._holes,
                resent_messages=resend.messages,
                lost_audio=resend.lost_audio,
            )
        return events.Resumed(
            connection=link.number,
            planned=planned,
            downtime=downtime,
            resent_messages=resend.messages,
            resent_audio=resend.audio,
            lost_audio=resend.lost_audio,
            handle_age=now - link.record.received_at,
        )
