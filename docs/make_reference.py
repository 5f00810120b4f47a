#!/usr/bin/env python3
"""Write docs/reference/*.md from the docstrings, and from the tables of `tests/adk`: `python docs/make_reference.py`.

A test tells when it is due.
"""

from __future__ import annotations

import argparse
import ast
import enum
import inspect
import itertools
import re
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402

import pytest_resumekit  # noqa: E402
from resumekit import cli, errors, hookspecs, pool_backend, stores, testing  # noqa: E402
from resumekit.cli._probe import questions  # noqa: E402
from resumekit.core import events, failures, policy, stats  # noqa: E402
from resumekit.core.failures import Phase, Side, Verdict  # noqa: E402
from resumekit.plugins import HOOKS  # noqa: E402

REFERENCE = ROOT / "docs" / "reference"
MADE = "<!-- Made by docs/make_reference.py from the docstrings and tables: change those. -->"


COMMON = {
    "action": "What to do.",
    "attempts": "How many dials.",
    "attempt": "1 for the first try.",
    "audio_resent": "Seconds of audio that were sent again.",
    "call_id": "The id of the call.",
    "close_code": "WebSocket close code; None where there was none.",
    "connection": "Number of the connection, from 1.",
    "credentials_renewable": "Whether a new dial may bring new credentials.",
    "delay": "Seconds until then.",
    "detail": "What is known of it.",
    "dials": "Connections that were dialled.",
    "digest": "Of the handle; the handle itself is a secret.",
    "downtime": "Seconds without a live connection.",
    "error": "What ended it, with what was lost and what to do; None: the application closed it.",
    "failure": "What happened.",
    "frames": "Number of frames.",
    "frames_received": "From the service.",
    "handle": "The handle; its `repr` is a digest.",
    "handle_age": "Seconds since the handle came; None where there is none.",
    "age": "Seconds since it came.",
    "hook": "Name of the hook.",
    "index": "Messages that its state holds, as the service counts them; None where it does not.",
    "lost_audio": "Seconds of audio that neither the service's state nor the buffer holds.",
    "message": "Number of the question; None: a spoken one.",
    "messages": "Their numbers.",
    "messages_resent": "Control messages that were sent again.",
    "model": "As the setup names it.",
    "name": "Of the function.",
    "operation": "What it was asked for.",
    "pending_calls": "Tool calls that wait for the application.",
    "pending_messages": "Control messages that wait to be sent, or sent again.",
    "phase": "How far the connection had come.",
    "plugin": "Name of the plugin.",
    "policy": "The session's.",
    "problem": "What went wrong.",
    "reanswers": "How often it was answered again before.",
    "reason": "What the service, or the network, said.",
    "replayed_turns": "Turns of history that were replayed.",
    "resent_messages": "Control messages that were sent again.",
    "resumes": "Moves and recoveries with a handle.",
    "seconds": "How long, or how much.",
    "seconds_down": "Seconds since the session was last well.",
    "seconds_left": "Until then.",
    "side": "Who ended it.",
    "size": "In bytes.",
    "discarded_frames": "Frames that the application had not taken, and does not get.",
    "status_code": "HTTP status of a refused upgrade; None where there was none.",
    "time_left": "Seconds, as the service announced; None where it named none.",
    "transparent": "Whether the service reports what it consumed (Vertex).",
    "turn_open": "Whether a question waits for its answer, or for the rest of it.",
    "turns_reanswered": "Turns that were cut and answered again.",
    "turns_settled": "Turns that were cut and ended.",
    "verdict": "What the failure means.",
    "with_handle": "Whether the connection was, or was to be, bound with a handle.",
}
"""What fields mean that say it by their name, and so have no docstring of their own."""


# ---------------------------------------------------------------------- reading


def summary(thing: object) -> str:
    return inspect.cleandoc(thing.__doc__ or "")


def attributes(kind: type) -> dict[str, str]:
    """Return what is said about each attribute: the string that follows it, in the body or in `__init__`."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    made = [node.body for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    bodies = [tree.body, *made]
    found: dict[str, str] = {}
    for body in bodies:
        for node, following in zip(body, [*body[1:], None], strict=True):
            name = assigned(node)
            if name is not None:
                found[name] = ""
                if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                    found[name] = " ".join(str(following.value.value).split())
    return {name: text for name, text in found.items() if not name.startswith("_")}


def assigned(node: ast.stmt) -> str | None:
    """Return the attribute that a statement gives a value, or a type."""
    target = (
        node.target if isinstance(node, ast.AnnAssign) else node.targets[0] if isinstance(node, ast.Assign) else None
    )
    if isinstance(target, ast.Name):
        return target.id
    if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
        return target.attr
    return None


def type_of(kind: type, name: str) -> str:
    return str(kind.__annotations__.get(name, "")).replace("_Seconds", "float").replace("|", "\\|")


def defaults(kind: type) -> dict[str, object]:
    fields = msgspec.structs.fields(kind)
    return {field.name: field.default for field in fields if field.default is not msgspec.NODEFAULT}


# ---------------------------------------------------------------------- writing


def table(*rows: tuple[str, ...]) -> Iterator[str]:
    head, *body = rows
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in body:
        yield "| " + " | ".join(cell or " " for cell in row) + " |"
    yield ""


def fields_table(kind: type) -> Iterator[str]:
    said, given = attributes(kind), defaults(kind)
    rows = [
        (f"`{name}`", f"`{type_of(kind, name)}`", f"`{given[name]!r}`" if name in given else "", text or COMMON[name])
        for name, text in said.items()
    ]
    head = ("field", "type", "default", "meaning")
    if given:
        yield from table(head, *rows)
    elif rows:
        yield from table((head[0], head[1], head[3]), *((name, of, text) for name, of, _, text in rows))


def section(kind: type, *, level: int = 3) -> Iterator[str]:
    yield from ("#" * level + f" `{kind.__name__}`", "", summary(kind), "")
    if issubclass(kind, enum.Enum):
        said = attributes(kind)
        yield from table(("value", "meaning"), *((f"`{kind.__name__}.{one.name}`", said[one.name]) for one in kind))
    elif getattr(kind, "_is_protocol", False):
        for name, method in vars(kind).items():
            if inspect.isfunction(method) and not name.startswith("_"):
                yield from (f"- `{signature(name, method)}`: {summary(method)}",)
        yield ""
    else:
        yield from fields_table(kind)


def signature(name: str, function: Callable[..., object]) -> str:
    kind = "async def" if inspect.iscoroutinefunction(function) else "def"
    told = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(function)))
    return f"{kind} {name}{told}".replace("(self, ", "(").replace("(self)", "()")


def hook(name: str) -> Iterator[str]:
    function = getattr(hookspecs, name)
    yield from (f"## `{name}`", "", "```python", signature(name, function), "```", "")
    text, _, example = summary(function).partition("\nExample:\n")
    text = re.sub(r"^([A-Z][a-z ]+):\n((?: {4}.*\n?|\n)+)", labelled, text, flags=re.MULTILINE)
    yield from (text.strip(), "", "**Example:**", "", textwrap.dedent(example).strip(), "")


def labelled(match: re.Match[str]) -> str:
    label, body = match[1], textwrap.dedent(match[2]).strip()
    if label == "Arguments":
        body = re.sub(r"^(\w+): ", r"`\1`: ", body)
    return f"**{label}:** " + " ".join(body.split()) + "\n\n"


def hooks_page() -> Iterator[str]:
    yield from ("# Hooks", "", summary(hookspecs), "")
    yield from table(
        ("hook", "decides, provides or hears"),
        *(
            (f"[`{name}`](#{name})", summary(getattr(hookspecs, name)).splitlines()[0])
            for name in in_order(hookspecs, HOOKS)
        ),
    )
    yield from ("An installed plugin names its module, or an object in it, in its `pyproject.toml`:", "")
    yield from ("```toml", "[project.entry-points.resumekit]", 'patient = "resumekit_patient"', "```", "")
    yield from (
        "`RESUMEKIT_LOAD_PLUGINS` says which installed plugins are loaded: unset all, empty or `none` none, else the",
    )
    yield from (
        "names of their entry points, separated by commas. `resumekit doctor` lists what was found, and what is wrong.",
        "",
    )
    for name in in_order(hookspecs, HOOKS):
        yield from hook(name)
    yield from ("## What hooks are told", "", "Each is frozen; later versions may add fields.", "")
    for kind in (
        policy.DelayDetails,
        policy.FailureDetails,
        policy.MoveDetails,
        policy.RecoveryDetails,
        failures.Failure,
    ):
        yield from section(kind)
    yield from section(failures.Phase)
    yield from section(failures.Side)
    yield from ("## What hooks answer", "")
    for kind in (policy.Exactly, failures.Verdict, policy.Move, policy.Recovery, policy.RecoveryAction):
        yield from section(kind)
    yield from section(stores.HandleStore)
    yield from section(stores.Claim)
    yield from section(stores.Entry)
    yield from table(
        ("constant of `resumekit.stores`", "meaning"),
        *((f"`{name} = {getattr(stores, name)!r}`", said_of(stores, name)) for name in ("SEALED", "UNREADABLE")),
    )
    yield from section(pool_backend.PoolBackend)
    yield from section(pool_backend.Place)
    yield from section(pool_backend.Limits)
    yield from section(pool_backend.Rate)


def said_of(module: ModuleType, name: str) -> str:
    """Return the string that follows a constant."""
    body = ast.parse(inspect.getsource(module)).body
    (said,) = (following for node, following in itertools.pairwise(body) if assigned(node) == name)
    assert isinstance(said, ast.Expr)
    return " ".join(ast.literal_eval(said.value).split())


def in_order(module: ModuleType, names: tuple[str, ...]) -> list[str]:
    """Return names as they stand in the source."""
    return sorted(names, key=lambda name: inspect.getsourcelines(getattr(module, name))[1])


def policy_page() -> Iterator[str]:
    source = inspect.getsource(policy.Policy).split("def __post_init__")[0]
    said, given = attributes(policy.Policy), defaults(policy.Policy)
    scaled = policy.Policy.times()
    yield from ("# Policy", "", summary(policy.Policy).partition("\nRaises:")[0].strip(), "")
    yield from ("A field that makes no sense raises `ConfigurationError` at once.", "")
    yield from (
        "```python",
        "from resumekit import Policy",
        "",
        'patient = Policy(max_outage=900.0, cut_turn="settle")',
    )
    yield from ("in_tests = patient.scaled(0.1)  # all times, for an emulator on the same scale", "```", "")
    yield from ("Times marked * are scaled by `Policy.scaled`.", "")
    for part in re.split(r"^    # ", source, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        names = [name for name in re.findall(r"^    (\w+):", body, flags=re.MULTILINE) if name in said]
        yield from (f"## {title}", "")
        yield from table(
            ("field", "type", "default", "meaning"),
            *(
                (
                    f"`{name}`" + " *" * (name in scaled),
                    f"`{type_of(policy.Policy, name)}`",
                    f"`{given[name]!r}`",
                    said[name],
                )
                for name in names
            ),
        )


def events_page() -> Iterator[str]:
    yield from ("# Events", "", summary(events), "")
    yield from ("They reach `session.events` (an asynchronous iterator), `on_event=` and the hook `on_event`.", "")
    yield from (
        "```python",
        "from resumekit import events",
        "",
        "",
        "def on_event(event: events.Event) -> None:",
        "    match event:",
        "        case events.Resumed(downtime=seconds, lost_audio=lost) if lost:",
        '            print(f"back after {seconds:.1f} s; {lost:.1f} s of speech are lost")',
        "        case events.SessionEnded(error=str(error)):",
        "            print(error)",
        "```",
        "",
        "Every event has these fields:",
        "",
    )
    yield from fields_table(events.Event)
    for name in in_order(events, tuple(name for name in events.__all__ if name != "Event")):
        yield from section(getattr(events, name), level=2)


def errors_page() -> Iterator[str]:
    head, _, rest = summary(errors).partition("::\n")
    tree, _, tail = textwrap.dedent(rest.strip("\n")).partition("\n\n")
    tree, tail = "\n".join(line.removeprefix("    ") for line in tree.splitlines()), tail.strip()
    yield from ("# Errors", "", head.strip(), "", "```text", tree, "```", "", tail, "")
    yield from (
        "```python",
        "from resumekit import SessionLost",
        "",
        "",
        "def tell(error: SessionLost) -> str:",
        '    return f"{error.problem}: {error.unsent_messages} messages were not delivered"',
        "```",
        "",
    )
    for name in in_order(errors, tuple(errors.__all__)):
        kind = getattr(errors, name)
        yield from (f"## `{name}`", "", summary(kind), "")
        said = attributes(kind)
        if said:
            yield from table(("attribute", "meaning"), *((f"`{one}`", text) for one, text in said.items()))


def stats_page() -> Iterator[str]:
    yield from ("# Stats", "", "`session.stats`. " + summary(stats.Stats), "")
    yield from (
        "```python",
        "from resumekit import Stats",
        "",
        "",
        "def cost(stats: Stats) -> int:",
        '    """Generations that were run again."""',
        "    return stats.turns_reanswered + stats.turns_shadowed",
        "```",
        "",
    )
    yield from fields_table(stats.Stats)


VERSIONS = ("1.27.2", "2.0.0", "2.13.0")
MODELS = ("`gemini-3.8-live`", "`gemini-3.1-flash-live-preview`", "`gemini-2.5-flash-native-audio-*`, `gemini-live-2.5-flash-native-audio`", "older: `gemini-2.0-flash-live-001`, `gemini-live-2.5-flash-preview`")  # fmt: skip
FEATURES = (
    ("answers (`response_modalities`), one of them", "AUDIO", "AUDIO", "AUDIO", "AUDIO, TEXT"),
    ("transcriptions of both sides", "yes", "yes", "yes", "yes"),
    ("context window, tokens", "128k", "128k", "128k", "32k"),
    ("handles (`session_resumption`)", "yes", "yes", "yes", "yes"),
    ("`transparent` resumption", "Vertex", "Vertex", "Vertex", "Vertex"),
    ("`context_window_compression`", "yes", "yes", "yes", "yes"),
    ("manual activity (`realtime_input_config`)", "yes", "yes", "yes", "yes"),
    ("`enable_affective_dialog`", "no", "no", "yes", "no"),
    ("`proactivity`", "always on", "no", "yes", "no"),
    ("function calls", "yes", "yes", "yes", "yes"),
    ("asynchronous ones (`NON_BLOCKING`)", "yes, by default", "no", "yes", "?"),
    ("search grounding", "yes", "yes", "yes", "yes"),
    ("code execution, URL context", "no", "no", "no", "yes"),
    ("text in mid-session", "`clientContent` or realtime", "realtime only", "`clientContent` or realtime", "`clientContent` or realtime"),
)  # fmt: skip
"""Which Live models take what: November 2026; "?": no source says it."""


def run_config_page() -> Iterator[str]:
    from resumekit.adapters._advice import TARGET_SHARE, TRIGGER_SHARE, WINDOWS
    from tests.adk.features import FEATURES as ADK_FEATURES
    from tests.adk.run_config import ROWS

    def versions(since: str) -> str:
        return "all" if since == VERSIONS[0] else ", ".join(VERSIONS[VERSIONS.index(since) :])

    yield from ("# ADK: every field of `RunConfig`", "")
    yield from (
        "What becomes of each field over a reconnect, with `ResumableGemini`. The last column names the test that shows it:",
        "through a `Runner`, against the emulator, on each version that has the field, with a cut in the middle. Where plain",
        "ADK does something odd on a version, so does this.",
        "",
    )
    yield from table(
        ("field", "versions of ADK", "over a reconnect", "test in `tests/adk`"),
        *(
            (
                f"`{row.field}`",
                versions(row.since),
                row.does,
                f"`{row.test.partition('::')[2]}`",
            )
            for row in sorted(ROWS)
        ),
    )
    yield from ("## Tools, media, callbacks", "")
    yield from ("The same of what an application does beside `RunConfig`:", "")
    yield from table(
        ("feature", "versions of ADK", "over a reconnect", "test in `tests/adk`"),
        *((row.feature, versions(row.since), row.does, f"`{row.test.partition('::')[2]}`") for row in ADK_FEATURES),
    )
    yield from ("## Which models take what", "")
    yield from (
        "As public documentation and reports had it on 2026-11-22; none of it was tried against the service. Models change,",
        "and previews do so without notice: what counts is what the service says. resumekit sends what you set, whatever",
        "the model; ADK 2.13 leaves `enable_affective_dialog` and `proactivity` out for 3.x models.",
        "",
    )
    yield from table(("feature", *MODELS), *FEATURES)
    yield from ("## Context window compression", "")
    low, high = (f"{share:.0%}" for share in TRIGGER_SHARE)
    least, most = (f"{share:.0%}" for share in TARGET_SHARE)
    yield from (
        "Without it the service ends a session after some minutes, however often it is resumed: about 15 with audio, 2 with",
        f"video, 10 on Vertex. With it a session has no limit. Set `trigger_tokens` to {low} to {high} of the model's context",
        f"window, and `sliding_window.target_tokens` to {least} to {most} of it, below the trigger:",
        "",
    )
    yield from table(
        ("window", "`trigger_tokens`", "`target_tokens`"),
        *(
            (
                f"{window.least} to {window.most}",
                *(
                    f"{round(share[0] * window.least)} to {round(share[1] * window.most)}"
                    for share in (TRIGGER_SHARE, TARGET_SHARE)
                ),
            )
            for window in WINDOWS
        ),
    )
    yield from (
        "A lower trigger forgets what there is room for, a higher one leaves none for a long turn; a target far below the",
        "trigger forgets much at a time (where it is not set, the service takes half of the trigger), one close to it has to",
        "compress at each turn, which takes time.",
        "",
        "```python",
        "from google.genai import types",
        "",
        "compression = types.ContextWindowCompressionConfig(",
        "    trigger_tokens=100_000, sliding_window=types.SlidingWindow(target_tokens=80_000)",
        ")",
        "```",
        "",
        "`resumekit doctor TARGET` says where a config contradicts this page.",
        "",
    )


def cli_page() -> Iterator[str]:
    yield from ("# The command `resumekit`", "", "`resumekit COMMAND --help` prints the same.", "")
    yield from table(("exit status", "means"), *((f"`{status}`", meaning) for status, meaning in cli.STATUSES.items()))
    for name, command in subcommands().items():
        yield from (f"## `resumekit {name}`", "", "```text", (command.description or "").strip(), "```", "")
        options = [option for option in command._actions if option.help and option.dest != "help"]
        yield from table(
            ("argument", "meaning"),
            *((f"`{argument(option)}`", str(option.help).replace("|", "\\|")) for option in options),
        )
    yield from ("## What the probe asks", "")
    yield from (
        "`resumekit doctor --probe` speaks plain WebSocket to the service, without resumekit's engine, which would hide what",
        "is asked. Each question has its own connections; what the service does unexpectedly (a close, a time-out, a quota)",
        "ends that question with a line that says so, and the next one is asked. The key comes from the environment, and",
        "neither key nor handle is ever printed. `--only` takes the names:",
        "",
    )
    yield from table(
        ("question", "finds out", "answers", "takes up to"),
        *((f"`{one.name}`", one.about, str(one.answers), f"{one.seconds} s") for one in questions.QUESTIONS),
    )
    yield from ("Not asked:", "", *(f"- {what}: {why}" for what, why in questions.LEFT_OUT.items()), "")
    yield from table(
        ("exit status", "means"),
        ("`0`", "all is as resumekit assumes"),
        (
            "`1`",
            "something differs: it is marked, with where the assumption is used, and the policy takes it into account",
        ),
        ("`2`", 'nothing was asked: no key, no terminal and no `--yes`, a "no", or a wrong argument'),
        ("`3`", "nothing differs, but a question has no answer"),
    )
    told, _, code = (REFERENCE / "probe-example.txt").read_text("utf-8").partition("The policy that fits:\n\n")
    yield from (
        "An example, from an emulator that is set to other answers than resumekit assumes (`python -m tests.cli.probing` makes",
        "it anew). `RULES n` are the [rules of resumption](../explanation/rules.md); *decisions* are [these](../project/decisions.md).",
        "",
        "```text",
        told.strip(),
        "```",
        "",
        "The policy that fits, which `--policy FILE` writes into a file:",
        "",
        "```python",
        code.strip(),
        "```",
    )


def subcommands() -> dict[str, argparse.ArgumentParser]:
    (commands,) = (one for one in cli._parser()._actions if isinstance(one.choices, dict))
    return {name: commands.choices[name] for name in cli.COMMANDS}


def argument(option: argparse.Action) -> str:
    value = option.metavar or (f"{{{','.join(option.choices)}}}" if option.choices else option.dest.upper())
    if not option.option_strings:
        return str(value)
    return option.option_strings[0] + (f" {value}" if option.nargs != 0 else "")


def testing_page() -> Iterator[str]:
    classes = [testing.HandleStoreConformance, testing.LeaseConformance, testing.PoolConformance]
    yield from ("# `resumekit.testing`", "", summary(testing), "")
    yield from (
        "`pip install '.[testing]'`, in a clone, brings it. [Test your agent](../how-to/test-your-agent.md) and",
        "[a plugin with its tests](../how-to/write-a-plugin.md) use it.",
        "",
    )
    yield from fixtures()
    yield from members(testing.Faults)
    yield from members(testing.ServerThread)
    for kind in classes:
        yield from (f"## `{kind.__name__}`", "", summary(kind), "")
        yield from table(("to give, or to change", ""), *((f"`{said}`", text) for said, text in to_give(kind)))
        yield from table(("test", "asks"), *tests_of(kind))
    yield from ("## `ScriptedService`", "", *documented(testing.ScriptedService), "")
    for name in ("connect", "ask", "http_options"):
        function = getattr(testing.ScriptedService, name)
        shown = re.sub(r"[\w.]*_common\.", "", signature(name, function))
        yield from (f"### `{name}`", "", "```python", shown, "```", "", *documented(function), "")
    said = {"policy": attributes(testing.ScriptedService)["policy"]} | {"uri": summary(testing.ScriptedService.uri)}
    yield from table(("attribute", "meaning"), *((f"`{name}`", text) for name, text in said.items()))
    yield from (
        f"`TIME_SCALE` is {testing.TIME_SCALE}: real seconds for each second of the service. What else can be set, and all faults:",
        "[the emulator](emulator.md).",
    )


def fixtures() -> Iterator[str]:
    yield from ("## In pytest", "", summary(pytest_resumekit), "")
    named = {
        "live_server": "a `ServerThread`. It runs for one test; all have one port and one certificate authority",
        "resumekit_live_server": "the same, where another plugin (pytest-django, pytest-flask) has a `live_server`",
        "fault_script": "the `Faults` of it",
    }
    yield from table(("fixture", "is"), *((f"`{name}`", meaning) for name, meaning in named.items()))
    yield from (
        "While a test has a server, the variables of `ServerThread.environment()` are set: `genai.Client()` and ADK find it,",
        'and no real key gets to it. `@pytest.mark.live_server(profile="vertex", time_scale=0.05)`, on a test, a class or a',
        "module, gives arguments of `ServerThread`. Sessions of this process that are given no policy have `live_server.policy`.",
        "",
    )


def members(kind: type) -> Iterator[str]:
    """Write what a class is, and its methods and properties in their order."""
    yield from (f"## `{kind.__name__}`", "", *documented(kind), "")
    for name, member in vars(kind).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            yield from (f"### `{name}`", "", *documented(member), "")
        elif inspect.isfunction(member):
            yield from (f"### `{name}`", "", "```python", signature(name, member), "```", "", *documented(member), "")


def to_give(kind: type) -> Iterator[tuple[str, str]]:
    for name in sorted(dir(kind)):
        function = getattr(kind, name)
        if name in ("make_store", "make_backend", "sleep"):
            yield signature(name, function), " ".join(summary(function).split())
    for name, text in attributes(kind).items():
        yield f"{name} = {getattr(kind, name)!r}", text


def tests_of(kind: type) -> Iterator[tuple[str, str]]:
    for name, function in vars(kind).items():
        if name.startswith("test_"):
            yield name.removeprefix("test_").replace("_", " "), " ".join(summary(function).split())


def documented(thing: object) -> Iterator[str]:
    """Write a docstring, its arguments and errors as lists."""
    text, *rest = re.split(r"^(Args|Raises|Returns):\n", summary(thing), flags=re.MULTILINE)
    yield text.strip()
    for title, body in zip(rest[::2], rest[1::2], strict=True):
        yield from ("", f"**{title.replace('Args', 'Arguments')}:**", "")
        for item in re.split(r"\n(?! )", textwrap.dedent(body).strip()):
            name, _, meaning = " ".join(item.split()).partition(": ")
            yield f"- `{name}`: {meaning}"


VERDICTS = {
    Verdict.RESUME_NOW: "a new connection at once, from the newest handle; without one, a fresh start",
    Verdict.RESUME_LATER: "the same, after a delay that grows (`choose_delay`)",
    Verdict.OLD_BINDING: "the same handle again, for up to `Policy.old_binding_grace`",
    Verdict.HANDLE_DEAD: "the handle is forgotten: a fresh start, with the history replayed",
    Verdict.RENEW_CREDENTIALS: "once more at once, with new credentials",
    Verdict.FATAL: "`ConnectRefused` from `connect`, `SessionLost` later; google-genai's own error is its cause",
}
PHASES = {Phase.DIAL: "dialling", Phase.BIND: "binding", Phase.LIVE: "live"}


Code = failures.CloseCode
CODES: dict[tuple[failures.CloseCode, ...], tuple[str, str, str]] = {
    (Code.NORMAL, Code.GOING_AWAY, Code.NO_STATUS, Code.SERVICE_RESTART): (
        "The service, or a proxy before it, closed in good order, and did not say why. After `goAway` this is the end that was"
        " announced.",
        "It goes on at once, on a new connection with the newest handle. If that one ends in the same way before it has proved"
        " itself (by a completed turn, or by `Policy.proven_after`), the delays grow.",
        "Nothing. If every connection ends after the same short time, something between you and the service closes it: look at"
        " the [timeline of a call](../how-to/trace-a-call.md), and at the time-outs of proxies.",
    ),
    (Code.ABNORMAL,): (
        "No close frame came: the line was reset, or ended without a word. No peer sends this code; the client makes it up.",
        "It goes on at once; an answer that was cut is given again.",
        "Nothing. It is what networks do.",
    ),
    (Code.PROTOCOL_ERROR, Code.UNSUPPORTED_DATA): (
        "The service could not read what it got as WebSocket frames.",
        "It gives up: the same bytes would do it again.",
        "Look for a proxy that changes frames. If there is none, report it, with a [trace](../how-to/trace-a-call.md).",
    ),
    (Code.INVALID_ARGUMENT,): (
        "Three things: a message that the service does not accept (`Invalid JSON payload received`, a config that the model does"
        " not know), a handle that is dead (`Invalid session handle`), or a context that is full.",
        "Where the reason, or a setup that held a handle, points to the handle, that is forgotten: a fresh start, with the"
        " history replayed as text. In a live session it tries once more, since the context may have been full. Otherwise it"
        " gives up.",
        "At the first connect: run `resumekit doctor my_app:config --model NAME`, which says where a config does not fit its"
        " model. Later: look at what was sent last. For long calls set context window compression.",
    ),
    (Code.POLICY,): (
        "You may not (`Your API key ...`), there is no such model (`models/... is not found`), the session is gone"
        " (`BidiGenerateContent session not found`), or the time of the connection is over (`The operation was aborted`).",
        "The reason decides: an end of time is gone on from at once, a session that is gone means a fresh start, and a wrong key"
        " or model is raised, as google-genai's own error. What it does not know is tried once more in a live session.",
        "Check the key, its project and the model's name, where the error says so. Else nothing.",
    ),
    (Code.TOO_BIG,): (
        "A message was too long: one of yours, which the service refused; or, closed by this side, one of the service's.",
        "It gives up: the same message would do it again.",
        "Send pictures, documents and audio in smaller pieces.",
    ),
    (Code.INTERNAL_ERROR,): (
        "Anything: a fault of the service, its planned end (`Deadline expired`), a quota (`You exceeded your current quota`,"
        " `Resource has been exhausted`), or the old connection of this session that it has not let go of yet.",
        "An end of time is gone on from at once, a fault or a quota after delays that grow. Where it answers the setup of a"
        " resumption soon after a loss, the same handle is tried again for `Policy.old_binding_grace`, and only then given up"
        " for a fresh start.",
        "For quotas: [let fewer sessions in](../how-to/quotas.md), or ask for more. Else nothing, until `Policy.max_outage`"
        " ends the session: what was lost is in the error.",
    ),
    (Code.TRY_AGAIN_LATER, Code.BAD_GATEWAY): (
        "The service, or a gateway before it, is overloaded or down.",
        "It tries again, after delays that grow.",
        "Nothing, unless it lasts: `Policy.max_outage` says how long a session waits for it.",
    ),
}
"""What each close code means, what resumekit does, and what is left to do; the table has the details."""
STATUSES = (
    (
        "HTTP 401, 403",
        "The service does not accept the key, the token or the project.",
        "Where `client` is a callable, or the credentials can be refreshed, new ones are asked for, once. Then it gives up.",
        "Check the key or the credentials; give a callable that makes a client, if they expire within a call.",
    ),
    (
        "HTTP 400, 404, 405, 410, 422",
        "There is nothing at this address, or not for this request.",
        "It gives up.",
        "Check the base URL, the API version and the headers in `http_options`.",
    ),
    (
        "HTTP 408, 425, 429, 5xx",
        "The service is full, or down.",
        "It tries again, after the delay that the service names (`Retry-After`), or after delays that grow.",
        "As at 1011: let fewer sessions in, or wait.",
    ),
    (
        "no code: a time-out, a refused connection, a name that cannot be resolved",
        "The network, or the service's host, is not there.",
        "It tries again: at once where a live connection was lost, then after delays that grow.",
        "At the first connect `ConnectFailed` says how often it was tried: check address, proxy and firewall.",
    ),
    (
        "no code: this side gave up",
        "The connection was silent, and a ping got no answer; or the application asked for it (`force_reconnect`).",
        "It hangs up, and goes on at once.",
        "Nothing.",
    ),
)


def in_words(heading: str, means: str, does: str, todo: str) -> Iterator[str]:
    yield from (f"### {heading}", "", means, "")
    yield from (f"- **resumekit:** {does}", f"- **You:** {todo}", "")


def close_codes_page() -> Iterator[str]:
    yield from (
        "# Close codes",
        "",
        "What the end of a connection is taken for: first in words, then as the table from which the code decides.",
        "[Why connections end](../explanation/why-connections-end.md) tells what lies behind it. The close code and the reason",
        "of a loss are in the event `ConnectionLost`, in the log, and in the error that ends a session.",
        "",
        "## In words",
        "",
    )
    if {code for codes in CODES for code in codes} != set(Code):
        raise LookupError("a close code has no words")
    for codes, said in CODES.items():
        yield from in_words(", ".join(f"{code.value} `{code.name}`" for code in codes), *said)
    for said in STATUSES:
        yield from in_words(*said)
    yield from (
        "## The table",
        "",
        "It is read from the top, and the first row that fits decides. A reason is compared by its beginning, letter case apart,",
        "since a WebSocket carries 123 bytes of it. The hook [`classify_failure`](hooks.md) decides otherwise.",
        "",
    )
    yield from table(("verdict", "what follows"), *((f"`{verdict.value}`", VERDICTS[verdict]) for verdict in Verdict))
    yield from table(("what came", "when", "if", "verdict"), *map(failure_row, failures.TABLE))
    yield from (
        "*dialling*: TCP, TLS, the HTTP upgrade. *binding*: from the setup to `setupComplete`. *live*: after it. *the first time*:",
        "it did not come before since a connection last proved itself, by a completed turn or by `Policy.proven_after`.",
    )


def failure_row(row: failures.Row) -> tuple[str, str, str, str]:
    numbers = [*(f"HTTP {status}" for status in sorted(row.statuses or ())), *map(str, sorted(row.codes or ()))]
    came = ", ".join(numbers) or {Side.WE: "this side gave up", Side.NOBODY: "no close frame"}.get(
        row.side, "anything else"
    )
    reason = f" `{row.reason} ...`" if row.reason else ""
    said = {
        "with_handle": ("it resumed", "it did not resume"),
        "first_time": ("the first time", "again"),
        "in_grace": ("within `Policy.old_binding_grace` of the loss", "after it"),
        "renewable": ("credentials can be asked for anew", "they cannot"),
    }
    conditions = [words[not value] for name, words in said.items() if (value := getattr(row, name)) is not None]
    if row.side is Side.WE and numbers:
        conditions.insert(0, "this side closed")
    when = "any time" if row.phases is None else ", ".join(PHASES[phase] for phase in Phase if phase in row.phases)
    return came + reason, when, ", ".join(conditions) or "-", f"`{row.verdict.value}`"


TESTED = {
    "google-genai": "google-genai",
    "google-adk": "google-adk",
    "websockets": "websockets",
    "pydantic": "pydantic",
    "livekit-plugins-google": "LiveKit (`livekit-plugins-google`)",
    "pipecat-ai": "Pipecat (`pipecat-ai`)",
    "pydantic-ai-slim": "pydantic-ai",
    "strands-agents": "Strands (`strands-agents`)",
    "redis": "redis-py",
    "asyncpg": "asyncpg",
}


def support_page() -> Iterator[str]:
    ci = ROOT / ".ci"
    environments = tomllib.loads((ci / "environments.toml").read_text("utf-8"))
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pinned = {
        name: dict(
            re.findall(r"^([\w.-]+)==([^ \\]+)", (ci / f"constraints-{name}.txt").read_text("utf-8"), re.MULTILINE)
        )
        for name, environment in environments.items()
        if "tests" in environment
    }
    yield from (
        "# Support",
        "",
        "The versions with which the tests are run, as they are pinned in `.ci/`. Others between them are expected to work.",
        "",
    )
    pythons = [one.rpartition(" ")[2] for one in metadata["classifiers"] if re.search(r":: 3\.\d+$", one)]
    rows = [("Python", ", ".join(pythons))]
    for package, shown in TESTED.items():
        versions = {versions[package] for versions in pinned.values() if package in versions}
        rows.append(
            (shown, ", ".join(sorted(versions, key=lambda one: [int(part) for part in re.findall(r"\d+", one)])))
        )
    yield from table(("", "tested with"), *rows)
    yield from (
        "Which come together, environment by environment; google-adk holds google-genai below 3, and so do Pipecat,",
        "pydantic-ai and Strands:",
        "",
    )
    main = [package for package in TESTED if package in ("google-genai", "google-adk", "websockets", "pydantic")]
    yield from table(
        ("environment", *main, "Python", "tests"),
        *(
            (
                f"`{name}`",
                *(versions.get(package, "-") for package in main),
                ", ".join(pythons) if environments[name].get("pythons") == "all" else pythons[0],
                ", ".join(f"`{one}`" for one in environments[name]["tests"] if "/" in one or one == "tests"),
            )
            for name, versions in pinned.items()
        ),
    )
    yield "The tests are run on Linux; other systems are not tested."


PAGES = {
    "close-codes.md": close_codes_page,
    "support.md": support_page,
    "testing.md": testing_page,
    "cli.md": cli_page,
    "adk-run-config.md": run_config_page,
    "hooks.md": hooks_page,
    "policy.md": policy_page,
    "events.md": events_page,
    "errors.md": errors_page,
    "stats.md": stats_page,
}


def page(name: str) -> str:
    """Return what a page should hold."""
    return "\n".join([MADE, "", *PAGES[name]()]).rstrip() + "\n"


def main() -> None:
    REFERENCE.mkdir(exist_ok=True)
    for name in PAGES:
        (REFERENCE / name).write_text(page(name), "utf-8")


if __name__ == "__main__":
    main()
