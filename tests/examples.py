"""The examples of the hooks' docstrings, as plugins; and what each of them is to do."""

from __future__ import annotations

import inspect
import textwrap

from resumekit import hookspecs
from resumekit.core.events import Moving
from resumekit.core.failures import Failure, Phase, Side, Verdict
from resumekit.core.policy import (
    DelayDetails,
    Exactly,
    FailureDetails,
    Move,
    MoveDetails,
    Policy,
    Recovery,
    RecoveryAction,
    RecoveryDetails,
)
from resumekit.wire import HistoryTurn

TURNS = [HistoryTurn("user" if number % 2 else "model", f"{number}") for number in range(10)]
REFUSED = Failure(phase=Phase.DIAL, side=Side.THEY, status=403, reason="Down for maintenance")


def delay(**fields):
    given = {"attempt": 4, "seconds_down": 1.0, "verdict": Verdict.RESUME_LATER, "retry_after": None}
    return DelayDetails(**{**given, **fields}, policy=Policy())


def failure(**fields):
    given = {"failure": REFUSED, "repeats": 0, "seconds_down": 0.0, "with_handle": True, "handle_age": 1.0}
    return FailureDetails(**{**given, **fields}, credentials_renewable=False, policy=Policy())


def move(**fields):
    given = {"time_left": 30.0, "turn_open": True, "pending_calls": 1, "handle_age": 1.0, "draw": 0.5}
    return MoveDetails(**{**given, **fields}, policy=Policy())


def recovery(**fields):
    given = {"failure": REFUSED, "verdict": Verdict.RESUME_LATER, "handle_age": 4000.0, "pending_messages": 0}
    return RecoveryDetails(**{**given, **fields}, transcript=TURNS, transparent=False, model="m")


ASKED = {
    "provide_handle_store": [("dict://", "store"), ("other://", None)],
    "provide_pool_backend": [("dict://", "backend"), ("other://", None)],
    "choose_delay": [
        (delay(), Exactly(20.0)),
        (delay(attempt=3), None),
        (delay(verdict=Verdict.OLD_BINDING), None),
    ],
    "classify_failure": [
        (failure(), Verdict.RESUME_LATER),
        (failure(failure=Failure(phase=Phase.DIAL, side=Side.THEY, status=403, reason="Forbidden")), None),
    ],
    "choose_move": [
        (move(), Move(deadline=29.0, warm_dial=0.0)),
        (move(time_left=0.5), Move(deadline=0.0, warm_dial=0.0)),
        (move(pending_calls=0), None),
        (move(time_left=None), None),
    ],
    "choose_recovery": [
        (recovery(), Recovery(action=RecoveryAction.FRESH, turns=TURNS[-6:])),
        (recovery(handle_age=None), Recovery(action=RecoveryAction.FRESH, turns=TURNS[-6:])),
        (recovery(handle_age=60.0), None),
    ],
    "on_event": [(Moving(connection=1, quiet=True), None)],
}
"""For each hook: what its example is asked, and what it is to answer."""


def example(hook):
    """Return the source of the example in a hook's docstring."""
    text = inspect.cleandoc(getattr(hookspecs, hook).__doc__)
    _, _, code = text.partition("\nExample:\n")
    lines = textwrap.dedent(code).strip().splitlines()
    assert (lines[0], lines[-1]) == ("```python", "```")
    return "\n".join(lines[1:-1]) + "\n"
