"""Everything that goes wrong, as a table: what the service does, and when.

Where nothing else is said, the conversation is `CHAT`: a question whose answer is safely kept by the service, a question
that meets the fault, and one more. The faults named `armed` wait for the second.
"""

from __future__ import annotations

from resumekit.core import events
from resumekit.emulator import Fault, Trigger
from tests.faults.runner import AGAIN, ARM, PROFILES, Ask, Pause, Say, Scenario, Tell, Together, Until

__all__ = ["SCENARIOS"]

BOTH = ("2.5", "3.x")
MID_ANSWER = Trigger.mid_answer(2)
NOW = Trigger.now()
CUT = Fault.rst(at=MID_ANSWER)
BEFORE_HANDLE = Fault.rst(at=Trigger.before_handle(2))
LONG = "two [chunks:24]"
"""Takes a little more than a second of the service to answer."""
LONGER = "two [chunks:100]"
"""Five."""

IDLE_CHAT = (Ask("one"), ARM, Until(events.ConnectionLost), Ask("two"), Ask("three"))
"""The fault comes while nothing is going on, and is noticed."""
LOST_CHAT = (Ask("one"), ARM, Ask("two"), Until(events.ConnectionLost), Ask("three"))
"""The fault comes after the second answer, and is noticed."""
OLD_BINDING = frozenset({"Session is already in use by another connection."})
INVALID = frozenset({"Invalid session handle."})


# --- how a connection ends ------------------------------------------------------------------------------------------

CLOSES = [
    (1000, ""),
    (1001, "Going away."),
    (1007, "Request contains an invalid argument."),
    (1007, "CONTENT_TYPE_AUDIO is not supported for this model configuration."),
    (1008, "The operation was aborted."),
    (1008, "Operation is not implemented, or supported, or enabled."),
    (1008, "Requested entity was not found."),
    (1008, "BidiGenerateContent session not found"),
    (1008, "BidiGenerateContent session expired"),
    (1008, "No report gives this text."),
    (1011, "Internal error encountered."),
    (1011, "The service is currently unavailable."),
    (1011, "Deadline expired before operation could complete."),
    (1011, "You exceeded your current quota, please check your plan and billing details."),
    (1011, "Resource has been exhausted (e.g. check quota)."),
    (1011, "Request trace id: 1234, Reasoning Engine Execution failed."),
    (1012, "Service restart."),
    (1013, "Try again later."),
    (1014, ""),
    (4321, "A code that nobody knows."),
]


def _name(*words: object) -> str:
    return "-".join("".join(c for c in str(word).lower() if c.isalnum()) for word in words if word)


ENDS = [
    Scenario(name="reset", armed=(CUT,), families=BOTH, both_loops=True),
    Scenario(name="end-of-stream", armed=(Fault.fin(at=MID_ANSWER),), both_loops=True),
    Scenario(name="torn-frame", armed=(Fault.torn_frame(at=MID_ANSWER),)),
    *(
        Scenario(
            name=_name("close", code, *reason.split()[:4]),
            armed=(Fault.close(code, reason, at=MID_ANSWER),),
        )
        for code, reason in CLOSES
    ),
]

# --- when it ends ---------------------------------------------------------------------------------------------------

MOMENTS = [
    Scenario(name="cut-when-the-question-is-in", armed=(Fault.rst(at=Trigger.client_message(2)),)),
    Scenario(name="cut-before-output", armed=(Fault.rst(at=Trigger.generation_started(2)),), families=BOTH),
    Scenario(name="cut-after-frame-1", armed=(Fault.rst(at=Trigger.mid_answer(1)),)),
    Scenario(name="cut-after-frame-3", armed=(Fault.close(1011, at=Trigger.mid_answer(3)),)),
    Scenario(name="cut-after-the-last-frame", armed=(Fault.rst(at=Trigger.mid_answer(4)),)),
    Scenario(name="cut-after-generation-complete", armed=(Fault.rst(at=Trigger.generation_complete(2)),)),
    Scenario(name="cut-after-turn-complete", armed=(Fault.rst(at=Trigger.turn_complete(2)),), families=BOTH),
    Scenario(name="cut-before-the-handle", armed=(BEFORE_HANDLE,), steps=LOST_CHAT, families=BOTH, both_loops=True),
    Scenario(
        name="cut-before-the-handle-in-the-next-answer",
        armed=(Fault.rst(at=Trigger.generation_started(3)),),
        knobs={"handle_delay": 5},
        steps=(Ask("one"), ARM, Ask("two"), Ask("three"), Ask("four")),
    ),
    Scenario(
        name="cut-after-the-handle",
        armed=(Fault.rst(at=Trigger.handle(2)),),
        steps=LOST_CHAT,
        profiles=("developer",),
    ),
    # Vertex sends three handles with each answer; the fourth is in the middle of the second.
    Scenario(name="cut-after-a-handle-in-mid-answer", armed=(Fault.rst(at=Trigger.handle(4)),), profiles=("vertex",)),
    Scenario(
        name="cut-after-the-handle",
        armed=(Fault.rst(at=Trigger.handle(6)),),
        steps=LOST_CHAT,
        profiles=("vertex",),
    ),
    Scenario(name="cut-in-silence", armed=(Fault.rst(at=NOW),), steps=IDLE_CHAT),
    Scenario(name="cut-in-silence-politely", armed=(Fault.close(1000, at=NOW),), steps=IDLE_CHAT),
    Scenario(name="cut-while-asking", armed=(Fault.rst(at=NOW),)),
    Scenario(
        name="cut-in-a-long-thought",
        armed=(Fault.rst(at=Trigger.elapsed(6)),),
        steps=(Ask("one"), ARM, Ask("two [think:10]"), Ask("three")),
    ),
    # Before the service has handed out anything: a fresh start, from what was said.
    Scenario(name="cut-in-the-first-answer", faults=(CUT,), steps=(Ask("one"), Ask("two")), fresh=1, families=BOTH),
    Scenario(
        name="cut-before-the-first-handle",
        faults=(Fault.rst(at=Trigger.before_handle()),),
        steps=(Ask("one"), Until(events.ConnectionLost), Ask("two"), Ask("three")),
        knobs={"mid_answer_handles": 0},
        fresh=1,
        families=BOTH,
    ),
    Scenario(
        name="cut-before-the-first-question",
        faults=(Fault.rst(at=Trigger.elapsed(1)),),
        steps=(Until(events.FreshStarted), Ask("one"), Ask("two")),
        fresh=1,
    ),
    # More than once.
    Scenario(name="cut-twice-in-one-turn", armed=(Fault.rst(at=MID_ANSWER, times=2),), strikes=2, families=BOTH),
    Scenario(
        name="cut-in-two-turns",
        armed=(CUT,),
        steps=(Ask("one"), ARM, Ask("two"), AGAIN, Ask("three"), Ask("four")),
        strikes=2,
    ),
    Scenario(
        name="cut-before-the-handle-and-in-the-next-answer",
        armed=(BEFORE_HANDLE, Fault.rst(at=MID_ANSWER, connection=1)),
        steps=(*LOST_CHAT, Ask("four")),
    ),
    Scenario(
        name="the-next-connection-is-reset-at-once",
        armed=(CUT, Fault.rst(at=Trigger.bound(), connection=1)),
    ),
    Scenario(
        name="the-next-connection-ends-while-messages-are-resent",
        armed=(CUT, Fault.rst(at=Trigger.client_message(1), connection=1)),
    ),
]

# --- goAway ---------------------------------------------------------------------------------------------------------

GO_AWAY = [
    Scenario(
        name="goaway-in-silence",
        armed=(Fault.go_away(10, at=NOW),),
        steps=(Ask("one"), ARM, Until(events.Resumed), Ask("two"), Ask("three")),
    ),
    Scenario(name="goaway-while-asking", armed=(Fault.go_away(10, at=NOW),)),
    Scenario(
        name="goaway-in-mid-answer",
        armed=(Fault.go_away(10, at=MID_ANSWER),),
        steps=(Ask("one"), ARM, Ask(LONG), Until(events.Resumed), Ask("three")),
    ),
    Scenario(
        name="goaway-too-late-for-the-answer",
        armed=(Fault.go_away(3, at=MID_ANSWER),),
        steps=(Ask("one"), ARM, Ask(LONGER), Ask("three")),
    ),
    Scenario(name="goaway-with-no-time-left", armed=(Fault.go_away(0, at=MID_ANSWER),)),
    Scenario(
        name="goaway-that-names-no-time",
        armed=(Fault.go_away(None, at=MID_ANSWER),),
        steps=(Ask("one"), ARM, Ask(LONG), Until(events.Resumed), Ask("three")),
    ),
    Scenario(name="goaway-then-silence", armed=(Fault.go_away(10, then_silence=True, at=MID_ANSWER),)),
    Scenario(
        name="goaway-then-silence-and-no-close",
        armed=(Fault.go_away(10, then_silence=True, close=False, at=MID_ANSWER),),
    ),
    Scenario(
        name="goaway-again-and-again",
        armed=(Fault.go_away(10, repeat=5, interval=0.5, at=MID_ANSWER),),
        steps=(Ask("one"), ARM, Ask(LONG), Until(events.Resumed), Ask("three")),
    ),
    Scenario(
        name="goaway-that-the-service-cuts-short",
        armed=(Fault.go_away(50, close=False, at=Trigger.mid_answer(1)), Fault.rst(at=Trigger.mid_answer(4))),
        steps=(Ask("one"), ARM, Ask(LONG), Ask("three")),
    ),
    Scenario(
        name="goaway-on-each-connection-at-once",
        armed=(CUT, Fault.go_away(10, at=Trigger.bound(), times=3)),
        strikes=4,
        steps=(Ask("one"), ARM, Ask("two"), Until(events.Resumed, 4), Ask("three")),
    ),
    Scenario(
        name="goaway-while-a-tool-runs",
        armed=(Fault.go_away(10, at=Trigger.tool_call()),),
        tool_time=2,
        steps=(Ask("one"), ARM, Ask("two [tool:w]"), Until(events.Resumed), Ask("three")),
    ),
    Scenario(
        name="goaway-too-late-for-the-tool",
        armed=(Fault.go_away(3, at=Trigger.tool_call()),),
        tool_time=4,
        steps=(Ask("one"), ARM, Ask("two [tool:w]"), Ask("three")),
    ),
    Scenario(
        name="connections-of-a-limited-age",
        knobs={"connection_age": 12, "go_away_notice": 8},
        steps=tuple(step for n in range(6) for step in (Ask(f"question {n}"), Pause(5))),
    ),
    Scenario(
        name="connections-that-end-unannounced",
        knobs={"connection_age": 12, "go_away_notice": None, "age_close": "aborted"},
        steps=tuple(step for n in range(6) for step in (Ask(f"question {n}"), Pause(5))),
        refused=frozenset({"The operation was aborted."}),
    ),
]

# --- handles --------------------------------------------------------------------------------------------------------

REFUSALS = [
    (1007, "Invalid session handle."),
    (1007, "Request contains an invalid argument."),
    (1008, "BidiGenerateContent session not found"),
    (1008, "BidiGenerateContent session expired"),
    (1008, "Requested entity was not found."),
]

HANDLES = [
    *(
        Scenario(
            name=_name("handle", "refused", code, *reason.split()[:4]),
            armed=(CUT, Fault.refuse_handle(code, reason)),
            fresh=1,
            families=BOTH if number == 0 else ("2.5",),
        )
        for number, (code, reason) in enumerate(REFUSALS)
    ),
    Scenario(
        name="handle-refused-after-the-turn",
        fresh=1,
        families=BOTH,
        armed=(BEFORE_HANDLE, Fault.refuse_handle()),
        steps=LOST_CHAT,
    ),
    Scenario(
        name="handle-refused-in-silence",
        armed=(Fault.rst(at=NOW), Fault.refuse_handle()),
        steps=IDLE_CHAT,
        fresh=1,
        families=BOTH,
    ),
    Scenario(
        name="handle-refused-for-now",
        strikes=3,
        armed=(CUT, Fault.refuse_handle(1011, "The service is currently unavailable.", times=2)),
    ),
    Scenario(name="handles-expired", armed=(Fault.expire_handles(at=NOW), CUT), fresh=1, refused=INVALID),
    Scenario(
        name="handles-expire-in-an-outage",
        armed=(Fault.listener_down(5, at=MID_ANSWER),),
        knobs={"handle_ttl": 2},
        fresh=1,
        refused=INVALID,
    ),
    Scenario(
        name="handles-are-for-one-use",
        armed=(Fault.rst(at=MID_ANSWER, times=2),),
        strikes=2,
        knobs={"single_use": True},
        fresh=1,
        refused=INVALID,
    ),
    Scenario(
        name="no-handle-on-the-first-connection",
        faults=(Fault.withhold_handles(connection=0),),
        armed=(CUT,),
        steps=(Ask("one"), AGAIN, Ask("two"), Ask("three")),
        fresh=1,
        families=BOTH,
    ),
    Scenario(
        name="no-handle-on-the-second-connection",
        faults=(Fault.withhold_handles(connection=1),),
        armed=(CUT,),
        strikes=3,
        steps=(Ask("one"), ARM, Ask("two"), Ask("three"), AGAIN, Ask("four"), Ask("five")),
    ),
    Scenario(
        name="no-handles-at-all",
        knobs={"send_handles": False},
        armed=(CUT,),
        strikes=2,
        fresh=2,
        steps=(Ask("one"), AGAIN, Ask("two"), Ask("three"), AGAIN, Ask("four"), Ask("five")),
        families=BOTH,
    ),
    # The variants of the service that RULES section 5 leaves open.
    *(
        Scenario(
            name=f"handles-{name}",
            armed=(CUT,),
            knobs=knobs,
            steps=(Ask("one"), ARM, Ask("two"), AGAIN, Ask("three"), Ask("four")),
            strikes=2,
        )
        for name, knobs in {
            "made-when-they-are-sent": {"snapshot_at": "sending"},
            "made-at-turn-complete": {"snapshot_at": "turn_complete"},
            "at-setup": {"handle_at_setup": True},
            "every-second": {"handle_interval": 1},
        }.items()
    ),
    Scenario(
        name="handles-replace-the-older",
        armed=(CUT,),
        knobs={"invalidate_older": True},
        profiles=("developer",),
        steps=(Ask("one"), ARM, Ask("two"), AGAIN, Ask("three"), Ask("four")),
        strikes=2,
    ),
    # Every handle names the state before the last question was answered: none can be used.
    Scenario(
        name="handles-lag-behind",
        armed=(CUT,),
        knobs={"lag": 1},
        profiles=("vertex",),
        fresh=1,
        steps=(Ask("one"), Ask("one more"), ARM, Ask("two"), Ask("three")),
    ),
]

# --- no connection, or not for long -----------------------------------------------------------------------------------

CONNECTING = [
    Scenario(name="http-429-with-a-hint", armed=(CUT, Fault.handshake(429, retry_after=5))),
    Scenario(name="http-429", armed=(CUT, Fault.handshake(429, times=2)), strikes=3),
    *(Scenario(name=f"http-{status}", armed=(CUT, Fault.handshake(status))) for status in (408, 500, 502, 504)),
    Scenario(name="http-503", armed=(CUT, Fault.handshake(503, times=3)), strikes=4),
    Scenario(name="http-401-until-the-token-is-renewed", armed=(CUT, Fault.handshake(401)), profiles=("vertex",)),
    Scenario(name="reset-in-the-handshake", armed=(CUT, Fault.rst(at=Trigger.at_handshake(), times=2)), strikes=3),
    Scenario(name="a-slow-handshake", armed=(CUT, Fault.slow_handshake(5))),
    Scenario(
        name="a-handshake-that-takes-too-long", armed=(CUT, Fault.slow_handshake(15)), policy={"connect_timeout": 10}
    ),
    Scenario(name="the-listener-is-down", armed=(Fault.listener_down(5, at=MID_ANSWER),)),
    Scenario(name="the-listener-is-down-for-longer", armed=(Fault.listener_down(20, at=MID_ANSWER),)),
    Scenario(name="the-listener-is-down-in-silence", armed=(Fault.listener_down(5, at=NOW),), steps=IDLE_CHAT),
    Scenario(name="accepted-and-dropped-before-setup", armed=(CUT, Fault.drop_before_setup(times=3)), strikes=4),
    Scenario(name="accepted-and-dropped-after-setup", armed=(CUT, Fault.drop_after_setup(times=3)), strikes=4),
    Scenario(
        name="accepted-and-dropped-after-setup-in-silence",
        strikes=4,
        armed=(Fault.rst(at=NOW), Fault.drop_after_setup(times=3)),
        steps=(Ask("one"), ARM, Until(events.ConnectionLost, 4), Ask("two"), Ask("three")),
    ),
    Scenario(
        name="accepted-and-closed-after-setup",
        strikes=4,
        armed=(CUT, Fault.close(1011, "Internal error encountered.", at=Trigger.bound(), times=3)),
    ),
    Scenario(name="setup-complete-is-slow", armed=(CUT, Fault.slow_setup(5))),
    Scenario(name="setup-complete-never-comes", armed=(CUT, Fault.no_setup_complete()), policy={"setup_timeout": 15}),
    Scenario(
        name="half-open-in-mid-answer",
        armed=(Fault.half_open(15, at=MID_ANSWER),),
        refused=OLD_BINDING,
        scale=0.03,
        elsewhere=True,
    ),
    Scenario(
        name="half-open-in-silence",
        armed=(Fault.half_open(15, at=NOW),),
        refused=OLD_BINDING,
        scale=0.03,
        elsewhere=True,
    ),
    Scenario(
        name="half-open-counted-from-the-cut",
        armed=(Fault.half_open(15, since="cut", at=MID_ANSWER),),
        scale=0.03,
        refused=OLD_BINDING,
    ),
    *(
        Scenario(
            name=f"half-open-and-the-service-{what}s",
            armed=(Fault.half_open(15, at=MID_ANSWER),),
            knobs={"bound_elsewhere": what},
            scale=0.03,
        )
        for what in ("evict", "allow")
    ),
]

# --- frames, and none -----------------------------------------------------------------------------------------------

FRAMES = [
    *(
        Scenario(name=f"{name}-frame", armed=(fault(at=MID_ANSWER),), undisturbed=True)
        for name, fault in {
            "oversize": Fault.oversize_frame,
            "truncated": Fault.truncated_frame,
            "garbage": Fault.not_json,
            "unknown": Fault.unknown_keys,
        }.items()
    ),
    Scenario(
        name="garbage-before-setup-complete",
        faults=(Fault.not_json(at=Trigger.setup_received()),),
        undisturbed=True,
        steps=(Ask("one"), Ask("two")),
    ),
    Scenario(
        name="unknown-frame-before-setup-complete",
        faults=(Fault.unknown_keys(at=Trigger.setup_received()),),
        undisturbed=True,
        steps=(Ask("one"), Ask("two")),
    ),
    Scenario(
        name="slow-pongs",
        faults=(Fault.slow_pongs(10),),
        undisturbed=True,
        steps=(Ask("one"), Ask("two [think:25]"), Ask("three")),
    ),
    Scenario(name="silence-on-a-healthy-connection", armed=(Fault.silence(40, at=MID_ANSWER),), undisturbed=True),
]

# --- messages -------------------------------------------------------------------------------------------------------

MESSAGES = [
    Scenario(
        name="context-before-the-question",
        armed=(CUT,),
        steps=(Ask("one"), ARM, Tell("context"), Ask("two"), Ask("three")),
    ),
    Scenario(
        name="context-after-the-answer",
        armed=(BEFORE_HANDLE,),
        knobs={"handle_delay": 2},
        steps=(Ask("one"), ARM, Ask("two"), Tell("context"), Until(events.ConnectionLost), Ask("three")),
    ),
    *(
        Scenario(
            name=f"context-between-answer-and-handle-made-{at}",
            armed=(Fault.rst(at=NOW),),
            knobs={"handle_delay": 2, "snapshot_at": at},
            steps=(Ask("one"), Tell("context"), ARM, Until(events.ConnectionLost), Ask("two"), Ask("three")),
        )
        for at in ("turn_complete", "sending")
    ),
    Scenario(
        name="context-in-the-outage",
        armed=(Fault.listener_down(5, at=NOW),),
        steps=(Ask("one"), ARM, Until(events.ConnectionLost), Tell("context"), Ask("two"), Ask("three")),
    ),
    Scenario(
        name="questions-in-the-outage",
        armed=(Fault.listener_down(5, at=NOW),),
        knobs={"overlap": "queue"},
        families=BOTH,
        steps=(Ask("one"), ARM, Until(events.ConnectionLost), Together(("two", "three")), Ask("four")),
    ),
    *(
        Scenario(
            name=f"two-questions-at-once-cut-{name}",
            armed=(Fault.rst(at=at),),
            knobs={"overlap": "queue"},
            steps=(Ask("one"), ARM, Together(("two", "three")), Ask("four"), Ask("five")),
        )
        for name, at in {
            "in-the-first-answer": MID_ANSWER,
            "after-the-first": Trigger.turn_complete(2),
            "in-the-second": Trigger.generation_complete(3),
            "after-the-second": Trigger.turn_complete(3),
        }.items()
    ),
    Scenario(name="thoughts", armed=(CUT,), knobs={"thoughts": True}),
]

# --- tools ------------------------------------------------------------------------------------------------------------
# A call that runs at the cut, or was answered, is not shown again when the model repeats it: its one execution answers.

TOOL = 'two [tool:weather {"city": "Rome"}]'
TWO_TOOLS = TOOL + '[tool:time {"zone": 1}]'
THEN = TOOL + "[then:time]"


def _tools(name: str, question: str, *faults: Fault, **more: object) -> Scenario:
    steps = (Ask("one"), ARM, Ask(question), Ask("three"))
    return Scenario(**{"name": f"tool-{name}", "armed": faults, "steps": steps, **more})


TOOLS = [
    _tools("runs-at-the-cut", TOOL, Fault.rst(at=Trigger.tool_call()), tool_time=1, families=BOTH),
    _tools("answered-before-the-cut", TOOL, Fault.rst(at=Trigger.tool_response()), families=BOTH),
    _tools("answered-cut-in-the-answer", TOOL, Fault.rst(at=Trigger.generation_complete(2)), families=BOTH),
    _tools("cut-before-the-call", TOOL, Fault.rst(at=Trigger.mid_answer(1)), knobs={"tool_position": "amid"}),
    _tools(
        "turn-cut-before-the-handle",
        TOOL,
        BEFORE_HANDLE,
        families=BOTH,
        steps=(Ask("one"), ARM, Ask(TOOL), Until(events.ConnectionLost), Ask("three")),
    ),
    _tools("turn-cut-at-its-end", TOOL, Fault.rst(at=Trigger.turn_complete(2))),
    _tools("parallel-cut", TWO_TOOLS, Fault.rst(at=Trigger.tool_call()), tool_time=1),
    _tools("parallel-one-answered", TWO_TOOLS, Fault.rst(at=Trigger.tool_response(1)), families=BOTH),
    _tools("parallel-all-answered", TWO_TOOLS, Fault.rst(at=Trigger.tool_response(2)), families=BOTH),
    _tools("parallel-in-two-frames", TWO_TOOLS, Fault.rst(at=Trigger.tool_call(1)), knobs={"tool_frames": "each"}),
    _tools("chain-cut-in-the-second", THEN, Fault.rst(at=Trigger.tool_call(2)), tool_time=1, families=BOTH),
    _tools("chain-cut-after-both", THEN, Fault.rst(at=Trigger.tool_response(2))),
    _tools("reissued-reversed", TWO_TOOLS, Fault.rst(at=Trigger.tool_response(2)), knobs={"reissue": "reversed"}),
    _tools(
        "reissued-with-other-arguments", TOOL, Fault.rst(at=Trigger.tool_response()), knobs={"reissue": "other_args"}
    ),
    _tools("reissued-with-another", TOOL, Fault.rst(at=Trigger.tool_response()), knobs={"reissue": "extra"}),
    _tools("not-reissued", TOOL, Fault.rst(at=Trigger.tool_response()), knobs={"reissue": "none"}),
    _tools("twice-the-same", TOOL + TOOL[4:], Fault.rst(at=Trigger.tool_response(1)), families=BOTH),
    _tools(
        "runs-across-two-cuts",
        TOOL,
        Fault.close(1011, at=Trigger.tool_call(), times=2),
        tool_time=4,
        strikes=2,
        families=BOTH,
    ),
    _tools("reissued-in-part", TWO_TOOLS, Fault.rst(at=Trigger.tool_response(2)), knobs={"reissue": "subset"}),
    *(
        _tools(
            f"in-turns-{turns}-cut-{name}",
            TWO_TOOLS + "[then:more]",
            Fault.fin(at=at),
            knobs={"tool_turns": turns, "tool_position": position},
            parts=True,
            tool_time=1,
        )
        for turns in ("split", "at_end")
        for name, at, position in (
            ("at-the-call", Trigger.tool_call(1), "before"),
            ("between-the-turns", Trigger.turn_complete(2), "end"),
            ("at-the-second-call", Trigger.tool_call(2), "amid"),
            ("in-the-answer", Trigger.generation_complete(4), "before"),
        )
    ),
    *(
        _tools(
            f"in-turns-{turns}-cut-before-the-handle",
            TWO_TOOLS,
            Fault.fin(at=Trigger.before_handle(2 if profile == "developer" else 3)),
            knobs={"tool_turns": turns},
            parts=True,
            profiles=(profile,),
            steps=(Ask("one"), ARM, Ask(TWO_TOOLS), Until(events.ConnectionLost), Ask("three")),
        )
        for turns in ("split", "at_end")
        for profile in PROFILES
    ),
    _tools("cut-twice", TOOL, Fault.rst(at=Trigger.tool_call(), times=2), tool_time=1, strikes=2),
    _tools(
        "with-a-refused-handle",
        TOOL,
        Fault.rst(at=Trigger.tool_response()),
        Fault.refuse_handle(),
        fresh=1,
        families=BOTH,
    ),
]

# --- speech -----------------------------------------------------------------------------------------------------------


def _speech(name: str, *faults: Fault, **more: object) -> Scenario:
    steps = (Say("one"), ARM, Say("two"), Say("three"))
    return Scenario(**{"name": f"speech-{name}", "armed": faults, "steps": steps, "speech": True, **more})


SPEECH = [
    _speech("cut-in-mid-audio", Fault.rst(at=Trigger.mid_audio(3)), families=BOTH),
    _speech("cut-at-the-first-sound", Fault.rst(at=Trigger.mid_audio(1))),
    _speech("cut-when-the-user-has-spoken", Fault.rst(at=Trigger.end_of_speech(2))),
    _speech("cut-while-the-user-speaks", Fault.rst(at=Trigger.client_message(12))),
    _speech("cut-after-generation-complete", Fault.rst(at=Trigger.generation_complete(2))),
    _speech(
        "cut-before-the-handle",
        Fault.fin(at=Trigger.before_handle(2)),  # a reset may take the end of the turn along, and it would be cut
        forgets=frozenset({"two"}),
        steps=(Say("one"), ARM, Say("two"), Until(events.ConnectionLost), Say("three")),
    ),
    _speech(
        "goaway-in-mid-audio",
        Fault.go_away(10, at=Trigger.mid_audio(2)),
        steps=(Say("one"), ARM, Say("two"), Until(events.Resumed), Say("three")),
    ),
    _speech(
        "written-questions-spoken-answers",
        Fault.rst(at=Trigger.mid_audio(3)),
        families=BOTH,
        steps=(Ask("one"), ARM, Ask("two"), Ask("three")),
    ),
]

SCENARIOS: list[Scenario] = [
    *ENDS,
    *MOMENTS,
    *GO_AWAY,
    *HANDLES,
    *CONNECTING,
    *FRAMES,
    *MESSAGES,
    *TOOLS,
    *SPEECH,
]
