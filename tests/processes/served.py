"""`examples/adk_fastapi`, with a store: `uvicorn tests.processes.served:app`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from resumekit import Policy
from resumekit.adapters.adk import ResumableGemini

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
from adk_fastapi.agent import root_agent
from adk_fastapi.server import app

__all__ = ["app"]

policy = Policy(lease=float(os.environ["LEASE"]))
root_agent.model = ResumableGemini(model="gemini-2.5-flash-live", store=os.environ["STORE"], policy=policy)
