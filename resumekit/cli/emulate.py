"""``resumekit emulate``: the emulated Live API, for people."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from resumekit._extras import install
from resumekit.cli._ports import port, why_not
from resumekit.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse

    from resumekit.emulator import ConnectionRecord, LedgerReport, LiveServer, ServiceEvent

__all__ = ["HELP", "add_arguments", "run"]

HELP = """\
Serve an emulated Gemini Live API on 127.0.0.1, with faults by script.

It speaks the protocol of the real service (Developer API or Vertex), answers every question with the question itself
and the number of user turns that it remembers, and keeps a ledger of what it received. Point a client at it with the
environment variables that it prints; any API key will do. It tells live who connects, what is asked and which fault
struck, until Ctrl-C ends it and it prints the ledger.

In a question, the model obeys:

  [tool:name {"json": "args"}]  call a tool (several: in parallel)
  [then:name]                   call one after those have answered
  [think:40]                    think for 40 s
  [chunks:12]                   answer in 12 pieces
  [seconds:15]                  speak for 15 s
  [silent]                      say nothing
  [recall]                      list the user turns that it remembers
  [search:query] [code:source]  use a built-in tool, where the setup has it

A fault script is a JSON array. Two cuts and a refused handle:

  [
    {"action": {"do": "rst"},
     "at": {"on": "answer_frame", "n": 2}, "connection": 0},
    {"action": {"do": "close", "code": 1011, "reason": "Internal error"},
     "at": {"on": "turn_complete"}, "connection": 1},
    {"action": {"do": "refuse_handle"}, "at": {"on": "resume"}, "binding": 2}
  ]

`--list-faults` prints every action with its fields, and every moment. With "times": null a fault strikes for ever.

What nobody knows for certain of the real service can be set either way, as how models call tools can; `--list-knobs`
prints all of it. google-adk runs the tools of a 2.5 model when the turn of the call ends, and waits for ever where that
does not come: give it --set tool_turns=at_end. The last example has a Vertex model that makes its calls in another order when it answers again.

examples: resumekit emulate
          resumekit emulate --port 8443 --faults faults.json --time-scale 0.2
          resumekit emulate --profile vertex --set reissue=reversed
"""

_Json = dict[str, Any]
_ENDED_BY = {"client": "the client", "server": "the service", "fault": "the fault"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--profile", choices=["developer", "vertex"], default="developer", help="which backend to play")
    parser.add_argument("--model", default="auto", help="2.5, 3.x, a model's name, or auto: what the client asks for")
    parser.add_argument("--faults", type=Path, metavar="FILE", help="fault script (JSON)")
    parser.add_argument("--time-scale", type=float, default=1.0, metavar="X", help="0.1: ten times as fast")
    parser.add_argument("--seed", type=int, default=0, help="of handles and ids")
    parser.add_argument("--port", type=port, default=0, help="default: any free one")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KNOB=VALUE",
        dest="knobs",
        help="set what --list-knobs lists; JSON or a bare word: --set connection_age=120 --set overlap=queue",
    )
    parser.add_argument("--list-knobs", action="store_true", help="print what can be set, and stop")
    parser.add_argument("--list-faults", action="store_true", help="print actions and moments, and stop")


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C, then print the ledger; meanwhile tell what happens."""
    try:
        from resumekit.emulator import LiveServer, load_faults
    except ModuleNotFoundError as error:
        if error.name != "trustme":
            raise
        raise ConfigurationError(
            f"the emulator needs trustme, which is not installed; {install('emulator')}"
        ) from error

    if arguments.list_faults:
        _list_faults()
        return 0
    if arguments.list_knobs:
        _list_knobs()
        return 0
    try:
        script = arguments.faults.read_text("utf-8") if arguments.faults else "[]"
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the fault script: {error}") from error
    knobs = dict(_knob(text) for text in cast("list[str]", arguments.knobs))
    teller = _Teller()
    server = LiveServer(
        profile=arguments.profile,
        model=arguments.model,
        faults=load_faults(script),
        time_scale=arguments.time_scale,
        seed=arguments.seed,
        port=arguments.port,
        on_event=teller.tell,
        **cast("_Json", knobs),
    )
    teller.connections = server.connections
    return asyncio.run(_serve(server, teller))


def _knob(text: str) -> tuple[str, object]:
    name, found, value = text.partition("=")
    if not found:
        raise ConfigurationError(f"--set wants KNOB=VALUE, not {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value  # a bare word is a string


class _Teller:
    """Prints what happens, line by line."""

    def __init__(self) -> None:
        self.connections: list[ConnectionRecord] = []
        self.stop = asyncio.Event()
        self.failed: OSError | None = None
        """Nobody reads it any more, or the disk is full."""

    def tell(self, event: ServiceEvent) -> None:
        text = _in_words(event, self.connections)
        if text and self.failed is None:
            try:
                print(
                    f"{time.strftime('%H:%M:%S', time.localtime(event.at))}  {event.connection:>3}  {text}", flush=True
                )
            except OSError as error:
                self.failed = error
                self.stop.set()


def _in_words(event: ServiceEvent, connections: list[ConnectionRecord]) -> str:
    """Return what a person wants to see go by, or nothing."""
    assert event.connection is not None
    record = connections[event.connection]
    match event.kind:
        case "handshake":
            return "somebody connects"
        case "bound":
            return "resumed with a handle" if record.handle else "a new session"
        case "question":
            return f"question: {textwrap.shorten(event.detail, 60) or '(no text)'}"
        case "tool_call":
            return "the model calls a tool"
        case "interrupted":
            return "the user interrupts the answer"
        case "turn_complete":
            return "answered"
        case "go_away":
            return "goAway is sent"
        case "fault":
            return f"FAULT: {event.detail}"
        case "refused":
            return f"refused: {event.detail}"
        case "closed":
            end = f"{record.close_code} {record.close_reason}".strip()
            return f"the end, by {_ENDED_BY.get(record.closed_by, record.closed_by)}: {end}"
        case _:
            return ""


async def _serve(server: LiveServer, teller: _Teller) -> int:
    stop = teller.stop
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    try:
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(server)
            except OSError as error:
                raise ConfigurationError(why_not(server.port, error)) from error
            _print_address(server)
            await stop.wait()
            if teller.failed is not None:
                raise teller.failed
            _print_ledger(server, server.ledger.report())
    finally:
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(name)
    return 0


def _print_address(server: LiveServer) -> None:
    variable = "GOOGLE_GEMINI_BASE_URL" if server.settings.profile == "developer" else "GOOGLE_VERTEX_BASE_URL"
    print(f"listening on {server.base_url} ({server.settings.profile}, model {server.settings.model})")
    print(f"CA certificate: {server.ca_file}")
    print()
    print(f"export {variable}={server.base_url}")
    print(f"export SSL_CERT_FILE={server.ca_file}")
    if server.settings.profile == "developer":
        print("export GOOGLE_API_KEY=any")
    print()
    print("Ctrl-C ends it and prints the ledger.\n\ntime        #  what happens on connection #", flush=True)


def _print_ledger(server: LiveServer, report: LedgerReport) -> None:
    from resumekit.emulator.ledger import ADK_WAITS

    print()
    for record in server.connections:
        print(record)
    print(f"the final state holds {len(report.held)} control messages and {report.audio_ms} ms of audio:")
    for text in report.held:
        print(f"  {text}")
    for call in report.calls:
        known = "" if call.held else ", not in the final state"
        waits = call.held and not (call.answers or call.cancelled or server.settings.tool_turns == "at_end")
        hint = f" ({ADK_WAITS}: --set tool_turns=at_end)" if waits else ""
        print(f"call on connection {call.connection}: {call}, answered {len(call.answers)} times{known}{hint}")
    if report.history_with_handle:
        print(f"history was sent beside a handle {report.history_with_handle} times")


def _list_knobs() -> None:
    from resumekit.emulator.settings import knob_table

    for knob in knob_table():
        print(f"{knob.name}: {knob.type} = {knob.default!r}")
        if knob.meaning:
            print(textwrap.indent(knob.meaning, "    "))


def _list_faults() -> None:
    import typing

    import msgspec

    from resumekit.emulator import Action, Moment

    print("actions:")
    for action in typing.get_args(Action):
        fields = ", ".join(
            field.name if field.required else f"{field.name}={field.default!r}"
            for field in msgspec.structs.fields(action)
        )
        print(f"  {action.__struct_config__.tag:<18} {fields}")
        print(f"      {(action.__doc__ or '').strip()}")
    print("moments (the n-th, from 1, on its connection; elapsed takes seconds, answer_frame and audio_frame a turn):")
    print("  " + ", ".join(typing.get_args(Moment)))
    sys.stdout.flush()
