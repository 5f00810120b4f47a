"""The engine's questions to `Decisions`: the details of each, gathered in one place."""

from __future__ import annotations

from collections.abc import Callable

from resumekit.core.conversation import Conversation
from resumekit.core.failures import Failure, Verdict
from resumekit.core.handles import HandleRecord
from resumekit.core.link import Link
from resumekit.core.policy import (
    Decisions,
    FailureDetails,
    Move,
    MoveDetails,
    Policy,
    Recovery,
    RecoveryAction,
    RecoveryDetails,
)
from resumekit.core.setup import Setup

__all__ = ["Questions"]


class Questions:
    """Asks `decisions`, with what is known of the session.

    Args:
        decisions: who answers.
        policy: the session's.
        setup: names the model.
        talk: what was said, and what the service holds of it.
        transparent: the service reports what it consumed.
        credentials_renewable: a new dial may bring new credentials.
        random: draws from [0, 1).
    """

    __slots__ = ("_decisions", "_policy", "_random", "_renewable", "_setup", "_talk", "_transparent")

    def __init__(
        self,
        decisions: Decisions,
        policy: Policy,
        setup: Setup,
        talk: Conversation,
        *,
        transparent: bool,
        credentials_renewable: bool,
        random: Callable[[], float],
    ) -> None:
        self._decisions = decisions
        self._policy = policy
        self._setup = setup
        self._talk = talk
        self._transparent = transparent
        self._renewable = credentials_renewable
        self._random = random

    def move(self, link: Link, time_left: float | None, now: float) -> Move:
        """Ask when to leave a connection that is to end."""
        return self._decisions.choose_move(
            MoveDetails(
                time_left=time_left,
                turn_open=bool(link.turns),
                pending_calls=sum(turn.waits_for_app for turn in link.turns),
                handle_age=_age(self._talk.point.base, now),
                draw=self._random(),
                policy=self._policy,
            )
        )

    def verdict(
        self, failure: Failure, *, repeats: int, first: bool, seconds_down: float, with_handle: bool, now: float
    ) -> Verdict:
        """Ask what a failure means."""
        return self._decisions.classify_failure(
            FailureDetails(
                failure=failure,
                repeats=repeats,
                first=first,
                seconds_down=seconds_down,
                with_handle=with_handle,
                handle_age=_age(self._talk.point.base, now),
                credentials_renewable=self._renewable,
                policy=self._policy,
            )
        )

    def recovery(self, failure: Failure, verdict: Verdict, record: HandleRecord | None, now: float) -> Recovery:
        """Ask how to go on; a failure that is fatal leaves no choice."""
        if verdict is Verdict.FATAL:
            return Recovery(action=RecoveryAction.FAIL)
        control = self._talk.outbox.control
        return self._decisions.choose_recovery(
            RecoveryDetails(
                failure=failure,
                verdict=verdict,
                handle_age=_age(record, now),
                pending_messages=len(control.unsent) + len(control.sent),
                transcript=self._talk.transcript.turns(),
                transparent=self._transparent,
                model=self._setup.model,
            )
        )


def _age(record: HandleRecord | None, now: float) -> float | None:
    return None if record is None else now - record.received_at
