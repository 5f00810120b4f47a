"""The lines of a trace: what was recorded as JSON, and back.

The first line tells what wrote it, the second one what the engine was made with; then comes one line for each thing that
happened, in order. docs/reference/trace.md describes them.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from typing import Any, TypeAlias, cast

import msgspec
from msgspec import Struct

from resumekit.core import actions, events, inputs
from resumekit.core.failures import Failure, Phase, Side, Verdict
from resumekit.core.handles import HandleRecord, PendingCall, PendingMessage
from resumekit.core.policy import Exactly, Move, Policy, Recovery, RecoveryAction
from resumekit.core.stats import Stats
from resumekit.trace.masking import Masker
from resumekit.wire import (
    ClientMessage,
    FunctionResponse,
    HistoryTurn,
    ResumptionHandle,
    ServerMessage,
    decode_client,
    decode_server,
)

__all__ = [
    "Answer",
    "Began",
    "Ended",
    "Fed",
    "Inserted",
    "Line",
    "Media",
    "Record",
    "Streamed",
    "Told",
    "Took",
    "answer_of",
    "began_of",
    "described",
    "encode_action",
    "encode_record",
    "input_of",
    "joined",
    "message_of",
    "shape_of",
]

Line: TypeAlias = dict[str, Any]
"""One line, as JSON has it."""
Answer: TypeAlias = float | Exactly | Verdict | Move | Recovery
"""What the engine was told when it asked: a number is a delay, or a draw."""

_SHORT = 48
"""Characters in a row that are written out."""
_RUN = re.compile(rf"(.)\1{{{_SHORT},}}", re.DOTALL)


class Began(Struct, frozen=True, kw_only=True, gc=False):
    """What the engine was made with."""

    setup: str
    policy: Policy
    transparent: bool
    handle: ResumptionHandle | None
    history: Sequence[HistoryTurn]
    loads_history: bool
    credentials_renewable: bool
    express: bool


class Fed(Struct, frozen=True, gc=False):
    """`Engine.feed` was called. Errors are here as text: with themselves they would keep alive all that they saw."""

    now: float
    happened: inputs.Input
    asked: tuple[tuple[str, Answer], ...]
    did: tuple[actions.Action, ...] = ()
    """With `Finish(None)` whatever the end was."""
    lost: str | None = None
    """The error of `Finish`."""
    raised: str | None = None


class Media(Struct, frozen=True, gc=False):
    """`Engine.feed_media` took a frame."""

    now: float
    connection: int
    frame: bytes


class Streamed(Struct, frozen=True, gc=False):
    """`Engine.streamed` was told of a message."""

    at: float
    connection: int
    message: ClientMessage


class Inserted(Struct, frozen=True, gc=False):
    """`Engine.insert` was given a frame of the adapter's own."""

    frame: bytes


class Took(Struct, frozen=True, gc=False):
    """The application took a frame."""

    at: float
    frame: bytes


class Told(Struct, frozen=True, gc=False):
    """An event that is not the engine's: of the store, the pool, a plugin, the driver or the adapter."""

    event: events.Event


class Ended(Struct, frozen=True, gc=False):
    """The session is over."""

    stats: Stats


Record: TypeAlias = Began | Fed | Media | Streamed | Inserted | Took | Told | Ended


# ------------------------------------------------------------------ to JSON


def encode_record(record: Record, masker: Masker) -> Line:
    """Return the line of a record."""
    match record:
        case Fed():
            line: Line = {"now": record.now, "in": type(record.happened).__name__}
            line |= _encode_input(record.happened, masker)
            if record.asked:
                line["asked"] = [[kind, _encode_answer(answer, masker)] for kind, answer in record.asked]
            if record.did:
                line["out"] = [encode_action(action, masker) for action in record.did]
                if record.lost is not None:
                    line["out"][-1]["error"] = masker.told(record.lost)
            if record.raised is not None:
                line["raised"] = masker.told(record.raised)
            return line
        case Media():
            frame = masker.server_frame(_text(record.frame), record.connection)
            return {"now": record.now, "in": "media", "connection": record.connection, "frame": _split(frame)}
        case Streamed():
            frame = masker.client_frame(record.message.frame)
            return {"at": record.at, "in": "streamed", "connection": record.connection, "frame": _split(frame)}
        case Inserted():
            return {"in": "inserted", "frame": _split(masker.server_frame(_text(record.frame), 0))}
        case Took():
            return {"at": record.at, "took": shape_of(_text(record.frame), masker)}
        case Told():
            return {"told": _encode_event(record.event, masker)}
        case Ended():
            return {"end": record.stats.as_dict()}
        case Began():
            return {
                "setup": _split(masker.client_frame(record.setup)),
                "policy": {name: _number(value) for name, value in msgspec.structs.asdict(record.policy).items()},
                "transparent": record.transparent,
                "handle": None if record.handle is None else masker.handle(record.handle),
                "history": [_encode_turn(turn, masker) for turn in record.history],
                "loads_history": record.loads_history,
                "credentials_renewable": record.credentials_renewable,
                "express": record.express,
            }


def encode_action(action: actions.Action, masker: Masker) -> Line:
    """Return an action as a line shows it."""
    line: Line = {"do": type(action).__name__}
    match action:
        case actions.SendFrame():
            line |= {"connection": action.connection, **shape_of(action.frame, masker)}
        case actions.Notify():
            line |= _encode_event(action.event, masker)
        case actions.SaveHandle() | actions.PoisonHandle():
            line |= _encode_handle_record(action.record)
        case actions.Finish():
            line["error"] = None if action.error is None else masker.told(described(action.error))
        case actions.OpenConnection() | actions.SendPing() | actions.CloseConnection() | actions.AbortConnection():
            line["connection"] = action.connection
        case actions.LoadHistory() | actions.ForgetHandle():
            pass
    return line


def described(error: BaseException) -> str:
    """Return kind and text of an error."""
    return f"{type(error).__name__}: {error}"


def shape_of(frame: str, masker: Masker) -> Line:
    """Return what is told of a frame that the engine put out: kind, bytes, and a digest of its masked text."""
    said = masker.shape(frame)
    digest = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return {"kind": _kind(frame), "size": len(frame.encode("utf-8", "surrogatepass")), "digest": digest}


_KINDS = re.compile(r'\s*\{\s*"(\w+)"\s*:\s*(?:\{\s*"(\w+)"\s*[:}])?')


def _kind(frame: str) -> str:
    """Name a frame after its first keys: `realtimeInput.audio`."""
    found = _KINDS.match(frame)
    if found is None:
        return ""
    outer, inner = found[1], found[2]
    return f"{outer}.{inner}" if inner and outer in _TELLING else outer


_TELLING = ("realtimeInput", "realtime_input", "serverContent")


def _encode_input(happened: inputs.Input, masker: Masker) -> Line:
    match happened:
        case inputs.FrameReceived():
            frame = masker.server_frame(_text(happened.message.raw), happened.connection)
            return {"connection": happened.connection, "frame": _split(frame)}
        case inputs.Send():
            return {"frame": _split(masker.client_frame(happened.message.frame))}
        case inputs.Start():
            return {
                "handle": None if happened.handle is None else masker.handle(happened.handle),
                "age": happened.age,
                "pending": [_encode_pending(message, masker) for message in happened.pending],
            }
        case inputs.DialFailed() | inputs.ConnectionEnded():
            return {"connection": happened.connection, "failure": _encode_failure(happened.failure, masker)}
        case inputs.HistoryLoaded():
            turns = None if happened.turns is None else [_encode_turn(turn, masker) for turn in happened.turns]
            return {"turns": turns, "problem": masker.told(happened.problem)}
        case inputs.Remember():
            return {"turns": [_encode_turn(turn, masker) for turn in happened.turns]}
        case inputs.FrameUnreadable():
            return {**msgspec.structs.asdict(happened), "problem": masker.told(happened.problem)}
        case _:
            return msgspec.structs.asdict(happened)


def _encode_failure(failure: Failure, masker: Masker) -> Line:
    line = {name: value for name, value in msgspec.structs.asdict(failure).items() if value not in (None, "")}
    line.pop("error", None)
    return line | {"phase": failure.phase.value, "side": failure.side.value, "reason": masker.told(failure.reason)}


def _encode_turn(turn: HistoryTurn, masker: Masker) -> list[object]:
    return [turn.role, masker.text(turn.text), turn.has_other_parts]


def _encode_pending(message: PendingMessage, masker: Masker) -> Line:
    calls = [
        {
            "id": masker.call_id(call.id),
            "name": call.name,
            "key": masker.args_key(call.name, call.key),
            "response": masker.client_frame(msgspec.json.encode(call.response).decode()),
        }
        for call in message.calls
    ]
    frame = _split(masker.client_frame(message.frame))
    return {"frame": frame, "sent": message.sent, "answered": message.answered, "calls": calls}


def _encode_handle_record(record: HandleRecord) -> Line:
    """Return what is told of a record; its config's fingerprint is another one where the setup is masked."""
    return {
        "handle": repr(record.handle),
        "index": record.index,
        "connection": record.connection,
        "received_at": record.received_at,
        "model": record.model,
        "transparent": record.transparent,
    }


def _encode_event(event: events.Event, masker: Masker) -> Line:
    line: Line = {"event": type(event).__name__}
    for name, value in msgspec.structs.asdict(event).items():
        if name == "call_id":
            line[name] = masker.call_id(value)
        elif name == "session" or (name == "at" and not value):
            continue
        else:
            line[name] = masker.told(value) if isinstance(value, str) and name != "digest" else _number(value)
    return line


def _encode_answer(answer: Answer, masker: Masker) -> object:
    match answer:
        case Exactly():
            return {"exactly": _number(answer.seconds)}
        case Verdict():
            return answer.value
        case Move():
            return {"deadline": _number(answer.deadline), "warm_dial": answer.warm_dial}
        case Recovery():
            turns = None if answer.turns is None else [_encode_turn(turn, masker) for turn in answer.turns]
            return {"action": answer.action.value, "turns": turns}
        case _:
            return _number(answer)


def _number(value: object) -> object:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _text(frame: bytes) -> str:
    return frame.decode("utf-8", "replace")


def _split(text: str) -> str | list[str | int]:
    """Return a text with long runs of one character as that character and a number."""
    parts: list[str | int] = []
    done = 0
    for run in _RUN.finditer(text):
        parts += text[done : run.start()], run[1], len(run[0])
        done = run.end()
    return [*parts, text[done:]] if parts else text


# ------------------------------------------------------------------ and back


def joined(text: str | Sequence[str | int]) -> str:
    """Return a text that was written with numbers for long runs."""
    if isinstance(text, str):
        return text
    said = ""
    for part in text:
        said += said[-1] * (part - 1) if isinstance(part, int) else part
    return said


def began_of(line: Line) -> Began:
    """Read the second line."""
    fields = {name: _policy_value(value) for name, value in line["policy"].items() if name in _POLICY}
    return Began(
        setup=joined(line["setup"]),
        policy=Policy(**fields),
        transparent=line["transparent"],
        handle=None if line["handle"] is None else ResumptionHandle(line["handle"]),
        history=_turns_of(line["history"]),
        loads_history=line["loads_history"],
        credentials_renewable=line["credentials_renewable"],
        express=line["express"],
    )


_POLICY = frozenset(Policy.__struct_fields__)


def _policy_value(value: Any) -> Any:
    return float(value) if value in ("inf", "-inf", "nan") else value


def input_of(line: Line) -> inputs.Input:
    """Read what the engine was fed."""
    connection = cast("int", line.get("connection"))
    match line["in"]:
        case "FrameReceived" | "media":
            return inputs.FrameReceived(connection, message_of(line))
        case "Send" | "streamed":
            return inputs.Send(decode_client(joined(line["frame"])))
        case "Start":
            handle = None if line["handle"] is None else ResumptionHandle(line["handle"])
            return inputs.Start(handle, line["age"], [_pending_of(message) for message in line["pending"]])
        case "DialFailed":
            return inputs.DialFailed(connection, _failure_of(line["failure"]))
        case "ConnectionEnded":
            return inputs.ConnectionEnded(connection, _failure_of(line["failure"]))
        case "HistoryLoaded":
            turns = None if line["turns"] is None else _turns_of(line["turns"])
            return inputs.HistoryLoaded(turns, line["problem"])
        case "Remember":
            return inputs.Remember(_turns_of(line["turns"]))
        case name:
            kind: Any = _PLAIN[name]
            happened: inputs.Input = kind(**{field: line[field] for field in kind.__struct_fields__})
            return happened


_PLAIN: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        inputs.ClockJumped,
        inputs.Close,
        inputs.Dialed,
        inputs.ForceReconnect,
        inputs.FrameUnreadable,
        inputs.PongReceived,
        inputs.Tick,
        inputs.Written,
    )
}


def message_of(line: Line) -> ServerMessage:
    """Read the server frame of a line."""
    frame = joined(line["frame"])
    return decode_server(frame.encode()) if frame else ServerMessage()


def answer_of(kind: str, value: Any) -> Answer:
    """Read what the engine was answered."""
    match kind:
        case "verdict":
            return Verdict(value)
        case "move":
            return Move(deadline=float(value["deadline"]), warm_dial=value["warm_dial"])
        case "recovery":
            turns = None if value["turns"] is None else _turns_of(value["turns"])
            return Recovery(action=RecoveryAction(value["action"]), turns=turns)
        case _:
            return Exactly(float(cast("Line", value)["exactly"])) if isinstance(value, dict) else float(value)


def _failure_of(line: Line) -> Failure:
    fields: Line = {**line, "phase": Phase(line["phase"]), "side": Side(line["side"])}
    return Failure(**fields)


def _turns_of(turns: Sequence[Sequence[Any]]) -> list[HistoryTurn]:
    return [HistoryTurn(role, text, other) for role, text, other in turns]


def _pending_of(line: Line) -> PendingMessage:
    calls = tuple(
        PendingCall(call["id"], call["name"], call["key"], msgspec.json.decode(call["response"], type=FunctionResponse))
        for call in line["calls"]
    )
    return PendingMessage(joined(line["frame"]), line["sent"], line["answered"], calls)
