"""Make docs/images/demo-web.png, the picture of the demo page in the README: `make picture`, in the environment `browser`."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "images" / "demo-web.png"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
ENVIRON = {**os.environ, "PYTHONPATH": str(ROOT)}


def converse(page: Page) -> None:
    """Hold a conversation in which the line is cut twice."""

    def ask(question: str, answers: int) -> None:
        page.get_by_label("Message", exact=True).fill(question)
        page.get_by_role("button", name="Send").click()
        expect(page.locator("#entries .model[data-state='done']")).to_have_count(answers)

    expect(page.locator("#state")).to_have_text("Live")
    ask("Any tips for Oslo? [seconds:2]", 1)
    page.wait_for_timeout(1500)
    page.get_by_label("in the next answer").check()
    page.get_by_role("button", name="Reset (RST)", exact=True).click()
    ask("What should I pack? [seconds:3]", 2)
    page.wait_for_timeout(1500)
    page.get_by_role("button", name="goAway, 1 s", exact=True).click()
    ask("And where do I eat? [seconds:4]", 3)
    page.wait_for_timeout(2500)


def main() -> None:
    command = [sys.executable, "-m", "resumekit.cli", "demo", "--web", "--no-open", "--speed", "2"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRON) as demo,
        sync_playwright() as playwright,
    ):
        try:
            assert demo.stdout is not None
            address = re.search(r"http://127\.0\.0\.1:\d+/", demo.stdout.readline())
            assert address is not None
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1300, "height": 1010})
            page.goto(address.group())
            converse(page)
            PICTURE.parent.mkdir(exist_ok=True)
            page.screenshot(path=PICTURE)
            browser.close()
        finally:
            demo.send_signal(signal.SIGINT)
    print(f"    {PICTURE} ({PICTURE.stat().st_size // 1024} KiB)")


if __name__ == "__main__":
    main()
