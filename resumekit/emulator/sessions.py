"""Sessions and handles: which state a handle names, and which connection a session is bound to."""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import random

    from resumekit.emulator.conversation import Conversation
    from resumekit.emulator.ledger import Position
    from resumekit.emulator.settings import Settings

__all__ = ["BoundConnection", "Saved", "Session", "SessionStore"]


class BoundConnection(Protocol):
    """What the store needs of a connection that holds a session."""

    def resume_attempted(self) -> None:
        """Another connection asks for the session."""

    def evict(self) -> None:
        """Another connection takes the session over."""


@dataclass(slots=True, eq=False)
class Session:
    """One conversation, over all its connections."""

    id: str
    bound: BoundConnection | None = None
    started_at: float | None = None
    """The first setupComplete, on the monotonic clock."""
    released_at: float | None = None
    handles: list[str] = field(default_factory=list[str])
    poisoned: bool = False


@dataclass(slots=True, eq=False)
class Saved:
    """What a handle stands for."""

    session: Session
    model: str
    state: Conversation
    position: Position
    issued_at: float
    used: bool = False
    dead: bool = False
    poisoned: bool = False


class SessionStore:
    """All sessions of a server."""

    def __init__(self, settings: Settings, draw: random.Random) -> None:
        self._settings = settings
        self._draw = draw
        self._saved: dict[str, Saved] = {}
        self._sessions: list[Session] = []

    def new_id(self) -> str:
        """Return a UUID that depends on the seed only."""
        return str(uuid.UUID(int=self._draw.getrandbits(128), version=4))

    def fresh(self) -> Session:
        """Start a session."""
        session = Session(self.new_id())
        self._sessions.append(session)
        return session

    @property
    def bound_sessions(self) -> int:
        """How many sessions hold a connection: what the quota counts."""
        return sum(session.bound is not None for session in self._sessions)

    def issue(
        self,
        session: Session,
        model: str,
        state: Conversation,
        position: Position,
        now: float,
        *,
        poisoned: bool = False,
    ) -> str:
        """Save a state and return its handle."""
        if self._settings.profile == "developer":
            handle = self.new_id()
        else:
            opaque = b"\n$" + self.new_id().encode() + self._draw.randbytes(96)
            handle = base64.urlsafe_b64encode(opaque).decode().rstrip("=")
        if self._settings.invalidate_older:
            for older in session.handles:
                self._saved[older].dead = True
        self._saved[handle] = Saved(session, model, state, position, now, poisoned=poisoned)
        session.handles.append(handle)
        return handle

    def look_up(
        self, handle: str, model: str, now: float
    ) -> Saved | Literal["unknown", "expired", "used", "other model"]:
        """Find what a handle stands for, or why it stands for nothing."""
        saved = self._saved.get(handle)
        if saved is None:
            return "unknown"
        ttl = (self._settings.handle_ttl or 0.0) * self._settings.time_scale
        since = max(saved.issued_at, saved.session.released_at or 0.0)
        if saved.dead or (saved.session.bound is None and now - since > ttl):
            return "expired"
        if saved.model != model:
            return "other model"
        if saved.used and self._settings.single_use:
            return "used"
        return saved

    def poison(self, *, handle: str | None = None, connection: int | None = None) -> None:
        """Make a handle, or all that a connection has issued so far, resume to a model that never answers."""
        for name, saved in self._saved.items():
            saved.poisoned |= name == handle or saved.position.connection == connection

    def session_of(self, handle: str | None) -> Session | None:
        """Return the session that a handle is of."""
        saved = self._saved.get(handle or "")
        return None if saved is None else saved.session

    def expire_all(self) -> None:
        """Let every handle issued so far expire."""
        for saved in self._saved.values():
            saved.dead = True
