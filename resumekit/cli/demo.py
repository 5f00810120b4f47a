"""``resumekit demo``: the same conversation twice, plain and through resumekit, over a service that keeps breaking."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from resumekit._extras import install
from resumekit.cli._ports import port
from resumekit.cli._progress import working
from resumekit.errors import ConfigurationError

if TYPE_CHECKING:
    from resumekit.cli._demo.apps import App
    from resumekit.cli._demo.recording import Recording
    from resumekit.cli._demo.script import Scene

__all__ = ["HELP", "add_arguments", "run"]

HELP = """\
Watch one conversation die at the first cut, and the same one live through all of them.

Two users ask a voice assistant the same twelve questions, at the same time. Both assistants are the same few lines of
code around the real google-genai client; one opens its session with client.aio.live.connect(), the other with
resumekit. Each talks to an emulated Live API of its own (a process, TLS, no key, no network), and both servers follow
the same script: resets, goAway, a half-open line, a refused handle, a service that is down, and more.

At the end the servers' ledgers say what the final conversation holds of what the users said, and the picture
timeline.svg shows connections, handles, faults and turns; timeline.html is the same, to be zoomed. call.jsonl is the trace
of resumekit's session, for `resumekit timeline` and `resumekit replay`. The exit status is 1 if resumekit lost, doubled or
reordered anything, if an answer is missing or wrong, or if a fault of the script did not strike; else 0.

The emulated service runs five times as fast as the real one, and so do resumekit's time-outs; nothing else differs from
its defaults. The emulated model answers with the question, and with the number of questions that it remembers.

With --adk both assistants are agents of Google's ADK, with a tool, behind Runner.run_live(); one has the model Gemini,
the other ResumableGemini. That needs an environment with google-adk: pip install '.[adk,emulator]' in a clone.

With --web you talk yourself, in a page on 127.0.0.1: by text or microphone, with a button for every way to cut the line,
and the timeline beside it. The emulated model runs at the speed of the real one, or is the real one with --live, which
needs a key in the environment. Ctrl-C ends it. That needs: pip install '.[web]' in a clone.

examples: resumekit demo
          resumekit demo --profile vertex --speed 2
          resumekit demo --web --open
"""

_MODELS = {
    "developer": "gemini-2.5-flash-native-audio-preview-12-2025",
    "vertex": "gemini-live-2.5-flash-native-audio",
}
_FILES = {
    "timeline.html": "what happened, as a picture: open it in a browser, and zoom",
    "timeline.svg": "the picture alone",
    "ledger.json": "the figures",
    "call.jsonl": "the trace of resumekit's session: resumekit replay runs it again",
}
_NEXT = """\
Two lines make your own google-genai app resumable:

  from resumekit.adapters import genai as resumable
  async with resumable.connect(client, model=MODEL, config=CONFIG) as session:

resumekit demo --web     talk yourself, and cut the line yourself
resumekit emulate        the emulated service, for your own app
resumekit doctor         what is installed, and whether it fits
"""
_NEXT_WITH_ADK = """\
Two lines make your own agent resumable:

  from resumekit.adapters.adk import ResumableGemini
  agent = Agent(name="guide", model=ResumableGemini(model="gemini-live-2.5-flash"))

resumekit demo --web         talk yourself, and cut the line yourself
resumekit emulate            the emulated service, for your own agent
resumekit doctor app:agent   what is installed, and whether it fits your agent
"""
_TIME_SCALE = 0.2
_FASTEST = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--adk", action="store_true", help="with ADK instead of google-genai alone, and with a tool")
    parser.add_argument(
        "--profile", choices=["developer", "vertex"], default="developer", help="which service to emulate (developer)"
    )
    parser.add_argument(
        "--model", help="a Live model's name; 3.x ones take text otherwise than 2.5 ones, as they really do"
    )
    parser.add_argument("--seed", type=int, default=0, help="of handles, ids and jitter (0)")
    parser.add_argument("--speed", type=float, default=1.0, metavar="X", help="2: twice as fast as usual (1)")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), metavar="DIR", help="where files go (out/demo)")
    parser.add_argument("--plain", action="store_true", help="line by line, instead of the live view")
    web = parser.add_argument_group("in the browser")
    web.add_argument("--web", action="store_true", help="talk yourself, and cut the line yourself")
    web.add_argument("--live", action="store_true", help="with the real service; a key is needed")
    web.add_argument("--port", type=port, default=0, help="of the page (any free one)")
    web.add_argument(
        "--open",
        action=argparse.BooleanOptionalAction,
        help="open the page in a browser (if this is a terminal)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Play the demo; returns 0 if resumekit kept everything, else 1."""
    if not 0 < arguments.speed <= _FASTEST:
        raise ConfigurationError(f"--speed has to be above 0 and at most {_FASTEST:g}, not {arguments.speed:g}")
    if arguments.web:
        return _run_web(arguments)
    try:
        from resumekit.cli._demo.script import ADK_SCRIPT, SCRIPT

        return _play(arguments, ADK_SCRIPT if arguments.adk else SCRIPT)
    except ImportError as error:
        name = error.name or ""
        if not name.startswith(("google", "trustme")):
            raise
        if arguments.adk:
            raise ConfigurationError(
                f"the demo with ADK needs {name.replace('.', '-')}, which is not installed; in an environment of its own"
                f" (ADK holds google-genai below 3), {install('adk,emulator')}"
            ) from error
        raise ConfigurationError(
            f"the demo needs {error.name}, which is not installed; {install('genai,emulator')}"
        ) from error


def _run_web(arguments: argparse.Namespace) -> int:
    try:
        with working("loading google-adk"):
            from resumekit.cli._web.run import run_web
    except ImportError as error:
        name = error.name or ""
        if not name.startswith(("google", "trustme", "fastapi", "uvicorn", "starlette")):
            raise
        raise ConfigurationError(
            f"the demo in the browser needs {name.replace('.', '-')}, which is not installed; in an environment of its own"
            f" (ADK holds google-genai below 3), {install('web')}"
        ) from error
    return run_web(
        model=arguments.model or _MODELS["developer"],
        live=arguments.live,
        port=arguments.port,
        opens=sys.stdout.isatty() if arguments.open is None else arguments.open,
        speed=arguments.speed,
        seed=arguments.seed,
    )


def _play(arguments: argparse.Namespace, script: tuple[Scene, ...]) -> int:
    from resumekit.cli._demo.apps import GenaiApp, perform
    from resumekit.cli._demo.recording import Lane, Recording
    from resumekit.cli._demo.view import choose_view
    from resumekit.trace import Trace

    app: type[App] = GenaiApp
    client = package = "google-genai"
    if arguments.adk:
        from resumekit.cli._demo.adk_app import CLIENT, AdkApp

        app, client, package = AdkApp, CLIENT, "google-adk"
    recording = Recording(
        profile=arguments.profile,
        model=arguments.model or _MODELS[arguments.profile],
        time_scale=_TIME_SCALE / arguments.speed,
        script=script,
        plain=Lane("plain", f"{package} alone"),
        resumed=Lane("resumekit", f"{package} through resumekit"),
        client=client,
        trace=Trace(arguments.out / "call.jsonl", payloads=True),  # what is said is the script's own
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    view = choose_view(sys.stdout, plain=arguments.plain)
    try:
        asyncio.run(perform(recording, seed=arguments.seed, show=view.show, app=app))
    finally:
        view.close()
    return _conclude(recording, arguments.out, with_adk=arguments.adk)


def _conclude(recording: Recording, out: Path, *, with_adk: bool = False) -> int:
    from resumekit.cli._demo.timeline import FOOT, timeline
    from resumekit.cli._demo.verdict import figures, problems, report
    from resumekit.cli._timeline.page import page_of

    found = problems(recording)
    out.mkdir(parents=True, exist_ok=True)
    picture = timeline(recording)
    (out / "timeline.svg").write_text(picture, encoding="utf-8")
    (out / "timeline.html").write_text(page_of(picture, "resumekit demo: timeline", FOOT), encoding="utf-8")
    numbers = {lane.name: figures(lane, recording.started_at) for lane in recording.lanes}
    (out / "ledger.json").write_text(json.dumps({"problems": found, **numbers}, indent=2) + "\n", encoding="utf-8")
    print(f"\n{report(recording)}\n")
    print(f"What there is to see in {out}\n")
    for name, what in _FILES.items():
        if (out / name).exists():
            print(f"  {name:<13}  {what}")
    if found:
        print(f"\nFAILED: {'; '.join(found)}")
        return 1
    print(f"\nWhat next\n\n{textwrap.indent(_NEXT_WITH_ADK if with_adk else _NEXT, '  ')}", end="")
    return 0
