"""The current connection, as far as the engine needs to know it."""

from __future__ import annotations

from typing import Literal

from resumekit.core.handles import Candidate, HandleRecord
from resumekit.core.policy import Policy
from resumekit.core.turns import Turn

__all__ = ["Link"]

_STRETCH = 1.0
"""Seconds that are taken for one burst: what a network held back comes all at once."""


class Link:  # no Struct: its attributes are set for each frame, and a Struct looks twice at each
    """One connection, from its dial to its end."""

    __slots__ = (
        "_pings", "_pings_when_asked", "_pongs", "_proof", "_stretch", "activity_open", "answered_at", "asked_at",
        "audio_from", "audio_since_turn", "behind", "behind_until", "bound_at", "closing", "content_as_text",
        "covered_index", "echoed_at", "ended", "floor_index", "heard", "in_flight", "judged_at", "lane_released",
        "last_byte", "last_control_index", "lost_ahead", "mark_index", "mute_reply", "next_index", "number", "opened", "owed",
        "owed_wait", "pace_over", "pinged_at", "postponed", "proven", "pruned_index", "record", "speaking",
        "steady_until", "suspected_at", "turn_end_at", "turn_end_index", "turn_end_last_index", "turns", "unreadable",
    )  # fmt: skip

    def __init__(self, number: int) -> None:
        self.number = number
        self.opened = False
        """The HTTP upgrade is done."""
        self.record: HandleRecord | None = None
        """What it was bound with."""
        self.bound_at: float | None = None
        self.closing = False
        """It was left for the next one, and is being closed."""
        self.proven = False
        """It completed a turn, or stayed up long enough."""
        self.lost_ahead = 0
        """How many connections that were dialled ahead of leaving it came to nothing."""

        # Sending
        self.in_flight = 0
        """Frames that the transport has not taken yet."""
        self.next_index = 1
        """What the service will count the next frame as; setup was 0."""
        self.last_control_index = 0
        self.floor_index = 0
        """Index of the last frame of replayed history: a handle from before it is worthless."""
        self.activity_open = False
        self.audio_from = 0
        """Index of the first audio; 0: there was none."""
        self.mark_index = 0
        """Index of the newest activity mark."""
        self.speaking = False
        """The service said that it hears speech (automatic detection, where it tells)."""
        self.content_as_text = False
        """After replayed history the model takes text as `realtimeInput.text` only."""

        # Turns
        self.turns: tuple[Turn, ...] = ()
        """Asked on this connection and not ended, first in, first out (RULES 7)."""
        self.ended: tuple[Turn, ...] = ()
        """Ended on this connection, and not anchored by a handle yet."""
        self.owed: Turn | None = None
        """It ended a part right after a tool response was written: another is waited for, on a guess."""
        self.owed_wait: Literal["on", "pinged", "over"] = "on"
        """Whether the next question waits for the part that is owed."""
        self.mute_reply = False
        """The last turn ended right after a tool response was written."""
        self.postponed: Candidate | None = None
        """A record that came while a turn seemed to go on."""
        self.turn_end_index = 0
        """`last_control_index` when the last turn ended: a handle must cover it (RULES 1)."""
        self.turn_end_last_index = 0
        """Index of the last frame of any kind that was sent before the last turn ended."""
        self.turn_end_at: float | None = None
        self.pace_over = False
        """Questions wait no longer for the answers to those that were sent again: `Policy.resent_wait` is over."""
        self.lane_released = False
        """`Policy.rebind_timeout` is over: nothing waits for a call to be made again any more."""
        self.pruned_index = 0
        """What the newest adopted handle covers: one that covers less is a regressed state (RULES 1)."""
        self.covered_index = 0
        """Handle-only mode: what a handle that comes now covers (RULES 14)."""
        self.audio_since_turn = False

        # Signs of life
        self.last_byte = 0.0
        self.steady_until = 0.0
        """A byte came then, and another one later: what was sent before was not held back on the way."""
        self._stretch = 0.0
        self.asked_at = 0.0
        """When the last question, or tool response, was sent."""
        self.answered_at = 0.0
        """When the service last said something to a question."""
        self.heard = False
        """A sign of life came since the last question was sent."""
        self.pinged_at: float | None = None
        """A ping is out since then."""
        self.echoed_at = 0.0
        """When a ping was last answered."""
        self._pings = 0
        """So many were sent ..."""
        self._pongs = 0
        """... and so many answered, first in, first out."""
        self._proof = 0
        """The ping whose answer proves that the line lives: that to an older one may have been under way for long."""
        self._pings_when_asked = 0
        self.judged_at = 0.0
        """When a ping was last sent whose answer, and no other word before it, says that the handle is dead."""
        self.suspected_at: float | None = None
        """The process was frozen then, and nothing has come since."""
        self.unreadable = 0
        """Frames since the last one that could be read."""
        self.behind = 0.0
        """What comes before `behind_until` may have waited this long in the socket."""
        self.behind_until = 0.0

    def paced(self, *, split: bool) -> bool:
        """Whether a question must wait: a resent turn is not being answered yet (RULES 7).

        It also waits for tool responses on record: an interruption would lose them for the model. Where
        turns may end with their calls, it waits for the end of a shadow turn: nobody could tell its next
        part from the answer to the question.
        """
        if not self.turns:
            return False
        turns = [turn for turn in self.turns if not turn.stalled]
        if self.pace_over or not any(turn.resent for turn in turns):
            return False
        first = turns[0]
        if len(turns) > 1 or not first.seen or first.waiting_since is not None:
            return True
        return first.whole and split and bool(first.tools)

    @property
    def answering(self) -> Turn | None:
        """The turn that the next output belongs to: the one under way, else the first that may begin."""
        for turn in self.turns:
            if turn.seen:
                return turn
        return next((turn for turn in self.turns if not turn.stalled), None)

    @property
    def busy(self) -> bool:
        """Whether the conversation could not go on from here in another place (RULES 1)."""
        return bool(self.turns) or self.activity_open

    @property
    def held_from(self) -> int | None:
        """Position, among the app's messages, from which all wait for a call to be made again (RULES 8)."""
        if self.lane_released or not self.turns:
            return None
        waiting = (turn.waiting_since for turn in self.turns)
        return min((position for position in waiting if position is not None), default=None)

    def silence_ends(self, policy: Policy, *, proactive: bool) -> float:
        """Return when to ping, or, where a ping is out, when to give the connection up.

        An answer is expected only after an explicit question, while no tool of the app runs, and
        never of a proactive model. The question must arrive, too: whatever else comes, a
        ping must be answered, or the question.
        """
        if self.suspected_at is not None:
            return self.suspected_at + policy.suspect_patience
        asked = any(turn.number is not None and not turn.waits_for_app for turn in self.turns)
        if not asked or proactive:
            return self.last_byte + (policy.ping_idle if self.pinged_at is None else policy.abort_idle)
        heard, answered = max(self.last_byte, self.asked_at), max(self.asked_at, self.answered_at)
        if self.pinged_at is None:
            return min(heard + policy.ping_expecting, max(answered, self.echoed_at) + policy.ping_idle)
        return min(heard + policy.abort_expecting, max(answered, self.pinged_at) + policy.abort_idle)

    def progress_ends(self, policy: Policy, *, owes_speech: bool) -> float | None:
        """Return when its handle counts as dead; None: it owes nothing, or has proved the handle (RULES 12)."""
        if self.record is None or self.turn_end_at is not None:
            return None
        if self.activity_open or any(turn.waits_for_app for turn in self.turns):
            return None
        if not self.turns and not owes_speech:
            return None
        return max(self.asked_at, self.answered_at) + policy.progress_watchdog

    def pace_ends(self, policy: Policy) -> float:
        """Return when a question has waited long enough for the answer to one that was sent again."""
        return max(self.asked_at, self.answered_at) + policy.resent_wait

    def ask(self, now: float) -> None:
        """Note that a question, or a tool response, is sent."""
        self.asked_at = now
        self.heard = False
        self._pings_when_asked = self._pings

    def arrive(self, now: float) -> None:
        """Note a frame before it is looked at."""
        if now - self._stretch >= _STRETCH:
            self.steady_until, self._stretch = self._stretch, now

    def hear(self, now: float) -> None:
        """Note a sign of life."""
        if now - self._stretch >= _STRETCH:
            self.arrive(now)
        self.last_byte = now
        self.heard = True
        self.suspected_at = None

    def doubt(self, now: float) -> None:
        """Note that a ping is sent: its answer will be proof, and none to an older one."""
        self._pings += 1
        self._proof = self._pings
        self.pinged_at = now

    @property
    def doubts_question(self) -> bool:
        """Whether a ping is out that was sent since the last question was."""
        return self.pinged_at is not None and self._proof > self._pings_when_asked

    def echo(self, now: float) -> bool:
        """Note the answer to a ping; return whether it is the one that counts."""
        self._pongs = min(self._pongs + 1, self._pings)
        if self._pongs < self._proof:
            self.last_byte = now
            return False
        heard = self.heard
        self.trust(now)
        self.heard = heard or self._pongs > self._pings_when_asked
        return True

    def trust(self, now: float) -> None:
        """Take the line for alive."""
        self.hear(now)
        self.pinged_at = None
        self.echoed_at = now

    def fall_behind(self, seconds: float, now: float) -> None:
        """Note that nothing was read for a while: what comes next may be old."""
        self.behind = seconds
        self.behind_until = now + seconds

    def time_left(self, announced: float | None, policy: Policy, now: float) -> float | None:
        """Return what is left of the time that goAway announced, whenever it came."""
        if now >= self.behind_until:
            return announced
        return max(0.0, (policy.go_away_assumed if announced is None else announced) - self.behind)
