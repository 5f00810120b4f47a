"""Events in words, for the log: what happened and why, what comes of it, and, where there is something, what to do."""

from __future__ import annotations

from typing import NamedTuple

from resumekit.core import events
from resumekit.core.failures import CloseCode, Verdict

__all__ = ["Line", "line_of", "line_of_loss"]


class Line(NamedTuple):
    """One line of the log."""

    what: str
    """What happened, and why."""
    effect: str = ""
    advice: str = ""

    def __str__(self) -> str:
        return self.what + (f": {self.effect}" if self.effect else "") + (f"; {self.advice}" if self.advice else "")


def line_of(event: events.Event) -> Line:
    """Return an event in words; one that is not known in its own."""
    return (
        _of_connections(event) or _of_turns(event) or _of_buffers(event) or _of_surroundings(event) or Line(repr(event))
    )


def _of_connections(event: events.Event) -> Line | None:
    match event:
        case events.SessionStarted():
            return Line(f"connects to {event.model.rpartition('/')[2] or 'the service'}")
        case events.Connected(resumed=True):
            return Line("connected", "goes on from the handle that there was")
        case events.Connected():
            return Line("connected", _counted(event.replayed_turns, "turn", "of history replayed"))
        case events.GoAwayReceived():
            when = "soon" if event.time_left is None else f"in {_span(event.time_left)}"
            return Line(
                f"the service will end connection {event.connection} {when} (goAway)",
                f"moves at the next quiet moment, within {_span(event.move_within)}",
            )
        case events.Moving():
            return _of_move(event)
        case events.ConnectionLost():
            return line_of_loss(event)
        case events.ReconnectScheduled():
            return Line(_dials_again(event))
        case events.Resumed():
            how = (
                f"moved to connection {event.connection} in"
                if event.planned
                else f"resumed on connection {event.connection} after"
            )
            effect = [
                _counted(event.resent_messages, "message", "sent again"),
                _speech(event.resent_audio, "sent again"),
            ]
            return _back(f"{how} {_span(event.downtime)}", effect, event.lost_audio)
        case events.FreshStarted():
            effect = [
                f"all that the service knows is {_counted(event.replayed_turns, 'turn')} of replayed history"
                if event.replayed_turns
                else "the service knows nothing of what was said before",
                _counted(event.holes, "turn", "without text missing"),
                _counted(event.resent_messages, "message", "sent again"),
            ]
            return _back(
                f"started anew on connection {event.connection} after {_span(event.downtime)}", effect, event.lost_audio
            )
        case events.HandleRefused():
            why = "the service took it twice, and then said nothing" if event.poisoned else event.reason.rstrip(".")
            return Line(
                f"the handle {event.digest} is given up, {_span(event.age)} after it came ({why})",
                "the next connection starts anew, from history",
            )
        case events.ResumePointDropped():
            return Line(
                f"no handle came for so long that {_counted(event.messages, 'message')} would have to be sent again",
                "the next connection starts anew, from history",
                "see whether the service sends handles at all, or raise Policy.control_messages and control_bytes",
            )
        case events.SessionEnded(error=str(error)):
            return Line(error)
        case events.SessionEnded():
            left = [_counted(event.unsent_messages, "message"), _speech(event.unsent_audio)]
            lost = " and ".join(filter(None, left))
            if lost:
                return Line(
                    f"closed with {lost} unsent", "the service never gets them", "wait for an answer before closing"
                )
            return Line("closed")
        case _:
            return None


def _of_move(event: events.Moving) -> Line:
    if event.cause == "request":
        return Line(f"leaves connection {event.connection}, as the application wishes", "a turn may be cut")
    why = "the service's session nears its limit" if event.cause == "limit" else "the service will end it"
    if event.quiet:
        return Line(f"leaves connection {event.connection} at a quiet moment, as {why}")
    return Line(
        f"leaves connection {event.connection} without a quiet moment, as {why} and time is up", "a turn may be cut"
    )


def line_of_loss(event: events.ConnectionLost, then: events.ReconnectScheduled | None = None) -> Line:
    """Return the loss of a connection in words, with when the next one is dialled, if that is known."""
    what = {"live": "was lost", "bind": "was not let in", "dial": "did not come about"}[event.phase]
    reason = event.reason.rstrip(".")
    said = " ".join(str(part) for part in (event.close_code, reason) if part not in (None, ""))
    if event.status_code is not None:
        why = f"refused by the service with HTTP {event.status_code} {reason}".rstrip()
    elif event.ended_by == "they":
        why = f"closed by the service with {said}"
    elif event.ended_by == "we":
        why = f"given up from this side: {said}"
    else:
        why = f"the network failed: {reason or event.close_code}"
    when = "dials again" if then is None else _dials_again(then)
    effect = {
        Verdict.OLD_BINDING.value: f"the service still holds the connection before; {when}, with the same handle",
        Verdict.HANDLE_DEAD.value: f"its handle leads nowhere; {when}",
        Verdict.RENEW_CREDENTIALS.value: f"{when}, with new credentials",
        Verdict.FATAL.value: "trying again would not help",
    }.get(event.verdict, when)
    too_big = event.close_code == CloseCode.TOO_BIG and event.ended_by == "we"
    return Line(
        f"connection {event.connection} {what} ({why})", effect, "raise Policy.max_message_size" if too_big else ""
    )


def _dials_again(event: events.ReconnectScheduled) -> str:
    attempt = f" (attempt {event.attempt})" if event.attempt > 1 else ""
    return f"dials again in {_span(event.delay)}{attempt}"


def _back(what: str, effect: list[str], lost_audio: float) -> Line:
    lost = _speech(lost_audio, "lost")
    advice = "ask the user to say it again; Policy.audio_resend and audio_seconds say how much is kept" if lost else ""
    return Line(what, ", ".join(filter(None, (*effect, lost))), advice)


def _of_turns(event: events.Event) -> Line | None:
    match event:
        case events.TurnCut():
            ways = {"text": "as text", "audio": "as its audio", "transcript": "in the words of its transcription"}
            heard = "the application is told to drop what it has got, and " if event.shown else ""
            return Line(
                f"the answer to {_question(event.message)} is cut, as the connection ends",
                f"{heard}the question is sent again {ways[event.resent_as]}",
            )
        case events.TurnSettled():
            again = f", after {_counted(event.reanswers, 'repetition')}" if event.reanswers else ""
            return Line(
                f"the answer to {_question(event.message)} is cut, as the connection ends{again}",
                "the turn ends here; neither the question nor what its tools answered is kept",
                "ask again, if it still matters",
            )
        case events.TurnShadowed():
            return Line(
                f"the service had not kept {_question(event.message)}, which it had answered",
                "it answered once more, unseen, and remembers the turn now",
            )
        case events.TurnForgotten():
            return Line(
                f"the connection ended before the service kept a spoken turn ({_span(event.audio)})",
                "the model has forgotten it",
                "tell the model what was said, if it matters",
            )
        case events.MessageNotSent():
            return Line(
                f"a message of the application could not be sent ({event.problem})", "it is left out", "mend it"
            )
        case events.MessagesRepeated():
            numbers = ", ".join(map(str, event.messages))
            return Line(
                f"nobody can tell whether the service holds message {numbers}",
                "sent again, so that the model may see it twice",
                "only transparent resumption (Vertex AI) can tell",
            )
        case events.ToolCallAnswered(by="record"):
            return Line(f"the model repeats its call of {event.name}", "answered with what the application said before")
        case events.ToolCallAnswered():
            return Line(
                f"the model repeats its call of {event.name}", "answered with an error, as no answer is on record"
            )
        case events.ToolCallRebound():
            return Line(
                f"the model repeats its call of {event.name}", f"the execution that runs ({event.call_id}) answers it"
            )
        case events.ToolResponseDropped():
            return Line(
                f"the call of {event.name} ({event.call_id}) was cancelled, was not repeated after a cut, or is unknown",
                "its response is not sent",
                "undo what the tool did, or tell the model of it, if it matters",
            )
        case _:
            return None


def _of_buffers(event: events.Event) -> Line | None:
    match event:
        case events.AudioDropped():
            return Line(
                f"{_span(event.seconds)} of audio do not fit into the buffer ({_counted(event.frames, 'frame')})",
                "the oldest are dropped",
                "raise Policy.audio_seconds and audio_bytes, or pause the microphone while there is no connection",
            )
        case events.VideoDropped():
            return Line(
                f"{_counted(event.frames, 'video frame')} could not be sent in time",
                "newer ones took their place",
                "send fewer a second, if each matters",
            )
        case events.FrameDiscarded():
            return Line(
                f"a frame of {event.size} bytes on connection {event.connection} cannot be read ({event.problem})",
                "it is left out",
                "if it comes again, look for a newer resumekit or google-genai",
            )
        case events.SlowConsumer():
            return Line(
                f"the application leaves {_counted(event.frames, 'frame')} ({event.size} bytes) waiting",
                "the socket is not read until it takes some",
                "see what holds its reader up",
            )
        case events.ReadingResumed():
            return Line(f"the application takes frames again, after {_span(event.seconds)}", "the socket is read on")
        case _:
            return None


def _of_surroundings(event: events.Event) -> Line | None:
    match event:
        case events.Continued():
            left = "in order" if event.detached else "without an end"
            effect = [f"its handle is {_span(event.age)} old", _counted(event.resent_messages, "message", "sent again")]
            lost = _counted(event.left_out, "message", "too large to be kept lost")
            advice = "raise Policy.store_bytes" if lost else ""
            return Line(
                f"goes on with what another session left {left}", ", ".join(filter(None, (*effect, lost))), advice
            )
        case events.WaitingForKey():
            return Line(
                "another session has the conversation of this key", f"waits for it, for {_span(event.seconds)} at most"
            )
        case events.Queued():
            return Line("the pool is full", f"waits at place {event.place} of {event.waiting}")
        case events.Admitted():
            return Line(f"let in by the pool after {_span(event.waited)}")
        case events.QuotaStrained(what="tokens"):
            return Line(
                f"{event.used} of {event.limit} tokens a minute are used up",
                "the service may refuse more",
                "ask for a higher quota, or open fewer sessions",
            )
        case events.QuotaStrained():
            return Line(
                f"the pool's limit of {event.limit} {event.what} is exceeded ({event.used})",
                "sessions that resume are let in all the same",
                "ask for a higher quota, or open fewer sessions",
            )
        case events.ClockJumped():
            return Line(
                f"the process stood still for {_span(event.seconds)}",
                "the connection is suspected until it shows a sign of life",
                "see what blocks the event loop, unless the machine slept",
            )
        case events.SessionExpiring():
            return Line(
                f"the service ends the session in {_span(event.seconds_left)}, as it allows {_span(event.limit)}",
                "Policy.at_session_limit says what is done",
                "a config with context_window_compression has no such limit",
            )
        case events.HistoryNotLoaded():
            return Line(
                f"the application's history could not be loaded ({event.problem})",
                "what was heard in this session is replayed instead",
                "mend history=...",
            )
        case events.HookFailed():
            return Line(f"the hook {event.hook} of the plugin {event.plugin!r} failed ({event.detail})")
        case events.StoreFailed():
            return Line(
                f"the handle store did not {event.operation} ({event.problem})",
                "the session goes on without; another process would go on from an older state, or not at all",
                "look after the store",
            )
        case events.StoreRecovered():
            return Line(
                f"the handle store answers again, after {_span(event.seconds)}", "the newest state is being kept"
            )
        case _:
            return None


def _question(number: int | None) -> str:
    return "what was said" if number is None else f"message {number}"


def _counted(number: int, noun: str, what: str = "") -> str:
    """Return ``3 messages sent again``; nothing of nothing."""
    return f"{number} {noun}{'s' * (number != 1)} {what}".rstrip() if number else ""


def _speech(seconds: float, what: str = "") -> str:
    return f"{_span(seconds)} of speech {what}".rstrip() if seconds else ""


def _span(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"
