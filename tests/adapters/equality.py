"""What google-genai itself makes of a frame, and whether two messages are equal in all that can be seen of them."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pydantic
from google.genai.live import AsyncSession

from resumekit.adapters import _genai_seam as seam


def difference(ours, theirs, path="message"):
    """Return where two values differ, None if nowhere: types, values, order, set fields, extras, private attributes.

    NaN is equal to NaN, and 0.0 differs from -0.0.
    """
    if type(ours) is not type(theirs):
        return f"{path}: {type(ours).__name__}, not {type(theirs).__name__}"
    if isinstance(ours, pydantic.BaseModel):
        for name in ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__", "__dict__"):
            found = difference(
                getattr(ours, name), getattr(theirs, name), f"{path}.{name}" if name != "__dict__" else path
            )
            if found is not None:
                return found
        return None
    if isinstance(ours, dict):
        if list(ours) != list(theirs):
            return f"{path}: keys {list(ours)}, not {list(theirs)}"
        return next(filter(None, (difference(ours[key], theirs[key], f"{path}.{key}") for key in ours)), None)
    if isinstance(ours, list):
        if len(ours) != len(theirs):
            return f"{path}: {len(ours)} items, not {len(theirs)}"
        pairs = enumerate(zip(ours, theirs, strict=True))
        return next(filter(None, (difference(a, b, f"{path}[{i}]") for i, (a, b) in pairs)), None)
    return None if repr(ours) == repr(theirs) else f"{path}: {ours!r}, not {theirs!r}"


class _Socket:
    """A connection with one frame."""

    async def recv(self, decode=None):
        return self.frame


def session(*, vertex):
    """Return an `AsyncSession` of the installed google-genai; its `socket.frame` is what it receives."""
    account = SimpleNamespace(api_client=SimpleNamespace(vertexai=vertex))
    made = AsyncSession(**seam.session_arguments(account, _Socket(), b'{"setupComplete":{}}'))
    made.socket = made._ws
    return made


_SESSIONS = {vertex: session(vertex=vertex) for vertex in (False, True)}


def receive(frame, *, vertex):
    """Return what google-genai's own code makes of a frame.

    Raises:
        Exception: As it does.
    """
    one = _SESSIONS[vertex]
    one.socket.frame = frame
    reading = one._receive()
    try:
        reading.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("google-genai waits for more than a frame")


def watched(read, *arguments, **options):
    """Return what a function returns, or the exception that it raises, and the texts of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = read(*arguments, **options)
        except Exception as error:
            result = error
    return result, {str(warning.message) for warning in caught}


def outcome(read, *arguments, **options):
    """Return what a function returns, or the exception that it raises."""
    return watched(read, *arguments, **options)[0]


def disagreement(lane, frame, *, vertex):
    """Return how a lane reads a frame otherwise than google-genai; None if it does not, or leaves it to google-genai."""
    ours = outcome(lane.decode, frame)
    if ours is None:
        return None
    theirs = outcome(receive, frame, vertex=vertex)
    return difference(ours, theirs)
