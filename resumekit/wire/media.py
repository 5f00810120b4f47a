"""The shape of a stream of media: frames that differ in nothing but the base64 text of one string.

Of such a frame everything is known without parsing it. The shape is learned from a frame that the decoder read, so no
key, MIME type, order or white space is assumed.
"""

from __future__ import annotations

from msgspec import Struct

from resumekit.wire.server import Blob, Content, Part, ServerContent, ServerMessage

__all__ = ["MediaShape", "media_shape"]

_SAMPLE = 64


class MediaShape(Struct, frozen=True, gc=False):
    """What frames of one stream have in common. Made by `media_shape`."""

    prefix: bytes
    """Up to the quote before the media, which is its last byte."""
    suffix: bytes
    """From the quote after the media on. Neither part has a backslash, so their quotes are those of the JSON text."""
    start: int
    """Where the media begins: the length of `prefix`."""
    head: slice
    """Of the prefix."""
    inside: slice
    """Of the media."""
    mime_type: str | None
    role: str | None

    def matches(self, frame: bytes) -> bool:
        """Tell whether the frame is the learned JSON text with another string in this one place.

        There is no quote in that string, so nothing else, no `goAway` and no mark of a turn, can be in the frame. Were
        the quote behind it escaped, every later one would open a string where the learned text closes one, and the last
        string would not end: that is no JSON. Whether it is, and whether the string is base64, shows when it is decoded.
        """
        return frame[self.head] == self.prefix and frame[frame.find(b'"', self.start) :] == self.suffix

    def message(self, frame: bytes) -> ServerMessage:
        """Return what `decode_server` makes of a frame that matches."""
        blob = Blob(self.mime_type, None, frame[self.inside])
        return ServerMessage(ServerContent(Content(self.role, [Part(blob)])), raw=frame)


def media_shape(message: ServerMessage) -> MediaShape | None:
    """Learn the shape of a decoded frame, None if it holds anything but one piece of media (and unknown fields)."""
    frame, content = message.raw, message.server_content
    turn = None if content is None else content.model_turn
    blob = turn.parts[0].inline_data if turn is not None and turn.parts else None
    if turn is None or blob is None or blob.encoded is None or 0x5C in frame:
        return None
    # The decoder took the text from the frame, and its beginning is there only once: so it is this one, whatever the
    # keys are, and however often each of them is there.
    text = blob.encoded.encode()
    sample = b'"' + text[:_SAMPLE] + b'"' * (len(text) <= _SAMPLE)
    start = frame.find(sample) + 1
    if frame.rfind(sample) + 1 != start:
        return None
    end = start + len(text)
    media = slice(start, end - len(frame))
    shape = MediaShape(frame[:start], frame[end:], start, slice(start), media, blob.mime_type, turn.role)
    return shape if shape.message(frame) == message else None
