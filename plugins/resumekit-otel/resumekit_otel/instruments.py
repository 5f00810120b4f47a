"""The metrics: no attribute of them names a session, a user or a handle, and each has a handful of values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, Histogram, Meter

__all__ = ["Instruments"]

_PAUSES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_LIVES = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0)
"""The service ends connections after ten or fifteen minutes."""


class Instruments:
    """Every instrument of the plugin, made once for each meter."""

    def __init__(self, meter: Meter) -> None:
        def seconds(name: str, description: str, bounds: Sequence[float]) -> Histogram:
            return meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=bounds)

        def count(name: str, unit: str, description: str) -> Counter:
            return meter.create_counter(name, unit, description)

        self.active = meter.create_up_down_counter(
            "resumekit.active_sessions", "{session}", "Sessions that were opened and have not ended"
        )
        self.session = seconds("resumekit.session.duration", "How long sessions lasted", _LIVES)
        self.connection = seconds("resumekit.connection.duration", "How long connections were live", _LIVES)
        self.recovery = seconds(
            "resumekit.recovery.duration", "Seconds without a live connection after one was lost", _PAUSES
        )
        self.gap = seconds("resumekit.move.gap", "Seconds without a live connection while a session moved", _PAUSES)
        self.reconnects = count("resumekit.reconnects", "{reconnect}", "Connections that took the place of another")
        self.failed_dials = count("resumekit.failed_dials", "{dial}", "Connections that did not come about")

        self.resent = count("resumekit.messages.resent", "{message}", "Messages that were sent again")
        self.repeated = count("resumekit.messages.repeated", "{message}", "Messages that the service may have twice")
        self.unsent = count(
            "resumekit.messages.unsent", "{message}", "Messages that were never sent when sessions ended"
        )
        self.audio_resent = count("resumekit.audio.resent", "s", "Speech that was sent again")
        self.audio_lost = count("resumekit.audio.lost", "s", "Speech that neither the service nor the buffer holds")
        self.audio_dropped = count("resumekit.audio.dropped", "s", "Speech that did not fit into the buffer")
        self.video_dropped = count(
            "resumekit.video.dropped", "{frame}", "Video frames that newer ones took the place of"
        )
        self.turns = count("resumekit.turns.disturbed", "{turn}", "Turns that a lost connection did something to")
        self.handles = count("resumekit.handles.refused", "{handle}", "Handles that were given up")

        self.pending = meter.create_up_down_counter(
            "resumekit.pool.pending_sessions", "{session}", "Sessions of this process that wait for a slot of the pool"
        )
        self.waited = seconds(
            "resumekit.pool.wait_time", "How long sessions that had to wait waited for a slot", _PAUSES
        )
        self.strains = count("resumekit.pool.strains", "{strain}", "How often a quota of the pool was exceeded")
        self.store_failures = count("resumekit.store.failures", "{failure}", "How often the handle store failed")
        self.hook_failures = count("resumekit.hook.failures", "{failure}", "Hooks of plugins that did not work")
