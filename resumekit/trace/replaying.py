"""A trace run again: the engine is fed what the trace says that it was fed, and has to come to the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from resumekit.core import actions, events
from resumekit.core.engine import Engine
from resumekit.core.failures import Verdict
from resumekit.core.policy import DelayDetails, Exactly, FailureDetails, Move, MoveDetails, Recovery, RecoveryDetails
from resumekit.errors import ConfigurationError, ProtocolError
from resumekit.trace.masking import Masker
from resumekit.trace.reading import TraceFile, in_words, read_trace
from resumekit.trace.records import (
    Line,
    answer_of,
    began_of,
    described,
    encode_action,
    input_of,
    joined,
    message_of,
    shape_of,
)
from resumekit.wire import decode_client

__all__ = ["Difference", "Replay", "replay"]

_CONTEXT = 5


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Where a replay first came to something else."""

    line: int
    """Of the file, from 1."""
    seconds: float
    """Since the session began."""
    what: str
    """What differs, in words."""
    before: Sequence[str]
    """The lines before it, in words, and the line itself."""

    def __str__(self) -> str:
        return "\n".join([f"line {self.line}, {self.seconds:.3f} s after the start:", *self.before, self.what])


@dataclass(kw_only=True)
class Replay:
    """What came of a replay."""

    trace: TraceFile
    """As it was read."""
    engine: Engine
    """As it is after the last line."""
    inputs: int = 0
    """Things that happened."""
    outputs: int = 0
    """Actions of the engine, and frames that the application took, that were as in the trace."""
    events: list[events.Event] = field(default_factory=list[events.Event])
    """Of the engine."""
    raised: str | None = None
    """What the engine raised, in the trace and again: a defect of it, unless the session was over."""
    difference: Difference | None = None
    """The first one; None: there is none."""

    @property
    def same(self) -> bool:
        """Whether all that came out is as in the trace."""
        return self.difference is None

    def __str__(self) -> str:
        if self.difference is not None:
            return f"{self.difference}\nthe {self.outputs} outputs before it are the same"
        raised = "" if self.raised is None else f"; it raises {self.raised}, as it did then"
        return f"the same {self.outputs} outputs to {self.inputs} inputs{raised}"


class _DiffersError(Exception):
    pass


def replay(path: str | PathLike[str], *, engine: Callable[..., Engine] = Engine) -> Replay:
    """Run the engine over a trace, up to its end or to the first difference. Needs no plugin, and draws nothing.

    Args:
        path: Of the trace.
        engine: Makes the engine: another one than this version's.

    Raises:
        ConfigurationError: This is no trace, or one of another format.
    """
    trace = read_trace(path)
    answers = _Answers()
    try:
        began = began_of(trace.began)
        machine = engine(
            began.setup,
            policy=began.policy,
            decisions=answers,
            transparent=began.transparent,
            random=answers.draw,
            handle=began.handle,
            history=began.history,
            loads_history=began.loads_history,
            credentials_renewable=began.credentials_renewable,
            express=began.express,
        )
        return _Run(trace, machine, answers).run()
    except ConfigurationError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, ProtocolError) as error:
        raise ConfigurationError(
            f"{trace.path} is damaged, and cannot be replayed ({type(error).__name__}: {error})"
        ) from error


class _Run:
    def __init__(self, trace: TraceFile, engine: Engine, answers: _Answers) -> None:
        self._trace = trace
        self._engine = engine
        self._answers = answers
        self._masker = Masker(None, payloads=trace.payloads)
        self._found = Replay(trace=trace, engine=engine)
        self._now = 0.0
        self._handles: dict[str, str] = {}
        """Digest of a handle here -> as it was, and the other way round: they are of masked handles here."""

    def run(self) -> Replay:
        found = self._found
        start = next((line["now"] for _, line in self._trace.lines() if "now" in line), 0.0)
        before: list[str] = []
        for number, line in self._trace.lines():
            before = [*before[-_CONTEXT:], f"  {number:>6}  {in_words(line, start)}"]
            try:
                self._step(line)
            except _DiffersError as differs:
                found.difference = Difference(line=number, seconds=self._now - start, what=str(differs), before=before)
                break
        return found

    def _step(self, line: Line) -> None:
        if "took" in line:
            self._take(line["took"])
        elif "in" in line:
            self._now = line.get("now", self._now)
            self._found.inputs += 1
            match line["in"]:
                case "inserted":
                    self._engine.insert(message_of(line))
                case "streamed":
                    self._stream(line)
                case _:
                    self._feed(line)
        elif "end" in line:
            self._compare("counters", line["end"], self._engine.stats.snapshot().as_dict())

    def _feed(self, line: Line) -> None:
        happened = input_of(line)
        self._answers.expect(line.get("asked", ()))
        did: list[actions.Action] = []
        raised: str | None = None
        try:
            did = self._engine.feed(happened, self._now)
        except _DiffersError:
            raise
        except Exception as error:  # noqa: BLE001 -- whatever it is: a trace of a defect is to raise it again
            raised = self._masker.told(described(error))
        if raised != line.get("raised"):
            raise _DiffersError(f"it raised {line.get('raised') or 'nothing'}, and now {raised or 'nothing'}")
        self._found.raised = raised or self._found.raised
        expected: list[Line] = line.get("out", [])
        for place in range(max(len(expected), len(did))):
            now = encode_action(did[place], self._masker) if place < len(did) else None
            self._compare("output", expected[place] if place < len(expected) else None, now)
            self._found.outputs += 1
        self._found.events += [action.event for action in did if isinstance(action, actions.Notify)]
        if (left := self._answers.left()) is not None:
            raise _DiffersError(f"it asked for a {left}, and does not now")

    def _stream(self, line: Line) -> None:
        """What went by the express lane has to come to the same without it."""
        message = decode_client(joined(line["frame"]))
        then = {"do": "SendFrame", "connection": line["connection"], **shape_of(message.frame, self._masker)}
        self._feed({**line, "out": [then]})
        self._feed({"in": "Written", "connection": line["connection"]})

    def _take(self, expected: Line) -> None:
        message = self._engine.take()
        now = None if message is None else shape_of(message.raw.decode("utf-8", "replace"), self._masker)
        self._compare("frame for the application", expected, now)
        self._found.outputs += 1

    def _compare(self, what: str, then: Line | None, now: Line | None) -> None:
        if then is None or now is None:
            missing = ("more", now) if then is None else ("less", then)
            raise _DiffersError(f"there is one {what} {missing[0]} now: {missing[1]}")
        differing = [name for name in {**then, **now} if not self._equal(then.get(name), now.get(name))]
        if differing:
            raise _DiffersError(f"the {what} differs in {', '.join(differing)}:\n  it was: {then}\n  it is:  {now}")

    def _equal(self, then: Any, now: Any) -> bool:
        if isinstance(now, str) and isinstance(then, str) and now.startswith("h#") and then.startswith("h#"):
            return self._handles.setdefault(now, then) == then and self._handles.setdefault(f"was {then}", now) == now
        if isinstance(now, tuple):
            now = list(now)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] -- of JSON
        return bool(then == now)


class _Answers:
    """Gives the answers of the trace, in their order."""

    def __init__(self) -> None:
        self._left: list[Sequence[Any]] = []

    def expect(self, asked: Sequence[Sequence[Any]]) -> None:
        self._left = list(asked)

    def left(self) -> str | None:
        return self._left[0][0] if self._left else None

    def _next(self, kind: str) -> Any:
        if not self._left or self._left[0][0] != kind:
            raise _DiffersError(f"it asks for a {kind} now, where it asked for {self.left() or 'nothing'}")
        return answer_of(kind, self._left.pop(0)[1])

    def draw(self) -> float:
        return float(self._next("draw"))

    def choose_delay(self, details: DelayDetails) -> float | Exactly:  # noqa: ARG002 -- a hook's signature
        answer: float | Exactly = self._next("delay")
        return answer

    def classify_failure(self, details: FailureDetails) -> Verdict:  # noqa: ARG002
        answer: Verdict = self._next("verdict")
        return answer

    def choose_move(self, details: MoveDetails) -> Move:  # noqa: ARG002
        answer: Move = self._next("move")
        return answer

    def choose_recovery(self, details: RecoveryDetails) -> Recovery:  # noqa: ARG002
        answer: Recovery = self._next("recovery")
        return answer
