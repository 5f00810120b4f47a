"""What the application sent and no handle holds, as a record for another process, and back."""

from __future__ import annotations

from collections.abc import Sequence

from resumekit.core.handles import PendingCall, PendingMessage
from resumekit.core.outbox import Message, Outbox
from resumekit.core.turns import Call, Turn
from resumekit.wire import ClientKind, decode_client

__all__ = ["pending_messages", "restore"]


def pending_messages(outbox: Outbox, limit: int) -> tuple[tuple[PendingMessage, ...], int]:
    """Return the control messages of the app that the base does not hold, in order, and how many were left out.

    They are bounded by `limit` bytes: one that does not fit is left out, with all that follow it.
    """
    messages = [message for message in (*outbox.control.sent, *outbox.control.unsent) if _is_the_apps(message)]
    asked = {message.turn for message in messages if message.turn is not None and not _answers(message)}
    wanted = [message for message in messages if not _answers(message) or _is_of_the_state(message, asked)]
    kept: list[PendingMessage] = []
    for message in wanted:
        calls = _answered_calls(message.turn) if message.turn is not None and not _answers(message) else ()
        limit -= message.body.size + sum(len(call.key) + len(repr(call.response)) for call in calls)
        if limit < 0:
            break
        answered = message.turn is not None and message.turn.whole
        kept.append(PendingMessage(message.body.frame, bool(message.index or message.resent), answered, calls))
    return tuple(kept), len(wanted) - len(kept)


def _is_the_apps(message: Message) -> bool:
    """Whether to keep it; marks are nothing without the speech between them, which is lost with its process."""
    marks = ClientKind.ACTIVITY_START, ClientKind.ACTIVITY_END
    return bool(message.number) and not message.seeds and message.body.kind not in marks


def _answers(message: Message) -> bool:
    return message.body.kind is ClientKind.TOOL_RESPONSE


def _is_of_the_state(response: Message, asked: set[Turn]) -> bool:
    """Whether a tool response answers a call that the state knows; the others come with the turn of their call."""
    if response.background is not None:
        return response.background not in asked
    return response.turn is None and not response.index


def _answered_calls(turn: Turn) -> tuple[PendingCall, ...]:
    calls = [*turn.calls.values(), *turn.unbound]
    return tuple(
        PendingCall(call.app_id, call.name, call.key, call.response) for call in calls if call.response is not None
    )


def restore(outbox: Outbox, messages: Sequence[PendingMessage]) -> None:
    """Have the messages of another process sent again, before everything that the app sends here.

    Raises:
        LocalProtocolError: One is no client frame.
    """
    for pending, body in [(pending, decode_client(pending.frame)) for pending in messages]:
        message = outbox.add(body)
        message.resent = pending.sent
        if not (pending.answered or pending.calls):
            continue
        message.turn = turn = Turn(number=message.number, whole=pending.answered)
        for call in pending.calls:
            position = outbox.next_seq
            outbox.skip()
            turn.unbound.append(
                Call(call.id, call.name, call.key, call.id, 0, taken=True, response=call.response, position=position)
            )
