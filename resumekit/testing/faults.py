"""`Faults`: what shall go wrong in a test, by what it is like for the application."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from resumekit.emulator import Fault, Trigger, load_faults
from resumekit.errors import ConfigurationError

if TYPE_CHECKING:
    from resumekit.testing.thread import ServerThread

__all__ = ["Faults"]


class Faults:
    """What shall go wrong in a conversation with a server; in pytest, the fixture `fault_script` is one.

    Each method adds one fault, which strikes once. They can be added before the conversation and during it. Turns and
    tool calls are counted from 1, on each connection anew. All times are seconds of the service, which
    `ServerThread(time_scale=)` shortens.

    Args:
        server: Where they shall strike.
    """

    def __init__(self, server: ServerThread) -> None:
        self._server = server

    @property
    def waiting(self) -> list[Fault]:
        """The faults that have not struck."""
        return self._server.waiting

    def add(self, *faults: Fault) -> None:
        """Add any faults: see `resumekit.emulator.Fault`.

        Raises:
            ConfigurationError: A fault makes no sense.
        """
        self._server.inject(*faults)

    def load(self, path: str | Path) -> None:
        """Add the faults of a script, as `resumekit emulate --faults` reads it.

        Raises:
            ConfigurationError: It cannot be read, or is no JSON array of faults.
        """
        try:
            script = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"cannot read the fault script: {error}") from error
        self.add(*load_faults(script))

    def cut_now(self) -> None:
        """Reset the connection at once; where there is none yet, the next one as soon as it is bound."""
        self.add(Fault.rst())

    def cut_mid_answer(self, turn: int | None = None) -> None:
        """Reset the connection when some of an answer was sent.

        Args:
            turn: The answer of which turn; None: of any.
        """
        self.add(Fault.rst(at=Trigger.mid_answer(turn=turn)))

    def cut_after_answer(self, turn: int = 1) -> None:
        """Reset the connection at the end of a turn, before its handle comes."""
        self.add(Fault.rst(at=Trigger.turn_complete(turn)))

    def cut_at_tool_call(self, call: int = 1) -> None:
        """Reset the connection when a tool was called, before its response."""
        self.add(Fault.rst(at=Trigger.tool_call(call)))

    def close_mid_answer(
        self, code: int = 1011, reason: str = "Internal error encountered.", turn: int | None = None
    ) -> None:
        """Let the service close the connection when some of an answer was sent.

        Args:
            code: Of the WebSocket.
            reason: In the service's words.
            turn: The answer of which turn; None: of any.
        """
        self.add(Fault.close(code, reason, at=Trigger.mid_answer(turn=turn)))

    def go_away(self, time_left: float | None = 10.0, turn: int | None = None) -> None:
        """Let the service announce the end of the connection in an answer, and close it then.

        The conversation has to last until then, or to have moved: `assert_survived` sees to that.

        Args:
            time_left: Seconds; None leaves `timeLeft` out.
            turn: In the answer of which turn; None: of any.
        """
        self.add(Fault.go_away(time_left, at=Trigger.mid_answer(1, turn=turn)))

    def go_mute_mid_answer(self, turn: int | None = None) -> None:
        """Let the network vanish in an answer: nothing comes any more, and nothing says that the connection is gone.

        Args:
            turn: The answer of which turn; None: of any.
        """
        self.add(Fault.half_open(at=Trigger.mid_answer(turn=turn)))

    def refuse_handle(self) -> None:
        """Let the service refuse the next resumption handle, as one that is too old."""
        self.add(Fault.refuse_handle())

    def outage(self, seconds: float = 5.0, turn: int | None = None) -> None:
        """Reset the connection in an answer, and refuse every other one for a while.

        Args:
            seconds: Of the service.
            turn: In the answer of which turn; None: of any.
        """
        self.add(Fault.listener_down(seconds, at=Trigger.mid_answer(turn=turn)))
