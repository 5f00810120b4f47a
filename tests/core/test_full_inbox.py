"""DESIGN decision 11: where the app takes nothing, the socket is not read, and its silence means nothing."""

from __future__ import annotations

from resumekit.core import actions, inputs
from resumekit.core.engine import Engine
from resumekit.core.policy import Policy
from resumekit.defaults import DefaultDecisions
from resumekit.wire import decode_server


def test_a_slow_app_does_not_make_a_connection_suspected():
    engine = Engine(
        '{"setup": {"model": "m"}}',
        policy=Policy(inbox_frames=3),
        decisions=DefaultDecisions(),
        transparent=False,
        random=lambda: 0.5,
    )
    engine.feed(inputs.Start(), 0.0)
    engine.feed(inputs.Dialed(1), 0.0)
    engine.feed(inputs.FrameReceived(1, decode_server(b'{"setupComplete": {}}')), 0.0)
    for _ in range(3):
        engine.feed(inputs.FrameReceived(1, decode_server(b'{"usageMetadata": {}}')), 1.0)
    now = 1.0
    while now < 3600.0:
        now = max(now, engine.wake_at)
        assert engine.feed(inputs.Tick(), now) == []
    engine.take()

    assert engine.wake_at <= now + Policy().ping_idle
    assert engine.feed(inputs.Tick(), now + Policy().ping_idle) == [actions.SendPing(1)]
