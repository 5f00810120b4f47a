"""The watch over the whole suite (tests/secrets.py) sees a secret in each place and each form, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import urllib.parse
import warnings

import pytest
from websockets.exceptions import InvalidURI

from resumekit import Policy
from resumekit.adapters import websockets as resumable
from resumekit.wire import ResumptionHandle
from tests.drivers.fakes import FakeService, ask, driver_of, in_virtual_time
from tests.secrets import API_KEY, TOKEN, chain, leaks, watched

HANDLE = "58836b26-2e71-4d5a-9c7e-0a1b2c3d4e5f+/=é"
FORMS = {
    "clear": HANDLE,
    "within": f"(handle={HANDLE!r})",
    "prefix": HANDLE[:9] + "...",
    "in a URL": urllib.parse.quote(HANDLE),
    "base64": base64.b64encode(HANDLE.encode()).decode(),
    "base64 of a frame": base64.b64encode(f'{{"a":"{HANDLE}"}}'.encode()).decode(),
    "JSON": json.dumps({"newHandle": HANDLE}),
}


@pytest.mark.parametrize("form", FORMS)
def test_it_is_seen_in_each_form(form):
    assert leaks(["before", f"it is {FORMS[form]}", "after"], {HANDLE})


def test_a_digest_is_no_leak():
    assert not leaks([repr(ResumptionHandle(HANDLE)), "h#1a2b3c4d", HANDLE[:8]], {HANDLE})


def test_all_that_is_chained_to_an_error_is_looked_at():
    error = KeyError("clean")
    error.__context__ = ValueError("clean, too")
    error.__context__.__cause__ = OSError(HANDLE)
    assert leaks(list(chain(error)), {HANDLE})


def tells_it_in_a_log():
    logging.getLogger("resumekit.engine").debug("bound with %s", HANDLE)


def tells_it_in_a_traceback():
    try:
        raise ValueError(API_KEY)
    except ValueError:
        logging.getLogger("resumekit.anything").exception("oh")


def tells_it_in_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning(UserWarning(HANDLE), UserWarning, "f", 1)


@pytest.mark.parametrize("tell", [tells_it_in_a_log, tells_it_in_a_traceback, tells_it_in_a_warning])
def test_it_is_seen_in_each_place(tell):
    def told():
        with watched() as secrets:
            secrets.add(HANDLE)
            tell()

    with pytest.raises(AssertionError, match="a secret was told"):
        told()


class Service(FakeService):
    """Hands out handles of a service's length."""

    def answer(self, connection, text):
        super().answer(connection, text)
        connection.push({"sessionResumptionUpdate": {"newHandle": HANDLE, "resumable": True}})


async def converse(*, reason=""):
    driver = driver_of(Service())
    await driver.start()
    await ask(driver, "one")
    await asyncio.sleep(1)
    driver._links[0].transport.close_with(1011, reason)
    await ask(driver, "two")
    await driver.close()


@in_virtual_time
async def test_a_conversation_tells_no_secret():
    with watched() as secrets:
        await converse()
    assert HANDLE in secrets


@in_virtual_time
async def test_a_handle_that_shows_itself_is_seen(monkeypatch):
    monkeypatch.setattr(ResumptionHandle, "__repr__", lambda self: f"handle {self.reveal()}")
    with pytest.raises(AssertionError, match="a secret was told"), watched():
        await converse()


@in_virtual_time
async def test_a_reason_that_quotes_the_handle_is_seen_unless_it_is_scrubbed(monkeypatch):
    reason = f"unknown handle={HANDLE}"
    with watched():
        await converse(reason=reason)
    monkeypatch.setattr("resumekit.drivers.failures.redact", lambda text: text)
    with pytest.raises(AssertionError, match="a secret was told"), watched():
        await converse(reason=reason)


# --- arguments and addresses that hold secrets ----------------------------------------------------------------------------

POLICY = Policy(first_connect_deadline=0.5, connect_timeout=0.5)
SETUP = {"setup": {"model": "m", "sessionResumption": {"handle": HANDLE}}}
SECRETS = {HANDLE, API_KEY, TOKEN}
NOBODY = "ws://127.0.0.1:9"


async def raised(uri, **arguments):
    """What connecting raises."""
    with pytest.raises(Exception, match=r"\w") as caught:
        async with asyncio.timeout(100), resumable.connect(uri, **{"setup": SETUP, "policy": POLICY, **arguments}):
            pass
    return list(chain(caught.value))


ADDRESSES = {
    "no ws": f"http://127.0.0.1:9/?key={API_KEY}&access_token={TOKEN}",
    "no port": f"ws://127.0.0.1:port/?key={API_KEY}",
    "a fragment": f"ws://127.0.0.1:9/?key={API_KEY}#x",
    "nobody there": f"ws://127.0.0.1:9/?key={API_KEY}&access_token={TOKEN}",
    "credentials": f"ws://user:{API_KEY}@127.0.0.1:9/",
    "credentials, no ws": f"http://user:{API_KEY}@127.0.0.1:9/",
}


@pytest.mark.parametrize("name", ADDRESSES)
async def test_an_address_is_not_quoted(name):
    assert not leaks(await raised(ADDRESSES[name]), SECRETS)


ARGUMENTS = {
    "headers": {"additional_headers": {"x-goog-api-key": API_KEY, "Authorization": f"Bearer {TOKEN}"}},
    "setup that is no JSON": {"setup": json.dumps(SETUP)[:-2]},
    "setup that is none": {"setup": SETUP["setup"]["sessionResumption"]},
    "store without a plugin": {"store": f"redis://:{API_KEY}@host/0?token={TOKEN}", "key": "k"},
    "store without a key": {"store": f"redis://:{API_KEY}@host/0"},
    "store that is none": {"store": API_KEY, "key": "k"},
    "policy": {"policy": {"key": API_KEY}},
    "plugins": {"plugins": [API_KEY]},
    "on_event": {"on_event": API_KEY},
}


@pytest.mark.parametrize("name", ARGUMENTS)
async def test_an_argument_is_not_quoted(name):
    assert not leaks(await raised(NOBODY, **ARGUMENTS[name]), SECRETS)


class Fails(FakeService):
    """The second dial fails with what foreign code says."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def answer(self, connection, text):
        super().answer(connection, text)
        self.dials = [self.error]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(f"no token={TOKEN}"),
        InvalidURI(f"http://x/?key={API_KEY}", "no"),
        OSError(f"wss://x/?access_token={TOKEN}"),
        ValueError(f"{{'Authorization': 'Bearer {TOKEN}'}}"),
    ],
    ids=lambda error: type(error).__name__,
)
@in_virtual_time
async def test_what_foreign_code_raises_at_a_dial_is_told_without_its_secrets(error):
    with watched():
        driver = driver_of(Fails(error), policy=Policy(max_outage=5.0))
        await driver.start()
        await ask(driver, "one")
        driver._links[0].transport.end()
        await ask(driver, "two")
        await driver.close()


@in_virtual_time
async def test_what_on_event_raises_is_logged_without_its_secrets():
    def listener(event):
        raise RuntimeError(f"key={API_KEY}")

    with watched():
        driver = driver_of(FakeService(), on_event=listener)
        await driver.start()
        await driver.close()
