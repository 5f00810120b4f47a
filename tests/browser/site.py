"""The demo page, as a test uses it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from resumekit.emulator import Utterance, heard, spoken
from resumekit.emulator.speech import OUTPUT_RATE

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page

__all__ = ["Site"]

# Keeps what reaches the loudspeaker: whatever is connected to it is also heard by this.
_LISTEN = """
(() => {
  const connect = AudioNode.prototype.connect;
  window.heard = [];
  AudioNode.prototype.connect = function (target, ...rest) {
    if (target instanceof AudioDestinationNode && this.context.sampleRate === 24000) {
      const ear = this.context.createScriptProcessor(1024, 1, 1);
      ear.onaudioprocess = ({ inputBuffer }) => {
        const samples = Int16Array.from(inputBuffer.getChannelData(0), (sample) => Math.round(sample * 32768));
        if (samples.some(Boolean)) window.heard.push(String.fromCharCode(...new Uint8Array(samples.buffer)));
      };
      connect.call(this, ear);
      connect.call(ear, target);
    }
    return connect.call(this, target, ...rest);
  };
})();
"""


class Site:
    """The page in one tab."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.context = context
        self.address = address
        self.complaints: list[str] = []
        """Errors and warnings of the console."""
        context.add_init_script(_LISTEN)
        self.page = self.open()

    def open(self) -> Page:
        """Open the page in one more tab."""
        page = self.context.new_page()
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.address)
        expect(page.locator("#state")).to_have_text("Live")
        return page

    def _said(self, message: ConsoleMessage) -> None:
        if "ScriptProcessorNode is deprecated" not in message.text:  # it is the test's own
            self.complaints.append(message.text)

    def ask(self, text: str) -> None:
        """Write a message, and send it."""
        self.page.get_by_label("Message", exact=True).fill(text)
        self.page.get_by_role("button", name="Send").click()

    def entries(self, who: str, **data: str) -> Locator:
        """Find entries of the transcript."""
        return self.page.locator(
            f"#entries .{who}" + "".join(f'[data-{name}="{value}"]' for name, value in data.items())
        )

    def button(self, name: str) -> Locator:
        """Find a button by its name."""
        return self.page.get_by_role("button", name=name, exact=True)

    def figure(self, name: str) -> Locator:
        """Find a counter."""
        return self.page.locator(f"#figure-{name}")

    def sound(self) -> bytes:
        """Return what reached the loudspeaker so far, without silence: 24 kHz, 16 bit."""
        return base64.b64decode(self.page.evaluate("btoa(window.heard.join(''))"))

    def hears(self, text: str) -> None:
        """Wait until an answer has come out of the loudspeaker, every sample of it, after what may have been cut before."""
        beginning = spoken("", rate=OUTPUT_RATE)[:10]
        found = Utterance("", whole=False, milliseconds=0)
        for _ in range(600):
            sound = self.sound()
            found = heard(sound[max(sound.rfind(beginning), 0) :], rate=OUTPUT_RATE)
            if found.whole and found.text == text:
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"{text!r} was not heard: {found}")
