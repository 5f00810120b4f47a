"""A planted bug for each invariant: the simulation has to find it, or it proves nothing.

Each plant breaks one rule of the engine from outside; it counts as caught when a seeded schedule
of the profile ends in a `Violation` of one of the named rules.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resumekit.core import engine, events, inputs
from resumekit.core.conversation import Conversation
from resumekit.core.engine import Engine
from resumekit.core.failures import Verdict
from resumekit.core.inbox import Inbox
from resumekit.core.link import Link
from resumekit.core.outage import Outage
from resumekit.core.outbox import Lane, Outbox
from resumekit.core.policy import Move
from resumekit.core.resume_point import ResumePoint
from resumekit.core.setup import Setup
from resumekit.core.turns import Turn
from resumekit.core.watch import Watch
from resumekit.defaults.decisions import DefaultDecisions
from tests.core.plants import Planted, assert_found, registry, with_policy

PLANTS: dict[str, Planted] = {}
plant = registry(PLANTS)


# ---------------------------------------------------------------------- handles


@plant("an empty update erases the handle")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Conversation._receive_update

    def receive_update(self, link, update, now):
        if not update.resumable:
            self.point.clear()
        return original(self, link, update, now)

    patch.setattr(Conversation, "_receive_update", receive_update)


@plant("a handle that is not resumable is taken")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Conversation._receive_update

    def receive_update(self, link, update, now):
        update.resumable = True
        return original(self, link, update, now)

    patch.setattr(Conversation, "_receive_update", receive_update)


@plant("resume from a handle of mid-generation")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Conversation._receive_update

    def receive_update(self, link, update, now):
        turns, link.turns = link.turns, type(link.turns)()
        try:
            return original(self, link, update, now)
        finally:
            link.turns = turns

    patch.setattr(Conversation, "_receive_update", receive_update)


@plant("the coverage test is ignored")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ResumePoint, "_covers_enough", lambda self, link, record: True)


@plant("a lesser record replaces the base", within=4000)
def _(patch: pytest.MonkeyPatch) -> None:
    def covers_enough(self, link, record):
        if not self._transparent:
            return not link.floor_index or link.turn_end_at is not None
        return (record.index or 0) >= max(link.turn_end_index, link.floor_index)

    patch.setattr(ResumePoint, "_covers_enough", covers_enough)


@plant("no ageing of records in streaming audio", "speech")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Conversation._receive_update

    def receive_update(self, link, update, now):
        link.audio_since_turn = False
        return original(self, link, update, now)

    patch.setattr(Conversation, "_receive_update", receive_update)


# ---------------------------------------------------------------------- resending


@plant("prune what the base does not cover")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Lane.prune
    patch.setattr(Lane, "prune", lambda self, index: original(self, index + 1))


@plant("prune what a handle may not hold (handle only)")
def _(patch: pytest.MonkeyPatch) -> None:
    original = ResumePoint._adopt

    def adopt(self, link, candidate):
        link.covered_index = link.next_index
        return original(self, link, candidate)

    patch.setattr(ResumePoint, "_adopt", adopt)


@plant("nothing is pruned: everything is sent twice")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lane, "prune", lambda self, index: [])


@plant("a message is written twice")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Engine._write

    def write(self, link, frame):
        original(self, link, frame)
        if "question" in frame and self._random() < 0.05:
            original(self, link, frame)

    patch.setattr(Engine, "_write", write)


@plant("nothing is resent")
def _(patch: pytest.MonkeyPatch) -> None:
    def rewind(self):
        self.sent.clear()

    patch.setattr(Lane, "rewind", rewind)


@plant("resent in reverse")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Lane.rewind

    def rewind(self):
        self.sent.reverse()
        original(self)

    patch.setattr(Lane, "rewind", rewind)


@plant("repeats are not flagged")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Engine._notify

    def notify(self, event):
        if not isinstance(event, events.MessagesRepeated):
            original(self, event)

    patch.setattr(Engine, "_notify", notify)


@plant("no pacing behind a resent turn")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Link, "paced", lambda self, **options: False)


@plant("audio is not resent", "speech")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Outbox.rewind

    def rewind(self):
        self.sent_audio.take()
        self.before_border.clear()
        return original(self)

    patch.setattr(Outbox, "rewind", rewind)


@plant("the audio of an answered turn is resent", "speech")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Conversation, "_forget", lambda self, turn: set())


# ---------------------------------------------------------------------- turns


@plant("a shadow answer is let through")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Turn, "shadow", property(lambda self: False))


@plant("undelivered frames of a cut turn stay")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Inbox, "discard", lambda self, turn: 0)


@plant("endings are dropped with the frames of a cut turn")
def _(patch: pytest.MonkeyPatch) -> None:
    def discard(self, turn):
        dropped = len(self._items)
        self._items.clear()
        return dropped

    patch.setattr(Inbox, "discard", discard)


@plant("the app is not told that it is interrupted")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Conversation._inject

    def inject(self, frame, cut=None):
        if b"interrupted" not in frame:
            original(self, frame, cut)

    patch.setattr(Conversation, "_inject", inject)


@plant("the app is told interrupted when it had got nothing")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Conversation._cut

    def cut(self, turn, **options):
        turn.shown = True
        return original(self, turn, **options)

    patch.setattr(Conversation, "_cut", cut)


@plant("a settled turn gets no end", "settle")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Conversation._inject

    def inject(self, frame, cut=None):
        if b"turnComplete" not in frame:
            original(self, frame, cut)

    patch.setattr(Conversation, "_inject", inject)


@plant("a settled question is resent", "settle")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Conversation, "_unask", lambda self, *args: set())


@plant("an old tool response goes to a state that does not know its call")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Outbox.remove

    def remove(self, messages):
        original(self, {m for m in messages if m.body.kind.value != "tool response"})

    patch.setattr(Outbox, "remove", remove)


# ---------------------------------------------------------------------- connections


@plant("written before setupComplete")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(engine, "_ON_AIR", (*engine._ON_AIR, engine.State.BINDING))


@plant("written on a connection that is being left")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(engine, "_ON_AIR", (*engine._ON_AIR, engine.State.MOVING))


@plant("history is replayed with a handle")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Engine._bind

    def bind(self):
        original(self)
        if self.state is engine.State.BINDING and self._talk.transcript.turns():
            self._binding._turns = self._talk.transcript.turns()

    patch.setattr(Engine, "_bind", bind)


@plant("history goes as initial history in a setup with a handle")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Setup.bind

    def bind(self, handle, **options):
        return original(self, handle, **{**options, "history": True})

    patch.setattr(Setup, "bind", bind)


@plant("no history is replayed")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Conversation.start_fresh

    def start_fresh(self, link, history):
        original(self, link, history)
        return [], 0

    patch.setattr(Conversation, "start_fresh", start_fresh)


@plant("a refused handle is not forgotten", "refuse")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Engine, "_refuse", lambda self, record, reason, **options: None)


@plant("what was not sent is dropped with a refused handle", "refuse")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Engine._refuse

    def refuse(self, record, reason, **options):
        original(self, record, reason, **options)
        self._talk.outbox.control.unsent.clear()

    patch.setattr(Engine, "_refuse", refuse)


@plant("answered turns are not recorded for a replay", "stress")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Conversation, "_record", lambda self, message: None)


@plant("frames of an old connection still count", within=1500)
def _(patch: pytest.MonkeyPatch) -> None:
    original = Engine._on_frame

    def on_frame(self, happened):
        if self._link is not None and self.state in engine._ON_AIR:
            happened = inputs.FrameReceived(self._link.number, happened.message)
        original(self, happened)

    patch.setattr(Engine, "_on_frame", on_frame)


@plant("a half-open connection is never given up", "stress")
def _(patch: pytest.MonkeyPatch) -> Callable[..., Engine]:
    return with_policy(abort_expecting=1e6, abort_idle=1e6)


@plant("a missing setupComplete is waited for", "stress", within=2000)
def _(patch: pytest.MonkeyPatch) -> Callable[..., Engine]:
    return with_policy(setup_timeout=1e6, first_connect_deadline=1e6)


@plant("a dial is waited for", within=1000)
def _(patch: pytest.MonkeyPatch) -> Callable[..., Engine]:
    return with_policy(connect_timeout=1e6, first_connect_deadline=1e6)


@plant("a close that is not answered is waited for", "stress", within=1000)
def _(patch: pytest.MonkeyPatch) -> Callable[..., Engine]:
    return with_policy(close_wait=1e6)


@plant("the deadline of goAway is not kept", "default")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DefaultDecisions, "choose_move", lambda self, details: Move(deadline=1e6, warm_dial=None))


@plant("a move does not wait for the quiet point")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Engine._move
    patch.setattr(Engine, "_move_if_quiet", lambda self: original(self, quiet=True))


@plant("backoff is reset when a connection is accepted", within=600)
def _(patch: pytest.MonkeyPatch) -> None:
    original = Engine._on_dialed

    def on_dialed(self, happened):
        self._outage.proved()
        original(self, happened)

    patch.setattr(Engine, "_on_dialed", on_dialed)


@plant("backoff is reset when a connection is bound", within=600)
def _(patch: pytest.MonkeyPatch) -> None:
    original = Engine._bound

    def bound(self, link, message):
        self._outage.proved()
        original(self, link, message)

    patch.setattr(Engine, "_bound", bound)


@plant("the old binding is taken for a dead handle")
def _(patch: pytest.MonkeyPatch) -> None:
    original = DefaultDecisions.classify_failure

    def classify_failure(self, details):
        verdict = original(self, details)
        return Verdict.HANDLE_DEAD if verdict is Verdict.OLD_BINDING else verdict

    patch.setattr(DefaultDecisions, "classify_failure", classify_failure)


@plant("no backoff", within=600)
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Outage, "delay", lambda self, *args, **options: 0.0)


@plant("the session is given up at the first failure")
def _(patch: pytest.MonkeyPatch) -> Callable[..., Engine]:
    return with_policy(max_outage=0.0)


# ---------------------------------------------------------------------- a dead handle, a session's end, a frozen process


@plant("nobody watches the progress of a resumed connection", "poison")
def _(patch: pytest.MonkeyPatch) -> Callable[..., Engine]:
    return with_policy(progress_watchdog=1e6)


@plant("a poisoned handle is used again", "poison")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Watch, "poisoned", property(lambda self: False))


@plant("a handle is poisoned at its first silence", "unknowns", first=1000)
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Watch, "poisoned", property(lambda self: self._mute > 0))


@plant("the app is not told that the session comes to its end", "limits")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Engine._notify

    def notify(self, event):
        if not isinstance(event, events.SessionExpiring):
            original(self, event)

    patch.setattr(Engine, "_notify", notify)


@plant("a session that comes to its end is not left", "limits")
def _(patch: pytest.MonkeyPatch) -> Callable[..., Engine]:
    return with_policy(at_session_limit="warn")


@plant("the session's age begins anew with each connection", "limits")
def _(patch: pytest.MonkeyPatch) -> None:
    original = Engine._bound

    def bound(self, link, message):
        original(self, link, message)
        self._age.begin(self._now)

    patch.setattr(Engine, "_bound", bound)


@plant("a frozen process is not noticed", within=1500)
def _(patch: pytest.MonkeyPatch) -> None:
    original = Engine.feed

    def feed(self, happened, now):
        return [] if isinstance(happened, inputs.ClockJumped) else original(self, happened, now)

    patch.setattr(Engine, "feed", feed)


@plant("the index is taken to begin with 1, whatever the policy says", "unknowns")
def _(patch: pytest.MonkeyPatch) -> Callable[..., Engine]:
    return with_policy(first_index=1)


@plant("the index is taken to begin with 0, whatever the policy says", "unknowns")
def _(patch: pytest.MonkeyPatch) -> Callable[..., Engine]:
    return with_policy(first_index=0)


@plant("a handle is taken to hold all audio up to its index, whatever the policy says", "unknowns", first=2000)
def _(patch: pytest.MonkeyPatch) -> Callable[..., Engine]:
    return with_policy(handles_hold_audio=True)


@plant("an older handle is taken to stay valid, whatever the policy says", "unknowns", within=1000)
def _(patch: pytest.MonkeyPatch) -> Callable[..., Engine]:
    return with_policy(older_handles_valid=True)


@pytest.mark.proof
@pytest.mark.parametrize("name", PLANTS)
def test_the_simulation_finds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted bug for each invariant is caught."""
    assert_found(name, PLANTS[name], monkeypatch)
