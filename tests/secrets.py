"""A watch over every test: what the package says anywhere is searched for each handle that it ever held, and each key.

`watched` is on for all tests (tests/conftest.py). Searched are log records at DEBUG, events, errors with all that is chained to
them, what the engine's parts show of themselves, and warnings; for the text itself, quoted for a URL, as base64, and cut to
a prefix. Not searched is what others log of their own connections (`websockets.server`, a plain google-genai).
"""

from __future__ import annotations

import base64
import contextlib
import logging
import traceback
import urllib.parse
import warnings
from collections.abc import Iterator

import msgspec

from resumekit.core import events
from resumekit.drivers.driver import Driver
from resumekit.drivers.publisher import Publisher
from resumekit.wire import ResumptionHandle

API_KEY = "Canary.0123456789-api-key_abcdef"
"""Nothing about it tells that it is a key: only where it stands can."""
TOKEN = "Canary.9876543210-token_fedcba"
_PREFIX = 9
_SHORT = 20
"""A text of fewer characters is no handle of a service but one of a test, which may stand anywhere."""
_LOGGERS = {
    **dict.fromkeys(("resumekit", "httpx", "httpcore"), logging.DEBUG),
    "google_adk": logging.INFO,  # at DEBUG it writes out every event, and takes longer for that than for the event
    "asyncio": logging.INFO,  # at DEBUG it logs when a loop is closed, where a test's own clock may not work any more
}
_ALL = (*_LOGGERS, "", "websockets", "google_genai", "google", "urllib3", "aiohttp", "concurrent")
_OTHERS = ("resumekit.emulator", "websockets.server")
"""The service itself."""


class _Seen(logging.Handler):
    """Keeps what was logged, as a formatter would write it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith(_OTHERS):
            self.told.append(f"log of {record.name}: {_FORMATTER.format(record)}")


_FORMATTER = logging.Formatter()


def forms(secret: str) -> Iterator[str]:
    """Every form in which a secret may be told."""
    yield secret[:_PREFIX]
    yield urllib.parse.quote(secret, safe="")[:_PREFIX]
    data = secret.encode("utf-8", "surrogatepass")
    for shift in range(3):  # wherever it stands in what was encoded
        encoded = base64.b64encode(b"\0" * shift + data).decode()
        yield encoded[4 * (shift > 0) : -4][:16]


def leaks(told: list[str], secrets: set[str]) -> list[str]:
    """Return where a secret is told."""
    found: list[str] = []
    text = "\n".join(told)
    for secret in secrets:
        for form in {*forms(secret)}:
            if form in text:
                found += [f"{form!r} in {one[:600]}" for one in told if form in one][:3]
    return found


def chain(error: BaseException) -> Iterator[str]:
    """Tell an error and all that is chained to it in each way that it can be shown."""
    yield "".join(traceback.format_exception(error))
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop()
        if id(one) not in seen:
            seen.add(id(one))
            yield f"{one!r} {one} {one.args!r} {getattr(one, '__notes__', '')}"
            waiting += [other for other in (one.__cause__, one.__context__) if other is not None]


@contextlib.contextmanager
def watched(*, everybody: bool = False) -> Iterator[set[str]]:
    """Fail, in the end, if a secret was told meanwhile; gives the set of the secrets, for more of them.

    With `everybody`, what any library logs at DEBUG is looked at.
    """
    watched_at = dict.fromkeys(_ALL, logging.DEBUG) if everybody else _LOGGERS
    seen = _Seen()
    secrets = {API_KEY, TOKEN}
    drivers: list[Driver] = []
    make_handle, make_driver, publish = ResumptionHandle.__init__, Driver.__init__, Publisher.publish
    show_warning = warnings.showwarning

    def handle_made(self: ResumptionHandle, text: str) -> None:
        make_handle(self, text)
        if isinstance(text, str) and _SHORT <= len(text) < 10_000:
            secrets.add(text)

    def driver_made(self: Driver, *args: object, **arguments: object) -> None:
        drivers.append(self)
        make_driver(self, *args, **arguments)

    def published(self: Publisher, event: events.Event) -> None:
        seen.told.append(f"event {event!r} {msgspec.to_builtins(event)!r}")
        publish(self, event)

    def warned(message: object, *args: object, **arguments: object) -> None:
        seen.told.append(f"warning {message}")
        show_warning(message, *args, **arguments)

    levels = {name: logging.getLogger(name).level for name in watched_at}
    ResumptionHandle.__init__, Driver.__init__, Publisher.publish = handle_made, driver_made, published
    warnings.showwarning = warned
    for name, level in watched_at.items():
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).addHandler(seen)
    try:
        yield secrets
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
            logging.getLogger(name).removeHandler(seen)
        warnings.showwarning = show_warning
        ResumptionHandle.__init__, Driver.__init__, Publisher.publish = make_handle, make_driver, publish
    for driver in drivers:
        error = getattr(driver, "_error", None)
        if error is not None:
            seen.told += [f"error {told}" for told in chain(error)]
        if hasattr(driver, "_engine"):
            point = driver._engine._talk.point
            shown = (driver, driver._engine, driver.last_handle, point.base, point.poisoned, driver._engine.stats)
            seen.told.append(f"shown {shown!r}")
    found = leaks(seen.told, secrets)
    assert not found, "a secret was told:\n" + "\n".join(found[:10])
