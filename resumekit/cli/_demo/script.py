"""The script of the demo: what the user asks, and what goes wrong meanwhile. Both clients get the same one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from resumekit.emulator import Fault, Trigger, response_item

if TYPE_CHECKING:
    from resumekit.emulator import ConnectionRecord, ServiceEvent

__all__ = ["ADK_SCRIPT", "SCRIPT", "TIMETABLE", "Scene", "Strike", "armed", "tag_of"]


@dataclass(frozen=True, slots=True)
class Strike:
    """One thing that goes wrong, with its names."""

    fault: Fault
    story: str
    """What a line of the story says when it strikes."""
    label: str = ""
    """What the picture says; empty: it belongs to the strike before it."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A question, and what strikes while it is asked and answered."""

    question: str
    strikes: tuple[Strike, ...] = ()
    response: str = ""
    """What a tool of the app answers the model meanwhile, as the ledger names it."""

    def strike(self, tag: str) -> Strike | None:
        """Find the strike with this action."""
        return next((strike for strike in self.strikes if tag_of(strike.fault) == tag), None)


def tag_of(fault: Fault) -> str:
    """Return what the emulator calls a fault when it strikes."""
    return str(fault.action.__struct_config__.tag)


_MID_ANSWER = Trigger.mid_answer(20)
_DEADLINE = "Deadline expired before operation could complete."
_INTERNAL = "Internal error encountered."

SCRIPT = (
    Scene("I am off to Oslo. Any tips?"),
    Scene(
        "What should I pack?",
        (Strike(Fault.rst(at=_MID_ANSWER), "the connection is reset in mid-answer", "reset in mid-answer"),),
    ),
    Scene(
        "Is it cold in May? [seconds:7]",
        (
            Strike(
                Fault.go_away(12.0, at=Trigger.mid_answer(8)),
                "goAway in mid-answer: this connection will end",
                "goAway in mid-answer",
            ),
        ),
    ),
    Scene(
        "Which museum first?",
        (
            Strike(
                Fault.fin(at=Trigger.before_handle()),
                "cut after the answer, before its handle",
                "cut before the handle",
            ),
        ),
    ),
    Scene(
        "Where do I eat well?",
        (
            Strike(
                Fault.half_open(10.0, at=_MID_ANSWER),
                "half-open: the line goes mute, and the service keeps the old binding",
                "half-open, old binding kept",
            ),
        ),
    ),
    Scene(
        "How do trams work?",
        (
            Strike(Fault.rst(at=_MID_ANSWER), "the connection is reset in mid-answer", "reset, handle refused"),
            Strike(Fault.refuse_handle(), "the service refuses the handle: Invalid session handle"),
        ),
    ),
    Scene(
        "Is there a ferry?",
        (
            Strike(
                Fault.close(1011, _DEADLINE, at=_MID_ANSWER),
                "closed without notice: 1011 Deadline expired",
                "1011 Deadline",
            ),
        ),
    ),
    Scene(
        "Can I see a fjord?",
        (
            Strike(
                Fault.listener_down(8.0),
                "the service goes down, just as the question is asked",
                "service down",
            ),
        ),
    ),
    Scene(
        "What about Sunday?",
        (
            Strike(Fault.close(1011, _INTERNAL, at=_MID_ANSWER), "1011 Internal error", "1011, then drops 3 times"),
            Strike(Fault.drop_before_setup(times=3), "accepted, and dropped at once"),
        ),
    ),
    Scene(
        "Any concerts on?",
        (
            Strike(Fault.rst(at=_MID_ANSWER), "the connection is reset in mid-answer", "reset, then HTTP 503"),
            Strike(Fault.handshake(503, retry_after=3.0), "the service answers HTTP 503 with Retry-After"),
        ),
    ),
    Scene("How do I get back?"),
    Scene("What did I ask? [recall]"),
)
"""Twelve questions, nine cuts. Times are the service's; the last question has the model list what it remembers."""

TIMETABLE = {"next": "at 9:30"}
"""What the app's tool `timetable` returns."""
_WITH_A_TOOL = Scene(
    'When does it sail? [tool:timetable {"to": "Bygdoy"}]',
    (
        Strike(
            Fault.rst(at=Trigger.tool_call()),
            "the connection is reset as the model calls the tool",
            "reset at a tool call",
        ),
    ),
    response_item("timetable", TIMETABLE),
)
ADK_SCRIPT = (*SCRIPT[:3], _WITH_A_TOOL, *SCRIPT[3:])
"""The same, and a tool: ADK runs it."""

_EACH_ANSWER = frozenset({"answer_frame", "audio_frame"})
_NEXT_CONNECTION = frozenset({"handshake", "opened", "setup_received", "resume", "bound"})
_AT_ONCE = frozenset({"now"})


def armed(fault: Fault, events: Sequence[ServiceEvent], connections: Sequence[ConnectionRecord]) -> Fault:
    """Return the fault for the n-th moment from now on, on the connection that is bound now.

    The emulator counts most moments from the start of each connection.
    """
    moment = fault.at.on
    if moment in _EACH_ANSWER | _NEXT_CONNECTION | _AT_ONCE:
        return fault
    bound = [record.number for record in connections if record.bound_at is not None and record.closed_at is None]
    so_far = sum(event.kind == moment and event.connection in bound[-1:] for event in events)
    return msgspec.structs.replace(fault, at=msgspec.structs.replace(fault.at, n=fault.at.n + so_far))
