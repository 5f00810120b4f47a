"""The agent: an ordinary one of ADK, but for its model."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from google.adk.agents import Agent

from resumekit.adapters.adk import ResumableGemini

MODEL = os.environ.get("LIVE_MODEL", "gemini-2.5-flash-native-audio-preview-12-2025")


def next_ferry(to: str) -> dict[str, str]:
    """Look up when the next ferry leaves.

    Args:
        to: Where it goes.
    """
    return {"to": to, "leaves_at": "9:30", "pier": "3"}


def time_now() -> dict[str, str]:
    """Say what time it is (UTC)."""
    return {"time": f"{datetime.now(UTC):%H:%M}"}


root_agent = Agent(
    name="guide",
    model=ResumableGemini(model=MODEL),  # was: model=MODEL
    instruction="You show visitors around Oslo. Be brief.",
    tools=[next_ferry, time_now],
)
