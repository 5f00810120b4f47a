"""The connection that ADK gets: its own `GeminiLlmConnection` over a session that lives on, and a filter around it.

ADK's connection makes responses of frames. The filter knows, for each response, which frame it came of: the inner
generator asks for the next frame only when it has no more to say about the last one. So it can take back what ADK would
make of a turn that is answered again, without a look at ADK's inside.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec
from google.adk.models.base_llm_connection import BaseLlmConnection
from google.adk.models.llm_response import LlmResponse
from google.genai import errors as genai_errors
from google.genai import types

from resumekit import errors
from resumekit.adapters import _adk_seam as seam
from resumekit.adapters import genai
from resumekit.adapters._common import to_turns
from resumekit.adapters._genai_seam import as_dict, can_read
from resumekit.core import events
from resumekit.core.failures import CloseCode
from resumekit.wire import Cut, ResumptionHandle, ServerMessage, UsageMetadata, decode_server, top_level, without_key

if TYPE_CHECKING:
    from resumekit.drivers.driver import Driver

__all__ = ["TOLD", "Bridge", "Connection", "History", "Session", "masked"]

History: TypeAlias = Literal["send", "remember", "drop"]
"""What becomes of the history that ADK sends at the beginning: it is new to the service; its state holds it, and a fresh
start will have to send it; the engine has it already."""

_FLUSH = b'{"serverContent":{"inputTranscription":{"finished":true},"outputTranscription":{"finished":true}}}'
"""Makes ADK give out the transcriptions that it gathers, on every version and backend."""
_END = b'{"serverContent":{"turnComplete":true}}'
"""Makes ADK give out the tool calls that it keeps."""
_ONE_RESPONSE = b'{"usageMetadata":{}}'
"""Makes ADK give out one response."""
TOLD = (
    events.AudioDropped,
    events.ConnectionLost,
    events.FreshStarted,
    events.GoAwayReceived,
    events.HandleRefused,
    events.MessageNotSent,
    events.Resumed,
    events.SessionExpiring,
    events.ToolResponseDropped,
    events.TurnCut,
    events.TurnForgotten,
    events.TurnSettled,
)
"""What an application that plays and shows things may want to know, beside what its `on_event` is told."""


class _Handle(str):
    """A handle in ADK's own types. ADK logs the objects that hold it; `repr` shows a digest only."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(ResumptionHandle(str(self)))


def masked(handle: str | None) -> str | None:
    """Return the handle such that ADK can log the object that holds it."""
    return _Handle(handle) if handle else None


class _Inserted(ServerMessage):
    """A frame of the adapter's own, in its place among the service's."""

    event: events.Event | None = None
    """What the application is told instead of what ADK makes of the frame."""
    error: Exception | None = None
    """What ends the run."""


def _inserted(event: events.Event | None = None, error: Exception | None = None) -> _Inserted:
    return _Inserted(raw=_ONE_RESPONSE, usage_metadata=UsageMetadata(), event=event, error=error)


class Bridge(genai.Bridge):
    """Hands the session's frames to ADK, and remembers which one it has."""

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver)
        self.surfaces_updates = False
        """The application asked for handles."""
        self.frame: ServerMessage | bytes | None = None
        """What ADK makes responses of; bytes: media of an answer that goes on, and nothing else."""
        self.cancelled: set[str] = set()
        """Ids of tool calls that are not to be run any more."""
        self._put_back: ServerMessage | None = None

    def _next(self) -> ServerMessage | bytes | None:
        if self._put_back is not None:
            self.frame, self._put_back = self._put_back, None
        else:
            self.frame = frame = self._driver.take_frame()
            if isinstance(frame, ServerMessage) and frame.cut is not None:
                self.frame = self._before_cut(frame)
        return self.frame

    def _before_cut(self, message: ServerMessage) -> ServerMessage:
        """Return what ADK has to get before a frame that marks a cut, which is put back then, or the frame."""
        if message.server_content is not None and message.server_content.interrupted:
            self._put_back = message
            flush = decode_server(_FLUSH)
            flush.cut = message.cut
            return flush
        if message.cut is Cut.UNSEEN:
            self._put_back = decode_server(_END)  # ADK keeps calls of some models until the turn is over
            self._put_back.cut = Cut.UNSEEN
        return message

    def _shown(self, message: ServerMessage) -> bytes | None:
        if isinstance(message, _Inserted) and message.error is not None:
            self.frame = None
            raise message.error
        if message.tool_call_cancellation is not None:
            self.cancelled.update(message.tool_call_cancellation.ids or ())
        raw = message.raw if message.session_resumption_update is None else self._without_handle(message)
        return raw if can_read(message) else None

    def _told(self, end: errors.ResumekitError) -> Exception:
        return end

    def _without_handle(self, message: ServerMessage) -> bytes | None:
        """Return a frame that ADK may log; None if nothing is left of it."""
        rest = without_key(message.raw, "session_resumption_update")
        update = message.session_resumption_update
        if update is None or not (update.resumable and update.handle and self.surfaces_updates):
            return None if rest == b"{}" else rest
        shown: dict[str, object] = {"newHandle": repr(update.handle), "resumable": True}
        if update.last_consumed_client_message_index is not None:
            shown["lastConsumedClientMessageIndex"] = str(update.last_consumed_client_message_index)
        return msgspec.json.encode({**top_level(rest), "sessionResumptionUpdate": shown})

    def tell(self, event: events.Event) -> None:
        """Put an event behind the frames that wait."""
        self._driver.insert(_inserted(event))

    def fail(self, error: Exception) -> None:
        """End the run with an error, behind the frames that wait."""
        self._driver.insert(_inserted(error=error))


class Session(genai.Session):
    """The session below ADK's connection."""

    bridge_type = Bridge
    bridge: Bridge

    async def _received_by_google_genai(self) -> types.LiveServerMessage:
        # An error that went further would end ADK's generator, and with it the calls and the text that this keeps of the
        # turn.
        while True:
            try:
                return await super()._received_by_google_genai()
            except Exception as error:  # noqa: BLE001 -- see `absorb`
                self.absorb(error)

    def absorb(self, error: Exception) -> None:
        """Report a frame that google-genai or ADK cannot read: it is no reason to end the conversation.

        Args:
            error: What they raised. If it is about something else, it is raised again.
        """
        frame = self.bridge.frame
        if frame is None or isinstance(error, errors.ResumekitError):
            raise error
        size = len(frame if isinstance(frame, bytes) else frame.raw)
        problem = f"it cannot be read ({type(error).__name__})"  # the error itself may quote it
        self.report(events.FrameDiscarded(connection=0, size=size, problem=problem))

    def report(self, event: events.Event) -> None:
        """Tell the application what happened in the adapter."""
        self._driver.publish(event)

    def remember(self, history: Sequence[types.Content]) -> None:
        """Take history that the resumed state holds already."""
        self._driver.remember(to_turns(history, as_dict))


class Connection(BaseLlmConnection):
    """ADK's connection, filtered: it takes every message without raising, and shows no nonsense.

    Args:
        inner: ADK's own, over `session`.
        session: Of resumekit.
        model: Name, for responses made here.
        history: What becomes of it.
    """

    def __init__(self, inner: BaseLlmConnection, session: Session, *, model: str | None, history: History) -> None:
        self._inner = inner
        self._session = session
        self._bridge = session.bridge
        self._model = model
        self._history = history
        self._heard = ""
        """Words of a spoken question of which ADK gave out the beginning as a whole, as the turn was cut."""
        self._marked = False
        """The settled turn was shown to be interrupted."""
        self._answer: LlmResponse | None = None
        """The transcription of an answer that is whole, while its turn is open: ADK would store it, and if the
        connection ends here, the turn is answered again."""
        self._closing = False
        self._watched = False

    # ------------------------------------------------------------------ to the model

    async def send_history(self, history: list[types.Content]) -> None:
        """Send the conversation so far, unless the service has it: then it is kept for a fresh start."""
        if self._history == "send":
            await self._send(self._inner.send_history(history))
        elif self._history == "remember":
            self._session.remember(history)

    async def send_content(self, content: types.Content) -> None:
        """Send a user's content, or tool responses. What cannot be sent is reported, never raised."""
        await self._send(self._inner.send_content(content))

    async def _send_content(self, content: types.Content, *, partial: bool = False) -> None:
        # ADK calls this one since 2.5, for content that does not end the turn.
        await self._send(self._inner._send_content(content, partial=partial))  # noqa: SLF001 -- as ADK does

    async def send_realtime(self, blob: types.Blob) -> None:
        """Send audio, video, or an activity mark. What cannot be sent is reported, never raised."""
        await self._send(self._inner.send_realtime(blob))

    async def _send(self, sending: Awaitable[None]) -> None:
        try:
            await sending
        except (errors.SessionClosed, errors.SessionLost):
            pass  # `receive` tells
        except Exception as error:  # noqa: BLE001 -- whatever it is: ADK's sender must live on
            # A message may be quoted in the error; only ours are known not to.
            problem = str(error) if isinstance(error, errors.ResumekitError) else type(error).__name__
            self._session.report(events.MessageNotSent(problem=problem))

    async def close(self) -> None:
        """End the session; `receive` then ends the run."""
        self._closing = True
        await self._inner.close()

    # ------------------------------------------------------------------ from the model

    async def receive(self) -> AsyncGenerator[LlmResponse, None]:
        """Yield the responses of a turn. Ends without one when the session is closed, where that ends ADK's run.

        Raises:
            SessionLost: The conversation cannot go on.
            SessionClosed: After `close`, where ADK needs an exception to end the run.
        """
        self._watch_sender()
        empty = True
        while empty:
            self._bridge.frame = None
            try:
                async with contextlib.aclosing(self._inner.receive()) as responses:
                    async for response in responses:
                        if self._is_plain(response):
                            empty = False
                            yield response
                            continue
                        for shown in self._filter(response):
                            empty = False
                            yield shown
            except errors.ResumekitError as end:
                for shown in self._release():
                    yield shown
                if isinstance(end, errors.SessionLost):
                    end.advice = end.advice.replace("start a new session with history=...", "call run_live again")
                if not isinstance(end, errors.SessionClosed):
                    raise
                if seam.ENDS_QUIETLY:
                    return
                raise _closed() from end
            except Exception as error:  # noqa: BLE001 -- see `absorb`
                self._session.absorb(error)

    def _is_plain(self, response: LlmResponse) -> bool:
        """Tell whether the filter would show a response as it is: nearly all."""
        frame = self._bridge.frame
        if self._answer is not None or self._heard or self._bridge.cancelled:
            return False
        if isinstance(frame, bytes):
            return True
        said = response.output_transcription
        return (
            type(frame) is ServerMessage
            and frame.cut is None
            and frame.session_resumption_update is None
            and not (said is not None and said.finished)
        )

    def _filter(self, response: LlmResponse) -> Iterator[LlmResponse]:
        frame = self._bridge.frame
        assert frame is not None
        if isinstance(frame, bytes):  # nothing is asked of it
            frame = ServerMessage(raw=frame)
        if isinstance(frame, _Inserted):
            assert frame.event is not None
            yield self._notice(frame.event)
        elif response.live_session_resumption_update is not None:
            yield self._with_handle(response, frame)
        elif frame.cut is Cut.REANSWERED:
            self._answer = None
            yield from self._forget(response, frame)
        elif frame.cut is Cut.UNSEEN and response.turn_complete:
            return
        else:
            yield from self._show(response, frame)

    def _with_handle(self, response: LlmResponse, frame: ServerMessage) -> LlmResponse:
        """The frame that ADK read, and logged, has a digest in the handle's place."""
        assert response.live_session_resumption_update is not None
        assert frame.session_resumption_update is not None
        handle = masked(frame.session_resumption_update.new_handle)
        update = response.live_session_resumption_update.model_copy(update={"new_handle": handle})
        return response.model_copy(update={"live_session_resumption_update": update})

    def _show(self, response: LlmResponse, frame: ServerMessage) -> Iterator[LlmResponse]:
        said = response.input_transcription or response.output_transcription
        if frame.cut is not None and said is not None and not said.text:
            return  # there was nothing to flush
        if response.input_transcription is None:
            yield from self._release()
        yield from self._whole_question(response)
        answer = response.output_transcription
        if answer is not None and answer.finished and frame.cut is None:
            self._answer = response
            return
        if frame.cut is Cut.SETTLED:
            # Of an answer of which nothing was shown, the end is all that there will be.
            if response.content is not None or (response.turn_complete and not self._marked):
                response = response.model_copy(update={"interrupted": True})
            self._marked = not response.turn_complete and (self._marked or bool(response.interrupted))
        kept = self._without_cancelled(response)
        if kept is not None:
            yield kept

    def _release(self) -> Iterator[LlmResponse]:
        if self._answer is not None:
            answer, self._answer = self._answer, None
            yield answer

    def _forget(self, response: LlmResponse, frame: ServerMessage) -> Iterator[LlmResponse]:
        """A cut turn is answered again: of all that ADK makes of it, show once that it is interrupted."""
        heard = response.input_transcription
        if heard is not None and heard.text:
            self._heard += heard.text
        content = frame.server_content
        if response.turn_complete:
            yield response
        elif content is not None and content.interrupted:
            yield LlmResponse(interrupted=True, model_version=self._model)

    def _whole_question(self, response: LlmResponse) -> Iterator[LlmResponse]:
        """What was heard before a cut and after it is one question; it goes before what is stored of its answer."""
        if not self._heard:
            return
        heard, said = response.input_transcription, response.output_transcription
        if heard is not None:
            if heard.finished:
                heard.text, self._heard = self._heard + (heard.text or ""), ""
        elif (
            response.turn_complete
            or response.interrupted
            or (said is not None and said.finished)
            or _is_stored(response)
        ):
            words, self._heard = self._heard, ""
            whole = types.Transcription(text=words, finished=True)
            yield LlmResponse(input_transcription=whole, partial=False, model_version=self._model)

    def _without_cancelled(self, response: LlmResponse) -> LlmResponse | None:
        """ADK does not read cancellations; and it keeps the calls of some models until the turn is over."""
        content = response.content
        if not self._bridge.cancelled or content is None or not content.parts:
            return response
        cancelled = self._bridge.cancelled
        kept = [part for part in content.parts if part.function_call is None or part.function_call.id not in cancelled]
        if len(kept) == len(content.parts):
            return response
        if not kept:
            return None
        return response.model_copy(update={"content": content.model_copy(update={"parts": kept})})

    def _notice(self, event: events.Event) -> LlmResponse:
        """A response that carries an event to the application; `partial` keeps it out of the session's history."""
        return LlmResponse(
            partial=True,
            model_version=self._model,
            usage_metadata=types.GenerateContentResponseUsageMetadata(),  # without any content ADK would drop it
            custom_metadata={"resumekit": {"event": type(event).__name__, **msgspec.to_builtins(event)}},
        )

    # ------------------------------------------------------------------ ADK's sender

    def _watch_sender(self) -> None:
        """ADK does not look at the task that sends: if it dies, whatever the application says is never heard."""
        if self._watched:
            return
        self._watched = True
        sender = seam.sender_of(self)
        if sender is not None:
            sender.add_done_callback(self._sender_ended)

    def _sender_ended(self, sender: asyncio.Task[object]) -> None:
        if sender.cancelled() or self._closing:
            return
        error = sender.exception()
        if isinstance(error, Exception):
            self._bridge.fail(errors.SenderFailed(error))


def _is_stored(response: LlmResponse) -> bool:
    """Whether these are words that ADK keeps."""
    parts = (response.content.parts if response.content else None) or ()
    return not response.partial and any(part.text for part in parts)


class _Closed(errors.SessionClosed, genai_errors.APIError):
    """What ADK 1.27 gives where the application closes; later versions would dial again for an `APIError`."""

    def __init__(self, text: str) -> None:
        Exception.__init__(self, text)
        self.code = CloseCode.NORMAL.value
        self.message = text
        self.status = self.response = None
        self.details = text


def _closed() -> errors.SessionClosed:
    text = "the application closed the live session; this version of google-adk ends run_live with an error then"
    return _Closed(text) if seam.NEVER_REDIALS else errors.SessionClosed(text)
