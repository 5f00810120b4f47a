"""What the tests of all frameworks share: the cuts, the conversation, and what the service's ledger says of it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from resumekit.core import events
from resumekit.emulator import Answer, Fault, Trigger, heard, parse_answer, response_item
from tests.faults.runner import SCALE, handle_is_here, policy
from tests.faults.zygote import Emulator

__all__ = [
    "BEFORE_A_HANDLE",
    "CUTS",
    "GONE_AWAY",
    "HALF",
    "IN_AN_ANSWER",
    "IN_SPEECH",
    "OLD_CONFIG",
    "PAGE",
    "SLOWLY",
    "Chat",
    "Cut",
    "Talk",
    "needs",
    "run_page",
    "talk",
]

OLD_CONFIG = pytest.mark.filterwarnings("ignore:Setting `LiveConnectConfig:DeprecationWarning")
"""Frameworks give google-genai a config in an older form."""
SLOWLY = {"audio_speed": 0.03}
"""Knobs with which every app has got something of an answer that is cut `IN_SPEECH`."""
HALF = "answer to two:"
"""What it has got then."""
LOOK_UP = 'three [tool:look_up {"what": "a fact"}]'
"""The model calls the tool `look_up`, which every app here has."""
FOUND = "found a fact"
"""What it returns."""
QUESTIONS = ("one", "two", LOOK_UP, "four")
MID_ANSWER = Trigger.mid_answer(2)
TIMEOUT = 100.0
"""Real seconds after which a conversation hangs."""


PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "frameworks.md"


def run_page(heading: str, page: Path = PAGE, **names: Any) -> dict[str, Any]:
    """Run the code that stands on a page under a heading; return its names."""
    section = page.read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (block,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    exec(compile(block, page.name, "exec"), names)
    return names


def needs(module: str, environment: str) -> Any:
    """Return a framework's module; without it the test module is skipped, save in the framework's own environment."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the framework's own
        if Path(sys.prefix).name == environment:
            return importlib.import_module(module)
        return pytest.importorskip(module)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Something that happens to the connection."""

    name: str
    fault: Fault
    anchored: bool = True
    """It waits until the service has given a handle for the first answer."""
    tool_waits: bool = False
    """The tool runs until the session has resumed."""
    moves: bool = False
    """The session is to have moved to its next connection before the third question."""


IN_AN_ANSWER = Cut(name="reset-in-an-answer", fault=Fault.rst(at=MID_ANSWER))
IN_SPEECH = Cut(name="reset-in-speech", fault=Fault.rst(at=Trigger.mid_audio(3)))
BEFORE_A_HANDLE = Cut(name="reset-before-any-handle", fault=Fault.rst(at=MID_ANSWER), anchored=False)
GONE_AWAY = Cut(name="gone-away-in-an-answer", fault=Fault.go_away(at=Trigger.mid_answer(1)), moves=True)
CUTS = (
    IN_AN_ANSWER,
    GONE_AWAY,
    BEFORE_A_HANDLE,
    Cut(name="closed-in-an-answer", fault=Fault.close(1011, "Internal error encountered.", at=MID_ANSWER)),
    Cut(name="half-open-in-an-answer", fault=Fault.half_open(at=MID_ANSWER)),
    Cut(name="reset-at-a-tool-call", fault=Fault.rst(at=Trigger.tool_call())),
    Cut(name="reset-while-a-tool-runs", fault=Fault.rst(at=Trigger.tool_call()), tool_waits=True),
    Cut(name="reset-after-a-tool-response", fault=Fault.rst(at=Trigger.tool_response())),
)


class Chat(Protocol):
    """An application that was written with a framework."""

    async def ask(self, question: str) -> str:
        """Ask, wait until the framework says that the answer has ended, and return its words."""
        ...


@dataclass
class Talk:
    """A conversation with an emulator."""

    server: Emulator
    told: list[events.Event] = field(default_factory=list)
    """What resumekit told; nothing, where it has no part in it."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Questions and their answers."""
    ran: list[str] = field(default_factory=list)
    """What the tool was asked for, each time that it ran."""
    _cut: Cut | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def look_up(self, what: str) -> str:
        """Run the tool."""
        self.ran.append(what)
        if self._cut is not None and self._cut.tool_waits:
            await self.until(lambda: self.count(events.Resumed) == 1)
        return f"found {what}"

    @property
    def policy(self):
        """The default policy on the emulator's scale."""
        return policy(SCALE)

    def on_event(self, event: events.Event) -> None:
        self.told.append(event)
        self._news.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until resumekit has told of something."""
        while not is_so():
            self._news.clear()
            await self._news.wait()

    def count(self, kind: type[events.Event]) -> int:
        return sum(isinstance(event, kind) for event in self.told)

    async def run(self, chat: Chat, cut: Cut, questions: Sequence[str] = QUESTIONS) -> None:
        """Ask the questions; the second meets the cut, or the third, if that is about tools."""
        self._cut = cut
        for number, question in enumerate(questions):
            if cut.anchored and (number == 1 or (number == 2 and not cut.moves)):
                await self.anchored()
            if number == 1:
                await self.server.inject(cut.fault)
            self.asked.append((question, await chat.ask(question)))
            if number == 1 and cut.moves:
                await self.until(lambda: self.count(events.Resumed) == 1)

    async def anchored(self) -> None:
        """Wait until the handle of the last turn has come."""
        while not await handle_is_here(self.server, self.told):  # noqa: ASYNC110 -- of another process, which gives no event
            await asyncio.sleep(0.01)

    async def problems(
        self, *, result: Mapping[str, Any], before: Sequence[str] = (), spoken: bytes | None = None
    ) -> list[str]:
        """Return everything that is wrong with the conversation.

        Args:
            result: The tool's response, as this framework writes it.
            before: What the framework sends before the first question.
            spoken: The questions, where they were spoken.
        """
        questions = [question for question, _ in self.asked]
        sent = [*before, *(() if spoken else questions)]
        if LOOK_UP in questions:
            at = sent.index(LOOK_UP) + 1 if LOOK_UP in sent else len(sent)
            sent.insert(at, response_item("look_up", dict(result)))
        found = []
        for number, (question, answer) in enumerate(self.asked):
            said = parse_answer(answer) or Answer(answer, 0, "", [])
            if said.asked != question:
                found.append(f"question {number + 1} is {question!r}, the answer is {answer!r}")
        if self.ran != ["a fact"] * (LOOK_UP in questions):
            found.append(f"the tool ran for {self.ran}")
        report = await self.server.ledger_report(sent)
        found += [
            f"{kind}: {items}; held: {report.held}"
            for kind in ("lost", "doubled", "reordered", "unexpected")
            if (items := getattr(report, kind))
        ]
        if spoken and (held := await self.server.audio()) != spoken:
            found.append(f"{len(spoken) // 32} ms were spoken, {len(held) // 32} ms are held: {heard(held)}")
        if report.history_with_handle:
            found.append("history was sent with a handle")
        return found

    async def evidence(self) -> str:
        records = await self.server.connections()
        lines = [f"  {question!r}: {answer!r}" for question, answer in self.asked]
        lines += [f"  {event!r}" for event in self.told]
        lines += [
            f"  {r.number}: handle {(r.handle or '-')[:8]}, closed by {r.closed_by} {r.close_code} {r.close_reason!r},"
            f" refused {r.refused!r}, faults {r.faults}"
            for r in records
        ]
        return "\n".join(lines)


@contextlib.asynccontextmanager
async def talk(**knobs: Any):
    """Give a conversation with a new emulator; it must not hang."""
    async with asyncio.timeout(TIMEOUT), Emulator(time_scale=SCALE, **knobs) as server:
        yield Talk(server)
