"""A session whose service is played by the test, frame by frame: for schedules with exact frames."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec

from resumekit.core import actions, events, inputs
from resumekit.core.failures import Failure, Phase, Side
from resumekit.core.policy import Policy
from resumekit.core.state import State
from resumekit.defaults.decisions import DefaultDecisions
from resumekit.wire import decode_client, decode_server
from tests.core.model_state import CHUNK_SECONDS, Chunk
from tests.core.simulation import MODELS
from tests.traces import KeptEngine

__all__ = [
    "INTERRUPTED",
    "SETUP_COMPLETE",
    "TURN_COMPLETE",
    "Script",
    "begun",
    "calls",
    "cancelled",
    "context",
    "output",
    "question",
]

SETUP_COMPLETE = {"setupComplete": {}}
TURN_COMPLETE = {"serverContent": {"turnComplete": True}}
INTERRUPTED = {"serverContent": {"interrupted": True}}


def question(text: str) -> str:
    return f'{{"clientContent":{{"turns":[{{"role":"user","parts":[{{"text":"{text}"}}]}}],"turnComplete":true}}}}'


def context(text: str) -> str:
    return f'{{"clientContent":{{"turns":[{{"role":"user","parts":[{{"text":"{text}"}}]}}],"turnComplete":false}}}}'


def output(text: str) -> dict[str, Any]:
    return {"serverContent": {"modelTurn": {"parts": [{"text": text}]}}}


def calls(*requests: tuple[str, str]) -> dict[str, Any]:
    """Return a frame with calls of the tool "f": id and argument of each."""
    made = [{"id": call_id, "name": "f", "args": {"of": argument}} for call_id, argument in requests]
    return {"toolCall": {"functionCalls": made}}


def cancelled(*ids: str) -> dict[str, Any]:
    return {"toolCallCancellation": {"ids": list(ids)}}


class Script:
    """A session whose service is played by the test, frame by frame."""

    def __init__(self, *, transparent: bool, **policy: Any) -> None:
        self.now = 0.0
        self.connection = 0
        self.transparent = transparent
        self.sent: dict[int, list[str]] = defaultdict(list)
        self.dialled: list[float] = []
        self.events: list[events.Event] = []
        self.finished: actions.Finish | None = None
        self.engine = KeptEngine(
            msgspec.json.encode({"setup": {"model": MODELS["2.x"]}}).decode(),
            policy=Policy(**policy),
            decisions=DefaultDecisions(),
            transparent=transparent,
            random=lambda: 0.5,
        )
        self.feed(inputs.Start())
        self.bind()

    def feed(self, happened: inputs.Input) -> None:
        """Give the engine an input; the transport takes at once what it writes."""
        written = 0
        todo = self.engine.feed(happened, self.now)
        while todo:
            for action in todo:
                match action:
                    case actions.OpenConnection(connection):
                        self.connection = connection
                        self.dialled.append(self.now)
                    case actions.SendFrame(connection, frame):
                        self.sent[connection].append(frame)
                        written += 1
                    case actions.Notify(event):
                        self.events.append(event)
                    case actions.Finish():
                        self.finished = action
                    case _:
                        pass
            todo = []
            while written and not todo:
                written -= 1
                todo = self.engine.feed(inputs.Written(self.connection), self.now)

    def wait(self, seconds: float) -> None:
        """Let time pass, with every tick that the engine wants."""
        until = self.now + seconds
        while (due := self.engine.wake_at) is not None and due <= until:
            self.now = max(self.now, due)
            self.feed(inputs.Tick())
        self.now = until

    # --- the service

    def bind(self) -> dict[str, Any]:
        """Wait for a dial, and let it come to setupComplete; return the setup."""
        while self.engine.state is not State.DIALING:
            assert self.engine.wake_at is not None
            self.now = max(self.now, self.engine.wake_at)
            self.feed(inputs.Tick())
        self.feed(inputs.Dialed(self.connection))
        self.serve(SETUP_COMPLETE)
        return msgspec.json.decode(self.sent[self.connection][0])["setup"]

    def serve(self, *frames: dict[str, Any]) -> None:
        for frame in frames:
            self.now += 0.01
            self.feed(inputs.FrameReceived(self.connection, decode_server(msgspec.json.encode(frame))))

    def handle(self, name: str, index: int | None = None) -> None:
        update: dict[str, Any] = {"newHandle": name, "resumable": True}
        if self.transparent and index:
            update["lastConsumedClientMessageIndex"] = str(index)
        self.serve({"sessionResumptionUpdate": update})

    def cut(self) -> None:
        failure = Failure(phase=Phase.LIVE, side=Side.NOBODY, code=1006)
        self.feed(inputs.ConnectionEnded(self.connection, failure))

    # --- the application

    def say(self, *frames: str) -> None:
        for frame in frames:
            message = decode_client(frame)
            assert self.engine.has_room(message)
            self.feed(inputs.Send(message))

    def speak(self, first: int, count: int, utterance: int) -> None:
        """Send chunks of audio in real time; utterance 0 is silence."""
        for number in range(first, first + count):
            self.say(Chunk(number, utterance).encode())
            self.wait(CHUNK_SECONDS)

    def app(self) -> list[dict[str, Any]]:
        """Take all frames, save updates."""
        taken = []
        while (message := self.engine.take()) is not None:
            frame = msgspec.json.decode(message.raw)
            if "sessionResumptionUpdate" not in frame:
                taken.append(frame)
        return taken

    def respond(self, *answers: tuple[str, str]) -> None:
        """Answer calls of the tool "f", in one message: id and result of each."""
        responses = [{"id": call_id, "name": "f", "response": {"result": result}} for call_id, result in answers]
        self.say(msgspec.json.encode({"toolResponse": {"functionResponses": responses}}).decode())

    # --- looking back

    @property
    def wire(self) -> list[str]:
        """What was written on the current connection, after setup."""
        return self.sent[self.connection][1:]

    def responses(self) -> list[tuple[str, Any]]:
        """Return id and content of the tool responses on the current connection."""
        frames = (msgspec.json.decode(frame) for frame in self.wire)
        messages = (frame.get("toolResponse") or frame.get("tool_response") or {} for frame in frames)
        lists = (message.get("functionResponses") or message.get("function_responses") or [] for message in messages)
        return [(answer["id"], answer["response"]) for answers in lists for answer in answers]

    def heard(self) -> list[int]:
        """Numbers of the audio chunks on the current connection."""
        return [
            Chunk.decode(frame.partition('"data":"')[2].rstrip('"}')).number
            for frame in self.wire
            if '"audio"' in frame
        ]

    def resumed_from(self) -> str | None:
        """Return the handle of the current connection."""
        setup = msgspec.json.decode(self.sent[self.connection][0])["setup"]
        return setup["sessionResumption"].get("handle")

    def told(self, kind: type[events.Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def begun(*, transparent: bool, **policy: Any) -> Script:
    """Return a session with one turn behind it, and the handle "h0" after that."""
    script = Script(transparent=transparent, **policy)
    script.say(question("Q0"))
    script.serve(output("A0"), TURN_COMPLETE)
    script.handle("h0", 1)
    assert script.app() == [output("A0"), TURN_COMPLETE]
    return script
