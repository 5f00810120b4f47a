"""A browser that is driven, and the server of the demo page. `make browser` runs these tests, where both are there."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest

HAS_PLAYWRIGHT = importlib.util.find_spec("playwright") is not None
collect_ignore_glob = [] if HAS_PLAYWRIGHT else ["test_*.py"]
if HAS_PLAYWRIGHT:
    from playwright.sync_api import expect, sync_playwright

    from tests.browser.site import Site

    expect.set_options(timeout=30_000)  # of a machine that has other things to do

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """Start Chromium; that it is missing is a failure."""
    if CHROMIUM is None:
        pytest.fail("there is no Chromium on the path; install it, or name it with CHROMIUM=/path/to/it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def served(speed=3, port=0):
    """Run the demo as a user does, faster; give where its page is."""
    command = [sys.executable, "-m", "resumekit.cli", "demo", "--web", "--no-open", "--speed", str(speed)]
    command += ["--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        told = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", told)
        assert found, told
        yield found.group()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


@pytest.fixture(scope="session")
def address():
    """Return where the page is."""
    with served() as address:
        yield address


@pytest.fixture
def slow_address():
    """Return where a page is whose waits can be seen."""
    with served(speed=1) as address:
        yield address


@pytest.fixture
def leaving_address():
    """Return where a page is, what ends its server, and what starts it anew."""
    with ExitStack() as stack:
        address = stack.enter_context(served())
        yield address, stack.close, lambda: stack.enter_context(served(port=urlsplit(address).port))


@pytest.fixture
def open_site(chromium, address):
    """Give a function that opens the page in a profile of its own; sees to it that the console stays empty."""
    sites = []

    def open_(*, listens=False, **options) -> Site:
        context = chromium.new_context(**{"permissions": ["microphone"], "bypass_csp": listens, **options})
        sites.append(Site(context, address, listens=listens))
        return sites[-1]

    yield open_
    complaints = [complaint for site in sites for complaint in site.complaints]
    for site in sites:
        site.context.close()
    assert complaints == []


@pytest.fixture
def site(open_site) -> Site:
    """Open the page."""
    return open_site()
