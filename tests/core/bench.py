"""An engine on a workbench: a clock that is an attribute, a service that is a few methods.

The methods say what happens in the words of the domain; what the engine wants done is in
`actions`, what it wrote on the newest connection in `wire`, what the app got in `shown`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from resumekit.core import actions, events, inputs
from resumekit.core.engine import Engine
from resumekit.core.failures import Failure, Phase, Side
from resumekit.core.policy import Decisions, Policy
from resumekit.defaults.decisions import DefaultDecisions
from resumekit.wire import decode_client, decode_server
from tests.traces import KeptEngine

MODEL_2 = "models/gemini-2.5-flash-native-audio-preview-09-2025"
MODEL_3 = "models/gemini-3.8-live"

INTERRUPTED = {"serverContent": {"interrupted": True}}
TURN_COMPLETE = {"serverContent": {"turnComplete": True}}


class Bench:
    """One engine, one service that does what the test says."""

    def __init__(
        self,
        *,
        transparent: bool = False,
        model: str = MODEL_2,
        setup: dict[str, Any] | None = None,
        policy: Policy | None = None,
        decisions: Decisions | None = None,
        make: Callable[..., Engine] = KeptEngine,
        **engine: Any,
    ) -> None:
        body = {"setup": {"model": model, "sessionResumption": {}, **(setup or {})}}
        self.engine = make(
            json.dumps(body),
            policy=policy or Policy(),
            decisions=decisions or DefaultDecisions(),
            transparent=transparent,
            **{"random": lambda: 0.5, **engine},
        )
        self.now = 1000.0
        self.actions: list[actions.Action] = []
        self.connection = 0
        """The newest one that was dialled."""
        self.live = 0
        """The newest one that was opened, save warm ones."""
        self.auto_written = True
        self.streamed = 0
        """Messages that went out by the express lane."""

    # What happens

    def feed(self, happened: inputs.Input) -> list[actions.Action]:
        done = self.engine.feed(happened, self.now)
        self.actions += done
        for action in done:
            if isinstance(action, actions.OpenConnection):
                self.connection = action.connection
            if isinstance(action, actions.SendFrame) and self.auto_written:
                self.feed(inputs.Written(action.connection))
        return done

    def start(self) -> None:
        self.feed(inputs.Start())

    def connect(self) -> None:
        """Start, and let the first connection be bound."""
        self.start()
        self.bind()

    def bind(self, connection: int | None = None) -> None:
        """Let the newest connection open, and be bound."""
        self.opens(connection)
        self.server({"setupComplete": {}})

    def opens(self, connection: int | None = None) -> None:
        """Let the newest connection open."""
        self.live = connection or self.connection
        self.feed(inputs.Dialed(self.live))

    def tick(self, until: float | None = None) -> None:
        """Let time pass to the next wake-up, or by `until` seconds with every wake-up on the way."""
        end = None if until is None else self.now + until
        while (at := self.engine.wake_at) is not None and (end is None or at <= end):
            self.now = max(self.now, at)
            self.feed(inputs.Tick())
            if end is None:
                return
        if end is not None:
            self.now = end

    def server(self, frame: dict[str, Any], connection: int | None = None) -> None:
        raw = json.dumps(frame).encode()
        self.feed(inputs.FrameReceived(connection or self.live, decode_server(raw)))

    def update(self, handle: str | None, index: int | None = None) -> None:
        body: dict[str, Any] = {"newHandle": handle, "resumable": True} if handle else {}
        if index is not None:
            body["lastConsumedClientMessageIndex"] = str(index)
        self.server({"sessionResumptionUpdate": body})

    def says(self, text: str) -> None:
        self.server({"serverContent": {"modelTurn": {"parts": [{"text": text}]}}})

    def completes(self) -> None:
        self.server(TURN_COMPLETE)

    def calls(self, *requests: tuple[str, str, dict[str, Any]]) -> None:
        made = [{"id": call_id, "name": name, "args": args} for call_id, name, args in requests]
        self.server({"toolCall": {"functionCalls": made}})

    def goes_away(self, time_left: str | None = "30s") -> None:
        self.server({"goAway": {} if time_left is None else {"timeLeft": time_left}})

    def cut(self, code: int | None = 1006, reason: str = "", **facts: Any) -> None:
        side = facts.pop("side", Side.NOBODY if code in (None, 1006) else Side.THEY)
        phase = facts.pop("phase", Phase.LIVE)
        self.feed(inputs.ConnectionEnded(self.live, Failure(phase=phase, side=side, code=code, reason=reason, **facts)))

    def closes(self) -> None:
        """The service has taken our close."""
        self.cut(1000, side=Side.WE)

    def refuse(self, code: int, reason: str) -> None:
        """Let the newest connection open, and its setup be refused."""
        self.opens()
        self.cut(code, reason, phase=Phase.BIND, side=Side.THEY)

    def resume(self) -> None:
        """Wait for the next dial, and let it be bound."""
        self.redial()
        self.bind()

    def redial(self) -> None:
        before = self.connection
        while self.connection == before:
            assert self.engine.wake_at is not None, "nothing is planned"
            self.tick()

    # What the app does

    def sends(self, frame: dict[str, Any]) -> None:
        message = decode_client(json.dumps(frame))
        if self.auto_written and self.engine.streams(self.live, message):
            self.engine.streamed(message)
            self.streamed += 1
            self.actions.append(actions.SendFrame(self.live, message.frame))
        else:
            self.feed(inputs.Send(message))

    def asks(self, text: str) -> None:
        self.sends(content(text))

    def notes(self, text: str) -> None:
        """Context without a turn."""
        self.sends(content(text, turn_complete=False))

    def speaks(self, seconds: float, chunk: float = 0.1) -> None:
        """Send audio, in chunks, as time passes."""
        for _ in range(round(seconds / chunk)):
            self.sends(audio(chunk))
            self.tick(chunk)

    def responds(self, call_id: str, name: str, result: object) -> None:
        self.sends(
            {"tool_response": {"functionResponses": [{"id": call_id, "name": name, "response": {"output": result}}]}}
        )

    @property
    def shown(self) -> list[dict[str, Any]]:
        """Take everything that waits for the app."""
        taken: list[dict[str, Any]] = []
        while (message := self.engine.take()) is not None:
            taken.append(json.loads(message.raw))
        return taken

    # What the engine did

    @property
    def wire(self) -> list[dict[str, Any]]:
        """Frames written on the newest connection, setup first."""
        return self.written(self.connection)

    def written(self, connection: int) -> list[dict[str, Any]]:
        return [
            json.loads(action.frame)
            for action in self.actions
            if isinstance(action, actions.SendFrame) and action.connection == connection
        ]

    @property
    def bound_with(self) -> str | None:
        return self.wire[0]["setup"].get("sessionResumption", {}).get("handle")

    def events(self, kind: type[Any]) -> list[Any]:
        return [
            action.event
            for action in self.actions
            if isinstance(action, actions.Notify) and isinstance(action.event, kind)
        ]

    def done(self, kind: type[Any]) -> list[Any]:
        return [action for action in self.actions if isinstance(action, kind)]

    @property
    def error(self) -> Exception | None:
        finished = self.done(actions.Finish)
        assert len(finished) == 1
        return finished[0].error


def content(text: str, *, turn_complete: bool = True) -> dict[str, Any]:
    return {"client_content": {"turns": [{"role": "user", "parts": [{"text": text}]}], "turnComplete": turn_complete}}


def audio(seconds: float) -> dict[str, Any]:
    pcm = base64.b64encode(b"\1\2" * round(seconds * 16000)).decode()
    return {"realtime_input": {"audio": {"data": pcm, "mime_type": "audio/pcm;rate=16000"}}}


def said(text: str) -> dict[str, Any]:
    return {"serverContent": {"modelTurn": {"parts": [{"text": text}]}}}


__all__ = [
    "INTERRUPTED",
    "MODEL_2",
    "MODEL_3",
    "TURN_COMPLETE",
    "Bench",
    "audio",
    "content",
    "events",
    "said",
]
