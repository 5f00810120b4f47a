"""The connection that ADK gets: its own `GeminiLlmConnection` over a session that lives on, and a filter around it.

ADK's connection makes responses of frames. The filter knows, for each response, which frame it came of: the inner
generator asks for the next frame only when it has no more to say about the last one. So it can take back what ADK would
make of a turn that is answered again, without a look at ADK's inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Iterator, Sequence
from typing import Any

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
from resumekit.drivers import Driver
from resumekit.wire import Cut, ResumptionHandle, ServerMessage, decode_server, without_key

__all__ = ["TOLD", "Bridge", "Connection", "Session", "masked"]

_log = logging.getLogger("resumekit.adk")

_FLUSH = b'{"serverContent":{"inputTranscription":{"finished":true},"outputTranscription":{"finished":true}}}'
"""Makes ADK give out the transcriptions that it gathers, on every version and backend."""
_NOTICE = b'{"usageMetadata":{}}'
"""Makes ADK give out one response, in the place of which a notice is put."""
TOLD = (
    events.AudioDropped,
    events.ConnectionLost,
    events.FreshStarted,
    events.GoAwayReceived,
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


def masked(config: types.SessionResumptionConfig) -> types.SessionResumptionConfig:
    """Return a copy whose `repr` does not show the handle."""
    return config.model_copy(update={"handle": _Handle(config.handle)} if config.handle else {})


class Bridge(genai.Bridge):
    """Hands the session's frames to ADK, and remembers which one it has."""

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver)
        self.surfaces_updates = False
        """The application asked for handles."""
        self.current: ServerMessage | None = None
        """The frame that ADK makes responses of."""
        self.notice: events.Event | None = None
        """What that frame stands for, if it is none of the service's."""
        self.cancelled: set[str] = set()
        """Ids of tool calls that are not to be run any more."""
        self._put_back: ServerMessage | None = None
        self._notices: dict[int, events.Event] = {}
        self._failure: BaseException | None = None

    async def _next(self) -> bytes:
        while True:
            message = await self._take()
            if self._failure is not None:
                raise self._failure
            self.current = message
            self.notice = self._notices.pop(id(message), None)
            if message.tool_call_cancellation is not None:
                self.cancelled.update(message.tool_call_cancellation.ids or ())
            raw = message.raw if message.session_resumption_update is None else self._without_handle(message)
            if raw is not None and (self.notice is not None or can_read(message)):
                return raw

    async def _take(self) -> ServerMessage:
        message, self._put_back = self._put_back, None
        if message is not None:
            return message
        message = await self._driver.recv()
        if message.cut is not None and message.server_content is not None and message.server_content.interrupted:
            self._put_back = message
            flush = decode_server(_FLUSH)
            flush.cut = message.cut
            return flush
        return message

    def _without_handle(self, message: ServerMessage) -> bytes | None:
        """Return a frame that ADK may log."""
        rest = without_key(message.raw, "session_resumption_update")
        update = message.session_resumption_update
        if update is None or not self.surfaces_updates:
            return None if rest == b"{}" else rest
        shown: dict[str, object] = {"newHandle": repr(update.handle), "resumable": True}
        if update.last_consumed_client_message_index is not None:
            shown["lastConsumedClientMessageIndex"] = str(update.last_consumed_client_message_index)
        return json.dumps({**json.loads(rest), "sessionResumptionUpdate": shown}).encode()

    def tell(self, event: events.Event) -> None:
        """Put an event behind the frames that wait."""
        message = decode_server(_NOTICE)
        self._notices[id(message)] = event
        self._driver.insert(message)

    def fail(self, error: BaseException) -> None:
        """End the run with an error, once ADK asks for the next frame."""
        self._failure = error
        self._driver.insert(decode_server(_NOTICE))


class Session(genai.Session):
    """The session below ADK's connection."""

    bridge_type = Bridge
    bridge: Bridge

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
        skips_history: The state holds what ADK is about to send as history.
    """

    def __init__(self, inner: BaseLlmConnection, session: Session, *, model: str | None, skips_history: bool) -> None:
        self._inner = inner
        self._session = session
        self._bridge = session.bridge
        self._model = model
        self._skips_history = skips_history
        self._heard = ""
        """Words of a spoken question of which ADK gave out the beginning as a whole, as the turn was cut."""
        self._told: ServerMessage | None = None
        """The interruption that was shown."""
        self._closing = False
        self._watched = False

    # ------------------------------------------------------------------ to the model

    async def send_history(self, history: list[types.Content]) -> None:
        """Send the conversation so far, unless the session was resumed: then it is kept for a fresh start."""
        if self._skips_history:
            self._session.remember(history)
            return
        await self._send(self._inner.send_history(history))

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
            _log.debug("a message was not sent", exc_info=True)
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
            before = self._bridge.current
            try:
                async with contextlib.aclosing(self._inner.receive()) as responses:
                    async for response in responses:
                        for shown in self._filter(response):
                            empty = False
                            yield shown
            except errors.SessionClosed as closed:
                if seam.ENDS_QUIETLY:
                    return
                raise _closed() from closed
            except errors.ResumekitError:
                raise
            except Exception as error:
                if self._bridge.current is before:
                    raise
                # One frame that google-genai or ADK cannot read is no reason to end the conversation.
                _log.debug("a frame could not be read", exc_info=True)
                size = 0 if self._bridge.current is None else len(self._bridge.current.raw)
                self._session.report(events.FrameDiscarded(connection=0, size=size, problem=type(error).__name__))

    def _filter(self, response: LlmResponse) -> Iterator[LlmResponse]:
        bridge = self._bridge
        frame = bridge.current
        assert frame is not None
        if bridge.notice is not None:
            yield self._response(bridge.notice, usage_metadata=types.GenerateContentResponseUsageMetadata())
            bridge.notice = None
            return
        if response.live_session_resumption_update is not None and frame.session_resumption_update is not None:
            handle = frame.session_resumption_update.handle
            shown = {"new_handle": None if handle is None else _Handle(handle.reveal())}
            update = response.live_session_resumption_update.model_copy(update=shown)
            yield response.model_copy(update={"live_session_resumption_update": update})
            return
        if frame.cut is Cut.REANSWERED:
            yield from self._forget(response, frame)
            return
        said = response.input_transcription or response.output_transcription
        if frame.cut is not None and said is not None and not said.text:
            return
        yield from self._whole_question(response)
        if frame.cut is not None and response.content is not None:
            response = response.model_copy(update={"interrupted": True})
        kept = self._without_cancelled(response)
        if kept is not None:
            yield kept

    def _forget(self, response: LlmResponse, frame: ServerMessage) -> Iterator[LlmResponse]:
        """A cut turn is answered again: of all that ADK makes of it, show once that it is interrupted."""
        heard = response.input_transcription
        if heard is not None and heard.text:
            self._heard += heard.text
        content = frame.server_content
        if content is None or self._told is frame:
            return
        if content.turn_complete and response.turn_complete:
            yield response
        elif content.interrupted:
            self._told = frame
            yield LlmResponse(interrupted=True, model_version=self._model)

    def _whole_question(self, response: LlmResponse) -> Iterator[LlmResponse]:
        """What was heard before a cut and after it is one question."""
        if not self._heard:
            return
        heard = response.input_transcription
        if heard is not None and heard.finished:
            heard.text, self._heard = self._heard + (heard.text or ""), ""
        elif response.turn_complete or response.interrupted:
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

    def _response(self, event: events.Event, **fields: Any) -> LlmResponse:
        """A response that carries an event to the application; `partial` keeps it out of the session's history."""
        told = {"event": type(event).__name__, **msgspec.to_builtins(event)}
        return LlmResponse(partial=True, model_version=self._model, custom_metadata={"resumekit": told}, **fields)

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
        if error is not None:
            self._bridge.fail(errors.SenderFailed(error))


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
