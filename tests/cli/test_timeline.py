"""``resumekit timeline``: what is drawn is what the trace holds, on one page that loads nothing."""

from __future__ import annotations

import functools
import html
import json
import re
import stat
from collections import Counter
from xml.etree import ElementTree as ET

import pytest

from resumekit.cli import main
from resumekit.cli._timeline.drawing import LEFT, RIGHT, draw
from resumekit.cli._timeline.growing import GrowingStory
from resumekit.cli._timeline.page import page
from resumekit.cli._timeline.reading import read_story
from resumekit.cli._timeline.story import in_time
from resumekit.core import inputs
from resumekit.core.failures import Failure, Phase, Side
from resumekit.core.state import State
from resumekit.trace import TracedEngine, read_trace
from tests.core.bench import Bench, audio
from tests.core.schedules import PROFILES, run
from tests.traces import write

SVG = "{http://www.w3.org/2000/svg}"


def traced():
    """Return a bench, and what will be recorded of it."""
    records = []
    bench = Bench(
        make=lambda *given, **named: TracedEngine(*given, record=records.append, clock=lambda: bench.now, **named)
    )
    return bench, records


def a_call():
    """A call with a bit of everything, and its records."""
    bench, records = traced()
    bench.start()
    bench.tick(0.1)
    bench.bind()
    bench.tick(1.0)
    bench.asks("one <b>&</b> only")
    bench.tick(0.5)
    bench.says("an ")
    bench.tick(0.5)
    bench.says("answer")
    bench.completes()
    bench.update("handle-1")
    bench.notes("by the way")
    bench.speaks(1.0)
    bench.tick(1.0)
    bench.asks("two")
    bench.calls(("call-1", "book", {"a": 1}), ("call-2", "ask", {}))
    bench.tick(0.25)
    bench.responds("call-1", "book", "done")
    bench.server({"toolCallCancellation": {"ids": ["call-2"]}})
    bench.says("half of")
    assert bench.shown
    bench.tick(0.5)
    bench.cut(1011, "Internal error encountered.", side=Side.THEY)
    bench.redial()
    refused = Failure(phase=Phase.DIAL, side=Side.THEY, status=503, reason="try later")
    bench.feed(inputs.DialFailed(bench.connection, refused))
    bench.resume()
    bench.tick(0.2)
    bench.says("the whole of it")
    bench.completes()
    bench.update("handle-2")
    bench.goes_away("30s")
    bench.tick(17.0)
    bench.feed(inputs.Dialed(bench.connection))
    bench.tick(3.0)
    bench.closes()
    bench.live = bench.connection
    bench.tick(0.1)
    bench.server({"setupComplete": {}})
    bench.tick(1.0)
    bench.feed(inputs.Close())
    return records


def kept(tmp_path, records, *, payloads=True):
    path = tmp_path / "call.jsonl"
    write(path, records, payloads=payloads)
    return path


@pytest.fixture
def path(tmp_path):
    return kept(tmp_path, a_call())


def lines_of(path):
    return [line for _, line in read_trace(path).lines()]


def told(path, event):
    return [action for line in lines_of(path) for action in line.get("out", ()) if action.get("event") == event]


def drawn(picture):
    return Counter(group.get("data-kind") for group in ET.fromstring(picture).iter(f"{SVG}g") if group.get("data-kind"))


def test_a_story_tells_what_happened(path):
    story = read_story(read_trace(path))
    assert [(one.how, one.cut, one.failed, one.ahead) for one in story.connections] == [
        ("first", True, False, False),
        ("unbound", False, True, False),
        ("resumed", False, False, False),
        ("resumed", False, False, True),
    ]
    first, refused, second, _ = story.connections
    assert first.ending == "1011 Internal error encountered. (resume later)"
    assert refused.ending.startswith("HTTP 503 try later")
    assert second.ending == "left by the session, for the next one"
    assert (first.at, first.opened_at, first.setup_at, first.bound_at) == pytest.approx((0.0, 0.1, 0.1, 0.1), abs=1e-6)
    assert [(one.outcome, one.again, one.text) for one in story.answers] == [
        ("whole", False, "an answer"),
        ("cut", False, "half of"),
        ("whole", True, "the whole of it"),
    ]
    assert story.answers[0].end - story.answers[0].at == pytest.approx(0.5)
    assert [(one.name, one.outcome) for one in story.tools] == [("book", "answered"), ("ask", "cancelled")]
    assert story.tools[0].end - story.tools[0].at == pytest.approx(0.25)
    assert [(one.number, one.asks, one.text) for one in story.questions] == [
        (1, True, "one <b>&</b> only"),
        (2, False, "by the way"),
        (3, True, "two"),
    ]
    (spoken,) = story.speech
    assert (spoken.frames, spoken.seconds) == (10, pytest.approx(1.0))
    assert [(gap.planned, gap.for_good) for gap in story.gaps] == [(False, False), (True, False)]
    assert [handle.kept for handle in story.handles] == [True, True]
    (away,) = story.go_aways
    assert away.end - away.at == pytest.approx(30.0)
    assert away.at < away.move_by < away.end
    assert story.resends[0].messages > 0
    assert story.phases[0].state is State.IDLE or story.phases[0].state is State.DIALING
    assert story.phases[-1].state is State.CLOSED
    assert {State.BINDING, State.LIVE, State.WAITING, State.DRAINING, State.MOVING} <= {
        one.state for one in story.phases
    }
    assert story.whole
    assert story.error is None


def test_a_summary_says_it_in_words(path):
    summary = read_story(read_trace(path)).summary()
    for words in (
        "on the Gemini Developer API, over 3 connections; 1 cut, 1 planned move, 2 resumed with a handle;",
        "2 turns answered, 1 of them given again",
        "s without a connection, at most",
    ):
        assert words in summary
    assert not re.search(r"trace ends|lost", summary)


@pytest.mark.parametrize("payloads", [False, True])
@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_drawn_is_what_the_trace_holds(profile, payloads, tmp_path):
    for seed in range(3):
        records = []
        run(seed, profile, engine=functools.partial(TracedEngine, record=records.append))
        path = kept(tmp_path, records, payloads=payloads)
        lines = lines_of(path)
        story = read_story(read_trace(path))
        counted = drawn(draw(story))

        actions = [action for line in lines for action in line.get("out", ())]
        assert counted["connection"] == sum(action["do"] == "OpenConnection" for action in actions)
        assert counted["cut"] == sum(action["phase"] == "live" for action in told(path, "ConnectionLost"))
        assert counted["handle"] == len(told(path, "HandleReceived"))
        assert counted["go-away"] == len(told(path, "GoAwayReceived"))
        again = told(path, "Resumed") + told(path, "FreshStarted")
        over = [gap for gap in story.gaps if not gap.for_good and not gap.so_far]
        assert len(over) == len(again)
        assert sum((gap.end or 0.0) - gap.at for gap in over) == pytest.approx(
            sum(action["downtime"] for action in again)
        )
        assert counted == Counter({kind: number for kind, number in story.counts().items() if number})
        for item in (*story.connections, *story.answers, *story.tools, *story.phases, *story.gaps):
            assert 0.0 <= item.at <= (story.length if item.end is None else item.end) <= story.length


def test_places_are_in_proportion_to_times(path):
    story = read_story(read_trace(path))
    tree = ET.fromstring(draw(story))
    seconds = float(tree.get("data-seconds"))
    groups = [group for group in tree.iter(f"{SVG}g") if group.get("data-kind")]
    for group in groups:
        at = float(group.get("data-a"))
        x = float(re.match(r"translate\(([\d.]+) ", group.get("transform"))[1])
        assert x == pytest.approx(LEFT + at / seconds * (RIGHT - LEFT), abs=0.02)
        for box in group.iter(f"{SVG}rect"):
            if box.get("data-w") is not None:
                wide = float(box.get("data-w")) / seconds * (RIGHT - LEFT)
                assert float(box.get("width")) == pytest.approx(max(wide, float(box.get("data-least"))), abs=0.02)
    answers = [group for group in groups if group.get("data-kind") == "answer"]
    assert all(group.get("data-b") for group in answers)


def test_a_picture_needs_nothing_else_and_no_words_can_break_out_of_it(tmp_path):
    bench, records = traced()
    bench.connect()
    evil = "</title></svg><script>alert(1)</script>\"'&<!-- ]]> https://evil.example/x.js"
    bench.asks(evil)
    bench.tick(1.0)
    bench.says(evil)
    bench.tick(20.0)
    bench.completes()
    bench.calls(("c", evil, {}))
    bench.cut(1008, evil, side=Side.THEY)
    story = read_story(read_trace(kept(tmp_path, records)))
    picture, whole = draw(story), page(story)
    assert "evil.example" in picture, "or nothing is proved"
    elements = [element.tag.removeprefix(SVG) for element in ET.fromstring(picture).iter()]
    assert set(elements) == {"svg", "title", "style", "rect", "text", "g", "clipPath", "line", "path", "circle"}
    assert whole.count("<script>") == whole.count("</script>") == 1
    assert whole.count("<svg") == whole.count("</svg>") == 1
    tags = re.findall(r"<(\w+)[^>]*?\s(?:src|href|xlink:href|action|data)=[\"']([^\"']*)", whole)
    assert tags == [("link", "data:,")]
    assert "default-src 'none'" in whole
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest|import\(", whole)


def test_the_page_lists_what_happened_in_order(path):
    whole = page(read_story(read_trace(path)))
    rows = re.findall(
        r'<tr class="([\w-]+)" data-item="(\d+)"><td>([^<]*)</td><td>([^<]*)</td><td>([^<]*)</td></tr>', whole
    )
    items = re.findall(r'<g class="item" data-kind="([\w-]+)" data-a="([\d.]+)"[^>]*><title>([^<]*)</title>', whole)
    times = [float(items[int(number)][1]) for _, number, *_ in rows]
    assert times == sorted(times)
    for kind, number, clock, _, words in rows:
        assert items[int(number)][0] == kind
        assert items[int(number)][2] == f"{clock}  {words}"
    assert html.unescape(next(words for kind, _, _, _, words in rows if kind == "cut")) == (
        "connection 1 is cut: 1011 Internal error encountered. (resume later)"
    )
    assert {kind for kind, *_ in rows} == {"connection", "cut", "gap", "go-away", "note", "resend"}


def test_masked_words_are_not_shown(tmp_path):
    path = kept(tmp_path, a_call(), payloads=False)
    whole = page(read_story(read_trace(path)))
    assert re.search(r"message 1: \d+ bytes", whole), "its size is"
    assert (
        "only"
        not in re.sub(r"<(script|style)>.*?</\1>|handle-only", "", whole, flags=re.DOTALL).partition("<footer>")[0]
    )
    assert "texts are masked" in whole


def test_a_trace_that_ends_in_the_middle_is_drawn_up_to_there(path, capsys):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert main(["timeline", str(path)]) == 0
    assert "the trace ends before the session does." in capsys.readouterr().out
    for line in range(3, 40):
        path.write_bytes(b"".join(data.splitlines(keepends=True)[:line]))
        ET.fromstring(draw(read_story(read_trace(path))))


def test_the_error_of_a_lost_session_is_told(tmp_path):
    bench, records = traced()
    bench.connect()
    bench.cut(1008, "models/none is not found", side=Side.THEY)
    story = read_story(read_trace(kept(tmp_path, records)))
    assert "the end: SessionLost: the session was lost" in story.summary()
    assert story.gaps[-1].for_good
    assert story.phases[-1].state is State.LOST


def test_an_outage_that_goes_on_is_told_so_far_and_not_for_good(tmp_path):
    bench, records = traced()
    bench.connect()
    bench.tick(1.0)
    bench.cut()
    path = kept(tmp_path, records)
    story = GrowingStory(path).story(clock=bench.now + 20.0)
    assert story.goes_on
    assert story.length == pytest.approx(21.0, abs=0.5)
    assert story.gaps[-1].title == "no connection for 20.00 s so far"
    assert "20.00 s so far" in draw(story)
    assert story.summary().endswith("; it goes on.")
    left = read_story(read_trace(path))
    assert left.gaps[-1].title == "no connection for 0.00 s so far"
    assert left.summary().endswith("the trace ends before the session does.")
    assert "for good" not in draw(story) + draw(left)


def test_a_repeated_call_that_the_engine_answers_ends_there(tmp_path):
    bench, records = traced()
    began = bench.now
    bench.connect()
    bench.asks("one")
    bench.calls(("c1", "book", {"a": 1}), ("c2", "look", {}))
    assert bench.shown
    bench.tick(1.0)
    bench.cut()
    bench.tick(0.01)
    bench.responds("c1", "book", "done")
    bench.resume()
    bench.calls(("d2", "look", {}), ("d1", "book", {"a": 1}))
    again = bench.now
    bench.tick(2.0)
    bench.responds("c2", "look", "seen")
    bench.tick(3.0)
    story = read_story(read_trace(kept(tmp_path, records)))
    book, look, repeated = story.tools
    assert [(tool.call_id, tool.outcome) for tool in story.tools] == [
        ("c1", "answered"),
        ("c2", "answered"),
        ("d1", "repeated"),
    ]
    assert repeated.at == repeated.end == pytest.approx(again - began), "it did not run"
    assert book.end < repeated.at
    assert look.end == pytest.approx(repeated.at + 2.0), "the application ran it once, through the cut"


def test_speech_with_a_pause_is_two(tmp_path):
    bench, records = traced()
    bench.connect()
    bench.speaks(0.5)
    bench.tick(2.0)
    bench.speaks(0.5)
    bench.sends(audio(0.1))
    story = read_story(read_trace(kept(tmp_path, records)))
    assert [round(one.seconds, 3) for one in story.speech] == [0.5, 0.6]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.25, "0.2 s"), (89.94, "89.9 s"), (90.0, "1 min 30 s"), (3599.0, "59 min 59 s"), (7265.0, "2 h 1 min")],
)
def test_times_in_words(seconds, words):
    assert in_time(seconds) == words


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_writes_a_page_beside_the_trace(path, capsys):
    assert main(["timeline", str(path)]) == 0
    said = capsys.readouterr().out
    assert said.endswith(f"The page: {path.with_suffix('.html')}\n")
    assert said.startswith(read_story(read_trace(path)).summary())
    assert path.with_suffix(".html").read_text("utf-8").startswith("<!doctype html>")


def test_the_command_writes_where_it_is_told(path, tmp_path, capsys):
    page_, picture = tmp_path / "a.html", tmp_path / "b.svg"
    assert main(["timeline", str(path), "-o", str(page_), "--svg", str(picture)]) == 0
    assert f"The page: {page_}\nThe picture: {picture}\n" in capsys.readouterr().out
    assert not path.with_suffix(".html").exists()
    assert picture.read_text("utf-8").strip() in page_.read_text("utf-8")


def test_what_is_written_is_for_its_owner_alone(path, tmp_path):
    page_, picture = tmp_path / "a.html", tmp_path / "b.svg"
    page_.touch(0o644)
    assert main(["timeline", str(path), "-o", str(page_), "--svg", str(picture)]) == 0
    assert [stat.S_IMODE(written.stat().st_mode) for written in (page_, picture)] == [0o600, 0o600]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-o", "TRACE"], "the page would be written over the trace"),
        (["--svg", "TRACE"], "the picture would be written over the trace"),
        (["-o", "z", "--svg", "z"], "the picture would be written over the page"),
    ],
)
def test_nothing_is_written_over_the_trace_nor_over_what_was_written(options, said, path, capsys, monkeypatch):
    monkeypatch.chdir(path.parent)
    before = path.read_bytes()
    assert main(["timeline", str(path), *(str(path) if option == "TRACE" else option for option in options)]) == 2
    assert said in capsys.readouterr().err
    assert path.read_bytes() == before
    assert not path.with_name("z").exists()


def test_a_trace_that_is_called_as_a_page_is_not_overwritten(path, capsys):
    page_ = path.rename(path.with_suffix(".html"))
    before = page_.read_bytes()
    assert main(["timeline", str(page_)]) == 2
    assert "name another file with -o" in capsys.readouterr().err
    assert page_.read_bytes() == before


def test_what_cannot_be_read_or_written_ends_with_2(path, tmp_path, capsys):
    assert main(["timeline", str(tmp_path / "none.jsonl")]) == 2
    assert "cannot be read: No such file" in capsys.readouterr().err
    (tmp_path / "no").write_text("hello\n")
    assert main(["timeline", str(tmp_path / "no")]) == 2
    assert "is no trace of resumekit" in capsys.readouterr().err
    assert main(["timeline", str(path), "-o", str(tmp_path / "none" / "x.html")]) == 2
    assert "the page cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "damage"),
    [
        ("replay", '"now":null'),
        *(("timeline", each) for each in ('"now":null', '"now":{}', '"connection":[]', '"no":1')),
    ],
)
def test_a_damaged_trace_is_one_clear_line(command, damage, path, tmp_path, capsys):
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_text(re.sub(r'"(now|connection)":[\d.]+', damage, path.read_text("utf-8")))
    assert main([command, str(damaged)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"resumekit: {damaged} is damaged, and cannot be ")
    assert said.count("\n") == 1
    assert not damaged.with_suffix(".html").exists()


def test_replay_goes_on_after_a_file_that_is_no_trace(path, tmp_path, capsys):
    none = tmp_path / "none.jsonl"
    assert main(["replay", str(none), str(path)]) == 2
    said = capsys.readouterr()
    assert said.err == f"resumekit: {none} cannot be read: No such file or directory\n"
    assert said.out.startswith(f"{path}: same: ")


def test_replay_tells_what_is_the_same_and_what_is_not(path, tmp_path, capsys):
    assert main(["replay", str(path)]) == 0
    said = capsys.readouterr().out
    assert re.fullmatch(rf"{path}: same: the same \d+ outputs to \d+ inputs\n", said)
    other = tmp_path / "other.jsonl"
    other.write_text(path.read_text("utf-8").replace('"verdict":"resume later"', '"verdict":"fatal"'))
    assert main(["replay", str(path), str(other)]) == 1
    first, second, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{path}: same: ")
    assert re.match(rf"{other}: DIFFERS: line \d+, ", second)
    assert any("ConnectionEnded, connection 1, live 1011" in line for line in rest)
    assert main(["replay", str(tmp_path / "none.jsonl")]) == 2


def test_replay_lists_events(path, capsys):
    assert main(["replay", "--events", str(path)]) == 0
    assert f"{path}: Connected(connection=1, resumed=False)" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["timeline", "replay"])
def test_the_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    said = capsys.readouterr().out
    for words in ("trace=", "exit status", "example", f"resumekit {command} call.jsonl"):
        assert words in said


def test_json_of_the_trace_is_what_the_commands_read(path):
    assert all(isinstance(json.loads(line), dict) for line in path.read_text("utf-8").splitlines())
