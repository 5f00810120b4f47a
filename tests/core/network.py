"""The network between engine and service: dials, wires in both directions, and what an engine must not do on them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resumekit.core import inputs
from resumekit.core.failures import Failure, Phase, Side
from resumekit.wire import decode_server
from tests.core.model_state import Chunk, Violation

if TYPE_CHECKING:
    from tests.core.simulation import World

__all__ = ["DIAL_FAULTS", "Network", "Wire"]

DIAL_FAULTS = ("refused", "503", "429", "hang", "mute", "drop")


@dataclass(eq=False)
class Wire:
    """One connection: what is under way in both directions."""

    number: int
    up: deque[str] = field(default_factory=deque)
    down: deque[bytes | tuple[int, str]] = field(default_factory=deque)
    up_at: float = 0.0
    down_at: float = 0.0
    written_at: float = 0.0
    dialed: bool = False
    bound: bool = False
    closing: bool = False
    """The client closes it: nothing more may be written."""
    aborted: bool = False
    ended: bool = False
    """`ConnectionEnded` was fed."""
    frozen: bool = False
    """Nothing arrives any more, and nobody says so."""
    stalled_until: float = 0.0
    """Everything arrives late."""
    held: list[tuple[Callable[..., None], tuple[Any, ...]]] = field(default_factory=list)
    """What happens as soon as it moves again, in order."""
    hears_speech: bool = False
    """The service has said so."""
    videos: list[int] = field(default_factory=list)
    """Frames that were written on it."""
    newest_video: int = 0
    """The newest frame that was written before it was bound."""
    setups: int = 0
    frozen_writes: int = 0


class Network:
    """All connections of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.wires: dict[int, Wire] = {}
        self.dial_faults: deque[str] = deque()
        """What becomes of the next dials."""
        self.down_until = 0.0
        """The service cannot be reached before."""
        self.stalled = 0.0
        """Seconds for which everything was held back."""
        self._newest = 0
        """Number of the newest connection that was set up."""
        self.last_up = 0.0
        """When a bound connection was last there."""
        self.bound_at: float | None = None
        self.proved_at = world.now
        """When a connection last proved itself."""
        self._newest_handle: str | None = None
        """That the engine was shown."""
        self._dials: deque[float] = deque(maxlen=11)

    def _latency(self) -> float:
        low, high = self.world.config.latency
        return low + self.world.rng.random() * (high - low)

    def dial(self, number: int) -> None:
        """Open a connection, or fail to, as the next fault says."""
        if number in self.wires:
            raise Violation("dial", f"connection {number} is opened twice")
        self._dials.append(self.world.now)
        recent = [when for when in self._dials if when > max(self.world.now - 60.0 + 1e-6, self.proved_at)]
        if len(recent) > 10:
            raise Violation("I6", f"{len(recent)} dials in 60 s without proof")
        self.wires[number] = Wire(number)
        fault = self.dial_faults.popleft() if self.dial_faults else ""
        if self.world.now < self.down_until:
            fault = "refused"
        self.world.at(self._latency() * 4, self._dial_ends, number, fault)

    def _dial_ends(self, number: int, fault: str) -> None:
        wire = self.wires[number]
        if wire.aborted and not self.world.config.talk_after_abort:
            return
        match fault:
            case "hang":
                return
            case "refused":
                failure = Failure(phase=Phase.DIAL, side=Side.NOBODY, reason="connection refused")
            case "503":
                failure = Failure(phase=Phase.DIAL, side=Side.THEY, status=503)
            case "401":
                self.world.fatal = True
                failure = Failure(phase=Phase.DIAL, side=Side.THEY, status=401)
            case "429":
                failure = Failure(phase=Phase.DIAL, side=Side.THEY, status=429, retry_after=2.0)
            case _:
                if fault == "mute":
                    self.world.server.mute_binds += 1
                elif fault == "drop":
                    self.world.server.drop_binds += 1
                wire.dialed = True
                self.world.server.opened(number)
                self.world.feed(inputs.Dialed(number))
                if wire.aborted:
                    self.world.at(self._latency(), self.world.server.noticed, number)
                return
        self.world.feed(inputs.DialFailed(number, failure))

    def write(self, number: int, frame: str) -> bool:
        """Take a frame of the engine: it must be allowed to write there, and then. Return whether it is written."""
        wire = self.wires.get(number)
        if wire is None or not wire.dialed:
            raise Violation("write", f"connection {number} is not open: {frame[:80]}")
        if wire.closing or wire.aborted or wire.ended:
            raise Violation("I1", f"connection {number} is over: {frame[:80]}")
        if number < self._newest:
            raise Violation("I1", f"connection {number} is not the current one: {frame[:80]}")
        if frame.startswith('{"setup"'):
            wire.setups += 1
            self._newest = number
            if wire.setups > 1:
                raise Violation("I4", f"connection {number}: a second setup")
            if self.world.kept is not None and self.world.config.policy.older_handles_valid and '"handle"' not in frame:
                raise Violation("I2", f"connection {number}: a fresh start, and {self.world.kept.handle!r} is good")
            older = self._newest_handle is not None and f'"{self._newest_handle}"' not in frame and '"handle"' in frame
            if older and not self.world.config.policy.older_handles_valid:
                raise Violation("I2", f"connection {number}: resumed from a handle that {self._newest_handle} voids")
            wire.newest_video = max((max(w.videos, default=0) for w in self.wires.values()), default=0)
        elif not wire.bound:
            raise Violation("I5", f"connection {number}: written before setupComplete: {frame[:80]}")
        elif '"video"' in frame:
            wire.videos.append(Chunk.decode(frame.partition('"data":"')[2].rstrip('"}')).number)
        at_once = self.takes(number)
        if wire.frozen:
            wire.frozen_writes += 1
            if not at_once and wire.frozen_writes <= 4:
                self.world.at(0.0, self._written, wire)
            return at_once
        wire.up.append(frame)
        wire.up_at = max(wire.up_at, self.world.now + self._latency())
        self.world.at(wire.up_at - self.world.now, self._arrives_up, wire)
        if self.world.config.late_written:
            wire.written_at = max(wire.written_at, self.world.now + self._latency())
            self.world.at(wire.written_at - self.world.now, self._written, wire)
        return at_once

    def takes(self, number: int) -> bool:
        """Tell whether a frame that is written now is written at once."""
        return not self.world.config.late_written and self.wires[number].frozen_writes < 4

    def _written(self, wire: Wire) -> None:
        if not wire.ended and (not wire.aborted or self.world.config.talk_after_abort):
            self.world.feed(inputs.Written(wire.number))

    def _stalls(self, wire: Wire, what: Callable[..., None], *args: Any) -> bool:
        """Put off what happens on a wire until it moves again."""
        if self.world.now >= wire.stalled_until and not wire.held:
            return False
        if not wire.held:
            self.world.at(wire.stalled_until - self.world.now, self.moves, wire)
        wire.held.append((what, args))
        return True

    def moves(self, wire: Wire) -> None:
        """Let happen what a stall has held up, if it is over."""
        if self.world.now < wire.stalled_until:  # another one has come
            self.world.at(wire.stalled_until - self.world.now, self.moves, wire)
            return
        held, wire.held = wire.held, []
        for what, args in held:
            self.world.at(0.0, what, wire, *args)

    def _arrives_up(self, wire: Wire) -> None:
        if self._stalls(wire, self._arrives_up):
            return
        if wire.up and not wire.frozen:
            self.world.server.receive(wire.number, wire.up.popleft())

    def emit(self, number: int, frame: bytes) -> None:
        """Take a frame of the service."""
        wire = self.wires[number]
        connection = self.world.server.connections[number]
        if not connection.alive or wire.frozen:
            return
        self._send_down(wire, frame)

    def _send_down(self, wire: Wire, what: bytes | tuple[int, str]) -> None:
        wire.down.append(what)
        wire.down_at = max(wire.down_at, self.world.now + self._latency())
        self.world.at(wire.down_at - self.world.now, self._arrives_down, wire)

    def _arrives_down(self, wire: Wire) -> None:
        if self._stalls(wire, self._arrives_down):
            return
        if wire.ended or wire.frozen or not wire.down:
            return
        what = wire.down.popleft()
        if wire.aborted and not self.world.config.talk_after_abort:
            return
        if isinstance(what, tuple):
            self.end(wire, what[0], what[1], Side.THEY)
            return
        self.sees(wire, what)

    def sees(self, wire: Wire, frame: bytes) -> None:
        """Let a frame of the service come to the engine."""
        if self.world.takes_media(wire.number, frame):
            return
        message = decode_server(frame)
        if message.setup_complete is not None:
            wire.bound = True
            if not wire.aborted:
                self.bound_at = self.world.now
                if not self.world.server.connections[wire.number].resumed:
                    self.world.expiring_since = None
                    self.world.session_since = self.world.now
                self.world.at(self.world.config.policy.proven_after, self._stays_up, wire)
        if message.voice_activity is not None:
            wire.hears_speech = message.voice_activity.voice_activity_type == "ACTIVITY_START"
        left = wire.aborted or wire.closing  # what still comes proves nothing
        update = message.session_resumption_update
        if update is not None and update.resumable and update.new_handle and not left:
            self._newest_handle = update.new_handle
        if message.server_content is not None and message.server_content.turn_complete and not left:
            self.proved_at = self.world.now
        self.world.feed(inputs.FrameReceived(wire.number, message))

    def _stays_up(self, wire: Wire) -> None:
        """A connection that stayed up for long enough has proved itself; the time that the process slept does not count."""
        if wire.ended or wire.aborted or wire.closing:
            return
        left = self.world.woke_at + self.world.config.policy.proven_after - self.world.now
        if left > 0:
            self.world.at(left, self._stays_up, wire)
        else:
            self.proved_at = self.world.now

    def end(self, wire: Wire, code: int | None, reason: str, side: Side) -> None:
        """Let a connection end, once."""
        if wire.ended:
            return
        wire.ended = True
        if wire.bound and not (wire.aborted or wire.closing):
            self.last_up = self.world.now
        wire.down.clear()
        wire.up.clear()
        phase = Phase.LIVE if wire.bound else Phase.BIND
        self.world.feed(inputs.ConnectionEnded(wire.number, Failure(phase=phase, side=side, code=code, reason=reason)))

    def server_closes(self, number: int, code: int, reason: str) -> None:
        """Let the service close a connection."""
        wire = self.wires[number]
        connection = self.world.server.connections[number]
        if not connection.alive:
            return
        self.world.server.noticed(number)
        wire.up.clear()
        if not wire.frozen:
            self._send_down(wire, (code, reason))

    def client_closes(self, number: int) -> None:
        """Close a connection politely."""
        wire = self.wires[number]
        if wire.ended or not wire.dialed:
            raise Violation("close", f"connection {number} cannot be closed")
        if wire.closing:  # the app leaves in the middle of a move
            return
        wire.closing = True
        if wire.bound:
            self.last_up = self.world.now
        if wire.frozen:
            return
        wire.up_at = max(wire.up_at, self.world.now + self._latency())
        self.world.at(wire.up_at - self.world.now, self._closed_by_client, wire)

    def _closed_by_client(self, wire: Wire) -> None:
        if wire.frozen or self._stalls(wire, self._closed_by_client):
            return
        self.world.server.noticed(wire.number)
        self.world.at(self._latency(), self.end, wire, 1000, "", Side.WE)

    def abort(self, number: int) -> None:
        """Drop a connection."""
        wire = self.wires[number]
        if wire.ended:
            raise Violation("abort", f"connection {number} has ended already")
        hears = wire.bound and not (wire.closing or wire.frozen or self.world.now < wire.stalled_until)
        if hears and self.world.now - self.world.woke_at < 1.0:
            raise Violation("clock", f"connection {number} was not asked for a sign of life after the process woke")
        if wire.bound and not wire.closing:
            self.last_up = self.world.now
        wire.aborted = True
        if wire.dialed and not wire.frozen:
            self.world.at(self._latency(), self._aborted, wire)

    def _aborted(self, wire: Wire) -> None:
        if self.world.config.talk_after_abort or not self._stalls(wire, self._aborted):
            self.world.server.noticed(wire.number)

    def ping(self, number: int) -> None:
        """Ping; the pong comes if anything does."""
        wire = self.wires[number]
        if wire.closing or wire.aborted or wire.ended:
            raise Violation("I1", f"a ping on connection {number}, which is over")
        latency = self._latency()
        wire.up_at = max(wire.up_at, self.world.now + latency)
        self.world.at(wire.up_at - self.world.now, self._pinged, wire, latency)

    def _pinged(self, wire: Wire, latency: float) -> None:
        """Answer a ping, behind all that was sent before."""
        if not self._stalls(wire, self._pinged, latency) and not wire.frozen:
            wire.down_at = max(wire.down_at, self.world.now + latency)
            self.world.at(wire.down_at - self.world.now, self._pong, wire)

    def _pong(self, wire: Wire) -> None:
        if not self._stalls(wire, self._pong) and not (wire.frozen or wire.ended or wire.aborted):
            self.world.feed(inputs.PongReceived(wire.number))

    def live_wire(self) -> Wire | None:
        """Return the connection that is bound, or about to be."""
        for number in sorted(self.wires, reverse=True):
            wire = self.wires[number]
            if wire.setups and not (wire.ended or wire.aborted or wire.closing):
                return wire
        return None
