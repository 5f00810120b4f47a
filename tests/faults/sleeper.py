"""A client in a process of its own, to be frozen: asks what stdin says, and writes what it gets, and its events, to stdout.

    python -m tests.faults.sleeper BASE_URL CA_FILE [STORE [SECONDS]]

With a file to store the handle in, the next process goes on where this one ended, whatever ended it, and first tells the
answer to what it had not had answered; its wall clock may be set.

One JSON value a line, both ways: a question is a string, a number sets the wall clock so many seconds ahead; what comes
is `["said", text]`, `["answer", text]` or `["event", name, fields]`.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from datetime import datetime, tzinfo
from typing import Any

import msgspec
from google import genai
from google.genai import types

from resumekit import Policy
from resumekit.adapters import genai as resumable
from resumekit.core.events import Continued, Event
from resumekit.drivers import keeper

POLICY = Policy(
    frozen_after=0.5,
    suspect_patience=2.0,
    ping_idle=0.2,
    abort_idle=0.8,
    ping_expecting=0.2,
    abort_expecting=0.8,
    old_binding_grace=30.0,
    progress_watchdog=30.0,
    lease=6.0,
    key_in_use="wait",
)
"""A freeze is longer than every patience of it."""


ahead = 0.0
"""Seconds. A mock, as no namespace has a wall clock of its own, and to set the machine's would be felt by all."""
the_time = time.time


class Datetime(datetime):
    """Tells the time of the wall clock that was set."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.fromtimestamp(time.time(), tz)


def set_the_clock(seconds: float) -> None:
    global ahead  # noqa: PLW0603 -- a process has one wall clock
    ahead = seconds
    time.time = lambda: the_time() + ahead
    keeper.datetime = Datetime  # type: ignore[misc]


def tell(*words: object) -> None:
    print(json.dumps(words), flush=True)


async def answered(session: Any) -> None:
    answer = ""
    async for message in session.receive():
        content = message.server_content
        if content and content.interrupted:
            answer = ""
        if message.text:
            answer += message.text
            tell("said", message.text)
    tell("answer", answer)


async def main(base_url: str, ca_file: str, store: str = "", seconds: str = "") -> None:
    if seconds:
        set_the_clock(float(seconds))
    seen = []

    def notice(event: Event) -> None:
        seen.append(event)
        tell("event", type(event).__name__, msgspec.to_builtins(event))

    loop = asyncio.get_running_loop()
    questions = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(questions), sys.stdin)
    context = ssl.create_default_context(cafile=ca_file)
    http = types.HttpOptions(base_url=base_url, async_client_args={"ssl": context})
    client = genai.Client(api_key="a-key", http_options=http)
    async with resumable.connect(
        client,
        model="gemini-2.5-flash-live",
        config={"response_modalities": ["TEXT"]},
        policy=POLICY,
        **({"key": "a-conversation", "store": f"sqlite:///{store}"} if store else {}),
        on_event=notice,
    ) as session:
        if any(isinstance(event, Continued) and event.resent_messages for event in seen):
            await answered(session)
        while line := await questions.readline():
            if not isinstance(question := json.loads(line), str):
                set_the_clock(question)
                continue
            content = types.Content(role="user", parts=[types.Part(text=question)])
            await session.send_client_content(turns=content, turn_complete=True)
            await answered(session)
    await client.aio.aclose()
    client.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
