"""Tool calls run once: which call an answer belongs to, and which call is the repetition of one (RULES 5, 8, 9).

The app knows one id for each execution of a tool. The service may ask for the same execution under
a new id each time that a cut turn is run again. `Tools` translates between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
from msgspec import Struct

from resumekit.core import events
from resumekit.core.turns import Call, Turn, keep
from resumekit.wire import (
    ClientMessage,
    FunctionResponse,
    ServerMessage,
    decode_client,
    decode_server,
    tool_call_cancellation_frame,
    tool_call_frame,
    tool_response_frame,
    without_key,
)

__all__ = ["Answer", "Issued", "Tools"]

_REMEMBERED = 1024
_NO_ANSWER = "this call was made before, by a turn that is over; its result is not on record"


class Issued(Struct, frozen=True):
    """What becomes of a frame of tool calls."""

    shown: ServerMessage | None
    """What the app must see of it."""
    calls: tuple[Call, ...]
    """The calls in `shown`."""
    answer: ClientMessage | None
    """The responses that the engine gives by itself."""
    background: list[tuple[int, ClientMessage]]
    """Those that the model does not wait for, one by one, each with the app's position."""


class Answer(Struct, frozen=True):
    """What becomes of the app's responses."""

    message: ClientMessage | None
    """What goes to the service."""
    turn: Turn | None
    """The turn that waits for it."""
    background: Turn | None
    """The turn of a call in it that the model does not wait for."""


class Tools:
    """Every tool call that the app may still answer.

    Args:
        notify: Tells the app.
        background: Names of the functions that the model does not wait for.
    """

    __slots__ = ("_background", "_known", "_notify")

    def __init__(self, notify: Callable[[events.Event], None], background: frozenset[str] = frozenset()) -> None:
        self._notify = notify
        self._background = background
        self._known: dict[str, tuple[Turn, Call]] = {}
        """The newest calls, by the id that the app knows."""

    def respond(self, body: ClientMessage, position: int) -> Answer:
        """Take the app's responses; those whose call the service knows go out.

        The others are kept for the repetition of their call, or dropped with their cancelled call.
        """
        turn: Turn | None = None
        background: Turn | None = None
        kept: list[FunctionResponse] = []
        for response in body.responses:
            known = self._known.get(response.id or "")
            if known is None:
                kept.append(response)
                continue
            owner, call = known
            if call.cancelled:
                self._drop(call)
                continue
            call.response, call.position = response, position
            if call.background:
                call.answers.append((position, response))
            if call not in owner.unbound:
                if call.background:
                    background = owner
                else:
                    turn = owner
                _note_result(owner, call)
                kept.append(_addressed(response, call))
        if len(kept) == len(body.responses) and all(map(_same, kept, body.responses)):
            return Answer(body, turn, background)
        return Answer(decode_client(tool_response_frame(kept)) if kept else None, turn, background)

    def issue(self, turn: Turn, message: ServerMessage) -> Issued:
        """Take the model's calls: answer what is on record, bind what runs already, show what is new."""
        assert message.tool_call is not None
        requests = message.tool_call.function_calls or []
        new: list[tuple[int, Call]] = []
        answers: list[FunctionResponse] = []
        background: list[tuple[int, ClientMessage]] = []
        for position, request in enumerate(requests):
            known = len(turn.unbound)
            call = turn.issue(request)
            call.background = call.name in self._background
            if not turn.whole:
                keep(turn.tools, f"[called {call.name}: {_json(request.args or {})}]")
            if len(turn.unbound) < known:
                if call.response is None:
                    self._notify(events.ToolCallRebound(name=call.name, call_id=call.app_id))
                    continue
                if call.background:
                    frames = ((at, tool_response_frame([_addressed(answer, call)])) for at, answer in call.answers)
                    background += [(at, decode_client(frame)) for at, frame in frames]
                else:
                    call.by_engine = True
                    answers.append(_addressed(call.response, call))
                if not turn.whole:
                    _note_result(turn, call)
                self._notify(events.ToolCallAnswered(name=call.name, by="record"))
            elif turn.whole:
                call.cancelled = True  # the app is through with this turn, and must not hear of it
                answers.append(_addressed(FunctionResponse(response={"error": _NO_ANSWER}), call))
                self._notify(events.ToolCallAnswered(name=call.name, by="error"))
            else:
                new.append((position, call))
                self._remember(turn, call)
        answer = decode_client(tool_response_frame(answers)) if answers else None
        calls = tuple(call for _, call in new)
        if len(new) == len(requests):
            return Issued(message, calls, answer, background)
        shown: ServerMessage | None = None
        if new:
            shown = decode_server(tool_call_frame([requests[position] for position, _ in new]))
        elif message.server_content is not None:
            shown = decode_server(without_key(message.raw, "tool_call"))
        return Issued(shown, calls, answer, background)

    def cancel(self, turns: Iterable[Turn], message: ServerMessage) -> tuple[ServerMessage | None, tuple[Call, ...]]:
        """Take the service's cancellation; return what the app must see of it, and the calls that it names.

        The app knows nothing of calls that the engine answered; of others it knows the first id.
        """
        assert message.tool_call_cancellation is not None
        ids = message.tool_call_cancellation.ids or []
        issued = {call_id: (turn, call) for turn in turns for call_id, call in turn.calls.items()}
        shown: list[str] = []
        calls: list[Call] = []
        for call_id in ids:
            turn, call = issued.get(call_id) or self._known.get(call_id) or (None, None)
            if turn is None or call is None:
                shown.append(call_id)
                continue
            turn.replied = False
            if call.by_engine:
                self._drop(call)
            elif not (turn.whole and call.cancelled):
                shown.append(call.app_id)
                calls.append(call)
            call.cancelled = True
        if shown == ids:
            return message, tuple(calls)
        if shown:
            return decode_server(tool_call_cancellation_frame(shown)), tuple(calls)
        rest = without_key(message.raw, "tool_call_cancellation")
        return decode_server(rest) if rest != b"{}" else None, ()

    def give_up(self, turn: Turn) -> list[Call]:
        """Wait no longer for calls to be made again; return the running ones, as the app must be told.

        Answers stay on record until a handle holds the turn: it may yet be run again.
        """
        running = [call for call in turn.unbound if call.response is None]
        for call in running:
            call.cancelled = True
            turn.unbound.remove(call)
        for call in turn.unbound:
            if not call.reported:
                call.reported = True
                self._drop(call)
        return running

    def start_fresh(self) -> list[Call]:
        """Forget the calls of turns that are over: the new session does not know them; return the running ones."""
        running: list[Call] = []
        for turn, call in self._known.values():
            if not call.background or not turn.whole or call.cancelled:
                continue
            call.cancelled = True
            if call.response is None:
                running.append(call)
            elif call in turn.unbound:
                self._drop(call)
        return running

    def _remember(self, turn: Turn, call: Call) -> None:
        self._known[call.app_id] = (turn, call)
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]

    def _drop(self, call: Call) -> None:
        self._notify(events.ToolResponseDropped(call_id=call.app_id, name=call.name))


def _addressed(response: FunctionResponse, call: Call) -> FunctionResponse:
    """Return a response as the answer to the call, as the service knows it now."""
    if response.id == call.id:
        return response
    return msgspec.structs.replace(response, id=call.id, name=call.name)


def _same(one: FunctionResponse, other: FunctionResponse) -> bool:
    return one is other


def _note_result(turn: Turn, call: Call) -> None:
    assert call.response is not None
    keep(turn.tools, f"[result of {call.name}: {_json(call.response.response)}]")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
