"""A guide to talk to. `agent.py` is laid out as `adk web` and `adk api_server` expect it; `server.py` is a server of its own."""

from __future__ import annotations

from . import agent

__all__ = ["agent"]
