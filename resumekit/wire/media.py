"""The shape of a stream of media: frames that differ in nothing but the base64 text of one string.

Of such a frame everything is known without parsing it. The shape is learned from a frame that the decoder read, so no
key, MIME type, order or white space is assumed (PERFORMANCE section 8.2).
"""

from __future__ import annotations

from msgspec import Raw, Struct

from resumekit.wire.server import Blob, Content, Part, ServerContent, ServerMessage, decode_media

__all__ = ["MediaShape", "media_shape"]

_BACKSLASH = 0x5C
_SAMPLE = 64


class MediaShape(Struct, frozen=True, gc=False):
    """What frames of one stream have in common. Made by `media_shape`."""

    prefix: bytes
    """Up to the quote before the media, which is its last byte."""
    suffix: bytes
    """From the quote after the media on. Neither part has a backslash, so their quotes are those of the JSON text."""
    start: int
    """Length of `prefix`."""
    end: int
    """Where `suffix` begins, counted from the end of the frame: negative."""
    mime_type: str | None
    role: str | None

    def matches(self, frame: bytes) -> bool:
        """Tell whether the frame is the learned JSON text with another string in this one place.

        There is no quote and no backslash in that string, so nothing else, no `goAway` and no mark of a turn, can be in
        the frame. Whether it is base64, or a string that JSON allows, shows when it is decoded.
        """
        return (
            type(frame) is bytes
            and frame[: self.start] == self.prefix
            and _BACKSLASH not in frame
            and frame[frame.find(b'"', self.start) :] == self.suffix
        )

    def message(self, frame: bytes) -> ServerMessage:
        """Return what `decode_server` makes of a frame that matches."""
        blob = Blob(self.mime_type, Raw(frame[self.start - 1 : self.end + 1]))
        return ServerMessage(ServerContent(model_turn=Content(self.role, [Part(inline_data=blob)])), raw=frame)

    def media(self, frame: bytes) -> bytes:
        """Return the media of a frame that matches.

        Raises:
            RemoteProtocolError: This is not base64.
        """
        return decode_media(frame[self.start - 1 : self.end + 1], self.mime_type)


def media_shape(message: ServerMessage) -> MediaShape | None:
    """Learn the shape of a decoded frame, None if it holds anything but one piece of media (and unknown fields)."""
    frame, content = message.raw, message.server_content
    turn = None if content is None else content.model_turn
    blob = turn.parts[0].inline_data if turn is not None and turn.parts else None
    if turn is None or blob is None or _BACKSLASH in frame:
        return None
    quoted = bytes(blob.encoded)
    # The decoder took the value from the frame, and its beginning is there only once: so it is this one, whatever the
    # keys are, and however often each of them is there.
    sample = quoted[:_SAMPLE]
    at = frame.find(sample)
    if quoted[:1] != b'"' or at != frame.rfind(sample):
        return None
    start, end = at + 1, at + len(quoted) - 1 - len(frame)
    shape = MediaShape(frame[:start], frame[end:], start, end, blob.mime_type, turn.role)
    return shape if shape.message(frame) == message else None
