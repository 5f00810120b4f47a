"""The page of ``resumekit demo --web``, in a browser: what a person sees, hears and does."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from resumekit.cli._web.cuts import CUTS
from tests.browser.site import Site


def test_a_question_in_writing_is_answered_in_words_and_sound(open_site):
    site = open_site(listens=True)
    site.ask("one [seconds:1]")
    expect(site.entries("model", state="done")).to_contain_text("answer to one: 1 user turns held")
    site.hears("answer to one [seconds:1]: 1 user turns held")
    expect(site.entries("user")).to_contain_text("one")
    expect(site.figure("sent")).to_have_text("1")
    expect(site.figure("lost")).to_have_text("0")


def test_an_answer_that_is_cut_is_heard_again_whole(open_site):
    site = open_site(listens=True)
    site.ask("one [seconds:1]")
    expect(site.entries("model", state="done")).to_have_count(1)
    site.page.get_by_label("in the next answer").check()
    site.button("Reset (RST)").click()
    site.ask("two [seconds:2]")
    expect(site.entries("model", state="cut")).to_have_count(1)
    expect(site.entries("line", state="back")).to_contain_text("1006")
    again = site.entries("model", state="done", again="true")
    expect(again).to_contain_text("answer to two: 2 user turns held")
    site.hears("answer to two [seconds:2]: 2 user turns held")
    expect(site.figure("reconnects")).to_have_text("1")
    expect(site.figure("lost")).to_have_text("0")
    expect(site.figure("doubled")).to_have_text("0")


@pytest.mark.parametrize("cut", [cut.name for cut in CUTS])
def test_every_button_cuts_the_next_answer_and_nothing_is_lost(site, cut):
    site.ask("one [seconds:1]")
    expect(site.entries("model", state="done")).to_have_count(1)
    site.page.get_by_label("in the next answer").check()
    site.page.locator(f"[data-cut='{cut}']").click()
    site.ask("two [seconds:2]")
    expect(site.entries("model", state="done").last).to_contain_text("answer to two: 2 user turns held", timeout=60_000)
    site.ask("three")
    expect(site.entries("model", state="done").last).to_contain_text(
        "answer to three: 3 user turns held", timeout=60_000
    )
    expect(site.figure("sent")).to_have_text("3")
    expect(site.figure("lost")).to_have_text("0")
    expect(site.figure("doubled")).to_have_text("0")


def test_all_of_it_is_done_by_keyboard(site):
    keyboard = site.page.keyboard
    keyboard.press("Tab")
    expect(site.page.get_by_text("Skip to the conversation")).to_be_focused()
    keyboard.press("Enter")
    expect(site.page.get_by_label("Message", exact=True)).to_be_focused()
    keyboard.type("one")
    keyboard.press("Enter")
    expect(site.entries("model", state="done")).to_have_count(1)
    for _ in range(60):
        if site.button("Dropped (FIN)").evaluate("button => button === document.activeElement"):
            break
        keyboard.press("Tab")
    expect(site.button("Dropped (FIN)")).to_be_focused()
    keyboard.press("Space")
    expect(site.entries("line", state="back")).to_contain_text("Resumed")
    expect(site.page.locator("#state")).to_have_text("Live")


def test_each_tab_has_its_own_conversation_and_keeps_it_when_it_is_loaded_again(site):
    site.ask("one")
    expect(site.entries("model", state="done")).to_have_count(1)
    other = site.open()
    other.get_by_label("Message", exact=True).fill("another")
    other.get_by_role("button", name="Send").click()
    expect(other.locator("#entries .model")).to_contain_text("answer to another: 1 user turns held")

    site.page.reload()
    expect(site.entries("user")).to_have_text(re.compile("one"))
    site.ask("two")
    expect(site.entries("model", state="done").last).to_contain_text("answer to two: 2 user turns held")


def test_pages_that_were_closed_make_room_for_new_ones(site):
    site.ask("one")
    expect(site.entries("model", state="done")).to_have_count(1)
    for _ in range(13):
        site.open().close()
    site.ask("two")
    expect(site.entries("model", state="done").last).to_contain_text("answer to two: 2 user turns held")


def test_what_the_microphone_hears_is_written_and_answered(site):
    site.button("Microphone").click()
    expect(site.button("Microphone")).to_have_attribute("aria-pressed", "true")
    site.page.wait_for_timeout(1500)  # the fake device beeps each second
    site.button("Microphone").click()
    expect(site.entries("model", state="done").first).to_contain_text("answer to", timeout=60_000)


def test_the_timeline_grows_beside_the_conversation(site):
    drawn = site.page.locator("#timeline [data-kind='connection']")
    site.ask("one [seconds:1]")
    expect(drawn).to_have_count(1)
    site.page.get_by_label("in the next answer").check()
    site.button("Reset (RST)").click()
    site.ask("two [seconds:1]")
    expect(drawn).to_have_count(2)
    expect(site.page.locator("#timeline [data-kind='cut']")).to_have_count(1)


def test_the_timeline_goes_on_while_nothing_happens(site):
    site.ask("one")
    expect(site.entries("model", state="done")).to_have_count(1)
    expect(site.page.locator("#timeline [data-kind='answer']")).to_have_count(1)
    site.page.wait_for_timeout(3000)  # what had happened is drawn
    picture = site.page.locator("#timeline svg")
    before = float(picture.get_attribute("data-seconds"))
    for _ in range(600):
        if float(picture.get_attribute("data-seconds")) > before + 1:
            return
        site.page.wait_for_timeout(50)
    raise AssertionError("it stands still")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_rule_of_accessibility_is_broken(open_site, scheme):
    site = open_site(color_scheme=scheme)
    site.ask("one")
    expect(site.entries("model", state="done")).to_have_count(1)
    results = Axe().run(site.page)
    assert results.violations_count == 0, results.generate_report()


def test_a_phone_shows_it_without_scrolling_sideways(open_site):
    site = open_site(viewport={"width": 360, "height": 740})
    site.ask("one")
    expect(site.entries("model", state="done")).to_have_count(1)
    assert site.page.evaluate("document.documentElement.scrollWidth") <= 360


def test_what_is_written_while_the_server_is_away_is_kept(chromium, leaving_address):
    address, leave, _ = leaving_address
    context = chromium.new_context()
    site = Site(context, address, listens=False)
    leave()
    expect(site.page.locator("#state")).to_contain_text("Waiting for the page's server")
    site.ask("a long question")
    expect(site.page.get_by_label("Message", exact=True)).to_have_value("a long question")
    expect(site.page.get_by_role("alert")).to_contain_text("Not sent")
    context.close()


def test_what_was_said_stays_when_another_server_comes(chromium, leaving_address):
    address, leave, come_back = leaving_address
    context = chromium.new_context()
    site = Site(context, address, listens=False)
    site.ask("My name is Ada.")
    expect(site.entries("model", state="done")).to_have_count(1)
    leave()
    expect(site.page.locator("#state")).to_contain_text("Waiting for the page's server")
    come_back()
    expect(site.page.locator("#state")).to_have_text("Live")
    site.ask("What is my name?")
    expect(site.entries("model", state="done")).to_have_count(2)
    assert [text.split("\n")[-1] for text in site.page.locator("#entries > li").all_inner_texts()] == [
        "My name is Ada.",
        "answer to My name is Ada.: 1 user turns held",
        "The page's server was started anew: it knows nothing of what was said above.",
        "What is my name?",
        "answer to What is my name?: 1 user turns held",
    ]
    context.close()


def test_a_phone_shows_what_comes_of_a_cut(open_site):
    site = open_site(viewport={"width": 390, "height": 800})
    site.ask("one")
    expect(site.entries("model", state="done")).to_have_count(1)
    site.button("Dropped (FIN)").click()
    expect(site.page.locator("#state")).to_be_in_viewport(ratio=1)
    expect(site.entries("line", state="back")).to_be_in_viewport(ratio=1)
    field = site.page.get_by_label("Message", exact=True)
    assert field.evaluate(
        """field => {
          const pen = document.createElement("canvas").getContext("2d"), style = getComputedStyle(field);
          pen.font = style.font;
          return pen.measureText(field.placeholder).width + 2 * parseFloat(style.paddingLeft) < field.clientWidth;
        }"""
    ), "its placeholder has no room"
    site.page.locator("footer").scroll_into_view_if_needed()
    expect(site.page.locator("#state")).to_be_in_viewport(ratio=1)


WATCH = """selector => {
  window.seen = [];
  const look = () => window.seen.push(document.querySelector(selector).innerText);
  new MutationObserver(look).observe(document.querySelector(selector), { childList: true, subtree: true, characterData: true });
}"""


def test_what_tells_the_emulated_model_what_to_do_is_never_seen(site):
    site.page.evaluate(WATCH, "#entries")
    site.ask('one [tool:next_ferry {"to": "Bygdøy"}] [seconds:2] [not one of them]')
    expect(site.entries("model", state="done").last).to_contain_text("results: next_ferry")
    seen = "\n".join(site.page.evaluate("window.seen"))
    assert "answer to one" in seen, "or nothing is proved"
    assert "[not one of them]" in seen
    assert not re.search(r"\[(t|s|$)", seen, re.MULTILINE)


def test_an_armed_cut_is_shown_until_it_strikes(site):
    armed, button = site.page.locator("#armed"), site.button("1011 deadline")
    site.page.get_by_label("in the next answer").check()
    button.click()
    expect(armed).to_have_text("armed: 1011 deadline")
    expect(button).to_have_attribute("data-armed", "true")
    site.page.reload()
    expect(armed).to_have_text("armed: 1011 deadline")
    site.ask("one [seconds:2]")
    expect(site.entries("line", state="back")).to_contain_text("1011 Deadline expired")
    expect(armed).to_be_empty()
    expect(button).to_have_attribute("data-armed", "false")
    assert ".." not in site.entries("line").inner_text()


def test_what_is_not_known_is_not_green(site):
    lost = site.figure("lost")
    expect(lost).to_have_text("–")
    unknown = lost.evaluate("figure => getComputedStyle(figure).color")
    site.ask("one")
    expect(lost).to_have_text("0")
    assert lost.evaluate("figure => getComputedStyle(figure).color") != unknown


def test_a_line_that_went_mute_is_told_before_the_session_notices(site):
    site.ask("one")
    expect(site.entries("model", state="done")).to_have_count(1)
    site.button("Black hole").click()
    expect(site.entries("line")).to_contain_text("noticed after 30 s if an answer is due, after 90 s if not")


def test_the_wait_for_the_next_dial_is_counted(chromium, slow_address):
    context = chromium.new_context()
    site = Site(context, slow_address, listens=False)
    site.ask("one [seconds:1]")
    expect(site.entries("model", state="done")).to_have_count(1)
    site.page.evaluate(WATCH, "#state")
    site.button("HTTP 503").click()
    expect(site.entries("line", state="back")).to_have_count(1)
    seen = "\n".join(site.page.evaluate("window.seen"))
    assert re.search(r"Reconnecting, dials again in [12] s", seen), seen
    context.close()


def test_nothing_is_cut_off_or_jumps_on_a_desktop(open_site):
    site = open_site(viewport={"width": 1400, "height": 1000})
    panel = site.page.locator(".panel")
    expect(site.page.locator("#timeline svg")).to_have_count(1)
    assert site.page.locator("#timeline").evaluate("view => view.scrollWidth <= view.clientWidth")
    left = "document.querySelector('{}').getBBox().x"
    assert site.page.evaluate(f"{left.format('#scale text')} >= {left.format('#plot rect')}")
    before = panel.bounding_box()["height"]
    site.page.get_by_label("in the next answer").check()
    assert panel.bounding_box()["height"] == before
