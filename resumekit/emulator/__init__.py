"""A Live API server for tests, demos and users: faithful protocol, ledger, fault scripts.

It shares no code with the rest of resumekit on purpose: it is the second opinion.
"""

from __future__ import annotations

from resumekit.emulator.address import Address
from resumekit.emulator.answers import Answer, parse_answer
from resumekit.emulator.faults import Action, Fault, Moment, Trigger, dump_faults, load_faults
from resumekit.emulator.ledger import IssuedCall, Ledger, LedgerReport, Position, response_item
from resumekit.emulator.process import EmulatorProcess
from resumekit.emulator.server import LiveServer
from resumekit.emulator.service import ConnectionRecord, ServiceEvent
from resumekit.emulator.settings import Backend, Knobs, ModelProfile, Settings, ToolTurns, model_profile
from resumekit.emulator.speech import Utterance, heard, silence, spoken

__all__ = [
    "Action",
    "Address",
    "Answer",
    "Backend",
    "ConnectionRecord",
    "EmulatorProcess",
    "Fault",
    "IssuedCall",
    "Knobs",
    "Ledger",
    "LedgerReport",
    "LiveServer",
    "ModelProfile",
    "Moment",
    "Position",
    "ServiceEvent",
    "Settings",
    "ToolTurns",
    "Trigger",
    "Utterance",
    "dump_faults",
    "heard",
    "load_faults",
    "model_profile",
    "parse_answer",
    "response_item",
    "silence",
    "spoken",
]
