"""Shows what happens to resumekit's sessions in OpenTelemetry: spans for connections, recoveries and moves, and metrics.

Installed, it is found by itself, and uses the application's global providers; without any it does nothing.
"""

from __future__ import annotations

from resumekit_otel.telemetry import Telemetry

__all__ = ["Telemetry", "installed"]

installed = Telemetry()
"""What the entry point names: the plugin over the global providers, whenever the application sets them."""
