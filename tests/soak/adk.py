"""A life in google-adk: an agent with a tool, a Runner, and a queue. One at a time: ADK finds its service by the environment."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import tempfile
from collections import Counter
from pathlib import Path
from unittest import mock

from google import genai

from tests.adk import support
from tests.faults.runner import policy
from tests.network.proxy import Proxy, _authority
from tests.network.through import anchored
from tests.soak.lives import HANGS, PATIENT, SCALE, Life, Service
from tests.soak.memory import sessions

__all__ = ["AdkLife"]


class Talked:
    """What campaigns ask of an app."""

    def __init__(self, talk, executed):
        self.turns = []
        self.executed = executed
        self.pcm = b""
        self._talk = talk

    @property
    def told(self):
        return self._talk.told

    def count(self, kind):
        return self._talk.count(kind)


def _is_answered(talk, first, question):
    """Tell whether the answer is there: of an hour, nothing but what came since it was asked is looked at."""
    told = (event for event in itertools.islice(talk.events, first, None) if not event.partial)
    return any(f"answer to {question}" in support.spoken_or_written(event) for event in told)


class AdkLife(Life):
    """Asks and takes answers until the time is over; the agent's model is a `ResumableGemini`."""

    def __post_init__(self):
        super().__post_init__()
        self.mortal = False
        self.wrong = []

    async def live(self):
        ran = []

        def look(n: int) -> dict:
            """Look something up."""
            ran.append(n)
            return {"of": n}

        async with contextlib.AsyncExitStack() as stack:
            knobs = {"tool_turns": "at_end", "keep_raw": False, "seed": self.seed}
            model = support.FAMILIES["2.5"]
            self.service = Service(stack, profile=self.profile, model=model, time_scale=SCALE, **knobs)
            await self.service.start()
            self.proxy = await stack.enter_async_context(Proxy(self.service, seed=self.seed, inside=True))
            stack.enter_context(self._environment())
            stack.enter_context(mock.patch.object(support, "TIMEOUT", 1e6))
            fields = {"policy": policy(SCALE, **PATIENT)}
            asked = []
            has_begun = False
            try:
                async with support.run(self.service, tools=[look], **fields) as talk:
                    self.app = Talked(talk, ran)
                    for number in itertools.count():
                        call = f' [tool:look {{"n": {number}}}]' if self.draw.random() < 0.3 else ""
                        asked.append(f"question {number}{call}.")
                        first = len(talk.events)
                        talk.queue.send_content(support.question(asked[-1]))
                        async with asyncio.timeout(HANGS):
                            await talk.until(functools.partial(_is_answered, talk, first, asked[-1]))
                        has_begun = has_begun or await anchored(talk)
                        if has_begun and not self.ready:
                            self.begin()
                        self.app.turns.append(asked[-1])
                        if self.is_over():
                            break
                        await asyncio.sleep(self.draw.uniform(1.0, 10.0) * SCALE)
                    self.ready = False
                    await self._calm()
                    answers = talk.answers()
                    self.weigh()
            except Exception as error:
                self.wrong.append(f"the app saw {error!r}")
                answers = []
            self.ready = False
            await self._calm()
            report = await self.service.ledger_report(asked)
        for name in ("lost", "doubled", "reordered"):
            if items := getattr(report, name):
                self.wrong.append(f"{name}: {items}; held: {report.held}")
        if answers:
            times = {question: sum(f"answer to {question}" in answer for answer in answers) for question in asked}
            self.wrong += [f"asked {question!r}, answered {n} times" for question, n in times.items() if n != 1]
        self.wrong += [f"look({n}) was done {times} times" for n, times in Counter(ran).items() if times > 1]

    @contextlib.contextmanager
    def _environment(self):
        with tempfile.TemporaryDirectory() as folder:
            ca_file = Path(folder) / "ca.pem"
            ca_file.write_bytes(_authority().cert_pem.bytes())
            variables = {"SSL_CERT_FILE": str(ca_file), "GOOGLE_API_KEY": "a-key"}
            client = genai.Client
            if self.profile == "vertex":
                variables["GOOGLE_GENAI_USE_VERTEXAI"] = "true"
                client = support.account_of_vertex(self.proxy.base_url)
            else:
                variables["GOOGLE_GEMINI_BASE_URL"] = self.proxy.base_url
            with mock.patch.dict(os.environ, variables), mock.patch.object(genai, "Client", client):
                yield

    def _roots(self):
        return sessions()  # there is one in the process

    @property
    def speech_told_lost(self):
        return 0.0

    def problems(self):
        fresh = self.unexplained_fresh_starts()
        return [*self.wrong, *([f"{fresh} fresh starts, and no handle was made dead"] if fresh else [])]
