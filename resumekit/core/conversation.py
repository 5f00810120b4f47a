"""What was said on both sides, and what of it the service is known to remember.

`Conversation` owns the messages, the turns and the resume point. It applies RULES 1-14 and never
knows where the connection stands: the engine tells it about links, frames and losses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from resumekit.core import events
from resumekit.core.handles import HandleRecord
from resumekit.core.inbox import Inbox, Kind
from resumekit.core.link import Link
from resumekit.core.outbox import Message, Outbox
from resumekit.core.policy import Policy
from resumekit.core.resume_point import ResumePoint
from resumekit.core.room import Room
from resumekit.core.setup import Setup, TextForm
from resumekit.core.speech import Speech
from resumekit.core.stats import Counters
from resumekit.core.tools import Tools
from resumekit.core.transcript import Transcript
from resumekit.core.turns import Call, Turn, keep
from resumekit.wire import (
    INTERRUPTED_FRAME,
    TURN_COMPLETE_FRAME,
    ClientKind,
    ClientMessage,
    Cut,
    HistoryTurn,
    ServerContent,
    ServerMessage,
    SessionResumptionUpdate,
    decode_server,
    realtime_text_frame,
    tool_call_cancellation_frame,
    without_key,
)

__all__ = ["Conversation", "Resend"]

_IN_PROGRESS = "IN_PROGRESS"
_MARKS = (ClientKind.ACTIVITY_START, ClientKind.ACTIVITY_END)
_SPEECH_BEGINS = frozenset({"ACTIVITY_START", "VAD_SIGNAL_TYPE_SOS"})


class Resend(Struct, frozen=True):
    """What a new connection is sent again."""

    messages: int
    audio: float
    """Seconds."""
    lost_audio: float
    """Seconds that nobody holds."""


class Conversation:
    """Messages, turns and the point that the service can resume from."""

    __slots__ = (
        "_notify",
        "_policy",
        "_setup",
        "_speech",
        "_split",
        "_stats",
        "_tools",
        "_transparent",
        "inbox",
        "outbox",
        "point",
        "room",
        "seeding",
        "transcript",
    )

    def __init__(
        self,
        policy: Policy,
        setup: Setup,
        *,
        transparent: bool,
        notify: Callable[[events.Event], None],
        save: Callable[[HandleRecord], None],
        stats: Counters,
    ) -> None:
        self._policy = policy
        self._setup = setup
        self._transparent = transparent
        self._notify = notify
        self._stats = stats
        held = transparent and policy.handles_hold_audio
        # RULES 10: handle-only mode keeps `audio_resend` seconds, transparent mode the buffer.
        self.outbox = Outbox(policy.audio_seconds if held else policy.audio_resend)
        self.room = Room(policy, self.outbox, notify=notify, stats=stats)
        self.inbox = Inbox(max_frames=policy.inbox_frames, max_bytes=policy.inbox_bytes)
        self.point = ResumePoint(
            policy, setup, self.outbox, transparent=transparent, notify=notify, save=save, keep_words=self._record
        )
        self.transcript = Transcript(max_turns=policy.replay_turns, max_bytes=setup.replay_bytes(policy.replay_bytes))
        self._split = setup.family.splits_turns if policy.tool_turns == "auto" else policy.tool_turns == "split"
        """A turn may end with its tool calls, or right after their responses."""
        self.seeding = setup.seeds_history
        """The app's next content is history, up to its turn_complete."""
        self._speech = Speech(policy, self.outbox, setup.text_form)
        self._tools = Tools(notify, setup.background_tools)

    # ------------------------------------------------------------------ the app sends

    def accept(self, body: ClientMessage) -> None:
        """Take a message of the app; `Room.has_room` was asked before."""
        self._stats.messages_sent += 1
        if body.kind is ClientKind.TOOL_RESPONSE:
            answer = self._tools.respond(body, self.outbox.next_seq)
            if answer.message is not None:
                response = self.outbox.add(answer.message)
                response.turn, response.background = answer.turn, answer.background
            else:
                self.outbox.skip()
            return
        message = self.outbox.add(body)
        if body.kind is ClientKind.CONTENT and self.seeding:
            message.seeds = message.recorded = True
            self.transcript.add_message(body)
            self.seeding = not body.turn_complete
        elif body.kind is ClientKind.AUDIO:
            if self.room.bound_audio() and self._speech.cut is not None:
                self._speech.cut.question.clipped = True
        elif body.kind is ClientKind.VIDEO:
            self.room.bound_video()

    # ------------------------------------------------------------------ to the wire

    def next_message(self, link: Link) -> Message | None:
        """Return what is to be sent next on `link`, in the app's order; None: nothing may go now."""
        first = self.outbox.first_unsent()
        if first is None:
            return None
        held_from = link.held_from
        waits = (
            (held_from is not None and first.seq > held_from)
            or (self._paces(link) and self._starts_something(first.body))
            or (link.owed is not None and link.owed_wait != "over" and self._asks(first.body, link))
        )
        if not waits:
            return first
        for message in self.outbox.control.unsent:
            # RULES 8: a response whose call the service knows passes those that wait, if the model waits for it.
            if message.body.kind is ClientKind.TOOL_RESPONSE and message.background is None:
                return message
        return None

    def _paces(self, link: Link) -> bool:
        """Whether questions wait for answers; of a proactive model nobody knows whether there will be one."""
        return not self._setup.proactive and link.paced(split=self._split)

    def holds_back(self, link: Link) -> bool:
        """Whether a question waits for the answer to one that was sent again."""
        first = self.outbox.first_unsent()
        return first is not None and self._starts_something(first.body) and self._paces(link)

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
            link.audio_from = link.audio_from or index
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
            message.turn.respond(body.responses)
        self.point.bound_sent_control(link)
        if link.content_as_text and body.kind is ClientKind.CONTENT and not message.seeds:
            return realtime_text_frame(body.text or "")
        return body.frame

    def may_stream(self, link: Link) -> bool:
        """Whether audio would go out at once, and nothing else come of it."""
        return self.outbox.first_unsent() is None and link.held_from is None and not self._paces(link)

    def stream(self, link: Link, body: ClientMessage) -> None:
        """Note audio that went out at once."""
        self._stats.messages_sent += 1
        index = link.next_index
        link.next_index = index + 1
        link.audio_since_turn = True
        link.audio_from = link.audio_from or index
        self.outbox.stream(body, index)

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
        self.close_owed(link)
        turn.asked_index = turn.last_index = message.index
        turn.resent = message.resent
        if turn not in link.turns:
            link.turns += (turn,)

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

    def _receive_update(self, link: Link, update: SessionResumptionUpdate, now: float) -> None:
        candidate = self.point.candidate(link, update, now)
        if candidate is None:
            return
        if link.owed is None:
            self.point.offer(link, candidate)
            return
        link.postponed = candidate
        if not self._transparent:  # that backend sends handles only where nothing is under way
            self.close_owed(link)

    def _receive_content(self, link: Link, message: ServerMessage, content: ServerContent | None, now: float) -> bool:
        output = message.tool_call is not None
        ended = interrupted = heard = False
        if content is not None:
            ended = bool(content.turn_complete) and content.interaction_status != _IN_PROGRESS
            interrupted = bool(content.interrupted)
            heard = content.input_transcription is not None
            output = output or _has_output(content)
            # Where only the control fields could be read, the rest is taken for output.
            output = output or (message.partial and not (ended or interrupted or heard))
        turn = self._speech.listener(link) if heard and not (output or ended) else link.answering
        if output and turn is not None and turn.dangling:
            turn = self._close_dangling(link)
        if turn is None and (output or heard):
            turn = self._open_spoken(link)
        asker = turn or self._speech.cut
        if asker is not None and not asker.whole:
            kept, repeats = asker.question.filter(message)
            self._stats.transcriptions_suppressed += repeats
            if kept is None:
                return False
            message = kept
        if turn is None:
            self._show(message)
            return ended
        if output:
            self._note_output(link, turn)
        if interrupted:
            turn.replied = False
        if content is not None and not turn.whole:
            _note_words(turn, content)
        shown: ServerMessage | None = message
        calls: tuple[Call, ...] = ()
        if message.tool_call is not None:
            issued = self._tools.issue(turn, message)
            shown, calls = issued.shown, issued.calls
            for position, response in issued.background:
                self.outbox.insert(response, position).background = turn
            if issued.answer is not None:
                self.outbox.add_own(issued.answer).turn = turn
        if shown is not None and message.tool_call_cancellation is not None:
            shown, calls = self._tools.cancel(link.turns, shown)
        last = ended and not (turn.pending or (turn.replied and self._split))
        if last:
            self._give_up_calls(turn)
        if shown is not None:
            kind = Kind.OUTPUT if output and not (ended or interrupted) else Kind.KEEP
            if turn.shadow:
                self._hide(turn, shown, kind, calls, last=last)
            else:
                self._show(shown, kind, turn, calls)
        if ended:
            self._end_part(link, turn, now, last=last)
        return ended

    def _note_output(self, link: Link, turn: Turn) -> None:
        turn.seen = True
        turn.replied = False
        if link.owed is turn:
            link.owed = None
        if not turn.begun:
            turn.begun = True
            if not turn.whole:
                # An activity ends with its mark, wherever the answer begins.
                turn.border = turn.asked_index + 1 if turn.by_voice and turn.asked_index else link.next_index
                self.outbox.set_border(turn.border)
        link.speaking = False

    def _hide(self, turn: Turn, message: ServerMessage, kind: Kind, calls: tuple[Call, ...], *, last: bool) -> None:
        """Keep a frame of a part that the app already has from it (RULES 5).

        A part that is repeated may turn out to be the one that the app still waits for: the model
        answers at once what it called a tool for before. So its output is held until its nature shows.
        """
        if turn.whole:
            turn.discarded += 1
        elif calls:
            turn.held.clear()
            message.cut = Cut.UNSEEN
            self._show(message, kind, turn, calls)
        elif last:
            for held in turn.held:
                self._show(held, Kind.OUTPUT, turn)
            self._show(message, kind, turn)
        else:
            turn.held.append(message)

    def _open_spoken(self, link: Link) -> Turn:
        """The service answers what it heard, or speaks by itself."""
        if link.mute_reply and not link.audio_since_turn:
            self._see_split()
        turn = self._speech.open(link)
        turn.resent = False
        link.turns += (turn,)
        self.point.promote(link)
        self.point.ageing = None
        return turn

    def _end_part(self, link: Link, turn: Turn, now: float, *, last: bool) -> None:
        if 0 < link.audio_from < turn.asked_index:
            self._speech.cut = None  # what was resent of it triggered nothing, and the service is beyond it
        link.turn_end_index = max(link.last_control_index, turn.speech_end if turn.by_voice else 0)
        link.turn_end_last_index = link.next_index - 1
        link.turn_end_at = now
        link.audio_since_turn = False
        link.mute_reply = turn.replied
        turn.end_part()
        if last:
            self._end_turn(link, turn)
        elif turn.pending:
            self._see_split()
        else:
            link.owed = turn

    def _see_split(self) -> None:
        """Whatever the model's name says: it answered tool responses in a turn of its own."""
        if self._policy.tool_turns == "auto":
            self._split = True

    def close_owed(self, link: Link) -> None:
        """End the turn whose next part did not come: the model had nothing to say to the tool responses."""
        turn, link.owed = link.owed, None
        if turn is None:
            return
        self._give_up_calls(turn)
        self._end_turn(link, turn)
        candidate, link.postponed = link.postponed, None
        if candidate is not None:
            self.point.offer(link, candidate)

    def _close_dangling(self, link: Link) -> Turn | None:
        """End turns whose calls were all cancelled between two parts: what comes now is that of the one returned."""
        while (turn := link.answering) is not None and turn.dangling and turn is not link.owed:
            self._give_up_calls(turn)
            self._end_turn(link, turn)
        return turn

    def _end_turn(self, link: Link, turn: Turn) -> None:
        link.turns = tuple(other for other in link.turns if other is not turn)
        if link.owed is turn:
            link.owed = None
        link.covered_index = max(link.covered_index, turn.covers)
        link.ended += (turn,)
        if turn.whole:
            self._stats.turns_shadowed += 1
            self._notify(events.TurnShadowed(message=turn.number or None, discarded_frames=turn.discarded))
            return
        turn.whole = True
        turn.audio = 0.0
        if turn.by_voice or not self._transparent:
            # It is never sent again: what is said next needs its room, and no handle covers half of it (RULES 1, 10).
            turn.audio = self.outbox.clear_border()
        else:
            self.outbox.lift_border()  # how much of it the closing handle covers, the handle tells
        self._stats.turns += 1
        for message in self.outbox.control.sent:
            if message.index > turn.covers or (message.turn is not None and not message.turn.whole):
                break  # an open question is not history, nor is what stands behind it
            self._record(message)
        self.transcript.add_answer(turn)
        turn.spoken.clear()  # with its calls a turn is remembered for long
        turn.written.clear()
        self.point.bound_ended(link)

    def _give_up_calls(self, turn: Turn) -> None:
        """RULES 8: calls that the repeated turn did not make again are over, and the app hears of it before its end."""
        running = self._tools.give_up(turn)
        if running:
            self._inject(tool_call_cancellation_frame([call.app_id for call in running]))

    def _record(self, message: Message) -> None:
        if not message.recorded:
            message.recorded = True
            self.transcript.add_message(message.body)

    def _show(
        self, message: ServerMessage, kind: Kind = Kind.KEEP, turn: Turn | None = None, calls: tuple[Call, ...] = ()
    ) -> None:
        """Put a frame before the app, without what is none of its business."""
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

    def open_answer(self, link: Link) -> Turn | None:
        """Return the turn to which one more piece of media would be added, and nothing else would come of it."""
        turn = link.answering
        if turn is None or not turn.seen or turn.replied or turn.shadow or link.speaking:
            return None
        return turn if self.outbox.first_unsent() is None else None

    # ------------------------------------------------------------------ a connection is gone

    def connection_gone(self, link: Link, *, settle: bool = False) -> None:
        """RULES 4, 6, 9, 10: cut what was open, and make everything wait that `base` does not hold.

        Args:
            link: The connection that is gone.
            settle: Answers that had begun are ended rather than given again.
        """
        self.point.promote(link)
        self.point.ageing = None
        rerun = {*link.turns, *link.ended}
        # Calls belong to the state that issued them: their responses are kept as records.
        void = [
            message
            for message in (*self.outbox.control.sent, *self.outbox.control.unsent)
            if message.body.kind is ClientKind.TOOL_RESPONSE and _is_void(message, rerun)
        ]
        for message in void:
            # Its call was unknown, so it may be why the service closed.
            if message.index and message.turn is None and message.background is None:
                for response in message.body.responses:
                    self._notify(events.ToolResponseDropped(call_id=response.id or "", name=response.name or ""))
        stale = set(void)
        for turn in link.ended:
            stale |= self._forget(turn)
            turn.restart(rebind=True)
        for turn in link.turns:
            stale |= self._cut(turn, settle=settle or self._policy.cut_turn == "settle")
        self.outbox.remove(stale)
        self.outbox.rewind()
        link.turns = link.ended = ()
        self.point.bound_shadows()

    def _forget(self, turn: Turn) -> set[Message]:
        """RULES 10: the audio of an answered turn is not resent; nor are its activity marks."""
        audio = turn.audio + self.outbox.forget_audio(turn.border - 1)
        if not turn.by_voice:
            self.outbox.lost_seconds += audio
            return set()
        if audio:
            self._notify(events.TurnForgotten(audio=audio))
        return self._speech.spoken_until(turn.speech_end)

    def _cut(self, turn: Turn, *, settle: bool) -> set[Message]:
        """Tell the app what became of a turn; return the messages that are not to be resent.

        A turn of which nothing came counts as not begun: asking again costs no generation.
        """
        if turn.whole:
            turn.restart(rebind=True)
            return set()
        turn.discarded = self.inbox.discard(turn)
        shown, turn.shown = turn.shown, False
        end, begun = turn.speech_end, turn.begun
        counts = turn.seen and not turn.shadow
        answerable = turn.number is not None or self.outbox.holds_sent_audio
        # A state that may hold the beginning of the speech takes the rest of it only, not its words.
        words = not (self.point.aged and turn.number is None) and self._speech.has_words(turn, end, begun=begun)
        answerable = answerable or words
        spent = settle or turn.reanswers >= self._policy.max_reanswers_per_turn
        settled = not answerable or (counts and spent)
        cancelled = turn.restart(rebind=self._policy.rebind_tools)
        if settled:
            cancelled += self._tools.give_up(turn)
        if cancelled:
            self._inject(tool_call_cancellation_frame([call.app_id for call in cancelled]))
        if shown:
            cut = Cut.SETTLED if settled else Cut.REANSWERED
            self._inject(INTERRUPTED_FRAME, cut)
            if not settled and self._policy.reanswer_in == "new_turn":
                self._inject(TURN_COMPLETE_FRAME, cut)
        if settled:
            if answerable or shown or cancelled:
                self._inject(TURN_COMPLETE_FRAME, Cut.SETTLED)
            self._stats.turns_settled += 1
            self._notify(events.TurnSettled(message=turn.number or None, reanswers=turn.reanswers))
            return self._unask(turn, end)
        resent_as = self._speech.resend(turn, end, words=words)
        if counts or resent_as == "transcript":
            self._notify(
                events.TurnCut(
                    message=turn.number or None,
                    shown=shown,
                    reanswers=turn.reanswers,
                    discarded_frames=turn.discarded,
                    resent_as=resent_as,
                )
            )
        turn.reanswers += counts
        self._stats.turns_reanswered += counts
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

    def _inject(self, frame: bytes, cut: Cut | None = None) -> None:
        message = decode_server(frame)
        message.cut = cut
        self.inbox.put(message)

    # ------------------------------------------------------------------ a new connection

    @property
    def owes_speech(self) -> bool:
        """Whether a spoken question was asked again, as a whole, that the service has said nothing to."""
        return self._speech.cut is not None and not self._speech.cut.question.clipped

    def resend(self, link: Link) -> Resend:
        """Return what is about to be sent again on a new connection; name what may be repeated by it (RULES 14)."""
        again = [message for message in self.outbox.control.unsent if message.resent and message.number]
        doubtful = tuple(message.number for message in again if message.doubtful)
        if doubtful and link.record is not None:
            self._notify(events.MessagesRepeated(messages=doubtful))
        audio = sum(message.body.media_seconds for message in self.outbox.audio.unsent if message.resent)
        lost, self.outbox.lost_seconds = self.outbox.lost_seconds, 0.0
        if lost and self._speech.cut is not None:
            self._speech.cut.question.clipped = True  # nobody knows whether the service still hears a question
        self._stats.messages_resent += len(again)
        self._stats.audio_resent += audio
        self._stats.audio_lost += lost
        return Resend(len(again), audio, lost)

    def remember(self, turns: Sequence[HistoryTurn]) -> None:
        """Take history from the application that the resumed state holds already."""
        self.seeding = False
        self.transcript.replace([*turns, *self.transcript.turns()])

    def start_fresh(self, link: Link, history: Sequence[HistoryTurn] | None) -> tuple[list[HistoryTurn], int]:
        """Give up the resume point; return what is replayed, and how many turns have no words.

        What stands in the replayed turns is not sent again; open questions stay and go live.
        """
        self.point.clear()
        waiting = self.outbox.control.unsent
        if history is not None:
            self.transcript.replace(history)
        self.outbox.remove({message for message in waiting if message.recorded})
        self._leave_background_calls()
        turns = self.transcript.turns()
        asked = {message.body.text for message in waiting}
        while turns and turns[-1].role == "user" and turns[-1].text in asked:
            turns.pop()
            self.transcript.replace(turns)
        link.content_as_text = bool(turns) and self._setup.text_form is TextForm.REALTIME
        if link.content_as_text:
            turns += self._leading_context()
        return turns, self.transcript.holes

    def _leave_background_calls(self) -> None:
        """A new session knows no call of the turns that it is told in words."""
        void = [message for message in self.outbox.control.unsent if message.background and message.background.whole]
        for message in void:
            for response in message.body.responses:
                self._notify(events.ToolResponseDropped(call_id=response.id or "", name=response.name or ""))
        self.outbox.remove(set(void))
        running = self._tools.start_fresh()
        if running:
            self._inject(tool_call_cancellation_frame([call.app_id for call in running]))

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


def _is_void(response: Message, rerun: set[Turn]) -> bool:
    """Whether a tool response says nothing to the next connection: it answers a run that is over.

    The state knows the call of a turn that is not run again: a response that came later is sent again.
    """
    if response.turn is None and response.background is not None:
        return response.background in rerun
    return response.turn in rerun or bool(response.index)


def _has_output(content: ServerContent) -> bool:
    """Whether the model says something; the mark that its transcription is over comes late, and says nothing."""
    said = content.output_transcription
    return content.model_turn is not None or (said is not None and bool(said.text or not said.finished))


def _note_words(turn: Turn, content: ServerContent) -> None:
    if content.output_transcription is not None and content.output_transcription.text:
        keep(turn.spoken, content.output_transcription.text)
    if content.model_turn is not None:
        for part in content.model_turn.parts or ():
            if part.text and not part.thought:
                keep(turn.written, part.text)
