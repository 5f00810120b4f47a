"""What sessions hold: bytes of all that is reached from them, without what belongs to the process or to a library."""

from __future__ import annotations

import gc
import sys
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, ModuleType
from typing import Any

from msgspec import Raw, Struct

__all__ = ["held", "reached", "sessions"]

_SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType, FrameType, CodeType)
_OTHERS = ("tests.", "asyncio", "_asyncio", "ssl", "_ssl", "logging", "httpx", "_contextvars")
_OTHERS += ("google.adk", "google.auth", "google.oauth2", "google.genai.client", "google.genai._api_client")
"""Modules whose objects are the application's, the event loop's or the client library's."""


def reached(*things: Any, without: tuple[type, ...] = ()) -> dict[int, Any]:
    """Return all that these objects hold, and they themselves, by id; `without` what only these types hold."""
    shared = (*_SHARED, *without)
    found: dict[int, Any] = {}
    todo = list(things)
    while todo:
        one = todo.pop()
        if id(one) not in found and not isinstance(one, shared) and not _module(one).startswith(_OTHERS):
            found[id(one)] = one
            todo += gc.get_referents(one)
            if isinstance(one, Struct):  # one without a collector's header does not tell what it holds
                todo += [getattr(one, name) for name in one.__struct_fields__]
    return found


def held(*things: Any, without: tuple[type, ...] = ()) -> int:
    """Return how many bytes these objects hold."""
    return sum(_size(thing) for thing in reached(*things, without=without).values())


def _size(thing: Any) -> int:
    return len(bytes(thing)) if isinstance(thing, Raw) else sys.getsizeof(thing)  # it tells any number (msgspec 0.20)


def sessions() -> list[Any]:
    """Return what drivers and adapters have made and not let go: the sessions of this process.

    Without strings of theirs, the handles that ADK's events have: the application keeps those.
    """
    made = ("resumekit.adapters.", "resumekit.drivers.")
    return [one for one in gc.get_objects() if _module(one).startswith(made) and not isinstance(one, str)]


def _module(thing: Any) -> str:
    return str(type(thing).__module__)  # of some classes it is a property
