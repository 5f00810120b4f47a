"""What was said on both sides, and what of it the service is known to remember.

`Conversation` owns the messages, the turns and the resume point. It applies RULES 1-14 and never
knows where the connection stands: the engine tells it about links, frames and losses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from resumekit.core import events
from resumekit.core.handles import Candidate, HandleRecord, ResumePoint
from resumekit.core.inbox import Inbox, Kind
from resumekit.core.link import Link
from resumekit.core.outbox import Message, Outbox
from resumekit.core.policy import Policy
from resumekit.core.setup import Setup, TextForm
from resumekit.core.speech import Speech
from resumekit.core.stats import Stats
from resumekit.core.transcript import Transcript
from resumekit.core.turns import Call, Turn
from resumekit.errors import BufferFull
from resumekit.wire import (
    INTERRUPTED_FRAME,
    TURN_COMPLETE_FRAME,
    ClientKind,
    ClientMessage,
    FunctionResponse,
    HistoryTurn,
    Partial,
    ResumptionHandle,
    ServerContent,
    ServerMessage,
    SessionResumptionUpdate,
    decode_client,
    decode_server,
    realtime_text_frame,
    tool_call_cancellation_frame,
    tool_call_frame,
    tool_response_frame,
    without_key,
)

__all__ = ["Conversation", "Resend"]

_CALLS_REMEMBERED = 1024
_IN_PROGRESS = "IN_PROGRESS"
_MEDIA = frozenset({ClientKind.AUDIO, ClientKind.VIDEO})
_MARKS = frozenset({ClientKind.ACTIVITY_START, ClientKind.ACTIVITY_END})
_SPEECH_BEGINS = frozenset({"ACTIVITY_START", "VAD_SIGNAL_TYPE_SOS"})
_NO_ANSWER = "this call was made before, by a turn that is over; its result is not on record"


class Resend(NamedTuple):
    """What a new connection is sent again."""

    messages: int
    audio: float
    """Seconds."""
    lost_audio: float
    """Seconds that nobody holds."""


class Conversation:
    """Messages, turns and the point that the service can resume from."""

    def __init__(
        self,
        policy: Policy,
        setup: Setup,
        *,
        transparent: bool,
        notify: Callable[[events.Event], None],
        save: Callable[[HandleRecord], None],
        stats: Stats,
    ) -> None:
        self._policy = policy
        self._setup = setup
        self._transparent = transparent
        self._notify = notify
        self._save = save
        self._stats = stats
        self.outbox = Outbox()
        self.inbox = Inbox(max_frames=policy.inbox_frames, max_bytes=policy.inbox_bytes)
        self.point = ResumePoint()
        self.transcript = Transcript(max_turns=policy.replay_turns, max_bytes=setup.replay_bytes(policy.replay_bytes))
        self.seeding = setup.seeds_history
        """The app's next content is history, up to its turn_complete."""
        self._speech = Speech(policy, self.outbox, setup.text_form)
        self._calls: dict[str, tuple[Turn, Call]] = {}
        """The newest tool calls that the app may answer, by id."""
        self.dropped_audio = 0.0
        self.dropped_audio_frames = 0
        self.dropped_video = 0

    # ------------------------------------------------------------------ the app sends

    def fits(self, body: ClientMessage) -> bool:
        """Whether a message can be buffered at all; of video only the newest frame is."""
        if body.kind is ClientKind.VIDEO:
            return True
        limit = self._policy.audio_bytes if body.kind is ClientKind.AUDIO else self._policy.control_bytes
        return body.size <= limit

    def has_room(self, body: ClientMessage) -> bool:
        """Whether a message can be taken now; media always can, as the oldest goes."""
        outbox = self.outbox
        return body.kind in _MEDIA or (
            outbox.waiting < self._policy.control_messages
            and outbox.waiting_bytes + body.size <= self._policy.control_bytes
        )

    def buffer_full(self, body: ClientMessage) -> BufferFull:
        """Return the error for a message that found no room."""
        outbox = self.outbox
        limit = "audio_bytes" if body.kind is ClientKind.AUDIO else "control_bytes"
        if self.fits(body) and outbox.waiting >= self._policy.control_messages:
            limit = "control_messages"
        return BufferFull(size=body.size, messages=outbox.waiting, waiting=outbox.waiting_bytes, limit=limit)

    def accept(self, body: ClientMessage) -> None:
        """Take a message of the app; `Engine.has_room` was asked before."""
        self._stats.messages_sent += 1
        if body.kind is ClientKind.TOOL_RESPONSE:
            turn, answer = self._answer(body)
            if answer is not None:
                self.outbox.add(answer).turn = turn
            else:
                self.outbox.next_number += 1
            return
        message = self.outbox.add(body)
        if body.kind is ClientKind.CONTENT and self.seeding:
            message.seeds = message.recorded = True
            self.transcript.add_message(body)
            self.seeding = not body.turn_complete
        elif body.kind is ClientKind.AUDIO:
            self._bound_waiting_audio()
        elif body.kind is ClientKind.VIDEO:
            while len(self.outbox.video.unsent) > 1:
                self.dropped_video += not self.outbox.video.drop_unsent().resent

    def _answer(self, body: ClientMessage) -> tuple[Turn | None, ClientMessage | None]:
        """Note the app's responses; leave out those whose call was cancelled."""
        turn: Turn | None = None
        kept: list[FunctionResponse] = []
        for response in body.responses:
            known = self._calls.get(response.id or "")
            if known is not None and known[1].cancelled:
                self._notify(events.ToolResponseDropped(call_id=response.id or "", name=response.name or ""))
                continue
            if known is not None:
                turn, call = known
                call.response = response
                turn.tools.append(f"[result of {call.name}: {_json(response.response)}]")
            kept.append(response)
        if len(kept) == len(body.responses):
            return turn, body
        return turn, decode_client(tool_response_frame(kept)) if kept else None

    def _bound_waiting_audio(self) -> None:
        lane = self.outbox.audio
        while lane.unsent_seconds > self._policy.audio_seconds or lane.unsent_bytes > self._policy.audio_bytes:
            self.dropped_audio += lane.drop_unsent().body.media_seconds
            self.dropped_audio_frames += 1

    def report_drops(self) -> bool:
        """Tell the app what was dropped since the last report; return whether there was anything."""
        if self.dropped_audio_frames:
            self._notify(events.AudioDropped(seconds=self.dropped_audio, frames=self.dropped_audio_frames))
            self._stats.audio_lost += self.dropped_audio
        if self.dropped_video:
            self._notify(events.VideoDropped(frames=self.dropped_video))
        reported = bool(self.dropped_audio_frames or self.dropped_video)
        self.dropped_audio = 0.0
        self.dropped_audio_frames = self.dropped_video = 0
        return reported

    # ------------------------------------------------------------------ to the wire

    def next_message(self, link: Link) -> Message | None:
        """Return what is to be sent next on `link`, in the app's order; None: nothing may go now."""
        first = self.outbox.first_unsent()
        if first is None or not (link.paced and self._starts_something(first.body)):
            return first
        for message in self.outbox.control.unsent:
            # RULES 8: a response whose call the service knows passes those that wait.
            if message.body.kind is ClientKind.TOOL_RESPONSE:
                return message
        return None

    @staticmethod
    def _starts_something(body: ClientMessage) -> bool:
        """Whether a message is, or begins, a question; audio may be one."""
        return body.kind not in (ClientKind.TOOL_RESPONSE, ClientKind.OTHER) and not (
            body.kind is ClientKind.CONTENT and not body.turn_complete
        )

    def mark_sent(self, link: Link, message: Message) -> str:
        """Note that a message goes out on `link` now; return its frame."""
        body = message.body
        index = link.next_index
        link.next_index += 1
        self.outbox.mark_sent(message, index)
        if body.kind is ClientKind.AUDIO:
            link.audio_since_turn = True
            self._bound_sent_audio()
            return body.frame
        if body.kind is ClientKind.VIDEO:
            return body.frame
        link.last_control_index = index
        if body.kind in _MARKS:
            link.activity_open = body.kind is ClientKind.ACTIVITY_START
            link.mark_index = index
        if message.seeds:
            link.floor_index = index
        elif self._asks(body, link):
            self._ask(link, message)
        elif body.kind is ClientKind.TOOL_RESPONSE and message.turn is not None:
            message.turn.last_index = index
        self._bound_sent_control(link)
        if link.content_as_text and body.kind is ClientKind.CONTENT and not message.seeds:
            return realtime_text_frame(body.text or "")
        return body.frame

    def _asks(self, body: ClientMessage, link: Link) -> bool:
        """Whether the service answers this message with a turn."""
        if body.kind is ClientKind.CONTENT:
            return body.turn_complete
        if body.kind is ClientKind.TEXT:
            return not link.activity_open
        # A proactive model may stay silent on speech: its turns are opened by their first output.
        return body.kind is ClientKind.ACTIVITY_END and not self._setup.proactive

    def _ask(self, link: Link, message: Message) -> None:
        turn = message.turn
        if turn is None:
            turn = message.turn = self._speech.end(link) if message.body.kind is ClientKind.ACTIVITY_END else Turn()
            turn.number = message.number
        turn.asked_index = turn.last_index = message.index
        turn.resent = message.resent
        turn.seen = False
        if turn not in link.turns:
            link.turns.append(turn)

    def _bound_sent_audio(self) -> None:
        """RULES 10: handle-only mode keeps `audio_resend` seconds, transparent mode the buffer."""
        limit = self._policy.audio_seconds if self._transparent else self._policy.audio_resend
        self.outbox.bound_sent_audio(limit)

    def _bound_sent_control(self, link: Link) -> None:
        """RULES 11: where no handle comes for too long, the oldest turns go and the base is void."""
        lane = self.outbox.control
        policy = self._policy
        if len(lane.sent) <= policy.control_messages and lane.sent_bytes <= policy.control_bytes:
            return
        dropped = 0
        needed = link.mark_index if link.activity_open else 0
        while lane.sent and lane.sent[0].index != needed and lane.sent[0].turn not in link.turns:
            self._record(lane.drop_sent())
            dropped += 1
            if len(lane.sent) <= policy.control_messages // 2 and lane.sent_bytes <= policy.control_bytes // 2:
                break
        if dropped and self.point.base is not None:
            self._notify(events.ResumePointDropped(messages=dropped))
        if dropped:
            self.point.clear()

    # ------------------------------------------------------------------ from the wire

    def receive(self, link: Link, message: ServerMessage, now: float) -> bool:
        """Take a frame of the service; return whether a turn ended."""
        content = message.server_content
        ended = False
        if content is not None or message.tool_call is not None or message.tool_call_cancellation is not None:
            ended = self._receive_content(link, message, content, now)
        else:
            self._show(message)
        signals = message.voice_activity, message.voice_activity_detection_signal
        for kind in (signals[0] and signals[0].voice_activity_type, signals[1] and signals[1].vad_signal_type):
            if kind:
                link.speaking = kind in _SPEECH_BEGINS
        if message.session_resumption_update is not None:
            self._receive_update(link, message.session_resumption_update, now)
        return ended

    def _receive_content(self, link: Link, message: ServerMessage, content: ServerContent | None, now: float) -> bool:
        output = message.tool_call is not None
        ended = interrupted = heard = False
        if content is not None:
            ended = bool(content.turn_complete) and content.interaction_status != _IN_PROGRESS
            interrupted = bool(content.interrupted)
            heard = content.input_transcription is not None
            output = output or content.model_turn is not None or content.output_transcription is not None
            # Where only the control fields could be read, the rest is taken for output.
            output = output or (message.partial is not Partial.FULL and not (ended or interrupted or heard))
        turn = self._speech.listener(link) if heard and not (output or ended) else (link.turns or [None])[0]
        if turn is None and (output or heard):
            turn = self._open_spoken(link)
        asker = turn or self._speech.cut
        if asker is not None and not asker.shadow:
            kept, repeats = asker.question.filter(message)
            self._stats.transcriptions_suppressed += repeats
            if kept is None:
                return False
            message = kept
        if turn is None:
            self._show(message)
            return ended
        if output and not turn.seen:
            turn.seen = True
            if not turn.shadow:
                # An activity ends with its mark, wherever the answer begins.
                turn.border = turn.asked_index + 1 if turn.by_voice and turn.asked_index else link.next_index
                self.outbox.set_border(turn.border)
            link.speaking = False
        if content is not None and not turn.shadow:
            _note_words(turn, content)
        shown: ServerMessage | None = message
        calls: tuple[Call, ...] = ()
        if message.tool_call is not None:
            shown, calls = self._receive_calls(turn, message)
        if shown is not None and message.tool_call_cancellation is not None:
            cancelled = message.tool_call_cancellation.ids or []
            shown = self._receive_cancellation(link, shown, cancelled)
            calls = tuple(self._calls[call_id][1] for call_id in cancelled if call_id in self._calls)
        if turn.shadow:
            turn.discarded += 1
        elif shown is not None:
            kind = Kind.OUTPUT if output and not (ended or interrupted) else Kind.KEEP
            self._show(shown, kind, turn, calls)
        if ended:
            self._end_turn(link, now)
        return ended

    def _open_spoken(self, link: Link) -> Turn:
        """The service answers what it heard, or speaks by itself."""
        turn = self._speech.open()
        turn.resent = False
        link.turns.append(turn)
        self.promote(link)
        self.point.ageing = None
        return turn

    def _receive_calls(self, turn: Turn, message: ServerMessage) -> tuple[ServerMessage | None, tuple[Call, ...]]:
        """Answer what is on record; return what the app must see of the frame, and its calls."""
        assert message.tool_call is not None
        requests = message.tool_call.function_calls or []
        visible: list[tuple[int, Call]] = []
        answers: list[FunctionResponse] = []
        for position, request in enumerate(requests):
            call = turn.issue(request)
            if not turn.shadow:
                turn.tools.append(f"[called {call.name}: {_json(request.args or {})}]")
            earlier = turn.recall(call.key)
            if earlier is not None and earlier.response is not None:
                call.origin = earlier.origin or earlier.id
                answers.append(_addressed(earlier.response, call))
                call.response = answers[-1]
                if not turn.shadow:
                    turn.tools.append(f"[result of {call.name}: {_json(earlier.response.response)}]")
                self._notify(events.ToolCallAnswered(name=call.name, by="record"))
            elif turn.shadow:
                answers.append(_addressed(FunctionResponse(response={"error": _NO_ANSWER}), call))
                call.cancelled = True
                self._notify(events.ToolCallAnswered(name=call.name, by="error"))
            else:
                visible.append((position, call))
                self._calls[call.id] = (turn, call)
                if len(self._calls) > _CALLS_REMEMBERED:
                    del self._calls[next(iter(self._calls))]
        if answers:
            self.outbox.add_own(decode_client(tool_response_frame(answers))).turn = turn
        calls = tuple(call for _, call in visible)
        if len(visible) == len(requests):
            return message, calls
        rest: ServerMessage | None = None
        if visible:
            rest = decode_server(tool_call_frame([requests[position] for position, _ in visible]))
        elif message.server_content is not None:
            rest = decode_server(without_key(message.raw, "tool_call"))
        return rest, calls

    def _receive_cancellation(self, link: Link, message: ServerMessage, ids: list[str]) -> ServerMessage | None:
        """Note it; return what the app must see: it knows nothing of calls that the engine answered."""
        for call_id in ids:
            if call_id in self._calls:
                self._calls[call_id][1].cancelled = True
        unseen = {
            call_id: call for turn in link.turns for call_id, call in turn.calls.items() if call_id not in self._calls
        }
        for call in map(unseen.get, ids):
            if call is not None and call.response is not None:
                self._notify(events.ToolResponseDropped(call_id=call.origin, name=call.name))
        seen = [call_id for call_id in ids if call_id not in unseen]
        if len(seen) == len(ids):
            return message
        if seen:
            return decode_server(tool_call_cancellation_frame(seen))
        rest = without_key(message.raw, "tool_call_cancellation")
        return decode_server(rest) if rest != b"{}" else None

    def _end_turn(self, link: Link, now: float) -> None:
        turn = link.turns.popleft()
        self._speech.cut = None
        link.turn_end_index = max(link.last_control_index, turn.speech_end if turn.by_voice else 0)
        link.turn_end_last_index = link.next_index - 1
        link.turn_end_at = now
        link.audio_since_turn = False
        link.covered_index = max(link.covered_index, turn.covers)
        link.ended.append(turn)
        self._drop_answers(turn)
        if turn.shadow:
            self._stats.turns_shadowed += 1
            self._notify(events.TurnShadowed(message=turn.number or None, discarded_frames=turn.discarded))
            return
        turn.completed = True
        # In transparent mode the closing handle tells how much of it the service holds (RULES 10).
        turn.audio = 0.0 if self._transparent else self.outbox.clear_border()
        self._stats.turns += 1
        for message in self.outbox.control.sent:
            if message.index > turn.covers or (message.turn is not None and not message.turn.completed):
                break  # an open question is not history, nor is what stands behind it
            self._record(message)
        self.transcript.add_answer(turn)

    def _drop_answers(self, turn: Turn) -> None:
        """Report the app's responses that no repeated call has asked for."""
        for call in turn.answers:
            self._notify(events.ToolResponseDropped(call_id=call.origin or call.id, name=call.name))
        turn.answers.clear()

    def _record(self, message: Message) -> None:
        if not message.recorded:
            message.recorded = True
            self.transcript.add_message(message.body)

    def _show(
        self, message: ServerMessage, kind: Kind = Kind.KEEP, turn: Turn | None = None, calls: tuple[Call, ...] = ()
    ) -> None:
        """Put a frame before the app, without what is none of its business (DESIGN section 5)."""
        update = message.session_resumption_update
        hidden: list[str] = []
        if message.go_away is not None and not self._policy.deliver_go_away:
            hidden.append("go_away")
        if update is not None and (update.handle is None or not update.resumable):
            hidden.append("session_resumption_update")
        if message.setup_complete is not None:
            hidden.append("setup_complete")
        if hidden:
            raw = message.raw
            for key in hidden:
                raw = without_key(raw, key)
            if raw == b"{}":
                return
            message = decode_server(raw)
        self.inbox.put(message, kind, turn, calls)

    # ------------------------------------------------------------------ the resume point

    def _receive_update(self, link: Link, update: SessionResumptionUpdate, now: float) -> None:
        """RULES 1, 3, 14: a record becomes the base only if its state is known to be quiet."""
        if update.handle is None or not update.resumable:
            return
        self._notify(events.HandleReceived(connection=link.number, digest=repr(update.handle), index=update.index))
        record = self.record(update.handle, update.index, link.number, now)
        if link.turns or link.activity_open or not self._covers_enough(link, record):
            return
        candidate = Candidate(record, link.next_index)
        if link.audio_since_turn and not link.ended:
            self.promote(link)
            self.point.age(candidate)
        else:
            self._adopt(link, candidate)

    def record(self, handle: ResumptionHandle, index: int | None, connection: int, now: float) -> HandleRecord:
        """Return a record of a handle of this conversation."""
        return HandleRecord(
            handle=handle,
            index=index,
            connection=connection,
            received_at=now,
            model=self._setup.model,
            transparent=self._transparent,
            fingerprint=self._setup.fingerprint,
        )

    def _covers_enough(self, link: Link, record: HandleRecord) -> bool:
        if not self._transparent:
            return not link.floor_index or link.turn_end_at is not None
        index = record.index or 0
        base = self.point.base
        lesser = base is not None and base.connection == link.number and index < (base.index or 0)
        return index >= max(link.turn_end_index, link.mark_index, link.floor_index) and not lesser

    def _adopt(self, link: Link, candidate: Candidate) -> None:
        record = candidate.record
        self.point.adopt(record)
        covered = (record.index or 0) if self._transparent else link.covered_index
        pruned = self.outbox.control.prune(covered)
        if self._transparent:
            self.outbox.prune_audio(covered)
        else:
            # What was sent since the turn ended may not be in the handle's state, whenever it came.
            self.outbox.prune_audio(link.turn_end_last_index)
            for message in self.outbox.control.sent:
                message.doubtful = message.index < candidate.next_index
        for message in pruned:
            self._record(message)
        link.ended.clear()
        self._save(record)

    def promote(self, link: Link) -> None:
        """Make the ageing record the base if no turn opened for long enough (RULES 3).

        Only the time up to the last byte counts: what a silent connection holds back is unknown.
        """
        candidate = self.point.mature(link.last_byte, self._policy.audio_resend)
        if candidate is not None:
            self._adopt(link, candidate)

    # ------------------------------------------------------------------ a connection is gone

    def connection_gone(self, link: Link) -> None:
        """RULES 4, 6, 9, 10: cut what was open, and make everything wait that `base` does not hold."""
        self.promote(link)
        self.point.ageing = None
        rerun = {*link.turns, *link.ended}
        # Calls belong to the state that issued them: their responses are kept as records.
        stale = {
            message
            for message in (*self.outbox.control.sent, *self.outbox.control.unsent)
            if message.body.kind is ClientKind.TOOL_RESPONSE and (message.turn in rerun or message.index)
        }
        for message in stale:
            if message.turn is None and message.index:  # its call was unknown, so it may be why the service closed
                for response in message.body.responses:
                    self._notify(events.ToolResponseDropped(call_id=response.id or "", name=response.name or ""))
        for turn in link.ended:
            stale |= self._forget(turn)
            turn.restart()
        for turn in link.turns:
            stale |= self._cut(turn)
        self.outbox.remove(stale)
        self.outbox.rewind()
        link.turns.clear()
        link.ended.clear()

    def _forget(self, turn: Turn) -> set[Message]:
        """RULES 10: the audio of an answered turn is not resent; nor are its activity marks."""
        audio = turn.audio + self.outbox.prune_border(turn.border - 1)
        if not turn.by_voice:
            self.outbox.lost_seconds += audio
            return set()
        if audio:
            self._notify(events.TurnForgotten(audio=audio))
        return self._speech.spoken_until(turn.speech_end)

    def _cut(self, turn: Turn) -> set[Message]:
        """Tell the app what became of a turn; return the messages that are not to be resent.

        A turn of which nothing came counts as not begun: asking again costs no generation.
        """
        if turn.shadow:
            turn.restart()
            return set()
        turn.discarded = self.inbox.discard(turn)
        shown, turn.shown = turn.shown, False
        end, begun = turn.speech_end, turn.seen
        cancelled = turn.restart()
        answerable = turn.number is not None or bool(self.outbox.audio.sent or self.outbox.before_border)
        answerable = answerable or self._speech.has_words(turn, begun=begun)
        spent = self._policy.cut_turn == "settle" or turn.reanswers >= self._policy.max_reanswers_per_turn
        settled = not answerable or (begun and spent)
        if cancelled:
            self._inject(tool_call_cancellation_frame([call.id for call in cancelled]))
        if shown:
            self._inject(INTERRUPTED_FRAME)
        if settled:
            if answerable or shown:
                self._inject(TURN_COMPLETE_FRAME)
            self._drop_answers(turn)
            self._stats.turns_settled += 1
            self._notify(events.TurnSettled(message=turn.number or None, reanswers=turn.reanswers))
            return self._unask(turn, end)
        resent_as = self._speech.resend(turn, end, begun=begun)
        if begun or resent_as == "transcript":
            self._notify(
                events.TurnCut(
                    message=turn.number or None,
                    shown=shown,
                    reanswers=turn.reanswers,
                    discarded_frames=turn.discarded,
                    resent_as=resent_as,
                )
            )
        turn.reanswers += begun
        self._stats.turns_reanswered += begun
        if turn.number is None:
            self._speech.cut = turn
        return set()

    def _unask(self, turn: Turn, end: int) -> set[Message]:
        """RULES 6: the question of a settled turn is not kept."""
        asked = {message for message in self.outbox.control.sent if message.turn is turn}
        if not turn.by_voice:
            return asked
        self.outbox.prune_audio(end)
        return asked | self._speech.spoken_until(end)

    def _inject(self, frame: bytes) -> None:
        self.inbox.put(decode_server(frame))

    # ------------------------------------------------------------------ a new connection

    def resend(self, link: Link) -> Resend:
        """Return what is about to be sent again on a new connection; name what may be repeated by it (RULES 14)."""
        again = [message for message in self.outbox.control.unsent if message.resent and message.number]
        doubtful = tuple(message.number for message in again if message.doubtful)
        if doubtful and link.record is not None:
            self._notify(events.MessagesRepeated(messages=doubtful))
        audio = sum(message.body.media_seconds for message in self.outbox.audio.unsent if message.resent)
        lost, self.outbox.lost_seconds = self.outbox.lost_seconds, 0.0
        self._stats.messages_resent += len(again)
        self._stats.audio_resent += audio
        self._stats.audio_lost += lost
        return Resend(len(again), audio, lost)

    def start_fresh(self, link: Link, history: Sequence[HistoryTurn] | None) -> tuple[list[HistoryTurn], int]:
        """Give up the resume point; return what is replayed, and how many turns have no words.

        What stands in the replayed turns is not sent again; open questions stay and go live.
        """
        self.point.clear()
        waiting = self.outbox.control.unsent
        if history is not None:
            self.transcript.replace(history)
        self.outbox.remove({message for message in waiting if message.recorded})
        turns = self.transcript.turns()
        asked = {message.body.text for message in waiting if message.body.text}
        while turns and turns[-1].role == "user" and turns[-1].text in asked:
            turns.pop()
            self.transcript.replace(turns)
        link.content_as_text = bool(turns) and self._setup.text_form is TextForm.REALTIME
        if link.content_as_text:
            turns += self._leading_context()
        return turns, self.transcript.holes

    def _leading_context(self) -> list[HistoryTurn]:
        """Context that precedes the first question: after a replay the model takes it no other way."""
        moved: list[Message] = []
        for message in self.outbox.control.unsent:
            if message.body.kind is not ClientKind.CONTENT or message.body.turn_complete:
                break
            moved.append(message)
        for message in moved:
            self._record(message)
        self.outbox.remove(set(moved))
        return [turn for message in moved for turn in message.body.turns if turn.text]


def _addressed(response: FunctionResponse, call: Call) -> FunctionResponse:
    """Return a response as the answer to another call of the same function."""
    return msgspec.structs.replace(response, id=call.id, name=call.name)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _note_words(turn: Turn, content: ServerContent) -> None:
    if content.output_transcription is not None and content.output_transcription.text:
        turn.spoken.append(content.output_transcription.text)
    if content.model_turn is not None:
        for part in content.model_turn.parts or ():
            if part.text and not part.thought:
                turn.written.append(part.text)
