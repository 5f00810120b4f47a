"""Keep a Gemini Live conversation going across disconnects.

Start with the adapter of what you use: `resumekit.adapters.genai` for google-genai,
`resumekit.adapters.websockets` for a bare WebSocket. This module holds what they share: the
`Policy`, the events, and the errors. Nothing here needs a google package.
"""

from __future__ import annotations

from resumekit.core import events
from resumekit.core.failures import Failure, Phase, Side, Verdict
from resumekit.core.policy import (
    Decisions,
    DelayDetails,
    Exactly,
    FailureDetails,
    Move,
    MoveDetails,
    Policy,
    Recovery,
    RecoveryAction,
    RecoveryDetails,
)
from resumekit.core.stats import Stats
from resumekit.errors import (
    BufferFull,
    ConfigurationError,
    ConnectFailed,
    ConnectRefused,
    KeyInUse,
    LocalProtocolError,
    PoolTimeout,
    ProtocolError,
    RemoteProtocolError,
    ResumekitError,
    SessionClosed,
    SessionLost,
)

__all__ = [
    "BufferFull",
    "ConfigurationError",
    "ConnectFailed",
    "ConnectRefused",
    "Decisions",
    "DelayDetails",
    "Exactly",
    "Failure",
    "FailureDetails",
    "KeyInUse",
    "LocalProtocolError",
    "Move",
    "MoveDetails",
    "Phase",
    "Policy",
    "PoolTimeout",
    "ProtocolError",
    "Recovery",
    "RecoveryAction",
    "RecoveryDetails",
    "RemoteProtocolError",
    "ResumekitError",
    "SessionClosed",
    "SessionLost",
    "Side",
    "Stats",
    "Verdict",
    "events",
]
