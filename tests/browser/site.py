"""The demo page, as a test uses it."""

from __future__ import annotations

import base64
from array import array
from itertools import groupby
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from resumekit.emulator import Utterance, heard, spoken
from resumekit.emulator.speech import OUTPUT_RATE

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page

__all__ = ["Site"]

# Keeps what reaches the loudspeaker: whatever is connected to it is also heard by this, in the thread of the sound, where
# nothing gets lost if the machine has other things to do.
_LISTEN = """
(() => {
  const connect = AudioNode.prototype.connect, addModule = AudioWorklet.prototype.addModule;
  window.heard = [];
  const module = URL.createObjectURL(new Blob([`EAR`], { type: "text/javascript" }));
  AudioWorklet.prototype.addModule = function (...rest) {
    return addModule.call(this, module).then(() => addModule.apply(this, rest));
  };
  AudioNode.prototype.connect = function (target, ...rest) {
    if (target instanceof AudioDestinationNode && this.context.sampleRate === 24000) {
      const ear = new AudioWorkletNode(this.context, "ear", { channelCount: 1, channelCountMode: "explicit" });
      ear.port.onmessage = ({ data }) => window.heard.push(String.fromCharCode(...new Uint8Array(data)));
      connect.call(this, ear);
      connect.call(ear, target);
    }
    return connect.call(this, target, ...rest);
  };
})();
"""
_EAR = """
registerProcessor("ear", class extends AudioWorkletProcessor {
  process([[input]]) {
    if (input?.some(Boolean)) {
      const samples = Int16Array.from(input, (sample) => Math.round(sample * 32768));
      this.port.postMessage(samples.buffer, [samples.buffer]);
    }
    return true;
  }
});
"""
_PAUSE = 16
"""So many samples of silence are a pause: nothing was there to be played."""


class Site:
    """The page in one tab; one that `listens` needs a context without the page's security policy."""

    def __init__(self, context: BrowserContext, address: str, *, listens: bool) -> None:
        self.context = context
        self.address = address
        self.complaints: list[str] = []
        """Errors and warnings of the console."""
        if listens:
            context.add_init_script(_LISTEN.replace("EAR", _EAR))
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
        samples = array("h", base64.b64decode(self.page.evaluate("btoa(window.heard.join(''))")))
        runs = ((value, list(run)) for value, run in groupby(samples))
        return array("h", [one for value, run in runs if value or len(run) < _PAUSE for one in run]).tobytes()

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
