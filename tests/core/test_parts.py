"""The small parts of the core, each by itself: state table, failures, policy, outage, buffers."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest

from resumekit.core.failures import TABLE, Failure, Phase, Side, Verdict, classify
from resumekit.core.inbox import Inbox, Kind
from resumekit.core.outage import Outage
from resumekit.core.outbox import Outbox
from resumekit.core.policy import DelayDetails, Exactly, Policy
from resumekit.core.setup import Setup, TextForm
from resumekit.core.state import FINAL, TRANSITIONS, Machine, State, Trigger, mermaid
from resumekit.core.transcript import Transcript
from resumekit.core.turns import Turn, keep
from resumekit.defaults.decisions import DefaultDecisions
from resumekit.errors import ConfigurationError, LocalProtocolError
from resumekit.wire import ClientMessage, HistoryTurn, decode_client, decode_server
from tests.core.bench import MODEL_2, MODEL_3, audio, content

# ---------------------------------------------------------------------- state


@pytest.mark.parametrize(("state", "trigger"), list(itertools.product(State, Trigger)))
def test_only_what_is_in_the_table_can_happen(state: State, trigger: Trigger) -> None:
    machine = Machine()
    machine.state = state
    target = TRANSITIONS.get((state, trigger))
    if target is None:
        with pytest.raises(LocalProtocolError, match=trigger.value):
            machine.fire(trigger)
        assert machine.state is state
    else:
        machine.fire(trigger)
        assert machine.state is target


def test_every_state_is_reached_and_every_state_but_the_final_ones_is_left() -> None:
    assert {State.IDLE, *TRANSITIONS.values()} == set(State)
    assert {state for state, _ in TRANSITIONS} == set(State) - {*FINAL}


def test_the_diagram_names_every_transition() -> None:
    diagram = mermaid()
    assert diagram.startswith("stateDiagram-v2")
    assert "live --> draining: goAway" in diagram
    assert "lost --> [*]" in diagram
    page = Path(__file__).parents[2] / "docs" / "explanation" / "state-machine.md"
    assert diagram in page.read_text("utf-8"), "make the page anew from mermaid()"


# ---------------------------------------------------------------------- failures


def verdict(
    code: int | None = None,
    reason: str = "",
    *,
    phase: Phase = Phase.LIVE,
    side: Side = Side.THEY,
    status: int | None = None,
    with_handle: bool = True,
    first_time: bool = True,
    in_grace: bool = True,
    renewable: bool = False,
) -> Verdict:
    return classify(
        Failure(phase=phase, side=side, code=code, reason=reason, status=status),
        with_handle=with_handle,
        first_time=first_time,
        in_grace=in_grace,
        renewable=renewable,
    )


def test_every_close_code_and_status_that_was_seen_has_its_verdict() -> None:
    """The table of failures."""
    bind = Phase.BIND
    assert verdict(1000) is Verdict.RESUME_NOW
    assert verdict(1001) is Verdict.RESUME_NOW
    assert verdict(1006, side=Side.NOBODY) is Verdict.RESUME_NOW
    assert verdict(1007, "Invalid session handle.", phase=bind) is Verdict.HANDLE_DEAD
    assert verdict(1007, "Request contains an invalid argument.", phase=bind) is Verdict.HANDLE_DEAD
    assert verdict(1007, "Request contains an invalid argument.", phase=bind, with_handle=False) is Verdict.FATAL
    assert verdict(1007, "Request contains an invalid argument.") is Verdict.RESUME_LATER
    assert verdict(1007, "Request contains an invalid argument.", first_time=False) is Verdict.FATAL
    assert verdict(1007, 'Invalid JSON payload received. Unknown name "x"', phase=bind) is Verdict.FATAL
    assert verdict(1008, "models/x is not found for API version v1beta", phase=bind) is Verdict.FATAL
    assert verdict(1008, "Your API key was reported as leaked.") is Verdict.FATAL
    assert verdict(1008, "Operation is not implemented, or supported, or enabled.") is Verdict.RESUME_LATER
    assert verdict(1008, "Operation is not implemented, or supported, or enabled.", phase=bind) is Verdict.FATAL
    assert verdict(1008, "Requested entity was not found.") is Verdict.RESUME_LATER
    assert verdict(1008, "Requested entity was not found.", first_time=False) is Verdict.HANDLE_DEAD
    assert verdict(1008, "Requested entity was not found.", first_time=False, with_handle=False) is Verdict.RESUME_LATER
    assert verdict(1008, "BidiGenerateContent session expired", phase=bind) is Verdict.HANDLE_DEAD
    assert verdict(1008, "BidiGenerateContent session expired", with_handle=False) is Verdict.RESUME_LATER
    assert verdict(1008, "The operation was aborted.") is Verdict.RESUME_NOW
    assert verdict(1011, "Internal error encountered.") is Verdict.RESUME_LATER
    assert verdict(1011, "Internal error encountered.", phase=bind) is Verdict.OLD_BINDING
    assert verdict(1011, "Internal error encountered.", phase=bind, in_grace=False) is Verdict.HANDLE_DEAD
    assert verdict(1011, "The service is currently unavailable.", phase=bind) is Verdict.RESUME_LATER
    assert verdict(1011, "Deadline expired before operation could complete.") is Verdict.RESUME_NOW
    assert verdict(1011, "You exceeded your current quota, please") is Verdict.RESUME_LATER
    assert verdict(1011, "keepalive ping timeout", side=Side.WE) is Verdict.RESUME_NOW
    assert verdict(1009, side=Side.WE) is Verdict.FATAL
    assert verdict(1012) is Verdict.RESUME_NOW
    assert verdict(1013) is Verdict.RESUME_LATER
    assert verdict(4999, "whatever") is Verdict.RESUME_LATER


@pytest.mark.parametrize(
    ("status", "renewable", "expected"),
    [
        (400, True, Verdict.FATAL),
        (401, False, Verdict.FATAL),
        (401, True, Verdict.RENEW_CREDENTIALS),
        (404, True, Verdict.FATAL),
        (429, False, Verdict.RESUME_LATER),
        (503, False, Verdict.RESUME_LATER),
    ],
)
def test_http_statuses(status: int, renewable: bool, expected: Verdict) -> None:
    assert verdict(phase=Phase.DIAL, status=status, renewable=renewable) is expected


def test_credentials_are_renewed_once() -> None:
    assert verdict(phase=Phase.DIAL, status=401, renewable=True, first_time=False) is Verdict.FATAL


def test_every_row_of_the_table_is_the_first_match_of_something() -> None:
    """A row that no failure reaches is dead."""
    reached = set()
    flags = list(itertools.product([True, False], repeat=4))
    for row in TABLE:
        for code, status, phase, side, given in itertools.product(
            row.codes or {None}, row.statuses or {None}, row.phases or set(Phase), [row.side or Side.THEY], flags
        ):
            failure = Failure(phase=phase, side=side, code=code, reason=row.reason or "", status=status)
            with_handle, first_time, in_grace, renewable = given
            for index, candidate in enumerate(TABLE):
                found = classify(
                    failure,
                    with_handle=with_handle,
                    first_time=first_time,
                    in_grace=in_grace,
                    renewable=renewable,
                )
                if (
                    found is candidate.verdict
                    and candidate is row
                    and candidate.with_handle in (None, with_handle)
                    and candidate.first_time in (None, first_time)
                    and candidate.in_grace in (None, in_grace)
                    and candidate.renewable in (None, renewable)
                ):
                    reached.add(index)
    assert reached == set(range(len(TABLE)))


def test_a_failure_reads_as_one_line() -> None:
    assert str(Failure(phase=Phase.DIAL, side=Side.THEY, status=503, reason="busy")) == "HTTP 503 busy"
    assert str(Failure(phase=Phase.LIVE, side=Side.THEY, code=1011, reason="Internal")) == "1011 Internal"
    assert str(Failure(phase=Phase.DIAL, side=Side.NOBODY, reason="unreachable")) == "unreachable"
    assert str(Failure(phase=Phase.DIAL, side=Side.NOBODY)) == "nobody"


# ---------------------------------------------------------------------- policy


def test_scaling_touches_times_and_nothing_else() -> None:
    scaled = Policy(handle_validity=10.0).scaled(0.1)
    assert scaled.connect_timeout == pytest.approx(1.0)
    assert scaled.handle_validity == pytest.approx(1.0)
    assert (scaled.audio_seconds, scaled.control_messages) == (30.0, 256)
    assert Policy().scaled(0.1).handle_validity is None


@pytest.mark.parametrize("factor", [0, -1.0, math.inf, math.nan])
def test_a_policy_is_scaled_by_a_number_above_zero(factor: float) -> None:
    with pytest.raises(ConfigurationError, match="above zero"):
        Policy().scaled(factor)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_outage", -1.0),
        ("max_outage", "5"),
        ("max_outage", None),
        ("handle_validity", "x"),
        ("send_wait", float("nan")),
        ("send_wait", True),
        ("control_messages", 1.5),
        ("control_messages", 0),
        ("cut_turn", "ignore"),
        ("resumption", True),
        ("transparent", 1),
        ("warm_dial", "no"),
        ("go_away_margin_min", 20.0),
        ("abort_idle", 1.0),
        ("delay_base", 31.0),
    ],
)
def test_a_field_that_makes_no_sense_is_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=field):
        Policy(**{field: value})  # type: ignore[arg-type]


# ---------------------------------------------------------------------- outage


class Asks(DefaultDecisions):
    answer: float | Exactly = 1.0

    def choose_delay(self, details: DelayDetails) -> float | Exactly:
        return self.answer


def delay(outage: Outage, now: float, decisions: Asks, *, hint: float | None = None) -> float:
    return outage.delay(decisions, verdict=Verdict.RESUME_LATER, retry_after=hint, draw=0.5, now=now)


def test_delays_are_jittered_unless_they_are_exact() -> None:
    decisions = Asks()
    outage = Outage(Policy())
    assert delay(outage, 0.0, decisions) == 0.5
    decisions.answer = Exactly(1.0)
    assert delay(outage, 0.0, decisions) == 1.0
    assert delay(outage, 0.0, decisions, hint=9.0) == 9.0


def test_no_hook_can_make_a_hot_loop() -> None:
    decisions = Asks()
    decisions.answer = Exactly(0.0)
    outage = Outage(Policy())
    now, dials = 0.0, []
    for _ in range(50):
        now += delay(outage, now, decisions)
        outage.dialled(now, ahead=False)
        dials.append(now)
    assert max(sum(start <= at < start + 60 for at in dials) for start in dials) == 10
    outage.proved()
    assert delay(outage, now, decisions) == 0.0


def test_the_same_failure_is_counted_until_a_connection_proves_itself() -> None:
    outage = Outage(Policy())
    failure = Failure(phase=Phase.LIVE, side=Side.THEY, code=1007)
    assert [outage.count(failure), outage.count(failure)] == [0, 1]
    assert outage.count(Failure(phase=Phase.BIND, side=Side.THEY, code=1007)) == 0
    outage.begin(5.0)
    outage.begin(9.0)
    assert outage.elapsed(10.0) == 5.0
    outage.proved()
    assert outage.count(failure) == 0
    assert outage.elapsed(10.0) == 0.0


# ---------------------------------------------------------------------- outbox


def message(text: str) -> ClientMessage:
    return decode_client(json.dumps(content(text)))


def chunk(seconds: float = 1.0) -> ClientMessage:
    return decode_client(json.dumps(audio(seconds)))


def test_the_lanes_keep_the_order_of_the_whole() -> None:
    outbox = Outbox(10.0)
    sent = [outbox.add(body) for body in (message("a"), chunk(), message("b"), chunk())]
    order = []
    for index in range(1, 5):
        first = outbox.first_unsent()
        assert first is not None
        outbox.mark_sent(first, index)
        order.append(first)
    assert order == sent
    assert outbox.first_unsent() is None
    outbox.rewind()
    assert outbox.first_unsent() is sent[0]
    again = [item for lane in (outbox.control, outbox.audio) for item in lane.unsent]
    assert sorted((item.seq, item.index, item.resent) for item in again) == [(seq, seq, True) for seq in range(1, 5)]


def test_only_messages_that_were_never_sent_count_as_waiting() -> None:
    outbox = Outbox(10.0)
    first = outbox.add(message("a"))
    assert outbox.waiting == 1
    outbox.mark_sent(first, 1)
    outbox.rewind()
    assert (outbox.waiting, outbox.waiting_bytes) == (0, 0)
    second = outbox.add(message("b"))
    outbox.remove({second, first})
    outbox.remove(set())
    assert (outbox.waiting, outbox.waiting_bytes, outbox.first_unsent()) == (0, 0, None)
    assert outbox.control.unsent_bytes == 0


def test_a_message_may_be_sent_before_those_in_front_of_it() -> None:
    outbox = Outbox(10.0)
    outbox.add(message("a"))
    second = outbox.add(message("b"))
    outbox.mark_sent(second, 1)
    assert [item.body.text for item in outbox.control.unsent] == ["a"]


def test_pruning_by_index_takes_every_lane() -> None:
    outbox = Outbox(10.0)
    for index, body in enumerate([chunk(), chunk()], 1):
        outbox.mark_sent(outbox.add(body), index)
    outbox.set_border(100)
    for index, body in enumerate([chunk(), message("a"), chunk(), message("b")], 3):
        outbox.mark_sent(outbox.add(body), index)
    outbox.prune_audio(4)
    pruned = outbox.control.prune(4)
    assert [item.body.text for item in pruned] == ["a"]
    assert not outbox.before_border
    assert [(frame.seq, frame.index) for frame in outbox.sent_audio.take()] == [(5, 5)]
    assert len(outbox.control.sent) == 1


def test_audio_that_streams_is_numbered_as_what_is_sent_beside_it_leaves_room() -> None:
    outbox, body = Outbox(10.0), chunk()
    outbox.stream(body, 1)
    outbox.stream(body, 2)
    outbox.skip()  # counts as a position, and takes no index
    outbox.stream(body, 3)
    outbox.mark_sent(outbox.add_own(message("a")), 4)  # takes an index, and has no position
    outbox.stream(body, 5)
    outbox.stream(body, 6)
    assert [(frame.seq, frame.index) for frame in outbox.sent_audio.take()] == [(1, 1), (2, 2), (4, 3), (5, 5), (6, 6)]


def test_audio_that_streams_leaves_room_for_what_is_before_the_border() -> None:
    outbox, body = Outbox(10.0), chunk()
    for index in range(1, 7):
        outbox.stream(body, index)
    outbox.set_border(5)
    for index in range(7, 20):
        outbox.stream(body, index)
    assert (len(outbox.before_border), len(outbox.sent_audio)) == (4, 6)
    assert outbox.prune_border(2) == 2.0
    for index in range(20, 25):
        outbox.stream(body, index)
    assert (len(outbox.before_border), len(outbox.sent_audio)) == (2, 8)
    assert outbox.clear_border() == 2.0
    for index in range(25, 30):
        outbox.stream(body, index)
    assert len(outbox.sent_audio) == 10


def test_audio_before_a_border_that_is_lifted_is_the_oldest_and_goes_first() -> None:
    outbox, body = Outbox(10.0), chunk()
    for index in range(1, 7):
        outbox.stream(body, index)
    outbox.set_border(5)
    for index in range(7, 20):
        outbox.stream(body, index)
    outbox.lift_border()
    assert (len(outbox.before_border), len(outbox.sent_audio)) == (0, 10)
    for index in range(20, 22):
        outbox.stream(body, index)
    assert outbox.lacks(0, 2), "the oldest two"
    assert not outbox.lacks(2, 4)
    outbox.prune_audio(4)
    assert [frame.index for frame in outbox.sent_audio.take()] == list(range(14, 22))
    outbox.rewind()
    assert outbox.lost_seconds == 9.0, "5 to 13 went while the border was kept"


def test_audio_before_the_border_counts_first_and_is_never_trimmed() -> None:
    outbox = Outbox(10.0)
    for index in range(1, 9):
        outbox.mark_sent(outbox.add(chunk()), index)
    outbox.set_border(100)
    for index in range(9, 14):
        outbox.mark_sent(outbox.add(chunk()), index)
    assert (len(outbox.before_border), len(outbox.sent_audio)) == (8, 2)
    outbox.rewind()
    assert outbox.audio.unsent_seconds == 10.0
    assert outbox.lost_seconds == 3.0


def test_audio_that_was_let_go_is_lost_unless_a_handle_covers_it_after_all() -> None:
    outbox = Outbox(10.0)
    for index in range(1, 201):
        outbox.mark_sent(outbox.add(chunk()), index)
    outbox.prune_audio(100)
    outbox.rewind()
    assert outbox.audio.unsent_seconds == 10.0
    assert 90.0 <= outbox.lost_seconds <= 90.0 + 64, "accounted for in grains of 64 frames"
    assert outbox.clear_border() == 0.0


# ---------------------------------------------------------------------- inbox, handles, transcript, setup


def test_the_inbox_is_full_by_frames_or_by_bytes() -> None:
    frame = decode_server(b'{"usageMetadata":{}}')
    by_frames = Inbox(max_frames=1, max_bytes=1000)
    assert not by_frames.full
    by_frames.put(frame)
    assert by_frames.full
    by_bytes = Inbox(max_frames=10, max_bytes=30)
    by_bytes.put(frame)
    assert not by_bytes.full
    by_bytes.put(frame)
    assert by_bytes.full
    assert len(by_bytes) == 2
    taken = by_bytes.take()
    assert taken is not None
    assert taken.message is frame
    assert by_bytes.full, "it opens again at half, not frame by frame"
    by_bytes.take()
    assert (by_bytes.full, by_bytes.size) == (False, 0)


def test_discarding_leaves_endings_and_other_turns() -> None:
    frame = decode_server(b'{"serverContent":{"modelTurn":{}}}')
    mine, other = Turn(), Turn()
    inbox = Inbox(max_frames=10, max_bytes=1000)
    inbox.put(frame, Kind.OUTPUT, mine)
    inbox.put(frame, Kind.KEEP, mine)
    inbox.put(frame, Kind.OUTPUT, other)
    assert inbox.discard(mine) == 1
    assert inbox.discard(mine) == 0
    assert len(inbox) == 2
    inbox.take()
    inbox.take()
    assert (mine.shown, other.shown) == (False, True)
    assert inbox.take() is None


def test_the_transcript_is_bounded_by_turns_and_bytes() -> None:
    transcript = Transcript(max_turns=2, max_bytes=10)
    for text in ("one", "two", "three", ""):
        transcript.add(HistoryTurn(role="user", text=text))
    assert [turn.text for turn in transcript.turns()] == ["two", "three"]
    assert transcript.holes == 1
    transcript.add(HistoryTurn(role="user", text="longer than ten"))
    assert transcript.turns() == []
    transcript.add_message(decode_client('{"realtimeInput":{"text":"hi"}}'))
    transcript.add_message(chunk())
    assert [turn.text for turn in transcript.turns()] == ["hi"]


@pytest.mark.parametrize(
    ("model", "form"),
    [
        (MODEL_2, TextForm.CONTENT),
        (MODEL_3, TextForm.REALTIME),
        ("projects/p/locations/l/publishers/google/models/gemini-live-2.5-flash", TextForm.CONTENT),
        ("tunedModels/mine", TextForm.CONTENT),
    ],
)
def test_the_form_of_text_goes_by_the_model(model: str, form: TextForm) -> None:
    assert Setup.parse(json.dumps({"setup": {"model": model}})).text_form is form


def test_history_is_bounded_by_half_of_what_triggers_compression() -> None:
    frame = {"setup": {"model": MODEL_2, "contextWindowCompression": {"triggerTokens": "1000"}}}
    assert Setup.parse(json.dumps(frame)).replay_bytes(4000) == 2000
    assert Setup.parse(json.dumps(frame)).replay_bytes(100) == 100
    assert Setup.parse(json.dumps({"setup": {"model": MODEL_2}})).replay_bytes(4000) == 4000


def test_of_a_turn_without_an_end_the_newest_words_are_kept() -> None:
    pieces: list[str] = []
    for number in range(10_000):
        keep(pieces, str(number))
        assert len(pieces) <= 2000
    assert pieces[-1000:] == [str(number) for number in range(9000, 10_000)]
