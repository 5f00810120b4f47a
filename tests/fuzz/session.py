"""An engine in virtual time, whose service says whatever it is told to, and later behaves."""

from __future__ import annotations

import json
from typing import Any

from resumekit.core import actions, events, inputs
from resumekit.core.engine import Engine
from resumekit.core.failures import Failure, Phase, Side
from resumekit.core.policy import Policy
from resumekit.core.state import FINAL, State
from resumekit.defaults.decisions import DefaultDecisions
from resumekit.errors import RemoteProtocolError, SessionLost
from resumekit.wire import decode_client, decode_server

MODEL = "models/gemini-2.5-flash-live"
STEPS = 20_000
"""Inputs that one session may take: more is a loop without an end."""
_SOUND = {"realtimeInput": {"audio": {"data": "AAAA" * 800, "mimeType": "audio/pcm;rate=16000"}}}


class Session:
    """One engine between an app that takes all, and a service.

    While `behaves` is false the service binds connections and answers pings, and says nothing else than what `serve` is
    given. Then it answers each question.
    """

    def __init__(self, *, transparent: bool = False, **policy: Any) -> None:
        self.engine = Engine(
            json.dumps({"setup": {"model": MODEL, "sessionResumption": {}}}),
            policy=Policy(**policy),
            decisions=DefaultDecisions(),
            transparent=transparent,
            random=lambda: 0.5,
        )
        self.now = 1000.0
        self.behaves = False
        self.binds = True
        self.connection = 0
        """The newest one that is open; 0: none."""
        self.open: set[int] = set()
        self.dials = 0
        self.steps = 0
        self.handle: str | None = None
        """What the next connection has to be bound with."""
        self.told: list[events.Event] = []
        self.shown: list[bytes] = []
        self.asked = 0
        self.finished: actions.Finish | None = None
        self._todo: list[inputs.Input] = []
        self.feed(inputs.Start())

    # --- what happens

    def feed(self, happened: inputs.Input) -> None:
        self._todo.append(happened)
        while self._todo:
            self.steps += 1
            assert self.steps < STEPS, f"still busy after {STEPS} inputs, {self.now - 1000:.0f} s"
            for action in self.engine.feed(self._todo.pop(0), self.now):
                self._act(action)
        self._check()

    def _act(self, action: actions.Action) -> None:
        match action:
            case actions.OpenConnection(number):
                self.dials += 1
                self._todo.append(inputs.Dialed(number))
                self.open.add(number)
            case actions.SendFrame(number, frame):
                assert number in self.open, "a frame was written to a connection that is not open"
                self._todo.append(inputs.Written(number))
                self._take(number, json.loads(frame))
            case actions.SendPing(number):
                self._todo.append(inputs.PongReceived(number))
            case actions.CloseConnection(number) | actions.AbortConnection(number):
                self._end(number, 1000, Side.WE)
            case actions.SaveHandle(record):
                self.handle = record.handle.reveal()
                assert self.handle, "an empty handle was kept"
            case actions.ForgetHandle() | actions.PoisonHandle():
                self.handle = None
            case actions.Notify(event):
                self.told.append(event)
                if isinstance(event, events.ResumePointDropped | events.FreshStarted):
                    self.handle = None
            case actions.Finish():
                self.finished = action
            case actions.LoadHistory():
                raise AssertionError("there is no history to load")

    def _end(self, number: int, code: int, side: Side) -> None:
        if number in self.open:
            self.open.discard(number)
            self._todo.append(inputs.ConnectionEnded(number, Failure(phase=Phase.LIVE, side=side, code=code)))

    def _check(self) -> None:
        """What holds at every moment."""
        engine = self.engine
        wake_at = engine.wake_at
        assert wake_at is None or wake_at == wake_at, "it wakes at no time"  # noqa: PLR0124 -- NaN
        if engine.state in FINAL:
            assert self.finished is not None
            assert wake_at is None
        elif engine.state is not State.IDLE:
            assert wake_at is not None or engine.state in (State.LIVE, State.DRAINING), "nothing would ever wake it"
        assert engine.inbox.size == sum(item.size for item in engine.inbox._items)

    # --- the service

    def _take(self, number: int, frame: dict[str, Any]) -> None:
        if "setup" in frame:
            self.connection = number
            handle = frame["setup"].get("sessionResumption", {}).get("handle")
            assert handle == self.handle, "it resumes from another handle than the last one that it kept"
            if self.binds or self.behaves:
                self._say(number, {"setupComplete": {}})
            return
        if not self.behaves:
            return
        content = frame.get("clientContent") or frame.get("client_content") or {}
        if content.get("turnComplete") or content.get("turn_complete") or "toolResponse" in frame:
            turns = content.get("turns") or [{}]
            text = "".join(part.get("text", "") for part in turns[-1].get("parts", ()))
            self._say(number, {"serverContent": {"modelTurn": {"parts": [{"text": f"answer to {text}"}]}}})
            self._say(number, {"serverContent": {"turnComplete": True}})
            self._say(number, {"sessionResumptionUpdate": {"newHandle": f"good {self.steps}", "resumable": True}})

    def _say(self, number: int, frame: dict[str, Any]) -> None:
        self._todo.append(inputs.FrameReceived(number, decode_server(json.dumps(frame).encode())))

    def serve(self, frame: bytes) -> None:
        """Say this, whatever it is, as the driver hands it over."""
        number = self.connection
        if number not in self.open or self.engine.feed_media(number, frame, self.now):
            return
        try:
            message = decode_server(frame)
        except RemoteProtocolError as error:
            self.feed(inputs.FrameUnreadable(number, len(frame), str(error)))
            return
        self.feed(inputs.FrameReceived(number, message))

    def cut(self, code: int = 1006) -> None:
        if self.connection in self.open:
            self._end(self.connection, code, Side.NOBODY if code == 1006 else Side.THEY)
            self.feed(self._todo.pop())

    # --- the app

    def ask(self) -> str:
        """Ask something; return it, nothing if there is no room."""
        self.asked += 1
        text = f"question {self.asked}."
        turns = [{"role": "user", "parts": [{"text": text}]}]
        return text if self._send({"clientContent": {"turns": turns, "turnComplete": True}}) else ""

    def speak(self) -> None:
        self._send(_SOUND)

    def respond(self, call_id: str) -> None:
        self._send({"toolResponse": {"functionResponses": [{"id": call_id, "name": "f", "response": {}}]}})

    def _send(self, frame: dict[str, Any]) -> bool:
        message = decode_client(json.dumps(frame))
        if self.engine.state in FINAL or not self.engine.has_room(message):
            return False
        self.feed(inputs.Send(message))
        return True

    def take(self) -> None:
        """Take all that there is, as bytes."""
        while (frame := self.engine.take_frame()) is not None:
            self.shown.append(frame if isinstance(frame, bytes) else frame.raw)

    # --- time

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (at := self.engine.wake_at) is not None and at <= end:
            self.now = max(self.now, at)
            self.feed(inputs.Tick())
        self.now = end

    # --- in the end

    def goes_on(self) -> None:
        """Check that the conversation goes on as soon as the service behaves, on a connection that it said nothing odd on.

        Or it is over, with a typed error.
        """
        self.binds = self.behaves = True
        self.cut()
        question = ""
        for _ in range(120):
            question = question or self.ask()
            self.take()
            answered = question and any(f"answer to {question}".encode() in frame for frame in self.shown)
            if self.engine.state in FINAL or answered:
                break
            self.wait(30.0)
        else:
            raise AssertionError("an hour later the question is not answered")
        if self.engine.state in FINAL:
            assert self.finished is not None
            assert isinstance(self.finished.error, SessionLost), repr(self.finished.error)
