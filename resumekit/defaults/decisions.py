"""The built-in answers to the engine's questions: a plugin, asked after all others.

Pure functions of their details: nothing here keeps state, asks the time or draws.
"""

from __future__ import annotations

import math

from tenacity import RetryCallState, Retrying, wait_chain, wait_exponential, wait_fixed

from resumekit.core.failures import Verdict, classify
from resumekit.core.policy import (
    DelayDetails,
    Exactly,
    FailureDetails,
    Move,
    MoveDetails,
    Recovery,
    RecoveryAction,
    RecoveryDetails,
)
from resumekit.hookspecs import hookimpl

__all__ = ["DefaultDecisions"]

_WARM_FROM = 0.1
_WARM_SPAN = 0.5
"""The next connection is dialled at a random moment in 10-60 % of the time left."""


class DefaultDecisions:
    """Answers from the details and the fields of `Policy` alone."""

    @hookimpl
    def choose_delay(self, details: DelayDetails) -> float | Exactly:
        """Return the upper bound of the delay: at once after a scheduled or accidental end, else tenacity's backoff."""
        policy, verdict = details.policy, details.verdict
        base, longest = policy.delay_base, policy.delay_cap
        if verdict is not Verdict.RESUME_LATER:  # the service is well, as far as is known
            base /= 2
        if verdict is Verdict.OLD_BINDING:  # it lets go within seconds
            longest = min(longest, policy.old_binding_grace / 5)
        elif verdict is Verdict.HANDLE_DEAD:  # the next try is another one
            longest = base
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = details.attempt
        later = wait_exponential(base, max=longest)
        return (wait_chain(wait_fixed(policy.first_delay), later) if verdict is Verdict.RESUME_NOW else later)(state)

    @hookimpl
    def classify_failure(self, details: FailureDetails) -> Verdict:
        """Return what the table of `resumekit.core.failures` says."""
        policy = details.policy
        grace = min(policy.old_binding_grace, policy.first_connect_deadline / 2 if details.first else math.inf)
        return classify(
            details.failure,
            with_handle=details.with_handle,
            first_time=details.repeats == 0,
            in_grace=details.seconds_down <= grace,
            renewable=details.credentials_renewable,
        )

    @hookimpl
    def choose_move(self, details: MoveDetails) -> Move:
        """Leave a third of the time left before the end, within the policy's bounds; dial ahead at a random moment."""
        policy = details.policy
        left = policy.go_away_assumed if details.time_left is None else details.time_left
        margin = min(max(left / 3, policy.go_away_margin_min), policy.go_away_margin_max)
        deadline = max(0.0, left - margin)
        if not policy.warm_dial:
            return Move(deadline=deadline, warm_dial=None)
        span = min(left, 1.5 * deadline)  # 60 % of it end before the deadline, however short the time is
        return Move(deadline=deadline, warm_dial=(_WARM_FROM + _WARM_SPAN * details.draw) * span)

    @hookimpl
    def choose_recovery(self, details: RecoveryDetails) -> Recovery:
        """Resume where there is a handle, else replay history into a new session."""
        action = RecoveryAction.FRESH if details.handle_age is None else RecoveryAction.RESUME
        return Recovery(action=action)
