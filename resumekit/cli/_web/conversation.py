"""One conversation: an agent of ADK behind `Runner.run_live`, and the browsers that show it.

It goes on while no browser is there, so that a page can be loaded again: what it has missed is in the entries.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import warnings
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from google.genai import types

from resumekit.adapters.adk import ResumableGemini
from resumekit.cli._adk import model_with_client
from resumekit.cli._timeline.drawing import STYLE, draw
from resumekit.cli._timeline.growing import GrowingStory
from resumekit.cli._web.cuts import cut_named
from resumekit.core import events
from resumekit.emulator import Trigger
from resumekit.trace import Trace

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # ADK's own
    from google.adk.agents import Agent, LiveRequestQueue
    from google.adk.agents.run_config import RunConfig
    from google.adk.runners import Runner
    from google.adk.sessions import InMemorySessionService

if TYPE_CHECKING:
    from google.adk.events import Event
    from google.adk.models import Gemini

    from resumekit.cli._web.service import Service

__all__ = ["Browser", "Conversation"]

_APP, _USER = "demo", "user"
_CONFIG = RunConfig(
    response_modalities=[types.Modality.AUDIO],
    input_audio_transcription=types.AudioTranscriptionConfig(),
    output_audio_transcription=types.AudioTranscriptionConfig(),
    session_resumption=types.SessionResumptionConfig(),
)
_MIC_OFF = bytes(2 * 16_000)
"""A second of silence: the service hears that the user has ended."""
_MOST_WAITING = 2_000
"""Messages that a browser may be behind; then it has to come back."""
_LONGEST_TEXT = 2_000
_DRAW_EVERY = 0.5
"""Seconds between two drawings of the timeline ..."""
_DRAW_IDLE = 0.5
"""... and so many more where nothing happens: time goes on."""
_STYLE = f"<style>{STYLE}</style>"
"""The page has it as a file: its security policy allows none in the picture."""
_IN_ANSWER = Trigger.mid_audio(12)

Message: TypeAlias = bytes | dict[str, Any]
State: TypeAlias = Literal["connecting", "live", "reconnecting", "ended"]


@dataclass
class Entry:
    """A line of the transcript."""

    id: int
    who: Literal["user", "model", "tool", "line"]
    text: str = ""
    state: Literal["open", "done", "cut", "interrupted", "lost", "back"] = "open"
    again: bool = False
    """A cut answer, given again."""
    spoken: bool = False


class Browser:
    """One page that shows a conversation."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Message | None] = asyncio.Queue(_MOST_WAITING)
        self.is_gone = False

    def tell(self, message: Message) -> None:
        """Send something, soon. One that is too far behind is given up."""
        if self.is_gone:
            return
        try:
            self._waiting.put_nowait(message)
        except asyncio.QueueFull:
            self.is_gone = True
            while not self._waiting.empty():
                self._waiting.get_nowait()
            self._waiting.put_nowait(None)

    async def next(self) -> Message | None:
        """Return what to send next; None: nothing any more."""
        return await self._waiting.get()


@dataclass
class _Figures:
    """Counters."""

    sent: int = 0
    held: int = 0
    lost: int | None = None
    doubled: int | None = None
    reconnects: int = 0
    gap: float | None = None
    """Seconds without a connection, at the last cut."""
    audio_lost: float = 0.0


@dataclass
class Conversation:
    """A conversation. `run` it."""

    name: str
    service: Service
    folder: Path
    """Where its traces go."""
    entries: list[Entry] = field(default_factory=list[Entry])
    browsers: set[Browser] = field(default_factory=set[Browser])
    figures: _Figures = field(default_factory=_Figures)
    state: State = "connecting"

    def __post_init__(self) -> None:
        self._queue = LiveRequestQueue()
        self._sessions = InMemorySessionService()
        self._sent: list[str] = []
        self._open: dict[str, Entry] = {}
        """The entry that is being added to, by who speaks."""
        self._episode: Entry | None = None
        """What is being told of the line."""
        self._was_cut = False
        self._dials_at = 0.0
        """When the next dial is due, by the clock of the event loop."""
        self._armed: list[str] = []
        """Cuts whose moment is to come, when they were last looked at."""
        self._go_on = asyncio.Event()
        self._picture = ""
        self._born = secrets.token_hex(8)
        """Another one after the server was started anew, which counts entries from the start."""
        self._has_news = asyncio.Event()

    # --- browsers ---------------------------------------------------------------------------------------------------

    def attach(self, browser: Browser) -> None:
        """Let a browser take part."""
        self.browsers.add(browser)
        browser.tell({"state": self.state, "figures": asdict(self.figures), "armed": self.service.armed()})
        if self.state == "reconnecting":
            browser.tell({"dials_in": self._dials_at - asyncio.get_running_loop().time()})
        browser.tell({"born": self._born, "entries": [asdict(entry) for entry in self.entries]})
        if self._picture:
            browser.tell({"timeline": self._picture})
        self._has_news.set()

    def detach(self, browser: Browser) -> None:
        """Let a browser go."""
        self.browsers.discard(browser)

    def _tell(self, message: Message) -> None:
        for browser in self.browsers:
            browser.tell(message)

    def hear(self, audio: bytes) -> None:
        """Take what the microphone heard: 16 kHz, 16 bit."""
        if self.state != "ended":
            self._queue.send_realtime(types.Blob(data=audio, mime_type="audio/pcm;rate=16000"))

    def take(self, message: object) -> None:
        """Take what the page asks for; what makes no sense is left out."""
        match message:
            case {"text": str(text)} if text.strip() and self.state != "ended":
                self._ask(text.strip()[:_LONGEST_TEXT])
            case {"cut": str(name), "when": "now"}:
                self._strike(name, Trigger.now())
            case {"cut": str(name), "when": "answer"}:
                self._strike(name, _IN_ANSWER)
            case {"microphone": False}:
                self.hear(_MIC_OFF)
            case {"go_on": True}:
                self._go_on.set()
            case _:
                pass

    def _strike(self, name: str, at: Trigger) -> None:
        cut = cut_named(name)
        if cut is not None and self.service.is_emulated:
            self.service.strike(cut, at)
            self._armed.append(name)
            if at.on != "now":
                self._tell({"armed": self.service.armed()})
            self._has_news.set()

    def _look_at_cuts(self) -> None:
        """Tell which cuts have struck, and which have not."""
        armed = self.service.armed()
        struck = [cut for name in self._armed if name not in armed and (cut := cut_named(name)) is not None]
        if armed == self._armed:
            return
        self._armed = armed
        self._tell({"armed": armed})
        for cut in struck:
            if cut.told and self.state == "live":
                self._say("lost", cut.told)

    def _ask(self, text: str) -> None:
        self._close("user")
        self._add(Entry(0, "user", text, "done"))
        self._sent.append(text)
        self.figures.sent += 1
        self._tell({"figures": asdict(self.figures)})
        self._queue.send_content(types.Content(role="user", parts=[types.Part(text=text)]))

    # --- the run ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Talk to the service until cancelled; where a session cannot go on, wait for the user's wish to begin anew."""
        await self._sessions.create_session(app_name=_APP, user_id=_USER, session_id=self.name)
        drawing = asyncio.create_task(self._draw())
        try:
            while True:
                await self._talk()
                await self._go_on.wait()
        finally:
            self._queue.close()
            drawing.cancel()
            await asyncio.wait([drawing])

    async def _talk(self) -> None:
        self._queue = LiveRequestQueue()
        self._go_on.clear()
        self._enter("connecting")
        agent = Agent(
            name="guide",
            model=self._model(),
            instruction="You show visitors around Oslo. Be brief.",
            tools=[next_ferry],
        )
        runner = Runner(app_name=_APP, agent=agent, session_service=self._sessions)
        run = runner.run_live(user_id=_USER, session_id=self.name, live_request_queue=self._queue, run_config=_CONFIG)
        why = "the service ended it"
        try:
            async with aclosing(run) as stream:
                async for event in stream:
                    self._pass_on(event)
        except Exception as error:  # noqa: BLE001 -- ADK and google-genai raise what they like; the user is told
            why = str(error)
        for who in tuple(self._open):
            self._close(who, "cut")
        self._say("lost", f"The session is over: {why}")
        self._episode = None
        self._enter("ended")

    def _model(self) -> Gemini:
        return model_with_client(
            ResumableGemini,
            self.service.client(),
            model=self.service.model,
            policy=self.service.policy,
            on_event=self._on_event,
            trace=Trace(self.folder / "call.jsonl", payloads=True),
        )

    def _enter(self, state: State) -> None:
        self.state = state
        self._tell({"state": state})
        self._has_news.set()

    # --- what the model says ----------------------------------------------------------------------------------------

    def _pass_on(self, event: Event) -> None:
        if event.interrupted:
            self._tell({"flush": True})
            self._close("model", "cut" if self._was_cut else "interrupted")
        for part in (event.content.parts if event.content else None) or ():
            if part.inline_data is not None and part.inline_data.data:
                self._tell(part.inline_data.data)
            if part.function_call is not None:
                self._add(Entry(0, "tool", f"{part.function_call.name}", "done"))
        if event.partial:  # ADK gives each transcription in pieces, and then as a whole
            for who, said in (("user", event.input_transcription), ("model", event.output_transcription)):
                if said is not None and said.text:
                    self._extend("user" if who == "user" else "model", said.text)
        if event.turn_complete:
            self._close("user")
            self._close("model")
            self._count()
        self._has_news.set()

    def _extend(self, who: Literal["user", "model"], text: str) -> None:
        entry = self._open.get(who)
        if entry is None:
            if who == "model":
                self._close("user")
            again = self._was_cut and who == "model"
            self._was_cut = self._was_cut and not again
            entry = self._open[who] = self._add(Entry(0, who, again=again, spoken=who == "user"))
        entry.text += text
        self._show(entry)

    def _close(self, who: str, state: Literal["done", "cut", "interrupted"] = "done") -> None:
        entry = self._open.pop(who, None)
        if entry is not None:
            entry.state = state
            self._show(entry)

    def _add(self, entry: Entry) -> Entry:
        entry.id = len(self.entries)
        self.entries.append(entry)
        self._show(entry)
        return entry

    def _show(self, entry: Entry) -> None:
        self._tell({"entries": [asdict(entry)]})

    # --- what becomes of the line -------------------------------------------------------------------------------------

    def _on_event(self, event: events.Event) -> None:
        figures = self.figures
        match event:
            case events.Connected():
                self._enter("live")
            case events.GoAwayReceived():
                left = "soon" if event.time_left is None else f"in {event.time_left:g} s"
                self._say("lost", f"goAway: the service will close this connection {left}.")
            case events.ConnectionLost():
                self._enter("reconnecting")
                code = (event.status_code and f"HTTP {event.status_code}") or event.close_code or ""
                why = " ".join(filter(None, (str(code), event.reason)))
                self._say("lost", f"{_LOST[event.phase]}: {(why or 'the network').rstrip('.')}.")
            case events.ReconnectScheduled():
                self._dials_at = asyncio.get_running_loop().time() + event.delay
                self._tell({"dials_in": event.delay})
            case events.HandleRefused():
                self._say("lost", "The handle is no good any more.")
            case events.TurnCut():
                self._was_cut = True
            case events.Resumed() | events.FreshStarted():
                planned = isinstance(event, events.Resumed) and event.planned
                figures.reconnects += 1
                figures.gap = event.downtime
                figures.audio_lost += event.lost_audio
                self._say("back", _back(event, planned=planned))
                self._episode = None
                self._enter("live")
            case events.AudioDropped():
                figures.audio_lost += event.seconds
            case _:
                pass
        self._tell({"figures": asdict(figures)})
        self._has_news.set()

    def _say(self, state: Literal["lost", "back"], text: str) -> None:
        """Tell of the line: in one entry, from its trouble to its end."""
        if self._episode is None:
            self._episode = self._add(Entry(0, "line"))
        self._episode.text += f"\n{text}" if self._episode.text else text
        self._episode.state = state
        self._show(self._episode)

    def _count(self) -> None:
        """Have the service's account looked at: now, as nothing is on its way."""
        report = self.service.report(self._sent)
        if report is not None:
            figures = self.figures
            figures.held = len(report.held)
            figures.lost, figures.doubled = len(report.lost), len(report.doubled)
            self._tell({"figures": asdict(figures)})

    # --- the timeline -----------------------------------------------------------------------------------------------

    async def _draw(self) -> None:
        """Draw the newest trace again and again, as it grows, while a browser looks at it."""
        growing: GrowingStory | None = None
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAW_IDLE if self.state != "ended" else None):
                    await self._has_news.wait()
            self._has_news.clear()
            await asyncio.sleep(_DRAW_EVERY)  # what has happened by now is in the file
            self._look_at_cuts()
            if not self.browsers:
                continue
            growing, picture = await asyncio.to_thread(self._drawn, growing, loop.time())
            if picture and picture != self._picture:
                self._picture = picture
                self._tell({"timeline": picture})

    def _drawn(self, growing: GrowingStory | None, clock: float) -> tuple[GrowingStory | None, str]:
        newest = max(self.folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns, default=None)
        if newest is None:
            return growing, ""
        if growing is None or growing.path != newest:
            growing = GrowingStory(newest)
        story = growing.story(clock if self.state != "ended" else None)
        return growing, "" if story is None else draw(story).replace(_STYLE, "")


_LOST = {"dial": "No connection", "bind": "No session", "live": "The connection is cut"}


def _back(event: events.Resumed | events.FreshStarted, *, planned: bool) -> str:
    took = f"after {event.downtime:.2f} s"
    parts: list[str] = []
    if isinstance(event, events.FreshStarted):
        how = f"A fresh start {took}"
        if event.replayed_turns:
            parts.append(f"{_several(event.replayed_turns, 'turn')} of history replayed")
    else:
        how = f"Moved to the next connection {took}" if planned else f"Resumed with the handle {took}"
    if event.resent_messages:
        parts.append(f"{_several(event.resent_messages, 'message')} sent again")
    if isinstance(event, events.Resumed) and event.resent_audio:
        parts.append(f"{event.resent_audio:.1f} s of audio sent again")
    if event.lost_audio:
        parts.append(f"{event.lost_audio:.1f} s of audio lost")
    return ", ".join([how, *parts]) + "."


def _several(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def next_ferry(to: str) -> dict[str, str]:
    """Look up when the next ferry leaves.

    Args:
        to: Where it goes.
    """
    return {"to": to, "leaves_at": "9:30", "pier": "3"}
