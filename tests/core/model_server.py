"""A model of the service, small enough to be believed: no asyncio, no engine, JSON frames in and out.

It keeps RULES section 1: it consumes in order, takes a snapshot for each handle, never continues a
generation that was cut, and leaves a question unanswered that nothing triggers; the next
generation takes it up (merged answer). Whoever runs it gives it a clock (`at`) and carries its
frames (`emit`, `close`). What the client does wrong is a `Violation`, raised on the spot.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import msgspec

from tests.core.model_state import (
    CALL_UNKNOWN,
    INTERRUPTED_END,
    INVALID_HANDLES,
    REISSUES,
    SESSION_EXPIRED,
    TURN_COMPLETE,
    VAD_SILENCE,
    CallPlan,
    Chunk,
    Connection,
    Generation,
    Settings,
    Snapshot,
    Stages,
    State,
    Violation,
    call_key,
    media_part,
)

__all__ = ["ModelServer"]

_encode = msgspec.json.encode
_decode = msgspec.json.decode
_TOKENS = re.compile(r"<([mr]\d+|a:[^>]*)>")
_WORDS = re.compile(r"\bw(\d+)\b")


class ModelServer:
    """The service."""

    def __init__(
        self,
        settings: Settings,
        *,
        random: Callable[[], float],
        clock: Callable[[], float],
        at: Callable[..., None],
        emit: Callable[[int, bytes], None],
        close: Callable[[int, int, str], None],
        over: Callable[[int], None],
    ) -> None:
        self.settings = settings
        self._random = random
        self._clock = clock
        self._at = at
        self._emit = emit
        self._close = close
        self._over = over
        self.connections: dict[int, Connection] = {}
        self.snapshots: dict[str, Snapshot] = {}
        self.bound: dict[int, Connection] = {}
        """Session -> the connection that holds it, dead ones that were not noticed included."""
        self.current: Connection | None = None
        """The newest bound connection: its state is the conversation."""
        self.refused: dict[str, tuple[int, str]] = {}
        """Handles that are not accepted any more."""
        self.mute_binds = 0
        """So many setups stay unanswered."""
        self.drop_binds = 0
        """So many connections are dropped at setup."""
        self.hostile = False
        """Every connection is dropped as soon as it is bound."""
        self.calls: dict[str, Stages] = {}
        """Calls that a question needs, as first made."""
        self.most_equal: dict[str, int] = {}
        """Key of a call -> how often one generation made it at most."""
        self.parts: dict[str, int] = {}
        """Question -> parts of the generation that had the most."""
        self.continued: set[int] = set()
        """Generations that go on from a state that waited for tools."""
        self.taken_back: set[str] = set()
        """Questions of which the service cancelled calls."""
        self.waited: dict[str, float] = {}
        """Token -> how old the connection was on which it was last received."""
        self.poisoned: set[str] = set()
        self._utterance_of: dict[int, int] = {}
        """Number of a chunk -> its utterance."""
        self._words: list[int] = []
        """Chunks of the utterance that just ended."""
        self._tried: set[str] = set()
        self._expired: set[int] = set()
        self.generations = 0
        self.sessions = 0
        self.last_handle = -1
        """Order of the handle that was last resumed from."""
        self.check_quiet = True

    # --- what the world tells it ---

    def opened(self, number: int) -> None:
        """Note that the upgrade is done."""
        self.connections[number] = Connection(number)

    def noticed(self, number: int) -> None:
        """Note that a connection is gone, and release its session."""
        connection = self.connections.get(number)
        if connection is None:
            return
        connection.alive = False
        connection.generation = None
        if self.bound.get(connection.session) is connection:
            del self.bound[connection.session]

    def cut(self, number: int) -> None:
        """Stop: nothing comes in or goes out any more, but the session stays bound until `noticed`."""
        connection = self.connections.get(number)
        if connection is not None:
            connection.alive = False
            connection.generation = None

    def receive(self, number: int, frame: str) -> None:
        """Consume one client frame."""
        connection = self.connections[number]
        if not connection.alive:
            return
        message = _decode(frame)
        if "setup" in message:
            self._setup(connection, message["setup"])
            return
        if not connection.set_up:
            raise Violation("I4", f"connection {number}: the first frame is no setup: {frame[:80]}")
        if not connection.bound:
            raise Violation("I5", f"connection {number}: written before setupComplete: {frame[:80]}")
        connection.states.append(connection.state)
        connection.received.append(frame.encode())
        if connection.mute:
            return
        content = message.get("clientContent") or message.get("client_content")
        realtime = message.get("realtimeInput") or message.get("realtime_input")
        responses = message.get("toolResponse") or message.get("tool_response")
        if content is not None:
            self._content(connection, content)
        elif realtime is not None:
            self._realtime(connection, realtime)
        elif responses is not None:
            self._responses(connection, responses)
        else:
            self._remember(connection, frame)
        if self.settings.transparent and connection.alive and self._chance(self.settings.updates / 2):
            self.update(connection)

    def go_away(self, number: int, left: float | None) -> None:
        """Announce the end of a connection."""
        self._emit(number, _encode({"goAway": {} if left is None else {"timeLeft": f"{left:g}s"}}))

    def update(self, connection: Connection, state: State | None = None) -> None:
        """Issue a handle for the connection's state, or one up to `lag` messages older."""
        if connection.mute:
            return
        index = connection.index
        if state is None:
            lag = int(self._random() * (self.settings.lag + 1)) if self.settings.lag else 0
            index = max(index - lag, 0)
            state = connection.states[index]
        if not self.settings.holds_audio:
            state = state.without_speech()
        if not self.settings.older_valid:
            for older, snapshot in self.snapshots.items():
                if snapshot.session == connection.session:
                    self.refused.setdefault(older, INVALID_HANDLES[0])
        handle = f"handle-{len(self.snapshots) + 1}"
        if connection.session in self._expired:
            self.refused[handle] = SESSION_EXPIRED
        self.snapshots[handle] = Snapshot(state, connection.session, len(self.snapshots) + 1)
        update: dict[str, object] = {"newHandle": handle, "resumable": True}
        if self.settings.transparent and index:
            update["lastConsumedClientMessageIndex"] = str(index - 1 + self.settings.first_index)
        self._emit(connection.number, _encode({"sessionResumptionUpdate": update}))

    def empty_update(self, connection: Connection) -> None:
        """Say that the session cannot be resumed right now."""
        update: dict[str, object] = {"newHandle": "nothing"} if self._chance(0.2) else {}
        self._emit(connection.number, _encode({"sessionResumptionUpdate": update}))

    # --- setup ---

    def _setup(self, connection: Connection, setup: dict[str, object]) -> None:
        if connection.set_up:
            raise Violation("I4", f"connection {connection.number}: a second setup")
        connection.set_up = True
        resumption = setup.get("sessionResumption")
        if isinstance(resumption, dict):
            connection.handle = resumption.get("handle")
            if bool(resumption.get("transparent")) is not self.settings.transparent:
                raise Violation("setup", "transparent is not what the backend takes")
        history = setup.get("historyConfig") or setup.get("history_config") or {}
        connection.seeding = bool(isinstance(history, dict) and history.get("initialHistoryInClientContent"))
        if connection.handle is not None and connection.seeding:
            raise Violation("I7", "a setup with a handle and with initial history")
        if self.drop_binds > 0:
            self.drop_binds -= 1
            self._at(0.01, self._close, connection.number, 1011, "Internal error encountered.")
            return
        if self.mute_binds > 0:
            self.mute_binds -= 1
            return
        self._at(self._between(self.settings.setup_delay), self._bind, connection)

    def _bind(self, connection: Connection) -> None:
        if not connection.alive:
            return
        if connection.handle is None:
            self.sessions += 1
            connection.session = self.sessions
            self.last_handle = -1
            if self.settings.session_limit is not None:
                self._at(self.settings.session_limit, self._expire, connection.session)
        else:
            self._try(connection.handle)
            refusal = self.refused.get(connection.handle)
            snapshot = self.snapshots.get(connection.handle)
            if snapshot is None:
                raise Violation("I2", f"a handle that was never issued: {connection.handle!r}")
            if refusal is not None:
                self._close(connection.number, *refusal)
                return
            if snapshot.order < self.last_handle:
                raise Violation("I2", f"resumed from {connection.handle}, after a newer one was used")
            waits_for_tools = self.settings.transparent and snapshot.state.pending  # RULES 2, a step
            if self.check_quiet and not snapshot.state.quiet and not waits_for_tools:
                raise Violation("base", f"{connection.handle} is of a state with {snapshot.state.open} open")
            holder = self.bound.get(snapshot.session)
            if holder is not None and self.settings.double_binding == "refuse":
                self._close(connection.number, 1011, "Session is already in use by another connection.")
                return
            if holder is not None and self.settings.double_binding == "evict":
                self._close(holder.number, 1011, "Session is resumed by another connection.")
                self.noticed(holder.number)
            if snapshot.state.quiet:
                self.last_handle = snapshot.order
            connection.session = snapshot.session
            connection.resumed = True
            connection.mute = connection.handle in self.poisoned
            connection.state = snapshot.state
        self.bound[connection.session] = connection
        connection.bound = True
        connection.bound_at = self._clock()
        connection.states = [connection.state]
        self.current = connection
        self._emit(connection.number, _encode({"setupComplete": {}}))
        if self.hostile:
            self._at(0.05, self._close, connection.number, 1011, "Internal error encountered.")

    def _expire(self, session: int) -> None:
        """End a session: its handles are void, and who holds it is dropped."""
        if self.settings.session_limit is None:
            return
        for handle, snapshot in self.snapshots.items():
            if snapshot.session == session:
                self.refused.setdefault(handle, SESSION_EXPIRED)
        self._expired.add(session)
        holder = self.bound.get(session)
        if holder is not None and holder.alive:
            self._over(holder.number)
            self._close(holder.number, *SESSION_EXPIRED)

    def _try(self, handle: str) -> None:
        """Draw, once for each handle, whether it is any good."""
        if handle in self.snapshots and handle not in self._tried:
            self._tried.add(handle)
            if self._chance(self.settings.refused):
                self.refused.setdefault(handle, INVALID_HANDLES[self.generations % len(INVALID_HANDLES)])
            elif self._chance(self.settings.poisoned):
                self.poisoned.add(handle)

    # --- messages ---

    def _remember(self, connection: Connection, text: str) -> list[str]:
        """Note what a text holds; return its token, or the utterances that it repeats in words."""
        tokens = _TOKENS.findall(text)
        spoken = self._utterances(text)
        self._note_arrival(connection, tokens)
        items = (*(("m", token) for token in tokens), *(("t", label) for label in spoken))
        connection.become(log=connection.state.log + items)
        return tokens[-1:] or spoken

    def _note_arrival(self, connection: Connection, tokens: list[str]) -> None:
        self.waited.update(dict.fromkeys(tokens, self._clock() - connection.bound_at))

    def _utterances(self, text: str) -> list[str]:
        """Return the utterances whose words a text holds."""
        return list(dict.fromkeys(f"u{self._utterance_of[int(word)]}" for word in _WORDS.findall(text)))

    def _content(self, connection: Connection, content: dict[str, object]) -> None:
        turns = content.get("turns") or []
        complete = bool(content.get("turnComplete") or content.get("turn_complete"))
        history = connection.seeding or len(turns) > 1 or any(turn.get("role") == "model" for turn in turns)
        if history:
            self._seed(connection, turns, complete=complete)
            return
        if self.settings.family == "3.x":
            raise Violation("text", "a 3.x model closes with 1007 on clientContent in mid-session")
        connection.spoken_to = True
        asked = self._remember(connection, _encode(turns).decode())
        if complete:
            self._ask(connection, *asked)

    def _seed(self, connection: Connection, turns: list[dict[str, object]], *, complete: bool) -> None:
        if connection.resumed:
            raise Violation("I7", f"connection {connection.number}: history on a connection bound with a handle")
        if connection.spoken_to:
            raise Violation("I7", "history after live messages")
        if self.settings.family == "2.x" and complete and turns[-1].get("role") == "model":
            raise Violation("seed", "turnComplete after a model turn makes the model speak")
        connection.seeding = False
        log = list(connection.state.log)
        asked: list[str] = []
        for turn in turns:
            text = _encode(turn).decode()
            tokens = _TOKENS.findall(text) + self._utterances(text)
            if turn.get("role") == "model":
                asked.clear()
                log += [("seed", token) for token in tokens if token[0] == "r"]
                log += [("a", tuple(token.split(":")[1].split("+")), -1, True) for token in tokens if token[0] == "a"]
            else:
                log += [("seed", token) for token in tokens if token[0] != "a"]
                asked += tokens
        connection.become(log=tuple(log))
        if complete and self.settings.family == "2.x":
            self._ask(connection, asked[-1])

    def _realtime(self, connection: Connection, realtime: dict[str, object]) -> None:
        connection.spoken_to = True
        if realtime.get("text") is not None:
            self._ask(connection, *self._remember(connection, str(realtime["text"])))
            return
        for name in ("activityStart", "activity_start"):
            if name in realtime:
                self._remember(connection, str(realtime[name]))
                self._barge_in(connection)
                connection.become(activity=True, utterance=())
                return
        for name in ("activityEnd", "activity_end"):
            if name in realtime:
                self._remember(connection, str(realtime[name]))
                if connection.state.activity:
                    connection.become(activity=False)
                    self._end_of_speech(connection)
                return
        audio = realtime.get("audio")
        if isinstance(audio, dict):
            self._hear(connection, Chunk.decode(str(audio["data"])))
        video = realtime.get("video")
        if isinstance(video, dict):
            number = Chunk.decode(str(video["data"])).number
            connection.become(log=(*connection.state.log, ("i", number)))

    def _hear(self, connection: Connection, chunk: Chunk) -> None:
        state = connection.state
        log = (*state.log, ("v", chunk.number))
        if chunk.utterance:
            if self.settings.speech == "vad":
                self._barge_in(connection)
                if not state.utterance:
                    self._signal(connection, "ACTIVITY_START")
            self._utterance_of[chunk.number] = chunk.utterance
            if self.settings.transcribes == "streaming":
                self._transcribe(connection, [chunk.number])
            state = connection.state
            connection.become(log=(*state.log, ("v", chunk.number)), utterance=(*state.utterance, chunk), silence=0)
        elif state.utterance and self.settings.speech == "vad":
            connection.become(log=log, silence=state.silence + 1)
            if connection.state.silence >= VAD_SILENCE:
                self._end_of_speech(connection)
        else:
            connection.become(log=log)

    def _end_of_speech(self, connection: Connection) -> None:
        speech = [chunk for chunk in connection.state.utterance if chunk.utterance]
        if self.settings.speech == "vad":
            self._signal(connection, "ACTIVITY_END")
        connection.become(utterance=(), silence=0)
        if speech:
            self._words = [chunk.number for chunk in speech]
            self._ask(connection, *dict.fromkeys(f"u{chunk.utterance}" for chunk in speech))

    def _signal(self, connection: Connection, kind: str) -> None:
        if self.settings.voice_signals:
            self._emit(connection.number, _encode({"voiceActivity": {"voiceActivityType": kind}}))

    def _transcribe(self, connection: Connection, words: list[int], *, finished: bool = False) -> None:
        """Send words back, in one of the forms that the service has."""
        text = "".join(f" w{word}" for word in words)
        if self._chance(0.1):
            interim = {"serverContent": {"interimInputTranscription": {"text": text[: len(text) // 2]}}}
            self._emit(connection.number, _encode(interim))
        transcription: dict[str, object] = {"text": text}
        if finished and self._chance(0.5):
            transcription["finished"] = True
        frame: dict[str, object] = {"serverContent": {"inputTranscription": transcription}}
        if self._chance(0.1):
            frame["usageMetadata"] = {"totalTokenCount": 3}
        self._emit(connection.number, _encode(frame))
        if finished and "finished" not in transcription and self._chance(0.3):
            self._emit(connection.number, _encode({"serverContent": {"inputTranscription": {"finished": True}}}))

    def _responses(self, connection: Connection, message: dict[str, object]) -> None:
        connection.spoken_to = True
        if self._chance(self.settings.forgets):
            self._close(connection.number, *CALL_UNKNOWN)
            return
        for response in message.get("functionResponses") or message.get("function_responses") or []:
            if response.get("id") in connection.cancelled:
                continue
            if response.get("id") not in connection.state.pending:
                raise Violation("I8", f"1008: a response to a call that is not known: {response.get('id')}")
            tokens = _TOKENS.findall(_encode(response).decode())
            self._note_arrival(connection, tokens)
            item = ("r", response.get("id"), "".join(tokens))
            pending = tuple(call for call in connection.state.pending if call != response.get("id"))
            connection.become(log=(*connection.state.log, item), pending=pending)
        generation = connection.generation
        if connection.state.pending:
            return
        if generation is None:
            if connection.state.open:
                self._start(connection, connection.state.open, after_tools=True)
        elif generation.waiting:
            generation.waiting = False
            if self.settings.calls_end == "answered":
                self._end_part(connection, generation)
            self._at(self._between(self.settings.think), self._advance, connection, generation)

    # --- answers ---

    def _ask(self, connection: Connection, *labels: str) -> None:
        was_waiting = bool(connection.state.pending)
        connection.become(open=connection.state.open + labels)
        generation = connection.generation
        if generation is None and not was_waiting:
            self._start(connection, connection.state.open)
        elif self.settings.overlap == "queue":
            connection.queue.extend(labels)
        elif self.settings.overlap == "merge" and generation is not None and not generation.emitted:
            generation.labels += labels
            self._plan(generation, stage=connection.state.stage)
        else:
            self._interrupt(connection, but=labels)
            self._start(connection, labels)

    def _barge_in(self, connection: Connection) -> None:
        if connection.generation is not None or connection.state.pending:
            self._interrupt(connection, but=())

    def _interrupt(self, connection: Connection, *, but: tuple[str, ...]) -> None:
        """End the answer that runs, or the state that waits for tools."""
        state = connection.state
        if state.pending:
            self._emit(connection.number, _encode({"toolCallCancellation": {"ids": list(state.pending)}}))
            connection.cancelled.update(state.pending)
            self.taken_back.update(state.open)
        self._emit(connection.number, _encode({"serverContent": {"interrupted": True}}))
        generation = connection.generation
        labels = generation.labels if generation is not None else tuple(q for q in state.open if q not in but)
        number = generation.number if generation is not None else 0
        self._end(connection, labels, number, whole=False)

    def _start(self, connection: Connection, labels: tuple[str, ...], *, after_tools: bool = False) -> None:
        self.generations += 1
        generation = Generation(self.generations, labels)
        if after_tools:
            self.continued.add(generation.number)
        else:
            connection.become(stage=0)
        connection.generation = generation
        connection.handle_due = None
        self._plan(generation, stage=connection.state.stage)
        self._at(self._between(self.settings.think), self._advance, connection, generation)

    def _plan(self, generation: Generation, *, stage: int = 0) -> None:
        """Lay out an answer: sets of calls, and pieces before, between and after them."""
        low, high = self.settings.pieces
        count = low + int(self._random() * (high - low + 1))
        stages = self._calls(generation.labels[0])
        for key, equal in Counter(call_key(name, args) for calls in stages for name, args in calls).items():
            self.most_equal[key] = max(self.most_equal.get(key, 0), equal)
        stages = stages[stage:]
        plan: list[tuple[object, ...]] = []
        if stages and self.settings.calls_end != "never":
            generation.parts = len(stages) + 1
            for part, calls in enumerate(stages):
                before = int(self._random() * (count + 1))
                plan += [("piece", number, before, part) for number in range(before)]
                plan += self._call_steps(calls)
            plan += [("piece", number, count, len(stages)) for number in range(count)]
        else:
            plan = [("piece", number, count, 0) for number in range(count)]
            # Only a 3.x model may have nothing to say to a response.
            last = count + (self.settings.family == "3.x")
            places = sorted((int(self._random() * last) for _ in stages), reverse=True)
            for place, calls in zip(places, reversed(stages), strict=True):
                plan[place:place] = self._call_steps(calls)
        for label in generation.labels:
            self.parts[label] = max(self.parts.get(label, 1), generation.parts)
        generation.words += self._words
        words, self._words = generation.words, []
        if words and self.settings.transcribes == "after":
            half = int(self._random() * len(words))
            plan[:0] = [("heard", part, part[-1] == words[-1]) for part in (words[:half], words[half:]) if part]
        if self._chance(0.5):
            plan.append(("complete",))
        generation.plan = [*plan, ("end",)]
        generation.position = 0

    def _call_steps(self, calls: list[CallPlan]) -> list[tuple[object, ...]]:
        if self.settings.two_frames and len(calls) > 1:
            return [("calls", calls[:1], False), ("calls", calls[1:], True)]
        return [("calls", calls, True)]

    def _calls(self, label: str) -> Stages:
        """Return the calls of a question, in sets; asked again, the model may think otherwise."""
        known = self.calls.get(label)
        if known is None:
            self.calls[label] = known = self._first_calls(label)
            return known
        reissue: str = self.settings.reissue
        if reissue == "any":
            reissue = REISSUES[int(self._random() * len(REISSUES))]
        again = {"question": label, "again": self.generations}
        match reissue:
            case "none":
                return []
            case "other":
                return [[(name, {**args, **again}) for name, args in calls] for calls in known]
            case "order":
                return [calls[::-1] for calls in known[::-1]]
            case "subset":
                return [calls for calls in (*known[:-1], known[-1][1:]) if calls] if known else []
            case "extra":
                return [[("tool_x", again), *calls] for calls in known[:1]] + known[1:] or [[("tool_x", again)]]
            case "one more" if known:
                return [*known, known[0][:1]]
            case _:
                return known

    def _first_calls(self, label: str) -> Stages:
        if not self._chance(self.settings.tools):
            return []
        equal = self._chance(0.3)
        stages: Stages = []
        for _ in range(1 + self._chance(0.3)):
            first = sum(map(len, stages))
            numbers = range(first, first + 1 + int(self._random() ** 2 * 3))
            stages.append([(f"tool_{0 if equal else number}", {"question": label}) for number in numbers])
        return stages

    def _advance(self, connection: Connection, generation: Generation) -> None:
        """Do the next step of an answer."""
        if connection.generation is not generation or generation.waiting:
            return
        step = generation.plan[generation.position]
        generation.position += 1
        match step[0]:
            case "piece":
                generation.emitted = True
                place = f"{generation.number}:{step[1]}:{step[2]}:{step[3]}:{generation.parts}"
                text = f"<a:{'+'.join(generation.labels)}:{place}>"
                part = media_part(text) if self.settings.media and (generation.number + step[1]) % 4 else {"text": text}
                content = {"modelTurn": {"parts": [part]}}
                self._emit(connection.number, _encode({"serverContent": content}))
            case "heard":
                generation.emitted = True
                self._transcribe(connection, step[1], finished=bool(step[2]))
            case "calls":
                generation.emitted = True
                self._call(connection, generation, step[1], whole=bool(step[2]))
                if step[2] and connection.state.pending:
                    generation.waiting = True
                    if self.settings.calls_end == "at once":
                        self._end_part(connection, generation)
            case "complete":
                self._emit(connection.number, _encode({"serverContent": {"generationComplete": True}}))
            case _:
                self._end(connection, generation.labels, generation.number, whole=True)
                return
        if self._chance(self.settings.updates):
            if self.settings.transparent:
                self.update(connection)
            else:
                self.empty_update(connection)
        if not generation.waiting:
            self._at(self._between(self.settings.pace), self._advance, connection, generation)

    def _call(self, connection: Connection, generation: Generation, calls: list[CallPlan], *, whole: bool) -> None:
        first = generation.position * 10
        requests = [
            {"id": f"call-{generation.number}-{first + number}", "name": name, "args": args}
            for number, (name, args) in enumerate(calls)
        ]
        state = connection.state
        connection.become(
            log=state.log + tuple(("c", call["id"], call_key(call["name"], call["args"])) for call in requests),
            pending=(*state.pending, *(str(request["id"]) for request in requests)),
            stage=state.stage + whole,
        )
        self._emit(connection.number, _encode({"toolCall": {"functionCalls": requests}}))

    def _end_part(self, connection: Connection, generation: Generation) -> None:
        """End what the model says up to a call; the rest of the answer is a part of its own."""
        generation.part += 1
        if self._chance(0.5):
            self._emit(connection.number, _encode({"serverContent": {"generationComplete": True}}))
        self._emit(connection.number, TURN_COMPLETE)
        if self.settings.transparent:
            self._at(self._between(self.settings.handle_delay), self._update_if_alive, connection)

    def _update_if_alive(self, connection: Connection) -> None:
        if connection.alive:
            self.update(connection)

    def _end(self, connection: Connection, labels: tuple[str, ...], number: int, *, whole: bool) -> None:
        """End a turn, and schedule its handle."""
        connection.generation = None
        state = connection.state
        connection.become(
            log=(*state.log, ("a", labels, number, whole)),
            open=tuple(label for label in state.open if label not in labels),
            pending=(),
            stage=0,
        )
        self._emit(connection.number, TURN_COMPLETE if whole else INTERRUPTED_END)
        due = connection.handle_due = object()
        self._at(self._between(self.settings.handle_delay), self._turn_handle, connection, due, connection.state)
        if connection.queue:
            label = connection.queue.pop(0)
            if label in connection.state.open:
                self._start(connection, (label,))

    def _turn_handle(self, connection: Connection, due: object, state: State) -> None:
        """Issue the handle of a turn; without transparency only in silence."""
        if not connection.alive:
            return
        if self.settings.transparent:
            self.update(connection)
            return
        idle = connection.generation is None and not connection.state.pending and not connection.state.activity
        if connection.state.utterance and self.settings.speech == "vad":
            idle = False
        if connection.handle_due is not due or not idle:
            return
        self.update(connection, state if self.settings.snapshot_at == "turn_complete" else connection.state)

    def _chance(self, probability: float) -> bool:
        return probability > 0 and self._random() < probability

    def _between(self, span: tuple[float, float]) -> float:
        return span[0] + self._random() * (span[1] - span[0])
