"""The buttons of the panel: the ways in which a line to the service ends, as faults of the emulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from resumekit.core.policy import Policy
from resumekit.emulator import Fault, Trigger
from resumekit.emulator import texts as reasons

__all__ = ["CUTS", "Cut", "cut_named"]


@dataclass(frozen=True, slots=True)
class Cut:
    """One button."""

    name: str
    group: str
    label: str
    words: str
    """What it does, in a sentence."""
    faults: Callable[[Trigger], tuple[Fault, ...]]
    """What strikes, at a moment on the connection in use."""
    told: str = ""
    """What is told of it once it has struck, where the session cannot know yet."""


def _close(code: int, reason: str) -> Callable[[Trigger], tuple[Fault, ...]]:
    return lambda at: (Fault.close(code, reason, at=at),)


_ANNOUNCED, _CUT, _CLOSED, _QUIET, _DOWN, _HANDLE = (
    "Announced",
    "Cut without a word",
    "Closed with a code",
    "Gone quiet",
    "Hard to get back to",
    "Nothing to resume with",
)

_NOTICED = (
    f"it is noticed after {Policy().abort_expecting:g} s if an answer is due, after {Policy().abort_idle:g} s if not"
)

CUTS: tuple[Cut, ...] = (
    Cut(
        "go-away", _ANNOUNCED, "goAway, 10 s", "The service announces the end of the connection, and ends it 10 seconds later.",
        lambda at: (Fault.go_away(10.0, at=at),),
    ),
    Cut(
        "go-away-short", _ANNOUNCED, "goAway, 1 s", "The same, with a second left: less than an answer takes.",
        lambda at: (Fault.go_away(1.0, at=at),),
    ),
    Cut("reset", _CUT, "Reset (RST)", "The TCP connection is reset: close code 1006, as in a lost network.", lambda at: (Fault.rst(at=at),)),
    Cut("end", _CUT, "Dropped (FIN)", "The connection ends without a close frame: 1006, too.", lambda at: (Fault.fin(at=at),)),
    Cut("torn", _CUT, "Torn frame", "Half of a frame arrives, and then the connection ends.", lambda at: (Fault.torn_frame(at=at),)),
    Cut("1000", _CLOSED, "1000", "Closed normally, in the midst of things.", _close(1000, "")),
    Cut("1007", _CLOSED, "1007", "Closed with “invalid argument”: tried again once, as it may have been a passing trouble.", _close(1007, reasons.INVALID_ARGUMENT)),
    Cut("1008", _CLOSED, "1008", "Closed with “the operation was aborted”.", _close(1008, reasons.ABORTED)),
    Cut("1011", _CLOSED, "1011 deadline", "Closed with “deadline expired”: the connection's time is up, unannounced.", _close(1011, reasons.DEADLINE)),
    Cut("1011-internal", _CLOSED, "1011 internal", "Closed with “internal error”: the service is in trouble.", _close(1011, reasons.INTERNAL)),
    Cut(
        "black-hole", _QUIET, "Black hole", f"The line goes mute both ways and stays open: {_NOTICED}.",
        lambda at: (Fault.half_open(5.0, at=at),), told=f"The line has gone mute, and seems to be open: {_NOTICED}.",
    ),
    Cut("stall", _QUIET, "Stall, 5 s", "The service sends nothing for 5 seconds, and then goes on: no reason to reconnect.", lambda at: (Fault.silence(5.0, at=at),)),
    Cut(
        "down", _DOWN, "Down, 5 s", "The connection is reset, and the service refuses new ones for 5 seconds.",
        lambda at: (Fault.listener_down(5.0, at=at),),
    ),
    Cut(
        "503", _DOWN, "HTTP 503", "The connection is reset; the next dial is answered with HTTP 503 and Retry-After: 2.",
        lambda at: (Fault.handshake(503, retry_after=2.0), Fault.rst(at=at)),
    ),
    Cut(
        "drops", _DOWN, "Drops 3 times", "The connection is reset; the next three are accepted, and dropped at once.",
        lambda at: (Fault.drop_before_setup(times=3), Fault.rst(at=at)),
    ),
    Cut(
        "slow", _DOWN, "Slow to answer", "The connection is reset; the next one is answered after 3 seconds.",
        lambda at: (Fault.slow_handshake(3.0), Fault.rst(at=at)),
    ),
    Cut(
        "refused", _HANDLE, "Handle refused", "The connection is reset, and the service refuses to resume: a fresh start, with the history replayed.",
        lambda at: (Fault.refuse_handle(), Fault.rst(at=at)),
    ),
    Cut(
        "expired", _HANDLE, "Handles expired", "All handles expire, and the connection is reset.",
        lambda at: (Fault.expire_handles(at=at), Fault.rst(at=at)),
    ),
    Cut(
        "dead", _HANDLE, "Accepted, then mute", "The connection is reset; the next one takes the handle, and never answers.",
        lambda at: (Fault.poisoned_handle(), Fault.rst(at=at)),
    ),
)  # fmt: skip
"""In the panel's order."""


def cut_named(name: object) -> Cut | None:
    """Return the cut of this name, if there is one."""
    return next((cut for cut in CUTS if cut.name == name), None)
