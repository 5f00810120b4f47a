"""The built-in decisions: pure functions of their details."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from resumekit import defaults
from resumekit.core.failures import Failure, Phase, Side, Verdict
from resumekit.core.policy import (
    Decisions,
    DelayDetails,
    FailureDetails,
    MoveDetails,
    Policy,
    RecoveryAction,
    RecoveryDetails,
)
from resumekit.defaults import DefaultDecisions

DECISIONS: Decisions = DefaultDecisions()
CLOSED = Failure(phase=Phase.LIVE, side=Side.THEY, code=1011, reason="internal")


def delays(verdict, count, policy):
    return [
        DECISIONS.choose_delay(
            DelayDetails(attempt=attempt, seconds_down=0.0, verdict=verdict, retry_after=None, policy=policy)
        )
        for attempt in range(1, count + 1)
    ]


def test_the_first_try_is_at_once_and_the_bound_doubles_up_to_the_cap():
    assert delays(Verdict.RESUME_NOW, 8, Policy()) == [0.25, 1, 2, 4, 8, 16, 27, 27]


def test_an_old_binding_is_tried_again_every_few_seconds():
    """The service is well, and lets go of the old connection within seconds."""
    assert delays(Verdict.OLD_BINDING, 7, Policy()) == [0.5, 1, 2, 4, 6, 6, 6]


def test_after_a_dead_handle_the_delay_does_not_grow():
    """The service is well, and the next try is another one: with an older handle, or with none."""
    assert delays(Verdict.HANDLE_DEAD, 5, Policy()) == [0.5] * 5


def test_a_service_in_trouble_is_left_alone_from_the_first_try_on():
    """G7: ten thousand sessions that it does not let in try 7 times each at the most."""
    assert delays(Verdict.RESUME_LATER, 7, Policy()) == [1, 2, 4, 8, 16, 27, 27]


def test_new_credentials_are_tried_soon():
    assert delays(Verdict.RENEW_CREDENTIALS, 2, Policy()) == [0.5, 1]


def test_delays_follow_the_policy_and_never_overflow():
    policy = Policy().scaled(0.1)

    assert delays(Verdict.RESUME_NOW, 3, policy) == pytest.approx([0.025, 0.1, 0.2])
    assert delays(Verdict.RESUME_LATER, 5000, policy)[-1] == pytest.approx(2.7)


def move(time_left, *, draw=0.5, policy=None):
    return DECISIONS.choose_move(
        MoveDetails(
            time_left=time_left, turn_open=True, pending_calls=0, handle_age=1.0, draw=draw, policy=policy or Policy()
        )
    )


@pytest.mark.parametrize(
    ("time_left", "deadline"),
    [(60.0, 50.0), (30.0, 20.0), (15.0, 10.0), (9.0, 6.0), (4.5, 3.0), (3.0, 1.5), (1.5, 0.0), (1.0, 0.0), (0.0, 0.0)],
)
def test_the_margin_is_a_third_within_bounds(time_left, deadline):
    assert move(time_left).deadline == pytest.approx(deadline)


def test_without_time_left_ten_seconds_are_assumed():
    assert move(None) == move(10.0)


@pytest.mark.parametrize("draw", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("time_left", [4.5, 5.0, 60.0])
def test_the_warm_dial_is_spread_over_half_of_the_time_left(draw, time_left):
    assert move(time_left, draw=draw).warm_dial == pytest.approx((0.1 + 0.5 * draw) * time_left)


@pytest.mark.parametrize("time_left", [0.0, 1.0, 2.0, 4.0])
def test_the_warm_dial_comes_before_the_deadline_however_short_the_time_is(time_left):
    chosen = [move(time_left, draw=draw) for draw in (0.0, 0.5, 0.999)]

    assert [each.warm_dial for each in chosen] == pytest.approx(
        [f * chosen[0].deadline for f in (0.15, 0.525, 0.9)], rel=0.01
    )


def test_the_warm_dial_can_be_switched_off():
    assert move(60.0, policy=Policy(warm_dial=False)).warm_dial is None


def classify(failure, **details):
    known = {"repeats": 0, "seconds_down": 0.0, "with_handle": True, "handle_age": 1.0, "credentials_renewable": False}
    return DECISIONS.classify_failure(FailureDetails(failure=failure, policy=Policy(), **{**known, **details}))


@pytest.mark.parametrize(
    ("details", "verdict"),
    [
        ({"seconds_down": 30.0}, Verdict.OLD_BINDING),
        ({"seconds_down": 30.1}, Verdict.HANDLE_DEAD),
        ({"with_handle": False}, Verdict.RESUME_LATER),
    ],
)
def test_1011_at_bind_means_the_old_binding_within_the_grace(details, verdict):
    assert classify(Failure(phase=Phase.BIND, side=Side.THEY, code=1011), **details) is verdict


def test_repeats_and_renewable_credentials_reach_the_table():
    lost = Failure(phase=Phase.LIVE, side=Side.NOBODY, code=1006)
    refused = Failure(phase=Phase.DIAL, side=Side.THEY, status=401)

    assert classify(lost) is Verdict.RESUME_NOW
    assert classify(lost, repeats=1) is Verdict.RESUME_LATER
    assert classify(refused) is Verdict.FATAL
    assert classify(refused, credentials_renewable=True) is Verdict.RENEW_CREDENTIALS


@pytest.mark.parametrize(("age", "action"), [(3.0, RecoveryAction.RESUME), (None, RecoveryAction.FRESH)])
def test_it_resumes_where_there_is_a_handle(age, action):
    details = RecoveryDetails(
        failure=CLOSED,
        verdict=Verdict.RESUME_LATER,
        handle_age=age,
        pending_messages=0,
        transcript=(),
        transparent=False,
        model="m",
    )

    assert DECISIONS.choose_recovery(details).action is action


def test_the_defaults_use_public_names_alone():
    """If a default needs a private name, the hook is wrong."""
    folder = Path(defaults.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("resumekit"):
                public = importlib.import_module(node.module).__all__
                assert [alias.name for alias in node.names if alias.name not in public] == [], path.name
            if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self"):
                assert not node.attr.startswith("_"), f"{path.name}: {node.attr}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", "") or "", *(alias.name for alias in node.names)]
                assert not any(
                    part.startswith("_") for name in names for part in name.split(".") if part != "__future__"
                )
