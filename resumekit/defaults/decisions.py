"""The built-in answers to the engine's questions; a plugin can give others to the same Protocol.

Pure functions of their details: nothing here keeps state, asks the time or draws.
"""

from __future__ import annotations

from tenacity import RetryCallState, Retrying, wait_exponential

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

__all__ = ["DefaultDecisions"]

_WARM_FROM = 0.1
_WARM_SPAN = 0.5
"""The next connection is dialled at a random moment in 10-60 % of the time left."""


class DefaultDecisions:
    """Implements `resumekit.core.policy.Decisions` from the fields of `Policy` alone."""

    def choose_delay(self, details: DelayDetails) -> float | Exactly:
        """Return the upper bound of the delay: at once after a scheduled or accidental end, else tenacity's backoff."""
        policy = details.policy
        step = details.attempt
        if details.verdict is Verdict.RESUME_NOW:
            if step <= 1:
                return policy.first_delay
            step -= 1
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = max(step, 1)
        longest = policy.delay_cap
        if details.verdict is Verdict.OLD_BINDING:  # the service is well, and lets go within seconds
            longest = min(longest, policy.old_binding_grace / 5)
        return wait_exponential(multiplier=policy.delay_base, max=longest)(state)

    def classify_failure(self, details: FailureDetails) -> Verdict:
        """Return what the table of `resumekit.core.failures` says."""
        return classify(
            details.failure,
            with_handle=details.with_handle,
            first_time=details.repeats == 0,
            in_grace=details.seconds_down <= details.policy.old_binding_grace,
            renewable=details.credentials_renewable,
        )

    def choose_move(self, details: MoveDetails) -> Move:
        """Leave a third of the time left before the end, within the policy's bounds; dial ahead at a random moment."""
        policy = details.policy
        left = policy.go_away_assumed if details.time_left is None else details.time_left
        margin = min(max(left / 3, policy.go_away_margin_min), policy.go_away_margin_max)
        deadline = max(0.0, left - margin)
        if not policy.warm_dial:
            return Move(deadline=deadline, warm_dial=None)
        return Move(deadline=deadline, warm_dial=min((_WARM_FROM + _WARM_SPAN * details.draw) * left, deadline))

    def choose_recovery(self, details: RecoveryDetails) -> Recovery:
        """Resume where there is a handle, else replay history into a new session."""
        action = RecoveryAction.FRESH if details.handle_age is None else RecoveryAction.RESUME
        return Recovery(action=action)
