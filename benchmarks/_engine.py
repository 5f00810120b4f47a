"""An engine of a session that is under way, without a driver, for questions about the engine alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from benchmarks.frames import setup_complete
from resumekit.core import inputs
from resumekit.core.engine import Engine
from resumekit.core.policy import Policy
from resumekit.defaults import DefaultDecisions
from resumekit.wire import ClientMessage, HistoryTurn, ServerMessage, content_frame, decode_client, decode_server

__all__ = ["NOW", "QUESTION", "feeder", "live_engine", "send"]

NOW = 1000.0
QUESTION = content_frame([HistoryTurn("user", "How is the weather?")], turn_complete=True)
_SETUP = json.dumps({"setup": {"model": "models/gemini-2.5-flash-live", "sessionResumption": {}}})


def live_engine(*, express: bool = True, policy: Policy | None = None) -> Engine:
    """Return an engine whose first connection is bound, and that has asked a question."""
    engine = Engine(
        _SETUP,
        policy=policy or Policy(),
        decisions=DefaultDecisions(),
        transparent=False,
        random=lambda: 0.5,
        express=express,
    )
    engine.feed(inputs.Start(), NOW)
    engine.feed(inputs.Dialed(1), NOW)
    engine.feed(inputs.Written(1), NOW)
    engine.feed(inputs.FrameReceived(1, decode_server(setup_complete())), NOW)
    send(engine, decode_client(QUESTION))
    return engine


def send(engine: Engine, message: ClientMessage) -> None:
    """Have the engine take a message over, and tell that it was written, as the driver does."""
    if engine.streams(1, message):
        engine.streamed(message)
        return
    engine.feed(inputs.Send(message), NOW)
    engine.feed(inputs.Written(1), NOW)


def feeder(engine: Engine, frames: Sequence[bytes], *, take: bool = True) -> Callable[[], None]:
    """Return a function that feeds all frames, as the driver does, takes them, and answers the calls that it took.

    Decoding is not part of it.
    """
    feed, feed_media, take_frame = engine.feed, engine.feed_media, engine.take_frame
    messages = [(frame, message, _answer(message)) for frame in frames for message in [decode_server(frame)]]

    def feed_all() -> None:
        for frame, message, answer in messages:
            if not feed_media(1, frame, NOW):
                feed(inputs.FrameReceived(1, message), NOW)
            if take:
                while take_frame() is not None:
                    pass
                if answer is not None:  # turns that wait for one would pile up
                    send(engine, answer)

    return feed_all


def _answer(message: ServerMessage) -> ClientMessage | None:
    if message.tool_call is None:
        return None
    calls = message.tool_call.function_calls or ()
    responses = [{"id": call.id, "name": call.name, "response": {"result": "rain"}} for call in calls]
    return decode_client(json.dumps({"toolResponse": {"functionResponses": responses}}))
