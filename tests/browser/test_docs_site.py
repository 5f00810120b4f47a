"""The site of the docs, as readers have it: from a server, and from a folder. `make browser` builds it before."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote_plus, unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from resumekit.cli._timeline.reading import read_story
from resumekit.core.state import State
from resumekit.trace import read_trace

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "out" / "docs" / "site"
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1300, "height": 900}
MAIN = [
    "index.html",
    "tutorial/survive-your-first-disconnect.html",
    "how-to/index.html",
    "how-to/trace-a-call.html",
    "reference/close-codes.html",
    "reference/api/pool.html",
    "explanation/state-machine.html",
    "explanation/promises.html",
]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def built():
    """Say where the site is; that it was not built is a failure."""
    if not (BUILT / "index.html").is_file():
        pytest.fail(f"there is no site in {BUILT}: build it with `make docs`")
    return BUILT


@pytest.fixture(scope="session")
def served(built):
    """Serve the site; return where it begins."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(built))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(params=["file", "http"])
def begins(request, built):
    """Say where the site begins: once as a folder, once on a server."""
    return built.as_uri() + "/" if request.param == "file" else request.getfixturevalue("served")


@pytest.fixture
def open_page(chromium):
    """Give a function that opens a page of the site; sees to it that nobody complains and nothing foreign is asked for."""
    contexts, complaints = [], []

    def open_(address, **options):
        context = chromium.new_context(**{"viewport": DESK, **options})
        contexts.append(context)
        page = context.new_page()
        host = urlsplit(address).netloc

        def asked(request):
            parts = urlsplit(request.url)
            if parts.scheme not in ("data", "blob") and parts.netloc != host:
                complaints.append(f"{page.url} asks for {request.url}")

        def failed(request):
            if request.failure != "net::ERR_ABORTED":  # the next page was opened
                complaints.append(f"{page.url}: {request.url}: {request.failure}")

        def said(message):
            if message.type in ("error", "warning"):
                complaints.append(f"{page.url}: {message.text}")

        page.on("request", asked)
        page.on("requestfailed", failed)
        page.on("response", lambda answer: complaints.append(answer.url) if answer.status >= 400 else None)
        page.on("console", said)
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        page.goto(address)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


def pages(built, begins):
    found = [path.relative_to(built).as_posix() for path in sorted(built.rglob("*.html"))]
    assert len(found) > 60
    return [page for page in found if page != "404.html" or begins.startswith("http")]  # it names all from the root


@pytest.mark.timeout(300)
def test_every_page_opens_without_a_complaint_and_fits_into_a_phone(built, begins, open_page):
    page = open_page(begins + "index.html", viewport=PHONE)
    wide, blind, headless = [], [], []
    for name in pages(built, begins):
        page.goto(begins + name)
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wide.append(name)
        if page.evaluate("[...document.images].some((one) => one.checkVisibility() && !one.naturalWidth)"):
            blind.append(name)
        if name.count("pictures/") == 0 and page.locator("h1").count() != 1:
            headless.append(name)
    assert (wide, blind, headless) == ([], [], [])


@pytest.mark.parametrize(
    ("words", "target"),
    [
        ("ResumableGemini", "reference/api/adk.html"),
        ("max_outage", "reference/api/resumekit.html"),
        ("trace a call", "how-to/trace-a-call.html"),
        ("1011", "reference/close-codes.html"),
        ("rolling deploys", "how-to/rolling-deploys.html"),
    ],
)
def test_the_search_finds_names_and_tasks(begins, open_page, words, target):
    page = open_page(begins + "explanation/privacy.html")
    box = search(page, words)
    found = page.locator(f"a[href*='{target}?h={quote_plus(words)}']").first
    expect(found).to_be_visible()
    expect(box).to_have_value(words)
    found.click()
    page.wait_for_url(lambda url: unquote(url).startswith(begins + target))


def search(page, words):
    page.get_by_role("button", name="Search").press("Enter")
    box = page.get_by_role("combobox", name="Search")
    expect(box).to_be_focused()
    page.keyboard.type(words)
    return box


def test_the_first_result_is_opened_by_keyboard(begins, open_page):
    page = open_page(begins + "index.html")
    search(page, "SessionPool")
    expect(page.locator("a[href*='pool.html?h=SessionPool']").first).to_be_visible()
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "?h=SessionPool" in url)


def becomes(page, scheme):
    """Wait until the page is light or dark."""
    page.wait_for_function(
        """(dark) => {
          const [red, green, blue] = getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).map(Number);
          return dark ? red + green + blue < 150 : red + green + blue > 600;
        }""",
        arg=scheme == "dark",
    )


def test_light_and_dark_are_the_system_s_or_the_reader_s(served, open_page):
    page = open_page(served + "index.html", color_scheme="dark")
    becomes(page, "dark")
    page.emulate_media(color_scheme="light")
    becomes(page, "light")
    for name, scheme in (("light mode", "light"), ("dark mode", "dark")):
        page.get_by_role("radio", name=f"Switch to {name}").press("Enter")
        becomes(page, scheme)
    page.locator("label[for^='__palette']:visible").click()
    becomes(page, "light")  # as the system is
    page.locator("label[for^='__palette']:visible").click()
    page.locator("label[for^='__palette']:visible").click()
    becomes(page, "dark")
    page.goto(served + MAIN[1])
    becomes(page, "dark")


def test_a_keyboard_reaches_what_a_mouse_does(served, open_page):
    page = open_page(served + "how-to/index.html")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    reached = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.href ?? document.activeElement.getAttribute('aria-label')"))
        seen = page.evaluate(
            "(({ left, right, width }) => [left, right, width])(document.activeElement.getBoundingClientRect())"
        )
        assert seen[2] == 0 or (seen[1] > 0 and seen[0] < DESK["width"]), page.evaluate(
            "document.activeElement.outerHTML"
        )
    visible = {one.evaluate("(link) => link.href") for one in page.locator("main a[href]:visible").all()}
    assert visible - reached == set()
    assert len(visible) > 15


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_diagrams_are_drawn(served, open_page, scheme):
    page = open_page(served + "explanation/state-machine.html", color_scheme=scheme)
    drawing = page.locator("figure.drawing svg")
    assert {one.value.lower() for one in State} <= {
        text.lower() for text in drawing.locator("text").all_text_contents()
    }
    for name, picture in (("index", "demo"), ("how-to/trace-a-call", "timeline")):
        page.goto(f"{served}{name}.html")
        shown = page.locator("figure.drawing img:visible")
        expect(shown).to_have_count(1)
        assert shown.evaluate("(one) => one.naturalWidth") > 600
        assert f"pictures/{picture}-{scheme}.svg" in shown.evaluate("(one) => one.src")


def test_the_timeline_has_all_that_the_demo_s_call_had(served, open_page):
    """The picture is of the call that the last run of the demo left, and of nothing else."""
    counts = read_story(read_trace(ROOT / "out" / "demo" / "call.jsonl")).counts()
    assert min(counts[kind] for kind in ("connection", "cut", "handle", "question", "answer", "go-away", "gap")) > 0
    page = open_page(served + "pictures/timeline.html")
    drawn = Counter(page.locator("svg [data-kind]").evaluate_all("(all) => all.map((one) => one.dataset.kind)"))
    assert {kind: drawn[kind] for kind in counts} == dict(counts)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.timeout(300)
def test_no_serious_rule_of_accessibility_is_broken(served, open_page, scheme, viewport):
    page = open_page(served, color_scheme=scheme, viewport=viewport)
    broken = []
    for name in MAIN:
        page.goto(served + name)
        broken += [
            (name, one["id"], place["html"])
            for one in Axe().run(page).response["violations"]
            if one["impact"] in ("serious", "critical")
            for place in one["nodes"]
        ]
    assert broken == []


def test_what_does_not_fit_is_scrolled_by_keyboard(served, open_page):
    page = open_page(served + "explanation/promises.html", viewport=PHONE)
    wide = page.locator(".md-typeset__scrollwrap[tabindex='0']").first
    wide.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.scrollLeft > 0")
