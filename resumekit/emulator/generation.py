"""The model at work on one connection: it takes up what is unanswered, speaks, calls tools, is interrupted.

A generation belongs to its connection: when that is cut, the generation is gone, and what a resumed connection holds
is the unanswered question.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Literal

from resumekit.emulator.answers import Issue, Look, Say, directives, plan, plan_steps, split_text
from resumekit.emulator.conversation import Call
from resumekit.emulator.frames import encode_base64
from resumekit.emulator.speech import OUTPUT_RATE, spoken

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resumekit.emulator.connection import Connection
    from resumekit.emulator.frames import JsonObject
    from resumekit.emulator.gate import Terms
    from resumekit.emulator.handles import HandleSource
    from resumekit.emulator.settings import ToolPosition, ToolTurns

__all__ = ["Generation"]


class Generation:
    """The model's side of the turns of one connection."""

    def __init__(self, connection: Connection, terms: Terms, handles: HandleSource) -> None:
        self._connection = connection
        self._service = connection.service
        self._settings = connection.settings
        self._terms = terms
        self._state = terms.state
        self._handles = handles
        self._position: ToolPosition = self._settings.tool_position or terms.family.tool_position
        self._tool_turns: ToolTurns = self._settings.tool_turns or "joined"
        self._number = 0
        self._task: asyncio.Task[None] | None = None
        self._answering = False
        self._frames = 0
        self._audio_frames = 0
        self._said = ""
        self._grounding: JsonObject = {}
        self._played_until = 0.0

    @property
    def is_open(self) -> bool:
        """The model answers, or waits for the response to a call (maybe of a connection before this one)."""
        return self._answering or bool(self._state.calls)

    @property
    def can_merge(self) -> bool:
        """The model has not said anything yet on the question that it works on."""
        return self._answering and self._frames == 0 and not self._state.calls

    # --- control: called by the dialogue, which holds the lock of the handles -----------------------------------------

    async def start(self, *, continuing: bool = False) -> None:
        """Answer what is unanswered; a generation that has only just begun starts again."""
        if not self._state.unanswered:
            return
        if self._answering:
            await self._cancel()
        elif self._task is not None:  # its turnComplete is still on its way out
            await asyncio.wait([self._task])
        if not continuing:
            self._begin_turn()
        self._state.waits_between_turns = False
        self._answering = True
        self._task = self._connection.spawn(self._run(continuing=continuing))

    def _begin_turn(self) -> None:
        self._number += 1
        self._frames = self._audio_frames = 0
        self._said = ""
        self._grounding = {}

    async def continue_after_calls(self) -> None:
        """Go on once every call has its response; called after each."""
        state = self._state
        waits = bool(state.steps[state.steps_done :]) and not self._answering
        if waits and not state.calls:
            state.steps_done += 1
            await self.start(continuing=True)

    async def interrupt(self) -> None:
        """Stop: cancellation of the open calls, interrupted, turnComplete; nothing if no turn is open.

        Where the calls have ended their server turn, there is nothing to interrupt: they are cancelled only (a guess).
        """
        if not self.is_open:
            return
        await self._cancel()
        between_turns = self._state.waits_between_turns
        if ids := self._state.cancel_calls():
            self._service.ledger.cancelled(ids)
            await self._connection.send({"toolCallCancellation": {"ids": ids}})
        self._state.settle(self._said)
        self._handles.turn_ended()
        if between_turns:
            self._handles.turn_is_open = False
            return
        usage = self._usage()
        self._service.note(self._connection.record.number, "interrupted")
        await self._connection.send({"serverContent": {"interrupted": True}})
        self._handles.turn_is_open = False
        await self._send_turn_complete(usage)
        self._handles.turn_closed()

    async def _cancel(self) -> None:
        self._answering = False
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    # --- the generation ---------------------------------------------------------------------------------------------

    async def _run(self, *, continuing: bool) -> None:
        while True:
            await self._open_turn(continuing=continuing)
            if not await self._perform(continuing=continuing):
                self._answering = False
                return  # the rest comes when the tools have answered
            await self._complete()
            if not self._answering:
                return
            continuing = False  # queued questions come next

    async def _open_turn(self, *, continuing: bool) -> None:
        state = self._state
        await self._handles.turn_opened()
        await self._connection.happened("generation_started")
        for question in state.unanswered[state.planned :]:
            times = self._service.issued[question]
            draw = random.Random(f"{self._settings.seed} {question} {times}")
            state.steps += plan_steps(question, self._settings.reissue if times else "same", draw)
        state.planned = len(state.unanswered)
        state.results += state.late_results
        state.late_results.clear()
        pause = self._settings.first_frame_delay
        if not continuing:
            asked = [directives(question).think for question in state.unanswered]
            pause += self._settings.think_time + max(asked, default=0.0)
        await self._connection.sleep(pause)

    async def _perform(self, *, continuing: bool) -> bool:
        """Say and call what is next; tells whether the turn can end."""
        if not continuing and self._settings.thoughts:
            await self._send_model_turn({"text": "**Thinking**\n\nHow to put it.\n", "thought": True})
        while True:
            if continuing and self._tool_turns == "split":
                await self._end_part()
            issued = waits = False
            for beat in plan(self._state, self._position, continuing=continuing):
                if isinstance(beat, Say):
                    await self._say(beat.text)
                elif isinstance(beat, Look):
                    await self._look(beat)
                else:
                    issued = True
                    waits = await self._issue(beat)
            if not issued:
                return True
            if waits and self._tool_turns == "at_end":
                await self._end_part()
            async with self._handles.lock:
                if self._state.calls:
                    self._answering = False
                    self._state.waits_between_turns = self._tool_turns == "at_end"
                    return False
                self._state.steps_done += 1  # all of them answered while the last was being sent
            continuing = True

    async def _end_part(self) -> None:
        """End a server turn, although the answer is still to come."""
        await self._connection.send({"serverContent": {"generationComplete": True}}, "generation_complete")
        await self._send_turn_complete(self._usage())
        self._handles.part_closed()

    async def _issue(self, beat: Issue) -> bool:
        """Call; tells whether the model waits for any of the responses."""
        self._service.issued.update(self._state.unanswered)
        asked = " + ".join(self._state.unanswered)
        calls = [Call(call.name, call.args, self._call_id()) for call in beat.calls]
        frames = [calls] if self._settings.tool_frames == "one" else [[call] for call in calls]
        for frame in frames:
            for call in frame:
                in_background = call.name in self._terms.background
                (self._state.background if in_background else self._state.calls)[call.id] = call
                number, turn = self._connection.record.number, self._number
                self._service.ledger.called(
                    number, turn, call.id, call.name, call.args, question=asked, in_background=in_background
                )
            body = [{"name": call.name, "args": call.args, "id": call.id} for call in frame]
            self._frames += 1
            await self._connection.send({"toolCall": {"functionCalls": body}}, "tool_call")
            await self._handles.content_sent(self._frames, is_call=True)
        return any(call.name not in self._terms.background for call in calls)

    def _call_id(self) -> str:
        if self._settings.profile == "vertex":
            return self._service.store.new_id()
        return f"function-call-{self._service.draw.randrange(10**18, 10**19)}"

    async def _look(self, look: Look) -> None:
        """Use a built-in tool, if the setup has it. Where exactly its parts come is a guess."""
        if look.tool == "code" and self._terms.runs_code:
            await self._send_model_turn({"executableCode": {"language": "PYTHON", "code": look.text}})
            result = {"outcome": "OUTCOME_OK", "output": f"output of {look.text}\n"}
            await self._send_model_turn({"codeExecutionResult": result})
        if look.tool == "search" and self._terms.searches:
            page = {"uri": f"https://example.com/{len(look.text)}", "title": f"about {look.text}"}
            found: JsonObject = {"webSearchQueries": [look.text], "groundingChunks": [{"web": page}]}
            if self._settings.profile == "vertex":
                self._grounding = found  # it rides on the turnComplete, as its empty one does
            else:
                await self._send_content({"groundingMetadata": found})

    async def _complete(self) -> None:
        """End a turn that ran to its end, and take queued questions up."""
        await self._connection.send({"serverContent": {"generationComplete": True}}, "generation_complete")
        if self._settings.playback_delay:
            await self._connection.sleep(max(self._playback_left, 0.0))
        async with self._handles.lock:
            state = self._state
            state.settle(self._said)
            self._handles.turn_ended()
            saved = self._handles.capture()
            state.unanswered += state.queued
            state.queued.clear()
            self._answering = bool(state.unanswered)
            usage, grounding = self._usage(), self._grounding
            self._begin_turn()
            self._handles.turn_is_open = False
        await self._send_turn_complete(usage, grounding)
        self._handles.turn_closed(saved)

    async def _send_turn_complete(self, usage: JsonObject, grounding: JsonObject | None = None) -> None:
        content: JsonObject = {"turnComplete": True}
        if self._settings.profile == "vertex":
            content["groundingMetadata"] = grounding or {}
        self._connection.record.turns_completed += 1
        message: JsonObject = {"serverContent": content, "usageMetadata": usage}
        await self._connection.send(message, "turn_complete")

    def _usage(self) -> JsonObject:
        asked = sum(len(turn.text) for turn in self._state.turns) // 4 + 1
        said = len(self._said) // 4 + 1
        name = "candidates" if self._settings.profile == "vertex" else "response"
        modality = "AUDIO" if self._terms.speaks else "TEXT"
        return {
            "promptTokenCount": asked,
            f"{name}TokenCount": said,
            "totalTokenCount": asked + said,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": asked}],
            f"{name}TokensDetails": [{"modality": modality, "tokenCount": said}],
        }

    # --- output -----------------------------------------------------------------------------------------------------

    async def _say(self, text: str) -> None:
        wishes = [directives(question) for question in self._state.unanswered]
        chunks = max((wish.chunks or 0 for wish in wishes), default=0) or self._settings.output_chunks
        pieces = split_text(text, chunks)
        if not self._terms.speaks:
            for piece in pieces:
                self._said += piece
                await self._send_model_turn({"text": piece})
                await self._connection.sleep(self._settings.chunk_interval)
            return
        seconds = max((wish.seconds or 0.0 for wish in wishes), default=0.0)
        await self._speak(text, pieces, max(seconds, self._settings.audio_seconds))

    async def _speak(self, text: str, pieces: list[str], seconds: float) -> None:
        """Send audio frames, with the pieces of the transcription between them."""
        settings = self._settings
        pcm = spoken(text, seconds=seconds, rate=OUTPUT_RATE)
        size = 2 * OUTPUT_RATE * settings.audio_frame_ms // 1000
        frames = [pcm[at : at + size] for at in range(0, len(pcm), size)]
        transcripts = pieces if self._terms.transcribes_output else []
        self._start_playback(len(pcm) / (2 * OUTPUT_RATE))
        if transcripts and settings.profile == "vertex":
            await self._send_transcription({})
        for number, frame in enumerate(frames):
            start, end = (-(-len(transcripts) * n // len(frames)) for n in (number, number + 1))
            for piece in transcripts[start:end]:
                await self._send_transcription({"text": piece})
            rate = "" if settings.profile == "vertex" else ";rate=24000"
            self._said = text[: len(text) * (number + 1) // len(frames)]
            self._audio_frames += 1
            blob = {"mimeType": f"audio/pcm{rate}", "data": encode_base64(frame)}
            await self._send_model_turn({"inlineData": blob}, is_audio=True)
            await self._connection.sleep(settings.audio_frame_ms / 1000 / settings.audio_speed)
        if transcripts and settings.profile == "vertex":
            await self._send_transcription({"finished": True})

    def _start_playback(self, seconds: float) -> None:
        length = seconds * self._settings.time_scale
        self._played_until = max(self._played_until, self._service.now()) + length

    @property
    def _playback_left(self) -> float:
        return (self._played_until - self._service.now()) / self._settings.time_scale

    async def _send_transcription(self, transcription: JsonObject) -> None:
        await self._send_content({"outputTranscription": transcription})

    async def _send_model_turn(self, part: JsonObject, *, is_audio: bool = False) -> None:
        turn: JsonObject = {"parts": [part]}
        if self._settings.profile == "vertex":
            turn = {"role": "model", **turn}
        await self._send_content({"modelTurn": turn}, is_audio=is_audio)

    async def _send_content(self, content: JsonObject, *, is_audio: bool = False) -> None:
        self._frames += 1
        await self._connection.send({"serverContent": content})
        await self._connection.happened("answer_frame", self._frames)
        if is_audio:
            await self._connection.happened("audio_frame", self._audio_frames)
        await self._handles.content_sent(self._frames)

    # --- transcriptions outside of an answer --------------------------------------------------------------------------

    async def transcribe_input(self, text: str) -> None:
        """Send the transcription of an utterance, word by word, before the answer."""
        for piece in split_text(text, max(len(text.split()), 1)):
            await self._connection.send({"serverContent": {"inputTranscription": {"text": piece}}})

    async def repeat_transcripts(self, which: Iterable[Literal["input", "output"]]) -> None:
        """Send the transcription of what was last heard, or said, again."""
        if "input" in which and (last := self._state.last_heard):
            await self.transcribe_input(last)
        said = [turn.text for turn in self._state.turns if turn.role == "model"] if "output" in which else []
        for piece in split_text(said[-1], self._settings.output_chunks) if said else []:
            await self._connection.send({"serverContent": {"outputTranscription": {"text": piece}}})
