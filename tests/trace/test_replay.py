"""A trace can be run again, by whoever has it: masked or not, and it shows where an engine does otherwise."""

from __future__ import annotations

import functools
import json
import math

import pytest

from resumekit.core import actions, inputs
from resumekit.core.engine import Engine
from resumekit.core.failures import Failure, Phase, Side, Verdict
from resumekit.core.handles import PendingCall, PendingMessage
from resumekit.core.policy import Exactly, Move, Policy, Recovery, RecoveryAction
from resumekit.errors import ConfigurationError, SessionClosed
from resumekit.trace import TracedEngine, read_trace, replay
from resumekit.wire import FunctionResponse, HistoryTurn, ResumptionHandle, args_key, decode_server
from tests.core.bench import Bench, content
from tests.core.schedules import PROFILES, run
from tests.traces import write

SEEDS = 4


class Recorded(Bench):
    """A bench whose engine's records are at hand."""

    def __init__(self, **arguments):
        self.records = []
        super().__init__(make=self.make, **arguments)

    def make(self, *arguments, **named):
        return TracedEngine(*arguments, record=self.records.append, **named)


def kept(tmp_path, records, *, payloads=False):
    path = tmp_path / "call.jsonl"
    write(path, list(records), payloads=payloads)
    return path


@pytest.mark.parametrize("profile", PROFILES)
def test_every_schedule_comes_to_the_same_again(profile, tmp_path):
    """Tools, cuts, moves, fresh starts, speech, replayed history: masked, and as it was."""
    for seed in range(SEEDS):
        records = []
        run(seed, profile, engine=functools.partial(TracedEngine, record=records.append))
        for payloads in (False, True):
            result = replay(kept(tmp_path, records, payloads=payloads))
            assert result.same, f"{profile} {seed}, payloads={payloads}: {result}"
            assert result.outputs > 10
            assert result.inputs == sum("in" in line for _, line in result.trace.lines())


class Odd:
    """Decides what no default does."""

    def choose_delay(self, details):
        return Exactly(0.125) if details.attempt == 1 else 0.75

    def classify_failure(self, details):
        return Verdict.RESUME_LATER

    def choose_move(self, details):
        return Move(deadline=math.inf, warm_dial=None)

    def choose_recovery(self, details):
        return Recovery(action=RecoveryAction.FRESH, turns=[HistoryTurn("user", "made up")])


FAILED = Failure(phase=Phase.DIAL, side=Side.THEY, status=503, reason="try later", retry_after=0.5, error=OSError("no"))
INSERTED = decode_server(b'{"usageMetadata": {"totalTokenCount": 7}}')


def odd_session():
    """Everything that an engine can be fed, and answered."""
    draws = iter(range(1, 1000))
    bench = Recorded(
        decisions=Odd(),
        policy=Policy(max_outage=math.inf, audio_seconds=math.inf),
        random=lambda: next(draws) / 1000,
        history=[HistoryTurn("user", "before"), HistoryTurn("model", "of old")],
        loads_history=True,
        credentials_renewable=True,
    )
    call = PendingCall("c", "f", args_key("f", {"of": 1}), FunctionResponse("c", "f", {"output": "done"}))
    pending = PendingMessage(json.dumps(content("not heard")), sent=True, answered=True, calls=(call,))
    bench.feed(inputs.Start(ResumptionHandle("from-the-store"), 1.5, [pending]))
    bench.bind()
    bench.feed(inputs.Remember([HistoryTurn("user", "remembered", has_other_parts=True)]))
    bench.asks("one")
    bench.says("an answer")
    bench.calls(("call-1", "book", {"city": "Paris"}))
    bench.responds("call-1", "book", "booked")
    bench.feed(inputs.FrameUnreadable(bench.live, 12, "is not JSON"))
    bench.feed(inputs.PongReceived(bench.live))
    bench.completes()
    bench.update("handle-2")
    bench.engine.insert(INSERTED)
    assert bench.shown
    bench.goes_away("20s")
    bench.feed(inputs.ForceReconnect())
    bench.closes()
    bench.feed(inputs.DialFailed(bench.connection, FAILED))
    bench.feed(inputs.HistoryLoaded([HistoryTurn("user", "of the app")]))
    bench.feed(inputs.ClockJumped(30.0, 2.0))
    bench.redial()
    bench.refuse(1008, "token expired: Bearer very.secret-token")
    bench.resume()
    bench.asks("two")
    bench.says("another answer")
    bench.completes()
    bench.update("handle-3")
    bench.cut(1011, "internal")
    bench.feed(inputs.Close(forget=True))
    return bench


@pytest.mark.parametrize("payloads", [False, True])
def test_all_that_can_happen_can_be_replayed_without_plugins_and_draws(payloads, tmp_path):
    bench = odd_session()
    path = kept(tmp_path, bench.records, payloads=payloads)
    result = replay(path)
    assert result.same, result
    assert result.raised is None
    assert [type(event).__name__ for event in result.events] == [
        type(action.event).__name__ for action in bench.actions if isinstance(action, actions.Notify)
    ]
    assert result.engine.stats.snapshot() == bench.engine.stats.snapshot()
    lines = [line for _, line in result.trace.lines()]
    assert {kind.__name__ for kind in inputs.Input.__args__} - {line.get("in") for line in lines} == set()
    asked = {kind for line in lines for kind, _ in line.get("asked", ())}
    assert asked == {"delay", "draw", "verdict", "move", "recovery"}
    text = path.read_text("utf-8")
    assert "secret" not in text
    assert "handle-2" not in text
    assert "from-the-store" not in text
    assert ("Paris" in text) is payloads


def crash(*_):
    raise ZeroDivisionError("a defect")


def test_a_defect_that_raises_is_raised_again(tmp_path, monkeypatch):
    monkeypatch.setattr(Engine, "_on_pong", crash)
    bench = Recorded()
    bench.connect()
    with pytest.raises(ZeroDivisionError):
        bench.feed(inputs.PongReceived(bench.live))
    path = kept(tmp_path, bench.records)
    result = replay(path)
    assert result.same
    assert str(result).endswith("it raises ZeroDivisionError: a defect, as it did then")
    monkeypatch.undo()
    assert "it raised ZeroDivisionError: a defect, and now nothing" in str(replay(path))


def test_what_is_sent_after_the_end_is_no_part_of_it(tmp_path):
    bench = odd_session()
    with pytest.raises(SessionClosed):
        bench.asks("too late")
    assert replay(kept(tmp_path, bench.records)).same


# --- what differs ----------------------------------------------------------------------------------------------------


def changed(tmp_path, change):
    """Return what comes of a trace in which lines were changed."""
    path = kept(tmp_path, odd_session().records)
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return replay(path)


def doing(lines, kind):
    """Return the first action of a kind, and where it is."""
    return next(
        (number, action)
        for number, line in enumerate(lines, 1)
        for action in line.get("out", ())
        if kind in (action["do"], action.get("event"))
    )


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("SendFrame", "size", 7),
        ("SendFrame", "kind", "clientContent"),
        ("SendFrame", "digest", "00000000"),
        ("SendFrame", "connection", 9),
        ("ConnectionLost", "verdict", "fatal"),
        ("ReconnectScheduled", "delay", 1.0),
        ("SaveHandle", "index", 3),
        ("Finish", "error", "SessionLost: no"),
        ("OpenConnection", "connection", 2),
        ("HandleReceived", "digest", "h?"),
    ],
)
def test_each_thing_that_an_action_says_counts(kind, name, value, tmp_path):
    at = 0

    def change(lines):
        nonlocal at
        at, action = doing(lines, kind)
        action[name] = value

    result = changed(tmp_path, change)
    assert not result.same
    assert result.difference.line == at
    assert f"differs in {name}" in result.difference.what
    assert f"{value!r}" in result.difference.what
    assert f"line {at}, " in str(result)
    assert "outputs before it are the same" in str(result)


def test_a_handle_has_to_be_the_same_wherever_it_is_named(tmp_path):
    """Their digests are others in a masked trace; but each stands for one handle."""

    def change(lines):
        named = [action for line in lines for action in line.get("out", ()) if action.get("event") == "HandleReceived"]
        assert len({action["digest"] for action in named}) == len(named) > 1
        named[1]["digest"] = named[0]["digest"]

    result = changed(tmp_path, change)
    assert "differs in digest" in str(result)


def test_one_action_more_or_less_is_told(tmp_path):
    result = changed(tmp_path, lambda lines: doing(lines, "OpenConnection") and lines[2]["out"].pop())
    assert "one output more now" in str(result)
    result = changed(tmp_path, lambda lines: lines[2]["out"].append({"do": "ForgetHandle"}))
    assert "one output less now" in str(result)


def test_a_frame_for_the_application_counts(tmp_path):
    result = changed(tmp_path, lambda lines: next(line for line in lines if "took" in line)["took"].update(size=1))
    assert "the frame for the application differs in size" in str(result)


def test_the_counters_at_the_end_count(tmp_path):
    result = changed(tmp_path, lambda lines: lines[-1]["end"].update(dials=99))
    assert "the counters differs in dials" in str(result)


def test_another_question_is_a_difference(tmp_path):
    def first(lines):
        return next(line for line in lines if line.get("asked"))

    result = changed(tmp_path, lambda lines: first(lines)["asked"].pop(0))
    assert "it asks for a " in str(result)
    result = changed(tmp_path, lambda lines: first(lines)["asked"].append(["draw", 0.5]))
    assert "it asked for a draw, and does not now" in str(result)


def test_the_lines_before_a_difference_are_shown_in_words(tmp_path):
    result = changed(tmp_path, lambda lines: doing(lines, "Connected")[1].update(replayed_turns=5))
    told = str(result).splitlines()
    assert any("Start -> OpenConnection" in line for line in told)
    assert any("Dialed, connection 1 -> send setup (" in line for line in told)
    assert told[-1].startswith("the ")


def test_another_engine_can_be_replayed(tmp_path):
    path = kept(tmp_path, odd_session().records)

    class Eager(Engine):
        __slots__ = ()

        def _on_force_reconnect(self):
            pass

    assert replay(path).same
    assert not replay(path, engine=Eager).same


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_torn_last_line_is_left_out(tmp_path):
    path = kept(tmp_path, odd_session().records)
    whole = replay(path)
    data = path.read_bytes()
    for cut in (1, 20, 100):
        path.write_bytes(data[:-cut])
        torn = replay(path)
        assert torn.same
        assert torn.inputs <= whole.inputs


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is no trace of resumekit"),
        ("hello\n", "is no trace of resumekit"),
        ("[]\n", "is no trace of resumekit; one is written by a session"),
        ('{"a": 1}\n', "is no trace of resumekit; one is written by a session"),
        ('{"resumekit_trace": 99, "version": "9.9"}\n{}\n', "of format 99, written by resumekit 9.9"),
        ('{"resumekit_trace": 1}\n', "is no trace of resumekit"),
        ('{"resumekit_trace": 1}\n{"x": 1}\n', "ends before the session begins"),
        ('{"resumekit_trace": 1}\n{"setup": 1, "policy": {}}\n', "cannot be replayed"),
    ],
)
def test_what_is_no_trace_says_so(text, problem, tmp_path):
    path = tmp_path / "call.jsonl"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigurationError, match=problem):
        replay(path)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(ConfigurationError, match=r"cannot be read: No such file"):
        read_trace(tmp_path / "none.jsonl")


@pytest.mark.parametrize("bad", ["{", "[1]", '{"in": "Nothing", "now": 1.0}', '{"in": "Dialed", "now": 1.0}'])
def test_damage_in_the_middle_says_where(bad, tmp_path):
    path = kept(tmp_path, odd_session().records)
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([*lines[:10], bad, *lines[10:]]) + "\n", "utf-8")
    with pytest.raises(ConfigurationError, match=r"damaged in line 11|cannot be replayed"):
        replay(path)
