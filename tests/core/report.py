"""A schedule and what came of it, as text: what a failing test shows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from resumekit.core import actions, inputs
from tests.core.model_state import AUDIO_TYPE, Chunk

if TYPE_CHECKING:
    from tests.core.simulation import World

__all__ = ["report"]


def report(world: World, lines: int = int(os.environ.get("LINES_SHOWN", "60"))) -> str:
    """Return the schedule and the end of the trace."""
    told = [f"config: {world.config.describe()}", "schedule:"]
    told += [f"  {step[0]:9.3f} {step[1]}({', '.join(map(repr, step[2:]))})" for step in world.steps]
    told.append(f"trace (last {lines}):")
    quiet = inputs.Written | inputs.Tick | inputs.PongReceived | actions.SendPing | actions.SaveHandle
    shown = [entry for entry in world.trace if not isinstance(entry[2], quiet)]
    written: list[str] = []
    for when, kind, what in shown:
        line = _short(kind, what)
        if kind == "in" and line.startswith("~"):
            continue  # the app's own audio, as it goes on the wire anyway
        if line.startswith("~") and written and written[-1][11:15] == "~ ->":
            written[-1] += line[4:]
        else:
            written.append(f"{when - 1000.0:9.3f}  {line}")
    told += [f"  {line}" for line in written[-lines:]]
    return "\n".join(told)


def _short(kind: str, what: object) -> str:
    match what:
        case inputs.FrameReceived(connection, message):
            return f"  <- {connection} {message.raw.decode()}"
        case bytes() if kind == "in":
            return f"  <= {what.decode()}"
        case inputs.Send(message):
            return f"{'~' if message.media_seconds else 'app ->'} {message.frame}"
        case actions.SendFrame(connection, frame) if AUDIO_TYPE in frame:
            chunk = Chunk.decode(frame.partition('"data":"')[2].rstrip('"}'))
            return f"~ -> {connection}:#{chunk.number}{'u' + str(chunk.utterance) if chunk.utterance else ''}"
        case actions.SendFrame(connection, frame):
            return f"  -> {connection} {frame}"
        case actions.Notify(event):
            facts = ", ".join(f"{name}={value!r}" for name, value in asdict(event).items())
            return f"  * {type(event).__name__}({facts})"
    if kind == "app":
        return f"app <- {what.decode()}"  # type: ignore[attr-defined]
    if kind == "step":
        return f"--- {what}"
    return f"  {'<' if kind == 'in' else '>'} {what!r}"
