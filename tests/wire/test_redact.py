"""Handles, keys and tokens never leave by a text."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import string
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumekit.wire import RedactingFilter, ResumptionHandle, redact

CANARY = "CANARY-7f3a/4+b=="
SECRETS = st.text(string.ascii_letters + string.digits + "+/-_=.", min_size=8, max_size=60)


# --- the type -------------------------------------------------------------------------------------------------------


def test_a_handle_shows_a_digest_only():
    handle = ResumptionHandle(CANARY)
    for shown in (repr(handle), str(handle), f"{handle}", f"{handle:>12}", format(handle)):
        assert CANARY not in shown
        assert repr(handle) in shown
    assert len(repr(handle)) == 10
    assert repr(handle).startswith("h#")
    assert repr([handle]) == f"[{handle}]"
    assert handle.reveal() == CANARY


def test_the_digest_is_the_same_in_every_process_and_tells_handles_apart():
    assert repr(ResumptionHandle("a")) == "h#818dc32c"
    assert repr(ResumptionHandle("a")) != repr(ResumptionHandle("b"))
    assert repr(ResumptionHandle("\ud800")).startswith("h#")


def test_a_handle_is_a_value():
    handle = ResumptionHandle("a")
    assert handle == ResumptionHandle("a")
    assert handle != ResumptionHandle("b")
    assert handle != "a"
    assert len({handle, ResumptionHandle("a"), "a"}) == 2
    assert handle
    assert not ResumptionHandle("")
    assert pickle.loads(pickle.dumps(handle)) == copy.deepcopy(handle) == handle
    with pytest.raises(AttributeError, match="immutable"):
        handle._text = "b"


# --- texts ----------------------------------------------------------------------------------------------------------

PLACES = {
    "json compact": '{{"sessionResumptionUpdate":{{"newHandle":"{0}","resumable":true}}}}',
    "json pretty": '{{\n  "sessionResumptionUpdate": {{\n    "newHandle": "{0}",\n    "resumable": true\n  }}\n}}\n',
    "setup": '{{"setup":{{"sessionResumption":{{"handle":"{0}"}}}}}}',
    "setup in snake case": '{{"session_resumption": {{"handle": "{0}"}}}}',
    "snake case": '{{"new_handle": "{0}"}}',
    "another name": '{{"previous_session_handle": "{0}", "resumptionHandle": "{0}"}}',
    "cut off": '{{"newHandle": "{0}',
    "json in json": '{{"log": "{{\\"newHandle\\": \\"{0}\\", \\"resumable\\": true}}"}}',
    "json in json in json": '"{{\\\\\\"handle\\\\\\": \\\\\\"{0}\\\\\\"}}"',
    "dict repr": "{{'handle': '{0}', 'transparent': None}}",
    "bytes repr": 'b\'{{"newHandle": "{0}"}}\'',
    "pydantic repr": "SessionResumptionConfig(handle='{0}' transparent=None) new_handle='{0}'",
    "keyword": "connect(handle={0}, key={0})",
    "yaml": "newHandle: {0}",
    "url": "wss://host/ws/x.BidiGenerateContent?key={0}",
    "url in a repr": "InvalidURI('wss://host/ws?alt=1&key={0}', 'no')",
    "url with a password": "no store at redis://user:{0}@host:6379/0",
    "url with an odd password": "no store at redis://user:a/b@c:{0}@host:6379/0",
    "password": "connect(host='x', password='{0}') password={0}",
    "basic": "Proxy said: Basic {0} is unknown",
    "url with a token": "> GET /ws?access_token={0}&x=1 HTTP/1.1",
    "header line": "> x-goog-api-key: {0}",
    "authorization line": "> Authorization: Bearer {0}\n> Host: x",
    "token line": "authorization: Token {0}",
    "proxy": "Proxy-Authorization: Basic {0}",
    "headers repr": "{{'x-goog-api-key': '{0}', 'Authorization': 'Bearer {0}'}}",
    "header pairs": "[('X-Goog-Api-Key', '{0}'), ('authorization', 'Bearer {0}')]",
    "raw headers": "[(b'x-goog-api-key', b'{0}')]",
    "bearer": "credentials Bearer {0} were refused",
    "environment": "GOOGLE_API_KEY={0} api_key='{0}' apiKey: \"{0}\"",
    "frame, as websockets logs it": '< TEXT \'{{"sessionResumptionUpdate":{{"ne...{0}"}}}}\' [99 bytes]',
    "frame in hex": "> BINARY 7b 22 {0} 7d [binary, 25 bytes, continued]",
    "frame without an end": "< CONT '{0}",
}


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_is_left(place):
    text = PLACES[place].format(CANARY)
    clean = redact(f"before\n{text}\nafter")
    assert "CANARY" not in clean
    assert "7f3a" not in clean
    assert "[redacted]" in clean
    assert clean.startswith("before\n")
    if "cut off" not in place:
        assert clean.endswith("after")


@given(st.sampled_from(sorted(PLACES)), SECRETS, st.text(string.printable, max_size=30))
def test_no_planted_canary_is_left(place, secret, before):
    secret = f"Zq9{secret}"
    assert secret not in redact(before + "\n" + PLACES[place].format(secret))


@given(st.text(min_size=12).filter(lambda text: '": "' not in text), st.sampled_from([None, 2]), st.booleans())
def test_no_handle_of_any_text_is_left_in_json(handle, indent, escape):
    written = json.dumps(handle, ensure_ascii=escape)[1:-1]
    frame = json.dumps({"sessionResumptionUpdate": {"newHandle": handle}}, indent=indent, ensure_ascii=escape)
    assert written in frame
    assert redact(frame) == frame.replace(f'"{written}"', '"[redacted]"')
    assert json.loads(redact(frame)) == {"sessionResumptionUpdate": {"newHandle": "[redacted]"}}


@given(st.text(min_size=12, alphabet=string.ascii_letters + "'\"\\ \n"))
def test_no_handle_of_any_text_is_left_in_a_repr(handle):
    text = f"Update(new_handle={handle!r}, resumable=True)"
    assert redact(text) == f"Update(new_handle={repr(handle)[0]}[redacted]{repr(handle)[0]}, resumable=True)"


@pytest.mark.parametrize("secret", ["AIza" + "Sy" * 16, "ya29.a0AfH6SM-x_y", "auth_tokens/0a1b2c"])
def test_a_credential_that_shows_what_it_is(secret):
    assert secret not in redact(f"no connection with {secret!r}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "resumed connection 3 with h#1a2b3c4d after 0.4 s",
        "handle=h#1a2b3c4d index=17",
        "'handle': 'h#1a2b3c4d'",
        'newHandle: h#1a2b3c4d, "handle": null, handle=None, new_handle=None',
        "the handle is refused: 1007 Invalid session handle.",
        '{"goAway":{"timeLeft":"50s"}}',
        "a basic error at https://host/path, for a@b",
        "promptTokenCount: 12, monkey=3, total_token_count=5",
        "> GET /ws HTTP/1.1",
        "% received keepalive pong",
    ],
)
def test_other_texts_stay_as_they_are(text):
    assert redact(text) == text


def test_what_surrounds_a_secret_stays_readable():
    assert redact('{"newHandle":"abc","resumable":true}') == '{"newHandle":"[redacted]","resumable":true}'
    assert redact("wss://host/ws?key=abc&alt=json") == "wss://host/ws?key=[redacted]&alt=json"
    assert redact("< TEXT '{\"a\": [1]}' [10 bytes]") == "< TEXT [redacted] [10 bytes]"
    assert redact("{'x-goog-api-key': 'abc', 'a': 'b'}") == "{'x-goog-api-key': '[redacted]', 'a': 'b'}"


def test_a_long_frame_is_scrubbed_in_reasonable_time():
    frame = json.dumps({"data": "A" * 500_000, "newHandle": CANARY})
    assert "CANARY" not in redact(frame)


def test_an_endless_address_is_scrubbed_in_reasonable_time():
    assert redact("a://" * 200_000) == "a://" * 200_000


# --- logging --------------------------------------------------------------------------------------------------------


@pytest.fixture
def log():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter())
    logger = logging.Logger("test")  # noqa: LOG001 -- of its own, so that no other handler sees it
    logger.addHandler(handler)
    logger.stream = stream
    return logger


def test_records_are_scrubbed_message_and_arguments(log):
    log.debug("> %s: %s", "x-goog-api-key", CANARY)
    log.info("update %r", {"newHandle": CANARY})
    log.warning("nothing to hide: 100%")
    assert "CANARY" not in log.stream.getvalue()
    assert "nothing to hide: 100%" in log.stream.getvalue()


def test_tracebacks_are_scrubbed(log):
    try:
        raise ValueError(f"wss://host/ws?key={CANARY}")
    except ValueError:
        log.exception("dial failed")
    assert "CANARY" not in log.stream.getvalue()
    assert "ValueError: wss://host/ws?key=[redacted]" in log.stream.getvalue()


def test_a_traceback_that_was_already_formatted_is_scrubbed():
    try:
        raise ValueError
    except ValueError:
        record = logging.LogRecord("n", logging.ERROR, "p", 1, "m", (), sys.exc_info())
    record.exc_text = f"key={CANARY}"
    assert RedactingFilter().filter(record)
    assert record.exc_text == "key=[redacted]"
    assert record.exc_info is None, "a handler would write it anew"


def test_a_traceback_without_secrets_stays_as_it_is():
    try:
        raise ValueError("nothing to hide")
    except ValueError:
        record = logging.LogRecord("n", logging.ERROR, "p", 1, "m", (), sys.exc_info())
    assert RedactingFilter().filter(record)
    assert record.exc_info is not None
    assert "nothing to hide" in record.exc_text


@pytest.mark.parametrize("arguments", [("a", "b"), ("x",), ({"a": 1},)], ids=["too many", "type", "mapping"])
def test_a_call_with_wrong_arguments_does_not_fail_in_the_filter(arguments):
    record = logging.LogRecord("n", logging.INFO, "p", 1, "%d key=abc", arguments, None)
    assert RedactingFilter().filter(record)
    assert record.getMessage() == "%d key=[redacted]"
