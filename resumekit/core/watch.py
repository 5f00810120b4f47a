"""Looks after a live connection: silence, a resumed handle that is dead, a socket that is not read, a frozen process.

`Watch` sets timers, pings and tells; what becomes of a connection that fails is the engine's to say.
"""

from __future__ import annotations

from collections.abc import Callable

from resumekit.core import actions, events
from resumekit.core.inbox import Inbox
from resumekit.core.link import Link
from resumekit.core.policy import Policy
from resumekit.core.timers import Timers

__all__ = ["Watch"]


class Watch:
    """The signs of life of the current connection (RULES 12).

    Args:
        policy: how long silence is borne.
        proactive: the model may leave a question unanswered, so nothing is expected of it.
        timers: the engine's; `silence` and `progress` are set here, and `owed`.
        inbox: frames that the application has not taken.
        do: has an action carried out.
    """

    __slots__ = ("_do", "_inbox", "_mute", "_policy", "_proactive", "_timers", "_unread_since")

    def __init__(
        self, policy: Policy, *, proactive: bool, timers: Timers, inbox: Inbox, do: Callable[[actions.Action], None]
    ) -> None:
        self._policy = policy
        self._proactive = proactive
        self._timers = timers
        self._inbox = inbox
        self._do = do
        self._mute = 0
        """Resumed connections in a row that said nothing to a turn."""
        self._unread_since: float | None = None

    def arm(self, link: Link, *, owes_speech: bool) -> None:
        """Set the timers anew, after a message was sent or a sign of life came.

        A frame that comes moves none: a timer that runs out looks again.
        """
        self._timers["silence"] = link.silence_ends(self._policy, proactive=self._proactive)
        due = None if self._proactive else link.progress_ends(self._policy, owes_speech=owes_speech)
        if due is None or link.judged_at >= due:  # the pong is waited for
            self._timers.stop("progress")
        else:
            self._timers["progress"] = due

    def is_dead(self, link: Link, now: float) -> bool:
        """Whether there was silence and no pong; silence alone is pinged. Call it when `silence` runs out."""
        if self._inbox.full:  # the socket is not read, so its silence means nothing
            link.trust(now)
        if link.silence_ends(self._policy, proactive=self._proactive) > now:
            return False
        if link.pinged_at is not None:
            return True
        self._doubt(link, now)
        return False

    def is_mute(self, link: Link, now: float) -> bool:
        """Whether the service said nothing to a turn that it owes. Call it when `progress` runs out, and for each pong.

        It is to blame only if a sign of life came meanwhile, so a silent connection is pinged, and gets as long again;
        and what it said may be held back on the way, so the pong to a last ping has to come before any of it.
        The handle is to blame only if nothing at all was answered.
        """
        due = link.progress_ends(self._policy, owes_speech=True)
        if due is None or due > now:
            return False
        if self._inbox.full or not link.heard:
            link.answered_at = now
            if not (self._inbox.full or link.doubts_question):
                self._doubt(link, now)
            return False
        if link.judged_at < due:
            link.judged_at = now
            self._doubt(link, now)
            return False
        self._mute = 0 if any(turn.begun for turn in link.turns) else self._mute + 1
        return True

    @property
    def poisoned(self) -> bool:
        """Whether the handle had its second chance, and is dead."""
        return self._mute > 1

    def progressed(self) -> None:
        """Note that a turn was completed, or that a new session of the service began."""
        self._mute = 0

    def look_at_reading(self, link: Link | None, now: float) -> None:
        """Tell once when the socket is not read any more, and once when it is again."""
        if self._inbox.full is (self._unread_since is not None):
            return
        if self._unread_since is None:
            self._unread_since = now
            self._notify(events.SlowConsumer(frames=len(self._inbox), size=self._inbox.size))
            return
        seconds = now - self._unread_since
        self._unread_since = None
        self._notify(events.ReadingResumed(seconds=seconds))
        if link is not None:
            link.fall_behind(seconds, now)

    def suspect(self, link: Link, seconds: float, now: float) -> None:
        """Ping a connection after the process was frozen; what ran out meanwhile proves nothing."""
        link.fall_behind(seconds, now)
        link.answered_at = link.suspected_at = now
        self._timers.postpone(now + self._policy.proven_after, "proof")
        self._doubt(link, now)

    def wait_for_part(self, link: Link, now: float, *, ended: bool) -> None:
        """Hold the next question back for the part that a turn is owed, for a while."""
        if link.owed is None:
            return
        if ended:
            self._timers["owed"] = now + self._policy.part_wait
            link.owed_wait = "on"
        elif link.owed_wait == "pinged":
            link.owed_wait = "over"

    def doubt_part(self, link: Link, now: float) -> None:
        """It did not come. Silence proves nothing on a connection that may be dead: the next sign of life does."""
        if link.owed is None:
            return
        link.owed_wait = "pinged"
        self._doubt(link, now)

    def _doubt(self, link: Link, now: float) -> None:
        link.doubt(now)
        self._do(actions.SendPing(link.number))

    def _notify(self, event: events.Event) -> None:
        self._do(actions.Notify(event))
