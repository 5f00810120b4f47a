"""Recordings made by hand: a demo in which all went well, to be spoilt by the tests."""

from __future__ import annotations

from resumekit.cli._demo.recording import Lane, Recording, Turn
from resumekit.cli._demo.script import Scene, Strike
from resumekit.core import events
from resumekit.emulator import ConnectionRecord, Fault, LedgerReport, ServiceEvent, Trigger, spoken
from resumekit.emulator.speech import OUTPUT_RATE

SCRIPT = (
    Scene("Hello?"),
    Scene("Is it <cold>?", (Strike(Fault.rst(at=Trigger.mid_answer()), "the line is reset", "reset & gone"),)),
    Scene("Bye? [recall]"),
)


def answer(turn: Turn, text: str, at: float) -> None:
    turn.text, turn.answered_at = text, at
    turn.audio = bytearray(spoken(text, rate=OUTPUT_RATE))


def report(questions, held=None, **fields) -> LedgerReport:
    held = questions if held is None else held
    numbers = {"history_with_handle": 0, "connections": 2, "bound": 2, "resumes": 1, "fresh_starts": 0}
    lists = {"doubled": [], "reordered": [], "unexpected": [], "lineage": []}
    lost = [question for question in questions if question not in held]
    return LedgerReport(**{**numbers, **lists, "held": held, "lost": lost, "audio_ms": 0, "video_frames": 0, **fields})


def connection(number, start, end, **fields) -> ConnectionRecord:
    return ConnectionRecord(number, start, bound_at=start + 0.1, closed_at=end, closed_by="fault", **fields)


def good() -> Recording:
    questions = [scene.question for scene in SCRIPT]
    plain, resumed = Lane("plain", "alone"), Lane("resumekit", "through resumekit")
    for lane in (plain, resumed):
        lane.turns = [Turn(n, scene, n * 10.0, n * 10.0) for n, scene in enumerate(SCRIPT, 1)]
        answer(lane.turns[0], "answer to Hello?: 1 user turns held", 12.0)
        lane.ended_at = 40.0
        lane.service = [
            ServiceEvent(10.2, 0, "generation_started"),
            ServiceEvent(12.0, 0, "turn_complete"),
            ServiceEvent(12.1, 0, "handle"),
            ServiceEvent(21.0, 0, "fault", "rst"),
        ]
    plain.turns[1].text = "answer to Is"
    plain.died_at, plain.error = 21.0, "APIError: 1006 None."
    plain.connections = [connection(0, 1.0, 21.0, faults=["rst"])]
    plain.report = report(questions, questions[:2], bound=1, connections=1)

    resumed.turns[1].restarts = [(21.1, "answer to Is")]
    answer(resumed.turns[1], "answer to Is it <cold>?: 2 user turns held", 23.0)
    recall = " | ".join(questions)
    answer(resumed.turns[2], f"answer to Bye? [recall]: 3 user turns held; recall: {recall}", 32.0)
    resumed.connections = [
        connection(0, 1.0, 21.0, faults=["rst"]),
        ConnectionRecord(1, 21.2, http_status=503, closed_at=21.2),
        connection(2, 21.9, 40.0, handle="h"),
    ]
    lost = {"phase": "live", "verdict": "resume now", "close_code": 1006, "status_code": None}
    resumed.events = [
        (1.1, events.Connected(connection=1, resumed=False)),
        (15.0, events.GoAwayReceived(connection=1, time_left=8.0, move_within=6.0)),
        (21.0, events.ConnectionLost(connection=1, reason="ConnectionResetError: [Errno 104] Reset", **lost)),
        (21.2, events.ConnectionLost(connection=2, reason="no", **{**lost, "phase": "dial", "status_code": 503})),
        (
            22.0,
            events.Resumed(
                connection=3,
                planned=False,
                downtime=1.0,
                resent_messages=1,
                resent_audio=0.0,
                lost_audio=0.0,
                handle_age=9.9,
            ),
        ),
    ]
    resumed.report = report(questions, connections=3)
    return Recording(
        profile="developer",
        model="gemini-2.5-flash-live",
        time_scale=0.2,
        script=SCRIPT,
        plain=plain,
        resumed=resumed,
        started_at=0.5,
        ended_at=40.0,
    )
