"""The asyncio side of a session: sockets, tasks and timers, and no decisions."""

from __future__ import annotations

from resumekit.drivers.driver import Driver, HistoryLoader
from resumekit.drivers.events import Events
from resumekit.drivers.failures import TRANSPORT_ERRORS, failure_of
from resumekit.drivers.keeper import Keeper
from resumekit.drivers.switch import fast_lanes
from resumekit.drivers.transport import Dialer, Receiver, Transport
from resumekit.drivers.websocket import PushConnection, WebSocketTransport, dial_websocket, websocket_options

__all__ = [
    "TRANSPORT_ERRORS",
    "Dialer",
    "Driver",
    "Events",
    "HistoryLoader",
    "Keeper",
    "PushConnection",
    "Receiver",
    "Transport",
    "WebSocketTransport",
    "dial_websocket",
    "failure_of",
    "fast_lanes",
    "websocket_options",
]
