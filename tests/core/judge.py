"""What has to hold at the end of a schedule: the state that the service goes on from, and what the app sent.

The *final lineage* is the log of the newest connection's state: everything that the service will
remember. RULES 1 "Checks" says what is compared.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.core.model_state import CHUNK_SECONDS, State, Violation

if TYPE_CHECKING:
    from tests.core.application import Sent
    from tests.core.simulation import World

__all__ = ["judge"]


def judge(world: World) -> None:
    """Compare the state that the service ends with, and what the app sent and was told."""
    wire = world.network.live_wire()
    assert wire is not None
    state = world.final = world.server.connections[wire.number].state
    verdict = _Judge(world, state)
    if state.open and not world.app.relaxed:
        raise Violation("lineage", f"questions without an answer in the state: {state.open}")
    verdict.messages()
    verdict.events()
    verdict.responses()
    if not world.app.relaxed and world.rebinds:
        verdict.order_of_responses()
    if world.config.server.speech != "none":
        verdict.audio()
        verdict.transcription()
    verdict.video()


class _Judge:
    def __init__(self, world: World, state: State) -> None:
        self.world = world
        self.app = world.app
        self.told = world.app.told
        self.settings = world.config.server
        self.log = state.log
        self.tokens = state.tokens()
        self.as_text = {int(str(item[1])[1:]) for item in state.log if item[0] == "t"}
        """Utterances that stand there in words."""
        self.seeded = {str(item[1]) for item in state.log if item[0] == "seed"}

    def messages(self) -> None:
        """Each control message is there once, in order, save those that may be missing or repeated."""
        seen = Counter(token for token in self.tokens if token[0] == "m")
        held = [token for token in self.tokens if token[0] == "m"]
        for sent in self.app.sent:
            if sent.kind == "response":
                continue
            count = seen[sent.token]
            if count == 0 and not self._may_lack(sent):
                raise Violation("lineage", f"lost: {sent.kind} {sent.token}; the state holds {held}")
            if count and sent.kind == "question" and sent.number in self.told.settled:
                raise Violation("lineage", f"settled, and in the state: {sent.token}")
            flagged = sent.number in self.told.repeated and sent.kind != "question" and not self.settings.transparent
            if count > 1 and not flagged:
                raise Violation("lineage", f"doubled: {sent.kind} {sent.token}; the state holds {held}")
        number_of = {sent.token: sent.number for sent in self.app.sent}
        for order in (list(dict.fromkeys(held)), list(dict.fromkeys(reversed(held)))[::-1]):
            numbers = [number_of[token] for token in order]
            if numbers != sorted(numbers):
                raise Violation("lineage", f"reordered: {held}")

    def _may_lack(self, sent: Sent) -> bool:
        if sent.kind == "question":
            return sent.number in self.told.settled
        if sent.kind == "mark":
            return bool(self.told.fresh_starts or self.told.settled or self.told.lost_audio or self.as_text)
        return bool(self.told.fresh_starts) and self.settings.family == "3.x"

    def events(self) -> None:
        """Events name messages of the kind that they are about."""
        kinds = {sent.number: sent.kind for sent in self.app.sent}
        for number in self.told.repeated:
            if kinds.get(number) not in ("context", "mark"):
                raise Violation("events", f"message {number} is flagged repeated: {kinds.get(number)}")
        for number in self.told.settled - {None}:
            if kinds.get(number or 0) not in ("question", "mark"):
                raise Violation("events", f"message {number} is settled, which is {kinds.get(number or 0)}")

    def responses(self) -> None:
        """Each response answers its own call, once; the engine makes one up only where there is none."""
        told = self.told
        held = Counter(self.tokens)
        keys = {str(item[1]): str(item[2]) for item in self.log if item[0] == "c"}
        answers = {str(item[1]): str(item[2]) for item in self.log if item[0] == "r"}
        made_up = Counter(keys[call_id] for call_id, token in answers.items() if not token)
        sent_by = {sent.token: sent for sent in self.app.sent if sent.call is not None}
        for call_id, token in answers.items():
            call = sent_by[token].call if token else None
            if call is not None and call.key != keys.get(call_id, call.key):
                raise Violation("lineage", f"{token}, the response to {call.key}, answers {keys[call_id]}")
        for token, sent in sent_by.items():
            call = sent.call
            assert call is not None
            if held[token] > 1:
                raise Violation("lineage", f"doubled: response {token}")
            if held[token] or call.cancelled or call.question in self.world.server.taken_back:
                continue
            if call.question[0] == "u" and told.lost_audio:  # told as `TurnForgotten`: it goes with its question
                continue
            if made_up[call.key] and not self.app.relaxed:
                raise Violation("lineage", f"response {token} is there, and an error answers {call.key}")
            if not (call.id in told.dropped_responses or told.fresh_starts or told.settled):
                raise Violation("lineage", f"lost: response {token} to {call.id}")

    def order_of_responses(self) -> None:
        """What the app sent after a response stands after it, unless that had to wait for too long."""
        last = {token: place for place, token in enumerate(self.tokens)}
        patience = self.world.config.policy.rebind_timeout - 1.0
        for position, sent in enumerate(self.app.sent):
            place = last.get(sent.token)
            if sent.kind != "response" or place is None or sent.token in self.seeded:
                continue
            if self.world.server.waited[sent.token] >= patience:
                continue
            for later in self.app.sent[position + 1 :]:
                if later.kind != "response" and last.get(later.token, place) < place:
                    raise Violation("lineage", f"reordered: {later.token} was sent after {sent.token}: {self.tokens}")

    def audio(self) -> None:
        """Audio is there once, in order, or reported lost."""
        world = self.world
        heard = [int(str(item[1])) for item in self.log if item[0] == "v"]
        transparent = self.settings.transparent
        if transparent and heard != sorted(set(heard)):
            raise Violation("audio", f"doubled or reordered: {heard}")
        both = self.as_text & {self.app.utterance_of[chunk] for chunk in heard}
        if both:
            raise Violation("audio", f"utterances {both} are there as audio, and as text: {heard}")
        # Of what stands there in words the audio is gone, with the silence in front of it.
        in_words = {*self.as_text, 0} if self.as_text else set()
        wanted = {chunk for chunk, utterance in self.app.utterance_of.items() if utterance not in in_words}
        missing = len(wanted - set(heard)) * CHUNK_SECONDS
        # Nobody knows what was under way when the turn ended, or when the handle was made; an index tells the latter.
        # After an outage, or a stall, much is under way at once.
        blind = world.network.stalled + self.told.downtime + sum(wire.bound for wire in world.network.wires.values())
        if transparent and self.settings.holds_audio:
            blind = 0.0
        unexplained = missing > self.told.lost_audio + blind + 1e-6
        if unexplained and not self.told.fresh_starts and not self.told.settled:
            raise Violation("audio", f"{missing:g} s are missing, {self.told.lost_audio:g} s were reported")

    def transcription(self) -> None:
        """Every word that the service heard was shown, if nothing was lost or given up on the way."""
        told = self.told
        if self.settings.transcribes == "never" or told.lost_audio or told.settled or told.fresh_starts:
            return
        said = {chunk for chunk, utterance in self.app.utterance_of.items() if utterance}
        missing = sorted(said - set(self.app.words))
        if missing:
            raise Violation("transcription", f"words {missing} were never shown")

    def video(self) -> None:
        """Of video only the newest frame counts: none stands behind a newer one, and one at most is sent again."""
        frames = [int(str(item[1])) for item in self.log if item[0] == "i"]
        if frames != sorted(frames):
            raise Violation("video", f"an old frame behind a newer one: {frames}")
        for wire in self.world.network.wires.values():
            again = [number for number in wire.videos if number <= wire.newest_video]
            if len(again) > 1 or wire.videos != sorted(set(wire.videos)):
                raise Violation("video", f"connection {wire.number} got {wire.videos}, after {wire.newest_video}")
