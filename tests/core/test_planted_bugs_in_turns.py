"""Planted bugs in what happens within a turn: tools, parts, speech. As `test_planted_bugs`."""

from __future__ import annotations

import pytest
from msgspec.structs import astuple

from resumekit.core import turns
from resumekit.core.conversation import Conversation
from resumekit.core.hearing import Hearing
from resumekit.core.link import Link
from resumekit.core.outbox import Outbox
from resumekit.core.speech import Speech
from resumekit.core.tools import Tools
from resumekit.core.turns import Turn
from resumekit.wire import ClientKind
from tests.core.plants import Planted, assert_found, registry

PLANTS: dict[str, Planted] = {}
plant = registry(PLANTS)


# ---------------------------------------------------------------------- tools


@plant("calls are told apart by name alone", "tools")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(turns, "args_key", lambda name, args: name)


@plant("calls are told apart by their frames' order alone", "tools")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(turns, "args_key", lambda name, args: "")


@plant("running calls are cancelled at the cut", "tools")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Turn.restart
    patch.setattr(Turn, "restart", lambda self, *, rebind: original(self, rebind=False))


@plant("running calls of a cut turn are neither cancelled nor bound", "cancel")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Turn.restart

    def restart(self, *, rebind):
        original(self, rebind=rebind)
        return []

    patch.setattr(Turn, "restart", restart)


@plant("one execution answers two equal calls", "tools", within=1000)
def _(patch: pytest.MonkeyPatch) -> None:
    original = Turn.issue

    def issue(self, request):
        before = list(self.unbound)
        call = original(self, request)
        if call in before and self._twice(call):
            self.unbound.append(call)
        return call

    patch.setattr(Turn, "_twice", lambda self, call: call.response is not None, raising=False)
    patch.setattr(Turn, "issue", issue)


@plant("recorded responses are forgotten", "tools")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Turn.restart

    def restart(self, *, rebind):
        given_up = original(self, rebind=rebind)
        self.unbound = [call for call in self.unbound if call.response is None]
        return given_up

    patch.setattr(Turn, "restart", restart)


@plant("calls that the app never got are kept for binding", "tools")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Turn.restart

    def restart(self, *, rebind):
        for call in self.calls.values():
            call.taken = True
        return original(self, rebind=rebind)

    patch.setattr(Turn, "restart", restart)


@plant("what follows a waiting response does not wait", "tools", within=1000)
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Link, "held_from", property(lambda self: None))


@plant("a known response waits behind one that waits", "tools")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Conversation.next_message

    def next_message(self, link):
        message = original(self, link)
        return None if message is not None and message is not self.outbox.first_unsent() else message

    patch.setattr(Conversation, "next_message", next_message)


@plant("calls that did not come again are never cancelled", "tools")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Conversation, "_give_up_calls", lambda self, turn: None)


@plant("calls that did not come again are cancelled after the end of the turn", "tools")
def _(patch: pytest.MonkeyPatch) -> None:
    give_up = Conversation._give_up_calls
    original = Conversation._end_part

    def end_part(self, link, turn, now, *, last):
        original(self, link, turn, now, last=last)
        if last:
            give_up(self, turn)

    patch.setattr(Conversation, "_give_up_calls", lambda self, turn: None)
    patch.setattr(Conversation, "_end_part", end_part)


@plant("a settled turn's calls are not cancelled", "settle")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Conversation._inject

    def inject(self, frame, cut=None):
        if b"toolCallCancellation" not in frame:
            original(self, frame, cut)

    patch.setattr(Conversation, "_inject", inject)


@plant("new calls of a turn that is over reach the app", "tools")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Tools.issue

    def issue(self, turn, message):
        whole, turn.whole = turn.whole, False
        try:
            return original(self, turn, message)
        finally:
            turn.whole = whole

    patch.setattr(Tools, "issue", issue)
    patch.setattr(
        Conversation, "_hide", lambda self, turn, message, kind, calls, *, last: calls and self._show(message)
    )


@plant("the service's cancellation names a call that the app knows by another id", "tools", within=1500)
def _(patch: pytest.MonkeyPatch) -> None:
    original = Tools.cancel

    def cancel(self, turns, message):
        turns = list(turns)
        for turn in turns:
            for call in turn.calls.values():
                call.app_id = call.id
        return original(self, turns, message)

    patch.setattr(Tools, "cancel", cancel)


@plant("a response goes out under the id that the app knows", "tools")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("resumekit.core.tools._addressed", lambda response, call: response)


# ---------------------------------------------------------------------- answers in parts


@plant("the part that the app has is shown again", "parts")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Turn, "shadow", property(lambda self: self.whole))


@plant("the answer is hidden that comes without the call of its first part", "parts")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Conversation._hide

    def hide(self, turn, message, kind, calls, *, last):
        turn.held.clear()
        return original(self, turn, message, kind, calls, last=last)

    patch.setattr(Conversation, "_hide", hide)


@plant("the end of a part is taken for the end of the turn", "parts")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Turn, "pending", property(lambda self: False))


@plant("a turn is over once its responses were sent", "parts")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Turn.respond

    def respond(self, responses):
        original(self, responses)
        self.replied = False

    patch.setattr(Turn, "respond", respond)


# ---------------------------------------------------------------------- speech and video


@plant("a second transcription is shown", "speech")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Hearing, "filter", lambda self, message: (message, False))


@plant("of a second transcription nothing is shown", "speech", within=1000)
def _(patch: pytest.MonkeyPatch) -> None:
    original = Hearing._fresh
    patch.setattr(Hearing, "_fresh", lambda self, text: "" if self.told else original(self, text))


@plant("speech is resent as audio and in its words", "speech", within=1000)
def _(patch: pytest.MonkeyPatch) -> None:
    original = Speech.resend

    def resend(self, turn, end, **options):
        border = list(self._outbox.before_border)
        audio = self._outbox.sent_audio.take()
        for frame in audio:
            self._outbox.sent_audio.append(*astuple(frame))
        form = original(self, turn, end, **options)
        if form == "transcript":
            self._outbox.sent_audio.take()
            for frame in audio:
                self._outbox.sent_audio.append(*astuple(frame))
            self._outbox.before_border[:] = border
        return form

    patch.setattr(Speech, "resend", resend)


@plant("the beginning of an activity is not resent", "speech")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Outbox.rewind

    def rewind(self):
        starts = [m for m in self.control.sent if m.body.kind is ClientKind.ACTIVITY_START]
        self.control.remove(set(starts))
        return original(self)

    patch.setattr(Outbox, "rewind", rewind)


@plant("all video is resent", "stress", within=1500)
def _(patch: pytest.MonkeyPatch) -> None:
    rewind, mark_sent = Outbox.rewind, Outbox.mark_sent

    def rewind_all(self):
        video, self.video.sent = self.video.sent, []
        rewind(self)
        self.video.sent = video
        self.video.rewind()

    def keep_all(self, message, index):
        video = list(self.video.sent)
        mark_sent(self, message, index)
        if message.body.kind is ClientKind.VIDEO:
            self.video.sent[:0] = video

    patch.setattr(Outbox, "rewind", rewind_all)
    patch.setattr(Outbox, "mark_sent", keep_all)


@plant("a move does not wait for the end of speech", "speech", within=1000)
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Link, "speaking", property(lambda self: False, lambda self, value: None))


@pytest.mark.proof
@pytest.mark.parametrize("name", PLANTS)
def test_the_simulation_finds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted bug for each rule of a turn is caught."""
    assert_found(name, PLANTS[name], monkeypatch)
