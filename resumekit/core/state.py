"""The states of a session and the transitions between them, as one table.

Two rules: what is not in `TRANSITIONS` cannot happen (`Machine.fire` raises and nothing changes),
and a state is only what decides where the next frame goes; everything else is a field elsewhere.
The diagram in the docs and the tests of illegal transitions are made from this table.
"""

from __future__ import annotations

import enum

from resumekit.errors import LocalProtocolError

__all__ = ["FINAL", "TRANSITIONS", "Machine", "State", "Trigger", "mermaid"]


class State(enum.Enum):
    """Where a session stands."""

    IDLE = "idle"
    """Built; nothing was dialled."""
    DIALING = "dialing"
    """A connection is being opened, or waits for the history that its setup needs."""
    BINDING = "binding"
    """Setup was sent; nothing else may be sent before setupComplete."""
    LIVE = "live"
    """Messages go to the wire."""
    DRAINING = "draining"
    """Live, and its end is announced, or its session's near: a quiet point or the deadline is waited for."""
    MOVING = "moving"
    """The old connection is being closed; the next one is not bound yet."""
    WAITING = "waiting"
    """Backoff before the next dial."""
    CLOSED = "closed"
    """The application ended the session, or let it go."""
    LOST = "lost"
    """The conversation cannot go on."""


class Trigger(enum.Enum):
    """What moves a session from one state to the next."""

    START = "start"
    BIND = "bind"
    BOUND = "setupComplete"
    GO_AWAY = "goAway"
    LIMIT = "session limit"
    MOVE = "move"
    FAIL = "connection failed"
    WAIT = "wait"
    DIAL = "dial"
    CLOSE = "close"
    GIVE_UP = "give up"


FINAL = (State.CLOSED, State.LOST)
"""States that are never left."""

TRANSITIONS: dict[tuple[State, Trigger], State] = {
    (State.IDLE, Trigger.START): State.DIALING,
    (State.DIALING, Trigger.BIND): State.BINDING,
    (State.DIALING, Trigger.FAIL): State.WAITING,
    (State.BINDING, Trigger.BOUND): State.LIVE,
    (State.BINDING, Trigger.FAIL): State.WAITING,
    (State.LIVE, Trigger.GO_AWAY): State.DRAINING,
    (State.LIVE, Trigger.LIMIT): State.DRAINING,
    (State.LIVE, Trigger.MOVE): State.MOVING,
    (State.LIVE, Trigger.FAIL): State.WAITING,
    (State.DRAINING, Trigger.MOVE): State.MOVING,
    (State.DRAINING, Trigger.FAIL): State.WAITING,
    (State.MOVING, Trigger.WAIT): State.WAITING,
    (State.WAITING, Trigger.DIAL): State.DIALING,
    **{(state, Trigger.CLOSE): State.CLOSED for state in State if state not in FINAL},
    **{(state, Trigger.GIVE_UP): State.LOST for state in State if state not in (*FINAL, State.IDLE)},
}
"""(state, trigger) -> state. Nothing else is possible."""


class Machine:
    """The current state; moved by `fire` alone."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = State.IDLE

    def fire(self, trigger: Trigger) -> None:
        """Take the transition of `trigger`.

        Raises:
            LocalProtocolError: the table has no such transition; the state is unchanged.
        """
        target = TRANSITIONS.get((self.state, trigger))
        if target is None:
            msg = f"a session that is {self.state.value} cannot take {trigger.value!r}"
            raise LocalProtocolError(msg)
        self.state = target


def mermaid() -> str:
    """Return the table as a Mermaid state diagram, for the docs."""
    lines = ["stateDiagram-v2", "    [*] --> idle"]
    for (state, trigger), target in TRANSITIONS.items():
        if trigger not in (Trigger.CLOSE, Trigger.GIVE_UP):
            lines.append(f"    {state.value} --> {target.value}: {trigger.value}")
    lines += ["    state any_state <<choice>>", "    any_state --> closed: close", "    any_state --> lost: give up"]
    lines += [f"    {state.value} --> [*]" for state in State if state in FINAL]
    return "\n".join(lines)
