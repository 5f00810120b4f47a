"""The exact text of every error, and what it carries."""

from __future__ import annotations

import pickle

import pytest

from resumekit import errors

LOST = errors.SessionLost(
    "1011 Internal error encountered.",
    attempts=9,
    elapsed=300.02,
    close_code=1011,
    unsent_messages=3,
    unsent_audio=2.04,
    advice="raise Policy.max_outage, or start a new session with history=...",
)

TEXTS = [
    (
        errors.ConnectRefused("HTTP 403 Forbidden"),
        "the service refused the connection: HTTP 403 Forbidden; check key, model and config",
    ),
    (
        errors.ConnectFailed("HTTP 503", attempts=5, elapsed=30.04),
        (
            "no connection after 5 attempts in 30.0 s (last: HTTP 503); check the network, or raise"
            " Policy.first_connect_deadline"
        ),
    ),
    (
        errors.PoolTimeout(60.04, 12, 40),
        (
            "the pool had no slot for the session within 60.0 s (place 12 of 40 in the queue); try later, raise"
            " SessionPool(timeout=...), or ask for a higher quota"
        ),
    ),
    (
        errors.PoolTimeout(60.04, 0, 0),
        (
            "the pool had no slot for the session within 60.0 s (its backend did not answer); try later, raise"
            " SessionPool(timeout=...), or ask for a higher quota"
        ),
    ),
    (
        LOST,
        (
            "the session was lost after 9 attempts in 300.0 s (1011 Internal error encountered.); not kept by"
            " the service: 3 messages and 2.0 s of audio; raise Policy.max_outage, or start a new session with history=..."
        ),
    ),
    (
        errors.SessionLost("1008 Your API key was reported as leaked."),
        (
            "the session was lost (1008 Your API key was reported as leaked.); not kept by the service: 0 messages and 0.0 s"
            " of audio; start a new session with history=..."
        ),
    ),
    (errors.SessionClosed(), "the session is closed; open a new one with connect()"),
    (errors.SessionClosed("gone"), "gone"),
    (
        errors.BufferFull(size=70, messages=0, waiting=0, limit="control_bytes"),
        "a message of 70 bytes is larger than Policy.control_bytes; raise it, or send less at a time",
    ),
    (
        errors.BufferFull(size=70, messages=256, waiting=9000, limit="control_messages"),
        (
            "a message of 70 bytes does not fit: 256 messages (9000 bytes) wait for the connection; send less, or raise"
            " Policy.control_messages"
        ),
    ),
]


@pytest.mark.parametrize(("error", "text"), TEXTS)
def test_an_error_says_what_happened_the_facts_and_what_to_do(error: errors.ResumekitError, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize("error", [error for error, _ in TEXTS])
def test_an_error_survives_pickling_with_its_facts(error: errors.ResumekitError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), vars(copy)) == (str(error), vars(error))


def test_a_configuration_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="bad"):
        raise errors.ConfigurationError("bad")


def test_every_error_has_a_base_that_catches_all() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.ResumekitError)
