"""The asyncio side of a session: sockets, tasks and timers, and no decisions.

Here is what an adapter needs to dial. `driver`, and with it the engine, is imported by the first session.
"""

from __future__ import annotations

from resumekit.drivers.events import Events
from resumekit.drivers.failures import TRANSPORT_ERRORS, InvalidProxy, failure_of
from resumekit.drivers.switch import fast_lanes
from resumekit.drivers.transport import Dialer, Receiver, Transport
from resumekit.drivers.websocket import PushConnection, WebSocketTransport, dial_websocket, websocket_options

__all__ = [
    "TRANSPORT_ERRORS",
    "Dialer",
    "Events",
    "InvalidProxy",
    "PushConnection",
    "Receiver",
    "Transport",
    "WebSocketTransport",
    "dial_websocket",
    "failure_of",
    "fast_lanes",
    "websocket_options",
]
