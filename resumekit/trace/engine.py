"""The engine of a session that is traced."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from resumekit.core import actions, inputs
from resumekit.core.engine import Engine
from resumekit.core.failures import Verdict
from resumekit.core.policy import (
    Decisions,
    DelayDetails,
    Exactly,
    FailureDetails,
    Move,
    MoveDetails,
    Policy,
    Recovery,
    RecoveryDetails,
)
from resumekit.trace.records import Answer, Began, Ended, Fed, Inserted, Media, Record, Streamed, Took, described
from resumekit.wire import ClientMessage, HistoryTurn, ResumptionHandle, ServerMessage

__all__ = ["TracedEngine"]


class TracedEngine(Engine):
    """An `Engine` that tells what it was fed, what it asked and was answered, and what it wanted done.

    Args:
        record: Called with each `Record`; must not raise. It may keep the record: it does not change.
        clock: Tells the time, as `feed` is told it, where the engine itself is not; None: that of the last `feed`.
    """

    __slots__ = ("_asked", "_clock", "_is_over", "_record")

    def __init__(
        self,
        setup: str,
        *,
        record: Callable[[Record], None],
        clock: Callable[[], float] | None = None,
        policy: Policy,
        decisions: Decisions,
        transparent: bool,
        random: Callable[[], float],
        handle: ResumptionHandle | None = None,
        history: Sequence[HistoryTurn] = (),
        loads_history: bool = False,
        credentials_renewable: bool = False,
        express: bool = True,
    ) -> None:
        asked: list[tuple[str, Answer]] = []

        def draw() -> float:
            drawn = random()
            asked.append(("draw", drawn))
            return drawn

        history = tuple(history)
        super().__init__(
            setup,
            policy=policy,
            decisions=_Overheard(decisions, asked),
            transparent=transparent,
            random=draw,
            handle=handle,
            history=history,
            loads_history=loads_history,
            credentials_renewable=credentials_renewable,
            express=express,
        )
        self._asked = asked
        self._record = record
        self._clock = clock or (lambda: self._now)
        self._is_over = False
        record(
            Began(
                setup=setup,
                policy=policy,
                transparent=transparent,
                handle=handle,
                history=history,
                loads_history=loads_history,
                credentials_renewable=credentials_renewable,
                express=express,
            )
        )

    def feed(self, happened: inputs.Input, now: float) -> list[actions.Action]:
        """As `Engine.feed`."""
        if self._is_over:
            return super().feed(happened, now)
        try:
            todo = super().feed(happened, now)
        except Exception as error:
            self._record(Fed(now, _detached(happened), self._answers(), raised=described(error)))
            raise
        end = todo[-1] if todo else None
        if not isinstance(end, actions.Finish):
            self._record(Fed(now, _detached(happened), self._answers(), tuple(todo)))
            return todo
        did = (*todo[:-1], actions.Finish(None))
        lost = None if end.error is None else described(end.error)
        self._record(Fed(now, _detached(happened), self._answers(), did, lost))
        self._is_over = True
        self._record(Ended(self.stats.snapshot()))
        return todo

    def feed_media(self, connection: int, frame: bytes, now: float) -> bool:
        """As `Engine.feed_media`."""
        taken = super().feed_media(connection, frame, now)
        if taken:
            self._record(Media(now, connection, frame))
        return taken

    def streamed(self, message: ClientMessage) -> None:
        """As `Engine.streamed`."""
        assert self._stream is not None
        self._record(Streamed(self._clock(), self._stream.number, message))
        super().streamed(message)

    def insert(self, message: ServerMessage) -> None:
        """As `Engine.insert`."""
        super().insert(message)
        if not self._is_over:
            self._record(Inserted(message.raw))

    def take(self) -> ServerMessage | None:
        """As `Engine.take`."""
        message = super().take()
        if message is not None and not self._is_over:
            self._record(Took(self._clock(), message.raw))
        return message

    def take_frame(self) -> ServerMessage | bytes | None:
        """As `Engine.take_frame`."""
        frame = super().take_frame()
        if frame is not None and not self._is_over:
            self._record(Took(self._clock(), frame if isinstance(frame, bytes) else frame.raw))
        return frame

    def _answers(self) -> tuple[tuple[str, Answer], ...]:
        answers = tuple(self._asked)
        self._asked.clear()
        return answers


def _detached(happened: inputs.Input) -> inputs.Input:
    """Return an input without the transport's exception."""
    if isinstance(happened, inputs.ConnectionEnded | inputs.DialFailed) and happened.failure.error is not None:
        return replace(happened, failure=replace(happened.failure, error=None))
    return happened


class _Overheard:
    """Passes the engine's questions on, and notes the answers."""

    def __init__(self, decisions: Decisions, asked: list[tuple[str, Answer]]) -> None:
        self._decisions = decisions
        self._asked = asked

    def choose_delay(self, details: DelayDetails) -> float | Exactly:
        answer = self._decisions.choose_delay(details)
        self._asked.append(("delay", answer))
        return answer

    def classify_failure(self, details: FailureDetails) -> Verdict:
        answer = self._decisions.classify_failure(details)
        self._asked.append(("verdict", answer))
        return answer

    def choose_move(self, details: MoveDetails) -> Move:
        answer = self._decisions.choose_move(details)
        self._asked.append(("move", answer))
        return answer

    def choose_recovery(self, details: RecoveryDetails) -> Recovery:
        answer = self._decisions.choose_recovery(details)
        self._asked.append(("recovery", answer))
        return answer
