"""What all connections of an emulated service share, and the records that they leave."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal

import msgspec

from resumekit.emulator.ledger import Ledger
from resumekit.emulator.script import FaultScript
from resumekit.emulator.sessions import SessionStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from resumekit.emulator.faults import Fault
    from resumekit.emulator.settings import Settings

__all__ = ["ConnectionRecord", "Service", "ServiceEvent"]


@dataclass(frozen=True, slots=True)
class ServiceEvent:
    """Something that happened, for a timeline."""

    at: float
    """Wall-clock seconds."""
    connection: int | None
    kind: str
    """A `Moment`, or ``"fault"``, ``"closed"``, ``"refused"``, ``"interrupted"``, ``"question"``."""
    detail: str = ""


@dataclass(slots=True)
class ConnectionRecord:
    """One connection, from the upgrade request on."""

    number: int
    """0-based, in the order of the upgrade requests."""
    opened_at: float
    """Wall-clock seconds, as all times here."""
    path: str = ""
    http_status: int | None = None
    """What the upgrade was answered with, where it was not 101."""
    binding: int | None = None
    """0-based, in the order of the setups; None: no setup came."""
    setup_at: float | None = None
    bound_at: float | None = None
    """setupComplete was sent."""
    closed_at: float | None = None
    close_code: int | None = None
    """Of the close frame; 1006 where there was none."""
    close_reason: str = ""
    closed_by: Literal["client", "server", "fault", ""] = ""
    handle: str | None = None
    """The handle that the setup named."""
    refused: str | None = None
    """Why the service refused it, in its own words."""
    session_id: str | None = None
    poisoned: bool = False
    """The model never answers on it: see `Fault.poisoned_handle`."""
    frames_in: int = 0
    frames_out: int = 0
    turns_completed: int = 0
    handles_issued: int = 0
    faults: list[str] = field(default_factory=list[str])
    """What struck, by name."""
    end_announced: bool = False
    """A fault announced the end, which comes later, unless the client leaves before."""

    def __str__(self) -> str:
        """Tell how the connection began, what struck it, and how it ended."""
        facts = [f"HTTP {self.http_status}"]
        if self.http_status is None:
            how = "resumed" if self.handle else "fresh"
            end = f"{self.close_code} {self.close_reason}".strip()
            facts = [
                how if self.bound_at else "never bound",
                f"{self.turns_completed} turn{'s' * (self.turns_completed != 1)}",
                f"{end} by {self.closed_by}" if self.closed_at else "open",
            ]
        if self.faults:
            facts.append(f"faults: {', '.join(self.faults)}")
        return f"connection {self.number}: {', '.join(facts)}"

    def as_dict(self) -> dict[str, object]:
        """Return the record as JSON-able data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> ConnectionRecord:
        """Make a record of what `as_dict` returned."""
        return msgspec.convert(data, cls)


class Service:
    """The parts of a server that its connections share."""

    def __init__(
        self,
        settings: Settings,
        faults: Iterable[Fault],
        *,
        stop_listening: Callable[[float], None],
        on_event: Callable[[ServiceEvent], object] | None = None,
    ) -> None:
        self._tell = on_event
        self.settings = settings
        self.draw = random.Random(settings.seed)
        self.script = FaultScript(faults)
        self.ledger = Ledger(keep_raw=settings.keep_raw)
        self.store = SessionStore(settings, self.draw)
        self.records: list[ConnectionRecord] = []
        self.events: list[ServiceEvent] = []
        self.issued: Counter[str] = Counter()
        """How often the model has made calls for a question: see `Settings.reissue`."""
        self.failures: list[Exception] = []
        """Bugs of the emulator itself; leaving the server raises them."""
        self.stop_listening = stop_listening
        self._bindings = 0

    def open_record(self, path: str) -> ConnectionRecord:
        """Start the record of a connection."""
        record = ConnectionRecord(len(self.records), time.time(), path)
        self.records.append(record)
        self.ledger.opened(record.number)
        return record

    def count_binding(self, record: ConnectionRecord) -> None:
        """Number the setup of a connection."""
        record.binding = self._bindings
        record.setup_at = time.time()
        self._bindings += 1

    def note(self, connection: int | None, kind: str, detail: str = "") -> None:
        """Put an event on the timeline."""
        event = ServiceEvent(time.time(), connection, kind, detail)
        self.events.append(event)
        if self._tell is not None:
            self._tell(event)

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of the emulated service."""
        await asyncio.sleep(seconds * self.settings.time_scale)

    @staticmethod
    def now() -> float:
        """Return monotonic (real) seconds."""
        return asyncio.get_running_loop().time()
