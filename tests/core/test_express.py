"""The express lanes make no difference: `Engine.feed_media` but that a frame is not decoded, `Engine.streams` none.

Each schedule is run on two engines that hear the same, one of them without the lane, and with a plain tape. After each step all that they know
has to be equal, and all that they did.
"""

from __future__ import annotations

import copy
import enum
import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumekit.core import inputs
from resumekit.core.conversation import Conversation
from resumekit.core.engine import Engine
from resumekit.core.inbox import Inbox, Item
from resumekit.core.outbox import Outbox
from resumekit.core.policy import Policy
from resumekit.core.state import FINAL, State
from resumekit.core.tape import Tape
from resumekit.wire import ClientKind, ServerMessage, decode_client, decode_server
from tests.core.bench import Bench, audio
from tests.core.model_state import Violation
from tests.core.plain_tape import PlainTape
from tests.core.report import report
from tests.core.schedules import PROFILES, STEPS, make_config, steps_of
from tests.core.simulation import World

PARTS = 4
SPOKEN = ("speech", "unknowns")
_THE_LANES = {"_express", "_shape", "_open_answer", "_stream"}
_OF_ONE_FEED = {"_now", "_actions"}


def state_of(thing: Any, met: dict[int, int]) -> Any:
    """Return all that an object holds, as values; one that was met before is its number."""
    match thing:
        case None | bool() | int() | float() | str() | bytes() | enum.Enum():
            return thing
        case ServerMessage():
            return thing.raw, thing.cut
    if id(thing) in met:
        return met[id(thing)]
    met[id(thing)] = len(met)
    if isinstance(thing, Tape | PlainTape):
        return tape_of(thing, met)
    if isinstance(thing, Item):  # decoded or not, it is the same frame; and each has an origin of its own, or not
        frame = thing.frame if isinstance(thing.frame, bytes) else thing.frame.raw
        return [frame, *(state_of(getattr(thing.origin, name), met) for name in ("kind", "turn", "part"))]
    if isinstance(thing, Mapping):
        return {key: state_of(value, met) for key, value in thing.items()}
    if isinstance(thing, list | tuple | deque):
        return [state_of(item, met) for item in thing]
    if isinstance(thing, set | frozenset):
        return len(thing)
    names: Any = getattr(thing, "__struct_fields__", None) or getattr(thing, "__dataclass_fields__", None)
    if names is None and type(thing).__module__.startswith("resumekit.core"):
        names = sorted({*getattr(thing, "__slots__", ()), *getattr(thing, "__dict__", ())} - _THE_LANES - _OF_ONE_FEED)
    return [type(thing).__name__, *((name, state_of(getattr(thing, name), met)) for name in names or ())]


def tape_of(tape: Tape | PlainTape, met: dict[int, int]) -> Any:
    """Return what a tape would know if it reckoned up now, without making it do so."""
    if isinstance(tape, PlainTape):
        frames, gone = tape.frames, tape.gone
    else:
        twin = copy.copy(tape)
        twin._runs, twin._gone, twin._bodies = *copy.deepcopy((tape._runs, tape._gone)), copy.copy(tape._bodies)
        frames, gone = twin.take(), [[grain.first, grain.last, grain.length] for grain in twin._gone]
    return [tape.room, gone, [(frame.seq, frame.index, state_of(frame.body, met)) for frame in frames]]


def without_lanes(engine: Engine) -> None:
    """Have an engine look at everything, and at each frame by itself."""
    engine._express = False
    outbox = engine._talk.outbox
    tape: Any = PlainTape(outbox.sent_audio.room)
    outbox.sent_audio = tape


def assert_same(fast: Engine, slow: Engine) -> None:
    if state_of(fast, {}) != state_of(slow, {}):
        raise Violation("express", "it knows something else")


# ---------------------------------------------------------------------- whole schedules


class Twins:
    """The worlds of one schedule, with the lane and without it."""

    def __init__(self, seed: int, profile: str) -> None:
        self.worlds = [World(make_config(seed, profile), log=True) for _ in range(2)]
        without_lanes(self.worlds[1].engine)
        self._compared = 0
        self.compare()

    @property
    def finished(self) -> object:
        return self.worlds[0].finished

    def do(self, *step: object) -> None:
        for world in self.worlds:
            world.do(*step)
        self.compare()

    def finish(self) -> None:
        for world in self.worlds:
            world.finish()
        self.compare()
        assert self.worlds[1].expressed == self.worlds[1].streamed == 0

    def compare(self) -> None:
        fast, slow = self.worlds
        if len(fast.trace) != len(slow.trace) or fast.log_actions != slow.log_actions:
            raise Violation("express", "it did something else")
        since, self._compared = self._compared, len(fast.trace)
        if any(
            one != other for one, other in zip(fast.trace[since:], slow.trace[since:], strict=True) if one[1] == "app"
        ):
            raise Violation("express", "the app got something else")
        assert_same(fast.engine, slow.engine)


def run_both(seed: int, profile: str, steps: int = STEPS) -> tuple[int, int]:
    """Run a schedule on two engines; return how many frames took the lane, and how many messages theirs."""
    twins = Twins(seed, profile)
    try:
        for step in steps_of(seed, profile, steps):
            twins.do(*step)
            if twins.finished is not None:
                break
        twins.finish()
    except Violation as violation:
        violation.add_note(f"run_both({seed}, {profile!r})\n{report(twins.worlds[0])}")
        raise
    return twins.worlds[0].expressed, twins.worlds[0].streamed


@pytest.mark.parametrize("profile", PROFILES)
def test_a_schedule_runs_the_same_with_the_lane_and_without(profile: str) -> None:
    expressed, streamed = map(sum, zip(*(run_both(seed, profile) for seed in range(6)), strict=True))
    assert expressed > 5, "nothing took the lane"
    assert streamed > 5 or profile not in SPOKEN, "nothing took that of what is sent"


@pytest.mark.proof
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("profile", PROFILES)
def test_no_schedule_runs_differently_with_the_lane(profile: str, part: int, schedules: int) -> None:
    for seed in range(part, schedules // len(PROFILES) // 80, PARTS):
        run_both(seed, profile)


# ---------------------------------------------------------------------- whatever comes, in any order


def media(text: str = "AAAA", **beside: Any) -> dict[str, Any]:
    part = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": text}}
    return {"serverContent": {"modelTurn": {"parts": [part]}, **beside}}


def content(**fields: Any) -> dict[str, Any]:
    return {"serverContent": fields}


TURN_COMPLETE = content(turnComplete=True)
USAGE = {"usageMetadata": {"totalTokenCount": 3}}
SOUND, PICTURE = audio(0.1), {"realtimeInput": {"video": {"mimeType": "image/jpeg", "data": "AAAA"}}}
CALL = {"toolCall": {"functionCalls": [{"id": "c1", "name": "f", "args": {}}]}}
SPEECH_BEGINS = {"voiceActivity": {"voiceActivityType": "ACTIVITY_START"}}
UPDATE = {"sessionResumptionUpdate": {"newHandle": "h", "resumable": True, "lastConsumedClientMessageIndex": "1"}}
_FRAMES: tuple[dict[str, Any], ...] = (
    *(media(text) for text in ("AAAA", "AAAAAAAA", "", "no base64!", "-_8=")),
    TURN_COMPLETE,
    USAGE,
    CALL,
    SPEECH_BEGINS,
    UPDATE,
    media(turnComplete=True),
    media(outputTranscription={"text": "one"}),
    {**media(), **USAGE},
    {"serverContent": {"modelTurn": {"parts": media()["serverContent"]["modelTurn"]["parts"] * 2}}},
    content(modelTurn={"parts": [{"text": "one"}]}),
    content(outputTranscription={"text": "one"}),
    content(inputTranscription={"text": "two"}),
    content(generationComplete=True),
    content(interrupted=True),
    {"voiceActivity": {"voiceActivityType": "ACTIVITY_END"}},
    {"toolCall": {"functionCalls": [{"id": "c2", "name": "g", "args": {}}]}},
    {"toolCallCancellation": {"ids": ["c1"]}},
    {"goAway": {"timeLeft": "30s"}},
)


class Pair:
    """Two sessions that hear the same; one of them has the lane."""

    def __init__(self, *, transparent: bool = False, setup: dict[str, Any] | None = None, **policy_of: Any) -> None:
        policy = Policy(**policy_of)
        self.fast, self.slow = (
            Bench(make=Engine, policy=policy, transparent=transparent, setup=setup, express=on) for on in (True, False)
        )
        without_lanes(self.slow.engine)
        self.expressed = 0
        for bench in (self.fast, self.slow):
            bench.connect()

    def do(self, what: str, number: int = 0) -> None:
        if self.fast.engine.state in FINAL:
            return
        fast, slow = (getattr(self, f"_{what}")(bench, number) for bench in (self.fast, self.slow))
        assert fast == slow
        assert self.fast.now == self.slow.now
        assert repr(self.fast.actions) == repr(self.slow.actions)
        assert_same(self.fast.engine, self.slow.engine)
        assert self.slow.streamed == 0

    def hear(self, *frames: dict[str, Any]) -> None:
        for frame in frames:
            self.do("frame", _FRAMES.index(frame))

    def _frame(self, bench: Bench, number: int) -> None:
        frame = msgspec.json.encode(_FRAMES[number % len(_FRAMES)])
        if bench.engine.feed_media(bench.live, frame, bench.now):
            assert bench is self.fast
            self.expressed += 1
        else:
            bench.feed(inputs.FrameReceived(bench.live, decode_server(frame)))

    def _media(self, bench: Bench, number: int) -> None:
        for _ in range(number):
            self._frame(bench, number)

    def _ask(self, bench: Bench, number: int) -> None:
        bench.asks(f"question {number}")

    def _context(self, bench: Bench, number: int) -> None:
        bench.notes(f"context {number}")

    def _audio(self, bench: Bench, number: int) -> None:
        bench.auto_written = number % 4 > 0  # else the transport is behind
        for _ in range(number):
            bench.sends(SOUND)
            bench.tick(0.1)

    def _show(self, bench: Bench, number: int) -> None:
        bench.sends(PICTURE)

    def _respond(self, bench: Bench, number: int) -> None:
        bench.responds(f"c{number % 2 + 1}", "fg"[number % 2], number)

    def _written(self, bench: Bench, number: int) -> None:
        bench.feed(inputs.Written(bench.live))

    def _wait(self, bench: Bench, number: int) -> None:
        bench.tick(float(number))

    def _pong(self, bench: Bench, number: int) -> None:
        bench.feed(inputs.PongReceived(bench.live))

    def _jump(self, bench: Bench, number: int) -> None:
        bench.feed(inputs.ClockJumped(float(number)))

    def _take(self, bench: Bench, number: int) -> list[bytes | None]:
        taken = [bench.engine.take_frame() if number % 2 else bench.engine.take() for _ in range(number)]
        return [frame.raw if isinstance(frame, ServerMessage) else frame for frame in taken]

    def _insert(self, bench: Bench, number: int) -> None:
        bench.engine.insert(decode_server(b'{"usageMetadata":{}}'))

    def _force(self, bench: Bench, number: int) -> None:
        bench.feed(inputs.ForceReconnect())

    def _cut(self, bench: Bench, number: int) -> None:
        """The connection ends, and with an odd number the next one is there."""
        if bench.engine.state in (State.LIVE, State.DRAINING, State.MOVING):
            bench.cut()
        if number % 2 and bench.engine.state is State.WAITING:
            bench.resume()


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["frame"] * 8
            + ["media"] * 4
            + "ask ask context audio audio audio show respond written wait wait pong jump take take".split()
            + "insert force cut cut".split()
        ),
        st.integers(0, len(_FRAMES) - 1),
    ),
    max_size=40,
)


@settings(max_examples=300)
@given(
    _STEPS,
    st.booleans(),
    st.fixed_dictionaries(
        {
            "tool_turns": st.sampled_from(("auto", "joined", "split")),
            "inbox_frames": st.sampled_from((4, 8, 10_000)),
            "audio_resend": st.sampled_from((0.0, 0.3, 10.0)),
            "audio_seconds": st.sampled_from((0.05, 0.6, 30.0)),
        }
    ),
)
def test_whatever_comes_has_the_same_effect(
    steps: list[tuple[str, int]], transparent: bool, policy: dict[str, Any]
) -> None:
    """No service behaves like this: here is only asked whether the two engines are one."""
    pair = Pair(transparent=transparent, **policy)
    for step in (("ask", 0), ("media", 2), *steps):
        pair.do(*step)


# ---------------------------------------------------------------------- what the lane leaves to `feed`, case by case


def pair(**options: Any) -> Pair:
    """Return sessions whose answer is under way, and whose lane is open."""
    made = Pair(**options)
    made.do("ask")
    made.hear(media(), media())
    assert made.expressed == 1
    return made


def a_tool_response_was_written() -> None:
    sessions = pair()
    sessions.hear(CALL)
    sessions.do("respond")
    sessions.hear(USAGE, media())


def the_user_speaks() -> None:
    sessions = pair()
    sessions.hear(SPEECH_BEGINS, media())


def the_answer_ended() -> None:
    sessions = pair()
    sessions.do("ask")
    sessions.hear(TURN_COMPLETE, media())


def nothing_was_asked() -> None:
    sessions = pair()
    sessions.hear(TURN_COMPLETE, media())


def the_connection_was_lost() -> None:
    sessions = pair()
    sessions.do("cut")
    sessions.hear(media())


def the_answer_is_repeated_unseen() -> None:
    sessions = pair()
    sessions.hear(TURN_COMPLETE)
    sessions.do("take", 9)
    sessions.do("cut", 1)
    sessions.hear(media(), media())


def audio_waits_to_be_sent() -> None:
    sessions = pair()
    sessions.do("audio", 4)
    sessions.hear(media(), media())


def the_inbox_gets_full() -> None:
    pair(inbox_frames=4).hear(media(), media(), media())


def the_inbox_was_full() -> None:
    sessions = pair(inbox_frames=4)
    sessions.hear(media(), media())
    sessions.do("take", 3)
    sessions.hear(media(), media())


def the_inbox_was_filled_by_the_adapter() -> None:
    sessions = pair(inbox_frames=4)
    sessions.do("insert")
    sessions.do("insert")
    sessions.do("take", 2)
    sessions.hear(media())


def the_audio_is_too_long_to_be_kept() -> None:
    Pair(audio_seconds=0.05).do("audio", 1)


def the_audio_is_too_large_to_be_kept() -> None:
    Pair(audio_bytes=len(json.dumps(SOUND)) - 1).do("audio", 1)


def there_is_no_connection_to_send_on() -> None:
    sessions = Pair()
    sessions.do("cut")
    sessions.do("wait", 1)
    assert sessions.fast.engine.state is State.DIALING
    sessions.do("audio", 1)


def the_transport_has_enough_to_write() -> None:
    sessions = pair()
    sessions.do("audio", 16)
    sessions.do("audio", 1)


def a_question_waits_for_the_rest_of_the_answer() -> None:
    sessions = pair(tool_turns="split")
    sessions.hear(CALL)
    sessions.do("respond")
    sessions.hear(TURN_COMPLETE)
    sessions.do("ask")
    sessions.do("audio", 1)


def audio_waits_for_the_answer_to_a_question_that_was_sent_again() -> None:
    sessions = pair()
    sessions.do("cut", 1)
    sessions.do("audio", 1)


def audio_waits_for_a_call_to_be_made_again() -> None:
    sessions = pair(setup={"proactivity": {"proactiveAudio": True}})
    sessions.hear(CALL)
    sessions.do("respond")
    sessions.do("cut", 1)
    sessions.do("audio", 1)


def more_is_said_than_is_kept() -> None:
    sessions = pair(audio_resend=0.5)
    sessions.do("audio", 9)
    sessions.do("audio", 2)


def what_was_said_is_cut() -> None:
    sessions = pair(audio_resend=0.5)
    sessions.do("audio", 9)
    sessions.do("cut", 1)


def it_is_no_audio() -> None:
    sessions = pair()
    sessions.do("show")
    sessions.do("context")


CASES = (
    the_audio_is_too_long_to_be_kept,
    the_audio_is_too_large_to_be_kept,
    there_is_no_connection_to_send_on,
    the_transport_has_enough_to_write,
    a_question_waits_for_the_rest_of_the_answer,
    audio_waits_for_the_answer_to_a_question_that_was_sent_again,
    audio_waits_for_a_call_to_be_made_again,
    more_is_said_than_is_kept,
    what_was_said_is_cut,
    it_is_no_audio,
    a_tool_response_was_written,
    the_user_speaks,
    the_answer_ended,
    nothing_was_asked,
    the_connection_was_lost,
    the_answer_is_repeated_unseen,
    audio_waits_to_be_sent,
    the_inbox_gets_full,
    the_inbox_was_full,
    the_inbox_was_filled_by_the_adapter,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_it_makes_no_difference_where(case: Callable[[], None]) -> None:
    case()


def test_the_lane_stays_open_while_the_user_speaks_to_an_answer() -> None:
    """Audio is sent as often as it comes, so nothing would be won if each chunk closed it."""
    sessions = pair()
    sessions.do("audio", 1)
    sessions.do("written")
    sessions.hear(media())
    assert sessions.expressed == 2


def test_the_user_speaks_by_the_lane_while_the_answer_goes_on() -> None:
    sessions = pair()
    sessions.do("audio", 5)
    sessions.hear(media(), UPDATE)
    sessions.do("audio", 5)
    assert (sessions.fast.streamed, sessions.expressed) == (10, 2)


def test_the_lane_is_that_of_the_newest_connection() -> None:
    engine, message = pair().fast.engine, decode_client(json.dumps(SOUND))
    assert engine.streams(1, message)
    assert not engine.streams(2, message)


def test_the_lane_opens_again_after_a_frame_that_is_no_media() -> None:
    sessions = pair()
    sessions.hear(content(outputTranscription={"text": "one"}), media(), UPDATE, media())
    assert sessions.expressed == 3


def test_the_app_gets_media_as_bytes_or_decoded() -> None:
    sessions = pair()
    sessions.hear(media("AAAAAAAA"))
    engine = sessions.fast.engine
    first, second, third = engine.take_frame(), engine.take_frame(), engine.take()
    assert isinstance(first, ServerMessage)
    assert second == first.raw == msgspec.json.encode(media())
    assert third == decode_server(msgspec.json.encode(media("AAAAAAAA")))
    assert engine.take_frame() is engine.take() is None


def test_an_engine_without_the_lane_takes_nothing() -> None:
    sessions = pair()
    frame = msgspec.json.encode(media())
    assert not sessions.slow.engine.feed_media(sessions.slow.live, frame, sessions.slow.now)
    assert sessions.fast.engine.feed_media(sessions.fast.live, frame, sessions.fast.now)


# ---------------------------------------------------------------------- planted bugs

_CONDITIONS: dict[str, Callable[[Conversation, Any, Any], bool]] = {
    "no output of it came": lambda talk, link, turn: turn.seen,
    "a tool response was written": lambda talk, link, turn: not turn.replied,
    "a shadow turn": lambda talk, link, turn: not turn.shadow,
    "the user speaks": lambda talk, link, turn: not link.speaking,
    "messages wait": lambda talk, link, turn: talk.outbox.first_unsent() is None,
}


def _never_closed(patch: pytest.MonkeyPatch) -> None:
    feed = Engine.feed

    def feed_on(self, happened, now):
        answer = self._open_answer
        todo = feed(self, happened, now)
        self._open_answer = self._open_answer or answer
        return todo

    patch.setattr(Engine, "feed", feed_on)


def _without(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    def open_answer(self, link):
        turn = link.answering
        others = (holds for other, holds in _CONDITIONS.items() if other != name)
        return turn if turn is not None and all(holds(self, link, turn) for holds in others) else None

    return lambda patch: patch.setattr(Conversation, "open_answer", open_answer)


def _no_bound(patch: pytest.MonkeyPatch) -> None:
    def put_media(self, frame, origin):
        self._items.append(Item(frame, origin))
        self._bytes += len(frame)
        return True

    patch.setattr(Inbox, "put_media", put_media)


def _not_heard(patch: pytest.MonkeyPatch) -> None:
    feed_media = Engine.feed_media

    def deaf(self, connection, frame, now):
        return feed_media(self, connection, frame, self._link.last_byte if self._link else now)

    patch.setattr(Engine, "feed_media", deaf)


_SENDING: dict[str, Callable[[Engine, Any, Any], bool]] = {
    "a connection": lambda engine, link, message: engine.state in (State.LIVE, State.DRAINING),
    "room": lambda engine, link, message: link.in_flight < 16,
    "older ones": lambda engine, link, message: engine._talk.outbox.first_unsent() is None,
    "calls": lambda engine, link, message: link.held_from is None,
    "questions": lambda engine, link, message: not engine._talk._paces(link),
    "audio": lambda engine, link, message: message.kind is ClientKind.AUDIO,
    "size": lambda engine, link, message: message.size <= engine._policy.audio_bytes,
    "seconds": lambda engine, link, message: message.media_seconds <= engine._policy.audio_seconds,
}


def _sends_without(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    def streams(self, connection, message):
        link = self._link
        if link is None or not self._express:
            return False
        self._stream = link
        return all(holds(self, link, message) for other, holds in _SENDING.items() if other != name)

    return lambda patch: patch.setattr(Engine, "streams", streams)


def _stays_open(patch: pytest.MonkeyPatch) -> None:
    feed = Engine.feed

    def feed_on(self, happened, now):
        stream = self._stream
        todo = feed(self, happened, now)
        self._stream = stream
        return todo

    patch.setattr(Engine, "feed", feed_on)


def _never_lets_go(patch: pytest.MonkeyPatch) -> None:
    def stream(self, body, index):
        self.sent_audio.room, room = 1 << 60, self.sent_audio.room
        original(self, body, index)
        self.sent_audio.room = room

    original = Outbox.stream
    patch.setattr(Outbox, "stream", stream)


def _forgets(what: str) -> Callable[[pytest.MonkeyPatch], None]:
    def streamed(self, message):
        link, stats, outbox = self._stream, self.stats, self._talk.outbox
        before = (link.next_index, link.audio_from, link.audio_since_turn, stats.messages_sent, outbox.next_seq)
        self._talk.stream(link, message)
        match what:
            case "index":
                link.next_index = before[0]
            case "first":
                link.audio_from = before[1]
            case "heard":
                link.audio_since_turn = before[2]
            case "count":
                stats.messages_sent = before[3]
            case _:
                outbox.next_seq = before[4]

    return lambda patch: patch.setattr(Engine, "streamed", streamed)


_FORGOTTEN = ("index", "first", "heard", "count", "position")


@pytest.mark.parametrize(
    "plant",
    [
        _never_closed, _no_bound, _not_heard, *map(_without, _CONDITIONS),
        _stays_open, _never_lets_go, *map(_sends_without, _SENDING), *map(_forgets, _FORGOTTEN),
    ],
    ids=[
        "never closed", "no bound", "not heard", *_CONDITIONS,
        "stays open", "never lets go", *(f"sends without {name}" for name in _SENDING), *(f"forgets {name}" for name in _FORGOTTEN),
    ],
)  # fmt: skip
def test_a_planted_bug_is_found(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        _look_for_differences()


def _look_for_differences() -> None:
    for case in CASES:
        case()
    for seed in range(100):
        run_both(seed, "tools")
