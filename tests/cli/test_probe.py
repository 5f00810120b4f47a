"""`resumekit doctor --probe` finds out how the emulator is set, for each setting; nothing of it is assumed."""

from __future__ import annotations

import asyncio
import json
import re
import threading

import pytest

from resumekit import Policy
from resumekit.cli import main
from resumekit.cli._probe import report
from resumekit.cli._probe.questions import QUESTIONS
from resumekit.emulator import Fault, LiveServer, Trigger
from tests.cli.probing import KEY, MODELS, probe

VERTEX = {"profile": "vertex"}


_PROBED = {}


def probed_once(question, settings):
    """Probe, or return what came of it the last time."""
    key = question, repr(settings)
    if key not in _PROBED:
        _PROBED[key] = probe(question, **settings)
    return _PROBED[key]


def fields(probed):
    return {name: value for name, (value, _) in report.fitting_policy(probed.outcomes).items()}


def found(probed, assumed):
    (finding,) = [one for outcome in probed.outcomes for one in outcome.findings if assumed in one.assumed]
    return finding


ANSWERS = [
    # question, how the emulator is set, what is assumed, whether it holds, what is found, fields of the policy
    ("setup", {}, "setupComplete comes", True, "after 0.30 s, and 0.30 s with a handle", {}),
    ("setup", {"setup_delay": 20.2}, "setupComplete comes", False, "after 20.2", {"setup_timeout": 41}),
    ("setup", {"faults": [Fault.slow_handshake(15.2)]}, "is open within", False, "after 15.2", {"connect_timeout": 31}),
    ("text", {}, "as clientContent", True, "clientContent is answered, realtimeInput.text is answered", {}),
    ("text", {"model": "3.x"}, "as clientContent", False, "clientContent is not: 1007", {}),
    ("transparent", {}, "does not tell what", True, "refuses the wish: 1007", {}),
    ("transparent", {"accept_transparent": True}, "does not tell what", True, "takes the wish, and does not", {}),
    ("transparent", VERTEX, "tells what", True, "it does", {}),
    ("transparent", {**VERTEX, "send_handles": False}, "tells what", False, "it takes", {"transparent": False}),
    ("handles", {}, "within 2 s of a turn's end", True, "after 0.60 s", {}),
    ("handles", VERTEX, "within 2 s of a turn's end", True, "after 0.05 s", {}),
    ("handles", {"setup_patience": 5}, "within 2 s of a turn's end", True, "after 0.60 s", {}),
    ("handles", {"handle_delay": 6.2}, "within 2 s of a turn's end", False, "after 6.2", {"handle_wait": 10}),
    ("handles", {"send_handles": False}, "within 2 s of a turn's end", False, "none came", {"handle_wait": 0}),
    ("handles", {"handle_at_setup": True}, "within 2 s of a turn's end", True, "one before the turn ended, too", {}),
    ("handles", {}, "while an answer is under way", True, "0 came during an answer, and 1 updates without", {}),
    ("handles", {"mid_answer_handles": 40}, "while an answer is under way", False, "4 came during an answer", {}),
    ("handles", {**VERTEX, "mid_answer_handles": 40}, "may come in mid-answer", True, "4 came during an answer", {}),
    ("memory", {}, "remembers", True, "it does", {}),
    ("memory", {"faults": [Fault.amnesia()]}, "remembers", False, "it does not", {"resumption": "off"}),
    ("old-handles", {}, "an older handle", True, "it is", {}),
    ("old-handles", {"invalidate_older": True}, "an older handle", False, "1007", {"older_handles_valid": False}),
    ("old-handles", {}, "its state is that of the moment", True, "it is", {}),
    ("old-handles", {"faults": [Fault.amnesia()]}, "its state is that of the moment", False, "it is not", {}),
    ("old-handles", {}, "used again", True, "it may", {}),
    ("old-handles", {"single_use": True}, "used again", False, "it may not: 1007", {}),
    ("bad-handle", {}, "does not know", True, "1007 Invalid session handle. (after setup with a handle), read as", {}),
    (
        "bad-handle",
        {"invalid_handle_code": 1008, "invalid_handle_reason": "BidiGenerateContent session not found"},
        "does not know",
        True,
        "1008 Bidi",
        {},
    ),
    (
        "bad-handle",
        {"invalid_handle_code": 1011, "invalid_handle_reason": "Internal error encountered."},
        "does not know",
        False,
        "read as 'old binding'",
        {},
    ),
    ("old-binding", {"keepalive": 10}, "open (idle)", True, "1011 Session is already in use", {}),
    ("old-binding", {"keepalive": 10}, "open (answering)", True, "1011 Session is already in use", {}),
    ("old-binding", {"keepalive": 10}, "was dropped", True, "accepted after 0.30 s", {}),
    ("old-binding", {"keepalive": 10}, "is silent", True, "accepted after 22.", {}),
    ("old-binding", {"keepalive": 20}, "is silent", False, "accepted after 42.", {"old_binding_grace": 65}),
    ("old-binding", {}, "is silent", False, "still refused after 60 s", {}),
    ("old-binding", {"bound_elsewhere": "evict"}, "open (idle)", False, "accepted; the old connection was ended", {}),
    ("old-binding", {"bound_elsewhere": "allow"}, "(answering)", False, "accepted; the old connection stays", {}),
    (
        "old-binding",
        {"bound_elsewhere_reason": "The service is currently unavailable."},
        "open (idle)",
        False,
        "read as 'resume later'",
        {},
    ),
    (
        "old-binding",  # the fifth connection is the one to be dropped
        {"faults": [Fault.half_open(40, since="cut", at=Trigger.handle(), connection=4)]},
        "was dropped",
        False,
        "accepted after 4",
        {"old_binding_grace": 65},
    ),
    ("cut-answer", VERTEX, "nothing of an answer", True, "nothing came", {}),
    ("cut-answer", {**VERTEX, "answers_after_resume": True}, "nothing of an answer", False, "frames of speech", {}),
    ("cut-answer", {}, "no transcription", True, "none came", {}),
    ("cut-answer", {"faults": [Fault.repeat_transcript()]}, "no transcription", False, "4 frames of it came", {}),
    ("overlap", {}, "two questions", True, "in mid-answer the first is interrupted, 2 turns; at once the first", {}),
    ("overlap", {"overlap": "queue"}, "two questions", True, "in mid-answer nothing is interrupted, 2 turns", {}),
    ("overlap", {"overlap": "merge"}, "two questions", False, "at once nothing is interrupted, 1 turn", {}),
    ("tool-turns", {"tool_turns": "joined"}, "a turn of its own", False, "one turn", {"tool_turns": "joined"}),
    ("tool-turns", {"tool_turns": "split"}, "a turn of its own", True, "the response ends a turn", {}),
    ("tool-turns", {"tool_turns": "at_end"}, "a turn of its own", True, "the call ends a turn", {}),
    ("tool-turns", {"tool_turns": "split"}, "begins within 5 s", True, "after 0.15 s", {}),
    (
        "tool-turns",
        {"tool_turns": "split", "first_frame_delay": 8.2},
        "begins within 5 s",
        False,
        "after 8.2",
        {"part_wait": 13},
    ),
    ("unknown-call", {}, "1008", True, "1008 Requested entity was not found.", {}),
    ("unknown-call", {"unknown_tool_id": "ignore"}, "1008", False, "not closed", {}),
    ("index", VERTEX, "the index 1", True, "it has 1", {}),
    ("index", {**VERTEX, "index_base": 0}, "the index 1", False, "it has 0", {"first_index": 0}),
    ("index", {**VERTEX, "lag": 1}, "the index 1", True, "it has 1; it was 1 messages behind", {}),
    ("index", {**VERTEX, "lag": 1, "index_base": 0}, "the index 1", False, "it has 0", {"first_index": 0}),
    ("index", VERTEX, "begins anew", True, "3 on the first, 1 after one message on the next", {}),
    ("index", {**VERTEX, "index_base": 0}, "begins anew", True, "2 on the first, 0 after one", {}),
    ("index", {**VERTEX, "index_restarts": False}, "begins anew", False, "3 on the first, 4 after one", {}),
    ("index", {**VERTEX, "index_base": 0}, "every message counts", True, "5 of 5 counted", {}),
    ("index", {**VERTEX, "lag": 1}, "every message counts", True, "5 of 5 counted", {}),
    ("index", {**VERTEX, "index_counts_audio": False}, "every message counts", False, "2 of 5 counted", {}),
    ("pongs", {}, "a pong", True, "after at most 0.", {}),
    ("pongs", {"pong_delay": 13}, "a pong", False, "13.0", {"suspect_patience": 20}),
    ("pongs", {"pong_delay": 29}, "a pong", False, "29.0", {"suspect_patience": 44, "abort_expecting": 54}),
    ("idle-dial", {}, "50 s for its setup", True, "it was set up after 50.00 s", {}),
    ("idle-dial", {"setup_patience": 20}, "50 s for its setup", False, "ended after 20.", {"warm_dial": False}),
    ("go-away", {"connection_age": 600}, "announces the end", True, "one came after 550.", {}),
    ("go-away", {"connection_age": 600}, "says how much time", True, "50.00 s; it ended after 50.00 s", {}),
    ("go-away", {"connection_age": 600, "go_away_notice": None}, "announces", False, "ended, after 600.", {}),
    (
        "go-away",
        {"faults": [Fault.go_away(None, at=Trigger.elapsed(60))]},
        "says how much time",
        False,
        "it does not; it ended after 10.00 s",
        {},
    ),
    (
        "go-away",
        {"faults": [Fault.go_away(30, at=Trigger.elapsed(60)), Fault.close(1011, "bye", at=Trigger.elapsed(70))]},
        "for as long as goAway says",
        False,
        "it ended 20.00 s before that",
        {"go_away_margin_min": 22, "go_away_margin_max": 22},
    ),
    (
        "go-away",
        {"connection_age": 600, "age_close": "aborted"},
        "too old",
        True,
        "1008 The operation was aborted., read as 'resume now'",
        {},
    ),
    (
        "go-away",
        {"faults": [Fault.go_away(30, code=1008, reason="Too old.", at=Trigger.elapsed(60))]},
        "too old",
        False,
        "1008 Too old., read as 'resume later'",
        {},
    ),
]


@pytest.mark.network
@pytest.mark.parametrize("answer", ANSWERS, ids=[f"{answer[0]}-{n}" for n, answer in enumerate(ANSWERS)])
def test_it_finds_out_how_the_service_is(answer):
    question, settings, assumed, holds, told, policy = answer
    probed = probed_once(question, settings)
    finding = found(probed, assumed)

    assert told in finding.found
    assert finding.fits is holds
    assert {name: value for name, value in fields(probed).items() if name in policy} == policy
    assert probed.outcomes[0].problem == ""
    assert report.status_of(probed.outcomes) == (1 if any(not one.fits for one in probed.outcomes[0].findings) else 0)


def test_every_question_has_an_answer_that_holds_and_one_that_does_not():
    answers = {(question, holds) for question, _, _, holds, _, _ in ANSWERS}

    assert answers == {(question.name, holds) for question in QUESTIONS for holds in (True, False)}


@pytest.mark.network
@pytest.mark.parametrize("profile", ["developer", "vertex"])
def test_every_question_is_answered_within_what_was_announced(profile):
    questions = [question for question in QUESTIONS if not question.is_long]
    probed = probe(",".join(question.name for question in questions), profile=profile, keepalive=10)
    announced = re.search(
        r"some (\d+) connections.*at most (\d+) spoken", report._plan(probed.service, questions), re.DOTALL
    )

    assert [one.question for one in probed.outcomes if one.problem] == []
    assert [one.question for one in probed.outcomes if one.skipped] == (["index"] if profile == "developer" else [])
    assert len(probed.server.connections) <= int(announced[1])
    assert sum(one.turns_completed for one in probed.server.connections) <= int(announced[2])
    assert all(one.closed_at for one in probed.server.connections)


UNEXPECTED = {
    "a refused setup": (
        Fault.close(1007, "Strange.", at=Trigger.setup_received(), connection=1),
        "1007 Strange. (after",
    ),
    "a refused handle": (
        Fault.close(1007, "Strange.", at=Trigger.resume()),
        "1007 Strange. (after setup with a handle)",
    ),
    "a close in the answer": (
        Fault.close(1011, "Oops.", at=Trigger.mid_answer(1), connection=1),
        "1011 Oops. (waiting",
    ),
    "a close after it": (
        Fault.close(1008, "Odd.", at=Trigger.turn_complete(), connection=1),
        "1008 Odd. (waiting for a",
    ),
    "a reset": (Fault.rst(at=Trigger.mid_answer(1), connection=1), "1006"),
    "no setupComplete": (Fault.no_setup_complete(connection=1), "nothing came within 60 s (after setup)"),
    "an upgrade that is refused": (Fault.handshake(503, connection=1), "HTTP 503 Service Unavailable"),
    "a mute model": (Fault.poisoned_handle(), "nothing came within 60 s (waiting for the answer of a resumed session)"),
    "no JSON": (Fault.not_json(at=Trigger.bound(), connection=1), "a server frame of"),
}


@pytest.mark.network
@pytest.mark.parametrize(("fault", "told"), UNEXPECTED.values(), ids=UNEXPECTED)
def test_what_is_unexpected_ends_one_question_with_a_clear_line(fault, told):
    _, memory, bad_handle = probe("handles,memory,bad-handle", faults=[fault]).outcomes

    assert memory.problem.startswith(f"no answer: {told}")
    assert [one.fits for one in bad_handle.findings] == [True]


@pytest.mark.network
def test_what_was_found_before_a_question_ended_is_kept():
    faults = [Fault.close(1011, "Oops.", at=Trigger.bound(), connection=2)]
    (outcome,) = probe("old-binding", faults=faults).outcomes

    assert len(outcome.findings) == 1
    assert outcome.problem.startswith("no answer: 1011 Oops.")


@pytest.mark.network
def test_a_quota_that_is_used_up_is_no_answer_to_anything():
    probed = probe("text,handles,bad-handle", max_connections=0)

    assert [one.problem[:30] for one in probed.outcomes] == ["no answer: 1011 You exceeded yo"[:30]] * 2 + [""]
    assert report.status_of(probed.outcomes) == 3
    assert "Without a full answer: text, handles." in probed.told


@pytest.mark.network
@pytest.mark.parametrize(
    "refusal", [{"credential": "another"}, {"known_models": ("gemini-9",)}], ids=["of the key", "of the model"]
)
def test_a_refusal_of_key_or_model_ends_all(refusal):
    probed = probe("setup,text,memory", **refusal)

    assert [one.problem.partition(":")[0] for one in probed.outcomes] == ["no answer", "not asked", "not asked"]
    assert len(probed.server.connections) == 1


@pytest.mark.network
def test_the_form_of_text_that_was_found_is_used_from_then_on():
    outcomes = probe("text,handles,memory", model="3.x").outcomes

    assert [one.problem for one in outcomes] == ["", "", ""]
    assert [one.fits for one in outcomes[2].findings] == [True]


@pytest.mark.network
@pytest.mark.parametrize("profile", ["developer", "vertex"])
def test_neither_key_nor_handle_is_shown(profile, caplog):
    caplog.set_level("DEBUG")
    probed = probe(
        "setup,bad-handle,old-handles,old-binding",
        profile=profile,
        key=KEY,
        invalid_handle_reason=f"Unknown to {KEY}.",
        bound_elsewhere_reason=f"{KEY}\nbusy",
    )
    shown = probed.told + report.policy_code(probed.service, probed.outcomes) + repr(probed.service) + caplog.text
    handles = list(probed.server._service.store._saved)

    assert "Unknown to [redacted]." in probed.told
    assert "1011 [redacted] busy" in probed.told
    assert len(handles) > 5
    assert [secret for secret in (KEY, *handles) if secret in shown] == []


@pytest.mark.network
def test_the_policy_is_python_that_says_why():
    probed = probe("handles,index,memory", **VERTEX, handle_delay=6.2, index_base=0)
    code = report.policy_code(probed.service, probed.outcomes)
    made = {}
    exec(compile(code, "policy", "exec", dont_inherit=True), made)

    assert made["policy"] == Policy(handle_wait=10.0, first_index=0)
    assert "    # a handle comes within 2 s of a turn's end: after 6.2" in code
    assert f"# {MODELS['vertex']}, Vertex\n" in code


@pytest.mark.parametrize("times", [(40.0, 65.0), (65.0, 40.0)])
def test_of_two_times_for_one_field_the_longer_one_fits_both(times):
    findings = [report.Finding("a", "b", "c", fits=False, policy={"old_binding_grace": time}) for time in times]

    assert report.fitting_policy([report.Outcome("q", findings)])["old_binding_grace"][0] == 65.0


def test_a_policy_of_defaults_is_python_too():
    made = {}
    exec(
        compile(report.policy_code(report.Service("ws://x", {}, "models/m", vertex=False), []), "policy", "exec"), made
    )

    assert made["policy"] == Policy()


# ---------------------------------------------------------------------- the command


@pytest.fixture
def environment(monkeypatch):
    """No variable that matters is set; returns what sets one."""
    for name in (
        "GOOGLE_API_KEY GEMINI_API_KEY GOOGLE_GENAI_USE_VERTEXAI GOOGLE_CLOUD_PROJECT GOOGLE_CLOUD_LOCATION"
        " GOOGLE_GEMINI_BASE_URL GOOGLE_VERTEX_BASE_URL"
    ).split():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return monkeypatch.setenv


@pytest.fixture
def service(environment):
    """An emulator in a thread of its own, which the environment variables name."""
    server = LiveServer(model="auto", connection_age=None, setup_delay=0, handle_delay=0)
    ready, done = threading.Event(), threading.Event()

    async def serve():
        async with server:
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(60)
    environment("GOOGLE_GEMINI_BASE_URL", server.base_url)
    environment("SSL_CERT_FILE", server.ca_file)
    yield server
    done.set()
    thread.join(60)


class Terminal:
    """Somebody who types."""

    def __init__(self, typed):
        self.typed = typed

    def isatty(self):
        return self.typed is not None

    def readline(self):
        return self.typed


@pytest.fixture
def terminal(monkeypatch):
    """Set what somebody types; None: nobody is there."""
    return lambda typed: monkeypatch.setattr("sys.stdin", Terminal(typed))


PROBE = ["doctor", "--probe", "--only", "bad-handle"]


@pytest.mark.network
@pytest.mark.parametrize("given", [("GOOGLE_API_KEY", None), ("GEMINI_API_KEY", "y\n"), ("GOOGLE_API_KEY", "YES\n")])
def test_it_asks_and_then_does_it(service, environment, terminal, capsys, given):
    variable, typed = given
    arguments = ["--yes"] if typed is None else []
    environment(variable, KEY)
    terminal(typed)
    status = main([*PROBE, *arguments])
    told, log = capsys.readouterr()

    assert (status, log) == (0, "")
    assert "at 127.0.0.1 (Developer API)" in told
    assert told.index("costs a few cents") < told.index("1007 Invalid session handle.")
    assert ("Go on? [y/N]" in told) is (typed is not None)
    assert told.endswith("policy = resumekit.Policy()\n")
    assert KEY not in told
    assert len(service.connections) == 1


@pytest.mark.network
@pytest.mark.parametrize(
    "refused",
    [
        (None, "y\n", [], "the probe needs a key: set GOOGLE_API_KEY"),
        (None, None, ["--yes"], "the probe needs a key: set GOOGLE_API_KEY"),
        (KEY, None, [], "here is no terminal: add --yes"),
        (KEY, "\n", [], "not asked; nothing was sent"),
        (KEY, "", [], "not asked; nothing was sent"),
        ("k\N{BULLET}y", "y\n", [], "the key has characters that no key has"),
        (KEY, "y\n", ["some:target"], "takes no TARGET"),
        (KEY, "y\n", ["--only", "typo"], "there is no question 'typo'; there are setup, text"),
        (KEY, "y\n", ["--policy", "/nonexistent/policy.py"], "cannot write the policy"),
    ],
)
def test_it_refuses_with_one_line_and_sends_nothing(service, environment, terminal, capsys, refused):
    key, typed, arguments, message = refused
    if key is not None:
        environment("GOOGLE_API_KEY", key)
    terminal(typed)
    status = main([*PROBE, *arguments])
    log = capsys.readouterr().err

    assert status == 2
    assert message in log
    assert log.count("\n") == 1
    assert service.connections == []


def test_its_options_do_nothing_without_it(capsys):
    assert main(["doctor", "--yes"]) == 2
    assert "go with --probe" in capsys.readouterr().err


@pytest.mark.network
def test_the_policy_goes_into_a_file_and_the_report_can_be_json(service, environment, terminal, capsys, tmp_path):
    environment("GOOGLE_API_KEY", KEY)
    terminal(None)
    status = main([*PROBE, "--yes", "--json", "--policy", str(tmp_path / "policy.py")])
    told, log = capsys.readouterr()
    result = json.loads(told)

    assert status == 0
    assert (tmp_path / "policy.py").read_text("utf-8").endswith("policy = resumekit.Policy()\n")
    assert [one["question"] for one in result["questions"]] == ["bad-handle"]
    assert result["policy"] == {}
    assert "costs a few cents" in log


@pytest.mark.network
def test_a_service_that_is_not_there_is_no_answer(environment, terminal, capsys):
    environment("GOOGLE_API_KEY", KEY)
    environment("GOOGLE_GEMINI_BASE_URL", "http://127.0.0.1:9")
    terminal(None)
    status = main([*PROBE, "--yes"])

    assert status == 3
    assert "no answer: ConnectionRefusedError" in capsys.readouterr().out


DEVELOPER = "wss://generativelanguage.googleapis.com/ws/google.ai.generativelanguage.v1beta.GenerativeService."
BIDI = "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent"
IN_ROME = {"GOOGLE_GENAI_USE_VERTEXAI": "true", "GOOGLE_CLOUD_PROJECT": "p", "GOOGLE_CLOUD_LOCATION": "rome-1"}


@pytest.mark.parametrize(
    "asked",
    [
        ({"GOOGLE_API_KEY": KEY}, "gemini-x", f"{DEVELOPER}BidiGenerateContent", "models/gemini-x"),
        (
            {"GOOGLE_API_KEY": KEY, "GOOGLE_GENAI_USE_VERTEXAI": "1"},
            "gemini-x",
            f"wss://aiplatform.googleapis.com{BIDI}",
            "publishers/google/models/gemini-x",
        ),
        (
            IN_ROME,
            "gemini-x",
            f"wss://rome-1-aiplatform.googleapis.com{BIDI}",
            "projects/p/locations/rome-1/publishers/google/models/gemini-x",
        ),
        (
            {**IN_ROME, "GOOGLE_CLOUD_LOCATION": "global"},
            "projects/q/m",
            f"wss://aiplatform.googleapis.com{BIDI}",
            "projects/q/m",
        ),
        ({**IN_ROME, "GOOGLE_VERTEX_BASE_URL": "http://localhost:8/"}, "m", f"ws://localhost:8{BIDI}", None),
    ],
)
def test_the_service_is_that_of_the_environment(environment, monkeypatch, asked):
    variables, model, uri, named = asked
    monkeypatch.setattr(report, "_token", lambda: "a-token")
    for name, value in variables.items():
        environment(name, value)
    service = asyncio.run(report.service_from_environment(model))

    assert service.uri == uri
    assert named in {None, service.model}
    assert service.headers == (
        {"Authorization": "Bearer a-token"} if "GOOGLE_CLOUD_PROJECT" in variables else {"x-goog-api-key": KEY}
    )
    assert (KEY in repr(service), "a-token" in repr(service)) == (False, False)


def test_without_a_token_of_google_cloud_nothing_is_sent(environment, monkeypatch, capsys):
    auth = pytest.importorskip("google.auth")

    def default(**_):
        raise RuntimeError(f"no credentials: token={KEY}")

    monkeypatch.setattr(auth, "default", default)
    for name, value in IN_ROME.items():
        environment(name, value)

    assert main([*PROBE, "--yes"]) == 2
    log = capsys.readouterr().err
    assert "no token of Google Cloud: RuntimeError: no credentials: token=[redacted]; nothing was sent" in log
