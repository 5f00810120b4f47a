"""Plain connections to the service, with the time of every frame. No engine here: it would hide what is asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from resumekit.core.failures import Failure, Phase, Side, Verdict, classify
from resumekit.core.policy import Policy
from resumekit.core.setup import TextForm, family_of
from resumekit.drivers import TRANSPORT_ERRORS, failure_of
from resumekit.errors import RemoteProtocolError
from resumekit.wire import (
    FunctionResponse,
    HistoryTurn,
    ResumptionHandle,
    ServerMessage,
    bind_setup,
    content_frame,
    decode_server,
    realtime_text_frame,
    tool_response_frame,
)

__all__ = [
    "POLICY",
    "TOOL",
    "Ended",
    "Frame",
    "Line",
    "NoAnswer",
    "NotApplicable",
    "Service",
    "Turn",
    "attempt",
    "bound",
    "dial",
    "now",
]

POLICY = Policy()
"""What is assumed where nobody says otherwise."""
TOOL = "get_weather"
"""The function that the model can call."""
_ANSWER = 60.0
"""Seconds that an answer, setupComplete or a dial may take: far more than is assumed, so that it is measured."""
_HANDLE = 20.0
"""Seconds that a handle may take."""
_NO_LOG = logging.getLogger("resumekit.probe")
_NO_LOG.setLevel(logging.CRITICAL)  # what the service says may quote the key; the report is cleaned of it
_DIALLING: dict[str, object] = {
    "ping_interval": None,
    "open_timeout": _ANSWER,
    "close_timeout": POLICY.close_wait,
    "max_size": POLICY.max_message_size,
    "logger": _NO_LOG,
}
_FIRST_RETRY, _LAST_RETRY = 0.5, 5.0
"""Seconds between two attempts to resume: they double from the one to the other."""


class NoAnswer(Exception):
    """A question cannot be answered; says why, without secrets."""


class NotApplicable(NoAnswer):
    """There is nothing to ask here."""


class Ended(NoAnswer):
    """The connection ended, or was never there."""

    def __init__(self, failure: Failure, doing: str) -> None:
        super().__init__(f"{failure} ({doing})")
        self.failure = failure

    def verdict(self, *, with_handle: bool) -> Verdict:
        """Return what the engine would take it for, the first time that it comes."""
        return classify(self.failure, with_handle=with_handle, first_time=True, in_grace=True, renewable=False)


@dataclass
class Service:
    """Whom to ask, and in which form."""

    uri: str
    headers: Mapping[str, str] = field(repr=False)
    """With the key."""
    model: str
    """As the setup names it."""
    vertex: bool
    options: Mapping[str, object] = field(default_factory=dict[str, object])
    """More arguments of `websockets.connect`."""
    text_form: TextForm = TextForm.CONTENT
    transparent: bool | None = None
    """Whether the service was seen to report what it consumed; None: not yet."""
    was_bound: bool = False
    """A setup was accepted: key, model and setup are in order."""

    def __post_init__(self) -> None:
        self.text_form = family_of(self.model).text_form

    @property
    def setup(self) -> str:
        """The setup frame: spoken answers, as native-audio models give no others, with their words, and a tool."""
        told = "You are part of a test. Do exactly what you are asked to do, in as few words as possible."
        function = {"name": TOOL, "description": "Tells the weather."}
        setup: dict[str, object] = {
            "model": self.model,
            "generationConfig": {"responseModalities": ["AUDIO"]},
            "outputAudioTranscription": {},
            "systemInstruction": {"parts": [{"text": told}]},
            "tools": [{"functionDeclarations": [function]}],
        }
        return json.dumps({"setup": setup})


@dataclass(frozen=True)
class Frame:
    """One frame of the service."""

    at: float
    """Seconds on the loop's clock."""
    message: ServerMessage

    @property
    def completes(self) -> bool:
        """It ends a turn."""
        content = self.message.server_content
        return content is not None and bool(content.turn_complete)

    @property
    def interrupted(self) -> bool:
        """It says that the answer was interrupted."""
        content = self.message.server_content
        return content is not None and bool(content.interrupted)

    @property
    def speaks(self) -> bool:
        """It holds a part of an answer, beside its transcription."""
        content = self.message.server_content
        return content is not None and content.model_turn is not None

    @property
    def said(self) -> str:
        """The words of the model in it."""
        content = self.message.server_content
        if content is None:
            return ""
        parts = (content.model_turn and content.model_turn.parts) or []
        spoken = content.output_transcription
        return "".join(p.text or "" for p in parts if not p.thought) + ((spoken and spoken.text) or "")

    @property
    def transcribes(self) -> bool:
        """It holds words that the user or the model said."""
        content = self.message.server_content
        heard = content and (content.input_transcription or content.output_transcription)
        return bool(heard and heard.text)

    @property
    def handle(self) -> ResumptionHandle | None:
        """The handle that it hands out, if one can resume from it."""
        update = self.message.session_resumption_update
        return update.handle if update is not None and update.resumable else None

    @property
    def index(self) -> int | None:
        """The number of the last message that it says is consumed."""
        update = self.message.session_resumption_update
        return None if update is None else update.index


@dataclass(frozen=True)
class Turn:
    """What came up to a turnComplete."""

    frames: list[Frame]

    @property
    def text(self) -> str:
        """What the model said, in lower case."""
        return "".join(frame.said for frame in self.frames).lower()


class Line:
    """One connection. Made by `dial`; `frames` grows while anything is awaited."""

    def __init__(self, service: Service, connection: ClientConnection) -> None:
        self.frames: list[Frame] = []
        self.failure: Failure | None = None
        """How it ended."""
        self.ended_at = 0.0
        """Seconds on the loop's clock."""
        self.mark = 0
        """Frames before this one have been looked at."""
        self.is_mute = False
        self._service = service
        self._connection = connection
        self._phase = Phase.BIND
        self._is_resumed = False
        self._news = asyncio.Event()

    async def read(self) -> None:
        """Receive to the end."""
        try:
            while True:
                data = await self._connection.recv()
                self.frames.append(Frame(now(), decode_server(data)))
                self._news.set()
        except TRANSPORT_ERRORS as error:
            self.failure = failure_of(error, self._phase)
        except RemoteProtocolError as error:
            self.failure = Failure(phase=self._phase, side=Side.THEY, reason=str(error))
        finally:
            self.ended_at = now()
            self._news.set()

    async def wait(self, wanted: Callable[[Frame], bool], seconds: float, doing: str) -> Frame:
        """Return the first frame from the mark on that is wanted, and put the mark behind it.

        Raises:
            NoAnswer: It does not come.
        """
        at = self.mark
        try:
            async with asyncio.timeout(seconds):
                while True:
                    while at < len(self.frames):
                        at += 1
                        if wanted(self.frames[at - 1]):
                            self.mark = at
                            return self.frames[at - 1]
                    if self.failure is not None:
                        raise Ended(self.failure, doing)
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise NoAnswer(f"nothing came within {seconds:g} s ({doing})") from None

    async def listen(self, seconds: float) -> list[Frame]:
        """Return all that comes for so long; less, if the connection ends."""
        at = self.mark
        with contextlib.suppress(NoAnswer):
            await self.wait(lambda _: False, seconds, "listening")
        self.mark = len(self.frames)
        return self.frames[at:]

    async def send(self, frame: str, doing: str = "sending") -> None:
        """Send a frame; what is waited for next comes after it."""
        self.mark = len(self.frames)
        try:
            await self._connection.send(frame)
        except TRANSPORT_ERRORS as error:
            raise Ended(failure_of(error, self._phase), doing) from error

    async def bind(self, handle: ResumptionHandle | None = None, *, transparent: bool | None = None) -> float:
        """Send the setup; returns the seconds to setupComplete."""
        wanted = bool(self._service.transparent) if transparent is None else transparent
        began = now()
        frame = bind_setup(
            self._service.setup, handle=handle, resumption=True, transparent=wanted, initial_history=None
        )
        doing = "after setup" if handle is None else "after setup with a handle"
        await self.send(frame, doing)
        complete = await self.wait(lambda frame: frame.message.setup_complete is not None, _ANSWER, doing)
        self._phase = Phase.LIVE
        self._service.was_bound = True
        self._is_resumed = handle is not None
        return complete.at - began

    async def say(self, text: str, form: TextForm | None = None) -> None:
        """Send a question."""
        if (form or self._service.text_form) is TextForm.REALTIME:
            await self.send(realtime_text_frame(text), "asking")
        else:
            await self.send(content_frame([HistoryTurn("user", text)], turn_complete=True), "asking")

    async def turn(self) -> Turn:
        """Return what comes up to the next turnComplete."""
        at, doing = self.mark, "waiting for the answer" + " of a resumed session" * self._is_resumed
        await self.wait(lambda frame: frame.completes, _ANSWER, doing)
        return Turn(self.frames[at : self.mark])

    async def ask(self, text: str, form: TextForm | None = None) -> Turn:
        """Ask, and return the answer."""
        await self.say(text, form)
        return await self.turn()

    async def handle(self) -> ResumptionHandle:
        """Return the handle that follows a turn; where none does, the newest one."""
        try:
            frame = await self.wait(lambda frame: frame.handle is not None, _HANDLE, "waiting for a handle")
        except NoAnswer:
            handle = self.newest_handle
            if handle is None:
                raise
            return handle
        assert frame.handle is not None
        return frame.handle

    @property
    def newest_handle(self) -> ResumptionHandle | None:
        """The newest handle of this connection."""
        return next((frame.handle for frame in reversed(self.frames) if frame.handle is not None), None)

    async def respond(self, call_id: str | None) -> None:
        """Answer a call of the tool."""
        response = FunctionResponse(id=call_id, name=TOOL, response={"weather": "sunny"})
        await self.send(tool_response_frame([response]), "sending a tool response")

    async def ping(self) -> Awaitable[object]:
        """Send a ping; what is returned is done when it is answered."""
        try:
            return await self._connection.ping()
        except TRANSPORT_ERRORS as error:
            raise Ended(failure_of(error, self._phase), "sending a ping") from error

    def mute(self) -> None:
        """Read nothing any more, and answer no ping: to the service, as if the network were gone."""
        self.is_mute = True
        self._connection.transport.pause_reading()

    def abort(self) -> None:
        """Drop the socket without a word of WebSocket."""
        self._connection.transport.abort()


def now() -> float:
    """Return the loop's clock."""
    return asyncio.get_running_loop().time()


@contextlib.asynccontextmanager
async def dial(service: Service) -> AsyncGenerator[Line]:
    """Open a connection, without a setup.

    Raises:
        Ended: It cannot be opened.
    """
    arguments: dict[str, Any] = {**service.options, **_DIALLING}
    try:
        connection = await connect(service.uri, additional_headers=service.headers, **arguments)
    except TRANSPORT_ERRORS as error:
        raise Ended(failure_of(error, Phase.DIAL), "dialling") from error
    line = Line(service, connection)
    reader = asyncio.create_task(line.read())
    try:
        yield line
    finally:
        try:
            if not line.is_mute:  # websockets 13 would wait for ever
                await connection.close()
        finally:
            connection.transport.abort()
            reader.cancel()
            await asyncio.wait([reader])


@contextlib.asynccontextmanager
async def bound(
    service: Service, handle: ResumptionHandle | None = None, *, transparent: bool | None = None
) -> AsyncGenerator[Line]:
    """Open a connection with a setup; with a handle, again and again while its old connection is not released.

    Raises:
        NoAnswer: There is no setupComplete.
    """
    deadline, pause = now() + POLICY.old_binding_grace, _FIRST_RETRY
    async with contextlib.AsyncExitStack() as stack:
        while True:
            line = await stack.enter_async_context(dial(service))
            try:
                await line.bind(handle, transparent=transparent)
                break
            except Ended as error:
                is_held = handle is not None and error.verdict(with_handle=True) is Verdict.OLD_BINDING
                if not is_held or now() > deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_RETRY)
        yield line


async def attempt(
    service: Service, handle: ResumptionHandle, *, patience: float = 0.0
) -> tuple[Ended | None, float | None]:
    """Try to resume, again after each refusal.

    Returns:
        The first refusal, and the seconds until the handle was accepted; None: it was not.
    """
    began, refusal, pause = now(), None, _FIRST_RETRY
    while True:
        async with dial(service) as line:
            try:
                await line.bind(handle)
            except Ended as error:
                refusal = refusal or error
            else:
                return refusal, now() - began
        if now() - began >= patience:
            return refusal, None
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LAST_RETRY)
