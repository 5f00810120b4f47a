"""The ledger: which client messages, and which tool calls, the final state of a conversation holds.

It is told what the server saw and did, and believes nothing else: the bytes that each connection received, where the
state of each connection came from, which frame was refused, and which calls the model made. From these it follows the
chain of states that the last bound connection descends from, and compares it with what the application says that it sent.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, Self

import msgspec

from resumekit.emulator.frames import (
    JsonObject,
    as_list,
    as_object,
    canonical,
    decode_base64,
    decode_client_frame,
    has_field,
    object_field,
    text_field,
)
from resumekit.emulator.frames import field as field_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["ADK_WAITS", "IssuedCall", "Ledger", "LedgerReport", "Position", "response_item"]

ADK_WAITS = "google-adk runs the tools of a 2.5 model when the turn of the call ends, which it does with the setting"
"""What stands beside a call without a response, where turns do not end with calls."""

_RESPONSE = "response:"


def response_item(name: str, response: object) -> str:
    """Return the ledger's name of a tool response: ``response:<name>:<canonical JSON>``."""
    return f"{_RESPONSE}{name}:{canonical(response)}"


class Position(NamedTuple):
    """A state: everything that `connection` inherited, and what it added, up to some point."""

    connection: int
    frames: int
    """The first so many frames after the setup."""
    calls: int | None = None
    """The first so many calls that the model made there; None: all."""
    heard: int | None = None
    """Of the frames after the first so many, speech is not in the state; None: it is."""


@dataclass(frozen=True, slots=True)
class IssuedCall:
    """A call that the model made, and what became of it."""

    id: str
    name: str
    args: str
    """Canonical JSON."""
    question: str
    """The question, or the questions, that it belongs to."""
    connection: int
    generation: int
    """1-based, on its connection: the answer that it is part of."""
    after: int
    """How many client frames its connection had received before it, setup not counted."""
    answers: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """(connection, index of the client frame) of each response to it that was not refused."""
    in_background: bool = False
    """The model does not wait for it: any number of responses may come."""
    cancelled: bool = False
    """The service took it back."""
    held: bool = False
    """The final state knows it."""
    answers_held: int = 0
    """How many responses to it the final state holds."""

    def __str__(self) -> str:
        """Name the call in a report."""
        return f"{self.name}{self.args} ({self.id})"


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What the final state holds, compared with what the application sent."""

    held: list[str]
    """The control messages of the final state, in its order."""
    lost: list[str]
    """Sent, and not in the final state."""
    doubled: list[str]
    """In the final state more often than sent; once for each time too many."""
    reordered: list[str]
    """Held, but not where the application put them. Tool responses next to each other have no order."""
    unexpected: list[str]
    """In the final state, and never sent by the application: activity marks that were not listed, say."""
    history_with_handle: int
    """Frames of history (several turns, or a model's turn) on a connection that was bound with a handle."""
    connections: int
    """Connections that were opened."""
    bound: int
    """Connections that got their setupComplete."""
    resumes: int
    """Of these, the ones with a handle."""
    fresh_starts: int
    """Of these, the ones without a handle, not counting the first."""
    audio_ms: int
    """Realtime audio in the final state."""
    video_frames: int
    """Realtime images in the final state."""
    lineage: list[tuple[int, int]]
    """The chain of states, oldest first: (connection, frames of it that the state holds)."""
    calls: list[IssuedCall] = field(default_factory=list[IssuedCall])
    """Every call that the model made, in its order."""
    calls_unanswered: list[str] = field(default_factory=list[str])
    """Calls of the final state that were neither answered nor cancelled."""
    calls_answered_twice: list[str] = field(default_factory=list[str])
    """Calls of the final state that it holds more than one response to, though the model waited for one."""
    responses_to_unknown: list[str] = field(default_factory=list[str])
    """Ids of responses that the final state holds, to calls that it does not know."""

    @property
    def ok(self) -> bool:
        """Nothing lost, doubled or reordered, no history beside a handle, and each response once, to its call.

        Calls that are still unanswered are no fault in themselves.
        """
        messages = self.lost or self.doubled or self.reordered or self.history_with_handle
        return not (messages or self.calls_answered_twice or self.responses_to_unknown)

    def as_dict(self) -> dict[str, object]:
        """Return the report as JSON-able data, `ok` included."""
        return {**asdict(self), "ok": self.ok}

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Self:
        """Make a report of what `as_dict` returned."""
        values = {key: value for key, value in data.items() if key != "ok"}
        return msgspec.convert(values, cls)


class _Item(NamedTuple):
    text: str
    seeded: bool = False
    by_model: bool = False
    answers: str = ""
    """Id of the call that this is a response to."""
    opens_speech: bool = False


@dataclass(frozen=True, slots=True)
class _Frame:
    """One client frame, read."""

    items: tuple[_Item, ...] = ()
    pcm: bytes = b""
    video: int = 0
    is_history: bool = False


@dataclass(slots=True)
class _Connection:
    frames: list[_Frame] = field(default_factory=list[_Frame])
    raw: list[bytes] = field(default_factory=list[bytes])
    refused: set[int] = field(default_factory=set[int])
    calls: list[str] = field(default_factory=list[str])
    bound: bool = False
    with_handle: bool = False
    parent: Position | None = None


class Ledger:
    """Keep account of what every connection received and of where its state came from.

    The server calls `opened`, `received`, `refused`, `bound`, `called` and `cancelled`; tests call `report`.
    """

    def __init__(self, *, keep_raw: bool = True) -> None:
        self._connections: dict[int, _Connection] = {}
        self._calls: dict[str, IssuedCall] = {}
        self._last_bound: int | None = None
        self._keep_raw = keep_raw

    def opened(self, connection: int) -> None:
        """Note that a connection was opened."""
        self._connections[connection] = _Connection()

    def received(self, connection: int, data: str | bytes) -> int:
        """Note a frame as it came in; returns its index: the setup is 0."""
        raw = data.encode() if isinstance(data, str) else bytes(data)
        account = self._connections[connection]
        account.frames.append(_read(raw))
        if self._keep_raw:
            account.raw.append(raw)
        return len(account.frames) - 1

    def refused(self, connection: int, index: int) -> None:
        """Note that a frame was answered with a close: the state does not hold it."""
        self._connections[connection].refused.add(index)

    def bound(self, connection: int, *, with_handle: bool, parent: Position | None) -> None:
        """Note that a connection was given its state.

        Args:
            with_handle: Its setup named a handle.
            parent: Where that state came from; None for an empty one.
        """
        account = self._connections[connection]
        account.bound = True
        account.with_handle = with_handle
        account.parent = parent
        self._last_bound = connection

    def called(
        self,
        connection: int,
        generation: int,
        call_id: str,
        name: str,
        args: JsonObject,
        *,
        question: str = "",
        in_background: bool = False,
    ) -> None:
        """Note that the model makes a call; the arguments are the fields of `IssuedCall`."""
        account = self._connections[connection]
        after = max(len(account.frames) - 1, 0)
        account.calls.append(call_id)
        self._calls[call_id] = IssuedCall(
            call_id, name, canonical(args), question, connection, generation, after, in_background=in_background
        )

    def cancelled(self, call_ids: Iterable[str]) -> None:
        """Note that the service takes calls back."""
        for call_id in call_ids:
            self._calls[call_id] = replace(self._calls[call_id], cancelled=True)

    def calls_on(self, connection: int) -> int:
        """Return how many calls the model has made on a connection so far."""
        return len(self._connections[connection].calls)

    def calls(self) -> list[IssuedCall]:
        """Return every call that the model made, in its order, with what became of it."""
        answers: dict[str, list[tuple[int, int]]] = {}
        for number, account in self._connections.items():
            for index, frame in enumerate(account.frames):
                for item in frame.items if index not in account.refused else ():
                    answers.setdefault(item.answers, []).append((number, index))
        known = {call_id for at in self.lineage() for call_id in self._connections[at.connection].calls[: at.calls]}
        held = Counter(item.answers for frame in self._held_frames() for item in frame.items)
        return [
            replace(call, answers=answers.get(call_id, []), held=call_id in known, answers_held=held[call_id])
            for call_id, call in self._calls.items()
        ]

    def raw(self, connection: int) -> list[bytes]:
        """Return every frame that a connection received, setup included, as it came."""
        return list(self._connections[connection].raw)

    def sent_on(self, connection: int) -> list[str]:
        """Return the control messages that a connection received, held by the final state or not."""
        frames = self._connections[connection].frames[1:]
        return [item.text for frame in frames for item in frame.items if not item.by_model]

    def lineage(self) -> list[Position]:
        """Return the chain of states that the last bound connection descends from, oldest first."""
        chain: list[Position] = []
        if self._last_bound is not None:
            frames = max(len(self._connections[self._last_bound].frames) - 1, 0)
            chain.append(Position(self._last_bound, frames))
            while (parent := self._connections[chain[-1].connection].parent) is not None:
                chain.append(parent)
        return chain[::-1]

    def _held_frames(self) -> Iterator[_Frame]:
        for position in self.lineage():
            account = self._connections[position.connection]
            heard = position.frames if position.heard is None else position.heard
            for index in range(1, position.frames + 1):
                frame = account.frames[index]
                if index > heard:
                    items = tuple(item for item in frame.items if not item.opens_speech)
                    frame = replace(frame, pcm=b"", items=items)
                if index not in account.refused:
                    yield frame

    def held(self) -> list[str]:
        """Return the control messages of the final state, in its order."""
        return [item.text for frame in self._held_frames() for item in frame.items if not item.by_model]

    def audio(self) -> bytes:
        """Return the realtime audio of the final state, sample by sample."""
        return b"".join(frame.pcm for frame in self._held_frames())

    def report(self, expected: Sequence[str] = ()) -> LedgerReport:
        """Compare the final state with what the application sent, in its order.

        Args:
            expected: User texts as they are, `response_item(…)`, ``activity_start``, ``activity_end``,
                ``audio_stream_end``, ``context:<canonical JSON>``. Only the sent ones that matter need be listed:
                others that are held appear as `LedgerReport.unexpected`.
        """
        items = [item for frame in self._held_frames() for item in frame.items]
        held = _with_seeded_responses(items, expected)
        wanted, present = Counter(expected), Counter(held)
        known = [text for text in held if text in wanted]
        kept = wanted & present
        in_order = Counter(_longest_in_order(_sorted_runs(known), _sorted_runs(expected)))
        calls = self.calls()
        known_calls = {call.id for call in calls if call.held}
        bound = [account for account in self._connections.values() if account.bound]
        resumes = sum(account.with_handle for account in bound)
        return LedgerReport(
            held=held,
            lost=_in_order_of(expected, wanted - present),
            doubled=_in_order_of(held, Counter(known) - wanted),
            reordered=_in_order_of(expected, kept - in_order),
            unexpected=[text for text in held if text not in wanted],
            history_with_handle=sum(
                frame.is_history for account in bound if account.with_handle for frame in account.frames
            ),
            connections=len(self._connections),
            bound=len(bound),
            resumes=resumes,
            fresh_starts=max(len(bound) - resumes - 1, 0),
            audio_ms=len(self.audio()) // 32,
            video_frames=sum(frame.video for frame in self._held_frames()),
            lineage=[(at.connection, at.frames) for at in self.lineage()],
            calls=calls,
            calls_unanswered=[
                str(call) for call in calls if call.held and not call.cancelled and not call.answers_held
            ],
            calls_answered_twice=[
                str(call) for call in calls if call.held and call.answers_held > 1 and not call.in_background
            ],
            responses_to_unknown=[item.answers for item in items if item.answers and item.answers not in known_calls],
        )


def _read(raw: bytes) -> _Frame:
    message = decode_client_frame(raw) or {}
    content = object_field(message, "clientContent")
    items: list[_Item] = []
    turns = [as_object(turn) for turn in as_list(field_of(content, "turns"))]
    is_history = len(turns) > 1 or any(text_field(turn, "role") == "model" for turn in turns)
    for turn in turns:
        text = "".join(text_field(as_object(part), "text") for part in as_list(field_of(turn, "parts")))
        if text:
            items.append(_Item(text, seeded=is_history, by_model=text_field(turn, "role") == "model"))
    realtime = object_field(message, "realtimeInput")
    items.extend(_marks(realtime))
    answers = object_field(message, "toolResponse")
    for value in as_list(field_of(answers, "functionResponses")):
        answer = as_object(value)
        item = response_item(text_field(answer, "name"), field_of(answer, "response") or {})
        items.append(_Item(item, answers=text_field(answer, "id")))
    if has_field(message, "contextUpdate"):
        items.append(_Item(f"context:{canonical(object_field(message, 'contextUpdate'))}"))
    blobs = list(_blobs(realtime))
    return _Frame(
        items=tuple(items),
        pcm=b"".join(data for kind, data in blobs if kind.startswith("audio/")),
        video=sum(not kind.startswith("audio/") for kind, _ in blobs),
        is_history=is_history,
    )


def _marks(realtime: JsonObject) -> Iterator[_Item]:
    if has_field(realtime, "activityStart"):
        yield _Item("activity_start", opens_speech=True)
    if text := text_field(realtime, "text"):
        yield _Item(text)
    if has_field(realtime, "activityEnd"):
        yield _Item("activity_end")
    if field_of(realtime, "audioStreamEnd") is True:
        yield _Item("audio_stream_end")


def _blobs(realtime: JsonObject) -> Iterator[tuple[str, bytes]]:
    values = [field_of(realtime, "audio"), field_of(realtime, "video")]
    for value in [*values, *as_list(field_of(realtime, "mediaChunks"))]:
        blob = as_object(value)
        if blob:
            yield text_field(blob, "mimeType"), decode_base64(text_field(blob, "data"))


def _with_seeded_responses(items: Iterable[_Item], expected: Sequence[str]) -> list[str]:
    """Return the texts; a seeded turn that tells of an expected tool response counts as that response.

    The service takes no tool parts in a seed, so that a client writes them as text: any text that has the name of
    the function, and its response as JSON, will do.
    """
    items = list(items)
    literal = Counter(item.text for item in items)
    missing = list((Counter(text for text in expected if text.startswith(_RESPONSE)) - literal).elements())
    held: list[str] = []
    for item in items:
        told: list[str] = []
        if item.seeded and missing:
            values = {canonical(value) for value in _json_objects(item.text)}
            for text in missing:
                _, name, value = text.split(":", 2)
                if name in item.text and value in values:
                    told.append(text)
        for text in told:
            missing.remove(text)
        if not item.by_model and not told:
            held.append(item.text)
        held.extend(told)
    return held


def _json_objects(text: str) -> Iterator[object]:
    decoder = json.JSONDecoder()
    at = text.find("{")
    while at >= 0:
        try:
            value, _ = decoder.raw_decode(text, at)
            yield value
        except json.JSONDecodeError:
            pass
        at = text.find("{", at + 1)


def _sorted_runs(texts: Sequence[str]) -> list[str]:
    """Sort tool responses that stand next to each other: the order of parallel ones is free."""
    result: list[str] = []
    run: list[str] = []
    for text in texts:
        if text.startswith(_RESPONSE):
            run.append(text)
            continue
        result += [*sorted(run), text]
        run = []
    return result + sorted(run)


def _longest_in_order(held: Sequence[str], expected: Sequence[str]) -> list[str]:
    """Return the longest common subsequence (Hunt and Szymanski: cheap where texts hardly repeat)."""
    places: dict[str, list[int]] = {}
    for place, text in enumerate(expected):
        places.setdefault(text, []).insert(0, place)
    # tops[k]: the best chain of length k + 1, as (place in expected, text, the chain before it)
    tops: list[tuple[int, str, object]] = []
    for text in held:
        for place in places.get(text, ()):
            low = bisect_left(tops, place, key=itemgetter(0))
            entry = (place, text, tops[low - 1] if low else None)
            tops[low : low + 1] = [entry]
    chain: list[str] = []
    link: object = tops[-1] if tops else None
    while isinstance(link, tuple):
        chain.append(str(link[1]))  # pyright: ignore[reportUnknownArgumentType]
        link = link[2]  # pyright: ignore[reportUnknownVariableType]
    return chain


def _in_order_of(texts: Iterable[str], counts: Counter[str]) -> list[str]:
    """Return what `counts` counts, in the order of its (last) appearance in `texts`."""
    left = Counter(counts)
    result: list[str] = []
    for text in reversed(list(texts)):
        if left[text] > 0:
            left[text] -= 1
            result.append(text)
    return result[::-1]
