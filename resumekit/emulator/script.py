"""The fault script at work: which faults are due at a moment on a connection."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from resumekit.emulator.faults import Fault, Handshake, ListenerDown, Rst, SlowHandshake
from resumekit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resumekit.emulator.faults import Action, Moment

__all__ = ["FaultScript", "check_fault"]


def check_fault(fault: Fault) -> None:
    """Check that action and moment go together.

    Raises:
        ConfigurationError: They do not.
    """
    at_handshake = fault.at.on == "handshake"
    if at_handshake and not isinstance(fault.action, Handshake | SlowHandshake | ListenerDown | Rst):
        raise ConfigurationError(f"{fault.action!r} is impossible at the handshake; use a later trigger")
    if not at_handshake and isinstance(fault.action, Handshake | SlowHandshake):
        raise ConfigurationError(f"{fault.action!r} is possible at the handshake only")
    if fault.at.turn is not None and fault.at.on not in {"answer_frame", "audio_frame"}:
        raise ConfigurationError(f"a turn can be given for answer_frame and audio_frame only, not for {fault.at.on}")


class FaultScript:
    """The faults that are still to come, and the counts that they wait for."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._left: list[tuple[Fault, int]] = []
        """Each with how often it has struck."""
        self._counts: Counter[tuple[int, Moment]] = Counter()
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault) -> None:
        """Add a fault, which may have its moment from now on."""
        check_fault(fault)
        self._left.append((fault, 0))

    @property
    def waiting(self) -> list[Fault]:
        """The faults that have not struck once, in the order in which they were added."""
        return [fault for fault, struck in self._left if not struck]

    def due(
        self, moment: Moment, connection: int, binding: int | None, n: int | None = None, *, turn: int | None = None
    ) -> list[Action]:
        """Tell what strikes now.

        Args:
            n: Which one of its kind it is; None: counted here, per connection.
            turn: The turn of the connection that is under way, from 1; None where there is none yet.
        """
        if n is None:
            self._counts[connection, moment] += 1
            n = self._counts[connection, moment]
        actions: list[Action] = []
        left: list[tuple[Fault, int]] = []
        for fault, struck in self._left:
            at = fault.at
            if (
                at.on == moment
                and at.n == n
                and at.turn in {None, turn}
                and fault.connection in {None, connection}
                and fault.binding in {None, binding}
            ):
                actions.append(fault.action)
                struck += 1  # noqa: PLW2901 - the count goes back into the list
            if fault.times is None or struck < fault.times:
                left.append((fault, struck))
        self._left = left
        return actions

    def timed(self, connection: int, binding: int | None) -> list[float]:
        """Return the delays after setupComplete at which something may be due on a connection."""
        return sorted(
            {
                fault.at.seconds
                for fault, _ in self._left
                if fault.at.on == "elapsed"
                and fault.connection in {None, connection}
                and fault.binding in {None, binding}
            }
        )

    def due_after(self, seconds: float, connection: int, binding: int | None) -> list[Action]:
        """Tell what strikes so many seconds after setupComplete."""
        others = [entry for entry in self._left if entry[0].at.on != "elapsed" or entry[0].at.seconds != seconds]
        self._left = [entry for entry in self._left if entry not in others]
        actions = self.due("elapsed", connection, binding, 1)
        self._left += others
        return actions
