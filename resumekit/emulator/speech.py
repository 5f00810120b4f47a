"""Speech that can be checked: text hidden in PCM samples, and a voice activity detector.

`spoken` makes 16-bit mono PCM that sounds like noise and holds a text, 10 ms at a time; `heard` reads it back and
says whether anything was missing, doubled or out of order. The emulated model speaks in the same code.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from dataclasses import dataclass, field

__all__ = ["INPUT_RATE", "OUTPUT_RATE", "Utterance", "VoiceActivity", "heard", "silence", "spoken"]

INPUT_RATE = 16_000
"""Sample rate of what clients send, in Hz."""
OUTPUT_RATE = 24_000
"""Sample rate of what the model says, in Hz."""

_MAGIC = struct.pack("<4h", 12345, -12345, 23456, -23456)
_HEAD = struct.Struct("<8s4H")
_SALT = 0x5A5A
_LOUDNESS = 8000
_THRESHOLD = 500


@dataclass(frozen=True, slots=True)
class Utterance:
    """What was understood of a span of audio."""

    text: str
    """The transcription; ``[clipped] …`` or ``[doubled] …`` in front where the span was not whole."""
    whole: bool
    """Every 10 ms of the utterance came, once and in order."""
    milliseconds: int
    """Length of the span."""


def spoken(text: str, *, seconds: float | None = None, rate: int = INPUT_RATE) -> bytes:
    """Return an utterance that holds a text.

    Args:
        seconds: Length of the utterance; at least 10 ms for each byte of the text, and by default 0.3 s or that.
        rate: Samples per second.
    """
    content = text.encode()
    frames = max(len(content), round((0.3 if seconds is None else seconds) * 100), 1)
    return b"".join(
        _frame(index, frames, content[index] if index < len(content) else 0, rate) for index in range(frames)
    )


def silence(seconds: float, *, rate: int = INPUT_RATE) -> bytes:
    """Return silence."""
    return bytes(2 * round(seconds * rate))


def heard(pcm: bytes, *, rate: int = INPUT_RATE) -> Utterance:
    """Read back what `spoken` wrote; other audio is named by its length and digest."""
    length = len(pcm) * 1000 // (2 * rate)
    found = list(_frames(pcm))
    if not found:
        digest = hashlib.sha256(pcm).hexdigest()[:8]
        return Utterance(f"[audio {length} ms {digest}]", whole=True, milliseconds=length)
    total = found[0][1]
    order = [index for index, _, _ in found]
    letters = {index: value for index, _, value in found}
    content = bytearray()
    for index in range(total):
        letter = letters.get(index)
        content += b"" if letter == 0 else b"~" if letter is None else bytes([letter])
    text = content.decode(errors="replace").rstrip("~" if letters.get(total - 1) is None else "")
    if order == list(range(total)):
        return Utterance(text, whole=True, milliseconds=length)
    fault = "clipped" if len(letters) < total else "doubled"
    return Utterance(f"[{fault}] {text}", whole=False, milliseconds=length)


def _frame(index: int, total: int, value: int, rate: int) -> bytes:
    head = _HEAD.pack(_MAGIC, index, total, value, (index ^ total ^ value ^ _SALT) & 0xFFFF)
    half_period = 4 + value % 29
    rest = rate // 100 - _HEAD.size // 2
    wave = array("h", [_LOUDNESS if (n // half_period) % 2 else -_LOUDNESS for n in range(rest)])
    return head + wave.tobytes()


def _frames(pcm: bytes) -> list[tuple[int, int, int]]:
    """Find the code words: (index, total, value) each."""
    found: list[tuple[int, int, int]] = []
    at = pcm.find(_MAGIC)
    while 0 <= at <= len(pcm) - _HEAD.size:
        _, index, total, value, check = _HEAD.unpack_from(pcm, at)
        if check == (index ^ total ^ value ^ _SALT) & 0xFFFF:
            found.append((index, total, value))
        at = pcm.find(_MAGIC, at + len(_MAGIC))
    return found


@dataclass(slots=True)
class VoiceActivity:
    """An energy detector over 10 ms windows; time is counted in samples, never by a clock.

    It is part of the state that a handle names: `copy` makes the snapshot.
    """

    silence: float
    """Seconds of silence that end an utterance."""
    speaking: bool = False
    """An utterance is open."""
    _speech: bytearray = field(default_factory=bytearray)
    _rest: bytes = b""
    _quiet: float = 0.0

    def copy(self) -> VoiceActivity:
        """Return an independent copy."""
        return VoiceActivity(self.silence, self.speaking, bytearray(self._speech), self._rest, self._quiet)

    def feed(self, pcm: bytes, *, rate: int = INPUT_RATE) -> list[Utterance | None]:
        """Take audio in; each None is a start of speech, each `Utterance` an end."""
        window = 2 * (rate // 100)
        data = self._rest + pcm
        events: list[Utterance | None] = []
        whole = len(data) - len(data) % window
        for at in range(0, whole, window):
            self._feed_window(data[at : at + window], events)
        self._rest = data[whole:]
        return events

    def _feed_window(self, window: bytes, events: list[Utterance | None]) -> None:
        loud = max(map(abs, array("h", window)[::8])) > _THRESHOLD
        if loud and not self.speaking:
            self.speaking = True
            events.append(None)
        if not self.speaking:
            return
        self._speech += window
        self._quiet = 0.0 if loud else self._quiet + 0.01
        if self._quiet >= self.silence - 1e-9:
            events.append(self._end())

    def flush(self) -> Utterance | None:
        """End the open utterance, as `audioStreamEnd` does; None if there is none."""
        return self._end() if self.speaking else None

    def _end(self) -> Utterance:
        utterance = heard(bytes(self._speech))
        self.speaking = False
        self._speech.clear()
        self._quiet = 0.0
        return utterance
