"""What nobody knows for certain of the service: the questions, and what is not asked.

Each question measures, and yields a `Finding` for each assumption of ours as soon as it is known; what comes in its way
(`NoAnswer`) ends that question alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from resumekit.cli._probe import connections, states, turns
from resumekit.cli._probe.finding import Findings
from resumekit.cli._probe.link import Service

__all__ = ["LEFT_OUT", "QUESTIONS", "Question"]


@dataclass(frozen=True)
class Question:
    """One thing to find out."""

    name: str
    about: str
    answers: int
    """How many answers the model is asked for, at most."""
    seconds: int
    """How long it takes, roughly, at most."""
    ask: Callable[[Service], Findings]
    is_long: bool = False


QUESTIONS = (
    Question("setup", "how long a connection and its setup take", 1, 5, connections.setup),
    Question("text", "in which form text is taken in mid-session", 4, 20, connections.text),
    Question("transparent", "whether the service tells what it consumed", 3, 40, states.transparent),
    Question("handles", "when handles come", 2, 40, states.handles),
    Question("memory", "whether a resumed session remembers", 2, 10, states.memory),
    Question("old-handles", "whether older and used handles are accepted", 3, 20, states.old_handles),
    Question("bad-handle", "what the service says to an unknown handle", 0, 2, states.bad_handle),
    Question(
        "old-binding", "what becomes of a handle whose old connection is still there", 5, 90, connections.old_binding
    ),
    Question("cut-answer", "what comes after a cut answer was resumed", 2, 20, turns.cut_answer),
    Question("overlap", "what a second question does to the first", 4, 60, turns.overlap),
    Question("tool-turns", "where turns end when the model calls a tool", 1, 15, turns.tool_turns),
    Question("unknown-call", "what the service says to the response to an unknown call", 2, 20, turns.unknown_call),
    Question("index", "what the service counts (where it does)", 5, 20, states.index),
    Question("pongs", "how late pongs come", 1, 30, connections.pongs),
    Question("idle-dial", "how long a connection may wait for its setup", 0, 52, connections.warm),
    Question("go-away", "how a connection ends of age", 1, 16 * 60, connections.go_away, is_long=True),
)
"""In the order in which they are asked: the first ones find out what the others build on."""

LEFT_OUT = {
    "how long a handle is valid": "takes 2 to 24 hours; Policy.handle_validity assumes 2 h, and 24 h on Vertex",
    "whether a connection without a setup counts in the quota": "would use up the quota of your project",
    "how long a session without context window compression may last": "takes 15 minutes of audio; Policy.session_limit",
    "when a connection is released that was cut without FIN or RST": "takes a network that does it; 'is silent' is near",
    "whether a handle's state holds speech whose end was not heard": "needs speech; Policy.handles_hold_audio",
}
"""What the probe does not ask, and why."""
