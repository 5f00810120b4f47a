"""Keeps pytest-asyncio from making an event loop that nobody closes.

Its first async test calls `asyncio.get_event_loop()`, which, in a fresh main thread, makes a loop just to remember it; the
loop is garbage later, and its ResourceWarning hits whichever test runs then. To be removed with pytest-asyncio > 1.5 if
that asks for the running loop only.
"""

from __future__ import annotations

import asyncio

asyncio.set_event_loop(None)
