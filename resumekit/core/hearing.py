"""The transcription of a spoken question: what the app was shown of it is not shown again.

A question that is resent as audio is transcribed a second time, not always in the same words, and
maybe from its middle on, where the head of the audio was lost.
"""

from __future__ import annotations

import re

from msgspec import Struct

from resumekit.wire import ServerMessage, Transcription, decode_server, with_transcription

__all__ = ["Hearing", "repeated"]

_WORD = r"(?:(?=\w)[\0-\u2e7f])+|\w"
"""A word; of scripts that put none apart, a character. Seldom needed, and slow to compile: `re` does it, and keeps it."""


class Hearing(Struct):
    """One question as the service hears it, and as the app is shown it, over all runs of its turn."""

    said: str = ""
    """All that the app was shown."""
    told: str = ""
    """What of it was shown before the current run."""
    finished: bool = False
    """The app was told that this is all."""
    clipped: bool = False
    """The head of its audio was let go before the service had it for certain."""
    _run: str = ""
    """All that the service said in the current run."""

    def restart(self) -> None:
        """Expect to hear it all again."""
        self.told = self.said
        self._run = ""

    def filter(self, message: ServerMessage) -> tuple[ServerMessage | None, bool]:
        """Note a frame's transcriptions; return what the app is to see of the frame, and whether it lacks something."""
        content = message.server_content
        if content is None or message.partial:
            return message, False
        raw = message.raw
        if content.input_transcription is not None:
            raw = self._take("input_transcription", content.input_transcription, raw)
        if content.interim_input_transcription is not None:
            raw = self._take("interim_input_transcription", content.interim_input_transcription, raw)
        if raw is message.raw:
            return message, False
        return (decode_server(raw) if raw != b"{}" else None), True

    def _take(self, name: str, heard: Transcription, raw: bytes) -> bytes:
        text = heard.text or ""
        fresh = self._fresh(text)
        finished = bool(heard.finished) and bool(fresh or not self.finished)
        if name == "input_transcription":
            self._run += text
            self.said += fresh
            self.finished = finished or (self.finished and not fresh)
        if not self.told or (fresh, finished) == (text, bool(heard.finished)) != ("", False):
            return raw
        return with_transcription(raw, name, fresh, finished=finished)

    def _fresh(self, text: str) -> str:
        """Return the part of a piece that goes beyond what was told."""
        if len(self.said) > len(self.told):
            return text
        return text[max(repeated(self.told, self._run + text) - len(self._run), 0) :]


def repeated(told: str, text: str) -> int:
    """Return how many characters of `text`, which grows, only say again what `told` said.

    `text` may begin in the middle of `told`. The last word of either may be a beginning. Where the two
    differ in their words, as many words as were told count as said again.
    """
    old = [word.casefold() for word in re.findall(_WORD, told)]
    found = list(re.finditer(_WORD, text))
    new = [match[0].casefold() for match in found]
    if not (old and new):
        return len(text) if old else 0
    for start in range(len(old)):
        rest = old[start:]
        last = min(len(rest), len(new)) - 1
        if rest[:last] != new[:last]:
            continue
        if len(new) <= len(rest) and rest[last].startswith(new[last]):
            return len(text)
        if len(rest) <= len(new) and new[last].startswith(rest[last]) and (last or not start):
            return _skip_tail(told, text, found[last].start() + len(rest[last]))
    return found[len(old) - 1].end() if len(new) > len(old) else len(text)


def _skip_tail(told: str, text: str, end: int) -> int:
    """Return the end of what was told, with the punctuation that was told behind its last word."""
    tail = told[[match.end() for match in re.finditer(_WORD, told)][-1] :]
    return end + len(tail) if text.startswith(tail, end) else end
