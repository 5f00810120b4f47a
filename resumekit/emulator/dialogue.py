"""What is said on a connection after its setup: client messages in, the model's turns and the handles out.

One lock keeps a state and the index of the last message in it together: a handle names exactly what the ledger says.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Literal

from resumekit.emulator import faults, texts
from resumekit.emulator.answers import directives
from resumekit.emulator.conversation import Turn
from resumekit.emulator.frames import (
    as_list,
    as_object,
    canonical,
    decode_base64,
    field,
    has_field,
    object_field,
    text_field,
)
from resumekit.emulator.generation import Generation
from resumekit.emulator.handles import HandleSource
from resumekit.emulator.speech import Utterance, heard

if TYPE_CHECKING:
    from resumekit.emulator.connection import Connection
    from resumekit.emulator.frames import JsonObject
    from resumekit.emulator.gate import Terms

__all__ = ["Dialogue"]


class Dialogue:
    """The conversation on one connection."""

    def __init__(self, connection: Connection, terms: Terms) -> None:
        self._connection = connection
        self._service = connection.service
        self._settings = connection.settings
        self._terms = terms
        self._state = terms.state
        self._bound = False
        self._handles = HandleSource(connection, terms)
        self._generation = Generation(connection, terms, self._handles)

    async def begin(self) -> None:
        """Bind the connection: setupComplete, and all that starts with it."""
        connection, settings = self._connection, self._settings
        if connection.setup_delay is None:
            await asyncio.Event().wait()
        await connection.sleep(connection.setup_delay or 0.0)
        record = connection.record
        record.bound_at = time.time()
        session = self._terms.session
        if session.started_at is None:
            session.started_at = self._service.now()
        self._service.ledger.bound(record.number, with_handle=self._terms.with_handle, parent=self._terms.parent)
        self._bound = True
        body: JsonObject = {} if settings.profile == "developer" else {"sessionId": self._service.store.new_id()}
        await connection.send_setup_complete({"setupComplete": body})
        connection.spawn(connection.watch_the_clock())
        connection.spawn(self._age())
        connection.spawn(self._session_age(session.started_at))
        await connection.happened("bound")
        await connection.happened("now")
        if connection.repeats_transcripts:
            await self._generation.repeat_transcripts(connection.repeats_transcripts)
        if settings.answers_after_resume and self._terms.with_handle:
            async with self._handles.lock:
                await self._generation.start()
        await self._handles.run()

    async def _age(self) -> None:
        age, notice = self._settings.connection_age, self._settings.go_away_notice
        if age is None:
            return
        aborted = self._settings.age_close == "aborted"
        code, reason = (1008, texts.ABORTED) if aborted else (1011, texts.DEADLINE)
        if notice is None:
            await self._connection.sleep(age)
            self._connection.refuse(code, reason)
        await self._connection.sleep(max(age - notice, 0.0))
        await self._connection.go_away(faults.GoAway(min(notice, age), code=code, reason=reason))

    async def _session_age(self, started_at: float) -> None:
        limit, settings = self._terms.session_age, self._settings
        if limit is not None:
            passed = (self._service.now() - started_at) / settings.time_scale
            await self._connection.sleep(max(limit - passed, 0.0))
            self._connection.refuse(settings.session_close_code, settings.session_close_reason)

    # --- client messages ------------------------------------------------------------------------------------------

    async def take(self, message: JsonObject, index: int) -> None:
        """Take a client message in."""
        if not self._bound and not self._settings.lenient_gate:
            self._connection.refuse(1007, texts.INVALID_ARGUMENT)
        async with self._handles.lock:
            self._handles.consumed = index
            for name in message:
                await self._take_field(name, message)
            self._handles.remember()

    async def _take_field(self, name: str, message: JsonObject) -> None:
        match name.replace("_", "").lower():
            case "clientcontent":
                await self._take_content(object_field(message, "clientContent"))
            case "realtimeinput":
                await self._take_realtime(object_field(message, "realtimeInput"))
            case "toolresponse":
                await self._take_responses(object_field(message, "toolResponse"))
            case "contextupdate":
                pass  # the ledger has it; the model's answers do not depend on it
            case "setup":
                self._connection.refuse(1007, texts.SETUP_FIRST)
            case _:
                self._connection.refuse(1007, texts.unknown_name(name))

    async def _take_content(self, content: JsonObject) -> None:
        state = self._state
        complete = field(content, "turnComplete") is True
        turns = [_turn(as_object(turn)) for turn in as_list(field(content, "turns"))]
        if state.is_seeding:
            state.turns += turns
            state.is_seeding = not complete
            if self._settings.answers_history and complete and turns and turns[-1].role == "user":
                state.queued.append(turns[-1].text)
            return
        if self._terms.family.text_in_mid_session == "realtime" and state.model_spoke:
            self._connection.refuse(1007, texts.INVALID_ARGUMENT)
        question = turns.pop().text if complete and turns and turns[-1].role == "user" else None
        state.turns += turns
        if complete:
            await self._ask(question)

    async def _take_realtime(self, realtime: JsonObject) -> None:
        marks = has_field(realtime, "activityStart") or has_field(realtime, "activityEnd")
        if marks and not self._terms.manual_activity:
            self._connection.refuse(1007, texts.EXPLICIT_ACTIVITY)
        if has_field(realtime, "activityStart"):
            self._state.activity_open = True
            await self._barge_in()
        if text := text_field(realtime, "text"):
            await self._ask(text)
        for blob in [field(realtime, "audio"), *as_list(field(realtime, "mediaChunks"))]:
            if text_field(as_object(blob), "mimeType").startswith("audio/"):
                if not self._settings.index_counts_audio:
                    self._handles.not_counted.append(self._handles.consumed)
                await self._take_audio(decode_base64(text_field(as_object(blob), "data")))
        if has_field(realtime, "activityEnd") and self._state.activity_open:
            speech = bytes(self._state.activity)
            self._state.activity.clear()
            self._state.activity_open = False
            if speech:
                await self._end_of_speech(heard(speech))
        if field(realtime, "audioStreamEnd") is True and (rest := self._state.voice.flush()):
            await self._end_of_speech(rest)

    async def _take_audio(self, pcm: bytes) -> None:
        if self._terms.manual_activity:
            if self._state.activity_open:
                self._state.activity += pcm
            return
        for event in self._state.voice.feed(pcm):
            if event is None:
                await self._barge_in()
            else:
                await self._end_of_speech(event)

    async def _barge_in(self) -> None:
        if self._terms.interruptible and self._settings.overlap != "queue":
            await self._generation.interrupt()

    async def _end_of_speech(self, utterance: Utterance) -> None:
        self._state.last_heard = utterance.text
        self._handles.heard_until = self._handles.consumed
        await self._connection.happened("end_of_speech")
        if self._terms.transcribes_input:
            await self._generation.transcribe_input(utterance.text)
        await self._ask(utterance.text)

    async def _ask(self, question: str | None) -> None:
        """Take a question up, or, without one, what was left unanswered."""
        state = self._state
        if question is not None:
            self._service.note(self._connection.record.number, "question", question)
        silent = self._settings.silent or (question is not None and directives(question).silent)
        if silent or self._connection.is_poisoned:
            state.turns += [Turn("user", question)] if question is not None else []
            return
        merging = self._settings.overlap == "merge" and self._generation.can_merge
        if self._generation.is_open and not merging:
            if self._settings.overlap == "queue":
                if question is not None:
                    state.turns.append(Turn("user", question))
                    state.queued.append(question)
                return
            await self._generation.interrupt()
        if question is not None:
            state.turns.append(Turn("user", question))
            state.unanswered += [*state.queued, question]
            state.queued.clear()
        await self._generation.start()

    async def _take_responses(self, responses: JsonObject) -> None:
        state = self._state
        late: list[tuple[str, str]] = []
        for value in as_list(field(responses, "functionResponses")):
            response = as_object(value)
            call_id = text_field(response, "id")
            result = canonical(field(response, "response") or {})
            if call := state.calls.pop(call_id, None):
                state.results.append(f"{call.name}={result}")
            elif call := state.background.get(call_id):
                state.late_results.append(f"{call.name}={result}")
                late.append((f"response of {call.name}", text_field(response, "scheduling")))
            elif call_id not in state.cancelled and self._settings.unknown_tool_id == "close":
                self._connection.refuse(1008, texts.ENTITY_NOT_FOUND)
        await self._connection.happened("tool_response")
        if not self._connection.is_poisoned:
            await self._generation.continue_after_calls()
            for what, scheduling in late:
                await self._speak_of(what, scheduling)

    async def _speak_of(self, what: str, scheduling: str) -> None:
        """Take up the response to a call that nobody waits for, as its scheduling says; by default when idle."""
        state = self._state
        if scheduling == "SILENT":
            return  # the next answer tells of it
        if self._generation.is_open:
            if scheduling != "INTERRUPT":
                state.queued.append(what)
                return
            await self._generation.interrupt()
        state.unanswered.append(what)
        await self._generation.start()


def _turn(turn: JsonObject) -> Turn:
    role: Literal["user", "model"] = "model" if text_field(turn, "role") == "model" else "user"
    parts = [as_object(part) for part in as_list(field(turn, "parts"))]
    return Turn(role, "".join(text_field(part, "text") for part in parts))
